//! The states of a transaction from its start to its end, on a host whose clock, boots, and health are
//! simulated: the real scripts around a switch that does nothing.
//!
//! `PKGAPP_ROUNDS` is the number of cases (60 by default), and `PKGAPP_SEED` chooses them.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::script::{ACTIVATION, PRELUDE, PROBATION};

/// The host. A tick of the clock is one nap; a reboot ends the script, and the next run has another
/// boot id. Parameters: see [`ProbationCase`].
const SIMULATION: &str = r#"
confirm=manual check=yes check_command='' sum=a back_sum=b name=shop unit_files=$dir
to_disk() { :; }
sleep() { :; }
boot_id() { first_line "$dir/boot"; }
uptime_s() { first_line "$dir/clock"; }
units_of() { :; }
settle_disk() { :; }
go_there() { echo installed >>"$dir/events"; }
go_back() { echo "back to the one before: $2" >>"$dir/events"; finish "$1"; }
give_up() { go_back restored "$why"; }
finish() { printf 'result=%s\n' "$1" >"$dir/result"; exit 0; }
wait_until_works() { why="not healthy"; [ "$(uptime_s)" -lt "$ill_at" ]; }
nap() {
  tick=$(($(uptime_s) + 1))
  echo $tick >"$dir/clock"
  if [ $tick = "$confirmed_at" ]; then
    if decide "$dir" probation confirmed; then echo "told: confirmed" >>"$dir/events"; else echo "told: too late" >>"$dir/events"; fi
  fi
  case " $reboots " in *" $tick "*) exit 9 ;; esac
}
"#;

/// Later than any test ends.
const NEVER: u64 = 1 << 40;

/// What happens to a release in probation, in ticks since the start.
#[derive(Debug)]
struct ProbationCase {
    within: u64,
    confirmed_at: u64,
    ill_at: u64,
    reboots: BTreeSet<u64>,
}

/// How it went.
#[derive(Debug)]
struct ProbationEnd {
    result: String,
    events: String,
    ticks: u64,
}

impl ProbationCase {
    fn any() -> impl Strategy<Value = Self> {
        (10_u64..60).prop_flat_map(|within| {
            let sometimes = |ticks: std::ops::Range<u64>| prop_oneof![ticks, Just(NEVER)];
            let reboots = prop_oneof![
                Just(BTreeSet::new()),
                proptest::collection::btree_set(1..within * 2, 0..5)
            ];
            (sometimes(1..within + 90), sometimes(1..within * 3), reboots).prop_map(
                move |(confirmed_at, ill_at, reboots)| Self {
                    within,
                    confirmed_at,
                    ill_at,
                    reboots,
                },
            )
        })
    }

    fn run(&self, directory: &Path) -> ProbationEnd {
        std::fs::write(directory.join("clock"), "0\n").unwrap();
        let reboots: Vec<String> = self.reboots.iter().map(u64::to_string).collect();
        let parameters = format!(
            "dir={} state=$dir within={} confirmed_at={} ill_at={} reboots='{}'\n",
            directory.display(),
            self.within,
            self.confirmed_at,
            self.ill_at,
            reboots.join(" ")
        );
        let script = [&parameters, PRELUDE, PROBATION, SIMULATION, ACTIVATION].concat();
        for boot in 0..20 {
            std::fs::write(directory.join("boot"), format!("boot {boot}\n")).unwrap();
            // As the unit does it: first what comes before the application.
            for moment in ["early", "late"] {
                if directory.join("result").exists() {
                    break;
                }
                let mut sh = Command::new("sh");
                sh.args(["-c", &script, "sh", moment]).stdin(Stdio::null());
                let output = sh.output().unwrap();
                assert!(
                    matches!(output.status.code(), Some(0 | 9)),
                    "{self:?} {output:?}"
                );
            }
        }
        let read = |file| std::fs::read_to_string(directory.join(file)).unwrap_or_default();
        ProbationEnd {
            result: read("result"),
            events: read("events"),
            ticks: read("clock").trim().parse().unwrap(),
        }
    }
}

impl ProbationEnd {
    /// Asserts that it is the end of a case; returns whether the release stays.
    fn check(&self, case: &ProbationCase) -> bool {
        let context = format!("{case:?} {self:?}");
        let was_told = self.events.contains("told: confirmed");
        let stays = match self.result.as_str() {
            "result=done\n" => true,
            "result=restored\n" | "result=unconfirmed\n" => false,
            _ => panic!("it has no end: {context}"),
        };
        assert_eq!(stays, was_told, "host and pusher do not agree: {context}");
        let events = |event| self.events.matches(event).count();
        assert_eq!(events("installed"), 1, "{context}");
        assert_eq!(events("back to"), usize::from(!stays), "{context}");

        if case.reboots.is_empty() && case.ill_at > self.ticks {
            if case.confirmed_at < case.within {
                assert!(stays, "{context}");
            }
            if case.confirmed_at > case.within {
                assert_eq!(self.ticks, case.within, "another deadline: {context}");
            }
        }
        // Each reboot may add a minute, and the time since it was last noted.
        let longest = case.within + (case.reboots.len() as u64) * 66;
        assert!(self.ticks <= longest, "{context}");
        stays
    }
}

fn number(variable: &str, default: u32) -> u32 {
    let value = std::env::var(variable).ok();
    value.map_or(default, |value| value.parse().unwrap())
}

#[test]
fn a_release_stays_if_and_only_if_it_was_confirmed_in_time() {
    let (cases, seed) = (number("PKGAPP_ROUNDS", 60), number("PKGAPP_SEED", 1));
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let stayed = Cell::new(0);
    let run = |case: ProbationCase| {
        let directory = tempfile::tempdir().unwrap();
        let stays = case.run(directory.path()).check(&case);
        stayed.set(stayed.get() + u32::from(stays));
        Ok(())
    };
    TestRunner::new_with_rng(config, rng)
        .run(&ProbationCase::any(), run)
        .unwrap();
    // Both happen a lot.
    assert!((cases / 10..cases - cases / 10).contains(&stayed.get()));
}
