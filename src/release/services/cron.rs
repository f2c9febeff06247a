//! `/etc/cron.d/NAME`: a system crontab (crontab(5)).

use std::fmt::Write as _;

use serde::Serialize;

use pkgapp_config::Cron;
use pkgapp_core::error::{Error, Result};
use pkgapp_core::path::InstallPath;

use super::paths::LoginPaths;
use super::program::ReleasePrograms;
use super::{CONFIGURED, ENVIRONMENT_READER, GeneratedFiles, ServiceContext, render};

/// The longest command that Debian's cron runs: it silently cuts off the rest (MAX_COMMAND in its
/// source).
const COMMAND_LIMIT: usize = 998;

/// A line of the crontab, with cron's names for its fields.
#[derive(Debug, Serialize)]
struct CronLine<'a> {
    name: &'a str,
    /// The address, in quotes.
    mailto: Option<String>,
    schedule: &'a str,
    user: &'a str,
    command: String,
}

/// Writes the crontab, and the program that reads environment files if a job needs it.
pub(super) fn write(
    context: &ServiceContext<'_>,
    programs: &ReleasePrograms<'_>,
    files: &mut GeneratedFiles,
) -> Result<()> {
    let crons = &context.app.crons;
    if crons.is_empty() {
        return Ok(());
    }
    let values = minijinja::context! { path => context.path(), jobs => jobs(context, programs)? };
    let text = render(include_str!("../../../templates/cron"), values)?;
    files.add_config(&format!("/etc/cron.d/{}", context.name()), "`[cron]`", text)?;
    if crons.iter().any(|cron| !cron.environment_files.is_empty()) {
        let path = context.generated(ENVIRONMENT_READER)?;
        files.add_program(
            path,
            "`[cron]`",
            include_str!("../../../templates/with-environment.py"),
        );
    }
    Ok(())
}

/// Returns the lines for a login's own crontab. Such a crontab cannot choose users, and the login's
/// own lines follow, so each command sets PATH for itself.
pub(super) fn user_lines(
    context: &ServiceContext<'_>,
    programs: &ReleasePrograms<'_>,
    paths: &LoginPaths,
) -> Result<String> {
    let mut text = String::new();
    let path = paths.in_text(&context.path());
    for job in jobs(context, programs)? {
        // Writing to a String cannot fail.
        if let Some(mailto) = &job.mailto {
            _ = writeln!(text, "MAILTO={mailto}");
        }
        let command = paths.in_text(&job.command);
        _ = writeln!(text, "{} PATH={path}; export PATH; {command}", job.schedule);
    }
    Ok(text)
}

/// Returns all jobs in the order of their lines.
fn jobs<'a>(
    context: &'a ServiceContext<'_>,
    programs: &ReleasePrograms<'_>,
) -> Result<Vec<CronLine<'a>>> {
    let crons = &context.app.crons;
    let mut mistakes = Vec::new();
    let mut jobs = Vec::new();
    for cron in crons {
        match job(context, programs, cron) {
            Ok(job) => jobs.push(job),
            Err(error) => mistakes.push(error),
        }
    }
    if let Some(error) = Error::all(mistakes) {
        return Err(error);
    }
    // A variable applies to all lines below it, and cannot be unset.
    jobs.sort_by_key(|job| job.mailto.is_some());
    Ok(jobs)
}

fn job<'a>(
    context: &'a ServiceContext<'_>,
    programs: &ReleasePrograms<'_>,
    cron: &'a Cron,
) -> Result<CronLine<'a>> {
    Ok(CronLine {
        name: cron.name.as_str(),
        mailto: cron.mailto.as_ref().map(|address| format!("\"{address}\"")),
        schedule: cron.schedule.as_str(),
        user: context.user(cron.user.as_ref())?.as_str(),
        command: command(context, programs, cron)?,
    })
}

/// Returns a command for cron's shell, which changes to the prefix, like services, and sets the
/// job's own variables.
fn command(
    context: &ServiceContext<'_>,
    programs: &ReleasePrograms<'_>,
    cron: &Cron,
) -> Result<String> {
    let mut words = environment_words(context, cron)?;
    words.extend(programs.resolve(&cron.exec)?);
    let words = words.iter().map(|word| shell_word(word));
    let line: Vec<String> = variables(context, cron).into_iter().chain(words).collect();

    // On Debian, `apt remove` leaves the crontab, which must not cause mail afterwards. That of a
    // configuration package must do nothing, as the release may stay.
    let mut record = shell_word(&format!("{}/.pkgapp/release.json", context.prefix));
    if context.app.is_separate() {
        let name = context.name();
        let own = format!("/usr/share/pkgapp/{name}/configuration.json");
        record = format!("{own} ] && [ -e {record}");
    }
    let prefix = shell_word(context.prefix.as_str());
    let text = format!(
        "[ -e {record} ] || exit 0; cd {prefix} && {}",
        line.join(" ")
    );
    crontab_command(&text).map_err(|why| {
        Error::new(why)
            .at(cron.exec.at.clone())
            .hint("put the command into a script")
    })
}

/// Returns the words before a command that has environment files: the program that reads them, and
/// the files. A `-` marks an administrator's file, which may be missing.
fn environment_words(context: &ServiceContext<'_>, cron: &Cron) -> Result<Vec<String>> {
    if cron.environment_files.is_empty() {
        return Ok(Vec::new());
    }
    let own = format!("/etc/{}/", context.name());
    let file = |file: &InstallPath| {
        let is_own = file.as_str().starts_with(&own);
        format!("{}{file}", if is_own { "" } else { "-" })
    };
    let mut words = vec![context.generated(ENVIRONMENT_READER)?.to_string()];
    words.extend(cron.environment_files.iter().map(file));
    words.push("--".to_owned());
    Ok(words)
}

/// Returns the assignments of a job's own variables, quoted for sh.
fn variables(context: &ServiceContext<'_>, cron: &Cron) -> Vec<String> {
    let sets_python = cron.env.keys().any(|name| name.starts_with("PYTHON"))
        || !cron.environment_files.is_empty();
    let own = sets_python.then(|| format!("{CONFIGURED}={}", shell_word(context.prefix.as_str())));
    let declared = cron
        .env
        .iter()
        .map(|(name, value)| format!("{name}={}", shell_word(value)));
    own.into_iter().chain(declared).collect()
}

/// Escapes a command for a crontab; returns the reason if a crontab cannot contain it.
fn crontab_command(text: &str) -> std::result::Result<String, String> {
    if let Some(c) = text.chars().find(|c| c.is_control() && *c != '\t') {
        return Err(format!("a crontab cannot contain the character {c:?}"));
    }
    // An unescaped `%` ends the command; cron removes the backslash even within quotes.
    let text = text.replace('%', "\\%");
    if text.len() > COMMAND_LIMIT {
        return Err(format!(
            "the command has {} bytes, but cron accepts only {COMMAND_LIMIT}",
            text.len()
        ));
    }
    Ok(text)
}

/// Quotes a word for sh (POSIX, Shell Command Language §2.2.2), without a backslash directly before
/// another one or before `%`: cron removes one character of such pairs.
fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,=@+%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    let mut text = String::from("'");
    let mut last = None;
    for c in word.chars() {
        if last == Some('\\') && matches!(c, '\\' | '%') {
            text.push_str("''");
        }
        match c {
            '\'' => text.push_str(r"'\''"),
            c => text.push(c),
        }
        last = Some(c);
    }
    text.push('\'');
    text
}
