//! The recipes that are part of pkgapp. Each version that was ever released stays available as
//! `NAME@VERSION`; `NAME` alone is the newest.

/// The first version of a recipe.
macro_rules! recipe {
    ($name:literal) => {
        (
            $name,
            1,
            include_str!(concat!("../../../templates/recipes/", $name, "@1.toml")),
        )
    };
}
/// Name, version, and text of every built-in recipe; of each name the newest version first.
pub(in super::super) const RECIPES: [(&str, u32, &str); 12] = [
    recipe!("plain"),
    recipe!("workers"),
    recipe!("web"),
    recipe!("wsgi"),
    recipe!("asgi"),
    recipe!("django"),
    recipe!("flask"),
    recipe!("fastapi"),
    recipe!("pyramid"),
    recipe!("pecan"),
    recipe!("celery"),
    recipe!("procfile"),
];

/// Finds a built-in recipe by `NAME` or `NAME@VERSION`; returns its name, version, and text.
pub(super) fn find(text: &str) -> Option<(&'static str, u32, &'static str)> {
    let (name, version) = match text.split_once('@') {
        Some((name, version)) => (name, Some(version.parse::<u32>().ok()?)),
        None => (text, None),
    };
    RECIPES.into_iter().find(|(known, known_version, _)| {
        *known == name && version.is_none_or(|version| version == *known_version)
    })
}

/// Returns how messages name the file of a built-in recipe.
pub(super) fn place(name: &str, version: u32) -> std::path::PathBuf {
    std::path::PathBuf::from(format!("<built-in>/{name}@{version}.toml"))
}

/// Returns the names of the built-in recipes.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    RECIPES.into_iter().map(|(name, _, _)| name)
}

/// Returns whether a value stands in a built-in recipe.
pub(crate) fn is_built_in(file: &std::path::Path) -> bool {
    file.starts_with("<built-in>")
}
