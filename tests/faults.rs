// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is wrong is an error or a warning that says so, and never the end of the application.

mod common;

use common::harness::*;
use gst::prelude::*;
use gst_audio::AudioFormat;

#[test]
fn a_buffer_that_ends_within_a_frame_is_an_error() {
    let info = info(AudioFormat::S16le, 16_000, 2);
    for name in ["wmembed", "wmdetect"] {
        let element = element(name);
        let mut harness = harness(&element, &info);
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        // Without a timestamp the base class does not clip, so the odd bytes arrive.
        assert_eq!(
            harness.push(buffer(&[0; 7], None)),
            Err(gst::FlowError::Error)
        );
        let message = bus.pop_filtered(&[gst::MessageType::Error]).unwrap();
        let gst::MessageView::Error(error) = message.view() else {
            unreachable!()
        };
        assert!(error.error().matches(gst::StreamError::Format));
        element.set_bus(None);
    }
}
