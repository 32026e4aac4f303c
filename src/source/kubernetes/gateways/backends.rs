//! The backends of a TLSRoute: the upstreams of its connections, and the ALPN offers that these must
//! make.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::listeners::GatewayRefusal;
use super::references::{self, Reference};
use crate::config::{AlpnPolicy, PodChoice, ServicePort, TargetConfig, TargetConfigs};
use crate::source::kubernetes::cluster::Cluster;
use crate::source::kubernetes::records::gateway::{BackendRef, TlsRouteRecord};
use crate::source::kubernetes::records::{ObjectKey, ServiceKind};

/// The annotation on a TLSRoute or a Service that, with the value `any`, removes the demand for an
/// Istio ALPN.
const ALPN: &str = "alpn";

/// The backends of a route.
#[derive(Debug)]
pub(super) struct Backends {
    /// The upstreams with their weights. An upstream's name is the display form of one of `ports`.
    pub(super) targets: TargetConfigs,
    /// The service ports behind the upstreams.
    pub(super) ports: Vec<ServicePort>,
    /// Every Service that was looked up.
    pub(super) services: Vec<ObjectKey>,
    /// The refused backends with their reasons.
    pub(super) refused: Vec<(ServicePort, Arc<str>)>,
    /// The ALPN offers that the route accepts.
    pub(super) alpn: AlpnPolicy,
    /// The first backend whose pods are the reason why clients must offer an Istio ALPN.
    pub(super) in_mesh: Option<Arc<str>>,
    /// The problem of the references: the reason of the first, and a message about all.
    pub(super) unresolved: Option<GatewayRefusal>,
    /// The number of rules left out: `v1` allows one.
    pub(super) dropped_rules: usize,
}

/// A backend that may be used.
struct Usable {
    port: ServicePort,
    /// True if its pods are in the mesh and the demand for an Istio ALPN was not removed.
    demands_istio: bool,
}

/// Reads the backends of `route`. `in_mesh` says whether a service port has a pod that speaks Istio's
/// mutual TLS.
pub(super) fn read(
    cluster: &Cluster,
    key: &ObjectKey,
    route: &TlsRouteRecord,
    in_mesh: &dyn Fn(&ServicePort) -> bool,
) -> Backends {
    let backends = route
        .spec
        .rules
        .first()
        .map_or(&[][..], |rule| &rule.backend_refs);
    let mut shares: Vec<(ServicePort, NonZeroU32)> = Vec::new();
    let mut refused: Vec<(ServicePort, Arc<str>)> = Vec::new();
    let mut wrong: Vec<GatewayRefusal> = Vec::new();
    let mut mesh = None;
    for backend in backends {
        let port = match usable(cluster, key, route, backend, in_mesh) {
            Ok(usable) => {
                let weighs = backend.weight != Some(0);
                if usable.demands_istio && weighs && mesh.is_none() {
                    mesh = Some(
                        target(key, backend, PodChoice::AsExported)
                            .to_string()
                            .into(),
                    );
                }
                usable.port
            }
            Err(refusal) => {
                let port = target(key, backend, PodChoice::Refused);
                refused.push((port.clone(), refusal.message.as_str().into()));
                wrong.push(refusal);
                port
            }
        };
        if let Some(weight) = NonZeroU32::new(backend.weight.unwrap_or(1)) {
            shares.push((port, weight));
        }
    }
    let targets = share_out(&mut shares, &mut refused, key, backends);
    let services = backends.iter().map(|backend| ObjectKey {
        namespace: backend.namespace.as_ref().unwrap_or(&key.namespace).clone(),
        name: backend.name.clone(),
    });
    let messages: Vec<&str> = wrong
        .iter()
        .map(|refusal| refusal.message.as_str())
        .collect();
    let message = messages.join("; ");
    Backends {
        targets,
        services: services.collect(),
        ports: shares.into_iter().map(|(port, _)| port).collect(),
        refused,
        alpn: mesh
            .as_ref()
            .map_or(AlpnPolicy::Any, |_| AlpnPolicy::istio()),
        in_mesh: mesh,
        unresolved: wrong
            .first()
            .map(|first| GatewayRefusal::new(first.reason, message)),
        dropped_rules: route.spec.rules.len().saturating_sub(1),
    }
}

/// Builds the targets from `shares`. Without any share every connection is refused; both lists note
/// that.
fn share_out(
    shares: &mut Vec<(ServicePort, NonZeroU32)>,
    refused: &mut Vec<(ServicePort, Arc<str>)>,
    key: &ObjectKey,
    backends: &[BackendRef],
) -> TargetConfigs {
    let mut targets = shares.iter().map(|(port, weight)| TargetConfig {
        upstream: port.to_string().into(),
        weight: *weight,
    });
    match targets.next() {
        Some(first) => TargetConfigs {
            first,
            rest: targets.collect(),
        },
        None => {
            let port = nothing(key, backends);
            let why = match backends {
                [] => "the TLSRoute names no backend",
                _ => "every backend of the TLSRoute has weight 0",
            };
            let targets = TargetConfigs::only(port.to_string().into());
            refused.push((port.clone(), why.into()));
            shares.push((port, NonZeroU32::MIN));
            targets
        }
    }
}

/// The service port that represents a backend which gets no connections, for a route that has no other.
fn nothing(key: &ObjectKey, backends: &[BackendRef]) -> ServicePort {
    match backends.first() {
        Some(backend) => target(key, backend, PodChoice::Refused),
        None => ServicePort {
            namespace: key.namespace.clone(),
            service: key.name.clone(),
            port: 0,
            subset: None,
            by_pod: false,
            pods: PodChoice::Refused,
        },
    }
}

fn target(key: &ObjectKey, backend: &BackendRef, pods: PodChoice) -> ServicePort {
    ServicePort {
        namespace: backend.namespace.as_ref().unwrap_or(&key.namespace).clone(),
        service: backend.name.clone(),
        port: backend.port.unwrap_or(0),
        subset: None,
        by_pod: false,
        pods,
    }
}

fn usable(
    cluster: &Cluster,
    key: &ObjectKey,
    route: &TlsRouteRecord,
    backend: &BackendRef,
    in_mesh: &dyn Fn(&ServicePort) -> bool,
) -> Result<Usable, GatewayRefusal> {
    let (group, kind) = (
        backend.group.as_deref().unwrap_or(""),
        backend.kind.as_deref().unwrap_or("Service"),
    );
    let name = &backend.name;
    if !group.is_empty() || kind != "Service" {
        let message =
            format!("backend {name}: only a Service can be one, not {kind} of group {group:?}");
        return Err(GatewayRefusal::new("InvalidKind", message));
    }
    let mut port = target(key, backend, PodChoice::All);
    let namespace = port.namespace.clone();
    // This check comes first, so that nothing is revealed about the other namespace's services.
    let reference = Reference {
        from: ("TLSRoute", &key.namespace),
        to: ("", "Service"),
        namespace: &namespace,
        name,
    };
    if !references::is_allowed(cluster, &reference) {
        let message = format!(
            "backend {namespace}/{name}: no ReferenceGrant in namespace {namespace} lets TLSRoutes of \
             namespace {} refer to it",
            key.namespace
        );
        return Err(GatewayRefusal::new("RefNotPermitted", message));
    }
    let service_key = ObjectKey {
        namespace,
        name: name.clone(),
    };
    let Some(service) = cluster.services.get(&service_key) else {
        let message = format!(
            "backend {}/{name}: there is no such Service",
            port.namespace
        );
        return Err(GatewayRefusal::new("BackendNotFound", message));
    };
    let complaint = if service.kind == ServiceKind::ExternalName {
        Some("a Service of type ExternalName has no pods".to_owned())
    } else if backend.port.is_none() {
        Some("it says no port".to_owned())
    } else if !service.ports.iter().any(|known| known.port == port.port) {
        Some(format!("the Service has no TCP port {}", port.port))
    } else {
        None
    };
    if let Some(complaint) = complaint {
        let message = format!("backend {}/{name}: {complaint}", port.namespace);
        return Err(GatewayRefusal::new("BackendNotFound", message));
    }
    // The owner of the pods decides: a route to another namespace's pods cannot remove their demand.
    let is_own = port.namespace == key.namespace;
    let lifted = service.annotations.get(ALPN) == Some("any")
        || (is_own && route.annotations.get(ALPN) == Some("any"));
    let demands_istio = !lifted && in_mesh(&port);
    if demands_istio {
        port.pods = PodChoice::Mesh;
    }
    Ok(Usable {
        port,
        demands_istio,
    })
}
