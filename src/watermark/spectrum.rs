// SPDX-License-Identifier: MIT OR Apache-2.0
//! Framing, windows, transforms and the buffers between them; nothing here allocates after `new`.

use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustfft::num_complex::Complex;
use std::sync::Arc;

/// The even product of 2, 3, 5 and 7 that is nearest to `target`: a length that the FFT likes.
pub fn fast_size(target: f64) -> usize {
    let smooth = |mut n: usize| {
        for p in [2, 3, 5, 7] {
            while n.is_multiple_of(p) {
                n /= p;
            }
        }
        n == 1
    };
    let centre = (target / 2.0).round().max(1.0) as usize;
    let half = (0..centre)
        .flat_map(|d| [centre + d, centre - d])
        .find(|&n| smooth(n))
        .unwrap_or(1);
    2 * half
}

/// Square root of a periodic Hann window of `n` samples; at 50 % overlap its squares add up to 1.
pub fn sqrt_hann(n: usize) -> Vec<f32> {
    (0..n)
        .map(|i| (std::f64::consts::PI * i as f64 / n as f64).sin() as f32)
        .collect()
}

/// Windowed real FFT.
pub struct Forward {
    plan: Arc<dyn RealToComplex<f32>>,
    /// Its first half and the sample in the middle: the other half is the same, but for the direction.
    window: Vec<f32>,
    time: Vec<f32>,
    scratch: Vec<Complex<f32>>,
    bins: Vec<Complex<f32>>,
}

impl Forward {
    /// A transform of `n` samples under [`sqrt_hann`].
    pub fn new(n: usize) -> Self {
        let plan = RealFftPlanner::<f32>::new().plan_fft_forward(n);
        Forward {
            window: sqrt_hann(n)[..=n / 2].to_vec(),
            time: plan.make_input_vec(),
            scratch: plan.make_scratch_vec(),
            bins: plan.make_output_vec(),
            plan,
        }
    }

    /// The `n / 2 + 1` bins of `samples`, of which there must be `n`.
    pub fn transform(&mut self, samples: &[f32]) -> &[Complex<f32>] {
        let half = self.time.len() / 2;
        let (rise, fall) = self.time.split_at_mut(half);
        for ((t, s), w) in rise.iter_mut().zip(samples).zip(&self.window) {
            *t = s * w;
        }
        let window = self.window.iter().rev();
        for ((t, s), w) in fall.iter_mut().zip(&samples[half..]).zip(window) {
            *t = s * w;
        }
        let done =
            self.plan
                .process_with_scratch(&mut self.time, &mut self.bins, &mut self.scratch);
        debug_assert!(done.is_ok());
        &self.bins
    }
}

/// Inverse real FFT, windowed for overlap-add.
pub struct Inverse {
    plan: Arc<dyn ComplexToReal<f32>>,
    window: Vec<f32>,
    time: Vec<f32>,
    scratch: Vec<Complex<f32>>,
    bins: Vec<Complex<f32>>,
}

impl Inverse {
    /// A transform to `n` samples, scaled so that it undoes [`Forward`] but for the windows.
    pub fn new(n: usize) -> Self {
        let plan = RealFftPlanner::<f32>::new().plan_fft_inverse(n);
        Inverse {
            window: sqrt_hann(n).iter().map(|w| w / n as f32).collect(),
            bins: plan.make_input_vec(),
            scratch: plan.make_scratch_vec(),
            time: plan.make_output_vec(),
            plan,
        }
    }

    /// Adds the samples of a spectrum to `sum`, which holds `n`. `fill` gets the `n / 2 + 1` bins, all 0, to write to.
    pub fn add_to(&mut self, sum: &mut [f32], fill: impl FnOnce(&mut [Complex<f32>])) {
        self.transform(fill);
        for ((s, t), w) in sum.iter_mut().zip(&self.time).zip(&self.window) {
            *s += t * w;
        }
    }

    /// The same, but what is added comes in: from a sample on, which may lie before the first, as it is given.
    pub fn add_rising(
        &mut self,
        sum: &mut [f32],
        from: isize,
        rise: &[f32],
        fill: impl FnOnce(&mut [Complex<f32>]),
    ) {
        self.transform(fill);
        let n = sum.len() as isize;
        let [rises, whole] = [from, from + rise.len() as isize].map(|at| at.clamp(0, n) as usize);
        let rise = &rise[(rises as isize - from).clamp(0, rise.len() as isize) as usize..];
        let of = |at: usize| self.time[at..].iter().zip(&self.window[at..]);
        for ((s, (t, w)), gain) in sum[rises..whole].iter_mut().zip(of(rises)).zip(rise) {
            *s += t * w * gain;
        }
        for (s, (t, w)) in sum[whole..].iter_mut().zip(of(whole)) {
            *s += t * w;
        }
    }

    fn transform(&mut self, fill: impl FnOnce(&mut [Complex<f32>])) {
        self.bins.fill(Complex::ZERO);
        fill(&mut self.bins);
        // A real signal has real first and last bins; the transform refuses anything else.
        if let [first, .., last] = &mut self.bins[..] {
            first.im = 0.0;
            last.im = 0.0;
        }
        let done =
            self.plan
                .process_with_scratch(&mut self.bins, &mut self.time, &mut self.scratch);
        debug_assert!(done.is_ok());
    }
}

/// The latest stretch of a signal, addressed by frame number since the start.
///
/// What lies outside the stretch cannot be reached; what was never written is 0.
pub struct Timeline {
    samples: Vec<f32>,
    /// Number of the frame at `samples[0]`.
    first: u64,
    /// Frames that are kept before the newest one, and the first that is still wanted.
    keep: usize,
    wanted: u64,
    used: usize,
}

impl Timeline {
    /// Keeps at least `keep` frames behind the newest.
    pub fn new(keep: usize) -> Self {
        // Half as much more room, so that old frames are moved out of the way only once in so many: two for each new
        // one.
        Self::with_room(keep, keep + keep.div_ceil(2))
    }

    /// Has room for no more than `keep` frames: for where [`Timeline::forget`] leaves few of them to be moved.
    pub fn tight(keep: usize) -> Self {
        Self::with_room(keep, keep)
    }

    fn with_room(keep: usize, room: usize) -> Self {
        Timeline {
            samples: vec![0.0; room],
            first: 0,
            keep,
            wanted: 0,
            used: 0,
        }
    }

    /// Frames before number `from` are no longer wanted.
    pub fn forget(&mut self, from: u64) {
        self.wanted = from;
    }

    /// Empties the line; the next frame gets number 0.
    pub fn reset(&mut self) {
        self.samples.fill(0.0);
        (self.first, self.wanted) = (0, 0);
        self.used = 0;
    }

    /// Number of the frame after the newest.
    pub fn end(&self) -> u64 {
        self.first + self.used as u64
    }

    /// Lengthens the line by `n <= keep` frames of 0 and returns them to be written.
    pub fn extend(&mut self, n: usize) -> &mut [f32] {
        if self.used + n > self.samples.len() {
            let wanted = self.end().saturating_sub(self.wanted) as usize;
            let stay = (self.keep - n).min(self.used).min(wanted);
            self.samples.copy_within(self.used - stay..self.used, 0);
            self.first += (self.used - stay) as u64;
            self.used = stay;
        }
        let at = self.used;
        self.used += n;
        let new = &mut self.samples[at..at + n];
        new.fill(0.0);
        new
    }

    /// `n` frames from number `from` on.
    pub fn range(&self, from: u64, n: usize) -> &[f32] {
        let at = (from - self.first) as usize;
        &self.samples[at..at + n]
    }

    /// The same, to be added to.
    pub fn range_mut(&mut self, from: u64, n: usize) -> &mut [f32] {
        let at = (from - self.first) as usize;
        &mut self.samples[at..at + n]
    }
}

/// A sample that arithmetic is safe with, squares and sums of squares in single precision included: 0 for what is not
/// finite or too small to matter (-240 dB), and bounded.
#[inline(always)]
pub fn clean(sample: f32) -> f32 {
    const SMALLEST: u32 = 1e-12f32.to_bits();
    const LARGEST: u32 = 1e9f32.to_bits();
    const INFINITE: u32 = f32::INFINITY.to_bits();
    const SIGN: u32 = 1 << 31;
    // By its bits: a processor may be slow even at comparing denormal numbers. Both ways are worked out, so that it can
    // take several samples at once.
    let bits = sample.to_bits();
    let size = bits & !SIGN;
    let bounded = f32::from_bits(size.min(LARGEST) | bits & SIGN);
    if (SMALLEST..INFINITE).contains(&size) {
        bounded
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_sizes_are_even_and_near() {
        for rate in [
            8_000, 11_025, 16_000, 22_050, 37_800, 44_100, 48_000, 96_000, 192_000,
        ] {
            for seconds in [0.128, 1024.0 / 48_000.0] {
                let target = seconds * rate as f64;
                let size = fast_size(target);
                assert!(
                    size.is_multiple_of(2) && (size as f64 / target - 1.0).abs() < 0.05,
                    "{rate} Hz: {size} for {target}"
                );
            }
        }
        assert_eq!(fast_size(6144.0), 6144);
    }

    #[test]
    fn forward_then_inverse_gives_the_signal_back() {
        let n = 64;
        let signal: Vec<f32> = (0..256).map(|i| (i as f32 * 0.37).sin()).collect();
        let (mut forward, mut inverse) = (Forward::new(n), Inverse::new(n));
        let mut sum = vec![0.0; signal.len()];
        for at in (0..=signal.len() - n).step_by(n / 2) {
            let bins = forward.transform(&signal[at..at + n]).to_vec();
            inverse.add_to(&mut sum[at..at + n], |b| b.copy_from_slice(&bins));
        }
        for i in n / 2..signal.len() - n / 2 {
            assert!(
                (sum[i] - signal[i]).abs() < 1e-5,
                "sample {i}: {} for {}",
                sum[i],
                signal[i]
            );
        }
    }

    #[test]
    fn what_rises_begins_with_nothing_and_ends_whole() {
        let n = 16;
        let (mut inverse, rise) = (Inverse::new(n), [0.25, 0.75]);
        let fill = |bins: &mut [Complex<f32>]| bins[3] = Complex::new(1.0, 2.0);
        let mut whole = vec![0.0; n];
        inverse.add_to(&mut whole, fill);
        for from in [-5isize, -1, 0, 6, 15, 20] {
            let mut sum = vec![1.0; n];
            inverse.add_rising(&mut sum, from, &rise, fill);
            for (i, (sum, whole)) in sum.iter().zip(&whole).enumerate() {
                let gain = match i as isize - from {
                    ..0 => 0.0,
                    0 => 0.25,
                    1 => 0.75,
                    _ => 1.0,
                };
                assert!((sum - 1.0 - gain * whole).abs() < 1e-6, "{from}, {i}");
            }
        }
    }

    #[test]
    fn timeline_keeps_what_it_promises() {
        let mut line = Timeline::new(10);
        for frame in 0..95u64 {
            line.extend(1)[0] = frame as f32;
            let from = frame.saturating_sub(8);
            let want: Vec<f32> = (from..=frame).map(|f| f as f32).collect();
            assert_eq!(line.range(from, want.len()), want);
        }
    }

    #[test]
    fn a_tight_timeline_keeps_what_is_wanted() {
        let mut line = Timeline::tight(10);
        for piece in 0..30u64 {
            for (frame, new) in (3 * piece..).zip(line.extend(3)) {
                *new = frame as f32;
            }
            // All of its room is used: seven frames of before and three new ones.
            let from = (3 * piece).saturating_sub(7);
            let want: Vec<f32> = (from..line.end()).map(|f| f as f32).collect();
            assert_eq!(line.range(from, want.len()), want);
            line.forget(line.end().saturating_sub(7));
        }
    }

    #[test]
    fn clean_bounds_everything() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-40, -1e-13] {
            assert_eq!(clean(bad), 0.0);
        }
        assert_eq!(clean(-3e38), -1e9);
        for good in [0.25, -0.25, 1e-11] {
            assert_eq!(clean(good), good);
        }
    }
}
