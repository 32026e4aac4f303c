//! The watch: it follows the bytes between two sides, and keeps the facts that decide a verdict.

use super::certificate::{CertificateReader, SeenCertificate};
use super::flights::{ClientCertificate, Facts, Flights, HandshakeStage, Kept, PlainAlert};
use super::lengths::{ALERTS_13, EMPTY_CERTIFICATE, JAVA, SEALED, finished_length, goodbye};
use super::records::{
    ALERT, APPLICATION_DATA, CERTIFICATE, CHANGE_CIPHER_SPEC, HANDSHAKE, HEADER, HeaderStep,
    RecordPosition, SERVER_HELLO, WARNING,
};
use super::server_hello::ServerHello;
use super::side::{FirstBytes, Side};

/// Follows a connection. It takes 32 bytes, and some 170 more until the handshake is over.
#[derive(Debug, Default)]
pub struct FlightWatch {
    kept: Kept,
    early: Option<Box<Early>>,
}

/// The state that is needed only while the handshake goes on.
#[derive(Debug, Default)]
struct Early {
    records: [RecordPosition; 2],
    /// The handshake message of each side that comes in records in the clear.
    messages: [MessagePosition; 2],
    reader: MessageReader,
    /// The certificate of each side.
    certificates: [SeenCertificate; 2],
    first: FirstBytes,
    alert: Option<PlainAlert>,
    alert_level: u8,
    alert_is_warning: bool,
    /// Encrypted records of the upstream since the downstream's Finished.
    answers: u8,
}

/// The bytes of a handshake message's header.
const MESSAGE_HEADER: u8 = 4;

/// The position in a handshake message.
#[derive(Debug, Default)]
struct MessagePosition {
    /// The bytes of its body that are to come.
    left: u32,
    kind: u8,
    /// Bytes of its header that came.
    came: u8,
}

/// The reader of the message that counts, of which one comes at a time: the ServerHello, and then in TLS 1.2 the
/// server's Certificate and the client's.
#[derive(Debug)]
enum MessageReader {
    ServerHello(ServerHello),
    Certificate(Side, CertificateReader),
    Nothing,
}

impl Default for MessageReader {
    fn default() -> Self {
        Self::ServerHello(ServerHello::default())
    }
}

impl FlightWatch {
    /// Follows a connection from its first byte.
    pub fn new() -> Self {
        Self {
            kept: Kept::default(),
            early: Some(Box::default()),
        }
    }

    /// Whether the handshake goes on, so that bytes must be shown.
    pub fn is_early(&self) -> bool {
        self.early.is_some() && self.kept.stage != HandshakeStage::NotTls
    }

    /// The size of what is kept until the handshake is over.
    #[cfg(test)]
    pub(super) fn early_size() -> usize {
        size_of::<Early>()
    }

    /// Notes `bytes` that `side` has sent.
    pub fn passed(&mut self, side: Side, bytes: &[u8]) {
        let goodbye = goodbye(&self.kept, bytes);
        self.spoke(side, bytes.len(), goodbye);
        if self.early.is_some() {
            self.follow(side, bytes);
        } else {
            self.note_application_data(side, usize::from(goodbye) == bytes.len());
        }
    }

    /// Notes `count` bytes that `side` has sent and that nobody has looked at.
    pub fn passed_unseen(&mut self, side: Side, count: usize) {
        self.spoke(side, count, 0);
        if self.is_early() {
            self.lose();
        }
        self.note_application_data(side, false);
    }

    /// Notes that `side` has sent FIN.
    pub fn closed(&mut self, side: Side) {
        let facts = &mut self.kept.facts;
        facts.add(Facts::closed(side));
        if side == Side::Downstream && !facts.has(Facts::UPSTREAM_ALERT) {
            facts.add(Facts::CLOSED_BEFORE_ALERT);
        }
        if side == Side::Upstream && !facts.has(Facts::DOWNSTREAM_CLOSED) {
            facts.add(Facts::UPSTREAM_CLOSED_FIRST);
        }
        self.kept.since[side.index()] = 0;
    }

    /// Whether the downstream has closed before the upstream sent a byte: a TLS client that does so gets
    /// nothing any more.
    pub fn is_over(&self) -> bool {
        let facts = self.kept.facts;
        facts.has(Facts::DOWNSTREAM_CLOSED) && !facts.has(Facts::UPSTREAM_SPOKE)
    }

    /// Whether a side has sent FIN.
    pub fn has_closed(&self, side: Side) -> bool {
        self.kept.facts.has(Facts::closed(side))
    }

    /// The certificates in the clear, if one has come since the last call.
    pub fn new_certificates(&mut self) -> Option<[SeenCertificate; 2]> {
        if !self.kept.facts.has(Facts::NEW_CERTIFICATE) {
            return None;
        }
        self.kept.facts.remove(Facts::NEW_CERTIFICATE);
        self.early.as_ref().map(|early| early.certificates)
    }

    /// The stage that the two sides have reached in the handshake.
    pub fn stage(&self) -> HandshakeStage {
        self.kept.stage
    }

    /// The flights seen so far. `answers_are_long` says whether every protocol that the downstream offers has answers
    /// longer than an alert ([`super::answers_are_long`]).
    pub fn flights(&self, answers_are_long: bool) -> Flights {
        let early = self.early.as_deref();
        Flights {
            kept: self.kept,
            first: early.map(|early| early.first).unwrap_or_default(),
            alert: early.and_then(|early| early.alert),
            certificates: early.map(|early| early.certificates).unwrap_or_default(),
            answers_are_long,
        }
    }

    fn spoke(&mut self, side: Side, count: usize, goodbye: u8) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let [mine, other] = match side {
            Side::Downstream => [0, 1],
            Side::Upstream => [1, 0],
        };
        self.kept.since[mine] = 0;
        self.kept.since[other] = self.kept.since[other].saturating_add(count);
        self.kept.goodbye[mine] = goodbye;
        let answers_the_end = self.kept.goodbye[other] != 0 || self.has_closed(side.other());
        let facts = &mut self.kept.facts;
        if side == Side::Upstream {
            facts.add(Facts::UPSTREAM_SPOKE);
        }
        if goodbye == 0 {
            facts.remove(Facts::took_leave(side));
        } else if !answers_the_end {
            facts.add(Facts::took_leave(side));
        }
    }

    /// Notes a word in a session that stands.
    fn note_application_data(&mut self, side: Side, is_goodbye: bool) {
        let facts = &mut self.kept.facts;
        match side {
            Side::Downstream if !is_goodbye => facts.add(Facts::ASKED),
            Side::Upstream if facts.has(Facts::ASKED) => facts.add(match is_goodbye {
                true => Facts::REPLIED_SHORTLY,
                false => Facts::REPLIED,
            }),
            _ => {}
        }
    }

    /// Follows the records of the handshake.
    fn follow(&mut self, side: Side, mut bytes: &[u8]) {
        if side == Side::Upstream
            && let Some(early) = &mut self.early
        {
            early.first.push(bytes);
        }
        while let Some((byte, rest)) = bytes.split_first() {
            let Some(early) = &mut self.early else { return };
            if self.kept.stage == HandshakeStage::NotTls {
                return;
            }
            let is_first = side == Side::Upstream && self.kept.stage == HandshakeStage::Asked;
            let records = &mut early.records[side.index()];
            if records.left == 0 {
                let header = match bytes.split_first_chunk() {
                    Some((header, after)) if records.came == 0 => {
                        bytes = after;
                        records.header(*header)
                    }
                    _ => {
                        bytes = rest;
                        records.header_byte(*byte)
                    }
                };
                match header {
                    HeaderStep::Partial => {}
                    HeaderStep::Whole => self.record(side),
                    HeaderStep::Bad if is_first => self.kept.stage = HandshakeStage::NotTls,
                    HeaderStep::Bad => self.lose(),
                }
                continue;
            }
            let (now, rest) = bytes.split_at(usize::from(records.left).min(bytes.len()));
            bytes = rest;
            let left = usize::from(records.left) - now.len();
            records.left = u16::try_from(left).unwrap_or_default();
            match (records.kind(), side) {
                (HANDSHAKE, _) if self.shows_messages(side) => self.message(side, now),
                (ALERT, _) if !self.is_ciphered(side) => self.alert(side, now),
                _ => {}
            }
        }
    }

    /// The bytes are not understood any more.
    fn lose(&mut self) {
        self.kept.stage = HandshakeStage::Unknown;
        self.kept.facts.add(Facts::ASKED | Facts::REPLIED);
        self.early = None;
    }

    fn establish(&mut self) {
        self.kept.stage = HandshakeStage::Established;
        self.early = None;
    }

    /// TLS 1.2: whether the side encrypts what it sends. In TLS 1.3 the type of a record says it.
    fn is_ciphered(&self, side: Side) -> bool {
        !self.kept.is_tls13() && self.kept.facts.has(Facts::ciphered(side))
    }

    /// Whether the handshake messages of the side are in the clear, and count: the downstream's first one is its
    /// hello, which others read.
    fn shows_messages(&self, side: Side) -> bool {
        let agreed = self.kept.facts.has(Facts::AGREED) && !self.kept.is_tls13();
        (side == Side::Upstream || agreed) && !self.is_ciphered(side)
    }

    /// A record of `side` begins.
    fn record(&mut self, side: Side) {
        let Some(early) = &mut self.early else { return };
        let (kind, length) = early.records[side.index()].kind_and_length();
        let facts = self.kept.facts;
        if kind != ALERT && early.alert_is_warning {
            // The handshake went on.
            (early.alert, early.alert_is_warning) = (None, false);
        }
        match (self.kept.stage, side, kind) {
            (HandshakeStage::Asked, Side::Upstream, HANDSHAKE | ALERT) => {
                self.kept.stage = HandshakeStage::Answered;
            }
            (HandshakeStage::Asked, Side::Downstream, APPLICATION_DATA) => {
                self.kept.facts.add(Facts::EARLY_DATA | Facts::MAYBE_BEYOND);
            }
            (HandshakeStage::Asked, Side::Downstream, _) => {}
            (HandshakeStage::Answered, _, CHANGE_CIPHER_SPEC) if facts.has(Facts::AGREED) => {
                self.ciphered(side);
            }
            (HandshakeStage::Answered, _, CHANGE_CIPHER_SPEC | ALERT | HANDSHAKE) => {}
            (HandshakeStage::Answered, Side::Upstream, APPLICATION_DATA)
                if self.kept.is_tls13() => {}
            (
                HandshakeStage::Answered | HandshakeStage::Finished,
                Side::Downstream,
                APPLICATION_DATA,
            ) if self.kept.is_tls13() => {
                self.downstream_sealed(length);
            }
            (HandshakeStage::Finished, Side::Upstream, APPLICATION_DATA) => {
                self.upstream_sealed(length);
            }
            (HandshakeStage::Finished, Side::Downstream, CHANGE_CIPHER_SPEC) => {}
            (HandshakeStage::Established, _, CHANGE_CIPHER_SPEC | HANDSHAKE) => {}
            (HandshakeStage::Established, _, _) => {
                self.early = None;
                let last = usize::from(self.kept.goodbye[side.index()]);
                let is_goodbye = kind == ALERT || last == HEADER + usize::from(length);
                self.note_application_data(side, is_goodbye);
            }
            _ => self.lose(),
        }
    }

    /// A change_cipher_spec after the ServerHello. In TLS 1.3 it says nothing.
    fn ciphered(&mut self, side: Side) {
        if self.kept.is_tls13() {
            return;
        }
        let facts = &mut self.kept.facts;
        if side == Side::Upstream && !facts.has(Facts::DOWNSTREAM_CIPHERED) {
            facts.add(Facts::RESUMED);
        }
        facts.add(Facts::ciphered(side));
        if facts.has(Facts::ciphered(side.other())) {
            self.kept.stage = HandshakeStage::Established;
        }
    }

    /// An encrypted record of the downstream's, until the session stands.
    fn downstream_sealed(&mut self, length: u16) {
        let Some(finished) = finished_length(self.kept.cipher) else {
            return self.lose();
        };
        let answered = self.early.as_ref().is_some_and(|early| early.answers > 0);
        let is_alert = ALERTS_13.map(u16::from).contains(&length);
        let facts = self.kept.facts;
        let kept = &mut self.kept;
        let is = |expected: u16| length == expected || length == expected + JAVA;
        if kept.stage == HandshakeStage::Finished {
            if answered {
                // It crossed the upstream's alert, if that is what it was.
                if !is_alert {
                    kept.facts.add(Facts::ASKED);
                }
            } else if is_alert {
                // A goodbye, which the end of the word shows.
            } else if facts.has(Facts::FINISHED_ALONE) {
                kept.facts.add(Facts::ASKED);
            } else if is(finished) {
                kept.facts.add(Facts::FINISHED_ALONE);
                kept.facts.remove(Facts::MAYBE_BEYOND);
            } else {
                kept.facts.add(Facts::MAYBE_BEYOND);
            }
            return;
        }
        if facts.has(Facts::DOWNSTREAM_ALERT) && !is_alert {
            return self.lose();
        }
        let end_of_early_data = SEALED + 4;
        if facts.has(Facts::EARLY_DATA) && is(end_of_early_data) {
            return;
        }
        if is_alert {
            kept.facts.add(Facts::DOWNSTREAM_ALERT);
        } else if is(finished) {
            kept.facts.add(Facts::FINISHED_ALONE);
            kept.stage = HandshakeStage::Finished;
        } else if is(EMPTY_CERTIFICATE + SEALED) {
            kept.certificate = ClientCertificate::Empty;
        } else if is(EMPTY_CERTIFICATE + finished) {
            kept.certificate = ClientCertificate::Empty;
            kept.facts.add(Facts::FINISHED_ALONE);
            kept.stage = HandshakeStage::Finished;
        } else if length > EMPTY_CERTIFICATE + finished {
            kept.certificate = ClientCertificate::Sent;
            kept.stage = HandshakeStage::Finished;
        } else {
            self.lose();
        }
    }

    /// An encrypted record of the upstream's after the downstream's Finished.
    fn upstream_sealed(&mut self, length: u16) {
        let Some(early) = &mut self.early else { return };
        early.answers += 1;
        let facts = &mut self.kept.facts;
        let [alert, padded] = ALERTS_13.map(u16::from);
        // Java sends two: the alert, and close_notify.
        let is_alert = match early.answers {
            1 => length == alert || length == padded,
            2 => length == padded && facts.has(Facts::UPSTREAM_ALERT_PADDED),
            _ => false,
        };
        if is_alert {
            facts.add(Facts::UPSTREAM_ALERT);
            if length == padded {
                facts.add(Facts::UPSTREAM_ALERT_PADDED);
            }
            if facts.has(Facts::ASKED) {
                facts.add(Facts::REPLIED_SHORTLY);
            }
            return;
        }
        facts.remove(Facts::UPSTREAM_ALERT);
        // Tickets, or the answer: they look alike.
        if facts.has(Facts::ASKED | Facts::MAYBE_BEYOND) {
            facts.add(Facts::REPLIED);
        }
        self.establish();
    }

    /// Bytes of a side's handshake messages in the clear.
    fn message(&mut self, side: Side, mut bytes: &[u8]) {
        while let Some((byte, rest)) = bytes.split_first() {
            let Some(early) = &mut self.early else { return };
            let message = &mut early.messages[side.index()];
            if message.came < MESSAGE_HEADER {
                match message.came {
                    0 => (message.kind, message.left) = (*byte, 0),
                    _ => message.left = message.left << 8 | u32::from(*byte),
                }
                message.came += 1;
                bytes = rest;
                if message.came < MESSAGE_HEADER {
                    continue;
                }
                let kind = message.kind;
                if kind != SERVER_HELLO && !self.kept.facts.has(Facts::AGREED) {
                    return self.lose();
                }
                self.message_begins(side, kind);
            } else {
                let most = usize::try_from(message.left).unwrap_or(usize::MAX);
                let (now, rest) = bytes.split_at(most.min(bytes.len()));
                bytes = rest;
                message.left -= u32::try_from(now.len()).unwrap_or(message.left);
                let kind = message.kind;
                match &mut early.reader {
                    MessageReader::ServerHello(hello) if kind == SERVER_HELLO => hello.read(now),
                    MessageReader::Certificate(of, reader)
                        if *of == side && kind == CERTIFICATE =>
                    {
                        reader.read(now, &mut early.certificates[side.index()]);
                    }
                    _ => {}
                }
            }
            self.message_may_end(side);
        }
    }

    /// The header of a message has come.
    fn message_begins(&mut self, side: Side, kind: u8) {
        let Some(early) = &mut self.early else { return };
        match kind {
            SERVER_HELLO => early.reader = MessageReader::default(),
            CERTIFICATE if early.certificates[side.index()] == SeenCertificate::default() => {
                early.reader = MessageReader::Certificate(side, CertificateReader::default());
            }
            _ => {}
        }
    }

    /// Takes what a message said if all of it has come.
    fn message_may_end(&mut self, side: Side) {
        let Some(early) = &mut self.early else { return };
        let message = &mut early.messages[side.index()];
        if message.came < MESSAGE_HEADER || message.left > 0 {
            return;
        }
        message.came = 0;
        if message.kind == CERTIFICATE {
            self.kept.facts.add(Facts::NEW_CERTIFICATE);
        }
        if message.kind == SERVER_HELLO {
            let reader = std::mem::replace(&mut early.reader, MessageReader::Nothing);
            if let MessageReader::ServerHello(hello) = reader {
                self.kept.agreed(hello.agreed());
            }
        }
    }

    /// Bytes of an alert in the clear.
    fn alert(&mut self, side: Side, bytes: &[u8]) {
        let tls13 = self.kept.is_tls13();
        let Some(early) = &mut self.early else { return };
        let records = &mut early.records[side.index()];
        let (_, length) = records.kind_and_length();
        if length != 2 || early.alert.is_some() {
            return;
        }
        let left = usize::from(records.left) + bytes.len();
        for (position, byte) in (2 - left.min(2)..).zip(bytes) {
            if position == 0 {
                early.alert_level = *byte;
                continue;
            }
            early.alert = Some(PlainAlert {
                by: side,
                code: *byte,
            });
            early.alert_is_warning = early.alert_level == WARNING && !tls13;
        }
    }
}
