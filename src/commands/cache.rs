//! `pkgapp cache`.

use std::path::{Path, PathBuf};
use std::process::Command;

use rayon::prelude::*;

use crate::cli::{CacheArgs, CacheCommand, GlobalOptions, PruneArgs};
use pkgapp_core::cache::{Cache, PruneRequest, PruneSummary, read_sealed_bytes};
use pkgapp_core::error::{Context, Error, ErrorKind, Result, shown};
use pkgapp_core::process;
use pkgapp_core::report::{OutputStyle, ProgressUnit, Report, human_bytes};
use pkgapp_core::text::counted;
use pkgapp_format::segment;
use pkgapp_release::layer;
use pkgapp_wheels::store;

use super::open_cache;

pub(super) fn cache(args: &CacheArgs, global: &GlobalOptions, report: &Report) -> Result<()> {
    let cache = open_cache(global, report)?;
    match &args.command {
        CacheCommand::Dir => {
            match report.style() {
                OutputStyle::Text => report.result(&cache.root().display().to_string()),
                OutputStyle::Json => report.json(&serde_json::json!({ "dir": cache.root() })),
            }
            Ok(())
        }
        CacheCommand::Size => size(&cache, report),
        CacheCommand::Prune(args) => prune(&cache, args, report),
        CacheCommand::Verify => verify(&cache, report),
        CacheCommand::Export(args) => super::export::export(args, global, report),
    }
}

fn size(cache: &Cache, report: &Report) -> Result<()> {
    let usage = cache.usage()?;
    let total: u64 = usage.iter().map(|usage| usage.bytes).sum();
    if report.style() == OutputStyle::Json {
        let kinds = usage
            .iter()
            .map(|usage| serde_json::json!({ "kind": usage.kind, "entries": usage.entries, "bytes": usage.bytes }));
        let kinds: Vec<_> = kinds.collect();
        report.json(&serde_json::json!({ "dir": cache.root(), "bytes": total, "kinds": kinds }));
        return Ok(());
    }
    for usage in &usage {
        report.result(&format!(
            "{:<10} {:>7} {:>10}",
            usage.kind,
            usage.entries,
            human_bytes(usage.bytes)
        ));
    }
    report.result(&format!(
        "{:<10} {:>7} {:>10}",
        "total",
        "",
        human_bytes(total)
    ));
    Ok(())
}

fn prune(cache: &Cache, args: &PruneArgs, report: &Report) -> Result<()> {
    let pruned = cache.prune(PruneRequest {
        older_than: args.older_than,
        max_size: Some(args.max_size),
        all: args.all,
    })?;
    match report.style() {
        OutputStyle::Text => report.step(&told(&pruned)),
        OutputStyle::Json => report.json(&serde_json::json!({
            "removed": pruned.entries,
            "bytes": pruned.bytes,
            "in_use": pruned.in_use,
            "left": pruned.left,
        })),
    }
    Ok(())
}

/// Describes a pruning in one line.
pub(super) fn told(pruned: &PruneSummary) -> String {
    let entries = |number: u64| counted(usize::try_from(number).unwrap_or(usize::MAX), "entry");
    let in_use = match pruned.in_use {
        0 => String::new(),
        number => format!(", {} kept because they are in use", entries(number)),
    };
    format!(
        "cache: {} removed ({}), {} left{in_use}",
        entries(pruned.entries),
        human_bytes(pruned.bytes),
        human_bytes(pruned.left)
    )
}

/// A damaged entry, with its damaged files.
type Damage = (PathBuf, Vec<String>);

/// Returns the damaged files of an entry; empty if the entry is sound.
type Verifier = fn(&Path) -> Vec<String>;

fn verify(cache: &Cache, report: &Report) -> Result<()> {
    let entries = verifiable_entries(cache)?;
    let damaged = find_damage(&entries, report);
    for (path, _) in &damaged {
        if !cache.forget(path)? {
            // Another process reads the entry. Without its description, no other process takes it.
            _ = std::fs::remove_file(path.join("layer.json"));
        }
    }

    tell(cache, &damaged, entries.len(), report);
    match damaged.len() {
        0 => Ok(()),
        1 => Err(
            Error::new("1 entry of the cache was damaged and has been removed")
                .kind(ErrorKind::Found)
                .hint("the next build creates it again"),
        ),
        number => Err(Error::new(format!(
            "{number} entries of the cache were damaged and have been removed"
        ))
        .kind(ErrorKind::Found)
        .hint("the next build creates them again")),
    }
}

/// Lists all entries of the cache that can be verified.
fn verifiable_entries(cache: &Cache) -> Result<Vec<(PathBuf, Verifier)>> {
    let verifiers: [(PathBuf, Verifier); 11] = [
        (cache.wheels(), named),
        (cache.sdists(), named),
        (cache.built(), recorded),
        (cache.layers(), layer::damage),
        (cache.segments(), segment::damage),
        (cache.bytecode(), sealed),
        (cache.pins(), sealed),
        (cache.proofs(), sealed),
        (cache.md5sums(), sealed),
        (cache.runs(), sealed),
        (cache.tools(), sealed),
    ];
    let mut entries: Vec<(PathBuf, Verifier)> = Vec::new();
    for (directory, verifier) in verifiers {
        entries.extend(below(&directory)?.into_iter().map(|path| (path, verifier)));
    }
    for repository in below(&cache.git())? {
        entries.extend(
            below(&repository)?
                .into_iter()
                .map(|path| (path, checkout as Verifier)),
        );
    }
    Ok(entries)
}

fn find_damage(entries: &[(PathBuf, Verifier)], report: &Report) -> Vec<Damage> {
    let progress = report.progress("reading", entries.len() as u64, ProgressUnit::Things);
    entries
        .par_iter()
        .filter_map(|(path, verifier)| {
            let damage = verifier(path);
            progress.advance(1);
            // Another process may have pruned the entry meanwhile.
            (!damage.is_empty() && path.exists()).then(|| (path.clone(), damage))
        })
        .collect()
}

fn tell(cache: &Cache, damaged: &[Damage], entries: usize, report: &Report) {
    let name = |path: &Path| {
        path.strip_prefix(cache.root())
            .unwrap_or(path)
            .display()
            .to_string()
    };
    if report.style() == OutputStyle::Json {
        let list = damaged
            .iter()
            .map(|(path, what)| serde_json::json!({ "entry": name(path), "files": what }));
        let list: Vec<_> = list.collect();
        report.json(&serde_json::json!({ "entries": entries, "damaged": list }));
        return;
    }
    for (path, what) in damaged {
        for what in what {
            report.result(&format!("{}: {what}", name(path)));
        }
    }
    if damaged.is_empty() {
        report.step(&format!("cache: {entries} entries are undamaged"));
    }
}

fn below(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context(|| format!("cannot read `{}`", shown(directory)))?,
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

/// Verifies a directory that is named after the SHA-256 of its file.
fn named(directory: &Path) -> Vec<String> {
    let sum = directory.file_name().unwrap_or_default().to_string_lossy();
    let is = |path: &Path| store::sum(path).is_ok_and(|(_, found)| found.to_string() == sum);
    files_that(directory, |path| !is(path))
}

/// Verifies a wheel that has its checksum beside it.
fn recorded(directory: &Path) -> Vec<String> {
    files_that(directory, |path| {
        let recorded = store::recorded(path);
        recorded.is_none() || store::sum(path).ok().map(|(_, found)| found) != recorded
    })
}

fn files_that(directory: &Path, is_bad: impl Fn(&Path) -> bool) -> Vec<String> {
    let files = below(directory).unwrap_or_default();
    let files = files
        .iter()
        .filter(|path| path.extension().is_none_or(|extension| extension != "json"));
    let name = |path: &PathBuf| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    files.filter(|path| is_bad(path)).map(name).collect()
}

/// Verifies a file that begins with its own checksum.
fn sealed(file: &Path) -> Vec<String> {
    if read_sealed_bytes(file).is_some() {
        Vec::new()
    } else {
        vec!["does not match its checksum".to_owned()]
    }
}

/// Verifies a git repository that is named after its checked-out commit. Without git, the
/// repository counts as sound.
fn checkout(directory: &Path) -> Vec<String> {
    let (Some(git), Ok(aside)) = (process::find("git"), tempfile::tempdir()) else {
        return Vec::new();
    };
    let index = aside.path().join("index");
    let ask = |args: &[&str]| git_output(&git, directory, &index, args);

    let head = ask(&["rev-parse", "HEAD"]).unwrap_or_default();
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    // A pin may abbreviate its commit.
    if head.is_empty() || !head.starts_with(&*name) {
        return vec!["not a repository at this commit".to_owned()];
    }
    let steps: [&[&str]; 3] = [
        &["fsck", "--no-dangling", "--no-progress"],
        &["read-tree", "HEAD"],
        &["update-index", "-q", "--refresh"],
    ];
    let changed = steps
        .iter()
        .all(|step| ask(step).is_some())
        .then(|| ask(&["diff-files", "--name-only"]))
        .flatten();
    match changed {
        Some(changed) => changed.lines().map(str::to_owned).collect(),
        None => vec!["a repository that git cannot read".to_owned()],
    }
}

/// Runs git on a checkout with a new index: from the checkout's own index, git would take the
/// files as unchanged if their times are, without reading them.
fn git_output(git: &Path, directory: &Path, index: &Path, args: &[&str]) -> Option<String> {
    let mut command = Command::new(git);
    process::outside_repositories(&mut command);
    command
        .env("GIT_INDEX_FILE", index)
        .env("GIT_DIR", directory.join(".git"))
        .env("GIT_WORK_TREE", directory)
        .current_dir(directory)
        .args(args);

    let output = process::output(&mut command)
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkout_is_verified_against_its_commit() {
        let Some(git) = pkgapp_testing::tool("git") else {
            return;
        };
        let directory = tempfile::tempdir().unwrap();
        let made = directory.path().join("made");
        std::fs::create_dir(&made).unwrap();
        let run = |place: &Path, args: &[&str]| {
            let author = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
            let mut command = Command::new(&git);
            let output = process::run(command.current_dir(place).args(author).args(args)).unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        for (name, text) in [("a.py", "a = 1\n"), ("b.py", "b = 1\n")] {
            std::fs::write(made.join(name), text).unwrap();
        }
        for args in [
            &["init", "-q"][..],
            &["add", "."],
            &["commit", "-qm", "all"],
        ] {
            run(&made, args);
        }
        let commit = run(&made, &["rev-parse", "HEAD"]);
        let place = directory.path().join(&commit);
        std::fs::rename(&made, &place).unwrap();
        assert_eq!(checkout(&place), Vec::<String>::new());
        // The length and the times stay the same, so only the bytes differ.
        let times = std::fs::metadata(place.join("b.py"))
            .unwrap()
            .modified()
            .unwrap();
        std::fs::write(place.join("b.py"), "b = 2\n").unwrap();
        std::fs::File::options()
            .write(true)
            .open(place.join("b.py"))
            .unwrap()
            .set_modified(times)
            .unwrap();
        assert_eq!(checkout(&place), ["b.py"]);
        run(&place, &["commit", "-qam", "another"]);
        assert_eq!(checkout(&place), ["not a repository at this commit"]);
        std::fs::remove_dir_all(place.join(".git/objects")).unwrap();
        assert_eq!(checkout(&place).len(), 1);
        std::fs::remove_dir_all(place.join(".git")).unwrap();
        assert_eq!(checkout(&place), ["not a repository at this commit"]);
    }
}
