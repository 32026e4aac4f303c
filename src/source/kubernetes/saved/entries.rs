//! Istio's ServiceEntries and WorkloadEntries in the API's form.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;

use serde::Serialize;

use super::metadata::{Metadata, Whole};
use crate::source::kubernetes::records::Labels;
use crate::source::kubernetes::records::entry::{
    EntryPortRecord, ServiceEntryRecord, WorkloadAddress, WorkloadEntryRecord, WorkloadRecord,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WrittenEntrySpec<'a> {
    hosts: &'a [Arc<str>],
    location: &'static str,
    resolution: &'static str,
    export_to: &'a [Arc<str>],
    ports: Vec<WrittenEntryPort<'a>>,
    endpoints: Vec<WrittenWorkload<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workload_selector: Option<WrittenWorkloadSelector<'a>>,
}

#[derive(Serialize)]
struct WrittenWorkloadSelector<'a> {
    labels: &'a Labels,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenEntryPort<'a> {
    name: &'a str,
    number: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_port: Option<NonZeroU16>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WrittenWorkload<'a> {
    address: String,
    labels: &'a Labels,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_account: Option<&'static str>,
    ports: BTreeMap<&'a str, u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locality: Option<&'a str>,
    weight: u32,
}

pub(super) fn entry(entry: &ServiceEntryRecord) -> WrittenEntrySpec<'_> {
    let ServiceEntryRecord {
        resource_version: _,
        created: _,
        labels: _,
        annotations: _,
        hosts,
        external,
        by_dns,
        export_to,
        ports,
        endpoints,
        selector,
    } = entry;
    WrittenEntrySpec {
        hosts,
        location: match external {
            true => "MESH_EXTERNAL",
            false => "MESH_INTERNAL",
        },
        // A resolution that leads to the same record.
        resolution: if *by_dns { "DNS" } else { "STATIC" },
        export_to,
        ports: ports.iter().map(port).collect(),
        endpoints: endpoints.iter().map(workload).collect(),
        workload_selector: selector
            .as_ref()
            .map(|labels| WrittenWorkloadSelector { labels }),
    }
}

fn port(port: &EntryPortRecord) -> WrittenEntryPort<'_> {
    let EntryPortRecord { name, port, target } = port;
    WrittenEntryPort {
        name,
        number: *port,
        target_port: *target,
    }
}

fn workload(workload: &WorkloadRecord) -> WrittenWorkload<'_> {
    let WorkloadRecord {
        address,
        labels,
        has_account,
        ports,
        network,
        locality,
        weight,
    } = workload;
    WrittenWorkload {
        address: match address {
            WorkloadAddress::Ip(address) => address.to_string(),
            WorkloadAddress::Name(name) => name.to_string(),
            WorkloadAddress::None => String::new(),
        },
        labels,
        // The name of the account is not kept.
        service_account: has_account.then_some("any"),
        ports: ports.iter().map(|(name, port)| (&**name, *port)).collect(),
        network: network.as_deref(),
        locality: locality.as_deref(),
        weight: *weight,
    }
}

/// A WorkloadEntry. One that is unhealthy has health checks and no condition.
pub(super) fn workload_entry<'a>(
    metadata: Metadata<'a>,
    entry: &'a WorkloadEntryRecord,
) -> Whole<'a, WrittenWorkload<'a>, ()> {
    let WorkloadEntryRecord {
        workload: of,
        unhealthy,
    } = entry;
    let metadata = match unhealthy {
        true => metadata.with_health_checks(),
        false => metadata,
    };
    Whole {
        metadata,
        spec: Some(workload(of)),
        status: None,
    }
}
