//! Our Gateways, and those of their listeners that can be served.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{file_routes, names};
use crate::config::{GatewayApiConfig, SniPattern};
use crate::source::kubernetes::cluster::{Cluster, Kind};
use crate::source::kubernetes::records::ObjectKey;
use crate::source::kubernetes::records::gateway::{
    GROUP, GatewayClassRecord, GatewayListener, GatewayRecord, RouteKind,
};
use crate::source::kubernetes::status::Notices;

/// The number of ports that all Gateways may have together. Each port costs one socket for each worker.
const MAX_PORTS: usize = 64;
/// The part of [`MAX_PORTS`] that a namespace may have if it is not the first in the list.
const MAX_PORTS_OF_NAMESPACE: usize = 16;

/// The reason of a Gateway whose namespace may not have any.
pub(super) const NOT_ALLOWED: &str = "NamespaceNotAllowed";
/// The reason of a listener or a TLSRoute that asks for names which another one has.
pub(super) const CONFLICT: &str = "HostnameConflict";
/// The reason of an Event about names that a more specific listener of another namespace has.
const TAKEN: &str = "HostnameTaken";

/// The reason why something is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GatewayRefusal {
    /// The `reason` of its condition.
    pub(super) reason: &'static str,
    /// The message for people.
    pub(super) message: String,
}

impl GatewayRefusal {
    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { reason, message }
    }
}

/// One of our Gateways.
#[derive(Debug)]
pub(super) struct OwnGateway<'a> {
    pub(super) key: &'a ObjectKey,
    pub(super) record: &'a GatewayRecord,
    /// Its rank: a name that a Gateway has is never given to one of a higher rank.
    pub(super) rank: usize,
    /// The reason why none of it is served, if its listeners alone do not decide that.
    pub(super) refused: Option<GatewayRefusal>,
    pub(super) listeners: Vec<OwnListener<'a>>,
}

impl OwnGateway<'_> {
    /// Whether the listener carries traffic.
    pub(super) fn serves(&self, listener: &OwnListener<'_>) -> bool {
        self.refused.is_none() && listener.refused.is_none() && listener.takes_tls_routes
    }
}

/// A listener of one of our Gateways.
#[derive(Debug)]
pub(super) struct OwnListener<'a> {
    pub(super) spec: &'a GatewayListener,
    /// The server names that it takes.
    pub(super) hostname: SniPattern,
    /// The reason why it is not accepted.
    pub(super) refused: Option<GatewayRefusal>,
    /// True if `refused` is because of another listener or of the file.
    pub(super) conflicted: bool,
    /// True if `refused` is because the operator does not list its port.
    pub(super) port_not_allowed: bool,
    /// True if TLSRoutes are among the routes that may attach.
    pub(super) takes_tls_routes: bool,
    /// A kind of route that the listener names and strait does not know.
    pub(super) unknown_kind: Option<&'a RouteKind>,
}

impl OwnListener<'_> {
    fn conflicts(&mut self, message: String) {
        self.refused = Some(GatewayRefusal::new(CONFLICT, message));
        self.conflicted = true;
    }
}

/// The GatewayClasses of this controller. The one that the config names is served.
pub(super) fn classes_of_controller<'a>(
    cluster: &'a Cluster,
    config: &GatewayApiConfig,
) -> impl Iterator<Item = (&'a ObjectKey, &'a GatewayClassRecord)> {
    let classes = cluster.gateway_classes.iter();
    classes.filter(|(_, class)| class.spec.controller_name == config.controller)
}

/// The Gateways of the class, by rank, the oldest first.
pub(super) fn own_gateways<'a>(
    cluster: &'a Cluster,
    config: &GatewayApiConfig,
    notices: &mut Notices,
) -> Vec<OwnGateway<'a>> {
    let mut classes = classes_of_controller(cluster, config);
    let is_served =
        classes.any(|(key, class)| key.name == config.class && !class.spec.has_parameters);
    if !is_served {
        return Vec::new();
    }
    let own = cluster.gateways.iter();
    let own = own.filter(|(_, gateway)| gateway.spec.gateway_class_name == config.class);
    let mut gateways: Vec<OwnGateway<'_>> = own
        .map(|(key, record)| {
            let rank = rank(cluster, config, &key.namespace);
            OwnGateway {
                key,
                record,
                rank: rank.unwrap_or(usize::MAX),
                refused: match rank {
                    Some(_) => refusal(record),
                    None => Some(not_allowed(&key.namespace)),
                },
                listeners: record.spec.listeners.iter().map(listener).collect(),
            }
        })
        .collect();
    // The sort is stable: Gateways of the same age stay sorted by name.
    gateways.sort_by_key(|gateway| (gateway.rank, gateway.record.revision.created));
    refuse_ports(&mut gateways, config);
    refuse_conflicts_within(&mut gateways);
    refuse_names_of_the_file(&mut gateways, config);
    refuse_conflicts_between(&mut gateways, notices);
    gateways
}

/// The rank of the Gateways of `namespace`; `None` if it may not have any.
fn rank(cluster: &Cluster, config: &GatewayApiConfig, namespace: &Arc<str>) -> Option<usize> {
    let rank = config.namespaces.rank(namespace, config.home.as_deref())?;
    let has_labels = || {
        let record = cluster.namespaces.get(&ObjectKey::global(namespace));
        // A namespace that is not known is not admitted.
        record.is_some_and(|record| record.labels.have_all(&config.namespace_labels))
    };
    (config.namespace_labels.is_empty() || has_labels()).then_some(rank)
}

fn not_allowed(namespace: &str) -> GatewayRefusal {
    let message = format!(
        "Gateways of namespace {namespace} are not served: kubernetes.gateway_api.namespaces (or \
         namespace_labels) of strait's config does not allow it"
    );
    GatewayRefusal::new(NOT_ALLOWED, message)
}

fn refusal(gateway: &GatewayRecord) -> Option<GatewayRefusal> {
    if gateway.spec.infrastructure.has_parameters {
        let message = "spec.infrastructure.parametersRef: strait takes no parameters; remove it";
        return Some(GatewayRefusal::new("InvalidParameters", message));
    }
    let kinds = gateway
        .spec
        .addresses
        .iter()
        .filter_map(|address| address.kind.as_deref());
    let strange = kinds
        .into_iter()
        .find(|kind| !matches!(*kind, "IPAddress" | "Hostname"))?;
    let message = format!(
        "spec.addresses: addresses of type {strange} are not supported; use IPAddress or Hostname"
    );
    Some(GatewayRefusal::new("UnsupportedAddress", message))
}

fn listener(spec: &GatewayListener) -> OwnListener<'_> {
    let mode = spec.tls.mode.as_deref();
    let hostname = match spec.hostname.as_deref() {
        None | Some("") => Ok(SniPattern::Any),
        Some(hostname) => names::parse(hostname),
    };
    let refused = if &*spec.protocol != "TLS" {
        let message = format!("protocol {} is not served; use TLS", spec.protocol);
        Some(GatewayRefusal::new("UnsupportedProtocol", message))
    } else if mode != Some("Passthrough") {
        let message = "tls.mode Terminate is not served: strait holds no keys; use Passthrough";
        Some(GatewayRefusal::new("UnsupportedValue", message))
    } else if let Err(error) = &hostname {
        Some(GatewayRefusal::new(
            "UnsupportedValue",
            format!("hostname: {error}"),
        ))
    } else {
        None
    };
    // Every TLS listener that is served takes TLSRoutes and no other kind. In another mode the kind is
    // right and the mode is not.
    let is_tls = &*spec.protocol == "TLS";
    let passes_tls = is_tls && mode == Some("Passthrough");
    let kinds = &spec.allowed_routes.kinds;
    let known = |kind: &RouteKind| {
        is_tls && kind.group.as_deref().unwrap_or(GROUP) == GROUP && &*kind.kind == "TLSRoute"
    };
    OwnListener {
        spec,
        hostname: hostname.unwrap_or(SniPattern::Any),
        refused,
        conflicted: false,
        port_not_allowed: false,
        takes_tls_routes: passes_tls && (kinds.is_empty() || kinds.iter().any(known)),
        unknown_kind: kinds.iter().find(|kind| !known(kind)),
    }
}

/// Refuses ports that Gateways may not have: ports of this gateway itself, ports that the operator does
/// not list, and ports beyond the limit.
fn refuse_ports(gateways: &mut [OwnGateway<'_>], config: &GatewayApiConfig) {
    let mut ports = BTreeSet::new();
    let mut of_namespace: HashMap<Arc<str>, usize> = HashMap::new();
    for gateway in gateways
        .iter_mut()
        .filter(|gateway| gateway.refused.is_none())
    {
        let namespace = &gateway.key.namespace;
        for listener in &mut gateway.listeners {
            let port = listener.spec.port;
            if listener.refused.is_some() {
                continue;
            }
            let own = of_namespace.entry(namespace.clone()).or_default();
            let message = if port == 0 || config.reserved_ports.contains(&port) {
                format!("port {port} is the gateway's own; use another")
            } else if !config.ports.iter().any(|range| range.contains(port)) {
                listener.port_not_allowed = true;
                let allowed: Vec<String> = config.ports.iter().map(ToString::to_string).collect();
                format!(
                    "Gateways may not use port {port}: kubernetes.gateway_api.ports of \
                     strait's config allows {}",
                    allowed.join(", ")
                )
            } else if ports.contains(&port) {
                continue;
            } else if ports.len() == MAX_PORTS {
                format!("the Gateways of this class have {MAX_PORTS} ports already, the limit")
            } else if gateway.rank > 0 && *own == MAX_PORTS_OF_NAMESPACE {
                format!(
                    "the Gateways of namespace {namespace} have {MAX_PORTS_OF_NAMESPACE} ports already, \
                     the limit of a namespace"
                )
            } else {
                ports.insert(port);
                *own += 1;
                continue;
            };
            listener.refused = Some(GatewayRefusal::new("PortUnavailable", message));
        }
    }
}

/// The key that must differ between two TLS listeners.
fn place(listener: &OwnListener<'_>) -> (u16, SniPattern) {
    (listener.spec.port, listener.hostname.clone())
}

/// Refuses all listeners of one Gateway that ask for the same names: the Gateway API forbids to pick
/// one.
fn refuse_conflicts_within(gateways: &mut [OwnGateway<'_>]) {
    for gateway in gateways {
        let mut at: HashMap<(u16, SniPattern), Vec<usize>> = HashMap::new();
        for (index, listener) in gateway.listeners.iter().enumerate() {
            if &*listener.spec.protocol == "TLS" {
                at.entry(place(listener)).or_default().push(index);
            }
        }
        for indexes in at.into_values().filter(|indexes| indexes.len() > 1) {
            for &index in &indexes {
                let other = indexes
                    .iter()
                    .find(|other| **other != index)
                    .unwrap_or(&index);
                let other = gateway.listeners[*other].spec.name.clone();
                let listener = &mut gateway.listeners[index];
                let (port, hostname) = place(listener);
                let message =
                    format!("listener {other} asks for port {port} and hostname {hostname} too");
                listener.conflicts(message);
            }
        }
    }
}

/// Refuses listeners whose names all belong to the file's routes.
fn refuse_names_of_the_file(gateways: &mut [OwnGateway<'_>], config: &GatewayApiConfig) {
    for gateway in gateways
        .iter_mut()
        .filter(|gateway| gateway.refused.is_none())
    {
        let served = gateway.listeners.iter_mut();
        for listener in served.filter(|listener| listener.refused.is_none()) {
            let (port, hostname) = place(listener);
            if let Some((of, pattern)) = file_routes::file_route_of_all(config, port, &hostname) {
                let message = format!(
                    "hostname {hostname} on port {port} stays with {pattern} of route {} of listener {} \
                     in strait's config; kubernetes.gateway_api.below_file_routes says what may lie below",
                    of.route, of.listener
                );
                listener.conflicts(message);
            }
        }
    }
}

/// Refuses listeners that ask for names which a listener of another Gateway has.
///
/// All Gateways share the addresses of this one gateway. Of two listeners that ask for the same names,
/// the one of the lower rank keeps them, then the older one; otherwise everybody who may create a
/// Gateway could stop another's traffic. (The Gateway API forbids to pick one within a Gateway; for
/// ListenerSets it picks as here, GEP-1713.) A listener may not have names below those of a lower rank
/// at all; at the same rank the more specific listener has them.
fn refuse_conflicts_between(gateways: &mut [OwnGateway<'_>], notices: &mut Notices) {
    let mut taken: HashMap<(u16, SniPattern), Holder> = HashMap::new();
    for gateway in gateways
        .iter_mut()
        .filter(|gateway| gateway.refused.is_none())
    {
        for listener in &mut gateway.listeners {
            if listener.refused.is_some() || !listener.takes_tls_routes {
                continue;
            }
            let (port, hostname) = place(listener);
            let at = (port, hostname.clone());
            let held: Vec<(&Holder, SniPattern)> = names::at_or_above(&hostname)
                .filter_map(|above| Some((taken.get(&(port, above.clone()))?, above)))
                .collect();
            let wins = |(holder, pattern): &&(&Holder, SniPattern)| {
                *pattern == hostname || holder.rank < gateway.rank
            };
            let loses_names = |(holder, _): &&(&Holder, SniPattern)| {
                holder.key.namespace != gateway.key.namespace
            };
            let winner = held.iter().find(wins);
            let loser = held.iter().find(loses_names);
            let own = format!("listener {} of Gateway {}", listener.spec.name, gateway.key);
            if let Some((holder, pattern)) = winner {
                let Holder { key, name, .. } = holder;
                let why = if holder.rank < gateway.rank {
                    "comes before in kubernetes.gateway_api.namespaces"
                } else {
                    "is older"
                };
                notices.add((Kind::Gateway, key.clone()), CONFLICT, format!(
                    "{own} asks for hostname {hostname} on port {port} and does not get it: listener \
                     {name} has {pattern}"
                ));
                listener.conflicts(format!(
                    "hostname {hostname} on port {port} stays with {pattern} of listener {name} of \
                     Gateway {key}, which {why}: all Gateways of this class share their addresses"
                ));
            } else {
                if let Some((Holder { key, name, .. }, pattern)) = loser {
                    notices.add((Kind::Gateway, key.clone()), TAKEN, format!(
                        "{own} has hostname {hostname} on port {port}, below {pattern} of listener \
                         {name}: the more specific listener has these names"
                    ));
                }
                taken.insert(at, Holder::new(gateway.key, gateway.rank, listener));
            }
        }
    }
}

/// The listener that has a hostname of a port.
struct Holder {
    key: ObjectKey,
    name: Arc<str>,
    rank: usize,
}

impl Holder {
    fn new(key: &ObjectKey, rank: usize, listener: &OwnListener<'_>) -> Self {
        Self {
            key: key.clone(),
            name: listener.spec.name.clone(),
            rank,
        }
    }
}
