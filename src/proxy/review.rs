//! Review: whether a connection that relays would still be let in, by the listeners, routes and endpoints in
//! force.

use std::sync::Arc;
use std::time::Instant;

use super::listener::ListenerState;
use super::record::ConnectionRecord;
use super::states::Connection;
use crate::metrics::DisallowedBy;
use crate::outcome::Outcome;
use crate::route::{Route, RouteRefusal};
use crate::server_name::ServerName;

/// Cuts `connection` if it would not be let in any more, its listener ends such connections, and the grace has
/// passed since this was seen first.
pub(super) fn review(connection: &mut Connection) {
    let Connection { record, ticket } = connection;
    let state = ticket.shared().listeners.state(&ticket.policy().name);
    let policy = match &state {
        Some(state) => state.policy.end_disallowed,
        None => ticket.policy().end_disallowed,
    };
    let found = policy.and_then(|policy| {
        let objection = objection(record, state.as_deref(), policy.endpoints)?;
        Some((policy.grace, objection))
    });
    let Some((grace, (reason, detail))) = found else {
        return record.allowed();
    };
    let now = Instant::now();
    if now.saturating_duration_since(record.disallowed_since(now)) >= grace {
        record.note(Some(detail));
        ticket.shared().metrics.ends.disallowed(reason).inc();
        ticket.seat().cut(Outcome::Disallowed);
    }
}

/// The protocols that the client offers; `None` if the record does not have them exactly.
fn alpn_protocols(record: &ConnectionRecord) -> Option<impl Iterator<Item = &[u8]>> {
    let offered = match record.alpn_offer() {
        Some(offer) => Some(offer.protocols()?),
        None => None,
    };
    Some(offered.into_iter().flatten())
}

/// The reason why the connection would not be let in, when `state` is that of its listener. What is not known
/// yet is no reason.
fn objection(
    record: &ConnectionRecord,
    state: Option<&ListenerState>,
    endpoints: bool,
) -> Option<(DisallowedBy, String)> {
    let Some(ListenerState { policy, routes }) = state else {
        return Some((DisallowedBy::Listener, "its listener is gone".to_owned()));
    };
    let source = record.source().ip();
    if !policy.source_policy.admits(source) {
        return Some((DisallowedBy::Source, policy.source_policy.denial(source)));
    }
    let (name, target) = (record.server_name(), record.target()?);
    let leads_there = |route: &&Arc<Route>| route.targets.iter().any(|one| one.name == target.name);
    let asked = name.map(ServerName::as_name);
    let asked = asked.as_ref();
    let decided = match alpn_protocols(record) {
        Some(offers) => routes.decide(asked, offers).map(|decided| decided.route),
        // An offer that is not known exactly says nothing against a route of the name.
        None => match routes.sharing(asked).iter().find(leads_there) {
            Some(route) => Ok(route),
            None => {
                let decided = routes.decide(asked, std::iter::empty());
                decided.map(|decided| decided.route)
            }
        },
    };
    let route = match decided {
        Ok(route) => route,
        Err(RouteRefusal::NoRoute(_) | RouteRefusal::NoSni) => {
            let hellos = name.map_or("hellos without a name", ServerName::as_str);
            let reason = format!("no route takes {hellos} any more");
            return Some((DisallowedBy::Route, reason));
        }
        Err(refused @ RouteRefusal::AlpnRefused(_)) => {
            return Some((DisallowedBy::Alpn, refused.detail()?));
        }
    };
    let mut targets = route.targets.iter();
    let Some(same) = targets.find(|one| one.name == target.name) else {
        let reason = format!("route {} no longer leads to {}", route.name, target.name);
        return Some((DisallowedBy::Upstream, reason));
    };
    let (upstream, endpoint) = (&same.upstream, record.endpoint.as_ref()?.address());
    let gone = endpoints && upstream.answered() && !upstream.endpoints().has(endpoint);
    gone.then(|| {
        let reason = format!("{endpoint} is no longer an endpoint of {}", same.name);
        (DisallowedBy::Endpoint, reason)
    })
}
