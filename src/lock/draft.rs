//! The statements of all files, and the pins that follow from them.

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

/// How many files may be included, however deep.
const MOST_INCLUDES: u32 = 1000;

/// The maximum number of errors that are shown: in a file that is not a list of requirements, every
/// line is an error.
const MOST_ERRORS: usize = 100;

/// Shorter values are not treated as secrets, in bytes.
const SHORTEST_SECRET: usize = 5;

/// The statements of all files of an application, collected while they are read.
pub(super) struct LockDraft<'a> {
    pub(super) root: &'a Path,
    pub(super) env: &'a Environment,
    patch_range: [MarkerEnvironment; 2],
    pub(super) offline: bool,
    pub(super) selection: &'a LockSelection,
    /// Returns an environment variable that is set and not empty.
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
    pub(super) indexes: Indexes,
    /// The place of the last `--index-url`.
    pub(super) index_at: Option<Location>,
    pub(super) warnings: Vec<String>,
    /// See [`Lock::editable`].
    pub(super) editable: Option<EditableInstall>,
    required: Vec<HeldRequirement>,
    /// Names that one file lists twice, with the order of the finding and the places of both
    /// entries.
    listed_twice: Vec<(PackageName, usize, Location, Location)>,
    constraints: Vec<HeldRequirement>,
    /// The reason why every pin needs a hash, as a note.
    hashes_because: Option<String>,
    files: Vec<PathBuf>,
    open: Vec<TextOrigin>,
    /// How many files have been included.
    includes: u32,
    errors: Vec<(usize, Error)>,
    sequence: usize,
    /// Variables that files name, with their values, which may be secrets.
    variables: Vec<(String, String)>,
    /// The groups and extras of the locks that declare them; `None` if no lock does.
    known: Option<(BTreeSet<GroupName>, BTreeSet<ExtraName>)>,
    /// Whether a lock was made for one selection without naming it.
    is_selected: bool,
}

/// A requirement whose marker holds in the environment.
#[derive(Debug, Clone)]
pub(super) struct HeldRequirement {
    pub(super) name: PackageName,
    pub(super) extras: Vec<ExtraName>,
    pub(super) wanted: RequestedVersion,
    pub(super) hashes: Vec<HashDigest>,
    /// Whether `hashes` may be empty: because the hashes are in `wanted`, because the format allows
    /// it, or because an error about them was reported.
    pub(super) may_lack_hashes: bool,
    /// The place of the requirement.
    pub(super) at: Location,
    /// The place of its version, or where a version would be.
    pub(super) version_at: Location,
    /// The text in the file, without secrets.
    pub(super) shown: String,
    /// Its position in the order of all statements.
    pub(super) order: usize,
}

/// The content of a requirement.
#[derive(Debug, Clone)]
pub(super) enum RequestedVersion {
    /// Versions from an index.
    Versions(VersionSpecifiers),
    /// Specific files, with their version if their names state it.
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
            includes: 0,
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

    /// Records the groups and extras of a lock.
    pub(super) fn knows(
        &mut self,
        groups: impl IntoIterator<Item = GroupName>,
        extras: impl IntoIterator<Item = ExtraName>,
    ) {
        let known = self.known.get_or_insert_default();
        known.0.extend(groups);
        known.1.extend(extras);
    }

    /// Records that a lock contains a selection made when it was written.
    pub(super) fn is_selected(&mut self) {
        self.is_selected = true;
    }

    /// Returns the selected extras.
    pub(super) fn extras(&self) -> Vec<ExtraName> {
        self.selection
            .extras
            .iter()
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Adds an index that a lock names, unless it is already in use.
    pub(super) fn look_also(&mut self, url: &str, at: &Location) -> Result<()> {
        let parsed = index_url(url, at)?;
        if !self.is_asked(&parsed) {
            self.indexes.extra.push(parsed);
        }
        Ok(())
    }

    /// Uses an index of a lock instead of PyPI, unless an earlier file has already replaced PyPI.
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

    /// Records that a lock takes a distribution only from one index, which it calls `called`.
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

    /// Returns whether a group is selected.
    pub(super) fn has_group(&self, name: &str) -> bool {
        name.parse::<GroupName>().is_ok_and(|name| {
            self.selection
                .groups
                .iter()
                .any(|(known, _)| *known == name)
        })
    }

    /// Assumes the oldest patch release that the Python can be.
    pub(super) fn for_oldest_patch(self) -> Self {
        let oldest = self.env.oldest_patch();
        Self {
            patch_range: [oldest.clone(), oldest],
            ..self
        }
    }

    /// Returns the names with two different pins.
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

    /// Replaces the pins of some names by those of a draft that read the same files for fewer patch
    /// releases, where that draft has them.
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

    /// Records a second entry of a name in a format that allows one.
    pub(super) fn lists_twice(&mut self, name: &PackageName, first: &Location, second: &Location) {
        self.listed_twice
            .push((name.clone(), self.sequence, first.clone(), second.clone()));
    }

    /// Reads a file in the format that recognizes it.
    pub(super) fn read(&mut self, file: &TextFile) {
        if let Some(format) = FORMATS
            .iter()
            .find(|format| (format.recognizes)(file.name(), &file.text))
        {
            self.read_with(file, format.read);
        }
    }

    /// Reads a file with the reader that its includer chose.
    pub(super) fn read_with(&mut self, file: &TextFile, read: impl FnOnce(&mut Self, &TextFile)) {
        if !self.files.contains(&file.file) {
            self.files.push(file.file.clone());
        }
        self.open.push(file.place.clone());
        read(self, file);
        self.open.pop();
    }

    /// Works like [`LockDraft::read_with`], for a reader that returns a value.
    pub(super) fn visit<T>(&mut self, file: &TextFile, read: impl FnOnce(&mut Self) -> T) -> T {
        if !self.files.contains(&file.file) {
            self.files.push(file.file.clone());
        }
        read(self)
    }

    /// Counts a file that another one includes.
    ///
    /// # Errors
    /// They are too many: files that include the next one twice double the work with each level.
    pub(super) fn count_include(&mut self) -> Result<()> {
        self.includes += 1;
        if self.includes <= MOST_INCLUDES {
            return Ok(());
        }
        Err(Error::new(format!(
            "more than {MOST_INCLUDES} files are included"
        )))
    }

    /// Returns whether a file is being read, so that including it would never end.
    pub(super) fn is_open(&self, place: &TextOrigin) -> bool {
        self.open.contains(place)
    }

    /// Returns whether a marker holds in the environment. If the patch release of Python is
    /// unknown, a marker that holds with any of them counts: an unneeded distribution does no harm,
    /// a missing one does.
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

    /// Works like [`LockDraft::holds`], with extras.
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

    /// Records an error of the current statement.
    pub(super) fn fail(&mut self, error: Error) {
        self.errors.push((self.sequence, error));
    }

    /// Keeps the values of variables out of messages.
    pub(super) fn hide(&mut self, variables: &[(String, String)]) {
        // Such a short text, or a version, is not a secret, and replacing it in a message would
        // only confuse.
        let secret =
            |value: &str| value.len() >= SHORTEST_SECRET && value.parse::<Version>().is_err();
        self.indexes
            .variables
            .extend(variables.iter().map(|(name, _)| name.clone()));
        self.variables
            .extend(variables.iter().filter(|(_, value)| secret(value)).cloned());
    }

    /// Returns a text with the values of variables replaced by their names.
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

    /// Requires a hash of every pin; `why` becomes a note.
    pub(super) fn require_hashes(&mut self, why: impl FnOnce() -> String) {
        if self.hashes_because.is_none() {
            self.hashes_because = Some(why());
        }
    }

    /// Makes the lock, or one error with all mistakes.
    pub(super) fn finish(mut self) -> Result<Lock> {
        let pins = self.pins();
        self.check_hashes(&pins);
        self.warn_of_default();
        self.check_selection();
        let offered = self.offered(&pins);

        if let Some(error) = self.all_errors() {
            return Err(error);
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

    /// Makes the pin of every name, and records the names that have none.
    fn pins(&mut self) -> Vec<(Vec<HeldRequirement>, Pin)> {
        let mut by_name: BTreeMap<PackageName, Vec<HeldRequirement>> = BTreeMap::new();
        for requirement in std::mem::take(&mut self.required) {
            by_name
                .entry(requirement.name.clone())
                .or_default()
                .push(requirement);
        }
        for (name, order, first, second) in std::mem::take(&mut self.listed_twice) {
            let error = Error::new(format!("`{name}` is listed twice for one environment"))
                .at(second)
                .note(format!("the other entry is at {first}"))
                .hint("give them markers that never hold together, or lock again");
            self.errors.push((order, error));
            // Other errors about this name would only repeat this one.
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
        pins
    }

    /// Joins the first errors in the order of statements, without secrets.
    fn all_errors(&mut self) -> Option<Error> {
        let mut errors = std::mem::take(&mut self.errors);
        errors.sort_by_key(|(order, _)| *order);
        let more = errors.len().saturating_sub(MOST_ERRORS);
        let hide = |text: &str| self.without_secrets(text);
        let shown = errors
            .into_iter()
            .take(MOST_ERRORS)
            .map(|(_, error)| error.map_text(&hide));
        let error = Error::all(shown)?;
        Some(if more == 0 {
            error
        } else {
            error.note(format!("{more} more errors are not shown"))
        })
    }

    /// Warns of an `--index-url` that the configuration's default index overrides.
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

    /// Makes pins of the constraints that no requirement uses. A mistake in such a pin matters only
    /// if it ships, so it is ignored here.
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
            // The project itself checks its extras if no lock declares any.
            if let Some(extras) = extras.filter(|extras| !extras.contains(name)) {
                errors.push(unknown("extra", name, at, extras));
            }
        }
        self.errors
            .extend(errors.into_iter().map(|error| (0, error)));
    }

    /// Requires a hash of every pin if any has one (pip's hash-checking mode); directories cannot
    /// have one.
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

        let has_directory = bare
            .iter()
            .any(|(_, pin)| matches!(pin.source, PinSource::Directory(_)));
        let error = without_hash(first, &bare, pins.len())
            .note(format!("{why}, so every pin needs a hash"))
            .hint(if has_directory {
                "a directory cannot have a hash; build a wheel with `pip wheel --no-deps`, and pin the wheel with its hash"
            } else {
                "lock with `uv pip compile --generate-hashes` or `pip-compile --generate-hashes`"
            });
        self.errors.push((first.order, error));
    }

    /// Applies `--only-binary` or `--no-binary`, like pip's `FormatControl.handle_mutual_excludes`.
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

/// Makes the pin of one name.
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

/// Finds the requirement or constraint that decides what ships: a file, or else one exact version.
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

/// Checks all other version specifiers of a name against its pin.
fn check_versions(
    version: Option<&Version>,
    pinned: &HeldRequirement,
    requirements: &[HeldRequirement],
    constraints: &[HeldRequirement],
) -> Result<(), Ordered> {
    let Some(version) = version else {
        return Ok(());
    };
    let requirements = requirements.iter().map(|one| (one, "requirement"));
    let constraints = constraints.iter().map(|one| (one, "constraint"));
    let errors: Ordered = requirements
        .chain(constraints)
        .filter(|(one, _)| one.excludes(version))
        .map(|(one, role)| (one.order, excluded(version, pinned, one, role)))
        .collect();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

/// Returns the error that a requirement or constraint excludes the pinned version.
fn excluded(
    version: &Version,
    pinned: &HeldRequirement,
    one: &HeldRequirement,
    role: &str,
) -> Error {
    if one.order == pinned.order {
        return Error::new(format!("no version satisfies all of `{}`", one.shown))
            .at(one.version_at.clone());
    }
    if one.exact().is_some() && role == "requirement" {
        return pinned_twice(pinned, one);
    }
    Error::new(format!(
        "`{}` is pinned to {version}, which the {role} `{}` excludes",
        one.name, one.shown
    ))
    .at(one.version_at.clone())
    .note(format!("the pin is `{}` at {}", pinned.shown, pinned.at))
}

/// Returns the hashes that all lines about a name accept, as in pip.
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
                .note(format!("the hashes at {other} are all different"))
                .hint("regenerate both files from the same index");
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
    /// Returns the version that is requested, if it is a single one.
    fn version(&self) -> Option<Version> {
        match &self.wanted {
            RequestedVersion::Source(_, version) => version.clone(),
            RequestedVersion::Versions(_) => self.exact(),
        }
    }

    /// Returns whether it asks for versions, but not for this one.
    fn excludes(&self, version: &Version) -> bool {
        match &self.wanted {
            RequestedVersion::Source(..) => false,
            RequestedVersion::Versions(specifiers) => !specifiers.contains(version),
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

/// Returns the error that pins without a hash stand beside others with one.
fn without_hash(first: &HeldRequirement, bare: &[(&HeldRequirement, &Pin)], pins: usize) -> Error {
    if bare.len() == 1 {
        return Error::new(format!("`{}` has no hash", first.shown)).at(first.at.clone());
    }
    let error =
        Error::new(format!("{} of {pins} pins have no hash", bare.len())).at(first.at.clone());
    bare.iter().fold(error, |error, (requirement, _)| {
        error.note(format!("`{}` at {}", requirement.shown, requirement.at))
    })
}

fn unknown<T: ToString + Ord>(what: &str, name: &T, at: &Location, known: &BTreeSet<T>) -> Error {
    let error = Error::new(format!("no lock has the {what} `{}`", name.to_string())).at(at.clone());
    let names: Vec<_> = known
        .iter()
        .map(|name| format!("`{}`", name.to_string()))
        .collect();
    if names.is_empty() {
        error.note(format!(
            "no file of `[python] requirements` defines {what}s"
        ))
    } else {
        error.hint(format!("known {what}s: {}", names.join(", ")))
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
            format!("`=={version}.*` allows many versions; write `{name}==` and the full version")
        }
        _ => format!("write `{name}==` and the version to ship"),
    };
    error.hint(format!(
        "{way_out}, or run `pkgapp lock` to pin everything that is missing"
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
            Err(Error::new("the URL of an index is not an http, https, or file URL").at(at.clone()))
        }
    }
}
