// SPDX-License-Identifier: MIT OR Apache-2.0
//! When the mark ends, the detector says so, mostly within three seconds, whatever comes after it; while it is there,
//! a pause in the programme is no end.

mod common;

use common::{Random, detections, detector_config, embedder_config, mark, recording};
use gstwm::watermark::DetectionState::{self, Found, Lost, Present};

const RATE: u32 = 16_000;

/// Changes of state in the audio, and the second at which each is reported.
fn changes(audio: &[f32]) -> Vec<(DetectionState, f64)> {
    let all = detections(audio, &detector_config(RATE, 1)).into_iter();
    all.filter(|(_, report)| report.state != Present)
        .map(|(now, report)| (report.state, now))
        .collect()
}

fn seconds(length: usize) -> usize {
    length * RATE as usize
}

fn noise(length: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..seconds(length)).map(|_| 0.1 * random.noise()).collect()
}

/// What is no mark, ten seconds of each.
fn unmarked() -> Vec<(&'static str, Vec<f32>)> {
    let long = |file| recording(file, RATE, 1).repeat(2)[..seconds(10)].to_vec();
    vec![
        ("silence", vec![0.0; seconds(10)]),
        ("noise", noise(10, 1)),
        ("speech", long("speech.flac")),
        ("music", long("music.flac")),
    ]
}

fn assert_end_is_noticed(file: &str) {
    let programme = recording(file, RATE, 1).repeat(3);
    let marked = mark(&programme, &embedder_config(RATE, 1), 0);
    let mut delays = Vec::new();
    for length in [3, 26] {
        for (what, after) in unmarked() {
            let audio = [&marked[..seconds(length)], &after].concat();
            let changes = changes(&audio);
            let what = format!("{length} s of {file}, then {what}: {changes:?}");
            assert_eq!(changes.len(), 2, "{what}");
            assert_eq!(changes[0].0, Found, "{what}");
            assert_eq!(changes[1].0, Lost, "{what}");
            let delay = changes[1].1 - length as f64;
            // What is not marked looks like a weak mark for a while, now and then.
            assert!((1.5..4.5).contains(&delay), "{what}");
            delays.push(delay);
        }
    }
    let soon = delays.iter().filter(|delay| **delay <= 3.0).count();
    assert!(soon + 1 >= delays.len(), "{delays:?}");
}

#[test]
fn the_end_of_the_mark_in_music_is_noticed() {
    assert_end_is_noticed("music.flac");
}

#[test]
fn the_end_of_the_mark_in_speech_is_noticed() {
    assert_end_is_noticed("speech.flac");
}

#[test]
fn the_mark_is_found_again() {
    let music = recording("music.flac", RATE, 1);
    let marked = mark(&music, &embedder_config(RATE, 1), 0);
    let audio = [
        &marked[..seconds(4)],
        &noise(20, 3),
        &marked[seconds(2)..seconds(6)],
    ]
    .concat();
    let changes = changes(&audio);
    let states: Vec<_> = changes.iter().map(|(state, _)| *state).collect();
    assert_eq!(states, [Found, Lost, Found], "{changes:?}");
    assert!((24.0..27.0).contains(&changes[2].1), "{changes:?}");
}

#[test]
fn a_pause_is_no_end() {
    let mut programme = recording("speech.flac", RATE, 1).repeat(3);
    programme.truncate(seconds(25));
    // Silence is not marked; noise of the room is all that is heard then.
    for start in [6, 15] {
        programme[seconds(start)..seconds(start) + seconds(3) / 2].fill(0.0);
    }
    let marked = mark(&programme, &embedder_config(RATE, 1), 0);
    let heard: Vec<f32> = marked
        .iter()
        .zip(noise(25, 4))
        .map(|(sample, noise)| sample + 0.01 * noise)
        .collect();
    let changes = changes(&heard);
    assert_eq!(changes.len(), 1, "{changes:?}");
}

/// Of excerpts that end within a slot, too: the last windows reach beyond the audio.
#[test]
fn reports_stay_within_the_audio() {
    let marked = mark(
        &recording("music.flac", RATE, 1),
        &embedder_config(RATE, 1),
        0,
    );
    let mut reports = 0;
    for hundredths in 50..80 {
        let audio = &marked[..hundredths * RATE as usize / 100];
        for (_, report) in detections(audio, &detector_config(RATE, 1)) {
            let within = report.start <= report.end && report.end <= audio.len() as u64;
            assert!(within, "{} frames: {report:?}", audio.len());
            reports += 1;
        }
    }
    assert!(reports >= 30, "{reports}");
}
