// SPDX-License-Identifier: MIT OR Apache-2.0
//! The presets that come with the elements, and those that an application saves.
//!
//! GStreamer reads presets once in a process, from where the environment says. So each test is a process of its own.

mod common;

use common::harness::element;
use common::{Directory, data, detection, pipeline, play_all};
use gst::glib;
use gst::prelude::*;
use std::collections::BTreeSet;

const ELEMENTS: [&str; 2] = ["wmembed", "wmdetect"];
const PRESETS: [&str; 3] = ["broadcast", "low-latency", "telephone"];
const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/presets");

/// Runs one of the tests that are otherwise left out, where there are only the presets that are shipped. What it saves
/// goes to the directory.
fn run(test: &str, directory: &Directory) {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored"])
        .env("GST_PRESET_PATH", SHIPPED)
        .env("XDG_DATA_HOME", directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{test} is no test: {text}");
}

fn shipped(element: &gst::Element) -> glib::KeyFile {
    let file = glib::KeyFile::new();
    let path = format!("{SHIPPED}/{}.prs", element.type_().name());
    file.load_from_file(path, glib::KeyFileFlags::NONE).unwrap();
    file
}

fn preset(element: &gst::Element) -> gst::Preset {
    element.clone().dynamic_cast().unwrap()
}

/// Gives what all presets set alike a value that no preset has.
fn change(element: &gst::Element) {
    element.set_property_from_str("carrier", "noise");
    if element.has_property("strength") {
        element.set_property("strength", -7.0);
        element.set_property("utc-offset", 5_i64);
    } else {
        element.set_property("clock-tolerance", 7_u64);
        element.set_property("max-speed-deviation", 3.0);
    }
}

#[test]
#[ignore = "reads presets where the environment says"]
fn loads_each() {
    for name in ELEMENTS {
        let element = element(name);
        let file = shipped(&element);
        let names: BTreeSet<String> = preset(&element)
            .preset_names()
            .iter()
            .map(|n| n.to_string())
            .collect();
        assert_eq!(names, PRESETS.map(String::from).into(), "{name}");
        for (preset_name, other_clock) in PRESETS.iter().zip(["stream", "stream", "utc"]) {
            change(&element);
            element.set_property_from_str("row-clock", other_clock);
            if name == "wmembed" {
                element.set_property("lookahead", *preset_name == "low-latency");
            }
            preset(&element).load_preset(preset_name).unwrap();
            let mut set = 0;
            for property in file.keys(preset_name).unwrap().iter() {
                let expected = file.value(preset_name, property).unwrap();
                if property.starts_with("_meta/") {
                    continue;
                }
                let type_ = element.find_property(property).unwrap().value_type();
                let expected = glib::Value::deserialize(&expected, type_).unwrap();
                assert_eq!(
                    element.property_value(property).serialize().unwrap(),
                    expected.serialize().unwrap(),
                    "{property} in {preset_name} of {name}"
                );
                set += 1;
            }
            assert!(set >= 3, "{preset_name} of {name}");
        }
    }
}

#[test]
fn a_preset_sets_what_it_says() {
    run("loads_each", &Directory::new("presets-load"));
}

#[test]
fn a_preset_that_is_shipped_says_how_and_not_whose() {
    for name in ELEMENTS {
        let element = element(name);
        let file = shipped(&element);
        for preset_name in PRESETS {
            for property in file.keys(preset_name).unwrap().iter() {
                for secret in ["key", "payload"] {
                    assert!(
                        !property.contains(secret),
                        "{property} in {preset_name} of {name}"
                    );
                }
            }
            assert!(file.has_key(preset_name, "_meta/comment").unwrap());
        }
        assert_eq!(
            file.value("_presets_", "version").unwrap(),
            env!("CARGO_PKG_VERSION")
        );
    }
}

#[test]
#[ignore = "reads presets where the environment says"]
fn marks_and_finds_with_each() {
    common::need(&[("mulawenc", "gstreamer1.0-plugins-good")]);
    for (preset_name, way, latency) in [
        ("broadcast", "identity", 300..320),
        ("low-latency", "identity", 15..25),
        (
            "telephone",
            "audioconvert ! audioresample ! audio/x-raw,rate=8000,channels=1 ! mulawenc ! mulawdec",
            300..320,
        ),
    ] {
        let pipeline = pipeline(&format!(
            "filesrc location=\"{}\" ! flacparse ! flacdec ! audioconvert \
             ! wmembed name=mark key={key} @preset={preset_name} ! {way} ! audioconvert \
             ! wmdetect key={key} @preset={preset_name} ! fakesink sync=false",
            data("music.flac"),
            key = common::KEY,
        ));
        let mark = pipeline.by_name("mark").unwrap();
        let told = std::sync::Arc::new(std::sync::Mutex::new(0));
        let latest = told.clone();
        mark.connect_notify(Some("latency"), move |mark, _| {
            let now: u64 = mark.property("latency");
            let mut latest = latest.lock().unwrap();
            *latest = now.max(*latest);
        });
        let messages = play_all(&pipeline);
        let found = messages
            .iter()
            .filter_map(detection)
            .filter(|m| m.state() == "found")
            .count();
        assert_eq!(found, 1, "{preset_name}");
        let milliseconds = *told.lock().unwrap() / 1_000_000;
        assert!(
            latency.contains(&milliseconds),
            "{preset_name}: {milliseconds} ms"
        );
    }
}

#[test]
fn what_is_marked_with_a_preset_is_found_with_it() {
    run("marks_and_finds_with_each", &Directory::new("presets-find"));
}

#[test]
#[ignore = "saves a preset"]
fn saves_and_loads() {
    for name in ELEMENTS {
        let saved = element(name);
        saved.set_property("key-file", "/keys/station.key");
        saved.set_property_from_str("row-clock", "utc");
        preset(&saved).save_preset("ours").unwrap();
        let other = element(name);
        other.set_property("key-file", "/keys/other.key");
        preset(&other).load_preset("ours").unwrap();
        let row_clock: gstwm::WmRowClock = other.property("row-clock");
        assert_eq!(row_clock, gstwm::WmRowClock::Utc);
        assert_eq!(other.property::<String>("key-file"), "/keys/other.key");
        assert_ne!(other.name(), saved.name());
    }
}

#[test]
fn a_preset_that_is_saved_does_not_tell_where_the_key_is() {
    let directory = Directory::new("presets-save");
    run("saves_and_loads", &directory);
    for type_ in ["GstWmEmbed", "GstWmDetect"] {
        let file = directory
            .path()
            .join(format!("gstreamer-1.0/presets/{type_}.prs"));
        let text = std::fs::read_to_string(file).unwrap();
        assert!(
            text.contains("[ours]") && text.contains("row-clock=utc"),
            "{text}"
        );
        for secret in ["key-file", "station.key", common::KEY, "name=wm"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}
