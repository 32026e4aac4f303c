//! The records of one side of a connection: their headers, as the bytes come.

pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;
pub(super) const MAJOR_VERSION: u8 = 3;
pub(super) const SERVER_HELLO: u8 = 2;
pub(super) const CERTIFICATE: u8 = 11;
pub(super) const WARNING: u8 = 1;
pub(super) const TLS13: u16 = 0x0304;

/// A record's header.
pub(super) const HEADER: usize = 5;
/// The longest encrypted record (RFC 5246 section 6.2.3).
pub(super) const LONGEST: u16 = (1 << 14) + 2048;

/// The position in the records of one side.
#[derive(Debug, Default)]
pub(super) struct RecordPosition {
    pub header: [u8; HEADER],
    /// Bytes of the header that came.
    pub came: u8,
    /// Bytes of the record that are left.
    pub left: u16,
}

/// The result of one more byte of a record's header.
pub(super) enum HeaderStep {
    Partial,
    Whole,
    /// No record of TLS begins so.
    Bad,
}

impl RecordPosition {
    pub(super) fn kind(&self) -> u8 {
        self.header[0]
    }

    pub(super) fn kind_and_length(&self) -> (u8, u16) {
        let [kind, _, _, high, low] = self.header;
        (kind, u16::from_be_bytes([high, low]))
    }

    /// Takes a whole header.
    pub(super) fn header(&mut self, header: [u8; HEADER]) -> HeaderStep {
        self.header = header;
        let [kind, major, ..] = header;
        if is_kind(kind) && major == MAJOR_VERSION {
            return self.whole();
        }
        HeaderStep::Bad
    }

    /// Takes the next byte of a header.
    pub(super) fn header_byte(&mut self, byte: u8) -> HeaderStep {
        let place = usize::from(self.came);
        if let Some(place) = self.header.get_mut(place) {
            *place = byte;
        }
        self.came += 1;
        match self.came {
            1 if !is_kind(byte) => HeaderStep::Bad,
            2 if byte != MAJOR_VERSION => HeaderStep::Bad,
            5.. => self.whole(),
            _ => HeaderStep::Partial,
        }
    }

    /// A header is whole.
    fn whole(&mut self) -> HeaderStep {
        let (_, length) = self.kind_and_length();
        if length == 0 || length > LONGEST {
            return HeaderStep::Bad;
        }
        (self.came, self.left) = (0, length);
        HeaderStep::Whole
    }
}

const fn is_kind(byte: u8) -> bool {
    byte >= CHANGE_CIPHER_SPEC && byte <= APPLICATION_DATA
}
