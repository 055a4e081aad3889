// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is on the screen.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::super::event::{Mark, after};
use super::super::station::{Report, Said};
use super::*;

fn at(seconds: f64) -> Timestamp {
    after("2026-11-27T14:50:00Z".parse().unwrap(), seconds)
}

fn stations() -> Vec<Station> {
    let mut marked = Station::new(
        "Radio One".into(),
        "http://one.example/live".into(),
        at(0.0),
    );
    marked.take(Report::Playing, at(1.0));
    let mark = Mark {
        score: Some(21.25),
        payload: Some("00c0ffee".into()),
        ..Mark::default()
    };
    marked.take(Report::Detector(Said::Found, mark), at(2.0));
    marked.cpu = Some(1.25);
    let mut stopped = Station::new(
        "A much longer name of a station".into(),
        "rtp://h:1".into(),
        at(0.0),
    );
    stopped.take(
        Report::Stopped("no audio for 10 s".into(), Some(12.0)),
        at(60.0),
    );
    let plain = Station::new("Plain".into(), "http://plain.example/".into(), at(50.0));
    vec![stopped, marked, plain]
}

fn screen(board: &mut Board, stations: &[Station], width: u16, height: u16) -> Vec<String> {
    let stations: Vec<&Station> = stations.iter().collect();
    let footer = Footer {
        cpu: Some(34.0),
        trouble: None,
    };
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| board.draw(frame, &stations, &footer, at(62.0)))
        .unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| {
        (0..width)
            .map(move |x| buffer[(x, y)].symbol())
            .collect::<String>()
    };
    (0..height).map(|y| line(y).trim_end().to_owned()).collect()
}

#[test]
fn all_columns_are_there_at_80_by_24() {
    let lines = screen(&mut Board::new(), &stations(), 80, 24);
    assert_eq!(
        lines[..4],
        [
            "  Station                            State         Score Payload  Since   CPU",
            "> A much longer name of a station    again in 10 s                2 s",
            "  Radio One                          marked         21.2 00c0ffee 1 min    1.2 %",
            "  Plain                              connecting                   12 s",
        ]
    );
    let title = "A much longer name of a station  rtp://h:1";
    assert!(lines[15].starts_with(title), "{lines:#?}");
    let event = "14:51:00 stopped: no audio for 10 s; again in 12.0 s";
    assert_eq!(lines[16], event);
    let footer = "1 of 3 marked  CPU 34 %  q quit  j/k select  s sort: order given";
    assert_eq!(lines[23], footer);
}

#[test]
fn state_and_score_are_there_at_40_columns() {
    let lines = screen(&mut Board::new(), &stations(), 40, 10);
    assert_eq!(
        lines[..4],
        [
            "  Station            State         Score",
            "> A much longer name again in 10 s",
            "  Radio One          marked         21.2",
            "  Plain              connecting",
        ]
    );
    assert!(lines[9].starts_with("1 of 3 marked"), "{lines:#?}");
}

#[test]
fn nothing_breaks_on_a_tiny_screen_or_without_stations() {
    for (width, height) in [(1, 1), (5, 2), (20, 3), (300, 100)] {
        screen(&mut Board::new(), &stations(), width, height);
    }
    let mut board = Board::new();
    board.select(&[], 1);
    screen(&mut board, &[], 80, 24);
}

#[test]
fn the_selection_stays_with_its_station_when_the_order_changes() {
    let stations = stations();
    let views: Vec<&Station> = stations.iter().collect();
    let mut board = Board::new();
    let first = |board: &mut Board, row: usize| screen(board, &stations, 80, 24)[row].clone();
    board.select(&views, 1);
    assert!(first(&mut board, 2).starts_with("> Radio One"));
    // By name, by state, by score.
    for (row, top) in [(3, "  A much"), (1, "> Radio One"), (1, "> Radio One")] {
        board.sort();
        assert!(first(&mut board, row).starts_with("> Radio One"));
        assert!(first(&mut board, 1).starts_with(top));
    }
    // Beyond either end there is nothing.
    board.select(&views, -5);
    assert!(first(&mut board, 1).starts_with("> Radio One"));
    board.select(&views, 50);
    assert!(first(&mut board, 3).starts_with("> "));
}

#[test]
fn the_selected_station_is_in_sight_among_many() {
    let stations: Vec<_> = (0..200)
        .map(|i| Station::new(format!("Station {i}"), "http://h/".into(), at(0.0)))
        .collect();
    let views: Vec<&Station> = stations.iter().collect();
    let mut board = Board::new();
    board.select(&views, 150);
    let lines = screen(&mut board, &stations, 80, 24);
    let selected: Vec<_> = lines.iter().filter(|line| line.starts_with('>')).collect();
    assert!(
        selected.len() == 1 && selected[0].contains("Station 150"),
        "{lines:#?}"
    );
}

#[test]
fn trouble_is_told_at_the_bottom() {
    let footer = Footer {
        cpu: None,
        trouble: Some("events not written to events.jsonl: 3: no storage space".into()),
    };
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    let draw = |frame: &mut Frame| Board::new().draw(frame, &[], &footer, at(0.0));
    terminal.draw(draw).unwrap();
    let text = terminal.backend().to_string();
    assert!(
        text.contains("events not written to events.jsonl: 3: no storage space"),
        "{text}"
    );
}
