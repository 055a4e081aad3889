// SPDX-License-Identifier: MIT OR Apache-2.0
//! One stream of audio on its way through the embedder.
//!
//! The mark comes out of the core later than the audio it belongs to, so the original bytes wait for it.

use super::held::{Held, OutFlags, offset_of};
use super::meter::{self, Measured, Meter};
use super::settings::Marking;
use super::start::{Before, Following, Start, Why};
use crate::audio::{self, CHUNK};
use crate::clock::{Arrival, FrameClock, TOLERANCE};
use crate::samples::Samples;
use crate::utc::Position;
use crate::watermark::{ConfigError, Embedder, EmbedderConfig, Key, Payload};
use gst::prelude::*;

/// Longest stretch of missing audio that is taken for silence; after more, marking starts afresh.
const LONGEST_GAP: gst::ClockTime = gst::ClockTime::SECOND;

/// Audio without a break.
struct Run {
    clock: FrameClock,
    /// Nanoseconds of the row clock at the first frame.
    position: u64,
    /// The audio breaks off before the frame that is to come.
    discont: bool,
    /// Offset of the frame that is to come, if the buffers have offsets.
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
    /// How well the mark will be found in a stretch.
    Detectability(Option<gst::ClockTime>, Measured),
}

impl Report {
    fn of(measured: Measured, clock: Option<&FrameClock>) -> Self {
        let time = match measured.start {
            meter::Start::Frame(frame) => clock.and_then(|clock| clock.time(frame)),
            meter::Start::Earlier(time) => time,
        };
        Report::Detectability(time, measured)
    }
}

/// What leaves.
#[derive(Debug)]
pub(super) enum Output {
    Buffer(gst::Buffer),
    /// A gap.
    Event(gst::Event),
}

pub(super) struct Stream {
    info: gst_audio::AudioInfo,
    samples: Samples,
    embedder: Embedder,
    meter: Meter,
    latency: usize,
    run: Option<Run>,
    held: Held,
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
            held: Held::new(info.bpf() as usize, latency + CHUNK),
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

    /// How a buffer, which is at `position` of the row clock, follows what came before. That it is marked as one which
    /// does not (`discont`) does not count where its timestamp says otherwise.
    pub fn following(
        &mut self,
        buffer: &gst::BufferRef,
        discont: bool,
        position: &Position,
        before: &Before,
    ) -> Following {
        let Some(run) = self.run.as_mut() else {
            return Following::Begins(Start::with(buffer, discont, before));
        };
        let arrival = if discont {
            run.clock.place(buffer.pts())
        } else {
            run.clock.arrival(buffer.pts())
        };
        let frames = run.clock.arrived();
        // Only rows or timestamps are elsewhere: to whoever hears it, the audio goes on.
        let goes_on = |time, why| {
            Following::Begins(Start {
                time,
                offset: run.offset,
                discont: false,
                why,
            })
        };
        let news = |missing| {
            let expected = run.clock.after(run.position).saturating_add(missing);
            position.contradicts(expected, TOLERANCE)
        };
        match arrival {
            Arrival::Missing(time) if time <= LONGEST_GAP && !news(time.nseconds()) => {
                Following::AfterSilence(run.clock.frames_in(time))
            }
            Arrival::Missing(_) | Arrival::Elsewhere => {
                Following::Begins(Start::elsewhere(buffer, &run.clock))
            }
            Arrival::Drifted => goes_on(buffer.pts(), Why::Drift),
            Arrival::Continues => match position.news.filter(|_| news(0)) {
                Some(source) => goes_on(run.clock.time(frames), Why::TimeOfDay(source)),
                None => Following::Continues,
            },
        }
    }

    /// Frames of silence, before a gap that is told by an event and in it; none if marking does not go on across it.
    pub fn frames_of_gap(
        &self,
        start: gst::ClockTime,
        duration: Option<gst::ClockTime>,
    ) -> Option<(u64, u64)> {
        let clock = &self.run.as_ref()?.clock;
        let end = start.checked_add(duration?)?;
        let before = match clock.place(Some(start)) {
            Arrival::Continues => 0,
            Arrival::Missing(time) => clock.frames_in(time),
            Arrival::Drifted | Arrival::Elsewhere => return None,
        };
        // Up to its end rather than by its length: many short gaps must not add up their rounding.
        let missing = end.saturating_sub(clock.time(clock.arrived())?);
        let all = clock.frames_in(missing);
        (missing <= LONGEST_GAP).then_some((before, all.saturating_sub(before)))
    }

    pub fn is_running(&self) -> bool {
        self.run.is_some()
    }

    /// Starts a run, whose first frame is at `position` (ns) of the row clock.
    pub fn begin(&mut self, start: &Start, position: u64) {
        self.end_run();
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

    /// Timestamp of the frame that is to come.
    pub fn end(&self) -> Option<gst::ClockTime> {
        let clock = &self.run.as_ref()?.clock;
        clock.time(clock.arrived())
    }

    /// Nanoseconds of the row clock at the frame that is to come.
    pub fn position_after(&self) -> Option<u64> {
        let run = self.run.as_ref()?;
        Some(run.clock.after(run.position))
    }

    /// Forgets what is held and measured, and ends the run.
    pub fn clear(&mut self) {
        self.meter.forget();
        self.end_run();
    }

    fn end_run(&mut self) {
        self.run = None;
        self.held.clear();
    }

    /// Takes a buffer of the run, which has lost its first frames, `clipped` long; gives what leaves. Adds to `reports`
    /// what is to be told before.
    pub fn push(
        &mut self,
        buffer: &gst::BufferRef,
        clipped: gst::ClockTime,
        discont: bool,
        reports: &mut Vec<Report>,
    ) -> Result<Vec<Output>, gst::FlowError> {
        let map = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
        let bytes = audio::interleaved(&self.info, buffer, &map);
        let bytes = bytes.map_err(|_| gst::FlowError::Error)?;
        let frames = bytes.len() / self.info.bpf() as usize;
        let Some(run) = self.run.as_mut() else {
            return Err(gst::FlowError::Error);
        };
        run.discont |= discont;
        if frames == 0 {
            return Ok(Vec::new());
        }
        run.clock.advance(frames as u64);
        run.latest = frames;
        let mut flags = buffer.flags() - gst::BufferFlags::DISCONT;
        // After a break offsets go on where the buffer says.
        let mut offset = run.offset.filter(|_| !discont);
        if std::mem::take(&mut run.discont) {
            flags |= gst::BufferFlags::DISCONT;
        }
        offset = offset.or_else(|| offset_of(buffer));
        run.offset = offset.map(|offset| offset.saturating_add(frames as u64));
        self.held.announce(frames, buffer, (flags, offset), clipped);
        // The content of a gap does not count, so the core need not see it.
        let audible = !flags.contains(gst::BufferFlags::GAP);
        self.proceed(frames, Some(&bytes), audible, reports)
    }

    /// Takes `frames` of silence, for which nothing leaves but the event that told of it: without one the audio breaks
    /// off there. Gives what leaves meanwhile. Adds to `reports` what is to be told before.
    pub fn silence(
        &mut self,
        frames: u64,
        event: Option<gst::Event>,
        reports: &mut Vec<Report>,
    ) -> Result<Vec<Output>, gst::FlowError> {
        let Some(run) = self.run.as_mut() else {
            return Ok(event.into_iter().map(Output::Event).collect());
        };
        run.clock.skip(frames);
        run.offset = None;
        run.discont |= event.is_none();
        let frames = usize::try_from(frames).map_err(|_| gst::FlowError::Error)?;
        self.held.silence(frames, event);
        self.proceed(frames, None, false, reports)
    }

    /// Takes a gap that an event told of, and `before` frames that are missing before it.
    pub fn bridge(
        &mut self,
        before: u64,
        frames: u64,
        event: &gst::Event,
        reports: &mut Vec<Report>,
    ) -> Result<Vec<Output>, gst::FlowError> {
        let mut outputs = Vec::new();
        if before > 0 {
            outputs = self.silence(before, None, reports)?;
        }
        outputs.extend(self.silence(frames, Some(event.clone()), reports)?);
        Ok(outputs)
    }

    /// Gives all that is held, in pieces of the size of the latest buffer, and ends the run. Adds to `reports` what is
    /// to be told before.
    pub fn drain(&mut self, reports: &mut Vec<Report>) -> Result<Vec<Output>, gst::FlowError> {
        let mut outputs = Vec::new();
        if let Some(run) = &self.run {
            let (skip, piece) = (run.skip, run.latest.max(CHUNK));
            let mut held = self.held.frames();
            if held > 0 {
                outputs.extend(self.proceed(skip, None, false, reports)?);
            }
            while held > 0 {
                let frames = held.min(piece);
                outputs.extend(self.proceed(frames, None, false, reports)?);
                held -= frames;
            }
        }
        if let Some(run) = &self.run {
            let mut tell = |measured| reports.push(Report::of(measured, Some(&run.clock)));
            self.meter.interrupt(&run.clock, &mut tell);
        }
        self.end_run();
        Ok(outputs)
    }

    /// Adds to `reports` what is left to be told, once nothing is held and what follows is about another time.
    pub fn finish(&mut self, reports: &mut Vec<Report>) {
        let mut tell = |measured| reports.push(Report::of(measured, None));
        self.meter.finish(&mut tell);
    }

    /// Moves on by `frames`: of `audio`, which then is held, or of silence. Gives what leaves, each buffer without a
    /// hole in it.
    fn proceed(
        &mut self,
        frames: usize,
        audio: Option<&[u8]>,
        audible: bool,
        reports: &mut Vec<Report>,
    ) -> Result<Vec<Output>, gst::FlowError> {
        let bpf = self.info.bpf() as usize;
        let mut outputs = Vec::new();
        let mut done = 0;
        loop {
            outputs.extend(self.held.take_event().map(Output::Event));
            if done == frames {
                break;
            }
            // Before the first frame of a run leaves, the core gives none.
            let skip = self.run.as_ref().map_or(0, |run| run.skip);
            let n = match skip.saturating_add(self.held.alike()) {
                0 => frames - done,
                alike => alike.min(frames - done),
            };
            let audio = audio.map(|audio| &audio[done * bpf..(done + n) * bpf]);
            let buffer = self.advance(n, audio, audible, reports)?;
            outputs.extend(buffer.map(Output::Buffer));
            done += n;
        }
        if let (Some(run), Some((frame, payload))) =
            (&self.run, self.embedder.take_payload_change())
        {
            let time = run.clock.time(frame);
            reports.push(Report::Payload(time, payload));
        }
        Ok(outputs)
    }

    /// Moves on by so many frames that what leaves is either audio or silence.
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
        let leave = frames - frames.min(run.skip);
        let frames_out = if self.held.is_silent() { 0 } else { leave };
        let offset = self.held.offset();
        let mut buffer =
            gst::Buffer::with_size(frames_out * bpf).map_err(|_| gst::FlowError::Error)?;
        let mut flags = OutFlags::default();
        if frames_out > 0 {
            self.refer(&mut buffer, frames_out)?;
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
                let (released, written) = self.release(end - start, out, &mut flags)?;
                self.measure(released, &out[..written], reports);
                out = &mut out[written..];
            }
        }
        if frames_out == 0 {
            if let Some(run) = self.run.as_mut() {
                run.frames_out += leave as u64;
            }
            return Ok(None);
        }
        audio::lay_out(&self.info, buffer.get_mut().ok_or(gst::FlowError::Error)?)?;
        self.stamp(&mut buffer, frames_out, offset, &flags)?;
        Ok(Some(buffer))
    }

    /// Adds the `frames` of the mark that the core gave to the frames that they belong to. Gives how many these are,
    /// and of how many bytes.
    fn release(
        &mut self,
        frames: usize,
        out: &mut [u8],
        flags: &mut OutFlags,
    ) -> Result<(usize, usize), gst::FlowError> {
        let Some(run) = self.run.as_mut() else {
            return Ok((0, 0));
        };
        let (bpf, channels) = (self.info.bpf() as usize, self.info.channels() as usize);
        let skipped = frames.min(run.skip);
        run.skip -= skipped;
        let (mut done, mut written) = (skipped, 0);
        while done < frames {
            let released = self.held.release(frames - done, &mut out[written..]);
            let Some((n, of_span)) = released.map_err(|_| gst::FlowError::Error)? else {
                break;
            };
            if let Some(of_span) = of_span {
                let bytes = &mut out[written..written + n * bpf];
                // A declared gap stays one, even where the mark of its neighbours reaches into it.
                if !of_span.contains(gst::BufferFlags::GAP) {
                    self.samples
                        .add(bytes, &self.mark[done * channels..(done + n) * channels]);
                }
                flags.add(of_span);
                written += n * bpf;
            }
            done += n;
        }
        Ok((done - skipped, written))
    }

    /// Listens to frames that leave: audio, or silence if there are no bytes of them.
    fn measure(&mut self, frames: usize, bytes: &[u8], reports: &mut Vec<Report>) {
        let Some(run) = self.run.as_ref().filter(|_| frames > 0) else {
            return;
        };
        // Nothing is in there any more: the core has taken what came in.
        let heard = &mut self.input[..frames * self.info.channels() as usize];
        if self.meter.is_on() {
            match bytes {
                [] => heard.fill(0.0),
                bytes => self.samples.analyse(bytes, heard),
            }
        }
        let mut tell = |measured| reports.push(Report::of(measured, Some(&run.clock)));
        self.meter.hear(heard, &mut tell);
    }

    /// Gives an output buffer of so many frames the times by other clocks that these came with.
    fn refer(&self, buffer: &mut gst::Buffer, frames: usize) -> Result<(), gst::FlowError> {
        let Some(run) = &self.run else {
            return Ok(());
        };
        let buffer = buffer.get_mut().ok_or(gst::FlowError::Error)?;
        for (frame, reference) in self.held.references(frames) {
            // A meta is about the first frame of its buffer.
            let time = run.clock.elapsed(frame.unsigned_abs()).and_then(|off| {
                if frame > 0 {
                    reference.time.checked_sub(off)
                } else {
                    reference.time.checked_add(off)
                }
            });
            if let Some(time) = time {
                let duration = reference.duration;
                gst::ReferenceTimestampMeta::add(buffer, &reference.clock, time, duration);
            }
        }
        Ok(())
    }

    /// Gives an output buffer the times and flags of the frames in it.
    fn stamp(
        &mut self,
        buffer: &mut gst::Buffer,
        frames: usize,
        offset: Option<u64>,
        flags: &OutFlags,
    ) -> Result<(), gst::FlowError> {
        let Some(run) = self.run.as_mut() else {
            return Ok(());
        };
        let buffer = buffer.get_mut().ok_or(gst::FlowError::Error)?;
        let (start, end) = (run.frames_out, run.frames_out + frames as u64);
        buffer.set_pts(run.clock.time(start));
        buffer.set_duration(run.clock.duration(start, end));
        if let Some(offset) = offset {
            buffer.set_offset(offset);
            buffer.set_offset_end(offset.saturating_add(frames as u64));
        }
        buffer.set_flags(flags.of_buffer());
        run.frames_out = end;
        Ok(())
    }

    /// How much audio a buffer is, if it holds whole frames only.
    pub fn length(&self, buffer: &gst::BufferRef) -> Result<gst::ClockTime, gst::ErrorMessage> {
        let frames = audio::frames(&self.info, buffer)? as u64;
        let length = FrameClock::new(self.info.rate(), None).elapsed(frames);
        Ok(length.unwrap_or(gst::ClockTime::MAX))
    }
}
