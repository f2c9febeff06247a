//! Projects below a directory that is not a project itself, as in repositories with a `backend/`
//! and a `frontend/`.

use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

/// Files that mark the root of a Python project.
const MARKS: [&str; 7] = [
    "pyproject.toml",
    "setup.py",
    "setup.cfg",
    "Pipfile",
    "requirements.txt",
    "requirements.in",
    "environment.yml",
];

/// The maximum depth of projects.
const DEPTH: usize = 2;

/// Directories whose projects are not the application.
const BESIDE: [&str; 8] = [
    "docs",
    "doc",
    "examples",
    "scripts",
    "tests",
    "test",
    "tools",
    "node_modules",
];

/// Returns the projects below a directory, relative to it; none if the directory is a project
/// itself.
pub fn subprojects(root: &Path) -> Vec<PathBuf> {
    if is_project(root) || root.join("requirements").is_dir() || has_modules(root) {
        return Vec::new();
    }
    let directories = WalkDir::new(root)
        .min_depth(1)
        .max_depth(DEPTH)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(is_searched)
        .filter_map(Result::ok);
    let mut projects: Vec<PathBuf> = Vec::new();
    for directory in directories {
        let Ok(path) = directory.path().strip_prefix(root) else {
            continue;
        };
        let is_inside = projects.iter().any(|project| path.starts_with(project));
        if !is_inside && is_project(directory.path()) {
            projects.push(path.to_owned());
        }
    }
    projects
}

fn is_project(directory: &Path) -> bool {
    MARKS.iter().any(|name| directory.join(name).is_file())
}

/// Returns whether the directory itself contains Python modules.
fn has_modules(directory: &Path) -> bool {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    entries
        .filter_map(Result::ok)
        .any(|entry| Path::new(&entry.file_name()).extension() == Some("py".as_ref()))
}

fn is_searched(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    entry.file_type().is_dir() && !name.starts_with('.') && !BESIDE.contains(&&*name)
}
