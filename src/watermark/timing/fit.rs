// SPDX-License-Identifier: MIT OR Apache-2.0
//! How well slots agree with the course of rows, for each place that the rows may be at.

use super::super::format::CHIPS;
use super::edges::{REACH, SHIFTS, STEP};

/// Rows that a slot may have a part of: the one in which it is expected, the one before and the one after.
pub const ROWS: usize = 3;
/// What follows from the slot before: windows of 128 ms overlap, so what is not of the mark is alike in neighbouring
/// slots. With 0 times are 2 ms early on clean audio, with 0.7 they spread more.
pub const COMMON: f32 = 0.5;
/// Bend of the fit over the shifts that is taken for granted, where one shift fits as well as any other.
const LEAST_BEND: f32 = 0.1;

/// What a slot says of the rows around it.
pub struct Products {
    /// Its product with the signs of each row.
    with: [f32; ROWS],
    /// How much alike the signs of the rows are: 1 for a row and itself.
    alike: [[f32; ROWS]; ROWS],
}

impl Products {
    /// Those of what is `new` in the chips, which are of these sizes on the whole, with the signs of the rows. Chips that
    /// the stream has not, and signs that are not known, are 0.
    pub fn new(new: &[f32; CHIPS], sizes: &[f32; CHIPS], rows: &[[f32; CHIPS]; ROWS]) -> Self {
        const ONES: [f32; CHIPS] = [1.0; CHIPS];
        let size = sum_of_products(sizes, &ONES, &ONES).max(f32::MIN_POSITIVE);
        let mut alike = [[0.0; ROWS]; ROWS];
        for i in 0..ROWS {
            for j in 0..=i {
                alike[i][j] = sum_of_products(sizes, &rows[i], &rows[j]) / size;
                alike[j][i] = alike[i][j];
            }
        }
        let with = rows.each_ref();
        Products {
            with: with.map(|row| sum_of_products(new, row, &ONES)),
            alike,
        }
    }
}

/// Sum over all chips, several at once.
fn sum_of_products(a: &[f32; CHIPS], b: &[f32; CHIPS], c: &[f32; CHIPS]) -> f32 {
    const LANES: usize = 6;
    const { assert!(CHIPS.is_multiple_of(LANES)) };
    let [a, b, c] = [a, b, c].map(|chips| chips.as_chunks::<LANES>().0);
    let mut sums = [0.0; LANES];
    for ((a, b), c) in a.iter().zip(b).zip(c) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane] * c[lane];
        }
    }
    sums.iter().sum()
}

/// What slots are expected to be, times what they are, and the square of what is expected; one for each shift.
#[derive(Clone, Copy)]
pub struct Sums {
    pub agreement: [f32; SHIFTS],
    pub energy: [f32; SHIFTS],
}

/// The shift at which slots agree best with the course of rows.
pub struct Best {
    /// In seconds.
    pub shift: f64,
    /// How well it fits: half the square of a score.
    pub fit: f32,
    /// Mean square of how far it is off, in square seconds, if all else is known.
    pub variance: f64,
}

impl Sums {
    pub const NONE: Sums = Sums {
        agreement: [0.0; SHIFTS],
        energy: [0.0; SHIFTS],
    };

    pub fn fade(&mut self, stays: f32) {
        let both = self.agreement.iter_mut().chain(&mut self.energy);
        both.for_each(|sum| *sum *= stays);
    }

    /// Adds a slot of this strength.
    pub fn add(&mut self, slot: &Sums, strength: f32) {
        for i in 0..SHIFTS {
            self.agreement[i] += strength * slot.agreement[i];
            self.energy[i] += strength * strength * slot.energy[i];
        }
    }

    /// The best shift, by a parabola through three.
    pub fn best(&self) -> Best {
        let fit = |i: usize| {
            let agreement = self.agreement[i].max(0.0);
            0.5 * agreement * agreement / self.energy[i].max(1e-6)
        };
        let most = (1..SHIFTS - 1).fold(REACH, |most, i| if fit(i) > fit(most) { i } else { most });
        let (before, here, after) = (fit(most - 1), fit(most), fit(most + 1));
        let bend = 2.0 * here - before - after;
        let beside = if bend > 0.0 {
            f64::from((0.5 * (after - before) / bend).clamp(-0.5, 0.5))
        } else {
            0.0
        };
        Best {
            shift: (most as f64 + beside - REACH as f64) * STEP,
            fit: here,
            // As for any likelihood that is a parabola: where it is lower by a half is one deviation away.
            variance: STEP * STEP / f64::from(bend.max(LEAST_BEND)),
        }
    }

    /// Moves what is known by `steps` shifts.
    fn move_by(&mut self, steps: isize) {
        self.agreement = moved(&self.agreement, steps);
        self.energy = moved(&self.energy, steps);
    }
}

/// What is known for each shift, moved by `steps` of them.
fn moved(known: &[f32; SHIFTS], steps: isize) -> [f32; SHIFTS] {
    std::array::from_fn(|i| {
        let from = i.checked_add_signed(steps);
        from.and_then(|from| known.get(from))
            .copied()
            .unwrap_or(0.0)
    })
}

/// How much of a slot belongs to each of the rows around it, for each shift.
type Parts = [[f32; SHIFTS]; ROWS];

/// How well the slots agree with the course of rows, for one kind of room.
#[derive(Clone, Copy)]
pub struct Fit {
    /// All slots but the latest, as strong as they are expected to be.
    pub all: Sums,
    /// The two latest slots, the latest last, and each as if it were of strength 1.
    pub latest: [Sums; 2],
    /// The latest slot's parts of rows.
    parts: Parts,
}

impl Fit {
    pub const NONE: Fit = Fit {
        all: Sums::NONE,
        latest: [Sums::NONE; 2],
        parts: [[0.0; SHIFTS]; ROWS],
    };

    /// Takes what is new in a slot of which so much is behind each of the edges.
    pub fn take(&mut self, products: &Products, behind: &[[f32; SHIFTS]; ROWS + 1]) {
        let parts: Parts = std::array::from_fn(|row| {
            std::array::from_fn(|shift| behind[row][shift] - behind[row + 1][shift])
        });
        let before = std::mem::replace(&mut self.parts, parts);
        let new: Parts = std::array::from_fn(|row| {
            std::array::from_fn(|shift| parts[row][shift] - COMMON * before[row][shift])
        });
        let mut sums = Sums::NONE;
        for ((with, alike), a) in products.with.iter().zip(&products.alike).zip(&new) {
            for (sum, a) in sums.agreement.iter_mut().zip(a) {
                *sum += a * with;
            }
            for (alike, b) in alike.iter().zip(&new) {
                for ((sum, a), b) in sums.energy.iter_mut().zip(a).zip(b) {
                    *sum += alike * a * b;
                }
            }
        }
        self.latest = [self.latest[1], sums];
    }

    /// Nothing follows the latest slot without a break.
    pub fn settle(&mut self) {
        self.latest = [self.latest[1], Sums::NONE];
    }

    /// Forgets the latest slots, which have been added.
    pub fn begin_anew(&mut self) {
        self.latest = [Sums::NONE; 2];
        self.parts = [[0.0; SHIFTS]; ROWS];
    }

    /// The first of the rows is now what was number `entered` of them.
    pub fn enter(&mut self, entered: isize) {
        let old = self.parts;
        for (i, part) in self.parts.iter_mut().enumerate() {
            let from = i.checked_add_signed(entered);
            let from = from.and_then(|from| old.get(from));
            *part = from.copied().unwrap_or([0.0; SHIFTS]);
        }
    }

    /// Moves what is known by `steps` shifts.
    pub fn move_by(&mut self, steps: isize) {
        self.all.move_by(steps);
        self.latest.iter_mut().for_each(|sums| sums.move_by(steps));
        let parts = self.parts.iter_mut();
        parts.for_each(|part| *part = moved(part, steps));
    }
}
