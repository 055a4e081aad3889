// SPDX-License-Identifier: MIT OR Apache-2.0
//! `wm monitor`: watches any number of streams at once.
//!
//! Each station has a thread ([`watch`]) and a pipeline ([`stream`]). What happens to it becomes its state and events
//! ([`station`]), which the table shows and writers write.

mod backoff;
mod crew;
mod event;
mod processor;
mod quiet;
mod source;
mod station;
mod stream;
mod table;
mod terminal;
mod watch;
mod writer;

use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};

use self::crew::Crew;
use self::stream::Settings;
use self::watch::Plan;
use self::writer::Writer;
use crate::detector::tolerance;
use crate::key::{self, KeysArguments};

/// How long events are still written for where a stream does not close.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What `wm monitor` is asked to do.
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Arguments {
    /// Streams to watch, each URI or NAME=URI; what a URI can be is told below
    #[arg(value_name = "[NAME=]URI", required_unless_present = "list")]
    pub uris: Vec<String>,
    /// File with more of them, one "NAME URI" a line
    #[arg(long, value_name = "FILE")]
    pub list: Option<PathBuf>,
    #[command(flatten)]
    pub keys: KeysArguments,
    /// Append the events to a file, a line of JSON each
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// Write the events to standard output instead of the table, as it is when that is no terminal
    #[arg(long)]
    pub json: bool,
    /// Files play as fast as the machine can, not in real time
    #[arg(long)]
    pub fast: bool,
    /// Files begin again when they are over
    #[arg(long = "loop")]
    pub repeat: bool,
    /// Without audio for so many seconds a stream counts as stopped
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = seconds)]
    pub stall: Duration,
    /// How far the playing speed may be off, in percent [default: 0.1]
    #[arg(long, value_name = "PERCENT", value_parser = |text: &str| number(text, 0.0, 6.0))]
    pub max_speed_deviation: Option<f64>,
    /// False alarms in an hour of unmarked audio that are acceptable, for each station [default: 0.0001]
    #[arg(long, value_name = "NUMBER", value_parser = |text: &str| number(text, 1e-12, 3600.0))]
    pub false_alarms_per_hour: Option<f64>,
    /// What counted the rows when it was marked [default: stream]
    #[arg(long, value_name = "CLOCK", value_parser = ["stream", "utc"])]
    pub row_clock: Option<String>,
    /// With --row-clock utc: how far the clock may be off, such as 30s or 2m, at most 13m for live streams [default: 2m]
    #[arg(long, value_name = "LENGTH", value_parser = tolerance)]
    pub clock_tolerance: Option<u64>,
    /// The shortest wait before a stream is tried again, for tests
    #[arg(long, hide = true, default_value = "1", value_parser = seconds)]
    pub first_wait: Duration,
}

const HELP: &str = "\
What a URI can be:
  https://radio.example/live.ogg   all that GStreamer can open: http, https, rtsp, srt, file …
  programme.flac                   a file; it is over when it ends
  rtp://239.1.2.3:5004?encoding=opus
                                   RTP that comes to this address: encoding=opus or l16, and
                                   &pt=96&rate=48000&channels=2 (as they are by default)
  mic: or mic:NAME                 the microphone that the system prefers, or one by a part of its name
  pipeline:DESCRIPTION             a source as in gst-launch-1.0

What is at a server and has a length is over when it ends, like a file. All others are opened again when they end or
fail: after 1 to 2 s, then twice as long each time up to 30 to 60 s, and after 30 s of audio from 1 s again.
RTP is listened for all the time. A --loop over recordings is heard as one break after the other.

Other users can see URIs of a command line: put those with a password in a --list file. Users and passwords
in URIs (user:password@) are not shown and not written; what is behind a ? is.

CPU is the processor time of the station's own threads (receiving, decoding, detecting), the average of 10 s in
percent of one processor. It is known on Linux only, and leaves out threads that libraries share among stations.
At the bottom it is that of the whole process.

Keys: q quit, j and k or arrows select a station, s sort.

Events: connecting, playing, found, payload, lost, stopped, error, ended. Their times are UTC, stream_time and
retry_in are seconds. Events that a slow disk or reader leaves no room for are dropped and counted.

Exit status: 0 if the mark was found in any stream, 1 if not, 2 after an error. How it ended does
not matter: by q, by Ctrl-C or since all streams are over.";

fn number(text: &str, least: f64, most: f64) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("a number from {least} to {most} is needed")),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    number(text, 0.001, 86_400.0).map(Duration::from_secs_f64)
}

impl Arguments {
    fn plan(&self) -> anyhow::Result<Plan> {
        let text = |value: Option<f64>| value.map(|value| value.to_string());
        let detector = [
            ("max-speed-deviation", text(self.max_speed_deviation)),
            ("false-alarms-per-hour", text(self.false_alarms_per_hour)),
            ("row-clock", self.row_clock.clone()),
            (
                "clock-tolerance",
                self.clock_tolerance.map(|length| length.to_string()),
            ),
        ];
        let given = detector
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        Ok(Plan {
            settings: Settings {
                keys: key::load_all(&self.keys.key_files)?,
                detector: given.collect(),
                fast: self.fast,
            },
            repeat: self.repeat,
            stall: self.stall,
            first_wait: self.first_wait,
        })
    }

    /// Whether there is a table rather than lines of JSON.
    fn table(&self) -> bool {
        !self.json && std::io::stdout().is_terminal()
    }

    /// Where the events go to.
    fn writers(&self, crew: &Crew) -> anyhow::Result<Vec<Writer>> {
        let mut writers = Vec::new();
        if let Some(path) = &self.events {
            let name = path.display().to_string();
            let file = OpenOptions::new().append(true).create(true).open(path);
            let file =
                file.with_context(|| format!("the file of events {name} cannot be opened"))?;
            writers.push(Writer::start(&name, file, || false)?);
        }
        if !self.table() {
            let name = "standard output";
            let interrupt = crew.interrupt();
            let gone = move || {
                interrupt();
                true
            };
            writers.push(Writer::start(name, std::io::stdout(), gone)?);
        }
        Ok(writers)
    }
}

/// Watches until all streams are over, or until it is interrupted.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let sources = source::stations(&arguments.uris, arguments.list.as_ref())?;
    let plan = Arc::new(arguments.plan()?);
    plan.settings.check()?;
    let mut crew = Crew::new();
    ctrlc::set_handler(crew.interrupt())?;
    let writers = arguments.writers(&crew)?;
    let stations: Vec<_> = sources
        .into_iter()
        .map(|source| {
            let outlets = writers.iter().map(Writer::outlet).collect();
            crew.start(source, outlets, &plan)
        })
        .collect::<Result<_, _>>()?;
    let result = match arguments.table() {
        true => terminal::show(&stations, &writers, &mut crew),
        false => crew.wait(),
    };
    // What a stream that does not close still has to say is not waited for, but what the others said is written.
    if let Err(error) = crew.stop() {
        let trouble = writers
            .into_iter()
            .filter_map(|writer| writer.finish_within(LAST_WORDS));
        trouble.for_each(|trouble| eprintln!("wm: {trouble}"));
        return Err(error);
    }
    result?;
    let trouble: Vec<_> = writers.into_iter().filter_map(Writer::finish).collect();
    ensure!(trouble.is_empty(), "{}", trouble.join("; "));
    let found = stations.iter().any(|station| station.lock().ever_found);
    Ok(ExitCode::from(u8::from(!found)))
}
