//! The counts of connections by upstream, for metrics that have other labels than strait's own.

use std::collections::HashMap;

use super::{Metrics, NONE};
use crate::names::UpstreamName;
use crate::outcome::Outcome;

/// The counts of the connections to one upstream, of all its routes together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamCounts {
    /// Connections that were routed to it.
    pub opened: u64,
    /// Bytes to it.
    pub to_upstream: u64,
    /// Bytes from it.
    pub to_downstream: u64,
    /// Connections that have ended, by [`Outcome::index`].
    pub closed: [u64; Outcome::COUNT],
}

impl Default for UpstreamCounts {
    fn default() -> Self {
        Self {
            opened: 0,
            to_upstream: 0,
            to_downstream: 0,
            closed: [0; Outcome::COUNT],
        }
    }
}

impl UpstreamCounts {
    /// Adds the counts of another one.
    pub fn add(&mut self, other: &Self) {
        self.opened += other.opened;
        self.to_upstream += other.to_upstream;
        self.to_downstream += other.to_downstream;
        for (count, more) in self.closed.iter_mut().zip(other.closed) {
            *count += more;
        }
    }
}

impl Metrics {
    /// The counts of connections that got a route, by upstream.
    pub fn counts_by_upstream(&self) -> HashMap<UpstreamName, UpstreamCounts> {
        let all_series = self.all_connections();
        let mut all: HashMap<UpstreamName, UpstreamCounts> = HashMap::new();
        for series in all_series
            .iter()
            .filter(|series| &*series.key.upstream != NONE)
        {
            let counts = all.entry(series.key.upstream.clone()).or_default();
            counts.add(&series.counts());
        }
        all
    }
}
