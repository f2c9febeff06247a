//! Values and their origins as text.

use std::fmt::Write as _;

use pkgapp_config::{ConfigValue, ValueOrigin};
use pkgapp_core::error::{Location, shown};
use pkgapp_core::report::visible_line;

/// The values as text: a header for each table, a line for each value, and indented lines for its
/// parameters and the values that it replaced.
pub(super) fn text(values: &[ConfigValue]) -> String {
    let mut text = String::new();
    let mut table = None;
    for value in values {
        let (header, key) = value.table_and_key();
        if table != Some(header) {
            let space = if table.is_some() { "\n" } else { "" };
            _ = writeln!(text, "{space}[{}]", visible_line(header));
            table = Some(header);
        }
        add_value(&mut text, key, value);
    }
    text
}

fn add_value(text: &mut String, key: &str, value: &ConfigValue) {
    let line = format!("{key} = {}", value.value);
    add_line(text, &line, &origin(&value.origin));
    for parameter in &value.parameters {
        let name = &parameter.name;
        let line = format!("  {{{name}}} = {}", parameter.value);
        add_line(text, &line, &origin(&parameter.origin));
    }
    for (weaker, at) in &value.replaced {
        let line = format!("  instead of {weaker}");
        add_line(text, &line, &place(at));
    }
}

fn add_line(text: &mut String, line: &str, origin: &str) {
    let line = visible_line(line);
    _ = writeln!(text, "{line:<60}  {origin}");
}

/// Where a value comes from, in words.
fn origin(origin: &ValueOrigin) -> String {
    match origin {
        ValueOrigin::Set(at) => place(at),
        ValueOrigin::Inherited(at) => place(at),
        ValueOrigin::Found(_, Some(at)) => format!("found in {}", place(at)),
        ValueOrigin::Found(fact, None) => {
            format!("found in the project (`{fact}`)")
        }
        ValueOrigin::Default(at) => {
            format!("{} (default)", place(at))
        }
        ValueOrigin::Known => "the application's".to_owned(),
        ValueOrigin::BuiltIn => "default".to_owned(),
        ValueOrigin::Machine => "this machine's".to_owned(),
        ValueOrigin::Option(name) => (*name).to_owned(),
        ValueOrigin::Variable(name) => (*name).to_owned(),
    }
}

/// A place without its column.
pub(in super::super) fn place(at: &Location) -> String {
    let file = shown(&at.file).to_string();
    let file = visible_line(&file);
    match at.position {
        Some((line, _)) => format!("{file}:{line}"),
        None => file.into_owned(),
    }
}
