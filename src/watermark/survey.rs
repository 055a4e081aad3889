// SPDX-License-Identifier: MIT OR Apache-2.0
//! The search of the detector with many keys on one recording, and the decoding of messages at many places in it, to
//! count how often it would err.
//!
//! What depends on the audio alone is done once. Not part of the interface: `examples/unmarked.rs` and
//! `examples/payload_null.rs` use it.

use super::candidate::{Best, LocalClock};
use super::correlation::{Correlator, Slot};
use super::downmix::Downmix;
use super::format::{CHIPS, ConfigError, ROWS, RowClock, check_stream};
use super::key::Key;
use super::payload::{CODED_BITS, MessageCode, Payload, Places, find_codeword};
use super::reader::SPANS;
use super::row_history::RowHistory;
use super::rows::KeyRows;
use super::search::Search;
use super::speeds::{SpeedMap, speed_maps, write_chips};
use super::thresholds::Thresholds;
use super::workspace::Workspace;

/// Seconds of audio that are taken at once.
const BLOCK: f64 = 0.01;
/// So many alarms an hour are the most that can be told: the more, the more hypotheses are looked at closely.
pub const MOST_ALARMS: f64 = 300.0;

/// A test that the threshold of [`MOST_ALARMS`] would call an alarm; of several after one slot the least likely.
#[derive(Debug, Clone, Copy)]
pub struct Peak {
    /// Middle of the latest slot, since the start of the stream.
    pub seconds: f64,
    pub score: f64,
    /// Expected false alarms in an hour, as a decimal logarithm, with a threshold that the score just reaches.
    pub log10_alarms: f64,
}

/// Where in a stream messages are tried to be decoded.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The latest slot; the rows end with the last whole one before it.
    pub slot: usize,
    /// Index of the speed.
    pub speed: usize,
    /// Where rows begin, one of five.
    pub alignment: usize,
    /// Row of the key at the start of the stream.
    pub first_row: u64,
}

/// What came of a try to decode.
#[derive(Debug, Clone, Copy)]
pub struct Try {
    /// Rows that were added up.
    pub rows: usize,
    /// Whether the decoder came to a codeword.
    pub codeword: bool,
    /// What it says, if the tag confirms that.
    pub payload: Option<Payload>,
}

/// A stream of audio, correlated and kept for the search with one key after the other.
pub struct Survey {
    channels: usize,
    downmix: Downmix,
    mix: Vec<f32>,
    correlator: Correlator,
    kept: Kept,
}

/// Time of each slot, and its chips one behind the other.
struct Kept {
    rate: f64,
    maps: Vec<SpeedMap>,
    slots: Vec<f64>,
    chips: Vec<f32>,
}

impl Kept {
    fn add(&mut self, slot: &Slot) {
        self.slots.push(slot.middle / self.rate);
        let begin = self.chips.len();
        self.chips.resize(begin + self.maps.len() * CHIPS, 0.0);
        write_chips(slot.sums, &self.maps, &mut self.chips[begin..]);
    }
}

impl Survey {
    /// For audio of a format and speeds up to `max_speed_deviation` percent from the nominal one.
    ///
    /// # Errors
    /// A format that the detector does not take.
    pub fn new(
        sample_rate: u32,
        channels: usize,
        max_speed_deviation: f64,
    ) -> Result<Self, ConfigError> {
        check_stream(sample_rate, channels)?;
        let rate = sample_rate as f64;
        let block = (BLOCK * rate) as usize;
        let deviation = max_speed_deviation / 100.0;
        let correlator = Correlator::new(sample_rate, deviation, block);
        Ok(Survey {
            channels,
            downmix: Downmix::new(sample_rate, channels),
            mix: vec![0.0; block],
            kept: Kept {
                rate,
                maps: speed_maps(deviation, &correlator),
                slots: Vec::new(),
                chips: Vec::new(),
            },
            correlator,
        })
    }

    /// Takes interleaved frames. An hour of audio takes 1.6 GB with 11 speeds.
    pub fn push(&mut self, input: &[f32]) {
        for piece in input.chunks(self.mix.len() * self.channels) {
            let mix = &mut self.mix[..piece.len() / self.channels];
            self.downmix.mix(piece, mix);
            let kept = &mut self.kept;
            self.correlator.push(mix, |slot| kept.add(&slot));
        }
    }

    /// Takes what there is of the last slot.
    pub fn finish(&mut self) {
        let kept = &mut self.kept;
        self.correlator.finish(|slot| kept.add(&slot));
    }

    /// Forgets all audio.
    pub fn reset(&mut self) {
        self.downmix.reset();
        self.correlator.reset();
        self.kept.slots.clear();
        self.kept.chips.clear();
    }

    /// Searches all of the stream with `key`, to its end; returns the highest score.
    pub fn search(&self, key: &Key, mut peak: impl FnMut(Peak)) -> f64 {
        let Kept {
            maps, slots, chips, ..
        } = &self.kept;
        let speeds = maps.len();
        let rows = KeyRows::new(key.signs(), RowClock::Stream, ROWS, 0);
        let thresholds = Thresholds::new(1, rows.len(), speeds, speeds / 2, MOST_ALARMS);
        let mut work = Workspace::new(rows.len(), speeds);
        let mut search = Search::new(rows, speeds, thresholds);
        search.reset(LocalClock { first_row: 0 });
        let mut history = RowHistory::new(speeds);
        let mut tell = |seconds, best: Best| {
            if let Some(candidate) = best.candidate {
                peak(Peak {
                    seconds,
                    score: candidate.score,
                    log10_alarms: best.log10_rate,
                });
            }
        };
        let of_slots = chips.chunks_exact(speeds * CHIPS);
        for (&seconds, chips) in slots.iter().zip(of_slots) {
            history.push(chips);
            tell(
                seconds,
                search.test_next(seconds, &history, maps, &mut work),
            );
        }
        let end = slots.last().copied().unwrap_or_default();
        tell(end, search.test_all(&mut history, &mut work));
        search.highest()
    }

    /// Slots so far.
    pub fn slots(&self) -> usize {
        self.kept.slots.len()
    }

    /// Speeds; the nominal one is in the middle.
    pub fn speeds(&self) -> usize {
        self.kept.maps.len()
    }

    /// Tries to decode messages of `key` that end at `place`, over as many rows as the detector would add up, but
    /// whether or not there is a mark: the detector would not try without one. The tag is to be that of `tag_key`.
    pub fn decode(&self, key: &Key, tag_key: &Key, place: Place, mut tell: impl FnMut(Try)) {
        let (mut signs, mut places) = (key.signs(), Places::new(key));
        let code = MessageCode::new(tag_key);
        let clock = LocalClock {
            first_row: place.first_row as i64,
        };
        let Kept {
            maps, slots, chips, ..
        } = &self.kept;
        let row_of = |slot: usize| clock.row(slots[slot], maps[place.speed].speed, place.alignment);
        let (mut soft, mut of_row) = ([0.0; CODED_BITS], [0.0; CHIPS]);
        let Some(last) = (0..place.slot)
            .rev()
            .find(|&slot| row_of(slot) != row_of(place.slot))
        else {
            return;
        };
        let (mut row, mut rows) = (i64::MAX, 0);
        for slot in (0..=last).rev() {
            if row_of(slot) != row {
                // What has been added so far, is whole rows.
                if SPANS.contains(&rows) {
                    let codeword = find_codeword(&soft);
                    tell(Try {
                        rows,
                        codeword: codeword.is_some(),
                        payload: codeword.and_then(|codeword| code.confirm(&codeword)),
                    });
                }
                if rows == SPANS[SPANS.len() - 1] {
                    return;
                }
                row = row_of(slot);
                rows += 1;
                signs.row(row.rem_euclid(ROWS as i64) as u64, &mut of_row);
            }
            let begin = (slot * maps.len() + place.speed) * CHIPS;
            let bits = places.row(row.rem_euclid(ROWS as i64) as u64);
            let pairs = chips[begin..][..CHIPS].as_chunks::<2>().0.iter();
            for ((chip, sign), bit) in pairs.zip(of_row.as_chunks::<2>().0).zip(bits) {
                soft[*bit as usize % CODED_BITS] += chip[1] * sign[1];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{RATE, marked};
    use super::*;

    #[test]
    fn a_message_is_decoded_in_its_rows_with_its_key_only() {
        let (key, other) = (Key::from_bytes([1; 32]), Key::from_bytes([2; 32]));
        let payload = Payload([0, 0xc0, 0xff, 0xee]);
        let mut survey = Survey::new(RATE as u32, 1, 0.0).unwrap();
        survey.push(&marked(6, &key, Some(payload)));
        survey.finish();
        let place = Place {
            slot: survey.slots() - 1,
            speed: 0,
            alignment: 0,
            first_row: 0,
        };
        let wrong_rows = Place {
            first_row: 400,
            ..place
        };
        for (key, tag_key, place, codewords, wanted) in [
            (&key, &key, place, true, Some(payload)),
            (&key, &other, place, true, None),
            (&other, &other, place, false, None),
            (&key, &key, wrong_rows, false, None),
        ] {
            let mut rows = Vec::new();
            survey.decode(key, tag_key, place, |one| {
                assert_eq!((one.codeword, one.payload), (codewords, wanted));
                rows.push(one.rows);
            });
            assert_eq!(rows, [8, 12, 16, 24]);
        }
    }
}
