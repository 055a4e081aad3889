// SPDX-License-Identifier: MIT OR Apache-2.0
//! The threads that watch the stations, seen from the main thread.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use ratatui::crossterm::event::Event;

use super::source::Station;
use super::stream::Signal;
use super::watch::{Plan, Shared, Watch, signals};
use super::writer::Outlet;

/// Streams that have not closed by then are left to the end of the process.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the main thread is told.
pub enum Note {
    /// By a signal, or since nobody reads the events any more.
    Interrupted,
    /// A station is over, as it should be or not.
    Over(anyhow::Result<()>),
    /// A key was pressed, or the terminal has another size.
    Terminal(Event),
}

/// All threads that watch a station.
pub struct Crew {
    notes: Receiver<Note>,
    tell: Sender<Note>,
    /// What ends them.
    stops: Vec<Sender<Signal>>,
    running: usize,
}

/// Tells that a thread is over, however that comes about.
struct TellEnd(Sender<Note>);

impl Drop for TellEnd {
    fn drop(&mut self) {
        let result = match std::thread::panicking() {
            true => Err(anyhow!("the watch of a station broke down")),
            false => Ok(()),
        };
        // The main thread may have lost its patience.
        let _ = self.0.send(Note::Over(result));
    }
}

impl Crew {
    pub fn new() -> Self {
        let (tell, notes) = channel();
        Crew {
            notes,
            tell,
            stops: Vec::new(),
            running: 0,
        }
    }

    /// What ends the wait when it is called.
    pub fn interrupt(&self) -> impl Fn() + Send + 'static {
        let tell = self.tell.clone();
        move || drop(tell.send(Note::Interrupted))
    }

    /// Begins to watch a station.
    pub fn start(
        &mut self,
        station: Station,
        outlets: Vec<Outlet>,
        plan: &Arc<Plan>,
    ) -> anyhow::Result<Shared> {
        let shared = Shared::new(&station);
        let watch = Watch {
            source: station.source,
            station: shared.clone(),
            outlets,
            plan: plan.clone(),
        };
        let (sender, signals) = signals();
        let (stop, end) = (sender.clone(), TellEnd(self.tell.clone()));
        let work = move || {
            let _end = end;
            watch.run(&sender, &signals);
        };
        let thread = std::thread::Builder::new().name("station".into());
        thread
            .spawn(work)
            .context("no thread for another station")?;
        self.stops.push(stop);
        self.running += 1;
        Ok(shared)
    }

    /// Where the terminal tells its events.
    pub fn teller(&self) -> Sender<Note> {
        self.tell.clone()
    }

    /// The next note within this time, other than that a station is over.
    pub fn next(&mut self, limit: Duration) -> anyhow::Result<Option<Note>> {
        match self.notes.recv_timeout(limit) {
            Ok(note) => self.take(note),
            Err(_) => Ok(None),
        }
    }

    /// Waits until all stations are over, or the watch is interrupted.
    pub fn wait(&mut self) -> anyhow::Result<()> {
        while self.running > 0 {
            let note = self.notes.recv()?;
            if let Some(Note::Interrupted) = self.take(note)? {
                break;
            }
        }
        Ok(())
    }

    /// Ends all watches.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        for stop in &self.stops {
            // It may be over already.
            let _ = stop.send(Signal::Stop);
        }
        let end = Instant::now() + PATIENCE;
        while self.running > 0 {
            let left = end.saturating_duration_since(Instant::now());
            let note = self.notes.recv_timeout(left);
            let note = note.map_err(|_| anyhow!("streams that do not close: {}", self.running))?;
            self.take(note)?;
        }
        Ok(())
    }

    /// Counts the stations that are over; returns other notes.
    fn take(&mut self, note: Note) -> anyhow::Result<Option<Note>> {
        match note {
            Note::Over(result) => {
                self.running -= 1;
                result.map(|()| None)
            }
            note => Ok(Some(note)),
        }
    }
}
