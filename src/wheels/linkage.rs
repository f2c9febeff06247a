//! The linkage of compiled code in wheels that pkgapp builds: run paths of the build machine are
//! removed, and libraries that no host has are copied into the wheel on request, under unique
//! names.
//!
//! The layout of the result follows auditwheel's `repair` (`NAME.libs`, eight digits of the hash in
//! names).

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::pack;
use crate::elf::ElfFile;
use crate::elf::edit::{self, ElfEdit};
use pkgapp_config::LibraryLinking;
use pkgapp_core::cache::FileFingerprint;
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Context, Error, Result, shown};
use pkgapp_core::fs;
use pkgapp_core::path::ReleasePath;
use pkgapp_core::process;
use pkgapp_pypa::PackageName;

/// The configuration's rules for wheels that pkgapp builds.
#[derive(Debug, Clone, Default)]
pub struct LinkageRules {
    /// Files of pins for build requirements, absolute.
    pub constraints: Option<PathBuf>,
    /// Whether compiled code keeps its debug information.
    pub debug: bool,
    /// The treatment of libraries that compiled code needs, by soname.
    pub libraries: BTreeMap<String, LibraryLinking>,
    /// Distributions whose RECORD may differ from their wheel's files.
    pub record_gaps: Vec<PackageName>,
    /// The run path with which programs in `bin/` find the library of a shipped interpreter; `None`
    /// for the host's Python.
    pub python_libraries: Option<String>,
}

/// A library that was copied into a wheel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GraftedLibrary {
    /// The name that the code requires, e.g. `libfoo.so.1`.
    pub(super) soname: String,
    /// Its path on the build machine.
    pub(super) path: PathBuf,
    sha256: Sha256Sum,
    stamp: Option<FileFingerprint>,
}

impl GraftedLibrary {
    /// Returns whether the library is unchanged since it was copied.
    pub(super) fn is_current(&self) -> bool {
        let sum = || std::fs::read(&self.path).map(|bytes| Sha256Sum::of(&bytes));
        (self.stamp.is_some() && FileFingerprint::of(&self.path) == self.stamp)
            || sum().is_ok_and(|sum| sum == self.sha256)
    }
}

/// Edits the compiled files below `root`, an unpacked wheel, and adds the libraries that it must
/// bring.
///
/// # Errors
/// Returns all libraries that no host has and that have no rule, a library that is to be copied but
/// was not found, or a file that cannot be edited.
pub(super) fn settle(
    root: &Path,
    name: &PackageName,
    rules: &LinkageRules,
) -> Result<Vec<GraftedLibrary>> {
    let wheel = LinkedWheel::read(root, name, rules)?;
    if wheel.files.is_empty() {
        return Ok(Vec::new());
    }
    let plans: Vec<LinkagePlan> = wheel.files.iter().map(|file| wheel.look(file)).collect();
    let mut errors: Vec<Error> = plans
        .iter()
        .flat_map(|plan| plan.errors.iter().cloned())
        .collect();
    let grafts = wheel.collect_grafts(&plans, &mut errors)?;
    if let Some(error) = Error::all(errors) {
        return Err(error);
    }
    wheel.write(&plans, &grafts)?;
    Ok(grafts
        .into_iter()
        .map(|(soname, graft)| graft.grafted(soname))
        .collect())
}

/// A compiled file.
struct CompiledFile {
    /// Its name in messages.
    label: String,
    place: PathBuf,
    elf: ElfFile,
}

impl CompiledFile {
    /// Returns whether it is installed in `bin/` (binary distribution format, "The .data
    /// directory").
    fn is_program(&self) -> bool {
        let mut parts = self.elf.path.as_str().split('/');
        parts.next().is_some_and(|first| first.ends_with(".data"))
            && parts.next() == Some("scripts")
    }
}

/// A library that a file needs and that exists on the build machine.
#[derive(Debug, Clone)]
struct FoundLibrary {
    soname: String,
    path: PathBuf,
}

/// The decisions about a file.
struct LinkagePlan {
    /// Entries of the run path that stay.
    kept: Vec<String>,
    grafts: Vec<FoundLibrary>,
    errors: Vec<Error>,
}

struct LinkedWheel<'a> {
    root: &'a Path,
    /// The name of the directory of copies.
    libs: String,
    rules: &'a LinkageRules,
    files: Vec<CompiledFile>,
    /// Names of the wheel's own libraries.
    own: HashSet<String>,
}

impl<'a> LinkedWheel<'a> {
    fn read(root: &'a Path, name: &PackageName, rules: &'a LinkageRules) -> Result<Self> {
        let mut files = Vec::new();
        for (path, place) in pack::files(root)? {
            if let Some(elf) = crate::elf::read(&place, &path)? {
                files.push(CompiledFile {
                    label: format!("`{path}`"),
                    place,
                    elf,
                });
            }
        }
        let names = |file: &CompiledFile| {
            [
                Some(file.elf.path.file_name().to_owned()),
                file.elf.soname.clone(),
            ]
        };
        let own = files.iter().flat_map(names).flatten().collect();
        Ok(Self {
            root,
            libs: format!("{}.libs", name.as_dist_info_name()),
            rules,
            files,
            own,
        })
    }

    /// Reads the libraries that are to be copied, with those that they need in turn.
    fn collect_grafts(
        &self,
        plans: &[LinkagePlan],
        errors: &mut Vec<Error>,
    ) -> Result<BTreeMap<String, PendingGraft>> {
        let mut queue: VecDeque<FoundLibrary> = plans
            .iter()
            .flat_map(|plan| plan.grafts.iter().cloned())
            .collect();
        let mut grafts: BTreeMap<String, PendingGraft> = BTreeMap::new();
        while let Some(found) = queue.pop_front() {
            if grafts.contains_key(&found.soname) {
                continue;
            }
            let mut graft = PendingGraft::read(&found)?;
            let plan = self.look(&graft.file);
            errors.extend(plan.errors);
            queue.extend(plan.grafts.iter().cloned());
            graft.needs = plan.grafts;
            grafts.insert(found.soname, graft);
        }
        Ok(grafts)
    }

    /// Decides about everything that a file needs.
    fn look(&self, file: &CompiledFile) -> LinkagePlan {
        let is_relative =
            |path: &&String| path.starts_with("$ORIGIN") || path.starts_with("${ORIGIN}");
        let kept = file.elf.runpath.iter().filter(is_relative);
        let mut plan = LinkagePlan {
            kept: kept.cloned().collect(),
            grafts: Vec::new(),
            errors: Vec::new(),
        };
        for soname in &file.elf.needed {
            if self.own.contains(soname) || soname.starts_with("ld-linux") {
                continue;
            }
            // The release decides which Python a host uses. Modules find its library in their
            // process; programs, such as uwsgi, load it.
            if soname.starts_with("libpython") {
                let way = self.rules.python_libraries.as_ref();
                let way = way.filter(|way| file.is_program() && !plan.kept.contains(way));
                plan.kept.extend(way.cloned());
                continue;
            }
            self.decide(soname, file, &mut plan);
        }
        plan
    }

    /// Decides about a library that a file needs.
    fn decide(&self, soname: &str, file: &CompiledFile, plan: &mut LinkagePlan) {
        match (self.rules.libraries.get(soname), find(soname, file)) {
            (Some(LibraryLinking::Graft), Some(path)) => plan.grafts.push(FoundLibrary {
                soname: soname.to_owned(),
                path,
            }),
            (Some(LibraryLinking::Graft), None) => plan.errors.push(
                Error::new(format!(
                    "library `{soname}`, which {} must ship, was not found",
                    file.label
                ))
                .note(format!("searched {}", looked_in(file)))
                .hint("add its directory to `LD_LIBRARY_PATH`"),
            ),
            (Some(LibraryLinking::Depend), Some(path)) => {
                let directory = path
                    .parent()
                    .unwrap_or(Path::new("/"))
                    .to_string_lossy()
                    .into_owned();
                if file.elf.runpath.contains(&directory) && !plan.kept.contains(&directory) {
                    plan.kept.push(directory);
                }
            }
            (None, Some(path)) if !is_of_the_system(&path) => {
                plan.errors.push(unsaid(soname, &path, file));
            }
            (Some(LibraryLinking::Depend) | None, _) => {}
        }
    }

    fn write(&self, plans: &[LinkagePlan], grafts: &BTreeMap<String, PendingGraft>) -> Result<()> {
        for (file, plan) in self.files.iter().zip(plans) {
            self.edit(file, plan, grafts)?;
        }
        for graft in grafts.values() {
            let needed = renamed(&graft.needs, grafts);
            let run_path = if needed.is_empty() {
                Vec::new()
            } else {
                vec!["$ORIGIN".to_owned()]
            };
            let change = ElfEdit {
                run_path,
                soname: Some(graft.name.clone()),
                needed,
            };
            let content = changed(graft.content.clone(), &change, &graft.file.label)?;
            let content = content.as_deref().unwrap_or(&graft.content);
            pack::put(&self.root.join(&self.libs).join(&graft.name), true, content)?;
        }
        Ok(())
    }

    fn edit(
        &self,
        file: &CompiledFile,
        plan: &LinkagePlan,
        grafts: &BTreeMap<String, PendingGraft>,
    ) -> Result<()> {
        let mut run_path = plan.kept.clone();
        if !plan.grafts.is_empty() {
            run_path.push(self.way_to_libs(&file.elf.path)?);
        }
        let change = ElfEdit {
            run_path,
            soname: None,
            needed: renamed(&plan.grafts, grafts),
        };
        // A file without changes need not be of a kind that can be edited.
        if change.needed.is_empty() && change.run_path == file.elf.runpath {
            return Ok(());
        }
        match changed(fs::read(&file.place)?, &change, &file.label)? {
            Some(changed) => std::fs::write(&file.place, changed)
                .context(|| format!("cannot write `{}`", shown(&file.place))),
            None => Ok(()),
        }
    }

    /// Returns the run path from an installed file to the copies, which are beside the packages.
    fn way_to_libs(&self, path: &ReleasePath) -> Result<String> {
        let mut parts: Vec<&str> = path.as_str().split('/').collect();
        if parts[0].ends_with(".data") && parts.len() > 2 {
            if !matches!(parts[1], "platlib" | "purelib") {
                return Err(Error::new(format!(
                    "`{path}` needs a library that ships in `{}`",
                    self.libs
                ))
                .cause_text("it is installed outside the directory of packages"));
            }
            parts.drain(..2);
        }
        Ok(format!(
            "$ORIGIN/{}{}",
            "../".repeat(parts.len() - 1),
            self.libs
        ))
    }
}

/// A library that is to be added to the wheel.
struct PendingGraft {
    /// The name of the copy.
    name: String,
    content: Vec<u8>,
    file: CompiledFile,
    needs: Vec<FoundLibrary>,
}

impl PendingGraft {
    fn read(found: &FoundLibrary) -> Result<Self> {
        let content = fs::read(&found.path)?;
        let hash = hex::encode(Sha256::digest(&content));
        // `libfoo-0123abcd.so.1`: two distributions may bring different libraries of the same name.
        let (stem, version) = found
            .soname
            .find(".so")
            .map_or((found.soname.as_str(), ""), |at| found.soname.split_at(at));
        let name = format!("{stem}-{}{version}", &hash[..8]);
        let elf = crate::elf::read(&found.path, &ReleasePath::parse(&name)?)?;
        let elf = elf.ok_or_else(|| {
            Error::new(format!("`{}` is not a shared library", shown(&found.path)))
        })?;
        let file = CompiledFile {
            label: format!("`{}`", shown(&found.path)),
            place: found.path.clone(),
            elf,
        };
        Ok(Self {
            name,
            content,
            file,
            needs: Vec::new(),
        })
    }

    fn grafted(self, soname: String) -> GraftedLibrary {
        let sha256 = Sha256Sum::of(&self.content);
        let stamp = FileFingerprint::of(&self.file.place);
        GraftedLibrary {
            soname,
            path: self.file.place,
            sha256,
            stamp,
        }
    }
}

fn renamed(
    needs: &[FoundLibrary],
    grafts: &BTreeMap<String, PendingGraft>,
) -> BTreeMap<String, String> {
    let name = |found: &FoundLibrary| {
        Some((
            found.soname.clone(),
            grafts.get(&found.soname)?.name.clone(),
        ))
    };
    needs.iter().filter_map(name).collect()
}

/// Returns a file with its changes; `None` if there are none.
fn changed(mut content: Vec<u8>, change: &ElfEdit, label: &str) -> Result<Option<Vec<u8>>> {
    match edit::apply(&mut content, change) {
        Ok(true) => Ok(Some(content)),
        Ok(false) => Ok(None),
        Err(why) => {
            Err(Error::new(format!("cannot change the run path of {label}")).cause_text(why))
        }
    }
}

fn unsaid(soname: &str, path: &Path, file: &CompiledFile) -> Error {
    Error::new(format!("{} needs `{soname}`, which hosts do not have", file.label))
        .cause_text(format!("it was linked with `{}`, which is outside the directories of distribution packages", shown(path)))
        .hint(format!(
            "add `libraries = {{ \"{soname}\" = \"graft\" }}` to `[build]` to ship a copy of it, or use `\"depend\"` if \
             hosts have it in the same place"
        ))
}

/// Finds a library like the dynamic linker does for a file, and in the directories that the user
/// gave for linking it.
fn find(soname: &str, file: &CompiledFile) -> Option<PathBuf> {
    if soname.contains('/') {
        return Some(PathBuf::from(soname)).filter(|path| path.is_file());
    }
    let beside = file
        .place
        .parent()
        .unwrap_or(Path::new("/"))
        .to_string_lossy()
        .into_owned();
    let run_path = file.elf.runpath.iter().map(|entry| {
        entry
            .replace("${ORIGIN}", &beside)
            .replace("$ORIGIN", &beside)
    });
    let places = run_path
        .map(PathBuf::from)
        .chain(searched().iter().cloned());
    let mut found = places
        .filter(|place| place.is_absolute())
        .map(|place| place.join(soname));
    found
        .find(|path| path.is_file())
        .or_else(|| known_to_the_system().get(soname).cloned())
}

fn looked_in(file: &CompiledFile) -> String {
    let mut places: Vec<String> = file.elf.runpath.clone();
    places.extend(searched().iter().map(|place| shown(place).to_string()));
    places.push("the cache of ldconfig".to_owned());
    places.join(", ")
}

/// Returns the directories in an environment variable.
fn searched() -> &'static [PathBuf] {
    static PLACES: OnceLock<Vec<PathBuf>> = OnceLock::new();
    PLACES.get_or_init(|| {
        let listed = |name: &str| {
            std::env::var_os(name).map(|value| std::env::split_paths(&value).collect::<Vec<_>>())
        };
        let flags = std::env::var("LDFLAGS").unwrap_or_default();
        let flags = flags
            .split_whitespace()
            .filter_map(|flag| flag.strip_prefix("-L"))
            .map(PathBuf::from);
        let named = ["LD_LIBRARY_PATH", "LIBRARY_PATH"]
            .into_iter()
            .filter_map(listed)
            .flatten();
        named.chain(flags).collect()
    })
}

/// Returns the libraries known to ldconfig, for this machine.
fn known_to_the_system() -> &'static BTreeMap<String, PathBuf> {
    static KNOWN: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let programs = ["ldconfig", "/sbin/ldconfig", "/usr/sbin/ldconfig"];
        let Some(program) = programs.into_iter().find_map(process::find) else {
            return BTreeMap::new();
        };
        let Ok(output) = process::output(Command::new(program).arg("-p")) else {
            return BTreeMap::new();
        };
        let flag = match std::env::consts::ARCH {
            "x86_64" => "x86-64",
            other => other,
        };
        let mut known = BTreeMap::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let Some((left, path)) = line.split_once(" => ") else {
                continue;
            };
            let Some((soname, kind)) = left.trim().split_once(" (") else {
                continue;
            };
            if kind.to_ascii_lowercase().contains(flag) {
                known
                    .entry(soname.to_owned())
                    .or_insert_with(|| PathBuf::from(path));
            }
        }
        known
    })
}

/// Returns whether a library is in a directory of distribution packages.
fn is_of_the_system(path: &Path) -> bool {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    ["/lib", "/lib64", "/usr/lib", "/usr/lib64"]
        .iter()
        .any(|directory| real.starts_with(directory))
}

/// Formats the names of copied libraries for a message.
pub(super) fn listed(grafted: &[GraftedLibrary]) -> String {
    let names: BTreeSet<String> = grafted
        .iter()
        .map(|one| format!("`{}` ({})", one.soname, shown(&one.path)))
        .collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}
