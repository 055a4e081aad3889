// SPDX-License-Identifier: MIT OR Apache-2.0
//! The chips of the rows that have ended with each of the latest slots. They depend on the audio alone and are the same
//! for every key.
//!
//! The product with the signs is linear, so it does not matter whether slots are multiplied and then added or the
//! other way round; and a row is looked at only when it ends. So one product with the sum of
//! five slots takes the place of five products, each added to the evidence of every alignment.
//!
//! The chips are rounded to whole numbers of a byte, as many of these are multiplied at once. A step is so large that
//! the magnitudes of a batch of the products, a sixth of the chips, never add up to more than a byte holds: magnitudes are
//! 3.6 steps on average. If they are all alike, which is the worst case, rounding takes 0.3 % from a score. The rounded chips are what counts from then on: they do not depend on the key
//! any more than the exact ones do, so the bound of [`super::bound`] holds for them as they are.
//!
//! A row always means the latest five slots. At speeds other than the nominal one a row has four or six of them now and
//! then: it then borrows a slot from the row before it or leaves its first one out, which loses next to nothing.
//! [`super::bound`] holds all the same, as the sum remains a number that does not depend on the key.

use super::candidate::Pilots;
use super::correlation::SLOTS_PER_ROW;
use super::format::CHIPS;
use super::products::{BATCHES, MOST, SCALE, Tables};
use super::rounding::whole;
use super::speeds::kept;
use super::windows::ROWS_KEPT;
use pulp::{Arch, Simd, WithSimd};

/// Rows that are kept, each slot ends one: those of the longest window that is cut, of up to six slots each.
const KEPT: usize = 64;
const _: () = assert!(CHIPS.is_multiple_of(BATCHES));
const _: () = assert!(KEPT > 6 * ROWS_KEPT - 6);
/// The magnitudes of a batch add up to so many steps before they are rounded, and to more than [`MOST`] afterwards in
/// one row of a thousand. For those there is a number that is safe, as each is rounded by half a step at most.
const STEPS: [f32; 2] = [
    MOST as f32 - 5.0,
    (MOST - (CHIPS / BATCHES) as i32 / 2 - 1) as f32,
];
/// Sums of magnitudes outside of this are no correlations of audio; such a row counts as silence.
const MAGNITUDES: std::ops::RangeInclusive<f32> = 1e-25..=1e15;

/// The chips of one row, or of what there is of it, at each speed, in whole steps.
#[derive(Clone)]
pub struct RoundedRows {
    chips: Vec<[i8; CHIPS]>,
    /// How large a step of the products is, which are [`SCALE`] times the sum of the chips.
    steps: Vec<f32>,
    /// Sums of squares, in such steps: of all chips and of the even ones.
    energies: Vec<[f32; 2]>,
}

/// The chips of one row at one speed.
#[derive(Clone, Copy)]
pub struct RoundedRow<'a> {
    pub chips: &'a [i8; CHIPS],
    pub step: f32,
    energies: [f32; 2],
}

impl RoundedRow<'_> {
    /// A row without a sound.
    pub const SILENCE: RoundedRow<'static> = RoundedRow {
        chips: &[0; CHIPS],
        step: 0.0,
        energies: [0.0; 2],
    };

    /// Sum of squares of the chips that are pilots, in steps.
    pub fn energy(&self, pilots: Pilots) -> f32 {
        self.energies[pilots as usize]
    }
}

impl RoundedRows {
    /// Silence at `speeds` speeds.
    pub fn new(speeds: usize) -> Self {
        RoundedRows {
            chips: vec![[0; CHIPS]; speeds],
            steps: vec![0.0; speeds],
            energies: vec![[0.0; 2]; speeds],
        }
    }

    /// Takes the chips of all speeds, one speed behind the other.
    pub fn round(&mut self, arch: Arch, chips: &[f32]) {
        arch.dispatch(Round { rows: self, chips });
    }

    /// The row at one speed.
    pub fn at(&self, speed: usize) -> RoundedRow<'_> {
        RoundedRow {
            chips: &self.chips[speed],
            step: self.steps[speed],
            energies: self.energies[speed],
        }
    }

    /// Chips at the speeds that are kept.
    fn kept(&self) -> impl Iterator<Item = &[i8; CHIPS]> {
        kept(self.chips.len()).map(|speed| &self.chips[speed])
    }

    /// Chips at all speeds.
    pub fn chips(&self) -> &[[i8; CHIPS]] {
        &self.chips
    }
}

/// [`RoundedRows::round`]. This is a type, because a closure would not be compiled for each instruction set.
struct Round<'a> {
    rows: &'a mut RoundedRows,
    chips: &'a [f32],
}

impl WithSimd for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let RoundedRows {
            chips,
            steps,
            energies,
        } = self.rows;
        let rounded = chips.iter_mut().zip(steps).zip(energies);
        for (((rounded, step), energies), chips) in rounded.zip(self.chips.as_chunks::<CHIPS>().0) {
            *step = round(chips, rounded);
            let mut sums = [0i32; 2];
            for chips in rounded.as_chunks::<2>().0 {
                for (sum, chip) in sums.iter_mut().zip(chips) {
                    *sum += *chip as i32 * *chip as i32;
                }
            }
            let [even, odd] = sums.map(|sum| (SCALE as i32 * SCALE as i32) as f32 * sum as f32);
            *energies = [even + odd, even];
        }
    }
}

/// Rounds the chips of a row; returns how large a step of the products is.
#[inline(always)]
fn round(chips: &[f32; CHIPS], rounded: &mut [i8; CHIPS]) -> f32 {
    let sums = batches(chips, |chip| chip.abs());
    if !MAGNITUDES.contains(&sums.iter().sum::<f32>()) {
        rounded.fill(0);
        return 0.0;
    }
    let most = sums.into_iter().fold(0.0, f32::max);
    for steps in STEPS {
        for (rounded, chip) in rounded.iter_mut().zip(chips) {
            *rounded = whole(chip * (steps / most)) as i8;
        }
        let sums = batches(rounded, |chip| chip.unsigned_abs() as i32);
        if sums.into_iter().all(|sum| sum <= MOST) {
            return most / (steps * SCALE as f32);
        }
    }
    rounded.fill(0);
    0.0
}

/// Sums of the magnitudes of the chips of each batch.
#[inline(always)]
fn batches<T, S: Default + Copy + std::ops::AddAssign>(
    chips: &[T; CHIPS],
    magnitude: impl Fn(&T) -> S,
) -> [S; BATCHES] {
    let mut sums = [S::default(); BATCHES];
    for chips in chips.as_chunks::<BATCHES>().0 {
        for (sum, chip) in sums.iter_mut().zip(chips) {
            *sum += magnitude(chip);
        }
    }
    sums
}

/// The latest rows at each speed.
pub struct RowHistory {
    arch: Arch,
    latest: LatestSlots,
    sums: Vec<f32>,
    rows: Vec<RoundedRows>,
    /// Of the latest row.
    tables: Tables,
    slots: u64,
}

impl RowHistory {
    /// Nothing yet, at `speeds` speeds.
    pub fn new(speeds: usize) -> Self {
        RowHistory {
            arch: Arch::new(),
            latest: LatestSlots::new(speeds * CHIPS),
            sums: vec![0.0; speeds * CHIPS],
            rows: vec![RoundedRows::new(speeds); KEPT],
            tables: Tables::new(kept(speeds).len()),
            slots: 0,
        }
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.latest.reset();
        self.slots = 0;
    }

    /// Takes the chips of a slot at each speed. It ends a row: of five slots, if there are so many.
    pub fn push(&mut self, chips: &[f32]) {
        self.latest.push(chips);
        self.slots += 1;
        self.latest.sum(SLOTS_PER_ROW, 0, &mut self.sums);
        let rows = &mut self.rows[self.slots as usize % KEPT];
        rows.round(self.arch, &self.sums);
        self.tables.fill(self.arch, rows.kept());
    }

    /// Slots so far.
    pub fn slots(&self) -> u64 {
        self.slots
    }

    /// The row that ended when there were `slots` slots, one of the latest.
    pub fn ended_at(&self, slots: u64) -> &RoundedRows {
        debug_assert!(slots <= self.slots && slots + KEPT as u64 > self.slots);
        &self.rows[slots as usize % KEPT]
    }

    /// The row that ended last.
    pub fn latest(&self) -> &RoundedRows {
        self.ended_at(self.slots)
    }

    /// What the row that ended last is multiplied with, at the speeds that are kept.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Rounds the latest `slots` slots, which are the row under way.
    pub fn round_latest(&mut self, slots: usize, rows: &mut RoundedRows, tables: &mut Tables) {
        self.latest.sum(slots, 0, &mut self.sums);
        rows.round(self.arch, &self.sums);
        tables.fill(self.arch, rows.kept());
    }

    /// Writes the sum of the latest `slots` slots at one speed.
    pub fn sum_latest(&self, slots: usize, speed: usize, chips: &mut [f32; CHIPS]) {
        self.latest.sum(slots, speed * CHIPS, chips);
    }
}

/// Chips of the latest slots, all speeds one behind the other.
struct LatestSlots {
    length: usize,
    chips: Vec<f32>,
    newest: usize,
}

impl LatestSlots {
    /// No slots yet, of `length` chips each.
    fn new(length: usize) -> Self {
        LatestSlots {
            length,
            chips: vec![0.0; SLOTS_PER_ROW * length],
            newest: 0,
        }
    }

    /// Forgets everything: slots that there were not add nothing.
    fn reset(&mut self) {
        self.chips.fill(0.0);
    }

    /// Takes a slot.
    fn push(&mut self, chips: &[f32]) {
        self.newest = (self.newest + 1) % SLOTS_PER_ROW;
        self.chips[self.newest * self.length..][..self.length].copy_from_slice(chips);
    }

    /// Writes the sum of the latest `slots` slots, of the chips from `first` on.
    fn sum(&self, slots: usize, first: usize, sums: &mut [f32]) {
        sums.fill(0.0);
        for age in 0..slots.min(SLOTS_PER_ROW) {
            let slot = (self.newest + SLOTS_PER_ROW - age) % SLOTS_PER_ROW;
            let chips = &self.chips[slot * self.length + first..][..sums.len()];
            for (sum, chip) in sums.iter_mut().zip(chips) {
                *sum += chip;
            }
        }
    }
}

/// The sum of squares.
pub fn energy(chips: &[f32]) -> f32 {
    // Several sums side by side, because one alone would have to wait for each addition.
    let (pieces, rest) = chips.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for piece in pieces {
        for (sum, chip) in sums.iter_mut().zip(piece) {
            *sum += chip * chip;
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|chip| chip * chip).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_slots_are_added_up() {
        let mut latest = LatestSlots::new(3);
        let sum = |latest: &LatestSlots, slots| {
            let mut sums = [f32::NAN; 2];
            latest.sum(slots, 1, &mut sums);
            sums
        };
        for slot in 1..=7 {
            latest.push(&[0.0, slot as f32, 100.0 * slot as f32]);
            if slot == 2 {
                assert_eq!(sum(&latest, 5), [3.0, 300.0]);
            }
        }
        assert_eq!(sum(&latest, 0), [0.0, 0.0]);
        assert_eq!(sum(&latest, 1), [7.0, 700.0]);
        assert_eq!(sum(&latest, 4), [22.0, 2200.0]);
        assert_eq!(sum(&latest, 9), [25.0, 2500.0]);
        latest.reset();
        assert_eq!(sum(&latest, 5), [0.0, 0.0]);
    }

    #[test]
    fn energy_is_the_sum_of_squares() {
        let chips: Vec<f32> = (1..=19).map(|chip| chip as f32).collect();
        assert_eq!(energy(&chips), 2470.0);
        assert_eq!(energy(&[]), 0.0);
    }

    #[test]
    fn chips_are_rounded_to_steps() {
        let mut rows = RoundedRows::new(2);
        let chips: Vec<f32> = (0..2 * CHIPS)
            .map(|i| (i as f32 * 0.7).sin() * (i / CHIPS) as f32)
            .collect();
        rows.round(Arch::new(), &chips);
        assert_eq!((rows.at(0).step, rows.chips()[0]), (0.0, [0; CHIPS]));
        let row = rows.at(1);
        let step = SCALE as f32 * row.step;
        let (mut product, mut exact_energy, mut energies) = (0.0, 0.0, [0.0; 2]);
        for (chip, (rounded, exact)) in row.chips.iter().zip(&chips[CHIPS..]).enumerate() {
            let rounded = step * *rounded as f32;
            assert!((rounded - exact).abs() <= 0.51 * step);
            product += rounded * exact;
            exact_energy += exact * exact;
            energies[0] += rounded * rounded;
            energies[1] += if chip % 2 == 0 {
                rounded * rounded
            } else {
                0.0
            };
        }
        let alike = product / (exact_energy * energies[0]).sqrt();
        assert!(alike > 0.996, "{alike}");
        let sums = batches(row.chips, |chip| chip.unsigned_abs() as i32);
        assert!(sums.iter().all(|sum| (90..=MOST).contains(sum)), "{sums:?}");
        for (pilots, exact) in Pilots::BOTH.into_iter().zip(energies) {
            let energy = row.step * row.step * row.energy(pilots);
            assert!((energy / exact - 1.0).abs() < 1e-5, "{energy} for {exact}");
        }
    }

    #[test]
    fn what_is_no_audio_counts_as_silence() {
        for chip in [0.0, 1e-30, 1e30, f32::INFINITY, f32::NAN] {
            let mut chips = [1.0; 2 * CHIPS];
            chips[7] = chip;
            if chip < 1.0 {
                chips[..CHIPS].fill(chip);
            }
            let mut rows = RoundedRows::new(2);
            rows.round(Arch::new(), &chips);
            assert_eq!(rows.chips()[0], [0; CHIPS]);
            assert_eq!(rows.at(0).energy(Pilots::All), 0.0);
            assert!(rows.at(1).energy(Pilots::All) > 0.0);
        }
    }
}
