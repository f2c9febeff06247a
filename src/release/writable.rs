//! Paths that the application writes to (`[app] writable`). Their content is in `/var/lib/NAME`,
//! where upgrades keep it, and a release has links to them.
//!
//! ```text
//! PREFIX/app/media ─► /var/lib/NAME/media
//! PREFIX/.pkgapp/initial/media            the release's own content of the path
//! PREFIX/.pkgapp/writable                 the paths' names, one per line; directories end with `/`
//! PREFIX/.pkgapp/fill                     copies the initial content, without overwriting files
//! ```
//!
//! [`FILL`] runs as the user who owns `/var/lib/NAME`: that user can replace any name in there with
//! a link, which root would follow. A tarball has the files at their original places; releases of a
//! login share these paths.

use std::sync::Arc;

use crate::services;
use crate::tree::{EntryOrigin, Tree, TreeEntry};
use pkgapp_config::Config;
use pkgapp_core::content::Content;
use pkgapp_core::error::{Error, Result};
use pkgapp_core::path::{InstallPath, ReleasePath};

/// The path of the script that copies the initial content, below the prefix.
pub const FILL: &str = ".pkgapp/fill";

/// The directory of initial content, below the prefix.
const INITIAL: &str = ".pkgapp/initial";

/// The path of the list of names, below the prefix.
const NAMES: &str = ".pkgapp/writable";

/// Checks that the application has a service, timer, or cron job that can write to its writable
/// paths.
///
/// # Errors
/// It has none.
pub fn check(app: &Config) -> Result<()> {
    let Some(first) = app.writable.first() else {
        return Ok(());
    };
    match services::primary_user(app)? {
        Some(_) => Ok(()),
        None => Err(
            Error::new("`writable` needs a service, timer, or cron job that writes to it")
                .at(first.at.clone())
                .hint("declare one, or remove `writable`"),
        ),
    }
}

/// Returns the paths of the links.
///
/// # Errors
/// None in practice: the components of the paths are valid.
pub fn links(app: &Config) -> Result<Vec<InstallPath>> {
    let files = app.package.prefix.value.join(&ReleasePath::parse("app")?);
    Ok(app
        .writable
        .iter()
        .map(|writable| files.join(writable.value.path()))
        .collect())
}

/// Creates missing directories, for commands of `[build] run` that expect them.
///
/// # Errors
/// A path above one of them is not a directory.
pub fn make_directories(tree: &mut Tree, app: &Config) -> Result<()> {
    let origin = origin();
    for (writable, link) in app.writable.iter().zip(links(app)?) {
        if writable.value.is_directory() && tree.get(&link).is_none() {
            tree.insert(link, TreeEntry::directory(&origin))
                .map_err(|error| error.at(writable.at.clone()))?;
        }
    }
    Ok(())
}

/// Replaces all writable paths with links, and moves their content to the initial content.
///
/// # Errors
/// Another source has a file at the place of the initial content.
pub fn insert_into(tree: &mut Tree, app: &Config) -> Result<()> {
    if app.writable.is_empty() {
        return Ok(());
    }
    let below_prefix =
        |text: &str| Ok::<_, Error>(app.package.prefix.value.join(&ReleasePath::parse(text)?));
    let initial = below_prefix(INITIAL)?;
    let state = InstallPath::parse(&format!("/var/lib/{}", app.name))?;
    let origin = origin();
    for (writable, link) in app.writable.iter().zip(links(app)?) {
        let path = writable.value.path();
        move_entries(tree, &link, &initial.join(path))
            .map_err(|error| error.at(writable.at.clone()))?;
        tree.insert(link, TreeEntry::symlink(state.join(path).as_str(), &origin))
            .map_err(|error| error.at(writable.at.clone()))?;
    }
    let names: String = app
        .writable
        .iter()
        .map(|writable| format!("{}\n", writable.value))
        .collect();
    let file =
        |text: &str, mode: u32| TreeEntry::file(Content::memory(text.as_bytes()), mode, &origin);
    tree.insert(below_prefix(NAMES)?, file(&names, 0o644))?;
    tree.insert(
        below_prefix(FILL)?,
        file(include_str!("../../templates/fill.sh"), 0o755),
    )
}

fn origin() -> Arc<EntryOrigin> {
    Arc::new(EntryOrigin {
        label: "`writable` below `[app]`".to_owned(),
        layer: None,
    })
}

/// Moves the entries at a path and below it.
fn move_entries(tree: &mut Tree, from: &InstallPath, to: &InstallPath) -> Result<()> {
    let from_here = tree
        .range(from)
        .take_while(|path| path.as_str().starts_with(from.as_str()));
    let moved: Vec<InstallPath> = from_here
        .filter(|path| is_at_or_below(path, from))
        .cloned()
        .collect();
    for path in moved {
        let Some(entry) = tree.remove(&path) else {
            continue;
        };
        tree.insert(
            path.below(from)
                .map_or_else(|| to.clone(), |below| to.join(&below)),
            entry,
        )?;
    }
    Ok(())
}

fn is_at_or_below(path: &InstallPath, directory: &InstallPath) -> bool {
    path == directory || path.below(directory).is_some()
}

/// Places the files of a package without `/var/lib/NAME`: at their original paths instead of the
/// links.
#[derive(Debug)]
pub struct InPlace<'a> {
    links: &'a [InstallPath],
    files: InstallPath,
    initial: InstallPath,
    fill: InstallPath,
}

impl<'a> InPlace<'a> {
    /// Creates the mapping for a release at `prefix` with these links.
    ///
    /// # Errors
    /// None in practice: the components of the paths are valid.
    pub fn of(links: &'a [InstallPath], prefix: &InstallPath) -> Result<Self> {
        let below_prefix = |text: &str| Ok::<_, Error>(prefix.join(&ReleasePath::parse(text)?));
        Ok(Self {
            links,
            files: below_prefix("app")?,
            initial: below_prefix(INITIAL)?,
            fill: below_prefix(FILL)?,
        })
    }

    /// Returns the place of an entry; `None` for an entry that only the links need.
    pub fn path(&self, path: &InstallPath) -> Option<InstallPath> {
        if self.links.is_empty() {
            return Some(path.clone());
        }
        if self.links.contains(path) || *path == self.fill || *path == self.initial {
            return None;
        }
        let Some(below) = path.below(&self.initial) else {
            return Some(path.clone());
        };
        let place = self.files.join(&below);
        self.links
            .iter()
            .any(|link| is_at_or_below(&place, link))
            .then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::EntryKind;

    fn path(text: &str) -> InstallPath {
        InstallPath::parse(text).unwrap()
    }

    fn tree(files: &[&str]) -> Tree {
        let mut tree = Tree::new();
        for file in files {
            tree.insert(
                path(file),
                TreeEntry::file(Content::memory(*b"x"), 0o644, &origin()),
            )
            .unwrap();
        }
        tree
    }

    fn names(tree: &Tree) -> Vec<&str> {
        let files = tree
            .iter()
            .filter(|(_, entry)| !matches!(entry.kind, EntryKind::Directory));
        files.map(|(path, _)| path.as_str()).collect()
    }

    #[test]
    fn a_path_moves_with_all_below_it_and_its_neighbors_stay() {
        let files = [
            "/opt/shop/app/media",
            "/opt/shop/app/media-old/a",
            "/opt/shop/app/media.txt",
        ];
        let mut moved = tree(&[
            "/opt/shop/app/media-old/a",
            "/opt/shop/app/media.txt",
            "/opt/shop/app/media/sub/b",
        ]);
        move_entries(
            &mut moved,
            &path(files[0]),
            &path("/opt/shop/.pkgapp/initial/media"),
        )
        .unwrap();
        assert_eq!(
            names(&moved),
            ["/opt/shop/.pkgapp/initial/media/sub/b", files[1], files[2]]
        );
        let mut moved = tree(&files);
        move_entries(
            &mut moved,
            &path(files[0]),
            &path("/opt/shop/.pkgapp/initial/media"),
        )
        .unwrap();
        assert_eq!(
            names(&moved),
            ["/opt/shop/.pkgapp/initial/media", files[1], files[2]]
        );
    }

    #[test]
    fn a_tarball_has_everything_in_its_own_place() {
        let links = [path("/opt/shop/app/data/media")];
        let place = InPlace::of(&links, &path("/opt/shop")).unwrap();
        for (from, to) in [
            ("/opt/shop/app/data/media", None),
            ("/opt/shop/app/data", Some("/opt/shop/app/data")),
            ("/opt/shop/.pkgapp/fill", None),
            ("/opt/shop/.pkgapp/initial", None),
            ("/opt/shop/.pkgapp/initial/data", None),
            (
                "/opt/shop/.pkgapp/initial/data/media",
                Some("/opt/shop/app/data/media"),
            ),
            (
                "/opt/shop/.pkgapp/initial/data/media/a",
                Some("/opt/shop/app/data/media/a"),
            ),
            (
                "/opt/shop/.pkgapp/writable",
                Some("/opt/shop/.pkgapp/writable"),
            ),
        ] {
            assert_eq!(
                place.path(&path(from)).as_ref().map(InstallPath::as_str),
                to,
                "{from}"
            );
        }
    }
}
