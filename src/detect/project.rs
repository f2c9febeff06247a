//! pyproject.toml and its predecessors, and whether the tree can be built as a wheel.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use pkgapp_core::error::Result;
use pkgapp_core::name::AppName;
use pkgapp_pypa::VersionSpecifiers;
use pkgapp_release::imports::{self, statement};

use super::{listed, pins};

/// Directories that setuptools ignores when it searches a flat layout for packages
/// (`setuptools.discovery.FlatLayoutPackageFinder.DEFAULT_EXCLUDE`).
const NO_PACKAGES: [&str; 27] = [
    "ci",
    "bin",
    "debian",
    "doc",
    "docs",
    "documentation",
    "manpages",
    "news",
    "newsfragments",
    "changelog",
    "test",
    "tests",
    "unit_test",
    "unit_tests",
    "example",
    "examples",
    "scripts",
    "tools",
    "util",
    "utils",
    "python",
    "build",
    "benchmark",
    "benchmarks",
    "exercise",
    "exercises",
    "htmlcov",
];

/// Modules that a setup.py may import without requiring them.
const ALWAYS_THERE: [&str; 3] = ["setuptools", "distutils", "pkg_resources"];

/// pyproject.toml and its predecessors.
pub(super) struct ProjectFiles {
    pub(super) table: Table,
    pub(super) setup: String,
    /// Whether a build treats the tree as a project by default.
    pub(super) is_project: bool,
}

impl ProjectFiles {
    pub(super) fn read(root: &Path) -> Result<Self> {
        let table = match root.join("pyproject.toml") {
            file if file.is_file() => pins::toml(&file)?,
            _ => Table::new(),
        };
        let texts = ["setup.cfg", "setup.py"]
            .iter()
            .map(|name| root.join(name))
            .filter(|file| file.is_file());
        let setup = texts
            .map(|file| pins::text(&file))
            .collect::<Result<Vec<_>>>()?
            .join("\n");
        let is_project = table.contains_key("build-system")
            || table.contains_key("project")
            || root.join("setup.py").is_file();
        Ok(Self {
            table,
            setup,
            is_project,
        })
    }

    pub(super) fn says(&self, key: &str) -> bool {
        self.project(key).is_some()
    }

    fn project(&self, key: &str) -> Option<&Value> {
        self.table.get("project")?.get(key)
    }

    fn tool(&self, name: &str) -> Option<&Value> {
        self.table.get("tool")?.get(name)
    }

    /// Returns the console scripts of a wheel.
    pub(super) fn scripts(&self) -> Vec<String> {
        let tables = [
            self.project("scripts"),
            self.tool("poetry").and_then(|poetry| poetry.get("scripts")),
        ];
        let tables = tables.into_iter().flatten().filter_map(Value::as_table);
        let mut names: Vec<String> = tables.flat_map(Table::keys).cloned().collect();
        for name in console_scripts(&self.setup) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Iterates over the modules that the console scripts call.
    pub(super) fn script_modules(&self) -> impl Iterator<Item = &str> {
        let tables = [
            self.project("scripts"),
            self.tool("poetry").and_then(|poetry| poetry.get("scripts")),
        ];
        let objects = tables
            .into_iter()
            .flatten()
            .filter_map(Value::as_table)
            .flat_map(Table::values);
        objects
            .filter_map(Value::as_str)
            .filter_map(|object| object.split(':').next())
    }

    /// Returns the import names of the top-level packages in a wheel of the project; `None` if they
    /// are uncertain.
    pub(super) fn wheel_packages(&self) -> Option<Vec<String>> {
        let backend = self
            .table
            .get("build-system")?
            .get("build-backend")?
            .as_str()?;
        match backend.split(['.', ':']).next()? {
            "poetry" => self.poetry_packages(),
            "hatchling" => self.hatchling_packages(),
            "setuptools" => top_names(self.tool("setuptools")?.get("packages")?),
            "flit_core" | "uv_build" if self.tool("flit").is_none() => self.own_package(),
            _ => None,
        }
    }

    fn poetry_packages(&self) -> Option<Vec<String>> {
        let poetry = self.tool("poetry");
        let key = |key: &str| poetry.and_then(|poetry| poetry.get(key));
        match (key("packages"), key("include")) {
            (Some(packages), None) => top_names(packages),
            (None, None) => self.own_package(),
            _ => None,
        }
    }

    fn hatchling_packages(&self) -> Option<Vec<String>> {
        let Some(build) = self.tool("hatch").and_then(|hatch| hatch.get("build")) else {
            return self.own_package();
        };
        top_names(build.get("targets")?.get("wheel")?.get("packages")?)
    }

    /// Returns the package with the project's name.
    fn own_package(&self) -> Option<Vec<String>> {
        self.module().map(|module| vec![module])
    }

    /// Returns the extras in their spelling, with the distributions that each requires.
    pub(super) fn extras(&self) -> BTreeMap<String, BTreeSet<String>> {
        let tables = [
            self.project("optional-dependencies"),
            self.tool("poetry").and_then(|poetry| poetry.get("extras")),
        ];
        let tables = tables.into_iter().flatten().filter_map(Value::as_table);
        let of_pyproject = tables
            .flatten()
            .map(|(name, list)| (name.clone(), distributions(list)));
        extras_of_setup_cfg(&self.setup)
            .into_iter()
            .chain(of_pyproject)
            .collect()
    }

    /// Returns the names of the dependency groups.
    pub(super) fn groups(&self) -> Vec<String> {
        let poetry = self.tool("poetry").and_then(|poetry| poetry.get("group"));
        let tables = [self.table.get("dependency-groups"), poetry]
            .into_iter()
            .flatten()
            .filter_map(Value::as_table);
        tables.flat_map(Table::keys).cloned().collect()
    }

    /// Returns the distributions of a group, including those of included groups.
    pub(super) fn group(&self, name: &str) -> BTreeSet<String> {
        let (mut names, mut open, mut seen) =
            (BTreeSet::new(), vec![name.to_owned()], BTreeSet::new());
        while let Some(name) = open.pop().filter(|_| seen.len() < 100) {
            let poetry = self
                .tool("poetry")
                .and_then(|poetry| poetry.get("group")?.get(&name)?.get("dependencies"));
            let poetry = poetry
                .and_then(Value::as_table)
                .into_iter()
                .flat_map(Table::keys);
            names.extend(poetry.filter_map(|name| pins::normalized(name)));
            let Some(list) = self
                .table
                .get("dependency-groups")
                .and_then(|groups| groups.get(&name))
            else {
                continue;
            };
            names.extend(distributions(list));
            let others = list
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|entry| entry.get("include-group")?.as_str());
            open.extend(
                others
                    .filter(|other| seen.insert((*other).to_owned()))
                    .map(str::to_owned),
            );
        }
        names
    }

    /// Returns whether pyproject.toml, setup.cfg, or setup.py declare the project's requirements.
    pub(super) fn has_dependencies(&self) -> bool {
        let poetry = self
            .tool("poetry")
            .and_then(|poetry| poetry.get("dependencies"));
        self.says("dependencies") || poetry.is_some() || self.setup.contains("install_requires")
    }

    /// Returns the patterns for the members of a uv workspace.
    pub(super) fn workspace(&self) -> Option<Vec<String>> {
        let members = self
            .tool("uv")?
            .get("workspace")?
            .get("members")?
            .as_array()?;
        Some(
            members
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        )
    }

    /// Returns the reason why the tree cannot be built as a wheel, or why the wheel would be
    /// incomplete; `None` if it can be built.
    pub(super) fn refuses_a_wheel(&self, root: &Path) -> Option<String> {
        let has_setup = root.join("setup.py").is_file();
        self.refused_by_configuration()
            .or_else(|| self.lacks_metadata(has_setup))
            .or_else(|| self.refused_by_backend(root, has_setup))
    }

    /// Returns the key that declares that the project is not a package.
    fn refused_by_configuration(&self) -> Option<String> {
        [
            ("uv", "package"),
            ("poetry", "package-mode"),
            ("pdm", "distribution"),
        ]
        .into_iter()
        .find(|(tool, key)| {
            self.tool(tool)
                .and_then(|tool| tool.get(key))
                .and_then(Value::as_bool)
                == Some(false)
        })
        .map(|(tool, key)| format!("`[tool.{tool}] {key} = false`"))
    }

    /// Returns the missing lines that a build backend needs.
    fn lacks_metadata(&self, has_setup: bool) -> Option<String> {
        if !self.table.contains_key("build-system") && !has_setup {
            // An application that only declares requirements there, like one from `uv init`.
            return Some("pyproject.toml has no `[build-system]`".to_owned());
        }
        let has_setup_cfg = self.setup.contains("[metadata]");
        if !self.names_itself() && !has_setup && !has_setup_cfg {
            return Some("pyproject.toml has a `[build-system]` and no `[project]`".to_owned());
        }
        if self.says("name") && !self.says("version") && !self.is_dynamic("version") {
            return Some("`[project]` has no `version`".to_owned());
        }
        None
    }

    /// Returns whether pyproject.toml declares a name in the table of some build backend.
    fn names_itself(&self) -> bool {
        let has = |tool: &str, key: &str| {
            self.tool(tool)
                .is_some_and(|table| table.get(key).is_some())
        };
        self.says("name") || has("poetry", "name") || has("flit", "metadata")
    }

    /// Returns whether the build backend computes the value of a key.
    fn is_dynamic(&self, key: &str) -> bool {
        let list = self.project("dynamic").and_then(Value::as_array);
        list.is_some_and(|list| list.iter().any(|field| field.as_str() == Some(key)))
    }

    fn refused_by_backend(&self, root: &Path, has_setup: bool) -> Option<String> {
        let backend = self
            .table
            .get("build-system")
            .and_then(|system| system.get("build-backend"))
            .and_then(Value::as_str)
            .unwrap_or("setuptools");
        match backend.split(['.', ':']).next().unwrap_or_default() {
            "setuptools" => self.refused_by_setuptools(root, has_setup),
            "hatchling" => self.refused_by_hatchling(root),
            "poetry" => self.refused_by_poetry(root),
            "uv_build" => self.refused_by_uv(root),
            _ => None,
        }
    }

    fn refused_by_setuptools(&self, root: &Path, has_setup: bool) -> Option<String> {
        if has_setup && let Some(module) = self.imported_by_setup(root) {
            return Some(format!(
                "setup.py imports `{module}`, which is not there when it runs"
            ));
        }
        if self.lists_modules() || root.join("src").is_dir() {
            return None;
        }
        match &top_packages(root)[..] {
            [] => None,
            [package] => {
                let data = ["templates", "static"]
                    .iter()
                    .find(|name| root.join(package).join(name).is_dir())?;
                (!self.says_data(root))
                    .then(|| format!("nothing puts `{package}/{data}` into a wheel"))
            }
            packages => {
                let some: Vec<String> = packages
                    .iter()
                    .take(3)
                    .map(|name| format!("`{name}`"))
                    .collect();
                let more = if packages.len() > 3 { " …" } else { "" };
                Some(format!(
                    "setuptools refuses several directories at the top ({}{more})",
                    some.join(", ")
                ))
            }
        }
    }

    /// Returns whether setuptools has a list of the modules.
    fn lists_modules(&self) -> bool {
        let in_pyproject = ["packages", "py-modules", "ext-modules"];
        let in_setup = ["packages", "py_modules", "ext_modules"];
        in_pyproject.iter().any(|key| self.says_to_setuptools(key))
            || in_setup.iter().any(|key| assigned_to(&self.setup, key))
    }

    /// Returns whether a setting adds the data of packages to a wheel.
    fn says_data(&self, root: &Path) -> bool {
        let is_plugin =
            |name: &String| name.starts_with("setuptools-") || name.starts_with("setuptools_");
        root.join("MANIFEST.in").is_file()
            || self.says_to_setuptools("package-data")
            || self.setup.contains("package_data")
            || self.setup.contains("setuptools_scm")
            || self.build_requires().iter().any(is_plugin)
    }

    fn says_to_setuptools(&self, key: &str) -> bool {
        self.tool("setuptools")
            .is_some_and(|section| section.get(key).is_some())
    }

    /// Returns the first module that setup.py imports although it is missing in builds.
    fn imported_by_setup(&self, root: &Path) -> Option<String> {
        let text = pins::text(&root.join("setup.py")).ok()?;
        let as_module = |name: &str| name.replace('-', "_");
        let build_requires: BTreeSet<String> = self
            .build_requires()
            .iter()
            .map(|name| as_module(name))
            .collect();
        let install_requires: BTreeSet<String> =
            pins::install_requires(&self.setup).map(as_module).collect();

        top_level_imports(&text).into_iter().find(|module| {
            let lower = module.to_lowercase();
            !ALWAYS_THERE.contains(&module.as_str())
                && !build_requires.contains(&lower)
                && (install_requires.contains(&lower)
                    || imports_absent_modules(root, module, &build_requires))
        })
    }

    fn build_requires(&self) -> Vec<String> {
        let requires = self
            .table
            .get("build-system")
            .and_then(|system| system.get("requires")?.as_array());
        let texts = requires.into_iter().flatten().filter_map(Value::as_str);
        texts
            .map(|text| pins::leading_name(text).to_lowercase())
            .collect()
    }

    /// Returns the reason if Hatchling finds neither a directory or module with the project's name,
    /// nor a list of files.
    fn refused_by_hatchling(&self, root: &Path) -> Option<String> {
        let build = self.tool("hatch").and_then(|hatch| hatch.get("build"));
        let wheel = build.and_then(|build| build.get("targets")?.get("wheel"));
        let forced = [build, wheel]
            .into_iter()
            .flatten()
            .filter_map(|table| table.get("force-include")?.as_table());
        if let Some(absent) = forced
            .flat_map(Table::keys)
            .find(|path| !root.join(path).exists())
        {
            return Some(format!("hatchling wants `{absent}`, which is not there"));
        }
        let keys = [
            "packages",
            "include",
            "only-include",
            "force-include",
            "sources",
            "bypass-selection",
            "artifacts",
        ];
        if [build, wheel]
            .into_iter()
            .flatten()
            .any(|table| keys.iter().any(|key| table.get(key).is_some()))
        {
            return None;
        }
        self.lacks_own_package(root, "hatchling")
    }

    fn refused_by_poetry(&self, root: &Path) -> Option<String> {
        let poetry = self.tool("poetry");
        if poetry.is_some_and(|poetry| {
            poetry.get("packages").is_some() || poetry.get("include").is_some()
        }) {
            return None;
        }
        self.lacks_own_package(root, "poetry-core")
    }

    fn refused_by_uv(&self, root: &Path) -> Option<String> {
        let settings = self.tool("uv").and_then(|uv| uv.get("build-backend"));
        let text = |key: &str| {
            settings
                .and_then(|settings| settings.get(key))
                .and_then(Value::as_str)
        };
        let module = text("module-name")
            .map(str::to_owned)
            .or_else(|| self.module())?;
        if settings.is_some_and(|settings| settings.get("module-name").is_some_and(Value::is_array))
        {
            return None;
        }
        let place =
            PathBuf::from(text("module-root").unwrap_or("src")).join(module.replace('.', "/"));
        let is_there =
            root.join(&place).join("__init__.py").is_file() || root.join(&place).is_dir();
        (!is_there).then(|| format!("uv_build wants a package `{}`", place.display()))
    }

    fn module(&self) -> Option<String> {
        let poetry = self.tool("poetry").and_then(|poetry| poetry.get("name"));
        let name = self.project("name").or(poetry)?.as_str()?;
        Some(name.to_lowercase().replace(['-', '.'], "_"))
    }

    fn lacks_own_package(&self, root: &Path, backend: &str) -> Option<String> {
        let module = self.module()?;
        let spelled = |name: &str| {
            name.to_lowercase()
                .replace('-', "_")
                .trim_end_matches(".py")
                == module
        };
        let is_there = [root.to_owned(), root.join("src")]
            .iter()
            .flat_map(|directory| listed(directory))
            .any(|(name, is_directory)| spelled(&name) && (is_directory || name.ends_with(".py")));
        (!is_there).then(|| format!("{backend} wants a package `{module}`"))
    }

    /// Returns the application's name, and whether the configuration must set it.
    pub(super) fn name(&self, root: &Path) -> (AppName, bool) {
        let project = self.project("name").and_then(Value::as_str);
        let poetry = self
            .tool("poetry")
            .and_then(|poetry| poetry.get("name")?.as_str());
        let text = project
            .or(poetry)
            .map(str::to_owned)
            .or_else(|| assigned(&self.setup, "name"))
            .unwrap_or_else(|| short(&name_of_directory(root)).to_owned());
        (app_name(&text), project.is_none())
    }

    pub(super) fn requires_python(&self, root: &Path) -> Option<VersionSpecifiers> {
        let project = self.project("requires-python").and_then(Value::as_str);
        let poetry = self
            .tool("poetry")
            .and_then(|poetry| poetry.get("dependencies")?.get("python")?.as_str());
        let text = project
            .map(str::to_owned)
            .or(poetry.map(caret))
            .or_else(|| assigned(&self.setup, "python_requires"));
        text.or_else(|| pins::pipfile_python(root))?.parse().ok()
    }
}

/// Returns the name of the directory, without the version in names of unpacked sdists:
/// NAME-VERSION.
fn name_of_directory(root: &Path) -> String {
    let directory = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    match name.rsplit_once('-') {
        Some((plain, version)) if version.starts_with(|c: char| c.is_ascii_digit()) => {
            plain.to_owned()
        }
        _ => name.into_owned(),
    }
}

/// The longest name that can also be the name of a user on hosts (sysusers.d(5)).
const LONGEST_USER: usize = 31;

/// Returns the first words of a name, as many as fit the name of a user.
fn short(name: &str) -> &str {
    let mut short = name;
    while short.len() > LONGEST_USER
        && let Some((first, _)) = short.rsplit_once(['-', '_', '.', ' '])
    {
        short = first;
    }
    short
}

/// Returns the nearest valid name of an application.
fn app_name(text: &str) -> AppName {
    let plain: String = text
        .to_lowercase()
        .replace(['_', '.', ' '], "-")
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .take(64)
        .collect();
    let name = plain
        .trim_start_matches(|c: char| !c.is_ascii_lowercase())
        .trim_end_matches('-');
    // Debian's names have at least two characters.
    let name = if name.len() == 1 {
        format!("{name}-app")
    } else {
        name.to_owned()
    };
    AppName::parse(&name)
        .unwrap_or_else(|_| AppName::parse("app").expect("three letters are a name"))
}

/// Returns the first names of the packages in a build backend's list; `None` if one is a pattern.
fn top_names(list: &Value) -> Option<Vec<String>> {
    let names = list.as_array()?.iter().map(|name| {
        let name = name.as_str().or_else(|| name.get("include")?.as_str())?;
        let name = name.trim_start_matches("./").trim_start_matches("src/");
        name.split(['/', '.'])
            .next()
            .filter(|top| !top.is_empty() && !top.contains('*'))
            .map(str::to_owned)
    });
    names.collect()
}

/// Returns whether a package of the tree imports modules that are missing in builds.
fn imports_absent_modules(root: &Path, package: &str, build_requires: &BTreeSet<String>) -> bool {
    let own = root.join(package).join("__init__.py");
    if !own.is_file() {
        return false;
    }
    let is_absent = |module: &String| {
        let beside = root.join(module);
        let is_own = module == package || beside.is_dir() || beside.with_extension("py").is_file();
        let is_there = ALWAYS_THERE.contains(&module.as_str())
            || build_requires.contains(&module.to_lowercase());
        !is_own && !is_there && !imports::is_standard(module)
    };
    let text = pins::text(&own).unwrap_or_default();
    top_level_imports(&text).iter().any(is_absent)
}

/// Returns the distributions in a list of requirements.
fn distributions(list: &Value) -> BTreeSet<String> {
    let requirements = list
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    requirements
        .filter_map(|text| pins::normalized(pins::leading_name(text)))
        .collect()
}

/// Returns the extras of setup.cfg: a section with a key for each.
fn extras_of_setup_cfg(setup: &str) -> BTreeMap<String, BTreeSet<String>> {
    let section = setup
        .lines()
        .skip_while(|line| line.trim() != "[options.extras_require]")
        .skip(1);
    let mut extras: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut current = None;
    for line in section.take_while(|line| !line.starts_with('[')) {
        let mut requirements = line;
        if !line.starts_with([' ', '\t', '#'])
            && let Some((name, rest)) = line.split_once('=')
        {
            current = Some(name.trim().to_owned());
            requirements = rest;
        }
        if let Some(name) = &current {
            let names = requirements
                .split([';', '#'])
                .next()
                .map(|text| pins::leading_name(text.trim()));
            extras
                .entry(name.clone())
                .or_default()
                .extend(names.and_then(pins::normalized));
        }
    }
    extras
}

/// Returns the packages that a source certainly imports, except for its own.
fn top_level_imports(text: &str) -> Vec<String> {
    let modules = statement::certain(text.as_bytes())
        .into_iter()
        .flat_map(|import| import.modules::<&str>(&[]));
    modules
        .filter_map(|module| module.split('.').next().map(str::to_owned))
        .collect()
}

/// Returns whether setup.cfg, or setup.py in a call or a dictionary, sets a key.
fn assigned_to(text: &str, key: &str) -> bool {
    values(text, key).next().is_some()
}

/// Iterates over the texts after each `key =`, `key=`, and `"key":` of setup.cfg and setup.py, up
/// to the end of the file.
fn values<'t>(text: &'t str, key: &'t str) -> impl Iterator<Item = &'t str> {
    text.match_indices(key).filter_map(move |(at, _)| {
        let before = text[..at].chars().next_back();
        let is_part = |c: char| c == '_' || c == '.' || c == '-' || c.is_alphanumeric();
        let is_comment = text[..at]
            .rsplit('\n')
            .next()
            .is_some_and(|line| line.trim_start().starts_with('#'));
        if before.is_some_and(is_part) || is_comment {
            return None;
        }
        // `"key": value`, and `arguments["key"] = value`.
        let rest = text[at + key.len()..]
            .trim_start_matches(['"', '\'', ']'])
            .trim_start_matches([' ', '\t']);
        let value = rest.strip_prefix(['=', ':'])?;
        (!value.starts_with('=')).then_some(value)
    })
}

/// Returns the names of console scripts in setup.cfg and setup.py.
fn console_scripts(setup: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, word) in setup.match_indices("console_scripts") {
        let rest = setup[at + word.len()..].trim_start_matches(['"', '\'', ']', ' ', ':', '=']);
        match rest.strip_prefix(['[', '(']) {
            Some(list) => {
                let list = list.split([']', ')']).next().unwrap_or_default();
                names.extend(list.split(['"', '\'', ',', '\n']).filter_map(script_name));
            }
            // A section of setup.cfg, or of a text in setup.py.
            None => {
                let lines = rest.lines().skip(1).map(str::trim);
                let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
                names.extend(lines.map_while(script_name));
            }
        }
    }
    names
}

/// Returns the name in `name = module:function`.
fn script_name(entry: &str) -> Option<String> {
    let (name, object) = entry.split_once('=')?;
    let name = name.trim();
    let is_name = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    (is_name && object.contains(':')).then(|| name.to_owned())
}

/// Translates Poetry's `^3.9` to `>=3.9,<4`; other texts follow PEP 440.
fn caret(text: &str) -> String {
    match text.strip_prefix('^') {
        Some(version) => format!(">={version},<4"),
        None => text.to_owned(),
    }
}

/// Returns the value of `key = value` in setup.cfg, or of `key="value"` in a call in setup.py.
fn assigned(text: &str, key: &str) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_<>=!~, *".contains(c);
    let is_text = |value: &&str| !value.is_empty() && value.chars().all(is_plain);
    let line = text.lines().find_map(|line| {
        let value = line
            .trim()
            .strip_prefix(key)?
            .trim_start()
            .strip_prefix('=')?
            .trim();
        Some(value.trim_end_matches(',').trim_matches(['"', '\''])).filter(is_text)
    });
    // In a dictionary, or in a call on one line.
    let quoted = || {
        values(text, key).find_map(|value| {
            let value = value.trim_start_matches([' ', '\t']);
            let quote = value.chars().next().filter(|c| ['"', '\''].contains(c))?;
            value[1..]
                .split_once(quote)
                .map(|(value, _)| value)
                .filter(is_text)
        })
    };
    line.or_else(quoted).map(str::to_owned)
}

/// Returns the top-level directories that setuptools treats as packages.
fn top_packages(root: &Path) -> Vec<String> {
    let is_package = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
            && !NO_PACKAGES.contains(&name)
    };
    listed(root)
        .into_iter()
        .filter(|(name, is_directory)| *is_directory && is_package(name))
        .map(|(name, _)| name)
        .filter(|name| !super::is_environment(&root.join(name)))
        .collect()
}
