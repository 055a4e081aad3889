// SPDX-License-Identifier: MIT OR Apache-2.0
//! In a live pipeline `wmembed` holds the audio for exactly as long as it says, to the frame, and the sink
//! waits for exactly that long.

mod common;

use common::harness::{buffer, element, harness, info, messages, time};
use common::{KEY, Random};
use gst::prelude::*;
use gst_audio::AudioFormat;
use gst_base::prelude::BaseSinkExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Latency of the source in these pipelines.
const SOURCE: gst::ClockTime = gst::ClockTime::from_mseconds(20);

struct Live {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    embed: gst::Element,
    sink: gst_app::AppSink,
    rate: u32,
}

impl Live {
    fn new(rate: u32, lookahead: bool, sync: bool) -> Self {
        Self::behind(rate, lookahead, sync, "identity")
    }

    /// With something between the source and wmembed.
    fn behind(rate: u32, lookahead: bool, sync: bool, between: &str) -> Self {
        let pipeline = common::pipeline(&format!(
            "appsrc name=source is-live=true format=time min-latency={0} max-latency={0} \
             caps=audio/x-raw,format=F32LE,rate={rate},channels=1,layout=interleaved \
             ! {between} ! wmembed name=embed key={KEY} lookahead={lookahead} ! appsink name=sink sync={sync} processing-deadline=0",
            SOURCE.nseconds()
        ));
        Live {
            source: pipeline.by_name("source").unwrap().downcast().unwrap(),
            embed: pipeline.by_name("embed").unwrap(),
            sink: pipeline.by_name("sink").unwrap().downcast().unwrap(),
            pipeline,
            rate,
        }
    }

    /// Pushes a buffer of one frame.
    fn push(&self, frame: usize, sample: f32) {
        let mut buffer = gst::Buffer::from_slice(sample.to_le_bytes());
        let time = frame as u64 * 1_000_000_000 / u64::from(self.rate);
        let pts = gst::ClockTime::from_nseconds(time);
        buffer.get_mut().unwrap().set_pts(pts);
        self.source.push_buffer(buffer).unwrap();
    }

    /// The latency property, in frames.
    fn frames(&self) -> usize {
        let nanoseconds = self.embed.property::<u64>("latency");
        (nanoseconds * u64::from(self.rate) / 1_000_000_000) as usize
    }

    /// What the sink hears when it asks for the latency.
    fn query(&self) -> (bool, gst::ClockTime) {
        let mut query = gst::query::Latency::new();
        let pad = self.sink.static_pad("sink").unwrap();
        assert!(pad.peer_query(&mut query));
        let (live, min, _) = query.result();
        (live, min)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

#[test]
fn each_frame_leaves_when_the_latency_has_passed() {
    for (rate, lookahead) in [
        (16_000, true),
        (44_100, true),
        (48_000, true),
        (16_000, false),
        (44_100, false),
    ] {
        let live = Live::new(rate, lookahead, false);
        let what = format!("{rate} Hz, lookahead {lookahead}");
        // Both probes run in the streaming thread, so what they see does not depend on time.
        let arrived = Arc::new(AtomicUsize::new(0));
        let left = Arc::new(Mutex::new(Vec::new()));
        let pad = |name| live.embed.static_pad(name).unwrap();
        let counter = arrived.clone();
        pad("sink").add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            counter.fetch_add(1, Ordering::SeqCst);
            gst::PadProbeReturn::Ok
        });
        let (counter, seen) = (arrived.clone(), left.clone());
        pad("src").add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let buffer = info.buffer().unwrap();
            let samples: Vec<f32> = buffer
                .map_readable()
                .unwrap()
                .as_chunks()
                .0
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect();
            let arrived = counter.load(Ordering::SeqCst);
            seen.lock()
                .unwrap()
                .push((arrived, buffer.pts().unwrap(), samples));
            gst::PadProbeReturn::Ok
        });
        live.pipeline.set_state(gst::State::Playing).unwrap();

        // A click in soft noise: nothing else is as loud.
        let (click, frames) = (rate as usize / 10, rate as usize / 2);
        let mut random = Random::new(3);
        for frame in 0..frames {
            let noise = 0.01 * random.noise();
            live.push(frame, if frame == click { 1.0 } else { noise });
        }
        live.source.end_of_stream().unwrap();
        while live.sink.pull_sample().is_ok() {}

        let latency = live.frames();
        assert!(latency > rate as usize / 100, "{what}: {latency}");
        let (is_live, min) = live.query();
        let nanoseconds = (latency as u64 * 1_000_000_000).div_ceil(u64::from(rate));
        assert!(is_live, "{what}");
        assert_eq!(
            min,
            SOURCE + gst::ClockTime::from_nseconds(nanoseconds),
            "{what}"
        );

        let left = left.lock().unwrap();
        let mut first = 0;
        for (arrived, pts, samples) in left.iter() {
            let expected = first as u64 * 1_000_000_000 / u64::from(rate);
            assert_eq!(pts.nseconds(), expected, "{what}, frame {first}");
            if *arrived < frames {
                // The newest frame that leaves is as old as the latency.
                let newest = first + samples.len() - 1;
                assert_eq!(arrived - 1 - newest, latency, "{what}, frame {newest}");
            }
            for (i, sample) in samples.iter().enumerate() {
                let is_click = first + i == click;
                assert_eq!(sample.abs() > 0.5, is_click, "{what}, frame {}", first + i);
            }
            first += samples.len();
        }
        assert_eq!(first, frames, "{what}");
        assert!(
            left.iter()
                .filter(|(arrived, ..)| *arrived < frames)
                .count()
                > frames / 8
        );
    }
}

#[test]
fn the_sink_waits_for_the_latency() {
    for lookahead in [true, false] {
        let live = Live::new(48_000, lookahead, true);
        live.pipeline.set_state(gst::State::Playing).unwrap();
        // Enough for the sink to get its first buffer.
        (0..24_000).for_each(|frame| live.push(frame, 0.0));
        // The caps come with the first buffer, and with the caps the latency. Applications are to answer.
        let bus = live.pipeline.bus().unwrap();
        let message = bus
            .timed_pop_filtered(gst::ClockTime::NONE, &[gst::MessageType::Latency])
            .unwrap();
        assert_eq!(
            message.src().map(|source| source.name()).as_deref(),
            Some("embed")
        );
        live.pipeline.state(gst::ClockTime::NONE).0.unwrap();
        live.pipeline.recalculate_latency().unwrap();
        let own = gst::ClockTime::from_nseconds(live.embed.property("latency"));
        assert!(own > gst::ClockTime::from_mseconds(if lookahead { 288 } else { 10 }));
        let sink: &gst_base::BaseSink = live.sink.dynamic_cast_ref().unwrap();
        assert_eq!(sink.latency(), SOURCE + own);
    }
}

#[test]
fn latency_is_what_it_says() {
    let rates = [
        8_000, 11_025, 16_000, 22_050, 32_000, 37_800, 44_100, 48_000, 88_200, 96_000, 176_400,
        192_000, 8_001, 191_999,
    ];
    let cases = rates.map(|rate| [(rate, true), (rate, false)]);
    for (rate, lookahead) in cases.into_iter().flatten() {
        let info = info(AudioFormat::F32le, rate, 1);
        let wmembed = element("wmembed");
        wmembed.set_property("lookahead", lookahead);
        let mut harness = harness(&wmembed, &info);
        harness.set_upstream_latency(gst::ClockTime::from_mseconds(20));
        // An impulse first, then silence: once a buffer comes out, the impulse is in it.
        let mut pushed = 0;
        let first = loop {
            let sample: f32 = if pushed == 0 { 1.0 } else { 0.0 };
            harness
                .push(buffer(&sample.to_le_bytes(), Some(time(pushed, rate))))
                .unwrap();
            if let Some(buffer) = harness.try_pull() {
                break buffer;
            }
            pushed += 1;
        };
        assert_eq!(first.pts(), Some(gst::ClockTime::ZERO));
        let sample = f32::from_le_bytes(first.map_readable().unwrap()[..4].try_into().unwrap());
        assert!(
            sample > 0.5,
            "the impulse is in the first frame, which is {sample}"
        );
        let nanoseconds = (pushed as u64 * 1_000_000_000).div_ceil(u64::from(rate));
        assert_eq!(wmembed.property::<u64>("latency"), nanoseconds);
        let queried = harness.query_latency().unwrap();
        assert_eq!(queried.nseconds(), nanoseconds + 20_000_000);
    }
}

#[test]
fn a_new_latency_is_announced() {
    let wmembed = element("wmembed");
    let mut before = 0;
    let mut harness = gst_check::Harness::with_element(&wmembed, Some("sink"), Some("src"));
    let (mut changes, mut stays) = (0, 0);
    for rate in [48_000, 44_100, 22_050, 37_800, 37_800, 48_000] {
        let notified = Arc::new(AtomicUsize::new(0));
        let count = notified.clone();
        let handler = wmembed.connect_notify(Some("latency"), move |_, _| {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let info = info(AudioFormat::F32le, rate, 1);
        let messages = messages(&wmembed, || harness.set_src_caps(info.to_caps().unwrap()));
        wmembed.disconnect(handler);
        let after: u64 = wmembed.property("latency");
        let announced = messages
            .iter()
            .filter(|m| m.type_() == gst::MessageType::Latency);
        let expected = usize::from(before != after);
        assert_eq!(announced.count(), expected, "{rate}");
        assert_eq!(notified.load(Ordering::SeqCst), expected, "{rate}");
        (changes, stays) = (changes + expected, stays + 1 - expected);
        before = after;
    }
    assert!(changes >= 3 && stays >= 1, "{changes} {stays}");
}

#[test]
fn what_plays_backwards_is_not_held_and_has_no_latency() {
    let wmembed = element("wmembed");
    let mut harness = harness(&wmembed, &info(AudioFormat::F32le, 48_000, 1));
    let forwards: u64 = wmembed.property("latency");
    assert!(forwards > 0);
    for (rate, expected, announced) in [
        (1.0, forwards, 0),
        (-1.0, 0, 1),
        (-2.0, 0, 0),
        (1.0, forwards, 1),
    ] {
        let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
        segment.set_stop(gst::ClockTime::SECOND);
        segment.set_rate(rate);
        let messages = messages(&wmembed, || {
            assert!(harness.push_event(gst::event::Segment::new(&segment)));
        });
        let latency = |m: &&gst::Message| m.type_() == gst::MessageType::Latency;
        assert_eq!(messages.iter().filter(latency).count(), announced, "{rate}");
        let expected = gst::ClockTime::from_nseconds(expected);
        assert_eq!(harness.query_latency(), Some(expected), "{rate}");
        assert_eq!(wmembed.property::<u64>("latency"), expected.nseconds());
    }
}

#[test]
fn what_others_add_is_kept_and_a_maximum_that_there_is_not_stays_none() {
    let ms = gst::ClockTime::from_mseconds;
    for (max, queues) in [
        (
            None,
            "queue max-size-time=0 max-size-buffers=0 max-size-bytes=0",
        ),
        (Some(ms(20)), "identity"),
    ] {
        let live = Live::behind(48_000, true, false, queues);
        live.pipeline.set_state(gst::State::Playing).unwrap();
        (0..24_000).for_each(|frame| live.push(frame, 0.0));
        live.source.end_of_stream().unwrap();
        while live.sink.pull_sample().is_ok() {}
        let own = gst::ClockTime::from_nseconds(live.embed.property("latency"));
        let mut query = gst::query::Latency::new();
        assert!(live.embed.static_pad("src").unwrap().query(&mut query));
        let (is_live, min, found) = query.result();
        assert!(is_live);
        assert_eq!(min, SOURCE + own);
        assert_eq!(found, max.map(|max| max + own), "{queues}");
    }
}

/// Plays to the end, which does not come where branches wait for each other.
fn assert_ends(description: &str) {
    let pipeline = common::pipeline(description);
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    loop {
        let message = bus.timed_pop(gst::ClockTime::from_seconds(60));
        match message.expect("the pipeline stalls").view() {
            gst::MessageView::Eos(_) => break,
            gst::MessageView::Latency(_) => pipeline.recalculate_latency().unwrap(),
            gst::MessageView::Error(error) => panic!("{}", error.error()),
            _ => (),
        }
    }
    pipeline.set_state(gst::State::Null).unwrap();
}

/// A marked branch beside an unmarked one, live, each with a queue as it is by default.
#[test]
fn a_branch_beside_it_needs_no_more_than_a_default_queue() {
    for (rate, channels, lookahead) in [(48_000, 2, true), (8_000, 1, true), (192_000, 8, false)] {
        assert_ends(&format!(
            "audiotestsrc is-live=true num-buffers=40 samplesperbuffer={} wave=pink-noise \
             ! audio/x-raw,format=F32LE,rate={rate},channels={channels} ! tee name=t \
             t. ! queue ! wmembed key={KEY} lookahead={lookahead} ! queue ! fakesink sync=true \
             t. ! queue ! fakesink sync=true \
             t. ! wmdetect key={KEY} ! queue ! fakesink sync=true",
            rate / 50
        ));
    }
}

/// A little more than the latency is what a queue has to hold.
#[test]
fn a_branch_beside_it_needs_room_for_the_latency_and_two_buffers() {
    assert_ends(&format!(
        "audiotestsrc is-live=true num-buffers=40 samplesperbuffer=960 \
         ! audio/x-raw,format=F32LE,rate=48000,channels=2 ! tee name=t \
         t. ! queue ! wmembed key={KEY} ! fakesink sync=true \
         t. ! queue max-size-time={} max-size-buffers=0 max-size-bytes=0 ! fakesink sync=true",
        310_000_000 + 2 * 20_000_000
    ));
}

/// 200 buffers, the default, are less than the latency where a buffer is a packet of 1 ms.
#[test]
fn beside_it_a_queue_must_not_count_short_buffers() {
    assert_ends(&format!(
        "audiotestsrc is-live=true num-buffers=700 samplesperbuffer=48 \
         ! audio/x-raw,format=S16LE,rate=48000,channels=2 ! tee name=t \
         t. ! queue ! wmembed key={KEY} ! fakesink sync=true t. ! queue max-size-buffers=0 ! fakesink sync=true"
    ));
}
