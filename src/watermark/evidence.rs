// SPDX-License-Identifier: MIT OR Apache-2.0
//! Evidence added up over time, for many rows of the key at once, at one speed and one alignment.
//!
//! The rows of the programme advance together with those of the key, so a hypothesis is an offset
//! between the two that stays the same: hypothesis `o` says that local row `r` is row `r + o` of the key.
//!
//! Nine windows run side by side. Five hold the latest 3 to 10 whole rows and what there is of the row
//! under way. Four fade, because rows of 25 s ago kept one by one would take most of the memory: each
//! older row counts a little less, which keeps about 90 % of the score of a window cut to measure, and
//! all of it for a mark that was there from the start. Weights do not depend on the key, so the bound of
//! [`super::bound`] holds for either kind.

use super::correlation::{SLOT, SLOTS_PER_ROW};
use super::format::{CHIPS, ROW};
use pulp::{Arch, Simd, WithSimd};

/// Whole rows in each of the windows that are cut.
const CUT_WINDOWS: [usize; 5] = [3, 4, 6, 8, 10];
const CUT: usize = CUT_WINDOWS.len();
/// Rows that are kept one by one.
const KEPT: usize = CUT_WINDOWS[CUT - 1];
/// Evidence that a fading window holds in the steady state, in seconds.
const FADING_WINDOWS: [f64; 4] = [3.2, 6.4, 12.8, 25.6];
const FADING: usize = FADING_WINDOWS.len();
/// Windows in all.
pub const WINDOWS: usize = CUT + FADING;
/// The window that tells best what is going on now: 2 s.
pub const LATEST: usize = CUT - 1;

/// Hypotheses are taken in pieces of this many; their number is a multiple of it or 1.
pub const LANES: usize = 16;

/// Energy of a fading window that counts as none: its score does, too.
const FADED: f32 = 1e-30;

/// What stays of a row in fading window `w` when the next row comes.
fn fading(w: usize) -> f32 {
    // A sum that fades by l a row has the variance of (1 + l) / (1 - l) whole rows.
    let rows = FADING_WINDOWS[w] / ROW;
    ((rows - 1.0) / (rows + 1.0)) as f32
}

/// Running sums of `count` hypotheses.
#[derive(Clone)]
pub struct Evidence {
    count: usize,
    /// Row under way, whole rows (newest at `newest`) and fading sums, one value a hypothesis.
    current: Vec<f32>,
    kept: Vec<f32>,
    faded: Vec<f32>,
    newest: usize,
    /// The correlations of the row under way, and the sums of squares behind each of the sums.
    chips: [f32; CHIPS],
    kept_energy: [f32; KEPT],
    faded_energy: [f32; FADING],
    /// Local number of the row under way.
    row: i64,
    slots: u64,
    slots_in_row: u64,
}

impl Evidence {
    /// No evidence yet for `count` hypotheses.
    pub fn new(count: usize) -> Self {
        debug_assert!(count == 1 || count.is_multiple_of(LANES));
        Evidence {
            count,
            current: vec![0.0; count],
            kept: vec![0.0; KEPT * count],
            faded: vec![0.0; FADING * count],
            newest: 0,
            chips: [0.0; CHIPS],
            kept_energy: [0.0; KEPT],
            faded_energy: [0.0; FADING],
            row: i64::MIN,
            slots: 0,
            slots_in_row: 0,
        }
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        for sums in [&mut self.current, &mut self.kept, &mut self.faded] {
            sums.fill(0.0);
        }
        self.chips = [0.0; CHIPS];
        self.kept_energy = [0.0; KEPT];
        self.faded_energy = [0.0; FADING];
        self.row = i64::MIN;
        (self.newest, self.slots, self.slots_in_row) = (0, 0, 0);
    }

    /// Takes over hypothesis `o` of `other` as the only one here.
    pub fn take(&mut self, other: &Evidence, o: usize) {
        debug_assert_eq!(self.count, 1);
        self.current[0] = other.current[o];
        for (mine, theirs) in self
            .kept
            .iter_mut()
            .zip(other.kept.chunks_exact(other.count))
        {
            *mine = theirs[o];
        }
        for (mine, theirs) in self
            .faded
            .iter_mut()
            .zip(other.faded.chunks_exact(other.count))
        {
            *mine = theirs[o];
        }
        self.newest = other.newest;
        self.chips = other.chips;
        self.kept_energy = other.kept_energy;
        self.faded_energy = other.faded_energy;
        self.row = other.row;
        (self.slots, self.slots_in_row) = (other.slots, other.slots_in_row);
    }

    /// Slots since the start.
    pub fn slots(&self) -> u64 {
        self.slots
    }

    /// Local number of the row under way.
    pub fn row(&self) -> i64 {
        self.row
    }

    /// Tells that the next slot belongs to local row `row`. Returns the score of the row that this ends, of
    /// the first hypothesis.
    pub fn enter_row(&mut self, row: i64) -> Option<f64> {
        if row == self.row {
            return None;
        }
        let begun = self.row != i64::MIN;
        self.row = row;
        if !begun {
            return None;
        }
        let energy = self.energy_under_way();
        let score = if energy > 0.0 {
            (self.current[0] / energy.sqrt()) as f64
        } else {
            0.0
        };
        self.newest = (self.newest + KEPT - 1) % KEPT;
        self.kept[self.newest * self.count..][..self.count].copy_from_slice(&self.current);
        self.kept_energy[self.newest] = energy;
        for (w, sums) in self.faded.chunks_exact_mut(self.count).enumerate() {
            let stays = fading(w);
            for (sum, new) in sums.iter_mut().zip(&self.current) {
                *sum = stays * (*sum + new);
            }
            self.faded_energy[w] = stays * stays * (self.faded_energy[w] + energy);
            // In long silence these would fade into numbers so small that processors are slow with them.
            if self.faded_energy[w] < FADED {
                sums.fill(0.0);
                self.faded_energy[w] = 0.0;
            }
        }
        self.current.fill(0.0);
        self.chips = [0.0; CHIPS];
        self.slots_in_row = 0;
        Some(score)
    }

    /// Adds a slot: its chip correlations, and for each row of the key the sum of these times its signs.
    pub fn add(&mut self, chips: &[f32], products: &[f32]) {
        for (sum, chip) in self.chips.iter_mut().zip(chips) {
            *sum += chip;
        }
        let shift = self.row.rem_euclid(self.count as i64) as usize;
        // Two plain loops: a chain of iterators would not be vectorised.
        let (wrapped, straight) = products.split_at(shift);
        let (begin, end) = self.current.split_at_mut(straight.len());
        for (sums, products) in [(begin, straight), (end, wrapped)] {
            for (sum, product) in sums.iter_mut().zip(products) {
                *sum += product;
            }
        }
        self.slots += 1;
        self.slots_in_row += 1;
    }

    fn energy_under_way(&self) -> f32 {
        self.chips.iter().map(|b| b * b).sum()
    }

    /// Square root of the energy behind each window, as its sums are to be divided by.
    fn deviations(&self) -> [f32; WINDOWS] {
        let under_way = self.energy_under_way();
        let mut deviations = [0.0; WINDOWS];
        for (d, rows) in deviations.iter_mut().zip(CUT_WINDOWS) {
            let kept: f32 = (0..rows)
                .map(|age| self.kept_energy[(self.newest + age) % KEPT])
                .sum();
            *d = (kept + under_way).sqrt();
        }
        for (d, energy) in deviations[CUT..].iter_mut().zip(&self.faded_energy) {
            *d = (energy + under_way).sqrt();
        }
        deviations
    }

    /// Highest score of each window over all hypotheses.
    pub fn highest(&self, arch: Arch) -> [f32; WINDOWS] {
        let mut sums = if self.count == 1 {
            self.sums_of(0)
        } else {
            arch.dispatch(Highest(self))
        };
        for (sum, deviation) in sums.iter_mut().zip(self.deviations()) {
            *sum = if deviation > 1e-15 {
                *sum / deviation
            } else {
                0.0
            };
        }
        sums
    }

    /// The hypothesis with the highest score of window `w`.
    pub fn best_hypothesis(&self, w: usize) -> usize {
        let sum = |o: usize| self.sums_of(o)[w];
        (0..self.count)
            .max_by(|&a, &b| sum(a).total_cmp(&sum(b)))
            .unwrap_or(0)
    }

    /// Sums of hypothesis `o`, window by window.
    fn sums_of(&self, o: usize) -> [f32; WINDOWS] {
        let mut sums = [0.0; WINDOWS];
        for (w, &rows) in CUT_WINDOWS.iter().enumerate() {
            let kept: f32 = (0..rows)
                .map(|age| self.kept[(self.newest + age) % KEPT * self.count + o])
                .sum();
            sums[w] = self.current[o] + kept;
        }
        for w in 0..FADING {
            sums[CUT + w] = self.current[o] + self.faded[w * self.count + o];
        }
        sums
    }

    /// Seconds of evidence in window `w`: never more than there was since the start.
    pub fn seconds(&self, w: usize) -> f64 {
        let since_start = self.slots as f64 * SLOT;
        let holds = match w.checked_sub(CUT) {
            None => {
                (CUT_WINDOWS[w] * SLOTS_PER_ROW) as f64 * SLOT + self.slots_in_row as f64 * SLOT
            }
            Some(fading) => FADING_WINDOWS[fading],
        };
        holds.min(since_start)
    }
}

/// Highest sum of each window over all hypotheses, compiled for each instruction set.
struct Highest<'a>(&'a Evidence);

impl WithSimd for Highest<'_> {
    type Output = [f32; WINDOWS];

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> [f32; WINDOWS] {
        let evidence = self.0;
        let count = evidence.count;
        let kept: [&[f32]; KEPT] = std::array::from_fn(|age| {
            &evidence.kept[(evidence.newest + age) % KEPT * count..][..count]
        });
        let faded: [&[f32]; FADING] =
            std::array::from_fn(|w| &evidence.faded[w * count..][..count]);
        let mut highest = [[f32::NEG_INFINITY; LANES]; WINDOWS];
        for at in (0..count).step_by(LANES) {
            let mut under_way = [0.0; LANES];
            add(&mut under_way, &evidence.current[at..]);
            let mut sum = under_way;
            let mut rows = 0;
            for (highest, until) in highest.iter_mut().zip(CUT_WINDOWS) {
                for kept in &kept[rows..until] {
                    add(&mut sum, &kept[at..]);
                }
                rows = until;
                raise(highest, &sum);
            }
            for (highest, faded) in highest[CUT..].iter_mut().zip(&faded) {
                let mut sum = under_way;
                add(&mut sum, &faded[at..]);
                raise(highest, &sum);
            }
        }
        highest.map(|lanes| lanes.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b)))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn random(state: &mut u64) -> f32 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// The same sums, obviously: all slots kept, added up anew.
    struct Slow {
        slots: Vec<(i64, Vec<f32>, Vec<f32>)>,
    }

    impl Slow {
        fn score(&self, w: usize, o: usize, count: usize) -> f32 {
            let now = self.slots.last().unwrap().0;
            let weight = |row: i64| match w.checked_sub(CUT) {
                None => (now - row <= CUT_WINDOWS[w] as i64) as u8 as f32,
                Some(f) => fading(f).powi((now - row) as i32),
            };
            let (mut sum, mut energy) = (0.0, 0.0);
            for row in self.slots[0].0..=now {
                let mut chips = vec![0.0; CHIPS];
                for (_, b, products) in self.slots.iter().filter(|s| s.0 == row) {
                    sum +=
                        weight(row) * products[(row + o as i64).rem_euclid(count as i64) as usize];
                    chips.iter_mut().zip(b).for_each(|(c, b)| *c += b);
                }
                energy += weight(row).powi(2) * chips.iter().map(|c| c * c).sum::<f32>();
            }
            sum / energy.sqrt()
        }
    }

    #[test]
    fn running_sums_equal_sums_made_anew() {
        let (count, mut state) = (32, 1u64);
        let mut fast = Evidence::new(count);
        let mut slow = Slow { slots: Vec::new() };
        for slot in 3..90 {
            let row = slot / SLOTS_PER_ROW as i64;
            let chips: Vec<f32> = (0..CHIPS).map(|_| random(&mut state)).collect();
            let products: Vec<f32> = (0..count).map(|_| random(&mut state)).collect();
            fast.enter_row(row);
            fast.add(&chips, &products);
            slow.slots.push((row, chips, products));
            let highest = fast.highest(Arch::new());
            for (w, highest) in highest.iter().enumerate() {
                let best = fast.best_hypothesis(w);
                let want = (0..count)
                    .map(|o| slow.score(w, o, count))
                    .fold(f32::NEG_INFINITY, f32::max);
                assert!(
                    (highest - want).abs() < 1e-3,
                    "slot {slot}, window {w}: {highest} for {want}"
                );
                assert!((slow.score(w, best, count) - want).abs() < 1e-3);
            }
        }
    }

    #[test]
    fn in_long_silence_nothing_is_left() {
        let mut evidence = Evidence::new(1);
        evidence.enter_row(0);
        evidence.add(&[1.0; CHIPS], &[1.0]);
        // 25 s fade to 1e-30 in about eight minutes.
        for row in 1..3000 {
            evidence.enter_row(row);
            evidence.add(&[0.0; CHIPS], &[0.0]);
        }
        assert!(evidence.faded.iter().all(|sum| *sum == 0.0));
    }

    #[test]
    fn one_hypothesis_goes_on_where_many_left_off() {
        let (count, mut state) = (16, 9u64);
        let mut many = Evidence::new(count);
        let mut one = Evidence::new(1);
        for slot in 0..60 {
            let row = slot / SLOTS_PER_ROW as i64;
            let chips: Vec<f32> = (0..CHIPS).map(|_| random(&mut state)).collect();
            let products: Vec<f32> = (0..count).map(|_| random(&mut state)).collect();
            if slot == 33 {
                one.take(&many, 5);
            }
            many.enter_row(row);
            many.add(&chips, &products);
            if slot >= 33 {
                one.enter_row(row);
                one.add(&chips, &[products[(row as usize + 5) % count]]);
                assert_eq!(one.sums_of(0), many.sums_of(5));
            }
        }
        assert_eq!(one.highest(Arch::new()).len(), WINDOWS);
    }
}
