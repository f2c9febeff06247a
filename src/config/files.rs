//! Patterns of paths, and the plain files of an application.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use walkdir::{DirEntry, WalkDir};

use pkgapp_core::error::{Context, Error, Location, Result, shown};

use super::reader::ValueReader;

/// A glob: `*` and `?` stay within a component, `**` crosses them.
#[derive(Debug, Clone)]
pub struct PathPattern {
    /// As written.
    pub text: String,
    /// Where it is written.
    pub at: Location,
    matcher: GlobMatcher,
}

impl PathPattern {
    /// Returns whether a path, as text or as the system's, is meant.
    pub fn matches(&self, path: impl AsRef<Path>) -> bool {
        self.matcher.is_match(path)
    }

    /// Returns whether a file is meant by an `exclude` pattern: as [`PathPattern::matches`], but a
    /// pattern without a slash is about file names, wherever they are, as in `.gitignore`.
    pub(super) fn excludes(&self, path: &Path) -> bool {
        let name = path.file_name().filter(|_| !self.text.contains('/'));
        self.matches(path) || name.is_some_and(|name| self.matches(name))
    }

    pub(super) fn read_all(
        value: &ValueReader<'_>,
        check: impl Fn(&str) -> Result<()>,
    ) -> Vec<Self> {
        let read = |value: &ValueReader<'_>| {
            let (text, matcher) = value.parsed(|text| {
                check(text)?;
                Ok((text.to_owned(), glob(text)?))
            })?;
            Some(Self {
                text,
                at: value.at(),
                matcher,
            })
        };
        value.list().iter().filter_map(read).collect()
    }

    /// Refuses what can't match a file below the root.
    pub(super) fn of_files(text: &str) -> Result<()> {
        let bad = |why: &str| Err(Error::new(format!("`{text}` matches nothing: {why}")));
        let hint =
            "patterns are relative to the directory of the configuration file and stay below it";
        let path = Path::new(text);
        if text.is_empty() {
            return bad("it is empty");
        }
        if path.is_absolute() {
            return bad("it is an absolute path").map_err(|error: Error| error.hint(hint));
        }
        if path.components().any(|part| part == Component::ParentDir) {
            return bad("`..` leads out of the directory").map_err(|error: Error| error.hint(hint));
        }
        if text.starts_with("./") {
            let plain = text.trim_start_matches("./");
            return bad("paths do not begin with `./`")
                .map_err(|error: Error| error.hint(format!("write `{plain}`")));
        }
        if text.ends_with('/') {
            return bad("only files match")
                .map_err(|error: Error| error.hint(format!("write `{text}**`")));
        }
        Ok(())
    }

    /// Refuses what can't match a path on a host.
    pub(super) fn of_host(text: &str) -> Result<()> {
        if text.starts_with('/') || text.starts_with("**") {
            return Ok(());
        }
        let error = Error::new(format!(
            "`{text}` matches nothing: paths on a host are absolute"
        ));
        Err(error.hint(format!(
            "write the whole path, such as `/opt/shop/{text}`, or `**/{text}`"
        )))
    }

    /// Returns the directory or file below which everything lies that it can match.
    fn base(&self) -> PathBuf {
        let is_plain = |part: &Component<'_>| {
            !part
                .as_os_str()
                .to_string_lossy()
                .contains(['*', '?', '[', ']', '{', '}', '\\'])
        };
        Path::new(&self.text)
            .components()
            .take_while(is_plain)
            .collect()
    }
}

fn glob(text: &str) -> Result<GlobMatcher> {
    let glob = GlobBuilder::new(text)
        .literal_separator(true)
        .build()
        .map_err(|error| {
            // The error's own text repeats the pattern.
            Error::new(format!("`{text}` is not a pattern")).cause_text(error.kind().to_string())
        })?;
    Ok(glob.compile_matcher())
}

/// Returns the files below `root` that are included and not excluded, relative to it, sorted.
pub(super) fn included(
    root: &Path,
    include: &[PathPattern],
    exclude: &[PathPattern],
) -> Result<Vec<PathBuf>> {
    let mut included = BTreeSet::new();
    let mut mistakes = Vec::new();
    for pattern in include {
        let (wanted, unwanted): (Vec<_>, Vec<_>) = matching(root, pattern)?
            .into_iter()
            .partition(|path| !exclude.iter().any(|pattern| pattern.excludes(path)));
        if wanted.is_empty() {
            mistakes.push(matches_nothing(root, pattern, unwanted.len()));
        }
        included.extend(wanted);
    }
    match Error::all(mistakes) {
        Some(error) => Err(error),
        None => Ok(included.into_iter().collect()),
    }
}

fn matching(root: &Path, pattern: &PathPattern) -> Result<Vec<PathBuf>> {
    let base = root.join(pattern.base());
    if base.symlink_metadata().is_err() || base.strip_prefix(root).is_ok_and(is_skipped) {
        return Ok(Vec::new());
    }
    let relative = |entry: &DirEntry| {
        entry
            .path()
            .strip_prefix(root)
            .map(Path::to_owned)
            .unwrap_or_default()
    };
    let mut paths = Vec::new();
    for entry in WalkDir::new(&base)
        .into_iter()
        .filter_entry(|entry| !is_skipped(&relative(entry)))
    {
        let entry = entry.context(|| format!("cannot read `{}`", shown(&base)))?;
        let path = relative(&entry);
        if entry.file_type().is_dir() || !pattern.matches(&path) {
            continue;
        }
        if !entry.file_type().is_file() && !entry.file_type().is_symlink() {
            return Err(
                Error::new(format!("`{}` is neither a file nor a link", path.display()))
                    .at(pattern.at.clone())
                    .hint("leave it out with `exclude`"),
            );
        }
        paths.push(path);
    }
    Ok(paths)
}

/// Returns whether a path never belongs to an application: version control, byte code, and where
/// artifacts are put.
fn is_skipped(path: &Path) -> bool {
    let never = |part: Component<'_>| {
        [OsStr::new(".git"), OsStr::new("__pycache__")].contains(&part.as_os_str())
    };
    path.starts_with("dist") || path.components().any(never)
}

fn matches_nothing(root: &Path, pattern: &PathPattern, excluded: usize) -> Error {
    let text = &pattern.text;
    if excluded > 0 {
        return Error::new(format!("everything that `{text}` matches is excluded"))
            .at(pattern.at.clone())
            .hint("remove the pattern from `include`, or the one that excludes these files from `exclude`");
    }
    let error = Error::new(format!("`{text}` matches no file")).at(pattern.at.clone());
    let path = root.join(text);
    if is_skipped(Path::new(text)) {
        return error.note("`.git`, `__pycache__` and `dist/` are never included");
    }
    if path.is_dir() {
        return error
            .note("it is a directory, and patterns match files")
            .hint(format!("write `{text}/**`"));
    }
    match super::similar_path(&path, text) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint("patterns are relative to the directory of the configuration file"),
    }
}
