// SPDX-License-Identifier: MIT OR Apache-2.0
//! The embedder of the core: no panic, a finite mark, the same for any pieces, and nothing left after a reset.

#![no_main]

use arbitrary::Arbitrary;
use gst_plugin_wm_fuzz::{Rate, Sound, Steps, channels};
use gstwm::watermark::{Carrier, Embedder, EmbedderConfig, Key, Payload, RowClock};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Case {
    rate: Rate,
    channels: u8,
    many_channels: bool,
    unmarked_channels: u64,
    noise: bool,
    lookahead: bool,
    utc: bool,
    key: u8,
    /// The other embedder takes pieces of these sizes.
    cuts: [u16; 2],
    steps: Steps<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Process(Sound, u16),
    Strength(i8),
    AnyStrength(f64),
    Enabled(bool),
    Payload(Option<[u8; 4]>),
    Reset(u64),
}

/// Samples that a case takes at most, so that none takes long.
const MOST_SAMPLES: usize = 120_000;

impl Case {
    fn config(&self) -> EmbedderConfig {
        EmbedderConfig {
            sample_rate: self.rate.get(),
            channels: channels(self.channels, self.many_channels),
            unmarked_channels: self.unmarked_channels,
            carrier: if self.noise {
                Carrier::Noise
            } else {
                Carrier::Programme
            },
            lookahead: self.lookahead,
            row_clock: if self.utc {
                RowClock::Utc
            } else {
                RowClock::Stream
            },
        }
    }
}

/// The embedder, and another one that is new at each reset and takes other pieces.
struct Twins {
    config: EmbedderConfig,
    key: Key,
    embedder: Embedder,
    twin: Embedder,
    cuts: [usize; 2],
    strength: f64,
    enabled: bool,
    payload: Option<Payload>,
    /// Nobody promises anything about a strength that is no number.
    sane: bool,
}

impl Twins {
    fn new(case: &Case) -> Option<Self> {
        let (config, key) = (case.config(), Key::from_bytes([case.key; 32]));
        let embedder = Embedder::new(&config, &key);
        let valid = (8_000..=192_000).contains(&config.sample_rate)
            && (1..=64).contains(&config.channels)
            && !(case.noise && case.utc);
        assert_eq!(embedder.is_ok(), valid, "{config:?}");
        Some(Twins {
            embedder: embedder.ok()?,
            twin: Embedder::new(&config, &key).ok()?,
            config,
            key,
            cuts: case.cuts.map(|cut| usize::from(cut).max(1)),
            strength: 0.0,
            enabled: true,
            payload: None,
            sane: true,
        })
    }

    fn set(&mut self) {
        for embedder in [&mut self.embedder, &mut self.twin] {
            embedder.set_strength(self.strength);
            embedder.set_enabled(self.enabled);
            embedder.set_payload(self.payload);
        }
    }

    fn reset(&mut self, nanoseconds: u64) {
        self.embedder.reset(nanoseconds);
        if let Ok(twin) = Embedder::new(&self.config, &self.key) {
            self.twin = twin;
        }
        self.set();
        self.twin.reset(nanoseconds);
    }

    fn process(&mut self, input: &[f32]) {
        let mut mark = vec![f32::NAN; input.len()];
        self.embedder.process(input, &mut mark);
        let mut other = vec![f32::NAN; input.len()];
        let mut done = 0;
        for cut in self.cuts.iter().cycle() {
            if done == input.len() {
                break;
            }
            let end = input.len().min(done + cut * self.config.channels);
            self.twin.process(&input[done..end], &mut other[done..end]);
            done = end;
        }
        let bits = |mark: &[f32]| mark.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert!(bits(&mark) == bits(&other), "pieces or a reset matter");
        assert!(!self.sane || mark.iter().all(|x| x.is_finite()));
        for (i, sample) in mark.iter().enumerate() {
            let channel = i % self.config.channels;
            assert!(self.config.unmarked_channels >> channel & 1 == 0 || *sample == 0.0);
        }
        let _ = (
            self.embedder.take_payload_change(),
            self.twin.take_payload_change(),
        );
    }
}

fuzz_target!(|case: Case| {
    let Some(mut twins) = Twins::new(&case) else {
        return;
    };
    let channels = twins.config.channels;
    let mut left = MOST_SAMPLES / channels;
    for step in &case.steps.0 {
        match step {
            Step::Process(sound, frames) => {
                let frames = usize::from(*frames).min(left);
                left -= frames;
                twins.process(&sound.frames(frames, channels));
            }
            Step::Strength(decibels) => twins.strength = f64::from(decibels % 25),
            Step::AnyStrength(decibels) => {
                twins.strength = *decibels;
                twins.sane &= decibels.abs() <= 24.0;
            }
            Step::Enabled(enabled) => twins.enabled = *enabled,
            Step::Payload(payload) => twins.payload = payload.map(Payload),
            Step::Reset(nanoseconds) => twins.reset(*nanoseconds),
        }
        twins.set();
    }
});
