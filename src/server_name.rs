//! `ServerName`: a normalised, validated host name, and Istio's spelling of one.
//!
//! This is the only normaliser of the program: config, sources and traffic all use
//! [`Name::parse`], so a name that a route holds and a name that a client sends compare as plain
//! strings.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// The longest name, in bytes, a trailing dot not counted (RFC 1035 section 2.3.4).
pub const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;
/// The byte that a name has for each byte of its spelling; 0 for one that no name may have.
const LOWER: [u8; 256] = lower();

const fn lower() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            table[byte as usize] = byte.to_ascii_lowercase();
        }
        byte += 1;
    }
    table
}

/// A host name in lower case, without a trailing dot: 1..=253 bytes of letters, digits, `-`, `_`
/// and `.`, labels of 1..=63 bytes that neither start nor end with `-`, the last one not all
/// digits. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerName(Arc<str>);

/// A host name as [`ServerName`] has it, which borrows its text where it can: from a hello or a config that spells it in
/// lower case, or from a [`ServerName`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name<'a>(Cow<'a, str>);

/// The reason why a text is not a server name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is empty, or only a trailing dot.
    #[error("the name is empty")]
    Empty,
    /// More than [`MAX_NAME`] bytes.
    #[error("the name is longer than 253 bytes")]
    TooLong,
    /// Two dots in a row, or a leading dot.
    #[error("the name has an empty label")]
    EmptyLabel,
    /// A label of more than 63 bytes.
    #[error("the name has a label longer than 63 bytes")]
    LabelTooLong,
    /// A label that starts or ends with `-`.
    #[error("the name has a label that starts or ends with `-`")]
    Hyphen,
    /// A byte outside letters, digits, `-`, `_` and `.`.
    #[error("the name has a character other than ASCII letters, digits, `-`, `_` and `.`")]
    Character,
    /// The last label is all digits: an IPv4 address in one of its spellings.
    #[error("the name is an IP address, or its last label is all digits")]
    NumericLastLabel,
}

impl<'a> Name<'a> {
    /// Normalises and validates `raw`, the bytes of an SNI entry or of a name in a config.
    ///
    /// # Errors
    /// A [`NameError`] for the rule of `docs/src/internals/hello-policy.md#names` that the bytes break.
    pub fn parse(raw: &'a [u8]) -> Result<Self, NameError> {
        let name = raw.strip_suffix(b".").unwrap_or(raw);
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > MAX_NAME {
            return Err(NameError::TooLong);
        }
        let (mut is_valid, mut is_lower) = (true, true);
        for byte in name {
            let lower = LOWER[usize::from(*byte)];
            is_valid &= lower != 0;
            is_lower &= lower == *byte;
        }
        if !is_valid {
            return Err(NameError::Character);
        }
        let mut last = &name[..0];
        for label in name.split(|byte| *byte == b'.') {
            match label {
                [] => return Err(NameError::EmptyLabel),
                [b'-', ..] | [.., b'-'] => return Err(NameError::Hyphen),
                _ if label.len() > MAX_LABEL => return Err(NameError::LabelTooLong),
                _ => last = label,
            }
        }
        if last.iter().all(u8::is_ascii_digit) {
            return Err(NameError::NumericLastLabel);
        }
        let text = std::str::from_utf8(name).map_err(|_| NameError::Character)?;
        Ok(Self(match is_lower {
            true => text.into(),
            false => text.to_ascii_lowercase().into(),
        }))
    }

    /// The normalised text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A copy of the name that can be kept.
    pub fn to_server_name(&self) -> ServerName {
        ServerName(self.as_str().into())
    }

    /// The parts of `outbound_.PORT_.SUBSET_.HOST`, if the name has this form.
    pub fn istio(&self) -> Option<IstioName<'_>> {
        IstioName::parse(&self.0)
    }

    /// The first label of the host, and the name without it: `a` and `b.c` for `a.b.c`, `a` and `outbound_.80_._.b.c` for
    /// `outbound_.80_._.a.b.c`. `None` if the host has one label.
    pub fn split_host(&self) -> Option<(&str, Cow<'_, str>)> {
        let (before, host) = self.before_and_host();
        let (label, rest) = host.split_once('.')?;
        let rest = match before {
            "" => rest.into(),
            _ => format!("{before}{rest}").into(),
        };
        Some((label, rest))
    }

    /// The part before the host, which only Istio's form has (`outbound_.80_._.`), and the host.
    pub fn before_and_host(&self) -> (&str, &str) {
        let name = self.as_str();
        let host = self.istio().map_or(name, |istio| istio.host);
        (name.strip_suffix(host).unwrap_or_default(), host)
    }

    /// The name and then each of its parents, most labels first: `a.b.c`, `b.c`, `c`.
    pub fn suffixes(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(Some(self.as_str()), |name| {
            name.split_once('.').map(|(_, parent)| parent)
        })
    }
}

impl ServerName {
    /// Normalises and validates `raw`, as [`Name::parse`] does.
    ///
    /// # Errors
    /// Those of [`Name::parse`].
    pub fn parse(raw: &[u8]) -> Result<Self, NameError> {
        Name::parse(raw).map(|name| name.to_server_name())
    }

    /// The normalised text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same name, borrowed.
    pub fn as_name(&self) -> Name<'_> {
        Name(self.as_str().into())
    }

    /// The name under which an Istio client asks for `port` (and `subset`, which may be empty) of this
    /// host: `outbound_.PORT_.SUBSET_.HOST`.
    ///
    /// # Errors
    /// The name would be longer than 253 bytes, or `subset` has a character that no name may have.
    pub fn istio_outbound(&self, port: u16, subset: &str) -> Result<Self, NameError> {
        Self::parse(format!("outbound_.{port}_.{subset}_.{self}").as_bytes())
    }

    /// The name whose host has `label` before this one's, so that [`Name::split_host`] gives this name.
    ///
    /// # Errors
    /// The name would be too long, or `label` is no label.
    pub fn below(&self, label: &str) -> Result<Self, NameError> {
        let name = self.as_name();
        let (before, host) = name.before_and_host();
        Self::parse(format!("{before}{label}.{host}").as_bytes())
    }
}

/// Hashes and compares like its text, so that maps keyed by names accept a `&str`.
impl std::borrow::Borrow<str> for ServerName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl serde::Serialize for ServerName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The parts of a name in the form of istio's `BuildDNSSrvSubsetKey`: `DIR_.PORT_.SUBSET_.HOST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IstioName<'a> {
    /// `outbound`. Istio also parses `inbound`, but never routes by it.
    pub direction: &'a str,
    /// The port of the Service or ServiceEntry, never a targetPort.
    pub port: u16,
    /// The DestinationRule's subset, often empty.
    pub subset: &'a str,
    /// The service's host name.
    pub host: &'a str,
}

impl<'a> IstioName<'a> {
    /// Splits at `_.` three times and refuses a host that still contains `_.`, like istio's parser.
    fn parse(name: &'a str) -> Option<Self> {
        let mut parts = name.splitn(4, "_.");
        let direction = parts.next()?;
        let port = parts.next()?.parse().ok()?;
        let subset = parts.next()?;
        let host = parts.next()?;
        let known = matches!(direction, "outbound" | "inbound");
        (known && !host.contains("_.")).then_some(Self {
            direction,
            port,
            subset,
            host,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_and_normalises() {
        for (raw, name) in [
            ("localhost", "localhost"),
            (
                "SVCB.apps.SVC.cluster.local.",
                "svcb.apps.svc.cluster.local",
            ),
            (
                "outbound_.80_._.svcb.apps.svc.cluster.local",
                "outbound_.80_._.svcb.apps.svc.cluster.local",
            ),
            ("1.2.3.4x", "1.2.3.4x"),
            ("0x7f.1.a", "0x7f.1.a"),
        ] {
            assert_eq!(ServerName::parse(raw.as_bytes()).unwrap().as_str(), name);
        }
        assert!(ServerName::parse(&[b'a'; 63]).is_ok());
    }

    #[test]
    fn a_name_in_lower_case_is_not_copied() {
        for (raw, borrowed) in [
            ("svcb.apps", true),
            ("svcb.apps.", true),
            ("Svcb.apps", false),
        ] {
            let name = Name::parse(raw.as_bytes()).unwrap();
            assert_eq!(name.as_str(), "svcb.apps");
            assert_eq!(matches!(name.0, Cow::Borrowed(_)), borrowed, "{raw}");
        }
    }

    #[test]
    fn refuses_with_the_rule_that_is_broken() {
        for (raw, error) in [
            ("", NameError::Empty),
            (".", NameError::Empty),
            ("a..b", NameError::EmptyLabel),
            (".a", NameError::EmptyLabel),
            ("a..", NameError::EmptyLabel),
            ("-a.b", NameError::Hyphen),
            ("a-.b", NameError::Hyphen),
            ("a b", NameError::Character),
            ("a\r\nb", NameError::Character),
            ("../../etc/passwd", NameError::Character),
            ("*.a", NameError::Character),
            ("::1", NameError::Character),
            ("ex\u{e4}mple", NameError::Character),
            ("127.0.0.1", NameError::NumericLastLabel),
            ("0x7f000001.1", NameError::NumericLastLabel),
            ("1615", NameError::NumericLastLabel),
            ("127.0.0.1.", NameError::NumericLastLabel),
        ] {
            assert_eq!(ServerName::parse(raw.as_bytes()), Err(error), "{raw:?}");
        }
        assert_eq!(ServerName::parse(&[b'a'; 64]), Err(NameError::LabelTooLong));
        let long = vec!["a".repeat(60); 5].join(".");
        assert_eq!(ServerName::parse(long.as_bytes()), Err(NameError::TooLong));
    }

    #[test]
    fn reads_istio_names_as_istio_does() {
        let name = Name::parse(b"outbound_.8080_.v1_.svcb.apps").unwrap();
        assert_eq!(
            name.istio(),
            Some(IstioName {
                direction: "outbound",
                port: 8080,
                subset: "v1",
                host: "svcb.apps"
            })
        );
        for no in [
            "svcb.apps",
            "outbound_.80_._.a_.b",
            "outbound_.x_._.a",
            "outbound_.70000_._.a",
            "sideways_.80_._.a",
        ] {
            assert_eq!(Name::parse(no.as_bytes()).unwrap().istio(), None);
        }
        let host = ServerName::parse(b"svcb.apps").unwrap();
        assert_eq!(
            host.istio_outbound(80, "").unwrap().as_str(),
            "outbound_.80_._.svcb.apps"
        );
    }

    #[test]
    fn the_first_label_of_a_host_is_taken_off_and_put_on_in_both_spellings() {
        for (name, parts) in [
            ("a", None),
            ("a.b", Some(("a", "b"))),
            ("a.b.c", Some(("a", "b.c"))),
            ("outbound_.80_._.a", None),
            ("outbound_.80_._.a.b", Some(("a", "outbound_.80_._.b"))),
            (
                "outbound_.080_.v1_.a.b",
                Some(("a", "outbound_.080_.v1_.b")),
            ),
            // Not Istio's form.
            ("outbound_.x_._.a.b", Some(("outbound_", "x_._.a.b"))),
        ] {
            let name = Name::parse(name.as_bytes()).unwrap();
            let found = name.split_host();
            let found = found.as_ref().map(|(label, rest)| (*label, &**rest));
            assert_eq!(found, parts, "{name}");
            if let Some((label, rest)) = parts {
                let rest = ServerName::parse(rest.as_bytes()).unwrap();
                assert_eq!(rest.below(label).unwrap().as_name(), name);
            }
        }
        let long = ServerName::parse("a.".repeat(126).as_bytes()).unwrap();
        assert_eq!(long.below("bb").unwrap_err(), NameError::TooLong);
    }
}
