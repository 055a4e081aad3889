// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where in the cycle of rows the audio is, to a few milliseconds.
//!
//! The tracker knows the position to a slot of 40 ms. But what a slot has of each row follows from where the slot lies:
//! it rises from none to all around the edge of the row, and falls like that at the other edge. So slots are compared
//! with what they would be, at positions from 80 ms before to 80 ms after what is expected.
//!
//! What they would be takes into account what moves an edge: when in the slot something sounded ([`super::sounding`]),
//! that the carrier takes some time to change its signs ([`super::course`]), and that the mark is stronger at one time
//! than at another: a slot is expected to be as strong as it and its neighbours are. Where the mark begins, 2 s are heard
//! before it is reported, which is nine edges or ten: so it matters what each of them says.
//!
//! In a room each edge is late as well, for echoes are, by 14 ms on average at 6 m with a reverberation time of 0.4 s.
//! How late depends on when it sounds: what begins is heard without its echoes, what fades is all echo. So slots are
//! compared with what they would be in some rooms, too, and the position is the mean of those that fit best without a
//! room and in each, by how likely that is. To tell a room takes some seconds; until then, when the mark is found,
//! times are late there.
//!
//! How far the position may be off follows from the same: from how much worse other shifts fit, and from how far apart
//! the kinds are that are still likely.

mod edges;
mod fit;

use super::correlation::{FRAME, SLOT};
use super::format::{CHIPS, ROW};
use super::sounding::{ROOMS, Sounding, TAIL};
use edges::{Change, Pieces, REACH, SHIFTS, STEP};
use fit::{Best, COMMON, Fit, Products, ROWS, Sums};

/// Kinds of rooms, the first of which is none.
const KINDS: usize = 1 + ROOMS;
/// How much worse the rows fit than they would if rooms were as [`super::sounding`] has them, as a share of how well
/// they fit. These and the numbers below were chosen on 30 recordings, clean, behind codecs, in noise and in simulated
/// and measured rooms, for the smallest errors of `found` and `present`; 29 other recordings are nearly as good. [`STRONG`] was chosen again
/// on 32 when 2 s of the mark came to be awaited: 31 others are as good, but for 0.5 ms.
const WORSE: [f32; KINDS] = [0.0, 0.0084, 0.0113];
/// Logarithms of how likely each kind is before anything is heard. What is believed in wrongly makes an error of 12 ms
/// and more. If rooms were more likely by a factor of e, `found` would be 2 ms nearer there in 95 of 100 cases, and on
/// clean audio further off, by 0.2 to 2 ms.
const BEFORE: [f32; KINDS] = [0.0, -2.0, -2.0];
/// A room is less likely by so much for each unit by which chips correlate more with the signs than this, 1 being all
/// that there is. Clean audio has 0.7 in the middle, rooms have 0.55.
const STRONG: f32 = 14.0;
const STRONG_FROM: f32 = 0.5;
/// Difference of fits that makes a kind more likely by a factor of e. It would be 1 if all else were known.
const LIKELY: f32 = 1.45;
/// Weight that the neighbours of a slot have in how strong it is expected to be.
const NEIGHBOURS: f32 = 0.6;
/// Deviation of that from how strong the mark is on the whole, as a share of it.
const SPREAD: f32 = 0.5;
/// Seconds after which a slot counts less by a factor of e. The spread falls with the root of this; but a programme
/// that is stretched by an editor drifts through without a change of the speed.
const MEMORY: f64 = 5.0;
/// The same for what kind of room it is.
const KIND_MEMORY: f64 = 20.0;
/// How much of what is believed of the sizes of chips a slot changes. A slot's own are smaller where signs change, and
/// with these alone times in steady programme are 6 ms late.
const SIZE_PACE: f32 = 0.2;
/// Seconds by which times would be early without a room: the mark outlasts what masks it.
const EARLY: f64 = 0.0018;
/// Mean square of how far the position is off before anything is known, in square seconds.
const UNKNOWN: f64 = 0.02 * 0.02;
/// Seconds by which rooms of a kind differ, and dry audio from what is assumed of it; and how much larger errors are,
/// squared, than they would be if all else were known. With these, 93 to 98 of 100 errors on clean and coded audio are
/// as large as is said at most, and 69 to 99 in rooms.
const DIFFER: [f64; KINDS] = [0.001, 0.007, 0.007];
const LARGER: f64 = 1.7;

/// Estimates the position while a mark is followed.
pub struct Timing {
    change: Change,
    fits: [Fit; KINDS],
    /// How likely each kind has become by what was heard, as a logarithm, and how much more likely the rows as they are
    /// remembered made it after the latest slot, against no room.
    likely: [f32; KINDS],
    better: [f32; KINDS],
    /// Sums of all slots as if each were of strength 1, at the shift that fits best.
    strength: (f32, f32),
    /// The same of the slot before the two latest.
    before: (f32, f32),
    /// The latest slot: its middle, and the position that is expected there, in seconds.
    seconds: f64,
    expected: f64,
    /// What is to be added to that, as of the slots so far, and the mean square of how far that is off.
    shift: f64,
    variance: f64,
    /// The middle of the slot that was taken last, infinity if it has been settled; the first of the rows around it, and
    /// its chips divided by their norm.
    taken: f64,
    row: i64,
    chips: [f32; CHIPS],
    /// Mean size of each, of late.
    sizes: [f32; CHIPS],
}

impl Timing {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Timing {
            change: Change::new(),
            fits: [Fit::NONE; KINDS],
            likely: [0.0; KINDS],
            better: [0.0; KINDS],
            strength: (0.0, 0.0),
            before: (0.0, 0.0),
            seconds: 0.0,
            expected: 0.0,
            shift: 0.0,
            variance: UNKNOWN,
            taken: f64::INFINITY,
            row: 0,
            chips: [0.0; CHIPS],
            sizes: [0.0; CHIPS],
        }
    }

    /// Starts anew: at `seconds` the position is about `position`.
    pub fn restart(&mut self, seconds: f64, position: f64) {
        (self.seconds, self.expected, self.shift) = (seconds, position, 0.0);
        self.variance = UNKNOWN;
        self.taken = f64::INFINITY;
        (self.strength, self.before) = ((0.0, 0.0), (0.0, 0.0));
        (self.chips, self.sizes) = ([0.0; CHIPS], [0.0; CHIPS]);
        self.fits.iter_mut().for_each(|fit| *fit = Fit::NONE);
        self.likely = [0.0; KINDS];
        self.better = [0.0; KINDS];
    }

    /// Lets time pass up to `seconds` while the programme plays at `speed`.
    pub fn advance(&mut self, seconds: f64, speed: f64) {
        self.expected += (seconds - self.seconds) * speed;
        self.seconds = seconds;
    }

    /// Takes the chips of the slot that [`Timing::advance`] led to and when they sounded; `signs(row, signs)` are those
    /// of a row, and rows are counted as the position.
    pub fn push(
        &mut self,
        chips: &[f32; CHIPS],
        sounding: &Sounding,
        mut signs: impl FnMut(i64, &mut [f32; CHIPS]),
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
        let mut rows = [[0.0; CHIPS]; ROWS];
        for (row, of_row) in (row..).zip(&mut rows) {
            signs(row, of_row);
        }
        for (size, chip) in self.sizes.iter_mut().zip(&chips) {
            // What is silenced is nothing at once, not ever smaller.
            *size = match chip.abs() {
                0.0 => 0.0,
                chip => *size + SIZE_PACE * (chip - *size),
            };
        }
        let products = Products::new(&new, &self.sizes, &rows);
        let stays = (-SLOT / MEMORY).exp() as f32;
        let from = self.expected + sounding.from() - row as f64 * ROW;
        let [dry, rooms @ ..] = &mut self.fits;
        let pieces = Pieces::new(from - EARLY, &sounding.shares());
        take(dry, &products, &self.change, &pieces);
        for (room, (played, late)) in rooms.iter_mut().zip(sounding.played()) {
            let pieces = Pieces::new(from - TAIL as f64 * FRAME - late, &played);
            take(room, &products, &self.change, &pieces);
        }
        self.fits.iter_mut().for_each(|fit| fit.all.fade(stays));
        self.add(stays);
        self.centre();
    }

    /// Makes `row` the first of those around the slot.
    fn enter(&mut self, row: i64) {
        let entered = (row - self.row).clamp(-(ROWS as i64), ROWS as i64) as isize;
        self.row = row;
        self.fits.iter_mut().for_each(|fit| fit.enter(entered));
    }

    /// Adds the slot before the latest, now that both of its neighbours are known.
    fn add(&mut self, stays: f32) {
        let at = (self.shift / STEP).round() as isize + REACH as isize;
        let at = at.clamp(0, SHIFTS as isize - 1) as usize;
        let of = |sums: &Sums| (sums.agreement[at], sums.energy[at]);
        let [here, after] = self.fits[0].latest.each_ref().map(of);
        let before = std::mem::replace(&mut self.before, here);
        let total = &mut self.strength;
        total.0 = stays * total.0 + after.0;
        total.1 = stays * total.1 + after.1;
        let mean = (total.0 / total.1.max(1e-3)).max(0.1);
        let agreement = here.0 + NEIGHBOURS * (before.0 + after.0);
        let energy = here.1 + NEIGHBOURS * (before.1 + after.1);
        // The most likely strength if it deviates by so much from the mean and a score by 1.
        let sure = 1.0 / (SPREAD * mean).powi(2);
        let strength = (agreement + sure * mean) / (energy.max(0.0) + sure);
        let strength = strength.max(0.1 * mean);
        for fit in &mut self.fits {
            let here = fit.latest[0];
            fit.all.add(&here, strength);
        }
        self.compare(stays);
    }

    /// Takes note of how much better or worse each kind fits since the slot before, and of the shift that is expected.
    fn compare(&mut self, stays: f32) {
        let best = self.fits.each_ref().map(|fit| fit.all.best());
        let likely = self.likelihoods(&best, stays);
        let most = likely.iter().copied().fold(f32::MIN, f32::max);
        let (mut weights, mut shifts, mut squares) = (0.0, 0.0, 0.0);
        for ((best, likely), differ) in best.iter().zip(likely).zip(DIFFER) {
            let weight = f64::from(likely - most).exp();
            let spread = best.variance + differ * differ;
            weights += weight;
            shifts += weight * best.shift;
            squares += weight * (spread + best.shift * best.shift);
        }
        self.shift = shifts / weights;
        self.variance = (squares / weights - self.shift * self.shift).max(0.0);
    }

    /// How likely each kind is, as a logarithm. What was heard of that is remembered longer than where the rows are: a
    /// drift moves them, but the kind stays.
    fn likelihoods(&mut self, best: &[Best; KINDS], stays: f32) -> [f32; KINDS] {
        let all_along = stays.powf((MEMORY / KIND_MEMORY) as f32);
        let no_room = best[0].fit;
        let strong = STRONG * (self.correlation() - STRONG_FROM).max(0.0);
        std::array::from_fn(|kind| {
            let before = BEFORE[kind] - if kind > 0 { strong } else { 0.0 };
            let better = (best[kind].fit - no_room + WORSE[kind] * no_room) / LIKELY;
            let (now, was_better) = (&mut self.likely[kind], &mut self.better[kind]);
            *now = all_along * *now + better - stays * *was_better;
            *was_better = better;
            before + *now
        })
    }

    /// How much the chips correlate with the signs: 1 if they are nothing else.
    fn correlation(&self) -> f32 {
        let chips = self.sizes.iter().filter(|size| **size > 0.0).count() as f32;
        self.strength.0 / (self.strength.1 * chips.sqrt()).max(1e-3)
    }

    /// Adds the latest slot without waiting for the next.
    pub fn settle(&mut self) {
        self.fits.iter_mut().for_each(Fit::settle);
        self.add(1.0);
        self.before = (0.0, 0.0);
        self.fits.iter_mut().for_each(Fit::begin_anew);
        self.chips = [0.0; CHIPS];
        self.taken = f64::INFINITY;
    }

    /// Position at the latest slot.
    pub fn position(&self) -> f64 {
        self.expected + self.shift
    }

    /// Seconds by which the position is off at most, in 95 of 100 cases.
    pub fn error(&self) -> f64 {
        2.0 * (LARGER * self.variance).sqrt()
    }

    /// Keeps the best shift in the middle.
    fn centre(&mut self) {
        let steps = (self.shift / STEP) as isize;
        if steps.abs() >= 2 {
            self.expected += steps as f64 * STEP;
            self.fits.iter_mut().for_each(|fit| fit.move_by(steps));
            self.shift -= steps as f64 * STEP;
        }
    }
}

/// Takes what is new in a slot of these pieces.
fn take(fit: &mut Fit, products: &Products, change: &Change, pieces: &Pieces) {
    let behind = std::array::from_fn(|edge| pieces.behind(edge as f64 * ROW, change));
    fit.take(products, &behind);
}

#[cfg(test)]
mod tests {
    use super::super::key::{Key, Signs};
    use super::super::sounding::Envelope;
    use super::super::testing::noise;
    use super::*;

    fn signs() -> Signs {
        Key::from_bytes([1; 32]).signs()
    }

    /// A slot of steady noise.
    fn steady() -> Sounding {
        let (mut envelope, mut noise) = (Envelope::new(), noise(1));
        for piece in 0..60 {
            let samples: Vec<f32> = (0..162).map(|_| noise()).collect();
            envelope.take(piece, &samples);
        }
        (44..48).for_each(|frame| envelope.add(frame, 1.0));
        envelope.end_slot(1.5 * FRAME)
    }

    /// Follows slots of a programme that is `late` seconds further than expected, the signs as strong as that and the
    /// rest up to `loud`; returns by how much the position is off after so many slots, and what is said of that.
    fn follow(late: f64, loud: f32, slots: u64) -> (f64, f64) {
        let (mut timing, mut signs, mut noise) = (Timing::new(), signs(), noise(2));
        timing.restart(0.0, 10.0);
        let (change, sounding) = (Change::new(), steady());
        for slot in 0..slots {
            let seconds = slot as f64 * SLOT;
            let position = 10.0 + late + seconds;
            let mut chips: [f32; CHIPS] = std::array::from_fn(|_| loud * noise());
            let row = (position / ROW) as i64;
            for row in row - 1..=row + 1 {
                let mut of_row = [0.0; CHIPS];
                signs.row(row as u64, &mut of_row);
                let behind = |row: i64| {
                    let from = position + sounding.from() - row as f64 * ROW;
                    Pieces::new(from, &sounding.shares()).behind(0.0, &change)[REACH]
                };
                let part = behind(row) - behind(row + 1);
                chips
                    .iter_mut()
                    .zip(of_row)
                    .for_each(|(b, s)| *b += part * s);
            }
            timing.advance(seconds, 1.0);
            timing.push(&chips, &sounding, |row, of_row| {
                signs.row(row as u64, of_row)
            });
        }
        let expected = 10.0 + late + (slots - 1) as f64 * SLOT;
        (timing.position() - expected, timing.error())
    }

    #[test]
    fn the_position_is_found_to_milliseconds() {
        for late in [-0.037, -0.013, 0.0, 0.004, 0.03] {
            let (off, error) = follow(late, 0.5, 100);
            assert!((off - EARLY).abs() < 0.003, "{late}: {off}");
            assert!((0.003..0.008).contains(&error), "{late}: {error}");
        }
    }

    #[test]
    fn the_error_is_larger_in_noise_and_where_little_was_heard() {
        let (_, clear) = follow(0.01, 0.5, 100);
        let (_, noisy) = follow(0.01, 8.0, 100);
        let (_, little) = follow(0.01, 2.0, 12);
        let (_, more) = follow(0.01, 2.0, 60);
        assert!(clear < 0.5 * noisy, "{clear} {noisy}");
        assert!(more < little, "{more} {little}");
        assert!(Timing::new().error() > 0.04);
    }

    #[test]
    fn chips_that_are_silenced_no_longer_count() {
        let (mut timing, mut signs, mut noise) = (Timing::new(), signs(), noise(3));
        timing.restart(0.0, 10.0);
        for slot in 0..40 {
            let silenced = slot >= 20;
            let chips = std::array::from_fn(|chip| {
                let noise = noise();
                if silenced && chip % 2 == 1 {
                    0.0
                } else {
                    noise
                }
            });
            timing.advance(slot as f64 * SLOT, 1.0);
            timing.push(&chips, &Sounding::MIDDLE, |row, of_row| {
                signs.row(row as u64, of_row)
            });
            let counting = timing.sizes.iter().filter(|size| **size > 0.0).count();
            assert_eq!(counting, if silenced { CHIPS / 2 } else { CHIPS });
        }
    }
}
