// SPDX-License-Identifier: MIT OR Apache-2.0
//! The chips are rounded to whole numbers of a byte, as many of these are multiplied at once. A step is so large that
//! the magnitudes of a batch of the products, a sixth of the chips, never add up to more than a byte holds: magnitudes
//! are 3.6 steps on average. If they are all alike, which is the worst case, rounding takes 0.3 % from a score. The
//! rounded chips are what counts from then on: they do not depend on the key any more than the exact ones do, so the
//! bound of [`super::bound`] holds for them as they are.

use super::candidate::Pilots;
use super::format::CHIPS;
use super::products::{BATCHES, MOST, NO_CHIPS, PlacedChips, SCALE, place_chips};
use super::rounding::whole;
use super::speeds::kept;
use pulp::{Arch, Simd, WithSimd};

const _: () = assert!(CHIPS.is_multiple_of(BATCHES));
/// The magnitudes of a batch add up to so many steps before they are rounded, and to more than [`MOST`] afterwards in
/// one row of a thousand. For those there is a number that is safe, as each is rounded by half a step at most.
const STEPS: [f32; 2] = [
    MOST as f32 - 5.0,
    (MOST - (CHIPS / BATCHES) as i32 / 2 - 1) as f32,
];
/// Sums of magnitudes outside of this are no correlations of audio; such a row counts as silence.
const MAGNITUDES: std::ops::RangeInclusive<f32> = 1e-25..=1e15;

/// The chips of one row, or of what there is of it, at one speed, in whole steps.
#[derive(Clone)]
pub struct RoundedRow {
    pub chips: PlacedChips,
    /// How large a step of the products is, which are [`SCALE`] times the sum of the chips.
    pub step: f32,
    /// Sums of squares, in such steps: of all chips and of the even ones.
    energies: [f32; 2],
}

impl RoundedRow {
    /// A row without a sound.
    pub const SILENCE: RoundedRow = RoundedRow {
        chips: NO_CHIPS,
        step: 0.0,
        energies: [0.0; 2],
    };

    /// Sum of squares of the chips that are pilots, in steps.
    pub fn energy(&self, pilots: Pilots) -> f32 {
        self.energies[pilots as usize]
    }
}

/// Of the chips of all speeds those of the speeds that are kept.
pub fn kept_chips(rows: &[RoundedRow]) -> impl Iterator<Item = &PlacedChips> {
    kept(rows.len()).map(|speed| &rows[speed].chips)
}

/// Rounds the chips of all speeds, one speed behind the other.
pub fn round(arch: Arch, chips: &[f32], rows: &mut [RoundedRow]) {
    arch.dispatch(Round { chips, rows });
}

/// [`round`]. This is a type, because a closure would not be compiled for each instruction set.
struct Round<'a> {
    chips: &'a [f32],
    rows: &'a mut [RoundedRow],
}

impl WithSimd for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (row, chips) in self.rows.iter_mut().zip(self.chips.as_chunks().0) {
            let mut rounded = [0; CHIPS];
            row.step = to_steps(chips, &mut rounded);
            row.chips = place_chips(&rounded);
            let mut sums = [0i32; 2];
            for chips in rounded.as_chunks::<2>().0 {
                for (sum, chip) in sums.iter_mut().zip(chips) {
                    *sum += *chip as i32 * *chip as i32;
                }
            }
            let [even, odd] = sums.map(|sum| (SCALE as i32 * SCALE as i32) as f32 * sum as f32);
            row.energies = [even + odd, even];
        }
    }
}

/// Rounds the chips of a row; returns how large a step of the products is.
#[inline(always)]
fn to_steps(chips: &[f32; CHIPS], rounded: &mut [i8; CHIPS]) -> f32 {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chips_are_rounded_to_steps() {
        let mut rows = [RoundedRow::SILENCE; 2];
        let chips: Vec<f32> = (0..2 * CHIPS)
            .map(|i| (i as f32 * 0.7).sin() * (i / CHIPS) as f32)
            .collect();
        round(Arch::new(), &chips, &mut rows);
        assert_eq!((rows[0].step, rows[0].chips), (0.0, NO_CHIPS));
        let row = &rows[1];
        let mut rounded = [0; CHIPS];
        to_steps(chips[CHIPS..].first_chunk().unwrap(), &mut rounded);
        assert_eq!(row.chips, place_chips(&rounded));
        let step = SCALE as f32 * row.step;
        let (mut product, mut exact_energy, mut energies) = (0.0, 0.0, [0.0; 2]);
        for (chip, (steps, exact)) in rounded.iter().zip(&chips[CHIPS..]).enumerate() {
            let rounded = step * *steps as f32;
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
        let sums = batches(&rounded, |chip| chip.unsigned_abs() as i32);
        assert!(sums.iter().all(|sum| (90..=MOST).contains(sum)), "{sums:?}");
        for (pilots, exact) in Pilots::BOTH.into_iter().zip(energies) {
            let energy = row.step * row.step * row.energy(pilots);
            assert!((energy / exact - 1.0).abs() < 1e-5, "{energy} for {exact}");
        }
    }

    /// All chips alike would be 3.7 steps: four, and 132 in a batch.
    #[test]
    fn what_is_rounded_up_still_fits() {
        let mut rows = [RoundedRow::SILENCE];
        round(Arch::new(), &[0.3; CHIPS], &mut rows);
        let sums = rows[0]
            .chips
            .map(|batch| batch.iter().map(|chip| *chip as i32).sum::<i32>());
        assert_eq!(sums, [99; BATCHES]);
    }

    #[test]
    fn what_is_no_audio_counts_as_silence() {
        for chip in [0.0, 1e-30, 1e30, f32::INFINITY, f32::NAN] {
            let mut chips = [1.0; 2 * CHIPS];
            chips[7] = chip;
            if chip < 1.0 {
                chips[..CHIPS].fill(chip);
            }
            let mut rows = [RoundedRow::SILENCE; 2];
            round(Arch::new(), &chips, &mut rows);
            assert_eq!(rows[0].chips, NO_CHIPS);
            assert_eq!(rows[0].energy(Pilots::All), 0.0);
            assert!(rows[1].energy(Pilots::All) > 0.0);
        }
    }
}
