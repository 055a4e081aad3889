// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the tests of the command share: it, a directory with a key, and audio to mark.

// Every test file is a crate of its own and uses a part of this one only.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A directory of its own with a key file, removed in the end.
pub struct Place {
    directory: TempDir,
}

impl Place {
    pub fn new() -> Self {
        let place = Place {
            directory: tempfile::Builder::new()
                .prefix("gst-wm-")
                .tempdir()
                .unwrap(),
        };
        assert_eq!(place.wm(["key", "station.key"]).code, 0);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The command without a key, with this directory as the current one.
    pub fn command<S: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wm"));
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env_remove("WM_KEY_FILE");
        command
    }

    /// Runs the command to its end.
    pub fn wm<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        Ran::new(self.command(arguments).output().unwrap())
    }

    /// Runs the command with the key of the directory, and with words that are parted by spaces.
    pub fn with_key(&self, words: &str) -> Ran {
        let mut command = self.command(words.split(' '));
        Ran::new(command.env("WM_KEY_FILE", "station.key").output().unwrap())
    }

    /// Puts a recording of the repository into the directory.
    pub fn bring(&self, recording: &str, name: &str) {
        std::fs::copy(data(recording), self.path(name)).unwrap();
    }

    /// All names in the directory, but that of the key.
    pub fn names(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<String> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "station.key")
            .collect();
        names.sort();
        names
    }
}

/// Path of a file in tests/data.
pub fn data(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/data")
        .join(file)
}

/// What came of a run.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub output: String,
    pub errors: String,
}

impl Ran {
    pub fn new(output: Output) -> Self {
        Ran {
            code: output.status.code().expect("no signal ended it"),
            output: String::from_utf8(output.stdout).unwrap(),
            errors: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The lines of JSON on standard output.
    pub fn json(&self) -> Vec<serde_json::Value> {
        let lines = self.output.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// Writes noise as a WAV file.
pub fn write_noise(path: &Path, bits: u16, channels: u16, rate: u32, frames: u32) {
    let spec = hound::WavSpec {
        channels,
        sample_rate: rate,
        bits_per_sample: bits,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..frames * u32::from(channels) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // A quarter of full scale.
        let sample = state as i32 >> (32 - bits) >> 2;
        writer.write_sample(sample).unwrap();
    }
    writer.finalize().unwrap();
}
