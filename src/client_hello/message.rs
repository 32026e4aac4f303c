//! The handshake message: `tls-parser` for its fields, and what `tls-parser` does not hold it to.

use tls_parser::parse_tls_handshake_client_hello;

use super::extensions::Extensions;
use super::reader::Reader;
use super::{ClientHello, HelloError, MESSAGE_HEADER, MalformedReason};
use crate::server_name::ServerName;

/// Bytes of legacy_version and random.
const VERSION_AND_RANDOM: usize = 2 + 32;
const MAX_SESSION_ID: u8 = 32;

/// Parses a whole message, 4-byte header included, whose type and length have been checked.
///
/// Form first: a hello that is malformed anywhere is malformed, whatever name it carries or lacks.
pub(super) fn parse(message: &[u8], wire_len: usize) -> Result<ClientHello<'_>, HelloError> {
    let body = message.get(MESSAGE_HEADER..).unwrap_or(&[]);
    // Its two vectors, of cipher suites and compression methods, are the only allocations of a
    // hello in one record besides the name's.
    let (rest, fields) = parse_tls_handshake_client_hello(body).map_err(|_| misfit_field(body))?;
    if fields.ciphers.is_empty() {
        return Err(MalformedReason::CipherSuites.into());
    }
    if fields.comp.is_empty() {
        return Err(MalformedReason::CompressionMethods.into());
    }
    let block = match (fields.ext, rest.len()) {
        (Some(block), 0) => block,
        // A hello without extensions is a valid one of TLS 1.2 (RFC 5246 section 7.4.1.2).
        (None, 0) => return Err(HelloError::NoSni),
        (Some(_), surplus) => return Err(MalformedReason::BytesAfterExtensions(surplus).into()),
        (None, _) => return Err(MalformedReason::Extensions.into()),
    };
    let extensions = Extensions::parse(block)?;
    let host_name = extensions.server_name.map(host_name).transpose()?;

    let raw = host_name.ok_or(HelloError::NoSni)?;
    let server_name =
        ServerName::parse(raw).map_err(|error| HelloError::bad_server_name(raw, error))?;
    Ok(ClientHello {
        server_name,
        wire_len,
        alpn: extensions.alpn.and_then(protocol_names).unwrap_or(&[]),
        legacy_version: fields.version.0,
        supported_versions: extensions.supported_versions,
    })
}

/// Which field made `tls-parser` give up: its own error does not tell.
fn misfit_field(body: &[u8]) -> MalformedReason {
    first_misfit(Reader::new(body)).unwrap_or(MalformedReason::Truncated)
}

/// The first field whose length breaks a rule; `None` when the body ends before its length.
fn first_misfit(mut body: Reader<'_>) -> Option<MalformedReason> {
    body.bytes(VERSION_AND_RANDOM)?;
    let session_id_length = body.u8()?;
    if session_id_length > MAX_SESSION_ID {
        return Some(MalformedReason::SessionId(session_id_length));
    }
    body.bytes(usize::from(session_id_length))?;
    let cipher_suites_length = body.u16()?;
    let cipher_suites = body.bytes(usize::from(cipher_suites_length));
    if cipher_suites_length % 2 == 1 || cipher_suites.is_none() {
        return Some(MalformedReason::CipherSuites);
    }
    // Extensions that do not fit are no failure of tls-parser's, so only these are left.
    body.u8().map(|_| MalformedReason::CompressionMethods)
}

/// The one host_name of a server_name extension (RFC 6066 section 3).
///
/// Not `tls-parser`'s: it skips what is left of a list after the last entry that it can read.
fn host_name(extension: &[u8]) -> Result<&[u8], MalformedReason> {
    let mut extension = Reader::new(extension);
    let list = extension.vector_u16().filter(|_| extension.is_empty());
    let mut list = Reader::new(list.ok_or(MalformedReason::ServerNameLength)?);

    match list.u8() {
        None => return Err(MalformedReason::EmptyServerNameList),
        Some(0) => {}
        Some(other) => return Err(MalformedReason::NameType(other)),
    }
    match list.vector_u16() {
        None => Err(MalformedReason::ServerNameLength),
        Some(_) if !list.is_empty() => Err(MalformedReason::SeveralServerNames),
        Some([]) => Err(MalformedReason::EmptyHostName),
        Some(name) => Ok(name),
    }
}

/// The ProtocolNameList of an ALPN extension, if nothing is wrong with it (RFC 7301 section 3.1).
///
/// To refuse the hello for it is up to the endpoint. But a route's ALPN policy is a security
/// boundary, and strait and the endpoint must not read two different lists out of the same bytes:
/// a list that is wrong anywhere offers nothing, which such a route refuses.
fn protocol_names(extension: &[u8]) -> Option<&[u8]> {
    let mut extension = Reader::new(extension);
    let list = extension.vector_u16()?;
    let mut names = Reader::new(list);
    while !names.is_empty() {
        names.vector_u8().filter(|name| !name.is_empty())?;
    }
    extension.is_empty().then_some(list)
}
