// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the mark was found, the next row is known: follow it, and notice when it is gone.
//!
//! Nine hypotheses remain, three speeds by three positions 40 ms apart. They keep the evidence that the
//! search had for them in the latest 2 s, so little is lost at the hand-over, and they follow a slow drift.
//!
//! Whether the mark is still there follows from the scores of the rows; see [`Presence`].

use super::candidate::{Candidate, LocalClock, Pilots};
use super::correlation::{SLOT, SLOTS_PER_ROW};
use super::followed::Followed;
use super::format::{CHIPS, ROW, ROWS, RowClock};
use super::heard::Heard;
use super::key::{Key, Signs};
use super::payload::Payload;
use super::places::{neighbour_speed, neighbours, row_of_key, rows_at, slip};
use super::presence::Presence;
use super::reader::{Reader, silence_odd};
use super::row_history::RowHistory;
use super::search::Search;
use super::sounding::Sounding;
use super::speeds::SpeedMap;
use super::stretch::RecentScores;
use super::timing::Timing;

/// How much better a neighbour must be before it is followed, as a factor and as a difference.
const BETTER: f32 = 1.05;
const BETTER_BY: f32 = 0.5;
/// Seconds by which the time that is kept may be off the best hypothesis, which is right to about 25 ms.
const OFF: f64 = 0.06;

/// Hypotheses, and the one in the middle.
const NEIGHBOURS: usize = 9;
const CENTRE: usize = 4;

/// One hypothesis that is followed.
struct Lane {
    speed: usize,
    /// Position of the key against the local rows, in slots.
    place: i64,
    evidence: Followed,
}

/// Follows one mark.
pub struct Tracker {
    signs: Signs,
    row_clock: RowClock,
    lanes: Vec<Lane>,
    spare: Vec<Lane>,
    /// The best was the best before its present row began.
    settled: bool,
    presence: Presence,
    /// When presence was judged by a row for the last time, in seconds.
    judged: f64,
    /// Sum of the loudness of the slots since the best ended a row, and their number.
    loudness: (f64, f64),
    /// Scores of the slots of the best.
    scores: RecentScores,
    timing: Timing,
    /// Chips of the latest slot at one speed, those that count.
    chips: [f32; CHIPS],
    reader: Reader,
    /// A row of the key that the latest slot is compared with, and what its chips are expected to be: most hypotheses
    /// have the same.
    expected: (Option<u64>, [f32; CHIPS]),
    /// The row under way of the best: its chips, all of them, and its number in the key.
    row: Option<(u64, [f32; CHIPS])>,
}

/// What the tracker knows after a slot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tracked {
    /// Score of the latest 2 s, and the seconds of evidence in it.
    pub score: f64,
    pub seconds: f64,
    /// Index of the speed.
    pub speed: usize,
    /// Playing speed, between those that are searched.
    pub playing: f64,
    /// Position of the key against the local rows, in slots, at the speed that is searched.
    pub place: i64,
    /// Position in the rows at the middle of the latest slot, in seconds behind the first row of the clock.
    pub position: f64,
    /// Seconds by which that is off at most, in 95 of 100 cases.
    pub error: f64,
    /// The mark is no longer there.
    pub gone: bool,
    /// The mark may no longer be there, or elsewhere.
    pub doubtful: bool,
    /// Which chips are pilots, and what the others say, once it has been read.
    pub pilots: Pilots,
    pub payload: Option<Payload>,
}

impl Tracker {
    /// A tracker that follows nothing yet.
    pub fn new(key: &Key, row_clock: RowClock) -> Self {
        let lanes = || {
            (0..NEIGHBOURS)
                .map(|_| Lane {
                    speed: 0,
                    place: 0,
                    evidence: Followed::NONE,
                })
                .collect()
        };
        Tracker {
            signs: key.signs(),
            row_clock,
            lanes: lanes(),
            spare: lanes(),
            settled: false,
            presence: Presence::new(1.0),
            judged: f64::NEG_INFINITY,
            loudness: (0.0, 0.0),
            scores: RecentScores::new(),
            timing: Timing::new(),
            chips: [0.0; CHIPS],
            reader: Reader::new(key),
            expected: (None, [0.0; CHIPS]),
            row: None,
        }
    }

    /// Starts to follow what `search` has just found with the slot at `seconds`, the latest of `history`.
    pub fn acquire(
        &mut self,
        found: &Candidate,
        search: &Search,
        history: &RowHistory,
        maps: &[SpeedMap],
        clock: LocalClock,
        seconds: f64,
    ) {
        let local = clock.row(seconds, maps[found.speed].speed, found.alignment);
        let rows = search.rows();
        let delta = rows.row_of_key(local, found.offset) as i64 - local;
        let place = delta * SLOTS_PER_ROW as i64 + found.alignment as i64;
        let slots = (rows.len() * SLOTS_PER_ROW) as i64;
        let found_at = (found.offset * SLOTS_PER_ROW + found.alignment) as i64;
        for (lane, (step, shift)) in self.lanes.iter_mut().zip(neighbours()) {
            lane.speed = neighbour_speed(found.speed, step, maps.len());
            let shift = shift + slip(maps, found.speed, lane.speed, seconds);
            lane.place = place + shift;
            let at = (found_at + shift).rem_euclid(slots) as usize;
            let (alignment, offset) = (at % SLOTS_PER_ROW, at / SLOTS_PER_ROW);
            let at = (lane.speed, alignment);
            let before = search.before(at, found.pilots, offset, history);
            let alignment = search.alignment(lane.speed, alignment);
            // The search adds a row to the evidence only when it ends: of the latest, this is what there is so far.
            search.latest_row(at, history, &mut self.chips);
            if found.pilots == Pilots::Even {
                silence_odd(&mut self.chips);
            }
            let row = rows.row_of_key(alignment.row().unwrap_or(local), offset);
            let product = correlate(&mut self.signs, row, &self.chips);
            let slots = search.slots();
            lane.evidence
                .take(&before, alignment, slots, &self.chips, product);
        }
        self.settled = false;
        self.loudness = (0.0, 0.0);
        self.scores.reset();
        self.reader.reset(found.pilots);
        self.row = None;
        self.timing
            .restart(seconds, self.position_of_place(maps, seconds));
        self.presence
            .find_again(strength(found, search), seconds - self.judged);
    }

    /// Forgets what was learned of the programme.
    pub fn reset(&mut self) {
        self.presence = Presence::new(1.0);
        self.judged = f64::NEG_INFINITY;
    }

    /// Reads what the slots that are kept say at the place that is followed now.
    pub fn read_again(&mut self, heard: &mut Heard, clock: LocalClock) {
        self.reader.reset(self.reader.pilots());
        self.row = None;
        let Lane { speed, place, .. } = self.lanes[CENTRE];
        let map = &heard.maps[speed];
        for slot in heard.recent.since(f64::NEG_INFINITY) {
            let mut chips = [0.0; CHIPS];
            slot.chips(map, &mut chips);
            let (_, row) = rows_at(clock, self.row_clock, slot.moment.seconds, map.speed, place);
            self.read_slot(row, &chips);
        }
    }

    /// Adds a slot to the row under way, or ends that and begins the next. Returns whether something else is believed
    /// about the odd chips now.
    fn read_slot(&mut self, row: u64, chips: &[f32; CHIPS]) -> bool {
        let mut changed = false;
        if self.row.is_some_and(|(number, _)| number != row) {
            changed = self.read_row();
        }
        let (_, sums) = self.row.get_or_insert((row, [0.0; CHIPS]));
        sums.iter_mut().zip(chips).for_each(|(sum, b)| *sum += b);
        changed
    }

    /// Lets the reader have the row under way.
    pub fn read_row(&mut self) -> bool {
        let Some((row, chips)) = self.row.take() else {
            return false;
        };
        let mut signs = [0.0; CHIPS];
        self.signs.row(row, &mut signs);
        self.reader.take(row, &chips, &signs)
    }

    /// Takes note that the search has just found the mark that is followed.
    pub fn confirm(&mut self, found: &Candidate, search: &Search) {
        self.presence.confirm(strength(found, search));
    }

    /// Moves all hypotheses by `shift` slots.
    pub fn move_by(&mut self, shift: i64, maps: &[SpeedMap], seconds: f64) {
        if shift != 0 {
            let Lane { speed, place, .. } = self.lanes[CENTRE];
            self.follow(speed, place + shift, maps, seconds);
            self.settled = false;
            self.scores.reset();
        }
    }

    /// Adds the latest slot.
    pub fn push(&mut self, heard: &mut Heard, clock: LocalClock) -> Tracked {
        let seconds = heard.now;
        let mut ended = None;
        self.expected.0 = None;
        self.timing.advance(seconds, self.playing(&heard.maps));
        for lane in 0..self.lanes.len() {
            // Lanes of one speed stand together, so their chips are made once.
            let Lane { speed, .. } = self.lanes[lane];
            let before = lane.checked_sub(1).map(|lane| &self.lanes[lane]);
            if before.is_none_or(|before| before.speed != speed) {
                self.chips.copy_from_slice(heard.chips(speed));
                if !self.reader.odd_chips_count() {
                    silence_odd(&mut self.chips);
                }
            }
            let row_score = self.push_lane(lane, heard, clock);
            if lane == CENTRE {
                ended = row_score;
            }
        }
        if let Some(score) = ended {
            self.end_row(score, &heard.maps, seconds);
        }
        self.loudness.0 += heard.loudness;
        self.loudness.1 += 1.0;
        let place = self.position_of_place(&heard.maps, seconds);
        let off = (self.timing.position() - place).abs();
        if off > OFF || off.is_nan() {
            self.timing.restart(seconds, place);
        }
        self.read(heard, clock);
        self.tracked(&heard.maps)
    }

    /// Reads the latest slot at the place of the best.
    fn read(&mut self, heard: &mut Heard, clock: LocalClock) {
        let Lane { speed, place, .. } = self.lanes[CENTRE];
        let map_speed = heard.maps[speed].speed;
        let (_, row) = rows_at(clock, self.row_clock, heard.now, map_speed, place);
        let mut chips = [0.0; CHIPS];
        chips.copy_from_slice(heard.chips(speed));
        if self.read_slot(row, &chips) {
            // What counts in a row that has begun is not what counted at its beginning.
            self.settled = false;
        }
    }

    /// Judges the row that the best hypothesis has just ended, and chooses again.
    ///
    /// The best of many looks like a mark wherever there is none. So a row counts only if its hypothesis
    /// was chosen before the row began: then the score has mean 0 without a mark.
    fn end_row(&mut self, score: f64, maps: &[SpeedMap], seconds: f64) {
        let (loudness, slots) = std::mem::take(&mut self.loudness);
        if self.settled {
            self.presence.take(score, loudness / slots.max(1.0));
            self.judged = seconds;
            self.settled = !self.choose(maps, seconds);
        } else {
            self.settled = true;
        }
        self.close_up(maps, seconds);
    }

    /// Adds a slot to one hypothesis; returns the score of the row that this ends.
    fn push_lane(&mut self, lane: usize, heard: &Heard, clock: LocalClock) -> Option<f64> {
        let (seconds, maps) = (heard.now, &heard.maps);
        let Lane {
            speed,
            place,
            evidence,
            ..
        } = &mut self.lanes[lane];
        let (local, row) = rows_at(clock, self.row_clock, seconds, maps[*speed].speed, *place);
        let row_score = evidence.enter_row(local);
        if self.expected.0 != Some(row) {
            self.expected.0 = Some(row);
            self.signs.row(row, &mut self.expected.1);
            self.reader.expect(row, &mut self.expected.1);
        }
        let signs = self.expected.1;
        let product = self.chips.iter().zip(signs).map(|(b, s)| b * s).sum();
        evidence.add(&self.chips, product);
        if lane == CENTRE {
            self.scores.push(&self.chips, product);
            if !self.presence.is_unseen() {
                self.keep_time(&heard.sounding, clock);
            }
        }
        row_score
    }

    /// Lets the chips of the latest slot tell how late it is.
    fn keep_time(&mut self, sounding: &Sounding, clock: LocalClock) {
        let (signs, reader, row_clock) = (&mut self.signs, &mut self.reader, self.row_clock);
        self.timing.push(&self.chips, sounding, |row, of_row| {
            let row = row_of_key(row_clock, clock.first_row + row);
            signs.row(row, of_row);
            reader.expect(row, of_row);
        });
    }

    /// Finds out how late it is now, from all that is kept since `begins`.
    pub fn set_time(&mut self, heard: &Heard, begins: f64, clock: LocalClock) {
        let (seconds, maps) = (heard.now, &heard.maps);
        let (speed, playing) = (self.lanes[CENTRE].speed, self.playing(maps));
        // The second time, the shift that fits best is known from the first slot on.
        let mut position = self.position_of_place(maps, seconds);
        for _ in 0..2 {
            self.timing
                .restart(begins, position - (seconds - begins) * playing);
            for slot in heard.recent.since(begins) {
                slot.chips(&maps[speed], &mut self.chips);
                if !self.reader.odd_chips_count() {
                    silence_odd(&mut self.chips);
                }
                self.timing.advance(slot.moment.seconds, playing);
                self.keep_time(&slot.moment.sounding, clock);
            }
            self.timing.advance(seconds, playing);
            self.timing.settle();
            position = self.timing.position();
        }
    }

    /// Messages that were given to the decoder.
    pub fn payload_tries(&self) -> u64 {
        self.reader.tries()
    }

    /// Slots since the mark ended.
    pub fn slots_since_end(&self) -> usize {
        self.scores.slots_since_end()
    }

    /// Follows the best of the hypotheses and keeps it in the middle. Returns whether it is another one.
    fn choose(&mut self, maps: &[SpeedMap], seconds: f64) -> bool {
        // Where nothing shows the mark, the best of many is the best by chance.
        if self.presence.is_unseen() {
            return false;
        }
        let score = |lane: &Lane| lane.evidence.compared();
        let now = score(&self.lanes[CENTRE]);
        let (best, most) = self.lanes.iter().map(score).enumerate().fold(
            (CENTRE, (now * BETTER).max(now + BETTER_BY)),
            |(best, most), (i, score)| {
                if score > most {
                    (i, score)
                } else {
                    (best, most)
                }
            },
        );
        if best == CENTRE || most <= 0.0 {
            return false;
        }
        let Lane { speed, place, .. } = self.lanes[best];
        self.follow(speed, place, maps, seconds);
        true
    }

    /// Puts a hypothesis and its neighbours in the place of those that are there; what is known of them stays.
    fn follow(&mut self, speed: usize, place: i64, maps: &[SpeedMap], seconds: f64) {
        for (new, (step, shift)) in self.spare.iter_mut().zip(neighbours()) {
            new.speed = neighbour_speed(speed, step, maps.len());
            new.place = place + shift + slip(maps, speed, new.speed, seconds);
            match self
                .lanes
                .iter()
                .find(|old| (old.speed, old.place) == (new.speed, new.place))
            {
                Some(old) => new.evidence.clone_from(&old.evidence),
                None => new.evidence = Followed::NONE,
            }
        }
        std::mem::swap(&mut self.lanes, &mut self.spare);
    }

    /// Keeps hypotheses of other speeds at the place of the best: played at another speed from the start
    /// on, the programme would by now be elsewhere, but what is asked is the speed now.
    fn close_up(&mut self, maps: &[SpeedMap], seconds: f64) {
        let (speed, place) = (self.lanes[CENTRE].speed, self.lanes[CENTRE].place);
        for (lane, (_, shift)) in self.lanes.iter_mut().zip(neighbours()) {
            lane.place = place + shift + slip(maps, speed, lane.speed, seconds);
        }
    }

    /// What is known about the mark that is followed.
    pub fn tracked(&self, maps: &[SpeedMap]) -> Tracked {
        let Lane {
            speed,
            place,
            ref evidence,
        } = self.lanes[CENTRE];
        Tracked {
            score: evidence.latest() as f64,
            seconds: evidence.seconds(),
            speed,
            playing: self.playing(maps),
            place,
            position: self.timing.position(),
            error: self.timing.error(),
            gone: self.presence.is_gone(),
            doubtful: self.presence.is_unseen(),
            pilots: self.reader.pilots(),
            payload: self.reader.payload(),
        }
    }

    /// The speed at which the programme plays, between those that are searched.
    fn playing(&self, maps: &[SpeedMap]) -> f64 {
        let speed = self.lanes[CENTRE].speed;
        let step = if speed == 0 || speed + 1 == maps.len() {
            0.0
        } else {
            self.peak(3) * 0.5 * (maps[speed + 1].speed - maps[speed - 1].speed)
        };
        maps[speed].speed + step
    }

    /// Position in the rows at the middle of the slot at `seconds`, as far as the scores of the hypotheses tell.
    fn position_of_place(&self, maps: &[SpeedMap], seconds: f64) -> f64 {
        let Lane { speed, place, .. } = self.lanes[CENTRE];
        // Places count whole slots, at the speed that is searched; the slot under way is anywhere in one.
        let slot = (seconds * maps[speed].speed / SLOT).floor() + 0.5;
        (slot + place as f64 + self.peak(1)) * SLOT
    }

    /// Where the score is highest between the best hypothesis and those `apart` in front of it and behind it: -0.5
    /// to 0.5, by a parabola through the three.
    fn peak(&self, apart: usize) -> f64 {
        let score = |lane: usize| self.lanes[lane].evidence.compared() as f64;
        let (before, here, after) = (score(CENTRE - apart), score(CENTRE), score(CENTRE + apart));
        let bend = 2.0 * here - before - after;
        if bend > 0.1 * here.max(1.0) {
            (0.5 * (after - before) / bend).clamp(-0.5, 0.5)
        } else {
            0.0
        }
    }

    /// Whether a candidate of the search is what is being followed.
    pub fn follows(
        &self,
        found: &Candidate,
        search: &Search,
        maps: &[SpeedMap],
        clock: LocalClock,
        seconds: f64,
    ) -> bool {
        let local = clock.row(seconds, maps[found.speed].speed, found.alignment);
        let rows = search.rows();
        let delta = rows.row_of_key(local, found.offset) as i64 - local;
        let place = delta * SLOTS_PER_ROW as i64 + found.alignment as i64;
        let cycle = match self.row_clock {
            RowClock::Stream => (ROWS * SLOTS_PER_ROW) as i64,
            RowClock::Utc => i64::MAX,
        };
        let best = &self.lanes[CENTRE];
        let expected = best.place + slip(maps, best.speed, found.speed, seconds);
        let distance = (place - expected).rem_euclid(cycle);
        distance.min(cycle - distance) <= 1
    }
}

/// Mean score of a row of what was found.
fn strength(found: &Candidate, search: &Search) -> f64 {
    let rows = search.seconds(found) / ROW;
    found.score / rows.max(1.0).sqrt()
}

/// Sum of the chips times the signs of a row of the key.
fn correlate(signs: &mut Signs, row: u64, chips: &[f32; CHIPS]) -> f32 {
    let mut of_row = [0.0; CHIPS];
    signs.row(row, &mut of_row);
    chips.iter().zip(of_row).map(|(b, s)| b * s).sum()
}
