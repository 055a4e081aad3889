// SPDX-License-Identifier: MIT OR Apache-2.0
//! One element in a harness, and what has to come out of it.

use crate::buffers::{Audio, Format};
use crate::events::{Downstream, Question, Segment, Upstream};
use crate::{BASE, KEY};
use arbitrary::Arbitrary;
use gst::prelude::*;

/// Samples that a case takes at most, so that none takes long.
const MOST_SAMPLES: usize = 60_000;

/// Which element, with what.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Element {
    Detect {
        /// One in sixteen has the noise carrier, which takes much longer.
        noise: u8,
        stream: bool,
        speeds: bool,
        several: bool,
    },
    Embed {
        noise: bool,
        utc: bool,
        lookahead: bool,
        enabled: bool,
    },
}

#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Step {
    Audio(Audio),
    Downstream(Downstream),
    Segment(Segment),
    Format(Format),
    Upstream(Upstream),
    Ask(Question, bool),
    Set(Setting),
    Read,
    State(u8),
}

/// A property and a value that its type permits. What costs much is left out.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Setting {
    Strength(f64),
    Enabled(bool),
    Payload(Option<[u8; 4]>),
    Text(u8, u8),
    UtcOffset(i64),
    UtcStart(u64),
    Interval(u64),
    PostMessages(bool),
    FalseAlarms(f64),
    SmallDeviation(u8),
    ClockTolerance(u16),
    Keys(u8),
}

impl Setting {
    /// Nothing happens if the element has no such property.
    fn set(self, element: &gst::Element) {
        const NAMES: [&str; 3] = ["payload", "key", "key-file"];
        const TEXTS: [&str; 5] = ["", "00c0ffee", "c0ffee", "/nowhere", "\u{7f}\u{1f600}"];
        let (name, value): (_, gst::glib::Value) = match self {
            Setting::Strength(decibels) => ("strength", decibels.to_value()),
            Setting::Enabled(enabled) => ("enabled", enabled.to_value()),
            Setting::Payload(payload) => {
                let digits = payload.map(|bytes| format!("{:08x}", u32::from_be_bytes(bytes)));
                ("payload", digits.to_value())
            }
            Setting::Text(name, text) => {
                let name = NAMES[usize::from(name) % NAMES.len()];
                // Any other text is a passphrase, which takes its time.
                let text = if name == "key" {
                    ""
                } else {
                    TEXTS[usize::from(text) % TEXTS.len()]
                };
                (name, text.to_value())
            }
            Setting::UtcOffset(offset) => ("utc-offset", offset.to_value()),
            Setting::UtcStart(start) => ("utc-start", start.to_value()),
            Setting::Interval(time) => ("interval", time.to_value()),
            Setting::PostMessages(post) => ("post-messages", post.to_value()),
            Setting::FalseAlarms(alarms) => ("false-alarms-per-hour", alarms.to_value()),
            Setting::SmallDeviation(percent) => {
                let percent = f64::from(percent % 4) * 0.02 - 0.02;
                ("max-speed-deviation", percent.to_value())
            }
            Setting::ClockTolerance(ms) => (
                "clock-tolerance",
                (u64::from(ms % 3_000) * 1_000_000).to_value(),
            ),
            Setting::Keys(n) => {
                let keys = (1..=n % 3).map(|byte| hex(&[byte; 32]).to_send_value());
                ("keys", gst::Array::from_values(keys).to_value())
            }
        };
        if element.find_property(name).is_some() {
            set_as_c_does(element, name, &value);
        }
    }
}

/// Sets a property to a value that may lie outside its range, which only the interface for Rust refuses.
fn set_as_c_does(element: &gst::Element, name: &str, value: &gst::glib::Value) {
    use gst::glib::translate::ToGlibPtr;
    let name = gst::glib::GString::from(name);
    // SAFETY: all three pointers are valid for the call, and the property is one of the object.
    unsafe {
        gst::glib::gobject_ffi::g_object_set_property(
            element.upcast_ref::<gst::glib::Object>().to_glib_none().0,
            name.as_ptr(),
            value.to_glib_none().0,
        );
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Element {
    pub fn model(self) -> Model {
        let builder = match self {
            Element::Embed {
                noise,
                utc,
                lookahead,
                enabled,
            } => gst::ElementFactory::make("wmembed")
                .property_from_str("carrier", carrier(noise))
                .property_from_str("row-clock", clock(utc && !noise))
                .property("lookahead", lookahead)
                .property("enabled", enabled),
            Element::Detect {
                noise,
                stream,
                speeds,
                ..
            } => gst::ElementFactory::make("wmdetect")
                .property_from_str("carrier", carrier(noise % 16 == 1))
                .property_from_str("row-clock", clock(!stream && noise % 16 != 1))
                .property("max-speed-deviation", if speeds { 0.02 } else { 0.0 })
                .property("clock-tolerance", 500_000_000u64)
                .property("utc-start", BASE),
        };
        let Ok(element) = builder.build() else {
            unreachable!("the elements are registered");
        };
        match self {
            Element::Detect {
                several: true,
                noise,
                ..
            } if noise % 16 != 1 => {
                let keys = [KEY, [9; 32]].map(|key| hex(&key).to_send_value());
                element.set_property("keys", gst::Array::new(keys));
            }
            _ => element.set_property("key", hex(&KEY)),
        }
        Model::new(element, matches!(self, Element::Embed { .. }))
    }
}

fn clock(utc: bool) -> &'static str {
    if utc { "utc" } else { "stream" }
}

fn carrier(noise: bool) -> &'static str {
    if noise { "noise" } else { "programme" }
}

pub struct Model {
    element: gst::Element,
    harness: gst_check::Harness,
    bus: gst::Bus,
    embeds: bool,
    caps: Option<gst::Caps>,
    info: Option<gst_audio::AudioInfo>,
    segment: Option<gst::Segment>,
    next: gst::ClockTime,
    left: usize,
    /// What has gone in since the last time that all had to be out.
    input: Vec<u8>,
    output: Vec<u8>,
    /// The mark was off for all of it.
    pure: bool,
    /// Something failed: nothing is promised up to the next start.
    unsure: bool,
    /// Caps were refused: nothing but a flush arrives before others are taken.
    blocked: bool,
    /// Where the latest output buffer ended.
    end: Option<gst::ClockTime>,
}

impl Model {
    fn new(element: gst::Element, embeds: bool) -> Self {
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let harness = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
        let mut model = Model {
            element,
            harness,
            bus,
            embeds,
            caps: None,
            info: None,
            segment: None,
            next: gst::ClockTime::ZERO,
            left: MOST_SAMPLES,
            input: Vec::new(),
            output: Vec::new(),
            pure: true,
            unsure: false,
            blocked: false,
            end: None,
        };
        model
            .harness
            .push_event(gst::event::StreamStart::new("stream-0"));
        model.set_format(Format::Usual(0));
        model.set_segment(gst::FormattedSegment::<gst::ClockTime>::new().upcast());
        model
    }

    pub fn step(&mut self, step: &Step) {
        match step {
            Step::Audio(audio) => self.push(audio),
            Step::Downstream(event) => self.downstream(*event),
            Step::Segment(segment) => self.set_segment(segment.get()),
            Step::Format(format) => self.set_format(*format),
            Step::Upstream(event) => {
                self.harness.push_upstream_event(event.event());
            }
            Step::Ask(question, sink) => {
                let pad = self.element.static_pad(if *sink { "sink" } else { "src" });
                question.ask(&pad.expect("every filter has it"));
            }
            Step::Set(setting) => setting.set(&self.element),
            Step::Read => self.read(),
            Step::State(state) => self.set_state(*state),
        }
        self.take_output();
        self.check_messages();
    }

    pub fn end(mut self) {
        self.harness.push_event(gst::event::Eos::new());
        self.take_output();
        self.all_is_out();
        self.check_messages();
        self.element.set_bus(None);
    }

    fn push(&mut self, audio: &Audio) {
        let buffer = audio.buffer(self.info.as_ref(), self.next, self.left);
        self.pure &= !self.embeds || !self.element.property::<bool>("enabled");
        let clipped = self.clipped(&buffer);
        if let (Some(info), Some(pts)) = (&self.info, buffer.pts()) {
            let frames = (buffer.size() / info.bpf() as usize) as u64;
            self.left -= (frames as usize * info.channels() as usize).min(self.left);
            let duration = frames.mul_div_floor(1_000_000_000, info.rate().into());
            let duration = gst::ClockTime::from_nseconds(duration.unwrap_or(0));
            self.next = pts.saturating_add(duration);
        }
        match self.harness.push(buffer) {
            Err(_) => self.unsure = true,
            Ok(_) => self.input.extend(clipped),
        }
        self.follow();
    }

    /// The bytes of a buffer that lie within the segment.
    fn clipped(&self, buffer: &gst::Buffer) -> Vec<u8> {
        let mut buffer = Some(buffer.clone());
        if let (Some(info), Some(segment)) = (&self.info, &self.segment)
            && segment.format() == gst::Format::Time
        {
            let clip =
                |buffer| gst_audio::audio_buffer_clip(buffer, segment, info.rate(), info.bpf());
            buffer = buffer.and_then(clip);
        }
        let map = buffer
            .as_ref()
            .and_then(|buffer| buffer.map_readable().ok());
        map.map_or(Vec::new(), |map| map.to_vec())
    }

    fn downstream(&mut self, event: Downstream) {
        for event in event.events() {
            use gst::EventType as E;
            let kind = event.type_();
            self.harness.push_event(event);
            self.take_output();
            match kind {
                E::FlushStart => self.unsure = true,
                E::FlushStop => self.forget(),
                E::Gap | E::Eos | E::StreamStart | E::SegmentDone => self.all_is_out(),
                _ => (),
            }
            self.follow();
        }
    }

    fn set_segment(&mut self, segment: gst::Segment) {
        let event = Segment::event(&segment);
        let number = event.seqnum();
        self.harness.push_event(event);
        self.take_output();
        let pad = self
            .element
            .static_pad("sink")
            .expect("every filter has it");
        let arrived = pad.sticky_event::<gst::event::Segment>(0);
        if arrived.is_some_and(|arrived| arrived.seqnum() == number) {
            // One that says the same as before ends nothing.
            let place = |segment: &gst::Segment| {
                let rates = (segment.format(), segment.rate(), segment.applied_rate());
                (
                    rates,
                    segment.start(),
                    segment.base(),
                    segment.offset(),
                    segment.time(),
                )
            };
            let ends = self.segment.as_ref().map(place) != Some(place(&segment));
            self.segment = Some(segment);
            if ends {
                self.all_is_out();
            }
        }
        self.follow();
    }

    fn set_format(&mut self, format: Format) {
        let caps = format.caps();
        let same = self.caps.as_ref() == Some(&caps);
        self.harness.push_event(gst::event::Caps::new(&caps));
        self.take_output();
        self.blocked = self.arrived().0.as_ref() != Some(&caps);
        if !same && !self.blocked {
            self.take_caps(Some(caps));
            self.all_is_out();
        }
        self.follow();
    }

    fn take_caps(&mut self, caps: Option<gst::Caps>) {
        let info = |caps: &gst::Caps| gst_audio::AudioInfo::from_caps(caps);
        self.info = caps
            .as_ref()
            .map(info)
            .transpose()
            .expect("only audio is taken");
        self.caps = caps;
    }

    /// The caps and the segment that the element has. What is pushed may be refused, or arrive with the next buffer.
    fn arrived(&self) -> (Option<gst::Caps>, Option<gst::Segment>) {
        let pad = self
            .element
            .static_pad("sink")
            .expect("every filter has it");
        let segment = pad.sticky_event::<gst::event::Segment>(0);
        let segment = segment.map(|event| event.segment().to_owned());
        (pad.current_caps(), segment)
    }

    /// Takes up caps and segment that arrived at another time than they were sent.
    fn follow(&mut self) {
        let (caps, segment) = self.arrived();
        if caps != self.caps || segment != self.segment {
            self.take_caps(caps);
            self.segment = segment;
            self.unsure = true;
        }
    }

    fn set_state(&mut self, state: u8) {
        use gst::State as S;
        let state = [S::Null, S::Ready, S::Paused, S::Playing][usize::from(state) % 4];
        let before = self.element.current_state();
        let _ = self.element.set_state(state);
        self.take_output();
        if state <= S::Ready || before <= S::Ready {
            self.forget();
            self.follow();
            if state > S::Ready {
                self.harness
                    .push_event(gst::event::StreamStart::new("stream-0"));
                self.set_format(Format::Usual(0));
                self.set_segment(gst::FormattedSegment::<gst::ClockTime>::new().upcast());
            }
        }
    }

    fn read(&self) {
        for property in self.element.list_properties() {
            if property.flags().contains(gst::glib::ParamFlags::READABLE) {
                let _ = self.element.property_value(property.name());
            }
        }
        if !self.embeds {
            assert!(self.element.property::<f64>("score").is_finite());
        }
    }

    fn take_output(&mut self) {
        while let Some(buffer) = self.harness.try_pull() {
            let map = buffer.map_readable().expect("memory of the system");
            self.output.extend_from_slice(&map);
            let backwards = self
                .segment
                .as_ref()
                .is_some_and(|segment| segment.rate() < 0.0);
            let starts = buffer.flags().contains(gst::BufferFlags::DISCONT);
            if self.embeds && !starts && !backwards && !self.unsure && self.end.is_some() {
                assert_eq!(buffer.pts(), self.end, "times have a hole");
            }
            let end = buffer
                .pts()
                .zip(buffer.duration())
                .and_then(|(pts, duration)| pts.checked_add(duration));
            self.end = end.filter(|_| !backwards);
        }
        while self.harness.try_pull_event().is_some() {}
        while self.harness.try_pull_upstream_event().is_some() {}
        if !self.embeds && !self.unsure {
            assert!(self.output == self.input, "wmdetect changes audio");
            self.output.clear();
            self.input.clear();
        }
    }

    /// At a moment when nothing may be held back: as much has come out as went in.
    fn all_is_out(&mut self) {
        if self.blocked {
            self.unsure = true;
            return;
        }
        if !self.unsure {
            assert_eq!(self.output.len(), self.input.len(), "bytes out, bytes in");
            assert!(
                !self.pure || self.output == self.input,
                "changed while switched off"
            );
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.input.clear();
        self.output.clear();
        self.unsure = false;
        self.pure = true;
        self.end = None;
    }

    fn check_messages(&self) {
        for message in self.bus.iter() {
            let structure = message.structure().filter(|s| s.name() == "wmdetect");
            let Some(structure) = structure else { continue };
            for field in ["score", "log10-p", "speed"] {
                let number = structure.get::<f64>(field);
                assert!(number.is_ok_and(f64::is_finite), "{structure}");
            }
            let known = |state| ["found", "present", "lost"].contains(&state);
            assert!(
                structure.get::<&str>("state").is_ok_and(known),
                "{structure}"
            );
        }
    }
}
