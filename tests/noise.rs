// SPDX-License-Identifier: MIT OR Apache-2.0
//! carrier=noise, from one element to the other: found, followed and lost; never found where it is not.

use gst::prelude::*;
use std::sync::Once;

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const WRONG_KEY: &str = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        gst::init().unwrap();
        gstwm::plugin_register_static().unwrap();
    });
}

fn element(name: &str, key: &str) -> gst::Element {
    init();
    gst::ElementFactory::make(name)
        .property("key", key)
        .property_from_str("carrier", "noise")
        .build()
        .unwrap()
}

/// Samples of a FLAC file among the test data: interleaved, and the number of channels.
fn read(file: &str) -> (Vec<f32>, usize) {
    init();
    let path = format!("{}/tests/data/{file}", env!("CARGO_MANIFEST_DIR"));
    let pipeline = gst::parse::launch(
        "filesrc name=file ! flacparse ! flacdec ! audioconvert ! audio/x-raw,format=F32LE \
         ! appsink name=sink sync=false",
    )
    .unwrap()
    .downcast::<gst::Pipeline>()
    .unwrap();
    pipeline
        .by_name("file")
        .unwrap()
        .set_property("location", path);
    let sink = pipeline.by_name("sink").unwrap();
    let sink = sink.downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let (mut samples, mut channels) = (Vec::new(), 0);
    while let Ok(sample) = sink.pull_sample() {
        let caps = sample.caps().unwrap().structure(0).unwrap().to_owned();
        channels = caps.get::<i32>("channels").unwrap() as usize;
        let map = sample.buffer().unwrap().map_readable().unwrap();
        samples.extend(floats(&map));
    }
    pipeline.set_state(gst::State::Null).unwrap();
    assert!(!samples.is_empty(), "{file}");
    (samples, channels)
}

fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
}

/// What an element makes of the audio, and the `wmdetect` messages it posts.
fn run(
    element: &gst::Element,
    samples: &[f32],
    channels: usize,
) -> (Vec<f32>, Vec<gst::Structure>) {
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    let mut harness = gst_check::Harness::with_element(element, Some("sink"), Some("src"));
    let info =
        gst_audio::AudioInfo::builder(gst_audio::AudioFormat::F32le, 48_000, channels as u32)
            .build()
            .unwrap();
    harness.set_src_caps(info.to_caps().unwrap());
    let mut frames = 0u64;
    for piece in samples.chunks(1000 * channels) {
        let bytes: Vec<u8> = piece.iter().flat_map(|s| s.to_le_bytes()).collect();
        let mut buffer = gst::Buffer::from_slice(bytes);
        let pts = gst::ClockTime::from_nseconds(frames * 1_000_000_000 / 48_000);
        buffer.get_mut().unwrap().set_pts(pts);
        frames += (piece.len() / channels) as u64;
        harness.push(buffer).unwrap();
    }
    harness.push_event(gst::event::Eos::new());
    let mut out = Vec::new();
    while let Some(buffer) = harness.try_pull() {
        out.extend(floats(&buffer.map_readable().unwrap()));
    }
    let messages = std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Element]))
        .filter_map(|message| message.structure().map(|s| s.to_owned()))
        .filter(|s| s.name() == "wmdetect")
        .collect();
    (out, messages)
}

fn states(messages: &[gst::Structure]) -> Vec<String> {
    messages.iter().map(|s| s.get("state").unwrap()).collect()
}

fn detect(key: &str, samples: &[f32], channels: usize) -> Vec<gst::Structure> {
    run(&element("wmdetect", key), samples, channels).1
}

fn mark(samples: &[f32], channels: usize) -> Vec<f32> {
    let marked = run(&element("wmembed", KEY), samples, channels).0;
    assert_eq!(marked.len(), samples.len());
    marked
}

#[test]
fn the_mark_of_the_reference_is_found_where_it_is() {
    let (samples, channels) = read("reference_marked_noise.flac");
    let messages = detect(KEY, &samples, channels);
    assert_eq!(states(&messages)[0], "found");
    for message in &messages {
        // Stream time and position in the mark are the same, to the 40 ms of a slot.
        let field = |name| message.get::<u64>(name).unwrap() as f64 * 1e-9;
        let difference = field("watermark-time") - field("stream-time");
        assert!(difference.abs() < 0.05, "{message}");
        assert!(message.get::<f64>("log10-p").unwrap() < -4.0);
    }
    assert!(detect(WRONG_KEY, &samples, channels).is_empty());
}

#[test]
fn short_pieces_of_speech_and_music_are_found() {
    for (file, seconds) in [("speech.flac", 3), ("music.flac", 2)] {
        let (samples, channels) = read(file);
        let marked = mark(&samples, channels);
        let pieces = marked.chunks_exact(seconds * 48_000 * channels);
        for (number, piece) in pieces.enumerate() {
            let messages = detect(KEY, piece, channels);
            assert_eq!(
                states(&messages).first().map(String::as_str),
                Some("found"),
                "{file} {number}"
            );
        }
        assert!(detect(WRONG_KEY, &marked, channels).is_empty(), "{file}");
        assert!(detect(KEY, &samples, channels).is_empty(), "{file}");
    }
}

#[test]
fn present_while_it_lasts_and_lost_when_it_ends() {
    let (music, channels) = read("music.flac");
    let mut samples = mark(&music, channels);
    let length = samples.len();
    samples.extend_from_slice(&music);
    let messages = detect(KEY, &samples, channels);
    let states = states(&messages);
    assert_eq!(states[0], "found");
    assert_eq!(states.last().unwrap(), "lost");
    assert_eq!(
        states.iter().filter(|s| *s == "lost").count(),
        1,
        "{states:?}"
    );
    assert!(states.iter().filter(|s| *s == "present").count() >= 8);
    let lost = messages.last().unwrap();
    let end = lost.get::<u64>("timestamp").unwrap() + lost.get::<u64>("duration").unwrap();
    let after = end as f64 * 1e-9 - (length / channels) as f64 / 48_000.0;
    assert!(after.abs() < 0.5, "the end is told {after} s late");
    let found = messages[0].get::<u64>("timestamp").unwrap();
    assert_eq!(lost.get::<u64>("timestamp").unwrap(), found);
}

#[test]
fn settings_that_do_not_go_together_are_errors() {
    let error = |element: gst::Element| {
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        assert!(element.set_state(gst::State::Paused).is_err());
        let message = bus.pop_filtered(&[gst::MessageType::Error]).unwrap();
        element.set_state(gst::State::Null).unwrap();
        let gst::MessageView::Error(error) = message.view() else {
            unreachable!()
        };
        error.error().to_string()
    };
    for name in ["wmembed", "wmdetect"] {
        let element = element(name, KEY);
        element.set_property_from_str("row-clock", "utc");
        assert!(error(element).contains("row-clock=stream"), "{name}");
    }
    let element = element("wmdetect", KEY);
    element.set_property("max-speed-deviation", 2.0);
    assert!(error(element).contains("max-speed-deviation"));
}
