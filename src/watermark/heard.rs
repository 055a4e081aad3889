// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the detector has heard: all that depends on the audio alone and is the same for every key.

use super::correlation::{Correlator, Slot};
use super::format::CHIPS;
use super::row_history::RowHistory;
use super::sounding::Sounding;
use super::speeds::{SpeedMap, speed_maps};
use super::stretch::{Moment, RecentSlots};
use rustfft::num_complex::Complex;

/// The latest slot, and what is kept of those before. It is possible to go back and hear it all again, up to now.
pub struct Heard {
    pub rate: f64,
    /// One for each speed, the slowest first.
    pub maps: Vec<SpeedMap>,
    pub recent: RecentSlots,
    /// Middle of the latest slot, in seconds.
    pub now: f64,
    /// Loudness of the latest slot.
    pub loudness: f64,
    /// When it sounded.
    pub sounding: Sounding,
    /// Its playing speed beside those that are searched, mostly 1.
    pub speed: f64,
    /// Input frames so far.
    pub frames: u64,
    /// Those of the latest slot, if there are several speeds.
    sums: Vec<Complex<f32>>,
    /// Chips of the latest slot, speed by speed, of those speeds that have been asked for.
    chips: Vec<f32>,
    made: Vec<bool>,
    /// Rows up to the latest slot for which they were asked.
    rows: RowHistory,
    /// Slots so far, and how many there were when rows were last asked for.
    slots: u64,
    in_rows: u64,
}

impl Heard {
    /// For the slots of `correlator` and speeds up to `deviation` (a ratio) from the nominal one. One may go back by
    /// `back` slots.
    pub fn new(sample_rate: u32, deviation: f64, correlator: &Correlator, back: usize) -> Self {
        let maps = speed_maps(deviation, correlator);
        let sums = correlator.bins().1.len();
        Heard {
            rate: sample_rate as f64,
            recent: RecentSlots::new(sums, maps.len(), back),
            now: 0.0,
            loudness: 0.0,
            sounding: Sounding::MIDDLE,
            speed: 1.0,
            frames: 0,
            sums: vec![Complex::ZERO; if maps.len() > 1 { sums } else { 0 }],
            chips: vec![0.0; maps.len() * CHIPS],
            made: vec![maps.len() == 1; maps.len()],
            rows: RowHistory::new(maps.len()),
            slots: 0,
            in_rows: 0,
            maps,
        }
    }

    /// Forgets all audio.
    pub fn reset(&mut self) {
        self.recent.reset();
        self.made.fill(self.maps.len() == 1);
        self.chips.fill(0.0);
        self.rows.reset();
        (self.slots, self.in_rows) = (0, 0);
        self.frames = 0;
        self.set(Moment::START);
    }

    fn set(&mut self, moment: Moment) {
        (self.now, self.loudness) = (moment.seconds, moment.loudness);
        (self.sounding, self.speed) = (moment.sounding, moment.speed);
    }

    /// Takes a slot.
    pub fn take(&mut self, slot: &Slot) {
        let moment = Moment {
            seconds: slot.middle / self.rate,
            loudness: slot.loudness,
            sounding: slot.sounding,
            speed: slot.speed,
        };
        self.set(moment);
        if let [only] = &self.maps[..] {
            // All there is to be known of a slot are its chips then.
            only.chips(slot.sums, &mut self.chips);
        } else {
            self.sums.copy_from_slice(slot.sums);
            self.made.fill(false);
        }
        let only = &self.chips[..CHIPS];
        self.recent.push(moment, slot.sums, only);
        self.slots += 1;
    }

    /// Goes back to when the slot at `seconds` was the latest: from there on [`Heard::go_on`] leads to now.
    pub fn go_back(&mut self, seconds: f64) {
        self.recent.go_back(seconds);
        self.show();
    }

    /// Goes on by a slot; returns whether it is not now yet.
    pub fn go_on(&mut self) -> bool {
        let behind = self.recent.go_on();
        if behind {
            self.show();
        }
        behind
    }

    /// Takes the latest of the slots that are kept for the latest.
    fn show(&mut self) {
        let Some(slot) = self.recent.latest() else {
            return;
        };
        if let [only] = &self.maps[..] {
            let (chips, _) = self.chips.as_chunks_mut::<CHIPS>();
            chips.iter_mut().for_each(|chips| slot.chips(only, chips));
        } else {
            self.sums.copy_from_slice(slot.sums());
            self.made.fill(false);
        }
        let moment = slot.moment;
        self.set(moment);
    }

    /// Chips of the latest slot at one speed.
    pub fn chips(&mut self, speed: usize) -> &[f32] {
        let chips = &mut self.chips[speed * CHIPS..][..CHIPS];
        if !self.made[speed] {
            self.made[speed] = true;
            self.maps[speed].chips(&self.sums, chips);
        }
        chips
    }

    /// Chips of the latest slot, speed by speed, and the speeds.
    pub fn all_chips(&mut self) -> (&[f32], &[SpeedMap]) {
        for speed in 0..self.maps.len() {
            self.chips(speed);
        }
        (&self.chips, &self.maps)
    }

    /// Adds the latest slot to the rows, unless it has been. Where slots have been left out because nobody searched,
    /// they begin anew.
    pub fn make_rows(&mut self) {
        if self.in_rows == self.slots {
            return;
        }
        self.all_chips();
        if self.in_rows + 1 != self.slots {
            self.rows.reset();
        }
        self.in_rows = self.slots;
        self.rows.push(&self.chips);
    }

    /// The rows, and the speeds.
    pub fn rows(&mut self) -> (&mut RowHistory, &[SpeedMap]) {
        (&mut self.rows, &self.maps)
    }

    /// The rows.
    pub fn kept_rows(&self) -> &RowHistory {
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// While a mark is followed nobody asks for rows; those before and those after do not belong together.
    #[test]
    fn rows_begin_anew_where_slots_were_left_out() {
        let correlator = Correlator::new(16_000, 0.0, 160);
        let mut heard = Heard::new(16_000, 0.0, &correlator, 0);
        let sums = vec![Complex::ONE; correlator.bins().1.len()];
        let take = |heard: &mut Heard, asked: bool| {
            heard.take(&Slot {
                middle: 0.0,
                loudness: 0.0,
                sums: &sums,
                sounding: Sounding::MIDDLE,
                speed: 1.0,
            });
            // Twice, as two keys do.
            (0..2).for_each(|_| {
                if asked {
                    heard.make_rows()
                }
            });
            heard.kept_rows().slots()
        };
        assert_eq!([true, true].map(|asked| take(&mut heard, asked)), [1, 2]);
        assert_eq!([false, false].map(|asked| take(&mut heard, asked)), [2, 2]);
        assert_eq!([true, true].map(|asked| take(&mut heard, asked)), [1, 2]);
    }

    /// With one speed and with several: back then each slot is what it was, and in the end it is now.
    #[test]
    fn what_was_heard_is_heard_again() {
        for deviation in [0.0, 0.001] {
            let correlator = Correlator::new(16_000, deviation, 160);
            let bins = correlator.bins().1.len();
            let mut heard = Heard::new(16_000, deviation, &correlator, 20);
            let state = |heard: &mut Heard| {
                let moment = (heard.now, heard.loudness, heard.speed);
                (moment, heard.all_chips().0.to_vec())
            };
            let mut all = Vec::new();
            for number in 0..200 {
                let sums: Vec<_> = (0..bins)
                    .map(|bin| Complex::new((bin * number) as f32, 1.0))
                    .collect();
                heard.take(&Slot {
                    middle: 640.0 * number as f64,
                    loudness: number as f64,
                    sums: &sums,
                    sounding: Sounding::MIDDLE,
                    speed: 1.0 + number as f64,
                });
                all.push(state(&mut heard));
            }
            assert!(!heard.go_on());
            heard.go_back(all[180].0.0);
            assert_eq!(state(&mut heard), all[180]);
            for then in &all[181..] {
                assert!(heard.go_on());
                assert_eq!(&state(&mut heard), then);
            }
            assert!(!heard.go_on());
        }
    }
}
