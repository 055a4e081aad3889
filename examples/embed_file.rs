// SPDX-License-Identifier: MIT OR Apache-2.0
//! Marks the audio of a file: reads what GStreamer can decode, writes WAV, FLAC, Vorbis, Opus, MP3 or AAC.
//!
//! ```sh
//! cargo run --release --example embed_file in.flac out.mp3 station.key
//! ```

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gst::prelude::*;

/// Encoder and container for a file name, as a piece of a pipeline description.
fn encoder(path: &Path) -> Option<&'static str> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    Some(match extension.as_str() {
        "wav" => "wavenc",
        "flac" => "flacenc",
        "ogg" => "vorbisenc quality=0.5 ! oggmux",
        "opus" => "opusenc bitrate=128000 ! oggmux",
        "mp3" => "lamemp3enc target=bitrate bitrate=192 cbr=true",
        "m4a" => "voaacenc bitrate=192000 ! aacparse ! mp4mux",
        _ => return None,
    })
}

/// A file that is removed unless the work on it was completed.
struct Unfinished(PathBuf);

impl Unfinished {
    /// Creates the file; one that exists already is an error.
    fn create(path: &Path) -> std::io::Result<Self> {
        std::fs::File::create_new(path)?;
        Ok(Unfinished(path.to_owned()))
    }

    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_file(&self.0) {
            eprintln!("embed_file: {}: {e}", self.0.display());
        }
    }
}

/// Runs the pipeline to its end.
fn run(pipeline: &gst::Pipeline) -> Result<(), Box<dyn Error>> {
    let bus = pipeline.bus().ok_or("the pipeline has no bus")?;
    let types = [gst::MessageType::Eos, gst::MessageType::Error];
    // Why a change of state failed is on the bus, too.
    let message = match pipeline.set_state(gst::State::Playing) {
        Ok(_) => bus.timed_pop_filtered(gst::ClockTime::NONE, &types),
        Err(_) => bus.pop_filtered(&types),
    };
    match message.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Eos(_)) => Ok(()),
        Some(gst::MessageView::Error(e)) => {
            let source = e.src().map(|source| source.name()).unwrap_or_default();
            let details = e.debug().unwrap_or_default();
            Err(format!("{source}: {}\n{details}", e.error()).into())
        }
        _ => Err("the pipeline did not start".into()),
    }
}

fn embed(input: &Path, output: &Path, key_file: &Path) -> Result<(), Box<dyn Error>> {
    gst::init()?;
    gstwm::plugin_register_static()?;

    let encoder = encoder(output)
        .ok_or("the name of OUT must end with .wav, .flac, .ogg, .opus, .mp3 or .m4a")?;
    let pipeline = gst::parse::launch(&format!(
        "filesrc name=in ! decodebin name=decode ! audioconvert name=convert ! wmembed name=embed \
         ! audioconvert ! audioresample ! {encoder} ! filesink name=out"
    ))?
    .downcast::<gst::Pipeline>()
    .map_err(|_| "the description is not that of a pipeline")?;

    let element = |name: &str| pipeline.by_name(name).ok_or("an element is missing");
    element("in")?.set_property("location", input);
    element("embed")?.set_property("key-file", key_file);
    element("out")?.set_property("location", output);

    // Without audio nothing would ever reach the encoder.
    let convert = element("convert")?.downgrade();
    element("decode")?.connect_no_more_pads(move |decode| {
        let sink = convert.upgrade().and_then(|c| c.static_pad("sink"));
        if sink.is_some_and(|pad| !pad.is_linked()) {
            gst::element_error!(decode, gst::StreamError::WrongType, ("IN has no audio"));
        }
    });

    let unfinished =
        Unfinished::create(output).map_err(|e| format!("{}: {e}", output.display()))?;
    let result = run(&pipeline);
    pipeline.set_state(gst::State::Null)?;
    result?;
    unfinished.keep();
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [input, output, key_file] = arguments.as_slice() else {
        eprintln!("usage: embed_file IN OUT KEYFILE");
        return ExitCode::from(2);
    };
    match embed(input, output, key_file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("embed_file: {e}");
            ExitCode::FAILURE
        }
    }
}
