// SPDX-License-Identifier: MIT OR Apache-2.0
//! Audio watermark for live broadcasting: `wmembed` hides a keyed mark, `wmdetect` finds it again.

pub mod watermark;
