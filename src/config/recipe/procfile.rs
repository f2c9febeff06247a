//! Procfiles: the processes of an application, one on each line, as Heroku, Dokku, and Honcho run
//! them.
//!
//! A command runs without a shell where that makes no difference. A command that a shell must read
//! (`&&`, `${X:-4}`) runs by `sh -c`, with a warning.

use std::ops::Range;
use std::path::Path;

use pkgapp_core::error::{Error, Result, shown};
use pkgapp_core::text::shell_quoted;

use super::super::command;
use super::super::document::{
    DocumentInteger, DocumentItem, DocumentTable, DocumentValue, Origin, SourceDocument,
    SourceTexts,
};
use super::super::service::PartName;
use super::formation::Formation;

/// The file, beside the configuration.
pub(super) const FILE: &str = "Procfile";

/// Bytes of a Procfile.
const MOST_BYTES: usize = 64 * 1024;

/// The process that prepares a release instead of running all the time.
const RELEASE: &str = "release";

/// The process that serves HTTP.
const WEB: &str = "web";

/// Commands that change data, and that every start of every host would run.
const ONE_TIME: [&str; 4] = ["migrate", "upgrade head", "db upgrade", "collectstatic"];

/// The parameters of the recipe that stand for the address that systemd listens on, for the port of
/// all other servers, and for the directory of the release.
const LISTEN: &str = "{listen}";
const PORT: &str = "{port}";
const PREFIX: &str = "{prefix}";

/// The parsed processes, and warnings about them.
#[derive(Debug, Default)]
pub(super) struct ProcfileTables {
    /// `[service.NAME]` of each process, whose strings are to be filled in.
    pub(super) services: DocumentTable,
    /// `[migrate]`, for projects with plain files and for others.
    pub(super) variants: Vec<DocumentItem>,
    pub(super) warnings: Vec<Error>,
}

/// A line of a Procfile.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ProcessLine<'t> {
    name: &'t str,
    command: &'t str,
    /// The bytes of the command.
    span: Range<usize>,
}

/// A command as a unit runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ProcessCommand {
    exec: String,
    env: Vec<(String, String)>,
    /// Whether the server takes a socket over that systemd holds.
    takes_socket: bool,
    /// Whether a shell runs it.
    needs_shell: bool,
    /// Whether that shell reads `PORT`.
    reads_port: bool,
}

/// Reads the Procfile of a project.
///
/// # Errors
/// The file is missing or too large. Mistakes in its lines are kept in `sources`.
pub(super) fn read(
    document: SourceDocument,
    sources: &mut SourceTexts,
    root: &Path,
) -> Result<ProcfileTables> {
    if document.text().len() > MOST_BYTES {
        let file = shown(&document.file);
        return Err(Error::new(format!(
            "`{file}` is larger than {} KiB",
            MOST_BYTES >> 10
        )));
    }
    let text = document.text().to_owned();
    let source = sources.add(document);
    let formation = Formation::read(root, sources);
    let mut tables = ProcfileTables::default();
    let mut seen: Vec<String> = Vec::new();
    for line in lines(&text) {
        let origin = |span: &Range<usize>| Origin {
            source,
            span: span.clone(),
        };
        let line = match line {
            Ok(line) => line,
            Err((span, error)) => {
                sources.complain(&origin(&span), error);
                continue;
            }
        };
        let name = line.name.to_lowercase();
        if seen.contains(&name) {
            let error = Error::new(format!("the process `{}` is declared twice", line.name));
            sources.complain(&origin(&line.span), error.hint("keep one of the two lines"));
            continue;
        }
        if let Err(error) = PartName::parse(&name) {
            sources.complain(&origin(&line.span), error);
        }
        seen.push(name.clone());

        let command = ProcessCommand::of(&line).in_release(root);
        let at = origin(&line.span);
        if command.needs_shell {
            tables
                .warnings
                .extend(shell_warning(&line).map(|warning| warning.at(sources.location(&at))));
        }
        if name == RELEASE {
            tables.add_release(&release_commands(&line), &at);
            continue;
        }
        tables.add_numbered(&name, &command, &at, &formation);
    }
    if seen.is_empty() && sources.mistakes().is_empty() {
        let error = Error::new("the Procfile declares no process");
        return Err(error
            .at(sources.location(&Origin { source, span: 0..0 }))
            .hint("write a line such as `web: gunicorn shop.wsgi`"));
    }
    Ok(tables)
}

/// Splits the text into processes. Comments begin with `#` or `//`.
fn lines(text: &str) -> Vec<Result<ProcessLine<'_>, (Range<usize>, Error)>> {
    let mut lines = Vec::new();
    let mut offset = 0;
    for whole in text.split_inclusive('\n') {
        let start = offset;
        offset += whole.len();
        let line = whole.trim();
        if line.is_empty() || line.starts_with('#') || line.starts_with("//") {
            continue;
        }
        let begin = start + (whole.len() - whole.trim_start().len());
        let named = line.split_once(':').filter(|(name, command)| {
            (1..=63).contains(&name.len())
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
                && !command.trim().is_empty()
        });
        lines.push(match named {
            Some((name, command)) => {
                let skipped = line.len() - command.trim_start().len();
                let command = command.trim();
                Ok(ProcessLine {
                    name,
                    command,
                    span: begin + skipped..begin + skipped + command.len(),
                })
            }
            None => Err((
                begin..begin + line.len(),
                Error::new("this line of the Procfile declares no process")
                    .hint("write `NAME: COMMAND`, or remove the line"),
            )),
        });
    }
    lines
}

impl ProcessCommand {
    /// Returns the command of a service: a program of the project lies below `app/` in the release,
    /// where its plain files are.
    fn in_release(mut self, root: &Path) -> Self {
        let path = self.exec.split([' ', '\'', '"']).next().unwrap_or_default();
        let is_relative = path.contains('/') && !path.starts_with('/');
        if is_relative && root.join(path).is_file() {
            let plain = path.trim_start_matches("./");
            self.exec = format!("app/{plain}{}", &self.exec[path.len()..]);
        }
        self
    }

    /// Returns whether the process opens a port, which it cannot share with others of its kind.
    fn listens(&self, name: &str) -> bool {
        name == WEB || self.takes_socket || self.reads_port || self.exec.contains(PORT)
    }

    /// Returns the command with its variables, as it runs in a directory.
    fn in_directory(&self, directory: Option<&str>) -> String {
        let variables = self.env.iter();
        let variables: String = variables
            .map(|(name, value)| format!("{name}={} ", escaped(&shell_quoted(value))))
            .collect();
        let command = format!("{variables}{}", self.exec);
        match directory {
            Some(directory) => {
                let script = format!("cd {directory} && {command}");
                format!("/bin/sh -c {}", shell_quoted(&script))
            }
            None if variables.is_empty() => command,
            None => format!("/bin/sh -c {}", shell_quoted(&command)),
        }
    }

    fn of(line: &ProcessLine<'_>) -> Self {
        let names_port = line.command.contains("PORT");
        let (env, command) = leading_assignments(line.command);
        let command = command
            .strip_prefix("exec ")
            .unwrap_or(command)
            .trim_start();
        // A number stands for the port as long as the words are looked at.
        let with_port = |port: &str| {
            ["${PORT}", "\"$PORT\"", "$PORT"]
                .iter()
                .fold(command.to_owned(), |text, variable| {
                    text.replace(variable, port)
                })
        };
        let Ok(words) = command::split(&with_port("0")) else {
            // The shell reads the line as it is written, `PORT` included.
            return Self {
                exec: format!("/bin/sh -c {}", escaped(&shell_quoted(line.command))),
                env: Vec::new(),
                takes_socket: false,
                needs_shell: true,
                reads_port: names_port,
            };
        };
        let takes_socket = !names_port && line.name == WEB && takes_socket(&words);
        let is_uvicorn = words.first().is_some_and(|program| program == "uvicorn");
        let descriptor = if takes_socket && is_uvicorn {
            " --fd 3"
        } else {
            ""
        };
        // No port number can be confused with the mark.
        let filled = escaped(&with_port("\u{1}")).replace('\u{1}', PORT);
        Self {
            exec: format!("{filled}{descriptor}"),
            env,
            takes_socket,
            needs_shell: false,
            reads_port: false,
        }
    }
}

/// Commands of a shell, which depend on the same shell running what follows.
const SHELL_COMMANDS: [&str; 14] = [
    ".", "alias", "cd", "eval", "exec", "exit", "export", "popd", "pushd", "set", "source", "trap",
    "umask", "unset",
];

/// Returns the commands of `release`: those that `&&` joins if each runs without a shell, else the
/// line as it is.
fn release_commands(line: &ProcessLine<'_>) -> Vec<ProcessCommand> {
    // A `&&` in quotes leaves pieces whose quotes are not closed, which need a shell.
    let mut commands = Vec::new();
    for piece in line.command.split("&&") {
        let piece = ProcessLine {
            command: piece.trim(),
            ..line.clone()
        };
        let command = ProcessCommand::of(&piece);
        if command.needs_shell || is_shell_command(piece.command) {
            return vec![ProcessCommand::of(line)];
        }
        commands.push(command);
    }
    commands
}

/// Returns whether a command is the shell's own, or none at all.
fn is_shell_command(command: &str) -> bool {
    let mut words = command.split_whitespace();
    let program = words.next();
    program.is_none_or(|word| SHELL_COMMANDS.contains(&word))
}

/// Escapes the braces of a text that is to be filled in.
fn escaped(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

/// Takes `NAME=value` words from the beginning of a command, as far as they are plain.
fn leading_assignments(command: &str) -> (Vec<(String, String)>, &str) {
    let mut env = Vec::new();
    let mut rest = command.strip_prefix("env ").unwrap_or(command).trim_start();
    loop {
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        let is_plain = |value: &str| !value.contains(['"', '\'', '$', '`', '\\', ';', '&', '|']);
        match word.split_once('=') {
            Some((name, value))
                if super::super::is_variable_name(name) && is_plain(value) && !after.is_empty() =>
            {
                env.push((name.to_owned(), value.to_owned()));
                rest = after.trim_start();
            }
            _ if env.is_empty() => return (env, command),
            _ => return (env, rest),
        }
    }
}

/// Returns whether a server listens on a socket of systemd's: gunicorn and uvicorn do, unless their
/// command names an address.
fn takes_socket(words: &[String]) -> bool {
    const ADDRESS: [&str; 6] = ["-b", "--bind", "--host", "--port", "--uds", "--fd"];
    let names_address = words.iter().any(|word| {
        let option = word
            .split_once('=')
            .map_or(word.as_str(), |(option, _)| option);
        ADDRESS.contains(&option) || word.starts_with("-b") && !word.starts_with("--")
    });
    let is_config = words
        .iter()
        .any(|word| word == "-c" || word.starts_with("--config"));
    let program = words.first().map(String::as_str);
    match program {
        // Its configuration file may name an address.
        Some("gunicorn") => !names_address && !is_config,
        Some("uvicorn") => !names_address,
        _ => false,
    }
}

/// Returns the warning for a command that a shell runs.
fn shell_warning(line: &ProcessLine<'_>) -> Option<Error> {
    if line.name == RELEASE {
        return None;
    }
    let prepares = ONE_TIME
        .iter()
        .find(|command| line.command.contains(*command));
    Some(match prepares {
        Some(command) => Error::new(format!(
            "`{}` runs `{command}` at every start and on every host: move it to `release:`",
            line.name
        )),
        None => Error::new(format!(
            "a shell runs `{}`, which delays its stop signals: write a plain command if you can",
            line.name
        )),
    })
}

impl ProcfileTables {
    /// Adds a process as often as it is to run. Several of one kind would fight for its port.
    fn add_numbered(
        &mut self,
        name: &str,
        command: &ProcessCommand,
        at: &Origin,
        formation: &Formation,
    ) {
        match formation.of(name) {
            Some((0, _)) => {}
            Some((quantity, from)) if quantity > 1 && !command.listens(name) => {
                self.add(name, command, at, Some((quantity, from)));
            }
            _ => self.add(name, command, at, None),
        }
    }

    /// Adds a process, and how many of it run.
    fn add(
        &mut self,
        name: &str,
        command: &ProcessCommand,
        at: &Origin,
        quantity: Option<(u32, &Origin)>,
    ) {
        let text =
            |text: &str| DocumentItem::new(DocumentValue::String(text.to_owned()), at.clone());
        let mut table = DocumentTable::default();
        table.insert_new("exec", at, text(&command.exec));
        if command.takes_socket {
            table.insert_new("socket", at, text(LISTEN));
        }
        if let Some((quantity, from)) = quantity {
            let number = DocumentValue::Integer(DocumentInteger {
                text: quantity.to_string(),
                value: Some(quantity.into()),
            });
            table.insert_new("instances", from, DocumentItem::new(number, from.clone()));
        }
        let mut env = DocumentTable::default();
        for (name, value) in &command.env {
            env.insert_new(name, at, text(&escaped(value)));
        }
        if (name == WEB || command.reads_port) && !command.takes_socket {
            env.insert_new("PORT", at, text(PORT));
        }
        if env.keys().next().is_some() {
            table.insert_new("env", at, in_table(env, at));
        }
        self.services.insert_new(name, at, in_table(table, at));
    }

    /// Adds `release`: a migration in the directory of the plain files, if the project has any.
    fn add_release(&mut self, commands: &[ProcessCommand], at: &Origin) {
        for condition in [Some("files"), None] {
            let directory = condition.map(|_| format!("{PREFIX}/app"));
            let directory = directory.as_deref();
            let lines = commands.iter();
            let lines = lines.map(|command| command.in_directory(directory));
            let exec = text_or_list(lines.collect(), at);
            let mut migrate = DocumentTable::default();
            migrate.insert_new("exec", at, exec);

            let mut variant = DocumentTable::default();
            let text =
                |text: &str| DocumentItem::new(DocumentValue::String(text.to_owned()), at.clone());
            variant.insert_new("of", at, text(RELEASE));
            if let Some(condition) = condition {
                variant.insert_new("when", at, text(condition));
            }
            variant.insert_new("migrate", at, in_table(migrate, at));
            self.variants.push(in_table(variant, at));
        }
    }
}

/// One text, or a list of several.
fn text_or_list(texts: Vec<String>, at: &Origin) -> DocumentItem {
    let item = |text| DocumentItem::new(DocumentValue::String(text), at.clone());
    let mut items: Vec<DocumentItem> = texts.into_iter().map(item).collect();
    if items.len() == 1 {
        return items.remove(0);
    }
    DocumentItem::new(DocumentValue::Array(items), at.clone())
}

fn in_table(table: DocumentTable, at: &Origin) -> DocumentItem {
    DocumentItem::new(DocumentValue::Table(table), at.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(name: &str, text: &str) -> ProcessCommand {
        let line = ProcessLine {
            name,
            command: text,
            span: 0..0,
        };
        ProcessCommand::of(&line)
    }

    #[test]
    fn plain_commands_run_without_a_shell() {
        for (name, text, exec, env, takes_socket) in [
            ("web", "gunicorn shop.wsgi", "gunicorn shop.wsgi", "", true),
            (
                "web",
                "gunicorn shop.wsgi --log-file -",
                "gunicorn shop.wsgi --log-file -",
                "",
                true,
            ),
            (
                "web",
                "gunicorn -b 0.0.0.0:$PORT shop.wsgi",
                "gunicorn -b 0.0.0.0:{port} shop.wsgi",
                "",
                false,
            ),
            (
                "web",
                "gunicorn -c conf.py shop.wsgi",
                "gunicorn -c conf.py shop.wsgi",
                "",
                false,
            ),
            (
                "web",
                "uvicorn shop:app",
                "uvicorn shop:app --fd 3",
                "",
                true,
            ),
            (
                "web",
                "uvicorn shop:app --port ${PORT}",
                "uvicorn shop:app --port {port}",
                "",
                false,
            ),
            (
                "worker",
                "celery -A shop worker",
                "celery -A shop worker",
                "",
                false,
            ),
            (
                "web",
                "A=1 B=x python app.py",
                "python app.py",
                "A=1 B=x",
                false,
            ),
            (
                "web",
                "env A=1 python app.py",
                "python app.py",
                "A=1",
                false,
            ),
            ("web", "exec python app.py", "python app.py", "", false),
        ] {
            let found = command(name, text);
            assert_eq!(found.exec, exec);
            let found_env: Vec<String> = found
                .env
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            assert_eq!(found_env.join(" "), env, "{text}");
            assert_eq!(found.takes_socket, takes_socket, "{text}");
            assert!(!found.needs_shell, "{text}");
        }
    }

    #[test]
    fn a_release_is_a_list_where_its_commands_need_no_shell() {
        for (text, expected) in [
            ("python m.py migrate", vec!["python m.py migrate"]),
            ("a x && b 'y z' && c", vec!["a x", "b 'y z'", "c"]),
            ("A=1 a && b $PORT", vec!["/bin/sh -c 'A=1 a'", "b {port}"]),
            ("sh -c 'a && b'", vec!["sh -c 'a && b'"]),
            ("cd x && a", vec!["/bin/sh -c 'cd x && a'"]),
            ("a || b && c", vec!["/bin/sh -c 'a || b && c'"]),
            ("a && b > c", vec!["/bin/sh -c 'a && b > c'"]),
            ("a &&", vec!["/bin/sh -c 'a &&'"]),
            ("a \"&&\" && b", vec!["/bin/sh -c 'a \"&&\" && b'"]),
            ("A=1 && b", vec!["/bin/sh -c 'A=1 && b'"]),
        ] {
            let line = ProcessLine {
                name: RELEASE,
                command: text,
                span: 0..0,
            };
            let commands = release_commands(&line);
            let found: Vec<String> = commands
                .iter()
                .map(|command| command.in_directory(None))
                .collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_shell_reads_the_rest_as_it_is_written() {
        for text in [
            "python manage.py migrate && gunicorn shop.wsgi",
            "gunicorn shop.wsgi --workers ${WEB_CONCURRENCY:-4}",
            "test -f x || exit 1",
            "A='b c' python app.py $HOME",
            "python app.py > log",
        ] {
            let found = command("web", text);
            assert!(found.needs_shell, "{text}");
            assert_eq!(
                found.exec,
                format!("/bin/sh -c {}", escaped(&shell_quoted(text)))
            );
        }
    }

    #[test]
    fn lines_are_processes_comments_or_mistakes() {
        let text = "# a comment\n// another\n\nweb: gunicorn a:b\n  worker:  celery -A a worker  \n<<<<<<< HEAD\nweb : x\nbeat:\n";
        let found = lines(text);
        let names: Vec<Option<&str>> = found
            .iter()
            .map(|line| line.as_ref().ok().map(|line| line.name))
            .collect();
        assert_eq!(names, [Some("web"), Some("worker"), None, None, None]);
        let worker = found[1].as_ref().unwrap();
        assert_eq!(&text[worker.span.clone()], "celery -A a worker");
    }
}
