//! The flights of a connection, as far as they are kept: who spoke, in which order, and how it closed.

use super::certificate::SeenCertificate;
use super::records::TLS13;
use super::server_hello::Agreed;
use super::side::{FirstBytes, Side};
use crate::tls_version::TlsVersion;

/// The certainty of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confidence {
    /// It follows from what is in the clear: FIN, RST, types of records, alerts, the number of bytes.
    Seen,
    /// It follows from the lengths of encrypted records.
    Inferred,
}

impl Confidence {
    /// The value in log lines.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Inferred => "inferred",
        }
    }
}

/// The stage that the two sides have reached in the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HandshakeStage {
    /// The downstream has sent its hello; the upstream has sent nothing.
    #[default]
    Asked,
    /// The first bytes of the upstream are no TLS.
    NotTls,
    /// The upstream has answered in TLS; the downstream's Finished has not come.
    Answered,
    /// TLS 1.3: the downstream's Finished has come, and nothing of the upstream's shows that it took it.
    Finished,
    /// The session stands.
    Established,
    /// The bytes are not those of a handshake that is known here.
    Unknown,
}

impl HandshakeStage {
    /// The stage in a word, for people.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::NotTls => "not_tls",
            Self::Answered => "answered",
            Self::Finished => "finished",
            Self::Established => "established",
            Self::Unknown => "unknown",
        }
    }
}

/// The resumption of an earlier session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumption {
    /// The server resumed a session.
    Accepted,
    /// The server answered with a full handshake.
    Declined,
}

/// The downstream's Certificate message in TLS 1.3, by the lengths of its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum ClientCertificate {
    /// None came: the upstream had not asked for one.
    #[default]
    NotAskedFor,
    /// It was empty.
    Empty,
    /// It had a certificate.
    Sent,
}

/// An alert in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlainAlert {
    pub by: Side,
    pub code: u8,
}

/// Facts of which each is a bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Facts(u32);

impl Facts {
    /// The upstream asked for a second hello.
    pub(super) const RETRY: u32 = 1;
    /// The server resumed a session.
    pub(super) const RESUMED: u32 = 1 << 1;
    /// A record of the downstream had the length of a Finished alone.
    pub(super) const FINISHED_ALONE: u32 = 1 << 2;
    /// More records followed, of which one may have been the Finished.
    pub(super) const MAYBE_BEYOND: u32 = 1 << 3;
    /// The downstream sent application data.
    pub(super) const ASKED: u32 = 1 << 4;
    /// The upstream sent more than a goodbye after that.
    pub(super) const REPLIED: u32 = 1 << 5;
    /// The upstream sent a record as short as an alert after that.
    pub(super) const REPLIED_SHORTLY: u32 = 1 << 6;
    /// All that the downstream has encrypted is an alert, by its length.
    pub(super) const DOWNSTREAM_ALERT: u32 = 1 << 7;
    /// All that the upstream has sent since the Finished is an alert, by its length.
    pub(super) const UPSTREAM_ALERT: u32 = 1 << 8;
    /// The downstream had closed before.
    pub(super) const CLOSED_BEFORE_ALERT: u32 = 1 << 9;
    pub(super) const DOWNSTREAM_CLOSED: u32 = 1 << 10;
    pub(super) const UPSTREAM_CLOSED: u32 = 1 << 11;
    /// The upstream has sent a byte.
    pub(super) const UPSTREAM_SPOKE: u32 = 1 << 12;
    /// The downstream sent 0-RTT data.
    pub(super) const EARLY_DATA: u32 = 1 << 13;
    /// TLS 1.2: the change_cipher_spec of each side.
    pub(super) const DOWNSTREAM_CIPHERED: u32 = 1 << 14;
    pub(super) const UPSTREAM_CIPHERED: u32 = 1 << 15;
    /// The ServerHello was read.
    pub(super) const AGREED: u32 = 1 << 16;
    pub(super) const UPSTREAM_CLOSED_FIRST: u32 = 1 << 17;
    /// That alert is padded as Java pads it.
    pub(super) const UPSTREAM_ALERT_PADDED: u32 = 1 << 18;
    /// The last word of a side is a goodbye, and it did not answer a goodbye, an alert or the close of the
    /// other: the side left of its own will.
    pub(super) const DOWNSTREAM_TOOK_LEAVE: u32 = 1 << 19;
    pub(super) const UPSTREAM_TOOK_LEAVE: u32 = 1 << 21;
    /// A certificate was read, and nobody has looked at it.
    pub(super) const NEW_CERTIFICATE: u32 = 1 << 20;

    pub(super) const fn has(self, fact: u32) -> bool {
        self.0 & fact != 0
    }

    pub(super) fn add(&mut self, fact: u32) {
        self.0 |= fact;
    }

    pub(super) fn remove(&mut self, fact: u32) {
        self.0 &= !fact;
    }

    pub(super) const fn closed(side: Side) -> u32 {
        match side {
            Side::Downstream => Self::DOWNSTREAM_CLOSED,
            Side::Upstream => Self::UPSTREAM_CLOSED,
        }
    }

    pub(super) const fn took_leave(side: Side) -> u32 {
        match side {
            Side::Downstream => Self::DOWNSTREAM_TOOK_LEAVE,
            Side::Upstream => Self::UPSTREAM_TOOK_LEAVE,
        }
    }

    pub(super) const fn ciphered(side: Side) -> u32 {
        match side {
            Side::Downstream => Self::DOWNSTREAM_CIPHERED,
            Side::Upstream => Self::UPSTREAM_CIPHERED,
        }
    }
}

/// The facts that a connection keeps for all its life, in 24 bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Kept {
    /// Bytes sent to each side since it spoke last, or since its FIN.
    pub since: [u32; 2],
    pub facts: Facts,
    pub version: u16,
    pub cipher: u16,
    pub group: u16,
    /// The length of the record at the end of each side's last word, if it is as short as an alert.
    pub goodbye: [u8; 2],
    pub stage: HandshakeStage,
    pub certificate: ClientCertificate,
}

impl Kept {
    pub(super) fn agreed(&mut self, agreed: Agreed) {
        (self.version, self.cipher) = (agreed.version, agreed.cipher);
        if agreed.group != 0 {
            self.group = agreed.group;
        }
        self.facts.add(Facts::AGREED);
        if agreed.retry {
            self.facts.add(Facts::RETRY);
        }
        if agreed.pre_shared_key {
            self.facts.add(Facts::RESUMED);
        }
    }

    pub(super) fn is_tls13(&self) -> bool {
        self.version == TLS13
    }
}

/// The flights of a connection, as far as they decide why it ended.
#[derive(Debug, Clone, Copy)]
pub struct Flights {
    pub(super) kept: Kept,
    pub(super) first: FirstBytes,
    pub(super) alert: Option<PlainAlert>,
    /// The certificate of each side, in TLS 1.2.
    pub(super) certificates: [SeenCertificate; 2],
    /// The protocols that the downstream offers have no answer as short as an alert.
    pub(super) answers_are_long: bool,
}

impl Flights {
    /// The stage that the two sides have reached in the handshake.
    pub fn stage(&self) -> HandshakeStage {
        self.kept.stage
    }

    /// The side that sent FIN first.
    pub fn first_close(&self) -> Option<Side> {
        let facts = self.kept.facts;
        if facts.has(Facts::UPSTREAM_CLOSED_FIRST) {
            Some(Side::Upstream)
        } else {
            let closed = facts.has(Facts::DOWNSTREAM_CLOSED);
            closed.then_some(Side::Downstream)
        }
    }

    /// The version agreed on. `None` if no ServerHello was read.
    pub fn version(&self) -> Option<TlsVersion> {
        let known = self.kept.facts.has(Facts::AGREED);
        known.then(|| TlsVersion::of(self.kept.version))
    }

    /// The number of the cipher suite agreed on.
    pub fn cipher(&self) -> Option<u16> {
        let known = self.kept.facts.has(Facts::AGREED);
        known.then_some(self.kept.cipher)
    }

    /// The number of the group agreed on; only TLS 1.3 has it in its ServerHello.
    pub fn group(&self) -> Option<u16> {
        (self.kept.group != 0).then_some(self.kept.group)
    }

    /// Whether the upstream sent a HelloRetryRequest.
    pub fn retried(&self) -> bool {
        self.kept.facts.has(Facts::RETRY)
    }

    /// The answer to the question to resume an earlier session. `None` if it is not known.
    pub fn resumption(&self) -> Option<Resumption> {
        let facts = self.kept.facts;
        if facts.has(Facts::RESUMED) {
            return Some(Resumption::Accepted);
        }
        // Before the change_cipher_spec TLS 1.2 does not say it.
        let known = facts.has(Facts::AGREED)
            && (self.kept.is_tls13() || facts.has(Facts::UPSTREAM_CIPHERED));
        known.then_some(Resumption::Declined)
    }

    /// The alert in the clear that the handshake ended with, and the side that sent it.
    pub fn plain_alert(&self) -> Option<(Side, u8)> {
        self.alert.map(|alert| (alert.by, alert.code))
    }

    /// The certificate that a side showed in the clear, while the handshake goes on. Nobody has verified it.
    pub fn certificate(&self, side: Side) -> &SeenCertificate {
        &self.certificates[side.index()]
    }

    pub(super) fn first_bytes(&self) -> FirstBytes {
        self.first
    }

    pub(super) fn last_alert(&self) -> Option<PlainAlert> {
        self.alert
    }

    pub(super) fn closed(&self, side: Side) -> bool {
        self.kept.facts.has(Facts::closed(side))
    }

    pub(super) fn sent_since_it_spoke(&self, side: Side) -> u32 {
        self.kept.since[side.index()]
    }

    pub(super) fn goodbye(&self, side: Side) -> u32 {
        self.kept.goodbye[side.index()].into()
    }

    pub(super) fn said_goodbye(&self, side: Side) -> bool {
        self.goodbye(side) != 0
    }

    pub(super) fn upstream_spoke(&self) -> bool {
        self.kept.facts.has(Facts::UPSTREAM_SPOKE)
    }

    pub(super) fn client_certificate(&self) -> ClientCertificate {
        self.kept.certificate
    }

    pub(super) fn downstream_only_sent_an_alert(&self) -> bool {
        self.kept.facts.has(Facts::DOWNSTREAM_ALERT)
    }

    pub(super) fn upstream_answered_with_an_alert(&self) -> bool {
        self.kept.facts.has(Facts::UPSTREAM_ALERT) && !self.downstream_took_leave()
    }

    pub(super) fn alert_came_before_the_close(&self) -> bool {
        !self.kept.facts.has(Facts::CLOSED_BEFORE_ALERT)
    }

    /// Whether the downstream sent application data, or may have.
    pub(super) fn downstream_may_have_asked(&self) -> bool {
        self.kept.facts.has(Facts::ASKED | Facts::MAYBE_BEYOND)
    }

    pub(super) fn answers_are_long(&self) -> bool {
        self.answers_are_long
    }

    /// Whether the downstream sent application data and the upstream no answer to it.
    pub(super) fn asked_and_not_answered(&self) -> bool {
        let facts = self.kept.facts;
        let short_is_none = self.answers_are_long || !self.kept.is_tls13();
        facts.has(Facts::ASKED)
            && !facts.has(Facts::REPLIED)
            && (!facts.has(Facts::REPLIED_SHORTLY) || short_is_none)
            && !self.downstream_took_leave()
    }

    /// Whether the upstream's last word is a goodbye of its own will. Its FIN may come after the downstream's.
    pub(super) fn upstream_took_leave(&self) -> bool {
        self.kept.facts.has(Facts::UPSTREAM_TOOK_LEAVE)
    }

    /// Whether the downstream's last word is a goodbye of its own will. Where answers may be short, an answer
    /// to a goodbye or an alert counts too: both may be data.
    fn downstream_took_leave(&self) -> bool {
        match self.answers_are_long {
            true => self.kept.facts.has(Facts::DOWNSTREAM_TOOK_LEAVE),
            false => self.said_goodbye(Side::Downstream),
        }
    }

    /// Whether a record as short as an alert is all of the upstream's answer, in a protocol that has such
    /// answers.
    pub(super) fn is_short_answer(&self) -> bool {
        self.upstream_answered_with_an_alert() && self.downstream_may_have_asked()
    }

    /// Whether all that the downstream sent is its part of the handshake.
    pub(super) fn downstream_only_shook_hands(&self) -> bool {
        let stands = matches!(
            self.kept.stage,
            HandshakeStage::Finished | HandshakeStage::Established
        );
        stands && !self.downstream_may_have_asked()
    }

    /// The certainty of what is said of a session's application data.
    pub(super) fn certainty(&self) -> Confidence {
        match self.version() {
            Some(version) if version != TlsVersion::Tls13 => Confidence::Seen,
            _ => Confidence::Inferred,
        }
    }
}
