//! The rows of the tables: endpoints, limits, failures, open connections, names without a route.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::history::{EndpointCounts, Past, endpoint_counts, float};
use super::judge::{self, share};
use super::view::{SortKey, View};
use super::{
    ConnectionRow, EndpointRow, FailureRow, LimitRow, RowPage, SlowConnectRow, UnroutedRow,
};
use crate::admin::dump::timestamp;
use crate::admin::{Snapshot, plain};
use crate::clock;
use crate::config::OTHER_SOURCES;
use crate::limits::NamedUse;
use crate::names::UpstreamName;
use crate::open_connections::OpenConnection;
use crate::recent_connections::{RecentFailure, SlowConnect};
use crate::upstream::{Endpoint, EndpointTotals, Upstream};

/// The endpoints of an upstream in numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct UpstreamNumbers {
    pub(super) ready: usize,
    pub(super) endpoints: usize,
    pub(super) empty_because: Option<String>,
    pub(super) connect_p99_ms: Option<f64>,
}

pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Every endpoint, and a row for each upstream without one. With the numbers of each upstream.
pub(super) fn endpoints(
    snapshot: &Snapshot,
    past: &Past,
) -> (Vec<EndpointRow>, HashMap<UpstreamName, UpstreamNumbers>) {
    let now = Instant::now();
    let (mut rows, mut numbers) = (Vec::new(), HashMap::new());
    for (name, upstream) in snapshot.upstreams.iter() {
        let set = upstream.endpoints();
        let begin = rows.len();
        for endpoint in set.iter() {
            let key = (name.clone(), endpoint.spec.address);
            rows.push(endpoint_row(name, endpoint, past.endpoint(&key), now));
        }
        let own = rows.get(begin..).unwrap_or_default();
        let slowest = own.iter().filter_map(|row| row.connect_p99_ms);
        let serves = |row: &&EndpointRow| is_ready(&row.state);
        let of_upstream = UpstreamNumbers {
            ready: own.iter().filter(serves).count(),
            endpoints: own.len(),
            empty_because: own.is_empty().then(|| reason(upstream)).flatten(),
            connect_p99_ms: slowest.reduce(f64::max),
        };
        if own.is_empty() {
            rows.push(EndpointRow {
                upstream: name.to_string(),
                state: "none".to_owned(),
                reason: of_upstream.empty_because.clone(),
                ..EndpointRow::default()
            });
        }
        numbers.insert(name.clone(), of_upstream);
    }
    (rows, numbers)
}

/// Whether an endpoint of this state gets connections.
pub(super) fn is_ready(state: &str) -> bool {
    ["ready", "terminating", "failing"].contains(&state)
}

/// The reason why an upstream has no endpoint.
fn reason(upstream: &Upstream) -> Option<String> {
    let report = upstream.source_report();
    let said = report
        .last_error
        .as_deref()
        .or(report.empty_because.as_deref());
    match (said, upstream.answered()) {
        (Some(said), _) => Some(plain(said)),
        (None, false) => Some("its source has not answered yet".to_owned()),
        (None, true) => None,
    }
}

fn endpoint_row(
    upstream: &UpstreamName,
    endpoint: &Endpoint,
    before: EndpointCounts,
    now: Instant,
) -> EndpointRow {
    let totals = endpoint.stats.totals().unwrap_or_default();
    let EndpointCounts { attempts, failures } = endpoint_counts(&totals).since(before);
    let health = &endpoint.stats.health;
    let state = match endpoint.state(now) {
        "ready" if judge::is_failing(failures, attempts) => "failing",
        state => state,
    };
    let EndpointTotals {
        connections,
        failed_connects,
        failed_before_reply,
        refused_handshakes,
        ejections,
        to_upstream_bytes,
        to_downstream_bytes,
        connect_p50,
        connect_p99,
        last_failure,
    } = totals;
    EndpointRow {
        upstream: upstream.to_string(),
        address: Some(endpoint.spec.address),
        state: state.to_owned(),
        reason: endpoint.stats.check_failure().map(|reason| plain(&reason)),
        zone: endpoint.spec.zone.as_deref().map(str::to_owned),
        node: endpoint.spec.node.as_deref().map(str::to_owned),
        origin: endpoint.spec.origin.as_deref().map(ToString::to_string),
        active: endpoint.stats.active().into(),
        connections,
        failed_connects,
        failed_before_reply,
        refused_handshakes,
        failing_share: share(failures, attempts),
        ejections,
        ejection_left_ms: health.state(now).ejection_left().map(clock::millis),
        drain_left_ms: health.drain_left(now).map(clock::millis),
        to_upstream_bytes,
        to_downstream_bytes,
        connect_p50_ms: connect_p50.map(millis),
        connect_p99_ms: connect_p99.map(millis),
        last_failure: last_failure.map(|failure| timestamp(failure.at)),
        last_outcome: last_failure.map(|failure| failure.outcome.label().to_owned()),
    }
}

/// Compares amounts, the largest first.
pub(super) fn most_first(one: f64, other: f64) -> Ordering {
    other.total_cmp(&one)
}

/// `order` turned if the question asks for it.
pub(super) fn turned(order: Ordering, turned: bool) -> Ordering {
    match turned {
        true => order.reverse(),
        false => order,
    }
}

/// The page of endpoints: troubled ones first.
pub(super) fn endpoint_page(rows: Vec<EndpointRow>, view: &View) -> RowPage<EndpointRow> {
    let takes = |row: &EndpointRow| {
        let texts = [
            Some(&*row.upstream),
            Some(&*row.state),
            row.reason.as_deref(),
            row.zone.as_deref(),
            row.node.as_deref(),
            row.origin.as_deref(),
            row.last_outcome.as_deref(),
        ];
        view.finds_row(texts, [row.address])
    };
    let urgency = |row: &EndpointRow| match &*row.state {
        "none" if row.failing_share.is_none() => judge::urgency("unready"),
        state => judge::urgency(state),
    };
    view.page(rows, takes, |one, other| {
        let chosen = match view.sort {
            Some((key, is_turned)) => turned(compare_endpoints(key, one, other), is_turned),
            None => Ordering::Equal,
        };
        urgency(one)
            .cmp(&urgency(other))
            .then(chosen)
            .then_with(|| {
                let share = |row: &EndpointRow| row.failing_share.unwrap_or(0.0);
                let share = |row| if urgency(row) < 9 { share(row) } else { 0.0 };
                most_first(share(one), share(other))
            })
            .then_with(|| other.active.cmp(&one.active))
            .then_with(|| one.upstream.cmp(&other.upstream))
            .then_with(|| one.address.cmp(&other.address))
    })
}

fn compare_endpoints(key: SortKey, one: &EndpointRow, other: &EndpointRow) -> Ordering {
    match key {
        SortKey::Name => one.address.cmp(&other.address),
        SortKey::Upstream => one.upstream.cmp(&other.upstream),
        SortKey::Ready => one.state.cmp(&other.state),
        SortKey::Failing => most_first(
            one.failing_share.unwrap_or(-1.0),
            other.failing_share.unwrap_or(-1.0),
        ),
        SortKey::Open => other.active.cmp(&one.active),
        SortKey::Total | SortKey::Rate => other.connections.cmp(&one.connections),
        SortKey::Up => other.to_upstream_bytes.cmp(&one.to_upstream_bytes),
        SortKey::Down => other.to_downstream_bytes.cmp(&one.to_downstream_bytes),
        SortKey::Connect => most_first(
            one.connect_p99_ms.unwrap_or(-1.0),
            other.connect_p99_ms.unwrap_or(-1.0),
        ),
        SortKey::Alpn => Ordering::Equal,
    }
}

/// The limits, the fullest first. Of endpoints, sources, routes and upstreams only those that are in use.
pub(super) fn limits(uses: Vec<NamedUse>) -> Vec<LimitRow> {
    let row = |(name, one): NamedUse| LimitRow {
        scope: one.scope.to_owned(),
        name,
        limit: one.limit.to_owned(),
        used: one.used,
        most: one.most,
        share: float(one.used) / float(one.most.max(1)),
    };
    let mut rows: Vec<LimitRow> = uses.into_iter().map(row).collect();
    rows.sort_by(compare_limits);
    rows
}

fn compare_limits(one: &LimitRow, other: &LimitRow) -> Ordering {
    let names = |row: &LimitRow| (row.scope.clone(), row.name.clone(), row.limit.clone());
    most_first(one.share, other.share).then_with(|| names(one).cmp(&names(other)))
}

pub(super) fn limit_page(rows: Vec<LimitRow>, view: &View) -> RowPage<LimitRow> {
    let takes = |row: &LimitRow| view.finds([&*row.scope, &*row.name, &*row.limit]);
    view.page(rows, takes, compare_limits)
}

/// The failures, the newest first.
pub(super) fn failures(failures: &[RecentFailure]) -> Vec<FailureRow> {
    let row = |failure: &RecentFailure| {
        let ended = &failure.ended;
        let group = failure.source_group.as_deref().unwrap_or(OTHER_SOURCES);
        FailureRow {
            at: timestamp(ended.ended),
            connection: ended.connection,
            listener: failure.listener.to_string(),
            outcome: ended.outcome.label().to_owned(),
            source: Some(ended.source),
            group: group.to_owned(),
            server_name: failure.server_name.as_deref().map(plain),
            route: ended.route.as_ref().map(ToString::to_string),
            upstream: failure.upstream.as_ref().map(ToString::to_string),
            endpoint: ended.endpoint,
            ended_by: ended.ended_by.label().to_owned(),
            confidence: failure.confidence.label().to_owned(),
            detail: ended.detail.as_deref().map(plain),
            duration_ms: clock::millis(ended.duration),
            alike: 1,
            doctors: failure.doctors,
        }
    };
    failures.iter().map(row).collect()
}

/// The newest of those that are alike, with their number. `rows` has the newest first.
fn grouped(rows: Vec<FailureRow>) -> Vec<FailureRow> {
    let mut grouped: Vec<FailureRow> = Vec::new();
    let mut positions: HashMap<FailureRow, usize> = HashMap::new();
    for row in rows {
        let key = FailureRow {
            at: String::new(),
            connection: 0,
            source: None,
            duration_ms: 0,
            alike: 0,
            ..row.clone()
        };
        match positions.get(&key).and_then(|at| grouped.get_mut(*at)) {
            Some(known) => known.alike += 1,
            None => {
                positions.insert(key, grouped.len());
                grouped.push(FailureRow { alike: 1, ..row });
            }
        }
    }
    grouped
}

/// The failures that the search finds, grouped. A group has only what is found, so that an address is found among those
/// that are alike.
pub(super) fn failure_page(rows: Vec<FailureRow>, view: &View) -> RowPage<FailureRow> {
    let takes = |row: &FailureRow| {
        let texts = [
            Some(&*row.outcome),
            Some(&*row.group),
            row.server_name.as_deref(),
            row.route.as_deref(),
            row.upstream.as_deref(),
            row.detail.as_deref(),
        ];
        let group = view.group.as_ref().is_none_or(|group| *group == row.group);
        group && view.finds_row(texts, [row.source, row.endpoint])
    };
    let found: Vec<FailureRow> = rows.iter().filter(|row| takes(row)).cloned().collect();
    let all = grouped(rows).len();
    let order = |one: &FailureRow, other: &FailureRow| {
        let key = |row: &FailureRow| (row.at.clone(), row.connection);
        key(other).cmp(&key(one))
    };
    RowPage {
        all,
        ..view.page(grouped(found), |_| true, order)
    }
}

/// The time after which TCP sends a SYN again (RFC 6298).
const SYN_AGAIN: Duration = Duration::from_secs(1);

/// The probable cause of a connect that took as long as this one.
fn hint(one: &SlowConnect) -> Option<String> {
    let hint = match one.starttls {
        _ if one.took < SYN_AGAIN => return None,
        false => "a SYN was lost, or the queue of the endpoint was full",
        true => {
            "a SYN was lost, the queue of the endpoint was full, or the endpoint was late to answer the request for TLS"
        }
    };
    Some(hint.to_owned())
}

/// The slowest connects, the slowest first.
pub(super) fn slow_connects(
    connects: &[SlowConnect],
    endpoints: &[EndpointRow],
    view: &View,
) -> RowPage<SlowConnectRow> {
    let mut zones: HashMap<SocketAddr, Option<&String>> =
        connects.iter().map(|one| (one.endpoint, None)).collect();
    for row in endpoints {
        let zone = row.address.and_then(|address| zones.get_mut(&address));
        if let Some(zone) = zone {
            *zone = row.zone.as_ref();
        }
    }
    let row = |one: &SlowConnect| SlowConnectRow {
        at: timestamp(one.at),
        took_ms: millis(one.took),
        upstream: one.upstream.to_string(),
        endpoint: Some(one.endpoint),
        zone: zones.get(&one.endpoint).copied().flatten().cloned(),
        source: Some(one.source),
        hint: hint(one),
    };
    let rows: Vec<SlowConnectRow> = connects.iter().map(row).collect();
    let takes = |row: &SlowConnectRow| {
        let texts = [Some(&*row.upstream), row.zone.as_deref()];
        view.finds_row(texts, [row.endpoint, row.source])
    };
    view.page(rows, takes, |one, other| {
        most_first(one.took_ms, other.took_ms)
    })
}

pub(super) fn connection(one: &OpenConnection) -> ConnectionRow {
    ConnectionRow {
        connection: one.id,
        source: Some(one.source),
        group: one.source_group.clone(),
        server_name: one.server_name.as_deref().map(plain),
        route: one.route.clone(),
        upstream: one.upstream.clone(),
        endpoint: one.endpoint,
        state: one.state.to_owned(),
        handshake: one.handshake.map(str::to_owned),
        age_ms: one.age_ms,
        idle_ms: one.idle_ms,
        to_upstream_bytes: one.to_upstream_bytes,
        to_downstream_bytes: one.to_downstream_bytes,
    }
}

pub(super) fn connection_page(rows: Vec<ConnectionRow>, view: &View) -> RowPage<ConnectionRow> {
    let takes = |row: &ConnectionRow| {
        let texts = [
            Some(&*row.group),
            Some(&*row.state),
            row.server_name.as_deref(),
            row.route.as_deref(),
            row.upstream.as_deref(),
        ];
        view.finds_row(texts, [row.source, row.endpoint])
    };
    view.page(rows, takes, |one, other| {
        let bytes = |row: &ConnectionRow| row.to_upstream_bytes + row.to_downstream_bytes;
        let order = match view.sort {
            Some((SortKey::Up, _)) => other.to_upstream_bytes.cmp(&one.to_upstream_bytes),
            Some((SortKey::Down, _)) => other.to_downstream_bytes.cmp(&one.to_downstream_bytes),
            _ => bytes(other).cmp(&bytes(one)),
        };
        order.then_with(|| one.connection.cmp(&other.connection))
    })
}

/// The most names without a route that are looked through.
const MOST_UNROUTED: usize = 50_000;

pub(super) fn unrouted(snapshot: &Snapshot, view: &View) -> RowPage<UnroutedRow> {
    let listeners = snapshot.config.listeners.iter();
    let rows = listeners.flat_map(|listener| {
        let names = listener.unrouted.iter();
        names.map(|(name, reason): (_, &Arc<str>)| UnroutedRow {
            listener: listener.name.to_string(),
            name: name.as_str().to_owned(),
            reason: plain(reason),
        })
    });
    let rows: Vec<UnroutedRow> = rows.take(MOST_UNROUTED).collect();
    let takes = |row: &UnroutedRow| view.finds([&*row.listener, &*row.name, &*row.reason]);
    view.page(rows, takes, |one, other| {
        let key = |row: &UnroutedRow| (row.listener.clone(), row.name.clone());
        key(one).cmp(&key(other))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn searched(search: &str) -> View {
        View {
            search: search.to_owned(),
            ..View::default()
        }
    }

    #[test]
    fn a_search_finds_a_failure_that_has_newer_ones_alike() {
        let failure = |connection: u64, source: u8| FailureRow {
            at: format!("2026-11-29T12:00:0{connection}Z"),
            connection,
            source: Some(([10, 0, 12, source], 40_000).into()),
            alike: 1,
            ..FailureRow::default()
        };
        let rows = vec![failure(3, 7), failure(2, 9), failure(1, 9)];
        let page = failure_page(rows.clone(), &searched("10.0.12.9"));
        let found = RowPage {
            all: 1,
            matched: 1,
            first: 0,
            rows: vec![FailureRow {
                alike: 2,
                ..failure(2, 9)
            }],
        };
        assert_eq!(page, found);
        let none = failure_page(rows.clone(), &searched("10.0.12.8"));
        assert_eq!((none.all, none.matched), (1, 0));
        let all = failure_page(rows, &View::default());
        assert_eq!((all.rows[0].connection, all.rows[0].alike), (3, 3));
    }

    #[test]
    fn a_search_finds_endpoints_by_their_object() {
        let row = |name: &str| EndpointRow {
            origin: Some(format!("EndpointSlice shop/{name}")),
            ..EndpointRow::default()
        };
        let rows = vec![row("catalog-7x"), row("payments-k2")];
        let page = endpoint_page(rows, &searched("shop/payments"));
        assert_eq!(page.rows, [row("payments-k2")]);
    }
}
