// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a mark says: four bytes, protected by a tag and an error-correcting code, and where its bits lie.
//!
//! A message is the payload and a keyed tag, 64 bits, as a codeword of 128 bits of the CCSDS code TC(128, 64)
//! (CCSDS 231.1-O-1). It fills the odd chips of eight rows, each coded bit six or seven times, once in each kilohertz
//! from 300 Hz up: programme and rooms leave some frequencies and take others, and no bit shall depend on one.
//! Where in its kilohertz and in which row is drawn anew for each message, from the key.

use super::format::{CHIPS, PAYLOAD_TAG_CONTEXT, PLACES_CONTEXT, ROWS_PER_MESSAGE};
use super::key::Key;
use labrador_ldpc::LDPCCode;
use zeroize::Zeroizing;

/// The error-correcting code, and bits of a codeword.
const CODE: LDPCCode = LDPCCode::TC128;
pub const CODED_BITS: usize = 128;
/// Iterations after which a decoder gives up. With half of them, 5 of 100 messages fewer are decoded where half are
/// (measured with noise); a try that fails takes half a millisecond.
const MOST_ITERATIONS: usize = 40;
/// Lengths of the decoder's scratch memory.
const WORKING: usize = CODE.decode_ms_working_len();
const WORKING_BYTES: usize = CODE.decode_ms_working_u8_len();
const _: () = assert!(CODE.n() == CODED_BITS && CODE.k() == 64 && CODE.output_len() == 16);

/// Chips of a row that carry coded bits, the odd ones.
pub const CODED_CHIPS: usize = CHIPS / 2;
/// Of these, so many neighbours hold each coded bit once in the rows of a message.
const CHIPS_PER_BLOCK: usize = CODED_BITS / ROWS_PER_MESSAGE;
const BLOCKS: usize = CODED_CHIPS.div_ceil(CHIPS_PER_BLOCK);
/// Bytes of the stream of places that a message takes: a number of 32 bits for each bit in each block.
const MESSAGE_BYTES: usize = 4 * CODED_BITS * BLOCKS;

/// Four bytes that a mark can carry.
///
/// ```
/// use gstwm::watermark::Payload;
/// let payload: Payload = "00c0ffee".parse().unwrap();
/// assert_eq!(payload.0, [0x00, 0xc0, 0xff, 0xee]);
/// assert_eq!(payload.to_string(), "00c0ffee");
/// assert!("c0ffee".parse::<Payload>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Payload(pub [u8; 4]);

/// The text is not a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadError;

impl std::fmt::Display for PayloadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a payload is 8 hex digits, such as 00c0ffee")
    }
}

impl std::error::Error for PayloadError {}

impl std::fmt::Display for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl std::str::FromStr for Payload {
    type Err = PayloadError;

    fn from_str(text: &str) -> Result<Self, PayloadError> {
        if text.len() != 8 || !text.bytes().all(|c| c.is_ascii_hexdigit()) {
            return Err(PayloadError);
        }
        let number = u32::from_str_radix(text, 16).map_err(|_| PayloadError)?;
        Ok(Payload(number.to_be_bytes()))
    }
}

/// The bits of a message as the factors +1 and -1 that the signs of its chips are multiplied by.
pub type Codeword = [f32; CODED_BITS];

/// Makes messages of payloads, and payloads of messages.
#[derive(Clone)]
pub struct MessageCode {
    /// In a box, so that nothing is left where the code has been moved from.
    tag_key: Box<Zeroizing<[u8; 32]>>,
}

impl MessageCode {
    /// The code of a key.
    pub fn new(key: &Key) -> Self {
        MessageCode {
            tag_key: Box::new(key.subkey(PAYLOAD_TAG_CONTEXT)),
        }
    }

    /// Four bytes that only who has the key can make for this payload.
    fn tag(&self, payload: Payload) -> [u8; 4] {
        let mut hasher = Zeroizing::new(blake3::Hasher::new_keyed(&self.tag_key));
        hasher.update(&payload.0);
        let mut tag = [0; 4];
        Zeroizing::new(hasher.finalize_xof()).fill(&mut tag);
        tag
    }

    /// The message of a payload.
    pub fn encode(&self, payload: Payload) -> Codeword {
        let mut bytes = [0; CODED_BITS / 8];
        bytes[..4].copy_from_slice(&payload.0);
        bytes[4..8].copy_from_slice(&self.tag(payload));
        CODE.encode(&mut bytes);
        std::array::from_fn(|bit| match bytes[bit / 8] >> (7 - bit % 8) & 1 {
            0 => 1.0,
            _ => -1.0,
        })
    }

    /// The payload of a message of which `soft` tells how likely each bit is: the sum of the chips that it lies in,
    /// times their signs. Only what the tag confirms is a payload; a wrong one passes once in 2^32 codewords.
    pub fn decode(&self, soft: &[f32; CODED_BITS]) -> Option<Payload> {
        self.confirm(&find_codeword(soft)?)
    }

    /// The payload of a codeword, if the tag confirms it.
    pub fn confirm(&self, codeword: &[u8; CODED_BITS / 8]) -> Option<Payload> {
        let payload = Payload([codeword[0], codeword[1], codeword[2], codeword[3]]);
        (codeword[4..8] == self.tag(payload)).then_some(payload)
    }
}

/// A codeword that lies near what `soft` tells of its bits, if the decoder finds one.
pub fn find_codeword(soft: &[f32; CODED_BITS]) -> Option<[u8; CODED_BITS / 8]> {
    let mut bytes = [0; CODED_BITS / 8];
    let (decoded, _) = CODE.decode_ms(
        soft,
        &mut bytes,
        &mut [0.0; WORKING],
        &mut [0; WORKING_BYTES],
        MOST_ITERATIONS,
    );
    decoded.then_some(bytes)
}

/// Which coded bit lies in which odd chip: place `i` is chip `2 i + 1`.
pub type RowPlaces = [u8; CODED_CHIPS];

/// The places of the coded bits in one message after the other.
#[derive(Clone)]
pub struct Places {
    stream: Box<Zeroizing<blake3::OutputReader>>,
    message: Option<u64>,
    rows: [RowPlaces; ROWS_PER_MESSAGE],
}

impl Places {
    /// The places that a key draws.
    pub fn new(key: &Key) -> Self {
        let hasher = Zeroizing::new(blake3::Hasher::new_keyed(&key.subkey(PLACES_CONTEXT)));
        Places {
            stream: Box::new(Zeroizing::new(hasher.finalize_xof())),
            message: None,
            rows: [[0; CODED_CHIPS]; ROWS_PER_MESSAGE],
        }
    }

    /// The places in row `row` of the key. Does not allocate.
    pub fn row(&mut self, row: u64) -> &RowPlaces {
        let message = row / ROWS_PER_MESSAGE as u64;
        if self.message != Some(message) {
            self.message = Some(message);
            self.draw(message);
        }
        &self.rows[(row % ROWS_PER_MESSAGE as u64) as usize]
    }

    fn draw(&mut self, message: u64) {
        let mut numbers = [0; 4 * CODED_BITS];
        self.stream
            .set_position(message.wrapping_mul(MESSAGE_BYTES as u64));
        for block in 0..BLOCKS {
            self.stream.fill(&mut numbers);
            let mut bits: [(u32, u8); CODED_BITS] = std::array::from_fn(|bit| {
                let number = numbers[4 * bit..].first_chunk().copied();
                (u32::from_le_bytes(number.unwrap_or_default()), bit as u8)
            });
            bits.sort_unstable();
            let first = block * CHIPS_PER_BLOCK;
            for (place, (_, bit)) in bits.into_iter().enumerate() {
                let (chip, row) = (first + place / ROWS_PER_MESSAGE, place % ROWS_PER_MESSAGE);
                if chip < CODED_CHIPS {
                    self.rows[row][chip] = bit;
                }
            }
        }
    }
}

/// Multiplies the signs of odd chips by the coded bits that lie there.
pub fn modulate(signs: &mut [f32; CHIPS], codeword: &Codeword, places: &RowPlaces) {
    for (pair, bit) in signs.as_chunks_mut::<2>().0.iter_mut().zip(places) {
        pair[1] *= codeword[*bit as usize % CODED_BITS];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::from_bytes([5; 32])
    }

    #[test]
    fn a_message_has_each_bit_once_in_each_kilohertz() {
        let mut places = Places::new(&key());
        for message in [0, 127, 1_100_000_000] {
            let mut counts = [[0; CODED_BITS]; BLOCKS];
            for row in 0..ROWS_PER_MESSAGE as u64 {
                let of_row = places.row(message * ROWS_PER_MESSAGE as u64 + row);
                for (chip, bit) in of_row.iter().enumerate() {
                    counts[chip / CHIPS_PER_BLOCK][*bit as usize] += 1;
                }
            }
            let (last, whole) = counts.split_last().unwrap();
            assert!(whole.iter().flatten().all(|count| *count == 1));
            assert!(last.iter().all(|count| *count <= 1));
        }
        let (first, second) = (*places.row(0), *places.row(8));
        assert_ne!(first, second, "each message has places of its own");
    }

    #[test]
    fn what_is_encoded_is_decoded_in_noise_but_not_with_another_key() {
        let code = MessageCode::new(&key());
        let other = MessageCode::new(&Key::from_bytes([6; 32]));
        let mut state = 1u64;
        let mut noise = || {
            // The sum of twelve uniform numbers is close to normal.
            (0..12).fold(-6.0, |sum, _| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                sum + (state >> 40) as f32 / (1 << 24) as f32
            })
        };
        let payloads = [[0; 4], [0xff; 4], [0, 0xc0, 0xff, 0xee]].map(Payload);
        let (mut decoded, mut tries) = (0, 0);
        for payload in payloads {
            let codeword = code.encode(payload);
            for _ in 0..100 {
                let soft = codeword.map(|bit| 1.6 * bit + noise());
                tries += 1;
                if let Some(got) = code.decode(&soft) {
                    assert_eq!(got, payload);
                    decoded += 1;
                }
                assert_eq!(other.decode(&soft), None);
            }
        }
        assert!(10 * decoded >= 9 * tries, "{decoded} of {tries}");
    }

    #[test]
    fn noise_is_no_message() {
        let code = MessageCode::new(&key());
        for soft in [
            [0.0; CODED_BITS],
            [f32::NAN; CODED_BITS],
            [f32::MAX; CODED_BITS],
        ] {
            assert_eq!(code.decode(&soft), None);
        }
    }
}
