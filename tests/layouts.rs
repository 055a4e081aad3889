// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every raw format, layout, number of channels and rate comes out as it went in, apart from the mark.

mod common;

use common::Random;
use common::harness::*;
use gst::prelude::*;
use gst_audio::{AudioFormat, AudioInfo};

/// How many samples of each channel differ.
fn changed(info: &AudioInfo, before: &[u8], after: &[u8]) -> Vec<usize> {
    assert_eq!(before.len(), after.len());
    let channels = info.channels() as usize;
    let width = info.bpf() as usize / channels;
    let samples = before.chunks_exact(width).zip(after.chunks_exact(width));
    let mut changed = vec![0; channels];
    for (n, (before, after)) in samples.enumerate() {
        changed[n % channels] += usize::from(before != after);
    }
    changed
}

#[test]
fn switched_off_every_format_stays_bit_exact() {
    for format in formats() {
        for (rate, channels) in [(48_000, 2), (44_100, 1), (8_000, 6)] {
            let info = info(format, rate, channels);
            let bytes = noise(&info, rate as usize, 1);
            for info in [planar(&info), info] {
                let wmembed = element("wmembed");
                wmembed.set_property("enabled", false);
                assert!(through(&wmembed, &info, &bytes) == bytes, "{info:?}");
            }
        }
    }
}

#[test]
fn every_format_is_marked_the_same_in_both_layouts() {
    for format in formats() {
        let info = info(format, 16_000, 2);
        let bytes = noise(&info, 12_000, 14);
        let [apart, together] =
            [&planar(&info), &info].map(|info| through(&element("wmembed"), info, &bytes));
        assert!(apart == together, "{format:?}");
        // Eight bits have little room for a mark in noise a quarter of full scale.
        let least = changed(&info, &bytes, &together).into_iter().min();
        assert!(least > Some(2_000), "{format:?}: {least:?}");
    }
}

#[test]
fn any_number_of_channels_is_marked_in_both_layouts() {
    for channels in 1..=64 {
        let info = info(AudioFormat::S16le, 8_000, channels);
        let bytes = noise(&info, 4_800, 15);
        let [apart, together] =
            [&planar(&info), &info].map(|info| through(&element("wmembed"), info, &bytes));
        assert!(apart == together, "{channels} channels");
        let changed = changed(&info, &bytes, &together);
        assert!(changed.iter().all(|n| *n > 2_000), "{changed:?}");
        let wmdetect = element("wmdetect");
        for info in [planar(&info), info] {
            assert!(through(&wmdetect, &info, &bytes) == bytes);
        }
    }
}

/// Streams whose channels have these positions.
fn with_mask(mask: u64) -> [AudioInfo; 2] {
    common::init();
    ["interleaved", "non-interleaved"].map(|layout| {
        let channels = mask.count_ones();
        let caps = format!(
            "audio/x-raw,format=S16LE,rate=8000,channels={channels},layout={layout},channel-mask=(bitmask){mask:#x}"
        );
        AudioInfo::from_caps(&caps.parse::<gst::Caps>().unwrap()).unwrap()
    })
}

/// Bits of the mask that stand for low-frequency effects.
const LFE: [u32; 2] = [3, 9];

#[test]
fn any_channel_mask_is_taken_and_low_frequency_effects_are_not_marked() {
    let mut random = Random::new(11);
    // 5.1, 22.2, LFE alone with one other, and whatever comes up among the 28 positions that have a bit.
    let mut masks = vec![0x3f, 0xfff_ffff, 0x9, 0x201];
    let bit = |random: &mut Random| u64::from(random.uniform() < 0.4);
    masks.extend((0..12).map(|_| (0..28).fold(0x208, |mask, n| mask | bit(&mut random) << n)));
    for mask in masks {
        for info in with_mask(mask) {
            let bytes = noise(&info, 4_800, 16);
            let marked = through(&element("wmembed"), &info, &bytes);
            let positions = (0..28).filter(|bit| mask >> bit & 1 == 1);
            for (bit, changed) in positions.zip(changed(&info, &bytes, &marked)) {
                let expected = if LFE.contains(&bit) {
                    0..1
                } else {
                    2_000..4_801
                };
                assert!(
                    expected.contains(&changed),
                    "{mask:#x}, bit {bit}: {changed}"
                );
            }
        }
    }
}

#[test]
fn whatever_is_raw_audio_is_taken_and_nothing_else_is() {
    for name in ["wmembed", "wmdetect"] {
        let element = element(name);
        element.set_state(gst::State::Paused).unwrap();
        for pad in ["sink", "src"] {
            let pad = element.static_pad(pad).unwrap();
            let takes = |caps: &str| pad.query_accept_caps(&caps.parse().unwrap());
            for format in formats() {
                for layout in ["interleaved", "non-interleaved"] {
                    for rest in [
                        "rate=8000,channels=1",
                        "rate=37800,channels=2",
                        "rate=192000,channels=64,channel-mask=(bitmask)0",
                    ] {
                        let caps = format!("audio/x-raw,format={format},layout={layout},{rest}");
                        assert!(takes(&caps), "{name}: {caps}");
                    }
                }
            }
            let raw = "audio/x-raw,format=S16LE,layout=interleaved";
            for refused in [
                &format!("{raw},rate=7999,channels=1"),
                &format!("{raw},rate=192001,channels=1"),
                &format!("{raw},rate=48000,channels=65,channel-mask=(bitmask)0"),
                "audio/mpeg,mpegversion=4,rate=48000,channels=2",
                "audio/x-opus,channel-mapping-family=0",
                "video/x-raw,format=RGB,width=8,height=8,framerate=25/1",
                "text/x-raw,format=utf8",
            ] {
                assert!(!takes(refused), "{name}: {refused}");
            }
        }
        element.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn any_rate_is_marked() {
    for rate in [
        8_000, 8_001, 11_025, 12_345, 22_050, 37_800, 44_056, 88_200, 176_400, 191_999, 192_000,
    ] {
        let info = info(AudioFormat::F32le, rate, 1);
        let bytes = noise(&info, rate as usize / 2, 17);
        let marked = through(&element("wmembed"), &info, &bytes);
        let changed = changed(&info, &bytes, &marked)[0];
        assert!(changed > rate as usize / 4, "{rate} Hz: {changed}");
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

/// Music in two channels with something that is no number here and there, and the same with zeros instead.
fn spoilt(odd: &[f32]) -> [Vec<f32>; 2] {
    let music = common::recording("music.flac", 16_000, 2)[..2 * 6 * 16_000].to_vec();
    let (mut odd, mut spoilt, mut zeros) = (odd.iter().cycle(), music.clone(), music);
    let bursts = [(1_000, 1), (20_000, 700), (50_000, 3), (90_001, 5_000)];
    for n in bursts.into_iter().flat_map(|(start, n)| start..start + n) {
        (spoilt[n], zeros[n]) = (*odd.next().unwrap(), 0.0);
    }
    [spoilt, zeros]
}

#[test]
fn what_is_not_finite_passes_and_poisons_nothing() {
    let odd = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::from_bits(0x7f80_0001),
    ];
    let info = info(AudioFormat::F32le, 16_000, 2);
    let inputs = spoilt(&odd)
        .map(|samples| -> Vec<[u8; 4]> { samples.into_iter().map(f32::to_le_bytes).collect() });
    let marked = inputs.each_ref().map(|input| {
        through(&element("wmembed"), &info, input.as_flattened())
            .as_chunks()
            .0
            .to_vec()
    });
    for (n, (input, [spoilt, zeros])) in inputs[0].iter().zip(pairs(&marked)).enumerate() {
        if f32::from_le_bytes(*input).is_finite() {
            assert_eq!(spoilt, zeros, "sample {n}");
        } else {
            assert_eq!(spoilt, input, "sample {n}");
        }
    }
    // The detector takes for silence what it cannot count with.
    let silenced = marked[0]
        .iter()
        .map(|bytes| match f32::from_le_bytes(*bytes) {
            sample if sample.is_finite() => *bytes,
            _ => [0; 4],
        });
    let silenced: Vec<[u8; 4]> = silenced.collect();
    let said = [&marked[0], &silenced].map(|marked| {
        let wmdetect = element("wmdetect");
        let messages = messages(&wmdetect, || {
            through(&wmdetect, &info, marked.as_flattened());
        });
        let said = messages.iter().filter_map(common::detection);
        said.map(|message| message.fields.to_string())
            .collect::<Vec<_>>()
    });
    assert!(said[0].len() > 3 && said[0] == said[1], "{said:?}");
}

fn pairs(both: &[Vec<[u8; 4]>; 2]) -> impl Iterator<Item = [&[u8; 4]; 2]> {
    both[0].iter().zip(&both[1]).map(|(a, b)| [a, b])
}
