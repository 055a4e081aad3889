// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much of a slot is behind a change of signs, for each place that the change may be at.

use super::super::correlation::FRAME;
use super::super::course::done;
use super::super::format::CHANGE;
use super::super::sounding::IN_ROOM;

/// Shifts that are tried on either side of what is expected.
pub const REACH: usize = 8;
/// All shifts.
pub const SHIFTS: usize = 2 * REACH + 1;
/// Seconds from one shift to the next: a piece of [`Sounding`](super::super::sounding::Sounding).
pub const STEP: f64 = FRAME;
/// Pieces in which signs change, at most.
const CHANGING: usize = (CHANGE / STEP) as usize + 1;
/// Step of the table of a change, in seconds.
const TABLE_STEP: f64 = 0.001;
/// Length of that table: beyond it nothing changes.
const TABLE: usize = (CHANGE / TABLE_STEP) as usize + 2;
/// Pieces of nothing on either side of a slot.
const BESIDE: usize = SHIFTS + CHANGING;
/// Pieces of a slot and of both sides.
const WITH_BOTH: usize = IN_ROOM + 2 * BESIDE;

/// The course of a change of signs.
pub struct Change(Vec<f32>);

impl Change {
    pub fn new() -> Self {
        let part = |i: usize| i as f64 * TABLE_STEP / CHANGE;
        Change((0..TABLE).map(|i| done(part(i)) as f32).collect())
    }

    /// How much of it is done `since` seconds behind its middle.
    fn done(&self, since: f64) -> f32 {
        let at = (since + 0.5 * CHANGE) * (1.0 / TABLE_STEP);
        if at < 0.0 {
            return 0.0;
        }
        let whole = at as usize;
        match self.0.get(whole..) {
            Some([before, after, ..]) => before + (at - whole as f64) as f32 * (after - before),
            _ => 1.0,
        }
    }
}

/// What a slot hears, piece by piece, the last first: so it lies that it is multiplied for one shift after the other.
pub struct Pieces {
    /// How much each piece makes, with nothing on either side.
    shares: [f32; WITH_BOTH],
    /// How much all up to this one make, which are those that sound from it on.
    since: [f32; WITH_BOTH],
    count: usize,
    /// Seconds from the beginning of the first of the rows around the slot to the first piece.
    from: f64,
}

impl Pieces {
    /// At most [`IN_ROOM`] pieces, the first of which is heard `from` seconds behind the beginning of the first row.
    pub fn new(from: f64, pieces: &[f32]) -> Self {
        let (mut shares, mut since, mut sum) = ([0.0; WITH_BOTH], [0.0; WITH_BOTH], 0.0);
        for (to, piece) in shares[BESIDE..].iter_mut().zip(pieces.iter().rev()) {
            *to = *piece;
        }
        for (since, share) in since.iter_mut().zip(&shares) {
            sum += share;
            *since = sum;
        }
        Pieces {
            shares,
            since,
            count: pieces.len(),
            from,
        }
    }

    /// How much of the slot is behind a change of signs `at` seconds behind the beginning of the first row, for each
    /// shift.
    pub fn behind(&self, at: f64, change: &Change) -> [f32; SHIFTS] {
        // Pieces from the first that signs change in, with the first shift, to the end of the slot. With each further
        // shift it is the piece before.
        let since = self.from - at - REACH as f64 * STEP;
        let first = ((-0.5 * CHANGE - since) / STEP).floor() + 1.0;
        let left = self.count as f64 - first;
        // Most changes are beyond the slot, on one side or on the other.
        let partly = 1.0 - SHIFTS as f64..(self.count + CHANGING) as f64;
        if left <= partly.start || left.is_nan() {
            return [0.0; SHIFTS];
        }
        if left >= partly.end {
            return [1.0; SHIFTS];
        }
        // The first piece that is behind the change as a whole.
        let done = (BESIDE as f64 + left) as usize - 1 - CHANGING;
        let mut behind = [0.0; SHIFTS];
        behind.copy_from_slice(&self.since[done..][..SHIFTS]);
        for i in 0..CHANGING {
            let changed = change.done(since + (first + i as f64) * STEP);
            let shares = &self.shares[done + CHANGING - i..][..SHIFTS];
            for (behind, share) in behind.iter_mut().zip(shares) {
                *behind += changed * share;
            }
        }
        behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_a_change_is_the_sum_of_the_pieces() {
        let change = Change::new();
        for pieces in [1, 15, IN_ROOM] {
            let share = |i: usize| (1 + i * i % 7) as f32;
            let sum: f32 = (0..pieces).map(share).sum();
            let shares: Vec<f32> = (0..pieces).map(|i| share(i) / sum).collect();
            for i in -300..300 {
                let (from, at) = (0.0017, i as f64 * 0.0023);
                let behind = Pieces::new(from, &shares).behind(at, &change);
                for (shift, behind) in behind.into_iter().enumerate() {
                    let since = |piece| from - at + ((piece + shift) as f64 - REACH as f64) * STEP;
                    let part = |piece| since(piece) / CHANGE + 0.5;
                    let parts = (0..pieces).map(|i| shares[i] * done(part(i)) as f32);
                    let expected: f32 = parts.sum();
                    assert!((behind - expected).abs() < 2e-3, "{i}, {shift}: {behind}");
                }
            }
        }
    }
}
