//! TOML with places: every value knows where it stands, and every mistake is kept until the whole
//! file was read.
//!
//! A reader asks a [`TableReader`] for the keys it knows, one by one; [`TableReader::finish`] complains of
//! those that nobody asked for. Readers go on after a mistake (they return `None` for the value),
//! and [`SourceText::mistakes`] has them all in the end, in the order of the file.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Deref, Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use pkgapp_core::error::{Error, Location, Result, shown};

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

/// A text file that was read.
#[derive(Debug)]
pub(super) struct SourceDocument {
    pub(super) file: PathBuf,
    text: String,
}

impl SourceDocument {
    /// Reads a file.
    ///
    /// # Errors
    /// It is missing or unreadable, or not UTF-8 (with the place of the first byte that is not).
    pub(super) fn read(file: &Path) -> Result<Self> {
        match String::from_utf8(pkgapp_core::fs::read(file)?) {
            Ok(text) => Ok(Self {
                file: file.to_owned(),
                text,
            }),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let before = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
                Err(Error::new(format!("`{}` is not UTF-8", shown(file)))
                    .at(Location::at_offset(file, &before, valid))
                    .hint("TOML is UTF-8: save the file in this encoding"))
            }
        }
    }

    /// Returns whether it has this key; `false` where it is broken, which [`SourceDocument::parse`]
    /// tells.
    pub(super) fn has(&self, path: &[&str]) -> bool {
        let (table, _) = DeTable::parse_recoverable(&self.text);
        at_path(&table, path).is_some()
    }

    /// Returns the string at a key, if there is one.
    pub(super) fn string(&self, path: &[&str]) -> Option<String> {
        let (table, _) = DeTable::parse_recoverable(&self.text);
        at_path(&table, path)?.as_str().map(str::to_owned)
    }

    /// Takes it apart.
    ///
    /// # Errors
    /// Everything that is no TOML, at once. A key that is given twice is kept as a mistake of the
    /// source, so that what else is wrong in the file is told along with it.
    pub(super) fn parse(&self) -> Result<(DeTable<'_>, SourceText<'_>)> {
        let source = SourceText {
            file: &self.file,
            text: &self.text,
            mistakes: RefCell::default(),
            deprecations: RefCell::default(),
            known: RefCell::default(),
            unknown: RefCell::default(),
        };
        let (table, errors) = DeTable::parse_recoverable(&self.text);
        let mut broken = false;
        for error in errors {
            let span = error.span().unwrap_or_default();
            if error.message() == "duplicate key" {
                let key = source.raw(&span);
                source.complain(
                    &span,
                    Error::new(format!("`{key}` is given twice")).hint("keep one of the two"),
                );
            } else {
                broken = true;
                source.complain(&span, not_toml(error.message(), source.raw(&span)));
            }
        }
        match Error::all(source.mistakes()) {
            Some(error) if broken => Err(error),
            _ => Ok((table.into_inner(), source)),
        }
    }
}

/// Returns what is said of `raw`, which the parser complains of with `message`.
fn not_toml(message: &str, raw: &str) -> Error {
    match (message, raw.trim()) {
        ("string values must be quoted, expected literal string", "") => {
            Error::new("this is not TOML: a value is missing")
        }
        ("string values must be quoted, expected literal string", text) => {
            Error::new("this is not TOML: a string has no quotes").hint(format!("write `{text:?}`"))
        }
        _ => Error::new(format!("this is not TOML: {message}")),
    }
}

fn at_path<'t>(table: &'t Spanned<DeTable<'t>>, path: &[&str]) -> Option<&'t DeValue<'t>> {
    let (first, rest) = path.split_first()?;
    let first = table.get_ref().get(*first)?.get_ref();
    rest.iter()
        .try_fold(first, |value, key| Some(value.get(*key)?.get_ref()))
}

/// A file that is being read, and what was found wrong with it so far.
#[derive(Debug)]
pub(super) struct SourceText<'s> {
    file: &'s Path,
    text: &'s str,
    mistakes: RefCell<Vec<Error>>,
    /// Keys that are written with an older name.
    deprecations: RefCell<Vec<Error>>,
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
    span: Range<usize>,
}

impl SourceText<'_> {
    pub(super) fn location(&self, offset: usize) -> Location {
        Location::at_offset(self.file, self.text, offset)
    }

    /// Keeps a mistake, with its place.
    pub(super) fn complain(&self, span: &Range<usize>, error: Error) {
        self.mistakes
            .borrow_mut()
            .push(error.at(self.location(span.start)));
    }

    /// Returns a warning for every key that is written with an older name.
    pub(super) fn deprecations(&self) -> Vec<Error> {
        self.deprecations.borrow().clone()
    }

    /// Returns all mistakes: those of other files and of this one as a whole, then the rest in its
    /// order.
    pub(super) fn mistakes(&self) -> Vec<Error> {
        let mut mistakes = self.mistakes.borrow().clone();
        mistakes.extend(self.unknown.borrow().iter().map(|unknown| {
            self.unknown_key(unknown)
                .at(self.location(unknown.span.start))
        }));
        let position = |error: &Error| error.location().filter(|at| at.file == self.file)?.position;
        mistakes.sort_by_key(position);
        mistakes
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
                error.hint(format!("`{key}` belongs into `[{prefix}{kind}]`"))
            }
            None => error.hint(format!(
                "the keys there are {}",
                listed(here.iter().copied())
            )),
        }
    }

    fn raw(&self, span: &Range<usize>) -> &str {
        self.text.get(span.clone()).unwrap_or_default()
    }
}

/// Returns the nearest of `candidates` if it is near enough to be what was meant.
pub(super) fn nearest<'c>(
    text: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
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
    source: &'s SourceText<'s>,
    /// As in its header, e.g. `service.web`; empty for the file's root.
    path: String,
    /// The kind of table, for suggestions, e.g. `service.NAME`.
    kind: &'static str,
    entries: Option<&'s DeTable<'s>>,
    span: Range<usize>,
    asked: RefCell<Vec<&'static str>>,
    /// Older names of keys, which no message suggests.
    older_names: RefCell<Vec<&'static str>>,
    missing: RefCell<Vec<(&'static str, Error)>>,
    /// It is absent, but something with nearly its name is there.
    is_mistyped: bool,
}

impl<'s> TableReader<'s> {
    /// The root of a file.
    pub(super) fn root(source: &'s SourceText<'s>, entries: &'s DeTable<'s>) -> Self {
        Self {
            source,
            path: String::new(),
            kind: "",
            entries: Some(entries),
            span: 0..0,
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
        self.asked.borrow_mut().push(key);
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
        let seconds = |duration: &Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        let value = self.get(key);
        if let Some(old_value) = self.get_older(key, older, value.is_some()) {
            let number = old_value.integer(seconds(range.start())..=seconds(range.end()))?;
            return u64::try_from(number).ok().map(Duration::from_secs);
        }
        let Some(value) = value else {
            return Some(default);
        };
        let duration = value.parsed(TimeSpan::parse)?.duration;
        if !range.contains(&duration) {
            let (from, to) = (seconds(range.start()), seconds(range.end()));
            value.complain(Error::new(format!(
                "`{}` must be between `{from}s` and `{to}s`",
                value.label()
            )));
            return None;
        }
        Some(duration)
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
        self.source.deprecations.borrow_mut().push(warning);
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
            span: 0..0,
            asked: RefCell::default(),
            older_names: RefCell::default(),
            missing: RefCell::default(),
            is_mistyped: self.entries.is_some_and(|entries| {
                entries
                    .keys()
                    .any(|there| nearest(there.get_ref(), [key]).is_some())
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
            match value.item.get_ref() {
                DeValue::Table(_) => tables.extend(value.table(kind).map(|table| (name, table))),
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
                value: key.get_ref().to_string(),
                at: self.source.location(key.span().start),
            };
            (name, self.value(key.get_ref(), item))
        });
        entries.collect()
    }

    /// Complains of every key that nobody asked for.
    pub(super) fn finish(self) {
        let asked = self.asked.take();
        let older_names = self.older_names.take();
        let keys = self.entries.into_iter().flat_map(DeTable::keys);
        let unknown: Vec<_> = keys
            .filter(|key| !asked.contains(&key.get_ref().as_ref()))
            .filter(|key| !older_names.contains(&key.get_ref().as_ref()))
            .collect();
        for (key, error) in self.missing.take() {
            // A key with a slip in it is one mistake, not two.
            if !self.is_mistyped
                && !unknown
                    .iter()
                    .any(|unknown| nearest(unknown.get_ref(), [key]).is_some())
            {
                self.complain(error);
            }
        }
        for key in unknown {
            self.source.unknown.borrow_mut().push(UnknownKey {
                kind: self.kind,
                table: self.path.clone(),
                key: key.get_ref().to_string(),
                span: key.span(),
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
        if self.span.is_empty() {
            Location::file(self.source.file)
        } else {
            self.source.location(self.span.start)
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
        self.source.mistakes.borrow_mut().push(error.at(at));
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
        self.source.mistakes.borrow_mut().push(error);
    }

    fn value(&self, key: &str, item: &'s Spanned<DeValue<'s>>) -> ValueReader<'s> {
        ValueReader {
            source: self.source,
            label: self.below(key),
            key: Some(key.to_owned()),
            item,
        }
    }

    fn below(&self, key: &str) -> String {
        // As TOML would have it written: only bare keys go without quotes.
        let is_bare = key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
            && !key.is_empty();
        let key = if is_bare {
            key.to_owned()
        } else {
            format!("{key:?}")
        };
        if self.path.is_empty() {
            key
        } else {
            format!("{}.{key}", self.path)
        }
    }
}

/// A value that is being read.
#[derive(Debug, Clone)]
pub(super) struct ValueReader<'s> {
    source: &'s SourceText<'s>,
    /// What a message calls it, e.g. `app.name`.
    label: String,
    /// Its key, for hints that show the whole line; `None` for an element of a list.
    key: Option<String>,
    item: &'s Spanned<DeValue<'s>>,
}

impl<'s> ValueReader<'s> {
    /// Returns what a message calls it, e.g. `app.name`.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Returns its place.
    pub(super) fn at(&self) -> Location {
        self.source.location(self.item.span().start)
    }

    /// Keeps a mistake about it.
    pub(super) fn complain(&self, error: Error) {
        self.source.complain(&self.item.span(), error);
    }

    /// Keeps a mistake about the byte `offset` of the string that it is; at its beginning if
    /// escapes hide the place.
    pub(super) fn complain_inside(&self, offset: usize, error: Error) {
        let mut span = self.item.span();
        let raw = self.source.raw(&span);
        let text = self.item.get_ref().as_str().unwrap_or_default();
        if raw.len() == text.len() + 2 && raw.get(1..raw.len() - 1) == Some(text) {
            span.start += 1 + offset;
        }
        self.source.complain(&span, error);
    }

    /// Returns the text of a string.
    pub(super) fn text(&self) -> Option<&'s str> {
        let text = self.item.get_ref().as_str();
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
        let value = self.item.get_ref().as_bool();
        if value.is_none() {
            self.wrong_type("`true` or `false`");
        }
        value
    }

    /// Returns an integer of a range.
    pub(super) fn integer(&self, range: RangeInclusive<i64>) -> Option<i64> {
        let Some(number) = self.item.get_ref().as_integer() else {
            self.wrong_type("an integer");
            return None;
        };
        let value = i64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .filter(|value| range.contains(value));
        if value.is_none() {
            let (from, to) = (range.start(), range.end());
            let limits = if *to == i64::MAX {
                format!("{from} or more")
            } else {
                format!("between {from} and {to}")
            };
            self.complain(Error::new(format!(
                "`{}` must be {limits}, not {number}",
                self.label
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
            let error = Error::new(format!("`{text}` is no value for `{}`", self.label));
            self.complain(match nearest(text, words.clone()) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("known are {}", listed(words))),
            });
        }
        found.map(|(_, value)| *value)
    }

    /// Returns the elements of a list.
    pub(super) fn list(&self) -> Vec<Self> {
        let Some(array) = self.item.get_ref().as_array() else {
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
        let Some(entries) = self.item.get_ref().as_table() else {
            self.wrong_type("a table");
            return None;
        };
        let (path, span) = (self.label.clone(), self.item.span());
        Some(TableReader {
            source: self.source,
            path,
            kind,
            entries: Some(entries),
            span,
            asked: RefCell::default(),
            older_names: RefCell::default(),
            missing: RefCell::default(),
            is_mistyped: false,
        })
    }

    /// Returns whether it is a table.
    pub(super) fn is_table(&self) -> bool {
        self.item.get_ref().is_table()
    }

    /// Returns the number that it is, for what is either a number or something else.
    pub(super) fn as_integer(&self) -> Option<i64> {
        let number = self.item.get_ref().as_integer()?;
        i64::from_str_radix(number.as_str(), number.radix()).ok()
    }

    /// Returns whether it is a string.
    pub(super) fn is_string(&self) -> bool {
        self.item.get_ref().is_str()
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
        match self.item.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a Boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        }
    }

    /// Returns the line as it was probably meant.
    fn corrected(&self, expected: &str) -> Option<String> {
        let raw = self.source.raw(&self.item.span());
        let value = match (expected, self.item.get_ref()) {
            _ if raw.is_empty() || raw.contains('\n') || raw.chars().count() > 60 => return None,
            (_, DeValue::Array(_) | DeValue::Table(_)) => return None,
            ("a string", _) => format!("\"{raw}\""),
            ("a list", _) => format!("[{raw}]"),
            ("`true` or `false`", DeValue::String(text))
                if matches!(text.as_ref(), "true" | "false") =>
            {
                text.to_string()
            }
            ("an integer", DeValue::String(text)) if text.parse::<i64>().is_ok() => {
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
            .hint("leave the key out if there is nothing to say"));
    }
    match text.chars().find(|c| c.is_control()) {
        Some(bad) => Err(Error::new(format!(
            "`{label}` must be one line, and it holds {bad:?}"
        ))),
        None => Ok(text),
    }
}
