// SPDX-License-Identifier: MIT OR Apache-2.0
//! Marked audio for unit tests.

use super::key::Key;
use super::payload::Payload;
use super::{Carrier, DetectorConfig, Embedder, EmbedderConfig, RowClock};

/// Sample rate of it.
pub const RATE: usize = 16_000;

/// Numbers from -1 to 1.
pub fn noise(seed: u32) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state as i32 as f32 / (1u32 << 31) as f32
    }
}

/// So many seconds of soft noise.
pub fn soft_noise(seconds: usize, seed: u32) -> Vec<f32> {
    let mut noise = noise(seed);
    (0..seconds * RATE).map(|_| 0.1 * noise()).collect()
}

/// Soft noise with a mark, shorter by the latency of the embedder.
pub fn marked(seconds: usize, key: &Key, payload: Option<Payload>) -> Vec<f32> {
    let config = EmbedderConfig {
        sample_rate: RATE as u32,
        channels: 1,
        unmarked_channels: 0,
        carrier: Carrier::Programme,
        lookahead: true,
        row_clock: RowClock::Stream,
    };
    let mut embedder = Embedder::new(&config, key).unwrap();
    embedder.set_payload(payload);
    let programme = soft_noise(seconds, 1);
    let mut mark = vec![0.0; programme.len()];
    embedder.process(&programme, &mut mark);
    let late = &mark[embedder.latency()..];
    programme.iter().zip(late).map(|(p, m)| p + m).collect()
}

/// A detector of such audio, with the defaults of `wmdetect`.
pub fn detector_config() -> DetectorConfig {
    DetectorConfig {
        sample_rate: RATE as u32,
        channels: 1,
        carrier: Carrier::Programme,
        row_clock: RowClock::Stream,
        clock_tolerance: 120.0,
        false_alarms_per_hour: 1e-4,
        max_speed_deviation: 0.1,
        interval: 1.0,
    }
}
