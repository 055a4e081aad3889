// SPDX-License-Identifier: MIT OR Apache-2.0
//! Samples of every raw format to `f32` for analysis, and a mark added to the original samples.

use gst_audio::AudioFormatFlags;

/// How the samples of one stream lie in memory.
pub(crate) struct Samples {
    kind: Kind,
    /// Bytes of a sample.
    width: usize,
    big_endian: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    Float,
    Integer(Integer),
}

/// An integer whose lower bits count.
#[derive(Clone, Copy)]
struct Integer {
    depth: u32,
    signed: bool,
    /// The bits above them repeat the sign.
    extends: bool,
}

impl Samples {
    pub fn new(info: &gst_audio::AudioInfo) -> Self {
        let format = info.format_info();
        let kind = if format.is_float() {
            Kind::Float
        } else {
            let signed = format.flags().contains(AudioFormatFlags::SIGNED);
            Kind::Integer(Integer {
                depth: format.depth().clamp(1, 32),
                signed,
                extends: signed && format.width() == 32,
            })
        };
        Samples {
            kind,
            width: (format.width() / 8) as usize,
            big_endian: format.is_big_endian(),
        }
    }

    /// Converts to what the core analyses, as many samples as `samples` holds.
    pub fn analyse(&self, bytes: &[u8], samples: &mut [f32]) {
        let float32 = |bytes: &[u8; 4]| f32::from_bits(self.word(bytes));
        let float64 = |bytes: &[u8; 8]| narrowed(self.double(bytes));
        match (self.kind, self.width) {
            (Kind::Float, 4) => convert(bytes, samples, float32),
            (Kind::Float, _) => convert(bytes, samples, float64),
            (Kind::Integer(i), 1) => convert(bytes, samples, |b: &[u8; 1]| i.value(self.word(b))),
            (Kind::Integer(i), 2) => convert(bytes, samples, |b: &[u8; 2]| i.value(self.word(b))),
            (Kind::Integer(i), 3) => convert(bytes, samples, |b: &[u8; 3]| i.value(self.word(b))),
            (Kind::Integer(i), _) => convert(bytes, samples, |b: &[u8; 4]| i.value(self.word(b))),
        }
    }

    /// Adds the mark to the samples in `bytes`. Where it is zero, or the sample is not finite, the bytes stay as they
    /// are.
    pub fn add(&self, bytes: &mut [u8], mark: &[f32]) {
        match (self.kind, self.width) {
            (Kind::Float, 4) => change(bytes, mark, |bytes: &mut [u8; 4], mark| {
                let sample = f32::from_bits(self.word(bytes));
                if sample.is_finite() {
                    self.put((sample + mark).to_bits(), bytes);
                }
            }),
            (Kind::Float, _) => change(bytes, mark, |bytes: &mut [u8; 8], mark| {
                let sample = self.double(bytes);
                if sample.is_finite() {
                    self.put_double(sample + f64::from(mark), bytes);
                }
            }),
            (Kind::Integer(i), 1) => self.add_to_integers::<1>(i, bytes, mark),
            (Kind::Integer(i), 2) => self.add_to_integers::<2>(i, bytes, mark),
            (Kind::Integer(i), 3) => self.add_to_integers::<3>(i, bytes, mark),
            (Kind::Integer(i), _) => self.add_to_integers::<4>(i, bytes, mark),
        }
    }

    fn add_to_integers<const N: usize>(&self, integer: Integer, bytes: &mut [u8], mark: &[f32]) {
        let scale = (1u64 << (integer.depth - 1)) as f64;
        change(bytes, mark, |bytes: &mut [u8; N], mark| {
            let steps = (f64::from(mark) * scale).round() as i64;
            if steps != 0 {
                let sum = integer.plus(self.word(bytes), steps);
                self.put(sum, bytes);
            }
        });
    }

    /// The bytes of a sample as a number, the first or the last of them being the lowest.
    fn word<const N: usize>(&self, bytes: &[u8; N]) -> u32 {
        let append = |word: u32, byte: &u8| word << 8 | u32::from(*byte);
        if self.big_endian {
            bytes.iter().fold(0, append)
        } else {
            bytes.iter().rev().fold(0, append)
        }
    }

    fn put<const N: usize>(&self, word: u32, bytes: &mut [u8; N]) {
        let word = word.to_le_bytes();
        bytes.copy_from_slice(&word[..N]);
        if self.big_endian {
            bytes.reverse();
        }
    }

    fn double(&self, bytes: &[u8; 8]) -> f64 {
        if self.big_endian {
            f64::from_be_bytes(*bytes)
        } else {
            f64::from_le_bytes(*bytes)
        }
    }

    fn put_double(&self, value: f64, bytes: &mut [u8; 8]) {
        *bytes = if self.big_endian {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        };
    }
}

impl Integer {
    /// The lower bits moved to the top, as a signed number.
    fn at_the_top(self, word: u32) -> i32 {
        let top = word << (32 - self.depth);
        (if self.signed { top } else { top ^ 1 << 31 }) as i32
    }

    /// Fraction of full scale.
    fn value(self, word: u32) -> f32 {
        self.at_the_top(word) as f32 / -(i32::MIN as f32)
    }

    /// So many steps more, as far as there is room.
    fn plus(self, word: u32, steps: i64) -> u32 {
        let limit = 1i64 << (self.depth - 1);
        let original = i64::from(self.at_the_top(word) >> (32 - self.depth));
        let sum = original.saturating_add(steps).clamp(-limit, limit - 1);
        let word = (if self.signed { sum } else { sum + limit }) as u32;
        // Above the depth there is the sign in words of 32 bits, and nothing in shorter ones: so GStreamer has it.
        if self.extends {
            word
        } else {
            word & (u32::MAX >> (32 - self.depth))
        }
    }
}

/// To single precision; what is too small for it is zero, without the processor's slow way there.
fn narrowed(value: f64) -> f32 {
    const SMALLEST: u64 = (f32::MIN_POSITIVE as f64).to_bits();
    let size = value.to_bits() & !(1 << 63);
    if size < SMALLEST { 0.0 } else { value as f32 }
}

fn convert<const N: usize>(bytes: &[u8], samples: &mut [f32], value: impl Fn(&[u8; N]) -> f32) {
    for (sample, bytes) in samples.iter_mut().zip(bytes.as_chunks().0) {
        *sample = value(bytes);
    }
}

fn change<const N: usize>(bytes: &mut [u8], mark: &[f32], change: impl Fn(&mut [u8; N], f32)) {
    for (bytes, mark) in bytes.as_chunks_mut().0.iter_mut().zip(mark) {
        if *mark != 0.0 && mark.is_finite() {
            change(bytes, *mark);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gst_audio::{AudioFormat, AudioFormatInfo, AudioPackFlags};

    fn samples(format: AudioFormat) -> Samples {
        gst::init().unwrap();
        let info = gst_audio::AudioInfo::builder(format, 48_000, 1);
        Samples::new(&info.build().unwrap())
    }

    /// All integer formats, and how many bits of them count.
    fn integers() -> Vec<(AudioFormat, u32)> {
        gst::init().unwrap();
        let all: Vec<_> = AudioFormat::iter_raw()
            .map(|format| (format, AudioFormatInfo::from_format(format)))
            .filter(|(_, info)| info.is_integer())
            .map(|(format, info)| (format, info.depth()))
            .collect();
        assert!(all.len() >= 26);
        all
    }

    /// Bytes of integer samples, made without GStreamer.
    fn integer_bytes(format: AudioFormat, values: &[i64]) -> Vec<u8> {
        let info = AudioFormatInfo::from_format(format);
        let width = (info.width() / 8) as usize;
        let unsigned = format.to_str().starts_with('U');
        let bytes = |v: &i64| {
            let v = if unsigned {
                v + (1 << (info.depth() - 1))
            } else {
                *v
            };
            let v = match width {
                3 => v & ((1 << info.depth()) - 1),
                _ => v,
            };
            let mut bytes = v.to_le_bytes()[..width].to_vec();
            if format.to_str().ends_with("BE") {
                bytes.reverse();
            }
            bytes
        };
        values.iter().flat_map(bytes).collect()
    }

    #[test]
    fn integers_round_to_the_nearest_and_clamp() {
        for (format, depth) in integers() {
            let samples = samples(format);
            let (low, high) = (-(1i64 << (depth - 1)), (1i64 << (depth - 1)) - 1);
            let step = 1.0 / (1u64 << (depth - 1)) as f32;
            let mut bytes = integer_bytes(format, &[0, 5, 5, 5, -5, -5, high, low, high - 1, 7]);
            let mark = [1.0, 1.4, 0.6, -0.6, 0.6, -0.4, 9.0, -9.0, 2.0, 0.0].map(|m| m * step);
            samples.add(&mut bytes, &mark);
            let expected = [1, 6, 6, 4, -4, -5, high, low, high, 7];
            assert_eq!(bytes, integer_bytes(format, &expected), "{format:?}");
        }
    }

    #[test]
    fn a_large_mark_never_wraps() {
        for (format, depth) in integers() {
            let (low, high) = (-(1i64 << (depth - 1)), (1i64 << (depth - 1)) - 1);
            let mut bytes = integer_bytes(format, &[high, low, 0, 0]);
            samples(format).add(&mut bytes, &[1e30, -1e30, f32::NAN, f32::INFINITY]);
            let expected = integer_bytes(format, &[high, low, 0, 0]);
            assert_eq!(bytes, expected, "{format:?}");
        }
    }

    #[test]
    fn integers_convert_to_fractions_of_full_scale() {
        for (format, depth) in integers() {
            let half = 1i64 << (depth - 2);
            let mut out = [0.0; 4];
            samples(format).analyse(
                &integer_bytes(format, &[half, -half, -2 * half, 0]),
                &mut out,
            );
            assert_eq!(out, [0.5, -0.5, -1.0, 0.0], "{format:?}");
        }
    }

    /// GStreamer has conversions of its own, though no sum that rounds.
    #[test]
    fn every_format_is_what_gstreamer_takes_it_for() {
        let levels: Vec<i32> = (-50..50).map(|k| k * 0x0273_1571).collect();
        for (format, depth) in integers() {
            let info = AudioFormatInfo::from_format(format);
            let unpacked: Vec<u8> = levels.iter().flat_map(|v| v.to_ne_bytes()).collect();
            let mut bytes = vec![0; levels.len() * (info.width() / 8) as usize];
            info.pack(AudioPackFlags::TRUNCATE_RANGE, &mut bytes, &unpacked);
            let mut out = vec![0.0; levels.len()];
            samples(format).analyse(&bytes, &mut out);
            for (level, out) in levels.iter().zip(&out) {
                let kept = level >> (32 - depth) << (32 - depth);
                assert_eq!(*out, kept as f32 / 2f32.powi(31), "{format:?}");
            }
            let mut changed = bytes.clone();
            let step = 0.5f32.powi(depth as i32 - 1);
            samples(format).add(&mut changed, &vec![step; levels.len()]);
            samples(format).add(&mut changed, &vec![-step; levels.len()]);
            assert!(changed == bytes, "{format:?}: padding and sign");
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
        let mark = [0.25, 0.0, 0.25, 0.25, 0.25, 0.25];
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
            assert_eq!(bytes[16..20], to_bytes(1.75));
            for unchanged in [2, 3, 5] {
                let range = 4 * unchanged..4 * unchanged + 4;
                assert_eq!(bytes[range], to_bytes(values[unchanged]));
            }
            let mut out = [0.0; 6];
            samples(format).analyse(&bytes, &mut out);
            assert!(out[2].is_nan());
            assert_eq!(out[3..5], [f32::INFINITY, 1.75]);
        }
        let odd = f64::from_bits(0x7ff0_0000_0000_0001);
        let mut bytes = [0.5f64, 1e-300, odd].map(f64::to_be_bytes).concat();
        samples(AudioFormat::F64be).add(&mut bytes, &[0.25, 0.0, 0.25]);
        let expected = [0.75f64, 1e-300, odd].map(f64::to_be_bytes).concat();
        assert_eq!(bytes, expected);
    }

    #[test]
    fn what_single_precision_cannot_hold_is_zero() {
        let values = [1e-40f64, -1e-300, 0.5, f64::MAX, f64::NAN];
        let mut out = [1.0; 5];
        samples(AudioFormat::F64le).analyse(&values.map(f64::to_le_bytes).concat(), &mut out);
        assert_eq!(out[..4], [0.0, 0.0, 0.5, f32::INFINITY]);
        assert!(out[4].is_nan());
    }
}
