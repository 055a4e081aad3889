// SPDX-License-Identifier: MIT OR Apache-2.0
//! The windows that are cut, of single hypotheses: made anew from the chips of the latest rows.

use super::alignment::Alignment;
use super::candidate::Pilots;
use super::products::SignMatrix;
use super::rounded::RoundedRow;
use super::row_history::RowHistory;
use super::windows::{CUT, CUT_WINDOWS, FADING, ROWS_BESIDE, WINDOWS, fading, score};
use pulp::Arch;

/// A row: its local number and its chips.
pub type Row<'a> = (i64, &'a RoundedRow);

/// The latest rows of one speed and one alignment, the newest first.
pub struct LatestRows<'a> {
    arch: Arch,
    rows: [Option<Row<'a>>; ROWS_BESIDE],
    count: usize,
}

impl<'a> LatestRows<'a> {
    /// So many of `alignment`, after the one that is under way, if it counts.
    pub fn new(
        alignment: &Alignment,
        history: &'a RowHistory,
        speed: usize,
        under_way: Option<Row<'a>>,
        count: usize,
    ) -> Self {
        let ended = alignment
            .ended()
            .map(|ended| ended.map(|ended| (ended.row, &history.ended_at(ended.slots)[speed])));
        let mut rows = under_way.map(Some).into_iter().chain(ended).take(count);
        LatestRows {
            arch: Arch::new(),
            rows: std::array::from_fn(|_| rows.next().flatten()),
            count,
        }
    }

    /// Scores of hypothesis `o`. Rows that are missing add nothing, and windows that fade have 0 unless all
    /// [`ROWS_BESIDE`] rows are asked for.
    pub fn scores(&self, signs: &SignMatrix, o: usize, pilots: Pilots) -> [f32; WINDOWS] {
        let (sums, energies) = (self.sums(signs, o, pilots), self.energies(pilots));
        let mut scores = [0.0; WINDOWS];
        for (of_window, before) in scores.iter_mut().zip(CUT_WINDOWS) {
            let rows = 0..=before;
            *of_window = score(sums[rows.clone()].iter().sum(), energies[rows].iter().sum());
        }
        if self.count == ROWS_BESIDE {
            for (w, of_window) in scores[CUT..].iter_mut().take(FADING).enumerate() {
                let faded = |rows: &[f32], stays: f32| {
                    let rows = rows.iter().rev();
                    rows.fold(0.0, |sum, row| stays * sum + row)
                };
                *of_window = score(faded(&sums, fading(w)), faded(&energies, fading(w).powi(2)));
            }
        }
        scores
    }

    /// What the rows have for hypothesis `o`.
    pub fn sums(&self, signs: &SignMatrix, o: usize, pilots: Pilots) -> [f32; ROWS_BESIDE] {
        self.rows.map(|row| {
            row.map_or(0.0, |(number, row)| {
                let index = (number + o as i64).rem_euclid(signs.rows() as i64);
                let [even, odd] = signs.product(self.arch, index as usize, &row.chips);
                row.step
                    * match pilots {
                        Pilots::All => even + odd,
                        Pilots::Even => even,
                    } as f32
            })
        })
    }

    /// The energies behind that.
    pub fn energies(&self, pilots: Pilots) -> [f32; ROWS_BESIDE] {
        self.rows
            .map(|row| row.map_or(0.0, |(_, row)| row.step * row.step * row.energy(pilots)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watermark::correlation::SLOTS_PER_ROW;
    use crate::watermark::format::CHIPS;
    use crate::watermark::key::Key;
    use crate::watermark::products::Tables;
    use crate::watermark::windows::ROWS_KEPT;

    /// Of the rows that have ended, and with one under way.
    #[test]
    fn scores_are_of_the_latest_rows() {
        const ROWS: usize = 64;
        let mut signs = Key::from_bytes([3; 32]).signs();
        let mut of_rows = vec![[0.0; CHIPS]; ROWS];
        let mut matrix = SignMatrix::new(ROWS);
        for (row, of_row) in of_rows.iter_mut().enumerate() {
            signs.row(row as u64, of_row);
            matrix.load(row as u64, of_row);
        }
        let (mut alignment, mut history) = (Alignment::NONE, RowHistory::new(2));
        let mut rows = Vec::new();
        for number in 40..60i64 {
            let mut sums = [0.0; CHIPS];
            for slot in 0..SLOTS_PER_ROW as i64 {
                let chips: [f32; CHIPS] = std::array::from_fn(|chip| {
                    ((chip as i64 + 31 * (5 * number + slot)) as f32 * 0.7).sin()
                });
                history.push([chips; 2].as_flattened());
                sums.iter_mut().zip(chips).for_each(|(sum, b)| *sum += b);
            }
            rows.insert(0, (number, sums));
            let exact = |o: i64, pilots: Pilots| {
                let of_row = |(number, sums): &(i64, [f32; CHIPS])| {
                    let signs = of_rows[(number + o).rem_euclid(ROWS as i64) as usize];
                    let counts = |chip: usize| pilots == Pilots::All || chip.is_multiple_of(2);
                    let chips = || (0..CHIPS).filter(|chip| counts(*chip));
                    let sum: f32 = chips().map(|chip| signs[chip] * sums[chip]).sum();
                    (
                        sum,
                        chips().map(|chip| sums[chip] * sums[chip]).sum::<f32>(),
                    )
                };
                let of_window = |count: usize, stays: f32| {
                    let (mut sum, mut energy) = (0.0, 0.0);
                    for (age, row) in rows.iter().take(count).enumerate() {
                        let (of_row, of_row_energy) = of_row(row);
                        sum += stays.powi(age as i32) * of_row;
                        energy += stays.powi(2 * age as i32) * of_row_energy;
                    }
                    sum / energy.sqrt()
                };
                let cut = CUT_WINDOWS.map(|before| of_window(before + 1, 1.0));
                let fading = [0, 1, 2, 3].map(|w| of_window(ROWS_BESIDE, fading(w)));
                [&cut[..], &fading].concat()
            };
            let mut rounded = [RoundedRow::SILENCE; 2];
            let mut tables = Tables::new(1);
            history.round_latest(SLOTS_PER_ROW, &mut rounded, &mut tables);
            let check = |latest: LatestRows| {
                // The fading windows need more rows.
                let windows = if latest.count < ROWS_BESIDE {
                    CUT
                } else {
                    WINDOWS
                };
                for (o, pilots) in [(0, Pilots::All), (17, Pilots::Even), (63, Pilots::All)] {
                    let got = latest.scores(&matrix, o as usize, pilots);
                    assert_eq!(got[windows..], [0.0; WINDOWS][windows..]);
                    for (got, exact) in got.into_iter().zip(exact(o, pilots)).take(windows) {
                        assert!((got - exact).abs() < 0.3, "{number}: {got} for {exact}");
                    }
                }
            };
            let row = Some((number, &rounded[1]));
            for count in [ROWS_KEPT, ROWS_BESIDE] {
                check(LatestRows::new(&alignment, &history, 1, row, count));
            }
            alignment.end(number, Some(history.slots()));
            for count in [ROWS_KEPT, ROWS_BESIDE] {
                check(LatestRows::new(&alignment, &history, 1, None, count));
            }
        }
    }
}
