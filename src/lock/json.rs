//! JSON strings with their places, which serde_json alone does not keep.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A value that borrows from its source text.
#[derive(Debug, PartialEq)]
pub(super) enum Json<'t> {
    Text(Cow<'t, str>),
    List(Vec<Json<'t>>),
    Table(Vec<(Cow<'t, str>, Json<'t>)>),
    Bool(bool),
    /// A number or null.
    Other,
}

impl<'t> Json<'t> {
    /// Returns the value of a key; the last one if the key is repeated, as in Python.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entries()
            .iter()
            .rev()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value)
    }

    /// Returns the text at a key.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_text()
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self {
            Some(text)
        } else {
            None
        }
    }

    /// Returns the items of a list; an empty slice for other values.
    pub(super) fn items(&self) -> &[Self] {
        if let Self::List(items) = self {
            items
        } else {
            &[]
        }
    }

    /// Returns the entries of a table; an empty slice for other values.
    pub(super) fn entries(&self) -> &[(Cow<'t, str>, Self)] {
        if let Self::Table(entries) = self {
            entries
        } else {
            &[]
        }
    }
}

/// Returns the offset of a string in the text from which it was read; `None` if it has escapes
/// there.
pub(super) fn offset(whole: &str, part: &str) -> Option<usize> {
    let offset = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    (offset + part.len() <= whole.len()).then_some(offset)
}

impl<'de: 't, 't> Deserialize<'de> for Json<'t> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonReader)
    }
}

struct JsonReader;

impl<'de> Visitor<'de> for JsonReader {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Json<'de>, E> {
        Ok(Json::Other)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Json<'de>, E> {
        Ok(Json::Other)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Json<'de>, E> {
        Ok(Json::Other)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Json<'de>, E> {
        Ok(Json::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Json<'de>, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = table.next_entry::<Json<'de>, Json<'de>>()? {
            if let Json::Text(key) = key {
                entries.push((key, value));
            }
        }
        Ok(Json::Table(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_know_where_they_stand() {
        let text = r#"{"a": ["x", {"b": true}], "é\n": 1, "c": "y\u0041", "a": null}"#;
        let json: Json<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(json.get("a"), Some(&Json::Other));
        let (_, first) = &json.entries()[0];
        assert_eq!(offset(text, first.items()[0].as_text().unwrap()), Some(8));
        assert_eq!(json.text("c"), Some("yA"));
        assert_eq!(offset(text, json.text("c").unwrap()), None);
        assert_eq!(first.items()[1].get("b"), Some(&Json::Bool(true)));
    }
}
