// SPDX-License-Identifier: MIT OR Apache-2.0
//! A frame that is kept for one delay, in bytes, until it is compared with a later one.

use super::rounding::to_bytes;
use pulp::bytemuck::cast_slice;
use pulp::{Arch, Simd, WithSimd};
use rustfft::num_complex::Complex;

/// A weighted spectrum, real and imaginary parts in turn, in steps.
#[derive(Clone)]
pub struct KeptFrame {
    parts: Vec<i8>,
    step: f32,
}

impl KeptFrame {
    /// Silence in `bins` bins.
    pub fn new(bins: usize) -> Self {
        KeptFrame {
            parts: vec![0; 2 * bins],
            step: 0.0,
        }
    }

    /// Adds the product of the frame `now`, which stands for `frames` frames, with this one to `sums`, unless `frames`
    /// is 0, and keeps `now` instead of this one. All have the same bins.
    pub fn correlate(
        &mut self,
        arch: Arch,
        now: &[Complex<f32>],
        frames: f32,
        sums: &mut [Complex<f32>],
    ) {
        arch.dispatch(Correlate {
            now,
            earlier: self,
            sums,
            frames,
        });
    }
}

/// What [`KeptFrame::correlate`] does, for the widest instructions that the machine has.
struct Correlate<'a> {
    now: &'a [Complex<f32>],
    earlier: &'a mut KeptFrame,
    sums: &'a mut [Complex<f32>],
    frames: f32,
}

impl WithSimd for Correlate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let KeptFrame { parts, step } = self.earlier;
        if self.frames > 0.0 {
            let each = self.frames * *step;
            let earlier = parts.as_chunks::<2>().0;
            for ((now, earlier), sum) in self.now.iter().zip(earlier).zip(self.sums) {
                let [re, im] = earlier.map(|part| part as f32 * each);
                sum.re += now.re * re + now.im * im;
                sum.im += now.im * re - now.re * im;
            }
        }
        *step = to_bytes(cast_slice(self.now), parts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_was_kept_is_multiplied_as_it_was() {
        let bins = |phase: f32| -> Vec<Complex<f32>> {
            (0..37)
                .map(|i| 20.0 * Complex::from_polar(1.0, phase * i as f32))
                .collect()
        };
        let (earlier, now) = (bins(0.7), bins(1.1));
        let mut kept = KeptFrame::new(earlier.len());
        let mut sums = vec![Complex::ZERO; earlier.len()];
        for (now, frames) in [(&earlier, 0.0), (&now, 2.0)] {
            kept.correlate(Arch::new(), now, frames, &mut sums);
        }
        for ((now, earlier), sum) in now.iter().zip(&earlier).zip(sums) {
            let exact = 2.0 * now * earlier.conj();
            assert!((sum - exact).norm() < 5.0, "{sum} for {exact}");
        }
    }
}
