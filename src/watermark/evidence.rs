// SPDX-License-Identifier: MIT OR Apache-2.0
//! Evidence added up over time, for many rows of the key at once, at one speed and one alignment, with all chips for
//! pilots or with the even ones.
//!
//! The rows of the programme advance together with those of the key, so a hypothesis is an offset
//! between the two that stays the same: hypothesis `o` says that local row `r` is row `r + o` of the key.
//!
//! Only sums that fade are kept for each of them. They are read and written with every row, so what counts is how many
//! of them the processor takes at once, and what it does with each: they are whole numbers of 16 bits, and what fades
//! is the unit (block floating point). A value is a sum over the root of the energy so far, with 300 to 768 units for a
//! score of 1, so it does not grow with the level of the programme. Each new row makes the unit smaller, until all values
//! are halved and the unit doubles.
//!
//! All numbers are rounded down, so a score is never above what it would be in exact numbers, and [`super::bound`]
//! holds for it.

use super::rounding::whole;
use super::windows::{FADED, LANES, SUMS, fading};
use pulp::{Arch, Simd, WithSimd};
use std::slice::ChunksExactMut;

/// Units that a score of 1 has at most, which leave room for scores of 42: one row has 14 at most.
const UNITS: f32 = 768.0;
/// What a new row is multiplied by is less than a half, so that it fits into 16 bits.
const LARGEST_FACTOR: f32 = 0.499;
/// Beyond this it has half as many: where a recording is searched piece by piece, a strong mark is not found at once.
const HIGH: i16 = i16::MAX / 2;
/// Halvings after which nothing is left.
const MOST_HALVINGS: u32 = i16::BITS - 1;
/// What factors are multiplied with to be whole numbers: of the product of two numbers of 16 bits the upper 16 bits are
/// kept, for which processors have an instruction.
const ONE: f32 = 65_536.0;

/// For each hypothesis its value of a row, `row` by the local clock, from the values row by row of the key.
pub fn rotate(products: &[i16], row: i64, hypotheses: &mut [i16]) {
    let shift = row.rem_euclid(products.len() as i64) as usize;
    let (wrapped, straight) = products.split_at(shift);
    let (begin, end) = hypotheses.split_at_mut(straight.len());
    begin.copy_from_slice(straight);
    end.copy_from_slice(wrapped);
}

/// A row for all hypotheses: the products of its chips with the signs, how large a step of these is, and the sum of the
/// squares of the chips, in steps, too.
#[derive(Clone, Copy)]
pub struct NewRow<'a> {
    pub products: &'a [i16],
    pub step: f32,
    pub energy: f32,
}

/// Fading sums of many hypotheses.
#[derive(Clone)]
pub struct Evidence {
    count: usize,
    /// One sum behind the other, one value a hypothesis.
    values: Vec<i16>,
    sums: [Sum; SUMS],
}

/// What the values of one fading sum have in common.
#[derive(Clone, Copy)]
struct Sum {
    /// Units of a score of 1, give or take the rounding of factors.
    units: f32,
    /// Sum of squares of the chips, faded.
    energy: f32,
    /// Variance of a value if signs are chance; the square of `units` but for rounding of the factors.
    variance: f32,
    highest: i16,
}

/// What is done with the values of a sum and with those of a new row.
#[derive(Clone, Copy)]
struct Factors {
    /// The values are halved so often.
    halvings: u32,
    /// The new ones are multiplied by this, in units of 1 / [`ONE`]: less than a half.
    adds: i16,
}

impl Sum {
    const NONE: Sum = Sum {
        units: UNITS,
        energy: 0.0,
        variance: 0.0,
        highest: 0,
    };

    /// Fades, takes note of a row and returns how its values come to those there are already.
    /// Silence changes nothing, as its energy is nothing, too.
    fn fade(&mut self, stays: f32, row: &NewRow) -> Option<Factors> {
        let faded = stays * stays * self.energy;
        // In long silence sums would fade into numbers so small that processors are slow with them.
        let before = if faded < FADED { 0.0 } else { faded };
        let new = row.step * row.step * row.energy;
        self.energy = before + new;
        if self.energy == 0.0 {
            *self = Sum::NONE;
        }
        if new == 0.0 {
            return None;
        }
        let mut factors = Factors {
            halvings: (self.highest > HIGH) as u32,
            adds: 0,
        };
        self.units *= (self.energy / before).sqrt() / (1 << factors.halvings) as f32;
        // Units that the factor of the new row allows: that of a start, or of a pause that is over, is the largest.
        let most = UNITS.min(LARGEST_FACTOR * self.energy.sqrt() / row.step);
        while self.units > most && factors.halvings < MOST_HALVINGS {
            self.units *= 0.5;
            factors.halvings += 1;
        }
        self.units = self.units.min(most);
        let adds = self.units * row.step / self.energy.sqrt();
        factors.adds = whole(adds * ONE) as i16;
        let (stays, adds) = (
            0.5f32.powi(factors.halvings as i32),
            factors.adds as f32 / ONE,
        );
        self.variance = stays * stays * self.variance + adds * adds * row.energy;
        Some(factors)
    }

    fn score(&self, value: i16) -> f32 {
        if self.variance < 1.0 {
            return 0.0;
        }
        value as f32 / self.variance.sqrt()
    }

    /// The least value whose score is `least`, if there is one.
    fn limit(&self, least: f32) -> Option<i16> {
        let limit = (least * self.variance.sqrt()).ceil();
        (self.variance >= 1.0 && limit <= self.highest as f32).then_some(limit as i16)
    }
}

impl Evidence {
    /// No evidence yet for `count` hypotheses.
    pub fn new(count: usize) -> Self {
        debug_assert!(count.is_multiple_of(LANES));
        Evidence {
            count,
            values: vec![0; SUMS * count],
            sums: [Sum::NONE; SUMS],
        }
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        // What is there already counts for nothing from now on.
        self.sums = [Sum::NONE; SUMS];
    }

    /// Takes what there is in another place for as many hypotheses.
    pub fn copy_from(&mut self, other: &Evidence) {
        self.values.copy_from_slice(&other.values);
        self.sums = other.sums;
    }

    /// Adds a row.
    pub fn add(&mut self, arch: Arch, row: NewRow) {
        let mut factors = [None; SUMS];
        for (w, sum) in self.sums.iter_mut().enumerate() {
            factors[w] = sum.fade(fading(w), &row);
        }
        arch.dispatch(Fade {
            values: self.values.chunks_exact_mut(self.count),
            new: row.products,
            factors,
            sums: &mut self.sums,
        });
    }

    /// Highest score of each of the sums.
    pub fn highest(&self) -> [f32; SUMS] {
        self.sums.map(|sum| sum.score(sum.highest))
    }

    /// Scores of the sums of hypothesis `o`.
    pub fn scores(&self, o: usize) -> [f32; SUMS] {
        std::array::from_fn(|w| self.sums[w].score(self.values[w * self.count + o]))
    }

    /// Calls `each` with every hypothesis of which a sum has the score `least`.
    pub fn passing(&self, arch: Arch, least: f32, mut each: impl FnMut(usize)) {
        let limits = self.sums.map(|sum| sum.limit(least).unwrap_or(i16::MAX));
        if limits == [i16::MAX; SUMS] {
            return;
        }
        for first in (0..self.count).step_by(LANES) {
            let passes = arch.dispatch(Pass {
                values: &self.values[first..],
                count: self.count,
                limits,
            });
            if passes {
                let passes = |o: &usize| {
                    let values = self.values[*o..].iter().step_by(self.count);
                    values.zip(limits).any(|(value, limit)| *value >= limit)
                };
                (first..first + LANES).filter(passes).for_each(&mut each);
            }
        }
    }
}

/// Adds a row to all fading sums, and takes note of the highest values. This is a type, as is the one below, because a
/// closure would not be compiled for each instruction set.
struct Fade<'a> {
    values: ChunksExactMut<'a, i16>,
    new: &'a [i16],
    factors: [Option<Factors>; SUMS],
    sums: &'a mut [Sum; SUMS],
}

impl WithSimd for Fade<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let sums = self.sums.iter_mut().zip(self.factors);
        for (values, (sum, factors)) in self.values.zip(sums) {
            let Some(factors) = factors else { continue };
            if factors.halvings == MOST_HALVINGS {
                // A half of -1 would be -1 for ever.
                values.fill(0);
            }
            let mut highest = [i16::MIN; LANES];
            let new = self.new.as_chunks::<LANES>().0;
            for (values, new) in values.as_chunks_mut::<LANES>().0.iter_mut().zip(new) {
                highest = fade(values, new, factors, highest);
            }
            sum.highest = highest.into_iter().fold(i16::MIN, i16::max);
        }
    }
}

#[inline(always)]
fn fade(
    values: &mut [i16; LANES],
    new: &[i16; LANES],
    factors: Factors,
    mut highest: [i16; LANES],
) -> [i16; LANES] {
    for i in 0..LANES {
        let stays = values[i].wrapping_shr(factors.halvings);
        values[i] = stays.saturating_add(times(new[i], factors.adds));
        highest[i] = highest[i].max(values[i]);
    }
    highest
}

/// A product in units of [`ONE`], rounded down.
#[inline(always)]
fn times(value: i16, factor: i16) -> i16 {
    ((value as i32 * factor as i32) >> 16) as i16
}

/// Whether any of the first hypotheses reaches a limit.
struct Pass<'a> {
    values: &'a [i16],
    count: usize,
    limits: [i16; SUMS],
}

impl WithSimd for Pass<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> bool {
        let mut any = false;
        for (w, limit) in self.limits.into_iter().enumerate() {
            let values = &self.values[w * self.count..][..LANES];
            let highest = values.iter().fold(i16::MIN, |a, &b| a.max(b));
            any |= highest >= limit;
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: usize = 5 * LANES;
    /// Of products with the even chips, if most of the magnitude is in a few: no row has less.
    const DEVIATION: f32 = 1200.0;
    const ENERGY: f32 = DEVIATION * DEVIATION;

    fn random(state: &mut u64) -> f32 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// A row whose products have about the deviation that its energy says, in steps of that size.
    fn products(state: &mut u64, step: f32) -> (Vec<i16>, f32) {
        let products = (0..COUNT).map(|_| (DEVIATION * 1.73 * random(state)) as i16);
        (products.collect(), ENERGY * step * step)
    }

    /// A row of such products in steps of 1.
    fn row_of(products: &[i16]) -> NewRow<'_> {
        NewRow {
            products,
            step: 1.0,
            energy: ENERGY,
        }
    }

    /// Sums of loud and of soft rows, and of silence, are the same in exact numbers but for rounding, and never above.
    #[test]
    fn scores_are_those_of_exact_sums_but_for_rounding() {
        let (arch, mut state) = (Arch::new(), 1u64);
        let mut evidence = Evidence::new(COUNT);
        let mut exact = vec![[0.0f64; SUMS]; COUNT];
        let (mut energies, mut lost) = ([0.0f64; SUMS], [0.0f64; SUMS]);
        for row in 0..400 {
            // A loud stretch, a soft one, and one that is mostly silent.
            let step = match row {
                0..100 => 0.5 + 0.4 * random(&mut state),
                100..200 => 1e-3,
                _ if row % 7 > 0 => 0.0,
                _ => 1.0,
            };
            let (new, energy) = products(&mut state, step);
            evidence.add(
                arch,
                NewRow {
                    products: &new,
                    step,
                    energy: if step > 0.0 { ENERGY } else { 0.0 },
                },
            );
            for w in 0..SUMS {
                let stays = fading(w) as f64;
                let before = stays * stays * energies[w];
                energies[w] = before + energy as f64;
                if step > 0.0 {
                    // A product is rounded down by a unit at most, and a half by another.
                    let units = (LARGEST_FACTOR * DEVIATION / 2.0) as f64;
                    lost[w] = (before / energies[w]).sqrt() * lost[w] + 2.0 / units;
                }
                for (sums, new) in exact.iter_mut().zip(&new) {
                    sums[w] = stays * sums[w] + step as f64 * *new as f64;
                }
            }
            let mut squares = 0.0;
            for (o, sums) in exact.iter().enumerate() {
                for (w, score) in evidence.scores(o).into_iter().enumerate() {
                    let off = sums[w] / energies[w].sqrt() - score as f64;
                    let most = 1.05 * lost[w];
                    assert!((-2e-3..most).contains(&off), "row {row}, sum {w}: {off}");
                    // Half a unit a row on average, and units are mostly smaller.
                    squares += (off - 0.2 * lost[w]).powi(2);
                }
            }
            let deviation = (squares / (COUNT * SUMS) as f64).sqrt();
            assert!(deviation < 0.05, "row {row}: {deviation}");
            for (w, highest) in evidence.highest().into_iter().enumerate() {
                let scores = (0..COUNT).map(|o| evidence.scores(o)[w]);
                assert_eq!(highest, scores.fold(f32::NEG_INFINITY, f32::max));
            }
        }
    }

    /// A recording is searched piece by piece: the mark is found after many rows.
    #[test]
    fn the_score_of_a_strong_mark_has_no_bound() {
        let (arch, mut state) = (Arch::new(), 3u64);
        let mut evidence = Evidence::new(COUNT);
        for rows in 1..200 {
            let (mut new, _) = products(&mut state, 1.0);
            new[7] = 10 * DEVIATION as i16;
            evidence.add(arch, row_of(&new));
            for (w, score) in evidence.scores(7).into_iter().enumerate() {
                let stays = fading(w);
                let sum = |stays: f32| (1.0 - stays.powi(rows)) / (1.0 - stays);
                let exact = 10.0 * sum(stays) / sum(stays * stays).sqrt();
                assert!(
                    (score / exact - 1.0).abs() < 0.01,
                    "{rows}: {score} for {exact}"
                );
                assert_eq!(evidence.highest()[w], score);
            }
        }
    }

    #[test]
    fn what_reaches_the_limit_passes() {
        let (arch, mut state) = (Arch::new(), 5u64);
        let mut evidence = Evidence::new(COUNT);
        for _ in 0..30 {
            let (new, _) = products(&mut state, 1.0);
            evidence.add(arch, row_of(&new));
            for least in [1.0, 2.0, 3.0, 100.0] {
                let mut passed = Vec::new();
                evidence.passing(arch, least, |o| passed.push(o));
                let high = |o: &usize| evidence.scores(*o).iter().any(|score| *score >= least);
                assert_eq!(passed, (0..COUNT).filter(high).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn in_long_silence_nothing_is_left() {
        let (arch, new) = (Arch::new(), [DEVIATION as i16; COUNT]);
        let mut evidence = Evidence::new(COUNT);
        let row = |energy| NewRow {
            products: &new,
            step: 1.0,
            energy,
        };
        evidence.add(arch, row(ENERGY));
        assert!(evidence.highest()[0] > 0.9);
        for _ in 1..3000 {
            evidence.add(arch, row(0.0));
            assert!(evidence.highest().iter().all(|score| score.is_finite()));
        }
        assert_eq!(evidence.highest(), [0.0; SUMS]);
    }

    #[test]
    fn of_what_was_forgotten_nothing_is_left() {
        let (arch, mut state) = (Arch::new(), 7u64);
        let [mut fresh, mut used] = [Evidence::new(COUNT), Evidence::new(COUNT)];
        for _ in 0..20 {
            used.add(arch, row_of(&products(&mut state, 1.0).0));
        }
        used.reset();
        let (new, _) = products(&mut state, 1.0);
        for evidence in [&mut fresh, &mut used] {
            evidence.add(arch, row_of(&new));
        }
        assert!((0..COUNT).all(|o| fresh.scores(o) == used.scores(o)));
    }

    #[test]
    fn a_row_is_turned_to_its_hypotheses() {
        let mut rotated = [0; 4];
        rotate(&[10, 11, 12, 13], 6, &mut rotated);
        assert_eq!(rotated, [12, 13, 10, 11]);
    }
}
