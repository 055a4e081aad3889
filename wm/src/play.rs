// SPDX-License-Identifier: MIT OR Apache-2.0
//! A pipeline that plays a file to its end, as fast as it goes.

use std::path::Path;

use anyhow::{Context, bail};
use gst::prelude::*;

use crate::interrupt;
use crate::progress::Bar;

/// How often progress is shown, and whether there was a signal is looked at.
const TICK: gst::ClockTime = gst::ClockTime::from_mseconds(100);

/// Of the details of an error, in characters.
const LONGEST_DETAILS: usize = 120;

/// What decodes the audio of the file `in`; `convert` has it.
pub const DECODE: &str = "filesrc name=in ! decodebin name=decode ! audioconvert name=convert";

/// A pipeline that ends when it is dropped.
pub struct Player(gst::Pipeline);

impl Player {
    /// The pipeline of a description that begins with [`DECODE`].
    pub fn new(description: &str, input: &Path) -> anyhow::Result<Self> {
        // Not by opening it: a pipe is opened once.
        if input.metadata()?.is_dir() {
            bail!("this is a directory: name the files in it");
        }
        let pipeline = gst::parse::launch(description)
            .context("the pipeline cannot be built: install GStreamer's plugins base and good")?
            .downcast::<gst::Pipeline>()
            .map_err(|_| anyhow::anyhow!("the description is not that of a pipeline"))?;
        let player = Player(pipeline);
        player.element("in")?.set_property("location", input);
        let decode = player.element("decode")?;
        // Pictures are not decoded.
        decode.set_property("expose-all-streams", false);
        decode.set_property(
            "caps",
            gst::Caps::builder("audio/x-raw").any_features().build(),
        );
        // Without audio nothing would ever reach the end.
        let convert = player.element("convert")?.downgrade();
        decode.connect_no_more_pads(move |decode| {
            let sink = convert.upgrade().and_then(|c| c.static_pad("sink"));
            if sink.is_some_and(|pad| !pad.is_linked()) {
                gst::element_error!(
                    decode,
                    gst::StreamError::WrongType,
                    ("there is no audio in it")
                );
            }
        });
        Ok(player)
    }

    /// An element by its name.
    pub fn element(&self, name: &str) -> anyhow::Result<gst::Element> {
        self.0
            .by_name(name)
            .with_context(|| format!("the pipeline has no element {name}"))
    }

    /// Plays to the end; `take` gets the element messages.
    pub fn play(&self, bar: &Bar, mut take: impl FnMut(&gst::StructureRef)) -> anyhow::Result<()> {
        let bus = self.0.bus().context("the pipeline has no bus")?;
        self.start()?;
        loop {
            interrupt::check()?;
            let Some(message) = bus.timed_pop(TICK) else {
                self.show(bar);
                continue;
            };
            use gst::MessageView;
            match message.view() {
                MessageView::Element(element) => {
                    if let Some(structure) = element.structure() {
                        take(structure);
                    }
                }
                MessageView::Error(error) => bail!(describe(error)),
                MessageView::Eos(_) => return Ok(()),
                _ => (),
            }
        }
    }

    /// Starts it, without waiting for anything.
    pub fn start(&self) -> anyhow::Result<()> {
        match self.0.set_state(gst::State::Playing) {
            Ok(_) => Ok(()),
            // Why is on the bus.
            Err(_) => bail!(self.error().unwrap_or("the pipeline does not start".into())),
        }
    }

    /// What went wrong, if anything did.
    pub fn error(&self) -> Option<String> {
        let message = self.0.bus()?.pop_filtered(&[gst::MessageType::Error])?;
        match message.view() {
            gst::MessageView::Error(error) => Some(describe(error)),
            _ => None,
        }
    }

    /// Shows how far it has come.
    pub fn show(&self, bar: &Bar) {
        let position = self.0.query_position::<gst::ClockTime>();
        let duration = self.0.query_duration::<gst::ClockTime>();
        if let (Some(position), Some(duration)) = (position, duration) {
            bar.set(position, duration);
        }
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        if interrupt::check().is_err() {
            // The program ends. To stop would take until a read from a pipe returns, which may be never.
            std::mem::forget(self.0.clone());
            return;
        }
        let _ = self.0.set_state(gst::State::Null);
    }
}

/// The text of an error, with the details where it says nothing by itself.
fn describe(error: &gst::message::Error) -> String {
    let text = error.error();
    if text.matches(gst::StreamError::TypeNotFound) || text.matches(gst::StreamError::WrongType) {
        return format!("this is no audio file that GStreamer knows: {text}");
    }
    let vague =
        text.matches(gst::StreamError::Failed) || text.matches(gst::CoreError::MissingPlugin);
    match error
        .debug()
        .as_ref()
        .and_then(|debug| debug.lines().last())
    {
        Some(details) if vague => {
            // Some hold whole headers of the file.
            let details: String = details.chars().take(LONGEST_DETAILS).collect();
            format!("{text} ({details})")
        }
        _ => text.to_string(),
    }
}
