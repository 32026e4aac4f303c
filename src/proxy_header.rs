//! The parser of the PROXY protocol header, by which a load balancer announces the client's address.
//!
//! The `proxy-header` crate knows the fields. This module checks the rest of the specification
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>): the end of a header, its length of
//! at most [`MAX_HEADER`], and faults that the crate accepts. It does no I/O and knows no clock.
//!
//! strait expects a header only from peers that the config trusts; see `proxy::proxy_protocol`.

use std::net::{IpAddr, SocketAddr};

use ::proxy_header::ProxyHeader as Codec;
use ::proxy_header::{Error as CodecError, ParseConfig, Protocol, ProxiedAddress, Tlv};

use crate::server_name::ServerName;
use crate::socket::canonical;

/// The longest header that is accepted, in bytes. Version 1 has at most 107; version 2 has its first 16
/// bytes, 216 of UNIX addresses, and TLVs (a chain of certificates' names is far below 3 KiB).
pub const MAX_HEADER: usize = 4096;

/// The longest line of version 1 with its CRLF (section 2.1).
const MAX_V1: usize = 107;
const V1_START: &[u8] = b"PROXY ";
/// The signature of version 2 (section 2.2).
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The length of the signature, version and command, family and transport, and length fields.
const V2_FIXED: usize = 16;
const TLV_CRC32C: u8 = 3;

/// A valid header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyHeader {
    /// The connection that the header announces. `None` when the connection's own addresses count:
    /// LOCAL (a health check of the proxy itself), UNKNOWN, or a family without an IP address.
    pub proxied: Option<Proxied>,
    /// The length of the header. The bytes after it are the client's.
    pub len: usize,
}

/// The two ends of the connection that a proxy took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proxied {
    /// The client, in canonical form (no v4-mapped address).
    pub source: SocketAddr,
    /// The address that it connected to, in canonical form.
    pub destination: SocketAddr,
}

/// The reason why bytes are not a header, in text that is safe to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyHeaderError {
    /// The first bytes are those of neither version.
    #[error("no PROXY protocol header")]
    Missing,
    /// Version 1: no CRLF in time.
    #[error("a version 1 line without CRLF within 107 bytes")]
    V1Unterminated,
    /// Version 1: the line breaks section 2.1.
    #[error("a malformed version 1 line")]
    V1Line,
    /// Version 2: a version, command, family or transport that section 2.2 does not define.
    #[error("an unknown version, command, family or transport ({0:#04x} {1:#04x})")]
    V2Unknown(u8, u8),
    /// Version 2: the header is for datagrams.
    #[error("a version 2 header for datagrams on a TCP connection")]
    V2Datagram,
    /// Version 2: longer than [`MAX_HEADER`].
    #[error("a version 2 header of {0} bytes, more than the {MAX_HEADER} that are accepted")]
    V2TooLong(usize),
    /// Version 2: too short for the addresses of its family.
    #[error("a version 2 header too short for its addresses")]
    V2Addresses,
    /// Version 2: the lengths of its TLVs do not fit.
    #[error("a version 2 header with malformed TLVs")]
    V2Tlvs,
    /// Version 2: the CRC32c does not match.
    #[error("a version 2 header with a wrong checksum")]
    V2Checksum,
}

impl ProxyHeader {
    /// Parses the header at the start of `wire`. Returns `None` when more bytes are needed.
    ///
    /// While it is `None`, all of `wire` belongs to the header: a caller may take it from the socket.
    ///
    /// # Errors
    /// The reason why the bytes start no valid header, as soon as they prove it. A strict prefix of a
    /// valid header is never an error, and never longer than [`MAX_HEADER`].
    pub fn parse(wire: &[u8]) -> Result<Option<Self>, ProxyHeaderError> {
        if begins(wire, V1_START) {
            parse_v1(wire)
        } else if begins(wire, V2_SIGNATURE) {
            parse_v2(wire)
        } else {
            Err(ProxyHeaderError::Missing)
        }
    }
}

/// Whether `wire` starts with `start`, as far as `wire` goes.
fn begins(wire: &[u8], start: &[u8]) -> bool {
    let common = wire.len().min(start.len());
    wire.get(..common) == start.get(..common)
}

fn parse_v1(wire: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    let most = wire.get(..MAX_V1).unwrap_or(wire);
    let Some(text_len) = most.iter().position(|byte| !(b' '..=b'~').contains(byte)) else {
        return match most.len() {
            MAX_V1 => Err(ProxyHeaderError::V1Unterminated),
            _ => Ok(None),
        };
    };
    let (text, end) = most.split_at(text_len);
    match end {
        [b'\r'] if most.len() < MAX_V1 => return Ok(None),
        [b'\r', b'\n', ..] => {}
        _ => return Err(ProxyHeaderError::V1Line),
    }
    let len = text_len + 2;
    let proxied = match v1_fields(text)? {
        V1::Unknown => None,
        V1::Tcp => Some(decode(most.get(..len).unwrap_or(most)).ok_or(ProxyHeaderError::V1Line)?),
    };
    Ok(Some(ProxyHeader { proxied, len }))
}

enum V1 {
    Unknown,
    Tcp,
}

/// Checks rules that the crate does not check: exactly one space between fields, and ports in plain
/// decimal (not `+80` or `080`).
fn v1_fields(text: &[u8]) -> Result<V1, ProxyHeaderError> {
    let fields: Vec<&[u8]> = text.split(|byte| *byte == b' ').collect();
    match fields.as_slice() {
        // "UNKNOWN": the receiver must ignore anything presented before the CRLF is found.
        [_, b"UNKNOWN", ..] => Ok(V1::Unknown),
        [_, b"TCP4" | b"TCP6", _, _, from, to] if is_port(from) && is_port(to) => Ok(V1::Tcp),
        _ => Err(ProxyHeaderError::V1Line),
    }
}

fn is_port(text: &[u8]) -> bool {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits && (text == b"0" || !text.starts_with(b"0"))
}

/// Decodes a whole header with the crate.
fn decode(header: &[u8]) -> Option<Proxied> {
    match Codec::parse(header, ParseConfig::default()) {
        Ok((codec, len)) if len == header.len() => codec.proxied_address().map(|address| Proxied {
            source: canonical(address.source),
            destination: canonical(address.destination),
        }),
        _ => None,
    }
}

fn parse_v2(wire: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    let Some(&[version_command, family_transport, high, low]) = wire
        .get(V2_SIGNATURE.len()..)
        .and_then(<[u8]>::first_chunk::<4>)
    else {
        return Ok(None);
    };
    let unknown = ProxyHeaderError::V2Unknown(version_command, family_transport);
    let local = match version_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(unknown),
    };
    let addresses_len = match family_transport {
        // Section 2.2: with LOCAL the receiver "must ignore the address information", and family
        // and transport may be any; the block is passed over by its length.
        _ if local => 0,
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        0x12 | 0x22 | 0x32 => return Err(ProxyHeaderError::V2Datagram),
        _ => return Err(unknown),
    };
    let len = V2_FIXED + usize::from(u16::from_be_bytes([high, low]));
    if len > MAX_HEADER {
        return Err(ProxyHeaderError::V2TooLong(len));
    }
    if len < V2_FIXED + addresses_len {
        return Err(ProxyHeaderError::V2Addresses);
    }
    let Some(header) = wire.get(..len) else {
        return Ok(None);
    };
    // UNSPEC has no defined place at which TLVs would start, and the TLVs of LOCAL need not be read.
    let proxied = if local || family_transport == 0x00 {
        None
    } else {
        check_tlvs(header, V2_FIXED + addresses_len)?;
        decode(header)
    };
    Ok(Some(ProxyHeader { proxied, len }))
}

/// Checks that each TLV fits and that a checksum among them is right (section 2.2.4).
fn check_tlvs(header: &[u8], start: usize) -> Result<(), ProxyHeaderError> {
    let mut at = start;
    while at < header.len() {
        let Some(&[kind, high, low]) = header.get(at..).and_then(<[u8]>::first_chunk::<3>) else {
            return Err(ProxyHeaderError::V2Tlvs);
        };
        let value_start = at + 3;
        at = value_start + usize::from(u16::from_be_bytes([high, low]));
        let value = header
            .get(value_start..at)
            .ok_or(ProxyHeaderError::V2Tlvs)?;
        if kind == TLV_CRC32C {
            let claimed: &[u8; 4] = value.try_into().map_err(|_| ProxyHeaderError::V2Tlvs)?;
            check_checksum(header, value_start, u32::from_be_bytes(*claimed))?;
        }
    }
    Ok(())
}

/// Checks the checksum over the whole header, with zeroes in its own place.
fn check_checksum(header: &[u8], at: usize, claimed: u32) -> Result<(), ProxyHeaderError> {
    let (before, from) = header.split_at(at);
    let after = from.get(4..).unwrap_or(&[]);
    let sum = crc32c::crc32c(before);
    let sum = crc32c::crc32c_append(sum, &[0; 4]);
    match crc32c::crc32c_append(sum, after) == claimed {
        true => Ok(()),
        false => Err(ProxyHeaderError::V2Checksum),
    }
}

impl Proxied {
    /// A version 2 header that announces this connection, with `authority` as its PP2_TYPE_AUTHORITY, if
    /// the client named a server.
    /// At most 324 bytes.
    ///
    /// # Errors
    /// Never for a [`ServerName`]; otherwise the crate's error for a header that is too long.
    pub fn header(&self, authority: Option<&ServerName>) -> Result<Vec<u8>, CodecError> {
        let (source, destination) = same_family(self.source, self.destination);
        let address = ProxiedAddress {
            protocol: Protocol::Stream,
            source,
            destination,
        };
        let mut header = Codec::with_address(address);
        let mut length = V2_FIXED + 36;
        if let Some(authority) = authority {
            header.append_tlv(Tlv::Authority(authority.as_str().into()));
            length += 3 + authority.as_str().len();
        }
        let mut bytes = Vec::with_capacity(length);
        header.encode_v2(&mut bytes)?;
        Ok(bytes)
    }
}

/// The header of a connection of the gateway's own, in version 2 with the command LOCAL.
///
/// # Errors
/// Never; the crate's error for a header that is too long.
pub fn local_header() -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::with_capacity(V2_FIXED);
    Codec::with_local().encode_v2(&mut bytes)?;
    Ok(bytes)
}

/// The two addresses in one family, since a header has only one: an IPv4 address beside an IPv6 one
/// becomes v4-mapped.
fn same_family(one: SocketAddr, other: SocketAddr) -> (SocketAddr, SocketAddr) {
    if one.is_ipv4() == other.is_ipv4() {
        return (one, other);
    }
    (in_v6(one), in_v6(other))
}

fn in_v6(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests;
