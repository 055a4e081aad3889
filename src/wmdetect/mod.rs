// SPDX-License-Identifier: MIT OR Apache-2.0
//! `wmdetect` finds the mark that `wmembed` hid, and passes the audio through as it is.
//!
//! ```text
//! gst-launch-1.0 -m autoaudiosrc ! audioconvert ! audioresample \
//!     ! wmdetect key="a passphrase" ! fakesink
//! ```
//!
//! Several keys at once:
//!
//! ```text
//! gst-launch-1.0 -m filesrc location=marked.flac ! decodebin ! audioconvert \
//!     ! wmdetect keys="<passphrase,another>" ! fakesink sync=false
//! ```
//!
//! (`gst-launch-1.0` takes arrays of single words only. An application can set any text.)
//!
//! It takes every raw format of GStreamer, interleaved or not, 8 to 192 kHz, 1 to 64 channels. No buffer is changed or
//! delayed.
//!
//! # Properties
//! | property | type, default | meaning |
//! | --- | --- | --- |
//! | `key` | string | 64 hex digits, or else a passphrase; can be written but not read |
//! | `key-file` | string | path of a file whose first line is the key; set this or `key` |
//! | `keys` | array of strings | keys to listen for at the same time, instead of `key` and `key-file`; can be written but not read |
//! | `carrier` | `programme` | what `wmembed` adds: `programme` or `noise` |
//! | `row-clock` | `stream` | what counts the rows of the key in `wmembed`: `stream` time, or real time (`utc`) |
//! | `clock-tolerance` | 120 s | ns, at most a day: how far the clock may be off, for `row-clock=utc`; more than 13 minutes are for recordings, see below |
//! | `utc-start` | none | ns of Unix time: when the first frame of a recording was broadcast, for `row-clock=utc`; 18446744073709551615 for none |
//! | `false-alarms-per-hour` | 0.0001 | false alarms in an hour of unmarked audio that are acceptable |
//! | `max-speed-deviation` | 0.1 | percent, 0 to 6: how far the playing speed may be off; at most 1 with `carrier=noise` |
//! | `interval` | 1 s | ns, at least 100 ms: how often `present` is repeated |
//! | `post-messages` | `true` | whether to post element messages |
//! | `present` | | read-only: whether the mark is there now; notifies of changes, each of them, before the message about it; stays as it is at the end of the audio, until READY |
//! | `score` | | read-only: latest score; mean 0 and variance 1 on unmarked audio |
//! | `last-payload` | string | read-only: the payload that was read last, 8 hex digits; none before and from READY on; notifies of changes |
//! | `stats` | | read-only: structure of figures about the search, see below |
//!
//! Those up to `max-speed-deviation` can be set in the states NULL and READY only. A missing or useless key is an
//! error when the element goes to PAUSED. A key on a command line can be seen by others: prefer `key-file` there.
//!
//! `keys` takes keys in the form of `key`, and has no counterpart for files. What depends on the audio alone is done
//! once for all of them. The permitted false alarms are those of all keys together: each key counts, and the score that
//! is needed rises a little with their number (with ten keys by 0.3). With `carrier=noise` there can be one only.
//!
//! # Presets
//! `broadcast`, `telephone` and `low-latency` go with the presets of the same name of [`wmembed`](crate::wmembed),
//! which says what they are for. None sets a key.
//!
//! # Messages
//! An element message named `wmdetect` tells when the mark is found, still present, or lost:
//!
//! | field | type | meaning |
//! | --- | --- | --- |
//! | `state` | string | `found`, `present` (once an interval) or `lost` |
//! | `score` | double | the score z: mean 0 and variance 1 on unmarked audio. `found`: of the best window, or of the latest 2 s if that says more. `present`, `lost`: of the latest 2 s, however little they say |
//! | `payload` | string | what the mark says, 8 hex digits; left out until it has been read, and if there is none |
//! | `key-index` | guint | which of `keys` the message is about, the first one being 0; left out with `key` and `key-file` |
//! | `log10-p` | double | log10 of the false alarms to be expected at most in an hour of unmarked audio if such a score were enough, all attempts counted; 0 for one or more. In `present` and `lost`, which follow a mark that was found, only a scale for the score |
//! | `window` | guint64 | ns of evidence behind the score |
//! | `speed` | double | playing speed, of those that are searched, 1.0 being that of `wmembed`; programme that was stretched in time mostly has one near 1.0 |
//! | `watermark-time` | guint64 | ns, position of the evidence's start in the marked programme, modulo 204.8 s (163.84 s with `carrier=noise`) |
//! | `watermark-time-error` | guint64 | ns by which `watermark-time` and `broadcast-time` are off at most, in 95 of 100 cases on clean audio, in rooms mostly (6 to 10 of 10 cases); left out with `carrier=noise` |
//! | `broadcast-time` | guint64 | ns of Unix time, the evidence's start by the clock of `wmembed`; with `row-clock=utc` only |
//! | `timestamp` | guint64 | ns, buffer timestamp of the START of the evidence. `found`: where the mark begins. `present`: 2 s ago. `lost`: where the marked stretch began |
//! | `stream-time` | guint64 | ns, the same as stream time |
//! | `running-time` | guint64 | ns, the same as running time |
//! | `duration` | guint64 | ns from the start to the end of the evidence. `found`, `present`: until now. `lost`: until the marked stretch ended, 2 to 3 s ago |
//!
//! With `carrier=noise` the start is that of the window that the mark was found in, up to 1.5 s before the mark, and the
//! score that of the best window.
//!
//! `found` comes 2 s after the mark begins, however strong it is, because it takes so long to tell `watermark-time`; later
//! if the mark is weak; and at once if the audio ends.
//!
//! A strong mark is `lost` about 2 to 3 s after its end: pauses of the programme up to 2 s are bridged. A weak one is
//! given time, and may be `lost` 10 s after its end and more. If the programme jumps to another place in marked
//! programme, there is no `lost`: the next `present` has the new position, and the stretch that `lost` tells began
//! there. Where the mark begins is right to 50 ms in four of five cases in clean audio, else to 0.2 s; in noise it is
//! the start of the best window.
//!
//! Where the audio ends while the mark is there (end of stream, or of a segment that is played to its end), there is
//! no `lost`: the mark was not lost. An application that keeps account of marked stretches closes those that are open
//! when it gets EOS or SEGMENT_DONE; the end of the latest `present` of each key (or of its `found`, if none came since)
//! tells up to where the mark was there. The property `present` stays true until the element goes to READY. If the
//! detector starts afresh instead, since audio, a flush or another stream follows, the `lost` comes then.
//!
//! A time that does not exist is left out. Where the detector has to start afresh (a flush, other caps, a new stream, a
//! jump in time) while the mark is present, a `lost` closes the account.
//!
//! # Payload
//! `found` has the payload if it has been read by then, which it mostly has on clean audio. Else there is a `present`
//! that has it as soon as it is, whatever `interval` says; so there is when another one is read. When the mark says nothing any more, the `present` messages
//! have none. What is read has passed a check of 32 bits with the key. To read it takes one message of 1.6 s at least,
//! and more of them if the mark is weak. Until then half of the frequencies count, and the score is lower by a factor
//! of 1.4; 2 s after it is read, all of them do.
//!
//! # Time of day
//! With `row-clock=utc` the detector searches the rows within `clock-tolerance` of its own clock. That is the
//! `GstReferenceTimestampMeta` with caps `timestamp/x-unix` of the buffer; else, in a recording, `utc-start` at the
//! first buffer and from there on stream time, so that seeking does not matter; else the system's clock, read as in
//! `wmembed`. Within a run of audio frames are counted. Where a newer reading differs from the count by more than half
//! of `clock-tolerance`, the detector starts afresh. `broadcast-time` comes from the mark: the detector's clock only
//! has to be right to `clock-tolerance`.
//!
//! With more than 13 minutes of tolerance the rows are searched in tiles, over pieces of 10 s, while the next piece
//! comes in. All messages about a mark then come up to 20 s later than they would, those of that time at once, with the
//! times they would have: if it has ended by then, `lost` follows `found`. At the end of the audio, and at a break,
//! what is left of the search is done at once, which takes up to 20 s of processor time with a tolerance of a day,
//! unless a flush or the way to READY ends it: that is for recordings, not for live streams.
//!
//! # Stats
//! `frames` (guint64) taken since the detector last started afresh, `highest-score` (double) since then, `found`
//! (guint64), how often the mark was found, `payload-tries` (guint64), how often it was tried to read a payload (a
//! wrong one gets through once in 2^32), `threshold` (double), the score that counts as found at nominal
//! speed (that of long evidence is up to 0.4 lower), `hypotheses-per-hour` (double) and `speeds` (guint) that are searched.
//!
//! # Breaks
//! Up to a second of missing audio counts as silence. After more, or after a jump, the detector starts afresh.
//! Timestamps that drift away from the frames little by little are followed; what is ahead by more than jitter (40 ms) in
//! a buffer with the DISCONT flag counts as missing audio. A buffer with that flag and no timestamp is a break.
//! Buffers that are declared gaps or corrupted count as silence. Segments that play backwards are ignored.

use gst::glib;
use gst::prelude::*;

pub(crate) mod imp;
mod settings;
mod stream;

glib::wrapper! {
    /// The element `wmdetect`.
    pub struct WmDetect(ObjectSubclass<imp::WmDetect>)
        @extends gst_audio::AudioFilter, gst_base::BaseTransform, gst::Element, gst::Object,
        @implements gst::Preset;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "wmdetect",
        gst::Rank::NONE,
        WmDetect::static_type(),
    )
}
