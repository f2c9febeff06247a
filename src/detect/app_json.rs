//! A project's app.json, as Heroku and Dokku read it: the variables that the application requires,
//! their values and what they are for, and what else Heroku does for it.

use std::path::Path;

use serde_json::{Map, Value};

use super::code::{FoundSetting, Literal, SettingKind, fitted, is_secret};
use super::pins;

/// The file at the top of the tree.
const FILE: &str = "app.json";

/// The maximum size of the file in bytes.
const LARGEST: u64 = 128 * 1024;

/// How many names a sentence lists, and the characters of each text in it.
const MOST_NAMES: usize = 10;
const MOST_CHARACTERS: usize = 200;

/// Add-ons that set a variable, and what is before `_URL` in its name unless `as` says it.
const ADD_ONS: [(&str, &str); 2] = [("heroku-postgresql", "DATABASE"), ("heroku-redis", "REDIS")];

/// The buildpack of Python, which is what pkgapp does.
const OWN_BUILDPACK: [&str; 2] = ["heroku/python", "heroku-buildpack-python"];

/// Commands that `[migrate]` and `[build]` of recipes run.
const PREPARATIONS: [&str; 4] = ["migrate", "upgrade head", "db upgrade", "collectstatic"];

/// The parts of an app.json that mean something for a package.
#[derive(Debug, Default)]
pub(super) struct AppJson {
    /// The variables, in the order of the file.
    pub(super) variables: Vec<FoundSetting>,
    /// `scripts.postdeploy`.
    postdeploy: Option<String>,
    addons: Vec<AddOn>,
    buildpacks: Vec<String>,
}

/// A service that Heroku provides.
#[derive(Debug)]
struct AddOn {
    /// Without its plan: `heroku-postgresql`.
    name: String,
    /// What is before `_URL` in the name of its variable.
    variable: Option<String>,
}

impl AppJson {
    /// Reads the file; one that is no JSON says nothing.
    pub(super) fn read(root: &Path) -> Self {
        let file = root.join(FILE);
        let is_small = std::fs::metadata(&file)
            .is_ok_and(|metadata| metadata.is_file() && metadata.len() <= LARGEST);
        let Some(text) = pins::text(&file).ok().filter(|_| is_small) else {
            return Self::default();
        };
        let document: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        let list = |name: &str| document.get(name).and_then(Value::as_array);
        let addons: Vec<AddOn> = list("addons")
            .into_iter()
            .flatten()
            .filter_map(AddOn::read)
            .collect();
        let buildpacks = list("buildpacks").into_iter().flatten();
        let buildpacks = buildpacks.filter_map(|item| line(item.get("url").or(Some(item))));
        let scripts = document.get("scripts");
        Self {
            variables: variables(&document, &addons, &text),
            postdeploy: scripts.and_then(|scripts| line(scripts.get("postdeploy"))),
            buildpacks: buildpacks
                .filter(|url| !OWN_BUILDPACK.iter().any(|own| url.contains(own)))
                .collect(),
            addons,
        }
    }

    /// Returns sentences about what Heroku does and pkgapp does not.
    pub(super) fn open_questions(&self, name: &str, has_migration: bool) -> Vec<String> {
        let mut questions = Vec::new();
        let postdeploy = self.postdeploy.as_deref();
        if let Some(command) =
            postdeploy.filter(|command| !has_migration || !is_preparation(command))
        {
            questions.push(format!(
                "Heroku runs `{}` once, after the first deployment ({FILE}): run it yourself, or \
                 write it into `[migrate]` if it may run for each release",
                limited(command)
            ));
        }
        if !self.addons.is_empty() {
            questions.push(format!(
                "{FILE} asks Heroku for {}: provide them, and put their addresses into \
                 `/etc/{name}/secrets.env` on hosts",
                named(self.addons.iter().map(|addon| addon.name.as_str()))
            ));
        }
        if !self.buildpacks.is_empty() {
            questions.push(format!(
                "Heroku also builds with {} ({FILE}): write their commands into `[build]`",
                named(self.buildpacks.iter().map(String::as_str))
            ));
        }
        questions
    }
}

impl AddOn {
    /// Reads `"heroku-redis:mini"`, or a table with more about it.
    fn read(item: &Value) -> Option<Self> {
        let plan = line(item.get("plan").or(Some(item)))?;
        let name = plan.split(':').next().unwrap_or(&plan).to_owned();
        let known = ADD_ONS.iter().find(|(known, _)| *known == name);
        let variable = known.map(|(_, variable)| {
            line(item.get("as")).map_or_else(|| (*variable).to_owned(), |name| name.to_uppercase())
        });
        Some(Self { name, variable })
    }
}

/// Returns whether a command only does what recipes do anyway.
fn is_preparation(command: &str) -> bool {
    let mut commands = command.split("&&");
    commands.all(|command| PREPARATIONS.iter().any(|known| command.contains(known)))
}

/// Names in backticks.
fn named<'t>(names: impl Iterator<Item = &'t str>) -> String {
    let names: Vec<String> = names
        .take(MOST_NAMES)
        .map(|name| format!("`{}`", limited(name)))
        .collect();
    names.join(", ")
}

/// The beginning of a text that somebody else has written, as it can be shown.
fn limited(text: &str) -> String {
    let shown: String = text.chars().take(MOST_CHARACTERS).collect();
    shown.escape_debug().to_string()
}

/// Returns the variables in `env`, and those of add-ons.
fn variables(document: &Value, addons: &[AddOn], text: &str) -> Vec<FoundSetting> {
    let env = document.get("env").and_then(Value::as_object);
    let declared = env.into_iter().flatten().filter_map(|(name, declared)| {
        let mut found = variable(name, declared)?;
        found.line = line_of(text, name);
        Some(found)
    });
    let mut variables: Vec<FoundSetting> = declared.collect();
    for addon in addons {
        let name = addon.variable.as_ref().map(|name| format!("{name}_URL"));
        let Some(name) = name.filter(|name| variables.iter().all(|found| found.name != *name))
        else {
            continue;
        };
        variables.push(FoundSetting {
            name,
            kind: SettingKind::Secret,
            default: None,
            is_optional: false,
            help: Some(format!("Address, for which Heroku has {}", addon.name)),
            file: FILE.into(),
            line: line_of(text, "addons"),
        });
    }
    variables
}

/// Adds the facts of app.json to the variables that the code reads, and the variables that only
/// app.json has.
pub(super) fn complete(settings: &mut Vec<FoundSetting>, declared: Vec<FoundSetting>) {
    for declared in declared {
        match settings.iter_mut().find(|read| read.name == declared.name) {
            Some(read) => describe(read, declared),
            None => settings.push(declared),
        }
    }
}

/// Adds a declaration to a variable: the code is the better source of types, and app.json of values
/// and descriptions.
fn describe(read: &mut FoundSetting, declared: FoundSetting) {
    read.help = declared.help;
    if declared.kind == SettingKind::Secret {
        read.kind = SettingKind::Secret;
        read.default = None;
        read.is_optional = declared.is_optional;
    }
    let default = declared
        .default
        .and_then(|default| fitted(read.kind, default));
    if default.is_some() {
        read.default = default;
        read.is_optional = false;
    }
}

/// Parses a value, or a table with more properties.
fn variable(name: &str, declared: &Value) -> Option<FoundSetting> {
    let nothing = Map::new();
    let (value, table) = match declared {
        Value::String(_) => (Some(declared), &nothing),
        Value::Object(table) => (table.get("value"), table),
        _ => return None,
    };
    let is_generated = table.get("generator") == Some(&Value::from("secret"));
    let is_required = table.get("required") != Some(&Value::from(false));
    let kind = if is_generated || is_secret(name) {
        SettingKind::Secret
    } else {
        SettingKind::String
    };
    let default = line(value).filter(|_| kind == SettingKind::String);
    Some(FoundSetting {
        name: name.to_owned(),
        kind,
        is_optional: !is_required && default.is_none(),
        default: default.map(Literal::Text),
        help: line(table.get("description")),
        file: FILE.into(),
        line: 1,
    })
}

/// Returns a text if it is a single line and not empty.
fn line(value: Option<&Value>) -> Option<String> {
    let text = value?.as_str()?;
    let is_line = !text.trim().is_empty() && !text.chars().any(char::is_control);
    is_line.then(|| text.to_owned())
}

fn line_of(text: &str, name: &str) -> usize {
    let at = text.find(&format!("\"{name}\"")).unwrap_or_default();
    text[..at].matches('\n').count() + 1
}
