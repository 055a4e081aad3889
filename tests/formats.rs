// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every sample format, rate and layout of channels is marked and found, and no integer wraps around.

mod common;

use common::harness::{buffer_of, bytes_of, formats, planar};
use common::{KEY, Message, Random, detection};
use gst::prelude::*;
use gst_audio::{AudioChannelPosition as P, AudioFormat, AudioInfo, AudioPackFlags};

const FIVE_ONE: [P; 6] = [
    P::FrontLeft,
    P::FrontRight,
    P::FrontCenter,
    P::Lfe1,
    P::RearLeft,
    P::RearRight,
];
const LFE: usize = 3;

#[derive(Debug, Clone, Copy)]
enum Layout {
    Mono,
    Stereo,
    /// Right is minus left: the mean of the channels is silence.
    Opposite,
    FiveOne,
}

impl Layout {
    fn info(self, format: AudioFormat, rate: u32) -> AudioInfo {
        common::init();
        let builder = |channels| AudioInfo::builder(format, rate, channels);
        match self {
            Layout::Mono => builder(1).build(),
            Layout::Stereo | Layout::Opposite => builder(2).build(),
            Layout::FiveOne => builder(6).positions(&FIVE_ONE).build(),
        }
        .unwrap()
    }

    /// One frame of it made of a stereo frame.
    fn frame(self, left: f64, right: f64) -> Vec<f64> {
        match self {
            Layout::Mono => vec![0.5 * (left + right)],
            Layout::Stereo => vec![left, right],
            Layout::Opposite => vec![left, -left],
            Layout::FiveOne => vec![
                left,
                right,
                0.3 * (left + right),
                0.2 * (left + right),
                0.4 * left,
                -0.4 * right,
            ],
        }
    }
}

/// Bytes of these samples; whatever is beyond full scale is full scale.
fn pack(info: &AudioInfo, samples: &[f64]) -> Vec<u8> {
    let format = info.format_info();
    let integer = |v: f64| (v * 2f64.powi(31)).clamp(-(2f64.powi(31)), 2f64.powi(31) - 1.0) as i32;
    let unpacked: Vec<u8> = if info.is_float() {
        samples.iter().flat_map(|v| v.to_ne_bytes()).collect()
    } else {
        samples
            .iter()
            .flat_map(|v| integer(*v).to_ne_bytes())
            .collect()
    };
    let mut bytes = vec![0; samples.len() * (format.width() / 8) as usize];
    format.pack(AudioPackFlags::TRUNCATE_RANGE, &mut bytes, &unpacked);
    bytes
}

fn unpack(info: &AudioInfo, bytes: &[u8]) -> Vec<f64> {
    let format = info.format_info();
    let samples = bytes.len() / (format.width() / 8) as usize;
    if info.is_float() {
        let mut unpacked = vec![0; 8 * samples];
        format.unpack(AudioPackFlags::TRUNCATE_RANGE, &mut unpacked, bytes);
        let floats = unpacked.as_chunks().0.iter();
        floats.map(|bytes| f64::from_ne_bytes(*bytes)).collect()
    } else {
        let mut unpacked = vec![0; 4 * samples];
        format.unpack(AudioPackFlags::TRUNCATE_RANGE, &mut unpacked, bytes);
        let integers = unpacked.as_chunks().0.iter();
        integers
            .map(|bytes| f64::from(i32::from_ne_bytes(*bytes)) / 2f64.powi(31))
            .collect()
    }
}

/// Sends the frames through the element in buffers of 20 ms, returns what comes out.
fn through(element: &gst::Element, info: &AudioInfo, bytes: &[u8]) -> Vec<u8> {
    let mut harness = gst_check::Harness::with_element(element, Some("sink"), Some("src"));
    harness.set_src_caps(info.to_caps().unwrap());
    let frames = info.rate() as usize / 50;
    let mut output = Vec::new();
    for (n, piece) in bytes.chunks(frames * info.bpf() as usize).enumerate() {
        let time = (n * frames) as u64 * 1_000_000_000 / u64::from(info.rate());
        let pts = gst::ClockTime::from_nseconds(time);
        harness.push(buffer_of(info, piece, Some(pts))).unwrap();
        output.extend(std::iter::from_fn(|| harness.try_pull()));
    }
    harness.push_event(gst::event::Eos::new());
    output.extend(std::iter::from_fn(|| harness.try_pull()));
    bytes_of(&output)
}

fn wmembed(strength: f64) -> gst::Element {
    common::init();
    gst::ElementFactory::make("wmembed")
        .property("key", KEY)
        .property("strength", strength)
        .build()
        .unwrap()
}

/// What the detector says about the bytes.
fn detect(info: &AudioInfo, bytes: &[u8]) -> Vec<Message> {
    let element = gst::ElementFactory::make("wmdetect")
        .property("key", KEY)
        .build()
        .unwrap();
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    let output = through(&element, info, bytes);
    element.set_bus(None);
    assert!(output == bytes, "wmdetect changed the audio");
    bus.iter()
        .filter_map(|message| detection(&message))
        .collect()
}

/// Energy of the programme over that of the mark, in decibels.
fn programme_to_mark(programme: &[f64], marked: &[f64]) -> f64 {
    let energy = |x: &mut dyn Iterator<Item = f64>| x.map(|v| v * v).sum::<f64>();
    let mark = energy(&mut programme.iter().zip(marked).map(|(p, m)| m - p));
    10.0 * (energy(&mut programme.iter().copied()) / mark).log10()
}

fn assert_marked_and_found(info: &AudioInfo, layout: Layout, music: &[f32]) {
    let samples: Vec<f64> = music
        .as_chunks::<2>()
        .0
        .iter()
        .flat_map(|[left, right]| layout.frame(f64::from(*left), f64::from(*right)))
        .collect();
    let what = format!("{info:?} {layout:?}");
    let bytes = pack(info, &samples);
    let marked_bytes = through(&wmembed(0.0), info, &bytes);
    assert_eq!(marked_bytes.len(), bytes.len(), "{what}");
    let (programme, marked) = (unpack(info, &bytes), unpack(info, &marked_bytes));
    let channels = info.channels() as usize;
    for channel in 0..channels {
        let of = |all: &[f64]| -> Vec<f64> {
            all.iter()
                .skip(channel)
                .step_by(channels)
                .copied()
                .collect()
        };
        let (programme, marked) = (of(&programme), of(&marked));
        if channels == 6 && channel == LFE {
            assert!(programme == marked, "{what}: low-frequency effects");
        } else {
            let decibels = programme_to_mark(&programme, &marked);
            assert!(
                (12.0..40.0).contains(&decibels),
                "{what}, channel {channel}: {decibels} dB"
            );
        }
    }
    let unmarked = detect(info, &bytes);
    assert!(unmarked.is_empty(), "{what}, unmarked: {unmarked:?}");
    let messages = detect(info, &marked_bytes);
    let found = messages
        .first()
        .unwrap_or_else(|| panic!("{what}: not found"));
    assert_eq!(found.state(), "found", "{what}");
    for message in &messages {
        let ahead = message.ahead();
        assert!(ahead.abs() <= 0.06, "{what}: {ahead} s");
        // At the wrong speed even the opposite of the mark looks like a weak one.
        let speed: f64 = message.fields.get("speed").unwrap();
        assert!((speed - 1.0).abs() < 0.0005, "{what}: speed {speed}");
    }
}

/// Each rate with each layout, the formats taking turns from `first_format` on, every other stream with its channels
/// apart.
fn assert_rates(rates: &[u32], first_format: usize) {
    let layouts = [
        Layout::Mono,
        Layout::Stereo,
        Layout::Opposite,
        Layout::FiveOne,
    ];
    let formats = formats();
    let mut turns = formats.iter().cycle().skip(first_format);
    let mut apart = [false, true, true, false, true].into_iter().cycle();
    for rate in rates {
        let music = common::recording("music.flac", *rate, 2);
        let part = &music[..2 * 3 * *rate as usize];
        for layout in layouts {
            let info = layout.info(*turns.next().unwrap(), *rate);
            if apart.next().unwrap() {
                assert_marked_and_found(&planar(&info), layout, part);
            } else {
                assert_marked_and_found(&info, layout, part);
            }
        }
    }
}

// Three times three rates with four layouts are more than there are formats.

#[test]
fn found_at_8_and_11_and_16_khz() {
    assert_rates(&[8_000, 11_025, 16_000], 0);
}

#[test]
fn found_at_22_and_37_and_44_khz() {
    assert_rates(&[22_050, 37_800, 44_100], 12);
}

#[test]
fn found_at_48_and_96_and_192_khz() {
    assert_rates(&[48_000, 96_000, 192_000], 24);
}

/// A second and a half of audio that never leaves full scale for long.
fn loud(rate: u32, wave: impl Fn(f64) -> f64) -> Vec<f64> {
    let mut random = Random::new(7);
    (0..rate * 3 / 2)
        .map(|i| wave(f64::from(i) / f64::from(rate)) + 0.3 * f64::from(random.noise()))
        .collect()
}

#[test]
fn full_scale_is_clipped_and_never_wraps() {
    let rate = 16_000;
    let turn = std::f64::consts::TAU * 440.0;
    let square = loud(rate, |t| 4.0 * (t * turn).sin().signum());
    let sine = loud(rate, |t| 2.0 * (t * turn).sin());
    for format in formats() {
        let info = Layout::Mono.info(format, rate);
        if info.is_float() {
            continue;
        }
        let top = 1.0 - 2f64.powi(1 - info.depth() as i32);
        for (name, wave) in [("square", &square), ("sine", &sine)] {
            let bytes = pack(&info, wave);
            let output = through(&wmembed(6.0), &info, &bytes);
            let (programme, marked) = (unpack(&info, &bytes), unpack(&info, &output));
            let (mut pushed_in, mut held) = (0, 0);
            for (i, (x, y)) in programme.iter().zip(&marked).enumerate() {
                assert!((-1.0..=top).contains(y), "{format:?}: {y}");
                // A sample that wrapped is two full scales away, less the mark.
                assert!(
                    (y - x).abs() < 1.0,
                    "{format:?} {name}, sample {i}: {x} became {y}"
                );
                if x.abs() >= top {
                    pushed_in += u32::from(y.abs() < top);
                    held += u32::from(y.abs() >= top);
                }
            }
            // The mark is there, and half of it points outwards at the peaks, where there is no room.
            assert!(
                pushed_in > 1_000 && held > 1_000,
                "{format:?} {name}: {pushed_in} {held}"
            );
        }
    }
}

#[test]
fn floats_are_not_clipped() {
    let info = Layout::Mono.info(AudioFormat::F32le, 16_000);
    let wave = loud(16_000, |t| 2.0 * (t * 2_764.6).sin());
    let output = unpack(&info, &through(&wmembed(0.0), &info, &pack(&info, &wave)));
    let decibels = programme_to_mark(&wave, &output);
    assert!((12.0..40.0).contains(&decibels), "{decibels} dB");
}
