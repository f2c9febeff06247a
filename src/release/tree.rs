//! The tree: all files of a package on a host, sorted by path.
//!
//! The tree connects the two halves of a build: layers, application files, and configuration are
//! inserted, and every format reads the result. It has a text form with one line per entry
//! ([`Tree::dump`]), which people can read and tests compare.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use pkgapp_core::content::Content;
use pkgapp_core::error::{Error, Result};
use pkgapp_core::path::{InstallPath, is_system, is_system_directory};

/// The entries by path. Directories of the host's base system (`/opt`, `/etc`, …) are not part of
/// the tree.
///
/// Copies share their entries.
#[derive(Debug, Clone, Default)]
pub struct Tree(BTreeMap<InstallPath, Arc<TreeEntry>>);

/// One file, directory, or symbolic link.
#[derive(Debug, Clone)]
pub struct TreeEntry {
    /// The kind of the entry, with its content.
    pub kind: EntryKind,
    /// Permission bits only, e.g. `0o755`; 0o777 for symbolic links.
    pub mode: u32,
    /// The owner on the host.
    pub owner: FileOwner,
    /// The effect of an upgrade.
    pub role: UpgradeRole,
    /// The source of the entry.
    pub origin: Arc<EntryOrigin>,
}

/// The kind of an entry.
#[derive(Debug, Clone)]
pub enum EntryKind {
    /// A directory that the package owns.
    Directory,
    /// A regular file.
    File(Content),
    /// A symbolic link: its target as written.
    Symlink(String),
}

/// User and group by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOwner {
    /// The user.
    pub user: Cow<'static, str>,
    /// The group.
    pub group: Cow<'static, str>,
}

impl Default for FileOwner {
    fn default() -> Self {
        Self {
            user: "root".into(),
            group: "root".into(),
        }
    }
}

/// The effect of an upgrade on a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeRole {
    /// An upgrade replaces the file.
    Payload,
    /// An upgrade keeps the file if an administrator has changed it: conffile,
    /// `%config(noreplace)`.
    Config,
}

/// The source of entries: all entries of a layer share one value.
#[derive(Debug, PartialEq, Eq)]
pub struct EntryOrigin {
    /// A name for messages, e.g. ``distribution `flask 3.0.0` ``.
    pub label: String,
    /// The layer's key in the cache; `None` for an entry that exists in this build only.
    pub layer: Option<String>,
}

/// The source whose entry ships if two have the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollisionWinner {
    /// Neither: the sources collide.
    Nobody,
    /// The source whose entry is in the tree.
    Earlier,
    /// The source whose entry is inserted.
    Later,
}

/// Decides between an entry of the tree and another one for the same path.
pub type Precedence<'a> = &'a dyn Fn(&InstallPath, &TreeEntry, &TreeEntry) -> CollisionWinner;

impl TreeEntry {
    /// Returns a file that root owns and that upgrades replace.
    pub fn file(content: Content, mode: u32, origin: &Arc<EntryOrigin>) -> Self {
        Self {
            kind: EntryKind::File(content),
            mode,
            owner: FileOwner::default(),
            role: UpgradeRole::Payload,
            origin: origin.clone(),
        }
    }

    /// Returns a directory that root owns, with mode 0755.
    pub fn directory(origin: &Arc<EntryOrigin>) -> Self {
        Self {
            kind: EntryKind::Directory,
            mode: 0o755,
            owner: FileOwner::default(),
            role: UpgradeRole::Payload,
            origin: origin.clone(),
        }
    }

    /// Returns a symbolic link.
    pub fn symlink(target: impl Into<String>, origin: &Arc<EntryOrigin>) -> Self {
        Self {
            kind: EntryKind::Symlink(target.into()),
            mode: 0o777,
            owner: FileOwner::default(),
            role: UpgradeRole::Payload,
            origin: origin.clone(),
        }
    }

    /// Returns the entry as a configuration file.
    #[must_use]
    pub fn config(mut self) -> Self {
        self.role = UpgradeRole::Config;
        self
    }

    /// Returns whether two entries would be equal on a host.
    pub fn same_as(&self, other: &Self) -> bool {
        let kind = match (&self.kind, &other.kind) {
            (EntryKind::Directory, EntryKind::Directory) => true,
            (EntryKind::File(a), EntryKind::File(b)) => a.digest == b.digest,
            (EntryKind::Symlink(a), EntryKind::Symlink(b)) => a == b,
            _ => false,
        };
        kind && self.mode == other.mode && self.owner == other.owner && self.role == other.role
    }
}

impl Tree {
    /// Returns an empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry and the missing directories above it (owned by root, mode 0755), except for
    /// those of the base system.
    ///
    /// Several sources may share a directory, but not a file, even with equal content: otherwise,
    /// an upgrade of one source would change the other's file.
    ///
    /// # Errors
    /// The path has another source, or is below a file; the message names both sources.
    pub fn insert(&mut self, path: InstallPath, entry: TreeEntry) -> Result<()> {
        self.insert_by(path, entry, &|_, _, _| CollisionWinner::Nobody)
    }

    /// Adds an entry like [`Tree::insert`]; if two sources have the same path, `precedence` chooses
    /// one.
    ///
    /// # Errors
    /// Errors of [`Tree::insert`].
    pub fn insert_by(
        &mut self,
        path: InstallPath,
        entry: TreeEntry,
        precedence: Precedence<'_>,
    ) -> Result<()> {
        self.insert_parents(&path, &entry.origin)?;
        if is_system_directory(&path) {
            return if matches!(entry.kind, EntryKind::Directory) {
                Ok(())
            } else {
                Err(
                    Error::new(format!("`{path}` is a directory of the base system"))
                        .cause_text(format!("{} has a file at this path", entry.origin.label)),
                )
            };
        }
        if let Some(present) = self.0.get(&path) {
            let both_directories = matches!(
                (&present.kind, &entry.kind),
                (EntryKind::Directory, EntryKind::Directory)
            );
            if both_directories && present.same_as(&entry) {
                return Ok(());
            }
            let replaceable = !matches!(present.kind, EntryKind::Directory)
                && !matches!(entry.kind, EntryKind::Directory);
            match if replaceable {
                precedence(&path, present, &entry)
            } else {
                CollisionWinner::Nobody
            } {
                CollisionWinner::Nobody => return Err(collision(&path, present, &entry)),
                CollisionWinner::Earlier => return Ok(()),
                CollisionWinner::Later => {}
            }
        }
        self.0.insert(path, Arc::new(entry));
        Ok(())
    }

    /// Removes an entry, such as a file that a command of `[build] run` has removed.
    pub fn remove(&mut self, path: &InstallPath) -> Option<TreeEntry> {
        self.0.remove(path).map(Arc::unwrap_or_clone)
    }

    /// Returns the entry at a path.
    pub fn get(&self, path: &InstallPath) -> Option<&TreeEntry> {
        self.0.get(path).map(Arc::as_ref)
    }

    /// Iterates over all entries, sorted by the bytes of their paths: a directory precedes its
    /// content.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&InstallPath, &TreeEntry)> {
        self.0.iter().map(|(path, entry)| (path, entry.as_ref()))
    }

    /// Iterates over the paths from this one on, in order.
    pub fn range(&self, from: &InstallPath) -> impl Iterator<Item = &InstallPath> {
        self.0.range::<InstallPath, _>(from..).map(|(path, _)| path)
    }

    /// Iterates over the regular files.
    pub fn files(&self) -> impl Iterator<Item = (&InstallPath, &TreeEntry, &Content)> {
        self.iter().filter_map(|(path, entry)| match &entry.kind {
            EntryKind::File(content) => Some((path, entry, content)),
            _ => None,
        })
    }

    /// Returns the total size of the files in bytes.
    pub fn size(&self) -> u64 {
        self.files()
            .map(|(_, _, content)| content.digest.size)
            .sum()
    }

    /// Formats the tree with one line per entry: kind and mode, owner, size, SHA-256, path, and a
    /// link's target. A `c` before the path marks a configuration file.
    pub fn dump(&self) -> String {
        let mut text = String::new();
        for (path, entry) in self.iter() {
            // Writing to a String cannot fail.
            _ = writeln!(text, "{}", dump_line(path.as_str(), entry));
        }
        text
    }

    fn insert_parents(&mut self, path: &InstallPath, origin: &Arc<EntryOrigin>) -> Result<()> {
        // All checks precede all changes, so that a refused path leaves the tree as it was.
        let mut missing = Vec::new();
        for parent in path.parents().take_while(|parent| !is_system(parent)) {
            match self.0.get(parent) {
                Some(present) if matches!(present.kind, EntryKind::Directory) => break,
                Some(present) => {
                    return Err(Error::new(format!(
                        "`{path}` is below `{parent}`, which is not a directory"
                    ))
                    .cause_text(format!("the file comes from {}", origin.label))
                    .cause_text(format!(
                        "the file above it comes from {}",
                        present.origin.label
                    )));
                }
                None => missing.push(InstallPath::parse(parent)?),
            }
        }
        self.0.extend(
            missing
                .into_iter()
                .map(|directory| (directory, Arc::new(TreeEntry::directory(origin)))),
        );
        Ok(())
    }
}

/// Formats one entry as a line of a dump.
pub fn dump_line(path: &str, entry: &TreeEntry) -> String {
    let (letter, size, sum) = match &entry.kind {
        EntryKind::Directory => ('d', "-".to_owned(), "-".to_owned()),
        EntryKind::File(content) => (
            '-',
            content.digest.size.to_string(),
            format!("sha256:{}", content.digest.sha256),
        ),
        EntryKind::Symlink(_) => ('l', "-".to_owned(), "-".to_owned()),
    };
    let FileOwner { user, group } = &entry.owner;
    let mark = if entry.role == UpgradeRole::Config {
        "c "
    } else {
        ""
    };
    let mut line = format!(
        "{letter}{} {user}:{group} {size} {sum} {mark}{path}",
        permissions(entry.mode)
    );
    if let EntryKind::Symlink(target) = &entry.kind {
        _ = write!(line, " -> {target}");
    }
    line
}

/// Formats permission bits like `ls`, e.g. `rwxr-xr-x`.
pub fn permissions(mode: u32) -> String {
    let bit = |mask: u32, letter: char| if mode & mask != 0 { letter } else { '-' };
    let execute =
        |mask: u32, special: u32, letter: char| match (mode & mask != 0, mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        };
    [
        bit(0o400, 'r'),
        bit(0o200, 'w'),
        execute(0o100, 0o4000, 's'),
        bit(0o040, 'r'),
        bit(0o020, 'w'),
        execute(0o010, 0o2000, 's'),
        bit(0o004, 'r'),
        bit(0o002, 'w'),
        execute(0o001, 0o1000, 't'),
    ]
    .iter()
    .collect()
}

fn collision(path: &InstallPath, present: &TreeEntry, entry: &TreeEntry) -> Error {
    let equal = if present.same_as(entry) {
        "with the same content"
    } else {
        "with different content"
    };
    Error::new(format!("two sources for `{path}`, {equal}"))
        .cause_text(format!("{} has it", present.origin.label))
        .cause_text(format!("{} has it too", entry.origin.label))
        .hint(format!(
            "to let the second source win, add `allow-collisions = [\"{path}\"]` below \
             `[package]`"
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> InstallPath {
        InstallPath::parse(text).unwrap()
    }

    fn origin(label: &str) -> Arc<EntryOrigin> {
        Arc::new(EntryOrigin {
            label: label.into(),
            layer: None,
        })
    }

    #[test]
    fn parents_are_owned_below_the_base_system_only() {
        let mut tree = Tree::new();
        let file = TreeEntry::file(Content::memory(*b"x"), 0o644, &origin("a"));
        tree.insert(path("/opt/shop/lib/x"), file).unwrap();
        let paths: Vec<_> = tree.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["/opt/shop", "/opt/shop/lib", "/opt/shop/lib/x"]);
    }

    #[test]
    fn a_second_source_is_refused_and_both_are_named() {
        let mut tree = Tree::new();
        tree.insert(
            path("/opt/shop/x"),
            TreeEntry::file(Content::memory(*b"1"), 0o644, &origin("`a 1`")),
        )
        .unwrap();
        let second = TreeEntry::file(Content::memory(*b"2"), 0o644, &origin("`b 2`"));
        let error = tree
            .insert(path("/opt/shop/x"), second.clone())
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "error: two sources for `/opt/shop/x`, with different content\n  cause: `a 1` has \
             it\n  cause: `b 2` has it too\n  hint: to let the second source win, add \
             `allow-collisions = [\"/opt/shop/x\"]` below `[package]`"
        );
        tree.insert_by(path("/opt/shop/x"), second, &|_, _, _| {
            CollisionWinner::Later
        })
        .unwrap();
        assert!(
            tree.dump().contains(
                "sha256:d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35"
            )
        );
    }

    #[test]
    fn a_path_below_a_file_is_refused() {
        let mut tree = Tree::new();
        tree.insert(
            path("/opt/shop/x"),
            TreeEntry::file(Content::memory(*b"1"), 0o644, &origin("a")),
        )
        .unwrap();
        let before = tree.dump();
        assert!(
            tree.insert(path("/opt/shop/x/y/z"), TreeEntry::directory(&origin("b")))
                .is_err()
        );
        assert_eq!(tree.dump(), before);
    }

    #[test]
    fn the_dump_has_a_line_for_every_entry() {
        let mut tree = Tree::new();
        let origin = origin("a");
        tree.insert(
            path("/etc/shop/shop.env"),
            TreeEntry::file(Content::memory(*b""), 0o4640, &origin).config(),
        )
        .unwrap();
        tree.insert(
            path("/opt/shop/bin/python"),
            TreeEntry::symlink("/usr/bin/python3.11", &origin),
        )
        .unwrap();
        assert_eq!(
            tree.dump(),
            "drwxr-xr-x root:root - - /etc/shop\n\
             -rwSr----- root:root 0 sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 c \
             /etc/shop/shop.env\n\
             drwxr-xr-x root:root - - /opt/shop\n\
             drwxr-xr-x root:root - - /opt/shop/bin\n\
             lrwxrwxrwx root:root - - /opt/shop/bin/python -> /usr/bin/python3.11\n"
        );
    }
}
