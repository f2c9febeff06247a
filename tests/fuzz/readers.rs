//! Every reader of foreign bytes, as a check that the mutation tests and the coverage-guided fuzzer
//! share.
//!
//! A check returns the reason if a reader accepts what it must refuse, writes outside of its
//! directory, or reports an error that does not name the file. A panic, a crash and a timeout are
//! for the caller to notice.

use std::io::{Cursor, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use pkgapp_config::{Config, ConfigDraft, FactValue, ProjectFacts, SystemModel};
use pkgapp_core::error::{Error, Location};
use pkgapp_core::name::Arch;
use pkgapp_core::path::ReleasePath;
use pkgapp_deploy::artifact::Artifact;
use pkgapp_deploy::facts::HostFacts;
use pkgapp_deploy::history::{AppCondition, HistoryEntry};
use pkgapp_format::read::PackageReader;
use pkgapp_lock::{Lock, LockSelection};
use pkgapp_pypa::Environment;
use pkgapp_release::imports::statement;
use pkgapp_system::{DeclaredApplication, ResolutionInput, SystemLock, graph, resolve};
use pkgapp_wheels::archive::WheelArchive;
use zip::write::{SimpleFileOptions, ZipWriter};

/// A file to read.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// Its name, by which some formats are told apart.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// Reads one file; the error is the reason why the reader is wrong.
pub(crate) type Check = Box<dyn Fn(&Case) -> Result<(), String>>;

/// A reader, and the family of the corpus that holds valid files for it.
pub(crate) struct Reader {
    pub(crate) name: &'static str,
    pub(crate) family: &'static str,
    pub(crate) check: fn() -> Check,
}

/// All readers but the one of index pages, which needs a server: see `pages.rs`.
pub(crate) const READERS: &[Reader] = &[
    Reader {
        name: "locks",
        family: "locks",
        check: locks,
    },
    Reader {
        name: "configuration",
        family: "configuration",
        check: configuration,
    },
    Reader {
        name: "systems",
        family: "systems",
        check: systems,
    },
    Reader {
        name: "recipes",
        family: "recipes",
        check: recipes,
    },
    Reader {
        name: "procfiles",
        family: "procfiles",
        check: procfiles,
    },
    Reader {
        name: "metadata",
        family: "wheels",
        check: metadata,
    },
    Reader {
        name: "records",
        family: "wheels",
        check: records,
    },
    Reader {
        name: "imports",
        family: "sources",
        check: imports,
    },
    Reader {
        name: "wheels",
        family: "archives",
        check: wheels,
    },
    Reader {
        name: "eggs",
        family: "eggs",
        check: eggs,
    },
    Reader {
        name: "links",
        family: "pages",
        check: links,
    },
    Reader {
        name: "elf",
        family: "elf",
        check: elf,
    },
    Reader {
        name: "packages",
        family: "packages",
        check: packages,
    },
    Reader {
        name: "members",
        family: "tar",
        check: members,
    },
    Reader {
        name: "sdists",
        family: "sdists",
        check: sdists,
    },
    Reader {
        name: "releases",
        family: "releases",
        check: releases,
    },
    Reader {
        name: "facts",
        family: "facts",
        check: facts,
    },
    Reader {
        name: "conditions",
        family: "conditions",
        check: conditions,
    },
    Reader {
        name: "journals",
        family: "journals",
        check: journals,
    },
    Reader {
        name: "downloads",
        family: "tar",
        check: downloads,
    },
];

/// Returns the files of a family, in all directories below it.
pub(crate) fn corpus(family: &str) -> Vec<Case> {
    read_corpus(family, |_| true)
}

/// Returns the valid files of a family: all but those in `found`, which broke a reader or reach a
/// part of it.
pub(crate) fn valid(family: &str) -> Vec<Case> {
    read_corpus(family, |entry| entry.file_name() != "found")
}

fn read_corpus(family: &str, wanted: fn(&walkdir::DirEntry) -> bool) -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .find(|above| above.join("tests/corpus").is_dir());
    let directory = root.unwrap().join("tests/corpus").join(family);
    let files = walkdir::WalkDir::new(directory)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(wanted);
    let cases: Vec<Case> = files
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| Case {
            name: entry.file_name().to_str().unwrap().to_owned(),
            bytes: std::fs::read(entry.path()).unwrap(),
        })
        .collect();
    assert!(!cases.is_empty(), "the corpus has no {family}");
    cases
}

pub(crate) fn environment() -> Environment {
    Environment::new("3.11".parse().unwrap(), None, Arch::X86_64, (2, 36)).unwrap()
}

/// Checks that every error says which file it is about.
pub(crate) fn names(error: &Error, file: &str) -> Result<(), String> {
    for one in std::iter::once(error).chain(error.others()) {
        let text = one.to_string();
        if !text.contains(file) {
            return Err(format!("`{file}` is not named:\n{text}"));
        }
        if text.contains("bug in pkgapp") || text.contains("please report") {
            return Err(text);
        }
    }
    Ok(())
}

fn write(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn locks() -> Check {
    let directory = tempfile::tempdir().unwrap();
    let project = "[project]\nname = \"fuzzed\"\ndependencies = [\"alpha\"]\n[tool.poetry.dependencies]\nalpha = \"^1\"\n";
    std::fs::write(directory.path().join("pyproject.toml"), project).unwrap();
    std::fs::write(directory.path().join("constraints.txt"), "alpha==1.0\n").unwrap();
    let env = environment();
    let selection = LockSelection::default();

    Box::new(move |case| {
        let root = directory.path();
        write(root, &case.name, &case.bytes);
        match Lock::read(&[case.name.as_str().into()], root, &env, true, &selection) {
            Ok(_) => Ok(()),
            // What a lock refers to is in the same directory.
            Err(error) => names(&error, root.to_str().unwrap()),
        }
    })
}

fn configuration() -> Check {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("manage.py"), "").unwrap();

    Box::new(move |case| {
        let path = write(directory.path(), &case.name, &case.bytes);
        match Config::load(Some(&path), directory.path()) {
            Ok(_) => Ok(()),
            Err(error) => names(&error, directory.path().to_str().unwrap()),
        }
    })
}

/// The declaration of every application of a system.
const DECLARATION: &str = "[app]\nname = \"shop\"\nversion = \"1.0\"\n[python]\nversion = \"3.11\"\n\
     [service.web]\nexec = \"web\"\nsocket = \"0.0.0.0:8000\"\n\
     [service.api]\nexec = \"api\"\naddress = \"127.0.0.1:9000\"\n\
     [timer.report]\nexec = \"report\"\ncalendar = \"daily\"\n\
     [requires.database]\ntype = \"postgresql\"\nenv = { A = \"{url}\" }\n\
     [requires.billing]\nenv = { B = \"{hosts}\" }\noptional = true\n\
     [provides.billing]\nservice = \"web\"\n";

/// The model that a lock is read for.
const MODEL: &str = "[system]\nname = \"shop\"\n\
     [application.shop]\npackage = \".\"\nrole = \"web\"\nplace.api = { role = \"web\", count = 1 }\n\
     [service.db]\nkind = \"postgresql\"\nrole = \"db\"\n\
     [environment.production]\nhosts = [{ host = \"web[1:9]\", roles = [\"web\"] }, { host = \"db1\", roles = [\"db\"] }]\n";

/// Reads models and locks, and resolves them.
fn systems() -> Check {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_owned();
    std::fs::write(root.join("pkgapp.toml"), DECLARATION).unwrap();
    let draft = ConfigDraft::read(None, &root).unwrap().without_content();
    let declared = draft.finish(&ProjectFacts::default()).unwrap();

    Box::new(move |case| {
        let path = write(directory.path(), &case.name, &case.bytes);
        let place = root.to_str().unwrap();
        let (model, lock) = if case.name.ends_with(".lock") {
            let model = write(&root, "model.toml", MODEL.as_bytes());
            (
                SystemModel::load(Some(&model), &root),
                SystemLock::read(&path),
            )
        } else {
            let model = SystemModel::load(Some(&path), &root);
            (model, Ok(SystemLock::default()))
        };
        match (model, lock) {
            (Ok(model), Ok(lock)) => {
                resolve_all(&model, &lock, &declared);
                Ok(())
            }
            (Err(error), _) | (_, Err(error)) => names(&error, place),
        }
    })
}

/// Resolves all environments, and makes everything of them that needs no package.
fn resolve_all(model: &SystemModel, lock: &SystemLock, declared: &Config) {
    let applications = model.applications.iter().map(|application| {
        let software = DeclaredApplication {
            software: application.software.clone(),
            version: "1.0-1".to_owned(),
            config: declared.clone(),
        };
        (application.name.clone(), software)
    });
    let applications = applications.collect();
    for environment in &model.environments {
        let resolved = resolve(&ResolutionInput {
            model,
            environment,
            applications: &applications,
            lock: &lock.environment(environment.name().as_str()),
            today: jiff::civil::date(2026, 12, 1),
        });
        let Ok(resolved) = resolved else {
            continue;
        };
        graph::svg(&resolved);
        for (name, declared) in &applications {
            resolved.configurations(name, declared);
        }
    }
}

/// A project that requires `gunicorn` and has an application object.
fn found_facts(root: &Path) -> ProjectFacts {
    let requires = ["gunicorn", "celery"].map(str::to_owned);
    let mut facts = ProjectFacts::new(requires.into_iter().collect());
    let at = Some(Location::file(root.join("manage.py")));
    let object = FactValue::String("shop.wsgi:application".to_owned());
    facts.insert("wsgi", object, at.clone());
    facts.insert("celery-schedule", FactValue::Boolean(true), at);
    facts.insert("files", FactValue::list(["manage.py"]), None);
    facts
}

/// A project whose configuration begins with these recipes, and reads the case as one of its files.
fn with_recipe(recipe: &'static str) -> Check {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let configuration = format!(
        "[app]\nname = \"shop\"\nversion = \"1.0\"\nsource = \"\"\ninclude = [\"manage.py\"]\n\
         recipe = {recipe}\n[python]\nversion = \"3.11\"\n"
    );
    write(root, "pkgapp.toml", configuration.as_bytes());
    write(root, "manage.py", b"raise SystemExit");
    let facts = found_facts(root);

    Box::new(move |case| {
        let root = directory.path();
        write(root, &case.name, &case.bytes);
        let read = ConfigDraft::read(None, root).and_then(|draft| draft.finish(&facts));
        let files = std::fs::read_dir(root).unwrap().count();
        if files != 3 {
            return Err(format!("there are {files} files: something ran"));
        }
        match read {
            Ok(_) => Ok(()),
            Err(error) => names(&error, root.to_str().unwrap()),
        }
    })
}

fn recipes() -> Check {
    with_recipe("[\"web\", \"./house.toml\"]")
}

fn procfiles() -> Check {
    with_recipe("\"procfile\"")
}

fn imports() -> Check {
    Box::new(|case| {
        let modules = statement::certain(&case.bytes)
            .into_iter()
            .flat_map(|import| import.modules(&["a", "b"]));
        match modules
            .into_iter()
            .find(|module| module.is_empty() || module.split('.').any(str::is_empty))
        {
            Some(module) => Err(format!("`{module}` is no module")),
            None => Ok(()),
        }
    })
}

const WHEEL: &str = "fuzzed-1.0-py3-none-any.whl";

fn read_wheel(directory: &Path, bytes: &[u8]) -> Result<(), String> {
    let path = write(directory, WHEEL, bytes);
    let read =
        WheelArchive::open(&path, &WHEEL.parse().unwrap()).and_then(|mut archive| archive.verify());
    read.map_or_else(|error| names(&error, WHEEL), |()| Ok(()))
}

/// Returns a wheel of these members, and everything else that makes it whole.
fn wheel(texts: &[Case], changed: &Case) -> Vec<u8> {
    let info = "fuzzed-1.0.dist-info";
    let mut members: Vec<(String, Vec<u8>)> =
        vec![("fuzzed/__init__.py".into(), b"x = 1\n".to_vec())];
    for Case { name, bytes } in texts {
        let bytes = if *name == changed.name {
            &changed.bytes
        } else {
            bytes
        };
        members.push((format!("{info}/{name}"), bytes.clone()));
    }

    let mut record = Vec::new();
    for (name, bytes) in &members {
        use sha2::Digest as _;
        let sum = data_encoding::BASE64URL_NOPAD.encode(&sha2::Sha256::digest(bytes));
        writeln!(record, "{name},sha256={sum},{}", bytes.len()).unwrap();
    }
    writeln!(record, "{info}/RECORD,,").unwrap();
    members.push((
        format!("{info}/RECORD"),
        if changed.name == "RECORD" {
            changed.bytes.clone()
        } else {
            record
        },
    ));
    zipped(&members)
}

fn zipped(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        zip.start_file(name.as_str(), SimpleFileOptions::default())
            .unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn metadata() -> Check {
    let directory = tempfile::tempdir().unwrap();
    let texts = valid("wheels");
    Box::new(move |case| read_wheel(directory.path(), &wheel(&texts, case)))
}

/// A RECORD with a piece of the case in its middle.
fn records() -> Check {
    let directory = tempfile::tempdir().unwrap();
    let texts = valid("wheels");
    let whole = wheel(
        &texts,
        &Case {
            name: String::new(),
            bytes: Vec::new(),
        },
    );
    let mut zip = zip::ZipArchive::new(Cursor::new(whole)).unwrap();
    let mut record = Vec::new();
    std::io::copy(
        &mut zip.by_name("fuzzed-1.0.dist-info/RECORD").unwrap(),
        &mut record,
    )
    .unwrap();

    Box::new(move |case| {
        let mut record = record.clone();
        let at = case.bytes.len() % (record.len() + 1);
        record.splice(at..at, case.bytes.iter().rev().take(80).copied());
        read_wheel(
            directory.path(),
            &wheel(
                &texts,
                &Case {
                    name: "RECORD".into(),
                    bytes: record,
                },
            ),
        )
    })
}

fn wheels() -> Check {
    let directory = tempfile::tempdir().unwrap();
    let whole = wheel(
        &valid("wheels"),
        &Case {
            name: String::new(),
            bytes: Vec::new(),
        },
    );
    read_wheel(directory.path(), &whole).unwrap();
    Box::new(move |case| read_wheel(directory.path(), &case.bytes))
}

/// One text of an unpacked egg, beside valid ones.
fn eggs() -> Check {
    let directory = tempfile::tempdir().unwrap();
    let texts = valid("eggs");
    let egg = pkgapp_pypa::egg::EggFilename::parse("fuzzed-1.0-py3.11.egg").unwrap();

    Box::new(move |case| {
        let room = tempfile::tempdir_in(directory.path()).unwrap();
        let (from, to) = (room.path().join("from"), room.path().join("to"));
        std::fs::create_dir_all(from.join("EGG-INFO")).unwrap();
        std::fs::create_dir(&to).unwrap();
        std::fs::write(from.join("fuzzed.py"), "x = 1\n").unwrap();
        for text in &texts {
            let bytes = if text.name == case.name {
                &case.bytes
            } else {
                &text.bytes
            };
            write(&from.join("EGG-INFO"), &text.name, bytes);
        }
        // The caller adds the egg's name to an error.
        _ = pkgapp_wheels::egg::lay_out(&from, &egg, &to);
        stays_within(room.path(), &["from", "to"], &to)
    })
}

/// The links of a page, in HTML or JSON as its name says.
fn links() -> Check {
    let url: url::Url = "https://index.example/simple/fuzzed/".parse().unwrap();
    Box::new(move |case| {
        let kind = if case.name.ends_with("json") {
            "application/json"
        } else {
            "text/html"
        };
        for offer in pkgapp_wheels::page::offers(kind, &case.bytes, &url, None).unwrap_or_default()
        {
            if offer.file.contains(['/', '\\', '\0']) || offer.url.scheme() == "file" {
                return Err(format!("it links `{}` at `{}`", offer.file, offer.url));
            }
        }
        Ok(())
    })
}

fn elf() -> Check {
    let directory = tempfile::tempdir().unwrap();
    let place = ReleasePath::parse("lib/fuzzed.so").unwrap();
    Box::new(move |case| {
        let path = write(directory.path(), "fuzzed.so", &case.bytes);
        pkgapp_wheels::elf::read(&path, &place)
            .map_or_else(|error| names(&error, "fuzzed.so"), |_| Ok(()))
    })
}

fn inspect(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), String> {
    let path = write(directory, name, bytes);
    let read = PackageReader::open(&path).and_then(|artifact| {
        artifact.dump()?;
        artifact.release_record().map(|_| ())
    });
    read.map_or_else(|error| names(&error, name), |()| Ok(()))
}

fn packages() -> Check {
    let directory = tempfile::tempdir().unwrap();
    Box::new(move |case| inspect(directory.path(), &case.name, &case.bytes))
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// tar as it is, which the checksum of a compressed one would hide: alone, and as both parts of a
/// deb.
fn members() -> Check {
    let directory = tempfile::tempdir().unwrap();
    Box::new(move |case| {
        let packed = gzipped(&case.bytes);
        let mut deb = ar::Builder::new(Vec::new());
        let parts: [(&str, &[u8]); 3] = [
            ("debian-binary", b"2.0\n"),
            ("control.tar.gz", &packed),
            ("data.tar.gz", &packed),
        ];
        for (name, bytes) in parts {
            deb.append(
                &ar::Header::new(name.as_bytes().to_vec(), bytes.len() as u64),
                bytes,
            )
            .unwrap();
        }
        inspect(directory.path(), "fuzzed.tar.gz", &packed)?;
        inspect(directory.path(), "fuzzed.deb", &deb.into_inner().unwrap())
    })
}

/// Checks that nothing but the directory `to` was written to, and that no link in it leads out.
fn stays_within(room: &Path, expected: &[&str], to: &Path) -> Result<(), String> {
    let mut beside: Vec<_> = std::fs::read_dir(room)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    beside.sort();
    if beside != expected {
        return Err(format!("beside the directory are {beside:?}"));
    }
    let Ok(real) = to.canonicalize() else {
        return Ok(());
    };
    for entry in walkdir::WalkDir::new(to).into_iter().map(Result::unwrap) {
        let out = entry
            .path()
            .canonicalize()
            .is_ok_and(|target| !target.starts_with(&real));
        let leads = std::fs::read_link(entry.path()).is_ok_and(|target| target.is_absolute());
        if out || leads {
            return Err(format!(
                "`{}` leads out of the directory",
                entry.path().display()
            ));
        }
    }
    Ok(())
}

/// Unpacks below a directory of its own, and looks for files that got out of it.
fn unpack(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), String> {
    let path = write(directory, name, bytes);
    let room = tempfile::tempdir_in(directory).unwrap();
    let to = room.path().join("to");
    std::fs::create_dir(&to).unwrap();
    let unpacked = pkgapp_wheels::sdist::unpacked(&path, &to);
    stays_within(room.path(), &["to"], &to)?;
    match unpacked {
        Ok(top) if top.parent() == Some(&to) => Ok(()),
        Ok(top) => Err(format!("`{}` is its top directory", top.display())),
        Err(error) => names(&error, name),
    }
}

/// Archives of sources as they are, and tar behind gzip's checksum.
fn sdists() -> Check {
    let directory = tempfile::tempdir().unwrap();
    for case in valid("sdists") {
        let room = tempfile::tempdir().unwrap();
        let path = write(directory.path(), &case.name, &case.bytes);
        let top = pkgapp_wheels::sdist::unpacked(&path, room.path()).unwrap();
        assert!(top.join("pyproject.toml").is_file(), "{}", case.name);
    }

    Box::new(move |case| {
        unpack(directory.path(), &case.name, &case.bytes)?;
        let Some(name) = case.name.strip_suffix(".tar") else {
            return Ok(());
        };
        unpack(
            directory.path(),
            &format!("{name}.tar.gz"),
            &gzipped(&case.bytes),
        )
    })
}

/// The record of a release in a tarball, as `push` reads it.
fn releases() -> Check {
    let directory = tempfile::tempdir().unwrap();
    Box::new(move |case| {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(case.bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(
            &mut header,
            "fuzzed-1.0/.pkgapp/release.json",
            &case.bytes[..],
        )
        .unwrap();
        let path = write(
            directory.path(),
            "fuzzed-1.0-1.noarch.tar.gz",
            &gzipped(&tar.into_inner().unwrap()),
        );
        let read = Artifact::read(&path).and_then(|mut candidate| candidate.read_requirements());
        read.map_or_else(
            |error| names(&error, "fuzzed-1.0-1.noarch.tar.gz"),
            |()| Ok(()),
        )
    })
}

/// The lines in which a host describes itself.
fn facts() -> Check {
    Box::new(|case| {
        _ = HostFacts::parse(&String::from_utf8_lossy(&case.bytes));
        Ok(())
    })
}

/// The history of a host, and the condition of its units.
fn conditions() -> Check {
    Box::new(|case| {
        let text = String::from_utf8_lossy(&case.bytes);
        _ = HistoryEntry::all(&text);
        _ = AppCondition::parse(&text).is_unwell();
        Ok(())
    })
}

fn journals() -> Check {
    Box::new(|case| {
        let text = String::from_utf8_lossy(&case.bytes);
        for entry in text
            .lines()
            .filter_map(|line| pkgapp_deploy::hosts::journal::JournalEntry::parse("web1", line))
        {
            _ = entry.moment();
        }
        Ok(())
    })
}

/// The tar stream of a directory that `get` fetches.
fn downloads() -> Check {
    let directory = tempfile::tempdir().unwrap();
    Box::new(move |case| {
        let room = tempfile::tempdir_in(directory.path()).unwrap();
        let below = room.path().join("web1");
        std::fs::create_dir(&below).unwrap();
        let mut stream = tempfile::tempfile_in(directory.path()).unwrap();
        stream.write_all(&case.bytes).unwrap();
        stream.seek(SeekFrom::Start(0)).unwrap();

        _ = pkgapp_deploy::hosts::unpack::unpack(&mut stream, &below, &below.join("etc"));
        let beside: Vec<_> = std::fs::read_dir(room.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        if beside != ["web1"] {
            return Err(format!("beside the directory are {beside:?}"));
        }
        Ok(())
    })
}
