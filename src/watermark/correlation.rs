// SPDX-License-Identifier: MIT OR Apache-2.0
//! From received audio to chip correlations.
//!
//! Frames of 128 ms every 10 ms; each is compared with the one 160 ms earlier. Four comparisons make a slot of 40 ms, a
//! fifth of a row. Where programme was stretched, a slot is turned to the usual lag (see [`super::lag`]). All this
//! depends on the audio alone, with one exception: while a strong mark is followed, every second frame is left out, and
//! no stretching is looked for where there was none. Unmarked audio has no such mark, so the proof of [`super::bound`]
//! is not touched.

use super::decimation::Decimator;
use super::format::{CHIP_HIGH, CHIP_LOW, DELAY, WINDOW};
use super::kept_frame::KeptFrame;
use super::lag::LagFinder;
use super::sounding::{Envelope, OF_FRAME, ORDER, Sounding};
use super::spectrum::{Forward, Timeline, fast_size};
use super::weighting::{LEARNED, Weighting};
use pulp::Arch;
use rustfft::num_complex::Complex;
use std::ops::Range;

/// Frames in a delay.
pub const FRAMES_PER_DELAY: u64 = 16;
/// Frames in a slot.
pub const FRAMES_PER_SLOT: u64 = 4;
/// Time from frame to frame, in seconds.
pub const FRAME: f64 = DELAY / FRAMES_PER_DELAY as f64;
/// Weights are made anew for one frame of so many: usually, and while every second frame is left out.
const WEIGHED: u64 = 2;
const WEIGHED_COARSELY: u64 = 4;
/// Slots after one of stretched audio in which more of it is expected: 2 s.
const STRETCHED: u64 = 50;
/// What has piled up while the weighting learned is worked off at so many times the speed of the audio, not at once: at
/// the widest search that would hold up a live stream for half a second.
const PACE: u64 = 4;
/// Slots in a row.
pub const SLOTS_PER_ROW: usize = 5;
/// Time that a slot lasts, in seconds.
pub const SLOT: f64 = DELAY * FRAMES_PER_SLOT as f64 / FRAMES_PER_DELAY as f64;
/// Magnitudes are raised to this power: phase counts, level hardly does. Better than phase alone on
/// speech and in noise, a little worse on clean audio (measured).
const COMPRESSION: f32 = 0.15;

/// A bin with its magnitude compressed, as the noise carrier is correlated; the programme carrier has [`Weighting`].
pub fn compress(y: Complex<f32>) -> Complex<f32> {
    let power = y.norm_sqr();
    if power > 1e-24 {
        y * power.powf(0.5 * (COMPRESSION - 1.0))
    } else {
        Complex::ZERO
    }
}

/// Sums of C(f) = Y(t) conj Y(t - 160 ms) over the frames of one slot, Y weighted.
pub struct Slot<'a> {
    /// Input frame, counted since the reset, at the middle of the window that is latest in the middle of the slot.
    pub middle: f64,
    /// Mean of the logarithm of the power, over the bins and those frames of the slot for which weights were made.
    pub loudness: f64,
    /// One sum for each bin of [`Correlator::bins`].
    pub sums: &'a [Complex<f32>],
    /// When what the sums are of did sound.
    pub sounding: Sounding,
    /// Playing speed, if it is not one of those that are searched but shows all the same.
    pub speed: f64,
}

/// Streaming self-correlation of one channel.
pub struct Correlator {
    arch: Arch,
    decimator: Decimator,
    /// Samples a second that are correlated.
    rate: f64,
    delay: u64,
    size: usize,
    bins: Range<usize>,
    forward: Forward,
    received: Timeline,
    weighting: Weighting,
    envelope: Envelope,
    /// Pieces that it has heard.
    pieces: u64,
    lags: LagFinder,
    /// Slots to come in which they are looked for, however strong the mark is.
    stretched: u64,
    weighted: Vec<Complex<f32>>,
    /// Weighted spectra of the latest delay, frame `k` at `k % FRAMES_PER_DELAY`.
    history: Vec<KeptFrame>,
    /// Which of them were not left out.
    heard: [bool; FRAMES_PER_DELAY as usize],
    sums: Vec<Complex<f32>>,
    /// Sum of the frames' loudness, and their number.
    loudness: (f64, f64),
    /// Sum of where the frames start whose products were added, and their number.
    starts: (f64, f64),
    next_frame: u64,
    in_slot: u64,
    /// Every second frame is left out: now, and from the next slot on.
    coarse: bool,
    coarse_next: bool,
    /// The weighting has heard the first frames.
    learned: bool,
    /// The audio has come to its end.
    finished: bool,
}

impl Correlator {
    /// A correlator for at most `block` frames at a time, whose bins reach `deviation` (a ratio) beyond the chips.
    pub fn new(sample_rate: u32, deviation: f64, block: usize) -> Self {
        let highest = CHIP_HIGH * (1.0 + deviation);
        let decimator = Decimator::new(sample_rate as f64, highest, block);
        let rate = sample_rate as f64 / decimator.factor() as f64;
        let delay = (DELAY * rate).round() as u64;
        let size = fast_size(WINDOW * rate);
        let bin = |hertz: f64| (hertz * size as f64 / rate) as usize;
        let first = bin(CHIP_LOW * (1.0 - deviation));
        let last = bin(highest) + 1;
        let bins = first..last.min(size / 2);
        let hertz = |bin: usize| bin as f64 * rate / size as f64;
        // What is learned from, with a block behind it, or with what is left at the end and the silence after it.
        let learned = (LEARNED * delay).div_ceil(FRAMES_PER_DELAY) as usize + size;
        let block = block / decimator.factor() as usize + 1;
        let most = block.max(decimator.left_at_end() + size / 2);
        let mut correlator = Correlator {
            arch: Arch::new(),
            decimator,
            rate,
            delay,
            size,
            forward: Forward::new(size),
            received: Timeline::tight(learned + most),
            weighting: Weighting::new(bins.clone().map(hertz), rate / size as f64),
            envelope: Envelope::new(),
            pieces: 0,
            lags: LagFinder::new(
                bins.clone(),
                rate / size as f64,
                DELAY - delay as f64 / rate,
                deviation,
            ),
            stretched: 0,
            weighted: vec![Complex::ZERO; bins.len()],
            history: vec![KeptFrame::new(bins.len()); FRAMES_PER_DELAY as usize],
            sums: vec![Complex::ZERO; bins.len()],
            heard: [false; FRAMES_PER_DELAY as usize],
            loudness: (0.0, 0.0),
            starts: (0.0, 0.0),
            next_frame: 0,
            in_slot: 0,
            coarse: false,
            coarse_next: false,
            learned: false,
            finished: false,
            bins,
        };
        correlator.reset();
        correlator
    }

    /// Forgets all audio.
    pub fn reset(&mut self) {
        self.decimator.reset();
        self.received.reset();
        self.weighting.reset();
        self.sums.fill(Complex::ZERO);
        (self.loudness, self.starts) = ((0.0, 0.0), (0.0, 0.0));
        self.envelope.reset();
        (self.next_frame, self.in_slot, self.pieces) = (0, 0, 0);
        self.heard.fill(false);
        (self.coarse, self.coarse_next) = (false, false);
        self.lags.reset();
        self.stretched = 0;
        (self.learned, self.finished) = (false, false);
        self.received.extend(self.padding());
    }

    /// Frames of silence before the first frame of audio and after the last, half a window each: the first window
    /// has its middle where the audio begins. An excerpt of 2 s has 7 % more evidence with them.
    fn padding(&self) -> usize {
        self.size / 2
    }

    /// Samples a second that are correlated: those of the audio, or a part of them.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Samples a transform and bins that the sums are of.
    pub fn bins(&self) -> (usize, Range<usize>) {
        (self.size, self.bins.clone())
    }

    /// Samples of the delay, which is 160 ms to the nearest.
    pub fn delay(&self) -> u64 {
        self.delay
    }

    /// Says whether half of the frames are enough, from the next slot on. The sums are as large as before, scores of a
    /// marked programme a few percent lower.
    pub fn set_coarse(&mut self, coarse: bool) {
        self.coarse_next = coarse;
    }

    /// Takes mixed audio and calls `slot` for each slot that it completes.
    pub fn push(&mut self, audio: &[f32], mut slot: impl FnMut(Slot)) {
        let samples = self.decimator.push(audio);
        self.received.extend(samples.len()).copy_from_slice(samples);
        if !self.is_there(LEARNED - 1) {
            return;
        }
        if !self.learned {
            self.learn();
        }
        let since = self.received.end() - self.start(LEARNED - 1) - self.size as u64;
        self.correlate(PACE * since, &mut slot);
    }

    /// Gives out all that is left, and what there is of a slot. A reset is to follow; to finish again does nothing.
    pub fn finish(&mut self, mut slot: impl FnMut(Slot)) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let samples = self.decimator.finish();
        self.received.extend(samples.len()).copy_from_slice(samples);
        self.received.extend(self.padding());
        if !self.learned {
            self.learn();
        }
        self.correlate(u64::MAX, &mut slot);
        if self.in_slot > 0 {
            self.end_slot(&mut slot);
        }
    }

    /// Whether all of frame `k` has been received.
    fn is_there(&self, k: u64) -> bool {
        self.start(k) + self.size as u64 <= self.received.end()
    }

    /// Lets the weighting hear the first frames.
    fn learn(&mut self) {
        let mut k = 0;
        while k < LEARNED && self.is_there(k) {
            let samples = self.received.range(self.start(k), self.size);
            let spectrum = self.forward.transform(samples);
            self.weighting.learn(&spectrum[self.bins.clone()], WEIGHED);
            k += WEIGHED;
        }
        self.weighting.end_learning();
        self.learned = true;
    }

    /// Correlates the frames that are there and begin at `until` at the latest.
    fn correlate(&mut self, until: u64, slot: &mut impl FnMut(Slot)) {
        while self.is_there(self.next_frame) && self.start(self.next_frame) <= until {
            self.correlate_frame();
            if self.in_slot == FRAMES_PER_SLOT {
                self.end_slot(slot);
            }
        }
        self.received.forget(self.start(self.next_frame));
    }

    /// Where frame `k` starts in what has been received, the silence before the audio included. Sixteen frames are one
    /// delay to the sample, at any rate.
    fn start(&self, k: u64) -> u64 {
        (2 * k * self.delay + FRAMES_PER_DELAY) / (2 * FRAMES_PER_DELAY)
    }

    fn correlate_frame(&mut self) {
        let k = self.next_frame;
        let place = |k: u64| (k % FRAMES_PER_DELAY) as usize;
        // Slots begin at multiples of their length, since a delay is one.
        if k.is_multiple_of(FRAMES_PER_SLOT) {
            self.coarse = self.coarse_next;
        }
        self.hear_pieces(k);
        let has_partner = k >= FRAMES_PER_DELAY && self.heard[place(k)];
        let left_out = self.coarse && !k.is_multiple_of(2);
        if !left_out {
            // An even frame stands for the next one, too, if that one is left out or has none to be compared with.
            let alone = self.coarse || !self.heard[place(k + 1)];
            let frames = if alone && k.is_multiple_of(2) {
                2.0
            } else {
                1.0
            };
            self.hear_frame(k, if has_partner { frames } else { 0.0 });
        }
        self.heard[place(k)] = !left_out;
        self.next_frame += 1;
        self.in_slot += (k >= FRAMES_PER_DELAY) as u64;
    }

    /// Lets the envelope have the pieces up to the last of frame `k`. The middle of the frame is where its sixth piece
    /// ends.
    fn hear_pieces(&mut self, k: u64) {
        let of_frame = OF_FRAME as u64;
        let first = (self.size as u64 - self.start(of_frame)) / 2;
        while self.pieces < k + of_frame {
            let [begin, end] = [self.pieces, self.pieces + 1].map(|k| first + self.start(k));
            let earlier = begin - ORDER as u64;
            let samples = self.received.range(earlier, (end - earlier) as usize);
            self.envelope.take(self.pieces, samples);
            self.pieces += 1;
        }
    }

    /// Weighs frame `k`, and adds its product with the one a delay earlier, which stands for so many `frames`.
    fn hear_frame(&mut self, k: u64, frames: f32) {
        let start = self.start(k);
        let samples = self.received.range(start, self.size);
        let spectrum = &self.forward.transform(samples)[self.bins.clone()];
        if frames > 0.0 {
            self.starts.0 += start as f64;
            self.starts.1 += 1.0;
            self.envelope.add(k, frames);
        }
        let apart = if self.coarse {
            WEIGHED_COARSELY
        } else {
            WEIGHED
        };
        if k.is_multiple_of(apart) {
            self.weighting.look(spectrum, apart);
            if k >= FRAMES_PER_DELAY {
                self.loudness.0 += self.weighting.loudness();
                self.loudness.1 += 1.0;
            }
        }
        self.weighting.weigh(spectrum, &mut self.weighted);
        let earlier = &mut self.history[(k % FRAMES_PER_DELAY) as usize];
        earlier.correlate(self.arch, &self.weighted, frames, &mut self.sums);
    }

    fn end_slot(&mut self, slot: &mut impl FnMut(Slot)) {
        let (starts, frames) = std::mem::take(&mut self.starts);
        let start = starts / frames.max(1.0);
        let middle = start + self.size as f64 / 2.0 - self.padding() as f64;
        let first = self.start((self.next_frame - 1) / FRAMES_PER_SLOT * FRAMES_PER_SLOT);
        let (loudness, frames) = std::mem::take(&mut self.loudness);
        // A mark that is strong without it needs no straightening, and that takes a tenth of all the work then.
        if !self.coarse || self.stretched > 0 {
            self.stretched = match self.lags.straighten(&mut self.sums) {
                true => STRETCHED,
                false => self.stretched.saturating_sub(1),
            };
        } else {
            self.lags.pass();
        }
        slot(Slot {
            middle: middle * self.decimator.factor() as f64,
            loudness: loudness / frames.max(1.0),
            sums: &self.sums,
            sounding: self.envelope.end_slot((start - first as f64) / self.rate),
            speed: self.lags.speed(),
        });
        self.sums.fill(Complex::ZERO);
        self.in_slot = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::CHIPS;
    use super::super::speeds::SpeedMap;
    use super::*;

    /// Noise plus itself `lag` seconds earlier, at `rate`.
    fn echo(rate: u32, lag: f64, gain: f32) -> Vec<f32> {
        let lag = (lag * rate as f64).round() as usize;
        let mut state = 1u32;
        let noise: Vec<f32> = (0..2 * rate as usize)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect();
        (0..noise.len())
            .map(|i| noise[i] + if i >= lag { gain * noise[i - lag] } else { 0.0 })
            .collect()
    }

    fn mean_correlation(rate: u32, audio: &[f32], speed: f64) -> f32 {
        let mut correlator = Correlator::new(rate, 0.01, audio.len());
        let map = SpeedMap::new(speed, &correlator);
        let mut chips = [0.0; CHIPS];
        let (mut sum, mut size) = (0.0, 0.0);
        correlator.push(audio, |slot| {
            map.chips(slot.sums, &mut chips);
            sum += chips.iter().sum::<f32>();
            size += slot.sums.iter().map(|c| c.norm()).sum::<f32>();
        });
        sum / size
    }

    #[test]
    fn an_echo_of_one_delay_correlates_with_its_sign() {
        for rate in [16_000, 44_100] {
            assert!(mean_correlation(rate, &echo(rate, DELAY, 0.5), 1.0) > 0.3);
            assert!(mean_correlation(rate, &echo(rate, DELAY, -0.5), 1.0) < -0.3);
            assert!(mean_correlation(rate, &echo(rate, 0.2, 0.5), 1.0).abs() < 0.1);
        }
    }

    #[test]
    fn ten_times_the_level_is_twenty_decibels_louder() {
        let loudness = |level: f32| {
            let audio = echo(16_000, DELAY, 0.0)
                .iter()
                .map(|x| level * x)
                .collect::<Vec<_>>();
            let mut correlator = Correlator::new(16_000, 0.0, audio.len());
            let mut of_slots = Vec::new();
            correlator.push(&audio, |slot| of_slots.push(slot.loudness));
            of_slots
        };
        for (soft, loud) in loudness(0.01).into_iter().zip(loudness(0.1)) {
            assert!(
                (loud - soft - 100f64.ln()).abs() < 1e-3,
                "{loud} after {soft}"
            );
        }
    }

    #[test]
    fn the_ramp_follows_the_speed() {
        let rate = 48_000;
        let audio = echo(rate, DELAY / 1.005, 0.5);
        assert!(mean_correlation(rate, &audio, 1.005) > 0.3);
        assert!(mean_correlation(rate, &audio, 1.0) < 0.15);
    }

    /// From one delay after the beginning to the end, give or take a frame, whether it lasts for more or for less than
    /// what is learned from.
    #[test]
    fn no_audio_is_left_out_at_either_end() {
        for (rate, seconds) in [(16_000, 0.5), (44_100, 2.0)] {
            let audio = vec![0.1; (rate as f64 * seconds) as usize];
            let mut correlator = Correlator::new(rate, 0.0, audio.len());
            let mut middles = Vec::new();
            let mut take = |slot: Slot| middles.push(slot.middle / rate as f64);
            correlator.push(&audio, &mut take);
            // Only the first time counts.
            correlator.finish(&mut take);
            correlator.finish(&mut take);
            assert!((middles[0] - DELAY - 0.5 * (SLOT - FRAME)).abs() < 1e-3);
            let frames = ((seconds - DELAY) / FRAME).floor() + 1.0;
            assert_eq!(middles.len(), (frames / 4.0).ceil() as usize, "{middles:?}");
            let last = middles[middles.len() - 1];
            assert!((seconds - SLOT..=seconds).contains(&last), "{last}");
        }
    }

    /// Slots come at the same times, and correlate as much, also where half of the frames have nothing to be compared
    /// with.
    #[test]
    fn half_of_the_frames_say_nearly_the_same() {
        let (rate, block) = (16_000, 160);
        let audio = echo(rate, DELAY, 0.5);
        let slots = |coarse: fn(usize) -> bool| {
            let mut correlator = Correlator::new(rate, 0.0, block);
            let map = SpeedMap::new(1.0, &correlator);
            let (mut middles, mut sums) = (Vec::new(), Vec::new());
            for (i, piece) in audio.chunks(block).enumerate() {
                correlator.set_coarse(coarse(i));
                correlator.push(piece, |slot| {
                    let mut chips = [0.0; CHIPS];
                    map.chips(slot.sums, &mut chips);
                    middles.push(slot.middle);
                    sums.push(chips.iter().sum::<f32>());
                });
            }
            (middles, sums)
        };
        let (all, of_all) = slots(|_| false);
        let patterns: [fn(usize) -> bool; 2] = [|_| true, |i| i % 40 < 20];
        for coarse in patterns {
            let (some, of_some) = slots(coarse);
            assert_eq!(all.len(), some.len());
            for (some, all) in some.iter().zip(&all) {
                // A slot of which the first and the third frame count has its middle half a frame earlier.
                let earlier = (all - some) / rate as f64 / FRAME;
                assert!([0.0, 0.5].contains(&earlier), "{earlier} frames");
            }
            assert_ne!(of_all, of_some);
            for (some, all) in of_some.iter().zip(&of_all) {
                assert!((some / all - 1.0).abs() < 0.4, "{some} instead of {all}");
            }
            let (some, all) = (of_some.iter().sum::<f32>(), of_all.iter().sum::<f32>());
            assert!((some / all - 1.0).abs() < 0.03, "{some} instead of {all}");
        }
    }

    #[test]
    fn what_piled_up_is_worked_off_bit_by_bit() {
        let (rate, block) = (16_000, 160);
        let audio = vec![0.1; 2 * rate as usize];
        let mut correlator = Correlator::new(rate, 0.0, block);
        let (mut most, mut all) = (0, 0);
        for piece in audio.chunks(block) {
            let before = correlator.next_frame;
            correlator.push(piece, |_| all += 1);
            most = most.max(correlator.next_frame - before);
        }
        // Five times the speed of the audio at most, whatever the pace is.
        assert!(most <= 5, "{most} frames at once");
        // 1.92 s of windows, less one delay.
        assert_eq!(all, 44);
    }

    #[test]
    fn a_slot_is_the_same_however_the_audio_is_cut() {
        let audio = echo(16_000, DELAY, 0.3);
        let slots = |cut: usize| {
            let mut correlator = Correlator::new(16_000, 0.0, cut);
            let mut all = Vec::new();
            for piece in audio.chunks(cut) {
                correlator.push(piece, |slot| all.push((slot.middle, slot.sums.to_vec())));
            }
            all
        };
        assert!(slots(1000) == slots(77));
    }
}
