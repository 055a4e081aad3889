// SPDX-License-Identifier: MIT OR Apache-2.0
//! Time that whole elements take in a pipeline, and the same pipeline without them: `cargo bench --bench elements`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gst_plugin_wm_benches::speed::{pipeline, play};
use std::time::Duration;

/// Seconds of audio in a pipeline.
const SECONDS: usize = 5;

/// Throughput is seconds of audio: 300 elem/s are 300 times real time. Each pipeline is made anew, which does not
/// count, but that the elements read their key and set up their tables does.
fn elements(criterion: &mut Criterion) {
    gst::init().expect("GStreamer");
    gstwm::plugin_register_static().expect("the plugin");
    for (rate, channels, format) in [(48_000, 2, "48 kHz stereo"), (16_000, 1, "16 kHz mono")] {
        let mut group = criterion.benchmark_group(format!("{SECONDS} s of {format} through"));
        group.throughput(Throughput::Elements(SECONDS as u64));
        for (element, name) in [
            ("", "nothing"),
            ("wmembed", "wmembed"),
            ("wmdetect", "wmdetect"),
        ] {
            group.bench_function(name, |bench| {
                bench.iter_custom(|runs| {
                    let run = |_| play(&pipeline(element, rate, channels, SECONDS));
                    Duration::from_secs_f64((0..runs).map(run).sum())
                })
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = elements
}
criterion_main!(benches);
