// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the work grows with channels, sample rate, keys, speeds and time: a table, and plots of it.
//!
//! `growth DIRECTORY DETECTORS SEARCHING FOUND SOURCES` draws `speed.svg` and `growth.svg` there. The last four say what
//! `make load` measured: how many live detectors there were, and the share of a core in percent that they took while they
//! searched, while they had found the mark, and that their sources took alone. `growth` alone prints the table.

use gst_plugin_wm_benches::plot::{
    BLUE, BROWN, Bar, Curve, Panel, VIOLET, bars, panel, svg, write,
};
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

/// The straight line `a + b x` that is nearest to the points, each deviation in proportion to what was measured, and the
/// largest of these.
fn line(points: &[(f64, f64)]) -> (f64, f64, f64) {
    let sum = |term: fn(f64, f64) -> f64| points.iter().map(|&(x, y)| term(x, y)).sum::<f64>();
    let (one, x, xx) = (
        sum(|_, y| 1.0 / (y * y)),
        sum(|x, y| x / (y * y)),
        sum(|x, y| x * x / (y * y)),
    );
    let (y, xy) = (sum(|_, y| 1.0 / y), sum(|x, y| x / y));
    let slope = (one * xy - x * y) / (one * xx - x * x);
    let fixed = (y - slope * x) / one;
    let deviation = |&(x, y): &(f64, f64)| ((fixed + slope * x) / y - 1.0).abs();
    (
        fixed,
        slope,
        points.iter().map(deviation).fold(0.0, f64::max),
    )
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

/// What `make load` measured, in percent of a core.
struct Live {
    detectors: f64,
    searching: f64,
    found: f64,
    sources: f64,
}

/// Milliseconds a second, and times real time, are each other's inverse.
fn times(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    points.iter().map(|&(x, cost)| (x, 1e3 / cost)).collect()
}

fn curves(growth: &Growth) -> Vec<Curve> {
    let curve = |name: &str, colour, line, points: &Vec<(f64, f64)>| Curve {
        name: name.into(),
        colour,
        line,
        points: times(points),
    };
    vec![
        curve("wmdetect, core, once found", VIOLET, true, &growth.found),
        curve("wmdetect, core, searching", BLUE, true, &growth.searching),
        curve(
            "wmdetect, element, searching",
            BLUE,
            false,
            &growth.detector,
        ),
        curve("wmembed, core", BROWN, true, &growth.embedding),
        curve("wmembed, element", BROWN, false, &growth.embedder),
    ]
}

/// Ticks from below the lowest to above the highest, each twice the one before.
fn doublings(curves: &[Curve]) -> Vec<f64> {
    let values = || {
        curves
            .iter()
            .flat_map(|curve| &curve.points)
            .map(|&(_, y)| y)
    };
    let lowest = values().fold(f64::MAX, f64::min);
    let highest = values().fold(0.0, f64::max);
    let mut ticks = vec![25.0];
    while ticks[0] > lowest {
        ticks.insert(0, ticks[0] / 2.0);
    }
    while ticks[ticks.len() - 1] < highest {
        ticks.push(2.0 * ticks[ticks.len() - 1]);
    }
    while ticks.len() > 2 && ticks[1] <= lowest {
        ticks.remove(0);
    }
    ticks
}

/// Real-time factors over rate and channels, and detectors a core.
fn draw_speed(rates: &Growth, channels: &Growth, live: &Live) -> Result<String, Box<dyn Error>> {
    let kilohertz = |curve: Curve| Curve {
        points: curve.points.iter().map(|&(x, y)| (x / 1e3, y)).collect(),
        ..curve
    };
    let by_rate: Vec<Curve> = curves(rates).into_iter().map(kilohertz).collect();
    let by_channels = curves(channels);
    let at = |points: &[(f64, f64)], x: f64| {
        let found = points.iter().find(|point| point.0 == x);
        found.map_or(0.0, |point| 1e3 / point.1)
    };
    let mono = (searching(16_000, 1, 0.1, 1), following(16_000, 1));
    println!(
        "16 kHz mono: {:.0} x real time searching, {:.0} x once found",
        mono.0, mono.1
    );
    let bar = |name: &str, colour, value| Bar {
        name: name.into(),
        colour,
        value,
    };
    let shown = [
        bar("16 kHz mono, searching", BLUE, mono.0),
        bar("16 kHz mono, once found", VIOLET, mono.1),
        bar("48 kHz stereo, searching", BLUE, at(&rates.searching, 48e3)),
        bar("48 kHz stereo, once found", VIOLET, at(&rates.found, 48e3)),
        bar(
            "live 48 kHz stereo, searching",
            BLUE,
            100.0 * live.detectors / live.searching,
        ),
        bar(
            "live 48 kHz stereo, once found",
            VIOLET,
            100.0 * live.detectors / live.found,
        ),
    ];
    let widest = shown.iter().map(|bar| bar.value).fold(0.0, f64::max);
    svg(
        (760, 624),
        "Times real time over sample rate and channels, and detectors a core",
        |area| {
            write(area, "Times real time on one core", 18.0, (12, 10))?;
            write(
                area,
                "Search for one key at 11 speeds (the default). The higher, the cheaper.",
                13.0,
                (12, 34),
            )?;
            let (top, below) = area.split_vertically(404);
            let (left, right) = top.margin(60, 0, 0, 0).split_horizontally(380);
            let y_ticks = |curves: &[Curve]| doublings(curves);
            panel(
                &left,
                &Panel {
                    title: "over sample rate in kHz, stereo".into(),
                    x_ticks: RATES.map(|rate| f64::from(rate) / 1e3).to_vec(),
                    y_ticks: y_ticks(&by_rate),
                    doublings: true,
                    curves: by_rate,
                },
            )?;
            panel(
                &right,
                &Panel {
                    title: "over channels, 48 kHz".into(),
                    x_ticks: CHANNELS.map(|count| count as f64).to_vec(),
                    y_ticks: y_ticks(&by_channels),
                    doublings: true,
                    curves: by_channels,
                },
            )?;
            write(&below, "Detectors that one core carries", 18.0, (12, 6))?;
            bars(&below, &shown, (232, 36), 460.0 / widest)?;
            let [first, second] = [
                "Upper four: computed, the times real time of the core. Lower two: measured, from"
                    .to_string(),
                format!(
                    "{} live pipelines in one process, whose sources alone took {:.0} of their {:.0} and {:.0} % of a core.",
                    live.detectors, live.sources, live.searching, live.found
                ),
            ];
            write(&below, &first, 13.0, (12, 180))?;
            write(&below, &second, 13.0, (12, 197))
        },
    )
}

/// Round ticks up to the largest value.
fn ticks(largest: f64) -> Vec<f64> {
    let power = 10f64.powf((largest / 4.0).log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * power);
    let step = steps
        .into_iter()
        .find(|step| largest / step <= 5.0)
        .unwrap_or(largest);
    let count = (largest / step).ceil() as usize;
    // Steps are round numbers, their multiples are to stay so.
    (0..=count)
        .map(|n| (1e6 * step * n as f64).round() / 1e6)
        .collect()
}

/// Cost and the straight line through it, for what grows.
fn linear(title: &str, named: &[(&str, RgbAndPoints)]) -> Panel {
    let all = || named.iter().flat_map(|(_, (_, points))| *points);
    let largest = |part: fn(&(f64, f64)) -> f64| all().map(part).fold(0.0, f64::max);
    let (x, y) = (largest(|point| point.0), largest(|point| point.1));
    let mut shown = Vec::new();
    for (name, (colour, points)) in named {
        let (fixed, slope, deviation) = line(points);
        let end = points.last().map_or(0.0, |point| point.0);
        shown.push(Curve {
            name: String::new(),
            colour: *colour,
            line: true,
            points: vec![(0.0, fixed), (end, fixed + slope * end)],
        });
        shown.push(Curve {
            name: format!(
                "{name}: {fixed:.2} + {slope:.3} each, within {:.0} %",
                100.0 * deviation
            ),
            colour: *colour,
            line: false,
            points: points.to_vec(),
        });
    }
    Panel {
        title: title.into(),
        x_ticks: ticks(x),
        y_ticks: ticks(y),
        doublings: false,
        curves: shown,
    }
}

type RgbAndPoints<'a> = (plotters::style::RGBColor, &'a [(f64, f64)]);

fn draw_growth(
    rates: &Growth,
    channels: &Growth,
    keys: &[(f64, f64)],
    speeds: &[(f64, f64)],
) -> Result<String, Box<dyn Error>> {
    let kilohertz = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
        points.iter().map(|&(x, y)| (x / 1e3, y)).collect()
    };
    let (embedding, searching) = (kilohertz(&rates.embedding), kilohertz(&rates.searching));
    svg(
        (760, 700),
        "Cost over channels, sample rate, keys and speeds, with straight lines",
        |area| {
            write(
                area,
                "Milliseconds for each second of audio",
                18.0,
                (12, 10),
            )?;
            write(
                area,
                "One core, 48 kHz stereo but for what grows; wmdetect searches. Lines: the nearest straight ones.",
                13.0,
                (12, 34),
            )?;
            let areas = area.margin(60, 0, 0, 0).split_evenly((2, 2));
            let panels = [
                linear(
                    "over channels",
                    &[
                        ("wmembed", (BROWN, &channels.embedding)),
                        ("wmdetect", (BLUE, &channels.searching)),
                    ],
                ),
                linear(
                    "over sample rate in kHz",
                    &[
                        ("wmembed", (BROWN, &embedding)),
                        ("wmdetect", (BLUE, &searching)),
                    ],
                ),
                linear("over keys", &[("wmdetect", (BLUE, keys))]),
                linear("over speeds", &[("wmdetect", (BLUE, speeds))]),
            ];
            areas
                .iter()
                .zip(&panels)
                .try_for_each(|(area, shown)| panel(area, shown))
        },
    )
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
    tell_line("wmembed, rate", "Hz", &rates.embedding);
    tell_line("wmdetect, rate", "Hz", &rates.searching);
    tell_line("wmdetect, keys", "key", &keys);
    tell_line("wmdetect, speeds", "speed", &speeds);
    let arguments: Vec<String> = std::env::args().collect();
    if let (Some(directory), Some(live)) = (arguments.get(1), live(&arguments)) {
        let directory = Path::new(directory);
        std::fs::write(
            directory.join("speed.svg"),
            draw_speed(&rates, &channels, &live)?,
        )?;
        let drawn = draw_growth(&rates, &channels, &keys, &speeds)?;
        std::fs::write(directory.join("growth.svg"), drawn)?;
        println!("drawn: {0}/speed.svg, {0}/growth.svg", directory.display());
    }
    Ok(())
}
