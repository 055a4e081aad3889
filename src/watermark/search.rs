// SPDX-License-Identifier: MIT OR Apache-2.0
//! All rows of the key at all speeds and alignments, in all views: where could the mark be?
//!
//! The sum of a slot's chip correlations times the signs of a row is made once for each slot, row,
//! speed and view. Sums over the slots of a row are made from these for each of the five ways in which rows can
//! lie on slots, so the costly product serves all alignments, and rows that are not yet whole count too.

use super::bound::{log_tail, threshold};
use super::correlation::{SLOT, SLOTS_PER_ROW, SpeedMap, of_view};
use super::evidence::{Evidence, LANES, WINDOWS};
use super::format::{CHIPS, ROW, ROWS, RowClock};
use super::key::Signs;
use super::weighting::VIEWS;
use pulp::Arch;
use rustfft::num_complex::Complex;

/// Distance of two speeds that are searched, as a ratio: half of it shifts the lag by 16 us and costs 7 %
/// of the score (measured).
pub const SPEED_STEP: f64 = 0.0002;
/// Share of the permitted false alarms that belongs to the nominal speed alone.
pub(super) const NOMINAL_SHARE: f64 = 0.5;
/// Speeds whose products are made in one pass over the signs.
pub(super) const PASS: usize = 4;

/// A place where the mark seems to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Score of the best window.
    pub score: f64,
    /// Which window that is.
    pub window: usize,
    /// Which view of the audio.
    pub view: usize,
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

/// The signs of all rows that are searched, as one matrix, chip by chip.
pub(super) struct SignMatrix {
    rows: usize,
    /// `columns[chip * rows + index]`; row `n` of the key has index `n % rows`.
    columns: Vec<f32>,
}

impl SignMatrix {
    /// A matrix of `rows` rows, a multiple of [`LANES`].
    pub fn new(rows: usize) -> Self {
        SignMatrix {
            rows,
            columns: vec![0.0; CHIPS * rows],
        }
    }

    /// Writes the signs of a row.
    pub fn load(&mut self, row: u64, signs: &[f32; CHIPS]) {
        let index = (row % self.rows as u64) as usize;
        for (column, sign) in self.columns.chunks_exact_mut(self.rows).zip(signs) {
            column[index] = *sign;
        }
    }

    /// `products[speed * rows + index]` = sum over chips of `chips[speed * CHIPS + chip]` times the sign.
    /// Speeds are taken [`PASS`] at a time.
    pub fn multiply(&self, arch: Arch, chips: &[f32], products: &mut [f32]) {
        let passes = chips
            .chunks_exact(PASS * CHIPS)
            .zip(products.chunks_exact_mut(PASS * self.rows));
        for (chips, products) in passes {
            arch.dispatch(
                #[inline(always)]
                || self.multiply_pass(chips, products),
            );
        }
    }

    #[inline(always)]
    fn multiply_pass(&self, chips: &[f32], products: &mut [f32]) {
        for at in (0..self.rows).step_by(LANES) {
            let mut sums = [[0.0f32; LANES]; PASS];
            for (chip, column) in self.columns.chunks_exact(self.rows).enumerate() {
                let signs = &column[at..at + LANES];
                for (pass, sums) in sums.iter_mut().enumerate() {
                    let b = chips[pass * CHIPS + chip];
                    for (sum, sign) in sums.iter_mut().zip(signs) {
                        *sum += b * sign;
                    }
                }
            }
            for (pass, sums) in sums.iter().enumerate() {
                products[pass * self.rows + at..][..LANES].copy_from_slice(sums);
            }
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
    speeds: usize,
    nominal: usize,
    thresholds: [f64; 2],
    hypotheses: [f64; 2],
    chips: Vec<f32>,
    products: Vec<f32>,
    /// Evidence of view `u`, speed `v` and alignment `a` at `(u * speeds + v) * SLOTS_PER_ROW + a`; chips and
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
        let tests_an_hour = 3600.0 / SLOT * (SLOTS_PER_ROW * rows * WINDOWS * VIEWS) as f64;
        let others = (speeds - 1) as f64;
        let hypotheses = [tests_an_hour, tests_an_hour * others];
        let share = if speeds == 1 { 1.0 } else { NOMINAL_SHARE };
        let padded = (VIEWS * speeds).next_multiple_of(PASS);
        let mut search = Search {
            arch: Arch::new(),
            signs,
            matrix: SignMatrix::new(rows),
            row_clock,
            reach,
            newest_row: None,
            clock: LocalClock { first_row: 0 },
            speeds,
            nominal,
            thresholds: [
                threshold(hypotheses[0], alarms * share),
                threshold(hypotheses[1].max(1.0), alarms * (1.0 - share).max(1e-9)),
            ],
            hypotheses,
            chips: vec![0.0; padded * CHIPS],
            products: vec![0.0; padded * rows],
            evidence: vec![Evidence::new(rows); VIEWS * speeds * SLOTS_PER_ROW],
            highest: 0.0,
        };
        if row_clock == RowClock::Stream {
            (0..ROWS as u64).for_each(|row| search.load(row));
        }
        search
    }

    /// Forgets all evidence.
    pub fn reset(&mut self, clock: LocalClock) {
        self.evidence.iter_mut().for_each(Evidence::reset);
        self.clock = clock;
        self.newest_row = None;
        self.highest = 0.0;
    }

    /// Rows that are searched.
    pub fn rows(&self) -> usize {
        self.matrix.rows
    }

    /// Evidence in view `view` at speed `speed` and alignment `alignment`.
    pub fn evidence(&self, view: usize, speed: usize, alignment: usize) -> &Evidence {
        &self.evidence[(view * self.speeds + speed) * SLOTS_PER_ROW + alignment]
    }

    /// Score above which speed `speed` counts as found.
    pub fn threshold(&self, speed: usize) -> f64 {
        self.thresholds[(speed != self.nominal) as usize]
    }

    /// Hypotheses tested in an hour.
    pub fn hypotheses_per_hour(&self) -> f64 {
        self.hypotheses.iter().sum()
    }

    /// Highest score since the last reset.
    pub fn highest(&self) -> f64 {
        self.highest
    }

    /// Expected false alarms in an hour, as a decimal logarithm, if `score` at `speed` were the threshold.
    pub fn log10_alarms(&self, score: f64, speed: usize) -> f64 {
        // As bad as this score or worse are, by the rule that shares out the alarms, the nominal speed
        // above its threshold and all others above theirs: both kinds count alike when p is reported.
        let kind = (speed != self.nominal) as usize;
        let share = if self.speeds == 1 { 1.0 } else { NOMINAL_SHARE };
        let alarms = (log_tail(score) + (self.hypotheses[kind].max(1.0) / share).ln())
            / std::f64::consts::LN_10;
        alarms.min(0.0)
    }

    /// Adds a slot whose middle is `seconds` after the first frame; returns the best place above the threshold.
    pub fn push(
        &mut self,
        seconds: f64,
        sums: &[Complex<f32>],
        maps: &[SpeedMap],
    ) -> Option<Candidate> {
        self.follow_clock(seconds);
        for (i, chips) in self.chips.chunks_exact_mut(CHIPS).enumerate() {
            if i < VIEWS * maps.len() {
                maps[i % maps.len()].chips(of_view(sums, i / maps.len()), chips);
            }
        }
        self.matrix
            .multiply(self.arch, &self.chips, &mut self.products);
        let rows = self.matrix.rows;
        let mut best: Option<(f64, Candidate)> = None;
        for i in 0..VIEWS * maps.len() {
            let (view, speed) = (i / maps.len(), i % maps.len());
            let chips = &self.chips[i * CHIPS..][..CHIPS];
            let products = &self.products[i * rows..][..rows];
            let threshold = self.threshold(speed);
            for alignment in 0..SLOTS_PER_ROW {
                let evidence = &mut self.evidence[i * SLOTS_PER_ROW + alignment];
                evidence.enter_row(self.clock.row(seconds, maps[speed].speed, alignment));
                evidence.add(chips, products);
                for (window, score) in evidence.highest(self.arch).into_iter().enumerate() {
                    let score = score as f64;
                    self.highest = self.highest.max(score);
                    let margin = score - threshold;
                    if margin > 0.0 && best.is_none_or(|(most, _)| margin > most) {
                        let candidate = Candidate {
                            score,
                            window,
                            view,
                            speed,
                            alignment,
                            offset: 0,
                        };
                        best = Some((margin, candidate));
                    }
                }
            }
        }
        best.map(|(_, candidate)| Candidate {
            offset: self
                .evidence(candidate.view, candidate.speed, candidate.alignment)
                .best_hypothesis(candidate.window),
            ..candidate
        })
    }

    /// With a row clock that never repeats, loads the signs of the rows around the detector's own.
    fn follow_clock(&mut self, seconds: f64) {
        if self.row_clock == RowClock::Stream {
            return;
        }
        let newest = self.clock.row(seconds, 1.0, SLOTS_PER_ROW) + self.reach;
        let oldest = newest + 1 - self.matrix.rows as i64;
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
        let rows = self.matrix.rows as i64;
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
    use crate::watermark::key::Key;

    #[test]
    fn products_equal_plain_sums() {
        let mut signs = Key::from_bytes([3; 32]).signs();
        let mut matrix = SignMatrix::new(32);
        for row in 0..32 {
            let mut of_row = [0.0; CHIPS];
            signs.row(row, &mut of_row);
            matrix.load(row, &of_row);
        }
        let chips: Vec<f32> = (0..PASS * CHIPS).map(|i| (i as f32 * 0.7).sin()).collect();
        let mut products = vec![0.0; PASS * 32];
        matrix.multiply(Arch::new(), &chips, &mut products);
        for speed in 0..PASS {
            for row in 0..32 {
                let mut of_row = [0.0; CHIPS];
                signs.clone().row(row as u64, &mut of_row);
                let want: f32 = chips[speed * CHIPS..][..CHIPS]
                    .iter()
                    .zip(of_row)
                    .map(|(b, s)| b * s)
                    .sum();
                assert!((products[speed * 32 + row] - want).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn thresholds_follow_from_the_hypotheses() {
        let search = |speeds, alarms| {
            Search::new(
                Key::from_bytes([0; 32]).signs(),
                RowClock::Stream,
                0.0,
                speeds,
                speeds / 2,
                alarms,
            )
        };
        let (narrow, wide, lax) = (search(1, 1e-4), search(11, 1e-4), search(11, 30.0));
        assert_eq!(
            narrow.hypotheses_per_hour(),
            90_000.0 * 5.0 * 1024.0 * 9.0 * 2.0
        );
        assert_eq!(
            wide.hypotheses_per_hour(),
            11.0 * narrow.hypotheses_per_hour()
        );
        assert!(wide.threshold(5) > narrow.threshold(0));
        assert!(wide.threshold(4) > wide.threshold(5));
        assert!(lax.threshold(5) < wide.threshold(5) - 1.0);
        let at_threshold = wide.log10_alarms(wide.threshold(5), 5);
        assert!((at_threshold - -4.0).abs() < 1e-3, "{at_threshold}");
        assert!((wide.log10_alarms(wide.threshold(4), 4) - -4.0).abs() < 1e-3);
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
