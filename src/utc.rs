// SPDX-License-Identifier: MIT OR Apache-2.0
//! The time of day of the audio, which counts the rows with `row-clock=utc`.
//!
//! The system's clock is read once, at the first buffer: from then on timestamps tell the time of day, so
//! neither jitter nor a correction of the system's clock moves it. Buffers with a `GstReferenceTimestampMeta` of
//! caps `timestamp/x-unix` know better, and are believed.

use crate::settings::lock;
use gst::prelude::*;
use std::sync::Mutex;

/// Longest time from capture to arrival that is believed. A buffer that is later than this in a running pipeline was
/// not captured live.
const MOST_LATE: gst::ClockTime = gst::ClockTime::from_seconds(60);

/// Longest time from the first buffer to playing in which a pipeline just starts.
const LONGEST_START: gst::ClockTime = gst::ClockTime::SECOND;

/// Latest Unix time that is used (in the year 2262): what is added to it does not overflow.
const LAST: i128 = i64::MAX as i128;

type Segment = gst::FormattedSegment<gst::ClockTime>;

/// Where a buffer lies on the clock that counts the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    /// Nanoseconds of that clock at the first frame.
    pub time: u64,
    /// What told it, if that is not what was known before. A run that counted something else is wrong.
    pub news: Option<Source>,
}

/// What tells the time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A reference timestamp of the buffer.
    Reference,
    /// The Unix time of the start of the recording.
    Recording,
    /// The system's clock.
    Clock,
}

impl Position {
    /// With `row-clock=stream`.
    pub fn by_stream_time(time: Option<gst::ClockTime>) -> Self {
        Position {
            time: time.map_or(0, gst::ClockTime::nseconds),
            news: None,
        }
    }

    /// Whether this is news to a run that counted `expected`, give or take `tolerance`.
    pub fn contradicts(&self, expected: u64, tolerance: gst::ClockTime) -> bool {
        self.news.is_some() && self.time.abs_diff(expected) > tolerance.nseconds()
    }
}

/// The time of day as an element knows it, from start to stop.
#[derive(Default)]
pub(crate) struct Utc(Mutex<Option<Mapping>>);

impl Utc {
    /// Starts with nothing known; without a mapping, the time of day is not asked for.
    pub fn start(&self, mapping: Option<Mapping>) {
        *lock(&self.0) = mapping;
    }

    /// Where a buffer of `element` lies, if the time of day counts the rows. Its first frames, `clipped` long, are
    /// missing: they lay outside the segment.
    pub fn position(
        &self,
        element: &impl IsA<gst::Element>,
        buffer: &gst::BufferRef,
        clipped: gst::ClockTime,
        segment: Option<&Segment>,
    ) -> Option<Position> {
        let known = lock(&self.0).as_ref()?.is_known();
        // The lock is not held meanwhile: what tells the time may be any element.
        let clocks = if known {
            Clocks::default()
        } else {
            Clocks::read(element)
        };
        let mut mapping = lock(&self.0);
        let mapping = mapping.as_mut()?;
        let time = mapping.time_of(buffer.pts(), segment);
        let reference = unix_reference(buffer);
        let reference = reference.map(|unix| unix.saturating_add(clipped.nseconds()));
        Some(mapping.position(reference, time, clocks))
    }

    /// Takes note of the Unix time up to which frames were counted, for what comes without timestamps.
    pub fn count(&self, until: Option<u64>) {
        if let (Some(mapping), Some(until)) = (&mut *lock(&self.0), until) {
            mapping.counted = Some(until);
        }
    }

    /// Running time starts afresh.
    pub fn restart_time(&self) {
        if let Some(mapping) = &mut *lock(&self.0) {
            mapping.forget();
        }
    }

    /// The time of day goes on in a pause, running time does not.
    pub fn change_state(&self, transition: gst::StateChange) {
        let Some(mapping) = &mut *lock(&self.0) else {
            return;
        };
        match transition {
            gst::StateChange::PlayingToPaused => mapping.paused = true,
            gst::StateChange::PausedToPlaying => mapping.play(Clocks::default().unix),
            _ => (),
        }
    }
}

/// What the clocks show while a buffer arrives.
#[derive(Debug, Clone, Copy)]
struct Clocks {
    unix: u64,
    /// Running time, while playing.
    running: Option<gst::ClockTime>,
}

impl Default for Clocks {
    /// The system's clock only.
    fn default() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Clocks {
            unix: since.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
            running: None,
        }
    }
}

impl Clocks {
    fn read(element: &impl IsA<gst::Element>) -> Self {
        let playing = element.current_state() == gst::State::Playing;
        Clocks {
            running: playing.then(|| element.current_running_time()).flatten(),
            ..Clocks::default()
        }
    }
}

/// The timestamp of the latest buffer as it came in, before the base class clipped it to the segment.
#[derive(Default)]
pub(crate) struct Unclipped(Mutex<Option<gst::ClockTime>>);

impl Unclipped {
    /// A buffer comes in.
    pub fn arrives(&self, buffer: &gst::BufferRef) {
        *lock(&self.0) = buffer.pts();
    }

    /// How much is missing at the beginning of what is left of it. What a meta says about its first frame, it says
    /// about the frame that was the first one.
    pub fn clipped(&self, buffer: &gst::BufferRef) -> gst::ClockTime {
        let before = *lock(&self.0);
        let both = buffer.pts().zip(before);
        both.map_or(gst::ClockTime::ZERO, |(after, before)| {
            after.saturating_sub(before)
        })
    }
}

/// A Unix time, and the time of the stream that belongs to it.
#[derive(Debug, Clone, Copy)]
struct Pair {
    time: Option<gst::ClockTime>,
    unix: u64,
}

/// From the times of a stream to Unix time.
#[derive(Debug, Default)]
pub(crate) struct Mapping {
    /// Added to every clock.
    offset: i64,
    /// Unix time of the first frame of a recording.
    first: Option<u64>,
    pair: Option<Pair>,
    counted: Option<u64>,
    paused: bool,
    /// What the system's clock showed when it was read.
    read_at: Option<u64>,
}

impl Mapping {
    /// By the clocks, and so much later.
    pub fn with_offset(offset: i64) -> Self {
        Mapping {
            offset,
            ..Mapping::default()
        }
    }

    /// Of a recording whose first frame has this Unix time; by the clocks if that is not known.
    pub fn of_recording(first: Option<u64>) -> Self {
        Mapping {
            first,
            ..Mapping::default()
        }
    }

    fn is_known(&self) -> bool {
        self.pair.is_some() || self.first.is_some()
    }

    /// What follows is another play. A recording stays what it is.
    fn forget(&mut self) {
        if self.first.is_none() {
            self.pair = None;
        }
    }

    /// Playing begins, or goes on, while the system's clock shows `now`. What was prepared long before counts from now:
    /// a programme that was cued ten minutes ago goes on air now.
    fn play(&mut self, now: u64) {
        let cued = |at: u64| now.saturating_sub(at) > LONGEST_START.nseconds();
        if std::mem::take(&mut self.paused) || self.read_at.is_some_and(cued) {
            self.forget();
        }
    }

    /// The time that goes along with Unix time: where in a recording, or when it is played.
    fn time_of(
        &self,
        pts: Option<gst::ClockTime>,
        segment: Option<&Segment>,
    ) -> Option<gst::ClockTime> {
        if self.first.is_some() {
            segment?.to_stream_time(pts)
        } else {
            segment?.to_running_time(pts)
        }
    }

    fn position(
        &mut self,
        reference: Option<u64>,
        time: Option<gst::ClockTime>,
        clocks: Clocks,
    ) -> Position {
        if let (None, Some(pair)) = (reference, self.pair) {
            let unix = match (pair.time, time) {
                (Some(then), Some(now)) => shifted(
                    pair.unix,
                    i128::from(now.nseconds()) - i128::from(then.nseconds()),
                ),
                _ => self.counted.unwrap_or(pair.unix),
            };
            if pair.time.is_none() {
                self.pair = Some(Pair { time, unix });
            }
            return Position {
                time: unix,
                news: None,
            };
        }
        let (unix, source) = match (reference, self.first) {
            (Some(reference), _) => (shifted(reference, self.offset.into()), Source::Reference),
            (None, Some(first)) => (shifted(first, 0), Source::Recording),
            // Live audio is as old as its timestamp says; what is prepared for playing is not yet due.
            (None, None) => {
                let late = clocks
                    .running
                    .zip(time)
                    .and_then(|(now, then)| now.checked_sub(then))
                    .filter(|late| *late <= MOST_LATE)
                    .unwrap_or(gst::ClockTime::ZERO);
                self.read_at = Some(clocks.unix);
                let later = i128::from(self.offset) - i128::from(late.nseconds());
                (shifted(clocks.unix, later), Source::Clock)
            }
        };
        self.pair = Some(Pair { time, unix });
        Position {
            time: unix,
            news: Some(source),
        }
    }
}

fn shifted(unix: u64, by: i128) -> u64 {
    (i128::from(unix) + by).clamp(0, LAST) as u64
}

/// Unix time that a buffer carries for its first frame.
fn unix_reference(buffer: &gst::BufferRef) -> Option<u64> {
    buffer
        .iter_meta::<gst::ReferenceTimestampMeta>()
        .find(|meta| {
            let structure = meta.reference().structure(0);
            structure.is_some_and(|structure| structure.name() == "timestamp/x-unix")
        })
        .map(|meta| meta.timestamp().nseconds())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000_000_000;
    const SECOND: u64 = 1_000_000_000;

    fn seconds(n: u64) -> Option<gst::ClockTime> {
        Some(gst::ClockTime::from_seconds(n))
    }

    fn clocks(unix: u64, running: Option<gst::ClockTime>) -> Clocks {
        Clocks { unix, running }
    }

    /// The position by what is known, whatever the clocks show.
    fn known(mapping: &mut Mapping, time: Option<gst::ClockTime>) -> u64 {
        let position = mapping.position(None, time, clocks(7, seconds(7)));
        assert_eq!(position.news, None);
        position.time
    }

    fn news(time: u64) -> Position {
        Position {
            time,
            news: Some(Source::Clock),
        }
    }

    #[test]
    fn the_clock_is_taken_once() {
        let mut mapping = Mapping::with_offset(0);
        let first = mapping.position(None, seconds(5), clocks(NOW, None));
        assert_eq!(first, news(NOW));
        assert_eq!(known(&mut mapping, seconds(9)), NOW + 4 * SECOND);
        assert_eq!(known(&mut mapping, seconds(2)), NOW - 3 * SECOND);
        mapping.forget();
        let again = mapping.position(None, seconds(9), clocks(NOW, None));
        assert_eq!(again, news(NOW));
    }

    #[test]
    fn live_audio_is_as_old_as_its_timestamp_says() {
        for (running, late) in [(7, 2), (5, 0), (4, 0), (65, 60), (66, 0)] {
            let mut mapping = Mapping::with_offset(0);
            let position = mapping.position(None, seconds(5), clocks(NOW, seconds(running)));
            assert_eq!(position, news(NOW - late * SECOND), "at {running} s");
        }
    }

    #[test]
    fn the_offset_shifts_clock_and_reference() {
        let mut mapping = Mapping::with_offset(-3 * SECOND as i64);
        let by_clock = mapping.position(None, seconds(0), clocks(NOW, None));
        assert_eq!(by_clock, news(NOW - 3 * SECOND));
        let by_reference = mapping.position(Some(NOW + 10), seconds(1), clocks(NOW, None));
        assert_eq!(by_reference.time, NOW + 10 - 3 * SECOND);
        assert_eq!(by_reference.news, Some(Source::Reference));
        assert_eq!(known(&mut mapping, seconds(2)), NOW + 10 - 2 * SECOND);
    }

    #[test]
    fn without_timestamps_frames_count() {
        let mut mapping = Mapping::with_offset(0);
        mapping.position(None, None, clocks(NOW, seconds(3)));
        assert_eq!(known(&mut mapping, None), NOW);
        mapping.counted = Some(NOW + SECOND);
        assert_eq!(known(&mut mapping, None), NOW + SECOND);
        // Timestamps that come later go on from there.
        assert_eq!(known(&mut mapping, seconds(20)), NOW + SECOND);
        assert_eq!(known(&mut mapping, seconds(22)), NOW + 3 * SECOND);
    }

    #[test]
    fn a_recording_has_the_time_it_was_made() {
        gst::init().unwrap();
        let mut segment = Segment::new();
        segment.set_base(gst::ClockTime::from_seconds(100));
        let mut mapping = Mapping::of_recording(Some(NOW));
        assert!(mapping.is_known());
        let time = mapping.time_of(seconds(8), Some(&segment));
        assert_eq!(time, seconds(8), "by the place in the recording");
        let first = mapping.position(None, time, clocks(7, seconds(7)));
        assert_eq!((first.time, first.news), (NOW, Some(Source::Recording)));
        mapping.forget();
        assert_eq!(known(&mut mapping, seconds(10)), NOW + 2 * SECOND);
        let time = Mapping::of_recording(None).time_of(seconds(8), Some(&segment));
        assert_eq!(time, seconds(108), "by running time");
    }

    #[test]
    fn only_a_pause_makes_the_clock_be_read_again() {
        let utc = Utc::default();
        utc.change_state(gst::StateChange::PausedToPlaying);
        let mut mapping = Mapping::with_offset(0);
        mapping.position(None, seconds(0), clocks(NOW, None));
        utc.start(Some(mapping));
        let is_known = || lock(&utc.0).as_ref().unwrap().is_known();
        utc.change_state(gst::StateChange::PausedToPlaying);
        assert!(is_known(), "the start of the play");
        utc.change_state(gst::StateChange::PlayingToPaused);
        assert!(is_known());
        utc.change_state(gst::StateChange::PausedToPlaying);
        assert!(!is_known());
    }

    #[test]
    fn what_was_cued_long_ago_counts_from_now() {
        for (waited, known) in [(SECOND / 2, true), (600 * SECOND, false)] {
            let mut mapping = Mapping::with_offset(0);
            mapping.position(None, seconds(0), clocks(NOW, None));
            mapping.play(NOW + waited);
            assert_eq!(mapping.is_known(), known, "{waited} ns");
        }
    }

    #[test]
    fn absurd_times_do_not_overflow() {
        for (unix, offset) in [(u64::MAX, i64::MAX), (0, i64::MIN), (u64::MAX, i64::MIN)] {
            let mut mapping = Mapping::with_offset(offset);
            let max = Some(gst::ClockTime::MAX);
            for time in [max, seconds(0), None] {
                for reference in [None, Some(unix)] {
                    let position = mapping.position(reference, time, clocks(unix, max));
                    assert!(position.time <= i64::MAX as u64);
                }
            }
        }
    }

    #[test]
    fn only_unix_time_is_believed() {
        gst::init().unwrap();
        let mut buffer = gst::Buffer::new();
        let mut add = |name: &str, time| {
            let caps = gst::Caps::builder(name).field("any", 1).build();
            let time = gst::ClockTime::from_seconds(time);
            gst::ReferenceTimestampMeta::add(buffer.get_mut().unwrap(), &caps, time, None);
            unix_reference(&buffer)
        };
        assert_eq!(add("timestamp/x-ntp", 5), None);
        assert_eq!(add("timestamp/x-unix", 6), Some(6 * SECOND));
        let mut buffer = gst::Buffer::new();
        for caps in [gst::Caps::new_any(), gst::Caps::new_empty()] {
            let time = gst::ClockTime::ZERO;
            gst::ReferenceTimestampMeta::add(buffer.get_mut().unwrap(), &caps, time, None);
        }
        assert_eq!(unix_reference(&buffer), None);
    }

    #[test]
    fn only_news_contradicts() {
        let tolerance = gst::ClockTime::from_mseconds(40);
        let position = news(NOW);
        assert!(position.contradicts(NOW - 40_000_001, tolerance));
        assert!(position.contradicts(NOW + 40_000_001, tolerance));
        assert!(!position.contradicts(NOW + 40_000_000, tolerance));
        let known = Position {
            time: NOW,
            news: None,
        };
        assert!(!known.contradicts(0, tolerance));
    }
}
