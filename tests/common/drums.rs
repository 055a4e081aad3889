// SPDX-License-Identifier: MIT OR Apache-2.0
use super::random::Random;
use std::f32::consts::TAU;

/// Bass drum, snare and hi-hat, every bar the same to the sample. `step` is an eighth, in seconds.
pub fn drums(rate: u32, length: f32, step: f32) -> Vec<f32> {
    let mut random = Random::new(5);
    let noise: Vec<f32> = (0..rate).map(|_| random.noise()).collect();
    let steps = (step * rate as f32).round() as usize;
    let rattle = |n: usize, decay: f32| {
        let t = n as f32 / rate as f32;
        noise[n] * (-t / decay).exp()
    };
    (0..(length * rate as f32) as usize)
        .map(|i| {
            let (n, eighth) = (i % steps, i / steps % 8);
            let t = n as f32 / rate as f32;
            let bass = (TAU * (50.0 * t - 4.0 * (-t / 0.03).exp())).sin() * (-t / 0.08).exp();
            0.2 * rattle(n, 0.02)
                + match eighth {
                    0 | 3 | 4 => 0.5 * bass,
                    2 | 6 => 0.4 * rattle(n, 0.06),
                    _ => 0.0,
                }
        })
        .collect()
}
