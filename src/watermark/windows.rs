// SPDX-License-Identifier: MIT OR Apache-2.0
//! The windows that evidence is looked at through, and the loops over all hypotheses.
//!
//! Nine windows run side by side. Five hold the latest row, whole or under way, and the 3 to 10 whole rows before
//! it. Four fade, because rows of 25 s ago kept one by one would take most of the memory: each
//! older row counts a little less, which keeps about 90 % of the score of a window cut to measure, and
//! all of it for a mark that was there from the start. Weights do not depend on the key, so the bound of
//! [`super::bound`] holds for either kind.
//!
//! All this lies in memory that no near cache holds, so it costs time to read it. When a row ends, only the
//! fading sums are read. They show as well where the windows that are cut can be high at all: what
//! fades within about the length of such a window holds most of what the window does. Only there are the rows that
//! are kept added up. A fifth fading sum, which is no window, is as short as the shortest of those that are cut:
//! without it a mark that begins after loud programme would be hidden by what the others remember of that.

use super::correlation::{SLOT, SLOTS_PER_ROW};
use super::format::ROW;
use pulp::{Simd, WithSimd};

/// Whole rows before the latest in each of the windows that are cut.
pub const CUT_WINDOWS: [usize; 5] = [3, 4, 6, 8, 10];
pub const CUT: usize = CUT_WINDOWS.len();
/// Rows before the latest that are kept one by one.
pub const KEPT: usize = CUT_WINDOWS[CUT - 1];
/// Rows that are kept: the latest, too.
pub const ROWS_KEPT: usize = KEPT + 1;
/// Evidence that each fading sum holds in the steady state, in seconds: those of the windows, and the short one.
const FADING_SUMS: [f64; SUMS] = [3.2, 6.4, 12.8, 25.6, 1.0];
pub const SUMS: usize = 5;
/// Fading sums that are windows.
pub const FADING: usize = 4;
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

/// What the windows hold: all of a row that has just ended or what there is of one under way, and what was before.
pub struct Now<'a> {
    pub count: usize,
    /// The latest row, and those before it, newest first: a value for each hypothesis, and the energy.
    pub latest: (&'a [f32], f32),
    pub earlier: [(&'a [f32], f32); KEPT],
    /// The fading sums, one behind the other, and their energies.
    pub faded: &'a [f32],
    pub faded_energy: [f32; SUMS],
    /// What counts of the fading sums, and what of the latest row is to be added to them: nothing once it has ended.
    pub stays: [f32; SUMS],
    pub adds: f32,
}

impl Now<'_> {
    /// Sums of hypothesis `o` in the windows that are cut.
    pub fn cut(&self, o: usize) -> [f32; CUT] {
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
    pub fn cut_energies(&self) -> [f32; CUT] {
        CUT_WINDOWS.map(|rows| {
            let earlier = self.earlier[..rows].iter().map(|(_, energy)| energy);
            self.latest.1 + earlier.sum::<f32>()
        })
    }

    /// Sum of hypothesis `o` in fading window `w`.
    pub fn fading(&self, w: usize, o: usize) -> f32 {
        let faded = self.faded[w * self.count + o];
        self.stays[w] * faded + self.adds * self.latest.0[o]
    }

    /// The energies behind the sums of all windows.
    pub fn energies(&self) -> [f32; WINDOWS] {
        let mut energies = [0.0; WINDOWS];
        energies[..CUT].copy_from_slice(&self.cut_energies());
        for (w, energy) in energies[CUT..].iter_mut().enumerate() {
            *energy =
                self.stays[w] * self.stays[w] * self.faded_energy[w] + self.adds * self.latest.1;
        }
        energies
    }
}

/// Adds a row to a fading sum and tells the highest value. This is a type, as those below are, because a closure
/// would not be compiled for each instruction set.
pub struct Fade<'a> {
    pub sums: &'a mut [f32],
    pub new: &'a [f32],
    pub stays: f32,
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
pub struct Screen<'a> {
    pub now: &'a Now<'a>,
    pub limits: [f32; SUMS],
}

impl WithSimd for Screen<'_> {
    type Output = [f32; CUT];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> [f32; CUT] {
        let mut highest = [0.0f32; CUT];
        let all_sums = self.now.faded.chunks_exact(self.now.count);
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
                    for (highest, sum) in highest.iter_mut().zip(cut) {
                        *highest = highest.max(sum);
                    }
                }
            }
        }
        for (highest, energy) in highest.iter_mut().zip(self.now.cut_energies()) {
            *highest = score(*highest, energy);
        }
        highest
    }
}

/// Highest sum of each window over all hypotheses.
pub struct Highest<'a>(pub &'a Now<'a>);

impl WithSimd for Highest<'_> {
    type Output = [f32; WINDOWS];

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> [f32; WINDOWS] {
        let now = self.0;
        let mut highest = [[f32::NEG_INFINITY; LANES]; WINDOWS];
        let count = now.count;
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
                let faded = &now.faded[w * count + at..][..LANES];
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
}
