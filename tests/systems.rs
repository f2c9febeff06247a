//! `pkgapp system`: a model beside the package of its application.

use super::support::Sandbox;

const MODEL: &str = r#"[system]
name = "greetings"
[application.hello]
package = "dist"
place.web = { role = "web" }
place.site = { role = "front" }
[service.db]
kind = "postgresql"
role = "db"
[service.exporter]
kind = "node-exporter"
role = "web"
[environment.production]
domains = ["hello.example.com"]
hosts = [
  { host = "lb1.example.com", roles = ["front"], address = "10.0.0.1" },
  { host = "web[1:3].example.com", roles = ["web"], address = "10.0.1.[1:3]" },
  { host = "db1.example.com", roles = ["db"], address = "10.0.2.1" },
]
[environment.staging]
domains = ["hello.staging.example.com"]
hosts = [{ host = "stage1", roles = ["front", "web", "db"] }]
"#;

/// A model beside the software package of the application `hello`.
fn system() -> Sandbox {
    let sandbox = Sandbox::hello();
    sandbox.append(
        "pkgapp.toml",
        "\n[package]\nconfiguration = \"separate\"\n\
         [service.web]\nexec = \"hello\"\nsocket = \"0.0.0.0:8000\"\n\
         [requires.database]\ntype = \"postgresql\"\nenv = { HELLO_DB = \"{url}\" }\n",
    );
    sandbox.build(["--format", "deb", "--format", "rpm"]);
    sandbox.write("system.toml", MODEL);
    // The declaration comes from the package: the project is not looked at again.
    sandbox.write("pkgapp.toml", "[broken");
    sandbox
}

fn lock(sandbox: &Sandbox) {
    sandbox.pkgapp(["system", "lock"]).stdout();
}

fn read(sandbox: &Sandbox) -> String {
    std::fs::read_to_string(sandbox.path("system.lock")).unwrap()
}

#[test]
fn a_model_is_locked_and_checked() {
    let sandbox = system();
    let check = sandbox.pkgapp(["system", "check"]).outcome();
    assert_eq!(check.status, 1, "{}", check.report);
    let told = check.stderr;
    assert!(
        told.contains("the lock of `production`, `staging` is out of date"),
        "{told}"
    );
    assert!(!sandbox.path("system.lock").exists());

    assert_eq!(sandbox.pkgapp(["system", "lock"]).stdout(), "system.lock\n");
    let written = read(&sandbox);
    for line in [
        "\"hello.web\" = [20000, 4]",
        "\"hello.database\" = \"db\"",
        "\"db\" = [\"stage1\"]",
    ] {
        assert!(written.contains(line), "{written}");
    }
    let told = sandbox.pkgapp(["system", "check", "production"]).stdout();
    assert!(told.contains("  web[1:3].example.com\n"), "{told}");
    assert!(told.contains("    hello.web :20000\n"), "{told}");
    sandbox.pkgapp(["system", "lock", "--check"]).stdout();

    // A second lock changes nothing; another model changes only what it must.
    lock(&sandbox);
    assert_eq!(read(&sandbox), written);
    let more = MODEL.replace("web[1:3].example.com", "web[1:2].example.com");
    let more = more.replace("10.0.1.[1:3]", "10.0.1.[1:2]");
    sandbox.write("system.toml", &more);
    sandbox.pkgapp(["system", "lock", "--check"]).fails();
    lock(&sandbox);
    let left = "\n[production.leaving]\n\"web3.example.com\" = [\"web\"]\n";
    assert!(read(&sandbox).contains(left));
    let forget = ["system", "lock", "--forget", "web3.example.com"];
    sandbox.pkgapp(forget).stdout();
    assert!(!read(&sandbox).contains("web3"));
    assert_eq!(sandbox.pkgapp(forget).outcome().status, 2);
}

#[test]
fn each_kind_of_hosts_has_a_configuration_of_its_own() {
    let sandbox = system();
    let stale = sandbox.pkgapp(["system", "build", "production"]).fails();
    assert!(stale.contains("run `pkgapp system lock`"), "{stale}");
    lock(&sandbox);
    let built = sandbox
        .pkgapp(["system", "build", "production"])
        .artifacts();
    assert_eq!(built.len(), 6, "{built:?}");
    let database = built
        .iter()
        .find(|path| path.to_str().unwrap().contains("greetings-db_"));
    assert!(
        sandbox
            .dump(database.unwrap())
            .contains("/usr/share/pkgapp/greetings-db/grants.sql")
    );
    let of = |role: &str, end: &str| {
        let mut paths = built.iter().map(|path| path.to_str().unwrap());
        let path =
            paths.find(|path| path.contains(&format!("production.{role}.")) && path.ends_with(end));
        sandbox.dump(std::path::Path::new(path.unwrap()))
    };
    for end in [".deb", ".rpm"] {
        let (web, front) = (of("web", end), of("front", end));
        assert!(
            web.contains("hello-web.socket") && !web.contains("nginx.conf"),
            "{web}"
        );
        assert!(
            front.contains("nginx.conf") && !front.contains("hello-web"),
            "{front}"
        );
    }

    // The same again, and from the other package of the software.
    let again = sandbox.pkgapp(["system", "build", "production"]);
    assert_eq!(again.artifacts(), built);
    let apply = sandbox.pkgapp(["system", "apply", "production", "--confirm", "manual"]);
    assert_eq!(apply.outcome().status, 2);
    let cases = [
        ("apply", "--local", "`--local` is not for systems"),
        ("status", "--local", "`--local` is not for systems"),
        ("apply", "--into=/srv/x", "`--into` is for tarballs"),
        ("rollback", "--into=/srv/x", "`--into` is for tarballs"),
        (
            "apply",
            "--only=role=none",
            "select no host of `production`",
        ),
    ];
    for (command, option, expected) in cases {
        let refused = sandbox.pkgapp(["system", command, "production", option]);
        let told = refused.outcome();
        assert_eq!(told.status, 2, "{}", told.report);
        assert!(told.stderr.contains(expected), "{}", told.report);
    }
    let protected = MODEL.replace(
        "[environment.production]\n",
        "[environment.production]\nprotected = true\n",
    );
    sandbox.write("system.toml", protected);
    let told = sandbox.pkgapp(["system", "apply", "production"]).fails();
    assert!(told.contains("was not built from a commit"), "{told}");
    assert!(
        told.contains("`[environment.production]` is protected"),
        "{told}"
    );
    sandbox.write("system.toml", MODEL);
    for command in ["apply", "status", "rollback"] {
        let wrong = sandbox.pkgapp([
            "system",
            command,
            "production",
            "--hosts",
            "web4.example.com",
        ]);
        let told = wrong.outcome();
        assert_eq!(told.status, 2, "{}", told.report);
        let expected =
            "`production` has no host `web4.example.com`\n  hint: did you mean `web1.example.com`?";
        assert!(told.stderr.contains(expected), "{}", told.report);
        let wrong = sandbox.pkgapp(["system", command, "production", "--application", "helo"]);
        assert!(wrong.outcome().stderr.contains("did you mean `hello`?"));
    }
}

#[test]
fn data_stay_and_a_damaged_lock_is_refused() {
    let sandbox = system();
    lock(&sandbox);
    let written = read(&sandbox);
    sandbox.write(
        "system.toml",
        MODEL.replace("db1.example.com", "db2.example.com"),
    );
    let told = sandbox.pkgapp(["system", "lock"]).fails();
    assert!(told.contains("its data are on `db1.example.com`"), "{told}");
    assert_eq!(read(&sandbox), written);

    sandbox.write("system.lock", "<<<<<<< ours\n");
    let told = sandbox.pkgapp(["system", "lock"]).fails();
    assert!(told.contains("--> system.lock:1:"), "{told}");
}

#[test]
fn environments_are_drawn_and_exported() {
    let sandbox = system();
    let svg = sandbox.pkgapp(["system", "graph", "production"]).stdout();
    assert!(
        svg.starts_with("<svg ") && svg.contains("web[1:3].example.com"),
        "{svg}"
    );
    let file = ["system", "graph", "production", "--output", "graph.svg"];
    assert_eq!(sandbox.pkgapp(file).stdout(), "graph.svg\n");
    assert_eq!(
        std::fs::read_to_string(sandbox.path("graph.svg")).unwrap(),
        svg
    );

    let graph = sandbox
        .pkgapp(["system", "graph", "production", "--format", "json"])
        .stdout();
    let json: serde_json::Value = serde_json::from_str(&graph).unwrap();
    assert_eq!(json["parts"][0]["name"], "hello.web");
    assert_eq!(json["parts"][0]["port"], 20000);
    let targets = sandbox
        .pkgapp(["system", "export", "prometheus", "production"])
        .stdout();
    assert!(targets.contains("10.0.1.3:9100"), "{targets}");
    let hosts = sandbox
        .pkgapp(["system", "export", "hosts", "production"])
        .stdout();
    assert!(
        hosts.contains("\n10.0.2.1 db1.example.com db1\n"),
        "{hosts}"
    );
    let without_host = sandbox.pkgapp(["system", "export", "nftables", "production"]);
    assert_eq!(without_host.outcome().status, 2);
    let rules = [
        "system",
        "export",
        "nftables",
        "production",
        "--host",
        "db1.example.com",
    ];
    let rules = sandbox.pkgapp(rules).stdout();
    assert!(
        rules.contains("tcp dport 5432 ip saddr { 10.0.1.1, 10.0.1.2, 10.0.1.3 } accept"),
        "{rules}"
    );
}
