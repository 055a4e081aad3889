// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushes hours of programme through `wmembed ! wmdetect` as fast as the machine can, `make soak`.
//!
//! The programme is made of recordings in random order, from random places, at random levels, with pauses. What is told
//! at the end: memory at the start, in the middle and at the end; every time that the mark was lost, and what was
//! played there; whether timestamps are those of the count of frames. With `--unmarked` the same goes through without a
//! mark, and nothing must be found.
//!
//! ```sh
//! cargo run --release --example soak -- --hours 24 tests/data/music.flac tests/data/speech.flac
//! ```
//!
//! `--from 20.4` leaves out so many hours of the same programme, to look again at something that was told about.

#[path = "common/decode.rs"]
mod decode;

use decode::{Result, listen};
use gst::prelude::*;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

const RATE: u32 = 44_100;
const CHANNELS: usize = 2;
/// Frames of a buffer, about 23 ms.
const BUFFER: usize = 1024;
/// A pause that is longer than this explains why the mark is lost.
const LONG_PAUSE: f64 = 2.0;
/// The longest pause between two items, and of dead air.
const PAUSES: [f64; 2] = [1.5, 30.0];
/// Memory that may come and go between the middle and the end, in MB.
const SLACK: f64 = 4.0;

struct Arguments {
    from: f64,
    hours: f64,
    seed: u64,
    unmarked: bool,
    files: Vec<String>,
}

impl Arguments {
    fn parse() -> Option<Self> {
        let mut parsed = Arguments {
            from: 0.0,
            hours: 24.0,
            seed: 1,
            unmarked: false,
            files: Vec::new(),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--from" => parsed.from = arguments.next()?.parse().ok()?,
                "--hours" => parsed.hours = arguments.next()?.parse().ok()?,
                "--seed" => parsed.seed = arguments.next()?.parse().ok()?,
                "--unmarked" => parsed.unmarked = true,
                option if option.starts_with('-') => return None,
                file => parsed.files.push(file.to_owned()),
            }
        }
        (!parsed.files.is_empty() && parsed.hours > parsed.from).then_some(parsed)
    }
}

/// A piece of the programme: from which frame on, which clip, none in a pause, and how loud, in decibels.
#[derive(Clone, Copy, Default)]
struct Piece {
    start: u64,
    clip: Option<u16>,
    decibels: f32,
}

/// What was played so far.
struct Played {
    /// There is room for all of them from the start, so that memory does not grow.
    pieces: Vec<Piece>,
    n: usize,
}

impl Played {
    fn new(hours: f64) -> Self {
        // A piece lasts for more than half a second on average.
        let most = (hours * 7200.0) as usize + 100;
        let fill = Piece {
            start: u64::MAX,
            ..Piece::default()
        };
        Played {
            pieces: vec![fill; most],
            n: 0,
        }
    }

    fn push(&mut self, piece: Piece) {
        if let Some(place) = self.pieces.get_mut(self.n) {
            *place = piece;
            self.n += 1;
        }
    }
}

/// What is played, and what was.
struct Programme {
    clips: Vec<(String, Vec<f32>)>,
    random: u64,
    frames: u64,
    paused: bool,
    played: Played,
}

impl Programme {
    /// From 0 to 1.
    fn random(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The samples of the next piece: a recording or a part of one, then a pause, and so on.
    fn next(&mut self) -> Vec<i16> {
        self.paused = !self.paused;
        let mut piece = Piece {
            start: self.frames,
            ..Piece::default()
        };
        let samples = if self.paused {
            // One in two hundred is dead air.
            let dead_air = self.random() < 0.005;
            let seconds = PAUSES[usize::from(dead_air)] * self.random();
            vec![0; (seconds * f64::from(RATE)) as usize * CHANNELS]
        } else {
            let which = (self.random() * self.clips.len() as f64) as usize;
            let decibels = -24.0 * self.random() as f32;
            (piece.clip, piece.decibels) = (u16::try_from(which).ok(), decibels);
            let (from, to) = (0.5 * self.random(), 0.5 + 0.5 * self.random());
            let (_, clip) = &self.clips[which];
            let frame = |share: f64| (share * (clip.len() / CHANNELS) as f64) as usize * CHANNELS;
            let gain = 32_767.0 * 10f32.powf(decibels / 20.0);
            let part = clip[frame(from)..frame(to)].iter();
            part.map(|x| (gain * x).round() as i16).collect()
        };
        self.played.push(piece);
        self.frames += (samples.len() / CHANNELS) as u64;
        samples
    }

    /// What was played at a time, and whether it explains that the mark was lost there.
    fn about(&self, lost: gst::ClockTime) -> (String, bool) {
        let seconds = |frame: u64| frame as f64 / f64::from(RATE);
        let at = lost.seconds_f64();
        let pieces = &self.played.pieces[..self.played.n];
        let after = pieces.partition_point(|piece| seconds(piece.start) <= at);
        let near = &pieces[after.saturating_sub(2)..pieces.len().min(after + 2)];
        let (mut abouts, mut explained) = (Vec::new(), false);
        for pair in near.windows(2) {
            let length = seconds(pair[1].start) - seconds(pair[0].start);
            let clip = pair[0].clip.map(|clip| &self.clips[usize::from(clip)].0);
            explained |= clip.is_none() && length > LONG_PAUSE;
            abouts.push(match clip {
                Some(name) => format!("{length:.1} s of {name} at {:.0} dB", pair[0].decibels),
                None => format!("pause of {length:.1} s"),
            });
        }
        let (hours, minutes) = (at as u64 / 3600, at as u64 / 60 % 60);
        let place = format!("{hours}:{minutes:02}:{:05.2}", at % 60.0);
        (format!("{place}: {}", abouts.join(", ")), explained)
    }
}

/// A recording at the rate and with the channels of the programme.
fn clip(path: &str) -> Result<(String, Vec<f32>)> {
    let mut samples = Vec::new();
    listen("identity", path, Some(RATE), |audio, _, channels| {
        for frame in audio.chunks_exact(channels) {
            samples.extend([frame[0], frame[channels - 1]]);
        }
        Ok(())
    })?;
    let name = std::path::Path::new(path).file_name().unwrap_or_default();
    Ok((name.to_string_lossy().into_owned(), samples))
}

/// Time of a frame, as every timestamp has to be.
fn time(frame: u64) -> gst::ClockTime {
    let time = frame.mul_div_floor(*gst::ClockTime::SECOND, u64::from(RATE));
    gst::ClockTime::from_nseconds(time.unwrap_or(u64::MAX - 1))
}

/// Memory that the process has, in MB.
fn memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kilobytes.unwrap_or(f64::NAN) / 1024.0
}

/// What came out.
#[derive(Default)]
struct Outcome {
    frames: u64,
    /// Buffers whose timestamp or duration is not that of their frames.
    wrong_times: u64,
}

/// Counts frames behind the detector.
fn watch(pad: &gst::Pad, outcome: &Arc<Mutex<Outcome>>, first: u64) {
    let outcome = outcome.clone();
    outcome.lock().unwrap_or_else(|e| e.into_inner()).frames = first;
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(buffer) = info.buffer() {
            let mut outcome = outcome.lock().unwrap_or_else(|e| e.into_inner());
            let end = outcome.frames + (buffer.size() / (2 * CHANNELS)) as u64;
            let right = buffer.pts() == Some(time(outcome.frames))
                && buffer.duration() == Some(time(end) - time(outcome.frames));
            outcome.wrong_times += u64::from(!right);
            outcome.frames = end;
        }
        gst::PadProbeReturn::Ok
    });
}

/// What the detector said about the mark.
#[derive(Default)]
struct Reports {
    /// Where the mark began, and where it ended.
    found: Vec<gst::ClockTime>,
    lost: Vec<gst::ClockTime>,
    present: u64,
}

impl Reports {
    fn take(&mut self, message: &gst::Message) -> Result<()> {
        if let gst::MessageView::Error(error) = message.view() {
            return Err(format!("{} {:?}", error.error(), error.debug()).into());
        }
        let Some(report) = message.structure().filter(|s| s.name() == "wmdetect") else {
            return Ok(());
        };
        let start = gst::ClockTime::from_nseconds(report.get("timestamp")?);
        match report.get::<&str>("state")? {
            "found" => self.found.push(start),
            "lost" => self
                .lost
                .push(start + gst::ClockTime::from_nseconds(report.get("duration")?)),
            _ => self.present += 1,
        }
        Ok(())
    }
}

/// Pushes the programme, and tells how it goes on. Returns the memory at the start, in the middle and at the end.
fn push(
    source: &gst_app::AppSrc,
    programme: &mut Programme,
    hours: f64,
    mut listen: impl FnMut() -> Result<()>,
) -> Result<[f64; 3]> {
    let end = (hours * 3600.0 * f64::from(RATE)) as u64;
    let (mut at, mut memories, mut next) = (programme.frames, Vec::new(), 0);
    while at < end {
        let samples = programme.next();
        for frames in samples.chunks(BUFFER * CHANNELS) {
            let bytes: Vec<u8> = frames.iter().flat_map(|x| x.to_le_bytes()).collect();
            let mut buffer = gst::Buffer::from_slice(bytes);
            let content = buffer.get_mut().ok_or("the buffer is shared")?;
            content.set_pts(time(at));
            at += (frames.len() / CHANNELS) as u64;
            source.push_buffer(buffer)?;
        }
        listen()?;
        // The start is when everything has been used once: after the first hundredth.
        if at * 100 >= end && at * 10 >= next * end {
            let hours = at as f64 / f64::from(RATE) / 3600.0;
            memories.push(memory());
            println!("{hours:.2} h: {:.1} MB", memory());
            next += 1;
        }
    }
    source.end_of_stream()?;
    let middle = memories.len() / 2;
    let of = |i: usize| memories.get(i).copied().unwrap_or(f64::NAN);
    Ok([of(0), of(middle), memory()])
}

fn soak(arguments: &Arguments) -> Result<bool> {
    gst::init()?;
    gstwm::plugin_register_static()?;
    let clips = arguments
        .files
        .iter()
        .map(|path| clip(path))
        .collect::<Result<_>>()?;
    let mut programme = Programme {
        clips,
        random: arguments.seed.max(1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        frames: 0,
        paused: true,
        played: Played::new(arguments.hours),
    };
    while (programme.frames as f64) < arguments.from * 3600.0 * f64::from(RATE) {
        programme.next();
    }
    // The elements count from the first timestamp, and this one is not exact between two nanoseconds.
    let left_out = programme.frames % u64::from(RATE);
    programme.frames -= left_out;
    for piece in &mut programme.played.pieces[..programme.played.n] {
        piece.start = piece.start.saturating_sub(left_out);
    }
    let pipeline = gst::parse::launch(&format!(
        "appsrc name=in format=time block=true max-bytes=1000000 \
         caps=audio/x-raw,format=S16LE,rate={RATE},channels={CHANNELS},layout=interleaved,channel-mask=(bitmask)3 \
         ! wmembed key={key} enabled={} ! wmdetect key={key} name=detect ! fakesink sync=false",
        !arguments.unmarked,
        key = "5a".repeat(32),
    ))?
    .downcast::<gst::Pipeline>()
    .map_err(|_| "the description is not that of a pipeline")?;
    let element = |name: &str| pipeline.by_name(name).ok_or("an element is missing");
    let source = element("in")?
        .downcast::<gst_app::AppSrc>()
        .map_err(|_| "in is not an appsrc")?;
    let outcome = Arc::new(Mutex::new(Outcome::default()));
    watch(
        &element("detect")?.static_pad("src").ok_or("no pad")?,
        &outcome,
        programme.frames,
    );
    let bus = pipeline.bus().ok_or("the pipeline has no bus")?;
    pipeline.set_state(gst::State::Playing)?;
    let mut reports = Reports::default();
    let memories = push(&source, &mut programme, arguments.hours, || {
        bus.iter().try_for_each(|message| reports.take(&message))
    })?;
    for message in bus.iter_timed(gst::ClockTime::NONE) {
        reports.take(&message)?;
        if message.type_() == gst::MessageType::Eos {
            break;
        }
    }
    pipeline.set_state(gst::State::Null)?;
    let outcome = outcome.lock().unwrap_or_else(|e| e.into_inner());
    Ok(tell(arguments, &programme, &outcome, &reports, memories))
}

/// Prints what came of it; false if something is wrong.
fn tell(
    arguments: &Arguments,
    programme: &Programme,
    outcome: &Outcome,
    reports: &Reports,
    memories: [f64; 3],
) -> bool {
    let mut unexplained = 0;
    for (i, lost) in reports.lost.iter().enumerate() {
        let (place, explained) = programme.about(*lost);
        unexplained += u64::from(!explained);
        // Each loss follows what was found, so the next one to be found has the next number. It may begin a little
        // earlier than the end of what was lost.
        let again = reports.found.get(i + 1);
        let again = again.map_or("not found again".to_owned(), |found| {
            let seconds = found.seconds_f64() - lost.seconds_f64();
            format!("found again after {seconds:.1} s")
        });
        let falsely = if explained { "" } else { " (FALSE)" };
        println!("lost at {place}, {again}{falsely}");
    }
    let hours = programme.frames as f64 / f64::from(RATE) / 3600.0;
    println!("{hours:.2} h in {} pieces", programme.played.n);
    println!("frames in {}, out {}", programme.frames, outcome.frames);
    println!("timestamps that are not exact: {}", outcome.wrong_times);
    let [start, middle, end] = memories;
    println!("memory: {start:.1} MB at the start, {middle:.1} in the middle, {end:.1} at the end");
    let (found, present, lost) = (reports.found.len(), reports.present, reports.lost.len());
    println!(
        "found {found} times, present {present} times, lost {lost} times, {unexplained} of them falsely"
    );
    let marks = if arguments.unmarked {
        found == 0
    } else {
        found > 0 && unexplained == 0
    };
    let exact = outcome.frames == programme.frames && outcome.wrong_times == 0;
    marks && exact && end - middle < SLACK
}

fn main() -> ExitCode {
    let Some(arguments) = Arguments::parse() else {
        eprintln!("usage: soak [--from N] [--hours N] [--seed N] [--unmarked] FILE...");
        return ExitCode::from(2);
    };
    match soak(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("soak: something is wrong, see above");
            ExitCode::FAILURE
        }
        Err(e) => {
            eprintln!("soak: {e}");
            ExitCode::FAILURE
        }
    }
}
