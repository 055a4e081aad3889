// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pipeline of one stream, from its source to the detector.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use gst::prelude::*;

use super::event::{Mark, unix_time};
use super::processor::Threads;
use super::source::{Encoding, Rtp, Source, without_user};
use super::station::Said;
use crate::key::{self, Secret};

/// How every stream is listened to.
pub struct Settings {
    pub keys: Vec<Secret>,
    /// Properties of `wmdetect` and their values, as text.
    pub detector: Vec<(&'static str, String)>,
    /// Files play faster than real time.
    pub fast: bool,
}

/// What a stream tells the thread that watches it.
pub enum Signal {
    /// The first audio came.
    Audio,
    Detector(Said, Mark),
    /// It is over: why, if that is known.
    Failed(String),
    Ended,
    /// Not from the stream: the watch is over.
    Stop,
}

/// A stream that plays until it is dropped.
pub struct Stream {
    pipeline: gst::Pipeline,
    sink: gst::Element,
    heard: Arc<Heard>,
    pub threads: Arc<Threads>,
}

/// When there was audio.
struct Heard {
    opened: Instant,
    /// Milliseconds from there to the latest audio, or to when it was opened.
    latest: AtomicU64,
    any: AtomicBool,
}

impl Settings {
    /// A detector with these settings.
    fn detector(&self) -> anyhow::Result<gst::Element> {
        let detector = gst::ElementFactory::make("wmdetect").build()?;
        key::give(&self.keys, &detector);
        for (name, value) in &self.detector {
            detector.set_property_from_str(name, value);
        }
        Ok(detector)
    }

    /// Whether they are of use, before anything is opened.
    pub fn check(&self) -> anyhow::Result<()> {
        let pipeline = gst::Pipeline::new();
        pipeline.add(&self.detector()?)?;
        let bus = pipeline.bus().context("the pipeline has no bus")?;
        let failed = pipeline.set_state(gst::State::Paused).is_err();
        let error = bus.pop_filtered(&[gst::MessageType::Error]);
        pipeline.set_state(gst::State::Null)?;
        if let Some(gst::MessageView::Error(error)) = error.as_ref().map(|error| error.view()) {
            bail!("{}", error.error());
        }
        ensure!(!failed, "the detector does not start with these settings");
        Ok(())
    }
}

impl Stream {
    /// Opens a stream, which tells `signals` what comes of it.
    pub fn open(
        source: &Source,
        settings: &Settings,
        signals: &Sender<Signal>,
    ) -> anyhow::Result<Self> {
        let pipeline = gst::Pipeline::new();
        let convert = gst::ElementFactory::make("audioconvert").build()?;
        let detector = settings.detector()?;
        let sink = gst::ElementFactory::make("fakesink")
            .property("sync", source.is_file() && !settings.fast)
            .build()?;
        pipeline.add_many([&convert, &detector, &sink])?;
        gst::Element::link_many([&convert, &detector, &sink])?;
        add_source(&pipeline, source, &convert)?;

        let heard = Arc::new(Heard::new());
        listen(&detector, &heard, signals.clone())?;
        let stream = Stream {
            pipeline,
            sink,
            heard,
            threads: Arc::default(),
        };
        stream.forward(signals.clone())?;
        if stream.pipeline.set_state(gst::State::Playing).is_err() {
            // Why is on the bus as a rule, and arrives before this.
            let _ = signals.send(Signal::Failed("it does not start".into()));
        }
        Ok(stream)
    }

    /// Whether it has a length, once there is audio: a recording at a server rather than a station.
    pub fn is_recording(&self) -> bool {
        let mut seeking = gst::query::Seeking::new(gst::Format::Time);
        let length = self.pipeline.query_duration::<gst::ClockTime>();
        self.pipeline.query(&mut seeking) && seeking.result().0 && length.is_some()
    }

    /// From now on it plays in real time; before, as fast as it comes.
    pub fn pace(&self) {
        self.sink.set_property("sync", true);
    }

    /// How long ago there was audio; before there was any, how long ago it was opened.
    pub fn silent(&self) -> Duration {
        let latest = Duration::from_millis(self.heard.latest.load(Ordering::Relaxed));
        self.heard.opened.elapsed().saturating_sub(latest)
    }

    /// From when it was opened to the latest audio, if there was any.
    pub fn played(&self) -> Option<Duration> {
        let latest = self.heard.latest.load(Ordering::Relaxed);
        self.heard().then(|| Duration::from_millis(latest))
    }

    /// Whether there was any audio.
    pub fn heard(&self) -> bool {
        self.heard.any.load(Ordering::Relaxed)
    }

    /// Takes what is said on the bus where it is said: no thread has to wait for it, and the thread that speaks is
    /// known.
    fn forward(&self, signals: Sender<Signal>) -> anyhow::Result<()> {
        let bus = self.pipeline.bus().context("the pipeline has no bus")?;
        let threads = self.threads.clone();
        bus.set_sync_handler(move |_, message| {
            use gst::{MessageView, StreamStatusType};
            let signal = match message.view() {
                MessageView::StreamStatus(status) => {
                    match status.get().0 {
                        StreamStatusType::Enter => threads.enter(),
                        StreamStatusType::Leave => threads.leave(),
                        _ => {}
                    }
                    None
                }
                MessageView::Element(element) => element.structure().and_then(read_message),
                MessageView::Error(error) => Some(Signal::Failed(reason(error))),
                MessageView::Eos(_) => Some(Signal::Ended),
                _ => None,
            };
            if let Some(signal) = signal {
                // Nobody listens any more when the stream is about to be dropped.
                let _ = signals.send(signal);
            }
            gst::BusSyncReply::Drop
        });
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // An element that does not stop cannot be helped; what is left is to forget it.
        let _ = self.pipeline.set_state(gst::State::Null);
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
        }
    }
}

impl Heard {
    fn new() -> Self {
        Heard {
            opened: Instant::now(),
            latest: AtomicU64::new(0),
            any: AtomicBool::new(false),
        }
    }

    /// There is audio now; returns whether it is the first.
    fn audio(&self) -> bool {
        let now = self.opened.elapsed().as_millis();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        self.latest.store(now, Ordering::Relaxed);
        !self.any.swap(true, Ordering::Relaxed)
    }
}

/// Notes when there is audio in front of the detector.
fn listen(
    detector: &gst::Element,
    heard: &Arc<Heard>,
    signals: Sender<Signal>,
) -> anyhow::Result<()> {
    let pad = detector.static_pad("sink").context("wmdetect has no pad")?;
    let heard = heard.clone();
    let types = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
    pad.add_probe(types, move |_, _| {
        if heard.audio() {
            let _ = signals.send(Signal::Audio);
        }
        gst::PadProbeReturn::Ok
    });
    Ok(())
}

/// Adds what the audio comes from, and links it.
fn add_source(
    pipeline: &gst::Pipeline,
    source: &Source,
    convert: &gst::Element,
) -> anyhow::Result<()> {
    let element = match source {
        Source::Stream(uri) | Source::File(uri) => return add_uri(pipeline, uri, convert),
        Source::Rtp(rtp) => return add_rtp(pipeline, rtp, convert),
        Source::Microphone(None) => gst::ElementFactory::make("autoaudiosrc").build()?,
        Source::Microphone(Some(name)) => microphone(name)?,
        Source::Pipeline(description) => {
            // Decodes what has to be decoded.
            let bin = gst::parse::bin_from_description(description, true)?;
            let decode = gst::ElementFactory::make("decodebin").build()?;
            pipeline.add_many([bin.upcast_ref(), &decode])?;
            bin.link(&decode)?;
            link_audio(&decode, convert);
            return Ok(());
        }
    };
    pipeline.add(&element)?;
    element.link(convert)?;
    Ok(())
}

fn add_uri(pipeline: &gst::Pipeline, uri: &str, convert: &gst::Element) -> anyhow::Result<()> {
    // Pictures are not decoded.
    let decode = gst::ElementFactory::make("uridecodebin")
        .property("uri", uri)
        .property("caps", gst::Caps::new_empty_simple("audio/x-raw"))
        .property("expose-all-streams", false)
        .build()?;
    pipeline.add(&decode)?;
    link_audio(&decode, convert);
    Ok(())
}

fn add_rtp(pipeline: &gst::Pipeline, rtp: &Rtp, convert: &gst::Element) -> anyhow::Result<()> {
    let receive = gst::ElementFactory::make("udpsrc")
        .property("address", &rtp.host)
        .property("port", i32::from(rtp.port))
        .property("caps", rtp.caps())
        .build()?;
    // Packets that do not come are made up for: without them the audio would have breaks.
    let order = gst::ElementFactory::make("rtpjitterbuffer")
        .property("do-lost", true)
        .build()?;
    let decoders = match rtp.encoding {
        Encoding::Opus => vec![
            gst::ElementFactory::make("rtpopusdepay").build()?,
            gst::ElementFactory::make("opusdec")
                .property("plc", true)
                .build()?,
        ],
        Encoding::L16 => vec![gst::ElementFactory::make("rtpL16depay").build()?],
    };
    let mut chain = vec![receive, order];
    chain.extend(decoders);
    pipeline.add_many(&chain)?;
    chain.push(convert.clone());
    gst::Element::link_many(&chain)?;
    Ok(())
}

/// The microphone whose name has these words in it.
fn microphone(name: &str) -> anyhow::Result<gst::Element> {
    let monitor = gst::DeviceMonitor::new();
    monitor.add_filter(Some("Audio/Source"), None);
    monitor.start().context("microphones cannot be listed")?;
    let devices = monitor.devices();
    monitor.stop();
    let wanted = name.to_lowercase();
    let names = devices.iter().map(|device| device.display_name());
    let names: Vec<String> = names.map(String::from).collect();
    let device = devices
        .iter()
        .zip(&names)
        .find(|(_, name)| name.to_lowercase().contains(&wanted));
    let (device, _) = device.with_context(|| match names.as_slice() {
        [] => "there is no microphone".to_owned(),
        names => format!(
            "no microphone is named {name}; there are: {}",
            names.join(", ")
        ),
    })?;
    Ok(device.create_element(None)?)
}

/// Links the first audio that is decoded, and after a break in the stream that which follows.
fn link_audio(decode: &gst::Element, convert: &gst::Element) {
    let sink = convert.downgrade();
    let free = move || {
        let pad = sink.upgrade()?.static_pad("sink")?;
        (!pad.is_linked()).then_some(pad)
    };
    let to = free.clone();
    decode.connect_pad_added(move |_, pad| {
        let audio = pad
            .current_caps()
            .unwrap_or_else(|| pad.query_caps(None))
            .structure(0)
            .is_some_and(|caps| caps.name().starts_with("audio/"));
        if let Some(sink) = to().filter(|_| audio) {
            // What cannot be linked ends with an error of its own.
            let _ = pad.link(&sink);
        }
    });
    // Without audio nothing would ever reach the sink.
    decode.connect_no_more_pads(move |decode| {
        if free().is_some() {
            gst::element_error!(decode, gst::StreamError::WrongType, ("there is no audio"));
        }
    });
}

/// Reads a message of `wmdetect`.
fn read_message(message: &gst::StructureRef) -> Option<Signal> {
    if message.name() != "wmdetect" {
        return None;
    }
    let said = match message.get::<&str>("state").ok()? {
        "found" => Said::Found,
        "present" => Said::Present,
        "lost" => Said::Lost,
        _ => return None,
    };
    let thousandths = |value: f64| (value * 1e3).round() / 1e3;
    let seconds = |field| {
        message
            .get::<u64>(field)
            .ok()
            .map(|time| thousandths(time as f64 / 1e9))
    };
    let mark = Mark {
        score: message.get("score").ok().map(thousandths),
        log10_p: message.get("log10-p").ok().map(thousandths),
        payload: message.get("payload").ok(),
        key_index: message.get("key-index").ok(),
        stream_time: seconds("stream-time"),
        duration: seconds("duration"),
        broadcast_time: message.get("broadcast-time").ok().and_then(unix_time),
    };
    Some(Signal::Detector(said, mark))
}

/// Why a stream failed, in one line.
fn reason(error: &gst::message::Error) -> String {
    let plain = error.error();
    if error
        .debug()
        .is_some_and(|d| d.ends_with("streaming stopped, reason error (-5)"))
    {
        return "the source cannot be read: nobody answers there, or the connection broke".into();
    }
    let mut text = plain.to_string().trim_end_matches('.').to_owned();
    // "Internal data stream error" says nothing; what it was is behind it.
    if plain.matches(gst::StreamError::Failed)
        && let Some(details) = error.debug()
        && let Some(last) = details.lines().last().filter(|line| !line.is_empty())
    {
        text = format!("{text} ({last})");
    }
    without_user(&text)
}
