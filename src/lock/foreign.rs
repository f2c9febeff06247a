//! Files that say what is wanted and not what ships: recognized, and refused with the command that
//! writes pins.

use crate::LockFormat;
use pkgapp_core::error::{Error, Location};

/// What says what is wanted, and not what ships.
pub(super) const PROJECT: LockFormat = LockFormat {
    recognizes: |name, _| {
        matches!(
            name,
            "pyproject.toml"
                | "setup.py"
                | "setup.cfg"
                | "Pipfile"
                | "environment.yml"
                | "environment.yaml"
        )
    },
    read: |draft, file| {
        let error =
            Error::new(format!("`{}` has no pins", file.name())).at(Location::file(&file.file));
        draft.next_statement();
        draft.fail(error.hint(match file.name() {
            "Pipfile" => "`pipenv lock` writes them into `Pipfile.lock`: name that file".to_owned(),
            "environment.yml" | "environment.yaml" => {
                "`pip list --format freeze > requirements.txt`, run in that environment, writes them".to_owned()
            }
            _ => "`pkgapp lock` writes them into `pylock.toml`: name that file".to_owned(),
        }));
    },
};
