// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the mark was found, the next block is known: follow it, report it, and notice when it is gone.

use super::super::detector::{Detection, DetectionState, DetectorStats};
use super::super::format::{DELAY, ROWS};
use super::super::key::Signs;
use super::form::{Form, Scored};
use super::lags::LagCorrelator;
use super::search::{Candidate, NoiseSearch};
use super::{BLOCKS, CYCLE_SLOTS, NOISE_CYCLE, SLOT, SLOTS_PER_BLOCK};

/// How much better a neighbouring place must be before it is followed.
const BETTER: f64 = 1.05;
/// Share of the mean score of a place that a new score takes.
const NEW_SHARE: f64 = 0.3;
/// Blocks over which the mean score of the latest block is taken (10 s).
const STRENGTH_MEMORY: f64 = 60.0;
/// Mean score of a block that absence is tested against: half the strength so far, within these bounds. A
/// mark at the threshold has a mean score of 3.
const TESTED: [f64; 2] = [1.2, 2.0];
/// Cumulative sum (Page 1954) of the log-likelihood ratio at which the mark counts as gone, and the most that
/// one block adds. Gone takes 2.6 s on average for a strong mark, 4.4 s for a weak one.
const GONE: f64 = 14.0;
const BLOCK_ADDS: f64 = GONE / 10.0;
/// Above this share of [`GONE`] the mark may have moved: the search runs beside.
const DOUBT: f64 = 0.3;

/// The mark that is followed.
#[derive(Debug, Clone, Copy)]
struct Tracked {
    scored: Scored,
    /// Row of the block that ends with slot k = (k + place) / 4.
    place: i64,
    /// Mean scores one slot earlier, at the place, one slot later.
    means: [f64; 3],
    strength: f64,
    absence: f64,
}

/// What happens to a block once it is there.
pub struct NoiseJudge {
    rate: f64,
    interval: f64,
    form: Form,
    search: NoiseSearch,
    tracked: Option<Tracked>,
    /// Where the marked stretch begins, as it was found, and the end of the latest block that showed the mark, in
    /// seconds.
    begins: Option<Detection>,
    seen: f64,
    searching: bool,
    /// Blocks that are not whole were evaluated: once in a run of audio, so that they fit into the bound.
    finished: bool,
    last_report: f64,
    frames: u64,
    highest: f64,
    found: u64,
}

impl NoiseJudge {
    /// A judge of what `correlator` gives out: `steps` coarse speeds on either side of the nominal one, at
    /// most `alarms` false alarms an hour, a report of a mark that stays every `interval` seconds.
    pub fn new(
        correlator: &LagCorrelator,
        sample_rate: u32,
        signs: Signs,
        steps: i32,
        alarms: f64,
        interval: f64,
    ) -> Self {
        let form = Form::new(signs, steps, sample_rate, correlator);
        NoiseJudge {
            rate: sample_rate as f64,
            interval,
            search: NoiseSearch::new(&form, alarms),
            form,
            tracked: None,
            begins: None,
            seen: 0.0,
            searching: true,
            finished: false,
            last_report: 0.0,
            frames: 0,
            highest: 0.0,
            found: 0,
        }
    }

    /// Forgets all audio.
    pub fn reset(&mut self) {
        self.form.reset();
        self.search.reset();
        self.tracked = None;
        self.begins = None;
        self.searching = true;
        self.finished = false;
        self.last_report = 0.0;
        self.frames = 0;
        self.highest = 0.0;
    }

    /// Counts frames of audio, before what they reveal is taken.
    pub fn advance(&mut self, frames: u64) {
        self.frames += frames;
    }

    /// Seconds between two reports that the mark is still present.
    pub fn set_interval(&mut self, seconds: f64) {
        self.interval = seconds;
    }

    /// Whether the mark is there now.
    pub fn is_present(&self) -> bool {
        self.tracked.is_some()
    }

    /// Latest score of the mark while it is present, else the highest.
    pub fn score(&self) -> f64 {
        self.tracked
            .map_or(self.search.highest(), |tracked| self.scored(&tracked))
    }

    /// Figures about the work so far.
    pub fn stats(&self) -> DetectorStats {
        DetectorStats {
            frames: self.frames,
            hypotheses_per_hour: self.search.hypotheses_per_hour(),
            threshold: self.search.threshold(true),
            speeds: self.form.speeds(),
            highest_score: self.highest.max(self.search.highest()),
            found: self.found,
            payload_tries: 0,
        }
    }

    /// Tells that the blocks that come now are not whole. Returns whether they are to be evaluated.
    pub fn finish(&mut self) -> bool {
        !std::mem::replace(&mut self.finished, true)
    }

    /// Takes the block that ends with slot `slot`, in whose middle `middle` is the middle of the latest window.
    pub fn take(
        &mut self,
        audio: &LagCorrelator,
        slot: u64,
        middle: f64,
        report: &mut dyn FnMut(&Detection),
    ) {
        let (slot, end) = (slot as i64, middle / self.rate + 0.5 * SLOT);
        if let Some(was) = self.tracked {
            let now = self.follow(was, audio, slot);
            if now.absence >= GONE {
                self.lose(report);
            } else {
                if now.absence == 0.0 {
                    self.seen = end;
                }
                self.highest = self.highest.max(self.scored(&now));
                self.tracked = Some(now);
            }
            self.search_while(now.absence >= DOUBT * GONE);
        }
        if self.searching
            && let Some(found) = self.search.push(audio, slot, &mut self.form)
        {
            self.acquire(&found, slot, end, report);
        }
        match self.tracked {
            Some(tracked) if end - self.last_report >= self.interval - 0.5 * SLOT => {
                self.last_report = end;
                report(&self.detection(DetectionState::Present, &tracked, slot, end));
            }
            _ => (),
        }
    }

    /// Reports that the mark is no longer there, if it was.
    pub fn lose(&mut self, report: &mut dyn FnMut(&Detection)) {
        if let (Some(tracked), Some(begins)) = (self.tracked.take(), self.begins.take()) {
            let end = (self.seen * self.rate) as u64;
            report(&Detection {
                state: DetectionState::Lost,
                score: self.scored(&tracked),
                end: end.clamp(begins.start, self.frames.max(begins.start)),
                ..begins
            });
        }
    }

    /// Starts the search afresh, or stops it.
    fn search_while(&mut self, wanted: bool) {
        if wanted && !self.searching {
            self.search.reset();
        }
        self.searching = wanted;
    }

    fn acquire(
        &mut self,
        found: &Candidate,
        slot: i64,
        end: f64,
        report: &mut dyn FnMut(&Detection),
    ) {
        self.highest = self.highest.max(found.score);
        if let Some(tracked) = &self.tracked {
            let distance = (found.place - tracked.place).rem_euclid(CYCLE_SLOTS);
            if distance.min(CYCLE_SLOTS - distance) <= 1 {
                return;
            }
        }
        let tracked = Tracked {
            scored: found.scored,
            place: found.place,
            means: [0.0, found.scored.z, 0.0],
            strength: found.scored.latest.max(1.0),
            absence: 0.0,
        };
        let found = self.detection(DetectionState::Found, &tracked, slot, end);
        // A jump within marked programme is not a new mark: the next report names the new position.
        if self.tracked.replace(tracked).is_none() {
            self.found += 1;
            self.last_report = end;
            report(&found);
        }
        self.begins = Some(found);
        self.seen = end;
        self.searching = false;
    }

    /// Evaluates the place, or one of its neighbours, if a block of theirs ends with slot `slot`.
    fn follow(&mut self, mut now: Tracked, audio: &LagCorrelator, slot: i64) -> Tracked {
        let slots = SLOTS_PER_BLOCK as i64;
        for shift in [-1, 0, 1] {
            let ends = slot + now.place + shift;
            if ends.rem_euclid(slots) != 0 {
                continue;
            }
            let row = (ends / slots).rem_euclid(ROWS as i64) as usize;
            let speed = now.scored.speed;
            let scored = self.form.score(audio, slot, row, speed - 1..=speed + 1);
            let mean = &mut now.means[(shift + 1) as usize];
            *mean += NEW_SHARE * (scored.z - *mean);
            if shift == 0 {
                now.scored = scored;
                // The best of three speeds would be good news even where nothing is.
                let scored = self.form.score(audio, slot, row, speed..=speed);
                let tested = (0.5 * now.strength).clamp(TESTED[0], TESTED[1]);
                let for_absence = tested * (0.5 * tested - scored.latest);
                now.absence = (now.absence + for_absence.min(BLOCK_ADDS)).max(0.0);
                now.strength += (scored.latest - now.strength) / STRENGTH_MEMORY;
            }
            // The neighbours follow the drift of a speed that is not quite right.
            if shift != 0 && *mean > 0.0 && *mean > BETTER * now.means[1] {
                now.place += shift;
                now.means = match shift {
                    1 => [now.means[1], now.means[2], 0.0],
                    _ => [0.0, now.means[0], now.means[1]],
                };
                break;
            }
        }
        now
    }

    fn scored(&self, tracked: &Tracked) -> f64 {
        let nominal = self.form.is_nominal(tracked.scored.speed);
        tracked.scored.score(self.search.threshold(nominal))
    }

    /// A report about evidence that ends with slot `slot`, `end` seconds after the first frame.
    fn detection(
        &self,
        state: DetectionState,
        tracked: &Tracked,
        slot: i64,
        end: f64,
    ) -> Detection {
        let speed = self.form.speed(tracked.scored.speed);
        let window = (BLOCKS as f64 * DELAY).min((slot + 1) as f64 * SLOT);
        // Blocks that were not whole end after the audio does.
        let last = end.min(self.frames as f64 / self.rate);
        let start = (end - window).max(0.0);
        // The block that would end here is row (slot + place) / 4, and rows count from stream time 0.
        let end_of_row = (slot + tracked.place + SLOTS_PER_BLOCK as i64) as f64 * SLOT;
        let position = (end_of_row - (end - start) * speed).rem_euclid(NOISE_CYCLE);
        let score = self.scored(tracked);
        let nominal = self.form.is_nominal(tracked.scored.speed);
        Detection {
            key_index: 0,
            payload: None,
            state,
            score,
            log10_p: self.search.log10_alarms(score, nominal),
            window: last - start,
            speed,
            start: (start * self.rate) as u64,
            end: (last * self.rate) as u64,
            watermark_time: if NOISE_CYCLE - position < 1e-9 {
                0.0
            } else {
                position
            },
            watermark_time_error: None,
            broadcast_time: None,
        }
    }
}
