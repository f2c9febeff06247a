//! `pkgapp rollback`.

use std::path::Path;

use crate::cli::{Global, RollbackArgs};
use pkgapp_config::{App, Deploy};
use pkgapp_core::error::Result;
use pkgapp_core::report::Report;
use pkgapp_deploy::fleet::{self, Fleet};
use pkgapp_deploy::plan::{Plan, Site};

use super::load_app;
use super::push::{Rolling, terms};

pub(super) fn rollback(args: &RollbackArgs, global: &Global, report: &Report) -> Result<()> {
    let app = load_app(global)?;
    let deploy = deploy(&app, args.name.as_deref())?;
    let mut terms = terms(app.name.clone(), Some(&app), deploy, &args.rollout)?;
    // Data is migrated forward only.
    terms.migrate = None;
    let fleet = Fleet::open(
        &args.rollout.hosts.options(),
        deploy,
        Path::new(&app.root),
        "rollback",
        report,
    )?;
    let make = |sites: &[Site]| Plan::rollback(&terms, args.to.as_deref(), sites);
    let command = Rolling {
        terms: &terms,
        artifacts: &[],
        args: &args.rollout,
        deploy,
        fleet: &fleet,
        report,
    };
    command.run(&make)?.finish()
}

/// Returns the `[deploy.NAME]` that is named, if one is.
pub(super) fn deploy<'a>(app: &'a App, name: Option<&str>) -> Result<Option<&'a Deploy>> {
    name.map(|name| fleet::deploy_named(app, name)).transpose()
}
