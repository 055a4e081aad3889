// SPDX-License-Identifier: MIT OR Apache-2.0
//! The windows that evidence is looked at through.
//!
//! Nine windows run side by side. Five hold the latest row, whole or under way, and the 3 to 10 whole rows before
//! it. Four fade, because rows of 25 s ago kept one by one would take most of the memory: each
//! older row counts a little less, which keeps about 90 % of the score of a window cut to measure, and
//! all of it for a mark that was there from the start. Weights do not depend on the key, so the bound of
//! [`super::bound`] holds for either kind.
//!
//! Only the sums that fade are kept for each hypothesis. They show as well where the windows that are cut can be high
//! at all: what fades within about the length of such a window holds most of what the window does. Only there are the
//! windows that are cut made, from the chips of the rows. A fifth fading sum, which is no window, is as short as the
//! shortest of those that are cut: without it a mark that begins after loud programme would be hidden by what the
//! others remember of that.

use super::correlation::{SLOT, SLOTS_PER_ROW};
use super::format::ROW;
use super::lookup::ROWS_AT_ONCE;

/// Whole rows before the latest in each of the windows that are cut.
pub const CUT_WINDOWS: [usize; 5] = [3, 4, 6, 8, 10];
pub const CUT: usize = CUT_WINDOWS.len();
/// Rows before the latest that are kept one by one.
pub const KEPT: usize = CUT_WINDOWS[CUT - 1];
/// Rows that are kept: the latest, too.
pub const ROWS_KEPT: usize = KEPT + 1;
/// The same at speeds of which no evidence is kept, where windows that fade are made of rows as well. They end 7 s back
/// then: of a mark that is too faint to be found within that time the speeds beside show three quarters.
pub const ROWS_BESIDE: usize = 35;
/// Evidence that each fading sum holds in the steady state, in seconds: those of the windows, and the short one.
const FADING_SUMS: [f64; SUMS] = [3.2, 6.4, 12.8, 25.6, 1.0];
pub const SUMS: usize = 5;
/// Fading sums that are windows.
pub const FADING: usize = 4;
/// Windows in all.
pub const WINDOWS: usize = CUT + FADING;
/// The window that tells best what is going on now: 2 s.
pub const LATEST: usize = CUT - 1;

/// The windows are tested with one row of so many, each alignment in its turn: what lies 12 s back changes little in
/// one row, and tests that are as good as the same would only raise the threshold.
pub const ROWS_PER_TEST: [u64; WINDOWS] = [1, 1, 1, 1, 1, 1, 2, 4, 8];
/// Shares of the permitted alarms. The longest has two, as it holds all there is of an excerpt: with that and the few
/// tests its threshold is 0.36 lower than that of the others.
pub const ALARM_SHARES: [f64; WINDOWS] = [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2];

/// Hypotheses are taken in pieces of this many; their number is a multiple of it.
pub const LANES: usize = ROWS_AT_ONCE;

/// Energy that counts as none: a score of it does, too.
pub const FADED: f32 = 1e-30;

/// What stays of fading sum `w` when the next row comes.
pub fn fading(w: usize) -> f32 {
    // A sum that fades by l a row has the variance of (1 + l) / (1 - l) whole rows.
    let rows = FADING_SUMS[w] / ROW;
    ((rows - 1.0) / (rows + 1.0)) as f32
}

/// Seconds of evidence in window `w` if the latest row has `in_row` slots and there were `slots` since the start:
/// there is never more than that.
pub fn seconds(w: usize, in_row: u64, slots: u64) -> f64 {
    let holds = match w.checked_sub(CUT) {
        None => ((CUT_WINDOWS[w] * SLOTS_PER_ROW) as u64 + in_row) as f64 * SLOT,
        Some(fading) => FADING_SUMS[fading],
    };
    holds.min(slots as f64 * SLOT)
}

/// The score of a sum, given the energy behind it.
pub fn score(sum: f32, energy: f32) -> f32 {
    if energy > FADED {
        sum / energy.sqrt()
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a window that is cut shows at its threshold, the screen lets through with a margin: whatever its length,
    /// and if there was programme of twice the magnitude before.
    #[test]
    fn a_fading_sum_holds_most_of_any_window() {
        for rows in CUT_WINDOWS.map(|rows| rows + 1) {
            for (before, least) in [(1.0, 0.8), (4.0, 0.75)] {
                let held = (0..SUMS)
                    .map(|w| {
                        let stays = fading(w);
                        let weights = |power| {
                            (0..rows as i32)
                                .map(move |age| stays.powi(power * age))
                                .sum::<f32>()
                        };
                        let rest = stays.powi(2 * rows as i32) / (1.0 - stays * stays);
                        weights(1) / (rows as f32 * (weights(2) + before * rest)).sqrt()
                    })
                    .fold(0.0, f32::max);
                assert!(held > least, "{held} of {rows} rows after {before}");
            }
        }
    }
}
