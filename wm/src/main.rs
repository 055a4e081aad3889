// SPDX-License-Identifier: MIT OR Apache-2.0
//! `wm`: marks audio files and finds the mark in them, without a line of GStreamer.

mod detect;
mod detector;
mod embed;
mod format;
mod interrupt;
mod key;
mod many;
mod marking;
mod monitor;
mod output;
mod play;
mod progress;
mod report;
mod spans;
mod text;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Exit status when something went wrong, as in grep: 0 is found, 1 is not found.
const FAILED: u8 = 2;

/// Hides a keyed mark in audio and finds it again.
///
/// Exit status: 0 done or found, 1 not found, 2 after an error, 130 when interrupted.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a key, in a new file that only you can read
    Key(key::NewKeyArguments),
    /// Mark audio files
    ///
    /// The format of the output follows from the ending of its name: wav, flac, ogg (Vorbis), opus, mp3, m4a or aac.
    /// Bit depth, channels, rate and tags stay as they are where the format has them.
    Embed(embed::Arguments),
    /// Look for the mark in audio files
    ///
    /// Exit status: 0 if the mark is in one file or more, 1 if it is in none, 2 after an error with any of them.
    Detect(detect::Arguments),
    /// Draw where the mark is in an audio file, as a page for the browser
    ///
    /// Exit status: 0 if the page was written, whether or not the mark is there; 2 after an error.
    Report(report::Arguments),
    /// Watch streams, and show where the mark is now
    Monitor(monitor::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command) {
        Ok(status) => status,
        Err(error) if error.is::<interrupt::Interrupted>() => {
            ExitCode::from(interrupt::EXIT_STATUS)
        }
        // Whoever read the output has enough of it.
        Err(error) if is_broken_pipe(&error) => ExitCode::from(FAILED),
        Err(error) => {
            eprintln!("wm: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    gst::init()?;
    gstwm::plugin_register_static()?;
    match command {
        Command::Key(arguments) => key::run(&arguments),
        Command::Embed(arguments) => embed::run(&arguments),
        Command::Detect(arguments) => detect::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Monitor(arguments) => monitor::run(&arguments),
    }
}
