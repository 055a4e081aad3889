// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the powers around a cell to its weight: see [`super::weighting`].

use super::weighting_network::{
    FEATURES, HIDDEN, HIDDEN_BIAS, HIDDEN_WEIGHTS, OUTPUT_DIRECT, OUTPUT_WEIGHTS,
};
use pulp::{Simd, WithSimd};

/// Power that ratios start from: -140 dB of a bin of full scale.
pub const LEAST: f32 = 1e-14;
/// Bound of the logarithms (base 2) of ratios.
pub const RATIO: f32 = 12.0;
/// Bound of the logarithm of a weight.
const WEIGHT: f32 = 6.0;
/// Bins that the network takes at once.
const LANES: usize = 32;

/// Smoothed powers of the present frame.
pub struct Cells {
    /// Power of each bin.
    pub power: Vec<f32>,
    /// Short mean around each bin: of the cell itself, its neighbourhood and its band.
    pub cell: Vec<f32>,
    pub near: Vec<f32>,
    pub band: Vec<f32>,
    /// What was there a moment ago, and always; and the lowest of the latest seconds.
    pub before: Vec<f32>,
    pub long: Vec<f32>,
    pub lowest: Vec<f32>,
    /// What follows from these.
    pub weight: Vec<f32>,
}

impl Cells {
    /// Room for `bins` bins.
    pub fn new(bins: usize) -> Self {
        let room = || vec![0.0; bins];
        Cells {
            power: room(),
            cell: room(),
            near: room(),
            band: room(),
            before: room(),
            long: room(),
            lowest: room(),
            weight: room(),
        }
    }
}

/// Logarithms (base 2) of mean powers of a frame.
#[derive(Clone, Copy)]
pub struct Levels {
    /// Of this frame, and always.
    pub now: f32,
    pub always: f32,
    /// Of what lies above a telephone's band against what lies in it.
    pub above_telephone: f32,
}

/// From powers to weights, compiled for each instruction set.
pub struct Network<'a> {
    pub cells: &'a mut Cells,
    /// Short mean of each bin alone.
    pub short: &'a [f32],
    /// Place of each bin within the chips.
    pub position: &'a [f32],
    pub levels: Levels,
}

impl WithSimd for Network<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let bins = self.position.len();
        for at in (0..bins).step_by(LANES) {
            let features = self.features(at);
            let weights = weights_of(simd, &features);
            let n = LANES.min(bins - at);
            self.cells.weight[at..at + n].copy_from_slice(&weights[..n]);
        }
    }
}

impl Network<'_> {
    /// What the network is told about the cells from `at` on.
    #[inline(always)]
    fn features(&self, at: usize) -> [[f32; LANES]; FEATURES] {
        let Cells {
            power,
            cell,
            near,
            band,
            before,
            long,
            lowest,
            ..
        } = &*self.cells;
        // One by one: closures would not be compiled for each instruction set.
        let (power, short) = (levels_of(power, at), levels_of(self.short, at));
        let (cell, near, band) = (
            levels_of(cell, at),
            levels_of(near, at),
            levels_of(band, at),
        );
        let (before, long) = (levels_of(before, at), levels_of(long, at));
        let lowest = levels_of(lowest, at);
        let mut position = [0.0; LANES];
        let n = LANES.min(self.position.len() - at);
        position[..n].copy_from_slice(&self.position[at..at + n]);
        let (now, always) = ([self.levels.now; LANES], [self.levels.always; LANES]);
        [
            ratio(&power, &cell),
            ratio(&cell, &near),
            ratio(&near, &band),
            ratio(&band, &now),
            ratio(&now, &always),
            ratio(&cell, &lowest),
            ratio(&cell, &long),
            ratio(&long, &always),
            ratio(&cell, &before),
            position,
            ratio(&power, &short),
            ratio(&lowest, &always),
            [self.levels.above_telephone; LANES],
        ]
    }
}

/// Logarithms (base 2) of the powers from `at` on.
#[inline(always)]
fn levels_of(powers: &[f32], at: usize) -> [f32; LANES] {
    let mut levels = [LEAST; LANES];
    let n = LANES.min(powers.len() - at);
    for (level, power) in levels.iter_mut().zip(&powers[at..at + n]) {
        *level = power.max(LEAST);
    }
    for level in &mut levels {
        *level = log2(*level);
    }
    levels
}

#[inline(always)]
fn ratio(one: &[f32; LANES], other: &[f32; LANES]) -> [f32; LANES] {
    let mut ratio = [0.0; LANES];
    for ((ratio, one), other) in ratio.iter_mut().zip(one).zip(other) {
        *ratio = (one - other).clamp(-RATIO, RATIO);
    }
    ratio
}

#[inline(always)]
fn weights_of<S: Simd>(simd: S, features: &[[f32; LANES]; FEATURES]) -> [f32; LANES] {
    let mut sum = [0.0; LANES];
    for (feature, direct) in features.iter().zip(OUTPUT_DIRECT) {
        add(simd, &mut sum, feature, direct);
    }
    for unit in 0..HIDDEN {
        let mut hidden = [HIDDEN_BIAS[unit]; LANES];
        for (feature, weight) in features.iter().zip(HIDDEN_WEIGHTS[unit]) {
            add(simd, &mut hidden, feature, weight);
        }
        for hidden in &mut hidden {
            *hidden = hidden.max(0.0);
        }
        add(simd, &mut sum, &hidden, OUTPUT_WEIGHTS[unit]);
    }
    for sum in &mut sum {
        *sum = exp2(sum.clamp(-WEIGHT, WEIGHT) * std::f32::consts::LOG2_E);
    }
    sum
}

#[inline(always)]
fn add<S: Simd>(simd: S, sum: &mut [f32; LANES], values: &[f32; LANES], weight: f32) {
    let weight = simd.splat_f32s(weight);
    // Vectors of 4, 8 or 16 leave nothing over.
    let (sum, _) = S::as_mut_simd_f32s(sum);
    let (values, _) = S::as_simd_f32s(values);
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum = simd.mul_add_e_f32s(weight, *value, *sum);
    }
}

/// Logarithm to base 2 of a normal positive number to within 0.01: exponent plus a parabola through the mantissa. The
/// weights need no more, and unlike the library's it is vectorised.
#[inline(always)]
fn log2(x: f32) -> f32 {
    let bits = x.to_bits();
    let exponent = (bits >> 23) as i32 - 127;
    let mantissa = f32::from_bits(bits & 0x007f_ffff | 0x3f80_0000);
    exponent as f32 + (-1.0 / 3.0 * mantissa + 2.0) * mantissa - 5.0 / 3.0
}

/// Two to the power of `x`, which is between -100 and 100, to within 0.3 %: the inverse of [`log2`].
#[inline(always)]
fn exp2(x: f32) -> f32 {
    let whole = x.floor();
    let rest = x - whole;
    let mantissa = (0.34 * rest + 0.66) * rest + 1.0;
    f32::from_bits(((whole as i32 + 127) << 23) as u32) * mantissa
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One weight as the training script has it, number by number and with exact logarithms.
    fn weight_of(features: [f64; FEATURES]) -> f64 {
        let sum = |weights: &[f32], values: &[f64]| -> f64 {
            let products = weights.iter().zip(values).map(|(w, v)| *w as f64 * v);
            products.sum()
        };
        let units = HIDDEN_WEIGHTS.iter().zip(HIDDEN_BIAS);
        let hidden: Vec<f64> = units
            .map(|(weights, bias)| (sum(weights, &features) + bias as f64).max(0.0))
            .collect();
        let logarithm = sum(&OUTPUT_DIRECT, &features) + sum(&OUTPUT_WEIGHTS, &hidden);
        logarithm.clamp(-WEIGHT as f64, WEIGHT as f64).exp()
    }

    #[test]
    fn weights_are_those_of_the_training_script() {
        let bins = 50;
        let mut noise = crate::watermark::testing::noise(5);
        // Powers within 30 dB of each other.
        let mut powers = || {
            (0..bins)
                .map(|_| (5.0 * noise()).exp2())
                .collect::<Vec<f32>>()
        };
        let mut cells = Cells::new(bins);
        let Cells {
            power,
            cell,
            near,
            band,
            before,
            long,
            lowest,
            ..
        } = &mut cells;
        for of_cells in [power, cell, near, band, before, long, lowest] {
            *of_cells = powers();
        }
        let short = powers();
        let position: Vec<f32> = (0..bins).map(|bin| bin as f32 / bins as f32).collect();
        let levels = Levels {
            now: 1.3,
            always: -0.7,
            above_telephone: -2.4,
        };
        pulp::Arch::new().dispatch(Network {
            cells: &mut cells,
            short: &short,
            position: &position,
            levels,
        });
        for bin in 0..bins {
            let level = |powers: &[f32]| f64::from(powers[bin]).log2();
            let [power, cell, near, band] =
                [&cells.power, &cells.cell, &cells.near, &cells.band].map(|p| level(p));
            let [before, long, lowest] =
                [&cells.before, &cells.long, &cells.lowest].map(|p| level(p));
            let [now, always] = [levels.now, levels.always].map(f64::from);
            let expected = weight_of([
                power - cell,
                cell - near,
                near - band,
                band - now,
                now - always,
                cell - lowest,
                cell - long,
                long - always,
                cell - before,
                f64::from(position[bin]),
                power - level(&short),
                lowest - always,
                f64::from(levels.above_telephone),
            ]);
            let got = f64::from(cells.weight[bin]);
            assert!(
                (got / expected).ln().abs() < 0.05,
                "bin {bin}: {got} for {expected}"
            );
        }
    }

    #[test]
    fn logarithm_and_exponential_are_near_enough() {
        for i in -400..400 {
            let x = i as f32 * 0.01;
            assert!((log2(x.exp2()) - x).abs() < 0.01, "log2 at {x}");
            assert!((exp2(x) / x.exp2() - 1.0).abs() < 0.005, "exp2 at {x}");
        }
    }
}
