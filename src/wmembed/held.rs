// SPDX-License-Identifier: MIT OR Apache-2.0
//! What waits for its mark: audio as it came, and the silence between.

use std::collections::VecDeque;
use std::io::Read;

/// What GStreamer calls `GST_BUFFER_OFFSET_NONE`.
const NO_OFFSET: u64 = u64::MAX;

/// A time by another clock, such as that of the capturing device.
pub(super) struct Reference {
    /// What names the clock.
    pub clock: gst::Caps,
    pub time: gst::ClockTime,
    pub duration: Option<gst::ClockTime>,
}

/// Frames that wait, with what the buffer or event that they came in said about them.
struct Span {
    frames: usize,
    /// Frames of it that have left.
    left: u64,
    kind: Kind,
}

enum Kind {
    Audio(Audio),
    /// Nothing leaves for it but the event that told of it, if there was one.
    Silence(Option<gst::Event>),
}

struct Audio {
    flags: gst::BufferFlags,
    /// That of the first frame.
    offset: Option<u64>,
    references: Vec<Reference>,
}

impl Kind {
    fn is_silence(&self) -> bool {
        matches!(self, Kind::Silence(_))
    }
}

/// Spans, oldest first, and the bytes of those that are audio.
pub(super) struct Held {
    bpf: usize,
    bytes: VecDeque<u8>,
    spans: VecDeque<Span>,
}

impl Held {
    /// For frames of `bpf` bytes, of which not many more than `frames` will wait.
    pub fn new(bpf: usize, frames: usize) -> Self {
        Held {
            bpf,
            bytes: VecDeque::with_capacity(frames * bpf),
            spans: VecDeque::new(),
        }
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
    }

    pub fn frames(&self) -> usize {
        self.spans.iter().map(|span| span.frames).sum()
    }

    /// Takes note of the frames of a buffer, which has lost its first ones, `clipped` long. Their bytes follow with
    /// [`Held::extend`].
    pub fn announce(
        &mut self,
        frames: usize,
        buffer: &gst::BufferRef,
        (flags, offset): (gst::BufferFlags, Option<u64>),
        clipped: gst::ClockTime,
    ) {
        let kind = Kind::Audio(Audio {
            flags,
            offset,
            references: references(buffer, clipped),
        });
        self.spans.push_back(Span {
            frames,
            left: 0,
            kind,
        });
    }

    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// Takes silence, and the event that told of it.
    pub fn silence(&mut self, frames: usize, event: Option<gst::Event>) {
        self.spans.push_back(Span {
            frames,
            left: 0,
            kind: Kind::Silence(event),
        });
    }

    /// Whether what leaves next is silence.
    pub fn is_silent(&self) -> bool {
        self.spans
            .front()
            .is_some_and(|span| span.kind.is_silence())
    }

    /// Frames that leave before it is the turn of something else: audio after silence, or silence after anything.
    pub fn alike(&self) -> usize {
        if self.is_silent() {
            return self.spans.front().map_or(0, |span| span.frames);
        }
        let audio = |span: &&Span| !span.kind.is_silence();
        let audio = self.spans.iter().take_while(audio);
        audio.map(|span| span.frames).sum()
    }

    /// The event whose turn it is.
    pub fn take_event(&mut self) -> Option<gst::Event> {
        let span = self.spans.front_mut()?;
        let Kind::Silence(event) = &mut span.kind else {
            return None;
        };
        let event = event.take();
        if span.frames == 0 {
            self.spans.pop_front();
        }
        event
    }

    /// Offset of the frame that leaves next.
    pub fn offset(&self) -> Option<u64> {
        let span = self.spans.front()?;
        match &span.kind {
            Kind::Audio(audio) => Some(audio.offset?.saturating_add(span.left)),
            Kind::Silence(_) => None,
        }
    }

    /// The times by other clocks that come with the next `frames`, the first one by each clock, and where the frame lies
    /// that it is about: so many frames after the one that leaves next.
    pub fn references(&self, frames: usize) -> Vec<(i64, &Reference)> {
        let mut all: Vec<(i64, &Reference)> = Vec::new();
        let mut start = 0;
        for span in &self.spans {
            let Kind::Audio(audio) = &span.kind else {
                break;
            };
            if start >= frames {
                break;
            }
            for reference in &audio.references {
                if !all.iter().any(|(_, other)| other.clock == reference.clock) {
                    all.push((start as i64 - span.left as i64, reference));
                }
            }
            start += span.frames;
        }
        all
    }

    /// Gives up to `most` frames that came in together: how many they are, and of audio the flags and, in `out`, the
    /// bytes.
    pub fn release(
        &mut self,
        most: usize,
        out: &mut [u8],
    ) -> std::io::Result<Option<(usize, Option<gst::BufferFlags>)>> {
        let Some(span) = self.spans.front_mut() else {
            return Ok(None);
        };
        let frames = span.frames.min(most);
        let flags = match &span.kind {
            Kind::Audio(audio) => {
                self.bytes.read_exact(&mut out[..frames * self.bpf])?;
                // What breaks off does so before the first frame.
                let first = span.left == 0;
                let later = audio.flags - gst::BufferFlags::DISCONT;
                Some(if first { audio.flags } else { later })
            }
            Kind::Silence(_) => None,
        };
        span.frames -= frames;
        span.left += frames as u64;
        if span.frames == 0 {
            self.spans.pop_front();
        }
        Ok(Some((frames, flags)))
    }
}

/// The flags of an output buffer, from those of the input buffers that its frames came in.
#[derive(Default)]
pub(super) struct OutFlags {
    any: Option<gst::BufferFlags>,
    all: Option<gst::BufferFlags>,
}

impl OutFlags {
    pub fn add(&mut self, flags: gst::BufferFlags) {
        self.any = Some(self.any.map_or(flags, |any| any | flags));
        self.all = Some(self.all.map_or(flags, |all| all & flags));
    }

    pub fn of_buffer(&self) -> gst::BufferFlags {
        use gst::BufferFlags as F;
        let (any, all) = (
            self.any.unwrap_or(F::empty()),
            self.all.unwrap_or(F::empty()),
        );
        any & (F::CORRUPTED | F::RESYNC | F::DISCONT) | all & (F::GAP | F::DROPPABLE)
    }
}

/// Offset of the first frame of a buffer, if it has one.
pub(super) fn offset_of(buffer: &gst::BufferRef) -> Option<u64> {
    Some(buffer.offset()).filter(|offset| *offset != NO_OFFSET)
}

fn references(buffer: &gst::BufferRef, clipped: gst::ClockTime) -> Vec<Reference> {
    let metas = buffer.iter_meta::<gst::ReferenceTimestampMeta>();
    metas
        .map(|meta| Reference {
            clock: meta.reference_owned(),
            time: meta.timestamp().saturating_add(clipped),
            duration: meta.duration(),
        })
        .collect()
}
