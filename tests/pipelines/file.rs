// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be played faster than it lasts: players, transport streams, HLS.

use crate::common::{self, Directory, KEY, Message, play};
use crate::server::serve;
use crate::{BAD, BASE, GOOD, LIBAV, assert_heard, detectors, marked};
use gst::prelude::*;

const AAC: [(&str, &str); 3] = [
    ("avenc_aac", LIBAV),
    ("aacparse", GOOD),
    ("avdec_aac", LIBAV),
];

/// A player with an audio filter, which plays into these elements.
fn player(path: &str, filter: &str, sink: &str) -> gst::Pipeline {
    common::need(&[("playbin", BASE)]);
    let bin = |description| gst::parse::bin_from_description(description, true).unwrap();
    let player = gst::ElementFactory::make("playbin").build().unwrap();
    player.set_property("uri", gst::glib::filename_to_uri(path, None).unwrap());
    player.set_property("audio-filter", bin(filter));
    player.set_property("audio-sink", bin(sink));
    player.downcast().unwrap()
}

#[test]
fn found_by_a_player_in_what_a_player_marked() {
    common::init();
    let directory = Directory::new("player");
    let file = directory.file("marked.flac");
    common::need(&[("flacparse", GOOD), ("flacdec", GOOD), ("flacenc", GOOD)]);
    let mut messages = play(&player(
        &common::data("music.flac"),
        &format!("wmdetect name=before key={KEY} ! wmembed key={KEY}"),
        &format!("audioconvert ! flacenc ! filesink location={file}"),
    ));
    let filter = detectors().replace(" ! fakesink sync=false", "");
    messages.extend(play(&player(&file, &filter, "fakesink sync=false")));
    assert_heard(&messages, 8.0);
}

#[test]
fn found_in_a_transport_stream_with_aac() {
    common::need(&AAC);
    common::need(&[("mpegtsmux", BAD), ("tsdemux", BAD)]);
    let directory = Directory::new("ts");
    let file = directory.file("marked.ts");
    let mut messages = play(&common::pipeline(&format!(
        "{} ! avenc_aac bitrate=96000 ! mpegtsmux ! filesink location={file}",
        marked("speech.flac")
    )));
    messages.extend(play(&common::pipeline(&format!(
        "filesrc location={file} ! tsdemux ! aacparse ! avdec_aac ! {}",
        detectors()
    ))));
    assert_heard(&messages, 8.0);
}

/// Writes 5 s of HLS segments and their playlist; returns what the detectors said before the mark.
///
/// As fast as the audio is heard: faster, hlssink2 of GStreamer 1.22 does not always come to its end.
fn write_segments(directory: &Directory) -> Vec<Message> {
    common::need(&AAC);
    common::need(&[("hlssink2", BAD), ("hlsdemux", BAD), ("souphttpsrc", GOOD)]);
    let messages = play(&common::pipeline(&format!(
        "{} ! identity eos-after=60 ! clocksync ! avenc_aac bitrate=96000 \
         ! hlssink2 target-duration=1 playlist-length=0 max-files=0 location={} playlist-location={}",
        marked("music.flac"),
        directory.file("segment%05d.ts"),
        directory.file("stream.m3u8"),
    )));
    let files = std::fs::read_dir(directory.path()).unwrap().count();
    assert!((5..=8).contains(&files), "{files} files");
    messages
}

#[test]
fn found_in_hls_segments_from_a_server() {
    let directory = Directory::new("hls");
    let mut messages = write_segments(&directory);
    let port = serve(directory.path());
    messages.extend(play(&common::pipeline(&format!(
        "souphttpsrc location=http://127.0.0.1:{port}/stream.m3u8 ! hlsdemux ! tsdemux ! aacparse ! avdec_aac ! {}",
        detectors()
    ))));
    assert_heard(&messages, 4.5);
}
