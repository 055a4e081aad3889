// SPDX-License-Identifier: MIT OR Apache-2.0
//! The settings of `wmdetect`.

use crate::settings::{Changing, Shared};
use crate::watermark::{DetectorConfig, Key};
use gst::glib;
use gst::prelude::*;
use zeroize::Zeroizing;

const DEFAULT_CLOCK_TOLERANCE: gst::ClockTime = gst::ClockTime::from_seconds(120);
/// Each second of it is ten more rows to search.
const LARGEST_CLOCK_TOLERANCE: gst::ClockTime = gst::ClockTime::from_seconds(86_400);
/// Not known.
const DEFAULT_UTC_START: u64 = u64::MAX;
const DEFAULT_FALSE_ALARMS_PER_HOUR: f64 = 1e-4;
const DEFAULT_MAX_SPEED_DEVIATION: f64 = 0.1;
const DEFAULT_INTERVAL: gst::ClockTime = gst::ClockTime::SECOND;
const SHORTEST_INTERVAL: gst::ClockTime = gst::ClockTime::from_mseconds(100);
const DEFAULT_POST_MESSAGES: bool = true;

#[derive(Clone)]
pub(super) struct Settings {
    shared: Shared,
    /// Several keys, instead of the one of [`Shared`].
    keys: Vec<Zeroizing<String>>,
    clock_tolerance: gst::ClockTime,
    utc_start: u64,
    false_alarms_per_hour: f64,
    max_speed_deviation: f64,
    pub interval: gst::ClockTime,
    pub post_messages: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            shared: Shared::default(),
            keys: Vec::new(),
            clock_tolerance: DEFAULT_CLOCK_TOLERANCE,
            utc_start: DEFAULT_UTC_START,
            false_alarms_per_hour: DEFAULT_FALSE_ALARMS_PER_HOUR,
            max_speed_deviation: DEFAULT_MAX_SPEED_DEVIATION,
            interval: DEFAULT_INTERVAL,
            post_messages: DEFAULT_POST_MESSAGES,
        }
    }
}

impl Settings {
    pub fn properties() -> Vec<glib::ParamSpec> {
        let mut properties = Shared::properties();
        properties.push(
            gst::ParamSpecArray::builder("keys")
                .nick("Keys")
                .blurb(
                    "Keys to listen for at the same time, each like the property key (instead of key and key-file)",
                )
                .element_spec(&glib::ParamSpecString::builder("key").write_only().build())
                .write_only()
                .mutable_ready()
                .build(),
        );
        properties.extend(search_properties());
        properties.extend(report_properties());
        properties
    }

    /// What the detector is to do with audio of this format.
    pub fn config(&self, sample_rate: u32, channels: usize) -> DetectorConfig {
        DetectorConfig {
            sample_rate,
            channels,
            carrier: self.shared.carrier.into(),
            row_clock: self.shared.row_clock.into(),
            clock_tolerance: self.clock_tolerance.seconds_f64(),
            false_alarms_per_hour: self.false_alarms_per_hour,
            max_speed_deviation: self.max_speed_deviation,
            interval: self.interval.seconds_f64(),
        }
    }

    /// Unix time of the first frame of a recording, in nanoseconds, if it is known.
    pub fn utc_start(&self) -> Option<u64> {
        Some(self.utc_start).filter(|start| *start != DEFAULT_UTC_START)
    }

    /// Whether messages say which key they are about.
    pub fn has_several_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The keys to listen for, or what to tell the user. Stretching a passphrase takes some 30 ms.
    /// `object` warns of a key file that others can read.
    pub fn load_keys(
        &self,
        object: &impl IsA<gst::Element>,
    ) -> Result<Vec<Key>, gst::ErrorMessage> {
        if self.keys.is_empty() {
            return Ok(vec![self.shared.load_key(object, "wmdetect")?]);
        }
        if self.shared.has_key() {
            return Err(gst::error_msg!(
                gst::LibraryError::Settings,
                ("wmdetect has the property keys and another key: set only one of the properties \
                     keys, key and key-file")
            ));
        }
        let keys = self.keys.iter().enumerate().map(|(index, text)| {
            Key::parse(text).map_err(|error| {
                gst::error_msg!(
                    gst::LibraryError::Settings,
                    ("wmdetect cannot use number {index} of the property keys: {error}")
                )
            })
        });
        let keys: Vec<Key> = keys.collect::<Result<_, _>>()?;
        for (second, key) in keys.iter().enumerate() {
            if let Some(first) = keys[..second].iter().position(|other| other == key) {
                return Err(gst::error_msg!(
                    gst::LibraryError::Settings,
                    ("wmdetect has the same key twice, number {first} and number {second} of the \
                         property keys: leave one of them out")
                ));
            }
        }
        Ok(keys)
    }
}

impl Changing for Settings {
    fn set(&mut self, value: &glib::Value, pspec: &glib::ParamSpec) {
        match pspec.name() {
            "keys" => self.keys = texts(value),
            "clock-tolerance" => self.clock_tolerance = time(value),
            "utc-start" => self.utc_start = value.get().expect("type checked upstream"),
            "false-alarms-per-hour" => self.false_alarms_per_hour = number(value),
            "max-speed-deviation" => self.max_speed_deviation = number(value),
            "interval" => self.interval = time(value),
            "post-messages" => self.post_messages = value.get().expect("type checked upstream"),
            _ => self.shared.set(value, pspec),
        }
    }

    fn get(&self, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "clock-tolerance" => self.clock_tolerance.nseconds().to_value(),
            "utc-start" => self.utc_start.to_value(),
            "false-alarms-per-hour" => self.false_alarms_per_hour.to_value(),
            "max-speed-deviation" => self.max_speed_deviation.to_value(),
            "interval" => self.interval.nseconds().to_value(),
            "post-messages" => self.post_messages.to_value(),
            _ => self.shared.get(pspec),
        }
    }
}

fn texts(value: &glib::Value) -> Vec<Zeroizing<String>> {
    let array: gst::ArrayRef = value.get().expect("type checked upstream");
    // What is no string, or none, counts as empty, which is an error when the keys are loaded.
    let texts = array.iter().map(|text| text.get::<Option<&str>>());
    texts
        .map(|text| Zeroizing::new(text.ok().flatten().unwrap_or_default().to_owned()))
        .collect()
}

fn number(value: &glib::Value) -> f64 {
    value.get().expect("type checked upstream")
}

fn time(value: &glib::Value) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(value.get().expect("type checked upstream"))
}

fn search_properties() -> [glib::ParamSpec; 4] {
    [
        glib::ParamSpecUInt64::builder("clock-tolerance")
            .nick("Clock tolerance")
            .blurb(
                "Time in ns by which the clock may be off, up to a day (with row-clock=utc); more takes more CPU, and \
                 above 13 minutes is for recordings",
            )
            .maximum(LARGEST_CLOCK_TOLERANCE.nseconds())
            .default_value(DEFAULT_CLOCK_TOLERANCE.nseconds())
            .explicit_notify()
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt64::builder("utc-start")
            .nick("UTC of the start")
            .blurb(
                "Unix time in ns when the first frame of a recording was broadcast, give or take clock-tolerance \
                 (18446744073709551615 = not known, the clock tells)",
            )
            .default_value(DEFAULT_UTC_START)
            .explicit_notify()
            .mutable_ready()
            .build(),
        glib::ParamSpecDouble::builder("false-alarms-per-hour")
            .nick("False alarms per hour")
            .blurb(
                "False alarms in an hour of unmarked audio that are acceptable (1e-4 = about one a year)",
            )
            .minimum(1e-12)
            .maximum(3600.0)
            .default_value(DEFAULT_FALSE_ALARMS_PER_HOUR)
            .explicit_notify()
            .mutable_ready()
            .build(),
        glib::ParamSpecDouble::builder("max-speed-deviation")
            .nick("Largest speed deviation")
            .blurb(
                "How far the playing speed may be off, in percent, up to 1 with carrier=noise (0 = not at all); more \
                 takes more CPU and memory",
            )
            .minimum(0.0)
            .maximum(6.0)
            .default_value(DEFAULT_MAX_SPEED_DEVIATION)
            .explicit_notify()
            .mutable_ready()
            .build(),
    ]
}

fn report_properties() -> [glib::ParamSpec; 2] {
    [
        glib::ParamSpecUInt64::builder("interval")
            .nick("Interval")
            .blurb("Time in ns after which messages say again that the mark is present, 100 ms or more")
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
    ]
}

/// What can be read only: what the element knows at the moment.
pub(super) fn shown_properties() -> [glib::ParamSpec; 4] {
    [
        glib::ParamSpecBoolean::builder("present")
            .nick("Present")
            .blurb("Whether the mark is there now; notifies of changes")
            .read_only()
            .build(),
        glib::ParamSpecDouble::builder("score")
            .nick("Score")
            .blurb("Latest score, with mean 0 and variance 1 on unmarked audio (stats has the threshold)")
            .minimum(f64::MIN)
            .maximum(f64::MAX)
            .read_only()
            .build(),
        glib::ParamSpecString::builder("last-payload")
            .nick("Last payload")
            .blurb(
                "Payload that was read last, as 8 hex digits (NULL = none since the start); notifies of changes",
            )
            .read_only()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb("Figures about the search: frames taken, highest score, marks found, threshold and the like")
            .read_only()
            .build(),
    ]
}
