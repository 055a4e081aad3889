// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the mark was found, the next row is known: follow it, and notice when it is gone.
//!
//! Nine hypotheses remain in each view, three speeds by three positions 40 ms apart. They keep the evidence that the
//! search had for them, so nothing is lost at the hand-over, and they follow a slow drift.
//!
//! Gone is decided by a cumulative sum (Page 1954) of the log-likelihood ratio between "no mark", where
//! the score of a row has mean 0, and "half of the strength so far": one good row clears what a pause in
//! the programme has piled up, and what one row can add is bounded, so a strong mark is not given up
//! for a pause of two seconds.

use super::correlation::{SLOT, SLOTS_PER_ROW, SpeedMap, of_view};
use super::evidence::{Evidence, LATEST, WINDOWS};
use super::format::{CHIPS, ROWS, RowClock};
use super::key::Signs;
use super::search::{Candidate, LocalClock, Search};
use super::weighting::VIEWS;
use pulp::Arch;
use rustfft::num_complex::Complex;

/// The window that tells the neighbouring hypotheses apart: 3.2 s.
const COMPARED: usize = LATEST + 1;
/// How much better a neighbour must be before it is followed.
const BETTER: f32 = 1.05;
/// Rows over which the mean score of a row is taken (5 s).
const STRENGTH_MEMORY: f64 = 25.0;
/// Mean score of a row that absence is tested against: half the strength so far, within these bounds.
const TESTED: [f64; 2] = [0.3, 1.5];
/// Cumulative sum at which the mark counts as gone, and the most that one row adds: 2.5 s for a strong mark.
const GONE: f64 = 14.0;
const ROW_ADDS: f64 = GONE / 12.5;
/// Above this share of [`GONE`] the mark may have moved: the search runs beside the tracker.
const DOUBT: f64 = 0.3;

/// Hypotheses in a view, the one in the middle, and all of them.
const NEIGHBOURS: usize = 9;
const CENTRE: usize = 4;
const LANES: usize = VIEWS * NEIGHBOURS;

/// One hypothesis that is followed.
struct Lane {
    view: usize,
    speed: usize,
    /// Position of the key against the local rows, in slots.
    place: i64,
    evidence: Evidence,
}

/// Follows one mark.
pub struct Tracker {
    signs: Signs,
    row_clock: RowClock,
    arch: Arch,
    lanes: Vec<Lane>,
    spare: Vec<Lane>,
    best: usize,
    /// The best was the best before its present row began.
    settled: bool,
    strength: f64,
    absence: f64,
    chips: [f32; CHIPS],
}

/// What the tracker knows after a slot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tracked {
    /// Highest score of all windows, and the window.
    pub score: f64,
    pub window: usize,
    /// Seconds of evidence in that window.
    pub seconds: f64,
    /// Index of the speed.
    pub speed: usize,
    /// Position of the key against the local rows, in slots.
    pub place: i64,
    /// The mark is no longer there.
    pub gone: bool,
    /// The mark may no longer be there, or elsewhere.
    pub doubtful: bool,
}

impl Tracker {
    /// A tracker that follows nothing yet.
    pub fn new(signs: Signs, row_clock: RowClock) -> Self {
        let lanes = || {
            (0..LANES)
                .map(|_| Lane {
                    view: 0,
                    speed: 0,
                    place: 0,
                    evidence: Evidence::new(1),
                })
                .collect()
        };
        Tracker {
            signs,
            row_clock,
            arch: Arch::new(),
            lanes: lanes(),
            spare: lanes(),
            best: CENTRE,
            settled: false,
            strength: 0.0,
            absence: 0.0,
            chips: [0.0; CHIPS],
        }
    }

    /// Starts to follow what `search` has just found with the slot at `seconds`.
    pub fn acquire(
        &mut self,
        found: &Candidate,
        search: &Search,
        maps: &[SpeedMap],
        clock: LocalClock,
        seconds: f64,
    ) {
        let local = clock.row(seconds, maps[found.speed].speed, found.alignment);
        let delta = search.row_of_key(local, found.offset) as i64 - local;
        let place = delta * SLOTS_PER_ROW as i64 + found.alignment as i64;
        let slots = (search.rows() * SLOTS_PER_ROW) as i64;
        let found_at = (found.offset * SLOTS_PER_ROW + found.alignment) as i64;
        for (lane, (view, step, shift)) in self.lanes.iter_mut().zip(neighbours()) {
            lane.view = view;
            lane.speed = neighbour_speed(found.speed, step, maps.len());
            let shift = shift + slip(maps, found.speed, lane.speed, seconds);
            lane.place = place + shift;
            let at = (found_at + shift).rem_euclid(slots) as usize;
            lane.evidence.take(
                search.evidence(view, lane.speed, at % SLOTS_PER_ROW),
                at / SLOTS_PER_ROW,
            );
        }
        self.best = found.view * NEIGHBOURS + CENTRE;
        self.settled = false;
        self.absence = 0.0;
        let rows = self.lanes[self.best].evidence.seconds(found.window) / super::format::ROW;
        self.strength = found.score / rows.max(1.0).sqrt();
    }

    /// Adds a slot.
    pub fn push(
        &mut self,
        seconds: f64,
        sums: &[Complex<f32>],
        maps: &[SpeedMap],
        clock: LocalClock,
    ) -> Tracked {
        let mut ended = None;
        for lane in 0..self.lanes.len() {
            // Lanes of one view and speed stand together, so their chips are made once.
            let Lane { view, speed, .. } = self.lanes[lane];
            let before = lane.checked_sub(1).map(|lane| &self.lanes[lane]);
            if before.is_none_or(|before| (before.view, before.speed) != (view, speed)) {
                maps[speed].chips(of_view(sums, view), &mut self.chips);
            }
            let row_score = self.push_lane(lane, seconds, maps, clock);
            if lane == self.best {
                ended = row_score;
            }
        }
        if let Some(score) = ended {
            self.end_row(score, maps, seconds);
        }
        self.tracked()
    }

    /// Judges the row that the best hypothesis has just ended, and chooses again.
    ///
    /// The best of many looks like a mark wherever there is none. So a row counts only if its hypothesis
    /// was chosen before the row began: then the score has mean 0 without a mark.
    fn end_row(&mut self, score: f64, maps: &[SpeedMap], seconds: f64) {
        if self.settled {
            self.judge(score);
            self.settled = !self.choose(maps, seconds);
        } else {
            self.settled = true;
        }
        self.close_up(maps, seconds);
    }

    /// Adds a slot to one hypothesis; returns the score of the row that this ends.
    fn push_lane(
        &mut self,
        lane: usize,
        seconds: f64,
        maps: &[SpeedMap],
        clock: LocalClock,
    ) -> Option<f64> {
        let Lane {
            speed,
            place,
            evidence,
            ..
        } = &mut self.lanes[lane];
        let slots = SLOTS_PER_ROW as i64;
        let local = clock.row(
            seconds,
            maps[*speed].speed,
            place.rem_euclid(slots) as usize,
        );
        let row_score = evidence.enter_row(local);
        let row = local + place.div_euclid(slots);
        let row = match self.row_clock {
            RowClock::Stream => row.rem_euclid(ROWS as i64),
            RowClock::Utc => row.max(0),
        };
        let mut signs = [0.0; CHIPS];
        self.signs.row(row as u64, &mut signs);
        let product = self.chips.iter().zip(signs).map(|(b, s)| b * s).sum();
        evidence.add(&self.chips, &[product]);
        row_score
    }

    /// Takes the score of a whole row as a sign of presence or absence.
    fn judge(&mut self, score: f64) {
        let tested = (0.5 * self.strength).clamp(TESTED[0], TESTED[1]);
        let for_absence = 0.5 * tested * tested - tested * score;
        self.absence = (self.absence + for_absence.min(ROW_ADDS)).max(0.0);
        // What may be no mark says nothing about its strength: with a strength learned from noise, no row
        // would speak for absence any more.
        if !self.is_doubtful() {
            self.strength += (score - self.strength) / STRENGTH_MEMORY;
        }
    }

    fn is_doubtful(&self) -> bool {
        self.absence >= DOUBT * GONE
    }

    /// Follows the best of the hypotheses and keeps it in the middle. Returns whether it is another one.
    fn choose(&mut self, maps: &[SpeedMap], seconds: f64) -> bool {
        let score = |lane: &Lane| lane.evidence.highest(self.arch)[COMPARED];
        let now = score(&self.lanes[self.best]);
        let (best, most) = self.lanes.iter().map(score).enumerate().fold(
            (self.best, now * BETTER),
            |(best, most), (i, score)| {
                if score > most {
                    (i, score)
                } else {
                    (best, most)
                }
            },
        );
        if best == self.best || most <= 0.0 {
            return false;
        }
        let Lane {
            view: best_view,
            speed,
            place,
            ..
        } = self.lanes[best];
        for (new, (view, step, shift)) in self.spare.iter_mut().zip(neighbours()) {
            new.view = view;
            new.speed = neighbour_speed(speed, step, maps.len());
            new.place = place + shift + slip(maps, speed, new.speed, seconds);
            match self
                .lanes
                .iter()
                .find(|old| (old.view, old.speed, old.place) == (view, new.speed, new.place))
            {
                Some(old) => new.evidence.take(&old.evidence, 0),
                None => new.evidence.reset(),
            }
        }
        std::mem::swap(&mut self.lanes, &mut self.spare);
        self.best = best_view * NEIGHBOURS + CENTRE;
        true
    }

    /// Keeps hypotheses of other speeds at the place of the best: played at another speed from the start
    /// on, the programme would by now be elsewhere, but what is asked is the speed now.
    fn close_up(&mut self, maps: &[SpeedMap], seconds: f64) {
        let (speed, place) = (self.lanes[self.best].speed, self.lanes[self.best].place);
        // The best is always one in the middle, so its own shift is 0.
        for (lane, (_, _, shift)) in self.lanes.iter_mut().zip(neighbours()) {
            lane.place = place + shift + slip(maps, speed, lane.speed, seconds);
        }
    }

    /// What is known about the mark that is followed.
    pub fn tracked(&self) -> Tracked {
        let lane = &self.lanes[self.best];
        let scores = lane.evidence.highest(self.arch);
        let window = (0..WINDOWS)
            .max_by(|&a, &b| scores[a].total_cmp(&scores[b]))
            .unwrap_or(LATEST);
        Tracked {
            score: scores[window] as f64,
            window,
            seconds: lane.evidence.seconds(window),
            speed: lane.speed,
            place: lane.place,
            gone: self.absence >= GONE,
            doubtful: self.is_doubtful(),
        }
    }

    /// Whether a candidate of the search is what is being followed.
    pub fn follows(
        &self,
        found: &Candidate,
        search: &Search,
        maps: &[SpeedMap],
        clock: LocalClock,
        seconds: f64,
    ) -> bool {
        let local = clock.row(seconds, maps[found.speed].speed, found.alignment);
        let delta = search.row_of_key(local, found.offset) as i64 - local;
        let place = delta * SLOTS_PER_ROW as i64 + found.alignment as i64;
        let cycle = match self.row_clock {
            RowClock::Stream => (ROWS * SLOTS_PER_ROW) as i64,
            RowClock::Utc => i64::MAX,
        };
        let best = &self.lanes[self.best];
        let expected = best.place + slip(maps, best.speed, found.speed, seconds);
        let distance = (place - expected).rem_euclid(cycle);
        distance.min(cycle - distance) <= 1
    }
}

/// The neighbours in each view: steps of speed and of place, those of one speed together.
fn neighbours() -> impl Iterator<Item = (usize, i32, i64)> {
    (0..VIEWS).flat_map(|view| {
        (-1..=1).flat_map(move |step| (-1..=1).map(move |shift| (view, step, shift)))
    })
}

/// Slots that must be added to a place at speed `from` to mean the same position at speed `to`: positions are
/// counted from the start of the stream.
fn slip(maps: &[SpeedMap], from: usize, to: usize, seconds: f64) -> i64 {
    ((maps[from].speed - maps[to].speed) * seconds / SLOT).round() as i64
}

fn neighbour_speed(speed: usize, step: i32, speeds: usize) -> usize {
    speed.saturating_add_signed(step as isize).min(speeds - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watermark::correlation::Correlator;

    #[test]
    fn a_slip_keeps_the_position_at_any_time() {
        let correlator = Correlator::new(16_000, 0.01, 160);
        let maps = [0.9998, 1.0, 1.0002].map(|v| SpeedMap::new(v, 16_000, &correlator));
        for seconds in [0.0, 300.0, 86_400.0] {
            for (from, to) in [(1, 0), (1, 2), (0, 2)] {
                let position =
                    |speed: usize, place: i64| maps[speed].speed * seconds / SLOT + place as f64;
                let moved = position(to, 7 + slip(&maps, from, to, seconds));
                assert!(
                    (moved - position(from, 7)).abs() <= 0.5 + 1e-6,
                    "{seconds} s"
                );
            }
        }
    }
}
