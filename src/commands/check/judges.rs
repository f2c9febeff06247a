//! The programs that read the generated files on a host, run on the build machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use pkgapp_config::Config;
use pkgapp_core::error::{Context, Error, Result};
use pkgapp_core::process;
use pkgapp_core::text::counted;
use pkgapp_release::package::Package;

use super::super::render;
use super::CheckFinding;

/// Runs every installed judge on the generated files that it reads.
///
/// # Errors
/// A judge cannot run, or its files cannot be written.
pub(super) fn ask(app: &Config, package: &Package) -> Result<Vec<CheckFinding>> {
    let files = JudgedFiles::write(&render::texts(package)?)?;
    let findings = [
        units(app, &files)?,
        logs(app, &files)?,
        crontab(app, &files)?,
        scriptlets(&files)?,
    ];
    Ok(findings.into_iter().flatten().collect())
}

/// The generated files with their paths on a host, below a temporary directory.
struct JudgedFiles {
    directory: TempDir,
    paths: Vec<PathBuf>,
}

impl JudgedFiles {
    fn write(texts: &[(String, String)]) -> Result<Self> {
        let directory = TempDir::new().context(|| "cannot create a temporary directory")?;
        let mut paths = Vec::new();
        for (name, text) in texts {
            let path = directory.path().join(name.trim_start_matches('/'));
            pkgapp_core::fs::write_atomically(&path, |out| {
                std::io::Write::write_all(out, text.as_bytes())
                    .context(|| format!("cannot write `{name}`"))
            })?;
            paths.push(path);
        }
        Ok(Self { directory, paths })
    }

    /// Returns the files below a directory of the host.
    fn below(&self, directory: &str) -> Vec<&Path> {
        let directory = self.directory.path().join(directory);
        self.paths
            .iter()
            .map(PathBuf::as_path)
            .filter(|path| path.starts_with(&directory))
            .collect()
    }

    /// Returns the output of a judge, with the paths as on a host.
    fn lines(&self, output: &Output) -> Vec<String> {
        let root = self.directory.path().display().to_string();
        let text = [&output.stdout[..], &output.stderr[..]]
            .map(String::from_utf8_lossy)
            .concat();
        text.lines().map(|line| line.replace(&root, "")).collect()
    }
}

/// Returns the finding of a judge that has read `count` files and printed `lines`.
fn judged(judge: &'static str, count: usize, lines: Vec<String>) -> CheckFinding {
    if lines.is_empty() {
        return CheckFinding::passed(judge, format!("{}, no complaints", counted(count, "file")));
    }
    let error = lines.into_iter().fold(
        Error::new(format!("`{judge}` rejects the generated files")),
        Error::note,
    );
    let hint = "`pkgapp render` prints the files, which are generated from the configuration";
    CheckFinding::failed(judge, vec![error.hint(hint)])
}

fn missing(judge: &'static str) -> CheckFinding {
    CheckFinding::skipped(
        judge,
        format!("skipped `{judge}`: it is not available on the build machine"),
    )
}

/// Runs systemd-analyze(1) on the units, together with the units of the build machine.
fn units(app: &Config, files: &JudgedFiles) -> Result<Option<CheckFinding>> {
    const JUDGE: &str = "systemd-analyze verify";
    let units = files.below("usr/lib/systemd/system");
    if units.is_empty() {
        return Ok(None);
    }
    let Ok(program) = which::which("systemd-analyze") else {
        return Ok(Some(missing(JUDGE)));
    };
    let path = format!(
        "{}:",
        files
            .directory
            .path()
            .join("usr/lib/systemd/system")
            .display()
    );
    let names = units.iter().filter_map(|unit| unit.file_name());
    let mut verify = Command::new(program);
    let output = process::output(
        verify
            .args(["verify", "--man=no"])
            .args(names)
            .env("SYSTEMD_UNIT_PATH", path),
    )?;
    let ours = format!("{}-", app.name);
    let target = format!("{}.target", app.name);
    // The output covers all units of the build machine, where the release is not installed.
    let about_ours = |line: &String| line.contains(&ours) || line.contains(&target);
    let lines = files
        .lines(&output)
        .into_iter()
        .filter(about_ours)
        .filter(|line| !line.contains("is not executable"));
    Ok(Some(judged(JUDGE, units.len(), lines.collect())))
}

/// Runs logrotate(8) in its debug mode, which changes nothing.
fn logs(app: &Config, files: &JudgedFiles) -> Result<Option<CheckFinding>> {
    const JUDGE: &str = "logrotate --debug";
    let Some(file) = files.below("etc/logrotate.d").pop() else {
        return Ok(None);
    };
    let Ok(program) = which::which("logrotate").or_else(|_| which::which("/usr/sbin/logrotate"))
    else {
        return Ok(Some(missing(JUDGE)));
    };
    let state = files.directory.path().join("logrotate.state");
    let output = process::output(
        Command::new(program)
            .arg("--debug")
            .arg("--state")
            .arg(state)
            .arg(file),
    )?;
    // The users are created on the host.
    let unknown_user =
        |line: &String| line.contains("unknown user") || line.contains("found error in /var/log");
    let lines = files
        .lines(&output)
        .into_iter()
        .filter(|line| line.starts_with("error:"));
    let lines: Vec<String> = lines
        .filter(|line| !unknown_user(line) && !line.contains(app.name.as_str()))
        .collect();
    Ok(Some(judged(JUDGE, 1, lines)))
}

/// Runs crontab(1) with `-T`, which cronie and newer versions of Debian's cron support.
fn crontab(app: &Config, files: &JudgedFiles) -> Result<Option<CheckFinding>> {
    const JUDGE: &str = "crontab -T";
    let Some(file) = files.below("etc/cron.d").pop() else {
        return Ok(None);
    };
    let missing = || Ok(Some(missing(JUDGE)));
    let Ok(program) = which::which("crontab") else {
        return missing();
    };
    let text = without_users(&pkgapp_core::fs::read_to_string(file)?, app);
    let table = files.directory.path().join("crontab");
    pkgapp_core::fs::write_atomically(&table, |out| {
        std::io::Write::write_all(out, text.as_bytes())
            .context(|| "cannot write a temporary crontab")
    })?;

    let output = process::output(Command::new(program).arg("-T").arg(&table))?;
    let lines = files.lines(&output);
    if lines
        .iter()
        .any(|line| line.contains("invalid option") || line.contains("usage"))
    {
        return missing();
    }
    Ok(Some(judged(
        JUDGE,
        1,
        if output.status.success() {
            Vec::new()
        } else {
            lines
        },
    )))
}

/// Removes the user field of each line: the crontab of a user has none.
fn without_users(text: &str, app: &Config) -> String {
    let jobs = app
        .crons
        .iter()
        .filter_map(|cron| cron.user.as_ref().map(ToString::to_string));
    let users: Vec<String> = jobs.chain([app.name.to_string()]).collect();
    let without_user = |line: &str| {
        users.iter().fold(line.to_owned(), |line, user| {
            line.replacen(&format!(" {user} cd "), " cd ", 1)
        })
    };
    text.lines().map(|line| without_user(line) + "\n").collect()
}

/// Runs sh(1) with `-n` on every scriptlet.
fn scriptlets(files: &JudgedFiles) -> Result<Option<CheckFinding>> {
    let is_script = |path: &&Path| {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        ["pre", "post"].iter().any(|start| name.starts_with(start)) || name.starts_with("trans")
    };
    let scripts: Vec<&Path> = [files.below("deb"), files.below("rpm")]
        .concat()
        .into_iter()
        .filter(is_script)
        .collect();
    if scripts.is_empty() {
        return Ok(None);
    }
    let mut lines = Vec::new();
    for script in &scripts {
        let output = process::output(Command::new("/bin/sh").arg("-n").arg(script))?;
        if !output.status.success() {
            lines.extend(files.lines(&output));
        }
    }
    Ok(Some(judged("sh -n", scripts.len(), lines)))
}
