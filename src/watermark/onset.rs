// SPDX-License-Identifier: MIT OR Apache-2.0
//! The moment at which the mark begins, once it is known which mark it is and where in it the audio is.
//!
//! The windows of the self-correlation are 128 ms long, and a loud moment in one outweighs the rest. But the mark
//! can be told more exactly: the embedder's carrier is made anew from what was received, and compared with what
//! was received in frames of 21 ms. Where that agrees, the mark is there.

use super::carrier::CarrierStage;
use super::format::{CHIP_HIGH, CHIP_LOW, CYCLE, Carrier, DELAY, RowClock};
use super::key::Signs;
use super::spectrum::{Forward, Timeline, fast_size};
use super::stretch::{ChangePoint, Course};

/// Seconds of audio that are kept.
const KEPT: f64 = 4.0;
/// The beginning is looked for this far on either side of where it seems to be, and audio is taken from
/// earlier still: the carrier has to get going.
const AROUND: f64 = 0.25;
const BEFORE: f64 = 0.75;
/// Length of a frame, in seconds: that of the embedder's shaping.
const FRAME: f64 = 1024.0 / 48_000.0;
/// How a frame's score rises as it comes to lie behind the beginning, and how many frames are looked ahead.
const COURSE: Course = Course {
    share,
    ahead: 16,
    recent: 60,
    least: 0.25,
};
/// Share of its full score that a frame has: most comes from the mark in it, the rest from that in its partner (measured). The carrier has
/// the earlier partner only, since the later one holds a copy of what came before the mark.
fn share(seconds: f64) -> f32 {
    let within = |seconds: f64| ((seconds / FRAME) + 0.5).clamp(0.0, 1.0);
    (0.7 * within(seconds) + 0.3 * within(seconds - DELAY)) as f32
}

/// Variance of what a bin adds without a mark, neighbours that vary together counted. Measured.
const VARIANCE: f32 = 0.65;
/// Logarithm of how much more likely a mark must be than none: less tells nothing.
const CLEAR: f32 = 12.0;

/// What was received lately, and what finds the beginning in it.
pub struct Onset {
    rate: f64,
    hop: usize,
    bins: std::ops::Range<usize>,
    row_clock: RowClock,
    audio: Timeline,
    carrier: CarrierStage,
    of_audio: Forward,
    of_carrier: Forward,
    scores: Vec<f32>,
    change: ChangePoint,
}

impl Onset {
    /// For audio that comes in blocks of at most `block` frames.
    pub fn new(sample_rate: u32, signs: Signs, row_clock: RowClock, block: usize) -> Self {
        let rate = sample_rate as f64;
        let size = fast_size(FRAME * rate);
        let hop = size / 2;
        let bin = |hertz: f64| (hertz * size as f64 / rate).ceil() as usize;
        let frames = (KEPT * rate) as usize / hop + 2;
        Onset {
            rate,
            hop,
            bins: bin(CHIP_LOW)..bin(CHIP_HIGH).min(hop),
            row_clock,
            audio: Timeline::new((KEPT * rate) as usize + block),
            carrier: CarrierStage::new(
                Carrier::Programme,
                false,
                row_clock,
                sample_rate,
                signs,
                hop,
                2 * size,
            ),
            of_audio: Forward::new(size),
            of_carrier: Forward::new(size),
            scores: Vec::with_capacity(frames),
            change: ChangePoint::new(frames),
        }
    }

    /// Forgets all audio.
    pub fn reset(&mut self) {
        self.audio.reset();
    }

    /// Takes mixed audio.
    pub fn push(&mut self, audio: &[f32]) {
        self.audio.extend(audio.len()).copy_from_slice(audio);
    }

    /// Where the mark begins, in seconds, if that is clear; it seems to be `around`. The position at a moment is
    /// `position(seconds)`, in seconds of the row clock.
    pub fn locate(&mut self, around: f64, position: impl Fn(f64) -> f64) -> Option<f64> {
        let end = self.audio.end();
        let oldest = end.saturating_sub((KEPT * self.rate) as u64);
        let from = (((around - BEFORE) * self.rate).max(0.0) as u64).max(oldest);
        let position = match (self.row_clock, position(from as f64 / self.rate)) {
            (RowClock::Stream, position) => position.rem_euclid(CYCLE),
            (RowClock::Utc, position) => position.max(0.0),
        };
        self.compare(from, end, (position * 1e9) as u64);
        let (hop, rate) = (self.hop as u64, self.rate);
        let middle = |i: usize| (from + (i as u64 + 1) * hop) as f64 / rate;
        let range = around - AROUND..around + AROUND;
        let (clear, begins) = self
            .change
            .most_likely(&self.scores, middle, range, 0.0, &COURSE);
        (clear > CLEAR).then_some(begins)
    }

    /// Scores the frames from `from` on, where the row clock stands at `position` nanoseconds.
    fn compare(&mut self, from: u64, end: u64, position: u64) {
        let (hop, size) = (self.hop as u64, 2 * self.hop);
        self.scores.clear();
        self.carrier.reset(position);
        let mut taken = from;
        while taken + hop <= end {
            self.carrier.push(self.audio.range(taken, self.hop));
            taken += hop;
            loop {
                let at = self.scores.len() as u64 * hop;
                if at + size as u64 > self.carrier.end()
                    || self.scores.len() == self.scores.capacity()
                {
                    break;
                }
                let received = self.of_audio.transform(self.audio.range(from + at, size));
                let expected = self.of_carrier.transform(self.carrier.range(at, size));
                let bins = received[self.bins.clone()].iter();
                let sum: f32 = bins
                    .zip(&expected[self.bins.clone()])
                    .map(|(y, c)| (y * c.conj()).re / (y.norm() * c.norm()).max(1e-20))
                    .sum();
                self.scores
                    .push(sum / (VARIANCE * self.bins.len() as f32).sqrt());
            }
        }
    }
}
