//! What the files say, and what pins follow from it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::index::{PYPI, PlaceId};
use crate::text::{TextFile, TextOrigin};
use crate::{
    EditableInstall, FORMATS, Indexes, Lock, LockSelection, NameSet, Pin, PinSource, Url, hash,
};
use pkgapp_config::NamedIndex;
use pkgapp_core::error::{Error, Location, Result};
use pkgapp_pypa::{
    Environment, ExtraName, GroupName, HashDigest, MarkerEnvironment, MarkerTree, PackageName,
    Version, VersionSpecifiers,
};

/// Most errors that are shown: a file that is no list of requirements is wrong in every line.
const MOST_ERRORS: usize = 100;

/// Values that are shorter are not taken for secrets, in bytes.
const SHORTEST_SECRET: usize = 5;

/// Everything that the files of an application say, while they are read.
pub(super) struct LockDraft<'a> {
    pub(super) root: &'a Path,
    pub(super) env: &'a Environment,
    patch_range: [MarkerEnvironment; 2],
    pub(super) offline: bool,
    pub(super) selection: &'a LockSelection,
    /// Returns an environment variable that is set and not empty.
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
    pub(super) indexes: Indexes,
    /// Where `--index-url` was given last.
    pub(super) index_at: Option<Location>,
    pub(super) warnings: Vec<String>,
    /// See [`Lock::editable`].
    pub(super) editable: Option<EditableInstall>,
    required: Vec<HeldRequirement>,
    /// Names that one file has two entries of, when that was found, and where they are.
    listed_twice: Vec<(PackageName, usize, Location, Location)>,
    constraints: Vec<HeldRequirement>,
    /// Why every pin needs a hash, as a note for people.
    hashes_because: Option<String>,
    files: Vec<PathBuf>,
    open: Vec<TextOrigin>,
    errors: Vec<(usize, Error)>,
    sequence: usize,
    /// Variables that files name, and their values, which may be secrets.
    variables: Vec<(String, String)>,
    /// The groups and extras of the locks that say which they have; `None` if none does.
    known: Option<(BTreeSet<GroupName>, BTreeSet<ExtraName>)>,
    /// A lock was made for one selection, and does not say which.
    is_selected: bool,
}

/// One requirement that holds in the environment.
#[derive(Debug, Clone)]
pub(super) struct HeldRequirement {
    pub(super) name: PackageName,
    pub(super) extras: Vec<ExtraName>,
    pub(super) wanted: RequestedVersion,
    pub(super) hashes: Vec<HashDigest>,
    /// That `hashes` is empty is no mistake: they are inside `wanted`, or the format lets it have
    /// none, or it has been said that they are wrong.
    pub(super) may_lack_hashes: bool,
    /// Where it begins.
    pub(super) at: Location,
    /// Where its version is, or would be.
    pub(super) version_at: Location,
    /// As it stands in the file, without secrets.
    pub(super) shown: String,
    /// Its place among all that was read.
    pub(super) order: usize,
}

/// What a requirement asks for.
#[derive(Debug, Clone)]
pub(super) enum RequestedVersion {
    /// Versions from an index.
    Versions(VersionSpecifiers),
    /// These very files, whose version is known if their names say it.
    Source(PinSource, Option<Version>),
}

impl<'a> LockDraft<'a> {
    pub(super) fn new(
        root: &'a Path,
        env: &'a Environment,
        offline: bool,
        selection: &'a LockSelection,
        variable: &'a dyn Fn(&str) -> Option<String>,
    ) -> Self {
        Self {
            root,
            env,
            patch_range: env.patch_range(),
            offline,
            selection,
            variable,
            indexes: Indexes {
                named: selection.indexes.clone(),
                sources: selection.sources.clone(),
                wheelhouses: selection.wheelhouses.clone(),
                ..Indexes::default()
            },
            index_at: None,
            warnings: Vec::new(),
            editable: None,
            required: Vec::new(),
            listed_twice: Vec::new(),
            constraints: Vec::new(),
            hashes_because: selection
                .require_hashes
                .as_ref()
                .map(|at| format!("`require-hashes` is set at {at}")),
            files: Vec::new(),
            open: Vec::new(),
            errors: Vec::new(),
            sequence: 0,
            variables: Vec::new(),
            known: None,
            is_selected: false,
        }
    }

    /// Returns the directory of the application's project.
    pub(super) fn project(&self) -> &Path {
        self.selection.project.as_deref().unwrap_or(self.root)
    }

    /// Notes which groups and extras a lock has.
    pub(super) fn knows(
        &mut self,
        groups: impl IntoIterator<Item = GroupName>,
        extras: impl IntoIterator<Item = ExtraName>,
    ) {
        let known = self.known.get_or_insert_default();
        known.0.extend(groups);
        known.1.extend(extras);
    }

    /// Notes that a lock has what was selected when it was made, and nothing else.
    pub(super) fn is_selected(&mut self) {
        self.is_selected = true;
    }

    /// Returns the extras that are asked for.
    pub(super) fn extras(&self) -> Vec<ExtraName> {
        self.selection
            .extras
            .iter()
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Adds an index that a lock names, unless it is one of those that are asked anyway.
    pub(super) fn look_also(&mut self, url: &str, at: &Location) -> Result<()> {
        let parsed = index_url(url, at)?;
        if !self.is_asked(&parsed) {
            self.indexes.extra.push(parsed);
        }
        Ok(())
    }

    /// Takes an index that a lock names for PyPI's place, unless a file that was read before has
    /// put another one there.
    pub(super) fn look_instead(&mut self, url: &str, at: &Location) -> Result<()> {
        let parsed = index_url(url, at)?;
        if !self.is_asked(&parsed) && self.indexes.index.is_none() {
            self.indexes.index = Some(parsed);
            return Ok(());
        }
        self.look_also(url, at)
    }

    fn is_asked(&self, url: &Url) -> bool {
        let plain = |url: &Url| url.as_str().trim_end_matches('/').to_owned();
        let named = self.indexes.named.iter().map(|index| &index.url);
        let known = named
            .chain(&self.indexes.index)
            .chain(&self.indexes.extra)
            .any(|one| plain(one) == plain(url));
        known || (plain(url) == PYPI && self.indexes.index.is_none())
    }

    /// Notes that a lock takes a distribution from one index, which it calls `called`.
    pub(super) fn look_only(
        &mut self,
        name: &PackageName,
        called: &str,
        url: &str,
        at: &Location,
    ) -> Result<()> {
        let parsed = index_url(url, at)?;
        self.indexes.add_source(name, called, &parsed, at);
        Ok(())
    }

    /// Returns whether a group is asked for.
    pub(super) fn has_group(&self, name: &str) -> bool {
        name.parse::<GroupName>().is_ok_and(|name| {
            self.selection
                .groups
                .iter()
                .any(|(known, _)| *known == name)
        })
    }

    /// Takes the oldest patch release that the Python can be for the only one.
    pub(super) fn for_oldest_patch(self) -> Self {
        let oldest = self.env.oldest_patch();
        Self {
            patch_range: [oldest.clone(), oldest],
            ..self
        }
    }

    /// Returns the names that have two different pins.
    pub(super) fn pinned_twice(&self) -> BTreeSet<PackageName> {
        let mut by_name: BTreeMap<&PackageName, Vec<&HeldRequirement>> = BTreeMap::new();
        for requirement in &self.required {
            by_name
                .entry(&requirement.name)
                .or_default()
                .push(requirement);
        }
        let differ = |requirements: &[&HeldRequirement]| {
            let versions: BTreeSet<_> = requirements
                .iter()
                .filter_map(|one| one.version())
                .collect();
            versions.len() > 1
        };
        let pinned = by_name
            .into_iter()
            .filter(|(_, requirements)| differ(requirements))
            .map(|(name, _)| name);
        pinned
            .chain(self.listed_twice.iter().map(|(name, ..)| name))
            .cloned()
            .collect()
    }

    /// Takes the pins of some names from a draft of the same files for fewer patch releases, where
    /// it has them.
    pub(super) fn settle(&mut self, names: &BTreeSet<PackageName>, fewer: Self) {
        for name in names {
            let settled: Vec<_> = fewer
                .required
                .iter()
                .filter(|one| one.name == *name)
                .cloned()
                .collect();
            if !settled.is_empty() {
                self.required.retain(|one| one.name != *name);
                self.required.extend(settled);
                self.listed_twice.retain(|(other, ..)| other != name);
                self.listed_twice.extend(
                    fewer
                        .listed_twice
                        .iter()
                        .filter(|(other, ..)| other == name)
                        .cloned(),
                );
            }
        }
    }

    /// Notes a second entry of a name in a file that has one of each.
    pub(super) fn lists_twice(&mut self, name: &PackageName, first: &Location, second: &Location) {
        self.listed_twice
            .push((name.clone(), self.sequence, first.clone(), second.clone()));
    }

    /// Reads a file in whatever format it is.
    pub(super) fn read(&mut self, file: &TextFile) {
        if let Some(format) = FORMATS
            .iter()
            .find(|format| (format.recognizes)(file.name(), &file.text))
        {
            self.read_with(file, format.read);
        }
    }

    /// Reads a file with the reader that its includer has chosen.
    pub(super) fn read_with(&mut self, file: &TextFile, read: impl FnOnce(&mut Self, &TextFile)) {
        if !self.files.contains(&file.file) {
            self.files.push(file.file.clone());
        }
        self.open.push(file.place.clone());
        read(self, file);
        self.open.pop();
    }

    /// As [`LockDraft::read_with`], for a reader that returns something.
    pub(super) fn visit<T>(&mut self, file: &TextFile, read: impl FnOnce(&mut Self) -> T) -> T {
        if !self.files.contains(&file.file) {
            self.files.push(file.file.clone());
        }
        read(self)
    }

    /// Returns whether a file is being read, so that including it would never end.
    pub(super) fn is_open(&self, place: &TextOrigin) -> bool {
        self.open.contains(place)
    }

    /// Returns whether a marker holds in the environment. Where the patch release of Python is not
    /// known, it is enough that it holds with one: what ships and is not needed does no harm,
    /// what is needed and missing does.
    ///
    /// `groups` are those of a pylock.toml, which has markers of its own; `None` for other files.
    pub(super) fn holds(&self, marker: MarkerTree, groups: Option<&[GroupName]>) -> bool {
        match groups {
            Some(groups) => {
                let extras = self.extras();
                self.patch_range
                    .iter()
                    .any(|markers| marker.evaluate_pep751(markers, &extras, groups))
            }
            None => self.holds_with(marker, &[]),
        }
    }

    /// As [`LockDraft::holds`], with extras.
    pub(super) fn holds_with(&self, marker: MarkerTree, extras: &[ExtraName]) -> bool {
        self.patch_range
            .iter()
            .any(|markers| marker.evaluate(markers, extras))
    }

    /// Begins the next statement; errors are reported in the order of statements.
    pub(super) fn next_statement(&mut self) -> usize {
        self.sequence += 1;
        self.sequence
    }

    /// Notes what is wrong with the current statement.
    pub(super) fn fail(&mut self, error: Error) {
        self.errors.push((self.sequence, error));
    }

    /// Keeps the values of variables out of messages.
    pub(super) fn hide(&mut self, variables: &[(String, String)]) {
        // What is so short, or a version, is no secret; and to replace it in a message would only
        // confuse.
        let secret =
            |value: &str| value.len() >= SHORTEST_SECRET && value.parse::<Version>().is_err();
        self.indexes
            .variables
            .extend(variables.iter().map(|(name, _)| name.clone()));
        self.variables
            .extend(variables.iter().filter(|(_, value)| secret(value)).cloned());
    }

    /// Returns a text with the values of variables written as the files write them.
    pub(super) fn without_secrets(&self, text: &str) -> String {
        self.variables
            .iter()
            .fold(text.to_owned(), |text, (name, value)| {
                text.replace(value, &format!("${{{name}}}"))
            })
    }

    pub(super) fn require(&mut self, requirement: HeldRequirement) {
        self.required.push(requirement);
    }

    pub(super) fn constrain(&mut self, constraint: HeldRequirement) {
        self.constraints.push(constraint);
    }

    /// Demands hashes of every pin; `why` is a note.
    pub(super) fn require_hashes(&mut self, why: impl FnOnce() -> String) {
        if self.hashes_because.is_none() {
            self.hashes_because = Some(why());
        }
    }

    /// Makes the lock, or the one error that holds all that is wrong.
    pub(super) fn finish(mut self) -> Result<Lock> {
        let mut by_name: BTreeMap<PackageName, Vec<HeldRequirement>> = BTreeMap::new();
        for requirement in std::mem::take(&mut self.required) {
            by_name
                .entry(requirement.name.clone())
                .or_default()
                .push(requirement);
        }
        for (name, order, first, second) in std::mem::take(&mut self.listed_twice) {
            let error =
                Error::new(format!("`{name}` is listed twice for one environment")).at(second);
            let error = error.note(format!("the other entry is at {first}"));
            self.errors.push((
                order,
                error.hint("give them markers that never hold together, or lock again"),
            ));
            // That is all that is to be said of it.
            by_name.remove(&name);
        }
        let mut pins = Vec::new();
        for (name, requirements) in by_name {
            let constraints: Vec<_> = self
                .constraints
                .iter()
                .filter(|known| known.name == name)
                .cloned()
                .collect();
            match pin(&requirements, &constraints) {
                Ok(pin) => pins.push((requirements, pin)),
                Err(errors) => self.errors.extend(errors),
            }
        }
        self.check_hashes(&pins);
        self.warn_of_default();
        self.check_selection();
        let offered = self.offered(&pins);
        let mut errors = std::mem::take(&mut self.errors);
        errors.sort_by_key(|(order, _)| *order);
        let more = errors.len().saturating_sub(MOST_ERRORS);
        let hide = |text: &str| self.without_secrets(text);
        if let Some(error) = Error::all(
            errors
                .into_iter()
                .take(MOST_ERRORS)
                .map(|(_, error)| error.map_text(&hide)),
        ) {
            return Err(if more == 0 {
                error
            } else {
                error.note(format!("{more} more errors are not shown"))
            });
        }
        Ok(Lock {
            pins: pins.into_iter().map(|(_, pin)| pin).collect(),
            indexes: self.indexes,
            require_hashes: self.hashes_because.is_some(),
            files: self.files,
            warnings: self.warnings,
            editable: self.editable,
            offered,
        })
    }

    /// The configuration's default index goes before a file's.
    fn warn_of_default(&mut self) {
        if let (PlaceId::Named(default), Some(at)) = (self.indexes.default_place(), &self.index_at)
        {
            let NamedIndex {
                name, at: stronger, ..
            } = &self.indexes.named[default];
            self.warnings.push(format!(
                "`--index-url` has no effect: `{name}` is the default index by {stronger} ({at})"
            ));
        }
    }

    /// Makes pins of the constraints that no requirement needs. What is wrong with one matters only
    /// if it ships.
    fn offered(&self, pins: &[(Vec<HeldRequirement>, Pin)]) -> Vec<Pin> {
        let mut by_name: BTreeMap<&PackageName, Vec<HeldRequirement>> = BTreeMap::new();
        for constraint in &self.constraints {
            if pins
                .binary_search_by(|(_, pin)| pin.name.cmp(&constraint.name))
                .is_err()
            {
                by_name
                    .entry(&constraint.name)
                    .or_default()
                    .push(constraint.clone());
            }
        }
        let offered = by_name
            .into_values()
            .filter_map(|constraints| pin(&constraints, &[]).ok());
        offered
            .filter(|pin| self.hashes_because.is_none() || !pin.hashes.is_empty())
            .collect()
    }

    /// Refuses groups and extras that no lock has.
    fn check_selection(&mut self) {
        if self.is_selected {
            return;
        }
        let (groups, extras) = match &self.known {
            Some((groups, extras)) => (groups, Some(extras)),
            None => (&BTreeSet::new(), None),
        };
        let mut errors = Vec::new();
        for (name, at) in &self.selection.groups {
            if !groups.contains(name) {
                errors.push(unknown("group", name, at, groups));
            }
        }
        for (name, at) in &self.selection.extras {
            // The project says its extras itself where no lock does.
            if let Some(extras) = extras.filter(|extras| !extras.contains(name)) {
                errors.push(unknown("extra", name, at, extras));
            }
        }
        self.errors
            .extend(errors.into_iter().map(|error| (0, error)));
    }

    /// With hashes, every pin must have them, and a directory can have none (pip's hash-checking
    /// mode).
    fn check_hashes(&mut self, pins: &[(Vec<HeldRequirement>, Pin)]) {
        let Some(why) = &self.hashes_because else {
            return;
        };
        let mut bare: Vec<(&HeldRequirement, &Pin)> = pins
            .iter()
            .filter(|(requirements, pin)| {
                pin.hashes.is_empty() && !requirements.iter().any(|one| one.may_lack_hashes)
            })
            .filter_map(|(requirements, pin)| Some((requirements.first()?, pin)))
            .collect();
        bare.sort_by_key(|(requirement, _)| requirement.order);
        let Some((first, _)) = bare.first() else {
            return;
        };
        let mut error = Error::new(format!(
            "{} of {} pins have no hash",
            bare.len(),
            pins.len()
        ))
        .at(first.at.clone());
        if bare.len() == 1 {
            error = Error::new(format!("`{}` has no hash", first.shown)).at(first.at.clone());
        } else {
            for (requirement, _) in &bare {
                error = error.note(format!("`{}` at {}", requirement.shown, requirement.at));
            }
        }
        error = error.note(format!("{why}, and then every pin needs a hash"));
        let directory = bare
            .iter()
            .any(|(_, pin)| matches!(pin.source, PinSource::Directory(_)));
        error = error.hint(if directory {
            "a directory can't have a hash; build a wheel of it (`pip wheel --no-deps`), and pin that with its hash"
        } else {
            "`uv pip compile --generate-hashes` and `pip-compile --generate-hashes` write them"
        });
        self.errors.push((first.order, error));
    }

    /// `--only-binary` and `--no-binary`, as pip's `FormatControl.handle_mutual_excludes`.
    pub(super) fn set_formats(&mut self, option: BinaryOption, value: Vec<DistributionKind>) {
        let (target, other) = match option {
            BinaryOption::OnlyBinary => {
                (&mut self.indexes.only_binary, &mut self.indexes.no_binary)
            }
            BinaryOption::NoBinary => (&mut self.indexes.no_binary, &mut self.indexes.only_binary),
        };
        let last_all = value
            .iter()
            .rposition(|name| *name == DistributionKind::All);
        if last_all.is_some() {
            *target = NameSet::All;
            *other = NameSet::None;
            if !value.contains(&DistributionKind::None) {
                return;
            }
        }
        for name in value.into_iter().skip(last_all.map_or(0, |at| at + 1)) {
            match name {
                DistributionKind::All => {}
                DistributionKind::None => *target = NameSet::None,
                DistributionKind::These(name) => {
                    if let NameSet::These(others) = other {
                        others.retain(|known| *known != name);
                    }
                    match target {
                        NameSet::All => {}
                        NameSet::None => *target = NameSet::These(vec![name]),
                        NameSet::These(names) if names.contains(&name) => {}
                        NameSet::These(names) => names.push(name),
                    }
                }
            }
        }
    }
}

/// Which of the two options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BinaryOption {
    OnlyBinary,
    NoBinary,
}

/// One item of `--only-binary` or `--no-binary`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DistributionKind {
    All,
    None,
    These(PackageName),
}

type Ordered = Vec<(usize, Error)>;

/// Makes the pin of one name, or says why there is none.
fn pin(requirements: &[HeldRequirement], constraints: &[HeldRequirement]) -> Result<Pin, Ordered> {
    let (source, decided_by) = source_of(requirements, constraints)?;
    let version = match source {
        Some(RequestedVersion::Source(_, Some(version))) => Some(version.clone()),
        _ => requirements
            .iter()
            .chain(constraints)
            .find_map(HeldRequirement::exact),
    };
    check_versions(version.as_ref(), decided_by, requirements, constraints)?;
    let hashes = hashes_of(requirements, constraints)?;
    let first = &requirements[0];
    let mut extras: Vec<_> = requirements
        .iter()
        .flat_map(|one| one.extras.iter().cloned())
        .collect();
    extras.sort();
    extras.dedup();
    let source = match source {
        Some(RequestedVersion::Source(source, _)) => source.clone(),
        _ => PinSource::Index,
    };
    Ok(Pin {
        name: first.name.clone(),
        version,
        extras,
        source,
        hashes,
        at: decided_by.at.clone(),
    })
}

/// Finds the requirement or constraint that says exactly what ships: a file, else one version.
fn source_of<'a>(
    requirements: &'a [HeldRequirement],
    constraints: &'a [HeldRequirement],
) -> Result<(Option<&'a RequestedVersion>, &'a HeldRequirement), Ordered> {
    let mut sources = requirements
        .iter()
        .chain(constraints)
        .filter(|one| matches!(one.wanted, RequestedVersion::Source(..)));
    if let Some(first) = sources.next() {
        return match sources.find(|other| !same_source(&first.wanted, &other.wanted)) {
            Some(other) => Err(vec![(other.order, pinned_twice(first, other))]),
            None => Ok((Some(&first.wanted), first)),
        };
    }
    match requirements
        .iter()
        .chain(constraints)
        .find(|one| one.exact().is_some())
    {
        Some(exact) => Ok((None, exact)),
        None => Err(vec![(requirements[0].order, not_pinned(&requirements[0]))]),
    }
}

/// Checks every other version specifier of the name against the pin.
fn check_versions(
    version: Option<&Version>,
    pinned: &HeldRequirement,
    requirements: &[HeldRequirement],
    constraints: &[HeldRequirement],
) -> Result<(), Ordered> {
    let Some(version) = version else {
        return Ok(());
    };
    let mut errors = Vec::new();
    for (one, constraint) in requirements
        .iter()
        .map(|one| (one, false))
        .chain(constraints.iter().map(|one| (one, true)))
    {
        let RequestedVersion::Versions(specifiers) = &one.wanted else {
            continue;
        };
        if specifiers.contains(version) {
            continue;
        }
        let error = if one.order == pinned.order {
            Error::new(format!("no version is both of `{}`", one.shown)).at(one.version_at.clone())
        } else if one.exact().is_some() && !constraint {
            pinned_twice(pinned, one)
        } else {
            let what = if constraint {
                "the constraint"
            } else {
                "the requirement"
            };
            Error::new(format!(
                "`{}` is pinned to {version}, which {what} `{}` excludes",
                one.name, one.shown
            ))
            .at(one.version_at.clone())
            .note(format!("the pin is `{}` at {}", pinned.shown, pinned.at))
        };
        errors.push((one.order, error));
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

/// A file must match what every line about it accepts, as in pip.
fn hashes_of(
    requirements: &[HeldRequirement],
    constraints: &[HeldRequirement],
) -> Result<Vec<HashDigest>, Ordered> {
    let mut hashes: Vec<HashDigest> = Vec::new();
    let mut given_by: Option<&HeldRequirement> = None;
    for one in requirements
        .iter()
        .chain(constraints)
        .filter(|one| !one.hashes.is_empty())
    {
        let Some(common) = hash::both(&hashes, &one.hashes) else {
            let other = given_by.map_or_else(String::new, |known| known.at.to_string());
            let error = Error::new(format!("no file can match the hashes of `{}`", one.shown))
                .at(one.at.clone())
                .note(format!("the hashes at {other} are all different ones"))
                .hint("generate both files anew, from the same files of the index");
            return Err(vec![(one.order, error)]);
        };
        hashes = common;
        given_by = given_by.or(Some(one));
    }
    hashes.sort();
    hashes.dedup();
    Ok(hashes)
}

impl HeldRequirement {
    /// Returns the version that it asks for, if it is one alone.
    fn version(&self) -> Option<Version> {
        match &self.wanted {
            RequestedVersion::Source(_, version) => version.clone(),
            RequestedVersion::Versions(_) => self.exact(),
        }
    }

    /// Returns the version if `==` or `===` names one, without a wildcard.
    fn exact(&self) -> Option<Version> {
        use pkgapp_pypa::Operator;

        let RequestedVersion::Versions(specifiers) = &self.wanted else {
            return None;
        };
        let exact =
            |operator: &Operator| matches!(operator, Operator::Equal | Operator::ExactEqual);
        specifiers
            .iter()
            .find(|one| exact(one.operator()))
            .map(|one| one.version().clone())
    }
}

fn unknown<T: ToString + Ord>(what: &str, name: &T, at: &Location, known: &BTreeSet<T>) -> Error {
    let error = Error::new(format!("no lock has the {what} `{}`", name.to_string())).at(at.clone());
    let names: Vec<_> = known
        .iter()
        .map(|name| format!("`{}`", name.to_string()))
        .collect();
    if names.is_empty() {
        error.note(format!(
            "the files of `[python] requirements` say of no {what} what belongs to it"
        ))
    } else {
        error.hint(format!("there is {}", names.join(", ")))
    }
}

fn pinned_twice(first: &HeldRequirement, other: &HeldRequirement) -> Error {
    Error::new(format!(
        "`{}` is pinned twice: `{}` and `{}`",
        first.name, first.shown, other.shown
    ))
    .at(other.version_at.clone())
    .note(format!("the other pin is at {}", first.at))
    .hint("keep one of them, or give them markers that never hold together")
}

fn not_pinned(requirement: &HeldRequirement) -> Error {
    use pkgapp_pypa::Operator;

    let error = Error::new(format!("requirement `{}` is not pinned", requirement.shown))
        .at(requirement.version_at.clone());
    let RequestedVersion::Versions(specifiers) = &requirement.wanted else {
        return error;
    };
    let name = &requirement.name;
    let way_out = match specifiers
        .iter()
        .next()
        .map(|one| (one.operator(), one.version()))
    {
        Some((Operator::EqualStar, version)) => {
            format!("`=={version}.*` allows many versions; write `{name}==` and the whole version")
        }
        _ => format!("write `{name}==` and the version that shall ship"),
    };
    error.hint(format!(
        "{way_out}, or run `pkgapp lock`, which finds one and pins all that is missing"
    ))
}

fn same_source(one: &RequestedVersion, other: &RequestedVersion) -> bool {
    let (RequestedVersion::Source(one, _), RequestedVersion::Source(other, _)) = (one, other)
    else {
        return false;
    };
    one == other
}

fn index_url(text: &str, at: &Location) -> Result<Url> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https" | "file") => Ok(url),
        _ => {
            Err(Error::new("the URL of an index is not an http, https or file URL").at(at.clone()))
        }
    }
}
