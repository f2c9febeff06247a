//! A picture in the language of Graphviz.

use std::fmt::Write;

use crate::resolved::ResolvedSystem;

use super::{Diagram, RowPlace};

/// Writes a system for Graphviz: a cluster for each box, a node for each of its lines.
pub fn dot(system: &ResolvedSystem) -> String {
    let diagram = Diagram::of(system);
    let mut text = String::new();
    // Writing to a String does not fail.
    _ = write_dot(&mut text, &diagram);
    text
}

fn write_dot(text: &mut String, diagram: &Diagram) -> std::fmt::Result {
    writeln!(
        text,
        "digraph {} {{\n  rankdir = LR;\n  node [shape = box];",
        quoted(&diagram.title)
    )?;
    for (box_number, each) in diagram.boxes.iter().enumerate() {
        writeln!(
            text,
            "  subgraph cluster_{box_number} {{\n    label = {};",
            quoted(&each.title)
        )?;
        for (row, line) in each.rows.iter().enumerate() {
            let node = node(RowPlace { box_number, row });
            writeln!(text, "    {node} [label = {}];", quoted(&line.text))?;
        }
        writeln!(text, "  }}")?;
    }
    for arrow in &diagram.arrows {
        let (from, to) = (node(arrow.from), node(arrow.to));
        writeln!(text, "  {from} -> {to} [label = {}];", quoted(&arrow.label))?;
    }
    writeln!(text, "}}")
}

fn node(place: RowPlace) -> String {
    format!("n{}_{}", place.box_number, place.row)
}

/// Returns a quoted string, in which only quotes are special, and backslashes in labels.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
