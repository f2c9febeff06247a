//! The scripts that dpkg and rpm run around the files of a package: they handle users, units,
//! secrets, and the user's hooks.
//!
//! The scripts are templates, one file each in `packaging/deb` and `packaging/rpm`, with shared
//! parts in `packaging/sh`; this module provides their values. A package contains no script that
//! would do nothing. Both package managers have the same result: when all files are in place (deb:
//! postinst; rpm: %posttrans), new units are enabled and started, running units whose files changed
//! are restarted once, and removed units are stopped. The script that runs first (deb: preinst;
//! rpm: %pre) writes checksums to `/run/pkgapp/NAME`, which show changes; the previous version
//! (deb: prerm; rpm: %preun) writes its list of units there, which shows removals. So even a
//! version without units has a script that stops removed units.
//!
//! Each service stores its data in a directory of its user. If a new version uses another
//! directory, the first script finds the old one in the installed units and refuses the version if
//! the data cannot be moved; the last script moves the data.

mod values;

use std::sync::Arc;

use minijinja::Environment;
use sha2::{Digest as _, Sha256};

use self::values::ScriptValues;
use crate::package::{DebScriptlets, FileTrigger, RpmScriptlets, Scriptlets};
use crate::release::RECORD;
use crate::services::{PackageForm, PackagedUnit, Services};
use crate::tree::{EntryKind, EntryOrigin, Tree, TreeEntry, dump_line};
use pkgapp_config::ScriptletPhases;
use pkgapp_config::{Located, OnUpgrade};
use pkgapp_core::content::Content;
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Error, Result};
use pkgapp_core::name::PythonMinor;
use pkgapp_core::path::InstallPath;
use pkgapp_core::process;
use pkgapp_core::template;

/// The directory of packaged units.
const UNITS: &str = "/usr/lib/systemd/system";

/// The path of a digest of the release's content, below its prefix; see [`stamp`].
pub const STAMP: &str = ".pkgapp/stamp";

macro_rules! texts {
    ($($path:literal),* $(,)?) => { &[$(($path, include_str!(concat!("../../packaging/", $path)))),*] };
}

/// All templates. The parts that scripts include are named without their directory.
const TEXTS: &[(&str, &str)] = texts!(
    "deb/preinst",
    "deb/postinst",
    "deb/prerm",
    "deb/postrm",
    "rpm/pre",
    "rpm/preun",
    "rpm/postun",
    "rpm/posttrans",
    "rpm/transfiletriggerin",
    "sh/admit",
    "sh/attributes",
    "sh/before",
    "sh/carry",
    "sh/compare",
    "sh/compile",
    "sh/conffiles",
    "sh/empty",
    "sh/environment",
    "sh/guard",
    "sh/forgotten",
    "sh/homes",
    "sh/hook",
    "sh/kinds",
    "sh/leave",
    "sh/move",
    "sh/own",
    "sh/predecessor",
    "sh/python",
    "sh/released",
    "sh/report",
    "sh/restore",
    "sh/retire",
    "sh/run",
    "sh/credentials",
    "sh/secrets",
    "sh/settings",
    "sh/site",
    "sh/start",
    "sh/successor",
    "sh/stash",
    "sh/stop",
    "sh/sums",
    "sh/tmpfiles",
    "sh/uncompile",
    "sh/unfilled",
    "sh/units",
    "sh/users",
    "sh/writable",
);

/// Byte code that scriptlets compile when the package is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostCompiled {
    /// The release's Python on the host.
    pub python: InstallPath,
    /// The tag in the names of byte code, e.g. `cpython-311`.
    pub tag: String,
    /// The directories of the sources.
    pub directories: Vec<InstallPath>,
}

/// Returns the scriptlets of a package. `python` is the interpreter of another package that the
/// release uses, if any: services restart when the host replaces it. `compile` is for a release
/// without byte code; `tree` has the files of the package.
///
/// # Errors
/// A hook that sh cannot parse.
pub fn of(
    services: &Services,
    phases: &ScriptletPhases,
    python: Option<&HostPython>,
    compile: Option<&HostCompiled>,
    tree: &Tree,
) -> Result<Scriptlets> {
    check(phases)?;

    let actions = ScriptletActions {
        services,
        phases,
        python: python.filter(|_| services.restarted().next().is_some()),
        compile,
        links: own_links(services, tree),
    };
    Ok(Scriptlets {
        deb: actions.deb()?,
        rpm: actions.rpm()?,
    })
}

/// Returns the symbolic links of a tree, except for those to paths that the application writes to.
fn own_links<'a>(services: &Services, tree: &'a Tree) -> Vec<&'a InstallPath> {
    let carried: &[InstallPath] = services
        .writable
        .as_ref()
        .map_or(&[], |writable| &writable.links);
    tree.iter()
        .filter(|(path, entry)| {
            matches!(entry.kind, EntryKind::Symlink(_)) && !carried.contains(path)
        })
        .map(|(path, _)| path)
        .collect()
}

/// Returns the content of [`STAMP`]: a digest of everything below the prefix except for `.pkgapp`
/// itself, which no service reads. It is independent of the package's revision, and of commits that
/// change no shipped file.
pub fn stamp(tree: &Tree, prefix: &InstallPath) -> String {
    let mut hasher = Sha256::new();
    for (path, entry) in tree.iter() {
        let Some(below) = path.below(prefix) else {
            continue;
        };
        if below.as_str() != ".pkgapp" && !below.as_str().starts_with(".pkgapp/") {
            hasher.update(dump_line(below.as_str(), entry));
            hasher.update("\n");
        }
    }
    format!("{}\n", Sha256Sum(hasher.finalize().into()))
}

/// Adds the files to a complete tree that scriptlets need on the host: the release's [`STAMP`], and
/// the preset that enables the units (systemd.preset(5)). Red Hat's hosts disable units that no
/// preset names; an administrator's presets take precedence over this one.
///
/// # Errors
/// Another source has a file at these places.
pub fn insert_into(tree: &mut Tree, services: &Services) -> Result<()> {
    let stamp = match services.form {
        PackageForm::Whole if services.units.is_empty() => return Ok(()),
        PackageForm::Whole | PackageForm::Software => Some(stamp(tree, &services.prefix)),
        PackageForm::Configuration => None,
    };
    let origin = Arc::new(EntryOrigin {
        label: "the files for scriptlets".to_owned(),
        layer: None,
    });
    let mut insert = |path: &str, text: String| {
        tree.insert(
            InstallPath::parse(path)?,
            TreeEntry::file(Content::memory(text.into_bytes()), 0o644, &origin),
        )
    };
    if services.form != PackageForm::Software {
        insert(&preset_path(services), preset(services))?;
    }
    match stamp {
        Some(stamp) => insert(&services.stamp_path(), stamp),
        None => insert(&boot_path(services), boot_lines(services)),
    }
}

/// Returns the lines of tmpfiles.d(5) that note at each boot which release the services run with.
fn boot_lines(services: &Services) -> String {
    let directory = format!("/run/pkgapp/{}", services.name);
    format!(
        "# Made by pkgapp.\n\
         d /run/pkgapp 0755 root root -\n\
         d {directory} 0755 root root -\n\
         C {directory}/stamp 0644 root root - {}\n",
        services.stamp_path()
    )
}

fn boot_path(services: &Services) -> String {
    let package = services.form.package_name(&services.name);
    format!("/usr/lib/tmpfiles.d/{package}.conf")
}

fn preset(services: &Services) -> String {
    let names: String = services
        .names()
        .map(|name| format!("enable {name}\n"))
        .collect();
    format!(
        "# Made by pkgapp. A file in /etc/systemd/system-preset comes before this one.\n{names}"
    )
}

fn preset_path(services: &Services) -> String {
    format!("/usr/lib/systemd/system-preset/50-{}.preset", services.name)
}

/// An interpreter that another package of the host contains and upgrades.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPython {
    interpreter: String,
    /// The path of the shared library, which contains nearly all of the interpreter's code.
    library: String,
    /// The formats for hosts whose interpreter uses the library.
    has_library: &'static [&'static str],
}

impl HostPython {
    /// Returns the host's own interpreter. Debian's is not linked with its shared library.
    pub fn system(python: PythonMinor) -> Self {
        Self {
            interpreter: format!("/usr/bin/python{python}"),
            library: format!("/usr/lib64/libpython{python}.so.1.0"),
            has_library: &["rpm"],
        }
    }

    /// Returns the shared interpreter: `directory` is its path on the host, `executable` the path
    /// in that directory.
    pub fn shared(python: PythonMinor, directory: &str) -> Self {
        Self {
            interpreter: format!("{directory}/bin/python{python}"),
            library: format!("{directory}/lib/libpython{python}.so.1.0"),
            has_library: &["deb", "rpm"],
        }
    }

    /// Returns the directory of the interpreter.
    fn directory(&self) -> &str {
        self.interpreter
            .rsplit_once('/')
            .map_or("/", |(directory, _)| directory)
    }

    /// Returns basic regular expressions for the files that a running interpreter maps.
    fn mapped(&self, format: &str) -> Vec<String> {
        let library = self.has_library.contains(&format).then_some(&self.library);
        std::iter::once(&self.interpreter)
            .chain(library)
            .map(|file| file.replace('.', r"\."))
            .collect()
    }
}

/// Parses the hooks with sh, without running them: an open quote or an extra bracket would change
/// the meaning of the lines after a hook.
fn check(phases: &ScriptletPhases) -> Result<()> {
    let all = [
        &phases.before_install,
        &phases.after_install,
        &phases.before_remove,
        &phases.after_remove,
    ];
    let refused = all.into_iter().flatten().filter_map(|lines| {
        let around = format!("(\n{}\n)\n:", lines.value);
        let checked = process::output(std::process::Command::new("sh").args(["-n", "-c", &around]));
        match checked {
            Ok(output) if output.status.success() => None,
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Some(
                    Error::new("sh cannot read these lines")
                        .at(lines.at.clone())
                        .cause_text(said),
                )
            }
            Err(error) => Some(error),
        }
    });
    Error::all(refused.collect::<Vec<_>>()).map_or(Ok(()), Err)
}

impl Services {
    /// Returns the names of all enabled units in the order in which they start.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.units
            .iter()
            .flat_map(|unit| &unit.names)
            .map(String::as_str)
    }

    /// Returns the services that restart when a file that they run changes.
    fn restarted(&self) -> impl Iterator<Item = &PackagedUnit> {
        self.units.iter().filter(|unit| {
            unit.on_upgrade == OnUpgrade::Restart
                && unit.file.ends_with(".service")
                && !unit.names.is_empty()
        })
    }

    /// Returns whether the package creates users or groups.
    fn has_accounts(&self) -> bool {
        !self.users.is_empty() || !self.groups.is_empty()
    }

    fn stamp_path(&self) -> String {
        format!("{}/{STAMP}", self.prefix)
    }

    fn record_path(&self) -> String {
        format!("{}/{RECORD}", self.prefix)
    }

    fn has_unit(&self, file: &str) -> bool {
        self.units.iter().any(|unit| unit.file == file)
    }

    /// Returns the sockets, each with its service.
    fn sockets(&self) -> impl Iterator<Item = (String, &str)> {
        let of =
            |unit: &'_ PackagedUnit| socket_of(&unit.file).filter(|socket| self.has_unit(socket));
        self.units
            .iter()
            .filter_map(move |unit| Some((of(unit)?, unit)))
            .flat_map(|(socket, unit)| {
                unit.names
                    .iter()
                    .map(move |name| (socket.clone(), name.as_str()))
            })
    }
}

/// Returns the socket of a service, if it has one: `shop-web.socket` for `shop-web.service` and for
/// `shop-web@.service`.
fn socket_of(file: &str) -> Option<String> {
    let name = file.strip_suffix(".service")?;
    Some(format!("{}.socket", name.strip_suffix('@').unwrap_or(name)))
}

/// The actions of one package's scripts.
struct ScriptletActions<'a> {
    services: &'a Services,
    phases: &'a ScriptletPhases,
    /// The host's Python, if its replacement restarts a service.
    python: Option<&'a HostPython>,
    compile: Option<&'a HostCompiled>,
    /// The symbolic links of the package, except for those to paths that the application writes to.
    links: Vec<&'a InstallPath>,
}

impl ScriptletActions<'_> {
    fn deb(&self) -> Result<DebScriptlets> {
        let phases = self.phases;
        // On hosts without systemd-sysusers, preinst runs useradd before dpkg has configured
        // ordinary dependencies.
        let account_tools = self.services.has_accounts().then(|| "passwd".to_owned());
        Ok(DebScriptlets {
            preinst: self.script("deb/preinst", phases.before_install.as_ref())?,
            postinst: self.script("deb/postinst", phases.after_install.as_ref())?,
            prerm: self.script("deb/prerm", phases.before_remove.as_ref())?,
            postrm: self.script("deb/postrm", phases.after_remove.as_ref())?,
            triggers: self
                .awaited_files()
                .map(|file| format!("interest-noawait {file}"))
                .collect(),
            pre_depends: account_tools.into_iter().collect(),
        })
    }

    fn rpm(&self) -> Result<RpmScriptlets> {
        let phases = self.phases;
        let account_tools = self
            .services
            .has_accounts()
            .then(|| "shadow-utils".to_owned());
        Ok(RpmScriptlets {
            pre: self.script("rpm/pre", phases.before_install.as_ref())?,
            preun: self.script("rpm/preun", phases.before_remove.as_ref())?,
            postun: self.script("rpm/postun", phases.after_remove.as_ref())?,
            posttrans: self.script("rpm/posttrans", phases.after_install.as_ref())?,
            trigger: self.file_trigger()?,
            requires_pre: account_tools.into_iter().collect(),
        })
    }

    /// Returns the trigger that restarts services when the host replaces its Python. rpm compares
    /// the paths of a file trigger only with directories, so the script checks the files.
    fn file_trigger(&self) -> Result<Option<FileTrigger>> {
        let mut paths: Vec<String> = self
            .awaited_files()
            .filter_map(|file| Some(file.rsplit_once('/')?.0.to_owned()))
            .collect();
        paths.sort();
        paths.dedup();
        if paths.is_empty() {
            return Ok(None);
        }
        let script = self.script("rpm/transfiletriggerin", None)?;
        Ok(script.map(|script| FileTrigger { paths, script }))
    }

    /// Returns the files of other packages whose installation concerns the scripts: the host's
    /// Python, the web server, and the release of a software package.
    fn awaited_files(&self) -> impl Iterator<Item = String> {
        let services = self.services;
        let python = self.python.map(|python| python.interpreter.clone());
        let site = services.site.iter();
        let awaited = site.flat_map(|site| site.awaited.iter().map(ToString::to_string));
        let is_alone = services.form == PackageForm::Configuration;
        let release = is_alone.then(|| services.stamp_path());
        python.into_iter().chain(awaited).chain(release)
    }

    /// Renders a script; `None` if it would do nothing.
    fn script(&self, name: &str, lines: Option<&Located<String>>) -> Result<Option<String>> {
        if lines.is_none() && !self.acts_in(name) {
            return Ok(None);
        }
        let rendered = environment()
            .and_then(|environment| {
                environment
                    .get_template(name)?
                    .render(ScriptValues::of(self, name, lines))
            })
            .map_err(|error| {
                Error::bug(format!("the template `{name}` has a mistake")).cause(error)
            })?;
        Ok(Some(rendered))
    }

    /// Returns whether a script has something to do apart from the user's hook.
    fn acts_in(&self, script: &str) -> bool {
        let services = self.services;
        let has_units = !services.units.is_empty();
        let owns_files = !services.owned.is_empty();
        if services.form == PackageForm::Software {
            return match script {
                // Paths that change between a directory and a link, and the units of a version that
                // includes its configuration.
                "deb/preinst" | "deb/postinst" | "rpm/pre" => true,
                "deb/prerm" | "rpm/posttrans" => self.compile.is_some(),
                _ => false,
            };
        }
        match script {
            // A version without units must still stop the units of the previous version.
            "deb/preinst" | "deb/postinst" | "deb/postrm" | "rpm/posttrans" => true,
            "rpm/pre" => {
                has_units
                    || owns_files
                    || services.has_accounts()
                    || !services.homes.is_empty()
                    || services.writable.is_some()
                    || self.phases.after_install.is_some()
            }
            "deb/prerm" => has_units || owns_files || self.compile.is_some(),
            "rpm/preun" => has_units || owns_files,
            _ => has_units,
        }
    }
}

/// Returns the configuration key of the hook that a script runs.
fn key(script: &str) -> &'static str {
    match script {
        "deb/preinst" | "rpm/pre" => "before-install",
        "deb/postinst" | "rpm/posttrans" => "after-install",
        "deb/prerm" | "rpm/preun" => "before-remove",
        _ => "after-remove",
    }
}

fn unit_path(file: &str) -> String {
    format!("{UNITS}/{file}")
}

/// Returns whether a unit is an instance of a template, e.g. `shop-worker@1.service`
/// (systemd.unit(5)).
fn is_instance(name: &str) -> bool {
    name.split_once('@')
        .is_some_and(|(_, rest)| !rest.starts_with('.'))
}

fn environment() -> std::result::Result<Environment<'static>, minijinja::Error> {
    let mut environment = template::own();
    for (name, text) in TEXTS {
        environment.add_template(name.strip_prefix("sh/").unwrap_or(name), text)?;
    }
    Ok(environment)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use similar_asserts::assert_eq;

    use super::*;
    use crate::services::{
        DataHome, HostSettings, OwnedFile, PackagedCredential, PackagedSite, SecretFile, SystemUser,
    };
    use pkgapp_core::error::Location;
    use pkgapp_core::name::AppName;
    use pkgapp_testing::tool;

    fn path(text: &str) -> InstallPath {
        InstallPath::parse(text).unwrap()
    }

    fn unit(file: &str, names: &[&str], on_upgrade: OnUpgrade) -> PackagedUnit {
        PackagedUnit {
            file: file.into(),
            names: names.iter().map(|&name| name.into()).collect(),
            on_upgrade,
        }
    }

    fn home(part: &str, directory: &str, units: &[&str]) -> DataHome {
        let units = units.iter().map(|&unit| unit.into()).collect();
        DataHome {
            part: part.into(),
            directory: directory.into(),
            user: "shop".into(),
            units,
        }
    }

    /// Services with every feature of an application.
    fn shop() -> Services {
        use OnUpgrade::{Keep, Restart};
        Services {
            writable: None,
            metrics: None,
            site: None,
            name: AppName::parse("shop").unwrap(),
            form: PackageForm::Whole,
            environment: None,
            prefix: path("/opt/shop"),
            units: vec![
                unit("shop-web.socket", &["shop-web.socket"], Keep),
                unit("shop-web.service", &["shop-web.service"], Restart),
                unit(
                    "shop-worker@.service",
                    &["shop-worker@1.service", "shop-worker@2.service"],
                    Restart,
                ),
                unit("shop-report.service", &[], Keep),
                unit("shop-report.timer", &["shop-report.timer"], Keep),
                unit("shop.target", &["shop.target"], Keep),
            ],
            users: vec![SystemUser {
                name: "shop".into(),
                home: path("/var/lib/shop"),
            }],
            groups: vec!["www-data".into()],
            members: vec!["shop".into()],
            secrets: vec![SecretFile {
                path: path("/etc/shop/secrets.env"),
                group: "shop".into(),
            }],
            credentials: vec![],
            state: vec![path("/var/lib/shop"), path("/var/log/shop")],
            has_sysusers: true,
            has_tmpfiles: true,
            homes: vec![
                home("shop-web", "shop", &["shop-web.service"]),
                home("shop-worker", "shop", &["shop-worker@*.service"]),
                home("cron.purge", "shop", &[]),
            ],
            owned: vec![OwnedFile {
                path: path("/etc/shop/shop.env"),
                mode: 0o640,
                owner: "root:shop".into(),
            }],
            host_settings: Some(HostSettings {
                needed: vec![("SHOP_KEY".into(), path("/etc/shop/secrets.env"))],
                files: vec![path("/etc/shop/secrets.env"), path("/etc/shop/it's.env")],
            }),
        }
    }

    fn site(prefix: &str) -> PackagedSite {
        let below = |name: &str| path(&format!("{prefix}/.pkgapp/site/{name}"));
        PackagedSite {
            program: below("activate-nginx"),
            file: below("nginx.conf"),
            socket: Some("shop-web.socket".into()),
            awaited: vec!["/usr/sbin/nginx"],
            kept: vec!["/etc/nginx/conf.d/shop.conf.pkgapp-old".into()],
        }
    }

    fn credential(name: &str) -> PackagedCredential {
        PackagedCredential {
            name: name.to_owned(),
            encrypted: path(&format!("/etc/credstore.encrypted/shop.{name}")),
            plain: path(&format!("/etc/shop/credentials/{name}")),
            is_optional: name == "SHOP_NOTE",
        }
    }

    fn bare() -> Services {
        Services {
            units: vec![],
            users: vec![],
            groups: vec![],
            members: vec![],
            secrets: vec![],
            state: vec![],
            has_sysusers: false,
            has_tmpfiles: false,
            homes: vec![],
            owned: vec![],
            host_settings: None,
            ..shop()
        }
    }

    fn lines(text: &str) -> Option<Located<String>> {
        Some(Located {
            value: text.into(),
            at: Location::file(Path::new("pkgapp.toml")),
        })
    }

    fn phases() -> ScriptletPhases {
        ScriptletPhases {
            before_install: lines("echo before-install"),
            after_install: lines("echo after-install"),
            before_remove: lines("echo before-remove"),
            after_remove: lines("echo after-remove"),
        }
    }

    const PYTHON: PythonMinor = PythonMinor {
        major: 3,
        minor: 11,
    };

    /// Returns all scripts that a package has, by name.
    fn scripts(scriptlets: &Scriptlets) -> Vec<(&'static str, &str)> {
        let Scriptlets { deb, rpm } = scriptlets;
        let all = [
            ("deb/preinst", deb.preinst.as_deref()),
            ("deb/postinst", deb.postinst.as_deref()),
            ("deb/prerm", deb.prerm.as_deref()),
            ("deb/postrm", deb.postrm.as_deref()),
            ("rpm/pre", rpm.pre.as_deref()),
            ("rpm/preun", rpm.preun.as_deref()),
            ("rpm/postun", rpm.postun.as_deref()),
            ("rpm/posttrans", rpm.posttrans.as_deref()),
            (
                "rpm/transfiletriggerin",
                rpm.trigger.as_ref().map(|trigger| trigger.script.as_str()),
            ),
        ];
        all.into_iter()
            .filter_map(|(name, text)| Some((name, text?)))
            .collect()
    }

    fn compiled(prefix: &str) -> HostCompiled {
        let below = |name: &str| path(&format!("{prefix}/{name}"));
        let directories = vec![below("lib/python3.11/site-packages"), below("app")];
        HostCompiled {
            python: below("bin/python"),
            tag: "cpython-311".into(),
            directories,
        }
    }

    /// Applications with one feature each, and one with all of them.
    fn applications() -> Vec<(&'static str, Scriptlets)> {
        let made = |services: &Services, phases: &ScriptletPhases| {
            of(
                services,
                phases,
                Some(&HostPython::system(PYTHON)),
                None,
                &Tree::new(),
            )
            .unwrap()
        };
        let none = ScriptletPhases::default();
        let plain = Services {
            units: shop().units[1..2].to_vec(),
            ..bare()
        };
        vec![
            ("everything", made(&shop(), &phases())),
            ("one service", made(&plain, &none)),
            (
                "users",
                made(
                    &Services {
                        users: shop().users,
                        has_sysusers: true,
                        ..bare()
                    },
                    &none,
                ),
            ),
            (
                "secrets",
                made(
                    &Services {
                        secrets: shop().secrets,
                        ..bare()
                    },
                    &none,
                ),
            ),
            (
                "credentials",
                made(
                    &Services {
                        credentials: ["SHOP_CERT", "SHOP_NOTE"].map(credential).to_vec(),
                        host_settings: Some(HostSettings {
                            needed: vec![],
                            files: vec![path("/etc/shop/settings.env")],
                        }),
                        ..bare()
                    },
                    &none,
                ),
            ),
            (
                "state",
                made(
                    &Services {
                        state: shop().state,
                        has_tmpfiles: true,
                        ..bare()
                    },
                    &none,
                ),
            ),
            ("own lines", made(&bare(), &phases())),
            (
                "byte code",
                of(
                    &bare(),
                    &none,
                    Some(&HostPython::system(PYTHON)),
                    Some(&compiled("/opt/shop")),
                    &Tree::new(),
                )
                .unwrap(),
            ),
            (
                "all and byte code",
                of(
                    &shop(),
                    &phases(),
                    Some(&HostPython::system(PYTHON)),
                    Some(&compiled("/srv/it's a $shop")),
                    &Tree::new(),
                )
                .unwrap(),
            ),
            (
                "metrics",
                made(
                    &Services {
                        metrics: Some(path("/srv/it's metrics/shop.prom")),
                        ..shop()
                    },
                    &none,
                ),
            ),
            (
                "a site",
                made(
                    &Services {
                        site: Some(site("/opt/shop")),
                        ..shop()
                    },
                    &none,
                ),
            ),
            (
                "a site, and no host's Python",
                of(
                    &Services {
                        site: Some(PackagedSite {
                            socket: None,
                            ..site("/srv/it's a $shop")
                        }),
                        ..shop()
                    },
                    &none,
                    None,
                    None,
                    &Tree::new(),
                )
                .unwrap(),
            ),
            (
                "odd prefix",
                made(
                    &Services {
                        prefix: path("/srv/it's a $shop"),
                        ..shop()
                    },
                    &phases(),
                ),
            ),
        ]
    }

    #[test]
    fn an_application_without_anything_ends_what_the_version_before_had() {
        let scriptlets = of(
            &bare(),
            &ScriptletPhases::default(),
            Some(&HostPython::system(PYTHON)),
            None,
            &Tree::new(),
        )
        .unwrap();
        let names: Vec<&str> = scripts(&scriptlets)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(
            names,
            ["deb/preinst", "deb/postinst", "deb/postrm", "rpm/posttrans"]
        );
        let users = Services {
            users: shop().users,
            ..bare()
        };
        let scriptlets = of(
            &users,
            &ScriptletPhases::default(),
            Some(&HostPython::system(PYTHON)),
            None,
            &Tree::new(),
        )
        .unwrap();
        let names: Vec<&str> = scripts(&scriptlets)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(
            names,
            [
                "deb/preinst",
                "deb/postinst",
                "deb/postrm",
                "rpm/pre",
                "rpm/posttrans"
            ]
        );
        assert_eq!(scriptlets.deb.pre_depends, ["passwd"]);
        assert_eq!(scriptlets.rpm.requires_pre, ["shadow-utils"]);
    }

    #[test]
    fn every_shell_can_read_the_scripts() {
        for shell in [
            &["dash", "-n"][..],
            &["busybox", "sh", "-n"],
            &["bash", "--posix", "-n"],
        ] {
            let Some(program) = tool(shell[0]) else {
                continue;
            };
            for (application, scriptlets) in applications() {
                for (name, text) in scripts(&scriptlets) {
                    let file = tempfile::NamedTempFile::new().unwrap();
                    std::fs::write(file.path(), text).unwrap();
                    let output =
                        process::output(Command::new(&program).args(&shell[1..]).arg(file.path()))
                            .unwrap();
                    let said = String::from_utf8_lossy(&output.stderr);
                    assert!(
                        output.status.success() && said.is_empty(),
                        "{application}, {name}: {said}"
                    );
                }
            }
        }
    }

    /// Exceptions: lists with one word (SC2043), and variables that a script's head sets and its
    /// body does not need (SC2034).
    #[test]
    fn shellcheck_finds_nothing() {
        let Some(shellcheck) = tool("shellcheck") else {
            return;
        };
        for (application, scriptlets) in applications() {
            for (name, text) in scripts(&scriptlets) {
                let file = tempfile::NamedTempFile::new().unwrap();
                std::fs::write(file.path(), text).unwrap();
                let output = process::output(
                    Command::new(&shellcheck)
                        .args([
                            "--shell=sh",
                            "--severity=warning",
                            "--exclude=SC2034,SC2043",
                        ])
                        .arg(file.path()),
                )
                .unwrap();
                let said = String::from_utf8_lossy(&output.stdout);
                assert!(
                    output.status.success(),
                    "{application}, {name}: {said}\n{text}"
                );
            }
        }
    }

    #[test]
    fn scripts_have_no_gaps_and_no_leftovers_of_their_templates() {
        for (application, scriptlets) in applications() {
            for (name, text) in scripts(&scriptlets) {
                for bad in ["\n\n\n", "{%", "{{", "{#", " \n", "\t"] {
                    assert!(
                        !text.contains(bad),
                        "{application}, {name} has {bad:?}:\n{text}"
                    );
                }
                assert!(text.ends_with('\n'), "{application}, {name}");
                if std::env::var_os("SHOW_SCRIPTS").is_some_and(|shown| shown == application) {
                    use std::io::Write as _;
                    writeln!(std::io::stderr(), "==> {name}\n{text}").unwrap();
                }
            }
        }
    }

    #[test]
    fn byte_code_is_made_before_anything_starts_and_removed_after_everything_has_stopped() {
        let all = of(
            &shop(),
            &phases(),
            Some(&HostPython::system(PYTHON)),
            Some(&compiled("/opt/shop")),
            &Tree::new(),
        )
        .unwrap();
        let before = |text: &Option<String>, first: &str, then: &str| {
            let text = text.as_deref().unwrap();
            text.find(first).expect(first) < text.rfind(then).expect(then)
        };
        assert!(before(&all.deb.postinst, "compileall", "invoke start"));
        assert!(before(&all.rpm.posttrans, "compileall", "invoke start"));
        assert!(before(&all.deb.prerm, "invoke stop", "-delete"));
        // rpm itself removes the files of its packages, including ghosts.
        assert!(!all.rpm.preun.unwrap().contains("-delete"));
    }

    #[test]
    fn a_site_is_put_into_place_last_and_taken_away_first() {
        let with_site = Services {
            site: Some(site("/opt/shop")),
            ..shop()
        };
        let none = ScriptletPhases::default();
        let python = HostPython::system(PYTHON);
        let all = of(&with_site, &none, Some(&python), None, &Tree::new()).unwrap();
        let before = |text: &Option<String>, first: &str, then: &str| {
            let text = text.as_deref().unwrap();
            text.find(first).expect(first) < text.rfind(then).expect(then)
        };
        for text in [&all.deb.postinst, &all.rpm.posttrans] {
            assert!(before(text, "activate-nginx admit", "invoke start"));
            assert!(before(text, "invoke start", "activate-nginx put"));
        }
        for text in [&all.deb.prerm, &all.rpm.preun] {
            assert!(before(text, "activate-nginx leave", "invoke stop"));
        }
        assert_eq!(
            all.deb.triggers,
            [
                "interest-noawait /usr/bin/python3.11",
                "interest-noawait /usr/sbin/nginx"
            ]
        );
        assert_eq!(all.rpm.trigger.unwrap().paths, ["/usr/bin", "/usr/sbin"]);
    }

    #[test]
    fn the_stamp_is_about_content_below_the_prefix() {
        use crate::tree::{EntryOrigin, TreeEntry};
        use pkgapp_core::content::Content;
        let origin = std::sync::Arc::new(EntryOrigin {
            label: "the test".into(),
            layer: None,
        });
        let tree = |files: &[(&str, &str, u32)]| {
            let mut tree = Tree::new();
            for (name, text, mode) in files {
                tree.insert(
                    path(name),
                    TreeEntry::file(Content::memory(text.as_bytes()), *mode, &origin),
                )
                .unwrap();
            }
            tree
        };
        let of = |files: &[(&str, &str, u32)]| stamp(&tree(files), &path("/opt/shop"));
        let first = of(&[("/opt/shop/a", "1", 0o644)]);
        assert_eq!(
            first,
            of(&[
                ("/opt/shop/a", "1", 0o644),
                ("/opt/shop/.pkgapp/release.json", "x", 0o644),
                ("/etc/shop/a", "2", 0o644)
            ])
        );
        for other in [
            [("/opt/shop/a", "2", 0o644)],
            [("/opt/shop/b", "1", 0o644)],
            [("/opt/shop/a", "1", 0o755)],
        ] {
            assert!(first != of(&other), "{other:?}");
        }
    }

    #[test]
    fn lines_that_would_swallow_ours_are_refused() {
        for bad in [
            "echo 'open",
            "if true",
            "true )",
            "cat <<END\nno end",
            "case x in",
        ] {
            let phases = ScriptletPhases {
                after_install: lines(bad),
                ..ScriptletPhases::default()
            };
            let error = of(&bare(), &phases, None, None, &Tree::new()).unwrap_err();
            assert_eq!(error.message(), "sh cannot read these lines", "{bad}");
        }
        let good = "cat >/dev/null <<END\n)\nEND\ncase x in x) : ;; esac # it's";
        of(
            &bare(),
            &ScriptletPhases {
                after_install: lines(good),
                ..ScriptletPhases::default()
            },
            None,
            None,
            &Tree::new(),
        )
        .unwrap();
    }

    #[test]
    fn a_tree_with_units_has_a_stamp_and_a_preset() {
        let mut tree = Tree::new();
        insert_into(&mut tree, &bare()).unwrap();
        assert_eq!(tree.dump(), "");
        insert_into(&mut tree, &shop()).unwrap();
        let paths: Vec<&str> = tree.files().map(|(path, _, _)| path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "/opt/shop/.pkgapp/stamp",
                "/usr/lib/systemd/system-preset/50-shop.preset"
            ]
        );
        let text = preset(&shop());
        let enabled: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("enable "))
            .collect();
        let names = "shop-web.socket shop-web.service shop-worker@1.service shop-worker@2.service shop-report.timer shop.target";
        assert_eq!(enabled.join(" "), names);
    }

    #[test]
    fn what_an_upgrade_restarts_and_why() {
        let mut services = shop();
        services.units.push(unit(
            "shop-slow.service",
            &["shop-slow.service"],
            OnUpgrade::Keep,
        ));
        services.units.push(unit(
            "shop-api@.service",
            &["shop-api@1.service"],
            OnUpgrade::Restart,
        ));
        services.units.push(unit(
            "shop-api.socket",
            &["shop-api.socket"],
            OnUpgrade::Keep,
        ));
        let scriptlets = of(
            &services,
            &ScriptletPhases::default(),
            Some(&HostPython::system(PYTHON)),
            None,
            &Tree::new(),
        )
        .unwrap();
        let text = scriptlets.rpm.posttrans.unwrap();
        let lines = |word: &str| {
            let lines = text
                .lines()
                .map(str::trim)
                .filter(|line| line.starts_with(word));
            lines
                .map(|line| line.replace(UNITS, "U"))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            lines("if changed "),
            [
                "if changed U/shop-web.socket; then",
                "if changed /opt/shop/.pkgapp/stamp /etc/shop/ U/shop-web.service U/shop-web.socket; then",
                "if changed /opt/shop/.pkgapp/stamp /etc/shop/ U/shop-worker@.service; then",
                "if changed U/shop-report.timer; then",
                "if changed /opt/shop/.pkgapp/stamp /etc/shop/ U/shop-api@.service U/shop-api.socket; then",
                "if changed U/shop-api.socket; then",
            ]
        );
        assert_eq!(
            lines("if has \"$restart\""),
            [
                "if has \"$restart\" shop-web.socket ||",
                "if has \"$restart\" shop-api.socket ||",
            ]
        );
        assert_eq!(
            lines("hold shop-"),
            ["hold shop-web.service", "hold shop-api@1.service"]
        );
        let trigger = scriptlets.rpm.trigger.unwrap().script;
        let restarted = "for unit in shop-web.service shop-worker@1.service shop-worker@2.service shop-api@1.service; do";
        assert!(trigger.contains(restarted), "{trigger}");
    }
}
