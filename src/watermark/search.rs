// SPDX-License-Identifier: MIT OR Apache-2.0
//! All rows of the key at all speeds and alignments: where could the mark be?
//!
//! Rows can lie on slots in five ways, the alignments. Each slot ends the row of one of them. So after each slot the
//! latest five are added up and multiplied with the signs of all rows, at each speed, and the product goes to the evidence of the alignment whose row has just ended.
//!
//! There it is tested, and the row under way when the stream ends: an excerpt of 2 s has no evidence to give away. No
//! row is tested twice. The sums of neighbouring slots are nearly the same, so more tests would find little more, and
//! each raises the threshold.

use super::candidate::{Best, Candidate, LocalClock, Pilots};
use super::correlation::{SLOT, SLOTS_PER_ROW, SpeedMap};
use super::evidence::{Evidence, UnderWay, turn};
use super::format::CHIPS;
use super::latest::{LatestSlots, energy};
use super::products::Products;
use super::rows::KeyRows;
use super::thresholds::Thresholds;
use super::windows::{self, WINDOWS};
use pulp::Arch;

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

/// The search over everything that is not known of the mark of one key.
pub struct Search {
    arch: Arch,
    rows: KeyRows,
    clock: LocalClock,
    thresholds: Thresholds,
    /// Chips of the slots that a row has, of the row, and these times the signs of all rows of the key, speed by
    /// speed.
    latest: LatestSlots,
    chips: Vec<f32>,
    products: Products,
    /// Products of one vector, hypothesis by hypothesis.
    hypotheses_of_row: Vec<f32>,
    /// Slots since all evidence was forgotten.
    slots: u64,
    /// Local row that the evidence of each speed and alignment was last tested in: speed `v` and alignment `a` at
    /// `v * SLOTS_PER_ROW + a`. Chips and products are in the same order.
    tested: Vec<Option<i64>>,
    /// In that order, first with all chips for pilots and then with the even ones.
    evidence: Vec<Evidence>,
    highest: f64,
}

impl Search {
    /// A search in `rows` over `speeds` speeds.
    pub fn new(rows: KeyRows, speeds: usize, thresholds: Thresholds) -> Self {
        let count = rows.len();
        Search {
            arch: Arch::new(),
            rows,
            clock: LocalClock { first_row: 0 },
            thresholds,
            latest: LatestSlots::new(speeds * CHIPS),
            chips: vec![0.0; speeds * CHIPS],
            products: Products::new(speeds, count),
            hypotheses_of_row: vec![0.0; count],
            slots: 0,
            tested: vec![None; speeds * SLOTS_PER_ROW],
            evidence: vec![Evidence::new(count); Pilots::BOTH.len() * speeds * SLOTS_PER_ROW],
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
        self.latest.reset();
        self.slots = 0;
        self.tested.fill(None);
        self.highest = 0.0;
    }

    /// The rows that are searched.
    pub fn rows(&self) -> &KeyRows {
        &self.rows
    }

    /// Evidence at speed `speed` and alignment `alignment`.
    pub fn evidence(&self, speed: usize, alignment: usize, pilots: Pilots) -> &Evidence {
        let first = pilots as usize * self.tested.len();
        &self.evidence[first + speed * SLOTS_PER_ROW + alignment]
    }

    /// Writes the chips of the latest row of that evidence, whole or under way, as far as it has come.
    pub fn latest_row(&self, speed: usize, alignment: usize, chips: &mut [f32; CHIPS]) {
        let slots = self.evidence(speed, alignment, Pilots::All).in_row();
        self.latest.sum(slots, speed * CHIPS, chips);
    }

    /// Slots since the evidence was last forgotten.
    pub fn slots(&self) -> u64 {
        self.slots
    }

    /// Seconds of evidence behind a candidate.
    pub fn seconds(&self, found: &Candidate) -> f64 {
        let in_row = self
            .evidence(found.speed, found.alignment, found.pilots)
            .in_row();
        windows::seconds(found.window, in_row as u64, self.slots)
    }

    /// From scores to alarms.
    pub fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }

    /// Highest score since the last reset.
    pub fn highest(&self) -> f64 {
        self.highest
    }

    /// Adds a slot whose middle is `seconds` after the first frame, with its chips at each speed, and tests the rows that
    /// end with it; returns the best place above the threshold.
    pub fn push(&mut self, seconds: f64, chips: &[f32], maps: &[SpeedMap]) -> Option<Candidate> {
        let best = self.test_next(seconds, chips, maps);
        self.place(best)
    }

    /// As [`Search::push`], without asking where the best place is.
    pub fn test_next(&mut self, seconds: f64, chips: &[f32], maps: &[SpeedMap]) -> Best {
        self.rows.follow(self.clock, seconds);
        self.slots += 1;
        self.latest.push(chips);
        self.multiply(SLOTS_PER_ROW);
        let mut best = Best::default();
        for i in 0..self.tested.len() {
            let (v, alignment) = (i / SLOTS_PER_ROW, i % SLOTS_PER_ROW);
            let speed = maps[v].speed;
            // Whether the row ends with this slot follows from when the next one is due.
            let row = self.clock.row(seconds, speed, alignment);
            let ended = self.clock.row(seconds + SLOT, speed, alignment) - 1;
            for pilots in Pilots::BOTH {
                let at = pilots as usize * self.tested.len() + i;
                if self.evidence[at].advance(row, ended) {
                    self.end_row(i, pilots, ended, &mut best);
                }
            }
        }
        best
    }

    /// Ends local row `row` of speed and alignment `i` and tests it.
    fn end_row(&mut self, i: usize, pilots: Pilots, row: i64, best: &mut Best) {
        let (energy, products) = self.row_of(i / SLOTS_PER_ROW, pilots);
        let evidence = &mut self.evidence[pilots as usize * self.tested.len() + i];
        let fading = evidence.end_row(
            self.arch,
            row,
            energy,
            &products_of(&self.products, pilots)[products],
        );
        if self.slots >= FEWEST_SLOTS {
            self.tested[i] = Some(row);
            let least = SCREEN * self.thresholds.of(i / SLOTS_PER_ROW, pilots);
            let scores = evidence.screened(self.arch, &fading, least as f32);
            let highest = self.compare(i, pilots, scores, best);
            self.highest = self.highest.max(highest);
        }
    }

    /// Energy of the row that was multiplied last, at one speed, and where its products are.
    fn row_of(&self, speed: usize, pilots: Pilots) -> (f32, std::ops::Range<usize>) {
        let chips = &self.chips[speed * CHIPS..][..CHIPS];
        let energy = match pilots {
            Pilots::All => energy(chips),
            Pilots::Even => chips.iter().step_by(2).map(|chip| chip * chip).sum(),
        };
        let rows = self.rows.len();
        (energy, speed * rows..(speed + 1) * rows)
    }

    /// The best place above the threshold of all that has been tested.
    pub fn place_best(&mut self) -> Option<Candidate> {
        let mut best = Best::default();
        self.compare_all(true, &mut best);
        self.place(best)
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
            for i in 0..self.tested.len() {
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
                for pilots in Pilots::BOTH {
                    let arch = self.arch;
                    let scores = self.ask(i, pilots, |evidence, row| evidence.highest(arch, row));
                    highest = highest.max(self.compare(i, pilots, scores, best));
                }
            }
        }
        highest
    }

    /// Multiplies the sum of the latest `slots` slots, of all vectors, with the signs.
    fn multiply(&mut self, slots: usize) {
        self.latest.sum(slots, 0, &mut self.chips);
        self.rows
            .matrix
            .multiply(self.arch, &mut self.chips, &mut self.products);
    }

    /// Asks the evidence of speed and alignment `i`, given what there is of its row under way: [`Search::multiply`] has to
    /// be called for the slots of that.
    fn ask<T>(
        &mut self,
        i: usize,
        pilots: Pilots,
        ask: impl FnOnce(&Evidence, Option<UnderWay>) -> T,
    ) -> T {
        let (energy, products) = self.row_of(i / SLOTS_PER_ROW, pilots);
        let evidence = &self.evidence[pilots as usize * self.tested.len() + i];
        match evidence.row() {
            Some(row) if evidence.under_way() > 0 => {
                let products = &products_of(&self.products, pilots)[products];
                turn(products, row, &mut self.hypotheses_of_row);
                let under_way = UnderWay {
                    products: &self.hypotheses_of_row,
                    energy,
                };
                ask(evidence, Some(under_way))
            }
            _ => ask(evidence, None),
        }
    }

    /// Takes the best of speed and alignment `i`, of which these are the scores, if it is better; returns its highest
    /// score.
    fn compare(&self, i: usize, pilots: Pilots, scores: [f32; WINDOWS], best: &mut Best) -> f64 {
        let (speed, alignment) = (i / SLOTS_PER_ROW, i % SLOTS_PER_ROW);
        let threshold = self.thresholds.of(speed, pilots);
        let mut highest = 0.0f64;
        for (window, score) in scores.into_iter().enumerate() {
            let score = score as f64;
            highest = highest.max(score);
            if score <= threshold {
                continue;
            }
            let log10_rate = self.thresholds.log10_rate(score, speed, pilots);
            if log10_rate < best.log10_rate {
                best.log10_rate = log10_rate;
                best.candidate = Some(Candidate {
                    score,
                    log10_alarms: log10_rate.min(0.0),
                    window,
                    speed,
                    alignment,
                    pilots,
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
            offset: self.ask(i, found.pilots, |evidence, row| {
                evidence.best_hypothesis(found.window, row)
            }),
            ..found
        })
    }
}

fn products_of(products: &Products, pilots: Pilots) -> &[f32] {
    match pilots {
        Pilots::All => &products.all,
        Pilots::Even => &products.pilots,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watermark::correlation::{Correlator, Slot};
    use crate::watermark::format::RowClock;
    use crate::watermark::key::Key;
    use crate::watermark::speeds::write_chips;

    /// However the audio is cut into streams, and at any rate.
    #[test]
    fn no_more_is_tested_than_is_counted() {
        for rate in [8_000, 8_109, 44_100, 47_999] {
            let mut correlator = Correlator::new(rate, 0.06, rate as usize);
            let maps = [0.94, 0.9998, 1.0, 1.0002, 1.06]
                .map(|speed| SpeedMap::new(speed, rate, &correlator));
            let rows = {
                let (rows, ahead) = KeyRows::around(RowClock::Utc, 0.0);
                KeyRows::new(Key::from_bytes([1; 32]).signs(), RowClock::Utc, rows, ahead)
            };
            let thresholds = Thresholds::new(1, rows.len(), maps.len(), 2, 1e-4);
            let mut search = Search::new(rows, maps.len(), thresholds);
            let mut chips = vec![0.0; maps.len() * CHIPS];
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
                        write_chips(slot.sums, &maps, &mut chips);
                        search.push(slot.middle / rate as f64, &chips, &maps);
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
                let tested = tests as f64 * (2 * search.rows().len() * WINDOWS) as f64;
                let hours = milliseconds as f64 / 3_600_000.0;
                let share = tested / (search.thresholds().hypotheses_per_hour() * hours);
                let least = if milliseconds < 20_000 { 0.0 } else { 0.9 };
                assert!(
                    (least..=1.0).contains(&share),
                    "{share} in {milliseconds} ms at {rate} Hz"
                );
            }
        }
    }
}
