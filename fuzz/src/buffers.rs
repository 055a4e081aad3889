// SPDX-License-Identifier: MIT OR Apache-2.0
//! Formats and buffers for the elements, drawn from the bytes that the fuzzer makes.

use crate::events::Time;
use crate::{Rate, Sound};
use arbitrary::Arbitrary;

/// Caps: mostly those of audio that the elements take, but not only.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Format {
    Usual(u8),
    Any {
        format: u8,
        rate: Rate,
        channels: u8,
        planar: bool,
        mask: u64,
    },
    Video,
    Incomplete,
}

impl Format {
    pub fn caps(self) -> gst::Caps {
        const USUAL: [(&str, i32, i32, u64); 6] = [
            ("F32LE", 8_000, 1, 0),
            ("S16LE", 8_000, 2, 3),
            ("S16LE", 44_100, 1, 0),
            ("F32LE", 48_000, 2, 3),
            ("S24BE", 16_000, 6, 0x3f),
            ("F64BE", 11_025, 3, 0),
        ];
        const ALL: [&str; 16] = [
            "F32LE", "F32BE", "F64LE", "F64BE", "S8", "U8", "S16LE", "S16BE", "U16LE", "S24LE",
            "S24BE", "S24_32LE", "U24BE", "S32LE", "S20LE", "ENCODED",
        ];
        match self {
            Format::Usual(i) => {
                let (format, rate, channels, mask) = USUAL[usize::from(i) % USUAL.len()];
                raw(format, rate, channels, "interleaved", mask)
            }
            Format::Any {
                format,
                rate,
                channels,
                planar,
                mask,
            } => {
                let format = ALL[usize::from(format) % ALL.len()];
                let layout = if planar {
                    "non-interleaved"
                } else {
                    "interleaved"
                };
                let rate = i32::try_from(rate.get()).unwrap_or(i32::MAX);
                raw(format, rate, channels.into(), layout, mask)
            }
            Format::Video => gst::Caps::builder("video/x-raw")
                .field("rate", 8_000)
                .build(),
            Format::Incomplete => gst::Caps::builder("audio/x-raw")
                .field("rate", 8_000)
                .build(),
        }
    }
}

fn raw(format: &str, rate: i32, channels: i32, layout: &str, mask: u64) -> gst::Caps {
    gst::Caps::builder("audio/x-raw")
        .field("format", format)
        .field("rate", rate)
        .field("channels", channels)
        .field("layout", layout)
        .field_if_some("channel-mask", (channels > 1).then_some(gst::Bitmask(mask)))
        .build()
}

/// When a buffer is.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Stamp {
    /// Right behind the one before.
    Next,
    None,
    /// So many milliseconds off.
    Off(i16),
    At(Time),
}

#[derive(Arbitrary, Debug, Clone, Copy)]
pub struct Audio {
    sound: Sound,
    frames: u16,
    /// Bytes more than whole frames have.
    more: u8,
    stamp: Stamp,
    flags: u8,
    offset: Option<u64>,
    reference: Option<u64>,
    duration: Option<Time>,
}

impl Audio {
    /// The buffer, when the one before ended at `next`.
    pub fn buffer(
        &self,
        info: Option<&gst_audio::AudioInfo>,
        next: gst::ClockTime,
        most_samples: usize,
    ) -> gst::Buffer {
        let bytes = self.bytes(info, most_samples);
        let planar = info.filter(|info| info.layout() == gst_audio::AudioLayout::NonInterleaved);
        let frames = info.map_or(0, |info| bytes.len() / info.bpf() as usize);
        let mut buffer = gst::Buffer::from_mut_slice(bytes);
        let Some(content) = buffer.get_mut() else {
            unreachable!("nobody else has it");
        };
        content.set_pts(match self.stamp {
            Stamp::Next => Some(next),
            Stamp::None => None,
            Stamp::Off(ms) => {
                let off = i64::from(ms) * 1_000_000;
                let time = next.nseconds().saturating_add_signed(off);
                Some(gst::ClockTime::from_nseconds(time.min(u64::MAX - 1)))
            }
            Stamp::At(time) => Some(time.get()),
        });
        content.set_duration(self.duration.map(Time::get));
        content.set_flags(self.flags());
        if let Some(offset) = self.offset {
            content.set_offset(offset);
        }
        if let Some(time) = self.reference {
            let caps = gst::Caps::new_empty_simple("timestamp/x-unix");
            let time = gst::ClockTime::from_nseconds(time.min(u64::MAX - 1));
            gst::ReferenceTimestampMeta::add(content, &caps, time, None);
        }
        if let Some(info) = planar.filter(|_| self.more == 0) {
            let _ = gst_audio::AudioMeta::add(content, info, frames, &[]);
        }
        buffer
    }

    fn bytes(&self, info: Option<&gst_audio::AudioInfo>, most_samples: usize) -> Vec<u8> {
        let Some(info) = info else {
            return vec![0; usize::from(self.frames)];
        };
        let channels = (info.channels() as usize).max(1);
        let frames = usize::from(self.frames).min(most_samples / channels);
        let samples = self.sound.frames(frames, channels);
        let mut bytes: Vec<u8> = match info.format().to_str().as_str() {
            "F32LE" => samples.iter().flat_map(|x| x.to_le_bytes()).collect(),
            "S16LE" => samples
                .iter()
                .flat_map(|x| ((x * 32_767.0) as i16).to_le_bytes())
                .collect(),
            // Any bytes are samples.
            _ => {
                let bits = samples.iter().flat_map(|x| x.to_bits().to_le_bytes());
                bits.cycle().take(frames * info.bpf() as usize).collect()
            }
        };
        bytes.resize(bytes.len() + usize::from(self.more / 64), 0);
        bytes
    }

    fn flags(&self) -> gst::BufferFlags {
        use gst::BufferFlags as F;
        let all = [
            F::DISCONT,
            F::GAP,
            F::CORRUPTED,
            F::DROPPABLE,
            F::RESYNC,
            F::HEADER,
        ];
        let set = all
            .iter()
            .enumerate()
            .filter(|(i, _)| self.flags >> i & 1 == 1);
        set.fold(F::empty(), |flags, (_, flag)| flags | *flag)
    }
}
