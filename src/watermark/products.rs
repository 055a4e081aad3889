// SPDX-License-Identifier: MIT OR Apache-2.0
//! Chip correlations times the signs of all rows: the product of a sign matrix and a vector, many times over.
//!
//! Signs are only +1 and -1, so six chips have 64 possible sums. These are made once for each six of the 198 chips,
//! and what is left for each row is to look up 34 of them and add. That is the method of the Four Russians
//! (Arlazarov, Dinic, Kronrod and Faradzhev 1970), and several times faster than to multiply.
//!
//! The even chips come first. What is added up then is the product with the pilots alone, in case that the odd ones
//! carry a payload.
//!
//! The chips are whole numbers of 16 bits, see [`super::row_history`].

use super::format::CHIPS;
use pulp::bytemuck::Pod;
use pulp::{Arch, Simd, WithSimd};

/// Vectors of chip correlations that are multiplied in one pass over the signs.
const PASS: usize = 16;
/// Chips that are looked up together. With seven there are fewer of them to look up, but that takes longer: a pattern
/// of six bits and a shift fits into a byte, and a processor need not multiply it to get an address.
const GROUP: usize = 6;
const PATTERNS: usize = 1 << GROUP;
/// What patterns are multiplied by.
const SCALE: usize = 4;
/// Groups whose sums are made together: 18 KiB, so that they stay in the first-level cache.
const GROUPS_AT_ONCE: usize = 9;
/// Rows that are written at once, vector by vector: 2 KiB, for the same reason.
const ROWS_AT_ONCE: usize = 64;
/// Batches of groups that the even chips fill, and the odd ones as many; what the last has too many of, stays empty.
const HALF: usize = 2;
const BATCHES: usize = 2 * HALF;
const PLACES: usize = BATCHES * GROUPS_AT_ONCE * GROUP;
const _: () = assert!(CHIPS <= PLACES && CHIPS.is_multiple_of(2));
const _: () = assert!(PATTERNS * SCALE == 1 << u8::BITS);

/// The signs of all rows that are searched, as one matrix.
pub struct SignMatrix {
    rows: usize,
    /// Patterns of row index `r` in batch `b` at `b * rows + r`, times [`SCALE`]: bit `i` of a pattern is set where
    /// chip `i` has sign -1. Row `n` of the key has index `n % rows`.
    patterns: Vec<[u8; GROUPS_AT_ONCE]>,
}

impl SignMatrix {
    /// A matrix of `rows` rows, all signs +1.
    pub fn new(rows: usize) -> Self {
        SignMatrix {
            rows,
            patterns: vec![[0; GROUPS_AT_ONCE]; BATCHES * rows],
        }
    }

    /// Rows of the matrix.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Writes the signs of a row.
    pub fn load(&mut self, row: u64, signs: &[f32; CHIPS]) {
        let index = (row % self.rows as u64) as usize;
        let mut places = [0; PLACES];
        for (chip, sign) in signs.iter().enumerate() {
            places[place(chip)] = (*sign < 0.0) as u8;
        }
        let batches = places.chunks_exact(GROUPS_AT_ONCE * GROUP);
        for (patterns, places) in self.patterns.chunks_exact_mut(self.rows).zip(batches) {
            for (pattern, bits) in patterns[index].iter_mut().zip(places.chunks_exact(GROUP)) {
                *pattern = bits.iter().rev().fold(0, |all, bit| 2 * all + bit) * SCALE as u8;
            }
        }
    }

    /// The product of one vector with the signs of one row: of the even chips, and of the odd ones.
    pub fn product(&self, index: usize, vector: &[i16; CHIPS]) -> [i32; 2] {
        let mut sums = [0; 2];
        for (chip, value) in vector.iter().enumerate() {
            let place = place(chip);
            let (group, bit) = (place / GROUP, place % GROUP);
            let (batch, group) = (group / GROUPS_AT_ONCE, group % GROUPS_AT_ONCE);
            let pattern = self.patterns[batch * self.rows + index][group] as usize / SCALE;
            let negative = (pattern >> bit) & 1;
            sums[chip % 2] += (1 - 2 * negative as i32) * *value as i32;
        }
        sums
    }
}

/// Where a chip is: the even ones come first.
const fn place(chip: usize) -> usize {
    chip / 2 + (chip % 2) * (PLACES / 2)
}

/// Products of vectors with the signs of all rows, vector by vector.
pub struct Products {
    /// With the signs of all chips.
    pub all: Vec<i16>,
    /// With those of the even chips.
    pub pilots: Vec<i16>,
}

impl Products {
    /// Room for `vectors` vectors and `rows` rows.
    pub fn new(vectors: usize, rows: usize) -> Self {
        Products {
            all: vec![0; vectors * rows],
            pilots: vec![0; vectors * rows],
        }
    }
}

/// Multiplies vectors with sign matrices: what it needs for that is the same for all of them, whatever their key is.
pub struct Multiplier {
    arch: Arch,
    tables: Tables,
}

/// A single vector takes a tenth of the memory.
enum Tables {
    One(Box<Lookup<[i16; 1]>>),
    Many(Box<Lookup<[i16; PASS]>>),
}

impl Multiplier {
    /// For up to `vectors` vectors at once, and matrices of `rows` rows.
    pub fn new(arch: Arch, vectors: usize, rows: usize) -> Self {
        let tables = match vectors {
            0..=1 => Tables::One(Box::new(Lookup::new(rows))),
            _ => Tables::Many(Box::new(Lookup::new(rows))),
        };
        Multiplier { arch, tables }
    }

    /// `products.all[vector * rows + index]` = sum over chips of `vectors[vector][chip]` times the sign, and
    /// `products.pilots` the same for the even chips alone. No sum may leave the range, see `row_history`.
    pub fn multiply(
        &mut self,
        matrix: &SignMatrix,
        vectors: &[[i16; CHIPS]],
        products: &mut Products,
    ) {
        match &mut self.tables {
            Tables::One(lookup) => lookup.multiply(self.arch, 1, matrix, vectors, products),
            Tables::Many(lookup) => lookup.multiply(self.arch, PASS, matrix, vectors, products),
        }
    }
}

/// One value for each vector of a pass.
trait Lanes: Pod + AsRef<[i16]> + AsMut<[i16]> {
    /// The sums of a group, pattern by pattern.
    type Sums: Copy;
    const NO_SUMS: Self::Sums;

    /// One after the other, as many as there are patterns.
    fn each(sums: &mut Self::Sums) -> &mut [Self];

    /// The sum at a pattern, times [`SCALE`].
    fn look_up(sums: &Self::Sums, pattern: u8) -> &Self;

    /// Writes what has been added up, vector by vector, as far as there is room.
    fn write(totals: &[Self], products: &mut [i16]);
}

impl Lanes for [i16; 1] {
    type Sums = [Self; PATTERNS];
    const NO_SUMS: Self::Sums = [[0]; PATTERNS];

    #[inline(always)]
    fn each(sums: &mut Self::Sums) -> &mut [Self] {
        sums
    }

    #[inline(always)]
    fn look_up(sums: &Self::Sums, pattern: u8) -> &Self {
        &sums[pattern as usize / SCALE]
    }

    #[inline(always)]
    fn write(totals: &[Self], products: &mut [i16]) {
        products.copy_from_slice(totals.as_flattened());
    }
}

/// A part of [`PASS`] lanes, of which there are [`SCALE`], so that a pattern is an index without more ado.
const PART: usize = PASS / SCALE;
/// Values of all sums, and so many more that the last byte does not point beyond, though no pattern is as large.
const VALUES: usize = u8::MAX as usize * PART + PASS;

impl Lanes for [i16; PASS] {
    type Sums = [i16; VALUES];
    const NO_SUMS: Self::Sums = [0; VALUES];

    #[inline(always)]
    fn each(sums: &mut Self::Sums) -> &mut [Self] {
        sums[..PATTERNS * PASS].as_chunks_mut().0
    }

    #[inline(always)]
    fn look_up(sums: &Self::Sums, pattern: u8) -> &Self {
        let sum = sums[pattern as usize * PART..].first_chunk();
        sum.unwrap_or(&[0; PASS])
    }

    #[inline(always)]
    fn write(totals: &[Self], products: &mut [i16]) {
        let starts = (0..).step_by(ROWS_AT_ONCE);
        for (start, rows) in starts.zip(totals.chunks(ROWS_AT_ONCE)) {
            for (lane, products) in products.chunks_exact_mut(totals.len()).enumerate() {
                let products = products[start..][..rows.len()].as_chunks_mut::<PASS>();
                let rows = rows.as_chunks::<PASS>();
                for (products, rows) in products.0.iter_mut().zip(rows.0) {
                    for row in 0..PASS {
                        products[row] = rows[row][lane % PASS];
                    }
                }
                for (product, row) in products.1.iter_mut().zip(rows.1) {
                    *product = row[lane % PASS];
                }
            }
        }
    }
}

/// What one pass works with.
struct Lookup<L: Lanes> {
    /// Chips, those of a pass side by side.
    chips: [L; PLACES],
    /// All sums of some groups.
    sums: [L::Sums; GROUPS_AT_ONCE],
    totals: Vec<L>,
}

impl<L: Lanes> Lookup<L> {
    fn new(rows: usize) -> Self {
        Lookup {
            chips: [L::zeroed(); PLACES],
            sums: [L::NO_SUMS; GROUPS_AT_ONCE],
            totals: vec![L::zeroed(); rows],
        }
    }

    fn multiply(
        &mut self,
        arch: Arch,
        at_once: usize,
        matrix: &SignMatrix,
        vectors: &[[i16; CHIPS]],
        products: &mut Products,
    ) {
        debug_assert_eq!(self.totals.len(), matrix.rows);
        let passes = vectors
            .chunks(at_once)
            .zip(products.all.chunks_mut(at_once * matrix.rows))
            .zip(products.pilots.chunks_mut(at_once * matrix.rows));
        for ((vectors, all), pilots) in passes {
            arch.dispatch(Pass {
                lookup: self,
                matrix,
                vectors,
                all,
                pilots,
            });
        }
    }
}

/// One pass over the signs, compiled for each instruction set. A closure would be, too, but not inlined, which
/// leaves nothing of it.
struct Pass<'a, L: Lanes> {
    lookup: &'a mut Lookup<L>,
    matrix: &'a SignMatrix,
    vectors: &'a [[i16; CHIPS]],
    all: &'a mut [i16],
    pilots: &'a mut [i16],
}

impl<L: Lanes> WithSimd for Pass<'_, L> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let SignMatrix { rows, patterns } = self.matrix;
        let Lookup {
            chips,
            sums,
            totals,
        } = self.lookup;
        for (lane, vector) in self.vectors.iter().enumerate() {
            for (chip, value) in vector.iter().enumerate() {
                chips[place(chip)].as_mut()[lane] = *value;
            }
        }
        let chips = chips.as_chunks::<GROUP>().0.chunks(GROUPS_AT_ONCE);
        for (batch, (chips, patterns)) in chips.zip(patterns.chunks_exact(*rows)).enumerate() {
            if batch == HALF {
                L::write(totals, self.pilots);
            }
            for (sums, chips) in sums.iter_mut().zip(chips) {
                fill(L::each(sums), chips);
            }
            for (total, patterns) in totals.iter_mut().zip(patterns) {
                let mut sum = match batch {
                    0 => L::zeroed(),
                    _ => *total,
                };
                for (sums, pattern) in sums.iter().zip(patterns) {
                    add(&mut sum, L::look_up(sums, *pattern));
                }
                *total = sum;
            }
        }
        L::write(totals, self.all);
    }
}

/// Sums never leave the range.
#[inline(always)]
fn add<L: Lanes>(sum: &mut L, other: &L) {
    for (sum, other) in sum.as_mut().iter_mut().zip(other.as_ref()) {
        *sum = sum.wrapping_add(*other);
    }
}

/// All sums of a group: each differs in one sign from one made before.
#[inline(always)]
fn fill<L: Lanes>(sums: &mut [L], chips: &[L; GROUP]) {
    sums[0] = L::zeroed();
    for chip in chips {
        add(&mut sums[0], chip);
    }
    for (i, chip) in chips.iter().enumerate() {
        let mut less = *chip;
        for chip in less.as_mut() {
            *chip = chip.wrapping_mul(-2);
        }
        let (done, new) = sums.split_at_mut(1 << i);
        for (new, done) in new.iter_mut().zip(done) {
            let mut sum = *done;
            add(&mut sum, &less);
            *new = sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watermark::key::Key;

    /// More than are written at once, and no multiple of anything.
    const ROWS: usize = ROWS_AT_ONCE + 47;

    #[test]
    fn products_equal_plain_sums() {
        let mut signs = Key::from_bytes([3; 32]).signs();
        let mut matrix = SignMatrix::new(ROWS);
        for row in 0..ROWS as u64 {
            let mut of_row = [0.0; CHIPS];
            signs.row(row, &mut of_row);
            matrix.load(row, &of_row);
        }
        // The last pass is not full, and one vector is silent.
        let many: Vec<[i16; CHIPS]> = (0..PASS + 5)
            .map(|v| {
                std::array::from_fn(|i| {
                    (((v * CHIPS + i) as f32 * 0.7).sin() * 11.0 * v as f32) as i16
                })
            })
            .collect();
        for vectors in [&many[..], &many[7..8]] {
            let mut multiplier = Multiplier::new(Arch::new(), vectors.len(), ROWS);
            let mut products = Products::new(vectors.len(), ROWS);
            // Twice: nothing may be left over from the first time.
            for _ in 0..2 {
                products.all.fill(i16::MAX);
                products.pilots.fill(i16::MAX);
                multiplier.multiply(&matrix, vectors, &mut products);
            }
            check(&matrix, vectors, &products);
        }
    }

    fn check(matrix: &SignMatrix, vectors: &[[i16; CHIPS]], products: &Products) {
        let mut signs = Key::from_bytes([3; 32]).signs();
        for (vector, chips) in vectors.iter().enumerate() {
            for row in 0..ROWS {
                let mut of_row = [0.0; CHIPS];
                signs.row(row as u64, &mut of_row);
                let terms = chips.iter().zip(of_row).map(|(b, s)| *b as i32 * s as i32);
                let all: i32 = terms.clone().sum();
                let pilots: i32 = terms.step_by(2).sum();
                let at = vector * ROWS + row;
                assert_eq!(products.all[at] as i32, all);
                assert_eq!(products.pilots[at] as i32, pilots);
                assert_eq!(matrix.product(row, chips), [pilots, all - pilots]);
            }
        }
    }
}
