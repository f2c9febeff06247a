//! Routes by which an application reports that it works.
//!
//! A push requests the route that is found here, and rolls back a release that does not answer. So
//! a route counts only if it is certainly at that path and open to everyone: it belongs to the
//! served object itself, the root of Django's URLs, or Pyramid's configuration.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{CodeFacts, SourceModule, WebApp};

/// Usual paths of health checks, the most common ones first.
const PATHS: [&str; 8] = [
    "healthz",
    "health",
    "livez",
    "readyz",
    "ping",
    "_health",
    "heartbeat",
    "status",
];

/// Words in modules whose routes are restricted or at other paths.
const CONDITIONS: [&str; 8] = [
    "before_request",
    "dependencies=",
    "host_matching",
    "i18n_patterns",
    "route_prefix",
    "SERVER_NAME",
    "subdomain",
    "TrustedHostMiddleware",
];
/// Words in decorators that restrict access.
const GUARDS: [&str; 5] = ["login", "auth", "permission", "require", "limit"];

/// A route of a health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HealthRoute {
    /// The file, relative to the tree.
    file: PathBuf,
    /// The owner of the route.
    owner: RouteOwner,
    /// The path with its leading slash.
    path: String,
    /// The text that defines the route.
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum RouteOwner {
    /// An object of this name, and whether the module creates or imports it.
    Object(String),
    /// The URLs of a Django module.
    Urls,
    /// The configuration of a Pyramid application.
    Configurator,
}

/// The health check of an application.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FoundHealth<'c> {
    pub(crate) path: &'c str,
    /// The `Host` header that a request needs if `localhost` is refused.
    pub(crate) host: Option<&'c str>,
    pub(crate) file: &'c Path,
    pub(crate) text: &'c str,
}

/// Returns the routes of health checks in a module.
pub(super) fn routes(module: &SourceModule<'_>) -> Vec<HealthRoute> {
    if module.is_tool() || module.has_any(&CONDITIONS) {
        return Vec::new();
    }
    let lines: Vec<&str> = module.text.lines().collect();
    let found = |(index, line): (usize, &&str)| {
        let (owner, path) = route(module, line.trim())?;
        let near = &lines[index.saturating_sub(2)..lines.len().min(index + 3)];
        let is_guarded = near.iter().any(|line| {
            let line = line.trim();
            line.starts_with('@') && GUARDS.iter().any(|word| line.contains(word))
        });
        (!is_guarded).then(|| HealthRoute {
            file: module.path.to_owned(),
            owner,
            path,
            text: line.trim().to_owned(),
        })
    };
    lines.iter().enumerate().filter_map(found).collect()
}

/// Parses a line as a route of a health check.
fn route(module: &SourceModule<'_>, line: &str) -> Option<(RouteOwner, String)> {
    let (callee, arguments) = line.split_once('(')?;
    if let Some(decorator) = callee.strip_prefix('@') {
        return decorated(module, decorator, arguments);
    }
    if callee.ends_with(".add_route") {
        let (_, pattern) = arguments.split_once(',')?;
        let pattern = pattern.trim_start().trim_start_matches("pattern=");
        let path = health_path(first_text(pattern)?.trim_start_matches('/'))?;
        return Some((RouteOwner::Configurator, path));
    }
    if module.name != "urls.py" {
        return None;
    }
    let path = match callee {
        "path" => health_path(first_text(arguments)?)?,
        "re_path" | "url" => {
            let pattern = first_text(arguments)?.strip_prefix('^')?;
            let plain = pattern.strip_suffix('$')?.replace("/?", "");
            health_path(&plain)?
        }
        _ => return None,
    };
    Some((RouteOwner::Urls, path))
}

/// Parses the decorator of a function for GET requests, as in Flask and FastAPI.
fn decorated(
    module: &SourceModule<'_>,
    decorator: &str,
    arguments: &str,
) -> Option<(RouteOwner, String)> {
    let (object, method) = decorator.rsplit_once('.')?;
    if !["route", "get", "api_route"].contains(&method) {
        return None;
    }
    if arguments.contains("methods") && !arguments.contains("GET") {
        return None;
    }
    let path = first_text(arguments)?.strip_prefix('/')?;
    let path = health_path(path)?;
    let is_known = makes(module, object) || imports(module, object);
    is_known.then(|| (RouteOwner::Object(object.to_owned()), path))
}

/// Returns the path of a request if it is one of a health check.
fn health_path(text: &str) -> Option<String> {
    PATHS
        .contains(&text.trim_end_matches('/'))
        .then(|| format!("/{text}"))
}

/// Returns the text at the beginning of an argument list.
fn first_text(arguments: &str) -> Option<&str> {
    let rest = arguments.trim_start().trim_start_matches('r');
    let quote = rest.chars().next().filter(|c| ['"', '\''].contains(c))?;
    rest[1..].split_once(quote).map(|(text, _)| text)
}

/// Returns whether a module creates an application of this name.
fn makes(module: &SourceModule<'_>, object: &str) -> bool {
    let classes = ["Flask(", "FastAPI(", "Starlette(", "Quart("];
    module.text.lines().any(|line| {
        line.trim_start()
            .strip_prefix(object)
            .and_then(|rest| rest.split_once('='))
            .is_some_and(|(_, value)| classes.iter().any(|class| value.contains(class)))
    })
}

/// Returns whether a module imports an object of this name.
fn imports(module: &SourceModule<'_>, object: &str) -> bool {
    module.text.lines().any(|line| {
        line.starts_with("from ")
            && line
                .split_once(" import ")
                .is_some_and(|(_, names)| names.split(',').any(|name| name.trim() == object))
    })
}

/// Returns the names in `ALLOWED_HOSTS` if it is a literal; `None` if code computes them.
pub(super) fn allowed_hosts(value: &str) -> Option<BTreeSet<String>> {
    let inside = value.strip_prefix(['[', '('])?;
    let inside = inside.split([']', ')']).next()?;
    let names = inside.split(',').map(str::trim);
    names
        .filter(|name| !name.is_empty())
        .map(|name| first_text(name).map(str::to_owned))
        .collect()
}

impl CodeFacts {
    /// Returns the health check of the served application.
    pub(crate) fn health(&self, web: Option<&WebApp>) -> Option<FoundHealth<'_>> {
        let rank = |route: &&HealthRoute| {
            let name = route.path.trim_matches('/');
            PATHS.iter().position(|path| *path == name)
        };
        let route = self
            .health_routes
            .iter()
            .filter(|route| self.is_served(route, web))
            .min_by_key(rank)?;
        let host = match route.owner {
            RouteOwner::Urls => self.admitted_host()?,
            RouteOwner::Object(_) | RouteOwner::Configurator => None,
        };
        Some(FoundHealth {
            path: &route.path,
            host,
            file: &route.file,
            text: &route.text,
        })
    }

    /// Returns whether a route belongs to the object that a server loads.
    fn is_served(&self, route: &HealthRoute, web: Option<&WebApp>) -> bool {
        match (&route.owner, web) {
            (RouteOwner::Object(object), Some(WebApp::Object { module, name, .. })) => {
                self.file_of(module, name) == Some(&route.file) || object == name
            }
            (RouteOwner::Urls, Some(WebApp::Object { .. })) => {
                let module = self.module_of(&route.file).map(|(module, _)| module);
                module.is_some_and(|module| self.root_urls.contains(&module))
            }
            (RouteOwner::Configurator, Some(WebApp::Paste { .. } | WebApp::Object { .. })) => true,
            _ => false,
        }
    }

    /// Returns the host name that Django accepts: `None` if it accepts `localhost`. The name is
    /// unknown unless every settings module has a literal list.
    #[expect(
        clippy::option_option,
        reason = "no host that is needed and none that is known are two things"
    )]
    fn admitted_host(&self) -> Option<Option<&str>> {
        let mut lists = self.allowed_hosts.iter();
        let mut common = lists.next()?.as_ref()?.clone();
        let is_open = |names: &BTreeSet<String>| names.contains("*") || names.contains("localhost");
        let mut all_open = is_open(&common);
        for names in lists {
            let names = names.as_ref()?;
            all_open &= is_open(names);
            common.retain(|name| names.contains(name));
        }
        if all_open {
            return Some(None);
        }
        let name = common
            .iter()
            .find(|name| !name.starts_with('.') && *name != "*")?;
        let known = self.allowed_hosts.iter().flatten().flatten();
        known
            .map(String::as_str)
            .find(|known| known == name)
            .map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let path = Path::new(path);
        let name = path.file_name().unwrap().to_str().unwrap();
        let routes = routes(&SourceModule { path, name, text });
        routes.into_iter().map(|route| route.path).collect()
    }

    #[test]
    fn routes_of_the_frameworks_are_found() {
        for (path, text, expected) in [
            (
                "a.py",
                "app = Flask(__name__)\n@app.route(\"/healthz\")\ndef up(): pass\n",
                "/healthz",
            ),
            (
                "a.py",
                "def create_app():\n    app = Flask(__name__)\n    @app.get('/ping')\n",
                "/ping",
            ),
            (
                "a.py",
                "app = fastapi.FastAPI()\n@app.get(\"/health/\", tags=[\"x\"])\n",
                "/health/",
            ),
            (
                "views.py",
                "from . import app\n@app.route('/livez', methods=['GET'])\n",
                "/livez",
            ),
            (
                "shop/urls.py",
                "urlpatterns = [\n    path(\"healthz/\", up),\n]\n",
                "/healthz/",
            ),
            ("shop/urls.py", "    url(r'^health/?$', up),\n", "/health"),
            (
                "a.py",
                "    config.add_route('up', '/heartbeat')\n",
                "/heartbeat",
            ),
        ] {
            assert_eq!(found(path, text), [expected], "{text}");
        }
    }

    #[test]
    fn routes_that_answer_only_some_or_lie_elsewhere_are_not_taken() {
        for (path, text) in [
            (
                "a.py",
                "bp = Blueprint('x', __name__)\n@bp.route('/healthz')\n",
            ),
            (
                "a.py",
                "app = Flask(__name__)\n@app.route('/healthz/<name>')\n",
            ),
            ("a.py", "app = Flask(__name__)\n@app.post('/healthz')\n"),
            (
                "a.py",
                "app = Flask(__name__)\n@app.route('/ping', methods=['POST'])\n",
            ),
            (
                "a.py",
                "app = Flask(__name__)\n@app.route('/ping')\n@login_required\ndef x(): pass\n",
            ),
            (
                "a.py",
                "app = Flask(__name__)\n@app.before_request\ndef y(): pass\n@app.route('/ping')\n",
            ),
            (
                "a.py",
                "app = FastAPI(dependencies=[Depends(x)])\n@app.get('/ping')\n",
            ),
            ("shop/views.py", "path('healthz', up)\n"),
            (
                "a.py",
                "config.include(x, route_prefix='a')\nconfig.add_route('up', '/healthz')\n",
            ),
            ("a.py", "# @app.route(\n"),
        ] {
            assert_eq!(found(path, text), [""; 0], "{text}");
        }
    }

    #[test]
    fn hosts_that_are_written_out_are_read() {
        let names =
            |text: &str| allowed_hosts(text).map(|names| names.into_iter().collect::<Vec<_>>());
        assert_eq!(names("[\"*\"]").unwrap(), ["*"]);
        assert_eq!(
            names("('a.example', 'localhost',)").unwrap(),
            ["a.example", "localhost"]
        );
        assert_eq!(names("[]").unwrap(), [""; 0]);
        assert_eq!(names("[env('HOST')]"), None);
        assert_eq!(names("os.environ['HOSTS'].split(',')"), None);
    }
}
