//! Symbolic links that cannot ship because they lead nowhere or out of the tree.

use std::path::Path;

use walkdir::WalkDir;

use super::literal;

/// Returns patterns for the links below included directories (`docs/**`) that lead to no file in
/// the tree.
pub(super) fn stray(root: &Path, include: &[String]) -> Vec<String> {
    let Ok(whole) = root.canonicalize() else {
        return Vec::new();
    };
    let directories = include
        .iter()
        .filter_map(|pattern| pattern.strip_suffix("/**"));
    let links =
        directories.flat_map(|directory| WalkDir::new(root.join(directory)).sort_by_file_name());
    let links = links
        .filter_map(Result::ok)
        .filter(walkdir::DirEntry::path_is_symlink);
    let is_stray = |link: &Path| {
        let is_absolute = std::fs::read_link(link).is_ok_and(|target| target.is_absolute());
        is_absolute
            || !link
                .canonicalize()
                .is_ok_and(|target| target.starts_with(&whole))
    };
    let strays = links.filter(|entry| is_stray(entry.path()));
    strays
        .filter_map(|entry| Some(literal(entry.path().strip_prefix(root).ok()?.to_str()?)))
        .collect()
}
