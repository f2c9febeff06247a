//! `[site]`: the configuration of a web server, and the program that activates it.
//!
//! ```text
//! PREFIX/.pkgapp/site/nginx.conf         the site, which is copied to the host's nginx
//!                     nginx-before.conf  the site until it has a certificate, with `tls = "acme"`
//!                     activate-nginx     replaces the copy, makes nginx check the new one, and
//!                                        restores the old one if the check fails
//! ```
//!
//! For Caddy, the files are `Caddyfile` and `activate-caddy`.
//!
//! The active copy is not a file of the package: its directory and the group of nginx depend on the
//! origin of the host's nginx, and a package manager would install a new version without asking
//! nginx to check it.

use minijinja::Value;
use pkgapp_config::{Site, SiteTls, StaticFiles, WebServer};
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Error, Result};
use pkgapp_core::fs;
use pkgapp_core::path::{InstallPath, ReleasePath};
use serde::Serialize;

use super::{GeneratedFiles, PackagedUnit, ServiceContext, render};
use crate::tree::{EntryKind, Tree};
use crate::writable;

/// The directory of the site's files among the generated ones.
const SITE: &str = "site";

/// The origin of the site's files in messages.
const LABEL: &str = "`[site]`";

/// The longest application name for variables of nginx, which with its defaults accepts names of at
/// most 47 characters.
const LONGEST_VARIABLE: usize = 24;

/// The facts about a site that scriptlets need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackagedSite {
    /// The program that activates the site.
    pub program: InstallPath,
    /// The site's file. A version without this file has no site, or one for another web server.
    pub file: InstallPath,
    /// The unit of the socket that the web server may connect to.
    pub socket: Option<String>,
    /// Programs of other packages whose installation activates the site.
    pub awaited: Vec<&'static str>,
    /// The places where a removed site keeps an administrator's changes.
    pub kept: Vec<String>,
}

impl PackagedSite {
    /// Returns where the site's file is in a package that includes its configuration.
    ///
    /// # Errors
    /// The file has no name.
    pub fn included_file(&self, prefix: &InstallPath) -> Result<InstallPath> {
        let name = self.file.as_str().rsplit('/').next().unwrap_or_default();
        Ok(prefix.join(&ReleasePath::parse(&format!(".pkgapp/{SITE}/{name}"))?))
    }
}

/// The directories in which certbot proves the ownership of a domain and stores the certificate.
#[derive(Serialize)]
struct AcmeValues {
    email: String,
    directory: String,
    certificate: String,
    /// The site's file until there is a certificate.
    before: String,
}

/// Adds the site and its program.
///
/// # Errors
/// The release lacks static files, the web server cannot safely serve them, or a file of extra
/// lines cannot be read.
pub(super) fn write(
    context: &ServiceContext<'_>,
    tree: &Tree,
    units: &[PackagedUnit],
    files: &mut GeneratedFiles,
) -> Result<Option<PackagedSite>> {
    let Some(site) = &context.app.site else {
        return Ok(None);
    };
    let writer = SiteWriter {
        context,
        site,
        statics: statics(context, site, tree)?,
        extra: extra(context, site)?,
        acme: acme(context, site)?,
    };
    writer.write(units, files).map(Some)
}

/// The inputs of all files of a site.
struct SiteWriter<'a> {
    context: &'a ServiceContext<'a>,
    site: &'a Site,
    statics: Vec<StaticValues>,
    extra: Option<ExtraLines>,
    /// Settings for certificates from certbot; Caddy gets certificates by itself.
    acme: Option<AcmeValues>,
}

/// Returns the path of a site's file.
fn place(context: &ServiceContext<'_>, name: &str) -> Result<InstallPath> {
    context.generated(&format!("{SITE}/{name}"))
}

impl SiteWriter<'_> {
    fn write(&self, units: &[PackagedUnit], files: &mut GeneratedFiles) -> Result<PackagedSite> {
        let (context, site) = (self.context, self.site);
        let (name, text) = match site.server {
            WebServer::Nginx => ("nginx.conf", self.nginx()?),
            WebServer::Caddy => ("Caddyfile", self.caddy()?),
        };
        let file = place(context, name)?;
        files.add(file.as_str(), LABEL, text)?;
        if let Some(acme) = &self.acme {
            files.add(&acme.before, LABEL, self.before(acme)?)?;
        }
        let program = place(context, &format!("activate-{}", site.server.name()))?;
        let is_beside = site.proxy.is_admitted && site.proxy.hosts.is_empty();
        let socket = is_beside.then(|| format!("{}.socket", context.unit(&site.proxy.name)));
        let values = minijinja::context! {
            name => context.name(),
            server => site.server.name(),
            file => file.as_str(),
            program => program.as_str(),
            socket,
            shared => shared(context, &self.statics),
            services => proxied_units(context, site, units),
            domains => self.domains(),
            acme => self.acme,
        };
        let activate = render(include_str!("../../../templates/site/activate.sh"), values)?;
        files.add_program(program.clone(), LABEL, &activate);
        Ok(PackagedSite {
            program,
            file,
            socket,
            awaited: self.awaited(),
            kept: kept(site.server, context.name()),
        })
    }

    fn awaited(&self) -> Vec<&'static str> {
        let server = match self.site.server {
            WebServer::Nginx => "/usr/sbin/nginx",
            WebServer::Caddy => "/usr/bin/caddy",
        };
        let certbot = self.acme.as_ref().map(|_| "/usr/bin/certbot");
        std::iter::once(server).chain(certbot).collect()
    }

    fn domains(&self) -> Vec<&str> {
        let domains = self.site.domains.iter();
        domains.map(|domain| domain.as_str()).collect()
    }

    /// Returns the files of the certificate and its key, if the site has them.
    fn tls(&self) -> Option<TlsValues> {
        match (&self.site.tls, &self.acme) {
            (SiteTls::Files { certificate, key }, _) => Some(TlsValues {
                certificate: certificate.to_string(),
                key: key.to_string(),
            }),
            (SiteTls::Acme { .. }, Some(acme)) => Some(TlsValues {
                certificate: acme.certificate.clone(),
                key: acme.certificate.replace("fullchain", "privkey"),
            }),
            (SiteTls::Acme { .. }, None) | (SiteTls::Off, _) => None,
        }
    }

    fn nginx(&self) -> Result<String> {
        let name = self.context.name();
        let values = minijinja::context! {
            name,
            upstream => format!("pkgapp-{name}"),
            variable => variable(name),
            servers => self.site.proxy.addresses("unix:"),
            acme => self.acme.as_ref().map(|acme| &acme.directory),
            ..self.common()
        };
        render(include_str!("../../../templates/site/nginx.conf"), values)
    }

    /// Returns the site until there is a certificate.
    fn before(&self, acme: &AcmeValues) -> Result<String> {
        let values = minijinja::context! {
            name => self.context.name(),
            domains => self.domains(),
            acme => acme.directory,
        };
        let text = include_str!("../../../templates/site/nginx-before.conf");
        render(text, values)
    }

    fn caddy(&self) -> Result<String> {
        let scheme = match self.site.tls {
            SiteTls::Off => "http://",
            SiteTls::Files { .. } | SiteTls::Acme { .. } => "",
        };
        let addresses = self.domains().into_iter();
        let addresses: Vec<String> = addresses
            .map(|domain| format!("{scheme}{domain}"))
            .collect();
        let email = match &self.site.tls {
            SiteTls::Acme { email } => Some(email),
            SiteTls::Off | SiteTls::Files { .. } => None,
        };
        let values = minijinja::context! {
            name => self.context.name(),
            addresses,
            email,
            servers => self.site.proxy.addresses("unix/"),
            ..self.common()
        };
        render(include_str!("../../../templates/site/Caddyfile"), values)
    }

    /// Returns the values that the configurations of all web servers share.
    fn common(&self) -> Value {
        minijinja::context! {
            domains => self.domains(),
            tls => self.tls(),
            body => self.site.body_limit,
            timeout => self.site.timeout.map(|timeout| timeout.as_secs()),
            statics => self.statics,
            extra => self.extra,
        }
    }
}

/// Returns the places where a removed site keeps an administrator's changes.
fn kept(server: WebServer, name: &str) -> Vec<String> {
    let places = server.places(name).into_iter();
    places.map(|place| format!("{place}.pkgapp-old")).collect()
}

fn acme(context: &ServiceContext<'_>, site: &Site) -> Result<Option<AcmeValues>> {
    let SiteTls::Acme { email } = &site.tls else {
        return Ok(None);
    };
    if site.server == WebServer::Caddy {
        return Ok(None);
    }
    let name = context.name();
    Ok(Some(AcmeValues {
        email: email.clone(),
        directory: format!("/var/lib/letsencrypt/pkgapp-{name}"),
        certificate: format!("/etc/letsencrypt/live/pkgapp-{name}/fullchain.pem"),
        before: place(context, "nginx-before.conf")?.to_string(),
    }))
}

/// Returns the units of the service behind the site.
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

/// Files that the web server serves itself.
#[derive(Serialize)]
struct StaticValues {
    url: String,
    directory: String,
}

#[derive(Serialize)]
struct TlsValues {
    certificate: String,
    key: String,
}

#[derive(Serialize)]
struct ExtraLines {
    name: String,
    text: String,
}

/// Returns a name for variables that is unique among applications.
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
    let (mut found, mut mistakes) = (Vec::new(), Vec::new());
    for files in &site.statics {
        match served_directory(context, files, tree)? {
            Some(directory)
                if site.server == WebServer::Caddy && is_writable(context, &directory)? =>
            {
                mistakes.push(follows_links(files, &directory));
            }
            Some(directory) => found.push(StaticValues {
                url: files.url.clone(),
                directory: directory.to_string(),
            }),
            None => mistakes.push(no_directory(files)),
        }
    }
    Error::all(mistakes).map_or(Ok(found), Err)
}

/// A directory outside of the release that only the application's group may enter.
#[derive(Serialize)]
struct SharedDirectory {
    path: String,
    /// The parent directories that also belong to the application.
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
        "the release has no directory `{}` to serve `{}` from",
        files.directory, files.url
    ))
    .at(files.at.clone())
    .hint("add its files with `include` below `[app]`, or create them with `run` below `[build]`")
}

/// Returns whether the application's user can create links in a directory, or in one that it leads
/// to.
fn is_writable(context: &ServiceContext<'_>, directory: &InstallPath) -> Result<bool> {
    let leads_out = |link: &InstallPath| link.below(directory).is_some();
    let is_outside = directory.below(context.prefix).is_none();
    Ok(is_outside || writable::links(context.app)?.iter().any(leads_out))
}

/// Returns the error for static files of Caddy in a directory with links: Caddy's user can read the
/// private keys of all sites, and a link may lead there.
fn follows_links(files: &StaticFiles, directory: &InstallPath) -> Error {
    Error::new(format!(
        "Caddy would follow links that the application's user creates in `{directory}`"
    ))
    .at(files.at.clone())
    .hint(format!(
        "let the application serve `{}`, or set `server = \"nginx\"`",
        files.url
    ))
}

/// Returns the directory to serve: the target of a writable link, because nginx does not follow
/// links there, or the path itself; `None` if the release has no such directory.
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
