//! The tree of a TOML document, in which every key and value knows the file and place where it
//! stands. Documents of several files merge into one, which a reader reads like a single file.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use pkgapp_core::error::{Error, Location, Result, shown};

/// A text file that was read.
#[derive(Debug, Clone)]
pub(super) struct SourceDocument {
    pub(super) file: PathBuf,
    text: String,
}

impl SourceDocument {
    /// Reads a file.
    ///
    /// # Errors
    /// The file is missing, unreadable, or not UTF-8 (with the place of the first wrong byte).
    pub(super) fn read(file: &Path) -> Result<Self> {
        match String::from_utf8(pkgapp_core::fs::read(file)?) {
            Ok(text) => Ok(Self::new(file.to_owned(), text)),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let before = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
                Err(Error::new(format!("`{}` is not UTF-8", shown(file)))
                    .at(Location::at_offset(file, &before, valid))
                    .hint("TOML is UTF-8: save the file in this encoding"))
            }
        }
    }

    /// A text that stands for a file.
    pub(super) fn new(file: PathBuf, text: String) -> Self {
        Self { file, text }
    }

    /// Returns the whole text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Returns whether the document has this key; `false` for a broken one, which
    /// [`Document::parse`] reports.
    pub(super) fn has(&self, path: &[&str]) -> bool {
        let (table, _) = DeTable::parse_recoverable(&self.text);
        at_path(&table, path).is_some()
    }

    /// Returns the string at a key, if there is one.
    pub(super) fn string(&self, path: &[&str]) -> Option<String> {
        let (table, _) = DeTable::parse_recoverable(&self.text);
        at_path(&table, path)?.as_str().map(str::to_owned)
    }

    fn location(&self, offset: usize) -> Location {
        Location::at_offset(&self.file, &self.text, offset)
    }

    fn raw(&self, span: &Range<usize>) -> &str {
        self.text.get(span.clone()).unwrap_or_default()
    }
}

fn at_path<'t>(table: &'t Spanned<DeTable<'t>>, path: &[&str]) -> Option<&'t DeValue<'t>> {
    let (first, rest) = path.split_first()?;
    let first = table.get_ref().get(*first)?.get_ref();
    rest.iter()
        .try_fold(first, |value, key| Some(value.get(*key)?.get_ref()))
}

/// The files of a merged document, and the mistakes that were found in them so far.
#[derive(Debug, Default)]
pub(super) struct SourceTexts {
    files: Vec<SourceDocument>,
    mistakes: RefCell<Vec<Error>>,
}

impl SourceTexts {
    /// The number of the first file: the configuration, under which recipes are merged.
    pub(super) const CONFIGURATION: usize = 0;

    /// The same files, without the mistakes.
    pub(super) fn without_mistakes(&self) -> Self {
        Self {
            files: self.files.clone(),
            mistakes: RefCell::default(),
        }
    }

    /// Adds a file; the origins in it refer to the number that is returned.
    pub(super) fn add(&mut self, document: SourceDocument) -> usize {
        self.files.push(document);
        self.files.len() - 1
    }

    /// Returns the file that the mistakes without an origin belong to: the first.
    pub(super) fn first_file(&self) -> &Path {
        self.files
            .first()
            .map_or(Path::new(""), |document| &document.file)
    }

    /// Returns the place where an origin begins.
    pub(super) fn location(&self, origin: &Origin) -> Location {
        match self.files.get(origin.source) {
            Some(document) => document.location(origin.span.start),
            None => Location::file(self.first_file()),
        }
    }

    /// Returns the text of an origin as it stands in its file.
    pub(super) fn raw(&self, origin: &Origin) -> &str {
        self.files
            .get(origin.source)
            .map_or("", |document| document.raw(&origin.span))
    }

    /// Keeps a mistake, with its place.
    pub(super) fn complain(&self, origin: &Origin, error: Error) {
        self.complain_elsewhere(error.at(self.location(origin)));
    }

    /// Keeps a mistake that has its own place.
    pub(super) fn complain_elsewhere(&self, error: Error) {
        self.mistakes.borrow_mut().push(error);
    }

    /// Returns all mistakes: first those of other files and of files as a whole, then the rest in
    /// the order of the files and of the places in them.
    pub(super) fn mistakes(&self) -> Vec<Error> {
        self.sorted(self.mistakes.borrow().clone())
    }

    /// Sorts mistakes by their places.
    pub(super) fn sorted(&self, mut mistakes: Vec<Error>) -> Vec<Error> {
        let position = |error: &Error| {
            let at = error.location()?;
            let number = self.files.iter().position(|file| file.file == at.file)?;
            Some((number, at.position?))
        };
        mistakes.sort_by_key(position);
        mistakes
    }
}

/// The place where a key or value was written; by default the beginning of the first file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Origin {
    /// The number of the file in [`SourceTexts`].
    pub(super) source: usize,
    /// Bytes of the file; empty for the file as a whole.
    pub(super) span: Range<usize>,
}

impl Origin {
    /// The place of a value within the first file.
    fn of(source: usize, span: Range<usize>) -> Self {
        Self { source, span }
    }
}

/// A table: its entries in the order of the file.
#[derive(Debug, Clone, Default)]
pub(super) struct DocumentTable {
    entries: Vec<(DocumentKey, DocumentItem)>,
}

/// A key and its place.
#[derive(Debug, Clone)]
pub(super) struct DocumentKey {
    pub(super) name: String,
    pub(super) origin: Origin,
}

/// A value, its place, and its history.
#[derive(Debug, Clone)]
pub(super) struct DocumentItem {
    pub(super) value: DocumentValue,
    pub(super) origin: Origin,
    /// Parameters of a recipe that the value was filled with.
    pub(super) parameters: Vec<String>,
    /// Weaker values that this one replaced, the strongest of them first.
    pub(super) replaced: Vec<ReplacedValue>,
}

/// A value of a recipe that a stronger file has replaced.
#[derive(Debug, Clone)]
pub(super) struct ReplacedValue {
    pub(super) value: DocumentValue,
    pub(super) origin: Origin,
}

/// A value of TOML.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum DocumentValue {
    String(String),
    Integer(DocumentInteger),
    /// As written.
    Float(String),
    Boolean(bool),
    /// As written.
    Datetime(String),
    Array(Vec<DocumentItem>),
    Table(DocumentTable),
}

/// An integer, which may exceed every type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DocumentInteger {
    /// As written.
    pub(super) text: String,
    /// `None` beyond 64 bits.
    pub(super) value: Option<i64>,
}

impl DocumentValue {
    /// Returns its type, in words.
    pub(super) fn described(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Boolean(_) => "a Boolean",
            Self::Datetime(_) => "a date",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
        }
    }

    /// Returns whether it counts as true in a condition: everything but `false` and empty values
    /// does.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::String(text) => !text.is_empty(),
            Self::Boolean(value) => *value,
            Self::Array(items) => !items.is_empty(),
            Self::Table(table) => !table.entries.is_empty(),
            Self::Integer(_) | Self::Float(_) | Self::Datetime(_) => true,
        }
    }
}

impl fmt::Display for DocumentValue {
    /// Writes the value on one line, as TOML does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(text) => write!(f, "{}", toml::Value::from(text.as_str())),
            Self::Integer(number) => f.write_str(&number.text),
            Self::Float(text) | Self::Datetime(text) => f.write_str(text),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| item.value.to_string()).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Self::Table(table) if table.entries.is_empty() => f.write_str("{}"),
            Self::Table(table) => {
                let entry = |(key, item): &(DocumentKey, DocumentItem)| {
                    format!("{} = {}", dotted_key("", &key.name), item.value)
                };
                let entries: Vec<String> = table.entries.iter().map(entry).collect();
                write!(f, "{{ {} }}", entries.join(", "))
            }
        }
    }
}

impl fmt::Display for DocumentTable {
    /// Writes the table as a file: values before tables, each table below a header.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "")
    }
}

impl DocumentTable {
    fn write(&self, f: &mut fmt::Formatter<'_>, path: &str) -> fmt::Result {
        let (tables, values): (Vec<_>, Vec<_>) =
            self.iter().partition(|(_, item)| item.as_table().is_some());
        // A table of nothing but tables needs no header of its own.
        if !path.is_empty() && (!values.is_empty() || tables.is_empty()) {
            writeln!(f, "\n[{path}]")?;
        }
        for (key, item) in values {
            writeln!(f, "{} = {}", dotted_key("", &key.name), item.value)?;
        }
        for (key, item) in tables {
            if let Some(table) = item.as_table() {
                table.write(f, &dotted_key(path, &key.name))?;
            }
        }
        Ok(())
    }
}

/// Returns the path of a key below a table, which may be empty, as TOML writes it: only bare keys go
/// without quotes.
pub fn dotted_key(table: &str, key: &str) -> String {
    let is_bare = key
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        && !key.is_empty();
    let key = if is_bare {
        key.to_owned()
    } else {
        format!("{key:?}")
    };
    if table.is_empty() {
        key
    } else {
        format!("{table}.{key}")
    }
}

impl DocumentItem {
    /// A value of no file.
    pub(super) fn of_value(value: DocumentValue) -> Self {
        Self::new(value, Origin::default())
    }

    /// A text of no file.
    pub(super) fn of_text(text: &str) -> Self {
        Self::of_value(DocumentValue::String(text.to_owned()))
    }

    /// An integer of no file.
    pub(super) fn of_integer(value: i64) -> Self {
        Self::of_value(DocumentValue::Integer(DocumentInteger {
            text: value.to_string(),
            value: Some(value),
        }))
    }

    fn change_texts(&mut self, change: &dyn Fn(&str) -> String) {
        match &mut self.value {
            DocumentValue::String(text) => *text = change(text),
            DocumentValue::Array(items) => {
                items.iter_mut().for_each(|item| item.change_texts(change));
            }
            DocumentValue::Table(table) => table.change_texts(change),
            DocumentValue::Integer(_)
            | DocumentValue::Float(_)
            | DocumentValue::Boolean(_)
            | DocumentValue::Datetime(_) => {}
        }
    }
}

impl PartialEq for DocumentItem {
    /// Compares values; places do not count.
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl PartialEq for DocumentTable {
    fn eq(&self, other: &Self) -> bool {
        self.entries.len() == other.entries.len()
            && self
                .entries
                .iter()
                .all(|(key, item)| other.get(&key.name) == Some(item))
    }
}

impl DocumentTable {
    /// Returns the value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&DocumentItem> {
        self.entries
            .iter()
            .find(|(known, _)| known.name == key)
            .map(|(_, item)| item)
    }

    /// Returns the value of a key, to change it.
    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut DocumentItem> {
        self.entries
            .iter_mut()
            .find(|(known, _)| known.name == key)
            .map(|(_, item)| item)
    }

    /// Returns the value at a path of keys.
    pub(super) fn at(&self, path: &[&str]) -> Option<&DocumentItem> {
        let (first, rest) = path.split_first()?;
        let item = self.get(first)?;
        if rest.is_empty() {
            return Some(item);
        }
        item.as_table()?.at(rest)
    }

    /// Takes a key out.
    pub(super) fn remove(&mut self, key: &str) -> Option<(DocumentKey, DocumentItem)> {
        let index = self
            .entries
            .iter()
            .position(|(known, _)| known.name == key)?;
        Some(self.entries.remove(index))
    }

    /// Adds an entry; a key that is there already keeps its position.
    pub(super) fn insert(&mut self, key: DocumentKey, item: DocumentItem) {
        match self.get_mut(&key.name) {
            Some(there) => *there = item,
            None => self.entries.push((key, item)),
        }
    }

    /// Adds an entry whose key and value have one place.
    pub(super) fn insert_new(&mut self, name: &str, origin: &Origin, item: DocumentItem) {
        let key = DocumentKey {
            name: name.to_owned(),
            origin: origin.clone(),
        };
        self.insert(key, item);
    }

    /// Sets a value of no file in a table, which is made if it is missing.
    pub(super) fn set_below(&mut self, table: &str, key: &str, item: DocumentItem) {
        let origin = Origin::default();
        if self.get(table).is_none() {
            let empty = DocumentValue::Table(Self::default());
            self.insert_new(table, &origin, DocumentItem::new(empty, origin.clone()));
        }
        let inner = self.get_mut(table).and_then(DocumentItem::as_table_mut);
        if let Some(inner) = inner {
            inner.insert_new(key, &origin, item);
        }
    }

    /// Changes all texts, also those in lists and tables; keys stay.
    pub(super) fn change_texts(&mut self, change: &dyn Fn(&str) -> String) {
        self.items_mut().for_each(|item| item.change_texts(change));
    }

    /// Returns the entries, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&DocumentKey, &DocumentItem)> {
        self.entries.iter().map(|(key, item)| (key, item))
    }

    /// Returns the values, in order, to change them.
    pub(super) fn items_mut(&mut self) -> impl Iterator<Item = &mut DocumentItem> {
        self.entries.iter_mut().map(|(_, item)| item)
    }

    /// Lays the entries of a table over this one, as [`DocumentTable::overlay`] does.
    pub(super) fn overlay_item(&mut self, stronger: DocumentItem) {
        if let DocumentValue::Table(table) = stronger.value {
            self.overlay(table, MergeOrder::StrongerFirst);
        }
    }

    /// Returns the keys, in order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &DocumentKey> {
        self.entries.iter().map(|(key, _)| key)
    }

    /// Adds the entries of a weaker table that this one lacks.
    pub(super) fn add_missing(&mut self, weaker: &Self) {
        for (key, default) in weaker.iter() {
            match self.get_mut(&key.name).map(|item| &mut item.value) {
                Some(DocumentValue::Table(table)) => {
                    if let Some(default) = default.as_table() {
                        table.add_missing(default);
                    }
                }
                Some(_) => {}
                None => self.insert(key.clone(), default.clone()),
            }
        }
    }

    /// Lays the entries of a stronger document over this one: tables merge key by key, every other
    /// value replaces the weaker one.
    pub(super) fn overlay(&mut self, stronger: Self, order: MergeOrder) {
        let mut entries = Vec::with_capacity(self.entries.len() + stronger.entries.len());
        for (key, item) in stronger.entries {
            let there = self
                .entries
                .iter()
                .position(|(known, _)| known.name == key.name);
            match (there, order) {
                (Some(index), MergeOrder::WeakerFirst) => {
                    self.entries[index].1.overlay(item, order);
                }
                (Some(index), MergeOrder::StrongerFirst) => {
                    let (_, mut weaker) = self.entries.remove(index);
                    weaker.overlay(item, order);
                    entries.push((key, weaker));
                }
                (None, _) => entries.push((key, item)),
            }
        }
        match order {
            MergeOrder::WeakerFirst => self.entries.append(&mut entries),
            MergeOrder::StrongerFirst => {
                entries.append(&mut self.entries);
                self.entries = entries;
            }
        }
    }
}

/// The order of the entries of two merged tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MergeOrder {
    /// Those of the weaker table keep their places, and new ones follow.
    WeakerFirst,
    /// Those of the stronger table, then the rest.
    StrongerFirst,
}

impl DocumentItem {
    /// A value without a history.
    pub(super) fn new(value: DocumentValue, origin: Origin) -> Self {
        Self {
            value,
            origin,
            parameters: Vec::new(),
            replaced: Vec::new(),
        }
    }

    /// Returns the table that it is.
    pub(super) fn as_table(&self) -> Option<&DocumentTable> {
        match &self.value {
            DocumentValue::Table(table) => Some(table),
            _ => None,
        }
    }

    /// Returns the table that it is, to change it.
    pub(super) fn as_table_mut(&mut self) -> Option<&mut DocumentTable> {
        match &mut self.value {
            DocumentValue::Table(table) => Some(table),
            _ => None,
        }
    }

    /// Returns the string that it is.
    pub(super) fn as_str(&self) -> Option<&str> {
        match &self.value {
            DocumentValue::String(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the parameters of this value and, for a list, of its elements.
    pub(super) fn all_parameters(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.parameters.iter().map(String::as_str).collect();
        match &self.value {
            DocumentValue::Array(items) => {
                names.extend(items.iter().flat_map(Self::all_parameters));
            }
            DocumentValue::Table(table) => {
                names.extend(table.iter().flat_map(|(_, item)| item.all_parameters()));
            }
            _ => {}
        }
        names
    }

    fn overlay(&mut self, mut stronger: Self, order: MergeOrder) {
        match (&mut self.value, stronger.value) {
            (DocumentValue::Table(weaker), DocumentValue::Table(entries)) => {
                weaker.overlay(entries, order);
                self.origin = stronger.origin;
            }
            (_, value) => {
                let weaker = ReplacedValue {
                    value: std::mem::replace(&mut self.value, value),
                    origin: std::mem::replace(&mut self.origin, stronger.origin),
                };
                self.parameters = std::mem::take(&mut stronger.parameters);
                self.replaced.insert(0, weaker);
            }
        }
    }
}

/// One or several files, as one tree.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) table: DocumentTable,
    pub(super) sources: SourceTexts,
}

impl Document {
    /// Parses a file.
    ///
    /// # Errors
    /// All violations of TOML at once. A key that is given twice is kept as a mistake of the
    /// source instead, so that the reader reports it along with other mistakes.
    pub(super) fn parse(document: SourceDocument) -> Result<Self> {
        let mut sources = SourceTexts::default();
        let table = sources.parse(document)?;
        Ok(Self { table, sources })
    }
}

impl SourceTexts {
    /// Parses one more file.
    ///
    /// # Errors
    /// As for [`Document::parse`].
    pub(super) fn parse(&mut self, document: SourceDocument) -> Result<DocumentTable> {
        let source = self.add(document);
        let text = &self.files[source].text;
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut broken = Vec::new();
        for error in errors {
            let origin = Origin::of(source, error.span().unwrap_or_default());
            let raw = self.raw(&origin);
            if error.message() == "duplicate key" {
                let error = Error::new(format!("`{raw}` is given twice"));
                self.complain(&origin, error.hint("keep one of the two"));
            } else {
                let error = not_toml(error.message(), raw);
                broken.push(error.at(self.location(&origin)));
            }
        }
        let table = own_table(source, table.get_ref());
        if broken.is_empty() {
            return Ok(table);
        }
        broken.extend(self.mistakes());
        Err(Error::all(self.sorted(broken))
            .unwrap_or_else(|| Error::bug("an error of the TOML parser got lost")))
    }
}

/// Returns the message for `raw`, which the parser rejects with `message`.
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

fn own_table(source: usize, table: &DeTable<'_>) -> DocumentTable {
    let entry = |(key, item): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
        let key = DocumentKey {
            name: key.get_ref().to_string(),
            origin: Origin::of(source, key.span()),
        };
        (key, own_item(source, item))
    };
    DocumentTable {
        entries: table.iter().map(entry).collect(),
    }
}

fn own_item(source: usize, item: &Spanned<DeValue<'_>>) -> DocumentItem {
    let value = match item.get_ref() {
        DeValue::String(text) => DocumentValue::String(text.to_string()),
        DeValue::Integer(number) => DocumentValue::Integer(DocumentInteger {
            text: number.to_string(),
            value: i64::from_str_radix(number.as_str(), number.radix()).ok(),
        }),
        DeValue::Float(number) => DocumentValue::Float(number.to_string()),
        DeValue::Boolean(value) => DocumentValue::Boolean(*value),
        DeValue::Datetime(value) => DocumentValue::Datetime(value.to_string()),
        DeValue::Array(items) => {
            DocumentValue::Array(items.iter().map(|item| own_item(source, item)).collect())
        }
        DeValue::Table(table) => DocumentValue::Table(own_table(source, table)),
    };
    DocumentItem::new(value, Origin::of(source, item.span()))
}
