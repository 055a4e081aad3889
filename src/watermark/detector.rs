// SPDX-License-Identifier: MIT OR Apache-2.0
//! From received audio to found, present and lost.

use super::correlation::{Correlator, SLOT, Slot, SpeedMap};
use super::downmix::Downmix;
use super::format::{
    CYCLE, Carrier, ConfigError, ROW_NANOSECONDS, RowClock, check_carrier, check_stream,
};
use super::key::Key;
use super::noise::{self, LagCorrelator, NoiseJudge};
use super::search::{Candidate, LocalClock, SPEED_STEP, Search, speed_maps};
use super::tracker::{Tracked, Tracker};

/// Frames of audio are taken in pieces of this many seconds.
const BLOCK: f64 = 0.01;

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

/// What a [`Detector`] has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetectionState {
    /// The mark was not there before.
    Found,
    /// The mark is still there; comes once an interval.
    Present,
    /// The mark is no longer there.
    Lost,
}

/// One report of a [`Detector`].
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// What happened.
    pub state: DetectionState,
    /// The score z: mean 0 and variance 1 on unmarked audio.
    pub score: f64,
    /// Logarithm (base 10) of the expected number of false alarms in an hour of unmarked audio if such a score were
    /// enough for one, all hypotheses counted; 0 stands for one or more.
    pub log10_p: f64,
    /// Seconds of evidence behind the score.
    pub window: f64,
    /// Playing speed, 1.0 being that of the embedder.
    pub speed: f64,
    /// First input frame of the evidence, counted since [`Detector::reset`].
    pub start: u64,
    /// First input frame after the evidence.
    pub end: u64,
    /// Position of frame `start` in the cycle of rows, in seconds: 0 to 204.8, or to 163.84 for [`Carrier::Noise`].
    pub watermark_time: f64,
}

/// Figures about a [`Detector`] at work.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct DetectorStats {
    /// Frames taken since the last reset.
    pub frames: u64,
    /// Hypotheses (time, row, window, speed) that are tested in an hour while searching.
    pub hypotheses_per_hour: f64,
    /// Score above which a mark at nominal speed counts as found.
    pub threshold: f64,
    /// Speeds that are searched.
    pub speeds: usize,
    /// Highest score since the last reset.
    pub highest_score: f64,
    /// Times that the mark was found since the detector was made.
    pub found: u64,
}

/// Finds the mark of one key in a stream of audio.
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
/// let mut detector = Detector::new(&config, &Key::parse("a passphrase")?)?;
/// detector.push(&[0.0; 16_000], &mut |report| panic!("silence is not marked: {report:?}"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Detector {
    channels: usize,
    block: usize,
    downmix: Downmix,
    mix: Vec<f32>,
    path: Path,
}

/// One for each carrier.
enum Path {
    Programme(Box<(Correlator, Judge)>),
    Noise(Box<(LagCorrelator, NoiseJudge)>),
}

/// What happens to a slot once it is there.
struct Judge {
    rate: f64,
    interval: f64,
    row_clock: RowClock,
    clock: LocalClock,
    /// One for each speed, the slowest first.
    maps: Vec<SpeedMap>,
    search: Search,
    tracker: Tracker,
    tracked: Option<Tracked>,
    searching: bool,
    /// Middle of the latest slot, in seconds.
    latest: f64,
    last_report: f64,
    found: u64,
    highest: f64,
    frames: u64,
}

impl Detector {
    /// Checks the settings and allocates all that [`Detector::push`] needs.
    ///
    /// # Errors
    /// A setting out of its range, or settings that do not go together.
    pub fn new(config: &DetectorConfig, key: &Key) -> Result<Self, ConfigError> {
        check(config)?;
        let block = (BLOCK * config.sample_rate as f64) as usize;
        let path = match config.carrier {
            Carrier::Programme => Path::programme(config, key, block),
            Carrier::Noise => Path::noise(config, key, block),
        };
        Ok(Detector {
            channels: config.channels,
            block,
            downmix: Downmix::new(config.sample_rate, config.channels),
            mix: vec![0.0; block],
            path,
        })
    }

    /// Takes interleaved frames and calls `report` for whatever they reveal. Samples that are not finite count as 0.
    pub fn push(&mut self, input: &[f32], report: &mut dyn FnMut(&Detection)) {
        debug_assert_eq!(input.len() % self.channels, 0);
        for piece in input.chunks(self.block * self.channels) {
            let mix = &mut self.mix[..piece.len() / self.channels];
            self.downmix.mix(piece, mix);
            match &mut self.path {
                Path::Programme(path) => {
                    let (correlator, judge) = &mut **path;
                    judge.frames += mix.len() as u64;
                    correlator.push(mix, |slot| judge.take(slot, report));
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

    /// Tells that no more audio follows for now: evaluates what the last slot left over.
    pub fn finish(&mut self, report: &mut dyn FnMut(&Detection)) {
        match &mut self.path {
            Path::Programme(path) => {
                let (correlator, judge) = &mut **path;
                correlator.finish(|slot| judge.take(slot, report));
                judge.finish(report);
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

    /// Forgets all audio. The next input frame is at `nanoseconds` of the detector's own clock,
    /// which counts for [`RowClock::Utc`] only.
    pub fn reset(&mut self, nanoseconds: u64) {
        self.downmix.reset();
        match &mut self.path {
            Path::Programme(path) => {
                path.0.reset();
                path.1.reset(nanoseconds);
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
            Path::Programme(path) => path.1.interval = seconds,
            Path::Noise(path) => path.1.set_interval(seconds),
        }
    }

    /// Whether the mark is there now.
    pub fn is_present(&self) -> bool {
        match &self.path {
            Path::Programme(path) => path.1.tracked.is_some(),
            Path::Noise(path) => path.1.is_present(),
        }
    }

    /// Latest score: of the tracked mark while it is present, else the highest of all hypotheses.
    pub fn score(&self) -> f64 {
        match &self.path {
            Path::Programme(path) => {
                let Judge {
                    tracked, search, ..
                } = &path.1;
                tracked.map_or(search.highest(), |tracked| tracked.score)
            }
            Path::Noise(path) => path.1.score(),
        }
    }

    /// Figures about the work so far.
    pub fn stats(&self) -> DetectorStats {
        match &self.path {
            Path::Programme(path) => path.1.stats(),
            Path::Noise(path) => path.1.stats(),
        }
    }
}

impl Path {
    fn programme(config: &DetectorConfig, key: &Key, block: usize) -> Self {
        let rate = config.sample_rate as f64;
        let deviation = config.max_speed_deviation / 100.0;
        let correlator = Correlator::new(config.sample_rate, deviation, block);
        let maps = speed_maps(deviation, config.sample_rate, &correlator);
        let search = Search::new(
            key.signs(),
            config.row_clock,
            config.clock_tolerance,
            maps.len(),
            maps.len() / 2,
            config.false_alarms_per_hour,
        );
        let judge = Judge {
            rate,
            interval: config.interval,
            row_clock: config.row_clock,
            clock: LocalClock { first_row: 0 },
            maps,
            search,
            tracker: Tracker::new(key.signs(), config.row_clock),
            tracked: None,
            searching: true,
            latest: 0.0,
            last_report: 0.0,
            found: 0,
            highest: 0.0,
            frames: 0,
        };
        Path::Programme(Box::new((correlator, judge)))
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

impl Judge {
    fn reset(&mut self, nanoseconds: u64) {
        self.clock.first_row = match self.row_clock {
            RowClock::Stream => 0,
            RowClock::Utc => (nanoseconds / ROW_NANOSECONDS) as i64,
        };
        self.search.reset(self.clock);
        self.tracked = None;
        self.searching = true;
        (self.latest, self.last_report) = (0.0, 0.0);
        self.highest = 0.0;
        self.frames = 0;
    }

    fn stats(&self) -> DetectorStats {
        let Judge { search, maps, .. } = self;
        DetectorStats {
            frames: self.frames,
            hypotheses_per_hour: search.hypotheses_per_hour(),
            threshold: search.threshold(maps.len() / 2),
            speeds: maps.len(),
            highest_score: self.highest.max(search.highest()),
            found: self.found,
        }
    }

    fn take(&mut self, slot: Slot, report: &mut dyn FnMut(&Detection)) {
        let seconds = slot.middle / self.rate;
        self.latest = seconds;
        if let Some(was) = self.tracked {
            let tracked = self
                .tracker
                .push(seconds, slot.sums, &self.maps, self.clock);
            if tracked.gone {
                report(&self.detection(DetectionState::Lost, &was, seconds));
                self.tracked = None;
            } else {
                self.tracked = Some(tracked);
                self.highest = self.highest.max(tracked.score);
            }
            self.search_while(tracked.doubtful);
        }
        if self.searching
            && let Some(found) = self.search.push(seconds, slot.sums, &self.maps)
        {
            self.found(found, seconds, report);
        }
        match self.tracked {
            Some(tracked) if seconds - self.last_report >= self.interval - 0.5 * SLOT => {
                self.last_report = seconds;
                report(&self.detection(DetectionState::Present, &tracked, seconds));
            }
            _ => (),
        }
    }

    /// Starts the search afresh, or stops it.
    fn search_while(&mut self, wanted: bool) {
        if wanted && !self.searching {
            self.search.reset(self.clock);
        }
        self.searching = wanted;
    }

    /// Tests what the latest slot left untested.
    fn finish(&mut self, report: &mut dyn FnMut(&Detection)) {
        if self.searching
            && let Some(found) = self.search.finish()
        {
            self.found(found, self.latest, report);
        }
    }

    /// Follows what the search has found with the slot at `seconds`.
    fn found(&mut self, found: Candidate, seconds: f64, report: &mut dyn FnMut(&Detection)) {
        self.highest = self.highest.max(found.score);
        let (maps, clock) = (&self.maps, self.clock);
        if self.tracked.is_some()
            && self
                .tracker
                .follows(&found, &self.search, maps, clock, seconds)
        {
            return;
        }
        self.tracker
            .acquire(&found, &self.search, maps, clock, seconds);
        let tracked = self.tracker.tracked();
        // A jump within marked programme is not a new mark: the next report names the new position.
        if self.tracked.replace(tracked).is_none() {
            self.found += 1;
            self.last_report = seconds;
            report(&self.detection(DetectionState::Found, &tracked, seconds));
        }
        self.searching = false;
    }

    /// A report about evidence that ends with the slot whose middle is at `seconds`.
    fn detection(&self, state: DetectionState, tracked: &Tracked, seconds: f64) -> Detection {
        let end = seconds + 0.5 * SLOT;
        let start = (end - tracked.seconds).max(0.0);
        let speed = self.maps[tracked.speed].speed;
        let position = start * speed
            + tracked.place as f64 * SLOT
            + (self.clock.first_row as f64 * ROW_NANOSECONDS as f64 * 1e-9) % CYCLE;
        Detection {
            state,
            score: tracked.score,
            log10_p: self.search.log10_alarms(tracked.score, tracked.speed),
            window: tracked.seconds,
            speed,
            start: (start * self.rate) as u64,
            end: (end * self.rate) as u64,
            watermark_time: position.rem_euclid(CYCLE),
        }
    }
}

fn check(config: &DetectorConfig) -> Result<(), ConfigError> {
    check_stream(config.sample_rate, config.channels)?;
    let checks = [
        (
            "false-alarms-per-hour",
            config.false_alarms_per_hour,
            1e-30..=3600.0,
            "1e-30 to 3600",
        ),
        (
            "max-speed-deviation",
            config.max_speed_deviation,
            0.0..=6.0,
            "0 to 6 percent",
        ),
        (
            "interval",
            config.interval,
            0.1..=f64::MAX,
            "at least 0.1 s",
        ),
        (
            "clock-tolerance",
            config.clock_tolerance,
            0.0..=86_400.0,
            "0 to 86400 s",
        ),
    ];
    for (name, value, range, text) in checks {
        if !range.contains(&value) {
            return Err(ConfigError::Setting(name, value, text));
        }
    }
    check_carrier(config.carrier, config.row_clock)?;
    if config.carrier == Carrier::Noise && config.max_speed_deviation > noise::MAX_DEVIATION {
        return Err(ConfigError::Setting(
            "max-speed-deviation",
            config.max_speed_deviation,
            "0 to 1 percent with carrier=noise",
        ));
    }
    Ok(())
}
