// SPDX-License-Identifier: MIT OR Apache-2.0
//! One stream of audio on its way through the embedder.
//!
//! The mark comes out of the core later than the audio it belongs to, so the original bytes wait for it.

use super::meter::{Measured, Meter};
use super::settings::Marking;
use crate::audio::{self, CHUNK};
use crate::clock::{Arrival, FrameClock, TOLERANCE};
use crate::samples::Samples;
use crate::utc::Position;
use crate::watermark::{ConfigError, Embedder, EmbedderConfig, Key, Payload};
use gst::prelude::*;
use std::collections::VecDeque;
use std::io::Read;

/// What GStreamer calls `GST_BUFFER_OFFSET_NONE`.
const NO_OFFSET: u64 = u64::MAX;

/// Frames that wait, oldest first, with what the buffer that they came in said about them.
struct Span {
    frames: usize,
    /// Frames of that buffer that have left.
    left: u64,
    flags: gst::BufferFlags,
    references: Vec<Reference>,
}

/// A time by another clock, such as that of the capturing device, and the caps that name the clock.
type Reference = (gst::Caps, gst::ClockTime);

/// Where a run starts.
pub(super) struct Start {
    time: Option<gst::ClockTime>,
    offset: Option<u64>,
    /// The audio before it does not lead here.
    discont: bool,
    pub why: Why,
}

/// Why a run starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Nothing came before, or the audio breaks off.
    Break,
    /// Timestamps and frames drifted apart.
    Drift,
    /// The time of day is not what was counted.
    TimeOfDay,
}

impl Start {
    /// With a buffer that continues nothing.
    pub fn with(buffer: &gst::BufferRef) -> Self {
        Start {
            time: buffer.pts(),
            offset: Some(buffer.offset()).filter(|offset| *offset != NO_OFFSET),
            discont: true,
            why: Why::Break,
        }
    }
}

/// How a buffer follows what came before.
pub(super) enum Following {
    /// It belongs to the same run.
    Continues,
    /// It starts a run, for which it is time to [`Stream::drain`].
    Begins(Start),
}

/// Audio without a break.
struct Run {
    clock: FrameClock,
    /// Nanoseconds of the row clock at the first frame.
    position: u64,
    discont: bool,
    /// Offset of the first frame, if the buffers have offsets.
    offset: Option<u64>,
    frames_out: u64,
    /// Frames that the core has yet to give before the mark of the first frame.
    skip: usize,
    /// Frames of the latest buffer.
    latest: usize,
}

/// What is to be told, each with the time (if there are timestamps) at which it begins.
pub(super) enum Report {
    /// From a moment on the mark says something else.
    Payload(Option<gst::ClockTime>, Option<Payload>),
    /// How well the mark will be found in a stretch, and how long that is.
    Detectability(Option<gst::ClockTime>, Option<gst::ClockTime>, Measured),
}

impl Report {
    fn of(measured: Measured, clock: &FrameClock) -> Self {
        let (start, end) = (measured.start, measured.end);
        Report::Detectability(clock.time(start), clock.duration(start, end), measured)
    }
}

pub(super) struct Stream {
    info: gst_audio::AudioInfo,
    samples: Samples,
    embedder: Embedder,
    meter: Meter,
    latency: usize,
    run: Option<Run>,
    held: VecDeque<u8>,
    spans: VecDeque<Span>,
    input: Vec<f32>,
    mark: Vec<f32>,
}

impl Stream {
    /// Leaves no room for what the core writes or reads, as an error in the code might: the next audio panics.
    #[cfg(test)]
    pub fn spoil(&mut self) {
        self.mark.clear();
    }

    pub fn new(
        info: &gst_audio::AudioInfo,
        config: &EmbedderConfig,
        key: &Key,
    ) -> Result<Self, ConfigError> {
        let embedder = Embedder::new(config, key)?;
        let latency = embedder.latency();
        let scratch = vec![0.0; CHUNK * config.channels];
        Ok(Stream {
            info: info.clone(),
            samples: Samples::new(info),
            embedder,
            meter: Meter::new(config, key)?,
            latency,
            run: None,
            held: VecDeque::with_capacity((latency + CHUNK) * info.bpf() as usize),
            spans: VecDeque::new(),
            mark: scratch.clone(),
            input: scratch,
        })
    }

    /// Time by which audio leaves later than it came, rounded up.
    pub fn latency(&self) -> gst::ClockTime {
        let rate = u64::from(self.info.rate().max(1));
        let time = (self.latency as u64).mul_div_ceil(*gst::ClockTime::SECOND, rate);
        gst::ClockTime::from_nseconds(time.unwrap_or(0))
    }

    /// Takes the settings that hold from the next frame on.
    pub fn set(&mut self, marking: Marking) {
        self.embedder.set_payload(marking.payload);
        self.embedder.set_strength(marking.strength);
        self.embedder.set_enabled(marking.enabled);
        let arrived = self.run.as_ref().map_or(0, |run| run.clock.arrived());
        self.meter.set(marking, arrived);
    }

    /// Whether it is measured how well the mark will be found.
    pub fn is_measured(&self) -> bool {
        self.meter.is_on()
    }

    /// How a buffer, which is at `position` of the row clock, follows what came before.
    pub fn following(&mut self, buffer: &gst::BufferRef, position: &Position) -> Following {
        let discont = buffer.flags().contains(gst::BufferFlags::DISCONT);
        let Some(run) = self.run.as_mut().filter(|_| !discont) else {
            return Following::Begins(Start::with(buffer));
        };
        let frames = run.clock.arrived();
        // Only rows or timestamps are elsewhere: to whoever hears it, the audio goes on.
        let offset = run.offset.map(|offset| offset.saturating_add(frames));
        let goes_on = |time, why| {
            Following::Begins(Start {
                time,
                offset,
                discont: false,
                why,
            })
        };
        match run.clock.arrival(buffer.pts()) {
            Arrival::Missing(_) | Arrival::Elsewhere => Following::Begins(Start::with(buffer)),
            Arrival::Drifted => goes_on(buffer.pts(), Why::Drift),
            Arrival::Continues
                if position.contradicts(run.clock.after(run.position), TOLERANCE) =>
            {
                goes_on(run.clock.time(frames), Why::TimeOfDay)
            }
            Arrival::Continues => Following::Continues,
        }
    }

    pub fn is_running(&self) -> bool {
        self.run.is_some()
    }

    /// Starts a run, whose first frame is at `position` (ns) of the row clock.
    pub fn begin(&mut self, start: &Start, position: u64) {
        self.clear();
        self.embedder.reset(position);
        self.meter.begin(position);
        self.run = Some(Run {
            clock: FrameClock::new(self.info.rate(), start.time),
            position,
            discont: start.discont,
            offset: start.offset,
            frames_out: 0,
            skip: self.latency,
            latest: 0,
        });
    }

    /// Nanoseconds of the row clock at the frame that is to come.
    pub fn position_after(&self) -> Option<u64> {
        let run = self.run.as_ref()?;
        Some(run.clock.after(run.position))
    }

    /// Forgets what is held, and ends the run.
    pub fn clear(&mut self) {
        self.run = None;
        self.held.clear();
        self.spans.clear();
    }

    /// Takes a buffer of the run, which has lost its first frames, `clipped` long; gives the frames whose mark is
    /// complete. Adds to `reports` what is to be told before these leave.
    pub fn push(
        &mut self,
        buffer: &gst::BufferRef,
        clipped: gst::ClockTime,
        reports: &mut Vec<Report>,
    ) -> Result<Option<gst::Buffer>, gst::FlowError> {
        let map = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
        let bytes = audio::interleaved(&self.info, buffer, &map);
        let bytes = bytes.map_err(|_| gst::FlowError::Error)?;
        let frames = bytes.len() / self.info.bpf() as usize;
        let Some(run) = self.run.as_mut() else {
            return Err(gst::FlowError::Error);
        };
        run.clock.advance(frames as u64);
        run.latest = frames;
        let flags = buffer.flags();
        self.spans.push_back(Span {
            frames,
            left: 0,
            flags,
            references: references(buffer, clipped),
        });
        // The content of a gap does not count, so the core need not see it.
        let audible = !flags.contains(gst::BufferFlags::GAP);
        let output = self.advance(frames, Some(&bytes), audible, reports);
        if let (Some(run), Some((frame, payload))) =
            (&self.run, self.embedder.take_payload_change())
        {
            let time = run.clock.time(frame);
            reports.push(Report::Payload(time, payload));
        }
        output
    }

    /// Gives all that is held, in pieces of the size of the latest buffer, and ends the run. Adds to `reports` what is
    /// to be told before.
    pub fn drain(&mut self, reports: &mut Vec<Report>) -> Result<Vec<gst::Buffer>, gst::FlowError> {
        let mut buffers = Vec::new();
        if let Some(run) = &self.run {
            let (skip, piece) = (run.skip, run.latest.max(CHUNK));
            let mut held = self.held.len() / self.info.bpf() as usize;
            if held > 0 {
                self.advance(skip, None, false, reports)?;
            }
            while held > 0 {
                let frames = held.min(piece);
                buffers.extend(self.advance(frames, None, false, reports)?);
                held -= frames;
            }
        }
        if let Some(run) = &self.run {
            let mut tell = |measured| reports.push(Report::of(measured, &run.clock));
            self.meter.finish(&mut tell);
        }
        self.clear();
        Ok(buffers)
    }

    /// Moves on by `frames`: of `audio`, which then is held, or of silence behind the end of the run.
    fn advance(
        &mut self,
        frames: usize,
        audio: Option<&[u8]>,
        audible: bool,
        reports: &mut Vec<Report>,
    ) -> Result<Option<gst::Buffer>, gst::FlowError> {
        let Some(run) = self.run.as_ref() else {
            return Ok(None);
        };
        let bpf = self.info.bpf() as usize;
        let frames_out = frames - frames.min(run.skip);
        let mut buffer =
            gst::Buffer::with_size(frames_out * bpf).map_err(|_| gst::FlowError::Error)?;
        let mut flags = OutFlags::default();
        if frames_out > 0 {
            self.refer(&mut buffer)?;
        }
        {
            let buffer = buffer.get_mut().ok_or(gst::FlowError::Error)?;
            let mut map = buffer.map_writable().map_err(|_| gst::FlowError::Error)?;
            let mut out = &mut map[..];
            for start in (0..frames).step_by(CHUNK) {
                let end = frames.min(start + CHUNK);
                let samples = (end - start) * self.info.channels() as usize;
                let audio = audio.map(|audio| &audio[start * bpf..end * bpf]);
                self.held.extend(audio.unwrap_or_default());
                let input = &mut self.input[..samples];
                match audio {
                    Some(audio) if audible => self.samples.analyse(audio, input),
                    _ => input.fill(0.0),
                }
                self.embedder
                    .process(&self.input[..samples], &mut self.mark[..samples]);
                let written = self.release(end - start, out, &mut flags)?;
                self.measure(&out[..written], reports);
                out = &mut out[written..];
            }
        }
        if frames_out == 0 {
            return Ok(None);
        }
        audio::lay_out(&self.info, buffer.get_mut().ok_or(gst::FlowError::Error)?)?;
        self.stamp(&mut buffer, frames_out, &flags)?;
        Ok(Some(buffer))
    }

    /// Adds the `frames` of the mark that the core gave to the frames that they belong to.
    fn release(
        &mut self,
        frames: usize,
        out: &mut [u8],
        flags: &mut OutFlags,
    ) -> Result<usize, gst::FlowError> {
        let Some(run) = self.run.as_mut() else {
            return Ok(0);
        };
        let (bpf, channels) = (self.info.bpf() as usize, self.info.channels() as usize);
        let mut done = frames.min(run.skip);
        run.skip -= done;
        let mut written = 0;
        while done < frames {
            let Some(span) = self.spans.front_mut() else {
                break;
            };
            let n = span.frames.min(frames - done);
            let bytes = &mut out[written..written + n * bpf];
            self.held
                .read_exact(bytes)
                .map_err(|_| gst::FlowError::Error)?;
            // A declared gap stays one, even where the mark of its neighbours reaches into it.
            if !span.flags.contains(gst::BufferFlags::GAP) {
                self.samples
                    .add(bytes, &self.mark[done * channels..(done + n) * channels]);
            }
            if n > 0 {
                flags.add(span.flags);
            }
            span.frames -= n;
            span.left += n as u64;
            if span.frames == 0 {
                self.spans.pop_front();
            }
            done += n;
            written += n * bpf;
        }
        Ok(written)
    }

    /// Listens to frames that leave.
    fn measure(&mut self, bytes: &[u8], reports: &mut Vec<Report>) {
        let Some(run) = self.run.as_ref().filter(|_| !bytes.is_empty()) else {
            return;
        };
        // Nothing is in there any more: the core has taken what came in.
        let samples = bytes.len() / self.info.bpf() as usize * self.info.channels() as usize;
        let heard = &mut self.input[..samples];
        if self.meter.is_on() {
            self.samples.analyse(bytes, heard);
        }
        let mut tell = |measured| reports.push(Report::of(measured, &run.clock));
        self.meter.hear(heard, &mut tell);
    }

    /// Gives an output buffer the times by other clocks that its first frame came with.
    fn refer(&self, buffer: &mut gst::Buffer) -> Result<(), gst::FlowError> {
        // The first frame that leaves is the oldest one.
        let oldest = self.spans.iter().find(|span| span.frames > 0);
        let (Some(run), Some(span)) = (&self.run, oldest) else {
            return Ok(());
        };
        let buffer = buffer.get_mut().ok_or(gst::FlowError::Error)?;
        for (caps, time) in &span.references {
            let elapsed = run.clock.elapsed(span.left);
            if let Some(time) = elapsed.and_then(|elapsed| time.checked_add(elapsed)) {
                gst::ReferenceTimestampMeta::add(buffer, caps, time, None);
            }
        }
        Ok(())
    }

    /// Gives an output buffer the times and flags of the frames in it.
    fn stamp(
        &mut self,
        buffer: &mut gst::Buffer,
        frames: usize,
        flags: &OutFlags,
    ) -> Result<(), gst::FlowError> {
        let Some(run) = self.run.as_mut() else {
            return Ok(());
        };
        let buffer = buffer.get_mut().ok_or(gst::FlowError::Error)?;
        let (start, end) = (run.frames_out, run.frames_out + frames as u64);
        buffer.set_pts(run.clock.time(start));
        buffer.set_duration(run.clock.duration(start, end));
        if let Some(offset) = run.offset {
            buffer.set_offset(offset.saturating_add(start));
            buffer.set_offset_end(offset.saturating_add(end));
        }
        buffer.set_flags(flags.of_buffer(start == 0 && run.discont));
        run.frames_out = end;
        Ok(())
    }

    /// Whether a buffer holds whole frames only.
    pub fn check(&self, buffer: &gst::BufferRef) -> Result<(), gst::ErrorMessage> {
        audio::frames(&self.info, buffer).map(|_| ())
    }
}

fn references(buffer: &gst::BufferRef, clipped: gst::ClockTime) -> Vec<Reference> {
    let metas = buffer.iter_meta::<gst::ReferenceTimestampMeta>();
    metas
        .map(|meta| {
            let time = meta.timestamp().saturating_add(clipped);
            (meta.reference_owned(), time)
        })
        .collect()
}

/// The flags of an output buffer, from those of the input buffers that its frames came in.
#[derive(Default)]
struct OutFlags {
    any: Option<gst::BufferFlags>,
    all: Option<gst::BufferFlags>,
}

impl OutFlags {
    fn add(&mut self, flags: gst::BufferFlags) {
        self.any = Some(self.any.map_or(flags, |any| any | flags));
        self.all = Some(self.all.map_or(flags, |all| all & flags));
    }

    fn of_buffer(&self, discont: bool) -> gst::BufferFlags {
        use gst::BufferFlags as F;
        let (any, all) = (
            self.any.unwrap_or(F::empty()),
            self.all.unwrap_or(F::empty()),
        );
        let discont = if discont { F::DISCONT } else { F::empty() };
        any & (F::CORRUPTED | F::RESYNC) | all & (F::GAP | F::DROPPABLE) | discont
    }
}
