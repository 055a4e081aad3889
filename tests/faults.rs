// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is wrong is an error or a warning that says so, and never the end of the application.

mod common;

use common::KEY;
use common::harness::*;
use gst::glib;
use gst::glib::translate::ToGlibPtr;
use gst::prelude::*;
use gst_audio::{AudioFormat, AudioInfo};
use std::sync::Mutex;

/// The error that an element posts when this buffer comes.
fn error_of(name: &str, info: &AudioInfo, buffer: gst::Buffer) -> gst::glib::Error {
    let element = element(name);
    let mut harness = harness(&element, info);
    let messages = messages(&element, || {
        assert_eq!(harness.push(buffer), Err(gst::FlowError::Error), "{name}");
    });
    let errors = messages.iter().filter_map(|message| match message.view() {
        gst::MessageView::Error(error) => Some(error.error()),
        _ => None,
    });
    let errors: Vec<_> = errors.collect();
    assert_eq!(errors.len(), 1, "{name}");
    errors[0].clone()
}

#[test]
fn a_buffer_that_ends_within_a_frame_is_an_error() {
    for (format, channels, size) in [
        (AudioFormat::S16le, 2, 7),
        (AudioFormat::S24be, 1, 4),
        (AudioFormat::F64le, 64, 511),
    ] {
        let info = info(format, 16_000, channels);
        for name in ["wmembed", "wmdetect"] {
            // Without a timestamp the base class does not clip, so the odd bytes arrive.
            let error = error_of(name, &info, buffer(&vec![0; size], None));
            assert!(error.matches(gst::StreamError::Format), "{error}");
        }
    }
}

#[test]
fn channels_that_are_apart_without_saying_where_are_an_error() {
    let info = planar(&info(AudioFormat::S16le, 16_000, 2));
    for name in ["wmembed", "wmdetect"] {
        let error = error_of(name, &info, buffer(&[0; 8], None));
        assert!(error.matches(gst::StreamError::Format), "{error}");
        // A byte less than the meta promises.
        let mut cut = buffer_of(&info, &[0; 64], None);
        let size = cut.size() - 1;
        cut.get_mut().unwrap().set_size(size);
        let error = error_of(name, &info, cut);
        assert!(error.matches(gst::StreamError::Format), "{error}");
    }
}

#[test]
fn a_stream_that_is_not_audio_is_refused() {
    for name in ["wmembed", "wmdetect"] {
        for source in [
            "videotestsrc",
            "audiotestsrc ! vorbisenc",
            "audiotestsrc ! audio/x-raw,rate=7000",
        ] {
            let description = format!("{source} ! {name} key={KEY} ! fakesink");
            common::need(&[
                ("videotestsrc", "gstreamer1.0-plugins-base"),
                ("vorbisenc", "gstreamer1.0-plugins-base"),
            ]);
            let Err(error) = gst::parse::launch(&description) else {
                panic!("{description}")
            };
            assert!(
                error.matches(gst::CoreError::Negotiation) || error.matches(gst::ParseError::Link),
                "{error}"
            );
        }
    }
}

/// What GLib complained about.
static COMPLAINTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Sets a property as C and every binding but that of Rust do, which panics sooner.
fn set(element: &gst::Element, property: &str, value: &glib::Value) {
    let name = std::ffi::CString::new(property).unwrap();
    // SAFETY: object, name and value live until the function returns.
    unsafe {
        glib::gobject_ffi::g_object_set_property(
            element.upcast_ref::<glib::Object>().to_glib_none().0,
            name.as_ptr(),
            value.to_glib_none().0,
        );
    }
}

#[test]
fn a_value_out_of_range_is_refused_with_a_warning_and_the_old_one_kept() {
    // Warnings are what is expected here; `make test` makes them fatal elsewhere.
    glib::log_set_always_fatal(glib::LogLevels::LEVEL_ERROR);
    glib::log_set_default_handler(|_, _, text| COMPLAINTS.lock().unwrap().push(text.to_owned()));
    let (embed, detect) = (element("wmembed"), element("wmdetect"));
    let numbers = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300];
    let mut refused = Vec::new();
    for number in numbers {
        refused.push((&embed, "strength", number.to_value()));
        refused.push((&detect, "false-alarms-per-hour", number.to_value()));
        refused.push((&detect, "max-speed-deviation", number.to_value()));
    }
    refused.push((&embed, "strength", 24.001.to_value()));
    refused.push((&embed, "carrier", "programme".to_value()));
    refused.push((&embed, "row-clock", "".to_value()));
    refused.push((&detect, "interval", 99_999_999u64.to_value()));
    refused.push((&detect, "interval", u64::MAX.to_value()));
    refused.push((&detect, "clock-tolerance", u64::MAX.to_value()));
    refused.push((&detect, "present", true.to_value()));
    refused.push((&embed, "latency", 5u64.to_value()));
    for (element, property, value) in refused {
        let before = format!("{:?}", element.property_value(property));
        COMPLAINTS.lock().unwrap().clear();
        set(element, property, &value);
        let what = format!("{property} {value:?}");
        assert_eq!(
            format!("{:?}", element.property_value(property)),
            before,
            "{what}"
        );
        let complaints = std::mem::take(&mut *COMPLAINTS.lock().unwrap());
        assert!(
            complaints.iter().any(|text| text.contains(property)),
            "{what}: {complaints:?}"
        );
    }
    // What is within range is taken.
    set(&embed, "strength", &(-24.0).to_value());
    assert_eq!(embed.property::<f64>("strength"), -24.0);
    assert!(COMPLAINTS.lock().unwrap().is_empty());
    glib::log_unset_default_handler();
}

#[test]
fn text_that_is_no_value_does_not_make_a_pipeline() {
    common::init();
    for (name, text) in [
        ("wmembed", "strength=loud"),
        ("wmembed", "enabled=perhaps"),
        ("wmembed", "carrier=pigeon"),
        ("wmdetect", "interval=-"),
        ("wmdetect", "row-clock=sundial"),
        ("wmdetect", "no-such-thing=1"),
    ] {
        let made = gst::parse::launch(&format!("{name} key={KEY} {text}"));
        assert!(made.is_err(), "{text}");
    }
}
