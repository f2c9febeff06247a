//! `pkgapp check`: everything that can be wrong before a host is touched, found without writing an
//! artifact.

mod judges;

use serde_json::{Value, json};

use crate::assembly::{self, AssemblyOptions};
use crate::cli::{CheckArgs, GlobalOptions};
use pkgapp_config::{Config, Deploy};
use pkgapp_core::cache::Cache;
use pkgapp_core::commit::{self, Commit};
use pkgapp_core::error::{Error, Result, shown};
use pkgapp_core::report::{OutputStyle, Report};
use pkgapp_deploy::fleet;
use pkgapp_deploy::hosts::{HostCommand, HostFailure};
use pkgapp_lock::environment_diff::Venv;
use pkgapp_pypa::PackageName;
use pkgapp_release::package::Package;

use super::{load_aimed, open_cache, open_fleet, recipe, targets, working_directory};

/// What became of one check.
struct CheckFinding {
    /// What was checked: a program's name, or a thing's.
    check: String,
    result: CheckState,
}

enum CheckState {
    /// What was seen.
    Passed(String),
    /// Why it was not done.
    Skipped(String),
    Failed(Vec<Error>),
}

impl CheckFinding {
    fn passed(check: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            result: CheckState::Passed(what.into()),
        }
    }

    fn skipped(check: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            result: CheckState::Skipped(why.into()),
        }
    }

    fn failed(check: impl Into<String>, errors: Vec<Error>) -> Self {
        Self {
            check: check.into(),
            result: CheckState::Failed(errors),
        }
    }

    /// Nothing found is well.
    fn of(check: impl Into<String>, errors: Vec<Error>, well: impl Into<String>) -> Self {
        if errors.is_empty() {
            Self::passed(check, well)
        } else {
            Self::failed(check, errors)
        }
    }

    fn json(&self) -> Value {
        match &self.result {
            CheckState::Passed(what) => {
                json!({"check": self.check, "state": "passed", "detail": what})
            }
            CheckState::Skipped(why) => {
                json!({"check": self.check, "state": "skipped", "detail": why})
            }
            CheckState::Failed(errors) => {
                let errors: Vec<Value> = errors.iter().map(Error::to_json).collect();
                json!({"check": self.check, "state": "failed", "errors": errors})
            }
        }
    }
}

pub(super) fn check(args: &CheckArgs, global: &GlobalOptions, report: &Report) -> Result<()> {
    if args.targets {
        return targets::check(args, global, report);
    }
    let app = load_aimed(&targets::only(args)?, global, report)?;
    recipe::warn_of_changes(&app, &app.root.join("dist"), report);
    let deploy = args
        .name
        .as_deref()
        .map(|name| fleet::deploy_named(&app, name))
        .transpose()?;
    let cache = open_cache(global, report)?;
    let options = AssemblyOptions {
        cache: &cache,
        offline: global.offline,
        rerun: false,
    };

    let mut findings = vec![CheckFinding::passed(
        "configuration",
        app.file.display().to_string(),
    )];
    findings.extend(recipe::effects(&app).map(|effects| CheckFinding::passed("recipe", effects)));
    let package = match assembly::assemble(&app, &options, report) {
        Ok(package) => {
            findings.push(CheckFinding::passed(
                "release",
                format!("{} {}", app.name, package.meta.version),
            ));
            findings.extend(judges::ask(&app, &package)?);
            Some(package)
        }
        Err(error) => {
            findings.push(CheckFinding::failed("release", vec![error]));
            None
        }
    };
    if let Some(directory) = &args.env {
        findings.push(environment(
            &app,
            &working_directory()?.join(directory),
            &cache,
            global,
        ));
    }
    if let Some(deploy) = deploy {
        findings.extend(source(&app, deploy, package.as_ref()));
        if args.reach {
            findings.push(hosts(args, &app, deploy, report)?);
        }
    }
    tell(findings, report)
}

/// Prints what was found as it is; failures are the command's error.
fn tell(findings: Vec<CheckFinding>, report: &Report) -> Result<()> {
    if report.style() == OutputStyle::Json {
        report.json(
            &json!({ "checks": findings.iter().map(CheckFinding::json).collect::<Vec<_>>() }),
        );
    }
    let mut errors = Vec::new();
    for finding in findings {
        match finding.result {
            CheckState::Passed(what) => report.step(&format!("{}: {what}", finding.check)),
            CheckState::Skipped(why) => report.warning(&why),
            CheckState::Failed(found) => errors.extend(found),
        }
    }
    Error::all(errors).map_or(Ok(()), Err)
}

/// The pins and a virtual environment, each held against the other.
fn environment(
    app: &Config,
    root: &std::path::Path,
    cache: &Cache,
    global: &GlobalOptions,
) -> CheckFinding {
    let options = AssemblyOptions {
        cache,
        offline: global.offline,
        rerun: false,
    };
    let compared = Venv::open(root).and_then(|venv| {
        let lock = assembly::pins(app, &options, &Report::silent())?;
        let project: Option<PackageName> = app
            .source
            .as_ref()
            .and_then(|_| app.name.as_str().parse().ok());
        let ours: Vec<PackageName> = project.into_iter().collect();
        let what = format!("{} distributions, as pinned", venv.installed.len());
        let edited = |(name, directory): (_, &std::path::Path)| {
            format!("; `{name}` from `{}` to be edited", shown(directory))
        };
        let what = venv
            .editables()
            .map(edited)
            .fold(what, |what, more| what + &more);
        Ok((
            venv.differences(&lock, app.python.version.value, &ours),
            what,
        ))
    });
    match compared {
        Ok((errors, what)) => CheckFinding::of("environment", errors, what),
        Err(error) => CheckFinding::failed("environment", vec![error]),
    }
}

/// What goes to a protected place can be traced: all of it is in a commit, and that has the
/// version's tag.
fn source(app: &Config, deploy: &Deploy, package: Option<&Package>) -> Option<CheckFinding> {
    let check = format!("deploy.{}", deploy.name);
    if !deploy.protected {
        return None;
    }
    let Some(package) = package else {
        return Some(CheckFinding::skipped(
            &*check,
            "without a release, its commit and tag are not looked at",
        ));
    };
    let (version, commit) = (
        package.meta.version.to_string(),
        Commit::at(&app.root).map(|commit| commit.id),
    );
    let errors = commit::untraced(&app.root, commit.as_deref(), &version).into_iter();
    let errors = errors.map(|error| {
        error
            .at(deploy.at.clone())
            .note(format!("`{}` is protected", deploy.name))
    });
    Some(CheckFinding::of(
        check,
        errors.collect(),
        format!("{version} is a tagged commit"),
    ))
}

/// Every host is logged in to, and sudo is asked for where the deployment uses it.
fn hosts(args: &CheckArgs, app: &Config, deploy: &Deploy, report: &Report) -> Result<CheckFinding> {
    let deploy = (app.clone(), deploy.clone());
    let fleet = open_fleet(&args.hosts, Some(&deploy), "check", report)?;
    let results = fleet.each(|machine| {
        machine.row.state("connecting");
        let mut command = HostCommand::new("a look", ":");
        command.sudo = deploy.1.sudo;
        match machine.host.run(&command, &mut |_, _| {}) {
            Ok(_) => {
                machine.row.done("reached");
                None
            }
            Err(failure) => {
                machine.row.failed(failure.error());
                Some(named(&machine.member.name, &failure))
            }
        }
    });
    let count = fleet.machines.len();
    let errors = results.into_iter().flatten().flatten().collect();
    Ok(CheckFinding::of(
        "hosts",
        errors,
        format!("{count} reached"),
    ))
}

fn named(host: &str, failure: &HostFailure) -> Error {
    failure
        .error()
        .clone()
        .context(format!("`{host}` is not ready"))
}
