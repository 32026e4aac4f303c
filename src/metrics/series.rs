//! The counters of connections, by listener, route, upstream and source group.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError};

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use super::{MAX_ROUTES, Metrics, NONE, OTHER, UpstreamCounts};
use crate::names::{ListenerName, RouteName, SourceGroupName, UpstreamName};
use crate::outcome::Outcome;
use crate::shared_map::SharedMap;

#[derive(Debug, Default)]
pub(super) struct SeriesMap {
    /// A copy takes no time, so that nobody holds the lock while it walks over all of them.
    pub(super) live: SharedMap<SeriesKey, Arc<ConnectionSeries>>,
    /// The number of keys of each route. A route counts once however many sources use it.
    pub(super) routes: HashMap<(ListenerName, RouteName), usize>,
    /// The routes whose counters began at 0.
    pub(super) from_zero: HashSet<SeriesRoute>,
    /// Live series that are removed when they are no longer used.
    pub(super) retired: HashSet<SeriesKey>,
    /// The series that the config has; `None` before the first config: any.
    pub(super) known: Option<Arc<KnownSeries>>,
}

/// The series that are removed or marked before the lock is given back. Workers wait for it with the first
/// connection of a route.
const SLICE: usize = 100;

/// The route of a series: its listener, its name, and one of its upstreams.
pub type SeriesRoute = (ListenerName, RouteName, UpstreamName);

/// The series that a config has.
#[derive(Debug, Clone, Default)]
pub struct KnownSeries {
    /// The listeners.
    pub listeners: HashSet<ListenerName>,
    /// The source groups.
    pub sources: HashSet<SourceGroupName>,
    /// The routes.
    pub routes: HashSet<SeriesRoute>,
}

impl KnownSeries {
    fn has(&self, key: &SeriesKey) -> bool {
        let of_no_route = [NONE, OTHER].contains(&&*key.route);
        let route = || {
            (
                key.listener.clone(),
                key.route.clone(),
                key.upstream.clone(),
            )
        };
        self.sources.contains(&key.source)
            && self.listeners.contains(&key.listener)
            && (of_no_route || self.routes.contains(&route()))
    }

    /// The keys of a route, one for each source group.
    fn keys_of(&self, route: &SeriesRoute) -> impl Iterator<Item = SeriesKey> {
        let (listener, route, upstream) = route;
        self.sources.iter().map(move |source| SeriesKey {
            listener: listener.clone(),
            route: route.clone(),
            upstream: upstream.clone(),
            source: source.clone(),
        })
    }
}

impl SeriesMap {
    /// Whether no connection and no route table holds a series.
    fn is_unused(&self, key: &SeriesKey) -> bool {
        let series = self.live.get(key);
        series.is_none_or(|series| Arc::strong_count(series) == 1)
    }
}

/// The labels of a [`ConnectionSeries`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// The labels.
    pub fn key(&self) -> &SeriesKey {
        &self.key
    }

    /// The number of connections that have ended with `outcome`.
    pub fn ended(&self, outcome: Outcome) -> u64 {
        let count = self.closed_by_outcome.get(outcome.index());
        count.and_then(OnceLock::get).map_or(0, IntCounter::get)
    }

    /// Counts a connection that ended with `outcome`.
    pub fn closed(&self, outcome: Outcome) {
        self.of_outcome(outcome).inc();
    }

    /// The counter of an outcome. Without a connection it begins at 0.
    pub(super) fn of_outcome(&self, outcome: Outcome) -> &IntCounter {
        self.closed_by_outcome[outcome.index()].get_or_init(|| {
            let [listener, route, upstream, source] = self.key.labels();
            self.closed
                .with_label_values(&[listener, route, upstream, source, outcome.label()])
        })
    }

    /// The counts so far.
    pub(super) fn counts(&self) -> UpstreamCounts {
        let count = |counter: &OnceLock<IntCounter>| counter.get().map_or(0, IntCounter::get);
        UpstreamCounts {
            opened: self.opened.get(),
            to_upstream: self.to_upstream.get(),
            to_downstream: self.to_downstream.get(),
            closed: self.closed_by_outcome.each_ref().map(count),
        }
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
            let retired = map.retired.iter();
            let unused = retired.clone().find(|key| map.is_unused(key)).cloned();
            if let Some(key) = unused {
                map.retired.remove(&key);
                self.forget(&mut map, &key);
            }
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
        if map.known.as_ref().is_some_and(|known| !known.has(&key)) {
            // The connection was accepted before its route, or its listener, was removed.
            map.retired.insert(key.clone());
        }
        map.live.insert(key, series.clone());
        series
    }

    /// All series that are counted, to read them.
    pub fn all_connections(&self) -> Vec<Arc<ConnectionSeries>> {
        let live = self.lock().live.clone();
        live.values().cloned().collect()
    }

    /// Marks every series that is not `known`, now and in the future. Each is removed at the next scrape or
    /// reload at which no connection and no route table holds it any more.
    pub fn retire_routes(&self, known: KnownSeries) {
        let known = Arc::new(known);
        self.lock().known = Some(known.clone());
        let live = self.all_connections();
        let retired = live.iter().map(|series| &series.key);
        let retired: HashSet<SeriesKey> = retired.filter(|key| !known.has(key)).cloned().collect();
        drop(live);
        {
            let mut map = self.lock();
            // Those that were made meanwhile are marked already.
            let marked = std::mem::replace(&mut map.retired, retired);
            let marked = marked.into_iter().filter(|key| !known.has(key));
            map.retired.extend(marked);
        }
        self.sweep();
    }

    /// As [`Metrics::retire_routes`], for a config in which the routes `gone` are no longer and the routes `new` are.
    pub fn change_routes(&self, gone: &[SeriesRoute], new: &[SeriesRoute]) {
        let (mut left, mut right) = (gone, new);
        while !(left.is_empty() && right.is_empty()) {
            let (gone, new);
            (gone, left) = left.split_at(left.len().min(SLICE));
            (new, right) = right.split_at(right.len().min(SLICE));
            let mut map = self.lock();
            let map = &mut *map;
            let Some(known) = &mut map.known else { return };
            let known = Arc::make_mut(known);
            for route in gone {
                known.routes.remove(route);
                let keys = known.keys_of(route);
                let live = keys.filter(|key| map.live.contains_key(key));
                map.retired.extend(live);
            }
            for route in new {
                known.routes.insert(route.clone());
                for key in known.keys_of(route) {
                    map.retired.remove(&key);
                }
            }
        }
        self.sweep();
    }

    /// Removes the series that are marked and no longer used. It takes the lock for a few at a time.
    pub(super) fn sweep(&self) {
        let retired = std::mem::take(&mut self.lock().retired);
        let mut left: Vec<SeriesKey> = retired.into_iter().collect();
        while !left.is_empty() {
            let mut map = self.lock();
            for key in left.drain(left.len().saturating_sub(SLICE)..) {
                if map.known.as_ref().is_some_and(|known| known.has(&key)) {
                    // It came back while the lock was free.
                } else if map.is_unused(&key) {
                    self.forget(&mut map, &key);
                } else {
                    map.retired.insert(key);
                }
            }
        }
    }

    fn forget(&self, map: &mut SeriesMap, key: &SeriesKey) {
        let Some(series) = map.live.remove(key) else {
            return;
        };
        self.remove(&series);
        let route = (key.listener.clone(), key.route.clone());
        let (listener, name) = route.clone();
        // A route that stays has series of other source groups, and counts among those that began at 0.
        let known = map.known.as_ref();
        let of_route = (listener, name, key.upstream.clone());
        if !known.is_some_and(|known| known.routes.contains(&of_route)) {
            map.from_zero.remove(&of_route);
        }
        if let Some(sources) = map.routes.get_mut(&route) {
            *sources -= 1;
            if *sources == 0 {
                map.routes.remove(&route);
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
