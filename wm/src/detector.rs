// SPDX-License-Identifier: MIT OR Apache-2.0
//! The detector with its options, as `detect` and `report` use it.

use std::path::{Path, PathBuf};

use gst::prelude::*;
use jiff::SignedDuration;

use crate::key::{self, KeysArguments, Secret};
use crate::marking::{ClockArguments, number};
use crate::play::{DECODE, Player};

/// Options of the detector.
#[derive(clap::Args)]
pub struct DetectorArguments {
    #[command(flatten)]
    pub keys: KeysArguments,
    #[command(flatten)]
    clock: ClockArguments,
    /// With --row-clock utc: how far the clock may be off, such as 90s or 20h, at most 24h [default: 2m]
    #[arg(long, value_name = "LENGTH", value_parser = tolerance)]
    clock_tolerance: Option<u64>,
    /// How far the playing speed may be off, in percent, at most 6; more takes longer [default: 0.1]
    #[arg(long, value_name = "PERCENT", value_parser = |text: &str| number(text, 0.0, 6.0))]
    max_speed_deviation: Option<f64>,
    /// False alarms in an hour of unmarked audio that are acceptable [default: 0.0001]
    #[arg(long, value_name = "NUMBER", value_parser = |text: &str| number(text, 1e-12, 3600.0))]
    false_alarms_per_hour: Option<f64>,
}

/// A detector to be: its options with the keys.
pub struct Listening<'a> {
    arguments: &'a DetectorArguments,
    keys: Vec<Secret>,
}

impl DetectorArguments {
    /// Checks the options and reads the keys.
    pub fn load(&self) -> anyhow::Result<Listening<'_>> {
        self.clock.check()?;
        Ok(Listening {
            arguments: self,
            keys: key::load_all(&self.keys.key_files)?,
        })
    }
}

impl Listening<'_> {
    /// A pipeline that looks for the mark in a file; its element `detect` is the detector.
    pub fn player(&self, input: &Path) -> anyhow::Result<Player> {
        let player = Player::new(
            &format!("{DECODE} ! wmdetect name=detect ! fakesink name=out sync=false"),
            input,
        )?;
        let DetectorArguments {
            clock,
            clock_tolerance,
            max_speed_deviation,
            false_alarms_per_hour,
            ..
        } = self.arguments;
        let detect = player.element("detect")?;
        key::give(&self.keys, &detect);
        detect.set_property_from_str("row-clock", clock.name());
        if let Some(start) = clock.utc_start() {
            detect.set_property("utc-start", start);
        }
        if let Some(tolerance) = clock_tolerance {
            detect.set_property("clock-tolerance", tolerance);
        }
        if let Some(deviation) = max_speed_deviation {
            detect.set_property("max-speed-deviation", deviation);
        }
        if let Some(alarms) = false_alarms_per_hour {
            detect.set_property("false-alarms-per-hour", alarms);
        }
        Ok(player)
    }

    /// The file of a key, if there are several and it is not clear which one is meant.
    pub fn key_file(&self, key_index: Option<u32>) -> Option<&PathBuf> {
        let files = &self.arguments.keys.key_files;
        files.get(usize::try_from(key_index?).ok()?)
    }
}

/// A figure of the detector about its search.
pub fn figure(detect: &gst::Element, field: &str) -> Option<f64> {
    let stats = detect.property::<gst::Structure>("stats");
    let figure = stats.get::<f64>(field).ok();
    figure.filter(|figure| figure.is_finite())
}

/// Nanoseconds of a length such as 90s, 2m or 20h; a mere number counts seconds.
pub fn tolerance(text: &str) -> Result<u64, String> {
    let seconds = text.bytes().all(|byte| byte.is_ascii_digit());
    let text = if seconds {
        format!("{text}s")
    } else {
        text.to_owned()
    };
    let length: SignedDuration = text.parse().map_err(|error| format!("{error}"))?;
    match u64::try_from(length.as_nanos()) {
        Ok(nanoseconds) if length <= SignedDuration::from_hours(24) => Ok(nanoseconds),
        _ => Err("give a length from 0s to 24h".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tolerance_is_a_length_or_counts_seconds() {
        for text in ["120", "120s", "2m"] {
            assert_eq!(tolerance(text), Ok(120_000_000_000), "{text}");
        }
        for text in ["", "2x", "-2m", "86401", "25h"] {
            assert!(tolerance(text).is_err(), "{text}");
        }
    }
}
