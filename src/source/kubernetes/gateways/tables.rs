//! The routes of each port, made from the attachments.
//!
//! A name belongs to the most specific served listener of its port, whatever Gateway that listener
//! belongs to. Routes of other listeners do not get the name, even when no route of that listener takes
//! it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use super::attach::OwnRoute;
use super::backends::Backends;
use super::listeners::OwnGateway;
use super::names;
use super::owners::{ListenerPlace, Owners};
use super::translated::Translated;
use crate::config::{
    AlpnPolicy, ConnectionLimits, ObjectRef, Origin, PodChoice, RouteConfig, RouteMatch,
    RouteTimeouts, ServicePort, SniPattern, TargetConfig, TargetConfigs,
};
use crate::names::RouteName;

/// The holder of a name that a route does not get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Winner {
    /// The older route at this index.
    Route(usize),
    /// The more specific listener at this position, which the route has not attached to.
    Listener(ListenerPlace),
}

/// Names that a route does not get because another one has them, by the route's index.
pub(super) type Lost = BTreeMap<usize, Vec<(SniPattern, Winner)>>;

/// The names of one port and their routes.
#[derive(Default)]
struct PortNames {
    /// The names of each route, by the route's index.
    routes: BTreeMap<usize, Vec<SniPattern>>,
    /// The index of the oldest route that claims a name.
    claimed: HashMap<SniPattern, usize>,
}

impl PortNames {
    /// Whether a route has names that include `pattern` and more.
    fn is_overshadowed(&self, pattern: &SniPattern) -> bool {
        let mut above = names::at_or_above(pattern).filter(|above| above != pattern);
        above.any(|above| self.claimed.contains_key(&above))
    }
}

/// Fills `translated` with the routes of every port. `backends` are the backends of `routes`, in the
/// same order.
pub(super) fn build(
    gateways: &[OwnGateway<'_>],
    owners: &Owners,
    routes: &[OwnRoute<'_>],
    backends: &[Backends],
    translated: &mut Translated,
) -> Lost {
    let mut ports: BTreeMap<u16, PortNames> = BTreeMap::new();
    let mut lost = Lost::new();
    for (at, route) in routes.iter().enumerate() {
        let mut missed = Vec::new();
        for (port, names) in names_by_port(gateways, owners, route, &mut missed) {
            let port = ports.entry(port).or_default();
            for name in &names {
                match port.claimed.get(name) {
                    Some(first) => {
                        let lost = lost.entry(at).or_default();
                        lost.push((name.clone(), Winner::Route(*first)));
                    }
                    None => {
                        port.claimed.insert(name.clone(), at);
                    }
                }
            }
            // Names that the route lost stay in: the route table finds the conflict too and reports it.
            port.routes.insert(at, names);
        }
        if !missed.is_empty() {
            lost.entry(at).or_default().extend(missed);
        }
    }
    let mut used = HashSet::new();
    for (number, listeners) in owners.ports() {
        let port = ports.remove(&number).unwrap_or_default();
        used.extend(port.routes.keys().copied());
        let mut configs: Vec<Arc<RouteConfig>> = port
            .routes
            .iter()
            .map(|(at, names)| route_config(&routes[*at], &backends[*at], names.clone()))
            .map(Arc::new)
            .collect();
        let kept = kept_names(gateways, listeners, &port, translated);
        configs.extend(kept.into_iter().map(Arc::new));
        translated.routes.insert(number, configs);
    }
    for at in used {
        translated
            .backends
            .extend(backends[at].ports.iter().cloned());
        translated
            .refused
            .extend(backends[at].refused.iter().cloned());
    }
    lost
}

/// The names of `route` on each port, without those of more specific listeners, which go to `missed`.
fn names_by_port(
    gateways: &[OwnGateway<'_>],
    owners: &Owners,
    route: &OwnRoute<'_>,
    missed: &mut Vec<(SniPattern, Winner)>,
) -> BTreeMap<u16, Vec<SniPattern>> {
    let mut by_port: BTreeMap<u16, Vec<SniPattern>> = BTreeMap::new();
    let mut elsewhere: Vec<(u16, &SniPattern, ListenerPlace)> = Vec::new();
    let attached = route
        .parents
        .iter()
        .filter_map(|parent| parent.outcome.as_ref().ok());
    for attachment in attached.flatten() {
        let (gateway, at) = attachment.listener;
        let number = gateways[gateway].listeners[at].spec.port;
        for name in &attachment.names {
            match owners.owner(number, name) {
                Some(owner) if owner == attachment.listener => {
                    by_port.entry(number).or_default().push(name.clone());
                }
                Some(owner) => elsewhere.push((number, name, owner)),
                None => {}
            }
        }
    }
    for names in by_port.values_mut() {
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
    }
    // The route may have attached to the more specific listener too.
    for (port, name, owner) in elsewhere {
        let has = by_port.get(&port).is_some_and(|names| names.contains(name));
        let lost = (name.clone(), Winner::Listener(owner));
        if !has && !missed.contains(&lost) {
            missed.push(lost);
        }
    }
    by_port
}

fn route_config(route: &OwnRoute<'_>, backends: &Backends, names: Vec<SniPattern>) -> RouteConfig {
    RouteConfig {
        name: format!("{}/{}", route.key.namespace, route.key.name).into(),
        matches: RouteMatch::AnyOf(names),
        alpn: backends.alpn.clone(),
        targets: backends.targets.clone(),
        limits: ConnectionLimits::OFF,
        timeouts: RouteTimeouts::default(),
        origin: Origin::TlsRoute(ObjectRef {
            namespace: route.key.namespace.clone(),
            name: route.key.name.clone(),
            resource_version: route.record.revision.resource_version.clone(),
        }),
        dry_run: None,
    }
}

/// Refusing routes for hostnames of listeners. Without them, routes of less specific listeners would
/// take these names.
fn kept_names(
    gateways: &[OwnGateway<'_>],
    listeners: &HashMap<SniPattern, ListenerPlace>,
    port: &PortNames,
    translated: &mut Translated,
) -> Vec<RouteConfig> {
    let mut kept: BTreeMap<ListenerPlace, &SniPattern> = BTreeMap::new();
    for (hostname, place) in listeners {
        if !port.claimed.contains_key(hostname) && port.is_overshadowed(hostname) {
            kept.insert(*place, hostname);
        }
    }
    let refusing = kept.into_iter().map(|((gateway, at), hostname)| {
        let gateway = &gateways[gateway];
        let listener = &gateway.listeners[at];
        let target = ServicePort {
            namespace: gateway.key.namespace.clone(),
            service: gateway.key.name.clone(),
            port: listener.spec.port,
            subset: None,
            by_pod: false,
            pods: PodChoice::Refused,
        };
        let name = RouteName::from(format!(
            "{}/{}/{}",
            gateway.key.namespace, gateway.key.name, listener.spec.name
        ));
        let why = format!("listener {name} takes the name, and none of its routes does");
        translated.backends.insert(target.clone());
        let upstream = target.to_string().into();
        translated.refused.insert(target, why.into());
        RouteConfig {
            name,
            matches: RouteMatch::AnyOf(vec![hostname.clone()]),
            alpn: AlpnPolicy::Any,
            targets: TargetConfigs {
                first: TargetConfig {
                    upstream,
                    weight: NonZeroU32::MIN,
                },
                rest: Vec::new(),
            },
            limits: ConnectionLimits::OFF,
            timeouts: RouteTimeouts::default(),
            origin: Origin::Gateway(ObjectRef {
                namespace: gateway.key.namespace.clone(),
                name: gateway.key.name.clone(),
                resource_version: gateway.record.revision.resource_version.clone(),
            }),
            dry_run: None,
        }
    });
    refusing.collect()
}
