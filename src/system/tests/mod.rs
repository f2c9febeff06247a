//! Tests of resolutions: a system in three sizes, mistakes, and random edits.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::civil::{Date, date};
use pkgapp_config::{
    ConfigDraft, DeclarationChanges, DomainName, ProjectFacts, SystemEnvironment, SystemModel,
};
use pkgapp_core::error::{Error, Result};
use pkgapp_core::name::AppName;

use crate::{
    DeclaredApplication, EnvironmentLock, ResolutionInput, ResolvedSystem, SystemLock, resolve,
};

mod golden;
mod random;

const TODAY: Date = date(2026, 12, 1);

/// The head of every declaration of these tests.
const HEAD: &str =
    "version = \"1.4.2\"\n[python]\nversion = \"3.11\"\n[package]\nconfiguration = \"separate\"\n";

/// The shop of the documentation.
const SHOP: &str = r#"
[service.web]
exec = "gunicorn shop.wsgi"
socket = "0.0.0.0:8000"
[service.worker]
exec = "celery -A shop worker"
[service.beat]
exec = "celery -A shop beat"
[timer.report]
exec = "report"
calendar = "daily"
[requires.database]
type = "postgresql"
env = { DATABASE_URL = "{url}", DB_HOST = "{host}", DB_NAME = "{name}" }
[requires.cache]
type = "redis"
env = { CACHE_URL = "{url}/0" }
"#;

/// A model in a directory with the declarations of its applications.
pub(crate) struct TestSystem {
    directory: tempfile::TempDir,
    applications: BTreeMap<String, String>,
}

impl TestSystem {
    pub(crate) fn new(applications: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let applications = applications.iter().map(|(name, text)| {
            std::fs::create_dir(directory.path().join(name)).unwrap();
            ((*name).to_owned(), (*text).to_owned())
        });
        Self {
            applications: applications.collect(),
            directory,
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn model(&self, text: &str) -> Result<SystemModel> {
        std::fs::write(self.path().join("system.toml"), text).unwrap();
        SystemModel::load(None, self.path())
    }

    /// Declares the applications, for an environment.
    pub(crate) fn declared(
        &self,
        model: &SystemModel,
        environment: &SystemEnvironment,
    ) -> BTreeMap<AppName, DeclaredApplication> {
        let declare = |application: &pkgapp_config::SystemApplication| {
            let software = application.software.as_str();
            let text = format!(
                "[app]\nname = \"{software}\"\n{HEAD}{}",
                self.applications[software]
            );
            let file = self.path().join(software).join("pkgapp.toml");
            std::fs::write(&file, text).unwrap();
            let domains: Vec<DomainName> = environment
                .domains
                .of(&application.name)
                .iter()
                .map(|domain| domain.value.clone())
                .collect();
            let draft = ConfigDraft::read(Some(&file), self.path()).unwrap();
            let changes = DeclarationChanges {
                domains,
                ..DeclarationChanges::default()
            };
            let draft = draft.without_content().with_changes(&changes);
            let config = draft.finish(&ProjectFacts::default()).unwrap();
            let version = environment.versions.get(&application.name);
            let declared = DeclaredApplication {
                software: application.software.clone(),
                version: version.map_or("1.4.2-1".to_owned(), |version| version.value.clone()),
                config,
            };
            (application.name.clone(), declared)
        };
        model.applications.iter().map(declare).collect()
    }

    /// Resolves an environment.
    pub(crate) fn resolve(
        &self,
        model: &str,
        environment: &str,
        lock: &EnvironmentLock,
    ) -> Result<ResolvedSystem> {
        let model = self.model(model)?;
        let environment = model.environment(environment)?;
        resolve(&ResolutionInput {
            model: &model,
            environment,
            applications: &self.declared(&model, environment),
            lock,
            today: TODAY,
        })
    }
}

/// Returns mistakes as people read them, without the directory of the test.
pub(crate) fn told(error: &Error, directory: &Path) -> String {
    error
        .to_string()
        .replace(&format!("{}/", directory.display()), "")
}

/// Returns the text of a lock with one environment.
pub(crate) fn lock_text(lock: &EnvironmentLock) -> String {
    let environments = BTreeMap::from([("production".to_owned(), lock.clone())]);
    SystemLock { environments }.to_text()
}
