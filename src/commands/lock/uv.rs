//! Resolution with uv.

use std::path::Path;
use std::process::Command;

use pkgapp_core::error::{Context, Result, shown};
use pkgapp_core::interpreter::Interpreter;
use pkgapp_core::name::Arch;
use pkgapp_core::{fs, process};
use tempfile::TempPath;

use super::{ADDED_LOCK, Resolution, run, set_indexes};
use crate::assembly;

/// The platforms for which a lock is resolved.
#[derive(Debug, Clone, Copy)]
enum LockScope {
    /// The release's Python and all later ones, on all platforms.
    AllPlatforms,
    /// The release's Python on its own platform.
    Release(Arch),
}

impl Resolution<'_> {
    /// Resolves for all platforms, or only for the release's platform if that fails: pins that suit
    /// the release may not suit later Pythons or Windows.
    pub(super) fn with_uv(&self, uv: &Path) -> Result<String> {
        let arch = self.app.package.arch.as_ref();
        let arch = arch.map_or_else(Arch::host, |arch| Ok(arch.value))?;
        // Additions complement the pins of one release, so they are resolved for that release.
        if self.path.ends_with(ADDED_LOCK) {
            return self.run_uv(uv, LockScope::Release(arch));
        }
        if let Ok(text) = self.run_uv(uv, LockScope::AllPlatforms) {
            return Ok(text);
        }

        let text = self.run_uv(uv, LockScope::Release(arch))?;
        let python = self.app.python.version.value;
        self.report.step(&format!(
            "the requirements can be resolved only for Python {python} on {arch} Linux"
        ));
        Ok(text)
    }

    fn run_uv(&self, uv: &Path, scope: LockScope) -> Result<String> {
        let copy = self.copy_of_lock()?;
        let interpreter = self.interpreter()?;
        let mut command = self.uv_command(uv, scope, interpreter.as_ref());
        command
            .arg("--output-file")
            .arg(&*copy)
            .args(self.inputs)
            .current_dir(&self.app.root);
        set_indexes(&mut command, self.app, self.options.offline);

        run(&mut command).map_err(|error| match interpreter {
            None => error.note(format!(
                "there is no Python {} on the build machine: uv uses another one",
                self.app.python.version.value
            )),
            Some(_) => error,
        })?;
        fs::read_to_string(&copy)
    }

    /// Creates the file for uv to write: a copy of the lock, because uv keeps the versions in that
    /// file, beside the lock, because paths are relative to it.
    fn copy_of_lock(&self) -> Result<TempPath> {
        let root = &self.app.root;
        let copy = tempfile::Builder::new()
            .prefix("pylock.")
            .suffix(".toml")
            .tempfile_in(root)
            .context(|| format!("cannot write into `{}`", shown(root)))?
            .into_temp_path();
        if !self.args.upgrade && self.path.is_file() {
            std::fs::copy(self.path, &copy)
                .context(|| format!("cannot copy `{}`", shown(self.path)))?;
        } else {
            // uv would read the empty file, which is not a lock.
            std::fs::remove_file(&copy).context(|| format!("cannot remove `{}`", shown(&copy)))?;
        }
        Ok(copy)
    }

    /// Finds the Python that uv asks for markers. Without a Python of that version, uv asks another
    /// and replaces the version.
    fn interpreter(&self) -> Result<Option<Interpreter>> {
        match Interpreter::find(self.options.cache, self.app.python.version.value) {
            Ok(found) => Ok(Some(found)),
            Err(_) => assembly::brought(self.app, self.options.cache, self.report),
        }
    }

    fn uv_command(
        &self,
        uv: &Path,
        scope: LockScope,
        interpreter: Option<&Interpreter>,
    ) -> Command {
        let version = self.app.python.version.value;
        let mut command = Command::new(uv);
        process::outside_repositories(&mut command);
        command.args(["pip", "compile", "--quiet", "--no-progress"]);
        command.args(["--format", "pylock.toml"]);
        match scope {
            LockScope::AllPlatforms => command.arg("--universal"),
            LockScope::Release(arch) => command
                .arg("--python-platform")
                .arg(format!("{arch}-unknown-linux-gnu")),
        };
        // One version for all platforms: newer versions for later Pythons do not matter to this
        // release.
        command.args(["--fork-strategy", "fewest"]);
        command.arg("--no-python-downloads");
        command.args(["--custom-compile-command", "pkgapp lock"]);
        // The rule of builds, regardless of the user's settings for uv.
        command.args(["--index-strategy", "first-index"]);
        command.arg("--python-version").arg(version.to_string());
        if let Some(interpreter) = interpreter {
            command.arg("--python").arg(&interpreter.path);
        }
        if self.options.offline {
            command.arg("--offline");
        }
        self.add_selection(&mut command);
        command
    }

    /// Adds the constraints, extras, and groups of the configuration.
    fn add_selection(&self, command: &mut Command) {
        let python = &self.app.python;
        for file in &python.constraints {
            command.arg("--constraints").arg(&file.value);
        }
        let is_project = |input: &Path| input.extension().is_some_and(|ending| ending != "txt");
        if self.inputs.iter().any(|input| is_project(input)) {
            for extra in &python.extras {
                command.arg("--extra").arg(extra.value.to_string());
            }
        }
        self.add_groups(command);
    }
}
