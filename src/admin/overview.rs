//! The overview: one value that says how the running gateway is, for people and programs.
//!
//! It is taken without stopping a worker: counters are read as a scrape reads them, and workers answer for their
//! connections between other work. The status page shows it as HTML, as text and as JSON, so no number exists in
//! one of them alone. A program reads the JSON with the same types.
//!
//! Rates of now are over the time since the last look but one of [`history`]: one to two minutes, up to this moment.

pub mod history;
mod judge;
mod rows;
mod tables;
mod take;
mod traffic;
mod troubles;
pub(super) mod view;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub(super) use judge::NEAR;
pub use tables::{
    ConnectionRow, EndpointRow, FailureRow, FlowRow, GroupRow, LimitRow, LostLinesRow, RouteRow,
    SlowConnectRow, UnroutedRow,
};
pub(super) use take::take;
pub(super) use troubles::{limit_amount, limit_in_words};
pub use view::MOST_ROWS;

/// The state of a gateway at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    /// The process that it is about.
    pub identity: OverviewIdentity,
    /// The config in force.
    pub configuration: OverviewConfiguration,
    /// Whether the gateway is ready, or on its way out.
    pub state: OverviewState,
    /// Everything that is wrong, the most urgent first.
    pub troubles: RowPage<Trouble>,
    /// The sums of all traffic.
    pub traffic: OverviewTraffic,
    /// The ends of connections, by outcome.
    pub outcomes: Vec<OutcomeRow>,
    /// The routes, troubled ones first.
    pub routes: RowPage<RouteRow>,
    /// Source groups with their traffic.
    pub groups: Vec<GroupRow>,
    /// The traffic of each source group to each route of [`Overview::map`].
    pub flows: Vec<FlowRow>,
    /// The routes of the service map: those with trouble and those with most traffic.
    pub map: Vec<RouteRow>,
    /// Endpoints, troubled ones first. An upstream without any has one row.
    pub endpoints: RowPage<EndpointRow>,
    /// Limits, the fullest first.
    pub limits: RowPage<LimitRow>,
    /// The last connections that failed, the newest first. Those that are alike are one row.
    pub failures: RowPage<FailureRow>,
    /// Open connections, those with most bytes first.
    pub connections: RowPage<ConnectionRow>,
    /// Workers that have not answered about their connections.
    pub unanswered_workers: Vec<usize>,
    /// Names that are known and not routed, with the reason.
    pub unrouted: RowPage<UnroutedRow>,
    /// The slowest connects of the last ten minutes, the slowest first.
    pub slow_connects: RowPage<SlowConnectRow>,
    /// The logs that have lost lines since the start.
    pub lost_log_lines: Vec<LostLinesRow>,
}

/// Some rows of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowPage<T> {
    /// Rows that there are.
    pub all: usize,
    /// Those that the question takes.
    pub matched: usize,
    /// The position of the first row here among those, from 0.
    pub first: usize,
    /// The rows.
    pub rows: Vec<T>,
}

impl<T> Default for RowPage<T> {
    fn default() -> Self {
        Self {
            all: 0,
            matched: 0,
            first: 0,
            rows: Vec::new(),
        }
    }
}

/// The process that an overview is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverviewIdentity {
    /// The name of the pod, or of the host.
    pub pod: Option<String>,
    /// The namespace of the pod, if the environment names it.
    pub namespace: Option<String>,
    /// The node, if the environment names it.
    pub node: Option<String>,
    /// The zone, if it is known.
    pub zone: Option<String>,
    /// The version of strait.
    pub version: String,
    /// The commit that it was built from.
    pub commit: String,
    /// The time of the overview, RFC 3339.
    pub now: String,
    /// The start of the process, RFC 3339.
    pub started: String,
    /// Whole seconds since then.
    pub uptime_seconds: u64,
    /// Worker threads.
    pub workers: usize,
}

/// The config in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverviewConfiguration {
    /// The number of configs that have been in force, with this one.
    pub generation: Option<u64>,
    /// The hash of its file.
    pub sha256: Option<String>,
    /// The path of its file.
    pub file: Option<String>,
    /// The time when it came into force, RFC 3339.
    pub loaded: Option<String>,
    /// The differences from the config before, each in a few words.
    pub changes: Vec<String>,
    /// The newest file, if it was refused.
    pub refused: Option<OverviewRefusedFile>,
    /// The number of keys whose change needs a restart.
    pub restart_pending: u64,
    /// The names of some of these keys.
    pub restart_keys: Vec<String>,
    /// The listeners.
    pub listeners: Vec<ListenerRow>,
    /// The Kubernetes source; `None` without one.
    pub kubernetes: Option<OverviewKubernetes>,
}

/// A config file that is not in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverviewRefusedFile {
    /// The time of the refusal, RFC 3339, if it is known.
    pub at: Option<String>,
    /// Problems that it has.
    pub problem_count: usize,
    /// The first problems.
    pub problems: Vec<OverviewProblem>,
}

/// A problem of a refused file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverviewProblem {
    /// The line, from 1.
    pub line: Option<u64>,
    /// The column, from 1.
    pub column: Option<u64>,
    /// The path of the key.
    pub key: Option<String>,
    /// The fault, and the remedy.
    pub message: String,
}

/// A listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerRow {
    /// Its name.
    pub name: String,
    /// The address in the config.
    pub configured: String,
    /// The address that is bound.
    pub bound: Option<SocketAddr>,
    /// Its routes.
    pub routes: usize,
}

/// The Kubernetes source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverviewKubernetes {
    /// Whether everything that routing needs of this cluster is listed and followed.
    pub in_sync: bool,
    /// The time of the last change, RFC 3339; `None` before the first list.
    pub last_change: Option<String>,
    /// The time from which on changes of this cluster may be unknown, RFC 3339.
    pub stale_since: Option<String>,
    /// The server of its API and the reason, if they are unknown.
    #[serde(default)]
    pub stale_because: Option<String>,
    /// The time when the API last confirmed the saved state that is in force, RFC 3339.
    pub saved_confirmed: Option<String>,
    /// The kinds that come from the saved state.
    pub saved_kinds: Vec<String>,
    /// Kinds that are not watched, with the reason.
    pub not_watched: Vec<NotWatched>,
    /// The other clusters of the mesh.
    pub clusters: Vec<OverviewCluster>,
    /// Routes of exports.
    pub exported_routes: usize,
    /// Routes of TLSRoutes.
    pub gateway_routes: usize,
    /// Hosts that are known and not exported.
    pub unrouted_hosts: usize,
    /// Names that get no route because of a limit.
    pub skipped_names: usize,
    /// Objects that cannot be read.
    pub unreadable: Vec<String>,
}

/// Another cluster of the mesh.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverviewCluster {
    /// Its name.
    pub name: String,
    /// The time from which on its changes may be unknown, RFC 3339.
    pub stale_since: Option<String>,
    /// The server of its API and the reason, if they are unknown.
    #[serde(default)]
    pub stale_because: Option<String>,
    /// Kinds that are not watched there, with the reason.
    pub not_watched: Vec<NotWatched>,
}

/// A kind of object that is not watched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotWatched {
    /// The kind.
    pub kind: String,
    /// The reason.
    pub reason: String,
}

/// Whether the gateway is ready, or on its way out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverviewState {
    /// The answer of `/healthz/ready`.
    pub ready: bool,
    /// The state in words.
    pub words: String,
    /// The reasons why it is not ready, with the names that belong to each.
    pub reasons: Vec<String>,
    /// Problems of the process itself: overload, a worker that hangs.
    pub process: Vec<String>,
    /// The drain, once it has begun.
    pub drain: Option<OverviewDrain>,
    /// `drain.readiness_delay` in milliseconds.
    pub readiness_delay_ms: u64,
    /// `drain.window` in milliseconds.
    pub drain_window_ms: u64,
}

/// A drain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverviewDrain {
    /// Whether the listeners are closed.
    pub listeners_closed: bool,
    /// Milliseconds until open connections are cut, once listeners are closed.
    pub left_ms: Option<u64>,
    /// Connections that are still open.
    pub connections_left: u64,
}

/// The urgency of a trouble. An earlier one comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TroubleLevel {
    /// The gateway is on its way out.
    Draining,
    /// Calls fail.
    Failing,
    /// A config file is refused.
    Refused,
    /// Something is broken and others do its work.
    Contained,
    /// A limit is nearly used up.
    NearLimit,
    /// Something to know.
    Note,
}

impl TroubleLevel {
    /// The level in words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Failing => "failing",
            Self::Refused => "refused",
            Self::Contained => "contained",
            Self::NearLimit => "near a limit",
            Self::Note => "note",
        }
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trouble {
    /// Its urgency.
    pub level: TroubleLevel,
    /// It in a few words.
    pub title: String,
    /// Its evidence.
    pub sentence: String,
    /// Single facts that belong to it, one a line.
    pub details: Vec<String>,
    /// Calls that it costs each second; `None` if that is not known.
    pub lost_per_second: Option<f64>,
    /// Its begin, RFC 3339, if it is known.
    pub since: Option<String>,
    /// The command of strait that shows more, without the name of a pod.
    pub command: Option<String>,
    /// The text to search for, to see what belongs to it.
    pub search: Option<String>,
}

/// A value now and over the last hour.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Spans {
    /// Over the last one to two minutes; `None` if there is no value.
    pub now: Option<f64>,
    /// The mean of up to 10 minutes; `None` before the first full minute.
    pub ten_minutes: Option<f64>,
    /// The mean of up to 60 minutes.
    pub hour: Option<f64>,
    /// The largest of up to 60 minutes.
    pub most: Option<f64>,
    /// Up to 60 minutes, the oldest first. A minute without a value is `None`.
    pub minutes: Vec<Option<f64>>,
}

/// The sums of all traffic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OverviewTraffic {
    /// Full minutes that are known, at most 60.
    pub minutes_known: usize,
    /// The end of the last full minute, RFC 3339.
    pub minute_ended: Option<String>,
    /// Seconds that the rates of now are over.
    pub now_seconds: f64,
    /// Connections since the start, without probes.
    pub connections: u64,
    /// Probes since the start.
    pub probes: u64,
    /// Connections that failed since the start.
    pub failed: u64,
    /// New connections a second, without probes.
    pub new_per_second: Spans,
    /// Connections that fail, a second.
    pub failing_per_second: Spans,
    /// Those among them that the gateway refused.
    pub refused_per_second: Spans,
    /// Open connections.
    pub open: Spans,
    /// Bytes a second to the upstreams.
    pub to_upstream_per_second: Spans,
    /// Bytes a second to the downstreams.
    pub to_downstream_per_second: Spans,
    /// The time in milliseconds that 99 percent of connects do not exceed, as far as buckets tell.
    pub connect_p99_ms: Spans,
}

/// The ends of connections with one outcome.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OutcomeRow {
    /// The outcome.
    pub outcome: String,
    /// Envoy's response flag.
    pub flag: String,
    /// `well`, `refused` or `failed`.
    pub class: String,
    /// The meaning.
    pub meaning: String,
    /// In the last one to two minutes.
    pub now: u64,
    /// In up to 10 full minutes.
    pub ten_minutes: Option<u64>,
    /// In up to 60 full minutes.
    pub hour: Option<u64>,
    /// Since the start.
    pub total: u64,
    /// The route that most of the last ones were for.
    pub place: Option<String>,
    /// Up to 60 minutes, the oldest first.
    pub minutes: Vec<u64>,
}
