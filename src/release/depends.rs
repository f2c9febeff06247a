//! The dependencies of a release on its host, read from the files of the release.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::imports::PythonPart;
use crate::layer::Layer;
use pkgapp_config::PackageRelations;
use pkgapp_core::error::{Error, Result};
use pkgapp_core::name::{Arch, PythonMinor};
use pkgapp_core::target::{TARGETS, Target};
use pkgapp_wheels::elf::ElfFile;

/// The dependencies of a release on its host. Each format translates them into its own terms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostDependencies {
    /// The host's interpreter, unless the release has its own.
    pub python: Option<PythonMinor>,
    /// Parts of the standard library that some Linux distributions package separately.
    pub python_parts: BTreeSet<PythonPart>,
    /// The package of the shared interpreter, if the release uses one.
    pub runtime: Option<SharedRuntime>,
    /// Shared libraries that the release does not contain, sorted by soname.
    pub libraries: Vec<HostLibrary>,
    /// Daemons that read the package's files below `/etc`.
    pub programs: Vec<HostProgram>,
    /// Dependencies that the user declared for debs, e.g. `libpq5`.
    pub declared_deb: Vec<String>,
    /// Dependencies that the user declared for rpms, e.g. `libpq`.
    pub declared_rpm: Vec<String>,
    /// The package's declared relations to other packages.
    pub relations: PackageRelations,
}

/// The package of a shared interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedRuntime {
    /// The name, which contains the minor version.
    pub package: String,
    /// The oldest version that works: the one that the release was built with.
    pub version: String,
}

/// A program of the host whose package has different names in Debian and in RPM distributions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostProgram {
    /// A daemon that reads `/etc/cron.d`.
    Cron,
    /// logrotate(8).
    Logrotate,
    /// git(1).
    Git,
    /// gpg(1).
    Gpg,
    /// pdftoppm(1) and the other tools of Poppler.
    Poppler,
}

/// Libraries and programs that distributions load or start at run time although none of their files
/// names them: shared libraries through ctypes, and programs that they start.
const LOADED: [(&str, &[&str], Option<HostProgram>); 6] = [
    ("python-magic", &["libmagic.so.1"], None),
    ("cairocffi", &["libcairo.so.2"], None),
    ("weasyprint", &["libpango-1.0.so.0"], None),
    ("gitpython", &[], Some(HostProgram::Git)),
    ("python-gnupg", &[], Some(HostProgram::Gpg)),
    ("pdf2image", &[], Some(HostProgram::Poppler)),
];

/// Returns the libraries and the program of the host that a distribution needs at run time.
/// `distribution` is its normalized name.
pub fn loaded_by(distribution: &str) -> (Vec<HostLibrary>, Option<HostProgram>) {
    let Some((name, sonames, program)) = LOADED.iter().find(|(name, ..)| *name == distribution)
    else {
        return (Vec::new(), None);
    };
    let library = |soname: &&str| HostLibrary {
        soname: (*soname).to_owned(),
        is_64: true,
        versions: Vec::new(),
        needed_by: (*name).to_owned(),
    };
    (sonames.iter().map(library).collect(), *program)
}

impl HostProgram {
    /// Returns the relation for a `Depends` field (deb-control(5)).
    pub fn deb(self) -> &'static str {
        match self {
            Self::Cron => "cron | cron-daemon",
            Self::Logrotate => "logrotate",
            Self::Git => "git",
            Self::Gpg => "gpg | gnupg",
            Self::Poppler => "poppler-utils",
        }
    }

    /// Returns the dependency for a `Requires` tag (RPM manual, “Dependencies”).
    pub fn rpm(self) -> &'static str {
        match self {
            // The names in Red Hat's distributions and in SUSE's.
            Self::Cron => "(cronie or cron)",
            Self::Logrotate => "logrotate",
            Self::Git => "git-core",
            Self::Gpg => "(gnupg2 or gpg2)",
            Self::Poppler => "(poppler-utils or poppler-tools)",
        }
    }
}

/// A shared library of the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostLibrary {
    /// The soname, e.g. `libc.so.6`.
    pub soname: String,
    /// Whether the library is for a 64-bit architecture.
    pub is_64: bool,
    /// Symbol versions, sorted, e.g. `GLIBC_2.17`, `GLIBC_2.28`.
    pub versions: Vec<String>,
    /// A file that needs the library, for messages.
    pub needed_by: String,
}

/// The requirements of a release's compiled code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElfScan {
    /// The architecture that the release runs on: [`Arch::Any`] for a release without compiled
    /// code.
    pub arch: Arch,
    /// Shared libraries that the release does not contain, sorted by soname. Each has the highest
    /// version of each family of symbol versions (`GLIBC`, `GLIBCXX`, …), which implies the lower
    /// ones.
    pub libraries: Vec<HostLibrary>,
    /// The file that needs each of those versions.
    pub floors: Vec<SymbolFloor>,
}

/// A symbol version that the host's library must have, and the file that needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymbolFloor {
    /// The soname, e.g. `libc.so.6`.
    pub soname: String,
    /// The symbol version, e.g. `GLIBC_2.28`.
    pub version: String,
    /// The file that needs the version: distribution or layer, and path.
    pub file: String,
}

/// The dynamic linker and the kernel's vDSO: every host that can run the files has them.
const ALWAYS_THERE: &[&str] = &["ld-linux", "ld64.so", "linux-vdso", "linux-gate"];

impl HostDependencies {
    /// Scans the compiled code of all layers.
    ///
    /// The release provides a library if any of its files has the needed name as its soname or file
    /// name: the libraries that wheels bundle have unique names (`libgfortran-040039e1.so.5.0.0`).
    ///
    /// Some files are ignored. Files for another architecture in a wheel for every platform
    /// (`-any.whl`) are data from which the distribution chooses at run time. Files for musl are
    /// ignored in any wheel: npm installs both kinds, and a process with glibc cannot load them.
    ///
    /// # Errors
    /// Files for an architecture that pkgapp does not support, or files for two architectures. The
    /// error names all of them.
    pub fn scan<'a>(layers: impl Iterator<Item = &'a Layer>) -> Result<ElfScan> {
        let files: Vec<BlamedFile<'_>> = layers.flat_map(blamed).collect();
        let arch = arch(&files)?;
        let counted: Vec<&BlamedFile<'_>> = files
            .iter()
            .filter(|file| {
                file.elf.machine == arch.as_str() && file.elf.is_64 && !is_for_musl(file.elf)
            })
            .collect();
        let own: HashSet<&str> = counted
            .iter()
            .flat_map(|file| [Some(file.elf.path.file_name()), file.elf.soname.as_deref()])
            .flatten()
            .collect();
        let mut needs = LibraryNeeds::default();
        for file in counted {
            needs.add(file, &own);
        }
        Ok(needs.finish(arch))
    }
}

/// An ELF file with the label that messages use for its layer.
struct BlamedFile<'a> {
    elf: &'a ElfFile,
    layer: &'a Layer,
    /// Whether the file comes from a wheel for one platform, or from the application itself.
    platform: bool,
}

impl BlamedFile<'_> {
    fn name(&self) -> String {
        format!("{}: {}", self.layer.label, self.elf.path)
    }
}

fn blamed(layer: &Layer) -> impl Iterator<Item = BlamedFile<'_>> {
    let any = layer
        .manifest
        .distribution
        .as_ref()
        .is_some_and(|wheel| wheel.wheel.ends_with("-any.whl"));
    layer.manifest.elf.iter().map(move |elf| BlamedFile {
        elf,
        layer,
        platform: !any,
    })
}

/// Returns the architecture of the files. Files from platform wheels decide; without such files,
/// all files do.
fn arch(files: &[BlamedFile<'_>]) -> Result<Arch> {
    let decisive: Vec<&BlamedFile<'_>> = files.iter().filter(|file| file.platform).collect();
    if decisive.is_empty() {
        // These files are data for several architectures, so the release runs on any of them.
        let mut known: Vec<Arch> = files
            .iter()
            .filter_map(|file| known_arch(file.elf))
            .collect();
        known.dedup();
        return Ok(if let [only] = known[..] {
            only
        } else {
            Arch::Any
        });
    }
    let mut errors = Vec::new();
    let mut first: Option<(Arch, &BlamedFile<'_>)> = None;
    for file in decisive {
        match (known_arch(file.elf), first) {
            (None, _) => errors.push(foreign(file)),
            (Some(arch), None) => first = Some((arch, file)),
            (Some(arch), Some((other, witness))) if arch != other => {
                errors.push(mixed(file, arch, witness, other));
            }
            (Some(_), Some(_)) => {}
        }
    }
    match (Error::all(errors), first) {
        (Some(error), _) => Err(error),
        (None, first) => Ok(first.map_or(Arch::Any, |(arch, _)| arch)),
    }
}

fn is_for_musl(elf: &ElfFile) -> bool {
    elf.needed.iter().any(|name| name.starts_with("libc.musl-"))
}

fn known_arch(elf: &ElfFile) -> Option<Arch> {
    match (elf.machine.as_str(), elf.is_64) {
        ("x86_64", true) => Some(Arch::X86_64),
        ("aarch64", true) => Some(Arch::Aarch64),
        _ => None,
    }
}

fn foreign(file: &BlamedFile<'_>) -> Error {
    let bits = if file.elf.is_64 { "64" } else { "32" };
    Error::new(format!(
        "`{}` is compiled for {} ({bits}-bit)",
        file.elf.path, file.elf.machine
    ))
    .cause_text(format!("{} has it", file.layer.label))
    .note("pkgapp builds packages for x86_64 and aarch64")
}

fn mixed(file: &BlamedFile<'_>, arch: Arch, witness: &BlamedFile<'_>, other: Arch) -> Error {
    Error::new("the release contains files for two architectures")
        .cause_text(format!(
            "`{}` of {} is for {other}",
            witness.elf.path, witness.layer.label
        ))
        .cause_text(format!(
            "`{}` of {} is for {arch}",
            file.elf.path, file.layer.label
        ))
}

/// Checks that compiled code is for the architecture of the build. `arch` is the result of
/// [`HostDependencies::scan`].
///
/// # Errors
/// Files for another architecture; the error names all of them.
pub fn check_machine<'a>(
    layers: impl Iterator<Item = &'a Layer>,
    arch: Arch,
    wanted: Arch,
) -> Result<()> {
    let files: Vec<BlamedFile<'_>> = layers.flat_map(blamed).collect();
    let mut strange: Vec<&BlamedFile<'_>> = files
        .iter()
        .filter(|file| file.platform && known_arch(file.elf).is_some_and(|arch| arch != wanted))
        .collect();
    if strange.is_empty() && !matches!(arch, Arch::Any) && arch != wanted {
        strange = files
            .iter()
            .filter(|file| known_arch(file.elf) == Some(arch))
            .collect();
    }
    let errors = strange.into_iter().map(|file| {
        Error::new(format!(
            "`{}` is compiled for {}, but the release is for {wanted}",
            file.elf.path, file.elf.machine
        ))
        .cause_text(format!("{} has it", file.layer.label))
    });
    Error::all(errors).map_or(Ok(()), Err)
}

/// The libraries that files need, collected file by file.
#[derive(Default)]
struct LibraryNeeds {
    /// The first file that needs each library, by soname.
    libraries: BTreeMap<String, String>,
    /// The highest version and the file that needs it, by soname and family.
    versions: BTreeMap<(String, String), (String, String)>,
}

impl LibraryNeeds {
    fn add(&mut self, file: &BlamedFile<'_>, own: &HashSet<&str>) {
        for needed in &file.elf.needed {
            // The dynamic linker opens a path as it is; its last component is the name that a
            // package would provide.
            let soname = needed.rsplit('/').next().unwrap_or(needed);
            if own.contains(soname) || ALWAYS_THERE.iter().any(|start| soname.starts_with(start)) {
                continue;
            }
            self.libraries
                .entry(soname.to_owned())
                .or_insert_with(|| file.name());
        }
        for (soname, version) in &file.elf.versions {
            if !self.libraries.contains_key(soname) {
                continue;
            }
            let key = (soname.clone(), family(version).to_owned());
            let higher = self
                .versions
                .get(&key)
                .is_none_or(|(known, _)| numbers(known) < numbers(version));
            if higher {
                self.versions.insert(key, (version.clone(), file.name()));
            }
        }
    }

    fn finish(self, arch: Arch) -> ElfScan {
        let Self {
            libraries,
            versions,
        } = self;
        let libraries = libraries
            .into_iter()
            .map(|(soname, needed_by)| {
                let of_this = versions
                    .iter()
                    .filter(|((library, _), _)| *library == soname);
                let versions = of_this.map(|(_, (version, _))| version.clone()).collect();
                HostLibrary {
                    soname,
                    is_64: true,
                    versions,
                    needed_by,
                }
            })
            .collect();
        let floors = versions
            .into_iter()
            .map(|((soname, _), (version, file))| SymbolFloor {
                soname,
                version,
                file,
            })
            .collect();
        ElfScan {
            arch,
            libraries,
            floors,
        }
    }
}

/// Returns the part of a symbol version that all versions of a library share: `GLIBC` of
/// `GLIBC_2.28`.
fn family(version: &str) -> &str {
    match version.rsplit_once('_') {
        Some((family, number)) if number.starts_with(|c: char| c.is_ascii_digit()) => family,
        _ => version,
    }
}

/// Returns the numbers in a symbol version, e.g. `[2, 28]` for `GLIBC_2.28`.
fn numbers(version: &str) -> Vec<u32> {
    version
        .rsplit('_')
        .next()
        .unwrap_or(version)
        .split('.')
        .map(|part| part.parse().unwrap_or(0))
        .collect()
}

/// Checks that a release runs on the declared targets.
///
/// `python` is the host's interpreter that the release was built for; `None` if it has its own.
///
/// # Errors
/// Every reason on every target, in one error each.
pub fn check_targets(
    scan: &ElfScan,
    python: Option<PythonMinor>,
    targets: &[&Target],
) -> Result<()> {
    let errors = targets.iter().flat_map(|target| {
        let missing = python
            .filter(|python| !target.offers(*python))
            .map(|python| python_missing(python, target));
        missing.into_iter().chain(
            scan.floors
                .iter()
                .filter_map(|floor| too_old(floor, target)),
        )
    });
    Error::all(errors).map_or(Ok(()), Err)
}

fn python_missing(python: PythonMinor, target: &Target) -> Error {
    let error = Error::new(format!("`{}` has no Python {python}", target.name))
        .note(format!("its repositories have {}", target.offered()));
    error.hint(
        "set another `version` or `interpreter = \"bundled\"` below `[python]`, or remove \
                the target",
    )
}

fn too_old(floor: &SymbolFloor, target: &Target) -> Option<Error> {
    let wanted = numbers(&floor.version);
    let (name, has) = match family(&floor.version) {
        "GLIBC" => (
            "glibc",
            vec![u32::from(target.glibc.0), u32::from(target.glibc.1)],
        ),
        "GLIBCXX" => ("libstdc++", vec![3, 4, u32::from(target.glibcxx)]),
        _ => return None,
    };
    if wanted <= has {
        return None;
    }
    let has: Vec<String> = has.iter().map(u32::to_string).collect();
    let shown = if name == "glibc" {
        format!("glibc {}", has.join("."))
    } else {
        format!("GLIBCXX_{}", has.join("."))
    };
    let error = Error::new(format!(
        "the release does not run on `{}`, which has {shown}",
        target.name
    ))
    .cause_text(format!("{} needs {}", floor.file, floor.version));
    let able: Vec<&str> = TARGETS
        .iter()
        .filter(|other| satisfies(other, name, &wanted))
        .map(|other| other.name)
        .collect();
    let error = if able.is_empty() {
        error
    } else {
        error.note(format!("it would run on {}", able.join(", ")))
    };
    Some(error.hint(
        "pin a version with a wheel for an older manylinux, build it on the oldest target, or \
         remove the target",
    ))
}

fn satisfies(target: &Target, library: &str, wanted: &[u32]) -> bool {
    match library {
        "glibc" => wanted <= &[u32::from(target.glibc.0), u32::from(target.glibc.1)][..],
        _ => wanted <= &[3, 4, u32::from(target.glibcxx)][..],
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::layer::{Distribution, LayerManifest};
    use pkgapp_core::path::ReleasePath;
    use pkgapp_core::target::by_name;

    fn elf(path: &str, machine: &str, needed: &[&str], versions: &[(&str, &str)]) -> ElfFile {
        ElfFile {
            path: ReleasePath::parse(path).unwrap(),
            machine: machine.into(),
            is_64: machine != "i386",
            soname: None,
            needed: needed.iter().map(|&name| name.into()).collect(),
            runpath: vec![],
            versions: versions
                .iter()
                .map(|&(library, version)| (library.into(), version.into()))
                .collect(),
        }
    }

    fn layer(name: &str, wheel: &str, elf: Vec<ElfFile>) -> Layer {
        let distribution = Distribution {
            name: name.into(),
            version: "1.0".into(),
            requires: vec![],
            requires_python: None,
            extras: vec![],
            scripts: vec![],
            top_level: vec![],
            license: None,
            wheel: wheel.into(),
            sha256: String::new(),
            from: String::new(),
            built_here: false,
        };
        Layer {
            key: name.into(),
            label: format!("distribution `{name} 1.0`"),
            place: crate::layer::LayerDirectory::new(
                PathBuf::new(),
                crate::layer::Storage::Together,
            ),
            manifest: LayerManifest {
                elf,
                distribution: Some(distribution),
                ..LayerManifest::default()
            },
        }
    }

    const PLATFORM: &str = "x-1.0-cp311-cp311-manylinux_2_28_x86_64.whl";
    const ANY: &str = "x-1.0-py3-none-any.whl";

    #[test]
    fn needed_is_what_the_release_does_not_hold_with_the_highest_versions() {
        let mut bundled = elf(
            "lib/a.libs/libfoo-1234.so.1.0",
            "x86_64",
            &["libc.so.6"],
            &[("libc.so.6", "GLIBC_2.9")],
        );
        bundled.soname = Some("libfoo-1234.so.1".into());
        let layers = [
            layer(
                "a",
                PLATFORM,
                vec![
                    elf(
                        "lib/a.so",
                        "x86_64",
                        &[
                            "libfoo-1234.so.1",
                            "libstdc++.so.6",
                            "libc.so.6",
                            "ld-linux-x86-64.so.2",
                        ],
                        &[
                            ("ld-linux-x86-64.so.2", "GLIBC_2.3"),
                            ("libc.so.6", "GLIBC_2.2.5"),
                            ("libc.so.6", "GLIBC_2.17"),
                            ("libfoo-1234.so.1", "FOO_9"),
                            ("libstdc++.so.6", "CXXABI_1.3.9"),
                            ("libstdc++.so.6", "GLIBCXX_3.4.9"),
                            ("libstdc++.so.6", "GLIBCXX_3.4.21"),
                        ],
                    ),
                    bundled,
                ],
            ),
            layer(
                "b",
                PLATFORM,
                vec![elf(
                    "lib/b.so",
                    "x86_64",
                    &["libc.so.6"],
                    &[("libc.so.6", "GLIBC_2.28")],
                )],
            ),
        ];
        let scan = HostDependencies::scan(layers.iter()).unwrap();
        let library = |soname: &str, versions: &[&str]| HostLibrary {
            soname: soname.into(),
            is_64: true,
            versions: versions.iter().map(|&version| version.into()).collect(),
            needed_by: "distribution `a 1.0`: lib/a.so".into(),
        };
        assert_eq!(scan.arch, Arch::X86_64);
        assert_eq!(
            scan.libraries,
            [
                library("libc.so.6", &["GLIBC_2.28"]),
                library("libstdc++.so.6", &["CXXABI_1.3.9", "GLIBCXX_3.4.21"])
            ]
        );
        assert_eq!(scan.floors[0].file, "distribution `b 1.0`: lib/b.so");
    }

    #[test]
    fn a_release_without_compiled_code_runs_everywhere() {
        let layers = [layer("a", ANY, vec![])];
        let scan = HostDependencies::scan(layers.iter()).unwrap();
        assert_eq!(
            scan,
            ElfScan {
                arch: Arch::Any,
                libraries: vec![],
                floors: vec![]
            }
        );
    }

    #[test]
    fn what_is_made_for_musl_asks_for_no_package() {
        let files = vec![
            elf(
                "lib/watcher-musl.node",
                "x86_64",
                &["libstdc++.so.6", "libc.musl-x86_64.so.1"],
                &[],
            ),
            elf(
                "lib/watcher.node",
                "x86_64",
                &["libc.so.6"],
                &[("libc.so.6", "GLIBC_2.17")],
            ),
        ];
        let scan = HostDependencies::scan([layer("a", ANY, files)].iter()).unwrap();
        let libraries: Vec<&str> = scan
            .libraries
            .iter()
            .map(|library| library.soname.as_str())
            .collect();
        assert_eq!((scan.arch, libraries), (Arch::X86_64, vec!["libc.so.6"]));
    }

    #[test]
    fn files_for_two_machines_are_refused_and_named() {
        let layers = [
            layer("a", PLATFORM, vec![elf("lib/a.so", "x86_64", &[], &[])]),
            layer(
                "b",
                PLATFORM,
                vec![
                    elf("lib/b.so", "aarch64", &[], &[]),
                    elf("lib/c.so", "i386", &[], &[]),
                ],
            ),
        ];
        assert_eq!(
            HostDependencies::scan(layers.iter())
                .unwrap_err()
                .to_string(),
            "error: the release contains files for two architectures\n  cause: `lib/a.so` of \
             distribution `a 1.0` is for x86_64\n  cause: `lib/b.so` of distribution `b 1.0` is \
             for aarch64\nerror: `lib/c.so` is compiled for i386 (32-bit)\n  cause: distribution \
             `b 1.0` has it\n  note: pkgapp builds packages for x86_64 and aarch64"
        );
    }

    #[test]
    fn a_wheel_for_every_platform_may_carry_files_for_other_machines() {
        let debugger = || {
            vec![
                elf("lib/attach_x86.so", "i386", &["libnobody.so"], &[]),
                elf("lib/attach.so", "x86_64", &[], &[]),
            ]
        };
        let alone = [layer("a", ANY, debugger())];
        assert_eq!(
            HostDependencies::scan(alone.iter()).unwrap().arch,
            Arch::X86_64
        );
        let beside = [
            layer("a", ANY, debugger()),
            layer("b", PLATFORM, vec![elf("lib/b.so", "aarch64", &[], &[])]),
        ];
        let scan = HostDependencies::scan(beside.iter()).unwrap();
        assert_eq!((scan.arch, scan.libraries.len()), (Arch::Aarch64, 0));
    }

    #[test]
    fn every_target_that_is_too_old_is_named_with_the_file() {
        let versions = [
            ("libc.so.6", "GLIBC_2.34"),
            ("libstdc++.so.6", "GLIBCXX_3.4.29"),
        ];
        let needs = vec![elf(
            "lib/a.so",
            "x86_64",
            &["libc.so.6", "libstdc++.so.6"],
            &versions,
        )];
        let layers = [layer("a", PLATFORM, needs)];
        let scan = HostDependencies::scan(layers.iter()).unwrap();
        let targets = ["el8", "el9", "debian11", "debian12"].map(|name| by_name(name).unwrap());
        let python = PythonMinor {
            major: 3,
            minor: 11,
        };
        assert_eq!(
            check_targets(&scan, Some(python), &targets[1..2]).map_err(|e| e.to_string()),
            Ok(())
        );
        let error = check_targets(&scan, Some(python), &targets).unwrap_err();
        let messages: Vec<&str> = std::iter::once(&error)
            .chain(error.others())
            .map(Error::message)
            .collect();
        assert_eq!(
            messages,
            [
                "the release does not run on `el8`, which has glibc 2.28",
                "the release does not run on `el8`, which has GLIBCXX_3.4.25",
                "`debian11` has no Python 3.11",
                "the release does not run on `debian11`, which has glibc 2.31",
                "the release does not run on `debian11`, which has GLIBCXX_3.4.28",
            ]
        );
        assert!(
            error
                .to_string()
                .contains("cause: distribution `a 1.0`: lib/a.so needs GLIBC_2.34\n")
        );
        assert_eq!(
            check_targets(&scan, None, &targets[3..]).map_err(|e| e.to_string()),
            Ok(())
        );
    }
}
