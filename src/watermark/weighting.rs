// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much each cell (a frame and a bin) of the received audio is trusted.
//!
//! Phases carry the mark and levels hardly do, but not all phases are worth the same: a cell that holds little but the
//! noise of a room, or the noise of a codec, says next to nothing. So each cell keeps its phase and gets a weight for
//! its magnitude. All weights come from the received audio alone, never from the key, so the proof of [`super::bound`]
//! holds whatever they are; what it says of frames that are left out goes for their weights, too.
//!
//! What tells a good cell from a bad one is different in a room, in noise and behind a telephone codec. The weight is
//! the exponential of what a very small neural network makes of 13 levels around the cell, all of them ratios: how far
//! it stands above its neighbours, above its band, above what was there 0.2 s and 1.5 s ago, above the lowest power of
//! the latest 4.5 to 6 s (which is the noise: Martin, "Noise power spectral density estimation based on optimal
//! smoothing and minimum statistics", 2001), and whether there is anything above 4 kHz. It was trained for the score of
//! 2 s of damaged recordings, by the method of `scripts/train_weighting.py`, and takes the place of two weightings by
//! formula that were scored side by side. Measured on other recordings than the 62 that it was trained with, but
//! damaged in the same ways, against the better one of the two in each case: 11 % more score on speech in noise, 5 % on
//! speech in rooms, 4 to 8 % behind GSM and AMR, as much as before on clean audio.
//!
//! Weights change slowly, as a frame shares most of its window with the one before. So they are made anew only for
//! every second frame (fourth, where a strong mark is followed), and those in between get the same ones. On 1170
//! damaged pieces of 2 s, 20 recordings in six kinds of damage, the mean score was within 0.6 % of that with weights
//! for every frame, that of the lowest quarter within 1 %, and in as many of them the mark was found.
//!
//! What is steady in the surroundings is not known when a stream begins. So the first second is heard twice: once to
//! learn ([`Weighting::learn`]), and again to be weighed. Without that half of the gain in noise is lost.

use super::correlation::FRAME;
use super::format::{CHIP_HIGH, CHIP_LOW};
use super::network::{Cells, LEAST, Levels, Network, RATIO};
use pulp::{Arch, Simd, WithSimd};
use rustfft::num_complex::Complex;

/// Frames from which the surroundings are learned before anything is weighed: 1 s.
pub const LEARNED: u64 = (1.0 / FRAME) as u64;

/// Time constants of the running means, in frames: of the cell itself, of what was a moment ago, of the surroundings.
const SHORT: u64 = (0.04 / FRAME) as u64;
const MEDIUM: u64 = (0.2 / FRAME) as u64;
const LONG: u64 = (1.5 / FRAME) as u64;
/// Bins on either side that count as the cell, its neighbourhood and its band (20, 80 and 310 Hz).
const CELL_REACH: usize = 2;
const NEAR_REACH: usize = 10;
const BAND_REACH: usize = 40;
/// The minimum is searched in this many stretches of so many seconds, the last one still filling.
const STRETCHES: usize = 4;
const STRETCH: f64 = 1.5;
/// A telephone leaves what is below the first, in hertz, and nothing above the second.
const TELEPHONE: f64 = 3430.0;
const ABOVE_TELEPHONE: f64 = 4133.0;
/// Power below which there is nothing.
const SILENCE: f32 = 1e-24;

/// Running weights of all bins that are correlated.
pub struct Weighting {
    arch: Arch,
    /// Bins that there would be between the first and the last chip if the sample rate were high enough.
    nominal_bins: f32,
    /// Place of each bin within the chips, as the network was trained with it.
    position: Vec<f32>,
    /// First bins beyond the telephone's, and beyond the gap that follows.
    telephone: [usize; 2],
    short: Running,
    medium: Running,
    surroundings: Surroundings,
    /// Frames to come that the surroundings have heard already.
    learned: u64,
    /// From so many frames one is taken into the means.
    apart: u64,
    cells: Cells,
    /// Sums of a power up to each bin.
    sums: Vec<f64>,
}

/// A mean power of each bin that starts as the plain mean.
struct Running {
    power: Vec<f32>,
    /// Frames that it reaches back, and those that it has heard of, up to that.
    memory: u64,
    frames: u64,
}

impl Running {
    fn new(bins: usize, memory: u64) -> Self {
        Running {
            power: vec![0.0; bins],
            memory,
            frames: 0,
        }
    }

    fn reset(&mut self) {
        self.power.fill(0.0);
        self.frames = 0;
    }

    /// What a frame that stands for `apart` of them counts.
    #[inline(always)]
    fn step(&mut self, apart: u64) -> f32 {
        self.frames = (self.frames + apart).min(self.memory);
        apart as f32 / self.frames as f32
    }

    #[inline(always)]
    fn take(&mut self, power: &[f32], apart: u64) {
        let step = self.step(apart);
        for (mean, power) in self.power.iter_mut().zip(power) {
            *mean += step * (power - *mean);
        }
    }
}

/// What is there all the time.
struct Surroundings {
    long: Running,
    /// Mean power of all bins.
    mean: f32,
    /// Lowest power of each cell in each stretch.
    lowest: [Vec<f32>; STRETCHES],
    frames_in_stretch: u64,
    stretch: usize,
}

impl Surroundings {
    fn new(bins: usize) -> Self {
        Surroundings {
            long: Running::new(bins, LONG),
            mean: 0.0,
            lowest: std::array::from_fn(|_| vec![f32::MAX; bins]),
            frames_in_stretch: 0,
            stretch: 0,
        }
    }

    fn reset(&mut self) {
        self.long.reset();
        self.mean = 0.0;
        self.lowest.iter_mut().for_each(|l| l.fill(f32::MAX));
        (self.frames_in_stretch, self.stretch) = (0, 0);
    }

    #[inline(always)]
    fn take(&mut self, power: &[f32], cell: &[f32], mean: f32, apart: u64) {
        self.long.take(power, apart);
        self.mean += (mean - self.mean) * apart as f32 / self.long.frames as f32;
        for (lowest, cell) in self.lowest[self.stretch].iter_mut().zip(cell) {
            *lowest = lowest.min(*cell);
        }
        self.frames_in_stretch += apart;
        if self.frames_in_stretch as f64 * FRAME >= STRETCH {
            self.frames_in_stretch = 0;
            self.stretch = (self.stretch + 1) % STRETCHES;
            // The latest cell stays: a bin always has a lowest.
            self.lowest[self.stretch].copy_from_slice(cell);
        }
    }
}

impl Weighting {
    /// Weights for bins at these frequencies, in hertz, `spacing` apart.
    pub fn new(hertz: impl Iterator<Item = f64>, spacing: f64) -> Self {
        let hertz: Vec<f64> = hertz.collect();
        let bins = hertz.len();
        let position = |hertz: &f64| ((hertz - CHIP_LOW - 4.7) / 7.8125 / 800.0) as f32;
        Weighting {
            arch: Arch::new(),
            nominal_bins: ((CHIP_HIGH - CHIP_LOW) / spacing) as f32,
            position: hertz.iter().map(position).collect(),
            telephone: [TELEPHONE, ABOVE_TELEPHONE]
                .map(|edge| hertz.iter().take_while(|&&hertz| hertz < edge).count()),
            short: Running::new(bins, SHORT),
            medium: Running::new(bins, MEDIUM),
            surroundings: Surroundings::new(bins),
            learned: 0,
            apart: 1,
            cells: Cells::new(bins),
            sums: vec![0.0; bins + 1],
        }
    }

    /// Forgets all audio.
    pub fn reset(&mut self) {
        self.short.reset();
        self.medium.reset();
        self.surroundings.reset();
        self.learned = 0;
    }

    /// Takes note of a frame that is yet to be weighed, one of the first after a reset, of which every `apart`th is
    /// taken.
    pub fn learn(&mut self, frame: &[Complex<f32>], apart: u64) {
        let arch = self.arch;
        self.apart = apart;
        arch.dispatch(Follow {
            weighting: self,
            frame,
            learn: true,
        });
        self.learned += apart;
    }

    /// Tells that the frames learned come again from the first on.
    pub fn end_learning(&mut self) {
        self.short.reset();
        self.medium.reset();
    }

    /// Mean of the logarithm of the power of all bins in the frame for which weights were made last.
    pub fn loudness(&self) -> f64 {
        self.arch.dispatch(Loudness(&self.cells.power))
    }

    /// Makes weights for a frame, of which every `apart`th is asked about.
    pub fn look(&mut self, frame: &[Complex<f32>], apart: u64) {
        let (arch, learn) = (self.arch, self.learned == 0);
        self.apart = apart;
        arch.dispatch(Follow {
            weighting: self,
            frame,
            learn,
        });
        self.learned = self.learned.saturating_sub(apart);
        let levels = arch.dispatch(LookAround(self));
        arch.dispatch(Network {
            cells: &mut self.cells,
            short: &self.short.power,
            position: &self.position,
            levels,
        });
    }

    /// Writes the bins of a frame with the weights that were made last.
    pub fn weigh(&self, frame: &[Complex<f32>], weighted: &mut [Complex<f32>]) {
        self.arch.dispatch(Weigh {
            frame,
            weights: &self.cells.weight,
            weighted,
        });
    }
}

/// Mean of the logarithm of some powers. Silence counts as -120 dB.
struct Loudness<'a>(&'a [f32]);

impl WithSimd for Loudness<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        // One logarithm for the powers of so many bins that their product stays within the range of the numbers.
        let mut sum = 0.0;
        for some in self.0.chunks(16 * APART) {
            let mut products = [1.0f64; APART];
            for powers in some.chunks(APART) {
                for (product, power) in products.iter_mut().zip(powers) {
                    *product *= power.clamp(1e-12, 1e12) as f64;
                }
            }
            for product in products {
                sum += product.ln();
            }
        }
        sum / self.0.len().max(1) as f64
    }
}

/// Products that are made side by side, because one alone would have to wait for each multiplication.
const APART: usize = 8;

/// Takes the powers of a frame into the means. This is a type, as those below are, because a closure would not be
/// compiled for each instruction set.
struct Follow<'a> {
    weighting: &'a mut Weighting,
    frame: &'a [Complex<f32>],
    /// Into those of the surroundings, too.
    learn: bool,
}

impl WithSimd for Follow<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Weighting {
            cells,
            short,
            medium,
            sums,
            surroundings,
            apart,
            ..
        } = self.weighting;
        for (power, y) in cells.power.iter_mut().zip(self.frame) {
            // Means of nothing would die away for ever, which is slow.
            *power = y.norm_sqr().max(SILENCE);
        }
        short.take(&cells.power, *apart);
        medium.take(&cells.power, *apart);
        add_up(&short.power, sums);
        average(sums, CELL_REACH, &mut cells.cell);
        if self.learn {
            let mean = total(&cells.power) / self.weighting.nominal_bins;
            surroundings.take(&cells.power, &cells.cell, mean, *apart);
        }
    }
}

/// Takes the powers around the cells, and levels that are the same for all cells of the frame.
struct LookAround<'a>(&'a mut Weighting);

impl WithSimd for LookAround<'_> {
    type Output = Levels;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Levels {
        let Weighting {
            cells,
            sums,
            medium,
            surroundings,
            nominal_bins,
            telephone,
            ..
        } = self.0;
        let Cells {
            near,
            band,
            before,
            long,
            lowest,
            ..
        } = cells;
        // The sums are still those of the short means.
        average(sums, NEAR_REACH, near);
        average(sums, BAND_REACH, band);
        let now = sums.last().copied().unwrap_or_default() as f32 / *nominal_bins;
        add_up(&medium.power, sums);
        average(sums, CELL_REACH, before);
        add_up(&surroundings.long.power, sums);
        average(sums, CELL_REACH, long);
        let [telephone, above] = *telephone;
        let above_telephone = mean(sums, above, sums.len() - 1) / mean(sums, 0, telephone);
        let [one, two, three, four] = &surroundings.lowest;
        let stretches = one.iter().zip(two).zip(three).zip(four);
        for (lowest, (((one, two), three), four)) in lowest.iter_mut().zip(stretches) {
            *lowest = one.min(*two).min(three.min(*four));
        }
        Levels {
            now: (now + LEAST).log2(),
            always: (surroundings.mean + LEAST).log2(),
            above_telephone: above_telephone.log2().clamp(-RATIO, RATIO),
        }
    }
}

/// Gives each bin the magnitude that is its weight.
struct Weigh<'a> {
    frame: &'a [Complex<f32>],
    weights: &'a [f32],
    weighted: &'a mut [Complex<f32>],
}

impl WithSimd for Weigh<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let bins = self.weighted.iter_mut().zip(self.frame);
        for ((u, y), weight) in bins.zip(self.weights) {
            let power = y.norm_sqr();
            let magnitude = weight / power.max(SILENCE).sqrt();
            *u = y * if power > SILENCE { magnitude } else { 0.0 };
        }
    }
}

/// Mean from one bin to another, from the sums of [`add_up`].
#[inline(always)]
fn mean(sums: &[f64], from: usize, to: usize) -> f32 {
    ((sums[to] - sums[from]) / (to - from).max(1) as f64) as f32 + LEAST
}

/// Several sums side by side, because one alone would have to wait for each addition.
#[inline(always)]
fn total(power: &[f32]) -> f32 {
    let (pieces, rest) = power.as_chunks::<16>();
    let mut sums = [0.0; 16];
    for piece in pieces {
        for (sum, power) in sums.iter_mut().zip(piece) {
            *sum += power;
        }
    }
    sums.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

/// Sums of `power` up to each bin.
#[inline(always)]
fn add_up(power: &[f32], sums: &mut [f64]) {
    let mut sum = 0.0;
    for (power, so_far) in power.iter().zip(&mut sums[1..]) {
        sum += *power as f64;
        *so_far = sum;
    }
}

/// Mean of the bins up to `reach` away from each bin, from the sums of [`add_up`].
#[inline(always)]
fn average(sums: &[f64], reach: usize, means: &mut [f32]) {
    let bins = means.len();
    // Where nothing is cut off, the factor is the same and processors take several at once.
    let inner = reach.min(bins)..bins.saturating_sub(reach).max(reach.min(bins));
    let each = 1.0 / (2 * reach + 1) as f64;
    if !inner.is_empty() {
        let upper = &sums[2 * reach + 1..];
        for ((mean, from), to) in means[inner.clone()].iter_mut().zip(sums).zip(upper) {
            *mean = ((to - from) * each) as f32;
        }
    }
    for i in (0..inner.start).chain(inner.end..bins) {
        let (from, to) = (i.saturating_sub(reach), (i + reach + 1).min(bins));
        means[i] = ((sums[to] - sums[from]) / (to - from) as f64) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINS: usize = 792;
    const SPACING: f64 = 7.8125;

    fn hertz() -> impl Iterator<Item = f64> {
        (0..BINS).map(|bin| 305.0 + SPACING * bin as f64)
    }

    fn noise(state: &mut u64) -> f32 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Magnitude of each bin in the last of `frames` frames.
    fn magnitudes(frames: usize, level: impl Fn(usize, usize) -> f32) -> Vec<f32> {
        let mut weighting = Weighting::new(hertz(), SPACING);
        let (mut state, mut weighted) = (1, vec![Complex::ZERO; BINS]);
        for frame in 0..frames {
            let bins: Vec<_> = (0..BINS)
                .map(|i| Complex::new(noise(&mut state), noise(&mut state)) * level(frame, i))
                .collect();
            weighting.look(&bins, 1);
            weighting.weigh(&bins, &mut weighted);
        }
        weighted.iter().map(|u| u.norm()).collect()
    }

    fn mean(x: &[f32]) -> f32 {
        x.iter().sum::<f32>() / x.len() as f32
    }

    #[test]
    fn cells_at_the_noise_floor_count_less() {
        // 3 s of noise, then a signal 20 dB above it in the upper half of the bins.
        let level = |frame, i| if frame > 290 && i >= 400 { 0.1 } else { 0.01 };
        let weights = magnitudes(300, level);
        let (signal, noise) = (mean(&weights[450..]), mean(&weights[..350]));
        assert!(signal > 1.25 * noise, "{signal} and {noise}");
    }

    #[test]
    fn weights_do_not_depend_on_the_level() {
        let (soft, loud) = (magnitudes(150, |_, _| 0.01), magnitudes(150, |_, _| 1.0));
        for (soft, loud) in soft.iter().zip(loud) {
            assert!((soft / loud - 1.0).abs() < 0.05, "{soft} and {loud}");
        }
    }

    #[test]
    fn what_was_learned_counts_from_the_first_frame_on() {
        // Noise, out of which a signal rises that is there only while nothing is known yet.
        let frame = |state: &mut u64, begins: bool| -> Vec<_> {
            (0..BINS)
                .map(|i| {
                    let level = if begins && i >= 400 { 0.1 } else { 0.01 };
                    Complex::new(noise(state), noise(state)) * level
                })
                .collect()
        };
        let contrast = |learn: bool| {
            let mut weighting = Weighting::new(hertz(), SPACING);
            let mut weighted = vec![Complex::ZERO; BINS];
            let state = &mut 5;
            if learn {
                (0..100).for_each(|i| weighting.learn(&frame(state, i < 10), 1));
                weighting.end_learning();
            }
            for _ in 0..10 {
                weighting.look(&frame(state, true), 1);
                weighting.weigh(&frame(state, true), &mut weighted);
            }
            let sizes: Vec<f32> = weighted.iter().map(|u| u.norm()).collect();
            mean(&sizes[450..]) / mean(&sizes[..350])
        };
        let (with, without) = (contrast(true), contrast(false));
        assert!(with > 1.1 * without, "{with} and {without}");
    }

    #[test]
    fn silence_and_extremes_stay_finite() {
        for (quiet, level) in [(0.0, 0.0), (0.0, 1e-15), (0.0, 1e9), (1e-11, 1e13)] {
            let weights = magnitudes(
                150,
                |frame, _| if frame % 200 > 100 { level } else { quiet },
            );
            assert!(weights.iter().all(|u| u.is_finite()));
        }
    }
}
