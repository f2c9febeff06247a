//! JSON schemas of `pkgapp.toml` and of recipes, with which editors complete and check keys.
//!
//! The keys, their types, defaults, and descriptions are data (`templates/schema`), in the very
//! form that editors read; a test holds them against the readers of this crate. The schema of
//! recipes follows from that of configurations.

#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use super::facts::FACTS;
use super::recipe::{BUILT_IN, RESERVED_KEYS};

/// The schema of a configuration, without the parameters of recipes.
const CONFIGURATION: &str = include_str!("../../templates/schema/pkgapp.json");

/// The schema of a model, without the keys that environments share with deployments.
const SYSTEM: &str = include_str!("../../templates/schema/system.json");

/// The keys of deployments that environments of systems have, too.
const POLICY: [&str; 11] = [
    "user",
    "sudo",
    "batches",
    "max-failed",
    "hooks",
    "keep",
    "wait",
    "confirm",
    "confirm-within",
    "unreachable",
    "protected",
];

/// Definitions that only recipes have.
const RECIPE: &str = include_str!("../../templates/schema/recipe.json");

/// Returns the schema of a `pkgapp.toml`.
pub fn configuration_schema() -> Value {
    let mut schema = parsed(CONFIGURATION);
    schema["definitions"]["recipe"]["properties"] = Value::Object(built_in_parameters());
    schema
}

/// Returns the schema of a recipe: the tables of a configuration that a recipe may set, in which
/// every value may be a parameter and every table conditional.
pub fn recipe_schema() -> Value {
    let mut schema = parsed(CONFIGURATION);
    schema["title"] = json!("Recipe of pkgapp");
    schema["description"] = json!("Defaults of pkgapp.toml for a kind of application");
    for (key, _) in RESERVED_KEYS {
        remove_key(&mut schema["definitions"], key);
    }

    if let Value::Object(definitions) = &mut schema["definitions"] {
        definitions.retain(|name, _| name != "recipe" && !name.starts_with("deploy."));
        definitions.values_mut().for_each(allow_parameters);
        if let Value::Object(own) = parsed(RECIPE) {
            definitions.extend(own);
        }
        definitions["recipe.parameters.NAME"]["properties"]["found"]["enum"] =
            FACTS.iter().map(|(name, _, _)| *name).collect();
        add_recipe_tables(definitions);
    }
    schema
}

/// Returns the schema of a `system.toml`.
pub fn system_schema() -> Value {
    let (mut schema, configuration) = (parsed(SYSTEM), parsed(CONFIGURATION));
    let definitions = &configuration["definitions"];
    for key in POLICY {
        let of_deployments = definitions["deploy.NAME"]["properties"][key].clone();
        schema["definitions"]["environment.NAME"]["properties"][key] = of_deployments;
    }
    for name in ["duration", "deploy.NAME.hooks", "commands"] {
        schema["definitions"][name] = definitions[name].clone();
    }
    schema
}

/// The files are part of the program, and tests parse them.
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("the schemas are JSON")
}

/// The parameters of all built-in recipes. A recipe of the user's may give them other types.
fn built_in_parameters() -> Map<String, Value> {
    let mut parameters = Map::new();
    for (recipe, _, text) in BUILT_IN {
        let table: toml::Table = text.parse().expect("the built-in recipes are TOML");
        let declared = table["recipe"].get("parameters");
        let declared = declared.and_then(toml::Value::as_table);
        for (name, declaration) in declared.into_iter().flatten() {
            let description = described_parameter(recipe, declaration);
            parameters.insert(name.clone(), json!({ "description": description }));
        }
    }
    parameters
}

fn described_parameter(recipe: &str, declaration: &toml::Value) -> String {
    let text = |key| declaration.get(key).and_then(toml::Value::as_str);
    let fact = text("found").and_then(|found| FACTS.iter().find(|(name, _, _)| *name == found));
    match (text("help"), fact) {
        (Some(help), _) => help.to_owned(),
        (None, Some((_, _, description))) => format!("Default: {description}"),
        (None, None) => format!("A parameter of `{recipe}`"),
    }
}

/// Removes a key such as `service.*.user` from the definition of its table.
fn remove_key(definitions: &mut Value, key: &str) {
    let key = key.replace(".*.", ".NAME.");
    let split = key.rsplit_once('.');
    let (table, key) = split.unwrap_or(("root", &key));
    let tables = match table {
        "every.NAME" => vec!["service.NAME", "timer.NAME", "cron.NAME"],
        table => vec![table],
    };
    for table in tables {
        let properties = &mut definitions[table]["properties"];
        if let Some(properties) = properties.as_object_mut() {
            properties.remove(key);
        }
    }
}

/// Lets every value below a schema be a text with parameters, and every table have a condition.
fn allow_parameters(schema: &mut Value) {
    let Value::Object(node) = schema else {
        return;
    };
    node.remove("required");
    for key in ["anyOf", "allOf"] {
        if let Some(Value::Array(choices)) = node.get_mut(key) {
            choices.iter_mut().for_each(allow_parameters);
        }
    }
    if let Some(items) = node.get_mut("items") {
        allow_parameter(items);
    }
    if is_of_type(node, "object") {
        allow_in_table(node);
    }
}

fn is_of_type(node: &Map<String, Value>, name: &str) -> bool {
    node.get("type").is_some_and(|kind| kind == name)
}

/// Lets every value of a table be a text with parameters, and the table have a condition.
fn allow_in_table(node: &mut Map<String, Value>) {
    if let Some(values) = node.get_mut("additionalProperties") {
        allow_parameter(values);
    }
    let properties = node.entry("properties");
    let properties = properties.or_insert_with(|| json!({}));
    let Value::Object(properties) = properties else {
        return;
    };
    properties.values_mut().for_each(allow_parameter);
    let condition = json!({
        "$ref": "#/definitions/condition",
    });
    properties.insert("when".to_owned(), condition);
}

/// Lets one value be a text with parameters.
fn allow_parameter(schema: &mut Value) {
    allow_parameters(schema);
    let Value::Object(node) = schema else {
        return;
    };
    let is_text = is_of_type(node, "string");
    if is_text && !node.contains_key("pattern") {
        return;
    }
    let own = schema.take();
    let parameter = json!({
        "$ref": "#/definitions/parameter",
    });
    *schema = json!({
        "anyOf": [own, parameter],
    });
}

/// Adds the tables that only recipes have: the header, variants, and defaults of all parts.
fn add_recipe_tables(definitions: &mut Map<String, Value>) {
    let group = |table: &str| json!({ "$ref": format!("#/definitions/{table}.NAME") });
    let every = json!({
        "description": "Defaults of all services, timers, and cron jobs",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "service": group("service"),
            "timer": group("timer"),
            "cron": group("cron"),
        },
    });
    let mut variant = definitions["root"].clone();
    variant["properties"]["every"] = every.clone();
    variant["properties"]["of"] = json!({
        "description": "Of several variants with the same text, the first applies",
        "type": "string",
    });
    definitions.insert("variant".into(), variant);

    let root = &mut definitions["root"]["properties"];
    root["recipe"] = json!({
        "description": "What the recipe is for, and its parameters",
        "allOf": [{ "$ref": "#/definitions/header" }],
    });
    root["every"] = every;
    root["variant"] = json!({
        "description": "Tables that are merged into the recipe if `when` holds",
        "type": "array",
        "items": { "$ref": "#/definitions/variant" },
    });
}
