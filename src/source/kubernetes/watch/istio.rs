//! Istio's kinds: the conversion of their objects into records.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::connections::ConnectionSettings;
use super::object::{Watched, created, object};
use super::served::Served;
use crate::source::kubernetes::cluster::Record;
use crate::source::kubernetes::records::wishes::RuleWishes;
use crate::source::kubernetes::records::{
    ClientTls, DestinationRuleRecord, Labels, PeerAuthenticationRecord, RuleTls, SubsetRecord,
};

object! {
    /// A PeerAuthentication.
    PeerAuthenticationObject { spec: PeerAuthenticationSpec, }
}

type Texts = BTreeMap<String, String>;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PeerAuthenticationSpec {
    selector: Option<Selector>,
    mtls: Option<PeerMtls>,
    port_level_mtls: Option<BTreeMap<String, PeerMtls>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Selector {
    match_labels: Option<Texts>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct PeerMtls {
    mode: Option<PeerMode>,
}

/// A mode that is not in this list could switch mutual TLS off, so an object with it counts as
/// unreadable.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum PeerMode {
    Unset,
    Disable,
    Permissive,
    Strict,
}

impl PeerMtls {
    /// True for DISABLE; `None` leaves it to the policy above.
    fn disabled(&self) -> Option<bool> {
        match self.mode? {
            PeerMode::Unset => None,
            PeerMode::Disable => Some(true),
            PeerMode::Permissive | PeerMode::Strict => Some(false),
        }
    }
}

fn labels(texts: Option<Texts>) -> Labels {
    texts.unwrap_or_default().into_iter().collect()
}

impl Watched for PeerAuthenticationObject {
    fn record(self, _served: &Served) -> Result<Option<Record>, String> {
        let spec = self.spec;
        let ports = spec.port_level_mtls.unwrap_or_default().into_iter();
        // A key that is not a port matches none.
        let ports = ports.filter_map(|(port, mtls)| Some((port.parse().ok()?, mtls.disabled())));
        Ok(Some(Record::PeerAuthentication(PeerAuthenticationRecord {
            created: created(&self.metadata),
            selector: labels(spec.selector.unwrap_or_default().match_labels),
            disabled: spec.mtls.as_ref().and_then(PeerMtls::disabled),
            disabled_ports: ports.collect(),
        })))
    }
}

object! {
    /// A DestinationRule.
    DestinationRuleObject { spec: DestinationRuleSpec, }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DestinationRuleSpec {
    host: String,
    export_to: Option<Vec<Arc<str>>>,
    workload_selector: Option<serde::de::IgnoredAny>,
    traffic_policy: Option<TrafficPolicy>,
    subsets: Option<Vec<RuleSubset>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TrafficPolicy {
    #[serde(flatten)]
    connections: ConnectionSettings,
    tls: Option<Tls>,
    port_level_settings: Option<Vec<PortSettings>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct PortSettings {
    #[serde(flatten)]
    connections: ConnectionSettings,
    port: Option<PortNumber>,
    tls: Option<Tls>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct PortNumber {
    /// The API accepts larger numbers than there are ports.
    number: u32,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Tls {
    mode: Option<RuleMode>,
}

/// A mode that is not in this list could ask for other TLS than Istio's, so an object with it counts as
/// unreadable.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum RuleMode {
    Disable,
    Simple,
    Mutual,
    IstioMutual,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RuleSubset {
    name: String,
    labels: Option<Texts>,
    traffic_policy: Option<TrafficPolicy>,
}

impl Tls {
    fn mode(&self) -> ClientTls {
        match self.mode {
            // The first value of the enum, which a message without the field has.
            None | Some(RuleMode::Disable) => ClientTls::Disable,
            Some(RuleMode::Simple | RuleMode::Mutual) => ClientTls::Own,
            Some(RuleMode::IstioMutual) => ClientTls::IstioMutual,
        }
    }
}

impl PortSettings {
    fn number(&self) -> Option<u16> {
        u16::try_from(self.port.as_ref()?.number).ok()
    }
}

impl TrafficPolicy {
    fn ports(&self) -> impl Iterator<Item = &PortSettings> {
        self.port_level_settings.iter().flatten()
    }

    fn tls(&self) -> RuleTls {
        let port = |of: &PortSettings| Some((of.number()?, of.tls.as_ref()?.mode()));
        RuleTls {
            mode: self.tls.as_ref().map(Tls::mode),
            ports: self.ports().filter_map(port).collect(),
        }
    }

    fn wishes(&self) -> RuleWishes {
        let port = |of: &PortSettings| Some((of.number()?, of.connections.record()));
        RuleWishes {
            all: self.connections.record(),
            ports: self.ports().filter_map(port).collect(),
        }
    }
}

impl Watched for DestinationRuleObject {
    fn record(self, _served: &Served) -> Result<Option<Record>, String> {
        let spec = self.spec;
        let subset = |subset: RuleSubset| SubsetRecord {
            name: subset.name.into(),
            labels: labels(subset.labels),
            tls: subset
                .traffic_policy
                .as_ref()
                .map(TrafficPolicy::tls)
                .unwrap_or_default(),
            wishes: subset
                .traffic_policy
                .as_ref()
                .map(TrafficPolicy::wishes)
                .unwrap_or_default(),
        };
        let subsets = spec.subsets.unwrap_or_default().into_iter().map(subset);
        let policy = spec.traffic_policy.as_ref();
        Ok(Some(Record::DestinationRule(DestinationRuleRecord {
            created: created(&self.metadata),
            host: spec.host.into(),
            export_to: spec.export_to.unwrap_or_default().into(),
            for_workloads: spec.workload_selector.is_some(),
            tls: policy.map(TrafficPolicy::tls),
            wishes: Box::new(policy.map(TrafficPolicy::wishes).unwrap_or_default()),
            subsets: subsets.collect(),
        })))
    }
}
