//! Carries a plan out: batch after batch, and back if too many hosts fail.
//!
//! A step fails in one of three ways ([`HostFailure`]), and what is done then follows from the step and
//! the way alone. Whatever it is, an installation ends by itself on its host; so a host is on the
//! old version or on the new one.

use std::process::{Command as Program, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::plan::{HostPlan, Plan};
use super::policy::OnFailure;
use super::script;
use super::step::{PushStage, Step, StepAction};
use crate::hosts::{CommandOutput, Host, HostFailure, line_text};
use pkgapp_core::error::{Error, ErrorKind, Result};
use pkgapp_core::parallel;

/// The variables that `local-before` and `local-after` commands get. None is the variable of an
/// option: a pkgapp that a hook runs would take it for an order.
pub const HOOK_VARIABLES: [&str; 3] = ["PKGAPP_HOOK_HOSTS", "PKGAPP_NAME", "PKGAPP_VERSION"];

/// Between two signs of life for the locks; four may get lost before a lock is taken for dead.
const BEAT: Duration = Duration::from_secs(script::LEASE_S / 5);

/// How a plan is carried out.
pub struct Rollout<'a> {
    /// What is done.
    pub plan: &'a Plan,
    /// The hosts, in the order of the plan's.
    pub hosts: &'a [&'a dyn Host],
    /// Sees what happens.
    pub watch: &'a dyn Observer,
    /// How many hosts are worked on at a time.
    pub parallel: usize,
    /// How long to try to reach a host again that was lost in the middle, e.g. as it reboots.
    pub reconnect: Duration,
    /// What is done when a host can't be reached before anything has changed.
    pub unreachable: Unreachable,
    /// Returns whether the user wants it to stop: no further host is begun then.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

impl std::fmt::Debug for Rollout<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rollout")
            .field("plan", self.plan)
            .finish_non_exhaustive()
    }
}

/// What is done when a host can't be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreachable {
    /// Nothing changes anywhere.
    Fail,
    /// The others go on without it.
    Skip,
}

/// Sees what happens; called from several threads.
pub trait Observer: Sync {
    /// Something happened on a host.
    fn on_event(&self, host: &str, event: &RolloutEvent<'_>);
}

/// What happens on a host.
#[derive(Debug)]
pub enum RolloutEvent<'a> {
    /// A step begins.
    Begins(&'a Step),
    /// It prints a line.
    Says(&'a str),
    /// It has sent so many bytes of so many.
    Sent(u64, u64),
    /// It was not reached or was lost, and is tried again.
    Retries(&'a Step, &'a Error),
    /// It is done, and took so long.
    Ends(&'a Step, Duration),
    /// It failed.
    Fails(&'a Step, &'a Error),
    /// The host goes back to what it had.
    GoesBack,
}

/// How a host has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostStatus {
    /// It had nothing to do.
    Idle,
    /// It was not its turn, or it failed before anything changed, or the host itself has taken the
    /// installation back.
    Unchanged,
    /// It was not reached.
    Unreachable,
    /// It is on the new version and works.
    Changed,
    /// It is on the new version, and goes back unless a person confirms it.
    Awaiting,
    /// It was on the new version and went back.
    WentBack,
    /// It is on the new version, and not all that follows was done.
    Unconfirmed,
    /// The connection was lost while it was installing: it will be on the new version or on the old
    /// one.
    Unknown,
    /// It went back, and does not work there either.
    Unwell,
    /// The package manager failed, and so did the way back.
    Broken,
}

impl HostStatus {
    /// Returns the name in `--json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Unchanged => "unchanged",
            Self::Unreachable => "unreachable",
            Self::Changed => "changed",
            Self::Awaiting => "awaiting",
            Self::WentBack => "went-back",
            Self::Unconfirmed => "unconfirmed",
            Self::Unknown => "unknown",
            Self::Unwell => "unwell",
            Self::Broken => "broken",
        }
    }

    /// Returns whether the host is other than before, as far as anyone can tell.
    pub fn is_change(self) -> bool {
        matches!(
            self,
            Self::Changed
                | Self::Awaiting
                | Self::Unconfirmed
                | Self::Unknown
                | Self::Unwell
                | Self::Broken
        )
    }

    /// Returns whether the host is where the plan wants it.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Idle | Self::Changed | Self::Awaiting)
    }
}

/// How a host has ended, and why.
#[derive(Debug, Clone)]
pub struct HostOutcome {
    /// The host.
    pub host: String,
    /// How.
    pub end: HostStatus,
    /// What failed, in order.
    pub errors: Vec<Error>,
    /// Configuration that the package manager has put beside the administrator's, e.g.
    /// `/etc/shop/shop.env.dpkg-dist`.
    pub left: Vec<String>,
    /// What it took.
    pub took: Duration,
}

/// How a rollout has ended.
#[derive(Debug, Clone)]
pub struct RolloutOutcome {
    /// Every host, in the order of the plan.
    pub hosts: Vec<HostOutcome>,
    /// What failed on no host in particular.
    pub errors: Vec<Error>,
    /// Nothing was done, as another push had the lock: the plan may be out of date, and has to be
    /// made again.
    pub is_stale: bool,
}

impl RolloutOutcome {
    /// Returns the failures as one error whose kind is the exit code; `Ok` if every host is where
    /// it should be.
    ///
    /// # Errors
    /// See above.
    pub fn into_result(self) -> Result<()> {
        let changed = self.hosts.iter().any(|host| host.end.is_change());
        let kind = if changed {
            ErrorKind::Partial
        } else {
            ErrorKind::Failed
        };
        let mut errors = self.errors;
        for host in self.hosts {
            errors.extend(host.errors);
        }
        match Error::all(errors) {
            None => Ok(()),
            Some(error) => Err(error.kind(kind)),
        }
    }

    /// Returns the outcome as JSON.
    pub fn to_json(&self) -> Value {
        let hosts = self.hosts.iter().map(|host| {
            json!({
                "host": host.host,
                "end": host.end.name(),
                "errors": host.errors.iter().map(Error::to_json).collect::<Vec<_>>(),
                "left": host.left,
                "took_s": host.took.as_secs_f64(),
            })
        });
        json!({
            "hosts": hosts.collect::<Vec<_>>(),
            "errors": self.errors.iter().map(Error::to_json).collect::<Vec<_>>(),
        })
    }
}

/// A step that failed.
struct FailedStep<'p> {
    step: &'p Step,
    failure: HostFailure,
}

impl Rollout<'_> {
    /// Does all that the plan says, or goes back.
    pub fn run(&self) -> RolloutOutcome {
        let state = RolloutState::new(self.plan);
        let busy: Vec<usize> = self.plan.batches.iter().flatten().copied().collect();
        let idle: Vec<usize> = (0..self.plan.hosts.len())
            .filter(|index| self.plan.hosts[*index].is_idle())
            .collect();
        self.each(&idle, |index| {
            if let Err(broken) = self.walk(index, &self.plan.hosts[index].unlock, &state) {
                // Whoever needs the lock takes it all the same.
                self.on_event(
                    index,
                    &RolloutEvent::Fails(broken.step, broken.failure.error()),
                );
            }
        });
        if busy.is_empty() {
            return state.outcome();
        }
        let locked = self.lock(&busy, &state);
        let go_on = match locked {
            LockResult::All => true,
            LockResult::Late => {
                state.set_stale();
                false
            }
            LockResult::No => false,
        };
        let (done, until_done) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(|| self.keep_locks(&busy, &state, until_done));
            if go_on {
                self.change(&busy, &state);
            }
            drop(done);
        });
        self.each(&busy, |index| {
            if state.is_locked(index)
                && let Err(broken) = self.walk(index, &self.plan.hosts[index].unlock, &state)
            {
                // It frees itself when no sign of life comes any more.
                self.on_event(
                    index,
                    &RolloutEvent::Fails(broken.step, broken.failure.error()),
                );
            }
        });
        state.outcome()
    }

    /// Takes the locks: the first alone, as pushes that meet on it wait for each other there, and
    /// not each for the other on two hosts.
    fn lock(&self, busy: &[usize], state: &RolloutState) -> LockResult {
        let mut order = busy.to_vec();
        order.sort_by(|a, b| self.plan.hosts[*a].host.cmp(&self.plan.hosts[*b].host));
        let late = AtomicUsize::new(0);
        let lock = |index: usize| {
            let plan = &self.plan.hosts[index];
            for step in plan
                .prepare
                .iter()
                .filter(|step| step.stage == PushStage::Lock)
            {
                match self.attempt(index, step) {
                    Ok(output) => {
                        state.set_locked(index);
                        if output.text().contains("waiting for the ") {
                            late.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    Err(failure) => {
                        // Perhaps it was taken; then it must be given back.
                        if matches!(failure, HostFailure::Lost(_)) {
                            state.set_locked(index);
                        }
                        self.fail_early(index, FailedStep { step, failure }, state);
                    }
                }
            }
        };
        let (first, others) = order.split_at(1);
        first.iter().copied().for_each(lock);
        if !state.stops() {
            self.each(others, lock);
        }
        match (state.stops(), late.into_inner()) {
            (true, _) => LockResult::No,
            (false, 0) => LockResult::All,
            (false, _) => LockResult::Late,
        }
    }

    /// Gives signs of life until the sender of `done` is gone.
    fn keep_locks(&self, busy: &[usize], state: &RolloutState, done: mpsc::Receiver<()>) {
        while let Err(mpsc::RecvTimeoutError::Timeout) = done.recv_timeout(BEAT) {
            self.each(busy, |index| {
                if state.is_locked(index) {
                    // If it fails, the next step on the host finds out.
                    _ = self.hosts[index].run(&self.plan.hosts[index].beat, &mut |_, _| {});
                }
            });
        }
    }

    /// All between the locks.
    fn change(&self, busy: &[usize], state: &RolloutState) {
        if let Err(error) = self.here(&self.plan.before) {
            state.fail(error);
            return;
        }
        self.each(busy, |index| {
            let steps = self.plan.hosts[index]
                .prepare
                .iter()
                .filter(|step| step.stage != PushStage::Lock);
            if state.is_locked(index)
                && let Err(broken) = self.walk(index, steps, state)
            {
                self.fail_early(index, broken, state);
            }
        });
        for index in busy.iter().copied().filter(|index| state.is_locked(*index)) {
            if state.stops() || (self.stop)() {
                break;
            }
            if let Err(broken) = self.walk(index, &self.plan.hosts[index].migrate, state) {
                state.end(index, HostStatus::Unchanged, self.told(index, broken));
                state.stop();
            }
        }
        if (self.stop)() {
            state.fail(interrupted("nothing has changed"));
        }
        if state.stops() {
            return;
        }
        self.switch_all(state);
        if !state.stops()
            && let Err(error) = self.here(&self.plan.after)
        {
            state.fail(error);
        }
    }

    /// Switches batch after batch.
    fn switch_all(&self, state: &RolloutState) {
        let (mut failed, mut awaiting) = (0, 0);
        let mut changed: Vec<usize> = Vec::new();
        for (number, batch) in self.plan.batches.iter().enumerate() {
            let batch: Vec<usize> = batch
                .iter()
                .copied()
                .filter(|index| state.is_locked(*index))
                .collect();
            self.each(&batch, |index| self.switch(index, state));
            for index in batch {
                match state.end_of(index) {
                    HostStatus::Changed => changed.push(index),
                    HostStatus::Awaiting => awaiting += 1,
                    _ => failed += 1,
                }
            }
            if failed > self.plan.max_failed as usize {
                state.stop();
                if self.plan.on_failure == OnFailure::GoBack {
                    self.each(&changed, |index| {
                        let end = self.go_back(index, state);
                        state.end(index, end, None);
                    });
                }
                return;
            }
            let is_last = number + 1 == self.plan.batches.len();
            if awaiting > 0 && !is_last {
                // A person looks at these before others get it.
                state.stop();
                return;
            }
            if (self.stop)() && !is_last {
                state.fail(interrupted("hosts of later batches have not changed"));
                state.stop();
                return;
            }
        }
    }

    /// Switches one host.
    fn switch(&self, index: usize, state: &RolloutState) {
        let plan = &self.plan.hosts[index];
        let broken = match self.walk(index, &plan.switch, state) {
            Ok(()) if plan.awaits => return state.end(index, HostStatus::Awaiting, None),
            Ok(()) => return state.end(index, HostStatus::Changed, None),
            Err(broken) => broken,
        };
        let after_installation = broken.step.stage > PushStage::Confirm;
        let (stage, reached) = (
            broken.step.stage,
            matches!(broken.failure, HostFailure::Failed { .. }),
        );
        let status = match &broken.failure {
            HostFailure::Failed { output, .. } => Some(output.status),
            HostFailure::NeverReached(_) | HostFailure::Lost(_) => None,
        };
        let lost = matches!(broken.failure, HostFailure::Lost(_));
        state.end(index, HostStatus::Unchanged, self.told(index, broken));
        let end = match stage {
            _ if after_installation => match (reached, self.plan.on_failure) {
                (true, OnFailure::GoBack) if stage != PushStage::Record => {
                    self.go_back(index, state)
                }
                _ => HostStatus::Unconfirmed,
            },
            PushStage::Install if lost || status == Some(script::UNTOLD) => HostStatus::Unknown,
            PushStage::Install | PushStage::Confirm if status == Some(script::RESTORED) => {
                self.tidy(index, &plan.failed, state);
                HostStatus::Unchanged
            }
            PushStage::Install if status == Some(script::REFUSED) => {
                self.tidy(index, &plan.refused, state);
                HostStatus::Unchanged
            }
            PushStage::Install | PushStage::Confirm if status == Some(script::FAILED) => {
                HostStatus::Broken
            }
            PushStage::Confirm if status == Some(script::UNCONFIRMED) => {
                self.tidy(index, &plan.unconfirmed, state);
                HostStatus::Unchanged
            }
            // It goes back by itself, unless the word has come.
            PushStage::Confirm => HostStatus::Unknown,
            _ => {
                if stage > PushStage::Before {
                    self.tidy(index, &plan.abandon, state);
                }
                if reached || lost {
                    HostStatus::Unchanged
                } else {
                    HostStatus::Unreachable
                }
            }
        };
        state.end(index, end, None);
    }

    /// Takes a host back to what it had.
    fn go_back(&self, index: usize, state: &RolloutState) -> HostStatus {
        let plan = &self.plan.hosts[index];
        if plan.back.is_empty() {
            let error = Error::new(format!(
                "`{}` stays on {}: there is no way back",
                plan.host, plan.to
            ));
            state.end(index, HostStatus::Unconfirmed, Some(error));
            return HostStatus::Unconfirmed;
        }
        self.on_event(index, &RolloutEvent::GoesBack);
        // What lies beside configuration is told anew on the way.
        state.with(index, |host| host.outcome.left.clear());
        let Err(broken) = self.walk(index, &plan.back, state) else {
            return HostStatus::WentBack;
        };
        let end = match (&broken.failure, broken.step.stage) {
            (HostFailure::Lost(_), PushStage::Install) => HostStatus::Unknown,
            (HostFailure::Failed { output, .. }, PushStage::Install)
                if output.status == script::UNTOLD =>
            {
                HostStatus::Unknown
            }
            (HostFailure::Failed { output, .. }, PushStage::Install)
                if output.status == script::FAILED =>
            {
                HostStatus::Broken
            }
            (_, stage) if stage <= PushStage::Install => HostStatus::Unconfirmed,
            (_, PushStage::Record) => HostStatus::WentBack,
            _ => HostStatus::Unwell,
        };
        let error = self.told(index, broken);
        state.end(
            index,
            end,
            error.map(|error| error.note(format!("`{}` was going back", plan.host))),
        );
        end
    }

    /// Steps that follow a failure; if they fail too, that is told as well.
    fn tidy(&self, index: usize, steps: &[Step], state: &RolloutState) {
        if let Err(broken) = self.walk(index, steps, state) {
            state.end(index, HostStatus::Unchanged, self.told(index, broken));
        }
    }

    /// A host that fails before anything has changed.
    fn fail_early(&self, index: usize, broken: FailedStep<'_>, state: &RolloutState) {
        let gone = matches!(broken.failure, HostFailure::NeverReached(_));
        let end = if gone {
            HostStatus::Unreachable
        } else {
            HostStatus::Unchanged
        };
        state.end(index, end, self.told(index, broken));
        if gone && self.unreachable == Unreachable::Skip {
            state.leave_out(index);
        } else {
            state.stop();
        }
    }

    /// The error of a step with its host, for people.
    fn told(&self, index: usize, broken: FailedStep<'_>) -> Option<Error> {
        let (host, what) = (&self.plan.hosts[index].host, &broken.step.what);
        Some(match broken.failure {
            HostFailure::NeverReached(error) => error.note(format!("`{host}` was next for {what}")),
            HostFailure::Failed { error, .. } | HostFailure::Lost(error) => error,
        })
    }

    /// Takes steps one after another.
    fn walk<'p>(
        &self,
        index: usize,
        steps: impl IntoIterator<Item = &'p Step>,
        state: &RolloutState,
    ) -> std::result::Result<(), FailedStep<'p>> {
        let began = Instant::now();
        let mut end = Ok(());
        for step in steps {
            match self.attempt(index, step) {
                Ok(output) => state.leave(index, step, &output),
                Err(failure) => {
                    if let HostFailure::Failed { output, .. } = &failure {
                        state.leave(index, step, output);
                    }
                    end = Err(FailedStep { step, failure });
                    break;
                }
            }
        }
        state.took(index, began.elapsed());
        end
    }

    /// Takes a step, again if it may be taken again.
    fn attempt(
        &self,
        index: usize,
        step: &Step,
    ) -> std::result::Result<CommandOutput, HostFailure> {
        let began = Instant::now();
        let mut began_there = false;
        self.on_event(index, &RolloutEvent::Begins(step));
        loop {
            let failure = match self.perform(index, step) {
                Ok(output) => {
                    self.on_event(index, &RolloutEvent::Ends(step, began.elapsed()));
                    return Ok(output);
                }
                // A script that a signal has ended, as at a shutdown, was cut off; the transaction
                // may go on.
                Err(HostFailure::Failed { output, error })
                    if matches!(step.stage, PushStage::Install | PushStage::Confirm)
                        && output.status > 128 =>
                {
                    HostFailure::Lost(error)
                }
                Err(failure) => failure,
            };
            let again = match &failure {
                HostFailure::Failed { .. } => false,
                HostFailure::NeverReached(_) => step.stage != PushStage::Login,
                HostFailure::Lost(_) => {
                    began_there = true;
                    step.stage.is_repeatable()
                }
            };
            if again && began.elapsed() < self.reconnect && !(self.stop)() {
                self.on_event(index, &RolloutEvent::Retries(step, failure.error()));
                thread::sleep(Duration::from_secs(1).min(self.reconnect));
                continue;
            }
            let failure = match failure {
                // An earlier try may go on there.
                HostFailure::NeverReached(error) if began_there => HostFailure::Lost(error),
                other => other,
            };
            self.on_event(index, &RolloutEvent::Fails(step, failure.error()));
            return Err(failure);
        }
    }

    fn perform(
        &self,
        index: usize,
        step: &Step,
    ) -> std::result::Result<CommandOutput, HostFailure> {
        match &step.action {
            StepAction::Run(command) => self.hosts[index].run(command, &mut |_, line| {
                self.on_event(index, &RolloutEvent::Says(&line_text(line)));
            }),
            StepAction::Upload(upload) => {
                let mut progress =
                    |sent| self.on_event(index, &RolloutEvent::Sent(sent, upload.size));
                self.hosts[index]
                    .upload(upload, &mut progress)
                    .map(|_| CommandOutput::default())
            }
            StepAction::Local(_) => Err(HostFailure::NeverReached(Error::bug(
                "a program of this machine is no host's step",
            ))),
        }
    }

    fn on_event(&self, index: usize, event: &RolloutEvent<'_>) {
        self.watch.on_event(&self.plan.hosts[index].host, event);
    }

    /// Runs programs of this machine.
    fn here(&self, steps: &[Step]) -> Result<()> {
        for step in steps {
            let StepAction::Local(words) = &step.action else {
                continue;
            };
            let [program, arguments @ ..] = &words[..] else {
                continue;
            };
            self.watch.on_event("here", &RolloutEvent::Begins(step));
            let hosts: Vec<&str> = self
                .plan
                .hosts
                .iter()
                .map(|host| host.host.as_str())
                .collect();
            let releases: Vec<&str> = self.plan.releases.iter().map(String::as_str).collect();
            let mut command = Program::new(program);
            command.args(arguments).stdin(Stdio::null());
            command
                .env("PKGAPP_NAME", self.plan.name.as_str())
                .env("PKGAPP_VERSION", releases.join(" "));
            command.env("PKGAPP_HOOK_HOSTS", hosts.join(" "));
            pkgapp_core::process::run(&mut command)?;
        }
        Ok(())
    }

    /// Does something on many hosts, on some of them at a time.
    fn each(&self, hosts: &[usize], work: impl Fn(usize) + Sync) {
        parallel::map(hosts, self.parallel, |host| work(*host));
    }
}

/// Whether the locks were got.
enum LockResult {
    All,
    /// After a wait: what was known of the hosts may be no longer so.
    Late,
    No,
}

fn interrupted(state: &str) -> Error {
    Error::new(format!("interrupted; {state}"))
}

/// What is known of the hosts so far.
struct RolloutState {
    hosts: Mutex<Vec<RunningHost>>,
    rest: Mutex<RemainingHosts>,
}

struct RunningHost {
    outcome: HostOutcome,
    locked: bool,
}

#[derive(Default)]
struct RemainingHosts {
    errors: Vec<Error>,
    stops: bool,
    stale: bool,
}

impl RolloutState {
    fn new(plan: &Plan) -> Self {
        let running = |host: &HostPlan| RunningHost {
            outcome: HostOutcome {
                host: host.host.clone(),
                end: if host.is_idle() {
                    HostStatus::Idle
                } else {
                    HostStatus::Unchanged
                },
                errors: Vec::new(),
                left: Vec::new(),
                took: Duration::ZERO,
            },
            locked: false,
        };
        Self {
            hosts: Mutex::new(plan.hosts.iter().map(running).collect()),
            rest: Mutex::default(),
        }
    }

    fn with<T>(&self, index: usize, change: impl FnOnce(&mut RunningHost) -> T) -> T {
        let mut hosts = self
            .hosts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        change(&mut hosts[index])
    }

    fn rest<T>(&self, change: impl FnOnce(&mut RemainingHosts) -> T) -> T {
        change(
            &mut self
                .rest
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }

    fn set_locked(&self, index: usize) {
        self.with(index, |host| host.locked = true);
    }

    fn leave_out(&self, index: usize) {
        self.with(index, |host| host.locked = false);
    }

    fn is_locked(&self, index: usize) -> bool {
        self.with(index, |host| host.locked)
    }

    fn end(&self, index: usize, end: HostStatus, error: Option<Error>) {
        self.with(index, |host| {
            host.outcome.end = end;
            host.outcome.errors.extend(error);
        });
    }

    fn end_of(&self, index: usize) -> HostStatus {
        self.with(index, |host| host.outcome.end)
    }

    fn took(&self, index: usize, took: Duration) {
        self.with(index, |host| host.outcome.took += took);
    }

    /// Keeps what a transaction has told. Its standard output is its own: what package managers and
    /// scriptlets print comes on standard error. Of other steps, such as hooks, both are
    /// foreign.
    fn leave(&self, index: usize, step: &Step, output: &CommandOutput) {
        if !matches!(step.stage, PushStage::Install | PushStage::Confirm) {
            return;
        }
        let text = output.text();
        let left = text
            .lines()
            .filter_map(|line| line.strip_prefix("pkgapp:left="))
            .map(str::to_owned);
        self.with(index, |host| host.outcome.left.extend(left));
    }

    fn fail(&self, error: Error) {
        self.rest(|rest| {
            rest.errors.push(error);
            rest.stops = true;
        });
    }

    fn stop(&self) {
        self.rest(|rest| rest.stops = true);
    }

    fn stops(&self) -> bool {
        self.rest(|rest| rest.stops)
    }

    fn set_stale(&self) {
        self.rest(|rest| rest.stale = true);
    }

    fn outcome(self) -> RolloutOutcome {
        let hosts = self
            .hosts
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let rest = self
            .rest
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        RolloutOutcome {
            hosts: hosts.into_iter().map(|host| host.outcome).collect(),
            errors: rest.errors,
            is_stale: rest.stale,
        }
    }
}
