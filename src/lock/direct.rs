//! Direct references: the URL or path of a wheel, sdist, or project directory instead of a version.

use std::path::{Component, Path, PathBuf};

use pkgapp_pypa::{SourceDistExtension, SourceDistFilename};

use crate::{GitSource, MercurialSource, PinSource, Url, hash};
use pkgapp_http::percent_decoded;
use pkgapp_pypa::egg::{EggFilename, is_egg};
use pkgapp_pypa::shown_url;
use pkgapp_pypa::{ExtraName, HashDigest, PackageName, Version, WheelFilename};

/// The target of a direct reference.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DirectReference {
    pub(super) source: PinSource,
    /// Name and version from the file name or the project's metadata; the name may also come from
    /// `#egg=`.
    pub(super) name: Option<PackageName>,
    pub(super) version: Option<Version>,
    pub(super) extras: Vec<ExtraName>,
    /// From the fragment: `#sha256=…`.
    pub(super) hashes: Vec<HashDigest>,
    /// The algorithm of a fragment's hash that is too weak to prove anything.
    pub(super) weak: Option<String>,
}

/// The reason why a text is not a direct reference that can ship.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DirectRefusal {
    pub(super) message: String,
    pub(super) cause: Option<String>,
    pub(super) hint: Option<String>,
}

impl DirectRefusal {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            cause: None,
            hint: None,
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Returns whether the text of a requirement, or the text after its `@`, is a URL.
pub(super) fn is_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    scheme.len() > 1
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(valid)
        && (rest.starts_with("//") || scheme.eq_ignore_ascii_case("file") || is_vcs(scheme))
}

fn is_vcs(scheme: &str) -> bool {
    let kind = scheme.split('+').next().unwrap_or(scheme);
    ["git", "hg", "svn", "bzr"]
        .iter()
        .any(|vcs| kind.eq_ignore_ascii_case(vcs))
}

/// Returns whether a name ends like that of a wheel, egg, or sdist.
pub(super) fn looks_like_archive(text: &str) -> bool {
    let name = text.rsplit('/').next().unwrap_or(text);
    is_wheel(name) || is_egg(name) || SourceDistExtension::from_path(name).is_ok()
}

fn is_wheel(name: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("whl"))
}

/// Reads a URL or a path, with `${VAR}` replaced; `name` is the name before `@`.
///
/// `written` is the text as messages may show it. Relative paths are relative to `root`, as if pip
/// ran there.
pub(super) fn read(
    text: &str,
    written: &str,
    name: Option<&PackageName>,
    root: &Path,
) -> Result<DirectReference, DirectRefusal> {
    if let Some(address) = with_scheme(written) {
        return Err(DirectRefusal::new(format!(
            "`{written}` is not a URL: no scheme follows the `+`"
        ))
        .hint(format!("write `{address}`")));
    }
    let direct = if is_url(text) {
        read_url(text, written, name, root)
    } else {
        read_path(text, written, name, root)
    }?;
    match (name, &direct.name) {
        (Some(name), Some(found)) if name != found => Err(DirectRefusal::new(format!(
            "`{written}` is `{found}`, not `{name}`"
        ))),
        _ => Ok(direct),
    }
}

fn read_url(
    text: &str,
    written: &str,
    name: Option<&PackageName>,
    root: &Path,
) -> Result<DirectReference, DirectRefusal> {
    let (scheme, rest) = text.split_once(':').unwrap_or_default();
    match scheme.to_ascii_lowercase().split('+').next() {
        Some("git") => return read_repository(text, written, name, git),
        Some("hg") => return read_repository(text, written, name, mercurial),
        _ => {}
    }
    if is_vcs(scheme) {
        return Err(DirectRefusal::new(format!(
            "pkgapp does not support the version control system of `{written}`"
        ))
        .hint("build a wheel with `pip wheel --no-deps`, and pin the wheel by its path or URL"));
    }
    if scheme.eq_ignore_ascii_case("file") && !rest.starts_with("//") {
        let (path, fragment) = split_fragment(rest);
        return read_file(Path::new(path), fragment, written, name, root);
    }

    // The parser's message can quote a part of the URL, and so a secret.
    let url =
        Url::parse(text).map_err(|_| DirectRefusal::new(format!("`{written}` is not a URL")))?;
    match url.scheme() {
        "file" => {
            let path = url.to_file_path().map_err(|()| {
                DirectRefusal::new(format!("`{written}` is not a path on this machine"))
                    .hint("write `file:///` and an absolute path, or only the path")
            })?;
            read_file(&path, url.fragment(), written, name, root)
        }
        "http" | "https" => read_archive_url(url, written, name),
        other => Err(unsupported_scheme(other)),
    }
}

fn unsupported_scheme(scheme: &str) -> DirectRefusal {
    DirectRefusal::new(format!("unsupported URL scheme `{scheme}:`")).hint("use an https URL")
}

/// Makes a source of an address, a commit, and a subdirectory.
type RepositorySource = fn(&str, &str, Option<&str>) -> Result<PinSource, String>;

fn git(url: &str, commit: &str, subdirectory: Option<&str>) -> Result<PinSource, String> {
    GitSource::new(url, commit, subdirectory).map(PinSource::Git)
}

fn mercurial(url: &str, commit: &str, subdirectory: Option<&str>) -> Result<PinSource, String> {
    MercurialSource::new(url, commit, subdirectory).map(PinSource::Mercurial)
}

/// Reads `git+URL@COMMIT#egg=NAME&subdirectory=PATH`, or the same with `hg+`.
fn read_repository(
    text: &str,
    written: &str,
    name: Option<&PackageName>,
    repository: RepositorySource,
) -> Result<DirectReference, DirectRefusal> {
    let (address, fragment) = text.split_once('#').unwrap_or((text, ""));
    let fragment = UrlFragment::read(fragment, written)?;
    // The last `@` may also end a user name.
    let (url, commit) = match address.rsplit_once('@') {
        Some((url, commit)) if url.contains("://") && !commit.contains('/') => (url, commit),
        _ => (address, ""),
    };
    let subdirectory = fragment.subdirectory.clone();
    let ids = if text.starts_with("hg") {
        "hg id --debug -i"
    } else {
        "git ls-remote"
    };
    let source = repository(url, commit, subdirectory.as_deref()).map_err(|why| {
        DirectRefusal::new(format!("`{written}` cannot ship: {why}")).hint(format!(
            "append `@` and a full commit ID to the address; `{ids}` lists commits"
        ))
    })?;
    if name.is_none() && fragment.egg.is_none() {
        return Err(unnamed(written));
    }
    Ok(fragment.direct(source, name.cloned(), None))
}

/// Returns `git+ssh://git@host/path` for `git+git@host:path`, which is not a URL to any parser.
fn with_scheme(written: &str) -> Option<String> {
    let (kind, address) = written.split_once('+').filter(|(kind, _)| is_vcs(kind))?;
    let (host, path) = address
        .split_once(':')
        .filter(|(_, path)| !path.starts_with("//"))?;
    let is_host = host.contains('@') && !host.contains(['/', '#']);
    is_host.then(|| format!("{kind}+ssh://{host}/{}", path.trim_start_matches('/')))
}

fn read_archive_url(
    mut url: Url,
    written: &str,
    name: Option<&PackageName>,
) -> Result<DirectReference, DirectRefusal> {
    let last = url.path().rsplit('/').next().unwrap_or_default();
    let file_name = percent_decoded(last);
    let fragment = UrlFragment::read(url.fragment().unwrap_or_default(), written)?;
    let subdirectory = fragment
        .subdirectory
        .as_ref()
        .map(|path| format!("subdirectory={path}"));
    url.set_fragment(subdirectory.as_deref());
    let (found, version) = from_file_name(&file_name, written, name.or(fragment.egg.as_ref()))?;
    Ok(fragment.direct(PinSource::Url(url), found, version))
}

fn read_path(
    text: &str,
    written: &str,
    name: Option<&PackageName>,
    root: &Path,
) -> Result<DirectReference, DirectRefusal> {
    let (path, extras) = split_extras(text);
    let (path, fragment) = if root.join(path).exists() {
        (path, None)
    } else {
        split_fragment(path)
    };
    let mut direct = read_file(Path::new(path), fragment, written, name, root)?;
    for extra in extras
        .into_iter()
        .flat_map(|extras| extras.split(','))
        .map(str::trim)
        .filter(|one| !one.is_empty())
    {
        match extra.parse() {
            Ok(extra) => direct.extras.push(extra),
            Err(_) => {
                return Err(DirectRefusal::new(format!(
                    "`{extra}` is not the name of an extra"
                )));
            }
        }
    }
    Ok(direct)
}

fn read_file(
    path: &Path,
    fragment: Option<&str>,
    written: &str,
    name: Option<&PackageName>,
    root: &Path,
) -> Result<DirectReference, DirectRefusal> {
    let path = normal(&root.join(path));
    let fragment = UrlFragment::read(fragment.unwrap_or_default(), written)?;
    let name = name.or(fragment.egg.as_ref());
    let file_name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    if path.is_dir() && !is_egg(file_name) {
        let project = match &fragment.subdirectory {
            Some(below) => normal(&path.join(below)),
            None => path,
        };
        let (found, version) = from_project(&project, written, name)?;
        return Ok(fragment.direct(PinSource::Directory(project), found, version));
    }
    if !path.exists() {
        return Err(missing_file(&path, written, name, root));
    }
    if fragment.subdirectory.is_some() {
        return Err(
            DirectRefusal::new(format!("`{written}` names a directory inside an archive"))
                .hint("unpack the archive and name the directory"),
        );
    }
    let (found, version) = from_file_name(file_name, written, name)?;
    Ok(fragment.direct(PinSource::File(path), found, version))
}

fn missing_file(
    path: &Path,
    written: &str,
    name: Option<&PackageName>,
    root: &Path,
) -> DirectRefusal {
    let file_name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    if let Some(hint) = foreign_path(path, name, file_name) {
        return DirectRefusal::new(format!("`{written}` does not exist on this machine"))
            .hint(hint);
    }
    DirectRefusal::new(format!("`{written}` does not exist")).hint(format!(
        "paths of distributions are relative to `{}`",
        pkgapp_core::error::shown(root)
    ))
}

/// Returns a hint for a path that a tool recorded on another machine.
fn foreign_path(path: &Path, name: Option<&PackageName>, file_name: &str) -> Option<String> {
    let part = |names: &[&str]| {
        path.iter()
            .any(|part| names.iter().any(|name| part == *name))
    };
    let version = file_name
        .parse::<WheelFilename>()
        .map_or_else(|_| "VERSION".to_owned(), |it| it.version.to_string());
    let pin = format!("{}=={version}", name.map_or("NAME", PackageName::as_str));
    if part(&["croot", "feedstock_root", "conda-bld"]) {
        return Some(format!(
            "conda built the distribution there, and `pip freeze` recorded the path; write `{pin}`, as `pip list --format=freeze` prints it"
        ));
    }
    let drive = path
        .iter()
        .nth(1)
        .and_then(|part| part.to_str())
        .is_some_and(
            |part| matches!(part.as_bytes(), [letter, b':'] if letter.is_ascii_alphabetic()),
        );
    drive.then(|| {
        format!("this is a Windows path; write `{pin}` or the path of a copy on this machine")
    })
}

/// The name and version that a file or project states, as far as it does.
type StatedIdentity = (Option<PackageName>, Option<Version>);

/// Returns the name and version in the file name of a wheel, egg, or sdist.
fn from_file_name(
    file_name: &str,
    written: &str,
    name: Option<&PackageName>,
) -> Result<StatedIdentity, DirectRefusal> {
    let badly_named = |kind: &str, cause: String| DirectRefusal {
        message: format!("`{written}` does not end in a valid {kind} name"),
        cause: Some(cause),
        hint: Some(format!(
            "keep the name that the {kind} was built or downloaded with"
        )),
    };
    if is_wheel(file_name) {
        return match file_name.parse::<WheelFilename>() {
            Ok(wheel) => Ok((Some(wheel.name), Some(wheel.version))),
            Err(error) => Err(badly_named("wheel", error.to_string())),
        };
    }
    if is_egg(file_name) {
        return match EggFilename::parse(file_name) {
            Ok(egg) => Ok((Some(egg.name), Some(egg.version))),
            Err(error) => Err(badly_named("egg", error)),
        };
    }
    from_sdist_name(file_name, written, name)
}

fn from_sdist_name(
    file_name: &str,
    written: &str,
    name: Option<&PackageName>,
) -> Result<StatedIdentity, DirectRefusal> {
    let extension = SourceDistExtension::from_path(file_name).map_err(|_| {
        DirectRefusal::new(format!(
            "`{written}` does not have the file extension of a wheel or sdist"
        ))
        .hint("a wheel ends in `.whl`, an sdist in `.tar.gz` or `.zip`")
    })?;
    let Some(name) = name else {
        return match SourceDistFilename::parsed_normalized_filename(file_name) {
            Ok(sdist) => Ok((Some(sdist.name), Some(sdist.version))),
            Err(_) => Err(unnamed(written)),
        };
    };
    // An archive of a tag is often called `v1.0.tar.gz`: the build finds its version.
    let sdist = SourceDistFilename::parse(file_name, extension, name).ok();
    Ok((None, sdist.map(|sdist| sdist.version)))
}

fn unnamed(written: &str) -> DirectRefusal {
    DirectRefusal::new(format!("`{written}` does not name its distribution"))
        .hint("write the name before it: `name @ …`")
}

/// Reads name and version of a project's directory, without running any of its code.
fn from_project(
    directory: &Path,
    written: &str,
    name: Option<&PackageName>,
) -> Result<StatedIdentity, DirectRefusal> {
    let text = |file: &str| std::fs::read_to_string(directory.join(file)).ok();
    let pyproject = text("pyproject.toml");
    if pyproject.is_none() && !directory.join("setup.py").is_file() {
        return Err(DirectRefusal::new(format!(
            "`{written}` is a directory without a `pyproject.toml` or `setup.py`"
        )));
    }

    let table: Option<toml::Table> = pyproject.and_then(|text| toml::from_str(&text).ok());
    let project = table.as_ref().and_then(|table| table.get("project"));
    let stated = |key: &str| project?.get(key)?.as_str();
    let found = stated("name")
        .map(str::to_owned)
        .or_else(|| name_in_setup_cfg(&text("setup.cfg")?))
        .or_else(|| name_in_setup_py(&text("setup.py")?))
        .or_else(|| name_of_installed(directory))
        .and_then(|name| name.parse().ok());
    if found.is_none() && name.is_none() {
        return Err(unnamed(written));
    }
    let version = stated("version").and_then(|version| version.parse().ok());
    Ok((found, version))
}

/// Returns the literal name in a setup.py, without running it. The build reports an error if the
/// name turns out to be another.
fn name_in_setup_py(text: &str) -> Option<String> {
    let call = &text[text.find("setup(")?..];
    for (at, _) in call.match_indices("name") {
        let before = call[..at].chars().next_back()?;
        let value = call[at + 4..]
            .trim_start()
            .strip_prefix('=')
            .map(str::trim_start);
        let Some(value) =
            value.filter(|_| before == '(' || before == ',' || before.is_whitespace())
        else {
            continue;
        };
        let quote = value.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        return value[1..].split(quote).next().map(str::to_owned);
    }
    None
}

/// Returns the name in the metadata that a development install has left beside the sources.
fn name_of_installed(directory: &Path) -> Option<String> {
    let mut found = Vec::new();
    for below in [directory.to_owned(), directory.join("src")] {
        let entries = std::fs::read_dir(below).into_iter().flatten().flatten();
        let infos = entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "egg-info"));
        found.extend(infos.filter_map(|path| std::fs::read_to_string(path.join("PKG-INFO")).ok()));
    }
    let [only] = &found[..] else { return None };
    only.lines()
        .find_map(|line| line.strip_prefix("Name:"))
        .map(|name| name.trim().to_owned())
}

fn name_in_setup_cfg(text: &str) -> Option<String> {
    let metadata = text.split("[metadata]").nth(1)?;
    let section = metadata.lines().take_while(|line| !line.starts_with('['));
    section
        .filter_map(|line| line.split_once('='))
        .find(|(key, _)| key.trim() == "name")
        .map(|(_, name)| name.trim().to_owned())
}

/// The parts of a URL's fragment (pip: egg, subdirectory, and one hash, joined by `&`).
#[derive(Debug, Default)]
struct UrlFragment {
    egg: Option<PackageName>,
    extras: Vec<ExtraName>,
    subdirectory: Option<String>,
    hashes: Vec<HashDigest>,
    weak: Option<String>,
}

impl UrlFragment {
    fn read(text: &str, written: &str) -> Result<Self, DirectRefusal> {
        let mut fragment = Self::default();
        for (key, value) in text.split('&').filter_map(|pair| pair.split_once('=')) {
            match key {
                "egg" => {
                    let (name, extras) = split_extras(value);
                    fragment.egg = name.parse().ok();
                    fragment.extras = extras
                        .unwrap_or_default()
                        .split(',')
                        .filter_map(|one| one.parse().ok())
                        .collect();
                }
                "subdirectory" => {
                    let climbs = Path::new(value)
                        .components()
                        .any(|part| !matches!(part, Component::Normal(_)));
                    if climbs {
                        return Err(DirectRefusal::new(format!(
                            "the subdirectory of `{written}` is outside its source"
                        )));
                    }
                    fragment.subdirectory = Some(value.to_owned());
                }
                _ if hash::is_algorithm(key) => match hash::from_parts(key, value) {
                    Ok(digest) => fragment.hashes.push(digest),
                    Err(bad) if bad.weak => fragment.weak = Some(key.to_owned()),
                    Err(bad) => {
                        return Err(DirectRefusal {
                            message: bad.message,
                            cause: None,
                            hint: bad.hint,
                        });
                    }
                },
                _ => {}
            }
        }
        Ok(fragment)
    }

    fn direct(
        self,
        source: PinSource,
        found: Option<PackageName>,
        version: Option<Version>,
    ) -> DirectReference {
        let name = found.or(self.egg);
        DirectReference {
            source,
            name,
            version,
            extras: self.extras,
            hashes: self.hashes,
            weak: self.weak,
        }
    }
}

/// Splits `path#key=value`.
fn split_fragment(text: &str) -> (&str, Option<&str>) {
    match text.split_once('#') {
        Some((path, fragment)) if fragment.contains('=') => (path, Some(fragment)),
        _ => (text, None),
    }
}

/// Splits `path[extra,…]`.
pub(super) fn split_extras(text: &str) -> (&str, Option<&str>) {
    match text
        .strip_suffix(']')
        .and_then(|text| text.rsplit_once('['))
    {
        Some((path, extras)) if !path.is_empty() => (path.trim_end(), Some(extras)),
        _ => (text, None),
    }
}

/// Returns an absolute path without `.` and `..`, without looking at the file system.
pub(super) fn normal(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut normal = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            normal.pop();
        } else {
            normal.push(part);
        }
    }
    normal
}

/// Reads the value of an option that takes a URL or a path, such as `--index-url` or
/// `--find-links`.
///
/// A path is looked for in each of `bases`.
pub(super) fn url_or_path(
    text: &str,
    written: &str,
    bases: &[&Path],
) -> Result<Url, DirectRefusal> {
    if is_url(text) {
        let Ok(url) = Url::parse(text) else {
            return Err(DirectRefusal::new(format!("`{written}` is not a URL")));
        };
        return match url.scheme() {
            "file" if url.to_file_path().is_ok_and(|path| path.exists()) => Ok(url),
            "file" => Err(DirectRefusal::new(format!(
                "`{}` does not exist",
                shown_url(&url)
            ))),
            "http" | "https" if url.has_host() => Ok(url),
            other => Err(unsupported_scheme(other)),
        };
    }
    let found = bases
        .iter()
        .map(|base| normal(&base.join(text)))
        .find(|path| path.exists());
    match found.and_then(|path| Url::from_file_path(path).ok()) {
        Some(url) => Ok(url),
        None => Err(DirectRefusal::new(format!(
            "`{written}` is neither a URL nor an existing path"
        ))),
    }
}
