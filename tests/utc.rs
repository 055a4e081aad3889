// SPDX-License-Identifier: MIT OR Apache-2.0
//! With `row-clock=utc` the mark tells when the programme was broadcast. No test here waits for any clock.

mod common;

use common::{KEY, Message, recording};
use gst::prelude::*;
use std::time::SystemTime;

const RATE: usize = 16_000;
const SECOND: i64 = 1_000_000_000;
/// Some time in 2026.
const THEN: i64 = 1_790_000_000 * SECOND + 123_456_789;
const UNIX: &str = "timestamp/x-unix";
const NTP: &str = "timestamp/x-ntp";
/// A broadcast time is right to this.
const RIGHT: i64 = SECOND / 20;

/// Eight seconds of music.
fn programme() -> Vec<f32> {
    let music = recording("music.flac", RATE as u32, 1);
    music.iter().copied().cycle().take(8 * RATE).collect()
}

fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_nanos()).unwrap()
}

fn seconds(n: u64) -> gst::ClockTime {
    gst::ClockTime::from_seconds(n)
}

fn refer(buffer: &mut gst::Buffer, clock: &str, time: i64) {
    let buffer = buffer.get_mut().unwrap();
    let time = gst::ClockTime::from_nseconds(time as u64);
    gst::ReferenceTimestampMeta::add(buffer, &gst::Caps::new_empty_simple(clock), time, None);
}

fn reference(buffer: &gst::Buffer, clock: &str) -> Option<i64> {
    buffer
        .iter_meta::<gst::ReferenceTimestampMeta>()
        .find(|meta| meta.reference().structure(0).unwrap().name() == clock)
        .map(|meta| meta.timestamp().nseconds() as i64)
}

/// The samples in buffers of a quarter of a second with timestamps from `pts` on. If there is a `reference`, it is the
/// Unix time of the first one.
fn buffers(samples: &[f32], pts: gst::ClockTime, unix: Option<i64>) -> Vec<gst::Buffer> {
    let pieces = samples.chunks(RATE / 4).enumerate().map(|(n, piece)| {
        let bytes: Vec<u8> = piece.iter().flat_map(|x| x.to_le_bytes()).collect();
        let mut buffer = gst::Buffer::from_slice(bytes);
        let elapsed = n as i64 * SECOND / 4;
        let time = pts + gst::ClockTime::from_nseconds(elapsed as u64);
        buffer.get_mut().unwrap().set_pts(time);
        if let Some(unix) = unix {
            refer(&mut buffer, NTP, unix - THEN + elapsed);
            refer(&mut buffer, UNIX, unix + elapsed);
        }
        buffer
    });
    pieces.collect()
}

fn samples(buffers: &[gst::Buffer]) -> Vec<f32> {
    let bytes = buffers
        .iter()
        .flat_map(|buffer| buffer.map_readable().unwrap().to_vec());
    let bytes: Vec<u8> = bytes.collect();
    let samples = bytes.as_chunks().0.iter();
    samples.map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// A `wmembed` that follows the time of day, in a pipeline whose clock is set by hand.
struct Embed {
    harness: gst_check::Harness,
    element: gst::Element,
}

impl Embed {
    fn new(utc_offset: i64) -> Self {
        common::init();
        let element = gst::ElementFactory::make("wmembed")
            .property("key", KEY)
            .property_from_str("row-clock", "utc")
            .property("utc-offset", utc_offset)
            .build()
            .unwrap();
        let mut harness = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
        harness.use_testclock();
        let caps = format!("audio/x-raw,format=F32LE,rate={RATE},channels=1,layout=interleaved");
        harness.set_src_caps_str(&caps);
        Embed { harness, element }
    }

    fn push(&mut self, buffers: Vec<gst::Buffer>) {
        for buffer in buffers {
            self.harness.push(buffer).unwrap();
        }
    }

    /// All that was marked since the last time, to the end.
    fn finish(&mut self) -> Vec<gst::Buffer> {
        // Whatever comes next, what is held leaves before.
        assert!(
            self.harness
                .push_event(gst::event::Gap::builder(seconds(0)).build())
        );
        std::iter::from_fn(|| self.harness.try_pull()).collect()
    }

    /// The programme marked at once: what goes in, and what comes out.
    fn mark(utc_offset: i64, input: Vec<gst::Buffer>) -> Vec<f32> {
        let mut embed = Embed::new(utc_offset);
        embed.push(input);
        samples(&embed.finish())
    }
}

/// What `wmdetect` with these properties says.
fn detect(input: Vec<gst::Buffer>, properties: &str) -> Vec<Message> {
    let pipeline = common::pipeline(&format!(
        "appsrc name=source format=time max-bytes=0 \
         caps=audio/x-raw,format=F32LE,rate={RATE},channels=1,layout=interleaved \
         ! wmdetect key={KEY} {properties} ! fakesink sync=false"
    ));
    let source = pipeline.by_name("source").unwrap();
    let source: gst_app::AppSrc = source.downcast().unwrap();
    for buffer in input {
        source.push_buffer(buffer).unwrap();
    }
    source.end_of_stream().unwrap();
    common::play(&pipeline)
}

/// Unix time of the first frame according to each message of a detector whose clock is `clock` at the first frame.
fn dates(marked: &[f32], clock: i64) -> Vec<i64> {
    let input = buffers(marked, seconds(0), None);
    dates_of(&detect(input, &format!("row-clock=utc utc-start={clock}")))
}

fn dates_of(messages: &[Message]) -> Vec<i64> {
    messages.iter().map(date_of).collect()
}

fn date_of(message: &Message) -> i64 {
    let time = |field| message.time(field).nseconds() as i64;
    time("broadcast-time") - time("timestamp")
}

#[track_caller]
fn assert_dated(marked: &[f32], clock: i64, date: i64) {
    let dates = dates(marked, clock);
    assert!(!dates.is_empty(), "not found");
    let off: Vec<i64> = dates.iter().map(|found| found - date).collect();
    assert!(off.iter().all(|off| off.abs() <= RIGHT), "{off:?} ns off");
}

/// The date of what was marked by the system's clock.
#[track_caller]
fn date_by_system(marked: &[f32]) -> i64 {
    let dates = dates(marked, unix_now());
    *dates.first().expect("not found")
}

#[test]
fn a_reference_timestamp_counts() {
    let marked = Embed::mark(0, buffers(&programme(), seconds(9), Some(THEN)));
    assert_dated(&marked, THEN, THEN);
    let input = buffers(&marked, seconds(0), Some(THEN));
    let dates = dates_of(&detect(input, "row-clock=utc utc-start=5"));
    assert!(!dates.is_empty(), "the detector believes it too");
    assert!((dates[0] - THEN).abs() <= RIGHT);
}

#[test]
fn reference_timestamps_stay_with_their_frames() {
    let mut embed = Embed::new(77 * SECOND);
    let programme = programme();
    let (plain, referred) = programme.split_at(RATE);
    embed.push(buffers(plain, seconds(0), None));
    embed.push(buffers(referred, seconds(1), Some(THEN)));
    let output = embed.finish();
    assert!(output.iter().any(|b| reference(b, UNIX).is_some()));
    for buffer in output {
        let pts = buffer.pts().unwrap().nseconds() as i64;
        let since = (pts >= SECOND).then_some(pts - SECOND);
        let off = |clock, start: i64| {
            reference(&buffer, clock)
                .zip(since)
                .map(|(time, since)| time - start - since)
        };
        // The audio is what it was, whatever the mark is made to say.
        for (clock, start) in [(UNIX, THEN), (NTP, 0)] {
            assert_eq!(reference(&buffer, clock).is_some(), since.is_some());
            assert!(
                off(clock, start).unwrap_or(0).abs() <= 1,
                "{clock} at {pts}"
            );
        }
    }
}

/// A buffer that holds frames of several carries what the first of each kind said, moved to its own first frame.
#[test]
fn the_reference_of_a_short_buffer_is_not_lost() {
    let programme = programme();
    let sizes = [3_200, 3_200, 160, 3_200, 3_200, 160, 3_200];
    let mut embed = Embed::new(0);
    let mut frame = 0;
    let length = gst::ClockTime::from_mseconds(7);
    let mut referred = Vec::new();
    for size in sizes {
        let samples = &programme[frame..frame + size];
        let pts = seconds(1) + common::harness::time(frame, RATE as u32);
        let mut buffer = buffers(samples, pts, None).remove(0);
        if size == 160 {
            referred.push(frame);
            let buffer = buffer.get_mut().unwrap();
            let caps = gst::Caps::new_empty_simple(NTP);
            gst::ReferenceTimestampMeta::add(buffer, &caps, seconds(100) + pts, length);
        }
        embed.push(vec![buffer]);
        frame += size;
    }
    let mut frame = 0;
    let mut told = 0;
    for buffer in embed.finish() {
        let end = frame + buffer.size() / 4;
        let expected = referred
            .iter()
            .any(|first| frame < first + 160 && *first < end);
        let meta = buffer.meta::<gst::ReferenceTimestampMeta>();
        assert_eq!(meta.is_some(), expected, "frames {frame} to {end}");
        if let Some(meta) = meta {
            let off = meta
                .timestamp()
                .absdiff(seconds(100) + buffer.pts().unwrap());
            assert!(off.nseconds() <= 1, "{off}");
            assert_eq!(meta.duration(), Some(length));
            told += 1;
        }
        frame = end;
    }
    assert!(told >= 2);
}

/// Lines of the log of wmembed in this thread, at WARNING and above.
fn warnings(work: impl FnOnce()) -> Vec<String> {
    let lines = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let into = lines.clone();
    let thread = std::thread::current().id();
    common::init();
    gst::log::remove_default_log_function();
    gst::log::set_threshold_for_name("wmembed", gst::DebugLevel::Warning);
    let function = gst::log::add_log_function(move |category, level, _, _, _, _, message| {
        let here = std::thread::current().id() == thread;
        if here && category.name() == "wmembed" && level == gst::DebugLevel::Warning {
            into.lock()
                .unwrap()
                .push(message.get().unwrap().to_string());
        }
    });
    work();
    gst::log::remove_log_function(function);
    let lines = lines.lock().unwrap();
    lines.clone()
}

#[test]
fn the_warning_of_another_time_of_day_says_where_it_comes_from() {
    let programme = programme();
    let (first, second) = programme.split_at(4 * RATE);
    let by_reference = warnings(|| {
        let mut embed = Embed::new(0);
        embed.push(buffers(first, seconds(0), Some(THEN)));
        embed.push(buffers(second, seconds(4), Some(THEN + 50 * SECOND)));
    });
    assert_eq!(by_reference.len(), 1, "{by_reference:?}");
    assert!(
        by_reference[0].contains("reference timestamp"),
        "{by_reference:?}"
    );
    let by_clock = warnings(|| {
        let mut embed = Embed::new(0);
        embed.harness.set_time(seconds(5)).unwrap();
        embed.push(buffers(first, seconds(4), None));
        for state in [gst::State::Paused, gst::State::Playing] {
            embed.element.set_state(state).unwrap();
        }
        embed.harness.set_time(seconds(59)).unwrap();
        embed.push(buffers(second, seconds(8), None));
    });
    assert_eq!(by_clock.len(), 1, "{by_clock:?}");
    assert!(by_clock[0].contains("system's clock"), "{by_clock:?}");
    assert!(!by_clock[0].contains("reference"), "{by_clock:?}");
}

#[test]
fn a_reference_that_jitters_is_not_told_more_than_once_a_second() {
    let warnings = warnings(|| {
        let mut input = buffers(&programme(), seconds(0), None);
        for (n, buffer) in input.iter_mut().enumerate() {
            let off = if n % 2 == 1 { SECOND } else { 0 };
            refer(buffer, UNIX, THEN + n as i64 * SECOND / 4 + off);
        }
        Embed::mark(0, input);
    });
    assert!((7..=9).contains(&warnings.len()), "{}", warnings.len());
}

#[test]
fn where_the_reference_moves_marking_starts_anew_and_the_audio_goes_on() {
    let programme = programme();
    let (first, second) = programme.split_at(4 * RATE);
    let mut embed = Embed::new(0);
    embed.push(buffers(first, seconds(0), Some(THEN)));
    embed.push(buffers(second, seconds(4), Some(THEN + 50 * SECOND)));
    let output = embed.finish();
    let mut end = seconds(0);
    for (n, buffer) in output.iter().enumerate() {
        assert_eq!(buffer.pts(), Some(end));
        end += buffer.duration().unwrap();
        let discont = buffer.flags().contains(gst::BufferFlags::DISCONT);
        assert_eq!(discont, n == 0, "buffer {n}");
    }
    assert_eq!(end, seconds(8));
    let marked = samples(&output);
    assert_dated(&marked[..4 * RATE], THEN, THEN);
    let second = THEN + 50 * SECOND;
    assert_dated(&marked[4 * RATE..], second, second);
}

#[test]
fn jitter_of_the_reference_is_none_of_the_marks_business() {
    let steady = || buffers(&programme(), seconds(0), Some(THEN));
    let jittery = |most: i64| {
        let mut input = buffers(&programme(), seconds(0), None);
        for (n, buffer) in input.iter_mut().enumerate() {
            let off = if n % 2 == 1 { most } else { 0 };
            refer(buffer, UNIX, THEN + n as i64 * SECOND / 4 + off);
        }
        input
    };
    let marked = Embed::mark(0, steady());
    assert!(marked == Embed::mark(0, jittery(39 * SECOND / 1000)));
    assert!(marked != Embed::mark(0, jittery(41 * SECOND / 1000)));
}

#[test]
fn the_offset_is_added_to_whatever_tells_the_time() {
    let minute = 60 * SECOND;
    let marked = Embed::mark(minute, buffers(&programme(), seconds(0), Some(THEN)));
    assert_dated(&marked, THEN, THEN + minute);
    let before = unix_now();
    let marked = Embed::mark(-minute, buffers(&programme(), seconds(3), None));
    let date = date_by_system(&marked) + minute;
    assert!(date >= before - RIGHT && date <= unix_now() + RIGHT);
}

/// Half of the programme with timestamps from 4 s on, 1 s after capture; `meanwhile` something happens, which may give
/// what was marked so far; then the other half from `pts` on, when the pipeline's clock shows `clock`. Returns when the
/// halves were broadcast.
fn halves(
    meanwhile: impl FnOnce(&mut Embed) -> Vec<gst::Buffer>,
    clock: gst::ClockTime,
    pts: gst::ClockTime,
    flags: gst::BufferFlags,
) -> (i64, i64) {
    let programme = programme();
    let (first, second) = programme.split_at(4 * RATE);
    let mut embed = Embed::new(0);
    embed.harness.set_time(seconds(5)).unwrap();
    embed.push(buffers(first, seconds(4), None));
    let mut output = meanwhile(&mut embed);
    embed.harness.set_time(clock).unwrap();
    let mut second = buffers(second, pts, None);
    second[0].get_mut().unwrap().set_flags(flags);
    embed.push(second);
    output.extend(embed.finish());
    let marked = samples(&output);
    let (first, second) = marked.split_at(4 * RATE);
    (date_by_system(first), date_by_system(second))
}

/// The halves are so far apart, if the clock was read anew for the second one: at another moment.
#[track_caller]
fn assert_read_anew((first, second): (i64, i64), apart: i64) {
    let off = second - first - apart;
    assert!((-RIGHT..10 * SECOND).contains(&off), "{off} ns off");
}

/// The halves are so far apart, if the clock was not read anew.
#[track_caller]
fn assert_kept((first, second): (i64, i64), apart: i64) {
    let off = second - first - apart;
    assert!(off.abs() <= RIGHT, "{off} ns off");
}

#[test]
fn live_audio_is_dated_to_its_capture_and_the_clock_is_read_once() {
    let captured = unix_now() - SECOND;
    let discont = gst::BufferFlags::DISCONT;
    let times = halves(|_| Vec::new(), seconds(50), seconds(14), discont);
    assert!((captured - RIGHT..=unix_now() - SECOND + RIGHT).contains(&times.0));
    assert_kept(times, 10 * SECOND);
}

#[test]
fn after_a_pause_the_clock_is_read_anew() {
    let pause = |embed: &mut Embed| {
        for state in [gst::State::Paused, gst::State::Playing] {
            embed.element.set_state(state).unwrap();
        }
        Vec::new()
    };
    // Nothing else tells that the second half does not follow the first one: it is 51 s late instead of 1 s.
    let none = gst::BufferFlags::empty();
    let times = halves(pause, seconds(59), seconds(8), none);
    assert_read_anew(times, -50 * SECOND);
}

#[test]
fn where_time_starts_afresh_the_clock_is_read_anew() {
    let flush = |reset| {
        move |embed: &mut Embed| {
            let output = embed.finish();
            let harness = &mut embed.harness;
            harness.push_event(gst::event::FlushStart::new());
            harness.push_event(gst::event::FlushStop::new(reset));
            let segment = gst::FormattedSegment::<gst::ClockTime>::new();
            assert!(harness.push_event(gst::event::Segment::new(&segment)));
            output
        }
    };
    let none = gst::BufferFlags::empty();
    let times = halves(flush(true), seconds(25), seconds(4), none);
    assert_read_anew(times, -20 * SECOND);
    let times = halves(flush(false), seconds(25), seconds(4), none);
    assert_kept(times, 0);
}

#[test]
fn without_timestamps_frames_are_counted() {
    let mut input = buffers(&programme(), seconds(0), None);
    for (n, buffer) in input.iter_mut().enumerate() {
        let buffer = buffer.get_mut().unwrap();
        buffer.set_pts(None);
        if n == 16 {
            buffer.set_flags(gst::BufferFlags::DISCONT);
        }
    }
    let before = unix_now();
    let marked = Embed::mark(0, input);
    let times = [&marked[..4 * RATE], &marked[4 * RATE..]].map(date_by_system);
    assert!((before - RIGHT..=unix_now() + RIGHT).contains(&times[0]));
    assert_kept(times.into(), 4 * SECOND);
}

#[test]
fn both_elements_go_by_the_clock_in_a_pipeline() {
    let pipeline = common::pipeline(&format!(
        "appsrc name=source format=time max-bytes=0 \
         caps=audio/x-raw,format=F32LE,rate={RATE},channels=1,layout=interleaved \
         ! wmembed key={KEY} row-clock=utc ! wmdetect key={KEY} row-clock=utc clock-tolerance=5000000000 \
         ! fakesink sync=false"
    ));
    let source = pipeline.by_name("source").unwrap();
    let source: gst_app::AppSrc = source.downcast().unwrap();
    // The second time the clock is read again.
    for _ in 0..2 {
        pipeline.set_state(gst::State::Paused).unwrap();
        let before = unix_now();
        for buffer in buffers(&programme(), seconds(0), None) {
            source.push_buffer(buffer).unwrap();
        }
        source.end_of_stream().unwrap();
        let dates = dates_of(&common::play(&pipeline));
        assert!(!dates.is_empty());
        let right = before - RIGHT..=unix_now() + RIGHT;
        assert!(dates.iter().all(|date| right.contains(date)));
    }
}

#[test]
fn the_detectors_clock_may_be_off_by_the_tolerance() {
    let marked = Embed::mark(0, buffers(&programme(), seconds(0), Some(THEN)));
    for off in [-60, 0, 60] {
        assert_dated(&marked, THEN + off * SECOND, THEN);
    }
    for off in [-300, 300] {
        assert_eq!(dates(&marked, THEN + off * SECOND), [0; 0], "{off} s off");
    }
}

#[test]
fn a_reference_that_moves_on_is_followed_as_far_as_the_search_needs() {
    let programme = programme();
    let (first, second) = programme.split_at(4 * RATE);
    for (jump, found) in [(300, 2), (30, 1)] {
        let mut input = buffers(first, seconds(0), Some(THEN));
        let later = THEN + (4 + jump) * SECOND;
        input.extend(buffers(second, seconds(4), Some(later)));
        let marked = Embed::mark(0, input.clone());
        // The same times again, on what came out.
        let mut heard = buffers(&marked, seconds(0), None);
        for (heard, input) in heard.iter_mut().zip(&input) {
            refer(heard, UNIX, reference(input, UNIX).unwrap());
        }
        let messages = detect(heard, "row-clock=utc");
        let times = messages.iter().filter(|message| message.state() == "found");
        assert_eq!(times.count(), found, "{jump} s");
        let last = messages
            .iter()
            .rfind(|message| message.state() == "present");
        let date = date_of(last.unwrap()) - (THEN + jump * SECOND);
        assert!(date.abs() <= RIGHT, "{jump} s: {date} ns off");
    }
}

#[test]
fn rows_do_not_come_again() {
    let cycle = 204_800_000_000;
    for date in [THEN, THEN + cycle] {
        let marked = Embed::mark(0, buffers(&programme(), seconds(0), Some(date)));
        // Both are within the tolerance.
        assert_dated(&marked, THEN + cycle / 2, date);
    }
}

#[test]
fn a_recording_may_be_heard_from_any_place() {
    let marked = Embed::mark(0, buffers(&programme(), seconds(0), Some(THEN)));
    // What comes after a jump of 400 s in the recording is dated to then, although that is beyond the tolerance.
    let later = THEN + 400 * SECOND;
    let also = Embed::mark(0, buffers(&programme(), seconds(0), Some(later)));
    let mut input = buffers(&marked, seconds(0), None);
    input.extend(buffers(&also, seconds(400), None));
    let messages = detect(input, &format!("row-clock=utc utc-start={THEN}"));
    let found = messages.iter().filter(|message| message.state() == "found");
    assert_eq!(found.count(), 2);
    assert!(
        dates_of(&messages)
            .iter()
            .all(|date| (date - THEN).abs() <= RIGHT)
    );
}

#[test]
fn the_properties_can_be_set_before_the_start_only() {
    common::init();
    let check = |element: &str, property: &str, default: gst::glib::Value| {
        let element = gst::ElementFactory::make(element).property("key", KEY);
        let element = element.build().unwrap();
        let text = |value: gst::glib::Value| format!("{value:?}");
        assert_eq!(text(element.property_value(property)), text(default));
        element.set_property_from_str(property, "5");
        element.set_state(gst::State::Paused).unwrap();
        element.set_property_from_str(property, "6");
        let value = element.property_value(property).serialize().unwrap();
        assert_eq!(value, "5", "{property}");
        element.set_state(gst::State::Null).unwrap();
    };
    check("wmembed", "utc-offset", 0i64.to_value());
    check("wmdetect", "utc-start", u64::MAX.to_value());
}

#[test]
fn by_stream_time_nothing_is_dated() {
    let programme = programme();
    let marked = common::mark(&programme, &common::embedder_config(RATE as u32, 1), 0);
    let messages = detect(buffers(&marked, seconds(0), None), "utc-start=5");
    assert!(!messages.is_empty());
    for message in messages {
        assert!(!message.fields.has_field("broadcast-time"));
    }
}
