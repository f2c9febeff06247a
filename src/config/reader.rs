//! Readers of a document's tables and values. They keep every mistake until the whole document was
//! read.
//!
//! A reader asks a [`TableReader`] for the keys it knows, one by one; [`TableReader::finish`] complains of
//! those that nobody asked for. Readers go on after a mistake (they return `None` for the value),
//! and [`DocumentReader::mistakes`] has them all in the end, in the order of the file.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Deref, RangeInclusive};
use std::time::Duration;

use pkgapp_core::error::{Error, Location, Result};

use super::document::{
    DocumentItem, DocumentTable, DocumentValue, Origin, SourceTexts, dotted_key,
};
use super::service::TimeSpan;

/// A value and the place where a person wrote it, for what later stages find wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands; a file as a whole for a default that was found in it or beside it.
    pub at: Location,
}

impl<T> Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// A document that is being read, and the findings about its keys so far.
#[derive(Debug)]
pub(super) struct DocumentReader<'s> {
    texts: &'s SourceTexts,
    /// Warnings, such as of keys that are written with an older name.
    warnings: RefCell<Vec<Error>>,
    /// The keys that were asked for, by kind of table.
    known: RefCell<BTreeMap<&'static str, Vec<&'static str>>>,
    unknown: RefCell<Vec<UnknownKey>>,
}

/// A key that nobody asked for.
#[derive(Debug, Clone)]
struct UnknownKey {
    kind: &'static str,
    table: String,
    key: String,
    origin: Origin,
}

impl<'s> DocumentReader<'s> {
    /// Begins to read a document.
    pub(super) fn new(texts: &'s SourceTexts) -> Self {
        Self {
            texts,
            warnings: RefCell::default(),
            known: RefCell::default(),
            unknown: RefCell::default(),
        }
    }

    /// Returns the place where an origin begins.
    pub(super) fn location(&self, origin: &Origin) -> Location {
        self.texts.location(origin)
    }

    /// Keeps a mistake, with its place.
    pub(super) fn complain(&self, origin: &Origin, error: Error) {
        self.texts.complain(origin, error);
    }

    /// Keeps a mistake that has its own place.
    pub(super) fn complain_elsewhere(&self, error: Error) {
        self.texts.complain_elsewhere(error);
    }

    /// Returns all warnings.
    pub(super) fn warnings(&self) -> Vec<Error> {
        self.warnings.borrow().clone()
    }

    /// Returns the keys that were asked for, by kind of table.
    #[cfg(test)]
    pub(super) fn known_keys(&self) -> BTreeMap<&'static str, Vec<&'static str>> {
        self.known.borrow().clone()
    }

    /// Returns all mistakes, sorted by their places.
    pub(super) fn mistakes(&self) -> Vec<Error> {
        let unknown = self.unknown.borrow();
        let unknown = unknown.iter().map(|unknown| {
            self.unknown_key(unknown)
                .at(self.texts.location(&unknown.origin))
        });
        self.texts
            .sorted(self.texts.mistakes().into_iter().chain(unknown).collect())
    }

    fn unknown_key(&self, unknown: &UnknownKey) -> Error {
        let UnknownKey {
            kind, table, key, ..
        } = unknown;
        let known = self.known.borrow();
        let here = known.get(kind).map(Vec::as_slice).unwrap_or_default();
        let message = match table.as_str() {
            "" => format!("unknown key `{key}` outside of any table"),
            _ => format!("unknown key `{key}` in `[{table}]`"),
        };
        let error = Error::new(message);
        if let Some(near) = nearest(key, here.iter().copied()) {
            return error.hint(format!("did you mean `{near}`?"));
        }
        let elsewhere = known
            .iter()
            .find(|(kind, keys)| !kind.is_empty() && keys.contains(&key.as_str()));
        match elsewhere {
            Some((kind, _)) => {
                let prefix = if table.starts_with("tool.pkgapp") {
                    "tool.pkgapp."
                } else {
                    ""
                };
                error.hint(format!("`{key}` belongs in `[{prefix}{kind}]`"))
            }
            None => error.hint(format!(
                "the keys there are {}",
                listed(here.iter().copied())
            )),
        }
    }
}

/// Returns the nearest of `candidates` if it is near enough to be what was meant.
pub fn nearest<'c>(text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let plain = |text: &str| text.to_lowercase().replace('_', "-");
    let text = plain(text);
    let allowed = (text.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&text, &plain(candidate)),
                candidate,
            )
        })
        .filter(|(distance, candidate)| {
            *distance <= allowed && *distance < candidate.chars().count()
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Returns names as a message lists them.
pub(super) fn listed<'c>(names: impl IntoIterator<Item = &'c str>) -> String {
    let mut names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    let last = names.pop().unwrap_or_default();
    if names.is_empty() {
        last
    } else {
        format!("{} and {last}", names.join(", "))
    }
}

/// A table that is being read.
#[derive(Debug)]
pub(super) struct TableReader<'s> {
    source: &'s DocumentReader<'s>,
    /// As in its header, e.g. `service.web`; empty for the file's root.
    path: String,
    /// The kind of table, for suggestions, e.g. `service.NAME`.
    kind: &'static str,
    entries: Option<&'s DocumentTable>,
    /// The place of its header; `None` for an absent table and the root.
    origin: Option<&'s Origin>,
    asked: RefCell<Vec<&'static str>>,
    /// Older names of keys, which no message suggests.
    older_names: RefCell<Vec<&'static str>>,
    missing: RefCell<Vec<(&'static str, Error)>>,
    /// It is absent, but something with nearly its name is there.
    is_mistyped: bool,
}

impl<'s> TableReader<'s> {
    /// The root of a file.
    pub(super) fn root(source: &'s DocumentReader<'s>, entries: &'s DocumentTable) -> Self {
        Self {
            source,
            path: String::new(),
            kind: "",
            entries: Some(entries),
            origin: None,
            asked: RefCell::default(),
            older_names: RefCell::default(),
            missing: RefCell::default(),
            is_mistyped: false,
        }
    }

    /// The same table under another name for its kind.
    pub(super) fn of_kind(self, kind: &'static str) -> Self {
        Self { kind, ..self }
    }

    /// Returns the value of a key, which thereby is a known one.
    pub(super) fn get(&self, key: &'static str) -> Option<ValueReader<'s>> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        let item = self.entries?.get(key)?;
        Some(self.value(key, item))
    }

    /// Returns the value of a key that was once called `older`; that name still works, with a
    /// warning.
    pub(super) fn get_renamed(
        &self,
        key: &'static str,
        older: &'static str,
    ) -> Option<ValueReader<'s>> {
        let value = self.get(key);
        let old_value = self.get_older(key, older, value.is_some());
        value.or(old_value)
    }

    /// Returns a time: `key` is written as `"90s"` or `"1h 30min"`, and `older`, which still works
    /// with a warning, as a number of seconds.
    pub(super) fn duration(
        &self,
        key: &'static str,
        older: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let value = self.get(key);
        if let Some(old_value) = self.get_older(key, older, value.is_some()) {
            let number = old_value.integer(seconds(*range.start())..=seconds(*range.end()))?;
            return u64::try_from(number).ok().map(Duration::from_secs);
        }
        let Some(value) = value else {
            return Some(default);
        };
        value.time_span(range)
    }

    /// Returns the value of a key's older name, and notes the warning; a key that has both names
    /// is a mistake.
    fn get_older(
        &self,
        key: &'static str,
        older: &'static str,
        has_key: bool,
    ) -> Option<ValueReader<'s>> {
        self.older_names.borrow_mut().push(older);
        let value = self.value(older, self.entries?.get(older)?);
        if has_key {
            let error = Error::new(format!("`{}` has both `{key}` and `{older}`", self.path));
            value.complain(error.hint(format!("remove `{older}`, the older name")));
        }
        let warning = Error::new(format!("`{older}` is deprecated: use `{key}`")).at(value.at());
        self.source.warnings.borrow_mut().push(warning);
        Some(value)
    }

    /// Returns the value of a key that must be there; `example` is the line that the hint asks for.
    pub(super) fn require(&self, key: &'static str, example: &str) -> Option<ValueReader<'s>> {
        let value = self.get(key);
        if value.is_none() {
            let error = Error::new(format!("`[{}]` lacks `{key}`", self.path));
            self.complain_of_missing(key, error.hint(format!("add `{example}`")));
        }
        value
    }

    /// Returns what `parse` makes of a list of strings; an absent list is an empty one.
    pub(super) fn each<T>(
        &self,
        key: &'static str,
        parse: impl FnMut(&'s str) -> Result<T>,
    ) -> Vec<Located<T>> {
        self.collection(key, |value| value.each(parse))
    }

    /// Returns what `read` makes of a value that holds several; an absent one holds none.
    pub(super) fn collection<T: Default>(
        &self,
        key: &'static str,
        read: impl FnOnce(&ValueReader<'s>) -> T,
    ) -> T {
        self.get(key).map_or_else(T::default, |value| read(&value))
    }

    /// Returns a table below this one; an empty one if it is absent or no table (which is
    /// complained of).
    pub(super) fn table(&self, key: &'static str) -> Self {
        let there = self.get(key).and_then(|value| value.table(key));
        there.unwrap_or_else(|| Self {
            source: self.source,
            path: self.below(key),
            kind: key,
            entries: None,
            origin: None,
            asked: RefCell::default(),
            older_names: RefCell::default(),
            missing: RefCell::default(),
            is_mistyped: self.entries.is_some_and(|entries| {
                entries
                    .keys()
                    .any(|there| nearest(&there.name, [key]).is_some())
            }),
        })
    }

    /// Returns the tables below `key`, e.g. all `[service.NAME]`, with the keys that name them.
    pub(super) fn tables(
        &self,
        key: &'static str,
        kind: &'static str,
    ) -> Vec<(Located<String>, Self)> {
        let Some(group) = self.get(key).and_then(|value| value.table(kind)) else {
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (name, value) in group.entries() {
            match &value.item.value {
                DocumentValue::Table(_) => {
                    tables.extend(value.table(kind).map(|table| (name, table)));
                }
                _ => value.complain(
                    Error::new(format!(
                        "`{}` must be a table, not {}",
                        value.label,
                        value.found()
                    ))
                    .hint(format!("write it below a header `[{kind}]`")),
                ),
            }
        }
        tables
    }

    /// Returns all entries of a table whose keys are not fixed.
    pub(super) fn entries(&self) -> Vec<(Located<String>, ValueReader<'s>)> {
        let Some(entries) = self.entries else {
            return Vec::new();
        };
        let entries = entries.iter().map(|(key, item)| {
            let name = Located {
                value: key.name.clone(),
                at: self.source.texts.location(&key.origin),
            };
            (name, self.value(&key.name, item))
        });
        entries.collect()
    }

    /// Complains of every key that nobody asked for.
    pub(super) fn finish(self) {
        let asked = self.asked.take();
        let older_names = self.older_names.take();
        let keys = self.entries.into_iter().flat_map(DocumentTable::keys);
        let unknown: Vec<_> = keys
            .filter(|key| !asked.contains(&key.name.as_str()))
            .filter(|key| !older_names.contains(&key.name.as_str()))
            .collect();
        for (key, error) in self.missing.take() {
            // A key with a slip in it is one mistake, not two.
            if !self.is_mistyped
                && !unknown
                    .iter()
                    .any(|unknown| nearest(&unknown.name, [key]).is_some())
            {
                self.complain(error);
            }
        }
        for key in unknown {
            self.source.unknown.borrow_mut().push(UnknownKey {
                kind: self.kind,
                table: self.path.clone(),
                key: key.name.clone(),
                origin: key.origin.clone(),
            });
        }
        self.source
            .known
            .borrow_mut()
            .entry(self.kind)
            .or_insert(asked);
    }

    /// Returns whether it is in the file at all.
    pub(super) fn is_there(&self) -> bool {
        self.entries.is_some()
    }

    /// Returns its name as in its header, e.g. `service.web`.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Returns the place of its header; the whole file for a table that is absent and for the root.
    pub(super) fn at(&self) -> Location {
        match self.origin {
            Some(origin) => self.source.texts.location(origin),
            None => Location::file(self.source.texts.first_file()),
        }
    }

    /// Keeps the mistake that a key is missing, unless it turns out to be there with a slip in its
    /// name.
    pub(super) fn complain_of_missing(&self, key: &'static str, error: Error) {
        self.missing.borrow_mut().push((key, error));
    }

    /// Keeps a mistake about the table as a whole.
    pub(super) fn complain(&self, error: Error) {
        let at = self.at();
        self.source.texts.complain_elsewhere(error.at(at));
    }

    /// Keeps a warning about the table as a whole, if it applies.
    pub(super) fn warn_if(&self, applies: bool, warning: impl FnOnce() -> Error) {
        if applies {
            let warning = warning().at(self.at());
            self.source.warnings.borrow_mut().push(warning);
        }
    }

    /// Returns what follows from the name of the table; a failure becomes a mistake of the table.
    pub(super) fn checked<T>(&self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.complain(error)).ok()
    }

    /// Returns a default; a mistake in it, which has its own place, is kept.
    pub(super) fn accept<T: Clone>(&self, default: &Option<Result<T>>) -> Option<T> {
        match default.as_ref()? {
            Ok(value) => Some(value.clone()),
            Err(error) => {
                self.complain_elsewhere(error.clone());
                None
            }
        }
    }

    /// Keeps a mistake that has its own place.
    pub(super) fn complain_elsewhere(&self, error: Error) {
        self.source.texts.complain_elsewhere(error);
    }

    fn value(&self, key: &str, item: &'s DocumentItem) -> ValueReader<'s> {
        ValueReader {
            source: self.source,
            label: self.below(key),
            key: Some(key.to_owned()),
            item,
        }
    }

    fn below(&self, key: &str) -> String {
        dotted_key(&self.path, key)
    }
}

/// A value that is being read.
#[derive(Debug, Clone)]
pub(super) struct ValueReader<'s> {
    source: &'s DocumentReader<'s>,
    /// What a message calls it, e.g. `app.name`.
    label: String,
    /// Its key, for hints that show the whole line; `None` for an element of a list.
    key: Option<String>,
    item: &'s DocumentItem,
}

impl<'s> ValueReader<'s> {
    /// Returns what a message calls it, e.g. `app.name`.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Returns the value itself.
    pub(super) fn item(&self) -> &'s DocumentItem {
        self.item
    }

    /// Returns its place in the document.
    pub(super) fn origin(&self) -> &'s Origin {
        &self.item.origin
    }

    /// Returns its place.
    pub(super) fn at(&self) -> Location {
        self.source.texts.location(&self.item.origin)
    }

    /// Keeps a mistake about it.
    pub(super) fn complain(&self, error: Error) {
        self.source.texts.complain(&self.item.origin, error);
    }

    /// Keeps a mistake that has its own place.
    pub(super) fn complain_elsewhere(&self, error: Error) {
        self.source.texts.complain_elsewhere(error);
    }

    /// Keeps a mistake about the byte `offset` of the string that it is; at its beginning if
    /// escapes hide the place.
    pub(super) fn complain_inside(&self, offset: usize, error: Error) {
        let mut origin = self.item.origin.clone();
        let raw = self.source.texts.raw(&origin);
        let text = self.item.as_str().unwrap_or_default();
        if raw.len() == text.len() + 2 && raw.get(1..raw.len() - 1) == Some(text) {
            origin.span.start += 1 + offset;
        }
        self.source.texts.complain(&origin, error);
    }

    /// Returns the text of a string.
    pub(super) fn text(&self) -> Option<&'s str> {
        let text = self.item.as_str();
        if text.is_none() {
            self.wrong_type("a string");
        }
        text
    }

    /// Returns what `parse` makes of a string; its failure becomes a mistake with the value's
    /// place.
    pub(super) fn parsed<T>(&self, parse: impl FnOnce(&'s str) -> Result<T>) -> Option<T> {
        match parse(self.text()?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.complain(error);
                None
            }
        }
    }

    /// Returns what `parse` makes of a string, or its failure with the value's place.
    pub(super) fn judged<T>(&self, parse: impl FnOnce(&'s str) -> Result<T>) -> Option<Result<T>> {
        Some(parse(self.text()?).map_err(|error| error.at(self.at())))
    }

    /// Returns a time span of a range.
    pub(super) fn time_span(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let duration = self.parsed(TimeSpan::parse)?.duration;
        if range.contains(&duration) {
            return Some(duration);
        }
        let (from, to) = (seconds(*range.start()), seconds(*range.end()));
        self.complain(Error::new(format!(
            "`{}` must be between `{from}s` and `{to}s`",
            self.label()
        )));
        None
    }

    /// As [`ValueReader::parsed`], with the place.
    pub(super) fn placed<T>(&self, parse: impl FnOnce(&'s str) -> Result<T>) -> Option<Located<T>> {
        self.parsed(parse).map(|value| Located {
            value,
            at: self.at(),
        })
    }

    /// Returns a text on one line, not empty.
    pub(super) fn line(&self) -> Option<String> {
        self.parsed(|text| one_line(&self.label, text).map(str::to_owned))
    }

    /// Returns a Boolean.
    pub(super) fn boolean(&self) -> Option<bool> {
        let value = match self.item.value {
            DocumentValue::Boolean(value) => Some(value),
            _ => None,
        };
        if value.is_none() {
            self.wrong_type("`true` or `false`");
        }
        value
    }

    /// Returns an integer of a range.
    pub(super) fn integer(&self, range: RangeInclusive<i64>) -> Option<i64> {
        let DocumentValue::Integer(number) = &self.item.value else {
            self.wrong_type("an integer");
            return None;
        };
        let value = number.value.filter(|value| range.contains(value));
        if value.is_none() {
            let (from, to) = (range.start(), range.end());
            let limits = if *to == i64::MAX {
                format!("{from} or more")
            } else {
                format!("between {from} and {to}")
            };
            self.complain(Error::new(format!(
                "`{}` must be {limits}, not {}",
                self.label, number.text
            )));
        }
        value
    }

    /// Returns which of the words it is.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&'static str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = choices.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let words = choices.iter().map(|(word, _)| *word);
            let error = Error::new(format!(
                "`{text}` is not a valid value for `{}`",
                self.label
            ));
            self.complain(match nearest(text, words.clone()) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("the known ones are {}", listed(words))),
            });
        }
        found.map(|(_, value)| *value)
    }

    /// Returns the elements of a list.
    pub(super) fn list(&self) -> Vec<Self> {
        let DocumentValue::Array(array) = &self.item.value else {
            self.wrong_type("a list");
            return Vec::new();
        };
        let label = |index| format!("{}[{index}]", self.label);
        let element = |(index, item)| Self {
            source: self.source,
            label: label(index),
            key: None,
            item,
        };
        array.iter().enumerate().map(element).collect()
    }

    /// Returns what `parse` makes of a list of strings.
    pub(super) fn each<T>(&self, mut parse: impl FnMut(&'s str) -> Result<T>) -> Vec<Located<T>> {
        self.list()
            .iter()
            .filter_map(|element| element.placed(&mut parse))
            .collect()
    }

    /// Returns the table that it is; `kind` stands for all tables of its kind in suggestions.
    pub(super) fn table(&self, kind: &'static str) -> Option<TableReader<'s>> {
        let Some(entries) = self.item.as_table() else {
            self.wrong_type("a table");
            return None;
        };
        let path = self.label.clone();
        Some(TableReader {
            source: self.source,
            path,
            kind,
            entries: Some(entries),
            origin: Some(&self.item.origin),
            asked: RefCell::default(),
            older_names: RefCell::default(),
            missing: RefCell::default(),
            is_mistyped: false,
        })
    }

    /// Returns whether it is `false`.
    pub(super) fn is_false(&self) -> bool {
        self.item.value == DocumentValue::Boolean(false)
    }

    /// Returns whether it is a table.
    pub(super) fn is_table(&self) -> bool {
        self.item.as_table().is_some()
    }

    /// Returns the number that it is, for what is either a number or something else.
    pub(super) fn as_integer(&self) -> Option<i64> {
        match &self.item.value {
            DocumentValue::Integer(number) => number.value,
            _ => None,
        }
    }

    /// Returns whether it is a list.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.item.value, DocumentValue::Array(_))
    }

    /// Returns whether it is a string.
    pub(super) fn is_string(&self) -> bool {
        self.item.as_str().is_some()
    }

    /// Complains that it should have been something else.
    pub(super) fn wrong_type(&self, expected: &str) {
        let error = Error::new(format!(
            "`{}` must be {expected}, not {}",
            self.label,
            self.found()
        ));
        self.complain(match self.corrected(expected) {
            Some(text) => error.hint(format!("write `{text}`")),
            None => error,
        });
    }

    /// Returns what it is, in words.
    pub(super) fn found(&self) -> &'static str {
        self.item.value.described()
    }

    /// Returns the line as it was probably meant.
    fn corrected(&self, expected: &str) -> Option<String> {
        let raw = self.source.texts.raw(&self.item.origin);
        let value = match (expected, &self.item.value) {
            _ if raw.is_empty() || raw.contains('\n') || raw.chars().count() > 60 => return None,
            (_, DocumentValue::Array(_) | DocumentValue::Table(_)) => return None,
            ("a string", _) => format!("\"{raw}\""),
            ("a list", _) => format!("[{raw}]"),
            ("`true` or `false`", DocumentValue::String(text))
                if matches!(text.as_str(), "true" | "false") =>
            {
                text.to_string()
            }
            ("an integer", DocumentValue::String(text)) if text.parse::<i64>().is_ok() => {
                text.to_string()
            }
            _ => return None,
        };
        Some(match &self.key {
            Some(key) => format!("{key} = {value}"),
            None => value,
        })
    }
}

/// Returns `text` if it is one line and not empty.
pub(super) fn one_line<'t>(label: &str, text: &'t str) -> Result<&'t str> {
    if text.trim().is_empty() {
        return Err(Error::new(format!("`{label}` is empty"))
            .hint("remove the key if there is nothing to say"));
    }
    match text.chars().find(|c| c.is_control()) {
        Some(bad) => Err(Error::new(format!(
            "`{label}` must be one line, and it holds {bad:?}"
        ))),
        None => Ok(text),
    }
}

/// Returns whole seconds for messages and for older keys, which count them.
fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
