//! The history: an hour of traffic in counts of a minute, for the overview.
//!
//! A task of the control thread looks at the counters once a minute. Nothing else is done while nobody asks. Its size
//! is bounded: 60 minutes, as many routes as have series, and `MOST_ENDPOINTS` endpoints.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::metrics::{ConnectionSeries, DroppedLine, LogName, Metrics, SeriesKey};
use crate::names::{ListenerName, RouteName, UpstreamName};
use crate::outcome::{Outcome, OutcomeClass};
use crate::upstream::{EndpointTotals, Upstreams};

/// The time between two looks.
pub const PERIOD: Duration = Duration::from_mins(1);
/// Minutes that are kept.
pub const MINUTES: usize = 60;
/// Endpoints whose counts of some minutes ago are kept.
const MOST_ENDPOINTS: usize = 50_000;
/// Looks between two notes of the endpoints' counts.
const LOOKS_PER_NOTE: usize = 5;

/// The losses of log lines: the log and the reason.
pub(super) const LOSSES: [(LogName, DroppedLine); 6] = [
    (LogName::Access, DroppedLine::QueueFull),
    (LogName::Access, DroppedLine::WriteFailed),
    (LogName::Own, DroppedLine::QueueFull),
    (LogName::Own, DroppedLine::WriteFailed),
    (LogName::Otlp, DroppedLine::QueueFull),
    (LogName::Otlp, DroppedLine::WriteFailed),
];

/// A route and its listener.
pub(super) type RouteKey = (ListenerName, RouteName);
/// An endpoint and its upstream.
pub(super) type EndpointKey = (UpstreamName, SocketAddr);

/// The counts of the connections of one series, since the start or over some time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TrafficCounts {
    pub(super) opened: u64,
    pub(super) probes: u64,
    pub(super) ended: u64,
    pub(super) refused: u64,
    pub(super) failed: u64,
    pub(super) to_upstream: u64,
    pub(super) to_downstream: u64,
}

impl TrafficCounts {
    fn fields(&mut self) -> [&mut u64; 7] {
        [
            &mut self.opened,
            &mut self.probes,
            &mut self.ended,
            &mut self.refused,
            &mut self.failed,
            &mut self.to_upstream,
            &mut self.to_downstream,
        ]
    }

    pub(super) fn add(&mut self, mut other: Self) {
        for (sum, more) in self.fields().into_iter().zip(other.fields()) {
            *sum = sum.saturating_add(*more);
        }
    }

    /// The counts since `before`. A count that is smaller than before belongs to a series that began anew.
    pub(super) fn since(mut self, mut before: Self) -> Self {
        for (now, before) in self.fields().into_iter().zip(before.fields()) {
            *now = grown(*now, *before);
        }
        self
    }

    /// New connections without probes.
    pub(super) fn new_ones(&self) -> u64 {
        self.opened.saturating_sub(self.probes)
    }

    /// Connections that failed or were refused.
    pub(super) fn failing(&self) -> u64 {
        self.refused + self.failed
    }
}

/// The growth of one counter. A sum over several falls when one of them is removed, and has no such beginning anew.
fn grown(now: u64, before: u64) -> u64 {
    now.checked_sub(before).unwrap_or(now)
}

/// The counters at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Counters {
    pub(super) series: HashMap<SeriesKey, TrafficCounts>,
    pub(super) open: HashMap<SeriesKey, u64>,
    pub(super) outcomes: Vec<u64>,
    /// Connects up to each bound of the buckets, and all.
    connects: Vec<u64>,
    /// Lines that each log has lost, in the order of [`LOSSES`].
    lost_lines: [u64; LOSSES.len()],
}

impl Counters {
    /// The counters now.
    pub(super) fn read(metrics: &Metrics) -> Self {
        let mut counters = Self {
            outcomes: vec![0; Outcome::COUNT],
            ..Self::default()
        };
        for series in metrics.all_connections() {
            let counts = counters.count(&series);
            counters.series.insert(series.key().clone(), counts);
            let open = u64::try_from(series.active.get()).unwrap_or(0);
            counters.open.insert(series.key().clone(), open);
        }
        let (buckets, all) = metrics.connect_times();
        counters.connects = buckets
            .iter()
            .map(|(_, count)| *count)
            .chain([all])
            .collect();
        counters.lost_lines =
            LOSSES.map(|(log, reason)| metrics.log_lines_dropped(log, reason).get());
        counters
    }

    fn count(&mut self, series: &ConnectionSeries) -> TrafficCounts {
        let mut counts = TrafficCounts {
            opened: series.opened.get(),
            to_upstream: series.to_upstream.get(),
            to_downstream: series.to_downstream.get(),
            ..TrafficCounts::default()
        };
        for (outcome, sum) in Outcome::ALL.iter().zip(&mut self.outcomes) {
            let ended = series.ended(*outcome);
            *sum += ended;
            counts.ended += ended;
            match (outcome, outcome.class()) {
                (Outcome::Probe, _) => counts.probes += ended,
                (_, OutcomeClass::Refused) => counts.refused += ended,
                (_, OutcomeClass::Failed) => counts.failed += ended,
                (_, OutcomeClass::Well) => {}
            }
        }
        counts
    }

    pub(super) fn open(&self) -> u64 {
        self.open.values().sum()
    }

    /// The counts of a series.
    pub(super) fn of(&self, key: &SeriesKey) -> TrafficCounts {
        self.series.get(key).copied().unwrap_or_default()
    }

    /// The ends of connections since `before`, by the position of the outcome. Sums that fell, since a route is gone,
    /// count as 0.
    pub(super) fn outcomes_since(&self, before: &Self) -> Vec<u64> {
        let mut outcomes = self.outcomes.clone();
        for (now, before) in outcomes.iter_mut().zip(&before.outcomes) {
            *now = now.saturating_sub(*before);
        }
        outcomes
    }

    /// The lines that each log has lost since `before`, and since the start, in the order of [`LOSSES`].
    pub(super) fn lost_lines_since(&self, before: &Self) -> [(u64, u64); LOSSES.len()] {
        let mut lost = [(0, 0); LOSSES.len()];
        for ((lost, now), before) in lost.iter_mut().zip(self.lost_lines).zip(before.lost_lines) {
            *lost = (grown(now, before), now);
        }
        lost
    }

    /// The 99th percentile of the connects since `before`, in milliseconds.
    pub(super) fn connect_p99_ms_since(&self, before: &Self) -> Option<f64> {
        percentile_99(&before.connects, &self.connects)
    }
}

/// The traffic of one minute.
#[derive(Debug, Clone)]
pub(super) struct Minute {
    pub(super) ended: SystemTime,
    pub(super) seconds: f64,
    pub(super) counts: TrafficCounts,
    pub(super) open: u64,
    pub(super) outcomes: Vec<u32>,
    pub(super) connect_p99_ms: Option<f64>,
}

/// New connections and those that failed, of a route, in each minute.
#[derive(Debug, Clone, Default)]
pub(super) struct RouteMinutes(VecDeque<(u32, u32)>);

impl RouteMinutes {
    /// The last minutes, the oldest first.
    pub(super) fn last(&self, minutes: usize) -> impl Iterator<Item = (u32, u32)> {
        let skipped = self.0.len().saturating_sub(minutes);
        self.0.iter().skip(skipped).copied()
    }
}

/// Attempts to connect and failures of an endpoint since it was first used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct EndpointCounts {
    pub(super) attempts: u64,
    pub(super) failures: u64,
}

impl EndpointCounts {
    /// The counts since `before`. Counts that are smaller are those of a new pod with the address of an old one.
    pub(super) fn since(self, before: Self) -> Self {
        let attempts = self.attempts.checked_sub(before.attempts);
        let failures = self.failures.checked_sub(before.failures);
        match (attempts, failures) {
            (Some(attempts), Some(failures)) => Self { attempts, failures },
            _ => self,
        }
    }
}

#[derive(Debug)]
pub(super) struct Past {
    /// The time of the last look, or of the start, and the counters then.
    last: (Instant, Counters),
    /// The same of the look before.
    before: (Instant, Counters),
    /// The oldest first.
    pub(super) minutes: VecDeque<Minute>,
    pub(super) routes: HashMap<RouteKey, RouteMinutes>,
    looks: usize,
    /// The counts of endpoints at the last note, and at the one before.
    notes: [HashMap<EndpointKey, EndpointCounts>; 2],
}

impl Past {
    /// The counts of an endpoint 5 to 10 minutes ago, or at the start.
    pub(super) fn endpoint(&self, key: &EndpointKey) -> EndpointCounts {
        self.notes[1].get(key).copied().unwrap_or_default()
    }
}

/// The last hour of a gateway's traffic.
#[derive(Debug)]
pub struct TrafficHistory {
    past: Mutex<Past>,
}

impl Default for TrafficHistory {
    fn default() -> Self {
        Self::since(Instant::now())
    }
}

impl TrafficHistory {
    /// A history of a process that has started at `started` and has counted nothing before.
    pub fn since(started: Instant) -> Self {
        let past = Past {
            last: (started, Counters::default()),
            before: (started, Counters::default()),
            minutes: VecDeque::new(),
            routes: HashMap::new(),
            looks: 0,
            notes: Default::default(),
        };
        Self {
            past: Mutex::new(past),
        }
    }

    pub(super) fn past(&self) -> MutexGuard<'_, Past> {
        // The past is valid after every statement, so a panic elsewhere does not spoil it.
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a minute at `now`: notes what has been counted since the last look.
    pub fn look(&self, metrics: &Metrics, upstreams: &Upstreams, now: Instant) {
        let counters = Counters::read(metrics);
        let mut past = self.past();
        past.end_minute(counters, now, SystemTime::now());
        if past.looks.is_multiple_of(LOOKS_PER_NOTE) {
            past.note(noted(upstreams));
        }
        past.looks += 1;
    }
}

/// The counts of the endpoints that strait has used.
fn noted(upstreams: &Upstreams) -> HashMap<EndpointKey, EndpointCounts> {
    let mut notes = HashMap::new();
    for (name, upstream) in upstreams.iter() {
        for endpoint in upstream.endpoints().iter() {
            if notes.len() >= MOST_ENDPOINTS {
                return notes;
            }
            if let Some(totals) = endpoint.stats.totals() {
                let key = (name.clone(), endpoint.spec.address);
                notes.insert(key, endpoint_counts(&totals));
            }
        }
    }
    notes
}

pub(super) fn endpoint_counts(totals: &EndpointTotals) -> EndpointCounts {
    EndpointCounts {
        attempts: totals.connections + totals.failed_connects,
        failures: totals.failed_connects + totals.failed_before_reply + totals.refused_handshakes,
    }
}

impl Past {
    fn note(&mut self, endpoints: HashMap<EndpointKey, EndpointCounts>) {
        self.notes[1] = std::mem::replace(&mut self.notes[0], endpoints);
    }

    /// The counters that the rates of now begin with, and their time: those of the last look but one.
    pub(super) fn base(&self) -> &(Instant, Counters) {
        &self.before
    }

    fn end_minute(&mut self, counters: Counters, now: Instant, at: SystemTime) {
        self.before = std::mem::replace(&mut self.last, (now, counters));
        let (begin, before) = &self.before;
        let seconds = now.saturating_duration_since(*begin).as_secs_f64();
        let counters = &self.last.1;
        let mut of_routes: HashMap<RouteKey, (u32, u32)> = HashMap::new();
        let mut sum = TrafficCounts::default();
        for (key, counts) in &counters.series {
            let counts = counts.since(before.of(key));
            sum.add(counts);
            let route = of_routes.entry((key.listener.clone(), key.route.clone()));
            let route = route.or_default();
            route.0 = route.0.saturating_add(small(counts.new_ones()));
            route.1 = route.1.saturating_add(small(counts.failing()));
        }
        let outcomes = counters.outcomes_since(before).into_iter().map(small);
        let minute = Minute {
            ended: at,
            seconds,
            counts: sum,
            open: counters.open(),
            outcomes: outcomes.collect(),
            connect_p99_ms: counters.connect_p99_ms_since(before),
        };
        push(&mut self.minutes, minute);
        self.end_minute_of_routes(of_routes);
    }

    fn end_minute_of_routes(&mut self, mut of_routes: HashMap<RouteKey, (u32, u32)>) {
        let known = self.minutes.len().saturating_sub(1);
        self.routes.retain(|key, minutes| {
            push(&mut minutes.0, of_routes.remove(key).unwrap_or_default());
            // A route without traffic for an hour takes no place.
            minutes.0.iter().any(|minute| *minute != (0, 0))
        });
        for (key, counts) in of_routes
            .into_iter()
            .filter(|(_, counts)| *counts != (0, 0))
        {
            let mut minutes = RouteMinutes(VecDeque::from(vec![(0, 0); known]));
            push(&mut minutes.0, counts);
            self.routes.insert(key, minutes);
        }
    }
}

/// Appends the newest of at most [`MINUTES`].
fn push<T>(minutes: &mut VecDeque<T>, newest: T) {
    if minutes.len() >= MINUTES {
        minutes.pop_front();
    }
    minutes.push_back(newest);
}

fn small(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The upper bounds of the buckets in milliseconds, the same as those of the metric.
const BOUNDS_MS: [f64; 11] = [
    0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 100.0, 250.0, 1000.0, 3000.0, 10_000.0,
];

/// The 99th percentile of the connects between two counts of buckets, in milliseconds. Inside a bucket times count as
/// evenly spread.
fn percentile_99(before: &[u64], after: &[u64]) -> Option<f64> {
    let count = |place: usize| {
        let before = before.get(place).copied().unwrap_or(0);
        after
            .get(place)
            .map_or(0, |after| after.saturating_sub(before))
    };
    let all = count(BOUNDS_MS.len());
    if all == 0 {
        return None;
    }
    let wanted = float(all) * 0.99;
    let mut lower = (0.0, 0);
    for (place, bound) in BOUNDS_MS.into_iter().enumerate() {
        let up_to = count(place);
        if float(up_to) >= wanted {
            let (begin, below) = lower;
            let inside = float(up_to.saturating_sub(below)).max(1.0);
            return Some(begin + (bound - begin) * (wanted - float(below)).max(0.0) / inside);
        }
        lower = (bound, up_to);
    }
    BOUNDS_MS.last().copied()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "rates are floating-point numbers"
)]
pub(in crate::admin) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{KnownSeries, Metrics};

    fn key(route: &str, source: &str) -> SeriesKey {
        SeriesKey {
            listener: "east-west".into(),
            route: route.into(),
            upstream: route.into(),
            source: source.into(),
        }
    }

    fn traffic(metrics: &Metrics, route: &str, source: &str, ends: &[(Outcome, u32)]) {
        let series = metrics.connections(key(route, source));
        for (outcome, count) in ends {
            for _ in 0..*count {
                series.opened.inc();
                series.closed(*outcome);
            }
        }
    }

    #[test]
    fn a_minute_has_what_was_counted_in_it() {
        let start = Instant::now();
        let (metrics, history) = (Metrics::new().unwrap(), TrafficHistory::since(start));
        let look = |minute: u64| {
            history.look(
                &metrics,
                &Upstreams::default(),
                start + PERIOD * u32::try_from(minute).unwrap(),
            );
        };
        let ends = [(Outcome::Ok, 5), (Outcome::NoEndpoint, 2)];
        traffic(&metrics, "a", "alpha", &ends);
        traffic(&metrics, "a", "beta", &[(Outcome::Ok, 1)]);
        traffic(
            &metrics,
            "none",
            "alpha",
            &[(Outcome::NotTls, 3), (Outcome::Probe, 4)],
        );
        look(1);
        traffic(&metrics, "a", "alpha", &[(Outcome::UpstreamReset, 1)]);
        look(2);
        look(3);
        let past = history.past();
        let of = |pick: fn(&Minute) -> u64| past.minutes.iter().map(pick).collect::<Vec<_>>();
        assert_eq!(of(|minute| minute.counts.new_ones()), [11, 1, 0]);
        assert_eq!(of(|minute| minute.counts.probes), [4, 0, 0]);
        assert_eq!(of(|minute| minute.counts.refused), [3, 0, 0]);
        assert_eq!(of(|minute| minute.counts.failed), [2, 1, 0]);
        let no_endpoint = |minute: &Minute| minute.outcomes[Outcome::NoEndpoint.index()].into();
        assert_eq!(of(no_endpoint), [2, 0, 0]);
        let route = ("east-west".into(), "a".into());
        let of_route: Vec<_> = past.routes[&route].last(60).collect();
        assert_eq!(of_route, [(8, 2), (1, 1), (0, 0)]);
        let last: Vec<_> = past.routes[&route].last(2).collect();
        assert_eq!(last, [(1, 1), (0, 0)]);
        let counters = Counters::read(&metrics);
        let since = |key| counters.of(&key).since(past.base().1.of(&key));
        assert_eq!(past.base().0, start + PERIOD * 2, "the last look but one");
        assert_eq!(since(key("a", "alpha")), TrafficCounts::default());
        assert!((past.minutes[0].seconds - 60.0).abs() < 0.001);
    }

    #[test]
    fn an_hour_is_kept_and_a_quiet_route_is_forgotten() {
        let start = Instant::now();
        let (metrics, history) = (Metrics::new().unwrap(), TrafficHistory::since(start));
        traffic(&metrics, "a", "alpha", &[(Outcome::Ok, 1)]);
        for minute in 1..=60 {
            history.look(&metrics, &Upstreams::default(), start + PERIOD * minute);
        }
        assert_eq!(history.past().minutes.len(), MINUTES);
        assert_eq!(history.past().routes.len(), 1);
        history.look(&metrics, &Upstreams::default(), start + PERIOD * 61);
        assert_eq!(history.past().minutes.len(), MINUTES);
        assert_eq!(history.past().routes.len(), 0);
        traffic(&metrics, "b", "alpha", &[(Outcome::Ok, 1)]);
        history.look(&metrics, &Upstreams::default(), start + PERIOD * 62);
        let past = history.past();
        let minutes = past.routes.values().next().unwrap();
        assert_eq!(minutes.last(MINUTES).count(), MINUTES);
    }

    #[test]
    fn a_series_that_began_anew_gives_no_wrong_number() {
        let after = TrafficCounts {
            opened: 3,
            ..TrafficCounts::default()
        };
        let before = TrafficCounts {
            opened: 10,
            ..TrafficCounts::default()
        };
        assert_eq!(after.since(before).opened, 3);
        assert_eq!(before.since(after).opened, 7);
    }

    #[test]
    fn sums_that_fall_since_a_route_is_gone_bring_no_outcome_back() {
        let metrics = Metrics::new().unwrap();
        traffic(&metrics, "gone", "alpha", &[(Outcome::NoEndpoint, 100)]);
        traffic(&metrics, "kept", "alpha", &[(Outcome::NoEndpoint, 50)]);
        let before = Counters::read(&metrics);
        metrics.retire_routes(KnownSeries {
            listeners: ["east-west".into()].into(),
            sources: ["alpha".into()].into(),
            routes: [("east-west".into(), "kept".into(), "kept".into())].into(),
        });
        let after = Counters::read(&metrics);
        let place = Outcome::NoEndpoint.index();
        assert_eq!((before.outcomes[place], after.outcomes[place]), (150, 50));
        assert_eq!(after.outcomes_since(&before)[place], 0);
        assert_eq!(percentile_99(&[100; 12], &[40; 12]), None);
    }

    #[test]
    fn an_endpoint_that_took_the_address_of_another_is_judged_by_its_own_counts() {
        let counts = |attempts, failures| EndpointCounts { attempts, failures };
        assert_eq!(counts(12, 3).since(counts(10, 1)), counts(2, 2));
        assert_eq!(counts(8, 8).since(counts(1000, 2)), counts(8, 8));
        assert_eq!(counts(20, 4).since(counts(10, 9)), counts(20, 4));
    }

    #[test]
    fn the_percentile_lies_in_its_bucket() {
        let counts = |below: [u64; 11], all| below.into_iter().chain([all]).collect::<Vec<_>>();
        let quick = counts([100; 11], 100);
        let p99 = percentile_99(&[], &quick).unwrap();
        assert!((p99 - 0.495).abs() < 0.001, "{p99}");
        assert_eq!(percentile_99(&quick, &quick), None, "nothing is new");
        let mut slow = counts([100; 11], 110);
        slow[10] = 110;
        let p99 = percentile_99(&[], &slow).unwrap();
        assert!((3000.0..=10_000.0).contains(&p99), "{p99}");
        let never = counts([0; 11], 5);
        assert_eq!(percentile_99(&[], &never), Some(10_000.0));
    }
}
