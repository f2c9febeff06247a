//! `pkgapp check`: all checks that are possible without writing an artifact or changing a host.

mod judges;

use serde_json::{Value, json};

use crate::assembly::configuration::SoftwarePackage;
use crate::assembly::{self, AssemblyOptions};
use crate::cli::{CheckArgs, GlobalOptions};
use pkgapp_config::{Config, Deploy};
use pkgapp_core::cache::Cache;
use pkgapp_core::commit::{self, Commit};
use pkgapp_core::error::{Error, Result, shown};
use pkgapp_core::report::{OutputStyle, Report};
use pkgapp_core::text::backticked;
use pkgapp_deploy::fleet;
use pkgapp_deploy::hosts::{HostCommand, HostFailure};
use pkgapp_format::version::PackageVersion;
use pkgapp_lock::environment_diff::Venv;
use pkgapp_pypa::PackageName;
use pkgapp_release::package::Package;

use super::{load_aimed, open_cache, open_fleet, recipe, targets, working_directory};

/// The result of one check.
struct CheckFinding {
    /// The name of the check: its subject, or the program that checks.
    check: String,
    result: CheckState,
}

enum CheckState {
    /// A description of the result.
    Passed(String),
    /// The reason.
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

    /// Returns a finding that has passed if there are no errors.
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
    let app = load_aimed(&targets::only(args)?, &args.settings, global, report)?;
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

    let file = app.file.display().to_string();
    let mut findings = vec![CheckFinding::passed("configuration", file)];
    findings.extend(recipe::effects(&app).map(|effects| CheckFinding::passed("recipe", effects)));
    findings.extend(secret_files(&app));
    let package = release(&app, &options, &mut findings, report)?;
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

/// Says who has the secrets that are files.
fn secret_files(app: &Config) -> Option<CheckFinding> {
    let names = app.credentials().map(|secret| &secret.name);
    let names = Some(backticked(names)).filter(|names| !names.is_empty())?;
    let crons = if app.crons.is_empty() {
        ""
    } else {
        "; cron jobs get none: make a job that needs one a `[timer.NAME]`"
    };
    let well = format!("services and timers get {names} as files{crons}");
    Some(CheckFinding::passed("secrets", well))
}

/// Assembles the release and has the judges read its files; `None` if the assembly fails.
fn release(
    app: &Config,
    options: &AssemblyOptions<'_>,
    findings: &mut Vec<CheckFinding>,
    report: &Report,
) -> Result<Option<Package>> {
    match assembly::assemble(app, options, report) {
        Ok(package) => {
            findings.push(CheckFinding::passed(
                "release",
                format!("{} {}", app.name, package.meta.version),
            ));
            findings.extend(judges::ask(app, &package)?);
            if app.is_separate() {
                findings.extend(configurations(app, &package)?);
            }
            Ok(Some(package))
        }
        Err(error) => {
            findings.push(CheckFinding::failed("release", vec![error]));
            Ok(None)
        }
    }
}

/// Makes the configuration packages of all deployments and has the judges read their files.
fn configurations(app: &Config, package: &Package) -> Result<Vec<CheckFinding>> {
    let software = SoftwarePackage::of(package)?;
    let mut findings = Vec::new();
    for deployment in &app.deploys {
        let check = format!("configuration of {}", deployment.name);
        match software.configuration(app, deployment) {
            Ok(package) => {
                let version = PackageVersion::of(&package.meta)?.full();
                findings.push(CheckFinding::passed(check, version));
                findings.extend(judges::ask(app, &package)?);
            }
            Err(error) => findings.push(CheckFinding::failed(check, vec![error])),
        }
    }
    Ok(findings)
}

/// Prints the findings; returns all failures as one error.
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

/// Compares the pins with a virtual environment.
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
            format!("; `{name}` is editable in `{}`", shown(directory))
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

/// Checks that a release for a protected deployment can be traced: its sources are in a commit that
/// has the tag of the version.
fn source(app: &Config, deploy: &Deploy, package: Option<&Package>) -> Option<CheckFinding> {
    let check = format!("deploy.{}", deploy.name);
    if !deploy.protected {
        return None;
    }
    let Some(package) = package else {
        return Some(CheckFinding::skipped(
            &*check,
            "skipped the commit and tag: there is no release",
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

/// Logs in to every host, with sudo if the deployment uses it.
fn hosts(args: &CheckArgs, app: &Config, deploy: &Deploy, report: &Report) -> Result<CheckFinding> {
    let deploy = (app.clone(), deploy.clone());
    let fleet = open_fleet(&args.hosts, Some(&deploy), "check", report)?;
    let results = fleet.each(|machine| {
        machine.row.state("connecting");
        let mut command = HostCommand::new("a connection test", ":");
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
