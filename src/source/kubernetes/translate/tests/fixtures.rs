//! Objects of a small cluster, one line each, and results of their translation as texts that are easy
//! to compare.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::config::{
    AlpnPolicy, EndpointOrigin, EndpointSpec, ExportMode, KubernetesConfig, samples,
};
use crate::source::kubernetes::cluster::{ClusterChange, Kind, Record, Unreadable};
use crate::source::kubernetes::discovered::Discovered;
use crate::source::kubernetes::records::entry::{
    EntryPortRecord, ServiceEntryRecord, WorkloadAddress, WorkloadEntryRecord, WorkloadRecord,
};
use crate::source::kubernetes::records::gateway::{
    GatewayClassRecord, GatewayRecord, Revision, TlsRouteRecord,
};
use crate::source::kubernetes::records::mesh::MeshConfigRecord;
use crate::source::kubernetes::records::wishes::RuleWishes;
use crate::source::kubernetes::records::{
    DestinationRuleRecord, Labels, NamespaceRecord, NodeRecord, ObjectKey,
    PeerAuthenticationRecord, PodRecord, RuleTls, ServiceExportRecord, ServiceKind,
    ServicePortRecord, ServiceRecord, SliceEndpoint, SliceRecord, SubsetRecord,
};
use crate::source::kubernetes::translate::Translator;

/// A policy that exports everything to anybody.
pub(super) fn policy() -> KubernetesConfig {
    let mut policy = samples::kubernetes();
    policy.export.mode = ExportMode::All;
    policy.export.alpn = AlpnPolicy::Any;
    policy
}

/// A policy that exports everything to sidecars only.
pub(super) fn mesh_policy() -> KubernetesConfig {
    let mut policy = policy();
    policy.export.alpn = AlpnPolicy::istio();
    policy
}

/// A policy that exports nothing and serves Gateways.
pub(super) fn gateway_policy() -> KubernetesConfig {
    let mut policy = policy();
    policy.export.mode = ExportMode::None;
    policy.gateway_api = Some(samples::gateway_api());
    policy
}

/// A Gateway with a TLS listener, and a TLSRoute through it to port 443 of the Service `apps/svcb`.
pub(super) fn gateway_and_route() -> Vec<Object> {
    fn spec<T: DeserializeOwned>(spec: Value) -> T {
        serde_json::from_value(spec).unwrap()
    }
    let revision = || Revision {
        resource_version: "1".into(),
        generation: 1,
        created: 0,
    };
    let class = GatewayClassRecord {
        revision: revision(),
        spec: spec(json!({ "controllerName": "strait.dev/gateway-controller" })),
    };
    let listener = json!({
        "name": "tls", "port": 443, "protocol": "TLS", "tls": { "mode": "Passthrough" },
    });
    let gateway = GatewayRecord {
        revision: revision(),
        spec: spec(json!({ "gatewayClassName": "strait", "listeners": [listener] })),
    };
    let route = TlsRouteRecord {
        revision: revision(),
        api_version: "v1".into(),
        annotations: Labels::default(),
        spec: spec(json!({
            "parentRefs": [{ "name": "gateway" }],
            "hostnames": ["b.example.com"],
            "rules": [{ "backendRefs": [{ "name": "svcb", "port": 443 }] }],
        })),
        reported_by: Box::default(),
    };
    vec![
        namespace("apps", &[]),
        (key("strait"), Record::GatewayClass(class)),
        (key("apps/gateway"), Record::Gateway(gateway)),
        (key("apps/route"), Record::TlsRoute(route)),
    ]
}

pub(super) type Object = (ObjectKey, Record);

/// The key for `NAMESPACE/NAME`, or for the name of an object without a namespace.
pub(super) fn key(text: &str) -> ObjectKey {
    let (namespace, name) = text.split_once('/').unwrap_or(("", text));
    ObjectKey {
        namespace: namespace.into(),
        name: name.into(),
    }
}

pub(super) fn labels(labels: &[(&str, &str)]) -> Labels {
    labels.iter().copied().collect()
}

pub(super) fn service(at: &str, ports: &[(&str, u16)]) -> Object {
    service_with(at, ports, |_| {})
}

pub(super) fn service_with(
    at: &str,
    ports: &[(&str, u16)],
    edit: impl FnOnce(&mut ServiceRecord),
) -> Object {
    let port = |(name, port): &(&str, u16)| ServicePortRecord {
        name: (*name).into(),
        port: *port,
        target: None,
        target_name: None,
    };
    let mut record = ServiceRecord {
        resource_version: "1".into(),
        labels: Labels::default(),
        annotations: Labels::default(),
        kind: ServiceKind::Balanced,
        ports: ports.iter().map(port).collect(),
        export_to: Box::default(),
        addresses: Box::default(),
        ipv6_first: false,
        selector: Labels::default(),
    };
    edit(&mut record);
    (key(at), Record::Service(record))
}

/// The Service `apps/svcb` with its port 80, its endpoint 10.0.0.1:8080, which is the pod `apps/a`, and `more`
/// objects.
pub(super) fn svcb(more: impl IntoIterator<Item = Object>) -> Vec<Object> {
    let endpoints = vec![endpoint("10.0.0.1", "a")];
    let mut objects = vec![
        service("apps/svcb", &[("http", 80)]),
        slice("apps/svcb.x", &[("http", 8080)], endpoints),
    ];
    objects.extend(more);
    objects
}

/// A slice of the Service of the same name, up to the first `.`.
pub(super) fn slice(at: &str, ports: &[(&str, u16)], endpoints: Vec<SliceEndpoint>) -> Object {
    let key = key(at);
    let service = key.name.split('.').next().unwrap().into();
    let ports = ports.iter().map(|(name, port)| ((*name).into(), *port));
    let record = SliceRecord {
        service,
        ports: ports.collect(),
        endpoints: endpoints.into(),
    };
    (key, Record::Slice(record))
}

/// A ready endpoint for `pod`, or for no pod if that is empty.
pub(super) fn endpoint(address: &str, pod: &str) -> SliceEndpoint {
    SliceEndpoint {
        address: address.parse().unwrap(),
        ready: true,
        serving: true,
        terminating: false,
        zone: None,
        node: None,
        hostname: None,
        pod: (!pod.is_empty()).then(|| pod.into()),
    }
}

pub(super) fn pod(at: &str, with: &[(&str, &str)]) -> Object {
    let labels = labels(with);
    (key(at), Record::Pod(PodRecord { labels }))
}

pub(super) const SIDECAR: (&str, &str) = ("security.istio.io/tlsMode", "istio");

pub(super) fn namespace(name: &str, with: &[(&str, &str)]) -> Object {
    let labels = labels(with);
    (key(name), Record::Namespace(NamespaceRecord { labels }))
}

pub(super) fn node(name: &str, zone: Option<&str>) -> Object {
    let record = NodeRecord {
        zone: zone.map(Arc::from),
        ..NodeRecord::default()
    };
    (key(name), Record::Node(record))
}

pub(super) fn service_export(at: &str) -> Object {
    (
        key(at),
        Record::ServiceExport(ServiceExportRecord::default()),
    )
}

pub(super) fn peer_authentication(
    at: &str,
    created: i64,
    selector: &[(&str, &str)],
    disabled: Option<bool>,
    ports: &[(u16, Option<bool>)],
) -> Object {
    let record = PeerAuthenticationRecord {
        created,
        selector: labels(selector),
        disabled,
        disabled_ports: ports.iter().copied().collect(),
    };
    (key(at), Record::PeerAuthentication(record))
}

pub(super) fn rule(at: &str, host: &str, edit: impl FnOnce(&mut DestinationRuleRecord)) -> Object {
    let mut record = DestinationRuleRecord {
        created: 0,
        host: host.into(),
        export_to: Box::default(),
        for_workloads: false,
        tls: None,
        wishes: Box::default(),
        subsets: Box::default(),
    };
    edit(&mut record);
    (key(at), Record::DestinationRule(record))
}

/// A ServiceEntry of the mesh with a host.
pub(super) fn entry(
    at: &str,
    host: &str,
    ports: &[(&str, u16)],
    edit: impl FnOnce(&mut ServiceEntryRecord),
) -> Object {
    let port = |(name, port): &(&str, u16)| EntryPortRecord {
        name: (*name).into(),
        port: *port,
        target: None,
    };
    let mut record = ServiceEntryRecord {
        resource_version: "1".into(),
        created: 0,
        labels: Labels::default(),
        annotations: Labels::default(),
        hosts: [host.into()].into(),
        external: false,
        by_dns: false,
        export_to: Box::default(),
        ports: ports.iter().map(port).collect(),
        endpoints: Box::default(),
        selector: None,
    };
    edit(&mut record);
    (key(at), Record::ServiceEntry(record))
}

/// A workload that is no pod.
pub(super) fn vm(address: &str, with: &[(&str, &str)]) -> WorkloadRecord {
    WorkloadRecord {
        address: WorkloadAddress::Ip(address.parse().unwrap()),
        labels: labels(with),
        has_account: false,
        ports: Box::default(),
        network: None,
        locality: None,
        weight: 0,
    }
}

/// A WorkloadEntry without labels.
pub(super) fn workload_entry(at: &str, edit: impl FnOnce(&mut WorkloadEntryRecord)) -> Object {
    let mut record = WorkloadEntryRecord {
        workload: vm("192.0.2.1", &[]),
        unhealthy: false,
    };
    edit(&mut record);
    (key(at), Record::WorkloadEntry(record))
}

pub(super) fn subset(name: &str, with: &[(&str, &str)]) -> SubsetRecord {
    SubsetRecord {
        name: name.into(),
        labels: labels(with),
        tls: RuleTls::default(),
        wishes: RuleWishes::default(),
    }
}

/// Istio's ConfigMap with Istio's defaults, changed by `edit`.
pub(super) fn mesh_config(edit: impl FnOnce(&mut MeshConfigRecord)) -> Object {
    let mut record = MeshConfigRecord::default();
    edit(&mut record);
    (key("istio-system/istio"), Record::MeshConfig(record))
}

/// An object that exists and cannot be read.
pub(super) fn unreadable(at: &str, kind: Kind, about: Option<&str>) -> Object {
    let record = Unreadable {
        kind,
        problem: "port 70000".into(),
        about: about.map(Arc::from),
    };
    (key(at), Record::Unreadable(record))
}

pub(super) fn set((key, record): Object) -> ClusterChange {
    ClusterChange::Set(key, record)
}

/// A translator that knows the objects, and its last result.
pub(super) struct World {
    pub(super) translator: Translator,
    pub(super) found: Found,
}

/// The result of a translation.
#[derive(Debug, Clone)]
pub(super) struct Found(pub(super) Arc<Discovered>);

/// The result of translating the objects.
pub(super) fn find(policy: KubernetesConfig, objects: Vec<Object>) -> Found {
    world(policy, objects).found
}

/// Empty lists of every kind.
pub(super) fn listed() -> impl Iterator<Item = ClusterChange> {
    let kinds = Kind::ALL.iter();
    kinds.map(|kind| ClusterChange::All(*kind, Vec::new()))
}

pub(super) fn world(policy: KubernetesConfig, objects: Vec<Object>) -> World {
    let mut translator = Translator::new(Arc::new(policy));
    let changes = listed().chain(objects.into_iter().map(set));
    let found = translator.apply(changes).expect("the first one");
    let found = Found(found);
    World { translator, found }
}

/// As [`world`], but one kind was never listed.
pub(super) fn unlisted(policy: KubernetesConfig, objects: Vec<Object>, kind: Kind) -> World {
    let mut translator = Translator::new(Arc::new(policy));
    let others =
        listed().filter(|change| !matches!(change, ClusterChange::All(of, _) if *of == kind));
    let changes = others.chain(objects.into_iter().map(set));
    let found = Found(translator.apply(changes).expect("the first one"));
    World { translator, found }
}

impl World {
    /// Whether the changes give a new result, which then replaces the last one.
    pub(super) fn apply(&mut self, changes: impl IntoIterator<Item = ClusterChange>) -> bool {
        let found = self.translator.apply(changes);
        if let Some(found) = &found {
            self.found = Found(found.clone());
        }
        found.is_some()
    }
}

impl Found {
    /// `PATTERN -> UPSTREAM` of every route, by pattern.
    pub(super) fn routes(&self) -> Vec<String> {
        let mut routes = Vec::new();
        for route in self.0.routing.exports.iter() {
            for pattern in route.matches.patterns().unwrap() {
                routes.push(format!("{pattern} -> {}", route.targets.first.upstream));
            }
        }
        routes.sort();
        routes
    }

    /// The name of every route with the reason why the policy would refuse it.
    pub(super) fn dry_runs(&self) -> BTreeMap<&str, Option<&str>> {
        let exports = self.0.routing.exports.iter();
        exports
            .map(|route| (&*route.name, route.dry_run.as_deref()))
            .collect()
    }

    /// `ADDRESS`, `ADDRESS or ADDRESS`, or `ADDRESS in ZONE`, by address; `, terminating` after it.
    pub(super) fn endpoints(&self, upstream: &str) -> Vec<String> {
        assert!(
            self.0.routing.upstreams.contains_key(upstream),
            "{upstream}"
        );
        let endpoints = self.0.endpoints[upstream].iter();
        let text = |it: &EndpointSpec| {
            let end = if it.terminating { ", terminating" } else { "" };
            match (it.other, it.zone.as_deref()) {
                (Some(other), _) => format!("{} or {other}{end}", it.address),
                (None, Some(zone)) => format!("{} in {zone}{end}", it.address),
                (None, None) => format!("{}{end}", it.address),
            }
        };
        endpoints.map(text).collect()
    }

    /// The origin of each endpoint, by address.
    pub(super) fn origins(&self, upstream: &str) -> Vec<String> {
        let endpoints = self.0.endpoints[upstream].iter();
        endpoints
            .map(|it| it.origin.as_ref().unwrap().to_string())
            .collect()
    }

    /// The hostname of each endpoint, by address.
    pub(super) fn hostnames(&self, upstream: &str) -> Vec<Option<&str>> {
        let endpoints = self.0.endpoints[upstream].iter();
        endpoints.map(|it| it.hostname.as_deref()).collect()
    }

    /// The node of each endpoint, by address.
    pub(super) fn nodes(&self, upstream: &str) -> Vec<Option<&str>> {
        let endpoints = self.0.endpoints[upstream].iter();
        endpoints.map(|it| it.node.as_deref()).collect()
    }

    /// The pod of each endpoint, by address.
    pub(super) fn pods(&self, upstream: &str) -> Vec<Option<String>> {
        let endpoints = self.0.endpoints[upstream].iter();
        let origins = endpoints.map(|it| it.origin.as_deref());
        let pod = |origin: &EndpointOrigin| {
            Some(format!("{}/{}", origin.namespace, origin.pod.as_ref()?))
        };
        origins.map(|origin| origin.and_then(pod)).collect()
    }

    pub(super) fn why_empty(&self, upstream: &str) -> Option<&str> {
        self.0.empty.get(upstream).map(|reason| &**reason)
    }

    pub(super) fn why_unrouted(&self, host: &str) -> Option<&str> {
        let reason = self.0.unrouted.get(host);
        reason.map(|reason| &**reason)
    }

    pub(super) fn skipped(&self) -> Vec<&str> {
        let examples = self.0.routing.skipped.examples.iter();
        examples.map(|text| &**text).collect()
    }
}
