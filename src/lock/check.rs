//! Checks that a set of distributions contains everything that its members require, as `pip check`
//! does, before anything is built.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::str::FromStr;

use pkgapp_pypa::{LenientRequirement, LenientVersionSpecifiers};
use pkgapp_pypa::{Requirement, VersionOrUrl};

use pkgapp_core::error::{Error, Location, Result};
use pkgapp_pypa::{
    Environment, ExtraName, MarkerEnvironment, PackageName, VerbatimParsedUrl, Version,
    VersionSpecifiers,
};

/// A distribution of the set, as its metadata describes it.
#[derive(Debug, Clone)]
pub struct CheckedDistribution {
    /// Normalized name.
    pub name: PackageName,
    /// Version.
    pub version: Version,
    /// `Requires-Dist`, verbatim.
    pub requires: Vec<String>,
    /// `Requires-Python`, verbatim.
    pub requires_python: Option<String>,
    /// Extras that its pin requests.
    pub extras: Vec<ExtraName>,
    /// Extras that the distribution provides, verbatim.
    pub provides: Vec<String>,
    /// The place of the pin; `None` for the application itself.
    pub at: Option<Location>,
}

/// Checks that every requirement is met by another distribution of the set, and every
/// `Requires-Python` by the target.
///
/// Extras are followed: if `a` requires `b[x]`, the requirements of `b` for `x` apply too. A pinned
/// pre-release meets a requirement like any other version. Names in `allow_unmet` may be missing or
/// have other versions.
///
/// Returns warnings: metadata that cannot be parsed, and requirements that apply only with some
/// patch releases of a Python whose full version is unknown.
///
/// # Errors
/// All unmet requirements, in the order of `subjects`, each with the chain that leads to it.
pub fn check_consistent(
    subjects: &[CheckedDistribution],
    env: &Environment,
    allow_unmet: &[PackageName],
) -> Result<Vec<String>> {
    let mut check = SetCheck::new(subjects, env);
    check.unknown_extras();
    check.follow_extras();
    let mut errors = Vec::new();
    for index in 0..subjects.len() {
        errors.extend(check.python(index));
        for need in check.needs(index) {
            if !allow_unmet.contains(&need.requirement.name) {
                errors.extend(check.unmet(index, &need));
            }
        }
    }
    match Error::all(errors) {
        Some(error) => Err(error),
        None => Ok(check.warnings),
    }
}

/// Returns the names that are required but not in the set, in no particular order.
pub fn missing(subjects: &[CheckedDistribution], env: &Environment) -> BTreeSet<PackageName> {
    let mut check = SetCheck::new(subjects, env);
    check.follow_extras();
    let needs = (0..subjects.len()).flat_map(|index| check.needs(index));
    let names = needs.map(|need| need.requirement.name);
    names
        .filter(|name| !check.by_name.contains_key(name))
        .collect()
}

type RequiredExtras = Requirement<VerbatimParsedUrl>;

struct SetCheck<'a> {
    subjects: &'a [CheckedDistribution],
    env: &'a Environment,
    patch_range: [MarkerEnvironment; 2],
    by_name: BTreeMap<&'a PackageName, usize>,
    /// The requirements of each subject that could be parsed.
    requires: Vec<Vec<RequiredExtras>>,
    /// The extras of each subject that are active.
    extras: Vec<BTreeSet<ExtraName>>,
    warnings: Vec<String>,
}

/// A requirement that applies.
struct CheckedRequirement {
    requirement: RequiredExtras,
    /// Whether it applies with every patch release that the target's Python can be.
    certain: bool,
    /// If not: the hosts whose patch release is known to make it apply.
    on: Option<String>,
}

impl<'a> SetCheck<'a> {
    fn new(subjects: &'a [CheckedDistribution], env: &'a Environment) -> Self {
        let mut warnings = Vec::new();
        let mut requires = Vec::new();
        for subject in subjects {
            let mut known = Vec::new();
            for text in &subject.requires {
                match LenientRequirement::<VerbatimParsedUrl>::from_str(text) {
                    Ok(requirement) => known.push(RequiredExtras::from(requirement)),
                    Err(_) => warnings.push(format!(
                        "`{} {}` has an invalid requirement, which is not checked: `{text}`",
                        subject.name, subject.version
                    )),
                }
            }
            requires.push(known);
        }
        Self {
            by_name: subjects
                .iter()
                .enumerate()
                .map(|(index, subject)| (&subject.name, index))
                .collect(),
            extras: subjects
                .iter()
                .map(|subject| subject.extras.iter().cloned().collect())
                .collect(),
            patch_range: env.patch_range(),
            subjects,
            env,
            requires,
            warnings,
        }
    }

    /// Returns the requirements of a subject that apply with its active extras.
    fn needs(&self, index: usize) -> Vec<CheckedRequirement> {
        let extras: Vec<_> = self.extras[index].iter().cloned().collect();
        self.requires[index]
            .iter()
            .filter_map(|requirement| {
                let [first, last] = self
                    .patch_range
                    .each_ref()
                    .map(|markers| requirement.evaluate_markers(markers, &extras));
                let holds = |(_, markers): &&(String, MarkerEnvironment)| {
                    requirement.evaluate_markers(markers, &extras)
                };
                let certain = first && last;
                let on = self
                    .env
                    .hosts
                    .iter()
                    .filter(|_| !certain)
                    .find(holds)
                    .map(|(whose, _)| whose.clone());
                (first || last || on.is_some()).then(|| CheckedRequirement {
                    requirement: requirement.clone(),
                    certain,
                    on,
                })
            })
            .collect()
    }

    /// Activates the extras that requirements request, until no more are added.
    fn follow_extras(&mut self) {
        let mut waiting: VecDeque<usize> = (0..self.subjects.len()).collect();
        while let Some(index) = waiting.pop_front() {
            for need in self.needs(index) {
                let Some(&target) = self.by_name.get(&need.requirement.name) else {
                    continue;
                };
                let before = self.extras[target].len();
                self.extras[target].extend(need.requirement.extras.iter().cloned());
                if self.extras[target].len() > before {
                    waiting.push_back(target);
                }
            }
        }
    }

    /// Warns of extras that a pin requests but the distribution does not provide; pip warns too,
    /// and installs.
    fn unknown_extras(&mut self) {
        for subject in self.subjects {
            let known: Vec<ExtraName> = subject
                .provides
                .iter()
                .filter_map(|extra| extra.parse().ok())
                .collect();
            for extra in subject.extras.iter().filter(|extra| !known.contains(extra)) {
                let place = subject
                    .at
                    .as_ref()
                    .map(|at| format!("{at}: "))
                    .unwrap_or_default();
                let names = known
                    .iter()
                    .map(|known| format!("`{known}`"))
                    .collect::<Vec<_>>()
                    .join(", ");
                let has = if names.is_empty() {
                    "none".to_owned()
                } else {
                    names
                };
                self.warnings.push(format!(
                    "{place}`{}` has no extra `{extra}`; it has {has}",
                    named(subject)
                ));
            }
        }
    }

    fn python(&mut self, index: usize) -> Option<Error> {
        let subject = &self.subjects[index];
        let text = subject.requires_python.as_ref()?;
        let Ok(specifiers) = LenientVersionSpecifiers::from_str(text).map(VersionSpecifiers::from)
        else {
            let warning = format!(
                "`{}` has an invalid `Requires-Python`: `{text}`",
                named(subject)
            );
            self.warnings.push(warning);
            return None;
        };
        if self.env.admits(&specifiers) {
            return None;
        }
        let full = self.env.markers.python_full_version().to_string();
        let python = if self.env.full_known {
            full
        } else {
            self.env.python.to_string()
        };
        let error = Error::new(format!(
            "`{}` requires Python {text}, but the release is for {python}",
            named(subject)
        ));
        let error = subject.at.iter().cloned().fold(error, Error::at);
        Some(match &subject.at {
            Some(_) => error.hint(format!(
                "pin a version of `{}` that supports Python {python}",
                subject.name
            )),
            None => {
                error.hint("change `version` in `[python]` or the application's `requires-python`")
            }
        })
    }

    fn unmet(&mut self, index: usize, need: &CheckedRequirement) -> Option<Error> {
        let requirement = &need.requirement;
        let versions = match &requirement.version_or_url {
            Some(VersionOrUrl::VersionSpecifier(versions)) => versions.clone(),
            // A URL selects a file, not a version.
            Some(VersionOrUrl::Url(_)) | None => VersionSpecifiers::empty(),
        };
        let wanted = shown(requirement, &versions);
        let found = self
            .by_name
            .get(&requirement.name)
            .map(|&found| &self.subjects[found]);
        if found.is_some_and(|found| versions.contains(&found.version)) {
            return None;
        }

        let marker = || requirement.marker.try_to_string().unwrap_or_default();
        if !need.certain && need.on.is_none() {
            self.warnings.push(format!(
                "`{}` requires `{wanted}` if {}, but that is not pinned",
                named(&self.subjects[index]),
                marker()
            ));
            return None;
        }
        let chain = self.chain(index, &wanted);
        let error = match found {
            Some(found) => self.conflict(index, found, &wanted, &chain),
            None => self.missing(index, requirement, &wanted, &chain),
        };
        Some(match &need.on {
            Some(host) => error.note(format!("this applies to {host}: {}", marker())),
            None => error,
        })
    }

    fn missing(
        &self,
        index: usize,
        requirement: &RequiredExtras,
        wanted: &str,
        chain: &str,
    ) -> Error {
        let subject = &self.subjects[index];
        let error = Error::new(format!("`{wanted}` is required but not pinned"));
        let error = subject
            .at
            .iter()
            .cloned()
            .fold(error, Error::at)
            .note(chain);
        let file = self
            .subjects
            .iter()
            .find_map(|subject| subject.at.as_ref())
            .map(|at| pkgapp_core::error::shown(&at.file));
        let file = subject
            .at
            .as_ref()
            .map(|at| pkgapp_core::error::shown(&at.file))
            .or(file);
        let name = requirement.name.as_str();
        if ["setuptools", "pip", "wheel", "distribute"].contains(&name) {
            return error.hint(format!(
                "run `pkgapp lock` to pin `{name}` (`pip-compile` omits it without `--allow-unsafe`), or, if the application \
                 does not import it at run time, add `allow-unmet = [\"{name}\"]` to `[python]`"
            ));
        }
        match file {
            Some(file) => error.hint(format!(
                "pin `{}` in `{file}`, or run `pkgapp lock` to pin everything that is missing",
                requirement.name
            )),
            None => error.hint(format!(
                "run `pkgapp lock` to pin `{}` and everything else that is missing",
                requirement.name
            )),
        }
    }

    fn conflict(
        &self,
        index: usize,
        found: &CheckedDistribution,
        wanted: &str,
        chain: &str,
    ) -> Error {
        let subject = &self.subjects[index];
        let error = match &found.at {
            Some(at) => Error::new(format!(
                "`{}` is pinned, but `{}` requires `{wanted}`",
                named(found),
                named(subject)
            ))
            .at(at.clone()),
            None => Error::new(format!(
                "the application is `{}`, but `{}` requires `{wanted}`",
                named(found),
                named(subject)
            )),
        };
        let error = error.note(chain);
        match &subject.at {
            Some(at) => error
                .note(format!("`{}` is pinned at {at}", named(subject)))
                .hint(format!(
                    "pin another version of `{}` or `{}`",
                    found.name, subject.name
                )),
            None => error.hint(format!(
                "pin another version of `{}`, or change the requirements of the application",
                found.name
            )),
        }
    }

    /// Returns the shortest chain to a subject from the application, or else from a pin that
    /// nothing requires.
    fn chain(&self, index: usize, wanted: &str) -> String {
        let mut before: BTreeMap<usize, Option<usize>> = BTreeMap::new();
        let mut waiting: VecDeque<usize> = self.roots().into();
        before.extend(waiting.iter().map(|&root| (root, None)));
        while let Some(next) = waiting.pop_front() {
            for need in self.needs(next) {
                if let Some(&target) = self.by_name.get(&need.requirement.name)
                    && !before.contains_key(&target)
                {
                    before.insert(target, Some(next));
                    waiting.push_back(target);
                }
            }
        }
        let mut names = vec![wanted.to_owned(), self.with_extras(index)];
        let mut at = index;
        while let Some(Some(previous)) = before.get(&at) {
            names.push(self.with_extras(*previous));
            at = *previous;
        }
        names.reverse();
        names.join(" → ")
    }

    /// Names a subject with its active extras, e.g. `celery[redis] 5.4.0`: an extra may be the
    /// reason for a requirement.
    fn with_extras(&self, index: usize) -> String {
        let subject = &self.subjects[index];
        let extras: Vec<_> = self.extras[index].iter().map(ToString::to_string).collect();
        if extras.is_empty() {
            named(subject)
        } else {
            format!("{}[{}] {}", subject.name, extras.join(","), subject.version)
        }
    }

    /// Returns the application first, and then pins that nothing else requires.
    fn roots(&self) -> Vec<usize> {
        let mut required = BTreeSet::new();
        for index in 0..self.subjects.len() {
            let targets = self
                .needs(index)
                .into_iter()
                .filter_map(|need| self.by_name.get(&need.requirement.name).copied());
            required.extend(targets.filter(|target| *target != index));
        }
        let application =
            (0..self.subjects.len()).filter(|&index| self.subjects[index].at.is_none());
        let pins = (0..self.subjects.len())
            .filter(|&index| self.subjects[index].at.is_some() && !required.contains(&index));
        application.chain(pins).collect()
    }
}

fn named(subject: &CheckedDistribution) -> String {
    format!("{} {}", subject.name, subject.version)
}

/// Formats a requirement without its marker.
fn shown(requirement: &RequiredExtras, versions: &VersionSpecifiers) -> String {
    let extras: Vec<_> = requirement.extras.iter().map(ToString::to_string).collect();
    let extras = if extras.is_empty() {
        String::new()
    } else {
        format!("[{}]", extras.join(","))
    };
    let versions: Vec<_> = versions.iter().map(ToString::to_string).collect();
    format!("{}{extras}{}", requirement.name, versions.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::environment;

    /// `name version [extras]: requirement | requirement`; the first one is the application if its
    /// name is `shop`.
    fn subjects(lines: &[&str]) -> Vec<CheckedDistribution> {
        let subject = |(number, line): (usize, &&str)| {
            let (head, requires) = line.split_once(':').unwrap_or((line, ""));
            let mut words = head.split_whitespace();
            let name = words.next().unwrap();
            let version = words.next().unwrap();
            let (mut extras, mut python) = (Vec::new(), None);
            for word in words {
                match word.strip_prefix("python") {
                    Some(text) => python = Some(text.to_owned()),
                    None => extras.push(word.parse().unwrap()),
                }
            }
            CheckedDistribution {
                name: name.parse().unwrap(),
                version: version.parse().unwrap(),
                requires: requires
                    .split('|')
                    .map(|one| one.trim().to_owned())
                    .filter(|one| !one.is_empty())
                    .collect(),
                requires_python: python,
                provides: extras
                    .iter()
                    .map(ToString::to_string)
                    .filter(|extra| extra != "unknown")
                    .collect(),
                extras,
                at: (name != "shop").then(|| Location {
                    file: "r.txt".into(),
                    position: Some((number + 1, 1)),
                }),
            }
        };
        lines.iter().enumerate().map(subject).collect()
    }

    #[track_caller]
    fn assert_errors(lines: &[&str], expected: &str) {
        let error =
            check_consistent(&subjects(lines), &environment(Some("3.11.2")), &[]).unwrap_err();
        similar_asserts::assert_eq!(error.to_string(), expected.trim_matches('\n'));
    }

    #[track_caller]
    fn assert_consistent(lines: &[&str], warnings: &[&str]) {
        let found = check_consistent(
            &subjects(lines),
            &environment(None),
            &["ignored".parse().unwrap()],
        )
        .unwrap();
        assert_eq!(found, warnings);
    }

    #[test]
    fn an_extra_that_is_not_there_is_a_warning() {
        assert_consistent(
            &["a 1 x unknown"],
            &["r.txt:1:1: `a 1` has no extra `unknown`; it has `x`"],
        );
    }

    #[test]
    fn a_missing_distribution_is_told_with_the_chain_to_it() {
        assert_errors(
            &[
                "shop 1.4.2: flask>=2",
                "flask 3.0.0: werkzeug>=3,<4 | jinja2",
                "jinja2 3.1: MarkupSafe (>=2.0)",
            ],
            "
error: `werkzeug>=3,<4` is required but not pinned
  --> r.txt:2:1
  note: shop 1.4.2 → flask 3.0.0 → werkzeug>=3,<4
  hint: pin `werkzeug` in `r.txt`, or run `pkgapp lock` to pin everything that is missing
error: `markupsafe>=2.0` is required but not pinned
  --> r.txt:3:1
  note: shop 1.4.2 → flask 3.0.0 → jinja2 3.1 → markupsafe>=2.0
  hint: pin `markupsafe` in `r.txt`, or run `pkgapp lock` to pin everything that is missing",
        );
    }

    #[test]
    fn chains_begin_at_pins_where_there_is_no_application() {
        // `b` and `c` require each other: neither is a root, and both are reached from `a`.
        assert_errors(
            &["a 1: b", "b 1: c", "c 1: b | gone"],
            "
error: `gone` is required but not pinned
  --> r.txt:3:1
  note: a 1 → b 1 → c 1 → gone
  hint: pin `gone` in `r.txt`, or run `pkgapp lock` to pin everything that is missing",
        );
        assert_errors(
            &["b 1: c", "c 1: b | gone"],
            "
error: `gone` is required but not pinned
  --> r.txt:2:1
  note: c 1 → gone
  hint: pin `gone` in `r.txt`, or run `pkgapp lock` to pin everything that is missing",
        );
    }

    #[test]
    fn conflicts_name_both_pins() {
        assert_errors(
            &[
                "shop 1: old>=3",
                "old 2.0",
                "new 1: old<1 ; python_version >= '3' | shop<1",
            ],
            "
error: `old 2.0` is pinned, but `shop 1` requires `old>=3`
  --> r.txt:2:1
  note: shop 1 → old>=3
  hint: pin another version of `old`, or change the requirements of the application
error: `old 2.0` is pinned, but `new 1` requires `old<1`
  --> r.txt:2:1
  note: new 1 → old<1
  note: `new 1` is pinned at r.txt:3:1
  hint: pin another version of `old` or `new`
error: the application is `shop 1`, but `new 1` requires `shop<1`
  note: new 1 → shop<1
  note: `new 1` is pinned at r.txt:3:1
  hint: pin another version of `shop` or `new`",
        );
    }

    #[test]
    fn extras_are_followed_through_requirements() {
        let set = [
            "shop 1: a[fast]",
            "a 1: b ; extra == 'slow' | c[x] ; extra == 'fast' | a[more]; extra == 'fast'",
        ];
        let c = "c 1: d>=2 ; extra == 'x' | e ; extra == 'y'";
        assert_errors(
            &[set[0], set[1], c],
            "
error: `d>=2` is required but not pinned
  --> r.txt:3:1
  note: shop 1 → a[fast,more] 1 → c[x] 1 → d>=2
  hint: pin `d` in `r.txt`, or run `pkgapp lock` to pin everything that is missing",
        );
        // The extra of the pin, and the extra that an extra asks for.
        assert_errors(
            &["a 1 fast: a[more] ; extra == 'fast' | z ; extra == 'more'"],
            "
error: `z` is required but not pinned
  --> r.txt:1:1
  note: a[fast,more] 1 → z
  hint: pin `z` in `r.txt`, or run `pkgapp lock` to pin everything that is missing",
        );
        assert_consistent(&["a 1: z ; extra == 'fast'"], &[]);
    }

    #[test]
    fn python_must_be_admitted() {
        assert_errors(
            &[
                "shop 1 python>=3.12",
                "a 1 python!=3.11.2",
                "b 1 python>=3.8,<4",
            ],
            "
error: `shop 1` requires Python >=3.12, but the release is for 3.11.2
  hint: change `version` in `[python]` or the application's `requires-python`
error: `a 1` requires Python !=3.11.2, but the release is for 3.11.2
  --> r.txt:2:1
  hint: pin a version of `a` that supports Python 3.11.2",
        );
        // Which 3.11 it will be is not known: one of them is enough.
        assert_consistent(
            &[
                "a 1 python>=3.11.4",
                "b 1 python!=3.11.0",
                "c 1 python<3.11.1",
            ],
            &[],
        );
    }

    #[test]
    fn what_pip_check_accepts_is_accepted() {
        assert_consistent(
            &[
                "shop 1: a>=1.0 | ignored | b==2.* | c===1.0 | d @ https://example.com/d.whl | E_E~=1.4",
                // A pre-release that is pinned meets a requirement, and so does a local version.
                "a 2.0rc1",
                "b 2.0+cpu: windows ; sys_platform == 'win32'",
                "c 1.0",
                "d 9",
                "e-e 1.5",
            ],
            &[],
        );
    }

    /// The same pairs through pip's copy of `packaging`, asked as `pip check` asks.
    #[test]
    fn versions_satisfy_what_they_satisfy_for_pip() {
        const SCRIPT: &str = "import sys, json\nfrom pip._vendor.packaging.specifiers import SpecifierSet\n\
            print(json.dumps([SpecifierSet(s).contains(v, prereleases=True) for s, v in json.load(sys.stdin)]))";
        let specifiers = [
            ">=1.0",
            ">1.0",
            "<2.0",
            "<=1.0",
            "==1.0",
            "==1.*",
            "!=1.0",
            "!=1.0.*",
            "~=1.4",
            "~=1.4.2",
            ">=1.0,<2",
            ">1.0.post1",
            "==1.0+cpu",
            ">=1.0rc1",
            "<1.0rc1",
            "",
        ];
        let versions = [
            "1.0",
            "1.0.0",
            "1.0rc1",
            "1.0.dev1",
            "1.0.post1",
            "1.0+cpu",
            "2.0rc1",
            "2.0",
            "1.4.5",
            "1.5",
            "1!1.0",
            "1.0.post2",
        ];
        let pairs: Vec<_> = specifiers
            .iter()
            .flat_map(|one| versions.iter().map(move |version| (*one, *version)))
            .collect();
        let Some(output) = crate::tests::python(SCRIPT, &serde_json::to_vec(&pairs).unwrap())
        else {
            return;
        };
        let theirs: Vec<bool> = serde_json::from_slice(&output).unwrap();
        for ((specifier, version), theirs) in pairs.into_iter().zip(theirs) {
            let lines = [format!("a 1: b{specifier}"), format!("b {version}")];
            let ours =
                check_consistent(&subjects(&[&lines[0], &lines[1]]), &environment(None), &[])
                    .is_ok();
            assert_eq!(ours, theirs, "{specifier} and {version}");
        }
    }

    #[test]
    fn what_a_known_host_needs_is_no_matter_of_chance() {
        let lines = [
            "redis 5: async-timeout>=4 ; python_full_version < '3.11.3'",
            "b 1: c ; python_full_version >= '3.11.4'",
        ];
        let mut environment = environment(None);
        environment.add_host("debian12", "3.11.2");
        let error = check_consistent(&subjects(&lines), &environment, &[]).unwrap_err();
        similar_asserts::assert_eq!(
            error.to_string(),
            "\
error: `async-timeout>=4` is required but not pinned
  --> r.txt:1:1
  note: redis 5 → async-timeout>=4
  note: this applies to Python 3.11.2 of debian12: python_full_version < '3.11.3'
  hint: pin `async-timeout` in `r.txt`, or run `pkgapp lock` to pin everything that is missing"
        );
        environment.hosts.clear();
        environment.add_host("ubuntu", "3.11.3");
        assert_eq!(
            check_consistent(&subjects(&lines), &environment, &[])
                .unwrap()
                .len(),
            2
        );
    }

    #[test]
    fn what_pip_compile_leaves_out_has_a_way_out() {
        let error = check_consistent(
            &subjects(&["gunicorn 19: setuptools>=3"]),
            &environment(None),
            &[],
        )
        .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("--allow-unsafe") && text.contains("allow-unmet = [\"setuptools\"]"),
            "{text}"
        );
    }

    #[test]
    fn unreadable_metadata_and_uncertain_patch_releases_warn() {
        assert_consistent(
            &[
                "a 1 python>=3,x: b (>=7.2.0<8.0.0) | ??? | c ; python_full_version < '3.11.3' | d ; python_full_version <= '3.11.0a6'",
                "b 7.5",
            ],
            &[
                "`a 1` has an invalid requirement, which is not checked: `???`",
                "`a 1` has an invalid `Requires-Python`: `>=3,x`",
                "`a 1` requires `c` if python_full_version < '3.11.3', but that is not pinned",
            ],
        );
    }
}
