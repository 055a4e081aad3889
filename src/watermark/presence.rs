// SPDX-License-Identifier: MIT OR Apache-2.0
//! Is the mark that was found still there? Decided row by row, from the scores of the rows.
//!
//! A hidden Markov model. The mark is there with one of a few strengths, and active, or in a pause of the
//! programme, where a row has a score of mean 0; or it is gone, where a row has a score of mean 0 for
//! good. A row is seldom the last one, a pause seldom lasts for more than a second, and a strength changes
//! now and then. What follows from that and the scores so far is the probability of each (the forward
//! algorithm, Rabiner 1989).
//!
//! So a strong mark counts as gone after 2 to 3 s of nothing, since few pauses last that long (of programme in which
//! some do, that is learned, see [`Pauses`]), while a weak one, that says little in any row, is given time; and a strong
//! mark that drowns in noise becomes a weak mark, if what is left of it shows.
//!
//! A mark seldom becomes weaker while the programme is as loud as it was where the mark was seen: it is in soft
//! passages that a room drowns it. Without that, two or three high scores of chance after the end look like a mark that
//! has become very weak, and the loss is told 5 to 8 s late. For the same reason a strength seldom changes by more than
//! one level. What is much louder than the programme was is something else, and that the mark drowns in it is likely.
//! That the programme sounds says little against a pause, though: what is loud in a room need not be the programme, and
//! of speech three times as many runs lost the mark when that counted. It counts a little where the programme is as loud
//! as it was.
//!
//! The numbers were chosen by 83 recordings (46 of music, 37 of speech): how soon a strong mark is lost after its end,
//! against how often it is lost for a while where it stays, in rooms, in pauses of speech, and where noise begins; how
//! often strengths change and pauses begin and last, and what counts as loud, once more by 120. How that came out is in
//! `docs/measured.md`, "While the mark is there".

use super::pauses::Pauses;

/// Mean score of a row while the mark is active, for each strength.
const STRENGTHS: [f64; LEVELS] = [0.35, 0.7, 1.4, 2.8, 5.6, 11.2];
const LEVELS: usize = 6;
/// Deviation of that score, besides that of 1 which every score has, as a share of the mean.
const SPREAD: f64 = 0.5;

/// Probabilities, for each row, that the mark ends, that its strength becomes the next one on either side, that it
/// becomes any other, and that a pause of the programme begins; how likely it is that a pause is over is learned, see
/// [`Pauses`].
const ENDS: f64 = 0.005;
const STEPS: f64 = 0.01;
const CHANGES: f64 = 0.0002;
const PAUSES: f64 = 0.04;
/// How much more likely a pause is over in a row that is loud: there the programme does not pause.
const RESUMES_LOUD: f64 = 1.16;
/// Probability of being active from which on the mark is there for sure.
const SEEN: f64 = 0.8;
/// What the strength becomes if it becomes any: rarely so weak that it cannot be told from nothing.
const BECOMES: [f64; LEVELS] = [0.001, 0.01, 0.1, 0.25, 0.3, 0.339];
/// How much less likely the strength becomes a lower one in a row that is loud.
const LOUD: f64 = 0.1;
/// The same holds of the strengths from `STRONG` on in all rows but those that are softer than what is loud by this
/// much, 3 nepers of power or 13 dB: a strong mark does not drown in what is only somewhat softer.
const STRONG: usize = 4;
const SOFT: f64 = 3.0;
/// A row that is louder than what is loud by this much, 3 nepers of power or 13 dB, has more in it than the programme.
/// There the strength becomes the next lower one, and any lower one, so much more likely than in a soft row.
const LOUDER: f64 = 3.0;
const DROWNS: [f64; 2] = [3.0, 50.0];
/// A row that is softer than what is loud by this much is silent: 10 nepers of power, 43 dB. Silence fits a pause of
/// the programme somewhat better than its end, after which something else mostly sounds.
const SILENT: f64 = 10.0;
const SILENT_WHEN_GONE: f64 = 0.9;
/// Share that a row has in what counts as loud, which is the mean of the rows of the latest seconds that show the mark.
const SHARE: f64 = 0.05;
/// The weakest level at which a row shows the mark.
const SHOWN: usize = 2;

/// Probability from which on the mark counts as gone, and from which on of not being seen just now.
const GONE: f64 = 0.9;
const UNSEEN: f64 = 0.8;
/// No score below this says more than it: two standard deviations of nothing.
const LOWEST: f64 = -2.0;

/// Probabilities of what may be the case.
#[derive(Debug, Clone, PartialEq)]
pub struct Presence {
    active: [f64; LEVELS],
    paused: [f64; LEVELS],
    gone: f64,
    /// Loudness of the rows that show the mark, as the mean of a logarithm; none so far.
    usual: Option<f64>,
    pauses: Pauses,
}

impl Presence {
    /// The mark is there, at a mean score of `strength` a row.
    pub fn new(strength: f64) -> Self {
        let distance = |level: f64| (level / strength.max(STRENGTHS[0])).ln() / 0.5;
        let mut presence = Presence {
            active: STRENGTHS.map(|level| (-0.5 * distance(level).powi(2)).exp().max(1e-3)),
            paused: [0.0; LEVELS],
            gone: 0.0,
            usual: None,
            pauses: Pauses::UNKNOWN,
        };
        presence.normalise();
        presence
    }

    /// The mark of the same stream is there again, `seconds` after the row that was taken last, at a mean score of
    /// `strength` a row.
    pub fn find_again(&mut self, strength: f64, seconds: f64) {
        let mut pauses = self.pauses;
        pauses.found_again(seconds);
        *self = Presence {
            pauses,
            ..Presence::new(strength)
        };
    }

    /// The mark is still there, at a mean score of `strength` a row.
    pub fn confirm(&mut self, strength: f64) {
        *self = Presence {
            usual: self.usual,
            pauses: self.pauses,
            ..Presence::new(strength)
        };
    }

    /// Takes the score of a row, and its loudness.
    pub fn take(&mut self, score: f64, loudness: f64) {
        let usual = *self.usual.get_or_insert(loudness);
        self.pass(loudness - usual);
        let score = score.max(LOWEST);
        let nothing = likelihood(score, 0.0);
        for (active, level) in self.active.iter_mut().zip(STRENGTHS) {
            *active *= likelihood(score, level);
        }
        self.paused.iter_mut().for_each(|paused| *paused *= nothing);
        self.gone *= nothing;
        if loudness < usual - SILENT {
            self.gone *= SILENT_WHEN_GONE;
        }
        self.normalise();
        if self.is_unseen() {
            self.pauses.not_seen();
        } else if self.active.iter().sum::<f64>() > SEEN {
            self.pauses.seen();
        }
        let shown: f64 = self.active[SHOWN..].iter().sum();
        self.usual = Some(usual + SHARE * shown * (loudness - usual));
    }

    /// Lets a row go by that is `louder` than what is loud.
    fn pass(&mut self, louder: f64) {
        let loud = louder > 0.0 && louder <= LOUDER;
        let resumes = self.pauses.resumes() * if loud { RESUMES_LOUD } else { 1.0 };
        let active: f64 = self.active.iter().sum();
        let paused: f64 = self.paused.iter().sum();
        self.gone += ENDS * (active + paused);
        let was = self.active;
        for ((active, paused), was) in self.active.iter_mut().zip(&mut self.paused).zip(was) {
            *active = (1.0 - ENDS - PAUSES) * was + resumes * *paused;
            *paused = PAUSES * was + (1.0 - ENDS - resumes) * *paused;
        }
        for (from, was) in was.into_iter().enumerate() {
            let weaker = weakening(from, louder);
            for (to, becomes) in BECOMES.into_iter().enumerate() {
                let step = if from.abs_diff(to) == 1 { STEPS } else { 0.0 };
                let [steps, changes] = if to < from { weaker } else { [1.0; 2] };
                let moved = (steps * step + changes * CHANGES * becomes) * was;
                self.active[from] -= moved;
                self.active[to] += moved;
            }
        }
    }

    fn normalise(&mut self) {
        let sum = self.gone + self.active.iter().chain(&self.paused).sum::<f64>();
        let all = self.active.iter_mut().chain(&mut self.paused);
        all.for_each(|p| *p /= sum);
        self.gone /= sum;
    }

    /// The mark is no longer there.
    pub fn is_gone(&self) -> bool {
        self.gone >= GONE
    }

    /// The latest rows show no mark: it may be gone, or elsewhere, or the programme pauses.
    pub fn is_unseen(&self) -> bool {
        self.gone + self.paused.iter().sum::<f64>() >= UNSEEN
    }
}

/// How much more likely than in a soft row the strength `from` becomes the next lower one, and any lower one, in a row
/// that is `louder` than what is loud.
fn weakening(from: usize, louder: f64) -> [f64; 2] {
    let loud = if from >= STRONG { -SOFT } else { 0.0 };
    match louder {
        louder if louder > LOUDER => DROWNS,
        louder if louder > loud => [LOUD; 2],
        _ => [1.0; 2],
    }
}

/// How likely a score is if its mean is `mean`, but for a constant factor.
fn likelihood(score: f64, mean: f64) -> f64 {
    let variance = 1.0 + (SPREAD * mean).powi(2);
    (-0.5 * (score - mean).powi(2) / variance).exp() / variance.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of nothing, with what chance does now and then, until a mark of a mean score of 10 counts as gone, if the
    /// programme goes on `louder` than it was.
    fn rows_until_gone(louder: f64) -> usize {
        let mut presence = Presence::new(10.0);
        for row in 0..50 {
            presence.take(10.0 + (row % 3) as f64 - 1.0, -5.0);
        }
        assert!(presence.gone < 1e-3);
        let nothing = [2.6, -0.5, 1.4, -1.0, 2.5, 0.2, -0.7, 1.3, 2.0, -0.2, 1.1];
        for row in 0..200 {
            presence.take(nothing[row % nothing.len()], -5.0 + louder);
            if presence.is_gone() {
                return row + 1;
            }
        }
        200
    }

    #[test]
    fn a_mark_that_ends_is_gone_the_sooner_the_louder_the_programme() {
        assert_eq!([0.1, -1.0, -4.0].map(rows_until_gone), [10, 13, 15]);
    }

    /// Scores and loudness after the end of the mark, of the recording on which the loss was told 4.1 s late when a
    /// strong mark became weaker in a somewhat softer row as easily as in a very soft one.
    #[test]
    fn a_strong_mark_that_ends_does_not_pass_for_a_weak_one() {
        let rows = [
            (-0.1, 0.0),
            (1.5, 0.0),
            (1.1, -0.3),
            (1.1, -2.9),
            (0.1, -3.9),
            (0.5, 0.6),
            (2.8, -0.3),
            (0.9, -0.6),
            (-0.2, -2.9),
            (1.5, -2.9),
            (0.4, -0.5),
            (1.3, 0.2),
            (1.0, 0.2),
            (0.4, 0.7),
        ];
        let mut presence = Presence::new(8.0);
        (0..20).for_each(|_| presence.take(8.0, -6.0));
        rows.iter()
            .for_each(|(score, louder)| presence.take(*score, -6.0 + louder));
        assert!(presence.is_gone(), "{}", presence.gone);
    }

    /// A mark that is not strong may drown for the better part where the programme is only somewhat softer.
    #[test]
    fn a_weak_mark_that_becomes_weaker_stays() {
        let mut presence = Presence::new(2.8);
        (0..20).for_each(|row| presence.take(2.8 + f64::from(row % 3) - 1.0, -6.0));
        let mut most = 0.0f64;
        for row in 0..40 {
            presence.take(0.8 + f64::from(row % 3) - 1.0, -7.0);
            most = most.max(presence.gone);
        }
        assert!(most < 0.5, "{most}");
    }

    /// Rows of nothing until a mark of a mean score of 10 counts as gone, in silence or in soft noise.
    #[test]
    fn silence_is_a_pause_for_longer_than_noise_is() {
        let rows_until_gone = |loudness| {
            let mut presence = Presence::new(10.0);
            (0..20).for_each(|_| presence.take(10.0, -8.0));
            (1..50).find(|_| {
                presence.take(0.0, loudness);
                presence.is_gone()
            })
        };
        let (silence, noise) = (rows_until_gone(-27.0), rows_until_gone(-12.0));
        assert_eq!((silence, noise), (Some(14), Some(11)));
    }

    #[test]
    fn probabilities_are_those_of_something() {
        let mut presence = Presence::new(3.0);
        for row in 0..100 {
            presence.take((row % 7) as f64 - 2.0, (row % 5) as f64);
            let (active, paused) = (presence.active.iter(), presence.paused.iter());
            let sum = presence.gone + active.chain(paused).sum::<f64>();
            assert!((sum - 1.0).abs() < 1e-9);
            assert!(presence.active.iter().all(|p| *p >= 0.0));
        }
    }

    /// Rows of nothing until a mark of a mean score of 8 counts as gone, in programme with such pauses, lost and found
    /// again in between.
    #[test]
    fn long_pauses_make_it_patient() {
        let rows_until_gone = |pause: usize| {
            let mut presence = Presence::new(8.0);
            for _ in 0..4 {
                (0..20).for_each(|_| presence.take(8.0, -6.0));
                (0..pause).for_each(|_| presence.take(0.0, -6.5));
            }
            presence.find_again(8.0, 20.0);
            (0..20).for_each(|_| presence.take(8.0, -6.0));
            (1..50).find(|_| {
                presence.take(0.0, -6.5);
                presence.is_gone()
            })
        };
        assert_eq!(
            [0, 3, 8].map(rows_until_gone),
            [Some(11), Some(11), Some(16)]
        );
    }

    #[test]
    fn what_is_loud_stays_known_when_the_mark_is_confirmed() {
        let mut presence = Presence::new(5.0);
        (0..20).for_each(|_| presence.take(5.0, -3.0));
        presence.confirm(7.0);
        assert_eq!(presence.usual, Some(-3.0));
    }
}
