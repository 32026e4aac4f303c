//! The fields of a hello one by one, for a person who looks at a refused one. Unlike the parser, the
//! dissector judges nothing: it shows what can be read, up to the place where a length does not fit.

use std::fmt::Write as _;

use super::reader::Reader;
use super::{MAX_FRAGMENT, RECORD_TYPE_HANDSHAKE};
use super::{MESSAGE_HEADER, MESSAGE_TYPE_CLIENT_HELLO, RECORD_HEADER, RECORD_MAJOR_VERSION};

/// The largest number of records, and of extensions, that are shown.
const MOST: usize = 100;
/// The number of bytes that are shown of a field without a form of its own.
const SHOWN: usize = 32;
/// The number of items that are shown of a list.
const ITEMS: usize = 64;

/// A part of a hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DissectedField {
    /// The position of its first byte: of a record in the wire, of anything else in the message that the
    /// records make.
    pub at: usize,
    /// 0 for records and the fields of the message, 1 for what is in them.
    pub depth: usize,
    /// The name, as the RFCs have it.
    pub name: String,
    /// The content, without control characters.
    pub value: String,
}

/// The fields of the hello that `wire` begins with, as far as they can be read.
pub fn dissect(wire: &[u8]) -> Vec<DissectedField> {
    let mut fields = Fields(Vec::new());
    let message = fields.records(wire);
    fields.message(&message);
    fields.0
}

struct Fields(Vec<DissectedField>);

impl Fields {
    fn add(&mut self, at: usize, depth: usize, name: &str, value: impl Into<String>) {
        self.0.push(DissectedField {
            at,
            depth,
            name: name.to_owned(),
            value: value.into(),
        });
    }

    /// The message in the records of `wire`, as far as it is there.
    fn records(&mut self, wire: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        let mut at = 0;
        let mut number = 0;
        while let Some([kind, major, minor, high, low]) = wire
            .get(at..at + RECORD_HEADER)
            .and_then(|header| <[u8; RECORD_HEADER]>::try_from(header).ok())
        {
            number += 1;
            let length = usize::from(u16::from_be_bytes([high, low]));
            let fragment = wire.get(at + RECORD_HEADER..).unwrap_or(&[]);
            let fragment = fragment.get(..length).unwrap_or(fragment);
            if number <= MOST {
                let there = match fragment.len() == length {
                    true => String::new(),
                    false => format!(", of which {} are there", fragment.len()),
                };
                let value = format!("type {kind}, version {major}.{minor}, {length} bytes{there}");
                self.add(at, 0, &format!("record {number}"), value);
            }
            let sane = kind == RECORD_TYPE_HANDSHAKE
                && major == RECORD_MAJOR_VERSION
                && (1..=MAX_FRAGMENT).contains(&length);
            if !sane {
                return message;
            }
            message.extend_from_slice(fragment);
            at += RECORD_HEADER + length;
            if claimed(&message).is_some_and(|claimed| message.len() >= claimed) {
                break;
            }
        }
        if let Some(rest) = wire.get(at..).filter(|rest| !rest.is_empty()) {
            let value = format!("{} bytes: {}", rest.len(), hex(rest));
            self.add(at, 0, "after the last record", value);
        }
        message
    }

    fn message(&mut self, message: &[u8]) {
        let Some(kind) = message.first() else {
            return;
        };
        let length = claimed(message).map_or_else(
            || "its length is not there".to_owned(),
            |claimed| format!("{} bytes, of which {} are there", claimed, message.len()),
        );
        self.add(0, 0, "handshake message", format!("type {kind}, {length}"));
        if *kind == MESSAGE_TYPE_CLIENT_HELLO {
            let claimed = claimed(message).unwrap_or(message.len());
            let own = message.get(..claimed).unwrap_or(message);
            let mut cursor = FieldCursor::new(own);
            let _ = cursor.reader.bytes(MESSAGE_HEADER);
            let complete = own.len() == claimed;
            if self.hello(&mut cursor, complete).is_none() {
                let at = cursor.at();
                self.add(
                    at,
                    0,
                    "ends here",
                    "the next field does not fit into the message",
                );
            }
        }
    }

    /// The fields of the ClientHello; `None` if one does not fit. Only a `complete` message may end without
    /// extensions.
    fn hello(&mut self, cursor: &mut FieldCursor<'_>, complete: bool) -> Option<()> {
        let at = cursor.at();
        let version = cursor.reader.u16()?;
        self.add(at, 0, "legacy_version", format!("{version:#06x}"));
        let at = cursor.at();
        let random = cursor.reader.bytes(32)?;
        self.add(at, 0, "random", hex(random));
        for (name, wide) in [
            ("legacy_session_id", false),
            ("cipher_suites", true),
            ("legacy_compression_methods", false),
        ] {
            let (at, content) = cursor.vector(wide)?;
            let value = match wide {
                true => numbers(content),
                false => hex(content),
            };
            self.add(at, 0, name, format!("{} bytes: {value}", content.len()));
        }
        if complete && cursor.reader.is_empty() {
            self.add(cursor.at(), 0, "extensions", "none");
            return Some(());
        }
        let (at, content) = cursor.vector(true)?;
        self.add(at, 0, "extensions", format!("{} bytes", content.len()));
        let mut inner = FieldCursor {
            reader: Reader::new(content),
            end: at + 2 + content.len(),
        };
        let mut number = 0;
        while !inner.reader.is_empty() {
            let at = inner.at();
            let kind = inner.reader.u16()?;
            let (_, content) = inner.vector(true)?;
            number += 1;
            if number <= MOST {
                let name = format!("{} ({kind})", extension(kind));
                let value = format!(
                    "{} bytes: {}",
                    content.len(),
                    extension_value(kind, content)
                );
                self.add(at, 1, &name, value);
            }
        }
        if !cursor.reader.is_empty() {
            self.add(
                cursor.at(),
                0,
                "after the extensions",
                "the message goes on",
            );
        }
        Some(())
    }
}

/// A reader that knows its place in the message.
struct FieldCursor<'a> {
    reader: Reader<'a>,
    /// The position of the byte after the last one.
    end: usize,
}

impl<'a> FieldCursor<'a> {
    fn new(message: &'a [u8]) -> Self {
        Self {
            reader: Reader::new(message),
            end: message.len(),
        }
    }

    fn at(&self) -> usize {
        self.end - self.reader.left()
    }

    /// A vector with the place of its length.
    fn vector(&mut self, wide: bool) -> Option<(usize, &'a [u8])> {
        let at = self.at();
        // A copy, so that the place stays if the vector does not fit.
        let mut reader = self.reader;
        let content = match wide {
            true => reader.vector_u16()?,
            false => reader.vector_u8()?,
        };
        self.reader = reader;
        Some((at, content))
    }
}

/// The length of the message with its header, as the header has it.
fn claimed(message: &[u8]) -> Option<usize> {
    let header = message.get(1..MESSAGE_HEADER)?;
    let length = header
        .iter()
        .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    Some(MESSAGE_HEADER + length)
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes.iter().take(SHOWN) {
        let _ = write!(text, "{byte:02x}");
    }
    if bytes.len() > SHOWN {
        text += "...";
    }
    text
}

/// Numbers of two bytes each.
fn numbers(bytes: &[u8]) -> String {
    let pairs = bytes.chunks(2).take(ITEMS);
    let mut shown: Vec<String> = pairs
        .map(|pair| match pair {
            [high, low] => format!("{:#06x}", u16::from_be_bytes([*high, *low])),
            odd => format!("{} (half a number)", hex(odd)),
        })
        .collect();
    if bytes.len() > 2 * ITEMS {
        shown.push("...".to_owned());
    }
    shown.join(" ")
}

fn extension_value(kind: u16, content: &[u8]) -> String {
    let value = match kind {
        0 => server_names(content),
        16 => protocols(content),
        10 | 13 | 50 => {
            let mut reader = Reader::new(content);
            reader.vector_u16().map(numbers)
        }
        43 => {
            let mut reader = Reader::new(content);
            reader.vector_u8().map(numbers)
        }
        _ => None,
    };
    value.unwrap_or_else(|| hex(content))
}

/// The entries of the server_name extension (RFC 6066 section 3).
fn server_names(content: &[u8]) -> Option<String> {
    let mut reader = Reader::new(content);
    let mut list = Reader::new(reader.vector_u16()?);
    let mut names = Vec::new();
    while !list.is_empty() && names.len() < ITEMS {
        let kind = list.u8()?;
        let name = list.vector_u16()?;
        let cut = name.get(..300).unwrap_or(name);
        names.push(format!("type {kind} \"{}\"", cut.escape_ascii()));
    }
    Some(match names.is_empty() {
        true => "an empty list".to_owned(),
        false => names.join(", "),
    })
}

/// The names of the ALPN extension (RFC 7301 section 3.1).
fn protocols(content: &[u8]) -> Option<String> {
    let mut reader = Reader::new(content);
    let mut list = Reader::new(reader.vector_u16()?);
    let mut names = Vec::new();
    while !list.is_empty() && names.len() < ITEMS {
        names.push(format!("\"{}\"", list.vector_u8()?.escape_ascii()));
    }
    Some(names.join(", "))
}

/// The name of an extension in IANA's registry.
fn extension(kind: u16) -> &'static str {
    match kind {
        0 => "server_name",
        1 => "max_fragment_length",
        5 => "status_request",
        10 => "supported_groups",
        11 => "ec_point_formats",
        13 => "signature_algorithms",
        14 => "use_srtp",
        15 => "heartbeat",
        16 => "application_layer_protocol_negotiation",
        18 => "signed_certificate_timestamp",
        19 => "client_certificate_type",
        20 => "server_certificate_type",
        21 => "padding",
        22 => "encrypt_then_mac",
        23 => "extended_master_secret",
        27 => "compress_certificate",
        28 => "record_size_limit",
        34 => "delegated_credential",
        35 => "session_ticket",
        41 => "pre_shared_key",
        42 => "early_data",
        43 => "supported_versions",
        44 => "cookie",
        45 => "psk_key_exchange_modes",
        47 => "certificate_authorities",
        49 => "post_handshake_auth",
        50 => "signature_algorithms_cert",
        51 => "key_share",
        57 => "quic_transport_parameters",
        65037 => "encrypted_client_hello",
        65281 => "renegotiation_info",
        _ if kind & 0x0f0f == 0x0a0a && kind >> 8 == kind & 0xff => "GREASE",
        _ => "unknown",
    }
}
