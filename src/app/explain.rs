//! Explain: the decision of the running process about one connection, with what stands against it now.
//!
//! It calls the code that traffic calls, and takes nothing from a limit.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::control::Control;
use crate::admin::{ExplainQuestion, timestamp};
use crate::clock;
use crate::config::{Origin, offers_in_words};
use crate::drain::DrainPhase;
use crate::limits::{LimitUse, Limiter, OverloadStep};
use crate::metrics::OverloadCause;
use crate::outcome::Outcome;
use crate::proxy::{ListenerPolicy, ListenerState};
use crate::recent_connections::RecentConnection;
use crate::route::{Route, RouteTable};
use crate::server_name::ServerName;
use crate::upstream::{Endpoint, EndpointState, Ties, Upstream};

/// Endpoints of one upstream that are shown.
const ENDPOINTS: usize = 100;
/// Routes that are shown if none matches.
const NEAREST: usize = 5;

/// The decision of every listener that was asked.
#[derive(Debug, Serialize)]
struct Explanation {
    draining: bool,
    listeners: Vec<ExplainedListener>,
}

/// The decision of one listener. `outcome` is absent if the connection would be relayed.
#[derive(Debug, Default, Serialize)]
struct ExplainedListener {
    listener: String,
    source_group: Option<String>,
    outcome: Option<&'static str>,
    detail: Option<String>,
    /// Parts of the decision that were not taken, and why.
    skipped: Vec<String>,
    route: Option<ExplainedRoute>,
    upstreams: Vec<ExplainedUpstream>,
    limits: Vec<ExplainedLimit>,
    /// Routes whose names are near, if none matches.
    nearest: Vec<String>,
    /// The last connections with this server name, the newest first.
    recent: Vec<ExplainedConnection>,
    /// The last connections on the same route with other server names, the newest first.
    recent_of_route: Vec<ExplainedConnection>,
}

#[derive(Debug, Serialize)]
struct ExplainedRoute {
    name: String,
    alpn: String,
    origin: Option<String>,
    dry_run: Option<String>,
}

#[derive(Debug, Serialize)]
struct ExplainedUpstream {
    name: String,
    stale: bool,
    /// The reason why it has no endpoint, or why its endpoints may be old.
    problem: Option<String>,
    endpoints: Vec<ExplainedEndpoint>,
    more_endpoints: usize,
}

#[derive(Debug, Serialize)]
struct ExplainedEndpoint {
    address: SocketAddr,
    zone: Option<String>,
    /// The objects of the Kubernetes API that it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    state: &'static str,
    ejection_left_ms: Option<u64>,
    active: u32,
    connecting: u32,
}

#[derive(Debug, Serialize)]
struct ExplainedLimit {
    scope: &'static str,
    limit: &'static str,
    most: u64,
    used: u64,
    reached: bool,
}

#[derive(Debug, Serialize)]
struct ExplainedConnection {
    ended: String,
    connection: u64,
    /// The server name, where it is not the one that was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    server_name: Option<Box<str>>,
    source: SocketAddr,
    route: Option<String>,
    endpoint: Option<SocketAddr>,
    outcome: &'static str,
    ended_by: &'static str,
    detail: Option<Box<str>>,
    duration_ms: f64,
}

impl From<RecentConnection> for ExplainedConnection {
    fn from(one: RecentConnection) -> Self {
        Self {
            ended: timestamp(one.ended),
            connection: one.connection,
            server_name: None,
            source: one.source,
            route: one.route.map(|route| route.to_string()),
            endpoint: one.endpoint,
            outcome: one.outcome.label(),
            ended_by: one.ended_by.label(),
            detail: one.detail.map(Into::into),
            duration_ms: one.duration.as_secs_f64() * 1000.0,
        }
    }
}

impl ExplainedConnection {
    fn named((name, one): (Box<str>, RecentConnection)) -> Self {
        Self {
            server_name: Some(name),
            ..one.into()
        }
    }
}

/// The decision about a connection, as JSON.
///
/// # Errors
/// There is no such listener.
pub(super) fn explain(control: &Control, question: &ExplainQuestion) -> Result<Vec<u8>, String> {
    let listeners = control.shared.listeners.all();
    let asked = |name: &str| {
        question
            .listener
            .as_deref()
            .is_none_or(|asked| asked == name)
    };
    let states = listeners.iter().map(|listener| listener.state());
    let states: Vec<_> = states.filter(|state| asked(&state.policy.name)).collect();
    if states.is_empty() {
        return Err("there is no such listener: GET /config_dump".to_owned());
    }
    let explained = Explanation {
        draining: control.watcher.phase() != DrainPhase::Running,
        listeners: states
            .iter()
            .map(|state| explain_listener(control, state, question))
            .collect(),
    };
    let mut text = serde_json::to_vec_pretty(&explained).map_err(|error| error.to_string())?;
    text.push(b'\n');
    Ok(text)
}

fn explain_listener(
    control: &Control,
    state: &Arc<ListenerState>,
    question: &ExplainQuestion,
) -> ExplainedListener {
    let ListenerState { policy, routes } = &**state;
    let mut shown = ExplainedListener {
        listener: policy.name.to_string(),
        ..ExplainedListener::default()
    };
    let name = question.server_name.as_deref().unwrap_or_default();
    let parsed = match question.server_name.as_deref() {
        Some(name) => ServerName::parse(name.as_bytes()).map(Some),
        None => Ok(None),
    };
    let normal = parsed.as_ref().ok().and_then(Option::as_ref);
    let recent = &control.shared.recent;
    let named = normal.map_or(name, ServerName::as_str).to_owned();
    let same = recent.of(&policy.name, &named);
    shown.recent = same.into_iter().map(ExplainedConnection::from).collect();

    let refused = admission(control, policy, question.from, &mut shown);
    let decided = match parsed {
        Ok(ref name) => decide(routes, name.as_ref(), &question.alpn, &mut shown),
        Err(error) => Err((Outcome::BadServerName, Some(error.to_string()))),
    };
    // The first reason counts, as for traffic; the rest of the way is shown anyway.
    let refused = refused.err().or_else(|| match decided {
        Ok(route) => {
            let others = recent
                .of_route(&policy.name, &route.name, &named)
                .into_iter();
            shown.recent_of_route = others.map(ExplainedConnection::named).collect();
            show_route(&route, normal, &mut shown).err()
        }
        Err(refused) => Some(refused),
    });
    if let Some((outcome, detail)) = refused {
        (shown.outcome, shown.detail) = (Some(outcome.label()), detail);
    }
    shown
}

/// A refusal with its reason.
type Objection = (Outcome, Option<String>);

/// Whether the listener lets the source in.
fn admission(
    control: &Control,
    policy: &ListenerPolicy,
    from: Option<IpAddr>,
    shown: &mut ExplainedListener,
) -> Result<(), Objection> {
    let mut uses = policy.limit_uses();
    let mut denied = None;
    match from.map(|from| from.to_canonical()) {
        Some(from) => {
            let group = policy.sources.group_of(from);
            shown.source_group = Some(policy.sources.name(group).to_owned());
            uses.retain(|one| one.scope != "source");
            uses.extend(policy.limit_uses_of(from, group));
            if !policy.source_policy.admits(from) {
                denied = Some((
                    Outcome::SourceDenied,
                    Some(policy.source_policy.denial(from)),
                ));
            }
        }
        None => {
            let mut skipped = "the source is not given (from=)".to_owned();
            if let Some(admits) = policy.source_policy.in_words() {
                skipped += &format!("; this listener {admits}");
            }
            shown.skipped.push(skipped);
        }
    }
    let full = add_limits(shown, uses);
    if let Some(denied) = denied {
        return Err(denied);
    }
    let connections = &control.shared.connections;
    if connections.left() == 0 {
        let detail = "as many connections are open as may be".to_owned();
        return Err((Outcome::Overloaded, Some(detail)));
    }
    for (cause, why) in [
        (OverloadCause::Memory, "memory is nearly used up"),
        (
            OverloadCause::WorkerLag,
            "a worker thread is behind its work",
        ),
    ] {
        if control.shared.overload.step(cause).get() >= OverloadStep::Refuse {
            return Err((Outcome::Overloaded, Some(why.to_owned())));
        }
    }
    full.map_or(Ok(()), Err)
}

/// Shows `uses`. Returns the refusal by the first limit that is reached.
fn add_limits(shown: &mut ExplainedListener, uses: Vec<LimitUse>) -> Option<Objection> {
    let reached = uses.iter().find(|one| one.is_reached());
    let refused = reached.map(|one| {
        let detail = format!("the limit of the {}: {} {}", one.scope, one.most, one.limit);
        (Outcome::OverLimit, Some(detail))
    });
    let limits = uses.into_iter().map(|one| ExplainedLimit {
        scope: one.scope,
        limit: one.limit,
        most: one.most,
        used: one.used,
        reached: one.is_reached(),
    });
    shown.limits.extend(limits);
    refused
}

fn decide(
    routes: &RouteTable,
    name: Option<&ServerName>,
    alpn: &[String],
    shown: &mut ExplainedListener,
) -> Result<Arc<Route>, Objection> {
    let offers = offers_in_words(alpn);
    let asked = name.map(ServerName::as_name);
    match routes.decide(asked.as_ref(), offers.iter().map(String::as_bytes)) {
        Ok(decided) => Ok(decided.route.clone()),
        Err(refusal) => {
            if let (Some(name), Outcome::NoRoute) = (name, refusal.outcome()) {
                let nearest = routes.nearest(name, NEAREST).into_iter();
                let nearest =
                    nearest.map(|(pattern, route)| format!("{pattern} (route {})", route.name));
                shown.nearest = nearest.collect();
            }
            Err((refusal.outcome(), refusal.detail()))
        }
    }
}

/// Shows the route with its upstreams. Fails if none of these has an endpoint for the connection.
fn show_route(
    route: &Route,
    name: Option<&ServerName>,
    shown: &mut ExplainedListener,
) -> Result<(), Objection> {
    shown.route = Some(ExplainedRoute {
        name: route.name.to_string(),
        alpn: route.alpn.to_string(),
        origin: (route.origin != Origin::File).then(|| route.origin.to_string()),
        dry_run: route.dry_run.as_deref().map(str::to_owned),
    });
    let limiter = route.limiter.as_ref();
    let full = add_limits(shown, limiter.map(Limiter::uses).unwrap_or_default());
    let mut last = Ok(());
    let mut served = false;
    for target in route.targets.iter() {
        let upstream = &target.upstream;
        let end = show_upstream(upstream, &upstream.ties_to(name), shown);
        served |= end.is_ok();
        last = end;
    }
    match full {
        Some(full) => Err(full),
        None if served => Ok(()),
        None => last,
    }
}

/// Shows the endpoints of an upstream that the connection may go to. Fails if there are none.
fn show_upstream(
    upstream: &Upstream,
    ties: &Ties,
    shown: &mut ExplainedListener,
) -> Result<(), Objection> {
    let (now, set) = (Instant::now(), upstream.endpoints());
    let allowed: Vec<&Endpoint> = set.iter().filter(|one| ties.allow(one)).collect();
    let endpoints = allowed.iter().take(ENDPOINTS).map(|one| ExplainedEndpoint {
        address: one.spec.address,
        zone: one.spec.zone.as_deref().map(str::to_owned),
        origin: one.spec.origin.as_ref().map(ToString::to_string),
        state: one.state(now),
        ejection_left_ms: one
            .stats
            .health
            .state(now)
            .ejection_left()
            .map(clock::millis),
        active: one.stats.active(),
        connecting: one.stats.connecting(),
    });
    let no_pod = || {
        let reason = ties.no_endpoint().filter(|_| allowed.is_empty());
        reason.map(str::to_owned)
    };
    let problem = upstream.problem().or_else(no_pod);
    shown.upstreams.push(ExplainedUpstream {
        name: upstream.config().name.to_string(),
        stale: upstream.is_stale(),
        problem: problem.clone(),
        endpoints: endpoints.collect(),
        more_endpoints: allowed.len().saturating_sub(ENDPOINTS),
    });
    let full = add_limits(shown, upstream.limit_uses());
    let drained = |state| state == EndpointState::Drained;
    if allowed
        .iter()
        .all(|one| drained(one.stats.health.state(now)))
    {
        let all = (!allowed.is_empty()).then(|| "an operator drains every endpoint".to_owned());
        return Err((Outcome::NoEndpoint, all.or(problem)));
    }
    full.map_or(Ok(()), Err)
}
