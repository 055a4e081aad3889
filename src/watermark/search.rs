// SPDX-License-Identifier: MIT OR Apache-2.0
//! All rows of the key at all speeds and alignments: where could the mark be?
//!
//! Rows can lie on slots in five ways, the alignments. Each slot ends the row of one of them. So after each slot the
//! latest five are added up and multiplied with the signs of all rows, at each speed, and the product goes to the
//! evidence of the alignment whose row has just ended.
//!
//! There it is tested, and the row under way when the stream ends: an excerpt of 2 s has no evidence to give away. No
//! row is tested twice. The sums of neighbouring slots are nearly the same, so more tests would find little more, and
//! each raises the threshold.
//!
//! Evidence is kept for every second speed ([`super::speeds::kept`]). Between two of them a mark has 0.74 of its score
//! with either, which is enough to see that there is something: then the speeds beside are looked at as well, and their
//! windows are made of the rows of the latest 7 s. A mark there that is too faint to be found within 7 s is found later
//! than at other speeds, or not.

use super::alignment::Alignment;
use super::candidate::{Best, Candidate, LocalClock, Pilots};
use super::correlation::{SLOT, SLOTS_PER_ROW};
use super::evidence::{Evidence, NewRow, rotate};
use super::format::ROW;
use super::rounded::RoundedRow;
use super::row_history::RowHistory;
use super::rows::KeyRows;
use super::speeds::{SpeedMap, is_kept, kept, kept_count, lane};
use super::thresholds::Thresholds;
use super::windows::{self, CUT, FADING, LATEST, ROWS_BESIDE, WINDOWS};
use super::workspace::Workspace;
use beside::{Occasion, Tested};
use pulp::Arch;

mod beside;

pub use beside::Before;

/// Slots that there must be before rows are tested: two rows tell the alignments apart. A strong mark is above the
/// threshold after a single slot, with which all alignments score alike. The end of a stream cannot wait.
const FEWEST_SLOTS: u64 = 2 * SLOTS_PER_ROW as u64;
/// At the end of a stream, all alignments are tested: with fewer slots that would be more often than [`bound`] counts.
///
/// [`bound`]: super::bound
const FEWEST_SLOTS_AT_END: u64 = 3;

/// The search over everything that is not known of the mark of one key.
pub struct Search {
    arch: Arch,
    rows: KeyRows,
    clock: LocalClock,
    thresholds: Thresholds,
    /// Slots since all evidence was forgotten.
    slots: u64,
    speeds: usize,
    /// Speed `v` and alignment `a` at `v * SLOTS_PER_ROW + a`.
    alignments: Vec<Alignment>,
    /// See [`Search::at`].
    evidence: Vec<Evidence>,
    highest: f64,
}

impl Search {
    /// A search in `rows` over `speeds` speeds.
    pub fn new(rows: KeyRows, speeds: usize, thresholds: Thresholds) -> Self {
        let count = rows.len();
        let evidence = Pilots::BOTH.len() * kept_count(speeds) * SLOTS_PER_ROW;
        Search {
            arch: Arch::new(),
            rows,
            clock: LocalClock { first_row: 0 },
            thresholds,
            slots: 0,
            speeds,
            alignments: vec![Alignment::NONE; speeds * SLOTS_PER_ROW],
            evidence: vec![Evidence::new(count); evidence],
            highest: 0.0,
        }
    }

    /// Forgets all evidence; slots are of another clock from now on.
    pub fn reset(&mut self, clock: LocalClock) {
        self.forget();
        self.clock = clock;
        self.rows.reset();
    }

    /// Forgets all evidence, and searches the rows that end `ahead` of the clock from now on.
    pub fn start_tile(&mut self, clock: LocalClock, ahead: i64) {
        let highest = self.highest;
        self.reset(clock);
        self.rows.set_ahead(ahead);
        self.highest = highest;
    }

    /// Forgets all evidence.
    pub fn forget(&mut self) {
        self.evidence.iter_mut().for_each(Evidence::reset);
        self.alignments.fill(Alignment::NONE);
        self.slots = 0;
        self.highest = 0.0;
    }

    /// The rows that are searched.
    pub fn rows(&self) -> &KeyRows {
        &self.rows
    }

    /// The rows at speed `speed` and alignment `alignment`.
    pub fn alignment(&self, speed: usize, alignment: usize) -> &Alignment {
        &self.alignments[speed * SLOTS_PER_ROW + alignment]
    }

    /// Slots since the evidence was last forgotten.
    pub fn slots(&self) -> u64 {
        self.slots
    }

    /// Seconds of evidence behind a candidate.
    pub fn seconds(&self, found: &Candidate) -> f64 {
        let in_row = self.alignment(found.speed, found.alignment).in_row();
        let seconds = windows::seconds(found.window, in_row as u64, self.slots);
        match is_kept(found.speed, self.speeds) {
            true => seconds,
            false => seconds.min(ROWS_BESIDE as f64 * ROW),
        }
    }

    /// From scores to alarms.
    pub fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }

    /// Highest score since the last reset.
    pub fn highest(&self) -> f64 {
        self.highest
    }

    /// Adds the latest slot of `history`, whose middle is `seconds` after the first frame, and tests the rows that
    /// end with it; returns the best place above the threshold.
    pub fn push(
        &mut self,
        seconds: f64,
        history: &mut RowHistory,
        maps: &[SpeedMap],
        work: &mut Workspace,
    ) -> Option<Candidate> {
        let best = self.test_next(seconds, history, maps, work);
        self.place(best, history, work)
    }

    /// As [`Search::push`], without asking where the best place is.
    pub fn test_next(
        &mut self,
        seconds: f64,
        history: &RowHistory,
        maps: &[SpeedMap],
        work: &mut Workspace,
    ) -> Best {
        self.rows.follow(self.clock, seconds);
        self.slots += 1;
        let products = &mut work.products;
        products.multiply(work.processor, &self.rows.matrix, history.tables());
        // After all was forgotten in mid-stream, what began before that counts no more.
        let counts = self.slots >= SLOTS_PER_ROW as u64 || self.slots == history.slots();
        for (i, alignment) in self.alignments.iter_mut().enumerate() {
            let (speed, number) = (maps[i / SLOTS_PER_ROW].speed, i % SLOTS_PER_ROW);
            // Whether the row ends with this slot follows from when the next one is due.
            let row = self.clock.row(seconds, speed, number);
            let ended = self.clock.row(seconds + SLOT, speed, number) - 1;
            if alignment.advance(row, ended) {
                alignment.end(ended, counts.then_some(history.slots()));
                if counts && self.slots >= FEWEST_SLOTS {
                    alignment.tested = Some(ended);
                }
            }
        }
        let mut best = Best::default();
        for speed in kept(self.speeds) {
            for i in speed * SLOTS_PER_ROW..(speed + 1) * SLOTS_PER_ROW {
                if let Some(row) = self.alignments[i].ended_with(history.slots()) {
                    self.end_row(i, row, history, work, &mut best);
                }
            }
        }
        best
    }

    /// Adds local row `row` of speed and alignment `i`, which has just ended, and tests it.
    fn end_row(
        &mut self,
        i: usize,
        row: i64,
        history: &RowHistory,
        work: &mut Workspace,
        best: &mut Best,
    ) {
        let chips = &history.latest()[i / SLOTS_PER_ROW];
        for pilots in Pilots::BOTH {
            self.rotate(i, pilots, row, work);
            let at = self.at(i, pilots);
            let new = new_row(&work.rotated, chips, pilots);
            self.evidence[at].add(self.arch, new);
            if self.slots >= FEWEST_SLOTS {
                let tested = Tested {
                    at: i,
                    pilots,
                    occasion: Occasion::Row,
                    slots: 0,
                };
                let evidence = &self.evidence[at];
                let highest = self.test(evidence, tested, history, &work.under_way, best);
                self.highest = self.highest.max(highest);
            }
        }
    }

    /// Where the evidence of speed and alignment `i` is: what is wanted with one slot lies side by side, because it
    /// comes from memory that no near cache holds.
    fn at(&self, i: usize, pilots: Pilots) -> usize {
        let (speed, alignment) = (i / SLOTS_PER_ROW, i % SLOTS_PER_ROW);
        let lane = lane(speed, self.speeds);
        (alignment * kept_count(self.speeds) + lane) * Pilots::BOTH.len() + pilots as usize
    }

    /// Turns the latest products at speed and alignment `i`, whose row is `row`.
    fn rotate(&self, i: usize, pilots: Pilots, row: i64, work: &mut Workspace) {
        let products = match pilots {
            Pilots::All => &work.products.all,
            Pilots::Even => &work.products.pilots,
        };
        let rows = self.rows.len();
        let first = lane(i / SLOTS_PER_ROW, self.speeds) * rows;
        rotate(&products[first..][..rows], row, &mut work.rotated);
    }

    /// Takes the best hypothesis of a place, of which this is the evidence, and of the same place at the speeds beside
    /// it, if it is better; returns the highest score. The windows that are cut, and all at the speeds beside, are made
    /// only for hypotheses of which a fading sum is high enough; others count as 0.
    fn test(
        &self,
        evidence: &Evidence,
        tested: Tested,
        history: &RowHistory,
        under_way: &[RoundedRow],
        best: &mut Best,
    ) -> f64 {
        let Tested { at, pilots, .. } = tested;
        let speed = at / SLOTS_PER_ROW;
        let due = tested.occasion.due(&self.alignments[at]);
        let fading = evidence.highest().into_iter().zip(&due[CUT..]);
        let fading = fading.take(FADING).filter(|(_, due)| **due);
        let mut highest = fading.map(|(score, _)| score as f64).fold(0.0, f64::max);
        let least = (tested.occasion.screen() * self.thresholds.of(speed, pilots, LATEST)) as f32;
        let mut places = None;
        evidence.passing(self.arch, least, |o| {
            let places =
                places.get_or_insert_with(|| self.places_beside(&tested, history, under_way));
            for place in places.iter().flatten() {
                #[cfg(test)]
                tests::note(tested.occasion, place, self.alignments[place.at].row());
                let o = self.rows.shifted(o, place.less);
                let mut scores = place.rows.scores(&self.rows.matrix, o, pilots);
                if place.at == at {
                    scores[CUT..].copy_from_slice(&evidence.scores(o)[..FADING]);
                }
                let score = self.compare((place.at, pilots, o), &scores, &place.due, best);
                highest = highest.max(score);
            }
        });
        highest
    }

    /// The best place above the threshold of all that has been tested.
    pub fn place_best(
        &mut self,
        history: &mut RowHistory,
        work: &mut Workspace,
    ) -> Option<Candidate> {
        let mut best = Best::default();
        self.compare_all(Occasion::Again, history, work, &mut best);
        self.place(best, history, work)
    }

    /// Tests the rows under way, because nothing follows.
    pub fn finish(&mut self, history: &mut RowHistory, work: &mut Workspace) -> Option<Candidate> {
        let best = self.test_all(history, work);
        self.place(best, history, work)
    }

    /// As [`Search::finish`], without asking where the best place is.
    pub fn test_all(&mut self, history: &mut RowHistory, work: &mut Workspace) -> Best {
        let mut best = Best::default();
        if self.slots < FEWEST_SLOTS_AT_END {
            return best;
        }
        let highest = self.compare_all(Occasion::End, history, work, &mut best);
        self.highest = self.highest.max(highest);
        best
    }

    /// Takes the best of all evidence if it is better; returns the highest score. What has been tested is looked at
    /// only if it is to be looked at again.
    fn compare_all(
        &mut self,
        occasion: Occasion,
        history: &mut RowHistory,
        work: &mut Workspace,
        best: &mut Best,
    ) -> f64 {
        let again = occasion == Occasion::Again;
        let mut highest = 0.0f64;
        // Rows under way with the same number of slots share a product.
        for slots in 0..=SLOTS_PER_ROW {
            let mut multiplied = slots == 0;
            for i in 0..self.alignments.len() {
                let row = self.alignments[i].row();
                let tested = self.alignments[i].tested == row;
                if self.alignments[i].under_way() != slots || tested && !again {
                    continue;
                }
                if !again {
                    self.alignments[i].tested = row;
                }
                if !is_kept(i / SLOTS_PER_ROW, self.speeds) {
                    continue;
                }
                if !multiplied {
                    self.multiply_under_way(slots, history, work);
                    multiplied = true;
                }
                for pilots in Pilots::BOTH {
                    let tested = Tested {
                        at: i,
                        pilots,
                        occasion,
                        slots,
                    };
                    highest = highest.max(self.test_under_way(tested, history, work, best));
                }
            }
        }
        highest
    }

    /// Multiplies what there is of a row of which `slots` slots are there with the signs, at all speeds.
    fn multiply_under_way(&self, slots: usize, history: &mut RowHistory, work: &mut Workspace) {
        history.round_latest(slots, &mut work.under_way, &mut work.tables);
        let products = &mut work.products;
        products.multiply(work.processor, &self.rows.matrix, &work.tables);
    }

    /// [`Search::test`] with the row under way, which has been multiplied.
    fn test_under_way(
        &self,
        tested: Tested,
        history: &RowHistory,
        work: &mut Workspace,
        best: &mut Best,
    ) -> f64 {
        let Tested {
            at: i,
            pilots,
            slots,
            ..
        } = tested;
        let evidence = &self.evidence[self.at(i, pilots)];
        // Slots that were before all was forgotten count no more.
        let counts = self.slots >= slots as u64 || self.slots == history.slots();
        let Some(row) = self.alignments[i].row().filter(|_| slots > 0 && counts) else {
            let tested = Tested { slots: 0, ..tested };
            return self.test(evidence, tested, history, &work.under_way, best);
        };
        self.rotate(i, pilots, row, work);
        let chips = &work.under_way[i / SLOTS_PER_ROW];
        work.trial.copy_from(evidence);
        let new = new_row(&work.rotated, chips, pilots);
        work.trial.add(self.arch, new);
        self.test(&work.trial, tested, history, &work.under_way, best)
    }

    /// Takes a hypothesis, of which these are the scores, if it is better in a window that is `due`; returns its
    /// highest score.
    fn compare(
        &self,
        (i, pilots, offset): (usize, Pilots, usize),
        scores: &[f32; WINDOWS],
        due: &[bool; WINDOWS],
        best: &mut Best,
    ) -> f64 {
        let (speed, alignment) = (i / SLOTS_PER_ROW, i % SLOTS_PER_ROW);
        let mut highest = 0.0f64;
        for window in (0..WINDOWS).filter(|window| due[*window]) {
            let score = scores[window] as f64;
            highest = highest.max(score);
            if score <= self.thresholds.of(speed, pilots, window) {
                continue;
            }
            let log10_rate = self.thresholds.log10_rate(score, speed, pilots, window);
            if log10_rate < best.log10_rate {
                best.log10_rate = log10_rate;
                best.candidate = Some(Candidate {
                    score,
                    log10_alarms: log10_rate.min(0.0),
                    window,
                    speed,
                    alignment,
                    pilots,
                    offset,
                });
            }
        }
        highest
    }

    /// Where the mark is whose presence a test has shown. A strong one is above the threshold at wrong alignments,
    /// too, so now all are asked. That finds no marks where there are none: it comes after the test.
    fn place(
        &mut self,
        mut best: Best,
        history: &mut RowHistory,
        work: &mut Workspace,
    ) -> Option<Candidate> {
        let tested = best.candidate?.log10_alarms;
        self.compare_all(Occasion::Again, history, work, &mut best);
        Some(Candidate {
            log10_alarms: tested,
            ..best.candidate?
        })
    }
}

fn new_row<'a>(rotated: &'a [i16], chips: &RoundedRow, pilots: Pilots) -> NewRow<'a> {
    NewRow {
        products: rotated,
        step: chips.step,
        energy: chips.energy(pilots),
    }
}

#[cfg(test)]
mod tests;
