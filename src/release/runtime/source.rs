//! The source of an interpreter: the prefix of a CPython on the build machine, or an archive of
//! python-build-standalone.
//!
//! Source of the archives' layout: python-build-standalone, "Distribution Archives". Everything is
//! below `python/`. In an `install_only` archive, that directory is the prefix; in a full archive,
//! the prefix is `python/install/`, beside `PYTHON.json`, `licenses/`, and `build/`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use fs_err as fs;
use tar::EntryType;
use tempfile::TempDir;

use pkgapp_core::cache::Cache;
use pkgapp_core::error::{Context, Error, Result, shown};
use pkgapp_core::name::PythonMinor;
use pkgapp_core::path::ReleasePath;

/// The limit for the unpacked size of an archive, in bytes. A full archive has about 600 MB.
const LARGEST: u64 = 4 << 30;

/// The limit for the number of entries in an archive. A full archive has about 10,000.
const MOST_ENTRIES: usize = 200_000;

/// The limit for the length of a chain of links.
const MOST_LINKS: usize = 8;

/// A file or a link of an interpreter's prefix.
#[derive(Debug, Clone)]
pub(super) enum PrefixItem {
    /// A file: its path on the build machine, and its length in bytes.
    File(PathBuf, u64),
    /// A symbolic link: its target as written.
    Link(String),
}

/// The files of an interpreter.
#[derive(Debug, Default)]
pub(super) struct InterpreterPrefix {
    /// The items below the prefix that may ship.
    pub(super) items: BTreeMap<ReleasePath, PrefixItem>,
    /// License texts outside of the prefix: the name of each in the layer, and its path.
    pub(super) licenses: BTreeMap<String, PathBuf>,
    /// The directory of an unpacked archive, which is removed when this value is dropped.
    _unpacked: Option<TempDir>,
}

impl InterpreterPrefix {
    /// Lists a prefix of the build machine without reading any file.
    ///
    /// # Errors
    /// The prefix has no CPython of that version, or a directory cannot be read.
    pub(super) fn of_directory(root: &Path, python: PythonMinor) -> Result<Self> {
        let mut prefix = Self::default();
        let executable = format!("bin/python{python}");
        if root.join(&executable).is_file() {
            prefix.items.insert(
                ReleasePath::parse(&executable)?,
                item(&root.join(&executable))?,
            );
        }
        for lib in ["lib", "lib64"] {
            // If one directory is a link to the other, as in `/` and in virtual environments, both
            // are one directory.
            if root.join(lib).is_symlink() {
                continue;
            }
            prefix.list(root, &format!("{lib}/python{python}"))?;
            let library = format!("{lib}/libpython{python}.so.1.0");
            if root.join(&library).is_file() {
                prefix
                    .items
                    .insert(ReleasePath::parse(&library)?, item(&root.join(&library))?);
            }
        }
        // The file that marks a free-threaded build, so that an error can say so.
        let landmark = format!("lib/python{python}t/os.py");
        if root.join(&landmark).is_file() {
            prefix
                .items
                .insert(ReleasePath::parse(&landmark)?, item(&root.join(&landmark))?);
        }
        // Debian's interpreter has its library in the architecture's directory, and its license
        // elsewhere.
        let document = root.join(format!("share/doc/python{python}/copyright"));
        for (name, place) in [
            ("copyright", document.clone()),
            ("LICENSE", root.join("LICENSE")),
        ] {
            if place.is_file() {
                prefix.licenses.insert(name.to_owned(), place);
            }
        }
        Ok(prefix)
    }

    fn list(&mut self, root: &Path, below: &str) -> Result<()> {
        let directory = root.join(below);
        if !directory.is_dir() {
            return Ok(());
        }
        // Packages that were installed into the prefix are not part of the interpreter, and its
        // byte code is compiled anew.
        let is_its_own = |entry: &walkdir::DirEntry| {
            !["site-packages", "dist-packages", "__pycache__"]
                .iter()
                .any(|name| entry.file_name() == *name)
        };
        for found in walkdir::WalkDir::new(&directory)
            .min_depth(1)
            .into_iter()
            .filter_entry(is_its_own)
        {
            let found = found.context(|| format!("cannot read `{}`", shown(&directory)))?;
            if found.file_type().is_dir() {
                continue;
            }
            let path = found.path().strip_prefix(root).ok().and_then(Path::to_str);
            // A name that no package can contain is not the name of a module.
            let Some(path) = path.and_then(|path| ReleasePath::parse(path).ok()) else {
                continue;
            };
            if found.path_is_symlink() {
                let target = fs::read_link(found.path()).context(|| "cannot read a link")?;
                // A target that is not UTF-8 leads to no file that ships.
                self.items.extend(
                    target
                        .into_os_string()
                        .into_string()
                        .ok()
                        .map(|target| (path, PrefixItem::Link(target))),
                );
            } else if found.file_type().is_file() {
                self.items.insert(path, item(found.path())?);
            }
        }
        Ok(())
    }

    /// Unpacks the parts of an archive that may ship into the cache's temporary directory.
    ///
    /// The archive is not trusted: no name leads out of the directory, no write follows a link, and
    /// its size is limited.
    ///
    /// # Errors
    /// The archive cannot be read, is not from python-build-standalone, or is damaged.
    pub(super) fn of_archive(file: &Path, cache: &Cache) -> Result<Self> {
        let unpacked = cache.temporary()?;
        let mut prefix = Self::default();
        let failed = || format!("cannot unpack `{}`", shown(file));
        let mut archive = tar::Archive::new(decoder(file)?);
        let (mut size, mut count) = (0_u64, 0);
        for entry in archive.entries().context(failed)? {
            let mut entry = entry.context(failed)?;
            count += 1;
            size = size.saturating_add(entry.size());
            if size > LARGEST || count > MOST_ENTRIES {
                return Err(Error::new(failed()).cause_text("it is larger than any interpreter"));
            }
            prefix
                .unpack(&mut entry, unpacked.path())
                .map_err(|error| error.context(failed()))?;
        }
        if prefix.items.is_empty() {
            return Err(Error::new(format!(
                "`{}` is not an archive of python-build-standalone",
                shown(file)
            ))
            .cause_text("it has no files below `python/`"));
        }
        prefix._unpacked = Some(unpacked);
        Ok(prefix)
    }

    fn unpack(&mut self, entry: &mut tar::Entry<'_, impl Read>, room: &Path) -> Result<()> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let Some(name) = name(&entry.path_bytes())? else {
            return Ok(());
        };
        let path = ReleasePath::parse(&name)?;
        let Some(place) = place(&path).filter(|_| !kind.is_dir()) else {
            return Ok(());
        };
        let (ArchivePlace::Prefix(below) | ArchivePlace::License(below)) = &place;
        self.check_vacant(&path, below)?;
        match (place, self.unpack_item(entry, &path, room)?) {
            (ArchivePlace::Prefix(below), item) => _ = self.items.insert(below, item),
            (ArchivePlace::License(below), PrefixItem::File(file, _)) => {
                _ = self.licenses.insert(below.as_str().replace('/', "-"), file);
            }
            (ArchivePlace::License(_), PrefixItem::Link(_)) => {}
        }
        Ok(())
    }

    fn unpack_item(
        &self,
        entry: &mut tar::Entry<'_, impl Read>,
        path: &ReleasePath,
        room: &Path,
    ) -> Result<PrefixItem> {
        match entry.header().entry_type() {
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                String::from_utf8(target)
                    .ok()
                    .filter(|text| !text.chars().any(char::is_control))
                    .map(PrefixItem::Link)
                    .ok_or_else(|| Error::new(format!("the link `{path}` has an invalid target")))
            }
            EntryType::Link => {
                let target = name_of_link(entry)?;
                self.linked_item(&target).ok_or_else(|| {
                    Error::new(format!(
                        "`{path}` is a hard link to `{target}`, which is not an earlier file"
                    ))
                })
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                // A generated name, so that names in the archive decide about no path on the build
                // machine.
                let file = room.join(format!("{}", self.items.len() + self.licenses.len()));
                let size = unpack_file(entry, path, &file)?;
                Ok(PrefixItem::File(file, size))
            }
            other => Err(Error::new(format!(
                "`{path}` is neither a file nor a link, but {other:?}"
            ))),
        }
    }

    /// Returns the item of the file that a hard link names; an archive has that file before the
    /// link.
    fn linked_item(&self, target: &str) -> Option<PrefixItem> {
        match place(&ReleasePath::parse(target).ok()?)? {
            ArchivePlace::Prefix(below) => self.items.get(&below).cloned(),
            ArchivePlace::License(_) => None,
        }
    }

    fn check_vacant(&self, path: &ReleasePath, below: &ReleasePath) -> Result<()> {
        if self.items.contains_key(below) {
            return Err(Error::new(format!("`{path}` occurs twice")));
        }
        let mut parent = below.parent();
        while let Some(directory) = parent {
            if self.items.contains_key(&directory) {
                return Err(Error::new(format!(
                    "`{path}` is below `{directory}`, which is not a directory"
                )));
            }
            parent = directory.parent();
        }
        Ok(())
    }

    /// Returns the file that a path leads to, through links within the prefix; `None` if the file
    /// does not exist.
    pub(super) fn file(&self, path: &ReleasePath) -> Option<(&Path, u64)> {
        let mut path = path.clone();
        for _ in 0..MOST_LINKS {
            match self.items.get(&path)? {
                PrefixItem::File(file, size) => return Some((file, *size)),
                PrefixItem::Link(target) => {
                    path = ReleasePath::parse(&crate::layer::resolve(&path, target)?).ok()?;
                }
            }
        }
        None
    }

    /// Returns the directory below the prefix that has the standard library: `lib`, or Fedora's
    /// `lib64`.
    pub(super) fn lib(&self, python: PythonMinor) -> Option<&'static str> {
        ["lib", "lib64"].into_iter().find(|lib| {
            let landmark = ReleasePath::parse(&format!("{lib}/python{python}/os.py"));
            landmark.is_ok_and(|landmark| self.items.contains_key(&landmark))
        })
    }

    /// Returns whether the prefix has the standard library of a free-threaded build (PEP 703),
    /// which has a directory of its own.
    pub(super) fn is_free_threaded(&self, python: PythonMinor) -> bool {
        let landmark = ReleasePath::parse(&format!("lib/python{python}t/os.py"));
        landmark.is_ok_and(|landmark| self.items.contains_key(&landmark))
    }

    /// Returns the minor versions of the interpreters in the prefix, for a message.
    pub(super) fn others(&self) -> Vec<String> {
        let names = self
            .items
            .keys()
            .filter_map(|path| path.as_str().strip_prefix("bin/python"));
        names
            .filter(|rest| rest.starts_with("3.") && rest[2..].bytes().all(|b| b.is_ascii_digit()))
            .map(str::to_owned)
            .collect()
    }
}

/// Writes the content of an entry to a file; returns its length in bytes.
fn unpack_file(
    entry: &mut tar::Entry<'_, impl Read>,
    path: &ReleasePath,
    file: &Path,
) -> Result<u64> {
    let mut out = File::create_new(file).context(|| format!("cannot write `{}`", shown(file)))?;
    let size = std::io::copy(entry, &mut out).context(|| format!("cannot unpack `{path}`"))?;
    if entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0) {
        // The mode helps a person who inspects the unpacked archive.
        out.set_permissions(std::fs::Permissions::from_mode(0o755))
            .context(|| "cannot set a mode")?;
    }
    Ok(size)
}

fn item(file: &Path) -> Result<PrefixItem> {
    let metadata = fs::metadata(file).context(|| format!("cannot read `{}`", shown(file)))?;
    Ok(PrefixItem::File(file.to_owned(), metadata.len()))
}

/// The use of an archive's entry.
enum ArchivePlace {
    Prefix(ReleasePath),
    License(ReleasePath),
}

fn place(path: &ReleasePath) -> Option<ArchivePlace> {
    let below = path.as_str().strip_prefix("python/")?;
    let (first, rest) = below.split_once('/').unwrap_or((below, ""));
    let parsed = |text: &str| ReleasePath::parse(text).ok();
    match first {
        "install" => parsed(rest).filter(is_wanted).map(ArchivePlace::Prefix),
        "licenses" => parsed(rest).map(ArchivePlace::License),
        "build" | "PYTHON.json" => None,
        _ => parsed(below).filter(is_wanted).map(ArchivePlace::Prefix),
    }
}

/// Returns whether an entry is a program, library, or module: headers and manuals are not unpacked.
fn is_wanted(path: &ReleasePath) -> bool {
    ["bin/", "lib/", "lib64/"]
        .iter()
        .any(|start| path.as_str().starts_with(start))
}

/// Returns the name of an entry without the `.` and `/` that tar adds around directories; `None`
/// for the root.
fn name(bytes: &[u8]) -> Result<Option<String>> {
    let text = std::str::from_utf8(bytes).map_err(|_| {
        Error::new(format!(
            "`{}` is not UTF-8",
            String::from_utf8_lossy(bytes).escape_debug()
        ))
    })?;
    let text = text
        .strip_prefix("./")
        .unwrap_or(text)
        .trim_end_matches('/');
    Ok((!text.is_empty() && text != ".").then(|| text.to_owned()))
}

fn name_of_link(entry: &tar::Entry<'_, impl Read>) -> Result<String> {
    let target = entry.link_name_bytes().unwrap_or_default();
    Ok(name(&target)?.unwrap_or_default())
}

/// Opens a compressed archive; the content decides about the compression, not the name.
fn decoder(file: &Path) -> Result<Box<dyn Read>> {
    let mut start = Vec::new();
    let failed = || format!("cannot read `{}`", shown(file));
    let open = || File::open(file).map(BufReader::new).context(failed);
    open()?.take(4).read_to_end(&mut start).context(failed)?;
    match start[..] {
        [0x1f, 0x8b, ..] => Ok(Box::new(GzDecoder::new(open()?))),
        [0x28, 0xb5, 0x2f, 0xfd] => Ok(Box::new(
            zstd::Decoder::with_buffer(open()?).context(failed)?,
        )),
        _ => Err(Error::new(format!(
            "`{}` is neither a directory nor an archive",
            shown(file)
        ))
        .note("an archive of python-build-standalone is a `.tar.gz` or a `.tar.zst`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive with these entries: name, kind, content or target.
    fn archive(directory: &Path, entries: Members<'_>) -> PathBuf {
        let file = directory.join("a.tar.gz");
        let encoder = flate2::write::GzEncoder::new(
            File::create(&file).unwrap(),
            flate2::Compression::fast(),
        );
        let mut builder = tar::Builder::new(encoder);
        for (name, kind, text) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            let content = if kind.is_file() { text.as_bytes() } else { b"" };
            header.set_size(content.len() as u64);
            if !kind.is_file() {
                header.as_gnu_mut().unwrap().linkname[..text.len()]
                    .copy_from_slice(text.as_bytes());
            }
            // The name as it is: the library would refuse what hostile archives hold.
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, content).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap();
        file
    }

    type Members<'a> = &'a [(&'a str, EntryType, &'a str)];

    fn unpack(entries: Members<'_>) -> ((TempDir, Cache), Result<InterpreterPrefix>) {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(&directory.path().join("cache")).unwrap();
        let prefix = InterpreterPrefix::of_archive(&archive(directory.path(), entries), &cache);
        ((directory, cache), prefix)
    }

    const FILE: EntryType = EntryType::Regular;

    #[test]
    fn both_layouts_give_the_prefix() {
        for (root, extra) in [
            ("python", "python/share/man/x"),
            ("python/install", "python/build/x.o"),
        ] {
            let (_directory, prefix) = unpack(&[
                ("python/", EntryType::Directory, ""),
                (extra, FILE, "no"),
                ("python/PYTHON.json", FILE, "{}"),
                ("python/licenses/LICENSE.zlib.txt", FILE, "zlib"),
                (&format!("./{root}/bin/python3.12"), FILE, "elf"),
                (
                    &format!("{root}/bin/python3"),
                    EntryType::Symlink,
                    "python3.12",
                ),
                (&format!("{root}/lib/python3.12/os.py"), FILE, "x = 1\n"),
                (
                    &format!("{root}/lib/python3.12/same.py"),
                    EntryType::Link,
                    &format!("{root}/lib/python3.12/os.py"),
                ),
                (&format!("{root}/include/python3.12/Python.h"), FILE, "no"),
            ]);
            let prefix = prefix.unwrap();
            let paths: Vec<&str> = prefix.items.keys().map(ReleasePath::as_str).collect();
            let expected = [
                "bin/python3",
                "bin/python3.12",
                "lib/python3.12/os.py",
                "lib/python3.12/same.py",
            ];
            assert_eq!(paths, expected, "{root}");
            let (file, size) = prefix
                .file(&ReleasePath::parse("bin/python3").unwrap())
                .unwrap();
            assert_eq!(
                (std::fs::read_to_string(file).unwrap().as_str(), size),
                ("elf", 3)
            );
            assert_eq!(prefix.lib("3.12".parse().unwrap()), Some("lib"));
            assert_eq!(prefix.others(), ["3.12"]);
            assert_eq!(
                prefix.licenses.keys().collect::<Vec<_>>(),
                ["LICENSE.zlib.txt"]
            );
        }
    }

    #[test]
    fn hostile_archives_write_nothing_outside() {
        let os = ("python/lib/python3.12/os.py", FILE, "x");
        let cases: [(&str, Members<'_>); 8] = [
            ("contains `..`", &[("python/lib/../../../x", FILE, "x")]),
            ("is not a relative path", &[("/python/lib/x", FILE, "x")]),
            (
                "is below",
                &[
                    ("python/lib/x", EntryType::Symlink, "/tmp"),
                    ("python/lib/x/y", FILE, "x"),
                ],
            ),
            ("occurs twice", &[os, os]),
            (
                "is not an earlier file",
                &[("python/lib/x", EntryType::Link, "../../../etc/passwd")],
            ),
            (
                "is neither a file nor a link",
                &[("python/lib/x", EntryType::Char, "")],
            ),
            (
                "is not an archive of python-build-standalone",
                &[("other/lib/x", FILE, "x")],
            ),
            (
                "has an invalid target",
                &[("python/lib/x", EntryType::Symlink, "a\nb")],
            ),
        ];
        for (expected, entries) in cases {
            let ((directory, _cache), prefix) = unpack(entries);
            let error = prefix.unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
            let mut names: Vec<_> = std::fs::read_dir(directory.path())
                .unwrap()
                .map(|e| e.unwrap().file_name())
                .collect();
            names.sort();
            assert_eq!(names, ["a.tar.gz", "cache"]);
        }
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(&directory.path().join("cache")).unwrap();
        let file = directory.path().join("x.tar.gz");
        for text in [&b"PK\x03\x04"[..], b"\x1f\x8b\x08\x00garbage", b""] {
            std::fs::write(&file, text).unwrap();
            InterpreterPrefix::of_archive(&file, &cache).unwrap_err();
        }
    }

    #[test]
    fn links_that_lead_in_circles_or_out_stand_for_nothing() {
        let (_directory, prefix) = unpack(&[
            ("python/lib/a", EntryType::Symlink, "b"),
            ("python/lib/b", EntryType::Symlink, "a"),
            ("python/lib/c", EntryType::Symlink, "../../etc/passwd"),
        ]);
        let prefix = prefix.unwrap();
        for path in ["lib/a", "lib/c", "lib/d"] {
            assert!(
                prefix.file(&ReleasePath::parse(path).unwrap()).is_none(),
                "{path}"
            );
        }
    }
}
