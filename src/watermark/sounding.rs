// SPDX-License-Identifier: MIT OR Apache-2.0
//! When what a slot has heard did sound.
//!
//! A slot takes 160 ms of audio in, of which a drum may make one tenth. What the slot says is then about the moment of
//! the drum, not about its middle, and a watermark time that takes the middle for granted is wrong by up to 20 ms at
//! the time. So what sounds is looked at in pieces of 10 ms: its power, whitened by linear prediction, because loud
//! basses carry no mark.
//!
//! In a room, what is heard was played earlier, for the most part while it fades: behind a drum everything is its echo,
//! but what a drum begins with is not. So for some kinds of rooms the power is taken apart into what has just been
//! played and what is left of it later, and a slot is also told by when that was played which it has heard.

use super::correlation::{FRAME, FRAMES_PER_DELAY, FRAMES_PER_SLOT};
use super::format::WINDOW;
use super::rounding::to_bytes;
use super::windows::FADED;
use std::f64::consts::PI;

/// Pieces of a frame, which is as long as 12.8 of them.
pub const OF_FRAME: usize = 12;
/// Pieces of a slot.
const OF_SLOT: usize = OF_FRAME + FRAMES_PER_SLOT as usize - 1;
/// Coefficients of the prediction: with more, nothing is gained.
pub const ORDER: usize = 2;
/// Pieces that the spectrum to be whitened is a mean of: half a second.
const MEMORY: f32 = 50.0;
/// What is left of the power of a piece at least: prediction can be too good to be true.
const LEAST: f32 = 1e-4;
/// Samples that are taken at once.
const LANES: usize = 8;
/// Amplitude that counts as none.
const NOTHING: f32 = 1e-15;
/// Levels that are kept, exactly those that are read: those of a frame and of what its echoes are of, and of the same a
/// delay earlier.
const KEPT: usize = TAIL + OF_FRAME + FRAMES_PER_DELAY as usize;
/// Pieces before a frame whose echoes are heard in it.
pub const TAIL: usize = 12;
pub const IN_ROOM: usize = TAIL + OF_SLOT;
/// Rooms that are considered: how long echoes take to die away by a factor of e, in seconds, and their share of the
/// power that is heard. They are like simulated rooms at 3 to 6 m with a reverberation time of 0.4 s, and of 0.6 to
/// 0.9 s.
const ECHOES: [(f64, f32); ROOMS] = [(0.029, 0.45), (0.055, 0.6)];
/// How late what counts as just played comes after the direct sound, in seconds: the first echoes are among it.
const LATE: [f64; ROOMS] = [0.006, 0.006];
pub const ROOMS: usize = 2;
/// Share of what is heard in a piece that has just been played, at least: powers of pieces vary by chance. With 0.02,
/// of 100 reports in a room 83 were told from dry audio, with this 90.
const JUST_PLAYED: f32 = 0.3;

/// How much of a slot each piece of 10 ms makes. In steps, because it is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sounding {
    /// Seconds from the middle of the slot to that of the first piece.
    from: f32,
    shares: [i8; OF_SLOT],
    /// The same in each room, by when it was played.
    played: [[i8; IN_ROOM]; ROOMS],
}

impl Sounding {
    /// What nothing is known about: all of it sounds in the middle.
    pub const MIDDLE: Sounding = {
        let mut shares = [0; OF_SLOT];
        shares[OF_SLOT / 2] = 1;
        let mut played = [0; IN_ROOM];
        played[TAIL + OF_SLOT / 2] = 1;
        Sounding {
            from: -(FRAME as f32) * (OF_SLOT / 2) as f32,
            shares,
            played: [played; ROOMS],
        }
    };

    /// Seconds from the middle of the slot to that of the first piece.
    pub fn from(&self) -> f64 {
        f64::from(self.from)
    }

    /// How much of the slot each piece makes. Adds up to 1.
    pub fn shares(&self) -> [f32; OF_SLOT] {
        shares(&self.shares)
    }

    /// How much of the slot was played in each piece, in each room, from [`TAIL`] pieces earlier on; that adds up to 1.
    /// And how many seconds earlier still that was for the most part.
    pub fn played(&self) -> [([f32; IN_ROOM], f64); ROOMS] {
        std::array::from_fn(|room| (shares(&self.played[room]), LATE[room]))
    }
}

/// Shares of the whole.
fn shares<const N: usize>(steps: &[i8; N]) -> [f32; N] {
    let sum: f32 = steps.iter().copied().map(f32::from).sum();
    steps.map(|step| f32::from(step) / sum.max(1.0))
}

/// Steps that shares are told in.
fn steps<const N: usize>(shares: &[f32; N]) -> [i8; N] {
    let mut steps = [0; N];
    to_bytes(shares, &mut steps);
    steps
}

/// Hears pieces and adds up slots.
pub struct Envelope {
    /// Level of piece `p` at `p % KEPT`.
    levels: [f32; KEPT],
    /// Mean of the products of samples with those 0, 1 and 2 earlier, and pieces in it.
    mean: [f32; ORDER + 1],
    seen: f32,
    /// Weight of each piece of a frame: the product of two windows.
    window: [f32; OF_FRAME],
    shares: [f32; OF_SLOT],
    rooms: [Room; ROOMS],
}

/// What is heard, if it is heard in a room.
struct Room {
    /// Power of the echoes that the next piece is to have.
    echoes: f32,
    /// What stays of them from piece to piece, and what comes to them as a share of what is played.
    stays: f32,
    echoed: f32,
    /// Level of what was played in piece `p` at `p % KEPT`.
    levels: [f32; KEPT],
    /// How much of what is played in a piece a frame hears, the [`TAIL`] pieces before it included.
    heard: [f32; TAIL + OF_FRAME],
    played: [f32; IN_ROOM],
}

impl Envelope {
    /// Nothing has been heard yet.
    pub fn new() -> Self {
        let window = |piece: usize| {
            let seconds = FRAME * (piece as f64 - 0.5 * (OF_FRAME - 1) as f64);
            (PI * seconds / WINDOW).cos().powi(2) as f32
        };
        let window = std::array::from_fn(window);
        Envelope {
            levels: [0.0; KEPT],
            mean: [0.0; ORDER + 1],
            seen: 0.0,
            window,
            shares: [0.0; OF_SLOT],
            rooms: ECHOES.map(|(seconds, share)| Room::new(seconds, share, &window)),
        }
    }

    /// Forgets all audio.
    pub fn reset(&mut self) {
        *self = Envelope::new();
    }

    /// Takes piece number `piece`, with the [`ORDER`] samples before it.
    pub fn take(&mut self, piece: u64, samples: &[f32]) {
        let products = products(samples);
        self.seen = (self.seen + 1.0).min(MEMORY);
        for (mean, product) in self.mean.iter_mut().zip(products) {
            *mean += (product - *mean) / self.seen;
        }
        if self.mean[0] < FADED {
            self.mean = [0.0; ORDER + 1];
        }
        let power = unpredicted(self.mean, samples).max(LEAST * products[0]);
        self.levels[place(piece)] = power.sqrt();
        self.rooms
            .iter_mut()
            .for_each(|room| room.take(piece, power));
    }

    /// Adds frame `frame`, which begins with the piece of the same number and stands for `frames` frames.
    pub fn add(&mut self, frame: u64, frames: f32) {
        let first = (frame % FRAMES_PER_SLOT) as usize;
        add_frame(&mut self.shares[first..], &self.window, frames, |i| {
            level(&self.levels, frame + i as u64)
        });
        for room in &mut self.rooms {
            // Before the first piece there is nothing, and that is what is kept there.
            let piece = |i: usize| (frame + KEPT as u64 + i as u64) - TAIL as u64;
            add_frame(&mut room.played[first..], &room.heard, frames, |i| {
                level(&room.levels, piece(i))
            });
        }
    }

    /// Ends the slot, whose middle is `late` seconds behind that of its first frame.
    pub fn end_slot(&mut self, late: f64) -> Sounding {
        let shares = std::mem::replace(&mut self.shares, [0.0; OF_SLOT]);
        let played = self.rooms.each_mut().map(|room| {
            let played = std::mem::replace(&mut room.played, [0.0; IN_ROOM]);
            steps(&played)
        });
        if shares.iter().sum::<f32>() == 0.0 {
            return Sounding::MIDDLE;
        }
        Sounding {
            from: (-late - 0.5 * FRAME * (OF_FRAME - 1) as f64) as f32,
            shares: steps(&shares),
            played,
        }
    }
}

impl Room {
    /// Nothing has been heard yet.
    fn new(seconds: f64, share: f32, window: &[f32; OF_FRAME]) -> Self {
        let stays = (-FRAME / seconds).exp() as f32;
        let echoed = share / (1.0 - share) * (1.0 - stays) / stays;
        let heard = |piece: usize| {
            let pieces = (piece.max(TAIL)..=piece + TAIL).map(|at| (at - piece, at - TAIL));
            let within = pieces.filter_map(|(late, at)| Some((late, window.get(at)?)));
            let echoes = within.map(|(late, window)| match late {
                0 => *window,
                _ => window * echoed * stays.powi(late as i32),
            });
            echoes.sum()
        };
        Room {
            echoes: 0.0,
            stays,
            echoed,
            levels: [0.0; KEPT],
            heard: std::array::from_fn(heard),
            played: [0.0; IN_ROOM],
        }
    }

    /// Takes piece number `piece`, of this power.
    fn take(&mut self, piece: u64, power: f32) {
        let played = (power - self.echoes).max(JUST_PLAYED * power);
        self.echoes = self.stays * (self.echoes.min(power) + self.echoed * played);
        if self.echoes < FADED {
            self.echoes = 0.0;
        }
        self.levels[place(piece)] = played.sqrt();
    }
}

/// Where the level of a piece is kept.
fn place(piece: u64) -> usize {
    (piece % KEPT as u64) as usize
}

/// Product of the levels of a piece and of the one a delay earlier.
fn level(levels: &[f32; KEPT], piece: u64) -> f32 {
    let level = |piece: u64| levels[place(piece)];
    level(piece) * level(piece - FRAMES_PER_DELAY)
}

/// Adds a frame that stands for `frames` frames: how much of what is heard each of its pieces makes if it has that
/// level.
fn add_frame<const N: usize>(
    shares: &mut [f32],
    heard: &[f32; N],
    frames: f32,
    level: impl Fn(usize) -> f32,
) {
    let mut sounds: [f32; N] = std::array::from_fn(|i| heard[i] * level(i));
    let mut sum: f32 = sounds.iter().sum();
    if sum < 1e-20 {
        sounds = *heard;
        sum = sounds.iter().sum();
    }
    for (share, sounds) in shares.iter_mut().zip(sounds) {
        *share += frames * sounds / sum;
    }
}

/// Sums of the products of samples with those 0, 1 and 2 earlier; the first two samples are earlier ones only.
fn products(samples: &[f32]) -> [f32; ORDER + 1] {
    let [mut zero, mut one, mut two] = [[0.0; LANES]; ORDER + 1];
    in_lanes(samples, |lane, now, before, earlier| {
        zero[lane] += now * now;
        one[lane] += now * before;
        two[lane] += now * earlier;
    });
    [zero, one, two].map(|lanes| lanes.iter().sum())
}

/// The power that prediction by these mean products leaves of a piece. It is summed up sample by sample: from the sums
/// of products it would follow but for what is at both ends of the piece, and that is as much where a bass is loud.
/// Where the mark begins in mid-stream that would make errors of `found` 7 % larger.
fn unpredicted([mean, one, two]: [f32; ORDER + 1], samples: &[f32]) -> f32 {
    // A little noise, against numbers that are too close. As shares of the power, because squares of powers may be so
    // small that processors are slow with them.
    let power = 1.001 * mean + 1e-12;
    let (one, two) = (
        (one / power).clamp(-0.999, 0.999),
        (two / power).clamp(-1.0, 1.0),
    );
    let [one, two] = [one, two].map(|part| if part.abs() < 1e-10 { 0.0 } else { part });
    let determinant = 1.0 - one * one;
    let a = one * (1.0 - two) / determinant;
    let b = (two - one * one) / determinant;
    let mut power = [0.0; LANES];
    in_lanes(samples, |lane, now, before, earlier| {
        let left = now - a * before - b * earlier;
        // What is as good as nothing is nothing, lest its square be so small.
        let left = if left.abs() < NOTHING { 0.0 } else { left };
        power[lane] += left * left;
    });
    power.iter().sum()
}

/// Calls `take(lane, now, before, earlier)` for each sample but the first two, with the two before it. Sums are kept
/// for each of [`LANES`] lanes, because the sum of all in turn would be worked out sample by sample.
fn in_lanes(samples: &[f32], mut take: impl FnMut(usize, f32, f32, f32)) {
    let [earlier, before, now] = [0, 1, 2].map(|from| samples.get(from..).unwrap_or(&[]));
    let (nows, rest) = now.as_chunks::<LANES>();
    let whole = nows.iter().zip(before.as_chunks::<LANES>().0);
    for ((now, before), earlier) in whole.zip(earlier.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            take(lane, now[lane], before[lane], earlier[lane]);
        }
    }
    let done = now.len() - rest.len();
    for (lane, now) in rest.iter().enumerate() {
        take(lane, *now, before[done + lane], earlier[done + lane]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::noise;
    use super::*;

    /// Seconds from the middle of a slot to that of what sounds in it: noise, `loud(piece)`, over a loud bass.
    fn middle_of(loud: impl Fn(u64) -> f32) -> f64 {
        let mut envelope = Envelope::new();
        let mut next = noise(1);
        let noise: Vec<f32> = (0..162 * 60).map(|_| next()).collect();
        let bass = |i: usize| 3.0 * (0.02 * i as f32).sin();
        for piece in 0..60u64 {
            let begin = piece as usize * 160;
            let samples: Vec<_> = (begin..begin + 162)
                .map(|i| loud(piece) * noise[i] + bass(i))
                .collect();
            envelope.take(piece, &samples);
            if piece >= 44 + OF_FRAME as u64 - 1 {
                let frame = piece + 1 - OF_FRAME as u64;
                if frame < 48 {
                    envelope.add(frame, 1.0);
                }
            }
        }
        let sounding = envelope.end_slot(1.5 * FRAME);
        let shares = sounding.shares();
        let pieces = shares.iter().enumerate();
        let middle: f64 = pieces.map(|(i, share)| i as f64 * f64::from(*share)).sum();
        sounding.from() + middle * FRAME
    }

    #[test]
    fn a_slot_is_about_what_sounds_in_it() {
        assert!(middle_of(|_| 0.3).abs() < 0.004);
        // From the middle on.
        let late = middle_of(|piece| if piece < 51 { 0.01 } else { 0.3 });
        assert!((0.008..0.035).contains(&late), "{late}");
        let early = middle_of(|piece| if piece < 51 { 0.3 } else { 0.01 });
        assert!((-0.035..-0.008).contains(&early), "{early}");
        // It takes both ends of a delay.
        let late = middle_of(|piece| if piece < 35 { 0.01 } else { 0.3 });
        assert!((0.008..0.035).contains(&late), "{late}");
    }

    #[test]
    fn in_silence_all_is_as_the_windows_say() {
        let mut envelope = Envelope::new();
        (0..40).for_each(|piece| envelope.take(piece, &[0.0; 162]));
        (20..24).for_each(|frame| envelope.add(frame, 1.0));
        let shares = envelope.end_slot(0.015).shares();
        assert!(shares.iter().all(|share| share.is_finite()));
        assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert!(shares[OF_SLOT / 2] > 0.1);
        assert_eq!(envelope.end_slot(0.0), Sounding::MIDDLE);
    }
}
