// SPDX-License-Identifier: MIT OR Apache-2.0
//! Prints a fresh key, or writes it to a new file that only its owner can read.
//!
//! ```sh
//! cargo run --example keygen
//! cargo run --example keygen station.key
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::process::ExitCode;

fn new_key() -> io::Result<String> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Creates the file; one that exists already is left alone.
fn write_key(path: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    writeln!(file, "{}", new_key()?)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.as_slice() {
        [] => new_key().map(|key| println!("{key}")),
        [path] if !path.starts_with('-') => {
            write_key(path).map_err(|e| io::Error::new(e.kind(), format!("{path}: {e}")))
        }
        _ => {
            eprintln!("usage: keygen [FILE]");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("keygen: {e}");
            ExitCode::FAILURE
        }
    }
}
