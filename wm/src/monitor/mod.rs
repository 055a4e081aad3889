// SPDX-License-Identifier: MIT OR Apache-2.0
//! `wm monitor`: watches any number of streams at once.

use std::process::ExitCode;

use crate::key::KeyArguments;

/// What `wm monitor` is asked to do.
#[derive(clap::Args)]
pub struct Arguments {
    /// Streams: addresses such as https://radio.example/live.ogg, or names of files
    #[arg(required = true, value_name = "URI")]
    pub uris: Vec<String>,
    #[command(flatten)]
    pub key: KeyArguments,
}

/// Watches until all streams are over, or until it is interrupted.
pub fn run(_arguments: &Arguments) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not there yet")
}
