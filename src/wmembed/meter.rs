// SPDX-License-Identifier: MIT OR Apache-2.0
//! Measures how well the mark will be found, in what leaves `wmembed`.

use super::settings::Marking;
use crate::clock::FrameClock;
use crate::watermark::{
    Carrier, ConfigError, Detectability, DetectabilityReport, EmbedderConfig, Key,
};
use gst::prelude::*;

/// What was measured in a stretch of audio.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    pub score: f64,
    pub threshold: f64,
    pub weak: bool,
    pub start: Start,
    pub duration: Option<gst::ClockTime>,
}

/// Where a stretch begins.
#[derive(Debug, Clone, Copy)]
pub(super) enum Start {
    /// At a frame of the run.
    Frame(u64),
    /// In an earlier run, at this timestamp.
    Earlier(Option<gst::ClockTime>),
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
    /// First frame of the run that was listened to, once there is one.
    first: Option<u64>,
    /// Frames that were listened to before it, in earlier runs.
    before: u64,
    /// Where the stretch begins that an earlier run left, if one did.
    earlier: Option<Option<gst::ClockTime>>,
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
            before: 0,
            earlier: None,
        })
    }

    /// Takes the settings that hold from the next frame on; `arrived` frames of the run have come before it.
    pub fn set(&mut self, marking: Marking, arrived: u64) {
        let Some(detectability) = &mut self.detectability else {
            return;
        };
        detectability.set_payload(marking.payload.is_some());
        detectability.set_interval(marking.report_interval.seconds_f64());
        let on = marking.is_measured();
        if on != self.on {
            (self.on, self.from, self.first) = (on, arrived, None);
            self.earlier = None;
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
        if self.first.is_none() {
            let frame = at + skip;
            let elapsed = frame.mul_div_floor(1_000_000_000, rate).unwrap_or(u64::MAX);
            let position = position.saturating_add(elapsed);
            self.first = Some(frame);
            if self.earlier.is_some() {
                detectability.resume(position);
            } else {
                detectability.reset(position);
                self.before = 0;
            }
        }
        let origin = Origin::of(self.first, self.before, self.earlier, rate);
        let frames = &frames[skip as usize * self.channels..];
        detectability.push(frames, &mut |of| report(origin.measured(of)));
    }

    /// The run ends, which has these timestamps; another one may go on with what it leaves.
    pub fn interrupt(&mut self, clock: &FrameClock, report: &mut dyn FnMut(Measured)) {
        let Some(detectability) = self.detectability.as_mut().filter(|_| self.on) else {
            return;
        };
        let Some(first) = self.first.take() else {
            return;
        };
        let origin = Origin::of(Some(first), self.before, self.earlier, self.rate);
        detectability.interrupt(&mut |of| report(origin.measured(of)));
        let start = detectability.stretch_start();
        if start >= self.before || self.earlier.is_none() {
            let frame = first + start.saturating_sub(self.before);
            self.earlier = Some(clock.time(frame));
        }
        self.before = detectability.heard();
    }

    /// Nothing follows that belongs to it: calls `report` about what there is since the latest report, if that is 2 s.
    pub fn finish(&mut self, report: &mut dyn FnMut(Measured)) {
        let origin = Origin::of(self.first.take(), self.before, self.earlier, self.rate);
        if let Some(detectability) = self.detectability.as_mut().filter(|_| self.on) {
            detectability.finish(&mut |of| report(origin.measured(of)));
        }
        self.forget();
    }

    /// Forgets what there is.
    pub fn forget(&mut self) {
        (self.first, self.earlier, self.before) = (None, None, 0);
        if let Some(detectability) = &mut self.detectability {
            detectability.reset(0);
        }
    }
}

/// Where the frames that are measured lie.
#[derive(Clone, Copy)]
struct Origin {
    first: u64,
    before: u64,
    earlier: Option<Option<gst::ClockTime>>,
    rate: u64,
}

impl Origin {
    fn of(
        first: Option<u64>,
        before: u64,
        earlier: Option<Option<gst::ClockTime>>,
        rate: u64,
    ) -> Self {
        Origin {
            first: first.unwrap_or(0),
            before,
            earlier,
            rate,
        }
    }

    fn measured(&self, report: &DetectabilityReport) -> Measured {
        let start = match (report.start.checked_sub(self.before), self.earlier) {
            (None, Some(time)) => Start::Earlier(time),
            (since, _) => Start::Frame(self.first + since.unwrap_or(0)),
        };
        // Up to the end and not by the length: added to the timestamp of the start it is exactly that of the end.
        let first = match start {
            Start::Frame(frame) => frame,
            Start::Earlier(_) => 0,
        };
        let elapsed = |frame: u64| {
            let time = frame.mul_div_floor(*gst::ClockTime::SECOND, self.rate);
            time.and_then(|time| gst::ClockTime::try_from(time).ok())
        };
        let end = first + report.end.saturating_sub(report.start);
        let duration = elapsed(end).zip(elapsed(first));
        Measured {
            score: report.score,
            threshold: report.threshold,
            weak: report.weak,
            start,
            duration: duration.and_then(|(end, start)| end.checked_sub(start)),
        }
    }
}
