// SPDX-License-Identifier: MIT OR Apache-2.0
//! What says that the audio breaks off does not cost the mark, unless it does break off.

mod common;

use common::harness::*;
use gst::prelude::*;
use gst_audio::{AudioFormat, AudioInfo};
use gstwm::watermark::Detector;
use std::sync::{Arc, Mutex};

const RATE: u32 = 16_000;
/// Buffers are of 20 ms.
const FRAMES: usize = 320;

fn mono() -> AudioInfo {
    info(AudioFormat::F32le, RATE, 1)
}

fn at(piece: usize) -> gst::ClockTime {
    time(piece * FRAMES, RATE)
}

fn ms(time: u64) -> gst::ClockTime {
    gst::ClockTime::from_mseconds(time)
}

/// Six seconds of music, in pieces of 20 ms.
fn pieces() -> Vec<Vec<u8>> {
    let music = common::recording("music.flac", RATE, 1);
    let pieces = music[..6 * RATE as usize].chunks(FRAMES);
    pieces
        .map(|piece| piece.iter().flat_map(|x| x.to_le_bytes()).collect())
        .collect()
}

fn is_discont(buffer: &gst::Buffer) -> bool {
    buffer.flags().contains(gst::BufferFlags::DISCONT)
}

/// What leaves, in order.
enum Left {
    Buffer(gst::Buffer),
    Event(gst::Event),
}

impl Left {
    /// Where it lies; nowhere, if it is neither audio nor a gap.
    fn span(&self) -> Option<(gst::ClockTime, gst::ClockTime)> {
        match self {
            Left::Buffer(buffer) => Some((buffer.pts()?, buffer.duration()?)),
            Left::Event(event) => match event.view() {
                gst::EventView::Gap(gap) => Some((gap.get().0, gap.get().1?)),
                _ => None,
            },
        }
    }
}

/// What leaves while `work` pushes something, and then the stream ends.
fn leaves(work: impl FnOnce(&mut gst_check::Harness)) -> Vec<Left> {
    let wmembed = element("wmembed");
    let mut harness = harness(&wmembed, &mono());
    let all = Arc::new(Mutex::new(Vec::new()));
    let into = all.clone();
    let mask = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    let pad = wmembed.static_pad("src").unwrap();
    pad.add_probe(mask, move |_, info| {
        match &info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => {
                into.lock().unwrap().push(Left::Buffer(buffer.clone()));
            }
            Some(gst::PadProbeData::Event(event)) => {
                into.lock().unwrap().push(Left::Event(event.clone()));
            }
            _ => (),
        }
        gst::PadProbeReturn::Ok
    });
    work(&mut harness);
    harness.push_event(gst::event::Eos::new());
    std::mem::take(&mut *all.lock().unwrap())
}

fn buffers(left: &[Left]) -> Vec<gst::Buffer> {
    let buffers = left.iter().filter_map(|left| match left {
        Left::Buffer(buffer) => Some(buffer.clone()),
        Left::Event(_) => None,
    });
    buffers.collect()
}

fn push_piece(harness: &mut gst_check::Harness, piece: &[u8], n: usize, flags: gst::BufferFlags) {
    let mut buffer = buffer(piece, Some(at(n)));
    buffer.get_mut().unwrap().set_flags(flags);
    harness.push(buffer).unwrap();
}

/// All pieces, of which every fifth has these flags.
fn marked_with(flags: gst::BufferFlags) -> Vec<gst::Buffer> {
    let left = leaves(|harness| {
        for (n, piece) in pieces().iter().enumerate() {
            let flagged = n % 5 == 4;
            let flags = if flagged {
                flags
            } else {
                gst::BufferFlags::empty()
            };
            push_piece(harness, piece, n, flags);
        }
    });
    buffers(&left)
}

#[test]
fn a_discont_flag_alone_breaks_nothing_and_stays_with_its_frame() {
    let plain = marked_with(gst::BufferFlags::empty());
    let flagged = marked_with(gst::BufferFlags::DISCONT);
    assert!(bytes_of(&plain) == bytes_of(&flagged));
    assert_continuous(&flagged, &mono(), Some(ms(0)));
    let mut frame = 0;
    for buffer in &flagged {
        let end = frame + buffer.size() / 4;
        let holds = (frame..end).any(|frame| frame == 0 || frame % (5 * FRAMES) == 4 * FRAMES);
        assert_eq!(is_discont(buffer), holds, "frames {frame} to {end}");
        frame = end;
    }
    assert!(!plain[1..].iter().any(is_discont));
}

/// What is missing, and how that is told.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Missing {
    /// Nothing is: there is silence.
    Silence,
    Event,
    Jump,
    JumpAndFlag,
}

/// All pieces but those that are `missing`.
fn marked_without(missing: impl Fn(usize) -> bool, how: Missing) -> Vec<Left> {
    leaves(|harness| {
        let mut jumped = false;
        for (n, piece) in pieces().iter().enumerate() {
            let (here, after) = (missing(n), std::mem::replace(&mut jumped, missing(n)));
            match how {
                Missing::Silence if here => {
                    push_piece(harness, &vec![0; piece.len()], n, gst::BufferFlags::empty());
                }
                Missing::Event if here => {
                    let gap = gst::event::Gap::builder(at(n)).duration(ms(20)).build();
                    assert!(harness.push_event(gap));
                }
                _ if here => (),
                Missing::JumpAndFlag if after => {
                    push_piece(harness, piece, n, gst::BufferFlags::DISCONT);
                }
                _ => push_piece(harness, piece, n, gst::BufferFlags::empty()),
            }
        }
    })
}

/// The samples, with silence where nothing left.
fn heard(left: &[Left]) -> Vec<f32> {
    let mut samples = vec![0.0; 6 * RATE as usize];
    for buffer in buffers(left) {
        let frame = buffer.pts().unwrap().nseconds() as usize * RATE as usize;
        let start = (frame + 500_000_000) / 1_000_000_000;
        let map = buffer.map_readable().unwrap();
        let (bytes, _) = map.as_chunks();
        for (sample, bytes) in samples[start..].iter_mut().zip(bytes) {
            *sample = f32::from_le_bytes(*bytes);
        }
    }
    samples
}

#[test]
fn missing_audio_is_marked_around_as_silence_is() {
    // 100 ms, and one second.
    for missing in [100..105, 100..150] {
        let lacks = |n| missing.contains(&n);
        let expected = heard(&marked_without(lacks, Missing::Silence));
        for how in [Missing::Event, Missing::Jump, Missing::JumpAndFlag] {
            let left = marked_without(lacks, how);
            let mut heard = heard(&left);
            // The mark may reach into silence, but not into nothing.
            let hole = missing.start * FRAMES..missing.end * FRAMES;
            heard[hole.clone()].copy_from_slice(&expected[hole]);
            assert!(heard == expected, "{how:?} of {missing:?}");
            let disconts: Vec<_> = buffers(&left).into_iter().filter(is_discont).collect();
            let starts: Vec<_> = disconts.iter().map(|buffer| buffer.pts()).collect();
            let jumps = how != Missing::Event;
            let after = jumps.then_some(Some(at(missing.end)));
            let expected: Vec<_> = [Some(Some(ms(0))), after].into_iter().flatten().collect();
            assert_eq!(starts, expected, "{how:?}");
        }
    }
}

#[test]
fn after_more_than_a_second_marking_starts_afresh() {
    let pieces = pieces();
    let alone = leaves(|harness| {
        for (n, piece) in pieces.iter().enumerate().skip(151) {
            push_piece(harness, piece, n, gst::BufferFlags::empty());
        }
    });
    for how in [Missing::Event, Missing::Jump] {
        let left = leaves(|harness| {
            for (n, piece) in pieces[..100].iter().enumerate() {
                push_piece(harness, piece, n, gst::BufferFlags::empty());
            }
            if how == Missing::Event {
                let gap = gst::event::Gap::builder(at(100)).duration(ms(1_020));
                assert!(harness.push_event(gap.build()));
            }
            for (n, piece) in pieces.iter().enumerate().skip(151) {
                push_piece(harness, piece, n, gst::BufferFlags::empty());
            }
        });
        let (afresh, heard) = (heard(&alone), heard(&left));
        let after = 151 * FRAMES;
        assert!(heard[after..] == afresh[after..], "{how:?}");
    }
}

#[test]
fn the_mark_survives_gaps_of_20_ms_in_each_100() {
    for how in [Missing::Event, Missing::JumpAndFlag] {
        let left = marked_without(|n| n % 5 == 4, how);
        let config = common::detector_config(RATE, 1);
        let mut detector = Detector::new(&config, &[common::key()]).unwrap();
        detector.push(&heard(&left), &mut |_| ());
        detector.finish(&mut |_| ());
        let score = detector.stats().highest_score;
        assert!(score > 12.0, "{how:?}: {score}");
    }
}

#[test]
fn gap_events_leave_in_their_place() {
    let left = marked_without(|n| n % 5 == 4 || (150..200).contains(&n), Missing::Event);
    let mut end = ms(0);
    let mut gaps = Vec::new();
    for left in &left {
        let Some((start, duration)) = left.span() else {
            continue;
        };
        assert_eq!(start, end);
        end += duration;
        if matches!(left, Left::Event(_)) {
            gaps.push((start, duration));
        }
    }
    let expected = (0..300)
        .filter(|n| n % 5 == 4 || (150..200).contains(n))
        .map(|n| (at(n), ms(20)));
    assert_eq!(gaps, expected.collect::<Vec<_>>());
    assert_eq!(end, ms(6_000), "a gap at the end leaves, too");
}

/// With silence that is told by events, audio leaves as late as with audio: no sooner and no later.
#[test]
fn gap_events_push_out_what_is_held() {
    let wmembed = element("wmembed");
    let mut harness = harness(&wmembed, &mono());
    push_piece(&mut harness, &pieces()[0], 0, gst::BufferFlags::empty());
    let latency = gst::ClockTime::from_nseconds(wmembed.property("latency"));
    let mut frames = 0;
    for n in 1..50 {
        let gap = gst::event::Gap::builder(at(n)).duration(ms(20)).build();
        assert!(harness.push_event(gap));
        frames += bytes_of(&pull_all(&mut harness)).len() / 4;
        let due = at(n + 1).saturating_sub(latency);
        let due = due.nseconds() as usize * RATE as usize / 1_000_000_000;
        assert!(frames.abs_diff(due.min(FRAMES)) <= 1, "{frames}, {due}");
    }
}

/// Pushes half of the pieces, then an event, then the others, the first of them with these flags.
fn around(event: impl FnOnce() -> gst::Event, flags: gst::BufferFlags) -> Vec<gst::Buffer> {
    let left = leaves(|harness| {
        let pieces = pieces();
        for (n, piece) in pieces[..100].iter().enumerate() {
            push_piece(harness, piece, n, gst::BufferFlags::empty());
        }
        assert!(harness.push_event(event()));
        push_piece(harness, &pieces[100], 100, flags);
        for (n, piece) in pieces.iter().enumerate().skip(101) {
            push_piece(harness, piece, n, gst::BufferFlags::empty());
        }
    });
    buffers(&left)
}

fn segment(base: gst::ClockTime) -> gst::Event {
    let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
    segment.set_base(base);
    gst::event::Segment::new(&segment)
}

#[test]
fn only_what_was_discontinuous_is() {
    let none = gst::BufferFlags::empty();
    let discont = gst::BufferFlags::DISCONT;
    // A gap of unknown length ends what is held.
    let gap = || gst::event::Gap::builder(at(100)).build();
    let caps = || {
        let other = info(AudioFormat::F64le, RATE, 1);
        gst::event::Caps::new(&other.to_caps().unwrap())
    };
    for (flags, expected) in [(none, 1), (discont, 2)] {
        for (what, left) in [
            ("a gap", around(gap, flags)),
            ("a segment", around(|| segment(ms(1)), flags)),
            ("caps", around(caps, flags)),
        ] {
            let disconts = left.iter().filter(|buffer| is_discont(buffer));
            assert_eq!(disconts.count(), expected, "{what}, {flags:?}");
        }
    }
}

#[test]
fn after_a_gap_a_jump_is_a_discontinuity() {
    let left = leaves(|harness| {
        let pieces = pieces();
        push_piece(harness, &pieces[0], 0, gst::BufferFlags::empty());
        let gap = gst::event::Gap::builder(at(1)).duration(ms(1_980)).build();
        assert!(harness.push_event(gap));
        push_piece(harness, &pieces[1], 150, gst::BufferFlags::empty());
    });
    let left = buffers(&left);
    assert_eq!(left.last().unwrap().pts(), Some(at(150)));
    assert!(is_discont(left.last().unwrap()));
}

/// Why marking starts, as the log tells, while `work` pushes something.
fn reasons(work: impl FnOnce(&mut gst_check::Harness)) -> Vec<String> {
    common::init();
    gst::log::remove_default_log_function();
    gst::log::set_threshold_for_name("wmembed", gst::DebugLevel::Debug);
    let lines = Arc::new(Mutex::new(Vec::new()));
    let into = lines.clone();
    let thread = std::thread::current().id();
    let function = gst::log::add_log_function(move |category, _, _, _, _, _, message| {
        let text = message.get().unwrap_or_default();
        let mine = category.name() == "wmembed" && std::thread::current().id() == thread;
        if mine && text.starts_with("Marking") {
            let reason = text.split(": ").nth(1).unwrap_or("goes on");
            into.lock().unwrap().push(reason.to_string());
        }
    });
    leaves(work);
    gst::log::remove_log_function(function);
    std::mem::take(&mut *lines.lock().unwrap())
}

#[test]
fn the_log_tells_why_marking_starts() {
    let none = gst::BufferFlags::empty();
    let pieces = pieces();
    let said = reasons(|harness| {
        push_piece(harness, &pieces[0], 0, none);
        push_piece(harness, &pieces[0], 1, gst::BufferFlags::DISCONT);
        push_piece(harness, &pieces[0], 100, none);
        push_piece(harness, &pieces[0], 51, none);
        assert!(harness.push_event(gst::event::Gap::builder(at(52)).build()));
        push_piece(harness, &pieces[0], 53, none);
        assert!(harness.push_event(segment(ms(1))));
        push_piece(harness, &pieces[0], 54, none);
        harness.push_event(gst::event::FlushStart::new());
        harness.push_event(gst::event::FlushStop::new(true));
        assert!(harness.push_event(segment(ms(0))));
        push_piece(harness, &pieces[0], 55, none);
    });
    let expected = [
        "after the start of the stream",
        "goes on",
        "timestamps jump by 1960 ms",
        "timestamps jump by -1000 ms",
        "after a gap event",
        "after a new segment",
        "after a flush",
    ];
    assert_eq!(said, expected);
}
#[test]
fn a_segment_that_ends_earlier_does_not_overtake_what_it_would_cut_off() {
    let pieces = pieces();
    let first = segment(ms(0));
    for (stop, overtakes) in [(ms(1_990), false), (ms(2_000), true), (ms(2_500), true)] {
        let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
        segment.set_stop(stop);
        let left = leaves(|harness| {
            assert!(harness.push_event(first.clone()));
            for (n, piece) in pieces[..100].iter().enumerate() {
                push_piece(harness, piece, n, gst::BufferFlags::empty());
            }
            assert!(harness.push_event(gst::event::Segment::new(&segment)));
        });
        let last = left.iter().rposition(
            |left| matches!(left, Left::Event(event) if event.type_() == gst::EventType::Segment),
        );
        let after = buffers(&left[last.unwrap()..]);
        assert_eq!(!after.is_empty(), overtakes, "{stop}");
        assert_eq!(bytes_of(&buffers(&left)).len(), 100 * FRAMES * 4);
    }
}
