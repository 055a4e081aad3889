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
//! The chips are rounded to whole numbers of 16 bits first, as twice as many of these are added at once as of numbers
//! of 32 bits. The step is a 32 000th of the sum of all magnitudes, so no sum leaves the range, and what rounding
//! adds to a score deviates by some 0.002. The rounded chips are what counts from then on: they do not depend on the
//! key any more than the exact ones do, so the bound of [`super::bound`] holds for them as they are.

use super::format::CHIPS;
use pulp::{Arch, Simd, WithSimd};

/// Vectors of chip correlations that are multiplied in one pass over the signs.
const PASS: usize = 16;
/// Chips that are looked up together, and how many sums they have.
const GROUP: usize = 6;
const PATTERNS: usize = 1 << GROUP;
/// Groups whose sums are made together: 18 KiB, so that they stay in the first-level cache.
const GROUPS_AT_ONCE: usize = 9;
/// Batches of groups that the even chips fill, and the odd ones as many; what the last has too many of, stays empty.
const HALF: usize = 2;
const BATCHES: usize = 2 * HALF;
const PLACES: usize = BATCHES * GROUPS_AT_ONCE * GROUP;
const _: () = assert!(CHIPS <= PLACES && CHIPS.is_multiple_of(2));
/// Magnitudes of a vector add up to so many steps, give or take half a step a chip: that is less than 32 767.
const STEPS: f32 = 32_000.0;
/// Sums of magnitudes outside of this are no correlations of audio; such a vector counts as silence.
const MAGNITUDES: std::ops::RangeInclusive<f32> = 1e-25..=1e15;

/// One value for each vector of a pass.
type Lanes = [i16; PASS];
/// The sums of one group, pattern by pattern: bit `i` of a pattern is set where chip `i` has sign -1.
type Sums = [Lanes; PATTERNS];

/// The signs of all rows that are searched, as one matrix.
pub struct SignMatrix {
    rows: usize,
    /// Patterns of row index `r` in batch `b` at `b * rows + r`; row `n` of the key has index `n % rows`.
    patterns: Vec<[u8; GROUPS_AT_ONCE]>,
    /// Chips in steps, those of a pass side by side; and how large a step is in each vector.
    chips: Box<[Lanes; PLACES]>,
    steps: [f32; PASS],
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
            steps: [0.0; PASS],
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

    /// `products.all[vector * rows + index]` = sum over chips of `chips[vector * CHIPS + chip]` times the sign, and
    /// `products.pilots` the same for the even chips alone. The chips are rounded first.
    pub fn multiply(&mut self, arch: Arch, chips: &mut [f32], products: &mut Products) {
        let passes = chips
            .chunks_mut(PASS * CHIPS)
            .zip(products.all.chunks_mut(PASS * self.rows))
            .zip(products.pilots.chunks_mut(PASS * self.rows));
        for ((chips, all), pilots) in passes {
            arch.dispatch(Pass {
                matrix: self,
                chips,
                all,
                pilots,
            });
        }
    }
}

/// Where a chip is: the even ones come first.
const fn place(chip: usize) -> usize {
    chip / 2 + (chip % 2) * (PLACES / 2)
}

/// Products of vectors with the signs of all rows, vector by vector.
pub struct Products {
    /// With the signs of all chips.
    pub all: Vec<f32>,
    /// With those of the even chips.
    pub pilots: Vec<f32>,
}

impl Products {
    /// Room for `vectors` vectors and `rows` rows.
    pub fn new(vectors: usize, rows: usize) -> Self {
        Products {
            all: vec![0.0; vectors * rows],
            pilots: vec![0.0; vectors * rows],
        }
    }
}

/// One pass over the signs, compiled for each instruction set. A closure would be, too, but not inlined, which
/// leaves nothing of it.
struct Pass<'a> {
    matrix: &'a mut SignMatrix,
    chips: &'a mut [f32],
    all: &'a mut [f32],
    pilots: &'a mut [f32],
}

impl WithSimd for Pass<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let SignMatrix {
            rows,
            patterns,
            chips,
            steps,
            sums,
            totals,
        } = self.matrix;
        for (lane, (of_vector, step)) in self
            .chips
            .chunks_exact_mut(CHIPS)
            .zip(steps.iter_mut())
            .enumerate()
        {
            let rounded;
            (*step, rounded) = round(of_vector);
            for (chip, rounded) in rounded.into_iter().enumerate() {
                chips[place(chip)][lane] = rounded;
            }
        }
        totals.fill([0; PASS]);
        let chips = chips.as_chunks::<GROUP>().0.chunks(GROUPS_AT_ONCE);
        for (batch, (chips, patterns)) in chips.zip(patterns.chunks_exact(*rows)).enumerate() {
            if batch == HALF {
                write(totals, steps, self.pilots);
            }
            for (sums, chips) in sums.iter_mut().zip(chips) {
                fill(sums, chips);
            }
            for (total, patterns) in totals.iter_mut().zip(patterns) {
                let mut sum = *total;
                for (sums, pattern) in sums.iter().zip(patterns) {
                    add(&mut sum, &sums[*pattern as usize % PATTERNS]);
                }
                *total = sum;
            }
        }
        write(totals, steps, self.all);
    }
}

/// Writes what has been added up so far, vector by vector.
#[inline(always)]
fn write(totals: &[Lanes], steps: &[f32; PASS], products: &mut [f32]) {
    let products = products.chunks_exact_mut(totals.len());
    for (lane, (products, step)) in products.zip(steps).enumerate() {
        for (product, total) in products.iter_mut().zip(totals) {
            *product = *step * total[lane] as f32;
        }
    }
}

/// Rounds the chips of a vector; returns the step and how many steps each has.
#[inline(always)]
fn round(chips: &mut [f32]) -> (f32, [i16; CHIPS]) {
    // Several sums side by side, because one alone would have to wait for each addition.
    let (pieces, rest) = chips.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for piece in pieces {
        for (sum, chip) in sums.iter_mut().zip(piece) {
            *sum += chip.abs();
        }
    }
    let rest = rest.iter().map(|chip| chip.abs()).sum::<f32>();
    let magnitudes = sums.iter().sum::<f32>() + rest;
    let (step, each) = if MAGNITUDES.contains(&magnitudes) {
        (magnitudes / STEPS, STEPS / magnitudes)
    } else {
        (0.0, 0.0)
    };
    let mut rounded = [0; CHIPS];
    for (rounded, chip) in rounded.iter_mut().zip(chips.iter_mut()) {
        // Next to this a number has no room for fractions, and its last bits are the whole number.
        let whole = *chip * each + ROUNDING;
        *rounded = whole.to_bits() as i16;
        *chip = step * (whole - ROUNDING);
    }
    if step == 0.0 {
        chips.fill(0.0);
    }
    (step, rounded)
}

/// One and a half times two to the 23.
const ROUNDING: f32 = 12_582_912.0;

/// Sums never leave the range, see [`STEPS`].
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
        // The last pass is not full, and one vector is silent.
        let vectors = PASS + 5;
        let mut chips: Vec<f32> = (0..vectors * CHIPS)
            .map(|i| (i as f32 * 0.7).sin() * (i / CHIPS) as f32)
            .collect();
        let exact = chips.clone();
        let mut products = Products::new(vectors, 48);
        products.all.fill(f32::NAN);
        products.pilots.fill(f32::NAN);
        // Twice: nothing may be left over from the first time.
        matrix.multiply(Arch::new(), &mut chips, &mut products);
        chips.copy_from_slice(&exact);
        matrix.multiply(Arch::new(), &mut chips, &mut products);
        for (vector, chips) in chips.chunks_exact(CHIPS).enumerate() {
            let magnitudes: f32 = chips.iter().map(|b| b.abs()).sum();
            let all = vector * CHIPS..(vector + 1) * CHIPS;
            for (b, exact) in chips.iter().zip(&exact[all]) {
                assert!((b - exact).abs() <= 0.6 * magnitudes / STEPS);
            }
            for row in 0..48 {
                let mut of_row = [0.0; CHIPS];
                signs.row(row as u64, &mut of_row);
                let terms = chips.iter().zip(of_row).map(|(b, s)| b * s);
                let all: f32 = terms.clone().sum();
                let pilots: f32 = terms.step_by(2).sum();
                for (got, want) in [(&products.all, all), (&products.pilots, pilots)] {
                    let got = got[vector * 48 + row];
                    assert!((got - want).abs() <= 1e-6 * magnitudes, "{got} for {want}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_audio_counts_as_silence() {
        let mut matrix = SignMatrix::new(16);
        for chip in [0.0, 1e-30, 1e30, f32::INFINITY, f32::NAN] {
            let mut chips = [1.0; 2 * CHIPS];
            chips[7] = chip;
            if chip < 1.0 {
                chips[..CHIPS].fill(chip);
            }
            let mut products = Products::new(2, 16);
            matrix.multiply(Arch::new(), &mut chips, &mut products);
            assert_eq!(chips[..CHIPS], [0.0; CHIPS]);
            assert_eq!(products.all[..16], [0.0; 16]);
            assert!((products.all[16] - CHIPS as f32).abs() < 1.0);
        }
    }
}
