// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happened to a station: a line of JSON in a file, and a line of text on the screen.

use std::fmt::{self, Display, Formatter};

use jiff::{Timestamp, ToSpan, Unit};
use serde::Serialize;

/// What kind of event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The stream is being opened.
    Connecting,
    /// There is audio.
    Playing,
    /// The mark is there now, and was not before.
    Found,
    /// The mark says something, or something else than before.
    Payload,
    /// The mark is no longer there.
    Lost,
    /// The stream stopped, and is tried again.
    Stopped,
    /// The stream failed.
    Error,
    /// The file is over.
    Ended,
}

/// What the detector says about the mark.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Mark {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log10_p: Option<f64>,
    /// 8 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// Which of several keys it is, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_index: Option<u32>,
    /// Seconds of the stream at which the evidence begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_time: Option<f64>,
    /// Seconds from there to the end of the evidence; of a mark that is lost, to the end of the marked stretch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// When `stream_time` was marked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broadcast_time: Option<Timestamp>,
}

/// Something that happened to a station.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    pub time: Timestamp,
    pub station: String,
    /// Where the station is, without the name of a user and without a password.
    pub uri: String,
    pub event: Kind,
    #[serde(flatten)]
    pub mark: Mark,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Seconds until the stream is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_in: Option<f64>,
}

impl Event {
    /// The event as a line of JSON, with its end.
    pub fn json(&self) -> String {
        // None of its parts can fail: they are texts and numbers.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }

    /// The event as a line for a person who knows the station.
    pub fn text(&self) -> String {
        let time = self.time.strftime("%H:%M:%S");
        let mut text = format!("{time} {}", self.event);
        let mark = &self.mark;
        if let Some(score) = mark.score {
            text += &format!(", score {score:.1}");
        }
        if let Some(payload) = &mark.payload {
            text += &format!(", payload {payload}");
        }
        if let Some(index) = mark.key_index {
            text += &format!(", key {index}");
        }
        if let Some(time) = mark.stream_time {
            text += &format!(", at {time:.1} s");
            if let (Kind::Lost, Some(duration)) = (self.event, mark.duration) {
                text += &format!(" to {:.1} s", time + duration);
            }
        }
        if let Some(time) = mark.broadcast_time {
            text += &format!(", broadcast {time:.0}");
        }
        if let Some(reason) = &self.reason {
            text += &format!(": {reason}");
        }
        if let Some(seconds) = self.retry_in {
            text += &format!("; again in {seconds:.1} s");
        }
        text
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Connecting => "connecting",
            Kind::Playing => "playing",
            Kind::Found => "found",
            Kind::Payload => "payload",
            Kind::Lost => "lost",
            Kind::Stopped => "stopped",
            Kind::Error => "error",
            Kind::Ended => "ended",
        })
    }
}

/// Now, to the millisecond.
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    now.round(Unit::Millisecond).unwrap_or(now)
}

/// So many nanoseconds of Unix time.
pub fn unix_time(nanoseconds: u64) -> Option<Timestamp> {
    Timestamp::from_nanosecond(nanoseconds.into()).ok()
}

/// How long ago something was, in two or three words.
pub fn ago(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(since.as_second()).max(0);
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min"),
        3600..172_800 => format!("{hours} h {:02}", minutes % 60),
        _ => format!("{} d", hours / 24),
    }
}

/// So many seconds after a time.
pub fn after(time: Timestamp, seconds: f64) -> Timestamp {
    let milliseconds = (seconds * 1000.0) as i64;
    time.checked_add(milliseconds.milliseconds())
        .unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: Kind) -> Event {
        Event {
            time: "2026-11-27T14:50:01.5Z".parse().unwrap(),
            station: "One".into(),
            uri: "http://h/live".into(),
            event: kind,
            mark: Mark::default(),
            reason: None,
            retry_in: None,
        }
    }

    #[test]
    fn a_line_of_json_has_what_applies() {
        let mut found = event(Kind::Found);
        found.mark = Mark {
            score: Some(12.5),
            log10_p: Some(-20.0),
            payload: Some("00c0ffee".into()),
            key_index: Some(1),
            stream_time: Some(0.25),
            duration: Some(1.5),
            broadcast_time: unix_time(1_795_474_005_994_182_823),
        };
        assert_eq!(
            found.json(),
            "{\"time\":\"2026-11-27T14:50:01.5Z\",\"station\":\"One\",\"uri\":\"http://h/live\",\
             \"event\":\"found\",\"score\":12.5,\"log10_p\":-20.0,\"payload\":\"00c0ffee\",\"key_index\":1,\
             \"stream_time\":0.25,\"duration\":1.5,\"broadcast_time\":\"2026-11-23T22:46:45.994182823Z\"}\n"
        );
        let mut stopped = event(Kind::Stopped);
        stopped.reason = Some("a \"line\"\nbreak".into());
        stopped.retry_in = Some(1.5);
        assert_eq!(
            stopped.json(),
            "{\"time\":\"2026-11-27T14:50:01.5Z\",\"station\":\"One\",\"uri\":\"http://h/live\",\
             \"event\":\"stopped\",\"reason\":\"a \\\"line\\\"\\nbreak\",\"retry_in\":1.5}\n"
        );
    }

    #[test]
    fn a_line_of_text_has_what_applies() {
        let mut stopped = event(Kind::Stopped);
        stopped.reason = Some("no audio for 10 s".into());
        stopped.retry_in = Some(1.5);
        let text = "14:50:01 stopped: no audio for 10 s; again in 1.5 s";
        assert_eq!(stopped.text(), text);
        let mut lost = event(Kind::Lost);
        lost.mark.stream_time = Some(0.25);
        lost.mark.duration = Some(8.5);
        assert_eq!(lost.text(), "14:50:01 lost, at 0.2 s to 8.8 s");
    }

    #[test]
    fn how_long_ago_is_short() {
        let start: Timestamp = "2026-11-27T14:50:01Z".parse().unwrap();
        for (seconds, text) in [
            (-5, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3599, "59 min"),
            (3660, "1 h 01"),
            (172_800, "2 d"),
        ] {
            assert_eq!(ago(start, after(start, f64::from(seconds))), text);
        }
    }
}
