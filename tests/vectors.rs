// SPDX-License-Identifier: MIT OR Apache-2.0
//! Known answers of wire format 1. The expected bytes were made with the `blake3` and `argon2` packages of
//! Python; if one of these tests fails, audio that was marked before is no longer found.

mod common;

use gstwm::watermark::RowClock;
use gstwm::watermark::format::{self, CHIPS};
use gstwm::watermark::key::{Key, KeyError};

const PASSPHRASE: &str = "correct horse battery staple";
const PASSPHRASE_KEY: &str = "140511d0d2e1db272d916fa24ce9de4a94e372f99e8259dca9db7d3ddacaaee7";

/// Rows of [`common::KEY`], the last of them as it comes up with the clock of the year 2025.
const KEY_ROWS: [(u64, &str); 4] = [
    (
        0,
        "b894a131e46829c58154f547ca4f72585c7f076f511c39c7a1e8687be660bbea",
    ),
    (
        1,
        "2abd9c27cc37efd0e71b1e7485c4fb3f6b6d1e712ea607a6b5e482c9048e810d",
    ),
    (
        1023,
        "d30bc74cbf1a76dba3b15b200d4d7d3afa915274ad06d89aad912af23a68a1d0",
    ),
    (
        8_820_000_000,
        "430b1bae2133155e84a2e128d507ebbbdc80977a1d8e2cddbbc409fadb01088e",
    ),
];

const PASSPHRASE_ROWS: [(u64, &str); 3] = [
    (
        0,
        "e562bdc989e59b78a1169ba12b8e1765e0dfca509029a7c661f47f8d74d0d567",
    ),
    (
        1,
        "6339777e5816fa903c1d6d6c72cd0a5eee11b76bc09319375c867bae9e0f6ce3",
    ),
    (
        1023,
        "c0904435cee437893cf84493362fcb908b1a00d4765e5626995c3d69d35179dc",
    ),
];

/// The signs of a row that is given as the hex digits of its 32 bytes: bit c of them, least significant first.
fn signs_of(hex: &str) -> Vec<f32> {
    let byte = |chip: usize| u8::from_str_radix(&hex[chip / 8 * 2..][..2], 16).unwrap();
    (0..CHIPS)
        .map(|chip| match byte(chip) >> (chip % 8) & 1 {
            0 => 1.0,
            _ => -1.0,
        })
        .collect()
}

fn assert_rows(key: &Key, rows: &[(u64, &str)]) {
    let mut signs = key.signs();
    for (row, hex) in rows {
        let mut got = [0.0; CHIPS];
        signs.row(*row, &mut got);
        assert_eq!(got[..], signs_of(hex), "row {row}");
    }
}

#[test]
fn rows_of_a_hex_key() {
    assert_rows(&Key::parse(common::KEY).unwrap(), &KEY_ROWS);
    let bytes = std::array::from_fn(|i| i as u8);
    assert_rows(&Key::from_bytes(bytes), &KEY_ROWS);
}

#[test]
fn rows_come_in_any_order() {
    let mut rows = KEY_ROWS;
    rows.reverse();
    assert_rows(&common::key(), &rows);
}

#[test]
fn rows_of_a_passphrase() {
    assert_rows(&Key::parse(PASSPHRASE).unwrap(), &PASSPHRASE_ROWS);
    assert_rows(&Key::parse(PASSPHRASE_KEY).unwrap(), &PASSPHRASE_ROWS);
}

#[test]
fn passphrases_are_utf8() {
    let stretched = "58fa44a5bb977713832741d4790c4144956d5262928b9a5c0b7885fdec24ed52";
    assert!(Key::parse("grün und gut").unwrap() == Key::parse(stretched).unwrap());
}

#[test]
fn hex_digits_may_be_upper_case() {
    let mixed = common::KEY.replace('a', "A").replace("0f", "0F");
    for text in [common::KEY.to_uppercase(), mixed] {
        assert!(Key::parse(&text).unwrap() == common::key(), "{text}");
    }
}

#[test]
fn only_64_hex_digits_are_a_hex_key() {
    let stretched = [
        (
            "0".repeat(63),
            "6a816b157bc0346849d47f98726ae96b355534048a4af22ed59fe7b110d27c7e",
        ),
        (
            "0".repeat(65),
            "efb2bc6308a817777ae000a66649d7b5abd366070b80f2ed0eed5a80ad7a965e",
        ),
    ];
    for (text, hex) in stretched {
        assert!(
            Key::parse(&text).unwrap() == Key::parse(hex).unwrap(),
            "{} digits",
            text.len()
        );
    }
    // 64 characters, or 64 bytes, that are not all digits.
    let zero = Key::from_bytes([0; 32]);
    for text in ["0".repeat(63) + "g", "0".repeat(62) + "é", "+".repeat(64)] {
        assert!(Key::parse(&text).unwrap() != zero, "{text}");
    }
}

#[test]
fn a_key_file_is_its_first_line() {
    let directory = std::env::temp_dir().join(format!("gst-wm-vectors-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("station.key");
    let key = common::KEY;
    for text in [
        key.to_owned(),
        format!("{key}\n"),
        format!("{key}\r\n"),
        format!("  {key} \t\n"),
        format!("{key}\nanother line\n"),
    ] {
        std::fs::write(&path, &text).unwrap();
        assert!(
            Key::from_file(&path).unwrap() == common::key(),
            "file {text:?}"
        );
    }
    std::fs::write(&path, format!("{PASSPHRASE}\r\n")).unwrap();
    assert!(Key::from_file(&path).unwrap() == Key::parse(PASSPHRASE_KEY).unwrap());
    for text in ["", "\n", "  \r\n", "\nkey in line two\n"] {
        std::fs::write(&path, text).unwrap();
        assert!(
            matches!(Key::from_file(&path), Err(KeyError::Empty)),
            "file {text:?}"
        );
    }
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(matches!(Key::from_file(&path), Err(KeyError::File(_))));
}

#[test]
fn rows_follow_the_clock() {
    const MS: u64 = 1_000_000;
    for (nanoseconds, row) in [
        (0, 0),
        (200 * MS - 1, 0),
        (200 * MS, 1),
        (204_800 * MS - 1, 1023),
        (204_800 * MS, 1024),
        (1_764_000_000_000 * MS, 8_820_000_000),
    ] {
        assert_eq!(RowClock::Utc.row(nanoseconds), row);
        assert_eq!(RowClock::Stream.row(nanoseconds), row % 1024);
    }
}

#[test]
fn chips_divide_the_band() {
    let chips = [
        (0.0, None),
        (299.9, None),
        (300.0, Some(0)),
        (331.24, Some(0)),
        (331.25, Some(1)),
        (6_487.4, Some(197)),
        (6_487.5, None),
        (24_000.0, None),
    ];
    for (hertz, chip) in chips {
        assert_eq!(format::chip_of(hertz), chip, "{hertz} Hz");
    }
}
