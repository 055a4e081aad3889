// SPDX-License-Identifier: MIT OR Apache-2.0
//! `wm detect`: looks for the mark in files.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use crate::detector::{self, DetectorArguments, Listening};
use crate::many::{self, JobsArguments};
use crate::progress::Progress;
use crate::spans::{Span, Spans};
use crate::{FAILED, interrupt, text};

/// Exit status when no file has the mark.
const NOT_FOUND: u8 = 1;

/// What `wm detect` is asked to do.
#[derive(clap::Args)]
pub struct Arguments {
    /// Audio files of any format that GStreamer decodes
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    detector: DetectorArguments,
    #[command(flatten)]
    jobs: JobsArguments,
    /// Print a line of JSON for each found stretch, each file without the mark and each error
    #[arg(long)]
    json: bool,
}

/// What came of a file.
struct Outcome {
    spans: Vec<Span>,
    highest_score: Option<f64>,
}

/// Looks for the mark in all files.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let listening = arguments.detector.load()?;
    interrupt::catch()?;
    let progress = Progress::new();
    let (mut found, mut failed) = (false, false);
    many::run(
        &arguments.files,
        &arguments.jobs,
        |file| detect(&listening, file, &progress),
        |file, outcome| {
            match &outcome {
                Ok(outcome) => found |= !outcome.spans.is_empty(),
                Err(error) if error.is::<interrupt::Interrupted>() => return Ok(()),
                Err(error) => {
                    failed = true;
                    progress.complain(&format!("{}: {error:#}", file.display()));
                }
            }
            let lines = match arguments.json {
                true => json_lines(&listening, file, &outcome)?,
                false => {
                    outcome.map_or_else(|_| vec![], |outcome| lines(&listening, file, &outcome))
                }
            };
            for line in lines {
                progress.print(&line)?;
            }
            Ok(())
        },
    )?;
    Ok(match (failed, found) {
        (true, _) => ExitCode::from(FAILED),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::from(NOT_FOUND),
    })
}

fn detect(listening: &Listening, file: &Path, progress: &Progress) -> anyhow::Result<Outcome> {
    let player = listening.player(file)?;
    let mut spans = Spans::default();
    player.play(&progress.bar(file), |message| spans.take(message))?;
    Ok(Outcome {
        spans: spans.finish(),
        highest_score: detector::figure(&player.element("detect")?, "highest-score"),
    })
}

/// What people read.
fn lines(listening: &Listening, file: &Path, outcome: &Outcome) -> Vec<String> {
    let file = file.display();
    if outcome.spans.is_empty() {
        return vec![match outcome.highest_score {
            Some(score) => format!("{file}: not found, highest score {score:.1}"),
            None => format!("{file}: not found, too short for a score"),
        }];
    }
    let line = |span: &Span| {
        let mut line = format!(
            "{file}: {} to {}  score {:.1}  log10-p {:.1}  speed {:.4}",
            text::time(span.start),
            text::time(span.end),
            span.score,
            span.log10_p,
            span.speed,
        );
        if !span.payloads.is_empty() {
            let _ = write!(line, "  payload {}", span.payloads.join(","));
        }
        if let Some(time) = span.broadcast_time {
            let _ = write!(line, "  broadcast {}", text::utc(time));
        }
        if let Some(key) = listening.key_file(span.key_index) {
            let _ = write!(line, "  key {}", key.display());
        }
        line
    };
    outcome.spans.iter().map(line).collect()
}

/// What programs read. Times are seconds.
#[derive(Serialize)]
#[serde(untagged)]
enum Line<'a> {
    Found {
        file: &'a str,
        found: bool,
        start: f64,
        end: f64,
        score: f64,
        log10_p: f64,
        speed: f64,
        payloads: &'a [String],
        #[serde(skip_serializing_if = "Option::is_none")]
        broadcast_time: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        key_index: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        key_file: Option<String>,
    },
    NotFound {
        file: &'a str,
        found: bool,
        highest_score: Option<f64>,
    },
    Error {
        file: &'a str,
        error: String,
    },
}

fn json_lines(
    listening: &Listening,
    file: &Path,
    outcome: &anyhow::Result<Outcome>,
) -> serde_json::Result<Vec<String>> {
    let file = &*file.to_string_lossy();
    let lines = match outcome {
        Err(error) => vec![Line::Error {
            file,
            error: format!("{error:#}"),
        }],
        Ok(outcome) if outcome.spans.is_empty() => vec![Line::NotFound {
            file,
            found: false,
            highest_score: outcome.highest_score,
        }],
        Ok(outcome) => {
            let line = |span| found(listening, file, span);
            outcome.spans.iter().map(line).collect()
        }
    };
    lines.iter().map(serde_json::to_string).collect()
}

fn found<'a>(listening: &Listening, file: &'a str, span: &'a Span) -> Line<'a> {
    let key_file = listening.key_file(span.key_index);
    Line::Found {
        file,
        found: true,
        start: span.start.seconds_f64(),
        end: span.end.seconds_f64(),
        score: span.score,
        log10_p: span.log10_p,
        speed: span.speed,
        payloads: &span.payloads,
        broadcast_time: span.broadcast_time.map(text::utc),
        key_index: span.key_index,
        key_file: key_file.map(|path| path.to_string_lossy().into_owned()),
    }
}
