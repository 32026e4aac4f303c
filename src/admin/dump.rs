//! The config and the upstreams as JSON.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use super::{AdminContext, ConfigReport, Snapshot};
use crate::clock;
use crate::config::{Config, EndpointOrigin, UpstreamSource, Weight};
use crate::names::Zone;
use crate::upstream::{Endpoint, EndpointFailure, EndpointTotals, Upstream};

type Dump = Result<Vec<u8>, String>;

pub(super) fn to_json(value: &impl Serialize) -> Dump {
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| error.to_string())?;
    text.push(b'\n');
    Ok(text)
}

#[derive(Serialize)]
struct ConfigDump<'a> {
    version: &'static str,
    file: &'a ConfigReport,
    bound: Vec<BoundDump<'a>>,
    discovery: Option<&'a DiscoveryReport>,
    config: &'a Config,
}

/// A summary in numbers of what the Kubernetes source has found.
#[derive(Debug, Clone, Serialize)]
pub struct DiscoveryReport {
    /// The time of the result.
    #[serde(serialize_with = "serialize_timestamp")]
    pub at: SystemTime,
    /// The zone of the gateway's node, if it is known.
    pub zone: Option<Zone>,
    /// Routes of exported services, in each listener that exports.
    pub exported_routes: usize,
    /// Routes of TLSRoutes.
    pub gateway_routes: usize,
    /// Upstreams of those routes.
    pub upstreams: usize,
    /// The number of those upstreams that have no endpoint.
    pub upstreams_without_endpoints: usize,
    /// Hosts that are known and not exported.
    pub unrouted_hosts: usize,
    /// Names that get no route because of a limit.
    pub skipped_names: usize,
    /// Some of those names.
    pub skipped_examples: Vec<Arc<str>>,
    /// Kinds of object that are not watched, with the reason.
    pub missing: Vec<(&'static str, Arc<str>)>,
    /// The other clusters of the mesh.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<ClusterReport>,
    /// The first objects that exist and cannot be read: kind, name and problem.
    pub unreadable_objects: Vec<Arc<str>>,
    /// The part that comes from a saved state, if one is in force.
    pub saved_state: Option<SavedStateReport>,
}

/// Another cluster of the mesh.
#[derive(Debug, Clone, Serialize)]
pub struct ClusterReport {
    /// Its name.
    pub name: Arc<str>,
    /// Kinds of object that are not watched, with the reason.
    pub missing: Vec<(&'static str, Arc<str>)>,
}

/// The part of a discovery that comes from a saved state, and may be out of date.
#[derive(Debug, Clone, Serialize)]
pub struct SavedStateReport {
    /// The time when the API last confirmed it.
    #[serde(serialize_with = "serialize_timestamp")]
    pub confirmed: SystemTime,
    /// The kinds of object that the API has not listed since.
    pub kinds: Vec<&'static str>,
}

pub(super) fn serialize_timestamp<S: serde::Serializer>(
    at: &SystemTime,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&timestamp(*at))
}

#[derive(Serialize)]
struct BoundDump<'a> {
    listener: &'a str,
    address: SocketAddr,
}

/// The config in force, with every default filled in, and the addresses that are really bound.
pub(super) fn config(context: &AdminContext) -> Dump {
    let snapshot = context.snapshots.now();
    let file = context.config_reports.now();
    let bound = snapshot.bound.iter().map(|(listener, address)| BoundDump {
        listener,
        address: *address,
    });
    to_json(&ConfigDump {
        version: crate::version::VERSION,
        file: &file,
        bound: bound.collect(),
        discovery: snapshot.report.as_deref(),
        config: &snapshot.config,
    })
}

#[derive(Serialize)]
struct UpstreamsDump<'a> {
    upstreams: Vec<UpstreamDump<'a>>,
}

#[derive(Serialize)]
struct UpstreamDump<'a> {
    name: &'a str,
    source: SourceDump,
    /// True if the source has answered at all, even with a failure.
    answered: bool,
    last_answer: Option<String>,
    last_error: Option<String>,
    /// The reason why there is no endpoint, if the source gives one.
    empty_because: Option<Arc<str>>,
    /// As in the metric `strait_source_stale`. Also true if the endpoints come from a saved state.
    stale: bool,
    endpoints: Vec<EndpointDump>,
}

#[derive(Serialize)]
struct SourceDump {
    kind: &'static str,
    query: Option<String>,
}

#[derive(Serialize)]
struct EndpointDump {
    address: SocketAddr,
    zone: Option<String>,
    node: Option<String>,
    /// The objects of the Kubernetes API that it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<Arc<EndpointOrigin>>,
    weight: Weight,
    /// Connections that are open or being opened.
    active: u32,
    /// Those that are being opened.
    connecting: u32,
    state: &'static str,
    ejection_left_ms: Option<u64>,
    /// The time until a drain by an operator ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    drain_left_ms: Option<u64>,
    /// The counts of the endpoint, absent if strait has not used it.
    #[serde(skip_serializing_if = "Option::is_none")]
    totals: Option<TotalsDump>,
    /// The reason why its last active check has not passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    check_failure: Option<Box<str>>,
}

#[derive(Serialize)]
struct TotalsDump {
    connections: u64,
    failed_connects: u64,
    failed_before_reply: u64,
    refused_handshakes: u64,
    ejections: u64,
    to_upstream_bytes: u64,
    to_downstream_bytes: u64,
    connect_p50_ms: Option<f64>,
    connect_p99_ms: Option<f64>,
    last_failure: Option<FailureDump>,
}

#[derive(Serialize)]
struct FailureDump {
    at: String,
    outcome: &'static str,
}

impl From<EndpointTotals> for TotalsDump {
    fn from(totals: EndpointTotals) -> Self {
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        let failure = |failure: EndpointFailure| FailureDump {
            at: timestamp(failure.at),
            outcome: failure.outcome.label(),
        };
        Self {
            connections: totals.connections,
            failed_connects: totals.failed_connects,
            failed_before_reply: totals.failed_before_reply,
            refused_handshakes: totals.refused_handshakes,
            ejections: totals.ejections,
            to_upstream_bytes: totals.to_upstream_bytes,
            to_downstream_bytes: totals.to_downstream_bytes,
            connect_p50_ms: totals.connect_p50.map(millis),
            connect_p99_ms: totals.connect_p99.map(millis),
            last_failure: totals.last_failure.map(failure),
        }
    }
}

/// One endpoint, for the answer to a change of it.
pub(super) fn endpoint(endpoint: &Endpoint, now: Instant) -> Dump {
    to_json(&endpoint_dump(endpoint, now))
}

fn endpoint_dump(endpoint: &Endpoint, now: Instant) -> EndpointDump {
    let health = &endpoint.stats.health;
    EndpointDump {
        address: endpoint.spec.address,
        zone: endpoint.spec.zone.as_deref().map(str::to_owned),
        node: endpoint.spec.node.as_deref().map(str::to_owned),
        origin: endpoint.spec.origin.clone(),
        weight: endpoint.spec.weight,
        active: endpoint.stats.active(),
        connecting: endpoint.stats.connecting(),
        state: endpoint.state(now),
        ejection_left_ms: health.state(now).ejection_left().map(clock::millis),
        drain_left_ms: health.drain_left(now).map(clock::millis),
        totals: endpoint.stats.totals().map(TotalsDump::from),
        check_failure: endpoint.stats.check_failure(),
    }
}

/// Every upstream with its source and its endpoints.
pub(super) fn upstreams(snapshot: &Snapshot) -> Dump {
    let now = Instant::now();
    let dump = |(name, upstream)| upstream_dump(name, upstream, snapshot, now);
    let upstreams: Vec<UpstreamDump<'_>> = snapshot
        .upstreams
        .iter()
        .map(|(name, upstream)| (&**name, &**upstream))
        .map(dump)
        .collect();
    to_json(&UpstreamsDump { upstreams })
}

/// The source of an upstream's endpoints: its kind and, if it asks somewhere, the question.
pub(super) fn source(source: &UpstreamSource) -> (&'static str, Option<String>) {
    match source {
        UpstreamSource::Static(_) => ("static", None),
        UpstreamSource::Dns(dns) => ("dns", Some(dns.query.to_string())),
        UpstreamSource::Kubernetes(port) => ("kubernetes", Some(port.to_string())),
    }
}

/// The time in RFC 3339, UTC.
pub fn timestamp(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(clock::writable(at)).to_string()
}

/// Whether the endpoints of the upstream come from a saved state.
pub(super) fn is_saved(upstream: &Upstream, snapshot: &Snapshot) -> bool {
    let report = snapshot.report.as_ref();
    matches!(upstream.config().source, UpstreamSource::Kubernetes(_))
        && report.is_some_and(|report| report.saved_state.is_some())
}

fn upstream_dump<'a>(
    name: &'a str,
    upstream: &Upstream,
    snapshot: &Snapshot,
    now: Instant,
) -> UpstreamDump<'a> {
    let report = upstream.source_report();
    let (kind, query) = source(&upstream.config().source);
    let endpoints = upstream.endpoints();
    let endpoints = endpoints
        .iter()
        .map(|endpoint| endpoint_dump(endpoint, now));
    UpstreamDump {
        name,
        source: SourceDump { kind, query },
        answered: upstream.answered(),
        stale: upstream.is_stale() || is_saved(upstream, snapshot),
        last_answer: report.last_answer.map(timestamp),
        last_error: report.last_error,
        empty_because: report.empty_because,
        endpoints: endpoints.collect(),
    }
}
