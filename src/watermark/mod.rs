// SPDX-License-Identifier: MIT OR Apache-2.0
//! The watermark itself, free of any GStreamer type.
//!
//! Embedding runs format -> [`key`] -> modulation with the [`payload`] -> carrier and masking -> [`Embedder`];
//! detection runs correlation -> heard, and from there for each key search -> tracker with a reader of the [`payload`]
//! -> judge -> [`Detector`]. Both are streaming: `new` checks the settings and allocates, `process` and `push` neither
//! allocate nor panic, whatever the samples are and however they are cut into pieces.

#![forbid(unsafe_code)]

mod alignment;
mod bound;
mod candidate;
mod carrier;
mod correlation;
mod course;
mod cut;
mod decimation;
mod density;
pub mod detectability;
mod detection;
pub mod detector;
mod downmix;
pub mod embedder;
mod evidence;
mod followed;
pub mod format;
mod heard;
mod judge;
mod kept_frame;
pub mod key;
mod lag;
mod levels;
mod lookup;
mod masking;
mod modulation;
mod network;
mod noise;
mod pauses;
pub mod payload;
mod places;
mod presence;
mod products;
mod reader;
mod rounded;
mod rounding;
mod row_history;
mod rows;
mod search;
mod sounding;
mod spectrum;
mod speeds;
mod stretch;
// For measurements, `make unmarked` and `make payload-null`.
#[doc(hidden)]
pub mod survey;
mod sweep;
#[cfg(test)]
mod testing;
mod thresholds;
mod timing;
mod tracker;
mod weighting;
mod weighting_network;
mod windows;
mod workspace;

// For measurements of single stages, `make bench`.
#[doc(hidden)]
pub mod stages {
    pub use super::correlation::{Correlator, Slot};
    pub use super::decimation::Decimator;
    pub use super::downmix::Downmix;
    pub use super::evidence::{Evidence, NewRow};
    pub use super::format::{CHIPS, ROWS};
    pub use super::lookup::Processor;
    pub use super::masking::Masking;
    pub use super::products::{Products, SignMatrix};
    pub use super::row_history::RowHistory;
    pub use super::speeds::{speed_maps, write_chips};
    pub use super::weighting::Weighting;
}

pub use detectability::{Detectability, DetectabilityReport};
pub use detector::{Detection, DetectionState, Detector, DetectorConfig, DetectorStats};
pub use embedder::{Embedder, EmbedderConfig};
pub use format::{Carrier, ConfigError, RowClock};
pub use key::{Key, KeyError};
pub use payload::{Payload, PayloadError};
