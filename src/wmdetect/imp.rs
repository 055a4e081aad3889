// SPDX-License-Identifier: MIT OR Apache-2.0

use super::settings::{Settings, shown_properties};
use super::stream::Stream;
use crate::audio;
use crate::settings::{self, Changing, lock};
use crate::utc::{Mapping, Position, Unclipped, Utc};
use crate::watermark::detector::DetectorStats;
use crate::watermark::format::SAMPLE_RATES;
use crate::watermark::{Key, RowClock};
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_audio::subclass::prelude::*;
use gst_base::prelude::*;
use once_cell::sync::Lazy;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

static CAT: Lazy<gst::DebugCategory> = Lazy::new(|| {
    gst::DebugCategory::new(
        "wmdetect",
        gst::DebugColorFlags::empty(),
        Some("Audio watermark detector"),
    )
});

#[derive(Default)]
struct State {
    keys: Vec<Key>,
    stream: Option<Stream>,
    stream_id: Option<String>,
    said: Said,
}

/// What the read-only properties show. Apart from the state, so that reading them does not wait for a
/// buffer to be analysed.
#[derive(Default)]
struct Published {
    present: bool,
    score: f64,
    /// The latest payload that was read since the start.
    payload: Option<String>,
    stats: DetectorStats,
}

/// The marks that are present by what was reported: what each key says, if it has been read.
#[derive(Default)]
struct Said(BTreeMap<u32, Option<String>>);

impl Said {
    /// Takes a message; returns a payload if it is news.
    fn take(&mut self, report: &gst::StructureRef) -> Option<String> {
        let key = report.get("key-index").unwrap_or(0);
        if report.get::<&str>("state") == Ok("lost") {
            self.0.remove(&key);
            return None;
        }
        let before = self.0.entry(key).or_default();
        let payload: String = report.get("payload").ok()?;
        let news = before.as_ref() != Some(&payload);
        *before = Some(payload.clone());
        news.then_some(payload)
    }

    fn is_any_present(&self) -> bool {
        !self.0.is_empty()
    }
}

/// A message, and what the read-only properties show from then on.
struct News {
    report: gst::Structure,
    present: bool,
    payload: Option<String>,
}

#[derive(Default)]
pub struct WmDetect {
    settings: Mutex<Settings>,
    state: Mutex<State>,
    utc: Utc,
    unclipped: Unclipped,
    published: Mutex<Published>,
    /// See [`Stream::interrupt`]. Not part of the state, which the streaming thread holds while it searches.
    interrupt: Mutex<Arc<AtomicBool>>,
}

impl WmDetect {
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

    /// Lets `work` use the stream, if there is one, and tells everybody what came of it.
    fn with_stream<R>(
        &self,
        work: impl FnOnce(&mut Stream, &mut Vec<gst::Structure>) -> R,
    ) -> Option<R> {
        let mut reports = Vec::new();
        let (result, news, present) = {
            let mut state = lock(&self.state);
            let State { stream, said, .. } = &mut *state;
            let stream = stream.as_mut()?;
            let result = work(stream, &mut reports);
            let news: Vec<_> = reports
                .into_iter()
                .map(|report| News {
                    payload: said.take(&report),
                    present: said.is_any_present(),
                    report,
                })
                .collect();
            let mut published = lock(&self.published);
            published.score = stream.score();
            published.stats = stream.stats();
            (result, news, stream.is_present())
        };
        // No lock is held from here on: whoever hears of it may come back with a property or a query.
        for News {
            report,
            present,
            payload,
        } in news
        {
            self.show(present, payload);
            self.post(report);
        }
        self.show(present, None);
        Some(result)
    }

    /// Shows whether a mark is present, and what was read last if that is news.
    fn show(&self, present: bool, payload: Option<String>) {
        let (appears, says) = {
            let mut published = lock(&self.published);
            let says = payload.is_some() && payload != published.payload;
            if says {
                published.payload = payload;
            }
            let appears = std::mem::replace(&mut published.present, present) != present;
            (appears, says)
        };
        self.notify_shown(appears, says);
    }

    /// Shows what is shown before the start.
    fn show_nothing(&self) {
        let before = std::mem::take(&mut *lock(&self.published));
        self.notify_shown(before.present, before.payload.is_some());
    }

    /// No lock is held here either.
    fn notify_shown(&self, present: bool, payload: bool) {
        if payload {
            self.obj().notify("last-payload");
        }
        if present {
            self.obj().notify("present");
        }
    }

    fn post(&self, report: gst::Structure) {
        if !lock(&self.settings).post_messages {
            return;
        }
        gst::debug!(CAT, imp = self, "Posting {report}");
        let obj = self.obj();
        let _ = obj.post_message(gst::message::Element::builder(report).src(&*obj).build());
    }

    /// Whether a long search at the end of the audio is to be given up, since nobody waits for what it finds.
    fn set_interrupted(&self, interrupted: bool) {
        lock(&self.interrupt).store(interrupted, Ordering::Relaxed);
    }

    /// Takes a buffer, which stays as it is.
    fn listen(&self, buffer: &gst::BufferRef) -> Result<gst::FlowSuccess, gst::FlowError> {
        let segment = self.obj().segment();
        if segment.rate() < 0.0 {
            return Ok(gst::FlowSuccess::Ok);
        }
        let segment = segment.downcast::<gst::ClockTime>().ok();
        let clipped = self.unclipped.clipped(buffer);
        let position = self
            .utc
            .position(&*self.obj(), buffer, clipped, segment.as_ref())
            .unwrap_or_else(|| Position::by_stream_time(None));
        let interval = lock(&self.settings).interval;
        let result = self.with_stream(|stream, reports| {
            stream.set_interval(interval);
            let result = stream.push(buffer, segment, position, reports);
            self.utc.count(stream.position_after());
            result
        });
        match result {
            Some(Ok(())) => Ok(gst::FlowSuccess::Ok),
            Some(Err(message)) => {
                self.post_error_message(message);
                Err(gst::FlowError::Error)
            }
            None => Err(gst::FlowError::NotNegotiated),
        }
    }

    /// Ends the run if this is not the stream that was there before.
    fn start_stream(&self, id: &str) {
        let same = {
            let mut state = lock(&self.state);
            let before = state.stream_id.replace(id.to_owned());
            before.is_none_or(|before| before == id)
        };
        if !same {
            self.with_stream(Stream::end);
        }
    }

    fn stats(&self) -> gst::Structure {
        let stats = lock(&self.published).stats;
        gst::Structure::builder("application/x-wmdetect-stats")
            .field("frames", stats.frames)
            .field("highest-score", stats.highest_score)
            .field("found", stats.found)
            .field("payload-tries", stats.payload_tries)
            .field("threshold", stats.threshold)
            .field("hypotheses-per-hour", stats.hypotheses_per_hour)
            .field("speeds", u32::try_from(stats.speeds).unwrap_or(u32::MAX))
            .build()
    }
}

#[glib::object_subclass]
impl ObjectSubclass for WmDetect {
    const NAME: &'static str = "GstWmDetect";
    type Type = super::WmDetect;
    type ParentType = gst_audio::AudioFilter;
    type Interfaces = (gst::Preset,);
}

impl ObjectImpl for WmDetect {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: Lazy<Vec<glib::ParamSpec>> = Lazy::new(|| {
            let mut properties = Settings::properties();
            properties.extend(shown_properties());
            properties
        });
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        if settings::is_too_late(*CAT, &*self.obj(), pspec) {
            return;
        }
        let changed = lock(&self.settings).replace(value, pspec);
        settings::log(*CAT, &*self.obj(), value, pspec);
        if changed {
            self.obj().notify_by_pspec(pspec);
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "present" => lock(&self.published).present.to_value(),
            "score" => lock(&self.published).score.to_value(),
            "last-payload" => lock(&self.published).payload.to_value(),
            "stats" => self.stats().to_value(),
            _ => lock(&self.settings).get(pspec),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        self.obj().set_gap_aware(true);
    }
}

impl GstObjectImpl for WmDetect {}

impl ElementImpl for WmDetect {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: Lazy<gst::subclass::ElementMetadata> = Lazy::new(|| {
            gst::subclass::ElementMetadata::new(
                "Audio watermark detector",
                "Filter/Analyzer/Audio",
                "Finds the mark that wmembed hid, and passes the audio through as it is",
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
        if transition == gst::StateChange::PausedToReady {
            self.set_interrupted(true);
        }
        self.parent_change_state(transition)
    }
}

impl BaseTransformImpl for WmDetect {
    const MODE: gst_base::subclass::BaseTransformMode =
        gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = true;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = true;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        // A copy, as loading may post a warning, and nobody waits for a passphrase to be stretched.
        let settings = lock(&self.settings).clone();
        let keys = settings.load_keys(&*self.obj())?;
        // What format the audio will have, does not matter yet.
        let config = settings.config(*SAMPLE_RATES.start(), 1);
        config.check(keys.len()).map_err(|error| {
            gst::error_msg!(
                gst::LibraryError::Settings,
                ("wmdetect cannot start: {error}")
            )
        })?;
        let first = settings.utc_start();
        let by_utc = config.row_clock == RowClock::Utc;
        self.utc.start(by_utc.then(|| Mapping::of_recording(first)));
        *lock(&self.state) = State {
            keys,
            ..State::default()
        };
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.state) = State::default();
        self.show_nothing();
        Ok(())
    }

    fn submit_input_buffer(
        &self,
        is_discont: bool,
        buffer: gst::Buffer,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        self.unclipped.arrives(&buffer);
        self.parent_submit_input_buffer(is_discont, buffer)
    }

    fn transform_ip(
        &self,
        buffer: &mut gst::BufferRef,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        // The base class is not in passthrough after caps that were refused.
        self.listen(buffer)
    }

    fn transform_ip_passthrough(
        &self,
        buffer: &gst::Buffer,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        self.listen(buffer)
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        use gst::EventView;
        match event.view() {
            EventView::StreamStart(start) => self.start_stream(start.stream_id()),
            EventView::Segment(segment) if segment.segment().rate() < 0.0 => {
                gst::warning!(CAT, imp = self, "Playing backwards: not listening");
                self.with_stream(Stream::end);
            }
            EventView::Gap(gap) => {
                let (timestamp, duration) = gap.get();
                self.with_stream(|stream, reports| stream.gap(timestamp, duration, reports));
            }
            EventView::Eos(_) | EventView::SegmentDone(_) => {
                self.with_stream(Stream::finish);
            }
            EventView::FlushStart(_) => self.set_interrupted(true),
            EventView::FlushStop(flush) => {
                if flush.resets_time() {
                    self.utc.restart_time();
                }
                self.with_stream(Stream::forget);
                // Not before the search that it interrupted has ended.
                self.set_interrupted(false);
            }
            _ => (),
        }
        self.parent_sink_event(event)
    }
}

impl AudioFilterImpl for WmDetect {
    fn allowed_caps() -> &'static gst::Caps {
        &audio::CAPS
    }

    fn setup(&self, info: &gst_audio::AudioInfo) -> Result<(), gst::LoggableError> {
        self.with_stream(Stream::end);
        // Not a copy of the settings: they have the text of the key.
        let (config, several) = {
            let settings = lock(&self.settings);
            let config = settings.config(info.rate(), info.channels() as usize);
            (config, settings.has_several_keys())
        };
        gst::debug!(CAT, imp = self, "Setting up for {config:?}");
        let mut state = lock(&self.state);
        let State { keys, stream, .. } = &mut *state;
        let new = Stream::new(info, &config, keys, several)
            .map_err(|error| gst::loggable_error!(CAT, "Cannot detect: {error}"))?;
        *lock(&self.interrupt) = new.interrupt();
        *stream = Some(new);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_and_the_way_to_ready_interrupt_a_long_search() {
        gst::init().unwrap();
        let element: super::super::WmDetect = glib::Object::new();
        element.set_property("key", "00".repeat(32));
        element.set_state(gst::State::Paused).unwrap();
        let sink = element.static_pad("sink").unwrap();
        let caps = "audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved";
        let caps: gst::Caps = caps.parse().unwrap();
        sink.send_event(gst::event::StreamStart::new("a"));
        sink.send_event(gst::event::Caps::new(&caps));
        let imp = element.imp();
        let of_stream = lock(&imp.state).stream.as_ref().unwrap().interrupt();
        let interrupted = || of_stream.load(Ordering::Relaxed);
        assert!(!interrupted());
        // The streaming thread is at work.
        let state = lock(&imp.state);
        sink.send_event(gst::event::FlushStart::new());
        assert!(interrupted());
        drop(state);
        sink.send_event(gst::event::FlushStop::new(true));
        assert!(!interrupted());
        element.set_state(gst::State::Ready).unwrap();
        assert!(interrupted());
        element.set_state(gst::State::Null).unwrap();
    }

    #[test]
    fn only_what_a_mark_did_not_say_before_is_news() {
        let report = |state: &str, key: u32, payload: Option<&str>| {
            gst::Structure::builder("wmdetect")
                .field("state", state)
                .field("key-index", key)
                .field_if_some("payload", payload)
                .build()
        };
        gst::init().unwrap();
        let mut said = Said::default();
        assert!(!said.is_any_present());
        for (state, key, payload, news, present) in [
            ("found", 0, None, false, true),
            ("present", 0, Some("00000001"), true, true),
            ("found", 1, Some("00000002"), true, true),
            ("present", 0, Some("00000001"), false, true),
            ("present", 0, None, false, true),
            ("present", 1, Some("00000002"), false, true),
            ("present", 0, Some("00000003"), true, true),
            ("lost", 0, Some("00000003"), false, true),
            ("lost", 1, Some("00000002"), false, false),
            ("found", 0, Some("00000003"), true, true),
        ] {
            let expected = payload.filter(|_| news).map(String::from);
            assert_eq!(said.take(&report(state, key, payload)), expected);
            assert_eq!(said.is_any_present(), present);
        }
    }
}
