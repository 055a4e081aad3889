// SPDX-License-Identifier: MIT OR Apache-2.0
//! The signs that the carrier is multiplied by: those of the key, and in odd chips the coded bits of the payload.

use super::format::{CHIPS, ROW_NANOSECONDS, ROWS_PER_MESSAGE, RowClock};
use super::key::{Key, Signs};
use super::payload::{Codeword, MessageCode, Payload, Places, modulate};

/// Time of a message, in nanoseconds.
const MESSAGE_NANOSECONDS: u64 = ROW_NANOSECONDS * ROWS_PER_MESSAGE as u64;

/// From a moment of the row clock on, messages say something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadChange {
    /// Nanoseconds of the row clock.
    pub at: u64,
    /// What they say: nothing if there is no payload, and then all chips carry their sign.
    pub payload: Option<Payload>,
}

/// A message under way.
#[derive(Clone)]
struct Message {
    number: u64,
    codeword: Option<Codeword>,
}

/// Signs of one moment after the other.
pub struct Modulation {
    row_clock: RowClock,
    signs: Signs,
    code: MessageCode,
    places: [Places; 2],
    payload: Option<Payload>,
    /// What the latest message says.
    said: Option<Payload>,
    /// What was said from the latest change on that was taken.
    told: Option<Payload>,
    /// The latest message, and the one before.
    messages: [Option<Message>; 2],
    change: Option<PayloadChange>,
    start: u64,
}

impl Modulation {
    /// The signs of a key, without a payload.
    pub fn new(key: &Key, row_clock: RowClock) -> Self {
        Modulation {
            row_clock,
            signs: key.signs(),
            code: MessageCode::new(key),
            places: std::array::from_fn(|_| Places::new(key)),
            payload: None,
            said: None,
            told: None,
            messages: [None, None],
            change: None,
            start: 0,
        }
    }

    /// Starts anew at `start` nanoseconds of the row clock: the next message need not follow any other. A change that
    /// has not been taken comes again, at the start.
    pub fn reset(&mut self, start: u64) {
        self.start = start;
        self.said = self.told;
        self.messages = [None, None];
        self.change = None;
    }

    /// What messages that have not begun are to say.
    pub fn set_payload(&mut self, payload: Option<Payload>) {
        self.payload = payload;
    }

    /// The latest change of what is said, unless it has been taken already. The start of the stream is one if there
    /// was another payload before, or none.
    pub fn take_change(&mut self) -> Option<PayloadChange> {
        let change = self.change.take()?;
        self.told = change.payload;
        Some(change)
    }

    /// Signs of the rows themselves: of row `nanoseconds` / 200 ms, without a payload.
    pub fn plain(&mut self, nanoseconds: u64) -> [f32; CHIPS] {
        let mut signs = [0.0; CHIPS];
        self.signs.row(self.row_clock.row(nanoseconds), &mut signs);
        signs
    }

    /// Signs at `nanoseconds` of the row clock. Moments may be asked for in any order within a message or two.
    pub fn signs(&mut self, nanoseconds: u64) -> [f32; CHIPS] {
        let mut signs = self.plain(nanoseconds);
        let number = nanoseconds / MESSAGE_NANOSECONDS;
        let newest = self.messages[0].as_ref().map(|message| message.number);
        if newest.is_none_or(|newest| newest < number) {
            self.begin_message(number);
        }
        let is_asked_for = |message: &&Message| message.number == number;
        if let Some(message) = self.messages.iter().flatten().find(is_asked_for)
            && let Some(codeword) = &message.codeword
        {
            let row = self.row_clock.row(nanoseconds);
            let places = &mut self.places[(number % 2) as usize];
            modulate(&mut signs, codeword, places.row(row));
        }
        signs
    }

    /// From here on, what was set last is said.
    fn begin_message(&mut self, number: u64) {
        let latest = self.messages[0].take();
        let changes = self.payload != self.said;
        if changes {
            self.said = self.payload;
            let begins = match latest {
                // In the midst of one, at the start of the stream.
                None => self.start,
                Some(_) => number.saturating_mul(MESSAGE_NANOSECONDS),
            };
            self.change = Some(PayloadChange {
                at: begins,
                payload: self.payload,
            });
        }
        let codeword = match &latest {
            Some(message) if !changes => message.codeword,
            _ => self.payload.map(|payload| self.code.encode(payload)),
        };
        self.messages = [Some(Message { number, codeword }), latest];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: u64 = MESSAGE_NANOSECONDS;

    fn modulation() -> Modulation {
        Modulation::new(&Key::from_bytes([5; 32]), RowClock::Stream)
    }

    fn odd_chips_differ(a: &[f32; CHIPS], b: &[f32; CHIPS]) -> bool {
        let even = (0..CHIPS).step_by(2);
        assert!(even.clone().all(|chip| a[chip] == b[chip]), "pilots stay");
        even.filter(|chip| a[chip + 1] != b[chip + 1]).count() > 20
    }

    #[test]
    fn without_a_payload_all_chips_carry_their_sign() {
        let mut modulation = modulation();
        for at in [0, MESSAGE, 700 * MESSAGE] {
            assert_eq!(modulation.signs(at), modulation.plain(at));
        }
        assert_eq!(modulation.take_change(), None);
    }

    #[test]
    fn a_payload_begins_with_a_message() {
        let mut modulation = modulation();
        let payload = Some(Payload([1, 2, 3, 4]));
        modulation.signs(MESSAGE / 2);
        modulation.set_payload(payload);
        let signs = modulation.signs(MESSAGE - 1);
        assert_eq!(signs, modulation.plain(MESSAGE - 1), "not in the midst");
        assert_eq!(modulation.take_change(), None);
        let signs = modulation.signs(MESSAGE + 1);
        assert!(odd_chips_differ(&signs, &modulation.plain(MESSAGE + 1)));
        let change = PayloadChange {
            at: MESSAGE,
            payload,
        };
        assert_eq!(modulation.take_change(), Some(change));
        assert_eq!(modulation.take_change(), None);
        // What lies before is still what it was.
        assert_eq!(modulation.signs(MESSAGE - 1), modulation.plain(MESSAGE - 1));
        modulation.set_payload(None);
        modulation.signs(2 * MESSAGE - 1);
        assert_eq!(modulation.signs(2 * MESSAGE), modulation.plain(2 * MESSAGE));
        assert_eq!(modulation.take_change().map(|c| c.at), Some(2 * MESSAGE));
    }

    #[test]
    fn a_stream_may_start_in_the_midst_of_a_message() {
        let mut modulation = modulation();
        modulation.set_payload(Some(Payload([9; 4])));
        modulation.reset(MESSAGE / 3);
        let signs = modulation.signs(MESSAGE / 2);
        assert!(odd_chips_differ(&signs, &modulation.plain(MESSAGE / 2)));
        assert_eq!(modulation.take_change().map(|c| c.at), Some(MESSAGE / 3));
        // The same again is no change.
        modulation.reset(7 * MESSAGE);
        modulation.signs(7 * MESSAGE);
        assert_eq!(modulation.take_change(), None);
    }

    #[test]
    fn a_change_that_nobody_took_comes_again() {
        let mut modulation = modulation();
        modulation.signs(0);
        modulation.set_payload(Some(Payload([9; 4])));
        modulation.signs(MESSAGE);
        modulation.reset(MESSAGE / 3);
        modulation.signs(MESSAGE / 2);
        assert_eq!(modulation.take_change().map(|c| c.at), Some(MESSAGE / 3));
    }

    #[test]
    fn two_messages_are_known_at_a_time() {
        let mut modulation = modulation();
        modulation.set_payload(Some(Payload([1; 4])));
        let before = modulation.signs(3 * MESSAGE - 1);
        modulation.set_payload(Some(Payload([2; 4])));
        let after = modulation.signs(3 * MESSAGE);
        assert_eq!(modulation.signs(3 * MESSAGE - 1), before);
        assert_eq!(modulation.signs(3 * MESSAGE), after);
    }
}
