//! Counters that begin at 0 before the first connection. A query of growth such as `increase()` does not count the
//! first value of a series, so without them it would not see a first failure.

use std::collections::HashSet;

use super::{Metrics, NONE, SeriesKey, SeriesRoute};
use crate::names::{ListenerName, SourceGroupName};
use crate::outcome::Outcome;

/// The common outcomes of connections that get no route.
const WITHOUT_ROUTE: [Outcome; 10] = [
    Outcome::SourceDenied,
    Outcome::Overloaded,
    Outcome::OverLimit,
    Outcome::HelloTimeout,
    Outcome::NotTls,
    Outcome::HelloMalformed,
    Outcome::NoSni,
    Outcome::BadServerName,
    Outcome::NoRoute,
    Outcome::AlpnRefused,
];

/// Those of connections of a route.
const OF_ROUTE: [Outcome; 10] = [
    Outcome::Ok,
    Outcome::OverLimit,
    Outcome::NoEndpoint,
    Outcome::ConnectRefused,
    Outcome::ConnectTimeout,
    Outcome::ConnectUnreachable,
    Outcome::DownstreamReset,
    Outcome::UpstreamReset,
    Outcome::UpstreamClosedBeforeReply,
    Outcome::HandshakeRefused,
];

/// Combinations of a listener or a route with a source group that begin at 0. A config may have 257 source groups, so
/// that a number of routes alone would be no bound.
const MOST: usize = 10_000;

/// The series that are to begin at 0.
#[derive(Debug)]
pub struct FromZero<R> {
    /// The number of routes. A route with several upstreams counts for each.
    pub most_routes: usize,
    /// Every listener; `None` if listeners and source groups are as they were the last time.
    pub listeners: Option<Vec<ListenerName>>,
    /// Every source group.
    pub sources: Vec<SourceGroupName>,
    /// The routes, in the order in which they count.
    pub routes: R,
}

impl Metrics {
    /// Has the counters of common outcomes begin at 0: those of every listener, and those of as many routes as are
    /// wanted. Routes that began at 0 earlier and still are there count among them.
    pub fn begin_at_zero<R: Iterator<Item = SeriesRoute>>(&self, wanted: FromZero<R>) {
        let FromZero {
            most_routes,
            listeners,
            sources,
            routes,
        } = wanted;
        let mut left = MOST;
        let anew = listeners.is_some();
        for listener in listeners.into_iter().flatten() {
            for source in sources.iter().take(left) {
                let _ = self.accepted(&listener, source);
                self.begin(
                    (listener.clone(), NONE.into(), NONE.into()),
                    source,
                    &WITHOUT_ROUTE,
                );
            }
            left = left.saturating_sub(sources.len());
        }
        let most = most_routes.min(left / sources.len().max(1));
        if !anew {
            self.begin_routes(most, &sources, routes);
            return;
        }
        let (earlier, others) = self.by_whether_begun(routes, most);
        // There may be more source groups than before.
        for route in earlier.into_iter().take(most) {
            for source in &sources {
                self.begin(route.clone(), source, &OF_ROUTE);
            }
        }
        self.begin_routes(most, &sources, others.into_iter());
    }

    /// The routes that began at 0 earlier, and the first `most` others. Those that are no longer there count no more.
    fn by_whether_begun(
        &self,
        routes: impl Iterator<Item = SeriesRoute>,
        most: usize,
    ) -> (Vec<SeriesRoute>, Vec<SeriesRoute>) {
        let begun = self.lock().from_zero.clone();
        let (mut earlier, mut others) = (Vec::new(), Vec::new());
        for route in routes {
            if begun.contains(&route) {
                earlier.push(route);
            } else if others.len() < most {
                others.push(route);
            }
        }
        let still: HashSet<_> = earlier.iter().cloned().collect();
        self.lock().from_zero = still;
        (earlier, others)
    }

    fn begin_routes(
        &self,
        most: usize,
        sources: &[SourceGroupName],
        routes: impl Iterator<Item = SeriesRoute>,
    ) {
        if self.lock().from_zero.len() >= most {
            return;
        }
        for route in routes {
            {
                let mut map = self.lock();
                if map.from_zero.contains(&route) {
                    continue;
                }
                if map.from_zero.len() >= most {
                    return;
                }
                map.from_zero.insert(route.clone());
            }
            for source in sources {
                self.begin(route.clone(), source, &OF_ROUTE);
            }
        }
    }

    fn begin(&self, route: SeriesRoute, source: &SourceGroupName, outcomes: &[Outcome]) {
        let (listener, route, upstream) = route;
        let series = self.connections(SeriesKey {
            listener,
            route,
            upstream,
            source: source.clone(),
        });
        for outcome in outcomes {
            series.of_outcome(*outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{OF_ROUTE, WITHOUT_ROUTE};
    use crate::outcome::Outcome;

    /// The outcomes that begin with their first connection: they are rare, or no failure, and a series more for each
    /// route would cost more than it tells.
    const BY_FIRST_CONNECTION: [Outcome; 16] = [
        Outcome::Probe,
        Outcome::ClientGoneBeforeHello,
        Outcome::HelloTooLarge,
        Outcome::NoLocalPort,
        Outcome::ProxyHeaderInvalid,
        Outcome::DownstreamTimeout,
        Outcome::UpstreamTimeout,
        Outcome::UpstreamNotTls,
        Outcome::UpstreamSilent,
        Outcome::IdleTimeout,
        Outcome::HalfClosedTimeout,
        Outcome::MaxAge,
        Outcome::Disallowed,
        Outcome::EndedByOperator,
        Outcome::Drained,
        Outcome::InternalError,
    ];

    #[test]
    fn no_outcome_is_forgotten() {
        for outcome in Outcome::ALL {
            let from_zero = WITHOUT_ROUTE.contains(outcome) || OF_ROUTE.contains(outcome);
            let label = outcome.label();
            assert_ne!(
                from_zero,
                BY_FIRST_CONNECTION.contains(outcome),
                "{label}: does its counter begin at 0, or with its first connection?"
            );
        }
    }
}
