//! Removes the build machine's paths from an interpreter's files.

use pkgapp_wheels::elf::binary::NOWHERE;
use pkgapp_wheels::elf::binary::{ElfBinary, nowhere};

/// Prefixes that reveal nothing about a machine.
const COMMON: &[&str] = &["/usr", "/usr/local"];

/// The prefix of python-build-standalone's builds.
const STANDALONE: &str = "/install";

/// A placeholder for the prefix in the variables of `sysconfig` until they are read.
const PLACEHOLDER: &str = "@PREFIX@";

/// Python code that computes the variables of `sysconfig` when they are read.
const COMPUTED: &str = r#"
# Added by pkgapp: where this Python lies is known when it runs.
import sys

build_time_vars = {
    name: value.replace("@PREFIX@", sys.base_prefix) if isinstance(value, str) else value
    for name, value in build_time_vars.items()
}
"#;

/// Directories of the machine that compiled the interpreter.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct BuildOrigin {
    /// The configured prefix: `--prefix`.
    prefix: Option<String>,
    /// The directories of the sources.
    sources: Vec<String>,
}

impl BuildOrigin {
    /// Reads the directories from the text of a `_sysconfigdata_….py`: CPython writes a Python
    /// dictionary, python-build-standalone and uv write JSON.
    pub(super) fn read(text: &str) -> Self {
        let quoted = |name: &str, quote: char| {
            let start = format!("{quote}{name}{quote}: {quote}");
            let rest = &text[text.find(&start)? + start.len()..];
            Some(&rest[..rest.find(quote)?])
        };
        let value = |name: &str| {
            let value = quoted(name, '\'').or_else(|| quoted(name, '"'))?;
            // `..` and `.` name no directory, and every path begins with `/`.
            (value.starts_with('/') && value.len() > 1)
                .then(|| value.trim_end_matches('/').to_owned())
        };
        let prefix = value("prefix").filter(|prefix| !COMMON.contains(&prefix.as_str()));
        let mut sources: Vec<String> = ["abs_builddir", "abs_srcdir", "srcdir", "projectbase"]
            .into_iter()
            .filter_map(value)
            .collect();
        sources
            .retain(|source| Some(source) != prefix.as_ref() && !COMMON.contains(&source.as_str()));
        // The longest first, because one may be inside another.
        sources.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        sources.dedup();
        Self { prefix, sources }
    }

    /// Returns the directories that reveal something about a machine. The prefix of
    /// python-build-standalone is the same in every archive, so it can stay in compiled code.
    pub(super) fn directories(&self) -> impl Iterator<Item = &str> {
        let prefix = self.prefix.iter().filter(|prefix| *prefix != STANDALONE);
        prefix.chain(&self.sources).map(String::as_str)
    }

    /// Returns the text of a `_sysconfigdata_….py` with paths that are computed when it is read.
    pub(super) fn relocated(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for source in &self.sources {
            text = replace_path(&text, source, NOWHERE);
        }
        let Some(prefix) = &self.prefix else {
            return text;
        };
        text = replace_path(&text, prefix, PLACEHOLDER);
        if text.contains(PLACEHOLDER) {
            text + COMPUTED
        } else {
            text
        }
    }

    /// Removes the directories from compiled code, where Python would look if it did not find
    /// itself.
    ///
    /// Linkers let texts share their ends, so the end of a path may be a text of its own: the last
    /// component of the prefix (Python's version with pyenv) stays.
    pub(super) fn take_out_of(&self, binary: &mut ElfBinary) {
        for path in self
            .sources
            .iter()
            .chain(self.prefix.iter().filter(|prefix| *prefix != STANDALONE))
        {
            _ = binary.replace(path.as_bytes(), nowhere(path).as_bytes());
        }
    }
}

/// Replaces a path where it is a whole path or followed by `/`. A path with one component could
/// also be the end of another path, so its beginning counts, too.
fn replace_path(text: &str, path: &str, by: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(place) = rest.find(path) {
        let (before, after) = (&rest[..place], &rest[place + path.len()..]);
        let continues =
            after.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
        let inside = path.rfind('/') == Some(0)
            && before
                .ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'));
        // `-L/opt/python/lib` is an option with a path.
        let is_option = ["-I", "-L"].iter().any(|option| before.ends_with(option));
        out.push_str(before);
        out.push_str(if continues || (inside && !is_option) {
            path
        } else {
            by
        });
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "build_time_vars = {'CONFIG_ARGS': \"'--prefix=/home/ci/.pyenv/versions/3.12.1' \"\n                '-L/home/ci/.pyenv/versions/3.12.1/lib',\n 'abs_srcdir': '/tmp/python-build.1/Python-3.12.1',\n 'srcdir': '.',\n 'abs_builddir': '/tmp/python-build.1/Python-3.12.1',\n 'LIBDIR': '/home/ci/.pyenv/versions/3.12.1/lib',\n 'OTHER': '/home/ci/.pyenv/versions/3.12.10',\n 'prefix': '/home/ci/.pyenv/versions/3.12.1'}\n";

    #[test]
    fn the_variables_of_sysconfig_are_computed_where_python_lies() {
        let origin = BuildOrigin::read(TEXT);
        assert_eq!(
            origin.prefix.as_deref(),
            Some("/home/ci/.pyenv/versions/3.12.1")
        );
        assert_eq!(origin.sources, ["/tmp/python-build.1/Python-3.12.1"]);
        let text = origin.relocated(TEXT);
        assert!(!text.contains("/tmp/python-build"), "{text}");
        assert!(
            text.contains("-L@PREFIX@/lib") && text.contains("--prefix=@PREFIX@'"),
            "{text}"
        );
        assert!(
            text.contains("'OTHER': '/home/ci/.pyenv/versions/3.12.10'"),
            "{text}"
        );
        let Some(python) = pkgapp_testing::tool("python3") else {
            return;
        };
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("data.py"), text).unwrap();
        let ask = "import sys; sys.path.insert(0, sys.argv[1]); import data; print(data.build_time_vars['LIBDIR'] == \
                   sys.base_prefix + '/lib', data.build_time_vars['srcdir'])";
        let mut command = std::process::Command::new(python);
        assert_eq!(
            pkgapp_testing::run(command.args(["-c", ask]).arg(directory.path())),
            "True .\n"
        );
    }

    /// As python-build-standalone and uv write it: `json.dumps(…, indent=4, sort_keys=True)` of
    /// such a dictionary.
    const JSON: &str = "build_time_vars = {\n    \"LIBDIR\": \"/install/lib\",\n    \"abs_srcdir\": \
                        \"/build/Python-3.13.1\",\n    \"prefix\": \"/install\",\n    \"srcdir\": \".\"\n}";

    #[test]
    fn the_variables_may_be_written_as_json() {
        let origin = BuildOrigin::read(JSON);
        assert_eq!(origin.prefix.as_deref(), Some("/install"));
        // `/install` occurs in every archive of python-build-standalone, so it reveals no machine.
        assert_eq!(
            origin.directories().collect::<Vec<_>>(),
            ["/build/Python-3.13.1"]
        );
        let text = origin.relocated(JSON);
        assert!(
            text.contains("\"LIBDIR\": \"@PREFIX@/lib\"")
                && text.contains("\"prefix\": \"@PREFIX@\""),
            "{text}"
        );
        assert!(
            text.contains("\"abs_srcdir\": \"/nonexistent\"") && text.ends_with(COMPUTED),
            "{text}"
        );
    }

    #[test]
    fn what_names_no_machine_stays() {
        for prefix in ["/usr", "/usr/local"] {
            let text =
                format!("build_time_vars = {{'LIBDIR': '{prefix}/lib',\n 'prefix': '{prefix}'}}\n");
            assert_eq!(BuildOrigin::read(&text).relocated(&text), text);
        }
    }

    #[test]
    fn a_path_is_replaced_by_one_of_its_length() {
        for (path, expected) in [
            (
                "/home/ci/.pyenv/versions/3.12.1",
                "/nonexistent/////////////3.12.1",
            ),
            ("/opt/py3.12.1", "/non/py3.12.1"),
            ("/build", "/build"),
        ] {
            assert_eq!(
                (nowhere(path).as_str(), path.len()),
                (expected, expected.len())
            );
        }
    }
}
