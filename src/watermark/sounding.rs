// SPDX-License-Identifier: MIT OR Apache-2.0
//! When what a slot has heard did sound.
//!
//! A slot takes 160 ms of audio in, of which a drum may make one tenth. What the slot says is then about the moment of
//! the drum, not about its middle, and a watermark time that takes the middle for granted is wrong by up to 20 ms at
//! the time. So what sounds is looked at in pieces of 10 ms: its power, whitened by linear prediction, because loud
//! basses carry no mark.

use super::correlation::{FRAME, FRAMES_PER_DELAY, FRAMES_PER_SLOT};
use super::format::WINDOW;
use super::windows::FADED;
use std::f64::consts::PI;

/// Pieces of a frame, which is as long as 12.8 of them, and of a slot.
pub const OF_FRAME: usize = 12;
const OF_SLOT: usize = OF_FRAME + FRAMES_PER_SLOT as usize - 1;
/// Coefficients of the prediction: with more, nothing is gained.
pub const ORDER: usize = 2;
/// Pieces that the spectrum to be whitened is a mean of: half a second.
const MEMORY: f32 = 50.0;
/// What is left of the power of a piece at least: prediction can be too good to be true.
const LEAST: f32 = 1e-4;
/// Levels that are kept: those of a frame and of the one a delay earlier.
const KEPT: usize = 32;
const _: () = assert!(KEPT >= OF_FRAME + FRAMES_PER_DELAY as usize);

/// How much of a slot each piece of 10 ms makes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sounding {
    /// Seconds from the middle of the slot to that of the first piece.
    pub from: f64,
    /// Add up to 1.
    pub shares: [f32; OF_SLOT],
}

impl Sounding {
    /// What nothing is known about: all of it sounds in the middle.
    pub const MIDDLE: Sounding = {
        let mut shares = [0.0; OF_SLOT];
        shares[OF_SLOT / 2] = 1.0;
        Sounding {
            from: -FRAME * (OF_SLOT / 2) as f64,
            shares,
        }
    };
}

/// Hears pieces and adds up slots.
pub struct Envelope {
    /// Level of piece `p` at `p % KEPT`.
    levels: [f32; KEPT],
    /// Mean of the products of samples with those 0, 1 and 2 earlier, and pieces in it.
    mean: [f32; ORDER + 1],
    seen: f32,
    /// Weight of each piece of a frame: the product of two windows.
    window: [f32; OF_FRAME],
    shares: [f32; OF_SLOT],
}

impl Envelope {
    /// Nothing has been heard yet.
    pub fn new() -> Self {
        let window = |piece: usize| {
            let seconds = FRAME * (piece as f64 - 0.5 * (OF_FRAME - 1) as f64);
            (PI * seconds / WINDOW).cos().powi(2) as f32
        };
        Envelope {
            levels: [0.0; KEPT],
            mean: [0.0; ORDER + 1],
            seen: 0.0,
            window: std::array::from_fn(window),
            shares: [0.0; OF_SLOT],
        }
    }

    /// Forgets all audio.
    pub fn reset(&mut self) {
        *self = Envelope::new();
    }

    /// Takes piece number `piece`, with the [`ORDER`] samples before it.
    pub fn take(&mut self, piece: u64, samples: &[f32]) {
        let products = products(samples);
        self.seen = (self.seen + 1.0).min(MEMORY);
        for (mean, product) in self.mean.iter_mut().zip(products) {
            *mean += (product - *mean) / self.seen;
        }
        if self.mean[0] < FADED {
            self.mean = [0.0; ORDER + 1];
        }
        let [whole, one, two] = predicted(self.mean);
        let left = whole * products[0] + one * products[1] + two * products[2];
        self.levels[piece as usize % KEPT] = left.max(LEAST * products[0]).sqrt();
    }

    /// Adds frame `frame`, which begins with the piece of the same number and stands for `frames` frames.
    pub fn add(&mut self, frame: u64, frames: f32) {
        let level = |piece: u64| self.levels[piece as usize % KEPT];
        let mut sounds: [f32; OF_FRAME] = std::array::from_fn(|i| {
            let piece = frame + i as u64;
            self.window[i] * level(piece) * level(piece - FRAMES_PER_DELAY)
        });
        let mut sum: f32 = sounds.iter().sum();
        if sum < 1e-20 {
            sounds = self.window;
            sum = sounds.iter().sum();
        }
        let first = (frame % FRAMES_PER_SLOT) as usize;
        for (share, sounds) in self.shares[first..].iter_mut().zip(sounds) {
            *share += frames * sounds / sum;
        }
    }

    /// Ends the slot, whose middle is `late` seconds behind that of its first frame.
    pub fn end_slot(&mut self, late: f64) -> Sounding {
        let mut shares = std::mem::replace(&mut self.shares, [0.0; OF_SLOT]);
        let sum: f32 = shares.iter().sum();
        if sum == 0.0 {
            return Sounding::MIDDLE;
        }
        shares.iter_mut().for_each(|share| *share /= sum);
        Sounding {
            from: -late - 0.5 * FRAME * (OF_FRAME - 1) as f64,
            shares,
        }
    }
}

/// Sums of the products of samples with those 0, 1 and 2 earlier; the first two samples are earlier ones only.
fn products(samples: &[f32]) -> [f32; ORDER + 1] {
    let mut sums = [0.0; ORDER + 1];
    for triple in samples.windows(ORDER + 1) {
        let now = triple[ORDER];
        sums[0] += now * now;
        sums[1] += now * triple[1];
        sums[2] += now * triple[0];
    }
    sums
}

/// What the sums of products are multiplied with to make the power that prediction by the mean ones leaves.
fn predicted([mean, one, two]: [f32; ORDER + 1]) -> [f32; ORDER + 1] {
    // A little noise, against numbers that are too close. As shares of the power, because squares of powers may be so
    // small that processors are slow with them.
    let power = 1.001 * mean + 1e-12;
    // Samples before the piece count, too, so a decay may be more than all of the power.
    let (one, two) = (
        (one / power).clamp(-0.999, 0.999),
        (two / power).clamp(-1.0, 1.0),
    );
    let determinant = 1.0 - one * one;
    let a = one * (1.0 - two) / determinant;
    let b = (two - one * one) / determinant;
    [1.0 + a * a + b * b, 2.0 * (a * b - a), -2.0 * b]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(samples: usize) -> Vec<f32> {
        let mut state = 1u32;
        let sample = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..samples).map(sample).collect()
    }

    /// A slot of what is loud from `from` on, over a loud bass.
    fn middle_of(loud: impl Fn(u64) -> f32) -> f64 {
        let mut envelope = Envelope::new();
        let noise = noise(162 * 60);
        let bass = |i: usize| 3.0 * (0.02 * i as f32).sin();
        for piece in 0..60u64 {
            let begin = piece as usize * 160;
            let samples: Vec<_> = (begin..begin + 162)
                .map(|i| loud(piece) * noise[i] + bass(i))
                .collect();
            envelope.take(piece, &samples);
            if piece >= 44 + OF_FRAME as u64 - 1 {
                let frame = piece + 1 - OF_FRAME as u64;
                if frame < 48 {
                    envelope.add(frame, 1.0);
                }
            }
        }
        let sounding = envelope.end_slot(1.5 * FRAME);
        let pieces = sounding.shares.iter().enumerate();
        let middle: f64 = pieces.map(|(i, share)| i as f64 * f64::from(*share)).sum();
        sounding.from + middle * FRAME
    }

    #[test]
    fn a_slot_is_about_what_sounds_in_it() {
        assert!(middle_of(|_| 0.3).abs() < 0.004);
        // From the middle on.
        let late = middle_of(|piece| if piece < 51 { 0.01 } else { 0.3 });
        assert!((0.008..0.035).contains(&late), "{late}");
        let early = middle_of(|piece| if piece < 51 { 0.3 } else { 0.01 });
        assert!((-0.035..-0.008).contains(&early), "{early}");
        // It takes both ends of a delay.
        let late = middle_of(|piece| if piece < 35 { 0.01 } else { 0.3 });
        assert!((0.008..0.035).contains(&late), "{late}");
    }

    #[test]
    fn in_silence_all_is_as_the_windows_say() {
        let mut envelope = Envelope::new();
        (0..40).for_each(|piece| envelope.take(piece, &[0.0; 162]));
        (20..24).for_each(|frame| envelope.add(frame, 1.0));
        let shares = envelope.end_slot(0.015).shares;
        assert!(shares.iter().all(|share| share.is_finite()));
        assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert!(shares[OF_SLOT / 2] > 0.1);
        assert_eq!(envelope.end_slot(0.0), Sounding::MIDDLE);
    }
}
