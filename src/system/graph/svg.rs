//! A picture as SVG, for browsers and documents: text stays text.

use std::fmt::Write;

use crate::resolved::ResolvedSystem;

use super::layout::{self, Curve, Picture, Point, Rectangle};
use super::{Diagram, DiagramBox, RowKind};

const STYLE: &str = "\
text { font: 12px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; fill: #1f2328 }\n\
.title { font-size: 15px; font-weight: bold }\n\
.name { font-weight: bold }\n\
.label { font-size: 10px; fill: #57606a; paint-order: stroke; stroke: #fff; stroke-width: 4px }\n\
.host { fill: #f6f8fa; stroke: #8c959f }\n\
.external { fill: #fff; stroke: #8c959f; stroke-dasharray: 5 4 }\n\
.application { fill: #ddf4ff }\n\
.service { fill: #fff8c5 }\n\
.arrow { fill: none; stroke: #57606a; stroke-width: 1.2 }\n\
marker path { fill: #57606a }\n";

/// How far an arrow goes that turns, in pixels.
const TURN: f64 = 36.0;

/// Draws a system.
pub fn svg(system: &ResolvedSystem) -> String {
    let diagram = Diagram::of(system);
    let picture = layout::place(&diagram);
    let mut text = String::new();
    // Writing to a String does not fail.
    _ = write_picture(&mut text, &diagram, &picture);
    text
}

fn write_picture(text: &mut String, diagram: &Diagram, picture: &Picture) -> std::fmt::Result {
    let (width, height) = (picture.width, picture.height);
    let title = escaped(&diagram.title);
    writeln!(
        text,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" \
         markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0 8 4 0 8z\"/></marker></defs>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text class=\"title\" x=\"24\" y=\"34\">{title}</text>"
    )?;
    let boxes = diagram.boxes.iter().zip(&picture.boxes).zip(&picture.rows);
    for ((each, place), rows) in boxes {
        write_box(text, each, *place, rows)?;
    }
    for (arrow, curve) in diagram.arrows.iter().zip(&picture.curves) {
        let (from, to) = (arrow.from, arrow.to);
        writeln!(
            text,
            "<path class=\"arrow\" d=\"{}\" marker-end=\"url(#tip)\"><title>{} → {}, {}</title></path>",
            path(curve),
            escaped(diagram.boxes[from.box_number].rows[from.row].text.as_str()),
            escaped(diagram.boxes[to.box_number].rows[to.row].text.as_str()),
            escaped(&arrow.label),
        )?;
    }
    write_labels(text, diagram, picture)?;
    writeln!(text, "</svg>")
}

fn write_box(
    text: &mut String,
    each: &DiagramBox,
    place: Rectangle,
    rows: &[Rectangle],
) -> std::fmt::Result {
    let class = if each.is_external { "external" } else { "host" };
    let Rectangle {
        x,
        y,
        width,
        height,
    } = place;
    writeln!(
        text,
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"6\"/>\n\
         <text class=\"name\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
        x + 10.0,
        y + 21.0,
        escaped(&each.title)
    )?;
    for (row, place) in each.rows.iter().zip(rows) {
        let (indent, class) = match row.kind {
            RowKind::Application(_) => (10.0, Some("application")),
            RowKind::Service(_) => (10.0, Some("service")),
            RowKind::Part(_) => (24.0, None),
        };
        if let Some(class) = class {
            writeln!(
                text,
                "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                place.x + 1.0,
                place.y + 1.0,
                place.width - 2.0,
                place.height - 2.0
            )?;
        }
        let (x, y) = (place.x + indent, place.y + 14.0);
        writeln!(
            text,
            "<text x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
            escaped(&row.text)
        )?;
    }
    Ok(())
}

/// Writes the labels beside the tips of arrows, each once.
fn write_labels(text: &mut String, diagram: &Diagram, picture: &Picture) -> std::fmt::Result {
    let mut written = Vec::new();
    for (arrow, curve) in diagram.arrows.iter().zip(&picture.curves) {
        let [.., before, tip] = curve.points.as_slice() else {
            continue;
        };
        let is_right = curve.turns || before.x > tip.x;
        let key = (arrow.to, is_right, &arrow.label);
        if written.contains(&key) {
            continue;
        }
        written.push(key);
        let (x, anchor) = if is_right {
            (tip.x + 10.0, "start")
        } else {
            (tip.x - 10.0, "end")
        };
        writeln!(
            text,
            "<text class=\"label\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            tip.y - 4.0,
            escaped(&arrow.label)
        )?;
    }
    Ok(())
}

/// Returns the path of an arrow.
fn path(curve: &Curve) -> String {
    let Some((first, rest)) = curve.points.split_first() else {
        return String::new();
    };
    let mut path = format!("M{:.1} {:.1}", first.x, first.y);
    let mut last = *first;
    for point in rest {
        let Point { x, y } = *point;
        _ = if curve.turns {
            let out = x.max(last.x) + TURN;
            write!(
                path,
                "C{out:.1} {:.1} {out:.1} {y:.1} {x:.1} {y:.1}",
                last.y
            )
        } else if (y - last.y).abs() < 0.05 {
            write!(path, "H{x:.1}")
        } else {
            let middle = f64::midpoint(last.x, x);
            write!(
                path,
                "C{middle:.1} {:.1} {middle:.1} {y:.1} {x:.1} {y:.1}",
                last.y
            )
        };
        last = *point;
    }
    path
}

/// Returns a text without the characters that XML has for itself.
fn escaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => result.push_str("&lt;"),
            '>' => result.push_str("&gt;"),
            '&' => result.push_str("&amp;"),
            '"' => result.push_str("&quot;"),
            c if c.is_control() => result.push('\u{fffd}'),
            c => result.push(c),
        }
    }
    result
}
