// SPDX-License-Identifier: MIT OR Apache-2.0
//! What README.md and the pages of docs/ say of `wm` works as it stands there, and docs/wm.md names all that there is.
#![cfg(unix)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Place, Ran};

/// Streams that the pages watch. In the tests these are files.
const STREAMS: [&str; 2] = [
    "https://radio.example/live.ogg",
    "http://127.0.0.1:8000/live.ogg",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(page: &str) -> String {
    std::fs::read_to_string(root().join(page)).unwrap()
}

/// Blocks of the page for a shell that use `wm`, without pipelines, which tests/pipelines/readme.rs runs.
fn blocks(text: &str) -> Vec<String> {
    let fenced = text.split("```").skip(1).step_by(2);
    let of_a_shell = fenced.filter_map(|block| block.strip_prefix("sh\n"));
    of_a_shell
        .filter(|block| {
            block
                .lines()
                .any(|line| line.trim_start().starts_with("wm "))
        })
        .map(String::from)
        .collect()
}

/// A directory in which commands of a page work one after the other.
struct Reader(Place);

impl Reader {
    fn new() -> Self {
        let place = Place::new();
        place.bring("music.flac", "in.flac");
        place.bring("music.flac", "a.flac");
        place.bring("speech.flac", "b.flac");
        // As in the repository, for what copies recordings from there.
        let tests = root().canonicalize().unwrap().join("tests");
        std::os::unix::fs::symlink(tests, place.path("tests")).unwrap();
        Reader(place)
    }

    /// Runs a command of a shell with this `wm`.
    fn sh(&self, command: &str) -> Ran {
        let built = Path::new(env!("CARGO_BIN_EXE_wm")).parent().unwrap();
        let path = std::env::join_paths([built, Path::new("/usr/bin"), Path::new("/bin")]);
        let output = Command::new("sh")
            .args(["-euc", command])
            .current_dir(self.0.path(""))
            .env("PATH", path.unwrap())
            .env_remove("WM_KEY_FILE")
            .stdin(Stdio::null())
            .output();
        Ran::new(output.unwrap())
    }

    fn must(&self, command: &str) -> Ran {
        let ran = self.sh(command);
        assert_eq!(ran.code, 0, "{command}\n{}\n{}", ran.output, ran.errors);
        ran
    }

    /// Runs a block of a page, with what it takes for granted.
    fn run(&self, block: &str) -> Ran {
        if block.contains("wm key station.key") {
            std::fs::remove_file(self.0.path("station.key")).unwrap();
        } else {
            let clock = ["stream", "utc"][usize::from(block.contains("--row-clock utc"))];
            let embed = "wm embed --force -k station.key in.flac";
            self.must(&format!(
                "{embed} live.ogg --row-clock {clock}; {embed} out.flac"
            ));
            self.must(&format!("[ -e programme.flac ] || {embed} programme.flac"));
        }
        let streams = STREAMS.iter();
        let block = streams.fold(block.to_owned(), |block, stream| {
            block.replace(stream, "live.ogg")
        });
        self.must(&block)
    }
}

/// Runs all of a page; returns what each block printed.
fn run(page: &str, expected: usize) -> Vec<Ran> {
    let reader = Reader::new();
    let text = text(page);
    let blocks = blocks(&text);
    assert_eq!(blocks.len(), expected, "{page}: {blocks:#?}");
    blocks.iter().map(|block| reader.run(block)).collect()
}

#[test]
fn the_readme_marks_and_finds_and_watches() {
    let ran = run("README.md", 2);
    let example = text("README.md");
    let (_, example) = example.split_once("```text\nout.mp3: ").unwrap();
    let said = ran[0]
        .output
        .lines()
        .find_map(|line| line.strip_prefix("out.mp3: "));
    let said = said.unwrap_or_else(|| panic!("{}", ran[0].output));
    let words = |text: &str| -> String {
        let figures = |c: char| !c.is_ascii_digit() && !matches!(c, ':' | '.' | '-');
        text.lines()
            .next()
            .unwrap()
            .chars()
            .filter(|c| figures(*c))
            .collect()
    };
    assert_eq!(words(said), words(example), "{said}");
    assert!(said.ends_with("payload 0000002a"), "{said}");
    let found = ran[1]
        .json()
        .into_iter()
        .filter(|event| event["event"] == "found");
    let mut stations: Vec<_> = found.map(|event| event["station"].to_string()).collect();
    stations.sort();
    assert_eq!(stations, ["\"One\"", "\"Two\""]);
}

#[test]
fn what_the_page_of_the_command_says_works() {
    let ran = run("docs/wm.md", 5);
    let page = text("docs/wm.md");
    let mut lines = ran[2].output.lines().filter(|line| line.starts_with('{'));
    let json: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    let rows: Vec<_> = page
        .lines()
        .filter_map(|line| line.split('|').nth(1))
        .collect();
    for field in json.as_object().unwrap().keys() {
        let field = format!("`{field}`");
        assert!(
            rows.iter().any(|row| row.contains(&field)),
            "no row about {field} in docs/wm.md"
        );
    }
    // Right to some milliseconds, before the hour or after it.
    let says = |time| {
        ran[2]
            .output
            .contains(&format!("  broadcast 2026-11-27T{time}"))
    };
    assert!(
        says("19:59:59.9") || says("20:00:00.0"),
        "{}",
        ran[2].output
    );
    for event in ran[4].json() {
        for field in event.as_object().unwrap().keys() {
            assert!(
                page.contains(&format!("`{field}`")),
                "no field {field} in docs/wm.md"
            );
        }
        let kind = event["event"].as_str().unwrap();
        assert!(
            page.contains(&format!("`{kind}`")),
            "no event {kind} in docs/wm.md"
        );
    }
}

#[test]
fn commands_on_other_pages_work() {
    let keys = run("docs/payload-and-time.md", 1);
    assert!(
        keys[0].output.contains("  key station.key"),
        "{}",
        keys[0].output
    );
    run("docs/strength-and-latency.md", 1);
    run("docs/pipelines.md", 1);
}

/// A page that comes to use `wm` needs a line above.
#[test]
fn no_other_page_uses_the_command() {
    let docs = std::fs::read_dir(root().join("docs")).unwrap();
    let docs = docs.map(|entry| format!("docs/{}", entry.unwrap().file_name().to_str().unwrap()));
    let mut using: Vec<_> = docs
        .chain(["README.md".into(), "CONTRIBUTING.md".into()])
        .filter(|page| page.ends_with(".md") && !blocks(&text(page)).is_empty())
        .collect();
    using.sort();
    let run = [
        "README.md",
        "docs/payload-and-time.md",
        "docs/pipelines.md",
        "docs/strength-and-latency.md",
        "docs/wm.md",
    ];
    assert_eq!(using, run);
}
