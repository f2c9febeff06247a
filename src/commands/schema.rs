//! `pkgapp schema`: the JSON schemas of configurations, recipes, and systems, for editors.

use pkgapp_config::{configuration_schema, recipe_schema, system_schema};
use pkgapp_core::report::Report;

use crate::cli::SchemaArgs;

/// Prints a schema.
pub(super) fn print(args: &SchemaArgs, report: &Report) {
    let schema = match args {
        SchemaArgs { recipe: true, .. } => recipe_schema(),
        SchemaArgs { system: true, .. } => system_schema(),
        _ => configuration_schema(),
    };
    report.text(&format!("{schema:#}\n"));
}
