// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fuzz targets share: formats, keys and sounds drawn from the bytes that the fuzzer makes.

pub mod buffers;
pub mod events;
pub mod model;

use arbitrary::{Arbitrary, Unstructured};
use gstwm::watermark::{Carrier, Embedder, EmbedderConfig, Key, Payload, RowClock};
use std::sync::OnceLock;

/// Unix time at which the marked programme begins.
pub const BASE: u64 = 1_764_000_000_070_000_000;

/// The key of the marked programme.
pub const KEY: [u8; 32] = [7; 32];

/// What the marked programme says.
pub const PAYLOAD: Payload = Payload([0, 0xc0, 0xff, 0xee]);

/// Steps for as many bytes as there are. (A vector would toss a coin after each step, and mostly end at once.)
#[derive(Debug)]
pub struct Steps<T>(pub Vec<T>);

/// Steps of a case at most.
const MOST_STEPS: usize = 60;

impl<'a, T: Arbitrary<'a>> Arbitrary<'a> for Steps<T> {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let mut steps = Vec::new();
        while !bytes.is_empty() && steps.len() < MOST_STEPS {
            steps.push(bytes.arbitrary()?);
        }
        Ok(Steps(steps))
    }
}

/// A sample rate: often one that audio has, now and then any number.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Rate {
    Usual(u8),
    Any(u32),
    Valid(u32),
}

impl Rate {
    pub fn get(self) -> u32 {
        const USUAL: [u32; 8] = [8_000, 8_000, 8_000, 16_000, 11_025, 44_100, 48_000, 192_000];
        match self {
            Rate::Usual(i) => USUAL[usize::from(i) % USUAL.len()],
            Rate::Any(rate) => rate,
            Rate::Valid(rate) => 8_000 + rate % 184_001,
        }
    }
}

/// A number of channels: often one or two, on request any number, which then may be too large.
pub fn channels(byte: u8, many: bool) -> usize {
    usize::from(if many { byte } else { 1 + byte % 2 })
}

/// Some audio, by a few bytes.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Sound {
    Silence,
    /// These bits over and over: NaN, infinity, denormals, full scale, what the fuzzer likes.
    Bits([u32; 3]),
    /// White noise of this many powers of two.
    Noise {
        seed: u32,
        exponent: i8,
    },
    /// A square wave, full scale and more.
    Square {
        period: u16,
        exponent: i8,
    },
    /// The programme from this hundredth of a second on, with its mark.
    Marked {
        at: u16,
        exponent: i8,
    },
    /// The same without a mark.
    Unmarked {
        at: u16,
    },
    /// Noise with something odd in every so many samples.
    Dirty {
        seed: u32,
        every: u8,
        bits: u32,
    },
}

impl Sound {
    /// So many interleaved frames of it.
    pub fn frames(self, frames: usize, channels: usize) -> Vec<f32> {
        let samples = frames * channels;
        match self {
            Sound::Silence => vec![0.0; samples],
            Sound::Bits(bits) => cycle(&bits.map(f32::from_bits), samples),
            Sound::Noise { seed, exponent } => {
                let gain = power(exponent);
                noise(seed, samples).map(|x| gain * x).collect()
            }
            Sound::Square { period, exponent } => {
                let period = usize::from(period).max(1);
                let sample = |i| if i / period % 2 == 0 { 1.0 } else { -1.0 };
                let gain = power(exponent);
                (0..samples).map(|i| gain * sample(i)).collect()
            }
            Sound::Marked { at, exponent } => {
                let gain = power(exponent);
                spread(&marked()[start(at)..], frames, channels)
                    .map(|x| gain * x)
                    .collect()
            }
            Sound::Unmarked { at } => spread(&programme()[start(at)..], frames, channels).collect(),
            Sound::Dirty { seed, every, bits } => {
                let every = usize::from(every).max(1);
                let dirt = f32::from_bits(bits);
                noise(seed, samples)
                    .enumerate()
                    .map(|(i, x)| if i % every == 0 { dirt } else { x })
                    .collect()
            }
        }
    }
}

/// Exponents near 0 are loudness as it is; the others reach the ends of `f32`.
fn power(exponent: i8) -> f32 {
    2f32.powi(i32::from(exponent))
}

fn cycle(samples: &[f32], n: usize) -> Vec<f32> {
    samples.iter().copied().cycle().take(n).collect()
}

fn noise(seed: u32, n: usize) -> impl Iterator<Item = f32> {
    let mut x = seed | 1;
    (0..n).map(move |_| {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x as i32 as f32 / -(i32::MIN as f32) * 0.25
    })
}

/// One channel to all, over and over.
fn spread(mono: &[f32], frames: usize, channels: usize) -> impl Iterator<Item = f32> {
    let mono = mono.iter().copied().cycle().take(frames);
    mono.flat_map(move |sample| std::iter::repeat_n(sample, channels))
}

const RATE: usize = 8_000;
const SECONDS: usize = 8;

fn start(at: u16) -> usize {
    usize::from(at) * (RATE / 100) % (RATE * (SECONDS - 1))
}

/// Noise at 8 kHz, louder and softer, with a pause in it.
fn programme() -> &'static [f32] {
    static PROGRAMME: OnceLock<Vec<f32>> = OnceLock::new();
    PROGRAMME.get_or_init(|| {
        let level = |i: usize| match i * 10 / RATE {
            60..64 => 0.0,
            tenth => 0.3 + 0.1 * (tenth % 7) as f32,
        };
        let samples = noise(1, RATE * SECONDS).enumerate();
        samples.map(|(i, x)| level(i) * x).collect()
    })
}

/// The same with a mark by the clock.
fn marked() -> &'static [f32] {
    static MARKED: OnceLock<Vec<f32>> = OnceLock::new();
    MARKED.get_or_init(|| {
        let config = EmbedderConfig {
            sample_rate: RATE as u32,
            channels: 1,
            unmarked_channels: 0,
            carrier: Carrier::Programme,
            lookahead: true,
            row_clock: RowClock::Utc,
        };
        let Ok(mut embedder) = Embedder::new(&config, &Key::from_bytes(KEY)) else {
            unreachable!("this configuration is valid");
        };
        embedder.reset(BASE);
        embedder.set_payload(Some(PAYLOAD));
        let delay = embedder.latency();
        let mut input = programme().to_vec();
        input.resize(input.len() + delay, 0.0);
        let mut mark = vec![0.0; input.len()];
        embedder.process(&input, &mut mark);
        let sum = programme().iter().zip(&mark[delay..]);
        sum.map(|(sample, mark)| sample + mark).collect()
    })
}
