// SPDX-License-Identifier: MIT OR Apache-2.0
//! The station of `examples/radio.rs` at a real Icecast server, which goes away in the midst of it.

#[path = "../../examples/radio.rs"]
mod station;

use crate::common::{self, Directory, KEY, OTHER_KEY};
use crate::icecast::{Icecast, PASSWORD};
use crate::live::Live;
use crate::{BASE, GOOD};
use gst::prelude::*;
use station::{Input, Outlet, Station, broadcast, send};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

const PAYLOAD: &str = "00c0ffee";

fn station(directory: &Directory, port: u16, programme: &[&str]) -> Station {
    let key_file = directory.write("station.key", KEY);
    std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600)).unwrap();
    Station {
        key_file: key_file.to_str().unwrap().into(),
        host: "127.0.0.1".into(),
        port,
        mount: "/radio.ogg".into(),
        password: PASSWORD.into(),
        payload: PAYLOAD.into(),
        row_clock: "utc".into(),
        programme: programme.iter().map(|file| common::data(file)).collect(),
        once: false,
    }
}

/// Listens until the payload has been read.
fn assert_heard(port: u16) {
    let mut live = Live::new();
    live.start(&common::pipeline(&format!(
        "souphttpsrc location=http://127.0.0.1:{port}/radio.ogg is-live=true ! oggdemux ! vorbisdec ! audioconvert \
         ! wmdetect name=after key={KEY} row-clock=utc ! wmdetect name=other key={OTHER_KEY} row-clock=utc \
         ! fakesink sync=false"
    )));
    live.wait("payload", |live| {
        let read = |message: &common::Message| message.fields.get::<&str>("payload") == Ok(PAYLOAD);
        live.heard.iter().any(read)
    });
    assert!(
        live.heard.iter().all(|message| message.from == "after"),
        "{:?}",
        live.heard
    );
}

#[test]
fn a_station_is_on_the_air_again_when_the_server_is_back() {
    common::need(&[
        ("playbin", BASE),
        ("vorbisenc", BASE),
        ("oggmux", BASE),
        ("shout2send", GOOD),
        ("souphttpsrc", GOOD),
    ]);
    let server = Icecast::start("radio");
    let port = server.port;
    let directory = Directory::new("radio-key");
    // The first one is no audio: it is left out.
    let station = station(
        &directory,
        port,
        &["README.md", "speech.flac", "music.flac"],
    );
    let stop = Arc::new(AtomicBool::new(false));
    let on_air = {
        let stop = stop.clone();
        std::thread::spawn(move || broadcast(&station, &stop))
    };
    server.wait_for_mount("/radio.ogg");
    assert_heard(port);
    drop(server);
    let server = Icecast::start_at("radio-again", port);
    server.wait_for_mount("/radio.ogg");
    assert_heard(port);
    stop.store(true, Ordering::SeqCst);
    on_air.join().unwrap().unwrap();
}

#[test]
fn a_connection_can_be_replaced_while_audio_is_sent() {
    common::init();
    // Full with the first buffer, of which it tells within the push.
    let source = gst_app::AppSrc::builder().max_bytes(1).build();
    let outlet = Outlet::default();
    let told = Arc::new(Mutex::new(Vec::new()));
    let (into, shared) = (told.clone(), outlet.clone());
    let enough = move |_: &gst_app::AppSrc| {
        into.lock().unwrap().push(shared.try_lock().is_ok());
    };
    let callbacks = gst_app::AppSrcCallbacks::builder();
    source.set_callbacks(callbacks.enough_data(enough).build());
    source.set_state(gst::State::Paused).unwrap();
    let start = gst::ClockTime::ZERO;
    *outlet.lock().unwrap() = Some(Input::new(source.clone(), start));
    for _ in 0..3 {
        send(&outlet, &gst::Buffer::from_slice([0; 80]));
    }
    let free = told.lock().unwrap();
    assert!(
        !free.is_empty() && free.iter().all(|free| *free),
        "{free:?}"
    );
    source.set_state(gst::State::Null).unwrap();
}
