// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is held leaves before whatever ends it, and what comes next starts afresh.

mod common;

use common::harness::*;
use gst::prelude::*;
use gst_audio::AudioFormat;

/// Pushes half a second, then the event; what was held must be out before the event.
fn assert_drained_by(event: gst::Event) {
    let info = info(AudioFormat::S16le, 16_000, 1);
    let mut harness = harness(&element("wmembed"), &info);
    let bytes = noise(&info, 8_000, 4);
    push(&mut harness, &info, &bytes, Some(gst::ClockTime::ZERO));
    assert!(harness.push_event(event));
    let buffers = pull_all(&mut harness);
    assert_eq!(bytes_of(&buffers).len(), bytes.len());
    assert_continuous(&buffers, &info, Some(gst::ClockTime::ZERO));
    // What comes next starts afresh, with its own time.
    let start = gst::ClockTime::from_seconds(5);
    push(&mut harness, &info, &bytes, Some(start));
    harness.push_event(gst::event::Eos::new());
    let buffers = pull_all(&mut harness);
    assert_eq!(bytes_of(&buffers).len(), bytes.len());
    assert_continuous(&buffers, &info, Some(start));
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
    let buffers = pull_all(&mut harness);
    assert_eq!(bytes_of(&buffers).len(), bytes.len());
    assert_continuous(&buffers, &old, Some(gst::ClockTime::ZERO));

    let bytes = noise(&new, 24_000, 6);
    push(
        &mut harness,
        &new,
        &bytes,
        Some(gst::ClockTime::from_seconds(1)),
    );
    harness.push_event(gst::event::Eos::new());
    let buffers = pull_all(&mut harness);
    assert_eq!(bytes_of(&buffers).len(), bytes.len());
    assert_continuous(&buffers, &new, Some(gst::ClockTime::from_seconds(1)));
}

#[test]
fn a_flush_clears_what_is_held() {
    let info = info(AudioFormat::S16le, 16_000, 1);
    let wmembed = element("wmembed");
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
    assert!(harness.try_pull().is_none());
    let start = gst::ClockTime::from_seconds(9);
    push(&mut harness, &info, &bytes, Some(start));
    harness.push_event(gst::event::Eos::new());
    let buffers = pull_all(&mut harness);
    assert_eq!(bytes_of(&buffers).len(), bytes.len());
    assert_continuous(&buffers, &info, Some(start));
}

#[test]
fn less_audio_than_the_latency_comes_out_whole() {
    let info = info(AudioFormat::S16le, 48_000, 2);
    for frames in [0, 1, 100] {
        let mut harness = harness(&element("wmembed"), &info);
        let bytes = noise(&info, frames, 9);
        push(&mut harness, &info, &bytes, Some(gst::ClockTime::ZERO));
        harness.push_event(gst::event::Eos::new());
        let buffers = pull_all(&mut harness);
        assert_eq!(bytes_of(&buffers).len(), bytes.len());
        assert_continuous(&buffers, &info, Some(gst::ClockTime::ZERO));
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
