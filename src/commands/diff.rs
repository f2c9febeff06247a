//! `pkgapp diff`: the changes that a push of one package over the other would make.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cli::DiffArgs;
use pkgapp_core::error::{Error, ErrorKind, Result};
use pkgapp_core::report::{OutputStyle, Report, human_bytes, visible_line};
use pkgapp_format::read::{ArtifactEntry, ListedKind, PackageReader};
use pkgapp_release::release::ReleaseRecord;

use super::inspect;

/// The number of files that are listed without `--files`.
const MOST_FILES: usize = 20;

pub(super) fn diff(args: &DiffArgs, report: &Report) -> Result<()> {
    let (old, new) = (Side::open(&args.old)?, Side::open(&args.new)?);
    let changes = PackageChanges::between(&old, &new);
    match report.style() {
        OutputStyle::Text => report.text(&changes.text(args.files)),
        OutputStyle::Json => report.json(&changes.json()),
    }
    if args.exit_code && !changes.is_none() {
        return Err(Error::new("the packages differ").kind(ErrorKind::Found));
    }
    Ok(())
}

/// One of the two packages.
struct Side {
    artifact: PackageReader,
    record: Option<ReleaseRecord>,
    entries: BTreeMap<String, ArtifactEntry>,
}

impl Side {
    fn open(path: &std::path::Path) -> Result<Self> {
        let artifact = PackageReader::open(path)?;
        let record = inspect::record(&artifact)?;
        let entries = artifact
            .entries()?
            .into_iter()
            .map(|entry| (entry.path.clone(), entry))
            .collect();
        Ok(Self {
            artifact,
            record,
            entries,
        })
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let record = self.record.as_ref();
        let of_record =
            |get: fn(&ReleaseRecord) -> String| record.map_or_else(|| "-".to_owned(), get);
        vec![
            ("Name", self.artifact.name.clone()),
            ("Version", self.artifact.version.clone()),
            (
                "Architecture",
                self.artifact.arch.clone().unwrap_or_else(|| "-".to_owned()),
            ),
            (
                "Python",
                of_record(|record| {
                    let python = record.python;
                    python.map_or_else(|| "-".to_owned(), |python| python.to_string())
                }),
            ),
            (
                "Commit",
                of_record(|record| record.commit.clone().unwrap_or_else(|| "-".to_owned())),
            ),
            (
                "Size",
                format!(
                    "{} ({})",
                    human_bytes(self.artifact.size),
                    self.artifact.compression
                ),
            ),
        ]
    }

    /// Returns the distributions: versions by name, each with the hash of the installed wheel.
    fn distributions(&self) -> BTreeMap<String, (String, String)> {
        let all = self.record.iter().flat_map(|record| &record.distributions);
        all.map(|one| (one.name.clone(), (one.version.clone(), one.sha256.clone())))
            .collect()
    }

    fn depends(&self) -> BTreeMap<String, String> {
        let depends = self.artifact.depends.iter();
        depends.map(|one| (one.clone(), String::new())).collect()
    }

    fn scriptlets(&self) -> BTreeMap<String, String> {
        self.artifact.scriptlets.iter().cloned().collect()
    }

    /// Returns the identity of each file by its path.
    fn identities(&self) -> BTreeMap<String, String> {
        let entries = self.entries.iter();
        entries
            .map(|(path, entry)| (path.clone(), identity(entry)))
            .collect()
    }
}

/// A difference of one name between the two packages.
#[derive(Debug, Clone, PartialEq, Eq)]
enum NameChange {
    Added(String),
    Removed(String),
    Changed(String, String),
}

/// All differences between two packages.
struct PackageChanges {
    facts: Vec<(&'static str, String, String)>,
    distributions: BTreeMap<String, NameChange>,
    depends: BTreeMap<String, NameChange>,
    scriptlets: BTreeMap<String, NameChange>,
    files: BTreeMap<String, NameChange>,
}

impl PackageChanges {
    fn between(old: &Side, new: &Side) -> Self {
        let facts = old.facts().into_iter().zip(new.facts());
        let facts = facts
            .filter(|(old, new)| old.1 != new.1)
            .map(|((label, old), (_, new))| (label, old, new));
        let distribution = |(version, _): &(String, String)| version.clone();
        Self {
            facts: facts.collect(),
            distributions: changes(&old.distributions(), &new.distributions(), distribution),
            depends: changes(&old.depends(), &new.depends(), Clone::clone),
            scriptlets: changes(&old.scriptlets(), &new.scriptlets(), |_| String::new()),
            files: file_changes(old, new),
        }
    }

    fn is_none(&self) -> bool {
        let parts = [
            &self.distributions,
            &self.depends,
            &self.scriptlets,
            &self.files,
        ];
        self.facts.is_empty() && parts.iter().all(|part| part.is_empty())
    }

    fn text(&self, all_files: bool) -> String {
        let mut text = String::new();
        for (label, old, new) in &self.facts {
            // Writing to a String does not fail.
            _ = writeln!(
                text,
                "{}",
                visible_line(&format!("{label:<14}{old} -> {new}"))
            );
        }
        for (heading, changes) in [
            ("Distributions", &self.distributions),
            ("Depends", &self.depends),
            ("Scriptlets", &self.scriptlets),
            ("Files", &self.files),
        ] {
            if changes.is_empty() {
                continue;
            }
            _ = writeln!(text, "\n{heading}: {}", counts(changes));
            let most = if heading == "Files" && !all_files {
                MOST_FILES
            } else {
                usize::MAX
            };
            for (name, change) in changes.iter().take(most) {
                _ = writeln!(text, "{}", visible_line(&line(name, change)));
            }
            if changes.len() > most {
                _ = writeln!(
                    text,
                    "  … and {} more, with `--files`",
                    changes.len() - most
                );
            }
        }
        if self.is_none() {
            text.push_str("nothing differs\n");
        }
        text
    }

    fn json(&self) -> Value {
        let part = |changes: &BTreeMap<String, NameChange>| -> Value {
            let items = changes.iter().map(|(name, change)| match change {
                NameChange::Added(new) => json!({"name": name, "change": "added", "new": new}),
                NameChange::Removed(old) => json!({"name": name, "change": "removed", "old": old}),
                NameChange::Changed(old, new) => {
                    json!({"name": name, "change": "changed", "old": old, "new": new})
                }
            });
            items.collect()
        };
        let facts = self
            .facts
            .iter()
            .map(|(label, old, new)| (label.to_lowercase(), json!({"old": old, "new": new})));
        json!({
            "facts": facts.collect::<serde_json::Map<_, _>>(),
            "distributions": part(&self.distributions),
            "depends": part(&self.depends),
            "scriptlets": part(&self.scriptlets),
            "files": part(&self.files),
        })
    }
}

/// Returns the files whose identities differ, with their sizes.
fn file_changes(old: &Side, new: &Side) -> BTreeMap<String, NameChange> {
    let mut files = changes(&old.identities(), &new.identities(), Clone::clone);
    for (path, change) in &mut files {
        let sizes = (
            old.entries.get(path).map(size),
            new.entries.get(path).map(size),
        );
        *change = match sizes {
            (Some(before), Some(after)) => NameChange::Changed(before, after),
            (None, after) => NameChange::Added(after.unwrap_or_default()),
            (before, None) => NameChange::Removed(before.unwrap_or_default()),
        };
    }
    files
}

fn changes<T: PartialEq>(
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
    shown: impl Fn(&T) -> String,
) -> BTreeMap<String, NameChange> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let change = |name: &String| match (old.get(name), new.get(name)) {
        (Some(old), Some(new)) if old == new => None,
        (Some(old), Some(new)) => Some(NameChange::Changed(shown(old), shown(new))),
        (Some(old), None) => Some(NameChange::Removed(shown(old))),
        (None, new) => new.map(|new| NameChange::Added(shown(new))),
    };
    names
        .into_iter()
        .filter_map(|name| Some((name.clone(), change(name)?)))
        .collect()
}

/// Returns all properties of an entry that matter on a host; its date does not.
fn identity(entry: &ArtifactEntry) -> String {
    let (user, group) = &entry.owner;
    format!(
        "{:?} {:04o} {user}:{group} {}",
        entry.kind, entry.mode, entry.config
    )
}

fn size(entry: &ArtifactEntry) -> String {
    match &entry.kind {
        ListedKind::File { size, .. } => human_bytes(*size),
        ListedKind::Symlink(target) => format!("-> {target}"),
        ListedKind::Directory => "directory".to_owned(),
        ListedKind::Other => "special".to_owned(),
    }
}

fn counts(changes: &BTreeMap<String, NameChange>) -> String {
    let count = |of: fn(&NameChange) -> bool| changes.values().filter(|change| of(change)).count();
    let counts = [
        (
            count(|change| matches!(change, NameChange::Added(_))),
            "added",
        ),
        (
            count(|change| matches!(change, NameChange::Removed(_))),
            "removed",
        ),
        (
            count(|change| matches!(change, NameChange::Changed(..))),
            "changed",
        ),
    ];
    let counts = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"));
    counts.collect::<Vec<_>>().join(", ")
}

fn line(name: &str, change: &NameChange) -> String {
    let (sign, rest) = match change {
        NameChange::Added(new) => ('+', new.clone()),
        NameChange::Removed(old) => ('-', old.clone()),
        // Equal as text: other content of the same size, or another wheel of the same version.
        NameChange::Changed(old, new) if old == new => ('~', old.clone()),
        NameChange::Changed(old, new) => ('~', format!("{old} -> {new}")),
    };
    format!("  {sign} {name}  {rest}").trim_end().to_owned()
}
