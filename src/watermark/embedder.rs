// SPDX-License-Identifier: MIT OR Apache-2.0
//! From programme to mark.

use super::carrier::CarrierStage;
use super::downmix::Downmix;
use super::format::{
    CHIP_HIGH, CHIP_LOW, Carrier, ConfigError, RowClock, check_carrier, check_stream,
};
use super::key::Key;
use super::masking::Masking;
use super::modulation::Modulation;
use super::payload::Payload;
use super::spectrum::{Forward, Inverse, Timeline, clean, fast_size};
use rustfft::num_complex::Complex;
use std::collections::VecDeque;

/// Length of a shaping frame, in seconds: short, so that the mark does not spread ahead of attacks.
const SHAPING_WINDOW: f64 = 1024.0 / 48_000.0;

/// What an [`Embedder`] works on.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbedderConfig {
    /// Frames a second, 8 000 to 192 000.
    pub sample_rate: u32,
    /// Channels, 1 to 64.
    pub channels: usize,
    /// Channels that stay as they are (low-frequency effects), as a bit mask, bit 0 the first one.
    pub unmarked_channels: u64,
    /// What is added.
    pub carrier: Carrier,
    /// Correlate with the programme 160 ms later too: stronger by a third, 288 ms more latency.
    pub lookahead: bool,
    /// What counts the rows.
    pub row_clock: RowClock,
}

/// Makes the mark for a stream of audio. The caller adds it to the programme, delayed by [`Embedder::latency`].
///
/// ```
/// use gstwm::watermark::{Carrier, Embedder, EmbedderConfig, Key, RowClock};
/// let config = EmbedderConfig {
///     sample_rate: 48_000,
///     channels: 2,
///     unmarked_channels: 0,
///     carrier: Carrier::Programme,
///     lookahead: true,
///     row_clock: RowClock::Stream,
/// };
/// let mut embedder = Embedder::new(&config, &Key::parse("a passphrase")?)?;
/// let programme = [0.0; 2 * 480];
/// let mut mark = [0.0; 2 * 480];
/// embedder.process(&programme, &mut mark);
/// // Frame k of the mark belongs to frame k - latency of the programme.
/// assert_eq!(embedder.latency(), 1024 + 7680 + 6144);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Embedder {
    channels: usize,
    latency: usize,
    downmix: Downmix,
    mix: Vec<f32>,
    carrier: CarrierStage,
    forward: Forward,
    inverse: Inverse,
    /// Spectrum of the carrier in the present shaping frame, marked bins only.
    carrier_bins: Vec<Complex<f32>>,
    /// Gain at strength 0: brings a level of 0 dB to the threshold.
    unit: f32,
    amplitudes: Vec<f32>,
    lanes: Vec<Lane>,
    hop: usize,
    next_frame: u64,
    pushed: u64,
    pulled: u64,
    strength: f32,
    enabled: bool,
    /// What is to be done in each shaping frame that is still to come, oldest first.
    shapings: VecDeque<Shaping>,
}

/// What was so in the programme at the middle of a shaping frame, some 0.3 s before that is made.
struct Shaping {
    gain: f32,
    /// Channels whose polarity the mix turned, as a bit mask.
    turned: u64,
}

/// What each channel has for itself.
struct Lane {
    marked: bool,
    programme: Timeline,
    mark: Timeline,
    masking: Masking,
}

impl Embedder {
    /// Checks the settings and allocates all that [`Embedder::process`] needs.
    ///
    /// # Errors
    /// A sample rate or a number of channels out of range, or settings that do not go together.
    pub fn new(config: &EmbedderConfig, key: &Key) -> Result<Self, ConfigError> {
        check_stream(config.sample_rate, config.channels)?;
        check_carrier(config.carrier, config.row_clock)?;
        let rate = config.sample_rate as f64;
        let size = fast_size(SHAPING_WINDOW * rate);
        let hop = size / 2;
        let carrier = CarrierStage::new(
            config.carrier,
            config.lookahead,
            Modulation::new(key, config.row_clock),
            config.sample_rate,
            hop,
            2 * size,
        );
        let hertz = |bin: usize| bin as f64 * rate / size as f64;
        let marked: Vec<usize> = (1..size / 2)
            .filter(|&b| (CHIP_LOW..=CHIP_HIGH).contains(&hertz(b)))
            .collect();
        let bins = marked[0]..marked[marked.len() - 1] + 1;
        let unit = 1.0 / carrier.bin_power(size).sqrt();
        let latency = size + carrier.lookahead();
        let keep = latency + 2 * size;
        let lane = |c| Lane {
            marked: config.unmarked_channels >> c & 1 == 0,
            programme: Timeline::new(keep),
            mark: Timeline::new(keep),
            masking: Masking::new(size, config.sample_rate, bins.clone()),
        };
        Ok(Embedder {
            channels: config.channels,
            latency,
            downmix: Downmix::new(config.sample_rate, config.channels),
            mix: vec![0.0; hop],
            carrier,
            forward: Forward::new(size),
            inverse: Inverse::new(size),
            carrier_bins: vec![Complex::ZERO; bins.len()],
            unit,
            amplitudes: vec![0.0; bins.len()],
            lanes: (0..config.channels).map(lane).collect(),
            hop,
            next_frame: 0,
            pushed: 0,
            pulled: 0,
            strength: 1.0,
            enabled: true,
            shapings: VecDeque::with_capacity(latency / hop + 4),
        })
    }

    /// Frames by which the mark comes later than the programme that it belongs to.
    pub fn latency(&self) -> usize {
        self.latency
    }

    /// Strength of the mark in decibels around the default of 0, from the next input frame on.
    pub fn set_strength(&mut self, decibels: f64) {
        self.strength = 10f64.powf(decibels / 20.0) as f32;
    }

    /// Switches the mark on and off, without a click, from the next input frame on.
    pub fn set_enabled(&mut self, enabled: bool) {
        self.enabled = enabled;
    }

    /// What messages say that have not begun when the next input frame comes: `None` leaves all chips to presence.
    /// With [`Carrier::Noise`] there are no messages, and nothing changes.
    pub fn set_payload(&mut self, payload: Option<Payload>) {
        self.carrier.set_payload(payload);
    }

    /// The latest change of the payload, unless it has been taken already: the input frame from which on the mark says
    /// something else, counted since [`Embedder::reset`], and what it says. The start of the stream is one if the mark
    /// says something there, unless it said the same before.
    pub fn take_payload_change(&mut self) -> Option<(u64, Option<Payload>)> {
        let (frame, change) = self.carrier.take_payload_change()?;
        Some((frame, change.payload))
    }

    /// Forgets all audio. The next input frame is at `nanoseconds` of the row clock. Strength, switch and payload stay.
    pub fn reset(&mut self, nanoseconds: u64) {
        self.downmix.reset();
        self.carrier.reset(nanoseconds);
        for lane in &mut self.lanes {
            lane.programme.reset();
            lane.mark.reset();
            lane.masking.reset();
        }
        self.shapings.clear();
        (self.next_frame, self.pushed, self.pulled) = (0, 0, 0);
    }

    /// Takes interleaved frames and writes as many interleaved frames of the mark: frame `k` of all output
    /// since [`Embedder::reset`] belongs to input frame `k - latency`. Both slices have the same length, a
    /// multiple of the number of channels. Samples that are not finite count as 0.
    pub fn process(&mut self, input: &[f32], mark: &mut [f32]) {
        debug_assert_eq!(input.len(), mark.len());
        debug_assert_eq!(input.len() % self.channels, 0);
        let block = self.hop * self.channels;
        for (input, mark) in input.chunks(block).zip(mark.chunks_mut(block)) {
            self.push(input);
            while self.shape_frame() {}
            self.pull(mark);
        }
    }

    fn push(&mut self, input: &[f32]) {
        let frames = input.len() / self.channels;
        if frames == 0 {
            return;
        }
        for (c, lane) in self
            .lanes
            .iter_mut()
            .enumerate()
            .filter(|(_, lane)| lane.marked)
        {
            let new = lane.programme.extend(frames);
            for (sample, frame) in new.iter_mut().zip(input.chunks_exact(self.channels)) {
                *sample = clean(frame[c]);
            }
        }
        let mix = &mut self.mix[..frames];
        self.downmix.mix(input, mix);
        self.carrier.push(mix);
        // The middle of shaping frame i is at frame (i + 1) * hop: what holds there counts.
        let hop = self.hop as u64;
        let middles = (self.pushed + frames as u64 - 1) / hop - self.pushed.saturating_sub(1) / hop;
        let gain = if self.enabled { self.strength } else { 0.0 };
        let turned = self.downmix.turned();
        let shapings = (0..middles).map(|_| Shaping { gain, turned });
        self.shapings.extend(shapings);
        self.pushed += frames as u64;
    }

    /// Adds the next shaping frame to the mark, if programme and carrier have come that far.
    fn shape_frame(&mut self) -> bool {
        let (size, at) = (2 * self.hop, self.next_frame * self.hop as u64);
        if self.pushed.min(self.carrier.end()) < at + size as u64 {
            return false;
        }
        let Some(Shaping { gain, turned }) = self.shapings.pop_front() else {
            return false;
        };
        self.next_frame += 1;
        let bins = {
            let first = self.lanes[0].masking.first_bin();
            first..first + self.amplitudes.len()
        };
        if gain > 0.0 {
            let spectrum = self.forward.transform(self.carrier.range(at, size));
            self.carrier_bins.copy_from_slice(&spectrum[bins.clone()]);
        }
        let lanes = self.lanes.iter_mut().enumerate();
        for (c, lane) in lanes.filter(|(_, lane)| lane.marked) {
            let programme = lane.programme.range(at, size);
            // Digital silence stays digital silence, although the carrier may hold what comes later.
            let silent = programme.iter().all(|&sample| sample == 0.0);
            lane.masking
                .amplitudes(self.forward.transform(programme), &mut self.amplitudes);
            let end = lane.mark.end();
            lane.mark.extend((at + size as u64 - end) as usize);
            if gain == 0.0 || silent {
                continue;
            }
            let polarity = if turned >> c & 1 == 1 { -1.0 } else { 1.0 };
            let gain = gain * polarity * self.unit;
            self.inverse.add_to(lane.mark.range_mut(at, size), |out| {
                let carrier = self.carrier_bins.iter().zip(&self.amplitudes);
                for (u, (c, a)) in out[bins.clone()].iter_mut().zip(carrier) {
                    *u = c * (gain * a);
                }
            });
        }
        true
    }

    fn pull(&mut self, mark: &mut [f32]) {
        let latency = self.latency as u64;
        for (i, frame) in mark.chunks_exact_mut(self.channels).enumerate() {
            let k = self.pulled + i as u64;
            for (sample, lane) in frame.iter_mut().zip(&self.lanes) {
                *sample = if k < latency || !lane.marked {
                    0.0
                } else {
                    lane.mark.range(k - latency, 1)[0]
                };
            }
        }
        self.pulled += (mark.len() / self.channels) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watermark::testing::{RATE, soft_noise};

    /// The mark of a channel has the polarity that the channel has in the mix there, though the mix goes ahead of it.
    #[test]
    fn the_mark_has_the_polarity_of_its_own_moment() {
        let config = EmbedderConfig {
            sample_rate: RATE as u32,
            channels: 2,
            unmarked_channels: 0,
            carrier: Carrier::Programme,
            lookahead: true,
            row_clock: RowClock::Stream,
        };
        let mut embedder = Embedder::new(&config, &Key::from_bytes([4; 32])).unwrap();
        let same_from = 6 * RATE;
        let frames = soft_noise(8, 1).into_iter().enumerate();
        let programme: Vec<f32> = frames
            .flat_map(|(i, x)| [x, if i < same_from { -x } else { x }])
            .collect();
        let mut mark = vec![0.0; programme.len()];
        embedder.process(&programme, &mut mark);
        let mark = &mark[embedder.latency() * 2..];
        let opposite = |seconds: std::ops::Range<f64>| {
            let [from, to] = [seconds.start, seconds.end].map(|s| (s * RATE as f64) as usize);
            let frames = mark[2 * from..2 * to].as_chunks::<2>().0;
            let [product, power] = frames.iter().fold([0.0; 2], |[product, power], [l, r]| {
                [product + l * r, power + l * l]
            });
            assert!(power > 0.0);
            product < -0.9 * power
        };
        for tenth in 20..59 {
            let at = f64::from(tenth) * 0.1;
            assert!(opposite(at..at + 0.1), "{at} s");
        }
        assert!(!opposite(6.5..7.5));
    }
}
