//! Configuration packages: units, users, and the files below `/etc` of one deployment, made from
//! a software package alone and from the values of the deployment.

use std::path::Path;
use std::sync::Arc;

use super::hosts::{daemons, host_python_of, with_web_server};
use super::revision::digest;
use pkgapp_config::{
    Config, DeclarationChanges, Deploy, PackageRelations, PartName, ServiceDeclaration,
};
use pkgapp_core::commit::{self, Commit};
use pkgapp_core::content::Content;
use pkgapp_core::error::{Context, Error, Location, Result, shown};
use pkgapp_core::name::{AppName, Arch};
use pkgapp_core::path::{InstallPath, ReleasePath};
use pkgapp_format::read::{ListedKind, PackageReader};
use pkgapp_format::version::PackageVersion;
use pkgapp_pypa::Version;
use pkgapp_release::conffiles;
use pkgapp_release::configuration_record::{self, ConfigurationRecord, RecordedValue};
use pkgapp_release::depends::HostDependencies;
use pkgapp_release::package::{Package, PackageInfo};
use pkgapp_release::release::{RECORD, ReleaseRecord};
use pkgapp_release::scriptlets;
use pkgapp_release::services::{self, Services};
use pkgapp_release::tree::{EntryKind, EntryOrigin, Tree, TreeEntry};
use pkgapp_system::HostConfiguration;

/// The directory of a software package with the declaration of its services, below the prefix.
const DECLARATION: &str = ".pkgapp/service";

/// The number of digits of the content's hash in a version.
const DIGITS: usize = 8;

/// The longest list of environment and roles in a version.
const LONGEST_WORDS: usize = 60;

/// What a configuration package is for.
pub(super) struct ConfigurationOrigin<'a> {
    pub(super) environment: &'a PartName,
    /// The roles of the hosts in a system.
    pub(super) roles: Vec<String>,
    /// The directory of the operator's files, whose commit dates the package.
    pub(super) root: &'a Path,
}

/// A software package whose configuration is a package of its own.
#[derive(Debug)]
pub struct SoftwarePackage {
    services: DeclaredServices,
    record: ReleaseRecord,
    /// The files and links of the package, without their content.
    tree: Tree,
}

/// The services of a software package, in a certain version.
#[derive(Debug)]
pub struct DeclaredServices {
    /// `[epoch:]upstream-revision`.
    version: String,
    /// A directory with the declaration.
    declaration: tempfile::TempDir,
}

/// Adds the declaration of its services to the release of a software package.
///
/// # Errors
/// A file that the configuration names cannot be read.
pub(super) fn declare_services(tree: &mut Tree, app: &Config, version: &Version) -> Result<()> {
    let origin = Arc::new(EntryOrigin {
        label: "the declaration of services".to_owned(),
        layer: None,
    });
    let declared = ReleasePath::parse(DECLARATION)?;
    let directory = app.package.prefix.value.join(&declared);
    let declaration = ServiceDeclaration::of(app, &version.to_string())?;
    let mut files = declaration.files;
    files.push((
        ReleasePath::parse("pkgapp.toml")?,
        declaration.text.into_bytes(),
    ));
    for (path, content) in files {
        let entry = TreeEntry::file(Content::memory(content), 0o644, &origin);
        tree.insert(directory.join(&path), entry)?;
    }
    Ok(())
}

/// Adds a file where a package that includes its configuration has its site. By this file, the scripts
/// of such a package know that the site stays when software and configuration take its place.
///
/// # Errors
/// The release has another file there.
pub(super) fn stand_in_for_site(tree: &mut Tree, services: &Services) -> Result<()> {
    let Some(site) = &services.site else {
        return Ok(());
    };
    let origin = Arc::new(EntryOrigin {
        label: "the declaration of services".to_owned(),
        layer: None,
    });
    let text = "# The configuration package has the site.\n";
    let entry = TreeEntry::file(Content::memory(text.as_bytes().to_vec()), 0o644, &origin);
    tree.insert(site.included_file(&services.prefix)?, entry)
}

/// Gives a software package the second name that its configurations depend on. A package that
/// includes its configuration has only the first one, so no package manager installs both.
///
/// # Errors
/// The version cannot be that of a package.
pub(super) fn name_software(package: &mut Package) -> Result<()> {
    let name = software_name(&package.meta.name);
    let version = PackageVersion::of(&package.meta)?.full();
    let provides = &mut package.depends.relations.provides;
    provides.deb.push(format!("{name} (= {version})"));
    provides.rpm.push(format!("{name} = {version}"));
    Ok(())
}

fn software_name(name: &AppName) -> String {
    format!("{name}-software")
}

impl SoftwarePackage {
    /// Takes the software from a package that was just built.
    ///
    /// # Errors
    /// The package has no declaration, or the disk is full.
    pub fn of(package: &Package) -> Result<Self> {
        let prefix = &package.meta.prefix;
        let declaration = temporary_directory()?;
        let directory = prefix.join(&ReleasePath::parse(DECLARATION)?);
        for (path, _, content) in package.tree.files() {
            if let Some(below) = path.below(&directory) {
                write(declaration.path(), below.as_str(), &content.read()?)?;
            }
        }
        let version = PackageVersion::of(&package.meta)?.full();
        let record = prefix.join(&ReleasePath::parse(RECORD)?);
        let record = package.tree.get(&record).map(|entry| &entry.kind);
        let Some(EntryKind::File(record)) = record else {
            return Err(Error::bug("a release has no record"));
        };
        Ok(Self {
            services: DeclaredServices {
                version,
                declaration,
            },
            record: parse_record(&record.read()?)?,
            tree: package.tree.clone(),
        })
    }

    /// Reads the software from a deb or an rpm.
    ///
    /// # Errors
    /// The file is damaged, or no software package with a separate configuration.
    pub fn read(file: &Path) -> Result<Self> {
        let reader = PackageReader::open(file)?;
        let other = || {
            Error::new(format!(
                "`{}` is not a software package with a separate configuration",
                shown(file)
            ))
            .hint("build one with `configuration = \"separate\"` below `[package]`")
        };
        let record = reader.release_record()?.ok_or_else(other)?;
        let (tree, declared) = listed(&reader)?;
        if declared.is_empty() {
            return Err(other());
        }
        let declaration = temporary_directory()?;
        for (path, below) in &declared {
            let content = reader.find(|name| name == path)?.unwrap_or_default();
            write(declaration.path(), below.as_str(), &content)?;
        }
        let version = reader.version;
        Ok(Self {
            services: DeclaredServices {
                version,
                declaration,
            },
            record: parse_record(&record)?,
            tree,
        })
    }

    /// Returns the services.
    pub fn services(&self) -> &DeclaredServices {
        &self.services
    }

    /// Makes the configuration package of a deployment. `operator` is the configuration that
    /// declares the deployment.
    ///
    /// # Errors
    /// The deployment belongs to another application, or a setting has no value or a wrong one.
    pub fn configuration(&self, operator: &Config, deployment: &Deploy) -> Result<Package> {
        let app = self.services.read(&DeclarationChanges::default())?;
        if app.name != operator.name {
            return Err(Error::new(format!(
                "the software package is `{}`, and the configuration is of `{}`",
                app.name, operator.name
            ))
            .at(Location::file(&operator.file)));
        }
        let app = app.with_deployed_settings(deployment)?;
        app.check_deployed_settings(deployment)?;
        self.configure(
            &app,
            &ConfigurationOrigin {
                environment: &deployment.name,
                roles: Vec::new(),
                root: &operator.root,
            },
        )
    }

    /// Makes the configuration package for hosts of a system. `deployment` has the values of
    /// settings, and `model` is the file of the system.
    ///
    /// # Errors
    /// A setting has no value or a wrong one, or the hosts lack a file of the site.
    pub fn configuration_for(
        &self,
        hosts: &HostConfiguration,
        deployment: &Deploy,
        model: &Path,
    ) -> Result<Package> {
        let app = self.services.read(&hosts.changes)?.placed(&hosts.placed);
        let app = app.with_deployed_settings(deployment)?;
        app.check_settings_of_system(deployment)?;
        let roles = hosts.roles.iter().map(ToString::to_string);
        self.configure(
            &app,
            &ConfigurationOrigin {
                environment: &deployment.name,
                roles: roles.collect(),
                root: model.parent().unwrap_or(Path::new("/")),
            },
        )
    }

    fn configure(&self, app: &Config, origin: &ConfigurationOrigin<'_>) -> Result<Package> {
        let mut all = self.tree.clone();
        conffiles::insert_into(&mut all, app)?;
        let mut services = services::insert_into(&mut all, app)?;
        services.environment = Some(origin.environment.to_string());
        scriptlets::insert_into(&mut all, &services)?;
        let mut tree = Tree::new();
        for (path, entry) in all.iter() {
            if self.tree.get(path).is_some() {
                continue;
            }
            tree.insert(path.clone(), entry.clone())?;
        }
        self.insert_record(&mut tree, app, origin)?;
        self.package(app, origin, tree, &services)
    }

    fn insert_record(
        &self,
        tree: &mut Tree,
        app: &Config,
        origin: &ConfigurationOrigin<'_>,
    ) -> Result<()> {
        let name = app.name.as_str();
        let settings = app.settings.iter().filter_map(|setting| {
            let from = match setting.chosen {
                Some(_) => "deployment",
                None => "default",
            };
            let value = setting.value()?;
            let value = RecordedValue {
                value: value.to_owned(),
                from: from.to_owned(),
            };
            Some((setting.name.to_string(), value))
        });
        let record = ConfigurationRecord {
            format: configuration_record::FORMAT,
            name: self.record.name.clone(),
            environment: origin.environment.to_string(),
            roles: origin.roles.clone(),
            software: self.services.version.clone(),
            settings: settings.collect(),
        };
        let mut text = serde_json::to_string_pretty(&record)
            .map_err(|error| Error::bug("cannot write a record").cause(error))?;
        text.push('\n');
        let label = Arc::new(EntryOrigin {
            label: "the record of the configuration".to_owned(),
            layer: None,
        });
        tree.insert(
            InstallPath::parse(&ConfigurationRecord::path(name))?,
            TreeEntry::file(Content::memory(text.into_bytes()), 0o644, &label),
        )
    }

    fn package(
        &self,
        app: &Config,
        origin: &ConfigurationOrigin<'_>,
        tree: Tree,
        services: &Services,
    ) -> Result<Package> {
        let python = host_python_of(&self.record);
        let scripts = &app.package.scriptlets;
        let meta = self.meta(app, origin, services)?;
        let mut package = Package {
            meta: undated(&meta)?,
            depends: self.depends(app)?,
            scriptlets: scriptlets::of(services, scripts, python.as_ref(), None, &tree)?,
            tree,
            login: Tree::new(),
            ghosts: Vec::new(),
            writable: Vec::new(),
        };
        let revision = revision(&package, origin)?;
        package.meta = PackageInfo { revision, ..meta };
        Ok(package)
    }

    fn meta(
        &self,
        app: &Config,
        origin: &ConfigurationOrigin<'_>,
        services: &Services,
    ) -> Result<PackageInfo> {
        let commit = Commit::at(origin.root);
        let date = commit::date(commit.as_ref())?;
        let time = commit.as_ref().map_or(date, |commit| commit.time);
        let environment = origin.environment;
        Ok(PackageInfo {
            name: AppName::parse(&services.form.package_name(&app.name))?,
            version: version(time)?,
            // A placeholder until the content of the package is known.
            revision: "0".to_owned(),
            arch: Arch::Any,
            summary: format!("Configuration of {} for {environment}", app.name),
            description: format!(
                "The units, users, and files below /etc of {0} in the environment {environment}. \
                 They are for the software package {1}, in version {2} or later.",
                app.name, self.record.name, self.services.version
            ),
            license: app.license.clone(),
            maintainer: app.maintainer.clone(),
            homepage: app.homepage.as_ref().map(ToString::to_string),
            section: app.package.section.clone(),
            prefix: app.package.prefix.value.clone(),
            timestamp: date,
            commit: commit.map(|commit| commit.id),
            targets: super::hosts::targets(app),
            compression: super::compression(app.package.compression),
        })
    }

    /// Returns the dependencies: the software in this version or a later one, and the daemons that
    /// read files below `/etc`. A package that holds both in one is upgraded along with it.
    fn depends(&self, app: &Config) -> Result<HostDependencies> {
        let (name, version) = (&self.record.name, &self.services.version);
        let software = software_name(&AppName::parse(name)?);
        let mut relations = PackageRelations::default();
        // Only an installation with the name of its software has the files of the single package.
        if app.name.as_str() == name {
            relations.replaces.deb = vec![format!("{name} (<< {version})")];
        }
        Ok(HostDependencies {
            programs: daemons(app),
            declared_deb: vec![format!("{software} (>= {version})")],
            declared_rpm: vec![format!("{software} >= {version}")],
            relations: with_web_server(app, relations),
            ..HostDependencies::default()
        })
    }
}

impl DeclaredServices {
    /// Declares the services of a project that is not built.
    ///
    /// # Errors
    /// A file that the configuration names cannot be read, or the disk is full.
    pub fn of(app: &Config) -> Result<Self> {
        let version = app.version.as_ref();
        let version = version.map_or_else(|| "0".to_owned(), |version| version.value.to_string());
        let declaration = temporary_directory()?;
        let declared = ServiceDeclaration::of(app, &version)?;
        for (path, content) in &declared.files {
            write(declaration.path(), path.as_str(), content)?;
        }
        write(declaration.path(), "pkgapp.toml", declared.text.as_bytes())?;
        Ok(Self {
            version,
            declaration,
        })
    }

    /// Returns `[epoch:]upstream-revision`, as package managers print it.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Reads the declaration with changes.
    ///
    /// # Errors
    /// The package comes from somebody else and has no valid declaration, or the changes make
    /// mistakes.
    pub fn read(&self, changes: &DeclarationChanges) -> Result<Config> {
        let app = ServiceDeclaration::read_for(self.declaration.path(), changes);
        app.map_err(|error| error.context("cannot read the services of the software package"))
    }
}

/// Returns the files and links of a package without their content, and the files of its
/// declaration: their paths in the package, and below the declaration.
fn listed(reader: &PackageReader) -> Result<(Tree, Vec<(String, ReleasePath)>)> {
    let origin = Arc::new(EntryOrigin {
        label: shown(&reader.path).to_string(),
        layer: None,
    });
    let middle = format!("/{DECLARATION}/");
    let (mut tree, mut declared) = (Tree::new(), Vec::new());
    for entry in reader.entries()? {
        let is_file = matches!(entry.kind, ListedKind::File { .. });
        if let Some((_, below)) = entry.path.split_once(&middle).filter(|_| is_file) {
            declared.push((entry.path.clone(), ReleasePath::parse(below)?));
        }
        let known = match entry.kind {
            ListedKind::Directory => TreeEntry::directory(&origin),
            ListedKind::Symlink(target) => TreeEntry::symlink(target, &origin),
            ListedKind::File { .. } | ListedKind::Other => {
                TreeEntry::file(Content::memory(Vec::new()), entry.mode, &origin)
            }
        };
        tree.insert(InstallPath::parse(&entry.path)?, known)?;
    }
    Ok((tree, declared))
}

/// Returns what is known of a package without the commit, so that the same content has the same
/// hash in later commits.
pub(super) fn undated(meta: &PackageInfo) -> Result<PackageInfo> {
    Ok(PackageInfo {
        version: version(0)?,
        timestamp: 0,
        commit: None,
        ..meta.clone()
    })
}

/// Returns the version of a configuration package: the time of the commit.
pub(super) fn version(time: u64) -> Result<Version> {
    let moment = super::revision::moment(time)?;
    let text = moment.strftime("%Y%m%d.%H%M%S");
    let text = text.to_string();
    text.parse()
        .map_err(|error| Error::bug(format!("`{text}` is no version")).cause(error))
}

/// Returns the revision of a configuration package: the environment, the roles if it is one of a
/// system, and a hash of the content, such as `production.web.g3f9a0c1d`. `-` and `_` have other
/// meanings in the versions of packages.
pub(super) fn revision(package: &Package, origin: &ConfigurationOrigin<'_>) -> Result<String> {
    let digest = digest(package)?;
    let digest = digest.to_string();
    let short = digest.get(..DIGITS).unwrap_or(&digest);
    let mut words = vec![origin.environment.to_string()];
    words.extend(origin.roles.iter().cloned());
    let words = words.join(".").replace(['-', '_'], ".");
    let words = words.get(..LONGEST_WORDS).unwrap_or(&words);
    Ok(format!("{}.g{short}", words.trim_end_matches('.')))
}

fn parse_record(bytes: &[u8]) -> Result<ReleaseRecord> {
    serde_json::from_slice(bytes)
        .context(|| "cannot read the release record of the software package")
}

pub(super) fn temporary_directory() -> Result<tempfile::TempDir> {
    tempfile::tempdir().context(|| "cannot create a temporary directory")
}

fn write(directory: &Path, below: &str, content: &[u8]) -> Result<()> {
    let path = directory.join(below);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).context(|| format!("cannot create `{}`", shown(parent)))?;
    }
    std::fs::write(&path, content).context(|| format!("cannot write `{}`", shown(&path)))
}
