//! Files with requirements instead of pins: recognized, and refused with the command that writes
//! pins.

use crate::LockFormat;
use pkgapp_core::error::{Error, Location};

/// Files with requirements instead of pins.
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
            "Pipfile" => "run `pipenv lock` and use the `Pipfile.lock` that it writes".to_owned(),
            "environment.yml" | "environment.yaml" => {
                "run `pip list --format freeze > requirements.txt` in that environment".to_owned()
            }
            _ => "run `pkgapp lock` and use the `pylock.toml` that it writes".to_owned(),
        }));
    },
};
