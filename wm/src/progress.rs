// SPDX-License-Identifier: MIT OR Apache-2.0
//! Progress bars, on a terminal only, and lines of output that do not run into them.

use std::io::Write;
use std::path::Path;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// All bars of a command.
pub struct Progress {
    bars: MultiProgress,
}

impl Progress {
    pub fn new() -> Self {
        // Shows nothing if standard error is no terminal.
        Progress {
            bars: MultiProgress::new(),
        }
    }

    /// A bar for work on a file, gone when it is dropped.
    pub fn bar(&self, path: &Path) -> Bar {
        let style = ProgressStyle::with_template("{wide_msg} {bar:30} {percent:>3} %  {eta:>4}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let name = path.file_name().unwrap_or(path.as_os_str());
        let bar = ProgressBar::no_length()
            .with_style(style)
            .with_message(name.to_string_lossy().into_owned());
        Bar(self.bars.add(bar))
    }

    /// Writes a line to standard output.
    pub fn print(&self, line: &str) -> std::io::Result<()> {
        self.bars
            .suspend(|| writeln!(std::io::stdout().lock(), "{line}"))
    }

    /// Writes what went wrong to standard error.
    pub fn complain(&self, line: &str) {
        self.bars.suspend(|| eprintln!("wm: {line}"));
    }
}

/// The bar of one file.
pub struct Bar(ProgressBar);

impl Bar {
    /// Shows how far the work has come.
    pub fn set(&self, position: gst::ClockTime, duration: gst::ClockTime) {
        self.0.set_length(duration.mseconds());
        self.0.set_position(position.mseconds());
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
