//! The counters of connections, by listener, route, upstream and source group.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError};

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use super::{MAX_ROUTES, Metrics, NONE, OTHER};
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

impl Metrics {
    /// The series of connections of `key`, created on first use. Callers look it up once and keep it.
    pub fn connections(&self, mut key: SeriesKey) -> Arc<ConnectionSeries> {
        let mut map = self.lock();
        if let Some(series) = map.live.get(&key) {
            return series.clone();
        }
        let route = (key.listener.clone(), key.route.clone());
        if !map.routes.contains_key(&route) && map.routes.len() >= MAX_ROUTES {
            self.sweep(&mut map);
            if map.routes.len() >= MAX_ROUTES && &*key.route != NONE && &*key.route != OTHER {
                key.route = OTHER.into();
                key.upstream = OTHER.into();
                drop(map);
                return self.connections(key);
            }
        }
        let [listener, route_name, upstream, source] = key.labels();
        let labels = [listener, route_name, upstream, source];
        let bytes = |direction| {
            self.bytes
                .with_label_values(&[listener, route_name, upstream, source, direction])
        };
        let series = Arc::new(ConnectionSeries {
            opened: self.opened.with_label_values(&labels),
            active: self.active.with_label_values(&labels),
            to_upstream: bytes("to_upstream"),
            to_downstream: bytes("to_downstream"),
            closed: self.closed.clone(),
            closed_by_outcome: [const { OnceLock::new() }; Outcome::COUNT],
            key: key.clone(),
        });
        *map.routes.entry(route).or_default() += 1;
        if !(map.keep.0)(&key) {
            // The connection was accepted before its route, or its listener, was removed.
            map.retired.insert(key.clone());
        }
        map.live.insert(key, series.clone());
        series
    }

    /// Marks the series of every route for which `keep` is false, now and in the future. Each is
    /// removed at the next scrape or reload at which no connection and no route table holds it any
    /// more.
    pub fn retire_routes(&self, keep: impl Fn(&SeriesKey) -> bool + Send + 'static) {
        let mut map = self.lock();
        let retired = map.live.keys().filter(|key| !keep(key)).cloned().collect();
        map.retired = retired;
        map.keep = Keep(Box::new(keep));
        self.sweep(&mut map);
    }

    pub(super) fn sweep(&self, map: &mut SeriesMap) {
        let unused: Vec<SeriesKey> = map
            .retired
            .iter()
            .filter(|key| map.live.get(key).is_none_or(|s| Arc::strong_count(s) == 1))
            .cloned()
            .collect();
        for key in unused {
            map.retired.remove(&key);
            let Some(series) = map.live.remove(&key) else {
                continue;
            };
            self.remove(&series);
            let route = (key.listener, key.route);
            if let Some(sources) = map.routes.get_mut(&route) {
                *sources -= 1;
                if *sources == 0 {
                    map.routes.remove(&route);
                }
            }
        }
    }

    /// Removes the series from the exposition. A missing series is no error, since not every outcome
    /// has happened.
    fn remove(&self, series: &ConnectionSeries) {
        let labels = series.key.labels();
        let [listener, route, upstream, source] = labels;
        let _ = self.opened.remove_label_values(&labels);
        let _ = self.active.remove_label_values(&labels);
        if route == NONE {
            // Every connection counts into these two first.
            let _ = self.accepted.remove_label_values(&[listener, source]);
        }
        for direction in ["to_upstream", "to_downstream"] {
            let _ = self
                .bytes
                .remove_label_values(&[listener, route, upstream, source, direction]);
        }
        for outcome in Outcome::ALL {
            let _ = self.closed.remove_label_values(&[
                listener,
                route,
                upstream,
                source,
                outcome.label(),
            ]);
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, SeriesMap> {
        // The map is valid after every statement, so a panic elsewhere does not spoil it.
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
