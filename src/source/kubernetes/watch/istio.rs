//! Istio's kinds: object -> record.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::object::{Lenient, Watched, created, object};
use super::served::Served;
use crate::source::kubernetes::cluster::Record;
use crate::source::kubernetes::records::{
    ClientTls, DestinationRuleRecord, Labels, PeerAuthenticationRecord, RuleTls, SubsetRecord,
};

object! {
    /// A PeerAuthentication.
    PeerAuthenticationObject { spec: Lenient<PeerAuthenticationSpec>, }
}

type Texts = BTreeMap<String, String>;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PeerAuthenticationSpec {
    selector: Option<Selector>,
    mtls: Option<Mtls>,
    port_level_mtls: Option<BTreeMap<String, Mtls>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Selector {
    match_labels: Option<Texts>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Mtls {
    mode: Option<String>,
}

impl Mtls {
    /// Whether it is DISABLE; `None`: what is above it decides.
    fn disabled(&self) -> Option<bool> {
        match self.mode.as_deref() {
            None | Some("UNSET") => None,
            Some(mode) => Some(mode == "DISABLE"),
        }
    }
}

fn labels(texts: Option<Texts>) -> Labels {
    texts.unwrap_or_default().into_iter().collect()
}

impl Watched for PeerAuthenticationObject {
    fn record(self, _served: &Served) -> Result<Option<Record>, String> {
        let spec = self.spec.0?;
        let ports = spec.port_level_mtls.unwrap_or_default().into_iter();
        // A key that is no port matches none.
        let ports = ports.filter_map(|(port, mtls)| Some((port.parse().ok()?, mtls.disabled())));
        Ok(Some(Record::PeerAuthentication(PeerAuthenticationRecord {
            created: created(&self.metadata),
            selector: labels(spec.selector.unwrap_or_default().match_labels),
            disabled: spec.mtls.as_ref().and_then(Mtls::disabled),
            disabled_ports: ports.collect(),
        })))
    }
}

object! {
    /// A DestinationRule.
    DestinationRuleObject { spec: Lenient<DestinationRuleSpec>, }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DestinationRuleSpec {
    host: String,
    export_to: Option<Vec<Arc<str>>>,
    workload_selector: Option<serde::de::IgnoredAny>,
    traffic_policy: Option<TrafficPolicy>,
    subsets: Option<Vec<Subset>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TrafficPolicy {
    tls: Option<Tls>,
    port_level_settings: Option<Vec<PortSettings>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct PortSettings {
    port: Option<PortNumber>,
    tls: Option<Tls>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct PortNumber {
    number: u16,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Tls {
    mode: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Subset {
    name: String,
    labels: Option<Texts>,
    traffic_policy: Option<TrafficPolicy>,
}

impl Tls {
    /// `None` for a mode that is not known here.
    fn mode(&self) -> Option<ClientTls> {
        match self.mode.as_deref() {
            // The first of the enum, which is what a message without the field has.
            None | Some("DISABLE") => Some(ClientTls::Disable),
            Some("SIMPLE" | "MUTUAL") => Some(ClientTls::Own),
            Some("ISTIO_MUTUAL") => Some(ClientTls::IstioMutual),
            Some(_) => None,
        }
    }
}

impl From<TrafficPolicy> for RuleTls {
    fn from(policy: TrafficPolicy) -> Self {
        let ports = policy.port_level_settings.unwrap_or_default();
        let port = |settings: PortSettings| Some((settings.port?.number, settings.tls?.mode()?));
        Self {
            mode: policy.tls.as_ref().and_then(Tls::mode),
            ports: ports.into_iter().filter_map(port).collect(),
        }
    }
}

impl Watched for DestinationRuleObject {
    fn record(self, _served: &Served) -> Result<Option<Record>, String> {
        let spec = self.spec.0?;
        let subset = |subset: Subset| SubsetRecord {
            name: subset.name.into(),
            labels: labels(subset.labels),
            tls: subset.traffic_policy.map(RuleTls::from).unwrap_or_default(),
        };
        let subsets = spec.subsets.unwrap_or_default().into_iter().map(subset);
        Ok(Some(Record::DestinationRule(DestinationRuleRecord {
            created: created(&self.metadata),
            host: spec.host.into(),
            export_to: spec.export_to.unwrap_or_default().into(),
            for_workloads: spec.workload_selector.is_some(),
            tls: spec.traffic_policy.map(RuleTls::from),
            subsets: subsets.collect(),
        })))
    }
}
