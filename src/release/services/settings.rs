//! The settings of a service, read from its unit in a package, for a command that must run in the
//! same way.
//!
//! The parser accepts units as [`super::systemd`] writes them, with one setting per line. In a
//! package that was changed by others, other lines are taken as they are, or ignored.

use std::collections::BTreeMap;

use pkgapp_core::error::Result;
use pkgapp_core::name::AppName;

use super::{UNITS, systemd};

/// Settings that only a service needs: its command, its readiness, and its restarts.
const OF_SERVICES: [&str; 8] = [
    "Type",
    "Sockets",
    "WorkingDirectory",
    "PIDFile",
    "BusName",
    "NotifyAccess",
    "RemainAfterExit",
    "KillMode",
];

/// The `[Service]` section of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceUnit {
    /// The file name of the unit, e.g. `shop-web.service` or `shop-worker@.service`.
    pub file: String,
    settings: Vec<(String, String)>,
}

impl ServiceUnit {
    /// Returns the possible paths of the unit for a `[service.PART]` or a `[timer.PART]` in a
    /// package.
    pub fn paths(app: &AppName, part: &str) -> [String; 2] {
        [
            format!("{UNITS}/{app}-{part}.service"),
            format!("{UNITS}/{app}-{part}@.service"),
        ]
    }

    /// Parses a unit.
    pub fn parse(path: &str, text: &str) -> Self {
        let file = path.rsplit('/').next().unwrap_or(path).to_owned();
        let mut inside = false;
        let mut settings = Vec::new();
        for line in text.lines() {
            if line.starts_with('[') {
                inside = line.trim_end() == "[Service]";
            } else if let Some((name, value)) = line
                .split_once('=')
                .filter(|_| inside && !line.starts_with(['#', ';']))
            {
                settings.push((name.trim().to_owned(), value.trim().to_owned()));
            }
        }
        Self { file, settings }
    }

    /// Returns the last value of a setting.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.settings
            .iter()
            .rev()
            .find(|(its, _)| its == name)
            .map(|(_, value)| value.as_str())
    }

    /// Returns the variables of `Environment=`, except for those that only systemd knows, such as
    /// the number of an instance.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let lines = self
            .settings
            .iter()
            .filter(|(name, value)| name == "Environment" && !has_specifier(value));
        let words = lines.flat_map(|(_, value)| words(value));
        let variables = words.filter_map(|word| {
            Some(word.split_once('=')?).map(|(name, value)| (name.to_owned(), value.to_owned()))
        });
        variables.collect()
    }

    /// Returns the files of `EnvironmentFile=`; later files take precedence.
    pub fn environment_files(&self) -> Vec<String> {
        let files = self
            .settings
            .iter()
            .filter(|(name, _)| name == "EnvironmentFile");
        files
            .map(|(_, value)| value.trim_start_matches('-').replace("%%", "%"))
            .collect()
    }

    /// Returns the lines for a command that must run like the service: the user and groups,
    /// directories, variables, limits, and the sandbox. `relax` names settings of the sandbox to
    /// leave out.
    ///
    /// # Errors
    /// `relax` names a setting that neither the unit nor the sandbox has.
    pub fn taken_over(&self, relax: &[String]) -> Result<Vec<String>> {
        for name in relax {
            if !self.settings.iter().any(|(its, _)| its == name) {
                systemd::check_relaxed(name)?;
            }
        }
        let kept = |name: &str, value: &str| {
            let stays = name.starts_with("Exec")
                || name.starts_with("Restart")
                || OF_SERVICES.contains(&name);
            // The host decides about the files, because those of the package are not yet in place.
            let elsewhere = name == "EnvironmentFile"
                || (name == "Environment" && value.starts_with("INSTANCE="));
            !stays && !elsewhere && !relax.iter().any(|relaxed| relaxed == name)
        };
        let lines = self
            .settings
            .iter()
            .filter(|(name, value)| kept(name, value));
        Ok(lines
            .map(|(name, value)| format!("{name}={value}"))
            .collect())
    }
}

/// Returns whether a value holds a specifier (systemd.unit(5)).
fn has_specifier(value: &str) -> bool {
    value.replace("%%", "").contains('%')
}

/// Splits a value into words, reversing [`super::unit::quoted`].
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quoted = false;
    let mut chars = text.chars();
    let finish = |word: Option<Vec<u8>>, words: &mut Vec<String>| {
        // A doubled `%` stands for itself; a single one begins a specifier.
        words.extend(word.map(|word| String::from_utf8_lossy(&word).replace("%%", "%")));
    };
    while let Some(c) = chars.next() {
        let mut push = |text: &[u8]| word.get_or_insert_default().extend(text);
        match c {
            '"' => {
                quoted = !quoted;
                push(b"");
            }
            ' ' | '\t' if !quoted => finish(word.take(), &mut words),
            '\\' => push(&escaped(&mut chars)),
            c => push(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    finish(word, &mut words);
    words
}

/// Returns the bytes of the escape sequence after a backslash.
fn escaped(chars: &mut std::str::Chars<'_>) -> Vec<u8> {
    match chars.next() {
        Some('n') => vec![b'\n'],
        Some('t') => vec![b'\t'],
        Some('x') => {
            let digits: String = chars.take(2).collect();
            u8::from_str_radix(&digits, 16).map_or_else(|_| digits.into_bytes(), |byte| vec![byte])
        }
        Some(other) => other.to_string().into_bytes(),
        None => vec![b'\\'],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::unit::variable;
    use super::*;

    proptest! {
        #[test]
        fn variables_are_read_as_they_were_written(values in prop::collection::vec("[^\0]{0,30}", 1..4)) {
            let lines: Vec<String> = values
                .iter()
                .enumerate()
                .map(|(index, value)| format!("Environment={}", variable(&format!("V{index}"), value)))
                .collect();
            let unit = ServiceUnit::parse("a.service", &format!("[Service]\n{}\n", lines.join("\n")));
            let expected: BTreeMap<String, String> =
                values.into_iter().enumerate().map(|(index, value)| (format!("V{index}"), value)).collect();
            prop_assert_eq!(unit.environment(), expected);
        }

        #[test]
        fn any_text_is_read(text in "(\\[Service\\]\n)?([A-Z\"\\\\x= \n]|\\PC){0,60}") {
            let unit = ServiceUnit::parse("a.service", &text);
            _ = (unit.environment(), unit.environment_files(), unit.taken_over(&[]));
        }
    }

    const UNIT: &str = "# Made by pkgapp.\n\n[Unit]\nDescription=shop web\nAfter=network.target\n\n[Service]\nType=notify\n\
        ExecStart=/opt/shop/bin/web\nUser=shop\nSupplementaryGroups=redis\nWorkingDirectory=/srv\nEnvironment=A=b\n\
        Environment=INSTANCE=%i\nEnvironmentFile=/etc/shop/50%%.env\nEnvironmentFile=-/etc/default/shop\nRestart=on-failure\n\
        RestartSec=1s\nStateDirectory=shop\nStateDirectoryMode=0750\nProtectSystem=strict\nMemoryMax=500M\n\n[Install]\n\
        WantedBy=shop.target\n";

    #[test]
    fn what_is_a_services_own_is_not_taken_over() {
        let unit = ServiceUnit::parse("/usr/lib/systemd/system/shop-web@.service", UNIT);
        assert_eq!(
            (unit.file.as_str(), unit.get("User"), unit.get("After")),
            ("shop-web@.service", Some("shop"), None)
        );
        assert_eq!(
            unit.environment(),
            BTreeMap::from([("A".into(), "b".into())])
        );
        assert_eq!(
            unit.environment_files(),
            ["/etc/shop/50%.env", "/etc/default/shop"]
        );
        let rest = "User=shop SupplementaryGroups=redis Environment=A=b StateDirectory=shop StateDirectoryMode=0750";
        let lines = unit
            .taken_over(&[
                "ProtectSystem".into(),
                "MemoryMax".into(),
                "PrivateTmp".into(),
            ])
            .unwrap();
        assert_eq!(lines.join(" "), rest);
        let error = unit.taken_over(&["PrivateTmpp".into()]).unwrap_err();
        assert!(error.to_string().contains("PrivateTmpp"), "{error}");
    }
}
