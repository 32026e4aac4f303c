//! The judge: from the flights and the end of a relay to the reason why it ended.

use super::evidence::Evidence;
use super::flights::{ClientCertificate, Confidence, Flights, HandshakeStage, PlainAlert};
use super::side::Side;
use crate::outcome::Outcome;

/// The way in which a relay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both sides have sent FIN, or the downstream has and the upstream never answered.
    Closed,
    /// A side has reset the connection.
    Reset {
        /// The side.
        by: Side,
        /// Bytes sent to that side that its host had not acknowledged.
        unacknowledged: u32,
    },
}

/// The reason why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndVerdict {
    /// The reason.
    pub outcome: Outcome,
    /// The side that ended the connection.
    pub by: Side,
    /// The certainty of both.
    pub confidence: Confidence,
    /// The evidence behind it, for the log.
    pub evidence: Option<Evidence>,
}

/// The most that a side may have been sent after its FIN, in bytes, for its reset to be no failure: a
/// close_notify, alerts, tickets, the last words of a protocol.
const FAREWELL: u32 = 256;

/// The most that a host may leave unacknowledged of what its program has read, in bytes: less than two full
/// segments (RFC 1122, 4.2.3.2).
const UNACKNOWLEDGED: u32 = 2 * 1460;

/// The verdict on a relay that ended with `end`.
pub fn judge(flights: &Flights, end: End) -> EndVerdict {
    let by = match end {
        End::Closed => flights.first_close().unwrap_or(Side::Downstream),
        End::Reset { by, .. } => by,
    };
    let verdict = |outcome, by, confidence, evidence| EndVerdict {
        outcome,
        by,
        confidence,
        evidence,
    };
    let seen = |outcome, evidence| verdict(outcome, by, Confidence::Seen, evidence);
    let refused = |side, confidence, evidence| {
        verdict(Outcome::HandshakeRefused, side, confidence, Some(evidence))
    };
    if !flights.upstream_spoke() {
        return match (by, end) {
            (Side::Downstream, _) => seen(Outcome::UpstreamSilent, Some(Evidence::Silent)),
            (Side::Upstream, End::Closed) => seen(Outcome::UpstreamClosedBeforeReply, None),
            (Side::Upstream, End::Reset { .. }) => seen(Outcome::UpstreamReset, None),
        };
    }
    match flights.stage() {
        HandshakeStage::NotTls => {
            let evidence = Evidence::NotTls(flights.first_bytes());
            verdict(
                Outcome::UpstreamNotTls,
                by,
                Confidence::Seen,
                Some(evidence),
            )
        }
        HandshakeStage::Answered => {
            if let Some(PlainAlert { by, code }) = flights.last_alert() {
                return refused(by, Confidence::Seen, Evidence::Alert(by, code));
            }
            if flights.downstream_only_sent_an_alert() {
                let by = Side::Downstream;
                return refused(by, Confidence::Inferred, Evidence::RefusedUpstream);
            }
            match end {
                End::Closed => refused(by, Confidence::Seen, Evidence::LeftHandshake(by)),
                End::Reset { by, .. } => seen(reset_by(by), Some(Evidence::ResetHandshake(by))),
            }
        }
        HandshakeStage::Finished => match refusal_of_certificate(flights, end) {
            Some(evidence) => refused(Side::Upstream, Confidence::Inferred, evidence),
            None => established(flights, end, by),
        },
        HandshakeStage::Asked | HandshakeStage::Established | HandshakeStage::Unknown => {
            established(flights, end, by)
        }
    }
}

const fn reset_by(side: Side) -> Outcome {
    match side {
        Side::Downstream => Outcome::DownstreamReset,
        Side::Upstream => Outcome::UpstreamReset,
    }
}

/// The evidence that the upstream refused the downstream's certificate, unless something speaks against it.
/// Its answer to the downstream's Finished must be an alert by its length, and the last that anybody said.
fn refusal_of_certificate(flights: &Flights, end: End) -> Option<Evidence> {
    let none_sent = match flights.client_certificate() {
        // Nothing was asked for, so nothing can be refused: this is the goodbye of an ordinary session.
        ClientCertificate::NotAskedFor => return None,
        ClientCertificate::Empty => true,
        ClientCertificate::Sent => false,
    };
    let downstream_left_first =
        flights.first_close() == Some(Side::Downstream) && !flights.alert_came_before_the_close();
    if !flights.upstream_answered_with_an_alert() || downstream_left_first {
        return None;
    }
    // After a request of the downstream's the same bytes can be an answer of 2 bytes. They are none if the
    // protocol has no answer that short, nor if the upstream has not read the request.
    let by_reset = matches!(
        end,
        End::Reset {
            by: Side::Upstream,
            ..
        }
    );
    let may_be_an_answer =
        flights.downstream_may_have_asked() && !flights.answers_are_long() && !by_reset;
    (!may_be_an_answer).then_some(Evidence::RefusedDownstream { none_sent })
}

/// The verdict on a session that stood, as far as it can be known.
fn established(flights: &Flights, end: End, by: Side) -> EndVerdict {
    // The end is no failure, unless the upstream began it instead of an answer.
    let ordinary = |by, confidence| {
        let no_answer = flights.asked_and_not_answered();
        if no_answer && (by == Side::Upstream || flights.upstream_took_leave()) {
            return EndVerdict {
                outcome: Outcome::UpstreamClosedBeforeReply,
                by: Side::Upstream,
                confidence: flights.certainty(),
                evidence: Some(Evidence::NoAnswer),
            };
        }
        EndVerdict {
            outcome: Outcome::Ok,
            by,
            confidence,
            evidence: None,
        }
    };
    match end {
        // All of the answer is as long as an alert, and as an answer of a few bytes.
        End::Closed if flights.stage() == HandshakeStage::Finished && flights.is_short_answer() => {
            ordinary(by, Confidence::Inferred)
        }
        End::Closed => ordinary(by, Confidence::Seen),
        End::Reset { by, unacknowledged } => match ordinary_reset(flights, by, unacknowledged) {
            // The bytes that it resets may be the downstream's answer to its close.
            Some(confidence) => ordinary(flights.first_close().unwrap_or(by), confidence),
            None => EndVerdict {
                outcome: reset_by(by),
                by,
                confidence: Confidence::Seen,
                evidence: None,
            },
        },
    }
}

/// The certainty that a reset by `by` is the end of an ordinary call. `None` if it is a failure. A program that
/// closes a socket with unread bytes, or that has closed it when more comes, resets; it did not fail.
fn ordinary_reset(flights: &Flights, by: Side, unacknowledged: u32) -> Option<Confidence> {
    let other = by.other();
    // A check: the handshake, and nothing else. Tickets may come at any time, whatever their size.
    let checked = by == Side::Downstream && flights.downstream_only_shook_hands();
    let was_sent_little = flights.sent_since_it_spoke(by) <= FAREWELL;
    // It had closed; what came since is the other's goodbye.
    if flights.closed(by) {
        let inferred = checked.then_some(Confidence::Inferred);
        return was_sent_little.then_some(Confidence::Seen).or(inferred);
    }
    // The other had said all, and its host has it.
    if flights.closed(other) {
        return (unacknowledged <= UNACKNOWLEDGED).then_some(Confidence::Seen);
    }
    // Its last word was a close_notify, or the other's was one: alone, or behind an answer that has arrived.
    let said_goodbye = flights.said_goodbye(by) && was_sent_little;
    let only_goodbye = flights.sent_since_it_spoke(by) <= flights.goodbye(other);
    let has_it_all = by == Side::Downstream && unacknowledged <= UNACKNOWLEDGED;
    let was_told_goodbye = flights.said_goodbye(other) && (only_goodbye || has_it_all);
    (said_goodbye || was_told_goodbye || checked).then_some(Confidence::Inferred)
}
