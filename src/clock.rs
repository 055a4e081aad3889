// SPDX-License-Identifier: MIT OR Apache-2.0
//! Timestamps from a count of frames.
//!
//! Durations are never added up: at 44.1 kHz each would be rounded, and the sum would drift.

use gst::prelude::*;

/// Deviation of a timestamp from the count of frames that is taken for jitter.
pub(crate) const TOLERANCE: gst::ClockTime = gst::ClockTime::from_mseconds(40);

/// How a buffer follows the frames before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Right behind them, as far as can be told.
    Continues,
    /// With this much audio missing in between.
    Missing(gst::ClockTime),
    /// Anywhere else.
    Elsewhere,
}

/// The time of every frame of a run of audio without a break.
#[derive(Debug, Clone)]
pub(crate) struct FrameClock {
    rate: u64,
    base: Option<gst::ClockTime>,
    frames: u64,
}

impl FrameClock {
    /// A run of `rate` frames a second that starts at `base`, or without timestamps.
    pub fn new(rate: u32, base: Option<gst::ClockTime>) -> Self {
        FrameClock {
            rate: u64::from(rate.max(1)),
            base,
            frames: 0,
        }
    }

    /// Frames that have arrived.
    pub fn arrived(&self) -> u64 {
        self.frames
    }

    /// Counts frames that have arrived.
    pub fn advance(&mut self, frames: u64) {
        self.frames += frames;
    }

    /// Time from the start of the run to `frame`.
    pub fn elapsed(&self, frame: u64) -> Option<gst::ClockTime> {
        frame
            .mul_div_floor(*gst::ClockTime::SECOND, self.rate)
            .map(gst::ClockTime::from_nseconds)
    }

    /// Nanoseconds of a clock at the frame that is to come, if it showed `start` at the first one.
    pub fn after(&self, start: u64) -> u64 {
        let elapsed = self.elapsed(self.frames);
        start.saturating_add(elapsed.map_or(u64::MAX, gst::ClockTime::nseconds))
    }

    /// Timestamp of `frame`, if the run has timestamps.
    pub fn time(&self, frame: u64) -> Option<gst::ClockTime> {
        self.base?.checked_add(self.elapsed(frame)?)
    }

    /// Time from `start` to `end`; added to the timestamp of `start` it is exactly that of `end`.
    pub fn duration(&self, start: u64, end: u64) -> Option<gst::ClockTime> {
        self.elapsed(end)?.checked_sub(self.elapsed(start)?)
    }

    /// Frames in `time`, to the nearest.
    pub fn frames_in(&self, time: gst::ClockTime) -> u64 {
        time.nseconds()
            .mul_div_round(self.rate, *gst::ClockTime::SECOND)
            .unwrap_or(u64::MAX)
    }

    /// How a buffer with this timestamp follows the frames that have arrived.
    pub fn arrival(&self, pts: Option<gst::ClockTime>) -> Arrival {
        match (self.time(self.frames), pts) {
            (_, None) => Arrival::Continues,
            (None, Some(_)) => Arrival::Elsewhere,
            (Some(expected), Some(pts)) if pts.absdiff(expected) <= TOLERANCE => Arrival::Continues,
            (Some(expected), Some(pts)) => pts
                .checked_sub(expected)
                .map_or(Arrival::Elsewhere, Arrival::Missing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_meet_without_drift() {
        let base = gst::ClockTime::from_nseconds(7);
        let mut clock = FrameClock::new(44_100, Some(base));
        let mut end = base;
        for _ in 0..10_000 {
            let start = clock.frames;
            clock.advance(441);
            assert_eq!(clock.time(start), Some(end));
            end += clock.duration(start, clock.frames).unwrap();
        }
        assert_eq!(end, base + gst::ClockTime::from_seconds(100));
        assert_eq!(clock.frames_in(end - base), 4_410_000);
    }

    #[test]
    fn small_deviations_are_jitter() {
        let mut clock = FrameClock::new(48_000, Some(gst::ClockTime::SECOND));
        clock.advance(48_000);
        let at = |ms| Some(gst::ClockTime::from_mseconds(ms));
        assert_eq!(clock.arrival(at(1_960)), Arrival::Continues);
        assert_eq!(clock.arrival(at(2_040)), Arrival::Continues);
        assert_eq!(
            clock.arrival(at(2_500)),
            Arrival::Missing(gst::ClockTime::from_mseconds(500))
        );
        assert_eq!(clock.arrival(at(1_900)), Arrival::Elsewhere);
        assert_eq!(clock.arrival(None), Arrival::Continues);
    }

    #[test]
    fn without_a_base_there_is_no_time() {
        let mut clock = FrameClock::new(48_000, None);
        clock.advance(48_000);
        assert_eq!(clock.time(clock.frames), None);
        assert_eq!(clock.duration(0, 48_000), Some(gst::ClockTime::SECOND));
        assert_eq!(clock.arrival(None), Arrival::Continues);
        assert_eq!(
            clock.arrival(Some(gst::ClockTime::SECOND)),
            Arrival::Elsewhere
        );
    }

    #[test]
    fn absurd_timestamps_do_not_overflow() {
        let mut clock = FrameClock::new(8_000, Some(gst::ClockTime::MAX));
        clock.advance(u64::MAX / 2);
        assert_eq!(clock.time(clock.frames), None);
    }
}
