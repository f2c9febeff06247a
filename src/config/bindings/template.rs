//! Templates of variables, such as `postgresql://{host}/{name}`.

use pkgapp_core::error::{Error, Result};

use crate::reader::{listed, nearest};

use super::RequirementType;

/// The value of a variable, with places for what a system knows of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingTemplate {
    pieces: Vec<BindingPiece>,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
enum BindingPiece {
    /// Text that stays.
    Text(String),
    /// A place.
    Value(BindingValue),
}

/// A value that a service has for those that use it. None of them is a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindingValue {
    /// `{url}`.
    Url,
    /// `{host}`: a name, an address, or a directory of sockets.
    Host,
    /// `{port}`.
    Port,
    /// `{hosts}`: `HOST:PORT` of all, separated by commas.
    Hosts,
    /// `{name}` of the database.
    Name,
    /// `{user}` of the database.
    User,
}

impl BindingValue {
    const NAMES: [(&'static str, Self); 6] = [
        ("url", Self::Url),
        ("host", Self::Host),
        ("port", Self::Port),
        ("hosts", Self::Hosts),
        ("name", Self::Name),
        ("user", Self::User),
    ];

    /// Returns the values that services of a type have, with their names.
    fn of(wanted: &RequirementType) -> Vec<(&'static str, Self)> {
        let has = |value: Self| match wanted {
            RequirementType::Postgresql => value != Self::Hosts,
            RequirementType::Redis => matches!(value, Self::Url | Self::Host | Self::Port),
            RequirementType::Provided(_) => !matches!(value, Self::Name | Self::User),
        };
        let names = Self::NAMES.into_iter();
        names.filter(|(_, value)| has(*value)).collect()
    }
}

impl BindingTemplate {
    /// Reads a template; `{{` and `}}` are braces.
    ///
    /// # Errors
    /// An unknown place, a brace without its other half, no place at all, or a NUL character, which
    /// no variable can hold.
    pub(super) fn parse(text: &str, wanted: &RequirementType) -> Result<Self> {
        if text.contains('\0') {
            let text = text.escape_debug();
            return Err(Error::new(format!("`{text}` holds a NUL character")));
        }
        let known = BindingValue::of(wanted);
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            push_text(&mut pieces, before);
            rest = match from.get(..2) {
                Some(brace @ ("{{" | "}}")) => {
                    push_text(&mut pieces, &brace[..1]);
                    &from[2..]
                }
                _ => {
                    let (value, after) = place(text, from, wanted, &known)?;
                    pieces.push(BindingPiece::Value(value));
                    after
                }
            };
        }
        push_text(&mut pieces, rest);
        if pieces
            .iter()
            .all(|piece| matches!(piece, BindingPiece::Text(_)))
        {
            let text = text.escape_debug();
            let error = Error::new(format!("`{text}` says nothing of the service"));
            let places = listed(known.iter().map(|(name, _)| *name));
            return Err(error.hint(format!("write a place in braces: {places}")));
        }
        Ok(Self { pieces })
    }

    /// Returns the text with these values in its places.
    pub fn fill(&self, mut value: impl FnMut(BindingValue) -> String) -> String {
        let pieces = self.pieces.iter().map(|piece| match piece {
            BindingPiece::Text(text) => text.clone(),
            BindingPiece::Value(place) => value(*place),
        });
        pieces.collect()
    }
}

fn push_text(pieces: &mut Vec<BindingPiece>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(BindingPiece::Text(last)) => last.push_str(text),
        _ => pieces.push(BindingPiece::Text(text.to_owned())),
    }
}

/// Reads the place at the beginning of `from`; returns what follows it, too.
fn place<'t>(
    text: &str,
    from: &'t str,
    wanted: &RequirementType,
    known: &[(&'static str, BindingValue)],
) -> Result<(BindingValue, &'t str)> {
    let inside = from.strip_prefix('{').and_then(|rest| rest.split_once('}'));
    let Some((name, after)) = inside else {
        let brace = &from[..1];
        let text = text.escape_debug();
        let error = Error::new(format!("`{brace}` in `{text}` has no other half"));
        return Err(error.hint(format!("write `{brace}{brace}` for a brace")));
    };
    if let Some((_, value)) = known.iter().find(|(known, _)| *known == name) {
        return Ok((*value, after));
    }
    let names = known.iter().map(|(name, _)| *name);
    let shown = name.escape_debug();
    let error = Error::new(format!("a `{}` has no `{{{shown}}}`", wanted.name()));
    Err(match nearest(name, names.clone()) {
        Some(near) => error.hint(format!("did you mean `{{{near}}}`?")),
        None => error.hint(format!("it has {}", listed(names))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> String {
        let template = BindingTemplate::parse(text, &RequirementType::Postgresql).unwrap();
        template.fill(|value| format!("<{value:?}>"))
    }

    #[test]
    fn places_are_filled_and_braces_stay() {
        assert_eq!(filled("{url}"), "<Url>");
        assert_eq!(
            filled("a{{b}}{host}:{port}/{name}?{{"),
            "a{b}<Host>:<Port>/<Name>?{"
        );
    }

    #[test]
    fn wrong_places_are_refused() {
        for (text, message) in [
            ("{hosts}", "a `postgresql` has no `{hosts}`"),
            ("{password}", "a `postgresql` has no `{password}`"),
            ("{url", "`{` in `{url` has no other half"),
            ("url}", "`}` in `url}` has no other half"),
            ("{url}}", "`}` in `{url}}` has no other half"),
            ("{{url}}", "`{{url}}` says nothing of the service"),
            ("", "`` says nothing of the service"),
            ("{url}\0", "`{url}\\0` holds a NUL character"),
        ] {
            let error = BindingTemplate::parse(text, &RequirementType::Postgresql).unwrap_err();
            assert_eq!(error.message(), message);
        }
    }
}
