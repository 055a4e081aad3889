// SPDX-License-Identifier: MIT OR Apache-2.0
//! The score of all pairs of the latest blocks, for one place in the key and a few speeds.

use super::super::format::{CHIP_LOW, CHIP_WIDTH, CHIPS, DELAY, ROWS};
use super::super::key::Signs;
use super::super::speeds::SpeedMap;
use super::super::windows::LANES;
use super::lags::LagCorrelator;
use super::{BLOCKS, COARSE_STEP, FINE, LAGS, PAIRS, SLOTS_PER_BLOCK};
use pulp::Arch;
use rustfft::num_complex::Complex;
use std::f64::consts::TAU;
use std::ops::RangeInclusive;

/// What the pairs of the latest blocks say about one place in the key.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Scored {
    /// T / sigma: mean 0 and variance 1 on unmarked audio.
    pub z: f64,
    /// V / sigma^2 - 1, V being the variance of T as the signs of the place have it.
    pub excess: f64,
    /// The same of the latest block with all others: a sum of independent signs, so Hoeffding holds for it.
    pub latest: f64,
    /// The best of the speeds, in fine steps.
    pub speed: i32,
}

impl Scored {
    /// The score that reaches `threshold` with a probability of at most exp(-threshold^2 / 2) on unmarked audio.
    pub fn score(&self, threshold: f64) -> f64 {
        self.z - 0.5 * threshold * self.excess
    }
}

/// Scores places in the key.
pub struct Form {
    arch: Arch,
    /// Signs of row `q`, chip by chip.
    signs: Vec<[i8; CHIPS]>,
    /// Coarse speeds, the nominal one in the middle.
    maps: Vec<SpeedMap>,
    /// Largest fine step.
    reach: i32,
    /// Phase of each chip, lag and fine step from a coarse speed.
    ramps: Vec<[Plane; LAGS]>,
    /// Correlations of all pairs, lag by lag, at one coarse speed.
    pairs: Vec<Plane>,
    gathered: Option<(i64, i32)>,
    ramp: Vec<Complex<f32>>,
    product: Vec<Complex<f32>>,
    rows: [[f32; CHIPS]; BLOCKS],
    real: Vec<[f32; CHIPS]>,
}

/// One complex number a chip.
#[derive(Clone, Copy)]
struct Plane {
    re: [f32; CHIPS],
    im: [f32; CHIPS],
}

impl Plane {
    const ZERO: Plane = Plane {
        re: [0.0; CHIPS],
        im: [0.0; CHIPS],
    };
}

/// Index of the pair of the `j`-th latest block and the one `lag` blocks earlier.
fn pair(lag: usize, j: usize) -> usize {
    (lag - 1) * BLOCKS - lag * (lag - 1) / 2 + j
}

/// Coarse speed next to a fine step.
fn coarse(speed: i32) -> i32 {
    (speed + FINE / 2).div_euclid(FINE)
}

impl Form {
    /// A form for `steps` coarse speeds on either side of the nominal one.
    pub fn new(mut signs: Signs, steps: i32, sample_rate: u32, correlator: &LagCorrelator) -> Self {
        let map = |step| {
            let speed = 1.0 + step as f64 * COARSE_STEP;
            SpeedMap::of_bins(
                speed,
                sample_rate as f64,
                correlator.bins(),
                correlator.delay(),
            )
        };
        let mut row = |q| {
            let mut of_row = [0.0; CHIPS];
            signs.row(q, &mut of_row);
            of_row.map(|sign| sign as i8)
        };
        let (_, bins) = correlator.bins();
        Form {
            arch: Arch::new(),
            signs: (0..ROWS as u64).map(&mut row).collect(),
            maps: (-steps..=steps).map(map).collect(),
            reach: steps * FINE,
            ramps: (-FINE..=FINE).map(fine_ramps).collect(),
            pairs: vec![Plane::ZERO; PAIRS],
            gathered: None,
            ramp: vec![Complex::ZERO; bins.len()],
            product: vec![Complex::ZERO; bins.len()],
            rows: [[0.0; CHIPS]; BLOCKS],
            real: vec![[0.0; CHIPS]; PAIRS],
        }
    }

    /// Forgets the audio.
    pub fn reset(&mut self) {
        self.gathered = None;
    }

    /// Coarse speeds on either side of the nominal one.
    pub fn steps(&self) -> i32 {
        self.maps.len() as i32 / 2
    }

    /// The farthest fine step from the nominal speed.
    pub fn reach(&self) -> i32 {
        self.reach
    }

    /// Number of fine speeds.
    pub fn speeds(&self) -> usize {
        2 * self.reach as usize + 1
    }

    /// Playing speed at a fine step.
    pub fn speed(&self, step: i32) -> f64 {
        1.0 + step as f64 * COARSE_STEP / FINE as f64
    }

    /// Whether a fine step is nearer to the nominal speed than to any other coarse one.
    pub fn is_nominal(&self, step: i32) -> bool {
        coarse(step) == 0
    }

    /// Products of the signs of a row and the one `lag` rows earlier.
    pub fn sign_products(&self, row: usize, lag: usize) -> [f32; CHIPS] {
        let (later, earlier) = (&self.signs[row], &self.signs[(row + ROWS - lag) % ROWS]);
        std::array::from_fn(|c| (later[c] * earlier[c]) as f32)
    }

    /// Sums of the chips for the latest pair at one lag and coarse speed number `map`.
    pub fn latest_pair(
        &mut self,
        audio: &LagCorrelator,
        slot: i64,
        map: usize,
        lag: usize,
        chips: &mut [f32],
    ) {
        let map = &self.maps[map];
        for (ramp, first) in self.ramp.iter_mut().zip(map.ramp()) {
            *ramp = first.powu(lag as u32);
        }
        let (re, im) = audio.block(slot, lag);
        apply_ramp(self.arch, re, im, &self.ramp, &mut self.product);
        for (chip, edge) in chips.iter_mut().zip(map.edges().windows(2)) {
            let bins = &self.product[edge[0] as usize..edge[1] as usize];
            *chip = bins.iter().map(|c| c.re).sum();
        }
    }

    /// Scores row `row` of the key as that of the block that ends with slot `slot`; the best of the fine
    /// steps `speeds`, which must lie within one coarse step of the middle one.
    pub fn score(
        &mut self,
        audio: &LagCorrelator,
        slot: i64,
        row: usize,
        speeds: RangeInclusive<i32>,
    ) -> Scored {
        let centre = coarse((speeds.start() + speeds.end()).div_euclid(2))
            .clamp(-self.steps(), self.steps());
        self.gather(audio, slot, centre);
        for (j, signs) in self.rows.iter_mut().enumerate() {
            let row = &self.signs[(row + ROWS - j) % ROWS];
            for (sign, s) in signs.iter_mut().zip(row) {
                *sign = *s as f32;
            }
        }
        let sums = self.signed_sums();
        let low = (*speeds.start()).max(-self.reach) - centre * FINE;
        let high = (*speeds.end()).min(self.reach) - centre * FINE;
        let (mut best, mut most) = (0, f32::NEG_INFINITY);
        for fine in low.max(-FINE)..=high.min(FINE) {
            let ramps = &self.ramps[(fine + FINE) as usize];
            let sum: f32 = self.arch.dispatch(
                #[inline(always)]
                || {
                    let real = |(x, r): (&Plane, &Plane)| dot(&x.re, &r.re) - dot(&x.im, &r.im);
                    sums.iter().zip(ramps).map(real).sum()
                },
            );
            if sum > most {
                (best, most) = (fine, sum);
            }
        }
        Scored {
            speed: centre * FINE + best,
            ..self.evaluate(best)
        }
    }

    /// Makes the correlations of all pairs at one coarse speed, unless they are there already.
    fn gather(&mut self, audio: &LagCorrelator, slot: i64, speed: i32) {
        if self.gathered.replace((slot, speed)) == Some((slot, speed)) {
            return;
        }
        let map = &self.maps[(speed + self.steps()) as usize];
        self.ramp.fill(Complex::ONE);
        for lag in 1..=LAGS {
            for (ramp, first) in self.ramp.iter_mut().zip(map.ramp()) {
                *ramp *= first;
            }
            for j in 0..BLOCKS - lag {
                let (re, im) = audio.block(slot - (j as u64 * SLOTS_PER_BLOCK) as i64, lag);
                apply_ramp(self.arch, re, im, &self.ramp, &mut self.product);
                let plane = &mut self.pairs[pair(lag, j)];
                let chips = plane.re.iter_mut().zip(&mut plane.im);
                for ((re, im), edge) in chips.zip(map.edges().windows(2)) {
                    let bins = &self.product[edge[0] as usize..edge[1] as usize];
                    let sum: Complex<f32> = bins.iter().sum();
                    (*re, *im) = (sum.re, sum.im);
                }
            }
        }
    }

    /// Sum over the pairs of each lag, times their signs.
    fn signed_sums(&self) -> [Plane; LAGS] {
        let mut sums = [Plane::ZERO; LAGS];
        self.arch.dispatch(
            #[inline(always)]
            || {
                for (lag, sum) in (1..=LAGS).zip(&mut sums) {
                    for j in 0..BLOCKS - lag {
                        let plane = &self.pairs[pair(lag, j)];
                        let (later, earlier) = (&self.rows[j], &self.rows[j + lag]);
                        for c in 0..CHIPS {
                            let sign = later[c] * earlier[c];
                            sum.re[c] += sign * plane.re[c];
                            sum.im[c] += sign * plane.im[c];
                        }
                    }
                }
            },
        );
        sums
    }

    /// The score at one fine step from the gathered speed, block by block in order of time.
    fn evaluate(&mut self, fine: i32) -> Scored {
        let ramps = &self.ramps[(fine + FINE) as usize];
        let Form {
            pairs, real, rows, ..
        } = self;
        self.arch.dispatch(
            #[inline(always)]
            || {
                for (lag, ramp) in (1..=LAGS).zip(ramps) {
                    for j in 0..BLOCKS - lag {
                        let (plane, real) = (&pairs[pair(lag, j)], &mut real[pair(lag, j)]);
                        for (c, b) in real.iter_mut().enumerate() {
                            *b = plane.re[c] * ramp.re[c] - plane.im[c] * ramp.im[c];
                        }
                    }
                }
            },
        );
        self.arch.dispatch(
            #[inline(always)]
            || chaos(rows, |lag, j| &real[pair(lag, j)]),
        )
    }
}

/// Score of the quadratic form in the signs `rows`, latest block first, whose coefficients are `real(lag, j)`.
#[inline(always)]
fn chaos<'a>(
    rows: &[[f32; CHIPS]; BLOCKS],
    real: impl Fn(usize, usize) -> &'a [f32; CHIPS],
) -> Scored {
    let (mut sum, mut variance, mut expected, mut latest) = (0.0, 0.0, 0.0, 0.0);
    for j in 0..LAGS {
        let mut given = [0.0f32; CHIPS];
        for lag in 1..BLOCKS - j {
            let b = real(lag, j);
            let earlier = &rows[j + lag];
            for ((g, b), s) in given.iter_mut().zip(b).zip(earlier) {
                *g += b * s;
            }
            expected += dot(b, b) as f64;
        }
        let of_block = dot(&given, &rows[j]);
        let square = dot(&given, &given);
        sum += of_block as f64;
        variance += square as f64;
        if j == 0 && square > 0.0 {
            latest = (of_block / square.sqrt()) as f64;
        }
    }
    if expected < 1e-30 {
        return Scored::default();
    }
    Scored {
        z: sum / expected.sqrt(),
        excess: variance / expected - 1.0,
        latest,
        speed: 0,
    }
}

/// `product` = (re, im) times `ramp`.
fn apply_ramp(
    arch: Arch,
    re: &[f32],
    im: &[f32],
    ramp: &[Complex<f32>],
    product: &mut [Complex<f32>],
) {
    arch.dispatch(
        #[inline(always)]
        || {
            for (((p, r), re), im) in product.iter_mut().zip(ramp).zip(re).zip(im) {
                *p = Complex::new(re * r.re - im * r.im, re * r.im + im * r.re);
            }
        },
    );
}

/// Sum of the products of two rows of chips, in an order that vector instructions can follow.
#[inline(always)]
fn dot(a: &[f32; CHIPS], b: &[f32; CHIPS]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a.remainder().iter().zip(b.remainder());
    let rest: f32 = rest.map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for i in 0..LANES {
            lanes[i] += a[i] * b[i];
        }
    }
    rest + lanes.iter().sum::<f32>()
}

/// What the lags lack `step` fine steps from a coarse speed: within a chip, the phase is the same to 0.04.
fn fine_ramps(step: i32) -> [Plane; LAGS] {
    std::array::from_fn(|index| {
        let lag = (index + 1) as f64 * DELAY;
        let missing = -lag * step as f64 * COARSE_STEP / FINE as f64;
        let mut plane = Plane::ZERO;
        for (chip, (re, im)) in plane.re.iter_mut().zip(&mut plane.im).enumerate() {
            let hertz = CHIP_LOW + (chip as f64 + 0.5) * CHIP_WIDTH;
            let (sin, cos) = (TAU * hertz * missing).sin_cos();
            (*re, *im) = (cos as f32, sin as f32);
        }
        plane
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_have_places_of_their_own() {
        let all: Vec<_> = (1..=LAGS)
            .flat_map(|lag| (0..BLOCKS - lag).map(move |j| pair(lag, j)))
            .collect();
        assert_eq!(all, (0..PAIRS).collect::<Vec<_>>());
    }

    #[test]
    fn fine_steps_belong_to_the_nearest_coarse_one() {
        assert_eq!(
            [-8, -7, -3, -2, 2, 3, 7, 8].map(coarse),
            [-2, -1, -1, 0, 0, 1, 1, 2]
        );
    }

    /// Signs drawn at random, from bits that pass for independent.
    struct Coins(u64);

    impl Coins {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut x = self.0;
            x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            x ^ x >> 31
        }

        fn rows(&mut self) -> [[f32; CHIPS]; BLOCKS] {
            let mut rows = [[0.0; CHIPS]; BLOCKS];
            for sign in rows.as_flattened_mut().chunks_mut(64) {
                let bits = self.next();
                for (i, s) in sign.iter_mut().enumerate() {
                    *s = if bits >> i & 1 == 0 { 1.0 } else { -1.0 };
                }
            }
            rows
        }
    }

    /// Coefficients that are the same for all pairs, as a held note has them, in the first `chips` chips.
    fn held(chips: usize) -> [f32; CHIPS] {
        std::array::from_fn(|c| (c < chips) as u8 as f32)
    }

    #[test]
    fn held_notes_stay_below_the_bound() {
        let mut coins = Coins(1);
        let draws = 60_000;
        for chips in [1, 3, 30] {
            let b = held(chips);
            let all: Vec<_> = (0..draws)
                .map(|_| chaos(&coins.rows(), |_, _| &b))
                .collect();
            let mean = all.iter().map(|s| s.z).sum::<f64>() / draws as f64;
            let variance = all.iter().map(|s| s.z * s.z).sum::<f64>() / draws as f64;
            assert!(
                mean.abs() < 0.03 && (variance - 1.0).abs() < 0.1,
                "{mean} {variance}"
            );
            for u in [1.0f64, 2.0, 3.0, 3.5, 4.0] {
                let share = |reach: &dyn Fn(&Scored) -> f64| {
                    all.iter().filter(|s| reach(s) >= u).count() as f64 / draws as f64
                };
                let bound = (-0.5 * u * u).exp();
                assert!(share(&|s| s.score(u)) <= bound, "{chips} chips, {u}");
                // The plain z does break it, which is why the excess is charged for.
                if chips == 1 && u > 3.2 {
                    assert!(share(&|s| s.z) > 2.0 * bound);
                }
            }
        }
    }

    #[test]
    fn the_expected_exponential_is_at_most_one() {
        // All 2048 sign patterns of one chip that begin with +1; the form does not change with the sign of all.
        for (b, name) in [([1.0; PAIRS], "held"), ([-1.0; PAIRS], "alternating")] {
            let b = b.map(|b| std::array::from_fn(|c| if c == 0 { b } else { 0.0 }));
            for u in [0.5, 2.0, 5.0, 8.0] {
                let mut mean = 0.0;
                for pattern in 0..1u32 << LAGS {
                    let rows = std::array::from_fn(|j| {
                        [if pattern >> j & 1 == 0 { 1.0 } else { -1.0 }; CHIPS]
                    });
                    let scored = chaos(&rows, |lag, j| &b[pair(lag, j)]);
                    mean += (u * scored.score(u) - 0.5 * u * u).exp() / 2048.0;
                }
                assert!(mean <= 1.0, "{name}, {u}: {mean}");
            }
        }
    }
}
