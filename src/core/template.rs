//! The one way to render templates: an undefined name is an error, and the final newline stays.

use minijinja::{Environment, UndefinedBehavior, Value};

use crate::error::{Error, Result};
use crate::text::shell_quoted;

/// Returns an environment for templates that users write.
pub fn strict() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_keep_trailing_newline(true);
    environment
}

/// Returns an environment for our own templates: lines with only a statement disappear, and the
/// filter `sh` quotes a word for POSIX sh.
pub fn own() -> Environment<'static> {
    let mut environment = strict();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.add_filter("sh", |word: String| shell_quoted(&word));
    environment
}

/// Renders one of our own templates.
///
/// # Errors
/// Fails if the template has a mistake, which is a bug.
pub fn render(template: &str, values: Value) -> Result<String> {
    own()
        .render_str(template, values)
        .map_err(|error| Error::bug("a template has a mistake").cause(error))
}
