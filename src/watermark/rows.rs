// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rows of the key that are searched, as one matrix of signs.

use super::candidate::LocalClock;
use super::correlation::SLOTS_PER_ROW;
use super::format::{CHIPS, ROW, ROWS, RowClock};
use super::key::Signs;
use super::products::SignMatrix;
use super::windows::{LANES, ROWS_BESIDE};

/// The stream of signs ends behind this row of 32 bytes.
const LARGEST_ROW: u64 = (1 << 59) - 1;

/// With fewer rows, what has the signs of a row could have them again while the longest window remembers: then they
/// would not be independent, as [`super::bound`] says. Of what is 51 s old it has 2 %.
const FEWEST_ROWS: usize = 256;
const _: () = assert!(FEWEST_ROWS >= ROWS_BESIDE);

/// All rows with [`RowClock::Stream`], else those around the detector's own clock.
pub struct KeyRows {
    signs: Signs,
    row_clock: RowClock,
    pub matrix: SignMatrix,
    /// The newest row lies so many rows ahead of the clock.
    ahead: i64,
    newest: Option<i64>,
}

impl KeyRows {
    /// `rows` rows, of which those of [`RowClock::Utc`] end `ahead` of the clock.
    pub fn new(signs: Signs, row_clock: RowClock, rows: usize, ahead: i64) -> Self {
        let mut key_rows = KeyRows {
            signs,
            row_clock,
            matrix: SignMatrix::new(rows),
            ahead,
            newest: None,
        };
        if row_clock == RowClock::Stream {
            (0..ROWS as i64).for_each(|row| key_rows.load(row));
        }
        key_rows
    }

    /// Rows that a clock which may be wrong by `clock_tolerance` seconds leaves, and how many of them are ahead of it.
    pub fn around(row_clock: RowClock, clock_tolerance: f64) -> (usize, i64) {
        let ahead = (clock_tolerance / ROW).ceil() as i64 + 1;
        let rows = |ahead| {
            (2 * ahead as usize + 2)
                .max(FEWEST_ROWS)
                .next_multiple_of(LANES)
        };
        match row_clock {
            RowClock::Stream => (ROWS, 0),
            RowClock::Utc => (rows(ahead), ahead),
        }
    }

    /// The newest row lies so many rows ahead of the clock from now on.
    pub fn set_ahead(&mut self, ahead: i64) {
        self.ahead = ahead;
        self.newest = None;
    }

    /// Rows of the matrix.
    pub fn len(&self) -> usize {
        self.matrix.rows()
    }

    /// The clock is another one from now on.
    pub fn reset(&mut self) {
        self.newest = None;
    }

    /// With a row clock that never repeats, loads the signs of the rows around the detector's own.
    pub fn follow(&mut self, clock: LocalClock, seconds: f64) {
        if self.row_clock == RowClock::Stream {
            return;
        }
        let newest = clock.row(seconds, 1.0, SLOTS_PER_ROW) + self.ahead;
        let oldest = newest + 1 - self.len() as i64;
        let from = self.newest.map_or(oldest, |row| (row + 1).max(oldest));
        for row in from..=newest {
            self.load(row);
        }
        self.newest = Some(newest);
    }

    /// Loads a row. Rows before 1970 do not exist, but are searched where the clock shows nearly that: they have signs
    /// of the key, too, that no mark will ever have, for without any the bound of [`super::bound`] would not hold.
    fn load(&mut self, row: i64) {
        let mut signs = [0.0; CHIPS];
        self.signs.row(row as u64 & LARGEST_ROW, &mut signs);
        let index = row.rem_euclid(self.len() as i64);
        self.matrix.load(index as u64, &signs);
    }

    /// The hypothesis that puts the same rows of the key at local rows that are `less` less.
    pub fn shifted(&self, offset: usize, less: i64) -> usize {
        (offset as i64 + less).rem_euclid(self.len() as i64) as usize
    }

    /// Row of the key that hypothesis `offset` puts at local row `local`.
    pub fn row_of_key(&self, local: i64, offset: usize) -> u64 {
        let rows = self.len() as i64;
        let index = (local + offset as i64).rem_euclid(rows);
        match (self.row_clock, self.newest) {
            (RowClock::Utc, Some(newest)) => {
                (newest - (newest - index).rem_euclid(rows)).max(0) as u64
            }
            _ => index as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watermark::key::Key;

    #[test]
    fn utc_rows_are_those_around_the_clock() {
        let signs = Key::from_bytes([0; 32]).signs();
        let mut rows = {
            let (rows, ahead) = KeyRows::around(RowClock::Utc, 1.0);
            assert!(rows >= 256, "windows would have rows twice");
            KeyRows::new(signs, RowClock::Utc, rows, ahead)
        };
        let clock = LocalClock {
            first_row: 8_000_000_000,
        };
        rows.follow(clock, 10.0);
        let local = clock.row(10.0, 1.0, 0);
        let numbers = (0..rows.len()).map(|offset| rows.row_of_key(local, offset) as i64);
        let low = numbers.clone().min().unwrap();
        let high = numbers.max().unwrap();
        assert!(
            low <= local - 5 && high >= local + 5,
            "{low} to {high} around {local}"
        );
        assert_eq!(high - low + 1, rows.len() as i64);
    }
}
