// SPDX-License-Identifier: MIT OR Apache-2.0
//! No GStreamer object outlives the pipeline that it was made for: GStreamer's tracer `leaks` keeps the list.

mod common;

use common::{KEY, decoder, pipeline, play};
use gst::prelude::*;
use std::sync::{Arc, Mutex};

/// The tracer, and what it has told last.
struct Tracer {
    tracer: gst::Tracer,
    told: Arc<Mutex<Vec<String>>>,
}

impl Tracer {
    /// Starts GStreamer with it: it has to be there from the start.
    fn new() -> Self {
        // SAFETY: there is one test in this file, so no other thread reads the environment.
        unsafe { std::env::set_var("GST_TRACERS", "leaks") };
        common::init();
        let tracers = gst::active_tracers();
        let leaks = |tracer: &gst::Tracer| tracer.type_().name() == "GstLeaksTracer";
        let tracer = tracers.into_iter().find(leaks);
        let told = Arc::new(Mutex::new(Vec::new()));
        gst::log::remove_default_log_function();
        gst::log::set_threshold_for_name("GST_TRACER", gst::DebugLevel::Trace);
        let list = told.clone();
        gst::log::add_log_function(move |category, _, _, _, _, _, message| {
            if category.name() == "GST_TRACER" {
                let message = message.get().map(|message| message.to_string());
                list.lock().unwrap().extend(message);
            }
        });
        Tracer {
            tracer: tracer
                .expect("GStreamer's core tracers are missing: install libgstreamer1.0-0"),
            told,
        }
    }

    /// What is alive: type, address, and what can be said about it. What changes in an object is left out.
    fn alive(&self) -> Vec<String> {
        self.told.lock().unwrap().clear();
        self.tracer.emit_by_name::<()>("log-live-objects", &[]);
        let told = self.told.lock().unwrap();
        let about = |line: &String| Some(line.split_once(", ref-count")?.0.to_owned());
        told.iter().filter_map(about).collect()
    }

    /// What is alive beside `before`. Threads that have just been told to end may hold on to something for a moment.
    fn left(&self, before: &[String]) -> Vec<String> {
        let mut left = Vec::new();
        for _ in 0..500 {
            left = self.alive();
            left.retain(|object| !before.contains(object));
            if left.is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        left
    }
}

/// A recording through both elements, in every way that `more` of their properties says.
fn through_both(embed: &str, detect: &str) -> gst::Pipeline {
    pipeline(&format!(
        "{} ! wmembed key={KEY} {embed} ! wmdetect key={KEY} {detect} ! fakesink name=sink",
        decoder("music.flac")
    ))
}

fn to_the_end() {
    let reports = play(&through_both("payload=00c0ffee", ""));
    assert!(!reports.is_empty());
}

fn by_the_clock() {
    play(&through_both("row-clock=utc", "row-clock=utc"));
}

fn with_noise_carrier() {
    play(&through_both("carrier=noise", "carrier=noise"));
}

/// Stops in the middle, while audio is held, and starts again, twice.
fn in_two_states() {
    let pipeline = through_both("", "");
    for state in [
        gst::State::Paused,
        gst::State::Ready,
        gst::State::Paused,
        gst::State::Null,
    ] {
        pipeline.set_state(state).unwrap();
        let (result, reached, _) = pipeline.state(gst::ClockTime::NONE);
        assert!(result.is_ok() && reached == state, "{state:?}");
    }
    play(&pipeline);
    play(&pipeline);
}

fn with_a_seek() {
    let pipeline = through_both("", "");
    pipeline.set_state(gst::State::Paused).unwrap();
    for seconds in [6, 2] {
        let (result, ..) = pipeline.state(gst::ClockTime::NONE);
        assert!(result.is_ok());
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE;
        let to = gst::ClockTime::from_seconds(seconds);
        pipeline.seek_simple(flags, to).unwrap();
    }
    play(&pipeline);
}

fn without_a_key() {
    let pipeline = pipeline("audiotestsrc num-buffers=3 ! wmembed ! wmdetect ! fakesink");
    assert!(pipeline.set_state(gst::State::Playing).is_err());
    pipeline.set_state(gst::State::Null).unwrap();
}

/// Buffers with the times of another clock, other caps in the middle, gaps, and a flush.
fn in_a_harness(name: &str) {
    let element = gst::ElementFactory::make(name)
        .property("key", KEY)
        .build()
        .unwrap();
    let mut harness = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
    let clock = gst::Caps::new_empty_simple("timestamp/x-unix");
    for rate in [16_000, 48_000] {
        let caps = format!("audio/x-raw,format=S16LE,rate={rate},channels=1,layout=interleaved");
        harness.set_src_caps_str(&caps);
        for second in 0..3 {
            let mut buffer = gst::Buffer::from_slice(vec![1; 2 * rate]);
            let time = gst::ClockTime::from_seconds(second);
            let content = buffer.get_mut().unwrap();
            content.set_pts(time);
            gst::ReferenceTimestampMeta::add(content, &clock, time, None);
            harness.push(buffer).unwrap();
        }
        let gap = gst::event::Gap::builder(gst::ClockTime::from_seconds(3));
        harness.push_event(gap.duration(gst::ClockTime::SECOND).build());
        harness.push_event(gst::event::FlushStart::new());
        harness.push_event(gst::event::FlushStop::new(true));
        harness.push_event(gst::event::Segment::new(&gst::FormattedSegment::<
            gst::ClockTime,
        >::new()));
    }
}

#[test]
fn nothing_outlives_its_pipeline() {
    let tracer = Tracer::new();
    // What GStreamer makes once and keeps.
    to_the_end();
    let before = tracer.alive();
    let scenes: [(&str, &dyn Fn()); 8] = [
        ("to the end", &to_the_end),
        ("by the clock", &by_the_clock),
        ("with the noise carrier", &with_noise_carrier),
        ("in two states", &in_two_states),
        ("with a seek", &with_a_seek),
        ("without a key", &without_a_key),
        ("wmembed in a harness", &|| in_a_harness("wmembed")),
        ("wmdetect in a harness", &|| in_a_harness("wmdetect")),
    ];
    for (name, scene) in scenes {
        scene();
        let left = tracer.left(&before);
        assert!(left.is_empty(), "{name}: {left:#?}");
    }
    // The tracer sees an element that is kept.
    let kept = gst::ElementFactory::make("wmembed").build().unwrap();
    let seen = tracer.alive();
    assert!(
        seen.iter().any(|object| object.contains("GstWmEmbed")),
        "{seen:#?}"
    );
    drop(kept);
    assert!(tracer.left(&before).is_empty());
}
