// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much later a recording is than another one of the same programme.

use realfft::RealFftPlanner;

/// Frames by which `second` is later than `first`, and how alike they are then, at most 1.
pub fn lateness(first: &[f32], second: &[f32]) -> anyhow::Result<(i64, f64)> {
    let size = (first.len() + second.len()).max(2).next_power_of_two();
    let mut planner = RealFftPlanner::<f32>::new();
    let forward = planner.plan_fft_forward(size);
    let spectrum = |samples: &[f32]| {
        let mut input = samples.to_vec();
        input.resize(size, 0.0);
        let mut output = forward.make_output_vec();
        forward.process(&mut input, &mut output).map(|()| output)
    };
    let (first_spectrum, mut product) = (spectrum(first)?, spectrum(second)?);
    for (product, first) in product.iter_mut().zip(&first_spectrum) {
        *product *= first.conj();
    }
    // Rounding leaves something there, which has to be real.
    if let Some(edge) = product.first_mut() {
        edge.im = 0.0;
    }
    if let Some(edge) = product.last_mut() {
        edge.im = 0.0;
    }
    let backward = planner.plan_fft_inverse(size);
    let mut correlation = backward.make_output_vec();
    backward.process(&mut product, &mut correlation)?;
    let best = correlation
        .iter()
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(b.1));
    let (place, peak) = best.map_or((0, 0.0), |(place, peak)| (place, f64::from(*peak)));
    // What is earlier lies at the end.
    let late = match place < second.len() {
        true => place as i64,
        false => place as i64 - size as i64,
    };
    let energy = |samples: &[f32]| samples.iter().map(|x| f64::from(x * x)).sum::<f64>();
    let scale = (energy(first) * energy(second)).sqrt() * size as f64;
    match scale > 0.0 {
        true => Ok((late, peak / scale)),
        // Nothing can be told from silence.
        false => Ok((0, 1.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise that is the same every time.
    fn noise(length: usize) -> Vec<f32> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn later_and_earlier_are_told_to_the_frame() {
        let first = noise(5000);
        let later = [vec![0.0; 1105], first.clone()].concat();
        let (late, likeness) = lateness(&first, &later).unwrap();
        assert_eq!(late, 1105);
        assert!(likeness > 0.99, "{likeness}");
        let (late, likeness) = lateness(&first, &first[700..]).unwrap();
        assert_eq!(late, -700);
        assert!(likeness > 0.9, "{likeness}");
        let backwards: Vec<f32> = first.iter().rev().copied().collect();
        assert!(lateness(&first, &backwards).unwrap().1 < 0.2);
        assert_eq!(lateness(&first, &[0.0; 100]).unwrap(), (0, 1.0));
    }
}
