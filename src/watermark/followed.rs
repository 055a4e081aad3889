// SPDX-License-Identifier: MIT OR Apache-2.0
//! Evidence for one hypothesis that is followed, slot by slot: what [`super::evidence`] keeps for many and row by row.

use super::alignment::Alignment;
use super::format::CHIPS;
use super::row_history::energy;
use super::search::Before;
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

    /// Goes on with a hypothesis of the search, which has had `slots` slots: with what it has from `before` the latest
    /// row of `alignment`, whole or under way, and with that, of which `chips` are there so far and their sum times the
    /// signs is `product`.
    pub fn take(
        &mut self,
        before: &Before,
        alignment: &Alignment,
        slots: u64,
        chips: &[f32; CHIPS],
        product: f32,
    ) {
        *self = Followed {
            chips: *chips,
            current: product,
            kept: before.rows,
            kept_energy: before.energies,
            newest: 0,
            faded: faded(&before.rows, fading(COMPARED)),
            faded_energy: faded(&before.energies, fading(COMPARED).powi(2)),
            row: alignment.row().unwrap_or(i64::MIN),
            slots,
            slots_in_row: alignment.in_row() as u64,
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

/// What is left of the rows before the latest.
fn faded(rows: &[f32; KEPT], stays: f32) -> f32 {
    rows.iter().rev().fold(0.0, |sum, row| stays * (sum + row))
}

/// Which of the fading windows that is.
const COMPARED: usize = 0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watermark::candidate::Pilots;
    use crate::watermark::correlation::{Correlator, SLOT, SLOTS_PER_ROW};
    use crate::watermark::format::{ROWS, RowClock};
    use crate::watermark::key::Key;
    use crate::watermark::row_history::RowHistory;
    use crate::watermark::rows::KeyRows;
    use crate::watermark::search::Search;
    use crate::watermark::speeds::SpeedMap;
    use crate::watermark::thresholds::Thresholds;
    use crate::watermark::workspace::Workspace;

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
        let (speed, alignment) = (0, 0);
        let correlator = Correlator::new(16_000, 0.0, 160);
        let maps = [SpeedMap::new(1.0, &correlator)];
        let key = Key::from_bytes([1; 32]);
        let mut signs = key.signs();
        for taken in [33, 34, 35, 2] {
            let rows = KeyRows::new(key.signs(), RowClock::Stream, ROWS, 0);
            let mut many = Search::new(rows, 1, Thresholds::new(1, ROWS, 1, 0, 1e-4));
            let mut history = RowHistory::new(1);
            let mut work = Workspace::new(ROWS, 1);
            let (mut one, mut state) = (Followed::NONE, 9);
            for slot in 0..80 {
                let row = slot / SLOTS_PER_ROW as i64;
                let mut of_row = [0.0; CHIPS];
                signs.row(row as u64 + O as u64, &mut of_row);
                let product = |chips: &[f32; CHIPS]| -> f32 {
                    chips.iter().zip(&of_row).map(|(b, s)| b * s).sum()
                };
                let chips = [0.0; CHIPS].map(|_: f32| random(&mut state));
                if slot > taken {
                    one.enter_row(row);
                    one.add(&chips, product(&chips));
                }
                history.push(&chips);
                many.test_next((slot as f64 + 0.5) * SLOT, &history, &maps, &mut work);
                let before = many.before((speed, alignment), Pilots::All, O, &history);
                if slot == taken {
                    let mut latest = [0.0; CHIPS];
                    many.latest_row((speed, alignment), &history, &mut latest);
                    let rows = many.alignment(speed, alignment);
                    one.take(&before, rows, many.slots(), &latest, product(&latest));
                    assert_eq!(one.row, row);
                }
                if slot < taken {
                    continue;
                }
                // Of what the search keeps, chips are rounded.
                let close = |a: f32, b: f32, size: f32| {
                    assert!((a - b).abs() <= 0.25 * size.max(1.0), "{slot}: {a} for {b}");
                };
                for row in 0..KEPT {
                    let at = (one.newest + row) % KEPT;
                    let energy = before.energies[row];
                    close(one.kept[at], before.rows[row], energy.sqrt());
                    close(one.kept_energy[at], energy, 0.1 * energy);
                }
                let in_row = many.alignment(speed, alignment).in_row() as u64;
                let seconds = windows::seconds(LATEST, in_row, many.slots());
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
