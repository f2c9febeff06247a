//! Chooses and fetches build requirements, from the places and by the rules of pins. The tool that
//! runs the build gets a directory of wheels and no index: it can neither ask the wrong index nor
//! leak credentials.
//!
//! Sets of build requirements are small, so a plain search suffices: the newest version that
//! matches, with backtracking to an older one when something else excludes it.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::str::FromStr;

use pkgapp_pypa::LenientRequirement;
use pkgapp_pypa::{Requirement, VersionOrUrl};

use super::Wheel;
use super::choice::FileRequest;
use super::fetch::{build, check_record};
use super::find::{Fetcher, PinResolution};
use super::index::FileOffer;
use super::sdist::WheelBuilder;
use pkgapp_core::error::{Error, Location, Result, shown};
use pkgapp_core::fs;
use pkgapp_lock::{Lock, LockSelection, Pin, PinSource};
use pkgapp_pypa::{
    Environment, ExtraName, HashAlgorithm, HashDigest, PackageName, VerbatimParsedUrl, Version,
};

/// The number of wheels that a search inspects before it gives up.
const MOST_TRIED: u32 = 200;

type RequiredNeeds = Requirement<VerbatimParsedUrl>;

/// The versions and hashes that files require of build requirements.
#[derive(Debug, Default)]
pub(super) struct Constraints {
    files: Vec<PathBuf>,
    lines: Vec<(RequiredNeeds, Vec<HashDigest>)>,
}

impl Constraints {
    /// Reads constraints files, like pip.
    ///
    /// # Errors
    /// Fails on a line that is not a requirement, or includes another file, and on a weak hash.
    pub(super) fn read(files: Vec<PathBuf>) -> Result<Self> {
        let mut lines = Vec::new();
        for file in &files {
            let text = fs::read_to_string(file)?.replace("\\\n", " ");
            for (number, line) in text.lines().enumerate() {
                let line = line.split(" #").next().unwrap_or(line).trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let at = || Location {
                    file: file.clone(),
                    position: Some((number + 1, 1)),
                };
                lines.push(constraint(line).map_err(|error| error.at(at()))?);
            }
        }
        Ok(Self { files, lines })
    }

    fn of<'c>(
        &'c self,
        name: &'c PackageName,
    ) -> impl Iterator<Item = &'c (RequiredNeeds, Vec<HashDigest>)> {
        self.lines
            .iter()
            .filter(move |(requirement, _)| requirement.name == *name)
    }

    fn allow(&self, name: &PackageName, version: &Version, environment: &Environment) -> bool {
        self.of(name)
            .all(|(one, _)| !one.evaluate_markers(&environment.markers, &[]) || takes(one, version))
    }

    /// Returns the hashes of a distribution; if one line has hashes, all build requirements need
    /// them.
    fn hashes(&self, name: &PackageName) -> Result<Vec<HashDigest>> {
        let hashes: Vec<HashDigest> = self
            .of(name)
            .flat_map(|(_, hashes)| hashes.clone())
            .collect();
        if hashes.is_empty() && self.lines.iter().any(|(_, hashes)| !hashes.is_empty()) {
            let files = self
                .files
                .iter()
                .map(|file| format!("`{}`", shown(file)))
                .collect::<Vec<_>>()
                .join(", ");
            return Err(
                Error::new(format!("build requirement `{name}` has no hash in {files}"))
                    .note("if one constraint has hashes, all build requirements need them")
                    .hint(format!("add `{name}==VERSION --hash=sha256:…`")),
            );
        }
        Ok(hashes)
    }
}

/// Reads `name<2 --hash=sha256:…`.
fn constraint(line: &str) -> Result<(RequiredNeeds, Vec<HashDigest>)> {
    let mut parts = line.split(" --hash");
    let text = parts.next().unwrap_or_default().trim();
    if text.starts_with('-') {
        return Err(
            Error::new(format!("`{text}` is not a constraint for builds"))
                .hint("write one requirement per line, with its hashes"),
        );
    }
    let requirement = parsed(text)?;
    let hashes = parts
        .map(|hash| {
            let hash = hash.trim_start_matches(['=', ' ']).trim();
            let known = HashDigest::from_str(hash).ok();
            known
                .filter(|hash| {
                    !matches!(hash.algorithm, HashAlgorithm::Md5 | HashAlgorithm::Blake2b)
                })
                .ok_or_else(|| {
                    Error::new(format!("`{hash}` is not a strong hash"))
                        .hint("use sha256, sha384, or sha512")
                })
        })
        .collect::<Result<_>>()?;
    Ok((requirement, hashes))
}

fn parsed(text: &str) -> Result<RequiredNeeds> {
    LenientRequirement::<VerbatimParsedUrl>::from_str(text)
        .map(RequiredNeeds::from)
        .map_err(|error| {
            Error::new(format!("`{text}` is not a requirement"))
                .cause_text(error.message.to_string())
        })
}

/// Returns whether a requirement accepts a version; a URL selects a file, not a version.
fn takes(requirement: &RequiredNeeds, version: &Version) -> bool {
    match &requirement.version_or_url {
        Some(VersionOrUrl::VersionSpecifier(versions)) => versions.contains(version),
        Some(VersionOrUrl::Url(_)) | None => true,
    }
}

/// A requirement, and the distribution that has it.
#[derive(Debug, Clone)]
struct NeedRequest {
    requirement: RequiredNeeds,
    by: String,
}

impl NeedRequest {
    fn shown(&self) -> String {
        format!("`{}` for {}", self.requirement, self.by)
    }
}

/// Returns the first requirement that excludes a chosen version. Distributions that require each
/// other would otherwise be found out only after all choices in between.
fn contradiction<'a, 'v>(
    asks: &'a [NeedRequest],
    version_of: impl Fn(&PackageName) -> Option<&'v Version>,
) -> Option<(&'a NeedRequest, &'v Version)> {
    asks.iter().find_map(|ask| {
        let version = version_of(&ask.requirement.name)?;
        (!takes(&ask.requirement, version)).then_some((ask, version))
    })
}

fn exclusion(ask: &NeedRequest, version: &Version) -> Error {
    let name = &ask.requirement.name;
    Error::new(format!("{} excludes `{name} {version}`", ask.shown()))
}

/// A chosen wheel, and its requested extras.
#[derive(Debug, Clone)]
struct PickedWheel {
    wheel: Wheel,
    extras: BTreeSet<ExtraName>,
}

type ChosenNeeds = BTreeMap<PackageName, PickedWheel>;

/// The search for build requirements.
pub(super) struct NeedSearch<'a> {
    /// Its lock has places, but no pins.
    pub(super) fetcher: &'a Fetcher<'a>,
    /// The environment of the interpreter that builds.
    pub(super) environment: &'a Environment,
    pub(super) constraints: &'a Constraints,
    /// Builds distributions without wheels.
    pub(super) builder: &'a WheelBuilder<'a>,
    pub(super) tried: Cell<u32>,
    /// The first conflict.
    pub(super) conflict: RefCell<Option<Error>>,
}

impl NeedSearch<'_> {
    /// Returns wheels that satisfy all these requirements and those of the wheels themselves,
    /// sorted by name.
    ///
    /// # Errors
    /// Fails if there are none, or if they cannot be fetched.
    pub(super) fn all(&self, requires: &[String]) -> Result<Vec<Wheel>> {
        let by = "the build";
        let asks = requires.iter().map(|text| {
            Ok(NeedRequest {
                requirement: parsed(text)?,
                by: by.to_owned(),
            })
        });
        let asks: VecDeque<NeedRequest> = asks.collect::<Result<_>>()?;
        let asks = asks.into_iter().filter(|ask| {
            ask.requirement
                .evaluate_markers(&self.environment.markers, &[])
        });
        match self.solve(asks.collect(), ChosenNeeds::new())? {
            Some(chosen) => Ok(chosen.into_values().map(|picked| picked.wheel).collect()),
            None => Err(self
                .conflict
                .take()
                .unwrap_or_else(|| Error::bug("a search for build requirements ended early"))),
        }
    }

    fn solve(
        &self,
        mut asks: VecDeque<NeedRequest>,
        mut chosen: ChosenNeeds,
    ) -> Result<Option<ChosenNeeds>> {
        while let Some(ask) = asks.pop_front() {
            let name = ask.requirement.name.clone();
            let Some(picked) = chosen.get_mut(&name) else {
                return self.choose(&ask, &asks, &chosen);
            };
            let version = &picked.wheel.metadata.version;
            if !takes(&ask.requirement, version) {
                self.note(exclusion(&ask, version));
                return Ok(None);
            }
            let before = picked.extras.len();
            picked.extras.extend(ask.requirement.extras.iter().cloned());
            if picked.extras.len() > before {
                asks.extend(self.asks_of(picked)?);
            }
        }
        Ok(Some(chosen))
    }

    /// Tries all versions of a requirement.
    fn choose(
        &self,
        ask: &NeedRequest,
        asks: &VecDeque<NeedRequest>,
        chosen: &ChosenNeeds,
    ) -> Result<Option<ChosenNeeds>> {
        let name = &ask.requirement.name;
        let all: Vec<&NeedRequest> = std::iter::once(ask)
            .chain(asks.iter().filter(|other| other.requirement.name == *name))
            .collect();
        for pin in self.pins(name, &all)? {
            self.tried.set(self.tried.get() + 1);
            if self.tried.get() > MOST_TRIED {
                let conflict = self
                    .conflict
                    .take()
                    .map(|error| error.one_line())
                    .unwrap_or_default();
                return Err(Error::new(format!(
                    "no compatible set of build requirements among {MOST_TRIED} wheels"
                ))
                .note(conflict)
                .hint("pin build requirements with `[build] constraints`"));
            }
            let picked = PickedWheel {
                wheel: self.wheel(&pin)?,
                extras: ask.requirement.extras.iter().cloned().collect(),
            };
            let own = self.asks_of(&picked)?;
            let version_of = |name: &PackageName| Some(&chosen.get(name)?.wheel.metadata.version);
            if let Some((ask, version)) = contradiction(&own, version_of) {
                self.note(exclusion(ask, version));
                continue;
            }
            let mut asks = asks.clone();
            asks.extend(own);
            let mut chosen = chosen.clone();
            chosen.insert(name.clone(), picked);
            if let Some(found) = self.solve(asks, chosen)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Records a conflict, if it is the first.
    fn note(&self, error: Error) {
        self.conflict.borrow_mut().get_or_insert(error);
    }

    /// Returns the requirements of a wheel.
    fn asks_of(&self, picked: &PickedWheel) -> Result<Vec<NeedRequest>> {
        let metadata = &picked.wheel.metadata;
        let extras: Vec<ExtraName> = picked.extras.iter().cloned().collect();
        let by = format!("`{} {}`", metadata.name, metadata.version);
        let asks = metadata.requires.iter().map(|text| {
            Ok(NeedRequest {
                requirement: parsed(text)?,
                by: by.clone(),
            })
        });
        let asks = asks.collect::<Result<Vec<_>>>()?;
        Ok(asks
            .into_iter()
            .filter(|ask| {
                ask.requirement
                    .evaluate_markers(&self.environment.markers, &extras)
            })
            .collect())
    }

    /// Returns the pins that satisfy all requirements on a distribution, best first.
    fn pins(&self, name: &PackageName, asks: &[&NeedRequest]) -> Result<Vec<Pin>> {
        if let Some(pin) = self.direct(asks)? {
            return Ok(vec![pin]);
        }
        let pin = self.open_pin(name)?;
        let accepts = |version: &Version| {
            asks.iter().all(|ask| takes(&ask.requirement, version))
                && self.constraints.allow(name, version, self.environment)
        };
        let pinned = |version| Pin {
            version: Some(version),
            ..pin.clone()
        };
        let mut seen = BTreeSet::new();
        let client = self.fetcher.store.client()?;
        for place in self.fetcher.lock.indexes.places(name) {
            let offers = client.offers(&place, name)?;
            let knows = !offers.is_empty();
            seen.extend(offers.iter().map(|offer| offer.dist.version().clone()));
            let versions = self.versions(&pin, offers, asks, &accepts);
            if !versions.is_empty() {
                return Ok(versions.into_iter().map(pinned).collect());
            }
            // As for pins, the first index that knows a name decides.
            if knows && place.is_index() && pin.hashes.is_empty() {
                break;
            }
        }
        self.note(self.nothing_fits(name, asks, &seen));
        Ok(Vec::new())
    }

    /// Returns a pin of a distribution without a version, with the hashes of the constraints.
    fn open_pin(&self, name: &PackageName) -> Result<Pin> {
        let at = self
            .constraints
            .files
            .first()
            .map_or_else(|| Location::file("pyproject.toml"), Location::file);
        Ok(Pin {
            name: name.clone(),
            version: None,
            extras: Vec::new(),
            source: PinSource::Index,
            hashes: self.constraints.hashes(name)?,
            at,
        })
    }

    /// Returns the error that no version of a distribution satisfies the requirements; `seen` are
    /// all versions.
    fn nothing_fits(
        &self,
        name: &PackageName,
        asks: &[&NeedRequest],
        seen: &BTreeSet<Version>,
    ) -> Error {
        let asked: Vec<String> = asks.iter().map(|ask| ask.shown()).collect();
        let error = Error::new(format!(
            "no version of `{name}` satisfies the build requirements: {}",
            asked.join(", ")
        ));
        let newest: Vec<String> = seen.iter().rev().take(3).map(ToString::to_string).collect();
        let error = if newest.is_empty() {
            error
        } else {
            error.note(format!("the latest versions are {}", newest.join(", ")))
        };
        error.hint(if self.fetcher.store.offline {
            "the build requirements are not on this machine; run it once without `--offline`"
        } else {
            "`[python.sources]` selects its index, and `[build] constraints` its version"
        })
    }

    /// Returns the accepted versions of a place, newest first; pre-releases and yanked files (PEP
    /// 592) only if there is nothing else.
    fn versions(
        &self,
        pin: &Pin,
        offers: Vec<FileOffer>,
        asks: &[&NeedRequest],
        accepts: &dyn Fn(&Version) -> bool,
    ) -> Vec<Version> {
        let indexes = &self.fetcher.lock.indexes;
        let wanted = FileRequest {
            pin,
            environment: self.environment,
            indexes,
            require_hashes: false,
        };
        let (fit, _) = wanted.sort(offers);
        let wants_early = asks
            .iter()
            .any(|ask| match &ask.requirement.version_or_url {
                Some(VersionOrUrl::VersionSpecifier(versions)) => versions
                    .iter()
                    .any(pkgapp_pypa::VersionSpecifier::any_prerelease),
                _ => false,
            });
        let fit = fit.iter().filter(|offer| accepts(offer.dist.version()));
        let ranked: BTreeSet<(bool, bool, Reverse<Version>)> = fit
            .map(|offer| {
                let version = offer.dist.version().clone();
                (
                    offer.yanked.is_some(),
                    version.any_prerelease() && !wants_early,
                    Reverse(version),
                )
            })
            .collect();
        let best = ranked.first().map(|(yanked, early, _)| (*yanked, *early));
        ranked
            .into_iter()
            .filter(|(yanked, early, _)| Some((*yanked, *early)) == best)
            .map(|(_, _, one)| one.0)
            .collect()
    }

    /// Returns the pin of a requirement with a URL.
    fn direct(&self, asks: &[&NeedRequest]) -> Result<Option<Pin>> {
        let is_direct = |ask: &&&NeedRequest| {
            matches!(ask.requirement.version_or_url, Some(VersionOrUrl::Url(_)))
        };
        let Some(ask) = asks.iter().find(is_direct) else {
            return Ok(None);
        };
        let aside = self.fetcher.store.cache.temporary()?;
        let file = aside.path().join("requirements.txt");
        fs::write_atomically(&file, |out| {
            use std::io::Write as _;
            writeln!(out, "{}", ask.requirement)
                .map_err(|error| Error::new("cannot write a requirement").cause(error))
        })?;
        let offline = self.fetcher.store.offline;
        let lock = Lock::read(
            &[file],
            aside.path(),
            self.environment,
            offline,
            &LockSelection::default(),
        )?;
        Ok(lock.pins.into_iter().next())
    }

    fn wheel(&self, pin: &Pin) -> Result<Wheel> {
        let wheel = match self.fetcher.find(pin)? {
            PinResolution::Wheel(wheel) => *wheel,
            PinResolution::Source(source) => build(
                pin,
                &source,
                self.builder,
                self.fetcher.lock,
                self.environment,
            )?,
        };
        check_record(&wheel, self.builder.rules())?;
        Ok(wheel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requirement_may_exclude_what_is_chosen() {
        let asks = ["rich", "poetry>=1", "poetry>=2.1,<3"].map(|text| NeedRequest {
            requirement: parsed(text).unwrap(),
            by: "`plugin 1.10`".to_owned(),
        });
        let (one, two) = (Version::new([1, 8, 5]), Version::new([2, 1]));
        let found = |version| {
            contradiction(&asks, |name| (name.as_str() == "poetry").then_some(version))
                .map(|(ask, version)| exclusion(ask, version).one_line())
        };
        assert_eq!(
            found(&one).as_deref(),
            Some("`poetry>=2.1,<3` for `plugin 1.10` excludes `poetry 1.8.5`")
        );
        assert_eq!(found(&two), None);
    }

    #[test]
    fn constraints_are_read_as_pip_does() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("build.txt");
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        std::fs::write(
            &file,
            format!(
                "# tools\nCython<3 # not yet\nsetuptools==80.9.0 \\\n    --hash=sha256:{sum}\n"
            ),
        )
        .unwrap();
        let constraints = Constraints::read(vec![file.clone()]).unwrap();
        let name = |text: &str| text.parse::<PackageName>().unwrap();
        assert_eq!(
            constraints.hashes(&name("setuptools")).unwrap()[0].to_string(),
            format!("sha256:{sum}")
        );
        assert!(
            constraints.hashes(&name("cython")).is_err()
                && constraints.hashes(&name("wheel")).is_err()
        );
        for bad in [
            "-r other.txt",
            "a==1 --hash=md5:900150983cd24fb0d6963f7d28e17f72",
            "a=1",
        ] {
            std::fs::write(&file, bad).unwrap();
            assert!(Constraints::read(vec![file.clone()]).is_err(), "{bad}");
        }
    }
}
