//! Reads the answer of a host to the question for its [`facts`](super::facts): lines of `KEY=VALUE`.

use std::collections::BTreeMap;

use super::facts::{
    FreeSpace, HostFacts, KeptMember, KeptPackage, LockHolder, LoginDirectory, PackageManager,
    PortListener, RunsOn, Transaction, TransactionState, VersionOrder,
};
use super::pieces::FilePieces;
use super::stored::{PackageSet, StoredPackage};
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Error, Result};
use pkgapp_core::report::visible_line;

/// The values of the keys that stand once in an answer.
#[derive(Debug, Default)]
struct FactValues<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> FactValues<'a> {
    /// Returns a value; empty if there is none.
    fn text(&self, key: &str) -> &'a str {
        self.0.get(key).copied().unwrap_or_default()
    }

    fn some(&self, key: &str) -> Option<String> {
        Some(self.text(key))
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    }

    fn is_yes(&self, key: &str) -> bool {
        self.text(key) == "yes"
    }
}

/// What a line of an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineMeaning {
    /// The value of a key.
    Single,
    /// One of a list.
    Listed,
    /// Nothing that makes sense.
    Strange,
}

impl HostFacts {
    /// Reads what the script prints.
    ///
    /// # Errors
    /// It is cut off.
    pub fn parse(text: &str) -> Result<Self> {
        let mut facts = Self::default();
        let mut values = FactValues::default();
        let mut sets = BTreeMap::new();
        for line in text.lines() {
            let Some((key, value)) = line.split_once('=') else {
                // A login's greeting may stand before the first line; it is none of ours.
                continue;
            };
            if let Some(set) = key.strip_prefix("members.").and_then(sum) {
                sets.insert(set, value.split_whitespace().map(sum).collect());
                continue;
            }
            match facts.read_listed(key, value) {
                LineMeaning::Listed => {}
                LineMeaning::Single => _ = values.0.insert(key, value.trim()),
                // One line that makes no sense must not withhold all others.
                LineMeaning::Strange => facts.strange.push(line.to_owned()),
            }
        }
        if values.text("facts") != "end" {
            return Err(Error::new("what the host said of itself is cut off"));
        }

        facts.read_host(&values);
        facts.read_space(&values);
        facts.read_release(&values);
        facts.read_state(&values);
        facts.complete_sets(&sets);
        facts.own = values.some("into").map(|into| LoginDirectory {
            into,
            unpackers: values
                .text("unpackers")
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            lingers: values.is_yes("linger"),
            crontab: values.is_yes("crontab"),
            logrotate: values.is_yes("logrotate"),
            unwritable: facts.unwritable.first().cloned(),
            taken: values.some("taken"),
        });
        Ok(facts)
    }

    /// Reads a line of which there may be several.
    fn read_listed(&mut self, key: &str, value: &str) -> LineMeaning {
        let is_clear = match key.split_once('.') {
            None => match key {
                "kept" => add(&mut self.kept, kept(value)),
                "kept_member" => add(&mut self.kept_members, kept_member(value)),
                "damaged" => add(&mut self.damaged, Some(value.trim().to_owned())),
                "unwritable" => add(&mut self.unwritable, Some(value.trim().to_owned())),
                "listens" => add(&mut self.listeners, listener(value)),
                "lacks" => add(&mut self.lacks, Some(value.trim().to_owned())),
                "unconfigured" => add(&mut self.unconfigured, Some(value.trim().to_owned())),
                "left" => add(&mut self.left, sum(value)),
                "migrated" => add(&mut self.migrated, sum(value)),
                "pieces" => {
                    // Without them everything is sent.
                    self.pieces.extend(pieces(value));
                    true
                }
                _ => return LineMeaning::Single,
            },
            Some(("order", index)) => add(&mut self.orders, index.parse().ok().zip(order(value))),
            Some(("kept_order", package)) => {
                add(&mut self.kept_orders, sum(package).zip(order(value)))
            }
            Some(("runtime", name)) => {
                let runtime = (name.to_owned(), value.trim().to_owned());
                add(&mut self.runtimes, Some(runtime))
            }
            Some(("configuration", name)) => {
                let configuration = (name.to_owned(), value.trim().to_owned());
                add(&mut self.configurations, Some(configuration))
            }
            Some(("runs_on", package)) => add(&mut self.runs_on, sum(package).zip(runs_on(value))),
            Some(("unmet", index)) => index.parse().is_ok_and(|index| {
                let unmet = self.unmet.entry(index).or_default();
                add(unmet, Some(value.to_owned()))
            }),
            Some(_) => return LineMeaning::Single,
        };
        if is_clear {
            LineMeaning::Listed
        } else {
            LineMeaning::Strange
        }
    }

    /// Gives sets their packages. A set that lacks one cannot be installed.
    fn complete_sets(&mut self, sets: &BTreeMap<Sha256Sum, Option<Vec<Sha256Sum>>>) {
        let known = &self.kept_members;
        let find = |sum: &Sha256Sum| {
            let mut whole = known.iter().filter(|member| member.kept.is_whole());
            whole.find(|member| member.kept.sha256 == *sum).cloned()
        };
        for kept in &mut self.kept {
            let Some(sums) = sets.get(&kept.sha256) else {
                continue;
            };
            let members = sums.iter().flatten().map(find);
            let members: Option<Vec<KeptMember>> = members.collect();
            match members.filter(|members| is_set(kept.sha256, members)) {
                Some(members) => kept.members = members,
                None => kept.size = 0,
            }
        }
    }

    /// Reads what the machine is and who the scripts are.
    fn read_host(&mut self, values: &FactValues<'_>) {
        values.text("os").clone_into(&mut self.os);
        values.text("os_version").clone_into(&mut self.os_version);
        values.text("arch").clone_into(&mut self.arch);
        values.text("glibc").clone_into(&mut self.glibc);
        values.text("user").clone_into(&mut self.user);
        self.root = values.text("uid") == "0";
        self.systemd = values.is_yes("systemd");
        self.needrestart = values.is_yes("needrestart");
        self.pythons = values
            .text("pythons")
            .split(' ')
            .filter_map(|python| python.parse().ok())
            .collect();
        self.manager = PackageManager::ALL
            .into_iter()
            .find(|manager| manager.program() == values.text("manager"));
        self.exits_on_lock = values.is_yes("exits_on_lock");
    }

    fn read_space(&mut self, values: &FactValues<'_>) {
        for (key, place) in [
            ("free_prefix", &mut self.free_prefix),
            ("free_state", &mut self.free_state),
        ] {
            match space(values.text(key)) {
                Some(space) => *place = space,
                None => self.strange.push(format!("{key}={}", values.text(key))),
            }
        }
    }

    /// Reads what is installed, and what the package manager says of it.
    fn read_release(&mut self, values: &FactValues<'_>) {
        self.held = values.some("held");
        self.installed = values.some("installed");
        self.foreign_configuration = values.some("foreign_configuration");
        self.offers_configuration = values.some("offers_configuration");
        self.environment = values.some("environment");
        self.half = values.some("half");
        self.foreign = values.is_yes("foreign");
        self.offers = values.some("offers");
        self.insists = values.some("insists");
        self.record = sum(values.text("record"));
        self.commit = values.some("commit");
    }

    /// Reads what earlier pushes have left.
    fn read_state(&mut self, values: &FactValues<'_>) {
        self.current = sum(values.text("current"));
        self.applied = serde_json::from_str(values.text("applied")).ok();
        self.unreadable = values.some("unreadable");
        self.distrusted = values.some("distrusted");
        self.no_credentials = values.some("no_credentials");
        self.previous_secrets = values.is_yes("previous_secrets");
        self.lock = values.some("lock.token").map(|token| LockHolder {
            token,
            owner: values.text("lock.owner").to_owned(),
            since: values.text("lock.since").to_owned(),
            alive: values.is_yes("lock.alive"),
        });
        self.transaction = values.0.get("transaction.state").map(|state| Transaction {
            version: values.text("transaction.version").to_owned(),
            sum: values.text("transaction.sum").to_owned(),
            leaves: values.text("transaction.leaves").to_owned(),
            is_manual: values.text("transaction.confirm") == "manual",
            state: transaction_state(state, values.text("transaction.remaining")),
        });
    }
}

/// Adds what was read to a list; returns whether it could be read.
fn add<T>(list: &mut impl Extend<T>, item: Option<T>) -> bool {
    let is_clear = item.is_some();
    list.extend(item);
    is_clear
}

fn transaction_state(text: &str, remaining: &str) -> TransactionState {
    match text {
        "running" => TransactionState::Running,
        "probation" => remaining
            .parse()
            .map_or(TransactionState::Interrupted, TransactionState::Probation),
        "done" => TransactionState::Done,
        "restored" => TransactionState::Restored,
        "unconfirmed" => TransactionState::Unconfirmed,
        "refused" => TransactionState::Refused,
        "failed" => TransactionState::Failed,
        // An unreadable state means that the transaction did not end, as far as anyone knows.
        _ => TransactionState::Interrupted,
    }
}

fn sum(text: &str) -> Option<Sha256Sum> {
    Sha256Sum::from_hex(text)
}

fn order(text: &str) -> Option<VersionOrder> {
    match text {
        "newer" => Some(VersionOrder::Newer),
        "same" => Some(VersionOrder::Same),
        "older" => Some(VersionOrder::Older),
        _ => None,
    }
}

/// Returns whether these packages are those of the set that has this name.
fn is_set(name: Sha256Sum, members: &[KeptMember]) -> bool {
    let mut packages = members.iter().map(StoredPackage::from);
    let software = packages.next();
    software.is_some_and(|software| PackageSet::new(software, packages.collect()).id == name)
}

/// Reads `SHA256 PIECE …`.
fn pieces(text: &str) -> Option<(Sha256Sum, FilePieces)> {
    let (package, pieces) = text.split_once(' ')?;
    Some((sum(package)?, FilePieces::parse(pieces)?))
}

/// Reads `NAME|…`, as [`kept`].
fn kept_member(text: &str) -> Option<KeptMember> {
    let (name, rest) = text.split_once('|')?;
    Some(KeptMember {
        name: name.to_owned(),
        kept: kept(rest)?,
    })
}

/// Reads `NAME VERSION SHA256 ORDER`.
fn runs_on(text: &str) -> Option<RunsOn> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [name, version, sha256, ref rest @ ..] = words[..] else {
        return None;
    };
    let order = rest.first().and_then(|text| order(text));
    Some(RunsOn {
        name: name.to_owned(),
        version: version.to_owned(),
        sha256: sum(sha256)?,
        order,
    })
}

/// Reads `KILOBYTES DEVICE`.
fn space(text: &str) -> Option<FreeSpace> {
    let (free, device) = text.split_once(' ')?;
    Some(FreeSpace {
        bytes: free.parse::<u64>().ok()?.checked_mul(1024)?,
        device: device.to_owned(),
    })
}

fn kept(text: &str) -> Option<KeptPackage> {
    let fields: Vec<&str> = text.split('|').collect();
    let [
        sha256,
        file,
        size,
        version,
        release,
        record,
        good,
        failed,
        commit,
        unsigned,
    ] = fields[..]
    else {
        return None;
    };
    // It becomes a path in commands that root runs.
    if file.contains('/') || file.is_empty() {
        return None;
    }
    Some(KeptPackage {
        sha256: sum(sha256)?,
        file: file.to_owned(),
        members: Vec::new(),
        size: size.parse().ok()?,
        version: version.to_owned(),
        release: release.to_owned(),
        record: sum(record),
        good: good.to_owned(),
        failed: failed.to_owned(),
        commit: Some(commit.to_owned()).filter(|commit| !commit.is_empty()),
        is_unsigned: unsigned == "yes",
    })
}

fn listener(value: &str) -> Option<PortListener> {
    let (address, program) = value.trim().split_once(' ')?;
    Some(PortListener {
        address: address.to_owned(),
        program: visible_line(program).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::script;
    use super::*;
    use std::net::TcpListener;
    use std::process::Command;

    /// What the real script says of this machine, about a package that it has.
    #[test]
    fn the_script_tells_of_this_machine_what_its_own_tools_do() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state").display().to_string();
        let Some(dpkg) = pkgapp_testing::tool("dpkg-query") else {
            return;
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = listener.local_addr().unwrap();
        let free = format!("127.0.0.2:{}", taken.port());
        let said = |command: &mut Command| pkgapp_testing::run(command).trim().to_owned();
        let version = said(Command::new(dpkg).args(["-W", "-f", "${Version}", "dpkg"]));
        let parameters = [
            ("state", state.clone()),
            ("token", String::new()),
            ("name", "dpkg".to_owned()),
            ("prefix", "/opt/dpkg".to_owned()),
            ("sums", String::new()),
            ("runtimes", String::new()),
            (
                "listens",
                format!("{taken} 0.0.0.0:{} {free}", taken.port()),
            ),
        ];
        let script = [
            &crate::hosts::script::assignments(&parameters),
            "\n",
            script::PRELUDE,
            script::ANY_SYSTEM,
            script::PACKAGE_FACTS,
        ]
        .concat();
        let script = script.replace("apt-get -s -qq satisfy", "false");
        let run = |version: &str, depends: &str| {
            let args = ["deb", "dpkg", version, depends];
            let args = args.into_iter().chain([
                "deb",
                "libc6",
                "0.1",
                "",
                "deb",
                "no-such-thing",
                "1",
                "",
            ]);
            said(
                Command::new("sh")
                    .arg("-c")
                    .arg(&script)
                    .arg("sh")
                    .args(args),
            )
        };
        let facts = HostFacts::parse(&run(&version, "")).unwrap();
        assert_eq!(facts.installed, Some(version.clone()));
        assert!(facts.foreign, "dpkg is none of pkgapp's");
        if pkgapp_testing::tool("ss").is_some() {
            let taken = [taken.to_string(), format!("0.0.0.0:{}", taken.port())];
            let told = facts.listeners.iter().map(|found| found.address.clone());
            assert_eq!(told.collect::<Vec<_>>(), taken);
            let program = &facts.listeners[0].program;
            assert!(
                program.ends_with(&format!("(pid {})", std::process::id())),
                "{program}"
            );
        }
        assert_eq!(
            facts.orders,
            BTreeMap::from([(0, VersionOrder::Same), (1, VersionOrder::Older)])
        );
        let libc = said(Command::new("dpkg-query").args(["-W", "-f", "${Version}", "libc6"]));
        assert_eq!(facts.runtimes, BTreeMap::from([("libc6".to_owned(), libc)]));
        assert_eq!(facts.arch, said(Command::new("uname").arg("-m")));
        assert_eq!(facts.user, said(Command::new("id").arg("-un")));
        assert!(facts.free_prefix.bytes > 0 && !facts.free_prefix.device.is_empty());
        assert_eq!(
            (&facts.lock, &facts.current, facts.kept.len()),
            (&None, &None, 0)
        );
        assert_eq!(
            HostFacts::parse(&run("0.1", "")).unwrap().orders[&0],
            VersionOrder::Older
        );
        assert_eq!(
            HostFacts::parse(&run("99:1", "")).unwrap().orders[&0],
            VersionOrder::Newer
        );
        let met = "libc6\nno-such-thing | libc6:any (>= 1)\nlibc6 (<< 99:1)\nawk";
        let lacking = "libc6 (>= 99:1)\nno-such-thing (>= 1) | other\nno-such-virtual-thing";
        assert_eq!(
            HostFacts::parse(&run("99:1", met)).unwrap().unmet,
            BTreeMap::new(),
            "apt need not be asked"
        );
        let unmet = HostFacts::parse(&run("99:1", &format!("{met}\n{lacking}")))
            .unwrap()
            .unmet;
        assert_eq!(
            unmet[&0],
            lacking.lines().collect::<Vec<_>>(),
            "`satisfy` was made to fail"
        );
        assert!(
            !directory.path().join("state").exists(),
            "gathering facts changes nothing"
        );
    }

    #[test]
    fn half_an_answer_is_no_answer() {
        assert!(
            HostFacts::parse("os=debian\nuid=0\n")
                .unwrap_err()
                .to_string()
                .contains("cut off")
        );
    }

    #[test]
    fn a_line_that_makes_no_sense_is_told_and_withholds_no_other() {
        let text = "free_prefix=1 /dev/a\nfree_state=18014398509481984 /dev/a\nkept=xyz|a|b\nmigrated=\norder.x=newer\nuid=0\nruns_on.a=b\n\
                    transaction.state=\ndamaged=/var/lib/pkgapp/shop/current\nfacts=end\n";
        let facts = HostFacts::parse(text).unwrap();
        assert_eq!(
            facts.strange,
            [
                "kept=xyz|a|b",
                "migrated=",
                "order.x=newer",
                "runs_on.a=b",
                "free_state=18014398509481984 /dev/a"
            ]
        );
        assert_eq!(
            (facts.free_prefix.bytes, facts.free_state.bytes, facts.root),
            (1024, u64::MAX, true)
        );
        assert_eq!(
            facts.transaction.as_ref().unwrap().state,
            TransactionState::Interrupted
        );
        assert!(facts.oddities()[0].starts_with("`/var/lib/pkgapp/shop/current` is damaged"));
        let facts = HostFacts::parse("into=/srv/shop\nunwritable=/srv\nfacts=end\n").unwrap();
        assert_eq!(facts.own.unwrap().unwritable.as_deref(), Some("/srv"));
    }

    #[test]
    fn a_set_is_whole_if_its_packages_are_and_its_name_is_theirs() {
        let [software, configuration] = ["a", "b"].map(|each| each.repeat(64));
        let set = Sha256Sum::of(format!("{software} {configuration}").as_bytes());
        let read = |set: Sha256Sum, size: u64| {
            let text = format!(
                "members.{set}={software} {configuration}\n\
                 kept={set}|shop.deb|5|1-1|1||17.000000001|||\n\
                 kept_member=shop|{software}|shop.deb|5|1-1|1|||||\n\
                 kept_member=shop-config|{configuration}|config.deb|{size}|7|7|||||\n\
                 configuration.shop-config=7\nfacts=end\n"
            );
            HostFacts::parse(&text).unwrap()
        };
        let facts = read(set, 4);
        let kept = facts.kept(set).unwrap();
        let names: Vec<&str> = kept.members.iter().map(|each| each.name.as_str()).collect();
        assert_eq!(names, ["shop", "shop-config"]);
        assert_eq!(PackageSet::from(kept).configurations[0].file, "config.deb");
        assert_eq!(facts.configurations["shop-config"], "7");

        assert_eq!(read(set, 0).kept(set), None, "one of them is damaged");
        let other = Sha256Sum::of(b"other");
        assert_eq!(read(other, 4).kept(other), None, "the list is not its own");
    }

    #[test]
    fn a_kept_file_is_a_name_and_no_path() {
        let sum = "a".repeat(64);
        assert!(kept(&format!("{sum}|a.deb|5|1-1|1|{sum}|17.000000001|||")).is_some());
        assert!(kept(&format!("{sum}|../a.deb|5|1-1|1|{sum}|17.000000001|||")).is_none());
    }
}
