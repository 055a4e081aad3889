// SPDX-License-Identifier: MIT OR Apache-2.0
//! Many channels to one, without losing programme whose channels cancel.
//!
//! Normally this is the mean of the channels. Where the mean holds next to nothing of what the
//! channels hold (L = -R), each channel is turned to the polarity of the loudest one first. The
//! decision depends on the audio alone, never on the key, so the detector's proof stands.

use super::spectrum::clean;
use pulp::{Arch, Simd, WithSimd};

/// Seconds between two decisions.
const BLOCK: f64 = 0.02;
/// Share of the old in the running energies, a block: forgets within about half a second.
const MEMORY: f32 = 0.96;
/// Energy below which there is nothing.
const NOTHING: f32 = 1e-30;
/// The channels cancel below this ratio of the energy of the sum to the sum of the energies (1 for
/// independent channels, 0 for L = -R) and no longer cancel above the second.
const CANCELS: [f32; 2] = [0.05, 0.2];

/// Running mix of interleaved frames.
pub struct Downmix {
    arch: Arch,
    polarity: Vec<f32>,
    /// Running energy of each channel and its running product with the loudest one.
    energy: Vec<f32>,
    product: Vec<f32>,
    sum_energy: f32,
    loudest: usize,
    turned: bool,
    block: usize,
    filled: usize,
    /// Sums over the block so far: frame `i` of it is added to number `i` modulo [`APART`], so that they do not depend
    /// on the pieces in which frames come.
    block_energy: Vec<[f32; APART]>,
    block_product: Vec<[f32; APART]>,
    block_sum: [f32; APART],
}

/// Frames that are taken at once.
const APART: usize = 8;

impl Downmix {
    /// A mix of `channels` channels.
    pub fn new(sample_rate: u32, channels: usize) -> Self {
        Downmix {
            arch: Arch::new(),
            polarity: vec![1.0; channels],
            energy: vec![0.0; channels],
            product: vec![0.0; channels],
            sum_energy: 0.0,
            loudest: 0,
            turned: false,
            block: (BLOCK * sample_rate as f64) as usize,
            filled: 0,
            block_energy: vec![[0.0; APART]; channels],
            block_product: vec![[0.0; APART]; channels],
            block_sum: [0.0; APART],
        }
    }

    /// Back to the mean of the channels.
    pub fn reset(&mut self) {
        self.energy.fill(0.0);
        self.product.fill(0.0);
        self.block_energy.fill([0.0; APART]);
        self.block_product.fill([0.0; APART]);
        self.polarity.fill(1.0);
        (self.sum_energy, self.block_sum) = (0.0, [0.0; APART]);
        (self.loudest, self.filled, self.turned) = (0, 0, false);
    }

    /// The channels, up to 64, that are multiplied by -1 before the mean is taken, as a bit mask, bit 0 the first one.
    pub fn turned(&self) -> u64 {
        let turned = self.polarity.iter().enumerate().filter(|(_, p)| **p < 0.0);
        turned.fold(0, |mask, (c, _)| mask | 1 << c)
    }

    /// Mixes interleaved `frames` into `mix`, one sample a frame.
    pub fn mix(&mut self, frames: &[f32], mix: &mut [f32]) {
        let channels = self.polarity.len();
        if channels == 1 {
            for (out, x) in mix.iter_mut().zip(frames) {
                *out = clean(*x);
            }
            return;
        }
        let (mut frames, mut mix) = (frames, mix);
        while !mix.is_empty() {
            let run = mix.len().min(self.block - self.filled);
            let (out, rest) = mix.split_at_mut(run);
            let (of_run, later) = frames.split_at(run * channels);
            self.arch.dispatch(Mix {
                downmix: self,
                frames: of_run,
                out,
            });
            (frames, mix) = (later, rest);
            if self.filled == self.block {
                self.decide();
            }
        }
    }

    fn decide(&mut self) {
        self.filled = 0;
        let mut total = 0.0;
        for c in 0..self.energy.len() {
            self.energy[c] = MEMORY * self.energy[c] + take_sum(&mut self.block_energy[c]);
            self.product[c] = MEMORY * self.product[c] + take_sum(&mut self.block_product[c]);
            total += self.energy[c];
        }
        self.sum_energy = MEMORY * self.sum_energy + take_sum(&mut self.block_sum);
        if total < NOTHING {
            // What fades in long silence would become denormal numbers, which are slow.
            self.energy.fill(0.0);
            self.product.fill(0.0);
            (self.sum_energy, total) = (0.0, 0.0);
        }
        let cancels = self.sum_energy < CANCELS[self.turned as usize] * total;
        if cancels && !self.turned {
            let loudest =
                (0..self.energy.len()).max_by(|&a, &b| self.energy[a].total_cmp(&self.energy[b]));
            self.loudest = loudest.unwrap_or(0);
            // The products so far were with another channel: start afresh, next block decides the polarity.
            self.product.fill(0.0);
            self.product[self.loudest] = 1.0;
        }
        self.turned = cancels;
        for (p, product) in self.polarity.iter_mut().zip(&self.product) {
            *p = if cancels && *product < 0.0 { -1.0 } else { 1.0 };
        }
    }
}

/// Samples of a channel of `N` frames.
#[inline(always)]
fn of_channel<const N: usize>(frames: &[f32], channels: usize, c: usize) -> [f32; N] {
    let frames = &frames[..N * channels];
    let mut samples = [0.0; N];
    for i in 0..N {
        samples[i] = clean(frames[i * channels + c]);
    }
    samples
}

/// The sum of all, which begin anew.
fn take_sum(sums: &mut [f32; APART]) -> f32 {
    std::mem::take(sums).iter().sum()
}

/// Mixes frames up to the end of the block at most. This is a type, because a closure would not be compiled for each
/// instruction set.
struct Mix<'a> {
    downmix: &'a mut Downmix,
    frames: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Mix<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        // With a number that is known to the compiler several frames are taken at once.
        match self.downmix.polarity.len() {
            2 => self.mix(2),
            channels => self.mix(channels),
        }
    }
}

impl Mix<'_> {
    #[inline(always)]
    fn mix(self, channels: usize) {
        let (mut frames, mut out) = (self.frames, self.out);
        let downmix = self.downmix;
        // First the rest of a group that has begun, then whole groups, and what remains one by one.
        while !out.is_empty() {
            let at = downmix.filled % APART;
            let group = if at == 0 && out.len() >= APART {
                APART
            } else {
                1
            };
            let (of_group, later) = frames.split_at(group * channels);
            let (mixed, rest) = out.split_at_mut(group);
            match mixed.first_chunk_mut::<APART>() {
                Some(mixed) => downmix.add::<APART>(channels, of_group, 0, mixed),
                None => {
                    let mut one = [0.0];
                    downmix.add(channels, of_group, at, &mut one);
                    mixed[0] = one[0];
                }
            }
            downmix.filled += group;
            (frames, out) = (later, rest);
        }
    }
}

impl Downmix {
    /// Mixes `N` frames, which are added to the sums from number `at` on.
    #[inline(always)]
    fn add<const N: usize>(
        &mut self,
        channels: usize,
        frames: &[f32],
        at: usize,
        mixed: &mut [f32; N],
    ) {
        let mut plain = [0.0; N];
        for c in 0..channels {
            let x = of_channel::<N>(frames, channels, c);
            for i in 0..N {
                plain[i] += x[i];
            }
            add_products(&mut self.block_energy[c], at, &x, &x);
        }
        add_products(&mut self.block_sum, at, &plain, &plain);
        let sum = if self.turned {
            self.turn(channels, frames, at)
        } else {
            plain
        };
        for i in 0..N {
            mixed[i] = sum[i] / channels as f32;
        }
    }

    /// Sum of the channels, each of the polarity that it has been turned to, which is looked at as well.
    #[inline(always)]
    fn turn<const N: usize>(&mut self, channels: usize, frames: &[f32], at: usize) -> [f32; N] {
        let loudest = of_channel::<N>(frames, channels, self.loudest);
        let mut turned = [0.0; N];
        for c in 0..channels {
            let x = of_channel::<N>(frames, channels, c);
            let polarity = self.polarity[c];
            for i in 0..N {
                turned[i] += x[i] * polarity;
            }
            add_products(&mut self.block_product[c], at, &x, &loudest);
        }
        turned
    }
}

/// Adds products to sums from number `at` on.
#[inline(always)]
fn add_products<const N: usize>(sums: &mut [f32; APART], at: usize, a: &[f32; N], b: &[f32; N]) {
    if let Some(sums) = sums.get_mut(at..at + N) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rms(x: &[f32]) -> f32 {
        (x.iter().map(|v| v * v).sum::<f32>() / x.len() as f32).sqrt()
    }

    fn mixed(frame: impl Fn(f32) -> [f32; 2]) -> Vec<f32> {
        let frames: Vec<f32> = (0..16_000)
            .flat_map(|i| frame((i as f32 * 0.05).sin()))
            .collect();
        let mut mix = vec![0.0; 16_000];
        Downmix::new(16_000, 2).mix(&frames, &mut mix);
        mix
    }

    #[test]
    fn mean_of_ordinary_channels() {
        let mix = mixed(|x| [x, 0.5 * x]);
        assert!((rms(&mix) - 0.75 * 0.5f32.sqrt()).abs() < 1e-3);
    }

    #[test]
    fn channels_that_no_longer_cancel_are_turned_back() {
        let mut downmix = Downmix::new(16_000, 2);
        let mut noise = crate::watermark::testing::noise(1);
        let mut hear = |sign: f32| {
            let frames: Vec<f32> = (0..64_000)
                .flat_map(|_| {
                    let sample = noise();
                    [sample, sign * sample]
                })
                .collect();
            downmix.mix(&frames, &mut [0.0; 64_000]);
            downmix.turned()
        };
        assert_eq!(hear(1.0), 0);
        assert_eq!(hear(-1.0).count_ones(), 1);
        assert_eq!(hear(1.0), 0);
    }

    #[test]
    fn opposite_channels_are_turned() {
        let mix = mixed(|x| [x, -x]);
        assert!(rms(&mix[1600..]) > 0.7, "cancelled: {}", rms(&mix[1600..]));
    }
}
