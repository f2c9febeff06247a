//! Projects that tests build.

use std::fmt::Write as _;

use super::Sandbox;
use super::tools::{python, shared_object};
use super::wheel::{Member, Wheel};

/// The C extension `answer`: `answer.get()` is 42. It needs nothing of Python but its ABI, so no
/// header is used.
const ANSWER: &str = r#"
#include <stddef.h>
typedef struct _object PyObject;
struct method { const char *name; PyObject *(*function)(PyObject *, PyObject *); int flags; const char *doc; };
struct base { ptrdiff_t refcount; void *type; void *init; ptrdiff_t index; void *copy; };
struct module { struct base base; const char *name; const char *doc; ptrdiff_t size; struct method *methods;
                void *slots, *traverse, *clear, *free; };
extern PyObject *PyLong_FromLong(long);
extern PyObject *PyModule_Create2(struct module *, int);
static PyObject *get(PyObject *self, PyObject *args) { return PyLong_FromLong(42); }
static struct method methods[] = {{"get", get, 4, NULL}, {NULL}};
static struct module definition = {{1}, "answer", NULL, -1, methods};
PyObject *PyInit_answer(void) { return PyModule_Create2(&definition, 1013); }
"#;

/// A wheel with a compiled extension for this machine's Python; `None` without cc.
pub(crate) fn extension() -> Option<Wheel> {
    let object = shared_object(ANSWER, &[])?;
    let number = python().minor.replace('.', "");
    let mut member = Member::new("answer.so", object);
    member.mode = 0o100_755;
    Some(
        Wheel::new("answer", "1.0")
            .tag(&format!(
                "cp{number}-cp{number}-linux_{}",
                std::env::consts::ARCH
            ))
            .member(member),
    )
}

/// A wheel that has one of everything the wheel specification knows ("Binary distribution format",
/// ".data directory").
pub(crate) fn features() -> Wheel {
    let mut executable = Member::new("features/tool.sh", "#!/bin/sh\necho tool\n");
    executable.mode = 0o100_755;
    Wheel::new("features", "2.0")
        .file(
            "features/__init__.py",
            "import sys\n\n\ndef main():\n    print('features', *sys.argv[1:])\n    return 3\n",
        )
        .file("features/größe, in cm.txt", "ü\n")
        .file("features/empty", "")
        .file("features/template.py", "class {{ name }}:\n    pass\n")
        .member(executable)
        .console_script("features", "features:main")
        .console_script("features-extra", "features:main [extra]")
        .data(
            "scripts/future",
            "#!python\n\"\"\"Begins with a docstring.\"\"\"\nfrom __future__ import annotations\nimport sys\n\n\
             print('future', *sys.argv[1:])\n",
        )
        .data("scripts/shell", "#!/bin/sh\necho shell \"$@\"\n")
        .data("data/share/features/data.txt", "data\n")
        .data("data/etc/features.conf", "x = 1\n")
        .data("headers/features.h", "#define FEATURES 1\n")
        .data("purelib/features_pure.py", "PURE = True\n")
        .data("platlib/features_plat.py", "PLAT = True\n")
}

/// Two distributions that share a namespace package (PEP 420: no `__init__.py`).
pub(crate) fn namespace() -> [Wheel; 2] {
    ["left", "right"].map(|side| {
        Wheel::new(&format!("space-{side}"), "1.0")
            .file(&format!("space/{side}.py"), format!("SIDE = {side:?}\n"))
    })
}

/// fixtures/hello with all of these wheels pinned, in `wheels/` of the project. Without cc it has
/// no extension.
pub(crate) fn full() -> Sandbox {
    let sandbox = Sandbox::hello();
    let mut wheels = vec![features()];
    wheels.extend(namespace());
    wheels.extend(extension());
    pin(&sandbox, &wheels);
    sandbox
}

/// Puts wheels into `wheels/` of the project and pins them, in requirements.txt.
pub(crate) fn pin(sandbox: &Sandbox, wheels: &[Wheel]) {
    let mut pins = "--find-links wheels\n".to_owned();
    for wheel in wheels {
        let file = wheel.write(&sandbox.path("wheels"));
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let mut parts = name.split('-');
        _ = writeln!(
            pins,
            "{}=={}",
            parts.next().unwrap().replace('_', "-"),
            parts.next().unwrap()
        );
    }
    sandbox.append("requirements.txt", &pins);
}

#[test]
fn python_imports_the_extension() {
    let Some(wheel) = extension() else { return };
    let directory = tempfile::tempdir().unwrap();
    // Python imports from a ZIP archive, but not shared objects: unpack it with Python's own
    // zipfile.
    let archive = wheel.write(directory.path());
    let script = "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2]); \
                  sys.path.insert(0, sys.argv[2]); import answer; print(answer.get())";
    let mut command = std::process::Command::new(&python().path);
    assert_eq!(
        super::tools::text(
            command
                .args(["-c", script])
                .arg(archive)
                .arg(directory.path())
        ),
        "42\n"
    );
}
