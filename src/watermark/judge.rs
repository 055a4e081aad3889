// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happens to a slot once it is there: search, follow, report.

use super::correlation::{Correlator, SLOT, Slot, SpeedMap};
use super::detector::{Detection, DetectionState, DetectorConfig, DetectorStats};
use super::format::{CHIPS, CYCLE, ROW, ROW_NANOSECONDS, RowClock};
use super::key::{Key, Signs};
use super::search::{Candidate, LocalClock, Search};
use super::speeds::speed_maps;
use super::stretch::{Beginning, RecentSlots};
use super::tracker::{Tracked, Tracker, rows_at};

/// Seconds of the mark that are awaited after a find, at most this long, before it is reported: less does not
/// tell well enough where the mark begins, and where in the marked programme that is.
const AWAITED: f64 = 0.5;

/// The same of what has been received already, but not been looked at: at the start of a stream the weighting learns
/// first. To look at it takes a tenth of a second, and the spread of the watermark's time falls from 12 to 8 ms.
const AT_HAND: f64 = 1.0;
/// Seconds from what has been received to the middle of the latest slot when nothing is left to be looked at.
const USUALLY_BEHIND: f64 = 0.12;

/// Seconds of evidence without which `present` says nothing: after a move there is none at first.
const LEAST_EVIDENCE: f64 = 0.4;

/// What is marked still correlates with what follows the end of the mark for this long, in seconds.
const TRAILS: f64 = 0.08;

/// Judges one stream of slots.
pub struct Judge {
    rate: f64,
    interval: f64,
    row_clock: RowClock,
    clock: LocalClock,
    /// One for each speed, the slowest first.
    maps: Vec<SpeedMap>,
    signs: Signs,
    search: Search,
    tracker: Tracker,
    recent: RecentSlots,
    tracked: Option<Tracked>,
    /// A find whose beginning is yet to be looked for; it is reported then, unless the mark has only moved.
    pending: Option<Find>,
    /// Where the marked stretch begins, in seconds.
    begins: f64,
    /// Position of that in the rows, in seconds behind the first row of the clock.
    begins_at: f64,
    /// Middle of the latest slot, in seconds.
    now: f64,
    searching: bool,
    last_report: f64,
    found: u64,
    highest: f64,
    frames: u64,
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
    /// For the slots of `correlator`.
    pub fn new(config: &DetectorConfig, key: &Key, correlator: &Correlator) -> Self {
        let deviation = config.max_speed_deviation / 100.0;
        let maps = speed_maps(deviation, config.sample_rate, correlator);
        let search = Search::new(
            key.signs(),
            config.row_clock,
            config.clock_tolerance,
            maps.len(),
            maps.len() / 2,
            config.false_alarms_per_hour,
        );
        Judge {
            rate: config.sample_rate as f64,
            interval: config.interval,
            row_clock: config.row_clock,
            clock: LocalClock { first_row: 0 },
            maps,
            signs: key.signs(),
            search,
            tracker: Tracker::new(key.signs(), config.row_clock),
            recent: RecentSlots::new(correlator.bins().1.len()),
            tracked: None,
            pending: None,
            begins: 0.0,
            begins_at: 0.0,
            now: 0.0,
            searching: true,
            last_report: 0.0,
            found: 0,
            highest: 0.0,
            frames: 0,
        }
    }

    /// Forgets all audio. The next frame is at `nanoseconds` of the detector's own clock.
    pub fn reset(&mut self, nanoseconds: u64) {
        self.clock.first_row = match self.row_clock {
            RowClock::Stream => 0,
            RowClock::Utc => (nanoseconds / ROW_NANOSECONDS) as i64,
        };
        self.search.reset(self.clock);
        self.recent.reset();
        self.tracked = None;
        self.pending = None;
        self.searching = true;
        self.last_report = 0.0;
        self.highest = 0.0;
        self.frames = 0;
        self.now = 0.0;
    }

    /// Counts input frames.
    pub fn advance(&mut self, frames: u64) {
        self.frames += frames;
    }

    /// Seconds between two reports that the mark is still present.
    pub fn set_interval(&mut self, seconds: f64) {
        self.interval = seconds;
    }

    /// Whether the mark is there now, as reported.
    pub fn is_present(&self) -> bool {
        self.tracked.is_some() && self.pending.is_none_or(|find| find.moved)
    }

    /// Score of the latest 2 s of the mark while it is there, else the highest of all hypotheses.
    pub fn score(&self) -> f64 {
        self.tracked
            .map_or(self.search.highest(), |tracked| tracked.score)
    }

    /// Figures about the work so far.
    pub fn stats(&self) -> DetectorStats {
        let Judge { search, maps, .. } = self;
        DetectorStats {
            frames: self.frames,
            hypotheses_per_hour: search.hypotheses_per_hour(),
            threshold: search.threshold(maps.len() / 2),
            speeds: maps.len(),
            highest_score: self.highest.max(search.highest()),
            found: self.found,
        }
    }

    /// Takes a slot and reports what it reveals.
    pub fn take(&mut self, slot: Slot, report: &mut dyn FnMut(&Detection)) {
        let seconds = slot.middle / self.rate;
        self.now = seconds;
        self.recent.push(seconds, slot.sums);
        if self.tracked.is_some() {
            let tracked = self
                .tracker
                .push(seconds, slot.sums, &self.maps, self.clock);
            self.highest = self.highest.max(tracked.score);
            self.tracked = Some(tracked);
            if tracked.gone {
                self.lose(report);
            }
            self.search_while(tracked.doubtful);
        }
        if self.searching
            && let Some(found) = self.search.push(seconds, slot.sums, &self.maps)
        {
            self.follow(found);
        }
        self.announce(false, report);
        match self.tracked {
            Some(tracked)
                if self.is_present()
                    && tracked.seconds >= LEAST_EVIDENCE
                    && seconds - self.last_report >= self.interval - 0.5 * SLOT =>
            {
                self.last_report = seconds;
                report(&self.present(&tracked));
            }
            _ => (),
        }
    }

    /// Tests what the latest slot left untested, and reports what was kept back in order to know more.
    pub fn finish(&mut self, report: &mut dyn FnMut(&Detection)) {
        if self.searching
            && let Some(found) = self.search.finish()
        {
            self.follow(found);
        }
        self.announce(true, report);
    }

    /// Reports that the mark is no longer there, if it was.
    pub fn lose(&mut self, report: &mut dyn FnMut(&Detection)) {
        self.announce(true, report);
        if let Some(tracked) = self.tracked.take() {
            report(&self.lost(&tracked));
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
    }

    /// Follows what the search has found with the latest slot.
    fn follow(&mut self, found: Candidate) {
        let seconds = self.now;
        self.highest = self.highest.max(found.score);
        let (maps, clock) = (&self.maps, self.clock);
        let (tracker, search) = (&mut self.tracker, &mut self.search);
        if self.tracked.is_some() && tracker.follows(&found, search, maps, clock, seconds) {
            tracker.confirm(&found, search);
            // What has been counted once must not confirm again.
            self.search_afresh();
            return;
        }
        tracker.acquire(&found, search, maps, clock, seconds);
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
    fn announce(&mut self, now: bool, report: &mut dyn FnMut(&Detection)) {
        let (Some(find), Some(tracked)) = (self.pending, self.tracked) else {
            return;
        };
        let begins = self.beginning(&tracked);
        let end = self.now + 0.5 * SLOT;
        let enough = end - begins.seconds >= AWAITED || self.now - find.seconds >= AWAITED;
        let at_hand =
            self.frames as f64 / self.rate - end > USUALLY_BEHIND && end - begins.seconds < AT_HAND;
        if !now && (!enough || at_hand) {
            return;
        }
        self.pending = None;
        let (maps, seconds) = (&self.maps, self.now);
        self.tracker.move_by(begins.shift, maps, seconds);
        let since = (begins.seconds, seconds);
        self.tracker.set_time(&self.recent, since, maps, self.clock);
        let tracked = self.tracker.tracked(maps);
        self.tracked = Some(tracked);
        self.begins = if begins.earlier {
            begins.seconds.min(find.seconds + 0.5 * SLOT - find.window)
        } else {
            begins.seconds
        }
        .max(0.0);
        self.begins_at = self.position(&tracked, self.begins);
        if !find.moved {
            self.found += 1;
            self.last_report = seconds;
            report(&Detection {
                score: find.score,
                log10_p: find.log10_p,
                window: find.window,
                ..self.detection(DetectionState::Found, &tracked, self.begins, end)
            });
        }
    }

    fn beginning(&mut self, tracked: &Tracked) -> Beginning {
        let map = &self.maps[tracked.speed];
        let (signs, row_clock, clock) = (&mut self.signs, self.row_clock, self.clock);
        self.recent.beginning(map, |seconds, shift| {
            let place = tracked.place + shift;
            let (_, row) = rows_at(clock, row_clock, seconds, map.speed, place);
            let mut of_row = [0.0; CHIPS];
            signs.row(row, &mut of_row);
            of_row
        })
    }

    /// The latest 2 s, whatever they say.
    fn present(&self, tracked: &Tracked) -> Detection {
        let end = self.now + 0.5 * SLOT;
        self.detection(DetectionState::Present, tracked, end - tracked.seconds, end)
    }

    /// The stretch in which the mark was there, and the score of the latest 2 s.
    fn lost(&self, tracked: &Tracked) -> Detection {
        let end = match self.tracker.slots_since_end() {
            // The audio breaks off, not the mark.
            0 => self.now + 0.5 * SLOT,
            slots => self.now - slots as f64 * SLOT - TRAILS,
        };
        self.detection(
            DetectionState::Lost,
            tracked,
            self.begins,
            end.max(self.begins),
        )
    }

    /// Position in the rows at `seconds`, in seconds behind the first row of the clock.
    fn position(&self, tracked: &Tracked, seconds: f64) -> f64 {
        tracked.position - (self.now - seconds) * tracked.playing
    }

    /// A report about what lies between two moments, in seconds.
    fn detection(
        &self,
        state: DetectionState,
        tracked: &Tracked,
        start: f64,
        end: f64,
    ) -> Detection {
        let start = start.max(0.0);
        // The last window reaches beyond the audio.
        let end = end.min(self.frames as f64 / self.rate).max(start);
        let position = if state == DetectionState::Lost {
            // Minutes later, a small error of the speed would count.
            self.begins_at
        } else {
            self.position(tracked, start)
        };
        let first = (self.clock.first_row as f64 * ROW) % CYCLE;
        Detection {
            state,
            score: tracked.score,
            log10_p: self.search.log10_alarms(tracked.score, tracked.speed),
            window: tracked.seconds,
            speed: tracked.playing,
            start: (start * self.rate) as u64,
            end: (end * self.rate) as u64,
            watermark_time: (first + position).rem_euclid(CYCLE),
        }
    }
}
