// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ctrl-C, and the other signals that ask a program to end: the work is given up in an orderly way.

use std::sync::atomic::{AtomicBool, Ordering};

/// As shells have it for Ctrl-C: 128 and the number of the signal.
pub const EXIT_STATUS: u8 = 130;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The error of work that was given up. Who asked for that needs no message about it.
#[derive(Debug)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// From now on signals only say that there was one. To be called once.
pub fn catch() -> anyhow::Result<()> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::SeqCst))?;
    Ok(())
}

/// Whether to go on: an error if not.
pub fn check() -> Result<(), Interrupted> {
    match INTERRUPTED.load(Ordering::SeqCst) {
        true => Err(Interrupted),
        false => Ok(()),
    }
}
