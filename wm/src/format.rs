// SPDX-License-Identifier: MIT OR Apache-2.0
//! Formats that can be written, by the ending of the file name.

use std::path::Path;

use anyhow::{Context, bail};

/// Endings of file names, and encoder and container for each as a piece of a pipeline description. The first element
/// of each takes raw audio.
const FORMATS: [(&str, &str); 7] = [
    ("wav", "wavenc"),
    ("flac", "flacenc"),
    ("ogg", "vorbisenc quality=0.6 ! oggmux"),
    ("opus", "opusenc bitrate=160000 ! oggmux"),
    (
        "mp3",
        "lamemp3enc target=bitrate bitrate=192 cbr=true ! id3v2mux",
    ),
    ("m4a", "voaacenc bitrate=192000 ! aacparse ! mp4mux"),
    (
        "aac",
        "voaacenc bitrate=192000 ! aacparse ! audio/mpeg,stream-format=adts",
    ),
];

/// What can be written, for messages.
pub fn endings() -> String {
    FORMATS.map(|(ending, _)| ending).join(", ")
}

/// The ending of a file name, if it is one that can be written.
pub fn ending_of(path: &Path) -> Option<&'static str> {
    let ending = path.extension()?.to_str()?;
    find(ending).map(|(ending, _)| ending)
}

/// A format by its ending, as an argument.
pub fn parse(ending: &str) -> Result<&'static str, String> {
    match find(ending) {
        Some((ending, _)) => Ok(ending),
        None => Err(format!("choose one of {}", endings())),
    }
}

fn find(ending: &str) -> Option<(&'static str, &'static str)> {
    FORMATS
        .into_iter()
        .find(|(known, _)| ending.eq_ignore_ascii_case(known))
}

/// Encoder and container for a file, as a piece of a pipeline description.
pub fn encoder(path: &Path) -> anyhow::Result<&'static str> {
    let Some((_, encoder)) = path.extension().and_then(|ending| find(ending.to_str()?)) else {
        bail!(
            "{}: the ending of the name says no format that can be written: use one of {}",
            path.display(),
            endings()
        );
    };
    let names = encoder.split(" ! ").filter(|piece| !piece.contains(','));
    for name in names.filter_map(|piece| piece.split(' ').next()) {
        gst::ElementFactory::find(name).with_context(|| {
            let path = path.display();
            format!("{path}: this GStreamer has no {name}: install its plugins base, good and bad")
        })?;
    }
    Ok(encoder)
}
