// SPDX-License-Identifier: MIT OR Apache-2.0
//! Raw audio of any format and layout, frame by frame.

use crate::watermark::format;
use gst_audio::{AudioFormat, AudioInfo, AudioLayout};
use once_cell::sync::Lazy;
use std::borrow::Cow;

/// Frames that are converted at a time. Scratch memory grows to this size once.
pub(crate) const CHUNK: usize = 1024;

/// Every stream that both elements take: all raw audio that GStreamer knows. What is first in the lists is what is
/// chosen where there is a choice.
pub(crate) static CAPS: Lazy<gst::Caps> = Lazy::new(|| {
    let first = [
        gst_audio::AUDIO_FORMAT_F32,
        gst_audio::AUDIO_FORMAT_S16,
        gst_audio::AUDIO_FORMAT_S32,
        gst_audio::AUDIO_FORMAT_F64,
        gst_audio::AUDIO_FORMAT_S24,
        gst_audio::AUDIO_FORMAT_S2432,
    ];
    let others = AudioFormat::iter_raw().filter(|format| !first.contains(format));
    gst_audio::AudioCapsBuilder::new()
        .format_list(first.into_iter().chain(others))
        .layout_list([AudioLayout::Interleaved, AudioLayout::NonInterleaved])
        .rate_range(*format::SAMPLE_RATES.start() as i32..=*format::SAMPLE_RATES.end() as i32)
        .channels_range(1..=format::MAX_CHANNELS as i32)
        .build()
});

/// The channels that carry low-frequency effects only, as a bit mask, bit 0 the first channel.
pub(crate) fn low_frequency_channels(info: &AudioInfo) -> u64 {
    use gst_audio::AudioChannelPosition::{Lfe1, Lfe2};
    let positions = info
        .positions()
        .unwrap_or(&[])
        .iter()
        .take(u64::BITS as usize);
    positions
        .enumerate()
        .filter(|(_, position)| matches!(position, Lfe1 | Lfe2))
        .fold(0, |mask, (channel, _)| mask | 1 << channel)
}

fn is_planar(info: &AudioInfo) -> bool {
    info.layout() == AudioLayout::NonInterleaved
}

fn bytes_per_sample(info: &AudioInfo) -> usize {
    (info.bpf() / info.channels().max(1)) as usize
}

/// The frames in a buffer. It is an error if it holds anything but whole frames.
pub(crate) fn frames(
    info: &AudioInfo,
    buffer: &gst::BufferRef,
) -> Result<usize, gst::ErrorMessage> {
    let bpf = info.bpf() as usize;
    if is_planar(info) {
        return planes(info, buffer).map(|(frames, _)| frames);
    }
    if buffer.size().is_multiple_of(bpf) {
        return Ok(buffer.size() / bpf);
    }
    Err(gst::error_msg!(
        gst::StreamError::Format,
        (
            "A buffer of {} bytes ends within a frame of {bpf} bytes",
            buffer.size()
        )
    ))
}

/// The frames in a buffer of non-interleaved audio, and where each channel begins.
fn planes(
    info: &AudioInfo,
    buffer: &gst::BufferRef,
) -> Result<(usize, Vec<usize>), gst::ErrorMessage> {
    let error = |what: &str| {
        gst::error_msg!(
            gst::StreamError::Format,
            ("A buffer of non-interleaved audio {what}")
        )
    };
    let meta = buffer
        .meta::<gst_audio::AudioMeta>()
        .ok_or_else(|| error("has no GstAudioMeta"))?;
    let (frames, offsets) = (meta.samples(), meta.offsets().to_vec());
    let fits = |offset: &usize| {
        let length = frames.checked_mul(bytes_per_sample(info));
        let end = length.and_then(|length| length.checked_add(*offset));
        end.is_some_and(|end| end <= buffer.size())
    };
    if offsets.len() != info.channels() as usize || !offsets.iter().all(fits) {
        return Err(error("does not hold what its GstAudioMeta says"));
    }
    Ok((frames, offsets))
}

/// The bytes of a buffer, which has passed [`frames`], one frame after the other.
pub(crate) fn interleaved<'a>(
    info: &AudioInfo,
    buffer: &gst::BufferRef,
    bytes: &'a [u8],
) -> Result<Cow<'a, [u8]>, gst::ErrorMessage> {
    if !is_planar(info) {
        return Ok(Cow::Borrowed(bytes));
    }
    let (frames, offsets) = planes(info, buffer)?;
    let (bpf, width) = (info.bpf() as usize, bytes_per_sample(info));
    let mut all = vec![0; frames * bpf];
    for (channel, offset) in offsets.iter().enumerate() {
        let samples = bytes[*offset..].chunks_exact(width);
        for (frame, sample) in all.chunks_exact_mut(bpf).zip(samples) {
            frame[channel * width..][..width].copy_from_slice(sample);
        }
    }
    Ok(Cow::Owned(all))
}

/// Turns a buffer of interleaved frames into one of the stream's layout.
pub(crate) fn lay_out(info: &AudioInfo, buffer: &mut gst::BufferRef) -> Result<(), gst::FlowError> {
    if !is_planar(info) {
        return Ok(());
    }
    let (bpf, width) = (info.bpf() as usize, bytes_per_sample(info));
    let frames = buffer.size() / bpf;
    {
        let mut map = buffer.map_writable().map_err(|_| gst::FlowError::Error)?;
        let all = map.to_vec();
        for (channel, plane) in map.chunks_exact_mut((frames * width).max(1)).enumerate() {
            let samples = plane.chunks_exact_mut(width);
            for (sample, frame) in samples.zip(all.chunks_exact(bpf)) {
                sample.copy_from_slice(&frame[channel * width..][..width]);
            }
        }
    }
    gst_audio::AudioMeta::add(buffer, info, frames, &[]).map_err(|_| gst::FlowError::Error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_low_frequency_channel_is_found() {
        gst::init().unwrap();
        use gst_audio::AudioChannelPosition as P;
        let five_one = [
            P::FrontLeft,
            P::FrontRight,
            P::FrontCenter,
            P::Lfe1,
            P::RearLeft,
            P::RearRight,
        ];
        let info = AudioInfo::builder(AudioFormat::S16le, 48_000, 6)
            .positions(&five_one)
            .build()
            .unwrap();
        assert_eq!(low_frequency_channels(&info), 0b00_1000);
        let plain = AudioInfo::builder(AudioFormat::S16le, 48_000, 6)
            .build()
            .unwrap();
        assert_eq!(low_frequency_channels(&plain), 0);
    }

    fn planar() -> AudioInfo {
        gst::init().unwrap();
        AudioInfo::builder(AudioFormat::S16be, 48_000, 3)
            .layout(AudioLayout::NonInterleaved)
            .build()
            .unwrap()
    }

    #[test]
    fn planes_become_frames_and_planes_again() {
        let info = planar();
        let bytes: Vec<u8> = (0..24).collect();
        let mut buffer = gst::Buffer::from_mut_slice(bytes.clone());
        let buffer = buffer.get_mut().unwrap();
        lay_out(&info, buffer).unwrap();
        assert_eq!(frames(&info, buffer).unwrap(), 4);
        let map = buffer.map_readable().unwrap();
        assert_eq!(map[..8], [0, 1, 6, 7, 12, 13, 18, 19]);
        assert_eq!(&*interleaved(&info, buffer, &map).unwrap(), bytes);
    }

    #[test]
    fn planes_may_lie_anywhere() {
        let info = planar();
        let mut buffer = gst::Buffer::from_mut_slice((0..24).collect::<Vec<u8>>());
        let buffer = buffer.get_mut().unwrap();
        gst_audio::AudioMeta::add(buffer, &info, 2, &[20, 0, 8]).unwrap();
        let map = buffer.map_readable().unwrap();
        let expected = [20, 21, 0, 1, 8, 9, 22, 23, 2, 3, 10, 11];
        assert_eq!(&*interleaved(&info, buffer, &map).unwrap(), expected);
    }

    #[test]
    fn planes_that_are_not_there_are_errors() {
        let info = planar();
        let mut buffer = gst::Buffer::with_size(24).unwrap();
        assert!(frames(&info, &buffer).is_err(), "no meta");
        let writable = buffer.get_mut().unwrap();
        gst_audio::AudioMeta::add(writable, &info, 4, &[]).unwrap();
        assert!(frames(&info, writable).is_ok());
        writable.set_size(23);
        assert!(frames(&info, writable).is_err(), "a byte less");
    }
}
