// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every frame leaves with the time that it came with.

mod common;

use common::harness::*;
use common::{KEY, Random};
use gst::prelude::*;
use gst_audio::{AudioFormat, AudioInfo};

#[test]
fn frames_and_times_out_are_those_that_came_in() {
    for format in formats() {
        for (rate, channels) in [(48_000, 2), (44_100, 1)] {
            for start in [
                None,
                Some(gst::ClockTime::ZERO),
                Some(gst::ClockTime::from_nseconds(7)),
            ] {
                let info = info(format, rate, channels);
                let mut harness = harness(&element("wmembed"), &info);
                let bytes = noise(&info, rate as usize, 2);
                push(&mut harness, &info, &bytes, start);
                harness.push_event(gst::event::Eos::new());
                let buffers = pull_all(&mut harness);
                assert_eq!(bytes_of(&buffers).len(), bytes.len());
                assert_continuous(&buffers, &info, start);
                let discont = |b: &gst::Buffer| b.flags().contains(gst::BufferFlags::DISCONT);
                assert!(discont(&buffers[0]) && !buffers[1..].iter().any(discont));
            }
        }
    }
}

#[test]
fn a_break_in_time_loses_nothing() {
    let info = info(AudioFormat::S16le, 16_000, 1);
    let bytes = noise(&info, 8_000, 7);
    let mut harness = harness(&element("wmembed"), &info);
    let starts = [0, 500, 2_000, 1_000].map(gst::ClockTime::from_mseconds);
    for start in starts {
        push(&mut harness, &info, &bytes, Some(start));
    }
    harness.push_event(gst::event::Eos::new());
    let buffers = pull_all(&mut harness);
    assert_eq!(bytes_of(&buffers).len(), starts.len() * bytes.len());
    let runs: Vec<_> = buffers
        .chunk_by(|a, b| a.pts().unwrap() + a.duration().unwrap() == b.pts().unwrap())
        .collect();
    assert_eq!(
        runs.iter()
            .map(|run| run[0].pts().unwrap())
            .collect::<Vec<_>>(),
        [starts[0], starts[2], starts[3]]
    );
    assert_eq!(bytes_of(runs[0]).len(), 2 * bytes.len());
}

/// Pushes the frames in buffers of 20 ms with timestamps that `stamp` makes of the right ones.
fn push_stamped(
    harness: &mut gst_check::Harness,
    info: &AudioInfo,
    bytes: &[u8],
    mut stamp: impl FnMut(usize, gst::ClockTime) -> Option<gst::ClockTime>,
) {
    let frames = info.rate() as usize / 50;
    for (n, piece) in bytes.chunks(frames * info.bpf() as usize).enumerate() {
        let pts = stamp(n, time(n * frames, info.rate()));
        harness.push(buffer_of(info, piece, pts)).unwrap();
    }
}

fn is_discont(buffer: &gst::Buffer) -> bool {
    buffer.flags().contains(gst::BufferFlags::DISCONT)
}

fn ms(time: u64) -> gst::ClockTime {
    gst::ClockTime::from_mseconds(time)
}

/// What wmembed makes of the audio with timestamps like that.
fn mark(
    bytes: &[u8],
    stamp: impl FnMut(usize, gst::ClockTime) -> Option<gst::ClockTime>,
) -> Vec<gst::Buffer> {
    let info = info(AudioFormat::S16le, 8_000, 1);
    let mut harness = harness(&element("wmembed"), &info);
    push_stamped(&mut harness, &info, bytes, stamp);
    harness.push_event(gst::event::Eos::new());
    pull_all(&mut harness)
}

#[test]
fn jitter_within_the_tolerance_is_smoothed_away() {
    let info = info(AudioFormat::S16le, 8_000, 1);
    let bytes = noise(&info, 24_000, 18);
    let mut random = Random::new(5);
    let jittery = mark(&bytes, |n, pts| {
        let jitter = (80.0 * random.uniform()) as u64;
        Some(if n == 0 {
            ms(100)
        } else {
            pts + ms(60 + jitter)
        })
    });
    assert_continuous(&jittery, &info, Some(ms(100)));
    assert!(!jittery[1..].iter().any(is_discont));
    let steady = mark(&bytes, |_, pts| Some(pts + ms(100)));
    assert!(bytes_of(&jittery) == bytes_of(&steady));
}

#[test]
fn forty_milliseconds_are_jitter_and_more_is_a_break() {
    let info = info(AudioFormat::S16le, 8_000, 1);
    let bytes = noise(&info, 16_000, 19);
    for (late, breaks) in [(40, false), (41, true)] {
        let buffers = mark(&bytes, |n, pts| {
            Some(if n < 50 { pts } else { pts + ms(late) })
        });
        assert_eq!(bytes_of(&buffers).len(), bytes.len());
        let disconts: Vec<_> = buffers[1..].iter().filter(|b| is_discont(b)).collect();
        assert_eq!(disconts.len(), usize::from(breaks), "{late} ms");
        if let Some(buffer) = disconts.first() {
            assert_eq!(buffer.pts(), Some(ms(1_000 + late)));
        } else {
            assert_continuous(&buffers, &info, Some(ms(0)));
        }
    }
}

#[test]
fn timestamps_that_drift_are_followed_and_no_frame_is_lost() {
    let info = info(AudioFormat::S16le, 8_000, 1);
    let bytes = noise(&info, 80_000, 20);
    for (per_mille, name) in [(1_010, "fast"), (990, "slow")] {
        let drifted = |pts: gst::ClockTime| pts.mul_div_floor(per_mille, 1_000).unwrap();
        let buffers = mark(&bytes, |_, pts| Some(drifted(pts)));
        assert_eq!(bytes_of(&buffers).len(), bytes.len());
        assert!(!buffers[1..].iter().any(is_discont), "{name}");
        let mut frames = 0;
        let mut worst = gst::ClockTime::ZERO;
        for buffer in &buffers {
            let came_with = drifted(time(frames, info.rate()));
            worst = worst.max(buffer.pts().unwrap().absdiff(came_with));
            frames += buffer.size() / 2;
        }
        // 40 ms, and what a buffer of 20 ms drifts by.
        assert!(worst <= ms(41) && worst > ms(20), "{name}: {worst}");
    }
}

/// What the detector says of marked music, `repeat` times 8 s in buffers of 20 ms that come with the flag and the
/// timestamp which `stamp` makes of the number and the right one, or do not come.
fn heard(
    repeat: usize,
    stamp: impl Fn(usize, gst::ClockTime) -> Option<(bool, gst::ClockTime)>,
) -> Vec<common::Message> {
    let info = info(AudioFormat::F32le, 16_000, 1);
    let music = common::recording("music.flac", 16_000, 1).repeat(repeat);
    let marked = common::mark(&music, &common::embedder_config(16_000, 1), 0);
    let wmdetect = element("wmdetect");
    let messages = messages(&wmdetect, || {
        let mut harness = harness(&wmdetect, &info);
        for (n, piece) in marked.chunks(320).enumerate() {
            let Some((discont, pts)) = stamp(n, time(320 * n, info.rate())) else {
                continue;
            };
            let bytes: Vec<u8> = piece.iter().flat_map(|x| x.to_le_bytes()).collect();
            let mut buffer = buffer(&bytes, Some(pts));
            if discont {
                let flags = gst::BufferFlags::DISCONT;
                buffer.get_mut().unwrap().set_flags(flags);
            }
            harness.push(buffer).unwrap();
        }
    });
    messages.iter().filter_map(common::detection).collect()
}

/// Some sources flag every buffer.
#[test]
fn the_detector_does_not_lose_a_mark_to_drifting_timestamps() {
    for discont in [false, true] {
        for per_mille in [1_000, 1_012, 988] {
            let said = heard(1, |_, pts| {
                let pts = ms(500) + pts.mul_div_floor(per_mille, 1_000).unwrap();
                Some((discont, pts))
            });
            let states: Vec<_> = said.iter().map(common::Message::state).collect();
            assert_eq!(states[0], "found");
            assert!(
                states[1..].iter().all(|state| *state == "present"),
                "{per_mille}, flagged {discont}: {states:?}"
            );
        }
    }
}

/// 20 ms each half a second, as of packets that are lost. What is flagged and ahead of time is no drift: what follows
/// is where it was.
#[test]
fn the_detector_bridges_small_losses_that_are_flagged() {
    let said = heard(3, |n, pts| (n % 25 != 24).then_some((n % 25 == 0, pts)));
    assert!(said.len() > 20, "{said:?}");
    for message in said {
        assert_ne!(message.state(), "lost");
        assert!(message.ahead().abs() < 0.045, "{message:?}");
    }
}

#[test]
fn timestamps_on_the_first_buffer_only_are_enough() {
    let info = info(AudioFormat::S16le, 8_000, 1);
    let bytes = noise(&info, 16_000, 21);
    let buffers = mark(&bytes, |n, _| (n == 0).then_some(ms(700)));
    assert_continuous(&buffers, &info, Some(ms(700)));
    let all = mark(&bytes, |_, pts| Some(pts + ms(700)));
    assert!(bytes_of(&buffers) == bytes_of(&all));
}

#[test]
fn without_timestamps_rows_go_on_across_a_break_until_a_flush() {
    let info = info(AudioFormat::S16le, 8_000, 1);
    let bytes = noise(&info, 8_000, 22);
    let marked = |stamped: bool, flush: bool| {
        let mut harness = harness(&element("wmembed"), &info);
        // The second run begins 110 ms into a row.
        for start in [0, 1_110] {
            let pts = stamped.then(|| ms(if flush { 0 } else { start }));
            let length = if start == 0 { 2 * 8_880 } else { bytes.len() };
            let audio = [&bytes[..], &bytes[..]].concat();
            let mut buffer = buffer(&audio[..length], pts);
            let flags = gst::BufferFlags::DISCONT;
            buffer.get_mut().unwrap().set_flags(flags);
            harness.push(buffer).unwrap();
            if flush && start == 0 {
                harness.push_event(gst::event::FlushStart::new());
                harness.push_event(gst::event::FlushStop::new(true));
                let segment = gst::FormattedSegment::<gst::ClockTime>::new();
                harness.push_event(gst::event::Segment::new(&segment));
                pull_all(&mut harness);
            }
        }
        harness.push_event(gst::event::Eos::new());
        let buffers = pull_all(&mut harness);
        assert_eq!(buffers[0].pts().is_some(), stamped);
        bytes_of(&buffers)
    };
    for flush in [false, true] {
        assert!(marked(true, flush) == marked(false, flush), "{flush}");
    }
}

#[test]
fn a_segment_may_play_at_any_speed() {
    let info = info(AudioFormat::S16le, 8_000, 1);
    let bytes = noise(&info, 16_000, 23);
    let [normal, double, half] = [1.0, 2.0, 0.5].map(|rate| {
        let mut harness = harness(&element("wmembed"), &info);
        let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
        segment.set_rate(rate);
        assert!(harness.push_event(gst::event::Segment::new(&segment)));
        push(&mut harness, &info, &bytes, Some(ms(0)));
        harness.push_event(gst::event::Eos::new());
        let buffers = pull_all(&mut harness);
        assert_continuous(&buffers, &info, Some(ms(0)));
        bytes_of(&buffers)
    });
    assert!(normal != bytes && double == normal && half == normal);
}

/// By the time of day, of which each buffer of 100 ms carries a meta, from 50 ms before the segment on or from its
/// start.
fn mark_from(start: gst::ClockTime) -> Vec<gst::Buffer> {
    let info = info(AudioFormat::S16le, 8_000, 1);
    let first = ms(1_250);
    let bytes = noise(&info, 16_000, 24);
    let from = (first - start).mseconds() as usize * 8;
    let wmembed = gst::ElementFactory::make("wmembed").property("key", KEY);
    let wmembed = wmembed
        .property_from_str("row-clock", "utc")
        .build()
        .unwrap();
    let mut harness = harness(&wmembed, &info);
    let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
    segment.set_start(first);
    assert!(harness.push_event(gst::event::Segment::new(&segment)));
    let audio = [vec![0; 2 * from], bytes].concat();
    for (n, piece) in audio.chunks(1_600).enumerate() {
        let pts = start + ms(100 * n as u64);
        let mut buffer = buffer(piece, Some(pts));
        let caps = gst::Caps::builder("timestamp/x-unix").build();
        let time = gst::ClockTime::from_seconds(1_700_000_000) + pts;
        gst::ReferenceTimestampMeta::add(buffer.get_mut().unwrap(), &caps, time, None);
        harness.push(buffer).unwrap();
    }
    harness.push_event(gst::event::Eos::new());
    pull_all(&mut harness)
}

#[test]
fn a_reference_timestamp_stays_with_its_frame_when_the_segment_clips_the_buffer() {
    let [clipped, whole] = [ms(1_200), ms(1_250)].map(mark_from);
    assert!(bytes_of(&clipped) == bytes_of(&whole));
    for buffer in &clipped {
        let meta = buffer.meta::<gst::ReferenceTimestampMeta>().unwrap();
        let expected = gst::ClockTime::from_seconds(1_700_000_000) + buffer.pts().unwrap();
        assert_eq!(meta.timestamp(), expected);
    }
}

#[test]
fn offsets_are_counted_on_where_buffers_have_them() {
    let info = info(AudioFormat::S16le, 8_000, 1);
    let bytes = noise(&info, 8_000, 25);
    let mut harness = harness(&element("wmembed"), &info);
    for (n, piece) in bytes.chunks(2 * 400).enumerate() {
        let mut buffer = buffer(piece, Some(time(n * 400, info.rate())));
        buffer
            .get_mut()
            .unwrap()
            .set_offset(100_000 + 400 * n as u64);
        harness.push(buffer).unwrap();
    }
    harness.push_event(gst::event::Eos::new());
    let mut next = 100_000;
    for buffer in pull_all(&mut harness) {
        assert_eq!(buffer.offset(), next);
        next += buffer.size() as u64 / 2;
        assert_eq!(buffer.offset_end(), next);
    }
    assert_eq!(next, 108_000);
    // Without offsets there are none.
    let unnumbered = mark(&bytes, |_, pts| Some(pts));
    assert!(unnumbered.iter().all(|buffer| buffer.offset() == u64::MAX));
}
