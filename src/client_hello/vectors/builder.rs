//! ClientHellos made to measure, valid ones and ones that break a rule on purpose.

use crate::client_hello::{
    MAX_FRAGMENT, MESSAGE_TYPE_CLIENT_HELLO, RECORD_HEADER, RECORD_TYPE_HANDSHAKE,
};

/// The version of an initial ClientHello's record as every client sends it: 3.1 (RFC 8446 section
/// 5.1).
const RECORD_VERSION: [u8; 2] = [3, 1];

/// Types of extensions, from IANA's registry.
pub mod extension {
    pub const SERVER_NAME: u16 = 0;
    pub const SUPPORTED_GROUPS: u16 = 10;
    pub const SIGNATURE_ALGORITHMS: u16 = 13;
    pub const ALPN: u16 = 16;
    pub const PADDING: u16 = 21;
    pub const PRE_SHARED_KEY: u16 = 41;
    pub const EARLY_DATA: u16 = 42;
    pub const SUPPORTED_VERSIONS: u16 = 43;
    pub const PSK_KEY_EXCHANGE_MODES: u16 = 45;
    pub const KEY_SHARE: u16 = 51;
    pub const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
    /// From here on the registry is empty (up to the GREASE value 0x3a3a).
    pub const UNASSIGNED: u16 = 0x2b00;
}

/// Builds a ClientHello, an extension per call, in the order of the calls.
///
/// It checks nothing, so that every rule can be broken. A vector that is too long for its length
/// field gets the largest length that fits there.
#[derive(Debug, Clone)]
pub struct HelloBuilder {
    legacy_version: u16,
    session_id: Vec<u8>,
    cipher_suites: Vec<u8>,
    compression_methods: Vec<u8>,
    /// The content of the extensions block; `None` for a hello without the block.
    extensions: Option<Vec<u8>>,
    /// Bytes that follow the extensions within the message.
    trailer: Vec<u8>,
}

impl Default for HelloBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl HelloBuilder {
    /// A hello of TLS 1.2 with an empty extensions block.
    pub fn new() -> Self {
        Self {
            legacy_version: 0x0303,
            session_id: vec![0x5e; 32],
            cipher_suites: vec![0x13, 0x01, 0xc0, 0x2f],
            compression_methods: vec![0],
            extensions: Some(Vec::new()),
            trailer: Vec::new(),
        }
    }

    /// The hello of a client of TLS 1.3 that asks for `name`, as a mesh's sidecar sends it.
    pub fn tls13(name: &str) -> Self {
        Self::new().server_name(name).modern()
    }

    /// Adds what a TLS 1.3 client sends beside a server name.
    pub fn modern(self) -> Self {
        const X25519: u16 = 0x001d;
        self.extension(extension::SUPPORTED_GROUPS, &[0, 2, 0, 0x1d])
            .extension(extension::SIGNATURE_ALGORITHMS, &[0, 4, 4, 3, 8, 4])
            .supported_versions(&[0x0304, 0x0303])
            .key_shares(&[(X25519, 32)])
    }

    /// A server_name extension of one host_name.
    pub fn server_name(self, name: &str) -> Self {
        self.server_name_bytes(name.as_bytes())
    }

    /// A server_name extension of one host_name, whatever its bytes.
    pub fn server_name_bytes(self, name: &[u8]) -> Self {
        const HOST_NAME: u8 = 0;
        self.server_name_list(&[(HOST_NAME, name)])
    }

    /// A server_name extension of any entries, each a name type and a name.
    pub fn server_name_list(self, entries: &[(u8, &[u8])]) -> Self {
        let mut list = Vec::new();
        for (name_type, name) in entries {
            list.push(*name_type);
            list.extend(vector_u16(name));
        }
        self.extension(extension::SERVER_NAME, &vector_u16(&list))
    }

    /// An ALPN extension that offers `protocols` in this order.
    pub fn alpn(self, protocols: &[&[u8]]) -> Self {
        let list: Vec<u8> = protocols.iter().flat_map(|name| vector_u8(name)).collect();
        self.extension(extension::ALPN, &vector_u16(&list))
    }

    /// A supported_versions extension.
    pub fn supported_versions(self, versions: &[u16]) -> Self {
        let list: Vec<u8> = versions.iter().flat_map(|v| v.to_be_bytes()).collect();
        self.extension(extension::SUPPORTED_VERSIONS, &vector_u8(&list))
    }

    /// A key_share extension: of each share its group and its length in bytes.
    pub fn key_shares(self, shares: &[(u16, usize)]) -> Self {
        let mut list = Vec::new();
        for (group, length) in shares {
            list.extend(group.to_be_bytes());
            list.extend(vector_u16(&vec![0x4b; *length]));
        }
        self.extension(extension::KEY_SHARE, &vector_u16(&list))
    }

    /// A pre_shared_key extension of `count` identities of `length` bytes, a binder for each. TLS
    /// wants it last.
    pub fn psk_identities(self, count: usize, length: usize) -> Self {
        let mut identity = vector_u16(&vec![0x1d; length]);
        identity.extend(/* obfuscated_ticket_age */ [0; 4]);
        let mut content = vector_u16(&identity.repeat(count));
        content.extend(vector_u16(&vector_u8(&[0xb1; 32]).repeat(count)));
        self.extension(extension::PRE_SHARED_KEY, &content)
    }

    /// A padding extension (RFC 7685) of `length` zeros.
    pub fn padding(self, length: usize) -> Self {
        self.extension(extension::PADDING, &vec![0; length])
    }

    /// `count` empty extensions of `count` types.
    pub fn empty_extensions(self, count: u16) -> Self {
        let types = (0..count).map(|n| extension::UNASSIGNED.wrapping_add(n));
        types.fold(self, |hello, kind| hello.extension(kind, &[]))
    }

    /// Any extension.
    pub fn extension(self, kind: u16, content: &[u8]) -> Self {
        self.raw_extensions(&kind.to_be_bytes())
            .raw_extensions(&vector_u16(content))
    }

    /// Bytes of the extensions block that need not be an extension.
    pub fn raw_extensions(mut self, bytes: &[u8]) -> Self {
        self.extensions
            .get_or_insert_default()
            .extend_from_slice(bytes);
        self
    }

    /// Leaves out the extensions block with its length.
    pub fn without_extensions(mut self) -> Self {
        self.extensions = None;
        self
    }

    /// Bytes after the extensions, within the message.
    pub fn trailer(mut self, bytes: &[u8]) -> Self {
        self.trailer = bytes.to_vec();
        self
    }

    /// The legacy_version field.
    pub fn version(mut self, version: u16) -> Self {
        self.legacy_version = version;
        self
    }

    /// A session id of `length` bytes.
    pub fn session_id(mut self, length: usize) -> Self {
        self.session_id = vec![0x5e; length];
        self
    }

    /// `count` cipher suites.
    pub fn cipher_count(self, count: usize) -> Self {
        self.cipher_bytes(count.saturating_mul(2))
    }

    /// Cipher suites of `length` bytes, which may be odd.
    pub fn cipher_bytes(mut self, length: usize) -> Self {
        self.cipher_suites = vec![0x13; length];
        self
    }

    /// The compression methods.
    pub fn compression_methods(mut self, methods: &[u8]) -> Self {
        self.compression_methods = methods.to_vec();
        self
    }

    /// The message without its 4-byte header.
    pub fn body(&self) -> Vec<u8> {
        let mut body = self.legacy_version.to_be_bytes().to_vec();
        body.extend(/* random */ [0xa5; 32]);
        body.extend(vector_u8(&self.session_id));
        body.extend(vector_u16(&self.cipher_suites));
        body.extend(vector_u8(&self.compression_methods));
        body.extend(self.extensions.iter().flat_map(|block| vector_u16(block)));
        body.extend(&self.trailer);
        body
    }

    /// The handshake message, header included.
    pub fn message(&self) -> Vec<u8> {
        handshake(MESSAGE_TYPE_CLIENT_HELLO, &self.body())
    }

    /// The message in records of `size` bytes, the last one shorter where need be.
    pub fn records(&self, size: usize) -> Vec<u8> {
        records(&self.message(), size)
    }

    /// The message in as few records as hold it: what clients send.
    pub fn wire(&self) -> Vec<u8> {
        self.records(MAX_FRAGMENT)
    }
}

/// A handshake message of any type.
pub fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[kind], &length[..], body].concat()
}

/// `message` cut into handshake records of `size` bytes (at least 1), the last one shorter where
/// need be.
pub fn records(message: &[u8], size: usize) -> Vec<u8> {
    let fragments = message.chunks(size.max(1));
    let mut wire = Vec::with_capacity(message.len() + fragments.len() * RECORD_HEADER);
    for fragment in fragments {
        wire.extend(record(RECORD_TYPE_HANDSHAKE, RECORD_VERSION, fragment));
    }
    wire
}

/// One record of any type and version.
pub fn record(kind: u8, [major, minor]: [u8; 2], fragment: &[u8]) -> Vec<u8> {
    [&[kind, major, minor], vector_u16(fragment).as_slice()].concat()
}

fn vector_u8(content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap_or(u8::MAX);
    [&[length], content].concat()
}

fn vector_u16(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), content].concat()
}
