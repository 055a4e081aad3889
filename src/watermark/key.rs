// SPDX-License-Identifier: MIT OR Apache-2.0
//! From key text or key file to 32 bytes, and from these to the signs of every chip.

use super::format::{CHIPS, PASSPHRASE_SALT, ROW_BYTES, SIGN_CONTEXT};
use std::path::Path;

/// Secret of 32 bytes that embedder and detector share.
///
/// The bytes never show: `Debug` prints a placeholder.
///
/// ```
/// use gstwm::watermark::Key;
/// let key = Key::parse("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f").unwrap();
/// assert_eq!(format!("{key:?}"), "Key(..)");
/// assert!(Key::parse("").is_err());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

/// Why there is no key.
#[derive(Debug)]
pub enum KeyError {
    /// The text, or the first line of the file, is empty.
    Empty,
    /// The key file cannot be read.
    File(std::io::Error),
    /// The passphrase could not be stretched (the function needs 19 MiB of memory).
    Passphrase(argon2::Error),
}

impl std::fmt::Display for KeyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            KeyError::Empty => write!(f, "the key is empty: give 64 hex digits or a passphrase"),
            KeyError::File(e) => write!(f, "the key file cannot be read: {e}"),
            KeyError::Passphrase(e) => write!(f, "the passphrase cannot be stretched: {e}"),
        }
    }
}

impl std::error::Error for KeyError {}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// The key of these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Key(bytes)
    }

    /// 64 hex digits are the key itself; any other text is a passphrase, stretched with Argon2id.
    ///
    /// # Errors
    /// The text is empty, or there is no memory for Argon2id.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        match parse_hex(text) {
            Some(bytes) => Ok(Key(bytes)),
            None => stretch(text).map(Key),
        }
    }

    /// Reads the key from the first line of a file, without the white space around it.
    ///
    /// # Errors
    /// The file cannot be read, or its first line is empty.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, KeyError> {
        let text = std::fs::read_to_string(path).map_err(KeyError::File)?;
        Key::parse(text.lines().next().unwrap_or("").trim())
    }

    /// The signs that this key draws.
    pub fn signs(&self) -> Signs {
        Signs(blake3::Hasher::new_keyed(&self.subkey(SIGN_CONTEXT)).finalize_xof())
    }

    /// A key for one purpose, from which neither this key nor that for another purpose can be told.
    pub(super) fn subkey(&self, context: &str) -> [u8; 32] {
        blake3::derive_key(context, &self.0)
    }
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let nibble = |c: u8| (c as char).to_digit(16);
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (nibble(pair[0])? * 16 + nibble(pair[1])?) as u8;
    }
    Some(bytes)
}

fn stretch(passphrase: &str) -> Result<[u8; 32], KeyError> {
    use argon2::{Algorithm, Argon2, Params, Version};
    let parameters = Params::new(19_456, 2, 1, Some(32)).map_err(KeyError::Passphrase)?;
    let mut bytes = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
        .hash_password_into(passphrase.as_bytes(), PASSPHRASE_SALT, &mut bytes)
        .map_err(KeyError::Passphrase)?;
    Ok(bytes)
}

/// The sign stream of a key: a seekable BLAKE3 output, 32 bytes a row.
#[derive(Clone)]
pub struct Signs(blake3::OutputReader);

impl std::fmt::Debug for Signs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signs(..)")
    }
}

impl Signs {
    /// Fills `signs` with the +1 and -1 of row `row`, chip by chip. Does not allocate.
    pub fn row(&mut self, row: u64, signs: &mut [f32; CHIPS]) {
        let mut bytes = [0; ROW_BYTES];
        self.0.set_position(row * ROW_BYTES as u64);
        self.0.fill(&mut bytes);
        for (chip, sign) in signs.iter_mut().enumerate() {
            let bit = bytes[chip / 8] >> (chip % 8) & 1;
            *sign = if bit == 0 { 1.0 } else { -1.0 };
        }
    }
}
