//! A builder of ClientHellos, field by field, right or wrong.

use crate::client_hello::{MAX_FRAGMENT, MESSAGE_TYPE_CLIENT_HELLO, RECORD_TYPE_HANDSHAKE};

/// The named group X25519.
pub const X25519: u16 = 0x001d;
/// The named group X25519MLKEM768, whose client share is 1,216 bytes.
pub const X25519_MLKEM768: u16 = 0x11ec;
/// The length of the share of [`X25519_MLKEM768`], in bytes.
pub const X25519_MLKEM768_SHARE: usize = 1216;

/// Builds hellos. Extensions stand in the order of the calls. The same calls give the same bytes.
///
/// It accepts nonsense. A length that does not fit into its prefix is written as the largest value of
/// the prefix.
#[derive(Debug, Clone)]
pub struct HelloBuilder {
    record_version: [u8; 2],
    legacy_version: u16,
    /// The session id with its length.
    session_id: Vec<u8>,
    cipher_suites: Vec<u8>,
    compression_methods: Vec<u8>,
    /// The extensions without their length.
    extensions: Vec<u8>,
    /// Replaces `extensions`, including the length.
    extensions_field: Option<Vec<u8>>,
}

impl HelloBuilder {
    /// A client of TLS 1.3 that also knows 1.2, without a key share, a name or ALPN.
    pub fn tls13() -> Self {
        Self::bare(0x0303)
            .session_id(32)
            .cipher_suites(&[0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f])
            .extension(43, vector_u8(&u16s(&[0x0304, 0x0303])))
            .extension(45, vector_u8(&[1]))
            .groups(&[X25519, 0x0017])
            .signature_algorithms(&[0x0403, 0x0804, 0x0401])
    }

    /// A client of TLS 1.2, without a name or ALPN.
    pub fn tls12() -> Self {
        Self::bare(0x0303)
            .cipher_suites(&[0xc02b, 0xc02f, 0x009c, 0x00ff])
            .extension(23, [])
            .extension(11, vector_u8(&[0]))
            .extension(35, [])
            .groups(&[X25519, 0x0017])
            .signature_algorithms(&[0x0403, 0x0401])
    }

    /// A client of `legacy_version`, with one cipher suite and no extension.
    pub fn bare(legacy_version: u16) -> Self {
        Self {
            record_version: [3, 1],
            legacy_version,
            session_id: vector_u8(&[]),
            cipher_suites: vector_u16(&u16s(&[0x002f])),
            compression_methods: vector_u8(&[0]),
            extensions: Vec::new(),
            extensions_field: None,
        }
    }

    /// The version in the records' headers.
    pub fn record_version(mut self, major: u8, minor: u8) -> Self {
        self.record_version = [major, minor];
        self
    }

    /// A session id of `len` bytes.
    pub fn session_id(mut self, len: usize) -> Self {
        self.session_id = vector_u8(&filler(len));
        self
    }

    /// The cipher suites in the client's order of preference.
    pub fn cipher_suites(self, suites: &[u16]) -> Self {
        self.raw_cipher_suites(vector_u16(&u16s(suites)))
    }

    /// The cipher suites' field as it stands on the wire, length included.
    pub fn raw_cipher_suites(mut self, field: impl Into<Vec<u8>>) -> Self {
        self.cipher_suites = field.into();
        self
    }

    /// The compression methods' field as it stands on the wire, length included.
    pub fn raw_compression_methods(mut self, field: impl Into<Vec<u8>>) -> Self {
        self.compression_methods = field.into();
        self
    }

    /// The extensions' field as it stands on the wire, length included; drops all extensions.
    pub fn raw_extensions(mut self, field: impl Into<Vec<u8>>) -> Self {
        self.extensions_field = Some(field.into());
        self
    }

    /// An extension of any type.
    pub fn extension(mut self, kind: u16, content: impl AsRef<[u8]>) -> Self {
        self.extensions.extend(kind.to_be_bytes());
        self.extensions.extend(vector_u16(content.as_ref()));
        self
    }

    /// A server_name extension with one host_name.
    pub fn server_name(self, name: impl AsRef<[u8]>) -> Self {
        self.server_names(&[(0, name.as_ref())])
    }

    /// A server_name extension with these entries of name type and name.
    pub fn server_names(self, entries: &[(u8, &[u8])]) -> Self {
        let entry = |(kind, name): &(u8, &[u8])| [vec![*kind], vector_u16(name)].concat();
        let list: Vec<u8> = entries.iter().flat_map(entry).collect();
        self.raw_server_name(vector_u16(&list))
    }

    /// A server_name extension with this content, list length included.
    pub fn raw_server_name(self, content: impl AsRef<[u8]>) -> Self {
        self.extension(0, content)
    }

    /// An ALPN extension with these protocols.
    pub fn alpn<P: AsRef<[u8]>>(self, protocols: &[P]) -> Self {
        let list: Vec<u8> = protocols
            .iter()
            .flat_map(|p| vector_u8(p.as_ref()))
            .collect();
        self.extension(16, vector_u16(&list))
    }

    /// A key_share extension with a share of the given length for each group.
    pub fn key_shares(self, shares: &[(u16, usize)]) -> Self {
        let share =
            |(group, len): &(u16, usize)| [u16s(&[*group]), vector_u16(&filler(*len))].concat();
        let list: Vec<u8> = shares.iter().flat_map(share).collect();
        self.extension(51, vector_u16(&list))
    }

    /// A pre_shared_key extension; RFC 8446 section 4.2.11 wants it last.
    pub fn pre_shared_keys(self, identities: usize, identity_len: usize) -> Self {
        let obfuscated_ticket_age = [0; 4];
        let identity = [
            vector_u16(&filler(identity_len)),
            obfuscated_ticket_age.to_vec(),
        ]
        .concat();
        let binder = vector_u8(&filler(32));
        let content = [
            vector_u16(&identity.repeat(identities)),
            vector_u16(&binder.repeat(identities)),
        ];
        self.extension(41, content.concat())
    }

    /// A padding extension with `len` zeroes.
    pub fn padding(self, len: usize) -> Self {
        self.extension(21, vec![0; len])
    }

    fn groups(self, groups: &[u16]) -> Self {
        self.extension(10, vector_u16(&u16s(groups)))
    }

    fn signature_algorithms(self, schemes: &[u16]) -> Self {
        self.extension(13, vector_u16(&u16s(schemes)))
    }

    /// The handshake message, with its 4-byte header.
    pub fn message(&self) -> Vec<u8> {
        let extensions = match &self.extensions_field {
            Some(field) => field.clone(),
            None => vector_u16(&self.extensions),
        };
        let body = [
            self.legacy_version.to_be_bytes().to_vec(),
            filler(32),
            self.session_id.clone(),
            self.cipher_suites.clone(),
            self.compression_methods.clone(),
            extensions,
        ];
        message(MESSAGE_TYPE_CLIENT_HELLO, &body.concat())
    }

    /// The message in as few records as possible, usually one.
    pub fn wire(&self) -> Vec<u8> {
        self.wire_in_records_of(MAX_FRAGMENT)
    }

    /// The message in records of `len` bytes each, the last one with the rest.
    pub fn wire_in_records_of(&self, len: usize) -> Vec<u8> {
        records(self.record_version, &self.message(), len)
    }
}

/// Cuts a handshake message into records of `len` bytes (at least 1), the last one with the rest.
pub fn records(version: [u8; 2], message: &[u8], len: usize) -> Vec<u8> {
    let fragments = message.chunks(len.max(1));
    let record = |fragment| record(RECORD_TYPE_HANDSHAKE, version, fragment);
    fragments.flat_map(record).collect()
}

/// The handshake bytes of whole records: the reverse of [`records`].
pub fn fragments(mut wire: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    while let [_, _, _, high, low, rest @ ..] = wire {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (fragment, next) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        message.extend_from_slice(fragment);
        wire = next;
    }
    message
}

/// One record of any type.
pub fn record(kind: u8, version: [u8; 2], fragment: &[u8]) -> Vec<u8> {
    let [major, minor] = version;
    [vec![kind, major, minor], vector_u16(fragment)].concat()
}

/// One handshake message of any type.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).min(0xff_ffff);
    let [_, length @ ..] = length.to_be_bytes();
    [&[kind], length.as_slice(), body].concat()
}

/// `content` after its length in one byte.
pub fn vector_u8(content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap_or(u8::MAX);
    [&[length], content].concat()
}

/// `content` after its length in two bytes.
pub fn vector_u16(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap_or(u16::MAX);
    [length.to_be_bytes().as_slice(), content].concat()
}

fn u16s(numbers: &[u16]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_be_bytes())
        .collect()
}

/// Bytes in place of keys, randoms and tickets: the same each time, and no byte like the next.
fn filler(len: usize) -> Vec<u8> {
    (0..=u8::MAX)
        .map(|n| n.wrapping_mul(167).wrapping_add(13))
        .cycle()
        .take(len)
        .collect()
}
