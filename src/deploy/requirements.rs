//! What a tarball asks of a host. A package says so in its metadata, for a package manager to read;
//! of a tarball it is read from the names in it and from its record.

use pkgapp_core::error::Result;
use pkgapp_core::name::PythonMinor;
use pkgapp_format::read::PackageReader;
use pkgapp_release::release::ReleaseRecord;
use pkgapp_release::runtime::SHARED;

/// What a tarball asks of a host; read from the whole of it, so only when it is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct HostRequirements {
    /// The interpreter that must be there, e.g. `/usr/bin/python3.11`; `None` if it brings its
    /// own.
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

impl HostRequirements {
    /// Reads the names in a tarball, and the wheels in its record.
    ///
    /// # Errors
    /// It is damaged.
    pub fn of(artifact: &PackageReader, record: &ReleaseRecord) -> Result<Self> {
        let mut asks = Self {
            glibc: glibc(record),
            ..Self::default()
        };
        artifact.names(|path, link| {
            let Some((_, path)) = path.split_once('/') else {
                return;
            };
            asks.units |= path.starts_with("host/usr/lib/systemd/system/");
            asks.crontab |= path.starts_with("host/etc/cron.d/");
            asks.logrotate |= path.starts_with("host/etc/logrotate.d/");
            let is_hosts = |link: &str| link.starts_with('/') && !link.starts_with(SHARED);
            if path == "bin/python" && link.is_some_and(is_hosts) {
                asks.python = record.python;
            }
        })?;
        Ok(asks)
    }
}

/// The glibc that a release needs. A wheel runs with the oldest one that it has a tag for (PEP
/// 600).
fn glibc(record: &ReleaseRecord) -> Option<(u16, u16)> {
    let wheels = record
        .distributions
        .iter()
        .map(|distribution| distribution.wheel.as_str());
    wheels
        .filter_map(|wheel| tags_of(wheel).filter_map(glibc_of_tag).min())
        .max()
}

/// The platform tags of a wheel's file name.
fn tags_of(wheel: &str) -> impl Iterator<Item = &str> {
    wheel
        .trim_end_matches(".whl")
        .rsplit('-')
        .next()
        .unwrap_or_default()
        .split('.')
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wheel_needs_the_oldest_glibc_that_it_has_a_tag_for() {
        let of = |wheel| tags_of(wheel).filter_map(glibc_of_tag).min();
        assert_eq!(
            of("a-1-cp310-abi3-manylinux_2_26_x86_64.manylinux_2_28_x86_64.whl"),
            Some((2, 26))
        );
        assert_eq!(
            of("a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"),
            Some((2, 17))
        );
        assert_eq!(of("a-1-cp311-cp311-manylinux1_x86_64.whl"), Some((2, 5)));
        assert_eq!(of("a-1-py3-none-any.whl"), None);
        assert_eq!(
            of("a-1-cp311-cp311-linux_x86_64.whl"),
            None,
            "nothing is known of it"
        );
    }
}
