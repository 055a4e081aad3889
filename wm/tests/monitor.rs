// SPDX-License-Identifier: MIT OR Apache-2.0
//! `wm monitor` as it is built, on files and on streams of the loopback interface.

#[path = "../../tests/common/directory.rs"]
mod directory;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use directory::Directory;
use gst::prelude::*;
use serde_json::Value;

/// 64 hex digits: a passphrase would take its time in every test.
const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const OTHER_KEY: &str = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const PAYLOAD: &str = "00c0ffee";
/// Far more than is needed: only what stands still takes as long.
const LIMIT: Duration = Duration::from_secs(60);

/// What takes music.flac apart and marks it.
fn marked() -> String {
    gst::init().unwrap();
    gstwm::plugin_register_static().unwrap();
    let music = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/music.flac");
    format!(
        "filesrc location=\"{music}\" ! flacparse ! flacdec ! audioconvert ! audioresample \
         ! wmembed key={KEY} payload={PAYLOAD} ! audioconvert ! audioresample"
    )
}

/// Plays a pipeline, to its end if it has one.
fn play(description: &str) -> gst::Pipeline {
    let pipeline = gst::parse::launch(description).unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    pipeline.downcast().unwrap()
}

fn play_to_the_end(description: &str) {
    let pipeline = play(description);
    let types = [gst::MessageType::Eos, gst::MessageType::Error];
    let bus = pipeline.bus().unwrap();
    let message = bus.timed_pop_filtered(gst::ClockTime::NONE, &types);
    assert_eq!(
        message.unwrap().type_(),
        gst::MessageType::Eos,
        "{description}"
    );
    pipeline.set_state(gst::State::Null).unwrap();
}

/// A directory with `station.key`, `other.key` and the marked recording `marked.ogg`.
fn prepare(name: &str) -> Directory {
    let directory = Directory::new(name);
    directory.write("station.key", KEY);
    directory.write("other.key", OTHER_KEY);
    let out = directory.file("marked.ogg");
    play_to_the_end(&format!(
        "{} ! vorbisenc quality=0.5 ! oggmux ! filesink location=\"{out}\"",
        marked()
    ));
    directory
}

/// `wm monitor` while it runs.
struct Monitor {
    process: Child,
    lines: Receiver<String>,
    /// All events by now.
    events: Vec<Value>,
}

impl Monitor {
    fn start(directory: &Directory, arguments: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_wm"))
            .arg("monitor")
            .args(arguments)
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let lines = output.lines().map_while(Result::ok);
            lines.for_each(|line| drop(sender.send(line)));
        });
        Monitor {
            process,
            lines,
            events: Vec::new(),
        }
    }

    /// Waits for the next event of a kind; returns it.
    fn wait(&mut self, kind: &str) -> Value {
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no event {kind:?}, only {:#?}", self.events);
            };
            let event: Value = serde_json::from_str(&line).unwrap();
            self.events.push(event.clone());
            if event["event"] == kind {
                return event;
            }
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.unwrap().success());
    }

    /// Waits for the end of the process; takes in what it still wrote.
    fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.events.push(serde_json::from_str(&line).unwrap()),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(_) => panic!("it does not end: {:#?}", self.events),
            }
        }
        self.process.wait().unwrap()
    }

    /// What happened, in a word each, without repeated words of payloads.
    fn kinds(&self) -> Vec<&str> {
        let kinds = self.events.iter().map(|event| event["event"].as_str());
        kinds.map(Option::unwrap).collect()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How a server answers one request.
enum Answer {
    /// The whole recording, with its length.
    File,
    /// The whole recording, and the end.
    Whole,
    /// The first half of it, and then nothing until the client hangs up.
    Half,
    NotFound,
}

/// A radio station: no length is told, and nothing can be sought. Each request is answered as the test says.
fn serve(directory: &Directory, file: &str) -> (u16, Sender<Answer>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let recording = std::fs::read(directory.path().join(file)).unwrap();
    let (answers, next) = channel();
    std::thread::spawn(move || {
        // Before it is told how to answer, nobody gets in.
        for answer in next {
            let (stream, _) = listener.accept().unwrap();
            let recording = recording.clone();
            // A client that hangs up is no failure.
            std::thread::spawn(move || send(stream, &recording, &answer));
        }
    });
    (port, answers)
}

fn send(mut stream: TcpStream, recording: &[u8], answer: &Answer) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while lines
        .next()
        .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
    {}
    let status = match answer {
        Answer::NotFound => "404 Not Found",
        _ => "200 OK",
    };
    if let Answer::File = answer {
        let length = recording.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
        )?;
        return stream.write_all(recording);
    }
    write!(
        stream,
        "HTTP/1.0 {status}\r\nContent-Type: application/ogg\r\nConnection: close\r\n\r\n"
    )?;
    match answer {
        Answer::Whole => stream.write_all(recording),
        Answer::Half => {
            stream.write_all(&recording[..recording.len() / 2])?;
            stream.read(&mut [0]).map(drop)
        }
        Answer::NotFound | Answer::File => Ok(()),
    }
}

#[test]
fn a_stream_that_stops_is_opened_again() {
    let directory = prepare("monitor-http");
    let (port, answers) = serve(&directory, "marked.ogg");
    for answer in [Answer::Whole, Answer::NotFound, Answer::Half, Answer::Whole] {
        answers.send(answer).unwrap();
    }
    let station = format!("One=http://me:secret@127.0.0.1:{port}/live.ogg");
    let mut monitor = Monitor::start(
        &directory,
        &[
            "--key-file=station.key",
            "--first-wait=0.01",
            "--stall=1",
            &station,
        ],
    );
    let found = monitor.wait("found");
    assert!(found["score"].as_f64().unwrap() > 7.5, "{found}");
    assert_eq!(found["station"], "One");
    assert_eq!(monitor.wait("payload")["payload"], PAYLOAD);
    monitor.wait("lost");
    let stopped = monitor.wait("stopped");
    assert_eq!(stopped["reason"], "the stream ended");
    assert!(
        (0.01..=0.02).contains(&stopped["retry_in"].as_f64().unwrap()),
        "{stopped}"
    );
    let error = monitor.wait("error");
    assert_eq!(error["reason"], "Not Found");
    monitor.wait("found");
    monitor.wait("lost");
    let stalled = monitor.wait("stopped");
    assert_eq!(stalled["reason"], "no audio for 1 s");
    monitor.wait("found");
    monitor.signal("TERM");
    let status = monitor.end();
    assert_eq!(status.code(), Some(0));

    let mut kinds = monitor.kinds();
    kinds.retain(|kind| *kind != "payload");
    let expected = [
        "connecting",
        "playing",
        "found",
        "lost",
        "stopped",
        "connecting",
        "error",
        "connecting",
        "playing",
        "found",
        "lost",
        "stopped",
        "connecting",
        "playing",
        "found",
    ];
    assert_eq!(kinds[..expected.len()], expected);
    let all = format!("{:?}", monitor.events);
    assert!(!all.contains("secret") && !all.contains("me:"), "{all}");
    assert_eq!(
        monitor.events[0]["uri"],
        format!("http://127.0.0.1:{port}/live.ogg")
    );
}

#[test]
fn a_recording_at_a_server_is_over_when_it_ends() {
    let directory = prepare("monitor-length");
    let out = directory.file("marked.wav");
    play_to_the_end(&format!(
        "{} ! wavenc ! filesink location=\"{out}\"",
        marked()
    ));
    let (port, answers) = serve(&directory, "marked.wav");
    answers.send(Answer::File).unwrap();
    let uri = format!("http://127.0.0.1:{port}/marked.wav");
    let mut monitor = Monitor::start(&directory, &["--key-file=station.key", "--fast", &uri]);
    assert_eq!(monitor.end().code(), Some(0));
    let expected = ["connecting", "playing", "found", "payload", "lost", "ended"];
    assert_eq!(monitor.kinds(), expected);
}

#[test]
fn files_end_and_events_are_appended() {
    let directory = prepare("monitor-files");
    directory.write("stations.txt", "# two of them\nTwo marked.ogg\n");
    directory.write("events.jsonl", "what was there before\n");
    let mut monitor = Monitor::start(
        &directory,
        &[
            "--key-file=other.key",
            "--key-file=station.key",
            "--fast",
            "--events=events.jsonl",
            "--list=stations.txt",
            "One=marked.ogg",
        ],
    );
    assert_eq!(monitor.end().code(), Some(0));
    for name in ["One", "Two"] {
        let events = monitor
            .events
            .iter()
            .filter(|event| event["station"] == name);
        let kinds: Vec<_> = events
            .clone()
            .map(|event| event["event"].as_str().unwrap())
            .collect();
        assert_eq!(
            kinds,
            ["connecting", "playing", "found", "payload", "lost", "ended"]
        );
        for event in events.filter(|event| event["score"].is_f64()) {
            assert_eq!(event["key_index"], 1, "{event}");
        }
    }
    let text = std::fs::read_to_string(directory.path().join("events.jsonl")).unwrap();
    let (before, lines) = text.split_once('\n').unwrap();
    assert_eq!(before, "what was there before");
    let lines: Vec<Value> = lines
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.len(), monitor.events.len());
}

#[test]
fn the_exit_status_tells_what_came_of_it() {
    let directory = prepare("monitor-status");
    let status = |arguments: &[&str]| Monitor::start(&directory, arguments).end().code();
    for (key, file, expected) in [
        ("station.key", "marked.ogg", 0),
        ("other.key", "marked.ogg", 1),
        ("missing.key", "marked.ogg", 2),
        ("station.key", "missing.ogg", 2),
    ] {
        let key = format!("--key-file={key}");
        assert_eq!(status(&[&key, "--fast", file]), Some(expected), "{file}");
    }
}

/// A key that a program gives out once, as a store of passwords does, is there for every stream.
#[test]
fn a_key_is_read_once() {
    let directory = prepare("monitor-key");
    let pipe = directory.file("pipe.key");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let mut monitor = Monitor::start(
        &directory,
        &["--key-file=pipe.key", "--fast", "marked.ogg", "marked.ogg"],
    );
    std::fs::write(&pipe, KEY).unwrap();
    for _ in 0..2 {
        monitor.wait("found");
    }
}

/// Sends the marked recording in packets, in real time.
fn send_packets(port: u16) -> gst::Pipeline {
    play(&format!(
        "{} ! opusenc bitrate=96000 ! rtpopuspay ! udpsink host=127.0.0.1 port={port}",
        marked()
    ))
}

#[test]
fn packets_are_listened_for_all_the_time() {
    let directory = prepare("monitor-rtp");
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = socket.local_addr().unwrap().port();
    drop(socket);
    let station = format!("rtp://127.0.0.1:{port}?encoding=opus");
    let mut monitor = Monitor::start(
        &directory,
        &["--key-file=station.key", "--stall=1", &station],
    );
    for _ in 0..2 {
        monitor.wait("connecting");
        let sender = send_packets(port);
        assert_eq!(monitor.wait("payload")["payload"], PAYLOAD);
        sender.set_state(gst::State::Null).unwrap();
        let stopped = monitor.wait("stopped");
        assert_eq!(
            (&stopped["reason"], &stopped["retry_in"]),
            (&"no audio for 1 s".into(), &0.0.into())
        );
    }
    monitor.signal("INT");
    assert_eq!(monitor.end().code(), Some(0));
}
