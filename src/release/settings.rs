//! The files with the values of `[settings]`: one for cron jobs, and one for administrators.
//!
//! Units have the values as variables. `/etc/NAME/settings.env` lists them as comments, with types
//! and help. A line without its `#` overrides the value on that host, and new defaults of later
//! versions take effect even if an administrator has changed the file.

use std::fmt::Write as _;
use std::sync::Arc;

use pkgapp_config::{Config, Setting, SettingSource, SettingType};
use pkgapp_core::content::Content;
use pkgapp_core::error::Result;
use pkgapp_core::path::InstallPath;
use pkgapp_core::text::environment_value;

use crate::services;
use crate::tree::{EntryOrigin, FileOwner, Tree, TreeEntry};

/// Adds the files to the tree.
///
/// # Errors
/// Another source has a file at the same place.
pub fn insert_into(tree: &mut Tree, app: &Config) -> Result<()> {
    let origin = Arc::new(EntryOrigin {
        label: "`[settings]`".to_owned(),
        layer: None,
    });
    let file =
        |text: String, mode| TreeEntry::file(Content::memory(text.into_bytes()), mode, &origin);
    if let Some(path) = app.settings_file() {
        let access = services::settings_access(app)?;
        let default = FileOwner::default();
        let entry = TreeEntry {
            owner: FileOwner {
                group: access.group.map_or(default.group, Into::into),
                ..default
            },
            ..file(manual(app, &path), access.mode).config()
        };
        tree.insert(path, entry)?;
    }
    if let Some((path, settings)) = app.settings_of_crons() {
        let head = "# Made by pkgapp: the values of the settings, for cron jobs.\n".to_owned();
        let lines = settings.iter().filter_map(|setting| {
            Some(format!(
                "{}={}\n",
                setting.name,
                environment_value(setting.value()?)
            ))
        });
        tree.insert(
            path,
            file(lines.fold(head, |text, line| text + &line), 0o644),
        )?;
    }
    Ok(())
}

/// Returns the text of the file for administrators.
fn manual(app: &Config, path: &InstallPath) -> String {
    let mut text = format!(
        "# Settings of {}. A line without its `#` replaces the value of the package on this host.\n\
         # Made by pkgapp. Changes to this file survive upgrades; the new one is then put beside it.\n",
        app.name
    );
    for setting in &app.settings {
        text.push('\n');
        for line in explained(app, setting, path) {
            // A backslash at the end would continue the comment on the next line.
            let end = if line.ends_with('\\') { " " } else { "" };
            _ = writeln!(text, "# {line}{end}");
        }
        if setting.setting_type != SettingType::Secret {
            let value = setting.value().map(environment_value).unwrap_or_default();
            _ = writeln!(text, "#{}={value}", setting.name);
        }
    }
    text
}

/// Returns the comments above a setting.
fn explained(app: &Config, setting: &Setting, path: &InstallPath) -> Vec<String> {
    let described = setting.setting_type.described();
    let default = setting
        .default
        .as_ref()
        .filter(|default| Some(default.value.as_str()) != setting.value())
        .map(|default| format!("; default: {}", environment_value(&default.value)));
    let without = if setting.is_optional {
        "; optional"
    } else if setting.source == SettingSource::Host {
        "; each host needs a value"
    } else {
        ""
    };
    let place = app.place_on_hosts(setting).filter(|place| place != path);
    let elsewhere = match place {
        Some(_) if let Some(variable) = setting.file_variable() => {
            format!("{}: in a file, whose path is in {variable}", setting.name)
        }
        Some(place) => format!("{}: in {place}", setting.name),
        None if setting.setting_type == SettingType::Secret => setting.name.clone(),
        None => String::new(),
    };
    let head = if elsewhere.is_empty() {
        described
    } else {
        format!("{elsewhere} ({described})")
    };
    let line = format!("{head}{}{without}", default.unwrap_or_default());
    setting.help.iter().cloned().chain([line]).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::tree::UpgradeRole;

    const SHOP: &str = r#"
[app]
name = "shop"
version = "1.0"
include = ["x"]
[python]
version = "3.11"

[settings.SHOP_TITLE]
type = "string"
default = "Tick & \"Tock\" $HOME `id` \\ größe"
help = 'What customers see \'
[settings.SHOP_PAGE_SIZE]
type = "integer"
default = 24
minimum = 1
help = "Products on a page"
[settings.SHOP_MEDIA]
type = "path"
default = "/var/lib/shop/media"
[settings.SHOP_HOSTS]
type = "list"
default = []
[settings.SHOP_PLACE]
type = "choice"
choices = ["north", "south"]
from = "host"
[settings.SHOP_MAIL]
type = "url"
optional = true
[settings.SHOP_CERT]
type = "secret"
deliver = "file"
optional = true
[settings.SECRET_KEY]
type = "secret"

[service.web]
exec = "/bin/true"
environment-file = "/etc/shop/secrets.env"
[cron.purge]
exec = "/bin/true"
schedule = "@daily"
"#;

    fn made(text: &str) -> (Config, Tree) {
        let directory = tempfile::tempdir().unwrap();
        fs_err::write(directory.path().join("pkgapp.toml"), text).unwrap();
        fs_err::write(directory.path().join("x"), "").unwrap();
        let app = Config::load(None, directory.path()).unwrap();
        let app = app.with_values(&["SHOP_PAGE_SIZE=48".to_owned()]).unwrap();
        let mut tree = Tree::new();
        insert_into(&mut tree, &app).unwrap();
        (app, tree)
    }

    fn text_at(tree: &Tree, path: &str) -> String {
        let mut files = tree.files();
        let (_, _, content) = files.find(|(its, ..)| its.as_str() == path).unwrap();
        String::from_utf8(content.read().unwrap()).unwrap()
    }

    #[test]
    fn administrators_find_each_setting_with_its_help() {
        let (_, tree) = made(SHOP);
        let path = InstallPath::parse("/etc/shop/settings.env").unwrap();
        let entry = tree.get(&path).unwrap();
        assert_eq!(entry.role, UpgradeRole::Config);
        assert_eq!((entry.mode, &*entry.owner.group), (0o640, "shop"));
        let expected = r#"# Settings of shop. A line without its `#` replaces the value of the package on this host.
# Made by pkgapp. Changes to this file survive upgrades; the new one is then put beside it.

# What customers see \ 
# string
#SHOP_TITLE="Tick & \"Tock\" \$HOME \`id\` \\ größe"

# Products on a page
# integer, 1 or more; default: 24
#SHOP_PAGE_SIZE=48

# path, absolute
#SHOP_MEDIA=/var/lib/shop/media

# list, separated by commas
#SHOP_HOSTS=

# choice, north | south; each host needs a value
#SHOP_PLACE=

# url; optional
#SHOP_MAIL=

# SHOP_CERT: in a file, whose path is in SHOP_CERT_FILE (secret); optional

# SECRET_KEY: in /etc/shop/secrets.env (secret); each host needs a value
"#;
        similar_asserts::assert_eq!(text_at(&tree, path.as_str()), expected);
    }

    #[test]
    fn cron_jobs_and_shells_read_the_values_that_were_meant() {
        let Some(sh) = pkgapp_testing::tool("sh") else {
            return;
        };
        let (app, tree) = made(SHOP);
        let text = text_at(&tree, "/opt/shop/.pkgapp/settings.env");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("values");
        // Uncommented lines have the same meaning.
        let manual = text_at(&tree, "/etc/shop/settings.env");
        let uncommented: String = manual
            .lines()
            .filter_map(|line| line.strip_prefix('#').filter(|line| !line.starts_with(' ')))
            .map(|line| format!("{line}\n"))
            .collect();
        let reader = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../templates/with-environment.sh"
        );
        let names = ["SHOP_TITLE", "SHOP_PAGE_SIZE", "SHOP_HOSTS"];
        let value = |name: &&str| {
            let found = app.settings.iter().find(|setting| setting.name == *name);
            format!("{}|", found.unwrap().value().unwrap())
        };
        let expected: String = names.iter().map(value).collect();
        for text in [text, uncommented] {
            fs_err::write(&file, text).unwrap();
            let print = "printf '%s|' \"$SHOP_TITLE\" \"$SHOP_PAGE_SIZE\" \"$SHOP_HOSTS\"";
            let by_reader = pkgapp_testing::run(
                Command::new(&sh)
                    .arg(reader)
                    .arg(&file)
                    .args(["--", "sh", "-c", print]),
            );
            let sourced = format!(". {}; {print}", file.display());
            let by_shell = pkgapp_testing::run(Command::new(&sh).args(["-c", &sourced]));
            assert_eq!((by_reader, by_shell), (expected.clone(), expected.clone()));
        }
    }

    #[test]
    fn who_reads_the_file_decides_who_may() {
        let other = SHOP.replace("schedule =", "user = \"ada\"\nschedule =");
        let (app, _) = made(&other);
        assert_eq!(services::settings_access(&app).unwrap().mode, 0o644);
        let nothing = SHOP.split("[service.web]").next().unwrap();
        let (app, tree) = made(nothing);
        assert_eq!(services::settings_access(&app).unwrap().mode, 0o644);
        assert!(
            text_at(&tree, "/etc/shop/settings.env")
                .ends_with("\n# SECRET_KEY (secret); each host needs a value\n")
        );
    }

    #[test]
    fn without_settings_there_is_no_file() {
        let (head, _) = SHOP.split_once("[settings").unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs_err::write(directory.path().join("pkgapp.toml"), head).unwrap();
        fs_err::write(directory.path().join("x"), "").unwrap();
        let app = Config::load(None, directory.path()).unwrap();
        let mut tree = Tree::new();
        insert_into(&mut tree, &app).unwrap();
        assert_eq!(tree.iter().count(), 0);
    }
}
