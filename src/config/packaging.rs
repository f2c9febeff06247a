//! `[package]`: what the package manager sees.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use pkgapp_core::error::{Error, Result};
use pkgapp_core::name::{AppName, Arch};
use pkgapp_core::path::{InstallPath, is_system_directory};
use pkgapp_core::target::{self, Target};
use pkgapp_pypa::PackageName;

use super::files::PathPattern;
use super::reader::{Located, TableReader, ValueReader};
use super::{distribution_name, existing_file};

/// `[package]`: what the package manager sees.
#[derive(Debug, Clone)]
pub struct Packaging {
    /// Where the release lies on a host; by default `/opt/NAME`.
    pub prefix: Located<InstallPath>,
    /// Counts packages of one version: Debian's revision, rpm's Release; by default `1`.
    pub revision: PackageRevision,
    /// Distributions that the package must run on.
    pub targets: Vec<Located<&'static Target>>,
    /// The machine that it is for; by default the one that builds.
    pub arch: Option<Located<Arch>>,
    /// `byte-code`: where byte code is made.
    pub byte_code: ByteCode,
    /// `configuration`: which package has the units and the files below `/etc`.
    pub configuration: ConfigurationForm,
    /// `prune` and what belongs to it.
    pub prune: Prune,
    /// `depends.deb`: relationships as in a control file, e.g. `libpq5 (>= 13)`.
    pub depends_deb: Vec<Located<String>>,
    /// `depends.rpm`: as in a spec file, e.g. `libpq >= 13`.
    pub depends_rpm: Vec<Located<String>>,
    /// `provides`, `conflicts`, `replaces`, `recommends`, `suggests`.
    pub relations: PackageRelations,
    /// `scriptlets.*`: lines of sh that dpkg and rpm run.
    pub scriptlets: ScriptletPhases,
    /// `allow-collisions`; see [`Packaging::allows_collision`].
    pub allow_collisions: Vec<PathPattern>,
    /// How hard payloads are compressed.
    pub compression: CompressionPreset,
    /// How tarballs are compressed.
    pub tar: TarCompression,
    /// Debian's archive section; by default `misc`.
    pub section: String,
}

/// `prune` and what belongs to it: what is left out of distributions; nothing by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prune {
    /// What goes.
    pub profiles: BTreeSet<PruneProfile>,
    /// Languages that stay besides English, e.g. `de`, `pt_BR`; each with all its countries.
    pub locales: Vec<String>,
    /// Distributions that are left alone.
    pub whole: BTreeSet<PackageName>,
}

/// Something that can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PruneProfile {
    /// Directories named `test` or `tests` inside of packages, unless something imports them.
    Tests,
    /// `*.pyi`. The mark `py.typed` stays: sources have types, too.
    Stubs,
    /// C and C++ headers.
    Headers,
    /// Static libraries.
    Static,
    /// C, C++, Cython and Fortran sources that lie beside an extension module.
    Sources,
    /// Translations into other languages than English and those that are named.
    Locales,
}

/// All of them, by the names of the configuration.
const PROFILES: [(&str, PruneProfile); 6] = [
    ("tests", PruneProfile::Tests),
    ("stubs", PruneProfile::Stubs),
    ("headers", PruneProfile::Headers),
    ("static", PruneProfile::Static),
    ("sources", PruneProfile::Sources),
    ("locales", PruneProfile::Locales),
];

impl FromStr for PruneProfile {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some((_, profile)) = PROFILES.iter().find(|(name, _)| *name == text) {
            return Ok(*profile);
        }
        let names = PROFILES.map(|(name, _)| format!("`{name}`")).join(", ");
        Err(
            Error::new(format!("`{text}` is not a profile of files to prune"))
                .hint(format!("the known ones are {names}")),
        )
    }
}

impl fmt::Display for PruneProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = PROFILES
            .iter()
            .find(|(_, profile)| profile == self)
            .map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

/// What a package is to other packages, besides that it needs some.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackageRelations {
    /// Names that it answers to as well.
    pub provides: PackageRelation,
    /// What can't be installed beside it.
    pub conflicts: PackageRelation,
    /// What it takes the place of, or files from: earlier names of the application, or a part that
    /// was split off.
    pub replaces: PackageRelation,
    /// What is usually installed with it.
    pub recommends: PackageRelation,
    /// What may be useful with it.
    pub suggests: PackageRelation,
}

/// One kind of relation, as each format writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackageRelation {
    /// As in a control file, e.g. `shop-old (<< 2.0)`.
    pub deb: Vec<String>,
    /// As in a spec file, e.g. `shop-old < 2.0`.
    pub rpm: Vec<String>,
}

/// The user's own lines of sh, by phase (`[package] scriptlets.*`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScriptletPhases {
    /// When users are there, before files are unpacked.
    pub before_install: Option<Located<String>>,
    /// When all files are in place, before services are started or restarted.
    pub after_install: Option<Located<String>>,
    /// Before services are stopped and files removed.
    pub before_remove: Option<Located<String>>,
    /// When the files are removed.
    pub after_remove: Option<Located<String>>,
}

/// How a payload is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// zstd with its level, 1 to 22.
    Zstd(i32),
    /// gzip with its level, 0 to 9.
    Gzip(u32),
    /// xz with its preset, 0 to 9.
    Xz(u32),
}

/// `[package] revision`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackageRevision {
    /// As it was written.
    Fixed(String),
    /// Of the commit's date and hash, and, for what is in no commit, of the content.
    Auto,
}

/// `[package] compression`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressionPreset {
    /// Quick builds, larger packages.
    Fast,
    /// What suits most.
    Default,
    /// Small packages, slow builds.
    Small,
    /// This codec and level.
    Exact(Compression),
}

/// `[package] byte-code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteCode {
    /// By the build, if this machine has the Python that the release is for; else as with
    /// [`ByteCode::Installation`].
    Build,
    /// By scriptlets, when the package is installed.
    Installation,
}

/// `[package] configuration`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigurationForm {
    /// The package of the software has them.
    Included,
    /// A package of their own, `NAME-config`, which is built from the software's declaration and
    /// the values of one deployment.
    Separate,
}

/// `[package] tar`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TarCompression {
    /// `.tar.zst`.
    Zst,
    /// `.tar.gz`.
    Gz,
}

impl Packaging {
    /// Checks that all targets read the codec that is named.
    ///
    /// # Errors
    /// One does not.
    pub(super) fn check_compression(&self) -> Result<()> {
        match self.compression {
            CompressionPreset::Exact(Compression::Zstd(_)) => {
                refused_zstd(&self.targets).map_or(Ok(()), Err)
            }
            _ => Ok(()),
        }
    }

    /// Returns whether a later layer's file may take the place of an earlier one's.
    pub fn allows_collision(&self, path: &InstallPath) -> bool {
        self.allow_collisions
            .iter()
            .any(|pattern| pattern.matches(path.as_str()))
    }
}

/// Reads `[package]`, whose files are relative to `root`; the application's name is missing after a
/// mistake.
pub(super) fn read(
    table: TableReader<'_>,
    name: Option<&AppName>,
    root: &Path,
) -> Option<Packaging> {
    let prefix = install_prefix(&table, name);
    let revision = package_revision(&table);
    let targets = table.each("targets", target::by_name);
    let arch = table.get("arch").and_then(|value| value.placed(str::parse));
    let byte_code = table
        .get("byte-code")
        .map_or(Some(ByteCode::Build), |value| {
            value.choice(&[
                ("build", ByteCode::Build),
                ("installation", ByteCode::Installation),
            ])
        });
    let configuration =
        table
            .get("configuration")
            .map_or(Some(ConfigurationForm::Included), |value| {
                value.choice(&[
                    ("included", ConfigurationForm::Included),
                    ("separate", ConfigurationForm::Separate),
                ])
            });
    let prune = prune(&table);
    let depends = table.table("depends");
    let depends_deb = depends.each("deb", deb_relationship);
    let depends_rpm = depends.each("rpm", rpm_dependency);
    depends.of_kind("package.depends").finish();
    let relations = relations(&table, name);
    let scriptlets = scriptlets(
        table.table("scriptlets").of_kind("package.scriptlets"),
        root,
    );
    let allow_collisions = table.get("allow-collisions");
    let compression = compression(&table, &targets);
    let tar = table.get("tar").map_or(Some(TarCompression::Zst), |value| {
        value.choice(&[("zst", TarCompression::Zst), ("gz", TarCompression::Gz)])
    });
    let section = table
        .get("section")
        .map_or_else(|| Some("misc".to_owned()), |value| value.parsed(section));
    table.finish();
    Some(Packaging {
        prefix: prefix?,
        revision: revision?,
        targets,
        arch,
        byte_code: byte_code?,
        configuration: configuration?,
        prune,
        depends_deb,
        depends_rpm,
        relations,
        scriptlets,
        allow_collisions: allow_collisions.map_or_else(Vec::new, |value| {
            PathPattern::read_all(&value, PathPattern::of_host)
        }),
        compression: compression?,
        tar: tar?,
        section: section?,
    })
}

/// Reads the directory that the release is installed in: `/opt/NAME` unless another one is given.
fn install_prefix(table: &TableReader<'_>, name: Option<&AppName>) -> Option<Located<InstallPath>> {
    if let Some(value) = table.get("prefix") {
        return value.placed(prefix);
    }
    Some(Located {
        value: InstallPath::parse(&format!("/opt/{}", name?)).ok()?,
        at: table.at(),
    })
}

fn package_revision(table: &TableReader<'_>) -> Option<PackageRevision> {
    let Some(value) = table.get("revision") else {
        return Some(PackageRevision::Fixed("1".to_owned()));
    };
    value.parsed(|text| match text {
        "auto" => Ok(PackageRevision::Auto),
        text => revision(text).map(PackageRevision::Fixed),
    })
}

fn relations(table: &TableReader<'_>, name: Option<&AppName>) -> PackageRelations {
    PackageRelations {
        provides: relation(table, "provides", name, deb_provided),
        conflicts: relation(table, "conflicts", name, deb_one),
        replaces: relation(table, "replaces", name, deb_replaced),
        recommends: relation(table, "recommends", name, deb_relationship),
        suggests: relation(table, "suggests", name, deb_relationship),
    }
}

/// Reads how packages are compressed; complains of targets that can't unpack it.
fn compression(
    table: &TableReader<'_>,
    targets: &[Located<&'static Target>],
) -> Option<CompressionPreset> {
    let Some(value) = table.get("compression") else {
        return Some(CompressionPreset::Default);
    };
    let compression = squeeze(&value);
    if let Some(CompressionPreset::Exact(Compression::Zstd(_))) = compression
        && let Some(error) = refused_zstd(targets)
    {
        value.complain(error);
    }
    compression
}

/// Reads what is left out of distributions.
fn prune(table: &TableReader<'_>) -> Prune {
    let profiles = table.each("prune", str::parse::<PruneProfile>);
    let locales = table
        .get("locales")
        .map(|value| (value.each(locale), value));
    let whole = table
        .get("prune-except")
        .map(|value| (value.each(distribution_name), value));
    let profiles: BTreeSet<PruneProfile> =
        profiles.into_iter().map(|profile| profile.value).collect();
    if let Some((_, value)) = locales
        .as_ref()
        .filter(|_| !profiles.contains(&PruneProfile::Locales))
    {
        let error = Error::new("`locales` says which languages stay, and none is taken out");
        value.complain(error.hint("add `prune = [\"locales\"]`, or leave `locales` out"));
    }
    if let Some((_, value)) = whole.as_ref().filter(|_| profiles.is_empty()) {
        let error =
            Error::new("`prune-except` names distributions that stay whole, and none is pruned");
        value.complain(error.hint("add `prune = [\"tests\"]`, or leave `prune-except` out"));
    }
    let values = |list: Option<(Vec<Located<String>>, ValueReader<'_>)>| {
        list.map(|(list, _)| list.into_iter().map(|entry| entry.value).collect())
            .unwrap_or_default()
    };
    let whole = whole
        .map(|(list, _)| list.into_iter().map(|entry| entry.value).collect())
        .unwrap_or_default();
    Prune {
        profiles,
        locales: values(locales),
        whole,
    }
}

/// Reads a locale's name as directories below `locale/` have it.
fn locale(text: &str) -> Result<String> {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '@');
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(inside) {
        Ok(text.replace('-', "_"))
    } else {
        Err(Error::new(format!("`{text}` is not the name of a locale"))
            .hint("such as `de` or `pt_BR`"))
    }
}

/// Reads where a release lies.
fn prefix(text: &str) -> Result<InstallPath> {
    /// What belongs to the system although no package puts files there.
    const SYSTEM: [&str; 8] = [
        "/boot",
        "/lib64",
        "/media",
        "/mnt",
        "/root",
        "/usr/include",
        "/usr/lib64",
        "/usr/libexec",
    ];
    const VOLATILE: [&str; 5] = ["/dev", "/proc", "/run", "/sys", "/tmp"];
    let hint = "choose a directory that belongs to the application alone, such as `/opt/shop`";
    let path = InstallPath::parse(text).map_err(|error| error.hint(hint))?;
    let mut above = Some(path.clone());
    while let Some(directory) = above {
        if VOLATILE.contains(&directory.as_str()) {
            return Err(Error::new(format!(
                "`{text}` cannot be a prefix: `{directory}` does not keep files"
            ))
            .hint(hint));
        }
        above = directory.parent();
    }
    if is_system_directory(&path) || SYSTEM.contains(&path.as_str()) {
        return Err(Error::new(format!(
            "`{text}` cannot be a prefix: it belongs to the host's system"
        ))
        .hint(hint));
    }
    Ok(path)
}

/// Reads a revision that is written out.
pub fn revision(text: &str) -> Result<String> {
    if text == "auto" {
        return Err(
            Error::new("`auto` is for applications, whose revisions follow their commits")
                .hint("count from `1`"),
        );
    }
    match text.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '+' | '~')) {
        None if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(Error::new(format!("`{text}` is not a revision"))
            .note("letters, digits, `.`, `+` and `~`: what both dpkg and rpm take, which split versions at `-`")
            .hint("count from `\"1\"`, or write `\"auto\"`")),
    }
}

/// Reads the user's own lines.
fn scriptlets(table: TableReader<'_>, root: &Path) -> ScriptletPhases {
    let lines = |key| table.get(key).and_then(|value| lines(&value, root));
    let phases = ScriptletPhases {
        before_install: lines("before-install"),
        after_install: lines("after-install"),
        before_remove: lines("before-remove"),
        after_remove: lines("after-remove"),
    };
    table.finish();
    phases
}

/// Reads lines of sh: a string, or `{ file = "…" }`.
fn lines(value: &ValueReader<'_>, root: &Path) -> Option<Located<String>> {
    if value.is_string() {
        return value.placed(|text| shell(text.to_owned()));
    }
    if !value.is_table() {
        value.wrong_type("lines of sh or `{ file = \"…\" }`");
        return None;
    }
    let table = value.table("package.scriptlets.PHASE")?;
    let text = table
        .require("file", "file = \"deploy/after-install.sh\"")
        .and_then(|value| {
            value.placed(|text| {
                shell(pkgapp_core::fs::read_to_string(&existing_file(
                    root, "script", text,
                )?)?)
            })
        });
    table.finish();
    text
}

fn shell(text: String) -> Result<String> {
    if let Some(bad) = text
        .chars()
        .find(|c| c.is_control() && !matches!(c, '\n' | '\t'))
    {
        return Err(
            Error::new(format!("a script for sh cannot contain {bad:?}"))
                .hint("write it with plain line ends, as Unix has them"),
        );
    }
    let first = text.lines().next().unwrap_or_default();
    if let Some(interpreter) = first.strip_prefix("#!").map(str::trim)
        && !matches!(
            interpreter.split_whitespace().next(),
            Some("/bin/sh" | "/usr/bin/sh")
        )
    {
        return Err(Error::new(format!(
            "dpkg and rpm run these lines with `/bin/sh`, not with `{interpreter}`"
        ))
        .hint("write them for sh, or put the script into the application and call it from here"));
    }
    if text.trim().is_empty() {
        return Err(
            Error::new("there are no lines in it").hint("remove the key if there is nothing to do")
        );
    }
    Ok(text)
}

/// Reads an archive section (Debian Policy §2.4), which may have an area in front.
fn section(text: &str) -> Result<String> {
    let inside = !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-/".contains(c));
    if inside {
        Ok(text.to_owned())
    } else {
        Err(
            Error::new(format!("`{text}` is not a section of Debian's archive"))
                .hint("such as `web` or `misc`"),
        )
    }
}

/// Reads what the package is to others: names that mean the same to dpkg and to rpm, or a list for
/// each of them.
fn relation(
    table: &TableReader<'_>,
    key: &'static str,
    name: Option<&AppName>,
    deb: impl Fn(&str) -> Result<String>,
) -> PackageRelation {
    let Some(value) = table.get(key) else {
        return PackageRelation::default();
    };
    let others = |entry: String| {
        match name {
        Some(name) if entry.split([' ', '(']).next() == Some(name.as_str()) => {
            Err(Error::new(format!("`{entry}` is the package itself"))
                .hint("leave it out: a package always provides its own name and replaces its own earlier versions"))
        }
        _ => Ok(entry),
    }
    };
    let values = |list: Vec<Located<String>>| list.into_iter().map(|entry| entry.value).collect();
    if !value.is_table() {
        let names: Vec<String> = values(value.each(|text| others(package_name(text, key)?)));
        return PackageRelation {
            deb: names.clone(),
            rpm: names,
        };
    }
    let Some(formats) = value.table(key) else {
        return PackageRelation::default();
    };
    let of_deb = formats.each("deb", |text| others(deb(text)?));
    let of_rpm = formats.each("rpm", |text| others(rpm_dependency(text)?));
    formats.finish();
    PackageRelation {
        deb: values(of_deb),
        rpm: values(of_rpm),
    }
}

/// Reads the name of a package that both formats can have.
fn package_name(text: &str, key: &str) -> Result<String> {
    let inside =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-' | '.');
    if text.len() >= 2
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(inside)
    {
        Ok(text.to_owned())
    } else {
        Err(Error::new(format!("`{text}` is not a name that packages have in both formats"))
    .note("lowercase letters, digits, `+`, `-` and `.`; versions differ between dpkg and rpm")
    .hint(format!(
        "write `{key}.deb = [\"shop-old (<< 2.0)\"]` and `{key}.rpm = [\"shop-old < 2.0\"]` to name versions"
    )))
    }
}

/// Reads an entry of a field that knows no alternatives.
fn deb_one(text: &str) -> Result<String> {
    if text.contains('|') {
        Err(Error::new(format!(
            "`{text}` names alternatives, which only dependencies can have"
        ))
        .hint("make each of them an entry of the list"))
    } else {
        deb_relationship(text)
    }
}

/// Reads an entry of `Provides` (Debian Policy §7.5).
fn deb_provided(text: &str) -> Result<String> {
    let entry = deb_one(text)?;
    match entry.split_once('(') {
        Some((_, version)) if version.starts_with(['<', '>']) => {
            Err(Error::new(format!("`{text}` provides no certain version"))
                .hint("write the name alone, or one version, such as `shop-old (= 2.0)`"))
        }
        _ => Ok(entry),
    }
}

/// Reads what is replaced: a whole package, or one up to a version (Debian Policy §7.6).
fn deb_replaced(text: &str) -> Result<String> {
    let entry = deb_one(text)?;
    match entry.split_once('(') {
        Some((_, version)) if !version.starts_with('<') => {
            Err(Error::new(format!("`{text}` would also replace future versions")).hint(
                "write the name alone if the package is gone, or the version that is the first without its files: \
                     `shop (<< 2.0)`",
            ))
        }
        _ => Ok(entry),
    }
}

/// Reads a relationship field's entry (Debian Policy §7.1).
fn deb_relationship(text: &str) -> Result<String> {
    let bad = |hint: &str| {
        Err(Error::new(format!("`{text}` is not a dependency as dpkg writes it")).hint(hint))
    };
    if text.contains(',') {
        return bad("make each of them an entry of the list");
    }
    for alternative in text.split('|').map(str::trim) {
        let (name, version) = match alternative.split_once('(') {
            Some((name, version)) => (name.trim(), version.strip_suffix(')').unwrap_or("")),
            None => (alternative, "= 0"),
        };
        let name = name.split_once(':').map_or(name, |(name, _)| name);
        let inside =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-' | '.');
        if name.len() < 2 || !name.chars().all(inside) {
            return bad("such as `libpq5` or `libpq5 (>= 13)`");
        }
        let number = version.trim_start_matches(['<', '=', '>']);
        let operator = &version[..version.len() - number.len()];
        let number = number.trim();
        if !matches!(operator, "<<" | "<=" | "=" | ">=" | ">>")
            || number.is_empty()
            || number.contains(' ')
        {
            return bad(
                "such as `libpq5 (>= 13)`; the operators are `<<`, `<=`, `=`, `>=` and `>>`",
            );
        }
    }
    Ok(text.to_owned())
}

/// Reads a dependency of a spec file: a name, perhaps an operator and a version; or a rich one in
/// parentheses.
fn rpm_dependency(text: &str) -> Result<String> {
    let bad = |hint: &str| {
        Err(Error::new(format!("`{text}` is not a dependency as rpm writes it")).hint(hint))
    };
    if text.starts_with('(') && text.ends_with(')') {
        return Ok(text.to_owned());
    }
    if text.contains(',') {
        return bad("make each of them an entry of the list");
    }
    match text.split(' ').collect::<Vec<_>>()[..] {
        [name] if !name.is_empty() && !name.contains(['<', '=', '>']) => Ok(text.to_owned()),
        [name, "<" | "<=" | "=" | ">=" | ">", version]
            if !name.is_empty() && !version.is_empty() =>
        {
            Ok(text.to_owned())
        }
        _ => bad("such as `libpq` or `libpq >= 13`"),
    }
}

/// What was asked for by name is not silently made into something else.
fn refused_zstd(targets: &[Located<&'static Target>]) -> Option<Error> {
    let target = targets.iter().find(|target| !target.value.zstd)?;
    let error = Error::new(format!(
        "the package manager of `{}` reads no zstd",
        target.value.name
    ));
    Some(error.hint("write `compression = \"default\"`: its codec is one that all targets read"))
}

fn squeeze(value: &ValueReader<'_>) -> Option<CompressionPreset> {
    if value.is_string() {
        return value.choice(&[
            ("fast", CompressionPreset::Fast),
            ("default", CompressionPreset::Default),
            ("small", CompressionPreset::Small),
        ]);
    }
    if !value.is_table() {
        value.wrong_type("`\"fast\"`, `\"default\"`, `\"small\"` or `{ codec = …, level = … }`");
        return None;
    }
    let table = value.table("package.compression")?;
    let codec = table
        .require("codec", "codec = \"zstd\"")
        .and_then(|value| {
            value
                .choice(&[("zstd", (1, 22)), ("gzip", (0, 9)), ("xz", (0, 9))])
                .map(|limits| (value, limits))
        });
    let level = table.require("level", "level = 9");
    table.finish();
    let (codec, (least, most)) = codec?;
    let level = level?.integer(least..=most)?;
    Some(CompressionPreset::Exact(match codec.text()? {
        "zstd" => Compression::Zstd(i32::try_from(level).ok()?),
        "gzip" => Compression::Gzip(u32::try_from(level).ok()?),
        _ => Compression::Xz(u32::try_from(level).ok()?),
    }))
}
