// SPDX-License-Identifier: MIT OR Apache-2.0
//! Settings that embedder and detector share, and must agree on.

use crate::watermark::format::check_carrier;
use crate::watermark::{Carrier, Key, KeyError, RowClock};
use gst::glib;
use gst::prelude::*;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use zeroize::Zeroizing;

/// What is added to the programme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstWmCarrier")]
#[repr(i32)]
pub enum WmCarrier {
    /// A faint copy of the programme's own fine structure.
    #[default]
    #[enum_value(
        name = "Programme: a faint copy of the programme's fine structure, 160 ms earlier and later",
        nick = "programme"
    )]
    Programme = 0,
    /// A block of noise that repeats.
    #[enum_value(
        name = "Noise: a block of 160 ms of noise, repeated; for row-clock=stream, carries no payload",
        nick = "noise"
    )]
    Noise = 1,
}

/// What counts the rows of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstWmRowClock")]
#[repr(i32)]
pub enum WmRowClock {
    /// Stream time.
    #[default]
    #[enum_value(
        name = "Stream time, for files: the mark repeats after 204.8 s, no clock is needed",
        nick = "stream"
    )]
    Stream = 0,
    /// Unix time.
    #[enum_value(
        name = "Time of day, for live streams: the mark never repeats, the clocks of both must agree",
        nick = "utc"
    )]
    Utc = 1,
}

impl From<WmCarrier> for Carrier {
    fn from(carrier: WmCarrier) -> Self {
        match carrier {
            WmCarrier::Programme => Carrier::Programme,
            WmCarrier::Noise => Carrier::Noise,
        }
    }
}

impl From<WmRowClock> for RowClock {
    fn from(clock: WmRowClock) -> Self {
        match clock {
            WmRowClock::Stream => RowClock::Stream,
            WmRowClock::Utc => RowClock::Utc,
        }
    }
}

/// Registers the enumerations, so that `gst-inspect-1.0` lists their values.
pub(crate) fn register() {
    for type_ in [WmCarrier::static_type(), WmRowClock::static_type()] {
        #[cfg(feature = "doc")]
        type_.mark_as_plugin_api(gst::PluginAPIFlags::empty());
        let _ = type_;
    }
}

/// Settings of an element, by the properties that show them.
pub(crate) trait Changing {
    /// Takes the value of a property.
    fn set(&mut self, value: &glib::Value, pspec: &glib::ParamSpec);

    /// The value of a property.
    fn get(&self, pspec: &glib::ParamSpec) -> glib::Value;

    /// Takes the value of a property; whether that is to be notified. What has no `EXPLICIT_NOTIFY` GObject notifies.
    fn replace(&mut self, value: &glib::Value, pspec: &glib::ParamSpec) -> bool {
        if !pspec.flags().contains(glib::ParamFlags::EXPLICIT_NOTIFY) {
            self.set(value, pspec);
            return false;
        }
        let before = self.get(pspec);
        self.set(value, pspec);
        before.compare(&self.get(pspec)) != Some(std::cmp::Ordering::Equal)
    }
}

/// Locks even if another thread panicked meanwhile: what is behind these locks stays consistent.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether it is too late to set a property, which the log then says: most are read when the element starts.
pub(crate) fn is_too_late(
    category: gst::DebugCategory,
    element: &impl IsA<gst::Element>,
    pspec: &glib::ParamSpec,
) -> bool {
    let late = !pspec.flags().contains(gst::PARAM_FLAG_MUTABLE_PLAYING)
        && element.current_state() > gst::State::Ready;
    if late {
        gst::warning!(
            category,
            obj = element,
            "Property {} can be set in NULL and READY only, it stays as it is",
            pspec.name()
        );
    }
    late
}

/// Logs the new value of a property, unless it is one that nobody may read: keys never show.
pub(crate) fn log(
    category: gst::DebugCategory,
    element: &impl IsA<gst::Element>,
    value: &glib::Value,
    pspec: &glib::ParamSpec,
) {
    if pspec.flags().contains(glib::ParamFlags::READABLE) {
        gst::info!(
            category,
            obj = element,
            "Property {} is now {value:?}",
            pspec.name()
        );
    }
}

/// The settings that both elements have. There is no `Debug`: it would show the key.
#[derive(Clone, Default)]
pub(crate) struct Shared {
    key: Option<Zeroizing<String>>,
    key_file: Option<String>,
    pub carrier: WmCarrier,
    pub row_clock: WmRowClock,
}

impl Shared {
    /// Those that may be refused are notified by the elements, and only when they have changed.
    pub fn properties() -> Vec<glib::ParamSpec> {
        vec![
            glib::ParamSpecString::builder("key")
                .nick("Key")
                .blurb(
                    "Secret that wmembed and wmdetect share: 64 hex digits, or else a passphrase (others see it on a \
                     command line: use key-file there)",
                )
                .write_only()
                .mutable_ready()
                .build(),
            glib::ParamSpecString::builder("key-file")
                .nick("Key file")
                .blurb(
                    "Path of a file whose first line is the key, up to 4096 bytes, readable by its owner only \
                     (instead of key)",
                )
                .explicit_notify()
                .mutable_ready()
                .build(),
            glib::ParamSpecEnum::builder_with_default("carrier", WmCarrier::default())
                .nick("Carrier")
                .blurb("What is added to the programme, the same in wmembed as in wmdetect")
                .explicit_notify()
                .mutable_ready()
                .build(),
            glib::ParamSpecEnum::builder_with_default("row-clock", WmRowClock::default())
                .nick("Row clock")
                .blurb("What counts the rows of the key, 200 ms each, the same in wmembed as in wmdetect")
                .explicit_notify()
                .mutable_ready()
                .build(),
        ]
    }

    /// Takes the value of one of [`Shared::properties`].
    pub fn set(&mut self, value: &glib::Value, pspec: &glib::ParamSpec) {
        let text = || {
            let text: Option<&str> = value.get().expect("type checked upstream");
            text.filter(|text| !text.is_empty()).map(String::from)
        };
        match pspec.name() {
            "key" => self.key = text().map(Zeroizing::new),
            "key-file" => self.key_file = text(),
            "carrier" => self.carrier = value.get().expect("type checked upstream"),
            "row-clock" => self.row_clock = value.get().expect("type checked upstream"),
            name => unreachable!("property {name} is not listed"),
        }
    }

    /// The value of one of [`Shared::properties`].
    pub fn get(&self, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "key-file" => self.key_file.to_value(),
            "carrier" => self.carrier.to_value(),
            "row-clock" => self.row_clock.to_value(),
            name => unreachable!("property {name} is not listed"),
        }
    }

    /// Says what is wrong with settings that do not go together.
    pub fn check(&self, element: &str) -> Result<(), gst::ErrorMessage> {
        check_carrier(self.carrier.into(), self.row_clock.into()).map_err(|error| {
            gst::error_msg!(
                gst::LibraryError::Settings,
                ("{element} cannot start: {error}")
            )
        })
    }

    /// Whether a key is set, in one way or another.
    pub fn has_key(&self) -> bool {
        self.key.is_some() || self.key_file.is_some()
    }

    /// The key for `element`, or what to tell the user. Stretching a passphrase takes some 30 ms.
    /// `object` warns of a key file that others can read.
    pub fn load_key(
        &self,
        object: &impl IsA<gst::Element>,
        element: &str,
    ) -> Result<Key, gst::ErrorMessage> {
        match (&self.key, &self.key_file) {
            (Some(text), None) => Key::parse(text).map_err(|error| {
                gst::error_msg!(
                    gst::LibraryError::Settings,
                    ("{element} cannot use the property key: {error}")
                )
            }),
            (None, Some(path)) => {
                let (key, exposed) = Key::from_file_of(Path::new(path))
                    .map_err(|error| file_error(element, path, &error))?;
                if exposed {
                    gst::element_warning!(
                        object,
                        gst::ResourceError::Settings,
                        ("{element}: others than its owner can read key-file \"{path}\", and so \
                             mark and detect: chmod 600 \"{path}\"")
                    );
                }
                Ok(key)
            }
            (None, None) => Err(gst::error_msg!(
                gst::LibraryError::Settings,
                ("{element} needs a key: set the property key (64 hex digits or a passphrase) \
                     or key-file (a file that holds one)")
            )),
            (Some(_), Some(_)) => Err(gst::error_msg!(
                gst::LibraryError::Settings,
                ("{element} has two keys: set only one of the properties key and key-file")
            )),
        }
    }
}

fn file_error(element: &str, path: &str, error: &KeyError) -> gst::ErrorMessage {
    let text = format!("{element} got no key from key-file \"{path}\": {error}");
    match error {
        KeyError::File(e) if e.kind() == std::io::ErrorKind::NotFound => {
            gst::error_msg!(gst::ResourceError::NotFound, ("{text}"))
        }
        KeyError::File(_) => gst::error_msg!(gst::ResourceError::OpenRead, ("{text}")),
        _ => gst::error_msg!(gst::LibraryError::Settings, ("{text}")),
    }
}
