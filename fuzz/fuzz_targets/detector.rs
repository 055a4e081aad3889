// SPDX-License-Identifier: MIT OR Apache-2.0
//! The detector of the core: no panic, reports in the right order with sound figures, nothing left after a reset.

#![no_main]

use arbitrary::Arbitrary;
use gst_plugin_wm_fuzz::{BASE, KEY, Rate, Sound, Steps, channels};
use gstwm::watermark::format::CYCLE;
use gstwm::watermark::{
    Carrier, Detection, DetectionState, Detector, DetectorConfig, Key, RowClock,
};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Case {
    rate: Rate,
    channels: u8,
    many_channels: bool,
    /// One in sixteen has the noise carrier, which takes much longer.
    noise: u8,
    stream: bool,
    keys: u8,
    /// Settings that are checked only.
    any: [f64; 4],
    /// Settings that are small enough to search with.
    tolerance: u8,
    alarms: u8,
    speeds: u8,
    interval: u8,
    /// Another detector takes pieces of these sizes.
    cuts: [u16; 2],
    steps: Steps<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// Three seconds of what is marked, which is how it is found, from a second of the programme on.
    Marked(u8),
    Push(Sound, u16),
    Interval(f64),
    Finish,
    BreakOff,
    /// So many milliseconds behind the start of the marked programme.
    Reset(i16),
    ResetTo(u64),
}

const MOST_SAMPLES: usize = 80_000;

impl Case {
    fn noise(&self) -> bool {
        self.noise % 16 == 1
    }

    fn config(&self) -> DetectorConfig {
        DetectorConfig {
            sample_rate: self.rate.get(),
            channels: channels(self.channels, self.many_channels),
            carrier: if self.noise() {
                Carrier::Noise
            } else {
                Carrier::Programme
            },
            row_clock: if self.stream || self.noise() {
                RowClock::Stream
            } else {
                RowClock::Utc
            },
            clock_tolerance: f64::from(self.tolerance) / 100.0,
            false_alarms_per_hour: 10f64.powi(3 - i32::from(self.alarms % 16)),
            // With noise, each speed takes half a second.
            max_speed_deviation: f64::from(if self.noise() { 0 } else { self.speeds % 3 }) * 0.02,
            interval: 0.1 + f64::from(self.interval) / 100.0,
        }
    }

    /// Settings of any value are taken or refused, never more.
    fn check_any(&self) {
        let [tolerance, alarms, deviation, interval] = self.any;
        let config = DetectorConfig {
            clock_tolerance: tolerance,
            false_alarms_per_hour: alarms,
            max_speed_deviation: deviation,
            interval,
            ..self.config()
        };
        let valid = (0.0..=86_400.0).contains(&tolerance)
            && (1e-30..=3600.0).contains(&alarms)
            && (0.0..=6.0).contains(&deviation)
            && interval >= 0.1
            && interval.is_finite();
        let taken = config.check(usize::from(self.keys)).is_ok();
        assert!(!taken || valid, "{config:?}");
    }
}

/// What is known from the reports about each key.
struct Ledger {
    present: Vec<bool>,
    reports: Vec<Detection>,
    /// Frames since the reset.
    frames: u64,
    utc: bool,
    noise: bool,
}

impl Ledger {
    fn take(&mut self, new: &[Detection]) {
        for report in new {
            self.check(report);

            let present = &mut self.present[report.key_index];
            let before = report.state != DetectionState::Found;
            assert_eq!(*present, before, "{report:?}");
            *present = report.state != DetectionState::Lost;
        }
        self.reports.extend_from_slice(new);
    }

    fn check(&self, report: &Detection) {
        assert!(report.score.is_finite(), "{report:?}");
        assert!(
            report.log10_p.is_finite() && report.log10_p <= 0.0,
            "{report:?}"
        );
        assert!(
            report.window.is_finite() && report.window >= 0.0,
            "{report:?}"
        );
        assert!((0.9..1.1).contains(&report.speed), "{report:?}");
        assert!(report.start <= report.end, "{report:?}");
        assert!(
            report.end <= self.frames,
            "{} frames: {report:?}",
            self.frames
        );
        assert!((0.0..=CYCLE).contains(&report.watermark_time), "{report:?}");
        assert_eq!(report.broadcast_time.is_some(), self.utc, "{report:?}");
        assert!(!self.noise || report.payload.is_none(), "{report:?}");
    }
}

struct Twins {
    config: DetectorConfig,
    keys: Vec<Key>,
    detector: Detector,
    twin: Detector,
    cuts: [usize; 2],
    ledger: Ledger,
    interval: f64,
    /// The end was told: a reset is to follow.
    ended: bool,
}

impl Twins {
    fn new(case: &Case) -> Option<Self> {
        let config = case.config();
        let wanted = (case.keys.wrapping_add(1)) % 4;
        let keys: Vec<Key> = (0..wanted)
            .map(|i| Key::from_bytes(if i == 0 { KEY } else { [i; 32] }))
            .collect();
        let detector = Detector::new(&config, &keys);
        let valid = (8_000..=192_000).contains(&config.sample_rate)
            && (1..=64).contains(&config.channels)
            && (1..=if case.noise() { 1 } else { 3 }).contains(&wanted);
        assert_eq!(detector.is_ok(), valid, "{config:?}");
        Some(Twins {
            detector: detector.ok()?,
            twin: Detector::new(&config, &keys).ok()?,
            cuts: case.cuts.map(|cut| usize::from(cut).max(1)),
            ledger: Ledger {
                present: vec![false; keys.len()],
                reports: Vec::new(),
                frames: 0,
                utc: config.row_clock == RowClock::Utc,
                noise: case.noise(),
            },
            interval: config.interval,
            config,
            keys,
            ended: false,
        })
    }

    /// What both say: the same, or pieces or a reset matter.
    fn work(&mut self, work: impl Fn(&mut Detector, &[usize], &mut Vec<Detection>)) {
        let (mut reports, mut others) = (Vec::new(), Vec::new());
        work(&mut self.detector, &[usize::MAX], &mut reports);
        work(&mut self.twin, &self.cuts, &mut others);
        if self.ended {
            return;
        }
        assert_eq!(reports, others);
        self.ledger.take(&reports);
        assert!(self.detector.score().is_finite());
        let stats = self.detector.stats();
        assert_eq!(stats.frames, self.ledger.frames);
        assert!(stats.highest_score.is_finite() && stats.threshold.is_finite());
    }

    fn push(&mut self, input: &[f32]) {
        let channels = self.config.channels;
        self.ledger.frames += (input.len() / channels) as u64;
        self.work(|detector, cuts, reports| {
            let (mut rest, mut cuts) = (input, cuts.iter().cycle());
            while let (false, Some(cut)) = (rest.is_empty(), cuts.next()) {
                let (piece, after) = rest.split_at(rest.len().min(cut.saturating_mul(channels)));
                detector.push(piece, &mut |report| reports.push(report.clone()));
                rest = after;
            }
        });
        if !self.ended {
            let present = self.ledger.present.contains(&true);
            assert_eq!(self.detector.is_present(), present);
        }
    }

    fn reset(&mut self, nanoseconds: u64) {
        if let Ok(twin) = Detector::new(&self.config, &self.keys) {
            self.twin = twin;
        }
        for detector in [&mut self.detector, &mut self.twin] {
            detector.reset(nanoseconds);
            detector.set_interval(self.interval);
            assert!(!detector.is_present());
        }
        self.ledger.present.fill(false);
        self.ledger.frames = 0;
        self.ended = false;
    }

    fn step(&mut self, step: &Step, left: &mut usize) {
        let channels = self.config.channels;
        let mut sound = |sound: Sound, frames: usize| {
            let frames = frames.min(*left);
            *left -= frames;
            sound.frames(frames, channels)
        };
        match step {
            Step::Push(kind, frames) => {
                let input = sound(*kind, usize::from(*frames));
                self.push(&input);
            }
            Step::Marked(at) => {
                let at = u16::from(at % 4) * 100;
                let input = sound(Sound::Marked { at, exponent: 0 }, 24_000);
                self.push(&input);
            }
            Step::Interval(seconds) => {
                self.interval = *seconds;
                self.detector.set_interval(*seconds);
                self.twin.set_interval(*seconds);
            }
            Step::Finish => {
                self.work(|detector, _, reports| {
                    detector.finish(&mut |report| reports.push(report.clone()));
                });
                self.ended = true;
            }
            Step::BreakOff => {
                self.work(|detector, _, reports| {
                    detector.break_off(&mut |report| reports.push(report.clone()));
                });
                assert!(self.ended || !self.ledger.present.contains(&true));
                self.ended = true;
            }
            Step::Reset(after) => {
                self.reset(BASE.saturating_add_signed(i64::from(*after) * 1_000_000))
            }
            Step::ResetTo(nanoseconds) => self.reset(*nanoseconds),
        }
    }
}

fuzz_target!(|case: Case| {
    case.check_any();
    let Some(mut twins) = Twins::new(&case) else {
        return;
    };
    twins.reset(BASE);
    let mut left = MOST_SAMPLES / twins.config.channels;
    for step in &case.steps.0 {
        twins.step(step, &mut left);
    }
});
