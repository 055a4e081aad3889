// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the false alarms that are permitted to the scores that count as found, for the speeds of a search, and with or
//! without a payload.

use super::bound::{log_tail, threshold};
use super::candidate::Pilots;
use super::correlation::SLOT;
use super::windows::{ALARM_SHARES, ROWS_PER_TEST, WINDOWS};
use std::f64::consts::LN_10;

/// Share of the permitted false alarms that belongs to the nominal speed alone. Sound cards are right to 100 ppm, for
/// which that is the nearest; where another speed is the right one, the score that is needed is 0.1 higher than with
/// half.
pub const NOMINAL_SHARE: f64 = 0.8;

/// Share of the permitted false alarms that belongs to the search for marks without a payload, and to that for marks
/// with one. The first hardly loses by that (0.015 of the threshold); the second loses 0.3.
const PILOT_SHARES: [f64; 2] = [0.9, 0.1];

/// Of the nominal speed and of all others, with all chips for pilots and with half of them, and of each window:
/// threshold, hypotheses in an hour, share of the permitted alarms.
pub struct Thresholds {
    nominal: usize,
    scores: [[[f64; WINDOWS]; 2]; 2],
    /// Of a window that is tested with each row.
    hypotheses: [f64; 2],
    shares: [[f64; 2]; 2],
}

impl Thresholds {
    /// For a search for `keys` keys over `rows` rows each and `speeds` speeds, of which number `nominal` is 1, and so
    /// many alarms an hour in all.
    pub fn new(keys: usize, rows: usize, speeds: usize, nominal: usize, alarms: f64) -> Self {
        // One of the alignments after each slot; ends of streams are among these (see `bound`).
        let tests_an_hour = 3600.0 / SLOT * keys as f64 * rows as f64;
        let hypotheses = [tests_an_hour, tests_an_hour * (speeds - 1) as f64];
        let of_speeds = match speeds {
            1 => [1.0, 1e-9],
            _ => [NOMINAL_SHARE, 1.0 - NOMINAL_SHARE],
        };
        let shares = of_speeds.map(|share| PILOT_SHARES.map(|of_pilots| share * of_pilots));
        let mut thresholds = Thresholds {
            nominal,
            scores: [[[0.0; WINDOWS]; 2]; 2],
            hypotheses,
            shares,
        };
        for kind in 0..2 {
            for pilots in Pilots::BOTH {
                thresholds.scores[kind][pilots as usize] = std::array::from_fn(|window| {
                    threshold(
                        thresholds.hypotheses_of_an_alarm(kind, pilots, window),
                        alarms,
                    )
                });
            }
        }
        thresholds
    }

    /// Hypotheses in an hour of one window, for each of the alarms permitted that are its share.
    fn hypotheses_of_an_alarm(&self, kind: usize, pilots: Pilots, window: usize) -> f64 {
        let hypotheses = self.hypotheses[kind].max(1.0) / ROWS_PER_TEST[window] as f64;
        hypotheses / (self.shares[kind][pilots as usize] * ALARM_SHARES[window])
    }

    /// Score above which a window counts as found at speed `speed`.
    pub fn of(&self, speed: usize, pilots: Pilots, window: usize) -> f64 {
        self.scores[(speed != self.nominal) as usize][pilots as usize][window]
    }

    /// Hypotheses tested in an hour.
    pub fn hypotheses_per_hour(&self) -> f64 {
        let windows: f64 = ROWS_PER_TEST.iter().map(|rows| 1.0 / *rows as f64).sum();
        Pilots::BOTH.len() as f64 * windows * self.hypotheses.iter().sum::<f64>()
    }

    /// Expected false alarms in an hour of unmarked audio, as a decimal logarithm, if the thresholds were such that
    /// `score` of a window at `speed` just reaches its own. All hypotheses are counted, and what the bound gives away
    /// too, so the true expectation is lower; and the chance of one or more alarms in the hour is lower still.
    ///
    /// The shares are those that make the thresholds: at a threshold this is the number of alarms permitted, for
    /// either kind of speed and of pilots, and any window.
    pub fn log10_rate(&self, score: f64, speed: usize, pilots: Pilots, window: usize) -> f64 {
        let kind = (speed != self.nominal) as usize;
        let hypotheses = self.hypotheses_of_an_alarm(kind, pilots, window);
        (log_tail(score) + hypotheses.ln()) / LN_10
    }

    /// The same, but no more than 0: as the logarithm of the chance of a false alarm in an hour.
    pub fn log10_alarms(&self, score: f64, speed: usize, pilots: Pilots, window: usize) -> f64 {
        self.log10_rate(score, speed, pilots, window).min(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::windows::LATEST;
    use super::*;

    #[test]
    fn thresholds_follow_from_the_hypotheses() {
        let of = |keys, speeds, alarms| Thresholds::new(keys, 1024, speeds, speeds / 2, alarms);
        let (narrow, wide, lax) = (of(1, 1, 1e-4), of(1, 11, 1e-4), of(1, 11, 30.0));
        let [all, even] = Pilots::BOTH;
        assert_eq!(
            narrow.hypotheses_per_hour(),
            2.0 * 90_000.0 * 1024.0 * 6.875
        );
        assert_eq!(
            wide.hypotheses_per_hour(),
            11.0 * narrow.hypotheses_per_hour()
        );
        let cut = LATEST;
        assert!(wide.of(5, all, cut) > narrow.of(0, all, cut));
        assert!(wide.of(4, all, cut) > wide.of(5, all, cut));
        assert!(wide.of(5, even, cut) > wide.of(5, all, cut));
        assert!(wide.of(5, even, cut) < wide.of(5, all, cut) + 0.3);
        assert!(lax.of(5, all, cut) < wide.of(5, all, cut) - 1.0);
        let mut alarms = 0.0;
        for (speed, pilots) in [(4, all), (5, all), (4, even), (5, even)] {
            for (window, rows) in ROWS_PER_TEST.into_iter().enumerate() {
                let score = wide.of(speed, pilots, window);
                let at_threshold = wide.log10_rate(score, speed, pilots, window);
                assert!((at_threshold - -4.0).abs() < 1e-3, "{at_threshold}");
                let speeds = if speed == 5 { 1.0 } else { 10.0 };
                let tests = 90_000.0 * 1024.0 / rows as f64;
                alarms += tests * speeds * log_tail(score).exp();
            }
        }
        assert!((alarms / 1e-4 - 1.0).abs() < 1e-3, "{alarms}");
        // What chance finds with a hundred keys, it finds a hundred times as often.
        let keys = of(100, 11, 1e-2);
        assert!((keys.of(5, all, cut) - wide.of(5, all, cut)).abs() < 0.6);
        assert_eq!(
            keys.of(5, all, cut),
            Thresholds::new(1, 102_400, 11, 5, 1e-2).of(5, all, cut)
        );
    }
}
