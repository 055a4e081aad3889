// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sample rates at which the 160 ms of the wire format are no whole number of samples: the mark is as good there, and
//! its time does not drift.

mod common;

use common::{Random, ahead, detections, detector_config, embedder_config, mark};
use gstwm::watermark::DetectionState::Present;

/// A multiple of 25 Hz, two that are none, and film that was slowed down for television.
const RATES: [u32; 4] = [16_000, 16_003, 22_254, 47_952];
const SECONDS: u32 = 100;

#[test]
fn the_mark_is_as_good_and_as_well_timed_at_any_rate() {
    let mut scores = Vec::new();
    for rate in RATES {
        let mut random = Random::new(7);
        // The first of a minute and a half is not looked at, but the frames of the carrier count from there.
        let programme: Vec<f32> = (0..rate * SECONDS).map(|_| 0.1 * random.noise()).collect();
        let marked = mark(&programme, &embedder_config(rate, 1), 0);
        let cut = (rate * (SECONDS - 10)) as usize;
        let mut config = detector_config(rate, 1);
        config.max_speed_deviation = 0.0;
        let reports = detections(&marked[cut..], &config);
        let present: Vec<_> = reports
            .iter()
            .filter(|(now, report)| *now > 4.0 && report.state == Present)
            .collect();
        assert!(present.len() >= 4, "{rate} Hz: {reports:?}");
        let mean = |of: &dyn Fn(&(f64, gstwm::watermark::Detection)) -> f64| {
            present.iter().map(|report| of(report)).sum::<f64>() / present.len() as f64
        };
        scores.push(mean(&|(_, report)| report.score));
        let late = mean(&|(_, report)| ahead(report, rate)) - f64::from(SECONDS - 10);
        assert!(late.abs() < 0.005, "{rate} Hz: {late} s");
    }
    let least = scores.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(least > 0.97 * scores[0], "{scores:?}");
}
