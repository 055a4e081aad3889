// SPDX-License-Identifier: MIT OR Apache-2.0
//! From key text or key file to 32 bytes, and from these to the signs of every chip.

use super::format::{CHIPS, PASSPHRASE_SALT, ROW_BYTES, SIGN_CONTEXT};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use zeroize::{Zeroize, Zeroizing};

/// Longest first line of a key file, in bytes: enough for any passphrase, and nobody waits for a recording
/// that was named by mistake.
const LONGEST_LINE: usize = 4096;

/// Secret of 32 bytes that embedder and detector share.
///
/// The bytes never show: `Debug` prints a placeholder. They are wiped from memory when the key is dropped.
///
/// ```
/// use gstwm::watermark::Key;
/// let key = Key::parse("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f").unwrap();
/// assert_eq!(format!("{key:?}"), "Key(..)");
/// assert!(Key::parse("").is_err());
/// ```
// In a box, since the bytes of a value that is moved stay behind where it was.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Box<Zeroizing<[u8; 32]>>);

/// Why there is no key.
#[derive(Debug)]
pub enum KeyError {
    /// The text, or the first line of the file, is empty.
    Empty,
    /// The key file cannot be read.
    File(std::io::Error),
    /// The first line of the key file is not UTF-8.
    NotText,
    /// The first line of the key file is too long for a key.
    TooLong,
    /// The passphrase could not be stretched (the function needs 19 MiB of memory).
    Passphrase(argon2::Error),
}

impl std::fmt::Display for KeyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            KeyError::Empty => f.write_str(
                "the key is empty: give 64 hex digits or a passphrase, in a file on its first line",
            ),
            KeyError::File(e) => {
                let what_to_do = match e.kind() {
                    ErrorKind::NotFound => ": check the path",
                    ErrorKind::PermissionDenied => ": make it readable for the user who runs this",
                    ErrorKind::IsADirectory => ": name a file in it",
                    _ => "",
                };
                write!(f, "the key file cannot be read: {e}{what_to_do}")
            }
            KeyError::NotText => f.write_str(
                "the first line of the key file is not text: \
                 put 64 hex digits or a passphrase there, in UTF-8",
            ),
            KeyError::TooLong => write!(
                f,
                "the first line of the key file has more than {LONGEST_LINE} bytes: \
                 put 64 hex digits or a passphrase there"
            ),
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
        let mut key = Key::zero();
        key.0.copy_from_slice(Zeroizing::new(bytes).as_slice());
        key
    }

    fn zero() -> Self {
        Key(Box::new(Zeroizing::new([0; 32])))
    }

    /// 64 hex digits are the key itself; any other text is a passphrase, stretched with Argon2id.
    ///
    /// # Errors
    /// The text is empty, or there is no memory for Argon2id.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        parse_hex(text).map_or_else(|| stretch(text), Ok)
    }

    /// Reads the key from the first line of a file, without the white space around it.
    ///
    /// A byte order mark is not part of the line either. Nothing after the first line is looked at.
    ///
    /// # Errors
    /// The file cannot be read, or its first line is empty, too long, or not UTF-8.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, KeyError> {
        Self::from_file_of(path.as_ref()).map(|(key, _)| key)
    }

    /// The key from a file, and whether others than the owner of the file can read it.
    pub(crate) fn from_file_of(path: &Path) -> Result<(Self, bool), KeyError> {
        let mut file = File::open(path).map_err(KeyError::File)?;
        let exposed = is_exposed(&file).map_err(KeyError::File)?;
        let line = first_line(&mut file)?;
        let text = std::str::from_utf8(&line).map_err(|_| KeyError::NotText)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Ok((Key::parse(text.trim())?, exposed))
    }

    /// The signs that this key draws.
    pub fn signs(&self) -> Signs {
        let keyed = Zeroizing::new(blake3::Hasher::new_keyed(&self.subkey(SIGN_CONTEXT)));
        Signs(Box::new(Zeroizing::new(keyed.finalize_xof())))
    }

    /// A key for one purpose, from which neither this key nor that for another purpose can be told.
    pub(super) fn subkey(&self, context: &str) -> Zeroizing<[u8; 32]> {
        // Step by step instead of `blake3::derive_key`, which leaves its state behind.
        let mut hasher = Zeroizing::new(blake3::Hasher::new_derive_key(context));
        hasher.update(self.0.as_slice());
        let mut subkey = Zeroizing::new([0; 32]);
        Zeroizing::new(hasher.finalize_xof()).fill(subkey.as_mut_slice());
        subkey
    }
}

/// Overwrites what work with a key has left on the stack, further down than the caller stands. It would not stay there:
/// a value that is made in the same place later and moved to the heap takes along what it does not write itself, such
/// as the room of what an `Option` may hold one day, and that is not wiped when it is dropped.
#[inline(never)]
pub(super) fn wipe_stack() {
    let mut below = [0u8; 32 << 10];
    below.zeroize();
}

/// Whether others than the owner can read a file. A pipe or a terminal has no reader but this process.
#[cfg(unix)]
fn is_exposed(file: &File) -> std::io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let metadata = file.metadata()?;
    Ok(metadata.is_file() && metadata.mode() & 0o044 != 0)
}

/// Who can read a file is not so easily told here.
#[cfg(not(unix))]
fn is_exposed(_: &File) -> std::io::Result<bool> {
    Ok(false)
}

/// Reads up to the end of the first line, which is left out. The standard library's buffered reader would
/// keep a copy that nobody wipes.
fn first_line(file: &mut File) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    // All the room at once: a vector that grows leaves its old contents behind.
    let mut line = Zeroizing::new(vec![0; LONGEST_LINE + 1]);
    let mut filled = 0;
    while filled < line.len() {
        let read = match file.read(&mut line[filled..]) {
            Ok(0) => break,
            Ok(read) => read,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(KeyError::File(e)),
        };
        let new = filled..filled + read;
        filled = new.end;
        if let Some(end) = line[new.clone()].iter().position(|byte| *byte == b'\n') {
            line.truncate(new.start + end);
            return Ok(line);
        }
    }
    if filled > LONGEST_LINE {
        return Err(KeyError::TooLong);
    }
    line.truncate(filled);
    Ok(line)
}

fn parse_hex(text: &str) -> Option<Key> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let nibble = |c: u8| (c as char).to_digit(16);
    let mut key = Key::zero();
    for (byte, pair) in key.0.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (nibble(pair[0])? * 16 + nibble(pair[1])?) as u8;
    }
    Some(key)
}

fn stretch(passphrase: &str) -> Result<Key, KeyError> {
    use argon2::{Algorithm, Argon2, Block, Error, Params, Version};
    let parameters = Params::new(19_456, 2, 1, Some(32)).map_err(KeyError::Passphrase)?;
    // The key is a hash of the last of these blocks, so they are as secret as the key.
    let mut blocks = Zeroizing::new(Vec::new());
    blocks
        .try_reserve_exact(parameters.block_count())
        .map_err(|_| KeyError::Passphrase(Error::OutOfMemory))?;
    blocks.resize(parameters.block_count(), Block::new());
    let mut key = Key::zero();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
        .hash_password_into_with_memory(
            passphrase.as_bytes(),
            PASSPHRASE_SALT,
            key.0.as_mut_slice(),
            blocks.as_mut_slice(),
        )
        .map_err(KeyError::Passphrase)?;
    Ok(key)
}

/// The sign stream of a key: a seekable BLAKE3 output, 32 bytes a row. Wiped like the key.
#[derive(Clone)]
pub struct Signs(Box<Zeroizing<blake3::OutputReader>>);

impl std::fmt::Debug for Signs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signs(..)")
    }
}

impl Signs {
    /// Fills `signs` with the +1 and -1 of row `row`, chip by chip. Does not allocate.
    pub fn row(&mut self, row: u64, signs: &mut [f32; CHIPS]) {
        const PLUS_ONE: u32 = 1.0f32.to_bits();
        const MINUS_ONE: u32 = (-1.0f32).to_bits();
        let mut bytes = [0; ROW_BYTES];
        self.0.set_position(row * ROW_BYTES as u64);
        self.0.fill(&mut bytes);
        // By the bits of numbers, for a row is looked up for each of the hypotheses that are followed, in each slot;
        // and not from a table, lest what is read from memory tells of the key.
        for (signs, byte) in signs.chunks_mut(8).zip(bytes) {
            let eight: [f32; 8] = std::array::from_fn(|bit| {
                let negative = u32::from(byte) & 1 << bit != 0;
                f32::from_bits(if negative { MINUS_ONE } else { PLUS_ONE })
            });
            signs.copy_from_slice(&eight[..signs.len()]);
        }
    }
}
