// SPDX-License-Identifier: MIT OR Apache-2.0
//! Instructions of each stage, counted by callgrind: the same on a busy machine, so a change of 3 % shows. `make
//! instructions` compares with the run before and fails if one grew by more.

use gst_plugin_wm_benches::{PIECE, detect, detector, embed, embedder, programme, sign_matrix};
use gstwm::watermark::stages::*;
use gstwm::watermark::{Detector, Embedder};
use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use pulp::Arch;
use std::hint::black_box;

const RATE: u32 = 16_000;
const SPEEDS: usize = 11;

fn correlator() -> (Correlator, Vec<f32>) {
    let audio = programme(RATE, 1, 1.0);
    let mut correlator = Correlator::new(RATE, 0.001, PIECE);
    // The weighting learns first, and works off what has piled up.
    for piece in audio.chunks(PIECE).chain(audio.chunks(PIECE)) {
        correlator.push(piece, |_| ());
    }
    (correlator, audio)
}

#[library_benchmark]
#[bench::second(setup = correlator)]
fn correlation((mut correlator, audio): (Correlator, Vec<f32>)) -> usize {
    let mut slots = 0;
    for piece in audio.chunks(PIECE) {
        correlator.push(black_box(piece), |_| slots += 1);
    }
    slots
}

fn chips() -> Vec<f32> {
    (0..SPEEDS * CHIPS)
        .map(|i| (i as f32 * 0.7).sin())
        .collect()
}

fn history() -> (RowHistory, Vec<f32>) {
    (RowHistory::new(SPEEDS), chips())
}

#[library_benchmark]
#[bench::slot(setup = history)]
fn rows((mut history, chips): (RowHistory, Vec<f32>)) -> u64 {
    history.push(black_box(&chips));
    history.slots()
}

fn matrix() -> (SignMatrix, RowHistory, Products) {
    let mut rows = RowHistory::new(SPEEDS);
    rows.push(&chips());
    (sign_matrix(), rows, Products::new(SPEEDS, ROWS))
}

#[library_benchmark]
#[bench::row(setup = matrix)]
fn products(
    (matrix, rows, mut products): (SignMatrix, RowHistory, Products),
) -> i16 {
    products.multiply(Processor::best(), &matrix, black_box(rows.tables()));
    products.all[0]
}

fn evidence() -> (Evidence, Vec<i16>) {
    let products = (0..ROWS).map(|i| ((i as f32 * 0.7).sin() * 3e3) as i16);
    (Evidence::new(ROWS), products.collect())
}

#[library_benchmark]
#[bench::row(setup = evidence)]
fn sums((mut evidence, products): (Evidence, Vec<i16>)) -> f32 {
    let row = NewRow {
        products: &products,
        step: 1.0,
        energy: 9e6,
    };
    evidence.add(Arch::new(), black_box(row));
    evidence.highest()[0]
}

fn searching() -> (Detector, Vec<f32>) {
    let audio = programme(RATE, 1, 2.0);
    let mut detector = detector(RATE, 1, 0.1, 1);
    detect(&mut detector, &audio, 1);
    (detector, audio)
}

#[library_benchmark]
#[bench::two_seconds(setup = searching)]
fn search((mut detector, audio): (Detector, Vec<f32>)) -> usize {
    detect(&mut detector, black_box(&audio), 1)
}

fn marking() -> (Embedder, Vec<f32>, Vec<f32>) {
    (
        embedder(48_000, 2),
        programme(48_000, 2, 1.0),
        vec![0.0; 2 * PIECE],
    )
}

#[library_benchmark]
#[bench::second_of_stereo(setup = marking)]
fn embedding((mut embedder, audio, mut out): (Embedder, Vec<f32>, Vec<f32>)) -> f32 {
    embed(&mut embedder, black_box(&audio), 2, &mut out);
    out[0]
}

library_benchmark_group!(
    name = stages,
    benchmarks = [correlation, rows, products, sums, search, embedding]
);

main!(
    config = LibraryBenchmarkConfig::default()
        .tool(Callgrind::default().soft_limits([(EventKind::Ir, 3.0)])),
    library_benchmark_groups = stages
);
