//! `pkgapp confirm`.

use crate::cli::{ConfirmArgs, GlobalOptions};
use pkgapp_core::error::Result;
use pkgapp_core::report::Report;
use pkgapp_deploy::fleet::Fleet;
use pkgapp_deploy::plan::Plan;
use pkgapp_deploy::policy::TargetHost;

use super::load_app;
use super::push::{RollingPlan, policy};
use super::rollback::deploy;

pub(super) fn confirm(args: &ConfirmArgs, global: &GlobalOptions, report: &Report) -> Result<()> {
    let app = load_app(global, report)?;
    let deploy = deploy(&app, args.name.as_deref())?;
    let rollout = args.rollout();
    let policy = policy(app.name.clone(), Some(&app), deploy, &rollout)?;
    let fleet = Fleet::open(
        &rollout.hosts.options(),
        deploy,
        &app.root,
        "confirm",
        report,
    )?;
    let command = RollingPlan {
        policy: &policy,
        artifacts: &[],
        args: &rollout,
        deploy,
        fleet: &fleet,
        report,
    };
    command
        .run(&|sites: &[TargetHost]| Plan::confirm(&policy, sites))?
        .finish()
}
