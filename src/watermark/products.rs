// SPDX-License-Identifier: MIT OR Apache-2.0
//! Chip correlations times the signs of all rows: the product of a sign matrix and a vector, many times over.
//!
//! Signs are only +1 and -1, so six chips have 64 possible sums. These are made once for each six of the 198 chips,
//! and what is left for each row is to look up 33 of them and add. That is the method of the Four Russians
//! (Arlazarov, Dinic, Kronrod and Faradzhev 1970), and several times faster than to multiply.

use super::format::CHIPS;
use pulp::{Arch, Simd, WithSimd};

/// Vectors of chip correlations that are multiplied in one pass over the signs.
pub const PASS: usize = 8;
/// Chips that are looked up together, and how many sums they have.
const GROUP: usize = 6;
const PATTERNS: usize = 1 << GROUP;
/// Groups whose sums are made together: 22 KiB, so that they stay in the first-level cache.
const GROUPS_AT_ONCE: usize = 11;
const BATCHES: usize = CHIPS / (GROUP * GROUPS_AT_ONCE);
const _: () = assert!(CHIPS == BATCHES * GROUPS_AT_ONCE * GROUP);

/// One value for each vector of a pass.
type Lanes = [f32; PASS];
/// The sums of one group, pattern by pattern: bit `i` of a pattern is set where chip `i` has sign -1.
type Sums = [Lanes; PATTERNS];

/// The signs of all rows that are searched, as one matrix.
pub struct SignMatrix {
    rows: usize,
    /// Patterns of row index `r` in batch `b` at `b * rows + r`; row `n` of the key has index `n % rows`.
    patterns: Vec<[u8; GROUPS_AT_ONCE]>,
    sums: Box<[Sums; GROUPS_AT_ONCE]>,
    totals: Vec<Lanes>,
}

impl SignMatrix {
    /// A matrix of `rows` rows, all signs +1.
    pub fn new(rows: usize) -> Self {
        SignMatrix {
            rows,
            patterns: vec![[0; GROUPS_AT_ONCE]; BATCHES * rows],
            sums: Box::new([[[0.0; PASS]; PATTERNS]; GROUPS_AT_ONCE]),
            totals: vec![[0.0; PASS]; rows],
        }
    }

    /// Rows of the matrix.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Writes the signs of a row.
    pub fn load(&mut self, row: u64, signs: &[f32; CHIPS]) {
        let index = (row % self.rows as u64) as usize;
        let batches = signs.chunks_exact(GROUPS_AT_ONCE * GROUP);
        for (patterns, signs) in self.patterns.chunks_exact_mut(self.rows).zip(batches) {
            for (pattern, signs) in patterns[index].iter_mut().zip(signs.chunks_exact(GROUP)) {
                *pattern = signs
                    .iter()
                    .enumerate()
                    .map(|(i, sign)| ((*sign < 0.0) as u8) << i)
                    .sum();
            }
        }
    }

    /// `products[vector * rows + index]` = sum over chips of `chips[vector * CHIPS + chip]` times the sign.
    /// The vectors are as many as a multiple of [`PASS`].
    pub fn multiply(&mut self, arch: Arch, chips: &[f32], products: &mut [f32]) {
        let passes = chips
            .chunks_exact(PASS * CHIPS)
            .zip(products.chunks_exact_mut(PASS * self.rows));
        for (chips, products) in passes {
            arch.dispatch(Pass {
                matrix: self,
                chips,
                products,
            });
        }
    }
}

/// One pass over the signs, compiled for each instruction set. A closure would be, too, but not inlined, which
/// leaves nothing of it.
struct Pass<'a> {
    matrix: &'a mut SignMatrix,
    chips: &'a [f32],
    products: &'a mut [f32],
}

impl WithSimd for Pass<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let SignMatrix {
            rows,
            patterns,
            sums,
            totals,
        } = self.matrix;
        totals.fill([0.0; PASS]);
        for (batch, patterns) in patterns.chunks_exact(*rows).enumerate() {
            for (group, sums) in sums.iter_mut().enumerate() {
                fill(sums, self.chips, (batch * GROUPS_AT_ONCE + group) * GROUP);
            }
            for (total, patterns) in totals.iter_mut().zip(patterns) {
                let mut sum = *total;
                for (sums, pattern) in sums.iter().zip(patterns) {
                    add(&mut sum, &sums[*pattern as usize % PATTERNS]);
                }
                *total = sum;
            }
        }
        for (lane, products) in self.products.chunks_exact_mut(*rows).enumerate() {
            for (product, total) in products.iter_mut().zip(totals.iter()) {
                *product = total[lane];
            }
        }
    }
}

#[inline(always)]
fn add(sum: &mut Lanes, other: &Lanes) {
    for (sum, other) in sum.iter_mut().zip(other) {
        *sum += other;
    }
}

/// All sums of the group whose first chip is `first`: each differs in one sign from one made before.
#[inline(always)]
fn fill(sums: &mut Sums, chips: &[f32], first: usize) {
    let mut of_chips = [[0.0; PASS]; GROUP];
    for (lane, chips) in chips.chunks_exact(CHIPS).enumerate() {
        for (i, chip) in of_chips.iter_mut().enumerate() {
            chip[lane] = chips[first + i];
        }
    }
    sums[0] = [0.0; PASS];
    for chip in &of_chips {
        add(&mut sums[0], chip);
    }
    for (i, chip) in of_chips.iter().enumerate() {
        let mut less = [0.0; PASS];
        for (less, chip) in less.iter_mut().zip(chip) {
            *less = -2.0 * chip;
        }
        let (done, new) = sums.split_at_mut(1 << i);
        for (new, done) in new.iter_mut().zip(done) {
            *new = *done;
            add(new, &less);
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
        let chips: Vec<f32> = (0..2 * PASS * CHIPS)
            .map(|i| (i as f32 * 0.7).sin())
            .collect();
        let mut products = vec![f32::NAN; 2 * PASS * 48];
        // Twice: nothing may be left over from the first time.
        matrix.multiply(Arch::new(), &chips, &mut products);
        matrix.multiply(Arch::new(), &chips, &mut products);
        for vector in 0..2 * PASS {
            for row in 0..48 {
                let mut of_row = [0.0; CHIPS];
                signs.row(row as u64, &mut of_row);
                let want: f32 = chips[vector * CHIPS..][..CHIPS]
                    .iter()
                    .zip(of_row)
                    .map(|(b, s)| b * s)
                    .sum();
                let got = products[vector * 48 + row];
                assert!((got - want).abs() < 1e-4, "{got} for {want}");
            }
        }
    }
}
