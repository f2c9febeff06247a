//! The parameters of recipes: their declarations, and the values that they get.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use pkgapp_core::error::{Error, Location};

use super::super::document::{DocumentItem, DocumentTable, DocumentValue, Origin};
use super::super::facts::{FACTS, FactType, FactValue};
use super::super::is_dotted_name;
use super::super::reader::{DocumentReader, Located, ValueReader, listed, nearest};
use super::file::RecipeFile;
use super::{NamedRecipe, RecipeContext, UsedFact};

/// A parameter that a recipe declares.
#[derive(Debug, Clone)]
pub(super) struct Parameter {
    pub(super) name: String,
    kind: ParameterType,
    /// The fact that is its value unless the user gives one.
    found: Option<&'static str>,
    default: Option<DocumentItem>,
    /// Whether it may go without a value.
    is_optional: bool,
    /// The place of its declaration.
    pub(super) origin: Origin,
}

/// The values that a parameter takes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ParameterType {
    String,
    /// Bounds included.
    Integer {
        minimum: i64,
        maximum: i64,
    },
    Boolean,
    List,
    Table,
    Path,
    Module,
    Choice(Vec<String>),
}

/// The words for types in a declaration.
static TYPES: [(&str, ParameterType); 8] = [
    ("string", ParameterType::String),
    (
        "integer",
        ParameterType::Integer {
            minimum: i64::MIN,
            maximum: i64::MAX,
        },
    ),
    ("boolean", ParameterType::Boolean),
    ("list", ParameterType::List),
    ("table", ParameterType::Table),
    ("path", ParameterType::Path),
    ("module", ParameterType::Module),
    ("choice", ParameterType::Choice(Vec::new())),
];

impl Parameter {
    /// Reads `NAME = { type = "integer", default = 2 }`.
    pub(super) fn read(name: &Located<String>, value: &ValueReader<'_>) -> Option<Self> {
        let table = value.table("recipe.parameters.NAME")?;
        if !is_parameter_name(name) {
            let error = Error::new(format!("`{}` is not a name for a parameter", name.value));
            value.complain(error.hint("use lower-case letters, digits, and `-`"));
        }
        let kind = table
            .require("type", "type = \"string\"")
            .and_then(|value| read_type(&value));
        let minimum = table
            .get("minimum")
            .and_then(|value| value.integer(i64::MIN..=i64::MAX));
        let maximum = table
            .get("maximum")
            .and_then(|value| value.integer(i64::MIN..=i64::MAX));
        let choices = table.each("choices", |text| Ok(text.to_owned()));
        let found = table
            .get("found")
            .and_then(|value| read_fact(&value, kind.as_ref()));
        let default = table.get("default");
        let is_optional = table
            .get("optional")
            .and_then(|value| value.boolean())
            .unwrap_or(false);
        table.get("help").and_then(|value| value.line());
        table.finish();

        let kind = match kind? {
            ParameterType::Integer { .. } => ParameterType::Integer {
                minimum: minimum.unwrap_or(i64::MIN),
                maximum: maximum.unwrap_or(i64::MAX),
            },
            ParameterType::Choice(_) => {
                ParameterType::Choice(choices.into_iter().map(|choice| choice.value).collect())
            }
            other => other,
        };
        if let Some(default) = &default
            && let Err(error) = kind.check(&default.item().value)
        {
            default.complain(error.context(format!("the default of `{}` is wrong", name.value)));
        }
        Some(Self {
            name: name.value.clone(),
            kind,
            found,
            default: default.map(|value| value.item().clone()),
            is_optional,
            origin: value.origin().clone(),
        })
    }

    /// Returns the value that the user's line would have, for a hint.
    fn example(&self) -> String {
        match &self.kind {
            ParameterType::String => "\"…\"".to_owned(),
            ParameterType::Integer { .. } => "1".to_owned(),
            ParameterType::Boolean => "true".to_owned(),
            ParameterType::List => "[\"…\"]".to_owned(),
            ParameterType::Table => "{ NAME = \"…\" }".to_owned(),
            ParameterType::Path => "\"PATH\"".to_owned(),
            ParameterType::Module => "\"MODULE:NAME\"".to_owned(),
            ParameterType::Choice(choices) => {
                format!("\"{}\"", choices.first().map_or("…", String::as_str))
            }
        }
    }
}

fn is_parameter_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn read_type(value: &ValueReader<'_>) -> Option<ParameterType> {
    let text = value.text()?;
    let found = TYPES.iter().find(|(word, _)| *word == text);
    if found.is_none() {
        let words = TYPES.iter().map(|(word, _)| *word);
        let error = Error::new(format!("`{text}` is not a type of parameters"));
        value.complain(match nearest(text, words.clone()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("the types are {}", listed(words))),
        });
    }
    found.map(|(_, kind)| kind.clone())
}

fn read_fact(value: &ValueReader<'_>, kind: Option<&ParameterType>) -> Option<&'static str> {
    let text = value.text()?;
    let names = FACTS.iter().map(|(name, _, _)| *name);
    let Some((name, fact, _)) = FACTS.iter().find(|(name, _, _)| *name == text) else {
        let error = Error::new(format!("pkgapp finds no fact `{text}`"));
        value.complain(match nearest(text, names.clone()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("the facts are {}", listed(names))),
        });
        return None;
    };
    if kind.is_some_and(|kind| !kind.accepts(*fact)) {
        value.complain(Error::new(format!(
            "the fact `{text}` has another type than the parameter"
        )));
    }
    Some(name)
}

impl ParameterType {
    /// Returns whether facts of a type fit.
    fn accepts(&self, fact: FactType) -> bool {
        match self {
            Self::String => matches!(fact, FactType::String | FactType::Module | FactType::Path),
            Self::Path => fact == FactType::Path,
            Self::Module => fact == FactType::Module,
            Self::Boolean => fact == FactType::Boolean,
            Self::List => fact == FactType::List,
            Self::Table => fact == FactType::Table,
            Self::Integer { .. } | Self::Choice(_) => false,
        }
    }

    /// Checks a value.
    fn check(&self, value: &DocumentValue) -> Result<(), Error> {
        match (self, value) {
            (Self::String, DocumentValue::String(_))
            | (Self::Boolean, DocumentValue::Boolean(_))
            | (Self::List, DocumentValue::Array(_))
            | (Self::Table, DocumentValue::Table(_)) => Ok(()),
            (Self::Integer { minimum, maximum }, DocumentValue::Integer(number)) => {
                let is_in_range = number
                    .value
                    .is_some_and(|value| (*minimum..=*maximum).contains(&value));
                if is_in_range {
                    Ok(())
                } else {
                    Err(out_of_range(*minimum, *maximum, &number.text))
                }
            }
            (Self::Path, DocumentValue::String(text)) => check_path(text),
            (Self::Module, DocumentValue::String(text)) => check_module(text),
            (Self::Choice(choices), DocumentValue::String(text)) => {
                if choices.contains(text) {
                    return Ok(());
                }
                let words = choices.iter().map(String::as_str);
                Err(Error::new(format!("`{text}` is not one of the choices"))
                    .hint(format!("the choices are {}", listed(words))))
            }
            _ => Err(Error::new(format!(
                "the value must be {}, not {}",
                self.described(),
                value.described()
            ))),
        }
    }

    fn described(&self) -> &'static str {
        match self {
            Self::String | Self::Choice(_) => "a string",
            Self::Integer { .. } => "an integer",
            Self::Boolean => "`true` or `false`",
            Self::List => "a list",
            Self::Table => "a table",
            Self::Path => "a path",
            Self::Module => "the name of a module",
        }
    }
}

fn out_of_range(minimum: i64, maximum: i64, number: &str) -> Error {
    let limits = match (minimum, maximum) {
        (minimum, i64::MAX) => format!("{minimum} or more"),
        (i64::MIN, maximum) => format!("{maximum} or less"),
        (minimum, maximum) => format!("between {minimum} and {maximum}"),
    };
    Error::new(format!("the value must be {limits}, not {number}"))
}

fn check_path(text: &str) -> Result<(), Error> {
    let is_inside = !text.is_empty()
        && !text.starts_with('/')
        && !text.chars().any(char::is_control)
        && text.split('/').all(|part| part != "..");
    if is_inside {
        Ok(())
    } else {
        Err(Error::new(format!(
            "`{}` is not a path in the project",
            text.escape_debug()
        ))
        .hint("write a path relative to the configuration file"))
    }
}

fn check_module(text: &str) -> Result<(), Error> {
    let (module, object) = text.split_once(':').unwrap_or((text, "_"));
    if is_dotted_name(module) && is_dotted_name(object) {
        Ok(())
    } else {
        Err(Error::new(format!(
            "`{}` is not the name of a module",
            text.escape_debug()
        ))
        .hint("write `MODULE` or `MODULE:NAME`, such as `shop.wsgi:application`"))
    }
}

/// The source of a parameter's value.
#[derive(Debug, Clone)]
pub(super) enum ParameterOrigin {
    /// `[recipe]` of the configuration.
    Set(Origin),
    /// A fact; the file that shows it, if one does.
    Found(&'static str, Option<Location>),
    /// The default of the declaration.
    Default(Origin),
    /// A name that every recipe knows, such as `{prefix}`.
    Known,
}

/// A parameter with its value.
#[derive(Debug, Clone)]
pub(super) struct ParameterValue {
    pub(super) value: DocumentItem,
    pub(super) origin: ParameterOrigin,
}

impl ParameterValue {
    /// Returns whether the user's configuration has it.
    pub(super) fn is_set(&self) -> bool {
        matches!(self.origin, ParameterOrigin::Set(_))
    }
}

/// The values of all parameters.
#[derive(Debug, Default)]
pub(super) struct ParameterValues {
    values: BTreeMap<String, ParameterValue>,
    declared: BTreeMap<String, Parameter>,
    /// Names that strings or conditions refer to.
    used: RefCell<BTreeSet<String>>,
    /// Names whose absence is reported.
    reported: RefCell<BTreeSet<String>>,
    /// The recipes that the configuration names.
    names: String,
    /// The place that names them.
    at: Option<Location>,
}

impl ParameterValues {
    /// Gives each declared parameter its value: the user's, else a fact, else the default.
    pub(super) fn resolve(
        recipes: &[RecipeFile<'_>],
        settings: Option<&DocumentItem>,
        context: &RecipeContext<'_>,
        named: &[NamedRecipe],
        reader: &DocumentReader<'_>,
    ) -> Self {
        let mut declared = BTreeMap::new();
        for parameter in recipes.iter().flat_map(|recipe| &recipe.parameters) {
            declared.insert(parameter.name.clone(), parameter.clone());
        }
        let none = DocumentTable::default();
        let settings = match settings {
            Some(item) => item.as_table().unwrap_or_else(|| {
                reader.complain(&item.origin, Error::new("`recipe` must be a table"));
                &none
            }),
            None => &none,
        };
        let known = known_names(context);
        let mut values = known.clone();
        for (name, parameter) in &declared {
            let value = value_of(parameter, settings, context, reader)
                .map(|value| with_known_names(value, &known));
            values.extend(value.map(|value| (name.clone(), value)));
        }
        Self {
            values,
            declared,
            used: RefCell::default(),
            reported: RefCell::default(),
            names: named
                .iter()
                .map(|recipe| format!("`{}`", recipe.name))
                .collect::<Vec<_>>()
                .join(", "),
            at: named.first().map(|recipe| recipe.at.clone()),
        }
    }

    /// Returns the place that names the recipes.
    pub(super) fn at(&self) -> Location {
        self.at
            .clone()
            .unwrap_or_else(|| Location::file("pkgapp.toml"))
    }

    /// Returns whether there is a parameter or a known name.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.values.contains_key(name) || self.declared.contains_key(name)
    }

    /// Returns whether a parameter may go without a value.
    pub(super) fn is_optional(&self, name: &str) -> bool {
        self.declared
            .get(name)
            .is_some_and(|parameter| parameter.is_optional)
    }

    /// Returns the value of a parameter, which thereby is used.
    pub(super) fn get(&self, name: &str) -> Option<&ParameterValue> {
        self.used.borrow_mut().insert(name.to_owned());
        self.values.get(name)
    }

    /// Returns the value of a parameter without using it.
    pub(super) fn peek(&self, name: &str) -> Option<&ParameterValue> {
        self.values.get(name)
    }

    /// Returns the parameters that the recipes declare, as far as they have values.
    pub(super) fn declared(&self) -> impl Iterator<Item = (&String, &ParameterValue)> {
        self.values
            .iter()
            .filter(|(name, _)| self.declared.contains_key(*name))
    }

    /// Reports settings that no recipe declares.
    pub(super) fn check_settings(
        &self,
        settings: Option<&DocumentItem>,
        reader: &DocumentReader<'_>,
    ) {
        let settings = settings.and_then(DocumentItem::as_table);
        let keys = settings.into_iter().flat_map(DocumentTable::keys);
        for key in keys {
            let name = &key.name;
            if self.declared.contains_key(name) {
                continue;
            }
            let error = Error::new(format!("no recipe has a parameter `{name}`"));
            let names = self.declared.keys().map(String::as_str);
            let near = nearest(name, names.clone());
            let error = match near {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("the parameters are {}", listed(names))),
            };
            reader.complain(&key.origin, error);
        }
    }

    /// Returns the facts that strings or conditions refer to.
    pub(super) fn used_facts(&self) -> Vec<UsedFact> {
        let used = self.used.borrow();
        let used = used.iter().filter_map(|name| self.values.get(name));
        let mut facts: Vec<UsedFact> = used
            .filter_map(|parameter| match &parameter.origin {
                ParameterOrigin::Found(fact, at) => Some(UsedFact {
                    name: fact,
                    value: parameter.value.value.to_string(),
                    at: at.clone(),
                }),
                _ => None,
            })
            .collect();
        facts.sort_by_key(|fact| fact.name);
        facts.dedup_by_key(|fact| fact.name);
        facts
    }

    /// Returns the names that a message may suggest.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.values
            .keys()
            .chain(self.declared.keys())
            .map(String::as_str)
    }

    /// Reports a parameter that has no value, once.
    pub(super) fn complain_of_missing(&self, name: &str, reader: &DocumentReader<'_>) {
        let Some(parameter) = self.declared.get(name) else {
            return;
        };
        if self.reported.borrow_mut().insert(name.to_owned()) {
            let why = match parameter.found {
                Some(_) => "and nothing in the project shows it",
                None => "which has no default",
            };
            let error = Error::new(format!("recipe {} needs `{name}`, {why}", self.names))
                .at(self.at())
                .hint(format!(
                    "write `{name} = {}` below `[recipe]`",
                    parameter.example()
                ));
            reader.complain_elsewhere(error);
        }
    }

    /// Reports parameters of the user's own recipes that nothing refers to.
    pub(super) fn check_use(&self, recipes: &[RecipeFile<'_>], reader: &DocumentReader<'_>) {
        let used = self.used.borrow();
        let own = recipes.iter().filter(|recipe| !recipe.is_built_in());
        let declared = own.flat_map(|recipe| &recipe.parameters);
        for parameter in declared.filter(|parameter| !used.contains(&parameter.name)) {
            let error = Error::new(format!(
                "no string and no `when` refers to the parameter `{}`",
                parameter.name
            ));
            reader.complain(&parameter.origin, error.hint("remove it"));
        }
    }
}

fn value_of(
    parameter: &Parameter,
    settings: &DocumentTable,
    context: &RecipeContext<'_>,
    reader: &DocumentReader<'_>,
) -> Option<ParameterValue> {
    if let Some(item) = settings.get(&parameter.name) {
        if let Err(error) = parameter.kind.check(&item.value) {
            let error = error.context(format!("`recipe.{}` is wrong", parameter.name));
            let declared = reader.location(&parameter.origin);
            reader.complain(&item.origin, error.note(format!("declared at {declared}")));
        }
        return Some(ParameterValue {
            value: item.clone(),
            origin: ParameterOrigin::Set(item.origin.clone()),
        });
    }
    if let Some(name) = parameter.found
        && let Some(fact) = context.facts.get(name)
    {
        let value = DocumentItem::new(
            document_value(&fact.value, &parameter.origin),
            parameter.origin.clone(),
        );
        return Some(ParameterValue {
            value,
            origin: ParameterOrigin::Found(name, fact.at.clone()),
        });
    }
    let default = parameter.default.clone()?;
    Some(ParameterValue {
        origin: ParameterOrigin::Default(default.origin.clone()),
        value: default,
    })
}

/// Fills the names that every recipe knows into a default.
fn with_known_names(
    mut parameter: ParameterValue,
    known: &BTreeMap<String, ParameterValue>,
) -> ParameterValue {
    fn fill(item: &mut DocumentItem, known: &BTreeMap<String, ParameterValue>) {
        match &mut item.value {
            DocumentValue::String(text) => {
                for (name, value) in known {
                    if let Some(value) = value.value.as_str() {
                        *text = text.replace(&format!("{{{name}}}"), value);
                    }
                }
            }
            DocumentValue::Array(items) => items.iter_mut().for_each(|item| fill(item, known)),
            _ => {}
        }
    }
    if matches!(parameter.origin, ParameterOrigin::Default(_)) {
        fill(&mut parameter.value, known);
    }
    parameter
}

/// Names that every recipe knows: where the parts of an application lie on hosts.
fn known_names(context: &RecipeContext<'_>) -> BTreeMap<String, ParameterValue> {
    // Without a name the reader reports that, and these values are never used.
    let name = context
        .name
        .as_ref()
        .map_or_else(|| "application".to_owned(), ToString::to_string);
    let prefix = context
        .prefix
        .clone()
        .unwrap_or_else(|| format!("/opt/{name}"));
    let places = [
        ("name", name.clone()),
        ("prefix", prefix),
        ("etc", format!("/etc/{name}")),
        ("state", format!("/var/lib/{name}")),
        ("cache", format!("/var/cache/{name}")),
        ("logs", format!("/var/log/{name}")),
        ("run", format!("/run/{name}")),
    ];
    let known = |(name, text): (&str, String)| {
        let value = ParameterValue {
            value: DocumentItem::new(DocumentValue::String(text), Origin::default()),
            origin: ParameterOrigin::Known,
        };
        (name.to_owned(), value)
    };
    places.into_iter().map(known).collect()
}

/// Turns a fact's value into a value of the document, whose place is `origin`.
pub(super) fn document_value(value: &FactValue, origin: &Origin) -> DocumentValue {
    let item = |value: &FactValue| DocumentItem::new(document_value(value, origin), origin.clone());
    match value {
        FactValue::String(text) => DocumentValue::String(text.clone()),
        FactValue::Boolean(value) => DocumentValue::Boolean(*value),
        FactValue::List(values) => DocumentValue::Array(values.iter().map(item).collect()),
        FactValue::Table(entries) => {
            let mut table = DocumentTable::default();
            for (name, value) in entries {
                table.insert_new(name, origin, item(value));
            }
            DocumentValue::Table(table)
        }
    }
}
