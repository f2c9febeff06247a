//! Packages of backing services: they depend on the distribution's package, and say who may use the
//! service.

use std::path::Path;

use super::configuration::{ConfigurationOrigin, revision, temporary_directory, undated, version};
use pkgapp_config::{CommandLine, Config, ConfigDraft, PartName, ProjectFacts};
use pkgapp_core::commit::{self, Commit};
use pkgapp_core::content::Content;
use pkgapp_core::error::{Context, Error, Location, Result, shown};
use pkgapp_core::name::{AppName, Arch};
use pkgapp_core::path::{InstallPath, ReleasePath};
use pkgapp_release::backing::BackingPackage;
use pkgapp_release::depends::HostDependencies;
use pkgapp_release::package::{Package, PackageInfo};
use pkgapp_release::release::{RECORD, ReleaseRecord};
use pkgapp_release::tree::{EntryOrigin, Tree, TreeEntry};
use pkgapp_system::ServiceConfiguration;

/// A backing service of a system, in one environment.
#[derive(Debug)]
pub struct BackingDeployment<'a> {
    /// The service.
    pub service: &'a ServiceConfiguration,
    /// The name of the system.
    pub system: &'a str,
    /// The environment.
    pub environment: &'a PartName,
    /// The file of the model.
    pub model: &'a Path,
    /// Who maintains the package, if that is known: `Name <address>`.
    pub maintainer: Option<&'a str>,
}

impl BackingDeployment<'_> {
    /// Returns the configuration of its package as that of an application without services, for
    /// those who deploy it.
    ///
    /// # Errors
    /// The disk is full, or the name of the package is too long.
    pub fn app(&self) -> Result<Config> {
        let package = self.backing()?;
        let directory = temporary_directory()?;
        let file = directory.path().join("pkgapp.toml");
        let name = &package.name;
        let text = format!(
            "[app]\nname = \"{name}\"\nversion = \"0\"\nsource = \"\"\n[python]\nversion = \"3.11\"\n"
        );
        std::fs::write(&file, text).context(|| format!("cannot write `{}`", shown(&file)))?;
        let draft = ConfigDraft::read(Some(&file), directory.path())?.without_content();
        let mut app = draft.finish(&ProjectFacts::default())?;
        app.package.prefix.value = package.prefix;
        Ok(app)
    }

    /// Returns how a host is asked whether the service runs.
    ///
    /// # Errors
    /// The name of the package is too long.
    pub fn health(&self) -> Result<CommandLine> {
        let text = self.backing()?.health();
        Ok(CommandLine {
            text: text.to_owned(),
            words: text.split(' ').map(str::to_owned).collect(),
            at: Location::file(self.model),
        })
    }

    /// Makes the package.
    ///
    /// # Errors
    /// The name of the package is too long, or the date of the commit too late.
    pub fn package(&self) -> Result<Package> {
        let backing = self.backing()?;
        let origin = ConfigurationOrigin {
            environment: self.environment,
            roles: vec![self.service.name.to_string()],
            root: self.model.parent().unwrap_or(Path::new("/")),
        };
        let meta = self.meta(&backing, &origin)?;
        let mut tree = Tree::new();
        backing.insert_into(&mut tree)?;
        let mut package = Package {
            depends: HostDependencies {
                declared_deb: vec![backing.depends().to_owned()],
                ..HostDependencies::default()
            },
            scriptlets: backing.scriptlets(),
            meta: undated(&meta)?,
            tree,
            login: Tree::new(),
            ghosts: Vec::new(),
            writable: Vec::new(),
        };

        let revision = revision(&package, &origin)?;
        package.meta = PackageInfo { revision, ..meta };
        insert_record(&mut package)?;
        Ok(package)
    }

    fn backing(&self) -> Result<BackingPackage> {
        let service = self.service;
        let name = AppName::parse(&format!("{}-{}", self.system, service.name))?;
        Ok(BackingPackage {
            prefix: InstallPath::parse(&format!("/usr/share/pkgapp/{name}"))?,
            name,
            kind: service.kind,
            clients: service.clients.clone(),
        })
    }

    fn meta(
        &self,
        backing: &BackingPackage,
        origin: &ConfigurationOrigin<'_>,
    ) -> Result<PackageInfo> {
        let commit = Commit::at(origin.root);
        let date = commit::date(commit.as_ref())?;
        let time = commit.as_ref().map_or(date, |commit| commit.time);
        let (system, environment) = (self.system, self.environment);
        let kind = backing.kind.name();
        let app = self.app()?;
        Ok(PackageInfo {
            name: backing.name.clone(),
            version: version(time)?,
            // A placeholder until the content of the package is known.
            revision: "0".to_owned(),
            arch: Arch::Any,
            summary: format!(
                "Service {} of {system} for {environment}",
                self.service.name
            ),
            description: format!(
                "It installs {kind}, and lets the applications of {system} in the environment \
                 {environment} use it. Data stay when it is removed."
            ),
            license: None,
            maintainer: self.maintainer.map_or(app.maintainer, str::to_owned),
            homepage: None,
            section: app.package.section,
            prefix: backing.prefix.clone(),
            timestamp: date,
            commit: commit.map(|commit| commit.id),
            targets: Vec::new(),
            compression: super::compression(app.package.compression),
        })
    }
}

/// Adds the record, by which hosts tell what is installed. It is the same for the same content,
/// whatever the commit.
fn insert_record(package: &mut Package) -> Result<()> {
    let meta = &package.meta;
    let hash = meta.revision.rsplit('.').next();
    let version = format!("0+{}", hash.unwrap_or_default());
    let record = ReleaseRecord::of_service(&meta.name, &version);
    let mut text = serde_json::to_string_pretty(&record)
        .map_err(|error| Error::bug("cannot write a record").cause(error))?;
    text.push('\n');
    let origin = EntryOrigin {
        label: "the record of the package".to_owned(),
        layer: None,
    };
    let path = meta.prefix.join(&ReleasePath::parse(RECORD)?);
    let entry = TreeEntry::file(Content::memory(text.into_bytes()), 0o644, &origin.into());
    package.tree.insert(path, entry)
}
