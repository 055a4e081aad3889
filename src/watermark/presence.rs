// SPDX-License-Identifier: MIT OR Apache-2.0
//! Is the mark that was found still there? Decided row by row, from the scores of the rows.
//!
//! A hidden Markov model. The mark is there with one of a few strengths, and active, or in a pause of the
//! programme, where a row has a score of mean 0; or it is gone, where a row has a score of mean 0 for
//! good. A row is seldom the last one, a pause seldom lasts for more than a second, and a strength changes
//! now and then. What follows from that and the scores so far is the probability of each (the forward
//! algorithm, Rabiner 1989).
//!
//! So a strong mark counts as gone after 2 to 3 s of nothing, since no pause lasts that long, while a weak
//! one, that says little in any row, is given time; and a strong mark that drowns in noise becomes a weak
//! mark, if what is left of it shows.

/// Mean score of a row while the mark is active, for each strength.
const STRENGTHS: [f64; LEVELS] = [0.35, 0.7, 1.4, 2.8, 5.6, 11.2];
const LEVELS: usize = 6;
/// Deviation of that score, besides that of 1 which every score has, as a share of the mean.
const SPREAD: f64 = 0.5;

/// Probabilities, for each row, that the mark ends, that its strength becomes the next one on either side, that it
/// becomes any other, that a pause of the programme begins, and that a pause is over.
const ENDS: f64 = 0.005;
const STEPS: f64 = 0.03;
const CHANGES: f64 = 0.01;
const PAUSES: f64 = 0.05;
const RESUMES: f64 = 0.4;
/// What the strength becomes if it becomes any: rarely so weak that it cannot be told from nothing.
const BECOMES: [f64; LEVELS] = [0.003, 0.02, 0.1, 0.25, 0.3, 0.327];

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
}

impl Presence {
    /// The mark is there, at a mean score of `strength` a row.
    pub fn new(strength: f64) -> Self {
        let distance = |level: f64| (level / strength.max(STRENGTHS[0])).ln() / 0.5;
        let mut presence = Presence {
            active: STRENGTHS.map(|level| (-0.5 * distance(level).powi(2)).exp().max(1e-3)),
            paused: [0.0; LEVELS],
            gone: 0.0,
        };
        presence.normalise();
        presence
    }

    /// Takes the score of a row.
    pub fn take(&mut self, score: f64) {
        self.pass();
        let score = score.max(LOWEST);
        let nothing = likelihood(score, 0.0);
        for (active, level) in self.active.iter_mut().zip(STRENGTHS) {
            *active *= likelihood(score, level);
        }
        self.paused.iter_mut().for_each(|paused| *paused *= nothing);
        self.gone *= nothing;
        self.normalise();
    }

    /// Lets a row go by.
    fn pass(&mut self) {
        let active: f64 = self.active.iter().sum();
        let paused: f64 = self.paused.iter().sum();
        self.gone += ENDS * (active + paused);
        let was = self.active;
        for (level, (a, p)) in self.active.iter_mut().zip(&mut self.paused).enumerate() {
            // What would leave the scale at its end stays.
            let weaker = was[level.saturating_sub(1)];
            let stronger = was[(level + 1).min(LEVELS - 1)];
            let was_paused = *p;
            *a = (1.0 - ENDS - CHANGES - PAUSES - 2.0 * STEPS) * was[level]
                + STEPS * (weaker + stronger)
                + CHANGES * active * BECOMES[level]
                + RESUMES * was_paused;
            *p = PAUSES * was[level] + (1.0 - ENDS - RESUMES) * was_paused;
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

/// How likely a score is if its mean is `mean`, but for a constant factor.
fn likelihood(score: f64, mean: f64) -> f64 {
    let variance = 1.0 + (SPREAD * mean).powi(2);
    (-0.5 * (score - mean).powi(2) / variance).exp() / variance.sqrt()
}
