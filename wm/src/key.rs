// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the key comes from. It is never an argument, since other users see those.

use std::path::PathBuf;

/// The key, as all commands take it.
#[derive(clap::Args, Clone)]
pub struct KeyArguments {
    /// File whose first line is the key: 64 hex digits, or a passphrase
    #[arg(long, short, value_name = "FILE")]
    pub key_file: PathBuf,
}
