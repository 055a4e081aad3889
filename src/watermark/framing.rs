// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the frames of the programme carrier lie against the rows.
//!
//! Frames come every 64 ms and rows every 200 ms, and a frame has the signs of the row that its middle is in. So signs
//! change up to 28 ms before or after the edge of a row: eight distances, 8 ms apart, that come in turn. Which of them
//! it is follows from the number of the row, because frames lie at the same places of the row clock whenever the
//! programme begins. The detector makes use of that; on the average of eight rows the distances are 0.

use super::format::{DELAY, ROW_NANOSECONDS};

/// Time from frame to frame, in nanoseconds.
const HOP: u64 = (2.0 * DELAY * 1e9) as u64 / 5;
/// Milliseconds of silence that [`silence_ahead`] asks for at most.
pub const MOST_AHEAD: usize = 2 * HOP.div_ceil(1_000_000) as usize;
/// Time by which the middles of frames are ahead of multiples of [`HOP`] of the row clock, in nanoseconds: half of what
/// the hop and the row have in common, so that the distances lie evenly around 0.
const AHEAD: u64 = 4_000_000;
const _: () = assert!(ROW_NANOSECONDS.is_multiple_of(2 * AHEAD) && HOP.is_multiple_of(2 * AHEAD));

/// Frames of silence to put before the programme, so that the frames lie at these places: without, the middle of the
/// first frame would be at `middle` nanoseconds of the row clock. It is at least as long as from frame to frame, so
/// that the programme begins where two frames overlap. If the carrier came in with the first frame, what is heard of
/// the first rows would be about later moments, and times of `found` would be up to 16 ms late.
pub fn silence_ahead(middle: u64, rate: u64) -> u64 {
    let late = (middle % HOP + AHEAD) % HOP + HOP;
    late * rate / 1_000_000_000
}

/// Seconds from the beginning of row `row` to where its signs take the place of those before, in the copy of what was
/// earlier and, a delay before, in that of what comes later.
pub fn changes(row: i64) -> [f64; 2] {
    [0, (DELAY * 1e9) as i64].map(|delay| {
        let hop = HOP as i64;
        let between = hop / 2 - AHEAD as i64 + delay;
        let late = (between - row.rem_euclid(hop) * ROW_NANOSECONDS as i64).rem_euclid(hop);
        let nearest = if late > hop / 2 { late - hop } else { late };
        nearest as f64 * 1e-9
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_change_where_the_detector_expects_it() {
        for rate in [8_000, 44_100, 192_000] {
            for middle in [0u64, 1, 64_000_000, 67_999_999, 68_000_000, 1 << 60] {
                let ahead = silence_ahead(middle, rate);
                assert!(ahead * 1_000 <= MOST_AHEAD as u64 * rate);
                let first = middle + 2 * HOP - ahead * 1_000_000_000 / rate;
                let (mut late, mut edges) = ([0.0; 2], 0);
                // All distances come in eight rows, which are 25 frames.
                for frame in 0..25 {
                    for (copy, delay) in [0, (DELAY * 1e9) as u64].into_iter().enumerate() {
                        let [before, after] =
                            [frame, frame + 1].map(|frame| first + delay + frame * HOP);
                        let row = after / ROW_NANOSECONDS;
                        let edge = row * ROW_NANOSECONDS;
                        if before < edge {
                            let seconds = ((before + HOP / 2) as i64 - edge as i64) as f64 * 1e-9;
                            let expected = changes(row as i64)[copy];
                            let sample = 1.0 / rate as f64;
                            assert!((seconds - expected).abs() <= sample, "{seconds} {expected}");
                            late[copy] += expected;
                            edges += 1;
                        }
                    }
                }
                assert_eq!(edges, 16);
                assert!(late.iter().all(|sum| sum.abs() < 1e-9), "{late:?}");
            }
        }
    }
}
