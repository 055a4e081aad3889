// SPDX-License-Identifier: MIT OR Apache-2.0
//! The speeds that are searched, and the chips of a slot at each of them.

use super::correlation::Correlator;
use super::format::{CHIP_LOW, CHIP_WIDTH, CHIPS, DELAY};
use pulp::{Arch, Simd, WithSimd};
use rustfft::num_complex::Complex;
use std::f64::consts::TAU;
use std::ops::Range;

/// Distance of two speeds that are searched, as a ratio: half of it shifts the lag by 16 us and costs 7 %
/// of the score (measured).
pub const SPEED_STEP: f64 = 0.0002;

/// The speeds up to `deviation` (a ratio) from the nominal one, which is in the middle.
pub fn speed_maps(deviation: f64, correlator: &Correlator) -> Vec<SpeedMap> {
    let steps = (deviation / SPEED_STEP).round() as i32;
    (-steps..=steps)
        .map(|step| 1.0 + step as f64 * SPEED_STEP)
        .map(|speed| SpeedMap::new(speed, correlator))
        .collect()
}

/// Whether a speed is one of those that the search keeps evidence for: every second one, the nominal one among them,
/// and the slowest and the fastest, so that each of the others lies between two of these.
pub fn is_kept(speed: usize, speeds: usize) -> bool {
    speed % 2 == speeds / 2 % 2 || speed == 0 || speed + 1 == speeds
}

/// The speeds that are kept.
pub fn kept(speeds: usize) -> impl Iterator<Item = usize> {
    (0..speeds).filter(move |speed| is_kept(*speed, speeds))
}

/// How many these are.
pub fn kept_count(speeds: usize) -> usize {
    kept(speeds).count()
}

/// Which of these a speed is.
pub fn lane(speed: usize, speeds: usize) -> usize {
    let others_first = speeds / 2 % 2;
    let last_is_even = others_first == 1 && speed > 0 && speed.is_multiple_of(2);
    (speed + others_first) / 2 + last_is_even as usize
}

/// Writes the chips of a slot, speed by speed.
pub fn write_chips(sums: &[Complex<f32>], maps: &[SpeedMap], chips: &mut [f32]) {
    for (chips, map) in chips.chunks_exact_mut(CHIPS).zip(maps) {
        map.chips(sums, chips);
    }
}

/// How the sums of a slot become chip correlations when the programme plays at one speed.
///
/// Played `speed` times faster, the lag is 160 ms / speed, a phase ramp over frequency, and the edges of
/// the chips move by `speed`.
pub struct SpeedMap {
    arch: Arch,
    /// Programme seconds in a second.
    pub speed: f64,
    ramp: Vec<Complex<f32>>,
    /// First bin of each chip, and the end of the last.
    edges: Vec<u16>,
    /// Number of the chip of each bin, from the first that has one to the last.
    chip_of_bin: Vec<u8>,
}

impl SpeedMap {
    /// The map of `speed` for the sums of `correlator`.
    pub fn new(speed: f64, correlator: &Correlator) -> Self {
        let rate = correlator.rate();
        Self::of_bins(speed, rate, correlator.bins(), correlator.delay())
    }

    /// The map of `speed` for sums of a range of bins of transforms of some size, `delay` samples apart, of which there
    /// are `rate` a second.
    pub fn of_bins(speed: f64, rate: f64, (size, bins): (usize, Range<usize>), delay: u64) -> Self {
        let hertz = |bin: usize| bin as f64 * rate / size as f64;
        // The frames compared are a whole number of samples apart; what is missing to the true lag is a phase.
        let missing = DELAY / speed - delay as f64 / rate;
        let edge = |chip: usize| {
            let low = (CHIP_LOW + chip as f64 * CHIP_WIDTH) * speed;
            (bins.clone().take_while(|&bin| hertz(bin) < low).count()) as u16
        };
        let edges: Vec<u16> = (0..=CHIPS).map(edge).collect();
        let chips = edges.windows(2).enumerate();
        let chip_of_bin =
            chips.flat_map(|(chip, edge)| (edge[0]..edge[1]).map(move |_| chip as u8));
        SpeedMap {
            arch: Arch::new(),
            speed,
            chip_of_bin: chip_of_bin.collect(),
            ramp: bins
                .clone()
                .map(|bin| Complex::cis(TAU * hertz(bin) * missing))
                .map(narrow)
                .collect(),
            edges,
        }
    }

    /// Phase of each bin that a lag of one delay lacks.
    pub fn ramp(&self) -> &[Complex<f32>] {
        &self.ramp
    }

    /// First bin of each chip, and the end of the last.
    pub fn edges(&self) -> &[u16] {
        &self.edges
    }

    /// Correlation of each chip, from the sums of a slot; 0 for chips that the stream has no bins for.
    pub fn chips(&self, sums: &[Complex<f32>], chips: &mut [f32]) {
        let map = self;
        self.arch.dispatch(Chips { map, sums, chips });
    }
}

/// [`SpeedMap::chips`]. This is a type, because a closure would not be compiled for each
/// instruction set.
struct Chips<'a> {
    map: &'a SpeedMap,
    sums: &'a [Complex<f32>],
    chips: &'a mut [f32],
}

impl WithSimd for Chips<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let SpeedMap {
            edges,
            ramp,
            chip_of_bin,
            ..
        } = self.map;
        let mut chips = [0.0; 1 << u8::BITS];
        let bins = edges[0] as usize..edges[CHIPS] as usize;
        let (sums, ramp) = (&self.sums[bins.clone()], &ramp[bins]);
        // First the products, which processors make several at once.
        let pieces = sums.chunks(PIECE).zip(ramp.chunks(PIECE));
        for ((sums, ramp), of_bin) in pieces.zip(chip_of_bin.chunks(PIECE)) {
            let mut products = [0.0; PIECE];
            for ((product, c), r) in products.iter_mut().zip(sums).zip(ramp) {
                *product = c.re * r.re - c.im * r.im;
            }
            for (product, chip) in products.iter().zip(of_bin) {
                chips[*chip as usize] += product;
            }
        }
        self.chips.copy_from_slice(&chips[..CHIPS]);
    }
}

/// Bins that are taken at once.
const PIECE: usize = 64;
const _: () = assert!(CHIPS <= 1 << u8::BITS);

fn narrow(c: Complex<f64>) -> Complex<f32> {
    Complex::new(c.re as f32, c.im as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_lie_between_two_speeds_that_are_kept() {
        for speeds in [1, 3, 5, 7, 11, 201, 601, 603] {
            assert!(is_kept(speeds / 2, speeds));
            let lanes: Vec<_> = kept(speeds).map(|speed| lane(speed, speeds)).collect();
            assert_eq!(lanes, (0..kept_count(speeds)).collect::<Vec<_>>());
            for speed in (0..speeds).filter(|speed| !is_kept(*speed, speeds)) {
                assert!(is_kept(speed - 1, speeds) && is_kept(speed + 1, speeds));
            }
        }
        assert_eq!(kept(11).collect::<Vec<_>>(), [0, 1, 3, 5, 7, 9, 10]);
    }
}
