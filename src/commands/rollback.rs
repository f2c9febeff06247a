//! `pkgapp rollback`.

use std::path::Path;

use crate::cli::{GlobalOptions, RollbackArgs};
use pkgapp_config::{Config, Deploy};
use pkgapp_core::error::Result;
use pkgapp_core::report::Report;
use pkgapp_deploy::fleet::{self, Fleet};
use pkgapp_deploy::plan::Plan;
use pkgapp_deploy::policy::TargetHost;

use super::load_app;
use super::push::{RollingPlan, policy};

pub(super) fn rollback(args: &RollbackArgs, global: &GlobalOptions, report: &Report) -> Result<()> {
    let app = load_app(global, report)?;
    let deploy = deploy(&app, args.name.as_deref())?;
    let mut policy = policy(app.name.clone(), Some(&app), deploy, &args.rollout)?;
    // Migrations only run forward.
    policy.migrate = None;
    let fleet = Fleet::open(
        &args.rollout.hosts.options(),
        deploy,
        Path::new(&app.root),
        "rollback",
        report,
    )?;
    let make = |sites: &[TargetHost]| Plan::rollback(&policy, args.to.as_deref(), sites);
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

/// Returns the named `[deploy.NAME]`, or `None` without a name.
pub(super) fn deploy<'a>(app: &'a Config, name: Option<&str>) -> Result<Option<&'a Deploy>> {
    name.map(|name| fleet::deploy_named(app, name)).transpose()
}
