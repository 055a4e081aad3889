// SPDX-License-Identifier: MIT OR Apache-2.0
//! All rows of the key at all speeds: where could the mark be?
//!
//! With each slot a block may end. The products of that block with the two before it are made for each row
//! and coarse speed and added to what the earlier blocks of the same alignment gave, which fades. Only the
//! best few rows are scored with all pairs. As the bound counts all rows at all fine speeds as tested, how
//! these few are chosen cannot raise the number of false alarms; it only costs some marks near the threshold.

use super::super::format::{CHIPS, ROWS};
use super::super::lookup::Processor;
use super::super::products::{Products, SignMatrix, Tables};
use super::super::rounded::{RoundedRow, round};
use super::super::thresholds::NOMINAL_SHARE;
use super::form::{Form, Scored};
use super::lags::LagCorrelator;
use super::{CYCLE_SLOTS, FINE, SLOT, SLOTS_PER_BLOCK};
use pulp::Arch;
use std::ops::RangeInclusive;

/// Lags of the first stage.
const SHORT_LAGS: usize = 2;
/// What stays of the first stage's sums when the next block comes, and a sum below which nothing does: what fades in
/// long silence would become denormal numbers, which are slow.
const STAYS: f32 = 0.9;
const NOTHING: f32 = 1e-30;
/// Rows that are scored with all pairs, and the score of the first stage that they need: a mark that
/// reaches the threshold with all pairs has half as much with the shortest ones.
const SCORED: usize = 6;
const GATE: f32 = 3.0;
/// Blocks that there must be.
const FEWEST_BLOCKS: i64 = 4;

/// A place where the mark seems to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// What all pairs say.
    pub scored: Scored,
    /// The score that the bound holds for.
    pub score: f64,
    /// Row of the block that ends with slot k = (k + place) / 4.
    pub place: i64,
}

/// A row and speed that the first stage likes.
#[derive(Clone, Copy)]
struct Likely {
    z: f32,
    offset: usize,
    speed: usize,
}

/// The search over everything that is not known.
pub struct NoiseSearch {
    arch: Arch,
    speeds: usize,
    /// Products of the signs of each row and the one 1 or 2 rows earlier.
    matrices: Vec<SignMatrix>,
    /// Nominal speed, all others.
    thresholds: [f64; 2],
    hypotheses: [f64; 2],
    /// Shares of the permitted false alarms.
    shares: [f64; 2],
    chips: Vec<f32>,
    rounded: Vec<RoundedRow>,
    processor: Processor,
    tables: Tables,
    products: Products,
    /// Sums of alignment `a`, speed `v` and offset `o` at `(a * speeds + v) * ROWS + o`, and their variances.
    sums: Vec<f32>,
    variances: Vec<f32>,
    highest_sums: Vec<f32>,
    best_speeds: Vec<u16>,
    highest: f64,
}

impl NoiseSearch {
    /// A search for the places and speeds of `form` with at most `alarms` false alarms an hour.
    pub fn new(form: &Form, alarms: f64) -> Self {
        let speeds = 2 * form.steps() as usize + 1;
        // A block may end with each slot; nothing but the latest blocks is tested then.
        let tests_an_hour = 3600.0 / SLOT * ROWS as f64;
        let hypotheses = tests(form).map(|tests| tests_an_hour * tests as f64);
        let share = if speeds == 1 { 1.0 } else { NOMINAL_SHARE };
        let shares = [share, (1.0 - share).max(1e-9)];
        let threshold = |n: f64, alarms: f64| (2.0 * (n / alarms).ln()).max(1.0).sqrt();
        let mut search = NoiseSearch {
            arch: Arch::new(),
            speeds,
            matrices: (0..SHORT_LAGS).map(|_| SignMatrix::new(ROWS)).collect(),
            thresholds: [
                threshold(hypotheses[0], alarms * shares[0]),
                threshold(hypotheses[1].max(1.0), alarms * shares[1]),
            ],
            hypotheses,
            shares,
            chips: vec![0.0; speeds * CHIPS],
            rounded: vec![RoundedRow::SILENCE; speeds],
            processor: Processor::best(),
            tables: Tables::new(speeds),
            products: Products::new(speeds, ROWS),
            sums: vec![0.0; SLOTS_PER_BLOCK as usize * speeds * ROWS],
            variances: vec![0.0; SLOTS_PER_BLOCK as usize * speeds],
            highest_sums: vec![0.0; ROWS],
            best_speeds: vec![0; ROWS],
            highest: 0.0,
        };
        for (lag, matrix) in (1..).zip(&mut search.matrices) {
            for row in 0..ROWS {
                matrix.load(row as u64, &form.sign_products(row, lag));
            }
        }
        search
    }

    /// Forgets all evidence.
    pub fn reset(&mut self) {
        self.sums.fill(0.0);
        self.variances.fill(0.0);
        self.highest = 0.0;
    }

    /// Score above which a place counts as found, at nominal speed or at another.
    pub fn threshold(&self, nominal: bool) -> f64 {
        self.thresholds[!nominal as usize]
    }

    /// Hypotheses tested in an hour.
    pub fn hypotheses_per_hour(&self) -> f64 {
        self.hypotheses.iter().sum()
    }

    /// Highest score since the last reset.
    pub fn highest(&self) -> f64 {
        self.highest
    }

    /// Expected false alarms in an hour, as a decimal logarithm, if only scores as good as this one counted.
    pub fn log10_alarms(&self, score: f64, nominal: bool) -> f64 {
        let u = self.threshold(nominal);
        let (kind, log_tail) = (!nominal as usize, 0.5 * u * u - u * score);
        let hypotheses = self.hypotheses[kind].max(1.0);
        ((log_tail + (hypotheses / self.shares[kind]).ln()) / std::f64::consts::LN_10).min(0.0)
    }

    /// Takes the block that ends with slot `slot`; returns the best place above the threshold.
    pub fn push(&mut self, audio: &LagCorrelator, slot: i64, form: &mut Form) -> Option<Candidate> {
        self.add(audio, slot, form);
        if slot + 1 < FEWEST_BLOCKS * SLOTS_PER_BLOCK as i64 {
            return None;
        }
        let block = slot / SLOTS_PER_BLOCK as i64;
        let mut best: Option<(f64, Candidate)> = None;
        for likely in self.likely(slot).into_iter().filter(|l| l.z > GATE) {
            let row = (block as usize + likely.offset) % ROWS;
            let scored = form.score(audio, slot, row, around(form, likely.speed));
            let threshold = self.threshold(form.is_nominal(scored.speed));
            let score = scored.score(threshold);
            self.highest = self.highest.max(score);
            let margin = score - threshold;
            if margin > 0.0 && best.is_none_or(|(most, _)| margin > most) {
                let place = (row as i64 * SLOTS_PER_BLOCK as i64 - slot).rem_euclid(CYCLE_SLOTS);
                let candidate = Candidate {
                    scored,
                    score,
                    place,
                };
                best = Some((margin, candidate));
            }
        }
        best.map(|(_, candidate)| candidate)
    }

    /// First stage: adds the latest block.
    fn add(&mut self, audio: &LagCorrelator, slot: i64, form: &mut Form) {
        let alignment = (slot % SLOTS_PER_BLOCK as i64) as usize * self.speeds;
        let shift = (slot / SLOTS_PER_BLOCK as i64) as usize % ROWS;
        for variance in &mut self.variances[alignment..][..self.speeds] {
            *variance = faded(*variance, STAYS * STAYS);
        }
        for sum in &mut self.sums[alignment * ROWS..][..self.speeds * ROWS] {
            *sum = faded(*sum, STAYS);
        }
        for lag in 1..=SHORT_LAGS {
            for (v, chips) in self.chips.chunks_exact_mut(CHIPS).enumerate() {
                form.latest_pair(audio, slot, v, lag, chips);
                self.variances[alignment + v] += chips.iter().map(|b| b * b).sum::<f32>();
            }
            round(self.arch, &self.chips, &mut self.rounded);
            let (matrix, products) = (&self.matrices[lag - 1], &mut self.products);
            self.tables
                .fill(self.arch, self.rounded.iter().map(|row| &row.chips));
            products.multiply(self.processor, matrix, &self.tables);
            let sums = self.sums[alignment * ROWS..].chunks_exact_mut(ROWS);
            for (v, (sums, products)) in sums.zip(self.products.all.chunks_exact(ROWS)).enumerate()
            {
                let step = self.rounded[v].step;
                let (wrapped, straight) = products.split_at(shift);
                let (begin, end) = sums.split_at_mut(straight.len());
                add_to(begin, straight, step);
                add_to(end, wrapped, step);
            }
        }
    }

    /// The best offsets, each at its best speed.
    fn likely(&mut self, slot: i64) -> [Likely; SCORED] {
        let alignment = (slot % SLOTS_PER_BLOCK as i64) as usize * self.speeds;
        self.highest_sums.fill(0.0);
        for v in 0..self.speeds {
            let scale = 1.0 / (self.variances[alignment + v] + 1e-30).sqrt();
            let sums = &self.sums[(alignment + v) * ROWS..][..ROWS];
            let best = self.highest_sums.iter_mut().zip(&mut self.best_speeds);
            for ((most, speed), sum) in best.zip(sums) {
                let z = sum * scale;
                *speed = if z > *most { v as u16 } else { *speed };
                *most = if z > *most { z } else { *most };
            }
        }
        let none = Likely {
            z: 0.0,
            offset: 0,
            speed: 0,
        };
        let mut likely = [none; SCORED];
        for (offset, (&z, &speed)) in self.highest_sums.iter().zip(&self.best_speeds).enumerate() {
            if z > likely[SCORED - 1].z {
                let worse = likely.iter().take_while(|l| l.z >= z).count();
                likely[worse..].rotate_right(1);
                likely[worse] = Likely {
                    z,
                    offset,
                    speed: speed as usize,
                };
            }
        }
        // Neighbours in speed share the work of the second stage.
        likely.sort_unstable_by_key(|l| l.speed);
        likely
    }
}

/// Fine steps that are tried around a coarse speed. They reach to the coarse speeds on either side, since the first stage
/// may take one of those for the best.
fn around(form: &Form, speed: usize) -> RangeInclusive<i32> {
    let centre = (speed as i32 - form.steps()) * FINE;
    centre - FINE..=centre + FINE
}

/// Fine steps that are tried around all coarse speeds together, nominal and others. A step that is tried from two
/// coarse speeds is compared with other edges of chips and counts twice.
fn tests(form: &Form) -> [usize; 2] {
    let mut tests = [0; 2];
    for step in (0..2 * form.steps() as usize + 1).flat_map(|speed| around(form, speed)) {
        if step.abs() <= form.reach() {
            tests[!form.is_nominal(step) as usize] += 1;
        }
    }
    tests
}

fn faded(sum: f32, stays: f32) -> f32 {
    if sum.abs() < NOTHING {
        0.0
    } else {
        stays * sum
    }
}

fn add_to(sums: &mut [f32], new: &[i16], step: f32) {
    for (sum, new) in sums.iter_mut().zip(new) {
        *sum += step * *new as f32;
    }
}
