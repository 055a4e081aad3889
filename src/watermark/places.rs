// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the key lies against the local rows, in slots: a place, and what is next to it.

use super::candidate::LocalClock;
use super::correlation::{SLOT, SLOTS_PER_ROW};
use super::format::{ROWS, RowClock};
use super::speeds::SpeedMap;

/// Local row, and row of the key, of what is heard at `seconds` if the mark plays at `speed` and is at `place`.
pub fn rows_at(
    clock: LocalClock,
    row_clock: RowClock,
    seconds: f64,
    speed: f64,
    place: i64,
) -> (i64, u64) {
    let slots = SLOTS_PER_ROW as i64;
    let local = clock.row(seconds, speed, place.rem_euclid(slots) as usize);
    let row = local + place.div_euclid(slots);
    (local, row_of_key(row_clock, row))
}

/// Number of the row of the key that is meant by `row`, which may lie before the first and after the last.
pub fn row_of_key(row_clock: RowClock, row: i64) -> u64 {
    match row_clock {
        RowClock::Stream => row.rem_euclid(ROWS as i64) as u64,
        RowClock::Utc => row.max(0) as u64,
    }
}

/// The neighbours: steps of speed and of place, those of one speed together.
pub fn neighbours() -> impl Iterator<Item = (i32, i64)> {
    (-1..=1).flat_map(|step| (-1..=1).map(move |shift| (step, shift)))
}

/// Slots that must be added to a place at speed `from` to mean the same position at speed `to`: positions are
/// counted from the start of the stream.
pub fn slip(maps: &[SpeedMap], from: usize, to: usize, seconds: f64) -> i64 {
    ((maps[from].speed - maps[to].speed) * seconds / SLOT).round() as i64
}

pub fn neighbour_speed(speed: usize, step: i32, speeds: usize) -> usize {
    speed.saturating_add_signed(step as isize).min(speeds - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watermark::correlation::Correlator;

    #[test]
    fn a_slip_keeps_the_position_at_any_time() {
        let correlator = Correlator::new(16_000, 0.01, 160);
        let maps = [0.9998, 1.0, 1.0002].map(|v| SpeedMap::new(v, &correlator));
        for seconds in [0.0, 300.0, 86_400.0] {
            for (from, to) in [(1, 0), (1, 2), (0, 2)] {
                let position =
                    |speed: usize, place: i64| maps[speed].speed * seconds / SLOT + place as f64;
                let moved = position(to, 7 + slip(&maps, from, to, seconds));
                assert!(
                    (moved - position(from, 7)).abs() <= 0.5 + 1e-6,
                    "{seconds} s"
                );
            }
        }
    }
}
