//! What the sizes of a conversation's turns tell. The gateway reads none of a handshake, but an alert
//! is short where what goes on is long, and who was refused says nothing after it.

use std::num::NonZeroU64;
use std::ops::RangeInclusive;

use super::super::ending::{EndedBy, Ending};
use super::super::record::ConnectionRecord;
use crate::outcome::Outcome;

/// Bytes of a fatal alert: 7 in the clear, 24 in TLS 1.3 (RFC 8446 sections 5.2 and 6); 6 more with
/// the change_cipher_spec that a TLS 1.3 client sends first (appendix D.4).
const fn is_alert(bytes: u64) -> bool {
    matches!(bytes, 7 | 13 | 24 | 30)
}

/// The least that a client goes on with: its Finished, in TLS 1.2 with a change_cipher_spec.
const FINISHED: u64 = 45;

/// Bytes of a close_notify: 24 in TLS 1.3; in TLS 1.2 it is encrypted too, with 8 more for AES-GCM
/// (RFC 5288 section 3), 1 less for ChaCha20 (RFC 7905).
const GOODBYE: RangeInclusive<u64> = 23..=31;

/// A count of bytes, with room for `None`.
#[derive(Debug, Clone, Copy)]
struct Mark(NonZeroU64);

impl Mark {
    fn at(bytes: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(bytes))
    }

    fn bytes(self) -> u64 {
        self.0.get() - 1
    }
}

/// The first FIN.
#[derive(Debug, Clone, Copy)]
pub(super) struct FirstClose {
    pub by: EndedBy,
    /// Bytes that had been written to that side.
    pub delivered: u64,
}

/// Where turns ended, in bytes of either direction.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The ClientHello: what the upstream had got when it first answered.
    hello: Option<Mark>,
    /// That answer: what the downstream had got when it went on.
    answer: Option<Mark>,
    /// What the downstream had got when it last said something.
    downstream_had: u64,
    /// What the upstream had got when it last said something.
    upstream_had: u64,
}

impl Turns {
    /// Notes that the downstream said something; `record` counts it already.
    pub(super) fn downstream_spoke(&mut self, record: &ConnectionRecord) {
        self.downstream_had = record.to_downstream;
        if self.answer.is_none() && record.to_downstream > 0 {
            self.answer = Some(Mark::at(record.to_downstream));
        }
    }

    /// Notes that the upstream said something; `record` counts it already.
    pub(super) fn upstream_spoke(&mut self, record: &ConnectionRecord) {
        self.upstream_had = record.to_upstream;
        self.hello.get_or_insert(Mark::at(record.to_upstream));
    }

    /// Whether `side` has got nothing since its last word but the other's close_notify. close(2)
    /// answers that with RST, which says no more than that nobody reads it.
    pub(super) fn only_a_goodbye_since(&self, side: EndedBy, record: &ConnectionRecord) -> bool {
        let since = match side {
            EndedBy::Upstream => record.to_upstream - self.upstream_had,
            _ => record.to_downstream - self.downstream_had,
        };
        GOODBYE.contains(&since)
    }

    /// `ending`, or that one side refused the other in the handshake.
    pub(super) fn judge(
        &self,
        ending: Ending,
        first_close: Option<FirstClose>,
        record: &mut ConnectionRecord,
    ) -> Ending {
        let by_a_peer = matches!(
            ending.outcome,
            Outcome::Ok | Outcome::DownstreamReset | Outcome::UpstreamReset
        );
        match self.refused(record, first_close) {
            Some((ended_by, detail)) if by_a_peer => {
                record.note(Some(detail.into()));
                let outcome = Outcome::HandshakeRefused;
                Ending { outcome, ended_by }
            }
            _ => ending,
        }
    }

    /// The side that refused the other, and what of it. `None` when the handshake went on, or never
    /// came to that; also after a HelloRetryRequest, which is a turn more than is looked at.
    fn refused(
        &self,
        record: &ConnectionRecord,
        first_close: Option<FirstClose>,
    ) -> Option<(EndedBy, &'static str)> {
        let since_hello = record.to_upstream - self.hello?.bytes();
        let answer = self.answer.map_or(record.to_downstream, Mark::bytes);
        let since_answer = record.to_downstream - answer;
        // Whoever is refused says nothing more.
        if is_alert(answer) && since_hello == 0 {
            return Some((
                EndedBy::Upstream,
                "the upstream refused the ClientHello: TLS version, ciphers or ALPN?",
            ));
        }
        if is_alert(since_hello) && since_answer == 0 {
            return Some((
                EndedBy::Downstream,
                "the downstream refused the upstream's certificate in the TLS handshake",
            ));
        }
        // Else the same bytes are the upstream's half of an ordinary close.
        let closed_before = first_close
            .is_some_and(|close| close.by == EndedBy::Downstream && close.delivered <= answer);
        let refused = since_hello >= FINISHED && is_alert(since_answer) && !closed_before;
        refused.then_some((
            EndedBy::Upstream,
            "the upstream refused the downstream's certificate in the TLS handshake",
        ))
    }
}
