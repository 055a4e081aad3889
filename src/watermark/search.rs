// SPDX-License-Identifier: MIT OR Apache-2.0
//! All rows of the key at all speeds and alignments: where could the mark be?
//!
//! Rows can lie on slots in five ways, the alignments. Each slot ends the row of one of them. So after each slot the
//! latest five are added up and multiplied with the signs of all rows, at each speed, and the product goes to the evidence of the alignment whose row has just ended.
//!
//! There it is tested, and the row under way when the stream ends: an excerpt of 2 s has no evidence to give away. No
//! row is tested twice. The sums of neighbouring slots are nearly the same, so more tests would find little more, and
//! each raises the threshold.

use super::correlation::{SLOT, SLOTS_PER_ROW, SpeedMap};
use super::evidence::{Evidence, UnderWay, turn};
use super::format::{CHIPS, ROW, ROWS, RowClock};
use super::key::Signs;
use super::latest::{LatestSlots, energy};
use super::products::SignMatrix;
use super::speeds::write_chips;
use super::thresholds::Thresholds;
use super::windows::{self, LANES, WINDOWS};
use pulp::Arch;
use rustfft::num_complex::Complex;

/// A place where the mark seems to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Score of the best window.
    pub score: f64,
    /// [`Search::log10_alarms`] of the score that was tested. That of the best alignment, which is asked for only
    /// afterwards, may be higher.
    pub log10_alarms: f64,
    /// Which window that is.
    pub window: usize,
    /// Index of the speed.
    pub speed: usize,
    /// Which of the five alignments.
    pub alignment: usize,
    /// Offset between local rows and rows of the key.
    pub offset: usize,
}

/// Slots as rows see them: which local row a slot belongs to.
#[derive(Debug, Clone, Copy)]
pub struct LocalClock {
    /// Row of the detector's own clock at the first frame: 0 for [`RowClock::Stream`].
    pub first_row: i64,
}

impl LocalClock {
    /// Local row of programme that plays at `speed`, `seconds` after the first frame, for one alignment.
    pub fn row(&self, seconds: f64, speed: f64, alignment: usize) -> i64 {
        self.first_row + ((seconds * speed + alignment as f64 * SLOT) / ROW).floor() as i64
    }
}

/// Slots that there must be before rows are tested: two rows tell the alignments apart. A strong mark is above the
/// threshold after a single slot, with which all alignments score alike. The end of a stream cannot wait.
const FEWEST_SLOTS: u64 = 2 * SLOTS_PER_ROW as u64;
/// At the end of a stream, all alignments are tested: with fewer slots that would be more often than [`bound`] counts.
///
/// [`bound`]: super::bound
const FEWEST_SLOTS_AT_END: u64 = 3;
/// Share of the threshold that a fading sum must reach before the windows that are cut are looked at. Of a steady mark
/// a fading sum holds at least 0.8 of what the window does, give or take a deviation of 0.6: at a threshold of 8, one
/// in several hundred has to wait for the next row.
const SCREEN: f64 = 0.6;

/// Of the candidates above their thresholds the one that chance would explain least.
pub struct Best {
    /// [`Thresholds::log10_rate`] of the candidate; infinite if there is none.
    pub log10_rate: f64,
    /// The candidate; its offset is not known yet.
    pub candidate: Option<Candidate>,
}

impl Default for Best {
    fn default() -> Self {
        Best {
            log10_rate: f64::INFINITY,
            candidate: None,
        }
    }
}

/// The search over everything that is not known.
pub struct Search {
    arch: Arch,
    signs: Signs,
    matrix: SignMatrix,
    row_clock: RowClock,
    /// Rows on either side of the detector's own that are searched, for [`RowClock::Utc`].
    reach: i64,
    newest_row: Option<i64>,
    clock: LocalClock,
    thresholds: Thresholds,
    /// Chips of a slot, of those that a row has, of the row, and these times the signs of all rows of the key, speed by
    /// speed.
    of_slot: Vec<f32>,
    latest: LatestSlots,
    chips: Vec<f32>,
    products: Vec<f32>,
    /// Products of one vector, hypothesis by hypothesis.
    hypotheses_of_row: Vec<f32>,
    /// Slots since all evidence was forgotten.
    slots: u64,
    /// Local row that each evidence was last tested in.
    tested: Vec<Option<i64>>,
    /// Evidence of speed `v` and alignment `a` at `v * SLOTS_PER_ROW + a`; chips and
    /// products are in the same order.
    evidence: Vec<Evidence>,
    highest: f64,
}

impl Search {
    /// A search over `speeds` speeds, of which number `nominal` is 1.
    pub fn new(
        signs: Signs,
        row_clock: RowClock,
        clock_tolerance: f64,
        speeds: usize,
        nominal: usize,
        alarms: f64,
    ) -> Self {
        let reach = (clock_tolerance / ROW).ceil() as i64 + 1;
        let rows = match row_clock {
            RowClock::Stream => ROWS,
            RowClock::Utc => (2 * reach as usize + 2).next_multiple_of(LANES),
        };
        let mut search = Search {
            arch: Arch::new(),
            signs,
            matrix: SignMatrix::new(rows),
            row_clock,
            reach,
            newest_row: None,
            clock: LocalClock { first_row: 0 },
            thresholds: Thresholds::new(rows, speeds, nominal, alarms),
            of_slot: vec![0.0; speeds * CHIPS],
            latest: LatestSlots::new(speeds * CHIPS),
            chips: vec![0.0; speeds * CHIPS],
            products: vec![0.0; speeds * rows],
            hypotheses_of_row: vec![0.0; rows],
            slots: 0,
            tested: vec![None; speeds * SLOTS_PER_ROW],
            evidence: vec![Evidence::new(rows); speeds * SLOTS_PER_ROW],
            highest: 0.0,
        };
        if row_clock == RowClock::Stream {
            (0..ROWS as u64).for_each(|row| search.load(row));
        }
        search
    }

    /// Forgets all evidence; slots are of another clock from now on.
    pub fn reset(&mut self, clock: LocalClock) {
        self.forget();
        self.clock = clock;
        self.newest_row = None;
    }

    /// Forgets all evidence.
    pub fn forget(&mut self) {
        self.evidence.iter_mut().for_each(Evidence::reset);
        self.latest.reset();
        self.slots = 0;
        self.tested.fill(None);
        self.highest = 0.0;
    }

    /// Rows that are searched.
    pub fn rows(&self) -> usize {
        self.matrix.rows()
    }

    /// Evidence at speed `speed` and alignment `alignment`.
    pub fn evidence(&self, speed: usize, alignment: usize) -> &Evidence {
        &self.evidence[speed * SLOTS_PER_ROW + alignment]
    }

    /// Writes the chips of the latest row of that evidence, whole or under way, as far as it has come.
    pub fn latest_row(&self, speed: usize, alignment: usize, chips: &mut [f32; CHIPS]) {
        let slots = self.evidence(speed, alignment).in_row();
        self.latest.sum(slots, speed * CHIPS, chips);
    }

    /// Slots since the evidence was last forgotten.
    pub fn slots(&self) -> u64 {
        self.slots
    }

    /// Seconds of evidence behind a candidate.
    pub fn seconds(&self, found: &Candidate) -> f64 {
        let in_row = self.evidence(found.speed, found.alignment).in_row();
        windows::seconds(found.window, in_row as u64, self.slots)
    }

    /// Score above which speed `speed` counts as found.
    pub fn threshold(&self, speed: usize) -> f64 {
        self.thresholds.of(speed)
    }

    /// Hypotheses tested in an hour.
    pub fn hypotheses_per_hour(&self) -> f64 {
        self.thresholds.hypotheses_per_hour()
    }

    /// Highest score since the last reset.
    pub fn highest(&self) -> f64 {
        self.highest
    }

    /// As [`Thresholds::log10_rate`], but no more than 0: as the logarithm of the chance of a false alarm in an hour.
    pub fn log10_alarms(&self, score: f64, speed: usize) -> f64 {
        self.thresholds.log10_rate(score, speed).min(0.0)
    }

    /// Adds a slot whose middle is `seconds` after the first frame and tests the rows that end with it; returns the
    /// best place above the threshold.
    pub fn push(
        &mut self,
        seconds: f64,
        sums: &[Complex<f32>],
        maps: &[SpeedMap],
    ) -> Option<Candidate> {
        let mut chips = std::mem::take(&mut self.of_slot);
        write_chips(sums, maps, &mut chips);
        let best = self.push_chips(seconds, &chips, maps);
        self.of_slot = chips;
        self.place(best)
    }

    /// As [`Search::push`] with the chips of [`write_chips`], which are the same for all keys, and without
    /// asking where the best place is.
    pub fn push_chips(&mut self, seconds: f64, chips: &[f32], maps: &[SpeedMap]) -> Best {
        self.follow_clock(seconds);
        self.slots += 1;
        self.latest.push(chips);
        self.multiply(SLOTS_PER_ROW);
        let rows = self.matrix.rows();
        let mut best = Best::default();
        for i in 0..self.evidence.len() {
            let (v, alignment) = (i / SLOTS_PER_ROW, i % SLOTS_PER_ROW);
            let speed = maps[v].speed;
            // Whether the row ends with this slot follows from when the next one is due.
            let row = self.clock.row(seconds, speed, alignment);
            let ended = self.clock.row(seconds + SLOT, speed, alignment) - 1;
            if !self.evidence[i].advance(row, ended) {
                continue;
            }
            let energy = energy(&self.chips[v * CHIPS..][..CHIPS]);
            let products = &self.products[v * rows..][..rows];
            let fading = self.evidence[i].end_row(self.arch, ended, energy, products);
            if self.slots >= FEWEST_SLOTS {
                self.tested[i] = Some(ended);
                let least = SCREEN * self.threshold(v);
                let scores = self.evidence[i].screened(self.arch, &fading, least as f32);
                let highest = self.compare(i, scores, &mut best);
                self.highest = self.highest.max(highest);
            }
        }
        best
    }

    /// Tests the rows under way, because nothing follows.
    pub fn finish(&mut self) -> Option<Candidate> {
        let best = self.test_all();
        self.place(best)
    }

    /// As [`Search::finish`], without asking where the best place is.
    pub fn test_all(&mut self) -> Best {
        let mut best = Best::default();
        if self.slots < FEWEST_SLOTS_AT_END {
            return best;
        }
        let highest = self.compare_all(false, &mut best);
        self.highest = self.highest.max(highest);
        best
    }

    /// Takes the best of all evidence if it is better; returns the highest score. What has been tested is looked at only
    /// if that is to be done `again`, and then it does not count as a test.
    fn compare_all(&mut self, again: bool, best: &mut Best) -> f64 {
        let mut highest = 0.0f64;
        // Rows under way with the same number of slots share a product.
        for slots in 0..=SLOTS_PER_ROW {
            let mut multiplied = slots == 0;
            for i in 0..self.evidence.len() {
                let row = self.evidence[i].row();
                let tested = self.tested[i] == row;
                if self.evidence[i].under_way() != slots || tested && !again {
                    continue;
                }
                if !multiplied {
                    self.multiply(slots);
                    multiplied = true;
                }
                if !again {
                    self.tested[i] = row;
                }
                let arch = self.arch;
                let scores = self.ask(i, |evidence, row| evidence.highest(arch, row));
                highest = highest.max(self.compare(i, scores, best));
            }
        }
        highest
    }

    /// Multiplies the sum of the latest `slots` slots, of all vectors, with the signs.
    fn multiply(&mut self, slots: usize) {
        self.latest.sum(slots, 0, &mut self.chips);
        self.matrix
            .multiply(self.arch, &mut self.chips, &mut self.products);
    }

    /// Asks evidence `i`, given what there is of its row under way: [`Search::multiply`] has to be called for the slots
    /// of that.
    fn ask<T>(&mut self, i: usize, ask: impl FnOnce(&Evidence, Option<UnderWay>) -> T) -> T {
        let (evidence, speed, rows) = (&self.evidence[i], i / SLOTS_PER_ROW, self.matrix.rows());
        match evidence.row() {
            Some(row) if evidence.under_way() > 0 => {
                let products = &self.products[speed * rows..][..rows];
                turn(products, row, &mut self.hypotheses_of_row);
                let under_way = UnderWay {
                    products: &self.hypotheses_of_row,
                    energy: energy(&self.chips[speed * CHIPS..][..CHIPS]),
                };
                ask(evidence, Some(under_way))
            }
            _ => ask(evidence, None),
        }
    }

    /// Takes the best of evidence `i`, of which these are the scores, if it is better; returns its highest score.
    fn compare(&self, i: usize, scores: [f32; WINDOWS], best: &mut Best) -> f64 {
        let (speed, alignment) = (i / SLOTS_PER_ROW, i % SLOTS_PER_ROW);
        let threshold = self.threshold(speed);
        let mut highest = 0.0f64;
        for (window, score) in scores.into_iter().enumerate() {
            let score = score as f64;
            highest = highest.max(score);
            if score <= threshold {
                continue;
            }
            let log10_rate = self.thresholds.log10_rate(score, speed);
            if log10_rate < best.log10_rate {
                best.log10_rate = log10_rate;
                best.candidate = Some(Candidate {
                    score,
                    log10_alarms: log10_rate.min(0.0),
                    window,
                    speed,
                    alignment,
                    offset: 0,
                });
            }
        }
        highest
    }

    /// Where the mark is whose presence a test has shown. A strong one is above the threshold at wrong alignments,
    /// too, so now all are asked. That finds no marks where there are none: it comes after the test.
    fn place(&mut self, mut best: Best) -> Option<Candidate> {
        let tested = best.candidate?.log10_alarms;
        self.compare_all(true, &mut best);
        let found = best.candidate?;
        let i = found.speed * SLOTS_PER_ROW + found.alignment;
        self.multiply(self.evidence[i].under_way());
        Some(Candidate {
            log10_alarms: tested,
            offset: self.ask(i, |evidence, row| {
                evidence.best_hypothesis(found.window, row)
            }),
            ..found
        })
    }

    /// With a row clock that never repeats, loads the signs of the rows around the detector's own.
    fn follow_clock(&mut self, seconds: f64) {
        if self.row_clock == RowClock::Stream {
            return;
        }
        let newest = self.clock.row(seconds, 1.0, SLOTS_PER_ROW) + self.reach;
        let oldest = newest + 1 - self.matrix.rows() as i64;
        let from = self.newest_row.map_or(oldest, |row| (row + 1).max(oldest));
        for row in from..=newest {
            self.load(row.max(0) as u64);
        }
        self.newest_row = Some(newest);
    }

    fn load(&mut self, row: u64) {
        let mut signs = [0.0; CHIPS];
        self.signs.row(row, &mut signs);
        self.matrix.load(row, &signs);
    }

    /// Row of the key that hypothesis `offset` puts at local row `local`.
    pub fn row_of_key(&self, local: i64, offset: usize) -> u64 {
        let rows = self.matrix.rows() as i64;
        let index = (local + offset as i64).rem_euclid(rows);
        match (self.row_clock, self.newest_row) {
            (RowClock::Utc, Some(newest)) => {
                (newest - (newest - index).rem_euclid(rows)).max(0) as u64
            }
            _ => index as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watermark::correlation::{Correlator, Slot};
    use crate::watermark::key::Key;

    /// However the audio is cut into streams, and at any rate.
    #[test]
    fn no_more_is_tested_than_is_counted() {
        for rate in [8_000, 8_109, 44_100, 47_999] {
            let mut correlator = Correlator::new(rate, 0.06, rate as usize);
            let maps = [0.94, 0.9998, 1.0, 1.0002, 1.06]
                .map(|speed| SpeedMap::new(speed, rate, &correlator));
            let mut search = Search::new(
                Key::from_bytes([1; 32]).signs(),
                RowClock::Utc,
                0.0,
                maps.len(),
                2,
                1e-4,
            );
            for milliseconds in [170, 200, 239, 240, 250, 280, 310, 500, 640, 2_000, 20_000] {
                let audio = vec![0.1; rate as usize * milliseconds / 1000];
                search.reset(LocalClock { first_row: 0 });
                correlator.reset();
                let mut tests = 0;
                let mut count = |search: &mut Search, step: &mut dyn FnMut(&mut Search)| {
                    let before = search.tested.clone();
                    step(search);
                    tests += before
                        .iter()
                        .zip(&search.tested)
                        .filter(|(a, b)| a != b)
                        .count();
                };
                let mut take = |slot: Slot| {
                    count(&mut search, &mut |search| {
                        search.push(slot.middle / rate as f64, slot.sums, &maps);
                    });
                };
                for piece in audio.chunks(rate as usize) {
                    correlator.push(piece, &mut take);
                }
                correlator.finish(&mut take);
                for _ in 0..2 {
                    count(&mut search, &mut |search| {
                        search.finish();
                    });
                }
                let tested = tests as f64 * (search.rows() * WINDOWS) as f64;
                let hours = milliseconds as f64 / 3_600_000.0;
                let share = tested / (search.hypotheses_per_hour() * hours);
                let least = if milliseconds < 20_000 { 0.0 } else { 0.9 };
                assert!(
                    (least..=1.0).contains(&share),
                    "{share} in {milliseconds} ms at {rate} Hz"
                );
            }
        }
    }

    #[test]
    fn utc_rows_are_those_around_the_clock() {
        let mut search = Search::new(
            Key::from_bytes([0; 32]).signs(),
            RowClock::Utc,
            1.0,
            1,
            0,
            1e-4,
        );
        search.reset(LocalClock {
            first_row: 8_000_000_000,
        });
        search.follow_clock(10.0);
        let local = search.clock.row(10.0, 1.0, 0);
        let rows: Vec<u64> = (0..search.rows())
            .map(|o| search.row_of_key(local, o))
            .collect();
        let (low, high) = (
            *rows.iter().min().unwrap() as i64,
            *rows.iter().max().unwrap() as i64,
        );
        assert!(
            low <= local - 5 && high >= local + 5,
            "{low} to {high} around {local}"
        );
        assert_eq!(high - low + 1, search.rows() as i64);
    }
}
