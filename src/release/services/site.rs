//! `[site]`: the configuration of a web server, and the program that puts it into place.
//!
//! ```text
//! PREFIX/.pkgapp/site/nginx.conf      the site, as each host's nginx gets a copy of it
//!                     activate-nginx  compares that copy, replaces it, asks nginx whether it accepts the new one,
//!                                     and brings the old one back if it does not
//! ```
//!
//! The copy is no file of the package: which directory it belongs into, and which group nginx has,
//! depends on whose nginx a host has, and a package manager would put a new version into place
//! without asking nginx.

use pkgapp_config::{Site, SiteTls, StaticFiles, UpstreamAddress};
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Error, Result};
use pkgapp_core::fs;
use pkgapp_core::path::{InstallPath, ReleasePath};
use serde::Serialize;

use super::{GeneratedFiles, PackagedUnit, ServiceContext, render};
use crate::tree::{EntryKind, Tree};
use crate::writable;

/// Where the site lies, below the prefix.
const SITE: &str = ".pkgapp/site";

/// The longest name of an application that variables of nginx are named after: with its defaults,
/// it takes no name of more than 47 characters.
const LONGEST_VARIABLE: usize = 24;

/// What scriptlets do for a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackagedSite {
    /// The program that puts the site into place.
    pub program: InstallPath,
    /// The site itself; a version without it has no site, or one for another web server.
    pub file: InstallPath,
    /// The unit of the socket that the web server is let into.
    pub socket: Option<String>,
    /// The program of the web server: when a package brings it, the site is put into place.
    pub server: &'static str,
}

/// Adds the site and its program.
///
/// # Errors
/// Static files that the release does not have; a file of lines that can't be read.
pub(super) fn write(
    context: &ServiceContext<'_>,
    tree: &Tree,
    units: &[PackagedUnit],
    files: &mut GeneratedFiles,
) -> Result<Option<PackagedSite>> {
    let Some(site) = &context.app.site else {
        return Ok(None);
    };
    let place = |name: &str| {
        let below = ReleasePath::parse(&format!("{SITE}/{name}"))?;
        Ok::<_, Error>(context.prefix.join(&below))
    };
    let (file, program) = (place("nginx.conf")?, place("activate-nginx")?);
    let socket = site
        .proxy
        .is_admitted
        .then(|| format!("{}.socket", context.unit(&site.proxy.name)));

    let statics = statics(context, site, tree)?;
    let shared = shared(context, &statics);
    files.add(file.as_str(), "`[site]`", text(context, site, &statics)?)?;
    let values = minijinja::context! {
        name => context.name(),
        server => site.server.name(),
        file => file.as_str(),
        program => program.as_str(),
        socket,
        shared,
        services => proxied_units(context, site, units),
    };
    let activate = render(include_str!("../../../templates/site/activate.sh"), values)?;
    files.add_program(program.clone(), "`[site]`", &activate);
    Ok(Some(PackagedSite {
        program,
        file,
        socket,
        server: "/usr/sbin/nginx",
    }))
}

/// The units of the service behind the site.
fn proxied_units<'u>(
    context: &ServiceContext<'_>,
    site: &Site,
    units: &'u [PackagedUnit],
) -> Vec<&'u str> {
    let base = context.unit(&site.proxy.name);
    let files = [format!("{base}.service"), format!("{base}@.service")];
    units
        .iter()
        .filter(|unit| files.contains(&unit.file))
        .flat_map(|unit| &unit.names)
        .map(String::as_str)
        .collect()
}

/// Files that nginx serves by itself.
#[derive(Serialize)]
struct StaticValues {
    url: String,
    directory: String,
}

#[derive(Serialize)]
struct TlsValues<'a> {
    certificate: &'a str,
    key: &'a str,
}

#[derive(Serialize)]
struct ExtraLines {
    name: String,
    text: String,
}

fn text(context: &ServiceContext<'_>, site: &Site, statics: &[StaticValues]) -> Result<String> {
    let domains: Vec<&str> = site.domains.iter().map(|domain| domain.as_str()).collect();
    let tls = match &site.tls {
        SiteTls::Files { certificate, key } => Some(TlsValues {
            certificate: certificate.as_str(),
            key: key.as_str(),
        }),
        SiteTls::Off | SiteTls::Acme { .. } => None,
    };
    let values = minijinja::context! {
        name => context.name(),
        upstream => format!("pkgapp-{}", context.name()),
        variable => variable(context.name()),
        address => match &site.proxy.address {
            UpstreamAddress::Tcp(address) => address.to_string(),
            UpstreamAddress::Unix(path) => format!("unix:{path}"),
        },
        domains,
        tls,
        acme => None::<String>,
        body => site.body_limit,
        timeout => site.timeout.map(|timeout| timeout.as_secs()),
        statics,
        extra => extra(context, site)?,
    };
    render(include_str!("../../../templates/site/nginx.conf"), values)
}

/// A name for variables, which no other application has.
fn variable(name: &str) -> String {
    if name.len() <= LONGEST_VARIABLE {
        return format!("pkgapp_{}", name.replace('-', "_"));
    }
    format!(
        "pkgapp_{}",
        &Sha256Sum::of(name.as_bytes()).to_string()[..16]
    )
}

fn statics(context: &ServiceContext<'_>, site: &Site, tree: &Tree) -> Result<Vec<StaticValues>> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for files in &site.statics {
        match served_directory(context, files, tree)? {
            Some(directory) => found.push(StaticValues {
                url: files.url.clone(),
                directory: directory.to_string(),
            }),
            None => missing.push(no_directory(files)),
        }
    }
    Error::all(missing).map_or(Ok(found), Err)
}

/// A directory outside of the release, which only the application's group may enter.
#[derive(Serialize)]
struct SharedDirectory {
    path: String,
    /// The directories around it that are the application's, too.
    above: Vec<String>,
}

fn shared(context: &ServiceContext<'_>, statics: &[StaticValues]) -> Vec<SharedDirectory> {
    let own = ["/var/lib", "/var/cache"].map(|base| format!("{base}/{}", context.name()));
    let is_own = |path: &str| own.iter().any(|own| path.starts_with(own.as_str()));
    let outside = statics
        .iter()
        .filter_map(|files| InstallPath::parse(&files.directory).ok())
        .filter(|path| path.below(context.prefix).is_none() && is_own(path.as_str()));
    outside
        .map(|path| SharedDirectory {
            above: path
                .parents()
                .filter(|above| is_own(above))
                .map(str::to_owned)
                .collect(),
            path: path.to_string(),
        })
        .collect()
}

fn no_directory(files: &StaticFiles) -> Error {
    Error::new(format!(
        "there is no directory `{}` in the release to serve `{}` from",
        files.directory, files.url
    ))
    .at(files.at.clone())
    .hint("add its files with `include` below `[app]`, or make them with `run` below `[build]`")
}

/// Returns the directory itself for one that a release has a link to, for nginx follows no link
/// there; `None` if the release has none.
fn served_directory(
    context: &ServiceContext<'_>,
    files: &StaticFiles,
    tree: &Tree,
) -> Result<Option<InstallPath>> {
    let directory = &files.directory;
    for (link, writable) in writable::links(context.app)?
        .iter()
        .zip(&context.app.writable)
    {
        let state = InstallPath::parse(&format!("/var/lib/{}", context.name()))?;
        let data = state.join(writable.value.path());
        if directory == link {
            return Ok(Some(data));
        }
        if let Some(below) = directory.below(link) {
            return Ok(Some(data.join(&below)));
        }
    }
    let is_in_release = directory.below(context.prefix).is_some();
    let is_directory = tree
        .get(directory)
        .is_some_and(|entry| matches!(entry.kind, EntryKind::Directory));
    let has_files = tree
        .range(directory)
        .take_while(|path| path.as_str().starts_with(directory.as_str()))
        .any(|path| path.below(directory).is_some());
    Ok((is_directory || has_files || !is_in_release).then(|| directory.clone()))
}

fn extra(context: &ServiceContext<'_>, site: &Site) -> Result<Option<ExtraLines>> {
    let Some(file) = &site.extra else {
        return Ok(None);
    };
    let text = fs::read_to_string(&file.value).map_err(|error| error.at(file.at.clone()))?;
    let name = file.value.strip_prefix(&context.app.root);
    let name = name.unwrap_or(&file.value).to_string_lossy();
    Ok(Some(ExtraLines {
        name: format!("`extra`: {}", name.escape_debug()),
        text: text.trim_end().to_owned(),
    }))
}
