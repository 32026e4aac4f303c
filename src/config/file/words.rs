//! Names and words of the file.

use std::ops::Deref;
use std::sync::Arc;

use hyper::Uri;

use crate::config::checked::{
    AddressKind, Balance, ENVOY_OPERATORS, Fingerprint, LINE_FIELDS, LineFormat, LinePattern,
    LinePatternError, LogFilter, LogFilterError, LogFormat, OtlpEndpoint, ProxyVersion, Refuse,
    StartTls,
};
use crate::config::form::decode::{Text, words};
use crate::config::form::problems::{Complaint, quoted};
use crate::names::{
    ListenerName, NodeName, RouteName, SourceGroupName, UpstreamName, WorkloadName, Zone,
};

/// Words that already have a meaning as a metric label.
const RESERVED: [&str; 2] = ["none", "other"];

/// A subset of a DestinationRule, in lower case like server names.
#[derive(Debug, Clone)]
pub(crate) struct Subset(pub(crate) Arc<str>);

/// The path of a Unix socket.
#[derive(Debug, Clone)]
pub(crate) struct SocketPath(pub(crate) Box<str>);

/// The longest path. The kernel allows 107 bytes (unix(7)), of which strait uses some for the name of a draft.
const LONGEST_SOCKET_PATH: usize = 96;

impl Text for SocketPath {
    const WORDS: &'static str = "absolute path of a Unix socket";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let complaint = match text {
            _ if !text.starts_with('/') => format!("{} is not an absolute path", quoted(text)),
            _ if text.len() > LONGEST_SOCKET_PATH => format!("{} is too long", quoted(text)),
            _ if text.ends_with('/') => format!("{} is a folder", quoted(text)),
            _ => return Ok(Self(text.into())),
        };
        let remedy = format!(
            "give a path such as /run/strait/takeover, of at most {LONGEST_SOCKET_PATH} bytes"
        );
        Err(Complaint::new(complaint).remedy(remedy))
    }
}

impl Text for OtlpEndpoint {
    const WORDS: &'static str = "a URL, `http://HOST:PORT/PATH`";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let remedy = "give a URL such as http://otel-collector.monitoring.svc:4318";
        let complaint =
            |what: &str| Err(Complaint::new(format!("{} {what}", quoted(text))).remedy(remedy));
        let Ok(url) = text.parse::<Uri>() else {
            return complaint("is not a URL");
        };
        match url.scheme_str() {
            Some("http") => {}
            Some("https") => return complaint("asks for TLS, and strait sends without it"),
            _ => return complaint("is not a URL with http://"),
        }
        let has_user = url
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'));
        match url.host() {
            Some(host) if !host.is_empty() && !has_user => Ok(Self {
                host: host.trim_matches(['[', ']']).into(),
                port: url.port_u16().unwrap_or(OtlpEndpoint::PORT),
                path: match url.path_and_query() {
                    Some(path) if !["", "/"].contains(&path.as_str()) => path.as_str().into(),
                    _ => OtlpEndpoint::PATH.into(),
                },
            }),
            _ => complaint("has no host, or a user before it"),
        }
    }
}

/// A word of 1 to `max` of the `allowed` characters; the complaint describes them with `words`.
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
pub(crate) fn unreserved<N: Deref<Target = str>>(name: N) -> Result<N, Complaint> {
    let text: &str = &name;
    if RESERVED.contains(&text) {
        let complaint = format!("the name {text:?} is reserved: metrics use it as a label");
        return Err(Complaint::new(complaint).remedy("choose another name"));
    }
    Ok(name)
}

/// Whether a character is in a set such as `a-z0-9_-`: ranges, and characters that stand for themselves.
pub(crate) fn is_in(set: &str, c: char) -> bool {
    let mut rest = set.chars();
    while let Some(first) = rest.next() {
        let mut range = rest.clone();
        match (range.next(), range.next()) {
            (Some('-'), Some(last)) => {
                if (first..=last).contains(&c) {
                    return true;
                }
                rest = range;
            }
            _ if first == c => return true,
            _ => {}
        }
    }
    false
}

/// Declares how a name is written: how many characters it has at most, out of which set, and what it
/// must pass besides. Its words and its pattern follow.
macro_rules! name {
    ($name:ident: up to $max:literal of $set:literal $(, $check:path)?) => {
        impl $crate::config::form::decode::Text for $name {
            const WORDS: &'static str = concat!("a name, 1 to ", $max, " of `", $set, "`");
            const PATTERN: &'static str = concat!("^[", $set, "]{1,", $max, "}$");

            fn parse(text: &str) -> Result<Self, $crate::config::form::problems::Complaint> {
                use $crate::config::file::words;
                let name = words::word(text, $max, |c| words::is_in($set, c), Self::WORDS)?;
                $(let name = $check(name)?;)?
                Ok(name.into())
            }
        }
    };
}
pub(crate) use name;

name! { ListenerName: up to 63 of "A-Za-z0-9._-", unreserved }
name! { UpstreamName: up to 63 of "A-Za-z0-9._-", unreserved }
name! { RouteName: up to 259 of "A-Za-z0-9._:*-", unreserved }
name! { SourceGroupName: up to 63 of "a-z0-9_-", unreserved }
name! { Zone: up to 63 of "A-Za-z0-9._-" }
name! { NodeName: up to 253 of "A-Za-z0-9._-" }
name! { WorkloadName: up to 63 of "A-Za-z0-9._-" }

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

impl Text for LineFormat {
    const WORDS: &'static str =
        "`json`, `text`, or a line with the operators of Envoy's format strings";
    const PATTERN: &'static str = "^(json|text)$|%";

    fn parse(text: &str) -> Result<Self, Complaint> {
        match text {
            "json" => return Ok(Self::Json),
            "text" => return Ok(Self::Text),
            _ => {}
        }
        LinePattern::parse(text).map(Self::Pattern).map_err(|error| {
            let complaint = Complaint::new(error.to_string());
            match &error {
                LinePatternError::NoOperator => {
                    let formats = ["json", "text", "off"].into_iter();
                    Complaint::new(format!("unknown value {}", quoted(text)))
                        .nearest(text, formats, "the values here are")
                        .or_remedy("give it json, text, off, or a line such as \"%START_TIME% %REQUESTED_SERVER_NAME%\"")
                }
                LinePatternError::Unknown(name) => {
                    let known = ENVOY_OPERATORS.iter().map(|known| known.name);
                    complaint
                        .nearest(name, known, "the operators are")
                        .or_remedy("docs/src/operate/outcomes.md lists the operators; %STRAIT(KEY)% gives any field of a line")
                }
                LinePatternError::Key(key) => {
                    let keys = LINE_FIELDS.iter().map(|field| field.key);
                    complaint
                        .nearest(key, keys, "the keys are")
                        .or_remedy("give it a key of a line, as in %STRAIT(outcome)%")
                }
                LinePatternError::Percent(_) => {
                    complaint.remedy("write %NAME%, %NAME(ARGUMENT)% or %NAME:LENGTH%, and %% for a percent sign")
                }
                LinePatternError::Http(_) => complaint.remedy("leave it out"),
                LinePatternError::Argument { .. } => complaint.remedy("leave the argument out"),
                LinePatternError::TimePart(_) => {
                    complaint.remedy("the parts are %Y %m %d %H %M %S %F %T %s %f, and %1f to %9f")
                }
                LinePatternError::Length(_) => complaint.remedy("give it 0 to 65535"),
                LinePatternError::Character(_) => {
                    complaint.remedy("use printable ASCII; a line break may stand at the end")
                }
                LinePatternError::TooLong => complaint,
            }
        })
    }
}

words! {
    LogFormat {
        "auto" => Auto,
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
    Refuse {
        "alert" => Alert,
        "close" => Close,
    }
}

words! {
    Balance {
        "least_connections" => LeastConnections,
        "round_robin" => RoundRobin,
        "random" => Random,
        "source_hash" => SourceHash,
        "name_hash" => NameHash,
    }
}

words! {
    ProxyVersion {
        "v2" => V2,
    }
}

words! {
    StartTls {
        "postgres" => Postgres,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_its_ranges_and_its_other_characters() {
        let set = "A-Ca-c0-9._-";
        let held: String = (' '..='~').filter(|c| is_in(set, *c)).collect();
        assert_eq!(held, "-.0123456789ABC_abc");
        assert!(is_in("._:*-", '*') && is_in("._:*-", '-') && !is_in("._:*-", ';'));
        assert!(!is_in("", '-') && !is_in("a-z", 'ä'));
    }

    #[test]
    fn what_a_name_is_made_of_is_said_once() {
        assert_eq!(Zone::WORDS, "a name, 1 to 63 of `A-Za-z0-9._-`");
        assert_eq!(Zone::PATTERN, "^[A-Za-z0-9._-]{1,63}$");
        assert!(Zone::parse("eu-1.a_B").is_ok());
        assert!(Zone::parse(&"a".repeat(64)).is_err());
        assert!(RouteName::parse("*.x:1").is_ok());
        assert!(ListenerName::parse("other").is_err() && SourceGroupName::parse("A").is_err());
    }
}
