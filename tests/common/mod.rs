// SPDX-License-Identifier: MIT OR Apache-2.0
//! What several test files share: the recordings, marked audio, pipelines and the messages from them.

// Every test file is a crate of its own and uses a part of this one only.
#![allow(dead_code, unused_imports)]

mod directory;
pub mod drums;
pub mod harness;
mod random;

use gst::prelude::*;
use gstwm::watermark::{
    Carrier, Detection, Detector, DetectorConfig, Embedder, EmbedderConfig, Key, Payload, RowClock,
};
use std::sync::Once;

pub use directory::Directory;
pub use random::Random;

/// 64 hex digits: a passphrase would take its time in every test.
pub const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
/// One byte of it differs.
pub const OTHER_KEY: &str = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

pub fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        gst::init().unwrap();
        gstwm::plugin_register_static().unwrap();
    });
}

pub fn key() -> Key {
    Key::parse(KEY).unwrap()
}

/// Path of a file in tests/data.
pub fn data(file: &str) -> String {
    format!("{}/tests/data/{file}", env!("CARGO_MANIFEST_DIR"))
}

/// Fails with the name of the Debian package if an element is missing.
pub fn need(elements: &[(&str, &str)]) {
    init();
    for (element, package) in elements {
        assert!(
            gst::ElementFactory::find(element).is_some(),
            "there is no GStreamer element {element}: install the Debian package {package} (make deps)"
        );
    }
}

/// What decodes a recording of tests/data, up to raw audio of any format.
pub fn decoder(file: &str) -> String {
    need(&[
        ("flacparse", "gstreamer1.0-plugins-good"),
        ("flacdec", "gstreamer1.0-plugins-good"),
        ("audioconvert", "gstreamer1.0-plugins-base"),
        ("audioresample", "gstreamer1.0-plugins-base"),
    ]);
    format!(
        "filesrc location=\"{}\" ! flacparse ! flacdec ! audioconvert ! audioresample",
        data(file)
    )
}

pub fn pipeline(description: &str) -> gst::Pipeline {
    init();
    gst::parse::launch(description)
        .unwrap_or_else(|error| panic!("{description}: {error}"))
        .downcast()
        .unwrap()
}

/// A recording of tests/data as interleaved samples.
pub fn recording(file: &str, rate: u32, channels: usize) -> Vec<f32> {
    let pipeline = pipeline(&format!(
        "{} ! audio/x-raw,format=F32LE,rate={rate},channels={channels} ! appsink name=sink sync=false",
        decoder(file)
    ));
    pipeline.set_state(gst::State::Playing).unwrap();
    let samples = pull(&pipeline);
    pipeline.set_state(gst::State::Null).unwrap();
    assert!(
        samples.len() > 7 * rate as usize * channels,
        "{file} is too short"
    );
    samples
}

pub fn embedder_config(sample_rate: u32, channels: usize) -> EmbedderConfig {
    EmbedderConfig {
        sample_rate,
        channels,
        unmarked_channels: 0,
        carrier: Carrier::Programme,
        lookahead: true,
        row_clock: RowClock::Stream,
    }
}

pub fn detector_config(sample_rate: u32, channels: usize) -> DetectorConfig {
    DetectorConfig {
        sample_rate,
        channels,
        carrier: Carrier::Programme,
        row_clock: RowClock::Stream,
        clock_tolerance: 120.0,
        false_alarms_per_hour: 1e-4,
        max_speed_deviation: 0.1,
        interval: 1.0,
    }
}

/// The programme with its mark, frame for frame; the first frame is at `start` nanoseconds of the row clock.
pub fn mark(programme: &[f32], config: &EmbedderConfig, start: u64) -> Vec<f32> {
    mark_saying(programme, config, start, &[])
}

/// The same, with a payload that is set where the embedder takes a frame, one or several.
pub fn mark_saying(
    programme: &[f32],
    config: &EmbedderConfig,
    start: u64,
    said: &[(usize, Option<Payload>)],
) -> Vec<f32> {
    let mut embedder = Embedder::new(config, &key()).unwrap();
    embedder.reset(start);
    let delay = embedder.latency() * config.channels;
    let mut input = programme.to_vec();
    input.resize(programme.len() + delay, 0.0);
    let mut mark = vec![0.0; input.len()];
    let mut done = 0;
    for (frame, payload) in said {
        let until = frame * config.channels;
        embedder.process(&input[done..until], &mut mark[done..until]);
        embedder.set_payload(*payload);
        done = until;
    }
    embedder.process(&input[done..], &mut mark[done..]);
    programme
        .iter()
        .zip(&mark[delay..])
        .map(|(sample, mark)| sample + mark)
        .collect()
}

/// The programme with a mark that is switched on and off at these frames.
pub fn mark_between(programme: &[f32], config: &EmbedderConfig, on: usize, off: usize) -> Vec<f32> {
    let mut embedder = Embedder::new(config, &key()).unwrap();
    let delay = embedder.latency() * config.channels;
    let mut input = programme.to_vec();
    input.resize(programme.len() + delay, 0.0);
    let mut mark = vec![0.0; input.len()];
    let edges = [0, on, off, input.len() / config.channels];
    for (i, ends) in edges.windows(2).enumerate() {
        let range = ends[0] * config.channels..ends[1] * config.channels;
        embedder.set_enabled(i == 1);
        embedder.process(&input[range.clone()], &mut mark[range]);
    }
    programme
        .iter()
        .zip(&mark[delay..])
        .map(|(sample, mark)| sample + mark)
        .collect()
}

/// The audio (one channel) played `speed` times faster, by a windowed sinc of 64 samples.
pub fn play_at(audio: &[f32], speed: f64) -> Vec<f32> {
    const REACH: i64 = 32;
    let frames = ((audio.len() as i64 - REACH) as f64 / speed) as usize;
    let sample = |frame: usize| {
        let at = frame as f64 * speed;
        let middle = at.floor() as i64;
        (middle - REACH + 1..=middle + REACH)
            .filter_map(|k| {
                let x = at - k as f64;
                let turn = std::f64::consts::PI * x;
                let sinc = if x == 0.0 { 1.0 } else { turn.sin() / turn };
                let hann = (turn / (2.0 * REACH as f64)).cos().powi(2);
                let sample = audio.get(usize::try_from(k).ok()?)?;
                Some(f64::from(*sample) * sinc * hann)
            })
            .sum::<f64>() as f32
    };
    (0..frames).map(sample).collect()
}

/// What becomes of audio of one channel in a pipeline of the elements of `description`, at another rate.
pub fn through(audio: &[f32], rate: u32, description: &str, to: u32) -> Vec<f32> {
    need(&[
        ("audioconvert", "gstreamer1.0-plugins-base"),
        ("audioresample", "gstreamer1.0-plugins-base"),
    ]);
    let pipeline = pipeline(&format!(
        "appsrc name=source format=time max-bytes=0 \
         caps=audio/x-raw,format=F32LE,rate={rate},channels=1,layout=interleaved \
         ! {description} ! audioconvert ! audioresample ! audio/x-raw,format=F32LE,rate={to},channels=1 \
         ! appsink name=sink sync=false"
    ));
    let source: gst_app::AppSrc = pipeline.by_name("source").unwrap().downcast().unwrap();
    let bytes: Vec<u8> = audio.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut buffer = gst::Buffer::from_slice(bytes);
    buffer.get_mut().unwrap().set_pts(gst::ClockTime::ZERO);
    pipeline.set_state(gst::State::Playing).unwrap();
    source.push_buffer(buffer).unwrap();
    source.end_of_stream().unwrap();
    let samples = pull(&pipeline);
    pipeline.set_state(gst::State::Null).unwrap();
    samples
}

/// What comes out of a pipeline whose last element is the appsink `sink`.
fn pull(pipeline: &gst::Pipeline) -> Vec<f32> {
    let sink: gst_app::AppSink = pipeline.by_name("sink").unwrap().downcast().unwrap();
    let mut samples = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        let map = sample.buffer().unwrap().map_readable().unwrap();
        let bytes = map.as_chunks().0.iter();
        samples.extend(bytes.map(|bytes| f32::from_le_bytes(*bytes)));
    }
    samples
}

/// What a microphone hears of it (one channel) across a room: the direct sound, twice as much energy in echoes that die
/// away by 60 dB in 0.4 s, and noise that is `snr` decibels below.
pub fn through_room(audio: &[f32], rate: u32, snr: f64, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    let mut heard = audio.to_vec();
    let mut echoes: Vec<(usize, f32)> = (0..200)
        .map(|_| {
            let seconds = 0.4 * f64::from(random.uniform());
            let level = 10f64.powf(-3.0 * seconds / 0.4) as f32;
            ((seconds * f64::from(rate)) as usize, level * random.noise())
        })
        .collect();
    let energy: f32 = echoes.iter().map(|(_, level)| level * level).sum();
    echoes
        .iter_mut()
        .for_each(|(_, level)| *level *= (2.0 / energy).sqrt());
    for (delay, level) in echoes {
        for (sample, echo) in heard[delay..].iter_mut().zip(audio) {
            *sample += level * echo;
        }
    }
    with_noise(&heard, snr, &mut random)
}

/// The audio and white noise that is `snr` decibels below it.
pub fn with_noise(audio: &[f32], snr: f64, random: &mut Random) -> Vec<f32> {
    let power = audio.iter().map(|x| x * x).sum::<f32>() / audio.len() as f32;
    // Evenly distributed from -a to a, noise has the power a^2 / 3.
    let level = (3.0 * power).sqrt() * 10f64.powf(-snr / 20.0) as f32;
    let noisy = |sample: &f32| sample + level * random.noise();
    audio.iter().map(noisy).collect()
}

/// What a detector says about audio of one channel, and the second at which it says so.
pub fn detections(audio: &[f32], config: &DetectorConfig) -> Vec<(f64, Detection)> {
    detections_of(audio, config, &key())
}

/// The same about the mark of any key.
pub fn detections_of(audio: &[f32], config: &DetectorConfig, key: &Key) -> Vec<(f64, Detection)> {
    let mut detector = Detector::new(config, std::slice::from_ref(key)).unwrap();
    let mut all = Vec::new();
    let rate = config.sample_rate;
    let mut taken = 0;
    for piece in audio.chunks(rate as usize / 100) {
        taken += piece.len();
        let now = taken as f64 / f64::from(rate);
        detector.push(piece, &mut |report| all.push((now, report.clone())));
    }
    let now = taken as f64 / f64::from(rate);
    detector.finish(&mut |report| all.push((now, report.clone())));
    all
}

/// Seconds by which the watermark's time is ahead of that of the audio, -102.4 to 102.4.
pub fn ahead(report: &Detection, rate: u32) -> f64 {
    let difference = report.watermark_time - report.start as f64 / f64::from(rate);
    (difference + 102.4).rem_euclid(204.8) - 102.4
}

/// One `wmdetect` message: who sent it, and what it says.
#[derive(Debug)]
pub struct Message {
    pub from: String,
    pub fields: gst::Structure,
}

impl Message {
    pub fn state(&self) -> &str {
        self.fields.get("state").unwrap()
    }

    pub fn time(&self, field: &str) -> gst::ClockTime {
        gst::ClockTime::from_nseconds(self.fields.get(field).unwrap())
    }

    /// Stream time of the end of the evidence.
    pub fn end(&self) -> gst::ClockTime {
        self.time("timestamp") + self.time("duration")
    }

    /// How far the watermark's time is ahead of the timestamp, in seconds, -102.4 to 102.4.
    pub fn ahead(&self) -> f64 {
        let difference =
            self.time("watermark-time").seconds_f64() - self.time("timestamp").seconds_f64();
        (difference + 102.4).rem_euclid(204.8) - 102.4
    }
}

/// Plays a pipeline to its end and returns what its detectors said.
pub fn play(pipeline: &gst::Pipeline) -> Vec<Message> {
    play_all(pipeline).iter().filter_map(detection).collect()
}

/// Plays a pipeline to its end and returns all messages. Errors are failures.
pub fn play_all(pipeline: &gst::Pipeline) -> Vec<gst::Message> {
    let bus = pipeline.bus().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut messages = Vec::new();
    for message in bus.iter_timed(gst::ClockTime::NONE) {
        match message.view() {
            gst::MessageView::Eos(_) => break,
            gst::MessageView::Error(error) => {
                panic!("{} {:?}", error.error(), error.debug())
            }
            _ => messages.push(message),
        }
    }
    pipeline.set_state(gst::State::Null).unwrap();
    messages
}

/// The `wmdetect` message that this is, if it is one.
pub fn detection(message: &gst::Message) -> Option<Message> {
    let fields = message.structure().filter(|s| s.name() == "wmdetect")?;
    Some(Message {
        from: message.src().unwrap().name().to_string(),
        fields: fields.to_owned(),
    })
}
