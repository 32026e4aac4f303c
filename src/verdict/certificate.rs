//! A side's certificate in TLS 1.2, which is in the clear there, read as its bytes come.
//!
//! Nothing is verified, so nothing that it says is authenticated. Of the leaf the reader keeps the expiry and the
//! SPIFFE ID, and it is a bounded walk: it passes over whatever it does not look for, and stops where the bytes
//! are not what it expects.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::clock;

/// The facts that are kept of a certificate. Nobody has verified them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenCertificate {
    /// Seconds since 1970, in 5 bytes; 0: not known.
    expiry: [u8; 5],
    id: [u8; Self::MOST],
    /// One more than `MOST`: it was cut.
    length: u8,
}

impl Default for SeenCertificate {
    fn default() -> Self {
        Self {
            expiry: [0; 5],
            id: [0; Self::MOST],
            length: 0,
        }
    }
}

impl SeenCertificate {
    /// Bytes of a SPIFFE ID that are kept, without its scheme.
    pub const MOST: usize = 36;

    /// The end of its validity.
    pub fn expiry(&self) -> Option<SystemTime> {
        let seconds = self
            .expiry
            .iter()
            .fold(0, |n, byte| n << 8 | u64::from(*byte));
        (seconds != 0).then(|| UNIX_EPOCH + Duration::from_secs(seconds))
    }

    /// Its SPIFFE ID without the scheme, and whether it is longer than that.
    pub fn spiffe_id(&self) -> Option<(&str, bool)> {
        let length = usize::from(self.length).min(Self::MOST);
        let text = std::str::from_utf8(self.id.get(..length)?).ok()?;
        (length > 0).then_some((text, usize::from(self.length) > Self::MOST))
    }

    /// Whether anything is known of it.
    pub fn is_known(&self) -> bool {
        *self != Self::default()
    }

    fn push(&mut self, byte: u8) {
        let shown = if byte.is_ascii_graphic() { byte } else { b'?' };
        if usize::from(self.length) <= Self::MOST {
            if let Some(place) = self.id.get_mut(usize::from(self.length)) {
                *place = shown;
            }
            self.length += 1;
        }
    }
}

impl fmt::Display for SeenCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((id, cut)) = self.spiffe_id() {
            let end = if cut { "..." } else { "" };
            write!(f, "spiffe://{id}{end} ")?;
        }
        match self.expiry() {
            Some(end) => write!(
                f,
                "until {}",
                humantime::format_rfc3339_seconds(clock::writable(end))
            ),
            None => f.write_str("of an unknown expiry"),
        }
    }
}

/// The scheme of a SPIFFE ID.
const SCHEME: &[u8] = b"spiffe://";

/// The lengths before the leaf: of the list, and of the leaf.
const LENGTHS: u8 = 6;

/// The object identifier of subjectAltName, with nothing before it.
const SUBJECT_ALT_NAME: u64 = 0x0055_1d11;

const BOOLEAN: u8 = 1;
const INTEGER: u8 = 2;
const OCTET_STRING: u8 = 4;
const OBJECT_ID: u8 = 6;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const URI: u8 = 0x86;

/// The element of a certificate that comes next (RFC 5280 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum CertificateField {
    #[default]
    Certificate,
    Tbs,
    Version,
    Serial,
    Signature,
    Issuer,
    Validity,
    NotBefore,
    NotAfter,
    Subject,
    Key,
    Extensions,
    ExtensionList,
    Extension,
    ExtensionId,
    ExtensionValue,
    Names,
    Name,
    Done,
}

/// The part of an element that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Piece {
    /// The lengths before the first element.
    #[default]
    Lengths,
    Tag,
    Length,
    /// The bytes of a long length that are left.
    LongLength(u8),
    /// Bytes that do not count.
    Rest,
    Value,
}

/// The reader of one Certificate message's body.
#[derive(Debug, Default)]
pub(super) struct CertificateReader {
    /// The digits of a time, or an object identifier: a number, as bytes since it is aligned to nothing so.
    value: [u8; 8],
    /// Bytes of the part that are left.
    left: u32,
    /// Bytes of the value that came, as far as they are counted.
    came: u8,
    /// Bytes that are left of the extensions, or of the names.
    within: u16,
    field: CertificateField,
    part: Piece,
    tag: u8,
}

impl CertificateReader {
    /// Reads the next bytes of the body.
    pub(super) fn read(&mut self, mut bytes: &[u8], seen: &mut SeenCertificate) {
        while self.field != CertificateField::Done
            && let Some((byte, rest)) = bytes.split_first()
        {
            let taken = match self.part {
                Piece::Rest => usize::try_from(self.left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len()),
                _ => 1,
            };
            if matches!(
                self.field,
                CertificateField::Extension
                    | CertificateField::ExtensionId
                    | CertificateField::ExtensionValue
                    | CertificateField::Name
            ) {
                let Some(within) = u16::try_from(taken)
                    .ok()
                    .and_then(|taken| self.within.checked_sub(taken))
                else {
                    self.field = CertificateField::Done;
                    return;
                };
                self.within = within;
            }
            match self.part {
                Piece::Rest => self.pass_over(u32::try_from(taken).unwrap_or(self.left)),
                _ => self.byte(*byte, seen),
            }
            bytes = bytes.get(taken..).unwrap_or(rest);
        }
    }

    fn byte(&mut self, byte: u8, seen: &mut SeenCertificate) {
        match self.part {
            Piece::Lengths => {
                self.came += 1;
                if self.came == LENGTHS {
                    self.part = Piece::Tag;
                }
            }
            Piece::Tag => (self.tag, self.part, self.left) = (byte, Piece::Length, 0),
            Piece::Length => match byte {
                0..=0x7f => self.element(byte.into()),
                0x81..=0x83 => self.part = Piece::LongLength(byte - 0x80),
                _ => self.field = CertificateField::Done,
            },
            Piece::LongLength(left) => {
                self.left = self.left << 8 | u32::from(byte);
                match left - 1 {
                    0 => self.element(self.left),
                    left => self.part = Piece::LongLength(left),
                }
            }
            Piece::Rest => {}
            Piece::Value => self.value(byte, seen),
        }
    }

    /// An element of this length begins.
    fn element(&mut self, length: u32) {
        let (next, part) = match (self.field, self.tag) {
            (CertificateField::Certificate, SEQUENCE) => (CertificateField::Tbs, Piece::Tag),
            (CertificateField::Tbs, SEQUENCE) => (CertificateField::Version, Piece::Tag),
            (CertificateField::Version, 0xa0) => (CertificateField::Serial, Piece::Rest),
            (CertificateField::Version | CertificateField::Serial, INTEGER) => {
                (CertificateField::Signature, Piece::Rest)
            }
            (CertificateField::Signature, SEQUENCE) => (CertificateField::Issuer, Piece::Rest),
            (CertificateField::Issuer, SEQUENCE) => (CertificateField::Validity, Piece::Rest),
            (CertificateField::Validity, SEQUENCE) => (CertificateField::NotBefore, Piece::Tag),
            (CertificateField::NotBefore, UTC_TIME | GENERALIZED_TIME) => {
                (CertificateField::NotAfter, Piece::Rest)
            }
            (CertificateField::NotAfter, UTC_TIME | GENERALIZED_TIME) => {
                (CertificateField::NotAfter, Piece::Value)
            }
            (CertificateField::Subject, SEQUENCE) => (CertificateField::Key, Piece::Rest),
            (CertificateField::Key, SEQUENCE) => (CertificateField::Extensions, Piece::Rest),
            // The issuer's and the subject's unique identifiers.
            (CertificateField::Extensions, 0x81 | 0x82 | 0xa1 | 0xa2) => {
                (CertificateField::Extensions, Piece::Rest)
            }
            (CertificateField::Extensions, 0xa3) => (CertificateField::ExtensionList, Piece::Tag),
            (CertificateField::ExtensionList, SEQUENCE) => {
                (CertificateField::Extension, Piece::Tag)
            }
            (CertificateField::Extension, SEQUENCE) => (CertificateField::ExtensionId, Piece::Tag),
            (CertificateField::ExtensionId, OBJECT_ID) => {
                (CertificateField::ExtensionId, Piece::Value)
            }
            (CertificateField::ExtensionValue, BOOLEAN) => {
                (CertificateField::ExtensionValue, Piece::Rest)
            }
            (CertificateField::ExtensionValue, OCTET_STRING)
                if self.number() == SUBJECT_ALT_NAME =>
            {
                (CertificateField::Names, Piece::Tag)
            }
            (CertificateField::ExtensionValue, OCTET_STRING) => {
                (CertificateField::Extension, Piece::Rest)
            }
            (CertificateField::Names, SEQUENCE) => (CertificateField::Name, Piece::Tag),
            (CertificateField::Name, URI) => (CertificateField::Name, Piece::Value),
            (CertificateField::Name, _) => (CertificateField::Name, Piece::Rest),
            _ => (CertificateField::Done, Piece::Rest),
        };
        if matches!(
            self.field,
            CertificateField::ExtensionList | CertificateField::Names
        ) {
            self.within = u16::try_from(length).unwrap_or(0);
        }
        if part == Piece::Value {
            (self.value, self.came) = ([0; 8], 0);
        }
        (self.field, self.part, self.left) = (next, part, length);
        if part == Piece::Rest && length == 0 {
            self.part = Piece::Tag;
        } else if part == Piece::Value && length == 0 {
            self.field = CertificateField::Done;
        }
    }

    fn pass_over(&mut self, count: u32) {
        self.left -= count;
        if self.left == 0 {
            self.part = Piece::Tag;
        }
    }

    /// A byte of a value that counts.
    fn value(&mut self, byte: u8, seen: &mut SeenCertificate) {
        let place = usize::from(self.came);
        (self.came, self.left) = (self.came.saturating_add(1), self.left - 1);
        match self.field {
            CertificateField::Name => match SCHEME.get(place) {
                Some(expected) if byte != *expected => self.part = Piece::Rest,
                Some(_) => {}
                None => seen.push(byte),
            },
            CertificateField::NotAfter if byte.is_ascii_digit() => {
                let number = self.number().saturating_mul(10);
                self.value = number.saturating_add(u64::from(byte - b'0')).to_be_bytes();
            }
            CertificateField::NotAfter if byte == b'Z' && self.left == 0 => {}
            CertificateField::ExtensionId => {
                self.value = (self.number() << 8 | u64::from(byte)).to_be_bytes();
            }
            _ => self.field = CertificateField::Done,
        }
        if self.left > 0 {
            return;
        }
        self.part = Piece::Tag;
        match self.field {
            CertificateField::NotAfter => {
                seen.expiry = self.expiry().unwrap_or_default();
                self.field = CertificateField::Subject;
            }
            CertificateField::ExtensionId => self.field = CertificateField::ExtensionValue,
            // The first one counts.
            CertificateField::Name if seen.length > 0 => self.field = CertificateField::Done,
            _ => {}
        }
    }

    fn number(&self) -> u64 {
        u64::from_be_bytes(self.value)
    }

    /// The digits of a time as seconds since 1970, in 5 bytes.
    fn expiry(&self) -> Option<[u8; 5]> {
        let century = match (self.tag, self.came) {
            (GENERALIZED_TIME, 15) => 0,
            // RFC 5280 section 4.1.2.5.1.
            (UTC_TIME, 13) if self.number() / 10_000_000_000 >= 50 => 1900,
            (UTC_TIME, 13) => 2000,
            _ => return None,
        };
        let mut rest = self.number();
        let mut two = || {
            let last = rest % 100;
            rest /= 100;
            last
        };
        let [second, minute, hour, day, month] = [two(), two(), two(), two(), two()];
        let year = rest + century;
        let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z");
        let end = humantime::parse_rfc3339(&text).ok()?;
        let seconds = end.duration_since(UNIX_EPOCH).ok()?.as_secs();
        let [_, _, _, bytes @ ..] = seconds.to_be_bytes();
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    /// A Certificate message's body with one certificate.
    fn body(certificate: &[u8]) -> Vec<u8> {
        let length = |bytes: usize| u32::try_from(bytes).unwrap().to_be_bytes()[1..].to_vec();
        let list = [length(certificate.len()), certificate.to_vec()].concat();
        [length(list.len()), list].concat()
    }

    /// A certificate whose SPIFFE ID has this text after its scheme, and that ends in this second.
    fn issued(id: &str, end: u64) -> Vec<u8> {
        let mut params = CertificateParams::new(["a.test".to_owned()]).unwrap();
        for uri in ["https://elsewhere.test/", &format!("spiffe://{id}")] {
            params
                .subject_alt_names
                .push(SanType::URI(uri.try_into().unwrap()));
        }
        params.use_authority_key_identifier_extension = true;
        params.not_after = (UNIX_EPOCH + Duration::from_secs(end)).into();
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    fn seen(pieces: &[&[u8]]) -> SeenCertificate {
        let (mut reader, mut seen) = (CertificateReader::default(), SeenCertificate::default());
        for piece in pieces {
            reader.read(piece, &mut seen);
        }
        seen
    }

    #[test]
    fn the_id_and_the_expiry_are_read_whatever_the_split() {
        // Before and after 2050 a time is written in two ways.
        for (id, end, expected) in [
            (
                "alpha.test/ns/a/sa/b",
                1_800_000_000,
                ("alpha.test/ns/a/sa/b", false),
            ),
            ("a", 1_709_208_000, ("a", false)),
            (
                "a-trust-domain.test/ns/with-a-long-name/sa/b",
                4_102_444_799,
                ("a-trust-domain.test/ns/with-a-long-n", true),
            ),
        ] {
            let body = body(&issued(id, end));
            for at in 0..=body.len() {
                let (one, other) = body.split_at(at);
                let seen = seen(&[one, other]);
                assert_eq!(seen.spiffe_id(), Some(expected), "{at}");
                assert_eq!(
                    seen.expiry(),
                    Some(UNIX_EPOCH + Duration::from_secs(end)),
                    "{at}"
                );
            }
            let bytes: Vec<_> = body.chunks(1).collect();
            assert_eq!(seen(&bytes).spiffe_id(), Some(expected));
        }
    }

    #[test]
    fn a_message_without_a_certificate_says_nothing() {
        for body in [
            &[][..],
            &[0, 0, 0],
            &[0, 0, 3, 0, 0, 0],
            &[0, 0, 9, 0, 0, 6, 0x30, 0x80, 0, 0, 0, 0],
        ] {
            assert_eq!(seen(&[body]), SeenCertificate::default());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever the bytes, what is read depends on no split, and what is shown of an ID can be printed.
        #[test]
        fn no_bytes_are_read_in_two_ways(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<prop::sample::Index>(),
            split in any::<prop::sample::Index>(),
        ) {
            static CERTIFICATE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
            let mut body = CERTIFICATE.get_or_init(|| body(&issued("alpha.test/ns/a/sa/b", 1_800_000_000))).clone();
            for (place, byte) in changes {
                *place.get_mut(&mut body) = byte;
            }
            body.truncate(cut.index(body.len() + 1));
            let whole = seen(&[&body]);
            let (one, other) = body.split_at(split.index(body.len() + 1));
            prop_assert_eq!(whole, seen(&[one, other]));
            let bytes: Vec<_> = body.chunks(1).collect();
            prop_assert_eq!(whole, seen(&bytes));
            if let Some((id, _)) = whole.spiffe_id() {
                prop_assert!(id.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }
}
