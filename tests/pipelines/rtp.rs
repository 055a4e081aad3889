// SPDX-License-Identifier: MIT OR Apache-2.0

use crate::common::{self, Random};
use crate::live::Live;
use crate::{BASE, GOOD, assert_heard, detectors, heard, marked};
use gst::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Drops 2 % of the packets of a payloader; counts them.
fn lose(sender: &gst::Pipeline) -> Arc<AtomicUsize> {
    let dropped = Arc::new(AtomicUsize::new(0));
    let count = dropped.clone();
    let random = std::sync::Mutex::new(Random::new(1));
    let pad = sender.by_name("pay").unwrap().static_pad("src").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        if random.lock().unwrap().uniform() >= 0.02 {
            return gst::PadProbeReturn::Ok;
        }
        count.fetch_add(1, Ordering::Relaxed);
        gst::PadProbeReturn::Drop
    })
    .unwrap();
    dropped
}

#[test]
fn found_behind_opus_over_rtp_that_loses_packets() {
    common::need(&[
        ("opusenc", BASE),
        ("rtpopuspay", GOOD),
        ("udpsink", GOOD),
        ("rtpjitterbuffer", GOOD),
    ]);
    let listener = common::pipeline(&format!(
        "udpsrc name=in address=127.0.0.1 port=0 \
         caps=application/x-rtp,media=audio,clock-rate=48000,encoding-name=OPUS,payload=96 \
         ! rtpjitterbuffer name=jitter do-lost=true ! rtpopusdepay ! opusdec name=decode plc=true ! {}",
        detectors()
    ));
    let mut live = Live::new();
    live.start(&listener);
    let element = |name| listener.by_name(name).unwrap();
    let port: i32 = element("in").property("port");
    let sender = common::pipeline(&format!(
        "{} ! opusenc bitrate=64000 ! rtpopuspay name=pay ! udpsink host=127.0.0.1 port={port}",
        marked("music.flac")
    ));
    let dropped = lose(&sender);
    live.start(&sender);
    live.wait("6 s of the mark", |live| heard(&live.heard) >= 6.0);
    assert_heard(&live.heard, 6.0);

    // Packets were lost, and told to the decoder, which made up for them.
    let dropped = dropped.load(Ordering::Relaxed) as u64;
    let stats: gst::Structure = element("jitter").property("stats");
    let lost: u64 = stats.get("num-lost").unwrap();
    assert!((1..=dropped).contains(&lost), "{lost} of {dropped}");
    let stats: gst::Structure = element("decode").property("stats");
    let concealed: u64 = stats.get("plc-num-samples").unwrap();
    assert!(concealed >= lost * 960, "{stats}");
}
