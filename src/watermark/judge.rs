// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happens to a slot once it is there, for one key: search, follow, report.

mod past;

use super::candidate::{Candidate, LocalClock, Pilots};
use super::correlation::SLOT;
use super::detector::{Detection, DetectionState, DetectorConfig};
use super::format::{CHIPS, CYCLE, ROW, ROW_NANOSECONDS, RowClock};
use super::heard::Heard;
use super::key::{Key, Signs, wipe_stack};
use super::payload::Payload;
use super::places::rows_at;
use super::reader::silence_odd;
use super::rows::KeyRows;
use super::search::Search;
use super::stretch::Beginning;
use super::sweep::{self, SIDE_BY_SIDE, Sweep, TILE};
use super::thresholds::Thresholds;
use super::tracker::{Tracked, Tracker};
use super::windows::LATEST;
use super::workspace::Workspace;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Seconds of the mark that are awaited before a find is reported, or since a find whose mark begins later than it seemed
/// to. What has been received is looked at 0.12 s later, so a mark is reported 2 s after it begins, however strong it is:
/// by then `watermark-time` is right to 5 ms in 95 of 100 cases on clean audio and to 17 ms in a room (6 m, 0.4 s).
/// After 0.5 s, when most marks have been found, it is 11 and 23 ms.
const AWAITED: f64 = 1.88;

/// Seconds of evidence without which `present` says nothing: after a move there is none at first.
const LEAST_EVIDENCE: f64 = 0.4;

/// Slots nearer than this to the edge of a row have something of both rows, in seconds.
const EDGE: f64 = 0.04;

/// What is marked still correlates with what follows the end of the mark for this long, in seconds.
const TRAILS: f64 = 0.08;

/// Judges one stream of slots.
pub struct Judge {
    /// Which of the detector's keys this is.
    key_index: usize,
    interval: f64,
    row_clock: RowClock,
    clock: LocalClock,
    signs: Signs,
    search: Search,
    /// If there are too many rows to search them side by side.
    sweep: Option<Sweep>,
    tracker: Tracker,
    tracked: Option<Tracked>,
    /// A find whose beginning is yet to be looked for; it is reported then, unless the mark has only moved.
    pending: Option<Find>,
    /// Where the marked stretch begins, in seconds.
    begins: f64,
    /// Position of that in the rows, in seconds behind the first row of the clock, and by how much it may be off.
    begins_at: (f64, f64),
    searching: bool,
    last_report: f64,
    /// The payload that was reported last.
    reported: Option<Payload>,
    found: u64,
    highest: f64,
}

#[derive(Clone, Copy)]
struct Find {
    score: f64,
    log10_p: f64,
    window: f64,
    seconds: f64,
    /// The mark was present already, elsewhere.
    moved: bool,
}

impl Judge {
    /// Rows that are searched side by side: all of them, or a tile.
    pub fn rows_side_by_side(config: &DetectorConfig) -> usize {
        match KeyRows::around(config.row_clock, config.clock_tolerance) {
            (searched, _) if searched > SIDE_BY_SIDE => TILE,
            (searched, _) => searched,
        }
    }

    /// So many slots before the latest a find may lie.
    pub fn goes_back(config: &DetectorConfig) -> usize {
        match KeyRows::around(config.row_clock, config.clock_tolerance) {
            (searched, _) if searched > SIDE_BY_SIDE => sweep::BACK,
            _ => 0,
        }
    }

    /// For what `heard` hears. A search over a long clock tolerance is given up while `interrupt` is set.
    pub fn new(
        config: &DetectorConfig,
        keys: &[Key],
        key_index: usize,
        heard: &Heard,
        interrupt: &Arc<AtomicBool>,
    ) -> Option<Self> {
        let key = keys.get(key_index)?;
        let (searched, ahead) = KeyRows::around(config.row_clock, config.clock_tolerance);
        let speeds = heard.maps.len();
        let side_by_side = Self::rows_side_by_side(config);
        let sweep = (searched > side_by_side)
            .then(|| Sweep::new(searched, ahead, speeds, interrupt.clone()));
        let rows = KeyRows::new(key.signs(), config.row_clock, side_by_side, ahead);
        wipe_stack();
        let thresholds = Thresholds::new(
            keys.len(),
            searched.next_multiple_of(side_by_side),
            speeds,
            speeds / 2,
            config.false_alarms_per_hour,
        );
        let tracker = Tracker::new(key, config.row_clock);
        wipe_stack();
        Some(Judge {
            key_index,
            interval: config.interval,
            row_clock: config.row_clock,
            clock: LocalClock { first_row: 0 },
            signs: key.signs(),
            search: Search::new(rows, speeds, thresholds),
            sweep,
            tracker,
            tracked: None,
            pending: None,
            begins: 0.0,
            begins_at: (0.0, 0.0),
            searching: true,
            last_report: 0.0,
            reported: None,
            found: 0,
            highest: 0.0,
        })
    }

    /// Forgets all audio. The next frame is at `nanoseconds` of the detector's own clock.
    pub fn reset(&mut self, nanoseconds: u64) {
        self.clock.first_row = match self.row_clock {
            RowClock::Stream => 0,
            RowClock::Utc => (nanoseconds / ROW_NANOSECONDS) as i64,
        };
        self.search.reset(self.clock);
        if let Some(sweep) = &mut self.sweep {
            sweep.reset(self.clock);
        }
        self.tracker.reset();
        self.tracked = None;
        self.pending = None;
        self.searching = true;
        self.last_report = 0.0;
        self.reported = None;
        self.highest = 0.0;
    }

    /// Seconds between two reports that the mark is still present.
    pub fn set_interval(&mut self, seconds: f64) {
        self.interval = seconds;
    }

    /// Whether the mark is there now, as reported.
    pub fn is_present(&self) -> bool {
        self.tracked.is_some() && self.pending.is_none_or(|find| find.moved)
    }

    /// Whether the mark is followed, with a score of the latest 2 s of at least `score`, and nothing is in doubt.
    pub fn is_sure(&self, score: f64) -> bool {
        let tracked = self
            .tracked
            .filter(|_| self.pending.is_none() && !self.searching);
        tracked.is_some_and(|tracked| tracked.score >= score)
    }

    /// Score of the latest 2 s of the mark while it is there, else the highest of the hypotheses that were
    /// looked at.
    pub fn score(&self) -> f64 {
        self.tracked
            .map_or(self.search.highest(), |tracked| tracked.score)
    }

    /// Highest score since the last reset.
    pub fn highest(&self) -> f64 {
        self.highest.max(self.search.highest())
    }

    /// Times that the mark was found.
    pub fn found(&self) -> u64 {
        self.found
    }

    /// Messages that were given to the decoder.
    pub fn payload_tries(&self) -> u64 {
        self.tracker.payload_tries()
    }

    /// From scores to alarms.
    pub fn thresholds(&self) -> &Thresholds {
        self.search.thresholds()
    }

    /// Takes the latest slot and reports what it reveals.
    pub fn take(
        &mut self,
        heard: &mut Heard,
        work: &mut Workspace,
        report: &mut dyn FnMut(&Detection),
    ) {
        self.judge(heard, work, report);
        self.catch_up(heard, work, report);
    }

    fn judge(
        &mut self,
        heard: &mut Heard,
        work: &mut Workspace,
        report: &mut dyn FnMut(&Detection),
    ) {
        if self.tracked.is_some() {
            let tracked = self.tracker.push(heard, self.clock);
            self.highest = self.highest.max(tracked.score);
            self.tracked = Some(tracked);
            if tracked.gone {
                self.lose(heard, report);
            }
            self.search_while(tracked.doubtful);
        }
        if self.searching
            && let Some(found) = self.search(heard, work)
        {
            self.follow(found, heard, report);
        }
        self.announce(false, heard, report);
        match self.tracked {
            Some(tracked)
                if self.is_present()
                    && tracked.seconds >= LEAST_EVIDENCE
                    && self.is_time_for_present(&tracked, heard.now) =>
            {
                self.report_present(&tracked, heard, report);
            }
            _ => (),
        }
    }

    /// Once an interval, and when the payload is another one.
    fn is_time_for_present(&self, tracked: &Tracked, seconds: f64) -> bool {
        seconds - self.last_report >= self.interval - 0.5 * SLOT
            || tracked.payload.is_some() && tracked.payload != self.reported
    }

    fn report_present(
        &mut self,
        tracked: &Tracked,
        heard: &Heard,
        report: &mut dyn FnMut(&Detection),
    ) {
        self.last_report = heard.now;
        self.reported = tracked.payload;
        report(&self.present(tracked, heard));
    }

    /// Tests what the latest slot left untested, and reports what was kept back in order to know more.
    pub fn finish(
        &mut self,
        heard: &mut Heard,
        work: &mut Workspace,
        report: &mut dyn FnMut(&Detection),
    ) {
        while self.searching
            && let Some(found) = self.search_rest(heard, work)
        {
            self.follow(found, heard, report);
            self.catch_up(heard, work, report);
        }
        self.announce(true, heard, report);
        if self.is_present() && self.tracker.read_row() {
            let tracked = self.tracker.tracked(&heard.maps);
            self.tracked = Some(tracked);
            if tracked.payload.is_some() && tracked.payload != self.reported {
                self.report_present(&tracked, heard, report);
            }
        }
    }

    /// Reports that the mark is no longer there, if it was.
    pub fn lose(&mut self, heard: &mut Heard, report: &mut dyn FnMut(&Detection)) {
        self.announce(true, heard, report);
        if let Some(tracked) = self.tracked.take() {
            self.reported = None;
            report(&self.lost(&tracked, heard));
        }
    }

    /// Starts the search afresh, or stops it.
    fn search_while(&mut self, wanted: bool) {
        if wanted && !self.searching {
            self.search_afresh();
        }
        self.searching = wanted;
    }

    /// Lets the search forget what it has heard.
    fn search_afresh(&mut self) {
        self.highest = self.highest.max(self.search.highest());
        self.search.forget();
        if let Some(sweep) = &mut self.sweep {
            sweep.forget();
        }
    }

    /// Follows what the search has found with the latest slot.
    fn follow(&mut self, found: Candidate, heard: &mut Heard, report: &mut dyn FnMut(&Detection)) {
        let (seconds, clock) = (heard.now, self.clock);
        self.highest = self.highest.max(found.score);
        let (tracker, search) = (&mut self.tracker, &mut self.search);
        if self.tracked.is_some() && tracker.follows(&found, search, &heard.maps, clock, seconds) {
            tracker.confirm(&found, search);
            // What has been counted once must not confirm again.
            self.search_afresh();
            return;
        }
        // What was found before and waits to be reported is elsewhere.
        self.announce(true, heard, report);
        let (tracker, search, maps) = (&mut self.tracker, &mut self.search, &heard.maps);
        let history = match &self.sweep {
            None => heard.kept_rows(),
            Some(sweep) => sweep.history(),
        };
        tracker.acquire(&found, search, history, maps, clock, seconds);
        // What has been kept is followed now, and not searched again.
        if let Some(sweep) = &mut self.sweep {
            sweep.forget();
        }
        let window = self.search.seconds(&found);
        self.pending = Some(Find {
            score: found.score,
            log10_p: found.log10_alarms,
            window,
            seconds,
            // A jump within marked programme is not a new mark: the next report names the new position.
            moved: self.is_present(),
        });
        self.tracked = Some(self.tracker.tracked(maps));
        self.searching = false;
    }

    /// Finds out where the mark that was found begins and reports it, as soon as there is enough of it.
    fn announce(&mut self, now: bool, heard: &mut Heard, report: &mut dyn FnMut(&Detection)) {
        let (Some(find), Some(tracked)) = (self.pending, self.tracked) else {
            return;
        };
        let seconds = heard.now;
        let end = seconds + 0.5 * SLOT;
        let begins = self.beginning(&tracked, heard);
        if !now && (end - begins.seconds).max(seconds - find.seconds) < AWAITED {
            return;
        }
        self.pending = None;
        self.tracker.move_by(begins.shift, &heard.maps, seconds);
        self.tracker.read_again(heard, self.clock);
        if now {
            self.tracker.read_row();
        }
        self.tracker.set_time(heard, begins.seconds, self.clock);
        let tracked = self.tracker.tracked(&heard.maps);
        self.tracked = Some(tracked);
        self.begins = if begins.earlier {
            begins.seconds.min(find.seconds + 0.5 * SLOT - find.window)
        } else {
            begins.seconds
        }
        .max(0.0);
        self.begins_at = (self.position(&tracked, heard, self.begins), tracked.error);
        if !find.moved {
            self.found += 1;
            self.last_report = seconds;
            self.reported = tracked.payload;
            let mut found =
                self.detection(DetectionState::Found, &tracked, heard, self.begins, end);
            // The latest 2 s are a window that the search would have looked at next, but for the parts of rows at both
            // ends, so `log10_p` says of their score what it says of the find's.
            if find.log10_p < found.log10_p {
                found.score = find.score;
                found.log10_p = find.log10_p;
                found.window = find.window;
            }
            report(&found);
        }
    }

    fn beginning(&mut self, tracked: &Tracked, heard: &mut Heard) -> Beginning {
        let map = &heard.maps[tracked.speed];
        let (signs, row_clock, clock) = (&mut self.signs, self.row_clock, self.clock);
        heard.recent.beginning(map, |seconds, shift| {
            let place = tracked.place + shift;
            let row = |seconds| rows_at(clock, row_clock, seconds, map.speed, place).1;
            let mut of_row = [0.0; CHIPS];
            signs.row(row(seconds - EDGE), &mut of_row);
            if row(seconds - EDGE) != row(seconds + EDGE) {
                let mut of_next = [0.0; CHIPS];
                signs.row(row(seconds + EDGE), &mut of_next);
                mix(&mut of_row, &of_next);
            }
            if tracked.pilots == Pilots::Even {
                silence_odd(&mut of_row);
            }
            of_row
        })
    }

    /// The latest 2 s, whatever they say.
    fn present(&self, tracked: &Tracked, heard: &Heard) -> Detection {
        let end = heard.now + 0.5 * SLOT;
        let start = end - tracked.seconds;
        self.detection(DetectionState::Present, tracked, heard, start, end)
    }

    /// The stretch in which the mark was there, and the score of the latest 2 s.
    fn lost(&self, tracked: &Tracked, heard: &Heard) -> Detection {
        let end = match self.tracker.slots_since_end() {
            // The audio breaks off, not the mark.
            0 => heard.now + 0.5 * SLOT,
            slots => heard.now - slots as f64 * SLOT - TRAILS,
        };
        self.detection(
            DetectionState::Lost,
            tracked,
            heard,
            self.begins,
            end.max(self.begins),
        )
    }

    /// Position in the rows at `seconds`, in seconds behind the first row of the clock.
    fn position(&self, tracked: &Tracked, heard: &Heard, seconds: f64) -> f64 {
        tracked.position - (heard.now - seconds) * tracked.playing
    }

    /// A report about what lies between two moments, in seconds.
    fn detection(
        &self,
        state: DetectionState,
        tracked: &Tracked,
        heard: &Heard,
        start: f64,
        end: f64,
    ) -> Detection {
        let start = start.max(0.0);
        // The last window reaches beyond the audio.
        let end = end.min(heard.frames as f64 / heard.rate).max(start);
        let (position, error) = if state == DetectionState::Lost {
            // Minutes later, a small error of the speed would count.
            self.begins_at
        } else {
            (self.position(tracked, heard, start), tracked.error)
        };
        let first_row = self.clock.first_row;
        Detection {
            state,
            key_index: self.key_index,
            payload: tracked.payload,
            score: tracked.score,
            log10_p: self.thresholds().log10_alarms(
                tracked.score,
                tracked.speed,
                tracked.pilots,
                LATEST,
            ),
            window: tracked.seconds,
            speed: tracked.playing * heard.speed,
            start: (start * heard.rate) as u64,
            end: (end * heard.rate) as u64,
            watermark_time: (position + first_row as f64 * ROW % CYCLE).rem_euclid(CYCLE),
            watermark_time_error: Some(error),
            broadcast_time: (self.row_clock == RowClock::Utc)
                .then(|| unix_time(first_row, position)),
        }
    }
}

/// What is expected of a slot that lies on the edge of two rows: the signs that these have in common, as strong as one
/// row.
fn mix(signs: &mut [f32; CHIPS], next: &[f32; CHIPS]) {
    for (sign, next) in signs.iter_mut().zip(next) {
        *sign = 0.5 * (*sign + next);
    }
    let common = signs.iter().map(|s| s * s).sum::<f32>();
    let size = (CHIPS as f32 / common.max(1.0)).sqrt();
    signs.iter_mut().for_each(|sign| *sign *= size);
}

/// Unix time (ns), some seconds behind the start of a row.
fn unix_time(row: i64, seconds: f64) -> u64 {
    let row = row.saturating_mul(ROW_NANOSECONDS as i64);
    row.saturating_add((seconds * 1e9).round() as i64).max(0) as u64
}
