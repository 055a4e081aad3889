// SPDX-License-Identifier: MIT OR Apache-2.0
//! How loud the mark is at each frequency, against the threshold of the masking model.
//!
//! Speech and music mind the mark at other frequencies. PESQ finds a mark in speech below 1 kHz ten times as costly,
//! for the same score, as one above 4 kHz. ViSQOL finds in music that the top costs most: 4 dB more above 4 kHz cost
//! as much as 4 dB more from 300 Hz to 2 kHz. And what lies between 600 Hz and 3 kHz is all that a telephone
//! leaves. So there are two tables, and what decides between them is not what the programme is but how steady
//! it is: speech has pauses.

/// Decibels of the mark of strength 0, by frequency in hertz: in programme that varies like speech, and in programme
/// that is steady like music. In between, straight lines over the logarithm of frequency.
///
/// The first was measured band by band on 13 recordings of speech: what 4 dB more cost in PESQ, and what they brought
/// in score in rooms, in noise and behind telephone codecs. The second in the same way on 8 recordings of music with
/// ViSQOL.
const LEVELS: [(f64, f64, f64); 7] = [
    (300.0, -16.1, -17.0),
    (450.0, -14.1, -15.0),
    (800.0, -5.9, -1.4),
    (1250.0, -0.5, 4.0),
    (2000.0, 0.7, 1.7),
    (3500.0, 2.7, 1.7),
    (6550.0, 3.8, -3.2),
];

/// Steadiness up to which programme counts as varying and from which on as steady. Of 40 recordings of music of 20 s
/// nine tenths are above 0.71, of 30 of speech nine tenths are below.
const VARYING: f32 = 0.68;
const STEADY: f32 = 0.84;
/// What is assumed at the start, and for how many frames of 64 ms it counts (about 2 s).
const ASSUMED: f32 = 0.65;
const FRAMES_BEFORE: f32 = 32.0;
/// Frames over which steadiness is taken, about 10 s.
const MEMORY: f32 = 156.0;

/// Level of each bin in varying and in steady programme.
pub struct Levels {
    /// Amplitude in varying programme, and logarithm of what it is multiplied by in steady programme.
    of_bins: Vec<(f32, f32)>,
}

impl Levels {
    /// Levels of bins with these frequencies, in hertz.
    pub fn new(hertz: impl Iterator<Item = f64>) -> Self {
        let natural = std::f64::consts::LN_10 / 20.0;
        Levels {
            of_bins: hertz
                .map(level_at)
                .map(|(varying, steady)| {
                    let difference = natural * (steady - varying);
                    ((natural * varying).exp() as f32, difference as f32)
                })
                .collect(),
        }
    }

    /// Writes the amplitude of each bin, times `factor`, in programme of which `share` (0 to 1) counts as steady.
    pub fn amplitudes(&self, share: f32, factor: f32, amplitudes: &mut [f32]) {
        for (amplitude, (varying, difference)) in amplitudes.iter_mut().zip(&self.of_bins) {
            *amplitude = factor * varying * (share * difference).exp();
        }
    }
}

/// How steady the programme is: the square of its mean amplitude over its mean power, 1 for a tone, little where short
/// loud moments alternate with pauses (compare the low-energy frames of Saunders, "Real-time discrimination of
/// broadcast speech/music", ICASSP 1996).
#[derive(Clone, Copy)]
pub struct Steadiness {
    amplitude: f32,
    power: f32,
    frames: f32,
}

impl Steadiness {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Steadiness {
            amplitude: 0.0,
            power: 0.0,
            frames: 0.0,
        }
    }

    /// Takes the mean power of a frame.
    pub fn take(&mut self, power: f32) {
        self.frames = (self.frames + 1.0).min(MEMORY);
        let step = 1.0 / self.frames;
        self.amplitude += step * (power.sqrt() - self.amplitude);
        self.power += step * (power - self.power);
    }

    /// Share of the programme, from 0 to 1, that counts as steady.
    pub fn share(&self) -> f32 {
        let steadiness = if self.power > 1e-20 {
            self.amplitude.powi(2) / self.power
        } else {
            ASSUMED
        };
        let known = self.frames / (self.frames + FRAMES_BEFORE);
        let steadiness = ASSUMED + known * (steadiness - ASSUMED);
        ((steadiness - VARYING) / (STEADY - VARYING)).clamp(0.0, 1.0)
    }
}

/// Levels at `hertz`, from [`LEVELS`].
fn level_at(hertz: f64) -> (f64, f64) {
    let above = LEVELS.partition_point(|&(f, ..)| f < hertz);
    let (low, high) = match above {
        0 => (LEVELS[0], LEVELS[0]),
        n if n == LEVELS.len() => (LEVELS[n - 1], LEVELS[n - 1]),
        n => (LEVELS[n - 1], LEVELS[n]),
    };
    let part = if high.0 > low.0 {
        (hertz / low.0).ln() / (high.0 / low.0).ln()
    } else {
        0.0
    };
    (
        low.1 + part * (high.1 - low.1),
        low.2 + part * (high.2 - low.2),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_go_through_the_table_and_straight_in_between() {
        let close = |a: (f64, f64), b: (f64, f64)| {
            assert!((a.0 - b.0).abs() + (a.1 - b.1).abs() < 1e-9, "{a:?} {b:?}");
        };
        for (hertz, varying, steady) in LEVELS {
            close(level_at(hertz), (varying, steady));
        }
        let (first, last) = (LEVELS[0], LEVELS[LEVELS.len() - 1]);
        close(level_at(100.0), (first.1, first.2));
        close(level_at(20_000.0), (last.1, last.2));
        let (low, high) = (LEVELS[2], LEVELS[3]);
        let middle = (0.5 * (low.1 + high.1), 0.5 * (low.2 + high.2));
        close(level_at((low.0 * high.0).sqrt()), middle);
    }

    #[test]
    fn amplitudes_are_those_of_either_table() {
        let levels = Levels::new([1250.0].into_iter());
        let decibels = |share, factor| {
            let mut amplitude = [0.0];
            levels.amplitudes(share, factor, &mut amplitude);
            20.0 * amplitude[0].log10() as f64
        };
        let (varying, steady) = level_at(1250.0);
        assert!((decibels(0.0, 1.0) - varying).abs() < 1e-4);
        assert!((decibels(1.0, 1.0) - steady).abs() < 1e-4);
        assert!((decibels(0.5, 10.0) - 20.0 - 0.5 * (varying + steady)).abs() < 1e-4);
    }

    #[test]
    fn what_has_pauses_varies_and_what_has_none_is_steady() {
        let share = |power: fn(u32) -> f32| {
            let mut steadiness = Steadiness::new();
            (0..200).for_each(|i| steadiness.take(power(i)));
            steadiness.share()
        };
        assert_eq!(share(|_| 0.3), 1.0);
        assert_eq!(share(|i| if i % 3 == 0 { 1.0 } else { 0.01 }), 0.0);
        assert!(share(|_| 0.0).is_finite());
    }
}
