//! Reports: the conduct of an endpoint towards a connection, as its upstream hears of it.

use std::net::IpAddr;

use crate::outcome::Outcome;
use crate::upstream::{Conduct, HealthChange, Picked, Upstream};

/// The part of the conduct that was reported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Reported {
    /// Nothing: the endpoint has not answered.
    #[default]
    Nothing,
    /// It answered; whether the handshake succeeds is not known.
    Answer,
    /// All that counts.
    All,
}

/// Reports the conduct of the endpoint to its upstream. `outcome` is that of a connection that it has failed.
pub(super) fn report(
    upstream: &Upstream,
    endpoint: &Picked,
    conduct: Conduct,
    source: IpAddr,
    outcome: Outcome,
) {
    let Some(change) = upstream.note_conduct(endpoint, conduct, source, outcome) else {
        return;
    };
    let (name, endpoint) = (&upstream.config().name, endpoint.address());
    match change {
        HealthChange::Ejected(duration) => {
            tracing::warn!(upstream = %name, %endpoint, ?duration, outcome = outcome.label(), "strait ejects an endpoint: its connections fail");
        }
        HealthChange::Readmitted => {
            tracing::info!(upstream = %name, %endpoint, "an ejected endpoint works again");
        }
    }
}
