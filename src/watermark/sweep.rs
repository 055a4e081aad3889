// SPDX-License-Identifier: MIT OR Apache-2.0
//! A search over more rows than can be followed side by side: hours of them, if nobody knows when a recording was made.
//!
//! Evidence for each row takes 0.7 KB with the default speeds, so for two days it would take 0.6 GB. Audio takes less:
//! pieces of 10 s are kept instead, and the rows are searched a tile at a time, each as if the piece were all there is.
//! That takes as long as to search all of them at once, and a mark is found up to 20 s later. While one piece is
//! collected the one before is searched, bit by bit. Only at the end of the audio, or a break in it, all that is left
//! is searched at once.
//!
//! By then a mark may have ended. So a find is one of the moment at which the score was high enough, and whoever follows
//! it begins there ([`super::heard`]).
//!
//! In [`super::bound`] each piece is an excerpt, so no more is tested than is counted.

use super::candidate::{Candidate, LocalClock};
use super::correlation::SLOT;
use super::format::CHIPS;
use super::row_history::RowHistory;
use super::search::Search;
use super::speeds::SpeedMap;
use super::workspace::Workspace;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Slots of a piece.
const PIECE: usize = (10.0 / SLOT) as usize;
/// Rows of a tile: their evidence is read over and over, so it should not be much larger than the caches.
pub const TILE: usize = 1024;
/// Rows up to which all are searched side by side: 13 minutes on either side of the clock, 6 MB with the default
/// speeds.
pub const SIDE_BY_SIDE: usize = 8 * TILE;

/// So many slots before the latest a find may lie.
pub const BACK: usize = 2 * PIECE;

/// A find that lies back.
pub struct Past {
    /// Where the mark is as of then.
    pub found: Candidate,
    /// When the slot was that made the score high enough.
    pub seconds: f64,
}

/// Slots, and their chips at each speed.
struct Piece {
    seconds: Vec<f64>,
    chips: Vec<f32>,
}

impl Piece {
    fn new(chips: usize) -> Self {
        Piece {
            seconds: Vec::with_capacity(PIECE),
            chips: Vec::with_capacity(PIECE * chips),
        }
    }

    fn clear(&mut self) {
        self.seconds.clear();
        self.chips.clear();
    }

    fn push(&mut self, seconds: f64, chips: &[f32]) {
        self.seconds.push(seconds);
        self.chips.extend_from_slice(chips);
    }

    fn slots(&self) -> impl Iterator<Item = (f64, &[f32])> {
        let length = self.chips.len() / self.seconds.len().max(1);
        self.seconds
            .iter()
            .copied()
            .zip(self.chips.chunks_exact(length.max(1)))
    }
}

/// The pieces of a stream, and how far they have been searched.
pub struct Sweep {
    clock: LocalClock,
    /// So many rows ahead of the clock each tile ends, the nearest first.
    tiles: Vec<i64>,
    collected: Piece,
    searched: Piece,
    next_tile: usize,
    /// Slots of the piece that have been searched in the latest tile.
    slots: usize,
    /// Rows of the tile that is searched.
    history: RowHistory,
    /// What is left is not searched while this is set.
    interrupt: Arc<AtomicBool>,
}

impl Sweep {
    /// Of `rows` rows around the clock, `ahead` of them ahead of it, at `speeds` speeds.
    pub fn new(rows: usize, ahead: i64, speeds: usize, interrupt: Arc<AtomicBool>) -> Self {
        let chips = speeds * CHIPS;
        let first = ahead - rows as i64 + TILE as i64;
        let count = rows.div_ceil(TILE) as i64;
        let mut tiles: Vec<i64> = (0..count).map(|tile| first + tile * TILE as i64).collect();
        tiles.sort_by_key(|end| (end - TILE as i64 / 2).abs());
        Sweep {
            clock: LocalClock { first_row: 0 },
            next_tile: tiles.len(),
            tiles,
            collected: Piece::new(chips),
            searched: Piece::new(chips),
            slots: 0,
            history: RowHistory::new(speeds),
            interrupt,
        }
    }

    /// The rows of the tile in which something was found, up to the find.
    pub fn history(&self) -> &RowHistory {
        &self.history
    }

    /// Forgets all audio; slots are of another clock from now on.
    pub fn reset(&mut self, clock: LocalClock) {
        self.clock = clock;
        self.forget();
    }

    /// Forgets all audio.
    pub fn forget(&mut self) {
        self.collected.clear();
        self.searched.clear();
        self.next_tile = self.tiles.len();
    }

    /// Adds a slot and searches on in the piece before; returns what is found.
    pub fn push(
        &mut self,
        search: &mut Search,
        seconds: f64,
        chips: &[f32],
        maps: &[SpeedMap],
        work: &mut Workspace,
    ) -> Option<Past> {
        self.collected.push(seconds, chips);
        let due = (self.tiles.len() * self.collected.seconds.len()).div_ceil(PIECE);
        let found = self.search_until(due, search, maps, work);
        if self.collected.seconds.len() == PIECE {
            std::mem::swap(&mut self.collected, &mut self.searched);
            self.collected.clear();
            self.next_tile = 0;
        }
        found
    }

    /// Searches what is left, because nothing follows.
    pub fn finish(
        &mut self,
        search: &mut Search,
        maps: &[SpeedMap],
        work: &mut Workspace,
    ) -> Option<Past> {
        let found = self.search_until(self.tiles.len(), search, maps, work);
        if found.is_some() || self.collected.seconds.is_empty() {
            return found;
        }
        std::mem::swap(&mut self.collected, &mut self.searched);
        self.collected.clear();
        self.next_tile = 0;
        self.search_until(self.tiles.len(), search, maps, work)
    }

    fn search_until(
        &mut self,
        due: usize,
        search: &mut Search,
        maps: &[SpeedMap],
        work: &mut Workspace,
    ) -> Option<Past> {
        while self.next_tile < due && !self.interrupt.load(Ordering::Relaxed) {
            let ahead = self.tiles[self.next_tile];
            self.next_tile += 1;
            search.start_tile(self.clock, ahead);
            let found = self.search_tile(search, maps, work);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Searches the piece as if it were all there is, up to the first find.
    fn search_tile(
        &mut self,
        search: &mut Search,
        maps: &[SpeedMap],
        work: &mut Workspace,
    ) -> Option<Past> {
        self.history.reset();
        self.slots = 0;
        let mut latest = 0.0;
        for (seconds, chips) in self.searched.slots() {
            self.history.push(chips);
            self.slots += 1;
            latest = seconds;
            if let Some(found) = search.push(seconds, &mut self.history, maps, work) {
                return Some(Past { found, seconds });
            }
        }
        let found = search.finish(&mut self.history, work)?;
        let seconds = latest;
        Some(Past { found, seconds })
    }

    /// Goes on with the tile of the latest find, up to the latest slot, and asks where the mark is: it may be there no
    /// longer.
    pub fn catch_up(
        &mut self,
        search: &mut Search,
        maps: &[SpeedMap],
        work: &mut Workspace,
    ) -> Option<Candidate> {
        let rest = self.searched.slots().skip(self.slots);
        for (seconds, chips) in rest.chain(self.collected.slots()) {
            self.history.push(chips);
            search.test_next(seconds, &self.history, maps, work);
        }
        search.place_best(&mut self.history, work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_all_rows_the_nearest_first() {
        let (rows, ahead) = (864_004, 432_001);
        let sweep = Sweep::new(rows, ahead, 1, Arc::default());
        let mut ends = sweep.tiles.clone();
        assert!((0..=TILE as i64).contains(&ends[0]), "{}", ends[0]);
        ends.sort_unstable();
        assert!(ends[0] - TILE as i64 <= ahead - rows as i64);
        assert!(ends[ends.len() - 1] >= ahead);
        assert!(ends.windows(2).all(|two| two[1] - two[0] == TILE as i64));
    }
}
