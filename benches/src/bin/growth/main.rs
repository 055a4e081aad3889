// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the work grows with channels, sample rate, keys, speeds and time: a table, and plots of it.
//!
//! `growth DIRECTORY DETECTORS SEARCHING FOUND SOURCES` draws `speed.svg` and `growth.svg` there. The last four say
//! what `make load` measured: how many live detectors there were, and the share of a core in percent that they took
//! while they searched, while they had found the mark, and that their sources took alone. `growth` alone prints the
//! table.

mod draw;

use draw::{Live, draw_growth, draw_speed, line};
use gst_plugin_wm_benches::speed::{RUNS, element, embedding, following, median, searching};
use gst_plugin_wm_benches::{PIECE, detect, detector, embed, embedder, programme};
use std::error::Error;
use std::path::Path;

const RATE: u32 = 48_000;
const STEREO: usize = 2;
const RATES: [u32; 6] = [8_000, 16_000, 32_000, 48_000, 96_000, 192_000];
const CHANNELS: [usize; 5] = [1, 2, 4, 8, 16];
const KEYS: [usize; 7] = [1, 2, 5, 10, 20, 50, 100];
/// Percent of deviation to both sides, in steps of 0.02.
const DEVIATIONS: [f64; 6] = [0.0, 0.1, 0.3, 1.0, 2.0, 6.0];
/// Seconds of audio that go through an element.
const THROUGH: usize = 20;

/// Milliseconds for each second of audio, as something grows.
#[derive(Clone, Default)]
struct Growth {
    embedding: Vec<(f64, f64)>,
    searching: Vec<(f64, f64)>,
    found: Vec<(f64, f64)>,
    /// The elements in a pipeline.
    embedder: Vec<(f64, f64)>,
    detector: Vec<(f64, f64)>,
}

impl Growth {
    /// Measures cores and elements in one format.
    fn take(&mut self, what: &str, value: f64, rate: u32, channels: usize) {
        let at = |speed: f64| (value, 1e3 / speed);
        self.embedding.push(at(embedding(rate, channels)));
        self.searching.push(at(searching(rate, channels, 0.1, 1)));
        self.found.push(at(following(rate, channels)));
        self.embedder
            .push(at(element("wmembed", rate, channels, THROUGH)));
        self.detector
            .push(at(element("wmdetect", rate, channels, THROUGH)));
        let all = [
            &self.embedding,
            &self.searching,
            &self.found,
            &self.embedder,
            &self.detector,
        ];
        let cells = all.map(|those| {
            those
                .last()
                .map_or("-".into(), |(_, cost)| format!("{cost:.3}"))
        });
        println!("{what}\t{value}\t{}", cells.join("\t"));
    }
}

/// Measures a detector that searches, at several values.
fn searches(what: &str, each: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let told = each.map(|(value, speed)| {
        println!("{what}\t{value}\t-\t{:.3}\t-\t-\t-", 1e3 / speed);
        (value, 1e3 / speed)
    });
    told.collect()
}

fn tell_line(what: &str, unit: &str, points: &[(f64, f64)]) {
    let (fixed, slope, deviation) = line(points);
    println!(
        "{what}: {fixed:.2} ms + {slope:.3} ms for each {unit}, all within {:.0} %",
        100.0 * deviation
    );
}

/// A detector and an embedder that have run for long take as long as new ones.
fn tell_time() {
    let audio = programme(RATE, STEREO, 10.0);
    let mut detector = detector(RATE, STEREO, 0.1, 1);
    let mut embedder = embedder(RATE, STEREO);
    let mut out = vec![0.0; PIECE * STEREO];
    for minutes in [0, 5, 10] {
        let embedding = 100.0 * median(|| embed(&mut embedder, &audio, STEREO, &mut out));
        let searching = 100.0 * median(|| assert_eq!(detect(&mut detector, &audio, STEREO), 0));
        println!("minutes\t{minutes}\t{embedding:.3}\t{searching:.3}\t-\t-\t-");
        for _ in 0..30 - RUNS - 1 {
            embed(&mut embedder, &audio, STEREO, &mut out);
            detect(&mut detector, &audio, STEREO);
        }
    }
}

fn live(arguments: &[String]) -> Option<Live> {
    let number = |at: usize| arguments.get(at)?.parse().ok();
    Some(Live {
        detectors: number(2)?,
        searching: number(3)?,
        found: number(4)?,
        sources: number(5)?,
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    gst::init()?;
    gstwm::plugin_register_static()?;
    println!("what\tvalue\twmembed\twmdetect\tonce found\twmembed, element\twmdetect, element");
    let (mut channels, mut rates) = (Growth::default(), Growth::default());
    for count in CHANNELS {
        channels.take("channels", count as f64, RATE, count);
    }
    for rate in RATES {
        rates.take("rate", f64::from(rate), rate, STEREO);
    }
    let of_keys = KEYS
        .into_iter()
        .map(|count| (count as f64, searching(RATE, STEREO, 0.1, count)));
    let keys = searches("keys", of_keys);
    let of_speeds = DEVIATIONS.into_iter();
    let of_speeds =
        of_speeds.map(|speeds| (100.0 * speeds + 1.0, searching(RATE, STEREO, speeds, 1)));
    let speeds = searches("speeds", of_speeds);
    tell_time();
    tell_line("wmembed, channels", "channel", &channels.embedding);
    tell_line("wmdetect, channels", "channel", &channels.searching);
    tell_line("wmembed, rate", "kHz", &draw::kilohertz(&rates.embedding));
    tell_line("wmdetect, rate", "kHz", &draw::kilohertz(&rates.searching));
    tell_line("wmdetect, keys", "key", &keys);
    tell_line("wmdetect, speeds", "speed", &speeds);
    let mono = (searching(16_000, 1, 0.1, 1), following(16_000, 1));
    println!(
        "16 kHz mono: {:.0} x real time searching, {:.0} x once found",
        mono.0, mono.1
    );
    let arguments: Vec<String> = std::env::args().collect();
    if let (Some(directory), Some(live)) = (arguments.get(1), live(&arguments)) {
        let directory = Path::new(directory);
        std::fs::write(
            directory.join("speed.svg"),
            draw_speed(&rates, &channels, mono, &live)?,
        )?;
        let drawn = draw_growth(&rates, &channels, &keys, &speeds)?;
        std::fs::write(directory.join("growth.svg"), drawn)?;
        println!("drawn: {0}/speed.svg, {0}/growth.svg", directory.display());
    }
    Ok(())
}
