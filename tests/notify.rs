// SPDX-License-Identifier: MIT OR Apache-2.0
//! A property of `wmembed` that changes is notified, and one that does not change is not.

mod common;

use common::harness::*;
use gst::prelude::*;
use gst_audio::AudioFormat;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

type Values = Arc<Mutex<Vec<(String, String)>>>;

/// What is notified, with the values at that moment.
fn notified(element: &gst::Element) -> Values {
    let all = Values::default();
    let into = all.clone();
    element.connect_notify(None, move |element, pspec| {
        let value = format!("{:?}", element.property_value(pspec.name()));
        let mut all = into.lock().unwrap();
        all.push((pspec.name().to_string(), value));
    });
    all
}

fn of(values: &Values, property: &str) -> Vec<String> {
    let values = values.lock().unwrap();
    let of = values.iter().filter(|(name, _)| name == property);
    of.map(|(_, value)| value.clone()).collect()
}

#[test]
fn what_is_measured_is_notified_and_so_is_the_end_of_it() {
    let wmembed = element("wmembed");
    wmembed.set_property("report-interval", 2_000_000_000u64);
    let info = info(AudioFormat::S16le, 16_000, 1);
    let values = notified(&wmembed);
    let mut harness = harness(&wmembed, &info);
    let bytes = noise(&info, 16_000 * 5, 1);
    push(&mut harness, &info, &bytes, Some(gst::ClockTime::ZERO));
    let told = of(&values, "detectability");
    assert_eq!(told.len(), 2, "{told:?}");
    let last = format!("{:?}", wmembed.property_value("detectability"));
    assert_eq!(told.last(), Some(&last));
    wmembed.set_property("enabled", false);
    push(&mut harness, &info, &bytes[..640], None);
    let nothing = format!("{:?}", 0f64.to_value());
    assert_eq!(of(&values, "detectability").last(), Some(&nothing));
    wmembed.set_property("enabled", true);
    push(&mut harness, &info, &bytes, None);
    assert_ne!(of(&values, "detectability").last(), Some(&nothing));
    values.lock().unwrap().clear();
    drop(harness);
    assert_eq!(wmembed.current_state(), gst::State::Null);
    assert_eq!(of(&values, "detectability"), [nothing]);
    assert_eq!(of(&values, "latency"), [format!("{:?}", 0u64.to_value())]);
}

#[test]
fn only_what_changes_is_notified() {
    let wmembed = element("wmembed");
    let values = notified(&wmembed);
    let settable = [
        ("key-file", "/somewhere", "/elsewhere"),
        ("carrier", "noise", "programme"),
        ("row-clock", "utc", "stream"),
        ("lookahead", "false", "true"),
        ("utc-offset", "5", "6"),
        ("payload", "00c0ffee", ""),
    ];
    for (property, one, other) in settable {
        for value in [one, one, other, other] {
            wmembed.set_property_from_str(property, value);
        }
        assert_eq!(of(&values, property).len(), 2, "{property}");
    }
    wmembed.set_property("key-file", None::<&str>);
    values.lock().unwrap().clear();
    let info = info(AudioFormat::S16le, 16_000, 1);
    let _harness = harness(&wmembed, &info);
    for (property, one, _) in &settable[..5] {
        wmembed.set_property_from_str(property, one);
        assert!(of(&values, property).is_empty(), "{property} is refused");
    }
    wmembed.set_property("payload", "this is none");
    assert!(of(&values, "payload").is_empty());
    wmembed.set_property("payload", "00c0ffee");
    assert_eq!(of(&values, "payload").len(), 1);
}

/// The warning of a key file that others can read comes while the element starts.
#[test]
fn a_payload_that_is_none_does_not_slip_in_while_the_element_starts() {
    common::init();
    let directory = common::Directory::new("notify");
    let path = directory.write("key", common::KEY);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let wmembed = gst::ElementFactory::make("wmembed")
        .property("key-file", path.to_str())
        .build()
        .unwrap();
    let bus = gst::Bus::new();
    let warned = Arc::new(Mutex::new(0));
    let (count, weak) = (warned.clone(), wmembed.downgrade());
    bus.set_sync_handler(move |_, message| {
        if message.type_() == gst::MessageType::Warning {
            let mut count = count.lock().unwrap();
            *count += 1;
            if *count == 1 {
                drop(count);
                let wmembed = weak.upgrade().unwrap();
                wmembed.set_property("payload", "this is none");
            }
        }
        gst::BusSyncReply::Drop
    });
    wmembed.set_bus(Some(&bus));
    wmembed.set_state(gst::State::Paused).unwrap();
    assert_eq!(
        *warned.lock().unwrap(),
        2,
        "of the file, and of the payload"
    );
    assert_eq!(wmembed.property::<String>("payload"), "");
    wmembed.set_state(gst::State::Null).unwrap();
    // Stopped, it takes anything, and says so when it starts.
    wmembed.set_property("payload", "this is none");
    assert!(wmembed.set_state(gst::State::Paused).is_err());
    wmembed.set_property("payload", "neither is this");
    assert_eq!(wmembed.property::<String>("payload"), "neither is this");
    wmembed.set_bus(None);
    bus.unset_sync_handler();
    wmembed.set_state(gst::State::Null).unwrap();
}
