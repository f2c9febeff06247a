//! Eggs on a page of links (PEP 503, and what `--find-links` names): uv's client knows none.

use std::borrow::Cow;
use std::str::FromStr;

use tl::{HTMLTag, ParserOptions};
use url::Url;
use uv_distribution_filename::DistFilename;

use super::index::Offer;
use super::percent_decoded;
use crate::egg::{EggFilename, is_egg};
use crate::pypa::{HashDigest, VersionSpecifiers};

/// Returns the eggs that a page links, in its order; relative links begin at `url`, or at the page's `<base>`. What is no
/// page of links has none.
pub fn eggs(text: &str, url: &Url) -> Vec<Offer> {
    let Ok(page) = tl::parse(text, ParserOptions::default()) else { return Vec::new() };
    let tags = || page.nodes().iter().filter_map(tl::Node::as_tag);
    let named = |tag: &&HTMLTag<'_>, name: &[u8]| tag.name().as_bytes().eq_ignore_ascii_case(name);
    let base = tags().find(|tag| named(tag, b"base")).and_then(|tag| url.join(&attribute(tag, "href")?).ok());
    let base = base.as_ref().unwrap_or(url);
    tags().filter(|tag| named(tag, b"a")).filter_map(|tag| egg(tag, base)).collect()
}

fn egg(tag: &HTMLTag<'_>, base: &Url) -> Option<Offer> {
    let mut url = base.join(attribute(tag, "href")?.trim()).ok()?;
    let file = percent_decoded(url.path().rsplit('/').next().unwrap_or_default());
    let is_plain = !file.contains(['/', '\\', '\0']);
    // Pages of this machine are read as directories; one of the web must not choose files of this machine.
    if !is_egg(&file) || !is_plain || !matches!(url.scheme(), "http" | "https") {
        return None;
    }
    let dist = DistFilename::WheelFilename(EggFilename::parse(&file).ok()?.wheel().ok()?);
    let fragments = url.fragment().unwrap_or_default().split('&');
    let hashes = fragments.filter_map(|part| HashDigest::from_str(&part.replacen('=', ":", 1)).ok()).collect();
    url.set_fragment(None);
    let requires_python =
        attribute(tag, "data-requires-python").and_then(|text| VersionSpecifiers::from_str(&text).ok());
    let yanked = attribute(tag, "data-yanked");
    Some(Offer { file, dist, url, hashes, size: None, requires_python, yanked })
}

/// Returns an attribute's text, empty if it has no value; its name may be written in capitals.
fn attribute(tag: &HTMLTag<'_>, name: &str) -> Option<String> {
    let (_, value): (_, Option<Cow<'_, str>>) =
        tag.attributes().iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
    Some(html_escape::decode_html_entities(&value.unwrap_or_default()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_eggs_are_read_as_those_to_wheels() {
        let text = "<!DOCTYPE html><html><body><A HREF='../files/a_b-1.0-py3.11.egg#sha256=\
                    ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad' data-requires-python=\"&gt;=3.8\" data-yanked>x</A>\
                    <a href=\"https://other.example/c-2%2Bx-py3.11-linux-x86_64.egg?t=1&amp;u=2\">y</a><a href=\"d-1-py3-none-any.whl\">z</a>\
                    <a href=\"e%2F..%2Fe-1-py3.11.egg\">z</a><a href=\"ftp://h/f-1-py3.11.egg\">z</a><a>none</a><a href=\"bad.egg\">w</a>";
        let found = eggs(text, &"https://u:p@index.example/simple/a-b/".parse().unwrap());
        let [first, second] = &found[..] else { panic!("{found:?}") };
        assert_eq!(first.url.as_str(), "https://u:p@index.example/simple/files/a_b-1.0-py3.11.egg");
        assert_eq!((first.dist.name().as_ref(), first.dist.version().to_string().as_str()), ("a-b", "1.0"));
        assert_eq!(&*first.hashes[0].digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(first.requires_python, Some(">=3.8".parse().unwrap()));
        assert_eq!((&first.yanked, &second.yanked), (&Some(String::new()), &None));
        assert_eq!(second.url.as_str(), "https://other.example/c-2%2Bx-py3.11-linux-x86_64.egg?t=1&u=2");
        assert_eq!(second.file, "c-2+x-py3.11-linux-x86_64.egg");
        let based =
            eggs("<base href='/x/'><a href='a-1-py3.11.egg'>a</a>", &"https://h.example/simple/a/".parse().unwrap());
        assert_eq!(based[0].url.as_str(), "https://h.example/x/a-1-py3.11.egg");
        assert!(eggs("{\"files\": []}", &"https://h.example/".parse().unwrap()).is_empty());
    }
}
