// SPDX-License-Identifier: MIT OR Apache-2.0
//! One element in a harness: what goes in, and what comes out.

use super::{KEY, init};
use gst::prelude::*;
use gst_audio::{AudioFormat, AudioInfo, AudioLayout, AudioMeta};

/// Sizes of buffers, in frames, that no framing inside an element fits.
pub const SIZES: [usize; 9] = [1, 441, 7, 1024, 4801, 2, 9_999, 333, 1_025];

/// All raw formats that this GStreamer knows, of which the elements promise to take every one.
pub fn formats() -> Vec<AudioFormat> {
    init();
    let formats: Vec<_> = AudioFormat::iter_raw().collect();
    assert!(formats.len() >= 30, "{formats:?}");
    formats
}

pub fn element(name: &str) -> gst::Element {
    init();
    gst::ElementFactory::make(name)
        .property("key", KEY)
        .build()
        .unwrap()
}

pub fn info(format: AudioFormat, rate: u32, channels: u32) -> AudioInfo {
    init();
    AudioInfo::builder(format, rate, channels).build().unwrap()
}

/// The same stream with its channels apart.
pub fn planar(info: &AudioInfo) -> AudioInfo {
    let builder = AudioInfo::builder(info.format(), info.rate(), info.channels());
    let builder = builder.layout(AudioLayout::NonInterleaved);
    match info.positions() {
        Some(positions) => builder.positions(positions).build(),
        None => builder.build(),
    }
    .unwrap()
}

pub fn harness(element: &gst::Element, info: &AudioInfo) -> gst_check::Harness {
    let mut harness = gst_check::Harness::with_element(element, Some("sink"), Some("src"));
    harness.set_src_caps(info.to_caps().unwrap());
    harness
}

/// Audio that is the same every time: noise under a slow swell, a quarter of full scale at most.
pub fn noise(info: &AudioInfo, frames: usize, seed: u32) -> Vec<u8> {
    let mut x = seed | 1;
    let mut sample = |_| {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        (x as i32) >> 2
    };
    let format = info.format_info();
    let n = frames * info.channels() as usize;
    let unpacked: Vec<u8> = if info.is_float() {
        let float = |v: i32| (f64::from(v) / 2f64.powi(31)).to_ne_bytes();
        (0..n).map(&mut sample).flat_map(float).collect()
    } else {
        (0..n).map(&mut sample).flat_map(i32::to_ne_bytes).collect()
    };
    let mut bytes = vec![0; frames * info.bpf() as usize];
    format.pack(gst_audio::AudioPackFlags::empty(), &mut bytes, &unpacked);
    bytes
}

pub fn buffer(bytes: &[u8], pts: Option<gst::ClockTime>) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_slice(bytes.to_vec());
    buffer.get_mut().unwrap().set_pts(pts);
    buffer
}

/// A buffer of these frames as the stream has them. Planes are put apart, and in no order.
pub fn buffer_of(info: &AudioInfo, frames: &[u8], pts: Option<gst::ClockTime>) -> gst::Buffer {
    if info.layout() == AudioLayout::Interleaved {
        return buffer(frames, pts);
    }
    let (bpf, channels) = (info.bpf() as usize, info.channels() as usize);
    let (width, n) = (bpf / channels, frames.len() / bpf);
    let place = |channel: usize| (channels - 1 - channel) * (n * width + 3) + 5;
    let mut bytes = vec![0xa5; place(0) + n * width];
    for (frame, all) in frames.chunks_exact(bpf).enumerate() {
        for (channel, sample) in all.chunks_exact(width).enumerate() {
            bytes[place(channel) + frame * width..][..width].copy_from_slice(sample);
        }
    }
    let mut buffer = buffer(&bytes, pts);
    let offsets: Vec<usize> = (0..channels).map(place).collect();
    AudioMeta::add(buffer.get_mut().unwrap(), info, n, &offsets).unwrap();
    buffer
}

pub fn time(frames: usize, rate: u32) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(frames as u64 * 1_000_000_000 / u64::from(rate))
}

/// Pushes the audio in buffers of changing size, with timestamps from `start` on.
pub fn push(
    harness: &mut gst_check::Harness,
    info: &AudioInfo,
    bytes: &[u8],
    start: Option<gst::ClockTime>,
) {
    let bpf = info.bpf() as usize;
    let (mut frame, frames) = (0, bytes.len() / bpf);
    for size in SIZES.iter().cycle() {
        if frame == frames {
            break;
        }
        let end = frames.min(frame + size);
        let pts = start.map(|start| start + time(frame, info.rate()));
        harness
            .push(buffer_of(info, &bytes[frame * bpf..end * bpf], pts))
            .unwrap();
        frame = end;
    }
}

pub fn pull_all(harness: &mut gst_check::Harness) -> Vec<gst::Buffer> {
    std::iter::from_fn(|| harness.try_pull()).collect()
}

/// The frames in these buffers, one after the other.
pub fn bytes_of(buffers: &[gst::Buffer]) -> Vec<u8> {
    buffers.iter().flat_map(frames_of).collect()
}

fn frames_of(buffer: &gst::Buffer) -> Vec<u8> {
    let map = buffer.map_readable().unwrap();
    let meta = buffer.meta::<AudioMeta>();
    let Some(meta) = meta.filter(|meta| meta.info().layout() == AudioLayout::NonInterleaved) else {
        return map.to_vec();
    };
    let width = (meta.info().bpf() / meta.info().channels()) as usize;
    let sample = |frame: usize, offset: &usize| map[offset + frame * width..][..width].to_vec();
    let offsets = meta.offsets();
    (0..meta.samples())
        .flat_map(|frame| offsets.iter().flat_map(move |offset| sample(frame, offset)))
        .collect()
}

/// Sends the frames through the element in buffers of changing size, with timestamps from 0 on, returns what comes out.
pub fn through(element: &gst::Element, info: &AudioInfo, frames: &[u8]) -> Vec<u8> {
    let mut harness = harness(element, info);
    push(&mut harness, info, frames, Some(gst::ClockTime::ZERO));
    harness.push_event(gst::event::Eos::new());
    bytes_of(&pull_all(&mut harness))
}

/// What the element posts while it does something.
pub fn messages(element: &gst::Element, work: impl FnOnce()) -> Vec<gst::Message> {
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    work();
    element.set_bus(None);
    bus.iter().collect()
}

/// The buffers follow each other to the nanosecond, from `start` on.
pub fn assert_continuous(buffers: &[gst::Buffer], info: &AudioInfo, start: Option<gst::ClockTime>) {
    let mut frames = 0;
    for buffer in buffers {
        assert_eq!(
            buffer.pts(),
            start.map(|start| start + time(frames, info.rate()))
        );
        let from = frames;
        frames += buffer.size() / info.bpf() as usize;
        assert_eq!(
            buffer.duration(),
            Some(time(frames, info.rate()) - time(from, info.rate()))
        );
    }
}
