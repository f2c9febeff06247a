//! Every format of lock, and the same application: the same package.

use super::support::Sandbox;
use super::support::server::{Api, Fault, Index, Server};
use super::support::tools::tool;
use super::support::wheel::{Wheel, sdist_of, sha256};

/// `alpha` needs `beta`, and `gamma` on Windows; `tool` is for developing.
fn wheels() -> [Wheel; 3] {
    [
        Wheel::simple("alpha", "1.0")
            .requires("beta>=1")
            .requires("gamma; sys_platform == 'win32'"),
        Wheel::simple("beta", "2.0"),
        Wheel::simple("tool", "3.0"),
    ]
}

fn serve() -> Server {
    // uv resolves for all platforms, and wants to see what Windows needs too.
    let index = Index::new(Api::Json).wheel("gamma", &Wheel::simple("gamma", "1.0"));
    wheels()
        .iter()
        .zip(["alpha", "beta", "tool"])
        .fold(index, |index, (wheel, name)| index.wheel(name, wheel))
        .serve()
}

/// One way to pin the application: files, and lines for `[python]`.
struct Case {
    name: &'static str,
    files: Vec<(&'static str, String)>,
    python: &'static str,
}

/// The pyproject.toml of all cases: what old locks begin with is in it, and it ships nowhere.
fn pyproject(url: &str) -> String {
    format!(
        "\n[tool.poetry.dependencies]\npython = \"^3.8\"\nalpha = \"^1.0\"\n\n[tool.poetry.dev-dependencies]\ntool = \"*\"\n\n\
         [[tool.pdm.source]]\nname = \"local\"\nurl = \"{url}\"\n"
    )
}

fn cases(server: &Server) -> Vec<Case> {
    let url = server.url();
    let files_url = url.replace("/simple/", "/files/");
    let [alpha, beta, tool] = wheels().map(|wheel| (wheel.file_name(), sha256(&wheel.bytes())));
    let case = |name, file: &'static str, text: String| {
        let python = Box::leak(format!("requirements = [\"{file}\"]").into_boxed_str());
        Case {
            name,
            files: vec![(file, text)],
            python,
        }
    };
    let toml_files = |(file, hash): &(String, String)| {
        format!("[{{file = \"{file}\", hash = \"sha256:{hash}\"}}]")
    };
    let uv_wheel = |(file, hash): &(String, String)| {
        format!("[{{ url = \"{files_url}{file}\", hash = \"sha256:{hash}\" }}]")
    };
    let poetry = |name: &str, version: &str, more: &str, wheel: &(String, String)| {
        format!(
            "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\noptional = false\npython-versions = \">=3.8\"\n{more}\
             files = {}\n\n[package.source]\ntype = \"legacy\"\nurl = \"{url}\"\nreference = \"local\"\n\n",
            toml_files(wheel)
        )
    };
    let gamma = ("gamma-1.0-py3-none-any.whl".to_owned(), "0".repeat(64));
    let win = "sys_platform == \\\"win32\\\"";
    vec![
        case(
            "requirements.txt",
            "requirements.txt",
            format!(
                "-i {url}\nalpha==1.0 --hash=sha256:{}\nbeta==2.0 --hash=sha256:{}\ngamma==1.0 ; sys_platform == 'win32' --hash=sha256:{}\n",
                alpha.1, beta.1, gamma.1
            ),
        ),
        case(
            "pylock.toml",
            "pylock.toml",
            format!(
                "lock-version = \"1.0\"\ncreated-by = \"hand\"\n[[packages]]\nname = \"alpha\"\nversion = \"1.0\"\nwheels = \
                 [{{ url = \"{files_url}{}\", hashes = {{ sha256 = \"{}\" }} }}]\n[[packages]]\nname = \"beta\"\nversion = \"2.0\"\n\
                 wheels = [{{ url = \"{files_url}{}\", hashes = {{ sha256 = \"{}\" }} }}]\n",
                alpha.0, alpha.1, beta.0, beta.1
            ),
        ),
        case(
            "uv.lock",
            "uv.lock",
            format!(
                "version = 1\nrequires-python = \">=3.8\"\n\n[[package]]\nname = \"hello\"\nversion = \"1.0.0\"\nsource = {{ editable \
                 = \".\" }}\ndependencies = [{{ name = \"alpha\" }}]\n[package.dev-dependencies]\ndev = [{{ name = \"tool\" }}]\n\n\
                 [[package]]\nname = \"alpha\"\nversion = \"1.0\"\nsource = {{ registry = \"{url}\" }}\ndependencies = [{{ name = \
                 \"beta\" }}, {{ name = \"gamma\", marker = \"{win}\" }}]\nwheels = {}\n\n[[package]]\nname = \"beta\"\nversion = \
                 \"2.0\"\nsource = {{ registry = \"{url}\" }}\nwheels = {}\n\n[[package]]\nname = \"gamma\"\nversion = \"1.0\"\nsource \
                 = {{ registry = \"{url}\" }}\nwheels = {}\n\n[[package]]\nname = \"tool\"\nversion = \"3.0\"\nsource = {{ registry = \
                 \"{url}\" }}\nwheels = {}\n",
                uv_wheel(&alpha),
                uv_wheel(&beta),
                uv_wheel(&gamma),
                uv_wheel(&tool)
            ),
        ),
        case(
            "poetry.lock of Poetry 2",
            "poetry.lock",
            poetry("alpha", "1.0", "groups = [\"main\"]\n", &alpha)
                + &poetry("beta", "2.0", "groups = [\"main\"]\n", &beta)
                + &poetry("gamma", "1.0", &format!("groups = [\"main\"]\nmarkers = \"{win}\"\n"), &gamma)
                + &poetry("tool", "3.0", "groups = [\"dev\"]\n", &tool)
                + "[metadata]\nlock-version = \"2.1\"\npython-versions = \">=3.8\"\n",
        ),
        case(
            "poetry.lock of Poetry 1",
            "poetry.lock",
            poetry("alpha", "1.0", "", &alpha).replace(
                "[package.source]",
                &format!("[package.dependencies]\nbeta = \">=1\"\ngamma = {{version = \"*\", markers = \"{win}\"}}\n\n[package.source]"),
            ) + &poetry("beta", "2.0", "", &beta)
                + &poetry("gamma", "1.0", "", &gamma)
                + &poetry("tool", "3.0", "", &tool)
                + "[metadata]\nlock-version = \"2.0\"\npython-versions = \">=3.8\"\n",
        ),
        case(
            "Pipfile.lock",
            "Pipfile.lock",
            format!(
                "{{\"_meta\": {{\"pipfile-spec\": 6, \"sources\": [{{\"name\": \"local\", \"url\": \"{url}\"}}]}}, \"default\": \
                 {{\"alpha\": {{\"version\": \"==1.0\", \"hashes\": [\"sha256:{}\"]}}, \"beta\": {{\"version\": \"==2.0\", \"hashes\": \
                 [\"sha256:{}\"]}}, \"gamma\": {{\"version\": \"==1.0\", \"markers\": \"sys_platform == 'win32'\"}}}}, \"develop\": \
                 {{\"tool\": {{\"version\": \"==3.0\", \"hashes\": [\"sha256:{}\"]}}}}}}",
                alpha.1, beta.1, tool.1
            ),
        ),
        case(
            "pdm.lock",
            "pdm.lock",
            format!(
                "[metadata]\nlock_version = \"4.5.0\"\ngroups = [\"default\", \"dev\"]\n[[package]]\nname = \"alpha\"\nversion = \
                 \"1.0\"\ngroups = [\"default\"]\nfiles = {}\n[[package]]\nname = \"beta\"\nversion = \"2.0\"\ngroups = [\"default\"]\n\
                 files = {}\n[[package]]\nname = \"gamma\"\nversion = \"1.0\"\ngroups = [\"default\"]\nmarker = \"{win}\"\nfiles = {}\n\
                 [[package]]\nname = \"tool\"\nversion = \"3.0\"\ngroups = [\"dev\"]\nfiles = {}\n",
                toml_files(&alpha),
                toml_files(&beta),
                toml_files(&gamma),
                toml_files(&tool)
            ),
        ),
        Case {
            name: "constraints beside requirements",
            files: vec![
                ("requirements.txt", format!("-i {url}\nalpha\n")),
                ("constraints.txt", "alpha==1.0\nbeta==2.0\ntool==3.0\n".to_owned()),
            ],
            python: "requirements = [\"requirements.txt\"]\nconstraints = [\"constraints.txt\"]",
        },
        Case {
            name: "buildout",
            files: vec![
                (
                    "buildout.cfg",
                    format!(
                        "[buildout]\nextends = versions.cfg\nparts = web test\nindex = {url}\n[web]\nrecipe = zc.recipe.egg\neggs =\n    \
                         alpha\n[test]\nrecipe = zc.recipe.egg\neggs = tool\n"
                    ),
                ),
                ("versions.cfg", "[versions]\nalpha = 1.0\nbeta = 2.0\ntool = 3.0\n".to_owned()),
            ],
            python: "requirements = [\"buildout.cfg\"]\ngroups = [\"web\"]",
        },
    ]
}

fn project(case: &Case, server: &Server) -> Sandbox {
    let sandbox = Sandbox::hello();
    sandbox.append("pyproject.toml", &pyproject(&server.url()));
    for (name, text) in &case.files {
        sandbox.write(name, text);
    }
    sandbox.edit(
        "pkgapp.toml",
        "requirements = [\"requirements.txt\"]",
        case.python,
    );
    sandbox
}

#[test]
fn every_format_of_lock_gives_the_same_package() {
    let server = serve();
    let mut first: Option<Vec<Vec<u8>>> = None;
    for case in cases(&server) {
        let sandbox = project(&case, &server);
        let outcome = sandbox.pkgapp(["build", "--format", "all"]).outcome();
        assert_eq!(outcome.status, 0, "{}: {}", case.name, outcome.report);
        let read = |path: &str| std::fs::read(sandbox.path(path)).unwrap();
        let made: Vec<_> = outcome.stdout.lines().map(read).collect();
        assert_eq!(made.len(), 3);
        match &first {
            None => {
                let dump = sandbox.dump(&sandbox.path(outcome.stdout.lines().nth(1).unwrap()));
                assert!(
                    dump.contains("/alpha/") && dump.contains("/beta/") && !dump.contains("/tool/"),
                    "{dump}"
                );
                assert!(!dump.contains("/gamma/"), "{dump}");
                first = Some(made);
            }
            Some(first) => assert!(made == *first, "{} gives another package", case.name),
        }
    }
}

#[test]
fn a_group_ships_if_it_is_named() {
    let server = serve();
    for (case, group) in cases(&server)
        .iter()
        .zip(["", "", "dev", "dev", "dev", "develop", "dev"])
    {
        if !group.is_empty() {
            let sandbox = project(case, &server);
            sandbox.edit(
                "pkgapp.toml",
                case.python,
                &format!("{}\ngroups = [\"{group}\"]", case.python),
            );
            let [deb] = &sandbox.build(["--format", "deb"])[..] else {
                panic!("one artifact")
            };
            assert!(sandbox.dump(deb).contains("/tool/"), "{}", case.name);
        }
    }
}

#[test]
fn what_is_missing_is_said_and_locked() {
    let server = serve();
    let whole = project(&cases(&server)[0], &server);
    let expected = std::fs::read(&whole.build(["--format", "deb"])[0]).unwrap();
    let partly = Case {
        name: "partly pinned",
        files: vec![(
            "requirements.txt",
            format!("-i {}\nalpha==1.0\n", server.url()),
        )],
        python: "",
    };
    for resolver in ["uv", "pip"] {
        if resolver == "uv" && tool("uv").is_none() {
            continue;
        }
        let sandbox = project(&partly, &server);
        let said = sandbox.pkgapp(["build"]).fails();
        assert!(
            said.contains("error: `beta>=1` is required but not pinned"),
            "{said}"
        );
        assert!(said.contains("`pkgapp lock`"), "{said}");
        let printed = sandbox.pkgapp(["lock", "--resolver", resolver]).stdout();
        assert_eq!(printed, "pylock.toml\n");
        let lock = std::fs::read_to_string(sandbox.path("pylock.toml")).unwrap();
        assert!(
            lock.contains("name = \"beta\"") && !lock.contains("hello"),
            "{lock}"
        );
        // The configuration names no file, so that the new lock is found.
        assert!(
            std::fs::read(&sandbox.build(["--format", "deb"])[0]).unwrap() == expected,
            "{resolver}"
        );
        std::fs::remove_file(sandbox.path("pylock.toml")).unwrap();
        let run = sandbox
            .pkgapp(["build", "--lock", "--format", "deb"])
            .env("PKGAPP_RESOLVER", resolver);
        assert!(
            std::fs::read(&run.artifacts()[0]).unwrap() == expected,
            "{resolver} in one go"
        );
    }
}

#[test]
fn a_source_that_a_resolver_cannot_read_names_the_package_it_needs() {
    let directory = tempfile::tempdir().unwrap();
    // As psycopg2 does, whose metadata no one knows without running it.
    let backend = "def get_requires_for_build_wheel(settings=None):\n    raise SystemExit('Error: pg_config executable not \
                   found.')\nbuild_wheel = prepare_metadata_for_build_wheel = get_requires_for_build_wheel\n";
    let system =
        "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n";
    let files = [("pyproject.toml", system), ("backend.py", backend)];
    let source = sdist_of(directory.path(), "elephant", "1.0", &files);
    let server = Index::new(Api::Json).sdist("elephant", &source).serve();
    let case = Case {
        name: "a source",
        files: vec![(
            "requirements.txt",
            format!("-i {}\nelephant\n", server.url()),
        )],
        python: "",
    };
    for resolver in ["uv", "pip"] {
        if resolver == "uv" && tool("uv").is_none() {
            continue;
        }
        let said = project(&case, &server)
            .pkgapp(["lock", "--resolver", resolver])
            .fails();
        assert!(
            said.contains("hint: install package `libpq-dev` (Debian, Ubuntu) or `libpq-devel`"),
            "{said}"
        );
    }
}

#[test]
fn what_is_added_is_pinned_beside_the_requirements() {
    let server = serve();
    let partly = Case {
        name: "without a server",
        files: vec![(
            "requirements.txt",
            format!("-i {}\nalpha==1.0\nbeta==2.0\n", server.url()),
        )],
        python: "add = [\"tool>=3\"]",
    };
    for resolver in ["uv", "pip"] {
        if resolver == "uv" && tool("uv").is_none() {
            continue;
        }
        let sandbox = project(&partly, &server);
        let said = sandbox.pkgapp(["build"]).fails();
        assert!(
            said.contains("error: `add` requires `tool>=3`, which is not pinned"),
            "{said}"
        );
        assert!(said.contains("`pkgapp lock`"), "{said}");
        sandbox.pkgapp(["lock", "--resolver", resolver]).stdout();
        let dump = sandbox.dump(&sandbox.build(["--format", "deb"])[0]);
        assert!(
            dump.contains("/alpha/") && dump.contains("/beta/") && dump.contains("/tool/"),
            "{dump}"
        );
        sandbox.edit("pkgapp.toml", "tool>=3", "tool>3");
        let said = sandbox.pkgapp(["build"]).fails();
        assert!(
            said.contains("error: `add` requires `tool>3`, but 3.0 is pinned"),
            "{said}"
        );
    }
}

#[test]
fn what_is_added_beside_a_whole_lock_leaves_its_pins_alone() {
    let server = serve();
    let cases = cases(&server);
    let mut whole = cases
        .into_iter()
        .find(|case| case.files.iter().any(|(name, _)| *name == "uv.lock"))
        .unwrap();
    let python = format!("{}\nadd = [\"tool>=3\"]", whole.python);
    whole.python = python.leak();
    for resolver in ["uv", "pip"] {
        if resolver == "uv" && tool("uv").is_none() {
            continue;
        }
        let sandbox = project(&whole, &server);
        let before = std::fs::read(sandbox.path("uv.lock")).unwrap();
        let index = format!(
            "\n[[python.index]]\nname = \"local\"\nurl = \"{}\"\ndefault = true\n",
            server.url()
        );
        sandbox.append("pkgapp.toml", &index);
        let said = sandbox.pkgapp(["build"]).fails();
        assert!(
            said.contains("error: `add` requires `tool>=3`, which is not pinned"),
            "{said}"
        );
        assert_eq!(
            sandbox.pkgapp(["lock", "--resolver", resolver]).stdout(),
            "pylock.add.toml\n"
        );
        let lock = std::fs::read_to_string(sandbox.path("pylock.add.toml")).unwrap();
        assert!(
            lock.contains("name = \"tool\"") && lock.matches("[[packages]]").count() == 1,
            "{lock}"
        );
        let dump = sandbox.dump(&sandbox.build(["--format", "deb"])[0]);
        assert!(
            dump.contains("/alpha/") && dump.contains("/beta/") && dump.contains("/tool/"),
            "{dump}"
        );
        assert!(
            std::fs::read(sandbox.path("uv.lock")).unwrap() == before
                && !sandbox.path("pylock.toml").exists()
        );
        // The next time, it is read and written again.
        sandbox.pkgapp(["lock", "--resolver", resolver]).stdout();
        sandbox.edit("pkgapp.toml", "tool>=3", "alpha");
        let said = sandbox.pkgapp(["lock", "--resolver", resolver]).fails();
        assert!(
            said.contains("uv.lock` already pins everything in `add`"),
            "{said}"
        );
    }
}

#[test]
fn the_dependencies_of_a_project_without_a_wheel_are_locked() {
    let server = serve();
    let project = "[project]\nname = \"notes\"\nversion = \"1\"\ndependencies = [\"alpha\"]\n";
    let groups = "[dependency-groups]\nmain = [\"alpha\"]\ndev = [\"nowhere-to-be-found\"]\n";
    for (resolver, text) in [("uv", project), ("uv", groups)] {
        if tool(resolver).is_none() {
            continue;
        }
        let sandbox = Sandbox::new();
        sandbox.write("pyproject.toml", text);
        sandbox.write("notes.py", "");
        sandbox.write(".python-version", &super::support::tools::python().minor);
        sandbox.pkgapp(["init"]).stdout();
        let index = format!(
            "\n[[python.index]]\nname = \"local\"\nurl = \"{}\"\ndefault = true\n",
            server.url()
        );
        sandbox.append("pkgapp.toml", &index);
        sandbox.pkgapp(["lock", "--resolver", resolver]).stdout();
        let dump = sandbox.dump(&sandbox.build(["--format", "deb"])[0]);
        assert!(
            dump.contains("/alpha/") && dump.contains("/beta/") && dump.contains("app/notes.py"),
            "{dump}"
        );
    }
}

#[test]
fn an_application_that_pins_nothing_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("notes.py", "import flask\nimport requests\nimport yaml\n");
    sandbox.write("requirements_base.txt", "flask\nrequests\nyaml\n");
    sandbox.pkgapp(["init"]).stdout();
    let said = sandbox.pkgapp(["build"]).fails();
    assert!(
        said.contains("it imports `flask`, `requests`, `yaml`"),
        "{said}"
    );
    assert!(
        said.contains("run `pkgapp lock requirements_base.txt`"),
        "{said}"
    );
    // So few may be optional.
    sandbox.write("notes.py", "import flask\n");
    sandbox.build(["--format", "tar.gz"]);
}

#[test]
fn a_repository_at_a_commit_ships() {
    let Some(git) = tool("git") else { return };
    let sandbox = Sandbox::hello();
    let repository = sandbox.root().join("repository");
    let backend = std::fs::read(super::support::fixture("hello").join("backend.py")).unwrap();
    let project = "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n\n[project]\nname = \"lib\"\n\
                   version = \"1.0\"\ndescription = \"A library\"\n";
    std::fs::create_dir_all(repository.join("sub/src/lib")).unwrap();
    std::fs::write(repository.join("sub/pyproject.toml"), project).unwrap();
    std::fs::write(repository.join("sub/backend.py"), backend).unwrap();
    std::fs::write(repository.join("sub/src/lib/__init__.py"), "LIB = 1\n").unwrap();
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(&git);
        command
            .current_dir(&repository)
            .env("GIT_CONFIG_GLOBAL", "/dev/null");
        let identity = [
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@example.com",
            "-c",
            "init.defaultBranch=main",
        ];
        super::support::tools::text(command.args(identity).args(args))
    };
    run(&["init", "--quiet"]);
    run(&["add", "."]);
    run(&["commit", "--quiet", "-m", "one"]);
    let commit = run(&["rev-parse", "HEAD"]).trim().to_owned();
    std::fs::write(repository.join("sub/src/lib/__init__.py"), "LIB = 2\n").unwrap();
    run(&["commit", "--quiet", "-a", "-m", "two"]);
    let line = format!(
        "lib @ git+file://{}@{commit}#subdirectory=sub\n",
        repository.display()
    );
    sandbox.append("requirements.txt", &line);
    let [deb] = &sandbox.build(["--format", "deb"])[..] else {
        panic!("one artifact")
    };
    let module = sandbox
        .dump(deb)
        .lines()
        .find(|line| line.contains("/lib/__init__.py"))
        .unwrap()
        .to_owned();
    assert!(module.contains(&sha256(b"LIB = 1\n")), "{module}");
    // The checkout is kept: the repository can go.
    std::fs::remove_dir_all(&repository).unwrap();
    sandbox.build(["--offline", "--format", "deb", "--output", "again"]);
}

/// Two indexes have different files under one name; the lock says which one is meant.
#[test]
fn a_package_comes_from_the_index_that_its_lock_names() {
    let wheel = |from: &str| Wheel::simple("alpha", "1.0").file("alpha/origin.txt", from);
    let public = Index::new(Api::Json)
        .wheel("alpha", &wheel("public"))
        .wheel("beta", &Wheel::simple("beta", "2.0"));
    let own = Index::new(Api::Html)
        .wheel("alpha", &wheel("own"))
        .fault(Fault::Unauthorized);
    let (public, own) = (public.serve(), own.serve());
    let sources = format!(
        "{{\"name\": \"public\", \"url\": \"{}\"}}, {{\"name\": \"own\", \"url\": \"{}\"}}",
        public.url(),
        own.url_with_secret().replace("secret", "${OWN_SECRET}")
    );
    let pipfile = |index: &str| {
        format!(
            "{{\"_meta\": {{\"pipfile-spec\": 6, \"sources\": [{sources}]}}, \"default\": {{\"alpha\": {{\"version\": \"==1.0\"{index}}}, \
             \"beta\": {{\"version\": \"==2.0\"}}}}}}"
        )
    };
    let pdm = format!(
        "\n[[tool.pdm.source]]\nname = \"pypi\"\nurl = \"{}\"\n[[tool.pdm.source]]\nname = \"own\"\nurl = \"{}\"\n\
         include_packages = [\"alph*\"]\n",
        public.url(),
        own.url_with_secret().replace("secret", "${OWN_SECRET}")
    );
    let package = |name: &str, version| {
        format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\ngroups = [\"default\"]\n")
    };
    let pdm_lock = [
        "[metadata]\nlock_version = \"4.5.0\"\n",
        &package("alpha", "1.0"),
        &package("beta", "2.0"),
    ]
    .concat();
    for (file, text, project, from) in [
        ("Pipfile.lock", pipfile(""), "", "public"),
        (
            "Pipfile.lock",
            pipfile(", \"index\": \"public\""),
            "",
            "public",
        ),
        ("Pipfile.lock", pipfile(", \"index\": \"own\""), "", "own"),
        ("pdm.lock", pdm_lock, pdm.as_str(), "own"),
    ] {
        let sandbox = Sandbox::hello();
        std::fs::remove_file(sandbox.path("requirements.txt")).unwrap();
        sandbox.edit("pkgapp.toml", "requirements.txt", file);
        sandbox.write(file, text);
        sandbox.append("pyproject.toml", project);
        let built = sandbox
            .pkgapp(["build", "--format", "deb"])
            .env("OWN_SECRET", "secret")
            .artifacts();
        let dump = sandbox.dump(&built[0]);
        let line = dump
            .lines()
            .find(|line| line.contains("alpha/origin.txt"))
            .unwrap();
        assert!(
            line.contains(&sha256(from.as_bytes())),
            "{file} {from}: {line}"
        );
    }
}

/// A machine without any Python but the one that ships.
#[test]
fn an_interpreter_that_ships_resolves_too() {
    let (Some(uv), Some(python)) = (tool("uv"), super::interpreters::newest()) else {
        return;
    };
    let server = Index::new(Api::Json)
        .wheel(
            "alpha",
            &Wheel::simple("alpha", "1.0").requires("beta; python_version >= '3.8'"),
        )
        .wheel("beta", &Wheel::simple("beta", "2.0"))
        .serve();
    let sandbox = Sandbox::new();
    let (minor, prefix) = (&python.minor, python.prefix.display());
    let bundled = format!("interpreter = \"bundled\"\npath = \"{prefix}\"\n");
    let text = format!(
        "[app]\nname = \"app\"\nversion = \"1\"\nsource = \"\"\n[python]\nversion = \"{minor}\"\n{bundled}\
         requirements = [\"requirements.txt\"]\n"
    );
    sandbox.write("pkgapp.toml", &text);
    sandbox.write("requirements.txt", format!("-i {}\nalpha\n", server.url()));
    let bin = sandbox.root().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for (tool, file) in [
        ("uv", uv),
        ("sh", "/bin/sh".into()),
        ("env", "/usr/bin/env".into()),
    ] {
        std::os::unix::fs::symlink(file, bin.join(tool)).unwrap();
    }
    let lock = || {
        sandbox
            .pkgapp(["lock", "--resolver", "uv"])
            .env("PATH", &bin)
            .outcome()
    };
    let run = lock();
    assert_eq!(run.status, 0, "{}", run.report);
    let pins = std::fs::read_to_string(sandbox.path("pylock.toml")).unwrap();
    assert!(pins.contains("name = \"beta\""), "{pins}");
    // Without it, what is missing is said. A machine that has it in `/usr/bin` all the same misses
    // nothing.
    sandbox.write("pkgapp.toml", text.replace(&bundled, ""));
    let run = lock();
    let expected =
        format!("note: there is no Python {minor} on the build machine: uv uses another one");
    assert!(
        run.status == 0 || run.stderr.contains(&expected),
        "{}",
        run.report
    );
}

/// Somebody puts a newer version of an internal distribution into a public index.
#[test]
fn a_resolver_takes_nothing_from_an_index_that_does_not_decide() {
    let public = Index::new(Api::Json)
        .wheel("alpha", &Wheel::simple("alpha", "99.0"))
        .serve();
    let own = Index::new(Api::Json)
        .wheel("alpha", &Wheel::simple("alpha", "1.0"))
        .serve();
    let sandbox = Sandbox::hello();
    sandbox.write("requirements.txt", "alpha\n");
    let indexes = |options: &str| {
        format!(
            "\n[[python.index]]\nname = \"own\"\nurl = \"{}\"\n{options}\n[[python.index]]\nname = \"public\"\n\
             url = \"{}\"\ndefault = true\n",
            own.url(),
            public.url()
        )
    };
    let configuration = std::fs::read_to_string(sandbox.path("pkgapp.toml")).unwrap();
    sandbox.write("pkgapp.toml", configuration.clone() + &indexes(""));
    let text = sandbox.pkgapp(["lock", "--resolver", "pip"]).fails();
    assert!(
        text.contains("pip cannot resolve from several indexes") && text.contains("install uv"),
        "{text}"
    );
    // The same in the requirements themselves.
    sandbox.write("pkgapp.toml", configuration.clone());
    sandbox.write(
        "requirements.txt",
        format!("-r more.txt\n--extra-index-url {}\nalpha\n", public.url()),
    );
    sandbox.write("more.txt", format!("--index-url {}\n", own.url()));
    let text = sandbox.pkgapp(["lock", "--resolver", "pip"]).fails();
    assert!(
        text.contains("pip cannot resolve from several indexes"),
        "{text}"
    );
    assert!(
        public.requests().is_empty() && !sandbox.path("pylock.toml").exists(),
        "{:?}",
        public.requests()
    );
    if tool("uv").is_none() {
        return;
    }
    sandbox.write("requirements.txt", "alpha\n");
    let lock = || std::fs::read_to_string(sandbox.path("pylock.toml")).unwrap();
    for tables in [
        indexes(""),
        indexes("explicit = true\n").to_owned() + "\n[python.sources]\nalpha = \"own\"\n",
    ] {
        sandbox.write("pkgapp.toml", configuration.clone() + &tables);
        sandbox
            .pkgapp(["lock", "--resolver", "uv"])
            .env("UV_INDEX_STRATEGY", "unsafe-best-match")
            .stdout();
        assert!(
            lock().contains("version = \"1.0\"")
                && lock().contains(&own.url().replace("/simple/", "/files/")),
            "{}",
            lock()
        );
        std::fs::remove_file(sandbox.path("pylock.toml")).unwrap();
    }
    // uv asks the own index first; this distribution has to come from the other one.
    sandbox.write(
        "pkgapp.toml",
        configuration + &indexes("") + "\n[python.sources]\nalpha = \"public\"\n",
    );
    let text = sandbox.pkgapp(["lock", "--resolver", "uv"]).fails();
    assert!(
        text.contains("`alpha 1.0` was not resolved from") && text.contains(&public.url()),
        "{text}"
    );
    assert!(!sandbox.path("pylock.toml").exists());
}
