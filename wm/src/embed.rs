// SPDX-License-Identifier: MIT OR Apache-2.0
//! `wm embed`: marks files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;

use anyhow::{Context, bail};
use gst::prelude::*;
use gstwm::watermark::Payload;
use serde_json::json;

use crate::key::{self, KeyArguments, Secret};
use crate::many::{self, JobsArguments};
use crate::marking::{ClockArguments, number};
use crate::output::{Unfinished, refuse_same};
use crate::play::{DECODE, Player};
use crate::progress::Progress;
use crate::{FAILED, format, interrupt};

/// What `wm embed` is asked to do.
#[derive(clap::Args)]
pub struct Arguments {
    /// The audio file and the marked one; with --output-dir any number of audio files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where marked files go, each under the name that it has
    #[arg(long, short, value_name = "DIRECTORY")]
    output_dir: Option<PathBuf>,
    /// With --output-dir: what format to write, by its ending [default: that of each file]
    #[arg(long, value_name = "ENDING", requires = "output_dir", value_parser = format::parse)]
    format: Option<&'static str>,
    /// Overwrite files that exist already
    #[arg(long, short)]
    force: bool,
    #[command(flatten)]
    key: KeyArguments,
    /// What the mark says, 8 hex digits such as 00c0ffee [default: nothing]
    #[arg(long, short, value_name = "PAYLOAD", value_parser = payload)]
    payload: Option<Payload>,
    /// Strength of the mark in dB around the default, -24 to 24
    #[arg(long, value_name = "DB", default_value = "0", allow_negative_numbers = true,
        value_parser = |text: &str| number(text, -24.0, 24.0))]
    strength: f64,
    #[command(flatten)]
    clock: ClockArguments,
    #[command(flatten)]
    jobs: JobsArguments,
    /// Print a line of JSON for each file
    #[arg(long)]
    json: bool,
}

fn payload(text: &str) -> Result<Payload, String> {
    text.parse().map_err(|error| format!("{error}"))
}

/// A file to mark.
struct Job {
    input: PathBuf,
    output: PathBuf,
}

/// Marks all files.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    arguments.clock.check()?;
    let jobs = jobs(arguments)?;
    let key = key::load(&arguments.key.key_file)?;
    if let Some(directory) = &arguments.output_dir {
        std::fs::create_dir_all(directory).with_context(|| format!("{}", directory.display()))?;
    }
    interrupt::catch()?;
    let progress = Progress::new();
    let mut status = ExitCode::SUCCESS;
    many::run(
        &jobs,
        &arguments.jobs,
        |job| embed(job, arguments, &key, &progress),
        |job, outcome| {
            let (input, output) = (job.input.display(), job.output.display());
            let file = job.input.to_string_lossy();
            match outcome {
                Ok(()) if arguments.json => {
                    let output = job.output.to_string_lossy();
                    let line = json!({"file": file, "output": output});
                    progress.print(&line.to_string())?;
                }
                Ok(()) => progress.print(&format!("{input}: marked, {output}"))?,
                Err(error) if error.is::<interrupt::Interrupted>() => (),
                Err(error) => {
                    status = ExitCode::from(FAILED);
                    progress.complain(&format!("{input}: {error:#}"));
                    if arguments.json {
                        let line = json!({"file": file, "error": format!("{error:#}")});
                        progress.print(&line.to_string())?;
                    }
                }
            }
            Ok(())
        },
    )?;
    Ok(status)
}

/// Which files to mark, and where they go. What cannot work is an error before any work is done.
fn jobs(arguments: &Arguments) -> anyhow::Result<Vec<Job>> {
    let Some(directory) = &arguments.output_dir else {
        let [input, output] = &arguments.files[..] else {
            bail!("name one file to mark and the marked one, or several files and --output-dir");
        };
        format::encoder(output)?;
        return Ok(vec![Job {
            input: input.clone(),
            output: output.clone(),
        }]);
    };
    let mut taken = BTreeMap::new();
    let mut jobs = Vec::new();
    for input in &arguments.files {
        let name = input
            .file_name()
            .with_context(|| format!("{} is no name of a file", input.display()))?;
        let mut output = directory.join(name);
        match (arguments.format, format::ending_of(input)) {
            (Some(ending), _) => _ = output.set_extension(ending),
            (None, Some(_)) => (),
            (None, None) => bail!(
                "{}: this format can be read only: choose one to write with --format, of {}",
                input.display(),
                format::endings()
            ),
        }
        if let Some(other) = taken.insert(output.clone(), input) {
            bail!(
                "{} and {} would both become {}: mark them one after the other",
                other.display(),
                input.display(),
                output.display()
            );
        }
        jobs.push(Job {
            input: input.clone(),
            output,
        });
    }
    Ok(jobs)
}

/// Marks a file.
fn embed(
    job: &Job,
    arguments: &Arguments,
    key: &Secret,
    progress: &Progress,
) -> anyhow::Result<()> {
    refuse_same(&job.input, &job.output)?;
    let encoder = format::encoder(&job.output)?;
    let player = Player::new(
        &format!(
            "{DECODE} ! wmembed name=embed ! audioconvert ! audioresample ! identity name=encoded silent=true \
             ! {encoder} ! filesink name=out"
        ),
        &job.input,
    )?;
    let mark = player.element("embed")?;
    mark.set_property("key", key.as_str());
    mark.set_property("strength", arguments.strength);
    mark.set_property_from_str("row-clock", arguments.clock.name());
    if let Some(payload) = arguments.payload {
        mark.set_property("payload", payload.to_string());
    }
    if let Some(start) = arguments.clock.utc_start() {
        tell_time(&mark, start)?;
    }
    keep_channels(&mark, &player.element("encoded")?)?;

    let unfinished = Unfinished::begin(&job.output, arguments.force)?;
    let out = player.element("out")?;
    out.set_property("location", unfinished.temporary());
    player.play(&progress.bar(&job.input), |_| ())?;
    // The file is closed before it gets its name.
    drop(player);
    unfinished.complete()
}

/// Tells the embedder the time of day of each buffer, `start` being that of the first frame of the file.
fn tell_time(mark: &gst::Element, start: u64) -> anyhow::Result<()> {
    let pad = mark.static_pad("sink").context("wmembed has no input")?;
    let unix = gst::Caps::new_empty_simple("timestamp/x-unix");
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(buffer) = info.buffer_mut()
            && let Some(time) = buffer.pts()
        {
            let time = time.saturating_add(gst::ClockTime::from_nseconds(start));
            let buffer = buffer.make_mut();
            gst::ReferenceTimestampMeta::add(buffer, &unix, time, gst::ClockTime::NONE);
        }
        gst::PadProbeReturn::Ok
    });
    Ok(())
}

/// Makes it an error if the encoder can only have fewer channels than there are: they would be mixed without a word.
fn keep_channels(mark: &gst::Element, encoded: &gst::Element) -> anyhow::Result<()> {
    fn channels(info: &gst::PadProbeInfo) -> Option<i32> {
        match info.event()?.view() {
            gst::EventView::Caps(caps) => caps.caps().structure(0)?.get("channels").ok(),
            _ => None,
        }
    }
    let marked = std::sync::Arc::new(OnceLock::new());
    let before = marked.clone();
    let events = gst::PadProbeType::EVENT_DOWNSTREAM;
    let pad = mark.static_pad("sink").context("wmembed has no input")?;
    pad.add_probe(events, move |_, info| {
        if let Some(channels) = channels(info) {
            let _ = before.set(channels);
        }
        gst::PadProbeReturn::Ok
    });
    let pad = encoded
        .static_pad("sink")
        .context("identity has no input")?;
    let encoded = encoded.downgrade();
    pad.add_probe(events, move |_, info| {
        if let (Some(to), Some(&from), Some(encoded)) =
            (channels(info), marked.get(), encoded.upgrade())
            && from != to
        {
            gst::element_error!(
                encoded,
                gst::StreamError::Format,
                ("there are {from} channels, more than this format takes: choose flac or wav")
            );
        }
        gst::PadProbeReturn::Ok
    });
    Ok(())
}
