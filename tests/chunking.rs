// SPDX-License-Identifier: MIT OR Apache-2.0
//! Nothing depends on how the audio is cut into pieces: not a bit of the mark, not a report, not a buffer.

mod common;

use common::{detector_config, embedder_config, key, mark_saying, recording};
use gst::prelude::*;
use gstwm::watermark::{Detection, DetectionState, Detector, Embedder, EmbedderConfig, Payload};
use proptest::prelude::*;
use std::sync::OnceLock;

const RATE: u32 = 16_000;

/// Sizes of pieces, in frames: single frames, odd sizes, and more than any framing inside.
fn cuts() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![1..20usize, 1..2_000usize, 1..20_000usize];
    prop::collection::vec(size, 1..12)
}

/// Failures are not written to files: the seed in the message is enough.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

/// Calls `take` for the pieces of `samples` that repeating `cuts` gives.
fn cut<T>(samples: &[T], channels: usize, cuts: &[usize], mut take: impl FnMut(&[T])) {
    let mut rest = samples;
    for size in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at(rest.len().min(size * channels));
        take(piece);
        rest = after;
    }
}

/// A second and a half of each recording, in stereo.
fn programme() -> &'static [f32] {
    static PROGRAMME: OnceLock<Vec<f32>> = OnceLock::new();
    PROGRAMME.get_or_init(|| {
        ["speech.flac", "music.flac"]
            .iter()
            .flat_map(|file| {
                recording(file, RATE, 2)[3 * RATE as usize..][..3 * RATE as usize].to_vec()
            })
            .collect()
    })
}

const PAYLOADS: [Payload; 2] = [Payload([1; 4]), Payload([2; 4])];

/// The bits of the mark, and from which frame on it says what.
type Embedded = (Vec<u32>, Vec<(u64, Option<Payload>)>);

/// What changes while the embedder runs must not depend on pieces either, as long as it comes at the same frame.
fn embed(config: &EmbedderConfig, cuts: &[usize]) -> Embedded {
    let mut embedder = Embedder::new(config, &key()).unwrap();
    // Soon after the change, a message begins.
    embedder.reset(923_456_789);
    let (mut bits, mut changes) = (Vec::new(), Vec::new());
    let frames = programme().len() / config.channels;
    let (first, second) = programme().split_at(frames / 3 * config.channels);
    for (strength, payload, part) in [(0.0, PAYLOADS[0], first), (-6.0, PAYLOADS[1], second)] {
        embedder.set_strength(strength);
        embedder.set_payload(Some(payload));
        cut(part, config.channels, cuts, |piece| {
            let mut mark = vec![f32::NAN; piece.len()];
            embedder.process(piece, &mut mark);
            bits.extend(mark.iter().map(|sample| sample.to_bits()));
            changes.extend(embedder.take_payload_change());
        });
    }
    (bits, changes)
}

/// A configuration and what it makes of the audio in one piece.
fn embedders() -> &'static [(EmbedderConfig, Embedded)] {
    static EMBEDDERS: OnceLock<Vec<(EmbedderConfig, Embedded)>> = OnceLock::new();
    EMBEDDERS.get_or_init(|| {
        // The rate is what the embedder is told: that it is not that of the recording does no harm.
        let configs = [(16_000, 2, true), (44_100, 2, false), (8_000, 1, true)];
        let whole = |(rate, channels, lookahead)| {
            let config = EmbedderConfig {
                lookahead,
                ..embedder_config(rate, channels)
            };
            let whole = embed(&config, &[1_000_000]);
            let bits = &whole.0;
            assert!(bits.iter().filter(|bits| **bits != 0).count() > bits.len() / 3);
            let said: Vec<_> = whole.1.iter().map(|(_, said)| *said).collect();
            assert_eq!(said, PAYLOADS.map(Some), "{config:?}");
            (config, whole)
        };
        configs.into_iter().map(whole).collect()
    })
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn the_mark_is_the_same_for_any_pieces(cuts in cuts(), which in 0..3usize) {
        let (config, whole) = &embedders()[which];
        prop_assert!(embed(config, &cuts) == *whole, "{config:?}");
    }
}

/// Programme, marked programme, and programme again, so that every kind of report comes up.
fn received() -> &'static [f32] {
    static RECEIVED: OnceLock<Vec<f32>> = OnceLock::new();
    RECEIVED.get_or_init(|| {
        let music = recording("music.flac", RATE, 1);
        let second = RATE as usize;
        let said = [(0, Some(PAYLOADS[0])), (3 * second, Some(PAYLOADS[1]))];
        let marked = mark_saying(
            &music[second..7 * second],
            &embedder_config(RATE, 1),
            0,
            &said,
        );
        [&music[..second], &marked, &music[7 * second..], &music].concat()
    })
}

fn detect(cuts: &[usize]) -> Vec<Detection> {
    let mut detector = Detector::new(&detector_config(RATE, 1), &[key()]).unwrap();
    let mut reports = Vec::new();
    cut(received(), 1, cuts, |piece| {
        detector.push(piece, &mut |report| reports.push(report.clone()));
    });
    detector.finish(&mut |report| reports.push(report.clone()));
    reports
}

fn reports() -> &'static [Detection] {
    static REPORTS: OnceLock<Vec<Detection>> = OnceLock::new();
    REPORTS.get_or_init(|| {
        let reports = detect(&[1_000_000]);
        for state in [
            DetectionState::Found,
            DetectionState::Present,
            DetectionState::Lost,
        ] {
            assert!(
                reports.iter().any(|report| report.state == state),
                "{state:?}"
            );
        }
        for payload in PAYLOADS {
            assert!(
                reports.iter().any(|report| report.payload == Some(payload)),
                "{payload}"
            );
        }
        reports
    })
}

proptest! {
    #![proptest_config(config(12))]

    #[test]
    fn the_reports_are_the_same_for_any_pieces(cuts in cuts()) {
        prop_assert_eq!(&detect(&cuts)[..], reports());
    }
}

/// Pushes the audio through both elements in buffers of these sizes: the bytes that come out, and the messages.
fn through_elements(cuts: &[usize]) -> (Vec<u8>, Vec<String>) {
    common::init();
    let key = common::KEY;
    let bin = gst::parse::bin_from_description(
        &format!(
            "wmembed name=embed key={key} payload=01010101 ! wmdetect key={key} interval=200000000"
        ),
        true,
    )
    .unwrap();
    let embed = bin.by_name("embed").unwrap();
    let element: gst::Element = bin.upcast();
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    let mut harness = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
    harness.set_src_caps_str("audio/x-raw,format=S16LE,rate=16000,channels=2,layout=interleaved");
    let samples: Vec<i16> = programme().iter().map(|v| (v * 32_767.0) as i16).collect();
    let (mut frames, mut output) = (0, Vec::new());
    let (first, second) = samples.split_at(samples.len() / 4 * 2);
    let mut push = |piece: &[i16]| {
        let bytes: Vec<u8> = piece.iter().flat_map(|v| v.to_le_bytes()).collect();
        let mut buffer = gst::Buffer::from_slice(bytes);
        let pts = gst::ClockTime::from_nseconds(frames * 62_500);
        buffer.get_mut().unwrap().set_pts(pts);
        frames += piece.len() as u64 / 2;
        harness.push(buffer).unwrap();
    };
    cut(first, 2, cuts, &mut push);
    embed.set_property("payload", "02020202");
    cut(second, 2, cuts, &mut push);
    harness.push_event(gst::event::Eos::new());
    while let Some(buffer) = harness.try_pull() {
        output.extend_from_slice(&buffer.map_readable().unwrap());
    }
    element.set_bus(None);
    let structures = bus.iter().filter_map(|message| {
        let structure = message.structure();
        let ours = structure.filter(|s| s.name().starts_with("wm"));
        ours.map(|s| s.to_string())
    });
    let mut messages: Vec<String> = structures.collect();
    // Whether one element or the other is the first to say something, does depend on the size of buffers.
    messages.sort_by_key(|message| message.starts_with("wmdetect"));
    (output, messages)
}

fn whole_through_elements() -> &'static (Vec<u8>, Vec<String>) {
    static WHOLE: OnceLock<(Vec<u8>, Vec<String>)> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let whole = through_elements(&[1_000_000]);
        assert_eq!(whole.0.len(), programme().len() * 2);
        assert!(whole.1.len() > 5, "{:?}", whole.1);
        for said in ["01010101", "02020202"] {
            let says = |message: &&String| message.starts_with("wmembed") && message.contains(said);
            assert_eq!(whole.1.iter().filter(says).count(), 1, "{said}");
        }
        whole
    })
}

proptest! {
    #![proptest_config(config(12))]

    #[test]
    fn the_elements_do_not_care_about_the_size_of_buffers(cuts in cuts()) {
        let (bytes, messages) = through_elements(&cuts);
        let whole = whole_through_elements();
        prop_assert!(bytes == whole.0);
        prop_assert_eq!(&messages, &whole.1);
    }
}
