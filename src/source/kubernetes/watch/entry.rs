//! Istio's ServiceEntries: the conversion of their objects into records.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;

use serde::Deserialize;

use super::object::{Watched, annotations, created, labels, object, version};
use super::served::Served;
use crate::source::kubernetes::cluster::Record;
use crate::source::kubernetes::records::Labels;
use crate::source::kubernetes::records::entry::{
    EntryPortRecord, ServiceEntryRecord, WorkloadAddress, WorkloadRecord,
};

/// The largest numbers that the API allows in one ServiceEntry.
const MAX_HOSTS: usize = 256;
const MAX_PORTS: usize = 256;
const MAX_ENDPOINTS: usize = 4096;
/// The largest number of namespaces in `exportTo`. It stays hidden from further ones.
const MAX_EXPORTS: usize = 1000;
/// The prefix of an address that is a Unix socket.
const UNIX: &str = "unix://";

object! {
    /// A ServiceEntry.
    ServiceEntryObject { spec: ServiceEntrySpec, }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ServiceEntrySpec {
    hosts: Option<Vec<String>>,
    ports: Option<Vec<EntryPort>>,
    location: Option<EntryLocation>,
    resolution: Option<Resolution>,
    endpoints: Option<Vec<WorkloadSpec>>,
    workload_selector: Option<WorkloadSelector>,
    export_to: Option<Vec<Arc<str>>>,
}

/// A location that is not in this list could take a host out of the mesh, so an object with it counts as
/// unreadable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum EntryLocation {
    MeshExternal,
    MeshInternal,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Resolution {
    None,
    Static,
    Dns,
    DnsRoundRobin,
    DynamicDns,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct EntryPort {
    number: u32,
    name: Option<Arc<str>>,
    protocol: Option<String>,
    target_port: u32,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct WorkloadSelector {
    labels: Option<BTreeMap<String, String>>,
}

/// A workload, as in `endpoints` of a ServiceEntry.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WorkloadSpec {
    address: Option<String>,
    ports: Option<BTreeMap<Arc<str>, u32>>,
    labels: Option<BTreeMap<String, String>>,
    network: Option<Arc<str>>,
    locality: Option<Arc<str>>,
    weight: u32,
    service_account: Option<String>,
}

fn port(number: u32) -> Option<NonZeroU16> {
    u16::try_from(number).ok().and_then(NonZeroU16::new)
}

impl EntryPort {
    fn record(self) -> Option<EntryPortRecord> {
        let protocol = self.protocol.unwrap_or_default();
        let is_tcp = !protocol.eq_ignore_ascii_case("UDP");
        Some(EntryPortRecord {
            name: self.name.unwrap_or_default(),
            port: port(self.number).filter(|_| is_tcp)?.get(),
            target: port(self.target_port),
        })
    }
}

impl WorkloadSpec {
    fn record(self) -> WorkloadRecord {
        let address = self.address.unwrap_or_default();
        let address = match address.parse::<std::net::IpAddr>() {
            Ok(address) => WorkloadAddress::Ip(address.to_canonical()),
            Err(_) if address.is_empty() || address.starts_with(UNIX) => WorkloadAddress::None,
            Err(_) => WorkloadAddress::Name(address.into()),
        };
        let ports = self.ports.unwrap_or_default().into_iter().take(MAX_PORTS);
        let ports = ports.filter_map(|(name, number)| Some((name, port(number)?.get())));
        let labels: Labels = self.labels.unwrap_or_default().into_iter().collect();
        let set = |text: Option<Arc<str>>| text.filter(|text| !text.is_empty());
        WorkloadRecord {
            address,
            labels,
            has_account: self.service_account.is_some_and(|name| !name.is_empty()),
            ports: ports.collect(),
            network: set(self.network),
            locality: set(self.locality),
            weight: self.weight,
        }
    }
}

impl Watched for ServiceEntryObject {
    fn record(self, _served: &Served) -> Result<Option<Record>, String> {
        let (spec, mut metadata) = (self.spec, self.metadata);
        let hosts = spec.hosts.into_iter().flatten().take(MAX_HOSTS);
        let ports = spec.ports.into_iter().flatten().take(MAX_PORTS);
        let endpoints = spec.endpoints.into_iter().flatten().take(MAX_ENDPOINTS);
        let export_to = spec.export_to.into_iter().flatten().take(MAX_EXPORTS);
        let selector = spec.workload_selector.map(|selector| {
            let labels = selector.labels.unwrap_or_default();
            labels.into_iter().collect()
        });
        Ok(Some(Record::ServiceEntry(ServiceEntryRecord {
            resource_version: version(&metadata),
            created: created(&metadata),
            annotations: annotations(&metadata),
            labels: labels(&mut metadata),
            hosts: hosts.map(|host| host.to_ascii_lowercase().into()).collect(),
            // The first value of the enum, which a message without the field has.
            external: spec.location.unwrap_or(EntryLocation::MeshExternal)
                == EntryLocation::MeshExternal,
            by_dns: match spec.resolution {
                None | Some(Resolution::None | Resolution::Static) => false,
                Some(Resolution::Dns | Resolution::DnsRoundRobin | Resolution::DynamicDns) => true,
            },
            export_to: export_to.collect(),
            ports: ports.filter_map(EntryPort::record).collect(),
            endpoints: endpoints.map(WorkloadSpec::record).collect(),
            selector,
        })))
    }
}
