//! Hosts where one is not root: releases lie beside each other in a directory of the login's, and `current` leads to one.
//!
//! ```text
//! INTO/releases/1.4.2-3f9a0c1d22be/   a release, as the tarball has it; it finds itself, so it runs from there
//! INTO/current                        a symbolic link to one of them: the switch is a rename
//! INTO/shared/                        what outlives releases: etc/, var/, and the paths that `shared` names
//! INTO/.pkgapp/                       what a push keeps there; see the module above
//! ```
//!
//! What a package would put outside of its prefix lies in the tarball's `host/`. `map.sh` makes of it what a login can have:
//! units of the user's systemd, lines of the user's crontab, configuration in `shared/etc`.

use super::artifact::Candidate;
use super::facts::Facts;
use super::script::Seat;
use crate::app::{SharedPath, Tarball, UnitsOf};
use crate::error::{Error, Result};
use crate::format::read::ArtifactKind;
use crate::name::{AppName, PythonMinor};

/// Where releases lie if nothing else is said.
pub fn default_into(name: &AppName) -> String {
    format!("~/{name}")
}

/// What `[deploy.NAME]` or `--into` say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// The directory; it may begin with `~/`.
    pub into: String,
    /// What all releases share.
    pub shared: Vec<SharedPath>,
    /// Who runs units.
    pub units: UnitsOf,
}

impl Unpacked {
    /// Returns what the configuration and the command line say; `None`: packages are installed.
    ///
    /// # Errors
    /// `into` is no directory that releases can lie in.
    pub fn of(name: &AppName, tarball: Option<&Tarball>, into: Option<&str>) -> Result<Option<Self>> {
        let Some(into) = into.map(crate::app::check_into).transpose()? else {
            return Ok(tarball.map(|tarball| Self {
                into: tarball.into.clone().unwrap_or_else(|| default_into(name)),
                shared: tarball.shared.clone(),
                units: tarball.units,
            }));
        };
        let tarball = tarball.cloned().unwrap_or_default();
        Ok(Some(Self { into, shared: tarball.shared, units: tarball.units }))
    }

    /// Returns where a host keeps what it must know, before or after it has told its home directory.
    pub fn seat(&self, facts: Option<&Facts>) -> Seat {
        let into = facts.and_then(|facts| facts.own.as_ref()).map_or(&self.into, |own| &own.into);
        Seat::own(into, self.units)
    }
}

/// What a host says of the directory and of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Own {
    /// The directory, absolute.
    pub into: String,
    /// What can be unpacked: `zstd`, `gzip`, `xz`.
    pub unpackers: Vec<String>,
    /// Whether the login's services outlive it.
    pub lingers: bool,
    /// Whether there is crontab(1).
    pub crontab: bool,
    /// Whether there is logrotate(8).
    pub logrotate: bool,
    /// The directory that should be writable and is not.
    pub unwritable: Option<String>,
    /// What lies where `current` should, and is no link.
    pub taken: Option<String>,
}

/// What a tarball asks of a host; read from the whole of it, so only when it is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Asks {
    /// The interpreter that must be there, e.g. `/usr/bin/python3.11`; `None` if it brings its own.
    pub python: Option<PythonMinor>,
    /// The oldest glibc, by the tags of its wheels.
    pub glibc: Option<(u16, u16)>,
    /// Whether it has units.
    pub units: bool,
    /// Whether it has cron jobs.
    pub crontab: bool,
    /// Whether it has logs to rotate.
    pub logrotate: bool,
}

impl Asks {
    /// Reads the names in a tarball, and the wheels in its record.
    ///
    /// # Errors
    /// It is damaged.
    pub fn of(artifact: &crate::format::read::Artifact, record: &crate::release::Record) -> Result<Self> {
        let mut asks = Self { glibc: glibc(record), ..Self::default() };
        artifact.names(|path, link| {
            let Some((_, path)) = path.split_once('/') else { return };
            asks.units |= path.starts_with("host/usr/lib/systemd/system/");
            asks.crontab |= path.starts_with("host/etc/cron.d/");
            asks.logrotate |= path.starts_with("host/etc/logrotate.d/");
            if path == "bin/python" && link.is_some_and(|link| link.starts_with('/')) {
                asks.python = Some(record.python);
            }
        })?;
        Ok(asks)
    }
}

/// The glibc that a release needs. A wheel runs with the oldest one that it has a tag for (PEP 600).
fn glibc(record: &crate::release::Record) -> Option<(u16, u16)> {
    let wheels = record.distributions.iter().map(|distribution| distribution.wheel.as_str());
    wheels.filter_map(|wheel| tags_of(wheel).filter_map(glibc_of_tag).min()).max()
}

/// The platform tags of a wheel's file name.
fn tags_of(wheel: &str) -> impl Iterator<Item = &str> {
    wheel.trim_end_matches(".whl").rsplit('-').next().unwrap_or_default().split('.')
}

fn glibc_of_tag(tag: &str) -> Option<(u16, u16)> {
    let rest = tag.strip_prefix("manylinux")?;
    // The names of before PEP 600.
    for (name, glibc) in [("1_", (2, 5)), ("2010_", (2, 12)), ("2014_", (2, 17))] {
        if rest.starts_with(name) {
            return Some(glibc);
        }
    }
    let mut numbers = rest.strip_prefix('_')?.split('_').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Returns the program that unpacks a tarball of this name; `None` if it is not compressed.
fn unpacker(file: &str) -> Option<&'static str> {
    let all = [(".zst", "zstd"), (".gz", "gzip"), (".xz", "xz")];
    all.into_iter().find_map(|(end, program)| file.ends_with(end).then_some(program))
}

/// Finds the tarball for a host: of its architecture, and one that it can unpack; the smallest of several.
///
/// # Errors
/// There is none; the error says what would help.
pub(super) fn choose(artifacts: &[Candidate], facts: &Facts) -> Result<usize> {
    let own = facts.own.as_ref().ok_or_else(|| Error::bug("a host has not told of its directories"))?;
    let tarballs = || artifacts.iter().enumerate().filter(|(_, artifact)| artifact.kind == ArtifactKind::Tar);
    if tarballs().next().is_none() {
        return Err(Error::new("releases are unpacked there from a tarball, and there is none")
            .hint("make one: `pkgapp build --format tar`"));
    }
    let of_arch = |artifact: &Candidate| artifact.arch.as_deref().is_none_or(|arch| arch == facts.arch);
    if !tarballs().any(|(_, artifact)| of_arch(artifact)) {
        let archs: Vec<&str> = tarballs().filter_map(|(_, artifact)| artifact.arch.as_deref()).collect();
        return Err(Error::new(format!("the host is {}, and the tarball is for {}", facts.arch, archs.join(", ")))
            .hint(format!("build on a machine with {}", facts.arch)));
    }
    let unpackable = |artifact: &Candidate| match unpacker(&artifact.file) {
        Some(program) => own.unpackers.iter().any(|known| known == program),
        None => true,
    };
    let fitting = tarballs().filter(|(_, artifact)| of_arch(artifact) && unpackable(artifact));
    fitting.min_by_key(|(_, artifact)| artifact.size).map(|(index, _)| index).ok_or_else(|| {
        let wanted: Vec<&str> = tarballs().filter_map(|(_, artifact)| unpacker(&artifact.file)).collect();
        let error = Error::new(format!("the host lacks tar or {} to unpack the tarball", wanted.join(", ")));
        error.hint("every host has gzip: `pkgapp build --format tar.gz`")
    })
}

/// Everything that speaks against a tarball on a host.
pub(super) fn against(artifact: &Candidate, facts: &Facts) -> Vec<Error> {
    let mut errors = unfit(facts);
    let Some(asks) = &artifact.asks else { return errors };
    if let Some(python) = asks.python
        && !facts.pythons.contains(&python)
    {
        let error = Error::new(format!("{} needs `/usr/bin/python{python}`, which is missing there", artifact.file));
        errors.push(error.hint(match facts.pythons.last() {
            Some(there) => format!("build for `version = \"{there}\"`, or ask root for python{python}"),
            None => format!("ask root for python{python}"),
        }));
    }
    if let (Some(needs), Some(has)) = (asks.glibc, version_pair(&facts.glibc))
        && needs > has
    {
        let (major, minor) = needs;
        let error =
            Error::new(format!("{} needs glibc {major}.{minor}, and the host has {}", artifact.file, facts.glibc));
        errors.push(error.hint("name the host's distribution in `targets` under `[package]`, and build again"));
    }
    let own = facts.own.as_ref();
    if asks.crontab && own.is_some_and(|own| !own.crontab) {
        let error = Error::new(format!("{} has cron jobs, and there is no crontab there", artifact.file));
        errors.push(error.hint("declare them as `[timer.NAME]`, or ask root for cron"));
    }
    errors
}

/// What speaks against any release in the host's directory.
pub(super) fn unfit(facts: &Facts) -> Vec<Error> {
    let Some(own) = &facts.own else { return vec![Error::bug("a host has not told of its directories")] };
    let mut errors = Vec::new();
    if let Err(error) = crate::app::check_into(&own.into) {
        errors.push(error);
    }
    if let Some(place) = &own.unwritable {
        let error = Error::new(format!("`{}` can't be made: `{place}` is not writable for `{}`", own.into, facts.user));
        errors.push(error.hint("choose another place with `into` in `[deploy.NAME]`"));
    }
    if let Some(place) = &own.taken {
        let error = Error::new(format!("`{place}` is there, and is no link that pkgapp has made"));
        errors.push(error.hint("move it away, or choose another place with `into` in `[deploy.NAME]`"));
    }
    errors
}

/// What is to be known about a host besides.
pub(super) fn found(artifact: &Candidate, facts: &Facts, units: UnitsOf) -> Vec<String> {
    let (Some(own), Some(asks)) = (&facts.own, &artifact.asks) else { return Vec::new() };
    let mut found = Vec::new();
    if asks.units && units == UnitsOf::User && !own.lingers {
        found.push(format!("`{}` does not linger yet; it is tried to have it so", facts.user));
    }
    if asks.units && units == UnitsOf::None {
        found.push("the release has units, and nothing starts them".to_owned());
    }
    if asks.logrotate && !own.logrotate {
        found.push("there is no logrotate, so nothing rotates the logs".to_owned());
    }
    found
}

fn version_pair(text: &str) -> Option<(u16, u16)> {
    let (major, minor) = text.split_once('.')?;
    let minor = minor.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wheel_needs_the_oldest_glibc_that_it_has_a_tag_for() {
        let of = |wheel| tags_of(wheel).filter_map(glibc_of_tag).min();
        assert_eq!(of("a-1-cp310-abi3-manylinux_2_26_x86_64.manylinux_2_28_x86_64.whl"), Some((2, 26)));
        assert_eq!(of("a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"), Some((2, 17)));
        assert_eq!(of("a-1-cp311-cp311-manylinux1_x86_64.whl"), Some((2, 5)));
        assert_eq!(of("a-1-py3-none-any.whl"), None);
        assert_eq!(of("a-1-cp311-cp311-linux_x86_64.whl"), None, "nothing is known of it");
    }
}
