//! Reports of names that are left out: to the routes that keep such a name, and to the operator.

use super::attach::OwnRoute;
use super::listeners::{CONFLICT, NOT_ALLOWED, OwnGateway};
use super::tables::{Lost, Winner};
use crate::source::kubernetes::cluster::Kind;
use crate::source::kubernetes::status::{LeftOutGateways, Notices};

/// Notifies TLSRoutes that keep a name which a younger TLSRoute of another namespace claims.
pub(super) fn notify(routes: &[OwnRoute<'_>], lost: &Lost, notices: &mut Notices) {
    for (at, names) in lost {
        let loser = routes[*at].key;
        for (name, winner) in names {
            let Winner::Route(first) = winner else {
                continue;
            };
            let winner = routes[*first].key;
            if winner.namespace != loser.namespace {
                let note = format!("TLSRoute {loser} claims {name} too, and goes without it");
                notices.add((Kind::TlsRoute, winner.clone()), CONFLICT, note);
            }
        }
    }
}

/// Collects the objects that the operator does not allow, and the names that others have.
pub(super) fn left_out(gateways: &[OwnGateway<'_>]) -> LeftOutGateways {
    let mut left_out = LeftOutGateways::default();
    for gateway in gateways {
        let refusal = gateway.refused.as_ref();
        if refusal.is_some_and(|refusal| refusal.reason == NOT_ALLOWED) {
            let namespace = gateway.key.namespace.clone();
            let listeners = left_out.namespaces.entry(namespace).or_default();
            *listeners += gateway.listeners.len();
        }
        for listener in &gateway.listeners {
            if listener.port_not_allowed {
                *left_out.ports.entry(listener.spec.port).or_default() += 1;
            }
            left_out.conflicts += usize::from(listener.conflicted);
        }
    }
    left_out
}
