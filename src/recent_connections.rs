//! Recent connections: the last ones that ended, by listener and server name, for `/explain`, and the last ones that
//! failed, by outcome, and the slowest connects, for the status page.

mod slow_connects;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::names::{ListenerName, RouteName, SourceGroupName, UpstreamName};
use crate::outcome::{EndedBy, Outcome};
use crate::verdict::Confidence;
pub use slow_connects::{SlowConnect, SlowConnects};

/// Connections that are kept of one name.
const KEPT: usize = 10;
/// Failures that are kept of each outcome, so that a flood of one leaves the others.
const FAILURES_KEPT: usize = 32;
/// Names that are kept. A name takes the place of another one.
const PLACES: usize = 1024;

/// A connection that has ended.
#[derive(Debug, Clone)]
pub struct RecentConnection {
    /// The time of its end.
    pub ended: SystemTime,
    /// Its number.
    pub connection: u64,
    /// The client's address.
    pub source: SocketAddr,
    /// The route that took it.
    pub route: Option<RouteName>,
    /// The endpoint, or the last one that was tried.
    pub endpoint: Option<SocketAddr>,
    /// The reason for its end.
    pub outcome: Outcome,
    /// The party that ended it.
    pub ended_by: EndedBy,
    /// Details of the reason.
    pub detail: Option<Cow<'static, str>>,
    /// The time from accept to close.
    pub duration: Duration,
}

/// A connection that has failed, or was refused.
#[derive(Debug, Clone)]
pub struct RecentFailure {
    /// Its listener.
    pub listener: ListenerName,
    /// The name in its hello; `None` if it had none, or none was read.
    pub server_name: Option<Box<str>>,
    /// Its source group; `None` if it is in none.
    pub source_group: Option<SourceGroupName>,
    /// The upstream of its route.
    pub upstream: Option<UpstreamName>,
    /// The certainty of its outcome.
    pub confidence: Confidence,
    /// Whether its hello had the label of `strait doctor`.
    pub doctors: bool,
    /// The part that is kept of every connection.
    pub ended: RecentConnection,
}

#[derive(Debug)]
struct Place {
    listener: ListenerName,
    name: Box<str>,
    last: VecDeque<RecentConnection>,
}

/// The last connections of as many names as there is place for.
#[derive(Debug)]
pub struct RecentConnections {
    places: Box<[Mutex<Option<Box<Place>>>]>,
    hasher: RandomState,
    /// By the position of the outcome. The oldest first.
    failures: Box<[Mutex<VecDeque<RecentFailure>>]>,
    /// The slowest connects of the last minutes.
    pub slow_connects: SlowConnects,
}

impl Default for RecentConnections {
    fn default() -> Self {
        Self {
            places: (0..PLACES).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            failures: Outcome::ALL.iter().map(|_| Mutex::default()).collect(),
            slow_connects: SlowConnects::default(),
        }
    }
}

impl RecentConnections {
    fn place(&self, listener: &ListenerName, name: &str) -> MutexGuard<'_, Option<Box<Place>>> {
        let hash = self.hasher.hash_one((&**listener, name));
        let place = usize::try_from(hash % (PLACES as u64)).unwrap_or(0);
        // There are as many places.
        let place = &self.places[place];
        place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a connection that has ended. `name` is empty if its hello had none, or none was read.
    pub fn note(&self, listener: &ListenerName, name: &str, connection: RecentConnection) {
        let mut place = self.place(listener, name);
        match &mut *place {
            Some(place) if place.listener == *listener && *place.name == *name => {
                if place.last.len() == KEPT {
                    place.last.pop_front();
                }
                place.last.push_back(connection);
            }
            other => {
                *other = Some(Box::new(Place {
                    listener: listener.clone(),
                    name: name.into(),
                    last: VecDeque::from([connection]),
                }));
            }
        }
    }

    /// The last connections on `route` with other names than `name`, the newest first, each with its name. At most
    /// ten.
    pub fn of_route(
        &self,
        listener: &ListenerName,
        route: &RouteName,
        name: &str,
    ) -> Vec<(Box<str>, RecentConnection)> {
        let mut found = Vec::new();
        for place in &self.places {
            let place = place.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(place) = place.as_ref() else {
                continue;
            };
            if place.listener != *listener || *place.name == *name {
                continue;
            }
            let same = |one: &&RecentConnection| one.route.as_ref() == Some(route);
            let last = place.last.iter().filter(same);
            found.extend(last.map(|one| (place.name.clone(), one.clone())));
        }
        found.sort_by_key(|(_, one)| Reverse(one.ended));
        found.truncate(KEPT);
        found
    }

    /// Notes a connection that has failed or was refused.
    pub fn note_failure(&self, failure: RecentFailure) {
        let Some(kept) = self.failures.get(failure.ended.outcome.index()) else {
            return;
        };
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == FAILURES_KEPT {
            kept.pop_front();
        }
        kept.push_back(failure);
    }

    /// The last connections that failed or were refused, the newest first.
    pub fn failures(&self) -> Vec<RecentFailure> {
        let of_outcome = |kept: &Mutex<VecDeque<RecentFailure>>| {
            let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.iter().cloned().collect::<Vec<_>>()
        };
        let mut failures: Vec<RecentFailure> = self.failures.iter().flat_map(of_outcome).collect();
        failures.sort_by_key(|failure| Reverse((failure.ended.ended, failure.ended.connection)));
        failures
    }

    /// The last connections to `name`, the newest first.
    pub fn of(&self, listener: &ListenerName, name: &str) -> Vec<RecentConnection> {
        let place = self.place(listener, name);
        let known = place.as_ref();
        let same = known.filter(|place| place.listener == *listener && *place.name == *name);
        same.map(|place| place.last.iter().rev().cloned().collect())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(connection: u64) -> RecentConnection {
        RecentConnection {
            ended: SystemTime::now(),
            connection,
            source: SocketAddr::from(([10, 0, 0, 1], 1)),
            route: None,
            endpoint: None,
            outcome: Outcome::Ok,
            ended_by: EndedBy::Downstream,
            detail: None,
            duration: Duration::ZERO,
        }
    }

    #[test]
    fn the_last_ones_of_a_route_come_from_all_its_other_names() {
        let recent = RecentConnections::default();
        let listener: ListenerName = "east-west".into();
        let start = SystemTime::now();
        for number in 0..20_u8 {
            let route = if number % 2 == 0 { "even" } else { "odd" };
            let connection = RecentConnection {
                route: Some(route.into()),
                ended: start + Duration::from_secs(number.into()),
                ..ended(number.into())
            };
            recent.note(&listener, &format!("{number}.example"), connection);
        }
        let numbers = |listener: &str, name: &str| -> Vec<u64> {
            let found = recent.of_route(&listener.into(), &"even".into(), name);
            found.iter().map(|(_, one)| one.connection).collect()
        };
        let found = numbers("east-west", "18.example");
        // A name may have taken the place of another one.
        assert!(
            found.len() >= 5 && found.iter().all(|number| number % 2 == 0),
            "{found:?}"
        );
        assert!(
            found.is_sorted_by(|a, b| a > b) && !found.contains(&18),
            "{found:?}"
        );
        assert!(numbers("other", "").is_empty());
    }

    #[test]
    fn the_last_ones_of_a_name_are_kept_and_names_are_bounded() {
        let recent = RecentConnections::default();
        let listener: ListenerName = "east-west".into();
        for number in 0..25 {
            recent.note(&listener, "a.example", ended(number));
        }
        let numbers: Vec<u64> = recent
            .of(&listener, "a.example")
            .iter()
            .map(|one| one.connection)
            .collect();
        assert_eq!(numbers, (15..25).rev().collect::<Vec<_>>());
        assert!(recent.of(&"other".into(), "a.example").is_empty());
        for number in 0..10_000 {
            recent.note(&listener, &format!("{number}.example"), ended(number));
        }
        let kept = (0..10_000).filter(|number| {
            !recent
                .of(&listener, &format!("{number}.example"))
                .is_empty()
        });
        assert!(kept.count() <= PLACES);
    }

    #[test]
    fn a_flood_of_one_failure_leaves_the_others() {
        let recent = RecentConnections::default();
        let fail = |number, outcome| {
            let ended = RecentConnection {
                outcome,
                ..ended(number)
            };
            recent.note_failure(RecentFailure {
                listener: "east-west".into(),
                server_name: None,
                source_group: None,
                upstream: None,
                confidence: Confidence::Seen,
                doctors: false,
                ended,
            });
        };
        fail(0, Outcome::HandshakeRefused);
        (1..10_000).for_each(|number| fail(number, Outcome::NotTls));
        let failures = recent.failures();
        assert_eq!(failures.len(), FAILURES_KEPT + 1);
        assert_eq!(failures[0].ended.connection, 9_999, "the newest first");
        assert_eq!(failures[FAILURES_KEPT].ended.connection, 0);
    }
}
