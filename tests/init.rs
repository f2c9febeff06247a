//! `pkgapp init`: what it writes is built by the next command.

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
    sandbox.pkgapp(["init"]).prints("pkgapp.toml\n", "a Python application\npinned by `requirements.txt`\n");
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
        ("site_one/settings.py", "DEBUG = False\n"),
        ("site_one/wsgi.py", "application = get_wsgi_application()\n"),
        ("tests/test_it.py", ""),
        ("requirements.txt", "--no-index\n"),
    ] {
        sandbox.write(file, text);
    }
    pin(
        &sandbox,
        &[Wheel::simple("django", "4.2"), Wheel::simple("gunicorn", "22.0").console_script("gunicorn", "gunicorn:run")],
    );
    let text = sandbox.pkgapp(["init", "--print"]).stdout();
    assert!(text.lines().count() <= 20, "{text}");
    assert!(!sandbox.path("pkgapp.toml").exists());
    sandbox.pkgapp(["init"]).stdout();
    assert_eq!(std::fs::read_to_string(sandbox.path("pkgapp.toml")).unwrap(), text);
    let dump = sandbox.dump(&sandbox.build(["--format", "deb"])[0]);
    for path in ["/opt/project/app/manage.py", "/opt/project/app/site_one/wsgi.py", "/project-web.socket"] {
        assert!(dump.contains(path), "`{path}` is not in:\n{dump}");
    }
    assert!(!dump.contains("test_it"), "{dump}");
}

#[test]
fn nothing_is_replaced_unasked() {
    let sandbox = Sandbox::hello();
    let before = std::fs::read(sandbox.path("pkgapp.toml")).unwrap();
    let text = sandbox.pkgapp(["init"]).fails();
    assert!(text.contains("there is a `pkgapp.toml` already") && text.contains("--force"), "{text}");
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
