// SPDX-License-Identifier: MIT OR Apache-2.0
//! `wm report`.
#[derive(clap::Args)]
pub struct Arguments {}
pub fn run(_: &Arguments) -> anyhow::Result<std::process::ExitCode> {
    anyhow::bail!("not there yet")
}
