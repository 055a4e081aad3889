// SPDX-License-Identifier: MIT OR Apache-2.0
//! What both elements promise whatever the mark looks like: samples, times, events, latency, errors.

mod common;

use common::FORMATS;
use gst::prelude::*;
use gst_audio::AudioFormat;
use std::sync::Once;

/// 64 hex digits: a passphrase would take its time in every test.
const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// Sizes of buffers, in frames, that no framing inside an element fits.
const SIZES: [usize; 9] = [1, 441, 7, 1024, 4801, 2, 9_999, 333, 1_025];

fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        gst::init().unwrap();
        gstwm::plugin_register_static().unwrap();
    });
}

fn element(name: &str) -> gst::Element {
    init();
    gst::ElementFactory::make(name)
        .property("key", KEY)
        .build()
        .unwrap()
}

fn info(format: AudioFormat, rate: u32, channels: u32) -> gst_audio::AudioInfo {
    init();
    gst_audio::AudioInfo::builder(format, rate, channels)
        .build()
        .unwrap()
}

fn harness(element: &gst::Element, info: &gst_audio::AudioInfo) -> gst_check::Harness {
    let mut harness = gst_check::Harness::with_element(element, Some("sink"), Some("src"));
    harness.set_src_caps(info.to_caps().unwrap());
    harness
}

/// Audio that is the same every time: noise under a slow swell, a quarter of full scale at most.
fn noise(info: &gst_audio::AudioInfo, frames: usize, seed: u32) -> Vec<u8> {
    let mut x = seed | 1;
    let mut sample = |_| {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        (x as i32) >> 2
    };
    let format = info.format_info();
    let n = frames * info.channels() as usize;
    let unpacked: Vec<u8> = if info.is_float() {
        let float = |v: i32| (f64::from(v) / 2f64.powi(31)).to_ne_bytes();
        (0..n).map(&mut sample).flat_map(float).collect()
    } else {
        (0..n).map(&mut sample).flat_map(i32::to_ne_bytes).collect()
    };
    let mut bytes = vec![0; frames * info.bpf() as usize];
    format.pack(gst_audio::AudioPackFlags::empty(), &mut bytes, &unpacked);
    bytes
}

fn buffer(bytes: &[u8], pts: Option<gst::ClockTime>) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_slice(bytes.to_vec());
    buffer.get_mut().unwrap().set_pts(pts);
    buffer
}

fn time(frames: usize, rate: u32) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(frames as u64 * 1_000_000_000 / u64::from(rate))
}

/// Pushes the audio in buffers of changing size, with timestamps from `start` on.
fn push(
    harness: &mut gst_check::Harness,
    info: &gst_audio::AudioInfo,
    bytes: &[u8],
    start: Option<gst::ClockTime>,
) {
    let bpf = info.bpf() as usize;
    let (mut frame, frames) = (0, bytes.len() / bpf);
    for size in SIZES.iter().cycle() {
        if frame == frames {
            break;
        }
        let end = frames.min(frame + size);
        let pts = start.map(|start| start + time(frame, info.rate()));
        harness
            .push(buffer(&bytes[frame * bpf..end * bpf], pts))
            .unwrap();
        frame = end;
    }
}

fn pull_all(harness: &mut gst_check::Harness) -> Vec<gst::Buffer> {
    std::iter::from_fn(|| harness.try_pull()).collect()
}

fn bytes_of(buffers: &[gst::Buffer]) -> Vec<u8> {
    buffers
        .iter()
        .flat_map(|b| b.map_readable().unwrap().to_vec())
        .collect()
}

/// The buffers follow each other to the nanosecond, from `start` on.
fn assert_continuous(
    buffers: &[gst::Buffer],
    info: &gst_audio::AudioInfo,
    start: Option<gst::ClockTime>,
) {
    let mut frames = 0;
    for buffer in buffers {
        assert_eq!(
            buffer.pts(),
            start.map(|start| start + time(frames, info.rate()))
        );
        let from = frames;
        frames += buffer.size() / info.bpf() as usize;
        assert_eq!(
            buffer.duration(),
            Some(time(frames, info.rate()) - time(from, info.rate()))
        );
    }
}

#[test]
fn switched_off_every_format_stays_bit_exact() {
    for format in FORMATS {
        for (rate, channels) in [(48_000, 2), (44_100, 1), (8_000, 6)] {
            let info = info(format, rate, channels);
            let wmembed = element("wmembed");
            wmembed.set_property("enabled", false);
            let mut harness = harness(&wmembed, &info);
            let bytes = noise(&info, rate as usize, 1);
            push(&mut harness, &info, &bytes, Some(gst::ClockTime::ZERO));
            harness.push_event(gst::event::Eos::new());
            assert!(
                bytes_of(&pull_all(&mut harness)) == bytes,
                "{format:?} {rate} {channels}"
            );
        }
    }
}

#[test]
fn switched_off_odd_floats_keep_their_bits() {
    let odd = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        -0.0,
        1e-42,
        f32::from_bits(0x7f80_0001),
    ];
    let info = info(AudioFormat::F32le, 8_000, 1);
    let wmembed = element("wmembed");
    wmembed.set_property("enabled", false);
    let mut harness = harness(&wmembed, &info);
    let bytes: Vec<u8> = odd
        .into_iter()
        .cycle()
        .take(9_000)
        .flat_map(f32::to_le_bytes)
        .collect();
    push(&mut harness, &info, &bytes, None);
    harness.push_event(gst::event::Eos::new());
    assert!(bytes_of(&pull_all(&mut harness)) == bytes);
}

#[test]
fn frames_and_times_out_are_those_that_came_in() {
    for format in FORMATS {
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
fn output_does_not_depend_on_the_size_of_buffers() {
    let info = info(AudioFormat::S16le, 16_000, 2);
    let bytes = noise(&info, 32_000, 3);
    let outputs = [1usize, 160, 1_000, 32_000].map(|size| {
        let mut harness = harness(&element("wmembed"), &info);
        let mut frames = 0;
        for piece in bytes.chunks(size * info.bpf() as usize) {
            harness
                .push(buffer(piece, Some(time(frames, info.rate()))))
                .unwrap();
            frames += size;
        }
        harness.push_event(gst::event::Eos::new());
        bytes_of(&pull_all(&mut harness))
    });
    assert!(outputs.iter().all(|output| *output == outputs[0]));
}

#[test]
fn latency_is_what_it_says() {
    for (rate, lookahead) in [
        (48_000, true),
        (48_000, false),
        (44_100, true),
        (8_000, true),
    ] {
        let info = info(AudioFormat::F32le, rate, 1);
        let wmembed = element("wmembed");
        wmembed.set_property("lookahead", lookahead);
        let mut harness = harness(&wmembed, &info);
        harness.set_upstream_latency(gst::ClockTime::from_mseconds(20));
        // An impulse first, then silence: once a buffer comes out, the impulse is in it.
        let mut pushed = 0;
        let first = loop {
            let sample: f32 = if pushed == 0 { 1.0 } else { 0.0 };
            harness
                .push(buffer(&sample.to_le_bytes(), Some(time(pushed, rate))))
                .unwrap();
            if let Some(buffer) = harness.try_pull() {
                break buffer;
            }
            pushed += 1;
        };
        assert_eq!(first.pts(), Some(gst::ClockTime::ZERO));
        let sample = f32::from_le_bytes(first.map_readable().unwrap()[..4].try_into().unwrap());
        assert!(
            sample > 0.5,
            "the impulse is in the first frame, which is {sample}"
        );
        let nanoseconds = (pushed as u64 * 1_000_000_000).div_ceil(u64::from(rate));
        assert_eq!(wmembed.property::<u64>("latency"), nanoseconds);
        let queried = harness.query_latency().unwrap();
        assert_eq!(queried.nseconds(), nanoseconds + 20_000_000);
    }
}

#[test]
fn a_new_latency_is_announced() {
    let info_48 = info(AudioFormat::F32le, 48_000, 1);
    let info_44 = info(AudioFormat::F32le, 44_100, 1);
    let wmembed = element("wmembed");
    let bus = gst::Bus::new();
    let mut harness = harness(&wmembed, &info_48);
    wmembed.set_bus(Some(&bus));
    let before: u64 = wmembed.property("latency");
    harness.set_src_caps(info_44.to_caps().unwrap());
    let after: u64 = wmembed.property("latency");
    let posted = bus.pop_filtered(&[gst::MessageType::Latency]).is_some();
    assert_eq!(posted, before != after);
    wmembed.set_bus(None);
}

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
    init();
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
fn a_buffer_that_ends_within_a_frame_is_an_error() {
    let info = info(AudioFormat::S16le, 16_000, 2);
    for name in ["wmembed", "wmdetect"] {
        let element = element(name);
        let mut harness = harness(&element, &info);
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        // Without a timestamp the base class does not clip, so the odd bytes arrive.
        assert_eq!(
            harness.push(buffer(&[0; 7], None)),
            Err(gst::FlowError::Error)
        );
        let message = bus.pop_filtered(&[gst::MessageType::Error]).unwrap();
        let gst::MessageView::Error(error) = message.view() else {
            unreachable!()
        };
        assert!(error.error().matches(gst::StreamError::Format));
        element.set_bus(None);
    }
}

/// What the element says when it cannot go to PAUSED.
fn start_error(element: &gst::Element) -> String {
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    assert!(element.set_state(gst::State::Paused).is_err());
    let message = bus
        .pop_filtered(&[gst::MessageType::Error])
        .expect("an error on the bus");
    let gst::MessageView::Error(error) = message.view() else {
        unreachable!()
    };
    let text = format!("{} {:?}", error.error(), error.debug());
    element.set_state(gst::State::Null).unwrap();
    text
}

#[test]
fn without_a_usable_key_the_error_says_what_to_do() {
    init();
    const SECRET: &str = "correct horse battery staple";
    let directory = std::env::temp_dir().join(format!("gst-wm-elements-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let empty = directory.join("empty.key");
    std::fs::write(&empty, "\n").unwrap();
    let good = directory.join("good.key");
    std::fs::write(&good, format!("{SECRET}\n")).unwrap();
    for name in ["wmembed", "wmdetect"] {
        let make = || gst::ElementFactory::make(name).build().unwrap();

        let text = start_error(&make());
        assert!(text.contains(&format!("{name} needs a key")), "{text}");
        assert!(
            text.contains("property key ") && text.contains("key-file"),
            "{text}"
        );

        let element = make();
        element.set_property("key", "");
        assert!(start_error(&element).contains("needs a key"));

        let element = make();
        element.set_property("key-file", directory.join("none.key").to_str().unwrap());
        let text = start_error(&element);
        assert!(
            text.contains("none.key") && text.contains("cannot be read"),
            "{text}"
        );

        let element = make();
        element.set_property("key-file", empty.to_str().unwrap());
        let text = start_error(&element);
        assert!(
            text.contains("empty.key") && text.contains("is empty"),
            "{text}"
        );

        let element = make();
        element.set_property("key-file", good.to_str().unwrap());
        element.set_property("key", SECRET);
        let text = start_error(&element);
        assert!(
            text.contains("only one") && !text.contains(SECRET),
            "{text}"
        );

        // With one of the two taken back, the same element starts.
        element.set_property("key", None::<String>);
        element.set_state(gst::State::Paused).unwrap();
        element.set_state(gst::State::Null).unwrap();
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_key_can_only_be_written() {
    for name in ["wmembed", "wmdetect"] {
        let element = element(name);
        let flags = element.find_property("key").unwrap().flags();
        assert!(flags.contains(gst::glib::ParamFlags::WRITABLE));
        assert!(!flags.contains(gst::glib::ParamFlags::READABLE));
    }
    let preset = element("wmembed").dynamic_cast::<gst::Preset>().unwrap();
    let saved = preset.property_names();
    assert!(saved.iter().any(|name| name == "strength"));
    assert!(!saved.iter().any(|name| name == "key"));
}

#[test]
fn settings_of_the_start_stay_while_running() {
    for name in ["wmembed", "wmdetect"] {
        let element = element(name);
        element.set_state(gst::State::Paused).unwrap();
        element.set_property_from_str("carrier", "noise");
        element.set_property_from_str("row-clock", "utc");
        assert_eq!(
            element.property::<gstwm::WmCarrier>("carrier"),
            gstwm::WmCarrier::Programme
        );
        assert_eq!(
            element.property::<gstwm::WmRowClock>("row-clock"),
            gstwm::WmRowClock::Stream
        );
        element.set_state(gst::State::Ready).unwrap();
        element.set_property_from_str("carrier", "noise");
        assert_eq!(
            element.property::<gstwm::WmCarrier>("carrier"),
            gstwm::WmCarrier::Noise
        );
        element.set_state(gst::State::Null).unwrap();
    }
    let wmembed = element("wmembed");
    wmembed.set_state(gst::State::Paused).unwrap();
    wmembed.set_property("strength", -3.0);
    assert_eq!(wmembed.property::<f64>("strength"), -3.0);
    wmembed.set_state(gst::State::Null).unwrap();
}

#[test]
fn wmdetect_passes_the_very_buffers() {
    for format in FORMATS {
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

#[test]
fn pipelines_start_run_and_stop_twice() {
    init();
    let pipeline = gst::parse::launch(
        "audiotestsrc num-buffers=50 samplesperbuffer=1000 wave=pink-noise \
         ! audio/x-raw,format=S16LE,rate=44100,channels=2 ! wmembed name=embed key=k \
         ! wmdetect key=k ! appsink name=sink sync=false",
    )
    .unwrap()
    .downcast::<gst::Pipeline>()
    .unwrap();
    let sink = pipeline
        .by_name("sink")
        .unwrap()
        .downcast::<gst_app::AppSink>()
        .unwrap();
    for _ in 0..2 {
        pipeline.set_state(gst::State::Playing).unwrap();
        let mut frames = 0;
        while let Ok(sample) = sink.pull_sample() {
            let buffer = sample.buffer().unwrap();
            assert_eq!(buffer.pts(), Some(time(frames, 44_100)));
            frames += buffer.size() / 4;
        }
        assert_eq!(frames, 50_000);
        pipeline.set_state(gst::State::Null).unwrap();
    }
}

/// Plays `pipeline` to its end, returns the timestamp of its first frame and the number of frames.
fn play(
    pipeline: &gst::Pipeline,
    sink: &gst_app::AppSink,
    bytes_per_frame: usize,
) -> (Option<gst::ClockTime>, usize) {
    pipeline.set_state(gst::State::Playing).unwrap();
    let (mut first, mut frames) = (None, 0);
    while let Ok(sample) = sink.pull_sample() {
        let buffer = sample.buffer().unwrap();
        first = first.or(buffer.pts());
        frames += buffer.size() / bytes_per_frame;
    }
    (first, frames)
}

#[test]
fn after_a_seek_there_is_what_was_asked_for() {
    init();
    let pipeline = gst::parse::launch(&format!(
        "audiotestsrc ! audio/x-raw,format=S16LE,rate=48000,channels=1 ! wmembed key={KEY} \
         ! wmdetect key={KEY} ! appsink name=sink sync=false max-buffers=1"
    ))
    .unwrap()
    .downcast::<gst::Pipeline>()
    .unwrap();
    let sink = pipeline
        .by_name("sink")
        .unwrap()
        .downcast::<gst_app::AppSink>()
        .unwrap();
    // What a property or a query does from within a bus handler must not meet a lock.
    pipeline.bus().unwrap().set_sync_handler(|_, message| {
        if let Some(element) = message.src().and_then(|s| s.downcast_ref::<gst::Element>()) {
            for property in ["latency", "present", "score", "stats"] {
                if element.has_property(property) {
                    element.property_value(property);
                }
            }
            element.query(&mut gst::query::Latency::new());
        }
        gst::BusSyncReply::Drop
    });
    pipeline.set_state(gst::State::Paused).unwrap();
    sink.pull_preroll().unwrap();
    let second = gst::ClockTime::from_seconds;
    let seek = |rate, flags| {
        let range = (gst::SeekType::Set, second(3), gst::SeekType::Set, second(5));
        let flags = gst::SeekFlags::ACCURATE | flags;
        pipeline
            .seek(rate, flags, range.0, range.1, range.2, range.3)
            .unwrap();
    };
    for rate in [1.0, 2.0, -1.0, 1.0] {
        seek(rate, gst::SeekFlags::FLUSH);
        let (first, frames) = play(&pipeline, &sink, 2);
        assert_eq!(frames, 96_000, "rate {rate}");
        if rate > 0.0 {
            assert_eq!(first, Some(second(3)), "rate {rate}");
        }
        pipeline.set_state(gst::State::Paused).unwrap();
    }
    pipeline.set_state(gst::State::Null).unwrap();
}
