// SPDX-License-Identifier: MIT OR Apache-2.0
//! `enabled` and `strength` of wmembed follow a controller, as a programme of their own in stream time.

mod common;

use common::{KEY, Message, decoder, play};
use gst::prelude::*;
use gst_controller::prelude::*;
use gst_controller::{DirectControlBinding, InterpolationControlSource, InterpolationMode};
use std::sync::{Arc, Mutex};

const RATE: usize = 16_000;
/// The mark may begin and end half a frame of its shaping away from where it is switched.
const FADE: usize = RATE / 40;

/// What passes a pad.
type Passed = Arc<Mutex<Vec<u8>>>;

fn passed(element: &gst::Element, pad: &str) -> Passed {
    let all = Passed::default();
    let into = all.clone();
    let pad = element.static_pad(pad).unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let map = info.buffer().unwrap().map_readable().unwrap();
        into.lock().unwrap().extend_from_slice(&map);
        gst::PadProbeReturn::Ok
    });
    all
}

/// Lets a property have these values from these milliseconds on.
fn control(element: &gst::Element, property: &str, mode: InterpolationMode, values: &[(u64, f64)]) {
    let source = InterpolationControlSource::new();
    source.set_mode(mode);
    for (milliseconds, value) in values {
        assert!(source.set(gst::ClockTime::from_mseconds(*milliseconds), *value));
    }
    let binding = DirectControlBinding::new_absolute(element, property, &source);
    element.add_control_binding(&binding).unwrap();
}

/// Plays a recording, and returns what was told of it, and what it was before and after wmembed.
fn run(format: &str, prepare: impl Fn(&gst::Element)) -> (Vec<Message>, Vec<u8>, Vec<u8>) {
    let pipeline = common::pipeline(&format!(
        "{} ! audio/x-raw,format={format},rate={RATE},channels=1 ! wmembed name=embed key={KEY} \
         ! wmdetect key={KEY} ! fakesink sync=false",
        decoder("music.flac")
    ));
    let embed = pipeline.by_name("embed").unwrap();
    prepare(&embed);
    let (before, after) = (passed(&embed, "sink"), passed(&embed, "src"));
    let messages = play(&pipeline);
    let bytes = |passed: Passed| std::mem::take(&mut *passed.lock().unwrap());
    (messages, bytes(before), bytes(after))
}

#[test]
fn a_stretch_that_a_controller_switches_is_placed() {
    let switch = [(0, 0.0), (2_000, 1.0), (4_000, 0.0)];
    let (messages, before, after) = run("S16LE", |embed| {
        control(embed, "enabled", InterpolationMode::None, &switch);
    });
    let states: Vec<_> = messages.iter().map(Message::state).collect();
    assert_eq!(
        (states.first(), states.last()),
        (Some(&"found"), Some(&"lost"))
    );
    let near = |time: gst::ClockTime, milliseconds| {
        let distance = time.absdiff(gst::ClockTime::from_mseconds(milliseconds));
        assert!(
            distance < gst::ClockTime::from_mseconds(300),
            "{messages:?}"
        );
    };
    near(messages[0].time("timestamp"), 2_000);
    near(messages[messages.len() - 1].end(), 4_000);
    // Values are taken at the beginning of a buffer, and those of the decoder last for less than 0.1 s.
    let bytes = |frames: usize| 2 * frames;
    let (on, off) = (bytes(2 * RATE - FADE), bytes(4 * RATE + RATE / 10 + FADE));
    assert_eq!(before.len(), after.len());
    assert!(before[..on] == after[..on]);
    assert!(before[off..] == after[off..]);
    assert!(before[on..off] != after[on..off]);
}

fn samples(bytes: &[u8]) -> Vec<f32> {
    let samples = bytes.as_chunks().0.iter();
    samples.map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// Energy of the mark, half a second at a time.
fn energies((_, before, after): (Vec<Message>, Vec<u8>, Vec<u8>)) -> Vec<f64> {
    let (before, after) = (samples(&before), samples(&after));
    let mark: Vec<_> = before.iter().zip(&after).map(|(x, y)| y - x).collect();
    let energy = |part: &[f32]| part.iter().map(|m| f64::from(m * m)).sum();
    mark.chunks_exact(RATE / 2).map(energy).collect()
}

#[test]
fn the_strength_follows_a_controller() {
    let fixed = energies(run("F32LE", |_| ()));
    let ramp = [(0, -18.0), (6_000, 0.0)];
    let ramped = energies(run("F32LE", |embed| {
        control(embed, "strength", InterpolationMode::Linear, &ramp);
    }));
    assert!(fixed.len() >= 14);
    for (half, (ramped, fixed)) in ramped.iter().zip(&fixed).enumerate() {
        let decibels = 10.0 * (ramped / fixed).log10();
        // In the middle of that half second; behind the last value it stays.
        let expected = (-18.0 + 3.0 * (0.5 * half as f64 + 0.25)).min(0.0);
        assert!(
            (decibels - expected).abs() < 1.0,
            "{decibels} dB for {expected} at {}",
            0.5 * half as f64
        );
    }
}
