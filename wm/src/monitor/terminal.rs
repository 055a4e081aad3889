// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shows the table on a terminal, and takes keys.

use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::crew::{Crew, Note};
use super::event::now;
use super::processor::{Load, process_time};
use super::quiet::Quiet;
use super::station::Station;
use super::table::{Board, Footer};
use super::watch::Shared;
use super::writer::Writer;

/// The screen is drawn this often when nobody presses a key.
const QUIET: Duration = Duration::from_millis(500);
/// It is never drawn more often than this.
const BUSY: Duration = Duration::from_millis(100);

/// Shows the stations until the user or a signal ends it.
pub fn show(stations: &[Shared], writers: &[Writer], crew: &mut Crew) -> anyhow::Result<()> {
    let quiet = Quiet::start()?;
    // A panic restores the terminal, too.
    let result = ratatui::try_init()
        .map_err(anyhow::Error::from)
        .and_then(|mut terminal| run(&mut terminal, stations, writers, crew));
    let restored = ratatui::try_restore();
    drop(quiet);
    result?;
    Ok(restored?)
}

fn run(
    terminal: &mut DefaultTerminal,
    stations: &[Shared],
    writers: &[Writer],
    crew: &mut Crew,
) -> anyhow::Result<()> {
    listen(crew.teller())?;
    let mut board = Board::new();
    let mut load = Load::default();
    loop {
        let drawn = Instant::now();
        let footer = Footer {
            cpu: load.update(drawn, process_time()),
            trouble: writers.iter().find_map(Writer::trouble),
        };
        terminal.draw(|frame| {
            // Held while memory is filled, and not while the terminal is written to.
            let stations: Vec<_> = stations.iter().map(Shared::lock).collect();
            let stations: Vec<&Station> = stations.iter().map(|station| &**station).collect();
            board.draw(frame, &stations, &footer, now());
        })?;
        // When all stations are over, the table stays for whoever comes back to see.
        let mut end = drawn + QUIET;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            match crew.next(left)? {
                Some(Note::Interrupted) => return Ok(()),
                Some(Note::Terminal(event)) => {
                    if let Event::Key(key) = event
                        && !take_key(key, &mut board, stations)
                    {
                        return Ok(());
                    }
                    // What else is pressed until then is drawn with it.
                    end = drawn + BUSY;
                }
                Some(Note::Over(_)) | None => {}
            }
        }
    }
}

/// Passes on what the terminal tells. A thread of its own does it, since crossterm does not return from a terminal that
/// has gone, and the signal that says so has to be heard.
fn listen(tell: Sender<Note>) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("keys".into());
    thread.spawn(move || {
        while let Ok(event) = event::read() {
            if tell.send(Note::Terminal(event)).is_err() {
                return;
            }
        }
        // Without keys nobody could end it.
        let _ = tell.send(Note::Interrupted);
    })?;
    Ok(())
}

/// Does what a key asks for; returns false if that is to end.
fn take_key(key: KeyEvent, board: &mut Board, stations: &[Shared]) -> bool {
    if key.kind == KeyEventKind::Release {
        return true;
    }
    let down = match key.code {
        KeyCode::Char('q') => return false,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return false,
        KeyCode::Char('s') => {
            board.sort();
            return true;
        }
        KeyCode::Down | KeyCode::Char('j') => 1,
        KeyCode::Up | KeyCode::Char('k') => -1,
        KeyCode::PageDown => 10,
        KeyCode::PageUp => -10,
        _ => return true,
    };
    let stations: Vec<_> = stations.iter().map(Shared::lock).collect();
    let stations: Vec<&Station> = stations.iter().map(|station| &**station).collect();
    board.select(&stations, down);
    true
}
