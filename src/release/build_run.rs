//! `[build] run`: commands of the application that run in the release before it is packed, such as
//! `collectstatic`.
//!
//! pkgapp copies the release to a temporary directory, with the build machine's interpreter in place
//! of the host's. Files that the commands write become a layer; files that they remove leave the
//! tree.

mod lacks;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::layer::{self, Layer, LayerBuilder, TreeSource};
use crate::release::pyvenv_cfg;
use crate::tree::{CollisionWinner, EntryKind, EntryOrigin, Tree, TreeEntry};
use pkgapp_core::cache::{self, Cache};
use pkgapp_core::content::Content;
use pkgapp_core::digest::Digest;
use pkgapp_core::error::{Context, Error, Location, Result, shown};
use pkgapp_core::fs;
use pkgapp_core::path::{InstallPath, ReleasePath};
use pkgapp_core::process;
use pkgapp_core::report::Report;

/// The label of the layer.
const LABEL: &str = "files made by `[build] run`";

/// A command of `[build] run`.
#[derive(Debug, Clone)]
pub struct RunCommand {
    /// The program and its arguments, which no shell interprets.
    pub words: Vec<String>,
    /// The place in the configuration.
    pub at: Option<Location>,
}

/// The environment of commands, apart from the release.
#[derive(Debug, Clone)]
pub struct RunEnvironment<'a> {
    /// SOURCE_DATE_EPOCH, seconds since 1970.
    pub timestamp: u64,
    /// `[build] env`, which overrides all other variables.
    pub env: &'a BTreeMap<String, String>,
    /// Run the commands even if the cache has their results.
    pub rerun: bool,
}

/// A part of the key of results. To be changed when commands run in another way.
const RUN_FORMAT: &str = "pkgapp run 1";

/// The changes that commands have made to a release, as in the cache.
#[derive(Debug, Serialize, Deserialize)]
struct RecordedRun {
    layer: Option<String>,
    removed: BTreeSet<ReleasePath>,
}

/// The variables of the caller that commands see: proxies, certificates, and places. All others are
/// hidden, so that a command has the same result for everyone.
const PASSED: &[&str] = &[
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "LD_LIBRARY_PATH",
    "TMPDIR",
];

/// Runs the commands in a copy of the release and updates the tree; returns the layer of the files
/// that they wrote.
///
/// With a `twin`, they run in a copy of the twin: a release for another architecture cannot run on
/// the build machine, but a release of the same pins can.
///
/// The key of the results covers everything of the build that commands can see: the content of the
/// release, the commands, their variables, PATH, and the interpreter. Commands must not depend on
/// anything else, such as the network or the time, or packages would not be reproducible; `rerun`
/// is for commands that do.
///
/// # Errors
/// A command cannot run or fails, or has written a file that cannot ship.
pub fn run(
    tree: &mut Tree,
    twin: Option<&Tree>,
    prefix: &InstallPath,
    commands: &[RunCommand],
    environment: &RunEnvironment<'_>,
    builder: &LayerBuilder<'_>,
    report: &Report,
) -> Result<Option<Layer>> {
    if commands.is_empty() {
        return Ok(None);
    }
    let cache = builder.cache;
    let kept = cache.runs().join(format!(
        "{}.json",
        key(twin.unwrap_or(tree), prefix, commands, environment, builder)
    ));
    if !environment.rerun
        && let Some((layer, removed)) = RecordedRun::read(&kept, cache)
    {
        cache.count("build commands", true);
        report.detail("`[build] run`: the cache has the results of the commands");
        return replay(tree, prefix, layer, &removed, builder);
    }

    cache.count("build commands", false);
    let run_in = twin.unwrap_or(tree);
    let (layer, removed) = run_staged(run_in, prefix, commands, environment, builder, report)?;
    let record = RecordedRun {
        layer: layer.as_ref().map(|layer| layer.key.clone()),
        removed: removed.clone(),
    };
    cache.write(&kept, &record)?;
    replay(tree, prefix, layer, &removed, builder)
}

/// Runs the commands in a copy of a release; returns the layer of the files that they wrote, and
/// the paths that they removed.
fn run_staged(
    release: &Tree,
    prefix: &InstallPath,
    commands: &[RunCommand],
    environment: &RunEnvironment<'_>,
    builder: &LayerBuilder<'_>,
    report: &Report,
) -> Result<(Option<Layer>, BTreeSet<ReleasePath>)> {
    let directory = builder.cache.temporary()?;
    let staged = StagedRelease::new(release, prefix, directory.path(), builder)?;
    for command in commands {
        staged.execute(command, environment, report)?;
    }
    let RunChanges { made, removed } = staged.changes(release)?;
    let layer = if made.is_empty() {
        None
    } else {
        Some(Layer::for_sources(builder, LABEL, &made)?)
    };
    Ok((layer, removed))
}

impl RecordedRun {
    /// Returns the layer and the removed paths of a record; `None` if the cache lacks the record or
    /// its layer.
    fn read(kept: &Path, cache: &Cache) -> Option<(Option<Layer>, BTreeSet<ReleasePath>)> {
        let record = cache::read_sealed::<Self>(kept)?;
        let layer = match &record.layer {
            Some(key) => Some(Layer::open(cache, key, LABEL)?),
            None => None,
        };
        Some((layer, record.removed))
    }
}

/// Returns the key of the results, from everything of a build that its commands can see.
fn key(
    tree: &Tree,
    prefix: &InstallPath,
    commands: &[RunCommand],
    environment: &RunEnvironment<'_>,
    builder: &LayerBuilder<'_>,
) -> String {
    let set = |name: &str| {
        std::env::var_os(name)
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let passed = PASSED
        .iter()
        .chain(&["PATH"])
        .map(|name| format!("{name}={}", set(name)));
    let mut parts = vec![
        RUN_FORMAT.to_owned(),
        prefix.to_string(),
        environment.timestamp.to_string(),
        builder.compiler.identity().to_owned(),
        format!("{:?}", builder.compiler.base()),
        format!(
            "{:?}",
            commands
                .iter()
                .map(|command| &command.words)
                .collect::<Vec<_>>()
        ),
        format!("{:?}", environment.env),
        tree.dump(),
    ];
    parts.extend(passed);
    cache::key(parts.iter().map(String::as_str))
}

/// Applies the changes of commands to a tree.
fn replay(
    tree: &mut Tree,
    prefix: &InstallPath,
    layer: Option<Layer>,
    removed: &BTreeSet<ReleasePath>,
    builder: &LayerBuilder<'_>,
) -> Result<Option<Layer>> {
    let made = layer
        .iter()
        .flat_map(|layer| &layer.manifest.entries)
        .map(|entry| &entry.path);
    // Byte code in the layer was compiled from its sources, so it is not a change of its own.
    let made: Vec<&ReleasePath> = made.filter(|path| !layer::is_byte_code(path)).collect();
    let is_file = |path: &ReleasePath| {
        tree.get(&prefix.join(path))
            .is_some_and(|entry| !matches!(entry.kind, EntryKind::Directory))
    };
    // Otherwise no RECORD changes, so none has to be read.
    let touches_files = removed.iter().chain(made.iter().copied()).any(is_file);
    for path in removed.iter().chain(made) {
        remove_with_byte_code(tree, prefix, path, builder)?;
    }
    if let Some(layer) = &layer {
        layer.insert_into(tree, prefix, &|_, _, _| CollisionWinner::Nobody)?;
    }
    if touches_files {
        let site_packages = prefix.join(&ReleasePath::parse(&builder.compiler.site_packages())?);
        update_records(tree, prefix, &site_packages)?;
    }
    Ok(layer)
}

/// A copy of a release in which commands can run.
struct StagedRelease<'a> {
    root: PathBuf,
    home: PathBuf,
    prefix: &'a InstallPath,
    /// The inode change time of each copied file, by path below the prefix.
    copied: BTreeMap<ReleasePath, (i64, i64)>,
}

/// The changes that commands have made to a release.
struct RunChanges {
    made: BTreeMap<ReleasePath, TreeSource>,
    removed: BTreeSet<ReleasePath>,
}

impl<'a> StagedRelease<'a> {
    fn new(
        tree: &Tree,
        prefix: &'a InstallPath,
        directory: &Path,
        builder: &LayerBuilder<'_>,
    ) -> Result<Self> {
        let (root, home) = (directory.join("release"), directory.join("home"));
        fs::create_dir_all(&home)?;
        materialise(tree, prefix, &root)?;
        install_interpreter(&root, builder)?;
        let mut copied = BTreeMap::new();
        for (path, _, _) in tree.files() {
            let Some(below) = path.below(prefix) else {
                continue;
            };
            let metadata = metadata(&root.join(below.as_str()))?;
            copied.insert(below, (metadata.ctime(), metadata.ctime_nsec()));
        }
        // The clock for file times moves in steps of up to 10 ms. After this pause, a changed file
        // has a later time than any copy.
        std::thread::sleep(std::time::Duration::from_millis(20));
        Ok(Self {
            root,
            home,
            prefix,
            copied,
        })
    }

    fn execute(
        &self,
        command: &RunCommand,
        environment: &RunEnvironment<'_>,
        report: &Report,
    ) -> Result<()> {
        let place = |error: Error| match &command.at {
            Some(at) => error.at(at.clone()),
            None => error,
        };
        let mut child = self.child(command, environment).map_err(&place)?;
        let output = process::output(&mut child).map_err(&place)?;
        let line = command.words.join(" ");
        if !output.status.success() {
            let error = process::failure(&child, &output)
                .context(format!("`{line}` of `[build] run` failed"));
            let said = [&output.stdout[..], &output.stderr[..]]
                .map(String::from_utf8_lossy)
                .join("\n");
            let hint = lacks::way_out(&said, &self.root);
            return Err(place(hint.into_iter().fold(error, Error::hint)));
        }

        report.detail(&format!("ran `{line}`"));
        for text in [&output.stdout, &output.stderr] {
            for line in String::from_utf8_lossy(text).lines() {
                report.detail(&format!("  {line}"));
            }
        }
        Ok(())
    }

    /// Returns the process for a command.
    fn child(&self, command: &RunCommand, environment: &RunEnvironment<'_>) -> Result<Command> {
        let [program, arguments @ ..] = &command.words[..] else {
            return Err(Error::new("a command of `[build] run` is empty"));
        };
        let path = self.path()?;
        let found = which::which_in(program, Some(&path), &self.root).map_err(|cause| {
            Error::new(format!(
                "cannot find `{program}`, a command of `[build] run`"
            ))
            .cause(cause)
            .hint("pkgapp looks in the release's `bin/`, then on PATH, and uses no shell")
        })?;
        let mut child = Command::new(&found);
        child.args(arguments).current_dir(&self.root);
        self.set_environment(&mut child, &path, environment);
        Ok(child)
    }

    /// Sets the variables of a command: the same in every build, and few of the caller's.
    fn set_environment(
        &self,
        child: &mut Command,
        path: &OsString,
        environment: &RunEnvironment<'_>,
    ) {
        let passed = PASSED
            .iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?)));
        child
            .env_clear()
            .envs(passed)
            .env("PATH", path)
            .env("HOME", &self.home)
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .env("SOURCE_DATE_EPOCH", environment.timestamp.to_string())
            .env("PKGAPP_PREFIX", self.prefix.as_str())
            .env("PYTHONHASHSEED", "0")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs(environment.env);
    }

    /// Returns the search path: the release's programs, then the system's.
    fn path(&self) -> Result<OsString> {
        let system =
            std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        let places = std::iter::once(self.root.join("bin")).chain(std::env::split_paths(&system));
        std::env::join_paths(places).context(|| "cannot use a directory on PATH with a colon")
    }

    /// Compares the directory with the tree from which it was copied.
    fn changes(&self, tree: &Tree) -> Result<RunChanges> {
        let (mut made, mut met, mut errors) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        for item in walkdir::WalkDir::new(&self.root)
            .min_depth(1)
            .sort_by_file_name()
        {
            let item = item.context(|| "cannot read the results of `[build] run`")?;
            match self.change(tree, item.path(), &mut met) {
                Ok(Some((path, source))) => _ = made.insert(path, source),
                Ok(None) => {}
                Err(error) => errors.push(error.note("a command of `[build] run` created it")),
            }
        }
        Error::all(errors).map_or(Ok(()), Err)?;
        let removed = tree
            .iter()
            .filter_map(|(path, _)| path.below(self.prefix))
            .filter(|path| !met.contains(path) && !is_ours(path) && !layer::is_byte_code(path))
            .collect();
        Ok(RunChanges { made, removed })
    }

    /// Returns a path of the directory if it is new or changed, and adds it to `met`.
    fn change(
        &self,
        tree: &Tree,
        file: &Path,
        met: &mut BTreeSet<ReleasePath>,
    ) -> Result<Option<(ReleasePath, TreeSource)>> {
        let below = file.strip_prefix(&self.root).ok().and_then(Path::to_str);
        let below = below
            .ok_or_else(|| Error::new(format!("the name of `{}` is not UTF-8", shown(file))))?;
        let path = ReleasePath::parse(below)?;
        met.insert(path.clone());
        if is_ours(&path) || layer::is_byte_code(&path) || self.is_untouched(&path, file)? {
            return Ok(None);
        }
        let source = layer::read_source(file)?;
        let present = tree.get(&self.prefix.join(&path));
        if present.is_some_and(|entry| is_same(entry, &source)) {
            return Ok(None);
        }
        if let TreeSource::Symlink(target) = &source
            && layer::resolve(&path, target).is_none()
        {
            return Err(Error::new(format!(
                "the link `{path}` leads to `{target}`, outside the release"
            ))
            .hint("make it a relative link to a file in the release"));
        }
        Ok(Some((path, source)))
    }

    /// Returns whether the times of a copied file show that nobody has changed its content or mode,
    /// so that it need not be read.
    fn is_untouched(&self, path: &ReleasePath, file: &Path) -> Result<bool> {
        let Some(copied) = self.copied.get(path) else {
            return Ok(false);
        };
        let metadata = metadata(file)?;
        Ok(metadata.is_file() && (metadata.ctime(), metadata.ctime_nsec()) == *copied)
    }
}

/// Returns whether a file is still the same as in the tree.
fn is_same(entry: &TreeEntry, source: &TreeSource) -> bool {
    match (&entry.kind, source) {
        (EntryKind::Directory, TreeSource::Directory) => true,
        (EntryKind::Symlink(before), TreeSource::Symlink(after)) => before == after,
        (EntryKind::File(before), TreeSource::File(_, mode, after)) => {
            before.digest == *after && (entry.mode & 0o111 != 0) == (mode & 0o111 != 0)
        }
        _ => false,
    }
}

/// Updates every RECORD: removes the lines of removed files, and updates the hashes of changed
/// files.
fn update_records(
    tree: &mut Tree,
    prefix: &InstallPath,
    site_packages: &InstallPath,
) -> Result<()> {
    let is_record = |path: &InstallPath| {
        path.file_name() == "RECORD"
            && path.parent().is_some_and(|directory| {
                directory.file_name().ends_with(".dist-info")
                    && directory.parent().as_ref() == Some(site_packages)
            })
    };
    let records: Vec<(InstallPath, Content)> = tree
        .files()
        .filter(|(path, ..)| is_record(path))
        .map(|(path, _, content)| (path.clone(), content.clone()))
        .collect();
    let origin = Arc::new(EntryOrigin {
        label: LABEL.into(),
        layer: None,
    });
    for (path, content) in records {
        let old = content.read()?;
        let new = layer::updated_record(&old, |recorded| {
            digest_of(recorded, tree, prefix, site_packages)
        })
        .map_err(|error| error.context(format!("cannot update `{path}`")))?;
        if new != old {
            tree.remove(&path);
            tree.insert(path, TreeEntry::file(Content::memory(new), 0o644, &origin))?;
        }
    }
    Ok(())
}

/// Returns the digest of a file that a RECORD lists; `None` if it is not a file of the tree.
fn digest_of(
    recorded: &str,
    tree: &Tree,
    prefix: &InstallPath,
    site_packages: &InstallPath,
) -> Option<Digest> {
    let place = match recorded.strip_prefix("../../../") {
        Some(below) => prefix.join(&ReleasePath::parse(below).ok()?),
        None => site_packages.join(&ReleasePath::parse(recorded).ok()?),
    };
    match &tree.get(&place)?.kind {
        EntryKind::File(content) => Some(content.digest),
        EntryKind::Directory | EntryKind::Symlink(_) => None,
    }
}

/// Removes a path from the tree, together with its byte code.
fn remove_with_byte_code(
    tree: &mut Tree,
    prefix: &InstallPath,
    path: &ReleasePath,
    builder: &LayerBuilder<'_>,
) -> Result<()> {
    let pyc = prefix.join(&builder.compiler.pyc_path(path)?);
    if tree.remove(&prefix.join(path)).is_none() || !path.as_str().ends_with(".py") {
        return Ok(());
    }
    tree.remove(&pyc);
    // An empty directory of byte code is removed, too.
    if let Some(directory) = pyc.parent()
        && !tree
            .iter()
            .any(|(other, _)| other.below(&directory).is_some())
    {
        tree.remove(&directory);
    }
    Ok(())
}

/// Returns whether a path differs between a staged release and a host.
fn is_ours(path: &ReleasePath) -> bool {
    matches!(path.as_str(), "bin/python" | "pyvenv.cfg")
}

/// Copies the files of a tree below `prefix` to a directory, so that commands cannot change the
/// cache.
///
/// # Errors
/// The system reports an error.
pub fn materialise(tree: &Tree, prefix: &InstallPath, root: &Path) -> Result<()> {
    fs::create_dir_all(root)?;
    let place = |path: &InstallPath| path.below(prefix).map(|below| root.join(below.as_str()));
    let mut files = Vec::new();
    // A directory comes before what is in it.
    for (path, entry) in tree.iter() {
        let Some(place) = place(path) else { continue };
        let failed = || format!("cannot write `{}`", shown(&place));
        match &entry.kind {
            EntryKind::Directory => fs_err::create_dir_all(&place).context(failed)?,
            EntryKind::Symlink(target) => symlink(target, &place).context(failed)?,
            EntryKind::File(content) => files.push((place, content, entry.mode)),
        }
    }
    files
        .into_par_iter()
        .try_for_each(|(place, content, mode)| copy(content, mode, &place))
}

fn copy(content: &Content, mode: u32, place: &Path) -> Result<()> {
    let failed = || format!("cannot write `{}`", shown(place));
    let mut file = fs_err::File::create(place).context(failed)?;
    if std::io::copy(&mut content.reader()?, &mut file).context(failed)? != content.digest.size {
        return Err(Error::new(content.unreadable())
            .cause_text("the file is truncated")
            .hint("build again"));
    }
    drop(file);
    // The owner may write, so that commands can change the files.
    fs_err::set_permissions(place, std::fs::Permissions::from_mode(mode & 0o777 | 0o200))
        .context(failed)
}

/// Makes a copied release run on the build machine, with the build's interpreter in place of the
/// host's. A release with a bundled interpreter needs no change.
///
/// # Errors
/// The system reports an error, or the interpreter does not run.
pub fn install_interpreter(root: &Path, builder: &LayerBuilder<'_>) -> Result<()> {
    if builder.compiler.ships() {
        return Ok(());
    }
    let interpreter = match builder.compiler.base() {
        Some(base) => base.to_owned(),
        None => base_interpreter(builder.compiler.interpreter()?)?,
    };
    let home = interpreter.parent().and_then(Path::to_str).ok_or_else(|| {
        Error::new(format!(
            "the directory of the interpreter `{}` has no name in UTF-8",
            shown(&interpreter)
        ))
    })?;
    let link = root.join("bin/python");
    fs::create_dir_all(&root.join("bin"))?;
    if link.symlink_metadata().is_ok() {
        fs_err::remove_file(&link).context(|| "cannot replace `bin/python`")?;
    }
    symlink(&interpreter, &link).context(|| format!("cannot write `{}`", shown(&link)))?;
    let text = pyvenv_cfg(home, builder.compiler.python());
    fs_err::write(root.join("pyvenv.cfg"), text).context(|| "cannot write `pyvenv.cfg`")
}

/// Returns the interpreter itself if `interpreter` belongs to a virtual environment.
fn base_interpreter(interpreter: &Path) -> Result<PathBuf> {
    let ask = "import sys; print(getattr(sys, '_base_executable', None) or sys.executable)";
    let output = process::run(Command::new(interpreter).args(["-I", "-S", "-c", ask]))?;
    Ok(PathBuf::from(
        String::from_utf8_lossy(&output.stdout).trim_end(),
    ))
}

fn metadata(file: &Path) -> Result<std::fs::Metadata> {
    file.symlink_metadata()
        .context(|| format!("cannot read `{}`", shown(file)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::testing::{Bench, TestWheel, pythons};

    fn command(words: &[&str]) -> RunCommand {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        RunCommand {
            words,
            at: Some(Location {
                file: "/x/pkgapp.toml".into(),
                position: Some((7, 8)),
            }),
        }
    }

    fn tool() -> TestWheel {
        TestWheel::new(
            "tool",
            "1.0",
            &[
                (
                    "tool/__init__.py",
                    b"import sys\ndef main():\n    open(sys.argv[1], 'w').write('made')\n",
                ),
                ("tool/unwanted.py", b"x = 1\n"),
                ("tool/tests/test.py", b"x = 2\n"),
                (
                    "tool-1.0.dist-info/entry_points.txt",
                    b"[console_scripts]\nmake = tool:main\n",
                ),
            ],
        )
    }

    struct Shop {
        bench: Bench,
        prefix: InstallPath,
        layers: Vec<Layer>,
        tree: Tree,
        rerun: bool,
    }

    impl Shop {
        fn new(bench: Bench) -> Self {
            let source = bench.directory.path().join("source");
            bench.write(
                &source,
                "manage.py",
                "import sys, tool\nopen('app/said', 'w').write(repr(sys.argv[1:]))\n",
                0o644,
            );
            bench.write(&source, "template.html", "<p>", 0o644);
            let files = ["manage.py".into(), "template.html".into()];
            let files = Layer::for_files(&bench.builder(), &source, &files).unwrap();
            let layers: Vec<Layer> = [bench.install(&tool()).unwrap()]
                .into_iter()
                .chain(files)
                .collect();
            let prefix = InstallPath::parse("/opt/shop").unwrap();
            let tree = bench.tree(&prefix, &layers);
            Self {
                bench,
                prefix,
                layers,
                tree,
                rerun: false,
            }
        }

        fn run(&mut self, commands: &[&[&str]]) -> Result<Option<Layer>> {
            let commands: Vec<RunCommand> = commands.iter().map(|words| command(words)).collect();
            let env = BTreeMap::from([("SECRET_KEY".to_owned(), "x y".to_owned())]);
            let environment = RunEnvironment {
                timestamp: 1_700_000_000,
                env: &env,
                rerun: self.rerun,
            };
            run(
                &mut self.tree,
                None,
                &self.prefix,
                &commands,
                &environment,
                &self.bench.builder(),
                &Report::silent(),
            )
        }

        fn text(&self, path: &str) -> String {
            let entry = self.tree.get(&InstallPath::parse(path).unwrap()).unwrap();
            match &entry.kind {
                EntryKind::File(content) => String::from_utf8(content.read().unwrap()).unwrap(),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Lines of two dumps that are in one only, with `-` and `+`.
    fn difference(before: &str, after: &str) -> Vec<String> {
        let path = |line: &str| line.split(' ').nth(4).unwrap().to_owned();
        let gone = before
            .lines()
            .filter(|line| !after.lines().any(|other| other == *line))
            .map(|l| format!("- {}", path(l)));
        let new = after
            .lines()
            .filter(|line| !before.lines().any(|other| other == *line))
            .map(|l| format!("+ {}", path(l)));
        gone.chain(new).collect()
    }

    #[test]
    fn what_commands_make_change_and_remove_gets_into_the_tree() {
        for (interpreter, python) in pythons() {
            let mut shop = Shop::new(Bench::with(&interpreter, python));
            let before = shop.tree.dump();
            let (site, tag) = (shop.bench.compiler.site_packages(), shop.bench.tag());
            let script = format!(
                "umask 077; mkdir -p app/static/empty; echo css > app/static/a.css; ln -s a.css app/static/b.css
                 chmod 700 app/template.html; rm {site}/tool/unwanted.py; rm -r {site}/tool/tests
                 echo 'y = 1' >> {site}/tool/__init__.py; touch {site}/tool/__pycache__/other.pyc bin/python pyvenv.cfg
                 echo '# more' >> pyvenv.cfg; ln app/manage.py app/hard.py"
            );
            let layer = shop
                .run(&[
                    &["python", "app/manage.py", "collect static", "--x"],
                    &["make", "app/made.py"],
                    &["sh", "-c", &script],
                ])
                .unwrap()
                .unwrap();
            assert_eq!(layer.label, "files made by `[build] run`");
            let expected = [
                "- /opt/shop/app/template.html".to_owned(),
                format!("- /opt/shop/{site}/tool-1.0.dist-info/RECORD"),
                format!("- /opt/shop/{site}/tool/__init__.py"),
                format!("- /opt/shop/{site}/tool/__pycache__/__init__.{tag}.pyc"),
                format!("- /opt/shop/{site}/tool/__pycache__/unwanted.{tag}.pyc"),
                format!("- /opt/shop/{site}/tool/tests"),
                format!("- /opt/shop/{site}/tool/tests/__pycache__"),
                format!("- /opt/shop/{site}/tool/tests/__pycache__/test.{tag}.pyc"),
                format!("- /opt/shop/{site}/tool/tests/test.py"),
                format!("- /opt/shop/{site}/tool/unwanted.py"),
                format!("+ /opt/shop/app/__pycache__/hard.{tag}.pyc"),
                format!("+ /opt/shop/app/__pycache__/made.{tag}.pyc"),
                "+ /opt/shop/app/hard.py".into(),
                "+ /opt/shop/app/made.py".into(),
                "+ /opt/shop/app/said".into(),
                "+ /opt/shop/app/static".into(),
                "+ /opt/shop/app/static/a.css".into(),
                "+ /opt/shop/app/static/b.css".into(),
                "+ /opt/shop/app/static/empty".into(),
                "+ /opt/shop/app/template.html".into(),
                format!("+ /opt/shop/{site}/tool-1.0.dist-info/RECORD"),
                format!("+ /opt/shop/{site}/tool/__init__.py"),
                format!("+ /opt/shop/{site}/tool/__pycache__/__init__.{tag}.pyc"),
            ];
            similar_asserts::assert_eq!(
                difference(&before, &shop.tree.dump()),
                expected,
                "Python {}",
                python
            );
            let dump = shop.tree.dump();
            assert!(dump.contains("drwxr-xr-x root:root - - /opt/shop/app/static/empty\n"));
            assert!(
                dump.contains("-rwxr-xr-x root:root 3 sha256:"),
                "the exec bit of template.html counts"
            );
            assert!(dump.lines().any(|line| line.starts_with("-rw-r--r-- ")
                && line.ends_with(" /opt/shop/app/static/a.css")));
            assert_eq!(shop.text("/opt/shop/app/said"), "['collect static', '--x']");
            // RECORD agrees with the tree again: checked by the paths and hashes that the tree has
            // now.
            let record = shop.text(&format!("/opt/shop/{site}/tool-1.0.dist-info/RECORD"));
            let recorded: Vec<&str> = record
                .lines()
                .map(|line| line.split(',').next().unwrap())
                .collect();
            assert_eq!(
                recorded,
                [
                    "../../../bin/make",
                    "../../../libexec/make",
                    "tool-1.0.dist-info/INSTALLER",
                    "tool-1.0.dist-info/METADATA",
                    "tool-1.0.dist-info/RECORD",
                    "tool-1.0.dist-info/WHEEL",
                    "tool-1.0.dist-info/entry_points.txt",
                    "tool/__init__.py",
                    &format!("tool/__pycache__/__init__.{tag}.pyc"),
                ]
            );
            let changed = shop
                .tree
                .get(&InstallPath::parse(&format!("/opt/shop/{site}/tool/__init__.py")).unwrap());
            let Some(TreeEntry {
                kind: EntryKind::File(content),
                ..
            }) = changed
            else {
                panic!("{changed:?}")
            };
            assert!(record.contains(&format!(
                "tool/__init__.py,{},",
                layer::recorded_hash(&content.digest)
            )));
            // The layers in the cache are as they were.
            for layer in &shop.layers {
                assert!(Layer::open(&shop.bench.cache, &layer.key, &layer.label).is_some());
                for (path, entry, content) in shop.bench.tree(&shop.prefix, &shop.layers).files() {
                    let there =
                        pkgapp_core::digest::Digest::of_reader(content.reader().unwrap()).unwrap();
                    assert_eq!(there, content.digest, "{path} of {:?}", entry.origin);
                }
            }
        }
    }

    #[test]
    fn commands_see_the_release_and_nothing_of_the_caller() {
        let Some(bench) = Bench::new() else { return };
        let mut shop = Shop::new(bench);
        let ask = "import json, os, sys; env = dict(os.environ); root = os.path.realpath('.')
home = env.pop('HOME'); path = env.pop('PATH').split(':')[0]
for name in ('http_proxy', 'https_proxy', 'no_proxy', 'HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'SSL_CERT_FILE',
             'SSL_CERT_DIR', 'LD_LIBRARY_PATH', 'TMPDIR'):
    env.pop(name, None)
assert path == root + '/bin' and sys.prefix == root and os.listdir(home) == [], (path, root, sys.prefix, home)
assert sys.stdin.read() == ''
open('seen', 'w').write(json.dumps(env, sort_keys=True))";
        shop.run(&[&["python", "-c", ask]]).unwrap().unwrap();
        assert_eq!(
            shop.text("/opt/shop/seen"),
            "{\"LC_ALL\": \"C.UTF-8\", \"PKGAPP_PREFIX\": \"/opt/shop\", \"PYTHONDONTWRITEBYTECODE\": \"1\", \
             \"PYTHONHASHSEED\": \"0\", \"SECRET_KEY\": \"x y\", \"SOURCE_DATE_EPOCH\": \"1700000000\", \"TZ\": \"UTC\"}"
        );
        assert!(
            shop.bench.cache.unfinished().is_empty(),
            "{:?}",
            shop.bench.cache.unfinished()
        );
    }

    #[test]
    fn nothing_done_is_no_layer() {
        let Some(bench) = Bench::new() else { return };
        let mut shop = Shop::new(bench);
        let before = shop.tree.dump();
        assert!(shop.run(&[]).unwrap().is_none());
        assert!(shop.run(&[&["true"], &["python", "-m", "tool"]]).is_err());
        assert!(
            shop.run(&[&["true"], &["python", "-c", "import tool"]])
                .unwrap()
                .is_none()
        );
        assert_eq!(shop.tree.dump(), before);
    }

    #[test]
    fn what_can_not_ship_is_refused() {
        let Some(bench) = Bench::new() else { return };
        let mut shop = Shop::new(bench);
        let before = shop.tree.dump();
        let error = shop
            .run(&[&[
                "sh",
                "-c",
                "ln -s /etc/passwd app/p; ln -s ../../x app/q; mkfifo app/f",
            ]])
            .unwrap_err();
        let messages: Vec<&str> = std::iter::once(&error)
            .chain(error.others())
            .map(Error::message)
            .collect();
        assert!(
            messages[0].ends_with("app/f` is neither a file nor a directory nor a link"),
            "{messages:?}"
        );
        assert_eq!(
            messages[1..],
            [
                "the link `app/p` leads to `/etc/passwd`, outside the release",
                "the link `app/q` leads to `../../x`, outside the release"
            ]
        );
        let error = shop
            .run(&[&["sh", "-c", "echo one; echo two >&2; exit 3"]])
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(
                "error: `sh -c echo one; echo two >&2; exit 3` of `[build] run` failed\n  --> /x/pkgapp.toml:7:8\n"
            ),
            "{error}"
        );
        assert!(
            error.contains("failed with exit status: 3\n  cause: it printed\n    one\n    two"),
            "{error}"
        );
        let error = shop.run(&[&["no-such-program"]]).unwrap_err().to_string();
        assert!(
            error.starts_with("error: cannot find `no-such-program`, a command of `[build] run`\n"),
            "{error}"
        );
        assert_eq!(shop.tree.dump(), before);
    }
}
