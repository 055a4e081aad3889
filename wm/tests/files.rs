// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files are marked and found again, in all formats, and keep what they are.

mod common;

use common::{Place, write_noise};

/// Bits, channels and rate, as the header of a FLAC file has them.
fn flac_format(bytes: &[u8]) -> (u64, u64, u64) {
    assert_eq!(&bytes[..4], b"fLaC");
    let packed = u64::from_be_bytes(bytes[18..26].try_into().unwrap());
    let (rate, channels, bits) = (packed >> 44, packed >> 41 & 7, packed >> 36 & 31);
    (bits + 1, channels + 1, rate)
}

#[test]
fn a_mark_with_a_payload_is_found_in_every_format() {
    let place = Place::new();
    place.bring("music.flac", "in.flac");
    let endings = ["wav", "flac", "ogg", "opus", "mp3", "m4a", "aac"];
    for ending in endings {
        let ran = place.with_key(&format!("embed in.flac out.{ending} --payload 0000002a"));
        assert_eq!(ran.code, 0, "{ending}: {}", ran.errors);
        assert_eq!(ran.output, format!("in.flac: marked, out.{ending}\n"));
    }
    let files = endings.map(|ending| format!("out.{ending}"));
    let ran = place.with_key(&format!("detect --json {}", files.join(" ")));
    assert_eq!(ran.code, 0, "{}", ran.errors);
    let lines = ran.json();
    assert_eq!(lines.len(), files.len(), "{lines:?}");
    for (line, file) in lines.iter().zip(&files) {
        assert_eq!(line["file"], **file, "in the order of the arguments");
        assert_eq!(line["found"], true);
        assert_eq!(line["payloads"], serde_json::json!(["0000002a"]), "{file}");
        let figure = |name: &str| line[name].as_f64().unwrap();
        assert!(figure("start") < 1.0, "{line}");
        assert!((8.0..9.2).contains(&figure("end")), "{line}");
        assert!(figure("score") > 15.0, "{line}");
        assert!(figure("log10_p") < -5.0, "{line}");
        assert!((figure("speed") - 1.0).abs() < 1e-3, "{line}");
    }
}

#[test]
fn several_files_go_to_a_directory_and_people_read_a_line_for_each() {
    let place = Place::new();
    place.bring("music.flac", "a.flac");
    place.bring("speech.flac", "b.flac");
    let ran = place.with_key("embed --output-dir marked --format ogg --jobs 2 a.flac b.flac");
    assert_eq!(ran.code, 0, "{}", ran.errors);
    let ran = place.with_key("detect marked/a.ogg marked/b.ogg a.flac");
    assert_eq!(ran.code, 0, "{}", ran.errors);
    let lines: Vec<_> = ran.output.lines().collect();
    assert!(lines[0].starts_with("marked/a.ogg: 0:0"), "{lines:?}");
    assert!(lines[0].contains("  log10-p -"), "{lines:?}");
    assert!(lines[0].contains("  speed 1.0000"), "{lines:?}");
    assert!(!lines[0].contains("payload"), "{lines:?}");
    assert!(lines[1].starts_with("marked/b.ogg: 0:0"), "{lines:?}");
    assert!(
        lines[2].starts_with("a.flac: not found, highest score "),
        "{lines:?}"
    );
}

#[test]
fn bit_depth_channels_and_rate_stay() {
    let place = Place::new();
    for (bits, channels, rate) in [(16, 1, 44_100), (24, 2, 96_000), (16, 6, 48_000)] {
        write_noise(&place.path("in.wav"), bits, channels, rate, 2 * rate);
        for output in ["out.flac", "out.wav"] {
            let ran = place.with_key(&format!("embed --force in.wav {output}"));
            assert_eq!(ran.code, 0, "{}", ran.errors);
        }
        let flac = std::fs::read(place.path("out.flac")).unwrap();
        let expected = (u64::from(bits), u64::from(channels), u64::from(rate));
        assert_eq!(flac_format(&flac), expected);
        let before = hound::WavReader::open(place.path("in.wav")).unwrap();
        let after = hound::WavReader::open(place.path("out.wav")).unwrap();
        assert_eq!(before.spec(), after.spec());
        assert_eq!(before.duration(), after.duration(), "frame for frame");
    }
}

#[test]
fn tags_stay() {
    let place = Place::new();
    place.bring("music.flac", "in.flac");
    let title = "A title that stays";
    // A block of Vorbis comments behind the first block of the file.
    let mut flac = std::fs::read(place.path("in.flac")).unwrap();
    let comment = format!("TITLE={title}");
    let mut block = Vec::new();
    block.extend(0u32.to_le_bytes());
    block.extend(1u32.to_le_bytes());
    block.extend((comment.len() as u32).to_le_bytes());
    block.extend(comment.as_bytes());
    let mut header = (block.len() as u32).to_be_bytes();
    header[0] = 4;
    flac[4] &= 0x7f;
    let others_follow = flac[42] & 0x7f <= 6 && flac[42] != 0xff;
    header[0] |= if others_follow { 0 } else { 0x80 };
    flac.splice(42..42, header.into_iter().chain(block));
    std::fs::write(place.path("tagged.flac"), flac).unwrap();
    for output in ["out.flac", "out.ogg", "out.mp3", "out.m4a", "out.wav"] {
        let ran = place.with_key(&format!("embed tagged.flac {output}"));
        assert_eq!(ran.code, 0, "{}", ran.errors);
        let bytes = std::fs::read(place.path(output)).unwrap();
        let found = bytes
            .windows(title.len())
            .any(|text| text == title.as_bytes());
        assert!(found, "{output}");
    }
}

#[test]
fn one_of_several_keys_is_told() {
    let place = Place::new();
    place.bring("music.flac", "in.flac");
    assert_eq!(place.wm(["key", "other.key"]).code, 0);
    assert_eq!(
        place
            .wm(["embed", "in.flac", "out.flac", "-k", "other.key"])
            .code,
        0
    );
    let ran = place.wm("detect --json out.flac -k station.key --key-file other.key".split(' '));
    assert_eq!(ran.code, 0, "{}", ran.errors);
    let lines = ran.json();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["key_index"], 1);
    assert_eq!(lines[0]["key_file"], "other.key");
    // The other key alone finds nothing.
    assert_eq!(place.with_key("detect out.flac").code, 1);
}

#[test]
fn the_time_of_day_comes_back() {
    let place = Place::new();
    place.bring("music.flac", "in.flac");
    let ran =
        place.with_key("embed in.flac out.flac --row-clock utc --utc-start 2026-11-27T20:00:00Z");
    assert_eq!(ran.code, 0, "{}", ran.errors);
    let detect = "detect --json out.flac --row-clock utc";
    let ran = place.with_key(&format!("{detect} --utc-start 2026-11-27T20:01:00Z"));
    assert_eq!(ran.code, 0, "{}", ran.errors);
    let time = ran.json()[0]["broadcast_time"].as_str().unwrap().to_owned();
    let off = time.parse::<jiff::Timestamp>().unwrap()
        - "2026-11-27T20:00:00Z".parse::<jiff::Timestamp>().unwrap();
    let start = ran.json()[0]["start"].as_f64().unwrap();
    let off = off.as_secs_f64() - start;
    assert!(off.abs() < 0.1, "{time}");
    // An hour off is too much, unless that is permitted.
    let wrong = format!("{detect} --utc-start 2026-11-27T21:00:00Z");
    assert_eq!(place.with_key(&wrong).code, 1);
    let wide = format!("{wrong} --clock-tolerance 2h");
    assert_eq!(place.with_key(&wide).code, 0);
}

#[test]
fn a_playing_speed_that_is_off_is_found_when_asked() {
    let place = Place::new();
    place.bring("music.flac", "in.flac");
    assert_eq!(place.with_key("embed in.flac out.wav").code, 0);
    for percent in [1, 2] {
        // The same samples, said to be those of a higher rate.
        let mut wav = hound::WavReader::open(place.path("out.wav")).unwrap();
        let mut spec = wav.spec();
        spec.sample_rate += spec.sample_rate / 100 * percent;
        let mut fast = hound::WavWriter::create(place.path("fast.wav"), spec).unwrap();
        for sample in wav.samples::<i32>() {
            fast.write_sample(sample.unwrap()).unwrap();
        }
        fast.finalize().unwrap();
        let off = |ran: &common::Ran| {
            ran.json()[0]["speed"].as_f64().unwrap() - 1.0 - percent as f64 / 100.0
        };
        // Nobody promises that it is found unasked, but if it is, the speed is told.
        let unasked = place.with_key("detect --json fast.wav");
        assert!(
            unasked.code == 1 || off(&unasked).abs() < 1e-3,
            "{unasked:?}"
        );
        let ran = place.with_key("detect --json fast.wav --max-speed-deviation 2");
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(off(&ran).abs() < 2e-4, "{ran:?}");
    }
}
