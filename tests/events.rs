// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is held leaves before whatever ends it, and what comes next starts afresh.

mod common;

use common::KEY;
use common::harness::*;
use gst::prelude::*;
use gst_audio::AudioFormat;
use std::sync::{Arc, Mutex};

/// All of `bytes` comes out, without a hole from `start` on.
fn assert_all_left(
    harness: &mut gst_check::Harness,
    info: &gst_audio::AudioInfo,
    bytes: &[u8],
    start: gst::ClockTime,
) {
    let buffers = pull_all(harness);
    assert_eq!(bytes_of(&buffers).len(), bytes.len());
    assert_continuous(&buffers, info, Some(start));
}

/// Pushes half a second, then the event; what was held must be out before the event.
fn assert_drained_by(event: gst::Event) {
    let info = info(AudioFormat::S16le, 16_000, 1);
    let mut harness = harness(&element("wmembed"), &info);
    let bytes = noise(&info, 8_000, 4);
    push(&mut harness, &info, &bytes, Some(gst::ClockTime::ZERO));
    assert!(harness.push_event(event));
    assert_all_left(&mut harness, &info, &bytes, gst::ClockTime::ZERO);
    // What comes next starts afresh, with its own time.
    let start = gst::ClockTime::from_seconds(5);
    push(&mut harness, &info, &bytes, Some(start));
    harness.push_event(gst::event::Eos::new());
    assert_all_left(&mut harness, &info, &bytes, start);
}

#[test]
fn held_audio_leaves_before_every_event_that_ends_it() {
    common::init();
    let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
    segment.set_start(gst::ClockTime::from_mseconds(1));
    let half = gst::ClockTime::from_mseconds(500);
    assert_drained_by(gst::event::Segment::new(&segment));
    assert_drained_by(gst::event::SegmentDone::new(half));
    assert_drained_by(gst::event::StreamStart::new("another"));
    assert_drained_by(gst::event::Gap::builder(half).duration(half).build());
}

#[test]
fn held_audio_leaves_with_the_old_caps() {
    let (old, new) = (
        info(AudioFormat::S16le, 16_000, 1),
        info(AudioFormat::F32le, 48_000, 2),
    );
    let mut harness = harness(&element("wmembed"), &old);
    let bytes = noise(&old, 8_000, 5);
    push(&mut harness, &old, &bytes, Some(gst::ClockTime::ZERO));
    harness.set_src_caps(new.to_caps().unwrap());
    let caps = harness.sinkpad().unwrap().current_caps().unwrap();
    assert!(caps.is_strictly_equal(&new.to_caps().unwrap()));
    assert_all_left(&mut harness, &old, &bytes, gst::ClockTime::ZERO);

    let bytes = noise(&new, 24_000, 6);
    push(
        &mut harness,
        &new,
        &bytes,
        Some(gst::ClockTime::from_seconds(1)),
    );
    harness.push_event(gst::event::Eos::new());
    assert_all_left(&mut harness, &new, &bytes, gst::ClockTime::from_seconds(1));
}

#[test]
fn a_flush_clears_what_is_held() {
    let info = info(AudioFormat::S16le, 16_000, 1);
    let wmembed = element("wmembed");
    wmembed.set_property("strength", -3.0);
    let mut harness = harness(&wmembed, &info);
    let bytes = noise(&info, 8_000, 8);
    push(&mut harness, &info, &bytes, Some(gst::ClockTime::ZERO));
    let before = bytes_of(&pull_all(&mut harness)).len() / info.bpf() as usize;
    let latency = wmembed.property::<u64>("latency");
    assert_eq!((8_000 - before) as u64, latency * 16_000 / 1_000_000_000);
    harness.push_event(gst::event::FlushStart::new());
    harness.push_event(gst::event::FlushStop::new(true));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    harness.push_event(gst::event::Segment::new(&segment));
    assert_eq!(wmembed.property::<f64>("strength"), -3.0, "settings stay");
    assert!(harness.try_pull().is_none());
    let start = gst::ClockTime::from_seconds(9);
    push(&mut harness, &info, &bytes, Some(start));
    harness.push_event(gst::event::Eos::new());
    assert_all_left(&mut harness, &info, &bytes, start);
}

#[test]
fn less_audio_than_the_latency_comes_out_whole() {
    let info = info(AudioFormat::S16le, 48_000, 2);
    for frames in [0, 1, 100] {
        let mut harness = harness(&element("wmembed"), &info);
        let bytes = noise(&info, frames, 9);
        push(&mut harness, &info, &bytes, Some(gst::ClockTime::ZERO));
        harness.push_event(gst::event::Eos::new());
        assert_all_left(&mut harness, &info, &bytes, gst::ClockTime::ZERO);
    }
}

#[test]
fn a_declared_gap_stays_one() {
    let info = info(AudioFormat::S16le, 16_000, 1);
    let mut harness = harness(&element("wmembed"), &info);
    let bytes = noise(&info, 1_600, 10);
    let silence = vec![0; bytes.len()];
    for n in 0..30 {
        let gap = (10..20).contains(&n);
        let mut buffer = buffer(
            if gap { &silence } else { &bytes },
            Some(time(n * 1_600, info.rate())),
        );
        if gap {
            buffer.get_mut().unwrap().set_flags(gst::BufferFlags::GAP);
        }
        harness.push(buffer).unwrap();
    }
    harness.push_event(gst::event::Eos::new());
    let buffers = pull_all(&mut harness);
    assert_continuous(&buffers, &info, Some(gst::ClockTime::ZERO));
    let second = gst::ClockTime::SECOND;
    let mut gaps = 0;
    for buffer in &buffers {
        let (start, end) = (
            buffer.pts().unwrap(),
            buffer.pts().unwrap() + buffer.duration().unwrap(),
        );
        let inside = start >= second && end <= 2 * second;
        assert_eq!(
            buffer.flags().contains(gst::BufferFlags::GAP),
            inside,
            "{start}"
        );
        gaps += u32::from(inside);
    }
    assert!(gaps >= 8);
    let output = bytes_of(&buffers);
    assert!(output[16_000 * 2..32_000 * 2].iter().all(|byte| *byte == 0));
}

#[test]
fn backwards_audio_passes() {
    let info = info(AudioFormat::S16le, 16_000, 1);
    for name in ["wmembed", "wmdetect"] {
        let mut harness = harness(&element(name), &info);
        let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
        segment.set_rate(-1.0);
        segment.set_stop(gst::ClockTime::from_seconds(1));
        assert!(harness.push_event(gst::event::Segment::new(&segment)));
        for n in (0..10).rev() {
            let bytes = noise(&info, 1_600, 11);
            let pts = Some(time(n * 1_600, info.rate()));
            let output = harness.push_and_pull(buffer(&bytes, pts)).unwrap();
            assert_eq!(output.pts(), pts);
            assert!(bytes_of(&[output]) == bytes, "{name}");
        }
    }
}

#[test]
fn wmdetect_passes_the_very_buffers() {
    for format in formats() {
        let info = info(format, 44_100, 2);
        let mut harness = harness(&element("wmdetect"), &info);
        assert_eq!(harness.query_latency(), Some(gst::ClockTime::ZERO));
        for (n, size) in SIZES.iter().enumerate() {
            let bytes = noise(&info, *size, 12);
            let mut input = buffer(&bytes, Some(gst::ClockTime::from_seconds(n as u64)));
            let flags = gst::BufferFlags::GAP | gst::BufferFlags::RESYNC;
            if n % 3 == 0 {
                input.get_mut().unwrap().set_flags(flags);
            }
            let (pointer, flags) = (input.as_ptr(), input.flags());
            let output = harness.push_and_pull(input).unwrap();
            assert_eq!(output.as_ptr(), pointer, "not even copied");
            assert_eq!(output.flags() - gst::BufferFlags::DISCONT, flags);
            assert!(bytes_of(&[output]) == bytes);
        }
    }
}

#[test]
fn wmdetect_survives_every_event() {
    let info = info(AudioFormat::S16le, 16_000, 1);
    let wmdetect = element("wmdetect");
    let mut harness = harness(&wmdetect, &info);
    let bytes = noise(&info, 8_000, 13);
    let ms = gst::ClockTime::from_mseconds;
    let gap = |start, length| {
        gst::event::Gap::builder(ms(start))
            .duration(ms(length))
            .build()
    };
    push(&mut harness, &info, &bytes, Some(ms(0)));
    assert!(harness.push_event(gap(500, 300)));
    push(&mut harness, &info, &bytes, Some(ms(800)));
    assert!(harness.push_event(gap(1_300, 9_000)));
    push(&mut harness, &info, &bytes, None);
    push(&mut harness, &info, &bytes, Some(ms(10_300)));
    push(&mut harness, &info, &bytes, Some(ms(200)));
    push(&mut harness, &info, &bytes, Some(ms(1_600)));
    assert!(harness.push_event(gst::event::StreamStart::new("another")));
    harness.push_event(gst::event::FlushStart::new());
    harness.push_event(gst::event::FlushStop::new(true));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    assert!(harness.push_event(gst::event::Segment::new(&segment)));
    push(&mut harness, &info, &bytes, Some(ms(0)));
    assert!(harness.push_event(gst::event::Eos::new()));
    assert!(!wmdetect.property::<bool>("present"));
    let stats: gst::Structure = wmdetect.property("stats");
    assert_eq!(stats.get::<u64>("found"), Ok(0));
}

/// Frames that left in buffers, and events.
#[derive(Debug, PartialEq)]
enum Left {
    Frames(usize),
    Event(gst::EventType),
}

/// What leaves an element, in order. Frames of buffers that follow each other are added up.
fn watch(element: &gst::Element, bpf: usize) -> Arc<Mutex<Vec<Left>>> {
    let all = Arc::new(Mutex::new(Vec::new()));
    let into = all.clone();
    let mask = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    let pad = element.static_pad("src").unwrap();
    pad.add_probe(mask, move |_, info| {
        let mut all = into.lock().unwrap();
        match (&info.data, all.last_mut()) {
            (Some(gst::PadProbeData::Buffer(buffer)), Some(Left::Frames(frames))) => {
                *frames += buffer.size() / bpf;
            }
            (Some(gst::PadProbeData::Buffer(buffer)), _) => {
                all.push(Left::Frames(buffer.size() / bpf));
            }
            (Some(gst::PadProbeData::Event(event)), _) => all.push(Left::Event(event.type_())),
            _ => (),
        }
        gst::PadProbeReturn::Ok
    });
    all
}

#[test]
fn nothing_overtakes_what_is_held() {
    common::init();
    let info = info(AudioFormat::S16le, 8_000, 1);
    let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
    segment.set_base(gst::ClockTime::SECOND);
    let half = gst::ClockTime::from_mseconds(500);
    for event in [
        gst::event::Eos::new(),
        gst::event::Segment::new(&segment),
        gst::event::SegmentDone::new(half),
        gst::event::StreamStart::new("another"),
        gst::event::StreamGroupDone::new(gst::GroupId::next()),
        gst::event::Gap::builder(half).duration(half).build(),
        gst::event::Caps::new(
            &common::harness::info(AudioFormat::S8, 8_000, 1)
                .to_caps()
                .unwrap(),
        ),
    ] {
        let wmembed = element("wmembed");
        let mut harness = harness(&wmembed, &info);
        let left = watch(&wmembed, 2);
        push(
            &mut harness,
            &info,
            &noise(&info, 4_000, 25),
            Some(gst::ClockTime::ZERO),
        );
        let type_ = event.type_();
        assert!(harness.push_event(event));
        let left = left.lock().unwrap();
        let expected = [Left::Frames(4_000), Left::Event(type_)];
        assert!(left.ends_with(&expected), "{left:?}");
    }
}

#[test]
fn a_segment_that_says_the_same_again_breaks_nothing() {
    let info = info(AudioFormat::S16le, 8_000, 1);
    let bytes = noise(&info, 8_000, 26);
    let marked = |segments: &[gst::FormattedSegment<gst::ClockTime>]| {
        let wmembed = element("wmembed");
        let mut harness = harness(&wmembed, &info);
        let left = watch(&wmembed, 2);
        for (n, piece) in bytes.chunks(1_600).enumerate() {
            if let Some(segment) = segments.get(n) {
                assert!(harness.push_event(gst::event::Segment::new(segment)));
            }
            let pts = time(n * 800, info.rate());
            harness.push(buffer(piece, Some(pts))).unwrap();
        }
        harness.push_event(gst::event::Eos::new());
        let left = std::mem::take(&mut *left.lock().unwrap());
        (bytes_of(&pull_all(&mut harness)), left)
    };
    let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
    let (once, _) = marked(&[segment.clone()]);
    let (again, left) = marked(&vec![segment.clone(); 8]);
    assert!(once == again);
    let is_segment = |left: &&Left| **left == Left::Event(gst::EventType::Segment);
    assert_eq!(
        left.iter().filter(is_segment).count(),
        8,
        "all are passed on"
    );
    segment.set_base(gst::ClockTime::SECOND);
    let (anew, _) = marked(&[gst::FormattedSegment::new(), segment]);
    assert!(once != anew, "the same audio at another time starts afresh");
}

#[test]
fn buffers_without_a_frame_change_nothing() {
    let info = info(AudioFormat::S16le, 8_000, 2);
    let bytes = noise(&info, 6_000, 27);
    for name in ["wmembed", "wmdetect"] {
        let [without, with] = [false, true].map(|empty| {
            let mut harness = harness(&element(name), &info);
            for (n, piece) in bytes.chunks(4_000).enumerate() {
                let pts = Some(time(n * 1_000, info.rate()));
                if empty {
                    harness.push(buffer(&[], pts)).unwrap();
                }
                harness.push(buffer(piece, pts)).unwrap();
            }
            harness.push_event(gst::event::Eos::new());
            let mut buffers = pull_all(&mut harness);
            buffers.retain(|buffer| buffer.size() > 0);
            assert_continuous(&buffers[..1], &info, Some(gst::ClockTime::ZERO));
            bytes_of(&buffers)
        });
        assert!(without == with && with.len() == bytes.len(), "{name}");
    }
}

#[test]
fn the_stream_may_end_before_it_begins() {
    for name in ["wmembed", "wmdetect"] {
        let mut bare = gst_check::Harness::with_element(&element(name), Some("sink"), Some("src"));
        bare.play();
        assert!(bare.push_event(gst::event::StreamStart::new("one")));
        assert!(
            bare.push_event(gst::event::Eos::new()),
            "{name} without caps"
        );
        let info = info(AudioFormat::S16le, 48_000, 2);
        let element = element(name);
        let mut harness = harness(&element, &info);
        let left = watch(&element, 4);
        assert!(harness.push_event(gst::event::Eos::new()));
        let left = left.lock().unwrap();
        assert_eq!(*left, [Left::Event(gst::EventType::Eos)], "{name}");
    }
}

#[test]
fn flags_stay_with_their_frames() {
    use gst::BufferFlags as F;
    let info = info(AudioFormat::S16le, 8_000, 1);
    let mut harness = harness(&element("wmembed"), &info);
    let bytes = noise(&info, 800, 28);
    for (n, flags) in [
        F::empty(),
        F::CORRUPTED,
        F::empty(),
        F::RESYNC,
        F::DROPPABLE,
        F::DROPPABLE,
    ]
    .into_iter()
    .enumerate()
    {
        let mut buffer = buffer(&bytes, Some(time(n * 800, info.rate())));
        buffer.get_mut().unwrap().set_flags(flags);
        harness.push(buffer).unwrap();
    }
    harness.push_event(gst::event::Eos::new());
    let (mut seen, mut last) = (F::empty(), F::empty());
    for buffer in pull_all(&mut harness) {
        let start = buffer.pts().unwrap().mseconds();
        let end = start + buffer.duration().unwrap().mseconds();
        let touches = |from: u64, to: u64| start < to && end > from;
        let flags = buffer.flags();
        assert_eq!(flags.contains(F::CORRUPTED), touches(100, 200), "{start}");
        assert_eq!(flags.contains(F::RESYNC), touches(300, 400), "{start}");
        assert!(!flags.contains(F::DROPPABLE) || start >= 400, "{start}");
        assert!(!flags.contains(F::DISCONT) || start == 0, "{start}");
        (seen, last) = (seen | flags, flags);
    }
    assert!(seen.contains(F::CORRUPTED | F::RESYNC) && last.contains(F::DROPPABLE));
}

/// Three seconds of marked music at 16 kHz.
fn marked() -> Vec<u8> {
    let music = common::recording("music.flac", 16_000, 1);
    let marked = common::mark(&music, &common::embedder_config(16_000, 1), 0);
    marked[..48_000]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect()
}

#[test]
fn after_a_flush_and_in_another_stream_the_detector_knows_nothing_of_the_mark() {
    let info = info(AudioFormat::F32le, 16_000, 1);
    let marked = marked();
    for flush in [true, false] {
        let wmdetect = element("wmdetect");
        let messages = messages(&wmdetect, || {
            let mut harness = harness(&wmdetect, &info);
            push(&mut harness, &info, &marked, Some(gst::ClockTime::ZERO));
            assert!(wmdetect.property::<bool>("present"));
            if flush {
                harness.push_event(gst::event::FlushStart::new());
                harness.push_event(gst::event::FlushStop::new(true));
                let segment = gst::FormattedSegment::<gst::ClockTime>::new();
                assert!(harness.push_event(gst::event::Segment::new(&segment)));
            } else {
                assert!(harness.push_event(gst::event::StreamStart::new("another")));
            }
            assert!(!wmdetect.property::<bool>("present"), "flush {flush}");
            // The second half of the mark alone would continue the first one.
            let pts = Some(gst::ClockTime::from_seconds(3));
            push(&mut harness, &info, &vec![0; 4 * 16_000], pts);
            assert!(!wmdetect.property::<bool>("present"), "flush {flush}");
        });
        let said: Vec<_> = messages.iter().filter_map(common::detection).collect();
        let ends = |state| said.iter().filter(|m| m.state() == state).count();
        assert_eq!((ends("found"), ends("lost")), (1, 1), "{said:?}");
    }
}

#[test]
fn the_mark_goes_on_where_audio_is_missing_or_declared_useless() {
    let info = info(AudioFormat::F32le, 16_000, 1);
    let marked = marked();
    for what in ["event", "jump", "gap", "corrupted"] {
        let wmdetect = gst::ElementFactory::make("wmdetect")
            .property("key", KEY)
            .build()
            .unwrap();
        let messages = messages(&wmdetect, || {
            let mut harness = harness(&wmdetect, &info);
            for (n, piece) in marked.chunks(4 * 1_600).enumerate() {
                let pts = time(n * 1_600, info.rate());
                let length = gst::ClockTime::from_mseconds(100);
                let mut buffer = buffer(piece, Some(pts));
                let useless = (15..18).contains(&n);
                let flag = match what {
                    "gap" => gst::BufferFlags::GAP,
                    _ => gst::BufferFlags::CORRUPTED,
                };
                match what {
                    "jump" if useless => continue,
                    "event" if useless => {
                        let gap = gst::event::Gap::builder(pts).duration(length).build();
                        assert!(harness.push_event(gap));
                        continue;
                    }
                    _ if useless => buffer.get_mut().unwrap().set_flags(flag),
                    _ => (),
                }
                harness.push(buffer).unwrap();
            }
        });
        let said: Vec<_> = messages.iter().filter_map(common::detection).collect();
        assert_eq!(said[0].state(), "found", "{what}");
        assert!(
            said[1..].iter().all(|m| m.state() == "present"),
            "{what}: {said:?}"
        );
        let last = said.last().unwrap();
        assert!(last.end() > gst::ClockTime::from_mseconds(2_000), "{what}");
        // Time went on, too.
        assert!(last.ahead().abs() < 0.06, "{what}: {}", last.ahead());
    }
}
