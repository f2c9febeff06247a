//! Trees as people have them, and what is seen of them.

use std::path::Path;

use super::*;

fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let file = directory.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    directory
}

fn survey(files: &[(&str, &str)]) -> Survey {
    Survey::of(tree(files).path()).unwrap()
}

fn object(module: &str, name: &str, factory: Factory, gateway: Gateway) -> Option<Web> {
    Some(Web::Object { module: module.to_owned(), name: name.to_owned(), factory, gateway })
}

const WSGI: &str = "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n";
const ASGI: &str = "from django.core.asgi import get_asgi_application\napplication = get_asgi_application()\n";

#[test]
fn django_without_a_build_backend() {
    let django: &[(&str, &str)] = &[
        ("manage.py", "import os\n"),
        ("shop/__init__.py", ""),
        ("shop/settings.py", "STATIC_ROOT = '/tmp/static'\n"),
        ("shop/wsgi.py", WSGI),
        ("shop/asgi.py", ASGI),
        ("templates/a.html", ""),
        ("tests/test_a.py", "app = Flask(__name__)\n"),
        ("tox.ini", ""),
        (".venv/lib/python3.11/site-packages/flask/app.py", "app = Flask(__name__)\n"),
        ("requirements.txt", "django==4.2\ngunicorn==22.0\n"),
    ];
    let seen = survey(django);
    assert_eq!(seen.framework, Framework::Django);
    assert_eq!(seen.include, ["manage.py", "shop/**", "templates/**"]);
    assert_eq!(seen.web, object("shop.wsgi", "application", Factory::No, Gateway::Wsgi));
    assert_eq!(seen.pins, Pins::Found("requirements.txt".to_owned()));
    assert!(seen.collects_static && seen.lacks_version && !seen.has_backend);

    let mut asgi = django.to_vec();
    asgi.pop();
    asgi.push(("requirements.txt", "django==4.2\nuvicorn\n"));
    asgi.push(("shop/settings.py", "import os\nSTATIC_ROOT = '/s'\nKEY = os.environ['KEY']\n"));
    let seen = survey(&asgi);
    assert_eq!(seen.web, object("shop.asgi", "application", Factory::No, Gateway::Asgi));
    assert_eq!(seen.pins, Pins::Loose("requirements.txt".to_owned()));
    assert!(!seen.collects_static);
}

#[test]
fn objects_and_factories() {
    let flask =
        |module: &'static str, text: &'static str| survey(&[(module, text), ("requirements.txt", "flask==3.0\n")]);
    let seen = flask("app.py", "from flask import Flask\napp: Flask = Flask(__name__)\n");
    assert_eq!(seen.web, object("app", "app", Factory::No, Gateway::Wsgi));
    assert_eq!(seen.framework, Framework::Flask);
    let seen =
        flask("blog/__init__.py", "import flask\ndef create_app(config=None):\n    app = flask.Flask(__name__)\n");
    assert_eq!(seen.web, object("blog", "create_app", Factory::Yes, Gateway::Wsgi));
    let seen = flask("blog/__init__.py", "import flask\ndef create_app(config):\n    pass\n");
    assert_eq!(seen.web, None, "nobody would give it its argument");
    let seen = flask("src/blog/main.py", "import fastapi\napi = fastapi.FastAPI(title='x')\n");
    assert_eq!(seen.web, object("blog.main", "api", Factory::No, Gateway::Asgi));
    assert_eq!(seen.framework, Framework::FastApi);
}

#[test]
fn pyramid_pecan_and_celery() {
    let ini = "[app:main]\nuse = egg:site\n";
    let files = [("setup.py", "setup(\n  name='site',\n  install_requires=['pyramid>=2', \"waitress\"],\n)\n")];
    let seen = survey(&[&files[..], &[("production.ini", ini), ("development.ini", ini)]].concat());
    assert_eq!(seen.web, Some(Web::Paste("production.ini".to_owned())));
    assert_eq!(seen.include, ["production.ini"]);
    assert_eq!(seen.framework, Framework::Pyramid);
    assert_eq!(seen.name.map(|name| name.to_string()), Some("site".to_owned()));

    let seen = survey(&[("config.py", "app = {\n    'root': 'site.root',\n}\n"), ("requirements.txt", "pecan==1.5\n")]);
    assert_eq!(seen.web, Some(Web::Pecan("config.py".to_owned())));

    let worker = ("jobs/celery.py", "app = Celery('jobs')\napp.conf.beat_schedule = {}\n");
    let seen = survey(&[worker, ("jobs/__init__.py", ""), ("requirements.txt", "celery==5.4\n")]);
    assert_eq!(seen.worker, Some(Worker { app: "jobs".to_owned(), scheduled: true }));
    assert_eq!((seen.framework, seen.web), (Framework::Celery, None));
}

#[test]
fn a_lock_counts_as_far_as_the_project_needs_it() {
    let project = "[project]\nname = 'a'\nversion = '1'\ndependencies = ['Flask>=3']\n[build-system]\nrequires = []\n";
    let lock = "[[package]]\nname = 'flask'\ndependencies = [{ name = 'werkzeug' }]\n\
                [[package]]\nname = 'werkzeug'\n[[package]]\nname = 'gunicorn'\n";
    let seen = survey(&[("pyproject.toml", project), ("uv.lock", lock)]);
    assert!(seen.has("flask") && seen.has("werkzeug") && !seen.has("gunicorn"), "{:?}", seen.requires);
    assert_eq!((seen.name, seen.lacks_version, seen.has_backend), (None, false, true));
    let seen = survey(&[("pyproject.toml", project), ("pylock.toml", &lock.replace("package]]", "packages]]"))]);
    assert!(seen.has("flask") && seen.has("werkzeug"));
}

#[test]
fn which_python() {
    let takes = |files: &[(&str, &str)], minor: &str| survey(files).takes(minor.parse().unwrap());
    let files = [("pyproject.toml", "[project]\nname = 'a'\nrequires-python = '>=3.9,<3.12'\n")];
    assert!(takes(&files, "3.9") && takes(&files, "3.11") && !takes(&files, "3.12") && !takes(&files, "3.8"));
    let files = [("pyproject.toml", "[tool.poetry]\nname = 'a'\n[tool.poetry.dependencies]\npython = '^3.10'\n")];
    assert!(takes(&files, "3.10") && takes(&files, "3.13") && !takes(&files, "3.9"));
    let files = [("setup.cfg", "[metadata]\nname = a\n[options]\npython_requires = >=3.9\n")];
    assert!(takes(&files, "3.9") && !takes(&files, "3.8"));
    let files = [("Pipfile.lock", "{\"_meta\": {\"requires\": {\"python_version\": \"3.11\"}}, \"default\": {}}")];
    assert!(takes(&files, "3.11") && !takes(&files, "3.12"));
}

#[test]
fn a_directory_of_an_sdist_gives_the_name() {
    let directory = tree(&[("one/pkg_name-1.2/a.py", "")]);
    let name = |path: &Path| Survey::of(path).unwrap().name.unwrap().to_string();
    assert_eq!(name(&directory.path().join("one/pkg_name-1.2")), "pkg-name");
}

#[test]
fn requirements_in_a_circle_come_to_an_end() {
    let seen = survey(&[("requirements.txt", "-r more.txt\na==1\n"), ("more.txt", "-r requirements.txt\nb==1\n")]);
    assert!(seen.has("a") && seen.has("b"));
}
