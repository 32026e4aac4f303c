//! Traffic: the sums, the routes and the source groups, from counters and the history.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::history::{
    Counters, MINUTES, Minute, Past, RouteKey, TrafficCounts, TrafficHistory, float,
};
use super::judge::{route_state, share, urgency};
use super::rows::{UpstreamNumbers, most_first, turned};
use super::view::{SortKey, View};
use super::{FailureRow, FlowRow, GroupRow, OutcomeRow, OverviewTraffic, RouteRow, RowPage, Spans};
use crate::admin::Snapshot;
use crate::admin::dump::timestamp;
use crate::config::{OTHER_SOURCES, RouteConfig};
use crate::metrics::{NONE, SeriesKey};
use crate::names::UpstreamName;
use crate::outcome::Outcome;

/// Routes on the service map.
pub(super) const MAP_ROUTES: usize = 12;

/// The counters now, and what they have grown by since the last look but one.
pub(super) struct Readings<'a> {
    pub(super) past: &'a Past,
    pub(super) counters: Counters,
    /// Seconds since the last look but one.
    pub(super) seconds: f64,
}

impl<'a> Readings<'a> {
    pub(super) fn new(past: &'a Past, counters: Counters, now: Instant) -> Self {
        let begin = past.base().0;
        let seconds = now.saturating_duration_since(begin).as_secs_f64();
        Self {
            past,
            counters,
            seconds: seconds.max(1.0),
        }
    }

    /// The counts of a series since the last look but one.
    fn recent(&self, key: &SeriesKey) -> TrafficCounts {
        self.counters.of(key).since(self.past.base().1.of(key))
    }

    pub(super) fn rate(&self, count: u64) -> f64 {
        float(count) / self.seconds
    }
}

/// The counts of a route, or of any other part of the traffic.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TrafficPart {
    pub(super) recent: TrafficCounts,
    pub(super) total: TrafficCounts,
    pub(super) open: u64,
}

impl TrafficPart {
    fn add(&mut self, other: Self) {
        self.recent.add(other.recent);
        self.total.add(other.total);
        self.open += other.open;
    }
}

/// The parts of the traffic.
#[derive(Debug, Default)]
pub(super) struct TrafficParts {
    pub(super) all: TrafficPart,
    pub(super) routes: HashMap<RouteKey, TrafficPart>,
    pub(super) groups: BTreeMap<String, TrafficPart>,
    /// By source group and route.
    pub(super) flows: HashMap<(String, RouteKey), TrafficPart>,
    /// The connections that were refused before a route.
    pub(super) before_route: TrafficPart,
}

impl TrafficParts {
    /// All traffic, or only that of one source group.
    pub(super) fn new(readings: &Readings<'_>, group: Option<&str>) -> Self {
        let mut parts = Self::default();
        for (key, total) in &readings.counters.series {
            if group.is_some_and(|group| *key.source != *group) {
                continue;
            }
            let part = TrafficPart {
                recent: readings.recent(key),
                total: *total,
                open: readings.counters.open.get(key).copied().unwrap_or(0),
            };
            let route = (key.listener.clone(), key.route.clone());
            parts.all.add(part);
            let own = parts.groups.entry(key.source.to_string()).or_default();
            own.add(part);
            let flow = (key.source.to_string(), route.clone());
            parts.flows.entry(flow).or_default().add(part);
            if &*key.route == NONE {
                parts.before_route.add(part);
            } else {
                parts.routes.entry(route).or_default().add(part);
            }
        }
        parts
    }
}

fn spans(
    minutes: &[Minute],
    now: Option<f64>,
    is_rate: bool,
    value: impl Fn(&Minute) -> Option<f64>,
) -> Spans {
    let values: Vec<Option<f64>> = minutes.iter().map(value).collect();
    let mean = |last: usize| {
        let skipped = values.len().saturating_sub(last);
        let pairs = values.iter().zip(minutes).skip(skipped);
        let known = pairs.filter_map(|(value, minute)| {
            let weight = if is_rate { minute.seconds } else { 1.0 };
            value.map(|value| (value * weight, weight))
        });
        let (sum, weight) = known.fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        (weight > 0.0).then(|| sum / weight)
    };
    Spans {
        now,
        ten_minutes: mean(10),
        hour: mean(MINUTES),
        most: values.iter().copied().flatten().reduce(f64::max),
        minutes: values,
    }
}

/// The sums of all traffic.
pub(super) fn traffic(readings: &Readings<'_>, all: &TrafficPart) -> OverviewTraffic {
    let minutes: Vec<Minute> = readings.past.minutes.iter().cloned().collect();
    let rate = |pick: fn(&TrafficCounts) -> u64| {
        let of_minute =
            move |minute: &Minute| Some(float(pick(&minute.counts)) / minute.seconds.max(1.0));
        let now = readings.rate(pick(&all.recent));
        spans(&minutes, Some(now), true, of_minute)
    };
    let base = &readings.past.base().1;
    OverviewTraffic {
        minutes_known: minutes.len(),
        minute_ended: minutes.last().map(|minute| timestamp(minute.ended)),
        now_seconds: readings.seconds,
        connections: all.total.new_ones(),
        probes: all.total.probes,
        failed: all.total.failing(),
        new_per_second: rate(TrafficCounts::new_ones),
        failing_per_second: rate(TrafficCounts::failing),
        refused_per_second: rate(|counts| counts.refused),
        open: spans(&minutes, Some(float(all.open)), false, |minute| {
            Some(float(minute.open))
        }),
        to_upstream_per_second: rate(|counts| counts.to_upstream),
        to_downstream_per_second: rate(|counts| counts.to_downstream),
        connect_p99_ms: spans(
            &minutes,
            readings.counters.connect_p99_ms_since(base),
            false,
            |minute| minute.connect_p99_ms,
        ),
    }
}

/// The outcomes that have happened.
pub(super) fn outcomes(readings: &Readings<'_>, failures: &[FailureRow]) -> Vec<OutcomeRow> {
    let minutes = &readings.past.minutes;
    let recent = readings.counters.outcomes_since(&readings.past.base().1);
    let row = |outcome: &Outcome| {
        let place = outcome.index();
        let of_minute =
            |minute: &Minute| u64::from(minute.outcomes.get(place).copied().unwrap_or(0));
        let counts: Vec<u64> = minutes.iter().map(of_minute).collect();
        let last = |count: usize| {
            let last = counts.iter().rev().take(count);
            (!counts.is_empty()).then(|| last.sum())
        };
        OutcomeRow {
            outcome: outcome.label().to_owned(),
            flag: outcome.envoy_flag().to_owned(),
            class: outcome.class().label().to_owned(),
            meaning: outcome.meaning().to_owned(),
            now: recent.get(place).copied().unwrap_or(0),
            ten_minutes: last(10),
            hour: last(MINUTES),
            total: readings.counters.outcomes.get(place).copied().unwrap_or(0),
            place: most_common_place(failures, outcome.label()),
            minutes: counts,
        }
    };
    let mut rows: Vec<OutcomeRow> = Outcome::ALL.iter().map(row).collect();
    rows.retain(|row| row.total > 0);
    let class = |row: &OutcomeRow| row.class == "well";
    rows.sort_by(|one, other| {
        let counts = |row: &OutcomeRow| (row.hour.unwrap_or(0) + row.now, row.total);
        let by_count = counts(other).cmp(&counts(one));
        class(one).cmp(&class(other)).then(by_count)
    });
    rows
}

/// The route that most of the last failures with an outcome were for.
fn most_common_place(failures: &[FailureRow], outcome: &str) -> Option<String> {
    let of_outcome = failures.iter().filter(|failure| failure.outcome == outcome);
    most_common(of_outcome.map(|failure| failure.route.as_deref().unwrap_or("before a route")))
}

/// The text that comes most often; of equal ones the first.
pub(super) fn most_common<'a>(texts: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for text in texts {
        match counts.iter_mut().find(|(known, _)| *known == text) {
            Some((_, count)) => *count += 1,
            None => counts.push((text, 1)),
        }
    }
    let most = counts.iter().rev().max_by_key(|(_, count)| *count);
    most.map(|(text, _)| (*text).to_owned())
}

/// Every route of the config, and those that still have connections of an earlier config.
pub(super) fn routes(
    snapshot: &Snapshot,
    readings: &Readings<'_>,
    parts: &TrafficParts,
    numbers: &HashMap<UpstreamName, UpstreamNumbers>,
    minutes: bool,
) -> Vec<RouteRow> {
    let mut rows = Vec::new();
    let mut left = parts.routes.clone();
    for listener in &snapshot.config.listeners {
        for route in listener.routes.iter() {
            let key = (listener.name.clone(), route.name.clone());
            let part = left.remove(&key).unwrap_or_default();
            let mut row = counted(readings, &key, &part, minutes);
            describe(&mut row, &route, numbers);
            rows.push(row);
        }
    }
    for (key, part) in left {
        let mut row = counted(readings, &key, &part, minutes);
        row.state = "gone".to_owned();
        row.origin = "an earlier config".to_owned();
        rows.push(row);
    }
    rows
}

fn counted(
    readings: &Readings<'_>,
    key: &RouteKey,
    part: &TrafficPart,
    with_minutes: bool,
) -> RouteRow {
    let (recent, total) = (&part.recent, &part.total);
    let known = readings.past.routes.get(key).filter(|_| with_minutes);
    let (minutes, failing_minutes) = match known {
        Some(minutes) => minutes.last(MINUTES).unzip(),
        None => (Vec::new(), Vec::new()),
    };
    RouteRow {
        listener: key.0.to_string(),
        route: key.1.to_string(),
        new_per_second: readings.rate(recent.new_ones()),
        failing_per_second: readings.rate(recent.failing()),
        failing_share: share(recent.failing(), recent.ended),
        open: part.open,
        to_upstream_per_second: readings.rate(recent.to_upstream),
        to_downstream_per_second: readings.rate(recent.to_downstream),
        total: total.new_ones(),
        failed: total.failing(),
        minutes,
        failing_minutes,
        state: route_state(recent.failing(), recent.ended, 1).to_owned(),
        ..RouteRow::default()
    }
}

fn describe(
    row: &mut RouteRow,
    route: &Arc<RouteConfig>,
    numbers: &HashMap<UpstreamName, UpstreamNumbers>,
) {
    row.alpn = route.alpn.to_string();
    row.origin = route.origin.to_string();
    for target in route.targets.iter() {
        row.upstreams.push(target.upstream.to_string());
        let Some(numbers) = numbers.get(&target.upstream) else {
            continue;
        };
        row.ready_endpoints += numbers.ready;
        row.endpoints += numbers.endpoints;
        if row.empty_because.is_none() {
            row.empty_because.clone_from(&numbers.empty_because);
        }
        let slowest = [row.connect_p99_ms, numbers.connect_p99_ms];
        row.connect_p99_ms = slowest.into_iter().flatten().reduce(f64::max);
    }
    if row.state == "ok" && row.ready_endpoints == 0 {
        row.state = "unready".to_owned();
    }
}

/// The page of routes: troubled ones first, then those with most traffic.
pub(super) fn route_page(rows: Vec<RouteRow>, view: &View) -> RowPage<RouteRow> {
    let takes = |row: &RouteRow| {
        let texts = [&*row.listener, &*row.route, &*row.state, &*row.origin];
        let upstreams = row.upstreams.iter().map(String::as_str);
        let group = view.group.is_none() || row.total > 0 || row.open > 0;
        group && view.finds(texts.into_iter().chain(upstreams))
    };
    view.page(rows, takes, |one, other| {
        let chosen = match view.sort {
            Some((key, is_turned)) => turned(compare(key, one, other), is_turned),
            None => Ordering::Equal,
        };
        urgency(&one.state)
            .cmp(&urgency(&other.state))
            .then(chosen)
            .then_with(|| by_traffic(one, other))
    })
}

/// Those that lose most calls first, then by the traffic of the last hour, so that a page that renews itself does not jump.
fn by_traffic(one: &RouteRow, other: &RouteRow) -> Ordering {
    let hour = |row: &RouteRow| row.minutes.iter().copied().map(u64::from).sum::<u64>();
    let traffic = |row: &RouteRow| (hour(row), row.total);
    let lost = |row: &RouteRow| row.failing_per_second;
    most_first(lost(one), lost(other))
        .then_with(|| traffic(other).cmp(&traffic(one)))
        .then_with(|| one.listener.cmp(&other.listener))
        .then_with(|| one.route.cmp(&other.route))
}

fn compare(key: SortKey, one: &RouteRow, other: &RouteRow) -> Ordering {
    match key {
        SortKey::Name => one.route.cmp(&other.route),
        SortKey::Upstream => one.upstreams.cmp(&other.upstreams),
        SortKey::Alpn => one.alpn.cmp(&other.alpn),
        SortKey::Ready => one.ready_endpoints.cmp(&other.ready_endpoints),
        SortKey::Rate => most_first(one.new_per_second, other.new_per_second),
        SortKey::Failing => most_first(
            one.failing_share.unwrap_or(-1.0),
            other.failing_share.unwrap_or(-1.0),
        ),
        SortKey::Open => other.open.cmp(&one.open),
        SortKey::Up => most_first(one.to_upstream_per_second, other.to_upstream_per_second),
        SortKey::Down => most_first(one.to_downstream_per_second, other.to_downstream_per_second),
        SortKey::Connect => most_first(
            one.connect_p99_ms.unwrap_or(-1.0),
            other.connect_p99_ms.unwrap_or(-1.0),
        ),
        SortKey::Total => other.total.cmp(&one.total),
    }
}

/// The routes of the map: each with trouble, then those with most traffic.
pub(super) fn map(rows: &[RouteRow], view: &View) -> Vec<RouteRow> {
    let mut shown: Vec<&RouteRow> = rows.iter().filter(|row| row.total > 0).collect();
    let troubled = |row: &RouteRow| urgency(&row.state) > 0;
    shown.sort_by(|one, other| {
        troubled(one)
            .cmp(&troubled(other))
            .then_with(|| by_traffic(one, other))
    });
    let shown = shown.into_iter().filter(|row| {
        let upstreams = row.upstreams.iter().map(String::as_str);
        view.finds([&*row.route].into_iter().chain(upstreams))
    });
    let mut shown: Vec<RouteRow> = shown.take(MAP_ROUTES).cloned().collect();
    let hour = |row: &RouteRow| row.minutes.iter().copied().map(u64::from).sum::<u64>();
    shown.sort_by_key(|row| std::cmp::Reverse((hour(row), row.total)));
    shown
}

/// The source groups, and their traffic to the routes of the map.
pub(super) fn groups(
    snapshot: &Snapshot,
    readings: &Readings<'_>,
    parts: &TrafficParts,
    map: &[RouteRow],
) -> (Vec<GroupRow>, Vec<FlowRow>) {
    let sources = &snapshot.config.sources;
    let group = |(name, part): (&String, &TrafficPart)| {
        let known = sources.0.iter().find(|group| *group.name == **name);
        let networks = known.map(|group| group.cidrs.iter().map(ToString::to_string).collect());
        let recent = &part.recent;
        GroupRow {
            group: name.clone(),
            networks: networks.unwrap_or_default(),
            new_per_second: readings.rate(recent.new_ones()),
            failing_per_second: readings.rate(recent.failing()),
            open: part.open,
            bytes_per_second: readings.rate(recent.to_upstream + recent.to_downstream),
            total: part.total.new_ones(),
        }
    };
    let mut groups: Vec<GroupRow> = parts.groups.iter().map(group).collect();
    groups.retain(|group| group.total > 0 || group.open > 0);
    groups.sort_by(|one, other| {
        let is_other = |group: &GroupRow| group.group == OTHER_SOURCES;
        let total = other.total.cmp(&one.total);
        is_other(one).cmp(&is_other(other)).then(total)
    });
    let mut flows: BTreeMap<(&str, Option<usize>, bool), TrafficPart> = BTreeMap::new();
    for ((group, key), part) in &parts.flows {
        let place = map
            .iter()
            .position(|row| *row.listener == *key.0 && *row.route == *key.1);
        let flow = flows.entry((group, place, &*key.1 == NONE)).or_default();
        flow.add(*part);
    }
    let flow =
        |((group, route, before_route), part): ((&str, Option<usize>, bool), TrafficPart)| {
            FlowRow {
                group: group.to_owned(),
                route,
                before_route,
                new_per_second: readings.rate(part.recent.new_ones()),
                failing_per_second: readings.rate(part.recent.failing()),
                open: part.open,
                bytes_per_second: readings
                    .rate(part.recent.to_upstream + part.recent.to_downstream),
            }
        };
    (groups, flows.into_iter().map(flow).collect())
}

/// The readings of a history now. `use_them` gets them while no minute can end.
pub(super) fn with_readings<T>(
    history: &TrafficHistory,
    counters: Counters,
    now: Instant,
    use_them: impl FnOnce(&Readings<'_>) -> T,
) -> T {
    let past = history.past();
    use_them(&Readings::new(&past, counters, now))
}
