// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long to wait before a stream is tried again.

use std::time::Duration;

/// No wait is longer than this.
const LONGEST: Duration = Duration::from_secs(60);
/// After so much audio the next failure counts as the first one.
const SETTLED: Duration = Duration::from_secs(30);

/// Waits that double from one failure to the next.
pub struct BackOff {
    first: Duration,
    failures: u32,
}

impl BackOff {
    /// The first wait is `first` at least.
    pub fn new(first: Duration) -> Self {
        BackOff { first, failures: 0 }
    }

    /// The next wait. `random`, 0 to 1, spreads it between one and two times its base, so that stations that were lost
    /// together do not come back together.
    pub fn next(&mut self, random: f64) -> Duration {
        let doubled = 2_u32.saturating_pow(self.failures);
        let base = self.first.saturating_mul(doubled).min(LONGEST / 2);
        self.failures = self.failures.saturating_add(1);
        base.mul_f64(1.0 + random)
    }

    /// The stream played for this long since it was opened.
    pub fn played(&mut self, time: Duration) {
        if time >= SETTLED {
            self.failures = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(backoff: &mut BackOff, random: f64, count: usize) -> Vec<f64> {
        (0..count)
            .map(|_| backoff.next(random).as_secs_f64())
            .collect()
    }

    #[test]
    fn waits_double_from_1_s_and_end_at_60_s() {
        let mut backoff = BackOff::new(Duration::from_secs(1));
        assert_eq!(waits(&mut backoff, 0.0, 7), [1., 2., 4., 8., 16., 30., 30.]);
        let mut backoff = BackOff::new(Duration::from_secs(1));
        assert_eq!(
            waits(&mut backoff, 1.0, 7),
            [2., 4., 8., 16., 32., 60., 60.]
        );
        // Nothing overflows in a month without the station.
        assert_eq!(waits(&mut backoff, 1.0, 50_000).pop(), Some(60.0));
    }

    #[test]
    fn audio_of_half_a_minute_makes_the_next_wait_a_short_one() {
        let mut backoff = BackOff::new(Duration::from_secs(1));
        waits(&mut backoff, 0.0, 3);
        backoff.played(Duration::from_secs(29));
        assert_eq!(waits(&mut backoff, 0.0, 1), [8.0]);
        backoff.played(Duration::from_secs(30));
        assert_eq!(waits(&mut backoff, 0.0, 2), [1.0, 2.0]);
    }
}
