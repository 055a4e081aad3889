// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stretches of a file in which the mark is, put together from the messages of the detector.

use std::collections::BTreeMap;

use gst::ClockTime;

/// One stretch.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Which of several keys it is.
    pub key_index: Option<u32>,
    pub start: ClockTime,
    pub end: ClockTime,
    /// The best of its scores.
    pub score: f64,
    /// Of the moment when it was found: later ones follow a mark that is known.
    pub log10_p: f64,
    /// The latest, which is the most exact.
    pub speed: f64,
    /// One after the other.
    pub payloads: Vec<String>,
    /// Unix time of the start in nanoseconds.
    pub broadcast_time: Option<u64>,
}

/// Takes messages, gives stretches.
#[derive(Default)]
pub struct Spans {
    open: BTreeMap<Option<u32>, Span>,
    closed: Vec<Span>,
}

impl Spans {
    /// Takes an element message; what is none of the detector does not count.
    pub fn take(&mut self, message: &gst::StructureRef) {
        if message.name() != "wmdetect" {
            return;
        }
        let key_index = message.get::<u32>("key-index").ok();
        match message.get::<&str>("state") {
            Ok("found") => {
                self.close(key_index);
                if let Some(span) = begin(message) {
                    self.open.insert(key_index, span);
                }
            }
            Ok("present") => self.extend(key_index, message),
            Ok("lost") => {
                if let (Some(span), Some((_, end))) =
                    (self.open.get_mut(&key_index), stretch(message))
                {
                    // It tells where the audio had the mark last, which is before it was missed.
                    span.end = end.max(span.start);
                }
                self.close(key_index);
            }
            _ => (),
        }
    }

    fn extend(&mut self, key_index: Option<u32>, message: &gst::StructureRef) {
        let Some(span) = self.open.get_mut(&key_index) else {
            return;
        };
        if let Some((_, end)) = stretch(message) {
            span.end = span.end.max(end);
        }
        if let Ok(score) = message.get::<f64>("score") {
            span.score = span.score.max(score);
        }
        if let Ok(speed) = message.get::<f64>("speed") {
            span.speed = speed;
        }
        if let Ok(payload) = message.get::<String>("payload")
            && span.payloads.last() != Some(&payload)
        {
            span.payloads.push(payload);
        }
    }

    fn close(&mut self, key_index: Option<u32>) {
        self.closed.extend(self.open.remove(&key_index));
    }

    /// All stretches, by their starts; a mark that is still there at the end of the file ends there.
    pub fn finish(mut self) -> Vec<Span> {
        self.closed.extend(self.open.into_values());
        self.closed.sort_by_key(|span| (span.start, span.key_index));
        self.closed
    }
}

fn begin(message: &gst::StructureRef) -> Option<Span> {
    let (start, end) = stretch(message)?;
    Some(Span {
        key_index: message.get("key-index").ok(),
        start,
        end,
        score: message.get("score").ok()?,
        log10_p: message.get("log10-p").ok()?,
        speed: message.get("speed").ok()?,
        payloads: message.get("payload").into_iter().collect(),
        broadcast_time: message.get("broadcast-time").ok(),
    })
}

/// Start and end of what a message is about.
fn stretch(message: &gst::StructureRef) -> Option<(ClockTime, ClockTime)> {
    let time = |field| message.get::<u64>(field).map(ClockTime::from_nseconds).ok();
    let start = time("stream-time").or_else(|| time("timestamp"))?;
    Some((start, start + time("duration").unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(state: &str, start: u64, duration: u64, score: f64) -> gst::structure::Builder {
        gst::Structure::builder("wmdetect")
            .field("state", state)
            .field("stream-time", start * 1_000_000_000)
            .field("duration", duration * 1_000_000_000)
            .field("score", score)
            .field("log10-p", -score)
            .field("speed", 1.0)
    }

    fn spans(messages: impl IntoIterator<Item = gst::structure::Builder>) -> Vec<Span> {
        let mut spans = Spans::default();
        for message in messages {
            spans.take(&message.build());
        }
        spans.finish()
    }

    #[test]
    fn a_stretch_goes_from_found_to_lost() {
        gst::init().unwrap();
        let all = spans([
            message("found", 1, 2, 9.0).field("broadcast-time", 5u64),
            message("present", 4, 2, 20.0).field("payload", "00000001"),
            message("present", 5, 2, 15.0)
                .field("payload", "00000001")
                .field("speed", 1.01),
            message("present", 6, 2, 14.0).field("payload", "00000002"),
            message("lost", 1, 6, 3.0),
            message("found", 20, 2, 10.0),
        ]);
        let seconds = ClockTime::from_seconds;
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].start, all[0].end), (seconds(1), seconds(7)));
        assert_eq!((all[0].score, all[0].log10_p), (20.0, -9.0));
        assert_eq!(all[0].speed, 1.0, "the latest");
        assert_eq!(all[0].payloads, ["00000001", "00000002"]);
        assert_eq!(all[0].broadcast_time, Some(5));
        // There at the end of the file.
        assert_eq!((all[1].start, all[1].end), (seconds(20), seconds(22)));
        assert!(all[1].payloads.is_empty());
    }

    #[test]
    fn stretches_of_several_keys_do_not_mix() {
        gst::init().unwrap();
        let all = spans([
            message("found", 3, 2, 9.0).field("key-index", 1u32),
            message("found", 2, 2, 8.0).field("key-index", 0u32),
            message("present", 6, 2, 12.0).field("key-index", 1u32),
            message("lost", 2, 3, 1.0).field("key-index", 0u32),
        ]);
        let scores: Vec<_> = all
            .iter()
            .map(|span| (span.key_index, span.score))
            .collect();
        assert_eq!(scores, [(Some(0), 8.0), (Some(1), 12.0)]);
    }
}
