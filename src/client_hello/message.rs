//! The parser of the handshake message (RFC 8446 section 4.1.2).

use super::extensions::Extensions;
use super::reader::Reader;
use super::{ClientHello, HelloError, MESSAGE_HEADER, MalformedReason};
use crate::server_name::ServerName;

/// Parses a whole message, 4-byte header included, whose type and length have been checked.
///
/// The form comes first: a hello whose fields or extensions do not fit together is malformed, whatever
/// its name is. A hello without the server_name extension passes if `nameless`.
pub(super) fn parse(
    message: &[u8],
    wire_len: usize,
    nameless: bool,
) -> Result<ClientHello<'_>, HelloError> {
    let fields = Fields::parse(message.get(MESSAGE_HEADER..).unwrap_or(&[]))?;
    let extensions = Extensions::parse(fields.extensions)?;
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
        legacy_version: fields.version,
        cipher_suites: fields.cipher_suites,
        extensions,
    })
}

fn named(raw: &[u8]) -> Result<ServerName, HelloError> {
    ServerName::parse(raw).map_err(|error| HelloError::bad_server_name(raw, error))
}

/// The fields of a hello that strait reads, as they stand on the wire, without the lengths in front.
struct Fields<'a> {
    /// The legacy_version field.
    version: u16,
    cipher_suites: &'a [u8],
    /// Empty if there are none: such a hello is a valid one of TLS 1.2 (RFC 5246 section 7.4.1.2).
    extensions: &'a [u8],
}

impl<'a> Fields<'a> {
    fn parse(body: &'a [u8]) -> Result<Self, MalformedReason> {
        let mut body = Reader::new(body);
        let (version, cipher_suites, compression_methods) = Self::fixed(&mut body)?;
        if cipher_suites.is_empty() {
            return Err(MalformedReason::CipherSuites);
        }
        if compression_methods.is_empty() {
            return Err(MalformedReason::CompressionMethods);
        }
        let extensions = match body.is_empty() {
            true => &[],
            false => body.vector_u16().ok_or(MalformedReason::Extensions)?,
        };
        match body.left() {
            0 => Ok(Self {
                version,
                cipher_suites,
                extensions,
            }),
            surplus => Err(MalformedReason::BytesAfterExtensions(surplus)),
        }
    }

    /// The version, the cipher suites and the compression methods. Their vectors must be there, and fit.
    fn fixed(body: &mut Reader<'a>) -> Result<(u16, &'a [u8], &'a [u8]), MalformedReason> {
        let cut = MalformedReason::Truncated;
        let version = body.u16().ok_or(cut)?;
        let _random = body.bytes(32).ok_or(cut)?;
        let session_id_len = body.u8().ok_or(cut)?;
        if session_id_len > 32 {
            return Err(MalformedReason::SessionId(session_id_len));
        }
        let _session_id = body.bytes(session_id_len.into()).ok_or(cut)?;
        let cipher_suites_len = body.u16().ok_or(cut)?;
        let cipher_suites = body.bytes(cipher_suites_len.into());
        let cipher_suites = cipher_suites.filter(|suites| suites.len() % 2 == 0);
        let cipher_suites = cipher_suites.ok_or(MalformedReason::CipherSuites)?;
        let compression_methods_len = body.u8().ok_or(cut)?;
        let compression_methods = body.bytes(compression_methods_len.into());
        let compression_methods = compression_methods.ok_or(MalformedReason::CompressionMethods)?;
        Ok((version, cipher_suites, compression_methods))
    }
}

/// The only host_name of a server_name extension (RFC 6066 section 3).
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
