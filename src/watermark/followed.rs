// SPDX-License-Identifier: MIT OR Apache-2.0
//! Evidence for one hypothesis that is followed, slot by slot: what [`super::evidence`] keeps for many and row by row.

use super::evidence::Evidence;
use super::format::CHIPS;
use super::latest::energy;
use super::windows::{self, FADED, KEPT, LATEST, fading, score};

/// Running sums of one hypothesis.
#[derive(Clone)]
pub struct Followed {
    /// The row under way: its chips, and their sum times the signs.
    chips: [f32; CHIPS],
    current: f32,
    /// Whole rows, the newest at `newest`, and the energies behind them.
    kept: [f32; KEPT],
    kept_energy: [f32; KEPT],
    newest: usize,
    faded: f32,
    faded_energy: f32,
    /// Local number of the row under way.
    row: i64,
    slots: u64,
    slots_in_row: u64,
}

impl Followed {
    /// No evidence yet.
    pub const NONE: Followed = Followed {
        chips: [0.0; CHIPS],
        current: 0.0,
        kept: [0.0; KEPT],
        kept_energy: [0.0; KEPT],
        newest: 0,
        faded: 0.0,
        faded_energy: 0.0,
        row: i64::MIN,
        slots: 0,
        slots_in_row: 0,
    };

    /// Goes on with hypothesis `o` of `many`, which have had `slots` slots. The latest row, whole or under way, has
    /// so far the chips `chips`, whose sum times the signs of that hypothesis is `product`.
    pub fn take(
        &mut self,
        many: &Evidence,
        o: usize,
        slots: u64,
        chips: &[f32; CHIPS],
        product: f32,
    ) {
        let before = many.before(o);
        *self = Followed {
            chips: *chips,
            current: product,
            kept: before.rows,
            kept_energy: before.energies,
            newest: 0,
            faded: before.faded,
            faded_energy: before.faded_energy,
            row: many.row().unwrap_or(i64::MIN),
            slots,
            slots_in_row: many.in_row() as u64,
        };
    }

    /// Tells that the next slot belongs to local row `row`. Returns the score of the row that this ends.
    pub fn enter_row(&mut self, row: i64) -> Option<f64> {
        if row == self.row {
            return None;
        }
        let begun = self.row != i64::MIN;
        self.row = row;
        if !begun {
            return None;
        }
        let energy = energy(&self.chips);
        let of_row = score(self.current, energy);
        self.newest = (self.newest + KEPT - 1) % KEPT;
        self.kept[self.newest] = self.current;
        self.kept_energy[self.newest] = energy;
        let stays = fading(COMPARED);
        self.faded = stays * (self.faded + self.current);
        self.faded_energy = stays * stays * (self.faded_energy + energy);
        if self.faded_energy < FADED {
            (self.faded, self.faded_energy) = (0.0, 0.0);
        }
        self.current = 0.0;
        self.chips = [0.0; CHIPS];
        self.slots_in_row = 0;
        Some(of_row as f64)
    }

    /// Adds a slot: its chip correlations, and the sum of these times the signs.
    pub fn add(&mut self, chips: &[f32; CHIPS], product: f32) {
        for (sum, chip) in self.chips.iter_mut().zip(chips) {
            *sum += chip;
        }
        self.current += product;
        self.slots += 1;
        self.slots_in_row += 1;
    }

    /// Score of the latest 2 s.
    pub fn latest(&self) -> f32 {
        score(
            self.current + self.kept.iter().sum::<f32>(),
            energy(&self.chips) + self.kept_energy.iter().sum::<f32>(),
        )
    }

    /// Seconds of evidence in that: never more than there was since the start.
    pub fn seconds(&self) -> f64 {
        windows::seconds(LATEST, self.slots_in_row, self.slots)
    }

    /// Score of the window that fades within 3.2 s, which tells neighbouring hypotheses apart.
    pub fn compared(&self) -> f32 {
        score(
            self.current + self.faded,
            energy(&self.chips) + self.faded_energy,
        )
    }
}

/// Which of the fading windows that is.
const COMPARED: usize = 0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watermark::correlation::SLOTS_PER_ROW;
    use crate::watermark::windows::LANES;
    use pulp::Arch;

    fn random(state: &mut u64) -> f32 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Whether it takes over within a row or at its end.
    #[test]
    fn one_hypothesis_goes_on_where_many_left_off() {
        const O: usize = 5;
        for taken in [33, 34, 35, 2] {
            let (arch, mut state) = (Arch::new(), 9u64);
            let mut many = Evidence::new(LANES);
            let mut one = Followed::NONE;
            let (mut of_row, mut products) = ([0.0; CHIPS], [0.0; LANES]);
            for slot in 0..80 {
                let row = slot / SLOTS_PER_ROW as i64;
                if slot % SLOTS_PER_ROW as i64 == 0 {
                    (of_row, products) = ([0.0; CHIPS], [0.0; LANES]);
                }
                let chips = [0.0; CHIPS].map(|_: f32| random(&mut state));
                let new = [0.0; LANES].map(|_: f32| random(&mut state));
                of_row.iter_mut().zip(chips).for_each(|(sum, b)| *sum += b);
                products.iter_mut().zip(new).for_each(|(sum, p)| *sum += p);
                let of_one = (row as usize + O) % LANES;
                if slot > taken {
                    one.enter_row(row);
                    one.add(&chips, new[of_one]);
                }
                let ended = (slot + 1) / SLOTS_PER_ROW as i64 - 1;
                if many.advance(row, ended) {
                    many.end_row(arch, ended, energy(&of_row), &products);
                }
                if slot == taken {
                    one.take(&many, O, slot as u64 + 1, &of_row, products[of_one]);
                    assert_eq!(one.row, row);
                }
                if slot < taken {
                    continue;
                }
                let want = many.before(O);
                let close = |a: f32, b: f32| assert!((a - b).abs() < 1e-4, "{slot}: {a} for {b}");
                close(one.current, products[of_one]);
                close(one.faded, want.faded);
                close(one.faded_energy, want.faded_energy);
                for row in 0..KEPT {
                    close(one.kept[(one.newest + row) % KEPT], want.rows[row]);
                    close(
                        one.kept_energy[(one.newest + row) % KEPT],
                        want.energies[row],
                    );
                }
                let seconds = windows::seconds(LATEST, many.in_row() as u64, slot as u64 + 1);
                assert_eq!(one.seconds(), seconds);
            }
        }
    }

    #[test]
    fn scores_are_of_the_latest_rows() {
        let mut one = Followed::NONE;
        assert_eq!(
            (one.latest(), one.compared(), one.seconds()),
            (0.0, 0.0, 0.0)
        );
        let mut chips = [0.0; CHIPS];
        chips[0] = 2.0;
        for row in 0..20 {
            let ended = one.enter_row(row);
            assert_eq!(ended, if row == 0 { None } else { Some(-1.0) });
            one.add(&chips, -2.0);
        }
        // Eleven rows of score -1 each.
        assert!((one.latest() + 11.0f32.sqrt()).abs() < 1e-5);
        assert!(one.compared() < -3.0);
    }

    #[test]
    fn in_long_silence_nothing_is_left() {
        let mut one = Followed::NONE;
        one.enter_row(0);
        one.add(&[1.0; CHIPS], 1.0);
        for row in 1..3000 {
            one.enter_row(row);
            one.add(&[0.0; CHIPS], 0.0);
        }
        assert_eq!((one.faded, one.latest()), (0.0, 0.0));
    }
}
