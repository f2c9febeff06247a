//! Recipes: TOML files of defaults for a kind of application.
//!
//! A recipe is data. It is parsed first and filled in afterwards: `{name}` inside of its strings
//! stands for a parameter, `when` for the presence of a table. The result is laid under the user's
//! configuration, and the merged document goes through the same reader as a hand-written one, so
//! that a recipe can do nothing that a user could not type.

mod builtin;
mod distribution;
mod file;
mod fill;
mod formation;
mod origin;
mod parameter;
mod procfile;
mod restrict;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Error, Location, Result};
use pkgapp_core::name::AppName;
use pkgapp_pypa::PackageName;

use super::document::{
    DocumentItem, DocumentTable, DocumentValue, MergeOrder, Origin, SourceDocument, SourceTexts,
};
use super::facts::ProjectFacts;
use super::reader::{DocumentReader, listed, nearest};

pub(super) use self::file::RecipeFile;
use self::fill::Filling;
use self::parameter::ParameterValues;

pub(super) use self::builtin::{RECIPES as BUILT_IN, is_built_in};
pub(super) use self::restrict::RESERVED as RESERVED_KEYS;

pub(super) use self::distribution::NoDistributions;

pub use self::distribution::{DistributionFile, LockedDistributions, RECIPE_DIRECTORY};
pub use self::origin::{ConfigValue, UsedParameter, ValueOrigin};

/// The facts and names that recipes are filled with.
pub(super) struct RecipeContext<'f> {
    /// The directory of the configuration.
    pub(super) root: PathBuf,
    /// The application's name, unless it is missing or invalid, which the reader reports.
    pub(super) name: Option<AppName>,
    /// `[package] prefix`, if the configuration says it.
    pub(super) prefix: Option<String>,
    /// Distributions that `[python] add` names, by normalized name.
    pub(super) added: Vec<String>,
    pub(super) facts: &'f ProjectFacts,
    /// Reads files from the wheels of distributions.
    pub(super) distributions: &'f DistributionReader<'f>,
}

/// Reads a file from the wheel of a distribution of the lock; `None` to leave a recipe out.
pub(super) type DistributionReader<'f> =
    dyn Fn(&PackageName, &str) -> Result<Option<DistributionFile>> + 'f;

impl RecipeContext<'_> {
    /// Returns whether the application requires a distribution, by its normalized name.
    fn requires(&self, distribution: &str) -> bool {
        self.facts.requires.contains(distribution)
            || self.added.iter().any(|name| name == distribution)
    }
}

/// The recipes of a configuration, and the origin of each value of the merged document.
#[derive(Debug, Clone, Default)]
pub struct AppliedRecipes {
    /// The recipes, the weakest first: parents before the recipes that extend them.
    pub recipes: Vec<AppliedRecipe>,
    /// Every value of the merged configuration.
    pub values: Vec<ConfigValue>,
    /// The merged configuration, as a file that needs no recipe.
    pub ejected: String,
    /// The facts about the project that the recipes used, by name.
    pub facts: Vec<UsedFact>,
    /// Warnings about the files that a recipe reads.
    pub(super) warnings: Vec<Error>,
}

impl AppliedRecipes {
    /// The values of a configuration without a recipe.
    pub(super) fn none(own: &DocumentTable, sources: &SourceTexts) -> Self {
        Self {
            recipes: Vec::new(),
            values: origin::values(own, sources, &ParameterValues::default()),
            ejected: own.to_string(),
            facts: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// A fact that a configuration depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedFact {
    /// Its name in [`super::FACTS`].
    pub name: &'static str,
    /// Its value, as TOML writes it.
    pub value: String,
    /// The file that shows it; `None` for a fact of the tree as a whole.
    pub at: Option<Location>,
}

/// A recipe that a configuration is based on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedRecipe {
    /// As the configuration or another recipe names it; a built-in one with its version, such as
    /// `django@1`.
    pub name: String,
    /// Whether it is part of pkgapp.
    pub is_built_in: bool,
    /// The checksum of its file.
    pub sha256: Sha256Sum,
    /// Its file; `None` for one that is built in.
    pub file: Option<PathBuf>,
    /// Whether it comes from a distribution of the lock; `file` then says from which.
    pub is_in_distribution: bool,
}

/// Merges the recipes that a configuration names under it.
///
/// # Errors
/// All mistakes in the recipes and in the values of their parameters, with their places.
pub(super) fn apply(
    mut own: DocumentTable,
    sources: &mut SourceTexts,
    context: &RecipeContext<'_>,
) -> Result<(DocumentTable, AppliedRecipes)> {
    let named = own.at(&["app", "recipe"]).cloned();
    let names = take_names(&mut own, sources)?;
    let settings = own.remove("recipe").map(|(_, item)| item);
    let loaded = file::load(&names, sources, context)?;
    let tables = &loaded.recipes;

    let source = DocumentReader::new(sources);
    let recipes: Vec<RecipeFile<'_>> = tables
        .iter()
        .map(|loaded| RecipeFile::read(loaded, &source))
        .collect();
    let values = ParameterValues::resolve(&recipes, settings.as_ref(), context, &names, &source);
    let (mut merged, mut every) = (DocumentTable::default(), DocumentTable::default());
    for recipe in &recipes {
        let mut filled = Filling::recipe(recipe, &values, context, &source);
        if !recipe.is_built_in() {
            restrict::check(&filled, &values, &source);
        }
        if let Some((_, defaults)) = filled.remove("every") {
            every.overlay_item(defaults);
        }
        merged.overlay(filled, MergeOrder::StrongerFirst);
    }
    merged.overlay(own, MergeOrder::StrongerFirst);
    if loaded.is_complete {
        values.check_settings(settings.as_ref(), &source);
    }
    take_out_parts(&mut merged, &recipes, loaded.is_complete, &source);
    add_defaults(&mut merged, &every);
    file::check_required(&recipes, &merged, &values, &source);
    values.check_use(&recipes, &source);

    if let Some(error) = Error::all(source.mistakes()) {
        return Err(error);
    }
    let applied = AppliedRecipes {
        values: explained_values(named.as_ref(), &merged, sources, &values),
        ejected: merged.to_string(),
        facts: values.used_facts(),
        warnings: tables
            .iter()
            .flat_map(|recipe| recipe.warnings.clone())
            .collect(),
        recipes: recipes.iter().map(RecipeFile::applied).collect(),
    };
    Ok((merged, applied))
}

/// Returns the recipes' names, their parameters, and all values, with their origins.
fn explained_values(
    named: Option<&DocumentItem>,
    merged: &DocumentTable,
    sources: &SourceTexts,
    values: &ParameterValues,
) -> Vec<ConfigValue> {
    let mut explained = Vec::new();
    if let Some(item) = named {
        let origin = ValueOrigin::Set(sources.location(&item.origin));
        let names = item.value.to_string();
        explained.push(ConfigValue::new("app.recipe".to_owned(), names, origin));
    }
    explained.extend(origin::parameters(values, sources));
    explained.extend(origin::values(merged, sources, values));
    explained
}

/// Returns whether a built-in recipe starts a web server for a project without any configuration.
pub fn serves(recipe: &str, root: &Path, facts: &ProjectFacts) -> bool {
    let context = RecipeContext {
        root: root.to_owned(),
        name: None,
        prefix: None,
        added: Vec::new(),
        facts,
        distributions: &|_, _| Ok(None),
    };
    let text = format!("[app]\nrecipe = {recipe:?}\n");
    let mut sources = SourceTexts::default();
    let document = SourceDocument::new(root.join("pkgapp.toml"), text);
    sources
        .parse(document)
        .and_then(|own| apply(own, &mut sources, &context))
        .is_ok_and(|(merged, _)| merged.at(&["service", "web", "exec"]).is_some())
}

/// Adds the locks at unusual places that are facts, unless the configuration names its locks.
pub(super) fn add_found_locks(table: &mut DocumentTable, facts: &ProjectFacts) {
    let Some(fact) = facts.get("requirements") else {
        return;
    };
    let origin = Origin::default();
    if table.get("python").is_none() {
        let python = DocumentValue::Table(DocumentTable::default());
        let python = DocumentItem::new(python, origin.clone());
        table.insert_new("python", &origin, python);
    }
    let python = table.get_mut("python");
    let Some(python) = python.and_then(DocumentItem::as_table_mut) else {
        return;
    };
    if python.get("requirements").is_none() {
        let files = parameter::document_value(&fact.value, &origin);
        let files = DocumentItem::new(files, origin.clone());
        python.insert_new("requirements", &origin, files);
    }
}

/// A recipe's name and the place that names it.
struct NamedRecipe {
    name: String,
    at: Location,
}

/// Takes `[app] recipe` out of a configuration: one name, or a list of names.
fn take_names(own: &mut DocumentTable, sources: &SourceTexts) -> Result<Vec<NamedRecipe>> {
    let Some((_, item)) = own
        .get_mut("app")
        .and_then(DocumentItem::as_table_mut)
        .and_then(|app| app.remove("recipe"))
    else {
        return Ok(Vec::new());
    };
    let at = sources.location(&item.origin);
    let items = match item.value {
        DocumentValue::Array(items) => items,
        _ => vec![item],
    };
    let named = |item: &DocumentItem| match item.as_str() {
        Some(name) => Ok(NamedRecipe {
            name: name.to_owned(),
            at: sources.location(&item.origin),
        }),
        None => Err(
            Error::new("`app.recipe` must be the name of a recipe, or a list of names")
                .at(sources.location(&item.origin))
                .hint("write `recipe = \"django\"`"),
        ),
    };
    let names: Vec<NamedRecipe> = items.iter().map(named).collect::<Result<_>>()?;
    if names.is_empty() {
        return Err(Error::new("`app.recipe` names no recipe")
            .at(at)
            .hint("leave the key out for an application without a recipe"));
    }
    Ok(names)
}

/// Adds the defaults of `[every.service]` and its like to all services, also to those that the
/// configuration adds.
fn add_defaults(merged: &mut DocumentTable, every: &DocumentTable) {
    for (group, defaults) in every.iter() {
        let (Some(defaults), Some(group)) = (
            defaults.as_table(),
            merged
                .get_mut(&group.name)
                .and_then(DocumentItem::as_table_mut),
        ) else {
            continue;
        };
        for part in group.items_mut().filter_map(DocumentItem::as_table_mut) {
            part.add_missing(defaults);
        }
    }
}

/// Tables of a recipe that a configuration may take out as a whole.
const PARTS: [&str; 5] = ["build", "logrotate", "metrics", "migrate", "site"];

/// Groups of such tables.
const GROUPS: [&str; 6] = ["config", "cron", "provides", "requires", "service", "timer"];

/// Takes out the parts that `service.beat = false` switches off.
fn take_out_parts(
    merged: &mut DocumentTable,
    recipes: &[RecipeFile<'_>],
    is_complete: bool,
    source: &DocumentReader<'_>,
) {
    let is_off = |item: &DocumentItem| item.value == DocumentValue::Boolean(false);
    for part in PARTS {
        let is_part = recipes.iter().any(|recipe| recipe.has_part(&[part]));
        if is_part && merged.get(part).is_some_and(is_off) {
            merged.remove(part);
        }
    }
    for group in GROUPS {
        let Some(table) = merged.get_mut(group).and_then(DocumentItem::as_table_mut) else {
            continue;
        };
        let off = table.iter().filter(|(_, item)| is_off(item));
        let off: Vec<String> = off.map(|(key, _)| key.name.clone()).collect();
        for name in off {
            let Some((key, item)) = table.remove(&name) else {
                continue;
            };
            let is_part = recipes
                .iter()
                .any(|recipe| recipe.has_part(&[group, &name]));
            if is_complete && !is_part {
                let error = no_such_part(group, &key.name, recipes);
                source.complain(&item.origin, error);
            }
        }
        if table.keys().next().is_none() {
            merged.remove(group);
        }
    }
}

fn no_such_part(group: &str, name: &str, recipes: &[RecipeFile<'_>]) -> Error {
    let error = Error::new(format!(
        "`{group}.{name} = false` takes a part out of a recipe, and no recipe has this part"
    ));
    let parts: Vec<&str> = recipes
        .iter()
        .flat_map(|recipe| recipe.parts_of(group))
        .collect();
    match nearest(name, parts.iter().copied()) {
        Some(near) => error.hint(format!("did you mean `{group}.{near}`?")),
        None if parts.is_empty() => error.hint("remove the line"),
        None => error.hint(format!("the parts there are {}", listed(parts))),
    }
}
