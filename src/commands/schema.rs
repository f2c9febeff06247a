//! `pkgapp schema`: the JSON schemas of configurations and recipes, for editors.

use pkgapp_config::{configuration_schema, recipe_schema};
use pkgapp_core::report::Report;

use crate::cli::SchemaArgs;

/// Prints a schema.
pub(super) fn print(args: &SchemaArgs, report: &Report) {
    let schema = if args.recipe {
        recipe_schema()
    } else {
        configuration_schema()
    };
    report.text(&format!("{schema:#}\n"));
}
