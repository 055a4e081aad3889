// SPDX-License-Identifier: MIT OR Apache-2.0
//! A media player for the terminal that marks what it plays, one file or stream after the other.
//!
//! ```sh
//! cargo run --release --example player station.key music.flac https://radio.example/live.ogg
//! cargo run --release --example player station.key music.flac --audio-sink "fakesink sync=true"    # no sound card
//! ```
//!
//! Keys: `m` mark on or off, space pause, arrows left and right 10 s back or ahead, `n` next, `q` quit. What `m` does
//! is heard when the audio that is on its way has been played, about half a second later. Without a terminal it plays
//! to the end.
//!
//! The line shows position, whether it is marked, and how well the mark would be found in a clean copy of the latest 2
//! s or so, and the score that a detector needs.

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::terminal;
use gst::prelude::*;

const USAGE: &str = "usage: player KEYFILE URI|FILE... [--audio-sink DESCRIPTION]";
/// How often the line is written, and messages and keys are looked at.
const TICK: Duration = Duration::from_millis(100);
const STEP: gst::ClockTime = gst::ClockTime::from_seconds(10);
const REPORT_INTERVAL: gst::ClockTime = gst::ClockTime::from_seconds(2);

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Arguments {
    key_file: String,
    programme: Vec<String>,
    audio_sink: String,
}

impl Arguments {
    fn parse() -> Option<Self> {
        let (mut names, mut audio_sink) = (Vec::new(), "autoaudiosink".into());
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--audio-sink" => audio_sink = arguments.next()?,
                option if option.starts_with("--") => return None,
                _ => names.push(argument),
            }
        }
        if names.len() < 2 {
            return None;
        }
        Some(Arguments {
            key_file: names.remove(0),
            programme: names,
            audio_sink,
        })
    }
}

/// The terminal gives each key at once, until this is dropped.
struct Keys;

impl Keys {
    fn new() -> Result<Option<Self>> {
        if !std::io::stdin().is_terminal() {
            return Ok(None);
        }
        terminal::enable_raw_mode()?;
        Ok(Some(Keys))
    }

    /// The key that is pressed within a tick, if any is.
    fn next(&self) -> Result<Option<KeyEvent>> {
        if !event::poll(TICK)? {
            return Ok(None);
        }
        Ok(match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => Some(key),
            _ => None,
        })
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = terminal::disable_raw_mode();
    }
}

/// What is to be done next.
enum Next {
    Play,
    Skip,
    Quit,
}

struct Player {
    playbin: gst::Element,
    embed: gst::Element,
    bus: gst::Bus,
    name: String,
    /// The latest report: score, threshold, weak.
    report: Option<(f64, f64, bool)>,
}

impl Player {
    fn new(arguments: &Arguments) -> Result<Self> {
        let embed = gst::ElementFactory::make("wmembed")
            .property("key-file", &arguments.key_file)
            .property("report-interval", REPORT_INTERVAL.nseconds())
            .build()?;
        let sink = gst::parse::bin_from_description(&arguments.audio_sink, true)?;
        let playbin = gst::ElementFactory::make("playbin")
            .property("audio-filter", &embed)
            .property("audio-sink", &sink)
            .property_from_str("flags", "audio+soft-volume+buffering")
            .build()?;
        Ok(Player {
            bus: playbin.bus().ok_or("no bus")?,
            playbin,
            embed,
            name: String::new(),
            report: None,
        })
    }

    fn play(&mut self, programme: &str) -> Result<()> {
        let uri = match programme.contains("://") {
            true => programme.into(),
            false => gst::glib::filename_to_uri(std::path::absolute(programme)?, None)?,
        };
        self.name = programme.rsplit('/').next().unwrap_or(programme).into();
        self.report = None;
        self.playbin.set_state(gst::State::Ready)?;
        self.playbin.set_property("uri", uri);
        // Why this failed is on the bus.
        let _ = self.playbin.set_state(gst::State::Playing);
        Ok(())
    }

    fn handle(&mut self, key: KeyEvent) -> Next {
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return Next::Quit;
            }
            KeyCode::Char('q') | KeyCode::Esc => return Next::Quit,
            KeyCode::Char('n') => return Next::Skip,
            KeyCode::Char('m') => {
                let enabled: bool = self.embed.property("enabled");
                self.embed.set_property("enabled", !enabled);
                self.report = None;
            }
            KeyCode::Char(' ') => {
                let paused = self.playbin.current_state() == gst::State::Paused;
                let state = match paused {
                    true => gst::State::Playing,
                    false => gst::State::Paused,
                };
                let _ = self.playbin.set_state(state);
            }
            KeyCode::Left => self.seek(|position| position.saturating_sub(STEP)),
            KeyCode::Right => self.seek(|position| position + STEP),
            _ => (),
        }
        Next::Play
    }

    fn seek(&self, to: impl Fn(gst::ClockTime) -> gst::ClockTime) {
        if let Some(position) = self.playbin.query_position::<gst::ClockTime>() {
            let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE;
            let end = self.playbin.query_duration().unwrap_or(gst::ClockTime::MAX);
            // A live stream cannot be sought in: it plays on.
            let _ = self.playbin.seek_simple(flags, to(position).min(end));
        }
    }

    /// Looks at the messages that there are.
    fn attend(&mut self) -> Next {
        while let Some(message) = self.bus.pop() {
            use gst::MessageView;
            match message.view() {
                MessageView::Element(element) => {
                    let report = element.structure().filter(|s| s.name() == "wmembed");
                    let fields =
                        report.map(|r| (r.get("detectability"), r.get("threshold"), r.get("weak")));
                    if let Some((Ok(score), Ok(threshold), Ok(weak))) = fields {
                        self.report = Some((score, threshold, weak));
                    }
                }
                MessageView::Latency(_) => {
                    // An element in the pipeline has another latency now.
                    if let Some(pipeline) = self.playbin.downcast_ref::<gst::Bin>() {
                        let _ = pipeline.recalculate_latency();
                    }
                }
                MessageView::Error(e) => {
                    println!("\r\n{}: {}\r", self.name, e.error());
                    return Next::Skip;
                }
                MessageView::Eos(_) => return Next::Skip,
                _ => (),
            }
        }
        Next::Play
    }

    /// The line that tells how it is.
    fn line(&self) -> String {
        let time = |time: Option<gst::ClockTime>| match time {
            Some(time) => format!("{}:{:02}", time.minutes(), time.seconds() % 60),
            None => "-:--".into(),
        };
        let paused = match self.playbin.current_state() {
            gst::State::Playing => "",
            _ => " (paused)",
        };
        let marked = match (self.embed.property::<bool>("enabled"), self.report) {
            (false, _) => "not marked".into(),
            (true, None) => "marked".into(),
            (true, Some((score, threshold, weak))) => format!(
                "marked{}, detectability {score:.1} of {threshold:.1}",
                if weak { " weakly" } else { "" }
            ),
        };
        format!(
            "{}  {} / {}{paused}  {marked}",
            self.name,
            time(self.playbin.query_position()),
            time(self.playbin.query_duration())
        )
    }
}

/// Plays one after the other.
fn play(player: &mut Player, programme: &[String]) -> Result<()> {
    let keys = Keys::new()?;
    for one in programme {
        player.play(one)?;
        loop {
            let mut next = player.attend();
            if matches!(next, Next::Play) {
                match &keys {
                    Some(keys) => {
                        if let Some(key) = keys.next()? {
                            next = player.handle(key);
                        }
                    }
                    None => std::thread::sleep(TICK),
                }
            }
            // What was there before and longer is overwritten to its end.
            print!("\r{}\x1b[K", player.line());
            std::io::stdout().flush()?;
            match next {
                Next::Play => (),
                Next::Skip => break,
                Next::Quit => return Ok(()),
            }
        }
        print!("\r\n");
    }
    Ok(())
}

fn run(arguments: &Arguments) -> Result<()> {
    gst::init()?;
    gstwm::plugin_register_static()?;
    let mut player = Player::new(arguments)?;
    let result = play(&mut player, &arguments.programme);
    player.playbin.set_state(gst::State::Null)?;
    println!();
    result
}

fn main() -> ExitCode {
    let Some(arguments) = Arguments::parse() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("player: {e}");
            ExitCode::FAILURE
        }
    }
}
