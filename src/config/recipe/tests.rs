//! Tests of recipes as a configuration uses them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use proptest::prelude::*;

use super::super::document::SourceTexts;
use super::super::reader::DocumentReader;
use super::super::{Config, ConfigDraft, FACTS, FactValue, ProjectFacts, with_defaults};
use super::builtin;
use super::file;
use super::file::RecipeFile;
use super::parameter::Parameter;
use super::{ConfigValue, ValueOrigin};
use super::{DistributionFile, LockedDistributions};
use super::{NamedRecipe, RecipeContext};
use pkgapp_core::error::{Error, Location, Result};
use pkgapp_pypa::PackageName;

/// The tables that most cases share; `{R}` in a case ends `[app]`.
const PYTHON: &str = "[python]\nversion = \"3.11\"\n";

/// Facts about a Django project that requires these distributions.
fn facts(root: &Path, requires: &[&str]) -> ProjectFacts {
    let requires: BTreeSet<String> = requires.iter().map(|name| (*name).to_owned()).collect();
    let mut facts = ProjectFacts::new(requires);
    let text = |text: &str| FactValue::String(text.to_owned());
    let at = |file: &str| Some(Location::file(root.join(file)));
    facts.insert("wsgi", text("shop.wsgi:application"), at("shop/wsgi.py"));
    facts.insert("celery", text("shop.tasks:app"), at("shop/tasks.py"));
    facts.insert(
        "celery-schedule",
        FactValue::Boolean(true),
        at("shop/tasks.py"),
    );
    facts.insert("manage", text("app/manage.py"), at("manage.py"));
    facts.insert("collects-static", FactValue::Boolean(true), None);
    facts.insert("files", FactValue::list(["manage.py"]), None);
    facts
}

/// Writes files into a directory.
fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }
    directory
}

fn load(directory: &Path, facts: &ProjectFacts) -> Result<Config> {
    ConfigDraft::read(None, directory)?.finish(facts)
}

/// A configuration with these lines in `[app]`; `{R}` begins `[recipe]`.
fn configuration(lines: &str) -> String {
    let lines = match lines.split_once("{R}\n") {
        Some((app, recipe)) => format!("{app}[recipe]\n{recipe}"),
        None => lines.to_owned(),
    };
    format!("[app]\nname = \"shop\"\nversion = \"1.0\"\n{lines}{PYTHON}")
}

/// Returns an error's text without the directory.
fn shown_in(directory: &Path, error: &Error) -> String {
    error
        .to_string()
        .replace(&format!("{}/", directory.display()), "")
}

fn django(lines: &str) -> Config {
    let directory = project(&[("pkgapp.toml", &configuration(lines)), ("manage.py", "")]);
    let facts = facts(directory.path(), &["gunicorn", "celery", "django"]);
    load(directory.path(), &facts).unwrap()
}

#[test]
fn two_lines_make_a_django_application() {
    let app = django("recipe = \"django\"\n");
    let names: Vec<&str> = app
        .services
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    assert_eq!(names, ["web", "worker", "beat"]);
    assert_eq!(
        app.services[0].process.exec.text,
        "gunicorn shop.wsgi:application --workers 2 --access-logfile /var/log/shop/access.log"
    );
    assert_eq!(
        app.services[2].process.exec.text,
        "celery -A shop.tasks:app beat --loglevel INFO --schedule /var/lib/shop/beat"
    );
    assert_eq!(
        app.build.run[0].text,
        "python app/manage.py collectstatic --noinput"
    );
    let migrate = app.migrate.unwrap();
    assert_eq!(
        migrate.exec.text(),
        "python app/manage.py migrate --noinput"
    );
    assert_eq!(
        app.logrotate.unwrap().paths[0].as_str(),
        "/var/log/shop/*.log"
    );
    let recipes: Vec<&str> = app
        .recipes
        .recipes
        .iter()
        .map(|recipe| recipe.name.as_str())
        .collect();
    assert_eq!(recipes, ["plain@1", "workers@1", "web@1", "django@1"]);
}

#[test]
fn a_setting_is_stronger_than_a_variable_of_a_recipe() {
    let place = |settings: &str| {
        let text = configuration(&format!("recipe = \"django\"\n{settings}"));
        let directory = project(&[("pkgapp.toml", &text), ("manage.py", "")]);
        let mut facts = facts(directory.path(), &["gunicorn", "celery", "django"]);
        let moved = FactValue::String("/var/lib/shop/a".to_owned());
        let moved = FactValue::Table(vec![("UPLOADS".to_owned(), moved)]);
        facts.insert("data-variables", moved, None);
        let app = load(directory.path(), &facts).unwrap();
        app.services[0].process.env["UPLOADS"].clone()
    };
    assert_eq!(place(""), "/var/lib/shop/a");
    let setting = "[settings]\nUPLOADS = { type = \"string\", default = \"/srv/b\" }\n";
    assert_eq!(place(setting), "/srv/b");
}

#[test]
fn a_migration_creates_the_tables_of_caches() {
    let exec = |lines: &str| {
        let app = django(&format!("recipe = \"django\"\n{{R}}\n{lines}"));
        app.migrate.unwrap().exec.text()
    };
    let (migrate, create) = (
        "python app/manage.py migrate --noinput --settings a",
        "python app/manage.py createcachetable --settings a",
    );
    let options = "migrate-options = \" --settings a\"\n";
    assert_eq!(exec(options), migrate);
    assert_eq!(
        exec(&format!("{options}cache-table = true\n")),
        format!("{migrate} && {create}")
    );
}

#[test]
fn the_configuration_wins_value_by_value_and_takes_parts_out() {
    let app = django(
        "recipe = \"django@1\"\n{R}\nworkers = 7\nlisten = \"0.0.0.0:80\"\n[service]\nbeat = false\n\
         [service.web]\ntimeout-stop = \"9s\"\n[service.worker]\nexec = \"celery -A x worker\"\n[logrotate]\nkeep = 3\n",
    );
    let names: Vec<&str> = app
        .services
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    assert_eq!(names, ["web", "worker"]);
    assert!(app.services[0].process.exec.text.contains("--workers 7"));
    assert_eq!(app.services[1].process.exec.text, "celery -A x worker");
    let worker = value(&app, "service.worker.exec");
    assert_eq!(worker.place().unwrap().position.unwrap().0, 13);
    assert_eq!(worker.replaced.len(), 1);
    assert!(worker.replaced[0].0.contains("shop.tasks"));
}

fn value<'a>(app: &'a Config, key: &str) -> &'a ConfigValue {
    let found = app.recipes.values.iter().find(|value| value.key == key);
    found.unwrap_or_else(|| panic!("no {key} among {:#?}", app.recipes.values))
}

#[test]
fn deployments_inherit_the_migration_key_by_key() {
    let app = django(
        "recipe = \"django\"\n[migrate]\ntimeout = \"10min\"\n\
         [deploy.a]\nhosts = [\"a\"]\n[deploy.b]\nhosts = [\"b\"]\nmigrate = { on = \"all\" }\n\
         [deploy.c]\nhosts = [\"c\"]\nmigrate = false\n",
    );
    let migrate = |index: usize| app.deploys[index].migrate.as_ref();
    assert_eq!(migrate(0), app.migrate.as_ref());
    let other = migrate(1).unwrap();
    assert_eq!(other.exec.text(), "python app/manage.py migrate --noinput");
    assert!(other.timeout.is_some());
    assert_ne!(other.on, app.migrate.as_ref().unwrap().on);
    assert_eq!(migrate(2), None);
}

#[test]
fn later_recipes_are_stronger_and_a_file_extends_a_built_in_one() {
    let directory = project(&[
        (
            "pkgapp.toml",
            &configuration("recipe = [\"django\", \"./deploy/house.toml\"]\n"),
        ),
        ("manage.py", ""),
        (
            "deploy/house.toml",
            "[recipe]\nextends = \"web\"\n[recipe.parameters]\nthreads = { type = \"integer\", default = 4 }\n\
             [service.web]\nexec = \"gunicorn {wsgi} --threads {threads} --name {{{name}}} {instance}\"\n",
        ),
    ]);
    let facts = facts(directory.path(), &["gunicorn"]);
    let app = load(directory.path(), &facts).unwrap();
    assert_eq!(
        app.services[0].process.exec.text,
        "gunicorn shop.wsgi:application --threads 4 --name {shop} {instance}"
    );
    assert_eq!(
        app.recipes.recipes.last().unwrap().name,
        "deploy/house.toml"
    );
    let exec = value(&app, "service.web.exec");
    assert!(exec.place().unwrap().file.ends_with("deploy/house.toml"));
    assert!(exec.replaced[0].0.contains("--workers"));
}

/// The limits of a recipe do not bind the configuration that fills it.
#[test]
fn a_parameter_may_name_a_path_that_the_recipe_may_not() {
    let house = "[recipe]\n[recipe.parameters]\nfiles-on-hosts = { type = \"list\" }\n\
                 [service.web]\nenvironment-file = \"{files-on-hosts}\"\n";
    let lines =
        "recipe = [\"web\", \"./house.toml\"]\n{R}\nfiles-on-hosts = [\"/srv/shared.env\"]\n";
    let directory = project(&[
        ("pkgapp.toml", &configuration(lines)),
        ("house.toml", house),
        ("manage.py", ""),
    ]);
    let app = load(directory.path(), &facts(directory.path(), &["gunicorn"])).unwrap();
    let files = value(&app, "service.web.environment-file");
    assert_eq!(files.value, "[\"/srv/shared.env\"]");
}

/// An ejected configuration means the same without its recipe.
#[test]
fn an_ejected_configuration_needs_no_recipe() {
    let app = django("recipe = \"django\"\n{R}\nworkers = 3\n");
    let directory = project(&[("pkgapp.toml", &app.recipes.ejected), ("manage.py", "")]);
    let ejected = Config::load(None, directory.path()).unwrap();
    assert!(ejected.recipes.recipes.is_empty());
    let meaning = |app: &Config| {
        let text = format!(
            "{:#?}{:#?}{:#?}{:#?}{:#?}",
            app.services, app.build, app.logrotate, app.migrate, app.include
        );
        pkgapp_testing::without_places(&text)
    };
    assert_eq!(meaning(&ejected), meaning(&app));
}

#[test]
fn a_procfile_is_a_recipe() {
    let procfile = "web: gunicorn shop.wsgi\nworker: celery -A shop worker\n\
                    slow: python manage.py migrate && python x.py ${X:-4}\nrelease: python manage.py migrate\n";
    let directory = project(&[
        ("pkgapp.toml", &configuration("recipe = \"procfile\"\n")),
        ("manage.py", ""),
        ("Procfile", procfile),
    ]);
    let app = load(directory.path(), &facts(directory.path(), &[])).unwrap();
    let services: Vec<(&str, &str)> = app
        .services
        .iter()
        .map(|service| (service.name.as_str(), service.process.exec.text.as_str()))
        .collect();
    assert_eq!(
        services,
        [
            ("web", "gunicorn shop.wsgi"),
            ("worker", "celery -A shop worker"),
            (
                "slow",
                "/bin/sh -c 'python manage.py migrate && python x.py ${X:-4}'"
            ),
        ]
    );
    assert_eq!(
        app.migrate.as_ref().unwrap().exec.text(),
        "/bin/sh -c 'cd /opt/shop/app && python manage.py migrate'"
    );
    let warnings: Vec<String> = app
        .warnings
        .iter()
        .map(|error| error.message().to_owned())
        .collect();
    assert_eq!(
        warnings,
        ["`slow` runs `migrate` at every start and on every host: move it to `release:`"]
    );
    let exec = value(&app, "service.worker.exec");
    let at = exec.place().unwrap();
    assert!(at.file.ends_with("Procfile"));
    assert_eq!(at.position, Some((2, 9)));
}

/// A server that opens its port itself sees `PORT`, as a text, and a program of the project lies in
/// the release.
#[test]
fn processes_of_a_procfile_find_their_port_and_their_programs() {
    let procfile = "web: ./bin/serve --fast\nother: uwsgi --http :$PORT\nthird: ./bin/gone\nfourth: a $PORT | b\n";
    let directory = project(&[
        ("pkgapp.toml", &configuration("recipe = \"procfile\"\n")),
        ("manage.py", ""),
        ("bin/serve", ""),
        ("Procfile", procfile),
    ]);
    let app = load(directory.path(), &facts(directory.path(), &[])).unwrap();
    let processes = app.services.iter().map(|service| &service.process);
    let found: Vec<(&str, Option<&str>)> = processes
        .map(|process| {
            let port = process.env.get("PORT");
            (process.exec.text.as_str(), port.map(String::as_str))
        })
        .collect();
    assert_eq!(
        found,
        [
            ("app/bin/serve --fast", Some("8000")),
            ("uwsgi --http :8000", None),
            ("./bin/gone", None),
            ("/bin/sh -c 'a $PORT | b'", Some("8000")),
        ]
    );
}

/// `web` has one port, so that a number of it means nothing on one host.
#[test]
fn an_app_json_numbers_the_processes_of_a_procfile() {
    let procfile = "web: gunicorn shop.wsgi\nworker: celery -A shop worker\nclock: python clock.py\n\
                    api: uwsgi --http :$PORT\nidle: python idle.py\n";
    let app_json = "{\"formation\": {\n\"web\": {\"quantity\": 2},\n\"worker\": {\"quantity\": 3},\n\
                    \"api\": {\"quantity\": 2}, \"idle\": {\"quantity\": 0}, \"gone\": {\"quantity\": 4}}}";
    let load = |lines: &str, app_json: &str| {
        let text = format!("{}{lines}", configuration("recipe = \"procfile\"\n"));
        let directory = project(&[
            ("pkgapp.toml", &text),
            ("manage.py", ""),
            ("app.json", app_json),
            ("Procfile", procfile),
        ]);
        load(directory.path(), &facts(directory.path(), &[]))
    };
    let app = load("", app_json).unwrap();
    let found: Vec<(&str, Option<u32>)> = app
        .services
        .iter()
        .map(|service| (service.name.as_str(), service.instances))
        .collect();
    assert_eq!(
        found,
        [
            ("web", None),
            ("worker", Some(3)),
            ("clock", None),
            ("api", None)
        ]
    );
    let at = value(&app, "service.worker.instances")
        .place()
        .unwrap()
        .clone();
    assert!(at.file.ends_with("app.json"));
    assert_eq!(at.position, Some((3, 1)));

    let instances = |app: &Config| {
        let mut services = app.services.iter();
        let worker = services.find(|service| service.name.as_str() == "worker");
        worker.unwrap().instances
    };
    let app = load("[service.worker]\ninstances = 2\n", app_json).unwrap();
    assert_eq!(instances(&app), Some(2));
    let error = load("", &app_json.replace('3', "3000")).unwrap_err();
    assert!(error.to_string().contains("app.json:3:1"), "{error}");
    let large = format!("{app_json}{}", " ".repeat(128 << 10));
    assert_eq!(instances(&load("", &large).unwrap()), None);
}

/// Distributions that are not locked yet.
struct UnlockedDistributions;

impl LockedDistributions for UnlockedDistributions {
    fn read(&self, _: &Config, _: &PackageName, _: &str) -> Result<Option<DistributionFile>> {
        Ok(None)
    }
}

/// What only a recipe that is left out knows is no mistake.
#[test]
fn a_recipe_that_is_left_out_takes_its_parameters_along() {
    let lines =
        "recipe = [\"plain\", \"acme-deploy:web\"]\n{R}\nthreads = 4\n[service]\nx = false\n";
    let directory = project(&[("pkgapp.toml", &configuration(lines)), ("manage.py", "")]);
    let facts = facts(directory.path(), &[]);
    let draft = ConfigDraft::read(None, directory.path()).unwrap();
    let app = draft.finish_with(&facts, &UnlockedDistributions).unwrap();
    assert!(app.services.is_empty());
    let draft = ConfigDraft::read(None, directory.path()).unwrap();
    let error = draft.finish(&facts).unwrap_err();
    assert!(error.to_string().contains("acme-deploy"), "{error}");
}

/// mistakes.txt: lines of `[app]` and what follows it, files after lines with `---` and their
/// names, a line of `-`, the message, a line of `=`. `# facts:` chooses the facts.
#[test]
fn mistakes_get_exact_words() {
    let all = include_str!("mistakes.txt");
    let mut told = String::new();
    for case in all.split("\n=====\n") {
        let (input, _) = case.split_once("\n-----\n").unwrap_or((case, ""));
        let mut parts = input.split("\n--- ");
        let lines = format!("{}\n", parts.next().unwrap());
        let text = configuration(&lines);
        let named = parts.map(|part| part.split_once('\n').unwrap_or((part, "")));
        let mut files: Vec<(&str, &str)> = named.collect();
        files.extend([("pkgapp.toml", text.as_str()), ("manage.py", "")]);
        let directory = project(&files);
        let facts = match lines.lines().next() {
            Some("# facts: none") => ProjectFacts::default(),
            Some("# facts: no server") => facts(directory.path(), &[]),
            _ => facts(directory.path(), &["gunicorn", "celery"]),
        };
        let found = match load(directory.path(), &facts) {
            Ok(_) => "no mistake".to_owned(),
            Err(error) => shown_in(directory.path(), &error),
        };
        _ = write!(told, "{input}\n-----\n{found}\n=====\n");
    }
    let told = told.trim_end_matches("\n=====\n").to_owned() + "\n";
    if std::env::var_os("PKGAPP_UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipe/mistakes.txt");
        fs_err::write(golden, &told).unwrap();
        return;
    }
    similar_asserts::assert_eq!(told, all);
}

/// Every parameter of a built-in recipe is used, each recipe is filled without a mistake, and its
/// file says its version.
#[test]
fn built_in_recipes_are_whole() {
    for (name, version, text) in builtin::RECIPES {
        let mut sources = SourceTexts::default();
        let named = NamedRecipe {
            name: format!("{name}@{version}"),
            at: Location::file("pkgapp.toml"),
        };
        let directory = project(&[("Procfile", "web: gunicorn a --port $PORT\nx: gunicorn b\n")]);
        let context = RecipeContext {
            root: directory.path().to_owned(),
            name: None,
            prefix: None,
            added: Vec::new(),
            facts: &ProjectFacts::default(),
            distributions: &|_, _| Ok(None),
        };
        let loaded = file::load(&[named], &mut sources, &context).unwrap();
        let reader = DocumentReader::new(&sources);
        for recipe in loaded
            .recipes
            .iter()
            .map(|recipe| RecipeFile::read(recipe, &reader))
        {
            let parameters: Vec<&Parameter> = recipe.parameters.iter().collect();
            assert!(parameters.len() < 100);
        }
        assert_eq!(
            reader.mistakes().len(),
            0,
            "{name}: {:?}",
            reader.mistakes()
        );
        assert!(text.contains(&format!("\nversion = {version}\n")), "{name}");
        assert!(text.contains("\nsummary = "), "{name}");
    }
}

/// docs/recipes.md names every recipe, parameter, and fact.
#[test]
fn the_chapter_is_complete() {
    let chapter = include_str!("../../../docs/recipes.md");
    let is_named = |name: &str| {
        assert!(
            chapter.contains(&format!("`{name}`")),
            "docs/recipes.md lacks `{name}`"
        );
    };
    FACTS.iter().for_each(|(name, _, _)| is_named(name));
    for (name, _, text) in builtin::RECIPES {
        is_named(name);
        let table: toml::Table = text.parse().unwrap();
        let parameters = table["recipe"].get("parameters");
        let parameters = parameters.and_then(toml::Value::as_table);
        parameters
            .into_iter()
            .flat_map(toml::Table::keys)
            .for_each(|name| is_named(name));
    }
}

/// Texts that may stand in a recipe.
fn recipe_text() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("\"{wsgi}\"".to_owned()),
        Just("\"{a} {{ {instance}\"".to_owned()),
        Just("\"{\"".to_owned()),
        Just("[\"{files}\", 1, { when = \"a\" }]".to_owned()),
        Just("{ when = \"requires:x\", exec = \"{p}\" }".to_owned()),
        Just("false".to_owned()),
        Just("12".to_owned()),
        Just("-9223372036854775808".to_owned()),
        Just("1.5".to_owned()),
        Just("1979-05-27".to_owned()),
        Just("{}".to_owned()),
        Just("[]".to_owned()),
        Just("[[\"{files}\"], \"{etc}/../x\"]".to_owned()),
        Just("[\"requires:gunicorn\", \"a\"]".to_owned()),
        Just("{ A = \"{a}\", \"b.c\" = \"{workers}\", when = \"wsgi\" }".to_owned()),
        Just("{ error = \"{x\", parameters = [\"a\", \"wsgi\"] }".to_owned()),
        Just("{ type = \"choice\", choices = [], default = \"\" }".to_owned()),
        Just("{ type = \"table\", found = \"build-variables\", optional = true }".to_owned()),
        Just("\"./house.toml\"".to_owned()),
        Just("\"acme-deploy:web\"".to_owned()),
        Just("\"string\"".to_owned()),
        "\"[ -~&&[^\"\\\\]]{0,12}\"",
        "\"[{}a-z\u{e4}\u{1f600} ]{0,8}\"",
    ];
    let key = prop_oneof![
        Just("exec"),
        Just("when"),
        Just("of"),
        Just("env"),
        Just("type"),
        Just("default"),
        Just("extends"),
        Just("user"),
        Just("source"),
        Just("a"),
        Just("b"),
        Just("minimum"),
        Just("maximum"),
        Just("choices"),
        Just("found"),
        Just("optional"),
        Just("environment-file"),
        Just("write"),
        Just("run"),
        Just("include"),
        Just("requirements"),
        Just("instances"),
        Just("socket"),
        Just("calendar"),
        Just("schedule"),
        Just("paths"),
        Just("error"),
        Just("parameters"),
        Just("beat"),
    ];
    let header = prop_oneof![
        Just("[recipe]"),
        Just("[recipe.parameters]"),
        Just("[recipe.parameters.a]"),
        Just("[service.web]"),
        Just("[every.service]"),
        Just("[[variant]]"),
        Just("[variant.service.web]"),
        Just("[deploy.x]"),
        Just("[recipe.required.\"service.web.exec\"]"),
        Just("[app]"),
        Just("[migrate]"),
        Just("[logrotate]"),
        Just("[service]"),
        Just("[service.worker.env]"),
        Just("[timer.report]"),
        Just("[cron.purge]"),
        Just("[config.\"a b\"]"),
        Just("[build]"),
        Just("[python]"),
        Just("[package]"),
        Just("[recipe.parameters.b]"),
        Just("[recipe.required]"),
        Just("[every.timer]"),
        Just("[every]"),
        Just("[variant.migrate]"),
        Just("[variant.every.service.env]"),
        Just("[[variant.service]]"),
    ];
    let line = prop_oneof![
        3 => (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
        1 => header.prop_map(str::to_owned),
    ];
    prop::collection::vec(line, 0..20).prop_map(|lines| lines.join("\n"))
}

/// Texts that may stand in a Procfile.
fn procfile_text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("web: ".to_owned()),
        Just("release: ".to_owned()),
        Just("worker_1:".to_owned()),
        Just("gunicorn ".to_owned()),
        Just("uvicorn ".to_owned()),
        Just("A=1 ".to_owned()),
        Just("env ".to_owned()),
        Just("exec ".to_owned()),
        Just(" && ".to_owned()),
        Just("cd x".to_owned()),
        Just("$PORT".to_owned()),
        Just("${PORT:-1}".to_owned()),
        Just("'".to_owned()),
        Just("\"".to_owned()),
        Just("\\".to_owned()),
        Just("{port}".to_owned()),
        Just("}}".to_owned()),
        Just("#".to_owned()),
        Just("\n".to_owned()),
        Just("\r\n".to_owned()),
        Just("\u{1}".to_owned()),
        "[ -~]{0,8}",
        "\\PC{0,4}",
    ];
    prop::collection::vec(word, 0..24).prop_map(|words| words.concat())
}

/// Every value has one origin, and the ejected configuration is TOML.
fn check_whole(app: &Config) -> Result<(), TestCaseError> {
    let values = with_defaults(app, app.recipes.values.clone());
    let keys: BTreeSet<&str> = values.iter().map(|value| value.key.as_str()).collect();
    prop_assert_eq!(keys.len(), values.len());
    prop_assert!(app.recipes.ejected.parse::<toml::Table>().is_ok());
    Ok(())
}

/// More of them with `PROPTEST_CASES`.
fn cases() -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(400),
    }
}

proptest! {
    #![proptest_config(cases())]

    /// Whatever stands in a recipe, it is a configuration or a list of mistakes.
    #[test]
    fn no_recipe_panics(text in recipe_text()) {
        let directory = project(&[
            ("pkgapp.toml", &configuration("recipe = [\"web\", \"./house.toml\"]\n")),
            ("house.toml", &text),
            ("manage.py", ""),
        ]);
        match load(directory.path(), &facts(directory.path(), &["gunicorn"])) {
            Ok(app) => check_whole(&app)?,
            Err(error) => prop_assert!(!error.to_string().contains("bug in"), "{}", error),
        }
    }

    /// Whatever stands in a Procfile, it is a configuration or a list of mistakes.
    #[test]
    fn no_procfile_panics(text in procfile_text(), has_files: bool) {
        let directory = project(&[
            ("pkgapp.toml", &configuration("recipe = \"procfile\"\n")),
            ("Procfile", &text),
            ("manage.py", ""),
        ]);
        let facts = if has_files {
            facts(directory.path(), &[])
        } else {
            ProjectFacts::default()
        };
        match load(directory.path(), &facts) {
            Ok(app) => check_whole(&app)?,
            Err(error) => prop_assert!(!error.to_string().contains("bug in"), "{}", error),
        }
    }
}

/// The braces of a binding are doubled in a recipe, whose own places are filled first.
#[test]
fn recipes_set_what_an_application_requires_and_provides() {
    let house = "[recipe]\nsummary = \"x\"\n[recipe.parameters]\ndb = { type = \"integer\", default = 3 }\n\
                 [requires.cache]\ntype = \"redis\"\nenv = { CACHE_URL = \"{{url}}/{db}\" }\n\
                 [requires.database]\ntype = \"postgresql\"\nenv = { DATABASE_URL = \"{{url}}\" }\n\
                 [provides.api]\nservice = \"web\"\n[provides.admin]\nservice = \"web\"\n\
                 [service.web]\nexec = \"web\"\nsocket = \"0.0.0.0:80\"\nenv = { A = \"x\" }\n";
    let lines = "recipe = \"./house.toml\"\nsource = \"\"\ninclude = [\"manage.py\"]\n\
                 [requires]\ndatabase = false\ncache.optional = true\n[provides]\nadmin = false\n";
    let files = |text: &str| {
        let directory = project(&[
            ("pkgapp.toml", text),
            ("house.toml", house),
            ("manage.py", ""),
        ]);
        let app = load(directory.path(), &ProjectFacts::default());
        app.map_err(|error| shown_in(directory.path(), &error))
    };
    let app = files(&configuration(lines)).unwrap();
    let [cache] = &app.requires[..] else {
        panic!("{:?}", app.requires);
    };
    let filled = cache.variables["CACHE_URL"].fill(|value| format!("<{value:?}>"));
    assert_eq!((filled.as_str(), cache.optional), ("<Url>/3", true));
    let provided = app.provides.iter().map(|provided| provided.name.as_str());
    assert_eq!(provided.collect::<Vec<_>>(), ["api"]);

    let ejected = files(&app.recipes.ejected).unwrap();
    assert_eq!(ejected.requires[0].variables, cache.variables);

    // Of a recipe that is not built in, both places are wrong: its user sees them.
    let second = lines.replace("cache.optional = true", "x.env = { A = \"{url}\" }");
    let error = files(&configuration(&second)).unwrap_err();
    assert!(error.contains("declared at house.toml:"), "{error}");
}

/// Variables in `env` of built-in recipes do not stop an application that says better.
#[test]
fn a_requirement_is_stronger_than_a_variable_of_a_built_in_recipe() {
    let text = configuration(
        "recipe = \"django\"\n[requires.database]\ntype = \"postgresql\"\nenv = { SHOP_DATABASE = \"{url}\" }\n",
    );
    let directory = project(&[("pkgapp.toml", &text), ("manage.py", "")]);
    let mut facts = facts(directory.path(), &["gunicorn", "celery", "django"]);
    let path = FactValue::String("/var/lib/shop/db.sqlite3".to_owned());
    let variables = [("SHOP_DATABASE".to_owned(), path)].into();
    facts.insert("data-variables", FactValue::Table(variables), None);
    let app = load(directory.path(), &facts).unwrap();
    assert!(app.services[0].process.env.contains_key("SHOP_DATABASE"));
    assert!(app.requires[0].variables.contains_key("SHOP_DATABASE"));
}

/// A project whose values come from everywhere.
fn explained_project(workers: u32, stop: u32, keep: u32, level: &str) -> tempfile::TempDir {
    let text = format!(
        "[app]\nrecipe = [\"django\", \"./house.toml\"]\nsource = \"\"\n[recipe]\nworkers = {workers}\n\
         log-level = \"{level}\"\n[service.web]\ntimeout-stop = \"{stop}s\"\n[logrotate]\nkeep = {keep}\n\
         [timer.x]\nexec = \"x\"\ncalendar = \"daily\"\n[requires.redis]\nenv = {{ CACHE = \"{{url}}/0\" }}\n\
         [provides.api]\nservice = \"web\"\n[deploy.a]\nhosts = [\"a\"]\nwait = \"{stop}s\"\n\
         [deploy.b]\nhosts = [\"b\"]\nmigrate = {{ on = \"all\" }}\nhealth = {{ command = \"true\" }}\n",
    );
    let house = "[recipe]\nextends = \"web\"\n[service.web]\nrestart = \"always\"\nenv = { A = \"{name}\" }\n\
                 [every.service]\nlimit-nofile = 4096\n[migrate]\ntimeout = \"9min\"\n";
    let pyproject = "[project]\nname = \"shop\"\nversion = \"1.0\"\ndescription = \"Sells\"\nlicense = \"MIT\"\n\
                     authors = [{ name = \"Ada\", email = \"ada@example.com\" }]\n[project.urls]\n\
                     Home-Page = \"https://example.com/x\"\n";
    project(&[
        ("pkgapp.toml", &text),
        ("house.toml", house),
        ("pyproject.toml", pyproject),
        (".python-version", "3.11\n"),
        ("requirements.txt", "a==1\n"),
        ("manage.py", ""),
    ])
}

/// The line with the value changed; the line goes if the value is made of several parts of it.
fn changed_line(line: &str, value: &str) -> String {
    let plain = value.trim_matches('"');
    let changed = match value.parse::<u64>() {
        Ok(number) => (number + 1).to_string(),
        Err(_) if plain == "true" => "false".to_owned(),
        Err(_) if plain.ends_with(|c: char| c.is_ascii_digit()) => format!("{plain}1"),
        Err(_) => format!("{plain}x"),
    };
    match line.rfind(plain) {
        Some(at) if !plain.is_empty() => {
            format!("{}{changed}{}", &line[..at], &line[at + plain.len()..])
        }
        _ => String::new(),
    }
}

/// Changes the line of a place; says whether the value of a key changes, or is refused.
fn depends_on(root: &Path, at: &Location, text: &str, value: &ConfigValue) -> bool {
    let file = root.join(&at.file);
    let before = fs_err::read_to_string(&file).unwrap();
    let (number, _) = at.position.unwrap();
    let mut lines: Vec<String> = before.lines().map(str::to_owned).collect();
    lines[number - 1] = changed_line(&lines[number - 1], text);
    fs_err::write(&file, lines.join("\n") + "\n").unwrap();
    let after = load(root, &facts(root, &["gunicorn", "celery"]));
    fs_err::write(&file, before).unwrap();
    let Ok(app) = after else { return true };
    let values = with_defaults(&app, app.recipes.values.clone());
    let now = values.iter().find(|now| now.key == value.key);
    now.is_none_or(|now| now.value != value.value || now.origin != value.origin)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// The line that `explain` names holds the value: changing it changes the value.
    #[test]
    fn every_origin_holds_its_value(workers in 1_u32..90, stop in 1_u32..90, keep in 1_u32..90, level in 0_usize..4) {
        let level = ["DEBUG", "INFO", "WARNING", "ERROR"][level];
        let directory = explained_project(workers, stop, keep, level);
        let root = directory.path();
        let app = load(root, &facts(root, &["gunicorn", "celery"])).unwrap();
        let values = with_defaults(&app, app.recipes.values.clone());
        prop_assert!(values.len() > 80, "{}", values.len());
        for value in &values {
            let own = match &value.origin {
                ValueOrigin::Set(at) | ValueOrigin::Inherited(at) | ValueOrigin::Default(at) => Some(at),
                _ => None,
            };
            let own = own.into_iter().map(|at| (at, &value.value, value.key.rsplit('.').next().unwrap()));
            let used = value.parameters.iter().filter_map(|used| match &used.origin {
                ValueOrigin::Set(at) | ValueOrigin::Default(at) => Some((at, &used.value, used.name.as_str())),
                _ => None,
            });
            // The place of a file that was found is the file as a whole.
            for (at, text, name) in own.chain(used).filter(|(at, ..)| at.position.is_some()) {
                let line = line_at(root, at);
                let is_in_project = at.file.starts_with(root);
                let is_of_another = value.parameters.iter().any(|used| line.contains(&used.name));
                let names_it = line.contains(name) || is_of_another || !at.file.ends_with("pkgapp.toml");
                prop_assert!(names_it, "{value:?}: {line}");
                prop_assert!(!is_in_project || depends_on(root, at, text, value), "{value:?}: {line}");
            }
        }
    }
}

/// Every key of the schema that has a default has a value, and a value has one origin.
#[test]
fn all_values_are_explained_once() {
    let directory = explained_project(2, 3, 4, "INFO");
    let app = load(directory.path(), &facts(directory.path(), &["gunicorn"])).unwrap();
    let values = with_defaults(&app, app.recipes.values.clone());
    let keys: BTreeSet<&str> = values.iter().map(|value| value.key.as_str()).collect();
    assert_eq!(keys.len(), values.len());
    for (key, expected) in [
        ("app.name", "\"shop\""),
        ("app.homepage", "\"https://example.com/x\""),
        ("app.maintainer", "\"Ada <ada@example.com>\""),
        ("python.version", "\"3.11\""),
        ("python.requirements", "[\"requirements.txt\"]"),
        ("python.require-hashes", "false"),
        ("package.prefix", "\"/opt/shop\""),
        ("service.web.user", "\"shop\""),
        ("deploy.a.batches", "[\"100%\"]"),
        ("deploy.a.migrate.timeout", "\"9min\""),
        ("deploy.b.migrate.on", "\"all\""),
        ("deploy.b.health.settle", "\"3s\""),
        ("requires.redis.type", "\"redis\""),
        ("requires.redis.env.CACHE", "\"{url}/0\""),
        ("requires.redis.optional", "false"),
        ("provides.api.type", "\"api\""),
        ("recipe.listen", "\"127.0.0.1:8000\""),
    ] {
        let found = values.iter().find(|value| value.key == key);
        assert_eq!(
            found.map(|value| value.value.as_str()),
            Some(expected),
            "{key}"
        );
    }
}

/// The line of a place, in the project or in a built-in recipe.
fn line_at(root: &Path, at: &Location) -> String {
    let text = if at.file.starts_with("<built-in>") {
        let name = at.file.file_stem().unwrap().to_str().unwrap();
        builtin::find(name).unwrap().2.to_owned()
    } else {
        fs_err::read_to_string(root.join(&at.file)).unwrap()
    };
    let (line, _) = at.position.unwrap();
    text.lines().nth(line - 1).unwrap().to_owned()
}
