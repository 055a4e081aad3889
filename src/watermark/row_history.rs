// SPDX-License-Identifier: MIT OR Apache-2.0
//! The chips of the rows that have ended with each of the latest slots. They depend on the audio alone and are the same
//! for every key.
//!
//! The product with the signs is linear, so it does not matter whether slots are multiplied and then added or the
//! other way round; and a row is looked at only when it ends. So one product with the sum of
//! five slots takes the place of five products, each added to the evidence of every alignment.
//!
//! A row always means the latest five slots. At speeds other than the nominal one a row has four or six of them now and
//! then: it then borrows a slot from the row before it or leaves its first one out, which loses next to nothing.
//! [`super::bound`] holds all the same, as the sum remains a number that does not depend on the key.

use super::correlation::SLOTS_PER_ROW;
use super::format::CHIPS;
use super::products::Tables;
use super::rounded::{RoundedRow, kept_chips, round};
use super::speeds::kept_count;
use super::windows::{ROWS_BESIDE, ROWS_KEPT};
use pulp::Arch;

/// Rows that are kept, each slot ends one: those of the longest window that is made of them, of up to six slots each.
fn rows_kept(speeds: usize) -> usize {
    let rows = if speeds > 1 { ROWS_BESIDE } else { ROWS_KEPT };
    6 * rows - 5
}

/// The latest rows at each speed.
pub struct RowHistory {
    arch: Arch,
    latest: LatestSlots,
    sums: Vec<f32>,
    speeds: usize,
    /// Speed by speed of each row.
    rows: Vec<RoundedRow>,
    /// Of the latest row.
    tables: Tables,
    slots: u64,
}

impl RowHistory {
    /// Nothing yet, at `speeds` speeds.
    pub fn new(speeds: usize) -> Self {
        RowHistory {
            arch: Arch::new(),
            latest: LatestSlots::new(speeds * CHIPS),
            sums: vec![0.0; speeds * CHIPS],
            speeds,
            rows: vec![RoundedRow::SILENCE; rows_kept(speeds) * speeds],
            tables: Tables::new(kept_count(speeds)),
            slots: 0,
        }
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.latest.reset();
        self.slots = 0;
    }

    /// Takes the chips of a slot at each speed. It ends a row: of five slots, if there are so many.
    pub fn push(&mut self, chips: &[f32]) {
        self.latest.push(chips);
        self.slots += 1;
        self.latest.sum(SLOTS_PER_ROW, 0, &mut self.sums);
        let at = self.place(self.slots);
        let rows = &mut self.rows[at..][..self.speeds];
        round(self.arch, &self.sums, rows);
        self.tables.fill(self.arch, kept_chips(rows));
    }

    /// Slots so far.
    pub fn slots(&self) -> u64 {
        self.slots
    }

    /// The row that ended when there were `slots` slots, one of the latest.
    pub fn ended_at(&self, slots: u64) -> &[RoundedRow] {
        debug_assert!(slots <= self.slots && self.slots - slots < rows_kept(self.speeds) as u64);
        &self.rows[self.place(slots)..][..self.speeds]
    }

    fn place(&self, slots: u64) -> usize {
        (slots % rows_kept(self.speeds) as u64) as usize * self.speeds
    }

    /// The row that ended last.
    pub fn latest(&self) -> &[RoundedRow] {
        self.ended_at(self.slots)
    }

    /// What the row that ended last is multiplied with, at the speeds that are kept.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Rounds the latest `slots` slots, which are the row under way.
    pub fn round_latest(&mut self, slots: usize, rows: &mut [RoundedRow], tables: &mut Tables) {
        self.latest.sum(slots, 0, &mut self.sums);
        round(self.arch, &self.sums, rows);
        tables.fill(self.arch, kept_chips(rows));
    }

    /// Writes the sum of the latest `slots` slots at one speed.
    pub fn sum_latest(&self, slots: usize, speed: usize, chips: &mut [f32; CHIPS]) {
        self.latest.sum(slots, speed * CHIPS, chips);
    }
}

/// Chips of the latest slots, all speeds one behind the other.
struct LatestSlots {
    length: usize,
    chips: Vec<f32>,
    newest: usize,
}

impl LatestSlots {
    /// No slots yet, of `length` chips each.
    fn new(length: usize) -> Self {
        LatestSlots {
            length,
            chips: vec![0.0; SLOTS_PER_ROW * length],
            newest: 0,
        }
    }

    /// Forgets everything: slots that there were not add nothing.
    fn reset(&mut self) {
        self.chips.fill(0.0);
    }

    /// Takes a slot.
    fn push(&mut self, chips: &[f32]) {
        self.newest = (self.newest + 1) % SLOTS_PER_ROW;
        self.chips[self.newest * self.length..][..self.length].copy_from_slice(chips);
    }

    /// Writes the sum of the latest `slots` slots, of the chips from `first` on.
    fn sum(&self, slots: usize, first: usize, sums: &mut [f32]) {
        sums.fill(0.0);
        for age in 0..slots.min(SLOTS_PER_ROW) {
            let slot = (self.newest + SLOTS_PER_ROW - age) % SLOTS_PER_ROW;
            let chips = &self.chips[slot * self.length + first..][..sums.len()];
            for (sum, chip) in sums.iter_mut().zip(chips) {
                *sum += chip;
            }
        }
    }
}

/// The sum of squares.
pub fn energy(chips: &[f32]) -> f32 {
    // Several sums side by side, because one alone would have to wait for each addition.
    let (pieces, rest) = chips.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for piece in pieces {
        for (sum, chip) in sums.iter_mut().zip(piece) {
            *sum += chip * chip;
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|chip| chip * chip).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_slots_are_added_up() {
        let mut latest = LatestSlots::new(3);
        let sum = |latest: &LatestSlots, slots| {
            let mut sums = [f32::NAN; 2];
            latest.sum(slots, 1, &mut sums);
            sums
        };
        for slot in 1..=7 {
            latest.push(&[0.0, slot as f32, 100.0 * slot as f32]);
            if slot == 2 {
                assert_eq!(sum(&latest, 5), [3.0, 300.0]);
            }
        }
        assert_eq!(sum(&latest, 0), [0.0, 0.0]);
        assert_eq!(sum(&latest, 1), [7.0, 700.0]);
        assert_eq!(sum(&latest, 4), [22.0, 2200.0]);
        assert_eq!(sum(&latest, 9), [25.0, 2500.0]);
        latest.reset();
        assert_eq!(sum(&latest, 5), [0.0, 0.0]);
    }

    #[test]
    fn energy_is_the_sum_of_squares() {
        let chips: Vec<f32> = (1..=19).map(|chip| chip as f32).collect();
        assert_eq!(energy(&chips), 2470.0);
        assert_eq!(energy(&[]), 0.0);
    }
}
