// SPDX-License-Identifier: MIT OR Apache-2.0
//! Chip correlations times the signs of all rows: the product of a sign matrix and a vector, many times over.
//!
//! Signs are only +1 and -1, so seven chips have 128 possible sums. These are made once for each seven of the 198 chips,
//! and what is left for each row is to look up 30 of them and add. That is the method of the Four Russians
//! (Arlazarov, Dinic, Kronrod and Faradzhev 1970), and several times faster than to multiply.
//!
//! The even chips come first. What is added up then is the product with the pilots alone, in case that the odd ones
//! carry a payload.
//!
//! The chips are whole numbers of 16 bits, see [`super::row_history`].

use super::format::CHIPS;
use pulp::{Arch, Simd, WithSimd};

/// Vectors of chip correlations that are multiplied in one pass over the signs.
const PASS: usize = 16;
/// Chips that are looked up together.
const GROUP: usize = 7;
/// Room for the sums of a group: as many as a byte tells apart, of which the first 128 are used.
const PATTERNS: usize = 1 << u8::BITS;
/// Groups whose sums are made together: 20 KiB, so that they stay in the first-level cache.
const GROUPS_AT_ONCE: usize = 5;
/// Batches of groups that the even chips fill, and the odd ones as many; what the last has too many of, stays empty.
const HALF: usize = 3;
const BATCHES: usize = 2 * HALF;
const PLACES: usize = BATCHES * GROUPS_AT_ONCE * GROUP;
const _: () = assert!(CHIPS <= PLACES && CHIPS.is_multiple_of(2));

/// One value for each vector of a pass.
type Lanes = [i16; PASS];
/// The sums of one group, pattern by pattern: bit `i` of a pattern is set where chip `i` has sign -1.
type Sums = [Lanes; PATTERNS];

/// The signs of all rows that are searched, as one matrix.
pub struct SignMatrix {
    rows: usize,
    /// Patterns of row index `r` in batch `b` at `b * rows + r`; row `n` of the key has index `n % rows`.
    patterns: Vec<[u8; GROUPS_AT_ONCE]>,
    /// Chips, those of a pass side by side.
    chips: Box<[Lanes; PLACES]>,
    sums: Box<[Sums; GROUPS_AT_ONCE]>,
    totals: Vec<Lanes>,
}

impl SignMatrix {
    /// A matrix of `rows` rows, all signs +1.
    pub fn new(rows: usize) -> Self {
        SignMatrix {
            rows,
            patterns: vec![[0; GROUPS_AT_ONCE]; BATCHES * rows],
            chips: Box::new([[0; PASS]; PLACES]),
            sums: Box::new([[[0; PASS]; PATTERNS]; GROUPS_AT_ONCE]),
            totals: vec![[0; PASS]; rows],
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
                *pattern = bits.iter().enumerate().map(|(i, bit)| bit << i).sum();
            }
        }
    }

    /// `products.all[vector * rows + index]` = sum over chips of `vectors[vector][chip]` times the sign, and
    /// `products.pilots` the same for the even chips alone. No sum may leave the range, see [`super::row_history`].
    pub fn multiply(&mut self, arch: Arch, vectors: &[[i16; CHIPS]], products: &mut Products) {
        let passes = vectors
            .chunks(PASS)
            .zip(products.all.chunks_mut(PASS * self.rows))
            .zip(products.pilots.chunks_mut(PASS * self.rows));
        for ((vectors, all), pilots) in passes {
            arch.dispatch(Pass {
                matrix: self,
                vectors,
                all,
                pilots,
            });
        }
    }

    /// The product of one vector with the signs of one row: of the even chips, and of the odd ones.
    pub fn product(&self, index: usize, vector: &[i16; CHIPS]) -> [i32; 2] {
        let mut sums = [0; 2];
        for (chip, value) in vector.iter().enumerate() {
            let place = place(chip);
            let (group, bit) = (place / GROUP, place % GROUP);
            let (batch, group) = (group / GROUPS_AT_ONCE, group % GROUPS_AT_ONCE);
            let negative = (self.patterns[batch * self.rows + index][group] >> bit) & 1;
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

/// One pass over the signs, compiled for each instruction set. A closure would be, too, but not inlined, which
/// leaves nothing of it.
struct Pass<'a> {
    matrix: &'a mut SignMatrix,
    vectors: &'a [[i16; CHIPS]],
    all: &'a mut [i16],
    pilots: &'a mut [i16],
}

impl WithSimd for Pass<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let SignMatrix {
            rows,
            patterns,
            chips,
            sums,
            totals,
        } = self.matrix;
        for (lane, vector) in self.vectors.iter().enumerate() {
            for (chip, value) in vector.iter().enumerate() {
                chips[place(chip)][lane] = *value;
            }
        }
        totals.fill([0; PASS]);
        let chips = chips.as_chunks::<GROUP>().0.chunks(GROUPS_AT_ONCE);
        for (batch, (chips, patterns)) in chips.zip(patterns.chunks_exact(*rows)).enumerate() {
            if batch == HALF {
                write(totals, self.pilots);
            }
            for (sums, chips) in sums.iter_mut().zip(chips) {
                fill(sums, chips);
            }
            for (total, patterns) in totals.iter_mut().zip(patterns) {
                let mut sum = *total;
                for (sums, pattern) in sums.iter().zip(patterns) {
                    add(&mut sum, &sums[*pattern as usize]);
                }
                *total = sum;
            }
        }
        write(totals, self.all);
    }
}

/// Writes what has been added up so far, vector by vector.
#[inline(always)]
fn write(totals: &[Lanes], products: &mut [i16]) {
    let products = products.chunks_exact_mut(totals.len());
    for (lane, products) in products.enumerate() {
        for (product, total) in products.iter_mut().zip(totals) {
            *product = total[lane];
        }
    }
}

/// Sums never leave the range.
#[inline(always)]
fn add(sum: &mut Lanes, other: &Lanes) {
    for (sum, other) in sum.iter_mut().zip(other) {
        *sum = sum.wrapping_add(*other);
    }
}

/// All sums of a group: each differs in one sign from one made before.
#[inline(always)]
fn fill(sums: &mut Sums, chips: &[Lanes; GROUP]) {
    sums[0] = [0; PASS];
    for chip in chips {
        add(&mut sums[0], chip);
    }
    for (i, chip) in chips.iter().enumerate() {
        let less = chip.map(|chip| chip.wrapping_mul(-2));
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

    #[test]
    fn products_equal_plain_sums() {
        let mut signs = Key::from_bytes([3; 32]).signs();
        let mut matrix = SignMatrix::new(48);
        for row in 0..48 {
            let mut of_row = [0.0; CHIPS];
            signs.row(row, &mut of_row);
            matrix.load(row, &of_row);
        }
        // The last pass is not full, and one vector is silent.
        let vectors: Vec<[i16; CHIPS]> = (0..PASS + 5)
            .map(|v| {
                std::array::from_fn(|i| {
                    (((v * CHIPS + i) as f32 * 0.7).sin() * 11.0 * v as f32) as i16
                })
            })
            .collect();
        let mut products = Products::new(vectors.len(), 48);
        // Twice: nothing may be left over from the first time.
        for _ in 0..2 {
            products.all.fill(i16::MAX);
            products.pilots.fill(i16::MAX);
            matrix.multiply(Arch::new(), &vectors, &mut products);
        }
        for (vector, chips) in vectors.iter().enumerate() {
            for row in 0..48 {
                let mut of_row = [0.0; CHIPS];
                signs.row(row as u64, &mut of_row);
                let terms = chips.iter().zip(of_row).map(|(b, s)| *b as i32 * s as i32);
                let all: i32 = terms.clone().sum();
                let pilots: i32 = terms.step_by(2).sum();
                let at = vector * 48 + row;
                assert_eq!(products.all[at] as i32, all);
                assert_eq!(products.pilots[at] as i32, pilots);
                assert_eq!(matrix.product(row, chips), [pilots, all - pilots]);
            }
        }
    }
}
