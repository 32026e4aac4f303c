//! Services, slices and nodes in the API's form.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use serde::Serialize;

use super::metadata::{Metadata, Whole};
use crate::source::kubernetes::api_names::{REGION, SUBZONE, ZONE};
use crate::source::kubernetes::records::{
    Labels, NodeRecord, ServiceKind, ServicePortRecord, ServiceRecord, SliceEndpoint, SliceRecord,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WrittenServiceSpec<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(rename = "clusterIP", skip_serializing_if = "Option::is_none")]
    cluster_ip: Option<&'static str>,
    ports: Vec<Port<'a>>,
    ip_families: &'static [&'static str],
    #[serde(skip_serializing_if = "Labels::is_empty")]
    selector: &'a Labels,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Port<'a> {
    name: &'a str,
    port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_port: Option<TargetPort<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum TargetPort<'a> {
    Number(NonZeroU16),
    Name(&'a str),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WrittenServiceStatus<'a> {
    load_balancer: WrittenLoadBalancer<'a>,
}

#[derive(Serialize)]
struct WrittenLoadBalancer<'a> {
    ingress: Vec<WrittenIngress<'a>>,
}

#[derive(Serialize)]
struct WrittenIngress<'a> {
    ip: &'a str,
}

pub(super) fn service<'a>(
    metadata: Metadata<'a>,
    service: &'a ServiceRecord,
) -> Whole<'a, WrittenServiceSpec<'a>, WrittenServiceStatus<'a>> {
    let ServiceRecord {
        resource_version,
        labels,
        annotations,
        kind,
        ports,
        export_to,
        addresses,
        ipv6_first,
        selector,
    } = service;
    let (kind, cluster_ip) = match kind {
        ServiceKind::Balanced => (None, None),
        ServiceKind::Headless => (None, Some("None")),
        ServiceKind::ExternalName => (Some("ExternalName"), None),
    };
    // An address of any of its three sources is read back as one of a load balancer.
    let ingress = addresses
        .iter()
        .map(|address| WrittenIngress { ip: address });
    Whole {
        metadata: metadata
            .versioned(resource_version)
            .with_labels(labels)
            .annotated(annotations, export_to),
        spec: Some(WrittenServiceSpec {
            kind,
            cluster_ip,
            ports: ports.iter().map(service_port).collect(),
            ip_families: if *ipv6_first { &["IPv6"] } else { &[] },
            selector,
        }),
        status: (!addresses.is_empty()).then(|| WrittenServiceStatus {
            load_balancer: WrittenLoadBalancer {
                ingress: ingress.collect(),
            },
        }),
    }
}

fn service_port(port: &ServicePortRecord) -> Port<'_> {
    let ServicePortRecord {
        name,
        port,
        target,
        target_name,
    } = port;
    let named = || target_name.as_deref().map(TargetPort::Name);
    Port {
        name,
        port: *port,
        target_port: target.map(TargetPort::Number).or_else(named),
    }
}

#[derive(Serialize)]
pub(super) struct Slice<'a> {
    metadata: Metadata<'a>,
    endpoints: Vec<WrittenEndpoint<'a>>,
    ports: Vec<Port<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenEndpoint<'a> {
    addresses: [IpAddr; 1],
    conditions: WrittenConditions,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_ref: Option<WrittenTargetRef<'a>>,
}

#[derive(Serialize)]
struct WrittenConditions {
    ready: bool,
    serving: bool,
    terminating: bool,
}

#[derive(Serialize)]
struct WrittenTargetRef<'a> {
    kind: &'static str,
    name: &'a str,
}

pub(super) fn slice<'a>(metadata: Metadata<'a>, slice: &'a SliceRecord) -> Slice<'a> {
    let SliceRecord {
        service,
        ports,
        endpoints,
    } = slice;
    let port = |(name, port): &'a (Arc<str>, u16)| Port {
        name,
        port: *port,
        target_port: None,
    };
    Slice {
        metadata: metadata.of_service(service),
        endpoints: endpoints.iter().map(endpoint).collect(),
        ports: ports.iter().map(port).collect(),
    }
}

fn endpoint(endpoint: &SliceEndpoint) -> WrittenEndpoint<'_> {
    let SliceEndpoint {
        address,
        ready,
        serving,
        terminating,
        zone,
        node,
        hostname,
        pod,
    } = endpoint;
    WrittenEndpoint {
        addresses: [*address],
        conditions: WrittenConditions {
            ready: *ready,
            serving: *serving,
            terminating: *terminating,
        },
        hostname: hostname.as_deref(),
        node_name: node.as_deref(),
        zone: zone.as_deref(),
        target_ref: pod
            .as_deref()
            .map(|name| WrittenTargetRef { kind: "Pod", name }),
    }
}

pub(super) fn node_labels(node: &NodeRecord) -> Labels {
    let NodeRecord {
        region,
        zone,
        subzone,
    } = node;
    let labels = [(REGION[0], region), (ZONE[0], zone), (SUBZONE[0], subzone)];
    let there = labels
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.clone()?)));
    there.collect()
}
