// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is not marked is not found, above all what is as regular as a mark: five minutes of steady drums,
//! tones, chords, silence, noise and sweeps, with several keys.

mod common;

use common::drums::drums;
use common::{Random, detector_config};
use gstwm::watermark::{Detection, DetectionState, Detector, DetectorConfig, Key};
use std::f32::consts::TAU;
use std::sync::OnceLock;

const RATE: u32 = 16_000;
const KEYS: u8 = 3;

fn seconds(length: f32, mut sample: impl FnMut(f32) -> f32) -> Vec<f32> {
    (0..(length * RATE as f32) as usize)
        .map(|i| sample(i as f32 / RATE as f32))
        .collect()
}

fn white(length: f32, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    seconds(length, |_| 0.3 * random.noise())
}

/// Noise with 3 dB less an octave: sums of random steps that last 1, 2, 4, ... samples.
fn pink(length: f32, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    let mut held = [0.0; 12];
    let mut n = 0u32;
    seconds(length, |_| {
        n += 1;
        held[(n.trailing_zeros() as usize).min(11)] = random.noise();
        0.1 * held.iter().sum::<f32>()
    })
}

/// A hit of the same sound every `period` seconds.
fn hits(length: f32, period: f32, sound: impl Fn(f32) -> f32) -> Vec<f32> {
    seconds(length, |t| sound(t % period))
}

fn chord(length: f32, notes: &[f32]) -> Vec<f32> {
    seconds(length, |t| {
        let overtones = |f: &f32| {
            (1..8)
                .map(|k| (TAU * f * k as f32 * t).sin() / k as f32)
                .sum::<f32>()
        };
        0.1 * notes.iter().map(overtones).sum::<f32>()
    })
}

/// From 50 Hz to `high` in `period` seconds, over and over.
fn sweep(length: f32, period: f32, high: f32) -> Vec<f32> {
    seconds(length, |t| {
        let t = t % period;
        0.5 * (TAU * (50.0 * t + 0.5 * (high - 50.0) / period * t * t)).sin()
    })
}

/// Whatever correlates with itself 160 ms earlier, and what is loved by or hated in detectors.
fn make_programme() -> Vec<(&'static str, Vec<f32>)> {
    let sine = |f: f32| seconds(10.0, move |t| 0.5 * (TAU * f * t).sin());
    let square = |f: f32| seconds(8.0, move |t| 0.5 * (TAU * f * t).sin().signum());
    let tick = |t: f32| if t < 0.000_1 { 0.9 } else { 0.0 };
    let thud = |t: f32| 0.5 * (TAU * 700.0 * t).sin() * (-t / 0.02).exp();
    let echo = |noise: Vec<f32>, gain: f32| -> Vec<f32> {
        let lag = RATE as usize * 160 / 1000;
        let earlier = |i: usize| i.checked_sub(lag).map_or(0.0, |i| noise[i]);
        (0..noise.len())
            .map(|i| noise[i] + gain * earlier(i))
            .collect()
    };
    vec![
        ("silence", vec![0.0; 10 * RATE as usize]),
        ("DC", vec![0.5; 6 * RATE as usize]),
        ("drums, an eighth of 160 ms", drums(RATE, 20.0, 0.16)),
        ("drums, an eighth of 200 ms", drums(RATE, 16.0, 0.2)),
        ("drums, 120 beats a minute", drums(RATE, 16.0, 0.25)),
        ("drums, 93.75 beats a minute", drums(RATE, 16.0, 0.32)),
        ("drums, 100 beats a minute", drums(RATE, 12.0, 0.3)),
        ("ticks every 40 ms", hits(10.0, 0.04, tick)),
        ("ticks every 160 ms", hits(10.0, 0.16, tick)),
        ("thuds every 80 ms", hits(10.0, 0.08, thud)),
        ("thuds every 200 ms", hits(10.0, 0.2, thud)),
        ("100 Hz", sine(100.0)),
        ("1 kHz", sine(1_000.0)),
        ("3.1 kHz between two chips", sine(3_112.5)),
        ("6.25 Hz grid", square(6.25)),
        ("square wave, 440 Hz", square(440.0)),
        ("chord", chord(10.0, &[220.0, 277.2, 329.6])),
        (
            "organ",
            chord(10.0, &[65.4, 98.0, 130.8, 164.8, 196.0, 261.6]),
        ),
        ("slow sweep", sweep(10.0, 10.0, 7_900.0)),
        ("sweeps of 160 ms", sweep(10.0, 0.16, 7_900.0)),
        ("white noise", white(20.0, 1)),
        ("pink noise", pink(20.0, 2)),
        (
            "white noise with an echo of 160 ms",
            echo(white(15.0, 3), 0.9),
        ),
        (
            "pink noise with an opposite echo",
            echo(pink(15.0, 4), -0.9),
        ),
        ("one block of noise for ever", white(0.16, 6).repeat(63)),
        ("one row of noise for ever", white(0.2, 7).repeat(40)),
    ]
}

fn programme() -> &'static [(&'static str, Vec<f32>)] {
    static PROGRAMME: OnceLock<Vec<(&str, Vec<f32>)>> = OnceLock::new();
    PROGRAMME.get_or_init(make_programme)
}

fn key(number: u8) -> Key {
    Key::from_bytes([number.wrapping_mul(77); 32])
}

#[test]
fn the_programme_is_five_minutes() {
    let seconds = programme()
        .iter()
        .map(|(_, audio)| audio.len())
        .sum::<usize>()
        / RATE as usize;
    assert!((300..320).contains(&seconds), "{seconds}");
}

/// Pushes all of the programme through one detector, one after the other: changes are part of it.
fn listen(
    config: &DetectorConfig,
    key: &Key,
    report: &mut dyn FnMut(&str, &Detection),
) -> Detector {
    let mut detector = Detector::new(config, std::slice::from_ref(key)).unwrap();
    for (name, audio) in programme() {
        detector.push(audio, &mut |detection| report(name, detection));
    }
    detector
}

#[test]
fn nothing_is_found_in_what_is_not_marked() {
    for number in 0..KEYS {
        let config = detector_config(RATE, 1);
        let detector = listen(&config, &key(number), &mut |name, detection| {
            panic!("key {number}, {name}: {detection:?}")
        });
        let stats = detector.stats();
        assert_eq!(stats.found, 0);
        assert!(
            stats.highest_score < stats.threshold,
            "key {number}: {stats:?}"
        );
        // It did search: the best of some ten million scores is no small one.
        assert!(stats.highest_score > 4.0, "key {number}: {stats:?}");
    }
}

#[test]
fn nothing_is_found_in_the_recordings() {
    for file in ["speech.flac", "music.flac"] {
        let audio = common::recording(file, RATE, 1);
        for number in 0..KEYS {
            let mut detector = Detector::new(&detector_config(RATE, 1), &[key(number)]).unwrap();
            detector.push(&audio, &mut |detection| panic!("{file}: {detection:?}"));
            let stats = detector.stats();
            assert!(stats.highest_score < stats.threshold, "{file}: {stats:?}");
        }
    }
}

/// False alarms in an hour of the programme with each of six keys, in streams of `seconds`, when [`PERMITTED`] are.
///
/// The promise is about the keys that could have been drawn, so other keys are what to try.
fn false_alarms_an_hour(seconds: f32) -> f64 {
    let config = DetectorConfig {
        false_alarms_per_hour: PERMITTED,
        max_speed_deviation: 0.0,
        ..detector_config(RATE, 1)
    };
    let (mut found, mut samples) = (0, 0);
    for number in 10..16 {
        let mut detector = Detector::new(&config, &[key(number)]).unwrap();
        let streams = programme()
            .iter()
            .flat_map(|(_, audio)| audio.chunks((seconds * RATE as f32) as usize));
        for stream in streams {
            detector.reset(0);
            for second in stream.chunks(RATE as usize) {
                let before = found;
                detector.push(second, &mut |detection| {
                    found += u32::from(detection.state == DetectionState::Found);
                });
                // While it follows a false mark it would not report the next one.
                if found > before {
                    detector.reset(0);
                }
            }
            detector.finish(&mut |detection| {
                found += u32::from(detection.state == DetectionState::Found);
            });
            samples += stream.len();
        }
    }
    let hours = samples as f64 / f64::from(RATE) / 3600.0;
    assert!(hours > 0.5, "{hours}");
    f64::from(found) / hours
}

const PERMITTED: f64 = 100.0;

/// The bound is well on the safe side, so this sees gross errors only. How many hypotheses are tested is
/// counted by a test of the search.
#[test]
fn no_more_false_alarms_than_were_permitted() {
    let counted = false_alarms_an_hour(20.0);
    assert!(counted <= PERMITTED, "{counted} an hour");
}

/// Each end of a stream is another chance to err.
#[test]
fn no_more_false_alarms_in_short_excerpts() {
    let counted = false_alarms_an_hour(2.0);
    assert!(counted <= PERMITTED, "{counted} an hour");
}
