//! Values of the file besides scalars and sections: lists, named sections, and the choices `off` and
//! `auto`.

use serde_json::json;

use super::decode::{At, Decode, Given, Text, unexpected};
use super::problems::{Complaint, Problems};
use super::section::unique_keys;
use super::shape::Shape;
use super::tree::Value;

/// `off`, or the value when it is on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OrOff<T> {
    Off,
    On(T),
}

impl<T> OrOff<T> {
    pub(crate) fn on(self) -> Option<T> {
        match self {
            Self::Off => None,
            Self::On(value) => Some(value),
        }
    }
}

impl<T: Decode> Decode for OrOff<T> {
    /// Also accepts `false`, which tools with YAML 1.1 (such as Helm) make of `off`.
    fn decode(given: &Given<'_>, problems: &mut Problems) -> Option<Self> {
        match given.value {
            Value::Bool(false) => Some(Self::Off),
            Value::Text(text) if text == "off" => Some(Self::Off),
            _ => T::decode(given, problems).map(Self::On),
        }
    }

    fn shape() -> Shape {
        let inner = T::shape();
        Shape {
            words: format!("{}, or `off`", inner.words),
            schema: json!({ "anyOf": [inner.schema, { "enum": ["off", false] }] }),
            ..inner
        }
    }
}

/// `auto`, or a value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AutoOr<T> {
    Auto,
    Exactly(T),
}

impl<T> AutoOr<T> {
    pub(crate) fn exactly(self) -> Option<T> {
        match self {
            Self::Auto => None,
            Self::Exactly(value) => Some(value),
        }
    }
}

impl<T: Decode> Decode for AutoOr<T> {
    fn decode(given: &Given<'_>, problems: &mut Problems) -> Option<Self> {
        match given.value {
            Value::Text(text) if text == "auto" => Some(Self::Auto),
            _ => T::decode(given, problems).map(Self::Exactly),
        }
    }

    fn shape() -> Shape {
        let inner = T::shape();
        Shape {
            words: format!("`auto`, or {}", inner.words),
            schema: json!({ "anyOf": [{ "const": "auto" }, inner.schema] }),
            ..inner
        }
    }
}

/// `all`, or a value.
#[derive(Debug)]
pub(crate) enum AllOr<T> {
    All,
    Only(T),
}

impl<T: Decode> Decode for AllOr<T> {
    fn decode(given: &Given<'_>, problems: &mut Problems) -> Option<Self> {
        match given.value {
            Value::Text(text) if text == "all" => Some(Self::All),
            _ => T::decode(given, problems).map(Self::Only),
        }
    }

    fn shape() -> Shape {
        let inner = T::shape();
        Shape {
            words: format!("`all`, or {}", inner.words),
            schema: json!({ "anyOf": [{ "const": "all" }, inner.schema] }),
            ..inner
        }
    }
}

/// A list of `MIN..=MAX` values in the file's order.
#[derive(Debug)]
pub(crate) struct List<T, const MIN: usize, const MAX: usize> {
    pub(crate) items: Vec<T>,
    /// True if no item was left out as invalid.
    pub(crate) complete: bool,
}

impl<T: Decode, const MIN: usize, const MAX: usize> List<T, MIN, MAX> {
    fn length_words() -> String {
        match (MIN, MAX) {
            (min, usize::MAX) => format!("{min} or more"),
            (0, max) => format!("up to {max}"),
            (min, max) => format!("{min} to {max}"),
        }
    }
}

impl<T: Decode, const MIN: usize, const MAX: usize> Decode for List<T, MIN, MAX> {
    fn decode(given: &Given<'_>, problems: &mut Problems) -> Option<Self> {
        let Value::List(nodes) = given.value else {
            let complaint = unexpected("a list", given.value);
            problems.note(
                &given.place,
                match given.value {
                    Value::Text(text) => complaint.remedy(format!("write [{text:?}]")),
                    Value::Null => complaint.remedy("leave the key out, or write []"),
                    _ => complaint,
                },
            );
            return None;
        };
        let count = nodes.len();
        if count < MIN || count > MAX {
            let complaint = Complaint::new(match count {
                0 => "the list is empty".to_owned(),
                _ => format!("the list has {count} items"),
            });
            let remedy = format!("give it {} items", Self::length_words());
            problems.note(&given.place, complaint.remedy(remedy));
        }
        // The next steps may take time that grows with the square of the length.
        if count > MAX {
            return None;
        }
        let decoded = nodes.iter().enumerate().map(|(index, node)| {
            let given = Given::new(node, &given.place.item(index));
            T::decode(&given, problems)
        });
        let items: Vec<T> = decoded.flatten().collect();
        Some(Self {
            complete: items.len() == count,
            items,
        })
    }

    fn shape() -> Shape {
        let inner = T::shape();
        let mut schema = json!({ "type": "array", "items": inner.schema, "minItems": MIN });
        if MAX != usize::MAX {
            schema["maxItems"] = json!(MAX);
        }
        Shape {
            words: format!("list of {}, each: {}", Self::length_words(), inner.words),
            schema,
            section: inner.section.map(|(_, info)| ("[]", info)),
        }
    }
}

/// A section whose keys are names that the operator chooses. A name with an invalid value is kept, so
/// that references to the name are not reported as wrong.
#[derive(Debug)]
pub(crate) struct Named<K, T>(pub(crate) Vec<(At<K>, Option<T>)>);

impl<K: Text, T: Decode> Decode for Named<K, T> {
    fn decode(given: &Given<'_>, problems: &mut Problems) -> Option<Self> {
        let Value::Map(entries) = given.value else {
            problems.note(
                &given.place,
                unexpected("names with their values", given.value),
            );
            return None;
        };
        let mut named = Vec::with_capacity(entries.len());
        for (key, (place, given)) in unique_keys(entries, &given.place, |_| None, problems) {
            let value = T::decode(&given, problems);
            match K::parse(key) {
                Ok(name) => {
                    let key = At {
                        value: name,
                        place,
                        given: true,
                    };
                    named.push((key, value));
                }
                Err(complaint) => problems.note(&place, complaint),
            }
        }
        Some(Self(named))
    }

    fn shape() -> Shape {
        let inner = T::shape();
        Shape {
            words: format!(
                "any number of `NAME: {}`; NAME is {}",
                inner.words,
                K::WORDS
            ),
            schema: json!({
                "type": "object",
                "propertyNames": { "pattern": K::PATTERN },
                "additionalProperties": inner.schema,
            }),
            section: inner.section.map(|(_, info)| (".NAME", info)),
        }
    }
}
