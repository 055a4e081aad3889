// SPDX-License-Identifier: MIT OR Apache-2.0
//! How well the mark will be found: the score that a detector reaches in 2 s of a clean copy.
//!
//! Nothing is predicted. The marked audio is correlated as the detector does, and since row and signs are known here,
//! nothing has to be searched for: what is left are 25 transforms a second. They are four times as far apart as those
//! of the detector, and a bin gets its weight by a formula where the detector asks a network that knows about rooms and
//! codecs. On clean audio that is nearly the same.
//!
//! In programme that carries no mark the score is chance, with mean 0 and variance 1, as in unmarked audio.

use super::candidate::Pilots;
use super::decimation::Decimator;
use super::downmix::Downmix;
use super::format::{
    CHIP_HIGH, CHIP_LOW, CHIPS, ConfigError, DELAY, ROW_NANOSECONDS, RowClock, WINDOW, check_stream,
};
use super::key::{Key, Signs};
use super::rows::KeyRows;
use super::spectrum::{Forward, Timeline, fast_size};
use super::speeds::SpeedMap;
use super::thresholds::Thresholds;
use super::windows;
use pulp::{Arch, Simd, WithSimd};
use rustfft::num_complex::Complex;
use std::ops::Range;

/// Frames of audio are taken in pieces of this many seconds.
const BLOCK: f64 = 0.01;
/// Windows that are transformed in a delay.
const WINDOWS_PER_DELAY: u64 = 4;
/// Rows that make a score: 2 s.
const ROWS_IN_SCORE: usize = 10;
/// Power of a bin below which there is nothing.
const SILENCE: f32 = 1e-24;
/// The defaults of the detector, from which the score that it needs follows.
const CLOCK_TOLERANCE: f64 = 120.0;
const SPEEDS: usize = 11;
const FALSE_ALARMS: f64 = 1e-4;

/// What became of the mark in a stretch of audio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DetectabilityReport {
    /// Mean of the scores of 2 s, one after each row of 200 ms; not less than 0.
    pub score: f64,
    /// Score that a detector with default settings needs.
    pub threshold: f64,
    /// More than half of the scores were below the threshold.
    pub weak: bool,
    /// First frame of the stretch, counted since [`Detectability::reset`]: of audio, whatever was missing in between.
    pub start: u64,
    /// First frame after it.
    pub end: u64,
}

/// Measures the mark of [`Carrier::Programme`] in marked audio.
///
/// [`Carrier::Programme`]: super::format::Carrier::Programme
///
/// ```
/// use gstwm::watermark::{Detectability, Key, RowClock};
/// let key = Key::parse("a passphrase")?;
/// let mut detectability = Detectability::new(48_000, 2, &key, RowClock::Stream)?;
/// detectability.set_interval(2.0);
/// detectability.push(&[0.0; 2 * 48_000 * 5], &mut |report| {
///     assert!(report.weak && report.score == 0.0, "silence carries no mark");
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Detectability {
    arch: Arch,
    sample_rate: u64,
    channels: usize,
    block: usize,
    downmix: Downmix,
    mix: Vec<f32>,
    decimator: Decimator,
    delay: u64,
    size: usize,
    bins: Range<usize>,
    forward: Forward,
    received: Timeline,
    /// Spectra of the latest delay, window `k` at `k % WINDOWS_PER_DELAY`, with their magnitudes compressed.
    history: Vec<Vec<Complex<f32>>>,
    products: Vec<Complex<f32>>,
    map: SpeedMap,
    /// Chips of the latest window, and of the row under way.
    chips: [f32; CHIPS],
    of_row: [f32; CHIPS],
    signs: Signs,
    row_clock: RowClock,
    pilots: Pilots,
    thresholds: Thresholds,
    next_window: u64,
    /// Nanoseconds of the row clock where the audio began, or went on after [`Detectability::interrupt`].
    start: u64,
    /// Frames before that, and all frames.
    before: u64,
    pushed: u64,
    /// Frames of stretches of audio that were too short for a row.
    unheard: u64,
    /// Row under way, in rows of the row clock.
    row: Option<u64>,
    rows: [Row; ROWS_IN_SCORE],
    rows_ended: usize,
    interval: u64,
    stretch: Stretch,
}

/// What a row adds to a score: sum of chips times signs, and sum of squares of the chips, with either kind of pilots.
#[derive(Debug, Clone, Copy, Default)]
struct Row([(f32, f32); 2]);

/// The scores since the latest report.
#[derive(Debug, Clone, Copy, Default)]
struct Stretch {
    /// Its first frame.
    start: u64,
    rows: u64,
    scores: u64,
    below: u64,
    sum: f64,
}

impl Detectability {
    /// Checks the format and allocates all that [`Detectability::push`] needs. Reports come every 10 s.
    ///
    /// # Errors
    /// A sample rate or a number of channels out of range.
    pub fn new(
        sample_rate: u32,
        channels: usize,
        key: &Key,
        row_clock: RowClock,
    ) -> Result<Self, ConfigError> {
        check_stream(sample_rate, channels)?;
        let block = (BLOCK * sample_rate as f64) as usize;
        let decimator = Decimator::new(sample_rate as f64, CHIP_HIGH, block);
        let rate = sample_rate as f64 / decimator.factor() as f64;
        let (delay, size) = ((DELAY * rate).round() as u64, fast_size(WINDOW * rate));
        let bin = |hertz: f64| (hertz * size as f64 / rate) as usize;
        let bins = bin(CHIP_LOW)..(bin(CHIP_HIGH) + 1).min(size / 2);
        let (rows, _) = KeyRows::around(row_clock, CLOCK_TOLERANCE);
        let nothing = vec![Complex::ZERO; bins.len()];
        let mut detectability = Detectability {
            arch: Arch::new(),
            sample_rate: sample_rate as u64,
            channels,
            block,
            downmix: Downmix::new(sample_rate, channels),
            mix: vec![0.0; block],
            decimator,
            delay,
            size,
            forward: Forward::new(size),
            received: Timeline::new(delay as usize + 2 * size + block),
            history: vec![nothing.clone(); WINDOWS_PER_DELAY as usize],
            products: nothing,
            map: SpeedMap::of_bins(1.0, rate, (size, bins.clone()), delay),
            bins,
            chips: [0.0; CHIPS],
            of_row: [0.0; CHIPS],
            signs: key.signs(),
            row_clock,
            pilots: Pilots::All,
            thresholds: Thresholds::new(1, rows, SPEEDS, SPEEDS / 2, FALSE_ALARMS),
            next_window: 0,
            start: 0,
            before: 0,
            pushed: 0,
            unheard: 0,
            row: None,
            rows: [Row::default(); ROWS_IN_SCORE],
            rows_ended: 0,
            interval: 50,
            stretch: Stretch::default(),
        };
        detectability.reset(0);
        Ok(detectability)
    }

    /// Seconds between two reports, to the row of 200 ms.
    pub fn set_interval(&mut self, seconds: f64) {
        self.interval = (seconds * 1e9 / ROW_NANOSECONDS as f64).round().max(1.0) as u64;
    }

    /// Whether the mark says something, for then a detector that has not read it yet has half of the chips.
    pub fn set_payload(&mut self, says_something: bool) {
        self.pilots = Pilots::BOTH[says_something as usize];
    }

    /// Forgets all audio. The next frame is at `nanoseconds` of the row clock. Interval and payload stay.
    pub fn reset(&mut self, nanoseconds: u64) {
        (self.before, self.pushed, self.unheard) = (0, 0, 0);
        self.rows_ended = 0;
        self.rows.fill(Row::default());
        self.stretch = Stretch::default();
        self.resume(nanoseconds);
    }

    /// Goes on after [`Detectability::interrupt`]. The next frame is at `nanoseconds` of the row clock.
    pub fn resume(&mut self, nanoseconds: u64) {
        self.downmix.reset();
        self.decimator.reset();
        self.received.reset();
        // The middle of the first window is where the audio begins.
        self.received.extend(self.size / 2);
        self.of_row.fill(0.0);
        (self.start, self.next_window, self.row) = (nanoseconds, 0, None);
        self.before = self.pushed;
    }

    /// Tells that the audio breaks off here. Scores and reports go on with what comes after
    /// [`Detectability::resume`], so that they tell of short pieces of audio, too.
    pub fn interrupt(&mut self, report: &mut dyn FnMut(&DetectabilityReport)) {
        let end = self.pushed;
        if let Some(row) = self.row.take() {
            self.end_row(row, end, report);
        } else {
            self.unheard += end - self.before;
        }
        self.before = end;
        // In what is too short for a row nothing is heard.
        let row = (self.sample_rate * ROW_NANOSECONDS / 1_000_000_000).max(1);
        while self.unheard >= row {
            self.unheard -= row;
            self.of_row.fill(0.0);
            self.end_row(0, end, report);
        }
    }

    /// Frames since [`Detectability::reset`].
    pub fn heard(&self) -> u64 {
        self.pushed
    }

    /// First frame of the stretch that the next report will be about.
    pub fn stretch_start(&self) -> u64 {
        self.stretch.start
    }

    /// Takes interleaved frames, as they are heard, and calls `report` once an interval. Samples that are not finite
    /// count as 0.
    pub fn push(&mut self, input: &[f32], report: &mut dyn FnMut(&DetectabilityReport)) {
        debug_assert_eq!(input.len() % self.channels, 0);
        self.pushed += (input.len() / self.channels) as u64;
        for piece in input.chunks(self.block * self.channels) {
            let mix = &mut self.mix[..piece.len() / self.channels];
            self.downmix.mix(piece, mix);
            let samples = self.decimator.push(mix);
            self.received.extend(samples.len()).copy_from_slice(samples);
            while self.window_start(self.next_window) + self.size as u64 <= self.received.end() {
                self.take_window(report);
            }
        }
    }

    /// Tells that no more audio follows: reports about what there is since the latest report, if that is 2 s.
    /// [`Detectability::reset`] is to follow.
    pub fn finish(&mut self, report: &mut dyn FnMut(&DetectabilityReport)) {
        let mut end = self.before;
        if let Some(row) = self.row.take() {
            end = self.frame(self.time(self.next_window).min(end_of(row)));
            self.end_row(row, end, report);
        }
        if self.stretch.rows >= ROWS_IN_SCORE as u64 && self.stretch.scores > 0 {
            report(&self.end_stretch(end));
        }
    }

    /// Where window `k` starts in what has been received.
    fn window_start(&self, k: u64) -> u64 {
        (2 * k * self.delay + WINDOWS_PER_DELAY) / (2 * WINDOWS_PER_DELAY)
    }

    /// Nanoseconds of the row clock at the middle of window `k`.
    fn time(&self, k: u64) -> u64 {
        let frame = self.window_start(k) * self.decimator.factor();
        let time = frame as u128 * 1_000_000_000 / self.sample_rate as u128;
        self.start.saturating_add(time as u64)
    }

    fn take_window(&mut self, report: &mut dyn FnMut(&DetectabilityReport)) {
        let k = self.next_window;
        let at = self.window_start(k);
        self.next_window += 1;
        let spectrum = self.forward.transform(self.received.range(at, self.size));
        self.arch.dispatch(Correlate {
            spectrum: &spectrum[self.bins.clone()],
            earlier: &mut self.history[(k % WINDOWS_PER_DELAY) as usize],
            products: &mut self.products,
        });
        if k < WINDOWS_PER_DELAY {
            return;
        }
        let row = self.time(k) / ROW_NANOSECONDS;
        if let Some(ended) = self.row.replace(row)
            && ended != row
        {
            self.end_row(ended, self.frame(end_of(ended)), report);
        }
        self.map.chips(&self.products, &mut self.chips);
        for (sum, chip) in self.of_row.iter_mut().zip(&self.chips) {
            *sum += chip;
        }
    }

    /// Takes a row, which is heard up to frame `end`.
    fn end_row(&mut self, row: u64, end: u64, report: &mut dyn FnMut(&DetectabilityReport)) {
        let mut signs = [0.0; CHIPS];
        let number = self.row_clock.row(row * ROW_NANOSECONDS);
        self.signs.row(number, &mut signs);
        self.rows[self.rows_ended % ROWS_IN_SCORE] = Row::new(&self.of_row, &signs);
        self.of_row.fill(0.0);
        self.rows_ended += 1;
        self.stretch.rows += 1;
        if self.rows_ended >= ROWS_IN_SCORE {
            let score = self.score();
            self.stretch.scores += 1;
            self.stretch.sum += score;
            self.stretch.below += (score < self.threshold()) as u64;
        }
        if self.stretch.rows >= self.interval && self.stretch.scores > 0 {
            report(&self.end_stretch(end));
        }
    }

    /// The score of the latest 2 s.
    fn score(&self) -> f64 {
        let of_rows = self.rows.iter().map(|row| row.0[self.pilots as usize]);
        let (sum, energy) = of_rows.fold((0.0, 0.0), |all, row| (all.0 + row.0, all.1 + row.1));
        windows::score(sum, energy) as f64
    }

    fn threshold(&self) -> f64 {
        self.thresholds.of(SPEEDS / 2, self.pilots, windows::LATEST)
    }

    /// Begins the next stretch at frame `end`.
    fn end_stretch(&mut self, end: u64) -> DetectabilityReport {
        let next = Stretch {
            start: end,
            ..Stretch::default()
        };
        let stretch = std::mem::replace(&mut self.stretch, next);
        DetectabilityReport {
            score: (stretch.sum / stretch.scores.max(1) as f64).max(0.0),
            threshold: self.threshold(),
            weak: 2 * stretch.below > stretch.scores,
            start: stretch.start,
            end,
        }
    }

    /// The frame at `nanoseconds` of the row clock.
    fn frame(&self, nanoseconds: u64) -> u64 {
        let since = nanoseconds.saturating_sub(self.start) as u128;
        let since = (since * self.sample_rate as u128 / 1_000_000_000) as u64;
        self.before.saturating_add(since)
    }
}

/// Nanoseconds of the row clock at the end of a row.
fn end_of(row: u64) -> u64 {
    row.saturating_add(1).saturating_mul(ROW_NANOSECONDS)
}

impl Row {
    fn new(chips: &[f32; CHIPS], signs: &[f32; CHIPS]) -> Self {
        // Of even and odd chips.
        let mut parts = [(0.0, 0.0); 2];
        for (i, (chip, sign)) in chips.iter().zip(signs).enumerate() {
            parts[i % 2].0 += chip * sign;
            parts[i % 2].1 += chip * chip;
        }
        let [even, odd] = parts;
        Row([(even.0 + odd.0, even.1 + odd.1), even])
    }
}

/// Compresses the magnitudes of a spectrum, multiplies it with the one a delay earlier, and takes the place of that.
/// This is a type, because a closure would not be compiled for each instruction set.
struct Correlate<'a> {
    spectrum: &'a [Complex<f32>],
    earlier: &'a mut [Complex<f32>],
    products: &'a mut [Complex<f32>],
}

impl WithSimd for Correlate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let products = self.earlier.iter_mut().zip(self.products);
        for (y, (earlier, product)) in self.spectrum.iter().zip(products) {
            // Magnitudes to the power of an eighth: roots are made much faster than any power, and from 0.1 to 0.2 the
            // score is the same.
            let power = y.norm_sqr();
            let fourth = power.max(SILENCE).sqrt().sqrt();
            let eighth = fourth.sqrt();
            let weight = 1.0 / (fourth * eighth * eighth.sqrt());
            let now = y * if power > SILENCE { weight } else { 0.0 };
            *product = now * earlier.conj();
            *earlier = now;
        }
    }
}
