//! `pkgapp init`: what it writes is built by the next command.

use super::support::foreign;
use super::support::project::pin;
use super::support::tools;
use super::support::wheel::Wheel;
use super::support::{Sandbox, copy, fixture};

/// fixtures/hello before anybody has configured it.
fn bare() -> Sandbox {
    let sandbox = Sandbox::new();
    copy(&fixture("hello"), &sandbox.project());
    std::fs::remove_file(sandbox.path("pkgapp.toml")).unwrap();
    sandbox.write(".python-version", &tools::python().minor);
    sandbox
}

#[test]
fn a_project_is_built_by_what_is_written() {
    let sandbox = bare();
    sandbox.pkgapp(["init"]).prints(
        "pkgapp.toml\n",
        "a Python application\npinned by `requirements.txt`\n",
    );
    let artifacts = sandbox.build(["--format", "tar"]);
    assert!(sandbox.dump(&artifacts[0]).contains("bin/hello\n"));
}

#[test]
fn plain_django_is_built_with_its_server() {
    let sandbox = Sandbox::new();
    for (file, text) in [
        (".python-version", tools::python().minor.as_str()),
        ("manage.py", "print('managed')\n"),
        ("site_one/__init__.py", ""),
        (
            "site_one/settings.py",
            "BASE_DIR = Path(__file__).parent.parent\nMEDIA_ROOT = BASE_DIR / 'media'\nDATABASES = {'default': {\n    \
             'ENGINE': 'django.db.backends.sqlite3',\n    'NAME': BASE_DIR / 'shopdata',\n}}\n",
        ),
        ("site_one/wsgi.py", "application = get_wsgi_application()\n"),
        ("tests/test_it.py", ""),
        ("requirements.txt", "--no-index\n"),
    ] {
        sandbox.write(file, text);
    }
    pin(
        &sandbox,
        &[
            Wheel::simple("django", "4.2"),
            Wheel::simple("gunicorn", "22.0").console_script("gunicorn", "gunicorn:run"),
        ],
    );
    let text = sandbox.pkgapp(["init", "--print"]).stdout();
    assert!(
        text.lines().filter(|line| !line.starts_with('#')).count() <= 12,
        "{text}"
    );
    assert!(!sandbox.path("pkgapp.toml").exists());
    sandbox.pkgapp(["init"]).stdout();
    assert_eq!(
        std::fs::read_to_string(sandbox.path("pkgapp.toml")).unwrap(),
        text
    );
    let dump = sandbox.dump(&sandbox.build(["--format", "deb"])[0]);
    // What settings say is written to leads out of the release.
    let explained = sandbox.pkgapp(["explain", "app.writable"]).stdout();
    assert!(
        explained.contains(r#"{ file = "shopdata" }"#),
        "{explained}"
    );
    let [media, data] = ["/opt/project/app/media", "/opt/project/app/shopdata"];
    for path in [
        "/opt/project/app/manage.py",
        "/opt/project/app/site_one/wsgi.py",
        "/project-web.socket",
        media,
        data,
    ] {
        assert!(dump.contains(path), "`{path}` is not in:\n{dump}");
    }
    assert!(!dump.contains("test_it"), "{dump}");
}

#[test]
fn a_server_that_is_not_required_is_added_where_it_can_be_locked() {
    let of = |pins: &str, text: &str| {
        let sandbox = Sandbox::new();
        sandbox.write(".python-version", &tools::python().minor);
        sandbox.write(
            "shop.py",
            "from flask import Flask\napplication = Flask(__name__)\n",
        );
        sandbox.write(pins, text);
        let outcome = sandbox.pkgapp(["init"]).outcome();
        let exec = sandbox.pkgapp(["explain", "service.web.exec"]).stdout();
        assert!(
            exec.contains("exec = \"gunicorn shop:application "),
            "{exec}"
        );
        (
            std::fs::read_to_string(sandbox.path("pkgapp.toml")).unwrap(),
            outcome.report,
        )
    };
    let (text, said) = of(
        "requirements.txt",
        "flask==3.0.0\nwerkzeug==3.0.0\nblinker==1.7.0\n",
    );
    assert!(
        text.contains("\nadd = [\"gunicorn\"]") && text.contains("\nrecipe = \"flask\"\n"),
        "{text}"
    );
    assert!(
        said.contains(
            "`requirements.txt` pins no server: `pkgapp lock` writes a `pylock.toml` that does"
        ),
        "{said}"
    );
    let (text, said) = of(
        "requirements/prod.txt",
        "flask==3.0.0\nwerkzeug==3.0.0\nblinker==1.7.0\n",
    );
    assert!(
        text.contains("\nadd = ") && !text.contains("\nrequirements = "),
        "{text}"
    );
    assert!(
        said.contains("`pkgapp lock requirements/prod.txt`"),
        "{said}"
    );
    // That file is poetry's, and stays as it is.
    let (text, said) = of(
        "poetry.lock",
        "[[package]]\nname = \"flask\"\nversion = \"3.0.0\"\n",
    );
    assert!(
        text.contains("\nadd = [\"gunicorn\"]") && text.contains("\nrecipe = \"flask\"\n"),
        "{text}"
    );
    assert!(
        said.contains("`pkgapp lock` pins one beside it, in `pylock.add.toml`"),
        "{said}"
    );
}

#[test]
fn what_was_added_stays_added() {
    let sandbox = Sandbox::new();
    sandbox.write(".python-version", &tools::python().minor);
    sandbox.write(
        "shop.py",
        "from flask import Flask\napplication = Flask(__name__)\n",
    );
    sandbox.write("requirements.txt", "flask\n");
    sandbox.pkgapp(["init"]).stdout();
    sandbox.edit(
        "pkgapp.toml",
        "add = [\"gunicorn\"]",
        "add = [\"gunicorn>=22\", \"gevent\"]",
    );
    // As `pkgapp lock` writes it.
    let package = |name: &str| format!("[[packages]]\nname = \"{name}\"\nversion = \"1\"\n");
    let packages = ["flask", "gunicorn", "gevent"].map(package).concat();
    sandbox.write(
        "pylock.toml",
        format!("lock-version = \"1.0\"\ncreated-by = \"pkgapp\"\n{packages}"),
    );
    let said = sandbox.pkgapp(["init", "--force"]).outcome().report;
    let text = std::fs::read_to_string(sandbox.path("pkgapp.toml")).unwrap();
    assert!(
        text.contains("\nadd = [\"gunicorn>=22\", \"gevent\"]"),
        "{text}"
    );
    assert!(said.contains("pinned by `pylock.toml`"), "{said}");
}

#[test]
fn django_below_src_is_imported_from_there() {
    let sandbox = Sandbox::new();
    for (file, text) in [
        (".python-version", tools::python().minor.as_str()),
        (
            "pyproject.toml",
            "[build-system]\nrequires = []\n[tool.black]\n",
        ),
        (
            "src/manage.py",
            "# django\nimport shop.settings\nprint('made', file=open('made.txt', 'w'))\n",
        ),
        ("src/shop/__init__.py", ""),
        (
            "src/shop/settings.py",
            "import os\nKEY = os.environ['KEY']\nSTATIC_ROOT = os.path.join(BASE_DIR, 's')\n",
        ),
        ("src/shop/wsgi.py", "application = get_wsgi_application()\n"),
        ("requirements.txt", "--no-index\n"),
    ] {
        sandbox.write(file, text);
    }
    let django = Wheel::simple("django", "4.2");
    pin(
        &sandbox,
        &[
            django,
            Wheel::simple("gunicorn", "22.0").console_script("gunicorn", "gunicorn:run"),
        ],
    );
    sandbox.edit(
        "src/shop/settings.py",
        "BASE_DIR",
        "os.path.dirname(__file__)",
    );
    let text = sandbox.pkgapp(["init"]).outcome().stderr;
    assert!(
        text.contains("ships as plain files, not as a wheel"),
        "{text}"
    );
    let text = sandbox.pkgapp(["explain"]).stdout();
    assert!(
        text.contains("import-from = [\"src\"]") && text.contains("gunicorn shop.wsgi:application"),
        "{text}"
    );
    // The commands of the build import the settings, and these have what they demand.
    let artifact = sandbox.build(["--format", "tar.gz"]);
    let unpacked = sandbox.root().join("unpacked");
    let Some(()) = foreign::unpack(&artifact[0], &unpacked) else {
        return;
    };
    // Whatever starts Python: modules come from where the release says.
    let site = format!(
        "project-0.1.0/lib/python{}/site-packages",
        tools::python().minor
    );
    let program = "import site, sys; site.addsitedir(sys.argv[1]); import shop.wsgi";
    let mut python = std::process::Command::new(&tools::python().path);
    let run = python
        .args(["-S", "-c", program])
        .arg(unpacked.join(site))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(
        said.contains("name 'get_wsgi_application' is not defined"),
        "{said}"
    );
}

#[test]
fn a_tree_that_makes_no_wheel_is_told_how_to_ship_without() {
    let sandbox = bare();
    sandbox.write("broken.py", "import not_there\n");
    sandbox.write("hello/__init__.py", "");
    let text = "[project]\nname = \"hello\"\nversion = \"1.0\"\n[build-system]\nrequires = []\n\
                build-backend = \"broken\"\nbackend-path = [\".\"]\n";
    sandbox.write("pyproject.toml", text);
    sandbox.pkgapp(["init"]).stdout();
    let text = sandbox.pkgapp(["build", "--format", "tar"]).fails();
    assert!(
        text.contains("source = \"\"\n") && text.contains("\"hello/**\""),
        "{text}"
    );
    // What it says is what works.
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with(['s', 'i']) && line.contains(" = "))
        .collect();
    sandbox.edit(
        "pkgapp.toml",
        "recipe = \"plain\"",
        &format!("recipe = \"plain\"\n{}", lines.join("\n")),
    );
    let dump = sandbox.dump(&sandbox.build(["--format", "tar"])[0]);
    assert!(dump.contains("app/hello/__init__.py"), "{dump}");
}

#[test]
fn nothing_is_replaced_unasked() {
    let sandbox = Sandbox::hello();
    let before = std::fs::read(sandbox.path("pkgapp.toml")).unwrap();
    let text = sandbox.pkgapp(["init"]).fails();
    assert!(
        text.contains("`pkgapp.toml` already exists") && text.contains("--force"),
        "{text}"
    );
    assert_eq!(std::fs::read(sandbox.path("pkgapp.toml")).unwrap(), before);
    sandbox.write(".python-version", &tools::python().minor);
    sandbox.pkgapp(["init", "--force"]).stdout();
    assert_ne!(std::fs::read(sandbox.path("pkgapp.toml")).unwrap(), before);
}

#[test]
fn what_can_not_be_read_does_not_stay() {
    let sandbox = bare();
    // A lock of that name is no lock: the survey does not care, the build would.
    sandbox.edit("pyproject.toml", "name = \"hello\"", "name = \"-\"");
    let before = sandbox.snapshot();
    let text = sandbox.pkgapp(["init"]).fails();
    assert!(text.contains("init --print"), "{text}");
    assert_eq!(sandbox.snapshot(), before);
}
