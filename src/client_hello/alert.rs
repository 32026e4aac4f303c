//! The TLS alerts that a refused client gets.

use std::fmt;

/// The alert descriptions in the words of RFC 8446 section 6. All of them are fatal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Alert {
    /// A message came that is not allowed before the end of the hello.
    UnexpectedMessage = 10,
    /// A record is longer than 2^14 bytes.
    RecordOverflow = 22,
    /// This gateway does not serve such a hello.
    HandshakeFailure = 40,
    /// A field is well-formed but forbidden.
    IllegalParameter = 47,
    /// A length or a field is out of range.
    DecodeError = 50,
    /// There is no server of that name (RFC 6066 section 3).
    UnrecognizedName = 112,
    /// None of the protocols offered is served under that name (RFC 7301 section 3.2).
    NoApplicationProtocol = 120,
}

impl Alert {
    /// The alert as a record, for a peer that has not been sent anything yet.
    ///
    /// Its version is 3.3: RFC 8446 section 5.1 demands that of every record but a first ClientHello's,
    /// and a client that has not heard a ServerHello cannot hold the record to a version yet (RFC 5246
    /// appendix E.1).
    pub const fn record(self) -> [u8; 7] {
        const ALERT: u8 = 21;
        const LEVEL_FATAL: u8 = 2;
        [ALERT, 3, 3, 0, 2, LEVEL_FATAL, self as u8]
    }

    /// The name in RFC 8446 and in clients' logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnexpectedMessage => "unexpected_message",
            Self::RecordOverflow => "record_overflow",
            Self::HandshakeFailure => "handshake_failure",
            Self::IllegalParameter => "illegal_parameter",
            Self::DecodeError => "decode_error",
            Self::UnrecognizedName => "unrecognized_name",
            Self::NoApplicationProtocol => "no_application_protocol",
        }
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
