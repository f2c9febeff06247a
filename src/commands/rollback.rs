//! `pkgapp rollback`.

use std::path::Path;

use crate::cli::{GlobalOptions, RollbackArgs};
use pkgapp_config::{Config, Deploy};
use pkgapp_core::error::{Error, ErrorKind, Result};
use pkgapp_core::report::Report;
use pkgapp_deploy::fleet::{self, Fleet};
use pkgapp_deploy::plan::Plan;
use pkgapp_deploy::policy::TargetHost;
use pkgapp_deploy::rollback::RollbackTarget;

use super::load_app;
use super::push::{RollingPlan, policy};

pub(super) fn rollback(args: &RollbackArgs, global: &GlobalOptions, report: &Report) -> Result<()> {
    let app = load_app(global, report)?;
    let deploy = deploy(&app, args.name.as_deref())?;
    let mut policy = policy(app.name.clone(), Some(&app), deploy, &args.rollout)?;
    // Migrations only run forward.
    policy.migrate = None;
    let mut options = args.rollout.hosts.options();
    let target = target(args, &mut options.only)?;
    let fleet = Fleet::open(&options, deploy, Path::new(&app.root), "rollback", report)?;
    let make = |sites: &[TargetHost]| Plan::rollback(&policy, target, sites);
    let command = RollingPlan {
        policy: &policy,
        artifacts: &[],
        args: &args.rollout,
        deploy,
        fleet: &fleet,
        report,
    };
    command.run(&make)?.finish()
}

/// The word of `--only` that stands for the configuration package; all others select hosts.
const CONFIGURATION: &str = "config";

/// Returns what hosts go back to, and takes its word from those that select hosts.
fn target<'a>(args: &'a RollbackArgs, only: &mut Vec<String>) -> Result<RollbackTarget<'a>> {
    let selectors = only.len();
    only.retain(|word| word != CONFIGURATION);
    let is_configuration = only.len() < selectors;
    match &args.to {
        None if is_configuration => Ok(RollbackTarget::Configuration),
        None => Ok(RollbackTarget::Previous),
        Some(version) if !is_configuration => Ok(RollbackTarget::Version(version)),
        Some(_) => {
            let error = Error::new("`--to` names a release, not a configuration");
            Err(error
                .kind(ErrorKind::Usage)
                .hint("leave out `--to` or `--only config`"))
        }
    }
}

/// Returns the named `[deploy.NAME]`, or `None` without a name.
pub(super) fn deploy<'a>(app: &'a Config, name: Option<&str>) -> Result<Option<&'a Deploy>> {
    name.map(|name| fleet::deploy_named(app, name)).transpose()
}
