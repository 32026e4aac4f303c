//! The parser of the ClientHello: pure, incremental and strict.
//!
//! [`HelloParser`] gets everything received so far and says whether the hello is complete, needs more
//! bytes, or can never become one that strait routes. It does no I/O and knows no clock. It has three
//! layers, each a file: records and reassembly here, the handshake message in `message` (with the
//! `tls-parser` crate), its extensions in `extensions`.
//!
//! The rules are those of `docs/src/internals/hello-policy.md`: a hello may be as RFC 8446 sections
//! 4.1.2 and 5.1 and RFC 6066 section 3 allow, split over records or segments in any way, and nothing
//! else.

mod alert;
mod dissect;
mod error;
mod extensions;
mod fingerprint;
mod message;
mod postgres;
mod reader;
pub mod vectors;

use std::fmt;

pub use alert::Alert;
pub use dissect::{DissectedField, dissect};
pub use error::{HelloError, MalformedReason, NotTls};
use extensions::Extensions;
pub use fingerprint::Offers;
pub use postgres::{POSTGRES_REQUEST, PostgresRequest, SSL_REQUEST};
use reader::Reader;

use crate::server_name::Name;

/// The ALPN protocol that the hellos of `strait doctor` offer behind those that they are about, so that a gateway's log
/// and metrics tell them from others. Any client can write it: it exempts from nothing.
pub const DOCTOR_LABEL: &str = "strait-doctor";

/// The length of a record's header: type, two bytes of version, two of length (RFC 8446 section 5.1).
const RECORD_HEADER: usize = 5;
/// The length of a handshake message's header: type, three bytes of length (RFC 8446 section 4).
const MESSAGE_HEADER: usize = 4;
/// The longest fragment of a plaintext record, in bytes (RFC 8446 section 5.1).
const MAX_FRAGMENT: usize = 1 << 14;
const RECORD_TYPE_HANDSHAKE: u8 = 22;
const RECORD_MAJOR_VERSION: u8 = 3;
const MESSAGE_TYPE_CLIENT_HELLO: u8 = 1;

/// Finds the ClientHello at the start of a stream, in whatever way it is cut into records and segments.
///
/// The layers below the message look at each byte once; the message is assembled and parsed once, when
/// it is complete. So the work is linear in the bytes received, whatever their split. A hello in one
/// record, the usual case, is parsed in the caller's buffer.
#[derive(Debug)]
pub struct HelloParser {
    max_size: usize,
    /// True if a hello may have no server_name extension.
    nameless: bool,
    /// The number of bytes of the wire that were checked. They are read once more when the message is
    /// complete.
    judged: usize,
    /// The position in the wire of the current record's fragment.
    fragment_start: usize,
    /// The number of bytes of that fragment that are still to be checked; 0 between records.
    fragment_left: usize,
    /// The first bytes of the message; `seen` says how many are there.
    header: [u8; MESSAGE_HEADER],
    /// The length of the message with its header, once the header has come. Invariant once known:
    /// `seen + fragment_left <= message_len <= max_size`.
    message_len: Option<usize>,
    /// The number of bytes of the message that were checked.
    seen: usize,
    /// A complete message that spans records; empty for any other.
    assembled: Vec<u8>,
}

/// The progress of a hello.
#[derive(Debug)]
pub enum Progress<'a> {
    /// All bytes so far are the start of a hello that may still be valid.
    Incomplete,
    /// The whole hello.
    Complete(ClientHello<'a>),
}

impl HelloParser {
    /// Creates a parser for one connection. `max_size` bounds the handshake message with its 4-byte
    /// header, in bytes, not the record headers around it.
    pub fn new(max_size: usize) -> Self {
        Self {
            max_size,
            nameless: false,
            judged: 0,
            fragment_start: 0,
            fragment_left: 0,
            header: [0; MESSAGE_HEADER],
            message_len: None,
            seen: 0,
            assembled: Vec::new(),
        }
    }

    /// Accepts hellos without a server_name extension too, if `accepted`. They are refused otherwise. An
    /// extension that is there must be valid in both cases.
    pub fn nameless(self, accepted: bool) -> Self {
        Self {
            nameless: accepted,
            ..self
        }
    }

    /// Checks the bytes of `wire` that are new since the last call.
    ///
    /// `wire` is everything received so far, from the first byte: each call's `wire` extends the
    /// previous one. Bytes after the record that completes the hello are ignored. A call after
    /// `Complete` or an error gives the same result again.
    ///
    /// # Errors
    /// A fault in a record's header or in the message's header, as soon as the bytes prove it; a fault
    /// in the message once it is complete. A strict prefix of a valid hello is never an error.
    pub fn parse<'a>(&'a mut self, wire: &'a [u8]) -> Result<Progress<'a>, HelloError> {
        while self.message_len != Some(self.seen) {
            let advanced = match self.fragment_left {
                0 => self.enter_record(wire)?,
                _ => self.take_fragment(wire)?,
            };
            if !advanced {
                return Ok(Progress::Incomplete);
            }
        }
        let last = wire.get(self.fragment_start..self.judged).unwrap_or(&[]);
        let message = if last.len() == self.seen {
            last
        } else {
            self.assemble(wire);
            &self.assembled
        };
        message::parse(message, self.judged, self.nameless).map(Progress::Complete)
    }

    /// The bytes of memory that this parser holds beside the caller's `wire`. It is 0 until the hello
    /// is complete, and for a hello in one record; otherwise it is the message's length, at most
    /// `max_size`.
    pub fn buffered(&self) -> usize {
        self.assembled.capacity()
    }

    /// Reads the next record's header; false when it is not all there.
    fn enter_record(&mut self, wire: &[u8]) -> Result<bool, HelloError> {
        let header = wire.get(self.judged..).unwrap_or(&[]);
        let length = match *header {
            [kind, ..] if kind != RECORD_TYPE_HANDSHAKE => {
                return Err(self.foreign_record(header, MalformedReason::RecordType(kind)));
            }
            [_, major, ..] if major != RECORD_MAJOR_VERSION => {
                return Err(self.foreign_record(header, MalformedReason::RecordVersion(major)));
            }
            [_, _, _, high, low, ..] => usize::from(u16::from_be_bytes([high, low])),
            _ => return Ok(false),
        };
        if length == 0 {
            return Err(MalformedReason::EmptyRecord.into());
        }
        if length > MAX_FRAGMENT {
            return Err(MalformedReason::RecordLength(length).into());
        }
        if let Some(message_len) = self.message_len {
            ends_with_record(message_len, self.seen + length)?;
        }
        self.judged += RECORD_HEADER;
        self.fragment_start = self.judged;
        self.fragment_left = length;
        Ok(true)
    }

    /// The error for a record that is not a handshake record. Only the first record shows whether the
    /// peer speaks TLS at all.
    fn foreign_record(&self, header: &[u8], reason: MalformedReason) -> HelloError {
        match self.judged {
            0 => HelloError::NotTls(NotTls::classify(header)),
            _ => reason.into(),
        }
    }

    /// Checks the received part of the current record's fragment. Returns false when nothing has come.
    fn take_fragment(&mut self, wire: &[u8]) -> Result<bool, HelloError> {
        let arrived = wire.get(self.judged..).unwrap_or(&[]);
        let fragment = arrived.get(..self.fragment_left).unwrap_or(arrived);
        if fragment.is_empty() {
            return Ok(false);
        }
        if self.message_len.is_none() {
            self.read_message_header(fragment)?;
        }
        self.judged += fragment.len();
        self.seen += fragment.len();
        self.fragment_left -= fragment.len();
        Ok(true)
    }

    /// Adds the start of `fragment`, which is not empty, to the message's header.
    fn read_message_header(&mut self, fragment: &[u8]) -> Result<(), HelloError> {
        let mut header = self.header;
        for (to, from) in header.iter_mut().skip(self.seen).zip(fragment) {
            *to = *from;
        }
        let [kind, length @ ..] = header;
        if kind != MESSAGE_TYPE_CLIENT_HELLO {
            return Err(MalformedReason::HandshakeType(kind).into());
        }
        if self.seen + fragment.len() >= MESSAGE_HEADER {
            let claimed = MESSAGE_HEADER + length.iter().fold(0, |n, b| n << 8 | usize::from(*b));
            if claimed > self.max_size {
                return Err(HelloError::TooLarge {
                    claimed,
                    max_size: self.max_size,
                });
            }
            ends_with_record(claimed, self.seen + self.fragment_left)?;
            self.message_len = Some(claimed);
        }
        self.header = header;
        Ok(())
    }

    /// Assembles a complete message that spans records.
    fn assemble(&mut self, wire: &[u8]) {
        self.assembled.clear();
        self.assembled.reserve_exact(self.seen);
        let mut records = Reader::new(wire.get(..self.judged).unwrap_or(&[]));
        while records.bytes(RECORD_HEADER - 2).is_some() {
            let fragment = records.vector_u16().unwrap_or(&[]);
            self.assembled.extend_from_slice(fragment);
        }
    }
}

/// RFC 8446 section 5.1: since a ClientHello can immediately precede a key change, it must be sent
/// "in alignment with a record boundary".
fn ends_with_record(message_len: usize, record_end: usize) -> Result<(), MalformedReason> {
    match record_end.checked_sub(message_len) {
        None | Some(0) => Ok(()),
        Some(surplus) => Err(MalformedReason::BytesAfterHello(surplus)),
    }
}

/// A complete and valid hello.
pub struct ClientHello<'a> {
    /// The server name that the client asks for, normalised. With ECH it is the outer name. `None` if the
    /// hello has no server_name extension, and the parser accepts that.
    pub server_name: Option<Name<'a>>,
    /// The length in bytes from the start of the wire to the end of the record that completes the
    /// hello. Bytes after it are between the client and the endpoint.
    pub wire_len: usize,
    /// The ProtocolNameList, known to be well-formed; empty without one.
    alpn: &'a [u8],
    /// The legacy_version field.
    legacy_version: u16,
    /// The cipher suites, two bytes each.
    cipher_suites: &'a [u8],
    extensions: Extensions<'a>,
}

impl<'a> ClientHello<'a> {
    /// The application protocols that the client offers, in its order of preference, each of 1..=255
    /// bytes (RFC 7301 section 3.1). Empty when the hello has no ALPN extension.
    pub fn alpn(&self) -> AlpnOffers<'a> {
        AlpnOffers(Reader::new(self.alpn))
    }

    /// The TLS versions that the client offers, as the wire spells them (0x0304 is TLS 1.3), GREASE
    /// included: those of the supported_versions extension, otherwise the one of legacy_version (RFC
    /// 8446 section 4.2.1).
    pub fn versions(&self) -> impl Iterator<Item = u16> + use<'a> {
        let mut content = Reader::new(self.extensions.supported_versions.unwrap_or(&[]));
        let mut listed = Reader::new(content.vector_u8().unwrap_or(&[]));
        let legacy = self.extensions.supported_versions.is_none();
        legacy
            .then_some(self.legacy_version)
            .into_iter()
            .chain(std::iter::from_fn(move || listed.u16()))
    }
}

impl fmt::Debug for ClientHello<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientHello")
            .field("server_name", &self.server_name)
            .field("wire_len", &self.wire_len)
            .field("alpn", &self.alpn())
            .finish_non_exhaustive()
    }
}

/// The protocol names of a hello's ALPN extension.
#[derive(Clone)]
pub struct AlpnOffers<'a>(Reader<'a>);

impl<'a> Iterator for AlpnOffers<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.0.vector_u8()
    }
}

impl fmt::Debug for AlpnOffers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.clone().map(|name| name.escape_ascii().to_string());
        f.debug_list().entries(names).finish()
    }
}

#[cfg(test)]
mod tests;
