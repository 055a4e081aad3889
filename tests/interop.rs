// SPDX-License-Identifier: MIT OR Apache-2.0
//! The wire format as it is written, on both sides: the detector reads what an independent embedder wrote,
//! and a detector that shares no code with the crate reads what the embedder wrote.

mod common;

use common::{Message, embedder_config, mark, play, recording};
use gstwm::watermark::{EmbedderConfig, RowClock};
use rustfft::FftPlanner;
use rustfft::num_complex::Complex;

/// Seconds from one frame of the plain detector to the next.
const STEP: f64 = 0.01;
const ROW_STEPS: usize = 20;

/// The signs of rows, straight from BLAKE3: wire format, "Signs".
fn signs(key: [u8; 32], row: u64) -> Vec<f64> {
    let subkey = blake3::derive_key("gst-plugin-wm v1 chip signs", &key);
    let mut stream = blake3::Hasher::new_keyed(&subkey).finalize_xof();
    stream.set_position(32 * row);
    let mut bytes = [0; 32];
    stream.fill(&mut bytes);
    (0..198)
        .map(|c| 1.0 - 2.0 * f64::from(bytes[c / 8] >> (c % 8) & 1))
        .collect()
}

fn right_key() -> [u8; 32] {
    std::array::from_fn(|i| i as u8)
}

/// For every frame the correlation of every chip with the signal 160 ms earlier: frame k is that whose
/// latter window has its middle at 0.160 + 0.064 + k * 0.010 seconds.
fn correlations(audio: &[f32], rate: u32) -> Vec<Vec<f64>> {
    let rate = f64::from(rate);
    let size = (0.128 * rate).round() as usize;
    let window: Vec<f64> = (0..size)
        .map(|i| (0.5 - 0.5 * (std::f64::consts::TAU * i as f64 / size as f64).cos()).sqrt())
        .collect();
    let fft = FftPlanner::<f64>::new().plan_fft_forward(size);
    let spectrum = |at: f64| -> Option<Vec<Complex<f64>>> {
        let samples = audio.get((at * rate).round() as usize..)?.get(..size)?;
        let windowed = samples.iter().zip(&window).map(|(s, w)| f64::from(*s) * w);
        let mut bins: Vec<_> = windowed.map(|s| Complex::new(s, 0.0)).collect();
        fft.process(&mut bins);
        bins.truncate(size / 2);
        Some(bins.iter().map(compress).collect())
    };
    let spectra: Vec<_> = (0..).map_while(|k| spectrum(k as f64 * STEP)).collect();
    let chips = |(earlier, later): (&Vec<Complex<f64>>, &Vec<Complex<f64>>)| {
        let mut chips = vec![0.0; 198];
        for (bin, (a, b)) in earlier.iter().zip(later).enumerate() {
            let chip = ((bin as f64 * rate / size as f64 - 300.0) / 31.25).floor();
            if (0.0..198.0).contains(&chip) {
                chips[chip as usize] += (b * a.conj()).re;
            }
        }
        chips
    };
    spectra.iter().zip(&spectra[16..]).map(chips).collect()
}

/// Phase counts, magnitude hardly does.
fn compress(bin: &Complex<f64>) -> Complex<f64> {
    bin * (bin.norm() + 1e-9).powf(0.15 - 1.0)
}

/// The correlations summed over rows, the first of which begins `steps` frames before frame 0.
fn rows(correlations: &[Vec<f64>], steps: usize) -> Vec<Vec<f64>> {
    let mut rows = vec![vec![0.0; 198]; (correlations.len() + steps) / ROW_STEPS + 1];
    for (k, chips) in correlations.iter().enumerate() {
        for (sum, chip) in rows[(k + steps) / ROW_STEPS].iter_mut().zip(chips) {
            *sum += chip;
        }
    }
    rows
}

fn score(rows: &[Vec<f64>], signs: &[Vec<f64>], first_row: usize) -> f64 {
    let (mut sum, mut squares) = (0.0, 0.0);
    for (n, row) in rows.iter().enumerate() {
        let signs = &signs[(first_row + n) % signs.len()];
        for (b, s) in row.iter().zip(signs) {
            sum += b * s;
            squares += b * b;
        }
    }
    sum / (squares + 1e-20f64).sqrt()
}

/// What the plain detector makes of the audio.
struct Verdict {
    /// Highest score of all places in the cycle.
    z: f64,
    /// The place: seconds of the row clock at the first frame of the audio.
    place: f64,
    /// Highest score of all places so far from it that no row overlaps itself.
    elsewhere: f64,
}

fn detect(audio: &[f32], rate: u32, key: [u8; 32]) -> Verdict {
    let correlations = correlations(audio, rate);
    let signs: Vec<_> = (0..1024).map(|row| signs(key, row)).collect();
    let mut all = Vec::new();
    for steps in 0..ROW_STEPS {
        let rows = rows(&correlations, steps);
        for row in 0..1024 {
            let middle = 0.2 * row as f64 + STEP * steps as f64;
            all.push((
                score(&rows, &signs, row),
                (middle - 0.224).rem_euclid(204.8),
            ));
        }
    }
    let (z, place) = all
        .iter()
        .copied()
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .unwrap();
    let far = |other: f64| distance(other, place) > 0.25;
    let elsewhere = all.iter().filter(|(_, other)| far(*other));
    Verdict {
        z,
        place,
        elsewhere: elsewhere.map(|(z, _)| *z).fold(0.0, f64::max),
    }
}

/// Of two places in the cycle of 204.8 s.
fn distance(a: f64, b: f64) -> f64 {
    let distance = (a - b).rem_euclid(204.8);
    distance.min(204.8 - distance)
}

fn wmdetect(source: &str, key: &str) -> Vec<Message> {
    let description = format!("{source} ! wmdetect key={key} ! fakesink sync=false");
    play(&common::pipeline(&description))
}

#[test]
fn the_detector_finds_the_mark_of_the_reference() {
    for rate in [48_000, 44_100, 16_000] {
        let source = format!(
            "{} ! audio/x-raw,rate={rate}",
            common::decoder("reference_marked.flac")
        );
        let messages = wmdetect(&source, common::KEY);
        assert_eq!(messages[0].state(), "found", "{rate} Hz");
        assert!(
            messages[0].end() <= gst::ClockTime::from_seconds(3),
            "{rate} Hz: found at {}",
            messages[0].end()
        );
        for message in &messages {
            assert!(
                message.ahead().abs() <= 0.06,
                "{rate} Hz: {} s ahead: {message:?}",
                message.ahead()
            );
        }
        let highest = messages.iter().map(|m| m.fields.get::<f64>("score"));
        let highest = highest.map(Result::unwrap).fold(0.0, f64::max);
        assert!(highest > 30.0, "{rate} Hz: {highest}");
    }
}

#[test]
fn the_detector_needs_the_key_of_the_reference() {
    let source = common::decoder("reference_marked.flac");
    let messages = wmdetect(&source, common::OTHER_KEY);
    assert!(messages.is_empty(), "{messages:?}");
}

#[test]
fn the_detector_used_here_agrees_with_the_reference() {
    // tests/data/README.md has the figures of the numpy detector: 53, and 4.9 with another key.
    let audio = recording("reference_marked.flac", 48_000, 1);
    let right = detect(&audio, 48_000, right_key());
    assert!(right.z > 40.0, "{}", right.z);
    assert!(distance(right.place, 0.0) <= 0.06, "{} s", right.place);
    let mut other = right_key();
    other[0] = 0xff;
    assert!(detect(&audio, 48_000, other).z < 6.0);
}

#[test]
fn a_plain_detector_finds_our_mark() {
    for (file, rate, start) in [
        ("speech.flac", 44_100, 0),
        ("music.flac", 48_000, 0),
        // Somewhere in a row, and over the end of the cycle.
        ("speech.flac", 48_000, 100_070_000_000),
        ("music.flac", 16_000, 200_110_000_000),
    ] {
        let programme = recording(file, rate, 1);
        let marked = mark(&programme, &embedder_config(rate, 1), start);
        let verdict = detect(&marked, rate, right_key());
        let what = format!("{file} at {rate} Hz, {start} ns");
        assert!(verdict.z > 40.0, "{what}: {}", verdict.z);
        assert!(verdict.elsewhere < 6.0, "{what}: {}", verdict.elsewhere);
        let place = start as f64 * 1e-9;
        assert!(
            distance(verdict.place, place) <= 0.021,
            "{what}: at {} s",
            verdict.place
        );
        let unmarked = detect(&programme, rate, right_key());
        assert!(unmarked.z < 6.0, "{what}, unmarked: {}", unmarked.z);
    }
}

/// Share of all cells (a row, a chip) whose correlation the mark moved in the direction of `sign(row, chip)`.
fn share_moved(programme: &[f32], config: &EmbedderConfig, start: u64, first_row: u64) -> f64 {
    let rate = config.sample_rate;
    let marked = mark(programme, config, start);
    // Frame 0 is 24 ms into row 1; what is before row 2 has no earlier programme.
    let steps = 2;
    let before = rows(&correlations(programme, rate), steps);
    let after = rows(&correlations(&marked, rate), steps);
    let (mut moved, mut cells) = (0, 0);
    for n in 1..before.len() - 2 {
        let signs = signs(right_key(), first_row + 1 + n as u64);
        for ((before, after), sign) in before[n].iter().zip(&after[n]).zip(signs) {
            moved += u32::from((after - before) * sign > 0.0);
            cells += 1;
        }
    }
    f64::from(moved) / f64::from(cells)
}

#[test]
fn every_chip_is_pushed_towards_its_sign() {
    for (file, rate) in [("music.flac", 44_100), ("speech.flac", 48_000)] {
        let programme = recording(file, rate, 1);
        let two_sided = embedder_config(rate, 1);
        let one_sided = EmbedderConfig {
            lookahead: false,
            ..two_sided.clone()
        };
        let share = share_moved(&programme, &two_sided, 0, 0);
        assert!(share > 0.9, "{file}: {share}");
        let share = share_moved(&programme, &one_sided, 0, 0);
        assert!(share > 0.85, "{file}, one-sided: {share}");
        // The rows before and after are no explanation for it.
        let share = share_moved(&programme, &two_sided, 0, 1);
        assert!((0.45..0.55).contains(&share), "{file}, next row: {share}");
    }
}

#[test]
fn rows_of_the_utc_clock_never_repeat() {
    let config = EmbedderConfig {
        row_clock: RowClock::Utc,
        ..embedder_config(48_000, 1)
    };
    let programme = recording("music.flac", 48_000, 1);
    // 2025-11-24, at the start of row 8 820 000 000: nowhere near row 8 820 000 000 mod 1024.
    let start = 1_764_000_000_000_000_000;
    let share = share_moved(&programme, &config, start, 8_820_000_000);
    assert!(share > 0.9, "{share}");
    let share = share_moved(&programme, &config, start, 8_820_000_000 % 1024);
    assert!((0.45..0.55).contains(&share), "modulo 1024: {share}");
}
