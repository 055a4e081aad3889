// SPDX-License-Identifier: MIT OR Apache-2.0

use super::flow::Input;
use super::settings::Settings;
use super::start::{Before, End};
use super::stream::Stream;
use crate::audio;
use crate::settings::{self, Changing, WmRowClock, lock};
use crate::utc::{Mapping, Unclipped, Utc};
use crate::watermark::{EmbedderConfig, Key};
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_audio::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_transform::{BaseTransformImplExt, GenerateOutputSuccess};
use once_cell::sync::Lazy;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub(super) static CAT: Lazy<gst::DebugCategory> = Lazy::new(|| {
    gst::DebugCategory::new(
        "wmembed",
        gst::DebugColorFlags::empty(),
        Some("Audio watermark embedder"),
    )
});

#[derive(Default)]
pub(super) struct State {
    pub(super) key: Option<Key>,
    pub(super) stream: Option<Stream>,
    /// What came before the next run.
    pub(super) before: Before,
    /// Nanoseconds of the row clock up to which frames were counted, for buffers without timestamps.
    pub(super) counted: Option<u64>,
    /// Audio since the latest warning that the time of day is another one, if there was one.
    pub(super) since_warning: Option<gst::ClockTime>,
}

#[derive(Default)]
pub struct WmEmbed {
    pub(super) settings: Mutex<Settings>,
    pub(super) state: Mutex<State>,
    pub(super) utc: Utc,
    unclipped: Unclipped,
    /// A discontinuity came in, and no buffer has been taken since.
    discont: AtomicBool,
    /// The base class is about to mark the next buffer that it pushes as a discontinuity.
    pub(super) marks_next: AtomicBool,
    /// Nanoseconds. Not part of the state, so that a query never waits for the streaming thread.
    latency: AtomicU64,
    /// Bits of the latest score that was reported; 0 while nothing is measured.
    detectability: AtomicU64,
}

impl WmEmbed {
    /// See [`Stream::spoil`].
    #[cfg(test)]
    pub fn spoil(&self) {
        if let Some(stream) = &mut lock(&self.state).stream {
            stream.spoil();
        }
    }

    /// Whether a thread panicked while it worked on the stream.
    #[cfg(test)]
    pub fn is_poisoned(&self) -> bool {
        self.state.is_poisoned()
    }

    /// Takes the settings that the element starts with: from now on a payload that is none is refused.
    fn start_settings(&self) -> Result<Settings, gst::ErrorMessage> {
        let mut settings = lock(&self.settings);
        settings.check_payload().map_err(|message| {
            gst::error_msg!(
                gst::LibraryError::Settings,
                ("wmembed cannot start: {message}")
            )
        })?;
        settings.started = true;
        Ok(settings.clone())
    }

    /// Starts with these settings.
    fn start_with(&self, settings: Settings) -> Result<(), gst::ErrorMessage> {
        let Settings {
            shared, utc_offset, ..
        } = settings;
        shared.check("wmembed")?;
        let key = shared.load_key(&*self.obj(), "wmembed")?;
        let by_utc = shared.row_clock == WmRowClock::Utc;
        self.utc
            .start(by_utc.then(|| Mapping::with_offset(utc_offset)));
        *lock(&self.state) = State {
            key: Some(key),
            ..State::default()
        };
        Ok(())
    }

    /// The lock of the state is not held: who hears of it may ask for anything.
    pub(super) fn set_detectability(&self, score: f64) {
        let score = score.to_bits();
        if self.detectability.swap(score, Ordering::SeqCst) != score {
            self.obj().notify("detectability");
        }
    }

    /// What plays backwards passes, and nothing is held.
    fn update_latency(&self, segment: &gst::Segment) {
        let latency = lock(&self.state).stream.as_ref().map(Stream::latency);
        let latency = latency.filter(|_| segment.rate() >= 0.0);
        self.set_latency(latency.unwrap_or(gst::ClockTime::ZERO));
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

/// Whether the audio that came with one segment may leave with the other one. Some sources send theirs again and again.
fn is_same_timeline(a: &gst::Segment, b: &gst::Segment) -> bool {
    let all = |segment: &gst::Segment| {
        (
            (segment.format(), segment.rate(), segment.applied_rate()),
            (segment.start(), segment.base(), segment.offset()),
            segment.time(),
        )
    };
    all(a) == all(b)
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
            let mut properties = Settings::properties();
            properties.extend([
                glib::ParamSpecUInt64::builder("latency")
                    .nick("Latency")
                    .blurb(
                        "Time in ns by which audio leaves later than it came (0 = until the sample rate is known)",
                    )
                    .read_only()
                    .build(),
                glib::ParamSpecDouble::builder("detectability")
                    .nick("Detectability")
                    .blurb("Latest report of the score that wmdetect reaches in 2 s of a clean copy (0 = none yet)")
                    .minimum(0.0)
                    .maximum(f64::MAX)
                    .read_only()
                    .build(),
            ]);
            properties
        });
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        if settings::is_too_late(*CAT, &*self.obj(), pspec) {
            return;
        }
        // One lock for check and change, so that nothing comes between; not that of the state, which the streaming thread
        // holds for as long as it works on a buffer.
        let changed = {
            let mut settings = lock(&self.settings);
            let accepted = match pspec.name() {
                "payload" => settings.accept_payload(value),
                _ => Ok(()),
            };
            accepted.map(|()| settings.replace(value, pspec))
        };
        let changed = match changed {
            Ok(changed) => changed,
            Err(message) => {
                gst::element_imp_warning!(
                    self,
                    gst::LibraryError::Settings,
                    ("wmembed keeps the payload that it has: {message}")
                );
                return;
            }
        };
        settings::log(*CAT, &*self.obj(), value, pspec);
        if changed {
            self.obj().notify_by_pspec(pspec);
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "latency" => self.latency.load(Ordering::SeqCst).to_value(),
            "detectability" => f64::from_bits(self.detectability.load(Ordering::SeqCst)).to_value(),
            _ => lock(&self.settings).get(pspec),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        self.obj().set_gap_aware(true);
    }
}

impl GstObjectImpl for WmEmbed {}

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

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        self.utc.change_state(transition);
        self.parent_change_state(transition)
    }
}

impl BaseTransformImpl for WmEmbed {
    const MODE: gst_base::subclass::BaseTransformMode =
        gst_base::subclass::BaseTransformMode::NeverInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = self.start_settings()?;
        let started = self.start_with(settings);
        if started.is_err() {
            lock(&self.settings).started = false;
        }
        started
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        lock(&self.settings).started = false;
        *lock(&self.state) = State::default();
        if self.latency.swap(0, Ordering::SeqCst) != 0 {
            self.obj().notify("latency");
        }
        self.set_detectability(0.0);
        Ok(())
    }

    fn submit_input_buffer(
        &self,
        is_discont: bool,
        buffer: gst::Buffer,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        self.unclipped.arrives(&buffer);
        if buffer.flags().contains(gst::BufferFlags::DISCONT) {
            self.discont.store(true, Ordering::SeqCst);
        }
        self.marks_next.store(is_discont, Ordering::SeqCst);
        self.parent_submit_input_buffer(is_discont, buffer)
    }

    fn generate_output(&self) -> Result<GenerateOutputSuccess, gst::FlowError> {
        // There is none if the base class clipped it away.
        let Some(buffer) = self.take_queued_buffer() else {
            return Ok(GenerateOutputSuccess::NoOutput);
        };
        let discont = self.discont.swap(false, Ordering::SeqCst);
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
        let clipped = self.unclipped.clipped(&buffer);
        let position = self
            .utc
            .position(&*self.obj(), &buffer, clipped, segment)
            .unwrap_or_else(|| self.by_stream_time(stream_time));
        let input = Input {
            buffer: &buffer,
            clipped,
            discont,
            position,
        };
        if !lock(&self.settings).marking().is_measured() {
            self.set_detectability(0.0);
        }
        let following = self.arrange_for(&input)?;
        let mut reports = Vec::new();
        let outputs = self.embed(&input, following, &mut reports)?;
        self.post(reports, segment);
        self.leave(outputs)
    }

    fn propose_allocation(
        &self,
        decide_query: Option<&gst::query::Allocation>,
        query: &mut gst::query::Allocation,
    ) -> Result<(), gst::LoggableError> {
        // What has its channels apart needs it.
        query.add_allocation_meta::<gst_audio::AudioMeta>(None);
        self.parent_propose_allocation(decide_query, query)
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        use gst::EventView;
        match event.view() {
            EventView::StreamStart(_) => {
                self.drain_before("a new stream", true);
                let state = &mut *lock(&self.state);
                state.counted = None;
                state.before = Before::nothing("the start of the stream");
            }
            EventView::Segment(segment) => {
                let current = self.obj().segment();
                if !is_same_timeline(segment.segment(), &current)
                    || self.holds_more_than(segment.segment())
                {
                    let what = "a new segment";
                    self.drain_before(what, true);
                    lock(&self.state).before.then(what, End::Unknown);
                }
                self.update_latency(segment.segment());
                if segment.segment().rate() < 0.0 {
                    gst::warning!(
                        CAT,
                        imp = self,
                        "Playing backwards: passing audio without a mark"
                    );
                }
            }
            EventView::SegmentDone(_) => self.drain_before("the end of the segment", true),
            // Passed on at once, it would overtake what is held.
            EventView::Gap(gap) => {
                if self.takes_gap(&event) {
                    return true;
                }
                let (start, duration) = gap.get();
                self.drain_before_gap(start, duration);
            }
            EventView::StreamGroupDone(_) => {
                self.drain_before("the end of the stream group", true);
            }
            EventView::Eos(_) => self.drain_before("the end of the stream", true),
            EventView::FlushStop(flush) => {
                if flush.resets_time() {
                    self.utc.restart_time();
                }
                self.discont.store(false, Ordering::SeqCst);
                let state = &mut *lock(&self.state);
                state.counted = None;
                state.before = Before::nothing("a flush");
                if let Some(stream) = &mut state.stream {
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
        self.drain_before("new caps", true);
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
        {
            let mut state = lock(&self.state);
            let State {
                key: Some(key),
                stream,
                ..
            } = &mut *state
            else {
                return Err(gst::loggable_error!(CAT, "Not started"));
            };
            let new = Stream::new(info, &config, key)
                .map_err(|error| gst::loggable_error!(CAT, "Cannot embed: {error}"))?;
            *stream = Some(new);
        }
        self.update_latency(&self.obj().segment());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    /// More than anything here takes: what is not done by then never will be.
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn whoever_sets_a_payload_does_not_wait_for_the_streaming_thread() {
        gst::init().unwrap();
        let element: super::super::WmEmbed = glib::Object::new();
        element.set_property("key", "00".repeat(32));
        element.set_state(gst::State::Paused).unwrap();
        let imp = element.imp();
        // The streaming thread is at work.
        let state = lock(&imp.state);
        let (sender, receiver) = mpsc::channel();
        let other = element.clone();
        let thread = std::thread::spawn(move || {
            other.set_property("payload", "00c0ffee");
            other.set_property("payload", "this is none");
            sender.send(()).unwrap();
        });
        let done = receiver.recv_timeout(LONG);
        drop(state);
        thread.join().unwrap();
        done.unwrap();
        assert_eq!(element.property::<String>("payload"), "00c0ffee");
        element.set_state(gst::State::Null).unwrap();
    }
}
