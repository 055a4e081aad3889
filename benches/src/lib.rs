// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the measurements have in common: programme that is the same everywhere, and detectors and embedders for it.

pub mod plot;
pub mod speed;

use gstwm::watermark::stages::{CHIPS, ROWS, SignMatrix};
use gstwm::watermark::{
    Carrier, Detection, Detector, DetectorConfig, Embedder, EmbedderConfig, Key, RowClock,
};

/// Frames that are handed over at once.
pub const PIECE: usize = 1024;

/// Notes of four harmonics that change twice a second, over noise: interleaved, each channel a little different. What
/// embedder and detector do takes as long whatever they hear.
pub fn programme(rate: u32, channels: usize, seconds: f64) -> Vec<f32> {
    let mut state = 1u32;
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let frames = (seconds * rate as f64) as usize;
    let mut samples = Vec::with_capacity(frames * channels);
    for i in 0..frames {
        let t = i as f64 / rate as f64;
        let pitch = 110.0 * 2f64.powf(((2.0 * t) as u64 * 7 % 24) as f64 / 12.0);
        let harmonics =
            (1..5).map(|n| (std::f64::consts::TAU * pitch * n as f64 * t).sin() / n as f64);
        let tone = 0.2 * harmonics.sum::<f64>() as f32;
        for channel in 0..channels {
            samples.push(tone * (1.0 - 0.1 * channel as f32 / channels as f32) + 0.03 * noise());
        }
    }
    samples
}

/// Keys that are different.
pub fn keys(count: usize) -> Vec<Key> {
    (0..count)
        .map(|key| Key::from_bytes([key as u8; 32]))
        .collect()
}

/// The signs of all rows of a key.
pub fn sign_matrix() -> SignMatrix {
    let mut signs = keys(1)[0].signs();
    let mut matrix = SignMatrix::new(ROWS);
    for row in 0..ROWS as u64 {
        let mut of_row = [0.0; CHIPS];
        signs.row(row, &mut of_row);
        matrix.load(row, &of_row);
    }
    matrix
}

/// An embedder with the element's defaults.
pub fn embedder(sample_rate: u32, channels: usize) -> Embedder {
    let config = EmbedderConfig {
        sample_rate,
        channels,
        unmarked_channels: 0,
        carrier: Carrier::Programme,
        lookahead: true,
        row_clock: RowClock::Stream,
    };
    Embedder::new(&config, &keys(1)[0]).expect("a valid configuration")
}

/// A detector with the element's defaults, but for the keys and the search of speeds (in percent).
pub fn detector(sample_rate: u32, channels: usize, speeds: f64, key_count: usize) -> Detector {
    let config = DetectorConfig {
        sample_rate,
        channels,
        carrier: Carrier::Programme,
        row_clock: RowClock::Stream,
        clock_tolerance: 120.0,
        false_alarms_per_hour: 1e-4,
        max_speed_deviation: speeds,
        interval: 1.0,
    };
    Detector::new(&config, &keys(key_count)).expect("a valid configuration")
}

/// Lets an embedder process programme.
pub fn embed(embedder: &mut Embedder, programme: &[f32], channels: usize, mark: &mut [f32]) {
    for piece in programme.chunks(PIECE * channels) {
        embedder.process(piece, &mut mark[..piece.len()]);
    }
}

/// Lets a detector hear audio; returns how many reports there were.
pub fn detect(detector: &mut Detector, audio: &[f32], channels: usize) -> usize {
    let mut reports = 0;
    for piece in audio.chunks(PIECE * channels) {
        detector.push(piece, &mut |_: &Detection| reports += 1);
    }
    reports
}
