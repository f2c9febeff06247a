//! The declaration of an application's services, as a package of the software carries it. It is a
//! configuration without the keys that only a build needs, so that a configuration package is made
//! by the same reader from the software package alone: without sources, and without a Python.

use std::path::Path;

use pkgapp_core::error::{Error, Result};
use pkgapp_core::fs;
use pkgapp_core::path::{InstallPath, ReleasePath};

use super::document::{Document, DocumentItem, DocumentTable, Origin, SourceDocument};
use super::{Config, ConfigDraft, ConfigurationForm, DeclarationChanges, ProjectFacts};

/// The tables and keys of a declaration. Of the others, only a build or a deployment has a use.
const DECLARED: [(&str, &[&str]); 14] = [
    (
        "app",
        &["name", "version", "license", "maintainer", "homepage"],
    ),
    ("python", &["version"]),
    (
        "package",
        &[
            "prefix",
            "configuration",
            "scriptlets",
            "section",
            "targets",
        ],
    ),
    ("settings", &[]),
    ("service", &[]),
    ("timer", &[]),
    ("cron", &[]),
    ("metrics", &[]),
    ("logrotate", &[]),
    ("site", &[]),
    ("config", &[]),
    ("requires", &[]),
    ("provides", &[]),
    ("migrate", &[]),
];

/// The phases of `[package.scriptlets]`, by the names of the keys.
const PHASES: [&str; 4] = [
    "before-install",
    "after-install",
    "before-remove",
    "after-remove",
];

/// The declaration of an application's services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceDeclaration {
    /// The configuration, as a file `pkgapp.toml`.
    pub text: String,
    /// The files that it names, relative to it, with their content.
    pub files: Vec<(ReleasePath, Vec<u8>)>,
}

impl ServiceDeclaration {
    /// Returns the declaration of an application in a certain version.
    ///
    /// # Errors
    /// A file that the configuration names cannot be read.
    pub fn of(app: &Config, version: &str) -> Result<Self> {
        let document = SourceDocument::new(app.file.clone(), app.recipes.ejected.clone());
        let mut table = declared(Document::parse(document)?.table);
        set(&mut table, &["app", "name"], app.name.as_str());
        set(&mut table, &["app", "version"], version);
        let python = app.python.version.value.to_string();
        set(&mut table, &["python", "version"], &python);
        set(&mut table, &["app", "maintainer"], &app.maintainer);
        if let Some(license) = &app.license {
            set(&mut table, &["app", "license"], license);
        }
        if let Some(homepage) = &app.homepage {
            set(&mut table, &["app", "homepage"], homepage.as_str());
        }
        let prefix = app.package.prefix.value.as_str();
        set(&mut table, &["package", "prefix"], prefix);
        write_out_scriptlets(&mut table, app);
        let files = name_files(&mut table, app)?;
        Ok(Self {
            text: format!(
                "# The services of {}; `pkgapp build --for` reads them.\n\n{table}",
                app.name
            ),
            files,
        })
    }

    /// Reads the declaration in a directory, which may come from anybody's package.
    ///
    /// # Errors
    /// Mistakes of the configuration, or something in it that no declaration has, such as the path
    /// of a file elsewhere, whose content would get into packages.
    pub fn read(directory: &Path) -> Result<Config> {
        Self::read_for(directory, &DeclarationChanges::default())
    }

    /// Reads the declaration in a directory with changes.
    ///
    /// # Errors
    /// As [`ServiceDeclaration::read`], and mistakes that the changes make, such as domains for an
    /// application without a service for a site.
    pub fn read_for(directory: &Path, changes: &DeclarationChanges) -> Result<Config> {
        let file = directory.join("pkgapp.toml");
        let draft = ConfigDraft::read(Some(&file), directory)?.without_content();
        let app = draft.finish(&ProjectFacts::default())?;
        let foreign = || Error::new("it is no declaration that pkgapp has written");
        let version = app.version.as_ref().ok_or_else(foreign)?;
        let again = Self::of(&app, &version.value.to_string())?;
        let text = fs::read_to_string(&file)?;
        // The first line is a comment, which other versions may word in another way.
        let there = text.lines().skip(1);
        let expected = again.text.lines().skip(1);
        if !there.eq(expected) {
            return Err(foreign());
        }
        if *changes == DeclarationChanges::default() {
            return Ok(app);
        }
        let draft = ConfigDraft::read(Some(&file), directory)?.without_content();
        draft.with_changes(changes).finish(&ProjectFacts::default())
    }
}

impl Config {
    /// Returns whether units and the files below `/etc` are in a package of their own.
    pub fn is_separate(&self) -> bool {
        self.package.configuration == ConfigurationForm::Separate
    }

    /// Refuses what a separate configuration cannot have.
    ///
    /// # Errors
    /// Paths of the release that the application writes to: several configurations may use one
    /// release.
    pub(super) fn check_separate(&self) -> Result<()> {
        match self.writable.first() {
            Some(first) if self.is_separate() => {
                let error = Error::new(
                    "a release with a separate configuration cannot have `writable` paths",
                );
                Err(error.at(first.at.clone()).hint(
                    "write to `$STATE_DIRECTORY`, or remove `configuration` below `[package]`",
                ))
            }
            _ => Ok(()),
        }
    }

    /// Returns the directory of the generated files that units and cron jobs use: in the release,
    /// or, as several configurations may use one release, in a directory of their own.
    ///
    /// # Errors
    /// None for a valid configuration.
    pub fn generated_directory(&self) -> Result<InstallPath> {
        match self.package.configuration {
            ConfigurationForm::Included => {
                let own = ReleasePath::parse(".pkgapp")?;
                Ok(self.package.prefix.value.join(&own))
            }
            ConfigurationForm::Separate => {
                InstallPath::parse(&format!("/usr/lib/pkgapp/{}", self.name))
            }
        }
    }
}

/// Leaves out what a declaration does not have.
fn declared(mut all: DocumentTable) -> DocumentTable {
    let mut kept = DocumentTable::default();
    for (name, keys) in DECLARED {
        let Some((key, mut item)) = all.remove(name) else {
            continue;
        };
        if let (Some(table), false) = (item.as_table_mut(), keys.is_empty()) {
            let names: Vec<String> = table.keys().map(|key| key.name.clone()).collect();
            for name in &names {
                if keys.contains(&name.as_str()) {
                    continue;
                }
                table.remove(name);
            }
        }
        kept.insert(key, item);
    }
    kept
}

/// Sets a text, in a table that is made if it is missing.
fn set(table: &mut DocumentTable, [first, key]: &[&str; 2], text: &str) {
    table.set_below(first, key, DocumentItem::of_text(text));
}

/// Writes scripts of other files into the declaration.
fn write_out_scriptlets(table: &mut DocumentTable, app: &Config) {
    let phases = &app.package.scriptlets;
    let texts = [
        &phases.before_install,
        &phases.after_install,
        &phases.before_remove,
        &phases.after_remove,
    ];
    let package = table
        .get_mut("package")
        .and_then(DocumentItem::as_table_mut);
    let scriptlets = package
        .and_then(|package| package.get_mut("scriptlets"))
        .and_then(DocumentItem::as_table_mut);
    let Some(scriptlets) = scriptlets else {
        return;
    };
    for (phase, text) in PHASES.into_iter().zip(texts) {
        if let Some(text) = text {
            scriptlets.insert_new(
                phase,
                &Origin::default(),
                DocumentItem::of_text(&text.value),
            );
        }
    }
}

/// Gives the files that the declaration names paths below it, and returns them.
fn name_files(table: &mut DocumentTable, app: &Config) -> Result<Vec<(ReleasePath, Vec<u8>)>> {
    let mut files = Vec::new();
    for file in &app.configs {
        let path = ReleasePath::parse(&format!("config/{}", file.name))?;
        let declared = table
            .get_mut("config")
            .and_then(DocumentItem::as_table_mut)
            .and_then(|configs| configs.get_mut(file.name.as_str()))
            .and_then(DocumentItem::as_table_mut);
        if let Some(declared) = declared {
            declared.insert_new(
                "source",
                &Origin::default(),
                DocumentItem::of_text(path.as_str()),
            );
        }
        files.push((path, fs::read(&file.source)?));
    }
    if let Some(extra) = app.site.as_ref().and_then(|site| site.extra.as_ref()) {
        let path = ReleasePath::parse("site-extra")?;
        set(table, &["site", "extra"], path.as_str());
        files.push((path, fs::read(&extra.value)?));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: &str = r#"
[app]
name = "shop"
version = "1.0"
include = ["x"]

[python]
version = "3.11"

[package]
configuration = "separate"
revision = "7"
scriptlets.after-install = { file = "after.sh" }

[settings.SHOP_TITLE]
type = "string"

[service.worker]
exec = "python -m worker"

[service.api]
exec = "python -m api"
socket = "127.0.0.1:8000"

[config."shop.ini"]
source = "deploy/shop.ini"

[requires.database]
type = "postgresql"
env = { SHOP_DATABASE = "{url}?sslmode={{x}}" }

[requires.billing]
env = { BILLING_HOSTS = "{hosts}" }
optional = true

[provides.orders]
service = "api"

[migrate]
exec = ["python -m migrate", "python -m check"]
service = "worker"

[deploy.production]
hosts = ["web1"]
settings = { SHOP_TITLE = "Tick" }
"#;

    fn load(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Config) {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = directory.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, content).unwrap();
        }
        let draft = ConfigDraft::read(None, directory.path()).unwrap();
        let app = draft
            .without_content()
            .finish(&ProjectFacts::default())
            .unwrap();
        (directory, app)
    }

    fn shop() -> (tempfile::TempDir, Config) {
        load(&[
            ("pkgapp.toml", SHOP.as_bytes()),
            ("after.sh", b"echo after\n"),
            ("deploy/shop.ini", b"[shop]\n"),
            ("x", b""),
        ])
    }

    /// Writes a declaration to a directory of its own, and reads it as any configuration.
    fn written(declaration: &ServiceDeclaration) -> (tempfile::TempDir, Config) {
        let named = declaration.files.iter();
        let mut files: Vec<(&str, &[u8])> = named
            .map(|(path, content)| (path.as_str(), &content[..]))
            .collect();
        files.push(("pkgapp.toml", declaration.text.as_bytes()));
        load(&files)
    }

    #[test]
    fn a_declaration_means_the_same_without_the_project() {
        let (_directory, app) = shop();
        let declaration = ServiceDeclaration::of(&app, "1.0").unwrap();
        let (_other, again) = written(&declaration);

        let names: Vec<String> = again
            .services
            .iter()
            .map(|part| part.name.to_string())
            .collect();
        assert_eq!(names, ["worker", "api"]);
        assert_eq!(again.package.prefix.value.as_str(), "/opt/shop");
        let after = again.package.scriptlets.after_install.as_ref().unwrap();
        assert_eq!(after.value, "echo after\n");
        assert_eq!(fs::read(&again.configs[0].source).unwrap(), b"[shop]\n");
        assert!(again.is_separate() && again.deploys.is_empty() && again.include.is_empty());
        let meaning = |app: &Config| {
            let tables = format!("{:#?}", (&app.requires, &app.provides, &app.migrate));
            pkgapp_testing::without_places(&tables)
        };
        assert_eq!((again.requires.len(), again.provides.len()), (2, 1));
        assert_eq!(meaning(&again), meaning(&app));
        // A declaration of a declaration is the same: nothing of it depends on where it lies.
        assert_eq!(ServiceDeclaration::of(&again, "1.0").unwrap(), declaration);
    }

    #[test]
    fn a_declaration_names_no_file_elsewhere() {
        let (_directory, app) = shop();
        let declaration = ServiceDeclaration::of(&app, "1.0").unwrap();
        let (directory, _) = written(&declaration);
        ServiceDeclaration::read(directory.path()).unwrap();

        let file = directory.path().join("pkgapp.toml");
        let after = "after-install = \"\"\"\necho after\n\"\"\"";
        for (good, bad) in [
            ("\"config/shop.ini\"", "\"/etc/hostname\""),
            ("\"config/shop.ini\"", "\"../../etc/hostname\""),
            (after, "after-install = { file = \"/etc/hostname\" }"),
        ] {
            assert!(declaration.text.contains(good), "{}", declaration.text);
            let text = declaration.text.replace(good, bad);
            fs_err::write(&file, text).unwrap();
            ServiceDeclaration::read(directory.path()).unwrap_err();
        }
    }

    #[test]
    fn values_of_a_deployment_replace_defaults() {
        let (_directory, app) = shop();
        assert!(app.check_settings().is_err());
        let deployment = app.deploys[0].clone();
        let app = app.with_deployed_settings(&deployment).unwrap();
        assert_eq!(app.settings[0].value(), Some("Tick"));
        app.check_settings().unwrap();
    }
}
