//! The pyproject.toml beside a lock, for old lock formats that do not contain the project's
//! dependencies.

use toml::Value;

use crate::draft::LockDraft;
use crate::entry::EntryResult;
use crate::text::TextFile;
use pkgapp_core::error::{Error, Location};

/// A pyproject.toml beside a lock.
#[derive(Debug)]
pub(super) struct AdjacentProject {
    pub(super) at: Location,
    table: toml::Table,
}

impl AdjacentProject {
    /// Reads the pyproject.toml beside a lock; `None` if there is none, or if it is invalid TOML.
    pub(super) fn beside(file: &TextFile) -> Option<Self> {
        let path = file.directory()?.join("pyproject.toml");
        let table = toml::from_str(&pkgapp_core::fs::read_to_string(&path).ok()?).ok()?;
        Some(Self {
            at: Location::file(path),
            table,
        })
    }

    /// Reads the pyproject.toml beside a lock that is useless without it.
    pub(super) fn required(
        draft: &mut LockDraft<'_>,
        file: &TextFile,
        tool: &str,
    ) -> EntryResult<Self> {
        draft.next_statement();
        Self::beside(file).ok_or_else(|| {
            Error::new(format!(
                "`{}` has no pyproject.toml beside it",
                file.name()
            ))
            .at(Location::file(&file.file))
            .note("locks in this old format do not contain the project's own dependencies")
            .hint(format!(
                "put the project's pyproject.toml beside the lock, or lock again with the latest {tool}"
            ))
        })
    }

    /// Returns the value at a path of keys.
    pub(super) fn get(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter()
            .try_fold(self.table.get(*first)?, |value, key| value.get(key))
    }

    /// Returns a table at a path of keys, or an empty one.
    pub(super) fn entries(&self, path: &[&str]) -> impl Iterator<Item = (&String, &Value)> {
        self.get(path)
            .and_then(Value::as_table)
            .into_iter()
            .flatten()
    }

    /// Returns the strings of a list at a path of keys, or none.
    pub(super) fn texts(&self, path: &[&str]) -> Vec<&str> {
        texts(self.get(path))
    }

    /// Returns the requirements of dependency groups (PEP 735), including those of groups that they
    /// include.
    pub(super) fn group(&self, name: &str) -> Vec<&str> {
        let (mut found, mut waiting, mut seen) = (Vec::new(), vec![name.to_owned()], Vec::new());
        let same = |a: &str, b: &str| {
            a.replace(['_', '.'], "-")
                .eq_ignore_ascii_case(&b.replace(['_', '.'], "-"))
        };
        while let Some(next) = waiting.pop() {
            if seen.contains(&next) {
                continue;
            }
            for (_, value) in self
                .entries(&["dependency-groups"])
                .filter(|(known, _)| same(known, &next))
            {
                for item in value.as_array().into_iter().flatten() {
                    found.extend(item.as_str());
                    waiting.extend(
                        item.get("include-group")
                            .and_then(Value::as_str)
                            .map(str::to_owned),
                    );
                }
            }
            seen.push(next);
        }
        found
    }
}

/// Returns the strings of a list.
pub(super) fn texts(value: Option<&Value>) -> Vec<&str> {
    value
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}
