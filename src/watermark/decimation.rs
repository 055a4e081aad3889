// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fewer samples a second for the same band: all that the detector needs lies below 7 kHz, and what it does with the
//! samples takes longer the more there are.
//!
//! A low-pass filter of linear phase, of which only every `n`th sample is made. Its delay is taken off, so that sample
//! `k` stands for frame `k * n` of the audio.

use super::spectrum::Timeline;
use pulp::{Arch, Simd, WithSimd};
use std::f64::consts::PI;

/// Least rate that is left, in hertz: twice the highest frequency at the widest speed search, and some room for the
/// filter.
const LEAST_RATE: f64 = 14_500.0;

/// Running decimation of one channel.
pub struct Decimator {
    arch: Arch,
    factor: u64,
    /// Impulse response: zeros, so that the number is a multiple of [`LANES`], and a symmetric one of which `half` taps
    /// reach ahead.
    taps: Vec<f32>,
    half: usize,
    received: Timeline,
    next: u64,
    made: Vec<f32>,
}

impl Decimator {
    /// For at most `block` frames at a time, at `rate` hertz; what lies below `highest` hertz is kept as it is.
    pub fn new(rate: f64, highest: f64, block: usize) -> Self {
        let factor = (rate / LEAST_RATE).floor().max(1.0);
        let mut taps = low_pass(rate, rate / factor, highest);
        let half = taps.len() / 2;
        let filled = taps.len().next_multiple_of(LANES) - taps.len();
        taps.splice(0..0, std::iter::repeat_n(0.0, filled));
        // Without decimation nothing is kept. Else before a block, or the end, at most a filter and a step are.
        let (room, made) = if factor > 1.0 {
            let room = block.max(half) + taps.len() + factor as usize;
            (room, room / factor as usize)
        } else {
            (0, 0)
        };
        Decimator {
            arch: Arch::new(),
            factor: factor as u64,
            received: Timeline::tight(room),
            next: 0,
            made: vec![0.0; made],
            half,
            taps,
        }
        .started()
    }

    fn started(mut self) -> Self {
        self.reset();
        self
    }

    /// Frames of audio for each sample.
    pub fn factor(&self) -> u64 {
        self.factor
    }

    /// Samples that [`Decimator::finish`] returns at most.
    pub fn left_at_end(&self) -> usize {
        self.half / self.factor as usize + 1
    }

    /// Forgets all audio.
    pub fn reset(&mut self) {
        self.received.reset();
        self.next = 0;
        if self.factor > 1 {
            self.received.extend(self.taps.len() - 1 - self.half);
        }
    }

    /// Takes audio and returns the samples that it completes.
    pub fn push<'a>(&'a mut self, audio: &'a [f32]) -> &'a [f32] {
        if self.factor == 1 {
            return audio;
        }
        let new = self.received.extend(audio.len());
        new.copy_from_slice(audio);
        self.make()
    }

    /// The samples that have waited for more audio, which does not come.
    pub fn finish(&mut self) -> &[f32] {
        if self.factor > 1 {
            self.received.extend(self.half);
        }
        self.make()
    }

    fn make(&mut self) -> &[f32] {
        let mut count = 0;
        while self.factor > 1 && self.next + self.taps.len() as u64 <= self.received.end() {
            let (taps, samples) = (&self.taps, self.received.range(self.next, self.taps.len()));
            self.made[count] = self.arch.dispatch(Dot { taps, samples });
            self.next += self.factor;
            count += 1;
        }
        self.received.forget(self.next);
        &self.made[..count]
    }
}

/// Impulse response of a low pass that lets pass what is below `highest` and nothing that would be folded onto that at
/// the rate `low_rate`. A low pass with the window of Blackman lets through 74 dB less where it stops, and is 5.5 bins of
/// its length wide from pass to stop (Oppenheim and Schafer, "Discrete-Time Signal Processing", table 7.2).
fn low_pass(rate: f64, low_rate: f64, highest: f64) -> Vec<f32> {
    let width = (low_rate - 2.0 * highest).max(0.003 * rate);
    let half = (0.5 * 5.5 * rate / width).ceil() as i32;
    let cutoff = low_rate / rate;
    let taps = (-half..=half).map(|i| {
        let x = PI * cutoff * i as f64;
        let sinc = if i == 0 { 1.0 } else { x.sin() / x };
        let phase = PI * i as f64 / (half + 1) as f64;
        cutoff * sinc * (0.42 + 0.5 * phase.cos() + 0.08 * (2.0 * phase).cos())
    });
    taps.map(|tap| tap as f32).collect()
}

/// Sum of products. This is a type, because a closure would not be compiled for each instruction set.
struct Dot<'a> {
    taps: &'a [f32],
    samples: &'a [f32],
}

impl WithSimd for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        // Nothing is left over, see [`LANES`].
        let (taps, _) = S::as_simd_f32s(self.taps);
        let (samples, _) = S::as_simd_f32s(self.samples);
        // Several sums side by side, because one alone would have to wait for each addition.
        let mut sums = [simd.splat_f32s(0.0); APART];
        let (pieces, more_taps) = taps.as_chunks::<APART>();
        let (of_pieces, more_samples) = samples.as_chunks::<APART>();
        for (taps, samples) in pieces.iter().zip(of_pieces) {
            for i in 0..APART {
                sums[i] = simd.mul_add_e_f32s(taps[i], samples[i], sums[i]);
            }
        }
        for (tap, sample) in more_taps.iter().zip(more_samples) {
            sums[0] = simd.mul_add_e_f32s(*tap, *sample, sums[0]);
        }
        let [a, b] = sums;
        simd.reduce_sum_f32s(simd.add_f32s(a, b))
    }
}

/// Taps that a processor may take at once.
const LANES: usize = 16;
/// Sums that are made side by side.
const APART: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const HIGHEST: f64 = 6_900.0;

    fn decimate(rate: f64, audio: &[f32], piece: usize) -> (u64, Vec<f32>) {
        let mut decimator = Decimator::new(rate, HIGHEST, piece);
        let mut samples = Vec::new();
        for audio in audio.chunks(piece) {
            samples.extend_from_slice(decimator.push(audio));
        }
        samples.extend_from_slice(decimator.finish());
        (decimator.factor(), samples)
    }

    fn tone(rate: f64, hertz: f64, every: u64) -> impl Fn(usize) -> f32 {
        move |i| (2.0 * PI * hertz / rate * (i as u64 * every) as f64).sin() as f32
    }

    #[test]
    fn the_band_stays_where_it_is_and_nothing_is_folded_onto_it() {
        for rate in [
            22_050.0, 29_123.0, 32_000.0, 44_100.0, 48_000.0, 96_000.0, 192_000.0,
        ] {
            for hertz in [300.0, 3_000.0, HIGHEST] {
                let audio: Vec<f32> = (0..9_600).map(tone(rate, hertz, 1)).collect();
                let (factor, samples) = decimate(rate, &audio, 480);
                assert!(rate / factor as f64 >= LEAST_RATE || factor == 1);
                assert_eq!(samples.len(), audio.len().div_ceil(factor as usize));
                let exact = tone(rate, hertz, factor);
                // The ends do not count, where the filter reaches beyond the audio.
                let edge = samples.len() / 5;
                let inner = edge..samples.len() - edge;
                for (i, sample) in inner.clone().zip(&samples[inner]) {
                    let off = (sample - exact(i)).abs();
                    assert!(off < 2e-3, "{rate} Hz, {hertz} Hz: {off} at {i}");
                }
                let low_rate = rate / factor as f64;
                if factor == 1 || low_rate - hertz > 0.5 * rate {
                    continue;
                }
                let audio: Vec<f32> = (0..9_600).map(tone(rate, low_rate - hertz, 1)).collect();
                let (_, samples) = decimate(rate, &audio, 480);
                let highest = samples[edge..samples.len() - edge]
                    .iter()
                    .fold(0.0f32, |a, b| a.max(b.abs()));
                assert!(highest < 2e-3, "{rate} Hz, {hertz} Hz: {highest} is folded");
            }
        }
    }

    #[test]
    fn samples_are_the_same_for_any_pieces() {
        let audio: Vec<f32> = (0..5_000).map(|i| (i as f32 * 0.37).sin()).collect();
        let (_, whole) = decimate(48_000.0, &audio, 5_000);
        for piece in [1, 7, 480, 1_001] {
            assert_eq!(decimate(48_000.0, &audio, piece).1, whole);
        }
    }
}
