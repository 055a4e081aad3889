// SPDX-License-Identifier: MIT OR Apache-2.0
//! `wm`: marks audio files and finds the mark in them, without a line of GStreamer.

mod key;
mod monitor;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Exit status when something went wrong, as in grep: 0 is found, 1 is not found.
const FAILED: u8 = 2;

/// Hides a keyed mark in audio and finds it again.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Watch streams, and show where the mark is now
    Monitor(monitor::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("wm: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    gst::init()?;
    gstwm::plugin_register_static()?;
    match command {
        Command::Monitor(arguments) => monitor::run(&arguments),
    }
}
