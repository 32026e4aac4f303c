//! Names and words of the file.

use std::sync::Arc;

use crate::config::checked::{
    AddressKind, Fingerprint, LogFilter, LogFilterError, LogFormat, ProxyVersion,
};
use crate::config::form::decode::{Text, words};
use crate::config::form::problems::{Complaint, quoted};

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

words! {
    LogFormat {
        "json" => Json,
        "text" => Text,
    }
}

words! {
    Fingerprint {
        "ja4" => Ja4,
    }
}

words! {
    ProxyVersion {
        "v2" => V2,
    }
}

words! {
    AddressKind {
        "loopback" => Loopback,
        "link_local" => LinkLocal,
        "metadata" => Metadata,
        "unspecified" => Unspecified,
        "multicast" => Multicast,
        "own_listener" => OwnListener,
    }
}
