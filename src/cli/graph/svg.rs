//! The picture as SVG: three columns of boxes, and edges from one to the next. One file, nothing to load, readable in the dark too.

use super::{Node, Picture};
use std::fmt::Write;

/// Widths and heights, in pixels.
const BOX_WIDTH: usize = 220;
const LINE_HEIGHT: usize = 16;
const PAD: usize = 10;
const GAP: usize = 18;
const BETWEEN: usize = 110;
const MARGIN: usize = 20;
/// Beside the outputs, where what is dead goes from one to another.
const BESIDE: usize = 70;
/// Signs of a line of text that fit into a box.
const FITS: usize = 30;

const STYLE: &str = "
  text { font: 13px system-ui, sans-serif; fill: #1c1e21 } .note { font-size: 11px; fill: #5b6470 }
  rect { fill: #f6f8fa; stroke: #7c8896 } .source rect { fill: #eaf4ec } .output rect { fill: #eaf0fb } .trouble rect { stroke: #c62828; stroke-width: 2.5 }
  path { fill: none; stroke: #9aa5b1; stroke-width: 1.5 }
  .dead path { stroke-dasharray: 5 4 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6e9ee } .note { fill: #a7b0bb } rect { fill: #20262d; stroke: #66717d }
    .source rect { fill: #1f2d23 } .output rect { fill: #1e2838 } path { stroke: #66717d }
  }
";

/// Where a box stands.
#[derive(Clone, Copy)]
struct Place {
    x: usize,
    y: usize,
    height: usize,
}

/// The picture as one SVG document.
pub fn draw(picture: &Picture) -> String {
    let height_of = |one: &Node| 2 * PAD + LINE_HEIGHT * (1 + one.notes.len());
    let total = |column: &[Node]| column.iter().map(|one| height_of(one) + GAP).sum::<usize>().saturating_sub(GAP);
    let tallest = picture.columns.iter().map(|column| total(column)).max().unwrap_or(0);
    let mut places: Vec<Vec<Place>> = vec![];
    for (nth, column) in picture.columns.iter().enumerate() {
        let mut y = MARGIN + (tallest - total(column)) / 2;
        let mut column_places = vec![];
        for one in column {
            column_places.push(Place { x: MARGIN + nth * (BOX_WIDTH + BETWEEN), y, height: height_of(one) });
            y += height_of(one) + GAP;
        }
        places.push(column_places);
    }
    let beside = if picture.dead.is_empty() { 0 } else { BESIDE };
    let (width, height) = (2 * MARGIN + 3 * BOX_WIDTH + 2 * BETWEEN + beside, 2 * MARGIN + tallest);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">\n<title>Sources, routes and outputs</title>\n<style>{STYLE}</style>\n"
    );
    for edge in &picture.edges {
        connect(&mut out, places[edge.column][edge.from], places[edge.column + 1][edge.to]);
    }
    for (from, to) in &picture.dead {
        pass_on(&mut out, places[2][*from], places[2][*to]);
    }
    for ((class, column), column_places) in ["source", "route", "output"].into_iter().zip(&picture.columns).zip(&places) {
        for (one, place) in column.iter().zip(column_places) {
            put(&mut out, class, one, *place);
        }
    }
    out.push_str("</svg>\n");
    out
}

fn connect(out: &mut String, from: Place, to: Place) {
    let (x1, y1, x2, y2) = (from.x + BOX_WIDTH, from.y + from.height / 2, to.x, to.y + to.height / 2);
    let bend = usize::midpoint(x1, x2);
    let _ = writeln!(out, "<path d=\"M{x1} {y1} C{bend} {y1} {bend} {y2} {x2} {y2}\"/>");
}

/// Beside the boxes from one output to another, with an arrow's head.
fn pass_on(out: &mut String, from: Place, to: Place) {
    let (x, y1, y2) = (from.x + BOX_WIDTH, from.y + from.height / 2, to.y + to.height / 2);
    let (bend, label) = (x + BESIDE, usize::midpoint(y1, y2));
    let _ = writeln!(
        out,
        "<g class=\"dead\"><path d=\"M{x} {y1} C{bend} {y1} {bend} {y2} {x} {y2} M{} {} L{x} {y2} L{} {}\"/><text class=\"note\" x=\"{}\" y=\"{label}\">dead</text></g>",
        x + 7,
        y2 - 5,
        x + 7,
        y2 + 5,
        x + BESIDE * 3 / 4 + 4,
    );
}

fn put(out: &mut String, class: &str, one: &Node, place: Place) {
    let Place { x, y, height } = place;
    let trouble = if one.trouble { " trouble" } else { "" };
    let _ = writeln!(out, "<g class=\"{class}{trouble}\"><rect x=\"{x}\" y=\"{y}\" width=\"{BOX_WIDTH}\" height=\"{height}\" rx=\"6\"/>");
    let words = std::iter::once(("", &one.name)).chain(one.notes.iter().map(|note| ("note", note)));
    for (nth, (class, word)) in words.enumerate() {
        let y = y + PAD + LINE_HEIGHT * (nth + 1) - 4;
        let _ = writeln!(out, "<text class=\"{class}\" x=\"{}\" y=\"{y}\">{}</text>", x + PAD, text(word));
    }
    out.push_str("</g>\n");
}

/// Text of a document: cut to what fits, and never markup.
fn text(text: &str) -> String {
    let cut = text.chars().count() > FITS;
    let shown: String =
        text.chars().take(if cut { FITS - 1 } else { FITS }).map(|sign| if sign.is_control() { ' ' } else { sign }).collect();
    let escaped = shown.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    if cut { format!("{escaped}…") } else { escaped }
}
