// SPDX-License-Identifier: MIT OR Apache-2.0
//! The chips of the latest five slots, from which those of a row are added up.
//!
//! The product with the signs is linear, so it does not matter whether slots are multiplied and then added or the
//! other way round; and a row is looked at only when it ends. So the slots are kept, and one product with the sum of
//! five takes the place of five products, each added to the evidence of every alignment.
//!
//! A row always means the latest five slots. At speeds other than the nominal one a row has four or six of them now and
//! then: it then borrows a slot from the row before it or leaves its first one out, which loses next to nothing.
//! [`super::bound`] holds all the same, as the sum remains a number that does not depend on the key.

use super::correlation::SLOTS_PER_ROW;

/// Chips of the latest slots, all vectors one behind the other.
pub struct LatestSlots {
    length: usize,
    chips: Vec<f32>,
    newest: usize,
}

impl LatestSlots {
    /// No slots yet, of `length` chips each.
    pub fn new(length: usize) -> Self {
        LatestSlots {
            length,
            chips: vec![0.0; SLOTS_PER_ROW * length],
            newest: 0,
        }
    }

    /// Forgets everything: slots that there were not add nothing.
    pub fn reset(&mut self) {
        self.chips.fill(0.0);
    }

    /// Takes a slot.
    pub fn push(&mut self, chips: &[f32]) {
        self.newest = (self.newest + 1) % SLOTS_PER_ROW;
        self.chips[self.newest * self.length..][..self.length].copy_from_slice(chips);
    }

    /// Writes the sum of the latest `slots` slots, of the chips from `first` on.
    pub fn sum(&self, slots: usize, first: usize, sums: &mut [f32]) {
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
