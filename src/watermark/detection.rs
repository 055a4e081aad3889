// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a detector has to say.

use super::payload::Payload;

/// What a [`Detector`](super::Detector) has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetectionState {
    /// The mark was not there before.
    Found,
    /// The mark is still there; comes once an interval.
    Present,
    /// The mark is no longer there.
    Lost,
}

/// One report of a [`Detector`](super::Detector).
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// What happened.
    pub state: DetectionState,
    /// To which of the detector's keys, counted from 0.
    pub key_index: usize,
    /// What the mark says, once it has been read and its tag has confirmed it.
    pub payload: Option<Payload>,
    /// The score z: mean 0 and variance 1 on unmarked audio. With [`Carrier::Programme`](super::Carrier::Programme),
    /// [`Found`] has the score with which the mark was found or that of the latest 2 s, whichever says more;
    /// [`Present`] and [`Lost`] have that of the latest 2 s, whatever it is.
    ///
    /// [`Found`]: DetectionState::Found
    /// [`Present`]: DetectionState::Present
    /// [`Lost`]: DetectionState::Lost
    pub score: f64,
    /// Logarithm (base 10) of the expected number of false alarms in an hour of unmarked audio if such a score were
    /// enough for one, all hypotheses counted; 0 stands for one or more.
    pub log10_p: f64,
    /// Seconds of evidence behind the score.
    pub window: f64,
    /// Playing speed, 1.0 being that of the embedder.
    pub speed: f64,
    /// First input frame of the evidence, counted since [`Detector::reset`](super::Detector::reset). When found, the
    /// mark begins there; when lost, the marked stretch did. With [`Carrier::Noise`](super::Carrier::Noise) that is the
    /// window that the mark was found in, which begins up to 1.5 s earlier.
    pub start: u64,
    /// First input frame after the evidence. When lost, the marked stretch ends there.
    pub end: u64,
    /// Position of frame `start` in the cycle of rows, in seconds: 0 to 204.8, or to 163.84 for
    /// [`Carrier::Noise`](super::Carrier::Noise).
    pub watermark_time: f64,
    /// Seconds by which [`watermark_time`](Detection::watermark_time) is off at most, in 95 of 100 cases, fewer
    /// in rooms; not known with [`Carrier::Noise`](super::Carrier::Noise).
    pub watermark_time_error: Option<f64>,
    /// Unix time (ns) of frame `start` by the embedder's clock, with [`RowClock::Utc`](super::RowClock::Utc).
    pub broadcast_time: Option<u64>,
}

/// Figures about a [`Detector`](super::Detector) at work.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct DetectorStats {
    /// Frames taken since the last reset.
    pub frames: u64,
    /// Hypotheses (time, row, window, speed) that are tested in an hour while searching.
    pub hypotheses_per_hour: f64,
    /// Score above which a mark at nominal speed counts as found; that of long evidence is a little lower.
    pub threshold: f64,
    /// Speeds that are searched.
    pub speeds: usize,
    /// Highest score since the last reset.
    pub highest_score: f64,
    /// Times that the mark was found since the detector was made.
    pub found: u64,
    /// Times that it was tried to decode a payload since the detector was made; at most one in 2^32 yields a wrong one.
    pub payload_tries: u64,
}
