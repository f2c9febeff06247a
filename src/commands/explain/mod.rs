//! `pkgapp explain`: the origin of every value of the configuration.

mod host_file;
mod json;
mod selection;
mod text;

use crate::cli::{ExplainArgs, GlobalOptions};
use pkgapp_config::Config;
use pkgapp_core::error::{Context, Error, Location, Result, shown};
use pkgapp_core::fs;
use pkgapp_core::report::{OutputStyle, Report};

use super::{load_aimed, settings};

pub(super) use self::json::place_json;
pub(super) use self::text::place;

pub(super) fn explain(args: &ExplainArgs, global: &GlobalOptions, report: &Report) -> Result<()> {
    let app = load_aimed(&args.target, &args.values, global, report)?;
    if args.settings {
        settings::describe(&app, report);
        return Ok(());
    }
    if args.eject {
        return eject(&app, args.print, report);
    }
    let values = selection::selected(&app, args, global)?;
    match report.style() {
        OutputStyle::Text => report.text(&text::text(&values)),
        OutputStyle::Json => report.json(&json::report(&app, &values)?),
    }
    Ok(())
}

/// Writes the merged configuration in place of the file that names the recipe.
fn eject(app: &Config, print: bool, report: &Report) -> Result<()> {
    if app.recipes.recipes.is_empty() {
        return Err(Error::new("the configuration uses no recipe").at(Location::file(&app.file)));
    }
    let names: Vec<&str> = app
        .recipes
        .recipes
        .iter()
        .map(|recipe| recipe.name.as_str())
        .collect();
    let text = format!(
        "# The values of {}; docs/configuration.md lists all keys.\n\n{}",
        names.join(", "),
        app.recipes.ejected
    );
    if print {
        report.text(&text);
        return Ok(());
    }
    if app.file.file_name() == Some("pyproject.toml".as_ref()) {
        return Err(Error::new("cannot eject a recipe of `[tool.pkgapp]`: pyproject.toml has other tables")
            .at(Location::file(&app.file))
            .hint("replace the table with the output of `pkgapp explain --eject --print`, each header below `tool.pkgapp`"));
    }
    fs::write_atomically(&app.file, |out| {
        std::io::Write::write_all(out, text.as_bytes())
            .context(|| format!("cannot write `{}`", shown(&app.file)))
    })?;
    report.result(&shown(&app.file).to_string());
    Ok(())
}
