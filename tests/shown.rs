// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `wmdetect` shows in its properties is notified when it changes, and what is refused is not.

mod common;

use common::harness::*;
use common::{Random, detection, embedder_config, mark_saying, recording};
use gst::prelude::*;
use gst_audio::{AudioFormat, AudioInfo};
use gstwm::watermark::Payload;
use std::sync::{Arc, Mutex};

const RATE: u32 = 16_000;
const PAYLOAD: [u8; 4] = [0, 0xc0, 0xff, 0xee];

fn mono() -> AudioInfo {
    info(AudioFormat::F32le, RATE, 1)
}

fn bytes(samples: &[f32]) -> Vec<u8> {
    samples.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Music that says something.
fn marked() -> Vec<f32> {
    let said = [(0, Some(Payload(PAYLOAD)))];
    mark_saying(
        &recording("music.flac", RATE, 1),
        &embedder_config(RATE, 1),
        0,
        &said,
    )
}

/// What is told, in order: properties with their values, and messages with what `present` shows then.
type Told = Arc<Mutex<Vec<String>>>;

fn told(element: &gst::Element) -> Told {
    let all = Told::default();
    for property in ["present", "last-payload"] {
        let into = all.clone();
        element.connect_notify(Some(property), move |element, pspec| {
            let value = element.property_value(pspec.name());
            let value = value.transform::<String>().unwrap();
            let value: Option<&str> = value.get().unwrap();
            let text = format!("{} {}", pspec.name(), value.unwrap_or("none"));
            into.lock().unwrap().push(text);
        });
    }
    let (into, weak) = (all.clone(), element.downgrade());
    let bus = gst::Bus::new();
    bus.set_sync_handler(move |_, message| {
        if let Some(said) = detection(message).filter(|said| said.state() != "present") {
            let present: bool = weak.upgrade().unwrap().property("present");
            let text = format!("{}: {present}", said.state());
            into.lock().unwrap().push(text);
        }
        gst::BusSyncReply::Drop
    });
    element.set_bus(Some(&bus));
    all
}

fn taken(told: &Told) -> Vec<String> {
    std::mem::take(&mut *told.lock().unwrap())
}

#[test]
fn a_mark_that_comes_and_goes_within_a_buffer_is_shown() {
    let mut random = Random::new(3);
    let noise: Vec<f32> = (0..10 * RATE).map(|_| 0.1 * random.noise()).collect();
    let audio = bytes(&[marked(), noise].concat());
    for frames in [RATE as usize / 50, audio.len() / 4] {
        let wmdetect = element("wmdetect");
        let told = told(&wmdetect);
        let mut harness = harness(&wmdetect, &mono());
        for (n, piece) in audio.chunks(4 * frames).enumerate() {
            let pts = time(n * frames, RATE);
            harness.push(buffer(piece, Some(pts))).unwrap();
        }
        let mut told = taken(&told);
        // It may be found before it has been read.
        let payload = "last-payload 00c0ffee";
        let read = told.iter().position(|text| text == payload);
        told.remove(read.expect("a payload"));
        let all = [
            "present TRUE",
            "found: true",
            "present FALSE",
            "lost: false",
        ];
        assert_eq!(told, all, "buffers of {frames} frames");
        assert_eq!(wmdetect.property::<String>("last-payload"), "00c0ffee");
        wmdetect.set_bus(None);
    }
}

/// Takes marked audio to its end.
fn played(wmdetect: &gst::Element) -> gst_check::Harness {
    let mut harness = harness(wmdetect, &mono());
    let start = Some(gst::ClockTime::ZERO);
    push(&mut harness, &mono(), &bytes(&marked()), start);
    harness.push_event(gst::event::Eos::new());
    harness
}

#[test]
fn the_end_of_what_is_shown_is_notified() {
    let wmdetect = element("wmdetect");
    let told = told(&wmdetect);
    let harness = played(&wmdetect);
    taken(&told);
    drop(harness);
    assert_eq!(wmdetect.current_state(), gst::State::Null);
    assert_eq!(taken(&told), ["last-payload none", "present FALSE"]);
    wmdetect.set_bus(None);
}

#[test]
fn a_mark_is_not_lost_where_the_audio_ends() {
    let wmdetect = element("wmdetect");
    let told = told(&wmdetect);
    let mut harness = played(&wmdetect);
    assert!(!taken(&told).contains(&"present FALSE".to_string()));
    assert!(wmdetect.property::<bool>("present"));
    // What follows is another run.
    harness.push_event(gst::event::FlushStart::new());
    harness.push_event(gst::event::FlushStop::new(true));
    assert_eq!(taken(&told), ["present FALSE", "lost: false"]);
    wmdetect.set_bus(None);
    drop(harness);
}

#[test]
fn the_latest_message_tells_up_to_where_the_mark_was_there() {
    let wmdetect = element("wmdetect");
    let messages = messages(&wmdetect, || drop(played(&wmdetect)));
    let said: Vec<_> = messages.iter().filter_map(detection).collect();
    assert!(said.iter().all(|message| message.state() != "lost"));
    let end = time(marked().len(), RATE);
    let told = said.last().unwrap().end();
    // An interval, and what the analysis is behind.
    let within = gst::ClockTime::from_mseconds(1_300);
    assert!(told <= end && end - told < within, "{told} of {end}");
}

#[test]
fn settings_that_do_not_change_are_not_notified() {
    let wmdetect = element("wmdetect");
    let notified = Arc::new(Mutex::new(Vec::new()));
    let into = notified.clone();
    wmdetect.connect_notify(None, move |_, pspec| {
        into.lock().unwrap().push(pspec.name().to_string());
    });
    let set = |property, value| {
        wmdetect.set_property_from_str(property, value);
        notified.lock().unwrap().drain(..).collect::<Vec<_>>()
    };
    let settable = [
        ("key-file", "/somewhere", "/elsewhere"),
        ("carrier", "noise", "programme"),
        ("row-clock", "utc", "stream"),
        ("clock-tolerance", "5", "120000000000"),
        ("utc-start", "7", "18446744073709551615"),
        ("false-alarms-per-hour", "0.1", "0.0001"),
        ("max-speed-deviation", "0.5", "0.1"),
    ];
    for (property, one, other) in settable {
        for value in [one, other] {
            assert_eq!(set(property, value), [property]);
            assert!(set(property, value).is_empty(), "{property} is what it was");
        }
    }
    wmdetect.set_property("key-file", None::<&str>);
    notified.lock().unwrap().clear();
    let _harness = harness(&wmdetect, &mono());
    for (property, one, _) in settable {
        assert!(set(property, one).is_empty(), "{property} is refused");
    }
    assert_eq!(set("interval", "500000000"), ["interval"]);
}
