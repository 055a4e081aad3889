// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a key file may look like, and what the user is told of one that will not do.

mod common;

use common::Directory;
use gst::prelude::*;
use gstwm::watermark::{Key, KeyError};
use std::path::Path;

const PASSPHRASE: &str = "correct horse battery staple";

/// The errors and warnings of an element on its way to PAUSED and back, and whether it got there.
fn start(name: &str, key_file: &Path) -> (bool, Vec<gst::Message>) {
    common::init();
    let element = gst::ElementFactory::make(name)
        .property("key-file", key_file.to_str().unwrap())
        .build()
        .unwrap();
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    let started = element.set_state(gst::State::Paused).is_ok();
    element.set_state(gst::State::Null).unwrap();
    element.set_bus(None);
    let types = [gst::MessageType::Error, gst::MessageType::Warning];
    let messages = std::iter::from_fn(|| bus.pop_filtered(&types)).collect();
    (started, messages)
}

/// The error that stops both elements from starting with this file.
fn start_error(key_file: &Path) -> String {
    let texts = ["wmembed", "wmdetect"].map(|name| {
        let (started, messages) = start(name, key_file);
        assert!(!started, "{name}");
        let [message] = messages.as_slice() else {
            panic!("{name}: {messages:?}");
        };
        let gst::MessageView::Error(error) = message.view() else {
            panic!("{name}: {message:?}");
        };
        let text = error.error().to_string();
        assert!(text.starts_with(name), "{text}");
        text.replace(name, "")
    });
    assert_eq!(texts[0], texts[1]);
    texts[0].clone()
}

#[test]
fn what_editors_put_around_a_line_is_not_part_of_it() {
    let directory = Directory::new("editors");
    for secret in [common::KEY, PASSPHRASE] {
        let key = Key::parse(secret).unwrap();
        for text in [
            format!("{secret}\r\n"),
            format!("\u{feff}{secret}"),
            format!("\u{feff}{secret}\n"),
            format!("\u{feff} {secret}\t\r\nanother line\r\n"),
        ] {
            let path = directory.write("station.key", &text);
            assert!(Key::from_file(&path).unwrap() == key, "{text:?}");
        }
    }
    // Inside a passphrase, white space counts.
    let path = directory.write("station.key", "correct horse  battery staple\n");
    assert!(Key::from_file(&path).unwrap() != Key::parse(PASSPHRASE).unwrap());
}

#[test]
fn only_the_first_line_counts() {
    let directory = Directory::new("first-line");
    let line = format!("{}\n", common::KEY);
    for rest in [vec![0xff; 10_000], vec![b'x'; 10_000], vec![b'\n'; 5]] {
        let path = directory.write("station.key", [line.as_bytes(), &rest].concat());
        assert!(Key::from_file(&path).unwrap() == common::key());
    }
}

#[test]
fn a_line_may_be_4096_bytes_long() {
    let directory = Directory::new("long");
    let longest = "x".repeat(4096);
    for end in ["", "\n", "\nanother line\n"] {
        let path = directory.write("station.key", format!("{longest}{end}"));
        assert!(Key::from_file(&path).unwrap() == Key::parse(&longest).unwrap());
        let path = directory.write("station.key", format!("{longest}x{end}"));
        assert!(matches!(Key::from_file(&path), Err(KeyError::TooLong)));
    }
}

/// It has no end, so it must not be read to its end.
#[cfg(target_os = "linux")]
#[test]
fn an_endless_file_is_an_error() {
    let text = start_error(Path::new("/dev/zero"));
    assert!(text.contains("/dev/zero") && text.contains("more than 4096 bytes"));
}

/// That is `key-file=<(pass show station)` of a shell.
#[cfg(target_os = "linux")]
#[test]
fn a_key_comes_through_a_pipe() {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    let (reader, mut writer) = std::io::pipe().unwrap();
    writeln!(writer, "{}", common::KEY).unwrap();
    drop(writer);
    let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
    assert!(Key::from_file(path).unwrap() == common::key());
}

#[test]
fn a_file_without_a_key_says_what_to_do() {
    let directory = Directory::new("errors");
    let assert_told = |path: &Path, parts: [&str; 2]| {
        let text = start_error(path);
        assert!(text.contains(path.to_str().unwrap()), "{text}");
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in: {text}");
        }
    };
    assert_told(
        &directory.path().join("none.key"),
        ["cannot be read", "check the path"],
    );
    assert_told(directory.path(), ["cannot be read", "name a file in it"]);
    let give = "64 hex digits or a passphrase";
    for text in [
        "",
        "\n",
        " \t\r\n",
        "\u{feff}",
        "\u{feff}\r\n",
        "\nkey in line two",
    ] {
        assert_told(&directory.write("empty.key", text), ["is empty", give]);
    }
    let utf_16: Vec<u8> = "\u{feff}secret\r\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    for bytes in [utf_16.as_slice(), b"p\xe4ssword\n", &[0x80, b'\n']] {
        assert_told(&directory.write("binary.key", bytes), ["in UTF-8", give]);
    }
    let long = directory.write("long.key", "x".repeat(5_000));
    assert_told(&long, ["more than 4096 bytes", give]);
}

#[cfg(unix)]
#[test]
fn a_file_that_may_not_be_read_says_what_to_do() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new("forbidden");
    let path = directory.write("station.key", common::KEY);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    let text = match std::fs::File::open(&path) {
        Err(_) => start_error(&path),
        // Root may read everything, so it gets to see the text only.
        Ok(_) => KeyError::File(std::io::ErrorKind::PermissionDenied.into()).to_string(),
    };
    assert!(
        text.contains("cannot be read") && text.contains("make it readable"),
        "{text}"
    );
}

#[cfg(unix)]
#[test]
fn a_file_that_others_can_read_draws_a_warning_and_works() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new("warning");
    let path = directory.write("station.key", common::KEY);
    for (mode, warns) in [
        (0o600, false),
        (0o400, false),
        (0o700, false),
        (0o622, false),
        (0o640, true),
        (0o604, true),
        (0o644, true),
    ] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        // Every start is told of it, and once.
        for name in ["wmembed", "wmdetect", "wmembed"] {
            let (started, messages) = start(name, &path);
            assert!(started, "{name} {mode:o}");
            assert_eq!(messages.len(), usize::from(warns), "{name} {mode:o}");
            for message in &messages {
                let gst::MessageView::Warning(warning) = message.view() else {
                    panic!("{name} {mode:o}: {message:?}");
                };
                let text = warning.error().to_string();
                assert!(
                    text.starts_with(name) && text.contains("chmod 600"),
                    "{text}"
                );
                assert!(text.contains(path.to_str().unwrap()), "{text}");
                assert!(!text.contains(common::KEY), "{text}");
            }
        }
    }
}

#[cfg(unix)]
#[test]
fn a_pipeline_is_warned_at_each_start_and_plays_to_its_end() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new("again");
    let path = directory.write("station.key", common::KEY);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let pipeline = common::pipeline(&format!(
        "audiotestsrc num-buffers=5 ! wmembed key-file=\"{}\" ! fakesink",
        path.to_str().unwrap()
    ));
    let bus = pipeline.bus().unwrap();
    for _ in 0..2 {
        pipeline.set_state(gst::State::Playing).unwrap();
        let types = [
            gst::MessageType::Warning,
            gst::MessageType::Error,
            gst::MessageType::Eos,
        ];
        let mut seen = Vec::new();
        while seen.iter().all(|type_| *type_ == gst::MessageType::Warning) {
            let message = bus.timed_pop_filtered(gst::ClockTime::NONE, &types);
            seen.push(message.unwrap().type_());
        }
        // Stopped first: a pipeline that is dropped while it plays ends all tests.
        pipeline.set_state(gst::State::Null).unwrap();
        assert_eq!(seen, [gst::MessageType::Warning, gst::MessageType::Eos]);
    }
}
