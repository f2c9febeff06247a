//! Releases with an interpreter of their own, or one that applications share.
//!
//! The CPythons of pyenv and of the system serve; what is not there is said.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::project::{features, pin};
use super::support::tools::{left_out, output, skip, text, tool};
use super::support::{Sandbox, foreign, walk};

/// A CPython's prefix and its minor version.
#[derive(Debug, Clone)]
pub(crate) struct Cpython {
    pub(crate) prefix: PathBuf,
    pub(crate) minor: String,
}

/// One for every minor version from 3.8 to 3.14, of pyenv or else the system's.
fn cpythons() -> Vec<Cpython> {
    let versions = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".pyenv/versions"));
    let mut prefixes: Vec<PathBuf> = versions
        .and_then(|versions| std::fs::read_dir(versions).ok())
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    prefixes.extend(["/usr/local", "/usr"].map(PathBuf::from));
    let mut found = Vec::new();
    for minor in (8..=14).map(|minor| format!("3.{minor}")) {
        let has = |prefix: &&PathBuf| {
            prefix.join(format!("bin/python{minor}")).is_file()
                && prefix.join(format!("lib/python{minor}/os.py")).is_file()
        };
        match prefixes.iter().find(has) {
            Some(prefix) => found.push(Cpython {
                prefix: prefix.clone(),
                minor,
            }),
            None => left_out(&format!("there is no CPython {minor} to bundle")),
        }
    }
    if found.is_empty() {
        skip("there is no CPython to bundle");
    }
    found
}

/// The newest one, and not the system's if there is another: that one would run if all else failed.
pub(crate) fn newest() -> Option<Cpython> {
    cpythons()
        .into_iter()
        .rev()
        .find(|python| !python.prefix.starts_with("/usr"))
}

/// An application of one file and one wheel, for an interpreter; `keys` are added to `[python]`.
fn application(sandbox: &Sandbox, minor: &str, path: &Path, keys: &str) {
    sandbox.write(
        "tick.py",
        "import sys\nprint('tick', '%d.%d' % sys.version_info[:2])\n",
    );
    sandbox.write("requirements.txt", "");
    pin(sandbox, &[features()]);
    configure(sandbox, minor, path, keys);
}

fn configure(sandbox: &Sandbox, minor: &str, path: &Path, keys: &str) {
    let path = path.display();
    let interpreter = if keys.contains("interpreter =") {
        ""
    } else {
        "interpreter = \"bundled\"\n"
    };
    sandbox.write(
        "pkgapp.toml",
        format!(
            "[app]\nname = \"tick\"\nversion = \"1.0\"\nsource = \"\"\ninclude = [\"tick.py\"]\n[python]\n\
             version = \"{minor}\"\n{interpreter}path = \"{path}\"\n{keys}\n"
        ),
    );
}

/// Unpacks the tarball of a release into a directory with spaces.
fn unpacked(sandbox: &Sandbox, name: &str) -> Option<PathBuf> {
    let [tar] = &sandbox.build(["--format", "tar.gz"])[..] else {
        panic!("one artifact")
    };
    let directory = sandbox.root().join(format!("un packed/{name}"));
    foreign::unpack(tar, &directory)?;
    Some(directory.join("tick-1.0"))
}

/// What a program of a release prints with nothing in its environment.
fn run(release: &Path, name: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(release.join("bin").join(name));
    let output = command
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8(text).unwrap()
}

/// Modules that are linked with something, and where the process finds what it has mapped and
/// imported.
const LOOK: &str = "
import bz2, ctypes, hashlib, lzma, sqlite3, ssl, sys, sysconfig, zlib
import features, os
root = sys.argv[1]
ssl.create_default_context()
for name, module in sorted(sys.modules.items()):
    file = getattr(module, '__file__', None)
    if file and not os.path.realpath(file).startswith(root + '/'):
        print('elsewhere:', name, file)
with open('/proc/self/maps') as maps:
    for line in maps:
        file = line.split(None, 5)[5].strip() if line.count('/') else ''
        if 'python' in file and not file.startswith(root + '/'):
            print('mapped:', file)
base = os.path.realpath(sys.base_prefix)
print(sys.prefix == root, base.startswith(root + '/python3.'), os.path.realpath(sysconfig.get_config_var('LIBDIR')))
";

#[test]
fn every_cpython_runs_from_a_release_without_any_other() {
    for Cpython { prefix, minor } in cpythons() {
        let sandbox = Sandbox::new();
        application(&sandbox, &minor, &prefix, "");
        let Some(release) = unpacked(&sandbox, "x y") else {
            return;
        };
        for made in [sandbox.project(), sandbox.cache()] {
            std::fs::rename(&made, made.with_extension("hidden")).unwrap();
        }
        assert_eq!(
            run(&release, "features", &["a b"]),
            "features a b\n",
            "{minor}"
        );
        assert_eq!(run(&release, "future", &["a"]), "future a\n", "{minor}");
        assert_eq!(
            run(&release, "python", &["-m", "tick"]),
            format!("tick {minor}\n")
        );
        let root = release.canonicalize().unwrap();
        let said = run(&root, "python", &["-I", "-c", LOOK, root.to_str().unwrap()]);
        let library = if prefix.starts_with("/usr") {
            "/usr/lib".to_owned()
        } else {
            format!("{}/python{minor}/lib", root.display())
        };
        assert!(
            said.starts_with(&format!("True True {library}")),
            "{minor}: {said}"
        );
        // The tests of the suite would be the largest part.
        assert!(
            !release
                .join(format!("python{minor}/lib/python{minor}/test"))
                .exists()
        );
        let licenses = release.join(format!("python{minor}/licenses"));
        let license = release.join(format!("python{minor}/lib/python{minor}/LICENSE.txt"));
        assert!(
            license.is_file() || licenses.is_dir(),
            "{minor} has no licence"
        );
        // Debian has this module in a package of its own.
        if release
            .join(format!("python{minor}/lib/python{minor}/venv"))
            .is_dir()
        {
            let made = sandbox.root().join("environment");
            run(
                &root,
                "python",
                &["-m", "venv", "--without-pip", made.to_str().unwrap()],
            );
            let mut python = Command::new(made.join("bin/python"));
            let base = text(
                python
                    .args(["-c", "import json, sys; print(sys.base_prefix)"])
                    .env_clear(),
            );
            assert_eq!(
                Path::new(base.trim()).canonicalize().unwrap(),
                root.join(format!("python{minor}"))
            );
        }
        // It has byte code for all of its modules, and looks at no source.
        let traced = run(
            &root,
            "python",
            &["-I", "-v", "-c", "import json, http.server"],
        );
        let is_compiled = |line: &&str| {
            line.contains("code object from") && line.trim_end_matches('\'').ends_with(".py")
        };
        let compiled: Vec<&str> = traced.lines().filter(is_compiled).collect();
        assert!(
            compiled.is_empty() && traced.contains("code object from"),
            "{minor}: {compiled:?}"
        );
    }
}

#[test]
fn nothing_of_the_interpreter_names_where_it_came_from() {
    let Some(Cpython { prefix, minor }) = newest() else {
        return;
    };
    let sandbox = Sandbox::new();
    application(&sandbox, &minor, &prefix, "");
    let Some(release) = unpacked(&sandbox, "x") else {
        return;
    };
    let home = std::env::var("HOME").unwrap();
    let names = [
        prefix.display().to_string(),
        format!("{home}/.pyenv"),
        "/tmp/python-build".to_owned(),
    ];
    for file in walk(&release)
        .into_iter()
        .filter(|path| path.is_file() && !path.is_symlink())
    {
        let bytes = std::fs::read(&file).unwrap();
        for name in &names {
            let found = bytes
                .windows(name.len())
                .any(|window| window == name.as_bytes());
            assert!(!found, "{} holds {name}", file.display());
        }
    }
    let Some(readelf) = tool("readelf") else {
        return;
    };
    for file in walk(&release)
        .into_iter()
        .filter(|path| std::fs::read(path).is_ok_and(|b| b.starts_with(b"\x7fELF")))
    {
        let dynamic = text(
            Command::new(&readelf)
                .args(["--wide", "--dynamic", "--sections"])
                .arg(&file),
        );
        assert!(
            !dynamic.contains("RUNPATH") && !dynamic.contains(".debug_"),
            "{}: {dynamic}",
            file.display()
        );
    }
}

/// Copies what a prefix needs to be one.
fn copy(python: &Cpython, to: &Path) {
    let Cpython { prefix, minor } = python;
    std::fs::create_dir_all(to).unwrap();
    let script = format!(
        "cd '{}' && tar --exclude=test --exclude=site-packages --exclude=__pycache__ --exclude='config-*' --exclude=idlelib \
         --exclude='*.a' -cf - bin/python{minor} lib/libpython{minor}.so* lib/python{minor} | tar -C '{}' -xf -",
        prefix.display(),
        to.display()
    );
    output(Command::new("sh").args(["-c", &script]));
}

/// Packs a prefix as python-build-standalone does: `install_only` and full archives.
fn archive(prefix: &Path, minor: &str, below: &str, file: &Path) {
    let out = std::fs::File::create(file).unwrap();
    let encoder: Box<dyn std::io::Write> = match file.extension().unwrap().to_str() {
        Some("zst") => Box::new(zstd::Encoder::new(out, 1).unwrap().auto_finish()),
        _ => Box::new(flate2::write::GzEncoder::new(
            out,
            flate2::Compression::fast(),
        )),
    };
    let mut builder = tar::Builder::new(encoder);
    builder.follow_symlinks(false);
    builder.append_dir_all(below, prefix).unwrap();
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    builder
        .append_link(
            &mut link,
            format!("{below}/bin/python3"),
            format!("python{minor}"),
        )
        .unwrap();
    if below != "python" {
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, "python/PYTHON.json", &b"{}"[..])
            .unwrap();
        header.set_cksum();
        builder
            .append_data(&mut header, "python/build/core.o", &b"xx"[..])
            .unwrap();
    }
    drop(builder.into_inner().unwrap());
}

#[test]
fn the_same_interpreter_from_anywhere_gives_the_same_package() {
    let Some(python) = newest() else { return };
    let sandbox = Sandbox::new();
    let places = [
        sandbox.root().join("one"),
        sandbox.root().join("an other/place"),
    ];
    places.iter().for_each(|place| copy(&python, place));
    let archives = [
        sandbox.root().join("only.tar.gz"),
        sandbox.root().join("full.tar.zst"),
    ];
    archive(&places[0], &python.minor, "python", &archives[0]);
    archive(&places[1], &python.minor, "python/install", &archives[1]);
    application(&sandbox, &python.minor, &places[0], "");
    let mut made: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
    for path in places.iter().chain(&archives) {
        configure(&sandbox, &python.minor, path, "");
        let cache = sandbox.root().join(format!(
            "cache of {}",
            path.file_name().unwrap().to_str().unwrap()
        ));
        let artifacts = sandbox
            .pkgapp(["build", "--format", "deb"])
            .env("PKGAPP_CACHE_DIR", cache)
            .artifacts();
        made.insert(path.clone(), std::fs::read(&artifacts[0]).unwrap());
    }
    let first = &made[&places[0]];
    for (path, bytes) in &made {
        assert!(
            bytes == first,
            "the package with {} differs",
            path.display()
        );
    }
}

/// Makes a copy of a prefix what python-build-standalone makes of one (its `build-cpython.sh`):
/// configured for `/install`, its variables as JSON, a library directory that must not be empty.
const STANDALONE: &str = "
import glob, json, os, sys
root, prefix, minor = sys.argv[1:]
library = f'{root}/lib/python{minor}'
[file] = glob.glob(library + '/_sysconfigdata_*.py')
names = {}
with open(file) as data:
    exec(data.read(), names)
values = names['build_time_vars']
values = {name: value.replace(prefix, '/install') if isinstance(value, str) else value for name, value in values.items()}
values.update(abs_srcdir='/build/Python-3', abs_builddir='/build/Python-3', CFLAGS=values['CFLAGS'] + ' -march=x86-64-v3')
with open(file, 'w') as data:
    data.write('# system configuration generated and used by the sysconfig module\\n')
    data.write('build_time_vars = ' + json.dumps(values, indent=4, sort_keys=True))
os.makedirs(library + '/lib-dynload', exist_ok=True)
open(library + '/lib-dynload/.empty', 'w').close()
for directory, _, files in os.walk(root):
    for name in files:
        path = os.path.join(directory, name)
        with open(path, 'rb') as stream:
            data = stream.read()
        if data.startswith(b'\\x7fELF') and prefix.encode() in data:
            os.chmod(path, 0o755)
            with open(path, 'wb') as stream:
                stream.write(data.replace(prefix.encode(), b'/install'.ljust(len(prefix), b'/')))
";

#[test]
fn archives_as_python_build_standalone_makes_them_run_wherever_they_lie() {
    let Some(python) = newest() else { return };
    let Some(patchelf) = tool("patchelf") else {
        return;
    };
    let sandbox = Sandbox::new();
    let copied = sandbox.root().join("made");
    copy(&python, &copied);
    let Cpython { prefix, minor } = &python;
    let executable = copied.join(format!("bin/python{minor}"));
    let mut command = Command::new(prefix.join(format!("bin/python{minor}")));
    output(
        command
            .args(["-c", STANDALONE])
            .args([&copied, prefix])
            .arg(minor),
    );
    // Until May of 2025 the library was needed by its place, and there was no run path; since then
    // there is one, and `patchelf` has been over it too.
    let library = format!("libpython{minor}.so.1.0");
    output(
        Command::new(&patchelf)
            .args([
                "--replace-needed",
                &library,
                &format!("$ORIGIN/../lib/{library}"),
            ])
            .arg(&executable),
    );
    output(
        Command::new(&patchelf)
            .arg("--remove-rpath")
            .arg(&executable),
    );
    let archive_file = sandbox
        .root()
        .join("cpython-x86_64-unknown-linux-gnu-install_only.tar.gz");
    archive(&copied, minor, "python", &archive_file);
    application(&sandbox, minor, &archive_file, "");
    let built = sandbox
        .pkgapp(["build", "--format", "tar.gz"])
        .outcome()
        .stderr;
    assert!(
        built.contains("was compiled for the processor `x86-64-v3`"),
        "{built}"
    );
    let Some(release) = unpacked(&sandbox, "x") else {
        return;
    };
    for made in [copied, sandbox.project(), sandbox.cache()] {
        std::fs::rename(&made, made.with_extension("hidden")).unwrap();
    }
    let root = release.canonicalize().unwrap();
    assert_eq!(run(&root, "features", &["a b"]), "features a b\n");
    let said = run(&root, "python", &["-I", "-c", LOOK, root.to_str().unwrap()]);
    assert_eq!(
        said,
        format!("True True {}/python{minor}/lib\n", root.display())
    );
    for file in walk(&root)
        .into_iter()
        .filter(|path| path.is_file() && !path.is_symlink())
    {
        let bytes = std::fs::read(&file).unwrap();
        assert!(
            !bytes.windows(15).any(|window| window == b"/build/Python-3"),
            "{}",
            file.display()
        );
    }
    let needed = text(
        Command::new(&patchelf)
            .arg("--print-needed")
            .arg(root.join(format!("python{minor}/bin/python{minor}"))),
    );
    assert!(
        needed.contains(&format!("$ORIGIN/../lib/{library}\n")),
        "{needed}"
    );
}

#[test]
fn an_interpreter_for_another_machine_is_told_once() {
    let Some(python) = newest() else { return };
    let sandbox = Sandbox::new();
    let copied = sandbox.root().join("made");
    copy(&python, &copied);
    let executable = copied.join(format!("bin/python{}", python.minor));
    let mut bytes = std::fs::read(&executable).unwrap();
    // e_machine: what is not this machine's of EM_X86_64 and EM_AARCH64.
    let (machine, other) = if cfg!(target_arch = "x86_64") {
        (183, "aarch64")
    } else {
        (62, "x86_64")
    };
    bytes[18] = machine;
    std::fs::remove_file(&executable).unwrap();
    std::fs::write(&executable, bytes).unwrap();
    application(&sandbox, &python.minor, &copied, "");
    let said = sandbox.pkgapp(["build"]).fails();
    let place = format!("error: `[ROOT]/made` is compiled for {other}\n  --> pkgapp.toml:9:8\n");
    assert!(
        said.contains(&place) && said.contains(&format!("`--arch {other}`")),
        "{said}"
    );
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
}

#[test]
fn an_archive_is_held_against_its_sum() {
    let sandbox = Sandbox::new();
    let file = sandbox.root().join("cpython.tar.gz");
    std::fs::write(&file, b"\x1f\x8bnothing").unwrap();
    application(
        &sandbox,
        "3.12",
        &file,
        &format!("sha256 = \"{}\"", "0".repeat(64)),
    );
    let said = sandbox.pkgapp(["build"]).fails();
    assert!(
        said.contains("does not match its `sha256`\n  --> pkgapp.toml:10:10\n"),
        "{said}"
    );
}

#[test]
fn a_package_with_its_own_interpreter_needs_no_python_and_what_that_is_linked_with() {
    let Some(Cpython { prefix, minor }) = newest() else {
        return;
    };
    let sandbox = Sandbox::new();
    application(&sandbox, &minor, &prefix, "");
    sandbox.append("pkgapp.toml", "[service.web]\nexec = \"python -m tick\"\n");
    let [deb, rpm] = &sandbox.build(["--format", "deb", "--format", "rpm"])[..] else {
        panic!("two artifacts")
    };
    if let Some(dpkg) = tool("dpkg-deb") {
        let depends = text(Command::new(&dpkg).arg("--field").arg(deb).arg("Depends"));
        assert!(
            !depends.contains("python") && depends.contains("libssl3"),
            "{depends}"
        );
        let members = text(
            Command::new(&dpkg)
                .arg("--ctrl-tarfile")
                .arg(deb)
                .stdout(std::process::Stdio::piped()),
        );
        assert!(
            !members.contains("triggers"),
            "nothing replaces the interpreter but the package"
        );
    }
    if let Some(tool) = tool("rpm") {
        let requires = text(Command::new(tool).args(["-qp", "--requires"]).arg(rpm));
        assert!(
            !requires.contains("python") && requires.contains("libssl.so.3"),
            "{requires}"
        );
    }
    let inspected = sandbox
        .pkgapp(["inspect".as_ref(), deb.as_os_str()])
        .stdout();
    assert!(
        inspected.contains(&format!("Python        {minor}.")) && inspected.contains("(bundled)"),
        "{inspected}"
    );
}

#[test]
fn bundled_libraries_are_what_is_loaded_and_openssl_learns_where_certificates_are() {
    let Some(Cpython { prefix, minor }) = newest() else {
        return;
    };
    let sandbox = Sandbox::new();
    application(
        &sandbox,
        &minor,
        &prefix,
        "bundle-libraries = [\"libssl.so.*\", \"libcrypto.so.*\", \"libffi*\"]",
    );
    let Some(release) = unpacked(&sandbox, "x") else {
        return;
    };
    let root = release.canonicalize().unwrap();
    let look = "import os, ssl, ctypes\nfor line in open('/proc/self/maps'):\n    if any(name in line for name in ('libssl', \
                'libcrypto', 'libffi')):\n        print(line.split(None, 5)[5].strip())\nprint(os.environ.get('SSL_CERT_FILE'))";
    let said = run(&root, "python", &["-I", "-c", look]);
    let lines: Vec<&str> = said.lines().collect();
    let (certificates, libraries) = lines.split_last().unwrap();
    assert!(
        !libraries.is_empty()
            && libraries
                .iter()
                .all(|file| file.starts_with(root.to_str().unwrap())),
        "{said}"
    );
    // Debian's and Red Hat's names; a host without any is told nothing.
    let known = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    ];
    let there = known
        .iter()
        .find(|file| Path::new(file).is_file())
        .copied()
        .unwrap_or("None");
    assert_eq!(*certificates, there);
    let mut command = Command::new(release.join("bin/python"));
    command.env_clear().env("SSL_CERT_FILE", "/mine").args([
        "-I",
        "-c",
        "import os; print(os.environ['SSL_CERT_FILE'])",
    ]);
    assert_eq!(text(&mut command), "/mine\n");
    if tool("dpkg-query").is_some() {
        assert!(release.join(format!("python{minor}/licenses")).is_dir());
    }
}

#[test]
fn what_is_wrong_with_an_interpreter_is_told_where_it_is_named() {
    let Some(Cpython { prefix, minor }) = newest() else {
        return;
    };
    let sandbox = Sandbox::new();
    application(&sandbox, "3.8", &prefix, "");
    let said = sandbox.pkgapp(["build"]).fails();
    assert!(
        said.contains("there is no CPython 3.8 in") && said.contains("--> pkgapp.toml:9:8"),
        "{said}"
    );
    configure(
        &sandbox,
        &minor,
        &prefix,
        "prune = [\"sqlite3\", \"sqlite33\"]",
    );
    let said = sandbox.pkgapp(["build"]).fails();
    assert!(
        said.contains("has no module `sqlite33` that would ship\n  --> pkgapp.toml:10:21"),
        "{said}"
    );
    configure(
        &sandbox,
        &minor,
        &prefix,
        "bundle-libraries = [\"libc.so.6\"]",
    );
    let said = sandbox.pkgapp(["build"]).fails();
    assert!(
        said.contains(
            "needs no library `libc.so.6` that pkgapp can bundle\n  --> pkgapp.toml:10:21"
        ),
        "{said}"
    );
    // OpenSSL 3 is too new for it, whatever else is.
    configure(
        &sandbox,
        &minor,
        &prefix,
        "[package]\ntargets = [\"debian11\"]",
    );
    let said = sandbox.pkgapp(["build"]).fails();
    assert!(said.contains("`debian11`"), "{said}");
}

#[test]
fn commands_of_the_build_run_with_the_interpreter_that_ships() {
    let Some(Cpython { prefix, minor }) = newest() else {
        return;
    };
    let sandbox = Sandbox::new();
    application(&sandbox, &minor, &prefix, "");
    sandbox.write("make.py", "import sys\nopen('app/made', 'w').write('%s %s' % (sys.version.split()[0], sys.base_prefix == sys.prefix + '/python' + '.'.join(sys.version.split('.')[:2])))\n");
    sandbox.edit("pkgapp.toml", "\"tick.py\"", "\"tick.py\", \"make.py\"");
    sandbox.append("pkgapp.toml", "[build]\nrun = [\"python app/make.py\"]\n");
    let Some(release) = unpacked(&sandbox, "x") else {
        return;
    };
    let version = text(
        Command::new(prefix.join(format!("bin/python{minor}")))
            .args(["-c", "import platform; print(platform.python_version())"]),
    );
    assert_eq!(
        std::fs::read_to_string(release.join("app/made")).unwrap(),
        format!("{} True", version.trim())
    );
}

#[test]
fn a_part_of_the_interpreter_that_stays_behind_is_missed_if_it_is_imported() {
    let Some(Cpython { prefix, minor }) = newest() else {
        return;
    };
    let sandbox = Sandbox::new();
    for (keys, warns) in [("", true), ("keep = [\"tkinter\"]", false)] {
        application(&sandbox, &minor, &prefix, keys);
        sandbox.append("tick.py", "import tkinter\n");
        let text = sandbox
            .pkgapp(["build", "--format", "tar"])
            .outcome()
            .stderr;
        assert_eq!(
            text.contains("write `keep = [\"tkinter\"]` below `[python]`"),
            warns,
            "{text}"
        );
    }
}

#[test]
fn applications_may_share_an_interpreter_that_has_a_package_of_its_own() {
    let Some(Cpython { prefix, minor }) = newest() else {
        return;
    };
    let sandbox = Sandbox::new();
    application(&sandbox, &minor, &prefix, "interpreter = \"shared\"");
    sandbox.append("pkgapp.toml", "[service.web]\nexec = \"python -m tick\"\n");
    let runtime = sandbox
        .pkgapp(["runtime", "build", "--format", "deb", "--format", "rpm"])
        .artifacts();
    let application = sandbox.build(["--format", "deb", "--format", "rpm"]);
    let version = text(
        Command::new(prefix.join(format!("bin/python{minor}")))
            .args(["-c", "import platform; print(platform.python_version())"]),
    );
    let version = version.trim();
    let name = |file: &Path| file.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(
        name(&runtime[0]).starts_with(&format!("pkgapp-python{minor}_{version}-1_")),
        "{runtime:?}"
    );
    assert!(
        name(&runtime[1]).starts_with(&format!("pkgapp-python{minor}-{version}-1.")),
        "{runtime:?}"
    );
    let dump = sandbox.dump(&runtime[0]);
    let executable = format!("/opt/pkgapp/python{minor}/bin/python{minor}");
    assert!(
        dump.lines()
            .any(|line| line.ends_with(&format!(" {executable}"))),
        "{dump}"
    );
    let dump = sandbox.dump(&application[0]);
    assert!(
        dump.contains(&format!(" /opt/tick/bin/python -> {executable}\n")),
        "{dump}"
    );
    assert!(!dump.contains("/opt/tick/python3"), "{dump}");
    if let Some(dpkg) = tool("dpkg-deb") {
        let depends = text(
            Command::new(&dpkg)
                .arg("--field")
                .arg(&application[0])
                .arg("Depends"),
        );
        assert!(
            depends.contains(&format!("pkgapp-python{minor} (>= {version})"))
                && !depends.contains("libssl"),
            "{depends}"
        );
        let unpacked = sandbox.root().join("control");
        output(
            Command::new(&dpkg)
                .arg("--control")
                .arg(&application[0])
                .arg(&unpacked),
        );
        let triggers = std::fs::read_to_string(unpacked.join("triggers")).unwrap();
        assert_eq!(triggers, format!("interest-noawait {executable}\n"));
    }
    if let Some(rpm) = tool("rpm") {
        let requires = text(
            Command::new(&rpm)
                .args(["-qp", "--requires"])
                .arg(&application[1]),
        );
        assert!(
            requires.contains(&format!("pkgapp-python{minor} >= {version}\n")),
            "{requires}"
        );
        assert_eq!(
            text(
                Command::new(rpm)
                    .args(["-qp", "--qf", "%{NAME} %{VERSION}"])
                    .arg(&runtime[1])
            ),
            format!("pkgapp-python{minor} {version}")
        );
    }
    let said = {
        sandbox.edit(
            "pkgapp.toml",
            "interpreter = \"shared\"",
            "interpreter = \"bundled\"",
        );
        sandbox.pkgapp(["runtime", "build"]).fails()
    };
    assert!(
        said.contains("the application's interpreter is not shared"),
        "{said}"
    );
}

/// A backend whose wheel has a compiled program that needs the interpreter's library, as uwsgi's
/// has.
const EMBEDS: &str = "
import base64, hashlib, os, subprocess, sysconfig, zipfile

CODE = 'const char *Py_GetVersion(void); int puts(const char *); int main(void) { return puts(Py_GetVersion()) < 0; }'

def build_wheel(directory, config_settings=None, metadata_directory=None):
    with open('main.c', 'w') as file:
        file.write(CODE)
    library = sysconfig.get_config_var('LIBDIR')
    subprocess.run(['cc', '-o', 'embed', 'main.c', '-L' + library, '-lpython' + sysconfig.get_config_var('VERSION')], check=True)
    with open('embed', 'rb') as file:
        program = file.read()
    tag = 'cp%s-cp%s-linux_x86_64' % ((sysconfig.get_config_var('py_version_nodot'),) * 2)
    members = {
        'embed-1.0.data/scripts/embed': program,
        'embed-1.0.dist-info/METADATA': b'Metadata-Version: 2.1\\nName: embed\\nVersion: 1.0\\n',
        'embed-1.0.dist-info/WHEEL': b'Wheel-Version: 1.0\\nRoot-Is-Purelib: false\\nTag: ' + tag.encode() + b'\\n',
    }
    digest = lambda data: base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()
    record = ''.join('%s,sha256=%s,%d\\n' % (path, digest(data), len(data)) for path, data in members.items())
    members['embed-1.0.dist-info/RECORD'] = (record + 'embed-1.0.dist-info/RECORD,,\\n').encode()
    name = 'embed-1.0-%s.whl' % tag
    with zipfile.ZipFile(os.path.join(directory, name), 'w') as archive:
        for path, data in members.items():
            member = zipfile.ZipInfo(path)
            member.external_attr = (0o100755 if 'scripts' in path else 0o100644) << 16
            archive.writestr(member, data)
    return name
";

#[test]
fn a_program_that_embeds_python_finds_the_library_of_the_interpreter_that_ships() {
    let Some(Cpython { prefix, minor }) = newest() else {
        return;
    };
    let Some(_) = tool("cc") else { return };
    if !prefix
        .join(format!("lib/libpython{minor}.so.1.0"))
        .is_file()
    {
        return left_out(&format!("{} has no shared library", prefix.display()));
    }
    let sandbox = Sandbox::new();
    let project =
        "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n";
    let files = [("pyproject.toml", project), ("backend.py", EMBEDS)];
    super::support::wheel::sdist_of(&sandbox.project().join("sdists"), "embed", "1.0", &files);
    sandbox.write("tick.py", "");
    sandbox.write(
        "requirements.txt",
        "--no-index\n--find-links sdists\nembed==1.0\n",
    );
    configure(&sandbox, &minor, &prefix, "");

    let Some(release) = unpacked(&sandbox, "x") else {
        return;
    };
    let said = text(Command::new(release.join("bin/embed")).env_clear());
    assert!(said.starts_with(&format!("{minor}.")), "{said}");
}
