// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shows the table on a terminal, and takes keys.

use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::crew::Crew;
use super::event::now;
use super::processor::{Load, process_time};
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
    // A panic restores the terminal, too.
    let mut terminal = ratatui::try_init()?;
    let result = run(&mut terminal, stations, writers, crew);
    ratatui::try_restore()?;
    result
}

fn run(
    terminal: &mut DefaultTerminal,
    stations: &[Shared],
    writers: &[Writer],
    crew: &mut Crew,
) -> anyhow::Result<()> {
    let mut board = Board::new();
    let mut load = Load::default();
    loop {
        // When all are over, the table stays for whoever comes back to see.
        if crew.interrupted()? {
            return Ok(());
        }
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
        if !event::poll(QUIET)? {
            continue;
        }
        // What else is pressed until then is drawn with it.
        let end = drawn + BUSY;
        loop {
            if !event::poll(end.saturating_duration_since(Instant::now()))? {
                break;
            }
            if let Event::Key(key) = event::read()?
                && !take_key(key, &mut board, stations)
            {
                return Ok(());
            }
        }
    }
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
