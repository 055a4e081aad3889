// SPDX-License-Identifier: MIT OR Apache-2.0
//! Evidence added up over time, for many rows of the key at once, at one speed and one alignment.
//!
//! The rows of the programme advance together with those of the key, so a hypothesis is an offset
//! between the two that stays the same: hypothesis `o` says that local row `r` is row `r + o` of the key.
//!
//! A row is added when it has ended; one that is under way is given when it is asked for. What is asked is what
//! [`super::windows`] explains.

use super::correlation::SLOTS_PER_ROW;
use super::windows::{
    CUT, FADED, FADING, Fade, Highest, KEPT, LANES, Now, ROWS_KEPT, SUMS, Screen, WINDOWS, fading,
    score,
};
use pulp::Arch;

/// For each hypothesis its value of a row, `row` by the local clock, from the values row by row of the key.
pub fn turn(products: &[f32], row: i64, hypotheses: &mut [f32]) {
    let shift = row.rem_euclid(products.len() as i64) as usize;
    let (wrapped, straight) = products.split_at(shift);
    let (begin, end) = hypotheses.split_at_mut(straight.len());
    begin.copy_from_slice(straight);
    end.copy_from_slice(wrapped);
}

/// A row that has not ended: a value for each hypothesis, and the energy of its chips.
#[derive(Clone, Copy)]
pub struct UnderWay<'a> {
    pub products: &'a [f32],
    pub energy: f32,
}

/// What one hypothesis has from before the latest row, whole or under way.
pub struct Before {
    /// The rows, newest first, and their energies.
    pub rows: [f32; KEPT],
    pub energies: [f32; KEPT],
    /// The first of the fading sums, and its energy.
    pub faded: f32,
    pub faded_energy: f32,
}

/// Running sums of many hypotheses.
#[derive(Clone)]
pub struct Evidence {
    count: usize,
    /// Whole rows, one behind the other, the latest at `newest`, one value a hypothesis; and fading sums.
    kept: Vec<f32>,
    faded: Vec<f32>,
    newest: usize,
    /// The sums of squares behind each of the sums.
    kept_energy: [f32; ROWS_KEPT],
    faded_energy: [f32; SUMS],
    /// Local number of the latest whole row; `None` before the first slot.
    row: Option<i64>,
    /// Slots since then.
    under_way: usize,
}

impl Evidence {
    /// No evidence yet for `count` hypotheses.
    pub fn new(count: usize) -> Self {
        debug_assert!(count.is_multiple_of(LANES));
        Evidence {
            count,
            kept: vec![0.0; ROWS_KEPT * count],
            faded: vec![0.0; SUMS * count],
            newest: 0,
            kept_energy: [0.0; ROWS_KEPT],
            faded_energy: [0.0; SUMS],
            row: None,
            under_way: 0,
        }
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.kept.fill(0.0);
        self.faded.fill(0.0);
        self.kept_energy = [0.0; ROWS_KEPT];
        self.faded_energy = [0.0; SUMS];
        self.row = None;
        (self.newest, self.under_way) = (0, 0);
    }

    /// Local number of the latest row, which is under way unless it has just ended.
    pub fn row(&self) -> Option<i64> {
        self.row.map(|row| row + (self.under_way > 0) as i64)
    }

    /// Slots of the row under way, no more than a row has; 0 if the latest has just ended.
    pub fn under_way(&self) -> usize {
        self.under_way.min(SLOTS_PER_ROW)
    }

    /// Slots of the latest row, whole or under way.
    pub fn in_row(&self) -> usize {
        match self.under_way() {
            0 => SLOTS_PER_ROW,
            slots => slots,
        }
    }

    /// Counts a slot of local row `row`, after which `ended` is the latest row that has ended. Returns whether
    /// it has ended only now.
    pub fn advance(&mut self, row: i64, ended: i64) -> bool {
        self.under_way += 1;
        *self.row.get_or_insert(row - 1) < ended
    }

    /// Ends local row `row`, whose chips have energy `energy` and, times the signs of each row of the key, the sums
    /// `products`. Returns the highest score of each of the fading sums.
    pub fn end_row(&mut self, arch: Arch, row: i64, energy: f32, products: &[f32]) -> [f32; SUMS] {
        self.row = Some(row);
        self.under_way = 0;
        self.newest = (self.newest + KEPT) % ROWS_KEPT;
        self.kept_energy[self.newest] = energy;
        let kept = &mut self.kept[self.newest * self.count..][..self.count];
        turn(products, row, kept);
        let mut highest = [0.0; SUMS];
        for (w, sums) in self.faded.chunks_exact_mut(self.count).enumerate() {
            let stays = fading(w);
            let before = stays * stays * self.faded_energy[w];
            // In long silence sums would fade into numbers so small that processors are slow with them.
            let silent = before < FADED;
            self.faded_energy[w] = if silent { 0.0 } else { before } + energy;
            let highest_sum = arch.dispatch(Fade {
                sums,
                new: kept,
                stays: if silent { 0.0 } else { stays },
            });
            highest[w] = score(highest_sum, self.faded_energy[w]);
        }
        highest
    }

    /// Highest score of each window after a row that has just ended, given those of the fading sums. The windows that
    /// are cut are made only for hypotheses of which a fading sum has the score `least`; others count as 0.
    pub fn screened(&self, arch: Arch, fading: &[f32; SUMS], least: f32) -> [f32; WINDOWS] {
        let mut scores = [0.0; WINDOWS];
        scores[CUT..].copy_from_slice(&fading[..FADING]);
        let mut limits = [f32::INFINITY; SUMS];
        for ((limit, score), energy) in limits.iter_mut().zip(fading).zip(self.faded_energy) {
            if *score >= least {
                *limit = least * energy.sqrt();
            }
        }
        if limits.iter().all(|limit| limit.is_infinite()) {
            return scores;
        }
        let now = &self.now(None);
        let cut = arch.dispatch(Screen { now, limits });
        scores[..CUT].copy_from_slice(&cut);
        scores
    }

    /// Highest score of each window over all hypotheses, with the row under way if there is one.
    pub fn highest(&self, arch: Arch, under_way: Option<UnderWay>) -> [f32; WINDOWS] {
        let now = self.now(under_way);
        let mut highest = arch.dispatch(Highest(&now));
        for (highest, energy) in highest.iter_mut().zip(now.energies()) {
            *highest = score(*highest, energy);
        }
        highest
    }

    /// The hypothesis with the highest score of window `w`, with the row under way if there is one.
    pub fn best_hypothesis(&self, w: usize, under_way: Option<UnderWay>) -> usize {
        let now = self.now(under_way);
        let sum = |o: usize| match w.checked_sub(CUT) {
            None => now.cut(o)[w],
            Some(fading) => now.fading(fading, o),
        };
        (0..self.count)
            .max_by(|&a, &b| sum(a).total_cmp(&sum(b)))
            .unwrap_or(0)
    }

    /// What hypothesis `o` has from before the latest row.
    pub fn before(&self, o: usize) -> Before {
        let sum = self.faded[o];
        let energy = self.faded_energy[0];
        // The sums of a row that has just ended are among those that are kept and in those that fade.
        let whole = (self.under_way == 0) as usize;
        let age = |age: usize| (self.newest + whole + age) % ROWS_KEPT;
        let stays = fading(0);
        let (faded, faded_energy) = match whole {
            0 => (stays * sum, stays * stays * energy),
            _ => (
                sum - self.kept[self.newest * self.count + o],
                (energy - self.kept_energy[self.newest]).max(0.0),
            ),
        };
        Before {
            rows: std::array::from_fn(|row| self.kept[age(row) * self.count + o]),
            energies: std::array::from_fn(|row| self.kept_energy[age(row)]),
            faded,
            faded_energy,
        }
    }

    fn now<'a>(&'a self, under_way: Option<UnderWay<'a>>) -> Now<'a> {
        let kept = |age: usize| {
            let row = (self.newest + age) % ROWS_KEPT;
            let sums = &self.kept[row * self.count..][..self.count];
            (sums, self.kept_energy[row])
        };
        let (latest, first, stays, adds) = match under_way {
            None => (kept(0), 1, [1.0; SUMS], 0.0),
            Some(row) => (
                (row.products, row.energy),
                0,
                std::array::from_fn(fading),
                1.0,
            ),
        };
        Now {
            count: self.count,
            latest,
            earlier: std::array::from_fn(|age| kept(first + age)),
            faded: &self.faded,
            faded_energy: self.faded_energy,
            stays,
            adds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watermark::windows::CUT_WINDOWS;

    const COUNT: usize = 32;

    fn random(state: &mut u64) -> f32 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// A row: its local number, its products and its energy.
    type Row = (i64, Vec<f32>, f32);

    fn row(number: i64, state: &mut u64) -> Row {
        let products = (0..COUNT).map(|_| random(state)).collect();
        (number, products, 1.5 + random(state))
    }

    /// The same score, obviously: all rows kept, added up anew.
    fn slow(rows: &[Row], w: usize, o: usize) -> f32 {
        let now = rows[rows.len() - 1].0;
        let (mut sum, mut of_all) = (0.0, 0.0);
        for (row, products, energy) in rows {
            let weight = match w.checked_sub(CUT) {
                None => (now - row <= CUT_WINDOWS[w] as i64) as u8 as f32,
                Some(f) => fading(f).powi((now - row) as i32),
            };
            sum += weight * products[(row + o as i64).rem_euclid(COUNT as i64) as usize];
            of_all += weight * weight * energy;
        }
        sum / of_all.sqrt()
    }

    fn assert_equals(fast: [f32; WINDOWS], best: impl Fn(usize) -> usize, rows: &[Row]) {
        for (w, highest) in fast.into_iter().enumerate() {
            let want = (0..COUNT)
                .map(|o| slow(rows, w, o))
                .fold(f32::NEG_INFINITY, f32::max);
            assert!(
                (highest - want).abs() < 1e-3,
                "{} rows, window {w}: {highest} for {want}",
                rows.len()
            );
            assert!((slow(rows, w, best(w)) - want).abs() < 1e-3);
        }
    }

    #[test]
    fn running_sums_equal_sums_made_anew() {
        let (arch, mut state) = (Arch::new(), 1u64);
        let mut fast = Evidence::new(COUNT);
        let mut rows = Vec::new();
        for number in 3..40 {
            let under_way = row(number, &mut state);
            let mut turned = vec![0.0; COUNT];
            turn(&under_way.1, number, &mut turned);
            let so_far = Some(UnderWay {
                products: &turned,
                energy: under_way.2,
            });
            rows.push(under_way);
            assert_equals(
                fast.highest(arch, so_far),
                |w| fast.best_hypothesis(w, so_far),
                &rows,
            );
            rows.pop();

            let (_, products, energy) = row(number, &mut state);
            let fading = fast.end_row(arch, number, energy, &products);
            rows.push((number, products, energy));
            let highest = fast.highest(arch, None);
            assert_equals(highest, |w| fast.best_hypothesis(w, None), &rows);
            // If all are let through, the screen changes nothing.
            let screened = fast.screened(arch, &fading, -1e9);
            for (screened, highest) in screened.into_iter().zip(highest) {
                assert!(
                    (screened - highest).abs() < 1e-3,
                    "{screened} for {highest}"
                );
            }
        }
    }

    #[test]
    fn only_what_passes_the_screen_is_made() {
        let (arch, mut state) = (Arch::new(), 5u64);
        let mut evidence = Evidence::new(COUNT);
        for number in 0..30 {
            let (_, mut products, energy) = row(number, &mut state);
            // Hypothesis 7 is marked.
            products[(number + 7) as usize % COUNT] += 2.0;
            let fading = evidence.end_row(arch, number, energy, &products);
            let highest = evidence.highest(arch, None);
            let screened = evidence.screened(arch, &fading, 3.0);
            assert_eq!(screened[CUT..], fading[..FADING]);
            if number >= 10 {
                assert_eq!(screened[..CUT], highest[..CUT]);
            }
            let most = fading.into_iter().fold(0.0, f32::max);
            let screened = evidence.screened(arch, &fading, 1.01 * most);
            assert_eq!(screened[..CUT], [0.0; CUT]);
        }
    }

    #[test]
    fn slots_are_counted_row_by_row() {
        let mut evidence = Evidence::new(LANES);
        assert_eq!((evidence.row(), evidence.under_way()), (None, 0));
        assert!(!evidence.advance(7, 6));
        assert_eq!((evidence.row(), evidence.under_way()), (Some(7), 1));
        assert!(evidence.advance(7, 7));
        evidence.end_row(Arch::new(), 7, 0.0, &[0.0; LANES]);
        assert_eq!((evidence.row(), evidence.under_way()), (Some(7), 0));
        assert_eq!(evidence.in_row(), SLOTS_PER_ROW);
        // A row of six: no more than five are taken of it.
        assert!((0..5).all(|_| !evidence.advance(8, 7)));
        assert!(evidence.advance(8, 8));
        assert_eq!(
            (evidence.row(), evidence.under_way()),
            (Some(8), SLOTS_PER_ROW)
        );
    }

    #[test]
    fn in_long_silence_nothing_is_left() {
        let mut evidence = Evidence::new(LANES);
        let arch = Arch::new();
        evidence.end_row(arch, 0, 100.0, &[1.0; LANES]);
        // 25 s fade to 1e-30 in about eight minutes.
        for row in 1..3000 {
            let scores = evidence.end_row(arch, row, 0.0, &[0.0; LANES]);
            assert!(scores.iter().all(|score| score.is_finite()));
        }
        assert!(evidence.faded.iter().all(|sum| *sum == 0.0));
        assert_eq!(evidence.highest(arch, None), [0.0; WINDOWS]);
    }
}
