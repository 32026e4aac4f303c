//! The objects of a cluster that make a federation: SPIRE's, and Istio's on the side of the callers.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::file::FederationSide;
use crate::source::kubernetes::ApiReader;

/// The time for all questions to one API.
pub(super) const ANSWER: Duration = Duration::from_secs(8);

/// The objects of one cluster, each kind with the reason if it could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClusterObjects {
    pub(crate) domains: Result<Vec<FederatedDomain>, String>,
    pub(crate) identities: Result<Vec<SpiffeIds>, String>,
    pub(crate) mesh: Result<MeshTrust, String>,
    pub(crate) agent: Result<SdsNames, String>,
    pub(crate) entries: Result<Vec<EntryObject>, String>,
    pub(crate) rules: Result<Vec<RuleObject>, String>,
}

/// A ClusterFederatedTrustDomain (spire.spiffe.io/v1alpha1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct FederatedDomain {
    #[serde(skip)]
    pub(crate) name: String,
    pub(crate) trust_domain: String,
    #[serde(rename = "bundleEndpointURL")]
    pub(crate) url: String,
    #[serde(rename = "bundleEndpointProfile")]
    pub(crate) profile: EndpointProfile,
}

/// The proof that a bundle endpoint gives of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct EndpointProfile {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(rename = "endpointSPIFFEID")]
    pub(crate) spiffe_id: String,
}

/// A ClusterSPIFFEID (spire.spiffe.io/v1alpha1), with the counts of its status if it has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SpiffeIds {
    pub(crate) name: String,
    pub(crate) federates_with: Vec<String>,
    pub(crate) stats: Option<EntryStats>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SpiffeIdsSpec {
    federates_with: Vec<String>,
}

/// The counts of spire-controller-manager's last run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct EntryStats {
    pub(crate) pods_selected: u64,
    pub(crate) entry_failures: u64,
}

/// The trust of Istio's mesh config. istiod reads each key in either of protobuf's two spellings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct MeshTrust {
    #[serde(alias = "ca_certificates")]
    pub(crate) ca_certificates: Vec<CaEntry>,
    #[serde(alias = "trust_domain_aliases")]
    pub(crate) trust_domain_aliases: Vec<String>,
}

/// An item of `caCertificates`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CaEntry {
    #[serde(alias = "trust_domains")]
    pub(crate) trust_domains: Vec<String>,
}

/// The names of spire-agent's SDS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct SdsNames {
    #[serde(rename = "default_all_bundles_name")]
    pub(crate) all_bundles: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AgentConf {
    agent: AgentSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AgentSection {
    sds: SdsNames,
}

/// A ServiceEntry (networking.istio.io/v1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct EntryObject {
    #[serde(skip)]
    pub(crate) name: String,
    pub(crate) hosts: Vec<String>,
    pub(crate) ports: Vec<EntryObjectPort>,
    pub(crate) endpoints: Vec<EntryEndpoint>,
}

/// A port of a ServiceEntry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct EntryObjectPort {
    pub(crate) name: String,
    pub(crate) number: u64,
}

/// An endpoint of a ServiceEntry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct EntryEndpoint {
    pub(crate) address: String,
    /// By the names of the entry's ports.
    pub(crate) ports: BTreeMap<String, u64>,
    pub(crate) labels: BTreeMap<String, String>,
}

/// A DestinationRule (networking.istio.io/v1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RuleObject {
    #[serde(skip)]
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) traffic_policy: CallerTraffic,
    pub(crate) subsets: Vec<RuleObjectSubset>,
}

/// A subset of a DestinationRule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RuleObjectSubset {
    pub(crate) traffic_policy: CallerTraffic,
}

/// The part of a traffic policy that says how callers speak TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CallerTraffic {
    pub(crate) tls: Option<CallerTls>,
    pub(crate) port_level_settings: Vec<PortPolicy>,
}

/// The settings of one port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct PortPolicy {
    pub(crate) tls: Option<CallerTls>,
}

/// TLS of callers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CallerTls {
    pub(crate) mode: String,
    pub(crate) subject_alt_names: Vec<String>,
}

/// Reads what is asked of the cluster of a side.
///
/// # Errors
/// Access cannot be set up, or the API does not answer in time.
pub(super) async fn read(
    kubeconfig: &Path,
    side: &FederationSide,
) -> Result<ClusterObjects, String> {
    let read = timeout(ANSWER, Box::pin(read_all(kubeconfig, side))).await;
    let late = || format!("the API does not answer in {} s", ANSWER.as_secs());
    read.map_err(|_| late())?
}

async fn read_all(kubeconfig: &Path, side: &FederationSide) -> Result<ClusterObjects, String> {
    const SPIRE: &str = "/apis/spire.spiffe.io/v1alpha1";
    const ISTIO: &str = "/apis/networking.istio.io/v1";
    let reader = ApiReader::open(kubeconfig).await;
    let reader = reader.map_err(|error| error.to_string())?;
    let list = async |group: &str, plural: &str| {
        let listed = reader.list(&format!("{group}/{plural}")).await?;
        listed.ok_or_else(|| format!("the API does not serve {plural}"))
    };
    let map = async |at: &str, key: &str| {
        let (namespace, name) = at.split_once('/').unwrap_or_default();
        let path = format!("/api/v1/namespaces/{namespace}/configmaps/{name}");
        let found = reader.get(&path).await?;
        let found = found.ok_or_else(|| format!("there is no ConfigMap {at}"))?;
        let data = found.get("data").and_then(|data| data.get(key));
        let data = data.and_then(Value::as_str).map(str::to_owned);
        data.ok_or_else(|| format!("the ConfigMap {at} has no {key}"))
    };
    let (domains, identities, mesh, agent, entries, rules) = tokio::join!(
        list(SPIRE, "clusterfederatedtrustdomains"),
        list(SPIRE, "clusterspiffeids"),
        map(&side.mesh_config, "mesh"),
        map(&side.agent_config, "agent.conf"),
        list(ISTIO, "serviceentries"),
        list(ISTIO, "destinationrules"),
    );
    Ok(ClusterObjects {
        domains: domains.map(|all| specs(&all, |name, one| FederatedDomain { name, ..one })),
        identities: identities.map(|all| all.iter().map(identity).collect()),
        mesh: mesh.and_then(|text| yaml(&text)),
        agent: agent
            .and_then(|text| yaml(&text))
            .map(|conf: AgentConf| conf.agent.sds),
        entries: entries.map(|all| specs(&all, |name, one| EntryObject { name, ..one })),
        rules: rules.map(|all| specs(&all, |name, one| RuleObject { name, ..one })),
    })
}

/// The specs of objects, each with its name. One that has another form than its definition asks for is left out.
fn specs<T: DeserializeOwned>(objects: &[Value], named: impl Fn(String, T) -> T) -> Vec<T> {
    let spec = |object: &Value| {
        let spec = T::deserialize(object.get("spec")?).ok()?;
        Some(named(name_of(object), spec))
    };
    objects.iter().filter_map(spec).collect()
}

fn identity(object: &Value) -> SpiffeIds {
    let spec = object.get("spec");
    let spec = spec.and_then(|spec| SpiffeIdsSpec::deserialize(spec).ok());
    let stats = object.pointer("/status/stats");
    SpiffeIds {
        name: name_of(object),
        federates_with: spec.unwrap_or_default().federates_with,
        stats: stats.and_then(|stats| EntryStats::deserialize(stats).ok()),
    }
}

fn name_of(object: &Value) -> String {
    let name = object.pointer("/metadata/name").and_then(Value::as_str);
    let namespace = object
        .pointer("/metadata/namespace")
        .and_then(Value::as_str);
    let name = name.unwrap_or_default();
    match namespace {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    }
}

/// JSON is YAML too, so this reads what charts write. SPIRE's own language, HCL, is not read.
fn yaml<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let read = serde_saphyr::from_str(text);
    read.map_err(|_| "its text is no YAML or JSON that can be read here".to_owned())
}
