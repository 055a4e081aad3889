// SPDX-License-Identifier: MIT OR Apache-2.0
//! The search of the detector with many keys on one recording, to count how often it would err.
//!
//! What depends on the audio alone is done once. Not part of the interface: `examples/unmarked.rs` uses it.

use super::candidate::{Best, LocalClock};
use super::correlation::{Correlator, Slot, SpeedMap};
use super::downmix::Downmix;
use super::format::{CHIPS, ConfigError, ROWS, RowClock, check_stream};
use super::key::Key;
use super::rows::KeyRows;
use super::search::Search;
use super::speeds::{speed_maps, write_chips};
use super::thresholds::Thresholds;

/// Seconds of audio that are taken at once.
const BLOCK: f64 = 0.01;
/// So many alarms an hour are the most that can be told.
pub const MOST_ALARMS: f64 = 3600.0;

/// A test that the threshold of [`MOST_ALARMS`] would call an alarm; of several after one slot the least likely.
#[derive(Debug, Clone, Copy)]
pub struct Peak {
    /// Middle of the latest slot, since the start of the stream.
    pub seconds: f64,
    pub score: f64,
    /// Expected false alarms in an hour, as a decimal logarithm, with a threshold that the score just reaches.
    pub log10_alarms: f64,
}

/// A stream of audio, correlated and kept for the search with one key after the other.
pub struct Survey {
    channels: usize,
    downmix: Downmix,
    mix: Vec<f32>,
    correlator: Correlator,
    kept: Kept,
}

/// Time of each slot, and its chips one behind the other.
struct Kept {
    rate: f64,
    maps: Vec<SpeedMap>,
    slots: Vec<f64>,
    chips: Vec<f32>,
}

impl Kept {
    fn add(&mut self, slot: &Slot) {
        self.slots.push(slot.middle / self.rate);
        let begin = self.chips.len();
        self.chips.resize(begin + self.maps.len() * CHIPS, 0.0);
        write_chips(slot.sums, &self.maps, &mut self.chips[begin..]);
    }
}

impl Survey {
    /// For audio of a format and speeds up to `max_speed_deviation` percent from the nominal one.
    ///
    /// # Errors
    /// A format that the detector does not take.
    pub fn new(
        sample_rate: u32,
        channels: usize,
        max_speed_deviation: f64,
    ) -> Result<Self, ConfigError> {
        check_stream(sample_rate, channels)?;
        let rate = sample_rate as f64;
        let block = (BLOCK * rate) as usize;
        let deviation = max_speed_deviation / 100.0;
        let correlator = Correlator::new(sample_rate, deviation, block);
        Ok(Survey {
            channels,
            downmix: Downmix::new(sample_rate, channels),
            mix: vec![0.0; block],
            kept: Kept {
                rate,
                maps: speed_maps(deviation, sample_rate, &correlator),
                slots: Vec::new(),
                chips: Vec::new(),
            },
            correlator,
        })
    }

    /// Takes interleaved frames. An hour of audio takes 1.6 GB with 11 speeds.
    pub fn push(&mut self, input: &[f32]) {
        for piece in input.chunks(self.mix.len() * self.channels) {
            let mix = &mut self.mix[..piece.len() / self.channels];
            self.downmix.mix(piece, mix);
            let kept = &mut self.kept;
            self.correlator.push(mix, |slot| kept.add(&slot));
        }
    }

    /// Takes what there is of the last slot.
    pub fn finish(&mut self) {
        let kept = &mut self.kept;
        self.correlator.finish(|slot| kept.add(&slot));
    }

    /// Forgets all audio.
    pub fn reset(&mut self) {
        self.downmix.reset();
        self.correlator.reset();
        self.kept.slots.clear();
        self.kept.chips.clear();
    }

    /// Searches all of the stream with `key`, to its end; returns the highest score.
    pub fn search(&self, key: &Key, mut peak: impl FnMut(Peak)) -> f64 {
        let Kept {
            maps, slots, chips, ..
        } = &self.kept;
        let speeds = maps.len();
        let rows = KeyRows::new(key.signs(), RowClock::Stream, ROWS, 0);
        let thresholds = Thresholds::new(1, rows.len(), speeds, speeds / 2, MOST_ALARMS);
        let mut search = Search::new(rows, speeds, thresholds);
        search.reset(LocalClock { first_row: 0 });
        let mut tell = |seconds, best: Best| {
            if let Some(candidate) = best.candidate {
                peak(Peak {
                    seconds,
                    score: candidate.score,
                    log10_alarms: best.log10_rate,
                });
            }
        };
        let of_slots = chips.chunks_exact(speeds * CHIPS);
        for (&seconds, chips) in slots.iter().zip(of_slots) {
            tell(seconds, search.test_next(seconds, chips, maps));
        }
        let end = slots.last().copied().unwrap_or_default();
        tell(end, search.test_all());
        search.highest()
    }
}
