// SPDX-License-Identifier: MIT OR Apache-2.0
//! Both elements in pipelines that start, stop and seek.

mod common;

use common::KEY;
use common::harness::*;
use gst::prelude::*;

#[test]
fn pipelines_start_run_and_stop_twice() {
    common::init();
    let pipeline = gst::parse::launch(
        "audiotestsrc num-buffers=50 samplesperbuffer=1000 wave=pink-noise \
         ! audio/x-raw,format=S16LE,rate=44100,channels=2 ! wmembed name=embed key=k \
         ! wmdetect key=k ! appsink name=sink sync=false",
    )
    .unwrap()
    .downcast::<gst::Pipeline>()
    .unwrap();
    let sink = pipeline
        .by_name("sink")
        .unwrap()
        .downcast::<gst_app::AppSink>()
        .unwrap();
    for _ in 0..2 {
        pipeline.set_state(gst::State::Playing).unwrap();
        let mut frames = 0;
        while let Ok(sample) = sink.pull_sample() {
            let buffer = sample.buffer().unwrap();
            assert_eq!(buffer.pts(), Some(time(frames, 44_100)));
            frames += buffer.size() / 4;
        }
        assert_eq!(frames, 50_000);
        pipeline.set_state(gst::State::Null).unwrap();
    }
}

/// Plays `pipeline` to its end, returns the timestamp of its first frame and the number of frames.
fn play(
    pipeline: &gst::Pipeline,
    sink: &gst_app::AppSink,
    bytes_per_frame: usize,
) -> (Option<gst::ClockTime>, usize) {
    pipeline.set_state(gst::State::Playing).unwrap();
    let (mut first, mut frames) = (None, 0);
    while let Ok(sample) = sink.pull_sample() {
        let buffer = sample.buffer().unwrap();
        first = first.or(buffer.pts());
        frames += buffer.size() / bytes_per_frame;
    }
    (first, frames)
}

#[test]
fn after_a_seek_there_is_what_was_asked_for() {
    common::init();
    let pipeline = gst::parse::launch(&format!(
        "audiotestsrc ! audio/x-raw,format=S16LE,rate=48000,channels=1 ! wmembed key={KEY} \
         ! wmdetect key={KEY} ! appsink name=sink sync=false max-buffers=1"
    ))
    .unwrap()
    .downcast::<gst::Pipeline>()
    .unwrap();
    let sink = pipeline
        .by_name("sink")
        .unwrap()
        .downcast::<gst_app::AppSink>()
        .unwrap();
    // What a property or a query does from within a bus handler must not meet a lock.
    pipeline.bus().unwrap().set_sync_handler(|_, message| {
        if let Some(element) = message.src().and_then(|s| s.downcast_ref::<gst::Element>()) {
            for property in ["latency", "present", "score", "stats"] {
                if element.has_property(property) {
                    element.property_value(property);
                }
            }
            element.query(&mut gst::query::Latency::new());
        }
        gst::BusSyncReply::Drop
    });
    pipeline.set_state(gst::State::Paused).unwrap();
    sink.pull_preroll().unwrap();
    let second = gst::ClockTime::from_seconds;
    let seek = |rate, flags| {
        let range = (gst::SeekType::Set, second(3), gst::SeekType::Set, second(5));
        let flags = gst::SeekFlags::ACCURATE | flags;
        pipeline
            .seek(rate, flags, range.0, range.1, range.2, range.3)
            .unwrap();
    };
    for rate in [1.0, 2.0, -1.0, 1.0] {
        seek(rate, gst::SeekFlags::FLUSH);
        let (first, frames) = play(&pipeline, &sink, 2);
        assert_eq!(frames, 96_000, "rate {rate}");
        if rate > 0.0 {
            assert_eq!(first, Some(second(3)), "rate {rate}");
        }
        pipeline.set_state(gst::State::Paused).unwrap();
    }
    pipeline.set_state(gst::State::Null).unwrap();
}
