//! The workloads of a host that are no pods: the endpoints that ServiceEntries list.

use std::net::{IpAddr, SocketAddr};

use super::choice::Choice;
use super::mtls::Mtls;
use super::topology::{Locality, Topology};
use super::why::PodExclusion;
use crate::config::{EndpointSpec, Weight};
use crate::names::Zone;
use crate::source::kubernetes::cluster::Cluster;
use crate::source::kubernetes::records::ServicePortRecord;
use crate::source::kubernetes::records::entry::{EntryPortRecord, WorkloadAddress, WorkloadRecord};

/// A workload behind a host.
#[derive(Debug)]
pub(super) struct Workload<'a> {
    record: &'a WorkloadRecord,
    /// The ports of its ServiceEntry.
    ports: &'a [EntryPortRecord],
    place: Locality<'a>,
}

/// Every endpoint that the ServiceEntries of a namespace list for a host.
pub(super) fn listed<'a>(
    cluster: &'a Cluster,
    topology: Topology<'a>,
    namespace: &str,
    host: &str,
) -> Vec<Workload<'a>> {
    let entries = cluster.entries_of(host);
    let own =
        entries.filter(|(key, entry)| &*key.namespace == namespace && entry.selector.is_none());
    let workload = |ports, record| Workload {
        record,
        ports,
        place: Locality::of_workload(topology, record),
    };
    own.flat_map(|(_, entry)| {
        let endpoints = entry.endpoints.iter();
        endpoints.map(move |record| workload(&*entry.ports, record))
    })
    .collect()
}

impl Workload<'_> {
    /// Its endpoint, or the reason why it has none.
    pub(super) fn endpoint(
        &self,
        choice: &Choice<'_>,
        mtls: &Mtls<'_>,
    ) -> Result<EndpointSpec, PodExclusion> {
        let Self { record, place, .. } = self;
        choice.check_subset(place, mtls)?;
        if place.is_elsewhere() {
            return Err(PodExclusion::Elsewhere);
        }
        if place.is_draining() {
            return Err(PodExclusion::Draining);
        }
        let address = match record.address {
            WorkloadAddress::Ip(address) if is_host_only(address) => {
                return Err(PodExclusion::HostOnly);
            }
            WorkloadAddress::Ip(address) => address,
            WorkloadAddress::Name(_) => return Err(PodExclusion::ByName),
            WorkloadAddress::None => return Err(PodExclusion::NoAddress),
        };
        let port = self.port(choice.port).ok_or(PodExclusion::NoPort)?;
        if choice.mesh
            && let Some(outside) = mtls.outside(place, port, choice.port.port, choice.subset)
        {
            return Err(PodExclusion::Outside(outside));
        }
        Ok(EndpointSpec {
            address: SocketAddr::new(address, port),
            other: None,
            zone: place.zone().map(Zone::from),
            node: None,
            weight: Weight::saturating(record.weight),
            terminating: false,
        })
    }

    /// Its own port for a port of the host: the one of the same name.
    fn port(&self, port: &ServicePortRecord) -> Option<u16> {
        let of_entry = self.ports.iter().find(|of| of.name == port.name)?;
        let mut own = self.record.ports.iter();
        let own = own.find(|(name, _)| *name == port.name);
        let target = || of_entry.target.map(std::num::NonZeroU16::get);
        let number = own.map(|(_, number)| *number).or_else(target);
        Some(number.unwrap_or(of_entry.port))
    }
}

/// Whether an address leads to this host or its link. The API refuses such an address in an EndpointSlice,
/// but not in a ServiceEntry, whose author could reach the gateway's own ports by one.
fn is_host_only(address: IpAddr) -> bool {
    let by_family = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    by_family || address.is_loopback() || address.is_unspecified() || address.is_multicast()
}
