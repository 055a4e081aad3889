// SPDX-License-Identifier: MIT OR Apache-2.0
//! Recordings of which nobody knows when they were made: more rows are searched than fit side by side.

mod common;

use common::{Random, detector_config, embedder_config, mark, mark_saying, recording};
use gstwm::watermark::{
    Detection, DetectionState, Detector, DetectorConfig, EmbedderConfig, Payload, RowClock,
};
use std::sync::atomic::Ordering;

const RATE: u32 = 16_000;
/// A day in 2026, in nanoseconds, and a bit: rows do not begin with the recording.
const BROADCAST: u64 = 1_790_000_000_070_000_000;
const SECOND: i64 = 1_000_000_000;

/// How broadcasts are marked.
fn by_time_of_day() -> EmbedderConfig {
    EmbedderConfig {
        row_clock: RowClock::Utc,
        ..embedder_config(RATE, 1)
    }
}

/// Music marked from [`BROADCAST`] on.
fn broadcast() -> Vec<f32> {
    mark(
        &recording("music.flac", RATE, 1),
        &by_time_of_day(),
        BROADCAST,
    )
}

/// A detector whose clock is so many seconds ahead of the broadcast, give or take `clock_tolerance`.
fn detector(clock_tolerance: f64, ahead: i64) -> Detector {
    // This is mostly about rows, so one speed is enough.
    detector_of_speeds(0.0, clock_tolerance, ahead)
}

fn detector_of_speeds(max_speed_deviation: f64, clock_tolerance: f64, ahead: i64) -> Detector {
    let config = DetectorConfig {
        row_clock: RowClock::Utc,
        clock_tolerance,
        max_speed_deviation,
        ..detector_config(RATE, 1)
    };
    let mut detector = Detector::new(&config, &[common::key()]).unwrap();
    detector.reset(BROADCAST.saturating_add_signed(ahead * SECOND));
    detector
}

/// All that it says.
fn reports(mut detector: Detector, audio: &[f32]) -> Vec<Detection> {
    let mut all = Vec::new();
    let mut take = |report: &Detection| all.push(report.clone());
    for piece in audio.chunks(160) {
        detector.push(piece, &mut take);
    }
    detector.finish(&mut take);
    all
}

/// By how many seconds a report is wrong about when its start was broadcast.
fn wrong(report: &Detection) -> f64 {
    let begins = report.start * SECOND as u64 / u64::from(RATE);
    let date = report.broadcast_time.unwrap() as i64;
    (date - (BROADCAST + begins) as i64) as f64 / SECOND as f64
}

/// What a detector says that allows for an hour: what, how wrong it is, and how unlikely that is by chance.
fn dates(audio: &[f32], ahead: i64) -> Vec<(DetectionState, f64, f64)> {
    let reports = reports(detector(3600.0, ahead), audio);
    let date = |report: &Detection| (report.state, wrong(report), report.log10_p);
    reports.iter().map(date).collect()
}

/// Noise of `length` seconds with a mark in these, of 0.4 times the usual amplitude.
fn weakly_marked(length: usize, marked: std::ops::Range<usize>) -> Vec<f32> {
    let (mut random, rate) = (Random::new(7), RATE as usize);
    let programme: Vec<f32> = (0..length * rate).map(|_| 0.1 * random.noise()).collect();
    let whole = mark(&programme, &by_time_of_day(), BROADCAST);
    let marked = marked.start * rate..marked.end * rate;
    let samples = programme.into_iter().zip(whole).enumerate();
    samples
        .map(
            |(frame, (sample, with_mark))| match marked.contains(&frame) {
                true => sample + 0.4 * (with_mark - sample),
                false => sample,
            },
        )
        .collect()
}

#[test]
fn a_recording_is_dated_though_the_clock_is_off_by_most_of_an_hour() {
    let audio = broadcast();
    // The first piece of 10 s is searched while the second is collected; what is shorter, at its end.
    let twice: Vec<f32> = [&audio[..], &[0.0; 12 * RATE as usize]].concat();
    for (audio, ahead) in [
        (&twice[..], 3_300),
        (&audio[..], -3_300),
        (&audio[..64_000], 0),
    ] {
        let dates = dates(audio, ahead);
        assert!(
            matches!(dates[..], [(DetectionState::Found, _, ..-4.0), ..]),
            "{ahead} s: {dates:?}"
        );
        assert!(
            dates.iter().all(|(_, wrong, _)| wrong.abs() < 0.05),
            "{ahead} s: {dates:?}"
        );
    }
}

/// When a tile is searched, a mark of two seconds has long ended, wherever in the piece it was and whenever the turn of
/// its tile comes.
#[test]
fn a_mark_that_has_ended_before_its_tile_is_searched_is_found_and_lost() {
    for (stretch, length) in [(2..4, 20), (2..4, 9), (1..7, 12), (9..11, 33)] {
        let audio = weakly_marked(length, stretch.clone());
        for (clock_tolerance, ahead) in [(120.0, 0), (3600.0, 0), (3600.0, 3_500), (3600.0, -3_500)]
        {
            let reports = reports(detector(clock_tolerance, ahead), &audio);
            let states: Vec<_> = reports.iter().map(|report| report.state).collect();
            let what = format!("{stretch:?} of {length} s, {ahead} s ahead: {reports:?}");
            let (first, last) = (states.first(), states.last());
            assert_eq!(first, Some(&DetectionState::Found), "{what}");
            assert_eq!(last, Some(&DetectionState::Lost), "{what}");
            assert!(!states[1..states.len() - 1].contains(&DetectionState::Lost));
        }
    }
}

#[test]
fn what_is_left_at_the_end_can_be_given_up() {
    let audio = broadcast();
    let mut detector = detector(3600.0, 0);
    for (interrupted, expected) in [(true, 0), (false, 1)] {
        detector.interrupt().store(interrupted, Ordering::Relaxed);
        detector.reset(BROADCAST);
        let mut found = 0;
        let mut take =
            |report: &Detection| found += i32::from(report.state == DetectionState::Found);
        detector.push(&audio[..64_000], &mut take);
        detector.finish(&mut take);
        assert_eq!(found, expected, "interrupted: {interrupted}");
    }
}

/// Where the mark was and when it was broadcast is told as if its rows had been searched at once.
#[test]
fn a_find_is_placed_where_the_mark_was() {
    let music = recording("music.flac", RATE, 1).repeat(3);
    let whole = mark(&music, &by_time_of_day(), BROADCAST);
    let frames = |seconds: f64| (seconds * f64::from(RATE)) as usize;
    for (from, to) in [(2.0, 4.0), (8.5, 12.0), (3.0, 16.0)] {
        let (from_frame, to_frame, end) = (frames(from), frames(to), frames(24.0));
        let pieces = [
            &music[..from_frame],
            &whole[from_frame..to_frame],
            &music[to_frame..end],
        ];
        let audio = pieces.concat();
        let detectors = [
            (detector(120.0, 0), 0),
            (detector(3600.0, 0), 0),
            (detector(3600.0, 3_300), 3_300),
            (detector(3600.0, -3_300), -3_300),
            (detector_of_speeds(0.04, 900.0, -850), -850),
        ];
        for (detector, ahead) in detectors {
            let reports = reports(detector, &audio);
            let what = format!("{from} to {to} s, {ahead} s ahead: {reports:?}");
            let [first, .., last] = &reports[..] else {
                panic!("{what}");
            };
            assert_eq!(first.state, DetectionState::Found, "{what}");
            assert_eq!(last.state, DetectionState::Lost, "{what}");
            let off = |frame: u64, seconds: f64| (frame as f64 / f64::from(RATE) - seconds).abs();
            assert!(off(first.start, from) < 0.3, "{what}");
            assert!(off(last.start, from) < 0.3, "{what}");
            assert!(off(last.end, to) < 0.3, "{what}");
            assert!(
                reports.iter().all(|report| wrong(report).abs() < 0.05),
                "{what}"
            );
        }
    }
}

#[test]
fn what_a_mark_said_that_is_over_is_told() {
    let music = recording("music.flac", RATE, 1).repeat(3);
    let payload = Some(Payload([0, 0xc0, 0xff, 0xee]));
    let whole = mark_saying(&music, &by_time_of_day(), BROADCAST, &[(0, payload)]);
    let frames = |seconds: usize| seconds * RATE as usize;
    let (from, to) = (frames(1), frames(7));
    let audio = [&music[..from], &whole[from..to], &music[to..frames(20)]].concat();
    for ahead in [0, 3_300] {
        let reports = reports(detector(3600.0, ahead), &audio);
        let last = reports.last().map(|report| (report.state, report.payload));
        assert_eq!(
            last,
            Some((DetectionState::Lost, payload)),
            "{ahead} s ahead"
        );
    }
}

#[test]
fn outside_of_the_tolerance_nothing_is_found() {
    let audio = broadcast();
    assert_eq!(dates(&audio[..64_000], 4_000), []);
}

#[test]
fn unmarked_audio_is_not_dated() {
    let audio = recording("music.flac", RATE, 1);
    assert_eq!(dates(&audio[..128_000], 0), []);
}

/// A clock that was never set shows 1970. The rows before that do not exist, and must not look like a mark: hum is in
/// phase with itself 160 ms earlier in all chips.
#[test]
fn hum_is_no_mark_where_the_clock_shows_1970() {
    let hum: Vec<f32> = (0..20 * RATE)
        .map(|i| {
            let turns = 50.0 * f64::from(i) / f64::from(RATE);
            let harmonics = (1..130).map(|h| {
                let phase = f64::from(h * h);
                (std::f64::consts::TAU * f64::from(h) * turns + phase).sin()
            });
            0.002 * harmonics.sum::<f64>() as f32
        })
        .collect();
    for clock_tolerance in [10.0, 120.0] {
        let config = DetectorConfig {
            row_clock: RowClock::Utc,
            clock_tolerance,
            ..detector_config(RATE, 1)
        };
        assert_eq!(common::detections(&hum, &config), [], "{clock_tolerance} s");
    }
}
