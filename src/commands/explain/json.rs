//! Values and their origins as JSON.

use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use pkgapp_config::{AppliedRecipe, Config, ConfigValue, UsedParameter, ValueOrigin};
use pkgapp_core::error::{Context, Location, Result};

#[derive(Serialize)]
struct ExplainReport<'a> {
    recipes: Vec<ExplainedRecipe<'a>>,
    values: Vec<ExplainedValue<'a>>,
}

#[derive(Serialize)]
struct ExplainedRecipe<'a> {
    name: &'a str,
    sha256: String,
}

#[derive(Serialize)]
struct ExplainedValue<'a> {
    key: &'a str,
    value: &'a str,
    kind: &'static str,
    origin: Option<ExplainedOrigin<'a>>,
    parameters: Vec<ExplainedParameter<'a>>,
    replaced: Vec<WeakerValue<'a>>,
}

#[derive(Serialize)]
struct ExplainedParameter<'a> {
    name: &'a str,
    value: &'a str,
    kind: &'static str,
    origin: Option<ExplainedOrigin<'a>>,
}

#[derive(Serialize)]
struct WeakerValue<'a> {
    value: &'a str,
    origin: ExplainedOrigin<'a>,
}

/// A place, an option, or a variable.
#[derive(Serialize)]
#[serde(untagged)]
enum ExplainedOrigin<'a> {
    Place { file: &'a Path, line: Option<usize> },
    Option { option: &'static str },
    Variable { variable: &'static str },
}

/// Returns a place.
pub(in super::super) fn place_json(at: &Location) -> Value {
    json!(ExplainedOrigin::place(at))
}

/// Returns the report of a command.
pub(super) fn report(app: &Config, values: &[ConfigValue]) -> Result<Value> {
    let recipes = &app.recipes.recipes;
    let report = ExplainReport {
        recipes: recipes.iter().map(ExplainedRecipe::of).collect(),
        values: values.iter().map(ExplainedValue::of).collect(),
    };
    serde_json::to_value(report).context(|| "cannot write the values as JSON".to_owned())
}

impl<'a> ExplainedRecipe<'a> {
    fn of(recipe: &'a AppliedRecipe) -> Self {
        Self {
            name: &recipe.name,
            sha256: recipe.sha256.to_string(),
        }
    }
}

impl<'a> ExplainedValue<'a> {
    fn of(value: &'a ConfigValue) -> Self {
        let parameters = value.parameters.iter();
        let replaced = value.replaced.iter();
        Self {
            key: &value.key,
            value: &value.value,
            kind: kind(&value.origin),
            origin: ExplainedOrigin::of(&value.origin),
            parameters: parameters.map(ExplainedParameter::of).collect(),
            replaced: replaced.map(WeakerValue::of).collect(),
        }
    }
}

impl<'a> ExplainedParameter<'a> {
    fn of(parameter: &'a UsedParameter) -> Self {
        Self {
            name: &parameter.name,
            value: &parameter.value,
            kind: kind(&parameter.origin),
            origin: ExplainedOrigin::of(&parameter.origin),
        }
    }
}

impl<'a> WeakerValue<'a> {
    fn of((value, at): &'a (String, Location)) -> Self {
        Self {
            value,
            origin: ExplainedOrigin::place(at),
        }
    }
}

impl<'a> ExplainedOrigin<'a> {
    fn of(origin: &'a ValueOrigin) -> Option<Self> {
        match origin {
            ValueOrigin::Set(at) => Some(Self::place(at)),
            ValueOrigin::Found(_, at) => at.as_ref().map(Self::place),
            ValueOrigin::Default(at) => Some(Self::place(at)),
            ValueOrigin::Inherited(at) => Some(Self::place(at)),
            ValueOrigin::Option(option) => Some(Self::Option { option }),
            ValueOrigin::Variable(variable) => Some(Self::Variable { variable }),
            ValueOrigin::Known | ValueOrigin::BuiltIn | ValueOrigin::Machine => None,
        }
    }

    fn place(at: &'a Location) -> Self {
        Self::Place {
            file: &at.file,
            line: at.position.map(|(line, _)| line),
        }
    }
}

fn kind(origin: &ValueOrigin) -> &'static str {
    match origin {
        ValueOrigin::Set(_) => "set",
        ValueOrigin::Found(..) => "found",
        ValueOrigin::Default(_) => "default",
        ValueOrigin::Known => "application",
        ValueOrigin::Inherited(_) => "inherited",
        ValueOrigin::BuiltIn => "built-in",
        ValueOrigin::Machine => "machine",
        ValueOrigin::Option(_) => "option",
        ValueOrigin::Variable(_) => "variable",
    }
}
