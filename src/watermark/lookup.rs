// SPDX-License-Identifier: MIT OR Apache-2.0
//! One of sixteen bytes looked up for each of 32 rows: processors have an instruction for that, which no loop becomes
//! by itself.

use pulp::{NullaryFnOnce, bytemuck};

/// Rows that are looked up together.
pub const ROWS_AT_ONCE: usize = 32;
/// Values of a table.
pub const VALUES: usize = 16;

/// A sum for each of the rows.
pub type Sums = [i16; ROWS_AT_ONCE];

/// A way to look up, and to add what was found.
pub trait Lookup: Copy {
    /// A byte for each of the rows.
    type Bytes: Copy;

    /// A table, ready to be looked up in.
    fn table(self, values: &[i8; VALUES]) -> Self::Bytes;

    /// The value of each row at its index, which is less than [`VALUES`].
    fn look_up(self, table: Self::Bytes, indices: &[u8; ROWS_AT_ONCE]) -> Self::Bytes;

    /// Sums, which must not leave the range.
    fn add(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;

    /// `sums` and the bytes times two to the `SHIFT`, which must not leave the range either.
    fn add_scaled<const SHIFT: i32>(self, sums: &Sums, bytes: Self::Bytes) -> Sums;
}

/// Something to be done with whatever way to look up there is.
pub trait WithLookup {
    fn call<L: Lookup>(self, lookup: L);
}

/// Which way this processor has.
#[derive(Debug, Clone, Copy)]
pub enum Processor {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    Avx2(pulp::x86::V3),
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    Sse4(pulp::x86::V2),
    #[cfg(target_arch = "aarch64")]
    Neon(pulp::aarch64::Neon),
    /// None: byte by byte.
    Other,
}

impl Processor {
    /// All ways that this processor has, the best first.
    pub fn all() -> impl Iterator<Item = Self> {
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        let known = [
            pulp::x86::V3::try_new().map(Processor::Avx2),
            pulp::x86::V2::try_new().map(Processor::Sse4),
        ];
        #[cfg(target_arch = "aarch64")]
        let known = [pulp::aarch64::Neon::try_new().map(Processor::Neon)];
        #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
        let known = [None];
        known.into_iter().flatten().chain([Processor::Other])
    }

    /// The best way.
    pub fn best() -> Self {
        Self::all().next().unwrap_or(Processor::Other)
    }

    /// Does something in this way.
    pub fn dispatch<W: WithLookup>(self, work: W) {
        match self {
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Processor::Avx2(avx2) => avx2.vectorize(Work { lookup: avx2, work }),
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Processor::Sse4(sse4) => sse4.vectorize(Work { lookup: sse4, work }),
            #[cfg(target_arch = "aarch64")]
            Processor::Neon(neon) => neon.vectorize(Work { lookup: neon, work }),
            Processor::Other => work.call(ByteByByte),
        }
    }
}

/// Work and the way to do it. This is a type, because a closure would not be compiled for each instruction set.
struct Work<L, W> {
    lookup: L,
    work: W,
}

impl<L: Lookup, W: WithLookup> NullaryFnOnce for Work<L, W> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.work.call(self.lookup);
    }
}

#[derive(Clone, Copy)]
struct ByteByByte;

impl Lookup for ByteByByte {
    type Bytes = [i8; ROWS_AT_ONCE];

    #[inline(always)]
    fn table(self, values: &[i8; VALUES]) -> Self::Bytes {
        std::array::from_fn(|i| values[i % VALUES])
    }

    #[inline(always)]
    fn look_up(self, table: Self::Bytes, indices: &[u8; ROWS_AT_ONCE]) -> Self::Bytes {
        indices.map(|index| table[index as usize % VALUES])
    }

    #[inline(always)]
    fn add(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        std::array::from_fn(|i| a[i].wrapping_add(b[i]))
    }

    #[inline(always)]
    fn add_scaled<const SHIFT: i32>(self, sums: &Sums, bytes: Self::Bytes) -> Sums {
        std::array::from_fn(|i| sums[i].wrapping_add((bytes[i] as i16) << SHIFT))
    }
}

#[cfg(target_arch = "x86")]
use std::arch::x86::{__m128i, __m256i};
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m128i, __m256i};

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
impl Lookup for pulp::x86::V3 {
    type Bytes = __m256i;

    #[inline(always)]
    fn table(self, values: &[i8; VALUES]) -> __m256i {
        self.avx2
            ._mm256_broadcastsi128_si256(bytemuck::cast(*values))
    }

    #[inline(always)]
    fn look_up(self, table: __m256i, indices: &[u8; ROWS_AT_ONCE]) -> __m256i {
        self.avx2
            ._mm256_shuffle_epi8(table, bytemuck::cast(*indices))
    }

    #[inline(always)]
    fn add(self, a: __m256i, b: __m256i) -> __m256i {
        self.avx2._mm256_add_epi8(a, b)
    }

    #[inline(always)]
    fn add_scaled<const SHIFT: i32>(self, sums: &Sums, bytes: __m256i) -> Sums {
        let sums: [__m256i; 2] = bytemuck::cast(*sums);
        let low = self.avx._mm256_castsi256_si128(bytes);
        let high = self.avx2._mm256_extracti128_si256::<1>(bytes);
        let low = self
            .avx2
            ._mm256_slli_epi16::<SHIFT>(self.avx2._mm256_cvtepi8_epi16(low));
        let high = self
            .avx2
            ._mm256_slli_epi16::<SHIFT>(self.avx2._mm256_cvtepi8_epi16(high));
        bytemuck::cast([
            self.avx2._mm256_add_epi16(sums[0], low),
            self.avx2._mm256_add_epi16(sums[1], high),
        ])
    }
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
impl Lookup for pulp::x86::V2 {
    type Bytes = [__m128i; 2];

    #[inline(always)]
    fn table(self, values: &[i8; VALUES]) -> Self::Bytes {
        [bytemuck::cast(*values); 2]
    }

    #[inline(always)]
    fn look_up(self, table: Self::Bytes, indices: &[u8; ROWS_AT_ONCE]) -> Self::Bytes {
        let indices: [__m128i; 2] = bytemuck::cast(*indices);
        indices.map(|indices| self.ssse3._mm_shuffle_epi8(table[0], indices))
    }

    #[inline(always)]
    fn add(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        std::array::from_fn(|i| self.sse2._mm_add_epi8(a[i], b[i]))
    }

    #[inline(always)]
    fn add_scaled<const SHIFT: i32>(self, sums: &Sums, bytes: Self::Bytes) -> Sums {
        let sums: [__m128i; 4] = bytemuck::cast(*sums);
        bytemuck::cast::<[__m128i; 4], _>(std::array::from_fn(|i| {
            let eight = match i % 2 {
                0 => bytes[i / 2],
                _ => self.sse2._mm_srli_si128::<8>(bytes[i / 2]),
            };
            let scaled = self
                .sse2
                ._mm_slli_epi16::<SHIFT>(self.sse4_1._mm_cvtepi8_epi16(eight));
            self.sse2._mm_add_epi16(sums[i], scaled)
        }))
    }
}

#[cfg(target_arch = "aarch64")]
use std::arch::aarch64::{int8x16_t, int16x8_t};

#[cfg(target_arch = "aarch64")]
impl Lookup for pulp::aarch64::Neon {
    type Bytes = [int8x16_t; 2];

    #[inline(always)]
    fn table(self, values: &[i8; VALUES]) -> Self::Bytes {
        [bytemuck::cast(*values); 2]
    }

    #[inline(always)]
    fn look_up(self, table: Self::Bytes, indices: &[u8; ROWS_AT_ONCE]) -> Self::Bytes {
        let (indices, _) = indices.as_chunks::<VALUES>();
        std::array::from_fn(|i| self.neon.vqtbl1q_s8(table[0], bytemuck::cast(indices[i])))
    }

    #[inline(always)]
    fn add(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        std::array::from_fn(|i| self.neon.vaddq_s8(a[i], b[i]))
    }

    #[inline(always)]
    fn add_scaled<const SHIFT: i32>(self, sums: &Sums, bytes: Self::Bytes) -> Sums {
        let (sums, _) = sums.as_chunks::<8>();
        bytemuck::cast::<[int16x8_t; 4], _>(std::array::from_fn(|i| {
            let eight = match i % 2 {
                0 => self.neon.vmovl_s8(self.neon.vget_low_s8(bytes[i / 2])),
                _ => self.neon.vmovl_high_s8(bytes[i / 2]),
            };
            let scaled = self.neon.vshlq_n_s16::<SHIFT>(eight);
            self.neon.vaddq_s16(bytemuck::cast(sums[i]), scaled)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Check;

    impl WithLookup for Check {
        fn call<L: Lookup>(self, lookup: L) {
            let values: [i8; VALUES] = std::array::from_fn(|i| (i * i / 2) as i8 - 50);
            let indices: [u8; ROWS_AT_ONCE] = std::array::from_fn(|i| (i * 7 % VALUES) as u8);
            let table = lookup.table(&values);
            let found = lookup.look_up(table, &indices);
            let expected = indices.map(|index| values[index as usize] as i16);
            let sums: Sums = std::array::from_fn(|i| 100 * i as i16);
            let more: Sums = std::array::from_fn(|i| sums[i] + 8 * expected[i]);
            assert_eq!(lookup.add_scaled::<3>(&sums, found), more);
            let twice = lookup.add(found, found);
            let twice = lookup.add_scaled::<0>(&[0; ROWS_AT_ONCE], twice);
            assert_eq!(twice, expected.map(|value| 2 * value));
        }
    }

    #[test]
    fn every_way_finds_the_same() {
        for processor in Processor::all() {
            processor.dispatch(Check);
        }
    }
}
