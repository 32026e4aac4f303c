//! The lengths of records by which an alert and a Finished are known, and the protocols whose answers are
//! longer.

use super::flights::{Facts, Kept};
use super::records::{ALERT, APPLICATION_DATA, HEADER};

/// An encrypted alert in TLS 1.3: 2 bytes, the type, the tag. Java pads it by 16 bytes.
pub(super) const ALERTS_13: [u8; 2] = [19, 35];
/// The same in TLS 1.2, by cipher: AES-GCM and CCM, ChaCha20 and CCM_8, in the clear, CBC with its MACs.
pub(super) const ALERTS_12: [u8; 7] = [26, 18, 2, 48, 52, 64, 80];
/// Java's padding of what is no application data, in TLS 1.3.
pub(super) const JAVA: u16 = 16;
/// A message of the handshake with nothing in it: an empty Certificate has 4 bytes more.
pub(super) const EMPTY_CERTIFICATE: u16 = 8;
/// The type at the end of a record of TLS 1.3, and the tag.
pub(super) const SEALED: u16 = 17;

/// The length of a record that is a Finished alone, in TLS 1.3. `None` if the cipher's hash is not known.
pub(super) const fn finished_length(cipher: u16) -> Option<u16> {
    let hash = match cipher {
        0x1301 | 0x1303 | 0x1304 | 0x1305 => 32,
        0x1302 => 48,
        _ => return None,
    };
    Some(4 + hash + SEALED)
}

/// The length of the record at the end of `bytes` with its header, if it is as short as an alert; 0 if not.
pub(super) fn goodbye(kept: &Kept, bytes: &[u8]) -> u8 {
    let ends_with = |kind: u8, payload: u8| {
        let length = HEADER + usize::from(payload);
        let header = bytes
            .len()
            .checked_sub(length)
            .and_then(|at| bytes.get(at..at + HEADER));
        matches!(header, Some([of, 3, _, 0, last]) if *of == kind && *last == payload)
    };
    let found = |kind: u8, lengths: &[u8]| {
        let mut lengths = lengths.iter();
        let payload = lengths.find(|payload| ends_with(kind, **payload))?;
        u8::try_from(HEADER).ok()?.checked_add(*payload)
    };
    let tls12 = kept.facts.has(Facts::AGREED) && !kept.is_tls13();
    let length = match tls12 {
        true => found(ALERT, &ALERTS_12),
        false => found(APPLICATION_DATA, &ALERTS_13).or_else(|| found(ALERT, &[2])),
    };
    length.unwrap_or(0)
}

/// Whether every protocol of an offer, joined by commas, has answers longer than an alert: HTTP has, and so has
/// Istio's exchange of metadata. `istio` is no protocol, but says that the others are within the mesh.
pub fn answers_are_long(alpn: &str) -> bool {
    let is_long = |protocol: &str| {
        matches!(
            protocol,
            "h2" | "http/1.1"
                | "http/1.0"
                | "istio-h2"
                | "istio-http/1.1"
                | "istio-http/1.0"
                | "istio-peer-exchange"
        )
    };
    let mut protocols = alpn.split(',').filter(|protocol| *protocol != "istio");
    let first = protocols.next();
    first.is_some_and(is_long) && protocols.all(is_long)
}
