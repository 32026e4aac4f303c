//! Metrics of open connections that strait ends of its own accord.

use prometheus::{IntCounter, IntCounterVec};

use super::labels::labels;
use super::registrar::Registrar;

labels! {
    /// The reasons why an open connection would no longer be let in.
    DisallowedBy {
        /// Its listener is gone.
        Listener "listener",
        /// The listener denies its source.
        Source "source",
        /// No route takes its name.
        Route "route",
        /// The route leads to another upstream.
        Upstream "upstream",
        /// The route does not take its ALPN offer.
        Alpn "alpn",
        /// Its endpoint has left the upstream.
        Endpoint "endpoint",
    }
}

/// Counters of connections that strait has ended.
#[derive(Debug)]
pub struct EndMetrics {
    disallowed: IntCounterVec,
}

impl EndMetrics {
    pub(super) fn new(r: &mut Registrar) -> prometheus::Result<Self> {
        let disallowed = r.counters(
            "strait_disallowed_connections_total",
            &["reason"],
            "Open connections ended because they would no longer be let in (end_disallowed). reason is what has changed.",
        )?;
        for reason in DisallowedBy::ALL {
            disallowed.with_label_values(&[reason.label()]);
        }
        Ok(Self { disallowed })
    }

    /// Connections ended as `disallowed` for `reason`.
    pub fn disallowed(&self, reason: DisallowedBy) -> IntCounter {
        self.disallowed.with_label_values(&[reason.label()])
    }
}
