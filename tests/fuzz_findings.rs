// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `make fuzz` has found. Each test is named after the promise that was broken.

mod common;

use common::{embedder_config, key, recording};
use gstwm::watermark::{Carrier, Embedder, EmbedderConfig};

/// The mark of two seconds from `start` on, with the noise carrier.
fn noise_mark(start: u64) -> Vec<f32> {
    let config = EmbedderConfig {
        carrier: Carrier::Noise,
        ..embedder_config(8_000, 1)
    };
    let mut embedder = Embedder::new(&config, &key()).unwrap();
    embedder.reset(start);
    let input = &recording("music.flac", 8_000, 1)[..16_000];
    let mut mark = vec![0.0; input.len()];
    embedder.process(input, &mut mark);
    mark
}

#[test]
fn the_noise_carrier_goes_on_however_late_it_is_in_stream_time() {
    const CYCLE: u64 = 1024 * 160_000_000;
    let mark = noise_mark(5 * CYCLE);
    assert!(mark.iter().any(|sample| *sample != 0.0));
    // The last cycle that fits.
    let late = u64::MAX / CYCLE - 1;
    assert!(noise_mark(late * CYCLE) == mark);
    assert_eq!(noise_mark(u64::MAX).len(), mark.len());
}
