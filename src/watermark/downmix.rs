// SPDX-License-Identifier: MIT OR Apache-2.0
//! Many channels to one, without losing programme whose channels cancel.
//!
//! Normally this is the mean of the channels. Where the mean holds next to nothing of what the
//! channels hold (L = -R), each channel is turned to the polarity of the loudest one first. The
//! decision depends on the audio alone, never on the key, so the detector's proof stands.

use super::spectrum::clean;

/// Seconds between two decisions.
const BLOCK: f64 = 0.02;
/// Share of the old in the running energies, a block: forgets within about half a second.
const MEMORY: f32 = 0.96;
/// The channels cancel below this ratio of the energy of the sum to the sum of the energies (1 for
/// independent channels, 0 for L = -R) and no longer cancel above the second.
const CANCELS: [f32; 2] = [0.05, 0.2];

/// Running mix of interleaved frames.
pub struct Downmix {
    polarity: Vec<f32>,
    /// Running energy of each channel and its running product with the loudest one.
    energy: Vec<f32>,
    product: Vec<f32>,
    sum_energy: f32,
    loudest: usize,
    turned: bool,
    block: usize,
    filled: usize,
    block_energy: Vec<f32>,
    block_product: Vec<f32>,
    block_sum: f32,
}

impl Downmix {
    /// A mix of `channels` channels.
    pub fn new(sample_rate: u32, channels: usize) -> Self {
        Downmix {
            polarity: vec![1.0; channels],
            energy: vec![0.0; channels],
            product: vec![0.0; channels],
            sum_energy: 0.0,
            loudest: 0,
            turned: false,
            block: (BLOCK * sample_rate as f64) as usize,
            filled: 0,
            block_energy: vec![0.0; channels],
            block_product: vec![0.0; channels],
            block_sum: 0.0,
        }
    }

    /// Back to the mean of the channels.
    pub fn reset(&mut self) {
        for v in [
            &mut self.energy,
            &mut self.product,
            &mut self.block_energy,
            &mut self.block_product,
        ] {
            v.fill(0.0);
        }
        self.polarity.fill(1.0);
        (self.sum_energy, self.block_sum) = (0.0, 0.0);
        (self.loudest, self.filled, self.turned) = (0, 0, false);
    }

    /// +1 or -1 for each channel: what it is multiplied by before the mean is taken.
    pub fn polarity(&self) -> &[f32] {
        &self.polarity
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
        for (out, frame) in mix.iter_mut().zip(frames.chunks_exact(channels)) {
            *out = self.mix_frame(frame);
            self.filled += 1;
            if self.filled == self.block {
                self.decide();
            }
        }
    }

    fn mix_frame(&mut self, frame: &[f32]) -> f32 {
        let loudest = clean(frame[self.loudest]);
        let (mut plain, mut turned) = (0.0, 0.0);
        for (c, x) in frame.iter().enumerate() {
            let x = clean(*x);
            plain += x;
            turned += x * self.polarity[c];
            self.block_energy[c] += x * x;
            self.block_product[c] += x * loudest;
        }
        self.block_sum += plain * plain;
        turned / frame.len() as f32
    }

    fn decide(&mut self) {
        self.filled = 0;
        let mut total = 0.0;
        for c in 0..self.energy.len() {
            self.energy[c] = MEMORY * self.energy[c] + std::mem::take(&mut self.block_energy[c]);
            self.product[c] = MEMORY * self.product[c] + std::mem::take(&mut self.block_product[c]);
            total += self.energy[c];
        }
        self.sum_energy = MEMORY * self.sum_energy + std::mem::take(&mut self.block_sum);
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
    fn opposite_channels_are_turned() {
        let mix = mixed(|x| [x, -x]);
        assert!(rms(&mix[1600..]) > 0.7, "cancelled: {}", rms(&mix[1600..]));
    }
}
