//! Gateways and ports that the operator does not allow: counted in metrics and named in the log.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;

use crate::config::{GatewayApiConfig, GatewayNamespaces, KubernetesConfig};
use crate::metrics::{LeftOutReason, Metrics};

/// The number of namespaces and ports that one log line names, and that are remembered as logged.
const MAX_SHOWN: usize = 20;

/// The valid Gateways of the class, or parts of them, that are not served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOutGateways {
    /// Namespaces that may not have Gateways but do, with the number of their listeners.
    pub namespaces: BTreeMap<Arc<str>, usize>,
    /// Ports that no Gateway may have, with the number of listeners that ask for them.
    pub ports: BTreeMap<u16, usize>,
    /// The number of listeners that ask for names which others have.
    pub conflicts: usize,
}

/// Logs everything that is left out, once each.
#[derive(Debug)]
pub(crate) struct Announcer {
    /// True if Gateways are watched at all.
    active: bool,
    /// The Gateways that are served, for people, until that was logged.
    greeting: Option<(String, String)>,
    namespaces: BTreeSet<Arc<str>>,
    ports: BTreeSet<u16>,
}

impl Announcer {
    pub(crate) fn new(policy: &KubernetesConfig) -> Self {
        Self {
            active: policy.gateway_api.is_some(),
            greeting: policy.gateway_api.as_ref().map(greeting),
            namespaces: BTreeSet::new(),
            ports: BTreeSet::new(),
        }
    }

    /// Counts everything that is left out, and logs the parts that were not logged before.
    pub(crate) fn announce(&mut self, left_out: &LeftOutGateways, metrics: &Metrics) {
        if !self.active {
            return;
        }
        if let Some((namespaces, ports)) = self.greeting.take() {
            tracing::info!(
                namespaces,
                ports,
                "strait serves Gateways of these namespaces on these ports; kubernetes.gateway_api.namespaces \
                 and kubernetes.gateway_api.ports change that"
            );
        }
        let LeftOutGateways {
            namespaces,
            ports,
            conflicts,
        } = left_out;
        let count = |reason, count| metrics.kubernetes.left_out(reason, count);
        count(LeftOutReason::Namespace, namespaces.values().sum());
        count(LeftOutReason::Port, ports.values().sum());
        count(LeftOutReason::Conflict, *conflicts);
        if let Some(namespaces) = news(&mut self.namespaces, namespaces) {
            tracing::warn!(
                namespaces,
                "strait does not serve the Gateways of these namespaces; to serve them, add the namespaces to \
                 kubernetes.gateway_api.namespaces"
            );
        }
        if let Some(ports) = news(&mut self.ports, ports) {
            tracing::warn!(
                ports,
                "Gateways ask for these ports and do not get them; to open them, add the ports to \
                 kubernetes.gateway_api.ports"
            );
        }
    }
}

fn greeting(config: &GatewayApiConfig) -> (String, String) {
    let home = config
        .home
        .as_deref()
        .unwrap_or("none, strait's own is not known");
    let mut namespaces = match &config.namespaces {
        GatewayNamespaces::Own => home.to_owned(),
        GatewayNamespaces::All => "all".to_owned(),
        GatewayNamespaces::Listed(names) => listed(names.iter(), names.len()),
    };
    if !config.namespace_labels.is_empty() {
        namespaces.push_str(", if they have namespace_labels");
    }
    (namespaces, listed(config.ports.iter(), config.ports.len()))
}

/// The keys of `now` that are not in `logged`, as text. At most [`MAX_SHOWN`] are remembered; further
/// new keys are only counted.
fn news<K: Ord + Clone + Display>(
    logged: &mut BTreeSet<K>,
    now: &BTreeMap<K, usize>,
) -> Option<String> {
    let new: Vec<&K> = now.keys().filter(|key| !logged.contains(*key)).collect();
    if new.is_empty() || logged.len() >= MAX_SHOWN {
        return None;
    }
    let text = listed(new.iter(), new.len());
    logged.extend(new.into_iter().take(MAX_SHOWN).cloned());
    Some(text)
}

fn listed(items: impl Iterator<Item: Display>, count: usize) -> String {
    let mut shown: Vec<String> = items.take(MAX_SHOWN).map(|item| item.to_string()).collect();
    if count > MAX_SHOWN {
        shown.push(format!("and {} more", count - MAX_SHOWN));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_said_once_and_not_without_end() {
        let mut logged = BTreeSet::new();
        let ports = |ports: &[u16]| ports.iter().map(|port| (*port, 1)).collect();
        assert_eq!(news(&mut logged, &ports(&[])), None);
        assert_eq!(
            news(&mut logged, &ports(&[443, 8443])).as_deref(),
            Some("443, 8443")
        );
        assert_eq!(news(&mut logged, &ports(&[443])), None);
        assert_eq!(
            news(&mut logged, &ports(&[443, 9443])).as_deref(),
            Some("9443")
        );
        let many: Vec<u16> = (1000..1100).collect();
        let text = news(&mut logged, &ports(&many)).unwrap();
        assert!(text.ends_with("1019, and 80 more"), "{text}");
        assert_eq!(news(&mut logged, &ports(&[7])), None);
    }
}
