// SPDX-License-Identifier: MIT OR Apache-2.0
//! A radio station: plays files one after the other, over and over, or what comes in at the sound card, marks that, and
//! sends it to an Icecast server as Ogg Vorbis. Where the server goes away the programme goes on, and is sent again
//! when it is back.
//!
//! ```sh
//! export ICECAST_PASSWORD=hackme    # or --password-file FILE
//! cargo run --release --example radio station.key 127.0.0.1:8000/live.ogg one.flac two.mp3
//! cargo run --release --example radio station.key 127.0.0.1:8000/live.ogg --line-in --payload 00c0ffee
//! ```
//!
//! The signs follow the time of day (`row-clock=utc`), so listen with
//! `wmdetect row-clock=utc`; with `--row-clock stream` they repeat. `--once` ends it with the last file.
//!
//! There are two pipelines, as programme and transmission have to do with each other no more than they must: an
//! error on one side leaves the other side running.

use std::error::Error;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gst::prelude::*;

const USAGE: &str =
    "usage: radio KEYFILE HOST:PORT/MOUNT FILE|URI...|--line-in [--once] [--payload HEX]
             [--row-clock utc|stream] [--password-file FILE]
the password of the server is in that file, or in the environment variable ICECAST_PASSWORD";
const RATE: u64 = 48_000;
const FORMAT: &str = "audio/x-raw,format=F32LE,layout=interleaved,rate=48000,channels=2";
const BYTES_PER_FRAME: u64 = 8;
/// Time after which a connection that failed is tried again; twice as long each time, up to the second.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];
/// Behind the clock by more than this, the programme has a gap.
const GAP: gst::ClockTime = gst::ClockTime::from_seconds(1);
const TICK: gst::ClockTime = gst::ClockTime::from_mseconds(100);

pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What a station has to know.
pub struct Station {
    pub key_file: String,
    pub host: String,
    pub port: u16,
    pub mount: String,
    pub password: String,
    pub payload: String,
    pub row_clock: String,
    /// Files or URIs; none for the sound card.
    pub programme: Vec<String>,
    pub once: bool,
}

impl Station {
    fn parse() -> Result<Option<Self>> {
        let (mut names, mut line_in, mut once) = (Vec::new(), false, false);
        let (mut payload, mut row_clock) = (String::new(), "utc".to_string());
        let mut password_file = None;
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--line-in" => line_in = true,
                "--once" => once = true,
                "--payload" => payload = value()?,
                "--row-clock" => row_clock = value()?,
                "--password-file" => password_file = Some(value()?),
                option if option.starts_with("--") => return Ok(None),
                _ => names.push(argument),
            }
        }
        if names.len() < 2 || line_in != (names.len() == 2) {
            return Ok(None);
        }
        let programme = names.split_off(2);
        let server = names.remove(1);
        let Some(((host, port), mount)) = server
            .split_once('/')
            .and_then(|(server, mount)| Some((server.rsplit_once(':')?, mount)))
        else {
            return Ok(None);
        };
        let password = match password_file {
            Some(file) => std::fs::read_to_string(&file).map_err(|e| format!("{file}: {e}"))?,
            None => std::env::var("ICECAST_PASSWORD")
                .map_err(|_| "set ICECAST_PASSWORD or --password-file")?,
        };
        Ok(Some(Station {
            key_file: names.remove(0),
            host: host.into(),
            port: port.parse()?,
            mount: format!("/{mount}"),
            password: password.trim_end().into(),
            payload,
            row_clock,
            programme,
            once,
        }))
    }
}

fn pipeline(description: &str) -> Result<gst::Pipeline> {
    let pipeline = gst::parse::launch(description)?.downcast();
    pipeline.map_err(|_| "the description is not that of a pipeline".into())
}

fn element(bin: &impl IsA<gst::Bin>, name: &str) -> Result<gst::Element> {
    Ok(bin.by_name(name).ok_or("an element is missing")?)
}

fn uri(name: &str) -> Result<String> {
    if name.contains("://") {
        return Ok(name.into());
    }
    let path = std::fs::canonicalize(name).map_err(|e| format!("{name}: {e}"))?;
    Ok(gst::glib::filename_to_uri(path, None)?.into())
}

/// What an error on the bus says.
fn describe(error: &gst::message::Error) -> String {
    let source = error.src().map(|source| source.name()).unwrap_or_default();
    format!("{source}: {}", error.error())
}

/// Where the audio goes, while somebody takes it.
pub type Outlet = Arc<Mutex<Option<Input>>>;

/// The input of a transmission.
pub struct Input {
    source: gst_app::AppSrc,
    /// Running time of the first frame, and frames since then.
    start: gst::ClockTime,
    frames: u64,
}

impl Input {
    pub fn new(source: gst_app::AppSrc, start: gst::ClockTime) -> Self {
        let frames = 0;
        Input {
            source,
            start,
            frames,
        }
    }

    /// The same audio with the next timestamps, for it is on time. They come from the count of frames, as those of files
    /// begin anew each time.
    fn stamp(&mut self, buffer: &gst::BufferRef) -> Option<gst::Buffer> {
        let at = |frames: u64| gst::ClockTime::from_nseconds(frames * 1_000_000_000 / RATE);
        let now = self.source.current_running_time().unwrap_or_default();
        if now > self.start + at(self.frames) + GAP {
            (self.start, self.frames) = (now, 0);
        }
        let frames = buffer.size() as u64 / BYTES_PER_FRAME;
        let mut buffer = buffer.copy_region(gst::BufferCopyFlags::MEMORY, ..).ok()?;
        let fresh = buffer.make_mut();
        fresh.set_pts(self.start + at(self.frames));
        fresh.set_duration(at(frames));
        self.frames += frames;
        Some(buffer)
    }
}

/// Hands audio to whoever takes it.
pub fn send(outlet: &Outlet, buffer: &gst::BufferRef) {
    let stamped = {
        let mut outlet = outlet.lock().unwrap_or_else(PoisonError::into_inner);
        let input = outlet.as_mut();
        input.and_then(|input| Some((input.stamp(buffer)?, input.source.clone())))
    };
    // The outlet is free by now: to push may take its time, and meanwhile the connection may have to be replaced.
    if let Some((buffer, source)) = stamped {
        // A transmission that has ended takes nothing, and will be replaced.
        let _ = source.push_buffer(buffer);
    }
}

/// The end of the programme's pipeline: audio goes to the outlet at the pace of the clock.
fn programme_sink(sink: &gst::Element, outlet: &Outlet) -> Result<()> {
    let sink = sink
        .downcast_ref::<gst_app::AppSink>()
        .ok_or("out is not an appsink")?;
    let outlet = outlet.clone();
    let take = move |sink: &gst_app::AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        if let Some(buffer) = sample.buffer() {
            send(&outlet, buffer);
        }
        Ok(gst::FlowSuccess::Ok)
    };
    sink.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(take)
            .build(),
    );
    Ok(())
}

/// The files, one after the other, or the sound card.
struct Programme {
    pipeline: gst::Pipeline,
    /// Files that come next, shared with the thread that asks for the next one while one still plays.
    next: Arc<Mutex<Playlist>>,
    /// Files that failed in a row.
    failed: usize,
}

struct Playlist {
    uris: Vec<String>,
    at: usize,
    once: bool,
}

impl Playlist {
    fn next(&mut self) -> Option<String> {
        if self.at == self.uris.len() && !self.once {
            self.at = 0;
        }
        let uri = self.uris.get(self.at).cloned();
        self.at += 1;
        uri
    }
}

impl Programme {
    fn new(station: &Station, outlet: &Outlet) -> Result<Self> {
        let end = format!(
            "audioconvert ! audioresample ! {FORMAT} ! appsink name=out sync=true max-buffers=4"
        );
        let uris = station
            .programme
            .iter()
            .map(|name| uri(name))
            .collect::<Result<Vec<_>>>()?;
        let (at, once) = (0, station.once);
        let next = Arc::new(Mutex::new(Playlist { uris, at, once }));
        let pipeline = if station.programme.is_empty() {
            let pipeline = pipeline(&format!("autoaudiosrc ! {end}"))?;
            programme_sink(&element(&pipeline, "out")?, outlet)?;
            pipeline
        } else {
            let sink = gst::parse::bin_from_description(&end, true)?;
            programme_sink(&element(&sink, "out")?, outlet)?;
            let playbin = gst::ElementFactory::make("playbin")
                .property("audio-sink", &sink)
                .property_from_str("flags", "audio+buffering")
                .build()?;
            // In time for the next file to begin where this one ends.
            let list = next.clone();
            playbin.connect("about-to-finish", false, move |values| {
                let playbin: gst::Element = values[0].get().ok()?;
                let next = list.lock().unwrap_or_else(PoisonError::into_inner).next();
                if let Some(uri) = next {
                    playbin.set_property("uri", uri);
                }
                None
            });
            playbin
                .downcast()
                .map_err(|_| "playbin is not a pipeline")?
        };
        let failed = 0;
        Ok(Programme {
            pipeline,
            next,
            failed,
        })
    }

    /// Starts, with the next file if there are files; returns whether there is anything to play.
    fn start(&self) -> Result<bool> {
        if self.pipeline.has_property("uri") {
            let Some(uri) = self
                .next
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .next()
            else {
                return Ok(false);
            };
            self.pipeline.set_state(gst::State::Ready)?;
            self.pipeline.set_property("uri", uri);
        }
        // Why this failed is on the bus.
        let _ = self.pipeline.set_state(gst::State::Playing);
        Ok(true)
    }

    /// Looks at the messages that there are; returns whether the programme goes on.
    fn attend(&mut self) -> Result<bool> {
        while let Some(message) = self.pipeline.bus().and_then(|bus| bus.pop()) {
            use gst::MessageView;
            match message.view() {
                MessageView::StreamStart(_) => self.failed = 0,
                MessageView::Latency(_) => drop(self.pipeline.recalculate_latency()),
                MessageView::Error(error) => {
                    let text = describe(error);
                    let files = self
                        .next
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .uris
                        .len();
                    self.failed += 1;
                    if self.failed >= files.max(1) {
                        return Err(text.into());
                    }
                    println!("{text}; on to the next");
                    // What is still on the bus is about the file that failed.
                    self.pipeline.set_state(gst::State::Null)?;
                    return self.start();
                }
                MessageView::Eos(_) => return Ok(false),
                _ => (),
            }
        }
        Ok(true)
    }
}

/// The way from marking to the server, made anew for each connection.
struct Transmission {
    pipeline: gst::Pipeline,
    bus: gst::Bus,
}

impl Transmission {
    /// Without the password, for GStreamer logs what it parses.
    fn new(station: &Station) -> Result<Self> {
        let pipeline = pipeline(&format!(
            "appsrc name=in is-live=true format=time max-time=5000000000 max-bytes=0 max-buffers=0 leaky-type=downstream \
             caps={FORMAT} ! wmembed name=embed ! audioconvert ! vorbisenc bitrate=128000 ! oggmux ! shout2send name=server"
        ))?;
        let embed = element(&pipeline, "embed")?;
        embed.set_property("key-file", &station.key_file);
        embed.set_property("payload", &station.payload);
        embed.set_property_from_str("row-clock", &station.row_clock);
        let server = element(&pipeline, "server")?;
        server.set_property("ip", &station.host);
        server.set_property("port", i32::from(station.port));
        server.set_property("mount", &station.mount);
        server.set_property("password", &station.password);
        let bus = pipeline.bus().ok_or("no bus")?;
        Ok(Transmission { pipeline, bus })
    }

    /// Whether there is a key and what else marking takes: what is missing now would be missing for ever.
    fn check(&self) -> Result<()> {
        if element(&self.pipeline, "embed")?
            .set_state(gst::State::Paused)
            .is_ok()
        {
            return Ok(());
        }
        Err(self
            .attend()
            .unwrap_or("wmembed does not start".into())
            .into())
    }

    fn start(&self, outlet: &Outlet) -> Result<()> {
        // Why this failed is on the bus. It connects when there is audio.
        let _ = self.pipeline.set_state(gst::State::Playing);
        let source = element(&self.pipeline, "in")?;
        let source = source.downcast().map_err(|_| "in is not an appsrc")?;
        let start = self.pipeline.current_running_time().unwrap_or_default();
        *outlet.lock().unwrap_or_else(PoisonError::into_inner) = Some(Input::new(source, start));
        Ok(())
    }

    /// Waits a tick for messages; returns why it ended if it did.
    fn attend(&self) -> Option<String> {
        let mut message = self.bus.timed_pop(TICK);
        while let Some(some) = message {
            use gst::MessageView;
            match some.view() {
                MessageView::Element(element) => {
                    let report = element.structure().filter(|s| s.get("weak") == Ok(true));
                    if let Some(score) = report.and_then(|r| r.get::<f64>("detectability").ok()) {
                        println!("this is marked weakly, detectability {score:.1}");
                    }
                }
                MessageView::Latency(_) => drop(self.pipeline.recalculate_latency()),
                MessageView::Error(error) => return Some(describe(error)),
                MessageView::Eos(_) => return Some("the end".into()),
                _ => (),
            }
            message = self.bus.pop();
        }
        None
    }

    /// Sends what is still on its way, for as long as that may take.
    fn end(&self, outlet: &Outlet) {
        if let Some(input) = outlet.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = input.source.end_of_stream();
            let deadline = Instant::now() + Duration::from_secs(10);
            while self.attend().is_none() && Instant::now() < deadline {}
        }
    }
}

impl Drop for Transmission {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Is on the air until the programme is over or `stop` is set.
pub fn broadcast(station: &Station, stop: &AtomicBool) -> Result<()> {
    let outlet = Outlet::default();
    let mut programme = Programme::new(station, &outlet)?;
    let mut transmission = Transmission::new(station)?;
    transmission.check()?;
    let mut wait = WAITS[0];
    let mut result = programme.start();
    transmission.start(&outlet)?;
    let mut since = Instant::now();
    while matches!(result, Ok(true)) && !stop.load(Ordering::SeqCst) {
        result = programme.attend();
        if let Some(why) = transmission.attend() {
            *outlet.lock().unwrap_or_else(PoisonError::into_inner) = None;
            if since.elapsed() > WAITS[1] {
                wait = WAITS[0];
            }
            println!("{why}; connecting again in {wait:?}");
            since = Instant::now() + wait;
            wait = WAITS[1].min(2 * wait);
            transmission = Transmission::new(station)?;
            while Instant::now() < since
                && matches!(result, Ok(true))
                && !stop.load(Ordering::SeqCst)
            {
                result = programme.attend();
                std::thread::sleep(TICK.into());
            }
            transmission.start(&outlet)?;
        }
    }
    transmission.end(&outlet);
    programme.pipeline.set_state(gst::State::Null)?;
    result.map(|_| ())
}

#[allow(dead_code, reason = "a test has this file as a module")]
fn main() -> ExitCode {
    let station = match Station::parse() {
        Ok(Some(station)) => station,
        Ok(None) => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
        Err(e) => {
            eprintln!("radio: {e}");
            return ExitCode::from(2);
        }
    };
    let run = || -> Result<()> {
        gst::init()?;
        gstwm::plugin_register_static()?;
        broadcast(&station, &AtomicBool::new(false))
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("radio: {e}");
            ExitCode::FAILURE
        }
    }
}
