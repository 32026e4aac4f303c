//! The workloads of a host that no slice of a Service lists: endpoints of ServiceEntries, WorkloadEntries, and the
//! pods that a ServiceEntry selects.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;

use super::choice::Choice;
use super::dns_names::DnsAnswers;
use super::mtls::Mtls;
use super::topology::{Locality, Selected, Topology};
use super::why::{Member, PodExclusion};
use crate::config::{EndpointOrigin, EndpointSpec, OriginKind, Weight};
use crate::names::{NodeName, Zone};
use crate::source::address_kind::address_kind;
use crate::source::kubernetes::cluster::Cluster;
use crate::source::kubernetes::records::entry::{
    EntryPortRecord, ServiceEntryRecord, WorkloadAddress, WorkloadRecord,
};
use crate::source::kubernetes::records::{
    Labels, ObjectKey, PodRecord, ServiceKind, ServicePortRecord, ServiceRecord, SliceEndpoint,
};

/// The largest number of addresses that all the DNS names of a host give. A name has up to 64, and a ServiceEntry may
/// list one name thousands of times, each time with other ports.
const MAX_BY_NAME: usize = 4096;

/// The answers of DNS, as far as a host may use them.
#[derive(Debug)]
pub(super) struct HostAnswers<'n> {
    /// None if no name is asked for.
    answers: Option<&'n DnsAnswers>,
    /// The number of addresses that it may still have.
    left: usize,
}

impl<'n> HostAnswers<'n> {
    /// Those of a host whose names are asked for.
    pub(super) const fn new(answers: &'n DnsAnswers) -> Self {
        Self {
            answers: Some(answers),
            left: MAX_BY_NAME,
        }
    }

    /// Those of a host whose names are not asked for.
    pub(super) const fn none() -> Self {
        Self {
            answers: None,
            left: 0,
        }
    }
}

/// A workload behind a host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Workload<'a> {
    pub(super) member: Member,
    /// The object that it comes from.
    object: (OriginKind, &'a ObjectKey),
    /// Its name, if it is a pod.
    pod: Option<&'a Arc<str>>,
    /// The DNS name that it has for an address, and that may be asked for.
    pub(super) asks: Option<&'a Arc<str>>,
    /// Its address, or the reason why it gets no connection on any port.
    address: Result<IpAddr, PodExclusion>,
    place: Locality<'a>,
    zone: Option<&'a str>,
    node: Option<&'a Arc<str>>,
    weight: Weight,
    /// Its own ports by the names of the host's.
    own_ports: &'a [(Arc<str>, u16)],
    ports: HostPorts<'a>,
}

/// The object that gives a workload its ports.
#[derive(Debug, Clone, Copy)]
enum HostPorts<'a> {
    /// The ports of its ServiceEntry.
    Entry(&'a [EntryPortRecord]),
    /// The ports of the Service of the workload's cluster, each with its `targetPort`.
    Service(&'a [ServicePortRecord]),
}

/// Every workload of the ServiceEntries of a namespace with a host.
pub(super) fn of_entries<'a>(
    cluster: &'a Cluster,
    topology: Topology<'a>,
    names: &mut HostAnswers<'_>,
    namespace: &str,
    host: &str,
) -> Vec<Workload<'a>> {
    let mut found = Vec::new();
    for (key, entry) in cluster.entries_in(namespace, host) {
        match &entry.selector {
            Some(selector) => {
                found.extend(selected(cluster, topology, names, key, entry, selector));
            }
            None => {
                let listed = entry.endpoints.iter();
                let ports = HostPorts::Entry(&entry.ports);
                let workload = |of| Workload::new(topology, Member::EntryEndpoint, key, of, ports);
                found.extend(listed.flat_map(|of| workload(of).at_addresses(names)));
            }
        }
    }
    found
}

/// The workloads of another cluster that the ServiceEntries of a namespace with a host select. The entries are those
/// of `own`.
pub(super) fn of_entries_elsewhere<'a>(
    own: &'a Cluster,
    (cluster, topology): (&'a Cluster, Topology<'a>),
    namespace: &str,
    host: &str,
) -> Vec<Workload<'a>> {
    let entries = own.entries_in(namespace, host);
    let selecting = entries.filter_map(|(key, entry)| Some((key, entry, entry.selector.as_ref()?)));
    let of_entry = |(key, entry, selector)| {
        let names = &mut HostAnswers::none();
        selected(cluster, topology, names, key, entry, selector)
    };
    selecting.flat_map(of_entry).collect()
}

/// The workloads of its namespace that a ServiceEntry selects.
fn selected<'a>(
    cluster: &'a Cluster,
    topology: Topology<'a>,
    names: &mut HostAnswers<'_>,
    key: &'a ObjectKey,
    entry: &'a ServiceEntryRecord,
    selector: &Labels,
) -> Vec<Workload<'a>> {
    let ports = HostPorts::Entry(&entry.ports);
    let mut found = workload_entries(cluster, topology, names, &key.namespace, selector, ports);
    if !selector.is_empty() {
        let pods = cluster.pods.in_namespace(&key.namespace);
        let pods = pods.map(|pod| Workload::of_pod(cluster, topology, key, pod, ports));
        found.extend(pods.filter(|pod| pod.place.is_selected(selector) == Selected::Yes));
    }
    found
}

/// The WorkloadEntries behind a Service.
pub(super) fn behind<'a>(
    cluster: &'a Cluster,
    topology: Topology<'a>,
    names: &mut HostAnswers<'_>,
    key: &ObjectKey,
    service: &'a ServiceRecord,
) -> Vec<Workload<'a>> {
    match service.kind {
        ServiceKind::Headless | ServiceKind::ExternalName => Vec::new(),
        ServiceKind::Balanced => {
            let (namespace, selector) = (&key.namespace, &service.selector);
            workload_entries(
                cluster,
                topology,
                names,
                namespace,
                selector,
                HostPorts::Service(&service.ports),
            )
        }
    }
}

/// The WorkloadEntries of a namespace that a selector selects. An empty one selects nothing.
fn workload_entries<'a>(
    cluster: &'a Cluster,
    topology: Topology<'a>,
    names: &mut HostAnswers<'_>,
    namespace: &str,
    selector: &Labels,
    ports: HostPorts<'a>,
) -> Vec<Workload<'a>> {
    if cluster.workload_entries.is_empty() || selector.is_empty() {
        return Vec::new();
    }
    let entries = cluster.workload_entries.in_namespace(namespace);
    let workloads = entries.map(|(key, entry)| {
        let of = &entry.workload;
        let mut workload = Workload::new(topology, Member::WorkloadEntry, key, of, ports);
        if entry.unhealthy {
            workload.address = Err(PodExclusion::Unhealthy);
        }
        workload
    });
    let is_selected = |of: &Workload<'_>| of.place.is_selected(selector) == Selected::Yes;
    let selected = workloads.filter(is_selected);
    selected.flat_map(|of| of.at_addresses(names)).collect()
}

/// The address, unless no workload has it. The API refuses most of those in an EndpointSlice, but none in a
/// ServiceEntry, whose author could reach the gateway's own ports, or the credentials of its host.
fn usable(address: IpAddr) -> Result<IpAddr, PodExclusion> {
    match address_kind(address) {
        Some(_) => Err(PodExclusion::NoWorkloadsAddress),
        None => Ok(address),
    }
}

impl<'a> Workload<'a> {
    fn new(
        topology: Topology<'a>,
        member: Member,
        key: &'a ObjectKey,
        record: &'a WorkloadRecord,
        ports: HostPorts<'a>,
    ) -> Self {
        let place = Locality::of_workload(topology, record);
        let address = match record.address {
            WorkloadAddress::Ip(address) => usable(address),
            WorkloadAddress::Name(_) => Err(PodExclusion::ByName),
            WorkloadAddress::None => Err(PodExclusion::NoAddress),
        };
        let kind = match member {
            Member::WorkloadEntry => OriginKind::WorkloadEntry,
            Member::Pod | Member::EntryEndpoint => OriginKind::ServiceEntry,
        };
        Self {
            member,
            object: (kind, key),
            pod: None,
            asks: match &record.address {
                WorkloadAddress::Name(name) => Some(name),
                WorkloadAddress::Ip(_) | WorkloadAddress::None => None,
            },
            address,
            place,
            zone: place.zone(),
            node: None,
            weight: Weight::saturating(record.weight),
            own_ports: &record.ports,
            ports,
        }
    }

    /// The workload once for each address of its DNS name, if it has one. Addresses beyond the limit of the host are
    /// one workload without a connection.
    fn at_addresses(mut self, names: &mut HostAnswers<'_>) -> Vec<Self> {
        let (Some(name), Some(answers)) = (self.asks, names.answers) else {
            self.asks = None;
            return vec![self];
        };
        if self.address != Err(PodExclusion::ByName) {
            return vec![self];
        }
        let addresses = answers.of(name);
        if addresses.is_empty() {
            self.address = Err(PodExclusion::NotResolved);
            return vec![self];
        }
        let taken = addresses.len().min(names.left);
        names.left -= taken;
        let usable = addresses.iter().take(taken).map(|one| usable(*one));
        let beyond = (taken < addresses.len()).then_some(Err(PodExclusion::TooManyByName));
        let at = |address| Self { address, ..self };
        usable.chain(beyond).map(at).collect()
    }

    /// Leaves it out, since it is in another cluster than the gateway.
    pub(super) fn keep_local(&mut self) {
        self.address = Err(PodExclusion::ClusterLocal);
    }

    /// A pod that `entry` selects. Slices have its address: strait reads no more of a pod than its metadata.
    fn of_pod(
        cluster: &'a Cluster,
        topology: Topology<'a>,
        entry: &'a ObjectKey,
        (key, pod): (&'a ObjectKey, &'a PodRecord),
        ports: HostPorts<'a>,
    ) -> Self {
        let slices = cluster.slices_with(key);
        let endpoints = slices.flat_map(|slice| &slice.endpoints);
        let own = endpoints.filter(|endpoint| endpoint.pod.as_ref() == Some(&key.name));
        let first = own.min_by_key(|it| (it.terminating, !it.ready, it.address));
        let node_name = first.and_then(|it| it.node.as_ref());
        let node = node_name.and_then(|name| cluster.nodes.get(&ObjectKey::global(name)));
        let zone = first.and_then(|it| it.zone.as_ref());
        let zone = zone.or_else(|| node?.zone.as_ref());
        let address = |it: &SliceEndpoint| match (it.terminating, it.ready) {
            (true, _) => Err(PodExclusion::Terminating),
            (false, false) => Err(PodExclusion::NotReady),
            (false, true) => Ok(it.address),
        };
        Self {
            member: Member::Pod,
            object: (OriginKind::ServiceEntry, entry),
            pod: Some(&key.name),
            asks: None,
            address: first.map_or(Err(PodExclusion::InNoSlice), address),
            place: Locality::new(topology, Some(&pod.labels), node_name, node),
            zone: zone.map(|zone| &**zone),
            node: node_name,
            weight: Weight::MIN,
            own_ports: &[],
            ports,
        }
    }

    /// Its endpoint, or the reason why it has none.
    pub(super) fn endpoint(
        &self,
        choice: &Choice<'_>,
        mtls: &Mtls<'_>,
    ) -> Result<EndpointSpec, PodExclusion> {
        let place = &self.place;
        choice.check_subset(place, mtls)?;
        if place.is_elsewhere() {
            return Err(PodExclusion::Elsewhere);
        }
        if place.is_draining() {
            return Err(PodExclusion::Draining);
        }
        let address = self.address?;
        let port = self.port(choice.port).ok_or(PodExclusion::NoPort)?;
        if choice.mesh
            && let Some(outside) = mtls.outside(place, port, choice.port.port, choice.subset)
        {
            return Err(PodExclusion::Outside(outside));
        }
        Ok(EndpointSpec {
            address: SocketAddr::new(address, port),
            other: None,
            zone: self.zone.map(Zone::from),
            node: self.node.cloned().map(NodeName::from),
            hostname: None,
            weight: self.weight,
            terminating: false,
            origin: Some(Arc::new(EndpointOrigin {
                cluster: place.cluster().cloned(),
                kind: self.object.0,
                namespace: self.object.1.namespace.clone(),
                name: self.object.1.name.clone(),
                pod: self.pod.cloned(),
                rule: choice.rule.cloned(),
            })),
        })
    }

    /// Its port for a port of the host.
    fn port(&self, port: &ServicePortRecord) -> Option<u16> {
        let own = |name: &Arc<str>| {
            let mut ports = self.own_ports.iter();
            let found = ports.find(|(own, _)| !name.is_empty() && own == name);
            found.map(|(_, number)| *number)
        };
        match self.ports {
            HostPorts::Entry(ports) => {
                let of_entry = ports.iter().find(|of| of.name == port.name)?;
                let target = of_entry.target.map(NonZeroU16::get);
                own(&port.name).or(target).or(Some(of_entry.port))
            }
            // A name of a targetPort must be among the workload's own.
            HostPorts::Service(ports) => {
                let port = ports.iter().find(|of| of.name == port.name)?;
                match (&port.target_name, port.target) {
                    (Some(name), None) => own(name),
                    (_, target) => {
                        own(&port.name).or(Some(target.map_or(port.port, NonZeroU16::get)))
                    }
                }
            }
        }
    }
}
