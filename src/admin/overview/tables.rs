//! The rows of the tables of an overview.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// A route.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RouteRow {
    /// Its listener.
    pub listener: String,
    /// Its name.
    pub route: String,
    /// `failing`, `some` (few fail), `unready` (no endpoint is ready) or `ok`.
    pub state: String,
    /// Its ALPN policy.
    pub alpn: String,
    /// Its upstreams.
    pub upstreams: Vec<String>,
    /// Its origin: the file, or an object.
    pub origin: String,
    /// Endpoints that take connections.
    pub ready_endpoints: usize,
    /// All its endpoints.
    pub endpoints: usize,
    /// The reason why there is none, if it is known.
    pub empty_because: Option<String>,
    /// New connections a second.
    pub new_per_second: f64,
    /// Connections that fail, a second.
    pub failing_per_second: f64,
    /// The failing ones by the ended ones, from 0 to 1; `None` if none has ended.
    pub failing_share: Option<f64>,
    /// Open connections.
    pub open: u64,
    /// Bytes a second to its upstreams.
    pub to_upstream_per_second: f64,
    /// Bytes a second to the downstreams.
    pub to_downstream_per_second: f64,
    /// The largest 99th percentile of its endpoints' connect times, in milliseconds, since each was first used.
    pub connect_p99_ms: Option<f64>,
    /// New connections since the start.
    pub total: u64,
    /// Those that failed.
    pub failed: u64,
    /// New connections in each of up to 60 minutes, the oldest first.
    pub minutes: Vec<u32>,
    /// Connections that failed in each of them.
    pub failing_minutes: Vec<u32>,
}

/// The traffic of a source group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupRow {
    /// Its name.
    pub group: String,
    /// Its networks.
    pub networks: Vec<String>,
    /// New connections a second.
    pub new_per_second: f64,
    /// Connections that fail, a second.
    pub failing_per_second: f64,
    /// Open connections.
    pub open: u64,
    /// Bytes a second both ways.
    pub bytes_per_second: f64,
    /// Connections since the start.
    pub total: u64,
}

/// The traffic of a source group to a route.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FlowRow {
    /// The source group.
    pub group: String,
    /// The position of the route in `Overview::map`; `None` for the other routes together.
    pub route: Option<usize>,
    /// Whether it is what was refused before a route.
    pub before_route: bool,
    /// New connections a second.
    pub new_per_second: f64,
    /// Connections that fail, a second.
    pub failing_per_second: f64,
    /// Open connections.
    pub open: u64,
    /// Bytes a second both ways.
    pub bytes_per_second: f64,
}

/// An endpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EndpointRow {
    /// Its upstream.
    pub upstream: String,
    /// Its address; `None` for an upstream without endpoints.
    pub address: Option<SocketAddr>,
    /// `ready`, `terminating`, `failing` (it takes connections, and many fail), `ejected`, `unhealthy`, `drained`, or
    /// `none`.
    pub state: String,
    /// The reason of the state, if it is known.
    pub reason: Option<String>,
    /// Its zone.
    pub zone: Option<String>,
    /// Its node.
    pub node: Option<String>,
    /// Its pod, the object that it comes from, that object's cluster and the DestinationRule that holds for it, if it
    /// was found in Kubernetes.
    pub origin: Option<String>,
    /// Connections that are open or being opened.
    pub active: u64,
    /// Connections made.
    pub connections: u64,
    /// Attempts to connect that failed.
    pub failed_connects: u64,
    /// Connections that ended before the first reply.
    pub failed_before_reply: u64,
    /// Handshakes that one side refused.
    pub refused_handshakes: u64,
    /// Failures of the last 5 to 10 minutes by attempts, from 0 to 1; `None` without an attempt.
    pub failing_share: Option<f64>,
    /// Ejections.
    pub ejections: u64,
    /// Milliseconds that its ejection lasts.
    pub ejection_left_ms: Option<u64>,
    /// Milliseconds until its drain ends.
    pub drain_left_ms: Option<u64>,
    /// Bytes to it.
    pub to_upstream_bytes: u64,
    /// Bytes from it.
    pub to_downstream_bytes: u64,
    /// The median of connect times, in milliseconds.
    pub connect_p50_ms: Option<f64>,
    /// The 99th percentile.
    pub connect_p99_ms: Option<f64>,
    /// The time of its last failure, RFC 3339.
    pub last_failure: Option<String>,
    /// The outcome of its last failure.
    pub last_outcome: Option<String>,
}

/// A limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LimitRow {
    /// The scope, as in the metric `strait_limit`.
    pub scope: String,
    /// The name of the listener, route, source group or upstream; empty for the process.
    pub name: String,
    /// The limit in a word, as in the metric.
    pub limit: String,
    /// The part that is used.
    pub used: u64,
    /// The limit.
    pub most: u64,
    /// The used part by the limit.
    pub share: f64,
}

/// A connection that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FailureRow {
    /// The time of its end, RFC 3339.
    pub at: String,
    /// Its number.
    pub connection: u64,
    /// Its listener.
    pub listener: String,
    /// Its outcome.
    pub outcome: String,
    /// The client's address.
    pub source: Option<SocketAddr>,
    /// Its source group.
    pub group: String,
    /// The server name that the client sent, escaped as in the access log.
    pub server_name: Option<String>,
    /// Its route.
    pub route: Option<String>,
    /// Its upstream.
    pub upstream: Option<String>,
    /// The endpoint.
    pub endpoint: Option<SocketAddr>,
    /// The party that ended it.
    pub ended_by: String,
    /// `seen` or `inferred`.
    pub confidence: String,
    /// Details of the reason, escaped as in the access log.
    pub detail: Option<String>,
    /// Milliseconds from accept to close.
    pub duration_ms: u64,
    /// Kept failures that the search finds and that differ from this one in no more than time, source and duration; this
    /// is the newest of them.
    pub alike: usize,
    /// Whether its hello had the label of `strait doctor`.
    #[serde(default)]
    pub doctors: bool,
}

/// An open connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionRow {
    /// Its number.
    pub connection: u64,
    /// The client's address.
    pub source: Option<SocketAddr>,
    /// Its source group.
    pub group: String,
    /// The server name.
    pub server_name: Option<String>,
    /// Its route.
    pub route: Option<String>,
    /// Its upstream.
    pub upstream: Option<String>,
    /// Its endpoint.
    pub endpoint: Option<SocketAddr>,
    /// The stage that it has reached.
    pub state: String,
    /// The stage of the TLS handshake.
    pub handshake: Option<String>,
    /// Milliseconds since accept.
    pub age_ms: u64,
    /// Milliseconds since a byte has flowed.
    pub idle_ms: u64,
    /// Bytes to the upstream.
    pub to_upstream_bytes: u64,
    /// Bytes to the downstream.
    pub to_downstream_bytes: u64,
}

/// A name that is known and not routed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnroutedRow {
    /// The listener.
    pub listener: String,
    /// The name.
    pub name: String,
    /// The reason.
    pub reason: String,
}

/// A log with lines that were lost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostLinesRow {
    /// `access`, `own` or `otlp`, as in the metric `strait_log_lines_dropped_total`.
    pub log: String,
    /// `queue_full` or `write_failed`.
    pub reason: String,
    /// In the last one to two minutes.
    pub now: u64,
    /// Since the start.
    pub total: u64,
}

/// One of the slowest connects of the last minutes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SlowConnectRow {
    /// The time when the connection was made, RFC 3339.
    pub at: String,
    /// Milliseconds from the first SYN to the connection, with `starttls` to the endpoint's answer to the request for
    /// TLS.
    pub took_ms: f64,
    /// The upstream.
    pub upstream: String,
    /// The endpoint.
    pub endpoint: Option<SocketAddr>,
    /// The endpoint's zone, if it is known.
    pub zone: Option<String>,
    /// The client's address.
    pub source: Option<SocketAddr>,
    /// The probable cause, if there is one.
    pub hint: Option<String>,
}
