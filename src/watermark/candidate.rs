// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the search says: where the mark seems to be, and how little chance explains it.

use super::correlation::SLOT;
use super::format::ROW;

/// Which chips carry their sign as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pilots {
    /// All: the mark has no payload.
    All,
    /// The even ones: the odd ones carry a payload.
    Even,
}

impl Pilots {
    pub const BOTH: [Pilots; 2] = [Pilots::All, Pilots::Even];
}

/// A place where the mark seems to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Score of the best window.
    pub score: f64,
    /// [`Thresholds::log10_alarms`] of the score that was tested. That of the best alignment, which is asked for only
    /// afterwards, may be higher.
    ///
    /// [`Thresholds::log10_alarms`]: super::thresholds::Thresholds::log10_alarms
    pub log10_alarms: f64,
    /// Which window that is.
    pub window: usize,
    /// Index of the speed.
    pub speed: usize,
    /// Which of the five alignments.
    pub alignment: usize,
    /// Which chips make the score.
    pub pilots: Pilots,
    /// Offset between local rows and rows of the key.
    pub offset: usize,
}

/// Of the candidates above their thresholds the one that chance would explain least.
pub struct Best {
    /// [`Thresholds::log10_rate`] of the candidate; infinite if there is none.
    ///
    /// [`Thresholds::log10_rate`]: super::thresholds::Thresholds::log10_rate
    pub log10_rate: f64,
    /// The candidate.
    pub candidate: Option<Candidate>,
}

impl Default for Best {
    fn default() -> Self {
        Best {
            log10_rate: f64::INFINITY,
            candidate: None,
        }
    }
}

/// Slots as rows see them: which local row a slot belongs to.
#[derive(Debug, Clone, Copy)]
pub struct LocalClock {
    /// Row of the detector's own clock at the first frame: 0 for [`RowClock::Stream`].
    ///
    /// [`RowClock::Stream`]: super::format::RowClock::Stream
    pub first_row: i64,
}

impl LocalClock {
    /// Local row of programme that plays at `speed`, `seconds` after the first frame, for one alignment.
    pub fn row(&self, seconds: f64, speed: f64, alignment: usize) -> i64 {
        self.first_row + ((seconds * speed + alignment as f64 * SLOT) / ROW).floor() as i64
    }
}
