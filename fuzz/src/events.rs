// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events and queries for the elements, drawn from the bytes that the fuzzer makes.

use arbitrary::Arbitrary;
use gst::prelude::*;

/// A time: often small, now and then anything.
#[derive(Arbitrary, Debug, Clone, Copy, PartialEq)]
pub enum Time {
    Milliseconds(u16),
    Nanoseconds(u32),
    Any(u64),
}

impl Time {
    pub fn get(self) -> gst::ClockTime {
        match self {
            Time::Milliseconds(time) => gst::ClockTime::from_mseconds(time.into()),
            Time::Nanoseconds(time) => gst::ClockTime::from_nseconds(time.into()),
            // The largest number means that there is none.
            Time::Any(time) => gst::ClockTime::from_nseconds(time.min(u64::MAX - 1)),
        }
    }
}

/// What comes from upstream between buffers.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Downstream {
    Gap(Time, Option<Time>),
    Flush(bool),
    FlushStart,
    FlushStop(bool),
    Eos,
    StreamStart(u8),
    SegmentDone(Time),
    Tag,
    Toc,
    Custom,
    CustomSticky,
    CustomOutOfBand,
    SinkMessage,
    StreamGroupDone,
    InstantRate(u8),
}

impl Downstream {
    /// One event or two.
    pub fn events(self) -> Vec<gst::Event> {
        use gst::event::*;
        let structure = || gst::Structure::new_empty("fuzz");
        let event = match self {
            Downstream::Gap(at, duration) => {
                let duration = duration.map(Time::get);
                Gap::builder(at.get()).duration(duration).build()
            }
            Downstream::Flush(reset) => return vec![FlushStart::new(), FlushStop::new(reset)],
            Downstream::FlushStart => FlushStart::new(),
            Downstream::FlushStop(reset) => FlushStop::new(reset),
            Downstream::Eos => Eos::new(),
            Downstream::StreamStart(id) => StreamStart::new(&format!("stream-{}", id % 3)),
            Downstream::SegmentDone(at) => SegmentDone::new(at.get()),
            Downstream::Tag => {
                let mut tags = gst::TagList::new();
                if let Some(tags) = tags.get_mut() {
                    tags.add::<gst::tags::Title>(&"fuzz", gst::TagMergeMode::Append);
                }
                Tag::new(tags)
            }
            Downstream::Toc => Toc::new(&gst::Toc::new(gst::TocScope::Global), false),
            Downstream::Custom => CustomDownstream::new(structure()),
            Downstream::CustomSticky => CustomDownstreamSticky::new(structure()),
            Downstream::CustomOutOfBand => CustomDownstreamOob::new(structure()),
            Downstream::SinkMessage => {
                SinkMessage::new("fuzz", &gst::message::Application::new(structure()))
            }
            Downstream::StreamGroupDone => StreamGroupDone::new(gst::GroupId::next()),
            Downstream::InstantRate(rate) => {
                InstantRateChange::new(1.0 + f64::from(rate), gst::SegmentFlags::empty())
            }
        };
        vec![event]
    }
}

/// What comes from downstream.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Upstream {
    Seek(f64, bool, Time),
    /// Without a time, the base class of any filter would complain.
    Qos(f64, i64, Time),
    Latency(Time),
    Reconfigure,
    Step,
    Custom,
}

impl Upstream {
    pub fn event(self) -> gst::Event {
        use gst::event::*;
        match self {
            Upstream::Seek(rate, flush, start) => {
                let flags = if flush {
                    gst::SeekFlags::FLUSH
                } else {
                    gst::SeekFlags::empty()
                };
                let rate = if rate.is_normal() { rate } else { 1.0 };
                let (set, none) = (gst::SeekType::Set, gst::SeekType::None);
                Seek::new(rate, flags, set, start.get(), none, gst::ClockTime::ZERO)
            }
            Upstream::Qos(proportion, diff, at) => {
                Qos::builder(gst::QOSType::Underflow, proportion, diff.max(0))
                    .timestamp(at.get())
                    .build()
            }
            Upstream::Latency(time) => Latency::new(time.get()),
            Upstream::Reconfigure => Reconfigure::new(),
            Upstream::Step => Step::new(gst::ClockTime::SECOND, 1.0, true, false),
            Upstream::Custom => CustomUpstream::new(gst::Structure::new_empty("fuzz")),
        }
    }
}

/// Where the next buffers lie.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub struct Segment {
    kind: Kind,
    rate: SegmentRate,
    start: Time,
    length: Option<Time>,
    time: Time,
    base: Time,
}

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Kind {
    Time,
    Plain,
    Bytes,
    Default,
}

#[derive(Arbitrary, Debug, Clone, Copy)]
enum SegmentRate {
    One,
    Usual(u8),
    Any(f64),
}

impl SegmentRate {
    fn get(self) -> f64 {
        const USUAL: [f64; 6] = [2.0, 0.5, -1.0, -0.5, 1.000_1, -2.0];
        match self {
            SegmentRate::One => 1.0,
            SegmentRate::Usual(i) => USUAL[usize::from(i) % USUAL.len()],
            SegmentRate::Any(rate) if rate.is_normal() => rate,
            SegmentRate::Any(_) => 1.0,
        }
    }
}

impl Segment {
    pub fn get(&self) -> gst::Segment {
        match self.kind {
            Kind::Plain => gst::FormattedSegment::<gst::ClockTime>::new().upcast(),
            Kind::Time => {
                let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
                segment.set_rate(self.rate.get());
                segment.set_start(self.start.get());
                let stop = self
                    .length
                    .map(|length| self.start.get().saturating_add(length.get()));
                segment.set_stop(stop.map(|stop| stop.min(gst::ClockTime::MAX)));
                segment.set_time(self.time.get());
                segment.set_base(self.base.get());
                segment.upcast()
            }
            Kind::Bytes => {
                let mut segment = gst::FormattedSegment::<gst::format::Bytes>::new();
                segment.set_rate(self.rate.get());
                segment.upcast()
            }
            Kind::Default => {
                let mut segment = gst::FormattedSegment::<gst::format::Default>::new();
                segment.set_rate(self.rate.get());
                segment.upcast()
            }
        }
    }

    pub fn event(segment: &gst::Segment) -> gst::Event {
        match segment.format() {
            gst::Format::Time => segment
                .downcast_ref::<gst::ClockTime>()
                .map(gst::event::Segment::new),
            gst::Format::Bytes => segment
                .downcast_ref::<gst::format::Bytes>()
                .map(gst::event::Segment::new),
            _ => segment
                .downcast_ref::<gst::format::Default>()
                .map(gst::event::Segment::new),
        }
        .unwrap_or_else(|| unreachable!("no other format is made"))
    }
}

/// A question to one of the pads.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Question {
    Latency,
    Position,
    Duration,
    Caps,
    AcceptCaps,
    Allocation,
    Scheduling,
    Segment,
    Seeking,
    Convert(u32),
    Drain,
    Context,
    Custom,
}

impl Question {
    pub fn ask(self, pad: &gst::Pad) {
        use gst::query::*;
        let caps = || {
            gst::Caps::builder("audio/x-raw")
                .field("rate", 8_000)
                .build()
        };
        let time = gst::Format::Time;
        let _ = match self {
            Question::Latency => pad.query(&mut Latency::new()),
            Question::Position => pad.query(&mut Position::new(time)),
            Question::Duration => pad.query(&mut Duration::new(time)),
            Question::Caps => pad.query(&mut Caps::new(Some(&caps()))),
            Question::AcceptCaps => pad.query(&mut AcceptCaps::new(&caps())),
            Question::Allocation => pad.query(&mut Allocation::new(Some(&caps()), true)),
            Question::Scheduling => pad.query(&mut Scheduling::new()),
            Question::Segment => pad.query(&mut Segment::new(time)),
            Question::Seeking => pad.query(&mut Seeking::new(time)),
            Question::Convert(bytes) => {
                let bytes = gst::format::Bytes::from_u64(bytes.into());
                pad.query(&mut Convert::new(bytes, time))
            }
            Question::Drain => pad.query(&mut Drain::new()),
            Question::Context => pad.query(&mut Context::new("fuzz")),
            Question::Custom => pad.query(&mut Custom::new(gst::Structure::new_empty("fuzz"))),
        };
    }
}
