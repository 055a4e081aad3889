// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where marking starts, and why.

use super::held::offset_of;
use crate::clock::{FrameClock, TOLERANCE};
use crate::utc::Source;

/// Where a run starts.
pub(super) struct Start {
    pub time: Option<gst::ClockTime>,
    pub offset: Option<u64>,
    /// The audio before it does not lead here.
    pub discont: bool,
    pub why: Why,
}

/// Why a run starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// No run is under way, after this.
    After(&'static str),
    /// Timestamps jump by so many nanoseconds, unless there were none.
    Jump(Option<i128>),
    /// Timestamps and frames drifted apart.
    Drift,
    /// The time of day is not what was counted, as this tells.
    TimeOfDay(Source),
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Why::After(what) => write!(f, "after {what}"),
            Why::Jump(Some(by)) => write!(f, "timestamps jump by {} ms", by / 1_000_000),
            Why::Jump(None) => write!(f, "from here on there are timestamps"),
            Why::Drift => write!(f, "timestamps and frames drifted apart"),
            Why::TimeOfDay(by) => write!(f, "it is another time of day ({by:?})"),
        }
    }
}

/// What came before a run, if that is not another run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    pub what: &'static str,
    pub end: End,
}

/// Where what came before ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    /// There was no audio.
    Nothing,
    At(gst::ClockTime),
    /// Nobody can tell.
    Unknown,
}

impl Default for Before {
    fn default() -> Self {
        Before::nothing("the start of the stream")
    }
}

impl Before {
    /// Audio begins afresh after this.
    pub fn nothing(what: &'static str) -> Self {
        Before {
            what,
            end: End::Nothing,
        }
    }

    /// This comes after what there is.
    pub fn then(&mut self, what: &'static str, end: End) {
        if !matches!(self.end, End::Nothing) {
            *self = Before { what, end };
        }
    }
}

impl Start {
    /// With a buffer that continues nothing; it may be marked as a discontinuity.
    pub fn with(buffer: &gst::BufferRef, discont: bool, before: &Before) -> Self {
        let jumps = match (before.end, buffer.pts()) {
            (End::Nothing, _) => true,
            (End::At(end), Some(pts)) => end.absdiff(pts) > TOLERANCE,
            (End::At(_), None) | (End::Unknown, _) => false,
        };
        Start {
            time: buffer.pts(),
            offset: offset_of(buffer),
            discont: discont || jumps,
            why: Why::After(before.what),
        }
    }

    /// With a buffer whose timestamp is not that of the frame that is to come.
    pub fn elsewhere(buffer: &gst::BufferRef, clock: &FrameClock) -> Self {
        let expected = clock.time(clock.arrived()).zip(buffer.pts());
        let by = expected
            .map(|(expected, pts)| i128::from(pts.nseconds()) - i128::from(expected.nseconds()));
        Start {
            time: buffer.pts(),
            offset: offset_of(buffer),
            discont: true,
            why: Why::Jump(by),
        }
    }
}

/// How a buffer follows what came before.
pub(super) enum Following {
    /// It belongs to the same run.
    Continues,
    /// It belongs to the same run, after so many frames that are missing.
    AfterSilence(u64),
    /// It starts a run, for which it is time to [`Stream::drain`].
    Begins(Start),
}
