// SPDX-License-Identifier: MIT OR Apache-2.0
//! `wm report`: a page that shows where the mark is in a file.

mod alignment;
mod page;
mod programme;
mod scores;
mod spectrogram;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::detector::DetectorArguments;
use crate::interrupt;
use crate::output::{Unfinished, refuse_same};
use crate::progress::{Bar, Progress};
use programme::Programme;
use spectrogram::{Picture, Spectrogram};

/// Of the beginning of both files, by which they are brought together in time.
const COMPARED_SECONDS: usize = 20;
/// Two files that correlate less are not the same programme.
const LEAST_LIKENESS: f64 = 0.3;

/// What `wm report` is asked to do.
#[derive(clap::Args)]
pub struct Arguments {
    /// Audio file of any format that GStreamer decodes
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The page to write
    #[arg(long, short, value_name = "PAGE")]
    output: PathBuf,
    /// The file before it was marked, to show the mark itself
    #[arg(long, value_name = "FILE")]
    original: Option<PathBuf>,
    /// Overwrite a page that exists already
    #[arg(long, short)]
    force: bool,
    #[command(flatten)]
    detector: DetectorArguments,
}

/// Writes the page.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let listening = arguments.detector.load()?;
    let recordings = std::iter::once(&arguments.file).chain(&arguments.original);
    for input in recordings.chain(&arguments.detector.keys.key_files) {
        refuse_same(input, &arguments.output)?;
    }
    interrupt::catch()?;
    let page = Unfinished::begin(&arguments.output, arguments.force)?;
    let progress = Progress::new();
    let bar = progress.bar(&arguments.file);
    let name = || format!("{}", arguments.file.display());
    let scores = scores::gather(&listening, &arguments.file, &bar).with_context(name)?;
    let pictures = pictures(&arguments.file, arguments.original.as_deref(), &bar)?;
    drop(bar);
    let shown = page::Shown {
        file: &arguments.file,
        original: arguments.original.as_deref(),
        listening: &listening,
        scores: &scores,
        pictures: &pictures,
    };
    std::fs::write(page.temporary(), page::render(&shown)?)
        .with_context(|| format!("{}", arguments.output.display()))?;
    page.complete()?;
    Ok(ExitCode::SUCCESS)
}

/// Spectrograms of a file.
pub struct Pictures {
    pub seconds: f64,
    pub programme: Picture,
    pub mark: Option<Picture>,
    /// Seconds by which the file is later than the original.
    pub late: f64,
}

fn pictures(file: &Path, original: Option<&Path>, bar: &Bar) -> anyhow::Result<Pictures> {
    let name = || format!("{}", file.display());
    let mut marked = Programme::open(file, None).with_context(name)?;
    let rate = marked.rate();
    let mut other = match original {
        Some(path) => {
            Some(Programme::open(path, Some(rate)).with_context(|| format!("{}", path.display()))?)
        }
        None => None,
    };
    let late = match &mut other {
        Some(other) => bring_together(&mut marked, other)?,
        None => 0,
    };
    let mut of_programme = Spectrogram::new(rate);
    let mut of_mark = Spectrogram::new(rate);
    let (mut frames, mut pieces, mut originals) = (0, Vec::new(), Vec::new());
    while marked.read(&mut pieces).with_context(name)? {
        marked.show(bar);
        of_programme.push(&pieces);
        if let Some(other) = &mut other {
            other.read_exactly(pieces.len(), &mut originals)?;
            // Before the original begins and behind its end there is nothing to compare with.
            let before = usize::try_from(late - frames).unwrap_or(0);
            for (index, sample) in pieces.iter_mut().enumerate() {
                match originals.get(index) {
                    Some(original) if index >= before => *sample -= original,
                    _ => *sample = 0.0,
                }
            }
            of_mark.push(&pieces);
        }
        frames += pieces.len() as i64;
    }
    // Both on one scale, so that it shows how much weaker the mark is.
    let loudest = of_programme.loudest();
    Ok(Pictures {
        seconds: frames as f64 / f64::from(rate),
        programme: of_programme.picture(loudest)?,
        mark: match other {
            Some(_) => Some(of_mark.picture(loudest)?),
            None => None,
        },
        late: late as f64 / f64::from(rate),
    })
}

/// Skips or delays the original so that both go on together; returns the frames by which the marked file is later.
fn bring_together(marked: &mut Programme, original: &mut Programme) -> anyhow::Result<i64> {
    let compared = COMPARED_SECONDS * marked.rate() as usize;
    let (late, likeness) = alignment::lateness(original.peek(compared)?, marked.peek(compared)?)?;
    if likeness < LEAST_LIKENESS {
        bail!(
            "--original is not the same programme, or its level is another one: the first seconds do not match"
        );
    }
    match usize::try_from(late) {
        Ok(late) => original.delay(late),
        Err(_) => original.skip(late.unsigned_abs() as usize),
    }
    Ok(late)
}
