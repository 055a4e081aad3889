// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers so small that the processor takes its slow way with them never come up: not from the input, and not where
//! something dies away inside. The processor itself tells, with flags that stay set once an operand was such a number
//! or a result became one.

#![cfg(target_arch = "x86_64")]

mod common;

use common::{Random, detector_config, embedder_config, key, recording};
use gstwm::watermark::{Carrier, Detector, DetectorConfig, Embedder, EmbedderConfig};

const RATE: u32 = 16_000;
const CHANNELS: usize = 2;

/// "Denormal operand" and "underflow" in the status of the vector unit.
const FLAGS: u32 = 1 << 1 | 1 << 4;

fn status(new: Option<u32>) -> u32 {
    let mut status = 0u32;
    // SAFETY: only the status of floating-point operations is read, or its sticky flags cleared, which nothing else reads.
    unsafe {
        std::arch::asm!("stmxcsr [{}]", in(reg) &mut status);
        if let Some(new) = new {
            std::arch::asm!("ldmxcsr [{}]", in(reg) &new);
        }
    }
    status
}

/// Whether `work` met a denormal number.
fn meets_denormals(work: impl FnOnce()) -> bool {
    let before = status(None);
    status(Some(before & !FLAGS));
    work();
    let met = status(None) & FLAGS != 0;
    status(Some(before));
    met
}

#[test]
fn the_flags_tell() {
    let times = |a: f32, b: f32| {
        meets_denormals(|| {
            std::hint::black_box(std::hint::black_box(a) * std::hint::black_box(b));
        })
    };
    assert!(!times(1e-20, 1e-10));
    assert!(times(1e-30, 1e-10), "a result");
    assert!(times(1e-40, 1.0), "an operand");
}

/// White noise of a level.
fn noise(level: f32, seconds: u32) -> Vec<f32> {
    let mut random = Random::new(3);
    let samples = (0..seconds * RATE * CHANNELS as u32).map(|_| level * random.noise());
    samples.collect()
}

/// Music that fades by 280 dB a second.
fn fading() -> Vec<f32> {
    let mut gain = 1.0f32;
    let fade = |sample: &f32| {
        gain *= 0.999;
        sample * gain
    };
    recording("music.flac", RATE, CHANNELS)
        .iter()
        .map(fade)
        .collect()
}

/// Audio that leads to small numbers, one after the other, and seconds of each that may meet some. What fades by a
/// thirtieth in a block of 20 ms, or by a tenth in 160 ms, gets there in 40 to 70 s.
fn programmes() -> [(&'static str, Vec<f32>, usize); 6] {
    let silence = vec![0.0; 120 * RATE as usize * CHANNELS];
    [
        ("denormal input", noise(1e-39, 4), 0),
        ("noise at -220 dB", noise(1e-11, 4), 0),
        ("music", recording("music.flac", RATE, CHANNELS), 0),
        ("silence after music", silence.clone(), 0),
        // On the way down from -200 dB, once.
        ("fading music", fading(), 2),
        ("silence after a fade", silence, 0),
    ]
}

fn assert_none(mut process: impl FnMut(&[f32])) {
    for (name, audio, permitted) in programmes() {
        let seconds = audio.chunks(RATE as usize * CHANNELS);
        let met = seconds.filter(|second| meets_denormals(|| process(second)));
        let met = met.count();
        assert!(met <= permitted, "{name}: in {met} seconds");
    }
}

#[test]
fn the_embedder_meets_none() {
    let programme = embedder_config(RATE, CHANNELS);
    let one_sided = EmbedderConfig {
        lookahead: false,
        ..programme.clone()
    };
    let noise = EmbedderConfig {
        carrier: Carrier::Noise,
        ..programme.clone()
    };
    for config in [programme, one_sided, noise] {
        let mut embedder = Embedder::new(&config, &key()).unwrap();
        let mut mark = vec![0.0; RATE as usize * CHANNELS];
        assert_none(|audio| embedder.process(audio, &mut mark[..audio.len()]));
    }
}

#[test]
fn the_detector_meets_none() {
    for carrier in [Carrier::Programme, Carrier::Noise] {
        let config = DetectorConfig {
            carrier,
            ..detector_config(RATE, CHANNELS)
        };
        let mut detector = Detector::new(&config, &[key()]).unwrap();
        assert_none(|audio| detector.push(audio, &mut |_| ()));
    }
}
