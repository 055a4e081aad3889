// SPDX-License-Identifier: MIT OR Apache-2.0
//! Recordings of which nobody knows when they were made: more rows are searched than fit side by side.

mod common;

use common::{detector_config, embedder_config, mark, recording};
use gstwm::watermark::{DetectionState, Detector, DetectorConfig, EmbedderConfig, RowClock};

use std::sync::atomic::Ordering;

const RATE: u32 = 16_000;
/// A day in 2026, in nanoseconds, and a bit: rows do not begin with the recording.
const BROADCAST: u64 = 1_790_000_000_070_000_000;
const SECOND: i64 = 1_000_000_000;

/// Music marked from [`BROADCAST`] on.
fn broadcast() -> Vec<f32> {
    let config = EmbedderConfig {
        row_clock: RowClock::Utc,
        ..embedder_config(RATE, 1)
    };
    mark(&recording("music.flac", RATE, 1), &config, BROADCAST)
}

/// A detector whose clock is so many seconds ahead of the broadcast, give or take an hour.
fn detector(ahead: i64) -> Detector {
    let config = DetectorConfig {
        row_clock: RowClock::Utc,
        clock_tolerance: 3600.0,
        // This is about rows, so one speed is enough.
        max_speed_deviation: 0.0,
        ..detector_config(RATE, 1)
    };
    let mut detector = Detector::new(&config, &[common::key()]).unwrap();
    detector.reset(BROADCAST.saturating_add_signed(ahead * SECOND));
    detector
}

/// What a detector says whose clock is so many seconds ahead of the broadcast, give or take an hour: what, and by how
/// many seconds it is wrong about when that was, and how unlikely that is by chance.
fn dates(audio: &[f32], ahead: i64) -> Vec<(DetectionState, f64, f64)> {
    let mut detector = detector(ahead);
    let mut all = Vec::new();
    let mut take = |report: &gstwm::watermark::Detection| {
        let begins = report.start * SECOND as u64 / u64::from(RATE);
        let date = report.broadcast_time.unwrap() as i64;
        let wrong = date - (BROADCAST + begins) as i64;
        all.push((report.state, wrong as f64 / SECOND as f64, report.log10_p));
    };
    for piece in audio.chunks(160) {
        detector.push(piece, &mut take);
    }
    detector.finish(&mut take);
    all
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

/// Noise of so many seconds of which only a stretch is marked, softly.
fn marked_for_a_while(seconds: usize, stretch: std::ops::Range<usize>) -> Vec<f32> {
    let mut random = common::Random::new(9);
    let programme: Vec<f32> = (0..seconds * RATE as usize)
        .map(|_| 0.1 * random.noise())
        .collect();
    let config = EmbedderConfig {
        row_clock: RowClock::Utc,
        ..embedder_config(RATE, 1)
    };
    let marked = mark(&programme, &config, BROADCAST);
    let stretch = stretch.start * RATE as usize..stretch.end * RATE as usize;
    let audio = programme.iter().zip(marked).enumerate();
    audio
        .map(|(at, (plain, marked))| match stretch.contains(&at) {
            true => plain + 0.4 * (marked - plain),
            false => *plain,
        })
        .collect()
}

#[test]
fn a_mark_that_is_over_before_its_rows_are_searched_is_reported() {
    // The first tile, one of the last ones, and the end of the audio, where all that is left is searched.
    for (seconds, ahead) in [(25, 0), (25, 3_300), (25, -3_300), (12, 3_300), (8, 3_300)] {
        for stretch in [2..4, 1..7] {
            let audio = marked_for_a_while(seconds, stretch.clone());
            let mut detector = detector(ahead);
            let mut reports = Vec::new();
            let mut take = |report: &gstwm::watermark::Detection| reports.push(report.clone());
            for piece in audio.chunks(160) {
                detector.push(piece, &mut take);
            }
            detector.finish(&mut take);
            let case = format!("{stretch:?} of {seconds} s, {ahead} s ahead: {reports:?}");
            let found = reports.first().expect(&case);
            assert_eq!(found.state, DetectionState::Found, "{case}");
            let at = |frame: u64| frame as f64 / f64::from(RATE);
            let close = |time: f64, truth: usize| (time - truth as f64).abs() < 0.5;
            assert!(close(at(found.start), stretch.start), "{case}");
            for report in reports
                .iter()
                .filter(|r| r.state != DetectionState::Present)
            {
                let begins = BROADCAST + report.start * SECOND as u64 / u64::from(RATE);
                let date = report.broadcast_time.unwrap() as i64 - begins as i64;
                assert!(date.abs() < SECOND / 16, "{case}");
            }
            if reports.len() > 1 {
                let lost = &reports[reports.len() - 1];
                assert_eq!(lost.state, DetectionState::Lost, "{case}");
                assert!(close(at(lost.start), stretch.start), "{case}");
                assert!(close(at(lost.end), stretch.end), "{case}");
            } else {
                assert!(seconds - stretch.end < 3, "{case}");
            }
        }
    }
}

#[test]
fn what_is_left_at_the_end_can_be_given_up() {
    let audio = broadcast();
    let mut detector = detector(0);
    for (interrupted, expected) in [(true, 0), (false, 1)] {
        detector.interrupt().store(interrupted, Ordering::Relaxed);
        detector.reset(BROADCAST);
        let mut found = 0;
        let mut take = |_: &gstwm::watermark::Detection| found += 1;
        detector.push(&audio[..64_000], &mut take);
        detector.finish(&mut take);
        assert_eq!(found, expected, "interrupted: {interrupted}");
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
