//! Istio's ConfigMap: its conversion into a record.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::object::{Watched, object};
use super::served::Served;
use crate::source::kubernetes::api_names::{MESH_NETWORKS, MESH_SETTINGS};
use crate::source::kubernetes::cluster::{Kind, Record};
use crate::source::kubernetes::records::ObjectKey;
use crate::source::kubernetes::records::gateway::{LabelDemand, LabelSelector};
use crate::source::kubernetes::records::mesh::MeshConfigRecord;

/// The largest number of items in each list: far more than any mesh is known to have.
const MAX_ITEMS: usize = 1000;

object! {
    /// A ConfigMap.
    MeshConfigObject { data: Option<BTreeMap<String, String>>, }
}

/// The settings. istiod reads each key in either of protobuf's two spellings.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Settings {
    #[serde(alias = "root_namespace")]
    root_namespace: Option<Arc<str>>,
    #[serde(alias = "default_service_export_to")]
    default_service_export_to: Option<Vec<Arc<str>>>,
    #[serde(alias = "default_destination_rule_export_to")]
    default_destination_rule_export_to: Option<Vec<Arc<str>>>,
    #[serde(alias = "discovery_selectors")]
    discovery_selectors: Option<Vec<Selector>>,
    #[serde(alias = "service_settings")]
    service_settings: Option<Vec<ServiceSettings>>,
}

/// Settings for the hosts of Services.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ServiceSettings {
    settings: Option<ServiceSetting>,
    hosts: Option<Vec<Arc<str>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServiceSetting {
    #[serde(alias = "cluster_local")]
    cluster_local: Option<bool>,
}

/// A selector like the API's, but each part may be null or in protobuf's other spelling.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Selector {
    #[serde(alias = "match_labels")]
    match_labels: Option<BTreeMap<Arc<str>, Arc<str>>>,
    #[serde(alias = "match_expressions")]
    match_expressions: Option<Vec<LabelDemand>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Networks {
    networks: Option<BTreeMap<String, IgnoredAny>>,
}

impl From<Selector> for LabelSelector {
    fn from(selector: Selector) -> Self {
        Self {
            match_labels: selector.match_labels.unwrap_or_default(),
            match_expressions: selector.match_expressions.unwrap_or_default().into(),
        }
    }
}

fn parse<'de, T: Default + Deserialize<'de>>(
    data: &'de BTreeMap<String, String>,
    key: &str,
) -> Result<T, String> {
    let text = data.get(key).map(|text| text.trim());
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(T::default());
    };
    let parsed: Result<Option<T>, _> = serde_saphyr::from_str(text);
    let parsed = parsed.map_err(|error| format!("key {key}: {error}"))?;
    Ok(parsed.unwrap_or_default())
}

/// Logs the mesh settings whose effect may surprise. `record` is the present content of the ConfigMap;
/// `None` if it does not exist.
pub(super) fn announce(kind: Kind, served: &Served, record: Option<&Record>) {
    let (Kind::MeshConfig, Some(ObjectKey { namespace, name })) = (kind, &served.only) else {
        return;
    };
    match record {
        None => tracing::warn!(
            %namespace,
            %name,
            "Istio's ConfigMap does not exist, so Istio's defaults hold for the whole mesh; if it has another \
             name, set kubernetes.istio in the config"
        ),
        Some(Record::MeshConfig(record)) if record.has_networks => tracing::warn!(
            %namespace,
            %name,
            "strait does not read the key meshNetworks of Istio's ConfigMap; it connects to pods that the key \
             puts into another network, unless the pods have the label topology.istio.io/network"
        ),
        Some(_) => {}
    }
}

impl Watched for MeshConfigObject {
    fn record(self, _served: &Served) -> Result<Option<Record>, String> {
        let data = self.data.unwrap_or_default();
        let settings: Settings = parse(&data, MESH_SETTINGS)?;
        let lists = [
            &settings.default_service_export_to,
            &settings.default_destination_rule_export_to,
        ];
        let selectors = settings.discovery_selectors.unwrap_or_default();
        let services = settings.service_settings.unwrap_or_default();
        let hosts = services
            .iter()
            .flat_map(|one| one.hosts.iter().flatten().map(move |host| (host, one)));
        if lists
            .into_iter()
            .flatten()
            .any(|list| list.len() > MAX_ITEMS)
            || selectors.len() > MAX_ITEMS
            || hosts.clone().count() > MAX_ITEMS
        {
            return Err(format!(
                "key {MESH_SETTINGS}: a list of more than {MAX_ITEMS} items"
            ));
        }
        let is_local = |of: &ServiceSettings| {
            let settings = of.settings.as_ref();
            settings.and_then(|settings| settings.cluster_local) == Some(true)
        };
        let cluster_local = hosts.map(|(host, of)| (host.clone(), is_local(of)));
        // An empty list counts as no setting.
        let list = |list: Option<Vec<Arc<str>>>| list.filter(|list| !list.is_empty());
        let of_rules = list(settings.default_destination_rule_export_to).unwrap_or_default();
        let networks = parse::<Networks>(&data, MESH_NETWORKS).map(|found| found.networks);
        let nothing = MeshConfigRecord::default();
        Ok(Some(Record::MeshConfig(MeshConfigRecord {
            root_namespace: settings
                .root_namespace
                .filter(|name| !name.is_empty())
                .unwrap_or(nothing.root_namespace),
            service_export_to: list(settings.default_service_export_to)
                .map_or(nothing.service_export_to, Into::into),
            rules_are_private: of_rules.iter().any(|one| &**one == "."),
            discovery: selectors.into_iter().map(LabelSelector::from).collect(),
            cluster_local: cluster_local.collect(),
            has_networks: networks.is_err()
                || networks.is_ok_and(|it| it.is_some_and(|it| !it.is_empty())),
        })))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::source::kubernetes::records::Labels;

    fn read(data: &[(&str, &str)]) -> Result<MeshConfigRecord, String> {
        let data: BTreeMap<&str, &str> = data.iter().copied().collect();
        let object = json!({ "metadata": { "name": "istio" }, "data": data });
        let object: MeshConfigObject = serde_json::from_value(object).unwrap();
        let served = Served {
            group: "",
            version: "v1",
            plural: "configmaps",
            only: None,
        };
        match object.record(&served)? {
            Some(Record::MeshConfig(record)) => Ok(record),
            other => panic!("{other:?}"),
        }
    }

    fn mesh(text: &str) -> MeshConfigRecord {
        read(&[("mesh", text)]).unwrap()
    }

    #[test]
    fn what_is_not_said_is_istios_default() {
        let nothing = MeshConfigRecord::default();
        assert_eq!(read(&[]), Ok(nothing.clone()));
        assert_eq!(read(&[("values", "{}")]), Ok(nothing.clone()));
        let shipped = "
accessLogFile: /dev/stdout
defaultConfig: { discoveryAddress: 'istiod.istio-system.svc:15012', proxyMetadata: { A: 'true' } }
defaultProviders: { metrics: [prometheus] }
enablePrometheusMerge: true
rootNamespace: istio-system
trustDomain: cluster.local
";
        for text in [
            shipped,
            "",
            "{}",
            "null",
            "rootNamespace:\ndiscoverySelectors: []\ndefaultServiceExportTo: []\n",
        ] {
            assert_eq!(mesh(text), nothing, "{text}");
        }
        assert_eq!(read(&[("meshNetworks", "networks: {}")]), Ok(nothing));
    }

    #[test]
    fn what_narrows_is_read_in_both_ways_of_writing() {
        for text in [
            "
rootNamespace: istio-config
defaultServiceExportTo: ['.', istio-system]
defaultDestinationRuleExportTo: ['.']
serviceSettings:
  - { settings: { clusterLocal: true }, hosts: ['*.apps.svc.cluster.local', web.mesh.local] }
  - { hosts: [db.mesh.local] }
discoverySelectors:
  - matchLabels: { istio-discovery: enabled }
  - matchExpressions: [{ key: team, operator: NotIn, values: [a, b] }, { key: team, operator: Exists }]
",
            r#"{"root_namespace": "istio-config", "default_service_export_to": [".", "istio-system"],
"default_destination_rule_export_to": ["."], "discovery_selectors": [{"match_labels": {"istio-discovery": "enabled"}},
{"match_expressions": [{"key": "team", "operator": "NotIn", "values": ["a", "b"]}, {"key": "team", "operator": "Exists"}]}],
"service_settings": [{"settings": {"cluster_local": true}, "hosts": ["*.apps.svc.cluster.local", "web.mesh.local"]},
{"settings": null, "hosts": ["db.mesh.local"]}, {"hosts": null}]}"#,
        ] {
            let found = mesh(text);
            assert_eq!(&*found.root_namespace, "istio-config");
            assert_eq!(*found.service_export_to, [".".into(), "istio-system".into()]);
            assert!(found.rules_are_private);
            let local = [("*.apps.svc.cluster.local", true), ("web.mesh.local", true), ("db.mesh.local", false)];
            assert_eq!(*found.cluster_local, local.map(|(host, local)| (host.into(), local)));
            let takes = |labels: &[(&str, &str)]| {
                let labels: Labels = labels.iter().copied().collect();
                found.discovery.iter().any(|selector| selector.takes(&labels))
            };
            assert!(takes(&[("istio-discovery", "enabled")]) && takes(&[("team", "c")]));
            assert!(!takes(&[]) && !takes(&[("team", "a")]));
        }
        // An empty selector matches every namespace.
        let found = mesh("discoverySelectors: [{}]");
        assert!(found.discovery[0].takes(&Labels::default()));
    }

    #[test]
    fn networks_are_noticed_and_settings_that_make_no_sense_are_no_settings() {
        let networks = "networks: { n1: { endpoints: [{ fromCidr: 10.0.0.0/8 }] } }";
        for text in [networks, "networks: [", "networks: 1"] {
            assert!(
                read(&[("meshNetworks", text)]).unwrap().has_networks,
                "{text}"
            );
        }
        for text in [
            "rootNamespace: [a]",
            "defaultServiceExportTo: 'x",
            "defaultServiceExportTo: { a: b }",
            "discoverySelectors: [{ labels: { a: b } }]",
            "discoverySelectors: { a: b }",
            "rootNamespace: a\nrootNamespace: b",
            "- a",
        ] {
            let problem = read(&[("mesh", text)]).unwrap_err();
            assert!(problem.starts_with("key mesh: "), "{text}: {problem}");
        }
    }
}
