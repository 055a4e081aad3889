// SPDX-License-Identifier: MIT OR Apache-2.0
//! Soft bits of a message, whatever they are: no panic, only codewords, and what is sure is read.

#![no_main]

use arbitrary::Arbitrary;
use gstwm::watermark::payload::{CODED_BITS, MessageCode, find_codeword};
use gstwm::watermark::{Key, Payload};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Case<'a> {
    key: u8,
    payload: [u8; 4],
    /// How sure the bits of the message are, in powers of two.
    exponent: i8,
    /// What is added to them, over and over.
    noise: &'a [u8],
    scale: f32,
    /// What some of them are instead.
    odd: Vec<(u8, f32)>,
    without_message: bool,
}

impl Case<'_> {
    fn soft(&self, code: &MessageCode) -> [f32; CODED_BITS] {
        let gain = if self.without_message {
            0.0
        } else {
            2f32.powi(i32::from(self.exponent))
        };
        let mut soft = code.encode(Payload(self.payload)).map(|bit| gain * bit);
        for (bit, byte) in soft.iter_mut().zip(self.noise.iter().cycle()) {
            *bit += self.scale * (f32::from(*byte) - 127.5) / 128.0;
        }
        for (at, value) in &self.odd {
            soft[usize::from(*at) % CODED_BITS] = *value;
        }
        soft
    }
}

fuzz_target!(|case: Case| {
    let code = MessageCode::new(&Key::from_bytes([case.key; 32]));
    let soft = case.soft(&code);
    let found = find_codeword(&soft);
    if let Some(bytes) = found {
        // The first 64 bits of a codeword make the others.
        let mut again = [0; CODED_BITS / 8];
        again[..8].copy_from_slice(&bytes[..8]);
        labrador_ldpc::LDPCCode::TC128.encode(&mut again);
        assert_eq!(bytes, again);
    }
    let decoded = code.decode(&soft);
    assert_eq!(decoded, found.and_then(|bytes| code.confirm(&bytes)));
    let clean = case.odd.is_empty() && case.noise.is_empty() && !case.without_message;
    if clean && (-60..60).contains(&case.exponent) {
        assert_eq!(decoded, Some(Payload(case.payload)));
    }
});
