//! The pods behind a Service, put together from its slices.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::choice::Choice;
use super::host::ObjectHost;
use super::mesh::Mesh;
use super::mtls::{Mtls, Outside};
use super::topology::{Locality, Topology};
use super::why::PodExclusion;
use crate::config::{
    EndpointOrigin, EndpointSpec, KubernetesConfig, OriginKind, ServicePort, Weight,
};
use crate::names::{NodeName, Zone};
use crate::source::kubernetes::cluster::{Cluster, Kind};
use crate::source::kubernetes::records::{
    ObjectKey, ServicePortRecord, ServiceRecord, SliceEndpoint,
};

/// A pod behind a Service, or an address that belongs to no pod.
#[derive(Debug)]
pub(super) struct Pod<'a> {
    /// Its addresses: one for each family, each perhaps in several slices; those of the Service's first
    /// family first. Never empty.
    at: Vec<PodAddress<'a>>,
    /// Its name; `None` if the address is that of no pod.
    name: Option<&'a Arc<str>>,
    /// The reason why it gets no connection on any port, if no slice says one.
    missing: Option<PodExclusion>,
    place: Locality<'a>,
    /// True if it is a pod, and pods cannot be watched or this one cannot be read.
    unreadable: bool,
    zone: Option<&'a Arc<str>>,
    node: Option<&'a Arc<str>>,
    /// Its name in a headless Service.
    pub(super) hostname: Option<&'a Arc<str>>,
}

/// An address of a pod in a slice.
#[derive(Debug, Clone, Copy)]
struct PodAddress<'a> {
    slice: &'a ObjectKey,
    ports: &'a [(Arc<str>, u16)],
    endpoint: &'a SliceEndpoint,
}

impl PodAddress<'_> {
    /// The address at a port of the Service, if the slice has the port.
    fn at_port(&self, port: &ServicePortRecord) -> Option<SocketAddr> {
        let mut ports = self.ports.iter();
        let (_, number) = ports.find(|(name, _)| *name == port.name)?;
        Some(SocketAddr::new(self.endpoint.address, *number))
    }
}

/// The addresses of a pod at a port.
#[derive(Debug, Clone, Copy)]
struct Addresses<'a> {
    first: SocketAddr,
    /// The slice that has it.
    slice: &'a ObjectKey,
    /// One of the other family.
    other: Option<SocketAddr>,
    /// True if the pod terminates and still serves.
    terminating: bool,
}

/// Every pod behind a Service.
pub(super) fn behind<'a>(
    cluster: &'a Cluster,
    topology: Topology<'a>,
    key: &ObjectKey,
    service: &ServiceRecord,
) -> Vec<Pod<'a>> {
    let mut by_pod: BTreeMap<(Option<&Arc<str>>, Option<IpAddr>), Vec<_>> = BTreeMap::new();
    for (slice, record) in cluster.keyed_slices_of(key) {
        for endpoint in &record.endpoints {
            let found = || cluster.pod_at(&key.namespace, endpoint.address);
            let pod = endpoint.pod.as_ref().or_else(found);
            let address = pod.is_none().then_some(endpoint.address);
            let at = by_pod.entry((pod, address)).or_default();
            at.push(PodAddress {
                slice,
                ports: &record.ports,
                endpoint,
            });
        }
    }
    let pods = by_pod.into_iter();
    pods.map(|((name, _), at)| Pod::new(cluster, topology, key, service, name, at))
        .collect()
}

impl<'a> Pod<'a> {
    fn new(
        cluster: &'a Cluster,
        topology: Topology<'a>,
        key: &ObjectKey,
        service: &ServiceRecord,
        name: Option<&'a Arc<str>>,
        mut at: Vec<PodAddress<'a>>,
    ) -> Self {
        let pod = name.map(|name| key.beside(name));
        let record = pod.as_ref().and_then(|pod| cluster.pods.get(pod));
        let blank = pod.filter(|_| record.is_none());
        let unreadable = blank.as_ref().is_some_and(|pod| {
            !cluster.is_known(Kind::Pod)
                || cluster.absent(Kind::Pod).is_some()
                || cluster.why_unreadable(Kind::Pod, pod).is_some()
        });
        at.sort_by_key(|it| {
            let address = it.endpoint.address;
            (address.is_ipv6() != service.ipv6_first, address)
        });
        let first = |get: fn(&'a SliceEndpoint) -> Option<&'a Arc<str>>| {
            at.iter().find_map(|it| get(it.endpoint))
        };
        let node_name = first(|it| it.node.as_ref());
        let node = node_name.and_then(|name| cluster.nodes.get(&ObjectKey::global(name)));
        let place = Locality::new(topology, record.map(|pod| &pod.labels), node_name, node);
        let missing = if blank.is_some() && !unreadable {
            Some(PodExclusion::Unknown)
        } else if place.is_elsewhere() {
            Some(PodExclusion::Elsewhere)
        } else if place.is_draining() {
            Some(PodExclusion::Draining)
        } else {
            None
        };
        Self {
            name,
            missing,
            unreadable,
            place,
            zone: first(|it| it.zone.as_ref()).or_else(|| node?.zone.as_ref()),
            node: node_name,
            hostname: first(|it| it.hostname.as_ref()),
            at,
        }
    }

    /// Leaves it out, since it is in another cluster than the gateway.
    pub(super) fn keep_local(&mut self) {
        self.missing = Some(PodExclusion::ClusterLocal);
    }

    /// Each slice that has a port of the Service, with the address in it.
    fn at_port(
        &self,
        port: &ServicePortRecord,
    ) -> impl Iterator<Item = (&PodAddress<'a>, SocketAddr)> {
        let at = self.at.iter();
        at.filter_map(|it| Some((it, it.at_port(port)?)))
    }

    /// Its addresses at a port of the Service that get connections: one, and perhaps one of the other
    /// family.
    fn addresses(&self, port: &ServicePortRecord) -> Result<Addresses<'a>, PodExclusion> {
        // Of a Service with publishNotReadyAddresses the API says ready to the end.
        let is_leaving = |it: &SliceEndpoint| it.terminating && !it.ready;
        let terminating = self.at_port(port).any(|(it, _)| is_leaving(it.endpoint));
        // A pod that moves from one slice to another is in both for a while, and one of them is
        // outdated.
        let serves = |it: &SliceEndpoint| it.serving || !is_leaving(it);
        let serves = self.at_port(port).all(|(it, _)| serves(it.endpoint));
        let gets = |it: &SliceEndpoint| match terminating {
            true => is_leaving(it) && serves,
            false => it.ready,
        };
        let mut there = false;
        let (mut first, mut other) = (None, None);
        for (it, address) in self.at_port(port) {
            there = true;
            match first {
                _ if !gets(it.endpoint) => {}
                None => first = Some((address, it.slice)),
                Some((first, _)) if first.is_ipv4() != address.is_ipv4() => {
                    other.get_or_insert(address);
                }
                Some(_) => {}
            }
        }
        match (first, self.missing) {
            (None, _) if terminating => Err(PodExclusion::Terminating),
            (None, _) if there => Err(PodExclusion::NotReady),
            (_, Some(missing)) => Err(missing),
            (None, None) => Err(PodExclusion::NoPort),
            (Some((first, slice)), None) => Ok(Addresses {
                first,
                slice,
                other,
                terminating,
            }),
        }
    }

    /// Its endpoint, or the reason why it has none.
    pub(super) fn endpoint(
        &self,
        choice: &Choice<'_>,
        mtls: &Mtls<'_>,
    ) -> Result<EndpointSpec, PodExclusion> {
        choice.check_subset(&self.place, mtls)?;
        let Addresses {
            first: address,
            slice,
            other,
            terminating,
        } = self.addresses(choice.port)?;
        if choice.mesh
            && let Some(outside) = self.outside(choice, address, mtls)
        {
            return Err(match outside {
                Outside::NoSidecar if self.unreadable => PodExclusion::Unreadable,
                outside => PodExclusion::Outside(outside),
            });
        }
        Ok(EndpointSpec {
            address,
            other,
            zone: self.zone.cloned().map(Zone::from),
            node: self.node.cloned().map(NodeName::from),
            hostname: self.hostname.filter(|_| choice.by_pod).cloned(),
            weight: Weight::MIN,
            terminating,
            origin: Some(Arc::new(EndpointOrigin {
                cluster: self.place.cluster().cloned(),
                kind: OriginKind::EndpointSlice,
                namespace: slice.namespace.clone(),
                name: slice.name.clone(),
                pod: self.name.cloned(),
                rule: choice.rule.cloned(),
            })),
        })
    }

    fn outside(
        &self,
        choice: &Choice<'_>,
        address: SocketAddr,
        mtls: &Mtls<'_>,
    ) -> Option<Outside> {
        mtls.outside(&self.place, address.port(), choice.port.port, choice.subset)
    }

    /// Whether it speaks Istio's mutual TLS at a port of the Service, ready or not. If that is not
    /// known, the answer is yes: a client without mutual TLS must not reach a pod that has it.
    pub(super) fn is_in_mesh(&self, choice: &Choice<'_>, mtls: &Mtls<'_>) -> bool {
        let mut all = self.at_port(choice.port);
        all.next().is_some_and(|(_, address)| {
            let outside = self.outside(choice, address, mtls);
            outside.is_none_or(|outside| {
                outside.is_guess() || (self.unreadable && outside == Outside::NoSidecar)
            })
        })
    }
}

/// Whether a port of a Service has a pod that speaks Istio's mutual TLS, ready or not.
pub(super) fn is_in_mesh(cluster: &Cluster, policy: &KubernetesConfig, port: &ServicePort) -> bool {
    let key = ObjectKey {
        namespace: port.namespace.clone(),
        name: port.service.clone(),
    };
    let Some(service) = cluster.services.get(&key) else {
        return false;
    };
    let Some(record) = service.ports.iter().find(|record| record.port == port.port) else {
        return false;
    };
    let mesh = Mesh::of(cluster, policy);
    let host = ObjectHost::Service {
        key: &key,
        domain: policy.cluster_domain.as_str(),
    };
    let mtls = Mtls::of(cluster, &mesh, &host);
    let choice = Choice {
        port: record,
        subset: port.subset.as_ref(),
        by_pod: port.by_pod,
        mesh: true,
        rule: None,
    };
    let topology = Topology::of(cluster, policy);
    let pods = behind(cluster, topology, &key, service);
    pods.iter().any(|pod| pod.is_in_mesh(&choice, &mtls))
}
