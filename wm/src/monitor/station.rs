// SPDX-License-Identifier: MIT OR Apache-2.0
//! The state of a station, and the events that follow from what happens to it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Display, Formatter};

use jiff::Timestamp;

use super::event::{Event, Kind, Mark, after};

/// So many events of a station are kept for the screen.
const HISTORY: usize = 200;

/// What happened to a stream.
#[derive(Clone, Debug)]
pub enum Report {
    Connecting,
    Playing,
    Detector(Said, Mark),
    /// It is no longer there; tried again in so many seconds.
    Stopped(String, Option<f64>),
    Failed(String, Option<f64>),
    Ended,
}

/// What the detector says: the states of its messages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Said {
    Found,
    Present,
    Lost,
}

/// What a station is doing.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub enum State {
    /// The mark is there.
    Marked,
    /// There is audio, and no mark in it.
    Playing,
    Connecting,
    /// Between two attempts, until then.
    Waiting(Timestamp),
    Failed,
    Ended,
}

/// A station as it is now.
#[derive(Clone, Debug)]
pub struct Station {
    pub name: String,
    pub address: String,
    pub state: State,
    /// When the state began.
    pub since: Timestamp,
    /// Processor time of its threads in percent of one processor; none where the system does not tell.
    pub cpu: Option<f64>,
    /// The latest events, newest last.
    pub events: VecDeque<Event>,
    /// Whether the mark was ever found.
    pub ever_found: bool,
    /// The marks that are there, by the index of their key.
    marks: BTreeMap<Option<u32>, Followed>,
}

/// A mark that is there.
#[derive(Clone, Debug)]
struct Followed {
    found: Mark,
    latest: Mark,
}

impl Followed {
    /// What is to be said of a mark that is over because the stream is: the stretch from where it was found to the end of
    /// the latest evidence.
    fn over(self) -> Mark {
        let Followed { found, latest } = self;
        let end = latest.stream_time.zip(latest.duration);
        let end = end.map(|(start, duration)| start + duration);
        let stretch = found.stream_time.zip(end);
        Mark {
            stream_time: found.stream_time,
            duration: stretch.map(|(start, end)| (end - start).max(0.0)),
            broadcast_time: found.broadcast_time,
            ..latest
        }
    }
}

impl Station {
    pub fn new(name: String, address: String, now: Timestamp) -> Self {
        Station {
            name,
            address,
            state: State::Connecting,
            since: now,
            cpu: None,
            events: VecDeque::new(),
            ever_found: false,
            marks: BTreeMap::new(),
        }
    }

    /// The strongest mark that is there.
    pub fn mark(&self) -> Option<&Mark> {
        let score = |mark: &&Mark| mark.score.unwrap_or_default();
        self.marks
            .values()
            .map(|followed| &followed.latest)
            .max_by(|a, b| score(a).total_cmp(&score(b)))
    }

    /// How many marks are there; more than one only with several keys.
    pub fn marks(&self) -> usize {
        self.marks.len()
    }

    /// Takes in what happened; returns the events that this makes.
    pub fn take(&mut self, report: Report, now: Timestamp) -> Vec<Event> {
        let mut events = Vec::new();
        match report {
            Report::Connecting => {
                self.enter(State::Connecting, now);
                events.push(self.event(Kind::Connecting, now));
            }
            Report::Playing => {
                self.enter(State::Playing, now);
                events.push(self.event(Kind::Playing, now));
            }
            Report::Detector(said, mark) => self.take_mark(said, mark, now, &mut events),
            Report::Stopped(reason, retry) => {
                self.close(Kind::Stopped, Some(reason), retry, now, &mut events);
            }
            Report::Failed(reason, retry) => {
                self.close(Kind::Error, Some(reason), retry, now, &mut events);
            }
            Report::Ended => self.close(Kind::Ended, None, None, now, &mut events),
        }
        for event in &events {
            self.remember(event.clone());
        }
        events
    }

    fn take_mark(&mut self, said: Said, mark: Mark, now: Timestamp, events: &mut Vec<Event>) {
        let index = mark.key_index;
        if said == Said::Lost {
            self.marks.remove(&index);
            events.push(self.mark_event(Kind::Lost, mark, now));
            if self.marks.is_empty() {
                self.enter(State::Playing, now);
            }
            return;
        }
        let before = self.marks.remove(&index);
        let old_payload = before
            .as_ref()
            .and_then(|before| before.latest.payload.clone());
        let found = match (said, before) {
            (Said::Present, Some(before)) => before.found,
            _ => mark.clone(),
        };
        let latest = mark.clone();
        self.marks.insert(index, Followed { found, latest });
        if said == Said::Found {
            self.ever_found = true;
            events.push(self.mark_event(Kind::Found, mark.clone(), now));
        }
        if mark.payload.is_some() && mark.payload != old_payload {
            events.push(self.mark_event(Kind::Payload, mark, now));
        }
        if self.state != State::Marked {
            self.enter(State::Marked, now);
        }
    }

    /// The stream is over, for now or for good. A mark that was there is lost with it.
    fn close(
        &mut self,
        kind: Kind,
        reason: Option<String>,
        retry: Option<f64>,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) {
        for followed in std::mem::take(&mut self.marks).into_values() {
            events.push(self.mark_event(Kind::Lost, followed.over(), now));
        }
        self.cpu = None;
        let state = match (retry, kind) {
            (Some(seconds), _) => State::Waiting(after(now, seconds)),
            (None, Kind::Ended) => State::Ended,
            (None, _) => State::Failed,
        };
        self.enter(state, now);
        let mut event = self.event(kind, now);
        event.reason = reason;
        event.retry_in = retry.map(|seconds| (seconds * 1000.0).round() / 1000.0);
        events.push(event);
    }

    fn enter(&mut self, state: State, now: Timestamp) {
        self.state = state;
        self.since = now;
    }

    fn event(&self, event: Kind, time: Timestamp) -> Event {
        Event {
            time,
            station: self.name.clone(),
            uri: self.address.clone(),
            event,
            mark: Mark::default(),
            reason: None,
            retry_in: None,
        }
    }

    fn mark_event(&self, kind: Kind, mark: Mark, now: Timestamp) -> Event {
        let mut event = self.event(kind, now);
        event.mark = mark;
        event
    }

    fn remember(&mut self, event: Event) {
        if self.events.len() == HISTORY {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

impl Display for State {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Marked => "marked",
            State::Playing => "no mark",
            State::Connecting => "connecting",
            State::Waiting(_) => "stopped",
            State::Failed => "failed",
            State::Ended => "ended",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        after("2026-11-27T14:50:00Z".parse().unwrap(), seconds)
    }

    fn mark(score: f64, payload: Option<&str>, key_index: Option<u32>) -> Mark {
        Mark {
            score: Some(score),
            payload: payload.map(str::to_owned),
            key_index,
            ..Mark::default()
        }
    }

    fn kinds(events: &[Event]) -> Vec<Kind> {
        events.iter().map(|event| event.event).collect()
    }

    fn playing() -> Station {
        let mut station = Station::new("One".into(), "http://h/".into(), at(0.0));
        let connecting = station.take(Report::Connecting, at(0.0));
        assert_eq!(kinds(&connecting), [Kind::Connecting]);
        assert_eq!(
            kinds(&station.take(Report::Playing, at(1.0))),
            [Kind::Playing]
        );
        station
    }

    #[test]
    fn a_mark_is_found_says_something_and_is_lost() {
        let mut station = playing();
        let mut take = |said, mark| {
            let events = station.take(Report::Detector(said, mark), at(2.0));
            (kinds(&events), station.state)
        };
        let marked = State::Marked;
        assert_eq!(
            take(Said::Found, mark(9.0, None, None)),
            (vec![Kind::Found], marked)
        );
        let present = take(Said::Present, mark(10.0, None, None));
        assert_eq!(present, (vec![], marked));
        let read = take(Said::Present, mark(11.0, Some("00c0ffee"), None));
        assert_eq!(read, (vec![Kind::Payload], marked));
        let again = take(Said::Present, mark(11.0, Some("00c0ffee"), None));
        assert_eq!(again, (vec![], marked));
        let other = take(Said::Present, mark(11.0, Some("00000001"), None));
        assert_eq!(other, (vec![Kind::Payload], marked));
        let lost = take(Said::Lost, mark(1.0, None, None));
        assert_eq!(lost, (vec![Kind::Lost], State::Playing));
        assert!(station.ever_found && station.mark().is_none());
    }

    #[test]
    fn a_stream_that_stops_takes_its_marks_along() {
        let mut station = playing();
        station.take(
            Report::Detector(Said::Found, mark(9.0, None, Some(0))),
            at(2.0),
        );
        station.take(
            Report::Detector(Said::Found, mark(12.0, None, Some(1))),
            at(2.0),
        );
        assert_eq!(station.mark().unwrap().key_index, Some(1));
        let stopped = Report::Stopped("no audio".into(), Some(1.5));
        let events = station.take(stopped, at(3.0));
        assert_eq!(kinds(&events), [Kind::Lost, Kind::Lost, Kind::Stopped]);
        assert_eq!(events[2].retry_in, Some(1.5));
        assert_eq!(station.state, State::Waiting(at(4.5)));
        assert!(station.mark().is_none());
        let failed = station.take(Report::Failed("gone".into(), None), at(5.0));
        assert_eq!(kinds(&failed), [Kind::Error]);
        assert_eq!(station.state, State::Failed);
    }

    #[test]
    fn where_the_stream_ends_the_marked_stretch_does() {
        let mut station = playing();
        for (said, stream_time, duration) in [(Said::Found, 0.5, 1.25), (Said::Present, 3.0, 2.0)] {
            let mark = Mark {
                stream_time: Some(stream_time),
                duration: Some(duration),
                ..mark(9.0, None, None)
            };
            station.take(Report::Detector(said, mark), at(2.0));
        }
        let events = station.take(Report::Ended, at(6.0));
        assert_eq!(kinds(&events), [Kind::Lost, Kind::Ended]);
        let lost = &events[0].mark;
        assert_eq!((lost.stream_time, lost.duration), (Some(0.5), Some(4.5)));
    }

    #[test]
    fn since_is_when_the_mark_came_and_not_when_it_was_told_again() {
        let mut station = playing();
        station.take(
            Report::Detector(Said::Found, mark(9.0, None, None)),
            at(2.0),
        );
        station.take(
            Report::Detector(Said::Present, mark(9.0, None, None)),
            at(3.0),
        );
        assert_eq!(station.since, at(2.0));
    }

    #[test]
    fn the_history_does_not_grow_without_end() {
        let mut station = playing();
        for second in 0..1500 {
            station.take(Report::Playing, at(f64::from(second)));
        }
        assert_eq!(station.events.len(), HISTORY);
        assert_eq!(station.events.back().unwrap().time, at(1499.0));
    }
}
