//! The application's configuration files below `/etc/NAME`, which upgrades keep if an administrator
//! has changed them.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::tree::{EntryOrigin, FileOwner, Tree, TreeEntry};
use crate::{services, settings};
use pkgapp_config::{Config, ConfigFile};
use pkgapp_core::content::Content;
use pkgapp_core::error::{Error, Result, shown};
use pkgapp_core::fs;
use pkgapp_core::path::InstallPath;
use pkgapp_core::template;

/// Adds every `[config."NAME"]` and the files of `[settings]` to the tree.
///
/// # Errors
/// A source cannot be read, or a template does not fit its variables.
pub fn insert_into(tree: &mut Tree, app: &Config) -> Result<()> {
    let etc = InstallPath::parse(&format!("/etc/{}", app.name))?;
    for file in &app.configs {
        let origin = Arc::new(EntryOrigin {
            label: format!("`[config.\"{}\"]`", file.name),
            layer: None,
        });
        let owner = FileOwner::default();
        let entry = TreeEntry {
            mode: file.mode,
            owner: FileOwner {
                user: file
                    .owner
                    .as_ref()
                    .map_or(owner.user, |user| user.to_string().into()),
                group: services::config_group(app, file).map_or(owner.group, Into::into),
            },
            ..TreeEntry::file(Content::memory(content(file)?), file.mode, &origin).config()
        };
        tree.insert(etc.join(&file.name), entry)
            .map_err(|error| error.at(file.at.clone()))?;
    }
    settings::insert_into(tree, app)
}

fn content(file: &ConfigFile) -> Result<Vec<u8>> {
    if file.template {
        let text = fs::read_to_string(&file.source).map_err(|error| error.at(file.at.clone()))?;
        return render(file, &text).map(String::into_bytes);
    }
    fs::read(&file.source).map_err(|error| error.at(file.at.clone()))
}

/// Renders a template (Jinja syntax) strictly: a variable that is not declared is an error, and so
/// is a declared variable that the template does not use.
fn render(file: &ConfigFile, text: &str) -> Result<String> {
    let failed = |error: minijinja::Error| {
        let place = error
            .line()
            .map(|line| format!(", line {line}"))
            .unwrap_or_default();
        Error::new(format!(
            "cannot render template `{}`{place}",
            shown(&file.source)
        ))
        .at(file.at.clone())
        .cause(error)
    };
    let environment = template::strict();
    let template = environment.template_from_str(text).map_err(failed)?;
    check_variables(file, &template.undeclared_variables(false))?;
    template.render(&file.variables).map_err(failed)
}

/// Checks that the variables that a template uses are those that the configuration declares.
fn check_variables(file: &ConfigFile, used: &HashSet<String>) -> Result<()> {
    let mistake = |text: String| {
        Error::new(format!("template `{}` {text}", shown(&file.source))).at(file.at.clone())
    };
    let declared: BTreeSet<&str> = file.variables.keys().map(String::as_str).collect();
    let unknown = used
        .iter()
        .filter(|name| !declared.contains(name.as_str()))
        .map(|name| {
            mistake(format!("uses `{name}`, which is not declared")).hint(format!(
                "add `{name} = \"…\"` to `[config.\"{}\".variables]`",
                file.name
            ))
        });
    let unused = declared
        .iter()
        .filter(|name| !used.contains(**name))
        .map(|name| {
            mistake(format!("does not use the variable `{name}`")).hint("remove the variable")
        });
    Error::all(unknown.chain(unused).collect::<Vec<_>>()).map_or(Ok(()), Err)
}
