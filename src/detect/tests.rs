//! Trees as people have them, and what is seen of them.

use std::path::Path;

use pkgapp_config::{Config, ConfigDraft, FactValue};

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

fn object(module: &str, name: &str, factory: Factory, gateway: Gateway) -> Option<WebApp> {
    Some(WebApp::Object {
        module: module.to_owned(),
        name: name.to_owned(),
        factory,
        gateway,
    })
}

fn paste(file: &str, has_server: bool) -> Option<WebApp> {
    Some(WebApp::Paste {
        file: file.to_owned(),
        has_server,
    })
}

fn workers(survey: &Survey) -> Vec<(&str, &str)> {
    survey
        .workers
        .iter()
        .map(|worker| (worker.name.as_str(), worker.exec.as_str()))
        .collect()
}

const WSGI: &str =
    "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n";
const ASGI: &str =
    "from django.core.asgi import get_asgi_application\napplication = get_asgi_application()\n";

#[test]
fn setup_py_and_setup_cfg_are_read_in_all_their_forms() {
    let setup = r#"
from setuptools import setup
scripts = concat({'console_scripts': ['forge=forge.runner:run', "forge-worker = forge.worker:main"]})
arguments = {
    'name': "forge",
    'packages': ["forge", "forge.db"],
}
# packages, as 'python_requires': '<3' was long ago
arguments['install_requires'] = [
    'twisted[tls] >= 22',  # it's large
    "jinja2",
]
setup(**arguments)
"#;
    let package = ("forge/__init__.py", "");
    let seen = survey(&[
        ("setup.py", setup),
        package,
        ("contrib/a.py", ""),
        ("other/b.py", ""),
    ]);
    assert_eq!(
        (seen.name.as_str(), seen.has_backend),
        ("forge", true),
        "{:?}",
        seen.no_wheel
    );
    assert_eq!(seen.scripts, ["forge", "forge-worker"]);
    assert!(
        seen.has("twisted") && seen.has("jinja2"),
        "{:?}",
        seen.requires
    );
    assert!(seen.requires_python.is_none());

    let cfg = "[metadata]\nname = forge\n\n[options.entry_points]\nforge.storage =\n    s3 = forge.s3:S3\n\n\
               console_scripts =\n    # the main one\n    forge = forge.runner:run\n    forge-api = forge.api:run\n\n\
               [options]\ninstall_requires =\n    twisted[tls]\n    jinja2\n";
    let seen = survey(&[
        ("setup.cfg", cfg),
        ("setup.py", "import setuptools\nsetuptools.setup()\n"),
        package,
    ]);
    assert_eq!(seen.scripts, ["forge", "forge-api"]);
    assert!(
        seen.has("twisted") && seen.has("jinja2"),
        "{:?}",
        seen.requires
    );

    let text = "from setuptools import setup\nsetup(name='forge', entry_points=\"\"\"\n    [console_scripts]\n    \
                forge = forge.runner:run\n    \"\"\", install_requires=wanted, packages=['forge'])\n\nx = 1\n";
    let seen = survey(&[("setup.py", text), package]);
    assert_eq!(seen.scripts, ["forge"]);
    assert!(seen.requires.is_empty(), "{:?}", seen.requires);
}

#[test]
fn django_without_a_build_backend() {
    let django: &[(&str, &str)] = &[
        (
            "manage.py",
            "from django.core.management import execute_from_command_line\n",
        ),
        ("shop/__init__.py", ""),
        ("shop/settings.py", "STATIC_ROOT = BASE_DIR / 'collected'\n"),
        ("shop/wsgi.py", WSGI),
        ("shop/asgi.py", ASGI),
        ("templates/a.html", ""),
        ("tests/test_a.py", "app = Flask(__name__)\n"),
        ("tox.ini", ""),
        (
            ".venv/lib/python3.11/site-packages/flask/app.py",
            "app = Flask(__name__)\n",
        ),
        (
            "requirements.txt",
            "django==4.2\nasgiref==3.8\ngunicorn==22.0\npackaging==24.0\n",
        ),
    ];
    let seen = survey(django);
    assert_eq!(seen.framework, Framework::Django);
    assert_eq!(seen.include, ["manage.py", "shop/**", "templates/**"]);
    assert_eq!(
        seen.web,
        object("shop.wsgi", "application", Factory::No, Gateway::Wsgi)
    );
    assert_eq!(seen.pins, PinState::Found("requirements.txt".to_owned()));
    assert_eq!(
        seen.collect_static,
        ["python app/manage.py collectstatic --noinput"]
    );
    assert_eq!(
        seen.migrate.as_deref(),
        Some("python app/manage.py migrate --noinput")
    );
    assert!(seen.lacks_version && !seen.has_backend);

    let mut asgi = django.to_vec();
    asgi.pop();
    asgi.push(("requirements.txt", "django==4.2\nuvicorn\n"));
    asgi.push((
        "shop/settings.py",
        "import os\nSTATIC_ROOT = '/s'\nKEY = os.environ['KEY']\n",
    ));
    let seen = survey(&asgi);
    assert_eq!(
        seen.web,
        object("shop.asgi", "application", Factory::No, Gateway::Asgi)
    );
    assert_eq!(seen.pins, PinState::Loose("requirements.txt".to_owned()));
    assert!(
        seen.collect_static.is_empty() && seen.open[0].contains("`/s`"),
        "{:?}",
        seen.open
    );
    assert_eq!(seen.variables.keys().collect::<Vec<_>>(), ["KEY"]);
}

#[test]
fn an_empty_static_root_is_told_as_what_it_is() {
    let with = |settings: &'static str| {
        survey(&[
            (
                "manage.py",
                "from django.core.management import execute_from_command_line\n",
            ),
            ("shop/settings.py", settings),
            ("shop/wsgi.py", WSGI),
            (
                "requirements.txt",
                "django==4.2\nasgiref==3.8\ngunicorn==22.0\npackaging==24.0\n",
            ),
        ])
    };
    let seen = with("BASE_DIR = Path(__file__).parent\nSTATIC_ROOT = ''  # none\n");
    assert!(seen.collect_static.is_empty());
    let said = &seen.open[0];
    assert!(
        said.contains("is empty") && said.contains("`STATIC_ROOT = BASE_DIR / \"staticfiles\"`"),
        "{said}"
    );
    assert!(said.contains("`shop/settings.py`"), "{said}");

    // Builds and services have the same working directory.
    assert!(!with("STATIC_ROOT = 'static'\n").collect_static.is_empty());
    let seen = with("STATIC_ROOT = '../static'\n");
    assert!(seen.open[0].contains("leads out"), "{:?}", seen.open);

    // A default for whoever sets none in a file of their own.
    let seen = with(
        "STATIC_ROOT = ''\nfrom .local import *\nif not STATIC_ROOT:\n    STATIC_ROOT = join(ROOT, 'static')\n",
    );
    assert_eq!(
        seen.collect_static,
        ["python app/manage.py collectstatic --noinput"]
    );
    assert!(seen.open.is_empty(), "{:?}", seen.open);
}

#[test]
fn links_that_cannot_ship_are_excluded() {
    let root = tempfile::tempdir().unwrap();
    let shop = root.path().join("shop");
    std::fs::create_dir_all(shop.join("docs")).unwrap();
    std::fs::write(root.path().join("requirements.txt"), "flask==3.0\n").unwrap();
    std::fs::write(shop.join("__init__.py"), "").unwrap();
    std::fs::write(
        shop.join("app.py"),
        "import flask\napp = flask.Flask(__name__)\n",
    )
    .unwrap();
    for (link, target) in [
        ("docs/gone.html", "../../../www/gone.html"),
        ("docs/[a].txt", "gone.txt"),
        ("hosts", "/etc/hosts"),
        ("main.py", "app.py"),
    ] {
        std::os::unix::fs::symlink(target, shop.join(link)).unwrap();
    }
    let seen = Survey::of(root.path()).unwrap();
    assert_eq!(seen.include, ["shop/**"]);
    assert_eq!(
        seen.exclude,
        ["shop/docs/[[]a[]].txt", "shop/docs/gone.html", "shop/hosts"]
    );
}

#[test]
fn objects_and_factories() {
    let flask = |module: &'static str, text: &'static str| {
        survey(&[(module, text), ("requirements.txt", "flask==3.0\n")])
    };
    let seen = flask(
        "app.py",
        "from flask import Flask\napp: Flask = Flask(__name__)\n",
    );
    assert_eq!(seen.web, object("app", "app", Factory::No, Gateway::Wsgi));
    assert_eq!(seen.framework, Framework::Flask);
    let seen = flask(
        "blog/__init__.py",
        "import flask\ndef create_app(config=None):\n    app = flask.Flask(__name__)\n",
    );
    assert_eq!(
        seen.web,
        object("blog", "create_app", Factory::Yes, Gateway::Wsgi)
    );
    let seen = flask(
        "blog/__init__.py",
        "import flask\ndef create_app(config):\n    pass\n",
    );
    assert_eq!(seen.web, None, "nobody would give it its argument");
    let seen = flask(
        "blog/_app.py",
        "import flask\napp = flask.Flask(__name__)\n",
    );
    assert_eq!(seen.web, None, "the package keeps it to itself");
    let seen = flask(
        "src/blog/main.py",
        "import fastapi\napi = fastapi.FastAPI(title='x')\n",
    );
    assert_eq!(
        seen.web,
        object("blog.main", "api", Factory::No, Gateway::Asgi)
    );
    assert_eq!(seen.framework, Framework::FastApi);
}

#[test]
fn pyramid_pecan_and_celery() {
    let ini = "[app:main]\nuse = egg:site\n";
    let files = [(
        "setup.py",
        "setup(\n  name='site',\n  install_requires=['pyramid>=2', \"waitress\"],\n)\n",
    )];
    let seen = survey(
        &[
            &files[..],
            &[("production.ini", ini), ("development.ini", ini)],
        ]
        .concat(),
    );
    assert_eq!(seen.web, paste("production.ini", false));
    assert_eq!(seen.include, ["production.ini"]);
    assert_eq!(seen.framework, Framework::Pyramid);
    assert_eq!((seen.name.as_str(), seen.lacks_name), ("site", true));

    let seen = survey(&[
        ("config.py", "app = {\n    'root': 'site.root',\n}\n"),
        ("requirements.txt", "pecan==1.5\n"),
    ]);
    assert_eq!(seen.web, Some(WebApp::Pecan("config.py".to_owned())));

    let worker = (
        "jobs/celery.py",
        "app = Celery('jobs')\napp.conf.beat_schedule = {}\n",
    );
    let project = ("pyproject.toml", "[project]\nname = 'app'\nversion = '1'\n");
    let seen = survey(&[
        worker,
        ("jobs/__init__.py", ""),
        ("requirements.txt", "celery==5.4\n"),
        project,
    ]);
    assert_eq!(
        workers(&seen),
        [
            ("worker", "celery -A jobs worker"),
            ("beat", "celery -A jobs beat --schedule /var/lib/app/beat")
        ]
    );
    assert_eq!((seen.framework, seen.web), (Framework::Celery, None));
}

#[test]
fn a_lock_counts_as_far_as_the_project_needs_it() {
    let project = "[project]\nname = 'a'\nversion = '1'\ndependencies = ['Flask>=3']\n[build-system]\nrequires = []\n";
    let lock = "[[package]]\nname = 'flask'\ndependencies = [{ name = 'werkzeug' }]\n\
                [[package]]\nname = 'werkzeug'\n[[package]]\nname = 'gunicorn'\n";
    let seen = survey(&[("pyproject.toml", project), ("uv.lock", lock)]);
    assert!(
        seen.has("flask") && seen.has("werkzeug") && !seen.has("gunicorn"),
        "{:?}",
        seen.requires
    );
    assert_eq!((seen.lacks_name, seen.lacks_version), (false, false));
    let seen = survey(&[
        ("pyproject.toml", project),
        ("pylock.toml", &lock.replace("package]]", "packages]]")),
    ]);
    assert!(seen.has("flask") && seen.has("werkzeug"));
}

#[test]
fn which_python() {
    let takes = |files: &[(&str, &str)], minor: &str| survey(files).takes(minor.parse().unwrap());
    let files = [(
        "pyproject.toml",
        "[project]\nname = 'a'\nrequires-python = '>=3.9,<3.12'\n",
    )];
    assert!(
        takes(&files, "3.9")
            && takes(&files, "3.11")
            && !takes(&files, "3.12")
            && !takes(&files, "3.8")
    );
    let files = [(
        "pyproject.toml",
        "[tool.poetry]\nname = 'a'\n[tool.poetry.dependencies]\npython = '^3.10'\n",
    )];
    assert!(takes(&files, "3.10") && takes(&files, "3.13") && !takes(&files, "3.9"));
    let files = [("requirements.txt", "Django[argon2]==6.1\n")];
    assert!(takes(&files, "3.12") && !takes(&files, "3.11"));
    let files = [(
        "setup.cfg",
        "[metadata]\nname = a\n[options]\npython_requires = >=3.9\n",
    )];
    assert!(takes(&files, "3.9") && !takes(&files, "3.8"));
    let files = [(
        "Pipfile.lock",
        "{\"_meta\": {\"requires\": {\"python_version\": \"3.11\"}}, \"default\": {}}",
    )];
    assert!(takes(&files, "3.11") && !takes(&files, "3.12"));
}

#[test]
fn a_directory_of_an_sdist_gives_the_name() {
    let directory = tree(&[("one/pkg_name-1.2/a.py", "")]);
    let name = |path: &Path| Survey::of(path).unwrap().name.to_string();
    assert_eq!(name(&directory.path().join("one/pkg_name-1.2")), "pkg-name");
}

#[test]
fn requirements_in_a_circle_come_to_an_end() {
    let seen = survey(&[
        ("requirements.txt", "-r more.txt\na==1\n"),
        ("more.txt", "-r requirements.txt\nb==1\n"),
    ]);
    assert!(seen.has("a") && seen.has("b"));
}

const MANAGE: (&str, &str) = (
    "manage.py",
    "from django.core.management import execute_from_command_line\n",
);

#[test]
fn modules_are_imported_from_the_directory_of_manage_py() {
    for directory in ["src", "backend", "engine"] {
        let manage = format!("{directory}/manage.py");
        let wsgi = format!("{directory}/shop/wsgi.py");
        let (package, commands) = (
            format!("{directory}/shop/__init__.py"),
            format!("{directory}/shop/celery.py"),
        );
        let files = [
            (manage.as_str(), MANAGE.1),
            (&wsgi, WSGI),
            (&package, ""),
            (&commands, "app = Celery('shop')\n"),
            (
                "requirements.txt",
                "django==4.2\nasgiref==3\ncelery==5\nkombu==5\n",
            ),
        ];
        let seen = survey(&files);
        assert_eq!(
            seen.web,
            object("shop.wsgi", "application", Factory::No, Gateway::Wsgi)
        );
        assert_eq!(
            (&seen.import_from[..], &seen.include[..]),
            (
                &[directory.to_owned()][..],
                &[format!("{directory}/**")][..]
            )
        );
        assert_eq!(workers(&seen), [("worker", "celery -A shop worker")]);
        assert_eq!(
            seen.migrate.unwrap(),
            format!("python app/{directory}/manage.py migrate --noinput")
        );
    }
    // No Django, and packages of the newer kind, which need no `__init__.py`.
    let seen = survey(&[
        ("backend/app/__init__.py", ""),
        (
            "backend/app/main.py",
            "from app.db import x\napi = FastAPI()\n",
        ),
    ]);
    assert_eq!(
        seen.web,
        object("app.main", "api", Factory::No, Gateway::Asgi)
    );
    assert_eq!(seen.import_from, ["backend"]);
    let seen = survey(&[
        ("blog/main.py", "from blog.db import x\napi = FastAPI()\n"),
        ("blog/db.py", ""),
    ]);
    assert_eq!(
        seen.web,
        object("blog.main", "api", Factory::No, Gateway::Asgi)
    );
    let seen = survey(&[
        ("server/main.py", "from db import x\napi = FastAPI()\n"),
        ("server/db.py", ""),
    ]);
    assert_eq!(
        (seen.web, &seen.import_from[..]),
        (
            object("main", "api", Factory::No, Gateway::Asgi),
            &["server".to_owned()][..]
        )
    );
}

#[test]
fn a_manage_py_does_not_make_django() {
    let seen = survey(&[
        ("manage.py", "import click\nfrom dash import app\n"),
        (
            "dash/__init__.py",
            "class Dash(Flask):\n    pass\n\napp = Dash(__name__)\n",
        ),
        (
            "dash/wsgi.py",
            "from . import other\napp = other\napplication = wrapped(app)\n",
        ),
        ("requirements.txt", "flask==3.0\nwerkzeug==3.0\n"),
    ]);
    assert_eq!(seen.framework, Framework::Flask);
    assert_eq!(
        seen.web,
        object("dash.wsgi", "application", Factory::No, Gateway::Wsgi)
    );
    assert!(seen.migrate.is_none() && seen.collect_static.is_empty());
}

#[test]
fn factories_and_what_they_return() {
    let factory = "import flask\ndef create_app(\n    config=None,  # a path\n    debug: bool = False,\n):\n    pass\n";
    let files = [
        ("blog/__init__.py", factory),
        ("requirements.txt", "flask==3.0\nwerkzeug==3\n"),
    ];
    assert_eq!(
        survey(&files).web,
        object("blog", "create_app", Factory::Yes, Gateway::Wsgi)
    );
    let run = (
        "blog_run.py",
        "from blog import create_app\nserver = create_app()\n",
    );
    let seen = survey(&[&files[..], &[run]].concat());
    assert_eq!(
        seen.web,
        object("blog_run", "server", Factory::No, Gateway::Wsgi)
    );
    let procfile = (
        "Procfile",
        "web: flask db upgrade; gunicorn -w 3 other:app\n",
    );
    let other = (
        "other.py",
        "from blog import create_app\napp = create_app()\n",
    );
    let seen = survey(&[&files[..], &[run, other, procfile]].concat());
    assert_eq!(seen.web, object("other", "app", Factory::No, Gateway::Wsgi));
    let api = (
        "api/app.py",
        "from fastapi import FastAPI\ndef get_app() -> FastAPI:\n    return FastAPI()\n",
    );
    let seen = survey(&[
        api,
        ("api/__init__.py", ""),
        ("requirements.txt", "fastapi[standard]\n"),
    ]);
    assert_eq!(
        seen.web,
        object("api.app", "get_app", Factory::Yes, Gateway::Asgi)
    );
    assert!(seen.has("uvicorn"), "{:?}", seen.requires);
    let chosen = (
        "site/settings.py",
        "WSGI_APPLICATION = 'site.server.application'\n",
    );
    let seen = survey(&[
        MANAGE,
        chosen,
        ("site/server.py", WSGI),
        ("site/wsgi.py", WSGI),
        ("site/__init__.py", ""),
    ]);
    assert_eq!(
        seen.web,
        object("site.server", "application", Factory::No, Gateway::Wsgi)
    );
}

#[test]
fn configurations_for_developers_are_not_served() {
    let (main, setup) = (
        "[app:main]\nuse = egg:site\n",
        (
            "setup.py",
            "setup(name='site', install_requires=['pyramid'])\n",
        ),
    );
    let seen = survey(&[setup, ("development.ini", main)]);
    assert_eq!((seen.framework, seen.web), (Framework::Pyramid, None));
    assert!(seen.open[0].contains("development.ini"), "{:?}", seen.open);
    let seen = survey(&[
        setup,
        ("development.ini", main),
        ("conf/production.ini", main),
    ]);
    assert_eq!(seen.web, paste("conf/production.ini", false));
    assert_eq!(seen.include, ["conf/production.ini"]);
    let served = format!("{main}[server:main]\nuse = egg:waitress#main\n");
    assert_eq!(
        survey(&[setup, ("production.ini", &served)]).web,
        paste("production.ini", true)
    );
    let pecan = ("requirements.txt", "pecan==1.5\n");
    let seen = survey(&[
        (
            "config/dev.py",
            "app = {\n    'root': 'a.Root',\n    'modules': ['a'],\n}\n",
        ),
        pecan,
    ]);
    assert!(
        seen.web.is_none() && seen.open[0].contains("config/dev.py"),
        "{:?}",
        seen.open
    );
}

#[test]
fn workers_of_many_kinds() {
    let requires = |names: &'static str| ("requirements.txt", names);
    let seen = survey(&[
        requires("rq==1\n"),
        (
            "jobs.py",
            "import rq\nqueue = rq.Queue('mails', connection=redis)\n",
        ),
    ]);
    assert_eq!(workers(&seen), [("worker", "rq worker mails")]);
    let seen = survey(&[
        requires("rq==1\n"),
        (
            "board.py",
            "from rq import Queue\nall = Queue.all(connection=redis)\n",
        ),
    ]);
    assert!(workers(&seen).is_empty(), "a dashboard has no jobs");
    let seen = survey(&[
        requires("dramatiq==1\n"),
        (
            "jobs.py",
            "import dramatiq\n@dramatiq.actor\ndef f(): pass\n",
        ),
    ]);
    assert_eq!(workers(&seen), [("worker", "dramatiq jobs")]);
    let seen = survey(&[
        requires("huey==2\n"),
        (
            "jobs.py",
            "from huey import RedisHuey\nqueue = RedisHuey('x')\n",
        ),
    ]);
    assert_eq!(workers(&seen), [("worker", "huey_consumer.py jobs.queue")]);
    let command = "class Command(BaseCommand):\n    def handle(self):\n        while True:\n            time.sleep(1)\n";
    let port = format!("{command}    parser.add_argument('--port')\n");
    let asks = format!("{command}            input('Delete it? ')\n");
    let told = format!("{command}    parser.add_argument('--loop', action='store_true')\n");
    let seen = survey(&[
        MANAGE,
        ("hc/management/commands/report.py", &told),
        ("hc/management/commands/send_alerts.py", command),
        ("hc/management/commands/smtpd.py", &port),
        ("hc/management/commands/cleanup.py", &asks),
        (
            "hc/management/commands/once.py",
            "class Command:\n    pass\n",
        ),
        ("hc/tasks.py", "from huey.contrib.djhuey import task\n"),
        requires("django==4\nasgiref==3\nhuey==2\n"),
    ]);
    let expected = [
        ("worker", "python app/manage.py run_huey"),
        ("report", "python app/manage.py report --loop"),
        ("send-alerts", "python app/manage.py send_alerts"),
    ];
    assert_eq!(workers(&seen), expected);
    let files = [
        requires("celery==5\nkombu==5\nflask==3\nwerkzeug==3\n"),
        (
            "celery_worker.py",
            "from blog import create_app\nfrom blog.extensions import celery  # noqa\napp = create_app()\n",
        ),
        ("blog/__init__.py", ""),
        ("blog/extensions.py", "celery = Celery('blog')\n"),
    ];
    assert_eq!(
        workers(&survey(&files)),
        [("worker", "celery -A celery_worker:celery worker")]
    );
}

#[test]
fn data_that_the_code_reads_is_included() {
    let seen = survey(&[
        (
            "app.py",
            "SEARCH = open(BASE_DIR / 'search.db')\nSEEDS = os.path.join(ROOT, \"seeds\")\nname = 'notes'\n",
        ),
        ("search.db", ""),
        ("seeds/a.json", ""),
        ("notes/a.txt", ""),
        ("other.csv", ""),
        ("alembic.ini", "[alembic]\nscript_location = alembic\n"),
        ("alembic/versions/a.sql", ""),
        ("requirements.txt", "alembic==1\n"),
    ]);
    assert_eq!(
        seen.include,
        [
            "app.py",
            "search.db",
            "seeds/**",
            "alembic.ini",
            "alembic/**"
        ]
    );
    assert_eq!(
        seen.migrate.unwrap(),
        "/bin/sh -c 'cd app && ../bin/alembic upgrade head'"
    );
}

#[test]
fn trees_that_make_no_wheel() {
    let why = |files: &[(&str, &str)]| survey(files).no_wheel;
    let system =
        "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n";
    let project = "[project]\nname = 'shop'\nversion = '1'\n";
    let both = format!("{project}{system}");
    assert!(
        why(&[("pyproject.toml", system), ("shop.py", "")])
            .unwrap()
            .contains("no `[project]`")
    );
    let versionless = format!("[project]\nname = 'shop'\n{system}");
    assert!(
        why(&[("pyproject.toml", &versionless), ("shop.py", "")])
            .unwrap()
            .contains("no `version`")
    );
    let package = ("shop/__init__.py", "");
    assert_eq!(why(&[("pyproject.toml", &both), package]), None);
    assert!(
        why(&[("pyproject.toml", &both), package, ("site/a.html", "")])
            .unwrap()
            .contains("`shop`, `site`")
    );
    assert_eq!(
        why(&[
            ("pyproject.toml", &both),
            package,
            ("docs/a.html", ""),
            ("tests/a.py", "")
        ]),
        None
    );
    let told = format!("{both}[tool.setuptools]\npackages = ['shop']\n");
    assert_eq!(
        why(&[("pyproject.toml", &told), package, ("site/a.html", "")]),
        None
    );
    assert!(
        why(&[
            ("pyproject.toml", &both),
            package,
            ("shop/templates/a.html", "")
        ])
        .unwrap()
        .contains("shop/templates")
    );
    let unpackaged = format!("{both}[tool.uv]\npackage = false\n");
    assert!(
        why(&[("pyproject.toml", &unpackaged), package])
            .unwrap()
            .contains("package = false")
    );
    let hatchling = format!(
        "{project}[build-system]\nrequires = ['hatchling']\nbuild-backend = 'hatchling.build'\n"
    );
    assert_eq!(why(&[("pyproject.toml", &hatchling), package]), None);
    assert!(
        why(&[("pyproject.toml", &hatchling), ("other/__init__.py", "")])
            .unwrap()
            .contains("hatchling")
    );
    let setup = "import flask\nfrom setuptools import setup\nsetup(name='shop', packages=['shop'], install_requires=['flask'])\n";
    assert!(
        why(&[("setup.py", setup), package])
            .unwrap()
            .contains("`flask`")
    );
    let own = "from setuptools import setup\nimport shop\nsetup(name='shop', packages=['shop'], install_requires=['flask'])\n";
    assert_eq!(why(&[("setup.py", own), package]), None);
    assert!(
        why(&[("setup.py", own), ("shop/__init__.py", "import flask\n")])
            .unwrap()
            .contains("`shop`")
    );
    // Whatever reads its requirements: what its package imports is not there when setup.py runs.
    let reads = "from setuptools import setup\nimport shop\nsetup(name='shop', packages=['shop'], install_requires=open('r.txt'))\n";
    let imports = |text| {
        why(&[
            ("setup.py", reads),
            ("shop/__init__.py", text),
            ("extra.py", ""),
        ])
    };
    assert_eq!(
        imports(
            "import os, shop.version\nimport extra\ntry:\n    import msgspec\nexcept ImportError: pass\n"
        ),
        None
    );
    assert!(
        imports("import os\nimport msgspec\n")
            .unwrap()
            .contains("`shop`")
    );
    let forced = format!(
        "{hatchling}[tool.hatch.build.targets.wheel.force-include]\n'docs/site' = 'shop/site'\n"
    );
    assert!(
        why(&[("pyproject.toml", &forced), package])
            .unwrap()
            .contains("`docs/site`, which is not there")
    );
    assert_eq!(
        why(&[
            ("pyproject.toml", &forced),
            package,
            ("docs/site/a.html", "")
        ]),
        None
    );
    // Settings look for templates beside manage.py.
    let files = [MANAGE, ("pyproject.toml", &told), package];
    assert_eq!(why(&files), None);
    assert!(
        why(&[&files[..], &[("templates/a.html", "")]].concat())
            .unwrap()
            .contains("`templates`")
    );
}

#[test]
fn direct_pins_are_not_all_pins() {
    let seen = survey(&[("requirements.txt", "flask==3.0.0\n")]);
    assert_eq!(
        (seen.pins, seen.gap),
        (
            PinState::Loose("requirements.txt".to_owned()),
            Some("`flask` requires `werkzeug`".to_owned())
        )
    );
    let seen = survey(&[(
        "requirements.txt",
        "flask==3.0.0\nwerkzeug==3.0.0\nblinker==1.7.0\n",
    )]);
    assert_eq!(
        (seen.pins, seen.gap),
        (PinState::Found("requirements.txt".to_owned()), None)
    );
    let seen = survey(&[("requirements.txt", "flask==2.3.2\nwerkzeug==2.3.7\n")]);
    assert_eq!(
        seen.gap,
        Some("`flask` requires `blinker`".to_owned()),
        "since 2.3"
    );
    let seen = survey(&[("requirements.txt", "flask==2.2.5\nwerkzeug==2.2.3\n")]);
    assert_eq!(seen.gap, None);
}

#[test]
fn what_the_code_reads_beside_its_package_keeps_it_from_a_wheel() {
    let project = "[project]\nname = 'shop'\nversion = '1'\n[build-system]\nrequires = ['setuptools']\n\
                   [tool.setuptools]\npackages = ['shop']\n";
    let code = "import os\nfrom pathlib import Path\nDATA = Path(os.getenv('SHOP_DATA_DIR', '/data'))\n\
                CACHE = os.environ.get('CACHE_DIR')\n";
    let files = [
        ("pyproject.toml", project),
        ("alembic.ini", "script_location = alembic\n"),
        ("alembic/env.py", ""),
    ];
    let seen = survey(&[&files[..], &[("shop/__init__.py", code)]].concat());
    assert!(seen.has_backend, "{:?}", seen.no_wheel);
    assert_eq!(seen.data_variables, ["SHOP_DATA_DIR"]);
    let reads = format!("{code}MIGRATIONS = Path(__file__).parent.parent / 'alembic.ini'\n");
    let seen = survey(&[&files[..], &[("shop/__init__.py", &reads)]].concat());
    assert!(
        seen.no_wheel
            .as_deref()
            .is_some_and(|why| why.contains("alembic.ini")),
        "{:?}",
        seen.no_wheel
    );
    assert_eq!(seen.include, ["alembic/**", "alembic.ini", "shop/**"]);
}

#[test]
fn wheels_of_a_lock_say_for_which_pythons_it_was_made() {
    let arch = pkgapp_core::name::Arch::host().unwrap();
    let wheel = |name: &str, tags: &str| {
        format!("{{file = '{name}-{tags}_{arch}.whl', hash = 'sha256:0'}}")
    };
    let files = |name: &str, tags: &[&str]| {
        tags.iter()
            .map(|tags| wheel(name, tags))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let greenlet = files(
        "greenlet-1.1.2",
        &["cp39-cp39-manylinux_2_17", "cp310-cp310-manylinux_2_17"],
    );
    let cryptography = files("cryptography-40.0", &["cp36-abi3-manylinux_2_17"]);
    let numpy = files("numpy-1.0", &["cp38-cp38-manylinux_2_17"]);
    let newer = files(
        "numpy-2.0",
        &[
            "cp39-cp39-manylinux_2_17",
            "cp310-cp310-manylinux_2_17",
            "cp311-cp311-manylinux_2_17",
        ],
    );
    let elsewhere = "{file = 'wmi-1.0-cp39-cp39-win_amd64.whl'}, {file = 'wmi-1.0.tar.gz'}";
    let developers = files("ruff-1.0", &["cp38-cp38-manylinux_2_17"]);
    let lock = format!(
        "[metadata.files]\ngreenlet = [{greenlet}]\ncryptography = [{cryptography}]\nnumpy = [{numpy}, {newer}]\n\
         wmi = [{elsewhere}]\nruff = [{developers}]\n"
    );
    let packages: String = ["greenlet", "cryptography", "numpy", "wmi", "ruff"]
        .map(|name| format!("[[package]]\nname = '{name}'\n[package.dependencies]\nx = '*'\n"))
        .concat();
    let project =
        "[tool.poetry.dependencies]\ngreenlet = '*'\ncryptography = '*'\nnumpy = '*'\nwmi = '*'\n";
    let seen = survey(&[
        ("pyproject.toml", project),
        ("poetry.lock", &format!("{packages}{lock}")),
    ]);
    let compiled = |minor: &str| seen.compiled_for(minor.parse().unwrap());
    assert_eq!(compiled("3.11"), ["greenlet 1.1.2"]);
    assert!(compiled("3.10").is_empty());
    assert_eq!(compiled("3.8"), ["greenlet 1.1.2"]);

    // What is for other Pythons only does not ship with this one.
    let named = "name = 'greenlet'\n";
    let lock =
        format!("{packages}{lock}").replace(named, &format!("{named}python-versions = '<3.11'\n"));
    let seen = survey(&[("pyproject.toml", project), ("poetry.lock", &lock)]);
    assert!(seen.compiled_for("3.11".parse().unwrap()).is_empty());
}

#[test]
fn pins_that_pin_nothing() {
    let of = |text: &str| {
        let seen = survey(&[("requirements.txt", text)]);
        (matches!(seen.pins, PinState::Loose(_)), seen.gap)
    };
    // pip-compile says at the end what it has left out.
    let unsafe_ = "supervisor==4\n\n# The following packages are considered to be unsafe in a requirements file:\n# setuptools\n";
    assert_eq!(
        of(unsafe_),
        (true, Some("`pip-compile` left out `setuptools`".to_owned()))
    );
    assert_eq!(
        of(&unsafe_.replace("# setuptools", "setuptools==70.0")),
        (false, None)
    );
    let commit = "0123456789abcdef0123456789abcdef01234567";
    assert!(of("git+https://e.com/a.git@main#egg=a\n").0);
    assert!(of("a @ git+ssh://git@e.com/a.git\n").0);
    assert!(!of(&format!("git+https://e.com/a.git@{commit}#egg=a\n")).0);
    assert!(
        !of(&format!(
            "a @ git+ssh://git@e.com/a.git@{commit} ; python_version > '3'\n"
        ))
        .0
    );
    assert!(!of("a @ https://e.com/a-1-py3-none-any.whl\n").0);
}

#[test]
fn a_range_of_django_says_which_python() {
    for (line, takes) in [
        ("Django>=6.0,<6.1", false),
        ("django~=6.0", false),
        ("Django>=4.2", true),
        ("django", true),
    ] {
        let seen = survey(&[("requirements.txt", "-r base.txt\n"), ("base.txt", line)]);
        assert_eq!(seen.takes("3.11".parse().unwrap()), takes, "{line}");
        assert!(seen.takes("3.13".parse().unwrap()), "{line}");
    }
}

#[test]
fn an_entry_point_around_the_one_of_the_framework() {
    let wsgi = "from django.core.wsgi import get_wsgi_application\n_application = get_wsgi_application()\n\n\n\
        def application(environ, start_response):\n    return _application(environ, start_response)\n";
    let seen = survey(&[
        ("manage.py", "import django\n"),
        ("shop/wsgi.py", wsgi),
        ("requirements.txt", "django==4.2\n"),
    ]);
    assert_eq!(
        seen.web,
        object("shop.wsgi", "application", Factory::No, Gateway::Wsgi)
    );
}

#[test]
fn what_lies_beside_a_wheel_ships_where_commands_look_for_it() {
    let seen = survey(&[
        (
            "pyproject.toml",
            "[build-system]\n[project]\nname = 'shop'\nversion = '1'\n",
        ),
        ("src/manage.py", "import django\n"),
        ("src/shop/__init__.py", ""),
        ("src/shop/settings.py", "STATIC_ROOT = BASE_DIR / 's'\n"),
        ("migrations/alembic.ini", "[alembic]\n"),
        ("migrations/env.py", ""),
        ("migrations/versions/1.py", ""),
    ]);
    assert!(seen.has_backend);
    assert_eq!(
        seen.include,
        ["src/manage.py", "migrations/alembic.ini", "migrations/**"]
    );
    assert_eq!(
        seen.collect_static,
        ["python app/src/manage.py collectstatic --noinput"]
    );
}

#[test]
fn subprojects_are_found_where_there_is_none_above() {
    let project = "[project]\nname = 'a'\n";
    let files = [
        ("README.md", ""),
        ("backend/pyproject.toml", project),
        ("backend/plugins/pyproject.toml", project),
        ("services/mail/setup.py", ""),
        ("docs/requirements.txt", ""),
        ("frontend/package.json", ""),
    ];
    let directory = tree(&files);
    let below: Vec<&Path> = vec!["backend".as_ref(), "services/mail".as_ref()];
    assert_eq!(subprojects(directory.path()), below);

    for itself in ["requirements.txt", "manage.py", "requirements/base.txt"] {
        let directory = tree(&[("backend/pyproject.toml", project), (itself, "")]);
        assert!(subprojects(directory.path()).is_empty(), "{itself}");
    }
}

#[test]
fn settings_that_only_the_environment_names_are_chosen_for_production() {
    let entry = ("shop/wsgi.py", WSGI);
    let package = ("shop/__init__.py", "");
    let chosen = |files: &[(&str, &str)]| {
        let files: Vec<_> = [MANAGE, entry, package]
            .iter()
            .chain(files)
            .copied()
            .collect();
        let facts = survey(&files).facts;
        facts.get("settings-module").map(|fact| fact.value.clone())
    };
    let module = |name: &str| Some(pkgapp_config::FactValue::String(name.to_owned()));
    let empty = |name| (name, "");
    assert_eq!(
        chosen(&[empty("shop/settings.py")]),
        module("shop.settings")
    );
    assert_eq!(
        chosen(&[
            empty("shop/settings/__init__.py"),
            empty("shop/settings/base.py"),
            empty("shop/settings/development.py"),
        ]),
        module("shop.settings.base")
    );
    assert_eq!(
        chosen(&[
            empty("shop/settings/__init__.py"),
            empty("shop/settings/base.py"),
            empty("shop/settings/production.py"),
            empty("demo/tests/settings.py"),
        ]),
        module("shop.settings.production")
    );
    assert_eq!(chosen(&[empty("shop/settings/test.py")]), None);

    let named = "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n";
    let seen = survey(&[MANAGE, ("shop/asgi.py", named), ("shop/settings.py", "")]);
    assert!(seen.facts.get("settings-module").is_none());
}

#[test]
fn a_directory_with_a_long_name_gives_a_short_one() {
    let directory = tree(&[MANAGE]);
    let long = directory
        .path()
        .join("samples-django-postgresql-sample-app");
    std::fs::create_dir(&long).unwrap();
    assert_eq!(
        Survey::of(&long).unwrap().name.as_str(),
        "samples-django-postgresql"
    );
}

#[test]
fn the_lock_of_a_workspace_is_found_in_a_member() {
    let workspace = "[tool.uv.workspace]\nmembers = ['backend', 'libs/*']\n";
    let member = "[project]\nname = 'a'\nversion = '1'\ndependencies = ['flask']\n";
    let directory = tree(&[
        ("pyproject.toml", workspace),
        ("uv.lock", "[[package]]\nname = 'flask'\n"),
        ("backend/pyproject.toml", member),
        ("libs/one/pyproject.toml", member),
        ("elsewhere/pyproject.toml", member),
    ]);
    let pins = |below: &str| Survey::of(&directory.path().join(below)).unwrap().pins;
    assert_eq!(
        pins("backend"),
        PinState::Elsewhere("../uv.lock".to_owned(), true)
    );
    assert_eq!(
        pins("libs/one"),
        PinState::Elsewhere("../../uv.lock".to_owned(), true)
    );
    assert_eq!(pins("elsewhere"), PinState::Nothing);
    let seen = Survey::of(directory.path()).unwrap();
    assert!(seen.open[0].contains("`backend`"), "{:?}", seen.open);
}

#[test]
fn settings_demand_what_they_read_without_a_default() {
    let settings = "A = os.environ['A']\nB = os.environ.get('B')\nC = env('C')\nD = env('D', default='')\n\
        if X:\n    E = os.environ['E']\nos.environ['F'] = '1'\nG = config('G', cast=int)\nDATABASES = {\n    'x': env.db('H'),\n}\n\
        I = os.environ['I'] if 'I' in os.environ else ''\nSTATIC_ROOT = BASE_DIR / 'x'\n";
    let seen = survey(&[MANAGE, ("shop/settings.py", settings)]);
    let found: Vec<(&str, &str)> = seen
        .variables
        .iter()
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    assert_eq!(
        found,
        [
            ("A", "only-for-the-build"),
            ("C", "only-for-the-build"),
            ("G", "1"),
            ("H", "sqlite://:memory:")
        ]
    );

    // What the code has in their place stands elsewhere, or not there.
    let settings = "env = Env(PAGES=(int, 3), NAME=(str,))\nP = env('PAGES')\nN = env('NAME')\n\
                    D = {'x': env.db('OTHER_URL', engine='a'), 'y': env.db('URL', default='b')}\n";
    let seen = survey(&[MANAGE, ("shop/settings.py", settings)]);
    assert_eq!(
        seen.variables.keys().collect::<Vec<_>>(),
        ["NAME", "OTHER_URL"]
    );

    // A name that django-environ has by itself.
    let settings = "D = {'x': env.db(engine='django.db.backends.postgresql')}\n";
    let seen = survey(&[MANAGE, ("shop/settings.py", settings)]);
    assert_eq!(seen.variables.keys().collect::<Vec<_>>(), ["DATABASE_URL"]);
    for (call, presence) in [
        ("env.db()", "host"),
        ("env.db(engine='a')", "host"),
        ("env.db(default='sqlite:///a')", "optional"),
    ] {
        let settings = format!("import environ\nD = {call}\n");
        assert_eq!(
            proposed(&[MANAGE, ("shop/settings.py", &settings)]),
            [format!("DATABASE_URL secret {presence} shop/settings.py:2")]
        );
    }

    // In production, the `else` of a question for development.
    let settings = "if DEBUG:\n    SECRET_KEY = 'none'\nelse:\n    SECRET_KEY = env('KEY_ID')\n";
    let demands = |text: &str| {
        let files = [MANAGE, ("shop/settings.py", text)];
        !survey(&files).variables.is_empty()
    };
    assert!(!demands(settings));
    assert!(demands(&settings.replace("KEY_ID", "SHOP_SECRET_KEY")));

    // Every build takes the `else` of a question for a variable.
    let settings = "if os.environ.get('DB_URI'):\n    A = env.db('DB_URI')\nelse:\n    B = {\n        'x': env.str('DB_ENGINE'),\n    }\n\
                    if os.environ.get('C') == '1':\n    pass\nelse:\n    D = os.environ['D']\n";
    let seen = survey(&[MANAGE, ("shop/settings.py", settings)]);
    let found: Vec<_> = seen.variables.into_iter().collect();
    assert_eq!(
        found,
        [("DB_ENGINE".to_owned(), "django.db.backends.sqlite3")]
    );

    // Settings that refuse their own default.
    let settings = "SHOP_KEY = env('SHOP_KEY', None)\nMORE_KEY = os.getenv('MORE_KEY', '')\n\
                    if SHOP_KEY in [None, 'insecure']:\n    raise Wrong(\n        'change the SHOP_KEY variable'\n    )\n";
    let seen = survey(&[MANAGE, ("shop/settings.py", settings)]);
    assert_eq!(seen.variables.keys().collect::<Vec<_>>(), ["SHOP_KEY"]);

    // Settings that refuse values, and no default.
    let settings = "SOFT_LIMIT = os.environ.get('SOFT_LIMIT', None)\nSLOW_AFTER = float(os.environ.get('SLOW_AFTER', 1.0))\n\
                    raise Wrong('SOFT_LIMIT and SLOW_AFTER must be numbers')\nSITE_KEY = os.environ.get('SITE_KEY')\n\
                    if not SITE_KEY:\n    raise Wrong('set SITE_KEY')\n";
    let seen = survey(&[MANAGE, ("shop/settings.py", settings)]);
    assert_eq!(seen.variables.keys().collect::<Vec<_>>(), ["SITE_KEY"]);

    // Django refuses an empty key.
    assert!(demands("SECRET_KEY = os.getenv('SHOP_KEY', '')\n"));
    assert!(demands("SECRET_KEY = os.environ.get(\"SHOP_KEY\")\n"));
    assert!(!demands("SECRET_KEY = os.getenv('SHOP_KEY', 'x')\n"));
    assert!(!demands(
        "SECRET_KEY = os.getenv('SHOP_KEY', '')\nif not SECRET_KEY:\n    SECRET_KEY = make()\n"
    ));
}

fn writes(files: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    let writes = survey(files).writes;
    (writes.paths, writes.perhaps)
}

#[test]
fn what_settings_say_is_written_to() {
    let settings = "from pathlib import Path\nBASE_DIR = Path(__file__).resolve().parent.parent\n\
                    DATABASES = {\n    'default': {\n        'ENGINE': 'django.db.backends.sqlite3',\n        \
                    'NAME': os.getenv('DB_NAME', BASE_DIR / 'db.sqlite3'),\n    },\n}\n\
                    STATIC_ROOT = BASE_DIR / 'collected'\nMEDIA_ROOT = os.path.join(BASE_DIR, 'media')\n\
                    TEMPLATES_DIR = BASE_DIR / 'templates'\n";
    let django = [
        (
            "manage.py",
            "from django.core.management import execute_from_command_line\n",
        ),
        ("shop/__init__.py", ""),
        ("shop/settings.py", settings),
        ("shop/wsgi.py", WSGI),
        ("requirements.txt", "django==4.2\n"),
        (
            ".gitignore",
            "*.pyc\ncollected/\nindexes/\n/media\nnode_modules\n",
        ),
        (
            "shop/search.py",
            "INDEX_DIR = os.path.join(root, 'indexes')\n",
        ),
    ];
    let (paths, perhaps) = writes(&django);
    assert_eq!(paths, ["db.sqlite3", "media/"]);
    assert_eq!(perhaps, ["indexes"]);

    // A name of its own, and another database: nothing lies in the tree.
    let elsewhere = "MEDIA_ROOT = '/srv/media'\nNAME = 'shop'\nDATABASES = {'default': {\n    'NAME': 'shop',\n}}\n";
    assert_eq!(
        writes(&[
            django[0],
            django[1],
            ("shop/settings.py", elsewhere),
            django[3]
        ])
        .0,
        Vec::<String>::new()
    );

    // Settings that only developers have, and a path that counts from the working directory.
    let seen = survey(&[
        django[0],
        django[1],
        django[3],
        ("shop/settings/base.py", "MEDIA_ROOT = 'media'\n"),
        (
            "shop/settings/dev.py",
            "MEDIA_ROOT = BASE_DIR / 'dev-media'\nBASE_DIR = Path(__file__).parent.parent\n",
        ),
    ]);
    assert_eq!(seen.writes.paths, ["media/"]);
    assert!(seen.writes.in_working_directory);
}

#[test]
fn what_code_makes_is_written_to() {
    let app = "import os\nfrom flask import Flask\napp = Flask(__name__)\nhere = os.path.dirname(os.path.abspath(__file__))\n\
               app.config['CACHE'] = os.path.join(here, 'cache')\n\
               # os.makedirs(os.path.join(here, 'never'))\n\
               if not os.path.exists(app.config['CACHE']):\n    os.makedirs(\n        app.config['CACHE'],\n    )\n\
               os.makedirs(os.path.join(here, 'index'), exist_ok=True)\nos.makedirs(os.path.join(here, 'words'), exist_ok=True)\n\
               SQLALCHEMY_DATABASE_URI = os.environ.get('DATABASE_URL') or 'sqlite:///' + os.path.join(here, 'app.db')\n\
               def save(key, path):\n    with open(os.path.join(here, 'index', 'key.txt'), 'w') as file:\n        file.write(key)\n    \
               open(path, 'w')\n    open(os.path.join(here, 'read.txt'))\n    (Path(here) / 'marks').mkdir(parents=True)\n";
    let flask = [
        ("web/__init__.py", app),
        ("web/index/words.txt", ""),
        ("web/words/a.txt", ""),
        ("requirements.txt", "flask==3.0\n"),
    ];
    let (paths, _) = writes(&flask);
    assert_eq!(
        paths,
        ["web/app.db", "web/cache/", "web/index/", "web/marks/"]
    );

    // A command of the developers', and generated code.
    let version = "import pathlib\n(pathlib.Path(__file__).parent / 'frozen.py').write_text('')\n";
    let made = "from pathlib import Path\n(Path(__file__).parent / 'made').mkdir()\n";
    let commands = [
        ("web/version.py", version),
        ("web/management/commands/a.py", made),
        ("web/devtools.py", made),
    ];
    assert_eq!(writes(&commands).0, ["web/made/"]);
    assert_eq!(writes(&commands[..2]).0, Vec::<String>::new());
}

#[test]
fn files_of_handlers_and_queues_are_written_to() {
    let settings = "BASE = os.path.dirname(os.path.dirname(__file__))\n\
                    HUEY = {\n'huey_class': 'huey.SqliteHuey',\n'filename': os.path.join(BASE, 'kept', 'tasks.sqlite3'),\n}\n\
                    LOGGING = {'handlers': {\n\
                    'file': {\n'class': 'logging.FileHandler',\n'filename': os.path.join(BASE, 'logs', 'web.log'),\n},\n\
                    'top': {\n'class': 'logging.handlers.RotatingFileHandler',\n'filename': os.path.join(BASE, 'top.log'),\n},\n}}\n\
                    REPORT = {\n'filename': os.path.join(BASE, 'report.pdf'),\n}\n";
    let files = [MANAGE, ("web/wsgi.py", WSGI), ("web/settings.py", settings)];
    let seen = survey(&files);
    assert_eq!(
        seen.writes.paths,
        ["kept/tasks.sqlite3", "logs/", "top.log"]
    );

    // Of a directory that no commit has, all is written, except for what a build collects there.
    let ignored = (".gitignore", "/kept\n");
    let whole = |lines: &str| {
        let settings = format!("{settings}{lines}");
        let files = [ignored, MANAGE, files[1], ("web/settings.py", &settings)];
        survey(&files).writes.paths
    };
    assert_eq!(whole(""), ["kept/", "logs/", "top.log"]);
    let collects = "STATIC_ROOT = os.path.join(BASE, 'kept', 'static')\n";
    assert_eq!(whole(collects), seen.writes.paths);
    assert_eq!(whole("STATIC_ROOT = place()\n"), seen.writes.paths);
}

#[test]
fn what_writes_beside_itself_is_no_wheel_unless_a_variable_moves_it() {
    let project = "[project]\nname = \"web\"\nversion = \"1\"\n[build-system]\nrequires = []\nbuild-backend = \"hatchling.build\"\n";
    let code = "import os\nfrom flask import Flask\napp = Flask(__name__)\nhere = os.path.dirname(__file__)\n";
    let fixed = format!("{code}os.makedirs(os.path.join(here, 'cache'))\n");
    let seen = survey(&[("pyproject.toml", project), ("web/__init__.py", &fixed)]);
    assert!(
        seen.no_wheel
            .as_deref()
            .is_some_and(|why| why.contains("`web/cache/`")),
        "{:?}",
        seen.no_wheel
    );
    assert_eq!(seen.writes.paths, ["web/cache/"]);

    let movable = format!(
        "{code}os.makedirs(os.path.join(os.getenv('WEB_CACHE', os.path.join(here, 'cache')), 'a'))\n"
    );
    let seen = survey(&[("pyproject.toml", project), ("web/__init__.py", &movable)]);
    assert_eq!((seen.no_wheel, seen.writes.paths), (None, Vec::new()));
    assert_eq!(
        seen.writes.variables.get("WEB_CACHE").map(String::as_str),
        Some("cache")
    );
    // With content, the variable would hide it.
    let seen = survey(&[
        ("pyproject.toml", project),
        ("web/__init__.py", &movable),
        ("web/cache/words.txt", ""),
    ]);
    assert!(seen.no_wheel.is_some());
    // What nothing serves stays what its author made.
    let tool = "import os\nos.makedirs(os.path.join(os.path.dirname(__file__), 'cache'))\n";
    assert_eq!(
        survey(&[("pyproject.toml", project), ("web/__init__.py", tool)]).no_wheel,
        None
    );
}

#[test]
fn an_application_that_starts_a_server_is_run_and_not_served() {
    let shelf = [
        (
            "shelf/__init__.py",
            "from flask import Flask\napp = Flask(__name__)\n",
        ),
        (
            "shelf/server.py",
            "try:\n    from gevent.pywsgi import WSGIServer\nexcept ImportError:\n    pass\n",
        ),
        (
            "shelf.py",
            "from shelf.main import main\nif __name__ == '__main__':\n    main()\n",
        ),
        ("make.py", "if __name__ == '__main__':\n    main()\n"),
        ("requirements.txt", "flask==3.0\ngevent==24\n"),
    ];
    let seen = survey(&shelf);
    assert_eq!(seen.server_program.as_deref(), Some("python app/shelf.py"));
    assert_eq!(survey(&[shelf[0], shelf[2], shelf[4]]).server_program, None);
    let project = "[project]\nname = \"shelf\"\nversion = \"1\"\ndependencies = ['gevent']\nscripts = { shelf = \"shelf.main:main\", shelf-admin = \"a:b\" }\n\
                   [build-system]\nrequires = []\nbuild-backend = \"hatchling.build\"\n";
    assert_eq!(
        survey(&[shelf[0], shelf[1], ("pyproject.toml", project)])
            .server_program
            .as_deref(),
        Some("shelf")
    );
}

#[test]
fn requirements_of_the_application_are_found_whatever_stands_between_the_words() {
    for name in [
        "requirements_base.txt",
        "requirements-production.txt",
        "requirements.main.txt",
        "requirements/base.txt",
        "requirements/requirements-production.txt",
    ] {
        let seen = survey(&[
            ("app.py", "app = Flask(__name__)\n"),
            (name, "flask==3.0\n"),
            ("requirements_tests.txt", "a==1\n"),
        ]);
        let PinState::Elsewhere(found, _) = seen.pins else {
            panic!("{:?}", seen.pins)
        };
        assert_eq!(found, name);
    }
}

#[test]
fn an_example_of_a_deployment_is_not_served() {
    let example = (
        "contrib/host/wsgi.py",
        "def application(environ, start_response):\n    pass\n",
    );
    let files = [
        example,
        ("src/wiki/__init__.py", ""),
        ("requirements.txt", "flask==3.0\nwerkzeug==3\n"),
    ];
    assert!(survey(&files).web.is_none());

    let factory = "from flask import Flask\n\ndef create_app():\n    return Flask(__name__)\n";
    let seen = survey(&[&files[..], &[("src/wiki/app.py", factory)]].concat());
    let Some(WebApp::Object { module, .. }) = seen.web else {
        panic!("{:?}", seen.web)
    };
    assert_eq!(module, "wiki.app");

    // A package of this name may be the application's own.
    let seen = survey(
        &[
            &files[..],
            &[
                ("contrib/__init__.py", ""),
                ("contrib/host/__init__.py", ""),
            ],
        ]
        .concat(),
    );
    let Some(WebApp::Object { module, .. }) = seen.web else {
        panic!("{:?}", seen.web)
    };
    assert_eq!(module, "contrib.host.wsgi");
}

#[test]
fn a_manage_file_beside_src_leaves_modules_their_names() {
    let manage = (
        "manage.py",
        "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'dns.settings')\n",
    );
    let wsgi = ("src/dns/wsgi.py", "application = get_wsgi_application()\n");
    let files = [
        manage,
        wsgi,
        ("src/dns/__init__.py", ""),
        ("requirements.txt", "django==4.2\n"),
    ];
    let Some(WebApp::Object { module, .. }) = survey(&files).web else {
        panic!("nothing is served")
    };
    assert_eq!(module, "dns.wsgi");
}

const LOCKED: &str = "[project]\nname = 'shop'\nversion = '1'\ndependencies = ['Django']\n[project.optional-dependencies]\n\
                      postgres = ['psycopg[c]==3.2']\nmariadb = ['mysqlclient']\nwebserver = ['granian[uvloop]']\n\
                      dev = ['gunicorn']\n[tool.uv]\npackage = false\n";

#[test]
fn extras_hold_the_server_and_the_driver() {
    let settings = "DATABASES = {'default': {'ENGINE': 'django.db.backends.postgresql'}}\n";
    let lock = "[[package]]\nname = 'django'\ndependencies = [{name = 'asgiref'}]\n[[package]]\nname = 'granian'\n";
    let files = [
        MANAGE,
        ("pyproject.toml", LOCKED),
        ("uv.lock", lock),
        ("shop/wsgi.py", WSGI),
        ("shop/asgi.py", ASGI),
        ("shop/settings.py", settings),
    ];
    // The only extra with a server, and the only one with a driver for the only database.
    let seen = survey(&files);
    assert_eq!(seen.extras, ["webserver", "postgres"]);
    assert!(
        seen.has("granian") && seen.has("psycopg") && seen.open.is_empty(),
        "{:?}",
        seen.open
    );

    // A database that nobody has to use is told.
    let either = format!("{settings}if DEBUG: ENGINE = 'django.db.backends.sqlite3'\n");
    let seen = survey(&[&files[..5], &[("shop/settings.py", &either)]].concat());
    assert_eq!(seen.extras, ["webserver"]);
    assert!(
        seen.open[0].contains("for PostgreSQL, write `extras = [\"postgres\"]`"),
        "{:?}",
        seen.open
    );

    // What the deployment installs, and what it serves.
    let image = "FROM python\nRUN uv export --no-dev --all-extras \\\n  --output-file r.txt && uv pip install -r r.txt\n";
    let run =
        "#!/bin/sh\nexec s6-setuidgid shop granian --interface asginl \"shop.asgi:application\"\n";
    let deployed = [("Dockerfile", image), ("docker/svc/web/run", run)];
    let seen = survey(&[&files[..], &deployed].concat());
    assert_eq!(seen.extras, ["postgres", "webserver"]);
    assert!(
        seen.open[0].contains("MySQL or MariaDB, add `mariadb`"),
        "{:?}",
        seen.open
    );
    assert_eq!(
        seen.web,
        object("shop.asgi", "application", Factory::No, Gateway::Asgi)
    );

    let image = [(
        "Dockerfile",
        "RUN pip install '.[mariadb,dev]'\nARG MORE\nRUN pip install .[${MORE}]\n",
    )];
    assert_eq!(
        survey(&[&files[..], &image].concat()).extras,
        ["mariadb", "webserver"]
    );
    let image = [("Dockerfile.dev", "RUN uv sync --extra mariadb\n")];
    assert_eq!(
        survey(&[&files[..], &image].concat()).extras,
        ["webserver", "postgres"]
    );
}

#[test]
fn a_driver_that_nothing_has_is_added_or_told() {
    let with = |settings: &'static str| {
        survey(&[
            MANAGE,
            ("shop/settings.py", settings),
            ("shop/wsgi.py", WSGI),
            (
                "requirements.txt",
                "django==4.2\nasgiref==3.8\ngunicorn==22.0\npackaging==24.0\n",
            ),
        ])
    };
    assert_eq!(
        with("ENGINE = 'django.db.backends.postgresql'\n").add,
        ["psycopg2-binary"]
    );
    let seen = with("URL = env('DATABASE_URL', 'postgres://localhost/shop')\n# 'sqlite://'\n");
    assert_eq!(seen.add, ["psycopg2-binary"]);
    let seen = with("ENGINE = 'django.db.backends.mysql'\n");
    assert!(
        seen.add.is_empty() && seen.open[0].contains("`add = [\"mysqlclient\"]`"),
        "{:?}",
        seen.open
    );
    let seen = with("ENGINE = 'django.db.backends.sqlite3'\n");
    assert!(
        seen.add.is_empty() && seen.open.is_empty(),
        "{:?}",
        seen.open
    );
}

#[test]
fn requirements_that_the_deployment_installs() {
    let files = [
        MANAGE,
        ("shop/wsgi.py", WSGI),
        (
            "requirements/base.txt",
            "django==4.2\nasgiref==3.8\nuwsgi==2.0\n",
        ),
        ("requirements/mariadb.txt", "-r base.txt\nmysqlclient==2\n"),
        (
            "requirements/postgres.txt",
            "-r base.txt\npsycopg[binary]==3\n",
        ),
        ("requirements/devel.txt", "-r base.txt\nblack\n"),
    ];
    assert_eq!(
        survey(&files).pins,
        PinState::Elsewhere("requirements/base.txt".to_owned(), true)
    );
    let image = "COPY . /srv\nRUN python3 -m venv /v && \\\n    pip3 install -r /srv/requirements/mariadb.txt -r requirements/base.txt\n";
    let seen = survey(&[&files[..], &[("Dockerfile", image)]].concat());
    assert_eq!(
        seen.pins,
        PinState::Elsewhere("requirements/mariadb.txt".to_owned(), true)
    );
    assert!(seen.has("mysqlclient") && seen.has("uwsgi"));
    let image = format!(
        "{image}RUN pip install --requirement=requirements/postgres.txt -r requirements/devel.txt\n"
    );
    let seen = survey(&[&files[..], &[("Dockerfile", &image)]].concat());
    assert_eq!(
        seen.pins,
        PinState::Elsewhere("requirements/postgres.txt".to_owned(), true)
    );
    let all = "`pkgapp lock requirements/mariadb.txt requirements/postgres.txt`";
    assert!(
        seen.open.len() == 1 && seen.open[0].contains(all),
        "{:?}",
        seen.open
    );
}

#[test]
fn groups_stand_for_a_project() {
    let groups = "[dependency-groups]\nmain = ['Django==5', {include-group = 'web'}]\nweb = ['gunicorn']\ndev = ['mypy']\n";
    let files = [
        MANAGE,
        ("shop/wsgi.py", WSGI),
        ("pyproject.toml", groups),
        ("VERSION", "1\n"),
        ("README", ""),
    ];
    let code = ("shop/settings.py", "VERSION = open(\"VERSION\").read()\n");
    let seen = survey(&[&files[..], &[code]].concat());
    assert_eq!(seen.groups, ["main"]);
    assert!(
        seen.has("gunicorn") && !seen.has("mypy"),
        "{:?}",
        seen.requires
    );
    assert_eq!(seen.include, ["VERSION", "manage.py", "shop/**"]);
    let image = [("Dockerfile", "RUN pip install --group web --group dev\n")];
    assert_eq!(survey(&[&files[..], &image].concat()).groups, ["web"]);
}

#[test]
fn a_manage_py_in_a_package_may_still_be_the_projects() {
    let has_manage = |path: &str, settings: &str| {
        let text = format!("os.environ.setdefault('DJANGO_SETTINGS_MODULE', '{settings}')\n");
        let text = [MANAGE.1, &text].concat();
        let files = [(path, &*text), ("shop/settings.py", "")];
        let packages = [("__init__.py", ""), ("shop/__init__.py", "")];
        let seen = survey(&[&files[..], &packages].concat());
        seen.facts.get("manage").is_some()
    };
    assert!(has_manage("manage.py", "shop.settings"));
    assert!(has_manage("shop/manage.py", "settings"));
    assert!(!has_manage("shop/manage.py", "shop.settings"));
}

#[test]
fn a_cache_in_the_database_has_tables() {
    let backend =
        "CACHES = {'default': {'BACKEND': 'django.core.cache.backends.db.DatabaseCache'}}\n";
    let facts = survey(&[MANAGE, ("shop/settings.py", backend)]).facts;
    let has_table = facts.get("cache-table").map(|fact| &fact.value);
    assert_eq!(has_table, Some(&FactValue::Boolean(true)));
    let other = backend.replace(".db.DatabaseCache", ".redis.RedisCache");
    let facts = survey(&[MANAGE, ("shop/settings.py", &other)]).facts;
    assert!(facts.get("cache-table").is_none());
}

#[test]
fn a_project_is_deployed_with_a_python() {
    let deployed = |files: &[(&str, &str)]| {
        let python = survey(&[&[MANAGE][..], files].concat()).deployed_python;
        python.map(|python| python.to_string())
    };
    let image = |from: &str| deployed(&[("Dockerfile", from)]);
    assert_eq!(
        image("FROM python:3.9 AS build\nFROM docker.io/library/python:3.13.1-slim\n").as_deref(),
        Some("3.13")
    );
    assert_eq!(
        image("FROM ghcr.io/astral-sh/uv:python3.12-bookworm-slim\n").as_deref(),
        Some("3.12")
    );
    for unknown in [
        "python:3",
        "python:slim",
        "python:${PYTHON}",
        "debian:12",
        "",
    ] {
        assert_eq!(image(&format!("FROM {unknown}\n")), None, "{unknown}");
    }
    let runtime = ("runtime.txt", "python-3.10.4\n");
    assert_eq!(deployed(&[runtime]).as_deref(), Some("3.10"));
    let says = (
        "pyproject.toml",
        "[project]\nname = 'shop'\nrequires-python = '>=3.8'\n",
    );
    assert_eq!(deployed(&[runtime, says]), None);
}

#[test]
fn a_variable_may_say_where_static_files_are_collected() {
    let variables = |value: &str| {
        let settings = format!("STATIC_ROOT = {value}\n");
        let facts = survey(&[MANAGE, ("shop/settings.py", &settings)]).facts;
        assert!(facts.get("collects-static").is_some(), "{value}");
        ["build-variables", "data-variables"].map(|name| {
            let table = facts.get(name).map(|fact| format!("{:?}", fact.value));
            table.is_some_and(|table| table.contains("(\"PLACE\", String(\"staticfiles\"))"))
        })
    };
    for elsewhere in [
        "env('PLACE', default='/srv/static')",
        "os.getenv('PLACE')",
        "os.environ['PLACE']  # anywhere",
    ] {
        assert_eq!(variables(elsewhere), [true, true]);
    }
    let settings = [
        ("shop/settings/main.py", "STATIC_ROOT = env('PLACE')\n"),
        ("shop/settings/shared.py", "STATIC_ROOT = BASE_DIR / 'a'\n"),
    ];
    let seen = survey(&[&[MANAGE][..], &settings].concat());
    assert_eq!(seen.data_variables, ["PLACE"]);
    let inside = "os.environ.get('PLACE', BASE_DIR / 'static')";
    assert_eq!(variables(inside), [false, false]);
}

#[test]
fn a_variable_may_say_where_uploads_are() {
    let survey_of = |value: &str| {
        let settings = format!("MEDIA_ROOT = {value}\n");
        survey(&[MANAGE, ("shop/settings.py", &settings)])
    };
    let seen = survey_of("env.str('UPLOADS', '/home/shop/media')");
    let place = FactValue::String(format!("/var/lib/{}/media", seen.name));
    let variables = FactValue::Table(vec![("UPLOADS".to_owned(), place)]);
    let found = seen.facts.get("data-variables").map(|fact| &fact.value);
    assert_eq!(found, Some(&variables));
    assert!(seen.settings.is_empty());
    let inside = survey_of("os.environ.get('UPLOADS', BASE_DIR / 'media')");
    assert!(inside.facts.get("data-variables").is_none());
}

#[test]
fn collected_files_in_the_repository_are_left_alone() {
    let settings = "BASE_DIR = Path(__file__).parent.parent\nSTATIC_ROOT = BASE_DIR / 'static'\n";
    let collects = |others: &[(&str, &str)]| {
        let files = [MANAGE, ("shop/settings.py", settings)];
        let seen = survey(&[&files[..], others].concat());
        seen.facts.get("collects-static").is_some()
    };
    let manifest = ("static/staticfiles.json", "{}");
    assert!(collects(&[]));
    assert!(!collects(&[manifest]));
    // What a developer has collected.
    assert!(collects(&[manifest, (".gitignore", "/static/\n")]));
}

#[test]
fn tests_ship_if_code_imports_from_them() {
    let code = ("shop/data.py", "from .account.tests.users import make\n");
    let imports = |code| {
        let facts = survey(&[MANAGE, code]).facts;
        facts.get("imports-tests").is_some()
    };
    assert!(imports(code));
    assert!(!imports(("shop/tests/data.py", code.1)));
    assert!(!imports(("shop/data.py", "from shop import tests\n")));
}

#[test]
fn an_if_may_choose_the_application() {
    let wsgi = "if settings.DEBUG:\n    application = Handler(get_wsgi_application())\n\
                else:\n    application = get_wsgi_application()\n";
    let served = |text: &str| survey(&[MANAGE, ("shop/wsgi.py", text)]).web.is_some();
    assert!(served(wsgi));
    assert!(!served(&wsgi.replace("else:", "def make():")));
}

#[test]
fn django_runs_in_the_directory_of_manage_py() {
    let directory = |manage: &str, others: &[(&str, &str)]| {
        let django = [
            (manage, MANAGE.1),
            ("src/shop/wsgi.py", WSGI),
            ("VERSION", ""),
        ];
        survey(&[&django[..], others].concat()).working_directory
    };
    let in_app = Some("app".to_owned());
    let in_src = Some("app/src".to_owned());
    assert_eq!(directory("manage.py", &[]), in_app);
    assert_eq!(directory("src/manage.py", &[]), in_src);

    // Code says that it runs at the top.
    let version = ("src/shop/settings.py", "V = open(\"VERSION\").read()\n");
    assert_eq!(directory("src/manage.py", &[version]), in_app);
    let beside = |line: &str| {
        let load = format!("def load(path):\n    return open(path)\n{line}\n");
        directory("src/manage.py", &[("src/data/load.py", &load)])
    };
    assert_eq!(beside("load('src/data/a.csv')"), in_app);
    assert_eq!(beside("load(os.path.join(BASE, 'src/data/a.csv'))"), in_src);
    assert_eq!(beside("load('src/other/a.csv')"), in_src);

    // What the tree has is beside manage.py, unless a wheel has it.
    let wheel =
        "[project]\nname = 'shop'\nversion = '1'\n[build-system]\nrequires = ['hatchling']\n";
    assert_eq!(directory("manage.py", &[("pyproject.toml", wheel)]), None);

    let flask = survey(&[("app.py", "from flask import Flask\napp = Flask(__name__)\n")]);
    assert_eq!(flask.working_directory, None);
}

#[test]
fn a_server_that_is_not_required_serves_nothing() {
    let own = "[project]\nname = 'tunes'\nversion = '1'\ndependencies = ['flask']\nscripts = {tunes-server = 'tunes.serve:run'}\n\
               [build-system]\nrequires = ['setuptools']\n";
    let files = [
        ("pyproject.toml", own),
        ("tunes/__init__.py", ""),
        (
            "tunes/web.py",
            "import flask\ndef create_application(config=None):\n    pass\n",
        ),
        (
            "tunes/serve.py",
            "def run():\n    from waitress import serve\n",
        ),
    ];
    assert!(!survey(&files).starts_a_server);
    let required = own.replace("'flask'", "'flask', 'waitress'");
    assert!(survey(&[&[("pyproject.toml", &*required)], &files[1..]].concat()).starts_a_server);
}

#[test]
fn objects_of_plugins_are_not_served() {
    let files = [
        ("bot/__init__.py", ""),
        (
            "bot/core_plugins/__init__.py",
            "from flask.app import Flask\nflask_app = Flask(__name__)\n",
        ),
        ("requirements.txt", "flask==3\nwerkzeug==3\nblinker==1\n"),
    ];
    assert_eq!(survey(&files).web, None);
    let procfile = ("Procfile", "web: gunicorn bot.core_plugins:flask_app\n");
    let seen = survey(&[&files[..], &[procfile]].concat());
    assert_eq!(
        seen.web,
        object("bot.core_plugins", "flask_app", Factory::No, Gateway::Wsgi)
    );
}

#[test]
fn workers_take_the_queues_that_the_deployment_names() {
    let compose = "services:\n  worker:\n    command: celery -A jobs worker -l info -Q high,low\n";
    let files = [
        ("docker-compose.yml", compose),
        (
            "blog/tasks.py",
            "from celery import Celery\napp = Celery('blog')\n",
        ),
        ("blog/__init__.py", ""),
        (
            "jobs/celery.py",
            "from celery import Celery\napp = Celery('jobs')\n",
        ),
        ("jobs/__init__.py", ""),
        ("requirements.txt", "celery==5\nkombu==5\n"),
    ];
    assert_eq!(
        workers(&survey(&files)),
        [("worker", "celery -A jobs worker -Q high,low")]
    );
    assert_eq!(
        workers(&survey(&files[1..])),
        [("worker", "celery -A blog.tasks:app worker")]
    );
}

#[test]
fn directories_that_a_variable_moves_are_written_to() {
    let settings = "from pathlib import Path\nBASE_DIR = Path(__file__).resolve().parent.parent\n\
                    def get_path(key, default):\n    return Path(os.environ.get(key, default))\n\
                    STATIC_ROOT = get_path('SHOP_STATIC', BASE_DIR / 'static')\n\
                    MEDIA_ROOT = get_path('SHOP_MEDIA', BASE_DIR / 'media')\n\
                    DATA_DIR = get_path('SHOP_DATA', BASE_DIR / 'data')\n\
                    INDEX_DIR = DATA_DIR / 'index'\n\
                    SEED_DIR = get_path('SHOP_SEEDS', BASE_DIR / 'seeds')\n\
                    INBOX_DIR = get_path(\n    'SHOP_INBOX',\n    BASE_DIR / 'inbox',\n)\n";
    let files = [
        MANAGE,
        ("shop/settings.py", settings),
        ("shop/wsgi.py", WSGI),
        ("seeds/a.json", ""),
        ("data/.gitkeep", ""),
        ("requirements.txt", "django==4.2\nasgiref==3.8\n"),
    ];
    assert_eq!(survey(&files).writes.paths, ["data/", "inbox/", "media/"]);
}

#[test]
fn what_is_started_and_not_in_the_wheel_ships_beside_it() {
    let project = "[project]\nname = 'look'\nversion = '1'\n[project.scripts]\nstart = 'bin.start:main'\n\
                   [build-system]\nrequires = ['poetry-core']\nbuild-backend = 'poetry.core.masonry.api'\n";
    let files = [
        ("pyproject.toml", project),
        (
            "look/__init__.py",
            "CONFIG = get_path('config/generic.json')\n",
        ),
        ("config/generic.json", "{}"),
        ("bin/start.py", "def main():\n    pass\n"),
        (
            "site/web/__init__.py",
            "from flask import Flask\napp = Flask(__name__)\n",
        ),
        ("site/__init__.py", ""),
        ("notes/a.txt", ""),
        ("requirements.txt", "flask==3\nwerkzeug==3\nblinker==1\n"),
    ];
    let seen = survey(&files);
    assert!(seen.has_backend, "{:?}", seen.no_wheel);
    assert_eq!(seen.include, ["bin/**", "config/**", "site/**"]);

    // All of it is in the wheel, and what the wheel has is not certain.
    let packages =
        "[tool.poetry]\npackages = [{include = 'look'}, {include = 'bin'}, {include = 'site'}]\n";
    let whole = format!("{project}{packages}");
    assert!(
        survey(&[&[("pyproject.toml", &*whole)], &files[1..]].concat())
            .include
            .is_empty()
    );
    let unknown = project
        .replace("poetry.core.masonry.api", "own_backend")
        .replace("poetry-core", "own");
    assert!(
        survey(&[&[("pyproject.toml", &*unknown)], &files[1..]].concat())
            .include
            .is_empty()
    );
}

#[test]
fn migrations_take_the_settings_of_the_server() {
    let manage =
        "# django\nos.environ.setdefault(\"DJANGO_SETTINGS_MODULE\", \"shop.settings.devel\")\n";
    let wsgi = format!(
        "os.environ.setdefault(\n    'DJANGO_SETTINGS_MODULE', 'shop.settings.product'\n)\n{WSGI}"
    );
    let seen = survey(&[("manage.py", manage), ("shop/wsgi.py", &wsgi)]);
    let expected = "python app/manage.py migrate --noinput --settings shop.settings.product";
    assert_eq!(seen.migrate.as_deref(), Some(expected));
    let product = FactValue::String("shop.settings.product".to_owned());
    let module = seen.facts.get("settings-module").map(|fact| &fact.value);
    assert_eq!(module, Some(&product));
    let build = vec![("DJANGO_SETTINGS_MODULE".to_owned(), product)];
    let variables = seen.facts.get("build-variables").map(|fact| &fact.value);
    assert_eq!(variables, Some(&FactValue::Table(build)));

    let same = manage.replace("devel", "product");
    let seen = survey(&[("manage.py", &same), ("shop/wsgi.py", &wsgi)]);
    assert_eq!(
        seen.migrate.as_deref(),
        Some("python app/manage.py migrate --noinput")
    );
    assert!(seen.facts.get("settings-module").is_none());
}

/// fixtures/shop with the recipe for Django, without the lines that the recipe supplies.
const SHOP: &str = r#"
[app]
recipe = "django"
maintainer = "Shop Operations <ops@shop.example.com>"
license = "MIT"
exclude = ["tests/**"]

[recipe]
listen = "0.0.0.0:8000"
environment-file = ["/etc/shop/shop.env", "/etc/shop/secrets.env"]

[python]
version = "3.11"

[package]
targets = ["debian12", "el9"]

[config."shop.env"]
source = "deploy/shop.env"
mode = "0640"

[service.web]
exec = "gunicorn shop.wsgi --workers 2 --no-control-socket --access-logfile /var/log/shop/access.log"
timeout-stop = "30s"

[service.worker]
exec = "celery -A shop.tasks worker --loglevel INFO --concurrency 1 --hostname {instance}@shop --without-mingle --without-gossip"
instances = 2

[service.beat]
exec = "celery -A shop.tasks beat --loglevel INFO"

[timer.report]
exec = "shop report"
calendar = "*-*-* 02:10"

[cron.purge]
exec = "python app/manage.py purge_carts --days 14"
schedule = "*/30 * * * *"
"#;

/// Everything that ends up in packages is the same; `[migrate]` is the only addition.
#[test]
fn a_recipe_stands_for_the_lines_of_the_shop() {
    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/shop");
    let copied = tempfile::tempdir().unwrap();
    for entry in walkdir::WalkDir::new(&shop).into_iter().map(Result::unwrap) {
        let to = copied
            .path()
            .join(entry.path().strip_prefix(&shop).unwrap());
        if entry.file_type().is_dir() {
            std::fs::create_dir_all(to).unwrap();
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
    let load = || {
        let draft = ConfigDraft::read(None, copied.path()).unwrap();
        let facts = Survey::of(draft.root()).unwrap().facts;
        draft.finish(&facts).unwrap()
    };
    let by_hand = load();
    std::fs::write(copied.path().join("pkgapp.toml"), SHOP).unwrap();
    let by_recipe = load();

    let meaning = |config: &Config| {
        let text = format!(
            "{:#?}{:#?}{:#?}{:#?}{:#?}{:#?}{:#?}{:#?}{:#?}",
            config.services,
            config.timers,
            config.crons,
            config.logrotate,
            config.configs,
            config.build,
            config.package,
            config.python,
            (
                &config.name,
                &config.license,
                &config.maintainer,
                &config.source,
                &config.import_from
            ),
        );
        pkgapp_testing::without_places(&text)
    };
    similar_asserts::assert_eq!(meaning(&by_recipe), meaning(&by_hand));
    assert_eq!(
        by_recipe.included_files().unwrap(),
        by_hand.included_files().unwrap()
    );
    assert!(by_hand.migrate.is_none());
    let migrate = by_recipe.migrate.unwrap();
    assert_eq!(
        migrate.exec.text(),
        "python app/manage.py migrate --noinput"
    );
}

/// What is proposed, a line each: name, type, default or what it is without one, and the place.
fn proposed(files: &[(&str, &str)]) -> Vec<String> {
    let told = |setting: &FoundSetting| {
        let default = setting.default.as_ref().and_then(Literal::toml);
        let without = if setting.is_optional {
            "optional"
        } else {
            "host"
        };
        format!(
            "{} {} {} {}:{}",
            setting.name,
            setting.kind.name(),
            default.unwrap_or_else(|| without.to_owned()),
            setting.file.display(),
            setting.line
        )
    };
    survey(files).settings.iter().map(told).collect()
}

#[test]
fn variables_of_the_environment_are_settings() {
    let settings = r#"
import os
from pathlib import Path
# os.environ["COMMENTED"]
SECRET_KEY = os.environ["SHOP_SECRET_KEY"]
DEBUG = os.environ.get("SHOP_DEBUG", "0") == "1"
TITLE = os.getenv("SHOP_TITLE", 'Tick & "Tock"')
PAGE = int(os.environ.get("SHOP_PAGE_SIZE", "24"))
RATE = float(os.environ.get("SHOP_RATE", 0.5))
BRANCH = os.getenv("SHOP_BRANCH")
PLACE = os.environ["SHOP_PLACE"]
MEDIA = os.environ.get("SHOP_MEDIA", os.path.join("a", "b"))
STRICT = os.environ.get("SHOP_STRICT", False)
DATABASE = os.environ.get("DATABASE_URL", "sqlite:///db")
MAIL = os.environ.get(
    "SHOP_MAIL_PASSWORD",
    None,
)
API_KEY = os.environ.get("API_KEY", "changeme")
STORAGE = os.environ.get("STORAGE_DSN", "/srv/media/")
KEY_FILE = os.environ.get("SSL_KEY_FILE", "/etc/ssl/key.pem")
SIGNING_KEY = os.environ.get("SIGNING_KEY", "only-for-debugging" if DEBUG else "")
os.environ["TZ"] = "UTC"
HOME = os.environ["HOME"]
DATA = os.environ.get("SHOP_DATA_DIR", ".")
PLACE = os.environ["SHOP_PLACE"]
FORMATTED = os.environ[f"SHOP_{x}"]
QUEUE = os.environ.get("SHOP_QUEUE", "amqp://guest:guest@mq/")
"#;
    let found = proposed(&[
        ("shop/settings.py", settings),
        (
            "shop/a.py",
            "import os\nx = os.environ['SHOP_TITLE']\ny = os.environ['OTHER']\n\
             if 'CDN' in os.environ:\n    cdn = os.environ['CDN']\n",
        ),
        ("tests/settings.py", "import os\nos.environ['IN_TESTS']\n"),
        (
            "manage.py",
            "import os\nos.environ['DJANGO_SETTINGS_MODULE']\n",
        ),
    ]);
    assert_eq!(
        found,
        [
            "OTHER string host shop/a.py:3",
            "CDN string optional shop/a.py:5",
            "SHOP_SECRET_KEY secret host shop/settings.py:5",
            "SHOP_DEBUG string \"0\" shop/settings.py:6",
            "SHOP_TITLE string 'Tick & \"Tock\"' shop/settings.py:7",
            "SHOP_PAGE_SIZE integer 24 shop/settings.py:8",
            "SHOP_RATE number 0.5 shop/settings.py:9",
            "SHOP_BRANCH string optional shop/settings.py:10",
            "SHOP_PLACE string host shop/settings.py:11",
            "SHOP_MEDIA string optional shop/settings.py:12",
            "SHOP_STRICT string optional shop/settings.py:13",
            "DATABASE_URL secret optional shop/settings.py:14",
            "SHOP_MAIL_PASSWORD secret optional shop/settings.py:15",
            "API_KEY secret host shop/settings.py:19",
            "STORAGE_DSN secret optional shop/settings.py:20",
            "SSL_KEY_FILE string \"/etc/ssl/key.pem\" shop/settings.py:21",
            "SIGNING_KEY secret host shop/settings.py:22",
            "SHOP_QUEUE secret optional shop/settings.py:28",
        ]
    );
}

#[test]
fn libraries_tell_the_types_of_settings() {
    let environ = r#"
import environ
env = environ.Env(DEBUG=(bool, False), PAGES=(int, 3), NEEDED=(str,))
DEBUG = env("DEBUG")
PAGES = env("PAGES")
NEEDED = env("NEEDED")
HOSTS = env.list("ALLOWED_HOSTS", default=["a.example.com"])
ODD = env.list("ODD", default=["a,b"])
DATABASES = {"default": env.db("MAIN_DATABASE", default="sqlite:///x")}
CACHES = {"default": env.cache()}
WORKERS = env.int("WORKERS", 4)
SSL = env.bool("SSL", default=True)
FRONT = env.url("FRONT")
AGE = env("AGE", cast=int, default=60)
OTHER = myenv("NO")
LOGIN = env.bool("LOGIN_WITH_CREDENTIALS", default=True)
"#;
    let decouple = "from decouple import config, Csv\nA = config('A', default=5, cast=int)\n\
        B = config('B', default='x,y', cast=Csv())\nC = config('C', default=False, cast=bool)\nD = config('D')\n\
        E = app.config('E')\n";
    let flask = "app.config.from_object('x')\nx = config('F')\n";
    let pydantic = "from pydantic_settings import BaseSettings\n\n\
        class Settings(BaseSettings):\n    model_config = SettingsConfigDict(env_prefix=\"shop_\")\n\
        \x20   page_size: int = 24  # products\n    title: str\n    debug: bool = False\n    api_token: SecretStr\n\
        \x20   hosts: list[str] = []\n    rate: float = Field(0.5, gt=0)\n    def f(self):\n        x: int = 5\n\n\
        class Other:\n    y: int = 1\n";
    let found = proposed(&[
        ("a/settings.py", environ),
        ("b/settings.py", decouple),
        ("c/settings.py", flask),
        ("d/settings.py", pydantic),
        (
            "e/settings.py",
            "from config.env import BASE, env\nG = env.bool('G')\n",
        ),
        (
            "f/settings.py",
            "from config import variables\nH = env('H')\n",
        ),
        (
            "g/settings.py",
            "from .base import *  # all\nI = config('I', cast=int)\n",
        ),
        (
            "h/settings.py",
            "env = os.environ.copy()\nJ = env.get('J', 'a')\nK = env['K']\n\
             if 'L' in env:\n    L = env['L']\nenv['M'] = 'b'\n",
        ),
    ]);
    assert_eq!(
        found,
        [
            "DEBUG boolean false a/settings.py:4",
            "PAGES integer 3 a/settings.py:5",
            "NEEDED string host a/settings.py:6",
            "ALLOWED_HOSTS list [\"a.example.com\"] a/settings.py:7",
            "ODD list optional a/settings.py:8",
            "MAIN_DATABASE secret optional a/settings.py:9",
            "WORKERS integer 4 a/settings.py:11",
            "SSL boolean true a/settings.py:12",
            "FRONT string host a/settings.py:13",
            "AGE integer 60 a/settings.py:14",
            "LOGIN_WITH_CREDENTIALS boolean true a/settings.py:16",
            "A integer 5 b/settings.py:2",
            "B list [\"x\", \"y\"] b/settings.py:3",
            "C boolean false b/settings.py:4",
            "D string host b/settings.py:5",
            "SHOP_PAGE_SIZE integer 24 d/settings.py:5",
            "SHOP_TITLE string host d/settings.py:6",
            "SHOP_DEBUG boolean false d/settings.py:7",
            "SHOP_API_TOKEN secret host d/settings.py:8",
            "SHOP_RATE number host d/settings.py:10",
            "G boolean host e/settings.py:2",
            "I integer host g/settings.py:2",
            "J string \"a\" h/settings.py:2",
            "K string host h/settings.py:3",
            "L string optional h/settings.py:5",
        ]
    );
}

#[test]
fn what_is_read_below_an_if_is_optional() {
    let of = |above: &str| {
        let text = format!("import environ\n{above}\n    NAME = env('NAME')\n");
        proposed(&[MANAGE, ("shop/settings.py", &text)]).remove(0)
    };
    let known = "import environ\nif LOGIN:\n    KEY = env('LOGIN_PASSWORD', 'known')\n";
    assert_eq!(
        proposed(&[MANAGE, ("shop/settings.py", known)]),
        ["LOGIN_PASSWORD secret optional shop/settings.py:3"]
    );
    for above in ["if STORAGE == 's3':", "if A:\n    pass\nelif (\n    B\n):"] {
        assert!(of(above).starts_with("NAME string optional "), "{above}");
    }
    for above in [
        "if A:\n    pass\nelse:",
        "if not DEBUG:",
        "if STAGE == 'production':",
        "def read():",
    ] {
        assert!(of(above).starts_with("NAME string host "), "{above}");
    }
}

#[test]
fn at_most_thirty_settings_are_proposed() {
    let lines: String = (10..60)
        .map(|n| format!("x = os.environ['V{n}']\n"))
        .collect();
    let found = proposed(&[
        ("a.py", &lines),
        ("settings.py", "x = os.environ['FIRST']\n"),
    ]);
    assert_eq!(found.len(), 30);
    assert_eq!(found.last().unwrap(), "FIRST string host settings.py:1");

    // Those without which it does not run are among them.
    let optional = lines.replace("environ[", "getenv(").replace(']', ")");
    let found = proposed(&[
        ("a.py", &optional),
        (
            "b.py",
            "x = os.getenv('DATABASE_URL')\nx = os.environ['LAST']\n",
        ),
    ]);
    assert_eq!(found.len(), 30);
    assert_eq!(
        found[28..],
        [
            "DATABASE_URL secret optional b.py:1",
            "LAST string host b.py:2"
        ]
    );
}

#[test]
fn an_app_json_says_what_variables_are_for() {
    let app = r#"{"name": "shop", "env": {
  "SHOP_TITLE": {"description": "What customers see", "value": "Tock"},
  "SHOP_SIZE": {"description": "Products", "value": "48"},
  "SHOP_COOKIE": {"generator": "secret"},
  "SHOP_MAIL": {"description": "two\nlines", "required": false},
  "SHOP_HOST": {"description": "Where it is"},
  "SHOP_PLAIN": "x",
  "API_TOKEN": {"required": false},
  "PATH": "y",
  "SHOP_ODD": 5
}}"#;
    let code = "import os\nx = os.environ.get('SHOP_TITLE', 'Tick')\ny = int(os.environ.get('SHOP_SIZE', '24'))\n\
                z = os.environ.get('SHOP_COOKIE', 'z')\n";
    let files = [("shop/settings.py", code), ("app.json", app)];
    assert_eq!(
        proposed(&files),
        [
            "SHOP_MAIL string optional app.json:5",
            "SHOP_HOST string host app.json:6",
            "SHOP_PLAIN string \"x\" app.json:7",
            "API_TOKEN secret optional app.json:8",
            "SHOP_TITLE string \"Tock\" shop/settings.py:2",
            "SHOP_SIZE integer 48 shop/settings.py:3",
            "SHOP_COOKIE secret host shop/settings.py:4",
        ]
    );
    let help: Vec<Option<String>> = survey(&files)
        .settings
        .into_iter()
        .map(|setting| setting.help)
        .collect();
    assert_eq!(help[0], None);
    assert_eq!(help[4].as_deref(), Some("What customers see"));
    for broken in ["{", "[]", "{\"env\": 5}"] {
        assert_eq!(proposed(&[("app.json", broken)]), [""; 0]);
    }
}

#[test]
fn an_app_json_asks_for_what_pkgapp_does_not_do() {
    let project = ("pyproject.toml", "[project]\nname = 'app'\nversion = '1'\n");
    let open = |app: &str| survey(&[("app.json", app), project]).open;
    let app = r#"{"name": "shop", "scripts": {"postdeploy": "python manage.py migrate && python seed.py"},
  "addons": ["heroku-postgresql", {"plan": "heroku-redis:mini", "as": "cache"}, {"plan": "papertrail\u001b"}, 5],
  "buildpacks": [{"url": "heroku/nodejs"}, {"url": "heroku/python"}, 7]
}"#;
    assert_eq!(
        open(app),
        [
            "Heroku runs `python manage.py migrate && python seed.py` once, after the first deployment \
             (app.json): run it yourself, or write it into `[migrate]` if it may run for each release",
            "app.json asks Heroku for `heroku-postgresql`, `heroku-redis`: provide them, and put their \
             addresses into `/etc/app/secrets.env` on hosts",
            "Heroku also builds with `heroku/nodejs` (app.json): write their commands into `[build]`",
        ]
    );
    assert_eq!(
        proposed(&[("app.json", app)]),
        [
            "DATABASE_URL secret host app.json:2",
            "CACHE_URL secret host app.json:2"
        ]
    );
    let named = r#"{"env": {"DATABASE_URL": "postgres://"}, "addons": ["heroku-postgresql"]}"#;
    assert_eq!(
        proposed(&[("app.json", named)]),
        ["DATABASE_URL secret host app.json:1"]
    );
    for nothing in [
        "{}",
        "5",
        "{\"addons\": {}, \"buildpacks\": \"x\", \"scripts\": []}",
        "{\"scripts\": {\"postdeploy\": \"a\\nb\"}}",
    ] {
        assert_eq!(open(nothing), [""; 0], "{nothing}");
    }
}

/// The recipe for Django migrates.
#[test]
fn an_app_json_says_nothing_of_migrations_that_a_recipe_has() {
    let open = |command: &str| {
        let app = format!("{{\"scripts\": {{\"postdeploy\": \"{command}\"}}}}");
        let manage = "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n\
                      from django.core.management import execute_from_command_line\n";
        let files = [
            ("app.json", app.as_str()),
            ("manage.py", manage),
            ("shop/settings.py", "INSTALLED_APPS = []\n"),
            ("requirements.txt", "django==5.2\n"),
        ];
        let open = survey(&files).open;
        open.iter().filter(|line| line.contains("Heroku")).count()
    };
    assert_eq!(open("python manage.py migrate --noinput"), 0);
    assert_eq!(
        open("./manage.py migrate && ./manage.py createcachetable"),
        1
    );
}

#[test]
fn the_health_route_of_what_is_served_is_a_fact() {
    let fact = |files: &[(&str, &str)], name: &str| match survey(files).facts.get(name) {
        Some(fact) => match &fact.value {
            pkgapp_config::FactValue::String(text) => text.clone(),
            other => panic!("{other:?}"),
        },
        None => String::new(),
    };
    let flask = "from flask import Flask\napp = Flask(__name__)\n";
    let routes = "@app.route('/ping')\ndef ping(): pass\n@app.route('/healthz')\ndef up(): pass\n";
    let served = [("app.py", &*format!("{flask}{routes}"))];
    assert_eq!(fact(&served, "health-path"), "/healthz");
    // An application that another one mounts has its routes elsewhere.
    let mounted = [
        ("app.py", flask),
        (
            "other.py",
            "other = Flask(__name__)\n@other.route('/healthz')\ndef up(): pass\n",
        ),
    ];
    assert_eq!(fact(&mounted, "health-path"), "");

    let urls = "urlpatterns = [\n    path('healthz/', up),\n]\n";
    let django = |hosts: &str| {
        let settings = format!(
            "ROOT_URLCONF = 'shop.urls'\nWSGI_APPLICATION = 'shop.wsgi.application'\nALLOWED_HOSTS = {hosts}\n"
        );
        let files = [
            ("manage.py", "import django\n"),
            ("shop/__init__.py", ""),
            ("shop/settings.py", &settings),
            ("shop/urls.py", urls),
            ("shop/wsgi.py", WSGI),
        ];
        (fact(&files, "health-path"), fact(&files, "health-host"))
    };
    let found = |path: &str, host: &str| (path.to_owned(), host.to_owned());
    assert_eq!(django("['*']"), found("/healthz/", ""));
    assert_eq!(
        django("['.example.com', 'shop.example.com']"),
        found("/healthz/", "shop.example.com")
    );
    assert_eq!(django("env.list('HOSTS')"), found("", ""));
    assert_eq!(django("[]"), found("", ""));
}

#[test]
fn static_files_lie_where_the_settings_say() {
    let found = |root: &str, url: &str| -> Option<String> {
        let settings = format!(
            "from pathlib import Path\nBASE_DIR = Path(__file__).resolve().parent.parent\n{url}\n{root}\n"
        );
        let survey = survey(&[
            (
                "manage.py",
                "from django.core.management import execute_from_command_line\n",
            ),
            ("shop/__init__.py", ""),
            ("shop/settings.py", &settings),
            ("requirements.txt", "django==4.2\n"),
        ]);
        let fact = survey.facts.get("static-files")?;
        Some(format!("{:?}", fact.value))
    };
    let expected = |url: &str, directory: &str| {
        let directory = FactValue::String(directory.to_owned());
        Some(format!(
            "{:?}",
            FactValue::Table(vec![(url.to_owned(), directory)])
        ))
    };
    let url = "STATIC_URL = 'static/'";
    assert_eq!(
        found("STATIC_ROOT = BASE_DIR / 'collected'", url),
        expected("/static/", "app/collected")
    );
    assert_eq!(
        found(
            "STATIC_ROOT = os.path.join(BASE_DIR, \"a/b\")  # here",
            "STATIC_URL = \"/assets/\""
        ),
        expected("/assets/", "app/a/b")
    );
    for (root, url) in [
        ("STATIC_ROOT = BASE_DIR / NAME", url),
        ("STATIC_ROOT = BASE_DIR / '../x'", url),
        (
            "STATIC_ROOT = BASE_DIR / 'x'",
            "STATIC_URL = 'https://cdn.example.com/'",
        ),
        ("STATIC_ROOT = BASE_DIR / 'x'", ""),
        ("", url),
    ] {
        assert_eq!(found(root, url), None, "{root} {url}");
    }
}

#[test]
fn the_address_in_the_configuration_of_a_server_is_a_fact() {
    let fact = |files: &[(&str, &str)]| match survey(files).facts.get("server-address") {
        Some(fact) => {
            let (line, _) = fact.at.clone().unwrap().position.unwrap();
            format!("{:?} {line}", fact.value)
        }
        None => String::new(),
    };
    let ini = "[app:main]\nuse = egg:shop\n\n[server:main]\nlisten = *:6543\n";
    let pyramid = ("requirements.txt", "pyramid==2.0\nwaitress==3.0\n");
    assert_eq!(
        fact(&[("production.ini", ini), pyramid]),
        "String(\"0.0.0.0:6543\") 4"
    );
    let config = "app = {'root': 'shop.root'}\nserver = {'port': '8080', 'host': '127.0.0.1'}\n";
    let pecan = ("requirements.txt", "pecan==1.5\n");
    assert_eq!(
        fact(&[("config.py", config), pecan]),
        "String(\"127.0.0.1:8080\") 2"
    );
    assert_eq!(fact(&[("config.py", "app = {'root': 'x'}\n"), pecan]), "");
}
