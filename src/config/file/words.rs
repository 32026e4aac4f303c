//! Names and words of the file.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::config::checked::{
    AddressKind, Fingerprint, LogFilter, LogFilterError, LogFormat, ProxyVersion,
};
use crate::config::form::decode::{Scalar, Text, one_of, unexpected};
use crate::config::form::problems::{Complaint, quoted};
use crate::config::form::tree::Value;

/// Words that mean something as a metric label already.
const RESERVED: [&str; 2] = ["none", "other"];

/// The name of a listener or an upstream: a metric label.
#[derive(Debug, Clone)]
pub(crate) struct Name(pub(crate) Arc<str>);

/// The name of a route: as [`Name`], and what `HOST:PORT` or a wildcard pattern needs.
#[derive(Debug, Clone)]
pub(crate) struct RouteName(pub(crate) Arc<str>);

/// The name of a source group.
#[derive(Debug, Clone)]
pub(crate) struct SourceName(pub(crate) Arc<str>);

/// The name of a zone, as the label `topology.kubernetes.io/zone` holds it.
#[derive(Debug, Clone)]
pub(crate) struct Zone(pub(crate) Arc<str>);

/// A subset of a DestinationRule, in lower case as server names are.
#[derive(Debug, Clone)]
pub(crate) struct Subset(pub(crate) Arc<str>);

/// 1 to `max` of the `allowed` characters; `words` says so in the complaint.
pub(crate) fn word(
    text: &str,
    max: usize,
    allowed: fn(char) -> bool,
    words: &str,
) -> Result<Arc<str>, Complaint> {
    let complaint = match text.chars().find(|c| !allowed(*c)) {
        Some(wrong) => format!("the name {} holds {wrong:?}", quoted(text)),
        None if text.is_empty() => "the name is empty".to_owned(),
        None if text.len() > max => format!("the name {} is too long", quoted(text)),
        None => return Ok(text.into()),
    };
    Err(Complaint::new(complaint).remedy(format!("give it {words}")))
}

/// Refuses the words that metrics use for "no route" and "no group".
pub(crate) fn unreserved(name: Arc<str>) -> Result<Arc<str>, Complaint> {
    if RESERVED.contains(&&*name) {
        let complaint = format!("the name {name:?} is reserved: metrics use it as a label");
        return Err(Complaint::new(complaint).remedy("choose another name"));
    }
    Ok(name)
}

impl Text for Name {
    const WORDS: &'static str = "a name, 1 to 63 of `A-Za-z0-9._-`";
    const PATTERN: &'static str = "^[A-Za-z0-9._-]{1,63}$";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        word(text, 63, allowed, Self::WORDS)
            .and_then(unreserved)
            .map(Self)
    }
}

impl Text for RouteName {
    const WORDS: &'static str = "a name, 1 to 259 of `A-Za-z0-9._:*-`";
    const PATTERN: &'static str = "^[A-Za-z0-9._:*-]{1,259}$";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let allowed =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '*');
        word(text, 259, allowed, Self::WORDS)
            .and_then(unreserved)
            .map(Self)
    }
}

impl Text for SourceName {
    const WORDS: &'static str = "a name, 1 to 63 of `a-z0-9_-`";
    const PATTERN: &'static str = "^[a-z0-9_-]{1,63}$";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let allowed =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
        word(text, 63, allowed, Self::WORDS)
            .and_then(unreserved)
            .map(Self)
    }
}

impl Text for Zone {
    const WORDS: &'static str = "a name, 1 to 63 of `A-Za-z0-9._-`";
    const PATTERN: &'static str = "^[A-Za-z0-9._-]{1,63}$";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        word(text, 63, allowed, Self::WORDS).map(Self)
    }
}

impl Text for Subset {
    const WORDS: &'static str = "a name, 1 to 63 of `a-z0-9-`";
    const PATTERN: &'static str = "^[A-Za-z0-9-]{1,63}$";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
        word(text, 63, allowed, Self::WORDS).map(|word| Self(word.to_ascii_lowercase().into()))
    }
}

impl Text for LogFilter {
    const WORDS: &'static str =
        "off, error, warn, info, debug or trace; also TARGET=LEVEL, by commas";

    fn parse(text: &str) -> Result<Self, Complaint> {
        Self::parse(text).map_err(|error| match error {
            LogFilterError::Level(word) => {
                let complaint = Complaint::new(format!("unknown value {}", quoted(&word)));
                let levels = Self::LEVELS.iter().copied();
                complaint.nearest(&word, levels, "the values here are")
            }
            LogFilterError::NoTarget(directive) => {
                Complaint::new(format!("{} names no target", quoted(&directive)))
                    .remedy("write TARGET=LEVEL, such as strait::proxy=debug")
            }
            LogFilterError::TooLong | LogFilterError::Malformed(_) => {
                Complaint::new(format!("{} is not a log filter: {error}", quoted(text)))
                    .remedy("write TARGET=LEVEL, such as strait::proxy=debug")
            }
        })
    }
}

impl Scalar for LogFormat {
    fn from_value(value: &Value) -> Result<Self, Complaint> {
        let words = [("json", Self::Json), ("text", Self::Text)];
        match value {
            Value::Text(text) => one_of(text, &words),
            _ => Err(unexpected(Self::words(), value)),
        }
    }

    fn words() -> String {
        "`json` or `text`".to_owned()
    }

    fn schema() -> Json {
        json!({ "enum": ["json", "text"] })
    }
}

impl Scalar for Fingerprint {
    fn from_value(value: &Value) -> Result<Self, Complaint> {
        match value {
            Value::Text(text) => one_of(text, &[("ja4", Self::Ja4)]),
            _ => Err(unexpected(Self::words(), value)),
        }
    }

    fn words() -> String {
        "`ja4`".to_owned()
    }

    fn schema() -> Json {
        json!({ "enum": ["ja4"] })
    }
}

impl Scalar for ProxyVersion {
    fn from_value(value: &Value) -> Result<Self, Complaint> {
        match value {
            Value::Text(text) => one_of(text, &[("v2", Self::V2)]),
            _ => Err(unexpected(Self::words(), value)),
        }
    }

    fn words() -> String {
        "`v2`".to_owned()
    }

    fn schema() -> Json {
        json!({ "enum": ["v2"] })
    }
}

const ADDRESS_KINDS: [(&str, AddressKind); 6] = [
    ("loopback", AddressKind::Loopback),
    ("link_local", AddressKind::LinkLocal),
    ("metadata", AddressKind::Metadata),
    ("unspecified", AddressKind::Unspecified),
    ("multicast", AddressKind::Multicast),
    ("own_listener", AddressKind::OwnListener),
];

impl Scalar for AddressKind {
    fn from_value(value: &Value) -> Result<Self, Complaint> {
        match value {
            Value::Text(text) => one_of(text, &ADDRESS_KINDS),
            _ => Err(unexpected(Self::words(), value)),
        }
    }

    fn words() -> String {
        ADDRESS_KINDS
            .map(|(word, _)| format!("`{word}`"))
            .join(", ")
    }

    fn schema() -> Json {
        json!({ "enum": ADDRESS_KINDS.map(|(word, _)| word) })
    }
}
