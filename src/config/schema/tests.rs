//! The schemas say what the readers read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use super::super::document::{SourceDocument, SourceTexts};
use super::super::project::ProjectTable;
use super::super::reader::{DocumentReader, TableReader, listed};
use super::super::recipe::RecipeFile;
use super::super::{Config, ConfigReader, SystemModel};
use super::{BUILT_IN, configuration_schema, recipe_schema, system_schema};

/// A configuration with a table of every kind.
const COMPLETE: &str = include_str!("complete.toml");

/// Keys that the loader of recipes takes before a reader sees them.
const LOADED: [(&str, &str); 2] = [("root", "recipe"), ("app", "recipe")];

/// A project that has the files which the configuration names.
fn project() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs_err::write(directory.path().join("manage.py"), "true\n").unwrap();
    directory
}

/// A configuration that was read, its mistakes, and the keys that its readers know.
struct Reading {
    config: Option<Config>,
    mistakes: Vec<String>,
    known: BTreeMap<&'static str, Vec<&'static str>>,
}

fn read(root: &Path, text: &str) -> Reading {
    let mut sources = SourceTexts::default();
    let file = root.join("pkgapp.toml");
    let table = sources
        .parse(SourceDocument::new(file.clone(), text.to_owned()))
        .unwrap();
    let source = DocumentReader::new(&sources);
    let reader = ConfigReader {
        root,
        file: &file,
        defaults: ProjectTable::default(),
    };
    let config = reader.read(TableReader::root(&source, &table));
    let mistakes = source.mistakes();
    Reading {
        config,
        mistakes: mistakes.iter().map(ToString::to_string).collect(),
        known: source.known_keys(),
    }
}

/// The definition for a kind of table.
fn definition(kind: &str) -> String {
    match kind {
        "" => "root".to_owned(),
        "provides" | "conflicts" | "replaces" | "recommends" | "suggests" => {
            "package.RELATION".to_owned()
        }
        kind => kind.replace('"', ""),
    }
}

/// Compares the keys of definitions with those that readers know.
fn compare(
    schema: &Value,
    known: &BTreeMap<&'static str, Vec<&'static str>>,
    file: &str,
) -> Vec<String> {
    let mut differences = Vec::new();
    for (kind, keys) in known {
        let name = definition(kind);
        let properties = schema["definitions"][&name]["properties"].as_object();
        let Some(properties) = properties else {
            differences.push(format!(
                "{file} lacks the definition `{name}` for `[{kind}]`"
            ));
            continue;
        };
        let keys: BTreeSet<&str> = keys.iter().copied().collect();
        for key in keys.iter().filter(|key| !properties.contains_key(**key)) {
            differences.push(format!(
                "{file} lacks `{key}` in the definition `{name}`: add \
                 `\"{key}\": {{ \"description\": \"…\", \"type\": \"…\" }}`"
            ));
        }
        let is_extra = |key: &str, property: &Value| {
            !keys.contains(key)
                && property["deprecated"] != true
                && !LOADED.contains(&(name.as_str(), key))
        };
        for (key, _) in properties
            .iter()
            .filter(|(key, value)| is_extra(key, value))
        {
            differences.push(format!(
                "{file} has `{key}` in the definition `{name}`, which no reader asks for"
            ));
        }
    }
    differences
}

#[test]
fn the_schema_has_the_keys_that_the_readers_know() {
    let directory = project();
    let reading = read(directory.path(), COMPLETE);
    assert_eq!(reading.mistakes, Vec::<String>::new());
    let schema = configuration_schema();
    let differences = compare(&schema, &reading.known, "templates/schema/pkgapp.json");
    assert!(differences.is_empty(), "{}", differences.join("\n"));

    let known: BTreeSet<String> = reading.known.keys().map(|kind| definition(kind)).collect();
    for (name, table) in schema["definitions"].as_object().unwrap() {
        let is_closed = table["additionalProperties"] == false;
        assert!(
            !is_closed || known.contains(name),
            "no reader reads `[{name}]`: remove it from templates/schema/pkgapp.json, or add such a \
             table to src/config/schema/complete.toml"
        );
    }
}

#[test]
fn the_schema_of_systems_has_the_keys_that_the_readers_know() {
    let text = include_str!("system.toml");
    let mut sources = SourceTexts::default();
    let directory = project();
    let file = directory.path().join("system.toml");
    let table = sources
        .parse(SourceDocument::new(file.clone(), text.to_owned()))
        .unwrap();
    let source = DocumentReader::new(&sources);
    assert!(SystemModel::of(&file, TableReader::root(&source, &table)).is_some());
    assert!(source.mistakes().is_empty(), "{:?}", source.mistakes());

    let schema = system_schema();
    let known = source.known_keys();
    let differences = compare(&schema, &known, "templates/schema/system.json");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let model = serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap();
    let mistakes = violations(&schema, &model);
    assert!(mistakes.is_empty(), "{mistakes:?}");
}

#[test]
fn the_schema_of_recipes_has_the_keys_of_their_header() {
    let text = "[recipe]\nsummary = \"x\"\n[recipe.parameters]\na = { type = \"string\" }\n\
                [recipe.required.\"app.name\"]\nerror = \"x\"\n";
    let mut sources = SourceTexts::default();
    let document = SourceDocument::new("house.toml".into(), text.to_owned());
    let table = sources.parse(document).unwrap();
    let reader = DocumentReader::new(&sources);
    RecipeFile::check_header(&table, &reader);
    assert!(reader.mistakes().is_empty());
    let mut schema = recipe_schema();
    schema["definitions"]["recipe"] = schema["definitions"]["header"].clone();
    let differences = compare(
        &schema,
        &reader.known_keys(),
        "templates/schema/recipe.json",
    );
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Every key has a description and a type.
#[test]
fn every_key_is_described() {
    for schema in [configuration_schema(), recipe_schema()] {
        for (name, table) in schema["definitions"].as_object().unwrap() {
            for (key, property) in table["properties"].as_object().into_iter().flatten() {
                let property = without_parameter(&schema, property);
                let description = property["description"].as_str().unwrap_or_default();
                assert!(!description.is_empty(), "{name}.{key} has no description");
                assert!(!description.ends_with('.'), "{name}.{key}: {description}");
            }
        }
    }
}

/// Follows references, and takes the choice of a parameter away.
fn without_parameter<'s>(schema: &'s Value, property: &'s Value) -> &'s Value {
    if let Some(target) = property["$ref"].as_str() {
        return without_parameter(schema, schema.pointer(&target[1..]).unwrap());
    }
    match property["anyOf"].as_array() {
        Some(choices) if property["description"].is_null() => {
            without_parameter(schema, &choices[0])
        }
        _ => property,
    }
}

/// The tables of [`COMPLETE`] that a definition describes.
fn tables_of(name: &str) -> &'static [&'static str] {
    match name {
        "app" => &["app"],
        "python" => &["python"],
        "python.index" => &["python.index"],
        "build" => &["build"],
        "package" => &["package"],
        "package.depends" => &["package.depends"],
        "service.NAME" => &["service.web"],
        "timer.NAME" => &["timer.report"],
        "cron.NAME" => &["cron.purge"],
        "logrotate" => &["logrotate"],
        "config.NAME" => &["config.shop"],
        "migrate" => &["migrate"],
        "deploy.NAME" => &["deploy.packages", "deploy.tarballs"],
        "deploy.NAME.health" => &["deploy.packages.health"],
        "deploy.NAME.migrate" => &["deploy.packages.migrate"],
        "deploy.NAME.hooks" => &["deploy.packages.hooks"],
        _ => &[],
    }
}

fn table_at<'t>(root: &'t mut toml::Table, path: &str) -> &'t mut toml::Table {
    path.split('.')
        .fold(root, |table, key| match table.get_mut(key) {
            Some(toml::Value::Table(table)) => table,
            // The lists of tables hold one.
            Some(toml::Value::Array(tables)) => tables[0].as_table_mut().unwrap(),
            _ => panic!("complete.toml has no {path}"),
        })
}

/// The configuration with and without a key, for every table of a definition.
fn with_and_without(name: &str, key: &str, value: &Value) -> Vec<(String, String)> {
    let value: toml::Value = serde_json::from_value(value.clone()).unwrap();
    let pair = |path: &&str| {
        let mut root: toml::Table = COMPLETE.parse().unwrap();
        table_at(&mut root, path).remove(key);
        let without = toml::to_string(&root).unwrap();
        table_at(&mut root, path).insert(key.to_owned(), value.clone());
        (toml::to_string(&root).unwrap(), without)
    };
    tables_of(name).iter().map(pair).collect()
}

/// A default that is written out changes nothing.
#[test]
fn defaults_are_those_of_the_readers() {
    let directory = project();
    let meaning = |text: &str| {
        let reading = read(directory.path(), text);
        // Warnings have places of their own.
        let config = reading.config.map(|config| Config {
            warnings: Vec::new(),
            ..config
        });
        let config = pkgapp_testing::without_places(&format!("{config:#?}"));
        (config, reading.mistakes.len())
    };
    let schema = configuration_schema();
    for (name, table) in schema["definitions"].as_object().unwrap() {
        for (key, property) in table["properties"].as_object().into_iter().flatten() {
            let property = without_parameter(&schema, property);
            let Some(default) = property.get("default") else {
                continue;
            };
            let pairs = with_and_without(name, key, default);
            let mut pairs_of_meanings = pairs
                .iter()
                .map(|(with, without)| (meaning(with), meaning(without)));
            assert!(
                pairs.is_empty() || pairs_of_meanings.any(|(with, without)| with == without),
                "the default of {name}.{key} in templates/schema/pkgapp.json is not {default}"
            );
        }
    }
}

/// The words of a key are those that the readers take, and no others.
#[test]
fn choices_are_those_of_the_readers() {
    let directory = project();
    let schema = configuration_schema();
    for (name, table) in schema["definitions"].as_object().unwrap() {
        for (key, property) in table["properties"].as_object().into_iter().flatten() {
            let property = without_parameter(&schema, property);
            let (words, is_list) = match (&property["enum"], &property["items"]["enum"]) {
                (Value::Array(words), _) => (words, false),
                (_, Value::Array(words)) => (words, true),
                _ => continue,
            };
            let mistakes_with = |word: Value| -> Vec<String> {
                let value = if is_list { json!([word]) } else { word };
                let texts = with_and_without(name, key, &value).into_iter();
                texts
                    .flat_map(|(with, _)| read(directory.path(), &with).mistakes)
                    .collect()
            };
            for word in words {
                let mistakes = mistakes_with(word.clone()).join("\n");
                let refused = format!("`{}` is not", word.as_str().unwrap());
                assert!(!mistakes.contains(&refused), "{name}.{key}: {mistakes}");
            }
            // A message that lists the words lists these.
            let words = listed(words.iter().map(|word| word.as_str().unwrap()));
            for mistake in mistakes_with(json!("\u{fc}ber")) {
                let known = mistake.split_once("the known ones are ");
                let known = known.map(|(_, known)| known.split(';').next().unwrap());
                assert!(
                    known.is_none_or(|known| known == words || known == words.replace(" and ", ", ")),
                    "{name}.{key} has other values: {mistake}"
                );
            }
        }
    }
}

/// The ways in which a value does not fit a schema.
fn violations(schema: &Value, value: &Value) -> Vec<String> {
    let mut judge = SchemaJudge {
        root: schema,
        found: Vec::new(),
    };
    judge.check(schema, value, "");
    judge.found
}

/// Checks the keywords of JSON Schema that ours use, patterns excepted.
struct SchemaJudge<'s> {
    root: &'s Value,
    found: Vec<String>,
}

impl SchemaJudge<'_> {
    fn check(&mut self, schema: &Value, value: &Value, path: &str) {
        if let Some(target) = schema["$ref"].as_str() {
            let target = self
                .root
                .pointer(&target[1..])
                .unwrap_or_else(|| panic!("no {target}"));
            return self.check(&target.clone(), value, path);
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.check(part, value, path);
        }
        if let Some(choices) = schema["anyOf"].as_array()
            && !choices.iter().any(|choice| self.fits(choice, value))
        {
            self.found.push(format!("{path} fits no choice: {value}"));
        }
        if let Some(words) = schema["enum"].as_array()
            && !words.contains(value)
        {
            self.found
                .push(format!("{path} is not one of {words:?}: {value}"));
        }
        if schema
            .get("const")
            .is_some_and(|constant| constant != value)
        {
            self.found
                .push(format!("{path} is not {}", schema["const"]));
        }
        if let Some(kind) = schema["type"].as_str() {
            self.check_type(kind, value, path);
        }
        self.check_entries(schema, value, path);
    }

    fn check_type(&mut self, kind: &str, value: &Value, path: &str) {
        let is_of_type = match kind {
            "string" => value.is_string(),
            "integer" => value.is_i64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("the judge does not know the type {other}"),
        };
        if !is_of_type {
            self.found.push(format!("{path} is no {kind}: {value}"));
        }
    }

    fn check_entries(&mut self, schema: &Value, value: &Value, path: &str) {
        for (index, element) in value.as_array().into_iter().flatten().enumerate() {
            if let Some(items) = schema.get("items") {
                self.check(items, element, &format!("{path}[{index}]"));
            }
        }
        for (key, entry) in value.as_object().into_iter().flatten() {
            let path = format!("{path}.{key}");
            match (
                schema["properties"].get(key),
                schema.get("additionalProperties"),
            ) {
                (Some(property), _) => self.check(property, entry, &path),
                (None, Some(Value::Bool(false))) => self.found.push(format!("{path} is unknown")),
                (None, Some(others)) => self.check(others, entry, &path),
                (None, None) => {}
            }
        }
        for key in schema["required"].as_array().into_iter().flatten() {
            if value.is_object() && value.get(key.as_str().unwrap()).is_none() {
                self.found.push(format!("{path} lacks {key}"));
            }
        }
    }

    fn fits(&self, schema: &Value, value: &Value) -> bool {
        let mut other = SchemaJudge {
            root: self.root,
            found: Vec::new(),
        };
        other.check(schema, value, "");
        other.found.is_empty()
    }
}

fn json_of(text: &str) -> Option<Value> {
    let table: toml::Table = text.parse().ok()?;
    serde_json::to_value(table).ok()
}

#[test]
fn configurations_and_recipes_fit_their_schemas() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let schema = configuration_schema();
    for file in [
        "fixtures/hello/pkgapp.toml",
        "fixtures/shop/pkgapp.toml",
        "tests/corpus/configuration/pkgapp.toml",
        "src/config/schema/complete.toml",
    ] {
        let text = fs_err::read_to_string(top.join(file)).unwrap();
        let found = violations(&schema, &json_of(&text).unwrap());
        assert!(found.is_empty(), "{file}: {found:#?}");
    }
    let schema = recipe_schema();
    for (name, _, text) in BUILT_IN {
        let found = violations(&schema, &json_of(text).unwrap());
        assert!(found.is_empty(), "{name}: {found:#?}");
    }
}

/// Returns whether an example is a model of a system, some of its tables, or its lock.
fn is_of_system(value: &Value) -> bool {
    let mut schema = system_schema();
    schema["definitions"]["root"]["required"] = json!([]);
    let is_lock = value["production"]["ports"].is_object();
    is_lock || violations(&schema, value).is_empty()
}

/// Every example in the documentation fits a schema: of a configuration, of a recipe, or, for lines
/// without a header, of one of the tables.
#[test]
fn examples_fit_a_schema() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let (configuration, recipe) = (configuration_schema(), recipe_schema());
    let mut examples = 0;
    for chapter in fs_err::read_dir(docs).unwrap() {
        let chapter = chapter.unwrap().path();
        if chapter.extension().is_none_or(|end| end != "md") {
            continue;
        }
        let text = fs_err::read_to_string(&chapter).unwrap();
        for example in text.split("```toml\n").skip(1) {
            let example = example.split("\n```").next().unwrap();
            let Some(mut value) = json_of(example) else {
                panic!("{}: this is not TOML:\n{example}", chapter.display());
            };
            if value["project"].is_object() || value["build-system"].is_object() {
                continue;
            }
            if value["tool"]["pkgapp"].is_object() {
                value = value["tool"]["pkgapp"].take();
            }
            let mut found = violations(&configuration, &value);
            let fits_table = |table: &Value| {
                let mut judge = SchemaJudge {
                    root: &configuration,
                    found: Vec::new(),
                };
                judge.check(table, &value, "");
                judge.found.is_empty() && table["additionalProperties"] == false
            };
            let tables = configuration["definitions"].as_object().unwrap();
            let fits = |schema: &Value| violations(schema, &value).is_empty();
            if fits(&recipe) || is_of_system(&value) || tables.values().any(fits_table) {
                found.clear();
            }
            assert!(
                found.is_empty(),
                "{}: {found:#?}\n{example}",
                chapter.display()
            );
            examples += 1;
        }
    }
    assert!(examples > 10, "only {examples} examples");
}
