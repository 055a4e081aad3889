// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a mark says is read from short excerpts, behind a telephone too, and costs presence little.

mod common;

use common::{
    detections_of, detector_config, embedder_config, key, mark, mark_saying, recording, through,
};
use gstwm::watermark::{Detection, DetectionState::*, DetectorConfig, Key, Payload};

const PAYLOAD: Payload = Payload([0x00, 0xc0, 0xff, 0xee]);
const FILES: [&str; 2] = ["music.flac", "speech.flac"];

fn marked(file: &str, rate: u32) -> Vec<f32> {
    let programme = recording(file, rate, 1);
    let config = embedder_config(rate, 1);
    mark_saying(&programme, &config, 0, &[(0, Some(PAYLOAD))])
}

/// Seconds `from` to `to`.
fn excerpt(audio: &[f32], rate: u32, from: f64, to: f64) -> &[f32] {
    let frame = |seconds: f64| (seconds * f64::from(rate)) as usize;
    &audio[frame(from)..frame(to)]
}

fn detections(audio: &[f32], rate: u32, key: &Key) -> Vec<(f64, Detection)> {
    let config = DetectorConfig {
        interval: 0.2,
        ..detector_config(rate, 1)
    };
    detections_of(audio, &config, key)
}

/// The excerpt says what it shall say, and to nobody else.
fn assert_read(audio: &[f32], rate: u32, what: &str) {
    let all = detections(audio, rate, &key());
    let payloads: Vec<_> = all.iter().map(|(_, report)| report.payload).collect();
    let unread = payloads.iter().take_while(|payload| payload.is_none());
    let read = &payloads[unread.count()..];
    assert!(!read.is_empty(), "{what}: not read: {all:?}");
    assert!(read.iter().all(|got| *got == Some(PAYLOAD)), "{what}");
    let other = Key::parse(common::OTHER_KEY).unwrap();
    assert_eq!(detections(audio, rate, &other), [], "{what}");
}

#[test]
fn three_seconds_are_enough_wherever_they_begin() {
    for file in FILES {
        for (rate, from) in [(48_000, 2.33), (44_100, 0.77)] {
            let marked = marked(file, rate);
            let heard = excerpt(&marked, rate, from, from + 3.0);
            assert_read(heard, rate, &format!("{file} at {rate} Hz from {from} s"));
        }
    }
}

#[test]
fn three_seconds_are_enough_at_another_rate() {
    for file in FILES {
        let marked = marked(file, 44_100);
        let heard = excerpt(&marked, 44_100, 3.87, 6.87);
        let heard = through(heard, 44_100, "audioconvert", 16_000);
        assert_read(&heard, 16_000, file);
    }
}

#[test]
fn six_seconds_are_enough_behind_a_telephone() {
    common::need(&[
        ("mulawenc", "gstreamer1.0-plugins-good"),
        ("mulawdec", "gstreamer1.0-plugins-good"),
    ]);
    let telephone =
        "audioconvert ! audioresample ! audio/x-raw,rate=8000 ! audioconvert ! mulawenc ! mulawdec";
    for file in FILES {
        let marked = marked(file, 48_000);
        let heard = excerpt(&marked, 48_000, 1.13, 7.13);
        let heard = through(heard, 48_000, telephone, 8_000);
        assert_read(&heard, 8_000, file);
    }
}

/// Scores: of `found`, and of each `present` with its time and payload.
type Scores = (f64, Vec<(f64, f64, Option<Payload>)>);

fn scores(audio: &[f32]) -> Scores {
    let all = detections(audio, 16_000, &key());
    let (found, present) = all.split_first().expect("found");
    assert_eq!(found.1.state, Found);
    let scores = present.iter().map(|(now, report)| {
        assert_eq!(report.state, Present);
        (*now, report.score, report.payload)
    });
    (found.1.score, scores.collect())
}

#[test]
fn a_payload_costs_presence_little_and_nothing_after_it_is_read() {
    for file in FILES {
        let programme = recording(file, 16_000, 1);
        let silent = mark(&programme, &embedder_config(16_000, 1), 0);
        let saying = marked(file, 16_000);
        for from in [0.0, 1.3] {
            let heard = |audio| scores(excerpt(audio, 16_000, from, from + 5.5));
            let ((found, without), (found_saying, with)) = (heard(&silent), heard(&saying));
            let ratio = found_saying / found;
            assert!(ratio > 0.9 / 2f64.sqrt(), "{file} from {from} s: {ratio}");
            let read = with.iter().find(|(.., said)| said.is_some());
            // Scores are of the latest 2 s: by then all of it counts.
            let since = read.expect("read").0 + 2.0;
            let mean = |scores: &[(f64, f64, Option<Payload>)]| {
                let late = scores.iter().filter(|(now, ..)| *now > since);
                let late: Vec<_> = late.map(|(_, score, _)| *score).collect();
                assert!(late.len() >= 5, "{file} from {from} s");
                late.iter().sum::<f64>() / late.len() as f64
            };
            let ratio = mean(&with) / mean(&without);
            assert!(ratio > 0.9, "{file} from {from} s: {ratio}");
        }
    }
}

/// In a noisy room 10 s and more may hold what was said before: it must not be read out of them again.
#[test]
fn what_was_said_before_does_not_come_back() {
    const CHANGE: f64 = 24.0;
    let (rate, after) = (16_000, Payload([0x12, 0x34, 0x56, 0x78]));
    for file in FILES {
        let programme = recording(file, rate, 1).repeat(6);
        let programme = &programme[..48 * rate as usize];
        let changes = [
            (0, Some(PAYLOAD)),
            ((CHANGE * f64::from(rate)) as usize, Some(after)),
        ];
        let marked = mark_saying(programme, &embedder_config(rate, 1), 0, &changes);
        let heard = common::through_room(&marked, rate, 10.0, 2);
        let all = detections(&heard, rate, &key());
        let said: Vec<_> = all
            .iter()
            .map(|(at, report)| (*at, report.payload))
            .collect();
        assert!(
            said.iter().any(|(_, payload)| *payload == Some(after)),
            "{file}: {said:?}"
        );
        // 1.6 s until the change may begin, and what it takes to be sure.
        let late = said.iter().filter(|(at, _)| *at > CHANGE + 6.0);
        assert!(
            late.clone().all(|(_, payload)| *payload != Some(PAYLOAD)),
            "{file}: {said:?}"
        );
        let mut gone = said
            .iter()
            .skip_while(|(at, payload)| *at < CHANGE || *payload == Some(PAYLOAD));
        assert!(
            gone.all(|(_, payload)| *payload != Some(PAYLOAD)),
            "{file}: {said:?}"
        );
    }
}
