//! The Python packaging standards, through uv's crates.
//!
//! uv's component crates promise no stability and are pinned to one version. Only this crate uses
//! them, so that an upgrade is reviewed in one place.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::too_many_lines,
        reason = "a test that unwraps fails with the value, and may hold a long table"
    )
)]

pub mod egg;

pub use uv_distribution_filename::{
    BuildTag, DistFilename, LegacySourceDistExtension, SourceDistExtension, SourceDistFilename,
    WheelFilename,
};
pub use uv_netrc as netrc;
pub use uv_normalize::{ExtraName, GroupName, PackageName};
pub use uv_pep440::{
    LocalSegment, LocalVersionSlice, Operator, Version, VersionSpecifier, VersionSpecifiers,
    VersionSpecifiersParseError,
};
pub use uv_pep508::{MarkerEnvironment, MarkerTree, Pep508Error, Requirement, VersionOrUrl};
pub use uv_platform_tags::{IncompatibleTag, TagCompatibility, TagPriority, Tags};
pub use uv_pypi_types::{
    HashAlgorithm, HashDigest, LenientRequirement, LenientVersionSpecifiers, Metadata23,
    VerbatimParsedUrl,
};

use std::path::PathBuf;
use std::str::FromStr;

use uv_pep508::{MarkerEnvironmentBuilder, StringVersion};
use uv_platform_tags::{Os, Platform, TagsOptions};

use pkgapp_core::error::{Context, Error, Result};
use pkgapp_core::name::{Arch, PythonMinor};
use std::fmt;
use url::Url;
use uv_redacted::DisplaySafeUrl;

/// Returns the distribution of a `Requires-Dist`, whatever its marker; `None` if the text is not a
/// requirement.
pub fn required(text: &str) -> Option<PackageName> {
    Some(
        LenientRequirement::<VerbatimParsedUrl>::from_str(text)
            .ok()
            .map(Requirement::from)?
            .name,
    )
}

/// The environment for choosing wheels and evaluating markers: a Python on a platform, not the one
/// that runs the build.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The minor version.
    pub python: PythonMinor,
    /// The machine.
    pub arch: Arch,
    /// The oldest glibc that the release must run with.
    pub glibc: (u16, u16),
    /// Wheel tags, best first (PEP 425, PEP 600).
    pub tags: Tags,
    /// Marker values (PEP 508).
    pub markers: MarkerEnvironment,
    /// Whether this machine has the same architecture: code that is compiled here runs there.
    pub native: bool,
    /// Whether the full version is known; otherwise, the markers have the minor version's `.0`.
    pub full_known: bool,
    /// Patch releases on known hosts, if the full version is unknown: the hosts, and the marker
    /// values there.
    pub hosts: Vec<(String, MarkerEnvironment)>,
    /// The interpreter that builds sdists and projects; `None` to look for one on this machine.
    pub builds_with: Option<PathBuf>,
}

/// The highest patch release that is considered if the actual one is unknown.
const LAST_PATCH: u32 = 99;

impl Environment {
    /// Creates an environment of CPython on Linux with glibc. `python_full_version` is the minor
    /// version's `.0` unless the full one is known.
    ///
    /// # Errors
    /// Fails if there are no tags for the combination.
    pub fn new(
        python: PythonMinor,
        full: Option<&str>,
        arch: Arch,
        glibc: (u16, u16),
    ) -> Result<Self> {
        let tags = wheel_tags(python, arch, glibc)?;
        let short = python.to_string();
        let full_known = full.is_some();
        let full = full.map_or_else(|| format!("{python}.0"), str::to_owned);
        let markers = MarkerEnvironment::try_from(MarkerEnvironmentBuilder {
            implementation_name: "cpython",
            implementation_version: &full,
            os_name: "posix",
            platform_machine: arch.as_str(),
            platform_python_implementation: "CPython",
            platform_release: "",
            platform_system: "Linux",
            platform_version: "",
            python_full_version: &full,
            python_version: &short,
            sys_platform: "linux",
        })
        .context(|| format!("`{full}` is not a Python version"))?;
        let native = Arch::host().is_ok_and(|host| host == arch);
        Ok(Self {
            python,
            arch,
            glibc,
            tags,
            markers,
            native,
            full_known,
            hosts: Vec::new(),
            builds_with: None,
        })
    }

    /// Adds a patch release of known hosts, e.g. `3.11.2` of `debian12`.
    pub fn add_host(&mut self, whose: &str, full: &str) {
        let Ok(version) = Version::from_str(full) else {
            return;
        };
        if !self.full_known {
            let markers = self
                .markers
                .clone()
                .with_python_full_version(StringVersion::from(version));
            self.hosts
                .push((format!("Python {full} of {whose}"), markers));
        }
    }

    /// Returns whether a `Requires-Python` accepts this Python: its full version if that is known,
    /// otherwise any patch release of the minor version.
    pub fn admits(&self, requires_python: &VersionSpecifiers) -> bool {
        if self.full_known {
            return requires_python.contains(self.markers.python_full_version());
        }
        let (major, minor) = (u64::from(self.python.major), u64::from(self.python.minor));
        (0..=u64::from(LAST_PATCH))
            .any(|patch| requires_python.contains(&Version::new([major, minor, patch])))
    }

    /// Returns the marker values of the oldest patch release on known hosts, or else of the first
    /// one: pins for it work with later ones, too.
    pub fn oldest_patch(&self) -> MarkerEnvironment {
        let hosts = self.hosts.iter().map(|(_, markers)| markers);
        let oldest = hosts.min_by(|a, b| {
            a.python_full_version()
                .version
                .cmp(&b.python_full_version().version)
        });
        let [first, _] = self.patch_range();
        oldest.cloned().unwrap_or(first)
    }

    /// Returns the marker values of the first and the last patch release that this Python can be;
    /// both are the same if its full version is known. If they disagree about a marker, it is
    /// undecided.
    pub fn patch_range(&self) -> [MarkerEnvironment; 2] {
        // uv's markers have no pre-releases of Python: `<= '3.11.0a6'` holds with 3.11.0. So the
        // first one is just after it.
        [
            format!("{}.0.1", self.python),
            format!("{}.{LAST_PATCH}", self.python),
        ]
        .map(|full| match Version::from_str(&full) {
            Ok(full) if !self.full_known => self
                .markers
                .clone()
                .with_python_full_version(StringVersion::from(full)),
            _ => self.markers.clone(),
        })
    }
}
/// Returns a URL for messages and records, without password, token, and signature.
pub fn shown_url(url: &Url) -> impl fmt::Display + '_ {
    DisplaySafeUrl::ref_cast(url)
}

/// Returns the wheel tags of CPython on Linux, best first.
fn wheel_tags(python: PythonMinor, arch: Arch, glibc: (u16, u16)) -> Result<Tags> {
    let tags_arch = match arch {
        Arch::X86_64 => uv_platform_tags::Arch::X86_64,
        Arch::Aarch64 => uv_platform_tags::Arch::Aarch64,
        Arch::Any => return Err(Error::bug("wheels require an architecture")),
    };
    let platform = Platform::new(
        Os::Manylinux {
            major: glibc.0,
            minor: glibc.1,
        },
        tags_arch,
    );
    let minor = (python.major, python.minor);
    let options = TagsOptions {
        manylinux_compatible: true,
        ..TagsOptions::default()
    };
    Tags::from_env(platform, minor, "cpython", minor, options)
        .context(|| format!("no wheel tags exist for Python {python} on {arch}"))
}
