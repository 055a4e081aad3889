// SPDX-License-Identifier: MIT OR Apache-2.0
//! Raw audio of any format to `f32` for analysis, and a mark added to the original samples.

use crate::watermark::format;
use gst_audio::{AudioFormat, AudioPackFlags};
use once_cell::sync::Lazy;

/// Frames that are converted at a time. Scratch memory grows to this size once.
pub(crate) const CHUNK: usize = 1024;

/// Lower bits of a widened sample are zero rather than made up.
const FLAGS: AudioPackFlags = AudioPackFlags::TRUNCATE_RANGE;

/// Every stream that both elements take.
pub(crate) static CAPS: Lazy<gst::Caps> = Lazy::new(|| {
    let native = [
        gst_audio::AUDIO_FORMAT_F32,
        gst_audio::AUDIO_FORMAT_S16,
        gst_audio::AUDIO_FORMAT_S32,
        gst_audio::AUDIO_FORMAT_F64,
        gst_audio::AUDIO_FORMAT_S24,
        gst_audio::AUDIO_FORMAT_S2432,
    ];
    let both = [
        [AudioFormat::F32le, AudioFormat::F32be],
        [AudioFormat::S16le, AudioFormat::S16be],
        [AudioFormat::S32le, AudioFormat::S32be],
        [AudioFormat::F64le, AudioFormat::F64be],
        [AudioFormat::S24le, AudioFormat::S24be],
        [AudioFormat::S2432le, AudioFormat::S2432be],
    ];
    let swapped = both.into_iter().flatten().filter(|f| !native.contains(f));
    gst_audio::AudioCapsBuilder::new_interleaved()
        .format_list(native.into_iter().chain(swapped))
        .rate_range(*format::SAMPLE_RATES.start() as i32..=*format::SAMPLE_RATES.end() as i32)
        .channels_range(1..=format::MAX_CHANNELS as i32)
        .build()
});

/// The channels that carry low-frequency effects only, as a bit mask, bit 0 the first channel.
pub(crate) fn low_frequency_channels(info: &gst_audio::AudioInfo) -> u64 {
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

/// Whether a buffer holds whole frames only.
pub(crate) fn check_size(
    info: &gst_audio::AudioInfo,
    size: usize,
) -> Result<(), gst::ErrorMessage> {
    if size.is_multiple_of(info.bpf() as usize) {
        return Ok(());
    }
    Err(gst::error_msg!(
        gst::StreamError::Format,
        (
            "A buffer of {size} bytes ends within a frame of {} bytes",
            info.bpf()
        )
    ))
}

/// Conversion of the samples of one stream.
pub(crate) struct Samples {
    format: gst_audio::AudioFormatInfo,
    width: usize,
    /// Samples as GStreamer unpacks them: `i32` from integers, `f64` from floats. As bytes, since that
    /// is what it takes; memory from the system's allocator is aligned for either.
    unpacked: Vec<u8>,
    unpacked_width: usize,
}

impl Samples {
    pub fn new(info: &gst_audio::AudioInfo) -> Self {
        let format = info.format_info();
        let unpacked_width = if format.is_float() {
            size_of::<f64>()
        } else {
            size_of::<i32>()
        };
        let unpacked = Vec::with_capacity(CHUNK * info.channels() as usize * unpacked_width);
        let width = (format.width() / 8) as usize;
        Samples {
            format,
            width,
            unpacked,
            unpacked_width,
        }
    }

    /// Converts to what the core analyses, as many samples as `samples` holds.
    pub fn analyse(&mut self, bytes: &[u8], samples: &mut [f32]) {
        self.unpack(bytes);
        if self.format.is_float() {
            for (sample, bytes) in samples.iter_mut().zip(self.unpacked.as_chunks().0) {
                *sample = f64::from_ne_bytes(*bytes) as f32;
            }
        } else {
            for (sample, bytes) in samples.iter_mut().zip(self.unpacked.as_chunks().0) {
                *sample = i32::from_ne_bytes(*bytes) as f32 / -(i32::MIN as f32);
            }
        }
    }

    /// Adds the mark to the samples in `bytes`. Where it is exactly zero the bytes stay as they are.
    pub fn add(&mut self, bytes: &mut [u8], mark: &[f32]) {
        // Splitting at zeros is what keeps NaN payloads, negative zeros and channels without a mark.
        let marked = |m: &f32| *m != 0.0 && m.is_finite();
        let mut start = 0;
        for run in mark.chunk_by(|a, b| marked(a) == marked(b)) {
            let end = start + run.len();
            if marked(&run[0]) {
                self.add_run(&mut bytes[start * self.width..end * self.width], run);
            }
            start = end;
        }
    }

    fn add_run(&mut self, bytes: &mut [u8], mark: &[f32]) {
        self.unpack(bytes);
        if self.format.is_float() {
            for (sample, mark) in self.unpacked.as_chunks_mut().0.iter_mut().zip(mark) {
                *sample = (f64::from_ne_bytes(*sample) + f64::from(*mark)).to_ne_bytes();
            }
        } else {
            // Packing drops the bits that the format has no room for, so rounding comes first.
            let depth = self.format.depth().clamp(1, 32);
            let scale = (1u64 << (depth - 1)) as f64;
            let limit = 1i64 << (depth - 1);
            for (sample, mark) in self.unpacked.as_chunks_mut().0.iter_mut().zip(mark) {
                let original = i64::from(i32::from_ne_bytes(*sample) >> (32 - depth));
                let sum = original.saturating_add((f64::from(*mark) * scale).round() as i64);
                *sample = ((sum.clamp(-limit, limit - 1) << (32 - depth)) as i32).to_ne_bytes();
            }
        }
        self.format.pack(FLAGS, bytes, &self.unpacked);
    }

    fn unpack(&mut self, bytes: &[u8]) {
        self.unpacked
            .resize(bytes.len() / self.width * self.unpacked_width, 0);
        self.format.unpack(FLAGS, &mut self.unpacked, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(format: AudioFormat) -> Samples {
        gst::init().unwrap();
        Samples::new(
            &gst_audio::AudioInfo::builder(format, 48_000, 1)
                .build()
                .unwrap(),
        )
    }

    const INTEGERS: [(AudioFormat, u32); 8] = [
        (AudioFormat::S16le, 16),
        (AudioFormat::S16be, 16),
        (AudioFormat::S24le, 24),
        (AudioFormat::S24be, 24),
        (AudioFormat::S2432le, 24),
        (AudioFormat::S2432be, 24),
        (AudioFormat::S32le, 32),
        (AudioFormat::S32be, 32),
    ];

    /// Bytes of integer samples, made without GStreamer.
    fn integer_bytes(format: AudioFormat, values: &[i64]) -> Vec<u8> {
        gst::init().unwrap();
        let info = gst_audio::AudioFormatInfo::from_format(format);
        let width = (info.width() / 8) as usize;
        let bytes = |v: &i64| {
            let mut bytes = v.to_le_bytes()[..width].to_vec();
            if info.is_big_endian() {
                bytes.reverse();
            }
            bytes
        };
        values.iter().flat_map(bytes).collect()
    }

    #[test]
    fn integers_round_to_the_nearest_and_clamp() {
        for (format, depth) in INTEGERS {
            let mut samples = samples(format);
            let (low, high) = (-(1i64 << (depth - 1)), (1i64 << (depth - 1)) - 1);
            let step = 1.0 / (1u64 << (depth - 1)) as f32;
            let mut bytes = integer_bytes(format, &[0, 5, 5, 5, -5, -5, high, low, high - 1, 7]);
            let mark = [step, 1.4, 0.6, -0.6, 0.6, -0.4, 9.0, -9.0, 2.0, 0.0].map(|m| m * step);
            let mark = [&[step][..], &mark[1..]].concat();
            samples.add(&mut bytes, &mark);
            let expected = [1, 6, 6, 4, -4, -5, high, low, high, 7];
            assert_eq!(bytes, integer_bytes(format, &expected), "{format:?}");
        }
    }

    #[test]
    fn a_large_mark_never_wraps() {
        for (format, depth) in INTEGERS {
            let (low, high) = (-(1i64 << (depth - 1)), (1i64 << (depth - 1)) - 1);
            let mut bytes = integer_bytes(format, &[high, low, 0, 0]);
            samples(format).add(&mut bytes, &[1e30, -1e30, f32::NAN, f32::INFINITY]);
            assert_eq!(
                bytes,
                integer_bytes(format, &[high, low, 0, 0]),
                "{format:?}"
            );
        }
    }

    #[test]
    fn integers_convert_to_fractions_of_full_scale() {
        for (format, depth) in INTEGERS {
            let half = 1i64 << (depth - 2);
            let mut out = [0.0; 4];
            samples(format).analyse(
                &integer_bytes(format, &[half, -half, -2 * half, 0]),
                &mut out,
            );
            assert_eq!(out, [0.5, -0.5, -1.0, 0.0], "{format:?}");
        }
    }

    #[test]
    fn floats_add_and_keep_what_is_not_finite() {
        let values = [
            0.5f32,
            -0.0,
            f32::NAN,
            f32::INFINITY,
            1.5,
            f32::from_bits(0x7f80_0001),
        ];
        let mark = [0.25, 0.0, 0.25, 0.25, 0.25, 0.0];
        type Bytes = fn(f32) -> [u8; 4];
        let orders: [(AudioFormat, Bytes); 2] = [
            (AudioFormat::F32le, f32::to_le_bytes),
            (AudioFormat::F32be, f32::to_be_bytes),
        ];
        for (format, to_bytes) in orders {
            let mut bytes = values.map(to_bytes).concat();
            samples(format).add(&mut bytes, &mark);
            assert_eq!(bytes[..4], to_bytes(0.75));
            assert_eq!(bytes[4..8], to_bytes(-0.0));
            let mut out = [0.0; 6];
            samples(format).analyse(&bytes, &mut out);
            assert!(out[2].is_nan());
            assert_eq!(out[3..5], [f32::INFINITY, 1.75]);
            assert_eq!(
                bytes[20..],
                to_bytes(values[5]),
                "a signalling NaN keeps its bits"
            );
        }
        let mut bytes = [0.5f64, 1e-300].map(f64::to_be_bytes).concat();
        samples(AudioFormat::F64be).add(&mut bytes, &[0.25, 0.0]);
        assert_eq!(bytes, [0.75f64, 1e-300].map(f64::to_be_bytes).concat());
    }

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
        let info = gst_audio::AudioInfo::builder(AudioFormat::S16le, 48_000, 6)
            .positions(&five_one)
            .build()
            .unwrap();
        assert_eq!(low_frequency_channels(&info), 0b00_1000);
        let plain = gst_audio::AudioInfo::builder(AudioFormat::S16le, 48_000, 6)
            .build()
            .unwrap();
        assert_eq!(low_frequency_channels(&plain), 0);
    }
}
