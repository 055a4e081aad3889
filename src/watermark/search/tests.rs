// SPDX-License-Identifier: MIT OR Apache-2.0

use super::beside::Place;
use super::*;
use crate::watermark::correlation::{Correlator, Slot};
use crate::watermark::format::CHIPS;
use crate::watermark::format::{ROWS, RowClock};
use crate::watermark::key::Key;
use crate::watermark::speeds::write_chips;
use crate::watermark::testing::noise;
use crate::watermark::windows::ROWS_PER_TEST;
use std::cell::RefCell;
use std::collections::HashSet;

/// After all was forgotten in mid-stream, rows that began before that say nothing.
#[test]
fn what_was_forgotten_does_not_come_back() {
    let correlator = Correlator::new(16_000, 0.0, 160);
    let maps = [SpeedMap::new(1.0, &correlator)];
    let mut signs = Key::from_bytes([1; 32]).signs();
    let rows = KeyRows::new(Key::from_bytes([1; 32]).signs(), RowClock::Stream, ROWS, 0);
    let thresholds = Thresholds::new(1, ROWS, 1, 0, 1e-4);
    let mut work = Workspace::new(rows.len(), 1);
    let mut search = Search::new(rows, 1, thresholds);
    let mut history = RowHistory::new(1);
    let mut chips = [0.0; CHIPS];
    let mut push = |search: &mut Search, slot: u64, loud: f32| {
        signs.row(slot / SLOTS_PER_ROW as u64, &mut chips);
        history.push(&chips.map(|chip| loud * chip));
        search.push((slot as f64 + 0.5) * SLOT, &mut history, &maps, &mut work)
    };
    let found = (0..12).any(|slot| push(&mut search, slot, 1.0).is_some());
    assert!(found && search.highest() > 15.0);
    search.forget();
    for slot in 12..60 {
        assert_eq!(push(&mut search, slot, 0.0), None, "slot {slot}");
        assert_eq!(search.highest(), 0.0);
    }
}

/// Window, place, its row, and whether the stream has ended.
type Test = (usize, usize, Option<i64>, bool);

thread_local! {
    static TESTED: RefCell<HashSet<Test>> = RefCell::default();
}

/// Takes note of a test.
pub(super) fn note(occasion: Occasion, place: &Place, row: Option<i64>) {
    let windows = (0..WINDOWS).filter(|window| occasion != Occasion::Again && place.due[*window]);
    let tests = windows.map(|window| (window, place.at, row, occasion == Occasion::End));
    TESTED.with_borrow_mut(|tested| tested.extend(tests));
}

/// However the audio is cut into streams, and at any rate, if every place is looked at closely.
#[test]
fn no_more_is_tested_than_is_counted() {
    for rate in [8_000, 8_109, 44_100, 47_999] {
        let mut correlator = Correlator::new(rate, 0.06, rate as usize);
        let maps = [0.94, 0.97, 0.9998, 1.0, 1.0002, 1.03, 1.06]
            .map(|speed| SpeedMap::new(speed, &correlator));
        let rows = {
            let (rows, ahead) = KeyRows::around(RowClock::Utc, 0.0);
            KeyRows::new(Key::from_bytes([1; 32]).signs(), RowClock::Utc, rows, ahead)
        };
        let thresholds = Thresholds::new(1, rows.len(), maps.len(), maps.len() / 2, 1e5);
        let mut work = Workspace::new(rows.len(), maps.len());
        let mut search = Search::new(rows, maps.len(), thresholds);
        let mut chips = vec![0.0; maps.len() * CHIPS];
        let mut history = RowHistory::new(maps.len());
        let mut noise = noise(1);
        for milliseconds in [170, 200, 239, 240, 250, 280, 310, 500, 640, 2_000, 20_000] {
            let length = rate as usize * milliseconds / 1000;
            let audio: Vec<f32> = (0..length).map(|_| 0.1 * noise()).collect();
            search.reset(LocalClock { first_row: 0 });
            correlator.reset();
            history.reset();
            TESTED.with_borrow_mut(HashSet::clear);
            let mut take = |slot: Slot| {
                write_chips(slot.sums, &maps, &mut chips);
                history.push(&chips);
                search.push(slot.middle / rate as f64, &mut history, &maps, &mut work);
            };
            for piece in audio.chunks(rate as usize) {
                correlator.push(piece, &mut take);
            }
            correlator.finish(&mut take);
            for _ in 0..2 {
                search.finish(&mut history, &mut work);
            }
            // Each window has a share of its own, which must do for its tests.
            for (window, rows) in ROWS_PER_TEST.into_iter().enumerate() {
                let tests = TESTED.with_borrow(|tested| {
                    let of_window = tested.iter().filter(|test| test.0 == window);
                    of_window.count()
                });
                let counted = 3600.0 / SLOT * maps.len() as f64 / rows as f64;
                let hours = milliseconds as f64 / 3_600_000.0;
                let share = tests as f64 / (counted * hours);
                let least = if milliseconds < 20_000 { 0.0 } else { 0.85 };
                assert!(
                    (least..=1.0).contains(&share),
                    "{share} of window {window} in {milliseconds} ms at {rate} Hz"
                );
            }
        }
    }
}

/// Of five speeds the second and the fourth have no sums of their own, and beside them is three quarters of the mark.
#[test]
fn a_mark_between_the_speeds_that_are_kept_is_found_at_its_own() {
    let correlator = Correlator::new(16_000, 0.0004, 160);
    let maps = [0.9996, 0.9998, 1.0, 1.0002, 1.0004].map(|speed| SpeedMap::new(speed, &correlator));
    // Later on, rows of other speeds have other numbers.
    for (loudness, slowly, since) in [(0.25, false, 0.0), (0.12, true, 4000.0)] {
        for speed in [1usize, 3] {
            assert!(!is_kept(speed, maps.len()));
            let mut signs = Key::from_bytes([1; 32]).signs();
            let rows = KeyRows::new(Key::from_bytes([1; 32]).signs(), RowClock::Stream, ROWS, 0);
            let thresholds = Thresholds::new(1, ROWS, 5, 2, 1e-4);
            let mut work = Workspace::new(rows.len(), 5);
            let mut search = Search::new(rows, 5, thresholds);
            let mut history = RowHistory::new(5);
            let (mut of_row, mut noise) = ([0.0; CHIPS], noise(7));
            let found = (0..500u64).find_map(|slot| {
                let seconds = since + (slot as f64 + 0.5) * SLOT;
                let row = LocalClock { first_row: 0 }.row(seconds, maps[speed].speed, 0);
                signs.row(row as u64 % ROWS as u64, &mut of_row);
                let mut chips = [[0.0; CHIPS]; 5];
                for (v, chips) in chips.iter_mut().enumerate() {
                    let share = [1.0, 0.74, 0.3, 0.1][speed.abs_diff(v)];
                    for (chip, sign) in chips.iter_mut().zip(of_row) {
                        *chip = share * loudness * sign + noise();
                    }
                }
                history.push(chips.as_flattened());
                search.push(seconds, &mut history, &maps, &mut work)
            });
            let found = found.expect("the mark is found");
            assert_eq!((found.speed, found.alignment, found.offset), (speed, 0, 0));
            // Of a faint one, only what fades holds enough.
            assert!(found.window >= CUT || !slowly, "{found:?}");
        }
    }
}
