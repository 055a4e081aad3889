// SPDX-License-Identifier: MIT OR Apache-2.0
//! Both elements in pipelines that start, stop and seek.

mod common;

use common::KEY;
use common::harness::*;
use gst::prelude::*;
use std::sync::Mutex;

/// A pipeline whose sink is called `sink`.
fn with_sink(description: &str) -> (gst::Pipeline, gst_app::AppSink) {
    common::init();
    let pipeline = common::pipeline(description);
    let sink = pipeline.by_name("sink").unwrap().downcast().unwrap();
    (pipeline, sink)
}

#[test]
fn pipelines_start_run_and_stop_twenty_times() {
    let (pipeline, sink) = with_sink(&format!(
        "audiotestsrc num-buffers=50 samplesperbuffer=1000 wave=pink-noise \
         ! audio/x-raw,format=S16LE,rate=44100,channels=2 ! wmembed name=embed key={KEY} \
         ! wmdetect key={KEY} ! appsink name=sink sync=false"
    ));
    for _ in 0..20 {
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
    let (pipeline, sink) = with_sink(&format!(
        "audiotestsrc ! audio/x-raw,format=S16LE,rate=48000,channels=1 ! wmembed key={KEY} \
         ! wmdetect key={KEY} ! appsink name=sink sync=false max-buffers=1"
    ));
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
    for rate in [1.0, 2.0, -1.0, 0.5, 1.0] {
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

#[test]
fn the_stream_may_end_in_its_first_millisecond() {
    for frames in [1, 8, 47] {
        let pipeline = common::pipeline(&format!(
            "audiotestsrc num-buffers=1 samplesperbuffer={frames} ! audio/x-raw,format=S16LE,rate=48000,channels=1 \
             ! wmembed key={KEY} ! wmdetect key={KEY} ! appsink name=sink sync=false"
        ));
        let sink = pipeline.by_name("sink").unwrap().downcast().unwrap();
        let (first, all) = play(&pipeline, &sink, 2);
        assert_eq!((first, all), (Some(gst::ClockTime::ZERO), frames));
        pipeline.set_state(gst::State::Null).unwrap();
    }
}

/// A loop: a segment seek, and at its end another one that flushes nothing, as a gapless player does.
#[test]
fn a_segment_is_whole_when_it_is_done_and_the_next_one_too() {
    let pipeline = common::pipeline(&format!(
        "audiotestsrc ! audio/x-raw,format=S16LE,rate=48000,channels=1 ! wmembed key={KEY} ! wmdetect key={KEY} \
         ! fakesink name=sink sync=false"
    ));
    // The message of the same name comes from the source, before all of the segment is here.
    let (done, segments) = std::sync::mpsc::channel();
    let pad = pipeline
        .by_name("sink")
        .unwrap()
        .static_pad("sink")
        .unwrap();
    let mask =
        gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_BOTH | gst::PadProbeType::EVENT_FLUSH;
    let frames = Mutex::new(0);
    pad.add_probe(mask, move |_, info| {
        let mut frames = frames.lock().unwrap();
        match &info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => *frames += buffer.size() / 2,
            Some(gst::PadProbeData::Event(event)) => match event.type_() {
                gst::EventType::FlushStop => *frames = 0,
                gst::EventType::SegmentDone => done.send(std::mem::take(&mut *frames)).unwrap(),
                _ => (),
            },
            _ => (),
        }
        gst::PadProbeReturn::Ok
    });
    pipeline.set_state(gst::State::Paused).unwrap();
    pipeline.state(gst::ClockTime::NONE).0.unwrap();
    let ms = gst::ClockTime::from_mseconds;
    let seek = |flags: gst::SeekFlags, start, stop| {
        let (set, flags) = (gst::SeekType::Set, flags | gst::SeekFlags::SEGMENT);
        pipeline
            .seek(1.0, flags, set, ms(start), set, ms(stop))
            .unwrap();
    };
    seek(gst::SeekFlags::FLUSH, 1_000, 1_500);
    pipeline.set_state(gst::State::Playing).unwrap();
    let minute = std::time::Duration::from_secs(60);
    for _ in 0..4 {
        assert_eq!(segments.recv_timeout(minute), Ok(24_000));
        seek(gst::SeekFlags::empty(), 1_000, 1_500);
    }
    pipeline.set_state(gst::State::Null).unwrap();
}

/// One programme after another without a flush, at another rate and with other channels.
#[test]
fn programmes_follow_each_other_whole() {
    let source = |rate, channels| {
        format!(
            "audiotestsrc num-buffers=40 samplesperbuffer=1000 wave=pink-noise \
             ! audio/x-raw,format=S16LE,rate={rate},channels={channels} ! c."
        )
    };
    common::need(&[("concat", "gstreamer1.0-plugins-base")]);
    let pipeline = common::pipeline(&format!(
        "concat name=c ! wmembed key={KEY} ! wmdetect key={KEY} ! appsink name=sink sync=false {} {} {}",
        source(48_000, 2),
        source(44_100, 1),
        source(48_000, 2)
    ));
    let sink: gst_app::AppSink = pipeline.by_name("sink").unwrap().downcast().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut programmes: Vec<(i32, usize)> = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        let caps = sample.caps().unwrap().structure(0).unwrap();
        let channels: i32 = caps.get("channels").unwrap();
        let frames = sample.buffer().unwrap().size() / 2 / channels as usize;
        match programmes.last_mut() {
            Some((before, all)) if *before == channels => *all += frames,
            _ => programmes.push((channels, frames)),
        }
    }
    pipeline.set_state(gst::State::Null).unwrap();
    assert_eq!(programmes, [(2, 40_000), (1, 40_000), (2, 40_000)]);
}
