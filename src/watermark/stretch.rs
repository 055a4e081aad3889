// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a marked stretch begins and ends.
//!
//! The windows of the search hold whole rows, so they say roughly when the mark was there. The scores of single
//! slots say it better: before the mark they have mean 0, and the place where that changes is found by
//! maximum likelihood.

use super::correlation::{FRAME, SLOT};
use super::format::{CHIPS, DELAY, WINDOW};
use super::rounding::to_bytes;
use super::sounding::Sounding;
use super::speeds::SpeedMap;
use rustfft::num_complex::Complex;
use std::ops::Range;

/// Slots that a beginning is looked for in (3 s), and scores of slots to find the end in (40 s).
const SLOTS: usize = 75;
const SCORES: usize = 1000;
/// The mark need not be exactly where the search found it: places that are tried on either side, in slots.
const REACH: i64 = 3;
const PLACES: usize = 2 * REACH as usize + 1;
/// Scores whose mean tells how strong the mark is behind the score before them.
const AHEAD: usize = 6;
/// Of so many of the latest scores the strongest tell what is the least that is expected, and which share of them it
/// is.
const RECENT: usize = 25;
const LEAST: f32 = 0.9;
/// Slots that are not marked at least when the mark is given up.
const GIVEN_UP: usize = 50;
/// Deviation of a score from what is expected, besides that of 1 which every score has, as a share of it.
const SPREAD: f32 = 0.2;
/// Logarithm of how much more likely it is that the mark has been there all along than that it begins at a moment. With
/// 4, what begins softly at the start of a stream was cut off in 11 of 100 cases; with this, in 4.
const ALL_ALONG: f32 = 12.0;
/// Steps in which the beginning is looked for, in seconds.
const STEP: f64 = 0.01;
/// Time from the first audio to the middle of the first slot: the first window has its middle where the audio begins.
const FIRST_SLOT: f64 = DELAY + 0.5 * (SLOT - FRAME);
/// Time from where a mark may begin at the latest to the middle of the latest slot.
const LATEST_BEGINNING: f64 = 0.5 * (WINDOW + SLOT - FRAME);

/// What there is to be known of a slot besides its chips.
#[derive(Clone, Copy)]
pub struct Moment {
    /// Its middle.
    pub seconds: f64,
    pub loudness: f64,
    /// When it sounded.
    pub sounding: Sounding,
    /// Its playing speed beside those that are searched, mostly 1.
    pub speed: f64,
}

impl Moment {
    /// Before the first slot.
    pub const START: Moment = Moment {
        seconds: 0.0,
        loudness: 0.0,
        sounding: Sounding::MIDDLE,
        speed: 1.0,
    };
}

/// The latest slots, as of now or of a moment before.
pub struct RecentSlots {
    /// When each was, how it sounded, and the step of its chips.
    slots: Vec<(f64, Sounding, f32)>,
    /// Loudness and speed of each, if one may go back; else there is nobody to ask for them.
    beside: Vec<(f64, f64)>,
    kept: Kept,
    /// Slots since the start.
    taken: usize,
    /// Slots up to the moment that is looked at.
    shown: usize,
    scores: [[f32; SLOTS]; PLACES],
    change: ChangePoint,
}

/// What is kept of slots, one behind the other: their sums, from which their chips at any speed follow; or their chips,
/// in steps, if only one speed is searched.
enum Kept {
    /// So many of each slot.
    Sums(usize, Vec<Complex<f32>>),
    Chips(Vec<[i8; CHIPS]>),
}

/// One of the latest slots.
pub struct RecentSlot<'a> {
    pub moment: Moment,
    kept: &'a Kept,
    at: usize,
    step: f32,
}

impl RecentSlot<'_> {
    /// Writes its chips at the speed of `map`, which is one of those that are searched.
    pub fn chips(&self, map: &SpeedMap, chips: &mut [f32; CHIPS]) {
        match self.kept {
            Kept::Chips(kept) => *chips = kept[self.at].map(|chip| chip as f32 * self.step),
            Kept::Sums(..) => map.chips(self.sums(), chips),
        }
    }

    /// Its sums, if they are kept.
    pub fn sums(&self) -> &[Complex<f32>] {
        match self.kept {
            Kept::Chips(_) => &[],
            Kept::Sums(count, sums) => &sums[self.at * count..][..*count],
        }
    }
}

/// Where the mark begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beginning {
    /// Seconds since the start of the stream.
    pub seconds: f64,
    /// The mark was there already in the oldest slot that is kept.
    pub earlier: bool,
    /// What is to be added to the place, in slots.
    pub shift: i64,
}

impl RecentSlots {
    /// Room for slots of `sums` sums, of which the chips are asked for at `speeds` speeds, as of now and of up to
    /// `back` slots before.
    pub fn new(sums: usize, speeds: usize, back: usize) -> Self {
        let room = SLOTS + back;
        RecentSlots {
            slots: vec![(0.0, Sounding::MIDDLE, 0.0); room],
            beside: vec![(0.0, 1.0); if back > 0 { room } else { 0 }],
            kept: match (speeds, back) {
                (1, 0) => Kept::Chips(vec![[0; CHIPS]; room]),
                _ => Kept::Sums(sums, vec![Complex::ZERO; room * sums]),
            },
            taken: 0,
            shown: 0,
            scores: [[0.0; SLOTS]; PLACES],
            change: ChangePoint::new(SLOTS),
        }
    }

    /// Forgets all slots.
    pub fn reset(&mut self) {
        (self.taken, self.shown) = (0, 0);
    }

    /// Adds a slot, after which it is now: its sums, or with one speed its chips, and it is the other that need not be
    /// given.
    pub fn push(&mut self, moment: Moment, sums: &[Complex<f32>], only: &[f32]) {
        let at = self.taken % self.slots.len();
        let step = match &mut self.kept {
            Kept::Chips(chips) => to_bytes(only, &mut chips[at]),
            Kept::Sums(count, all) => {
                all[at * *count..][..*count].copy_from_slice(sums);
                0.0
            }
        };
        self.slots[at] = (moment.seconds, moment.sounding, step);
        if let Some(beside) = self.beside.get_mut(at) {
            *beside = (moment.loudness, moment.speed);
        }
        self.taken += 1;
        self.shown = self.taken;
    }

    /// Goes back to when the slot at `seconds` was the latest.
    pub fn go_back(&mut self, seconds: f64) {
        let later = |slot: RecentSlot| slot.moment.seconds > seconds;
        while self.len() > 1 && self.latest().is_some_and(later) {
            self.shown -= 1;
        }
    }

    /// Goes on by a slot, if it is not now.
    pub fn go_on(&mut self) -> bool {
        let behind = self.shown < self.taken;
        self.shown += usize::from(behind);
        behind
    }

    /// The latest slot, if there is any.
    pub fn latest(&self) -> Option<RecentSlot<'_>> {
        Some(self.slot(self.shown.checked_sub(1)?))
    }

    fn slot(&self, number: usize) -> RecentSlot<'_> {
        let at = number % self.slots.len();
        let (seconds, sounding, step) = self.slots[at];
        let (loudness, speed) = self.beside.get(at).copied().unwrap_or((0.0, 1.0));
        RecentSlot {
            moment: Moment {
                seconds,
                loudness,
                sounding,
                speed,
            },
            kept: &self.kept,
            at,
            step,
        }
    }

    fn len(&self) -> usize {
        let oldest = self.taken.saturating_sub(self.slots.len());
        (self.shown - oldest).min(SLOTS)
    }

    /// The slots from `seconds` on, the oldest first.
    pub fn since(&self, seconds: f64) -> impl Iterator<Item = RecentSlot<'_>> {
        (self.shown - self.len()..self.shown)
            .map(|number| self.slot(number))
            .filter(move |slot| slot.moment.seconds >= seconds)
    }

    /// Where the mark begins that is heard now; `signs(seconds, shift)` are those that it has at a
    /// moment if its place is off by `shift` slots.
    pub fn beginning(
        &mut self,
        map: &SpeedMap,
        mut signs: impl FnMut(f64, i64) -> [f32; CHIPS],
    ) -> Beginning {
        let len = self.len();
        let oldest = self.shown - len;
        for i in 0..len {
            let slot = self.slot(oldest + i);
            let (seconds, mut chips) = (slot.moment.seconds, [0.0; CHIPS]);
            slot.chips(map, &mut chips);
            let norm = norm(&chips);
            for (place, scores) in self.scores.iter_mut().enumerate() {
                let signs = signs(seconds, place as i64 - REACH);
                scores[i] = dot(&chips, &signs) / norm;
            }
        }
        let slots = &self.slots;
        let middle = |i: usize| slots[(oldest + i) % slots.len()].0;
        let first = middle(0) - FIRST_SLOT;
        let last = middle(len - 1) - LATEST_BEGINNING;
        let mut best = (f32::NEG_INFINITY, 0.0, 0);
        // Where the search found it first: in silence all places are as good.
        let others = (0..PLACES).filter(|place| *place as i64 != REACH);
        for place in std::iter::once(REACH as usize).chain(others) {
            let scores = &self.scores[place];
            let (most, seconds) = self.change.most_likely(&scores[..len], middle, first..last);
            if most > best.0 {
                best = (most, seconds, place as i64 - REACH);
            }
        }
        let (_, seconds, shift) = best;
        Beginning {
            seconds,
            earlier: seconds <= first + STEP,
            shift,
        }
    }
}

/// Finds where scores begin to have a mean.
struct ChangePoint {
    expected: Vec<f32>,
    sums: Vec<f32>,
}

impl ChangePoint {
    /// Room for `scores` scores.
    fn new(scores: usize) -> Self {
        ChangePoint {
            expected: vec![0.0; scores],
            sums: vec![0.0; scores + 1],
        }
    }

    /// How much more likely a mark is than none, as a logarithm, and its most likely beginning within `range`. The
    /// middle of score `i` is at `middle(i)` seconds.
    ///
    /// A score of the mark is expected to be what the next ones are on average, but not much less than the strongest:
    /// what is weak for long enough to look like no mark is taken for none.
    fn most_likely(
        &mut self,
        scores: &[f32],
        middle: impl Fn(usize) -> f64,
        range: Range<f64>,
    ) -> (f32, f64) {
        let len = scores.len();
        self.expect(scores);
        self.sums[len] = 0.0;
        for i in (0..len).rev() {
            self.sums[i] = self.sums[i + 1] + log_ratio(scores[i], self.expected[i]);
        }
        let steps = ((range.end - range.start) / STEP) as usize;
        let mut best = (f32::NEG_INFINITY, range.start);
        for step in 0..steps {
            let begins = range.start + step as f64 * STEP;
            let share = |i: &usize| share(middle(*i) - begins);
            // The scores around the beginning have a share of the mark, all later ones are full of it.
            let around = (0..len).find(|i| share(i) > 0.0).unwrap_or(len);
            let full = (around..len).find(|i| share(i) >= 1.0).unwrap_or(len);
            let partly: f32 = (around..full)
                .map(|i| log_ratio(scores[i], share(&i) * self.expected[i]))
                .sum();
            let bonus = if step == 0 { ALL_ALONG } else { 0.0 };
            let likelihood = self.sums[full] + partly + bonus;
            if likelihood > best.0 {
                best = (likelihood, begins);
            }
        }
        best
    }

    /// What each score is expected to be if it is one of the mark.
    fn expect(&mut self, scores: &[f32]) {
        let len = scores.len();
        let expected = &mut self.expected[..len];
        for (i, expected) in expected.iter_mut().enumerate() {
            let next = &scores[(i + 1).min(len - 1)..(i + 1 + AHEAD).min(len)];
            *expected = next.iter().sum::<f32>() / next.len() as f32;
        }
        let recent = expected[len.saturating_sub(RECENT)..].iter();
        let most = recent.fold(0.0, |most: f32, &mean| most.max(mean));
        let least = (LEAST * most).max(0.5);
        for expected in expected {
            *expected = expected.max(least);
        }
    }
}

/// Share of its full score that a slot has whose middle is `seconds` behind the beginning of the mark. The mark enters
/// the latest window, and with that most of the score is there; one delay later it is in the earlier window too.
/// Measured on clean music and speech.
fn share(seconds: f64) -> f32 {
    let latest = ((seconds + 0.045) / 0.085).clamp(0.0, 1.0);
    let earlier = ((seconds - 0.1) / 0.12).clamp(0.0, 1.0);
    (0.72 * latest + 0.28 * earlier) as f32
}

/// Logarithm of how much more likely `score` is if its mean is `mean` rather than 0.
fn log_ratio(score: f32, mean: f32) -> f32 {
    let variance = 1.0 + (SPREAD * mean).powi(2);
    0.5 * (score * score - (score - mean).powi(2) / variance - variance.ln())
}

fn dot(chips: &[f32; CHIPS], signs: &[f32; CHIPS]) -> f32 {
    chips.iter().zip(signs).map(|(b, s)| b * s).sum()
}

/// What a slot's sum is divided by to become its score.
fn norm(chips: &[f32; CHIPS]) -> f32 {
    chips.iter().map(|b| b * b).sum::<f32>().sqrt().max(1e-15)
}

/// Scores of the latest slots at the place of the mark, from which its end follows.
pub struct RecentScores {
    scores: Vec<f32>,
    /// Slots since the mark was found.
    taken: usize,
}

impl RecentScores {
    /// No scores yet.
    pub fn new() -> Self {
        RecentScores {
            scores: vec![0.0; SCORES],
            taken: 0,
        }
    }

    /// Forgets all scores.
    pub fn reset(&mut self) {
        self.taken = 0;
    }

    /// Adds the score of a slot.
    pub fn push(&mut self, chips: &[f32; CHIPS], product: f32) {
        self.scores[self.taken % SCORES] = product / norm(chips);
        self.taken += 1;
    }

    /// Slots since the mark ended; 0 if it has not.
    pub fn slots_since_end(&self) -> usize {
        let len = self.taken.min(SCORES);
        // Age 0 is the latest.
        let score = |age: usize| self.scores[(self.taken - 1 - age) % SCORES];
        let marked = GIVEN_UP.min(len)..len;
        let count = marked.len().max(1) as f32;
        let mean = (marked.map(score).sum::<f32>() / count).max(0.5);
        let (mut sum, mut best) = (0.0, (0.0, 0));
        for age in 0..len {
            sum += 0.35 * mean - score(age);
            if sum > best.0 {
                best = (sum, age + 1);
            }
        }
        best.1
    }
}

#[cfg(test)]
mod tests {
    use super::super::correlation::Correlator;
    use super::super::speeds::speed_maps;
    use super::*;

    /// With one speed chips are kept, with several the sums that they are made of: both say the same, to the step.
    #[test]
    fn what_is_kept_of_a_slot_has_the_same_chips_with_one_speed() {
        let correlator = Correlator::new(16_000, 0.0, 160);
        let bins = correlator.bins().1.len();
        let maps = speed_maps(0.0, &correlator);
        let [map] = &maps[..] else {
            panic!("{} speeds", maps.len());
        };
        let sums: Vec<_> = (0..bins)
            .map(|bin| Complex::new((bin as f32).sin(), 0.5))
            .collect();
        let chips = |recent: RecentSlots| {
            let mut chips = [0.0; CHIPS];
            let slots = recent.since(0.0);
            slots.for_each(|slot| slot.chips(map, &mut chips));
            chips
        };
        let (mut of_one, mut of_several) =
            (RecentSlots::new(bins, 1, 0), RecentSlots::new(bins, 2, 0));
        let mut exact = [0.0; CHIPS];
        map.chips(&sums, &mut exact);
        of_one.push(Moment::START, &[], &exact);
        of_several.push(Moment::START, &sums, &[]);
        let (one, several) = (chips(of_one), chips(of_several));
        let largest = one.iter().fold(0.0f32, |most, chip| most.max(chip.abs()));
        assert!(largest > 0.0);
        for (one, exact) in one.iter().zip(several) {
            assert!((one - exact).abs() < largest / 250.0, "{one} for {exact}");
        }
    }
}
