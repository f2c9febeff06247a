//! zc.buildout's configuration: `[versions]` pins versions, and the eggs of selected parts ship.
//!
//! Dependencies of the application ship too, in these versions. A part ships its eggs only if
//! `groups` names the part, because nothing distinguishes a part of the application from one that
//! tests it. Source: "Buildout" documentation, `zc/buildout/buildout.py`,
//! `zc/buildout/configparser.py`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;

use crate::direct;
use crate::draft::{HeldRequirement, LockDraft, RequestedVersion};
use crate::entry::{self, EntryResult};
use crate::text::{TextFile, TextOrigin};
use crate::{EditableInstall, LockFormat, PinSource, Url, remote};
use pkgapp_core::error::{Error, Location};
use pkgapp_pypa::shown_url;
use pkgapp_pypa::{PackageName, Version, VersionSpecifiers};

/// `buildout.cfg`, `versions.cfg`, and other `.cfg` files with one of these sections.
pub(super) const FORMAT: LockFormat = LockFormat {
    recognizes: |name, text| {
        let has = |header: &str| text.lines().any(|line| line.trim_end() == header);
        name == "buildout.cfg"
            || (name.ends_with(".cfg") && (has("[versions]") || has("[buildout]")))
    },
    read,
};

/// The maximum depth of files that extend each other, and of nested references.
const DEEPEST: usize = 30;

/// The maximum number of options that one value takes from others. Two references in each of a few
/// options would otherwise double the work with every level.
const MOST_LOOKUPS: u32 = 10_000;

/// The maximum length of a value with its references replaced, in bytes.
const LONGEST: usize = 1 << 20;

/// The value of an option, with the place that sets it.
#[derive(Debug, Clone)]
struct OptionValue {
    value: String,
    /// Where the option is set.
    at: Location,
    /// Where its value begins.
    value_at: Location,
}

type BuildoutSections = BTreeMap<String, BTreeMap<String, OptionValue>>;

fn read(draft: &mut LockDraft<'_>, file: &TextFile) {
    draft.next_statement();
    let mut reader = BuildoutReader {
        draft,
        file,
        sections: BuildoutSections::new(),
        lookups: Cell::new(0),
    };
    if let Err(error) = reader.buildout() {
        reader.draft.fail(error);
    }
}

struct BuildoutReader<'r, 'a> {
    draft: &'r mut LockDraft<'a>,
    file: &'r TextFile,
    sections: BuildoutSections,
    /// How many options the current value has asked for.
    lookups: Cell<u32>,
}

impl BuildoutReader<'_, '_> {
    fn buildout(&mut self) -> EntryResult<()> {
        self.sections = self.extended(self.file, 0)?;
        self.places()?;
        let versions = self
            .value("buildout", "versions")?
            .unwrap_or_else(|| "versions".to_owned());
        for (name, set) in self
            .sections
            .get(versions.trim())
            .cloned()
            .unwrap_or_default()
        {
            if let Err(error) = self.version(&name, &set) {
                self.draft.fail(error);
            }
        }
        let parts: Vec<_> = self
            .sections
            .keys()
            .filter(|name| *name != "buildout")
            .cloned()
            .collect();
        self.draft
            .knows(parts.iter().filter_map(|name| name.parse().ok()), []);
        let develop = self.develop()?;
        for part in parts {
            if self.draft.has_group(&part) {
                self.eggs(&part, &develop)?;
            }
        }
        Ok(())
    }

    /// Reads a file and the files that it extends, whose options it overrides.
    fn extended(&mut self, file: &TextFile, depth: usize) -> EntryResult<BuildoutSections> {
        let own = parse(file)?;
        let extends = own.iter().find_map(|(section, key, _, set)| {
            (section == "buildout" && key == "extends").then_some(set)
        });
        let mut all = match extends {
            Some(extends) => self.bases(file, extends, depth)?,
            None => BuildoutSections::new(),
        };
        for (section, key, change, set) in own {
            apply(all.entry(section).or_default(), key, change, set);
        }
        Ok(all)
    }

    /// Reads the files that a file extends.
    fn bases(
        &mut self,
        file: &TextFile,
        extends: &OptionValue,
        depth: usize,
    ) -> EntryResult<BuildoutSections> {
        if depth >= DEEPEST {
            return Err(
                Error::new(format!("`{}` extends too many files", file.name()))
                    .at(extends.at.clone()),
            );
        }
        let mut all = BuildoutSections::new();
        for name in extends.value.split_whitespace() {
            let counted = self.draft.count_include();
            counted.map_err(|error| error.at(extends.at.clone()))?;
            let other = self.open(file, name, &extends.value_at)?;
            let sections = self.draft.visit(&other, |draft| {
                BuildoutReader {
                    draft,
                    file: &other,
                    sections: BuildoutSections::new(),
                    lookups: Cell::new(0),
                }
                .extended(&other, depth + 1)
            })?;
            for (section, options) in sections {
                all.entry(section).or_default().extend(options);
            }
        }
        Ok(all)
    }

    fn open(&self, file: &TextFile, name: &str, at: &Location) -> EntryResult<TextFile> {
        let url = match &file.place {
            TextOrigin::Web(base) => base.join(name).ok(),
            TextOrigin::Disk(_) if direct::is_url(name) => Url::parse(name).ok(),
            TextOrigin::Disk(path) => {
                let path = direct::normal(&path.parent().unwrap_or(Path::new("/")).join(name));
                return TextFile::open(&path).map_err(|error| error.at(at.clone()));
            }
        };
        match url.filter(|url| matches!(url.scheme(), "http" | "https")) {
            Some(url) => {
                let shown = self.draft.without_secrets(&shown_url(&url).to_string());
                remote::fetch(&url, &shown, self.draft.offline)
                    .map_err(|error| error.at(at.clone()))
            }
            None => Err(Error::new(format!("`{name}` is not an http or https URL")).at(at.clone())),
        }
    }

    /// Reads `index` and `find-links` of `[buildout]`.
    fn places(&mut self) -> EntryResult<()> {
        let bases: Vec<_> = self
            .file
            .directory()
            .into_iter()
            .chain([self.draft.root])
            .collect();
        let at = |key: &str| {
            self.sections
                .get("buildout")
                .and_then(|options| Some(options.get(key)?.value_at.clone()))
        };
        let place = |text: &str, at: Option<Location>| {
            let at = at.unwrap_or_else(|| Location::file(&self.file.file));
            direct::url_or_path(text, text, &bases)
                .map_err(|refused| Error::new(refused.message).at(at))
        };
        let index = self.value("buildout", "index")?;
        let index = index
            .map(|text| place(text.trim(), at("index")))
            .transpose()?;
        let mut links = Vec::new();
        for text in self
            .value("buildout", "find-links")?
            .unwrap_or_default()
            .split_whitespace()
        {
            links.push(place(text, at("find-links"))?);
        }
        if index.is_some() {
            self.draft.indexes.index = index;
        }
        for link in links {
            if !self.draft.indexes.find_links.contains(&link) {
                self.draft.indexes.find_links.push(link);
            }
        }
        Ok(())
    }

    fn version(&mut self, name: &str, set: &OptionValue) -> EntryResult<()> {
        let order = self.draft.next_statement();
        let text = set.value.trim();
        // Macros and conditions are not names; an empty value removes a pin.
        if text.is_empty() || name == "<" {
            return Ok(());
        }
        let named = name.parse::<PackageName>().map_err(|error| {
            Error::new(format!("`{name}` is not the name of a distribution"))
                .at(set.at.clone())
                .cause(error)
        })?;
        let versions = match text.parse::<Version>() {
            Ok(version) => pkgapp_pypa::VersionSpecifier::equals_version(version).into(),
            Err(error) => text.parse::<VersionSpecifiers>().map_err(|_| {
                Error::new(format!("`{text}` is not a version"))
                    .at(set.value_at.clone())
                    .cause(error)
            })?,
        };
        self.draft.constrain(HeldRequirement {
            name: named,
            extras: Vec::new(),
            wanted: RequestedVersion::Versions(versions),
            hashes: Vec::new(),
            may_lack_hashes: false,
            at: set.at.clone(),
            version_at: set.value_at.clone(),
            shown: format!("{name} = {text}"),
            order,
        });
        Ok(())
    }

    /// Returns the projects under development: their names and directories.
    fn develop(&mut self) -> EntryResult<Vec<(Option<PackageName>, PinSource)>> {
        let Some(directory) = self.file.directory() else {
            return Ok(Vec::new());
        };
        let mut projects = Vec::new();
        for path in self
            .value("buildout", "develop")?
            .unwrap_or_default()
            .split_whitespace()
        {
            let path = direct::normal(&directory.join(path));
            let found = direct::read(&path.display().to_string(), "", None, &path)
                .ok()
                .and_then(|found| found.name);
            projects.push((found, PinSource::Directory(path)));
        }
        Ok(projects)
    }

    /// Requires the eggs of a part.
    fn eggs(
        &mut self,
        part: &str,
        develop: &[(Option<PackageName>, PinSource)],
    ) -> EntryResult<()> {
        let Some((eggs, at)) = self.eggs_of(part)? else {
            return Ok(());
        };
        let lines = eggs.lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            self.egg(line, &at, develop)?;
        }
        Ok(())
    }

    /// Returns the eggs that a part lists, and the place of that list.
    fn eggs_of(&self, part: &str) -> EntryResult<Option<(String, Location)>> {
        let set = self
            .sections
            .get(part)
            .and_then(|options| options.get("eggs").or_else(|| options.get("recipe")));
        let Some(set) = set else { return Ok(None) };
        let at = set.value_at.clone();
        if let Some(eggs) = self.value(part, "eggs")? {
            return Ok(Some((eggs, at)));
        }
        // zc.recipe.egg takes the part's own name.
        let takes_its_name = self
            .value(part, "recipe")?
            .is_some_and(|recipe| recipe.starts_with("zc.recipe.egg"));
        Ok(takes_its_name.then(|| (part.to_owned(), at)))
    }

    fn egg(
        &mut self,
        line: &str,
        at: &Location,
        develop: &[(Option<PackageName>, PinSource)],
    ) -> EntryResult<()> {
        let requirement = entry::requirement(line, at)?;
        if !self.draft.holds(requirement.marker, None) {
            return Ok(());
        }
        let extras = requirement.extras.into_vec();
        let developed = develop
            .iter()
            .find(|(name, _)| name.as_ref() == Some(&requirement.name))
            .map(|(_, source)| source);
        if let Some(PinSource::Directory(path)) = developed
            && path == self.draft.project()
        {
            self.draft.editable = Some(EditableInstall {
                shown: line.to_owned(),
                extras,
                at: at.clone(),
            });
            return Ok(());
        }

        let wanted = match (developed, requirement.version_or_url) {
            (Some(source), _) => RequestedVersion::Source(source.clone(), None),
            (None, Some(pkgapp_pypa::VersionOrUrl::VersionSpecifier(versions))) => {
                RequestedVersion::Versions(versions)
            }
            (None, _) => RequestedVersion::Versions(VersionSpecifiers::empty()),
        };
        let order = self.draft.next_statement();
        self.draft.require(HeldRequirement {
            name: requirement.name,
            extras,
            wanted,
            hashes: Vec::new(),
            may_lack_hashes: developed.is_some(),
            at: at.clone(),
            version_at: at.clone(),
            shown: line.to_owned(),
            order,
        });
        Ok(())
    }

    /// Returns an option with its `${section:option}` replaced.
    fn value(&self, section: &str, key: &str) -> EntryResult<Option<String>> {
        self.lookups.set(0);
        self.value_at_depth(section, key, 0)
    }

    fn value_at_depth(
        &self,
        section: &str,
        key: &str,
        depth: usize,
    ) -> EntryResult<Option<String>> {
        self.lookups.set(self.lookups.get() + 1);
        if self.lookups.get() > MOST_LOOKUPS {
            let error = Error::new(format!(
                "`${{{section}:{key}}}` needs too many other options"
            ));
            return Err(error.at(Location::file(&self.file.file)));
        }
        let Some(options) = self.sections.get(section) else {
            return Ok(None);
        };
        match options.get(key) {
            Some(set) if depth >= DEEPEST => Err(Error::new(format!(
                "`${{{section}:{key}}}` refers to itself"
            ))
            .at(set.at.clone())),
            Some(set) => self.expanded(section, set, depth).map(Some),
            None => self.inherited(options, key, depth),
        }
    }

    /// Returns an option that `<= base` inherits from other sections.
    fn inherited(
        &self,
        options: &BTreeMap<String, OptionValue>,
        key: &str,
        depth: usize,
    ) -> EntryResult<Option<String>> {
        let Some(bases) = options.get("<").filter(|_| depth < DEEPEST) else {
            return Ok(None);
        };
        for base in bases.value.split_whitespace().rev() {
            if let Some(value) = self.value_at_depth(base, key, depth + 1)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Replaces the references in the value of an option of a section.
    fn expanded(&self, section: &str, set: &OptionValue, depth: usize) -> EntryResult<String> {
        let (mut whole, mut rest) = (String::new(), set.value.as_str());
        while let Some((before, name, after)) = reference(rest) {
            let (from, option) = name.split_once(':').unwrap_or((section, name));
            let from = if from.is_empty() { section } else { from };
            let value = match (from, option) {
                ("buildout", "directory") => self
                    .file
                    .directory()
                    .map(|directory| directory.display().to_string()),
                (_, "_buildout_section_name_") => Some(section.to_owned()),
                _ => self.value_at_depth(from, option, depth + 1)?,
            };
            let Some(value) = value else {
                let error =
                    Error::new(format!("`${{{name}}}` is not set")).at(set.value_at.clone());
                return Err(error.note("pkgapp does not run recipes, which may set it"));
            };
            whole.push_str(before);
            whole.push_str(&value);
            if whole.len() > LONGEST {
                let error = Error::new(format!("the value with `${{{name}}}` is too long"));
                return Err(error.at(set.value_at.clone()));
            }
            rest = after;
        }
        Ok(whole + rest)
    }
}

/// Splits a value at its first `${name}`: before, name, after.
fn reference(value: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = value.split_once("${")?;
    let (name, after) = rest.split_once('}')?;
    Some((before, name, after))
}

/// `=`, `+=`, or `-=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OptionChange {
    Set,
    Add,
    Remove,
}

type SectionOptions = Vec<(String, String, OptionChange, OptionValue)>;

/// Changes the options of a section as a file that extends another one says.
fn apply(
    options: &mut BTreeMap<String, OptionValue>,
    key: String,
    change: OptionChange,
    set: OptionValue,
) {
    match (change, options.get_mut(&key)) {
        (OptionChange::Add, Some(known)) => {
            known.value = format!("{}\n{}", known.value, set.value);
            known.at = set.at;
        }
        (OptionChange::Remove, Some(known)) => {
            let gone: Vec<&str> = set.value.lines().map(str::trim).collect();
            let left = known
                .value
                .lines()
                .filter(|line| !gone.contains(&line.trim()));
            known.value = left.collect::<Vec<_>>().join("\n");
        }
        (OptionChange::Remove, None) => {}
        (OptionChange::Add | OptionChange::Set, _) => {
            options.insert(key, set);
        }
    }
}

/// Reads the options of a file in its order (`zc.buildout.configparser.parse`).
fn parse(file: &TextFile) -> EntryResult<SectionOptions> {
    let mut options: SectionOptions = Vec::new();
    let (mut section, mut start) = (None, 0);
    for line in file.text.split_inclusive('\n') {
        let (at, text) = (start, line.trim_end());
        start += line.len();
        if text.trim().is_empty() || text.starts_with(['#', ';']) {
            continue;
        }
        let indent = text.len() - text.trim_start().len();
        if indent > 0 {
            if let Some((_, _, _, last)) = options.last_mut().filter(|_| section.is_some()) {
                last.add_line(text.trim(), file.at(at + indent));
            }
        } else if let Some(header) = text.strip_prefix('[') {
            section = Some(section_name(header).map_err(|error| error.at(file.at(at)))?);
        } else if let Some(section) = &section {
            let (key, change, set) = parse_option(file, at, text)?;
            options.push((section.clone(), key, change, set));
        } else {
            return Err(Error::new("option before the first section").at(file.at(at)));
        }
    }
    Ok(options)
}

/// Returns the name in a section's header, of which the `[` is cut off.
///
/// A condition (`[versions:sys_platform == 'win32']`) is a Python expression, which pkgapp does not
/// evaluate: its options are kept apart, under a name that no other option refers to.
fn section_name(header: &str) -> EntryResult<String> {
    match header.split_once(']') {
        Some((name, _)) => Ok(name.trim().to_owned()),
        None => Err(Error::new("unclosed section name")),
    }
}

impl OptionValue {
    /// Adds a continuation line of a value.
    fn add_line(&mut self, line: &str, at: Location) {
        if !self.value.is_empty() {
            self.value.push('\n');
        } else if !line.starts_with('#') {
            self.value_at = at;
        }
        self.value.push_str(line);
    }
}

/// Reads the line of an option, which begins at `at`.
fn parse_option(
    file: &TextFile,
    at: usize,
    text: &str,
) -> EntryResult<(String, OptionChange, OptionValue)> {
    let Some((key, value)) = text.split_once('=') else {
        return Err(Error::new(format!("`{}` is not an option", text.trim()))
            .at(file.at(at))
            .hint(
                "an option contains `=`; a continuation line of a value begins with whitespace",
            ));
    };
    let value_start = at + key.len() + 1 + (value.len() - value.trim_start().len());
    let (key, change) = match key.trim_end() {
        key if key.ends_with('+') => (key.trim_end_matches('+'), OptionChange::Add),
        key if key.ends_with('-') => (key.trim_end_matches('-'), OptionChange::Remove),
        key => (key, OptionChange::Set),
    };
    let set = OptionValue {
        value: value.trim().to_owned(),
        at: file.at(at),
        value_at: file.at(value_start),
    };
    Ok((key.trim().to_owned(), change, set))
}
