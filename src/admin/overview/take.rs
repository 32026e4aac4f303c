//! Taking an overview of a running gateway.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use super::history::{Counters, LOSSES};
use super::rows;
use super::traffic::{self, Readings, TrafficParts};
use super::troubles::{SilentSource, TroubleFacts, troubles};
use super::view::View;
use super::{
    ConnectionRow, EndpointRow, ListenerRow, LostLinesRow, NotWatched, Overview, OverviewCluster,
    OverviewConfiguration, OverviewDrain, OverviewIdentity, OverviewKubernetes, OverviewProblem,
    OverviewRefusedFile, OverviewState, RouteRow, RowPage, Trouble,
};
use crate::admin::dump::timestamp;
use crate::admin::{AdminContext, RefusedConfig, Snapshot, plain};
use crate::clock;
use crate::config::{Problem, UpstreamSource};
use crate::drain::DrainPhase;
use crate::metrics::OverloadCause;
use crate::open_connections::ConnectionList;
use crate::version;

/// Troubles in one answer that asks for no other number of rows.
const TROUBLES: usize = 20;
/// Names in a list of few.
const FEW_NAMES: usize = 20;

/// The overview of a gateway now, as far as `view` asks for it.
pub(in crate::admin) fn take(
    context: &AdminContext,
    view: &View,
    open: ConnectionList,
) -> Overview {
    let snapshot = context.snapshots.now();
    let now = Instant::now();
    let counters = Counters::read(&context.metrics);
    traffic::with_readings(&context.history, counters, now, |readings| {
        let parts = TrafficParts::new(readings, view.group.as_deref());
        overview(context, &snapshot, view, readings, &parts, open)
    })
}

fn overview(
    context: &AdminContext,
    snapshot: &Snapshot,
    view: &View,
    readings: &Readings<'_>,
    parts: &TrafficParts,
    open: ConnectionList,
) -> Overview {
    let failures = rows::failures(&(context.failures)());
    let (mut endpoints, numbers) = rows::endpoints(snapshot, readings.past);
    let routes = traffic::routes(snapshot, readings, parts, &numbers, true);
    mark_upstreams_that_are_called(&mut endpoints, &routes);
    let limits = rows::limits((context.limits)());
    let outcomes = traffic::outcomes(readings, &failures);
    let sums = traffic::traffic(readings, &parts.all);
    let configuration = configuration(context, snapshot);
    let state = state(context, parts.all.open, snapshot);
    let silent_sources = silent_sources(snapshot);
    let lost_log_lines = lost_log_lines(readings);
    let slow_connects = rows::slow_connects(&(context.slow_connects)(), &endpoints, view);
    let minutes = readings.past.minutes.iter();
    let minute_ends: Vec<String> = minutes.map(|minute| timestamp(minute.ended)).collect();
    let troubles = troubles(&TroubleFacts {
        configuration: &configuration,
        state: &state,
        traffic: &sums,
        outcomes: &outcomes,
        routes: &routes,
        endpoints: &endpoints,
        silent_sources: &silent_sources,
        limits: &limits,
        failures: &failures,
        lost_log_lines: &lost_log_lines,
        minute_ends: &minute_ends,
    });
    let map = traffic::map(&routes, view);
    let (groups, flows) = traffic::groups(snapshot, readings, parts, &map);
    let (connections, unanswered_workers) = connections(open, view);
    Overview {
        identity: identity(context, snapshot),
        troubles: trouble_page(troubles, view),
        outcomes: outcomes
            .into_iter()
            .filter(|row| view.finds([&*row.outcome, row.place.as_deref().unwrap_or_default()]))
            .collect(),
        routes: traffic::route_page(routes, view),
        endpoints: rows::endpoint_page(endpoints, view),
        limits: rows::limit_page(limits, view),
        failures: rows::failure_page(failures, view),
        connections,
        unanswered_workers,
        unrouted: rows::unrouted(snapshot, view),
        slow_connects,
        lost_log_lines,
        traffic: sums,
        configuration,
        state,
        groups,
        flows,
        map,
    }
}

/// The logs that have lost lines.
fn lost_log_lines(readings: &Readings<'_>) -> Vec<LostLinesRow> {
    let lost = readings.counters.lost_lines_since(&readings.past.base().1);
    let rows = LOSSES.iter().zip(lost);
    let rows = rows.map(|((log, reason), (now, total))| LostLinesRow {
        log: log.label().to_owned(),
        reason: reason.label().to_owned(),
        now,
        total,
    });
    rows.filter(|row| row.total > 0).collect()
}

/// Gives the rows of upstreams without endpoints that are called a failing share, which puts them first.
fn mark_upstreams_that_are_called(endpoints: &mut [EndpointRow], routes: &[RouteRow]) {
    let failing = routes.iter().filter(|route| route.state == "failing");
    let called: HashSet<&str> = failing
        .flat_map(|route| route.upstreams.iter().map(String::as_str))
        .collect();
    for row in endpoints.iter_mut().filter(|row| row.state == "none") {
        row.failing_share = called.contains(&*row.upstream).then_some(1.0);
    }
}

fn trouble_page(troubles: Vec<Trouble>, view: &View) -> RowPage<Trouble> {
    let all = troubles.len();
    let takes = |trouble: &Trouble| {
        let search = trouble.search.as_deref().unwrap_or_default();
        let details = trouble.details.iter().map(String::as_str);
        view.finds(
            [&*trouble.title, &*trouble.sentence, search]
                .into_iter()
                .chain(details),
        )
    };
    let mut rows: Vec<Trouble> = troubles.into_iter().filter(takes).collect();
    let matched = rows.len();
    let most = match view.are_rows_given {
        true => view.rows,
        false => TROUBLES,
    };
    rows.truncate(most);
    RowPage {
        all,
        matched,
        first: 0,
        rows,
    }
}

fn connections(list: ConnectionList, view: &View) -> (RowPage<ConnectionRow>, Vec<usize>) {
    let found: Vec<ConnectionRow> = list.connections().map(rows::connection).collect();
    let mut page = rows::connection_page(found, view);
    let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    page.all = count(list.open);
    if view.search.is_empty() {
        page.matched = count(list.matched);
    }
    (page, list.unanswered_workers)
}

fn identity(context: &AdminContext, snapshot: &Snapshot) -> OverviewIdentity {
    let zone = snapshot.config.zone.as_deref();
    let found = snapshot
        .report
        .as_ref()
        .and_then(|report| report.zone.as_deref());
    let place = &context.place;
    OverviewIdentity {
        pod: place.pod.as_deref().map(plain),
        namespace: place.namespace.as_deref().map(plain),
        node: place.node.as_deref().map(plain),
        zone: zone.or(found).map(str::to_owned),
        version: version::VERSION.to_owned(),
        commit: version::COMMIT.to_owned(),
        now: timestamp(clock::now()),
        started: timestamp(context.started),
        uptime_seconds: context.started.elapsed().unwrap_or_default().as_secs(),
        workers: snapshot.config.workers.get(),
    }
}

fn configuration(context: &AdminContext, snapshot: &Snapshot) -> OverviewConfiguration {
    let metrics = &context.metrics;
    let report = context.config_reports.now();
    let in_force = report.in_force.as_deref();
    let owned = |text: Option<&Arc<str>>| text.map(|text| plain(text));
    let keys = in_force
        .map(|one| &*one.restart_pending)
        .unwrap_or_default();
    let listeners = snapshot.config.listeners.iter().map(|listener| {
        let bound = snapshot
            .bound
            .iter()
            .find(|(name, _)| *name == listener.name);
        ListenerRow {
            name: listener.name.to_string(),
            configured: listener.bind.to_string(),
            bound: bound.map(|(_, address)| *address),
            routes: listener.routes.len(),
        }
    });
    OverviewConfiguration {
        generation: in_force.map(|one| one.generation),
        sha256: owned(in_force.and_then(|one| one.sha256.as_ref())),
        file: owned(in_force.and_then(|one| one.path.as_ref())),
        loaded: in_force.map(|one| timestamp(one.loaded)),
        changes: in_force
            .map(|one| one.changes.iter().map(|change| plain(change)).collect())
            .unwrap_or_default(),
        refused: report.refused.as_deref().map(refused),
        restart_pending: u64::try_from(metrics.config_restart_pending.get()).unwrap_or(0),
        restart_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        listeners: listeners.collect(),
        kubernetes: kubernetes(context, snapshot),
    }
}

fn refused(refused: &RefusedConfig) -> OverviewRefusedFile {
    let problem = |problem: &Problem| {
        let remedy = problem.remedy.as_deref();
        let remedy = remedy.map(|remedy| format!("; {}", plain(remedy)));
        let number = |number| Some(number).filter(|number| *number > 0);
        OverviewProblem {
            line: number(problem.line),
            column: number(problem.column),
            key: Some(plain(&problem.key)).filter(|key| !key.is_empty()),
            message: plain(&problem.message) + &remedy.unwrap_or_default(),
        }
    };
    OverviewRefusedFile {
        at: Some(timestamp(refused.at)),
        problem_count: refused.problems.len(),
        problems: refused
            .problems
            .iter()
            .take(FEW_NAMES)
            .map(problem)
            .collect(),
    }
}

fn kubernetes(context: &AdminContext, snapshot: &Snapshot) -> Option<OverviewKubernetes> {
    let config = snapshot.config.kubernetes.as_ref()?;
    let metrics = &context.metrics.kubernetes;
    let stale_since = metrics.own_stale_since().map(timestamp);
    let stale_because = metrics.own_stale_because().map(|why| plain(&why));
    let reports = snapshot.report.iter().flat_map(|report| &report.clusters);
    let cluster = |(position, name): (usize, &Arc<str>)| {
        let report = reports.clone().find(|report| report.name == *name);
        OverviewCluster {
            name: plain(name),
            stale_since: metrics.clusters.stale_since_of(position).map(timestamp),
            stale_because: metrics
                .clusters
                .stale_because_of(position)
                .map(|why| plain(&why)),
            not_watched: report.map_or_else(Vec::new, |report| not_watched(&report.missing)),
        }
    };
    let names = config.clusters.iter().map(|cluster| &cluster.name);
    let clusters = names.enumerate().map(cluster).collect();
    let Some(report) = &snapshot.report else {
        return Some(OverviewKubernetes {
            stale_since,
            stale_because,
            clusters,
            ..OverviewKubernetes::default()
        });
    };
    let saved = report.saved_state.as_ref();
    let unreadable = report.unreadable_objects.iter().take(FEW_NAMES);
    Some(OverviewKubernetes {
        in_sync: stale_since.is_none() && saved.is_none(),
        last_change: Some(timestamp(report.at)),
        stale_since,
        stale_because,
        saved_confirmed: saved.map(|saved| timestamp(saved.confirmed)),
        saved_kinds: saved
            .map(|saved| saved.kinds.iter().map(|kind| (*kind).to_owned()).collect())
            .unwrap_or_default(),
        not_watched: not_watched(&report.missing),
        clusters,
        exported_routes: report.exported_routes,
        gateway_routes: report.gateway_routes,
        unrouted_hosts: report.unrouted_hosts,
        skipped_names: report.skipped_names,
        unreadable: unreadable.map(|object| plain(object)).collect(),
    })
}

fn not_watched(missing: &[(&'static str, Arc<str>)]) -> Vec<NotWatched> {
    let one = |(kind, reason): &(&'static str, Arc<str>)| NotWatched {
        kind: (*kind).to_owned(),
        reason: plain(reason),
    };
    missing.iter().map(one).collect()
}

fn state(context: &AdminContext, open: u64, snapshot: &Snapshot) -> OverviewState {
    let check = context.readiness.check();
    let phase = context.readiness.phase();
    let words = match (phase, &check) {
        (DrainPhase::Running, Ok(())) => "ready",
        (DrainPhase::Running, Err(_)) => "not ready",
        (DrainPhase::Announced, _) => "draining: not ready, still accepting",
        (DrainPhase::Draining { .. }, _) => "draining: listeners closed",
        (DrainPhase::Stopped, _) => "stopped",
    };
    let mut reasons = Vec::new();
    for missing in check.as_ref().err().into_iter().flatten() {
        reasons.push(plain(&missing.summary));
        let names = missing.names.iter().take(FEW_NAMES);
        reasons.extend(names.map(|name| plain(name)));
    }
    let steps = OverloadCause::ALL.iter().filter_map(|cause| {
        let words = context.overload.step(*cause).get().words()?;
        Some(format!("Overloaded ({}): {words}", cause.label()))
    });
    let hung = context.readiness.live().err().unwrap_or_default();
    let left = |deadline: tokio::time::Instant| {
        clock::millis(deadline.saturating_duration_since(tokio::time::Instant::now()))
    };
    let drain = match phase {
        DrainPhase::Running => None,
        DrainPhase::Announced => Some((false, None)),
        DrainPhase::Draining { deadline } => Some((true, Some(left(deadline)))),
        DrainPhase::Stopped => Some((true, None)),
    };
    let config = &snapshot.config.drain;
    OverviewState {
        ready: check.is_ok(),
        words: words.to_owned(),
        reasons,
        process: steps.chain(hung).collect(),
        drain: drain.map(|(listeners_closed, left_ms)| OverviewDrain {
            listeners_closed,
            left_ms,
            connections_left: open,
        }),
        readiness_delay_ms: clock::millis(config.readiness_delay),
        drain_window_ms: clock::millis(config.window),
    }
}

/// Upstreams whose source answers with a failure, or not at all. That of Kubernetes is told in one.
fn silent_sources(snapshot: &Snapshot) -> Vec<SilentSource> {
    let found = snapshot.upstreams.iter().filter_map(|(name, upstream)| {
        if matches!(upstream.config().source, UpstreamSource::Kubernetes(_)) {
            return None;
        }
        let error = upstream.source_report().last_error?;
        Some(SilentSource {
            upstream: name.to_string(),
            error: plain(&error),
            since: upstream.stale_since().map(timestamp),
        })
    });
    found.collect()
}
