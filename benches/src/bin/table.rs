// SPDX-License-Identifier: MIT OR Apache-2.0
//! Speed and size in one table: `make bench`.
//!
//! Times are medians of several runs of one thread. Instructions are counted by valgrind, which runs the program
//! `work`.

use gst_plugin_wm_benches::speed::{element, embedding, following, median, searching};
use gst_plugin_wm_benches::{detector, embedder};
use std::alloc::{GlobalAlloc, Layout, System};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

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

const RATE: u32 = 48_000;
const STEREO: usize = 2;

fn main() {
    table(std::env::args().nth(1).as_deref());
}

fn row(what: &str, measured: String, goal: &str) {
    println!("| {what} | {measured} | {goal} |");
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
                    .arg("--toggle-collect=*measured*")
                    .arg(std::env::current_exe().ok()?.with_file_name("work"))
                    .args(["searching", "16000", "1", seconds])
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
    row(
        "wmembed, element",
        times(element("wmembed", RATE, STEREO, 60)),
        ">= 200 x",
    );
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
        times(following(RATE, STEREO)),
        ">= 1000 x",
    );
    row(
        "wmdetect, element, searching",
        times(element("wmdetect", RATE, STEREO, 60)),
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
