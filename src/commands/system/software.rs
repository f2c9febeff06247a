//! The software of a system's applications: from packages, or from a checkout.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::assembly::configuration::{DeclaredServices, SoftwarePackage};
use crate::cli::{GlobalOptions, TargetArgs};
use crate::commands::load_with;
use crate::commands::locked_recipes::LockedRecipes;
use pkgapp_config::{
    Config, DeclarationChanges, PartName, PartPlacement, SoftwareSource, SystemApplication,
    SystemEnvironment, SystemModel,
};
use pkgapp_core::error::{Error, Result, shown};
use pkgapp_core::name::AppName;
use pkgapp_core::report::Report;
use pkgapp_deploy::artifact::{Artifact, ArtifactContent};
use pkgapp_system::DeclaredApplication;

/// The software of an application, as it was found.
#[derive(Debug)]
pub(super) enum FoundSoftware {
    /// A package, and its file.
    Package(Box<SoftwarePackage>, PathBuf),
    /// The services of a checkout.
    Checkout(DeclaredServices),
}

impl FoundSoftware {
    pub(super) fn services(&self) -> &DeclaredServices {
        match self {
            Self::Package(package, _) => package.services(),
            Self::Checkout(services) => services,
        }
    }
}

/// Reads the software of applications, each package once.
pub(super) struct SoftwareShelf<'a> {
    global: &'a GlobalOptions,
    report: &'a Report,
    packages: RefCell<BTreeMap<PathBuf, Rc<FoundSoftware>>>,
}

impl<'a> SoftwareShelf<'a> {
    pub(super) fn new(global: &'a GlobalOptions, report: &'a Report) -> Self {
        Self {
            global,
            report,
            packages: RefCell::default(),
        }
    }

    /// Returns the declarations of all applications, for one environment.
    pub(super) fn of(
        &self,
        model: &SystemModel,
        environment: &SystemEnvironment,
    ) -> Result<BTreeMap<AppName, DeclaredApplication>> {
        let (mut declared, mut mistakes) = (BTreeMap::new(), Vec::new());
        for application in &model.applications {
            match self.declared(application, environment) {
                Ok(one) => _ = declared.insert(application.name.clone(), one),
                Err(error) => mistakes.push(error),
            }
        }
        Error::all(mistakes).map_or(Ok(declared), Err)
    }

    fn declared(
        &self,
        application: &SystemApplication,
        environment: &SystemEnvironment,
    ) -> Result<DeclaredApplication> {
        let software = self.software(application, environment)?;
        let config = read(software.services(), application, environment).map_err(|error| {
            let name = &application.name;
            error.context(format!("cannot read the services of `{name}`"))
        })?;
        Ok(DeclaredApplication {
            software: config.name.clone(),
            version: software.services().version().to_owned(),
            config,
        })
    }

    /// Finds the software of an application.
    pub(super) fn software(
        &self,
        application: &SystemApplication,
        environment: &SystemEnvironment,
    ) -> Result<Rc<FoundSoftware>> {
        let found = match &application.from.value {
            SoftwareSource::Checkout(directory) => return self.checkout(directory),
            SoftwareSource::Package(path) if path.is_file() => path.clone(),
            SoftwareSource::Package(directory) => {
                let version = environment.versions.get(&application.name);
                let version = version.or(application.version.as_ref());
                let version = version.map(|version| version.value.as_str());
                newest(directory, application, version)?
            }
        };
        if let Some(known) = self.packages.borrow().get(&found) {
            return Ok(Rc::clone(known));
        }
        let software =
            SoftwarePackage::read(&found).map_err(|error| error.at(application.from.at.clone()))?;
        let software = FoundSoftware::Package(Box::new(software), found.clone());
        let software = Rc::new(software);
        self.packages
            .borrow_mut()
            .insert(found, Rc::clone(&software));
        Ok(software)
    }

    /// Declares the software of a checkout, without building it.
    fn checkout(&self, directory: &Path) -> Result<Rc<FoundSoftware>> {
        if let Some(known) = self.packages.borrow().get(directory) {
            return Ok(Rc::clone(known));
        }
        let global = GlobalOptions {
            config: Some(directory.join("pkgapp.toml")),
            ..self.global.clone()
        };
        let target = TargetArgs::default();
        let app = load_with(&LockedRecipes::new(&target, &global, self.report))?;
        let software = Rc::new(FoundSoftware::Checkout(DeclaredServices::of(&app)?));
        let mut packages = self.packages.borrow_mut();
        packages.insert(directory.to_owned(), Rc::clone(&software));
        Ok(software)
    }
}

/// Reads the declaration of an application, with its site for the domains of the environment.
fn read(
    software: &DeclaredServices,
    application: &SystemApplication,
    environment: &SystemEnvironment,
) -> Result<Config> {
    let domains = environment.domains.of(&application.name);
    let with_site = DeclarationChanges {
        domains: domains.iter().map(|domain| domain.value.clone()).collect(),
        ..DeclarationChanges::default()
    };
    let without_site = DeclarationChanges::default();
    let placement = application.placement(&PartName::parse("site")?);
    match placement {
        Some(PartPlacement::Nowhere(_)) => software.read(&without_site),
        Some(PartPlacement::OnRole(_)) => software.read(&with_site),
        // Whoever does not mention the site gets one if the application can have one.
        None if application.role.is_some() => software
            .read(&with_site)
            .or_else(|_| software.read(&without_site)),
        None => software.read(&without_site),
    }
}

/// Returns the newest package of an application's software in a directory, or that of a version.
fn newest(
    directory: &Path,
    application: &SystemApplication,
    version: Option<&str>,
) -> Result<PathBuf> {
    let name = application.software.as_str();
    let is_it = |artifact: &Artifact| {
        let is_version = |wanted| artifact.release == wanted || artifact.version == wanted;
        artifact.holds == ArtifactContent::Software && version.is_none_or(is_version)
    };
    let found = Artifact::newest_in(directory, name, &is_it)?;
    if let Some(artifact) = found.into_iter().next() {
        return Ok(artifact.path);
    }
    let version = version.map_or_else(String::new, |version| format!(" {version}"));
    let error = Error::new(format!(
        "there is no software package of `{name}`{version} in `{}`",
        shown(directory)
    ));
    Err(error.at(application.from.at.clone()).hint(
        "build one with `configuration = \"separate\"` below `[package]`, or write `software = \"NAME\"` \
         if it has another name",
    ))
}
