// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ctrl-C, and the other signals that ask a program to end: the work is given up in an orderly way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// As shells have it for Ctrl-C: 128 and the number of the signal.
pub const EXIT_STATUS: u8 = 130;

/// Whoever asks again after this long need not wait for an end in good order.
const PATIENCE: Duration = Duration::from_secs(1);

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

/// From now on the first signal only says that there was one. To be called once.
pub fn catch() -> anyhow::Result<()> {
    let mut first = None;
    ctrlc::set_handler(move || {
        INTERRUPTED.store(true, Ordering::SeqCst);
        let first: &mut Instant = first.get_or_insert_with(Instant::now);
        if first.elapsed() > PATIENCE {
            // GStreamer may be waiting for a pipe that nobody opens at the other end.
            std::process::exit(EXIT_STATUS.into());
        }
    })?;
    Ok(())
}

/// Whether to go on: an error if not.
pub fn check() -> Result<(), Interrupted> {
    match INTERRUPTED.load(Ordering::SeqCst) {
        true => Err(Interrupted),
        false => Ok(()),
    }
}
