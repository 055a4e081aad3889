// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keeps what libraries write to standard error off the table. ALSA writes there, for one, at each attempt to open a
//! microphone.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;

/// The latest lines are kept, and written in the end.
const KEPT: usize = 50;

/// While this is there, standard error does not go to the terminal. Then it does again, and what came last is written
/// there: after a panic that is what there is to know about it.
pub struct Quiet {
    terminal: OwnedFd,
    /// There until the end.
    kept: Option<JoinHandle<VecDeque<String>>>,
}

impl Quiet {
    /// None where standard error is no terminal: there it is in nobody's way.
    pub fn start() -> io::Result<Option<Self>> {
        let error = io::stderr();
        if !error.is_terminal() {
            return Ok(None);
        }
        let terminal = error.as_fd().try_clone_to_owned()?;
        let (reader, writer) = io::pipe()?;
        let thread = std::thread::Builder::new().name("stderr".into());
        let kept = thread.spawn(|| latest_lines(reader))?;
        rustix::stdio::dup2_stderr(writer)?;
        Ok(Some(Quiet {
            terminal,
            kept: Some(kept),
        }))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // Without this there is nowhere to tell that it failed, and the thread would wait for ever.
        if rustix::stdio::dup2_stderr(&self.terminal).is_err() {
            return;
        }
        let kept = self.kept.take().and_then(|kept| kept.join().ok());
        for line in kept.unwrap_or_default() {
            eprintln!("{line}");
        }
    }
}

fn latest_lines(input: impl Read) -> VecDeque<String> {
    let mut kept = VecDeque::new();
    // Bytes that are no text end nothing: whoever writes would have to wait then.
    for line in BufReader::new(input).split(b'\n').map_while(Result::ok) {
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(String::from_utf8_lossy(&line).into_owned());
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_lines_are_kept() {
        let mut text: Vec<u8> = (0..1000)
            .flat_map(|i| format!("line {i}\n").into_bytes())
            .collect();
        text.extend(b"no \xff text");
        let lines = latest_lines(text.as_slice());
        assert_eq!(lines.len(), KEPT);
        assert_eq!(lines[KEPT - 2], "line 999");
        assert_eq!(lines[KEPT - 1], "no \u{fffd} text");
    }
}
