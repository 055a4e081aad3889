// SPDX-License-Identifier: MIT OR Apache-2.0
//! Settings that marking and looking for the mark have in common, as arguments.

use clap::ValueEnum;
use jiff::Timestamp;

/// What counts the rows of the key.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RowClock {
    /// Time in the file: the mark repeats after 204.8 s
    Stream,
    /// Time of day: the mark never repeats, and tells when the audio was marked
    Utc,
}

/// What the clock of the mark is.
#[derive(clap::Args, Clone)]
pub struct ClockArguments {
    /// What counts the rows of the key, the same for embed and detect
    #[arg(long, value_enum, default_value = "stream")]
    row_clock: RowClock,
    /// With --row-clock utc: when the first frame of each file is broadcast, such as
    /// 2026-11-27T20:00:00Z [default: now]
    #[arg(long, value_name = "TIME", value_parser = start)]
    utc_start: Option<u64>,
}

impl ClockArguments {
    /// Says what is wrong with settings that do not go together.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.utc_start.is_some() && self.row_clock != RowClock::Utc {
            anyhow::bail!("--utc-start counts only with --row-clock utc: add that");
        }
        Ok(())
    }

    /// The name of the clock for the property `row-clock`.
    pub fn name(&self) -> &'static str {
        match self.row_clock {
            RowClock::Stream => "stream",
            RowClock::Utc => "utc",
        }
    }

    /// Unix time of the first frame in nanoseconds, if it was given.
    pub fn utc_start(&self) -> Option<u64> {
        self.utc_start
    }
}

fn start(text: &str) -> Result<u64, String> {
    let time: Timestamp = text.parse().map_err(|error| format!("{error}"))?;
    u64::try_from(time.as_nanosecond()).map_err(|_| "times before 1970 do not count".into())
}

/// A number within a range, as an argument.
pub fn number(text: &str, least: f64, most: f64) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("give a number from {least} to {most}")),
    }
}
