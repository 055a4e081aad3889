// SPDX-License-Identifier: MIT OR Apache-2.0
//! The waveform that is added, before it is given its level.
//!
//! What the detector will measure is Re<Y(t), Y(t - 160 ms)>, chip by chip. So at time t the carrier
//! holds the fine structure of the programme at t - 160 ms times the sign of the row at t, and the fine
//! structure of the programme at t + 160 ms times the sign of the row at t + 160 ms: then y(t)
//! correlates with both neighbours, and the score grows linearly with the level of the mark.
//!
//! Frames of 128 ms start every 64 ms, at `round(k * 2 * 160 ms / 5)`. Two delays are five hops, so the later partner
//! of one frame is the earlier partner of the fifth next, and each frame of programme is transformed only once. Where
//! 160 ms are no whole number of samples (sample rates that are no multiple of 25), the phases of partner and frame are
//! turned by what their starts were rounded by: at 6.5 kHz half a sample of 16 kHz would be a fifth of a period.
//!
//! Signs change where a row ends, in the midst of a frame. So a frame has the signs that it begins with, and the chips
//! whose sign changes are added once more, from there on, with twice the other sign ([`super::course`]).

use super::course::{Course, rise};
use super::density::Density;
use super::format::{CHIPS, Carrier as Kind, DELAY, ROW_NANOSECONDS, ROWS, WINDOW, chip_of};
use super::levels::Levels;
use super::modulation::{Modulation, PayloadChange};
use super::payload::Payload;
use super::spectrum::{Forward, Inverse, Timeline, fast_size};
use rustfft::num_complex::Complex;
use std::ops::Range;

/// Hops in two delays, and partners that are kept: from that of what is earlier to that of what comes later.
const HOPS: u64 = 5;
const PARTNERS: u64 = HOPS + 1;
/// A partner is worth little below this share of the programme's mean power: it would drown in the
/// noise of the room (a pink floor 15 dB below the programme).
const PARTNER_FLOOR: f32 = 0.03;
/// Bins over which the power of a partner is averaged, on either side (31 Hz).
const POWER_REACH: usize = 4;
/// Mean power of a bin of the carrier's frames: two copies of unit magnitude, or one of the same power. Partners are
/// whitened in part only, which makes it less, by 0.5 dB where the programme is noise and by up to 5 dB where it is
/// tones; the levels in [`super::levels`] were measured with that.
const PROGRAMME_POWER: f64 = 2.0;
const NOISE_POWER: f64 = 1.0;
/// Neighbouring frames hold nearly the same phases, so their overlap adds up to more than the windows
/// say, but where signs change. Measured on music and speech.
const OVERLAP_GAIN: f64 = 1.35;
/// The same for the noise block, which is whitened anew in each frame. Measured over 20 s.
const NOISE_OVERLAP_GAIN: f64 = 1.5;

/// One frame of programme as a partner: fine structure times weight, and the weight, for the bins of all chips.
struct Partner {
    copy: Vec<Complex<f32>>,
    weight: Vec<f32>,
}

/// Streaming carrier. Frames are numbered from 0 at the last reset.
pub struct CarrierStage {
    kind: Kind,
    lookahead: bool,
    modulation: Modulation,
    rate: u64,
    delay: u64,
    size: usize,
    /// Bins of all chips, and the chip of each.
    bins: Range<usize>,
    chip_of_bin: Vec<u8>,
    /// Pink floor of each bin for a mean power of 1.
    floor: Vec<f32>,
    forward: Forward,
    inverse: Inverse,
    /// How a change of signs comes in.
    rise: Vec<f32>,
    programme: Timeline,
    output: Timeline,
    /// The latest partners: the one a delay behind frame `k` is also the one a delay before frame `k + HOPS`, by which
    /// number it has its place ([`place_of`]).
    partners: Vec<Partner>,
    power: Vec<f32>,
    levels: Levels,
    density: Density,
    /// Amplitude of each bin of the present frame.
    amplitude: Vec<f32>,
    noise_block: Vec<f32>,
    noise_frame: Vec<f32>,
    /// Unix or stream time of frame 0, in nanoseconds.
    start: u64,
    /// Frames of silence before frame 0: `programme` and `output` begin with them.
    ahead: u64,
    next_frame: u64,
    next_partner: i64,
}

impl CarrierStage {
    /// A carrier that reads at most `block` frames at a time and is read at most `reach` frames behind its end.
    pub fn new(
        kind: Kind,
        lookahead: bool,
        modulation: Modulation,
        sample_rate: u32,
        block: usize,
        reach: usize,
    ) -> Self {
        let rate = sample_rate as f64;
        let delay = (DELAY * rate).round() as usize;
        let size = fast_size(WINDOW * rate);
        let hertz = |bin: usize| bin as f64 * rate / size as f64;
        // The last bin of a real transform has no phase, so it carries nothing.
        let inside: Vec<usize> = (0..size / 2)
            .filter(|&bin| chip_of(hertz(bin)).is_some())
            .collect();
        let bins = inside[0]..inside[inside.len() - 1] + 1;
        let mean_inverse = bins.clone().map(|b| 1.0 / hertz(b)).sum::<f64>() / bins.len() as f64;
        let n = bins.len();
        let partner = || Partner {
            copy: vec![Complex::ZERO; n],
            weight: vec![0.0; n],
        };
        let ahead = 2 * delay / HOPS as usize + 1;
        let levels = Levels::new(bins.clone().map(hertz));
        let mut stage = CarrierStage {
            kind,
            lookahead,
            modulation,
            rate: sample_rate as u64,
            delay: delay as u64,
            size,
            chip_of_bin: bins
                .clone()
                .filter_map(|b| chip_of(hertz(b)))
                .map(|c| c as u8)
                .collect(),
            floor: bins
                .clone()
                .map(|b| PARTNER_FLOOR * (1.0 / hertz(b) / mean_inverse) as f32)
                .collect(),
            bins,
            forward: Forward::new(size),
            inverse: Inverse::new(size),
            rise: rise(sample_rate),
            programme: Timeline::new(2 * delay + 2 * size + block + ahead + 4),
            output: Timeline::new(reach + 2 * size + delay + ahead + 4),
            partners: (0..PARTNERS).map(|_| partner()).collect(),
            power: vec![0.0; n],
            levels,
            density: Density::new(size),
            amplitude: vec![0.0; n],
            noise_block: noise_block(delay),
            noise_frame: vec![0.0; size],
            start: 0,
            ahead: 0,
            next_frame: 0,
            next_partner: 0,
        };
        stage.reset(0);
        stage
    }

    /// Forgets all audio; the next frame is at `start` nanoseconds of the row clock.
    pub fn reset(&mut self, start: u64) {
        self.programme.reset();
        self.output.reset();
        self.modulation.reset(start);
        for partner in &mut self.partners {
            partner.copy.fill(Complex::ZERO);
            partner.weight.fill(0.0);
        }
        self.density.reset();
        self.start = start;
        self.ahead = 0;
        self.next_frame = 0;
        // Partner k starts one delay after frame k: the first two of negative number lie within the stream.
        self.next_partner = -2;
        if self.kind == Kind::Programme {
            // The programme begins where two frames overlap. If the carrier came in with the first frame, what is heard
            // of the first row would be about a later moment, and times of `found` would be up to 16 ms late.
            self.ahead = self.frame_start(1) as u64;
        }
        self.programme.extend(self.ahead as usize);
    }

    /// Frames of programme that must follow before the carrier is known at a frame.
    pub fn lookahead(&self) -> usize {
        if self.kind == Kind::Programme && self.lookahead {
            // The start of a partner may be rounded up where that of its frame is rounded down.
            self.delay as usize + self.size + usize::from(!self.is_whole())
        } else {
            0
        }
    }

    /// Mean power of a bin whose level is 0 dB when the carrier is transformed in windowed frames of `size` samples.
    pub fn bin_power(&self, size: usize) -> f32 {
        let power = match self.kind {
            Kind::Programme => PROGRAMME_POWER * OVERLAP_GAIN,
            Kind::Noise => NOISE_POWER * NOISE_OVERLAP_GAIN,
        };
        (0.5 * power * size as f64 / self.size as f64) as f32
    }

    /// Takes mixed programme; the carrier grows as far as it allows.
    pub fn push(&mut self, programme: &[f32]) {
        self.programme
            .extend(programme.len())
            .copy_from_slice(programme);
        loop {
            let done = match self.kind {
                Kind::Programme => self.programme_frame(),
                Kind::Noise => self.noise_frame(),
            };
            if !done {
                break;
            }
        }
    }

    /// Number of frames of carrier that are final.
    pub fn end(&self) -> u64 {
        (self.frame_start(self.next_frame as i64) as u64).saturating_sub(self.ahead)
    }

    /// `n` frames of carrier from number `from` on; all must be final.
    pub fn range(&self, from: u64, n: usize) -> &[f32] {
        self.output.range(from + self.ahead, n)
    }

    /// Where carrier frame `k` starts, the silence before frame 0 included.
    fn frame_start(&self, k: i64) -> i64 {
        self.half_hops(2 * k).0
    }

    /// Where partner `k` starts, counted like that: one delay after frame `k`.
    fn partner_start(&self, k: i64) -> i64 {
        self.half_hops(2 * k + HOPS as i64).0
    }

    /// The sample that is nearest to so many times 32 ms, and by how many samples it is late.
    fn half_hops(&self, n: i64) -> (i64, f64) {
        let samples = n as i128 * 4 * self.rate as i128;
        let start = (2 * samples + 125).div_euclid(250);
        let late = (start * 125 - samples) as f64 / 125.0;
        (start as i64, late)
    }

    /// Whether a delay is a whole number of samples.
    fn is_whole(&self) -> bool {
        self.rate.is_multiple_of(25)
    }

    /// Row clock at sample `at`, counted like that, in nanoseconds.
    fn clock(&self, at: u64) -> i128 {
        // 64 bits would overflow after four days at 48 kHz.
        let samples = at as i128 - self.ahead as i128;
        self.start as i128 + samples * 1_000_000_000 / self.rate as i128
    }

    /// Signs in the course of the transform that starts at `start`, counted like that.
    fn course(&mut self, start: u64) -> Course {
        let time = self.clock(start)..self.clock(start + self.size as u64);
        Course::new(time, self.start, self.rate, &mut self.modulation)
    }

    /// What messages that have not begun are to say; with [`Kind::Noise`] there are none.
    pub fn set_payload(&mut self, payload: Option<Payload>) {
        self.modulation.set_payload(payload);
    }

    /// The latest change of the payload in the carrier made so far, unless it has been taken already, and the frame of
    /// programme that it begins at.
    pub fn take_payload_change(&mut self) -> Option<(u64, PayloadChange)> {
        let change = self.modulation.take_change()?;
        let nanoseconds = change.at.saturating_sub(self.start) as u128;
        let frame = (nanoseconds * self.rate as u128).div_ceil(1_000_000_000);
        Some((frame as u64, change))
    }

    /// Makes the next frame of the programme carrier, if all that it needs is there.
    fn programme_frame(&mut self) -> bool {
        let at = self.frame_start(self.next_frame as i64) as u64;
        let k = self.next_frame as i64;
        let newest = if self.lookahead { k } else { k - HOPS as i64 };
        while self.next_partner <= newest {
            if !self.take_partner() {
                return false;
            }
        }
        // One-sided, the partner may be ready long before the programme gets here: keep in step with it.
        if at >= self.programme.end() {
            return false;
        }
        let courses = [
            Some(self.course(at)),
            self.lookahead.then(|| self.course(at + self.delay)),
        ];
        self.take_amplitudes();
        grow(&mut self.output, at, self.size);
        let signs = |course: &Option<Course>| course.as_ref().map(|course| course.signs);
        self.add_copies(courses.each_ref().map(signs), None);
        for (copy, course) in courses.iter().enumerate() {
            if let Some((from, change)) = course.as_ref().and_then(|course| course.change) {
                let mut changes = [None; 2];
                changes[copy] = Some(change);
                self.add_copies(changes, Some(from));
            }
        }
        self.next_frame += 1;
        true
    }

    /// The amplitudes of the next frame: of the same power, whatever its partners are worth.
    fn take_amplitudes(&mut self) {
        let (steady, raised) = (self.density.steady_share(), self.density.raised());
        self.levels.amplitudes(steady, raised, &mut self.amplitude);
        let k = self.next_frame as i64;
        let [earlier, later] = [k, k + HOPS as i64].map(|k| &self.partners[place_of(k)].weight);
        for (i, amplitude) in self.amplitude.iter_mut().enumerate() {
            let mut squares = earlier[i].powi(2);
            if self.lookahead {
                squares += later[i].powi(2);
            }
            *amplitude /= (0.5 * squares).sqrt() + 1e-3;
        }
    }

    /// Adds both partners of the next frame to the output, each times what is given for each chip, if anything is; as a
    /// whole, or as what rises from a sample of the frame on.
    fn add_copies(&mut self, factors: [Option<[f32; CHIPS]>; 2], from: Option<isize>) {
        let k = self.next_frame as i64;
        let at = self.frame_start(k) as u64;
        let late = self.half_hops(2 * k).1;
        let (whole, size) = (self.is_whole(), self.size);
        let (bins, chip_of_bin, amplitude) =
            (self.bins.clone(), &self.chip_of_bin, &self.amplitude);
        let partners = [k, k + HOPS as i64].map(|k| &self.partners[place_of(k)].copy);
        let sum = self.output.range_mut(at, size);
        let fill = |spectrum: &mut [Complex<f32>]| {
            let spectrum = &mut spectrum[bins.clone()];
            for (partner, factors) in partners.into_iter().zip(factors) {
                let Some(factors) = factors else { continue };
                let of_bins = partner.iter().zip(amplitude).zip(chip_of_bin);
                for (u, ((copy, amplitude), chip)) in spectrum.iter_mut().zip(of_bins) {
                    *u += copy * (factors[*chip as usize] * amplitude);
                }
            }
            if !whole {
                advance(spectrum, bins.start, late / size as f64);
            }
        };
        match from {
            None => self.inverse.add_to(sum, fill),
            Some(from) => self.inverse.add_rising(sum, from, &self.rise, fill),
        }
    }

    /// Transforms the next partner, if the programme has come that far.
    fn take_partner(&mut self) -> bool {
        let start = self.partner_start(self.next_partner) as u64;
        if start + self.size as u64 > self.programme.end() {
            return false;
        }
        let frame = self
            .forward
            .transform(self.programme.range(start, self.size));
        let frame = &frame[self.bins.clone()];
        smooth_power(frame, &mut self.power);
        let mean = frame.iter().map(|f| f.norm_sqr()).sum::<f32>() / frame.len() as f32;
        // What is not whole, because it reaches before the programme, says nothing of how loud that is.
        let counts = start >= self.ahead && self.density.take_power(mean);
        let mean_power = self.density.mean_power();
        let place = place_of(self.next_partner + HOPS as i64);
        let partner = &mut self.partners[place];
        let mut weights = 0.0;
        for (i, f) in frame.iter().enumerate() {
            let weight = self.power[i] / (self.power[i] + self.floor[i] * mean_power + 1e-12);
            partner.weight[i] = weight;
            let whitened = weight / (f.norm() + 1e-7);
            // What is left of the fine structure: the root of how far the bin stands above its neighbourhood.
            let left = (f.norm_sqr() / (self.power[i] + 1e-12)).sqrt().sqrt();
            partner.copy[i] = f * (whitened * left);
            weights += weight;
        }
        if counts {
            self.density.take_weight(weights / frame.len() as f32);
        }
        if !self.is_whole() {
            let late = self.half_hops(2 * self.next_partner + HOPS as i64).1;
            let copy = &mut self.partners[place].copy;
            advance(copy, self.bins.start, -late / self.size as f64);
        }
        self.next_partner += 1;
        true
    }

    /// Makes the next frame of the noise carrier: the noise block, inverted chip by chip.
    fn noise_frame(&mut self) -> bool {
        let at = self.frame_start(self.next_frame as i64) as u64;
        if at >= self.programme.end() {
            return false;
        }
        let delay = self.noise_block.len();
        for (i, sample) in self.noise_frame.iter_mut().enumerate() {
            *sample = self.noise_block[(at as usize + i) % delay];
        }
        // The signs repeat after so many blocks; without that, the product would overflow late in stream time.
        let middle = self.clock(at + self.size as u64 / 2);
        let block = middle / NOISE_BLOCK_NANOSECONDS as i128 % ROWS as i128;
        let signs = self.modulation.plain(block as u64 * ROW_NANOSECONDS);
        self.levels.amplitudes(0.0, 1.0, &mut self.amplitude);
        let frame = self.forward.transform(&self.noise_frame);
        let frame = &frame[self.bins.clone()];
        grow(&mut self.output, at, self.size);
        let sum = self.output.range_mut(at, self.size);
        let (bins, chip_of_bin) = (self.bins.clone(), &self.chip_of_bin);
        self.inverse.add_to(sum, |spectrum| {
            let of_bins = frame.iter().zip(chip_of_bin).zip(&self.amplitude);
            for (u, ((f, chip), amplitude)) in spectrum[bins].iter_mut().zip(of_bins) {
                *u = f * (signs[*chip as usize] * amplitude / (f.norm() + 1e-9));
            }
        });
        self.next_frame += 1;
        true
    }
}

/// Time of a block of the noise carrier: one delay.
const NOISE_BLOCK_NANOSECONDS: u64 = (DELAY * 1e9) as u64;
const _: () = assert!(ROWS == 1024 && NOISE_BLOCK_NANOSECONDS == 160_000_000);

/// The place of the partner that is a delay before frame `k`.
fn place_of(k: i64) -> usize {
    k.rem_euclid(PARTNERS as i64) as usize
}

/// Moves what these bins, from bin `first` on, are the transform of to an earlier time, by a share of the size of the
/// transform.
fn advance(bins: &mut [Complex<f32>], first: usize, share: f64) {
    let [mut turn, step] =
        [first as f64, 1.0].map(|n| Complex::cis(std::f64::consts::TAU * n * share));
    for bin in bins {
        *bin *= Complex::new(turn.re as f32, turn.im as f32);
        turn *= step;
    }
}

/// Lengthens `line` so that `size` frames from `at` on exist.
fn grow(line: &mut Timeline, at: u64, size: usize) {
    let end = at + size as u64;
    if end > line.end() {
        line.extend((end - line.end()) as usize);
    }
}

/// Power of each bin, averaged over its neighbours. What lies outside counts as 0.
fn smooth_power(frame: &[Complex<f32>], power: &mut [f32]) {
    let width = (2 * POWER_REACH + 1) as f32;
    for (i, p) in power.iter_mut().enumerate() {
        let near = i.saturating_sub(POWER_REACH)..(i + POWER_REACH + 1).min(frame.len());
        *p = frame[near].iter().map(|f| f.norm_sqr()).sum::<f32>() / width;
    }
}

/// White noise that is the same on every machine: only its phases count, so uniform samples do.
fn noise_block(n: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    (0..n)
        .map(|_| {
            // xorshift64* (Vigna 2016)
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            let bits = state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40;
            bits as f32 / (1u32 << 23) as f32 - 1.0
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watermark::format::RowClock;
    use crate::watermark::key::Key;
    use crate::watermark::testing::soft_noise;

    fn stage() -> CarrierStage {
        let modulation = Modulation::new(&Key::from_bytes([1; 32]), RowClock::Stream);
        CarrierStage::new(Kind::Programme, true, modulation, 48_000, 512, 4096)
    }

    #[test]
    fn the_row_clock_runs_on_for_months() {
        let mut stage = stage();
        // 2e10 frames are 116 h; their nanoseconds times the rate do not fit in 64 bits.
        assert_eq!(
            stage.clock(20_000_000_000 + stage.ahead),
            416_666_666_666_666
        );
        stage.reset(u64::MAX - 1);
        stage.course(48_000);
    }

    #[test]
    fn the_carrier_is_whole_from_the_start() {
        let (mut stage, programme) = (stage(), soft_noise(6, 1));
        for start in [0, 20_000_000, 59_000_000] {
            stage.reset(start);
            let (mut carrier, mut early) = (Vec::new(), 0.0);
            for piece in programme.chunks(512) {
                stage.push(piece);
                let new = stage.end() as usize - carrier.len();
                carrier.extend_from_slice(stage.range(carrier.len() as u64, new));
                if carrier.len() < 2_400 {
                    early = stage.density.mean_power();
                }
            }
            let power = |part: &[f32]| part.iter().map(|c| c * c).sum::<f32>() / part.len() as f32;
            let [begins, goes_on] = [power(&carrier[..768]), power(&carrier[24_000..72_000])];
            assert!(begins > 0.5 * goes_on, "{start}: {begins} {goes_on}");
            // Frames that reach before the programme have no say in how loud it is.
            let ratio = early / stage.density.mean_power();
            assert!((0.9..1.1).contains(&ratio), "{start}: {ratio}");
        }
    }
}
