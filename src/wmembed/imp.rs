// SPDX-License-Identifier: MIT OR Apache-2.0

use super::stream::Stream;
use crate::audio;
use crate::settings::{self, Shared, WmRowClock, lock};
use crate::watermark::{EmbedderConfig, Key};
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_audio::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_transform::{BaseTransformImplExt, GenerateOutputSuccess};
use once_cell::sync::Lazy;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

static CAT: Lazy<gst::DebugCategory> = Lazy::new(|| {
    gst::DebugCategory::new(
        "wmembed",
        gst::DebugColorFlags::empty(),
        Some("Audio watermark embedder"),
    )
});

const DEFAULT_STRENGTH: f64 = 0.0;
const DEFAULT_ENABLED: bool = true;
const DEFAULT_LOOKAHEAD: bool = true;

#[derive(Clone)]
struct Settings {
    shared: Shared,
    strength: f64,
    enabled: bool,
    lookahead: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            shared: Shared::default(),
            strength: DEFAULT_STRENGTH,
            enabled: DEFAULT_ENABLED,
            lookahead: DEFAULT_LOOKAHEAD,
        }
    }
}

#[derive(Default)]
struct State {
    key: Option<Key>,
    stream: Option<Stream>,
}

#[derive(Default)]
pub struct WmEmbed {
    settings: Mutex<Settings>,
    state: Mutex<State>,
    /// Nanoseconds. Not part of the state, so that a query never waits for the streaming thread.
    latency: AtomicU64,
}

impl WmEmbed {
    /// Pushes all that is held and ends the run.
    fn drain(&self) -> Result<gst::FlowSuccess, gst::FlowError> {
        // Release the lock before pushing: downstream may come back with a query or a property.
        let buffers = {
            let mut state = lock(&self.state);
            state
                .stream
                .as_mut()
                .map_or(Ok(Vec::new()), Stream::drain)?
        };
        for buffer in buffers {
            gst::log!(CAT, imp = self, "Draining {buffer:?}");
            self.obj().src_pad().push(buffer)?;
        }
        Ok(gst::FlowSuccess::Ok)
    }

    fn drain_before(&self, what: &str) {
        if let Err(error) = self.drain() {
            // Not fatal here: the next push gives the same answer to whoever asks for it.
            gst::debug!(CAT, imp = self, "Draining before {what}: {error:?}");
        }
    }

    fn embed(
        &self,
        buffer: &gst::BufferRef,
        stream_time: Option<gst::ClockTime>,
    ) -> Result<Option<gst::Buffer>, gst::FlowError> {
        let (strength, enabled, row_clock) = {
            let settings = lock(&self.settings);
            (
                settings.strength,
                settings.enabled,
                settings.shared.row_clock,
            )
        };
        let mut state = lock(&self.state);
        let stream = state.stream.as_mut().ok_or(gst::FlowError::NotNegotiated)?;
        stream.set(strength, enabled);
        if !stream.is_running() {
            let position = row_position(row_clock, stream_time);
            gst::debug!(
                CAT,
                imp = self,
                "Starting at timestamp {} and position {} of the row clock",
                buffer.pts().display(),
                gst::ClockTime::from_nseconds(position)
            );
            stream.begin(buffer, position);
        }
        stream.push(buffer)
    }

    /// Drains if a buffer does not continue what came before.
    fn arrange_for(&self, buffer: &gst::BufferRef) -> Result<(), gst::FlowError> {
        let (sound, continued) = match &lock(&self.state).stream {
            Some(stream) => (stream.check_size(buffer), stream.is_continued_by(buffer)),
            None => return Err(gst::FlowError::NotNegotiated),
        };
        if let Err(message) = sound {
            self.post_error_message(message);
            return Err(gst::FlowError::Error);
        }
        if !continued {
            self.drain()?;
        }
        Ok(())
    }

    fn set_latency(&self, latency: gst::ClockTime) {
        if self.latency.swap(latency.nseconds(), Ordering::SeqCst) == latency.nseconds() {
            return;
        }
        gst::info!(CAT, imp = self, "Latency is now {latency}");
        let obj = self.obj();
        obj.notify("latency");
        let _ = obj.post_message(gst::message::Latency::builder().src(&*obj).build());
    }
}

/// Position of a buffer on the clock that counts the rows, in nanoseconds.
fn row_position(row_clock: WmRowClock, stream_time: Option<gst::ClockTime>) -> u64 {
    match row_clock {
        WmRowClock::Stream => stream_time.map_or(0, gst::ClockTime::nseconds),
        WmRowClock::Utc => settings::unix_time(),
    }
}

#[glib::object_subclass]
impl ObjectSubclass for WmEmbed {
    const NAME: &'static str = "GstWmEmbed";
    type Type = super::WmEmbed;
    type ParentType = gst_audio::AudioFilter;
    type Interfaces = (gst::Preset,);
}

impl ObjectImpl for WmEmbed {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: Lazy<Vec<glib::ParamSpec>> = Lazy::new(|| {
            let mut properties = Shared::properties();
            properties.extend([
                glib::ParamSpecDouble::builder("strength")
                    .nick("Strength")
                    .blurb("Strength of the mark in dB (0 = the transparent default)")
                    .minimum(-24.0)
                    .maximum(24.0)
                    .default_value(DEFAULT_STRENGTH)
                    .controllable()
                    .mutable_playing()
                    .build(),
                glib::ParamSpecBoolean::builder("enabled")
                    .nick("Enabled")
                    .blurb("Whether to mark (false = every byte stays as it is)")
                    .default_value(DEFAULT_ENABLED)
                    .controllable()
                    .mutable_playing()
                    .build(),
                glib::ParamSpecBoolean::builder("lookahead")
                    .nick("Look-ahead")
                    .blurb(
                        "Use the programme 160 ms later too: a stronger mark, 288 ms more latency",
                    )
                    .default_value(DEFAULT_LOOKAHEAD)
                    .mutable_ready()
                    .build(),
                glib::ParamSpecUInt64::builder("latency")
                    .nick("Latency")
                    .blurb(
                        "Time in ns by which audio leaves later than it came (0 = not yet known)",
                    )
                    .read_only()
                    .build(),
            ]);
            properties
        });
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        if settings::is_too_late(&*self.obj(), pspec) {
            gst::warning!(
                CAT,
                imp = self,
                "Property {} can be set in NULL and READY only, it stays as it is",
                pspec.name()
            );
            return;
        }
        let mut settings = lock(&self.settings);
        match pspec.name() {
            "strength" => settings::set_number(&mut settings.strength, value),
            "enabled" => settings.enabled = value.get().expect("type checked upstream"),
            "lookahead" => settings.lookahead = value.get().expect("type checked upstream"),
            _ => settings.shared.set(value, pspec),
        }
        drop(settings);
        if pspec.name() != "key" {
            gst::info!(
                CAT,
                imp = self,
                "Property {} is now {value:?}",
                pspec.name()
            );
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = lock(&self.settings);
        match pspec.name() {
            "strength" => settings.strength.to_value(),
            "enabled" => settings.enabled.to_value(),
            "lookahead" => settings.lookahead.to_value(),
            "latency" => self.latency.load(Ordering::SeqCst).to_value(),
            _ => settings.shared.get(pspec),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        self.obj().set_gap_aware(true);
    }
}

impl GstObjectImpl for WmEmbed {}

impl PresetImpl for WmEmbed {}

impl ElementImpl for WmEmbed {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: Lazy<gst::subclass::ElementMetadata> = Lazy::new(|| {
            gst::subclass::ElementMetadata::new(
                "Audio watermark embedder",
                "Filter/Effect/Audio",
                "Hides a keyed mark in audio that wmdetect finds again, even across a room",
                env!("CARGO_PKG_AUTHORS"),
            )
        });
        Some(&METADATA)
    }
}

impl BaseTransformImpl for WmEmbed {
    const MODE: gst_base::subclass::BaseTransformMode =
        gst_base::subclass::BaseTransformMode::NeverInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let shared = lock(&self.settings).shared.clone();
        shared.check("wmembed")?;
        let key = shared.load_key(&*self.obj(), "wmembed")?;
        *lock(&self.state) = State {
            key: Some(key),
            stream: None,
        };
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.state) = State::default();
        self.latency.store(0, Ordering::SeqCst);
        Ok(())
    }

    fn generate_output(&self) -> Result<GenerateOutputSuccess, gst::FlowError> {
        // There is none if the base class clipped it away.
        let Some(buffer) = self.take_queued_buffer() else {
            return Ok(GenerateOutputSuccess::NoOutput);
        };
        let segment = self.obj().segment();
        if segment.rate() < 0.0 {
            return Ok(GenerateOutputSuccess::Buffer(buffer));
        }
        let segment = segment.downcast_ref::<gst::ClockTime>();
        let stream_time = segment.and_then(|segment| segment.to_stream_time(buffer.pts()));
        if let Some(time) = stream_time
            && let Err(error) = self.obj().sync_values(time)
        {
            gst::debug!(CAT, imp = self, "No controlled values at {time}: {error}");
        }
        self.arrange_for(&buffer)?;
        let output = self.embed(&buffer, stream_time)?;
        Ok(output.map_or(
            GenerateOutputSuccess::NoOutput,
            GenerateOutputSuccess::Buffer,
        ))
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        use gst::EventView;
        match event.view() {
            EventView::StreamStart(_) => self.drain_before("a new stream"),
            EventView::Segment(segment) => {
                self.drain_before("a new segment");
                if segment.segment().rate() < 0.0 {
                    gst::warning!(
                        CAT,
                        imp = self,
                        "Playing backwards: passing audio without a mark"
                    );
                }
            }
            EventView::SegmentDone(_) => self.drain_before("the end of the segment"),
            // Passed on at once, it would overtake what is held.
            EventView::Gap(_) => self.drain_before("a gap"),
            EventView::Eos(_) => self.drain_before("the end of the stream"),
            EventView::FlushStop(_) => {
                if let Some(stream) = &mut lock(&self.state).stream {
                    stream.clear();
                }
            }
            _ => (),
        }
        self.parent_sink_event(event)
    }

    fn query(&self, direction: gst::PadDirection, query: &mut gst::QueryRef) -> bool {
        let answered = BaseTransformImplExt::parent_query(self, direction, query);
        if answered
            && direction == gst::PadDirection::Src
            && let gst::QueryViewMut::Latency(query) = query.view_mut()
        {
            let own = gst::ClockTime::from_nseconds(self.latency.load(Ordering::SeqCst));
            let (live, min, max) = query.result();
            query.set(
                live,
                min.saturating_add(own),
                max.map(|max| max.saturating_add(own)),
            );
        }
        answered
    }
}

impl AudioFilterImpl for WmEmbed {
    fn allowed_caps() -> &'static gst::Caps {
        &audio::CAPS
    }

    fn setup(&self, info: &gst_audio::AudioInfo) -> Result<(), gst::LoggableError> {
        // The new caps are not downstream yet, so what is held still leaves with the old ones.
        self.drain_before("new caps");
        let settings = lock(&self.settings).clone();
        let config = EmbedderConfig {
            sample_rate: info.rate(),
            channels: info.channels() as usize,
            unmarked_channels: audio::low_frequency_channels(info),
            carrier: settings.shared.carrier.into(),
            lookahead: settings.lookahead,
            row_clock: settings.shared.row_clock.into(),
        };
        gst::debug!(CAT, imp = self, "Setting up for {config:?}");
        let latency = {
            let mut state = lock(&self.state);
            let State {
                key: Some(key),
                stream,
            } = &mut *state
            else {
                return Err(gst::loggable_error!(CAT, "Not started"));
            };
            let new = Stream::new(info, &config, key)
                .map_err(|error| gst::loggable_error!(CAT, "Cannot embed: {error}"))?;
            stream.insert(new).latency()
        };
        self.set_latency(latency);
        Ok(())
    }
}
