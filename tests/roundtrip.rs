// SPDX-License-Identifier: MIT OR Apache-2.0
//! The promise of the plugin: what `wmembed` marked, `wmdetect` finds behind the codecs that people use,
//! says so on the bus, and says nothing about anything else.

mod common;

use common::{Message, decoder, need, play};
use gst::prelude::*;

const BASE: &str = "gstreamer1.0-plugins-base";
const GOOD: &str = "gstreamer1.0-plugins-good";
const LIBAV: &str = "gstreamer1.0-libav";

struct Codec {
    elements: &'static [(&'static str, &'static str)],
    rate: u32,
    description: &'static str,
}

const MP3: Codec = Codec {
    elements: &[
        ("lamemp3enc", GOOD),
        ("mpegaudioparse", GOOD),
        ("mpg123audiodec", GOOD),
    ],
    rate: 48_000,
    description: "lamemp3enc target=bitrate bitrate=64 cbr=true ! mpegaudioparse ! mpg123audiodec",
};

const AAC: Codec = Codec {
    elements: &[
        ("avenc_aac", LIBAV),
        ("aacparse", GOOD),
        ("avdec_aac", LIBAV),
    ],
    rate: 44_100,
    description: "avenc_aac bitrate=64000 ! aacparse ! avdec_aac",
};

const OPUS: Codec = Codec {
    elements: &[("opusenc", BASE), ("opusdec", BASE)],
    rate: 48_000,
    description: "opusenc bitrate=32000 ! opusdec",
};

const VORBIS: Codec = Codec {
    elements: &[("vorbisenc", BASE), ("vorbisdec", BASE)],
    rate: 44_100,
    description: "vorbisenc quality=0.1 ! vorbisdec",
};

const MULAW: Codec = Codec {
    elements: &[("mulawenc", GOOD), ("mulawdec", GOOD)],
    rate: 8_000,
    description: "mulawenc ! mulawdec",
};

/// Plays a recording through three detectors: `before` the mark, `after` the codec, and `other` with
/// another key.
fn through(codec: &Codec, file: &str) -> Vec<Message> {
    need(codec.elements);
    let source = decoder(file);
    let Codec {
        rate, description, ..
    } = codec;
    let (key, other) = (common::KEY, common::OTHER_KEY);
    play(&common::pipeline(&format!(
        "{source} ! audio/x-raw,rate={rate} ! wmdetect name=before key={key} ! wmembed key={key} \
         ! audioconvert ! {description} ! audioconvert ! wmdetect name=after key={key} interval=500000000 \
         ! wmdetect name=other key={other} ! fakesink sync=false"
    )))
}

/// Every field that there is, its type and range.
fn assert_fields(message: &Message) {
    let fields = &message.fields;
    assert!(
        ["found", "present", "lost"].contains(&message.state()),
        "{fields}"
    );
    let number = |name| fields.get::<f64>(name).unwrap();
    let nanoseconds = |name| fields.get::<u64>(name).unwrap();
    assert!(number("log10-p") <= 0.0, "{fields}");
    match message.state() {
        "found" => assert!(number("score") > 7.0, "{fields}"),
        // What is lost has no score any more.
        "lost" => assert!(number("score") < 5.0, "{fields}"),
        _ => assert!(number("score") > -5.0, "{fields}"),
    }
    assert!((0.9989..=1.0011).contains(&number("speed")), "{fields}");
    // At least 40 ms, a strong mark needs no more; and not more than there is.
    assert!(
        (40_000_000..10_000_000_000).contains(&nanoseconds("window")),
        "{fields}"
    );
    assert!(nanoseconds("watermark-time") < 204_800_000_000, "{fields}");
    assert!(
        (1_000_000..60_000_000).contains(&nanoseconds("watermark-time-error")),
        "{fields}"
    );
    assert!(nanoseconds("timestamp") < 10_000_000_000, "{fields}");
    // A file from its start: all three count from 0.
    assert_eq!(
        nanoseconds("stream-time"),
        nanoseconds("timestamp"),
        "{fields}"
    );
    assert_eq!(
        nanoseconds("running-time"),
        nanoseconds("timestamp"),
        "{fields}"
    );
    // Present is what was heard in the window. A find may take less than there is of the mark.
    let (window, duration) = (nanoseconds("window"), nanoseconds("duration"));
    match message.state() {
        "present" => assert!(duration.abs_diff(window) <= 40_000_000, "{fields}"),
        "found" => assert!(duration + 300_000_000 >= window, "{fields}"),
        _ => assert!(duration < 10_000_000_000, "{fields}"),
    }
    assert!(!fields.has_field("payload"), "there is none yet: {fields}");
    assert_eq!(fields.n_fields(), 11, "{fields}");
}

fn assert_found(codec: &Codec, file: &str, seconds: u64) {
    let messages = through(codec, file);
    let from = |name| messages.iter().filter(move |m| m.from == name);
    for (name, what) in [("before", "unmarked audio"), ("other", "another key")] {
        assert_eq!(
            from(name).count(),
            0,
            "{file}, {what}: {:?}",
            from(name).next()
        );
    }
    let after: Vec<_> = from("after").collect();
    let found = after
        .first()
        .unwrap_or_else(|| panic!("{file} behind {}: no message", codec.description));
    assert_eq!(found.state(), "found", "{file}");
    assert!(found.fields.get::<f64>("log10-p").unwrap() < -4.0);
    assert!(
        found.end() <= gst::ClockTime::from_seconds(seconds),
        "{file}: found at {}",
        found.end()
    );
    assert!(
        after[1..].iter().all(|m| m.state() == "present"),
        "{file}: {after:?}"
    );
    // Every half second, give or take the 40 ms in which the detector counts.
    for pair in after.windows(2) {
        let step = pair[1].end() - pair[0].end();
        let half = gst::ClockTime::from_mseconds(500);
        let limit = gst::ClockTime::from_mseconds(41);
        assert!(step.absdiff(half) <= limit, "{file}: {step}");
    }
    let last = after[after.len() - 1].end();
    assert!(
        last > gst::ClockTime::from_mseconds(8_000),
        "{file}: {last}"
    );
    for message in after {
        assert_fields(message);
        assert!(message.fields.get::<f64>("score").unwrap() > 3.0);
        // Some codecs delay the audio against its timestamps.
        let ahead = message.ahead();
        assert!((-0.12..=0.06).contains(&ahead), "{file}: {ahead} s");
        let speed: f64 = message.fields.get("speed").unwrap();
        assert!((speed - 1.0).abs() < 0.0005, "{file}: speed {speed}");
    }
}

#[test]
fn found_behind_mp3() {
    assert_found(&MP3, "music.flac", 3);
    assert_found(&MP3, "speech.flac", 3);
}

#[test]
fn found_behind_aac() {
    assert_found(&AAC, "music.flac", 3);
    assert_found(&AAC, "speech.flac", 3);
}

#[test]
fn found_behind_opus() {
    assert_found(&OPUS, "music.flac", 3);
    assert_found(&OPUS, "speech.flac", 3);
}

#[test]
fn found_behind_vorbis() {
    assert_found(&VORBIS, "music.flac", 3);
    assert_found(&VORBIS, "speech.flac", 3);
}

#[test]
fn found_behind_mulaw() {
    assert_found(&MULAW, "music.flac", 3);
    assert_found(&MULAW, "speech.flac", 3);
}

#[test]
fn a_missing_element_is_told_with_its_package() {
    common::init();
    let told = std::panic::catch_unwind(|| need(&[("nosuchenc", GOOD)])).unwrap_err();
    let told = told.downcast_ref::<String>().unwrap();
    assert!(told.contains("nosuchenc") && told.contains(GOOD), "{told}");
}

#[test]
fn a_mark_that_ends_is_lost() {
    let source = decoder("music.flac");
    let key = common::KEY;
    let pipeline = common::pipeline(&format!(
        "{source} ! audio/x-raw,rate=16000,channels=1 ! wmembed name=embed key={key} ! wmdetect key={key} \
         ! fakesink sync=false"
    ));
    // From the streaming thread, so that it is the same frame every time.
    let embed = pipeline.by_name("embed").unwrap();
    let pad = embed.static_pad("sink").unwrap();
    let element = embed.clone();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if info.buffer().unwrap().pts() >= Some(gst::ClockTime::from_seconds(3)) {
            element.set_property("enabled", false);
        }
        gst::PadProbeReturn::Ok
    })
    .unwrap();
    let messages = play(&pipeline);
    let states: Vec<_> = messages.iter().map(Message::state).collect();
    let (first, rest) = states.split_first().unwrap();
    let (last, rest) = rest.split_last().unwrap();
    assert_eq!((*first, *last), ("found", "lost"), "{states:?}");
    assert!(rest.iter().all(|state| *state == "present"), "{states:?}");
    messages.iter().for_each(assert_fields);
    // It tells where the mark ended, and comes 2 to 3 s later: not for a pause in the programme.
    let ended = messages[messages.len() - 1].end();
    let error = ended.absdiff(gst::ClockTime::from_seconds(3));
    assert!(error < gst::ClockTime::from_mseconds(300), "{ended}");
    let latest = messages[messages.len() - 2].end();
    assert!(
        latest > gst::ClockTime::from_mseconds(4_500)
            && latest < gst::ClockTime::from_mseconds(6_500),
        "{latest}"
    );
}

#[test]
fn no_messages_but_the_property_if_that_is_wanted() {
    let source = decoder("speech.flac");
    let key = common::KEY;
    let pipeline = common::pipeline(&format!(
        "{source} ! audio/x-raw,rate=16000 ! wmembed key={key} \
         ! wmdetect name=detect key={key} post-messages=false ! fakesink sync=false"
    ));
    let detect = pipeline.by_name("detect").unwrap();
    let (sender, notified) = std::sync::mpsc::channel();
    detect.connect_notify(Some("present"), move |detect, _| {
        let (present, score): (bool, f64) = (detect.property("present"), detect.property("score"));
        sender.send((present, score)).unwrap();
    });
    let messages = play(&pipeline);
    assert!(messages.is_empty(), "{messages:?}");
    let (present, score) = notified.try_recv().expect("a notify signal");
    assert!(present && score > 5.0, "{present} {score}");
}
