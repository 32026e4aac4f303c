//! `config/federation/`: what it says, and whether its files agree.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use strait::config::Config;
use strait::tools::spiffe::SpiffeId;

/// Everything that a person applies.
#[derive(Debug, Clone)]
pub struct Manifests {
    /// Of every file its path in the folder, and its text.
    files: Vec<(String, String)>,
}

/// One of the two clusters.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Its folder.
    folder: &'static str,
    /// Every document of its files.
    documents: Vec<Value>,
}

const FOLDERS: [&str; 2] = ["cluster-a", "cluster-b"];

impl Manifests {
    /// As they are in the repository.
    pub fn shipped() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/federation");
        let mut files = Vec::new();
        for folder in FOLDERS {
            for entry in fs::read_dir(root.join(folder)).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap();
                let text = fs::read_to_string(&path).unwrap();
                files.push((format!("{folder}/{name}"), text));
            }
        }
        files.sort();
        Self { files }
    }

    /// With `new` instead of every `old` of a file, which must have one.
    pub fn with(mut self, path: &str, old: &str, new: &str) -> Self {
        let (_, text) = self
            .files
            .iter_mut()
            .find(|(name, _)| name == path)
            .unwrap();
        assert!(text.contains(old), "{path} has no {old:?}");
        *text = text.replace(old, new);
        self
    }

    /// One cluster's documents.
    fn cluster(&self, folder: &'static str) -> Cluster {
        let files = self
            .files
            .iter()
            .filter(|(path, _)| path.starts_with(folder));
        let documents = files.flat_map(|(path, text)| {
            let documents = serde_saphyr::from_multiple::<Value>(text);
            documents.unwrap_or_else(|error| panic!("{path}: {error}"))
        });
        Cluster {
            folder,
            documents: documents.collect(),
        }
    }

    /// Both clusters, A first.
    pub fn clusters(&self) -> [Cluster; 2] {
        FOLDERS.map(|folder| self.cluster(folder))
    }

    /// Everything in which the files do not agree, or are not as they must be.
    pub fn problems(&self) -> Vec<String> {
        let [a, b] = self.clusters();
        let mut problems = Vec::new();
        for cluster in [&a, &b] {
            if let Err(error) = Config::parse(cluster.gateway(), "strait.yaml") {
                problems.push(format!("{}: {error}", cluster.folder));
            }
        }
        if !problems.is_empty() {
            // The comparisons below need configs that can be read.
            return problems;
        }
        for (own, other) in [(&a, &b), (&b, &a)] {
            let mut check = Check {
                cluster: own,
                problems: &mut problems,
            };
            check.spelling();
            check.federation(other);
            check.service();
            check.gateway();
            check.call(other);
        }
        problems
    }
}

impl Cluster {
    /// The one document of that kind whose name satisfies `named`.
    fn find(&self, kind: &str, named: impl Fn(&str) -> bool) -> &Value {
        let mut found = self
            .documents
            .iter()
            .filter(|document| document["kind"] == kind && named(text(document, "/metadata/name")));
        let first = found.next();
        let folder = self.folder;
        assert!(found.next().is_none(), "{folder}: more than one {kind}");
        first.unwrap_or_else(|| panic!("{folder}: no {kind}"))
    }

    fn only(&self, kind: &str) -> &Value {
        self.find(kind, |_| true)
    }

    /// The values of the Helm chart that has this key.
    fn values(&self, key: &str) -> &Value {
        let found = self
            .documents
            .iter()
            .find(|document| document.get(key).is_some());
        found.unwrap_or_else(|| panic!("{}: no values with {key}", self.folder))
    }

    /// `meshConfig.trustDomain`.
    pub fn trust_domain(&self) -> &str {
        text(self.values("meshConfig"), "/meshConfig/trustDomain")
    }

    /// `meshConfig.caCertificates[].trustDomains`.
    pub fn foreign_trust_domains(&self) -> Vec<String> {
        let all = &self.values("meshConfig")["meshConfig"]["caCertificates"];
        let lists = items(all).map(|entry| &entry["trustDomains"]);
        lists.flat_map(strings).collect()
    }

    /// The AuthorizationPolicy's `principals`.
    pub fn principals(&self) -> Vec<String> {
        let rules = &self.only("AuthorizationPolicy")["spec"]["rules"];
        let sources = items(rules).flat_map(|rule| items(&rule["from"]));
        let lists = sources.map(|from| &from["source"]["principals"]);
        lists.flat_map(strings).collect()
    }

    /// The identity of its service's pods.
    pub fn service_identity(&self) -> SpiffeId {
        let account = self.only("ServiceAccount");
        let (namespace, name) = (
            text(account, "/metadata/namespace"),
            text(account, "/metadata/name"),
        );
        SpiffeId::workload(self.trust_domain(), namespace, name).unwrap()
    }

    /// The gateway's config.
    pub fn gateway(&self) -> &str {
        text(self.only("ConfigMap"), "/data/strait.yaml")
    }

    fn gateway_value(&self, pointer: &str) -> Value {
        let config: Value = serde_saphyr::from_str(self.gateway()).unwrap();
        config.pointer(pointer).cloned().unwrap_or_default()
    }

    /// The service that the gateway routes, `HOST:PORT`.
    fn routed_service(&self) -> (String, u64) {
        let service = self.gateway_value("/listeners/0/routes/0/service");
        let (host, port) = service.as_str().unwrap().rsplit_once(':').unwrap();
        (host.to_owned(), port.parse().unwrap())
    }

    /// The name under which the gateway brings the other cluster's SPIRE to this cluster's.
    pub fn bundle_name(&self) -> String {
        let name = self.gateway_value("/listeners/0/routes/1/sni");
        name.as_str().unwrap().to_owned()
    }

    /// The port that the gateway listens on.
    fn gateway_port(&self) -> u64 {
        let bind = self.gateway_value("/listeners/0/bind");
        let (_, port) = bind.as_str().unwrap().rsplit_once(':').unwrap();
        port.parse().unwrap()
    }

    /// Of an upstream of the gateway: the name that it asks DNS for, and the port.
    pub fn upstream(&self, name: &str) -> (String, u16) {
        let host = self.gateway_value(&format!("/upstreams/{name}/dns"));
        let (host, port) = host.as_str().unwrap().rsplit_once(':').unwrap();
        (host.to_owned(), port.parse().unwrap())
    }

    /// The upstream of the service's route.
    pub fn service_upstream(&self) -> (String, u16) {
        let name = self.gateway_value("/listeners/0/routes/0/upstream");
        self.upstream(name.as_str().unwrap())
    }

    /// The gateway's config, but on loopback: with free ports, a name server of the harness, and
    /// addresses that no cluster has. Names, routes and ports of upstreams are as shipped.
    pub fn gateway_on_loopback(&self) -> String {
        let mut config: Value = serde_saphyr::from_str(self.gateway()).unwrap();
        config["listeners"][0]["bind"] = "127.0.0.1:0".into();
        for upstream in config["upstreams"].as_object_mut().unwrap().values_mut() {
            let name = upstream["dns"].take();
            upstream["dns"] = json!({
                "name": name, "min_ttl": "1s", "max_ttl": "1s", "allow": ["loopback"],
            });
        }
        // JSON is YAML; a flow mapping a line lets others be added.
        let keys = config.as_object().unwrap().iter();
        keys.map(|(key, value)| format!("{key}: {value}\n"))
            .collect()
    }

    /// The view of this service that the other cluster's callers have: host, its Service's port, and
    /// the identity to expect.
    pub fn called(&self) -> (String, u64, SpiffeId) {
        let entry = self.only("ServiceEntry");
        let rule = self.only("DestinationRule");
        let server = text(rule, "/spec/trafficPolicy/tls/subjectAltNames/0");
        (
            text(entry, "/spec/hosts/0").to_owned(),
            number(entry, "/spec/ports/0/number"),
            SpiffeId::parse(server).unwrap(),
        )
    }

    /// `connectionPool.tcp.maxConnectionDuration` of its callers.
    pub fn max_connection_duration(&self) -> Duration {
        let pointer = "/spec/trafficPolicy/connectionPool/tcp/maxConnectionDuration";
        humantime::parse_duration(text(self.only("DestinationRule"), pointer)).unwrap()
    }

    /// Its gateway's drain: the readiness delay and the window.
    pub fn drain(&self) -> (Duration, Duration) {
        let config = Config::parse(self.gateway(), "strait.yaml").unwrap();
        (config.drain.readiness_delay, config.drain.window)
    }
}

/// Collects what is wrong with a cluster's files.
struct Check<'a> {
    cluster: &'a Cluster,
    problems: &'a mut Vec<String>,
}

impl Check<'_> {
    fn same(&mut self, what: &str, one: impl Into<Value>, other: impl Into<Value>) {
        let (one, other) = (one.into(), other.into());
        if one != other {
            let folder = self.cluster.folder;
            self.problems
                .push(format!("{folder}: {what}: {one} is not {other}"));
        }
    }

    fn holds(&mut self, what: &str, condition: bool) {
        if !condition {
            self.problems
                .push(format!("{}: {what}", self.cluster.folder));
        }
    }

    /// Rules for every document, wherever in it something stands.
    fn spelling(&mut self) {
        for document in &self.cluster.documents {
            for key in ["/metadata/name", "/metadata/namespace"] {
                if let Some(name) = document.pointer(key) {
                    let name = name.as_str().unwrap_or_default();
                    self.holds(
                        &format!("{key} {name:?} is no Kubernetes name"),
                        is_name(name),
                    );
                }
            }
            walk(document, &mut |key, value| {
                if key == "principals" {
                    let schemed = strings(value).find(|name| name.contains("://"));
                    let what = format!("a scheme in principals: {schemed:?}");
                    self.holds(&what, schemed.is_none());
                }
                self.holds("trustDomainAliases", key != "trustDomainAliases");
                if ["hosts", "host", "subjectAltNames"].contains(&key) {
                    let upper = |name: &String| name.chars().any(char::is_uppercase);
                    let found = strings(value).find(upper);
                    self.holds(&format!("upper case in {key}: {found:?}"), found.is_none());
                }
            });
        }
    }

    /// SPIRE, and its settings for the other cluster.
    fn federation(&mut self, other: &Cluster) {
        let own = self.cluster;
        let (here, there) = (own.trust_domain(), other.trust_domain());
        let spire = own.values("spire-server");
        self.same(
            "SPIRE's trust domain",
            text(spire, "/global/spire/trustDomain"),
            here,
        );
        self.same("caCertificates", own.foreign_trust_domains(), vec![there]);
        let sds = &spire["spire-agent"]["sds"];
        self.same("SDS", sds["enabled"].clone(), true);
        self.same(
            "the SDS name of an SVID",
            text(sds, "/defaultSVIDName"),
            "default",
        );
        self.same(
            "the SDS name of all bundles",
            text(sds, "/defaultAllBundlesName"),
            "ROOTCA",
        );
        self.same(
            "the SDS name of one bundle",
            text(sds, "/defaultBundleName"),
            "null",
        );
        let server = &spire["spire-server"];
        self.same("federation", server["federation"]["enabled"].clone(), true);
        self.same(
            "https_spiffe",
            server["federation"]["tls"]["spire"]["enabled"].clone(),
            true,
        );
        let (host, port) = own.upstream("spire");
        let name = text(server, "/fullnameOverride");
        self.same(
            "SPIRE's Service",
            host,
            format!("{name}.spire.svc.cluster.local"),
        );
        let endpoint = number(server, "/federation/bundleEndpoint/port");
        self.same("SPIRE's bundle endpoint", port, endpoint);

        let relation = own.only("ClusterFederatedTrustDomain");
        self.same(
            "federated trust domain",
            text(relation, "/spec/trustDomain"),
            there,
        );
        let url = format!("https://{}:{}", other.bundle_name(), other.gateway_port());
        self.same(
            "bundleEndpointURL",
            text(relation, "/spec/bundleEndpointURL"),
            url,
        );
        let profile = &relation["spec"]["bundleEndpointProfile"];
        self.same("profile", text(profile, "/type"), "https_spiffe");
        let id = format!("spiffe://{there}/spire/server");
        self.same("endpointSPIFFEID", text(profile, "/endpointSPIFFEID"), id);
        let identities = own.only("ClusterSPIFFEID");
        let template = "spiffe://{{ .TrustDomain }}/ns/{{ .PodMeta.Namespace }}/sa/{{ .PodSpec.ServiceAccountName }}";
        self.same(
            "spiffeIDTemplate",
            text(identities, "/spec/spiffeIDTemplate"),
            template,
        );
        self.same(
            "federatesWith",
            identities["spec"]["federatesWith"].clone(),
            vec![there],
        );
        let class = text(server, "/controllerManager/className");
        for document in [relation, identities] {
            self.same("className", text(document, "/spec/className"), class);
        }
    }

    /// The service and who may call it.
    fn service(&mut self) {
        let own = self.cluster;
        let name = text(own.only("ServiceAccount"), "/metadata/name");
        let deployment = own.find("Deployment", |found| found == name);
        let pod = &deployment["spec"]["template"];
        self.same(
            "serviceAccountName",
            text(pod, "/spec/serviceAccountName"),
            name,
        );
        self.same(
            "injection",
            pod["metadata"]["annotations"]["inject.istio.io/templates"].clone(),
            "sidecar,spire",
        );
        let mode = text(own.only("PeerAuthentication"), "/spec/mtls/mode");
        self.same("PeerAuthentication", mode, "STRICT");
        let service = own.find("Service", |found| found == name);
        let (upstream, port) = own.service_upstream();
        let headless = own.find("Service", |found| {
            upstream.starts_with(&format!("{found}.apps."))
        });
        self.same(
            "a headless Service",
            headless["spec"]["clusterIP"].clone(),
            "None",
        );
        let labels = &pod["metadata"]["labels"];
        let policy = own.only("AuthorizationPolicy");
        for (what, selector) in [
            ("the Service's selector", &service["spec"]["selector"]),
            (
                "the headless Service's selector",
                &headless["spec"]["selector"],
            ),
            (
                "the Deployment's selector",
                &deployment["spec"]["selector"]["matchLabels"],
            ),
            (
                "the policy's selector",
                &policy["spec"]["selector"]["matchLabels"],
            ),
        ] {
            self.same(what, selector.clone(), labels.clone());
        }
        let container = number(pod, "/spec/containers/0/ports/0/containerPort");
        self.same("the upstream's port", port, container);
        self.same(
            "targetPort",
            number(service, "/spec/ports/0/targetPort"),
            container,
        );
        let (host, routed) = own.routed_service();
        self.same(
            "the routed host",
            host,
            format!("{name}.apps.svc.cluster.local"),
        );
        self.same(
            "the routed port",
            routed,
            number(service, "/spec/ports/0/port"),
        );
        self.same("action", text(policy, "/spec/action"), "ALLOW");
    }

    /// The gateway's own files.
    fn gateway(&mut self) {
        let own = self.cluster;
        let alpn = own.gateway_value("/listeners/0/routes/0/alpn");
        self.same("the service's ALPN", alpn, "istio");
        let alpn = own.gateway_value("/listeners/0/routes/1/alpn");
        self.same("the bundle endpoint's ALPN", alpn, "any");
        let name = format!("spire.bundles.{}", own.trust_domain());
        self.same("the bundle endpoint's name", own.bundle_name(), name);
        let deployment = own.find("Deployment", |name| name == "strait");
        let pod = &deployment["spec"]["template"]["spec"];
        let port = number(pod, "/containers/0/ports/0/containerPort");
        self.same("the gateway's containerPort", port, own.gateway_port());
        let service = own.find("Service", |name| name == "strait");
        let port = number(service, "/spec/ports/0/port");
        self.same("the gateway's Service port", port, own.gateway_port());
        let (delay, window) = own.drain();
        let grace = number(pod, "/terminationGracePeriodSeconds");
        let fits = delay + window < Duration::from_secs(grace);
        self.holds("the drain does not fit the grace period", fits);
    }

    /// This cluster's calls of the other's service.
    fn call(&mut self, other: &Cluster) {
        let own = self.cluster;
        let entry = own.only("ServiceEntry");
        let rule = own.only("DestinationRule");
        let (host, port, server) = own.called();
        let (routed_host, routed_port) = other.routed_service();
        self.same("the ServiceEntry's host", &*host, routed_host);
        self.same("the DestinationRule's host", text(rule, "/spec/host"), host);
        self.same("the ServiceEntry's port", port, routed_port);
        self.same("location", text(entry, "/spec/location"), "MESH_EXTERNAL");
        self.same("resolution", text(entry, "/spec/resolution"), "DNS");
        let endpoint = &entry["spec"]["endpoints"][0];
        let address = format!("east-west.{}", other.trust_domain());
        self.same("the gateway's address", text(endpoint, "/address"), address);
        let name = text(entry, "/spec/ports/0/name");
        let at = number(endpoint, &format!("/ports/{name}"));
        self.same("the gateway's port", at, other.gateway_port());
        let tls = &rule["spec"]["trafficPolicy"]["tls"];
        self.same("tls.mode", text(tls, "/mode"), "ISTIO_MUTUAL");
        let expected = other.service_identity();
        self.same("subjectAltNames", server.as_str(), expected.as_str());
        let (_, window) = other.drain();
        let below = own.max_connection_duration() < window;
        self.holds("maxConnectionDuration is not below drain.window", below);
        // And the other cluster accepts the identity of this cluster's service.
        let caller = own.service_identity();
        let principal = caller.as_str().trim_start_matches("spiffe://");
        self.same(
            "the other's principals",
            other.principals(),
            vec![principal],
        );
    }
}

/// RFC 1123, as Kubernetes checks names.
fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !label.is_empty()
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("no text at {pointer} of {value:#}"))
}

fn number(value: &Value, pointer: &str) -> u64 {
    let found = value.pointer(pointer).and_then(Value::as_u64);
    found.unwrap_or_else(|| panic!("no number at {pointer} of {value:#}"))
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// One text, or a list of them.
fn strings(value: &Value) -> impl Iterator<Item = String> {
    let one = value.as_str().map(ToOwned::to_owned);
    let many = items(value)
        .filter_map(Value::as_str)
        .map(ToOwned::to_owned);
    one.into_iter().chain(many).collect::<Vec<_>>().into_iter()
}

/// Every key of a document with its value, however deep.
fn walk(value: &Value, visit: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                visit(key, value);
                walk(value, visit);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        _ => {}
    }
}
