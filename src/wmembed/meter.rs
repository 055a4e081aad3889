// SPDX-License-Identifier: MIT OR Apache-2.0
//! Measures how well the mark will be found, in what leaves `wmembed`.

use super::settings::Marking;
use crate::watermark::{Carrier, ConfigError, Detectability, EmbedderConfig, Key};
use gst::prelude::*;

/// What was measured in a stretch of a run, as frames of the run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    pub score: f64,
    pub threshold: f64,
    pub weak: bool,
    pub start: u64,
    pub end: u64,
}

/// Listens to what leaves while the element marks.
pub(super) struct Meter {
    /// None with a carrier that cannot be measured.
    detectability: Option<Detectability>,
    rate: u64,
    channels: usize,
    on: bool,
    /// Nanoseconds of the row clock at the first frame of the run.
    position: u64,
    /// First frame of the run that was to be marked since marking was switched on.
    from: u64,
    /// Frames of the run that have left.
    left: u64,
    /// First frame that was listened to, once there is one.
    first: Option<u64>,
}

impl Meter {
    pub fn new(config: &EmbedderConfig, key: &Key) -> Result<Self, ConfigError> {
        let (rate, channels) = (config.sample_rate, config.channels);
        let detectability = match config.carrier {
            Carrier::Programme => Some(Detectability::new(rate, channels, key, config.row_clock)?),
            Carrier::Noise => None,
        };
        Ok(Meter {
            detectability,
            rate: rate.into(),
            channels,
            on: false,
            position: 0,
            from: 0,
            left: 0,
            first: None,
        })
    }

    /// Takes the settings that hold from the next frame on; `arrived` frames of the run have come before it.
    pub fn set(&mut self, marking: Marking, arrived: u64) {
        let Some(detectability) = &mut self.detectability else {
            return;
        };
        detectability.set_payload(marking.payload.is_some());
        detectability.set_interval(marking.report_interval.seconds_f64());
        let on = marking.enabled && !marking.report_interval.is_zero();
        if on != self.on {
            (self.on, self.from, self.first) = (on, arrived, None);
        }
    }

    /// Whether it listens.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// A run begins at `position` (ns) of the row clock.
    pub fn begin(&mut self, position: u64) {
        self.position = position;
        (self.from, self.left, self.first) = (0, 0, None);
    }

    /// Takes the frames of the run that leave next, and calls `report` once an interval.
    pub fn hear(&mut self, frames: &[f32], report: &mut dyn FnMut(Measured)) {
        let count = (frames.len() / self.channels) as u64;
        let at = self.left;
        self.left += count;
        // The audio that is still held when marking is switched on has no mark.
        let skip = self.from.saturating_sub(at).min(count);
        let Some(detectability) = self.detectability.as_mut().filter(|_| self.on) else {
            return;
        };
        if skip == count {
            return;
        }
        let (position, rate) = (self.position, self.rate);
        let first = *self.first.get_or_insert_with(|| {
            let frame = at + skip;
            let elapsed = frame.mul_div_floor(1_000_000_000, rate).unwrap_or(u64::MAX);
            detectability.reset(position.saturating_add(elapsed));
            frame
        });
        let frames = &frames[skip as usize * self.channels..];
        detectability.push(frames, &mut |of| report(Measured::after(first, of)));
    }

    /// The run ends: calls `report` about what there is since the latest one, if that is 2 s.
    pub fn finish(&mut self, report: &mut dyn FnMut(Measured)) {
        if let Some(detectability) = &mut self.detectability
            && let Some(first) = self.first.take()
        {
            detectability.finish(&mut |of| report(Measured::after(first, of)));
        }
    }
}

impl Measured {
    /// What was measured from frame `first` of the run on.
    fn after(first: u64, report: &crate::watermark::DetectabilityReport) -> Self {
        Measured {
            score: report.score,
            threshold: report.threshold,
            weak: report.weak,
            start: first + report.start,
            end: first + report.end,
        }
    }
}
