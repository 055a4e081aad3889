// SPDX-License-Identifier: MIT OR Apache-2.0
//! How many detectors a machine can carry: plays a recording through many of `wmdetect` at once, each with a live
//! source of its own, in real time, and tells what that costs and whether all sources kept their pace.
//!
//! ```sh
//! cargo run --release --example many_detectors -- --detectors 100 --seconds 60 programme.flac
//! ```
//!
//! Each source gives 10 ms of 48 kHz stereo every 10 ms, as a sound card does, and begins at another place of the
//! recording and 50 ms after the one before; with `--together` all begin at once. With `--marked` the recording has the
//! mark, and the detectors follow it; otherwise they search. With `--keys` each listens for so many keys. Exit status:
//! 0 if every source kept its pace, 1 if not, 2 after an error.

#[path = "common/decode.rs"]
mod decode;

use decode::Result;
use gst::prelude::*;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const RATE: usize = 48_000;
const CHANNELS: usize = 2;
/// Of a buffer.
const PERIOD: gst::ClockTime = gst::ClockTime::from_mseconds(10);
const FRAMES: usize = RATE / 100;
/// The sources of GStreamer for sound cards hold 200 ms; what comes later than that is lost there.
const DROPPED: gst::ClockTime = gst::ClockTime::from_mseconds(200);
/// Detectors hear their first second twice, so they have more to do at first.
const BEGINNING: gst::ClockTime = gst::ClockTime::from_seconds(5);
/// From one source to the next when they begin.
const APART: Duration = Duration::from_millis(50);
const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

struct Options {
    detectors: usize,
    /// Keys that each of them listens for, of which the first may be that of the mark.
    keys: usize,
    seconds: u64,
    marked: bool,
    /// All sources begin at the same moment.
    together: bool,
    /// Without detectors: what the sources cost alone.
    bare: bool,
    file: String,
}

fn options() -> Option<Options> {
    let mut options = Options {
        detectors: 100,
        keys: 1,
        seconds: 60,
        marked: false,
        together: false,
        bare: false,
        file: concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/music.flac").into(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--detectors" => options.detectors = arguments.next()?.parse().ok()?,
            "--keys" => options.keys = arguments.next()?.parse().ok()?,
            "--seconds" => options.seconds = arguments.next()?.parse().ok()?,
            "--marked" => options.marked = true,
            "--together" => options.together = true,
            "--bare" => options.bare = true,
            file if !file.starts_with('-') => options.file = file.into(),
            _ => return None,
        }
    }
    Some(options)
}

fn launch(description: &str) -> Result<gst::Pipeline> {
    gst::parse::launch(description)?
        .downcast()
        .map_err(|_| "the description is not that of a pipeline".into())
}

/// The recording in buffers of 10 ms, marked or not; what is left over at its end is left out.
fn recording(options: &Options) -> Result<Vec<gst::Buffer>> {
    let mark = format!("wmembed key={KEY} enabled={}", options.marked);
    let rate = Some(RATE as u32);
    let mut samples: Vec<f32> = Vec::new();
    decode::listen(&mark, &options.file, rate, |piece, _, channels| {
        let frames = piece.chunks_exact(channels);
        samples.extend(frames.flat_map(|frame| [frame[0], frame[channels - 1]]));
        Ok(())
    })?;
    let pieces = samples.chunks_exact(FRAMES * CHANNELS);
    let bytes = |piece: &[f32]| {
        piece
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect::<Vec<_>>()
    };
    let buffers: Vec<_> = pieces
        .map(|piece| gst::Buffer::from_slice(bytes(piece)))
        .collect();
    match buffers.is_empty() {
        true => Err("the recording is too short".into()),
        false => Ok(buffers),
    }
}

/// How late the buffers of one source came out of its detector.
#[derive(Default)]
struct Pace {
    buffers: AtomicU64,
    dropped: AtomicU64,
    /// While the source began, and since.
    latest: [AtomicU64; 2],
}

impl Pace {
    fn count(&self, now: gst::ClockTime, due: gst::ClockTime) {
        let lateness = now.saturating_sub(due);
        let part = usize::from(due >= BEGINNING);
        self.buffers.fetch_add(1, Ordering::Relaxed);
        self.latest[part].fetch_max(lateness.nseconds(), Ordering::Relaxed);
        if lateness > DROPPED {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A live source that plays the recording over and over, from its own place, and its detector.
fn listener(
    recording: &Arc<Vec<gst::Buffer>>,
    first: usize,
    options: &Options,
) -> Result<(gst::Pipeline, Arc<Pace>)> {
    let detector = match options.bare {
        true => "identity name=detect".into(),
        false => {
            let others = (1..options.keys).map(|number| format!(",{number:064x}"));
            let keys = others.fold(KEY.into(), |keys: String, key| keys + &key);
            format!("wmdetect name=detect keys=\"<{keys}>\"")
        }
    };
    let pipeline = launch(&format!(
        "appsrc name=in is-live=true format=time caps=audio/x-raw,format=F32LE,layout=interleaved,rate={RATE},channels={CHANNELS} \
         ! clocksync ! {detector} ! fakesink name=out sync=false"
    ))?;
    let element = |name: &str| pipeline.by_name(name).ok_or("an element is missing");
    let source = element("in")?
        .downcast::<gst_app::AppSrc>()
        .map_err(|_| "in is no appsrc")?;
    let (recording, mut number) = (recording.clone(), 0);
    let next = move |source: &gst_app::AppSrc, _| {
        let mut buffer = recording[(first + number) % recording.len()].copy();
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(PERIOD * number as u64);
            buffer.set_duration(PERIOD);
        }
        number += 1;
        // It is refused when the pipeline stops, and then nobody asks for another.
        let _ = source.push_buffer(buffer);
    };
    source.set_callbacks(gst_app::AppSrcCallbacks::builder().need_data(next).build());

    let pace = Arc::new(Pace::default());
    let (sink, counted) = (element("out")?, pace.clone());
    let pad = sink.static_pad("sink").ok_or("there is no pad")?;
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let due = info.buffer().and_then(|buffer| buffer.pts());
        if let (Some(now), Some(due)) = (sink.current_running_time(), due) {
            counted.count(now, due);
        }
        gst::PadProbeReturn::Ok
    });
    Ok((pipeline, pace))
}

/// A number that is read from a file in /proc.
fn from_proc(path: &str, read: impl Fn(&str) -> Option<f64>) -> Result<f64> {
    let text = std::fs::read_to_string(path)?;
    read(&text).ok_or_else(|| format!("{path} is not as expected").into())
}

/// Seconds of processor time that this process has used. Linux counts in hundredths here.
fn own_time() -> Result<f64> {
    from_proc("/proc/self/stat", |text| {
        let fields: Vec<_> = text.rsplit(") ").next()?.split(' ').collect();
        let ticks = |field: usize| fields.get(field)?.parse::<f64>().ok();
        Some((ticks(11)? + ticks(12)?) / 100.0)
    })
}

/// Seconds of processor time that all processes have used.
fn all_time() -> Result<f64> {
    from_proc("/proc/stat", |text| {
        let fields = text.lines().next()?.split_whitespace().skip(1);
        let ticks: Vec<f64> = fields
            .map(|field| field.parse().ok())
            .collect::<Option<_>>()?;
        let idle = ticks.get(3)? + ticks.get(4)?;
        // What guests use is part of what is counted before.
        Some((ticks.iter().take(8).sum::<f64>() - idle) / 100.0)
    })
}

/// Megabytes of memory that are in use.
fn memory() -> Result<f64> {
    from_proc("/proc/self/status", |text| {
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<f64>().ok()? / 1024.0)
    })
}

/// Waits; an error of a pipeline ends it.
fn wait(pipelines: &[(gst::Pipeline, Arc<Pace>)], duration: Duration) -> Result<()> {
    std::thread::sleep(duration);
    for bus in pipelines.iter().filter_map(|(pipeline, _)| pipeline.bus()) {
        if let Some(message) = bus.pop_filtered(&[gst::MessageType::Error]) {
            return Err(format!("{message:?}").into());
        }
    }
    Ok(())
}

/// Tells whether every source kept its pace, and how well.
fn tell(pipelines: &[(gst::Pipeline, Arc<Pace>)]) -> bool {
    let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let buffers: u64 = pipelines.iter().map(|(_, pace)| get(&pace.buffers)).sum();
    let dropped: u64 = pipelines.iter().map(|(_, pace)| get(&pace.dropped)).sum();
    let behind = pipelines.iter().map(|(pipeline, pace)| {
        let due = pipeline.current_running_time().unwrap_or_default();
        (due / PERIOD.nseconds())
            .nseconds()
            .saturating_sub(get(&pace.buffers))
    });
    let behind = behind.max().unwrap_or(0) * PERIOD.mseconds();
    let [first, since] = [0, 1].map(|part| {
        let latest = pipelines.iter().map(|(_, pace)| get(&pace.latest[part]));
        latest.max().unwrap_or(0) as f64 / 1e6
    });
    println!("buffers          {buffers}");
    println!(
        "latest buffer    {first:.1} ms late in the first 5 s of its source, {since:.1} ms since"
    );
    println!("slowest source   {behind} ms behind in the end");
    println!(
        "lost             {dropped} came more than 200 ms late: a sound card would have lost them"
    );
    dropped == 0 && behind <= DROPPED.mseconds()
}

/// Starts the pipelines one after the other.
fn start(pipelines: &[(gst::Pipeline, Arc<Pace>)], together: bool) -> Result<()> {
    for (pipeline, _) in pipelines {
        pipeline.set_state(gst::State::Playing)?;
        if !together {
            std::thread::sleep(APART);
        }
    }
    Ok(())
}

fn run(options: &Options) -> Result<bool> {
    gst::init()?;
    gstwm::plugin_register_static()?;
    let recording = Arc::new(recording(options)?);
    let first = |number: usize| number * recording.len() / options.detectors.max(1);
    let pipelines = (0..options.detectors)
        .map(|number| listener(&recording, first(number), options))
        .collect::<Result<Vec<_>>>()?;
    start(&pipelines, options.together)?;
    let (begin, own, all) = (Instant::now(), own_time()?, all_time()?);
    wait(&pipelines, Duration::from_secs(options.seconds))?;
    let wall = begin.elapsed().as_secs_f64();
    let (own, all) = (own_time()? - own, all_time()? - all);
    let kept = tell(&pipelines);
    let cores = std::thread::available_parallelism()?;
    println!(
        "processor        {:.1} % of one core of {cores}, for {wall:.0} s",
        100.0 * own / wall
    );
    println!(
        "other processes  {:.1} % of one core",
        100.0 * (all - own).max(0.0) / wall
    );
    println!("memory           {:.0} MB", memory()?);
    if !options.bare {
        let here = |(pipeline, _): &&(gst::Pipeline, _)| {
            pipeline
                .by_name("detect")
                .is_some_and(|detector| detector.property("present"))
        };
        println!(
            "mark present in  {} of {}",
            pipelines.iter().filter(here).count(),
            pipelines.len()
        );
    }
    for (pipeline, _) in &pipelines {
        pipeline.set_state(gst::State::Null)?;
    }
    Ok(kept)
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!(
            "usage: many_detectors [--detectors 100] [--keys 1] [--seconds 60] [--together] [--marked | --bare] [FILE]"
        );
        return ExitCode::from(2);
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            println!("not every source kept its pace");
            ExitCode::from(1)
        }
        Err(error) => {
            eprintln!("many_detectors: {error}");
            ExitCode::from(2)
        }
    }
}
