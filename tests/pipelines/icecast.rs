// SPDX-License-Identifier: MIT OR Apache-2.0
//! A real Icecast server.

use crate::common::{self, Directory};
use crate::live::{LIMIT, Live};
use crate::server::free_port;
use crate::{BASE, GOOD, assert_heard, detectors, marked};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

/// The password of whoever wants to send.
pub const PASSWORD: &str = "hackme";

/// A server of its own, which ends with the test.
pub struct Icecast {
    process: Child,
    log: Receiver<String>,
    pub port: u16,
    /// Of its configuration.
    _directory: Directory,
}

impl Icecast {
    pub fn start(name: &str) -> Self {
        Self::start_at(name, free_port())
    }

    pub fn start_at(name: &str, port: u16) -> Self {
        let directory = Directory::new(name);
        let configuration = directory.write("icecast.xml", configuration(&directory, port));
        let mut process = Command::new("icecast2")
            .arg("-c")
            .arg(configuration)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("icecast2 does not start: install the Debian package icecast2 (make deps)");
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let (sender, log) = channel();
        // It is read to its end, so that the server never has to wait.
        std::thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .for_each(|line| drop(sender.send(line)));
        });
        let server = Icecast {
            process,
            log,
            port,
            _directory: directory,
        };
        server.wait_for("server started");
        server
    }

    /// Waits until there is such a line in its log.
    fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + LIMIT;
        let mut log = Vec::new();
        while log.last().is_none_or(|line: &String| !line.contains(text)) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.log.recv_timeout(left) {
                Ok(line) => log.push(line),
                Err(_) => panic!("Icecast does not say {text:?}, only {log:#?}"),
            }
        }
    }

    /// Waits until somebody sends to this mount.
    pub fn wait_for_mount(&self, mount: &str) {
        self.wait_for(&format!("listener count on {mount} now 0"));
    }
}

impl Drop for Icecast {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn configuration(directory: &Directory, port: u16) -> String {
    // It refuses to run as root, and then wants to be told who to be.
    let user = match std::fs::metadata(directory.path()).unwrap().uid() {
        0 => "<changeowner><user>nobody</user><group>nogroup</group></changeowner>",
        _ => "",
    };
    let here = directory.path().display();
    format!(
        "<icecast>
           <hostname>localhost</hostname><location>here</location><admin>nobody</admin>
           <authentication><source-password>{PASSWORD}</source-password></authentication>
           <listen-socket><port>{port}</port><bind-address>127.0.0.1</bind-address></listen-socket>
           <paths>
             <basedir>{here}</basedir><logdir>{here}</logdir>
             <webroot>{here}</webroot><adminroot>{here}</adminroot>
           </paths>
           <logging><accesslog>-</accesslog><errorlog>-</errorlog></logging>
           <security>{user}</security>
         </icecast>"
    )
}

#[test]
fn found_behind_vorbis_from_an_icecast_server() {
    common::need(&[
        ("vorbisenc", BASE),
        ("oggmux", BASE),
        ("shout2send", GOOD),
        ("souphttpsrc", GOOD),
    ]);
    let server = Icecast::start("icecast");
    let port = server.port;
    let mut live = Live::new();
    live.start(&common::pipeline(&format!(
        "{} ! vorbisenc bitrate=96000 ! oggmux \
         ! shout2send ip=127.0.0.1 port={port} password={PASSWORD} mount=/live.ogg",
        marked("speech.flac")
    )));
    server.wait_for_mount("/live.ogg");
    live.start(&common::pipeline(&format!(
        "souphttpsrc location=http://127.0.0.1:{port}/live.ogg is-live=true ! oggdemux ! vorbisdec ! {}",
        detectors()
    )));
    live.wait("end of what is sent", |live| live.ended.contains(&0));
    live.stop(0);
    live.wait("end of what is heard", |live| live.ended.contains(&1));
    assert_heard(&live.heard, 7.0);
}
