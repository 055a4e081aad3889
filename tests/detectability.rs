// SPDX-License-Identifier: MIT OR Apache-2.0
//! `wmembed` tells how well the mark will be found: that is what `wmdetect` then finds, and where programme carries no
//! mark, it says so.

mod common;

use common::harness::{self, buffer, info, messages, pull_all, time};
use common::{
    KEY, data, decoder, detector_config, embedder_config, key, mark_saying, pipeline, play_all,
    recording,
};
use gst::prelude::*;
use gst_audio::AudioFormat;
use gstwm::watermark::{Detectability, Detector, Payload, RowClock};

const RATE: u32 = 16_000;

/// Reports about the mark among these messages.
fn reports<'a>(messages: impl IntoIterator<Item = &'a gst::Message>) -> Vec<gst::Structure> {
    messages
        .into_iter()
        .filter_map(|message| message.structure())
        .filter(|s| s.name() == "wmembed" && s.has_field("detectability"))
        .map(|s| s.to_owned())
        .collect()
}

fn score(report: &gst::Structure) -> f64 {
    report.get("detectability").unwrap()
}

fn is_weak(report: &gst::Structure) -> bool {
    report.get("weak").unwrap()
}

fn nanoseconds(report: &gst::Structure, field: &str) -> u64 {
    report.get(field).unwrap()
}

/// What is told of this source.
fn of(source: &str) -> Vec<gst::Structure> {
    reports(&play_all(&pipeline(&format!(
        "{source} ! wmembed key={KEY} report-interval=3000000000 ! fakesink sync=false"
    ))))
}

fn synthetic(source: &str, filter: &str) -> Vec<gst::Structure> {
    of(&format!(
        "audiotestsrc num-buffers=600 samplesperbuffer=480 {source} ! audio/x-raw,format=F32LE,rate=48000,channels=2 \
         {filter} ! audioconvert"
    ))
}

#[test]
fn programme_that_carries_no_mark_is_told() {
    let low = "! audiocheblimit mode=low-pass cutoff=250 poles=8";
    for (what, reports) in [
        ("silence", synthetic("wave=silence", "")),
        ("a tone", synthetic("wave=sine freq=1000 volume=0.3", "")),
        ("what lies below 300 Hz", synthetic("wave=pink-noise", low)),
    ] {
        assert_eq!(reports.len(), 2, "{what}: {reports:?}");
        for report in &reports {
            assert!(is_weak(report), "{what}: {report}");
            assert!((0.0..5.0).contains(&score(report)), "{what}: {report}");
            if what == "silence" {
                assert_eq!(score(report), 0.0);
            }
        }
    }
}

#[test]
fn speech_and_music_carry_it_well() {
    for file in ["speech.flac", "music.flac"] {
        let reports = of(&decoder(file));
        assert!(reports.len() >= 2, "{file}: {reports:?}");
        for report in &reports {
            assert!(!is_weak(report), "{file}: {report}");
            assert!(score(report) > 20.0, "{file}: {report}");
            let threshold = report.get::<f64>("threshold").unwrap();
            assert!((7.0..8.0).contains(&threshold), "{file}: {report}");
        }
    }
}

#[test]
fn a_mark_that_is_turned_down_is_told_to_be_weak() {
    let of_strength = |strength: f64| {
        let source = decoder("speech.flac");
        let pipeline = pipeline(&format!(
            "{source} ! wmembed key={KEY} strength={strength} ! fakesink sync=false"
        ));
        let reports = reports(&play_all(&pipeline));
        (score(&reports[0]), is_weak(&reports[0]))
    };
    let (normal, soft) = (of_strength(0.0), of_strength(-24.0));
    assert!(!normal.1 && soft.1, "{normal:?}, {soft:?}");
    assert!(soft.0 < 0.3 * normal.0, "{normal:?}, {soft:?}");
}

/// Score that a detector reaches in each 2 s of the audio, heard alone, and what was measured there.
fn compared(file: &str, strength: f32, payload: Option<Payload>) -> Vec<(f64, f64)> {
    let programme = recording(file, RATE, 1);
    let marked = mark_saying(&programme, &embedder_config(RATE, 1), 0, &[(0, payload)]);
    let softer = programme.iter().zip(&marked);
    let marked: Vec<f32> = softer.map(|(p, m)| p + strength * (m - p)).collect();
    let mut measured = Vec::new();
    let mut detectability = Detectability::new(RATE, 1, &key(), RowClock::Stream).unwrap();
    detectability.set_payload(payload.is_some());
    detectability.set_interval(0.2);
    detectability.push(&marked, &mut |report| {
        measured.push((report.end, report.score))
    });
    let mut detector = Detector::new(&detector_config(RATE, 1), &[key()]).unwrap();
    let piece = 2 * RATE as usize;
    let pieces = marked.chunks_exact(piece).enumerate();
    pieces
        .filter_map(|(i, audio)| {
            let end = ((i + 1) * piece) as u64;
            let (_, measured) = measured.iter().find(|(at, _)| *at == end)?;
            detector.reset(0);
            detector.push(audio, &mut |_| ());
            detector.finish(&mut |_| ());
            Some((detector.stats().highest_score, *measured))
        })
        .collect()
}

#[test]
fn what_is_told_is_what_a_detector_finds() {
    for file in ["speech.flac", "music.flac"] {
        for (strength, payload) in [(1.0, None), (0.2, None), (1.0, Some(Payload([1, 2, 3, 4])))] {
            let compared = compared(file, strength, payload);
            assert!(compared.len() >= 3, "{file}: {compared:?}");
            for (found, told) in &compared {
                assert!(
                    (told / found - 1.0).abs() < 0.2,
                    "{file}, {strength}, {payload:?}: {compared:?}"
                );
            }
            let mean = compared
                .iter()
                .map(|(found, told)| told / found)
                .sum::<f64>()
                / compared.len() as f64;
            assert!(
                (0.88..1.12).contains(&mean),
                "{file}, {strength}, {payload:?}: {mean}"
            );
        }
    }
}

/// Nobody without the key measures anything but chance.
#[test]
fn with_another_key_or_elsewhere_there_is_nothing() {
    let programme = recording("music.flac", RATE, 1);
    let marked = mark_saying(&programme, &embedder_config(RATE, 1), 0, &[]);
    let other = gstwm::watermark::Key::parse(common::OTHER_KEY).unwrap();
    let measure = |audio: &[f32], key: &_, start| {
        let mut detectability = Detectability::new(RATE, 1, key, RowClock::Stream).unwrap();
        detectability.reset(start);
        let mut all = Vec::new();
        detectability.push(audio, &mut |report| all.push(*report));
        detectability.finish(&mut |report| all.push(*report));
        assert_eq!(all.len(), 1);
        all[0]
    };
    assert!(measure(&marked, &key(), 0).score > 20.0);
    for (audio, key, start) in [
        (&marked, &other, 0),
        (&marked, &key(), 30_000_000_000),
        (&programme, &key(), 0),
    ] {
        let report = measure(audio, key, start);
        assert!(report.weak && report.score < 2.0, "{report:?}");
    }
}

/// Element with such properties, and what it says about so many seconds of noise in the first place of a stereo stream.
fn said(
    properties: &[(&str, &str)],
    seconds: usize,
    work: impl Fn(&gst::Element, usize),
) -> Vec<gst::Structure> {
    let element = harness::element("wmembed");
    for (name, value) in properties {
        element.set_property_from_str(name, value);
    }
    let info = info(AudioFormat::S16le, 48_000, 2);
    let frames = harness::noise(&info, 48_000 * seconds, 1);
    let messages = messages(&element, || {
        let mut harness = harness::harness(&element, &info);
        for (i, piece) in frames.chunks(4800 * 4).enumerate() {
            work(&element, i);
            let buffer = buffer(piece, Some(gst::ClockTime::SECOND + time(i * 4800, 48_000)));
            harness.push(buffer).unwrap();
        }
        harness.push_event(gst::event::Eos::new());
        pull_all(&mut harness);
    });
    reports(&messages)
}

#[test]
fn stretches_follow_each_other_and_the_last_one_comes_with_the_end() {
    let all = said(&[], 23, |_, _| ());
    let times = all.iter().map(|report| {
        let start = nanoseconds(report, "timestamp");
        assert_eq!(start, nanoseconds(report, "running-time"));
        (start, start + nanoseconds(report, "duration"))
    });
    let times: Vec<_> = times.collect();
    let second = |seconds: u64| 1_000_000_000 * seconds;
    assert_eq!(
        times[..2],
        [(second(1), second(11)), (second(11), second(21))]
    );
    assert_eq!(times.len(), 3, "{times:?}");
    assert_eq!(times[2].0, second(21));
    // What half a window is missing for, is not measured; what comes after the end is not, either.
    let end = second(24) - 150_000_000..=second(24);
    assert!(end.contains(&times[2].1), "{times:?}");
}

#[test]
fn less_than_two_seconds_are_nothing_to_talk_about() {
    assert_eq!(
        said(&[("report-interval", "200000000")], 1, |_, _| ()).len(),
        0
    );
}

#[test]
fn what_is_left_is_told_from_two_seconds_on() {
    for (seconds, reports) in [(11, 1), (13, 2)] {
        let all = said(&[], seconds, |_, _| ());
        assert_eq!(all.len(), reports, "{seconds} s: {all:?}");
    }
}

/// What is said about runs of this length, each 5 s after the one before, 24 s in all, of noise or of silence.
fn said_of_runs(interval: &str, milliseconds: usize, level: u8) -> Vec<gst::Structure> {
    let element = harness::element("wmembed");
    element.set_property_from_str("report-interval", interval);
    let info = info(AudioFormat::S16le, RATE, 1);
    let mut frames = harness::noise(&info, RATE as usize * 24, 1);
    frames.iter_mut().for_each(|byte| *byte *= level);
    let length = RATE as usize * milliseconds / 1000;
    let messages = messages(&element, || {
        let mut harness = harness::harness(&element, &info);
        for (run, audio) in frames.chunks(2 * length).enumerate() {
            for (n, piece) in audio.chunks(2 * RATE as usize / 50).enumerate() {
                let pts = time(run * length + n * RATE as usize / 50, RATE);
                let gaps = gst::ClockTime::from_seconds(5 * run as u64);
                harness.push(buffer(piece, Some(pts + gaps))).unwrap();
            }
        }
        harness.push_event(gst::event::Eos::new());
        pull_all(&mut harness);
    });
    reports(&messages)
}

#[test]
fn the_interval_counts_across_breaks() {
    let hour = said_of_runs("3600000000000", 4_000, 1);
    assert_eq!(hour.len(), 1, "{hour:?}");
    assert_eq!(nanoseconds(&hour[0], "timestamp"), 0);
    let measured = nanoseconds(&hour[0], "duration");
    assert!(
        (23_500_000_000..=24_000_000_000).contains(&measured),
        "{hour:?}"
    );
    let all = said_of_runs("10000000000", 4_000, 1);
    assert_eq!(all.len(), 3, "{all:?}");
    // The third run begins at 18 s, and 2 s before its end the first stretch does.
    let second = nanoseconds(&all[1], "timestamp");
    assert!(
        second.abs_diff(20_000_000_000) <= 600_000_000,
        "{second}: {all:?}"
    );
    for report in hour.iter().chain(&all) {
        assert!(!is_weak(report) && score(report) > 20.0, "{report}");
    }
}

#[test]
fn a_weak_mark_is_told_where_runs_are_short() {
    // Less than a score, less than a row.
    for length in [1_000, 100] {
        let all = said_of_runs("10000000000", length, 0);
        assert!((2..=3).contains(&all.len()), "{length} ms: {all:?}");
        assert!(all.iter().all(is_weak), "{length} ms: {all:?}");
    }
    let noise = said_of_runs("10000000000", 1_000, 1);
    assert!(noise.iter().all(|report| !is_weak(report)), "{noise:?}");
}

#[test]
fn there_are_no_reports_where_nothing_is_measured() {
    for properties in [
        ("report-interval", "0"),
        ("enabled", "false"),
        ("carrier", "noise"),
    ] {
        let all = said(&[properties], 12, |_, _| ());
        assert!(all.is_empty(), "{properties:?}: {all:?}");
    }
}

#[test]
fn the_interval_can_be_changed_while_playing() {
    let all = said(&[], 24, |element, piece| {
        if piece == 120 {
            element.set_property("report-interval", 2_000_000_000u64);
        }
    });
    let durations: Vec<_> = all
        .iter()
        .map(|report| nanoseconds(report, "duration"))
        .collect();
    assert_eq!(durations[0], 10_000_000_000);
    assert!(durations.len() > 6, "{durations:?}");
    assert!(
        durations[1..].iter().all(|d| *d <= 2_200_000_000),
        "{durations:?}"
    );
}

/// Marking is off for 10 s: that is not measured, the property says 0 meanwhile, and then a new stretch begins.
#[test]
fn what_is_not_marked_on_purpose_is_not_called_weak() {
    let all = said(
        &[("report-interval", "3000000000")],
        25,
        |element, piece| {
            let detectability: f64 = element.property("detectability");
            match piece {
                80 => element.set_property("enabled", false),
                180 => element.set_property("enabled", true),
                40..80 | 230.. => assert!(detectability > 20.0, "{piece}: {detectability}"),
                82..180 => assert_eq!(detectability, 0.0, "{piece}"),
                _ => (),
            }
        },
    );
    let starts: Vec<_> = all
        .iter()
        .map(|report| nanoseconds(report, "timestamp"))
        .collect();
    assert!(
        starts
            .iter()
            .all(|start| !(9_000_000_000..19_000_000_000).contains(start)),
        "{starts:?}"
    );
    assert!(starts.contains(&19_000_000_000), "{starts:?}");
    assert!(
        all.iter()
            .all(|report| !is_weak(report) && score(report) > 20.0),
        "{all:?}"
    );
}

#[test]
fn the_message_comes_with_the_end_of_its_audio() {
    let pipeline = pipeline(&format!(
        "filesrc location=\"{}\" ! flacparse ! flacdec ! audioconvert \
         ! wmembed key={KEY} report-interval=3000000000 ! fakesink name=sink sync=false signal-handoffs=true",
        data("music.flac")
    ));
    let left = std::sync::Arc::new(std::sync::Mutex::new(gst::ClockTime::ZERO));
    let heard = left.clone();
    let sink = pipeline.by_name("sink").unwrap();
    sink.connect("handoff", false, move |values| {
        let buffer: gst::Buffer = values[1].get().unwrap();
        *heard.lock().unwrap() = buffer.pts().unwrap() + buffer.duration().unwrap();
        None
    });
    // The handler is called by the thread that posts.
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = told.clone();
    pipeline.bus().unwrap().set_sync_handler(move |_, message| {
        for report in reports([message]) {
            let end = nanoseconds(&report, "timestamp") + nanoseconds(&report, "duration");
            log.lock().unwrap().push((end, *left.lock().unwrap()));
        }
        gst::BusSyncReply::Pass
    });
    play_all(&pipeline);
    let told = told.lock().unwrap();
    assert!(told.len() >= 2);
    for (end, left) in told.iter() {
        let late = left.nseconds() as i64 - *end as i64;
        // Half a window is heard beyond the end, and buffers are as long as they are.
        assert!(late < 200_000_000, "{late} ns after the end");
    }
}

/// However the audio is cut, wherever it begins, whatever is in it.
#[test]
fn anything_can_be_measured() {
    let audio: Vec<f32> = (0..4 * RATE as usize)
        .map(|i| [0.1, f32::NAN, f32::INFINITY, 1e30, -1e-40][i * i % 5])
        .collect();
    for clock in [RowClock::Stream, RowClock::Utc] {
        for start in [0, 199_999_999, u64::MAX - 1_000_000_000, u64::MAX] {
            for rate in [8_000, 11_025, 44_100, 192_000] {
                let mut detectability = Detectability::new(rate, 1, &key(), clock).unwrap();
                detectability.set_interval(0.0);
                detectability.reset(start);
                let mut check = |report: &gstwm::watermark::DetectabilityReport| {
                    assert!(
                        report.score.is_finite() && report.end >= report.start,
                        "{report:?}"
                    );
                };
                for piece in audio.chunks(777) {
                    detectability.push(piece, &mut check);
                }
                detectability.finish(&mut check);
                detectability.finish(&mut check);
            }
        }
    }
}

#[test]
fn the_cut_does_not_matter() {
    let programme = recording("speech.flac", RATE, 1);
    let marked = mark_saying(&programme, &embedder_config(RATE, 1), 0, &[]);
    let measure = |cut: usize| {
        let mut detectability = Detectability::new(RATE, 1, &key(), RowClock::Stream).unwrap();
        detectability.set_interval(1.0);
        let mut all = Vec::new();
        marked
            .chunks(cut)
            .for_each(|piece| detectability.push(piece, &mut |report| all.push(*report)));
        all
    };
    assert_eq!(measure(marked.len()), measure(77));
}
