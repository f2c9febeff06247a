//! The origin of every value of a merged configuration, for `pkgapp explain`.

use pkgapp_core::error::Location;

use super::super::document::{DocumentItem, DocumentTable, SourceTexts, dotted_key};
use super::parameter::{ParameterOrigin, ParameterValues};

/// A value of the merged configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigValue {
    /// Its key, with dots, such as `service.web.exec`.
    pub key: String,
    /// As TOML writes it.
    pub value: String,
    /// The place where it is written: in a recipe, with parameters not filled in yet.
    pub at: Location,
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

/// The source of a parameter's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueOrigin {
    /// A line of `[recipe]`.
    Set(Location),
    /// The fact with this name, and the file that shows it.
    Found(&'static str, Option<Location>),
    /// The default of the recipe.
    Default(Location),
    /// The application's name or a directory of it.
    Known,
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
            at: self.sources.location(&item.origin),
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
            let at = |origin| self.sources.location(origin);
            used.push(UsedParameter {
                name: name.to_owned(),
                value: parameter.value.value.to_string(),
                origin: match &parameter.origin {
                    ParameterOrigin::Set(origin) => ValueOrigin::Set(at(origin)),
                    ParameterOrigin::Found(fact, place) => ValueOrigin::Found(fact, place.clone()),
                    ParameterOrigin::Default(origin) => ValueOrigin::Default(at(origin)),
                    ParameterOrigin::Known => ValueOrigin::Known,
                },
            });
        }
        used
    }
}
