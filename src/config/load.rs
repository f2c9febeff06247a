//! Loading in two steps: a draft is the parsed files, before the recipes that they name are filled
//! with facts about the project.

use std::path::{Path, PathBuf};

use pkgapp_core::error::{Context, Error, Location, Result, shown};
use pkgapp_core::name::AppName;
use pkgapp_pypa::{PackageName, Requirement, VerbatimParsedUrl};

use super::document::{Document, DocumentItem, DocumentTable, DocumentValue, SourceDocument};
use super::facts::ProjectFacts;
use super::implied_values;
use super::project::ProjectTable;
use super::reader::{DocumentReader, TableReader};
use super::recipe::{self, LockedDistributions, NoDistributions, RecipeContext};
use super::{Config, ConfigReader};

/// A configuration whose files are parsed. Its recipes, if it has any, wait for facts.
#[derive(Debug)]
pub struct ConfigDraft {
    root: PathBuf,
    file: PathBuf,
    /// A file of our own; `None` if the configuration is in pyproject.toml.
    config: Option<Document>,
    /// The project's pyproject.toml.
    project: Option<Document>,
    /// Whether an application without anything to ship is a mistake.
    needs_content: bool,
}

impl ConfigDraft {
    /// Finds and parses the configuration: the file `config`, else pkgapp.toml in `start`, else its
    /// pyproject.toml.
    ///
    /// # Errors
    /// There is no configuration, there are two, or a file is not TOML.
    pub fn read(config: Option<&Path>, start: &Path) -> Result<Self> {
        let files = ConfigFiles::find(config, start)?;
        let file = files.file().to_owned();
        let config = files.config.map(Document::parse).transpose();
        let project = files.project.map(Document::parse).transpose();
        match (config, project) {
            (Ok(config), Ok(project)) => Ok(Self {
                root: files.root,
                file,
                config,
                project,
                needs_content: true,
            }),
            (config, project) => {
                let errors = config.err().into_iter().chain(project.err());
                Err(Error::all(errors)
                    .unwrap_or_else(|| Error::bug("a mistake in the configuration got lost")))
            }
        }
    }

    /// Accepts an application without anything to ship: the declaration of its services, or an
    /// operator's file.
    #[must_use]
    pub fn without_content(mut self) -> Self {
        self.needs_content = false;
        self
    }

    /// Returns the directory of the configuration.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns whether the configuration uses a recipe, and so needs facts.
    pub fn has_recipe(&self) -> bool {
        self.own_table()
            .is_some_and(|table| table.at(&["app", "recipe"]).is_some())
    }

    /// Merges the recipes into the configuration and reads the result.
    ///
    /// # Errors
    /// All mistakes of the configuration, of its recipes, and of the values that come from
    /// pyproject.toml. Missing files that the configuration names are mistakes too, except those
    /// that [`Config::check_files`] finds.
    pub fn finish(self, facts: &ProjectFacts) -> Result<Config> {
        self.finish_with(facts, &NoDistributions)
    }

    /// As [`ConfigDraft::finish`], with recipes from distributions of the lock.
    ///
    /// # Errors
    /// As [`ConfigDraft::finish`], and those of `distributions`.
    pub fn finish_with(
        mut self,
        facts: &ProjectFacts,
        distributions: &dyn LockedDistributions,
    ) -> Result<Config> {
        let mut recipes = if self.has_recipe() {
            self.apply_recipes(facts, distributions)?
        } else {
            self.values_without_recipe()
        };

        let config = self
            .config
            .as_ref()
            .map(|document| (document, DocumentReader::new(&document.sources)));
        let project = self
            .project
            .as_ref()
            .map(|document| (document, DocumentReader::new(&document.sources)));
        let tables = project
            .as_ref()
            .map(|(document, source)| TableReader::root(source, &document.table));
        let reader = ConfigReader {
            root: &self.root,
            file: &self.file,
            defaults: tables.as_ref().map(ProjectTable::read).unwrap_or_default(),
        };
        let app = match (&config, &tables) {
            (Some((document, source)), _) => {
                reader.read(TableReader::root(source, &document.table))
            }
            (None, Some(project)) => reader.read(project.table("tool").table("pkgapp").of_kind("")),
            (None, None) => return Err(Error::bug("there is no configuration to read")),
        };

        let (mut mistakes, mut warnings) = (Vec::new(), recipes.warnings.clone());
        for (_, source) in [&config, &project].into_iter().flatten() {
            mistakes.extend(source.mistakes());
            warnings.extend(source.warnings());
        }
        warnings.extend(app.iter().flat_map(|app| app.warnings.iter().cloned()));
        match (app, Error::all(mistakes)) {
            (_, Some(error)) => Err(error),
            (Some(app), None) => {
                let project = self.project.as_ref();
                recipes.values =
                    implied_values::with_values_of_files(&app, recipes.values, project);
                let app = Config {
                    warnings,
                    recipes,
                    ..app
                };
                completed(app, self.needs_content)
            }
            (None, None) => Err(Error::bug("a mistake in the configuration got lost")),
        }
    }

    /// The table of the configuration itself: the root of pkgapp.toml, or `[tool.pkgapp]`.
    fn own_table(&self) -> Option<&DocumentTable> {
        match (&self.config, &self.project) {
            (Some(config), _) => Some(&config.table),
            (None, Some(project)) => project.table.at(&["tool", "pkgapp"])?.as_table(),
            (None, None) => None,
        }
    }

    /// The same, to change it; `None` for a table of pyproject.toml.
    pub(super) fn own_table_mut(&mut self) -> Option<&mut DocumentTable> {
        self.config.as_mut().map(|config| &mut config.table)
    }

    fn values_without_recipe(&self) -> recipe::AppliedRecipes {
        let document = self.config.as_ref().or(self.project.as_ref());
        match (self.own_table(), document) {
            (Some(own), Some(document)) => recipe::AppliedRecipes::none(own, &document.sources),
            _ => recipe::AppliedRecipes::default(),
        }
    }

    /// Reads what the configuration itself says of the application, its Python, and its package:
    /// enough to read the lock.
    fn without_recipes(&self, facts: &ProjectFacts) -> Result<Config> {
        let document = self.config.as_ref().or(self.project.as_ref());
        let (Some(own), Some(document)) = (self.own_table(), document) else {
            return Err(Error::bug("there is no configuration to read"));
        };
        let table = bare_table(own, facts);

        // The mistakes are those of the whole document, which is read later.
        let sources = document.sources.without_mistakes();
        let source = DocumentReader::new(&sources);
        let reader = ConfigReader {
            root: &self.root,
            file: &self.file,
            defaults: self.project_defaults(),
        };
        let app = reader.read(TableReader::root(&source, &table));
        if let Some(error) = Error::all(source.mistakes()) {
            return Err(error);
        }
        app.ok_or_else(|| {
            let at = Location::file(&self.file);
            let error = Error::new("the configuration does not say enough to read the lock");
            error
                .at(at)
                .hint("write `name` and `version` below `[app]`, and `version` below `[python]`")
        })
    }

    /// What pyproject.toml says of the application.
    fn project_defaults(&self) -> ProjectTable {
        let Some(project) = &self.project else {
            return ProjectTable::default();
        };
        let sources = project.sources.without_mistakes();
        let source = DocumentReader::new(&sources);
        let root = TableReader::root(&source, &project.table);
        ProjectTable::read(&root)
    }

    fn apply_recipes(
        &mut self,
        facts: &ProjectFacts,
        distributions: &dyn LockedDistributions,
    ) -> Result<recipe::AppliedRecipes> {
        let bare = self.without_recipes(facts);
        let read = |distribution: &PackageName, file: &str| {
            let app = bare.as_ref().map_err(Clone::clone)?;
            distributions.read(app, distribution, file)
        };
        let context = RecipeContext {
            root: self.root.clone(),
            name: self.app_name(),
            prefix: self.own_string(&["package", "prefix"]),
            added: self.added_requirements(),
            facts,
            distributions: &read,
        };
        match (&mut self.config, &mut self.project) {
            (Some(config), _) => {
                let own = std::mem::take(&mut config.table);
                let (table, applied) = recipe::apply(own, &mut config.sources, &context)?;
                config.table = table;
                Ok(applied)
            }
            (None, Some(project)) => {
                let own = project
                    .table
                    .get_mut("tool")
                    .and_then(DocumentItem::as_table_mut)
                    .and_then(|tool| tool.get_mut("pkgapp"))
                    .and_then(DocumentItem::as_table_mut)
                    .ok_or_else(|| Error::bug("`[tool.pkgapp]` got lost"))?;
                let (table, applied) =
                    recipe::apply(std::mem::take(own), &mut project.sources, &context)?;
                *own = table;
                Ok(applied)
            }
            (None, None) => Err(Error::bug("there is no configuration to read")),
        }
    }

    /// The distributions that `[python] add` names, by normalized name.
    fn added_requirements(&self) -> Vec<String> {
        let added = self
            .own_table()
            .and_then(|table| table.at(&["python", "add"]));
        match added.map(|item| &item.value) {
            Some(DocumentValue::Array(items)) => items
                .iter()
                .filter_map(DocumentItem::as_str)
                .filter_map(|text| text.parse().ok())
                .map(|requirement: Requirement<VerbatimParsedUrl>| requirement.name.to_string())
                .collect(),
            _ => Vec::new(),
        }
    }

    /// A string of the configuration itself.
    fn own_string(&self, path: &[&str]) -> Option<String> {
        let item = self.own_table()?.at(path)?;
        item.as_str().map(str::to_owned)
    }

    /// The application's name, as far as it is one: the reader reports others.
    fn app_name(&self) -> Option<AppName> {
        if let Some(name) = self.own_string(&["app", "name"]) {
            return AppName::parse(&name).ok();
        }
        let project = self.project.as_ref()?;
        let source = DocumentReader::new(&project.sources);
        ProjectTable::read(&TableReader::root(&source, &project.table))
            .name?
            .ok()
    }
}

/// Checks what no single table shows, and gives everything that runs the values of the settings.
fn completed(app: Config, needs_content: bool) -> Result<Config> {
    app.check_separate()?;
    let app = if needs_content {
        app.with_content()?
    } else {
        app
    };
    app.with_settings()
}

/// The tables of a configuration that say where its lock is, and for which Python it is read.
fn bare_table(own: &DocumentTable, facts: &ProjectFacts) -> DocumentTable {
    let mut table = DocumentTable::default();
    for (key, item) in own.iter() {
        let name = key.name.as_str();
        if matches!(name, "app" | "python" | "package") {
            table.insert(key.clone(), item.clone());
        }
    }
    let app = table.get_mut("app");
    if let Some(app) = app.and_then(DocumentItem::as_table_mut) {
        app.remove("recipe");
    }
    recipe::add_found_locks(&mut table, facts);
    table
}

/// The files that were found, read but not yet parsed.
struct ConfigFiles {
    root: PathBuf,
    /// A file of our own; `None` if the configuration is in pyproject.toml.
    config: Option<SourceDocument>,
    /// The project's pyproject.toml.
    project: Option<SourceDocument>,
}

impl ConfigFiles {
    fn find(config: Option<&Path>, start: &Path) -> Result<Self> {
        match config {
            Some(file) => Self::named(&absolute(file)?),
            None => Self::in_directory(&absolute(start)?),
        }
    }

    fn named(file: &Path) -> Result<Self> {
        let document = SourceDocument::read(file)?;
        let root = file.parent().unwrap_or(Path::new("/")).to_owned();
        if file
            .file_name()
            .is_some_and(|name| name == "pyproject.toml")
            || document.has(&["tool", "pkgapp"])
        {
            return Ok(Self {
                root,
                config: None,
                project: Some(document),
            });
        }
        Self::with_project(root, document)
    }

    fn in_directory(root: &Path) -> Result<Self> {
        let (ours, theirs) = (root.join("pkgapp.toml"), root.join("pyproject.toml"));
        let config = ours
            .exists()
            .then(|| SourceDocument::read(&ours))
            .transpose()?;
        let project = theirs
            .exists()
            .then(|| SourceDocument::read(&theirs))
            .transpose()?;
        match (config, project) {
            (Some(_), Some(project)) if project.has(&["tool", "pkgapp"]) => {
                let both = format!(
                    "both `{}` and `[tool.pkgapp]` in `{}` exist",
                    shown(&ours),
                    shown(&theirs)
                );
                Err(Error::new(both)
                    .at(Location::file(theirs))
                    .hint("keep one of them, or choose with `--config FILE`"))
            }
            (Some(config), _) => Self::with_project(root.to_owned(), config),
            (None, Some(project))
                if project.has(&["tool", "pkgapp"]) || project.has(&["project"]) =>
            {
                Ok(Self {
                    root: root.to_owned(),
                    config: None,
                    project: Some(project),
                })
            }
            (None, project) => Err(no_configuration(root, project.is_some())),
        }
    }

    /// Adds the pyproject.toml of the source that the configuration names, or of its own directory.
    fn with_project(root: PathBuf, config: SourceDocument) -> Result<Self> {
        let source = config.string(&["app", "source"]).unwrap_or_default();
        let file = root.join(source).join("pyproject.toml");
        let project = file
            .is_file()
            .then(|| SourceDocument::read(&file))
            .transpose()?;
        Ok(Self {
            root,
            config: Some(config),
            project,
        })
    }

    fn file(&self) -> &Path {
        self.config
            .as_ref()
            .or(self.project.as_ref())
            .map_or(&self.root, |document| &document.file)
    }
}

fn no_configuration(root: &Path, has_project: bool) -> Error {
    let error = Error::new(format!("there is no configuration in `{}`", shown(root)));
    let named = |directory: &Path| {
        let ours = directory.join("pkgapp.toml");
        let theirs = directory.join("pyproject.toml");
        let has_table =
            || SourceDocument::read(&theirs).is_ok_and(|project| project.has(&["tool", "pkgapp"]));
        if ours.is_file() {
            Some(ours)
        } else {
            has_table().then_some(theirs)
        }
    };
    let error = match root.ancestors().skip(1).find_map(named) {
        Some(file) => error.hint(format!("a parent directory has one: `--config {}`", file.display())),
        None => error.hint(
            "write a `pkgapp.toml` there that begins with `[app]` and a `name`, or name a file with `--config FILE`",
        ),
    };
    if has_project {
        error.note("its pyproject.toml has neither `[project]` nor `[tool.pkgapp]`")
    } else {
        error
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path)
        .context(|| format!("cannot resolve the path `{}`", path.display()))?;
    // `std::path::absolute` leaves `.` out but keeps a trailing slash, which `parent` does not care
    // about.
    Ok(path.components().collect())
}
