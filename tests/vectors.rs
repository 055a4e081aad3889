// SPDX-License-Identifier: MIT OR Apache-2.0
//! Known answers of wire format 1. The expected bytes were made in Python, with its packages `blake3` and `argon2`, and
//! the codeword with the generator matrix of CCSDS 231.1-O-1; if one of these tests fails, audio that was marked before
//! is no longer found.

mod common;

use gstwm::watermark::format::{self, CHIPS, ROWS_PER_MESSAGE};
use gstwm::watermark::key::{Key, KeyError};
use gstwm::watermark::payload::{CODED_BITS, Codeword, MessageCode, Places};
use gstwm::watermark::{Payload, RowClock};

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

const PAYLOAD: Payload = Payload([0x00, 0xc0, 0xff, 0xee]);

/// Payload, tag, and the parity bits of the code.
const CODEWORD: &str = "00c0ffee554d845f23250cd44002991d";

/// Places of the coded bits in the first row of a message, and the BLAKE3 hash of those in all eight rows. The second
/// message is the last one with `row-clock=stream`, the third comes up with the clock of the year 2025.
const PLACES: [(u64, &str, &str); 3] = [
    (
        0,
        "661e2c0844244b057a0f372a1a2d6b686a454f5f53227f681e3c037e345a62423b\
         1d3d33492560791b4b78360d6806246e2a4b43392b730e1b524f106b1736182378\
         733b3079662a6f710d070328502233460a01437949757e7a21262569076b453f79",
        "890139506062ac9091333a7513076953ec41eedd52d09bd41ac286897e1c2182",
    ),
    (
        127,
        "73194a4428642d14064e516c0a1b5e35154643100c7c657227595170044e3c3f1e\
         2f6d00322a4050444c22453b14751f024341737d477a122026716f5754145f4e0e\
         5d36074f6b18487d572c406f0f5e3f0d1971292d0524653a0f271d4e375e1b6f47",
        "4abbf774b02a8ddb55d57f8649de7b03012514204af239b9557f89a61701e594",
    ),
    (
        1_102_500_000,
        "5b2c23162a383b011810171f0251744a62702e713960672c297911070433344d69\
         342e2b46357f28266b7613123b001a2268187752374b49595d4e0b21787c454776\
         2a1f2d4e6c5113711137023b4443697e3f1121493137675802224d09511a461b02",
        "329a338ba9d8bc0152473f662eb24c1e85e7e3398d09268d4de95be15e68c0c0",
    ),
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bits in bytes, the first one the most significant; +1 stands for 0.
fn bytes_of(codeword: &Codeword) -> Vec<u8> {
    let byte = |bits: &[f32]| {
        let bit = |byte: u8, bit: &f32| byte << 1 | u8::from(*bit < 0.0);
        bits.iter().fold(0, bit)
    };
    codeword.chunks(8).map(byte).collect()
}

#[test]
fn the_message_of_a_payload() {
    let codeword = MessageCode::new(&common::key()).encode(PAYLOAD);
    assert!(codeword.iter().all(|bit| bit.abs() == 1.0));
    assert_eq!(hex(&bytes_of(&codeword)), CODEWORD);
}

/// The parity checks of TC(128, 64), in blocks of 16 x 16: sums of identity matrices that are rotated to the right by
/// so much. As in CCSDS 231.1-O-1, and in no way from the encoder.
const PARITY_CHECKS: [[&[usize]; 8]; 4] = [
    [&[0, 7], &[2], &[14], &[6], &[], &[0], &[13], &[0]],
    [&[6], &[0, 15], &[0], &[1], &[0], &[], &[0], &[7]],
    [&[4], &[1], &[0, 15], &[14], &[11], &[0], &[], &[3]],
    [&[0], &[1], &[9], &[0, 13], &[14], &[1], &[0], &[]],
];

#[test]
fn messages_are_codewords_of_the_standard() {
    let code = MessageCode::new(&common::key());
    for payload in [PAYLOAD, Payload([0; 4]), Payload([0xff; 4])] {
        let codeword = code.encode(payload);
        let rows = PARITY_CHECKS
            .iter()
            .flat_map(|blocks| (0..16).map(move |row| (blocks, row)));
        for (blocks, row) in rows {
            let bits = blocks.iter().enumerate().flat_map(|(block, turns)| {
                let bit = move |turn: &usize| 16 * block + (row + turn) % 16;
                turns.iter().map(bit)
            });
            let product: f32 = bits.map(|bit| codeword[bit]).product();
            assert_eq!(product, 1.0, "{payload}, row {row}");
        }
    }
}

#[test]
fn places_of_the_coded_bits() {
    let mut places = Places::new(&common::key());
    for (message, first, all) in PLACES {
        let rows = message * ROWS_PER_MESSAGE as u64..(message + 1) * ROWS_PER_MESSAGE as u64;
        let mut hasher = blake3::Hasher::new();
        for row in rows.clone() {
            let places = places.row(row);
            assert!(places.iter().all(|bit| usize::from(*bit) < CODED_BITS));
            hasher.update(places);
        }
        assert_eq!(hex(places.row(rows.start)), first, "message {message}");
        assert_eq!(
            hasher.finalize().to_hex().as_str(),
            all,
            "message {message}"
        );
    }
}
