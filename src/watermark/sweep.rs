// SPDX-License-Identifier: MIT OR Apache-2.0
//! A search over more rows than can be followed side by side: hours of them, if nobody knows when a recording was made.
//!
//! Evidence for each row takes 0.7 KB with the default speeds, so for two days it would take 0.6 GB. Audio takes less:
//! pieces of 10 s are kept instead, and the rows are searched a tile at a time, each as if the piece were all there is.
//! That takes as long as to search all of them at once, and a mark is found up to 20 s later. While one piece is
//! collected the one before is searched, bit by bit. Only at the end of the audio, or a break in it, all that is left
//! is searched at once.
//!
//! In [`super::bound`] each piece is an excerpt, so no more is tested than is counted.

use super::candidate::{Best, Candidate, LocalClock};
use super::correlation::{SLOT, SLOTS_PER_ROW};
use super::format::CHIPS;
use super::row_history::RowHistory;
use super::search::Search;
use super::speeds::SpeedMap;
use super::workspace::Workspace;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Slots of a piece.
const PIECE: usize = (10.0 / SLOT) as usize;
/// Slots that are kept at most: a piece that is searched, and one that is collected.
pub const KEPT: usize = 2 * PIECE;
/// Rows of a tile: their evidence is read over and over, so it should not be much larger than the caches.
pub const TILE: usize = 1024;
/// Rows up to which all are searched side by side: 13 minutes on either side of the clock, 6 MB with the default
/// speeds.
pub const SIDE_BY_SIDE: usize = 8 * TILE;

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

    fn is_full(&self) -> bool {
        self.seconds.len() == PIECE
    }

    fn slots(&self) -> impl Iterator<Item = (f64, &[f32])> {
        let length = self.chips.len() / self.seconds.len().max(1);
        self.seconds
            .iter()
            .copied()
            .zip(self.chips.chunks_exact(length.max(1)))
    }
}

/// A mark that was found in a piece.
#[derive(Debug, Clone, Copy)]
pub struct Swept {
    /// What passed the test, the seconds of evidence behind it, and the position of the key against the local rows then,
    /// in slots.
    pub tested: Candidate,
    pub window: f64,
    pub place: i64,
    /// Where the mark is now, if the evidence up to the latest slot still shows it.
    pub now: Option<Candidate>,
}

/// The pieces of a stream, and how far they have been searched.
pub struct Sweep {
    clock: LocalClock,
    /// So many rows ahead of the clock each tile ends, the nearest first.
    tiles: Vec<i64>,
    collected: Piece,
    searched: Piece,
    next_tile: usize,
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
            history: RowHistory::new(speeds),
            interrupt,
        }
    }

    /// The rows of the tile in which something was found, up to the latest slot.
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

    /// Chips at one speed of all slots that are kept, the latest of which is the present one.
    pub fn slots(&self, speed: usize) -> impl Iterator<Item = (f64, &[f32])> {
        let slots = self.searched.slots().chain(self.collected.slots());
        slots.map(move |(seconds, chips)| (seconds, &chips[speed * CHIPS..][..CHIPS]))
    }

    /// Adds a slot and searches on in the piece before. A piece in which something was found is not searched any more.
    pub fn push(
        &mut self,
        search: &mut Search,
        seconds: f64,
        chips: &[f32],
        maps: &[SpeedMap],
        work: &mut Workspace,
    ) -> Option<Swept> {
        if self.collected.is_full() {
            self.search_collected();
        }
        self.collected.push(seconds, chips);
        let due = (self.tiles.len() * self.collected.seconds.len()).div_ceil(PIECE);
        self.search_until(due, search, maps, work)
    }

    /// What has been collected is searched from now on.
    fn search_collected(&mut self) {
        std::mem::swap(&mut self.collected, &mut self.searched);
        self.collected.clear();
        self.next_tile = 0;
    }

    /// Searches what is left, because nothing follows. If something is found, there may be more.
    pub fn finish(
        &mut self,
        search: &mut Search,
        maps: &[SpeedMap],
        work: &mut Workspace,
    ) -> Option<Swept> {
        let found = self.search_until(self.tiles.len(), search, maps, work);
        if found.is_some() || self.collected.seconds.is_empty() {
            return found;
        }
        self.search_collected();
        self.search_until(self.tiles.len(), search, maps, work)
    }

    fn search_until(
        &mut self,
        due: usize,
        search: &mut Search,
        maps: &[SpeedMap],
        work: &mut Workspace,
    ) -> Option<Swept> {
        while self.next_tile < due && !self.interrupt.load(Ordering::Relaxed) {
            let ahead = self.tiles[self.next_tile];
            self.next_tile += 1;
            search.start_tile(self.clock, ahead);
            self.history.reset();
            let (mut best, mut found, mut latest) = (Best::default(), None, 0.0);
            for (seconds, chips) in self.searched.slots() {
                self.history.push(chips);
                let tested = search.test_next(seconds, &self.history, maps, work);
                found = better(&mut best, tested, found, search, self.clock, maps, seconds);
                latest = seconds;
            }
            let tested = search.test_all(&mut self.history, work);
            found = better(&mut best, tested, found, search, self.clock, maps, latest);
            if let Some(found) = found {
                self.next_tile = self.tiles.len();
                let now = self.catch_up(search, maps, work);
                return Some(Swept { now, ..found });
            }
        }
        None
    }

    /// Goes on with the tile in which the mark was found, up to the latest slot, and asks where it is.
    fn catch_up(
        &mut self,
        search: &mut Search,
        maps: &[SpeedMap],
        work: &mut Workspace,
    ) -> Option<Candidate> {
        for (seconds, chips) in self.collected.slots() {
            self.history.push(chips);
            search.test_next(seconds, &self.history, maps, work);
        }
        search.place_best(&mut self.history, work)
    }
}

/// What is best after a test: what was found before, or what the test with the slot at `seconds` has found.
fn better(
    best: &mut Best,
    tested: Best,
    found: Option<Swept>,
    search: &Search,
    clock: LocalClock,
    maps: &[SpeedMap],
    seconds: f64,
) -> Option<Swept> {
    let Some(candidate) = tested
        .candidate
        .filter(|_| tested.log10_rate < best.log10_rate)
    else {
        return found;
    };
    *best = tested;
    let local = clock.row(seconds, maps[candidate.speed].speed, candidate.alignment);
    let rows = search.rows().row_of_key(local, candidate.offset) as i64 - local;
    Some(Swept {
        tested: candidate,
        window: search.seconds(&candidate),
        place: rows * SLOTS_PER_ROW as i64 + candidate.alignment as i64,
        now: None,
    })
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
