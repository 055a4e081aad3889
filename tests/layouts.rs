// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every raw format, layout, number of channels and rate comes out as it went in, apart from the mark.

mod common;

use common::harness::*;
use gst::prelude::*;
use gst_audio::AudioFormat;

#[test]
fn switched_off_every_format_stays_bit_exact() {
    for format in formats() {
        for (rate, channels) in [(48_000, 2), (44_100, 1), (8_000, 6)] {
            let info = info(format, rate, channels);
            let wmembed = element("wmembed");
            wmembed.set_property("enabled", false);
            let mut harness = harness(&wmembed, &info);
            let bytes = noise(&info, rate as usize, 1);
            push(&mut harness, &info, &bytes, Some(gst::ClockTime::ZERO));
            harness.push_event(gst::event::Eos::new());
            assert!(
                bytes_of(&pull_all(&mut harness)) == bytes,
                "{format:?} {rate} {channels}"
            );
        }
    }
}

#[test]
fn switched_off_odd_floats_keep_their_bits() {
    let odd = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        -0.0,
        1e-42,
        f32::from_bits(0x7f80_0001),
    ];
    let info = info(AudioFormat::F32le, 8_000, 1);
    let wmembed = element("wmembed");
    wmembed.set_property("enabled", false);
    let mut harness = harness(&wmembed, &info);
    let bytes: Vec<u8> = odd
        .into_iter()
        .cycle()
        .take(9_000)
        .flat_map(f32::to_le_bytes)
        .collect();
    push(&mut harness, &info, &bytes, None);
    harness.push_event(gst::event::Eos::new());
    assert!(bytes_of(&pull_all(&mut harness)) == bytes);
}

#[test]
fn output_does_not_depend_on_the_size_of_buffers() {
    let info = info(AudioFormat::S16le, 16_000, 2);
    let bytes = noise(&info, 32_000, 3);
    let outputs = [1usize, 160, 1_000, 32_000].map(|size| {
        let mut harness = harness(&element("wmembed"), &info);
        let mut frames = 0;
        for piece in bytes.chunks(size * info.bpf() as usize) {
            harness
                .push(buffer(piece, Some(time(frames, info.rate()))))
                .unwrap();
            frames += size;
        }
        harness.push_event(gst::event::Eos::new());
        bytes_of(&pull_all(&mut harness))
    });
    assert!(outputs.iter().all(|output| *output == outputs[0]));
}
