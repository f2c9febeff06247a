//! Which hosts: `--hosts a,b,web[01:12],user@h:2222,@file,-`, the hosts of a `[deploy.NAME]`, and
//! what `--only` leaves.

use std::collections::{BTreeMap, BTreeSet};

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use pkgapp_config::{Deploy, HostAddress, HostPattern};
use pkgapp_core::error::{Error, Location, Result};
use pkgapp_core::fs;

/// What a host is labelled with: `role` and whatever else the configuration says, each with one
/// value or several.
pub type Labels = BTreeMap<String, BTreeSet<String>>;

/// A host that was selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedHost {
    /// The name that people see: the address as it was written.
    pub name: String,
    /// Where it is, and who logs in.
    pub address: HostAddress,
    /// What it is labelled with.
    pub labels: Labels,
    /// Its own variables: hooks and commands see them in their environment.
    pub variables: BTreeMap<String, String>,
    /// Whose first line is its password for sudo; `None`: the same as on other hosts.
    pub sudo_password_file: Option<PathBuf>,
}

impl SelectedHost {
    /// This machine.
    pub fn local() -> Self {
        let name = "localhost".to_owned();
        let address = HostAddress {
            user: None,
            host: name.clone(),
            port: None,
        };
        Self::new(name, address)
    }

    fn new(name: String, address: HostAddress) -> Self {
        Self {
            name,
            address,
            labels: Labels::new(),
            variables: BTreeMap::new(),
            sudo_password_file: None,
        }
    }
}

/// `--only KEY=VALUE` or `KEY!=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelFilter {
    key: String,
    value: String,
    wanted: bool,
}

impl LabelFilter {
    /// Reads one.
    ///
    /// # Errors
    /// It has no `=`, or no key.
    pub fn parse(text: &str) -> Result<Self> {
        let (key, value, wanted) = match (text.split_once("!="), text.split_once('=')) {
            (Some((key, value)), _) => (key, value, false),
            (None, Some((key, value))) => (key, value, true),
            (None, None) => ("", "", true),
        };
        if key.trim().is_empty() {
            return Err(Error::new(format!("`{text}` selects no hosts"))
                .hint("write `role=web`, or `role!=web` for all others")
                .kind(pkgapp_core::error::ErrorKind::Usage));
        }
        Ok(Self {
            key: key.trim().to_owned(),
            value: value.trim().to_owned(),
            wanted,
        })
    }

    fn matches(&self, labels: &Labels) -> bool {
        labels
            .get(&self.key)
            .is_some_and(|values| values.contains(&self.value))
    }
}

/// Returns whether all filters let a host pass; of those that name the same key one is enough.
pub fn passes(filters: &[LabelFilter], labels: &Labels) -> bool {
    let refused = filters
        .iter()
        .any(|filter| !filter.wanted && filter.matches(labels));
    let keys: BTreeSet<&str> = filters
        .iter()
        .filter(|filter| filter.wanted)
        .map(|filter| filter.key.as_str())
        .collect();
    let any = |key: &str| {
        filters
            .iter()
            .any(|filter| filter.wanted && filter.key == key && filter.matches(labels))
    };
    !refused && keys.into_iter().all(any)
}

/// Returns the hosts, each once, in the order in which they were named.
///
/// `named` is what `--hosts` lists; without any, all of `deploy` are meant. A host that `deploy`
/// knows has its labels, variables and user, also if it is named. `login` is who logs in where no
/// user is written. `root` is the directory that `@file` of the configuration is relative to.
///
/// # Errors
/// Every name that names no host, files that can't be read, and a selection that is empty.
pub fn select(
    named: &[String],
    deploy: Option<&Deploy>,
    login: Option<&str>,
    filters: &[LabelFilter],
    root: &Path,
) -> Result<Vec<SelectedHost>> {
    let mut stdin = false;
    let known = deploy.map_or_else(|| Ok(Vec::new()), |deploy| declared(deploy, login, root))?;
    let mut members: Vec<SelectedHost> = Vec::new();
    if named.is_empty() {
        members = known;
    } else {
        let mut errors = Vec::new();
        for name in named {
            match addresses(name, Path::new(""), &mut stdin) {
                Ok(addresses) => members.extend(
                    addresses
                        .into_iter()
                        .map(|address| adopt(address, login, &known)),
                ),
                Err(error) => errors.push(error),
            }
        }
        if let Some(error) = Error::all(errors) {
            return Err(error);
        }
    }
    let all = members.len();
    let mut seen: BTreeSet<HostAddress> = BTreeSet::new();
    members.retain(|member| passes(filters, &member.labels) && seen.insert(member.address.clone()));
    if members.is_empty() {
        return Err(nothing(all, filters, deploy));
    }
    Ok(members)
}

fn nothing(all: usize, filters: &[LabelFilter], deploy: Option<&Deploy>) -> Error {
    let error = Error::new("no hosts are selected").kind(pkgapp_core::error::ErrorKind::Usage);
    match (all, deploy) {
        (0, None) => {
            error.hint("name them with `--hosts`, or name a `[deploy.NAME]` of the configuration")
        }
        (0, Some(_)) => error.note("the lists of hosts are empty"),
        _ => {
            let filters: Vec<String> = filters.iter().map(ToString::to_string).collect();
            error.note(format!(
                "`--only {}` leaves none of {all}",
                filters.join(" --only ")
            ))
        }
    }
}

impl fmt::Display for LabelFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{}={}",
            self.key,
            if self.wanted { "" } else { "!" },
            self.value
        )
    }
}

/// All hosts of a `[deploy.NAME]`; one that is in several entries has the labels and variables of
/// all.
fn declared(deploy: &Deploy, login: Option<&str>, root: &Path) -> Result<Vec<SelectedHost>> {
    let mut members: Vec<SelectedHost> = Vec::new();
    let mut errors = Vec::new();
    for group in &deploy.hosts {
        let addresses = match addresses(group.pattern.value.as_str(), root, &mut false) {
            Ok(addresses) => addresses,
            Err(error) if error.location().is_some() => {
                errors.push(error);
                continue;
            }
            Err(error) => {
                errors.push(error.at(group.pattern.at.clone()));
                continue;
            }
        };
        for address in addresses {
            let name = address.to_string();
            let address = with_user(address, login);
            let at = members
                .iter()
                .position(|member| member.address == address)
                .unwrap_or(members.len());
            if at == members.len() {
                members.push(SelectedHost::new(name, address));
            }
            for (key, values) in &group.labels {
                members[at]
                    .labels
                    .entry(key.clone())
                    .or_default()
                    .extend(values.iter().cloned());
            }
            members[at].variables.extend(group.variables.clone());
            if let Some(file) = &group.sudo_password_file {
                members[at].sudo_password_file = Some(root.join(file));
            }
        }
    }
    Error::all(errors).map_or(Ok(members), Err)
}

/// A host that was named: with what the configuration knows of it.
fn adopt(address: HostAddress, login: Option<&str>, known: &[SelectedHost]) -> SelectedHost {
    let name = address.to_string();
    let full = with_user(address, login);
    // `web1` also means the configuration's `ops@web1:2222`, if only one of its hosts is called so.
    let mut same = known
        .iter()
        .filter(|member| member.address.host == full.host);
    let known = match known.iter().find(|member| member.address == full) {
        Some(member) => Some(member),
        None => same.next().filter(|_| same.next().is_none()),
    };
    match known {
        Some(member) => {
            let address = if name == full.host {
                member.address.clone()
            } else {
                full
            };
            SelectedHost {
                name,
                address,
                ..member.clone()
            }
        }
        None => SelectedHost::new(name, full),
    }
}

fn with_user(address: HostAddress, login: Option<&str>) -> HostAddress {
    let user = address.user.or_else(|| login.map(str::to_owned));
    HostAddress { user, ..address }
}

/// The addresses that one element of a list means: a pattern, `@FILE` or `-`.
fn addresses(name: &str, root: &Path, read_stdin: &mut bool) -> Result<Vec<HostAddress>> {
    if name == "-" {
        if std::mem::replace(read_stdin, true) {
            return Err(Error::new(
                "`-` is given twice, and standard input can be read only once",
            ));
        }
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|error| {
                Error::new("cannot read the hosts from standard input").cause(error)
            })?;
        return listed(&text, Path::new("<stdin>"));
    }
    match name.strip_prefix('@') {
        Some(file) => {
            let file = root.join(file);
            listed(&fs::read_to_string(&file)?, &file)
        }
        None => HostPattern::parse(name)?.expand(),
    }
}

/// The hosts of a file: separated by white space or commas; `#` begins a comment.
fn listed(text: &str, file: &Path) -> Result<Vec<HostAddress>> {
    let mut addresses = Vec::new();
    let mut errors = Vec::new();
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let content = line.split_once('#').map_or(line, |(content, _)| content);
        let words = content
            .split(|c: char| c.is_whitespace() || c == ',')
            .filter(|word| !word.is_empty());
        for word in words {
            let at = offset + (word.as_ptr() as usize - line.as_ptr() as usize);
            let place = || Location::at_offset(file, text, at);
            match HostPattern::parse(word) {
                Ok(pattern) if pattern.as_str().starts_with('@') => {
                    errors.push(Error::new("a list of hosts names another list").at(place()));
                }
                Ok(pattern) => match pattern.expand() {
                    Ok(more) => addresses.extend(more),
                    Err(error) => errors.push(error.at(place())),
                },
                Err(error) => errors.push(error.at(place())),
            }
        }
        offset += line.len();
    }
    Error::all(errors).map_or(Ok(addresses), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(named: &[&str]) -> Vec<String> {
        let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
        let members = select(&named, None, None, &[], Path::new("")).unwrap();
        members.into_iter().map(|member| member.name).collect()
    }

    #[test]
    fn ranges_keep_their_zeros_and_the_order() {
        assert_eq!(
            names(&["b", "web[08:11].x"]),
            ["b", "web08.x", "web09.x", "web10.x", "web11.x"]
        );
        assert_eq!(names(&["w[8:10]"]), ["w8", "w9", "w10"]);
        assert_eq!(
            names(&["u@r[1:2]n[1:2]:22"]),
            ["u@r1n1:22", "u@r1n2:22", "u@r2n1:22", "u@r2n2:22"]
        );
        assert_eq!(
            names(&["web2", "web[1:3]", "web1"]),
            ["web2", "web1", "web3"],
            "each once, where it was first"
        );
    }

    #[test]
    fn an_ipv6_address_is_what_ssh_takes() {
        let all = ["[::1]", "deploy@[fe80::1%eth0]:2222", "[2001:db8::1]:22"];
        assert_eq!(names(&all), all, "people see what they wrote");
        let member = |name: &str| {
            select(&[name.to_owned()], None, None, &[], Path::new(""))
                .unwrap()
                .remove(0)
                .address
        };
        let (user, host) = (Some("deploy".to_owned()), "fe80::1%eth0".to_owned());
        assert_eq!(
            member(all[1]),
            HostAddress {
                user,
                host,
                port: Some(2222)
            }
        );
        assert_eq!(
            member("[::1]"),
            HostAddress {
                user: None,
                host: "::1".into(),
                port: None
            }
        );
    }

    #[test]
    fn too_many_are_refused() {
        for many in ["w[0:4294967295]", "w[1:1000][1:1000]"] {
            let error = select(&[many.to_owned()], None, None, &[], Path::new("")).unwrap_err();
            assert!(
                error.message().contains("more than 100000 hosts"),
                "{error}"
            );
        }
    }

    #[test]
    fn files_have_comments_and_places() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("hosts");
        std::fs::write(
            &file,
            "# all\nweb[1:2], db1 # the database\n\nops@web3:22\n",
        )
        .unwrap();
        assert_eq!(
            names(&[&format!("@{}", file.display())]),
            ["web1", "web2", "db1", "ops@web3:22"]
        );
        std::fs::write(&file, "web1\nweb 1;x\n").unwrap();
        let error = select(
            &[format!("@{}", file.display())],
            None,
            None,
            &[],
            Path::new(""),
        )
        .unwrap_err();
        assert_eq!(error.location().unwrap().position, Some((2, 5)), "{error}");
    }

    #[test]
    fn filters_of_one_key_are_alternatives() {
        let labels = |pairs: &[(&str, &str)]| -> Labels {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), BTreeSet::from([(*value).to_owned()])))
                .collect()
        };
        let filters = |texts: &[&str]| -> Vec<LabelFilter> {
            texts
                .iter()
                .map(|text| LabelFilter::parse(text).unwrap())
                .collect()
        };
        let web_eu = labels(&[("role", "web"), ("zone", "eu")]);
        for (texts, passed) in [
            (&["role=web"][..], true),
            (&["role=db"], false),
            (&["role=db", "role=web"], true),
            (&["role=web", "zone=us"], false),
            (&["role!=web"], false),
            (&["role!=db"], true),
            (&["color=red"], false),
        ] {
            assert_eq!(passes(&filters(texts), &web_eu), passed, "{texts:?}");
        }
        assert!(LabelFilter::parse("web").is_err() && LabelFilter::parse("=web").is_err());
    }

    #[test]
    fn hosts_have_roles_labels_and_variables() {
        let hosts = r#""web1", { host = "db[1:2]", role = "db", labels = { zone = ["a", "b"] }, variables = { P = "1" } },
        { host = "db2:22", role = "spare", variables = { P = "2" } }, { host = "db2", labels = { role = "main" } }"#;
        let directory = tempfile::tempdir().unwrap();
        let text = format!(
            "[app]\nname = \"shop\"\nversion = \"1\"\ninclude = [\"a\"]\n[python]\nversion = \"3.11\"\n[deploy.x]\nuser = \"ops\"\nhosts = [{hosts}]\n"
        );
        fs_err::write(directory.path().join("pkgapp.toml"), text).unwrap();
        fs_err::write(directory.path().join("a"), "").unwrap();
        let app = pkgapp_config::Config::load(None, directory.path()).unwrap();
        let only = LabelFilter::parse("role=main").unwrap();
        let select = |named: &[&str], filters: &[LabelFilter]| {
            let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
            super::select(&named, app.deploys.first(), Some("ops"), filters, &app.root).unwrap()
        };
        let all = select(&[], &[]);
        let names: Vec<&str> = all.iter().map(|member| member.name.as_str()).collect();
        assert_eq!(names, ["web1", "db1", "db2", "db2:22"]);
        assert_eq!(all[2].address.to_string(), "ops@db2");
        let values = |key: &str| {
            all[2].labels[key]
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (values("role"), values("zone")),
            (vec!["db", "main"], vec!["a", "b"])
        );
        assert_eq!(
            (
                all[2].variables["P"].as_str(),
                all[3].variables["P"].as_str()
            ),
            ("1", "2")
        );
        assert_eq!(select(&[], &[only]).len(), 1);
        assert_eq!(
            select(&["db1", "me@db1", "other"], &[])[0].variables["P"],
            "1",
            "a host that is named is the known one"
        );
    }
}
