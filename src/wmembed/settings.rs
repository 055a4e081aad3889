// SPDX-License-Identifier: MIT OR Apache-2.0
//! The settings of `wmembed`.

use crate::settings::{Changing, Shared, WmCarrier};
use crate::watermark::{ConfigError, Payload, PayloadError};
use gst::glib;
use gst::prelude::*;

const DEFAULT_STRENGTH: f64 = 0.0;
const DEFAULT_ENABLED: bool = true;
const DEFAULT_LOOKAHEAD: bool = true;
const DEFAULT_UTC_OFFSET: i64 = 0;
const DEFAULT_REPORT_INTERVAL: gst::ClockTime = gst::ClockTime::from_seconds(10);

#[derive(Clone)]
pub(super) struct Settings {
    pub shared: Shared,
    pub strength: f64,
    pub enabled: bool,
    pub lookahead: bool,
    pub utc_offset: i64,
    /// As it was set; in a running element it is one.
    pub payload: String,
    /// 0 for no reports.
    pub report_interval: gst::ClockTime,
    /// The element has started with them, and refuses a payload that is none.
    pub started: bool,
}

/// What can change from buffer to buffer: the rest holds the key, of which no more copies are made than are needed.
#[derive(Clone, Copy)]
pub(super) struct Marking {
    pub strength: f64,
    pub enabled: bool,
    pub payload: Option<Payload>,
    pub report_interval: gst::ClockTime,
}

impl Marking {
    /// Whether reports are wanted, and there is a mark to report about.
    pub fn is_measured(&self) -> bool {
        self.enabled && !self.report_interval.is_zero()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            shared: Shared::default(),
            strength: DEFAULT_STRENGTH,
            enabled: DEFAULT_ENABLED,
            lookahead: DEFAULT_LOOKAHEAD,
            utc_offset: DEFAULT_UTC_OFFSET,
            payload: String::new(),
            report_interval: DEFAULT_REPORT_INTERVAL,
            started: false,
        }
    }
}

impl Settings {
    pub fn properties() -> Vec<glib::ParamSpec> {
        let mut properties = Shared::properties();
        properties.extend([
            glib::ParamSpecDouble::builder("strength")
                .nick("Strength")
                .blurb("Level of the mark in dB, from the default (0) down to -24 or up to 24")
                .minimum(-24.0)
                .maximum(24.0)
                .default_value(DEFAULT_STRENGTH)
                .controllable()
                .mutable_playing()
                .build(),
            glib::ParamSpecBoolean::builder("enabled")
                .nick("Enabled")
                .blurb("Whether to mark (false = the audio passes unchanged, bit for bit)")
                .default_value(DEFAULT_ENABLED)
                .controllable()
                .mutable_playing()
                .build(),
            glib::ParamSpecBoolean::builder("lookahead")
                .nick("Look-ahead")
                .blurb(
                    "Use the programme 160 ms later, too (false = 288 ms less latency, a score lower by a quarter)",
                )
                .default_value(DEFAULT_LOOKAHEAD)
                .explicit_notify()
                .mutable_ready()
                .build(),
            glib::ParamSpecInt64::builder("utc-offset")
                .nick("UTC offset")
                .blurb(
                    "Time in ns to add to the time of day, for what is broadcast later (with row-clock=utc)",
                )
                .default_value(DEFAULT_UTC_OFFSET)
                .explicit_notify()
                .mutable_ready()
                .build(),
            glib::ParamSpecString::builder("payload")
                .nick("Payload")
                .blurb(
                    "What the mark says, 4 bytes as 8 hex digits, from the next message on, at most 1.6 s later \
                     (empty = nothing, a stronger mark)",
                )
                .default_value(Some(""))
                .explicit_notify()
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt64::builder("report-interval")
                .nick("Report interval")
                .blurb("Time in ns between two reports of how well the mark will be found (0 = never)")
                .maximum(u64::MAX - 1)
                .default_value(DEFAULT_REPORT_INTERVAL.nseconds())
                .mutable_playing()
                .build(),
        ]);
        properties
    }

    /// Whether a payload is one, or else what is wrong with it. What is set before the start, the start checks.
    pub fn accept_payload(&self, value: &glib::Value) -> Result<(), String> {
        if !self.started {
            return Ok(());
        }
        let text: Option<&str> = value.get().expect("type checked upstream");
        self.check(text.unwrap_or_default())
    }

    /// What holds from the next buffer on.
    pub fn marking(&self) -> Marking {
        Marking {
            strength: self.strength,
            enabled: self.enabled,
            payload: self.payload().unwrap_or_default(),
            report_interval: self.report_interval,
        }
    }

    /// The payload, none if it is empty.
    pub fn payload(&self) -> Result<Option<Payload>, PayloadError> {
        payload(&self.payload)
    }

    /// What is wrong with the payload, as it was set.
    pub fn check_payload(&self) -> Result<(), String> {
        self.check(&self.payload)
    }

    /// What is wrong with a text as payload.
    fn check(&self, text: &str) -> Result<(), String> {
        match payload(text) {
            Err(error) => Err(format!("\"{text}\" is no payload: {error}")),
            Ok(Some(_)) if self.shared.carrier == WmCarrier::Noise => {
                Err(ConfigError::NoiseWithPayload.to_string())
            }
            Ok(_) => Ok(()),
        }
    }
}

impl Changing for Settings {
    fn set(&mut self, value: &glib::Value, pspec: &glib::ParamSpec) {
        match pspec.name() {
            "strength" => self.strength = value.get().expect("type checked upstream"),
            "enabled" => self.enabled = value.get().expect("type checked upstream"),
            "lookahead" => self.lookahead = value.get().expect("type checked upstream"),
            "utc-offset" => self.utc_offset = value.get().expect("type checked upstream"),
            "payload" => {
                let text: Option<String> = value.get().expect("type checked upstream");
                self.payload = text.unwrap_or_default();
            }
            "report-interval" => {
                let nanoseconds = value.get().expect("type checked upstream");
                self.report_interval = gst::ClockTime::from_nseconds(nanoseconds);
            }
            _ => self.shared.set(value, pspec),
        }
    }

    fn get(&self, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "strength" => self.strength.to_value(),
            "enabled" => self.enabled.to_value(),
            "lookahead" => self.lookahead.to_value(),
            "utc-offset" => self.utc_offset.to_value(),
            "payload" => self.payload.to_value(),
            "report-interval" => self.report_interval.nseconds().to_value(),
            _ => self.shared.get(pspec),
        }
    }
}

/// The payload that a text is; none if it is empty.
fn payload(text: &str) -> Result<Option<Payload>, PayloadError> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some),
    }
}
