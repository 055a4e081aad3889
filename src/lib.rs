// SPDX-License-Identifier: MIT OR Apache-2.0
//! Audio watermark for live broadcasting: [`wmembed`] hides a keyed mark, [`wmdetect`] finds it again.
//!
//! The mark itself is made and found in [`watermark`], which knows nothing of GStreamer; the two
//! elements only carry audio, time and settings to and from it.

#[cfg(not(panic = "unwind"))]
compile_error!("a panic must not take the application down: build with panic = \"unwind\"");

mod audio;
mod clock;
#[cfg(test)]
mod faults;
mod presets;
mod samples;
mod settings;
mod utc;
pub mod watermark;
pub mod wmdetect;
pub mod wmembed;

pub use settings::{WmCarrier, WmRowClock};

fn plugin_init(plugin: &gst::Plugin) -> Result<(), gst::glib::BoolError> {
    settings::register();
    wmembed::register(plugin)?;
    wmdetect::register(plugin)
}

// The licence is the part of "MIT OR Apache-2.0" that GStreamer knows by name: with a name that it
// does not know, it refuses the plugin.
gst::plugin_define!(
    wm,
    env!("CARGO_PKG_DESCRIPTION"),
    plugin_init,
    concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
    "MIT/X11",
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_REPOSITORY"),
    env!("BUILD_REL_DATE")
);
