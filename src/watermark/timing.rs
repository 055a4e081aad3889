// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where in the cycle of rows the audio is, to a few milliseconds.
//!
//! The tracker knows the position to a slot of 40 ms. But what a slot has of each row follows from where the slot lies:
//! it rises from none to all around the edge of the row, and falls like that at the other edge. So slots are compared
//! with what they would be, at positions from 80 ms before to 80 ms after what is expected.
//!
//! What they would be takes into account what moves an edge: when in the slot something sounded ([`super::sounding`]),
//! at which moments the carrier changes its signs ([`super::framing`]), and that the mark is stronger at one time than
//! at another: a slot is expected to be as strong as it and its neighbours are. Where the mark begins, 0.5 s are heard
//! before it is reported, which is two edges or three: so it matters what each of them says.
//!
//! In a room each edge is late as well, for echoes are. How late shows in how long it takes: what fits better with
//! echoes than without is taken for that of a room. Most rooms do not, and their times stay late by as much as the
//! echoes.

use super::correlation::{FRAME, SLOT};
use super::format::{CHIPS, ROW};
use super::framing::changes;
use super::sounding::Sounding;
use std::f64::consts::FRAC_PI_2;

/// Shifts that are tried on either side of what is expected, and the step from one to the next, in seconds: a piece of
/// [`Sounding`].
const REACH: usize = 8;
const SHIFTS: usize = 2 * REACH + 1;
const STEP: f64 = FRAME;
/// Half the time that the carrier takes to change its signs: from the middle of a frame to that of the next.
const CHANGE: f64 = 0.032;
/// Seconds within which the echoes of the rooms that are considered die away, by a factor of e. Measured in simulated
/// rooms, at 6 m and with a reverberation time of 0.4 s.
const ECHOES: [f64; 2] = [0.0, 0.02];
/// How much better echoes must fit before they are half believed in, as a share of how well the rows fit without, and
/// the width of the transition. Behind 3 s and more, dry audio has -0.010 in the middle and less than -0.003 in 98 of
/// 100 cases, rooms have -0.002 in the middle. When little has been heard, dry audio looks like a room more often. What
/// is believed in wrongly makes an error of 20 ms.
const ROOM_LEAST: f64 = 0.0;
const ROOM_EARLY: f64 = 0.012;
const ROOM_EARLY_FOR: f64 = 0.12;
const ROOM_TRANSITION: f64 = 0.0008;
/// The same of a mark without the copy of what comes later (`lookahead=false`), against one with both. Behind 1 s a
/// mark with both has -0.036 in the middle, and less than 0.039 in 98 of 100 cases; the other has 0.046 in the middle.
const ONE_COPY_LEAST: f64 = 0.0;
const ONE_COPY_EARLY: f64 = 0.1;
const ONE_COPY_TRANSITION: f64 = 0.002;
/// What follows from the slot before: windows of 128 ms overlap, so what is not of the mark is alike in neighbouring
/// slots. With 0 times are 2 ms early on clean audio, with 0.7 they spread more.
const COMMON: f32 = 0.5;
/// Weight that the neighbours of a slot have in how strong it is expected to be.
const NEIGHBOURS: f32 = 0.6;
/// Deviation of that from how strong the mark is on the whole, as a share of it.
const SPREAD: f32 = 0.5;
/// Seconds after which a slot counts less by a factor of e. The spread falls with the root of this; but a programme
/// that is stretched by an editor drifts through without a change of the speed.
const MEMORY: f64 = 5.0;
/// Rows that a slot may have a part of: the one in which it is expected, the one before and the one after.
const ROWS: usize = 3;
/// Step and first time of the tables of edges, in seconds, and their length: outside of them nothing changes.
const TABLE_STEP: f64 = 0.002;
const TABLE_START: f64 = -0.034;
const TABLE: usize = 100;
/// Moments at which edges are looked up: pieces at all shifts.
const MOMENTS: usize = Sounding::MIDDLE.shares.len() + SHIFTS - 1;

/// What slots are expected to be, times what they are, and the square of what is expected; one for each shift.
#[derive(Clone, Copy)]
struct Sums {
    agreement: [f32; SHIFTS],
    energy: [f32; SHIFTS],
}

/// How well the slots agree with the course of rows, for one kind of room and one kind of mark.
#[derive(Clone, Copy)]
struct Fit {
    /// All slots but the latest, as strong as they are expected to be.
    all: Sums,
    /// The latest slots, the latest last, and each as if it were of strength 1.
    latest: [Sums; 3],
    /// The latest slot's parts of rows.
    parts: Parts,
}

/// The course of rows in one kind of room.
struct Room {
    /// How far the signs have changed, by the time since they were to change.
    change: Vec<f32>,
    /// For a mark with both copies, and for one with that of what was earlier alone.
    fits: [Fit; 2],
}

/// How much of a slot belongs to each of the rows around it, for each shift.
type Parts = [[f32; SHIFTS]; ROWS];

/// Estimates the position while a mark is followed.
pub struct Timing {
    rooms: [Room; ECHOES.len()],
    /// How much has been heard: 1 for as much as is remembered.
    heard: f64,
    /// Sums of all slots as if each were of strength 1, at the shift that fits best.
    strength: (f32, f32),
    /// The latest slot: its middle, and the position that is expected there, in seconds.
    seconds: f64,
    expected: f64,
    /// What is to be added to that, as of the slots so far.
    shift: f64,
    /// The middle of the slot that was taken last, the first of the rows around it, and its chips divided by their
    /// norm.
    taken: f64,
    row: i64,
    chips: [f32; CHIPS],
}

/// What a slot says of the rows around it.
struct Products {
    /// Its product with the signs of each row.
    with: [f32; ROWS],
    /// How much alike the signs of the rows are: 1 for a row and itself.
    alike: [[f32; ROWS]; ROWS],
}

impl Timing {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Timing {
            rooms: ECHOES.map(Room::new),
            heard: 0.0,
            strength: (0.0, 0.0),
            seconds: 0.0,
            expected: 0.0,
            shift: 0.0,
            taken: f64::NEG_INFINITY,
            row: 0,
            chips: [0.0; CHIPS],
        }
    }

    /// Starts anew: at `seconds` the position is about `position`.
    pub fn restart(&mut self, seconds: f64, position: f64) {
        (self.seconds, self.expected, self.shift) = (seconds, position, 0.0);
        (self.taken, self.heard) = (f64::NEG_INFINITY, 0.0);
        self.strength = (0.0, 0.0);
        self.chips = [0.0; CHIPS];
        self.fits().for_each(|fit| *fit = Fit::NONE);
    }

    /// Lets time pass up to `seconds` while the programme plays at `speed`.
    pub fn advance(&mut self, seconds: f64, speed: f64) {
        self.expected += (seconds - self.seconds) * speed;
        self.seconds = seconds;
    }

    /// Takes the chips of the slot that [`Timing::advance`] led to and when they sounded; `signs(row, signs)` are those
    /// of a row. Rows are counted as the position, and `first_row` is the number of row 0.
    pub fn push(
        &mut self,
        chips: &[f32; CHIPS],
        sounding: &Sounding,
        first_row: i64,
        signs: impl FnMut(i64, &mut [f32; CHIPS]),
    ) {
        if self.seconds - self.taken > 1.5 * SLOT {
            self.settle();
        }
        let norm = chips.iter().map(|b| b * b).sum::<f32>().sqrt();
        if norm < 1e-15 {
            return;
        }
        self.taken = self.seconds;
        let row = (self.expected / ROW).floor() as i64 - 1;
        self.enter(row);
        let chips = chips.map(|b| b / norm);
        let new = std::array::from_fn(|i| chips[i] - COMMON * self.chips[i]);
        self.chips = chips;
        let products = Products::new(&new, &chips, row, signs);
        let stays = (-SLOT / MEMORY).exp();
        self.heard = 1.0 - stays * (1.0 - self.heard);
        let from = self.expected + sounding.from - row as f64 * ROW;
        for room in &mut self.rooms {
            room.take(&products, from, sounding, first_row + row);
        }
        self.fits().for_each(|fit| fit.all.fade(stays as f32));
        self.add(stays as f32);
        self.centre();
    }

    fn fits(&mut self) -> impl Iterator<Item = &mut Fit> {
        self.rooms.iter_mut().flat_map(|room| &mut room.fits)
    }

    /// Makes `row` the first of those around the slot.
    fn enter(&mut self, row: i64) {
        let entered = (row - self.row).clamp(-(ROWS as i64), ROWS as i64);
        self.row = row;
        for parts in self.fits().map(|fit| &mut fit.parts) {
            let old = *parts;
            for (i, part) in parts.iter_mut().enumerate() {
                let from = i.checked_add_signed(entered as isize);
                *part = from
                    .and_then(|from| old.get(from))
                    .copied()
                    .unwrap_or([0.0; SHIFTS]);
            }
        }
    }

    /// Adds the slot before the latest, now that both of its neighbours are known.
    fn add(&mut self, stays: f32) {
        let at = (self.shift / STEP).round() as isize + REACH as isize;
        let at = at.clamp(0, SHIFTS as isize - 1) as usize;
        let [before, here, after] = &self.rooms[0].fits[0].latest;
        let total = &mut self.strength;
        total.0 = stays * total.0 + after.agreement[at];
        total.1 = stays * total.1 + after.energy[at];
        let mean = (total.0 / total.1.max(1e-3)).max(0.1);
        let sum = |of: fn(&Sums) -> &[f32; SHIFTS]| {
            of(here)[at] + NEIGHBOURS * (of(before)[at] + of(after)[at])
        };
        // The most likely strength if it deviates by so much from the mean and a score by 1.
        let sure = 1.0 / (SPREAD * mean).powi(2);
        let strength =
            (sum(|sums| &sums.agreement) + sure * mean) / (sum(|sums| &sums.energy) + sure);
        let strength = strength.max(0.1 * mean);
        for fit in self.fits() {
            let here = fit.latest[1];
            fit.all.add(&here, strength);
        }
        self.shift = self.best();
    }

    /// Adds the latest slot without waiting for the next.
    pub fn settle(&mut self) {
        for fit in self.fits() {
            fit.latest.rotate_left(1);
            fit.latest[2] = Sums::NONE;
        }
        self.add(1.0);
        for fit in self.fits() {
            fit.latest = [Sums::NONE; 3];
            fit.parts = [[0.0; SHIFTS]; ROWS];
        }
        self.chips = [0.0; CHIPS];
    }

    /// Position at the latest slot.
    pub fn position(&self) -> f64 {
        self.expected + self.shift
    }

    /// The shift that fits best, in the kind of room and for the kind of mark that do.
    fn best(&self) -> f64 {
        let early = (-self.heard / ROOM_EARLY_FOR).exp();
        let [(both, fit), (one, fit_of_one)] = [0, 1].map(|mark| {
            let [dry, room] = [0, 1].map(|room| self.rooms[room].fits[mark].all.best());
            prefer(room, dry, ROOM_LEAST + ROOM_EARLY * early, ROOM_TRANSITION)
        });
        prefer(
            (one, fit_of_one),
            (both, fit),
            ONE_COPY_LEAST + ONE_COPY_EARLY * early,
            ONE_COPY_TRANSITION,
        )
        .0
    }

    /// Keeps the best shift in the middle.
    fn centre(&mut self) {
        let steps = (self.shift / STEP) as isize;
        if steps.abs() >= 2 {
            self.expected += steps as f64 * STEP;
            self.fits().for_each(|fit| fit.move_by(steps));
            self.shift = self.best();
        }
    }
}

/// The first of two shifts as far as it fits better than the other by the share `least`, and how well they fit.
fn prefer(first: (f64, f64), other: (f64, f64), least: f64, transition: f64) -> (f64, f64) {
    let better = (first.1 - other.1) / other.1.max(1.0);
    let believed = 1.0 / (1.0 + ((least - better) / transition).exp());
    (
        other.0 + believed * (first.0 - other.0),
        first.1.max(other.1),
    )
}

impl Products {
    /// Those of what is new in `chips` with the rows from `first` on.
    fn new(
        new: &[f32; CHIPS],
        chips: &[f32; CHIPS],
        first: i64,
        mut signs: impl FnMut(i64, &mut [f32; CHIPS]),
    ) -> Self {
        let mut rows = [[0.0; CHIPS]; ROWS];
        for (row, of_row) in (first..).zip(&mut rows) {
            signs(row, of_row);
        }
        // Chips that the stream has not, and signs that are not known, are 0.
        let sizes = chips.map(f32::abs);
        let size = sizes.iter().sum::<f32>();
        let alike = |a: &[f32; CHIPS], b: &[f32; CHIPS]| {
            let both = sizes.iter().zip(a.iter().zip(b));
            both.map(|(size, (a, b))| size * a * b).sum::<f32>() / size
        };
        let product = |row: &[f32; CHIPS]| new.iter().zip(row).map(|(b, s)| b * s).sum::<f32>();
        Products {
            with: rows.each_ref().map(product),
            alike: std::array::from_fn(|i| std::array::from_fn(|j| alike(&rows[i], &rows[j]))),
        }
    }
}

impl Sums {
    const NONE: Sums = Sums {
        agreement: [0.0; SHIFTS],
        energy: [0.0; SHIFTS],
    };

    fn fade(&mut self, stays: f32) {
        let both = self.agreement.iter_mut().chain(&mut self.energy);
        both.for_each(|sum| *sum *= stays);
    }

    /// Adds a slot of this strength.
    fn add(&mut self, slot: &Sums, strength: f32) {
        for i in 0..SHIFTS {
            self.agreement[i] += strength * slot.agreement[i];
            self.energy[i] += strength * strength * slot.energy[i];
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
        ((most as f64 + beside - REACH as f64) * STEP, here)
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

impl Fit {
    const NONE: Fit = Fit {
        all: Sums::NONE,
        latest: [Sums::NONE; 3],
        parts: [[0.0; SHIFTS]; ROWS],
    };

    /// Takes what is new in a slot of which so much is behind each of the edges.
    fn take(&mut self, products: &Products, behind: &[[f32; SHIFTS]; ROWS + 1]) {
        let parts: Parts = std::array::from_fn(|row| {
            std::array::from_fn(|shift| behind[row][shift] - behind[row + 1][shift])
        });
        let before = std::mem::replace(&mut self.parts, parts);
        let mut sums = Sums::NONE;
        for shift in 0..SHIFTS {
            let new: [f32; ROWS] =
                std::array::from_fn(|row| parts[row][shift] - COMMON * before[row][shift]);
            for (i, part) in new.iter().enumerate() {
                sums.agreement[shift] += part * products.with[i];
                let alike = products.alike[i].iter().zip(new);
                let energy: f32 = alike.map(|(alike, part)| alike * part).sum();
                sums.energy[shift] += part * energy;
            }
        }
        self.latest.rotate_left(1);
        self.latest[2] = sums;
    }

    /// Moves what is known by `steps` shifts.
    fn move_by(&mut self, steps: isize) {
        self.all.move_by(steps);
        self.latest.iter_mut().for_each(|sums| sums.move_by(steps));
        let parts = self.parts.iter_mut();
        parts.for_each(|part| *part = moved(part, steps));
    }
}

impl Room {
    fn new(echoes: f64) -> Self {
        // What echoes make late.
        let stays = if echoes > 0.0 {
            (-TABLE_STEP / echoes).exp()
        } else {
            0.0
        };
        let mut late = 0.0;
        let change = (0..TABLE).map(|i| {
            let part = (TABLE_START + i as f64 * TABLE_STEP) / CHANGE;
            let dry = 0.5 + 0.5 * (FRAC_PI_2 * part.clamp(-1.0, 1.0)).sin();
            late = stays * late + (1.0 - stays) * dry;
            late as f32
        });
        Room {
            change: change.collect(),
            fits: [Fit::NONE; 2],
        }
    }

    /// Takes what is new in a slot whose first piece is expected `from` seconds behind the beginning of row number
    /// `row`, the first of those of `products`.
    fn take(&mut self, products: &Products, from: f64, sounding: &Sounding, row: i64) {
        let edges: [_; ROWS + 1] = std::array::from_fn(|edge| {
            let since = from - edge as f64 * ROW;
            changes(row + edge as i64).map(|late| self.behind(since - late, sounding))
        });
        let earlier = edges.map(|[earlier, _]| earlier);
        let both = edges.map(|[earlier, later]| {
            std::array::from_fn(|shift| 0.5 * (earlier[shift] + later[shift]))
        });
        for (fit, behind) in self.fits.iter_mut().zip([&both, &earlier]) {
            fit.take(products, behind);
        }
    }

    /// How much of a slot is behind a change of signs `since` seconds before its first piece, for each shift.
    fn behind(&self, since: f64, sounding: &Sounding) -> [f32; SHIFTS] {
        let moment = |i: usize| self.changed(since + (i as f64 - REACH as f64) * STEP);
        // Most edges are beyond the slot, on one side or on the other.
        if moment(MOMENTS - 1) == 0.0 {
            return [0.0; SHIFTS];
        }
        if moment(0) == 1.0 {
            return [1.0; SHIFTS];
        }
        let moments: [f32; MOMENTS] = std::array::from_fn(moment);
        std::array::from_fn(|shift| {
            let pieces = sounding.shares.iter().zip(&moments[shift..]);
            pieces.map(|(share, changed)| share * changed).sum()
        })
    }

    /// How far signs have changed that were to change `since` seconds ago.
    fn changed(&self, since: f64) -> f32 {
        let at = (since - TABLE_START) / TABLE_STEP;
        if at < 0.0 {
            return 0.0;
        }
        match self.change.get(at as usize..) {
            Some([before, after, ..]) => before + at.fract() as f32 * (after - before),
            _ => 1.0,
        }
    }
}
