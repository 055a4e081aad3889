// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pipelines of README.md and of the pages of docs/, run as they stand there. A recording that takes its time
//! stands for the sound card. What these pages say of the command `wm` is run by wm/tests/pages.rs.

use crate::icecast::Icecast;
use crate::recipes::{Recipe, page, sections_with_pipelines, through_icecast};

/// Sections with pipelines that the tests below run, page by page; `recipes` has those of docs/pipelines.md.
const RUN: [(&str, &[&str]); 3] = [
    ("README.md", &["Files", "Streams"]),
    (
        "docs/payload-and-time.md",
        &["Payload", "When was this broadcast?"],
    ),
    (
        "docs/strength-and-latency.md",
        &["Peaks and loudness", "Can the programme carry a mark?"],
    ),
];

#[test]
fn a_file_is_marked_as_the_readme_says() {
    Recipe::of("README.md", "Files").run();
}

#[test]
fn a_station_sends_and_a_player_listens_as_the_readme_says() {
    let server = Icecast::start("readme-icecast");
    let recipe = Recipe::of("README.md", "Streams")
        .with("8000", &server.port.to_string())
        .with(
            "autoaudiosrc",
            "filesrc location=in.flac ! decodebin ! audioconvert ! audioresample ! clocksync",
        )
        .with("playbin ", "playbin audio-sink=\"fakesink sync=false\" ");
    through_icecast(&server, &recipe);
}

#[test]
fn a_payload_is_said_and_read_as_the_page_says() {
    Recipe::of("docs/payload-and-time.md", "Payload")
        .run_and_hear("payload=(string)00c0ffee, timestamp");
}

/// To search a day takes more than half a minute in a build for tests, so here it is an hour ago, give or take two.
#[test]
fn a_recording_is_dated_as_the_page_says() {
    Recipe::of("docs/payload-and-time.md", "When was this broadcast?")
        .with("utc-offset=-72000000000000", "utc-offset=-3600000000000")
        .with(
            "clock-tolerance=86400000000000",
            "clock-tolerance=7200000000000",
        )
        .run_and_hear("broadcast-time=(guint64)");
}

#[test]
fn peaks_are_kept_for_measuring_as_the_page_says() {
    Recipe::of("docs/strength-and-latency.md", "Peaks and loudness").run_and_hear("Got EOS");
}

#[test]
fn the_programme_is_judged_as_the_page_says() {
    Recipe::of(
        "docs/strength-and-latency.md",
        "Can the programme carry a mark?",
    )
    .run_and_hear("weak=(boolean)false");
}

/// A section with a pipeline that is added to a page needs a test.
#[test]
fn every_pipeline_of_the_pages_is_run() {
    let docs = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut pages: Vec<String> = docs
        .filter(|name| name.ends_with(".md") && name != "pipelines.md")
        .map(|name| format!("docs/{name}"))
        .collect();
    pages.extend(["README.md", "CONTRIBUTING.md"].map(String::from));
    for name in pages {
        let run = RUN.iter().find(|(page, _)| *page == name);
        let run = run.map_or(&[][..], |(_, sections)| sections);
        assert_eq!(sections_with_pipelines(&page(&name)), run, "{name}");
    }
}
