//! The handshake as byte counts show it: they tell when one side has refused the other.
//!
//! The gateway reads nothing of a handshake. But an alert is short where what follows otherwise is long,
//! and a side that has refused the other says nothing more.

use std::num::NonZeroU64;
use std::ops::RangeInclusive;

use super::super::counts::Counts;
use super::super::sockets::Side;
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
const CLOSE_NOTIFY: RangeInclusive<u64> = 23..=31;

/// A count of bytes whose `Option` is no larger.
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

/// The first FIN of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct FirstClose {
    /// The side that sent it.
    pub by: Side,
    /// Bytes that had been written to that side.
    pub delivered: u64,
}

/// The counts at which one side fell silent and the other spoke.
#[derive(Debug, Default)]
pub(super) struct HandshakeWatch {
    /// Bytes of the ClientHello: what the upstream had got when it first answered.
    hello: Option<Mark>,
    /// Bytes of that answer: what the downstream had got when it went on.
    answer: Option<Mark>,
    /// Bytes that the downstream had got when it last said something.
    downstream_had: u64,
    /// Bytes that the upstream had got when it last said something.
    upstream_had: u64,
}

impl HandshakeWatch {
    /// Notes that the downstream said something, which `counts` includes.
    pub(super) fn downstream_spoke(&mut self, counts: Counts) {
        self.downstream_had = counts.to_downstream;
        if self.answer.is_none() && counts.to_downstream > 0 {
            self.answer = Some(Mark::at(counts.to_downstream));
        }
    }

    /// Notes that the upstream said something, which `counts` includes.
    pub(super) fn upstream_spoke(&mut self, counts: Counts) {
        self.upstream_had = counts.to_upstream;
        self.hello.get_or_insert(Mark::at(counts.to_upstream));
    }

    /// Whether a close_notify is all that `side` was sent since it last spoke. A peer that has called
    /// close(2) answers it with RST. That means that nobody reads it, not that the connection failed.
    pub(super) fn only_a_goodbye_since(&self, side: Side, counts: Counts) -> bool {
        let since = match side {
            Side::Upstream => counts.to_upstream.saturating_sub(self.upstream_had),
            Side::Downstream => counts.to_downstream.saturating_sub(self.downstream_had),
        };
        CLOSE_NOTIFY.contains(&since)
    }

    /// The side that refused the other in the handshake, and the text for the log, when the relay ended
    /// with `outcome`. `None` when no side did.
    pub(super) fn refusal(
        &self,
        outcome: Outcome,
        counts: Counts,
        first_close: Option<FirstClose>,
    ) -> Option<(Side, &'static str)> {
        let by_a_peer = matches!(
            outcome,
            Outcome::Ok | Outcome::DownstreamReset | Outcome::UpstreamReset
        );
        if !by_a_peer {
            return None;
        }
        self.refused(counts, first_close)
    }

    /// The side that refused the other, and the text for the log. `None` when the handshake went on, or
    /// did not come that far; also after a HelloRetryRequest, which is one answer more than this looks at.
    fn refused(
        &self,
        counts: Counts,
        first_close: Option<FirstClose>,
    ) -> Option<(Side, &'static str)> {
        let since_hello = counts.to_upstream.saturating_sub(self.hello?.bytes());
        let answer = self.answer.map_or(counts.to_downstream, Mark::bytes);
        let since_answer = counts.to_downstream.saturating_sub(answer);
        // A side that is refused says nothing more.
        if is_alert(answer) && since_hello == 0 {
            return Some((
                Side::Upstream,
                "the upstream refused the ClientHello: TLS version, ciphers or ALPN?",
            ));
        }
        if is_alert(since_hello) && since_answer == 0 {
            return Some((
                Side::Downstream,
                "the downstream refused the upstream's certificate in the TLS handshake",
            ));
        }
        // After a close by the downstream the same bytes are the upstream's half of an ordinary close.
        let closed_before = first_close
            .is_some_and(|close| close.by == Side::Downstream && close.delivered <= answer);
        let refused = since_hello >= FINISHED && is_alert(since_answer) && !closed_before;
        refused.then_some((
            Side::Upstream,
            "the upstream refused the downstream's certificate in the TLS handshake",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: u64 = 517;
    const SERVER_FLIGHT: u64 = 1400;

    /// Plays `words`, each a side with the bytes that it says, and returns the watch and the counts.
    fn played(words: &[(Side, u64)]) -> (HandshakeWatch, Counts) {
        let mut watch = HandshakeWatch::default();
        let mut counts = Counts::default();
        for (side, bytes) in words {
            match side {
                Side::Downstream => {
                    counts.to_upstream += bytes;
                    watch.downstream_spoke(counts);
                }
                Side::Upstream => {
                    counts.to_downstream += bytes;
                    watch.upstream_spoke(counts);
                }
            }
        }
        (watch, counts)
    }

    fn refused_by(words: &[(Side, u64)], first_close: Option<FirstClose>) -> Option<Side> {
        let (watch, counts) = played(words);
        let refusal = watch.refusal(Outcome::UpstreamReset, counts, first_close);
        refusal.map(|(side, _)| side)
    }

    #[test]
    fn an_alert_in_place_of_the_answer_is_the_upstreams_refusal_of_the_hello() {
        use Side::{Downstream, Upstream};
        for alert in [7, 24] {
            let words = [(Downstream, HELLO), (Upstream, alert)];
            assert_eq!(refused_by(&words, None), Some(Upstream), "{alert}");
        }
        let answered = [(Downstream, HELLO), (Upstream, SERVER_FLIGHT)];
        assert_eq!(refused_by(&answered, None), None);
        assert_eq!(refused_by(&[(Downstream, HELLO)], None), None);
        assert_eq!(refused_by(&[], None), None);
    }

    #[test]
    fn an_alert_in_place_of_the_finished_is_the_downstreams_refusal() {
        use Side::{Downstream, Upstream};
        for (said, refused) in [(7, true), (13, true), (24, true), (30, true), (80, false)] {
            let words = [
                (Downstream, HELLO),
                (Upstream, SERVER_FLIGHT),
                (Downstream, said),
            ];
            let by = refused.then_some(Downstream);
            assert_eq!(refused_by(&words, None), by, "{said} bytes");
        }
    }

    #[test]
    fn an_alert_after_the_finished_is_the_upstreams_refusal_of_the_certificate() {
        use Side::{Downstream, Upstream};
        let before = [
            (Downstream, HELLO),
            (Upstream, SERVER_FLIGHT),
            (Downstream, 2000),
        ];
        let with = |bytes| [&before[..], &[(Upstream, bytes)]].concat();
        assert_eq!(refused_by(&with(24), None), Some(Upstream));
        assert_eq!(refused_by(&with(500), None), None, "session tickets");
        let went_on = [with(500), vec![(Downstream, 24)]].concat();
        assert_eq!(refused_by(&went_on, None), None, "a close_notify");
    }

    #[test]
    fn an_ordinary_close_by_the_downstream_is_no_refusal() {
        use Side::{Downstream, Upstream};
        let words = [
            (Downstream, HELLO),
            (Upstream, SERVER_FLIGHT),
            (Downstream, 2000),
            (Upstream, 24),
        ];
        let close = |by, delivered| Some(FirstClose { by, delivered });
        assert_eq!(refused_by(&words, close(Downstream, SERVER_FLIGHT)), None);
        let after_the_alert = close(Downstream, SERVER_FLIGHT + 24);
        assert_eq!(refused_by(&words, after_the_alert), Some(Upstream));
        assert_eq!(refused_by(&words, close(Upstream, HELLO)), Some(Upstream));
    }

    #[test]
    fn only_an_end_by_a_peer_is_a_refusal() {
        let (watch, counts) = played(&[(Side::Downstream, HELLO), (Side::Upstream, 7)]);
        for outcome in [
            Outcome::Ok,
            Outcome::DownstreamReset,
            Outcome::UpstreamReset,
        ] {
            assert!(watch.refusal(outcome, counts, None).is_some());
        }
        for outcome in [
            Outcome::UpstreamTimeout,
            Outcome::IdleTimeout,
            Outcome::Drained,
        ] {
            assert_eq!(watch.refusal(outcome, counts, None), None);
        }
    }

    #[test]
    fn a_goodbye_is_a_close_notify_and_nothing_else() {
        let (watch, mut counts) = played(&[(Side::Downstream, HELLO), (Side::Upstream, 300)]);
        for (bytes, is_goodbye) in [(0, false), (22, false), (24, true), (31, true), (32, false)] {
            counts.to_upstream = HELLO + bytes;
            let goodbye = watch.only_a_goodbye_since(Side::Upstream, counts);
            assert_eq!(goodbye, is_goodbye, "{bytes} bytes");
        }
        assert!(!watch.only_a_goodbye_since(Side::Downstream, counts));
    }
}
