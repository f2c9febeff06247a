//! The `formation` in a project's app.json, as Heroku and Dokku read it: how many of each process
//! of the Procfile run.

use std::ops::Range;
use std::path::Path;

use serde_json::Value;

use super::super::document::{Origin, SourceDocument, SourceTexts};

/// The file, beside the Procfile.
const FILE: &str = "app.json";

/// Bytes of an app.json.
const MOST_BYTES: u64 = 128 * 1024;

/// The number of processes by their name.
#[derive(Debug, Default)]
pub(super) struct Formation {
    quantities: Vec<ProcessQuantity>,
}

/// The number of one process.
#[derive(Debug)]
struct ProcessQuantity {
    process: String,
    quantity: u32,
    at: Origin,
}

impl Formation {
    /// Reads the file; one that is missing, too large, or not of this form says nothing.
    pub(super) fn read(root: &Path, sources: &mut SourceTexts) -> Self {
        let file = root.join(FILE);
        let is_small = std::fs::metadata(&file)
            .is_ok_and(|metadata| metadata.is_file() && metadata.len() <= MOST_BYTES);
        let document = is_small.then(|| SourceDocument::read(&file).ok()).flatten();
        let Some(document) = document else {
            return Self::default();
        };
        let found = quantities(document.text());
        if found.is_empty() {
            return Self::default();
        }
        let source = sources.add(document);
        let quantities = found.into_iter().map(|(process, quantity, span)| {
            let at = Origin { source, span };
            ProcessQuantity {
                process,
                quantity,
                at,
            }
        });
        Self {
            quantities: quantities.collect(),
        }
    }

    /// Returns how many of a process run, and the place that says so.
    pub(super) fn of(&self, process: &str) -> Option<(u32, &Origin)> {
        let mut quantities = self.quantities.iter();
        let found = quantities.find(|found| found.process == process)?;
        Some((found.quantity, &found.at))
    }
}

/// Returns each process, its number, and the bytes of its name.
fn quantities(text: &str) -> Vec<(String, u32, Range<usize>)> {
    let document: Value = serde_json::from_str(text).unwrap_or(Value::Null);
    let Some(formation) = document.get("formation").and_then(Value::as_object) else {
        return Vec::new();
    };
    let heading = "\"formation\"";
    let start = text.find(heading);
    let numbered = formation.iter().filter_map(|(process, table)| {
        let quantity = table.get("quantity")?.as_u64()?;
        let quantity = u32::try_from(quantity).unwrap_or(u32::MAX);
        // A name that is written with escapes is not found.
        let name = format!("\"{process}\"");
        let at = start.and_then(|start| Some(start + text[start..].find(&name)?));
        let span = match (at, start) {
            (Some(at), _) => at..at + name.len(),
            (None, Some(start)) => start..start + heading.len(),
            (None, None) => 0..0,
        };
        Some((process.to_lowercase(), quantity, span))
    });
    numbered.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_processes_are_read_and_nothing_else() {
        let text = r#"{"env": {"worker": "x"}, "formation": {
  "web": {"quantity": 2, "size": "standard-1x"}, "Worker": {"quantity": 0},
  "clock": {"size": "eco"}, "odd": {"quantity": -1}, "text": {"quantity": "2"}, "large": {"quantity": 1e30},
  "many": {"quantity": 99999999999}, "none": 5
}}"#;
        let found = quantities(text);
        let named: Vec<(&str, u32)> = found
            .iter()
            .map(|(name, number, _)| (name.as_str(), *number))
            .collect();
        assert_eq!(named, [("web", 2), ("worker", 0), ("many", u32::MAX)]);
        assert_eq!(&text[found[1].2.clone()], "\"Worker\"");
        let escaped = r#"{"formation": {"w\u0065b": {"quantity": 3}}}"#;
        assert_eq!(quantities(escaped), [("web".to_owned(), 3, 1..12)]);
        for text in ["", "{", "[]", "{\"formation\": 5}", "{\"formation\": []}"] {
            assert_eq!(quantities(text), [], "{text}");
        }
    }

    proptest::proptest! {
        /// Values of such a place are quoted in errors and by `explain`.
        #[test]
        fn places_lie_in_the_text(other in "\\PC{0,8}", name in "\\PC{1,6}", escaped: bool) {
            let text = serde_json::json!({ other: 1, "formation": { name: { "quantity": 2 } } });
            let mut text = text.to_string();
            if escaped {
                text = text.replace("formation", "f\\u006frmation");
            }
            for (_, quantity, span) in quantities(&text) {
                assert_eq!(quantity, 2);
                assert!(text.get(span).is_some());
            }
        }
    }
}
