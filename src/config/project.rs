//! Defaults from pyproject.toml's `[project]` (PEP 621) and from what its presence means.

use url::Url;

use pkgapp_core::error::{Context, Error, Result};
use pkgapp_core::name::AppName;
use pkgapp_pypa::{PackageName, Version};

use super::reader::{Located, TableReader, ValueReader};

/// What a pyproject.toml says, as far as an application takes it over.
///
/// A value that is wrong is only a mistake if it is used: `[app]` may say it better.
#[derive(Debug, Clone, Default)]
pub(super) struct ProjectTable {
    pub(super) name: Option<Result<AppName>>,
    pub(super) version: Option<Result<Located<Version>>>,
    /// There is a `[project]` that does not leave the version to the build backend (`dynamic`).
    pub(super) version_is_static: bool,
    pub(super) summary: Option<String>,
    pub(super) license: Option<String>,
    pub(super) maintainer: Option<String>,
    pub(super) homepage: Option<Result<Url>>,
    /// Something that a build backend can make a wheel of.
    pub(super) is_project: bool,
}

impl ProjectTable {
    /// Reads a pyproject.toml, whose unknown keys are other tools' business.
    pub(super) fn read(root: &TableReader<'_>) -> Self {
        let has_backend = root.get("build-system").is_some();
        let Some(table) = root.get("project").and_then(|value| value.table("project")) else {
            return Self {
                is_project: has_backend,
                ..Self::default()
            };
        };
        let version = |value: ValueReader<'_>| {
            Some(value.judged(version)?.map(|version| Located {
                value: version,
                at: value.at(),
            }))
        };
        Self {
            name: table.get("name").and_then(|value| value.judged(name)),
            version: table.get("version").and_then(version),
            version_is_static: !table.get("dynamic").is_some_and(|value| {
                value
                    .list()
                    .iter()
                    .any(|field| field.text() == Some("version"))
            }),
            summary: table
                .get("description")
                .and_then(|value| value.text())
                .and_then(joined_line),
            license: license(&table),
            maintainer: person(&table, "maintainers").or_else(|| person(&table, "authors")),
            homepage: homepage(&table),
            is_project: true,
        }
    }
}

/// Reads a version (PEP 440).
pub(super) fn version(text: &str) -> Result<Version> {
    text.parse()
        .map_err(|error: <Version as std::str::FromStr>::Err| {
            Error::new(format!("`{text}` is not a version"))
                .cause(error)
                .hint("versions are as in PEP 440, such as `1.4.2`, `2.0rc1` or `1.4.2.post1`")
        })
}

/// Returns the name nearest to `text` that a package can have.
pub(super) fn nearest_name(text: &str) -> Option<AppName> {
    let text: String = text
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let text: String = text
        .trim_start_matches(|c: char| !c.is_ascii_lowercase())
        .chars()
        .take(64)
        .collect();
    AppName::parse(text.trim_end_matches('-')).ok()
}

fn name(text: &str) -> Result<AppName> {
    let normalized: PackageName = text
        .parse()
        .context(|| format!("`{text}` is not the name of a distribution"))?;
    nearest_name(normalized.as_ref()).ok_or_else(|| {
        Error::new(format!(
            "no package can be called like the project, `{text}`"
        ))
        .hint("write `name = \"…\"` below pkgapp's `[app]`")
    })
}

fn joined_line(text: &str) -> Option<String> {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    (!line.is_empty() && !line.contains(char::is_control)).then_some(line)
}

/// Returns `license`: an expression (PEP 639), or the older `{ text = … }` if that is no whole
/// text.
fn license(table: &TableReader<'_>) -> Option<String> {
    let value = table.get("license")?;
    let text = if value.is_string() {
        value.text()?
    } else {
        value.table("project.license")?.get("text")?.text()?
    };
    let text = text.trim();
    (!text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned())
}

/// Returns the first person with an address, else the first with a name.
fn person(table: &TableReader<'_>, key: &'static str) -> Option<String> {
    let people = table.get(key)?.list();
    let people = people.iter().filter_map(|person| {
        let person = person.table("project.authors")?;
        let text = |key| {
            person
                .get(key)
                .and_then(|value| value.text())
                .and_then(joined_line)
        };
        Some((text("name"), text("email")))
    });
    let people: Vec<_> = people.collect();
    let with_address = people.iter().find_map(|(name, email)| {
        let email = email
            .as_deref()
            .filter(|email| !email.contains([' ', '<', '>']))?;
        let name = name.as_deref().or_else(|| email.split('@').next())?;
        Some(format!("{} <{email}>", name.replace(['<', '>'], "")))
    });
    with_address.or_else(|| people.into_iter().find_map(|(name, _)| name))
}

/// Returns the URL labelled as the home page (PEP 753: labels are compared without case and
/// punctuation).
fn homepage(table: &TableReader<'_>) -> Option<Result<Url>> {
    let urls = table.get("urls")?.table("project.urls")?.entries();
    urls.into_iter().find_map(|(label, value)| {
        let label: String = label.chars().filter(char::is_ascii_alphanumeric).collect();
        label
            .eq_ignore_ascii_case("homepage")
            .then(|| value.judged(super::web_address))?
    })
}
