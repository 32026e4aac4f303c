//! The conduct of an endpoint towards one connection: a success, a failure of its own, or a refused handshake, which
//! may be the client's fault as well.

use std::time::Duration;

use crate::outcome::{EndedBy, Outcome};
use crate::verdict::HandshakeStage;

/// The conduct of an endpoint towards one connection, as it counts for the endpoint's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    /// The first bytes of TLS came from it.
    Answered,
    /// The handshake succeeded, as far as can be seen.
    Passed,
    /// It refused the connection, or ended it, or was silent, before its first bytes of TLS; or these were no TLS.
    Failed,
    /// One of the two sides ended the handshake.
    Refused,
}

/// The part of the time for a first byte after which a client that gives up speaks against the endpoint: clients may
/// be less patient than the policy.
const IMPATIENT: u32 = 4;

impl Conduct {
    /// The conduct that is seen while the connection goes on. `None`: not known yet.
    pub fn at(stage: HandshakeStage) -> Option<Self> {
        match stage {
            HandshakeStage::Asked => None,
            HandshakeStage::NotTls => Some(Self::Failed),
            HandshakeStage::Answered | HandshakeStage::Finished => Some(Self::Answered),
            HandshakeStage::Established | HandshakeStage::Unknown => Some(Self::Passed),
        }
    }

    /// The conduct that the end of a connection shows, `waited` after the endpoint could have had the hello. `None`:
    /// the end says nothing about the endpoint.
    pub fn of_end(
        stage: HandshakeStage,
        outcome: Outcome,
        ended_by: EndedBy,
        waited: Duration,
        first_byte: Duration,
    ) -> Option<Self> {
        let by_a_side = ended_by != EndedBy::Gateway;
        match (stage, outcome) {
            (HandshakeStage::NotTls, _)
            | (
                HandshakeStage::Asked,
                Outcome::UpstreamClosedBeforeReply
                | Outcome::UpstreamReset
                | Outcome::UpstreamTimeout,
            ) => Some(Self::Failed),
            (HandshakeStage::Asked, Outcome::UpstreamSilent) => {
                (waited >= first_byte / IMPATIENT).then_some(Self::Failed)
            }
            (HandshakeStage::Asked, _) => None,
            (HandshakeStage::Answered | HandshakeStage::Finished, Outcome::HandshakeRefused)
            | (HandshakeStage::Answered, Outcome::UpstreamReset | Outcome::DownstreamReset)
            | (
                HandshakeStage::Finished,
                Outcome::UpstreamReset | Outcome::UpstreamClosedBeforeReply,
            ) => Some(Self::Refused),
            (HandshakeStage::Answered, _) => None,
            (
                HandshakeStage::Finished | HandshakeStage::Established | HandshakeStage::Unknown,
                _,
            ) => by_a_side.then_some(Self::Passed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_faults_are_failures_of_an_endpoint() {
        use EndedBy::{Downstream, Gateway, Upstream};
        use HandshakeStage::{Answered, Asked, Established, Finished, NotTls, Unknown};
        let first_byte = Duration::from_millis(400);
        for (stage, outcome, by, waited, expected) in [
            (
                Asked,
                Outcome::UpstreamClosedBeforeReply,
                Upstream,
                0,
                Some(Conduct::Failed),
            ),
            (
                Asked,
                Outcome::UpstreamReset,
                Upstream,
                0,
                Some(Conduct::Failed),
            ),
            (
                Asked,
                Outcome::UpstreamTimeout,
                Upstream,
                0,
                Some(Conduct::Failed),
            ),
            (Asked, Outcome::UpstreamSilent, Downstream, 99, None),
            (
                Asked,
                Outcome::UpstreamSilent,
                Downstream,
                100,
                Some(Conduct::Failed),
            ),
            (Asked, Outcome::DownstreamTimeout, Downstream, 900, None),
            (Asked, Outcome::Drained, Gateway, 900, None),
            (
                NotTls,
                Outcome::UpstreamNotTls,
                Upstream,
                0,
                Some(Conduct::Failed),
            ),
            (
                Answered,
                Outcome::HandshakeRefused,
                Downstream,
                0,
                Some(Conduct::Refused),
            ),
            (
                Answered,
                Outcome::HandshakeRefused,
                Upstream,
                0,
                Some(Conduct::Refused),
            ),
            (
                Answered,
                Outcome::DownstreamReset,
                Downstream,
                0,
                Some(Conduct::Refused),
            ),
            (
                Answered,
                Outcome::UpstreamReset,
                Upstream,
                0,
                Some(Conduct::Refused),
            ),
            (Answered, Outcome::IdleTimeout, Gateway, 0, None),
            (
                Finished,
                Outcome::HandshakeRefused,
                Upstream,
                0,
                Some(Conduct::Refused),
            ),
            (
                Finished,
                Outcome::UpstreamReset,
                Upstream,
                0,
                Some(Conduct::Refused),
            ),
            (Finished, Outcome::Ok, Downstream, 0, Some(Conduct::Passed)),
            (
                Finished,
                Outcome::DownstreamReset,
                Downstream,
                0,
                Some(Conduct::Passed),
            ),
            (
                Established,
                Outcome::UpstreamReset,
                Upstream,
                0,
                Some(Conduct::Passed),
            ),
            (Unknown, Outcome::Ok, Downstream, 0, Some(Conduct::Passed)),
            (Unknown, Outcome::Drained, Gateway, 0, None),
        ] {
            let waited = Duration::from_millis(waited);
            let got = Conduct::of_end(stage, outcome, by, waited, first_byte);
            assert_eq!(got, expected, "{stage:?} {outcome:?} {waited:?}");
        }
    }
}
