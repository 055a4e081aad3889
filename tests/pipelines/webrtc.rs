// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two WebRTC peers in one process, with signalling by hand.

use crate::common::{self, KEY, Message, OTHER_KEY};
use crate::live::Live;
use crate::recipes::Recipe;
use crate::{BAD, BASE, GOOD, assert_heard, heard};
use gst::glib;
use gst::prelude::*;

/// Asks a peer for an `offer` or an `answer`, which becomes its own description and the other's remote one.
fn describe(
    peer: &gst::Element,
    other: &gst::Element,
    what: &'static str,
    then: impl FnOnce() + Send + 'static,
) {
    let (from, to) = (peer.clone(), other.clone());
    let promise = gst::Promise::with_change_func(move |reply| {
        let reply = reply.expect("a reply").expect("a description");
        let description: &glib::Value = reply.value(what).unwrap();
        for (peer, side) in [(from, "local"), (to, "remote")] {
            let none = None::<gst::Promise>.to_value();
            let signal = format!("set-{side}-description");
            peer.emit_by_name_with_values(&signal, &[description.clone(), none]);
        }
        then();
    });
    let options = None::<gst::Structure>;
    peer.emit_by_name::<()>(&format!("create-{what}"), &[&options, &promise]);
}

/// Agrees with the other peer as soon as this one knows what it has to send.
fn negotiate(peer: &gst::Element, other: &gst::Element) {
    let other = other.downgrade();
    peer.connect("on-negotiation-needed", false, move |values| {
        let peer: gst::Element = values[0].get().unwrap();
        let other = other.upgrade()?;
        let (asked, answering) = (peer.clone(), other.clone());
        describe(&peer, &other, "offer", move || {
            describe(&answering, &asked, "answer", || ());
        });
        None
    });
}

/// Tells the other peer how this one can be reached: by the loopback interface only.
fn tell_candidates(peer: &gst::Element, other: &gst::Element) {
    let agent: glib::Object = peer.property("ice-agent");
    let address = "127.0.0.1";
    assert!(agent.emit_by_name::<bool>("add-local-ip-address", &[&address]));
    let other = other.downgrade();
    peer.connect("on-ice-candidate", false, move |values| {
        let other = other.upgrade()?;
        other.emit_by_name_with_values("add-ice-candidate", &values[1..]);
        None
    });
}

/// Links what a peer receives to the elements of `description`.
fn receive(listener: &gst::Pipeline, peer: &gst::Element, description: String) {
    let listener = listener.downgrade();
    peer.connect_pad_added(move |_, pad| {
        let Some(listener) = listener.upgrade() else {
            return;
        };
        let bin = gst::parse::bin_from_description(&description, true).unwrap();
        listener.add(&bin).unwrap();
        pad.link(&bin.static_pad("sink").unwrap()).unwrap();
        bin.sync_state_with_parent().unwrap();
    });
}

/// What the manual says of both sides, with two more detectors.
fn descriptions(recipe: &Recipe) -> [String; 2] {
    let [sender, listener] = recipe.descriptions().try_into().unwrap();
    let before = format!("wmdetect name=before key={KEY} ! wmembed");
    let others = format!("wmdetect name=other key={OTHER_KEY} ! wmdetect name=after");
    assert!(sender.contains("wmembed") && listener.contains("wmdetect"));
    [
        sender.replace("wmembed", &before),
        listener.replace("wmdetect", &others),
    ]
}

/// Messages from the place on from which the audio has no break. While the peers come together, pieces of it are lost,
/// and so is a mark that was found before. As the programme lasts 9 s and 5 s of it are asked for, that is over after 4
/// s.
fn connected(messages: &[Message]) -> &[Message] {
    let found = messages
        .iter()
        .rposition(|message| message.state() == "found");
    &messages[found.unwrap_or(0)..]
}

#[test]
fn found_by_the_other_webrtc_peer() {
    common::need(&[
        ("opusenc", BASE),
        ("rtpopuspay", GOOD),
        ("webrtcbin", BAD),
        ("dtlsdec", BAD),
        ("srtpdec", BAD),
        ("nicesrc", "gstreamer1.0-nice"),
    ]);
    let recipe = Recipe::new("WebRTC");
    let [sender, received] = descriptions(&recipe);
    let sender = common::pipeline(&sender);
    let listener = gst::Pipeline::new();
    let peers = [&sender, &listener].map(|pipeline| {
        pipeline.by_name("peer").unwrap_or_else(|| {
            let peer = gst::ElementFactory::make("webrtcbin").build().unwrap();
            pipeline.add(&peer).unwrap();
            peer
        })
    });
    tell_candidates(&peers[0], &peers[1]);
    tell_candidates(&peers[1], &peers[0]);
    receive(&listener, &peers[1], received);
    negotiate(&peers[0], &peers[1]);
    let mut live = Live::new();
    live.start(&listener);
    live.start(&sender);
    live.wait("5 s of the mark", |live| {
        heard(connected(&live.heard)) >= 5.0
    });
    assert_heard(connected(&live.heard), 5.0);
}
