// SPDX-License-Identifier: MIT OR Apache-2.0
//! An application that looks for the mark: reads a file or a stream and prints the messages of `wmdetect`.
//! Exit status: 0 if the mark was found, 1 if not, 2 after an error.
//!
//! ```sh
//! cargo run --release --example detect_bus out.mp3 station.key
//! cargo run --release --example detect_bus https://radio.example/live station.key
//! ```

use std::error::Error;
use std::process::ExitCode;

use gst::prelude::*;

/// One line for a message of `wmdetect`; a field that a message lacks is left out.
fn describe(message: &gst::StructureRef) -> String {
    let mut line = message.get::<String>("state").unwrap_or_default();
    let seconds = |field| {
        message
            .get::<gst::ClockTime>(field)
            .map(|t| t.nseconds() as f64 / 1e9)
    };
    if let Ok(time) = seconds("timestamp") {
        line += &format!(" at {time:.1} s");
    }
    if let Ok(score) = message.get::<f64>("score") {
        line += &format!(", score {score:.1}");
    }
    if let Ok(exponent) = message.get::<f64>("log10-p") {
        line += &format!(", chance of a false alarm in an hour 1e{exponent:.0}");
    }
    if let Ok(window) = seconds("window") {
        line += &format!(", from {window:.1} s of audio");
    }
    if let Ok(speed) = message.get::<f64>("speed") {
        line += &format!(", speed {speed:.4}");
    }
    line
}

/// Listens to the end of the audio; returns whether the mark was found.
fn detect(source: &str, key_file: &str) -> Result<bool, Box<dyn Error>> {
    gst::init()?;
    gstwm::plugin_register_static()?;

    let pipeline = gst::parse::launch(
        "uridecodebin name=in ! audioconvert name=convert ! wmdetect name=detect ! fakesink sync=false",
    )?
    .downcast::<gst::Pipeline>()
    .map_err(|_| "the description is not that of a pipeline")?;
    let element = |name: &str| pipeline.by_name(name).ok_or("an element is missing");
    let uri = match source.contains("://") {
        true => source.into(),
        false => gst::glib::filename_to_uri(std::path::absolute(source)?, None)?,
    };
    element("in")?.set_property("uri", uri);
    element("detect")?.set_property("key-file", key_file);

    // Without audio nothing would ever reach the sink.
    let convert = element("convert")?.downgrade();
    element("in")?.connect_no_more_pads(move |decode| {
        let sink = convert.upgrade().and_then(|c| c.static_pad("sink"));
        if sink.is_some_and(|pad| !pad.is_linked()) {
            gst::element_error!(decode, gst::StreamError::WrongType, ("there is no audio"));
        }
    });

    let bus = pipeline.bus().ok_or("the pipeline has no bus")?;
    // Why a change of state failed is on the bus, too.
    let wait = match pipeline.set_state(gst::State::Playing) {
        Ok(_) => gst::ClockTime::NONE,
        Err(_) => Some(gst::ClockTime::ZERO),
    };
    let mut found = false;
    let mut result = Err("the pipeline did not start".into());
    for message in bus.iter_timed(wait) {
        use gst::MessageView;
        match message.view() {
            MessageView::Element(element) => {
                if let Some(structure) = element.structure()
                    && structure.name() == "wmdetect"
                {
                    println!("{}", describe(structure));
                    found |= structure.get::<&str>("state") == Ok("found");
                }
            }
            MessageView::Latency(_) => {
                // An element in the pipeline has another latency now.
                let _ = pipeline.recalculate_latency();
            }
            MessageView::Error(e) => {
                let source = e.src().map(|source| source.name()).unwrap_or_default();
                let details = e.debug().unwrap_or_default();
                result = Err(format!("{source}: {}\n{details}", e.error()).into());
                break;
            }
            MessageView::Eos(_) => {
                result = Ok(found);
                break;
            }
            _ => {}
        }
    }
    pipeline.set_state(gst::State::Null)?;
    result
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [source, key_file] = arguments.as_slice() else {
        eprintln!("usage: detect_bus URI|FILE KEYFILE");
        return ExitCode::from(2);
    };
    match detect(source, key_file) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            println!("not found");
            ExitCode::from(1)
        }
        Err(e) => {
            eprintln!("detect_bus: {e}");
            ExitCode::from(2)
        }
    }
}
