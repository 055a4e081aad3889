// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the false alarms that are permitted to the scores that count as found, for the speeds of a search.

use super::bound::{log_tail, threshold};
use super::correlation::SLOT;
use super::windows::WINDOWS;
use std::f64::consts::LN_10;

/// Share of the permitted false alarms that belongs to the nominal speed alone.
pub const NOMINAL_SHARE: f64 = 0.5;

/// Of the nominal speed and of all others: threshold, hypotheses in an hour, share of the permitted alarms.
pub struct Thresholds {
    nominal: usize,
    scores: [f64; 2],
    hypotheses: [f64; 2],
    shares: [f64; 2],
}

impl Thresholds {
    /// For a search over `rows` rows and `speeds` speeds, of which number `nominal` is 1, and so many alarms an hour.
    pub fn new(rows: usize, speeds: usize, nominal: usize, alarms: f64) -> Self {
        // One of the alignments after each slot; ends of streams are among these (see `bound`).
        let tests_an_hour = 3600.0 / SLOT * (rows * WINDOWS) as f64;
        let others = (speeds - 1) as f64;
        let hypotheses = [tests_an_hour, tests_an_hour * others];
        let shares = match speeds {
            1 => [1.0, 1e-9],
            _ => [NOMINAL_SHARE, 1.0 - NOMINAL_SHARE],
        };
        Thresholds {
            nominal,
            scores: [
                threshold(hypotheses[0], alarms * shares[0]),
                threshold(hypotheses[1].max(1.0), alarms * shares[1]),
            ],
            hypotheses,
            shares,
        }
    }

    /// Score above which speed `speed` counts as found.
    pub fn of(&self, speed: usize) -> f64 {
        self.scores[(speed != self.nominal) as usize]
    }

    /// Hypotheses tested in an hour.
    pub fn hypotheses_per_hour(&self) -> f64 {
        self.hypotheses.iter().sum()
    }

    /// Expected false alarms in an hour of unmarked audio, as a decimal logarithm, if the thresholds were such that
    /// `score` at `speed` just reaches its own. All hypotheses are counted, and what the bound gives away too, so
    /// the true expectation is lower; and the chance of one or more alarms in the hour is lower still.
    ///
    /// The shares are those that make the thresholds: at a threshold this is the number of alarms permitted, for
    /// either kind of speed.
    pub fn log10_rate(&self, score: f64, speed: usize) -> f64 {
        let kind = (speed != self.nominal) as usize;
        (log_tail(score) + (self.hypotheses[kind].max(1.0) / self.shares[kind]).ln()) / LN_10
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_follow_from_the_hypotheses() {
        let of = |speeds, alarms| Thresholds::new(1024, speeds, speeds / 2, alarms);
        let (narrow, wide, lax) = (of(1, 1e-4), of(11, 1e-4), of(11, 30.0));
        assert_eq!(narrow.hypotheses_per_hour(), 90_000.0 * 1024.0 * 9.0);
        assert_eq!(
            wide.hypotheses_per_hour(),
            11.0 * narrow.hypotheses_per_hour()
        );
        assert!(wide.of(5) > narrow.of(0));
        assert!(wide.of(4) > wide.of(5));
        assert!(lax.of(5) < wide.of(5) - 1.0);
        for speed in [4, 5] {
            let at_threshold = wide.log10_rate(wide.of(speed), speed);
            assert!((at_threshold - -4.0).abs() < 1e-3, "{at_threshold}");
        }
    }
}
