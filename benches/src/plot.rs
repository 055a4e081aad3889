// SPDX-License-Identifier: MIT OR Apache-2.0
//! Plots of measurements as SVG, on a card of their own that is light or dark as the reader prefers.

use plotters::coord::ranged1d::{KeyPointHint, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::error::Error;

const PAGE: RGBColor = RGBColor(0xff, 0xff, 0xff);
const INK: RGBColor = RGBColor(0x1f, 0x23, 0x28);
const FAINT: RGBColor = RGBColor(0x59, 0x63, 0x6e);
const GRID: RGBColor = RGBColor(0xd8, 0xde, 0xe4);
/// Of curves, bars and text.
pub type Colour = RGBColor;
/// Of curves and bars.
pub const BLUE: RGBColor = RGBColor(0x0a, 0x5f, 0xc4);
pub const BROWN: RGBColor = RGBColor(0xa0, 0x41, 0x00);
pub const VIOLET: RGBColor = RGBColor(0x7a, 0x3d, 0xb8);
/// What stands for each colour on a dark page.
const DARK: [(RGBColor, &str); 7] = [
    (PAGE, "#0d1117"),
    (INK, "#f0f6fc"),
    (FAINT, "#9da7b3"),
    (GRID, "#30363d"),
    (BLUE, "#6cb6ff"),
    (BROWN, "#f69d50"),
    (VIOLET, "#d2a8ff"),
];

/// Part of a plot.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
/// Of drawing.
pub type Outcome = Result<(), Box<dyn Error>>;

/// What is measured at several places.
pub struct Curve {
    pub name: String,
    pub colour: RGBColor,
    /// Joined by a line, or circles alone.
    pub line: bool,
    pub points: Vec<(f64, f64)>,
}

/// A few curves, the ticks of both axes, and what is written at them.
pub struct Panel {
    pub title: String,
    pub x_ticks: Vec<f64>,
    pub y_ticks: Vec<f64>,
    /// Each doubling is as wide as the next; otherwise the axes begin at 0.
    pub doublings: bool,
    pub curves: Vec<Curve>,
}

/// One bar, and what is written in front of it and behind.
pub struct Bar {
    pub name: String,
    pub colour: RGBColor,
    pub value: f64,
}

/// An axis with ticks at the places that are given.
#[derive(Clone)]
struct Axis {
    ticks: Vec<f64>,
    doublings: bool,
}

impl Axis {
    fn place(&self, value: f64) -> f64 {
        let scale = |x: f64| if self.doublings { x.ln() } else { x };
        let first = if self.doublings { self.ticks[0] } else { 0.0 };
        let last = self.ticks[self.ticks.len() - 1];
        (scale(value) - scale(first)) / (scale(last) - scale(first))
    }
}

impl Ranged for Axis {
    type FormatOption = plotters::coord::ranged1d::NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        from + (self.place(*value) * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.ticks[0]..self.ticks[self.ticks.len() - 1]
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        value.to_string()
    }
}

fn letters(size: f64, colour: RGBColor) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&colour)
}

/// Writes a line of text that begins at a place.
pub fn write(area: &Area, text: &str, size: f64, place: (i32, i32)) -> Outcome {
    let colour = if size > 16.0 { INK } else { FAINT };
    Ok(area.draw_text(text, &letters(size, colour), place)?)
}

/// Draws a panel; the names of its curves stand below the title.
pub fn panel(area: &Area, panel: &Panel) -> Outcome {
    write(area, &panel.title, 18.0, (12, 4))?;
    let named: Vec<_> = panel
        .curves
        .iter()
        .filter(|it| !it.name.is_empty())
        .collect();
    for (row, curve) in named.iter().enumerate() {
        let y = 36 + 19 * row as i32;
        area.draw(&Circle::new((20, y), 4, curve.colour.filled()))?;
        if !curve.line {
            area.draw(&Circle::new((20, y), 2, PAGE.filled()))?;
        }
        area.draw_text(&curve.name, &letters(16.0, INK), (30, y - 6))?;
    }
    let axis = |ticks: &[f64]| Axis {
        ticks: ticks.to_vec(),
        doublings: panel.doublings,
    };
    let mut chart = ChartBuilder::on(area)
        .margin_top(38 + 19 * named.len() as i32)
        .margin_right(24)
        .x_label_area_size(26)
        .y_label_area_size(48)
        .build_cartesian_2d(axis(&panel.x_ticks), axis(&panel.y_ticks))?;
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(FAINT)
        .label_style(letters(14.0, FAINT))
        .draw()?;
    for curve in &panel.curves {
        let points = curve.points.iter().copied();
        let dot = |size, colour: RGBColor| {
            points
                .clone()
                .map(move |at| Circle::new(at, size, colour.filled()))
        };
        if curve.line {
            chart.draw_series(LineSeries::new(
                points.clone(),
                curve.colour.stroke_width(2),
            ))?;
        }
        if !curve.name.is_empty() {
            chart.draw_series(dot(4, curve.colour))?;
        }
        if !curve.line {
            chart.draw_series(dot(2, PAGE))?;
        }
    }
    Ok(())
}

/// Draws bars one below the other, from `place` on; `width` pixels are 1.
pub fn bars(area: &Area, bars: &[Bar], (x, y): (i32, i32), width: f64) -> Outcome {
    for (row, bar) in bars.iter().enumerate() {
        let top = y + 24 * row as i32;
        let end = x + (bar.value * width).round() as i32;
        let in_front = letters(16.0, INK).pos(Pos::new(HPos::Right, VPos::Center));
        area.draw_text(&bar.name, &in_front, (x - 10, top + 8))?;
        area.draw(&Rectangle::new(
            [(x, top), (end, top + 16)],
            bar.colour.filled(),
        ))?;
        let behind = letters(16.0, INK).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw_text(&format!("{:.0}", bar.value), &behind, (end + 8, top + 8))?;
    }
    Ok(())
}

/// An SVG of this size, with a title for those who do not see it, and with what `draw` draws.
pub fn svg(
    size: (u32, u32),
    title: &str,
    draw: impl FnOnce(&Area) -> Outcome,
) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        area.fill(&PAGE)?;
        draw(&area)?;
        area.present()?;
    }
    Ok(insert_style(&text, title))
}

/// Puts title and dark colours behind the opening tag, which attributes give way to.
fn insert_style(svg: &str, title: &str) -> String {
    let rules: Vec<String> = DARK
        .iter()
        .map(|(RGBColor(r, g, b), dark)| {
            let light = format!("#{r:02X}{g:02X}{b:02X}");
            format!(
                "[fill=\"{light}\"] {{ fill: {dark}; }} [stroke=\"{light}\"] {{ stroke: {dark}; }}"
            )
        })
        .collect();
    let style = format!(
        "<title>{title}</title>\n<style>\n@media (prefers-color-scheme: dark) {{\n{}\n}}\n</style>\n",
        rules.join("\n")
    );
    match svg.find('>') {
        Some(end) => format!("{}\n{style}{}", &svg[..=end], svg[end + 1..].trim_start()),
        None => svg.into(),
    }
}
