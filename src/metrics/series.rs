//! The counters of connections, by listener, route, upstream and source group.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, OnceLock};

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use crate::names::{ListenerName, RouteName, SourceGroupName, UpstreamName};
use crate::outcome::Outcome;

#[derive(Debug, Default)]
pub(super) struct SeriesMap {
    pub(super) live: HashMap<SeriesKey, Arc<ConnectionSeries>>,
    /// The number of keys of each route. A route counts once however many sources use it.
    pub(super) routes: HashMap<(ListenerName, RouteName), usize>,
    /// Live series that are removed when they are no longer used.
    pub(super) retired: HashSet<SeriesKey>,
    pub(super) keep: Keep,
}

/// The function that says which series the config has.
pub(super) struct Keep(pub(super) Box<dyn Fn(&SeriesKey) -> bool + Send>);

impl Default for Keep {
    fn default() -> Self {
        Self(Box::new(|_| true))
    }
}

impl fmt::Debug for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keep")
    }
}

/// The labels of a [`ConnectionSeries`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SeriesKey {
    /// The listener's name.
    pub listener: ListenerName,
    /// The route's name, or [`NONE`](super::NONE).
    pub route: RouteName,
    /// The upstream's name, or [`NONE`](super::NONE).
    pub upstream: UpstreamName,
    /// The source group's name.
    pub source: SourceGroupName,
}

impl SeriesKey {
    pub(super) fn labels(&self) -> [&str; 4] {
        [&self.listener, &self.route, &self.upstream, &self.source]
    }
}

/// The counters of one listener, route, upstream and source group.
#[derive(Debug)]
pub struct ConnectionSeries {
    pub(super) key: SeriesKey,
    /// Connections whose route was decided (or that were refused before that).
    pub opened: IntCounter,
    /// Connections open now.
    pub active: IntGauge,
    /// Bytes that went from downstream to upstream; advances while they flow.
    pub to_upstream: IntCounter,
    /// Bytes that went from upstream to downstream; advances while they flow.
    pub to_downstream: IntCounter,
    pub(super) closed: IntCounterVec,
    pub(super) closed_by_outcome: [OnceLock<IntCounter>; Outcome::COUNT],
}

impl ConnectionSeries {
    /// Counts a connection that ended with `outcome`.
    pub fn closed(&self, outcome: Outcome) {
        self.closed_by_outcome[outcome.index()]
            .get_or_init(|| {
                let [listener, route, upstream, source] = self.key.labels();
                self.closed
                    .with_label_values(&[listener, route, upstream, source, outcome.label()])
            })
            .inc();
    }
}
