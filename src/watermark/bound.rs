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
//! For every hypothesis the score is such a sum: the chips are weighted, correlated at one speed and added up over the
//! slots of each row; the weight of a row is 1 or 0 in a window that is cut, a power of its age in one that fades, or
//! that and 0 beyond 7 s at a speed between two that have sums of their own; and the weights of the audio, the speed,
//! the window and the end of a stream are given before a sign is looked at. What these weights depend on is the
//! received audio. Rows that lie more than 204.8 s apart have the same signs with a row clock that repeats; the longest
//! window has forgotten them by then (a factor of 1e-7). With one that never repeats, at least 256 rows are searched,
//! for the same reason.
//!
//! # From false alarms an hour to a threshold
//!
//! The expected number of false alarms is at most the sum of P over all hypotheses that are tested (union bound),
//! whether or not they depend on each other. In an hour of audio these are
//!
//! | what | how many |
//! | --- | --- |
//! | times: an alignment is tested when its row ends, one of the five after each slot of 40 ms | 90 000 |
//! | rows of the key (with `row-clock=utc` those within the tolerance of the clock, up to 864 256) | 1024 |
//! | windows: 6 of 9 with each row, one with every second, fourth and eighth | 6.875 |
//! | speeds | 1 every 0.02 % |
//! | kinds of pilots: all chips, for marks without a payload, or the even ones, for marks with one | 2 |
//! | channels | 1, the downmix |
//! | keys | those of the detector |
//!
//! Four fifths of the permitted number go to the nominal speed, which is nearly always the right one, and the rest
//! is shared by all other speeds: a wide speed search costs the usual case little.
//!
//! *Windows.* Each has a share of the permitted number, a tenth, the longest two, and a threshold that follows from
//! that and from how often it is tested. What holds 25 s of evidence changes little in 1.6 s, so hardly anything is
//! missed between two tests, and its threshold is 0.36 lower than if it were tested with each row and had a ninth.
//!
//! *Pilots.* 90 % of the permitted number goes to marks without a payload, 10 % to those with one, of which only the
//! even chips are known beforehand. Over these the score is such a sum like any other. What the odd chips say is read
//! only where the mark has been found, and has a tag of its own that chance passes once in 2^32 attempts; it makes no
//! `found`.
//!
//! *Keys.* Each has signs of its own, and its hypotheses count like more rows of one key: the permitted number is that
//! of all keys together.
//!
//! *Speeds.* At v times the speed rows end v times as often. As speeds lie on both sides of 1 the sum is the same.
//! Every second speed has sums of its own; at those in between the windows are made anew where a neighbour's are high,
//! from the rows of the latest 7 s. All are counted as if all windows were tested with their rows.
//!
//! *Lags.* Slots of stretched programme are turned to the usual lag. Which, and how far, the audio tells and not the
//! signs (see [`super::lag`]): one set of chips is tested, as without.
//!
//! *Slots and rows.* A row is the latest five slots, also where it is one longer or shorter because of the speed: what
//! the chips are does not depend on the key. Nor does how they are rounded before they are multiplied.
//!
//! *Rounding.* The sums that fade are rounded down with each row, so no score is above that of exact numbers, but for
//! scores below -42. Beyond a score of 21 all numbers are halved, and then the last bits of what later rows are
//! multiplied with depend on the key; in unmarked audio no hypothesis comes there, as is said below of 18.
//!
//! *What is not tested.* The windows that are cut, and all of the speeds in between, are made only for hypotheses of
//! which a sum that fades is high enough. All are counted here nevertheless: an alarm that is not raised breaks no
//! promise.
//!
//! *Ends of streams.* When a stream ends, each of the five alignments is tested once more, with the row under way.
//! These tests need no share of their own, as the beginning has left room for them. Slots begin one delay, 160 ms,
//! after the stream. Of n slots, nothing is tested after the first nine, so there are at most n - 9 tests and five at
//! the end, in n + 3 slots' time or more. With fewer than ten slots there are the five at the end alone, and none with
//! fewer than three, of which the last begins 240 ms after the beginning: six slots' time. A window that is tested with
//! every eighth row has its first turn at the end only, once there are eight rows: of r rows of an alignment at most
//! r/8 are tested. So the promise is one for each hour of audio, whether that hour is one stream or ten thousand
//! excerpts.
//!
//! *While a mark is followed* there is no search, or one that begins afresh: only fewer tests. What the tracker then
//! reports is not part of the promise, which is about the calls "found".
//!
//! *Frames that are left out.* Every second frame is left out, and stretching is no longer looked for, once the marks
//! of all keys are followed with scores of 18 or more, and that depends on the key. In unmarked audio a hypothesis has
//! such a score with a chance of 3e-72, and in an hour there are less than 1e16: all frames count there, and the proof
//! stands as it is. Where a mark has just been followed, it does not cover the next 6 s to the letter. All frames are
//! heard from the next slot after there is doubt, but for so long the weights depend on which were left out before, and
//! on audio that was made with the key.
//!
//! The tests of neighbouring alignments, windows and speeds mostly rise and fall together, so what is measured
//! lies well below what is promised: `make unmarked` counts it on recordings.

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
