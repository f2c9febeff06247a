//! The modules that command lines name.

/// Servers that take `MODULE:OBJECT` as an argument.
const SERVERS: [&str; 7] = [
    "gunicorn",
    "uvicorn",
    "hypercorn",
    "daphne",
    "granian",
    "waitress-serve",
    "uwsgi",
];

/// Options that add a directory to the module search path.
const ELSEWHERE: [&str; 7] = [
    "--chdir",
    "--app-dir",
    "--pythonpath",
    "--python-path",
    "--pp",
    "--working-dir",
    "--workdir",
];

/// Returns the dotted names of the modules that a program imports first, as far as its command line
/// names them: `MODULE` of `gunicorn MODULE:OBJECT` and similar servers, of `python -m MODULE`, and
/// of `celery -A MODULE`. Returns nothing if an option adds a directory to the search path.
pub fn started_modules(words: &[String]) -> Vec<&str> {
    let Some((program, arguments)) = words.split_first() else {
        return Vec::new();
    };
    let program = program.rsplit('/').next().unwrap_or(program);
    let leads_elsewhere =
        |word: &String| ELSEWHERE.contains(&word.split('=').next().unwrap_or(word));
    if arguments.iter().any(leads_elsewhere) {
        return Vec::new();
    }
    match program {
        "celery" => celery(arguments).into_iter().collect(),
        name if SERVERS.contains(&name) => {
            let is_own = |at: usize| {
                at.checked_sub(1)
                    .is_none_or(|before| !takes_next(&arguments[before]))
            };
            let words = arguments.iter().enumerate().filter(|(at, _)| is_own(*at));
            words.filter_map(|(_, word)| served(word)).collect()
        }
        name if name.strip_prefix("python").is_some_and(is_version) => {
            python(arguments).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// Returns whether the next word may be the value of an option, except for options of uwsgi whose
/// values are modules.
fn takes_next(word: &str) -> bool {
    word.starts_with('-') && !word.contains('=') && !["--module", "--wsgi", "-w"].contains(&word)
}

/// Returns whether a text is the version in `python`, `python3`, or `python3.11`.
fn is_version(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_digit() || c == '.')
}

/// Returns the module of `MODULE:OBJECT` or `MODULE:OBJECT()`; `None` for an address `HOST:PORT`.
fn served(word: &str) -> Option<&str> {
    let (module, object) = word.split_once(':')?;
    let object = object.split('(').next().unwrap_or(object);
    (is_dotted(module) && is_dotted(object)).then_some(module)
}

/// Returns the application of `celery -A MODULE` or `--app=MODULE`. Only the first name certainly
/// is a module; later ones may be attributes.
fn celery(arguments: &[String]) -> Option<&str> {
    let value = arguments
        .iter()
        .enumerate()
        .find_map(|(at, word)| match word.as_str() {
            "-A" | "--app" => arguments.get(at + 1).map(String::as_str),
            word => word.strip_prefix("--app="),
        })?;
    value
        .split(['.', ':'])
        .next()
        .filter(|first| is_dotted(first))
}

/// Returns the module of `python -m MODULE`; words after a script are the script's arguments.
fn python(arguments: &[String]) -> Option<&str> {
    let at = arguments
        .iter()
        .position(|word| word == "-m" || !word.starts_with('-'))?;
    let module = arguments.get(at + 1).filter(|_| arguments[at] == "-m")?;
    is_dotted(module).then_some(module)
}

fn is_dotted(text: &str) -> bool {
    let is_name = |part: &str| {
        let mut characters = part.chars();
        characters
            .next()
            .is_some_and(|c| c.is_alphabetic() || c == '_')
            && characters.all(|c| c.is_alphanumeric() || c == '_')
    };
    text.split('.').all(is_name)
}

#[cfg(test)]
mod tests {
    use super::started_modules;

    #[test]
    fn modules_of_command_lines() {
        let modules = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            started_modules(&words).join(" ")
        };
        for (line, expected) in [
            (
                "gunicorn -w 4 -k uvicorn.workers.UvicornWorker -b 127.0.0.1:8000 shop.wsgi:application",
                "shop.wsgi",
            ),
            ("gunicorn --bind localhost:http shop:create_app()", "shop"),
            ("uvicorn shop.main:app --host ::1 --fd 3", "shop.main"),
            ("uvicorn --app-dir src main:app", ""),
            ("gunicorn --chdir=/srv main:app", ""),
            ("gunicorn --bind unix:/run/shop.sock shop.wsgi", ""),
            ("uwsgi --master --module shop.wsgi:application", "shop.wsgi"),
            ("celery -A shop.celery worker -B", "shop"),
            ("celery --app=shop:app beat", "shop"),
            ("celery --broker redis://localhost flower", ""),
            ("python3.11 -u -m shop.worker -m other", "shop.worker"),
            ("python app/manage.py run -m x", ""),
            ("shop serve a:b", ""),
        ] {
            assert_eq!(modules(line), expected, "{line}");
        }
    }
}
