// SPDX-License-Identifier: MIT OR Apache-2.0
//! A mark that was found stays present through what a microphone hears, through noise and through a jump of the
//! programme; and its speed is told exactly.

mod common;

use common::{
    Random, ahead, detections, detector_config, embedder_config, mark, play_at, recording,
    through_room, with_noise,
};
use gstwm::watermark::{Detection, DetectionState, DetectionState::*, Detector, DetectorConfig};

const RATE: u32 = 16_000;

fn seconds(length: usize) -> usize {
    length * RATE as usize
}

/// A recording over and over, marked.
fn marked(file: &str, length: usize) -> Vec<f32> {
    let programme = recording(file, RATE, 1).repeat(length / 8 + 1);
    mark(&programme[..seconds(length)], &embedder_config(RATE, 1), 0)
}

fn states(all: &[(f64, Detection)]) -> Vec<DetectionState> {
    let changes = all.iter().map(|(_, report)| report.state);
    changes.filter(|state| *state != Present).collect()
}

fn heard(audio: &[f32]) -> Vec<(f64, Detection)> {
    detections(audio, &detector_config(RATE, 1))
}

#[test]
fn a_minute_of_music_in_a_room_is_found_once() {
    let marked = marked("music.flac", 62);
    for seed in [1, 2] {
        let all = heard(&through_room(&marked, RATE, 10.0, seed));
        assert_eq!(states(&all), [Found], "seed {seed}");
        assert!(all.len() > 55, "{} reports", all.len());
    }
}

#[test]
fn a_minute_of_speech_in_a_room_is_found_twice_at_most() {
    let marked = marked("speech.flac", 62);
    for seed in [1, 2] {
        let all = heard(&through_room(&marked, RATE, 10.0, seed));
        let states = states(&all);
        let found = states.iter().filter(|state| **state == Found).count();
        assert!((1..=2).contains(&found), "seed {seed}: {states:?}");
        assert!(all.len() > 50, "{} reports", all.len());
    }
}

#[test]
fn a_strong_mark_that_drowns_in_noise_is_not_given_up() {
    let mut audio = marked("music.flac", 26);
    let noisy = with_noise(&audio[seconds(6)..], 0.0, &mut Random::new(5));
    audio.splice(seconds(6).., noisy);
    let all = heard(&audio);
    assert_eq!(states(&all), [Found]);
    // What is reported is what is heard now, not what was heard before.
    let score = |from: f64| {
        let after = all.iter().find(|(now, _)| *now > from);
        after.map(|(_, report)| report.score).unwrap()
    };
    assert!(score(5.0) > 20.0, "{}", score(5.0));
    assert!(
        score(9.0) < 0.6 * score(5.0),
        "{} {}",
        score(9.0),
        score(5.0)
    );
}

#[test]
fn what_is_reported_before_the_loss_is_not_stale() {
    let unmarked = recording("music.flac", RATE, 1);
    let audio = [marked("music.flac", 20), unmarked].concat();
    let all = heard(&audio);
    assert_eq!(states(&all), [Found, Lost]);
    let late: Vec<_> = all.iter().filter(|(now, _)| *now > 22.2).collect();
    assert!(!late.is_empty());
    for (now, report) in late {
        assert!(report.score < 5.0, "{} at {now} s", report.score);
        assert!(report.window < 2.3, "{} s", report.window);
    }
}

#[test]
fn a_jump_of_the_programme_is_no_end() {
    for file in ["music.flac", "speech.flac"] {
        let marked = marked(file, 26);
        for room in [false, true] {
            let jumped = [&marked[..seconds(8)], &marked[seconds(13)..]].concat();
            let audio = if room {
                through_room(&jumped, RATE, 20.0, 3)
            } else {
                jumped
            };
            let all = heard(&audio);
            assert_eq!(states(&all), [Found], "{file}, room {room}");
            for (now, report) in &all {
                let expected = if *now < 8.0 { 0.0 } else { 5.0 };
                let error = ahead(report, RATE) - expected;
                // Before the new position is known, the old one is told.
                let known = *now < 8.0 || *now > 11.5;
                assert!(
                    !known || error.abs() < 0.05,
                    "{file}, room {room}: {error} at {now}"
                );
            }
        }
    }
}

#[test]
fn the_speed_is_right_to_a_fiftieth_of_a_percent() {
    let marked = marked("music.flac", 10);
    let mut speeds = vec![(0.1, 1.00033), (0.1, 0.9991), (0.1, 1.0)];
    speeds.extend([(2.0, 1.00033), (2.0, 1.01491), (6.0, 0.9405), (6.0, 1.0595)]);
    for (max_speed_deviation, speed) in speeds {
        let config = DetectorConfig {
            max_speed_deviation,
            ..detector_config(RATE, 1)
        };
        let all = detections(&play_at(&marked, speed), &config);
        assert_eq!(states(&all), [Found], "{speed}");
        let tracked: Vec<_> = all.iter().filter(|(now, _)| *now > 4.5).collect();
        assert!(tracked.len() >= 5);
        for (now, report) in tracked {
            let error = report.speed - speed;
            assert!(
                error.abs() < 0.0001,
                "{} for {speed} at {now} s",
                report.speed
            );
        }
    }
}

/// Marked music in which `pauses` seconds are silenced after every 4 s, and which goes on without the mark after 24 s.
fn ends_after(pauses: f64) -> Vec<f32> {
    let mut audio = marked("music.flac", 24);
    for pause in 1..5 {
        let from = seconds(4 * pause);
        audio[from..][..(pauses * f64::from(RATE)) as usize].fill(0.0);
    }
    audio.extend(&recording("music.flac", RATE, 1)[..seconds(8)]);
    with_noise(&audio, 30.0, &mut Random::new(5))
}

#[test]
fn long_pauses_are_learned_and_forgotten_with_the_stream() {
    let key = common::key();
    let mut detector =
        Detector::new(&detector_config(RATE, 1), std::slice::from_ref(&key)).unwrap();
    let mut heard = |audio: &[f32]| {
        let (mut states, mut pushed, mut lost) = (Vec::new(), 0, 0);
        for piece in audio.chunks(RATE as usize / 100) {
            pushed += piece.len();
            detector.push(piece, &mut |report| {
                if report.state != Present {
                    states.push(report.state);
                    lost = pushed;
                }
            });
        }
        detector.reset(0);
        assert_eq!(states, [Found, Lost]);
        lost as f64 / f64::from(RATE) - 24.0
    };
    let [usual, patient, again] = [0.0, 1.7, 0.0].map(|pauses| heard(&ends_after(pauses)));
    assert!(usual < 3.0, "{usual} s");
    assert!(patient > usual + 0.5, "{patient} s after {usual} s");
    assert_eq!(usual, again);
}

/// What is lost in a pause and soon found again teaches that pauses are long.
#[test]
fn of_long_pauses_only_the_first_is_taken_for_the_end() {
    let mut audio = marked("music.flac", 60);
    for pause in 1..9 {
        audio[seconds(6 * pause)..][..seconds(5) / 2].fill(0.0);
    }
    let all = heard(&with_noise(&audio, 30.0, &mut Random::new(5)));
    let losses: Vec<_> = all
        .iter()
        .filter(|(_, report)| report.state == Lost)
        .map(|(now, _)| *now)
        .collect();
    assert_eq!(losses.len(), 1, "{losses:?}");
}
