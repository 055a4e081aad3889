// SPDX-License-Identifier: MIT OR Apache-2.0
//! The plots: speed, and growth.

use super::Growth;
use gst_plugin_wm_benches::plot::{
    Area, BLUE, BROWN, Bar, Colour, Curve, Outcome, Panel, VIOLET, bars, panel, svg, write,
};
use std::error::Error;

/// What `make load` measured, in percent of a core.
pub struct Live {
    pub detectors: f64,
    pub searching: f64,
    pub found: f64,
    pub sources: f64,
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

/// A panel of cores and elements.
fn by(title: &str, places: &[f64], curves: Vec<Curve>) -> Panel {
    Panel {
        title: title.into(),
        x_ticks: places.to_vec(),
        y_ticks: doublings(&curves),
        doublings: true,
        curves,
    }
}

fn bar(name: &str, colour: Colour, value: f64) -> Bar {
    Bar {
        name: name.into(),
        colour,
        value,
    }
}

/// Bars, and the two lines below them.
fn draw_detectors(area: &Area, rates: &Growth, mono: (f64, f64), live: &Live) -> Outcome {
    let at_48 = |points: &[(f64, f64)]| {
        let found = points.iter().find(|point| point.0 == 48e3);
        found.map_or(0.0, |point| 1e3 / point.1)
    };
    let alive = |share: f64| 100.0 * live.detectors / share;
    let shown = [
        bar("16 kHz mono, searching", BLUE, mono.0),
        bar("16 kHz mono, once found", VIOLET, mono.1),
        bar("48 kHz stereo, searching", BLUE, at_48(&rates.searching)),
        bar("48 kHz stereo, once found", VIOLET, at_48(&rates.found)),
        bar("live pipelines, searching", BLUE, alive(live.searching)),
        bar("live pipelines, once found", VIOLET, alive(live.found)),
    ];
    let widest = shown.iter().map(|bar| bar.value).fold(0.0, f64::max);
    write(area, "Detectors that one core carries", 22.0, (12, 6))?;
    bars(area, &shown, (232, 40), 460.0 / widest)?;
    let computed = "Upper four: computed from the times real time of the core alone. Lower two: measured, with";
    let measured = format!(
        "{} live pipelines of 48 kHz stereo that took {:.0} and {:.0} % of a core, their sources alone {:.0} %.",
        live.detectors, live.searching, live.found, live.sources
    );
    write(area, computed, 16.0, (12, 190))?;
    write(area, &measured, 16.0, (12, 208))
}

/// Real-time factors over rate and channels, and detectors a core.
pub fn draw_speed(
    rates: &Growth,
    channels: &Growth,
    mono: (f64, f64),
    live: &Live,
) -> Result<String, Box<dyn Error>> {
    let in_kilohertz = |curve: Curve| Curve {
        points: kilohertz(&curve.points),
        ..curve
    };
    let by_rate = curves(rates).into_iter().map(in_kilohertz).collect();
    let left = by(
        "over sample rate in kHz, stereo",
        &places(&kilohertz(&rates.found)),
        by_rate,
    );
    let right = by(
        "over channels, 48 kHz",
        &places(&channels.found),
        curves(channels),
    );
    let title = "Times real time over sample rate and channels, and detectors a core";
    svg((760, 664), title, |area| {
        write(area, "Times real time on one core", 22.0, (12, 10))?;
        let what = "Search for one key at 11 speeds (the default). The higher, the cheaper.";
        write(area, what, 16.0, (12, 38))?;
        let (top, below) = area.split_vertically(428);
        let (first, second) = top.margin(64, 0, 0, 0).split_horizontally(380);
        panel(&first, &left)?;
        panel(&second, &right)?;
        draw_detectors(&below, rates, mono, live)
    })
}

/// Where something was measured.
fn places(points: &[(f64, f64)]) -> Vec<f64> {
    points.iter().map(|point| point.0).collect()
}

/// From Hz.
pub fn kilohertz(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    points.iter().map(|&(x, y)| (x / 1e3, y)).collect()
}

/// The straight line `a + b x` that is nearest to the points, each deviation in proportion to what was measured, and
/// the largest of these.
pub fn line(points: &[(f64, f64)]) -> (f64, f64, f64) {
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

/// A colour, and what is drawn in it.
type ColourAndPoints<'a> = (Colour, &'a [(f64, f64)]);

/// Cost and the straight line through it, for what grows.
fn linear(title: &str, named: &[(&str, ColourAndPoints)]) -> Panel {
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

/// Milliseconds over what grows, and the straight lines through them.
pub fn draw_growth(
    rates: &Growth,
    channels: &Growth,
    keys: &[(f64, f64)],
    speeds: &[(f64, f64)],
) -> Result<String, Box<dyn Error>> {
    let (embedding, searching) = (kilohertz(&rates.embedding), kilohertz(&rates.searching));
    svg(
        (760, 724),
        "Cost over channels, sample rate, keys and speeds, with straight lines",
        |area| {
            write(
                area,
                "Milliseconds for each second of audio",
                22.0,
                (12, 10),
            )?;
            write(
                area,
                "One core, 48 kHz stereo but for what grows; wmdetect searches. Lines: the nearest straight ones.",
                16.0,
                (12, 38),
            )?;
            let areas = area.margin(64, 0, 0, 0).split_evenly((2, 2));
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
