// SPDX-License-Identifier: MIT OR Apache-2.0
//! The audio of a file as samples of one channel, piece by piece.

use std::path::Path;

use anyhow::{Context, bail};
use gst::prelude::*;

use crate::interrupt;
use crate::play::{DECODE, Player};
use crate::progress::Bar;

/// How long to wait until a signal is looked for again.
const TICK: gst::ClockTime = gst::ClockTime::from_mseconds(100);

/// A file that is being read.
pub struct Programme {
    player: Player,
    sink: gst_app::AppSink,
    rate: u32,
    /// Read, and not yet handed out.
    waiting: Vec<f32>,
}

impl Programme {
    /// Begins to read, at another rate if one is given.
    pub fn open(path: &Path, rate: Option<u32>) -> anyhow::Result<Self> {
        let player = Player::new(
            &format!("{DECODE} ! audioresample ! appsink name=out sync=false max-buffers=8"),
            path,
        )?;
        let sink = player
            .element("out")?
            .downcast::<gst_app::AppSink>()
            .map_err(|_| anyhow::anyhow!("the element out is no appsink"))?;
        let caps = gst::Caps::builder("audio/x-raw")
            .field("format", "F32LE")
            .field("layout", "interleaved")
            .field("channels", 1)
            .field_if_some("rate", rate.map(|rate| rate as i32));
        sink.set_caps(Some(&caps.build()));
        player.start()?;
        let mut programme = Programme {
            player,
            sink,
            rate: 0,
            waiting: Vec::new(),
        };
        if !programme.fetch()? {
            bail!("there is no audio in it");
        }
        Ok(programme)
    }

    /// Frames a second.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// The next piece, of any length; whether there is one.
    pub fn read(&mut self, piece: &mut Vec<f32>) -> anyhow::Result<bool> {
        let more = !self.waiting.is_empty() || self.fetch()?;
        piece.clear();
        piece.append(&mut self.waiting);
        Ok(more)
    }

    /// The next frames, fewer only at the end.
    pub fn read_exactly(&mut self, frames: usize, piece: &mut Vec<f32>) -> anyhow::Result<()> {
        let frames = self.peek(frames)?.len();
        piece.clear();
        piece.extend(self.waiting.drain(..frames));
        Ok(())
    }

    /// The next frames, fewer only at the end; they stay the next ones.
    pub fn peek(&mut self, frames: usize) -> anyhow::Result<&[f32]> {
        while self.waiting.len() < frames && self.fetch()? {}
        Ok(&self.waiting[..frames.min(self.waiting.len())])
    }

    /// Puts silence before what comes next.
    pub fn delay(&mut self, frames: usize) {
        self.waiting.splice(..0, std::iter::repeat_n(0.0, frames));
    }

    /// Leaves out frames that have been looked at.
    pub fn skip(&mut self, frames: usize) {
        self.waiting.drain(..frames.min(self.waiting.len()));
    }

    /// Shows how far it has come.
    pub fn show(&self, bar: &Bar) {
        self.player.show(bar);
    }

    /// Waits for more; whether there is any.
    fn fetch(&mut self) -> anyhow::Result<bool> {
        loop {
            interrupt::check()?;
            if let Some(sample) = self.sink.try_pull_sample(TICK) {
                return self.take(&sample).map(|()| true);
            }
            if let Some(error) = self.player.error() {
                bail!(error);
            }
            if self.sink.is_eos() {
                return Ok(false);
            }
        }
    }

    fn take(&mut self, sample: &gst::Sample) -> anyhow::Result<()> {
        if self.rate == 0 {
            let structure = sample.caps().and_then(|caps| caps.structure(0));
            let rate = structure.and_then(|caps| caps.get::<i32>("rate").ok());
            self.rate = rate
                .and_then(|rate| u32::try_from(rate).ok())
                .context("the audio has no rate")?;
        }
        let buffer = sample.buffer().context("a sample is empty")?;
        let map = buffer.map_readable()?;
        let bytes = map.as_chunks().0.iter();
        self.waiting
            .extend(bytes.map(|bytes| f32::from_le_bytes(*bytes)));
        Ok(())
    }
}
