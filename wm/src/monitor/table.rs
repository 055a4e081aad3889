// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table of all stations, and below it the latest events of one of them.

use std::cmp::Ordering;

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table, TableState};

use super::event::ago;
use super::station::{State, Station};

/// What the rows are sorted by.
#[derive(Clone, Copy, PartialEq)]
enum Sort {
    Given,
    Name,
    State,
    Score,
}

/// What is shown besides the stations.
pub struct Footer {
    /// Processor time of the whole process, in percent of one processor.
    pub cpu: Option<f64>,
    /// What went wrong beside the stations.
    pub trouble: Option<String>,
}

/// What the user looks at.
pub struct Board {
    sort: Sort,
    /// Which station it is, in the order in which they were given.
    selected: usize,
    rows: TableState,
}

/// A column: its title, its width, and what it tells. From this width of the screen on it is there.
struct Column {
    title: &'static str,
    width: u16,
    from: u16,
    cell: fn(&Station, Timestamp) -> String,
}

/// Behind the name of the station.
const COLUMNS: [Column; 5] = [
    Column {
        title: "State",
        width: 13,
        from: 0,
        cell: state,
    },
    Column {
        title: "Score",
        width: 5,
        from: 36,
        cell: score,
    },
    Column {
        title: "Payload",
        width: 8,
        from: 50,
        cell: payload,
    },
    Column {
        title: "Since",
        width: 7,
        from: 60,
        cell: |station, now| ago(station.since, now),
    },
    Column {
        title: "CPU",
        width: 6,
        from: 70,
        cell: cpu,
    },
];

fn state(station: &Station, now: Timestamp) -> String {
    match station.state {
        State::Waiting(until) => format!("again in {}", ago(now, until)),
        State::Marked if station.marks() > 1 => format!("{} marks", station.marks()),
        state => state.to_string(),
    }
}

fn score(station: &Station, _: Timestamp) -> String {
    let score = station.mark().and_then(|mark| mark.score);
    score.map_or_else(String::new, |score| format!("{score:5.1}"))
}

fn payload(station: &Station, _: Timestamp) -> String {
    let payload = station.mark().and_then(|mark| mark.payload.clone());
    payload.unwrap_or_default()
}

fn cpu(station: &Station, _: Timestamp) -> String {
    let percent = |cpu| format!("{cpu:4.1} %");
    station.cpu.map_or_else(String::new, percent)
}

/// Colour only says again what the word says.
fn style(state: State) -> Style {
    match state {
        State::Marked => Style::new().fg(Color::Green),
        State::Waiting(_) => Style::new().fg(Color::Yellow),
        State::Failed => Style::new().fg(Color::Red),
        State::Playing | State::Connecting | State::Ended => Style::new(),
    }
}

impl Sort {
    fn next(self) -> Self {
        match self {
            Sort::Given => Sort::Name,
            Sort::Name => Sort::State,
            Sort::State => Sort::Score,
            Sort::Score => Sort::Given,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Sort::Given => "order given",
            Sort::Name => "name",
            Sort::State => "state",
            Sort::Score => "score",
        }
    }

    fn compare(self, a: &Station, b: &Station) -> Ordering {
        let score = |station: &Station| station.mark().and_then(|mark| mark.score);
        match self {
            Sort::Given => Ordering::Equal,
            Sort::Name => a.name.to_lowercase().cmp(&b.name.to_lowercase()),
            Sort::State => a.state.partial_cmp(&b.state).unwrap_or(Ordering::Equal),
            Sort::Score => score(b).partial_cmp(&score(a)).unwrap_or(Ordering::Equal),
        }
    }
}

impl Board {
    pub fn new() -> Self {
        Board {
            sort: Sort::Given,
            selected: 0,
            rows: TableState::new(),
        }
    }

    /// Sorts by the next thing.
    pub fn sort(&mut self) {
        self.sort = self.sort.next();
    }

    /// Selects the station that is so many rows further down.
    pub fn select(&mut self, stations: &[&Station], down: isize) {
        let order = self.order(stations);
        let Some(last) = order.len().checked_sub(1) else {
            return;
        };
        let row = order.iter().position(|index| *index == self.selected);
        let row = row
            .unwrap_or_default()
            .saturating_add_signed(down)
            .min(last);
        self.selected = order[row];
    }

    /// The stations row by row.
    fn order(&self, stations: &[&Station]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..stations.len()).collect();
        order.sort_by(|a, b| self.sort.compare(stations[*a], stations[*b]));
        order
    }

    pub fn draw(
        &mut self,
        frame: &mut Frame,
        stations: &[&Station],
        footer: &Footer,
        now: Timestamp,
    ) {
        let height = frame.area().height;
        let details = if height < 14 { 0 } else { height / 3 };
        let parts = Layout::vertical([
            Constraint::Min(2),
            Constraint::Length(details),
            Constraint::Length(1),
        ]);
        let [top, middle, bottom] = parts.areas(frame.area());
        self.draw_table(frame, top, stations, now);
        if let Some(station) = stations.get(self.selected) {
            draw_details(frame, middle, station);
        }
        self.draw_footer(frame, bottom, stations, footer);
    }

    fn draw_table(&mut self, frame: &mut Frame, area: Rect, stations: &[&Station], now: Timestamp) {
        let columns: Vec<_> = COLUMNS.iter().filter(|c| area.width >= c.from).collect();
        let widths = std::iter::once(Constraint::Fill(1)).chain(
            columns
                .iter()
                .map(|column| Constraint::Length(column.width)),
        );
        let titles = std::iter::once("Station").chain(columns.iter().map(|column| column.title));
        let order = self.order(stations);
        let rows = order.iter().map(|index| {
            let station = stations[*index];
            let cells = columns.iter().map(|column| (column.cell)(station, now));
            let row = std::iter::once(station.name.clone()).chain(cells);
            Row::new(row.map(Cell::from)).style(style(station.state))
        });
        let table = Table::new(rows, widths)
            .header(Row::new(titles).style(Modifier::BOLD))
            .row_highlight_style(Modifier::REVERSED)
            .highlight_symbol("> ");
        let row = order.iter().position(|index| *index == self.selected);
        self.rows.select(row);
        frame.render_stateful_widget(table, area, &mut self.rows);
    }

    fn draw_footer(&self, frame: &mut Frame, area: Rect, stations: &[&Station], footer: &Footer) {
        let marked = stations.iter().filter(|s| s.state == State::Marked).count();
        let mut text = format!("{marked} of {} marked", stations.len());
        if let Some(cpu) = footer.cpu {
            text += &format!("  CPU {cpu:.0} %");
        }
        match &footer.trouble {
            Some(trouble) => text = format!("{trouble}  {text}"),
            None => {
                text += &format!("  q quit  j/k select  s sort: {}", self.sort.name());
            }
        }
        frame.render_widget(Line::styled(text, Modifier::DIM), area);
    }
}

/// The latest events of a station, newest first.
fn draw_details(frame: &mut Frame, area: Rect, station: &Station) {
    let lines = station
        .events
        .iter()
        .rev()
        .map(|event| Line::from(event.text()));
    let lines: Vec<_> = lines.take(area.height.into()).collect();
    let title = match station.name == station.address {
        true => format!("{} ", station.name),
        false => format!("{}  {} ", station.name, station.address),
    };
    let block = Block::new().borders(Borders::TOP).title(title);
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
