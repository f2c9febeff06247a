//! The Pythons for which a lock has wheels.
//!
//! Locks of uv, Poetry, PDM, and pylock.toml list files. Pins older than a Python have no wheels
//! for it, and their sources often do not compile with it either.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use toml::Value;

use pkgapp_core::name::{Arch, PythonMinor};
use pkgapp_pypa::{Environment, VersionSpecifiers, WheelFilename};
use pkgapp_wheels::elsewhere::NEWEST_GLIBC;

use super::{PinState, Survey, pins};

/// The wheels in a lock by distribution, which may have several versions for different Pythons.
#[derive(Debug, Default)]
pub(super) struct LockedWheels {
    files: BTreeMap<String, Vec<WheelFilename>>,
    /// The Pythons of each version of a distribution, if the lock states them.
    pythons: BTreeMap<String, Vec<VersionSpecifiers>>,
}

impl LockedWheels {
    /// Reads a lock; a lock without files results in no wheels.
    pub(super) fn read(root: &Path, pins: &PinState) -> Self {
        let (PinState::Found(name) | PinState::Elsewhere(name, true)) = pins else {
            return Self::default();
        };
        if !name.ends_with(".lock") && !name.ends_with(".toml") {
            return Self::default();
        }
        let Ok(table) = pins::toml(&root.join(name)) else {
            return Self::default();
        };
        let mut wheels = Self::default();
        wheels.add_all(&Value::Table(table));
        wheels
    }

    fn add_all(&mut self, value: &Value) {
        match value {
            Value::String(text) if text.ends_with(".whl") => {
                let name = text.rsplit('/').next().unwrap_or(text);
                if let Ok(wheel) = WheelFilename::from_str(name) {
                    self.files
                        .entry(wheel.name.to_string())
                        .or_default()
                        .push(wheel);
                }
            }
            Value::Array(list) => list.iter().for_each(|value| self.add_all(value)),
            Value::Table(table) => {
                let text = |key: &str| table.get(key).and_then(Value::as_str);
                let python = text("requires-python").or_else(|| text("python-versions"));
                let python = python.map(VersionSpecifiers::from_str);
                if let (Some(name), Some(Ok(python))) =
                    (text("name").and_then(pins::normalized), python)
                {
                    self.pythons.entry(name).or_default().push(python);
                }
                table.values().for_each(|value| self.add_all(value));
            }
            _ => {}
        }
    }

    /// Returns the distributions with wheels for machines like this one but none for the given
    /// Python, with their versions.
    fn lacking(&self, python: PythonMinor) -> Vec<(&str, String)> {
        let environment =
            Arch::host().and_then(|arch| Environment::new(python, None, arch, NEWEST_GLIBC));
        let Ok(environment) = environment else {
            return Vec::new();
        };
        let fits = |wheel: &WheelFilename| wheel.compatibility(&environment.tags).is_compatible();
        let lacks = |(name, wheels): &(&String, &Vec<WheelFilename>)| {
            wheels.iter().any(|wheel| is_for(wheel, environment.arch))
                && !wheels.iter().any(fits)
                && self.ships(name, &environment)
        };
        let lacking = self.files.iter().filter(lacks);
        lacking
            .filter_map(|(name, wheels)| Some((name.as_str(), wheels.first()?.version.to_string())))
            .collect()
    }

    /// Returns whether the lock has a version of a distribution for the environment.
    fn ships(&self, name: &str, environment: &Environment) -> bool {
        self.pythons
            .get(name)
            .is_none_or(|pythons| pythons.iter().any(|python| environment.admits(python)))
    }
}

/// Returns whether a wheel was compiled for Linux on an architecture.
fn is_for(wheel: &WheelFilename, arch: Arch) -> bool {
    wheel
        .platform_tags()
        .iter()
        .map(ToString::to_string)
        .any(|tag| tag.starts_with("manylinux") && tag.ends_with(arch.as_str()))
}

impl Survey {
    /// Returns the pins that must be compiled for a Python although they have wheels for others.
    pub fn compiled_for(&self, python: PythonMinor) -> Vec<String> {
        let ours = self
            .wheels
            .lacking(python)
            .into_iter()
            .filter(|(name, _)| self.has(name));
        ours.map(|(name, version)| format!("{name} {version}"))
            .collect()
    }
}
