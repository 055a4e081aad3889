// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands of docs/pipelines.md, run as they stand there; `readme` runs those of the other pages.

use crate::common::{self, Directory, KEY};
use crate::icecast::{Icecast, PASSWORD};
use crate::live::LIMIT;
use crate::server::free_port;
use crate::{BAD, BASE, GOOD, LIBAV};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// What the commands use, and the Debian packages that have it.
const ELEMENTS: [(&str, &str); 22] = [
    ("playbin", BASE),
    ("decodebin", BASE),
    ("audioconvert", BASE),
    ("audioresample", BASE),
    ("opusenc", BASE),
    ("opusdec", BASE),
    ("vorbisenc", BASE),
    ("oggmux", BASE),
    ("flacenc", GOOD),
    ("aacparse", GOOD),
    ("rtpopuspay", GOOD),
    ("rtpjitterbuffer", GOOD),
    ("udpsink", GOOD),
    ("shout2send", GOOD),
    ("souphttpsrc", GOOD),
    ("mpegtsmux", BAD),
    ("tsdemux", BAD),
    ("hlssink2", BAD),
    ("hlsdemux", BAD),
    ("webrtcbin", BAD),
    ("avenc_aac", LIBAV),
    ("avdec_aac", LIBAV),
];

const MANUAL: &str = "docs/pipelines.md";

/// The text of a page, by its name in the repository.
pub fn page(name: &str) -> String {
    std::fs::read_to_string(format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Blocks of code in a text, each with the language that it names.
pub fn blocks(text: &str) -> Vec<(&str, &str)> {
    let fenced = text.split("```").skip(1).step_by(2);
    fenced.filter_map(|block| block.split_once('\n')).collect()
}

/// The sections of a page that have commands for `gst-launch-1.0` in them.
pub fn sections_with_pipelines(page: &str) -> Vec<&str> {
    let sections = page.split("\n##").skip(1);
    let runs_a_pipeline = |section: &&str| {
        let mut blocks = blocks(section).into_iter();
        blocks.any(|(language, text)| language != "text" && text.contains("gst-launch-1.0 "))
    };
    let titles = sections
        .filter(runs_a_pipeline)
        .filter_map(|section| section.lines().next());
    titles
        .map(|title| title.trim_start_matches(['#', ' ']))
        .collect()
}

/// A section of a page, and a directory in which its commands work.
pub struct Recipe {
    section: String,
    directory: Directory,
}

impl Recipe {
    /// A section of the manual.
    pub fn new(title: &str) -> Self {
        Recipe::of(MANUAL, title)
    }

    /// A section of any page, up to the next heading.
    pub fn of(name: &str, title: &str) -> Self {
        let page = page(name);
        let mut sections = page.split("\n##");
        let section = sections
            .find(|section| section.lines().next().unwrap().trim_matches(['#', ' ']) == title)
            .unwrap_or_else(|| panic!("{name} has no section {title:?}"))
            .to_owned();
        let named = ELEMENTS
            .iter()
            .filter(|(element, _)| section.contains(element));
        common::need(&named.copied().collect::<Vec<_>>());
        let name: String = title.chars().filter(char::is_ascii_alphanumeric).collect();
        let directory = Directory::new(&format!("recipe-{name}"));
        for file in ["programme.flac", "in.flac"] {
            std::fs::copy(common::data("music.flac"), directory.file(file)).unwrap();
        }
        write_key(&directory.file("station.key"));
        Recipe { section, directory }
    }

    /// What the section says, with something else in place of a word of it.
    pub fn with(mut self, word: &str, other: &str) -> Self {
        assert!(self.section.contains(word), "{word}");
        self.section = self.section.replace(word, other);
        self
    }

    /// Commands of a shell that play pipelines. What else there is, such as `wm`, is run by wm/tests/pages.rs.
    pub fn commands(&self) -> Vec<&str> {
        let of_a_shell = |block: &(&str, &str)| {
            block.0 == "sh"
                && (block.1.contains("gst-launch-1.0 ") || block.1.contains("ges-launch"))
        };
        let blocks = blocks(&self.section).into_iter().filter(of_a_shell);
        blocks.map(|(_, text)| text).collect()
    }

    /// Descriptions of pipelines for applications, with the paths of the files.
    pub fn descriptions(&self) -> Vec<String> {
        let blocks = blocks(&self.section).into_iter();
        let descriptions = blocks.filter(|block| block.0 == "text");
        descriptions
            .map(|(_, text)| {
                ["programme.flac", "station.key"]
                    .iter()
                    .fold(text.replace('\n', " "), |text, file| {
                        text.replace(file, &self.directory.file(file))
                    })
            })
            .collect()
    }

    /// Starts a command of the section.
    pub fn start(&self, command: &str) -> Running {
        Running::start(command, self.directory.path())
    }

    /// Runs the commands of the section one after the other; the last of them finds the mark.
    pub fn run(&self) {
        self.run_and_hear(FOUND);
    }

    /// Runs the commands of the section one after the other; the last of them says this.
    pub fn run_and_hear(&self, text: &str) {
        let commands = self.commands();
        let (listening, marking) = commands.split_last().unwrap();
        for command in marking {
            self.start(command).end();
        }
        let said = self.start(listening).end();
        assert!(said.contains(text), "{listening}\n{said}");
    }
}

pub const FOUND: &str = "state=(string)found";
pub const PRESENT: &str = "state=(string)present";

fn write_key(path: &str) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::File::options();
    let file = options.write(true).create(true).truncate(true).mode(0o600);
    writeln!(file.open(path).unwrap(), "{KEY}").unwrap();
}

/// Where the plugin of this build and the list of all plugins are, made when first asked for.
fn plugins() -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("recipes");
    std::fs::create_dir_all(&directory).unwrap();
    // Cargo leaves it beside the test.
    let test = std::env::current_exe().unwrap();
    let plugin = test.with_file_name("libgstwm.so");
    assert!(plugin.exists(), "there is no {}", plugin.display());
    let link = directory.join("libgstwm.so");
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(plugin, link).unwrap();
    let told = in_a_shell("gst-inspect-1.0 wmembed", &directory)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&told.stdout);
    assert!(
        told.status.success(),
        "is the Debian package gstreamer1.0-tools there (make deps)? {error}"
    );
    directory
}

const SHIPPED_PRESETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/presets");

/// A command of a shell, in a group of processes of its own, which knows the plugins there.
fn in_a_shell(command: &str, plugins: &Path) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("exec 2>&1\n{command}")])
        .env("GST_PLUGIN_PATH", plugins)
        .env("GST_REGISTRY", plugins.join("registry.bin"))
        .env("GST_PRESET_PATH", SHIPPED_PRESETS)
        // A warning about someone else's plugin stops nothing here.
        .env_remove("G_DEBUG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0);
    shell
}

/// A command that runs, until this is dropped at the latest.
pub struct Running {
    process: Child,
    lines: Receiver<String>,
    pub said: String,
}

impl Running {
    fn start(command: &str, directory: &Path) -> Self {
        let mut shell = in_a_shell(command, &plugins());
        let mut process = shell.current_dir(directory).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let mut lines = output.map_while(Result::ok);
            lines.try_for_each(|line| sender.send(line))
        });
        Running {
            process,
            lines,
            said: String::new(),
        }
    }

    /// Takes lines until there is one with this text; tells whether there is.
    pub fn hears(&mut self, text: &str) -> bool {
        let deadline = Instant::now() + LIMIT;
        while !self.said.lines().any(|line| line.contains(text)) {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                return false;
            };
            self.said += &line;
            self.said.push('\n');
        }
        true
    }

    /// Waits for the end of the command, which must be a good one; returns what it said.
    fn end(mut self) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.said += &format!("{line}\n"),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end: {}", self.said),
            }
        }
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.said);
        std::mem::take(&mut self.said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let kill = format!("kill -KILL -{} 2> /dev/null", self.process.id());
        let _ = Command::new("sh").args(["-c", &kill]).status();
        let _ = self.process.wait();
    }
}

#[test]
fn a_microphone_hears_the_mark_as_the_manual_says() {
    let heard = "filesrc location=in.flac ! decodebin ! audioconvert ! audioresample \
         ! wmembed key-file=station.key ! clocksync";
    Recipe::new("Microphone")
        .with("autoaudiosrc !", &format!("{heard} !"))
        .run();
}

#[test]
fn a_player_marks_and_finds_as_the_manual_says() {
    Recipe::new("Players").run();
}

#[test]
fn a_transport_stream_works_as_the_manual_says() {
    Recipe::new("MPEG-TS").run();
}

#[test]
fn hls_works_as_the_manual_says() {
    Recipe::new("HLS").run();
}

#[test]
fn rtp_works_as_the_manual_says() {
    let recipe = Recipe::new("RTP").with("5004", &free_port().to_string());
    let [listening, marking] = recipe.commands().try_into().unwrap();
    let mut listener = recipe.start(listening);
    let _marker = recipe.start(marking);
    let heard = listener.hears(FOUND) && listener.hears(PRESENT);
    assert!(heard, "{}", listener.said);
}

/// Marks and sends in one command, listens in the other, until the mark is found and stays.
pub fn through_icecast(server: &Icecast, recipe: &Recipe) {
    assert!(recipe.section.contains(&format!("password={PASSWORD}")));
    let [marking, listening] = recipe.commands().try_into().unwrap();
    let _marker = recipe.start(marking);
    server.wait_for_mount("/live.ogg");
    let mut listener = recipe.start(listening);
    let heard = listener.hears(FOUND) && listener.hears(PRESENT);
    assert!(heard, "{}", listener.said);
}

#[test]
fn icecast_works_as_the_manual_says() {
    let server = Icecast::start("recipe-icecast");
    let recipe = Recipe::new("Icecast").with("8000", &server.port.to_string());
    through_icecast(&server, &recipe);
}

#[test]
fn a_clip_that_is_edited_is_marked_as_the_manual_says() {
    Recipe::new("Editing").run();
}

/// A section that is added to the manual needs a test above.
#[test]
fn every_recipe_of_the_manual_is_run() {
    let run = [
        "Microphone",
        "Players",
        "MPEG-TS",
        "HLS",
        "RTP",
        "Icecast",
        "Editing",
    ];
    assert_eq!(sections_with_pipelines(&page(MANUAL)), run);
    let described = blocks(&page(MANUAL))
        .iter()
        .filter(|block| block.0 == "text")
        .count();
    assert_eq!(described, 2, "`webrtc` runs the two of WebRTC");
}
