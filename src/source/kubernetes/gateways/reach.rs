//! The reach of a listener's port: whether the gateway listens on it, and whether the Service in front
//! of the gateway leads to it.

use std::collections::BTreeSet;

use super::listeners::GatewayRefusal;
use crate::config::{GatewayAddresses, GatewayApiConfig};
use crate::source::kubernetes::cluster::Cluster;
use crate::source::kubernetes::ports::Ports;
use crate::source::kubernetes::records::{ObjectKey, ServicePortRecord, ServiceRecord};

/// The input for judging ports.
#[derive(Debug)]
pub(super) struct Reach<'a> {
    cluster: &'a Cluster,
    ports: &'a Ports,
    /// The Service in front of the gateway, if the config names one and it exists.
    front: Option<(ObjectKey, &'a ServiceRecord)>,
}

impl<'a> Reach<'a> {
    pub(super) fn of(cluster: &'a Cluster, config: &'a GatewayApiConfig, ports: &'a Ports) -> Self {
        let front = front(config).and_then(|key| {
            let service = cluster.services.get(&key)?;
            Some((key, service))
        });
        Self {
            cluster,
            ports,
            front,
        }
    }

    /// The reason why the gateway does not listen on `port` although it has tried to.
    pub(super) fn refusal(&self, port: u16) -> Option<GatewayRefusal> {
        let why = self.ports.failed.get(&port)?;
        let message = format!("strait cannot listen on port {port}, and tries again: {why}");
        Some(GatewayRefusal::new("PortUnavailable", message))
    }

    /// The reason why clients do not reach `port`, which the gateway may listen on, yet.
    pub(super) fn pending(&self, port: u16) -> Option<String> {
        if !self.ports.open.contains(&port) {
            return Some(format!("strait does not listen on port {port} yet"));
        }
        let (key, service) = self.front.as_ref()?;
        let leads_here = |one: &ServicePortRecord| match one.target {
            Some(target) => target.get() == port,
            None => {
                let numbers = numbers(self.cluster, key, &one.name);
                numbers.contains(&port) || (numbers.is_empty() && one.port == port)
            }
        };
        if service.ports.iter().any(leads_here) {
            return None;
        }
        Some(format!(
            "no port of Service {key}, which stands in front of this gateway, leads to port {port}: add \
             one, and allow it where network policies do not"
        ))
    }
}

/// The Service in front of the gateway.
pub(super) fn front(config: &GatewayApiConfig) -> Option<ObjectKey> {
    match &config.addresses {
        GatewayAddresses::Service { namespace, name } => Some(ObjectKey {
            namespace: namespace.clone(),
            name: name.clone(),
        }),
        GatewayAddresses::Unknown | GatewayAddresses::Fixed(_) => None,
    }
}

/// The pods' ports behind a Service, by number.
pub(in crate::source::kubernetes) fn pod_ports(
    cluster: &Cluster,
    service: &ObjectKey,
) -> BTreeSet<u16> {
    let ports = cluster.slices_of(service).flat_map(|slice| &slice.ports);
    ports.map(|(_, number)| *number).collect()
}

/// The pods' ports behind the Service's port `name`.
fn numbers(cluster: &Cluster, service: &ObjectKey, name: &str) -> BTreeSet<u16> {
    let ports = cluster.slices_of(service).flat_map(|slice| &slice.ports);
    let named = ports.filter(|(of, _)| **of == *name);
    named.map(|(_, number)| *number).collect()
}
