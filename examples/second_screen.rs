// SPDX-License-Identifier: MIT OR Apache-2.0
//! A second screen: one pipeline marks a programme and plays it, another listens and tells once a second where the
//! programme is, by what it hears, and how far that is from its own clock.
//!
//! ```sh
//! cargo run --release --example second_screen station.key film.mp4           # loudspeaker and microphone
//! cargo run --release --example second_screen station.key film.mp4 --room    # a simulated room, no hardware
//! ```
//!
//! `--seconds N` ends it after N seconds, else it ends with the programme. Exit status: 0 if the mark was heard, 1 if
//! not, 2 after an error.
//!
//! The two pipelines share nothing but the key and the sound. What the listener knows beside the sound is when the
//! programme was started. That is its own clock, and it settles one more thing: the signs of the mark repeat after
//! 204.8 s, so what is heard tells the position modulo 204.8 s only. Of the positions that are possible the one
//! nearest to the own clock is taken, so that clock may be up to 102.4 s off.

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstwm::watermark::format::CYCLE;

const USAGE: &str = "usage: second_screen KEYFILE PROGRAMME [--room] [--seconds N]";
/// Time between two lines.
const INTERVAL: Duration = Duration::from_secs(1);
const LOUDSPEAKER: &str = "autoaudiosink";
const MICROPHONE: &str = "autoaudiosrc";
/// A loudspeaker that plays into this process, at the pace of a clock. Two samples a frame, as freeverb wants them.
const INTO_ROOM: &str = "audio/x-raw,rate=48000,channels=2 ! interaudiosink channel=room";
/// What a microphone at 16 kHz in a reverberant room hears of that loudspeaker: an echo from a wall, reverberation,
/// and pink noise.
const ROOM: &str = "audiotestsrc is-live=true wave=pink-noise volume=0.12 \
    ! audio/x-raw,format=F32LE,rate=16000,channels=1 ! audiomixer name=mix \
    interaudiosrc channel=room ! audioconvert ! audio/x-raw,rate=48000,channels=2 \
    ! audioecho delay=20000000 intensity=0.5 ! freeverb room-size=0.6 damping=0.4 level=0.5 \
    ! audioconvert ! audioresample ! audio/x-raw,format=F32LE,rate=16000,channels=1 ! mix. mix.";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Arguments {
    key_file: String,
    programme: String,
    room: bool,
    seconds: Option<Duration>,
}

impl Arguments {
    fn parse() -> Option<Self> {
        let (mut names, mut room, mut seconds) = (Vec::new(), false, None);
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--room" => room = true,
                "--seconds" => {
                    let number = arguments.next()?.parse().ok()?;
                    seconds = Some(Duration::try_from_secs_f64(number).ok()?);
                }
                option if option.starts_with("--") => return None,
                _ => names.push(argument),
            }
        }
        let [key_file, programme] = names.try_into().ok()?;
        Some(Arguments {
            key_file,
            programme,
            room,
            seconds,
        })
    }
}

fn pipeline(description: &str) -> Result<gst::Pipeline> {
    let pipeline = gst::parse::launch(description)?.downcast();
    pipeline.map_err(|_| "the description is not that of a pipeline".into())
}

fn element(pipeline: &gst::Pipeline, name: &str) -> Result<gst::Element> {
    Ok(pipeline.by_name(name).ok_or("an element is missing")?)
}

/// Marks the programme and plays it.
fn player(arguments: &Arguments) -> Result<gst::Pipeline> {
    let sink = if arguments.room {
        INTO_ROOM
    } else {
        LOUDSPEAKER
    };
    let player = pipeline(&format!(
        "uridecodebin name=in ! audioconvert name=convert ! wmembed name=embed \
         ! audioconvert ! audioresample ! {sink}"
    ))?;
    let uri = match arguments.programme.contains("://") {
        true => arguments.programme.as_str().into(),
        false => gst::glib::filename_to_uri(std::path::absolute(&arguments.programme)?, None)?,
    };
    element(&player, "in")?.set_property("uri", uri);
    element(&player, "embed")?.set_property("key-file", &arguments.key_file);
    // Without audio nothing would ever reach the sink.
    let convert = element(&player, "convert")?.downgrade();
    element(&player, "in")?.connect_no_more_pads(move |decode| {
        let sink = convert.upgrade().and_then(|c| c.static_pad("sink"));
        if sink.is_some_and(|pad| !pad.is_linked()) {
            gst::element_error!(decode, gst::StreamError::WrongType, ("there is no audio"));
        }
    });
    Ok(player)
}

/// Listens for the mark.
fn listener(arguments: &Arguments) -> Result<gst::Pipeline> {
    let source = if arguments.room { ROOM } else { MICROPHONE };
    let listener = pipeline(&format!(
        "{source} ! audioconvert ! audioresample ! wmdetect name=detect ! fakesink sync=true"
    ))?;
    let detect = element(&listener, "detect")?;
    detect.set_property("key-file", &arguments.key_file);
    detect.set_property("interval", INTERVAL.as_nanos() as u64);
    Ok(listener)
}

/// Brings a pipeline to a state; why that failed is on the bus.
fn reach(pipeline: &gst::Pipeline, state: gst::State) -> Result<()> {
    let reached = pipeline.set_state(state).is_ok()
        && pipeline.state(gst::ClockTime::from_seconds(20)).0.is_ok();
    if !reached {
        while let Some(message) = pipeline.bus().and_then(|bus| bus.pop()) {
            attend(pipeline, &message)?;
        }
        return Err("a pipeline did not start within 20 s".into());
    }
    Ok(())
}

/// Does what any application has to do about a message; returns whether it is the end of the stream.
fn attend(pipeline: &gst::Pipeline, message: &gst::MessageRef) -> Result<bool> {
    use gst::MessageView;
    match message.view() {
        MessageView::Error(e) => {
            let source = e.src().map(|source| source.name()).unwrap_or_default();
            let details = e.debug().unwrap_or_default();
            Err(format!("{source}: {}\n{details}", e.error()).into())
        }
        MessageView::Latency(_) => {
            // An element in the pipeline has another latency now.
            let _ = pipeline.recalculate_latency();
            Ok(false)
        }
        MessageView::Eos(_) => Ok(true),
        _ => Ok(false),
    }
}

fn seconds(time: gst::ClockTime) -> f64 {
    time.nseconds() as f64 / 1e9
}

/// The line about a message of `wmdetect`, if it has one. The listener's pipeline has been running for `now`, and by
/// the listener's own clock the programme is at `own`.
fn describe(message: &gst::StructureRef, now: f64, own: f64) -> Option<String> {
    if message.get::<&str>("state") == Ok("lost") {
        return Some("the mark is lost".into());
    }
    let score = message.get::<f64>("score").ok()?;
    // Both times are those of the same moment, the start of the evidence; since then the programme went on.
    let position = message.get::<gst::ClockTime>("watermark-time").ok()?;
    let moment = message.get::<gst::ClockTime>("running-time").ok()?;
    let position =
        seconds(position) + (now - seconds(moment)) * message.get::<f64>("speed").ok()?;
    // The noise carrier has none.
    let error = message.get::<gst::ClockTime>("watermark-time-error");
    let error = error.map_or(String::new(), |error| format!(" ±{} ms", error.mseconds()));
    // Of the positions that are possible, a cycle apart, the nearest to the own clock.
    let offset = (position - own + CYCLE / 2.0).rem_euclid(CYCLE) - CYCLE / 2.0;
    let milliseconds = ((own + offset).max(0.0) * 1e3).round();
    let (minutes, rest) = ((milliseconds / 6e4).floor(), milliseconds % 6e4 / 1e3);
    Some(format!(
        "programme {minutes}:{rest:06.3}  offset to my clock {offset:+.3} s{error}  score {score:.1}"
    ))
}

/// Plays, listens and prints; returns whether the mark was heard.
fn run(player: &gst::Pipeline, listener: &gst::Pipeline, until: Option<Duration>) -> Result<bool> {
    let (player_bus, listener_bus) = player.bus().zip(listener.bus()).ok_or("no bus")?;
    // The listener is there first, and the programme waits, so that it starts when it is told to.
    reach(listener, gst::State::Playing)?;
    reach(player, gst::State::Paused)?;
    let now = || seconds(listener.current_running_time().unwrap_or_default());
    let (start, started) = (now(), Instant::now());
    reach(player, gst::State::Playing)?;

    let (mut found, mut printed) = (false, started);
    while until.is_none_or(|until| started.elapsed() < until) {
        while let Some(message) = player_bus.pop() {
            if attend(player, &message)? {
                println!("the programme is over");
                return Ok(found);
            }
        }
        let message = listener_bus.timed_pop(gst::ClockTime::from_mseconds(100));
        let own = now() - start;
        if let Some(message) = message {
            attend(listener, &message)?;
            let report = message.structure().filter(|s| s.name() == "wmdetect");
            if let Some(line) = report.and_then(|report| describe(report, start + own, own)) {
                println!("{line}");
                found = true;
                printed = Instant::now();
            }
        }
        // A line a second comes in any case.
        if printed.elapsed() > INTERVAL * 3 / 2 {
            println!("no mark; by my clock the programme is at {own:.1} s");
            printed += INTERVAL;
        }
    }
    Ok(found)
}

fn second_screen(arguments: &Arguments) -> Result<bool> {
    gst::init()?;
    gstwm::plugin_register_static()?;
    let (player, listener) = (player(arguments)?, listener(arguments)?);
    let result = run(&player, &listener, arguments.seconds);
    player.set_state(gst::State::Null)?;
    listener.set_state(gst::State::Null)?;
    result
}

fn main() -> ExitCode {
    let Some(arguments) = Arguments::parse() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match second_screen(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            println!("the mark was not heard");
            ExitCode::from(1)
        }
        Err(e) => {
            eprintln!("second_screen: {e}");
            ExitCode::from(2)
        }
    }
}
