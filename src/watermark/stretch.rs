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

/// Slots that are kept to find the beginning in (3 s), and scores of slots to find the end in (40 s).
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

/// The latest slots.
pub struct RecentSlots {
    /// When each was, how it sounded, and the step of its chips.
    slots: Vec<(f64, Sounding, f32)>,
    kept: Kept,
    /// Slots since the start.
    taken: usize,
    scores: [[f32; SLOTS]; PLACES],
    change: ChangePoint,
}

/// What is kept of slots, one behind the other: their sums, from which their chips at any speed follow; or their chips,
/// in steps, if only one speed is searched.
enum Kept {
    Sums(Vec<Complex<f32>>),
    Chips(Vec<[i8; CHIPS]>),
}

/// One of the latest slots.
pub struct RecentSlot<'a> {
    /// Its middle.
    pub seconds: f64,
    pub sounding: Sounding,
    kept: &'a Kept,
    at: usize,
    step: f32,
}

impl RecentSlot<'_> {
    /// Writes its chips at the speed of `map`, which is one of those that are searched.
    pub fn chips(&self, map: &SpeedMap, chips: &mut [f32; CHIPS]) {
        match self.kept {
            Kept::Chips(kept) => *chips = kept[self.at].map(|chip| chip as f32 * self.step),
            Kept::Sums(sums) => {
                let count = sums.len() / SLOTS;
                map.chips(&sums[self.at * count..][..count], chips);
            }
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
    /// Room for slots of `sums` sums, of which the chips are asked for at `speeds` speeds.
    pub fn new(sums: usize, speeds: usize) -> Self {
        RecentSlots {
            slots: vec![(0.0, Sounding::MIDDLE, 0.0); SLOTS],
            kept: match speeds {
                1 => Kept::Chips(vec![[0; CHIPS]; SLOTS]),
                _ => Kept::Sums(vec![Complex::ZERO; SLOTS * sums]),
            },
            taken: 0,
            scores: [[0.0; SLOTS]; PLACES],
            change: ChangePoint::new(SLOTS),
        }
    }

    /// Forgets all slots.
    pub fn reset(&mut self) {
        self.taken = 0;
    }

    /// Adds a slot: its sums, or with one speed its chips, and it is the other that need not be given.
    pub fn push(&mut self, seconds: f64, sounding: Sounding, sums: &[Complex<f32>], only: &[f32]) {
        let at = self.taken % SLOTS;
        let step = match &mut self.kept {
            Kept::Chips(chips) => to_bytes(only, &mut chips[at]),
            Kept::Sums(all) => {
                all[at * sums.len()..][..sums.len()].copy_from_slice(sums);
                0.0
            }
        };
        self.slots[at] = (seconds, sounding, step);
        self.taken += 1;
    }

    fn slot(&self, number: usize) -> RecentSlot<'_> {
        let at = number % SLOTS;
        let (seconds, sounding, step) = self.slots[at];
        RecentSlot {
            seconds,
            sounding,
            kept: &self.kept,
            at,
            step,
        }
    }

    fn len(&self) -> usize {
        self.taken.min(SLOTS)
    }

    /// The slots from `seconds` on, the oldest first.
    pub fn since(&self, seconds: f64) -> impl Iterator<Item = RecentSlot<'_>> {
        (self.taken - self.len()..self.taken)
            .map(|number| self.slot(number))
            .filter(move |slot| slot.seconds >= seconds)
    }

    /// Where the mark begins that is heard now; `signs(seconds, shift)` are those that it has at a
    /// moment if its place is off by `shift` slots.
    pub fn beginning(
        &mut self,
        map: &SpeedMap,
        mut signs: impl FnMut(f64, i64) -> [f32; CHIPS],
    ) -> Beginning {
        let len = self.len();
        for i in 0..len {
            let slot = self.slot(self.taken - len + i);
            let (seconds, mut chips) = (slot.seconds, [0.0; CHIPS]);
            slot.chips(map, &mut chips);
            let norm = norm(&chips);
            for (place, scores) in self.scores.iter_mut().enumerate() {
                let signs = signs(seconds, place as i64 - REACH);
                scores[i] = dot(&chips, &signs) / norm;
            }
        }
        let oldest = self.taken - len;
        let middle = |i: usize| self.slots[(oldest + i) % SLOTS].0;
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

/// Scores of slots at one place, from which it follows in which of them the mark is.
pub struct Course {
    scores: Vec<(f64, f32)>,
}

impl Course {
    /// Room for so many slots.
    pub fn new(slots: usize) -> Self {
        Course {
            scores: Vec::with_capacity(slots),
        }
    }

    /// Forgets all scores.
    pub fn reset(&mut self) {
        self.scores.clear();
    }

    /// Adds the slot in the middle of which are `seconds`, as far as there is room.
    pub fn push(&mut self, seconds: f64, chips: &[f32; CHIPS], signs: &[f32; CHIPS]) {
        if self.scores.len() < self.scores.capacity() {
            self.scores.push((seconds, dot(chips, signs) / norm(chips)));
        }
    }

    /// Score of the latest so many slots.
    pub fn latest(&self, slots: usize) -> f64 {
        let scores = &self.scores[self.scores.len().saturating_sub(slots)..];
        let sum: f32 = scores.iter().map(|(_, score)| score).sum();
        f64::from(sum) / (scores.len().max(1) as f64).sqrt()
    }

    /// Middles of the first and of the last slot of the mark, whose slots have a mean score of `mean`: the stretch in
    /// which the scores are farthest above the share of it that tells the end of a mark, too.
    pub fn stretch(&self, mean: f32) -> (f64, f64) {
        let start = |at: usize| self.scores.get(at).map_or(0.0, |(seconds, _)| *seconds);
        let (mut sum, mut from, mut most, mut best) = (0.0, 0, 0.0, (start(0), start(0)));
        for (at, (seconds, score)) in self.scores.iter().enumerate() {
            if sum <= 0.0 {
                (sum, from) = (0.0, at);
            }
            sum += score - ENDED * mean;
            if sum > most {
                (most, best) = (sum, (start(from), *seconds));
            }
        }
        best
    }
}

/// Share of the mean score of the mark below which a slot speaks for its end.
const ENDED: f32 = 0.35;

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

    /// Whether there is a score in which the mark still was, given the slots since it ended.
    pub fn shows_end(&self, slots_since_end: usize) -> bool {
        slots_since_end < self.taken.min(SCORES)
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
            sum += ENDED * mean - score(age);
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
        let (mut of_one, mut of_several) = (RecentSlots::new(bins, 1), RecentSlots::new(bins, 2));
        let mut exact = [0.0; CHIPS];
        map.chips(&sums, &mut exact);
        of_one.push(1.0, Sounding::MIDDLE, &[], &exact);
        of_several.push(1.0, Sounding::MIDDLE, &sums, &[]);
        let (one, several) = (chips(of_one), chips(of_several));
        let largest = one.iter().fold(0.0f32, |most, chip| most.max(chip.abs()));
        assert!(largest > 0.0);
        for (one, exact) in one.iter().zip(several) {
            assert!((one - exact).abs() < largest / 250.0, "{one} for {exact}");
        }
    }

    #[test]
    fn a_course_tells_first_and_last_slot_of_the_mark() {
        let mut course = Course::new(500);
        let signs = [1.0; CHIPS];
        let mut noise = crate::watermark::testing::noise(8);
        for slot in 0..500 {
            // A mark in slots 100 to 219, with a pause of a second.
            let marked = (100..220).contains(&slot) && !(140..165).contains(&slot);
            let chips: [f32; CHIPS] =
                std::array::from_fn(|_| noise() + if marked { 0.15 } else { 0.0 });
            course.push(f64::from(slot), &chips, &signs);
        }
        let (first, last) = course.stretch(0.15 * (3.0 * CHIPS as f32).sqrt());
        assert!(
            (first - 100.0).abs() <= 3.0 && (last - 219.0).abs() <= 3.0,
            "{first} {last}"
        );
        assert!(course.latest(50).abs() < 4.0);
        course.push(500.0, &signs, &signs);
        assert_eq!(course.scores.len(), 500);
    }
}
