// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests: a panic while audio is worked on is an error of the element, and never takes the application down.

use crate::wmdetect::WmDetect;
use crate::wmembed::WmEmbed;
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use std::sync::Once;

const CAPS: [&str; 2] = [
    "audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved",
    "audio/x-raw,format=S16LE,rate=48000,channels=1,layout=interleaved",
];

fn audio() -> gst::Buffer {
    gst::Buffer::from_slice([0; 3_200])
}

/// An element that has taken a buffer, at work in a harness.
fn running(name: &str) -> (gst::Element, gst_check::Harness) {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        gst::init().unwrap();
        crate::plugin_register_static().unwrap();
    });
    let element = gst::ElementFactory::make(name).property("key", "00".repeat(32));
    let element = element.build().unwrap();
    let mut harness = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
    harness.set_src_caps_str(CAPS[0]);
    harness.push(audio()).unwrap();
    (element, harness)
}

/// Makes the next audio that the element works on panic.
fn spoil(element: &gst::Element) {
    match (
        element.downcast_ref::<WmEmbed>(),
        element.downcast_ref::<WmDetect>(),
    ) {
        (Some(embed), _) => embed.imp().spoil(),
        (_, Some(detect)) => detect.imp().spoil(),
        _ => unreachable!(),
    }
}

fn is_poisoned(element: &gst::Element) -> bool {
    match (
        element.downcast_ref::<WmEmbed>(),
        element.downcast_ref::<WmDetect>(),
    ) {
        (Some(embed), _) => embed.imp().is_poisoned(),
        (_, Some(detect)) => detect.imp().is_poisoned(),
        _ => unreachable!(),
    }
}

/// Everything that an application does with an element that has failed.
fn use_it(element: &gst::Element) {
    for property in element.list_properties() {
        if property.flags().contains(glib::ParamFlags::READABLE) {
            element.property_value(property.name());
        }
    }
    let text = [
        ("strength", "-6"),
        ("enabled", "false"),
        ("payload", "00c0ffee"),
        ("interval", "200000000"),
    ];
    for (property, value) in text {
        if element.has_property(property) {
            element.set_property_from_str(property, value);
        }
    }
    for pad in element.pads() {
        pad.query(&mut gst::query::Latency::new());
        pad.query_caps(None);
    }
}

/// Ways for the streaming thread to come upon the spoilt stream.
type Way = fn(&mut gst_check::Harness);

fn assert_survives(name: &str, what: &str, way: Way) {
    let (element, mut harness) = running(name);
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    spoil(&element);
    way(&mut harness);
    let messages = bus.iter().filter_map(|message| match message.view() {
        gst::MessageView::Error(error) => Some(error.error().to_string()),
        _ => None,
    });
    let errors: Vec<_> = messages.collect();
    assert!(
        errors.iter().any(|error| error.contains("anicked")),
        "{name}, {what}: {errors:?}"
    );
    assert!(is_poisoned(&element), "{name}, {what}");
    use_it(&element);
    element.set_bus(None);
    // The harness insists that the element goes to NULL.
    drop(harness);
    assert_eq!(element.current_state(), gst::State::Null);
    drop(element);
    // Others of its kind are none the worse.
    let (_other, mut harness) = running(name);
    harness.push(audio()).unwrap();
    assert!(harness.push_event(gst::event::Eos::new()));
}

#[test]
fn a_panic_is_an_error_and_the_application_lives() {
    let push: Way = |harness| assert_eq!(harness.push(audio()), Err(gst::FlowError::Error));
    for name in ["wmembed", "wmdetect"] {
        assert_survives(name, "a buffer", push);
    }
    let ways: [(&str, Way); 4] = [
        ("the end", |harness| {
            harness.push_event(gst::event::Eos::new());
        }),
        ("a stream", |harness| {
            harness.push_event(gst::event::StreamStart::new("another"));
        }),
        ("a gap", |harness| {
            harness.push_event(gst::event::Gap::builder(gst::ClockTime::ZERO).build());
        }),
        ("caps", |harness| {
            harness.push_event(gst::event::Caps::new(&CAPS[1].parse().unwrap()));
        }),
    ];
    // What is held leaves then.
    for (what, way) in ways {
        assert_survives("wmembed", what, way);
    }
}
