// SPDX-License-Identifier: MIT OR Apache-2.0
//! Speed and size in one table: `make bench`.
//!
//! Times are medians of several runs of one thread. Instructions are counted by valgrind, which runs this program again
//! with `push SECONDS`.

use gst::prelude::*;
use gst_plugin_wm_benches::{PIECE, detect, detector, embed, embedder, mark, programme};
use std::alloc::{GlobalAlloc, Layout, System};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Counts what is allocated.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const RUNS: usize = 7;
const RATE: u32 = 48_000;
const STEREO: usize = 2;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("push") => push(arguments.get(2).and_then(|s| s.parse().ok()).unwrap_or(1.0)),
        Some("growth") => growth(),
        _ => table(arguments.get(1).map(String::as_str)),
    }
}

/// Searches so many seconds of mono at 16 kHz.
fn push(seconds: f64) {
    let audio = programme(16_000, 1, seconds);
    detect(&mut detector(16_000, 1, 0.1, 1), &audio, 1);
}

/// Median of the times that a run takes, in seconds.
fn median(mut run: impl FnMut()) -> f64 {
    run();
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}

fn row(what: &str, measured: String, goal: &str) {
    println!("| {what} | {measured} | {goal} |");
}

/// Times real time of the embedder.
fn embedding(rate: u32, channels: usize) -> f64 {
    let audio = programme(rate, channels, 10.0);
    let mut embedder = embedder(rate, channels);
    let mut out = vec![0.0; PIECE * channels];
    10.0 / median(|| embed(&mut embedder, &audio, channels, &mut out))
}

/// Times real time of a detector that searches.
fn searching(rate: u32, channels: usize, speeds: f64, keys: usize) -> f64 {
    let seconds = if speeds > 1.0 || keys > 10 { 4.0 } else { 10.0 };
    let audio = programme(rate, channels, seconds);
    let mut detector = detector(rate, channels, speeds, keys);
    let speed = seconds / median(|| assert_eq!(detect(&mut detector, &audio, channels), 0));
    assert_eq!(detector.stats().found, 0);
    speed
}

/// Times real time of a detector that has found the mark.
fn following() -> f64 {
    let audio = mark(&programme(RATE, STEREO, 204.8), RATE, STEREO);
    let mut detector = detector(RATE, STEREO, 0.1, 1);
    // The rows go round once in 204.8 s, so the mark goes on where the audio begins anew.
    detect(&mut detector, &audio[..10 * RATE as usize * STEREO], STEREO);
    assert!(detector.is_present());
    let mut at = 10 * RATE as usize * STEREO;
    let piece = 20 * RATE as usize * STEREO;
    let speed = 20.0
        / median(|| {
            if at + piece > audio.len() {
                at = 0;
            }
            detect(&mut detector, &audio[at..at + piece], STEREO);
            at += piece;
        });
    assert!(detector.is_present());
    speed
}

/// Times real time of an element between a source and a sink, and of these alone.
fn element(name: &str) -> f64 {
    let seconds = 60;
    let run = |element: &str| {
        let buffers = seconds * RATE as usize / PIECE;
        let text = format!(
            "audiotestsrc wave=pink-noise num-buffers={buffers} samplesperbuffer={PIECE} ! \
             audio/x-raw,format=F32LE,rate={RATE},channels={STEREO} {element} ! fakesink sync=false"
        );
        let pipeline = gst::parse::launch(&text).expect("elements of GStreamer");
        let start = Instant::now();
        pipeline
            .set_state(gst::State::Playing)
            .expect("a pipeline that plays");
        let bus = pipeline.bus().expect("a bus");
        let types = [gst::MessageType::Eos, gst::MessageType::Error];
        let message = bus.timed_pop_filtered(gst::ClockTime::NONE, &types);
        let time = start.elapsed().as_secs_f64();
        assert!(matches!(message.unwrap().view(), gst::MessageView::Eos(_)));
        pipeline
            .set_state(gst::State::Null)
            .expect("a pipeline that stops");
        time
    };
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| run(&format!("! {name} key={}", "5".repeat(64))) - run(""))
        .collect();
    times.sort_by(f64::total_cmp);
    seconds as f64 / times[RUNS / 2]
}

/// Instructions a second of mono audio at 16 kHz while searching, if there is valgrind.
fn instructions() -> Option<f64> {
    let count = |seconds: &str| -> Option<f64> {
        let output = Command::new("valgrind")
            .args(["--tool=none", "--version"])
            .output()
            .ok()
            .filter(|output| output.status.success())
            .and_then(|_| {
                Command::new("valgrind")
                    .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
                    .arg("--toggle-collect=*Detector*push*")
                    .arg(std::env::current_exe().ok()?)
                    .args(["push", seconds])
                    .output()
                    .ok()
            })?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = text.lines().find(|line| line.contains("Collected"))?;
        line.rsplit(' ').next()?.parse().ok()
    };
    Some((count("8")? - count("4")?) / 4.0)
}

fn memory(speeds: f64) -> f64 {
    let before = LIVE.load(Ordering::Relaxed);
    let detector = detector(RATE, STEREO, speeds, 1);
    let bytes = LIVE.load(Ordering::Relaxed) - before;
    drop(detector);
    bytes as f64 / 1024.0
}

fn table(library: Option<&str>) {
    gst::init().expect("GStreamer");
    gstwm::plugin_register_static().expect("the plugin");
    println!("| what | measured | goal |\n| --- | --- | --- |");
    let times = |speed: f64| format!("{speed:.0} x real time");
    row(
        "wmembed, core, 48 kHz stereo",
        times(embedding(RATE, STEREO)),
        ">= 300 x",
    );
    row("wmembed, element", times(element("wmembed")), ">= 200 x");
    row(
        "wmdetect, core, searching 11 speeds",
        times(searching(RATE, STEREO, 0.1, 1)),
        ">= 300 x",
    );
    row(
        "wmdetect, core, searching 201 speeds",
        times(searching(RATE, STEREO, 2.0, 1)),
        ">= 15 x",
    );
    row(
        "wmdetect, core, once found",
        times(following()),
        ">= 1000 x",
    );
    row(
        "wmdetect, element, searching",
        times(element("wmdetect")),
        "",
    );
    let millions = instructions().map_or("valgrind is missing".into(), |n| {
        format!("{:.1} million", n / 1e6)
    });
    row(
        "instructions a second, searching 16 kHz mono",
        millions,
        "<= 32 million",
    );
    row(
        "memory of a detector, 11 speeds",
        format!("{:.0} KiB", memory(0.1)),
        "<= 4096 KiB",
    );
    row(
        "memory of a detector, one speed",
        format!("{:.0} KiB", memory(0.0)),
        "<= 512 KiB",
    );
    let key = median(|| drop(embedder(RATE, STEREO)));
    row(
        "set-up of an embedder from a hex key",
        format!("{:.1} ms", 1e3 * key),
        "<= 5 ms",
    );
    if let Some(library) = library {
        let size = stripped_size(library);
        row(
            "library, stripped",
            size.map_or("strip is missing".into(), |s| format!("{:.2} MiB", s)),
            "<= 2 MiB",
        );
    }
}

/// MiB of the library without its symbols.
fn stripped_size(library: &str) -> Option<f64> {
    let stripped = std::env::temp_dir().join("wm-stripped.so");
    let status = Command::new("strip")
        .arg("-o")
        .arg(&stripped)
        .arg(library)
        .status()
        .ok()?;
    let size = std::fs::metadata(&stripped).ok()?.len();
    let _ = std::fs::remove_file(&stripped);
    status.success().then_some(size as f64 / (1 << 20) as f64)
}

/// Milliseconds of work for a second of audio, as work grows.
fn growth() {
    println!("what\tvalue\twmembed\twmdetect");
    let line = |what: &str, value: f64, embed: Option<f64>, detect: f64| {
        let embed = embed.map_or("-".into(), |speed| format!("{:.3}", 1e3 / speed));
        println!("{what}\t{value}\t{embed}\t{:.3}", 1e3 / detect);
    };
    for channels in [1, 2, 4, 8, 16] {
        line(
            "channels",
            channels as f64,
            Some(embedding(RATE, channels)),
            searching(RATE, channels, 0.1, 1),
        );
    }
    for rate in [8_000, 16_000, 32_000, 48_000, 96_000, 192_000] {
        line(
            "rate",
            rate as f64,
            Some(embedding(rate, STEREO)),
            searching(rate, STEREO, 0.1, 1),
        );
    }
    for keys in [1, 2, 5, 10, 20, 50, 100] {
        line(
            "keys",
            keys as f64,
            None,
            searching(RATE, STEREO, 0.1, keys),
        );
    }
    for speeds in [0.0, 0.1, 0.3, 1.0, 2.0, 6.0] {
        line(
            "speeds",
            100.0 * speeds + 1.0,
            None,
            searching(RATE, STEREO, speeds, 1),
        );
    }
    // A detector and an embedder that have run for long take as long as new ones.
    let audio = programme(RATE, STEREO, 10.0);
    let mut detector = detector(RATE, STEREO, 0.1, 1);
    let mut embedder = embedder(RATE, STEREO);
    let mut out = vec![0.0; PIECE * STEREO];
    for minutes in [0, 5, 10] {
        let embedding = 10.0 / median(|| embed(&mut embedder, &audio, STEREO, &mut out));
        let searching = 10.0 / median(|| assert_eq!(detect(&mut detector, &audio, STEREO), 0));
        line("minutes", minutes as f64, Some(embedding), searching);
        for _ in 0..30 - RUNS - 1 {
            embed(&mut embedder, &audio, STEREO, &mut out);
            detect(&mut detector, &audio, STEREO);
        }
    }
}
