// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every frame leaves with the time that it came with.

mod common;

use common::harness::*;
use gst::prelude::*;
use gst_audio::AudioFormat;

#[test]
fn frames_and_times_out_are_those_that_came_in() {
    for format in formats() {
        for (rate, channels) in [(48_000, 2), (44_100, 1)] {
            for start in [
                None,
                Some(gst::ClockTime::ZERO),
                Some(gst::ClockTime::from_nseconds(7)),
            ] {
                let info = info(format, rate, channels);
                let mut harness = harness(&element("wmembed"), &info);
                let bytes = noise(&info, rate as usize, 2);
                push(&mut harness, &info, &bytes, start);
                harness.push_event(gst::event::Eos::new());
                let buffers = pull_all(&mut harness);
                assert_eq!(bytes_of(&buffers).len(), bytes.len());
                assert_continuous(&buffers, &info, start);
                let discont = |b: &gst::Buffer| b.flags().contains(gst::BufferFlags::DISCONT);
                assert!(discont(&buffers[0]) && !buffers[1..].iter().any(discont));
            }
        }
    }
}

#[test]
fn a_break_in_time_loses_nothing() {
    let info = info(AudioFormat::S16le, 16_000, 1);
    let bytes = noise(&info, 8_000, 7);
    let mut harness = harness(&element("wmembed"), &info);
    let starts = [0, 500, 2_000, 1_000].map(gst::ClockTime::from_mseconds);
    for start in starts {
        push(&mut harness, &info, &bytes, Some(start));
    }
    harness.push_event(gst::event::Eos::new());
    let buffers = pull_all(&mut harness);
    assert_eq!(bytes_of(&buffers).len(), starts.len() * bytes.len());
    let runs: Vec<_> = buffers
        .chunk_by(|a, b| a.pts().unwrap() + a.duration().unwrap() == b.pts().unwrap())
        .collect();
    assert_eq!(
        runs.iter()
            .map(|run| run[0].pts().unwrap())
            .collect::<Vec<_>>(),
        [starts[0], starts[2], starts[3]]
    );
    assert_eq!(bytes_of(runs[0]).len(), 2 * bytes.len());
}
