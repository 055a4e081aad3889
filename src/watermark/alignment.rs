// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which slots end the rows, at one speed and one of the five ways in which rows can lie on slots.

use super::correlation::SLOTS_PER_ROW;
use super::windows::{ROWS_BESIDE, ROWS_PER_TEST, WINDOWS};

/// A row that has ended: its local number, and how many slots there were when it did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    pub row: i64,
    pub slots: u64,
}

/// The rows of one speed and one alignment.
#[derive(Clone)]
pub struct Alignment {
    /// Local number of the latest whole row; `None` before the first slot.
    row: Option<i64>,
    /// Slots since then.
    under_way: usize,
    /// Rows that have ended.
    count: u64,
    /// How many slots there were when the latest rows ended, the newest at `newest`; 0 for those that do not count.
    ended: [u64; ROWS_BESIDE],
    newest: usize,
    /// Local row that was tested last.
    pub tested: Option<i64>,
}

impl Alignment {
    /// No row yet.
    pub const NONE: Alignment = Alignment {
        row: None,
        under_way: 0,
        count: 0,
        ended: [0; ROWS_BESIDE],
        newest: 0,
        tested: None,
    };

    /// Local number of the latest row, which is under way unless it has just ended.
    pub fn row(&self) -> Option<i64> {
        self.row.map(|row| row + (self.under_way > 0) as i64)
    }

    /// Slots of the row under way, no more than a row has; 0 if the latest has just ended.
    pub fn under_way(&self) -> usize {
        self.under_way.min(SLOTS_PER_ROW)
    }

    /// Slots of the latest row, whole or under way.
    pub fn in_row(&self) -> usize {
        match self.under_way() {
            0 => SLOTS_PER_ROW,
            slots => slots,
        }
    }

    /// Counts a slot of local row `row`, after which `ended` is the latest row that has ended. Returns whether
    /// it has ended only now.
    pub fn advance(&mut self, row: i64, ended: i64) -> bool {
        self.under_way += 1;
        *self.row.get_or_insert(row - 1) < ended
    }

    /// Ends local row `row`, which counts if it is known after how many slots.
    pub fn end(&mut self, row: i64, slots: Option<u64>) {
        debug_assert!(self.row.is_none_or(|before| row == before + 1));
        self.row = Some(row);
        self.under_way = 0;
        self.count += 1;
        self.newest = (self.newest + ROWS_BESIDE - 1) % ROWS_BESIDE;
        self.ended[self.newest] = slots.unwrap_or(0);
    }

    /// The row that ended when there were `slots` slots, if one did and counts.
    pub fn ended_with(&self, slots: u64) -> Option<i64> {
        let ended = self.under_way == 0 && self.ended[self.newest] == slots;
        self.row.filter(|_| ended)
    }

    /// Whether the row under way of another has as many slots, or has ended with the same slot.
    pub fn is_in_step(&self, other: &Alignment) -> bool {
        self.under_way() == other.under_way()
    }

    /// Which windows are to be tested with the row that has just ended. The first turn of each is left to the end of
    /// the stream, so that there are no more tests than rows over `ROWS_PER_TEST`.
    pub fn due(&self) -> [bool; WINDOWS] {
        ROWS_PER_TEST
            .map(|rows| rows == 1 || self.count.is_multiple_of(rows) && self.count >= 2 * rows)
    }

    /// Which windows are to be tested at the end of the stream.
    pub fn due_at_end(&self) -> [bool; WINDOWS] {
        ROWS_PER_TEST.map(|rows| rows == 1 || self.count >= rows)
    }

    /// The latest rows that have ended and count, the newest first.
    pub fn ended(&self) -> impl Iterator<Item = Option<Ended>> {
        let (later, first) = self.ended.split_at(self.newest);
        let rows = (0..).map_while(|age| Some(self.row? - age));
        let ended = first.iter().chain(later).zip(rows);
        ended.map(|(&slots, row)| (slots > 0).then_some(Ended { row, slots }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_counted_row_by_row() {
        let mut rows = Alignment::NONE;
        assert_eq!((rows.row(), rows.under_way()), (None, 0));
        assert!(!rows.advance(7, 6));
        assert_eq!((rows.row(), rows.under_way()), (Some(7), 1));
        assert!(rows.advance(7, 7));
        rows.end(7, Some(2));
        assert_eq!((rows.row(), rows.under_way()), (Some(7), 0));
        assert_eq!(rows.in_row(), SLOTS_PER_ROW);
        // A row of six: no more than five are taken of it.
        assert!((0..5).all(|_| !rows.advance(8, 7)));
        assert!(rows.advance(8, 8));
        assert_eq!((rows.row(), rows.under_way()), (Some(8), SLOTS_PER_ROW));
    }

    #[test]
    fn the_latest_rows_are_known_the_newest_first() {
        let mut rows = Alignment::NONE;
        assert!(rows.ended().all(|ended| ended.is_none()));
        rows.end(3, None);
        for row in 4..20 {
            rows.end(row, Some(5 * row as u64));
            let newest = rows.ended().next().flatten();
            assert_eq!(
                newest,
                Some(Ended {
                    row,
                    slots: 5 * row as u64
                })
            );
        }
        let numbers: Vec<_> = rows.ended().flatten().map(|ended| ended.row).collect();
        assert_eq!(numbers, (4..20).rev().collect::<Vec<_>>());
    }
}
