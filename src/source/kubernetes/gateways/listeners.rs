//! Which Gateways are ours, and what of their listeners can be served.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::names;
use crate::config::{GatewayApiConfig, SniPattern};
use crate::source::kubernetes::cluster::Cluster;
use crate::source::kubernetes::records::ObjectKey;
use crate::source::kubernetes::records::gateway::{
    GROUP, GatewayClassRecord, GatewayRecord, Listener, RouteKind,
};

/// The ports that all Gateways may have together: each costs a socket a worker.
const MAX_PORTS: usize = 64;

/// Why something is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The `reason` of its condition.
    pub(super) reason: &'static str,
    /// For people.
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { reason, message }
    }
}

/// A Gateway of ours.
#[derive(Debug)]
pub(super) struct OwnGateway<'a> {
    pub(super) key: &'a ObjectKey,
    pub(super) record: &'a GatewayRecord,
    /// Why none of it is served, whatever its listeners are like.
    pub(super) refused: Option<Refusal>,
    pub(super) listeners: Vec<OwnListener<'a>>,
}

impl OwnGateway<'_> {
    /// Whether the listener carries traffic.
    pub(super) fn serves(&self, listener: &OwnListener<'_>) -> bool {
        self.refused.is_none() && listener.refused.is_none() && listener.takes_tls_routes
    }
}

/// A listener of a Gateway of ours.
#[derive(Debug)]
pub(super) struct OwnListener<'a> {
    pub(super) spec: &'a Listener,
    /// Which names it takes.
    pub(super) hostname: SniPattern,
    /// Why it is not accepted.
    pub(super) refused: Option<Refusal>,
    /// Whether `refused` is because of another listener.
    pub(super) conflicted: bool,
    /// Whether TLSRoutes are among the routes that may attach.
    pub(super) takes_tls_routes: bool,
    /// A kind of route that the listener names and that does not exist here.
    pub(super) unknown_kind: Option<&'a RouteKind>,
}

/// The GatewayClass that the config names, if it names this controller.
pub(super) fn own_class<'a>(
    cluster: &'a Cluster,
    config: &GatewayApiConfig,
) -> Option<(&'a ObjectKey, &'a GatewayClassRecord)> {
    let mut classes = cluster.gateway_classes.iter();
    classes.find(|(key, class)| {
        key.name == config.class && class.spec.controller_name == config.controller
    })
}

/// The Gateways of the class, the oldest first.
pub(super) fn own_gateways<'a>(
    cluster: &'a Cluster,
    config: &GatewayApiConfig,
) -> Vec<OwnGateway<'a>> {
    let class_served =
        own_class(cluster, config).is_some_and(|(_, class)| !class.spec.has_parameters);
    if !class_served {
        return Vec::new();
    }
    let own = cluster.gateways.iter();
    let own = own.filter(|(_, gateway)| gateway.spec.gateway_class_name == config.class);
    let mut gateways: Vec<OwnGateway<'_>> = own
        .map(|(key, record)| OwnGateway {
            key,
            record,
            refused: refusal(record),
            listeners: record.spec.listeners.iter().map(listener).collect(),
        })
        .collect();
    // Stable: those of one age are by name already.
    gateways.sort_by_key(|gateway| gateway.record.revision.created);
    refuse_ports(&mut gateways, config);
    refuse_conflicts_within(&mut gateways);
    refuse_conflicts_between(&mut gateways);
    gateways
}

fn refusal(gateway: &GatewayRecord) -> Option<Refusal> {
    if gateway.spec.infrastructure.has_parameters {
        let message = "spec.infrastructure.parametersRef: strait takes no parameters; remove it";
        return Some(Refusal::new("InvalidParameters", message));
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
    Some(Refusal::new("UnsupportedAddress", message))
}

fn listener(spec: &Listener) -> OwnListener<'_> {
    let mode = spec.tls.mode.as_deref();
    let hostname = match spec.hostname.as_deref() {
        None | Some("") => Ok(SniPattern::Any),
        Some(hostname) => names::parse(hostname),
    };
    let refused = if &*spec.protocol != "TLS" {
        let message = format!("protocol {} is not served; use TLS", spec.protocol);
        Some(Refusal::new("UnsupportedProtocol", message))
    } else if mode != Some("Passthrough") {
        let message = "tls.mode Terminate is not served: strait holds no keys; use Passthrough";
        Some(Refusal::new("UnsupportedValue", message))
    } else if let Err(error) = &hostname {
        Some(Refusal::new(
            "UnsupportedValue",
            format!("hostname: {error}"),
        ))
    } else {
        None
    };
    // Any TLS listener that is served takes TLSRoutes, and no other kind.
    let passes_tls = &*spec.protocol == "TLS" && mode == Some("Passthrough");
    let kinds = &spec.allowed_routes.kinds;
    let known = |kind: &RouteKind| {
        passes_tls && kind.group.as_deref().unwrap_or(GROUP) == GROUP && &*kind.kind == "TLSRoute"
    };
    OwnListener {
        spec,
        hostname: hostname.unwrap_or(SniPattern::Any),
        refused,
        conflicted: false,
        takes_tls_routes: passes_tls && (kinds.is_empty() || kinds.iter().any(known)),
        unknown_kind: kinds.iter().find(|kind| !known(kind)),
    }
}

/// Refuses ports that this gateway uses itself, and more ports than [`MAX_PORTS`].
fn refuse_ports(gateways: &mut [OwnGateway<'_>], config: &GatewayApiConfig) {
    let mut ports = BTreeSet::new();
    for gateway in gateways {
        for listener in &mut gateway.listeners {
            let port = listener.spec.port;
            if listener.refused.is_some() {
                continue;
            }
            let message = if port == 0 || config.reserved_ports.contains(&port) {
                format!("port {port} is the gateway's own; use another")
            } else if !ports.contains(&port) && ports.len() == MAX_PORTS {
                format!("the Gateways of this class have {MAX_PORTS} ports already, the limit")
            } else {
                ports.insert(port);
                continue;
            };
            listener.refused = Some(Refusal::new("PortUnavailable", message));
        }
    }
}

/// What must differ between two TLS listeners.
fn place(listener: &OwnListener<'_>) -> (u16, SniPattern) {
    (listener.spec.port, listener.hostname.clone())
}

/// Refuses all listeners of one Gateway that ask for the same: the Gateway API forbids to pick one.
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
                listener.refused = Some(Refusal::new("HostnameConflict", message));
                listener.conflicted = true;
            }
        }
    }
}

/// All Gateways share the addresses of this one gateway. Of two that ask for the same the older one
/// keeps it: else whoever makes a Gateway could stop another's traffic. ListenerSets are held so too
/// (GEP-1713).
fn refuse_conflicts_between(gateways: &mut [OwnGateway<'_>]) {
    let mut taken: HashMap<(u16, SniPattern), (ObjectKey, Arc<str>)> = HashMap::new();
    for gateway in gateways {
        if gateway.refused.is_some() {
            continue;
        }
        for listener in &mut gateway.listeners {
            if listener.refused.is_some() {
                continue;
            }
            let place = place(listener);
            if let Some((first, name)) = taken.get(&place) {
                let (port, hostname) = place;
                let message = format!(
                    "listener {name} of the older Gateway {}/{} has port {port} and hostname \
                     {hostname}, and all Gateways of this class share their addresses",
                    first.namespace, first.name
                );
                listener.refused = Some(Refusal::new("HostnameConflict", message));
                listener.conflicted = true;
            } else {
                taken.insert(place, (gateway.key.clone(), listener.spec.name.clone()));
            }
        }
    }
}
