// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a search needs only while it looks at a slot: all keys share it, and so it stays in the near caches.

use super::evidence::Evidence;
use super::lookup::Processor;
use super::products::{Products, Tables};
use super::rounded::RoundedRow;
use super::speeds::kept_count;

/// Room for a search in so many rows at so many speeds.
pub struct Workspace {
    pub processor: Processor,
    /// Of the latest row, or of a row under way, at each speed that is kept with each row of the key.
    pub products: Products,
    /// Products at one speed, hypothesis by hypothesis.
    pub rotated: Vec<i16>,
    /// The evidence of one place with its row under way.
    pub trial: Evidence,
    /// The chips of rows under way.
    pub under_way: Vec<RoundedRow>,
    /// What these are multiplied with.
    pub tables: Tables,
}

impl Workspace {
    /// For `rows` rows and `speeds` speeds.
    pub fn new(rows: usize, speeds: usize) -> Self {
        Workspace {
            processor: Processor::best(),
            products: Products::new(kept_count(speeds), rows),
            rotated: vec![0; rows],
            trial: Evidence::new(rows),
            under_way: vec![RoundedRow::SILENCE; speeds],
            tables: Tables::new(kept_count(speeds)),
        }
    }
}
