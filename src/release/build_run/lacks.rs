//! Finds in the output of a failed command the setting or directory of the application that it
//! lacked.

use std::path::Path;

/// Messages of frameworks and the standard library about a variable that is not set: the text
/// before its name, and the text after it.
const UNSET: &[(&str, &str)] = &[
    // `os.environ["NAME"]`.
    ("KeyError: '", "'"),
    // django-environ.
    ("ImproperlyConfigured: Set the ", " environment variable"),
    // python-decouple.
    ("UndefinedValueError: ", " not found. Declare it as envvar"),
];

/// Returns a hint that tells how to provide the missing variable or directory.
pub(super) fn way_out(output: &str, root: &Path) -> Option<String> {
    variable(output)
        .or_else(|| directory(output, root))
        .or_else(|| {
            output.contains("unable to open database file").then(|| {
                "if the database is a file in the application's tree, write `writable = \
             [\"DIRECTORY/\"]` below `[app]` with its directory: builds and hosts then create it"
                    .to_owned()
            })
        })
}

/// Returns the variable that is not set, from the last line of a traceback: the program handled
/// earlier errors.
fn variable(output: &str) -> Option<String> {
    let line = output.trim_end().lines().next_back()?;
    let is_name = |name: &&str| {
        name.starts_with(|c: char| c.is_ascii_uppercase())
            && name
                .chars()
                .all(|c| c == '_' || c.is_ascii_uppercase() || c.is_ascii_digit())
    };
    let name = UNSET.iter().find_map(|(before, after)| {
        let (_, rest) = line.split_once(before)?;
        rest.split_once(after).map(|(name, _)| name).filter(is_name)
    })?;
    // Any dictionary can lack a key.
    let is_environment =
        !line.contains("KeyError") || output.contains("environ[") || output.contains("in environ");
    is_environment.then(|| {
        format!(
            "set the variable `{name}` for builds: `env = {{ {name} = \"only-for-the-build\" }}` \
             below `[build]`, or another valid value; hosts have their own"
        )
    })
}

/// Returns the directory of the application that does not exist.
fn directory(output: &str, root: &Path) -> Option<String> {
    let line = output.trim_end().lines().next_back()?;
    let (_, rest) = line.split_once("No such file or directory: '")?;
    let missing = Path::new(rest.split('\'').next()?);
    let below = if missing.is_absolute() {
        missing.strip_prefix(root).ok()?
    } else {
        missing
    };
    let below = below.strip_prefix("app").ok()?;
    let parent = below
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    match parent.filter(|parent| !root.join("app").join(parent).is_dir()) {
        Some(parent) => Some(format!(
            "if the application writes to `{0}/`, write `writable = [\"{0}/\"]` below `[app]`: \
             builds and hosts then create it; if it has files of the project, add them to \
             `include`",
            parent.display()
        )),
        None => Some(format!(
            "if `{}` is a file of the project, add it to `include` below `[app]`",
            below.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tracebacks_say_becomes_a_line_to_write() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("app/shop")).unwrap();
        let said = |text: &str| way_out(text, root.path()).unwrap_or_default();
        let here = root.path().display();
        for (text, expected) in [
            (
                "    KEY = os.environ[\"SECRET_KEY\"]\n    raise KeyError(key) from None\nKeyError: 'SECRET_KEY'\n"
                    .to_owned(),
                "`env = { SECRET_KEY = \"only-for-the-build\" }`",
            ),
            (
                "django.core.exceptions.ImproperlyConfigured: Set the DB_URL environment variable\n".to_owned(),
                "the variable `DB_URL`",
            ),
            (
                "decouple.UndefinedValueError: SALT not found. Declare it as envvar or define a default value."
                    .to_owned(),
                "the variable `SALT`",
            ),
            (
                format!("FileNotFoundError: [Errno 2] No such file or directory: '{here}/app/storage/log/info.log'"),
                "`writable = [\"storage/log/\"]`",
            ),
            (
                format!("FileNotFoundError: [Errno 2] No such file or directory: '{here}/app/shop/version.txt'"),
                "`shop/version.txt` is a file of the project",
            ),
            ("sqlite3.OperationalError: unable to open database file\n".to_owned(), "`writable = [\"DIRECTORY/\"]`"),
        ] {
            assert!(said(&text).contains(expected), "{text}: {}", said(&text));
        }
        for text in [
            "",
            "KeyError: 'SECRET_KEY'",
            "    os.environ['A']\nKeyError: 'name'",
            "FileNotFoundError: [Errno 2] No such file or directory: '/etc/shop.conf'",
            "FileNotFoundError: [Errno 2] No such file or directory: 'git'",
        ] {
            assert_eq!(said(text), "", "{text}");
        }
    }
}
