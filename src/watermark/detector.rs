// SPDX-License-Identifier: MIT OR Apache-2.0
//! From received audio to found, present and lost.

use super::candidate::Pilots;
use super::correlation::{Correlator, Slot};
pub use super::detection::{Detection, DetectionState, DetectorStats};
use super::downmix::Downmix;
use super::format::{Carrier, ConfigError, MOST_MILLIONS, RowClock, check_carrier, check_stream};
use super::heard::Heard;
use super::judge::Judge;
use super::key::{Key, wipe_stack};
use super::noise::{self, LagCorrelator, NoiseJudge};
use super::rows::KeyRows;
use super::speeds::SPEED_STEP;
use super::windows::LATEST;
use super::workspace::Workspace;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Frames of audio are taken in pieces of this many seconds.
const BLOCK: f64 = 0.01;
/// Scores of 2 s from which on half of the frames are enough, and below which they no longer are: about twice what is
/// needed to find the mark.
const COARSE_FROM: f64 = 18.0;
const COARSE_TO: f64 = 14.0;

/// What a [`Detector`] listens to and for.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectorConfig {
    /// Frames a second, 8 000 to 192 000.
    pub sample_rate: u32,
    /// Channels, 1 to 64.
    pub channels: usize,
    /// What was added.
    pub carrier: Carrier,
    /// What counts the rows.
    pub row_clock: RowClock,
    /// Seconds by which the detector's clock may be wrong, for [`RowClock::Utc`].
    pub clock_tolerance: f64,
    /// False alarms in an hour of unmarked audio that are acceptable, more than 0 up to 3600.
    pub false_alarms_per_hour: f64,
    /// Largest deviation of the playing speed that is searched, in percent, 0 to 6.
    pub max_speed_deviation: f64,
    /// Seconds between two reports that the mark is still present, at least 0.1.
    pub interval: f64,
}

impl DetectorConfig {
    /// Checks that the settings go together with each other and with so many keys, whatever the format of the audio.
    ///
    /// # Errors
    /// A setting out of its range, settings that do not go together, no key or too many.
    pub fn check(&self, keys: usize) -> Result<(), ConfigError> {
        let checks = [
            (
                "false-alarms-per-hour",
                self.false_alarms_per_hour,
                1e-30..=3600.0,
                "1e-30 to 3600",
            ),
            (
                "max-speed-deviation",
                self.max_speed_deviation,
                0.0..=6.0,
                "0 to 6 percent",
            ),
            ("interval", self.interval, 0.1..=f64::MAX, "at least 0.1 s"),
            (
                "clock-tolerance",
                self.clock_tolerance,
                0.0..=86_400.0,
                "0 to 86400 s",
            ),
        ];
        for (name, value, range, text) in checks {
            if !range.contains(&value) {
                return Err(ConfigError::Setting(name, value, text));
            }
        }
        check_carrier(self.carrier, self.row_clock)?;
        if self.carrier == Carrier::Noise && self.max_speed_deviation > noise::MAX_DEVIATION {
            return Err(ConfigError::Setting(
                "max-speed-deviation",
                self.max_speed_deviation,
                "0 to 1 percent with carrier=noise",
            ));
        }
        match (keys, self.carrier) {
            (0, _) => return Err(ConfigError::Keys(0, "1 or more")),
            (2.., Carrier::Noise) => return Err(ConfigError::Keys(keys, "1 with carrier=noise")),
            _ => (),
        }
        let (rows, _) = KeyRows::around(self.row_clock, self.clock_tolerance);
        let speeds = 1.0 + 2.0 * (self.max_speed_deviation / 100.0 / SPEED_STEP).round();
        let millions = 1e-6 * rows as f64 * speeds * keys as f64;
        if millions > MOST_MILLIONS {
            return Err(ConfigError::TooMuch(millions));
        }
        Ok(())
    }
}

/// Finds the marks of one key or several in a stream of audio.
///
/// ```
/// use gstwm::watermark::{Carrier, Detector, DetectorConfig, Key, RowClock};
/// let config = DetectorConfig {
///     sample_rate: 16_000,
///     channels: 1,
///     carrier: Carrier::Programme,
///     row_clock: RowClock::Stream,
///     clock_tolerance: 120.0,
///     false_alarms_per_hour: 1e-4,
///     max_speed_deviation: 0.1,
///     interval: 1.0,
/// };
/// let mut detector = Detector::new(&config, &[Key::parse("a passphrase")?])?;
/// detector.push(&[0.0; 16_000], &mut |report| panic!("silence is not marked: {report:?}"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Detector {
    channels: usize,
    block: usize,
    downmix: Downmix,
    mix: Vec<f32>,
    path: Path,
    interrupt: Arc<AtomicBool>,
}

/// One for each carrier.
enum Path {
    Programme(Box<Programme>),
    Noise(Box<(LagCorrelator, NoiseJudge)>),
}

/// What depends on the audio alone is done once, what depends on the key once for each.
struct Programme {
    correlator: Correlator,
    heard: Heard,
    judges: Vec<Judge>,
    work: Workspace,
    /// All marks are followed and strong, so half of the frames are enough.
    coarse: bool,
}

impl Detector {
    /// Checks the settings and allocates all that [`Detector::push`] needs.
    ///
    /// # Errors
    /// A setting out of its range, settings that do not go together, or no key.
    pub fn new(config: &DetectorConfig, keys: &[Key]) -> Result<Self, ConfigError> {
        check_stream(config.sample_rate, config.channels)?;
        config.check(keys.len())?;
        let block = (BLOCK * config.sample_rate as f64) as usize;
        let interrupt = Arc::default();
        let path = match (config.carrier, keys.first()) {
            (Carrier::Noise, Some(key)) => Path::noise(config, key, block),
            _ => Path::programme(config, keys, block, &interrupt),
        };
        Ok(Detector {
            channels: config.channels,
            block,
            downmix: Downmix::new(config.sample_rate, config.channels),
            mix: vec![0.0; block],
            path,
            interrupt,
        })
    }

    /// While this is set, by any thread, [`Detector::finish`] gives up what is left of a search over a long clock
    /// tolerance, which takes up to 20 s otherwise, and does not find what it would have found there.
    pub fn interrupt(&self) -> Arc<AtomicBool> {
        self.interrupt.clone()
    }

    /// Takes interleaved frames and calls `report` for whatever they reveal. Samples that are not finite count as 0.
    pub fn push(&mut self, input: &[f32], report: &mut dyn FnMut(&Detection)) {
        debug_assert_eq!(input.len() % self.channels, 0);
        for piece in input.chunks(self.block * self.channels) {
            let mix = &mut self.mix[..piece.len() / self.channels];
            self.downmix.mix(piece, mix);
            match &mut self.path {
                Path::Programme(path) => {
                    path.push(mix, report);
                }
                Path::Noise(path) => {
                    let (correlator, judge) = &mut **path;
                    judge.advance(mix.len() as u64);
                    correlator.push(mix, |audio, slot, middle| {
                        judge.take(audio, slot, middle, report)
                    });
                }
            }
        }
    }

    /// Tells that no more audio follows: evaluates what is left. [`Detector::reset`] is to follow.
    pub fn finish(&mut self, report: &mut dyn FnMut(&Detection)) {
        match &mut self.path {
            Path::Programme(path) => {
                let Programme {
                    correlator,
                    heard,
                    judges,
                    work,
                    ..
                } = &mut **path;
                correlator.finish(|slot| take(heard, judges, work, &slot, report));
                for judge in judges {
                    judge.finish(heard, work, report);
                }
            }
            Path::Noise(path) => {
                let (correlator, judge) = &mut **path;
                if judge.finish() {
                    correlator
                        .finish(|audio, slot, middle| judge.take(audio, slot, middle, report));
                }
            }
        }
    }

    /// Tells that the audio breaks off: reports a mark that is there as lost. [`Detector::reset`] is to follow.
    pub fn break_off(&mut self, report: &mut dyn FnMut(&Detection)) {
        match &mut self.path {
            Path::Programme(path) => {
                for judge in &mut path.judges {
                    judge.lose(&mut path.heard, report);
                }
            }
            Path::Noise(path) => path.1.lose(report),
        }
    }

    /// Forgets all audio. The next input frame is at `nanoseconds` of the detector's own clock,
    /// which counts for [`RowClock::Utc`] only.
    pub fn reset(&mut self, nanoseconds: u64) {
        self.downmix.reset();
        match &mut self.path {
            Path::Programme(path) => {
                path.correlator.reset();
                path.heard.reset();
                for judge in &mut path.judges {
                    judge.reset(nanoseconds);
                }
            }
            Path::Noise(path) => {
                path.0.reset();
                path.1.reset();
            }
        }
    }

    /// Seconds between two reports that the mark is still present.
    pub fn set_interval(&mut self, seconds: f64) {
        let seconds = seconds.max(0.1);
        match &mut self.path {
            Path::Programme(path) => {
                for judge in &mut path.judges {
                    judge.set_interval(seconds);
                }
            }
            Path::Noise(path) => path.1.set_interval(seconds),
        }
    }

    /// Whether the mark of any key is there now.
    pub fn is_present(&self) -> bool {
        match &self.path {
            Path::Programme(path) => path.judges.iter().any(Judge::is_present),
            Path::Noise(path) => path.1.is_present(),
        }
    }

    /// Latest score: of the latest 2 s of the mark while it is present, else the highest of all hypotheses. With
    /// several keys the highest of them, of those that are present if any is.
    pub fn score(&self) -> f64 {
        match &self.path {
            Path::Programme(path) => {
                let present = self.is_present();
                let judges = path.judges.iter();
                judges
                    .filter(|judge| judge.is_present() == present)
                    .map(Judge::score)
                    .fold(f64::NEG_INFINITY, f64::max)
            }
            Path::Noise(path) => path.1.score(),
        }
    }

    /// Figures about the work so far.
    pub fn stats(&self) -> DetectorStats {
        match &self.path {
            Path::Programme(path) => path.stats(),
            Path::Noise(path) => path.1.stats(),
        }
    }
}

/// Lets all keys judge a slot.
fn take(
    heard: &mut Heard,
    judges: &mut [Judge],
    work: &mut Workspace,
    slot: &Slot,
    report: &mut dyn FnMut(&Detection),
) {
    heard.take(slot);
    for judge in judges {
        judge.take(heard, work, report);
    }
}

impl Programme {
    fn push(&mut self, mix: &[f32], report: &mut dyn FnMut(&Detection)) {
        let Programme {
            correlator,
            heard,
            judges,
            work,
            coarse,
        } = self;
        heard.frames += mix.len() as u64;
        correlator.push(mix, |slot| take(heard, judges, work, &slot, report));
        let enough = if *coarse { COARSE_TO } else { COARSE_FROM };
        *coarse = judges.iter().all(|judge| judge.is_sure(enough));
        correlator.set_coarse(*coarse);
    }

    fn stats(&self) -> DetectorStats {
        let speeds = self.heard.maps.len();
        let of_all = |sum: fn(&Judge) -> f64| self.judges.iter().map(sum);
        DetectorStats {
            frames: self.heard.frames,
            hypotheses_per_hour: self
                .judges
                .first()
                .map_or(0.0, |judge| judge.thresholds().hypotheses_per_hour()),
            threshold: self.judges.first().map_or(0.0, |judge| {
                judge.thresholds().of(speeds / 2, Pilots::All, LATEST)
            }),
            speeds,
            highest_score: of_all(Judge::highest).fold(0.0, f64::max),
            found: self.judges.iter().map(Judge::found).sum(),
            payload_tries: self.judges.iter().map(Judge::payload_tries).sum(),
        }
    }
}

impl Path {
    fn programme(
        config: &DetectorConfig,
        keys: &[Key],
        block: usize,
        interrupt: &Arc<AtomicBool>,
    ) -> Self {
        let deviation = config.max_speed_deviation / 100.0;
        let correlator = Correlator::new(config.sample_rate, deviation, block);
        let back = Judge::goes_back(config);
        let heard = Heard::new(config.sample_rate, deviation, &correlator, back);
        let judge = |index| {
            wipe_stack();
            Judge::new(config, keys, index, &heard, interrupt)
        };
        let judges: Vec<_> = (0..keys.len()).filter_map(judge).collect();
        wipe_stack();
        Path::Programme(Box::new(Programme {
            correlator,
            work: Workspace::new(Judge::rows_side_by_side(config), heard.maps.len()),
            heard,
            judges,
            coarse: false,
        }))
    }

    fn noise(config: &DetectorConfig, key: &Key, block: usize) -> Self {
        let (rate, deviation) = (config.sample_rate, config.max_speed_deviation / 100.0);
        let correlator = LagCorrelator::new(rate, deviation, block);
        let judge = NoiseJudge::new(
            &correlator,
            rate,
            key.signs(),
            (deviation / SPEED_STEP).round() as i32,
            config.false_alarms_per_hour,
            config.interval,
        );
        Path::Noise(Box::new((correlator, judge)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{detector_config, marked, soft_noise};
    use super::*;

    #[test]
    fn frames_are_left_out_only_while_the_mark_is_strong() {
        let key = Key::parse("5a".repeat(32).as_str()).unwrap();
        let mut detector = Detector::new(&detector_config(), std::slice::from_ref(&key)).unwrap();
        let mut coarse_after = |audio: &[f32]| {
            detector.push(audio, &mut |_| ());
            matches!(&detector.path, Path::Programme(path) if path.coarse)
        };
        assert!(!coarse_after(&soft_noise(2, 7)));
        assert!(coarse_after(&marked(5, &key, None)));
        assert!(!coarse_after(&soft_noise(1, 7)));
    }
}
