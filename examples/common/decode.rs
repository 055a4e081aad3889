// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the measurements share: audio files as samples.

use gst::prelude::*;
use std::error::Error;

pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Decodes a file, at a sample rate or at its own, sends it through `elements`, and gives what comes out to `take`
/// piece by piece: interleaved samples, sample rate and channels.
pub fn listen(
    elements: &str,
    path: &str,
    rate: Option<u32>,
    mut take: impl FnMut(&[f32], u32, usize) -> Result<()>,
) -> Result<()> {
    let rate = rate.map_or(String::new(), |rate| format!(",rate={rate}"));
    let pipeline = gst::parse::launch(&format!(
        "uridecodebin name=in ! audioconvert ! audioresample ! audio/x-raw,format=F32LE,layout=interleaved{rate} \
         ! {elements} ! appsink name=out sync=false max-buffers=16"
    ))?
    .downcast::<gst::Pipeline>()
    .map_err(|_| "the description is not that of a pipeline")?;
    let element = |name: &str| pipeline.by_name(name).ok_or("an element is missing");
    let uri = gst::glib::filename_to_uri(std::path::absolute(path)?, None)?;
    element("in")?.set_property("uri", uri);
    let sink = element("out")?
        .downcast::<gst_app::AppSink>()
        .map_err(|_| "out is not an appsink")?;
    pipeline.set_state(gst::State::Playing)?;
    let bus = pipeline.bus().ok_or("the pipeline has no bus")?;
    let mut samples = Vec::new();
    let result = loop {
        // An error ends no pull, so it is asked for now and then.
        let Some(sample) = sink.try_pull_sample(gst::ClockTime::from_mseconds(200)) else {
            if let Some(message) = bus.pop_filtered(&[gst::MessageType::Error]) {
                break Err(format!("{path}: {message:?}").into());
            }
            if sink.is_eos() {
                break Ok(());
            }
            continue;
        };
        let structure = sample.caps().and_then(|caps| caps.structure(0));
        let structure = structure.ok_or("audio without a format")?;
        let (rate, channels) = (
            structure.get::<i32>("rate")?,
            structure.get::<i32>("channels")?,
        );
        let map = sample.buffer().ok_or("no buffer")?.map_readable()?;
        samples.clear();
        samples.extend(map.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)));
        take(&samples, rate as u32, channels as usize)?;
    };
    pipeline.set_state(gst::State::Null)?;
    result
}
