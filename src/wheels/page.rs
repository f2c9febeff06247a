//! Pages of an index or of `--find-links`: HTML (PEP 503) and JSON (PEP 691), with wheels, sdists,
//! and eggs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr;

use pkgapp_pypa::DistFilename;
use pkgapp_pypa::LenientVersionSpecifiers;
use serde::Deserialize;
use tl::{HTMLTag, ParserOptions};
use url::Url;

use super::index::FileOffer;
use pkgapp_http::percent_decoded;
use pkgapp_pypa::egg::{EggFilename, is_egg};
use pkgapp_pypa::{HashDigest, PackageName, VersionSpecifiers};

/// The media types of pages, best first.
pub(super) const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, \
    application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1";

/// Returns the files that a page at `url` offers, with their versions; only those of one
/// distribution, if it is given. A page of an unknown media type `kind` has none.
///
/// # Errors
/// Fails on invalid JSON.
pub fn offers(
    kind: &str,
    text: &[u8],
    url: &Url,
    name: Option<&PackageName>,
) -> Result<Vec<FileOffer>, serde_json::Error> {
    let files = if kind.ends_with("json") {
        json(text, url)?
    } else if kind.contains("html") {
        html(&String::from_utf8_lossy(text), url)
    } else {
        Vec::new()
    };
    let is_of_web = url.scheme() != "file";
    let mut offers: Vec<FileOffer> = files
        .into_iter()
        .filter_map(|file| file.offer(name, is_of_web))
        .collect();
    offers.sort_by(|a, b| a.dist.version().cmp(b.dist.version()));
    Ok(offers)
}

/// A file in the listing of a page.
#[derive(Debug)]
struct ListedFile {
    name: String,
    url: Url,
    hashes: Vec<HashDigest>,
    size: Option<u64>,
    requires_python: Option<String>,
    yanked: Option<String>,
}

impl ListedFile {
    /// Parses its name; `None` for a file of another distribution, or if a page on the web refers
    /// to a local file.
    fn offer(mut self, name: Option<&PackageName>, is_of_web: bool) -> Option<FileOffer> {
        let is_plain = !self.name.contains(['/', '\\', '\0']);
        let is_allowed = matches!(self.url.scheme(), "http" | "https")
            || (!is_of_web && self.url.scheme() == "file");
        if !is_plain || !is_allowed {
            return None;
        }
        let dist = named(&self.name, name)?;
        self.url.set_fragment(None);
        let requires_python = self
            .requires_python
            .as_deref()
            .map(LenientVersionSpecifiers::from_str);
        Some(FileOffer {
            file: self.name,
            dist,
            url: self.url,
            hashes: self.hashes,
            size: self.size,
            requires_python: requires_python
                .and_then(Result::ok)
                .map(VersionSpecifiers::from),
            yanked: self.yanked,
        })
    }
}

/// Parses the name of a wheel, sdist, or egg; the name of an sdist is ambiguous without that of its
/// distribution.
pub(super) fn named(file: &str, name: Option<&PackageName>) -> Option<DistFilename> {
    let dist = if is_egg(file) {
        DistFilename::WheelFilename(EggFilename::parse(file).ok()?.wheel().ok()?)
    } else {
        match name {
            Some(name) => DistFilename::try_from_filename(file, name)?,
            None => DistFilename::try_from_normalized_filename(file)?,
        }
    };
    name.is_none_or(|name| dist.name() == name).then_some(dist)
}

/// The parts of a listing that pkgapp reads (PEP 691, PEP 700).
#[derive(Deserialize)]
struct PageListing {
    files: Vec<PageFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PageFile {
    filename: String,
    url: String,
    hashes: Option<BTreeMap<String, String>>,
    size: Option<u64>,
    requires_python: Option<String>,
    yanked: Option<Yanked>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Yanked {
    Is(bool),
    Reason(String),
}

fn json(text: &[u8], url: &Url) -> Result<Vec<ListedFile>, serde_json::Error> {
    let listing: PageListing = serde_json::from_slice(text)?;
    let listed = |file: PageFile| {
        let hashes = file
            .hashes
            .iter()
            .flatten()
            .filter_map(|(kind, sum)| HashDigest::from_str(&format!("{kind}:{sum}")).ok());
        Some(ListedFile {
            url: url.join(&file.url).ok()?,
            hashes: hashes.collect(),
            name: file.filename,
            size: file.size,
            requires_python: file.requires_python,
            yanked: match file.yanked {
                None | Some(Yanked::Is(false)) => None,
                Some(Yanked::Is(true)) => Some(String::new()),
                Some(Yanked::Reason(reason)) => Some(reason),
            },
        })
    };
    Ok(listing.files.into_iter().filter_map(listed).collect())
}

/// Reads a page of links, which are relative to `url` or to the page's `<base>`.
fn html(text: &str, url: &Url) -> Vec<ListedFile> {
    let Ok(page) = tl::parse(text, ParserOptions::default()) else {
        return Vec::new();
    };
    let tags = || page.nodes().iter().filter_map(tl::Node::as_tag);
    let named = |tag: &&HTMLTag<'_>, name: &[u8]| tag.name().as_bytes().eq_ignore_ascii_case(name);
    let base = tags()
        .find(|tag| named(tag, b"base"))
        .and_then(|tag| url.join(&attribute(tag, "href")?).ok());
    let base = base.as_ref().unwrap_or(url);
    tags()
        .filter(|tag| named(tag, b"a"))
        .filter_map(|tag| link(tag, base))
        .collect()
}

fn link(tag: &HTMLTag<'_>, base: &Url) -> Option<ListedFile> {
    let url = base.join(attribute(tag, "href")?.trim()).ok()?;
    let fragments = url.fragment().unwrap_or_default().split('&');
    let hashes = fragments
        .filter_map(|part| HashDigest::from_str(&part.replacen('=', ":", 1)).ok())
        .collect();
    Some(ListedFile {
        name: percent_decoded(url.path().rsplit('/').next().unwrap_or_default()),
        url,
        hashes,
        size: None,
        requires_python: attribute(tag, "data-requires-python"),
        yanked: attribute(tag, "data-yanked"),
    })
}

/// Returns an attribute's text, empty if it has no value; its name may be in upper case.
fn attribute(tag: &HTMLTag<'_>, name: &str) -> Option<String> {
    let (_, value): (_, Option<Cow<'_, str>>) = tag
        .attributes()
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))?;
    Some(html_escape::decode_html_entities(&value.unwrap_or_default()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        kind: &str,
        url: &str,
        text: &str,
        name: Option<&str>,
    ) -> Result<Vec<FileOffer>, serde_json::Error> {
        let name = name.map(|name| name.parse().unwrap());
        offers(kind, text.as_bytes(), &url.parse().unwrap(), name.as_ref())
    }

    #[test]
    fn links_to_eggs_are_read_as_those_to_wheels() {
        let text = "<!DOCTYPE html><html><body><A HREF='../files/a_b-1.0-py3.11.egg#sha256=\
                    ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad' data-requires-python=\"&gt;=3.8\" data-yanked>x</A>\
                    <a href=\"https://other.example/c-2%2Bx-py3.11-linux-x86_64.egg?t=1&amp;u=2\">y</a><a href=\"d-1-py3-none-any.whl\">z</a>\
                    <a href=\"e%2F..%2Fe-1-py3.11.egg\">z</a><a href=\"ftp://h/f-1-py3.11.egg\">z</a><a>none</a><a href=\"bad.egg\">w</a>";
        let found = read("text/html", "https://index.example/simple/a-b/", text, None).unwrap();
        let by = |file: &str| {
            found
                .iter()
                .find(|offer| offer.file.starts_with(file))
                .unwrap()
        };
        let (first, second) = (by("a_b"), by("c-2"));
        assert_eq!(
            first.url.as_str(),
            "https://index.example/simple/files/a_b-1.0-py3.11.egg"
        );
        assert_eq!(
            (
                first.dist.name().as_ref(),
                first.dist.version().to_string().as_str()
            ),
            ("a-b", "1.0")
        );
        assert_eq!(
            &*first.hashes[0].digest,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(first.requires_python, Some(">=3.8".parse().unwrap()));
        assert_eq!(
            (&first.yanked, &second.yanked),
            (&Some(String::new()), &None)
        );
        assert_eq!(
            second.url.as_str(),
            "https://other.example/c-2%2Bx-py3.11-linux-x86_64.egg?t=1&u=2"
        );
        assert_eq!(second.file, "c-2+x-py3.11-linux-x86_64.egg");
        assert_eq!(by("d-1").dist.name().as_ref(), "d");
        assert_eq!(found.len(), 3, "{found:?}");

        let text = "<base href='/x/'><a href='a-1-py3.11.egg'>a</a>";
        let based = read("text/html", "https://h.example/simple/a/", text, None).unwrap();
        assert_eq!(based[0].url.as_str(), "https://h.example/x/a-1-py3.11.egg");
        assert!(
            read("text/plain", "https://h.example/", text, None)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_listing_in_json_says_what_one_in_html_does() {
        let text = r#"{"meta": {"api-version": "1.1"}, "name": "a-b", "files": [
            {"filename": "a_b-2.0.tar.gz", "url": "../../files/a_b-2.0.tar.gz", "hashes": {"sha256": "00", "blake2b": "11", "odd": "x"},
             "size": 5, "requires-python": ">=3.8,", "yanked": "broken", "core-metadata": false},
            {"filename": "a_b-1.0-py3-none-any.whl", "url": "https://f.example/a_b-1.0-py3-none-any.whl?sig=1#x", "yanked": null, "size": null},
            {"filename": "other-1.0.tar.gz", "url": "other-1.0.tar.gz", "hashes": {}},
            {"filename": "a_b-3.0.tar.gz", "url": "file:///etc/a_b-3.0.tar.gz"}]}"#;
        let kind = "application/vnd.pypi.simple.v1+json";
        let found = read(kind, "https://h.example/simple/a-b/", text, Some("a-b")).unwrap();
        let [wheel, sdist] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(
            wheel.url.as_str(),
            "https://f.example/a_b-1.0-py3-none-any.whl?sig=1"
        );
        assert_eq!(
            (wheel.size, &wheel.yanked, &wheel.requires_python),
            (None, &None, &None)
        );
        assert_eq!(sdist.url.as_str(), "https://h.example/files/a_b-2.0.tar.gz");
        assert_eq!(
            (sdist.size, sdist.yanked.as_deref()),
            (Some(5), Some("broken"))
        );
        assert_eq!(sdist.requires_python, Some(">=3.8".parse().unwrap()));
        assert!(
            sdist.hashes.iter().any(|hash| &*hash.digest == "00"),
            "{:?}",
            sdist.hashes
        );
        assert!(read(kind, "https://h.example/simple/a-b/", "<html>", None).is_err());
    }
}
