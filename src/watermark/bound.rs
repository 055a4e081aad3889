// SPDX-License-Identifier: MIT OR Apache-2.0
//! How likely a score is on unmarked audio, and the threshold that follows from it.
//!
//! # The score is a sum of coin flips
//!
//! Whatever the audio is, it was made without the key, so the chip correlations b are fixed numbers and
//! the key's signs s are independent fair coin flips. Any z = sum(w b s) / sqrt(sum (w b)^2) over
//! different (row, chip) pairs, with weights w that do not depend on the key, is a weighted Rademacher
//! sum: mean 0, variance 1, and
//!
//! - P(z >= u) <= exp(-u^2 / 2) (Hoeffding 1963), and
//! - P(z >= u) <= c Q(u), Q the Gaussian tail, c = 1 / (4 Q(sqrt 2)) = 3.178 (Bentkus and Dzindzalieta,
//!   "A tight Gaussian bound for weighted sums of Rademacher random variables", Bernoulli 21, 2015).
//!
//! The smaller of the two is used; beyond u = 1.3 that is the second. Drum loops, test tones and silence
//! cannot break it, because nothing in it is tuned on audio.
//!
//! # From false alarms an hour to a threshold
//!
//! The expected number of false alarms in an hour is at most the sum of P over all hypotheses tested in
//! an hour (union bound): every 40 ms, each alignment of rows to slots, each row of the key, each window,
//! each speed. Half of the permitted number goes to the nominal speed, which is nearly always the right
//! one, and the other half is shared by all other speeds: a wide speed search costs the usual case little.

/// The best constant of Bentkus and Dzindzalieta: 1 / (4 Q(sqrt 2)).
const GAUSSIAN_FACTOR: f64 = 3.178_4;

/// Natural logarithm of a bound on the probability of a score of `z` or more on unmarked audio.
pub fn log_tail(z: f64) -> f64 {
    if z <= 0.0 {
        return 0.0;
    }
    let hoeffding = -0.5 * z * z;
    if z < 1.3 {
        hoeffding
    } else {
        hoeffding.min(GAUSSIAN_FACTOR.ln() + log_gaussian_tail(z))
    }
}

/// Natural logarithm of the Gaussian tail for z > 1, by its continued fraction (Laplace).
fn log_gaussian_tail(z: f64) -> f64 {
    let fraction = (1..=60).rev().fold(z, |deeper, k| z + k as f64 / deeper);
    -0.5 * z * z - 0.5 * std::f64::consts::TAU.ln() - fraction.ln()
}

/// The score at which `hypotheses` tests give at most `alarms` false alarms.
pub fn threshold(hypotheses: f64, alarms: f64) -> f64 {
    let wanted = (alarms / hypotheses).ln();
    let (mut low, mut high) = (0.0, 100.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if log_tail(middle) > wanted {
            low = middle
        } else {
            high = middle
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaussian_tail_is_right() {
        // Q(2), Q(5), Q(8) from tables (Abramowitz and Stegun 26.2).
        for (z, q) in [
            (2.0, 2.275_013e-2),
            (5.0, 2.866_516e-7),
            (8.0, 6.220_961e-16),
        ] {
            let got = log_gaussian_tail(z).exp();
            assert!((got / q - 1.0).abs() < 1e-5, "Q({z}) = {got}, not {q}");
        }
    }

    #[test]
    fn the_constant_is_the_published_one() {
        let c = 0.25 / log_gaussian_tail(std::f64::consts::SQRT_2).exp();
        assert!((c - GAUSSIAN_FACTOR).abs() < 1e-3, "{c}");
    }

    #[test]
    fn threshold_undoes_the_bound() {
        let u = threshold(1e10, 1e-4);
        assert!((1e10 * log_tail(u).exp() / 1e-4 - 1.0).abs() < 1e-6);
        assert!((7.7..8.0).contains(&u), "{u}");
    }

    #[test]
    fn rademacher_sums_stay_below_the_bound() {
        // The worst cases known have few, equal weights: count all sign patterns of n equal ones.
        for n in 1..=16u32 {
            for u in [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5] {
                let reach = (0..1u32 << n)
                    .filter(|signs| {
                        let sum = n as f64 - 2.0 * signs.count_ones() as f64;
                        sum / (n as f64).sqrt() >= u
                    })
                    .count();
                let share = reach as f64 / (1u64 << n) as f64;
                assert!(
                    share <= log_tail(u).exp() * (1.0 + 1e-9),
                    "n = {n}, u = {u}: {share}"
                );
            }
        }
    }
}
