//! Chooses the extras, groups, and requirements files that ship: those that the project's own
//! deployment installs, and those without which it has no server or no database driver.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::code::{CodeFacts, Database};
use super::deployment::{DeploymentFiles, is_for_developers};
use super::project::ProjectFiles;
use super::{PinState, pins};

/// Distributions that serve a WSGI or ASGI application named on their command line.
const SERVERS: [&str; 8] = [
    "gunicorn",
    "uvicorn",
    "hypercorn",
    "daphne",
    "granian",
    "waitress",
    "uwsgi",
    "pyuwsgi",
];

/// Names that projects give the only group with the application's own requirements.
const MAIN_GROUPS: [&str; 9] = [
    "main",
    "default",
    "production",
    "prod",
    "app",
    "runtime",
    "base",
    "server",
    "core",
];

/// The result of the choice.
#[derive(Debug, Default)]
pub(super) struct ProjectChoices {
    /// Extras in the project's spelling.
    pub(super) extras: Vec<String>,
    /// Dependency groups.
    pub(super) groups: Vec<String>,
    /// Distributions that the extras and groups require.
    pub(super) brought: BTreeSet<String>,
    /// Additional requirements.
    pub(super) add: Vec<&'static str>,
    /// Decisions for the user, one sentence each.
    pub(super) open: Vec<String>,
}

/// The extras and groups of a project with their requirements, and the project's other
/// requirements.
struct ExtraOffer<'a> {
    extras: BTreeMap<String, BTreeSet<String>>,
    deployment: &'a DeploymentFiles,
    databases: &'a BTreeSet<Database>,
}

impl ExtraOffer<'_> {
    /// Returns the first shipped extra with a driver for a database.
    fn extra_with_driver(&self, database: Database) -> Option<&str> {
        self.extras
            .iter()
            .filter(|(name, _)| !is_for_developers(name))
            .find(|(_, holds)| {
                holds
                    .iter()
                    .any(|name| database.drivers().contains(&name.as_str()))
            })
            .map(|(name, _)| name.as_str())
    }
}

impl ProjectChoices {
    /// Chooses extras and groups for an application that requires `requires` without them.
    pub(super) fn of(
        project: &ProjectFiles,
        deployment: &DeploymentFiles,
        pins: &PinState,
        requires: &BTreeSet<String>,
        code: &CodeFacts,
    ) -> Self {
        let mut choices = Self {
            groups: groups(project, deployment),
            ..Self::default()
        };
        for group in &choices.groups {
            choices.brought.extend(project.group(group));
        }
        let extras = if takes_extras(pins, project) {
            project.extras()
        } else {
            BTreeMap::new()
        };
        let offer = ExtraOffer {
            extras,
            deployment,
            databases: code.databases(),
        };
        choices.installed(&offer);
        if code.serves() {
            choices.server(&offer, requires);
            choices.drivers(&offer, requires);
        }
        choices
    }

    /// Adds the extras and groups that the deployment installs. Of several database drivers, only
    /// those for PostgreSQL are chosen: the others must be compiled, and the application uses one
    /// of them.
    fn installed(&mut self, offer: &ExtraOffer<'_>) {
        let spelled = |name: &str| name.to_lowercase().replace(['_', '.'], "-");
        let has = |name: &String, drivers: &[&str]| {
            offer.extras[name]
                .iter()
                .any(|one| drivers.contains(&one.as_str()))
        };
        let wanted: Vec<String> = offer
            .deployment
            .extras
            .iter()
            .map(|name| spelled(name))
            .collect();
        for name in offer
            .extras
            .keys()
            .filter(|name| wanted.contains(&spelled(name)))
        {
            self.take(name, offer);
        }
        if !offer.deployment.all_extras {
            return;
        }
        let shipped = offer.extras.keys().filter(|name| !is_for_developers(name));
        let has_postgresql = shipped
            .clone()
            .any(|name| has(name, Database::Postgresql.drivers()));
        for name in shipped {
            if has_postgresql
                && has(name, Database::Mysql.drivers())
                && !has(name, Database::Postgresql.drivers())
            {
                self.open
                    .push(format!("for MySQL or MariaDB, add `{name}` to `extras`"));
            } else {
                self.take(name, offer);
            }
        }
    }

    /// Adds an extra with a server if the application has no other.
    fn server(&mut self, offer: &ExtraOffer<'_>, requires: &BTreeSet<String>) {
        let serves = |name: &str| SERVERS.contains(&name);
        if requires
            .iter()
            .chain(&self.brought)
            .any(|name| serves(name))
        {
            return;
        }
        let mut with = offer.extras.iter().filter(|(name, holds)| {
            !is_for_developers(name)
                && holds.iter().any(|name| serves(name))
                && !self.extras.contains(name)
        });
        // Several extras may be alternatives, so none of them is chosen.
        if let (Some((name, _)), None) = (with.next(), with.next()) {
            self.take(name, offer);
        }
    }

    /// Adds drivers for the databases that the code names.
    fn drivers(&mut self, offer: &ExtraOffer<'_>, requires: &BTreeSet<String>) {
        let known = [Database::Postgresql, Database::Mysql]
            .map(Database::drivers)
            .concat();
        let mut present = requires.iter().chain(&self.brought);
        if present.any(|name| known.contains(&name.as_str())) {
            return;
        }

        let wanted: Vec<Database> = offer
            .databases
            .iter()
            .copied()
            .filter(|database| !database.drivers().is_empty())
            .collect();
        let is_certain = wanted.len() == 1 && !offer.databases.contains(&Database::Sqlite);
        for database in wanted {
            self.driver(database, is_certain, offer);
        }
    }

    /// Adds a driver for a database that is certainly used; otherwise adds a sentence about how to
    /// get one.
    fn driver(&mut self, database: Database, is_certain: bool, offer: &ExtraOffer<'_>) {
        let name = database.name();
        match offer.extra_with_driver(database) {
            Some(extra) if is_certain => self.take(extra, offer),
            Some(extra) => self.open.push(format!(
                "for {name}, write `extras = [\"{extra}\"]` below `[python]`"
            )),
            None if is_certain && database == Database::Postgresql => {
                self.add.push(database.driver());
            }
            None => self.open.push(format!(
                "none of its requirements is a driver for {name}: to use it, write `add = [\"{}\"]` below `[python]` \
                 and run `pkgapp lock`",
                database.driver()
            )),
        }
    }

    fn take(&mut self, extra: &str, offer: &ExtraOffer<'_>) {
        if !self.extras.iter().any(|known| known == extra) {
            self.extras.push(extra.to_owned());
            self.brought.extend(offer.extras[extra].iter().cloned());
        }
    }
}

/// Returns whether extras have an effect: there is a lock with extras, or `pkgapp lock` resolves
/// the project.
fn takes_extras(pins: &PinState, project: &ProjectFiles) -> bool {
    match pins {
        PinState::Found(name) | PinState::Elsewhere(name, true) => {
            ["uv.lock", "poetry.lock", "pdm.lock"]
                .iter()
                .any(|lock| name.ends_with(lock))
        }
        PinState::Nothing => project.says("name"),
        PinState::Loose(_) | PinState::Elsewhere(_, false) => false,
    }
}

/// Returns the groups that ship: those that the deployment installs, and without a `[project]`
/// table, the group that replaces it.
fn groups(project: &ProjectFiles, deployment: &DeploymentFiles) -> Vec<String> {
    let known = project.groups();
    let installed: Vec<String> = known
        .iter()
        .filter(|name| deployment.groups.contains(*name))
        .cloned()
        .collect();
    if !installed.is_empty() || project.says("name") || project.has_dependencies() {
        return installed;
    }
    let mut shipped = known.iter().filter(|name| !is_for_developers(name));
    let main = MAIN_GROUPS
        .iter()
        .find(|name| known.iter().any(|known| known == *name))
        .map(|name| (*name).to_owned());
    main.or_else(|| shipped.next().filter(|_| shipped.next().is_none()).cloned())
        .into_iter()
        .collect()
}

/// Returns the requirements file that the deployment installs, if it differs from the one that was
/// found by its name, and a sentence about the other files.
pub(super) fn requirements(
    root: &Path,
    deployment: &DeploymentFiles,
) -> Option<(String, Option<String>)> {
    let mut files = deployment.requirements.clone();
    let included: BTreeSet<_> = files
        .iter()
        .flat_map(|file| pins::included(&root.join(file)))
        .collect();
    files.retain(|file| !included.contains(&root.join(file)));
    let drives = |file: &String, database: Database| {
        let names = pins::named(&root.join(file));
        names
            .iter()
            .any(|name| database.drivers().contains(&name.as_str()))
    };
    match &files[..] {
        [] => None,
        [only] => Some((only.clone(), None)),
        several => {
            let one = several
                .iter()
                .find(|file| drives(file, Database::Postgresql))
                .unwrap_or(&several[0]);
            let all = several.join(" ");
            let told = format!(
                "the project's own deployment installs more: `pkgapp lock {all}` pins all of it"
            );
            Some((one.clone(), Some(told)))
        }
    }
}
