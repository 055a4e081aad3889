// SPDX-License-Identifier: MIT OR Apache-2.0
//! Spectrograms as pictures, in memory that does not grow with the length of the audio.

use std::f32::consts::TAU;
use std::sync::Arc;

use base64::Engine as _;
use realfft::{RealFftPlanner, RealToComplex};

/// Most columns of a picture; from twice as many, each two become one.
const COLUMNS: usize = 1000;
/// The upper edge of pictures in hertz: the mark ends at 6.5 kHz.
const TOP: f32 = 8000.0;
/// From the loudest to the darkest, in decibels.
const RANGE: f32 = 90.0;

/// Takes audio of one channel, gives a picture.
pub struct Spectrogram {
    transform: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    waiting: Vec<f32>,
    /// Rows of a picture: bins up to [`TOP`].
    bins: usize,
    /// Power bin by bin, summed over the frames of a column.
    columns: Vec<Vec<f32>>,
    frames_a_column: usize,
    /// Frames in the last column.
    filled: usize,
}

/// A picture, and what it shows.
pub struct Picture {
    /// A `data:` address.
    pub address: String,
    pub top: f64,
}

impl Spectrogram {
    pub fn new(rate: u32) -> Self {
        // 43 ms at 48 kHz.
        let size = (rate as usize / 24).next_power_of_two();
        let hann = |i: usize| 0.5 - 0.5 * (TAU * i as f32 / size as f32).cos();
        let bins = (TOP / rate as f32 * size as f32).ceil() as usize;
        Spectrogram {
            transform: RealFftPlanner::new().plan_fft_forward(size),
            window: (0..size).map(hann).collect(),
            waiting: Vec::new(),
            bins: bins.min(size / 2 + 1),
            columns: Vec::new(),
            frames_a_column: 1,
            filled: 0,
        }
    }

    /// Takes the next samples.
    pub fn push(&mut self, samples: &[f32]) {
        self.waiting.extend_from_slice(samples);
        let size = self.window.len();
        let step = size / 4;
        let mut done = 0;
        while self.waiting.len() >= done + size {
            self.add(done);
            done += step;
        }
        self.waiting.drain(..done);
    }

    /// Adds the power of the frame at this place to the last column.
    fn add(&mut self, place: usize) {
        let samples = &self.waiting[place..place + self.window.len()];
        let mut input: Vec<f32> = samples
            .iter()
            .zip(&self.window)
            .map(|(x, w)| x * w)
            .collect();
        let mut output = self.transform.make_output_vec();
        // It fails for vectors of another length only.
        if self.transform.process(&mut input, &mut output).is_err() {
            return;
        }
        if self.columns.is_empty() || self.filled == self.frames_a_column {
            if self.columns.len() == 2 * COLUMNS {
                self.halve();
            }
            self.columns.push(vec![0.0; self.bins]);
            self.filled = 0;
        }
        self.filled += 1;
        if let Some(column) = self.columns.last_mut() {
            for (sum, bin) in column.iter_mut().zip(&output) {
                *sum += bin.norm_sqr();
            }
        }
    }

    fn halve(&mut self) {
        let pairs = self.columns.chunks(2);
        let sum = |pair: &[Vec<f32>]| match pair {
            [a, b] => a.iter().zip(b).map(|(a, b)| a + b).collect(),
            others => others.concat(),
        };
        self.columns = pairs.map(sum).collect();
        self.frames_a_column *= 2;
    }

    /// Mean power of the loudest cell.
    pub fn loudest(&self) -> f32 {
        let cells = self.columns.iter().flatten();
        cells.fold(0.0, |a: f32, b| a.max(*b)) / self.frames_a_column as f32
    }

    /// The picture, with colours from the power `loudest` down.
    pub fn picture(&self, loudest: f32) -> anyhow::Result<Picture> {
        let mut columns = self.columns.clone();
        if columns.is_empty() {
            columns.push(vec![0.0; self.bins]);
        }
        let full = loudest.max(f32::MIN_POSITIVE) * self.frames_a_column as f32;
        let level = |power: f32| {
            let decibels = 10.0 * (power / full).max(1e-12).log10();
            (255.0 * (1.0 + decibels / RANGE)).clamp(0.0, 255.0) as u8
        };
        // High frequencies are on top.
        let rows = (0..self.bins).rev();
        let cells: Vec<u8> = rows
            .flat_map(|bin| columns.iter().map(move |column| column[bin]))
            .map(level)
            .collect();
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, columns.len() as u32, self.bins as u32);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Eight);
        let colours = (0..256).flat_map(|i| colorous::INFERNO.eval_rational(i, 256).into_array());
        encoder.set_palette(colours.collect::<Vec<u8>>());
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&cells)?;
        writer.finish()?;
        let text = base64::engine::general_purpose::STANDARD.encode(&bytes);
        Ok(Picture {
            address: format!("data:image/png;base64,{text}"),
            top: f64::from(TOP),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tone is where it belongs, however long the audio is.
    #[test]
    fn a_tone_is_in_its_bin_and_columns_stay_few() {
        for seconds in [1, 120] {
            let mut spectrogram = Spectrogram::new(16_000);
            let second: Vec<f32> = (0..16_000)
                .map(|i| (TAU * 1000.0 * i as f32 / 16_000.0).sin())
                .collect();
            for _ in 0..seconds {
                spectrogram.push(&second);
            }
            assert!(spectrogram.columns.len() <= 2 * COLUMNS);
            let column = &spectrogram.columns[spectrogram.columns.len() / 2];
            let loudest = column.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            // 1024 frames at 16 kHz.
            assert_eq!(loudest.unwrap().0, 64);
            let picture = spectrogram.picture(spectrogram.loudest()).unwrap();
            assert!(picture.address.starts_with("data:image/png;base64,iVBOR"));
        }
    }
}
