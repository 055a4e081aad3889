// SPDX-License-Identifier: MIT OR Apache-2.0
//! Texts of keys and payloads, and contents of key files: each is taken or refused as the documentation says.

#![no_main]

use arbitrary::Arbitrary;
use gstwm::watermark::{Key, KeyError, Payload};
use libfuzzer_sys::fuzz_target;
use std::path::PathBuf;
use std::sync::OnceLock;

#[derive(Arbitrary, Debug)]
struct Case<'a> {
    text: Text<'a>,
    /// Before and behind the text, in a file.
    around: [&'a [u8]; 2],
}

#[derive(Arbitrary, Debug)]
enum Text<'a> {
    Any(&'a str),
    Bytes(&'a [u8]),
    Digits([u8; 32], bool),
    /// Hex digits with one character exchanged.
    Nearly([u8; 32], u8, char),
    Payload([u8; 4], u8, char),
    /// Longer than any line that is a key.
    Long(u8, u16),
}

impl Text<'_> {
    fn bytes(&self) -> Vec<u8> {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let exchanged = |digits: String, at: u8, with: char| {
            let at = usize::from(at) % digits.len();
            let (before, after) = (&digits[..at], &digits[at + 1..]);
            format!("{before}{with}{after}").into_bytes()
        };
        match self {
            Text::Any(text) => text.as_bytes().to_vec(),
            Text::Bytes(bytes) => bytes.to_vec(),
            Text::Digits(bytes, true) => hex(bytes).to_uppercase().into_bytes(),
            Text::Digits(bytes, false) => hex(bytes).into_bytes(),
            Text::Nearly(bytes, at, with) => exchanged(hex(bytes), *at, *with),
            Text::Payload(bytes, at, with) => exchanged(hex(bytes), *at, *with),
            Text::Long(byte, n) => vec![*byte; usize::from(*n) % 10_000],
        }
    }
}

/// The bytes that hex digits stand for, by another way than that of the parser.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.bytes().all(|c| c.is_ascii_hexdigit());
    let pair = |i| u8::from_str_radix(text.get(i..i + 2)?, 16).ok();
    digits.then(|| (0..text.len()).step_by(2).map(pair).collect())?
}

fn key_of(text: &str) -> Option<Key> {
    let bytes: [u8; 32] = unhex(text)?.try_into().ok()?;
    Some(Key::from_bytes(bytes))
}

fn check_text(text: &str, stretch: bool) {
    match key_of(text) {
        Some(key) => assert!(Key::parse(text).is_ok_and(|parsed| parsed == key)),
        None if text.is_empty() => assert!(matches!(Key::parse(text), Err(KeyError::Empty))),
        None if stretch => assert!(Key::parse(text).is_ok()),
        None => (),
    }
    let payload = text.parse::<Payload>();
    let expected = unhex(text).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    assert_eq!(payload.ok().map(|payload| payload.0), expected);
    if let Ok(payload) = payload {
        assert_eq!(payload.to_string(), text.to_ascii_lowercase());
    }
}

/// One file for each process.
fn path() -> &'static PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| std::env::temp_dir().join(format!("fuzz-key-{}", std::process::id())))
}

fn check_file(contents: &[u8], stretch: bool) {
    let line = contents
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let too_long = line.len() > 4096;
    let text = std::str::from_utf8(line).ok();
    let key_text = text.map(|text| text.strip_prefix('\u{feff}').unwrap_or(text).trim());
    let expected = key_text.and_then(key_of);
    let is_passphrase = !too_long && expected.is_none() && key_text.is_some_and(|t| !t.is_empty());
    if is_passphrase && !stretch {
        return;
    }
    if std::fs::write(path(), contents).is_err() {
        return;
    }
    match Key::from_file(path()) {
        Ok(key) if is_passphrase => drop(key),
        Ok(key) => assert!(Some(key) == expected),
        Err(KeyError::TooLong) => assert!(too_long),
        Err(KeyError::NotText) => assert!(text.is_none()),
        Err(KeyError::Empty) => assert_eq!(key_text, Some("")),
        Err(error) => panic!("{error}"),
    }
}

/// Stretching a passphrase takes a while, so it is done for one text in 500. Which ones is nothing that the fuzzer
/// learns, or it would try these all the time.
fn is_stretched(text: &[u8]) -> bool {
    let sum = text.iter().fold(5_381u32, |sum, byte| {
        (sum ^ u32::from(*byte)).wrapping_mul(0x9e37_79b1)
    });
    (sum >> 8).is_multiple_of(500)
}

fuzz_target!(|case: Case| {
    let bytes = case.text.bytes();
    let stretch = is_stretched(&bytes);
    if let Ok(text) = std::str::from_utf8(&bytes) {
        check_text(text, stretch);
    }
    let [before, after] = case.around;
    check_file(&[before, &bytes, after].concat(), stretch);
});
