// SPDX-License-Identifier: MIT OR Apache-2.0
//! The speeds that are searched, and the chips of a slot at each of them.

use super::correlation::{Correlator, SpeedMap, of_view};
use super::format::CHIPS;
use super::weighting::VIEWS;
use rustfft::num_complex::Complex;

/// Distance of two speeds that are searched, as a ratio: half of it shifts the lag by 16 us and costs 7 %
/// of the score (measured).
pub const SPEED_STEP: f64 = 0.0002;

/// The speeds up to `deviation` (a ratio) from the nominal one, which is in the middle.
pub fn speed_maps(deviation: f64, sample_rate: u32, correlator: &Correlator) -> Vec<SpeedMap> {
    let steps = (deviation / SPEED_STEP).round() as i32;
    (-steps..=steps)
        .map(|step| 1.0 + step as f64 * SPEED_STEP)
        .map(|speed| SpeedMap::new(speed, sample_rate, correlator))
        .collect()
}

/// Vectors of chips that a search over so many speeds takes with each slot.
pub fn vectors(speeds: usize) -> usize {
    VIEWS * speeds
}

/// Writes the chips of a slot in the order of a search: speed by speed, view after view.
pub fn write_chips(sums: &[Complex<f32>], maps: &[SpeedMap], chips: &mut [f32]) {
    let chips = chips.chunks_exact_mut(CHIPS).take(VIEWS * maps.len());
    for (i, chips) in chips.enumerate() {
        maps[i % maps.len()].chips(of_view(sums, i / maps.len()), chips);
    }
}
