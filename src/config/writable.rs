//! `[app] writable`: paths of the application that it writes to.

use std::fmt;
use std::path::Path;

use super::deploy::{is_plain, overlap};
use super::reader::{Located, ValueReader};
use pkgapp_core::error::{Error, Result};
use pkgapp_core::path::ReleasePath;

/// A path below `app/` that the application writes to, and what it is expected to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WritablePath {
    path: ReleasePath,
    is_directory: bool,
}

impl WritablePath {
    /// Reads a path of the project in `root`: a directory if it is one there, ends in `/`, or is
    /// not there and its last part has no dot.
    ///
    /// # Errors
    /// It leads out of the project, or has characters that would need quotes in scripts.
    pub fn parse(text: &str, root: &Path) -> Result<Self> {
        let path = plain(text.trim_end_matches('/'), text)?;
        let there = root.join(path.as_str());
        let is_directory =
            there.is_dir() || text.ends_with('/') || (!there.exists() && !has_dot(path.as_str()));
        Ok(Self { path, is_directory })
    }

    /// Reads the path of a file that the project in `root` does not have, and whose name does not
    /// say so.
    ///
    /// # Errors
    /// As [`Self::parse`] has them, or a directory is there.
    pub fn file(text: &str, root: &Path) -> Result<Self> {
        let path = plain(text, text)?;
        if root.join(path.as_str()).is_dir() {
            return Err(
                Error::new(format!("`{path}` is a directory")).hint(format!("write `\"{path}/\"`"))
            );
        }
        Ok(Self {
            path,
            is_directory: false,
        })
    }

    /// Reads `"media/"` or `{ file = "count" }`.
    fn read(element: &ValueReader<'_>, root: &Path) -> Option<Located<Self>> {
        if !element.is_table() {
            return element.placed(|text| Self::parse(text, root));
        }
        let table = element.table("writable")?;
        let file = table
            .require("file", "file = \"count\"")
            .and_then(|file| file.placed(|text| Self::file(text, root)));
        table.finish();
        file
    }

    /// Reads a list of them.
    pub(super) fn read_all(value: &ValueReader<'_>, root: &Path) -> Vec<Located<Self>> {
        let mut all: Vec<Located<Self>> = Vec::new();
        for element in value.list() {
            let Some(new) = Self::read(&element, root) else {
                continue;
            };
            match all
                .iter()
                .find(|known| overlap(known.value.path.as_str(), new.value.path.as_str()))
            {
                Some(known) => {
                    element.complain(Error::new(format!(
                        "`{}` and `{}` overlap",
                        new.value.path, known.value.path
                    )));
                }
                None => all.push(new),
            }
        }
        all
    }

    /// Returns the path below `app/`.
    pub fn path(&self) -> &ReleasePath {
        &self.path
    }

    /// Returns whether a directory is made there if the release brings nothing.
    pub fn is_directory(&self) -> bool {
        self.is_directory
    }
}

fn plain(path: &str, text: &str) -> Result<ReleasePath> {
    if !is_plain(path) {
        return Err(Error::new(format!(
            "`{}` is not a plain path inside the project",
            text.escape_debug()
        ))
        .hint("write a path such as `media/` or `db.sqlite3`; letters, digits and `. _ + @ -`"));
    }
    ReleasePath::parse(path)
}

/// Whether the last part of a path has a dot, as names of files do.
pub fn has_dot(path: &str) -> bool {
    path.rsplit('/').next().unwrap_or(path).contains('.')
}

/// As a person writes it: a directory ends in `/`.
impl fmt::Display for WritablePath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{}{}",
            self.path,
            if self.is_directory { "/" } else { "" }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_what_it_is_there_or_else_what_its_name_says() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join(".data")).unwrap();
        std::fs::write(root.path().join("count"), "1").unwrap();
        for (text, shown) in [
            ("media", "media/"),
            ("media/", "media/"),
            ("db.sqlite3", "db.sqlite3"),
            (".data", ".data/"),
            (".cache/", ".cache/"),
            ("count", "count"),
        ] {
            assert_eq!(
                WritablePath::parse(text, root.path()).unwrap().to_string(),
                shown
            );
        }
        assert_eq!(
            WritablePath::file("database", root.path())
                .unwrap()
                .to_string(),
            "database"
        );
        assert!(
            WritablePath::file(".data", root.path())
                .unwrap_err()
                .to_string()
                .contains("is a directory")
        );
        for text in [
            "", "/", ".", "../x", "/srv/x", "a b", "a//b", "a/./b", "$(id)", "a\nb",
        ] {
            let error = WritablePath::parse(text, root.path()).unwrap_err();
            assert!(error.to_string().contains("is not a plain path"), "{error}");
        }
    }
}
