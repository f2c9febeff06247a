//! Mistakes of models, compared with a file.

use std::path::Path;

use super::*;

/// The model of most mistakes: their lines follow it.
const GOOD: &str = "[system]\nname = \"shop\"\n[application.shop]\npackage = \".\"\n\
                    [service.db]\nkind = \"postgresql\"\nrole = \"db\"\n";

fn read(directory: &Path, text: &str) -> Result<SystemModel> {
    std::fs::write(directory.join(SYSTEM_FILE), text).unwrap();
    SystemModel::load(None, directory)
}

#[test]
fn mistakes_get_exact_words() {
    let all = include_str!("mistakes.txt");
    let directory = tempfile::tempdir().unwrap();
    let told = |case: &str| {
        let lines = case.split_once("\n-----").unwrap().0;
        let text = match lines.strip_prefix("# alone\n") {
            Some(alone) => format!("{alone}\n"),
            None => format!("{GOOD}{lines}\n"),
        };
        let found = match read(directory.path(), &text) {
            Ok(_) => "no mistake".to_owned(),
            Err(error) => error.to_string(),
        };
        let found = found.replace(&format!("{}/", directory.path().display()), "");
        format!("{lines}\n-----\n{}", found.trim_end())
    };
    let told: Vec<String> = all.split("\n=====\n").map(told).collect();
    let told = told.join("\n=====\n") + "\n";
    if std::env::var_os("PKGAPP_UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("system/mistakes.txt");
        std::fs::write(golden, &told).unwrap();
        return;
    }
    similar_asserts::assert_eq!(told, all);
}

#[test]
fn a_model_without_a_file_names_the_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let error = SystemModel::load(None, directory.path()).unwrap_err();
    assert!(error.to_string().contains("--system FILE"), "{error}");
}

#[test]
fn environments_override_numbers_and_services() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "{GOOD}[environment.production]\nhosts = [{{ host = \"a\", roles = [\"db\"] }}]\n\
         place.shop.worker.per-host = 3\nservice.db.external = {{ host = \"10.0.0.1\" }}\n\
         domains.shop = [\"A.example.com\"]\nsudo = true\nkeep = 7\n"
    );
    let model = read(directory.path(), &text).unwrap();
    let environment = model.environment("production").unwrap();
    let key = (
        model.applications[0].name.clone(),
        PartName::parse("worker").unwrap(),
    );
    assert_eq!(environment.place[&key].per_host, Some(3));
    let changed = model.services[0].with(&environment.services[&model.services[0].name]);
    let ServiceRuns::External(external) = &changed.runs else {
        panic!("{changed:?}");
    };
    assert_eq!((external.host.as_str(), external.port), ("10.0.0.1", 5432));
    let domains = environment.domains.of(&model.applications[0].name);
    assert_eq!(domains[0].value.as_str(), "a.example.com");
    assert!(environment.policy.sudo && environment.policy.keep == 7);
    assert_eq!(
        model
            .environment("producton")
            .unwrap_err()
            .to_string()
            .lines()
            .last(),
        Some("  hint: did you mean `production`?")
    );
}
