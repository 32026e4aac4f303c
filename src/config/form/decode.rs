//! From the tree to the types of [`crate::config::file`], noting every problem on the way rather than
//! stopping at the first.

use serde_json::{Value as Json, json};

use super::problems::{Complaint, KeyPlace, Problems, quoted};
use super::shape::Shape;
use super::tree::{Node, Value};

/// A value that the file, or a default, gives for a key.
pub(crate) struct Given<'a> {
    pub(crate) value: &'a Value,
    pub(crate) place: KeyPlace,
    /// True if the value is a default.
    pub(crate) default: bool,
}

impl<'a> Given<'a> {
    pub(crate) fn new(node: &'a Node, place: &KeyPlace) -> Self {
        Self {
            value: &node.value,
            place: place.clone().at(node.line, node.column),
            default: false,
        }
    }
}

/// A type that a value of the file may have.
pub(crate) trait Decode: Sized {
    /// Decodes the value. `None` when it does not fit; then at least one problem was noted.
    fn decode(given: &Given<'_>, problems: &mut Problems) -> Option<Self>;

    /// The accepted values, for the schema and the reference.
    fn shape() -> Shape;

    /// The complaint when the key is missing.
    fn when_missing() -> Complaint {
        Complaint::new("this key is required")
    }
}

/// A type that is written as one scalar.
pub(crate) trait Scalar: Sized {
    /// # Errors
    /// The problem of the value, in words for the operator.
    fn from_value(value: &Value) -> Result<Self, Complaint>;
    /// The words for [`Shape::words`] and for "expected ..., found ...".
    fn words() -> String;
    /// JSON Schema.
    fn schema() -> Json;
    /// See [`Decode::when_missing`].
    fn when_missing() -> Complaint {
        Complaint::new("this key is required").remedy(format!("give it {}", Self::words()))
    }
}

impl<T: Scalar> Decode for T {
    fn decode(given: &Given<'_>, problems: &mut Problems) -> Option<Self> {
        T::from_value(given.value)
            .map_err(|complaint| problems.note(&given.place, complaint))
            .ok()
    }

    fn shape() -> Shape {
        Shape {
            words: T::words(),
            schema: T::schema(),
            section: None,
        }
    }

    fn when_missing() -> Complaint {
        <T as Scalar>::when_missing()
    }
}

/// A scalar that is written as text.
pub(crate) trait Text: Sized {
    /// See [`Scalar::words`].
    const WORDS: &'static str;
    /// See [`Scalar::schema`]; it should not refuse what [`Text::parse`] accepts.
    const PATTERN: &'static str = ".";

    /// # Errors
    /// See [`Scalar::from_value`].
    fn parse(text: &str) -> Result<Self, Complaint>;
}

impl<T: Text> Scalar for T {
    fn from_value(value: &Value) -> Result<Self, Complaint> {
        match value {
            Value::Text(text) => T::parse(text),
            Value::Bool(truth) => Err(not_text::<T>(value, &truth.to_string())),
            Value::Int(number) => Err(not_text::<T>(value, &number.to_string())),
            Value::Float(number) => Err(not_text::<T>(value, &number.to_string())),
            _ => Err(unexpected(Self::words(), value)),
        }
    }

    fn words() -> String {
        T::WORDS.to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": T::PATTERN })
    }
}

/// The complaint about a value that YAML does not take for text. Quotes help only if the text is right.
fn not_text<T: Text>(value: &Value, written: &str) -> Complaint {
    let complaint = unexpected(T::WORDS, value);
    match T::parse(written) {
        Ok(_) => complaint.remedy("if that is what you mean, write it in quotes"),
        Err(wrong) => complaint.remedied_as(wrong),
    }
}

pub(crate) fn unexpected(expected: impl std::fmt::Display, found: &Value) -> Complaint {
    Complaint::new(format!("expected {expected}, found {found}"))
}

/// The value of one of a few words. An error names the nearest of them.
pub(crate) fn one_of<T: Copy>(text: &str, words: &[(&'static str, T)]) -> Result<T, Complaint> {
    let known = || words.iter().map(|(word, _)| *word);
    match words.iter().find(|(word, _)| *word == text) {
        Some((_, meaning)) => Ok(*meaning),
        None => Err(
            Complaint::new(format!("unknown value {}", quoted(text))).nearest(
                text,
                known(),
                "the values here are",
            ),
        ),
    }
}

/// "`a`, `b` or `c`"; more than three words read better as a list.
pub(crate) fn alternatives(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match &quoted[..] {
        [first @ .., last] if !first.is_empty() && first.len() < 3 => {
            format!("{} or {last}", first.join(", "))
        }
        all => all.join(", "),
    }
}

/// Declares the words that the file has for the values of an enum.
macro_rules! words {
    ($name:ident { $($word:literal => $variant:ident,)+ }) => {
        impl $crate::config::form::decode::Scalar for $name {
            fn from_value(
                value: &$crate::config::form::tree::Value,
            ) -> Result<Self, $crate::config::form::problems::Complaint> {
                use $crate::config::form::{decode, tree::Value};
                match value {
                    Value::Text(text) => decode::one_of(text, &[$(($word, Self::$variant)),+]),
                    _ => Err(decode::unexpected(Self::words(), value)),
                }
            }

            fn words() -> String {
                $crate::config::form::decode::alternatives(&[$($word),+])
            }

            fn schema() -> serde_json::Value {
                serde_json::json!({ "enum": [$($word),+] })
            }
        }
    };
}
pub(crate) use words;

/// A value with its place in the file.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) place: KeyPlace,
    /// True if the file gives it; otherwise it is a default.
    pub(crate) given: bool,
}

impl<T: Decode> Decode for At<T> {
    fn decode(given: &Given<'_>, problems: &mut Problems) -> Option<Self> {
        T::decode(given, problems).map(|value| Self {
            value,
            place: given.place.clone(),
            given: !given.default,
        })
    }

    fn shape() -> Shape {
        T::shape()
    }

    fn when_missing() -> Complaint {
        T::when_missing()
    }
}

/// A boolean.
impl Scalar for bool {
    fn from_value(value: &Value) -> Result<Self, Complaint> {
        match value {
            Value::Bool(truth) => Ok(*truth),
            _ => Err(unexpected("true or false", value)),
        }
    }

    fn words() -> String {
        "`true` or `false`".to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "boolean" })
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(given: &Given<'_>, problems: &mut Problems) -> Option<Self> {
        match given.value {
            Value::Null => Some(None),
            _ => T::decode(given, problems).map(Some),
        }
    }

    fn shape() -> Shape {
        let inner = T::shape();
        Shape {
            schema: json!({ "anyOf": [inner.schema, { "type": "null" }] }),
            ..inner
        }
    }
}
