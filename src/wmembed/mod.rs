// SPDX-License-Identifier: MIT OR Apache-2.0
//! `wmembed` hides the mark of a key in raw audio.
//!
//! ```text
//! gst-launch-1.0 filesrc location=in.flac ! decodebin ! audioconvert ! audioresample \
//!     ! wmembed key="a passphrase" payload=00c0ffee ! flacenc ! filesink location=marked.flac
//! ```
//!
//! Without `payload` the mark says nothing but that it is there.
//!
//! It takes every raw format of GStreamer, interleaved or not, 8 to 192 kHz, 1 to 64 channels, and gives back as many
//! frames, each with the timestamp that it came with, to 40 ms. Channels of low-frequency effects stay as they are,
//! and so do samples that are not finite.
//!
//! # Properties
//! | property | type, default | meaning |
//! | --- | --- | --- |
//! | `key` | string | 64 hex digits, or else a passphrase; can be written but not read |
//! | `key-file` | string | path of a file whose first line is the key; set this or `key` |
//! | `carrier` | `programme` | what is added: `programme` or `noise`, which needs a sample rate that is a multiple of 25 Hz |
//! | `row-clock` | `stream` | what counts the rows of the key: `stream` time, or real time (`utc`) |
//! | `utc-offset` | 0 | ns, added to the time of day with `row-clock=utc` |
//! | `lookahead` | `true` | use the programme 160 ms later too: a stronger mark, 288 ms more latency |
//! | `payload` | none | what the mark says: four bytes as 8 hex digits, such as `00c0ffee`; empty for nothing |
//! | `strength` | 0.0 | decibels, -24 to 24, around the default; controllable |
//! | `enabled` | `true` | whether to mark; `false` leaves every byte as it is; controllable |
//! | `report-interval` | 10 s | ns between two reports of how well the mark will be found, see below; 0 for none |
//! | `latency` | ns | read-only: time by which audio leaves later than it came |
//! | `detectability` | 0 | read-only: that of the latest report; 0 before it, and while nothing is measured |
//!
//! The last two are notified when they change, and go back to 0 when the element stops.
//!
//! The first six can be set in the states NULL and READY only, `payload`, `strength`, `enabled` and `report-interval`
//! at any time. A missing or useless key is an error when the element goes to PAUSED. A key on a command line can be
//! seen by others: prefer `key-file` there.
//!
//! # Presets
//! Presets of `wmembed` and `wmdetect` with the same name belong together (`@preset=broadcast` in `gst-launch-1.0`):
//!
//! | preset | for | what differs from the defaults |
//! | --- | --- | --- |
//! | `broadcast` | live on air and in streams | `row-clock=utc`: signs are never used again, and the clocks of both ends must agree to 120 s. For recordings that are older, set `clock-tolerance` or `utc-start` of `wmdetect` afterwards |
//! | `telephone` | files that are heard by telephone, G.711 or GSM | `strength=2`; `max-speed-deviation=0.02`, enough for two crystals that are 100 ppm off each |
//! | `low-latency` | live, where 309 ms are too much | `lookahead=false`, `row-clock=utc`: 21 ms, and a score lower by a quarter |
//!
//! None of them sets a key or a payload. A preset that an application saves has neither `key` nor `key-file`, and to
//! load one leaves both as they are.
//!
//! # Payload
//! A mark that says nothing is stronger: with a payload, half of the frequencies carry it, and until it is read, the
//! other half is all that a detector has. It can be set at any time, and is said over and over, in messages of 1.6 s
//! that begin where the row clock is a multiple of that. The first message that the element has not begun when the
//! property is set is the first one that says it. An element message named `wmembed` tells where that is:
//!
//! | field | type | meaning |
//! | --- | --- | --- |
//! | `payload` | string | what the mark says from there on, 8 hex digits; empty for nothing |
//! | `timestamp` | guint64 | ns, buffer timestamp of the place |
//! | `stream-time` | guint64 | ns, the same as stream time |
//! | `running-time` | guint64 | ns, the same as running time |
//!
//! It comes before the audio leaves. Another comes only when something else is said, or with new caps: not after a
//! seek, and not where marking starts afresh for another reason. At the start of a stream, which may lie in the midst
//! of a message, what is set is said at once; if that is nothing, there is no message about it. The messages come also
//! while `enabled` is `false`. A time that does not exist is left out.
//!
//! A text that is no payload is an error when the element goes to PAUSED, and so is a payload with `carrier=noise`.
//! Later on it is a warning on the bus, and the payload stays as it was.
//!
//! # How well the mark will be found
//! Silence carries no mark, and a pure tone or what lies below 300 Hz none that would be found. So the element measures
//! what leaves it, and says once in each `report-interval` what a `wmdetect` can make of it. That is an element message
//! named `wmembed`, too:
//!
//! | field | type | meaning |
//! | --- | --- | --- |
//! | `detectability` | double | mean of the scores that `wmdetect` reaches in 2 s of a clean copy |
//! | `threshold` | double | the score that a `wmdetect` with default settings needs |
//! | `weak` | boolean | in more than half of the time the score was below the threshold |
//! | `timestamp` | guint64 | ns, buffer timestamp of the start of what was measured |
//! | `stream-time` | guint64 | ns, the same as stream time |
//! | `running-time` | guint64 | ns, the same as running time |
//! | `duration` | guint64 | ns of audio from there on that were measured |
//!
//! It is that of a clean copy, measured as the audio leaves; a codec or a room leaves less of it, and the element
//! cannot know how much. `weak` means that 2 s are not enough: in a longer stretch the mark may be found all the same.
//! With a payload it is the score before the payload is read. Where there is no mark scores are chance, and their mean
//! is about 0, mostly less than 1.
//!
//! The message comes up to 0.2 s after the end of what was measured has left, and before anything that comes later.
//! The interval counts audio, across places where marking starts afresh, too: where the runs between them are short,
//! the report says what that leaves of the mark. It begins anew with a segment, stream or caps, after a flush, and
//! where `enabled` was `false`; before a segment, stream or caps end, what is left since the latest report is told if
//! it is 2 s or more. There are no reports while `enabled` is `false`, nor with `carrier=noise`.
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
//! So files that are marked one after the other, faster than they play, or a file after a seek, may use the same signs
//! twice: give each its `utc-offset`. The reference timestamps of the input are on the output, too; `utc-offset` does
//! not change them.
//!
//! # Latency
//! The element answers the LATENCY query and posts a LATENCY message when the figure changes, which is when the
//! sample rate does, and where audio begins to play backwards or forwards: backwards nothing is held, and it is 0. An
//! application should recalculate the latency of its pipeline then. In a live pipeline with several branches, queues
//! beside `wmembed` need room for more than `latency`.
//!
//! # Breaks
//! Marking goes on across up to 1 s that is missing, whether a gap event tells so or timestamps jump ahead: it is taken
//! for silence. A gap event leaves in its place, after the audio before it and before the audio after it. A
//! discontinuity flag alone breaks nothing: where the timestamp agrees with the count of frames to 40 ms, or there is
//! none, the count goes on, and the flag is on the buffer that the frame leaves in.
//!
//! A new segment, new caps, the end of a stream group, a timestamp that jumps back, and more than 1 s that is missing,
//! or a gap event that does not say how much: what is held leaves first, then marking starts afresh. What leaves next
//! is marked as a discontinuity only if it came as one, or where timestamps jump. Marking starts afresh, too, without a
//! discontinuity in the audio, where timestamps and frames have drifted apart by more than 40 ms, little by little. A
//! segment that only says again what the one before said breaks nothing, nor does one that only ends elsewhere, if not
//! before the end of what is held.
//!
//! Timestamps that are off by 40 ms or less are taken for jitter, and what leaves has those of the count of frames: a
//! smaller jump is not followed. A buffer that is declared a gap stays one. Without timestamps frames are counted from
//! 0, across breaks too, until a flush or a new stream.
//!
//! Tags and custom events are passed on at once, and so leave by `latency` earlier than the audio that they came with.
//!
//! With `row-clock=utc` frames count real time. Where a segment plays at another rate than 1, running time does not go
//! along with them, so after a break there the same rows may come again, or some be left out.
//!
//! # Metas
//! Reference timestamps stay with the frames that they are about, see above: a buffer that leaves has the first one
//! by each clock of those that its frames came with, moved to its own first frame, and with the same duration. Other
//! metas are about whole buffers, and the buffers that leave are cut elsewhere: they are dropped. Segments that play
//! backwards pass through without a mark.

use gst::glib;
use gst::prelude::*;

mod flow;
mod held;
pub(crate) mod imp;
mod meter;
mod settings;
mod start;
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
