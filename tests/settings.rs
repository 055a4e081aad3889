// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keys and other settings of the start.

mod common;

use common::harness::*;
use gst::prelude::*;

/// What the element says when it cannot go to PAUSED.
fn start_error(element: &gst::Element) -> String {
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    assert!(element.set_state(gst::State::Paused).is_err());
    let message = bus
        .pop_filtered(&[gst::MessageType::Error])
        .expect("an error on the bus");
    let gst::MessageView::Error(error) = message.view() else {
        unreachable!()
    };
    let text = format!("{} {:?}", error.error(), error.debug());
    element.set_state(gst::State::Null).unwrap();
    text
}

#[test]
fn without_a_usable_key_the_error_says_what_to_do() {
    common::init();
    const SECRET: &str = "correct horse battery staple";
    let directory = std::env::temp_dir().join(format!("gst-wm-elements-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let empty = directory.join("empty.key");
    std::fs::write(&empty, "\n").unwrap();
    let good = directory.join("good.key");
    std::fs::write(&good, format!("{SECRET}\n")).unwrap();
    for name in ["wmembed", "wmdetect"] {
        let make = || gst::ElementFactory::make(name).build().unwrap();

        let text = start_error(&make());
        assert!(text.contains(&format!("{name} needs a key")), "{text}");
        assert!(
            text.contains("property key ") && text.contains("key-file"),
            "{text}"
        );

        let element = make();
        element.set_property("key", "");
        assert!(start_error(&element).contains("needs a key"));

        let element = make();
        element.set_property("key-file", directory.join("none.key").to_str().unwrap());
        let text = start_error(&element);
        assert!(
            text.contains("none.key") && text.contains("cannot be read"),
            "{text}"
        );

        let element = make();
        element.set_property("key-file", empty.to_str().unwrap());
        let text = start_error(&element);
        assert!(
            text.contains("empty.key") && text.contains("is empty"),
            "{text}"
        );

        let element = make();
        element.set_property("key-file", good.to_str().unwrap());
        element.set_property("key", SECRET);
        let text = start_error(&element);
        assert!(
            text.contains("only one") && !text.contains(SECRET),
            "{text}"
        );

        // With one of the two taken back, the same element starts.
        element.set_property("key", None::<String>);
        element.set_state(gst::State::Paused).unwrap();
        element.set_state(gst::State::Null).unwrap();
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_key_can_only_be_written() {
    for name in ["wmembed", "wmdetect"] {
        let element = element(name);
        let flags = element.find_property("key").unwrap().flags();
        assert!(flags.contains(gst::glib::ParamFlags::WRITABLE));
        assert!(!flags.contains(gst::glib::ParamFlags::READABLE));
    }
    let preset = element("wmembed").dynamic_cast::<gst::Preset>().unwrap();
    let saved = preset.property_names();
    assert!(saved.iter().any(|name| name == "strength"));
    assert!(!saved.iter().any(|name| name == "key"));
}

#[test]
fn settings_of_the_start_stay_while_running() {
    for name in ["wmembed", "wmdetect"] {
        let element = element(name);
        element.set_state(gst::State::Paused).unwrap();
        element.set_property_from_str("carrier", "noise");
        element.set_property_from_str("row-clock", "utc");
        assert_eq!(
            element.property::<gstwm::WmCarrier>("carrier"),
            gstwm::WmCarrier::Programme
        );
        assert_eq!(
            element.property::<gstwm::WmRowClock>("row-clock"),
            gstwm::WmRowClock::Stream
        );
        element.set_state(gst::State::Ready).unwrap();
        element.set_property_from_str("carrier", "noise");
        assert_eq!(
            element.property::<gstwm::WmCarrier>("carrier"),
            gstwm::WmCarrier::Noise
        );
        element.set_state(gst::State::Null).unwrap();
    }
    let wmembed = element("wmembed");
    wmembed.set_state(gst::State::Paused).unwrap();
    wmembed.set_property("strength", -3.0);
    assert_eq!(wmembed.property::<f64>("strength"), -3.0);
    wmembed.set_state(gst::State::Null).unwrap();
}
