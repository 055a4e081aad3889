// SPDX-License-Identifier: MIT OR Apache-2.0
//! Time that each stage takes, and the whole: `cargo bench --bench stages`.

use criterion::{Criterion, criterion_group, criterion_main};
use gst_plugin_wm_benches::{PIECE, detect, detector, embed, embedder, programme, sign_matrix};
use gstwm::watermark::stages::*;
use pulp::Arch;
use realfft::RealFftPlanner;
use std::hint::black_box;

const RATE: u32 = 48_000;
const SPEEDS: usize = 11;

/// One frame of the detector's transform, which nothing can do without.
fn transform(criterion: &mut Criterion) {
    for size in [2048, 6144] {
        let plan = RealFftPlanner::<f32>::new().plan_fft_forward(size);
        let (mut time, mut bins) = (plan.make_input_vec(), plan.make_output_vec());
        let mut scratch = plan.make_scratch_vec();
        criterion.bench_function(&format!("transform of {size}"), |bench| {
            bench.iter(|| plan.process_with_scratch(black_box(&mut time), &mut bins, &mut scratch))
        });
    }
}

/// From frames to chips, a second at a time.
fn audio(criterion: &mut Criterion) {
    let stereo = programme(RATE, 2, 1.0);
    let mut mix = vec![0.0; RATE as usize];
    let mut downmix = Downmix::new(RATE, 2);
    criterion.bench_function("downmix, 1 s of stereo", |bench| {
        bench.iter(|| downmix.mix(black_box(&stereo), &mut mix))
    });
    let mut decimator = Decimator::new(RATE as f64, 6_500.0, mix.len());
    criterion.bench_function("decimation, 1 s", |bench| {
        bench.iter(|| decimator.push(black_box(&mix)).len())
    });
    let mut correlator = Correlator::new(RATE, 0.001, PIECE);
    let mut sums = Vec::new();
    criterion.bench_function(
        "decimation, transform, weighting and correlation, 1 s",
        |bench| {
            bench.iter(|| {
                for piece in mix.chunks(PIECE) {
                    correlator.push(piece, |slot| sums = slot.sums.to_vec());
                }
            })
        },
    );
    let maps = speed_maps(0.001, &correlator);
    let mut chips = vec![0.0; maps.len() * CHIPS];
    criterion.bench_function("chips of a slot at 11 speeds", |bench| {
        bench.iter(|| write_chips(black_box(&sums), &maps, &mut chips))
    });
}

/// From chips to evidence, a slot at a time.
fn search(criterion: &mut Criterion) {
    let arch = Arch::new();
    let chips: Vec<f32> = (0..SPEEDS * CHIPS)
        .map(|i| (i as f32 * 0.7).sin())
        .collect();
    let mut history = RowHistory::new(SPEEDS);
    criterion.bench_function("row of a slot at 11 speeds", |bench| {
        bench.iter(|| history.push(black_box(&chips)))
    });
    let matrix = sign_matrix();
    let processor = Processor::best();
    let mut products = Products::new(SPEEDS, ROWS);
    criterion.bench_function("products of a row with 1024 rows, 11 speeds: five are kept", |bench| {
        bench.iter(|| products.multiply(processor, &matrix, black_box(history.tables())))
    });
    let mut evidence = Evidence::new(ROWS);
    criterion.bench_function("evidence of a row for 1024 hypotheses", |bench| {
        bench.iter(|| {
            let row = NewRow {
                products: &products.all[..ROWS],
                step: 1.0,
                energy: 9e6,
            };
            evidence.add(arch, black_box(row))
        })
    });
}

/// Everything, a second at a time.
fn whole(criterion: &mut Criterion) {
    let stereo = programme(RATE, 2, 1.0);
    let mut out = vec![0.0; 2 * PIECE];
    let mut one = embedder(RATE, 2);
    criterion.bench_function("wmembed, 1 s of stereo", |bench| {
        bench.iter(|| embed(&mut one, black_box(&stereo), 2, &mut out))
    });
    for (speeds, name) in [(0.0, "1 speed"), (0.1, "11 speeds"), (2.0, "201 speeds")] {
        let mut one = detector(RATE, 2, speeds, 1);
        criterion.bench_function(&format!("wmdetect, 1 s of stereo, {name}"), |bench| {
            bench.iter(|| detect(&mut one, black_box(&stereo), 2))
        });
    }
}

criterion_group!(benches, transform, audio, search, whole);
criterion_main!(benches);
