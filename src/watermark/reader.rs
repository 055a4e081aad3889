// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the odd chips of a mark say that is followed: their sign, coded bits of a payload that is known, or bits that
//! are yet to be read.
//!
//! Chips times their signs are added up bit by bit, over the latest 8 rows, which hold a whole message wherever they
//! begin, and over more of them, up to 128. After each row the sums are given to the decoder, as soon as the even
//! chips, which are as loud, show that there is enough to decode.

use super::candidate::Pilots;
use super::format::{CHIPS, ROWS_PER_MESSAGE};
use super::key::Key;
use super::payload::{
    CODED_BITS, CODED_CHIPS, Codeword, MessageCode, Payload, Places, RowPlaces, modulate,
};
use super::rounding::to_bytes;
use super::row_history::energy;
use super::windows::score;

/// Rows that are added up. Which of these spans are tried after a row, changes from row to row.
pub const SPANS: [usize; 9] = [8, 12, 16, 24, 32, 48, 64, 96, 128];
/// Rows that are kept for that.
const KEPT: usize = SPANS[SPANS.len() - 1];
/// Score of the even chips below which it is of no use to try. The odd ones have the same: of messages with a score of
/// 9 one in a thousand is read, with 10 six, with 12 one in seven, with 14 six in ten, and with 16 all but one in
/// twenty (measured with normal noise).
const READABLE: f32 = 10.0;
/// What stays of the sums that tell pilots from coded bits, when the next row comes.
const STAYS: f32 = 0.9;
/// Score of the even chips with which the odd ones tell whether they say something or not.
const TELLING: f32 = 7.0;
/// Score below which nothing is heard, as in a pause, and nothing is given up.
const HEARD: f32 = 4.0;
/// By so much a score must be better before something else is believed about the odd chips. If it is right, a score is
/// better by a factor of the root of two.
const BETTER_BY: f32 = 1.0;

/// By so much the score of the even chips must be above that of the odd ones before these are tried to be read although
/// they seem to be pilots. If they are, the two differ by that in one row of 400.
const DISAGREE_BY: f32 = 4.0;

/// A row of the mark, as far as its payload goes.
#[derive(Clone)]
struct Row {
    /// The odd chips times their signs, in steps, and the coded bit in each.
    odd: [i8; CODED_CHIPS],
    step: f32,
    bits: RowPlaces,
    /// The same for the even chips together, and the energy of these.
    even: f32,
    even_energy: f32,
}

const NO_ROW: Row = Row {
    odd: [0; CODED_CHIPS],
    step: 0.0,
    bits: [0; CODED_CHIPS],
    even: 0.0,
    even_energy: 0.0,
};

impl Row {
    /// Sum of the odd chips times their signs and the coded bits.
    fn agreement(&self, codeword: &Codeword) -> f32 {
        let bits = self
            .bits
            .iter()
            .map(|bit| codeword[*bit as usize % CODED_BITS]);
        let products = self
            .odd
            .iter()
            .zip(bits)
            .map(|(odd, bit)| *odd as f32 * bit);
        self.step * products.sum::<f32>()
    }
}

/// Sums that fade, of the chips times their signs, and the energies behind them.
#[derive(Default, Clone, Copy)]
struct Recent {
    even: f32,
    /// The odd ones as they are, and times the coded bits that are known.
    odd: f32,
    odd_coded: f32,
    even_energy: f32,
    odd_energy: f32,
}

impl Recent {
    fn fade(&mut self) {
        let sums = [&mut self.even, &mut self.odd, &mut self.odd_coded];
        sums.into_iter().for_each(|sum| *sum *= STAYS);
        let energies = [&mut self.even_energy, &mut self.odd_energy];
        energies
            .into_iter()
            .for_each(|energy| *energy *= STAYS * STAYS);
    }

    fn of_even(&self) -> f32 {
        score(self.even, self.even_energy)
    }

    fn of_odd(&self) -> f32 {
        score(self.odd, self.odd_energy)
    }

    fn of_all(&self, odd: f32) -> f32 {
        score(self.even + odd, self.even_energy + self.odd_energy)
    }
}

/// Reads one mark.
pub struct Reader {
    code: MessageCode,
    /// For neighbouring messages: hypotheses that are followed side by side may differ by a few slots.
    places: [Places; 2],
    pilots: Pilots,
    known: Option<(Payload, Codeword)>,
    rows: Vec<Row>,
    /// Rows taken since the start.
    taken: usize,
    recent: Recent,
    tries: u64,
}

impl Reader {
    /// A reader of messages that were made with `key`.
    pub fn new(key: &Key) -> Self {
        Reader {
            code: MessageCode::new(key),
            places: std::array::from_fn(|_| Places::new(key)),
            pilots: Pilots::All,
            known: None,
            rows: vec![NO_ROW; KEPT],
            taken: 0,
            recent: Recent::default(),
            tries: 0,
        }
    }

    /// Forgets all rows, and what was read; in what follows, the pilots are these as far as is known.
    pub fn reset(&mut self, pilots: Pilots) {
        self.pilots = pilots;
        self.known = None;
        self.taken = 0;
        self.recent = Recent::default();
    }

    /// The payload, once it has been read.
    pub fn payload(&self) -> Option<Payload> {
        self.known.map(|(payload, _)| payload)
    }

    /// Which chips are pilots, as far as is known.
    pub fn pilots(&self) -> Pilots {
        self.pilots
    }

    /// Messages that were given to the decoder.
    pub fn tries(&self) -> u64 {
        self.tries
    }

    /// Whether the odd chips say anything that is known.
    pub fn odd_chips_count(&self) -> bool {
        self.pilots == Pilots::All || self.known.is_some()
    }

    /// Makes of the signs of row `row` of the key those that its chips are expected to have: coded bits that are not
    /// known count as 0.
    pub fn expect(&mut self, row: u64, signs: &mut [f32; CHIPS]) {
        match (self.pilots, &self.known) {
            (Pilots::All, _) => (),
            (Pilots::Even, None) => silence_odd(signs),
            (Pilots::Even, Some((_, codeword))) => {
                let places = &mut self.places[parity(row)];
                modulate(signs, codeword, places.row(row));
            }
        }
    }

    /// Takes the chips of a whole row and the signs of that row, row `row` of the key. Returns whether something else
    /// is believed about the odd chips from now on.
    pub fn take(&mut self, row: u64, chips: &[f32; CHIPS], signs: &[f32; CHIPS]) -> bool {
        let (mut new, mut odd_chips) = (NO_ROW, [0.0; CODED_CHIPS]);
        new.bits = *self.places[parity(row)].row(row);
        let pairs = chips.as_chunks::<2>().0.iter();
        for ((chip, sign), odd) in pairs.zip(signs.as_chunks::<2>().0).zip(&mut odd_chips) {
            new.even += chip[0] * sign[0];
            new.even_energy += chip[0] * chip[0];
            *odd = chip[1] * sign[1];
        }
        self.recent.fade();
        self.recent.even += new.even;
        self.recent.even_energy += new.even_energy;
        new.step = to_bytes(&odd_chips, &mut new.odd);
        self.recent.odd += odd_chips.iter().sum::<f32>();
        self.recent.odd_energy += energy(&odd_chips);
        if let Some((_, codeword)) = &self.known {
            self.recent.odd_coded += new.agreement(codeword);
        }
        self.rows[self.taken % KEPT] = new;
        self.taken += 1;
        let doubted = self.doubt();
        self.read() || doubted
    }

    /// Gives up what the latest rows speak against. Returns whether something has changed.
    fn doubt(&mut self) -> bool {
        let recent = &self.recent;
        let (even, all) = (recent.of_even(), recent.of_all(recent.odd));
        let coded = self.known.map(|_| recent.of_all(recent.odd_coded));
        if even.max(all).max(coded.unwrap_or(0.0)) < HEARD {
            return false;
        }
        match self.pilots {
            Pilots::All if even > all + BETTER_BY => self.pilots = Pilots::Even,
            Pilots::Even if all > even.max(coded.unwrap_or(even)) + BETTER_BY => {
                self.pilots = Pilots::All;
                self.known = None;
            }
            Pilots::Even if coded.is_some_and(|coded| even > coded + BETTER_BY) => {
                self.known = None;
            }
            _ => return false,
        }
        true
    }

    /// Tries to read the payload. Returns whether there is another one than before.
    fn read(&mut self) -> bool {
        if self.pilots == Pilots::All && !self.odd_chips_disagree() {
            return false;
        }
        // Where the latest rows as a whole still say what is known, the very latest may say something else already.
        let longest = if self.is_certain() { SPANS[0] } else { KEPT };
        let Some((payload, codeword)) = self.try_spans(longest) else {
            return false;
        };
        if !self.is_said_now(&codeword) {
            return false;
        }
        let new = self.payload() != Some(payload);
        if new {
            self.known = Some((payload, codeword));
            self.pilots = Pilots::Even;
            // What is known now was there before: it is believed as the even chips are.
            self.recent.odd_coded = self.recent.even;
        }
        new
    }

    /// Whether the odd chips agree with their signs clearly less than the even ones do. A message most of whose bits are
    /// +1 looks like pilots otherwise: of the messages that say 00000000, 3 of 100 were never read because of that.
    fn odd_chips_disagree(&self) -> bool {
        self.recent.of_even() > self.recent.of_odd() + DISAGREE_BY
    }

    /// Whether the latest rows say what was read: many rows may hold mostly what was said before. Looks back as far as
    /// it takes for the even chips to have a score of [`TELLING`]; of the right message the odd ones have the same, of
    /// another one about nothing.
    fn is_said_now(&self, codeword: &Codeword) -> bool {
        let (mut odd, mut even, mut even_energy) = (0.0, 0.0, 0.0);
        for age in 0..self.taken.min(KEPT) {
            let row = &self.rows[(self.taken - 1 - age) % KEPT];
            odd += row.agreement(codeword);
            even += row.even;
            even_energy += row.even_energy;
            if score(even, even_energy) >= TELLING {
                break;
            }
        }
        odd > 0.5 * even
    }

    /// Whether the latest rows say what is known.
    fn is_certain(&self) -> bool {
        let recent = &self.recent;
        self.known.is_some() && recent.of_all(recent.odd_coded) > recent.of_even() + 0.5
    }

    /// Adds up more and more of the latest rows, up to `longest`, and tries to decode where that may succeed.
    fn try_spans(&mut self, longest: usize) -> Option<(Payload, Codeword)> {
        let mut soft = [0.0; CODED_BITS];
        let (mut even, mut even_energy) = (0.0, 0.0);
        for age in 0..self.taken.min(longest) {
            let row = &self.rows[(self.taken - 1 - age) % KEPT];
            for (odd, bit) in row.odd.iter().zip(&row.bits) {
                soft[*bit as usize % CODED_BITS] += *odd as f32 * row.step;
            }
            even += row.even;
            even_energy += row.even_energy;
            let Some(span) = SPANS.iter().position(|rows| *rows == age + 1) else {
                continue;
            };
            // Of the spans of more than one message, one half after one row, and the other after the next.
            let due = span == 0 || span % 2 == self.taken % 2;
            if due && score(even, even_energy) >= READABLE {
                self.tries += 1;
                if let Some(payload) = self.code.decode(&soft) {
                    return Some((payload, self.code.encode(payload)));
                }
            }
        }
        None
    }
}

/// Which of two neighbouring messages a row belongs to.
fn parity(row: u64) -> usize {
    (row / ROWS_PER_MESSAGE as u64 % 2) as usize
}

/// Makes the odd chips, or their signs, count as nothing.
pub fn silence_odd(chips: &mut [f32; CHIPS]) {
    for pair in chips.as_chunks_mut::<2>().0 {
        pair[1] = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of a mark one after the other, in noise.
    struct Source {
        key: Key,
        reader: Reader,
        row: u64,
        state: u64,
    }

    impl Source {
        fn new() -> Self {
            Source::with(Key::from_bytes([5; 32]), Pilots::Even)
        }

        fn with(key: Key, pilots: Pilots) -> Self {
            let mut reader = Reader::new(&key);
            reader.reset(pilots);
            Source {
                key,
                reader,
                row: 0,
                state: 1,
            }
        }

        /// From -1 to 1.
        fn noise(&mut self) -> f32 {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            (self.state >> 40) as f32 / (1 << 23) as f32 - 1.0
        }

        /// Takes a row of a mark that says this, at a level below the noise, or none at all.
        fn take(&mut self, level: f32, payload: Payload) {
            let mut signs = [0.0; CHIPS];
            self.key.signs().row(self.row, &mut signs);
            let mut said = signs;
            let codeword = MessageCode::new(&self.key).encode(payload);
            modulate(&mut said, &codeword, Places::new(&self.key).row(self.row));
            let chips = said.map(|sign| level * sign + self.noise());
            self.reader.take(self.row, &chips, &signs);
            self.row += 1;
        }
    }

    const FIRST: Payload = Payload([0, 0, 0, 1]);
    const SECOND: Payload = Payload([0, 0, 0, 2]);

    #[test]
    fn another_payload_is_noticed_within_a_message() {
        let mut source = Source::new();
        (0..32).for_each(|_| source.take(0.5, FIRST));
        assert_eq!(source.reader.payload(), Some(FIRST));
        (0..9).for_each(|_| source.take(0.5, SECOND));
        assert_eq!(source.reader.payload(), Some(SECOND));
    }

    #[test]
    fn a_message_that_looks_like_pilots_is_read() {
        // Of many keys that whose message says +1 most.
        let keys = (0..4096u32).map(|number| {
            let bytes = number.to_le_bytes();
            Key::from_bytes(std::array::from_fn(|i| bytes[i % 4]))
        });
        let plain = |key: &Key| {
            let codeword = MessageCode::new(key).encode(Payload([0; 4]));
            codeword.iter().filter(|bit| **bit > 0.0).count()
        };
        let key = keys.max_by_key(plain).unwrap();
        assert!(plain(&key) >= 92, "{}", plain(&key));
        let mut source = Source::with(key, Pilots::All);
        (0..24).for_each(|_| source.take(2.0, Payload([0; 4])));
        assert_eq!(source.reader.payload(), Some(Payload([0; 4])));
        assert_eq!(source.reader.pilots(), Pilots::Even);
    }

    #[test]
    fn pilots_are_not_tried_to_be_read() {
        let mut source = Source::with(Key::from_bytes([5; 32]), Pilots::All);
        let mut signs = [0.0; CHIPS];
        for _ in 0..1000 {
            source.key.signs().row(source.row, &mut signs);
            let chips = signs.map(|sign| 0.5 * sign + source.noise());
            source.reader.take(source.row, &chips, &signs);
            source.row += 1;
        }
        assert_eq!(source.reader.pilots(), Pilots::All);
        assert!(source.reader.tries() < 100, "{}", source.reader.tries());
    }

    #[test]
    fn a_pause_says_nothing_against_what_was_read() {
        let mut source = Source::new();
        (0..32).for_each(|_| source.take(0.3, FIRST));
        for _ in 0..500 {
            source.take(0.0, FIRST);
            assert_eq!(source.reader.pilots(), Pilots::Even);
            assert_eq!(source.reader.payload(), Some(FIRST), "row {}", source.row);
        }
    }

    #[test]
    fn a_mark_may_cease_to_say_anything() {
        let mut source = Source::new();
        (0..32).for_each(|_| source.take(0.5, FIRST));
        let mut signs = [0.0; CHIPS];
        for _ in 0..16 {
            source.key.signs().row(source.row, &mut signs);
            let chips = signs.map(|sign| 0.5 * sign + source.noise());
            source.reader.take(source.row, &chips, &signs);
            source.row += 1;
        }
        assert_eq!(source.reader.pilots(), Pilots::All);
        assert_eq!(source.reader.payload(), None);
    }
}
