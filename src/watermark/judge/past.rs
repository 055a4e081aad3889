// SPDX-License-Identifier: MIT OR Apache-2.0
//! The search, and how a find that lies back is caught up with.

use super::super::candidate::Candidate;
use super::super::detector::Detection;
use super::super::heard::Heard;
use super::super::sweep::Past;
use super::super::workspace::Workspace;
use super::Judge;

impl Judge {
    /// What a sweep finds lies back: what has come since then is taken as if it came now, so that all is reported as
    /// it would have been, though later. Ends, as what is searched then is later than the find.
    pub(super) fn catch_up(
        &mut self,
        heard: &mut Heard,
        work: &mut Workspace,
        report: &mut dyn FnMut(&Detection),
    ) {
        while heard.go_on() {
            self.judge(heard, work, report);
        }
    }

    /// Searches with the latest slot. A find of the past takes `heard` back to where it is.
    pub(super) fn search(&mut self, heard: &mut Heard, work: &mut Workspace) -> Option<Candidate> {
        let Some(sweep) = &mut self.sweep else {
            heard.make_rows();
            let seconds = heard.now;
            let (history, maps) = heard.rows();
            return self.search.push(seconds, history, maps, work);
        };
        let seconds = heard.now;
        let (chips, maps) = heard.all_chips();
        let past = sweep.push(&mut self.search, seconds, chips, maps, work)?;
        self.go_back(past, heard, work)
    }

    /// The same where nothing follows.
    pub(super) fn search_rest(
        &mut self,
        heard: &mut Heard,
        work: &mut Workspace,
    ) -> Option<Candidate> {
        let Some(sweep) = &mut self.sweep else {
            return self.search.finish(heard.rows().0, work);
        };
        let past = sweep.finish(&mut self.search, &heard.maps, work)?;
        self.go_back(past, heard, work)
    }

    /// Goes back to a find. What is followed already has been followed up to now, so it is only asked whether it is
    /// still there.
    fn go_back(
        &mut self,
        past: Past,
        heard: &mut Heard,
        work: &mut Workspace,
    ) -> Option<Candidate> {
        let Past { found, seconds } = past;
        let (search, maps) = (&mut self.search, &heard.maps);
        let tracker = self.tracked.map(|_| &self.tracker);
        if tracker.is_some_and(|it| it.follows(&found, search, maps, self.clock, seconds)) {
            return self.sweep.as_mut()?.catch_up(search, maps, work);
        }
        heard.go_back(seconds);
        Some(found)
    }
}
