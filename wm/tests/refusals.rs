// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is refused, and what is said about it: nothing that exists is lost, and nothing half-written stays.

mod common;

use common::{Place, write_noise};

#[test]
fn a_key_is_new_secret_and_never_overwritten() {
    let place = Place::new();
    let key = std::fs::read_to_string(place.path("station.key")).unwrap();
    assert_eq!(key.trim_end().len(), 64, "{}", key.len());
    assert!(key.trim_end().bytes().all(|b| b.is_ascii_hexdigit()));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let metadata = std::fs::metadata(place.path("station.key")).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }
    let ran = place.wm(["key", "station.key"]);
    assert_eq!(ran.code, 2);
    assert!(ran.errors.contains("station.key exists already"), "{ran:?}");
    let after = std::fs::read_to_string(place.path("station.key")).unwrap();
    assert!(after == key, "the key has changed");
    assert_eq!(place.wm(["key", "other.key"]).code, 0);
    let other = std::fs::read_to_string(place.path("other.key")).unwrap();
    assert!(other != key, "two keys are the same");
}

#[test]
fn without_a_key_it_is_said_how_to_give_one() {
    let place = Place::new();
    place.bring("music.flac", "in.flac");
    for arguments in ["detect in.flac", "embed in.flac out.flac"] {
        let ran = place.wm(arguments.split(' '));
        assert_eq!(ran.code, 2);
        assert!(ran.errors.contains("--key-file"), "{ran:?}");
        let ran = place.wm(format!("{arguments} --key-file none.key").split(' '));
        assert_eq!(ran.code, 2);
        let said = "none.key: the key file cannot be read";
        assert!(ran.errors.contains(said), "{ran:?}");
        assert!(ran.errors.contains("check the path"), "{ran:?}");
    }
    std::fs::write(place.path("empty.key"), "\n").unwrap();
    let ran = place.wm("detect in.flac -k empty.key".split(' '));
    assert_eq!(ran.code, 2);
    assert!(
        ran.errors.contains("empty.key: the key is empty"),
        "{ran:?}"
    );
    let ran = place.wm("detect in.flac -k station.key -k station.key".split(' '));
    assert_eq!(ran.code, 2);
    assert!(ran.errors.contains("hold the same key"), "{ran:?}");
    assert_eq!(place.names(), ["empty.key", "in.flac"]);
}

#[cfg(unix)]
#[test]
fn a_key_that_others_can_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.bring("speech.flac", "in.flac");
    let readable = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(place.path("station.key"), readable).unwrap();
    let ran = place.with_key("detect in.flac");
    assert_eq!(ran.code, 1);
    assert!(ran.errors.contains("others than its owner"), "{ran:?}");
}

#[test]
fn what_exists_is_overwritten_only_when_asked() {
    let place = Place::new();
    place.bring("music.flac", "in.flac");
    std::fs::write(place.path("out.flac"), "precious").unwrap();
    let ran = place.with_key("embed in.flac out.flac");
    assert_eq!(ran.code, 2);
    assert!(ran.errors.contains("out.flac exists already"), "{ran:?}");
    assert!(ran.errors.contains("--force"), "{ran:?}");
    assert_eq!(std::fs::read(place.path("out.flac")).unwrap(), b"precious");
    let ran = place.with_key("embed in.flac out.flac --force");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(place.with_key("detect out.flac").code, 0);
    // Even then not what is read.
    for output in ["in.flac", "./in.flac"] {
        let ran = place.with_key(&format!("embed --force in.flac {output}"));
        assert_eq!(ran.code, 2);
        assert!(ran.errors.contains("is input and output"), "{ran:?}");
    }
    let ran = place.with_key("embed --force --output-dir . in.flac");
    assert_eq!(ran.code, 2);
    let original = std::fs::read(common::data("music.flac")).unwrap();
    assert!(std::fs::read(place.path("in.flac")).unwrap() == original);
    assert_eq!(place.names(), ["in.flac", "out.flac"]);
}

#[test]
fn arguments_that_cannot_work_are_refused_before_any_work() {
    let place = Place::new();
    place.bring("music.flac", "in.flac");
    for (arguments, said) in [
        ("embed in.flac", "--output-dir"),
        ("embed in.flac in.flac out.flac", "--output-dir"),
        ("embed in.flac out.xyz", "use one of wav, flac, ogg"),
        ("embed in.flac out", "use one of wav, flac, ogg"),
        ("embed -o marked in.flac ./in.flac", "would both become"),
        ("embed -o marked in.mkv", "--format"),
        ("embed in.flac out.flac --payload 12", "8 hex digits"),
        ("embed in.flac out.flac --strength 25", "from -24 to 24"),
        (
            "embed in.flac out.flac --utc-start 2026-11-27T20:00:00Z",
            "--row-clock utc",
        ),
        ("detect in.flac --max-speed-deviation 7", "from 0 to 6"),
        ("detect in.flac --clock-tolerance 25h", "from 0s to 24h"),
        (
            "detect in.flac --utc-start 2026-11-27T20:00:00Z",
            "--row-clock utc",
        ),
    ] {
        let ran = place.with_key(arguments);
        assert_eq!(ran.code, 2, "{arguments}");
        assert!(ran.errors.contains(said), "{arguments}: {ran:?}");
        assert_eq!(ran.output, "");
    }
    assert_eq!(place.names(), ["in.flac"]);
}

#[test]
fn what_is_no_audio_is_named_and_the_others_are_done() {
    let place = Place::new();
    place.bring("music.flac", "music.flac");
    std::fs::write(place.path("text.flac"), "This is a text, and no music.\n").unwrap();
    std::fs::write(place.path("empty.flac"), "").unwrap();
    std::fs::create_dir(place.path("directory.flac")).unwrap();
    let bad = ["text.flac", "empty.flac", "missing.flac", "directory.flac"];
    let files = format!("{} music.flac", bad.join(" "));
    let ran = place.with_key(&format!("embed --json --output-dir marked {files}"));
    assert_eq!(ran.code, 2);
    let lines = ran.json();
    assert_eq!(lines.len(), 5, "{ran:?}");
    for (line, file) in lines.iter().zip(bad) {
        assert_eq!(line["file"], file);
        assert!(!line["error"].as_str().unwrap().is_empty());
        assert!(ran.errors.contains(&format!("wm: {file}: ")), "{ran:?}");
    }
    assert_eq!(lines[4]["output"], "marked/music.flac");
    let marked = std::fs::read_dir(place.path("marked")).unwrap();
    let marked: Vec<_> = marked.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(marked, ["music.flac"], "nothing half-written");

    let ran = place.with_key(&format!("detect --json {files} marked/music.flac"));
    assert_eq!(ran.code, 2, "an error counts more than what was found");
    let lines = ran.json();
    assert_eq!(lines.len(), 6, "{ran:?}");
    for (line, file) in lines.iter().zip(bad) {
        assert_eq!(line["file"], file);
        assert!(!line["error"].as_str().unwrap().is_empty());
    }
    assert_eq!(lines[4]["found"], false);
    assert!(lines[4]["highest_score"].as_f64().unwrap() < 7.0);
    assert_eq!(lines[5]["found"], true);
}

#[test]
fn channels_are_not_mixed_without_a_word() {
    let place = Place::new();
    write_noise(&place.path("in.wav"), 16, 6, 48_000, 48_000);
    let ran = place.with_key("embed in.wav out.mp3");
    assert_eq!(ran.code, 2);
    assert!(
        ran.errors.contains("in.wav: there are 6 channels"),
        "{ran:?}"
    );
    assert_eq!(place.names(), ["in.wav"]);
}

#[test]
fn too_short_for_the_mark_is_not_found() {
    let place = Place::new();
    write_noise(&place.path("in.wav"), 16, 1, 48_000, 4_800);
    let ran = place.with_key("detect in.wav");
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.output.starts_with("in.wav: not found, "), "{ran:?}");
}
