//! The parser of the handshake message: `tls-parser` for its fields, and checks of everything that
//! `tls-parser` does not check.

use tls_parser::parse_tls_handshake_client_hello;

use super::extensions::Extensions;
use super::reader::Reader;
use super::{ClientHello, HelloError, MESSAGE_HEADER, MalformedReason};
use crate::server_name::Name;

/// Parses a whole message, 4-byte header included, whose type and length have been checked.
///
/// The form comes first: a hello whose fields or extensions do not fit together is malformed, whatever
/// its name is. A hello without the server_name extension passes if `nameless`.
pub(super) fn parse(
    message: &[u8],
    wire_len: usize,
    nameless: bool,
) -> Result<ClientHello<'_>, HelloError> {
    let body = message.get(MESSAGE_HEADER..).unwrap_or(&[]);
    // This copies the cipher suites and the compression methods. For a usual hello in one record these
    // are the only allocations.
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
        (None, 0) => &[],
        (Some(_), surplus) => return Err(MalformedReason::BytesAfterExtensions(surplus).into()),
        (None, _) => return Err(MalformedReason::Extensions.into()),
    };
    let extensions = Extensions::parse(block)?;
    let server_name = match extensions.server_name {
        Some(extension) => Some(named(host_name(extension)?)?),
        None if nameless => None,
        None => return Err(HelloError::NoSni),
    };
    // Last, since ALPN matters only for a hello that can have a route.
    let alpn = extensions.alpn.map(protocol_names).transpose()?;
    Ok(ClientHello {
        server_name,
        wire_len,
        alpn: alpn.unwrap_or(&[]),
        legacy_version: fields.version.0,
        cipher_suites: cipher_suites(body).unwrap_or(&[]),
        extensions,
    })
}

fn named(raw: &[u8]) -> Result<Name<'_>, HelloError> {
    Name::parse(raw).map_err(|error| HelloError::bad_server_name(raw, error))
}

/// The cipher suites as they stand on the wire, without the length in front.
fn cipher_suites(body: &[u8]) -> Option<&[u8]> {
    let mut body = Reader::new(body);
    let _version_and_random = body.bytes(2 + 32)?;
    let _session_id = body.vector_u8()?;
    body.vector_u16()
}

/// The field at which `tls-parser` gave up. Its own error does not say.
fn misfit_field(body: &[u8]) -> MalformedReason {
    misfit_vector(Reader::new(body)).unwrap_or(MalformedReason::Truncated)
}

/// The faulty vector; `None` when the body ends before any of its vectors is at fault.
fn misfit_vector(mut body: Reader<'_>) -> Option<MalformedReason> {
    let _version_and_random = body.bytes(2 + 32)?;
    let session_id_len = body.u8()?;
    if session_id_len > 32 {
        return Some(MalformedReason::SessionId(session_id_len));
    }
    let _session_id = body.bytes(usize::from(session_id_len))?;
    let cipher_suites_len = body.u16()?;
    if cipher_suites_len % 2 == 1 || body.bytes(usize::from(cipher_suites_len)).is_none() {
        return Some(MalformedReason::CipherSuites);
    }
    let _compression_methods_len = body.u8()?;
    Some(MalformedReason::CompressionMethods)
}

/// The only host_name of a server_name extension (RFC 6066 section 3).
///
/// `tls-parser`'s function is not used: it ignores the rest of a list after the last entry that it can
/// read.
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

/// The ProtocolNameList of an ALPN extension, which must not be empty nor contain an empty name (RFC
/// 7301 section 3.1). The check is strict because a route's ALPN policy is a security boundary: strait
/// and the endpoint must not read two different lists from the same bytes.
fn protocol_names(extension: &[u8]) -> Result<&[u8], MalformedReason> {
    let mut extension = Reader::new(extension);
    let list = extension.vector_u16().filter(|_| extension.is_empty());
    let list = list.filter(|list| !list.is_empty());
    let list = list.ok_or(MalformedReason::Alpn)?;

    let mut names = Reader::new(list);
    while !names.is_empty() {
        let name = names.vector_u8().filter(|name| !name.is_empty());
        name.ok_or(MalformedReason::Alpn)?;
    }
    Ok(list)
}
