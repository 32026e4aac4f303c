//! Istio's ServiceEntries and WorkloadEntries: the conversion of their objects into records.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;

use serde::Deserialize;

use super::object::{Watched, annotation, annotations, created, labels, object, version};
use super::served::Served;
use crate::source::kubernetes::api_names::HEALTH_CHECKS;
use crate::source::kubernetes::cluster::Record;
use crate::source::kubernetes::records::Labels;
use crate::source::kubernetes::records::entry::{
    EntryPortRecord, ServiceEntryRecord, WorkloadAddress, WorkloadEntryRecord, WorkloadRecord,
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

object! {
    /// A WorkloadEntry.
    WorkloadEntryObject { spec: WorkloadSpec, status: WorkloadStatus, }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct WorkloadStatus {
    conditions: Option<Vec<WorkloadCondition>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct WorkloadCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

impl WorkloadStatus {
    fn is_healthy(&self) -> bool {
        let mut conditions = self.conditions.iter().flatten();
        let healthy = conditions.find(|condition| condition.kind == "Healthy");
        healthy.is_some_and(|condition| condition.status == "True")
    }
}

/// Whether Go's `ParseBool` reads the text as true, as istiod does.
fn says_true(text: &str) -> bool {
    ["1", "t", "T", "TRUE", "true", "True"].contains(&text)
}

impl Watched for WorkloadEntryObject {
    fn record(self, _served: &Served) -> Result<Option<Record>, String> {
        let (mut spec, metadata) = (self.spec, self.metadata);
        let checked = annotation(&metadata, HEALTH_CHECKS).is_some_and(says_true);
        let own = metadata.labels.into_iter().flatten();
        spec.labels.get_or_insert_default().extend(own);
        Ok(Some(Record::WorkloadEntry(WorkloadEntryRecord {
            workload: spec.record(),
            unhealthy: checked && !self.status.is_healthy(),
        })))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::source::kubernetes::cluster::Kind;

    fn record<O: Watched>(kind: Kind, mut object: Value) -> Result<Record, String> {
        object["metadata"]["name"] = json!("a");
        let object: O = serde_json::from_value(object).map_err(|error| error.to_string())?;
        let record = object.record(&Served::as_of(kind, "v1"))?;
        record.ok_or_else(|| "no record".to_owned())
    }

    fn entry(spec: &Value) -> Result<ServiceEntryRecord, String> {
        let object = json!({ "spec": spec });
        match record::<ServiceEntryObject>(Kind::ServiceEntry, object)? {
            Record::ServiceEntry(entry) => Ok(entry),
            other => Err(format!("{other:?}")),
        }
    }

    fn workload(object: Value) -> WorkloadEntryRecord {
        match record::<WorkloadEntryObject>(Kind::WorkloadEntry, object) {
            Ok(Record::WorkloadEntry(entry)) => entry,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_service_entry_is_cut_down_to_its_tcp_ports_and_what_its_endpoints_say() {
        let read = entry(&json!({
            "hosts": ["DB.Mesh.local"], "location": "MESH_INTERNAL", "resolution": "STATIC",
            "exportTo": ["."],
            "ports": [
                { "number": 80, "name": "http", "protocol": "HTTP", "targetPort": 8080 },
                { "number": 53, "name": "dns", "protocol": "udp" },
                { "number": 70000, "name": "no-port" },
            ],
            "endpoints": [
                { "address": "::ffff:192.0.2.1", "ports": { "http": 7070, "odd": 0 }, "network": "" },
                { "address": "vm.example.com", "serviceAccount": "vm", "weight": 7 },
                { "address": "unix:///run/x", "locality": "r/z" },
                {},
            ],
            "workloadSelector": { "labels": { "app": "db" } },
        }));
        let read = read.unwrap();
        assert_eq!(*read.hosts, [Arc::from("db.mesh.local")]);
        assert!(!read.external && !read.by_dns && read.export_to.len() == 1);
        let [port] = &*read.ports else {
            panic!("{:?}", read.ports);
        };
        assert_eq!(
            (&*port.name, port.port, port.target),
            ("http", 80, NonZeroU16::new(8080))
        );
        let [first, second, third, fourth] = &*read.endpoints else {
            panic!("{:?}", read.endpoints);
        };
        assert_eq!(first.address, WorkloadAddress::Ip([192, 0, 2, 1].into()));
        assert_eq!(
            (&*first.ports, &first.network),
            (&[("http".into(), 7070)][..], &None)
        );
        assert_eq!(
            second.address,
            WorkloadAddress::Name("vm.example.com".into())
        );
        assert!(second.has_account && second.weight == 7 && !first.has_account);
        assert_eq!(third.address, WorkloadAddress::None);
        assert_eq!(third.locality.as_deref(), Some("r/z"));
        assert_eq!(fourth.address, WorkloadAddress::None);
        assert_eq!(read.selector.unwrap().get("app"), Some("db"));
    }

    #[test]
    fn a_service_entry_without_a_location_is_outside_of_the_mesh_and_one_with_an_unknown_one_unreadable()
     {
        assert!(entry(&json!({})).unwrap().external);
        for (resolution, by_dns) in [("NONE", false), ("DNS", true), ("DNS_ROUND_ROBIN", true)] {
            let read = entry(&json!({ "resolution": resolution })).unwrap();
            assert_eq!(read.by_dns, by_dns, "{resolution}");
        }
        entry(&json!({ "location": "NEARBY" })).unwrap_err();
        entry(&json!({ "resolution": "ORACLE" })).unwrap_err();
    }

    #[test]
    fn the_labels_of_a_workload_entrys_object_come_before_those_of_its_spec() {
        let read = workload(json!({
            "metadata": { "labels": { "app": "a", "zone": "z" } },
            "spec": { "address": "192.0.2.1", "labels": { "app": "b", "version": "v1" } },
        }));
        let labels = &read.workload.labels;
        let values = ["app", "zone", "version"].map(|key| labels.get(key));
        assert_eq!(values, [Some("a"), Some("z"), Some("v1")]);
    }

    #[test]
    fn health_counts_where_the_workload_entry_has_health_checks() {
        let unhealthy = |checks: &str, conditions: Value| {
            let annotations = json!({ "proxy.istio.io/health-checks-enabled": checks });
            let read = workload(json!({
                "metadata": { "annotations": annotations },
                "spec": { "address": "192.0.2.1" },
                "status": { "conditions": conditions },
            }));
            read.unhealthy
        };
        let condition = |status: &str| json!([{ "type": "Healthy", "status": status }]);
        assert!(unhealthy("true", json!([])));
        assert!(unhealthy("true", condition("False")));
        assert!(!unhealthy("true", condition("True")));
        assert!(!unhealthy("false", condition("False")));
        assert!(!unhealthy("no", json!([])));
    }
}
