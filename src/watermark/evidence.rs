// SPDX-License-Identifier: MIT OR Apache-2.0
//! Evidence added up over time, for many rows of the key at once, at one speed and one alignment.
//!
//! The rows of the programme advance together with those of the key, so a hypothesis is an offset
//! between the two that stays the same: hypothesis `o` says that local row `r` is row `r + o` of the key.
//!
//! Nine windows run side by side. Five hold the latest row, whole or under way, and the 3 to 10 whole rows before
//! it. Four fade, because rows of 25 s ago kept one by one would take most of the memory: each
//! older row counts a little less, which keeps about 90 % of the score of a window cut to measure, and
//! all of it for a mark that was there from the start. Weights do not depend on the key, so the bound of
//! [`super::bound`] holds for either kind.
//!
//! All this lies in memory that no near cache holds, so what costs time is to read it. When a row ends, only the
//! fading sums are read, all in one loop. They show as well where the windows that are cut can be high at all: what
//! fades within about the length of such a window holds most of what the window does. Only there are the rows that
//! are kept added up. A fifth fading sum, which is no window, is as short as the shortest of those that are cut:
//! without it a mark that begins after loud programme would be hidden by what the others remember of that.

use super::correlation::{SLOT, SLOTS_PER_ROW};
use super::format::ROW;
use pulp::{Arch, Simd, WithSimd};

/// Whole rows before the latest in each of the windows that are cut.
const CUT_WINDOWS: [usize; 5] = [3, 4, 6, 8, 10];
const CUT: usize = CUT_WINDOWS.len();
/// Rows before the latest that are kept one by one.
pub const KEPT: usize = CUT_WINDOWS[CUT - 1];
/// Rows that are kept: the latest, too.
const ROWS_KEPT: usize = KEPT + 1;
/// Evidence that each fading sum holds in the steady state, in seconds: those of the windows, and the short one.
const FADING_SUMS: [f64; SUMS] = [3.2, 6.4, 12.8, 25.6, 1.0];
const SUMS: usize = 5;
/// Fading sums that are windows.
const FADING: usize = 4;
/// Windows in all.
pub const WINDOWS: usize = CUT + FADING;
/// The window that tells best what is going on now: 2 s.
pub const LATEST: usize = CUT - 1;

/// Hypotheses are taken in pieces of this many; their number is a multiple of it.
pub const LANES: usize = 16;

/// Energy that counts as none: a score of it does, too.
pub const FADED: f32 = 1e-30;

/// What stays of fading sum `w` when the next row comes.
pub fn fading(w: usize) -> f32 {
    // A sum that fades by l a row has the variance of (1 + l) / (1 - l) whole rows.
    let rows = FADING_SUMS[w] / ROW;
    ((rows - 1.0) / (rows + 1.0)) as f32
}

/// Seconds of evidence in window `w` if the latest row has `in_row` slots and there were `slots` since the start:
/// there is never more than that.
pub fn seconds(w: usize, in_row: u64, slots: u64) -> f64 {
    let holds = match w.checked_sub(CUT) {
        None => ((CUT_WINDOWS[w] * SLOTS_PER_ROW) as u64 + in_row) as f64 * SLOT,
        Some(fading) => FADING_SUMS[fading],
    };
    holds.min(slots as f64 * SLOT)
}

/// The score of a sum, given the energy behind it.
pub fn score(sum: f32, energy: f32) -> f32 {
    if energy > FADED {
        sum / energy.sqrt()
    } else {
        0.0
    }
}

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
            evidence: self,
            latest,
            earlier: std::array::from_fn(|age| kept(first + age)),
            stays,
            adds,
        }
    }
}

/// What the windows hold: all of a row that has just ended or what there is of one under way, and what was before.
struct Now<'a> {
    evidence: &'a Evidence,
    /// The latest row, and those before it, newest first: a value for each hypothesis, and the energy.
    latest: (&'a [f32], f32),
    earlier: [(&'a [f32], f32); KEPT],
    /// What counts of the fading sums, and what of the latest row is to be added to them: nothing once it has ended.
    stays: [f32; SUMS],
    adds: f32,
}

impl Now<'_> {
    /// Sums of hypothesis `o` in the windows that are cut.
    fn cut(&self, o: usize) -> [f32; CUT] {
        let (mut sum, mut row) = (self.latest.0[o], 0);
        let mut sums = [0.0; CUT];
        for (of_window, rows) in sums.iter_mut().zip(CUT_WINDOWS) {
            for (earlier, _) in &self.earlier[row..rows] {
                sum += earlier[o];
            }
            row = rows;
            *of_window = sum;
        }
        sums
    }

    /// The energies behind these.
    fn cut_energies(&self) -> [f32; CUT] {
        CUT_WINDOWS.map(|rows| {
            let earlier = self.earlier[..rows].iter().map(|(_, energy)| energy);
            self.latest.1 + earlier.sum::<f32>()
        })
    }

    /// Sum of hypothesis `o` in fading window `w`.
    fn fading(&self, w: usize, o: usize) -> f32 {
        let faded = self.evidence.faded[w * self.evidence.count + o];
        self.stays[w] * faded + self.adds * self.latest.0[o]
    }

    /// The energies behind the sums of all windows.
    fn energies(&self) -> [f32; WINDOWS] {
        let mut energies = [0.0; WINDOWS];
        energies[..CUT].copy_from_slice(&self.cut_energies());
        for (w, energy) in energies[CUT..].iter_mut().enumerate() {
            *energy = self.stays[w] * self.stays[w] * self.evidence.faded_energy[w]
                + self.adds * self.latest.1;
        }
        energies
    }
}

/// Adds a row to a fading sum and tells the highest value. This is a type, as those below are, because a closure
/// would not be compiled for each instruction set.
struct Fade<'a> {
    sums: &'a mut [f32],
    new: &'a [f32],
    stays: f32,
}

impl WithSimd for Fade<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let stays = simd.splat_f32s(self.stays);
        // The number of hypotheses leaves nothing over.
        let (sums, _) = S::as_mut_simd_f32s(self.sums);
        let (new, _) = S::as_simd_f32s(self.new);
        let mut highest = [simd.splat_f32s(f32::NEG_INFINITY); APART];
        let (pieces, rest) = sums.as_chunks_mut::<APART>();
        let (new_pieces, new_rest) = new.as_chunks::<APART>();
        for (sums, new) in pieces.iter_mut().zip(new_pieces) {
            for i in 0..APART {
                sums[i] = simd.mul_add_e_f32s(stays, sums[i], new[i]);
                highest[i] = simd.max_f32s(highest[i], sums[i]);
            }
        }
        for (sum, new) in rest.iter_mut().zip(new_rest) {
            *sum = simd.mul_add_e_f32s(stays, *sum, *new);
            highest[0] = simd.max_f32s(highest[0], *sum);
        }
        highest
            .iter()
            .fold(f32::NEG_INFINITY, |a, &b| a.max(simd.reduce_max_f32s(b)))
    }
}

/// Maxima that are kept side by side, because a single one would have to wait for each comparison.
const APART: usize = 4;

/// Highest score of each window that is cut, over the hypotheses of which a fading sum reaches its limit.
struct Screen<'a> {
    now: &'a Now<'a>,
    limits: [f32; SUMS],
}

impl WithSimd for Screen<'_> {
    type Output = [f32; CUT];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> [f32; CUT] {
        let mut highest = [0.0f32; CUT];
        let energies = self.now.cut_energies();
        let evidence = self.now.evidence;
        let all_sums = evidence.faded.chunks_exact(evidence.count);
        for (sums, limit) in all_sums.zip(self.limits).filter(|(_, l)| l.is_finite()) {
            for (piece, sums) in sums.as_chunks::<LANES>().0.iter().enumerate() {
                // First all at once: hardly any piece has one that does.
                let of_piece = S::as_simd_f32s(sums).0;
                let most = of_piece
                    .iter()
                    .fold(of_piece[0], |a, &b| simd.max_f32s(a, b));
                if simd.reduce_max_f32s(most) < limit {
                    continue;
                }
                for lane in (0..LANES).filter(|lane| sums[*lane] >= limit) {
                    let cut = self.now.cut(piece * LANES + lane);
                    for ((highest, sum), energy) in highest.iter_mut().zip(cut).zip(energies) {
                        *highest = highest.max(score(sum, energy));
                    }
                }
            }
        }
        highest
    }
}

/// Highest sum of each window over all hypotheses.
struct Highest<'a>(&'a Now<'a>);

impl WithSimd for Highest<'_> {
    type Output = [f32; WINDOWS];

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> [f32; WINDOWS] {
        let now = self.0;
        let mut highest = [[f32::NEG_INFINITY; LANES]; WINDOWS];
        let count = now.evidence.count;
        for at in (0..count).step_by(LANES) {
            let mut latest = [0.0; LANES];
            add(&mut latest, &now.latest.0[at..]);
            let mut sum = latest;
            let mut row = 0;
            for (highest, rows) in highest.iter_mut().zip(CUT_WINDOWS) {
                for (earlier, _) in &now.earlier[row..rows] {
                    add(&mut sum, &earlier[at..]);
                }
                row = rows;
                raise(highest, &sum);
            }
            for (w, highest) in highest[CUT..].iter_mut().enumerate() {
                let faded = &now.evidence.faded[w * count + at..][..LANES];
                let stays = now.stays[w];
                for ((sum, faded), latest) in sum.iter_mut().zip(faded).zip(&latest) {
                    *sum = stays * faded + now.adds * latest;
                }
                raise(highest, &sum);
            }
        }
        highest.map(most)
    }
}

#[inline(always)]
fn add(sums: &mut [f32; LANES], new: &[f32]) {
    for (sum, new) in sums.iter_mut().zip(&new[..LANES]) {
        *sum += new;
    }
}

#[inline(always)]
fn raise(highest: &mut [f32; LANES], sums: &[f32; LANES]) {
    for (highest, &sum) in highest.iter_mut().zip(sums) {
        *highest = if sum > *highest { sum } else { *highest };
    }
}

#[inline(always)]
fn most(lanes: [f32; LANES]) -> f32 {
    lanes.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b))
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// What a window that is cut shows at its threshold, the screen lets through with a margin: whatever its length,
    /// and if there was programme of twice the magnitude before.
    #[test]
    fn a_fading_sum_holds_most_of_any_window() {
        for rows in CUT_WINDOWS.map(|rows| rows + 1) {
            for (before, least) in [(1.0, 0.8), (4.0, 0.75)] {
                let held = (0..SUMS)
                    .map(|w| {
                        let stays = fading(w);
                        let weights = |power| {
                            (0..rows as i32)
                                .map(move |age| stays.powi(power * age))
                                .sum::<f32>()
                        };
                        let rest = stays.powi(2 * rows as i32) / (1.0 - stays * stays);
                        weights(1) / (rows as f32 * (weights(2) + before * rest)).sqrt()
                    })
                    .fold(0.0, f32::max);
                assert!(held > least, "{held} of {rows} rows after {before}");
            }
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
