// SPDX-License-Identifier: MIT OR Apache-2.0
//! What comes in, what leaves, and what is told of it, in order. No lock is held while something is pushed or posted.

use super::imp::{CAT, WmEmbed};
use super::start::{Before, End, Following, Start, Why};
use super::stream::{Output, Report, Stream};
use crate::clock::TOLERANCE;
use crate::settings::lock;
use crate::utc::{Position, Source};
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_transform::GenerateOutputSuccess;
use std::sync::atomic::Ordering;

type Segment = gst::FormattedSegment<gst::ClockTime>;

/// A buffer, and where it lies.
pub(super) struct Input<'a> {
    pub buffer: &'a gst::BufferRef,
    /// What is missing at its beginning.
    pub clipped: gst::ClockTime,
    /// It is marked as one that does not follow what came before.
    pub discont: bool,
    pub position: Position,
}

impl WmEmbed {
    /// Pushes all that is held and ends the run. Where `all` ends, and not only this run, what was measured is told.
    pub(super) fn drain(&self, all: bool) -> Result<gst::FlowSuccess, gst::FlowError> {
        // Release the lock before pushing: downstream may come back with a query or a property.
        let mut reports = Vec::new();
        let outputs = match &mut lock(&self.state).stream {
            Some(stream) => {
                let outputs = stream.drain(&mut reports)?;
                if all {
                    stream.finish(&mut reports);
                }
                outputs
            }
            None => Vec::new(),
        };
        let segment = self.obj().segment();
        self.post(reports, segment.downcast_ref());
        self.push(outputs)
    }

    /// Pushes what leaves, in order.
    pub(super) fn push(&self, outputs: Vec<Output>) -> Result<gst::FlowSuccess, gst::FlowError> {
        let obj = self.obj();
        for output in outputs {
            gst::log!(CAT, imp = self, "Pushing {output:?}");
            match output {
                Output::Buffer(buffer) => {
                    obj.src_pad().push(buffer)?;
                }
                Output::Event(event) => {
                    obj.src_pad().push_event(event);
                }
            }
        }
        Ok(gst::FlowSuccess::Ok)
    }

    /// Leaves the last buffer of what leaves to the base class, which keeps account of it: unless it would mark it as
    /// the discontinuity that came in, while that is still held.
    pub(super) fn leave(
        &self,
        mut outputs: Vec<Output>,
    ) -> Result<GenerateOutputSuccess, gst::FlowError> {
        let marks_next = self.marks_next.load(Ordering::SeqCst);
        let last = outputs.pop_if(|output| match output {
            Output::Buffer(buffer) => {
                !marks_next || buffer.flags().contains(gst::BufferFlags::DISCONT)
            }
            Output::Event(_) => false,
        });
        self.push(outputs)?;
        let Some(Output::Buffer(buffer)) = last else {
            return Ok(GenerateOutputSuccess::NoOutput);
        };
        self.marks_next.store(false, Ordering::SeqCst);
        Ok(GenerateOutputSuccess::Buffer(buffer))
    }

    /// Takes a gap event if marking goes on across it: it leaves between the audio before it and the audio after it.
    pub(super) fn takes_gap(&self, event: &gst::Event) -> bool {
        let gst::EventView::Gap(gap) = event.view() else {
            return false;
        };
        let (start, duration) = gap.get();
        let mut reports = Vec::new();
        let outputs = {
            let state = &mut *lock(&self.state);
            let Some(stream) = &mut state.stream else {
                return false;
            };
            let Some((before, frames)) = stream.frames_of_gap(start, duration) else {
                return false;
            };
            gst::log!(CAT, imp = self, "A gap of {frames} frames, after {before}");
            let outputs = stream.bridge(before, frames, event, &mut reports);
            state.counted = stream.position_after();
            self.utc.count(state.counted);
            outputs
        };
        let segment = self.obj().segment();
        self.post(reports, segment.downcast_ref());
        if let Err(error) = outputs.and_then(|outputs| self.push(outputs)) {
            // Not fatal here: the next push gives the same answer to whoever asks for it.
            gst::debug!(CAT, imp = self, "Pushing what a gap lets go: {error:?}");
        }
        true
    }

    pub(super) fn drain_before(&self, what: &'static str, all: bool) {
        {
            let state = &mut *lock(&self.state);
            let end = state.stream.as_ref().and_then(Stream::end);
            let end = end.map_or(state.before.end, End::At);
            state.before.then(what, end);
        }
        if let Err(error) = self.drain(all) {
            // Not fatal here: the next push gives the same answer to whoever asks for it.
            gst::debug!(CAT, imp = self, "Draining before {what}: {error:?}");
        }
    }

    /// Drains before a gap across which marking does not go on.
    pub(super) fn drain_before_gap(&self, start: gst::ClockTime, duration: Option<gst::ClockTime>) {
        let what = "a gap event";
        self.drain_before(what, false);
        let end = duration.and_then(|duration| start.checked_add(duration));
        let end = end.map_or(End::Unknown, End::At);
        lock(&self.state).before.then(what, end);
    }

    /// Whether a segment ends before what is held, which then would be cut off behind it.
    pub(super) fn holds_more_than(&self, segment: &gst::Segment) -> bool {
        let stop = segment
            .downcast_ref::<gst::ClockTime>()
            .and_then(|s| s.stop());
        let end = lock(&self.state).stream.as_ref().and_then(Stream::end);
        stop.zip(end).is_some_and(|(stop, end)| stop < end)
    }

    /// Where a buffer without timestamp lies, follows from those before it.
    pub(super) fn by_stream_time(&self, time: Option<gst::ClockTime>) -> Position {
        let counted = || lock(&self.state).counted;
        Position::by_stream_time(time.or_else(|| counted().map(gst::ClockTime::from_nseconds)))
    }

    pub(super) fn embed(
        &self,
        input: &Input,
        following: Following,
        reports: &mut Vec<Report>,
    ) -> Result<Vec<Output>, gst::FlowError> {
        let marking = lock(&self.settings).marking();
        let state = &mut *lock(&self.state);
        let stream = state.stream.as_mut().ok_or(gst::FlowError::NotNegotiated)?;
        stream.set(marking);
        let (silence, start) = match following {
            Following::Begins(start) => (0, Some(start)),
            _ if !stream.is_running() => (
                0,
                Some(Start::with(input.buffer, input.discont, &state.before)),
            ),
            Following::AfterSilence(frames) => (frames, None),
            Following::Continues => (0, None),
        };
        if let Some(start) = start {
            gst::debug!(
                CAT,
                imp = self,
                "Marking starts at timestamp {} and position {} ns of the row clock: {}",
                input.buffer.pts().display(),
                input.position.time,
                start.why
            );
            stream.begin(&start, input.position.time);
            state.before = Before {
                what: "a run",
                end: End::Unknown,
            };
        } else if input.discont {
            gst::debug!(
                CAT,
                imp = self,
                "Marking goes on across the discontinuity at {}",
                input.buffer.pts().display()
            );
        }
        let mut outputs = Vec::new();
        if silence > 0 {
            gst::debug!(
                CAT,
                imp = self,
                "{silence} frames are missing before the buffer at {}: taken for silence",
                input.buffer.pts().display()
            );
            outputs = stream.silence(silence, None, reports)?;
        }
        outputs.extend(stream.push(input.buffer, input.clipped, input.discont, reports)?);
        state.counted = stream.position_after();
        self.utc.count(state.counted);
        Ok(outputs)
    }

    /// Drains if a buffer does not continue what came before.
    pub(super) fn arrange_for(&self, input: &Input) -> Result<Following, gst::FlowError> {
        let (buffer, position) = (input.buffer, &input.position);
        let (length, following, since_warning) = {
            let state = &mut *lock(&self.state);
            let stream = state.stream.as_mut().ok_or(gst::FlowError::NotNegotiated)?;
            let length = stream.length(buffer);
            let since = state.since_warning.zip(length.as_ref().ok().copied());
            let since = since.map(|(since, length)| since.saturating_add(length));
            state.since_warning = since;
            (
                length,
                stream.following(buffer, input.discont, position, &state.before),
                since,
            )
        };
        if let Err(message) = length {
            self.post_error_message(message);
            return Err(gst::FlowError::Error);
        }
        if let Following::Begins(start) = &following {
            if let Why::TimeOfDay(source) = start.why
                && since_warning.is_none_or(|since| since >= gst::ClockTime::SECOND)
            {
                self.warn_of_time(buffer, source);
            }
            self.drain(false)?;
        }
        Ok(following)
    }

    /// Once in a while that is drift. All the time it is a source whose clock jitters, and a weak mark.
    pub(super) fn warn_of_time(&self, buffer: &gst::BufferRef, source: Source) {
        lock(&self.state).since_warning = Some(gst::ClockTime::ZERO);
        let by = match source {
            Source::Reference => "its reference timestamp",
            Source::Recording => "the start of the recording",
            Source::Clock => "the system's clock, which was read again,",
        };
        gst::warning!(
            CAT,
            imp = self,
            "By {by} the buffer at {} is more than {TOLERANCE} away from where it was expected: marking starts afresh",
            buffer.pts().display()
        );
    }

    /// Tells what there is to tell. No lock is held: who hears of it may set a property.
    pub(super) fn post(&self, reports: Vec<Report>, segment: Option<&Segment>) {
        let obj = self.obj();
        for report in reports {
            let builder = gst::Structure::builder("wmembed");
            let (time, builder) = match report {
                Report::Payload(time, payload) => {
                    let payload = payload.map(|payload| payload.to_string());
                    (time, builder.field("payload", payload.unwrap_or_default()))
                }
                Report::Detectability(time, measured) => {
                    self.set_detectability(measured.score);
                    let builder = builder
                        .field("detectability", measured.score)
                        .field("threshold", measured.threshold)
                        .field("weak", measured.weak)
                        .field_if_some("duration", measured.duration);
                    (time, builder)
                }
            };
            let report = builder
                .field_if_some("timestamp", time)
                .field_if_some("stream-time", segment.and_then(|s| s.to_stream_time(time)))
                .field_if_some(
                    "running-time",
                    segment.and_then(|s| s.to_running_time(time)),
                )
                .build();
            gst::debug!(CAT, imp = self, "Posting {report}");
            let _ = obj.post_message(gst::message::Element::builder(report).src(&*obj).build());
        }
    }
}
