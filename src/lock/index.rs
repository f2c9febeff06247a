//! Named indexes, and the order of places to look for a distribution.

use crate::{Indexes, Url};
use pkgapp_config::DEFAULT_NAME;
use pkgapp_config::NamedIndex;
use pkgapp_core::error::Location;
use pkgapp_pypa::PackageName;

/// The name of the default index, unless another index is the default.
pub const PYPI: &str = "https://pypi.org/simple";

/// A place to look for a distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaceId {
    /// The directories of the command line, all together.
    Wheelhouses,
    /// The lock's `--find-links`, all together.
    FindLinks,
    /// An index of [`Indexes::named`].
    Named(usize),
    /// An index of [`Indexes::extra`].
    Extra(usize),
    /// [`Indexes::index`], else PyPI.
    Default,
}

impl PlaceId {
    /// Returns whether it is an index: the first index that knows a name decides.
    pub fn is_index(&self) -> bool {
        matches!(self, Self::Named(_) | Self::Extra(_) | Self::Default)
    }
}

impl Indexes {
    /// Returns where to look for a distribution, in order: directories of the command line; then
    /// the index that the configuration assigns to it, if any, and nothing else; otherwise
    /// find-links, named indexes, extra indexes, and the default.
    pub fn places(&self, name: &PackageName) -> Vec<PlaceId> {
        let mut places = Vec::new();
        if !self.wheelhouses.is_empty() {
            places.push(PlaceId::Wheelhouses);
        }
        if let Some(source) = self.sources.get(name) {
            if !self.no_index {
                places.push(
                    self.index_called(source)
                        .map_or(PlaceId::Default, PlaceId::Named),
                );
            }
            return places;
        }
        if !self.find_links.is_empty() {
            places.push(PlaceId::FindLinks);
        }
        if !self.no_index {
            let in_turn = |(_, index): &(usize, &NamedIndex)| !index.explicit && !index.default;
            places.extend(
                self.named
                    .iter()
                    .enumerate()
                    .filter(in_turn)
                    .map(|(at, _)| PlaceId::Named(at)),
            );
            places.extend((0..self.extra.len()).map(PlaceId::Extra));
            places.push(self.default_place());
        }
        places
    }

    /// Returns the last place to look.
    pub fn default_place(&self) -> PlaceId {
        self.named
            .iter()
            .position(|index| index.default)
            .map_or(PlaceId::Default, PlaceId::Named)
    }

    /// Returns the index of a source; `None` for the default one.
    fn index_called(&self, source: &str) -> Option<usize> {
        self.named
            .iter()
            .position(|index| index.name == source)
            .or(match self.default_place() {
                PlaceId::Named(at) => Some(at),
                _ => None,
            })
    }

    /// Returns the URL of an index with its credentials; `None` for directories.
    pub fn url(&self, place: &PlaceId) -> Option<Url> {
        match place {
            PlaceId::Wheelhouses | PlaceId::FindLinks => None,
            PlaceId::Named(at) => self.named.get(*at).map(NamedIndex::with_credentials),
            PlaceId::Extra(at) => self.extra.get(*at).cloned(),
            PlaceId::Default => self.index.clone().or_else(|| Url::parse(PYPI).ok()),
        }
    }

    /// Returns the indexes for tools that do not know named indexes: the default index unless it is
    /// the tool's own default, and the others in order, with credentials. Explicit indexes are left
    /// out.
    pub fn for_tools(&self) -> (Option<Url>, Vec<Url>) {
        let default = match self.default_place() {
            PlaceId::Default => self.index.clone(),
            place => self.url(&place),
        };
        let in_turn = self
            .named
            .iter()
            .filter(|index| !index.explicit && !index.default);
        (
            default,
            in_turn
                .map(NamedIndex::with_credentials)
                .chain(self.extra.iter().cloned())
                .collect(),
        )
    }

    /// Returns all directories and pages with files, those of the command line first.
    pub fn all_links(&self) -> Vec<Url> {
        let own = self
            .wheelhouses
            .iter()
            .filter_map(|directory| Url::from_directory_path(directory).ok());
        own.chain(self.find_links.iter().cloned()).collect()
    }

    /// Records that a lock takes a distribution from one index only, unless the configuration
    /// assigns another one.
    pub(super) fn add_source(
        &mut self,
        name: &PackageName,
        called: &str,
        url: &Url,
        at: &Location,
    ) {
        if self.sources.contains_key(name) {
            return;
        }
        let plain = |url: &Url| url.as_str().trim_end_matches('/').to_owned();
        if plain(url) == PYPI && self.index_called(DEFAULT_NAME).is_none() && self.index.is_none() {
            self.sources.insert(name.clone(), DEFAULT_NAME.to_owned());
            return;
        }
        let known = self
            .named
            .iter()
            .find(|index| plain(&index.url) == plain(url))
            .map(|index| index.name.clone());
        let source = known.unwrap_or_else(|| {
            let mut name = called.to_owned();
            while self.named.iter().any(|index| index.name == name) || name == DEFAULT_NAME {
                name.push('_');
            }
            let (url, at) = (url.clone(), at.clone());
            self.named.push(NamedIndex {
                name: name.clone(),
                url,
                explicit: true,
                default: false,
                keyring: false,
                at,
            });
            name
        });
        self.sources.insert(name.clone(), source);
    }
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

    fn shown(indexes: &Indexes, name: &str) -> Vec<String> {
        let places = indexes.places(&name.parse().unwrap());
        places
            .iter()
            .map(|place| {
                indexes
                    .url(place)
                    .map_or_else(|| format!("{place:?}"), |url| url.to_string())
            })
            .collect()
    }

    #[test]
    fn places_are_asked_in_the_documented_order() {
        let mut indexes = Indexes {
            named: vec![
                index("secret", true, false),
                index("mirror", false, true),
                index("team", false, false),
            ],
            extra: vec!["https://extra.example/simple".parse().unwrap()],
            find_links: vec!["file:///vendor".parse().unwrap()],
            index: Some("https://index.example/simple".parse().unwrap()),
            wheelhouses: vec!["/wheelhouse".into()],
            ..Indexes::default()
        };
        indexes
            .sources
            .insert("ours".parse().unwrap(), "secret".into());
        indexes
            .sources
            .insert("public".parse().unwrap(), "pypi".into());
        let usual = [
            "Wheelhouses",
            "FindLinks",
            "https://team.example/simple",
            "https://extra.example/simple",
            "https://mirror.example/simple",
        ];
        assert_eq!(shown(&indexes, "flask"), usual);
        assert_eq!(
            shown(&indexes, "ours"),
            ["Wheelhouses", "https://secret.example/simple"]
        );
        assert_eq!(
            shown(&indexes, "public"),
            ["Wheelhouses", "https://mirror.example/simple"]
        );
        indexes.named.remove(1);
        assert_eq!(
            shown(&indexes, "public"),
            ["Wheelhouses", "https://index.example/simple"]
        );
        indexes.no_index = true;
        assert_eq!(shown(&indexes, "flask"), ["Wheelhouses", "FindLinks"]);
        assert_eq!(shown(&indexes, "ours"), ["Wheelhouses"]);
        assert_eq!(shown(&Indexes::default(), "flask"), [PYPI]);
    }

    #[test]
    fn a_lock_that_names_an_index_for_a_distribution_is_followed() {
        let mut indexes = Indexes {
            named: vec![index("team", false, false)],
            ..Indexes::default()
        };
        let at = Location::file("poetry.lock");
        let mut add = |name: &str, url: &str| {
            indexes.add_source(&name.parse().unwrap(), "team", &url.parse().unwrap(), &at);
        };
        add("a", "https://team.example/simple/");
        add("b", "https://other.example/simple");
        add("c", "https://pypi.org/simple/");
        assert_eq!(shown(&indexes, "a"), ["https://team.example/simple"]);
        assert_eq!(shown(&indexes, "b"), ["https://other.example/simple"]);
        assert_eq!(shown(&indexes, "c"), [PYPI]);
        assert_eq!(
            shown(&indexes, "d"),
            ["https://team.example/simple", PYPI],
            "the lock's index is for `b` alone"
        );
    }
}
