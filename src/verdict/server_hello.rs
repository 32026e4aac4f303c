//! The ServerHello, read as its bytes come: nothing of it is kept but a few numbers.

/// The random of a ServerHello that is a HelloRetryRequest (RFC 8446 section 4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

const PRE_SHARED_KEY: u16 = 41;
const SUPPORTED_VERSIONS: u16 = 43;
const KEY_SHARE: u16 = 51;

/// The numbers that the two sides have agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Agreed {
    /// The version's number.
    pub version: u16,
    pub cipher: u16,
    /// 0: not known.
    pub group: u16,
    /// It is a HelloRetryRequest.
    pub retry: bool,
    /// The server resumes the session of the client's pre-shared key.
    pub pre_shared_key: bool,
}

/// The field that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum HelloField {
    #[default]
    Version,
    Random,
    SessionIdLength,
    SessionId,
    CipherAndCompression,
    ExtensionsLength,
    ExtensionHeader,
    /// The first bytes of an extension whose value counts.
    Value,
    /// The rest of an extension.
    Rest,
}

/// The reader of one ServerHello's body.
#[derive(Debug, Default)]
pub(super) struct ServerHello {
    field: HelloField,
    /// Bytes of the field that came.
    came: u16,
    /// The last bytes of the field, the newest lowest.
    value: u32,
    /// The extension that is read, and the bytes of it that are left.
    extension: u16,
    left: u16,
    differs_from_retry: bool,
    agreed: Agreed,
}

impl ServerHello {
    /// The numbers, once the whole message has come.
    pub(super) fn agreed(&self) -> Agreed {
        Agreed {
            retry: !self.differs_from_retry,
            ..self.agreed
        }
    }

    /// Reads the next bytes of the body.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        loop {
            // Long fields are read at once: a post-quantum key share has a kilobyte.
            let taken = match self.field {
                HelloField::Random => self.random(bytes),
                HelloField::SessionId | HelloField::Rest => self.pass_over(bytes),
                _ => match bytes.first() {
                    Some(byte) => {
                        self.byte(*byte);
                        1
                    }
                    None => return,
                },
            };
            bytes = bytes.get(taken..).unwrap_or_default();
            // A field without bytes is passed over without any.
            let is_empty =
                matches!(self.field, HelloField::SessionId | HelloField::Rest) && self.left == 0;
            if bytes.is_empty() && !is_empty {
                return;
            }
        }
    }

    /// Reads bytes of the random. Returns how many.
    fn random(&mut self, bytes: &[u8]) -> usize {
        let expected = RETRY.get(self.came.into()..).unwrap_or_default();
        let length = expected.len().min(bytes.len());
        self.differs_from_retry |= bytes.get(..length) != expected.get(..length);
        self.came += u16::try_from(length).unwrap_or_default();
        if length == expected.len() {
            self.enter(HelloField::SessionIdLength);
        }
        length
    }

    /// Passes over bytes of a field of which `left` are to come. Returns how many.
    fn pass_over(&mut self, bytes: &[u8]) -> usize {
        let length = usize::from(self.left).min(bytes.len());
        self.left -= u16::try_from(length).unwrap_or(self.left);
        if self.left == 0 {
            self.enter(match self.field {
                HelloField::SessionId => HelloField::CipherAndCompression,
                _ => HelloField::ExtensionHeader,
            });
        }
        length
    }

    fn enter(&mut self, field: HelloField) {
        (self.field, self.came, self.value) = (field, 0, 0);
    }

    fn byte(&mut self, byte: u8) {
        self.came = self.came.saturating_add(1);
        self.value = self.value << 8 | u32::from(byte);
        let low = |value: u32| u16::try_from(value & 0xffff).unwrap_or_default();
        match (self.field, self.came) {
            (HelloField::Version, 2) => {
                self.agreed.version = low(self.value);
                self.enter(HelloField::Random);
            }
            (HelloField::SessionIdLength, _) => {
                self.enter(match byte {
                    0 => HelloField::CipherAndCompression,
                    _ => HelloField::SessionId,
                });
                self.left = byte.into();
            }
            (HelloField::CipherAndCompression, 3) => {
                self.agreed.cipher = low(self.value >> 8);
                self.enter(HelloField::ExtensionsLength);
            }
            (HelloField::ExtensionsLength, 2) => self.enter(HelloField::ExtensionHeader),
            (HelloField::ExtensionHeader, 4) => {
                self.extension_begins(low(self.value >> 16), low(self.value));
            }
            (HelloField::Value, 2) => {
                match self.extension {
                    SUPPORTED_VERSIONS => self.agreed.version = low(self.value),
                    _ => self.agreed.group = low(self.value),
                }
                self.left = self.left.saturating_sub(2);
                self.enter(HelloField::Rest);
            }
            _ => {}
        }
    }

    fn extension_begins(&mut self, extension: u16, length: u16) {
        (self.extension, self.left) = (extension, length);
        self.agreed.pre_shared_key |= extension == PRE_SHARED_KEY;
        let counts = matches!(extension, SUPPORTED_VERSIONS | KEY_SHARE) && length >= 2;
        self.enter(if counts {
            HelloField::Value
        } else {
            HelloField::Rest
        });
    }
}

#[cfg(test)]
pub(super) fn written(agreed: Agreed, length: usize) -> Vec<u8> {
    let mut body = if agreed.version == 0x0304 {
        vec![3, 3]
    } else {
        agreed.version.to_be_bytes().to_vec()
    };
    body.extend(if agreed.retry { RETRY } else { [7; 32] });
    body.push(0);
    body.extend(agreed.cipher.to_be_bytes());
    body.push(0);
    let mut extensions = Vec::new();
    let mut extension = |number: u16, content: &[u8]| {
        extensions.extend(number.to_be_bytes());
        extensions.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
        extensions.extend(content);
    };
    if agreed.version == 0x0304 {
        if agreed.group != 0 {
            let used = body.len() + 2 + 6 + if agreed.pre_shared_key { 6 } else { 0 };
            let mut share = agreed.group.to_be_bytes().to_vec();
            share.resize(length.saturating_sub(used + 4).max(2), 0);
            extension(KEY_SHARE, &share);
        }
        if agreed.pre_shared_key {
            extension(PRE_SHARED_KEY, &[0, 0]);
        }
        extension(SUPPORTED_VERSIONS, &agreed.version.to_be_bytes());
    } else {
        let used = body.len() + 2 + 4;
        extension(21, &vec![0; length.saturating_sub(used)]);
    }
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_read_whatever_the_split() {
        let cases = [
            Agreed {
                version: 0x0304,
                cipher: 0x1301,
                group: 0x11ec,
                retry: false,
                pre_shared_key: true,
            },
            Agreed {
                version: 0x0304,
                cipher: 0x1302,
                group: 0x1d,
                retry: true,
                pre_shared_key: false,
            },
            Agreed {
                version: 0x0303,
                cipher: 0xc02f,
                ..Agreed::default()
            },
        ];
        for agreed in cases {
            let body = written(agreed, 300);
            for split in 0..body.len() {
                let mut read = ServerHello::default();
                let (one, other) = body.split_at(split);
                read.read(one);
                read.read(other);
                assert_eq!(read.agreed(), agreed, "{split}");
            }
            let mut read = ServerHello::default();
            body.iter().for_each(|byte| read.read(&[*byte]));
            assert_eq!(read.agreed(), agreed);
        }
    }
}
