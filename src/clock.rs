// SPDX-License-Identifier: MIT OR Apache-2.0
//! Timestamps from a count of frames.
//!
//! Durations are never added up: at 44.1 kHz each would be rounded, and the sum would drift.

use gst::prelude::*;

/// Deviation of a timestamp from the count of frames that is taken for jitter.
pub(crate) const TOLERANCE: gst::ClockTime = gst::ClockTime::from_mseconds(40);

/// Deviation that may come with a single buffer of a stream whose timestamps drift away from its frames. More at once
/// is a break.
const DRIFT: gst::ClockTime = gst::ClockTime::from_mseconds(20);

/// How a buffer follows the frames before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Right behind them, as far as can be told.
    Continues,
    /// Right behind them, but the clock that stamps the buffers and the one that makes the frames have drifted apart
    /// by more than jitter.
    Drifted,
    /// With this much audio missing in between.
    Missing(gst::ClockTime),
    /// Anywhere else.
    Elsewhere,
}

/// The time of every frame of a run of audio without a break.
#[derive(Debug, Clone)]
pub(crate) struct FrameClock {
    rate: u64,
    /// Nanoseconds of the timestamp of frame 0, as seen from the latest frames.
    base: Option<i128>,
    frames: u64,
    /// Nanoseconds by which the latest timestamp was ahead of the count of frames.
    deviation: i128,
}

impl FrameClock {
    /// A run of `rate` frames a second that starts at `base`, or without timestamps.
    pub fn new(rate: u32, base: Option<gst::ClockTime>) -> Self {
        FrameClock {
            rate: u64::from(rate.max(1)),
            base: base.map(|base| base.nseconds().into()),
            frames: 0,
            deviation: 0,
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

    /// Counts frames that are missing, up to the timestamp that has just arrived.
    pub fn skip(&mut self, frames: u64) {
        self.frames += frames;
        self.deviation = 0;
    }

    /// Time from the start of the run to `frame`.
    pub fn elapsed(&self, frame: u64) -> Option<gst::ClockTime> {
        frame
            .mul_div_floor(*gst::ClockTime::SECOND, self.rate)
            .and_then(|time| gst::ClockTime::try_from(time).ok())
    }

    /// Nanoseconds of a clock at the frame that is to come, if it showed `start` at the first one; the last moment that
    /// there is in place of those beyond it.
    pub fn after(&self, start: u64) -> u64 {
        let elapsed = self.elapsed(self.frames);
        let after = start.saturating_add(elapsed.map_or(u64::MAX, gst::ClockTime::nseconds));
        after.min(*gst::ClockTime::MAX)
    }

    /// Timestamp of `frame`, if the run has timestamps.
    pub fn time(&self, frame: u64) -> Option<gst::ClockTime> {
        let time = self.base? + i128::from(self.elapsed(frame)?.nseconds());
        u64::try_from(time.max(0))
            .ok()
            .and_then(|time| gst::ClockTime::try_from(time).ok())
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
    pub fn arrival(&mut self, pts: Option<gst::ClockTime>) -> Arrival {
        let arrival = self.place(pts);
        let (Some(expected), Some(pts)) = (self.time(self.frames), pts) else {
            return arrival;
        };
        let deviation = i128::from(pts.nseconds()) - i128::from(expected.nseconds());
        let step = deviation.abs_diff(std::mem::replace(&mut self.deviation, deviation));
        match arrival {
            Arrival::Missing(_) | Arrival::Elsewhere if step <= DRIFT.nseconds().into() => {
                Arrival::Drifted
            }
            arrival => arrival,
        }
    }

    /// Where a timestamp lies, whatever those before it were.
    pub fn place(&self, pts: Option<gst::ClockTime>) -> Arrival {
        match (self.time(self.frames), pts) {
            (_, None) => Arrival::Continues,
            (None, Some(_)) => Arrival::Elsewhere,
            (Some(expected), Some(pts)) if pts.absdiff(expected) <= TOLERANCE => Arrival::Continues,
            (Some(expected), Some(pts)) => pts
                .checked_sub(expected)
                .map_or(Arrival::Elsewhere, Arrival::Missing),
        }
    }

    /// Gives the frame that is to come this timestamp; the count goes on.
    pub fn follow(&mut self, pts: gst::ClockTime) {
        if let Some(elapsed) = self.elapsed(self.frames) {
            self.base = Some(i128::from(pts.nseconds()) - i128::from(elapsed.nseconds()));
            self.deviation = 0;
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

    /// 24 hours at 44.1 kHz: every buffer begins where exact arithmetic has it, and ends where the next one begins.
    #[test]
    fn no_drift_within_a_day() {
        let day = 24 * 3_600 * 44_100u64;
        let base = gst::ClockTime::from_nseconds(1_234_567_891);
        let mut clock = FrameClock::new(44_100, Some(base));
        let mut end = base;
        while clock.arrived() < day {
            let start = clock.arrived();
            let exact = u128::from(start) * 1_000_000_000 / 44_100;
            assert_eq!(u128::from((end - base).nseconds()), exact, "{start}");
            assert_eq!(clock.time(start), Some(end));
            clock.advance(1_021.min(day - start));
            end += clock.duration(start, clock.arrived()).unwrap();
        }
        assert_eq!(end - base, gst::ClockTime::from_seconds(86_400));
    }

    /// 50 ppm for a day, in buffers of 10 ms.
    #[test]
    fn drift_is_no_break() {
        for direction in [1, -1] {
            let mut clock = FrameClock::new(48_000, Some(gst::ClockTime::from_seconds(10)));
            let mut followed = 0;
            for n in 0..8_640_000i64 {
                let pts = 10_000_000_000 + n * (10_000_000 + direction * 500);
                let pts = gst::ClockTime::from_nseconds(pts as u64);
                match clock.arrival(Some(pts)) {
                    Arrival::Continues => (),
                    Arrival::Drifted => {
                        followed += 1;
                        clock.follow(pts);
                    }
                    other => panic!("{other:?} at {pts}"),
                }
                let deviation = clock.time(clock.arrived()).unwrap().absdiff(pts);
                assert!(deviation <= TOLERANCE, "{deviation} at {pts}");
                clock.advance(480);
            }
            // 4.32 s, 40 ms at a time.
            assert!((105..=108).contains(&followed), "{followed}");
        }
    }

    #[test]
    fn what_drifts_to_before_the_start_does_not_underflow() {
        let mut clock = FrameClock::new(48_000, Some(gst::ClockTime::ZERO));
        clock.advance(48_000);
        clock.follow(gst::ClockTime::from_mseconds(900));
        assert_eq!(clock.time(0), Some(gst::ClockTime::ZERO));
        let at = clock.time(clock.arrived());
        assert_eq!(at, Some(gst::ClockTime::from_mseconds(900)));
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
