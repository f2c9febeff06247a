//! The files of recipes: which of them a configuration uses, and their headers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Error, Location, Result};

use super::super::document::{
    DocumentItem, DocumentKey, DocumentTable, DocumentValue, Origin, SourceDocument, SourceTexts,
};
use super::super::reader::{DocumentReader, TableReader, ValueReader, listed, nearest};
use super::super::without_places;
use super::distribution::DistributionRecipe;
use super::parameter::{Parameter, ParameterValues};
use super::{AppliedRecipe, NamedRecipe, RecipeContext, builtin, procfile};

/// Recipes that one configuration may use, their parents included.
const MOST_RECIPES: usize = 32;

/// Bytes of a recipe's file.
const MOST_BYTES: u64 = 1 << 20;

/// A parsed recipe.
pub(super) struct RecipeSource {
    name: String,
    /// Its file; `None` for one that is built in.
    file: Option<PathBuf>,
    sha256: Sha256Sum,
    /// Whether it comes from a distribution, whose files no path names.
    is_in_distribution: bool,
    table: DocumentTable,
    /// Warnings about a file that the recipe reads.
    pub(super) warnings: Vec<Error>,
}

/// The recipes of a configuration, the weakest first.
pub(super) struct LoadedRecipes {
    pub(super) recipes: Vec<RecipeSource>,
    /// Whether none was left out.
    pub(super) is_complete: bool,
}

/// Loads the recipes that a configuration names, and those that they extend: the weakest first.
///
/// # Errors
/// A recipe does not exist, is not TOML, or extends itself.
pub(super) fn load(
    names: &[NamedRecipe],
    sources: &mut SourceTexts,
    context: &RecipeContext<'_>,
) -> Result<LoadedRecipes> {
    let mut loader = RecipeLoader {
        sources,
        context,
        loaded: Vec::new(),
        extending: Vec::new(),
        is_complete: true,
    };
    for named in names {
        let origin = RecipeReference {
            at: &named.at,
            directory: Some(&context.root),
        };
        loader.load(&named.name, &origin)?;
    }
    Ok(LoadedRecipes {
        recipes: loader.loaded,
        is_complete: loader.is_complete,
    })
}

/// The place that names a recipe, and the directory that paths there are relative to; a recipe in a
/// distribution has none.
struct RecipeReference<'a> {
    at: &'a Location,
    directory: Option<&'a Path>,
}

/// A recipe's file that was read.
struct RecipeText {
    /// As records name it.
    label: String,
    /// Its file, or the place that stands for it; `None` for one that is built in.
    file: Option<PathBuf>,
    is_in_distribution: bool,
    document: SourceDocument,
}

struct RecipeLoader<'s> {
    sources: &'s mut SourceTexts,
    context: &'s RecipeContext<'s>,
    loaded: Vec<RecipeSource>,
    /// Recipes whose parents are being loaded.
    extending: Vec<String>,
    is_complete: bool,
}

impl RecipeLoader<'_> {
    /// Loads a recipe after its parent, unless both are there already.
    fn load(&mut self, name: &str, reference: &RecipeReference<'_>) -> Result<()> {
        let at = reference.at;
        let found = self.find(name, reference.directory);
        let found = found.map_err(|error| error.at(at.clone()))?;
        let Some(text) = found else {
            self.is_complete = false;
            return Ok(());
        };
        if self.loaded.iter().any(|recipe| recipe.name == text.label) {
            return Ok(());
        }
        self.check_extending(name, &text.label)
            .map_err(|error| error.at(at.clone()))?;

        let sha256 = Sha256Sum::of(text.document.text().as_bytes());
        let table = self.sources.parse(text.document)?;
        let mut recipe = RecipeSource {
            name: text.label,
            file: text.file,
            sha256,
            is_in_distribution: text.is_in_distribution,
            table,
            warnings: Vec::new(),
        };
        self.load_parent(&recipe)?;
        if recipe.file.is_none() && recipe.name.starts_with("procfile@") {
            self.add_procfile(&mut recipe, at)?;
        }
        self.loaded.push(recipe);
        Ok(())
    }

    /// Refuses a recipe that extends itself, and too many of them.
    fn check_extending(&self, name: &str, label: &String) -> Result<()> {
        if self.extending.contains(label) {
            let error = Error::new(format!("recipe `{name}` extends itself"));
            return Err(error.hint("remove one `extends`"));
        }
        if self.loaded.len() + self.extending.len() >= MOST_RECIPES {
            return Err(Error::new(format!(
                "the configuration uses more than {MOST_RECIPES} recipes"
            )));
        }
        Ok(())
    }

    /// Loads the recipe that another one extends.
    fn load_parent(&mut self, recipe: &RecipeSource) -> Result<()> {
        let Some(extends) = recipe.table.at(&["recipe", "extends"]) else {
            return Ok(());
        };
        let Some(parent) = extends.as_str() else {
            return Ok(());
        };
        let at = self.sources.location(&extends.origin);
        let beside = recipe.file.as_ref().and_then(|file| file.parent());
        let directory = beside.unwrap_or(&self.context.root);
        let reference = RecipeReference {
            at: &at,
            directory: Some(directory).filter(|_| !recipe.is_in_distribution),
        };
        self.extending.push(recipe.name.clone());
        self.load(parent, &reference)?;
        self.extending.pop();
        Ok(())
    }

    /// Finds a recipe; `None` for one that is to be left out.
    fn find(&self, name: &str, directory: Option<&Path>) -> Result<Option<RecipeText>> {
        if let Some(recipe) = DistributionRecipe::parse(name) {
            return self.find_in_distribution(name, &recipe);
        }
        if name.ends_with(".toml") || name.contains('/') {
            let Some(directory) = directory else {
                let error = Error::new("a recipe of a distribution cannot extend a file");
                return Err(error.hint(
                    "name a built-in recipe, or one of a distribution, such as `acme-deploy:base`",
                ));
            };
            return find_file(name, directory, &self.context.root).map(Some);
        }
        let Some((known, version, text)) = builtin::find(name) else {
            return Err(unknown_recipe(name));
        };
        Ok(Some(RecipeText {
            label: format!("{known}@{version}"),
            file: None,
            is_in_distribution: false,
            document: SourceDocument::new(builtin::place(known, version), text.to_owned()),
        }))
    }

    fn find_in_distribution(
        &self,
        name: &str,
        recipe: &DistributionRecipe,
    ) -> Result<Option<RecipeText>> {
        let read = (self.context.distributions)(&recipe.distribution, &recipe.file());
        let read = read.map_err(|error| error.context(format!("cannot read recipe `{name}`")))?;
        let Some(file) = read else {
            return Ok(None);
        };
        if file.content.len() as u64 > MOST_BYTES {
            return Err(too_large(name));
        }
        let place = recipe.place(&file.version);
        let text = String::from_utf8(file.content).map_err(|_| {
            Error::new(format!("recipe `{name}` is not UTF-8"))
                .hint("save the file in this encoding, and release the distribution again")
        })?;
        Ok(Some(RecipeText {
            label: recipe.label(),
            file: Some(place.clone()),
            is_in_distribution: true,
            document: SourceDocument::new(place, text),
        }))
    }

    /// Adds the processes of the project's Procfile to the recipe that stands for them.
    fn add_procfile(&mut self, recipe: &mut RecipeSource, at: &Location) -> Result<()> {
        let file = self.context.root.join(procfile::FILE);
        if !file.is_file() {
            return Err(
                Error::new("recipe `procfile` needs a Procfile, and the project has none")
                    .at(at.clone())
                    .hint("write one beside the configuration, or use another recipe"),
            );
        }
        let tables = procfile::read(
            SourceDocument::read(&file)?,
            self.sources,
            &self.context.root,
        )?;
        recipe.warnings = tables.warnings;
        let origin = recipe
            .table
            .get("recipe")
            .map_or_else(Origin::default, |item| item.origin.clone());
        let services = DocumentValue::Table(tables.services);
        recipe.table.insert_new(
            "service",
            &origin,
            DocumentItem::new(services, origin.clone()),
        );
        let variants = recipe.table.get_mut("variant").map(|item| &mut item.value);
        match variants {
            Some(DocumentValue::Array(variants)) => variants.extend(tables.variants),
            _ => {
                let variants =
                    DocumentItem::new(DocumentValue::Array(tables.variants), origin.clone());
                recipe.table.insert_new("variant", &origin, variants);
            }
        }
        Ok(())
    }
}

/// Finds a recipe by the path of its file.
fn find_file(name: &str, directory: &Path, root: &Path) -> Result<RecipeText> {
    let file: PathBuf = directory.join(name).components().collect();
    let size = std::fs::metadata(&file).map_or(0, |metadata| metadata.len());
    if size > MOST_BYTES {
        return Err(too_large(name));
    }
    let document = SourceDocument::read(&file)
        .map_err(|error| error.context(format!("cannot read recipe `{name}`")))?;
    // Records name it, so it is no path of the build machine.
    let label = match file.strip_prefix(root) {
        Ok(below) => below.display().to_string(),
        Err(_) => name.to_owned(),
    };
    Ok(RecipeText {
        label,
        file: Some(file),
        is_in_distribution: false,
        document,
    })
}

fn too_large(name: &str) -> Error {
    Error::new(format!(
        "recipe `{name}` is larger than {} KiB",
        MOST_BYTES >> 10
    ))
}

fn unknown_recipe(name: &str) -> Error {
    let (plain, version) = name
        .split_once('@')
        .map_or((name, None), |(plain, version)| (plain, Some(version)));
    if version.is_some() && builtin::find(plain).is_some() {
        return Error::new(format!("recipe `{plain}` has no version `{name}`"))
            .hint(format!("write `{plain}` for the newest version"));
    }
    let error = Error::new(format!("unknown recipe `{name}`"));
    match nearest(plain, builtin::names()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!(
            "built in are {}; name a file with its path, such as `./house.toml`",
            listed(builtin::names())
        )),
    }
}

/// A recipe whose header is read.
pub(in super::super) struct RecipeFile<'r> {
    source: &'r RecipeSource,
    /// The parameters that it declares.
    pub(super) parameters: Vec<Parameter>,
    /// Keys that the merged configuration must have, with the errors for those that are missing.
    required: Vec<RequiredKey>,
    /// The tables that always apply.
    pub(super) tables: Vec<(&'r DocumentKey, &'r DocumentItem)>,
    /// Tables that apply in certain cases.
    pub(super) variants: Vec<&'r DocumentItem>,
}

/// A key that must have a value in the end, such as `service.web.exec`.
struct RequiredKey {
    path: String,
    /// Parameters of which one must have a value before the error makes sense.
    parameters: Vec<String>,
    error: String,
    hint: Option<String>,
}

impl<'r> RecipeFile<'r> {
    /// Reads the header; mistakes are kept in `reader`.
    pub(super) fn read(source: &'r RecipeSource, reader: &DocumentReader<'r>) -> Self {
        let root = TableReader::root(reader, &source.table);
        let (parameters, required) = read_header(&root);

        let variants = match source.table.get("variant").map(|item| &item.value) {
            Some(DocumentValue::Array(items)) => items.iter().collect(),
            Some(_) => {
                let variant = root.get("variant");
                variant.inspect(|value| value.wrong_type("a list of tables"));
                Vec::new()
            }
            None => Vec::new(),
        };
        let tables = source.table.iter();
        let tables = tables.filter(|(key, _)| !["recipe", "variant"].contains(&key.name.as_str()));
        Self {
            source,
            parameters,
            required,
            tables: tables.collect(),
            variants,
        }
    }

    /// Reads the header alone.
    #[cfg(test)]
    pub(in super::super) fn check_header(table: &DocumentTable, reader: &DocumentReader<'_>) {
        read_header(&TableReader::root(reader, table));
    }

    /// Returns whether it is part of pkgapp.
    pub(super) fn is_built_in(&self) -> bool {
        self.source.file.is_none()
    }

    /// Returns the entry of the release record.
    pub(super) fn applied(&self) -> AppliedRecipe {
        AppliedRecipe {
            name: self.source.name.clone(),
            is_built_in: self.is_built_in(),
            sha256: self.source.sha256,
            file: self.source.file.clone(),
            is_in_distribution: self.source.is_in_distribution,
        }
    }

    /// Returns whether it declares a table, such as `service.beat`, in whichever case.
    pub(super) fn has_part(&self, path: &[&str]) -> bool {
        self.source.table.at(path).is_some()
            || self.variants.iter().any(|variant| {
                variant
                    .as_table()
                    .is_some_and(|table| table.at(path).is_some())
            })
    }

    /// Returns the names of the tables of a group, such as `service`.
    pub(super) fn parts_of(&self, group: &str) -> BTreeSet<&str> {
        let variants = self
            .variants
            .iter()
            .filter_map(|variant| variant.as_table());
        std::iter::once(&self.source.table)
            .chain(variants)
            .filter_map(|table| table.get(group)?.as_table())
            .flat_map(DocumentTable::keys)
            .map(|key| key.name.as_str())
            .collect()
    }
}

/// Reads `[recipe]`: the parameters, and the keys that need a value.
fn read_header(root: &TableReader<'_>) -> (Vec<Parameter>, Vec<RequiredKey>) {
    let header = root.table("recipe");
    // The loader has followed it.
    header.get("extends").and_then(|value| value.text());
    header
        .get("version")
        .and_then(|value| value.integer(1..=i64::MAX));
    header.get("summary").and_then(|value| value.line());
    let parameters = header.table("parameters").entries();
    let parameters = parameters
        .into_iter()
        .filter_map(|(name, value)| Parameter::read(&name, &value))
        .collect();
    let required = header.table("required").entries();
    let required = required
        .into_iter()
        .filter_map(|(path, value)| RequiredKey::read(&path.value, &value))
        .collect();
    header.finish();
    (parameters, required)
}

/// Reports required keys without a value, unless the table that they belong to is absent. The
/// strongest recipe that requires a key has the words.
pub(super) fn check_required(
    recipes: &[RecipeFile<'_>],
    merged: &DocumentTable,
    values: &ParameterValues,
    reader: &DocumentReader<'_>,
) {
    let mut checked = BTreeSet::new();
    for required in recipes.iter().rev().flat_map(|recipe| &recipe.required) {
        let path: Vec<&str> = required.path.split('.').collect();
        let (_, parent) = path.split_last().unwrap_or((&"", &[]));
        let has_parent = merged
            .at(parent)
            .is_some_and(|item| item.as_table().is_some());
        if !checked.insert(&required.path) || !has_parent || merged.at(&path).is_some() {
            continue;
        }
        let has_value = |name: &String| values.get(name).is_some();
        match required.parameters.first() {
            Some(first) if !required.parameters.iter().any(has_value) => {
                values.complain_of_missing(first, reader);
            }
            _ => {
                let error = Error::new(required.error.clone()).at(values.at());
                let hint = required.hint.iter();
                reader.complain_elsewhere(hint.fold(error, Error::hint));
            }
        }
    }
}

impl RequiredKey {
    fn read(path: &str, value: &ValueReader<'_>) -> Option<Self> {
        let table = value.table("recipe.required")?;
        let error = table
            .require("error", "error = \"…\"")
            .and_then(|value| value.line());
        let hint = table.get("hint").and_then(|value| value.line());
        let parameters = table.each("parameters", |text| Ok(text.to_owned()));
        table.finish();
        Some(Self {
            path: path.to_owned(),
            parameters: without_places(parameters),
            error: error?,
            hint,
        })
    }
}
