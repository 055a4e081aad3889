// SPDX-License-Identifier: MIT OR Apache-2.0
//! The places that are looked at closely, where a sum is high: whose turn it is, their rows, and those at the speeds
//! beside them.

use super::super::alignment::Alignment;
use super::super::candidate::Pilots;
use super::super::correlation::SLOTS_PER_ROW;
use super::super::cut::LatestRows;
use super::super::format::CHIPS;
use super::super::rounded::RoundedRow;
use super::super::row_history::RowHistory;
use super::super::speeds::is_kept;
use super::super::windows::{KEPT, ROWS_BESIDE, ROWS_KEPT, WINDOWS};
use super::Search;

/// Share of the threshold that a fading sum must reach before a place is looked at closely. Of a steady mark a fading
/// sum holds at least 0.8 of what a window does, give or take a deviation of 0.6: at a threshold of 8, one in several
/// hundred has to wait for the next row. Between two speeds that are kept it holds 0.6 of what a window at the right
/// speed does, so about half of the marks that just reach the threshold there have to wait. Of 324 pieces of 2 to 8 s
/// in noise, at such speeds, 0.45 found not one more than 0.55.
const SCREEN: f64 = 0.6;
/// The same where nothing is to follow, or where the best place is asked for: that is seldom enough to look closer.
const SCREEN_AT_END: f64 = 0.45;

/// Why a place is looked at.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Occasion {
    /// Its row has ended.
    Row,
    /// The stream has ended.
    End,
    /// Something was found: that does not count as a test.
    Again,
}

impl Occasion {
    /// Which windows are tested.
    pub fn due(self, alignment: &Alignment) -> [bool; WINDOWS] {
        match self {
            Occasion::Row => alignment.due(),
            Occasion::End => alignment.due_at_end(),
            Occasion::Again => [true; WINDOWS],
        }
    }

    /// Share of the threshold that a fading sum must have.
    pub fn screen(self) -> f64 {
        match self {
            Occasion::Row => SCREEN,
            Occasion::End | Occasion::Again => SCREEN_AT_END,
        }
    }
}

/// A place of which the latest rows are at hand.
pub(super) struct Place<'a> {
    /// Of speed and alignment.
    pub at: usize,
    /// How much less its local rows are than those of the place where a sum was high.
    pub less: i64,
    pub due: [bool; WINDOWS],
    pub rows: LatestRows<'a>,
}

/// A place where hypotheses are tested.
#[derive(Clone, Copy)]
pub(super) struct Tested {
    /// Of speed and alignment.
    pub at: usize,
    pub pilots: Pilots,
    pub occasion: Occasion,
    /// Slots of the row under way, which `Workspace::under_way` holds; 0 without one.
    pub slots: usize,
}

impl Search {
    /// A place, and those at the speeds beside it of which no evidence is kept, whose rows end with the same slot, or
    /// have as many slots under way. If there are two at one speed, as happens when rows are short, that is the first.
    pub(super) fn places_beside<'a>(
        &self,
        tested: &Tested,
        history: &'a RowHistory,
        under_way: &'a [RoundedRow],
    ) -> [Option<Place<'a>>; 3] {
        let i = tested.at;
        let (speed, state) = (i / SLOTS_PER_ROW, &self.alignments[i]);
        let beside = [Some(speed), speed.checked_sub(1), Some(speed + 1)];
        beside.map(|other| {
            let counts = |other: &usize| {
                *other == speed || *other < self.speeds && !is_kept(*other, self.speeds)
            };
            let other = other.filter(counts)?;
            let places = other * SLOTS_PER_ROW..(other + 1) * SLOTS_PER_ROW;
            let mut places = places.filter(|j| other != speed || *j == i);
            let j = places.find(|j| self.alignments[*j].is_in_step(state))?;
            let alignment = &self.alignments[j];
            let row = alignment.row()?;
            let latest = (tested.slots > 0).then(|| (row, &under_way[other]));
            let count = if j == i { ROWS_KEPT } else { ROWS_BESIDE };
            Some(Place {
                at: j,
                less: state.row()? - row,
                due: tested.occasion.due(alignment),
                rows: LatestRows::new(alignment, history, other, latest, count),
            })
        })
    }

    /// What hypothesis `o` at that speed and alignment has from before the latest row, which is whole or under way.
    pub fn before(
        &self,
        (speed, alignment): (usize, usize),
        pilots: Pilots,
        o: usize,
        history: &RowHistory,
    ) -> Before {
        let i = speed * SLOTS_PER_ROW + alignment;
        let alignment = &self.alignments[i];
        // A row that is not there yet takes the place of the latest.
        let under_way = (alignment.under_way() > 0).then_some((0, &RoundedRow::SILENCE));
        let rows = LatestRows::new(alignment, history, speed, under_way, ROWS_KEPT);
        let sums = rows.sums(&self.rows.matrix, o, pilots);
        let energies = rows.energies(pilots);
        Before {
            rows: std::array::from_fn(|age| sums[age + 1]),
            energies: std::array::from_fn(|age| energies[age + 1]),
        }
    }

    /// Writes the chips of the latest row at that speed and alignment, whole or under way, as far as it has come.
    pub fn latest_row(
        &self,
        (speed, alignment): (usize, usize),
        history: &RowHistory,
        chips: &mut [f32; CHIPS],
    ) {
        let slots = self.alignment(speed, alignment).in_row();
        history.sum_latest(slots, speed, chips);
    }
}

/// What one hypothesis has from before the latest row, whole or under way.
pub struct Before {
    /// The rows, newest first, and their energies.
    pub rows: [f32; KEPT],
    pub energies: [f32; KEPT],
}
