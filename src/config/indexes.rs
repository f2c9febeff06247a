//! `[[python.index]]` and `[python.sources]`: indexes with a name, and what comes from which.

use std::collections::BTreeMap;
use std::path::Path;

use url::Url;

use super::distribution_name;
use super::reader::{TableReader, ValueReader, listed, nearest};
use pkgapp_core::error::Location;
use pkgapp_core::error::{Context, Error, Result, shown};
use pkgapp_pypa::PackageName;
use pkgapp_pypa::shown_url;
use std::fmt;

/// What the default index is called in `[python.sources]`, unless an index of the configuration has
/// the name.
pub const DEFAULT_NAME: &str = "pypi";

/// An index that is named: by the configuration, or by a lock that says of single distributions
/// where they are.
#[derive(Clone)]
pub struct NamedIndex {
    /// Its name: letters, digits, `.`, `-` and `_`.
    pub name: String,
    /// Where it is; without a password, but a lock's may have one.
    pub url: Url,
    /// It is asked only for the distributions whose source it is (`[python.sources]`).
    pub explicit: bool,
    /// It is asked last, instead of PyPI.
    pub default: bool,
    /// Its credentials are asked of the program `keyring`.
    pub keyring: bool,
    /// Where it is named.
    pub at: Location,
}

impl fmt::Debug for NamedIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.name, shown_url(&self.url))
    }
}

impl NamedIndex {
    /// Returns the beginning of the names of the variables that hold its credentials:
    /// `PKGAPP_INDEX_MY_MIRROR`.
    pub fn variable(&self) -> String {
        let name = self.name.chars().map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        });
        format!("PKGAPP_INDEX_{}", name.collect::<String>())
    }

    /// Returns the URL with the credentials of the environment, which are stronger than its own.
    pub fn with_credentials(&self) -> Url {
        self.with_variables(&|name| std::env::var(name).ok())
    }

    fn with_variables(&self, variable: &dyn Fn(&str) -> Option<String>) -> Url {
        let mut url = self.url.clone();
        let set = |what: &str| {
            variable(&format!("{}_{what}", self.variable())).filter(|value| !value.is_empty())
        };
        // Both fail only for URLs that can't have either, such as `file:`.
        if let Some(user) = set("USERNAME") {
            _ = url.set_username(&user);
        }
        if let Some(password) = set("PASSWORD") {
            _ = url.set_password(Some(&password));
        }
        url
    }
}

/// Reads both tables, which are below `[python]`.
pub(super) fn read(
    python: &TableReader<'_>,
    root: &Path,
) -> (Vec<NamedIndex>, BTreeMap<PackageName, String>) {
    let indexes = read_indexes(python, root);
    let Some(sources) = python
        .get("sources")
        .and_then(|value| value.table("python.sources"))
    else {
        return (indexes, BTreeMap::new());
    };
    let chosen = read_sources(&sources, &indexes);
    for index in indexes.iter().filter(|index| index.explicit) {
        if !chosen.values().any(|source| *source == index.name) {
            complain_of_unused(&sources, index);
        }
    }
    (indexes, chosen)
}

fn read_indexes(python: &TableReader<'_>, root: &Path) -> Vec<NamedIndex> {
    let mut indexes: Vec<NamedIndex> = Vec::new();
    for value in python.collection("index", ValueReader::list) {
        let index = value
            .table("python.index")
            .and_then(|table| index(table, root));
        if let Some(index) = index {
            complain_of_conflict(&value, &index, &indexes);
            indexes.push(index);
        }
    }
    indexes
}

/// Complains of an index that has the name or the role of an earlier one.
fn complain_of_conflict(value: &ValueReader<'_>, index: &NamedIndex, earlier: &[NamedIndex]) {
    if let Some(other) = earlier
        .iter()
        .find(|other| other.variable() == index.variable())
    {
        let error = Error::new(format!("two indexes are called `{}`", other.name));
        value.complain(
            error
                .note(format!("the other one is at {}", other.at))
                .hint("give one another name"),
        );
    } else if let Some(other) = earlier.iter().find(|other| other.default && index.default) {
        let error = Error::new(format!(
            "both `{}` and `{}` are the default index",
            other.name, index.name
        ));
        value.complain(error.hint("leave `default` out for one: it is asked before the default"));
    }
}

/// Reads the index that each distribution comes from.
fn read_sources(
    sources: &TableReader<'_>,
    indexes: &[NamedIndex],
) -> BTreeMap<PackageName, String> {
    let mut chosen: BTreeMap<PackageName, String> = BTreeMap::new();
    for (name, value) in sources.entries() {
        let Some(source) = value.parsed(|text| source(text, indexes)) else {
            continue;
        };
        match distribution_name(&name.value) {
            Ok(name) if chosen.contains_key(&name) => {
                value.complain(
                    Error::new(format!("`{name}` has two sources")).hint("keep one of them"),
                );
            }
            Ok(name) => _ = chosen.insert(name, source),
            Err(error) => value.complain(error),
        }
    }
    chosen
}

/// Complains of an explicit index that no distribution comes from.
fn complain_of_unused(sources: &TableReader<'_>, index: &NamedIndex) {
    let error = Error::new(format!(
        "nothing comes from the index `{}`, which is explicit",
        index.name
    ));
    let hint = format!(
        "write `NAME = \"{}\"` below `[python.sources]`, or leave `explicit` out",
        index.name
    );
    sources.complain_elsewhere(error.at(index.at.clone()).hint(hint));
}

fn index(table: TableReader<'_>, root: &Path) -> Option<NamedIndex> {
    let at = table.at();
    let name = table
        .require("name", "name = \"internal\"")
        .and_then(|value| value.parsed(index_name));
    let url = table
        .require("url", "url = \"https://pypi.example.com/simple\"")
        .and_then(|value| value.parsed(|text| index_url(text, root)));
    let flag = |key: &'static str| {
        table
            .get(key)
            .and_then(|value: ValueReader<'_>| value.boolean())
            .unwrap_or(false)
    };
    let (explicit, default, keyring) = (flag("explicit"), flag("default"), flag("keyring"));
    if explicit && default {
        let error = Error::new("an index cannot be both `explicit` and `default`");
        table.complain(
            error.hint("leave one out: the default is asked for all that no other index has"),
        );
    }
    table.finish();
    Some(NamedIndex {
        name: name?,
        url: url?,
        explicit,
        default,
        keyring,
        at,
    })
}

fn index_name(text: &str) -> Result<String> {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(inside) {
        Ok(text.to_owned())
    } else {
        Err(Error::new(format!("`{text}` is not the name of an index"))
    .hint("letters, digits, `.`, `-` and `_`, a letter or digit first: variables are named after it"))
    }
}

/// Reads an index's address: a URL, or a directory of this machine.
fn index_url(text: &str, root: &Path) -> Result<Url> {
    if !text.contains("://") {
        let path = super::existing(root, "index", text)?;
        return Url::from_directory_path(&path).map_err(|()| {
            Error::new(format!(
                "`{}` is not the directory of an index",
                shown(&path)
            ))
        });
    }
    // Whoever wrote a password there must not find it in a log.
    let url = Url::parse(text).context(|| "the index's `url` is not a URL")?;
    if !matches!(url.scheme(), "http" | "https" | "file") {
        return Err(Error::new(format!(
            "pkgapp cannot reach an index by `{}:`",
            url.scheme()
        ))
        .hint("begin its `url` with `https://`, or name a directory"));
    }
    if url.password().is_some() {
        return Err(Error::new("the index's `url` holds a password, and this file is read by many").hint(
            "leave it out: `PKGAPP_INDEX_NAME_USERNAME` and `PKGAPP_INDEX_NAME_PASSWORD`, `~/.netrc` or \
             `keyring = true` give it",
        ));
    }
    Ok(url)
}

fn source(text: &str, indexes: &[NamedIndex]) -> Result<String> {
    let names = || {
        indexes
            .iter()
            .map(|index| index.name.as_str())
            .chain([DEFAULT_NAME])
    };
    if names().any(|name| name == text) {
        return Ok(text.to_owned());
    }
    let error = Error::new(format!("there is no index `{text}`"));
    Err(match nearest(text, names()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!(
            "there is {}; others need a `[[python.index]]` with the name",
            listed(names())
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(name: &str, explicit: bool, default: bool) -> NamedIndex {
        let url = format!("https://{name}.example/simple").parse().unwrap();
        NamedIndex {
            name: name.into(),
            url,
            explicit,
            default,
            keyring: false,
            at: Location::file("pkgapp.toml"),
        }
    }

    #[test]
    fn credentials_of_the_environment_are_those_of_the_name() {
        let mut index = index("my.mirror-2", false, false);
        assert_eq!(index.variable(), "PKGAPP_INDEX_MY_MIRROR_2");
        index.url = "https://old@my.example/simple".parse().unwrap();
        let variable = |name: &str| match name {
            "PKGAPP_INDEX_MY_MIRROR_2_USERNAME" => Some("ci".to_owned()),
            "PKGAPP_INDEX_MY_MIRROR_2_PASSWORD" => Some("a b/c@".to_owned()),
            _ => None,
        };
        assert_eq!(
            index.with_variables(&variable).as_str(),
            "https://ci:a%20b%2Fc%40@my.example/simple"
        );
        assert_eq!(index.with_variables(&|_| None), index.url);
        index.url.set_password(Some("hidden")).unwrap();
        assert!(!format!("{index:?}").contains("hidden"));
    }
}
