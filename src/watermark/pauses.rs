// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long the pauses of a programme last, as far as it has been heard.
//!
//! Speech with long pauses, in a room where noise covers them, looks again and again like a mark that has ended. What
//! tells such pauses from an end is that there have been some before. So how likely a pause is to end with the next row
//! is learned: it is the mean of a beta distribution (the conjugate prior), which begins at what is usual. A programme
//! without long pauses keeps that, and the end of its mark is told as soon as before.

/// Probability that a pause is over after a row: what is usual, and the least, of pauses that last for 0.8 s on average.
/// With that the end of a mark is told after 3 to 4 s.
const RESUMES: f64 = 0.36;
const LEAST_RESUMES: f64 = 0.25;
/// Rows of pauses, 4 s, that count as much as what is usual. With 2 s twice as many ends were told late, with 6 s a
/// fifth more of the runs of speech lost the mark (measured on 61 minutes of speech and 1689 ends).
const USUAL_ROWS: f64 = 20.0;
/// Rows after which what was learned fades, 20 s of pauses, and what is left of it each time.
const FADES: f64 = 100.0;
const LEFT: f64 = 0.9;
/// Fewer rows than this are a chance low score. More than this, 5 s, are no pause of a programme.
const SHORTEST: u32 = 2;
const LONGEST: u32 = 24;

/// A mark that is found so soon after it was lost, in seconds, has paused. It takes 1 to 2 s to be found.
const SOON: f64 = 5.0;

/// What is known of pauses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pauses {
    /// Pauses that are over, and their rows.
    over: f64,
    rows: f64,
    /// Rows of what may be a pause, up to now.
    unseen: u32,
}

impl Pauses {
    /// Nothing is known.
    pub const UNKNOWN: Pauses = Pauses {
        over: 0.0,
        rows: 0.0,
        unseen: 0,
    };

    /// Probability that a pause is over after the next row.
    pub fn resumes(&self) -> f64 {
        let over = RESUMES * USUAL_ROWS + self.over;
        (over / (USUAL_ROWS + self.rows)).clamp(LEAST_RESUMES, RESUMES)
    }

    /// Takes note of a row in which the mark was not seen.
    pub fn not_seen(&mut self) {
        self.unseen += 1;
    }

    /// Takes note of a row in which the mark was there: if it was not seen before, that was a pause.
    pub fn seen(&mut self) {
        let rows = std::mem::take(&mut self.unseen);
        if !(SHORTEST..=LONGEST).contains(&rows) {
            return;
        }
        self.over += 1.0;
        self.rows += f64::from(rows);
        if self.rows > FADES {
            self.over *= LEFT;
            self.rows *= LEFT;
        }
    }

    /// Takes note that the mark was found `seconds` after it was lost: if that is soon, it was a pause, and lasted for
    /// as long as was waited at the least.
    pub fn found_again(&mut self, seconds: f64) {
        if seconds > SOON {
            self.unseen = 0;
        }
        self.seen();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(pauses: &[u32]) -> f64 {
        let mut known = Pauses::UNKNOWN;
        for &rows in pauses {
            (0..rows).for_each(|_| known.not_seen());
            (0..20).for_each(|_| known.seen());
        }
        known.resumes()
    }

    #[test]
    fn long_pauses_are_expected_to_last() {
        assert_eq!(after(&[]), RESUMES);
        let long = [6, 8, 10].map(|rows| after(&[rows; 2]));
        assert!(long.is_sorted_by(|a, b| a > b), "{long:?}");
        assert!((LEAST_RESUMES..0.25 + 1e-9).contains(&after(&[12; 10])));
    }

    #[test]
    fn short_ones_and_what_is_no_pause_change_nothing() {
        for pauses in [[1; 30], [2; 30], [60; 30]] {
            assert_eq!(after(&pauses), RESUMES, "{}", pauses[0]);
        }
    }

    #[test]
    fn a_loss_that_does_not_last_was_a_pause() {
        let lost_for = |seconds: f64| {
            let mut known = Pauses::UNKNOWN;
            (0..12).for_each(|_| known.not_seen());
            known.found_again(seconds);
            known.resumes()
        };
        assert_eq!([lost_for(2.0), lost_for(20.0)], [after(&[12]), RESUMES]);
    }

    #[test]
    fn what_was_learned_fades() {
        let long_ago: Vec<u32> = [10; 10].into_iter().chain([3; 100]).collect();
        assert!(after(&long_ago) > 0.9 * after(&[3; 100]));
        assert!(after(&[10; 10]) < 0.8 * after(&[3; 100]));
    }
}
