//! Layers of plain files: the application's own below `app/`, and those that `[build] run` commands
//! wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::assembly::{ByteOrigin, BytecodeCacheKey, LayerAssembly, LayerStart};
use pkgapp_core::parallel;

use super::{FORMAT, Layer, LayerBuilder, Storage, all_of, waiting_threads};
use pkgapp_core::digest::Digest;
use pkgapp_core::error::{Context, Error, Result, shown};
use pkgapp_core::fs;
use pkgapp_core::path::ReleasePath;

/// The directory of the application's own files in a release.
pub(crate) const APP: &str = "app";

/// The number of directory levels, including `app/`, that have layers of their own. Smaller pieces
/// would compress badly.
const DEPTH: usize = 3;

/// A source on the build machine for an entry of a release.
#[derive(Debug, Clone)]
pub(crate) enum TreeSource {
    /// A file: its path, its permission bits in the release, and its digest.
    File(PathBuf, u32, Digest),
    /// A symbolic link: its target.
    Symlink(String),
    /// A directory, which may be empty.
    Directory,
}

impl Layer {
    /// Returns the layers of the application's own files. Each of `files`, which are below `root`
    /// or relative to it, gets the same path below `app/` as below `root`. The working tree is only
    /// read.
    ///
    /// Each directory down to the third level has its own layer, which also contains the files of
    /// deeper levels: an edit rebuilds one of them, and the build reuses the segments of the
    /// others.
    ///
    /// A file is not below `root`, is neither a file nor a link nor a directory, or changes
    /// meanwhile; a link leads out of the included files; or a name is invalid in packages.
    pub fn for_files(
        builder: &LayerBuilder<'_>,
        root: &Path,
        files: &[PathBuf],
    ) -> Result<Vec<Self>> {
        let mut sources = BTreeMap::new();
        let mut errors = Vec::new();
        let read: Vec<_> = files
            .par_iter()
            .map(|file| application_file(root, file))
            .collect();
        for file in read {
            match file {
                Ok(Some((path, source))) => _ = sources.insert(path, source),
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        errors.extend(broken_links(&sources));
        Error::all(errors).map_or(Ok(()), Err)?;
        let mut directories: BTreeMap<String, BTreeMap<ReleasePath, TreeSource>> = BTreeMap::new();
        for (path, source) in sources {
            directories
                .entry(directory_of(&path).to_owned())
                .or_default()
                .insert(path, source);
        }
        let layer = |(directory, sources): &(String, BTreeMap<ReleasePath, TreeSource>)| {
            Self::for_sources(
                builder,
                &format!("the application's files in `{directory}`"),
                sources,
            )
        };
        let directories: Vec<(String, BTreeMap<ReleasePath, TreeSource>)> =
            directories.into_iter().collect();
        all_of(parallel::map(&directories, waiting_threads(), layer).into_iter())
    }

    /// Returns the layer of some files, from the cache or by building it. Byte code is compiled
    /// from the sources, so `sources` must not contain any.
    pub(crate) fn for_sources(
        builder: &LayerBuilder<'_>,
        label: &str,
        sources: &BTreeMap<ReleasePath, TreeSource>,
    ) -> Result<Self> {
        Self::made_of(builder, label, sources, BytecodeCacheKey::Source)
    }

    /// Returns the layer of an interpreter like [`Layer::for_sources`], but keeps byte code for the
    /// layer as a whole, because an interpreter changes as a whole.
    pub(crate) fn for_interpreter(
        builder: &LayerBuilder<'_>,
        label: &str,
        sources: &BTreeMap<ReleasePath, TreeSource>,
    ) -> Result<Self> {
        Self::made_of(builder, label, sources, BytecodeCacheKey::Layer)
    }

    fn made_of(
        builder: &LayerBuilder<'_>,
        label: &str,
        sources: &BTreeMap<ReleasePath, TreeSource>,
        kept: BytecodeCacheKey,
    ) -> Result<Self> {
        let key = key(builder, sources, kept);
        if let Some(layer) = Self::open(builder.cache, &key, label) {
            return Ok(layer);
        }
        let keeping = match kept {
            // An interpreter runs from its layer.
            BytecodeCacheKey::Layer => Storage::Apart,
            BytecodeCacheKey::Source => Storage::Together,
        };
        let mut assembly = match LayerAssembly::begin(builder, &key, label, keeping)? {
            LayerStart::Made(layer) => return Ok(*layer),
            LayerStart::Empty(assembly) => *assembly,
        };
        for (path, source) in sources {
            match source {
                TreeSource::Directory => assembly.directory(path)?,
                TreeSource::Symlink(target) => assembly.symlink(path.clone(), target.clone())?,
                TreeSource::File(file, mode, digest) => {
                    let copied = assembly.file(
                        path.clone(),
                        *mode,
                        ByteOrigin::Elsewhere,
                        fs::open(file)?,
                    )?;
                    if copied != *digest {
                        return Err(Error::new(format!(
                            "`{}` changed while it was read",
                            shown(file)
                        ))
                        .hint("build again when nothing writes to the application's files"));
                    }
                }
            }
        }
        assembly.compile(kept)?;
        assembly.finish(&key, label, None)
    }
}

/// Returns the directory whose layer contains a file.
fn directory_of(path: &ReleasePath) -> &str {
    let text = path.as_str();
    let ends: Vec<usize> = text
        .match_indices('/')
        .map(|(end, _)| end)
        .take(DEPTH)
        .collect();
    ends.last().map_or(text, |end| &text[..*end])
}

/// Returns the SHA-256 of everything that determines the content of a layer.
fn key(
    builder: &LayerBuilder<'_>,
    sources: &BTreeMap<ReleasePath, TreeSource>,
    kept: BytecodeCacheKey,
) -> String {
    let mut hash = Sha256::new();
    let compiler = builder.compiler;
    hash.update(format!(
        "pkgapp files {FORMAT}\npython {} {}\n",
        compiler.python(),
        compiler.identity()
    ));
    if kept == BytecodeCacheKey::Layer {
        hash.update("byte code by layer\n");
    }
    for (path, source) in sources {
        // Paths and targets contain no line ends, so different lists result in different texts.
        hash.update(match source {
            TreeSource::Directory => format!("d {path}\n"),
            TreeSource::Symlink(target) => format!("l {path}\n{target}\n"),
            TreeSource::File(_, mode, digest) => format!("f {mode:o} {} {path}\n", digest.sha256),
        });
    }
    hex::encode(hash.finalize())
}

/// Returns the place of an application's file in the release, and its source; `None` for byte code,
/// which is compiled anew.
fn application_file(root: &Path, file: &Path) -> Result<Option<(ReleasePath, TreeSource)>> {
    let full = root.join(file);
    let below = full.strip_prefix(root).ok().and_then(Path::to_str);
    let Some(below) = below.filter(|below| !below.is_empty()) else {
        return Err(Error::new(format!(
            "cannot include `{}` in the application",
            shown(&full)
        ))
        .cause_text(format!(
            "it is not below `{}`, or its name is not UTF-8",
            shown(root)
        )));
    };
    let path = ReleasePath::parse(&format!("{APP}/{below}"))?;
    if is_byte_code(&path) {
        return Ok(None);
    }
    Ok(Some((path, read_source(&full)?)))
}

/// Returns the source for a path of the build machine, with a mode that is independent of umask and
/// checkout.
pub(crate) fn read_source(file: &Path) -> Result<TreeSource> {
    let metadata = file
        .symlink_metadata()
        .context(|| format!("cannot read `{}`", shown(file)))?;
    if metadata.is_symlink() {
        let target =
            std::fs::read_link(file).context(|| format!("cannot read `{}`", shown(file)))?;
        let text = target
            .to_str()
            .filter(|text| !text.chars().any(char::is_control));
        return text
            .map(|text| TreeSource::Symlink(text.to_owned()))
            .ok_or_else(|| {
                Error::new(format!(
                    "the target of the link `{}` is not a valid path in a package",
                    shown(file)
                ))
            });
    }
    if metadata.is_dir() {
        return Ok(TreeSource::Directory);
    }
    if !metadata.is_file() {
        return Err(Error::new(format!(
            "`{}` is neither a file nor a directory nor a link",
            shown(file)
        ))
        .note(
            "packages contain no sockets, pipes, or devices: the program that uses one creates \
               it",
        ));
    }
    let mode = if metadata.permissions().mode() & 0o111 == 0 {
        0o644
    } else {
        0o755
    };
    let digest =
        Digest::of_reader(fs::open(file)?).context(|| format!("cannot read `{}`", shown(file)))?;
    Ok(TreeSource::File(file.to_owned(), mode, digest))
}

/// Returns whether a file is byte code that Python stores beside its source.
pub(crate) fn is_byte_code(path: &ReleasePath) -> bool {
    path.as_str()
        .split('/')
        .any(|component| component == "__pycache__")
}

/// Returns an error for each link that leads out of the shipped files.
fn broken_links(sources: &BTreeMap<ReleasePath, TreeSource>) -> Vec<Error> {
    let mut present: BTreeSet<&str> = BTreeSet::new();
    for path in sources.keys() {
        let text = path.as_str();
        present.insert(text);
        present.extend(text.match_indices('/').map(|(end, _)| &text[..end]));
    }
    let links = sources.iter().filter_map(|(path, source)| match source {
        TreeSource::Symlink(target) => Some((path, target)),
        TreeSource::File(..) | TreeSource::Directory => None,
    });
    links
        .filter_map(|(path, target)| {
            let error = Error::new(format!("the link `{path}` leads to `{target}`"));
            match resolve(path, target) {
                Some(to) if present.contains(to.as_str()) => None,
                Some(_) => Some(error.cause_text("the target is not among the application's \
                                                  files").hint(
                    "include the target, too, or exclude the link (`include` and `exclude` below \
                     `[app]`)",
                )),
                None => Some(error.cause_text("the target is outside the application's files").hint(
                    "replace the link with a relative one to an included file, or with a copy, \
                     or exclude it",
                )),
            }
        })
        .collect()
}

/// Resolves the text of a link below the prefix, without following other links; `None` if the
/// target is outside.
pub(crate) fn resolve(link: &ReleasePath, target: &str) -> Option<String> {
    if target.starts_with('/') {
        return None;
    }
    let mut path: Vec<&str> = link.as_str().split('/').collect();
    path.pop();
    for component in target.split('/') {
        match component {
            "" | "." => {}
            ".." => _ = path.pop()?,
            name => path.push(name),
        }
    }
    Some(path.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::testing::Bench;

    #[test]
    fn links_are_resolved_by_their_text() {
        let link = ReleasePath::parse("app/a/link").unwrap();
        for (target, to) in [
            ("b", Some("app/a/b")),
            ("../b", Some("app/b")),
            ("./x//../b", Some("app/a/b")),
            ("../../lib", Some("lib")),
            ("../../..", None),
            ("/etc/passwd", None),
        ] {
            assert_eq!(resolve(&link, target).as_deref(), to, "{target}");
        }
    }

    #[test]
    fn the_layer_of_a_file_is_that_of_its_directory_as_far_as_that_is_not_deep() {
        for (path, directory) in [
            ("app/x", "app"),
            ("app/a/x", "app/a"),
            ("app/a/b/x", "app/a/b"),
            ("app/a/b/c/x", "app/a/b"),
        ] {
            assert_eq!(directory_of(&ReleasePath::parse(path).unwrap()), directory);
        }
    }

    #[test]
    fn application_files_are_taken_with_normal_modes_and_byte_code() {
        let Some(bench) = Bench::new() else { return };
        let root = tempfile::tempdir().unwrap();
        bench.write(root.path(), "manage.py", "print('hello')\n", 0o700);
        bench.write(root.path(), "pages/a.html", "<p>", 0o600);
        bench.write(
            root.path(),
            "pages/__pycache__/x.cpython-311.pyc",
            "old",
            0o644,
        );
        std::os::unix::fs::symlink("pages/a.html", root.path().join("first")).unwrap();
        std::os::unix::fs::symlink("pages", root.path().join("all")).unwrap();
        std::fs::create_dir(root.path().join("empty")).unwrap();
        let files: Vec<PathBuf> = [
            "manage.py",
            "pages/a.html",
            "pages/__pycache__/x.cpython-311.pyc",
            "first",
            "all",
            "empty",
        ]
        .map(PathBuf::from)
        .to_vec();
        let layers = Layer::for_files(&bench.builder(), root.path(), &files).unwrap();
        let tag = bench.tag();
        let labels: Vec<&str> = layers.iter().map(|layer| layer.label.as_str()).collect();
        assert_eq!(
            labels,
            [
                "the application's files in `app`",
                "the application's files in `app/pages`"
            ]
        );
        let [layer, pages] = &layers[..] else {
            panic!("{layers:?}")
        };
        assert_eq!(
            bench.listing(pages),
            ["0755 app/", "0755 app/pages/", "0644 app/pages/a.html"]
        );
        assert_eq!(
            bench.listing(layer),
            [
                "0755 app/".to_owned(),
                "0755 app/__pycache__/".to_owned(),
                format!("0644 app/__pycache__/manage.{tag}.pyc"),
                "0777 app/all -> pages".to_owned(),
                "0755 app/empty/".to_owned(),
                "0777 app/first -> pages/a.html".to_owned(),
                "0755 app/manage.py".to_owned(),
            ]
        );
        // The same content in another directory results in the same layer.
        let elsewhere = tempfile::tempdir().unwrap();
        bench.write(elsewhere.path(), "manage.py", "print('hello')\n", 0o755);
        let one = Layer::for_files(
            &bench.builder(),
            elsewhere.path(),
            &[PathBuf::from("manage.py")],
        )
        .unwrap();
        let other = Layer::for_files(
            &bench.builder(),
            root.path(),
            &[root.path().join("manage.py")],
        )
        .unwrap();
        assert_eq!(one[0].key, other[0].key);
        assert_ne!(one[0].key, layer.key);
    }

    #[test]
    fn links_that_lead_out_and_special_files_are_refused_at_once() {
        let Some(bench) = Bench::new() else { return };
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("absolute")).unwrap();
        std::os::unix::fs::symlink("../../x", root.path().join("outside")).unwrap();
        std::os::unix::fs::symlink("other.txt", root.path().join("missing")).unwrap();
        bench.write(root.path(), "other.txt", "x", 0o644);
        let _socket = std::os::unix::net::UnixListener::bind(root.path().join("socket")).unwrap();
        let files: Vec<PathBuf> = ["absolute", "outside", "missing", "socket", "/etc/hostname"]
            .map(PathBuf::from)
            .to_vec();
        let error = Layer::for_files(&bench.builder(), root.path(), &files).unwrap_err();
        let messages: Vec<String> = std::iter::once(&error)
            .chain(error.others())
            .map(|error| error.message().to_owned())
            .collect();
        let socket = format!(
            "`{}` is neither a file nor a directory nor a link",
            root.path().join("socket").display()
        );
        assert_eq!(
            messages,
            [
                &socket,
                "cannot include `/etc/hostname` in the application",
                "the link `app/absolute` leads to `/etc/passwd`",
                "the link `app/missing` leads to `other.txt`",
                "the link `app/outside` leads to `../../x`",
            ]
        );
    }
}
