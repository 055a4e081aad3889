// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the frames of the programme carrier lie against the rows.
//!
//! Frames come every 64 ms and rows every 200 ms, so the distances from the edges of rows to the middles of frames are
//! 8 ms apart. A frame has the signs of the row that its middle is in, so the signs change up to 32 ms before or
//! after the edge. On average that is nothing if the distances lie evenly around 0, and up to 4 ms if they
//! do not: no detector can know these, and its watermark time would be wrong by them.

use super::format::{DELAY, ROW_NANOSECONDS};

/// What the hop and the row have in common, in nanoseconds.
const DISTANCES: u64 = 8_000_000;
/// Milliseconds of silence that [`silence_ahead`] asks for at most.
pub const MOST_AHEAD: usize = 8;
/// Time from frame to frame, in nanoseconds.
const HOP: u64 = (2.0 * DELAY * 1e9) as u64 / 5;
const _: () = assert!(ROW_NANOSECONDS.is_multiple_of(DISTANCES) && HOP.is_multiple_of(DISTANCES));

/// Frames of silence to put before the programme, so that the distances lie evenly around 0: without, the middle of the first
/// frame would be at `middle` nanoseconds of the row clock.
pub fn silence_ahead(middle: u64, rate: u64) -> u64 {
    let late = (middle % DISTANCES + DISTANCES / 2) % DISTANCES;
    late * rate / 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_change_as_often_early_as_late() {
        for rate in [8_000, 44_100, 192_000] {
            for middle in [0u64, 1, 64_000_000, 67_999_999, 68_000_000, 1 << 60] {
                let ahead = silence_ahead(middle, rate);
                assert!(ahead * 1_000 <= MOST_AHEAD as u64 * rate);
                let first = middle + HOP - ahead * 1_000_000_000 / rate;
                let (mut late, mut edges) = (0, 0);
                // All distances come in eight rows, which are 25 frames.
                for frame in 0..25 {
                    let [before, after] = [frame, frame + 1].map(|frame| first + frame * HOP);
                    let edge = after / ROW_NANOSECONDS * ROW_NANOSECONDS;
                    if before < edge {
                        late += (before + HOP / 2) as i64 - edge as i64;
                        edges += 1;
                    }
                }
                assert_eq!(edges, 8);
                let sample = 1_000_000_000 / rate as i64;
                assert!((late / 8).abs() <= sample, "{late} ns from {middle} on");
            }
        }
    }
}
