// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `make fuzz` has found. Each test is named after the promise that was broken.

mod common;

use common::{KEY, embedder_config, key, recording};
use gst::prelude::*;
use gstwm::watermark::{Carrier, Embedder, EmbedderConfig};

/// The mark of two seconds from `start` on, with the noise carrier.
fn noise_mark(start: u64) -> Vec<f32> {
    let config = EmbedderConfig {
        carrier: Carrier::Noise,
        ..embedder_config(8_000, 1)
    };
    let mut embedder = Embedder::new(&config, &key()).unwrap();
    embedder.reset(start);
    let input = &recording("music.flac", 8_000, 1)[..16_000];
    let mut mark = vec![0.0; input.len()];
    embedder.process(input, &mut mark);
    mark
}

#[test]
fn the_noise_carrier_goes_on_however_late_it_is_in_stream_time() {
    const CYCLE: u64 = 1024 * 160_000_000;
    let mark = noise_mark(5 * CYCLE);
    assert!(mark.iter().any(|sample| *sample != 0.0));
    // The last cycle that fits.
    let late = u64::MAX / CYCLE - 1;
    assert!(noise_mark(late * CYCLE) == mark);
    assert_eq!(noise_mark(u64::MAX).len(), mark.len());
}

const CAPS: &str = "audio/x-raw,format=F32LE,rate=8000,channels=1,layout=interleaved";

/// An element that has a key, in a harness that has given it no caps yet.
fn harness(name: &str) -> (gst::Element, gst_check::Harness) {
    common::init();
    let element = gst::ElementFactory::make(name).property("key", KEY);
    let element = element.build().unwrap();
    let harness = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
    (element, harness)
}

#[test]
fn caps_that_are_refused_do_not_end_an_element() {
    for name in ["wmembed", "wmdetect"] {
        let (element, mut harness) = harness(name);
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        harness.set_src_caps_str(CAPS);
        let incomplete = gst::Caps::builder("audio/x-raw").field("rate", 8_000);
        harness.push_event(gst::event::Caps::new(&incomplete.build()));
        harness.push_event(gst::event::FlushStop::new(true));
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        harness.push_event(gst::event::Segment::new(&segment));
        let _ = harness.push(gst::Buffer::from_slice([0u8; 4000]));
        // What comes in the right format afterwards is taken.
        harness.set_src_caps_str(CAPS);
        let buffer = gst::Buffer::from_slice([0u8; 4000]);
        assert_eq!(harness.push(buffer), Ok(gst::FlowSuccess::Ok), "{name}");
        let errors = [gst::MessageType::Error];
        assert!(bus.pop_filtered(&errors).is_none(), "{name}");
        element.set_bus(None);
    }
}

#[test]
fn what_follows_the_end_of_time_ends_nothing() {
    for name in ["wmembed", "wmdetect"] {
        let (_element, mut harness) = harness(name);
        harness.set_src_caps_str(CAPS);
        let mut last = gst::Buffer::from_slice([0u8; 4000]);
        last.get_mut().unwrap().set_pts(gst::ClockTime::MAX);
        let mut next = gst::Buffer::from_slice([0u8; 4000]);
        next.get_mut().unwrap().set_flags(gst::BufferFlags::DISCONT);
        for buffer in [last, next] {
            assert_eq!(harness.push(buffer), Ok(gst::FlowSuccess::Ok), "{name}");
        }
    }
}
