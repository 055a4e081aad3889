// SPDX-License-Identifier: MIT OR Apache-2.0
//! One kind of work, for callgrind to count: `work searching|found|embedding RATE CHANNELS SECONDS [KEYS [DEVIATION]]`.
//!
//! All that is to be counted is in the function `measured`; what makes the audio is not.

use gst_plugin_wm_benches::speed::Marked;
use gst_plugin_wm_benches::{PIECE, detect, detector, embed, embedder, programme};
use std::process::ExitCode;

/// Callgrind counts while this runs (`--toggle-collect=*measured*`).
#[inline(never)]
fn measured(work: impl FnOnce()) {
    work();
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<f64>().ok());
    let (Some(what), Some(rate), Some(channels), Some(seconds)) =
        (arguments.get(1), number(2), number(3), number(4))
    else {
        eprintln!("usage: work searching|found|embedding RATE CHANNELS SECONDS [KEYS [DEVIATION]]");
        return ExitCode::from(2);
    };
    let (rate, channels) = (rate as u32, channels as usize);
    // Those of a detector; the deviation of the speed is in percent.
    let (keys, deviation) = (number(5).unwrap_or(1.0) as usize, number(6).unwrap_or(0.1));
    match what.as_str() {
        "searching" => {
            let audio = programme(rate, channels, seconds);
            let mut detector = detector(rate, channels, deviation, keys);
            // What the detector learns from its first second comes before.
            detect(&mut detector, &programme(rate, channels, 4.0), channels);
            measured(|| assert_eq!(detect(&mut detector, &audio, channels), 0));
        }
        "found" => {
            let mut marked = Marked::new(rate, channels, seconds.max(4.0));
            let mut detector = detector(rate, channels, deviation, keys);
            for _ in 0..3 {
                detect(&mut detector, &marked.again(), channels);
            }
            let audio = marked.again();
            let audio = &audio[..(seconds * rate as f64) as usize * channels];
            assert!(detector.is_present(), "the mark is to be found");
            measured(|| assert!(detect(&mut detector, audio, channels) > 0));
            assert!(detector.is_present(), "the mark is to stay");
        }
        "embedding" => {
            let audio = programme(rate, channels, seconds);
            let mut embedder = embedder(rate, channels);
            let mut out = vec![0.0; PIECE * channels];
            // At first it only takes in what it looks ahead at.
            embed(
                &mut embedder,
                &programme(rate, channels, 1.0),
                channels,
                &mut out,
            );
            measured(|| embed(&mut embedder, &audio, channels, &mut out));
        }
        _ => {
            eprintln!("work: {what} is none of searching, found and embedding");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
