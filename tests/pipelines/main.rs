// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whole pipelines, as users have them: audio is marked, goes its way through real muxers, networks and servers, and
//! the mark is found at the other end.

#[path = "../common/mod.rs"]
mod common;
mod file;
mod icecast;
mod live;
mod radio;
mod readme;
mod recipes;
mod rtp;
mod server;
mod webrtc;

use common::{KEY, Message, OTHER_KEY};

const BASE: &str = "gstreamer1.0-plugins-base";
const GOOD: &str = "gstreamer1.0-plugins-good";
const BAD: &str = "gstreamer1.0-plugins-bad";
const LIBAV: &str = "gstreamer1.0-libav";

/// A recording that is marked. The detector `before` the mark hears what came in.
fn marked(file: &str) -> String {
    let source = common::decoder(file);
    format!("{source} ! wmdetect name=before key={KEY} ! wmembed key={KEY} ! audioconvert")
}

/// Two detectors, one of them with a key that nothing was marked with, for raw audio of any format.
fn detectors() -> String {
    format!(
        "audioconvert ! wmdetect name=after key={KEY} ! wmdetect name=other key={OTHER_KEY} ! fakesink sync=false"
    )
}

/// Messages of one detector.
fn from<'a>(messages: &'a [Message], name: &'a str) -> impl Iterator<Item = &'a Message> {
    messages.iter().filter(move |message| message.from == name)
}

/// Seconds from the start of the mark that was found to the latest place where it was.
fn heard(messages: &[Message]) -> f64 {
    let mut after = from(messages, "after");
    let Some(found) = after.next() else {
        return 0.0;
    };
    let last = after.last().unwrap_or(found);
    last.end()
        .saturating_sub(found.time("timestamp"))
        .seconds_f64()
}

/// The mark was found and stayed for that many seconds, at its speed and without a jump; nothing was found where
/// nothing is.
fn assert_heard(messages: &[Message], seconds: f64) {
    for (name, what) in [("before", "unmarked audio"), ("other", "another key")] {
        let false_alarm = from(messages, name).next();
        assert!(false_alarm.is_none(), "{what}: {false_alarm:?}");
    }
    let mut after = from(messages, "after");
    let found = after.next().expect("the mark was not found");
    assert_eq!(found.state(), "found");
    assert!(found.fields.get::<f64>("log10-p").unwrap() < -4.0);
    let present: Vec<_> = after.collect();
    for message in &present {
        assert_eq!(message.state(), "present", "{message:?}");
        let speed: f64 = message.fields.get("speed").unwrap();
        assert!((speed - 1.0).abs() < 0.0005, "{message:?}");
    }
    let ahead = present.iter().map(|message| message.ahead());
    let (least, most) = ahead.fold((f64::MAX, f64::MIN), |(least, most), ahead| {
        (least.min(ahead), most.max(ahead))
    });
    assert!(most - least < 0.05, "ahead by {least} to {most} s");
    let heard = heard(messages);
    assert!(heard >= seconds, "{heard} s of the mark, not {seconds}");
}
