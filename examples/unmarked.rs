// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counts the false alarms of the detector on recordings without a mark, with many keys, against what is promised.
//!
//! ```sh
//! make unmarked FILES="--kind speech talk/*.opus --kind music songs/*.flac" KEYS=100
//! cargo run --release --example unmarked -- --out counts.tsv --keys 10 --drums 5 interview.wav
//! ```
//!
//! It runs the search of `wmdetect` at its default settings, with thresholds for several permitted rates at a time. A
//! stream is at most five minutes of a recording. Every burst of scores above a threshold counts as an alarm, a new one
//! after a second without any. The detector itself posts no more: it follows what it has found for some seconds,
//! and then begins with no evidence. Recordings that are named in no `--kind` count as kind "any"; `--drums M` adds
//! synthetic drum loops of M minutes, the same to the sample in every bar, at four tempi: one beats once every two
//! times 160 ms, which is the lag of the self-correlation.
//!
//! What was counted is appended to a file, by recording and ten keys, and is not counted again: a long run may be
//! stopped and continued. Scores are comparable between runs only if the detector and the sample rate are the same.

#[path = "common/decode.rs"]
mod decode;
#[path = "../tests/common/drums.rs"]
mod drums;
#[path = "../tests/common/random.rs"]
mod random;

use decode::Result;
use gstwm::watermark::{Key, survey::Survey};
use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Permitted alarms an hour; the last is the default of `wmdetect`.
const RATES: [f64; 9] = [300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.1, 0.01, 1e-4];
/// An alarm ends after so many seconds without a score above the threshold.
const PAUSE: f64 = 1.0;
/// Seconds in a stream.
const STREAM: usize = 300;
/// Speeds up to so many percent from the nominal one, the default of `wmdetect`.
const DEVIATION: f64 = 0.1;
/// Keys that are counted together.
const CHUNK: usize = 10;
/// Lengths of an eighth in the drum loops, in seconds.
const EIGHTHS: [f32; 4] = [0.25, 0.2, 0.16, 0.32];
/// Sample rate of the drum loops.
const DRUM_RATE: u32 = 16_000;

/// What is counted for one recording and some keys.
#[derive(Clone, Copy)]
struct Count {
    /// Seconds of audio, times keys.
    seconds: f64,
    /// Highest score, and the lowest logarithm of the expected alarms; infinite if there was nothing to tell.
    highest: f64,
    lowest: f64,
    alarms: [u64; RATES.len()],
}

impl Count {
    const NONE: Count = Count {
        seconds: 0.0,
        highest: 0.0,
        lowest: f64::INFINITY,
        alarms: [0; RATES.len()],
    };

    /// Searches the stream in `survey` with one key.
    fn search(&mut self, survey: &Survey, key: &Key) {
        let mut latest = [f64::NEG_INFINITY; RATES.len()];
        let (lowest, alarms) = (&mut self.lowest, &mut self.alarms);
        let highest = survey.search(key, |peak| {
            *lowest = lowest.min(peak.log10_alarms);
            for ((rate, latest), alarms) in RATES.iter().zip(&mut latest).zip(alarms.iter_mut()) {
                if peak.log10_alarms <= rate.log10() {
                    *alarms += u64::from(peak.seconds - *latest > PAUSE);
                    *latest = peak.seconds;
                }
            }
        });
        self.highest = self.highest.max(highest);
    }

    fn add(&mut self, other: &Count) {
        self.seconds += other.seconds;
        self.highest = self.highest.max(other.highest);
        self.lowest = self.lowest.min(other.lowest);
        for (mine, others) in self.alarms.iter_mut().zip(other.alarms) {
            *mine += others;
        }
    }

    fn fields(&self) -> String {
        let alarms = self.alarms.map(|n| n.to_string()).join("\t");
        let Count {
            seconds,
            highest,
            lowest,
            ..
        } = self;
        format!("{seconds:.2}\t{highest:.4}\t{lowest:.4}\t{alarms}")
    }

    fn parse(fields: &[&str]) -> Option<Count> {
        let mut count = Count {
            seconds: fields.first()?.parse().ok()?,
            highest: fields.get(1)?.parse().ok()?,
            lowest: fields.get(2)?.parse().ok()?,
            ..Count::NONE
        };
        for (alarms, field) in count.alarms.iter_mut().zip(fields.get(3..)?) {
            *alarms = field.parse().ok()?;
        }
        (fields.len() == 3 + RATES.len()).then_some(count)
    }
}

/// Where audio comes from.
#[derive(Clone)]
enum Source {
    File(String),
    /// A drum loop whose eighths take so many seconds.
    Drums(f32),
}

impl Source {
    fn name(&self) -> String {
        match self {
            Source::File(path) => path.clone(),
            Source::Drums(eighth) => format!("drums, an eighth of {:.0} ms", eighth * 1e3),
        }
    }
}

struct Arguments {
    out: String,
    keys: usize,
    jobs: usize,
    rate: Option<u32>,
    drum_minutes: f32,
    /// Kind and source.
    sources: Vec<(String, Source)>,
}

impl Arguments {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut parsed = Arguments {
            out: "unmarked.tsv".into(),
            keys: 100,
            jobs: 1,
            rate: None,
            drum_minutes: 0.0,
            sources: Vec::new(),
        };
        let mut kind = String::from("any");
        while let Some(argument) = arguments.next() {
            if !argument.starts_with("--") {
                parsed.sources.push((kind.clone(), Source::File(argument)));
                continue;
            }
            let value = arguments
                .next()
                .ok_or_else(|| format!("{argument} needs a value"))?;
            match argument.as_str() {
                "--out" => parsed.out = value,
                "--keys" => parsed.keys = value.parse()?,
                "--jobs" => parsed.jobs = value.parse()?,
                "--rate" => parsed.rate = Some(value.parse()?),
                "--drums" => parsed.drum_minutes = value.parse()?,
                "--kind" => kind = value,
                _ => return Err(format!("unknown option {argument}").into()),
            }
        }
        if parsed.drum_minutes > 0.0 {
            let drums = EIGHTHS.map(|eighth| ("drums".into(), Source::Drums(eighth)));
            parsed.sources.extend(drums);
        }
        if parsed.sources.is_empty() {
            return Err(
                "usage: unmarked [--out FILE] [--keys N] [--jobs N] [--rate HZ] [--drums MINUTES] \
                 [[--kind NAME] AUDIO...]..."
                    .into(),
            );
        }
        Ok(parsed)
    }
}

/// Audio that comes piece by piece, cut into streams.
struct Listener<'a> {
    keys: &'a [Key],
    survey: Option<Survey>,
    /// Samples of a stream, and those of it that are there.
    whole: usize,
    taken: usize,
    count: Count,
}

impl Listener<'_> {
    fn push(&mut self, mut samples: &[f32], rate: u32, channels: usize) -> Result<()> {
        if self.survey.is_none() {
            self.survey = Some(Survey::new(rate, channels, DEVIATION)?);
            self.whole = STREAM * rate as usize * channels;
        }
        let seconds = samples.len() as f64 / (rate as usize * channels) as f64;
        self.count.seconds += seconds * self.keys.len() as f64;
        while let Some(survey) = self.survey.as_mut().filter(|_| !samples.is_empty()) {
            let (now, later) = samples.split_at(samples.len().min(self.whole - self.taken));
            survey.push(now);
            self.taken += now.len();
            samples = later;
            if self.taken == self.whole {
                self.end_stream();
            }
        }
        Ok(())
    }

    fn end_stream(&mut self) {
        self.taken = 0;
        let Some(survey) = &mut self.survey else {
            return;
        };
        survey.finish();
        for key in self.keys {
            self.count.search(survey, key);
        }
        survey.reset();
    }
}

/// Counts one recording with some keys.
fn count(source: &Source, keys: &[Key], arguments: &Arguments) -> Result<Count> {
    let mut listener = Listener {
        keys,
        survey: None,
        whole: 0,
        taken: 0,
        count: Count::NONE,
    };
    match source {
        Source::File(path) => decode::listen(
            "identity",
            path,
            arguments.rate,
            |samples, rate, channels| listener.push(samples, rate, channels),
        )?,
        Source::Drums(eighth) => {
            let drums = drums::drums(DRUM_RATE, 60.0 * arguments.drum_minutes, *eighth);
            listener.push(&drums, DRUM_RATE, 1)?;
        }
    }
    if listener.taken > 0 {
        listener.end_stream();
    }
    Ok(listener.count)
}

/// Key number `n`: any 32 bytes will do.
fn key(n: usize) -> Key {
    Key::from_bytes(*blake3::hash(format!("unmarked {n}").as_bytes()).as_bytes())
}

/// What names a line of the output: kind, sample rate (0: as it is), first key, keys, recording.
fn title(
    kind: &str,
    source: &Source,
    keys: &std::ops::Range<usize>,
    arguments: &Arguments,
) -> String {
    let rate = match source {
        Source::File(_) => arguments.rate.unwrap_or(0),
        Source::Drums(_) => DRUM_RATE,
    };
    format!(
        "{kind}\t{rate}\t{}\t{}\t{}",
        keys.start,
        keys.len(),
        source.name()
    )
}

/// Splits a line of the output into title and count.
fn parse_line(line: &str) -> Option<(String, Count)> {
    let fields: Vec<&str> = line.split('\t').collect();
    let (title, count) = fields.split_at_checked(5)?;
    Some((title.join("\t"), Count::parse(count)?))
}

/// Counts all that the output file lacks.
fn run(arguments: &Arguments) -> Result<()> {
    let before = std::fs::read_to_string(&arguments.out).unwrap_or_default();
    let done: HashSet<_> = before
        .lines()
        .filter_map(parse_line)
        .map(|(t, _)| t)
        .collect();
    let out = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&arguments.out)?;
    let mut work = Vec::new();
    for start in (0..arguments.keys).step_by(CHUNK) {
        let keys = start..arguments.keys.min(start + CHUNK);
        for (kind, source) in &arguments.sources {
            let title = title(kind, source, &keys, arguments);
            if !done.contains(&title) {
                work.push((title, source, keys.clone()));
            }
        }
    }
    let (next, out) = (AtomicUsize::new(0), Mutex::new(out));
    std::thread::scope(|scope| {
        let job = || -> Result<()> {
            while let Some((title, source, keys)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                let keys: Vec<Key> = keys.clone().map(key).collect();
                let begin = Instant::now();
                let count = count(source, &keys, arguments)?;
                let cost = 1e3 * begin.elapsed().as_secs_f64() / count.seconds;
                eprintln!("{title}: {cost:.1} ms a second of audio and key");
                append(&out, &format!("{title}\t{}\n", count.fields()))?;
            }
            Ok(())
        };
        let jobs: Vec<_> = (0..arguments.jobs.max(1))
            .map(|_| scope.spawn(job))
            .collect();
        let ends = jobs
            .into_iter()
            .map(|job| job.join().map_err(|_| "a job panicked")?);
        ends.collect::<Result<()>>()
    })
}

fn append(out: &Mutex<File>, line: &str) -> Result<()> {
    let mut out = out.lock().map_err(|_| "another job failed")?;
    Ok(out.write_all(line.as_bytes())?)
}

/// Prints what the output file holds, by kind.
fn print_table(path: &str) -> Result<()> {
    let mut kinds = BTreeMap::new();
    for (title, count) in std::fs::read_to_string(path)?
        .lines()
        .filter_map(parse_line)
    {
        let kind = title.split('\t').next().unwrap_or_default().to_string();
        for kind in [kind, "all".into()] {
            kinds.entry(kind).or_insert(Count::NONE).add(&count);
        }
    }
    for (kind, count) in kinds {
        let hours = count.seconds / 3600.0;
        println!(
            "{kind}: {hours:.2} h x key, highest score {:.2}, lowest log10-p {:.2}",
            count.highest, count.lowest
        );
        println!("  permitted an hour   counted   an hour   share of what is permitted");
        for (rate, alarms) in RATES.iter().zip(count.alarms) {
            let measured = alarms as f64 / hours;
            println!(
                "  {rate:17} {alarms:9} {measured:9.4} {:9.3}",
                measured / rate
            );
        }
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    let result = Arguments::parse(std::env::args().skip(1)).and_then(|arguments| {
        gst::init()?;
        run(&arguments)?;
        print_table(&arguments.out)
    });
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("unmarked: {error}");
            std::process::ExitCode::from(2)
        }
    }
}
