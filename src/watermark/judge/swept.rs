// SPDX-License-Identifier: MIT OR Apache-2.0
//! What becomes of a mark that the sweep has found in an earlier piece of the stream: is it still there, and where was it?

use super::super::candidate::{Candidate, Pilots};
use super::super::correlation::SLOT;
use super::super::detector::{Detection, DetectionState};
use super::super::format::CHIPS;
use super::super::heard::Heard;
use super::super::places::rows_at;
use super::super::reader::silence_odd;
use super::super::sweep::Swept;
use super::super::tracker::Tracked;
use super::super::workspace::Workspace;
use super::{Judge, TRAILS};

/// A mark that was found in an earlier piece and has not been there for this long, in seconds, is over: pauses are
/// shorter.
const OVER: f64 = 2.0;
/// Seconds by which the position of such a mark is off at most: a slot and a half.
const OFF: f64 = 1.5 * SLOT;

/// Slots of the latest 2 s.
const LATEST_SLOTS: usize = (2.0 / SLOT) as usize;

impl Judge {
    /// Searches what is left of the pieces.
    pub(super) fn finish_sweep(
        &mut self,
        heard: &Heard,
        work: &mut Workspace,
        report: &mut dyn FnMut(&Detection),
    ) {
        while let Some(sweep) = &mut self.sweep
            && let Some(swept) = sweep.finish(&mut self.search, &heard.maps, work)
        {
            self.take_swept(&swept, heard, report);
        }
    }

    /// Follows a mark that was found in an earlier piece, or if it is over by now, reports that it was there.
    pub(super) fn take_swept(
        &mut self,
        swept: &Swept,
        heard: &Heard,
        report: &mut dyn FnMut(&Detection),
    ) {
        let (first, last) = self.course_of(swept, heard);
        let end = last + 0.5 * SLOT - TRAILS;
        match swept.now {
            Some(now) if heard.now - last < OVER => {
                let log10_alarms = swept.tested.log10_alarms;
                let found = Candidate {
                    log10_alarms,
                    ..now
                };
                self.follow(found, Some(first - 0.5 * SLOT), heard);
                self.ends = end;
                if let Some(sweep) = &mut self.sweep {
                    sweep.forget();
                }
            }
            _ if self.tracked.is_none() => {
                self.report_over(swept, heard, first - 0.5 * SLOT, end, report);
            }
            _ => (),
        }
    }

    /// Middles of the first and of the last slot of a mark that was found in an earlier piece.
    fn course_of(&mut self, swept: &Swept, heard: &Heard) -> (f64, f64) {
        let Swept { tested, place, .. } = *swept;
        let speed = heard.maps[tested.speed].speed;
        self.course.reset();
        let slots = self
            .sweep
            .iter()
            .flat_map(|sweep| sweep.slots(tested.speed));
        for (seconds, of_slot) in slots {
            let (mut chips, mut signs) = ([0.0; CHIPS], [0.0; CHIPS]);
            chips.copy_from_slice(of_slot);
            if tested.pilots == Pilots::Even {
                silence_odd(&mut chips);
            }
            let (_, row) = rows_at(self.clock, self.row_clock, seconds, speed, place);
            self.signs.row(row, &mut signs);
            self.course.push(seconds, &chips, &signs);
        }
        let mean = tested.score / (swept.window / SLOT).max(1.0).sqrt();
        self.course.stretch(mean as f32)
    }

    /// Reports a mark that was there from `start` to `end`, in seconds.
    fn report_over(
        &mut self,
        swept: &Swept,
        heard: &Heard,
        start: f64,
        end: f64,
        report: &mut dyn FnMut(&Detection),
    ) {
        let Swept { tested, place, .. } = *swept;
        let playing = heard.maps[tested.speed].speed;
        let slot = (heard.now * playing / SLOT).floor() + 0.5;
        let over = Tracked {
            score: self.course.latest(LATEST_SLOTS),
            seconds: LATEST_SLOTS as f64 * SLOT,
            speed: tested.speed,
            playing,
            place,
            position: (slot + place as f64) * SLOT,
            error: OFF,
            gone: true,
            doubtful: true,
            pilots: tested.pilots,
            payload: None,
        };
        self.highest = self.highest.max(tested.score);
        self.found += 1;
        self.begins = start.max(0.0);
        self.begins_at = (self.position(&over, heard, self.begins), OFF);
        report(&Detection {
            score: tested.score,
            log10_p: tested.log10_alarms,
            window: swept.window,
            ..self.detection(DetectionState::Found, &over, heard, self.begins, end)
        });
        report(&self.detection(DetectionState::Lost, &over, heard, self.begins, end));
    }
}
