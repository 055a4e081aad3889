// SPDX-License-Identifier: MIT OR Apache-2.0
//! Recordings of which nobody knows when they were made: more rows are searched than fit side by side.

mod common;

use common::{detector_config, embedder_config, mark, recording};
use gstwm::watermark::{DetectionState, Detector, DetectorConfig, EmbedderConfig, RowClock};

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

/// What a detector says whose clock is so many seconds ahead of the broadcast, give or take an hour: what, and by how
/// many seconds it is wrong about when that was, and how unlikely that is by chance.
fn dates(audio: &[f32], ahead: i64) -> Vec<(DetectionState, f64, f64)> {
    let config = DetectorConfig {
        row_clock: RowClock::Utc,
        clock_tolerance: 3600.0,
        // This is about rows, so one speed is enough.
        max_speed_deviation: 0.0,
        ..detector_config(RATE, 1)
    };
    let mut detector = Detector::new(&config, &[common::key()]).unwrap();
    detector.reset(BROADCAST.saturating_add_signed(ahead * SECOND));
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
