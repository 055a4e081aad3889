// SPDX-License-Identifier: MIT OR Apache-2.0
//! Both elements, with any buffers, events, queries, properties and states in any order: no panic, no critical warning,
//! and what comes out is what the documentation says.

#![no_main]

use arbitrary::Arbitrary;
use gst::glib::LogLevel;
use gst_plugin_wm_fuzz::Steps;
use gst_plugin_wm_fuzz::model::{Element, Step};
use libfuzzer_sys::fuzz_target;
use std::sync::Once;

#[derive(Arbitrary, Debug)]
struct Case {
    element: Element,
    steps: Steps<Step>,
}

fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        let ready = gst::init().is_ok() && gstwm::plugin_register_static().is_ok();
        assert!(ready, "GStreamer does not start");
        // A critical warning is a call that must not be made. The fuzzer ends at any panic. Except: any audio filter
        // cuts buffers to the segment by their duration, and GStreamer complains where that is longer than the samples.
        gst::glib::log_set_default_handler(|domain, level, message| {
            let domain = domain.unwrap_or_default();
            let bad = matches!(level, LogLevel::Critical | LogLevel::Error)
                && !message.starts_with("gst_audio_buffer_truncate");
            assert!(!bad, "{domain}: {message}");
        });
    });
}

fuzz_target!(|case: Case| {
    init();
    let mut model = case.element.model();
    for step in &case.steps.0 {
        model.step(step);
    }
    model.end();
});
