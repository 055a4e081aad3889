// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ctrl-C leaves nothing half-written behind.
#![cfg(unix)]

mod common;

use std::fs::OpenOptions;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::{Place, Ran};

/// A header of a WAV file of 48 kHz, 16 bits, two channels, and of no length that is known.
fn wav_header() -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(b"RIFF\xff\xff\xff\x7fWAVEfmt \x10\0\0\0\x01\0\x02\0");
    header.extend(48_000u32.to_le_bytes());
    header.extend(192_000u32.to_le_bytes());
    header.extend(b"\x04\0\x10\0data\xdb\xff\xff\x7f");
    header
}

#[test]
fn an_interrupted_file_is_gone() {
    for signal in ["INT", "TERM"] {
        let place = Place::new();
        // A file without an end: the pipe takes no more before the first megabytes are in the works.
        let made = Command::new("mkfifo")
            .arg(place.path("in.wav"))
            .status()
            .unwrap();
        assert!(made.success());
        let mut running = place
            .command("embed in.wav out.wav -k station.key".split(' '))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (done, written) = mpsc::channel();
        let path = place.path("in.wav");
        std::thread::spawn(move || {
            // Open at both ends, since the reader opens it more than once.
            let mut pipe = OpenOptions::new().read(true).write(true).open(path)?;
            // Together with the header: by its few bytes alone nobody knows what the file is.
            let mut piece = wav_header();
            piece.resize(1 << 20, 0);
            for _ in 0..64 {
                pipe.write_all(&piece)?;
                piece.fill(0);
            }
            // It stays open: the file does not end by itself.
            let _ = done.send(pipe);
            std::io::Result::Ok(())
        });
        let pipe = written.recv_timeout(Duration::from_secs(60));
        if pipe.is_err() {
            let _ = running.kill();
            panic!("nothing is read: {:?}", running.wait_with_output());
        }
        let names = place.names();
        assert_eq!(
            names.len(),
            2,
            "one on its way, beside the input: {names:?}"
        );
        assert!(!names.contains(&"out.wav".to_owned()), "{names:?}");
        let killed = Command::new("kill")
            .args(["-s", signal, &running.id().to_string()])
            .status()
            .unwrap();
        assert!(killed.success());
        let id = running.id();
        let (done, ended) = mpsc::channel();
        std::thread::spawn(move || done.send(running.wait_with_output()));
        let output = ended.recv_timeout(Duration::from_secs(60));
        let Ok(output) = output else {
            let _ = Command::new("kill")
                .args(["-s", "KILL", &id.to_string()])
                .status();
            panic!("SIG{signal} does not end it");
        };
        let ran = Ran::new(output.unwrap());
        assert_eq!(ran.code, 130, "{ran:?}");
        assert_eq!(ran.output, "");
        assert_eq!(place.names(), ["in.wav"]);
    }
}

/// Whether a thread of a process waits for somebody to open a pipe at the other end.
#[cfg(target_os = "linux")]
fn waits_for_writer(id: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).into_iter();
    let mut where_they_wait = threads
        .flatten()
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("wchan")).ok());
    where_they_wait.any(|function| function == "wait_for_partner")
}

/// A pipe that nobody opens at the other end holds GStreamer up where it cannot be told to end.
#[test]
#[cfg(target_os = "linux")]
fn whoever_asks_again_need_not_wait() {
    let place = Place::new();
    let made = Command::new("mkfifo").arg(place.path("in.wav")).status();
    assert!(made.unwrap().success());
    let running = place
        .command("detect in.wav -k station.key".split(' '))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let id = running.id();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !waits_for_writer(id) {
        assert!(Instant::now() < deadline, "the pipe is not opened");
        std::thread::yield_now();
    }
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || done.send(running.wait_with_output()));
    let signal = |name| {
        let _ = Command::new("kill")
            .args(["-s", name, &id.to_string()])
            .status();
    };
    let output = loop {
        signal("INT");
        if let Ok(output) = ended.recv_timeout(Duration::from_millis(100)) {
            break output.unwrap();
        }
        if Instant::now() > deadline {
            signal("KILL");
            panic!("SIGINT does not end it");
        }
    };
    assert_eq!(Ran::new(output).code, 130);
}
