// SPDX-License-Identifier: MIT OR Apache-2.0
//! The speeds that are searched, and the chips of a slot at each of them.

use super::correlation::{Correlator, SpeedMap};
use super::format::CHIPS;
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

/// Writes the chips of a slot, speed by speed.
pub fn write_chips(sums: &[Complex<f32>], maps: &[SpeedMap], chips: &mut [f32]) {
    for (chips, map) in chips.chunks_exact_mut(CHIPS).zip(maps) {
        map.chips(sums, chips);
    }
}
