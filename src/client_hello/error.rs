//! The errors of a hello that strait does not route, and the alerts for them.

use super::{Alert, MAX_FRAGMENT, SSL_REQUEST};
use crate::outcome::Outcome;
use crate::server_name::{MAX_NAME, NameError};

/// The reason why a connection's first bytes are refused. Every text is safe to log, since bytes of the
/// client are escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// The peer does not speak TLS, so no alert would be understood.
    #[error("not TLS: {0}")]
    NotTls(NotTls),
    /// The hello breaks RFC 8446, RFC 6066 or RFC 7301.
    #[error("malformed ClientHello: {0}")]
    Malformed(MalformedReason),
    /// The message's header claims more bytes than are accepted. Nothing was allocated for it.
    #[error("the ClientHello claims {claimed} bytes, more than the {max_size} that are accepted")]
    TooLarge {
        /// The length of the message with its 4-byte header, in bytes.
        claimed: usize,
        /// The bound from [`super::HelloParser::new`].
        max_size: usize,
    },
    /// A well-formed hello without a server_name extension, for a parser that demands one.
    #[error("the ClientHello has no server_name extension")]
    NoSni,
    /// A well-formed hello whose server name breaks the name policy.
    #[error("bad server name \"{}\": {error}", raw.escape_ascii())]
    BadServerName {
        /// The name as it came, cut to [`HelloError::MAX_RAW_NAME`] bytes.
        raw: Box<[u8]>,
        /// The rule that it breaks.
        error: NameError,
    },
}

impl HelloError {
    /// The number of bytes kept of a bad name: enough to see that it is too long.
    pub const MAX_RAW_NAME: usize = MAX_NAME + 1;

    pub(super) fn bad_server_name(raw: &[u8], error: NameError) -> Self {
        let kept = raw.get(..Self::MAX_RAW_NAME).unwrap_or(raw);
        Self::BadServerName {
            raw: kept.into(),
            error,
        }
    }

    /// The outcome for metrics and the access log.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::NotTls(_) => Outcome::NotTls,
            Self::Malformed(_) => Outcome::HelloMalformed,
            Self::TooLarge { .. } => Outcome::HelloTooLarge,
            Self::NoSni => Outcome::NoSni,
            Self::BadServerName { .. } => Outcome::BadServerName,
        }
    }

    /// The alert to send before closing; `None` for a peer that does not speak TLS.
    pub fn alert(&self) -> Option<Alert> {
        match self {
            Self::NotTls(_) => None,
            Self::Malformed(reason) => Some(reason.alert()),
            // RFC 8446 section 9.2 has missing_extension for the second case, but clients older than
            // TLS 1.3 log it as an unknown number. Every client knows the name of this one.
            Self::TooLarge { .. } | Self::NoSni => Some(Alert::HandshakeFailure),
            Self::BadServerName { .. } => Some(Alert::UnrecognizedName),
        }
    }

    /// The rule that the bytes break, with the document that has it.
    pub fn clause(&self) -> &'static str {
        match self {
            Self::NotTls(_) => {
                "RFC 8446 section 5.1: a client begins with a handshake record, of type 22 and major version 3"
            }
            Self::Malformed(reason) => reason.clause(),
            Self::TooLarge { .. } => "no RFC: `client_hello.max_size` of the listener is the limit",
            Self::NoSni => {
                "RFC 8446 section 9.2: a client should send server_name; without one strait needs a route with `no_sni: true`"
            }
            Self::BadServerName { .. } => {
                "RFC 6066 section 3: the name is a DNS host name in ASCII, and no IP address"
            }
        }
    }

    /// The first thing for an operator to check, if the bytes show one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotTls(NotTls::Http) => Some("plain HTTP: DestinationRule ISTIO_MUTUAL missing?"),
            Self::NotTls(NotTls::ProxyHeader) => {
                Some("is the peer missing in the listener's `proxy_protocol.trusted`?")
            }
            Self::NoSni => Some(
                "a client that was given an IP address names none: SPIRE's bundleEndpointURL needs a name",
            ),
            Self::NotTls(NotTls::Postgres) => {
                Some("the listener needs `starttls: postgres`, or the client sslnegotiation=direct")
            }
            Self::NotTls(NotTls::Ssh) => Some("SSH names no server, so it cannot be routed"),
            _ => None,
        }
    }
}

// Not thiserror's `from`: that would make the reason a source too, and chains would print it twice.
impl From<MalformedReason> for HelloError {
    fn from(reason: MalformedReason) -> Self {
        Self::Malformed(reason)
    }
}

/// The protocol that a peer without TLS seems to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTls {
    /// An HTTP request line, or HTTP/2's connection preface.
    #[error("a plain HTTP request")]
    Http,
    /// A PROXY protocol header, version 1 or 2.
    #[error("a PROXY protocol header")]
    ProxyHeader,
    /// PostgreSQL's SSLRequest, which asks whether TLS may begin.
    #[error("PostgreSQL's SSLRequest")]
    Postgres,
    /// The first line of SSH.
    #[error("an SSH client")]
    Ssh,
    /// A ClientHello in SSLv2's framing, forbidden since RFC 6176.
    #[error("an SSLv2 ClientHello")]
    Sslv2,
    /// Anything else whose first byte starts no handshake record.
    #[error("expected first byte 0x16, received {0:#04x}")]
    FirstByte(u8),
    /// A first byte as in a handshake record, followed by no version of TLS.
    #[error("expected major version 3, received {0}")]
    MajorVersion(u8),
}

impl NotTls {
    /// Names the protocol that `wire` begins with, from the bytes that are there. The connection is
    /// refused at the first byte and does not wait for a better name.
    pub(super) fn classify(wire: &[u8]) -> Self {
        let starts = |prefixes: &[&[u8]]| prefixes.iter().any(|prefix| wire.starts_with(prefix));
        match *wire {
            _ if starts(HTTP_PREFIXES) => Self::Http,
            _ if starts(PROXY_PREFIXES) => Self::ProxyHeader,
            _ if starts(&[&SSL_REQUEST]) => Self::Postgres,
            _ if starts(&[b"SSH-"]) => Self::Ssh,
            // RFC 5246 appendix E.2: the length's high bit is set and the message type is 1.
            [0x80..=0xff, _, 1, ..] => Self::Sslv2,
            [super::RECORD_TYPE_HANDSHAKE, major, ..] => Self::MajorVersion(major),
            [first, ..] => Self::FirstByte(first),
            [] => Self::FirstByte(0),
        }
    }
}

/// The methods of RFC 9110 section 9 and PATCH, and the preface of RFC 9113 section 3.4.
const HTTP_PREFIXES: &[&[u8]] = &[
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"CONNECT ",
    b"OPTIONS ",
    b"TRACE ",
    b"PATCH ",
    b"PRI * HTTP/2.0",
];

/// The signatures of HAProxy's proxy-protocol.txt, sections 2.1 and 2.2.
const PROXY_PREFIXES: &[&[u8]] = &[b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"];

/// The rule that a malformed hello breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedReason {
    /// A record of another type before the hello ended.
    #[error("expected a handshake record (type 22), received type {0}")]
    RecordType(u8),
    /// A record that is not TLS, after one that was.
    #[error("expected a record of major version 3, received {0}")]
    RecordVersion(u8),
    /// A record longer than 2^14 bytes.
    #[error("expected a record of at most {MAX_FRAGMENT} bytes, received one of {0}")]
    RecordLength(usize),
    /// A handshake record of length 0.
    #[error("a handshake record is empty")]
    EmptyRecord,
    /// The first handshake message is another one.
    #[error("expected a ClientHello (type 1), received handshake type {0}")]
    HandshakeType(u8),
    /// The hello ends before its last record does.
    #[error("{0} bytes follow the hello in its last record")]
    BytesAfterHello(usize),
    /// The message ends within one of its fields.
    #[error("the message ends too early")]
    Truncated,
    /// A session id of more than 32 bytes.
    #[error("expected a session id of at most 32 bytes, received one of {0}")]
    SessionId(u8),
    /// There are no cipher suites, or their length is odd or exceeds the message.
    #[error("the cipher suites have a wrong length")]
    CipherSuites,
    /// There are no compression methods, or their length exceeds the message.
    #[error("the compression methods have a wrong length")]
    CompressionMethods,
    /// The extensions are longer than the message.
    #[error("the extensions have a wrong length")]
    Extensions,
    /// The message goes on after its extensions.
    #[error("{0} bytes follow the extensions")]
    BytesAfterExtensions(usize),
    /// An extension ends within its header, or is longer than the extensions.
    #[error("an extension has a wrong length")]
    Extension,
    /// Two extensions of one type.
    #[error("the extension of type {0} comes twice")]
    DuplicateExtension(u16),
    /// A length in the server_name extension does not fit.
    #[error("the server_name extension has a wrong length")]
    ServerNameLength,
    /// A server_name extension without an entry.
    #[error("the server name list is empty")]
    EmptyServerNameList,
    /// An entry of a type other than host_name.
    #[error("expected a server name of type host_name (0), received type {0}")]
    NameType(u8),
    /// More than one entry, or bytes after the first.
    #[error("the server name list goes on after its first name")]
    SeveralServerNames,
    /// A host_name of length 0.
    #[error("the host name has length 0")]
    EmptyHostName,
    /// The ALPN extension's list does not parse, is empty or contains an empty vector.
    #[error("the ALPN extension is malformed")]
    Alpn,
}

impl MalformedReason {
    /// The rule with its place in an RFC.
    fn clause(self) -> &'static str {
        match self {
            Self::RecordType(_) => {
                "RFC 8446 section 5.1: other records must not stand between those of a handshake message"
            }
            Self::RecordVersion(_) => {
                "RFC 8446 section 5.1: legacy_record_version has the major version 3"
            }
            Self::RecordLength(_) => "RFC 8446 section 5.1: a fragment must not exceed 2^14 bytes",
            Self::EmptyRecord => {
                "RFC 8446 section 5.1: fragments of handshake messages must not have length 0"
            }
            Self::HandshakeType(_) => {
                "RFC 8446 section 4.1.2: the first message of a client is a ClientHello"
            }
            Self::BytesAfterHello(_) => {
                "RFC 8446 section 5.1: a message before a change of keys must end with its record"
            }
            Self::Truncated => "RFC 8446 section 4.1.2: the fields of a ClientHello",
            Self::SessionId(_) => "RFC 8446 section 4.1.2: legacy_session_id<0..32>",
            Self::CipherSuites => {
                "RFC 8446 section 4.1.2: cipher_suites<2..2^16-2>, two bytes each"
            }
            Self::CompressionMethods => {
                "RFC 8446 section 4.1.2: legacy_compression_methods<1..2^8-1>"
            }
            Self::Extensions | Self::BytesAfterExtensions(_) => {
                "RFC 8446 section 4.1.2: extensions<8..2^16-1> are the end of the message"
            }
            Self::Extension => "RFC 8446 section 4.2: extension_data<0..2^16-1>",
            Self::DuplicateExtension(_) => {
                "RFC 8446 section 4.2: there must not be more than one extension of the same type"
            }
            Self::ServerNameLength | Self::EmptyServerNameList => {
                "RFC 6066 section 3: server_name_list<1..2^16-1>"
            }
            Self::NameType(_) => "RFC 6066 section 3: the one type of name is host_name (0)",
            Self::SeveralServerNames => {
                "RFC 6066 section 3: the list must not have more than one name of the same type"
            }
            Self::EmptyHostName => "RFC 6066 section 3: HostName<1..2^16-1>",
            Self::Alpn => {
                "RFC 7301 section 3.1: protocol_name_list<2..2^16-1> of ProtocolName<1..2^8-1>"
            }
        }
    }

    /// The alert that RFC 8446 sections 5, 5.1 and 6.2 demand.
    fn alert(self) -> Alert {
        match self {
            Self::RecordType(_)
            | Self::EmptyRecord
            | Self::HandshakeType(_)
            | Self::BytesAfterHello(_) => Alert::UnexpectedMessage,
            Self::RecordLength(_) => Alert::RecordOverflow,
            Self::DuplicateExtension(_) | Self::NameType(_) | Self::SeveralServerNames => {
                Alert::IllegalParameter
            }
            Self::RecordVersion(_)
            | Self::Truncated
            | Self::SessionId(_)
            | Self::CipherSuites
            | Self::CompressionMethods
            | Self::Extensions
            | Self::BytesAfterExtensions(_)
            | Self::Extension
            | Self::ServerNameLength
            | Self::EmptyServerNameList
            | Self::EmptyHostName
            | Self::Alpn => Alert::DecodeError,
        }
    }
}
