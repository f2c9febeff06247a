//! requirements.txt, as pip reads it.
//!
//! Source: pip's "Requirements File Format" and `pip._internal.req.req_file`. Lines are parsed here
//! and not by uv's crate, which gives no places for requirements, drops the hashes in constraints
//! files, and stops at the first error; uv's crates parse names, versions, extras, and markers.

use std::ops::Range;
use std::path::Path;
use std::str::FromStr;

use crate::direct::{self, DirectReference, DirectRefusal};
use crate::draft::{BinaryOption, DistributionKind, HeldRequirement, LockDraft, RequestedVersion};
use crate::text::{LogicalLine, OptionWord, TextFile, TextOrigin, logical_lines, words};
use crate::{EditableInstall, LockFormat, PinSource, Url, hash, remote};
use pkgapp_core::error::{Error, shown};
use pkgapp_pypa::shown_url;
use pkgapp_pypa::{ExtraName, HashDigest, MarkerTree, PackageName, VersionSpecifiers};

/// Accepts every text: these files can have any name.
pub(super) const FORMAT: LockFormat = LockFormat {
    recognizes: |_, _| true,
    read: |draft, file| read(draft, file, FileRole::Requirements),
};

/// The role of a file's requirements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileRole {
    /// They ship.
    Requirements,
    /// They select the versions of distributions that other files require (`-c`).
    Constraints,
}

/// Reads a file that selects the versions of distributions that other files require.
pub(super) fn read_constraints(draft: &mut LockDraft<'_>, file: &TextFile) {
    draft.read_with(file, |draft, file| read(draft, file, FileRole::Constraints));
}

fn read(draft: &mut LockDraft<'_>, file: &TextFile, role: FileRole) {
    let lines = logical_lines(file, draft.variable);
    for line in &lines {
        draft.next_statement();
        draft.hide(&line.set);
        RequirementStatement {
            draft,
            file,
            line,
            role,
        }
        .read();
    }
}

/// A logical line while it is read.
struct RequirementStatement<'s, 'a> {
    draft: &'s mut LockDraft<'a>,
    file: &'s TextFile,
    line: &'s LogicalLine<'s>,
    role: FileRole,
}

/// The meaning of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OptionMeaning {
    Requirement,
    Constraint,
    Editable,
    IndexUrl,
    ExtraIndexUrl,
    NoIndex,
    FindLinks,
    Formats(BinaryOption),
    RequireHashes,
    Hash,
    /// It has no effect; the text gives the reason, or what happens instead.
    Ignored(&'static str),
    /// Like `Ignored`, on a requirement's own line.
    IgnoredOfOne(&'static str),
}

struct OptionRule {
    names: &'static [&'static str],
    takes_value: bool,
    meaning: OptionMeaning,
}

const fn option(
    names: &'static [&'static str],
    takes_value: bool,
    meaning: OptionMeaning,
) -> OptionRule {
    OptionRule {
        names,
        takes_value,
        meaning,
    }
}

const DEFAULTS: &str = "sdists are built with their own defaults";
const EXACT: &str = "every version is exact";

/// pip's `SUPPORTED_OPTIONS` and `SUPPORTED_OPTIONS_REQ`.
const OPTIONS: &[OptionRule] = &[
    option(&["--requirement", "-r"], true, OptionMeaning::Requirement),
    option(&["--constraint", "-c"], true, OptionMeaning::Constraint),
    option(&["--editable", "-e"], true, OptionMeaning::Editable),
    option(
        &["--index-url", "-i", "--pypi-url"],
        true,
        OptionMeaning::IndexUrl,
    ),
    option(&["--extra-index-url"], true, OptionMeaning::ExtraIndexUrl),
    option(&["--no-index"], false, OptionMeaning::NoIndex),
    option(&["--find-links", "-f"], true, OptionMeaning::FindLinks),
    option(
        &["--no-binary"],
        true,
        OptionMeaning::Formats(BinaryOption::NoBinary),
    ),
    option(
        &["--only-binary"],
        true,
        OptionMeaning::Formats(BinaryOption::OnlyBinary),
    ),
    option(&["--require-hashes"], false, OptionMeaning::RequireHashes),
    option(&["--hash"], true, OptionMeaning::Hash),
    option(
        &["--trusted-host"],
        true,
        OptionMeaning::Ignored(
            "certificates are always checked, against the authorities in `SSL_CERT_FILE` if it is set",
        ),
    ),
    option(&["--pre"], false, OptionMeaning::Ignored(EXACT)),
    option(&["--all-releases"], true, OptionMeaning::Ignored(EXACT)),
    option(&["--only-final"], true, OptionMeaning::Ignored(EXACT)),
    option(
        &["--uploaded-prior-to"],
        true,
        OptionMeaning::Ignored(EXACT),
    ),
    option(
        &["--prefer-binary"],
        false,
        OptionMeaning::Ignored("a wheel is always preferred"),
    ),
    option(
        &["--use-feature"],
        true,
        OptionMeaning::Ignored("it only concerns pip itself"),
    ),
    option(
        &["--build-constraint"],
        true,
        OptionMeaning::Ignored(DEFAULTS),
    ),
    option(
        &["--no-build-isolation"],
        false,
        OptionMeaning::Ignored(DEFAULTS),
    ),
    option(
        &["--use-pep517"],
        false,
        OptionMeaning::IgnoredOfOne(DEFAULTS),
    ),
    option(
        &["--global-option"],
        true,
        OptionMeaning::IgnoredOfOne(DEFAULTS),
    ),
    option(
        &["--install-option"],
        true,
        OptionMeaning::IgnoredOfOne(DEFAULTS),
    ),
    option(
        &["--config-settings", "--config-setting", "-C"],
        true,
        OptionMeaning::IgnoredOfOne(DEFAULTS),
    ),
];

/// An option with its value.
struct GivenOption {
    name: &'static str,
    meaning: OptionMeaning,
    value: String,
    range: Range<usize>,
    value_range: Range<usize>,
}

impl RequirementStatement<'_, '_> {
    fn read(&mut self) {
        if !self.line.unset.is_empty() {
            for (offset, name) in &self.line.unset {
                let error = Error::new(format!("environment variable `{name}` is not set"))
                    .at(self.line.at(*offset));
                self.draft
                    .fail(error.hint(format!("set `{name}` in the environment of the build")));
            }
            return;
        }
        let text = &self.line.text;
        if text.ends_with('\\') {
            let error = Error::new("text after the `\\` that continues a line")
                .at(self.line.at(text.len() - 1));
            self.draft
                .fail(error.hint("remove the whitespace or comment after it"));
            return;
        }
        let end = options_start(text);
        if let Some(marker) = marker_of_editable(text) {
            let Some(options) = self.options(end, marker.start - 1) else {
                return;
            };
            return options
                .iter()
                .for_each(|option| self.editable(option, Some(marker.clone())));
        }
        let Some(options) = self.options(end, text.len()) else {
            return;
        };
        let requirement = text[..end].trim_end().len();
        if requirement > 0 {
            self.requirement(requirement, &options);
        } else {
            for option in &options {
                self.option(option);
            }
        }
    }

    fn fail(&mut self, error: Error, offset: usize) {
        self.draft.fail(error.at(self.line.at(offset)));
    }

    fn refuse(&mut self, refused: DirectRefusal, offset: usize) {
        let mut error = Error::new(refused.message);
        // As in `bad_syntax`, the cause can quote a part of a secret.
        let cause = refused.cause.filter(|_| self.line.set.is_empty());
        error = cause.into_iter().fold(error, Error::cause_text);
        error = refused.hint.into_iter().fold(error, Error::hint);
        self.fail(error, offset);
    }

    /// Reads the options in `start..end`; `None` after an error, which has been recorded.
    fn options(&mut self, start: usize, end: usize) -> Option<Vec<GivenOption>> {
        let mut words = match words(&self.line.text[..end], start) {
            Ok(words) => words.into_iter(),
            Err(quote) => {
                self.fail(Error::new("unclosed quote"), quote);
                return None;
            }
        };
        let mut options = Vec::new();
        while let Some(word) = words.next() {
            options.push(self.one_option(&word, &mut words)?);
        }
        Some(options)
    }

    /// Reads an option, whose value may be the next word; `None` after an error, which has been
    /// recorded.
    fn one_option(
        &mut self,
        word: &OptionWord,
        rest: &mut impl Iterator<Item = OptionWord>,
    ) -> Option<GivenOption> {
        let start = word.range.start;
        let Some((name, attached)) = split_option(&word.text) else {
            let written = self.line.written(word.range.clone());
            let error = format!("`{written}` is neither an option nor the value of one");
            self.fail(Error::new(error), start);
            return None;
        };
        let Some((rule, name)) = known_option(name) else {
            self.fail(unknown_option(name), start);
            return None;
        };
        let mut value = match option_value(rule.takes_value, &word.range, attached, rest) {
            Ok(value) => value,
            Err(why) => {
                self.fail(Error::new(format!("`{name}` {why}")), start);
                return None;
            }
        };

        // A slice of quoted text may begin inside a character.
        while !self.line.text.is_char_boundary(value.range.start) {
            value.range.start -= 1;
        }
        Some(GivenOption {
            name,
            meaning: rule.meaning,
            value: value.text,
            range: start..value.range.end,
            value_range: value.range,
        })
    }

    /// Applies an option on a line of its own.
    fn option(&mut self, given: &GivenOption) {
        match given.meaning {
            OptionMeaning::Requirement => self.include(given, FileRole::Requirements),
            OptionMeaning::Constraint => self.include(given, FileRole::Constraints),
            OptionMeaning::Editable => self.editable(given, None),
            OptionMeaning::IndexUrl | OptionMeaning::ExtraIndexUrl | OptionMeaning::FindLinks => {
                self.index(given);
            }
            OptionMeaning::NoIndex => self.draft.indexes.no_index = true,
            OptionMeaning::Formats(formats) => self.formats(given, formats),
            OptionMeaning::RequireHashes => {
                let at = self.line.at(given.range.start);
                self.draft
                    .require_hashes(|| format!("`--require-hashes` is given at {at}"));
            }
            OptionMeaning::Hash => {
                let error = Error::new("`--hash` belongs to no requirement");
                self.fail(
                    error.hint("end the requirement's line with ` \\`"),
                    given.range.start,
                );
            }
            OptionMeaning::Ignored(why) => self.warn(given, why),
            OptionMeaning::IgnoredOfOne(_) => {
                self.fail(
                    Error::new(format!("`{}` belongs to no requirement", given.name)),
                    given.range.start,
                );
            }
        }
    }

    fn warn(&mut self, given: &GivenOption, why: &str) {
        let written = self.line.written(given.range.clone());
        let at = self.line.at(given.range.start);
        self.draft
            .warnings
            .push(format!("`{written}` has no effect: {why} ({at})"));
    }

    fn include(&mut self, given: &GivenOption, role: FileRole) {
        let start = given.value_range.start;
        let place = match self.included_place(given) {
            Ok(place) => place,
            Err(refused) => return self.refuse(refused, start),
        };
        if self.draft.is_open(&place) {
            let written = self.line.written(given.value_range.clone());
            return self.fail(Error::new(format!("`{written}` includes itself")), start);
        }
        if let Err(error) = self.draft.count_include() {
            return self.fail(error, start);
        }

        match self.open(&place) {
            Ok(file) if role == FileRole::Constraints => {
                self.draft.read_with(&file, |d, file| read(d, file, role));
            }
            Ok(file) => self.draft.read(&file),
            Err(error) if error.location().is_some() => self.draft.fail(error),
            Err(error) => {
                let error = match &place {
                    TextOrigin::Disk(path) if !path.exists() => {
                        self.hint_at_place(error, &given.value)
                    }
                    _ => error,
                };
                self.fail(error, start);
            }
        }
    }

    fn open(&self, place: &TextOrigin) -> pkgapp_core::error::Result<TextFile> {
        match place {
            TextOrigin::Disk(path) => TextFile::open(path),
            TextOrigin::Web(url) => {
                let shown = self.draft.without_secrets(&shown_url(url).to_string());
                remote::fetch(url, &shown, self.draft.offline)
            }
        }
    }

    /// Returns the place of an included file; relative names are relative to the including file.
    fn included_place(&self, given: &GivenOption) -> Result<TextOrigin, DirectRefusal> {
        let written = || self.line.written(given.value_range.clone());
        let url = match &self.file.place {
            TextOrigin::Web(base) => base.join(&given.value).ok(),
            TextOrigin::Disk(_) if direct::is_url(&given.value) => Url::parse(&given.value).ok(),
            TextOrigin::Disk(path) => {
                let path = path.parent().unwrap_or(Path::new("/")).join(&given.value);
                let normal = direct::normal(&path);
                // `..` after a symbolic link leads elsewhere than the text suggests.
                return Ok(TextOrigin::Disk(if normal.exists() || !path.exists() {
                    normal
                } else {
                    path
                }));
            }
        };

        let refused = |why: &str| DirectRefusal {
            message: format!("`{}` is not {why}", written()),
            cause: None,
            hint: None,
        };
        let url = url.ok_or_else(|| refused("a URL"))?;
        match url.scheme() {
            "http" | "https" => Ok(TextOrigin::Web(url)),
            // A server must not choose which local files are read.
            "file" if self.file.directory().is_some() => match url.to_file_path() {
                Ok(path) => Ok(TextOrigin::Disk(path)),
                Err(()) => Err(refused("a path on this machine")),
            },
            _ => Err(refused("an http or https URL")),
        }
    }

    fn hint_at_place(&self, error: Error, value: &str) -> Error {
        let Some(directory) = self.file.directory() else {
            return error;
        };
        let error = error.note(format!(
            "names after `-r` and `-c` are relative to `{}`",
            shown(directory)
        ));
        let elsewhere = direct::normal(&self.draft.root.join(value));
        if elsewhere.is_file() {
            error.note(format!("`{}` exists", shown(&elsewhere)))
        } else {
            error
        }
    }

    /// Reads `-e PATH_OR_URL [; MARKER]`, as written by `pip freeze` and `uv export`: a wheel of it
    /// ships.
    fn editable(&mut self, given: &GivenOption, marker: Option<Range<usize>>) {
        match parse_marker(&self.line.text, marker) {
            Ok(marker) if !self.draft.holds(marker, None) => return,
            Ok(_) => {}
            Err(bad) => return self.bad_syntax(self.line.text.len(), &bad),
        }
        let (path, extras) = direct::split_extras(&given.value);
        let is_url = direct::is_url(&given.value);
        if !is_url && direct::normal(&self.draft.root.join(path)) == self.draft.root {
            return self.put_project(given, extras);
        }

        let start = given.value_range.start;
        // pip takes `-e lib` for a path.
        let value = if is_url || Path::new(path).is_absolute() {
            given.value.clone()
        } else {
            format!("./{}", given.value)
        };
        let written = self.line.written(given.value_range.clone());
        let direct = match direct::read(&value, &written, None, self.draft.root) {
            Ok(direct) => direct,
            Err(refused) => return self.refuse(refused, start),
        };
        match editable_name(&direct, &written) {
            Ok(name) => self.put_editable(given, name, direct),
            Err(error) => self.fail(error, start),
        }
    }

    /// Records an editable install of the application itself.
    fn put_project(&mut self, given: &GivenOption, extras: Option<&str>) {
        let written = self.line.written(given.value_range.clone());
        let extras = extras.into_iter().flat_map(|extras| extras.split(','));
        self.draft.editable = Some(EditableInstall {
            shown: format!("-e {written}"),
            extras: extras.filter_map(|one| one.trim().parse().ok()).collect(),
            at: self.line.at(given.range.start),
        });
    }

    fn put_editable(&mut self, given: &GivenOption, name: PackageName, direct: DirectReference) {
        let requirement = HeldRequirement {
            name,
            extras: direct.extras,
            wanted: RequestedVersion::Source(direct.source, direct.version),
            // A commit ID is a hash of the content. A working tree has no hash; the release's
            // record contains one of the built wheel.
            may_lack_hashes: true,
            hashes: direct.hashes,
            at: self.line.at(given.range.start),
            version_at: self.line.at(given.value_range.start),
            shown: self.line.written(given.range.clone()),
            order: self.draft.next_statement(),
        };
        self.put(requirement);
    }

    fn index(&mut self, given: &GivenOption) {
        let written = self.line.written(given.value_range.clone());
        // pip resolves a find-links directory relative to the file if it exists there, and all
        // other paths relative to its working directory.
        let beside = self
            .file
            .directory()
            .filter(|_| given.meaning == OptionMeaning::FindLinks);
        let bases: Vec<&Path> = beside.into_iter().chain([self.draft.root]).collect();
        let url = match direct::url_or_path(&given.value, &written, &bases) {
            Ok(url) => url,
            Err(refused) => return self.refuse(refused, given.value_range.start),
        };

        let indexes = &mut self.draft.indexes;
        let urls = match given.meaning {
            OptionMeaning::FindLinks => &mut indexes.find_links,
            OptionMeaning::ExtraIndexUrl => &mut indexes.extra,
            _ => return self.replace_index(given, url),
        };
        if !urls.contains(&url) {
            urls.push(url);
        }
    }

    fn replace_index(&mut self, given: &GivenOption, url: Url) {
        let at = self.line.at(given.value_range.start);
        let before = self.draft.indexes.index.replace(url);
        let changed = before.is_some() && before != self.draft.indexes.index;
        let index_at = self.draft.index_at.replace(at.clone());
        if let (true, Some(before)) = (changed, index_at) {
            self.draft.warnings.push(format!(
                "`{}` replaces the index at {before} ({at})",
                given.name
            ));
        }
    }

    fn formats(&mut self, given: &GivenOption, formats: BinaryOption) {
        let mut names = Vec::new();
        for item in given.value.split(',').map(str::trim) {
            match item {
                ":all:" => names.push(DistributionKind::All),
                ":none:" => names.push(DistributionKind::None),
                _ => match PackageName::from_str(item) {
                    Ok(name) => names.push(DistributionKind::These(name)),
                    Err(_) => {
                        let error =
                            Error::new(format!("`{item}` is not the name of a distribution"));
                        let error = error.hint(format!(
                            "`{}` takes names, `:all:`, or `:none:`",
                            given.name
                        ));
                        return self.fail(error, given.value_range.start);
                    }
                },
            }
        }
        self.draft.set_formats(formats, names);
    }

    /// Reads a requirement in `0..end`, with its options.
    fn requirement(&mut self, end: usize, options: &[GivenOption]) {
        let hashes = self.hashes(options);
        if let Some(found) = self.missing_option_letter(end) {
            return self.refuse(found, 0);
        }
        let parts = match split_requirement(&self.line.text[..end]) {
            Ok(parts) => parts,
            Err(bad) => return self.bad_syntax(end, &bad),
        };
        if !self.draft.holds(parts.marker, None) {
            return;
        }
        if let Some(error) = self.refused_module(&parts) {
            return self.fail(error, 0);
        }
        let Some(direct) = self.direct(&parts) else {
            return;
        };

        let named = match self.role {
            FileRole::Requirements => direct.as_ref().and_then(|direct| direct.name.clone()),
            FileRole::Constraints => None,
        };
        let Some(name) = parts.name.clone().or(named) else {
            let error = Error::new("constraint without a name")
                .hint("write `name @` before the URL or path");
            return self.fail(error, 0);
        };
        let is_hash = |given: &GivenOption| given.meaning == OptionMeaning::Hash;
        let mut requirement = HeldRequirement {
            name,
            extras: parts.extras,
            wanted: RequestedVersion::Versions(parts.versions),
            may_lack_hashes: hashes.is_empty() && options.iter().any(is_hash),
            hashes,
            at: self.line.at(0),
            version_at: self.line.at(parts.version_at),
            shown: self.line.written(parts.body),
            order: self.draft.next_statement(),
        };
        if let Some(direct) = direct {
            requirement.take_source(direct);
        }
        self.put(requirement);
    }

    /// Refuses the line that `pip freeze` on Debian and Ubuntu adds.
    fn refused_module(&self, parts: &RequirementParts) -> Option<Error> {
        let name = parts.name.as_ref()?;
        if name.as_str() != "pkg-resources" || parts.direct.is_some() {
            return None;
        }
        let written = self.line.written(parts.body.clone());
        let error = Error::new(format!(
            "`{written}` is not a distribution: the module is part of setuptools"
        ));
        Some(error.hint("delete the line, which `pip freeze` on Debian and Ubuntu adds"))
    }

    fn put(&mut self, requirement: HeldRequirement) {
        if self.role == FileRole::Requirements {
            self.draft.require(requirement);
        } else if requirement.extras.is_empty() {
            self.draft.constrain(requirement);
        } else {
            let error = Error::new(format!("constraint `{}` has extras", requirement.shown));
            let error =
                error.hint("pip does not allow extras in constraints; move them to the requirement, or use `pip-compile --strip-extras`");
            self.fail(error, 0);
        }
    }

    /// Reads the URL or path, if there is one; `None` after an error, which has been recorded.
    #[expect(
        clippy::option_option,
        reason = "outer: failed; inner: a requirement of versions"
    )]
    fn direct(&mut self, parts: &RequirementParts) -> Option<Option<DirectReference>> {
        let Some(range) = &parts.direct else {
            return Some(None);
        };
        let text = &self.line.text[range.clone()];
        let written = self.line.written(range.clone());
        match direct::read(text, &written, parts.name.as_ref(), self.draft.root) {
            Ok(direct) => {
                if let Some(weak) = &direct.weak {
                    let at = self.line.at(range.start);
                    self.draft.warnings.push(format!(
                        "`#{weak}=` is too weak a hash and is not checked ({at})"
                    ));
                }
                Some(Some(direct))
            }
            Err(refused) => {
                self.refuse(refused, range.start);
                None
            }
        }
    }

    fn hashes(&mut self, options: &[GivenOption]) -> Vec<HashDigest> {
        let mut hashes = Vec::new();
        for given in options {
            let start = given.range.start;
            match given.meaning {
                OptionMeaning::Hash => {
                    let at = self.line.at(0);
                    self.draft
                        .require_hashes(|| format!("the requirement at {at} has one"));
                    match hash::parse(&given.value) {
                        Ok(hash) => hashes.push(hash),
                        Err(bad) => {
                            let error = Error::new(bad.message);
                            let error = bad.hint.into_iter().fold(error, Error::hint);
                            self.fail(error, given.value_range.start);
                        }
                    }
                }
                OptionMeaning::IgnoredOfOne(why) => self.warn(given, why),
                _ => {
                    let error = Error::new(format!(
                        "`{}` does not apply to a single requirement",
                        given.name
                    ));
                    self.fail(error.hint("put it on a line of its own"), start);
                }
            }
        }
        hashes
    }

    /// Returns an error if a line `base.txt` is meant as `-r base.txt`, rather than a distribution
    /// of that name.
    fn missing_option_letter(&self, end: usize) -> Option<DirectRefusal> {
        let text = &self.line.text[..end];
        let path = Path::new(text);
        let named = path
            .extension()
            .is_some_and(|extension| extension == "txt" || extension == "in");
        let exists = named
            && self
                .file
                .directory()
                .is_some_and(|directory| directory.join(path).is_file());
        exists.then(|| DirectRefusal {
            message: format!("`{}` is a requirements file", self.line.written(0..end)),
            cause: None,
            hint: Some(format!("write `-r {text}`")),
        })
    }

    fn bad_syntax(&mut self, end: usize, bad: &BadSyntax) {
        let written = self.line.written(0..end);
        let error = Error::new(format!("`{written}` is not a requirement"));
        if !self.line.set.is_empty() {
            // The parser's message can quote a part of a secret.
            return self.fail(
                error.note("after substitution of its variables"),
                bad.offset.min(end),
            );
        }
        let mut error = error.cause_text(&bad.message);
        let text = &self.line.text[..end];
        if let Some((name, version)) = text.split_once('=').filter(|(name, version)| {
            PackageName::from_str(name.trim()).is_ok()
                && version.trim().starts_with(|c: char| c.is_ascii_digit())
        }) {
            error = error.hint(format!("write `{}=={}`", name.trim(), version.trim()));
        }
        self.fail(error, bad.offset.min(end));
    }
}

impl HeldRequirement {
    /// Takes the file or project of a direct reference instead of versions.
    fn take_source(&mut self, direct: DirectReference) {
        self.extras.extend(direct.extras);
        self.hashes.extend(direct.hashes);
        // A commit ID is a hash of the content.
        self.may_lack_hashes |=
            matches!(direct.source, PinSource::Git(_) | PinSource::Mercurial(_));
        self.wanted = RequestedVersion::Source(direct.source, direct.version);
    }
}

/// Returns the offset of the first word that begins with `-`, or the end.
fn options_start(text: &str) -> usize {
    let begins = |at: usize| {
        text[..at]
            .chars()
            .next_back()
            .is_none_or(char::is_whitespace)
    };
    text.match_indices('-')
        .map(|(at, _)| at)
        .find(|at| begins(*at))
        .unwrap_or(text.len())
}

/// Returns the range of the marker in a line `-e PATH_OR_URL ; MARKER`.
fn marker_of_editable(text: &str) -> Option<Range<usize>> {
    let option = text.trim_start();
    let start = text.len()
        - option
            .strip_prefix("--editable")
            .or_else(|| option.strip_prefix("-e"))?
            .len();
    split_marker(text, start, true).1
}

/// Returns the rule of an option, and the name as spelled in the rule.
fn known_option(name: &str) -> Option<(&'static OptionRule, &'static str)> {
    OPTIONS.iter().find_map(|rule| {
        let known = rule.names.iter().find(|known| **known == name)?;
        Some((rule, *known))
    })
}

fn unknown_option(name: &str) -> Error {
    let error = Error::new(format!("unknown option `{name}` in a requirements file"));
    let nearest = OPTIONS
        .iter()
        .flat_map(|rule| rule.names)
        .filter(|known| known.starts_with("--"))
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .min();
    match nearest {
        Some((distance, near)) if distance <= 3 => error.hint(format!("did you mean `{near}`?")),
        _ => error,
    }
}

/// Returns the name of the distribution of an editable requirement, which must be a source tree.
fn editable_name(direct: &DirectReference, written: &str) -> Result<PackageName, Error> {
    let Some(name) = direct.name.clone() else {
        let error = Error::new(format!("`{written}` does not name its distribution"));
        return Err(error.hint("append `#egg=` and the name"));
    };
    if matches!(direct.source, PinSource::File(_) | PinSource::Url(_)) {
        let error = Error::new(format!(
            "`{written}` is an archive, but `-e` is for source trees"
        ));
        return Err(error.hint("remove `-e`"));
    }
    Ok(name)
}

/// Returns the value of an option, which is attached to its word or the next word. An option
/// without a value has an empty one, in the place of its word.
fn option_value(
    takes_value: bool,
    word: &Range<usize>,
    attached: Option<&str>,
    rest: &mut impl Iterator<Item = OptionWord>,
) -> Result<OptionWord, &'static str> {
    match (takes_value, attached) {
        (false, None) => Ok(OptionWord {
            text: String::new(),
            range: word.clone(),
        }),
        (false, Some(_)) => Err("takes no value"),
        (true, Some(value)) if !value.is_empty() => Ok(OptionWord {
            text: value.to_owned(),
            range: word.end - value.len().min(word.end - word.start)..word.end,
        }),
        (true, Some(_)) => Err("needs a value"),
        (true, None) => rest
            .next()
            .filter(|word| !word.text.is_empty())
            .ok_or("needs a value"),
    }
}

/// Splits `--name=value` and `-nvalue`; `None` if the word is not an option.
fn split_option(word: &str) -> Option<(&str, Option<&str>)> {
    if word.starts_with("--") {
        return Some(match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        });
    }
    let after = word.strip_prefix('-')?;
    let letter = after.chars().next()?;
    let (name, value) = word.split_at(1 + letter.len_utf8());
    let value = value.strip_prefix('=').unwrap_or(value);
    Some((name, (!value.is_empty()).then_some(value)))
}

/// The parts of a requirement, with their places in the line.
struct RequirementParts {
    /// `None` for a lone URL or path.
    name: Option<PackageName>,
    extras: Vec<ExtraName>,
    versions: VersionSpecifiers,
    /// A URL or a path.
    direct: Option<Range<usize>>,
    marker: MarkerTree,
    /// Everything except the marker.
    body: Range<usize>,
    version_at: usize,
}

struct BadSyntax {
    message: String,
    offset: usize,
}

fn split_requirement(text: &str) -> Result<RequirementParts, BadSyntax> {
    // pip allows a semicolon without a marker after it.
    let text = text.strip_suffix(';').unwrap_or(text).trim_end();
    let head = head_end(text);
    match text[head..].chars().next() {
        Some('@') if head > 0 => named_direct(text, head),
        None | Some('(' | '<' | '=' | '>' | '~' | '!' | ';')
            if head > 0 && !is_archive_alone(text, head) =>
        {
            named_versions(text, head)
        }
        _ => {
            let (body, marker) = split_marker(text, 0, direct::is_url(text));
            let reference = &text[body.clone()];
            let archive = reference
                .split('[')
                .next()
                .is_some_and(direct::looks_like_archive);
            if archive
                || reference.contains('/')
                || reference.starts_with('.')
                || direct::is_url(reference)
            {
                let parts = RequirementParts {
                    name: None,
                    extras: Vec::new(),
                    versions: VersionSpecifiers::empty(),
                    direct: Some(body.clone()),
                    marker: parse_marker(text, marker)?,
                    version_at: body.start,
                    body,
                };
                return Ok(parts);
            }
            named_versions(text, head)
        }
    }
}

fn is_archive_alone(text: &str, head: usize) -> bool {
    (head == text.len() || text[head..].starts_with(';'))
        && direct::looks_like_archive(text[..head].trim_end())
}

/// Returns the end of the name, its extras, and the whitespace after them; 0 if there is no name.
fn head_end(text: &str) -> usize {
    let spaces = |at: usize| at + text[at..].len() - text[at..].trim_start().len();
    let name = text
        .find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '-' | '_'))
        .unwrap_or(text.len());
    if name == 0 || !text.as_bytes()[0].is_ascii_alphanumeric() {
        return 0;
    }
    let end = spaces(name);
    match text[end..]
        .strip_prefix('[')
        .and_then(|extras| extras.find(']'))
    {
        Some(close) => spaces(end + close + 2),
        None => end,
    }
}

fn named_versions(text: &str, head: usize) -> Result<RequirementParts, BadSyntax> {
    let requirement =
        pkgapp_pypa::Requirement::<Url>::from_str(text).map_err(|error| BadSyntax {
            message: error.message.to_string(),
            offset: error.start,
        })?;
    let versions = match requirement.version_or_url {
        Some(pkgapp_pypa::VersionOrUrl::VersionSpecifier(versions)) => versions,
        _ => VersionSpecifiers::empty(),
    };
    // A version contains no semicolon.
    let body = text.split(';').next().unwrap_or(text).trim_end();
    Ok(RequirementParts {
        name: Some(requirement.name),
        extras: requirement.extras.into_vec(),
        direct: None,
        marker: requirement.marker,
        body: 0..body.len(),
        version_at: if versions.is_empty() { 0 } else { head },
        versions,
    })
}

fn named_direct(text: &str, head: usize) -> Result<RequirementParts, BadSyntax> {
    let named =
        pkgapp_pypa::Requirement::<Url>::from_str(&text[..head]).map_err(|error| BadSyntax {
            message: error.message.to_string(),
            offset: error.start,
        })?;
    let (reference, marker) = split_marker(text, head + 1, true);
    if reference.is_empty() {
        return Err(BadSyntax {
            message: "nothing follows the `@`".to_owned(),
            offset: head,
        });
    }
    Ok(RequirementParts {
        name: Some(named.name),
        extras: named.extras.into_vec(),
        versions: VersionSpecifiers::empty(),
        marker: parse_marker(text, marker)?,
        body: 0..reference.end,
        version_at: reference.start,
        direct: Some(reference),
    })
}

/// Splits a URL or path that begins at `from` from the marker after it. The semicolon that ends a
/// URL has whitespace on one side (PEP 508 requires it before; pip, without a name, also allows it
/// after).
fn split_marker(text: &str, from: usize, url: bool) -> (Range<usize>, Option<Range<usize>>) {
    let ends = |at: &usize| {
        let after = text[at + 1..]
            .chars()
            .next()
            .is_some_and(char::is_whitespace);
        !url || after
            || text[..*at]
                .chars()
                .next_back()
                .is_some_and(char::is_whitespace)
    };
    let semicolon = text[from..]
        .match_indices(';')
        .map(|(at, _)| from + at)
        .find(ends);
    let end = semicolon.unwrap_or(text.len());
    let body = &text[from..end];
    let start = from + body.len() - body.trim_start().len();
    (
        start..(from + body.trim_end().len()).max(start),
        semicolon.map(|at| at + 1..text.len()),
    )
}

fn parse_marker(text: &str, range: Option<Range<usize>>) -> Result<MarkerTree, BadSyntax> {
    let Some(range) = range else {
        return Ok(MarkerTree::TRUE);
    };
    MarkerTree::from_str(&text[range.clone()]).map_err(|error| BadSyntax {
        message: error.message.to_string(),
        offset: range.start + error.start,
    })
}
