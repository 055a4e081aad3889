// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page of a report: one file that needs nothing else, and no network.

use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::json;

use super::Pictures;
use super::scores::Scores;
use super::spectrogram::Picture;
use crate::detector::Listening;
use crate::spans::Span;
use crate::text;

/// Rows of the table of scores, at most.
const ROWS: usize = 300;

const POLICY: &str =
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
const STYLE: &str = concat!(
    include_str!("uplot/uPlot.min.css"),
    include_str!("page.css")
);
/// The library of the plots with its licence, as that asks for.
const PLOTS: &str = concat!(
    "/*\n",
    include_str!("uplot/LICENSE"),
    "*/\n",
    include_str!("uplot/uPlot.iife.min.js")
);
const SCRIPT: &str = include_str!("page.js");

/// What is shown.
pub struct Shown<'a> {
    pub file: &'a Path,
    pub original: Option<&'a Path>,
    pub listening: &'a Listening<'a>,
    pub scores: &'a Scores,
    pub pictures: &'a Pictures,
}

/// The page as text.
pub fn render(shown: &Shown) -> anyhow::Result<String> {
    let name = name(shown.file);
    let data = data(shown)?;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { "Mark in " (name) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { "Mark in " span.file { (name) } }
                    (summary(shown))
                    (spans(shown))
                    (plots(shown))
                    (scores(shown.scores))
                }
                footer {
                    p { "Made by wm " (env!("CARGO_PKG_VERSION")) ". Plots: uPlot 1.6.32, MIT licence." }
                }
                script type="application/json" id="data" { (PreEscaped(data)) }
                script { (PreEscaped(PLOTS)) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    Ok(page.into_string())
}

/// The figures for the plots. There is no text among them, which could end the script.
fn data(shown: &Shown) -> serde_json::Result<String> {
    let Scores {
        points,
        threshold,
        spans,
        ..
    } = shown.scores;
    let (times, scores): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    let stretch = |span: &Span| json!([span.start.seconds_f64(), span.end.seconds_f64()]);
    let data = json!({
        "seconds": shown.pictures.seconds,
        "threshold": threshold,
        "times": times,
        "scores": scores,
        "spans": spans.iter().map(stretch).collect::<Vec<_>>(),
        "top": shown.pictures.programme.top,
    });
    serde_json::to_string(&data)
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

fn length(seconds: f64) -> String {
    text::time(gst::ClockTime::from_seconds_f64(seconds.max(0.0)))
}

fn summary(shown: &Shown) -> Markup {
    let Scores {
        spans,
        highest,
        threshold,
        ..
    } = shown.scores;
    html! {
        p.verdict {
            @match spans.len() {
                0 => strong { "The mark was not found." },
                1 => strong { "The mark was found." },
                more => strong { "The mark was found in " (more) " stretches." },
            }
            " The file lasts " (length(shown.pictures.seconds)) "."
            @if let Some(threshold) = threshold {
                " A score of " (format!("{threshold:.1}")) " or more counts as found"
                // Of what was found the table below has the score.
                @if let (0, Some(highest)) = (spans.len(), highest) {
                    "; the highest was " (format!("{highest:.1}"))
                }
                "."
            }
        }
    }
}

fn spans(shown: &Shown) -> Markup {
    let spans = &shown.scores.spans;
    let by_key = spans.iter().any(|span| span.key_index.is_some());
    let by_time = spans.iter().any(|span| span.broadcast_time.is_some());
    html! {
        @if !spans.is_empty() {
            h2 id="found" { "Where it was found" }
            div.scroll tabindex="0" role="region" aria-labelledby="found" {
                table {
                    thead { tr {
                        th scope="col" { "from" }
                        th scope="col" { "to" }
                        th scope="col" { "payload" }
                        th scope="col" { "best score" }
                        th scope="col" { "log10-p" }
                        th scope="col" { "speed" }
                        @if by_time { th scope="col" { "broadcast (UTC)" } }
                        @if by_key { th scope="col" { "key" } }
                    } }
                    tbody { @for span in spans { tr {
                        td { (text::time(span.start)) }
                        td { (text::time(span.end)) }
                        td { @if span.payloads.is_empty() { "none" } @else { code { (span.payloads.join(", ")) } } }
                        td { (format!("{:.1}", span.score)) }
                        td { (format!("{:.1}", span.log10_p)) }
                        td { (format!("{:.4}", span.speed)) }
                        @if by_time { td { (span.broadcast_time.map(text::utc).unwrap_or_default()) } }
                        @if by_key {
                            td { @if let Some(file) = shown.listening.key_file(span.key_index) { (name(file)) } }
                        }
                    } } }
                }
            }
        }
    }
}

fn plots(shown: &Shown) -> Markup {
    let pictures = shown.pictures;
    html! {
        h2 { "Over time" }
        noscript { p { "The plots need scripts. The tables have the same figures." } }
        div.controls id="controls" role="group" aria-label="Part of the time that the plots show" hidden {
            button type="button" data-do="in" { "Zoom in" }
            button type="button" data-do="out" { "Zoom out" }
            button type="button" data-do="earlier" { "Earlier" }
            button type="button" data-do="later" { "Later" }
            button type="button" data-do="all" { "All" }
        }
        p.hint id="hint" hidden {
            "In a plot: left and right arrow move the line, + and - zoom, 0 shows all. Or drag over a part."
        }
        p.readout { output id="readout" aria-live="polite" {} }
        figure {
            figcaption {
                "Score " span.key.score {} ", score that counts as found " span.key.threshold {}
                ", mark found " span.key.found {}
                ". While the mark is there, the score is that of the 2 s before."
            }
            div.plot id="score" tabindex="0" role="group" aria-describedby="hint"
                aria-label="Score over time; the table of scores has the same figures" {}
        }
        (spectrogram("programme", &pictures.programme, html! {
            "The programme as it is in the file, up to 8 kHz. The mark lies from 0.3 to 6.5 kHz."
        }))
        @if let (Some(mark), Some(original)) = (&pictures.mark, shown.original) {
            (spectrogram("mark", mark, html! {
                "What differs from " span.file { (name(original)) } ", with the same colours. "
                @if pictures.late != 0.0 {
                    "The file is " (format!("{:.1}", 1000.0 * pictures.late.abs())) " ms "
                    @if pictures.late > 0.0 { "later" } @else { "earlier" }
                    ", which is corrected. "
                }
                "That is the mark, and whatever else was done to the file: a codec adds its noise."
            }))
        }
        p.hint { "Colours: from black to pale yellow are 90 dB, up to the loudest of the programme." }
    }
}

fn spectrogram(id: &str, picture: &Picture, caption: Markup) -> Markup {
    html! {
        figure {
            figcaption { (caption) }
            div.plot id=(id) tabindex="0" role="group" aria-describedby="hint"
                aria-label={ "Spectrogram: " (id) } {
                img src=(picture.address) alt={ "Spectrogram: " (id) };
            }
        }
    }
}

fn scores(scores: &Scores) -> Markup {
    let every = scores.points.len().div_ceil(ROWS).max(1);
    let rows = scores.points.chunks(every).filter_map(|points| {
        let highest = points.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        highest.copied()
    });
    html! {
        details {
            summary { "Table of scores" }
            @if every > 1 { p { "The highest of each " (every) " points of the plot." } }
            div.scroll.tall tabindex="0" role="region" aria-label="Table of scores" {
                table {
                    thead { tr { th scope="col" { "at" } th scope="col" { "score" } th scope="col" { "mark found" } } }
                    tbody { @for (time, score) in rows { tr {
                        td { (length(time)) }
                        td { (format!("{score:.1}")) }
                        td { @if is_within(time, &scores.spans) { "yes" } @else { "no" } }
                    } } }
                }
            }
        }
    }
}

fn is_within(time: f64, spans: &[Span]) -> bool {
    let mut spans = spans.iter();
    spans.any(|span| (span.start.seconds_f64()..=span.end.seconds_f64()).contains(&time))
}
