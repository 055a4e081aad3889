// SPDX-License-Identifier: MIT OR Apache-2.0
//! Payloads and keys as the elements have them: properties, messages, changes while playing, errors.

mod common;

use common::{KEY, Message, OTHER_KEY, decoder, detection, play_all as play, recording};
use gst::prelude::*;
use std::sync::mpsc;

const THIRD_KEY: &str = "ee0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const RATE: u32 = 16_000;
const CAPS: &str = "audio/x-raw,format=F32LE,rate=16000,channels=1,layout=interleaved";
/// Nanoseconds of a message.
const GRID: u64 = 1_600_000_000;

fn heard(messages: &[gst::Message]) -> Vec<Message> {
    messages.iter().filter_map(detection).collect()
}

/// From when on (stream time in ns) the mark says what, according to `wmembed`.
fn said(messages: &[gst::Message]) -> Vec<(u64, String)> {
    let structures = messages.iter().filter_map(|message| message.structure());
    // The others tell how well the mark will be found.
    let changes = structures.filter(|s| s.name() == "wmembed" && s.has_field("payload"));
    let change = |s: &gst::StructureRef| {
        let time: u64 = s.get("stream-time").unwrap();
        for field in ["timestamp", "running-time"] {
            assert_eq!(s.get::<u64>(field), Ok(time), "{s}");
        }
        assert_eq!(s.n_fields(), 4, "{s}");
        (time, s.get("payload").unwrap())
    };
    changes.map(change).collect()
}

fn payload(message: &Message) -> Option<&str> {
    message.fields.get("payload").ok()
}

/// Calls `change` from the streaming thread with each buffer that comes to the element `embed`, and its timestamp.
fn with_each_buffer(
    pipeline: &gst::Pipeline,
    change: impl Fn(&gst::Element, u64, &mut gst::Buffer) + Send + Sync + 'static,
) {
    let embed = pipeline.by_name("embed").unwrap();
    let pad = embed.static_pad("sink").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let buffer = info.buffer_mut().unwrap();
        change(&embed, buffer.pts().unwrap().nseconds(), buffer);
        gst::PadProbeReturn::Ok
    })
    .unwrap();
}

/// A pipeline that plays a recording three times without a break, in buffers of a tenth of a second.
fn long(file: &str, description: &str) -> gst::Pipeline {
    let pipeline = common::pipeline(&format!(
        "appsrc name=source format=time max-bytes=0 caps={CAPS} ! {description} ! fakesink sync=false"
    ));
    let source: gst_app::AppSrc = pipeline.by_name("source").unwrap().downcast().unwrap();
    let samples = recording(file, RATE, 1).repeat(3);
    for (n, piece) in samples.chunks(RATE as usize / 10).enumerate() {
        let bytes: Vec<u8> = piece.iter().flat_map(|x| x.to_le_bytes()).collect();
        let mut buffer = gst::Buffer::from_slice(bytes);
        let time = gst::ClockTime::from_mseconds(100 * n as u64);
        buffer.get_mut().unwrap().set_pts(time);
        source.push_buffer(buffer).unwrap();
    }
    source.end_of_stream().unwrap();
    pipeline
}

/// What is heard of a payload, and when the last message about it ends; there is no `present` but for what is new.
fn when_told(strength: i32) -> (Vec<(String, Option<String>)>, gst::ClockTime) {
    let pipeline = common::pipeline(&format!(
        "{} ! audio/x-raw,rate={RATE} ! wmembed key={KEY} payload=00C0FFEE \
         strength={strength} ! wmdetect name=detect key={KEY} interval=1000000000000 \
         ! fakesink sync=false",
        decoder("music.flac")
    ));
    let detect = pipeline.by_name("detect").unwrap();
    let (sender, notified) = mpsc::channel();
    detect.connect_notify(Some("last-payload"), move |detect, _| {
        sender.send(detect.property("last-payload")).unwrap();
    });
    // Twice: what was read in one play is not known in the next.
    let [first, second] = [(), ()].map(|()| {
        assert_eq!(detect.property::<Option<String>>("last-payload"), None);
        let messages = play(&pipeline);
        assert_eq!(said(&messages), [(0, "00c0ffee".to_owned())]);
        let notified: Vec<Option<String>> = notified.try_iter().collect();
        // Playing is over, and the payload with it.
        assert_eq!(notified, [Some("00c0ffee".to_owned()), None]);
        let heard = heard(&messages);
        let told = heard
            .iter()
            .map(|message| (message.state().to_owned(), payload(message).map(Into::into)));
        (told.collect::<Vec<_>>(), heard.last().unwrap().end())
    });
    assert_eq!(first, second);
    first
}

#[test]
fn it_is_told_as_soon_as_it_is_read() {
    let payload = || Some("00c0ffee".to_owned());
    // With `found`, 2 s after the beginning, if it has been read by then.
    let (told, end) = when_told(0);
    assert_eq!(told, [("found".to_owned(), payload())]);
    assert!(end < gst::ClockTime::from_mseconds(2_100), "{end}");
    let (told, end) = when_told(-16);
    let expected = [
        ("found".to_owned(), None),
        ("present".to_owned(), payload()),
    ];
    assert_eq!(told, expected);
    assert!(end < gst::ClockTime::from_seconds(4), "{end}");
}

#[test]
fn without_a_payload_nothing_is_said() {
    let pipeline = common::pipeline(&format!(
        "{} ! audio/x-raw,rate={RATE} ! wmembed key={KEY} \
         ! wmdetect name=detect key={KEY} ! fakesink sync=false",
        decoder("speech.flac")
    ));
    let detect = pipeline.by_name("detect").unwrap();
    let (sender, notified) = mpsc::channel();
    detect.connect_notify(Some("last-payload"), move |_, _| sender.send(()).unwrap());
    let messages = play(&pipeline);
    assert_eq!(said(&messages), []);
    assert_eq!(notified.try_iter().count(), 0);
    let heard = heard(&messages);
    assert!(heard.len() > 5);
    for message in &heard {
        assert_eq!(payload(message), None);
        assert!(!message.fields.has_field("key-index"), "there is only one");
    }
}

/// When what is set, in tenths of seconds, and when the mark says it, in messages.
const PLAN: [(u64, &str, u64); 4] = [
    (30, "00c0ffee", 2),
    (85, "01234567", 6),
    (140, "", 9),
    (185, "ffffffff", 12),
];

#[test]
fn a_change_begins_with_a_message_and_is_followed() {
    for file in ["music.flac", "speech.flac"] {
        let pipeline = long(
            file,
            &format!("wmembed name=embed key={KEY} ! wmdetect key={KEY} interval=100000000"),
        );
        with_each_buffer(&pipeline, |embed, pts, _| {
            for (at, payload, _) in PLAN {
                if pts == at * 100_000_000 {
                    embed.set_property("payload", payload);
                }
            }
        });
        let messages = play(&pipeline);
        let plan = PLAN.map(|(_, payload, message)| (message * GRID, payload.to_owned()));
        assert_eq!(said(&messages), plan, "{file}");
        let heard = heard(&messages);
        assert_eq!(heard[0].state(), "found");
        assert!(heard[1..].iter().all(|m| m.state() == "present"), "{file}");
        let end = heard[heard.len() - 1].end().nseconds();
        assert!(end > 23_000_000_000, "{file}: {end}");
        for message in &heard {
            let now = message.end().nseconds();
            let at = |time| {
                let latest = plan.iter().rfind(|(from, _)| *from <= time);
                latest
                    .map(|(_, said)| &said[..])
                    .filter(|said| !said.is_empty())
            };
            let got = payload(message);
            let follows = [now, now.saturating_sub(3_000_000_000)].map(at);
            // Between two payloads there may be none that is known.
            let changing = follows[0] != follows[1];
            assert!(
                follows.contains(&got) || changing && got.is_none(),
                "{file}: {got:?} at {now} ns instead of {follows:?}"
            );
        }
    }
}

#[test]
fn messages_follow_the_time_of_day_with_the_utc_clock() {
    const THEN: u64 = 1_790_000_000_123_456_789;
    let pipeline = long(
        "music.flac",
        &format!(
            "wmembed name=embed key={KEY} row-clock=utc payload=00c0ffee \
             ! wmdetect key={KEY} row-clock=utc interval=100000000"
        ),
    );
    with_each_buffer(&pipeline, |embed, pts, buffer| {
        let caps = gst::Caps::new_empty_simple("timestamp/x-unix");
        let time = gst::ClockTime::from_nseconds(THEN + pts);
        gst::ReferenceTimestampMeta::add(buffer.make_mut(), &caps, time, None);
        if pts == 10_000_000_000 {
            embed.set_property("payload", "ffffffff");
        }
    });
    let messages = play(&pipeline);
    let said = said(&messages);
    let [(0, first), (time, second)] = &said[..] else {
        panic!("{said:?}");
    };
    assert_eq!((&first[..], &second[..]), ("00c0ffee", "ffffffff"));
    // The first frame of the message, which is at most 62.5 us late.
    assert!((THEN + time) % GRID < 62_500, "{time}");
    assert!((9_500_000_000..11_600_000_000).contains(time), "{time}");
    let heard = heard(&messages);
    for message in &heard {
        assert!(message.fields.has_field("broadcast-time"));
        let now = message.end().nseconds();
        let expected = match now {
            3_000_000_000.. if now < *time => Some("00c0ffee"),
            _ if now > time + 3_000_000_000 => Some("ffffffff"),
            _ => continue,
        };
        assert_eq!(payload(message), expected, "at {now} ns");
    }
    assert!(heard[heard.len() - 1].end().nseconds() > time + 3_000_000_000);
}

/// What the element says when it cannot go to PAUSED.
fn start_error(element: &gst::Element) -> String {
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    assert!(element.set_state(gst::State::Paused).is_err());
    let message = bus.pop_filtered(&[gst::MessageType::Error]).unwrap();
    let gst::MessageView::Error(error) = message.view() else {
        unreachable!()
    };
    let text = format!("{} {:?}", error.error(), error.debug());
    element.set_state(gst::State::Null).unwrap();
    text
}

fn element(name: &str) -> gst::Element {
    common::init();
    gst::ElementFactory::make(name).build().unwrap()
}

#[test]
fn what_is_no_payload_is_an_error_at_the_start() {
    let embed = element("wmembed");
    embed.set_property("key", KEY);
    for text in [
        "c0ffee",
        "00c0ffee0",
        "+0c0ffee",
        "00c0ffeg",
        "0x00c0ff",
        "é00000",
    ] {
        embed.set_property("payload", text);
        let error = start_error(&embed);
        assert!(error.contains("8 hex digits"), "{error}");
        assert!(error.contains(&format!("\"{text}\"")), "{error}");
    }
    embed.set_property("payload", "00c0ffee");
    embed.set_property_from_str("carrier", "noise");
    let error = start_error(&embed);
    assert!(
        error.contains("carrier=noise") && error.contains("no payload"),
        "{error}"
    );
    // Without one it starts.
    embed.set_property("payload", None::<String>);
    embed.set_state(gst::State::Paused).unwrap();
    embed.set_state(gst::State::Null).unwrap();
}

#[test]
fn what_is_no_payload_is_a_warning_while_playing() {
    let pipeline = long(
        "music.flac",
        &format!("wmembed name=embed key={KEY} payload=00c0ffee ! wmdetect key={KEY}"),
    );
    let (sender, kept) = mpsc::channel::<String>();
    with_each_buffer(&pipeline, move |embed, pts, _| {
        if pts == 5_000_000_000 {
            embed.set_property("payload", "decaf");
            sender.send(embed.property("payload")).unwrap();
        }
    });
    let messages = play(&pipeline);
    assert_eq!(kept.try_iter().collect::<Vec<_>>(), ["00c0ffee"]);
    let warnings = messages.iter().filter_map(|message| match message.view() {
        gst::MessageView::Warning(warning) => Some(format!("{}", warning.error())),
        _ => None,
    });
    let warnings: Vec<_> = warnings.collect();
    assert_eq!(warnings.len(), 1);
    for text in ["\"decaf\"", "8 hex digits", "keeps"] {
        assert!(warnings[0].contains(text), "{warnings:?}");
    }
    assert_eq!(said(&messages).len(), 1);
    let late = heard(&messages);
    let late = late.iter().filter(|m| m.end().nseconds() > 3_000_000_000);
    assert!(late.clone().count() > 15);
    assert!(late.clone().all(|m| payload(m) == Some("00c0ffee")));
}

#[test]
fn two_keys_are_found_and_read_at_once() {
    for file in ["music.flac", "speech.flac"] {
        let messages = play(&common::pipeline(&format!(
            "{} ! audio/x-raw,rate=48000,channels=1 ! wmembed key={KEY} payload=00000001 \
             ! wmembed key={OTHER_KEY} payload=00000002 \
             ! wmdetect name=straight keys=\"<{KEY}, {OTHER_KEY}>\" \
             ! wmdetect name=reversed keys=\"<{OTHER_KEY},{THIRD_KEY},{KEY}>\" \
             ! wmdetect name=neither key={THIRD_KEY} ! fakesink sync=false",
            decoder(file)
        )));
        let heard = heard(&messages);
        let of = |name, index| {
            let about =
                move |m: &&Message| m.from == name && m.fields.get::<u32>("key-index") == Ok(index);
            heard.iter().filter(about).collect::<Vec<_>>()
        };
        let cases = [
            ("straight", 0, "00000001"),
            ("straight", 1, "00000002"),
            ("reversed", 2, "00000001"),
            ("reversed", 0, "00000002"),
        ];
        let mut all = 0;
        for (name, index, expected) in cases {
            let of_key = of(name, index);
            all += of_key.len();
            assert_eq!(of_key[0].state(), "found", "{file}, {name}");
            let rest = &of_key[1..];
            assert!(
                rest.iter().all(|m| m.state() == "present"),
                "{file}, {name}"
            );
            let read: Vec<_> = rest.iter().filter_map(|m| payload(m)).collect();
            assert!(read.len() >= 4, "{file}, {name}: {of_key:?}");
            assert!(read.iter().all(|read| *read == expected), "{file}, {name}");
        }
        assert_eq!(all, heard.len(), "nobody has anything else to say");
    }
}

#[test]
fn keys_in_an_array_are_what_key_would_be() {
    // Digits alone are a passphrase, too, and no number; and one key in an array has an index.
    let messages = play(&common::pipeline(&format!(
        "{} ! audio/x-raw,rate={RATE} ! wmembed key=12345 ! wmdetect keys=\"<12345>\" ! fakesink sync=false",
        decoder("music.flac")
    )));
    let heard = heard(&messages);
    assert!(!heard.is_empty());
    assert!(
        heard
            .iter()
            .all(|m| m.fields.get::<u32>("key-index") == Ok(0))
    );
}

#[test]
fn keys_that_do_not_go_together_are_errors_that_keep_them() {
    const SECRETS: [&str; 2] = ["correct horse", "battery staple"];
    let detect = |keys: &[&str]| {
        let detect = element("wmdetect");
        detect.set_property("keys", gst::Array::new(keys));
        detect
    };
    let check = |detect: &gst::Element, expected: &[&str]| {
        let error = start_error(detect);
        for text in expected {
            assert!(error.contains(text), "{error}");
        }
        for secret in SECRETS {
            assert!(!error.contains(secret), "{error}");
        }
    };
    check(
        &detect(&[SECRETS[0], ""]),
        &["number 1 of the property keys", "empty"],
    );
    let both = detect(&SECRETS);
    both.set_property("key", SECRETS[1]);
    check(&both, &["only one of", "keys, key and key-file"]);
    both.set_property("key", None::<String>);
    both.set_property("key-file", "station.key");
    check(&both, &["only one of", "keys, key and key-file"]);
    let noise = detect(&SECRETS);
    noise.set_property_from_str("carrier", "noise");
    check(&noise, &["2 keys", "carrier=noise"]);
    check(
        &detect(&[SECRETS[0], SECRETS[1], SECRETS[0]]),
        &["same key twice", "number 0 and number 2"],
    );
    let day = detect(&[SECRETS[0]]);
    day.set_property_from_str("row-clock", "utc");
    day.set_property("clock-tolerance", 86_400_000_000_000u64);
    day.set_property("max-speed-deviation", 6.0);
    check(&day, &["519 million", "clock-tolerance", "lower one"]);
    // An empty array is none.
    check(&detect(&[]), &["wmdetect needs a key"]);
    let flags = noise.find_property("keys").unwrap().flags();
    assert!(!flags.contains(gst::glib::ParamFlags::READABLE));
}
