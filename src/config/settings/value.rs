//! Types of settings, and their values as the application sees them in its environment.

use std::fmt;

use url::Url;

use pkgapp_core::error::{Context, Error, Result};

use super::super::document::DocumentValue;
use super::super::reader::{TableReader, ValueReader, listed, nearest};
use super::super::service::TimeSpan;

/// The type of a setting, with the limits of its values.
#[derive(Debug, Clone, PartialEq)]
pub enum SettingType {
    /// One line of text.
    String,
    /// A whole number.
    Integer(SettingLimits<i64>),
    /// A number.
    Number(SettingLimits<f64>),
    /// `true` or `false`.
    Boolean,
    /// A URL without a password.
    Url,
    /// An absolute path on the host.
    Path,
    /// A time; the application sees whole seconds.
    Duration,
    /// Texts without commas; the application sees them with commas between them.
    List,
    /// One of these texts.
    Choice(Vec<String>),
    /// Text that is on the host only.
    Secret,
}

/// The least and the greatest value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SettingLimits<T> {
    /// `minimum`.
    pub least: Option<T>,
    /// `maximum`.
    pub greatest: Option<T>,
}

/// Reads what belongs to a type besides its name.
type ReadType = fn(&TypeKeys<'_>) -> Option<SettingType>;

/// The types by their names in the configuration.
const TYPES: &[(&str, ReadType)] = &[
    ("string", |_| Some(SettingType::String)),
    ("integer", |keys| {
        keys.limits(integer).map(SettingType::Integer)
    }),
    ("number", |keys| {
        keys.limits(number).map(SettingType::Number)
    }),
    ("boolean", |_| Some(SettingType::Boolean)),
    ("url", |_| Some(SettingType::Url)),
    ("path", |_| Some(SettingType::Path)),
    ("duration", |_| Some(SettingType::Duration)),
    ("list", |_| Some(SettingType::List)),
    ("choice", |keys| keys.choices().map(SettingType::Choice)),
    ("secret", |_| Some(SettingType::Secret)),
];

/// The keys that only some types have.
struct TypeKeys<'s> {
    table: &'s TableReader<'s>,
    minimum: Option<ValueReader<'s>>,
    maximum: Option<ValueReader<'s>>,
    choices: Option<ValueReader<'s>>,
}

impl TypeKeys<'_> {
    fn refuse_for(&self, chosen: &SettingType) {
        let is_number = matches!(chosen, SettingType::Integer(_) | SettingType::Number(_));
        let is_choice = matches!(chosen, SettingType::Choice(_));
        let of_numbers = (is_number, "types `integer` and `number`");
        for (value, (is_its_own, whose)) in [
            (&self.minimum, of_numbers),
            (&self.maximum, of_numbers),
            (&self.choices, (is_choice, "type `choice`")),
        ] {
            if let Some(value) = value.as_ref().filter(|_| !is_its_own) {
                let error = Error::new(format!("`{}` is for the {whose}", value.label()));
                value.complain(error.hint(format!(
                    "leave it out: the type of the setting is `{}`",
                    chosen.name()
                )));
            }
        }
    }

    fn limits<T: Copy + PartialOrd + fmt::Display>(
        &self,
        number: fn(&ValueReader<'_>) -> Option<T>,
    ) -> Option<SettingLimits<T>> {
        let of = |value: &Option<ValueReader<'_>>| match value {
            Some(value) => number(value).map(Some),
            None => Some(None),
        };
        let (least, greatest) = (of(&self.minimum)?, of(&self.maximum)?);
        if let (Some(least), Some(greatest), Some(value)) = (least, greatest, &self.minimum)
            && least > greatest
        {
            let error = Error::new(format!(
                "the minimum {least} is greater than the maximum {greatest}"
            ));
            value.complain(error.hint("exchange them"));
            return None;
        }
        Some(SettingLimits { least, greatest })
    }

    fn choices(&self) -> Option<Vec<String>> {
        let Some(value) = &self.choices else {
            let error = Error::new(format!("`[{}]` lacks `choices`", self.table.path()));
            let example = "add `choices = [\"one\", \"two\"]`";
            self.table
                .complain_of_missing("choices", error.hint(example));
            return None;
        };
        let choices = texts(value, |text| check_line(text).map(|()| text.to_owned()))?;
        if choices.is_empty() {
            let error = Error::new(format!("`{}` has no choice", value.label()));
            value.complain(error.hint("list the values that the application understands"));
            return None;
        }
        Some(choices)
    }
}

impl SettingType {
    /// Reads `type`, and the keys that only some types have.
    pub(super) fn read(table: &TableReader<'_>) -> Option<Self> {
        let named = table.require("type", "type = \"string\"");
        let keys = TypeKeys {
            table,
            minimum: table.get("minimum"),
            maximum: table.get("maximum"),
            choices: table.get("choices"),
        };
        let chosen = named?.choice(TYPES)?(&keys)?;
        keys.refuse_for(&chosen);
        Some(chosen)
    }

    /// Returns its name in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer(_) => "integer",
            Self::Number(_) => "number",
            Self::Boolean => "boolean",
            Self::Url => "url",
            Self::Path => "path",
            Self::Duration => "duration",
            Self::List => "list",
            Self::Choice(_) => "choice",
            Self::Secret => "secret",
        }
    }

    /// Returns the name and the limits in words, such as `integer, 1 or more`; units and separators
    /// as the application's environment has them.
    pub fn described(&self) -> String {
        let limits = match self {
            Self::Integer(limits) => limits.described(),
            Self::Number(limits) => limits.described(),
            Self::Boolean => Some("true or false".to_owned()),
            Self::Path => Some("absolute".to_owned()),
            Self::Duration => Some("seconds".to_owned()),
            Self::List => Some("separated by commas".to_owned()),
            Self::Choice(choices) => Some(choices.join(" | ")),
            Self::String | Self::Url | Self::Secret => None,
        };
        match limits {
            Some(limits) => format!("{}, {limits}", self.name()),
            None => self.name().to_owned(),
        }
    }

    /// Returns a value of the configuration as the application sees it.
    pub(super) fn value(&self, value: &ValueReader<'_>) -> Option<String> {
        let text = self.text_of(value)?;
        match self.parse(&text) {
            Ok(text) => Some(text),
            Err(error) => {
                value.complain(error);
                None
            }
        }
    }

    /// Returns what a value of the right TOML type says.
    pub(super) fn text_of(&self, value: &ValueReader<'_>) -> Option<String> {
        let (text, expected) = match self {
            Self::Integer(_) => (integer_text(value), "an integer"),
            Self::Number(_) => (number_text(value), "a number"),
            Self::Boolean => return value.boolean().map(|value| value.to_string()),
            Self::List => return list_text(value),
            Self::String
            | Self::Url
            | Self::Path
            | Self::Duration
            | Self::Choice(_)
            | Self::Secret => return value.text().map(str::to_owned),
        };
        if text.is_none() {
            value.wrong_type(expected);
        }
        text
    }

    /// Returns a text as the application sees it.
    ///
    /// # Errors
    /// The text is no value of this type.
    pub fn parse(&self, text: &str) -> Result<String> {
        check_line(text)?;
        match self {
            Self::List | Self::Secret => {}
            Self::String => refuse_password(text)?,
            Self::Integer(limits) => return parse_integer(text, limits),
            Self::Number(limits) => return parse_number(text, limits),
            Self::Boolean => check_boolean(text)?,
            Self::Url => check_url(text)?,
            Self::Path => check_path(text)?,
            Self::Duration => return seconds(text),
            Self::Choice(choices) => check_choice(text, choices)?,
        }
        Ok(text.to_owned())
    }
}

impl<T: Copy + PartialOrd + fmt::Display> SettingLimits<T> {
    fn check(&self, number: T) -> Result<()> {
        let is_inside = self.least.is_none_or(|least| number >= least)
            && self.greatest.is_none_or(|greatest| number <= greatest);
        match self.described() {
            Some(limits) if !is_inside => Err(Error::new(format!(
                "the value must be {limits}, not {number}"
            ))),
            _ => Ok(()),
        }
    }

    fn described(&self) -> Option<String> {
        match (self.least, self.greatest) {
            (Some(least), Some(greatest)) => Some(format!("{least} to {greatest}")),
            (Some(least), None) => Some(format!("{least} or more")),
            (None, Some(greatest)) => Some(format!("{greatest} or less")),
            (None, None) => None,
        }
    }
}

fn parse_integer(text: &str, limits: &SettingLimits<i64>) -> Result<String> {
    let Ok(number) = text.parse() else {
        return Err(wrong(text, "an integer", "24"));
    };
    limits.check(number)?;
    Ok(number.to_string())
}

fn parse_number(text: &str, limits: &SettingLimits<f64>) -> Result<String> {
    let number = text.parse().unwrap_or(f64::NAN);
    if !number.is_finite() {
        return Err(wrong(text, "a number", "0.5"));
    }
    limits.check(number)?;
    Ok(text.trim_start_matches('+').to_owned())
}

fn integer(value: &ValueReader<'_>) -> Option<i64> {
    value.integer(i64::MIN..=i64::MAX)
}

fn number(value: &ValueReader<'_>) -> Option<f64> {
    let limits = SettingLimits {
        least: None,
        greatest: None,
    };
    SettingType::Number(limits).value(value)?.parse().ok()
}

/// Returns an integer in decimal digits; what exceeds 64 bits stays as it is.
fn integer_text(value: &ValueReader<'_>) -> Option<String> {
    let DocumentValue::Integer(number) = &value.item().value else {
        return None;
    };
    let decimal = number.value.map(|number| number.to_string());
    Some(decimal.unwrap_or_else(|| number.text.clone()))
}

pub(super) fn number_text(value: &ValueReader<'_>) -> Option<String> {
    match &value.item().value {
        DocumentValue::Float(text) => Some(text.replace('_', "")),
        _ => integer_text(value),
    }
}

/// Returns the items of a list as one text.
pub(super) fn list_text(value: &ValueReader<'_>) -> Option<String> {
    let item = |text: &str| {
        if !text.contains(',') {
            return Ok(text.to_owned());
        }
        Err(Error::new(format!(
            "`{text}` holds a comma, which separates the items of a list"
        ))
        .hint("write each item as a text of its own, or use the type `string`"))
    };
    texts(value, item).map(|items| items.join(","))
}

/// Returns the texts of a list, if all of them are right.
fn texts(value: &ValueReader<'_>, parse: impl Fn(&str) -> Result<String>) -> Option<Vec<String>> {
    let items = value.list();
    let is_list = matches!(value.item().value, DocumentValue::Array(_));
    let texts: Vec<String> = items
        .iter()
        .filter_map(|item| item.parsed(&parse))
        .collect();
    (is_list && texts.len() == items.len()).then_some(texts)
}

/// Checks that an environment file can hold a text, and that all readers of such files see the same:
/// systemd refuses files with characters that are none (`unichar_is_valid` in its source).
fn check_line(text: &str) -> Result<()> {
    let is_none =
        |c: char| matches!(u32::from(c), 0xFDD0..=0xFDEF) || u32::from(c) & 0xFFFE == 0xFFFE;
    match text.chars().find(|c| c.is_control() || is_none(*c)) {
        Some(bad) => Err(Error::new(format!(
            "the value holds {bad:?}, which an environment file cannot hold"
        ))
        .hint("write one line, or put the text into a file and its path into the setting")),
        None => Ok(()),
    }
}

fn check_boolean(text: &str) -> Result<()> {
    if ["true", "false"].contains(&text) {
        return Ok(());
    }
    Err(wrong(text, "`true` or `false`", "true"))
}

fn check_url(text: &str) -> Result<()> {
    Url::parse(text).context(|| format!("`{text}` is not a URL"))?;
    refuse_password(text)
}

/// Returns whether a text is a URL with a password, as for a database on the developers' machines.
pub fn holds_password(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| url.password().is_some())
}

/// Refuses a URL with a password, which everyone who has the package could read.
fn refuse_password(text: &str) -> Result<()> {
    if holds_password(text) {
        return Err(Error::new("the URL holds a password").hint(
            "write `type = \"secret\"` and leave `default` out: everyone can read packages",
        ));
    }
    Ok(())
}

fn check_path(text: &str) -> Result<()> {
    if text.starts_with('/') && text.split('/').all(|part| part != "..") {
        return Ok(());
    }
    Err(
        Error::new(format!("`{text}` is not an absolute path on a host"))
            .hint("begin it with `/` and leave out `..`, such as `/var/lib/shop/media`"),
    )
}

/// Returns a time in whole seconds.
fn seconds(text: &str) -> Result<String> {
    let duration = TimeSpan::parse(text)?.duration;
    if duration.subsec_nanos() != 0 {
        return Err(
            Error::new(format!("`{text}` is no whole number of seconds"))
                .hint("use the type `number` for shorter times"),
        );
    }
    Ok(duration.as_secs().to_string())
}

fn check_choice(text: &str, choices: &[String]) -> Result<()> {
    let choices = || choices.iter().map(String::as_str);
    if choices().any(|choice| choice == text) {
        return Ok(());
    }
    let error = Error::new(format!("`{text}` is not one of the choices"));
    Err(match nearest(text, choices()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!("the choices are {}", listed(choices()))),
    })
}

fn wrong(text: &str, expected: &str, example: &str) -> Error {
    Error::new(format!("`{}` is not {expected}", text.escape_debug()))
        .hint(format!("write a value such as `{example}`"))
}
