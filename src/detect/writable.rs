//! What `[app] writable` and its relatives say of an application that writes into its own tree.

use std::collections::BTreeMap;
use std::path::Path;

use super::code::{CodeFacts, WrittenPath};
use super::pins;

/// Names in a `.gitignore` that are no data of an application.
const MADE: [&str; 22] = [
    "build",
    "dist",
    "env",
    "venv",
    "ENV",
    "node_modules",
    "htmlcov",
    "docs",
    "target",
    "site",
    "lib",
    "lib64",
    "bin",
    "include",
    "parts",
    "sdist",
    "develop-eggs",
    "eggs",
    "wheels",
    "static",
    "staticfiles",
    "local_settings.py",
];

/// Where an application writes, and how its services are told.
#[derive(Debug, Default)]
pub struct WritePlan {
    /// Paths of `[app] writable`.
    pub paths: Vec<String>,
    /// The modules that write there.
    pub by: Vec<String>,
    /// Paths that may be others, as `.gitignore` and the code have them.
    pub perhaps: Vec<String>,
    /// Variables of the environment that move a path out of the tree, and what it is called there.
    pub variables: BTreeMap<String, String>,
    /// Whether paths count from the working directory.
    pub in_working_directory: bool,
}

impl WritePlan {
    /// Sorts what is written: a wheel's files lie where nothing can be writable, and variables move
    /// them from there.
    pub(super) fn of(
        root: &Path,
        written: Vec<WrittenPath>,
        code: &CodeFacts,
        is_wheel: bool,
    ) -> Self {
        let mut writes = Self::default();
        for WrittenPath {
            path,
            by,
            is_relative,
            variable,
        } in written
        {
            if is_wheel {
                if let Some((variable, default)) =
                    variable.filter(|(_, default)| is_new(root, default))
                {
                    let name = default
                        .rsplit('/')
                        .next()
                        .unwrap_or(&default)
                        .trim_start_matches('.');
                    writes.variables.insert(variable, name.to_owned());
                }
                continue;
            }
            writes.in_working_directory |= is_relative;
            writes.paths.push(path);
            if !writes.by.contains(&by) {
                writes.by.push(by);
            }
        }
        if !is_wheel {
            let mut ignored = ignored(root);
            writes.take_whole(root, code, &ignored);
            ignored.truncate(6);
            writes.perhaps = ignored
                .into_iter()
                .filter(|path| writes.is_another(path) && code.has_path(path))
                .collect();
        }
        writes
    }

    /// Takes a directory as a whole if something in it is written to and no commit has it: it is
    /// for data alone.
    fn take_whole(&mut self, root: &Path, code: &CodeFacts, ignored: &[String]) {
        for directory in ignored.iter().filter(|path| is_new(root, path)) {
            let inside = format!("{directory}/");
            let is_inside = |path: &String| path.starts_with(&inside);
            if self.paths.iter().any(is_inside) && !code.may_collect_below(directory) {
                self.paths.retain(|path| !is_inside(path));
                self.paths.push(inside);
            }
        }
        self.paths.sort();
    }

    fn is_another(&self, path: &str) -> bool {
        let plain = |path: &str| format!("{}/", path.trim_end_matches('/'));
        self.paths.iter().all(|known| {
            !plain(known).starts_with(&plain(path)) && !plain(path).starts_with(&plain(known))
        })
    }
}

/// Why a wheel of the project could not be run: it writes to what would lie in site-packages.
pub(super) fn keeps_from_a_wheel(root: &Path, written: &[WrittenPath]) -> Option<String> {
    let is_movable = |written: &&WrittenPath| {
        written
            .variable
            .as_ref()
            .is_some_and(|(_, default)| is_new(root, default))
    };
    let written = written
        .iter()
        .filter(|written| !written.is_relative)
        .find(|written| !is_movable(written))?;
    Some(format!(
        "`{}` writes to `{}`, which a wheel would have in site-packages",
        written.by, written.path
    ))
}

/// Whether a variable may say another path: there is nothing in the tree that would be missed.
fn is_new(root: &Path, default: &str) -> bool {
    !root.join(default).exists()
}

/// Whether the repository has the collected static files, with the manifest that Django writes: what
/// made them may be no part of it.
pub(super) fn has_collected(root: &Path, code: &CodeFacts) -> bool {
    let Some(directory) = code.static_directory() else {
        return false;
    };
    let text = gitignore(root);
    let mut lines = text.lines().map(|line| line.trim().trim_matches('/'));
    root.join(directory).join("staticfiles.json").is_file()
        && !lines.any(|line| !line.is_empty() && directory.ends_with(line))
}

fn gitignore(root: &Path) -> String {
    let file = root.join(".gitignore");
    if file.is_file() {
        pins::text(&file).unwrap_or_default()
    } else {
        String::new()
    }
}

/// Names in `.gitignore` that mean one path, and none that tools make.
fn ignored(root: &Path) -> Vec<String> {
    let text = gitignore(root);
    let names = text.lines().map(|line| line.trim().trim_matches('/'));
    let is_path = |name: &&str| {
        let is_plain = name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
        let first = name.split('/').next().unwrap_or(name);
        let is_of_tools = MADE.contains(&first) || first.starts_with(".") && !name.contains("data");
        let is_text = [".py", ".md", ".log", ".pyc", ".env"]
            .iter()
            .any(|end| name.ends_with(end));
        let is_text = is_text
            || name.contains("static")
            || name.contains("secret")
            || name.contains("credential");
        name.len() > 2 && is_plain && !is_of_tools && !is_text
    };
    let mut found: Vec<String> = names.filter(is_path).map(str::to_owned).collect();
    found.sort();
    found.dedup();
    found
}
