// SPDX-License-Identifier: MIT OR Apache-2.0
//! How many times faster than real time the cores and the elements are: medians of several runs of one thread.

use crate::{PIECE, detect, detector, embed, embedder, programme};
use gst::prelude::*;
use gstwm::watermark::Embedder;
use std::time::Instant;

/// Runs that a median is of.
pub const RUNS: usize = 7;

/// The middle one.
pub fn middle(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Median of the times that a run takes, in seconds, after one that does not count.
pub fn median(mut run: impl FnMut()) -> f64 {
    run();
    let time = |_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    middle((0..RUNS).map(time).collect())
}

/// Times real time of the embedder.
pub fn embedding(rate: u32, channels: usize) -> f64 {
    let audio = programme(rate, channels, 10.0);
    let mut embedder = embedder(rate, channels);
    let mut out = vec![0.0; PIECE * channels];
    10.0 / median(|| embed(&mut embedder, &audio, channels, &mut out))
}

/// Times real time of a detector that searches.
pub fn searching(rate: u32, channels: usize, speeds: f64, keys: usize) -> f64 {
    let seconds = if speeds > 1.0 || keys > 10 { 4.0 } else { 10.0 };
    let audio = programme(rate, channels, seconds);
    let mut detector = detector(rate, channels, speeds, keys);
    let speed = seconds / median(|| assert_eq!(detect(&mut detector, &audio, channels), 0));
    assert_eq!(detector.stats().found, 0);
    speed
}

/// Programme that goes round, and is marked as it goes: the mark goes on where the programme begins anew.
pub struct Marked {
    embedder: Embedder,
    channels: usize,
    programme: Vec<f32>,
    mark: Vec<f32>,
    /// Samples that have been given out.
    given: usize,
}

impl Marked {
    /// Marks programme of so many seconds over and over.
    pub fn new(rate: u32, channels: usize, seconds: f64) -> Self {
        let programme = programme(rate, channels, seconds);
        Marked {
            embedder: embedder(rate, channels),
            channels,
            mark: vec![0.0; programme.len()],
            programme,
            given: 0,
        }
    }

    /// The programme once more, with the mark, which comes a latency later than the programme that it belongs to.
    pub fn again(&mut self) -> Vec<f32> {
        let length = self.programme.len();
        let pieces = self.programme.chunks(PIECE * self.channels);
        for (piece, mark) in pieces.zip(self.mark.chunks_mut(PIECE * self.channels)) {
            self.embedder.process(piece, mark);
        }
        let late = self.embedder.latency() * self.channels % length;
        let first = self.given;
        self.given += length;
        let sample = |i: usize| {
            // Nothing has come out of the embedder's delay yet.
            let begun = first > 0 || i >= late;
            let programme = self.programme[(i + length - late) % length];
            self.mark[i] + if begun { programme } else { 0.0 }
        };
        (0..length).map(sample).collect()
    }
}

/// Times real time of a detector that has found the mark.
pub fn following(rate: u32, channels: usize) -> f64 {
    let seconds = 10.0;
    let mut marked = Marked::new(rate, channels, seconds);
    let mut detector = detector(rate, channels, 0.1, 1);
    detect(&mut detector, &marked.again(), channels);
    detect(&mut detector, &marked.again(), channels);
    assert!(detector.is_present());
    let time = |_| {
        let audio = marked.again();
        let start = Instant::now();
        detect(&mut detector, &audio, channels);
        start.elapsed().as_secs_f64()
    };
    let times = (0..RUNS).map(time).collect();
    assert!(detector.is_present());
    seconds / middle(times)
}

/// A pipeline with pink noise of so many seconds, through `element` if it is not empty, into nothing.
pub fn pipeline(element: &str, rate: u32, channels: usize, seconds: usize) -> gst::Element {
    let buffers = seconds * rate as usize / PIECE;
    let element = match element {
        "" => String::new(),
        name => format!("! {name} key={}", "5".repeat(64)),
    };
    let text = format!(
        "audiotestsrc wave=pink-noise num-buffers={buffers} samplesperbuffer={PIECE} ! \
         audio/x-raw,format=F32LE,rate={rate},channels={channels} {element} ! fakesink sync=false"
    );
    gst::parse::launch(&text).expect("elements of GStreamer")
}

/// Plays a pipeline to its end, stops it, and tells how many seconds it played.
pub fn play(pipeline: &gst::Element) -> f64 {
    let start = Instant::now();
    pipeline
        .set_state(gst::State::Playing)
        .expect("a pipeline that plays");
    let bus = pipeline.bus().expect("a bus");
    let types = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = bus.timed_pop_filtered(gst::ClockTime::NONE, &types);
    let time = start.elapsed().as_secs_f64();
    assert!(matches!(
        message.expect("a message").view(),
        gst::MessageView::Eos(_)
    ));
    pipeline
        .set_state(gst::State::Null)
        .expect("a pipeline that stops");
    time
}

/// Times real time of an element between a source and a sink, without what these take alone.
pub fn element(name: &str, rate: u32, channels: usize, seconds: usize) -> f64 {
    let run = |element| play(&pipeline(element, rate, channels, seconds));
    let times = (0..RUNS).map(|_| run(name) - run("")).collect();
    seconds as f64 / middle(times)
}
