// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where in the cycle of rows the audio is, to a few milliseconds.
//!
//! The tracker knows the position to a slot of 40 ms. But what a slot has of each row follows from where the slot lies: it
//! rises from none to all within 0.2 s around the edge of the row, and falls like that at the other edge. So the
//! products of the slots with the rows around them are compared with this course, shifted to and fro, while the mark is followed.
//!
//! An edge is blurred by two windows of 128 ms, and by the mark's own frames, which begin every 64 ms: their signs change
//! up to 28 ms before or after the edge. On average that cancels out.
//!
//! In a room each edge is late as well, for echoes are. How late shows in how long it takes: what fits much better with
//! echoes than without is taken for that of a room.

use super::correlation::SLOT;
use super::format::{CHIPS, ROW};
use std::f64::consts::FRAC_PI_2;

/// Shifts that are tried on either side of what is expected, and the step from one to the next, in seconds.
const REACH: usize = 10;
const SHIFTS: usize = 2 * REACH + 1;
const STEP: f64 = 0.008;
/// Half the time that an edge takes, in seconds: it looks like a Gaussian blur of 31 ms. Measured on clean music and speech.
const EDGE: f64 = 0.085;
/// Seconds within which the echoes of the rooms that are considered die away, by a factor of e. Measured in simulated
/// rooms, at 6 m and with a reverberation time of 0.4 s.
const ECHOES: [f64; 2] = [0.0, 0.02];
/// How much better echoes must fit before they are half believed in when next to nothing has been heard, as half the square
/// of a score: at the start, dry audio looks like a room too often. Once all is heard that is remembered, equally well
/// is enough. Behind 9 s, dry audio has -5 in the middle and less than -0.7 in 98 of 100 cases, the room
/// has 0.3 in the middle; behind 3 s it is -2, 0.3 and 0.3.
const EARLY: f64 = 2.0;
/// The width of the transition.
const TRANSITION: f64 = 0.3;
/// What follows from the slot before: windows of 128 ms overlap, so products of neighbouring slots have this correlation.
const COMMON: f32 = 0.7;
/// Seconds after which a slot counts less by a factor of e. The spread falls with the root of this; but a programme
/// that is stretched by an editor drifts through without a change of the speed.
const MEMORY: f64 = 5.0;
/// Rows before and after the one in which a slot is expected that it may have a part of.
const ROWS_AROUND: std::ops::RangeInclusive<i64> = -1..=1;
/// Step and first time of the tables of courses, in seconds, and their length: outside of them nothing of a row is left.
const TABLE_STEP: f64 = 0.002;
const TABLE_START: f64 = -0.35;
const TABLE: usize = 450;

/// How well the slots agree with the course of rows in one kind of room, for each shift.
#[derive(Clone)]
struct Fit {
    /// What is expected of a slot's product with a row, by the time since the row began.
    course: Vec<f32>,
    agreement: [f32; SHIFTS],
    energy: [f32; SHIFTS],
}

/// Estimates the position while a mark is followed.
pub struct Timing {
    fits: [Fit; ECHOES.len()],
    /// How much has been heard: 1 for as much as is remembered.
    heard: f64,
    /// The latest slot: its middle, and the position that is expected there, in seconds.
    seconds: f64,
    expected: f64,
    /// Chips of the latest slot, divided by their norm, if it was the one before; and what is new in those of the present one.
    latest: Option<[f32; CHIPS]>,
    new: [f32; CHIPS],
    of_row: [f32; CHIPS],
}

impl Timing {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Timing {
            fits: ECHOES.map(Fit::new),
            heard: 0.0,
            seconds: 0.0,
            expected: 0.0,
            latest: None,
            new: [0.0; CHIPS],
            of_row: [0.0; CHIPS],
        }
    }

    /// Starts anew: at `seconds` the position is about `position`.
    pub fn restart(&mut self, seconds: f64, position: f64) {
        (self.seconds, self.expected) = (seconds, position);
        (self.latest, self.heard) = (None, 0.0);
        for fit in &mut self.fits {
            (fit.agreement, fit.energy) = ([0.0; SHIFTS], [0.0; SHIFTS]);
        }
    }

    /// Lets time pass up to `seconds` while the programme plays at `speed`.
    pub fn advance(&mut self, seconds: f64, speed: f64) {
        self.expected += (seconds - self.seconds) * speed;
        self.seconds = seconds;
    }

    /// Takes the chips of the slot that [`Timing::advance`] led to; `signs(row, signs)` are those of a row, counted as the position.
    pub fn push(&mut self, chips: &[f32; CHIPS], mut signs: impl FnMut(i64, &mut [f32; CHIPS])) {
        let energy: f32 = chips.iter().map(|b| b * b).sum();
        if energy < 1e-30 {
            self.latest = None;
            return;
        }
        let chips = chips.map(|b| b / energy.sqrt());
        // The first slot has all that it says still to say.
        let (common, weight) = match self.latest.replace(chips) {
            Some(latest) => {
                for ((new, b), before) in self.new.iter_mut().zip(chips).zip(latest) {
                    *new = b - COMMON * before;
                }
                (COMMON, 1.0)
            }
            None => {
                self.new = chips;
                (0.0, 1.0 - COMMON * COMMON)
            }
        };
        let stays = (-SLOT / MEMORY).exp();
        self.heard = 1.0 - stays * (1.0 - self.heard);
        self.fits.iter_mut().for_each(|fit| fit.fade(stays as f32));
        let row = (self.expected / ROW).floor() as i64;
        for row in ROWS_AROUND.map(|around| row + around) {
            signs(row, &mut self.of_row);
            let product: f32 = self.new.iter().zip(self.of_row).map(|(b, s)| b * s).sum();
            let since = self.expected - row as f64 * ROW;
            for fit in &mut self.fits {
                fit.add(product, since, common, weight);
            }
        }
        self.centre();
    }

    /// Position at the latest slot.
    pub fn position(&self) -> f64 {
        self.expected + self.shift()
    }

    /// What is to be added to the position that is expected.
    fn shift(&self) -> f64 {
        let [(dry, without), (room, with)] = [self.fits[0].best(), self.fits[1].best()];
        let least = EARLY * (1.0 - self.heard);
        let believed = 1.0 / (1.0 + ((without + least - with) / TRANSITION).exp());
        dry + believed * (room - dry)
    }

    /// Keeps the best shift in the middle.
    fn centre(&mut self) {
        let steps = (self.shift() / STEP) as isize;
        if steps.abs() >= 2 {
            self.expected += steps as f64 * STEP;
            self.fits.iter_mut().for_each(|fit| fit.move_by(steps));
        }
    }
}

impl Fit {
    fn new(echoes: f64) -> Self {
        // The rise of an edge as echoes make it late.
        let stays = if echoes > 0.0 {
            (-TABLE_STEP / echoes).exp()
        } else {
            0.0
        };
        let mut late = 0.0;
        let rise: Vec<f64> = (0..TABLE)
            .map(|i| {
                let of_edge = (TABLE_START + i as f64 * TABLE_STEP) / EDGE;
                let dry = 0.5 + 0.5 * (FRAC_PI_2 * of_edge.clamp(-1.0, 1.0)).sin();
                late = stays * late + (1.0 - stays) * dry;
                late
            })
            .collect();
        let row = (ROW / TABLE_STEP).round() as usize;
        let falls = |i: usize| i.checked_sub(row).map_or(0.0, |ended| rise[ended]);
        Fit {
            course: (0..TABLE).map(|i| (rise[i] - falls(i)) as f32).collect(),
            agreement: [0.0; SHIFTS],
            energy: [0.0; SHIFTS],
        }
    }

    fn fade(&mut self, stays: f32) {
        let both = self.agreement.iter_mut().chain(&mut self.energy);
        both.for_each(|sum| *sum *= stays);
    }

    /// Adds the product of a slot with a row that began `since` seconds ago, less `common` times that of the slot before.
    fn add(&mut self, product: f32, since: f64, common: f32, weight: f32) {
        for i in 0..SHIFTS {
            let seconds = since + shift(i as f64);
            let expected = self.expected(seconds) - common * self.expected(seconds - SLOT);
            self.agreement[i] += weight * expected * product;
            self.energy[i] += weight * expected * expected;
        }
    }

    /// What is expected of a slot's product with a row that began `since` seconds ago.
    fn expected(&self, since: f64) -> f32 {
        let at = (since - TABLE_START) / TABLE_STEP;
        match self.course.get(at as usize..) {
            Some([before, after, ..]) => before + at.fract() as f32 * (after - before),
            _ => 0.0,
        }
    }

    /// The shift that fits best, by a parabola through three, and how well: half the square of a score.
    fn best(&self) -> (f64, f64) {
        let fit = |i: usize| {
            let agreement = self.agreement[i].max(0.0);
            (0.5 * agreement * agreement / self.energy[i].max(1e-6)) as f64
        };
        let most = (1..SHIFTS - 1).fold(REACH, |most, i| if fit(i) > fit(most) { i } else { most });
        let (before, here, after) = (fit(most - 1), fit(most), fit(most + 1));
        let bend = 2.0 * here - before - after;
        let beside = if bend > 0.0 {
            (0.5 * (after - before) / bend).clamp(-0.5, 0.5)
        } else {
            0.0
        };
        (shift(most as f64 + beside), here)
    }

    /// Moves what is known by `steps` shifts.
    fn move_by(&mut self, steps: isize) {
        for sums in [&mut self.agreement, &mut self.energy] {
            let old = *sums;
            for (i, sum) in sums.iter_mut().enumerate() {
                let from = i.checked_add_signed(steps);
                *sum = from.and_then(|from| old.get(from)).copied().unwrap_or(0.0);
            }
        }
    }
}

/// Seconds that shift `i` stands for.
fn shift(i: f64) -> f64 {
    (i - REACH as f64) * STEP
}
