// SPDX-License-Identifier: MIT OR Apache-2.0

use super::stream::Stream;
use crate::audio;
use crate::settings::{self, Shared, lock};
use crate::watermark::detector::DetectorStats;
use crate::watermark::{Carrier, DetectorConfig, Key, MAX_NOISE_DEVIATION};
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_audio::subclass::prelude::*;
use gst_base::prelude::*;
use once_cell::sync::Lazy;
use std::sync::Mutex;

static CAT: Lazy<gst::DebugCategory> = Lazy::new(|| {
    gst::DebugCategory::new(
        "wmdetect",
        gst::DebugColorFlags::empty(),
        Some("Audio watermark detector"),
    )
});

const DEFAULT_CLOCK_TOLERANCE: gst::ClockTime = gst::ClockTime::from_seconds(120);
/// Each second of it is ten more rows to search.
const LARGEST_CLOCK_TOLERANCE: gst::ClockTime = gst::ClockTime::from_seconds(3600);
const DEFAULT_FALSE_ALARMS_PER_HOUR: f64 = 1e-4;
const DEFAULT_MAX_SPEED_DEVIATION: f64 = 0.1;
const DEFAULT_INTERVAL: gst::ClockTime = gst::ClockTime::SECOND;
const SHORTEST_INTERVAL: gst::ClockTime = gst::ClockTime::from_mseconds(100);
const DEFAULT_POST_MESSAGES: bool = true;

#[derive(Clone)]
struct Settings {
    shared: Shared,
    clock_tolerance: gst::ClockTime,
    false_alarms_per_hour: f64,
    max_speed_deviation: f64,
    interval: gst::ClockTime,
    post_messages: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            shared: Shared::default(),
            clock_tolerance: DEFAULT_CLOCK_TOLERANCE,
            false_alarms_per_hour: DEFAULT_FALSE_ALARMS_PER_HOUR,
            max_speed_deviation: DEFAULT_MAX_SPEED_DEVIATION,
            interval: DEFAULT_INTERVAL,
            post_messages: DEFAULT_POST_MESSAGES,
        }
    }
}

#[derive(Default)]
struct State {
    key: Option<Key>,
    stream: Option<Stream>,
    stream_id: Option<String>,
}

/// What the read-only properties show. Apart from the state, so that reading them does not wait for a
/// buffer to be analysed.
#[derive(Default, Clone, Copy)]
struct Published {
    present: bool,
    score: f64,
    stats: DetectorStats,
}

#[derive(Default)]
pub struct WmDetect {
    settings: Mutex<Settings>,
    state: Mutex<State>,
    published: Mutex<Published>,
}

impl WmDetect {
    /// Lets `work` use the stream, if there is one, and tells everybody what came of it.
    fn with_stream<R>(
        &self,
        work: impl FnOnce(&mut Stream, &mut Vec<gst::Structure>) -> R,
    ) -> Option<R> {
        let mut reports = Vec::new();
        let (result, news) = {
            let mut state = lock(&self.state);
            let stream = state.stream.as_mut()?;
            let result = work(stream, &mut reports);
            let (present, score, stats) = (stream.is_present(), stream.score(), stream.stats());
            (
                result,
                Published {
                    present,
                    score,
                    stats,
                },
            )
        };
        // No lock is held from here on: whoever hears of it may come back with a property or a query.
        self.publish(news);
        self.post(reports);
        Some(result)
    }

    fn publish(&self, news: Published) {
        let before = std::mem::replace(&mut *lock(&self.published), news);
        if before.present != news.present {
            self.obj().notify("present");
        }
    }

    fn post(&self, reports: Vec<gst::Structure>) {
        if reports.is_empty() || !lock(&self.settings).post_messages {
            return;
        }
        let obj = self.obj();
        for report in reports {
            gst::debug!(CAT, imp = self, "Posting {report}");
            let _ = obj.post_message(gst::message::Element::builder(report).src(&*obj).build());
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
}

impl ObjectImpl for WmDetect {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: Lazy<Vec<glib::ParamSpec>> = Lazy::new(|| {
            let mut properties = Shared::properties();
            properties.extend(search_properties());
            properties.extend(report_properties());
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
            "clock-tolerance" => settings.clock_tolerance = time(value),
            "false-alarms-per-hour" => {
                settings::set_number(&mut settings.false_alarms_per_hour, value);
            }
            "max-speed-deviation" => {
                settings::set_number(&mut settings.max_speed_deviation, value);
            }
            "interval" => settings.interval = time(value),
            "post-messages" => settings.post_messages = value.get().expect("type checked upstream"),
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
        match pspec.name() {
            "clock-tolerance" => lock(&self.settings).clock_tolerance.nseconds().to_value(),
            "false-alarms-per-hour" => lock(&self.settings).false_alarms_per_hour.to_value(),
            "max-speed-deviation" => lock(&self.settings).max_speed_deviation.to_value(),
            "interval" => lock(&self.settings).interval.nseconds().to_value(),
            "post-messages" => lock(&self.settings).post_messages.to_value(),
            "present" => lock(&self.published).present.to_value(),
            "score" => lock(&self.published).score.to_value(),
            "stats" => self.stats().to_value(),
            _ => lock(&self.settings).shared.get(pspec),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        self.obj().set_gap_aware(true);
    }
}

fn time(value: &glib::Value) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(value.get().expect("type checked upstream"))
}

fn search_properties() -> [glib::ParamSpec; 3] {
    [
        glib::ParamSpecUInt64::builder("clock-tolerance")
            .nick("Clock tolerance")
            .blurb("Time in ns by which the system's clock may be wrong, up to an hour (for row-clock=utc)")
            .maximum(LARGEST_CLOCK_TOLERANCE.nseconds())
            .default_value(DEFAULT_CLOCK_TOLERANCE.nseconds())
            .mutable_ready()
            .build(),
        glib::ParamSpecDouble::builder("false-alarms-per-hour")
            .nick("False alarms per hour")
            .blurb("False alarms in an hour of unmarked audio that are acceptable (1e-4 = about one a year)")
            .minimum(1e-12)
            .maximum(3600.0)
            .default_value(DEFAULT_FALSE_ALARMS_PER_HOUR)
            .mutable_ready()
            .build(),
        glib::ParamSpecDouble::builder("max-speed-deviation")
            .nick("Largest speed deviation")
            .blurb("How far the playing speed may be off, in percent (0 = not at all); more takes more CPU")
            .minimum(0.0)
            .maximum(6.0)
            .default_value(DEFAULT_MAX_SPEED_DEVIATION)
            .mutable_ready()
            .build(),
    ]
}

fn report_properties() -> [glib::ParamSpec; 5] {
    [
        glib::ParamSpecUInt64::builder("interval")
            .nick("Interval")
            .blurb("Time in ns after which it is reported again that the mark is present")
            .minimum(SHORTEST_INTERVAL.nseconds())
            .maximum(u64::MAX - 1)
            .default_value(DEFAULT_INTERVAL.nseconds())
            .mutable_playing()
            .build(),
        glib::ParamSpecBoolean::builder("post-messages")
            .nick("Post messages")
            .blurb("Whether to post an element message when the mark is found, present or lost")
            .default_value(DEFAULT_POST_MESSAGES)
            .mutable_playing()
            .build(),
        glib::ParamSpecBoolean::builder("present")
            .nick("Present")
            .blurb("Whether the mark is there now; notifies of changes")
            .read_only()
            .build(),
        glib::ParamSpecDouble::builder("score")
            .nick("Score")
            .blurb("Latest score, with mean 0 and variance 1 on unmarked audio")
            .minimum(f64::MIN)
            .maximum(f64::MAX)
            .read_only()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb(
                "Frames taken, highest score, times found, threshold, hypotheses per hour, speeds",
            )
            .read_only()
            .build(),
    ]
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
}

impl BaseTransformImpl for WmDetect {
    const MODE: gst_base::subclass::BaseTransformMode =
        gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = true;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = true;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let (shared, deviation) = {
            let settings = lock(&self.settings);
            (settings.shared.clone(), settings.max_speed_deviation)
        };
        if Carrier::from(shared.carrier) == Carrier::Noise && deviation > MAX_NOISE_DEVIATION {
            return Err(gst::error_msg!(
                gst::LibraryError::Settings,
                ("wmdetect cannot start: with carrier=noise, max-speed-deviation is at most \
                     {MAX_NOISE_DEVIATION} percent, not {deviation}")
            ));
        }
        shared.check("wmdetect")?;
        let key = shared.load_key(&*self.obj(), "wmdetect")?;
        *lock(&self.state) = State {
            key: Some(key),
            ..State::default()
        };
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.state) = State::default();
        self.publish(Published::default());
        Ok(())
    }

    fn transform_ip_passthrough(
        &self,
        buffer: &gst::Buffer,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let segment = self.obj().segment();
        if segment.rate() < 0.0 {
            return Ok(gst::FlowSuccess::Ok);
        }
        let segment = segment.downcast::<gst::ClockTime>().ok();
        let interval = lock(&self.settings).interval;
        let result = self.with_stream(|stream, reports| {
            stream.set_interval(interval);
            stream.push(buffer, segment, reports)
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
            EventView::FlushStop(_) => {
                self.with_stream(Stream::forget);
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
        let settings = lock(&self.settings).clone();
        let config = DetectorConfig {
            sample_rate: info.rate(),
            channels: info.channels() as usize,
            carrier: settings.shared.carrier.into(),
            row_clock: settings.shared.row_clock.into(),
            clock_tolerance: settings.clock_tolerance.seconds_f64(),
            false_alarms_per_hour: settings.false_alarms_per_hour,
            max_speed_deviation: settings.max_speed_deviation,
            interval: settings.interval.seconds_f64(),
        };
        gst::debug!(CAT, imp = self, "Setting up for {config:?}");
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
            .map_err(|error| gst::loggable_error!(CAT, "Cannot detect: {error}"))?;
        *stream = Some(new);
        Ok(())
    }
}
