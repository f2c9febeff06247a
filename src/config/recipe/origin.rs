//! The origin of every value of a merged configuration, for `pkgapp explain`.

use pkgapp_core::error::Location;

use super::super::document::{DocumentItem, DocumentTable, SourceTexts, dotted_key};
use super::parameter::{ParameterOrigin, ParameterValue, ParameterValues};

/// A value of the merged configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigValue {
    /// Its key, with dots, such as `service.web.exec`.
    pub key: String,
    /// As TOML writes it.
    pub value: String,
    /// Where it comes from.
    pub origin: ValueOrigin,
    /// The parameters that it was filled with.
    pub parameters: Vec<UsedParameter>,
    /// Values that it replaced and their places, the strongest first.
    pub replaced: Vec<(String, Location)>,
}

/// A parameter that a value was filled with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedParameter {
    /// The parameter's name.
    pub name: String,
    /// Its value, as TOML writes it.
    pub value: String,
    /// Where that comes from.
    pub origin: ValueOrigin,
}

/// The source of a value, or of a parameter's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueOrigin {
    /// A line of a file, or a file as a whole: in a recipe, with parameters not filled in yet.
    Set(Location),
    /// The fact with this name, and the file that shows it.
    Found(&'static str, Option<Location>),
    /// The default of a recipe's parameter.
    Default(Location),
    /// The application's name or a directory of it.
    Known,
    /// The same key of another table, such as `[migrate]` for a deployment.
    Inherited(Location),
    /// pkgapp's own default.
    BuiltIn,
    /// The machine that pkgapp runs on.
    Machine,
    /// An option of the command line, such as `--target`.
    Option(&'static str),
    /// An environment variable, such as `PKGAPP_TARGET`.
    Variable(&'static str),
}

impl ConfigValue {
    /// A value that nothing replaced and no parameter filled; `value` is as TOML writes it.
    pub fn new(key: String, value: String, origin: ValueOrigin) -> Self {
        Self {
            key,
            value,
            origin,
            parameters: Vec::new(),
            replaced: Vec::new(),
        }
    }

    /// Returns the place where it is written.
    pub fn place(&self) -> Option<&Location> {
        match &self.origin {
            ValueOrigin::Set(at) => Some(at),
            _ => None,
        }
    }

    /// Returns whether a file, a fact, or the caller decided it, rather than a default.
    pub fn is_chosen(&self) -> bool {
        matches!(
            self.origin,
            ValueOrigin::Set(_) | ValueOrigin::Option(_) | ValueOrigin::Variable(_)
        )
    }

    /// Returns its table, and its name there.
    pub fn table_and_key(&self) -> (&str, &str) {
        let key = self.key.as_str();
        // A name with dots has quotes.
        let quoted = key.strip_suffix('"').and_then(|key| key.rfind('"'));
        let dot = match quoted {
            Some(quote) => quote.checked_sub(1),
            None => key.rfind('.'),
        };
        match dot {
            Some(dot) => (&key[..dot], &key[dot + 1..]),
            None => ("", key),
        }
    }

    /// Returns whether its key is this one, or lies in this table.
    pub fn is_below(&self, key: &str) -> bool {
        self.key
            .strip_prefix(key)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

/// Returns every value of a merged configuration, in the order of its tables.
pub(super) fn values(
    merged: &DocumentTable,
    sources: &SourceTexts,
    parameters: &ParameterValues,
) -> Vec<ConfigValue> {
    let mut values = Vec::new();
    OriginWalk {
        sources,
        parameters,
        values: &mut values,
    }
    .table("", merged);
    values
}

struct OriginWalk<'a> {
    sources: &'a SourceTexts,
    parameters: &'a ParameterValues,
    values: &'a mut Vec<ConfigValue>,
}

impl OriginWalk<'_> {
    fn table(&mut self, path: &str, table: &DocumentTable) {
        for (key, item) in table.iter() {
            let path = dotted_key(path, &key.name);
            match item.as_table() {
                Some(table) if table.keys().next().is_some() => self.table(&path, table),
                _ => self.values.push(self.leaf(path, item)),
            }
        }
    }

    fn leaf(&self, key: String, item: &DocumentItem) -> ConfigValue {
        let replaced = item.replaced.iter();
        ConfigValue {
            key,
            value: item.value.to_string(),
            origin: ValueOrigin::Set(self.sources.location(&item.origin)),
            parameters: self.used(item),
            replaced: replaced
                .map(|weaker| {
                    let at = self.sources.location(&weaker.origin);
                    (weaker.value.to_string(), at)
                })
                .collect(),
        }
    }

    /// The parameters of a value, and of the elements of a list.
    fn used(&self, item: &DocumentItem) -> Vec<UsedParameter> {
        let mut used: Vec<UsedParameter> = Vec::new();
        for name in item.all_parameters() {
            if used.iter().any(|known| known.name == name) {
                continue;
            }
            let Some(parameter) = self.parameters.peek(name) else {
                continue;
            };
            used.push(UsedParameter {
                name: name.to_owned(),
                value: parameter.value.value.to_string(),
                origin: parameter_origin(parameter, self.sources),
            });
        }
        used
    }
}

fn parameter_origin(parameter: &ParameterValue, sources: &SourceTexts) -> ValueOrigin {
    let at = |origin| sources.location(origin);
    match &parameter.origin {
        ParameterOrigin::Set(origin) => ValueOrigin::Set(at(origin)),
        ParameterOrigin::Found(fact, place) => ValueOrigin::Found(fact, place.clone()),
        ParameterOrigin::Default(origin) => ValueOrigin::Default(at(origin)),
        ParameterOrigin::Known => ValueOrigin::Known,
    }
}

/// Returns the parameters of the recipes, as keys of `[recipe]`.
pub(super) fn parameters(parameters: &ParameterValues, sources: &SourceTexts) -> Vec<ConfigValue> {
    let declared = parameters.declared();
    let explained = declared.map(|(name, parameter)| {
        ConfigValue::new(
            dotted_key("recipe", name),
            parameter.value.value.to_string(),
            parameter_origin(parameter, sources),
        )
    });
    explained.collect()
}
