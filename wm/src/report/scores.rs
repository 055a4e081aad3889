// SPDX-License-Identifier: MIT OR Apache-2.0
//! The score of the detector over the time of a file.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use gst::prelude::*;

use crate::detector::{self, Listening};
use crate::progress::Bar;
use crate::spans::{Span, Spans};

/// Most points of the curve; from as many, each two become one.
const POINTS: usize = 4000;
/// The detector has a new score about as often, in seconds.
const STEP: f64 = 0.1;

/// What the detector had to say about a file.
pub struct Scores {
    pub points: Vec<(f64, f64)>,
    /// The score that counts as found.
    pub threshold: Option<f64>,
    pub highest: Option<f64>,
    pub spans: Vec<Span>,
}

/// Looks for the mark in a file.
pub fn gather(listening: &Listening, file: &Path, bar: &Bar) -> anyhow::Result<Scores> {
    let player = listening.player(file)?;
    let detect = player.element("detect")?;
    let curve = Arc::new(Mutex::new(Curve::default()));
    let pad = detect.static_pad("src").context("wmdetect has no output")?;
    let (seen, weak) = (curve.clone(), detect.downgrade());
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let time = info.buffer().and_then(|buffer| buffer.pts());
        if let (Some(time), Some(detect)) = (time, weak.upgrade()) {
            let score = detect.property::<f64>("score");
            let mut curve = seen.lock().unwrap_or_else(PoisonError::into_inner);
            curve.add(time.seconds_f64(), score);
        }
        gst::PadProbeReturn::Ok
    });
    let mut spans = Spans::default();
    player.play(bar, |message| spans.take(message))?;
    let curve = curve.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Scores {
        points: curve.points().collect(),
        threshold: detector::figure(&detect, "threshold"),
        highest: detector::figure(&detect, "highest-score"),
        spans: spans.finish(),
    })
}

/// The highest score of each step, in steps that grow with the length.
struct Curve {
    step: f64,
    highest: Vec<Option<f64>>,
}

impl Default for Curve {
    fn default() -> Self {
        Curve {
            step: STEP,
            highest: Vec::new(),
        }
    }
}

impl Curve {
    fn add(&mut self, time: f64, score: f64) {
        // There is none before the first row, and the property is 0 then.
        if !score.is_finite() || (score == 0.0 && self.highest.is_empty()) {
            return;
        }
        while (time / self.step) as usize >= POINTS {
            let pairs = self.highest.chunks(2);
            let higher = |pair: &[Option<f64>]| pair.iter().flatten().copied().reduce(f64::max);
            self.highest = pairs.map(higher).collect();
            self.step *= 2.0;
        }
        let index = (time / self.step) as usize;
        if self.highest.len() <= index {
            self.highest.resize(index + 1, None);
        }
        let highest = &mut self.highest[index];
        *highest = Some(highest.map_or(score, |before| before.max(score)));
    }

    /// Time and score, where there is one.
    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        let middle = |index: usize| (index as f64 + 0.5) * self.step;
        let points = self.highest.iter().enumerate();
        points.filter_map(move |(index, score)| Some((middle(index), (*score)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_keeps_its_peaks_and_stays_short() {
        let mut curve = Curve::default();
        curve.add(0.0, f64::NEG_INFINITY);
        curve.add(0.0, 0.0);
        assert_eq!(curve.points().count(), 0, "there is no score yet");
        for i in 0..100_000 {
            let score = if i == 70_001 { 50.0 } else { 4.0 };
            curve.add(f64::from(i) * 0.1, score);
        }
        let points: Vec<_> = curve.points().collect();
        assert!(points.len() <= POINTS, "{}", points.len());
        let peak = points.iter().find(|(_, score)| *score == 50.0).unwrap();
        assert!((peak.0 - 7000.1).abs() < curve.step, "{peak:?}");
    }
}
