// SPDX-License-Identifier: MIT OR Apache-2.0
//! `wmembed` hides the mark of a key in raw audio.
//!
//! ```text
//! gst-launch-1.0 filesrc location=in.flac ! decodebin ! audioconvert ! audioresample \
//!     ! wmembed key="a passphrase" ! flacenc ! filesink location=marked.flac
//! ```
//!
//! It takes raw interleaved audio, integer or float, of 16 bits a sample and more, 8 to 192 kHz, 1 to 64
//! channels, and gives back as many frames, each with the timestamp that it came with. Channels of
//! low-frequency effects stay as they are.
//!
//! # Properties
//! | property | type, default | meaning |
//! | --- | --- | --- |
//! | `key` | string | 64 hex digits, or else a passphrase; can be written but not read |
//! | `key-file` | string | path of a file whose first line is the key; set this or `key` |
//! | `carrier` | `programme` | what is added: `programme` or `noise` |
//! | `row-clock` | `stream` | what counts the rows of the key: `stream` time, or real time (`utc`) |
//! | `utc-offset` | 0 | ns, added to the time of day with `row-clock=utc` |
//! | `lookahead` | `true` | use the programme 160 ms later too: a stronger mark, 288 ms more latency |
//! | `strength` | 0.0 | decibels, -24 to 24, around the transparent default; controllable |
//! | `enabled` | `true` | whether to mark; `false` leaves every byte as it is; controllable |
//! | `latency` | ns | read-only: time by which audio leaves later than it came |
//!
//! The first six can be set in the states NULL and READY only. A missing or useless
//! key is an error when the element goes to PAUSED. A key on a command line can be seen by others: prefer
//! `key-file` there.
//!
//! # Time of day
//! With `row-clock=utc` the signs follow Unix time and never repeat. Where that comes from, first to last:
//!
//! - a `GstReferenceTimestampMeta` with caps `timestamp/x-unix` on the buffer, which tells the time of its first frame. While it
//!   agrees with the count of frames to 40 ms, the count goes on; then marking starts afresh at the new time (the audio goes on
//!   without a break). A clock that is 50 ppm off gets there every 13 minutes; the 160 ms before and after correlate with one side only;
//! - the mapping that is known: from running time, or without timestamps from the count of frames;
//! - the system's clock at the first buffer. If the pipeline plays already, the audio is taken to be as old as its running
//!   time says (up to a minute), as in a live pipeline; otherwise it counts from now. The clock is read again
//!   when the pipeline goes on after a pause, and after a flush that resets running time.
//!
//! So files that are marked one after the other, faster than they play, or a file after a seek, may use the same signs twice: give each
//! its `utc-offset`. All reference timestamps of the input are on the output, too; `utc-offset` does not change them.
//!
//! # Latency
//! The element answers the LATENCY query and posts a LATENCY message when the figure changes, which is when
//! the sample rate does. An application should recalculate the latency of its pipeline then. In a live pipeline with
//! several branches, queues beside `wmembed` need room for more than `latency`.
//!
//! # Breaks
//! A new segment, new caps, a gap event, a discontinuity or a timestamp that is off by more than 40 ms: what is
//! held leaves first, then marking starts afresh. A buffer that is declared a gap stays one.
//! Segments that play backwards pass through without a mark.

use gst::glib;
use gst::prelude::*;

mod imp;
mod settings;
mod stream;

glib::wrapper! {
    /// The element `wmembed`.
    pub struct WmEmbed(ObjectSubclass<imp::WmEmbed>)
        @extends gst_audio::AudioFilter, gst_base::BaseTransform, gst::Element, gst::Object,
        @implements gst::Preset;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "wmembed",
        gst::Rank::NONE,
        WmEmbed::static_type(),
    )
}
