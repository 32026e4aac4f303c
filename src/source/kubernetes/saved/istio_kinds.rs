//! Istio's kinds in the API's form.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::connections::{WrittenConnections, connections};
use super::metadata::Metadata;
use crate::source::kubernetes::api_names::{MESH_NETWORKS, MESH_SETTINGS};
use crate::source::kubernetes::records::gateway::LabelSelector;
use crate::source::kubernetes::records::mesh::MeshConfigRecord;
use crate::source::kubernetes::records::wishes::{ConnectionWishes, RuleWishes};
use crate::source::kubernetes::records::{
    ClientTls, DestinationRuleRecord, Labels, PeerAuthenticationRecord, RuleTls, SubsetRecord,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PeersSpec<'a> {
    selector: WrittenSelector<'a>,
    mtls: WrittenMtls,
    port_level_mtls: BTreeMap<String, WrittenMtls>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenSelector<'a> {
    match_labels: &'a Labels,
}

#[derive(Serialize)]
struct WrittenMtls {
    mode: &'static str,
}

impl WrittenMtls {
    /// A mode that leads to the same record: PERMISSIVE and STRICT do.
    fn of(disabled: Option<bool>) -> Self {
        let mode = match disabled {
            None => "UNSET",
            Some(true) => "DISABLE",
            Some(false) => "STRICT",
        };
        Self { mode }
    }
}

pub(super) fn peers(policy: &PeerAuthenticationRecord) -> PeersSpec<'_> {
    let PeerAuthenticationRecord {
        created: _,
        selector,
        disabled,
        disabled_ports,
    } = policy;
    let ports = disabled_ports.iter();
    PeersSpec {
        selector: WrittenSelector {
            match_labels: selector,
        },
        mtls: WrittenMtls::of(*disabled),
        port_level_mtls: ports
            .map(|(port, disabled)| (port.to_string(), WrittenMtls::of(*disabled)))
            .collect(),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RuleSpec<'a> {
    host: &'a str,
    export_to: &'a [Arc<str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    workload_selector: Option<BTreeMap<(), ()>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traffic_policy: Option<WrittenTrafficPolicy>,
    subsets: Vec<WrittenSubset<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenTrafficPolicy {
    #[serde(flatten)]
    connections: WrittenConnections,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<WrittenMtls>,
    port_level_settings: Vec<WrittenPortSettings>,
}

#[derive(Serialize)]
struct WrittenPortSettings {
    #[serde(flatten)]
    connections: WrittenConnections,
    port: WrittenPortNumber,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<WrittenMtls>,
}

#[derive(Serialize)]
struct WrittenPortNumber {
    number: u16,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenSubset<'a> {
    name: &'a str,
    labels: &'a Labels,
    traffic_policy: WrittenTrafficPolicy,
}

/// A mode that leads to the same record: SIMPLE and MUTUAL do.
fn rule_mode(mode: ClientTls) -> WrittenMtls {
    let mode = match mode {
        ClientTls::Disable => "DISABLE",
        ClientTls::Own => "SIMPLE",
        ClientTls::IstioMutual => "ISTIO_MUTUAL",
    };
    WrittenMtls { mode }
}

fn traffic_policy(tls: &RuleTls, wishes: &RuleWishes) -> WrittenTrafficPolicy {
    let RuleTls {
        mode,
        ports: tls_ports,
    } = tls;
    let RuleWishes { all, ports } = wishes;
    // Settings of a port that has a mode ask for something or for nothing.
    let settings = |(number, wishes): (&u16, &ConnectionWishes)| WrittenPortSettings {
        connections: connections(wishes),
        port: WrittenPortNumber { number: *number },
        tls: tls_ports.get(number).copied().map(rule_mode),
    };
    WrittenTrafficPolicy {
        connections: connections(all),
        tls: mode.map(rule_mode),
        port_level_settings: ports.iter().map(settings).collect(),
    }
}

pub(super) fn rule(rule: &DestinationRuleRecord) -> RuleSpec<'_> {
    let DestinationRuleRecord {
        created: _,
        host,
        export_to,
        for_workloads,
        tls,
        wishes,
        subsets,
    } = rule;
    RuleSpec {
        host,
        export_to,
        workload_selector: for_workloads.then(BTreeMap::new),
        traffic_policy: tls.as_ref().map(|tls| traffic_policy(tls, wishes)),
        subsets: subsets.iter().map(subset).collect(),
    }
}

fn subset(subset: &SubsetRecord) -> WrittenSubset<'_> {
    let SubsetRecord {
        name,
        labels,
        tls,
        wishes,
    } = subset;
    WrittenSubset {
        name,
        labels,
        traffic_policy: traffic_policy(tls, wishes),
    }
}

#[derive(Serialize)]
pub(super) struct ConfigMap<'a> {
    pub(super) metadata: Metadata<'a>,
    pub(super) data: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MeshSettings<'a> {
    root_namespace: &'a str,
    default_service_export_to: &'a [Arc<str>],
    default_destination_rule_export_to: &'static [&'static str],
    discovery_selectors: &'a [LabelSelector],
    service_settings: Vec<WrittenServiceSettings>,
}

#[derive(Serialize)]
struct WrittenServiceSettings {
    settings: WrittenServiceSetting,
    hosts: [Arc<str>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenServiceSetting {
    cluster_local: bool,
}

/// The ConfigMap's texts. JSON is YAML.
pub(super) fn mesh_data(
    config: &MeshConfigRecord,
) -> serde_json::Result<BTreeMap<&'static str, String>> {
    let MeshConfigRecord {
        root_namespace,
        service_export_to,
        rules_are_private,
        discovery,
        cluster_local,
        has_networks,
    } = config;
    let service = |(host, local): &(Arc<str>, bool)| WrittenServiceSettings {
        settings: WrittenServiceSetting {
            cluster_local: *local,
        },
        hosts: [host.clone()],
    };
    let settings = MeshSettings {
        root_namespace,
        default_service_export_to: service_export_to,
        default_destination_rule_export_to: if *rules_are_private { &["."] } else { &[] },
        discovery_selectors: discovery,
        service_settings: cluster_local.iter().map(service).collect(),
    };
    let mut data = BTreeMap::from([(MESH_SETTINGS, serde_json::to_string(&settings)?)]);
    if *has_networks {
        data.insert(MESH_NETWORKS, r#"{"networks":{"any":{}}}"#.to_owned());
    }
    Ok(data)
}
