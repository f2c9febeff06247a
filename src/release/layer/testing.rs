//! What tests of layers share: the Pythons of this machine, wheels made in the test, and a cache of
//! their own.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{ByteCompiler, Layer, LayerBuilder, LayerEntryKind, WheelMember, WheelReader};
use crate::prune::Pruner;
use crate::release::Release;
use crate::tree::{CollisionWinner, Tree};
use pkgapp_core::cache::Cache;
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Context, Result};
use pkgapp_core::name::{AppName, PythonMinor};
use pkgapp_core::path::{InstallPath, ReleasePath};
use pkgapp_wheels::{Wheel, WheelMetadata};

/// A cache and a Python.
pub(crate) struct Bench {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) cache: Cache,
    pub(crate) compiler: ByteCompiler,
    pub(crate) prune: Pruner,
}

impl Bench {
    /// With any Python there is; `None` if there is none.
    pub(crate) fn new() -> Option<Self> {
        // The last one is the system's, if there is one: it starts fastest.
        pythons()
            .pop()
            .map(|(interpreter, python)| Self::with(&interpreter, python))
    }

    pub(crate) fn with(interpreter: &Path, python: PythonMinor) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(&directory.path().join("cache")).unwrap();
        Self {
            directory,
            cache,
            compiler: ByteCompiler::new(interpreter, python).unwrap(),
            prune: Pruner::default(),
        }
    }

    pub(crate) fn builder(&self) -> LayerBuilder<'_> {
        LayerBuilder {
            cache: &self.cache,
            compiler: &self.compiler,
            prune: &self.prune,
        }
    }

    pub(crate) fn python(&self) -> PythonMinor {
        self.compiler.python()
    }

    /// E.g. `cpython-311`.
    pub(crate) fn tag(&self) -> String {
        format!("cpython-{}{}", self.python().major, self.python().minor)
    }

    pub(crate) fn install(&self, wheel: &TestWheel) -> Result<Layer> {
        Layer::for_wheel(&self.builder(), &wheel.wheel(), || Ok(wheel.open()))
    }

    /// A release of these layers that runs, in a directory whose name has all that a shell may trip
    /// over.
    pub(crate) fn release(&self, layers: &[Layer]) -> PathBuf {
        let prefix = InstallPath::parse("/opt/shop").unwrap();
        let root = self.directory.path().join("it's a \"$HOME\" & more/rel-1");
        crate::build_run::materialise(&self.tree(&prefix, layers), &prefix, &root).unwrap();
        crate::build_run::install_interpreter(&root, &self.builder()).unwrap();
        root
    }

    pub(crate) fn tree(&self, prefix: &InstallPath, layers: &[Layer]) -> Tree {
        let (name, version) = (AppName::parse("shop").unwrap(), "1.4.2".parse().unwrap());
        let release = Release {
            name: &name,
            version: &version,
            commit: None,
            python: self.python(),
            runtime: None,
            import_from: &[],
            recipes: &pkgapp_config::AppliedRecipes::default(),
            settings: None,
            is_separate: false,
        };
        let mut tree = Tree::new();
        release.insert_into(&mut tree, prefix, layers).unwrap();
        for layer in layers {
            layer
                .insert_into(&mut tree, prefix, &|_, _, _| CollisionWinner::Nobody)
                .unwrap();
        }
        tree
    }

    /// The bytes of a file.
    pub(crate) fn read(&self, layer: &Layer, path: &str) -> Vec<u8> {
        layer
            .content(&ReleasePath::parse(path).unwrap())
            .unwrap()
            .read()
            .unwrap()
    }

    /// A copy of a layer's files, and nothing else.
    pub(crate) fn unpacked(&self, layer: &Layer) -> PathBuf {
        let (prefix, root) = (
            InstallPath::parse("/opt/shop").unwrap(),
            self.directory.path().join(&layer.key),
        );
        let mut tree = Tree::new();
        layer
            .insert_into(&mut tree, &prefix, &|_, _, _| CollisionWinner::Nobody)
            .unwrap();
        crate::build_run::materialise(&tree, &prefix, &root).unwrap();
        root
    }

    /// One line a path.
    pub(crate) fn listing(&self, layer: &Layer) -> Vec<String> {
        layer
            .manifest
            .entries
            .iter()
            .map(|entry| match &entry.kind {
                LayerEntryKind::Directory => format!("{:04o} {}/", entry.mode, entry.path),
                LayerEntryKind::File { .. } => format!("{:04o} {}", entry.mode, entry.path),
                LayerEntryKind::Symlink { target } => {
                    format!("{:04o} {} -> {target}", entry.mode, entry.path)
                }
            })
            .collect()
    }

    pub(crate) fn write(&self, root: &Path, path: &str, content: &str, mode: u32) {
        let file = root.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, content).unwrap();
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// An ELF object file without sections (System V ABI, "ELF Header"): the dynamic linker loads none.
pub(crate) const OBJECT_FILE: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\
    \x01\0\x3e\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
    \0\0\0\0\0\0\0\0\0\0\0\0\x40\0\0\0\0\0\0\0\0\0\0\0";

/// A wheel as a zip archive in memory.
pub(crate) struct TestWheel {
    name: String,
    version: String,
    bytes: Vec<u8>,
}

impl TestWheel {
    /// `METADATA` and `WHEEL` are added; RECORD is not, because a reader has checked it before.
    pub(crate) fn new(name: &str, version: &str, files: &[(&str, &[u8])]) -> Self {
        let dist_info = format!("{name}-{version}.dist-info");
        let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n");
        let (metadata_path, wheel_path) = (
            format!("{dist_info}/METADATA"),
            format!("{dist_info}/WHEEL"),
        );
        let mut all = files.to_vec();
        all.push((&metadata_path, metadata.as_bytes()));
        all.push((
            &wheel_path,
            b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        ));
        Self::exactly(name, version, &all)
    }

    /// Paths that begin with `!` are executable.
    pub(crate) fn exactly(name: &str, version: &str, files: &[(&str, &[u8])]) -> Self {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (path, content) in files {
            let (path, mode) = path
                .strip_prefix('!')
                .map_or((*path, 0o644), |path| (path, 0o4755));
            let options = zip::write::SimpleFileOptions::default().unix_permissions(mode);
            zip.start_file(path, options).unwrap();
            zip.write_all(content).unwrap();
        }
        Self {
            name: name.into(),
            version: version.into(),
            bytes: zip.finish().unwrap().into_inner(),
        }
    }

    pub(crate) fn wheel(&self) -> Wheel {
        let filename = format!("{}-{}-py3-none-any.whl", self.name, self.version);
        Wheel {
            filename: filename.parse().unwrap(),
            path: PathBuf::from("/nowhere"),
            sha256: Sha256Sum::of(&self.bytes),
            from: "https://index.example/".into(),
            built_from: None,
            metadata: WheelMetadata {
                name: self.name.parse().unwrap(),
                version: self.version.parse().unwrap(),
                requires: vec!["click>=8".into()],
                requires_python: Some(">=3.8".into()),
                extras: Vec::new(),
                summary: None,
                license: Some("MIT".into()),
                record_gap: None,
            },
            pin: None,
        }
    }

    pub(crate) fn open(&self) -> ZipWheel {
        ZipWheel(zip::ZipArchive::new(std::io::Cursor::new(self.bytes.clone())).unwrap())
    }
}

/// The simplest reader: it checks nothing.
pub(crate) struct ZipWheel(zip::ZipArchive<std::io::Cursor<Vec<u8>>>);

impl WheelReader for ZipWheel {
    fn for_each_file(
        &mut self,
        take: &mut dyn FnMut(&WheelMember<'_>, &mut dyn Read) -> Result<()>,
    ) -> Result<()> {
        for index in 0..self.0.len() {
            let mut file = self
                .0
                .by_index(index)
                .context(|| "cannot read the archive")?;
            if file.is_dir() {
                continue;
            }
            let path = file.name().to_owned();
            let executable = file.unix_mode().is_some_and(|mode| mode & 0o111 != 0);
            take(
                &WheelMember {
                    path: &path,
                    executable,
                    sha256: None,
                },
                &mut file,
            )?;
        }
        Ok(())
    }
}

/// Every CPython of 3.8 to 3.14 of this machine.
pub(crate) fn pythons() -> Vec<(PathBuf, PythonMinor)> {
    pkgapp_testing::pythons()
        .into_iter()
        .map(|(place, minor)| (place, PythonMinor { major: 3, minor }))
        .collect()
}
