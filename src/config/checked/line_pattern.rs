//! A line of the access log in a format of the operator's own, in the syntax of Envoy's format strings: text
//! with operators between percent signs, read once when the config is loaded.

use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::line_fields::LINE_FIELDS;

/// The longest format in bytes.
const LONGEST: usize = 4096;

/// The format of a line. Clones share its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinePattern {
    text: Arc<str>,
    parts: Arc<[PatternPart]>,
}

/// A part of a format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatternPart {
    /// Text that stands in every line.
    Text(Box<str>),
    /// A value, cut after this number of characters.
    Value(LineValue, Option<usize>),
}

/// A value that an operator stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineValue {
    /// That of the field with this key.
    Field(&'static str),
    /// A part of an address.
    Address(LineAddress, AddressPart),
    /// A time, in RFC 3339 or in these parts.
    Time(LineTime, Option<Box<[TimePart]>>),
    /// Whole milliseconds since accept.
    Duration,
    /// The word of Envoy for the event that the line tells of.
    Event,
    /// The TLS version in the word of Envoy.
    TlsVersion,
}

/// An address of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineAddress {
    /// The client.
    Downstream,
    /// The peer of the socket to the client.
    DownstreamDirect,
    /// The address that the client has connected to.
    DownstreamLocal,
    /// The endpoint.
    Upstream,
    /// The address from which strait has connected to the endpoint.
    UpstreamLocal,
}

/// A part of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressPart {
    /// `IP:PORT`.
    Whole,
    /// The IP address.
    Ip,
    /// The port.
    Port,
}

/// A time of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineTime {
    /// The time of accept.
    Start,
    /// The time of the line.
    Emit,
}

/// A part of a time in a format like that of strftime(3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimePart {
    /// Text.
    Text(char),
    /// The bytes from the first to before the second place of `YYYY-MM-DDTHH:MM:SS.nnnnnnnnn`.
    Digits(usize, usize),
    /// Seconds since 1970.
    Seconds,
}

/// An operator of Envoy's that strait knows.
#[derive(Debug, Clone, Copy)]
pub struct EnvoyOperator {
    /// Its name.
    pub name: &'static str,
    /// The field of a line, or the part of one, that it gives.
    pub gives: &'static str,
    value: Operand,
}

#[derive(Debug, Clone, Copy)]
enum Operand {
    Field(&'static str),
    Address(LineAddress, AddressPart),
    Time(LineTime),
    Duration,
    Event,
    TlsVersion,
    /// `%STRAIT(KEY)%`.
    Named,
}

/// The reason why a text is not the format of a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinePatternError {
    /// It has no operator.
    #[error("it has no operator")]
    NoOperator,
    /// It is too long.
    #[error("it is longer than {LONGEST} bytes")]
    TooLong,
    /// It has a character that must not stand in a line.
    #[error("it has the character {0:?}")]
    Character(char),
    /// A percent sign without an operator behind it.
    #[error("the percent sign before {0:?} begins no operator")]
    Percent(String),
    /// strait does not know the operator.
    #[error("there is no operator %{0}%")]
    Unknown(String),
    /// The operator is about requests of HTTP.
    #[error("%{0}% is about requests of HTTP, which strait does not see")]
    Http(String),
    /// The operator takes no argument, or not this one.
    #[error("%{operator}% does not take ({argument})")]
    Argument {
        /// The operator.
        operator: &'static str,
        /// The argument.
        argument: String,
    },
    /// `%STRAIT%` with the key of no field.
    #[error("a line has no key {0:?}")]
    Key(String),
    /// The part of a time is not known.
    #[error("%{0} is no part of a time that strait knows")]
    TimePart(String),
    /// The number of characters is none.
    #[error("{0:?} is not a number of characters")]
    Length(String),
}

const fn field(name: &'static str, key: &'static str) -> EnvoyOperator {
    EnvoyOperator {
        name,
        gives: key,
        value: Operand::Field(key),
    }
}

const fn operator(name: &'static str, gives: &'static str, value: Operand) -> EnvoyOperator {
    EnvoyOperator { name, gives, value }
}

use AddressPart::{Ip, Port, Whole};
use LineAddress::{Downstream, DownstreamDirect, DownstreamLocal, Upstream, UpstreamLocal};

const fn address(
    name: &'static str,
    gives: &'static str,
    of: LineAddress,
    part: AddressPart,
) -> EnvoyOperator {
    operator(name, gives, Operand::Address(of, part))
}

/// Every operator that strait knows. `%STRAIT(KEY)%` is strait's own.
pub const ENVOY_OPERATORS: &[EnvoyOperator] = &[
    operator(
        "START_TIME",
        "`start`; `%START_TIME(%Y-%m-%dT%H:%M:%S.%3f)%` in a format like that of strftime(3) (`%Y %m %d %H %M %S %F %T %s %f %1f`..`%9f`)",
        Operand::Time(LineTime::Start),
    ),
    operator(
        "EMIT_TIME",
        "`time`, as `START_TIME`",
        Operand::Time(LineTime::Emit),
    ),
    operator(
        "DURATION",
        "`duration_ms` in whole milliseconds",
        Operand::Duration,
    ),
    operator(
        "ACCESS_LOG_TYPE",
        "`TcpUpstreamConnected` (`event` is `open`), `TcpPeriodic` (`interval`) or `TcpConnectionEnd`",
        Operand::Event,
    ),
    field("CONNECTION_ID", "connection"),
    address("DOWNSTREAM_REMOTE_ADDRESS", "`source`", Downstream, Whole),
    address(
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        "its IP address",
        Downstream,
        Ip,
    ),
    address("DOWNSTREAM_REMOTE_PORT", "its port", Downstream, Port),
    address(
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
        "`proxy`, or `source` if no proxy announced the client",
        DownstreamDirect,
        Whole,
    ),
    address(
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
        "its IP address",
        DownstreamDirect,
        Ip,
    ),
    address(
        "DOWNSTREAM_DIRECT_REMOTE_PORT",
        "its port",
        DownstreamDirect,
        Port,
    ),
    address(
        "DOWNSTREAM_LOCAL_ADDRESS",
        "the address that the client connected to, of a connection that relayed or that a proxy announced",
        DownstreamLocal,
        Whole,
    ),
    address(
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
        "its IP address",
        DownstreamLocal,
        Ip,
    ),
    address("DOWNSTREAM_LOCAL_PORT", "its port", DownstreamLocal, Port),
    field("REQUESTED_SERVER_NAME", "server_name"),
    field("TLS_JA4_FINGERPRINT", "ja4"),
    operator(
        "DOWNSTREAM_TLS_VERSION",
        "`tls_version`, such as `TLSv1.3`",
        Operand::TlsVersion,
    ),
    field("DOWNSTREAM_TLS_CIPHER", "tls_cipher"),
    field("ROUTE_NAME", "route"),
    field("UPSTREAM_CLUSTER", "upstream"),
    field("UPSTREAM_CLUSTER_RAW", "upstream"),
    address("UPSTREAM_HOST", "`endpoint`", Upstream, Whole),
    address("UPSTREAM_REMOTE_ADDRESS", "`endpoint`", Upstream, Whole),
    address(
        "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        "its IP address",
        Upstream,
        Ip,
    ),
    address("UPSTREAM_REMOTE_PORT", "its port", Upstream, Port),
    address(
        "UPSTREAM_LOCAL_ADDRESS",
        "`upstream_local`",
        UpstreamLocal,
        Whole,
    ),
    address(
        "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
        "its IP address",
        UpstreamLocal,
        Ip,
    ),
    address("UPSTREAM_LOCAL_PORT", "its port", UpstreamLocal, Port),
    field("UPSTREAM_REQUEST_ATTEMPT_COUNT", "attempts"),
    field("RESPONSE_FLAGS", "flags"),
    field("CONNECTION_TERMINATION_DETAILS", "detail"),
    field("BYTES_RECEIVED", "to_upstream_bytes"),
    field("BYTES_SENT", "to_downstream_bytes"),
    field("DOWNSTREAM_WIRE_BYTES_RECEIVED", "to_upstream_bytes"),
    field("DOWNSTREAM_WIRE_BYTES_SENT", "to_downstream_bytes"),
    field("UPSTREAM_WIRE_BYTES_SENT", "to_upstream_bytes"),
    field("UPSTREAM_WIRE_BYTES_RECEIVED", "to_downstream_bytes"),
    operator(
        "STRAIT",
        "any field by its key: `%STRAIT(outcome)%`, `%STRAIT(pod)%`",
        Operand::Named,
    ),
];

/// Operators of Envoy's for requests of HTTP.
const OF_HTTP: &[&str] = &[
    "REQ",
    "RESP",
    "TRAILER",
    "PROTOCOL",
    "RESPONSE_CODE",
    "RESPONSE_CODE_DETAILS",
    "REQUEST_DURATION",
    "RESPONSE_DURATION",
    "RESPONSE_TX_DURATION",
    "REQUEST_HEADERS_BYTES",
    "RESPONSE_HEADERS_BYTES",
    "STREAM_ID",
    "GRPC_STATUS",
    "GRPC_STATUS_NUMBER",
    "PATH",
    "QUERY_PARAM",
];

impl LinePattern {
    /// Reads a format. Like Envoy's files it may end with a line break, which every line has anyway.
    ///
    /// # Errors
    /// The first part that strait does not understand.
    pub fn parse(text: &str) -> Result<Self, LinePatternError> {
        if text.len() > LONGEST {
            return Err(LinePatternError::TooLong);
        }
        let format = text.strip_suffix('\n').unwrap_or(text);
        let stands = |c: &char| matches!(c, ' '..='~' | '\t');
        if let Some(wrong) = format.chars().find(|c| !stands(c)) {
            return Err(LinePatternError::Character(wrong));
        }
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = format;
        while let Some((before, after)) = rest.split_once('%') {
            plain.push_str(before);
            if let Some(after) = after.strip_prefix('%') {
                plain.push('%');
                rest = after;
                continue;
            }
            let (value, after) = value(after)?;
            if !plain.is_empty() {
                parts.push(PatternPart::Text(std::mem::take(&mut plain).into()));
            }
            parts.push(value);
            rest = after;
        }
        plain.push_str(rest);
        if parts.is_empty() {
            return Err(LinePatternError::NoOperator);
        }
        if !plain.is_empty() {
            parts.push(PatternPart::Text(plain.into()));
        }
        Ok(Self {
            text: text.into(),
            parts: parts.into(),
        })
    }

    /// The parts, in the order of a line.
    pub fn parts(&self) -> &[PatternPart] {
        &self.parts
    }

    /// Whether a line has the address that the client has connected to.
    pub fn has_downstream_local(&self) -> bool {
        let is = |part: &PatternPart| {
            matches!(
                part,
                PatternPart::Value(LineValue::Address(DownstreamLocal, _), _)
            )
        };
        self.parts.iter().any(is)
    }
}

impl Serialize for LinePattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// Reads the operator that `text` begins with, after its first percent sign. Returns the text after it too.
fn value(text: &str) -> Result<(PatternPart, &str), LinePatternError> {
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    let none = || LinePatternError::Percent(text.chars().take(16).collect());
    let mut argument = None;
    if let Some(after) = rest.strip_prefix('(') {
        let (inside, after) = after.split_once(')').ok_or_else(none)?;
        (argument, rest) = (Some(inside), after);
    }
    let mut longest = None;
    if let Some(after) = rest.strip_prefix(':') {
        let (number, _) = after.split_once('%').ok_or_else(none)?;
        let wrong = || LinePatternError::Length(number.to_owned());
        longest = Some(number.parse::<u16>().map_err(|_| wrong())?.into());
        rest = after.get(number.len()..).unwrap_or_default();
    }
    let rest = rest.strip_prefix('%').filter(|_| !name.is_empty());
    let rest = rest.ok_or_else(none)?;
    let value = operand(name, argument)?;
    Ok((PatternPart::Value(value, longest), rest))
}

fn operand(name: &str, argument: Option<&str>) -> Result<LineValue, LinePatternError> {
    let Some(known) = ENVOY_OPERATORS.iter().find(|known| known.name == name) else {
        let name = name.to_owned();
        return Err(match OF_HTTP.contains(&&*name) {
            true => LinePatternError::Http(name),
            false => LinePatternError::Unknown(name),
        });
    };
    let value = match (known.value, argument) {
        (Operand::Time(of), format) => LineValue::Time(of, format.map(time_parts).transpose()?),
        (Operand::Named, Some(key)) => {
            let mut fields = LINE_FIELDS.iter();
            let field = fields.find(|field| field.key == key);
            let field = field.ok_or_else(|| LinePatternError::Key(key.to_owned()))?;
            LineValue::Field(field.key)
        }
        (Operand::Named, None) => return Err(LinePatternError::Key(String::new())),
        (_, Some(argument)) => {
            return Err(LinePatternError::Argument {
                operator: known.name,
                argument: argument.to_owned(),
            });
        }
        (Operand::Field(key), None) => LineValue::Field(key),
        (Operand::Address(of, part), None) => LineValue::Address(of, part),
        (Operand::Duration, None) => LineValue::Duration,
        (Operand::Event, None) => LineValue::Event,
        (Operand::TlsVersion, None) => LineValue::TlsVersion,
    };
    Ok(value)
}

/// The bytes of the fraction of a second.
const FRACTION: usize = 20;

fn time_parts(format: &str) -> Result<Box<[TimePart]>, LinePatternError> {
    let mut parts = Vec::new();
    let mut rest = format.chars();
    let digits = |range: (usize, usize)| TimePart::Digits(range.0, range.1);
    let (year, month, day) = ((0, 4), (5, 7), (8, 10));
    let (hour, minute, second) = ((11, 13), (14, 16), (17, 19));
    while let Some(c) = rest.next() {
        if c != '%' {
            parts.push(TimePart::Text(c));
            continue;
        }
        match rest.next() {
            Some('Y') => parts.push(digits(year)),
            Some('m') => parts.push(digits(month)),
            Some('d') => parts.push(digits(day)),
            Some('H') => parts.push(digits(hour)),
            Some('M') => parts.push(digits(minute)),
            Some('S') => parts.push(digits(second)),
            Some('F') => parts.push(digits((year.0, day.1))),
            Some('T') => parts.push(digits((hour.0, second.1))),
            Some('s') => parts.push(TimePart::Seconds),
            Some('f') => parts.push(digits((FRACTION, FRACTION + 9))),
            Some('z') => parts.extend("+0000".chars().map(TimePart::Text)),
            Some(count @ '1'..='9') if rest.as_str().starts_with('f') => {
                rest.next();
                let count = count.to_digit(10).unwrap_or_default() as usize;
                parts.push(digits((FRACTION, FRACTION + count)));
            }
            wrong => {
                let wrong = wrong.map(String::from).unwrap_or_default();
                return Err(LinePatternError::TimePart(wrong));
            }
        }
    }
    Ok(parts.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Vec<PatternPart> {
        LinePattern::parse(text).unwrap().parts().to_vec()
    }

    #[test]
    fn text_and_operators_alternate() {
        let text = |text: &str| PatternPart::Text(text.into());
        let field = |key, longest| PatternPart::Value(LineValue::Field(key), longest);
        assert_eq!(
            parts("[%CONNECTION_ID%] 100%% %REQUESTED_SERVER_NAME:63%%STRAIT(pod)%\n"),
            [
                text("["),
                field("connection", None),
                text("] 100% "),
                field("server_name", Some(63)),
                field("pod", None),
            ]
        );
        let time = [
            TimePart::Digits(11, 19),
            TimePart::Text('.'),
            TimePart::Digits(20, 23),
        ];
        let time = LineValue::Time(LineTime::Start, Some(time.into()));
        assert_eq!(
            parts("%START_TIME(%T.%3f)%"),
            [PatternPart::Value(time, None)]
        );
    }

    #[test]
    fn a_format_that_is_not_understood_is_refused() {
        use LinePatternError as Wrong;
        let owned = str::to_owned;
        for (text, wrong) in [
            ("no operator", Wrong::NoOperator),
            ("", Wrong::NoOperator),
            ("%%", Wrong::NoOperator),
            ("%BYTES_SENT", Wrong::Percent(owned("BYTES_SENT"))),
            ("%bytes_sent%", Wrong::Percent(owned("bytes_sent%"))),
            ("100% %BYTES_SENT%", Wrong::Percent(owned(" %BYTES_SENT%"))),
            ("%BYTES_SEND%", Wrong::Unknown(owned("BYTES_SEND"))),
            ("%REQ(:METHOD)%", Wrong::Http(owned("REQ"))),
            (
                "%BYTES_SENT(x)%",
                Wrong::Argument {
                    operator: "BYTES_SENT",
                    argument: owned("x"),
                },
            ),
            ("%STRAIT(x)%", Wrong::Key(owned("x"))),
            ("%STRAIT%", Wrong::Key(String::new())),
            ("%START_TIME(%Q)%", Wrong::TimePart(owned("Q"))),
            ("%START_TIME(%)%", Wrong::TimePart(String::new())),
            ("%BYTES_SENT:x%", Wrong::Length(owned("x"))),
            ("a\n%BYTES_SENT%", Wrong::Character('\n')),
            ("\u{1b}%BYTES_SENT%", Wrong::Character('\u{1b}')),
        ] {
            assert_eq!(LinePattern::parse(text), Err(wrong), "{text:?}");
        }
        let long = format!("%BYTES_SENT%{}", "x".repeat(LONGEST));
        assert_eq!(LinePattern::parse(&long), Err(Wrong::TooLong));
    }

    #[test]
    fn every_operator_is_read_and_gives_a_field_that_there_is() {
        for known in ENVOY_OPERATORS {
            let argument = match known.value {
                Operand::Named => "(outcome)",
                _ => "",
            };
            assert!(LinePattern::parse(&format!("%{}{argument}%", known.name)).is_ok());
            if let Operand::Field(key) = known.value {
                assert!(LINE_FIELDS.iter().any(|field| field.key == key), "{key}");
            }
        }
        for field in LINE_FIELDS.iter().filter(|field| !field.envoy.is_empty()) {
            assert!(LinePattern::parse(field.envoy).is_ok(), "{}", field.envoy);
        }
    }
}
