//! The answers of the admin API as rows.

use std::collections::HashMap;

use serde::Deserialize;

use super::cell::{TopCell, float};
use super::view::{TopMark, TopRow, TopSubject};
use crate::admin::overview::{EndpointRow, RouteRow, Trouble, TroubleLevel};
use crate::cli::client::table::duration;
use crate::cli::count;

/// Counters as they were in an earlier answer.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    /// The time since that answer, in milliseconds.
    pub(super) elapsed: u64,
    pub(super) counts: HashMap<String, [u64; 3]>,
}

impl Earlier {
    /// The growth of a row's counters in a second. Nothing of a row that is new, of one whose counters went back (a
    /// connection of a source has ended, the gateway has started again), and of no time.
    fn rates(&self, row: &TopRow) -> [Option<f64>; 3] {
        let before = self.counts.get(&row.key).filter(|_| self.elapsed > 0);
        let Some(before) = before else {
            return [None; 3];
        };
        let mut rates = [None; 3];
        for ((rate, now), before) in rates.iter_mut().zip(row.counts).zip(before) {
            let grown = now.checked_sub(*before);
            *rate = grown.map(|grown| float(grown) * 1000.0 / float(self.elapsed));
        }
        rates
    }

    /// The same of bytes, in whole ones.
    fn bytes(&self, row: &TopRow) -> [TopCell; 2] {
        let before = self.counts.get(&row.key).filter(|_| self.elapsed > 0);
        [1, 2].map(|index| {
            let (now, before) = (row.counts.get(index), before.and_then(|all| all.get(index)));
            let grown = now.zip(before).and_then(|(now, old)| now.checked_sub(*old));
            let rate = grown.map(|grown| grown.saturating_mul(1000) / self.elapsed);
            TopCell::of(rate, TopCell::BytesPerSecond)
        })
    }
}

/// `GET /connections`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct TopConnections {
    pub(super) open: u64,
    #[serde(default)]
    connections: Vec<TopConnection>,
}

#[derive(Debug, Default, Deserialize)]
struct TopConnection {
    id: u64,
    #[serde(default)]
    listener: String,
    source: String,
    #[serde(default)]
    source_group: String,
    server_name: Option<String>,
    alpn: Option<String>,
    route: Option<String>,
    upstream: Option<String>,
    endpoint: Option<String>,
    upstream_local: Option<String>,
    #[serde(default)]
    state: String,
    handshake: Option<String>,
    tls_version: Option<String>,
    #[serde(default)]
    start: String,
    age_ms: u64,
    idle_ms: u64,
    to_upstream_bytes: u64,
    to_downstream_bytes: u64,
}

impl TopConnections {
    #[cfg(test)]
    pub(super) fn remove(&mut self, index: usize) {
        self.connections.remove(index);
    }

    pub(super) fn rows(self, earlier: &Earlier) -> Vec<TopRow> {
        let rows = self.connections.into_iter();
        rows.map(|one| one.row(earlier)).collect()
    }
}

impl TopConnection {
    fn row(self, earlier: &Earlier) -> TopRow {
        let mut row = TopRow {
            key: self.id.to_string(),
            counts: [0, self.to_upstream_bytes, self.to_downstream_bytes],
            details: self.details(),
            ..TopRow::default()
        };
        let [up, down] = earlier.bytes(&row);
        row.cells = vec![
            TopCell::Text(self.id.to_string()),
            TopCell::Text(self.source.clone()),
            TopCell::Text(self.source_group),
            TopCell::text(self.route),
            TopCell::Time(self.age_ms),
            TopCell::Bytes(self.to_upstream_bytes),
            TopCell::Bytes(self.to_downstream_bytes),
            TopCell::Time(self.idle_ms),
            TopCell::Text(self.state),
            up,
            down,
            TopCell::text(self.endpoint.as_deref()),
            TopCell::text(self.server_name.as_deref()),
        ];
        row.subject = TopSubject::Connection {
            id: self.id,
            listener: self.listener,
            source: self.source,
            server_name: self.server_name,
            alpn: self.alpn,
            endpoint: self.endpoint,
        };
        row
    }

    fn details(&self) -> [String; 2] {
        let said = |text: &Option<String>, none: &str| text.clone().unwrap_or(none.to_owned());
        let endpoint = said(&self.endpoint, "no endpoint yet");
        let upstream = self.upstream.as_deref();
        let upstream = upstream.map_or_else(String::new, |name| format!(" of {name}"));
        let local = self.upstream_local.as_deref();
        let local = local.map_or_else(String::new, |local| format!(", from {local}"));
        let first = format!(
            "{}  {} -> {endpoint}{upstream}{local}; since {}",
            self.id, self.source, self.start
        );
        let version = self.tls_version.as_deref();
        let version = version.map_or_else(String::new, |version| format!(", TLS {version}"));
        let second = format!(
            "{}  ALPN {}{version}, handshake {}; no byte for {}",
            said(&self.server_name, "no server name yet"),
            said(&self.alpn, "none"),
            said(&self.handshake, "not seen"),
            duration(self.idle_ms),
        );
        [first, second]
    }
}

/// `GET /sources`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct TopSources {
    /// Sources that there are.
    #[serde(default)]
    pub(super) sources_open: u64,
    #[serde(default)]
    sources: Vec<OneTopSource>,
}

#[derive(Debug, Default, Deserialize)]
struct OneTopSource {
    source: String,
    #[serde(default)]
    source_group: String,
    open: u64,
    to_upstream_bytes: u64,
    to_downstream_bytes: u64,
    /// Nothing of a source without an open connection.
    oldest_ms: Option<u64>,
}

impl TopSources {
    /// The rows of the sources that have an open connection. The gateway lists others too, for a while.
    pub(super) fn rows(self, earlier: &Earlier) -> Vec<TopRow> {
        let row = |one: OneTopSource| {
            let oldest = one.oldest_ms.map(duration);
            let oldest = oldest.map_or_else(String::new, |age| format!(", the oldest for {age}"));
            let first = format!(
                "{} of {}: {}{oldest}",
                one.source,
                one.source_group,
                connections(one.open),
            );
            let second = "Bytes are those of its open connections. Enter shows them.".to_owned();
            let mut row = TopRow {
                key: one.source.clone(),
                counts: [0, one.to_upstream_bytes, one.to_downstream_bytes],
                details: [first, second],
                subject: TopSubject::Source {
                    address: one.source.clone(),
                    open: one.open,
                },
                ..TopRow::default()
            };
            let [up, down] = earlier.bytes(&row);
            row.cells = vec![
                TopCell::Text(one.source),
                TopCell::Text(one.source_group),
                TopCell::Count(one.open),
                up,
                down,
                TopCell::Bytes(one.to_upstream_bytes),
                TopCell::Bytes(one.to_downstream_bytes),
                TopCell::of(one.oldest_ms, TopCell::Time),
            ];
            row
        };
        let open = self.sources.into_iter().filter(|one| one.open > 0);
        open.map(row).collect()
    }
}

/// A number of open connections in words.
pub(super) fn connections(open: u64) -> String {
    let open = usize::try_from(open).unwrap_or(usize::MAX);
    count(open, "open connection")
}

/// The routes of an overview.
pub(super) fn route_rows(routes: Vec<RouteRow>) -> Vec<TopRow> {
    routes.into_iter().map(route_row).collect()
}

fn route_row(one: RouteRow) -> TopRow {
    let mark = match &*one.state {
        "failing" | "unready" => TopMark::Failing,
        "some" => TopMark::Contained,
        _ => TopMark::None,
    };
    let upstreams = one.upstreams.join(", ");
    let first = format!(
        "{} of {}: {} to {upstreams}; {} connections so far, {} failed",
        one.route,
        one.listener,
        connections(one.open),
        one.total,
        one.failed,
    );
    let mut second = format!("ALPN {}; of {}", one.alpn, one.origin);
    if let Some(why) = &one.empty_because {
        second = format!("no endpoint: {why}; {second}");
    }
    TopRow {
        key: format!("{} {}", one.listener, one.route),
        mark,
        details: [first, second],
        subject: TopSubject::Route {
            name: one.route.clone(),
            listener: one.listener.clone(),
            upstreams: one.upstreams,
            open: one.open,
        },
        cells: vec![
            TopCell::Text(one.route),
            TopCell::Text(one.listener),
            TopCell::Text(format!("{}/{}", one.ready_endpoints, one.endpoints)),
            TopCell::Count(one.open),
            TopCell::PerSecond(one.new_per_second),
            TopCell::of(one.failing_share, TopCell::Share),
            bytes_per_second(one.to_upstream_per_second),
            bytes_per_second(one.to_downstream_per_second),
            TopCell::Text(upstreams),
        ],
        ..TopRow::default()
    }
}

/// A number of bytes that came as a fraction.
pub(super) fn bytes_per_second(rate: f64) -> TopCell {
    let digits = format!("{:.0}", rate.max(0.0));
    TopCell::of(digits.parse().ok(), TopCell::BytesPerSecond)
}

/// The endpoints of an overview.
pub(super) fn endpoint_rows(endpoints: Vec<EndpointRow>, earlier: &Earlier) -> Vec<TopRow> {
    let rows = endpoints.into_iter();
    rows.map(|one| endpoint_row(one, earlier)).collect()
}

fn endpoint_row(one: EndpointRow, earlier: &Earlier) -> TopRow {
    let address = one.address.map(|address| address.to_string());
    let mark = match &*one.state {
        "ready" => TopMark::None,
        "drained" | "terminating" => TopMark::Note,
        "ejected" => TopMark::Contained,
        _ => TopMark::Failing,
    };
    let mut row = TopRow {
        key: format!(
            "{} {}",
            one.upstream,
            address.as_deref().unwrap_or_default()
        ),
        mark,
        counts: [
            one.connections,
            one.to_upstream_bytes,
            one.to_downstream_bytes,
        ],
        details: endpoint_details(&one, address.as_deref()),
        ..TopRow::default()
    };
    let [new, ..] = earlier.rates(&row);
    row.cells = vec![
        TopCell::Text(one.upstream.clone()),
        TopCell::text(address.clone()),
        TopCell::Text(one.state.clone()),
        TopCell::Count(one.active),
        TopCell::of(new, TopCell::PerSecond),
        TopCell::Count(one.failed_connects),
        TopCell::Count(one.failed_before_reply),
        TopCell::Count(one.refused_handshakes),
        TopCell::of(one.connect_p99_ms, TopCell::Milliseconds),
        TopCell::text(one.last_failure.as_deref().map(time_of)),
        TopCell::text(one.zone),
        TopCell::text(one.node),
    ];
    if let Some(address) = address {
        row.subject = TopSubject::Endpoint {
            upstream: one.upstream,
            address,
            state: one.state,
            open: one.active,
        };
    }
    row
}

fn endpoint_details(one: &EndpointRow, address: Option<&str>) -> [String; 2] {
    let upstream = &one.upstream;
    let Some(address) = address else {
        let why = one.reason.clone().unwrap_or_default();
        return [format!("{upstream} has no endpoint"), why];
    };
    let first = format!(
        "{address} of {upstream}: {} connections, {} not made, {} ended before a reply, {} handshakes refused",
        one.connections, one.failed_connects, one.failed_before_reply, one.refused_handshakes,
    );
    let mut parts: Vec<String> = one.reason.iter().cloned().collect();
    if let Some(left) = one.ejection_left_ms {
        parts.push(format!("ejected for another {}", duration(left)));
    }
    if let Some(left) = one.drain_left_ms {
        parts.push(format!("drained for another {}", duration(left)));
    }
    if one.ejections > 0 {
        let times = usize::try_from(one.ejections).unwrap_or(usize::MAX);
        parts.push(format!("ejected {} so far", count(times, "time")));
    }
    if let Some(last) = &one.last_failure {
        let outcome = one.last_outcome.as_deref().unwrap_or_default();
        parts.push(format!("last failure {last} {outcome}"));
    }
    match parts.is_empty() {
        true => [first, "it has not failed".to_owned()],
        false => [first, parts.join("; ")],
    }
}

/// The troubles of an overview.
pub(super) fn trouble_rows(troubles: &[Trouble]) -> Vec<TopRow> {
    let row = |one: &Trouble| {
        let since = one.since.as_deref();
        let since = since.map_or_else(String::new, |since| format!("; since {since}"));
        TopRow {
            key: format!("{} {}", one.level.words(), one.title),
            mark: mark_of(one.level),
            cells: vec![
                TopCell::Text(one.level.words().to_owned()),
                TopCell::Text(one.title.clone()),
                TopCell::text(one.command.clone()),
            ],
            details: [format!("{}{since}", one.sentence), one.details.join("; ")],
            subject: TopSubject::Text(trouble_text(one, &since)),
            ..TopRow::default()
        }
    };
    troubles.iter().map(row).collect()
}

fn trouble_text(one: &Trouble, since: &str) -> Vec<String> {
    let mut lines = vec![
        format!("{}: {}", one.level.words(), one.title),
        format!("{}{since}", one.sentence),
    ];
    lines.extend(one.details.iter().cloned());
    if let Some(lost) = one.lost_per_second {
        let lost = TopCell::PerSecond(lost).shown();
        lines.push(format!("It costs {lost} calls a second."));
    }
    if let Some(command) = &one.command {
        lines.push(String::new());
        lines.push(format!("This shows more: {command}"));
    }
    lines
}

pub(super) fn mark_of(level: TroubleLevel) -> TopMark {
    match level {
        TroubleLevel::Draining | TroubleLevel::Failing => TopMark::Failing,
        TroubleLevel::Refused => TopMark::Refused,
        TroubleLevel::Contained => TopMark::Contained,
        TroubleLevel::NearLimit => TopMark::NearLimit,
        TroubleLevel::Note => TopMark::Note,
    }
}

/// The time of day of an RFC 3339 time.
pub(super) fn time_of(at: &str) -> String {
    let time = at.split_once('T').map_or(at, |(_, time)| time);
    time.chars().take(8).collect()
}
