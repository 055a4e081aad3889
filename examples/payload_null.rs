// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counts how often a payload is read where there is none, or another one: never, is the promise.
//!
//! ```sh
//! make payload-null FILES="talk/*.opus songs/*.flac" TRIES=1000000 RATE=16000
//! cargo run --release --example payload_null -- --tries 10000 --rate 16000 interview.wav
//! ```
//!
//! `wmdetect` tries to read a payload only where it has found the mark of its key, so what it could read wrongly is
//! tried here without asking for a mark: rows are added up and given to the decoder at random places of the first five
//! minutes of each recording, at a random one of the speeds and alignments that are searched by default, over 8, 12, 16
//! and so on up to 128 rows. Tries are split evenly among the recordings. There are as many as asked for of each of
//! these kinds:
//!
//! - unmarked: the recording as it is, a new key at each place;
//! - other keys: the recording marked with a payload, read with a new key at each place;
//! - wrong rows: the same, read with the right key, but other rows of it than are there.
//!
//! And a tenth as many of these:
//!
//! - other tag: the same, read with the right key and rows, but with the tag of a new key at each place;
//! - right rows: the same, read as it should be. Here payloads are read, and it is counted whether they are right.
//!
//! The first three show that there is seldom anything for the tag to judge, the fourth that it does judge. What is
//! marked has another payload in each message and is 0, 6, 12 or 18 dB weaker than usual in turn, so rows of several
//! messages contradict each other, and many messages are hard to read.

#[path = "common/decode.rs"]
mod decode;
// A part of it is used here.
#[allow(dead_code)]
#[path = "../tests/common/random.rs"]
mod random;

use decode::Result;
use gstwm::watermark::survey::{Place, Survey};
use gstwm::watermark::{Carrier, Embedder, EmbedderConfig, Key, Payload, RowClock};
use random::Random;
use std::collections::HashSet;
use std::time::Instant;

/// Seconds of a recording that are used.
const LONGEST: usize = 300;
/// Speeds up to so many percent from the nominal one, the default of `wmdetect`.
const DEVIATION: f64 = 0.1;
/// Frames that the embedder gets at once: tenths of a second, 16 of which make a message.
const PER_SECOND: usize = 10;
const PER_MESSAGE: usize = 16;
/// Strengths of the mark in one message after the other, in decibels.
const STRENGTHS: [f64; 4] = [0.0, -6.0, -12.0, -18.0];
/// One in so many tries is of the kinds that come to a codeword often.
const FEWER: u64 = 10;
/// Rows of the key; those within `NEAR` of the right one may hold a part of it.
const ROWS: u64 = 1024;
const NEAR: u64 = 4;

/// What is read, and how.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Unmarked,
    OtherKeys,
    WrongRows,
    OtherTag,
    RightRows,
}

impl Kind {
    const ALL: [Kind; 5] = [
        Kind::Unmarked,
        Kind::OtherKeys,
        Kind::WrongRows,
        Kind::OtherTag,
        Kind::RightRows,
    ];

    fn name(self) -> &'static str {
        match self {
            Kind::Unmarked => "unmarked",
            Kind::OtherKeys => "other keys",
            Kind::WrongRows => "wrong rows",
            Kind::OtherTag => "other tag",
            Kind::RightRows => "right rows",
        }
    }
}

#[derive(Default, Clone, Copy)]
struct Count {
    places: u64,
    tries: u64,
    /// Of these, those over more than one message.
    long: u64,
    codewords: u64,
    /// Payloads that the tag confirms, right and wrong ones.
    right: u64,
    wrong: u64,
}

/// A recording in memory.
#[derive(Default)]
struct Recording {
    rate: u32,
    channels: usize,
    samples: Vec<f32>,
}

impl Recording {
    fn read(path: &str, rate: Option<u32>) -> Result<Self> {
        let mut recording = Recording::default();
        decode::listen("identity", path, rate, |samples, rate, channels| {
            (recording.rate, recording.channels) = (rate, channels);
            recording.samples.extend_from_slice(samples);
            let most = LONGEST * rate as usize * channels;
            recording.samples.truncate(most);
            Ok(())
        })?;
        Ok(recording)
    }

    /// Adds a mark; returns the payloads in it.
    fn mark(&mut self, key: &Key) -> Result<HashSet<Payload>> {
        let (rate, channels) = (self.rate as usize, self.channels);
        let config = EmbedderConfig {
            sample_rate: self.rate,
            channels,
            unmarked_channels: 0,
            carrier: Carrier::Programme,
            lookahead: true,
            row_clock: RowClock::Stream,
        };
        let mut embedder = Embedder::new(&config, key)?;
        let delay = embedder.latency() * channels;
        let mut input = self.samples.clone();
        input.resize(self.samples.len() + delay, 0.0);
        let mut mark = vec![0.0; input.len()];
        let piece = rate / PER_SECOND * channels;
        let mut payloads = HashSet::new();
        let pieces = input.chunks(piece).zip(mark.chunks_mut(piece));
        for (number, (input, mark)) in pieces.enumerate() {
            let message = number / PER_MESSAGE;
            if number % PER_MESSAGE == 0 {
                embedder.set_strength(STRENGTHS[message % STRENGTHS.len()]);
            }
            // What is set now holds from the next message on.
            if number == 0 || number % PER_MESSAGE == PER_MESSAGE - 1 {
                let payload = payload((number + 1) / PER_MESSAGE);
                payloads.insert(payload);
                embedder.set_payload(Some(payload));
            }
            embedder.process(input, mark);
        }
        for (sample, mark) in self.samples.iter_mut().zip(&mark[delay..]) {
            *sample += mark;
        }
        Ok(payloads)
    }

    fn correlate(&self, survey: &mut Survey) {
        survey.reset();
        survey.push(&self.samples);
        survey.finish();
    }
}

/// Key number `n`: any 32 bytes will do.
fn key(n: u64) -> Key {
    Key::from_bytes(*blake3::hash(format!("payload null {n}").as_bytes()).as_bytes())
}

/// Payload of message `n`.
fn payload(n: usize) -> Payload {
    let hash = blake3::hash(format!("payload {n}").as_bytes());
    Payload([0, 1, 2, 3].map(|byte| hash.as_bytes()[byte]))
}

/// Makes random places, and counts what is read there.
struct Counter {
    random: Random,
    next_key: u64,
    counts: [Count; Kind::ALL.len()],
}

impl Counter {
    fn below(&mut self, count: usize) -> usize {
        ((self.random.uniform() as f64 * count as f64) as usize).min(count - 1)
    }

    fn place(&mut self, survey: &Survey, kind: Kind) -> Place {
        let slot = self.below(survey.slots());
        let (speed, alignment) = (self.below(survey.speeds()), self.below(5));
        let row = self.below((ROWS - 2 * NEAR) as usize) as u64;
        match kind {
            Kind::OtherTag | Kind::RightRows => Place {
                slot,
                speed: survey.speeds() / 2,
                alignment: 0,
                first_row: 0,
            },
            _ => Place {
                slot,
                speed,
                alignment,
                first_row: NEAR + row,
            },
        }
    }

    /// Makes so many tries, or somewhat more. Returns whether there was room for any.
    fn count(
        &mut self,
        survey: &Survey,
        kind: Kind,
        tries: u64,
        own: &Key,
        sent: &HashSet<Payload>,
    ) -> bool {
        let mut count = Count::default();
        let tries = match kind {
            Kind::OtherTag | Kind::RightRows => tries.div_ceil(FEWER),
            _ => tries,
        };
        while count.tries < tries && !(count.places > 1000 && count.tries == 0) {
            let place = self.place(survey, kind);
            self.next_key += 1;
            let new = &key(self.next_key);
            let (key, tag_key) = match kind {
                Kind::Unmarked | Kind::OtherKeys => (new, new),
                Kind::OtherTag => (own, new),
                Kind::WrongRows | Kind::RightRows => (own, own),
            };
            count.places += 1;
            survey.decode(key, tag_key, place, |one| {
                count.tries += 1;
                count.long += u64::from(one.rows > 8);
                count.codewords += u64::from(one.codeword);
                match one.payload {
                    Some(payload) if kind == Kind::RightRows && sent.contains(&payload) => {
                        count.right += 1;
                    }
                    Some(payload) => {
                        count.wrong += 1;
                        eprintln!("WRONG PAYLOAD {payload}, {}, {place:?}", kind.name());
                    }
                    None => (),
                }
            });
        }
        let sum = &mut self.counts[kind as usize];
        sum.places += count.places;
        sum.tries += count.tries;
        sum.long += count.long;
        sum.codewords += count.codewords;
        sum.right += count.right;
        sum.wrong += count.wrong;
        count.tries > 0
    }
}

struct Arguments {
    tries: u64,
    rate: Option<u32>,
    seed: u64,
    files: Vec<String>,
}

impl Arguments {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut parsed = Arguments {
            tries: 350_000,
            rate: None,
            seed: 1,
            files: Vec::new(),
        };
        while let Some(argument) = arguments.next() {
            if !argument.starts_with("--") {
                parsed.files.push(argument);
                continue;
            }
            let value = arguments
                .next()
                .ok_or_else(|| format!("{argument} needs a value"))?;
            match argument.as_str() {
                "--tries" => parsed.tries = value.parse()?,
                "--rate" => parsed.rate = Some(value.parse()?),
                "--seed" => parsed.seed = value.parse()?,
                _ => return Err(format!("unknown option {argument}").into()),
            }
        }
        if parsed.files.is_empty() {
            return Err(
                "usage: payload_null [--tries N] [--rate HZ] [--seed N] AUDIO... (N tries of each kind)".into(),
            );
        }
        Ok(parsed)
    }
}

/// Counts, and prints a table; returns whether no payload was wrong.
fn run(arguments: &Arguments) -> Result<bool> {
    let mut counter = Counter {
        random: Random::new(arguments.seed),
        next_key: arguments.seed << 32,
        counts: Default::default(),
    };
    let begin = Instant::now();
    let (tries, mut seconds) = (arguments.tries.div_ceil(arguments.files.len() as u64), 0.0);
    for (number, path) in arguments.files.iter().enumerate() {
        let mut recording = Recording::read(path, arguments.rate)?;
        let frames = recording.samples.len() / recording.channels.max(1);
        seconds += frames as f64 / f64::from(recording.rate.max(1));
        let mut survey = Survey::new(recording.rate, recording.channels, DEVIATION)?;
        let own = key(number as u64);
        recording.correlate(&mut survey);
        let mut enough = survey.slots() > 0
            && counter.count(&survey, Kind::Unmarked, tries, &own, &HashSet::new());
        let sent = recording.mark(&own)?;
        recording.correlate(&mut survey);
        for kind in &Kind::ALL[1..] {
            enough = enough && counter.count(&survey, *kind, tries, &own, &sent);
        }
        if !enough {
            return Err(format!("{path} is too short: 3 s are the least").into());
        }
        eprintln!("{path}: {:.0} s", begin.elapsed().as_secs_f64());
    }
    println!(
        "{} recordings, {:.2} h",
        arguments.files.len(),
        seconds / 3600.0
    );
    println!(
        "               places      tries  over more than 8 rows  codewords  payload right  payload wrong"
    );
    for (kind, count) in Kind::ALL.iter().zip(&counter.counts) {
        println!(
            "{:10} {:10} {:10} {:22} {:10} {:14} {:14}",
            kind.name(),
            count.places,
            count.tries,
            count.long,
            count.codewords,
            count.right,
            count.wrong
        );
    }
    Ok(counter.counts.iter().all(|count| count.wrong == 0))
}

fn main() -> std::process::ExitCode {
    let result = Arguments::parse(std::env::args().skip(1)).and_then(|arguments| {
        gst::init()?;
        run(&arguments)
    });
    match result {
        Ok(true) => std::process::ExitCode::SUCCESS,
        Ok(false) => std::process::ExitCode::FAILURE,
        Err(error) => {
            eprintln!("payload_null: {error}");
            std::process::ExitCode::from(2)
        }
    }
}
