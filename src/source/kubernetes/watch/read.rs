//! Kubernetes' own kinds, the Multi-Cluster Services API and the Gateway API: the conversion of their
//! objects into records.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::object::{Lenient, Watched, annotation, annotations, created, labels, object, version};
use super::served::Served;
use crate::source::kubernetes::api_names::{EXPORT_TO, REGION, SERVICE_NAME, SUBZONE, ZONE};
use crate::source::kubernetes::cluster::Record;
use crate::source::kubernetes::records::gateway::{
    GatewayClassRecord, GatewayClassSpec, GatewayRecord, GatewaySpec, ReferenceGrantRecord,
    ReferenceGrantSpec, Revision, TlsRouteRecord, TlsRouteSpec,
};
use crate::source::kubernetes::records::{
    NamespaceRecord, NodeRecord, PodRecord, ServiceExportRecord, ServiceKind, ServicePortRecord,
    ServiceRecord, SliceEndpoint, SliceRecord,
};

/// The label that names the ServiceImport of a slice whose endpoints are in other clusters.
const IMPORTED_SERVICE_NAME: &str = "multicluster.kubernetes.io/service-name";
/// The largest number of endpoints that the API allows in a slice.
const MAX_ENDPOINTS: usize = 1000;
/// The largest number of ports: far more than any Service is known to have.
const MAX_PORTS: usize = 1000;
/// The largest number of namespaces in an annotation: far more than any is known to name. A Service
/// stays hidden from further ones.
const MAX_EXPORTS: usize = 1000;
/// The longest reason of a condition, in bytes.
const MAX_REASON: usize = 300;

object! {
    /// A Service.
    ServiceObject { spec: ServiceSpec, status: ServiceStatus, }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ServiceSpec {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    ports: Option<Vec<ObjectPort>>,
    ip_families: Option<Vec<String>>,
    selector: Option<std::collections::BTreeMap<String, String>>,
    #[serde(rename = "externalIPs")]
    external_ips: Option<Vec<String>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ServiceStatus {
    load_balancer: LoadBalancer,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct LoadBalancer {
    ingress: Option<Vec<Ingress>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Ingress {
    ip: Option<String>,
    hostname: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ObjectPort {
    name: Option<Arc<str>>,
    protocol: Option<String>,
    port: Option<u16>,
    /// A number or a name. Only Services have it.
    #[serde(rename = "targetPort")]
    target: Option<Value>,
}

impl ObjectPort {
    fn is_tcp(&self) -> bool {
        self.protocol
            .as_deref()
            .is_none_or(|protocol| protocol == "TCP")
    }
}

fn tcp_ports(ports: Option<Vec<ObjectPort>>) -> impl Iterator<Item = ServicePortRecord> {
    let ports = ports.into_iter().flatten().filter(ObjectPort::is_tcp);
    let ports = ports.filter_map(|port| {
        let target = port.target.as_ref();
        let name = target.and_then(|target| target.as_str()).map(Arc::from);
        let target = target.and_then(Value::as_u64);
        let target = target.and_then(|target| u16::try_from(target).ok());
        Some(ServicePortRecord {
            name: port.name.unwrap_or_default(),
            // A slice's port without a number means all ports, which no Service asks for.
            port: port.port?,
            target: target.and_then(NonZeroU16::new),
            target_name: name,
        })
    });
    ports.take(MAX_PORTS)
}

impl Watched for ServiceObject {
    fn record(self, _served: &Served) -> Result<Option<Record>, String> {
        let (spec, mut metadata) = (self.spec, self.metadata);
        let kind = match (spec.kind.as_deref(), spec.cluster_ip.as_deref()) {
            (Some("ExternalName"), _) => ServiceKind::ExternalName,
            (_, Some("None")) => ServiceKind::Headless,
            _ => ServiceKind::Balanced,
        };
        let ingress = self.status.load_balancer.ingress.unwrap_or_default();
        let ingress = ingress
            .into_iter()
            .filter_map(|one| one.ip.or(one.hostname));
        let mut addresses: Vec<Arc<str>> = ingress.map(Arc::from).collect();
        if addresses.is_empty() {
            let external = spec.external_ips.unwrap_or_default();
            addresses.extend(external.into_iter().map(Arc::from));
        }
        // An empty annotation counts as none, as in istiod.
        let export_to = annotation(&metadata, EXPORT_TO).filter(|text| !text.is_empty());
        let export_to = export_to.into_iter().flat_map(|text| text.split(','));
        let export_to = export_to.take(MAX_EXPORTS).map(|name| name.trim().into());
        let families = spec.ip_families.unwrap_or_default();
        Ok(Some(Record::Service(ServiceRecord {
            resource_version: version(&metadata),
            export_to: export_to.collect(),
            annotations: annotations(&metadata),
            labels: labels(&mut metadata),
            kind,
            ports: tcp_ports(spec.ports).collect(),
            addresses: addresses.into(),
            ipv6_first: families.first().is_some_and(|family| family == "IPv6"),
            selector: spec.selector.unwrap_or_default().into_iter().collect(),
        })))
    }
}

object! {
    /// An EndpointSlice.
    SliceObject { endpoints: Option<Vec<SliceObjectEndpoint>>, ports: Option<Vec<ObjectPort>>, }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SliceObjectEndpoint {
    addresses: Option<Vec<String>>,
    conditions: Option<Conditions>,
    hostname: Option<Arc<str>>,
    node_name: Option<Arc<str>>,
    zone: Option<Arc<str>>,
    target_ref: Option<TargetRef>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct TargetRef {
    kind: Option<String>,
    name: Option<Arc<str>>,
}

impl SliceObjectEndpoint {
    /// `None` if the endpoint has no IP address: its type is FQDN.
    fn record(self) -> Option<SliceEndpoint> {
        let address: IpAddr = self.addresses?.first()?.parse().ok()?;
        let conditions = self.conditions.unwrap_or_default();
        let pod = |target: TargetRef| {
            let is_pod = target.kind.as_deref() == Some("Pod");
            target.name.filter(|_| is_pod)
        };
        Some(SliceEndpoint {
            address: address.to_canonical(),
            ready: conditions.ready.unwrap_or(true),
            serving: conditions.serving.unwrap_or(true),
            terminating: conditions.terminating.unwrap_or(false),
            zone: self.zone,
            node: self.node_name,
            hostname: self.hostname,
            pod: self.target_ref.and_then(pod),
        })
    }
}

impl Watched for SliceObject {
    fn record(mut self, _served: &Served) -> Result<Option<Record>, String> {
        let mut labels = self.metadata.labels.take().unwrap_or_default();
        let imported = labels.contains_key(IMPORTED_SERVICE_NAME);
        let Some(service) = labels.remove(SERVICE_NAME).filter(|_| !imported) else {
            return Ok(None);
        };
        let endpoints = self.endpoints.into_iter().flatten().take(MAX_ENDPOINTS);
        let ports = tcp_ports(self.ports);
        Ok(Some(Record::Slice(SliceRecord {
            service: service.into(),
            ports: ports.map(|port| (port.name, port.port)).collect(),
            endpoints: endpoints.filter_map(SliceObjectEndpoint::record).collect(),
        })))
    }
}

object! {
    /// A Pod's metadata.
    PodObject(metadata_only) {}
}

impl Watched for PodObject {
    fn record(mut self, _served: &Served) -> Result<Option<Record>, String> {
        let labels = labels(&mut self.metadata);
        Ok(Some(Record::Pod(PodRecord { labels })))
    }
}

object! {
    /// A Namespace's metadata.
    NamespaceObject(metadata_only) {}
}

impl Watched for NamespaceObject {
    fn record(mut self, _served: &Served) -> Result<Option<Record>, String> {
        let labels = labels(&mut self.metadata);
        Ok(Some(Record::Namespace(NamespaceRecord { labels })))
    }
}

object! {
    /// A Node's metadata.
    NodeObject(metadata_only) {}
}

impl Watched for NodeObject {
    fn record(mut self, _served: &Served) -> Result<Option<Record>, String> {
        let labels = self.metadata.labels.take().unwrap_or_default();
        let first = |keys: &[&str]| {
            let mut values = keys.iter().filter_map(|key| labels.get(*key));
            let value = values.find(|value| !value.is_empty())?;
            Some(Arc::from(value.as_str()))
        };
        Ok(Some(Record::Node(NodeRecord {
            region: first(&REGION),
            zone: first(&ZONE),
            subzone: first(&SUBZONE),
        })))
    }
}

object! {
    /// A ServiceExport.
    ServiceExportObject { status: Lenient<ExportStatus>, }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ExportStatus {
    conditions: Option<Vec<ExportCondition>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ExportCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
    message: String,
}

impl Watched for ServiceExportObject {
    fn record(self, _served: &Served) -> Result<Option<Record>, String> {
        // A conflict between clusters takes no export back: the older one decides what they agree on.
        let conditions = self.status.0?.conditions.unwrap_or_default();
        let mut conditions = conditions.into_iter();
        let invalid = conditions.find(|one| one.kind == "Valid" && one.status == "False");
        let invalid = invalid.map(|one| {
            let mut text = format!("{}: {}", one.reason, one.message);
            text.truncate(text.floor_char_boundary(MAX_REASON));
            Arc::from(text)
        });
        Ok(Some(Record::ServiceExport(ServiceExportRecord { invalid })))
    }
}

fn revision(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Revision {
    Revision {
        resource_version: version(metadata),
        generation: metadata.generation.unwrap_or(0),
        created: created(metadata),
    }
}

object! {
    /// A GatewayClass.
    GatewayClassObject { spec: Lenient<GatewayClassSpec>, }
}

impl Watched for GatewayClassObject {
    fn record(self, _served: &Served) -> Result<Option<Record>, String> {
        Ok(Some(Record::GatewayClass(GatewayClassRecord {
            revision: revision(&self.metadata),
            spec: self.spec.0?,
        })))
    }
}

object! {
    /// A Gateway.
    GatewayObject { spec: Lenient<GatewaySpec>, }
}

impl Watched for GatewayObject {
    fn record(self, _served: &Served) -> Result<Option<Record>, String> {
        Ok(Some(Record::Gateway(GatewayRecord {
            revision: revision(&self.metadata),
            spec: self.spec.0?,
        })))
    }
}

object! {
    /// A TLSRoute.
    TlsRouteObject { spec: Lenient<TlsRouteSpec>, status: Lenient<RouteStatus>, }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RouteStatus {
    parents: Option<Vec<RouteParent>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RouteParent {
    controller_name: Arc<str>,
}

impl Watched for TlsRouteObject {
    fn record(self, served: &Served) -> Result<Option<Record>, String> {
        let parents = self
            .status
            .0
            .unwrap_or_default()
            .parents
            .unwrap_or_default();
        let mut reported_by: Vec<Arc<str>> = parents
            .into_iter()
            .map(|parent| parent.controller_name)
            .collect();
        reported_by.sort_unstable();
        reported_by.dedup();
        Ok(Some(Record::TlsRoute(TlsRouteRecord {
            revision: revision(&self.metadata),
            api_version: served.version.into(),
            annotations: annotations(&self.metadata),
            spec: self.spec.0?,
            reported_by: reported_by.into(),
        })))
    }
}

object! {
    /// A ReferenceGrant.
    ReferenceGrantObject { spec: Lenient<ReferenceGrantSpec>, }
}

impl Watched for ReferenceGrantObject {
    fn record(self, _served: &Served) -> Result<Option<Record>, String> {
        let spec = self.spec.0?;
        Ok(Some(Record::ReferenceGrant(ReferenceGrantRecord { spec })))
    }
}

#[cfg(test)]
mod tests;
