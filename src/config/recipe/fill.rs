//! Filling: parameters inside of strings, and conditions of tables.

use pkgapp_core::error::{Error, Result};

use super::super::document::{DocumentItem, DocumentTable, DocumentValue, MergeOrder};
use super::super::reader::{DocumentReader, listed, nearest};
use super::RecipeContext;
use super::file::RecipeFile;
use super::parameter::ParameterValues;

/// The prefix of conditions on the requirements.
const REQUIRES: &str = "requires:";

/// A placeholder that services fill in themselves, with the number of an instance.
const INSTANCE: &str = "instance";

/// Tables whose values are texts, also where a parameter is a number.
const TEXT_TABLES: [&str; 3] = ["env", "systemd", "variables"];

/// Fills one recipe.
pub(super) struct Filling<'a, 'r> {
    values: &'a ParameterValues,
    context: &'a RecipeContext<'a>,
    reader: &'a DocumentReader<'r>,
}

/// A piece of a string.
#[derive(Debug, PartialEq, Eq)]
enum TemplatePiece {
    Text(String),
    Parameter(String),
}

impl<'a, 'r> Filling<'a, 'r> {
    /// Returns the tables of a recipe that apply, with their strings filled in.
    pub(super) fn recipe(
        recipe: &'a RecipeFile<'_>,
        values: &'a ParameterValues,
        context: &'a RecipeContext<'a>,
        reader: &'a DocumentReader<'r>,
    ) -> DocumentTable {
        let filling = Self {
            values,
            context,
            reader,
        };
        let mut filled = DocumentTable::default();
        for (key, item) in &recipe.tables {
            if let Some(item) = filling.item(item) {
                filled.insert((*key).clone(), item);
            }
        }
        for variant in filling.variants(recipe) {
            filled.overlay(variant, MergeOrder::WeakerFirst);
        }
        filled
    }

    /// Returns the variants that apply: of those with the same `of`, the first.
    fn variants(&self, recipe: &RecipeFile<'_>) -> Vec<DocumentTable> {
        let mut decided: Vec<&str> = Vec::new();
        let mut variants = Vec::new();
        for variant in &recipe.variants {
            let Some(table) = variant.as_table() else {
                self.reader
                    .complain(&variant.origin, Error::new("a variant must be a table"));
                continue;
            };
            let group = table.get("of").and_then(DocumentItem::as_str);
            // Conditions are checked even where nothing depends on them any more.
            let applies = self.applies(table);
            if group.is_some_and(|group| decided.contains(&group)) || !applies {
                self.discard(table);
                continue;
            }
            decided.extend(group);
            variants.push(self.table(table, &["when", "of"]));
        }
        variants
    }

    /// Notes the parameters of tables that do not apply: they are used, if not now.
    fn discard(&self, table: &DocumentTable) {
        for (_, item) in table.iter() {
            self.discard_item(item);
        }
    }

    fn discard_item(&self, item: &DocumentItem) {
        match &item.value {
            DocumentValue::String(text) => {
                for piece in pieces(text).unwrap_or_default() {
                    if let TemplatePiece::Parameter(name) = piece {
                        self.values.get(&name);
                    }
                }
            }
            DocumentValue::Array(items) => items.iter().for_each(|item| self.discard_item(item)),
            DocumentValue::Table(table) => {
                self.applies(table);
                self.discard(table);
            }
            DocumentValue::Integer(_)
            | DocumentValue::Float(_)
            | DocumentValue::Boolean(_)
            | DocumentValue::Datetime(_) => {}
        }
    }

    /// Fills a table, without the keys that are the recipe's own.
    fn table(&self, table: &DocumentTable, own_keys: &[&str]) -> DocumentTable {
        let mut filled = DocumentTable::default();
        for (key, item) in table.iter() {
            if own_keys.contains(&key.name.as_str()) {
                continue;
            }
            if let Some(mut item) = self.item(item) {
                if TEXT_TABLES.contains(&key.name.as_str()) {
                    turn_into_texts(&mut item);
                }
                filled.insert(key.clone(), item);
            }
        }
        filled
    }

    /// Fills a value; `None` for a table whose condition fails, and for a value that consists of an
    /// optional parameter without a value.
    fn item(&self, item: &DocumentItem) -> Option<DocumentItem> {
        match &item.value {
            DocumentValue::String(text) => self.string(item, text),
            DocumentValue::Array(items) => {
                let elements = items.iter().flat_map(|item| self.element(item)).collect();
                let mut list =
                    DocumentItem::new(DocumentValue::Array(elements), item.origin.clone());
                // The elements of a list know nothing of the parameter that it was.
                list.parameters = items.iter().filter_map(whole_parameter).collect();
                Some(list)
            }
            DocumentValue::Table(table) if self.applies(table) => {
                let table = self.table(table, &["when"]);
                Some(DocumentItem::new(
                    DocumentValue::Table(table),
                    item.origin.clone(),
                ))
            }
            DocumentValue::Table(table) => {
                self.discard(table);
                None
            }
            DocumentValue::Integer(_)
            | DocumentValue::Float(_)
            | DocumentValue::Boolean(_)
            | DocumentValue::Datetime(_) => Some(item.clone()),
        }
    }

    /// Fills an element of a list; the elements of a list that is a parameter take its place.
    fn element(&self, item: &DocumentItem) -> Vec<DocumentItem> {
        match self.item(item) {
            Some(DocumentItem {
                value: DocumentValue::Array(items),
                ..
            }) if item.as_str().is_some() => items,
            filled => filled.into_iter().collect(),
        }
    }

    fn string(&self, item: &DocumentItem, text: &str) -> Option<DocumentItem> {
        let pieces = match pieces(text) {
            Ok(pieces) => pieces,
            Err(error) => {
                self.reader.complain(&item.origin, error);
                return None;
            }
        };
        if let [TemplatePiece::Parameter(name)] = &pieces[..] {
            return self.whole(item, name);
        }
        let mut filled = item.clone();
        let mut text = String::new();
        for piece in pieces {
            match piece {
                TemplatePiece::Text(piece) => text.push_str(&piece),
                TemplatePiece::Parameter(name) => {
                    text.push_str(&self.inside(item, &name)?);
                    filled.parameters.push(name);
                }
            }
        }
        filled.value = DocumentValue::String(text);
        Some(filled)
    }

    /// Fills a string that is nothing but a parameter: it takes the parameter's type.
    fn whole(&self, item: &DocumentItem, name: &str) -> Option<DocumentItem> {
        if !self.is_known(item, name) {
            return None;
        }
        let Some(parameter) = self.values.get(name) else {
            self.check_optional(name);
            return None;
        };
        let mut filled = item.clone();
        filled.value = parameter.value.value.clone();
        filled.parameters.push(name.to_owned());
        if parameter.is_set() {
            // A mistake in it is the user's.
            filled.origin = parameter.value.origin.clone();
        }
        Some(filled)
    }

    /// Returns the text of a parameter inside of a string.
    fn inside(&self, item: &DocumentItem, name: &str) -> Option<String> {
        if !self.is_known(item, name) {
            return None;
        }
        let Some(parameter) = self.values.get(name) else {
            if self.values.is_optional(name) {
                let error = Error::new(format!(
                    "the optional parameter `{name}` has no value, and this text needs one"
                ));
                let hint = format!("add `when = \"{name}\"` to the table");
                self.reader.complain(&item.origin, error.hint(hint));
            } else {
                self.values.complain_of_missing(name, self.reader);
            }
            return None;
        };
        match &parameter.value.value {
            DocumentValue::String(text) => Some(text.clone()),
            DocumentValue::Integer(number) => Some(number.text.clone()),
            DocumentValue::Boolean(value) => Some(value.to_string()),
            other => {
                let error = Error::new(format!(
                    "`{{{name}}}` is {}, which a text cannot hold",
                    other.described()
                ));
                self.reader.complain(&item.origin, error);
                None
            }
        }
    }

    fn check_optional(&self, name: &str) {
        if !self.values.is_optional(name) {
            self.values.complain_of_missing(name, self.reader);
        }
    }

    fn is_known(&self, item: &DocumentItem, name: &str) -> bool {
        if self.values.knows(name) {
            return true;
        }
        let error = Error::new(format!("`{{{name}}}` is not a parameter of the recipe"));
        let near = nearest(name, self.values.names());
        self.reader.complain(
            &item.origin,
            match near {
                Some(near) => error.hint(format!("did you mean `{{{near}}}`?")),
                None => error.hint("declare it in `[recipe.parameters]`; `{{` is a plain brace"),
            },
        );
        false
    }

    /// Returns whether all conditions of a table hold.
    fn applies(&self, table: &DocumentTable) -> bool {
        let Some(when) = table.get("when") else {
            return true;
        };
        let names = match &when.value {
            DocumentValue::Array(names) => names.iter().collect(),
            _ => vec![when],
        };
        // Each is looked at, so that every mistake is reported.
        let holding = names.iter().filter(|name| self.holds(name)).count();
        holding == names.len()
    }

    fn holds(&self, condition: &DocumentItem) -> bool {
        let Some(name) = condition.as_str() else {
            let error = Error::new("`when` must be the name of a parameter, or a list of names");
            self.reader.complain(&condition.origin, error);
            return false;
        };
        if let Some(distribution) = name.strip_prefix(REQUIRES) {
            return self.context.requires(distribution);
        }
        if self.values.knows(name) {
            return self
                .values
                .get(name)
                .is_some_and(|parameter| parameter.value.value.is_true());
        }
        let error = Error::new(format!("`when` refers to an unknown parameter `{name}`"));
        self.reader.complain(
            &condition.origin,
            match nearest(name, self.values.names()) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!(
                    "the parameters are {}; `{REQUIRES}NAME` is true if the application requires a distribution",
                    listed(self.values.names())
                )),
            },
        );
        false
    }
}

/// Turns numbers and Booleans that are parameters into texts, in a table of texts.
fn turn_into_texts(item: &mut DocumentItem) {
    let entries = item.as_table_mut().into_iter();
    for entry in entries.flat_map(DocumentTable::items_mut) {
        let text = match &entry.value {
            DocumentValue::Integer(number) => number.text.clone(),
            DocumentValue::Boolean(value) => value.to_string(),
            _ => continue,
        };
        if !entry.parameters.is_empty() {
            entry.value = DocumentValue::String(text);
        }
    }
}

/// Returns the parameter that a string consists of.
fn whole_parameter(item: &DocumentItem) -> Option<String> {
    match &pieces(item.as_str()?).ok()?[..] {
        [TemplatePiece::Parameter(name)] => Some(name.clone()),
        _ => None,
    }
}

/// Splits a string at its parameters.
fn pieces(text: &str) -> Result<Vec<TemplatePiece>> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        plain.push_str(&rest[..at]);
        let (brace, after) = rest[at..].split_at(1);
        if let Some(after) = after.strip_prefix(brace) {
            plain.push_str(brace);
            rest = after;
            continue;
        }
        let name = after.split_once('}').filter(|_| brace == "{");
        let Some((name, after)) = name.filter(|(name, _)| is_placeholder(name)) else {
            return Err(
                Error::new(format!("the brace `{brace}` belongs to no parameter"))
                    .hint(format!("write `{brace}{brace}` for a plain brace")),
            );
        };
        if name == INSTANCE {
            plain.push_str("{instance}");
        } else {
            if !plain.is_empty() {
                pieces.push(TemplatePiece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(TemplatePiece::Parameter(name.to_owned()));
        }
        rest = after;
    }
    plain.push_str(rest);
    if !plain.is_empty() || pieces.is_empty() {
        pieces.push(TemplatePiece::Text(plain));
    }
    Ok(pieces)
}

fn is_placeholder(name: &str) -> bool {
    !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_split_at_parameters() {
        let text = |text: &str| TemplatePiece::Text(text.to_owned());
        let parameter = |name: &str| TemplatePiece::Parameter(name.to_owned());
        for (template, expected) in [
            ("", vec![text("")]),
            ("plain", vec![text("plain")]),
            ("{wsgi}", vec![parameter("wsgi")]),
            (
                "a {wsgi} {n}",
                vec![text("a "), parameter("wsgi"), text(" "), parameter("n")],
            ),
            ("{{wsgi}}", vec![text("{wsgi}")]),
            (
                "{instance}@{name}",
                vec![text("{instance}@"), parameter("name")],
            ),
        ] {
            assert_eq!(pieces(template).unwrap(), expected, "{template}");
        }
        for broken in ["{", "}", "{wsgi", "wsgi}", "{}", "{a b}", "${X:-4}", "{{{"] {
            assert!(pieces(broken).is_err(), "{broken}");
        }
    }
}
