// SPDX-License-Identifier: MIT OR Apache-2.0
//! One stream of audio on its way into the detector, and what comes back with times on it.

use crate::audio::{self, CHUNK};
use crate::clock::{Arrival, FrameClock, TOLERANCE};
use crate::samples::Samples;
use crate::utc::Position;
use crate::watermark::detector::DetectorStats;
use crate::watermark::{
    ConfigError, Detection, DetectionState, Detector, DetectorConfig, Key, format,
};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Missing audio that counts as silence; after more, the detector starts afresh.
const LONGEST_GAP: gst::ClockTime = gst::ClockTime::SECOND;

type Segment = gst::FormattedSegment<gst::ClockTime>;

/// Audio without a break.
struct Run {
    clock: FrameClock,
    /// Nanoseconds of the row clock at the first frame, as the detector's own clock has it.
    position: u64,
    /// Messages are to say which key they are about.
    several: bool,
    /// The segment of the latest buffer: reports may come when the next one is here already.
    segment: Option<Segment>,
    /// What there was has been evaluated to its end.
    finished: bool,
}

pub(super) struct Stream {
    info: gst_audio::AudioInfo,
    samples: Samples,
    detector: Detector,
    /// By how much its clock may be off before the search has to start afresh.
    clock_tolerance: gst::ClockTime,
    run: Option<Run>,
    /// Messages are to say which key they are about.
    several: bool,
    input: Vec<f32>,
}

impl Stream {
    /// Leaves no room for what the core writes or reads, as an error in the code might: the next audio panics.
    #[cfg(test)]
    pub fn spoil(&mut self) {
        self.input.clear();
    }

    pub fn new(
        info: &gst_audio::AudioInfo,
        config: &DetectorConfig,
        keys: &[Key],
        several: bool,
    ) -> Result<Self, ConfigError> {
        Ok(Stream {
            info: info.clone(),
            samples: Samples::new(info),
            detector: Detector::new(config, keys)?,
            // The rows come from the mark, and only have to be among those that are searched.
            clock_tolerance: gst::ClockTime::from_seconds_f64(0.5 * config.clock_tolerance)
                .max(TOLERANCE),
            run: None,
            several,
            input: vec![0.0; CHUNK * config.channels],
        })
    }

    /// See [`Detector::interrupt`].
    pub fn interrupt(&self) -> Arc<AtomicBool> {
        self.detector.interrupt()
    }

    pub fn set_interval(&mut self, interval: gst::ClockTime) {
        self.detector.set_interval(interval.seconds_f64());
    }

    pub fn is_present(&self) -> bool {
        self.run.is_some() && self.detector.is_present()
    }

    pub fn score(&self) -> f64 {
        self.detector.score()
    }

    pub fn stats(&self) -> DetectorStats {
        self.detector.stats()
    }

    /// Takes a buffer, wherever it lies.
    pub fn push(
        &mut self,
        buffer: &gst::BufferRef,
        segment: Option<Segment>,
        position: Position,
        reports: &mut Vec<gst::Structure>,
    ) -> Result<(), gst::ErrorMessage> {
        use gst::BufferFlags as F;
        let frames = audio::frames(&self.info, buffer)?;
        self.arrive(buffer, reports);
        if let Some(run) = &self.run
            && position.contradicts(run.clock.after(run.position), self.clock_tolerance)
        {
            self.end(reports);
        }
        let clock = || FrameClock::new(self.info.rate(), buffer.pts());
        let run = self.run.get_or_insert_with(|| {
            self.detector.reset(position.time);
            Run {
                several: self.several,
                clock: clock(),
                position: position.time,
                segment: None,
                finished: false,
            }
        });
        run.segment = segment;
        if buffer.flags().intersects(F::GAP | F::CORRUPTED) {
            self.silence(frames as u64, reports);
            return Ok(());
        }
        let map = buffer
            .map_readable()
            .map_err(|_| gst::error_msg!(gst::ResourceError::Read, ("A buffer cannot be read")))?;
        let bytes = audio::interleaved(&self.info, buffer, &map)?;
        for bytes in bytes.chunks(CHUNK * self.info.bpf() as usize) {
            let frames = bytes.len() / self.info.bpf() as usize;
            let samples = frames * self.info.channels() as usize;
            self.samples.analyse(bytes, &mut self.input[..samples]);
            self.feed(frames, reports);
        }
        Ok(())
    }

    /// Nanoseconds of the row clock at the frame that is to come.
    pub fn position_after(&self) -> Option<u64> {
        let run = self.run.as_ref()?;
        Some(run.clock.after(run.position))
    }

    /// Bridges or ends the run where a buffer does not continue it.
    fn arrive(&mut self, buffer: &gst::BufferRef, reports: &mut Vec<gst::Structure>) {
        let Some(run) = &mut self.run else { return };
        if run.finished {
            return self.forget(reports);
        }
        let discont = buffer.flags().contains(gst::BufferFlags::DISCONT);
        let place = run.clock.place(buffer.pts());
        let arrival = match run.clock.arrival(buffer.pts()) {
            // Small losses add up, too. What comes too early has lost nothing, whatever its flag says.
            Arrival::Drifted if discont && matches!(place, Arrival::Missing(_)) => place,
            arrival => arrival,
        };
        match (arrival, buffer.pts()) {
            // Without a timestamp nobody knows how much is missing.
            (_, None) if discont => self.end(reports),
            (Arrival::Continues, _) => (),
            // No audio is missing, so the detector need not know.
            (Arrival::Drifted, Some(pts)) => run.clock.follow(pts),
            (Arrival::Missing(time), Some(pts)) if time <= LONGEST_GAP => {
                self.bridge(time, pts, reports);
            }
            _ => self.end(reports),
        }
    }

    /// Takes `time` of missing audio before `pts` for silence.
    fn bridge(
        &mut self,
        time: gst::ClockTime,
        pts: gst::ClockTime,
        reports: &mut Vec<gst::Structure>,
    ) {
        let Some(run) = &mut self.run else { return };
        let frames = run.clock.frames_in(time);
        self.silence(frames, reports);
        // Else as much missing before the next buffer would look as if it had been away already.
        if let Some(run) = &mut self.run {
            run.clock.follow(pts);
        }
    }

    /// Takes a gap event: `duration` from `timestamp` on there is no audio.
    pub fn gap(
        &mut self,
        timestamp: gst::ClockTime,
        duration: Option<gst::ClockTime>,
        reports: &mut Vec<gst::Structure>,
    ) {
        let Some(run) = &self.run else { return };
        // Up to its end rather than by its length: many short gaps must not add up their rounding.
        let until = timestamp.saturating_add(duration.unwrap_or(gst::ClockTime::ZERO));
        match run.clock.place(Some(until)) {
            Arrival::Missing(time) if time <= LONGEST_GAP => {
                self.silence(run.clock.frames_in(time), reports);
            }
            Arrival::Missing(_) => self.end(reports),
            // If time jumps, the next buffer tells.
            Arrival::Continues | Arrival::Drifted | Arrival::Elsewhere => (),
        }
    }

    /// Evaluates what is left, since no audio follows. If some does all the same, it is another run.
    pub fn finish(&mut self, reports: &mut Vec<gst::Structure>) {
        let Stream {
            detector,
            run: Some(run),
            ..
        } = self
        else {
            return;
        };
        detector.finish(&mut |detection| reports.push(report(detection, run)));
        run.finished = true;
    }

    /// Ends the run; what follows has nothing to do with it.
    pub fn end(&mut self, reports: &mut Vec<gst::Structure>) {
        self.finish(reports);
        self.forget(reports);
    }

    /// The same, without evaluating what is left.
    pub fn forget(&mut self, reports: &mut Vec<gst::Structure>) {
        let Some(run) = self.run.take() else { return };
        let add = &mut |detection: &Detection| reports.push(report(detection, &run));
        self.detector.break_off(add);
        self.detector.reset(0);
    }

    fn silence(&mut self, mut frames: u64, reports: &mut Vec<gst::Structure>) {
        self.input.fill(0.0);
        while frames > 0 {
            let n = frames.min(CHUNK as u64);
            self.feed(n as usize, reports);
            frames -= n;
        }
    }

    /// Hands the first `frames` of the input scratch to the detector.
    fn feed(&mut self, frames: usize, reports: &mut Vec<gst::Structure>) {
        let Stream {
            detector,
            run: Some(run),
            input,
            info,
            ..
        } = self
        else {
            return;
        };
        run.clock.advance(frames as u64);
        let input = &input[..frames * info.channels() as usize];
        detector.push(input, &mut |detection| reports.push(report(detection, run)));
    }
}

/// The message about a detection. Every time in it is that of the start of the evidence.
fn report(detection: &Detection, run: &Run) -> gst::Structure {
    let state = match detection.state {
        DetectionState::Found => "found",
        DetectionState::Present => "present",
        DetectionState::Lost => "lost",
    };
    let timestamp = run.clock.time(detection.start);
    let segment = run.segment.as_ref();
    let key_index = u32::try_from(detection.key_index).unwrap_or(u32::MAX);
    gst::Structure::builder("wmdetect")
        .field("state", state)
        .field_if_some("key-index", run.several.then_some(key_index))
        .field("score", detection.score)
        .field("log10-p", detection.log10_p)
        .field("window", nanoseconds(detection.window))
        .field("speed", detection.speed)
        .field(
            "watermark-time",
            nanoseconds(detection.watermark_time) % nanoseconds(format::CYCLE),
        )
        .field_if_some(
            "watermark-time-error",
            detection.watermark_time_error.map(nanoseconds),
        )
        .field_if_some("broadcast-time", detection.broadcast_time)
        .field_if_some(
            "payload",
            detection.payload.map(|payload| payload.to_string()),
        )
        .field_if_some("timestamp", timestamp)
        .field_if_some(
            "stream-time",
            segment.and_then(|s| s.to_stream_time(timestamp)),
        )
        .field_if_some(
            "running-time",
            segment.and_then(|s| s.to_running_time(timestamp)),
        )
        .field_if_some(
            "duration",
            run.clock.duration(detection.start, detection.end),
        )
        .build()
}

fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watermark::{Carrier, Payload, RowClock};

    fn detection(state: DetectionState) -> Detection {
        Detection {
            state,
            key_index: 0,
            payload: None,
            score: 9.0,
            log10_p: -6.0,
            window: 0.8,
            speed: 1.001,
            start: 16_000,
            end: 24_000,
            watermark_time: 12.5,
            watermark_time_error: Some(0.005),
            broadcast_time: None,
        }
    }

    fn run(base: Option<gst::ClockTime>) -> Run {
        gst::init().unwrap();
        let mut segment = Segment::new();
        segment.set_start(gst::ClockTime::from_seconds(10));
        segment.set_time(gst::ClockTime::from_seconds(30));
        segment.set_base(gst::ClockTime::from_seconds(50));
        Run {
            clock: FrameClock::new(16_000, base),
            position: 0,
            segment: Some(segment),
            several: false,
            finished: false,
        }
    }

    #[test]
    fn every_time_is_that_of_the_start_of_the_evidence() {
        let run = run(Some(gst::ClockTime::from_seconds(14)));
        let s = report(&detection(DetectionState::Found), &run);
        assert_eq!(s.name(), "wmdetect");
        assert_eq!(s.get::<&str>("state"), Ok("found"));
        assert_eq!(s.get::<f64>("score"), Ok(9.0));
        assert_eq!(s.get::<f64>("log10-p"), Ok(-6.0));
        assert_eq!(s.get::<f64>("speed"), Ok(1.001));
        let nanoseconds = [
            ("window", 800_000_000),
            ("watermark-time", 12_500_000_000),
            ("watermark-time-error", 5_000_000),
            ("timestamp", 15_000_000_000),
            ("stream-time", 35_000_000_000),
            ("running-time", 55_000_000_000),
            ("duration", 500_000_000),
        ];
        for (field, value) in nanoseconds {
            assert_eq!(s.get::<u64>(field), Ok(value), "{field}");
        }
        assert_eq!(s.n_fields(), 4 + nanoseconds.len());
    }

    #[test]
    fn a_time_that_does_not_exist_is_left_out() {
        let run = run(None);
        let s = report(&detection(DetectionState::Present), &run);
        for field in ["timestamp", "stream-time", "running-time"] {
            assert!(!s.has_field(field), "{field}");
        }
        assert_eq!(s.get::<u64>("duration"), Ok(500_000_000));
    }

    #[test]
    fn payload_and_key_are_told_where_there_are_any() {
        let said = Detection {
            key_index: 2,
            payload: Some(Payload([0, 0xc0, 0xff, 0xee])),
            ..detection(DetectionState::Present)
        };
        let s = report(&said, &run(None));
        assert_eq!(s.get::<&str>("payload"), Ok("00c0ffee"));
        assert!(!s.has_field("key-index"), "there is only one key");
        let several = Run {
            several: true,
            ..run(None)
        };
        let s = report(&said, &several);
        assert_eq!(s.get::<u32>("key-index"), Ok(2));
    }

    #[test]
    fn the_end_of_the_cycle_is_its_start() {
        let end = Detection {
            watermark_time: format::CYCLE - 1e-12,
            ..detection(DetectionState::Found)
        };
        let s = report(&end, &run(None));
        assert_eq!(s.get::<u64>("watermark-time"), Ok(0));
    }

    fn stream() -> Stream {
        gst::init().unwrap();
        let format = gst_audio::AudioFormat::S16le;
        let info = gst_audio::AudioInfo::builder(format, 16_000, 1)
            .build()
            .unwrap();
        let config = DetectorConfig {
            sample_rate: 16_000,
            channels: 1,
            carrier: Carrier::Programme,
            row_clock: RowClock::Stream,
            clock_tolerance: 120.0,
            false_alarms_per_hour: 1e-4,
            max_speed_deviation: 0.0,
            interval: 1.0,
        };
        Stream::new(&info, &config, &[Key::from_bytes([1; 32])], false).unwrap()
    }

    /// Pushes a second of silence at `start` milliseconds, returns the frames taken since the last break.
    fn push(stream: &mut Stream, start: u64, reports: &mut Vec<gst::Structure>) -> u64 {
        push_flagged(stream, Some(start), gst::BufferFlags::empty(), reports)
    }

    fn push_flagged(
        stream: &mut Stream,
        start: Option<u64>,
        flags: gst::BufferFlags,
        reports: &mut Vec<gst::Structure>,
    ) -> u64 {
        let mut buffer = gst::Buffer::from_slice(vec![0; 32_000]);
        let fresh = buffer.get_mut().unwrap();
        fresh.set_pts(start.map(gst::ClockTime::from_mseconds));
        fresh.set_flags(flags);
        let position = Position::by_stream_time(None);
        stream.push(&buffer, None, position, reports).unwrap();
        stream.run.as_ref().unwrap().clock.arrived()
    }

    #[test]
    fn short_gaps_are_bridged_and_long_ones_start_afresh() {
        let (mut stream, mut reports) = (stream(), Vec::new());
        assert_eq!(push(&mut stream, 0, &mut reports), 16_000);
        assert_eq!(push(&mut stream, 1_030, &mut reports), 32_000, "jitter");
        assert_eq!(
            push(&mut stream, 2_500, &mut reports),
            56_000,
            "half a second missing"
        );
        assert_eq!(
            push(&mut stream, 9_000, &mut reports),
            16_000,
            "too much missing"
        );
        assert_eq!(push(&mut stream, 3_000, &mut reports), 16_000, "backwards");
        let ms = gst::ClockTime::from_mseconds;
        stream.gap(ms(4_000), Some(ms(200)), &mut reports);
        stream.gap(ms(4_200), Some(ms(200)), &mut reports);
        assert_eq!(push(&mut stream, 4_400, &mut reports), 38_400, "gap events");
        stream.gap(ms(5_400), Some(ms(2_000)), &mut reports);
        assert!(stream.run.is_none(), "a long gap event");
    }

    /// What is missing before one buffer says nothing about the next one.
    #[test]
    fn losses_that_are_alike_are_no_drift() {
        for flags in [gst::BufferFlags::empty(), gst::BufferFlags::DISCONT] {
            let (mut stream, mut reports) = (stream(), Vec::new());
            let mut push = |start| push_flagged(&mut stream, Some(start), flags, &mut reports);
            assert_eq!(push(0), 16_000);
            assert_eq!(push(1_500), 40_000, "{flags:?}");
            assert_eq!(push(3_000), 64_000, "{flags:?}");
            assert_eq!(push(4_500), 88_000, "{flags:?}");
        }
    }

    #[test]
    fn a_discontinuity_without_a_timestamp_starts_afresh() {
        let (mut stream, mut reports) = (stream(), Vec::new());
        let discont = gst::BufferFlags::DISCONT;
        push(&mut stream, 0, &mut reports);
        let frames = push_flagged(&mut stream, None, discont, &mut reports);
        assert_eq!(frames, 16_000);
    }
}
