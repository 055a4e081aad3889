// SPDX-License-Identifier: MIT OR Apache-2.0
//! From received audio to found, present and lost.

use super::format::{Carrier, ConfigError, RowClock, check_stream};
use super::key::Key;

/// What a [`Detector`] listens to and for.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectorConfig {
    /// Frames a second, 8 000 to 192 000.
    pub sample_rate: u32,
    /// Channels, 1 to 64.
    pub channels: usize,
    /// What was added.
    pub carrier: Carrier,
    /// What counts the rows.
    pub row_clock: RowClock,
    /// Seconds by which the detector's clock may be wrong, for [`RowClock::Utc`].
    pub clock_tolerance: f64,
    /// False alarms in an hour of unmarked audio that are acceptable, more than 0 up to 3600.
    pub false_alarms_per_hour: f64,
    /// Largest deviation of the playing speed that is searched, in percent, 0 to 6.
    pub max_speed_deviation: f64,
    /// Seconds between two reports that the mark is still present, at least 0.1.
    pub interval: f64,
}

/// What a [`Detector`] has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetectionState {
    /// The mark was not there before.
    Found,
    /// The mark is still there; comes once an interval.
    Present,
    /// The mark is no longer there.
    Lost,
}

/// One report of a [`Detector`].
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// What happened.
    pub state: DetectionState,
    /// The score z: mean 0 and variance 1 on unmarked audio.
    pub score: f64,
    /// Logarithm (base 10) of the chance of such a score on unmarked audio in an hour, all hypotheses counted.
    pub log10_p: f64,
    /// Seconds of evidence behind the score.
    pub window: f64,
    /// Playing speed, 1.0 being that of the embedder.
    pub speed: f64,
    /// First input frame of the evidence, counted since [`Detector::reset`].
    pub start: u64,
    /// First input frame after the evidence.
    pub end: u64,
    /// Position of frame `start` in the cycle of rows, in seconds, 0 to 204.8.
    pub watermark_time: f64,
}

/// Figures about a [`Detector`] at work.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct DetectorStats {
    /// Frames taken since the last reset.
    pub frames: u64,
    /// Hypotheses (time, row, window, speed) that are tested in an hour while searching.
    pub hypotheses_per_hour: f64,
    /// Score above which a mark at nominal speed counts as found.
    pub threshold: f64,
    /// Speeds that are searched.
    pub speeds: usize,
    /// Highest score since the last reset.
    pub highest_score: f64,
    /// Times that the mark was found since the detector was made.
    pub found: u64,
}

/// Finds the mark of one key in a stream of audio.
pub struct Detector {
    config: DetectorConfig,
}

impl Detector {
    /// Checks the settings and allocates all that [`Detector::push`] needs.
    ///
    /// # Errors
    /// A setting out of its range.
    pub fn new(config: &DetectorConfig, key: &Key) -> Result<Self, ConfigError> {
        check_stream(config.sample_rate, config.channels)?;
        let _ = key;
        Ok(Detector {
            config: config.clone(),
        })
    }

    /// Takes interleaved frames and calls `report` for whatever they reveal. Samples that are not finite count as 0.
    pub fn push(&mut self, input: &[f32], report: &mut dyn FnMut(&Detection)) {
        debug_assert_eq!(input.len() % self.config.channels, 0);
        let _ = report;
    }

    /// Tells that no more audio follows for now: evaluates what the last hop left over.
    pub fn finish(&mut self, report: &mut dyn FnMut(&Detection)) {
        let _ = report;
    }

    /// Forgets all audio. The next input frame is at `nanoseconds` of the detector's own clock,
    /// which counts for [`RowClock::Utc`] only.
    pub fn reset(&mut self, nanoseconds: u64) {
        let _ = nanoseconds;
    }

    /// Seconds between two reports that the mark is still present.
    pub fn set_interval(&mut self, seconds: f64) {
        self.config.interval = seconds.max(0.1);
    }

    /// Whether the mark is there now.
    pub fn is_present(&self) -> bool {
        false
    }

    /// Latest score: of the tracked mark while it is present, else the highest of all hypotheses.
    pub fn score(&self) -> f64 {
        0.0
    }

    /// Figures about the work so far.
    pub fn stats(&self) -> DetectorStats {
        DetectorStats::default()
    }
}
