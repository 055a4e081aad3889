// SPDX-License-Identifier: MIT OR Apache-2.0
//! Once they are made, embedder and detector never ask for memory: they may run where waiting for a lock
//! of the allocator is an audible gap. And a detector is small.

mod common;

use common::{detector_config, embedder_config, key, mark_saying, recording};
use gstwm::watermark::{
    Detectability, Detection, DetectionState, Detector, DetectorConfig, Embedder, EmbedderConfig,
    Payload, RowClock,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Counts what the calling thread asks for; the other tests run at the same time.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static BYTES: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that is ending has no counter any more.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
    let _ = BYTES.try_with(|all| all.set(all.get() + bytes));
}

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations, reallocations and frees while `work` runs.
fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

/// Pieces that no framing inside fits, from one frame to a second.
const SIZES: [usize; 7] = [480, 1, 1_025, 48_000, 441, 7, 9_999];

fn for_pieces(frames: usize, mut work: impl FnMut(std::ops::Range<usize>)) {
    let mut start = 0;
    for size in SIZES.iter().cycle() {
        if start == frames {
            break;
        }
        let end = frames.min(start + size);
        work(start..end);
        start = end;
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| ()), 0);
    let boxed = || drop(std::hint::black_box(Box::new(1u8)));
    assert_eq!(allocations(boxed), 2);
    let grown = || std::hint::black_box(&mut Vec::with_capacity(1)).extend([1u64, 2]);
    assert_eq!(allocations(grown), 3);
}

/// At any rate that takes no more samples a second than 16 kHz once it is decimated.
#[test]
fn a_detector_of_one_speed_takes_half_a_mebibyte() {
    let bytes = |rate, channels, max_speed_deviation| {
        let config = DetectorConfig {
            max_speed_deviation,
            ..detector_config(rate, channels)
        };
        let key = key();
        let before = BYTES.get();
        let detector = std::hint::black_box(Detector::new(&config, &[key]).unwrap());
        let bytes = BYTES.get() - before;
        drop(detector);
        bytes
    };
    for (rate, channels) in [
        (8_000, 1),
        (16_000, 1),
        (44_100, 2),
        (48_000, 2),
        (96_000, 2),
    ] {
        let [one, eleven] = [0.0, 0.1].map(|deviation| bytes(rate, channels, deviation));
        assert!((100 << 10..=512 << 10).contains(&one), "{rate} Hz: {one}");
        assert!((1 << 20..=4 << 20).contains(&eleven), "{rate} Hz: {eleven}");
    }
}

#[test]
fn the_embedder_never_allocates() {
    for (rate, channels, lookahead, row_clock) in [
        (48_000, 2, true, RowClock::Stream),
        (48_000, 1, false, RowClock::Stream),
        (44_100, 2, true, RowClock::Utc),
        (16_000, 1, true, RowClock::Stream),
        (16_000, 2, false, RowClock::Utc),
    ] {
        let config = EmbedderConfig {
            lookahead,
            row_clock,
            ..embedder_config(rate, channels)
        };
        let audio = recording("music.flac", rate, channels);
        let mut mark = vec![0.0; audio.len()];
        let mut embedder = Embedder::new(&config, &key()).unwrap();
        let mut changes = 0;
        // The very first block counts too.
        let count = allocations(|| {
            for round in 0..2 {
                embedder.reset(round * 1_764_000_000_070_000_000);
                for_pieces(audio.len() / channels, |frames| {
                    embedder.set_strength(frames.start as f64 * 1e-5);
                    embedder.set_enabled(frames.start % 5 != 0);
                    let number = frames.start as u32;
                    let payload = number
                        .is_multiple_of(2)
                        .then_some(Payload(number.to_be_bytes()));
                    embedder.set_payload(payload);
                    let samples = frames.start * channels..frames.end * channels;
                    embedder.process(&audio[samples.clone()], &mut mark[samples]);
                    changes += usize::from(embedder.take_payload_change().is_some());
                });
            }
        });
        assert_eq!(count, 0, "{config:?}");
        assert!(mark.iter().any(|sample| *sample != 0.0), "{config:?}");
        assert!(changes >= 5, "{config:?}: {changes}");
    }
}

#[test]
fn to_measure_never_allocates() {
    for (rate, channels, clock) in [(48_000, 2, RowClock::Stream), (16_000, 1, RowClock::Utc)] {
        let audio = recording("music.flac", rate, channels);
        let mut detectability = Detectability::new(rate, channels, &key(), clock).unwrap();
        let mut reports = 0;
        let count = allocations(|| {
            for round in 0..2 {
                detectability.reset(round * 1_764_000_000_070_000_000);
                for_pieces(audio.len() / channels, |frames| {
                    detectability.set_interval(1.0);
                    detectability.set_payload(frames.start % 5 != 0);
                    let samples = &audio[frames.start * channels..frames.end * channels];
                    detectability.push(samples, &mut |_| reports += 1);
                });
                detectability.finish(&mut |_| reports += 1);
            }
        });
        assert_eq!(count, 0, "{rate} Hz");
        assert!(reports > 10, "{rate} Hz: {reports}");
    }
}

/// Searching, found, tracking for longer than the longest window, lost, and searching again; with a payload that
/// changes, or without.
fn assert_detector_never_allocates(config: &DetectorConfig, start: u64, payloads: bool) {
    let (rate, channels) = (config.sample_rate, config.channels);
    let music = recording("music.flac", rate, channels);
    let embedder = EmbedderConfig {
        row_clock: config.row_clock,
        ..embedder_config(rate, channels)
    };
    let second = rate as usize * channels;
    let said = [(0, Payload([1; 4])), (8 * rate as usize, Payload([2; 4]))];
    let said = said.map(|(frame, payload)| (frame, payloads.then_some(payload)));
    let marked = mark_saying(&music.repeat(3), &embedder, start, &said);
    let silence = vec![0.0; 6 * second];
    let audio = [&music[..second], &marked, &silence, &marked[..3 * second]].concat();
    let mut detector = Detector::new(config, &[key()]).unwrap();
    let (mut states, mut read) = ([0; 3], [0; 2]);
    let count = allocations(|| {
        detector.reset(start - 1_000_000_000);
        let mut report = |detection: &Detection| {
            states[match detection.state {
                DetectionState::Found => 0,
                DetectionState::Present => 1,
                DetectionState::Lost => 2,
            }] += 1;
            match detection.payload {
                Some(Payload([1, ..])) => read[0] += 1,
                Some(_) => read[1] += 1,
                None => (),
            }
        };
        for_pieces(audio.len() / channels, |frames| {
            detector.set_interval(0.5);
            detector.push(
                &audio[frames.start * channels..frames.end * channels],
                &mut report,
            );
            std::hint::black_box((detector.score(), detector.is_present(), detector.stats()));
        });
        detector.finish(&mut report);
        detector.reset(start);
    });
    assert_eq!(count, 0, "{config:?}");
    let [found, present, lost] = states;
    assert!(
        found == 2 && present > 50 && lost == 1,
        "{config:?}: {states:?}"
    );
    let enough = read.map(|reports| reports > 8);
    assert_eq!(enough, [payloads; 2], "{config:?}: {read:?}");
}

#[test]
fn the_detector_never_allocates() {
    for (rate, channels, payloads) in [
        (16_000, 1, false),
        (16_000, 2, true),
        (48_000, 1, true),
        (48_000, 2, false),
    ] {
        let config = detector_config(rate, channels);
        assert_detector_never_allocates(&config, 1_000_000_000, payloads);
    }
}

#[test]
fn the_detector_never_allocates_with_the_utc_clock() {
    let config = DetectorConfig {
        row_clock: RowClock::Utc,
        // The mark comes a second time, half a minute late.
        clock_tolerance: 60.0,
        ..detector_config(16_000, 1)
    };
    assert_detector_never_allocates(&config, 1_764_000_000_070_000_000, true);
}
