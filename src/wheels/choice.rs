//! The choice among the files of a distribution, with the reason against each of the others.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use pkgapp_pypa::{BuildTag, DistFilename, SourceDistExtension, SourceDistFilename};
use pkgapp_pypa::{IncompatibleTag, TagCompatibility, TagPriority};

use super::index::{FileOffer, nearby};
use pkgapp_core::error::{Error, Location};
use pkgapp_lock::{Indexes, Pin};
use pkgapp_pypa::egg::is_egg;
use pkgapp_pypa::{Environment, HashAlgorithm, HashDigest, Version, WheelFilename};

/// The maximum number of files that an error lists.
const SHOWN_FILES: usize = 25;

/// The requirements for a file that satisfies a pin.
#[derive(Debug, Clone, Copy)]
pub struct FileRequest<'a> {
    /// The pin.
    pub pin: &'a Pin,
    /// The environment in which it must run.
    pub environment: &'a Environment,
    /// `--only-binary` and `--no-binary`.
    pub indexes: &'a Indexes,
    /// Whether files without an accepted hash are excluded.
    pub require_hashes: bool,
}

/// A file that does not match.
#[derive(Debug, Clone)]
pub struct UnfitFile {
    /// Its name.
    pub file: String,
    /// The reason.
    pub why: Misfit,
}

/// The reason why a file does not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misfit {
    /// The wheel needs a newer glibc than that of the release's targets.
    Glibc(u16, u16),
    /// Only the hash of the file, given here, is wrong.
    Hash(Option<HashDigest>),
    /// `--only-binary` or `--no-binary`.
    Policy(&'static str),
    /// The file is for other Pythons, given here.
    Python(String),
    /// Anything else.
    Other(String),
}

impl Misfit {
    fn text(&self) -> String {
        match self {
            Self::Glibc(major, minor) => format!("needs glibc {major}.{minor}"),
            Self::Hash(Some(hash)) => {
                format!("has the hash {hash}, which the lock does not accept")
            }
            Self::Hash(None) => "has no hash that the lock accepts".to_owned(),
            Self::Policy(option) => format!("is excluded by `{option}`"),
            Self::Python(wanted) => format!("needs Python {wanted}"),
            Self::Other(why) => why.clone(),
        }
    }
}

impl FileRequest<'_> {
    /// Returns whether a version satisfies the pin: `1.0` is also satisfied by `1.0+cpu` (PEP 440,
    /// version matching).
    pub fn is_version(&self, version: &Version) -> bool {
        match &self.pin.version {
            None => true,
            Some(wanted) => {
                wanted == version
                    || (!wanted.is_local() && version.clone().without_local() == *wanted)
            }
        }
    }

    /// Returns whether hashes decide which files are candidates.
    pub fn is_hashed(&self) -> bool {
        self.require_hashes || !self.pin.hashes.is_empty()
    }

    /// Sorts the files of the pinned version into those that match, best first in pip's order, and
    /// the others.
    pub fn sort(&self, offers: Vec<FileOffer>) -> (Vec<FileOffer>, Vec<UnfitFile>) {
        let mut fit = Vec::new();
        let mut unfit = Vec::new();
        let of_this = |offer: &FileOffer| {
            *offer.dist.name() == self.pin.name && self.is_version(offer.dist.version())
        };
        let offers: Vec<FileOffer> = offers.into_iter().filter(of_this).collect();
        // A distribution with wheels for some platforms contains compiled code for all: its sdist
        // would be compiled for the build machine.
        let is_platform = |offer: &FileOffer| matches!(&offer.dist, DistFilename::WheelFilename(wheel) if is_compiled(wheel));
        let compiled = !self.environment.native && offers.iter().any(is_platform);
        for offer in offers {
            match self.rank(&offer, compiled) {
                Ok(rank) => fit.push((rank, offer)),
                Err(why) => unfit.push(UnfitFile {
                    file: offer.file,
                    why,
                }),
            }
        }
        fit.sort_by(|(a, left), (b, right)| b.cmp(a).then_with(|| left.file.cmp(&right.file)));
        (fit.into_iter().map(|(_, offer)| offer).collect(), unfit)
    }

    fn rank(&self, offer: &FileOffer, compiled: bool) -> Result<FileRank, Misfit> {
        let (tags, build) = match &offer.dist {
            DistFilename::WheelFilename(wheel) => (
                Some(self.wheel_tags(wheel, offer)?),
                wheel.build_tag().cloned(),
            ),
            DistFilename::SourceDistFilename(sdist) => {
                self.check_sdist(sdist, compiled)?;
                (None, None)
            }
        };
        let python = &self.environment.markers.python_full_version().version;
        if let Some(requires) = &offer.requires_python
            && !requires.contains(python)
        {
            return Err(Misfit::Python(requires.to_string()));
        }
        if self.is_hashed() && offer.directory().is_some() {
            return Err(Misfit::Other(
                "is a directory, which has no hash".to_owned(),
            ));
        }
        let hash_known = self.accepts(&offer.hashes)?;
        let exact = self
            .pin
            .version
            .as_ref()
            .is_none_or(|wanted| wanted == offer.dist.version());
        Ok(FileRank {
            hash_known,
            not_yanked: offer.yanked.is_none(),
            exact,
            kind: kind(offer),
            tags,
            build,
            extension: Reverse(extension(offer)),
        })
    }

    fn wheel_tags(&self, wheel: &WheelFilename, offer: &FileOffer) -> Result<TagPriority, Misfit> {
        if self.indexes.no_binary.contains(&self.pin.name) {
            return Err(Misfit::Policy("--no-binary"));
        }
        self.tags(wheel).map_err(|why| match why {
            Misfit::Other(why) if is_egg(&offer.file) => {
                Misfit::Other(format!("is an egg and {why}"))
            }
            why => why,
        })
    }

    fn check_sdist(&self, sdist: &SourceDistFilename, compiled: bool) -> Result<(), Misfit> {
        if self.indexes.only_binary.contains(&self.pin.name) {
            return Err(Misfit::Policy("--only-binary"));
        }
        if compiled && !self.indexes.no_binary.contains(&self.pin.name) {
            let arch = self.environment.arch;
            return Err(Misfit::Other(format!(
                "contains code that this machine cannot compile for {arch}"
            )));
        }
        if !super::unpack::is_readable(sdist.extension) {
            return Err(Misfit::Other(format!(
                "is a `.{}`, which pkgapp does not support",
                sdist.extension
            )));
        }
        Ok(())
    }

    fn tags(&self, wheel: &WheelFilename) -> Result<TagPriority, Misfit> {
        match wheel.compatibility(&self.environment.tags) {
            TagCompatibility::Compatible(priority) => Ok(priority),
            TagCompatibility::Incompatible(why) => Err(self.incompatible(wheel, why)),
        }
    }

    fn incompatible(&self, wheel: &WheelFilename, why: IncompatibleTag) -> Misfit {
        let list = |tags: Vec<String>| format!("`{}`", tags.join("`, `"));
        match why {
            IncompatibleTag::Platform => self.other_platform(wheel),
            IncompatibleTag::Python => {
                let tags = list(
                    wheel
                        .python_tags()
                        .iter()
                        .map(ToString::to_string)
                        .collect(),
                );
                Misfit::Other(format!("is for Python tag {tags}"))
            }
            _ => {
                let tags = list(wheel.abi_tags().iter().map(ToString::to_string).collect());
                Misfit::Other(format!("is for ABI {tags}"))
            }
        }
    }

    fn other_platform(&self, wheel: &WheelFilename) -> Misfit {
        let tags: Vec<String> = wheel
            .platform_tags()
            .iter()
            .map(ToString::to_string)
            .collect();
        let mut needs: Vec<(u16, u16)> = tags
            .iter()
            .filter_map(|tag| glibc_of(tag, self.environment.arch.as_str()))
            .collect();
        needs.sort_unstable();
        match needs.first() {
            Some(&(major, minor)) => Misfit::Glibc(major, minor),
            None => Misfit::Other(format!("is for `{}`", tags.join("`, `"))),
        }
    }

    /// Returns whether a file's hashes are accepted; `false` if that is unknown before the file is
    /// read.
    fn accepts(&self, offered: &[HashDigest]) -> Result<bool, Misfit> {
        let accepted = &self.pin.hashes;
        if accepted.is_empty() {
            return if self.require_hashes {
                Err(Misfit::Hash(strongest(offered)))
            } else {
                Ok(true)
            };
        }
        if offered.iter().any(|hash| accepted.contains(hash)) {
            return Ok(true);
        }
        let comparable = offered.iter().any(|hash| {
            accepted
                .iter()
                .any(|known| known.algorithm == hash.algorithm)
        });
        if comparable {
            Err(Misfit::Hash(strongest(offered)))
        } else {
            Ok(false)
        }
    }
}

/// Returns whether a wheel is made for a particular platform.
pub fn is_compiled(wheel: &WheelFilename) -> bool {
    !wheel
        .platform_tags()
        .iter()
        .all(|tag| tag.to_string() == "any")
}

/// The rank of a file, the best being the greatest: pip's order of candidates, except that a
/// version spelled as in the pin precedes one with a local part.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct FileRank {
    hash_known: bool,
    not_yanked: bool,
    exact: bool,
    kind: FileKind,
    tags: Option<TagPriority>,
    build: Option<BuildTag>,
    extension: Reverse<u8>,
}

/// Kinds of files, the best being the greatest: an egg needs no build, and a wheel no conversion.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum FileKind {
    Sdist,
    Egg,
    Wheel,
}

fn kind(offer: &FileOffer) -> FileKind {
    match &offer.dist {
        DistFilename::SourceDistFilename(_) => FileKind::Sdist,
        DistFilename::WheelFilename(_) if is_egg(&offer.file) => FileKind::Egg,
        DistFilename::WheelFilename(_) => FileKind::Wheel,
    }
}

/// Sdists are `.tar.gz` (PEP 625); older projects have a `.zip` as well.
fn extension(offer: &FileOffer) -> u8 {
    match &offer.dist {
        DistFilename::SourceDistFilename(sdist) => {
            u8::from(sdist.extension != SourceDistExtension::TarGz)
        }
        DistFilename::WheelFilename(_) => 0,
    }
}

fn strongest(hashes: &[HashDigest]) -> Option<HashDigest> {
    let order = |hash: &&HashDigest| match hash.algorithm {
        HashAlgorithm::Sha256 => 3,
        HashAlgorithm::Sha512 => 2,
        HashAlgorithm::Sha384 => 1,
        HashAlgorithm::Blake2b | HashAlgorithm::Md5 => 0,
    };
    hashes
        .iter()
        .max_by_key(order)
        .filter(|hash| order(hash) > 0)
        .cloned()
}

/// Returns the glibc of a manylinux tag for an architecture (PEP 513, 571, 599, 600).
fn glibc_of(tag: &str, arch: &str) -> Option<(u16, u16)> {
    let rest = tag
        .strip_suffix(arch)?
        .strip_suffix('_')?
        .strip_prefix("manylinux")?;
    match rest {
        "1" => Some((2, 5)),
        "2010" => Some((2, 12)),
        "2014" => Some((2, 17)),
        _ => {
            let (major, minor) = rest.strip_prefix('_')?.split_once('_')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        }
    }
}

/// The results of an unsuccessful search for a pin.
#[derive(Debug, Default)]
pub struct FailedSearch {
    /// Files of the pinned version that do not match.
    pub unfit: Vec<UnfitFile>,
    /// All versions that are available.
    pub versions: BTreeSet<Version>,
    /// The places that were searched.
    pub places: Vec<String>,
    /// Whether the last of them knows the name.
    pub knows: bool,
    /// The index that knows the name and so decided, and the next one, which was not searched.
    pub decided: Option<(String, String)>,
}

impl FailedSearch {
    /// Returns the error of a search that found nothing: the requirements, the existing files, and
    /// a hint.
    pub fn error(mut self, wanted: &FileRequest<'_>) -> Error {
        let pin = wanted.pin;
        let label = label(pin);
        if self.unfit.is_empty() {
            return self.missing(wanted, &label);
        }
        let Environment {
            python,
            arch,
            glibc,
            ..
        } = wanted.environment;
        self.unfit.sort_by(|a, b| a.file.cmp(&b.file));
        let mut list = String::from("these files exist");
        for UnfitFile { file, why } in self.unfit.iter().take(SHOWN_FILES) {
            _ = write!(list, "\n`{file}` {}", why.text());
        }
        if self.unfit.len() > SHOWN_FILES {
            _ = write!(list, "\nand {} more", self.unfit.len() - SHOWN_FILES);
        }
        let error = Error::new(format!(
            "no file of `{label}` is compatible with CPython {python} on {arch} with glibc {}.{}",
            glibc.0, glibc.1
        ))
        .at(pin.at.clone())
        .note(list);
        match self.way_out(wanted).or_else(|| self.way_on(wanted)) {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    /// Adds how to search further than the index that decided.
    fn way_on(&self, wanted: &FileRequest<'_>) -> Option<String> {
        let (index, next) = self.decided.as_ref()?;
        let name = &wanted.pin.name;
        Some(format!(
            "{index} knows `{name}`, so {next} was not asked; if it comes from there, say so below `[python.sources]`, or \
             pin its hash"
        ))
    }

    fn missing(self, wanted: &FileRequest<'_>, label: &str) -> Error {
        let places = if self.places.is_empty() {
            "there is no place to search: `--no-index` is given without `--find-links`".to_owned()
        } else {
            format!("searched {}", self.places.join(", "))
        };
        let pin = wanted.pin;
        let version = match &pin.version {
            Some(version) if !self.versions.is_empty() => version,
            _ => {
                let error = Error::new(format!("`{label}` was not found"))
                    .at(pin.at.clone())
                    .note(places);
                // The name is unknown: it is misspelled, or in a private index.
                return if self.versions.is_empty() && !wanted.indexes.no_index {
                    error.hint(format!("check the spelling of `{}`; if it is in a private index, add that with `--extra-index-url`", pin.name))
                } else {
                    error
                };
            }
        };
        let way_on = self.way_on(wanted);
        let near = nearby(self.versions, version)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        let error = Error::new(format!("`{label}` does not exist"))
            .at(pin.at.clone())
            .note(places)
            .note(format!("nearby versions: {near}"));
        way_on.into_iter().fold(error, Error::hint)
    }

    /// Returns what would make one of the files match, if anything would.
    fn way_out(&self, wanted: &FileRequest<'_>) -> Option<String> {
        let whys = || self.unfit.iter().map(|unfit| &unfit.why);
        let hash = self.unfit.iter().find_map(|unfit| match &unfit.why {
            Misfit::Hash(Some(hash)) => Some(format!(
                "if you trust `{}`, add `--hash={hash}` to the pin",
                unfit.file
            )),
            _ => None,
        });
        let glibc = whys().filter_map(|why| match why {
            Misfit::Glibc(major, minor) => Some((*major, *minor)),
            _ => None,
        });
        let glibc = glibc.min().map(|(major, minor)| {
            format!("build only for targets with glibc {major}.{minor} or newer")
        });
        let policy = whys().find_map(|why| match why {
            Misfit::Policy(option) => Some(format!("remove `{}` from `{option}`", wanted.pin.name)),
            _ => None,
        });
        let python = whys().all(|why| matches!(why, Misfit::Python(_))).then(|| {
            format!(
                "set `version` in `[python]` to one that they support, or pin another version of `{}`",
                wanted.pin.name
            )
        });
        hash.or(glibc).or(policy).or(python)
    }
}

/// Returns the name of a pin in messages: `flask 3.1.3`.
pub fn label(pin: &Pin) -> String {
    match &pin.version {
        Some(version) => format!("{} {version}", pin.name),
        None => pin.name.to_string(),
    }
}

/// Returns the warning for a yanked file (PEP 592).
pub fn yanked_warning(pin: &Pin, file: &str, reason: &str) -> String {
    let at: &Location = &pin.at;
    match reason.trim() {
        "" => format!(
            "`{file}` was yanked by its maintainers, but is used because {at} pins it exactly"
        ),
        reason => {
            format!(
                "`{file}` was yanked by its maintainers ({reason}), but is used because {at} pins it exactly"
            )
        }
    }
}
