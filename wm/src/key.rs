// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the key comes from. It is never an argument, since other users see those.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use gst::prelude::*;
use gstwm::watermark::{Key, KeyError};
use zeroize::Zeroizing;

/// Longest first line of a key file, in bytes, as in the elements.
const LONGEST_LINE: usize = 4096;

/// The key, as all commands with one take it.
#[derive(clap::Args, Clone)]
pub struct KeyArguments {
    /// File whose first line is the key: 64 hex digits, or a passphrase
    #[arg(long, short, value_name = "FILE", env = "WM_KEY_FILE")]
    pub key_file: PathBuf,
}

/// One key or several.
#[derive(clap::Args, Clone)]
pub struct KeysArguments {
    /// File whose first line is the key: 64 hex digits, or a passphrase. Give it several times to look for several keys
    #[arg(
        long = "key-file",
        short,
        value_name = "FILE",
        env = "WM_KEY_FILE",
        required = true
    )]
    pub key_files: Vec<PathBuf>,
}

/// What `wm key` is asked to do.
#[derive(clap::Args)]
pub struct NewKeyArguments {
    /// The file to make; one that exists already is left alone
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// The text of a key, wiped in the end. There is no `Debug`: it would show.
pub type Secret = Zeroizing<String>;

/// Reads the key of a file once, so that it may be a pipe, and warns if others can read it.
pub fn load(path: &Path) -> anyhow::Result<Secret> {
    let said = || format!("{}", path.display());
    let mut file = File::open(path)
        .map_err(KeyError::File)
        .with_context(said)?;
    if is_exposed(&file) {
        eprintln!(
            "wm: {}: others than its owner can read this key, and so mark and detect: chmod 600 it",
            path.display()
        );
    }
    let text = first_line(&mut file).with_context(said)?;
    // What is wrong with a key is told once, and not for each file.
    Key::parse(&text).with_context(said)?;
    Ok(text)
}

/// All keys; the same one twice is an error that the detector would give by number only.
pub fn load_all(paths: &[PathBuf]) -> anyhow::Result<Vec<Secret>> {
    let keys: Vec<Secret> = paths
        .iter()
        .map(|path| load(path))
        .collect::<anyhow::Result<_>>()?;
    for (second, key) in keys.iter().enumerate() {
        if let Some(first) = keys[..second].iter().position(|other| other == key) {
            bail!(
                "{} and {} hold the same key: leave one of them out",
                paths[first].display(),
                paths[second].display()
            );
        }
    }
    Ok(keys)
}

/// Gives a detector its keys.
pub fn give(keys: &[Secret], detector: &gst::Element) {
    match keys {
        [key] => detector.set_property("key", key.as_str()),
        keys => {
            let keys = keys.iter().map(|key| key.as_str());
            detector.set_property("keys", gst::Array::new(keys));
        }
    }
}

#[cfg(unix)]
fn is_exposed(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o044 != 0)
}

#[cfg(not(unix))]
fn is_exposed(_: &File) -> bool {
    false
}

/// The first line, as the elements take it from a key file: without white space and byte order mark around it.
fn first_line(file: &mut File) -> Result<Secret, KeyError> {
    // All the room at once: a vector that grows leaves its old contents behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST_LINE + 1));
    let mut piece = Zeroizing::new([0; 64]);
    while bytes.len() <= LONGEST_LINE && !bytes.contains(&b'\n') {
        let room = piece.len().min(LONGEST_LINE + 1 - bytes.len());
        match file.read(&mut piece[..room]) {
            Ok(0) => break,
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            Err(error) => return Err(KeyError::File(error)),
        }
    }
    let end = bytes.iter().position(|byte| *byte == b'\n');
    if end.is_none() && bytes.len() > LONGEST_LINE {
        return Err(KeyError::TooLong);
    }
    let line = &bytes[..end.unwrap_or(bytes.len())];
    let text = str::from_utf8(line).map_err(|_| KeyError::NotText)?;
    let text = text.trim_start_matches('\u{feff}').trim();
    Ok(Zeroizing::new(text.to_owned()))
}

/// Makes a new key.
pub fn run(arguments: &NewKeyArguments) -> anyhow::Result<ExitCode> {
    let path = &arguments.file;
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice())
        .map_err(|error| anyhow::anyhow!("the system gives no random numbers: {error}"))?;
    // All the room at once, as above: 64 digits and the end of the line.
    let mut text = Zeroizing::new(String::with_capacity(2 * bytes.len() + 1));
    for byte in bytes.iter() {
        write!(text, "{byte:02x}")?;
    }
    text.push('\n');

    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => anyhow::anyhow!(
            "{} exists already and is left alone: choose another name",
            path.display()
        ),
        _ => anyhow::Error::new(error).context(format!("{}", path.display())),
    })?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    if let Err(error) = written {
        // Half a key would pass for a passphrase.
        let _ = std::fs::remove_file(path);
        return Err(error).with_context(|| format!("{}", path.display()));
    }
    Ok(ExitCode::SUCCESS)
}
