// SPDX-License-Identifier: MIT OR Apache-2.0
//! From received audio to the correlations of all pairs of blocks.
//!
//! Frames of 128 ms every 10 ms, each compared with those 1 to 11 delays earlier. Four frames make a slot,
//! four slots a block. A block may end with any slot, so sums over a block are kept for each slot.

use super::super::correlation::compress;
use super::super::format::{CHIP_HIGH, CHIP_LOW, DELAY, WINDOW};
use super::super::spectrum::{Forward, Timeline, fast_size};
use super::{BLOCKS, FRAMES_PER_BLOCK, FRAMES_PER_SLOT, LAGS, SLOTS_PER_BLOCK};
use pulp::Arch;
use std::ops::Range;

const FRAMES_KEPT: u64 = BLOCKS as u64 * FRAMES_PER_BLOCK;
const BLOCKS_KEPT: u64 = BLOCKS as u64 * SLOTS_PER_BLOCK;

/// Streaming correlation of one channel with itself, 1 to 11 delays earlier.
///
/// Complex numbers are kept as real parts followed by imaginary parts, which the loops over bins like better.
pub struct LagCorrelator {
    arch: Arch,
    delay: u64,
    size: usize,
    bins: Range<usize>,
    forward: Forward,
    received: Timeline,
    /// Compressed spectrum of frame `k` at `k % FRAMES_KEPT`.
    history: Vec<f32>,
    /// Sums of slot `s` at `s % SLOTS_PER_BLOCK`, lag by lag.
    slots: Vec<f32>,
    /// Sums of the block that ends with slot `s` at `s % BLOCKS_KEPT`, lag by lag.
    blocks: Vec<f32>,
    next_frame: u64,
}

impl LagCorrelator {
    /// A correlator for at most `block` frames at a time, whose bins reach `deviation` (a ratio) beyond the chips.
    pub fn new(sample_rate: u32, deviation: f64, block: usize) -> Self {
        let rate = sample_rate as f64;
        let size = fast_size(WINDOW * rate);
        let bin = |hertz: f64| (hertz * size as f64 / rate) as usize;
        let last = bin(CHIP_HIGH * (1.0 + deviation)) + 1;
        let bins = bin(CHIP_LOW * (1.0 - deviation))..last.min(size / 2);
        let spectrum = 2 * bins.len();
        let sums = LAGS * spectrum;
        LagCorrelator {
            arch: Arch::new(),
            delay: (DELAY * rate).round() as u64,
            size,
            forward: Forward::new(size),
            received: Timeline::new(size + block),
            history: vec![0.0; FRAMES_KEPT as usize * spectrum],
            slots: vec![0.0; SLOTS_PER_BLOCK as usize * sums],
            blocks: vec![0.0; BLOCKS_KEPT as usize * sums],
            next_frame: 0,
            bins,
        }
    }

    /// Forgets all audio.
    pub fn reset(&mut self) {
        self.received.reset();
        for memory in [&mut self.history, &mut self.slots, &mut self.blocks] {
            memory.fill(0.0);
        }
        self.next_frame = 0;
    }

    /// Frames a transform and bins that the sums are of.
    pub fn bins(&self) -> (usize, Range<usize>) {
        (self.size, self.bins.clone())
    }

    /// Frames of the delay, which is 160 ms to the nearest.
    pub fn delay(&self) -> u64 {
        self.delay
    }

    /// Real and imaginary parts of the sums for `lag` (1 to 11) over the block that ends with slot `slot`, one
    /// of the latest 48. What lies before the start counts as silence.
    pub fn block(&self, slot: i64, lag: usize) -> (&[f32], &[f32]) {
        let n = self.bins.len();
        let at = slot.rem_euclid(BLOCKS_KEPT as i64) as usize * LAGS + lag - 1;
        self.blocks[2 * n * at..][..2 * n].split_at(n)
    }

    /// Takes mixed audio. Calls `block` with the number of each slot that it completes, and the input frame in
    /// the middle of the window that is latest in the middle of the slot.
    pub fn push(&mut self, audio: &[f32], mut block: impl FnMut(&Self, u64, f64)) {
        self.received.extend(audio.len()).copy_from_slice(audio);
        while self.start(self.next_frame) + self.size as u64 <= self.received.end() {
            self.correlate_frame();
            if self.next_frame.is_multiple_of(FRAMES_PER_SLOT) {
                let slot = self.next_frame / FRAMES_PER_SLOT - 1;
                self.end_block(slot, slot);
                block(self, slot, self.middle(slot));
            }
        }
    }

    /// Gives out blocks that are not whole, as if silence followed. More audio may follow all the same.
    pub fn finish(&mut self, mut block: impl FnMut(&Self, u64, f64)) {
        let under_way = self.next_frame / FRAMES_PER_SLOT;
        if self.next_frame.is_multiple_of(FRAMES_PER_SLOT) {
            self.slot(under_way).fill(0.0);
        }
        // These places belong to blocks that are too old by now.
        for slot in under_way..under_way + SLOTS_PER_BLOCK - 1 {
            self.end_block(slot, under_way);
            block(self, slot, self.middle(slot));
        }
    }

    fn middle(&self, slot: u64) -> f64 {
        let first = self.start(slot * FRAMES_PER_SLOT);
        let last = self.start((slot + 1) * FRAMES_PER_SLOT - 1);
        (first + last + self.size as u64) as f64 / 2.0
    }

    /// First input frame of frame `k`. Sixteen frames are one delay to the sample, at any rate.
    fn start(&self, k: u64) -> u64 {
        (2 * k * self.delay + FRAMES_PER_BLOCK) / (2 * FRAMES_PER_BLOCK)
    }

    fn slot(&mut self, slot: u64) -> &mut [f32] {
        let sums = 2 * LAGS * self.bins.len();
        &mut self.slots[(slot % SLOTS_PER_BLOCK) as usize * sums..][..sums]
    }

    fn correlate_frame(&mut self) {
        let k = self.next_frame;
        self.next_frame += 1;
        if k.is_multiple_of(FRAMES_PER_SLOT) {
            self.slot(k / FRAMES_PER_SLOT).fill(0.0);
        }
        let n = self.bins.len();
        let at = |k: u64| (k % FRAMES_KEPT) as usize * 2 * n;
        let audio = self.received.range(self.start(k), self.size);
        let spectrum = &self.forward.transform(audio)[self.bins.clone()];
        let (re, im) = self.history[at(k)..][..2 * n].split_at_mut(n);
        for ((re, im), y) in re.iter_mut().zip(im).zip(spectrum) {
            let y = compress(*y);
            (*re, *im) = (y.re, y.im);
        }
        let sums = 2 * LAGS * n;
        let slot = (k / FRAMES_PER_SLOT % SLOTS_PER_BLOCK) as usize * sums;
        let (now_re, now_im) = self.history[at(k)..][..2 * n].split_at(n);
        let lags = self.slots[slot..][..sums].chunks_exact_mut(2 * n);
        for (lag, sum) in (1..).zip(lags) {
            let Some(earlier) = k.checked_sub(lag * FRAMES_PER_BLOCK) else {
                break;
            };
            let (re, im) = self.history[at(earlier)..][..2 * n].split_at(n);
            let (sum_re, sum_im) = sum.split_at_mut(n);
            self.arch.dispatch(
                #[inline(always)]
                || {
                    for i in 0..n {
                        sum_re[i] += now_re[i] * re[i] + now_im[i] * im[i];
                        sum_im[i] += now_im[i] * re[i] - now_re[i] * im[i];
                    }
                },
            );
        }
    }

    /// Adds up the block that ends with `slot`, as far as there are slots up to number `newest`.
    fn end_block(&mut self, slot: u64, newest: u64) {
        let sums = 2 * LAGS * self.bins.len();
        let block = &mut self.blocks[(slot % BLOCKS_KEPT) as usize * sums..][..sums];
        block.fill(0.0);
        for s in (slot + 1).saturating_sub(SLOTS_PER_BLOCK)..=slot.min(newest) {
            let slot = &self.slots[(s % SLOTS_PER_BLOCK) as usize * sums..][..sums];
            for (sum, part) in block.iter_mut().zip(slot) {
                *sum += part;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: usize) -> Vec<f32> {
        let mut state = 1u32;
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    #[test]
    fn what_repeats_correlates_at_every_lag_it_has_come_to() {
        let period = noise(2560);
        let audio: Vec<f32> = period.iter().copied().cycle().take(40_000).collect();
        let mut correlator = LagCorrelator::new(16_000, 0.0, audio.len());
        let mut slots = 0;
        correlator.push(&audio, |c, slot, _| {
            assert_eq!(slot, slots);
            slots += 1;
            for lag in 1..=LAGS {
                let (re, im) = c.block(slot as i64, lag);
                let (re, im): (f32, f32) = (re.iter().sum(), im.iter().map(|x| x.abs()).sum());
                assert_eq!(re > 1.0, slot >= lag as u64 * 4, "slot {slot}, lag {lag}");
                assert!(im <= 1e-3 * re.abs());
            }
        });
        assert_eq!(slots, (40_000 - 2048) / 640);
    }

    #[test]
    fn finishing_changes_nothing_that_follows() {
        let audio = noise(40_000);
        let sums = |finish: bool| {
            let mut correlator = LagCorrelator::new(16_000, 0.0, audio.len());
            let mut all = Vec::new();
            correlator.push(&audio[..33_555], |_, _, _| ());
            if finish {
                let mut slots = Vec::new();
                correlator.finish(|_, slot, _| slots.push(slot));
                assert_eq!(slots, [49, 50, 51]);
            }
            correlator.push(&audio[33_555..], |c, slot, _| {
                (0..12).for_each(|j| all.extend_from_slice(c.block(slot as i64 - 4 * j, 3).0));
            });
            all
        };
        assert_eq!(sums(true), sums(false));
    }
}
