//! The program of a command line: one of the release by name, or one of the host by path.

use std::collections::BTreeSet;

use crate::tree::{EntryKind, Tree};
use pkgapp_config::CommandLine;
use pkgapp_core::error::{Error, Result};
use pkgapp_core::path::InstallPath;

/// The programs of a release.
#[derive(Debug)]
pub(super) struct ReleasePrograms<'a> {
    prefix: &'a InstallPath,
    names: BTreeSet<String>,
}

impl<'a> ReleasePrograms<'a> {
    pub(super) fn of(tree: &Tree, prefix: &'a InstallPath) -> Self {
        let name = |path: &InstallPath| {
            path.below(prefix)?
                .as_str()
                .strip_prefix("bin/")
                .map(str::to_owned)
        };
        let names = tree
            .iter()
            .filter(|(_, entry)| !matches!(entry.kind, EntryKind::Directory));
        Self {
            prefix,
            names: names.filter_map(|(path, _)| name(path)).collect(),
        }
    }

    /// Returns the words of a command, beginning with the absolute path of its program.
    ///
    /// A name means a program in the release's `bin/`: the directories of the host's programs
    /// differ between hosts. A path with a slash is below the prefix, as in `[build] run`.
    pub(super) fn resolve(&self, line: &CommandLine) -> Result<Vec<String>> {
        let mut words = line.words.clone();
        let Some(program) = words.first_mut() else {
            return Err(Error::bug("a command line is empty"));
        };
        *program = match program.as_str() {
            path if path.starts_with('/') => return Ok(words),
            name if self.names.contains(name) => format!("{}/bin/{name}", self.prefix),
            "sh" => "/bin/sh".to_owned(),
            path if path.contains('/') => format!("{}/{path}", self.prefix),
            name => return Err(self.unknown(name, line)),
        };
        Ok(words)
    }

    fn unknown(&self, name: &str, line: &CommandLine) -> Error {
        let error =
            Error::new(format!("`{name}` is not a program of the release")).at(line.at.clone());
        let near = self
            .names
            .iter()
            .map(|known| (strsim::damerau_levenshtein(known, name), known))
            .min();
        match near {
            Some((distance, near)) if distance <= 2 => {
                error.hint(format!("did you mean `{near}`?"))
            }
            _ => error
                .note("no pinned distribution has a console script of that name")
                .hint(
                    "use the path of a program on the host, such as `/usr/bin/env`, or `python \
                       -m MODULE`",
                ),
        }
    }
}
