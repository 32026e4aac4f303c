//! A cluster built from objects in YAML, and the results of its translation.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::{GatewayAddresses, GatewayApiConfig, RouteConfig, RouteMatch, samples};
use crate::source::kubernetes::cluster::{Cluster, ClusterChange, Dirty, Kind, Record};
use crate::source::kubernetes::gateways::{self, Translated, names};
use crate::source::kubernetes::ports::Ports;
use crate::source::kubernetes::records::gateway::{
    GatewayClassRecord, GatewayRecord, ReferenceGrantRecord, Revision, TlsRouteRecord,
};
use crate::source::kubernetes::records::{
    Labels, NamespaceRecord, ObjectKey, ServiceKind, ServicePortRecord, ServiceRecord, SliceRecord,
};
use crate::source::kubernetes::status::{Condition, ConditionKind, Status};

/// The class, namespaces and Services of every test. Each Service has port 443; `ext` is an alias.
const BASE: &str = "
kind: GatewayClass
metadata: {name: strait}
spec: {controllerName: strait.dev/gateway-controller}
---
kind: Namespace
metadata: {name: apps, labels: {team: apps}}
---
kind: Namespace
metadata: {name: shop, labels: {team: shop}}
---
kind: Service
metadata: {name: tls-backend, namespace: apps}
---
kind: Service
metadata: {name: tls-backend-2, namespace: apps}
---
kind: Service
metadata: {name: tls-backend, namespace: shop}
---
kind: Service
metadata: {name: ext, namespace: apps}
spec: {type: ExternalName}
";

pub(super) struct Fixture {
    cluster: Cluster,
    pub(super) config: GatewayApiConfig,
    /// Upstream names of service ports with pods in the mesh.
    pub(super) mesh: BTreeSet<&'static str>,
    /// Every port is open, unless a test says otherwise.
    pub(super) ports: Ports,
}

impl Fixture {
    /// [`BASE`] with the objects of `yaml`.
    pub(super) fn new(yaml: &str) -> Self {
        let mut fixture = Self {
            cluster: Cluster::default(),
            config: GatewayApiConfig {
                addresses: GatewayAddresses::Fixed(vec!["192.0.2.7".into()]),
                reserved_ports: [15021].into(),
                ..samples::gateway_api()
            },
            mesh: BTreeSet::new(),
            ports: Ports {
                open: (1..=u16::MAX).collect(),
                ..Ports::default()
            },
        };
        fixture.set(BASE);
        fixture.set(yaml);
        fixture
    }

    pub(super) fn set(&mut self, yaml: &str) {
        let objects: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
        for object in objects {
            let (key, record) = read(&object);
            self.cluster
                .apply(ClusterChange::Set(key, record), &mut Dirty::default());
        }
    }

    /// A slice of a Service of `apps`, with a port of that name.
    pub(super) fn slice(&mut self, service: &str, port: &str, number: u16) {
        let record = Record::Slice(SliceRecord {
            service: service.into(),
            ports: [(port.into(), number)].into(),
            endpoints: Box::default(),
        });
        let change = ClusterChange::Set(key("apps", "slice"), record);
        self.cluster.apply(change, &mut Dirty::default());
    }

    pub(super) fn remove(&mut self, kind: Kind, namespace: &str, name: &str) {
        let change = ClusterChange::Removed(kind, key(namespace, name));
        self.cluster.apply(change, &mut Dirty::default());
    }

    pub(super) fn translate(&self) -> Outcome {
        let policy = samples::kubernetes();
        let in_mesh = |port: &crate::config::ServicePort| {
            let plain = crate::config::ServicePort {
                pods: Default::default(),
                ..port.clone()
            };
            self.mesh.contains(plain.to_string().as_str())
        };
        Outcome(gateways::translate(
            &self.cluster,
            &policy,
            &self.config,
            &self.ports,
            &in_mesh,
        ))
    }
}

pub(super) struct Outcome(pub(super) Translated);

impl Outcome {
    /// The upstreams of the route that takes `name` on port 443, with their weights.
    pub(super) fn goes_to(&self, name: &str) -> Option<String> {
        self.on(443, name)
    }

    pub(super) fn on(&self, port: u16, name: &str) -> Option<String> {
        let route = self.route(port, name)?;
        let targets = route
            .targets
            .iter()
            .map(|target| match target.weight.get() {
                1 => target.upstream.to_string(),
                weight => format!("{}={weight}", target.upstream),
            });
        let targets: Vec<String> = targets.collect();
        // A target that refuses has a reason; any other is among the backends.
        for target in route.targets.iter() {
            let backend = self
                .0
                .backends
                .iter()
                .find(|port| port.to_string() == *target.upstream);
            let backend = backend.unwrap();
            let refused = target.upstream.ends_with("+refused");
            assert_eq!(self.0.refused.contains_key(backend), refused, "{backend}");
        }
        Some(targets.join(" "))
    }

    /// The route that the route table finds: the most specific pattern, and of equal ones the first
    /// route.
    pub(super) fn route(&self, port: u16, name: &str) -> Option<&RouteConfig> {
        let routes = self.0.routes.get(&port)?;
        names::at_or_above(&names::parse(name).unwrap()).find_map(|pattern| {
            routes
                .iter()
                .map(|route| &**route)
                .find(|route| match &route.matches {
                    RouteMatch::AnyOf(patterns) => patterns.contains(&pattern),
                    other => panic!("{other:?}"),
                })
        })
    }

    /// The reason why the upstream refuses.
    pub(super) fn why(&self, upstream: &str) -> &str {
        let mut refused = self.0.refused.iter();
        refused
            .find(|(port, _)| port.to_string() == upstream)
            .unwrap()
            .1
    }

    fn status(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Status> {
        let wanted = self.0.statuses.objects.get(&(kind, key(namespace, name)))?;
        Some(&wanted.status)
    }

    pub(super) fn class(&self) -> String {
        self.class_named("strait").unwrap()
    }

    pub(super) fn class_named(&self, name: &str) -> Option<String> {
        match self.status(Kind::GatewayClass, "", name)? {
            Status::Class { conditions, .. } => Some(summary(conditions)),
            Status::UnservedClass { accepted } => Some(summary(std::slice::from_ref(accepted))),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn has_gateway(&self, namespace: &str, name: &str) -> bool {
        self.status(Kind::Gateway, namespace, name).is_some()
    }

    /// Conditions of a Gateway of `apps`, and its addresses.
    pub(super) fn gateway(&self, name: &str) -> (String, Vec<&str>) {
        self.gateway_of("apps", name)
    }

    pub(super) fn gateway_of(&self, namespace: &str, name: &str) -> (String, Vec<&str>) {
        match self.status(Kind::Gateway, namespace, name) {
            Some(Status::Gateway {
                conditions,
                addresses,
                ..
            }) => (
                summary(conditions),
                addresses.iter().map(|address| &**address).collect(),
            ),
            other => panic!("{other:?}"),
        }
    }

    /// The message of a condition of a Gateway of `apps`.
    pub(super) fn gateway_message(&self, name: &str, kind: &str) -> String {
        match self.status(Kind::Gateway, "apps", name) {
            Some(Status::Gateway { conditions, .. }) => {
                let mut conditions = conditions.iter();
                let found = conditions.find(|condition| condition.kind.text() == kind);
                found.unwrap().message.clone()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Conditions of a listener of a Gateway of `apps`, its routes, and whether TLSRoutes suit it.
    pub(super) fn listener(&self, gateway: &str, name: &str) -> (String, u32, bool) {
        self.listener_of("apps", gateway, name)
    }

    pub(super) fn listener_of(&self, ns: &str, gateway: &str, name: &str) -> (String, u32, bool) {
        match self.status(Kind::Gateway, ns, gateway) {
            Some(Status::Gateway { listeners, .. }) => {
                let status = listeners
                    .iter()
                    .find(|listener| &*listener.name == name)
                    .unwrap();
                (
                    summary(&status.conditions),
                    status.attached_routes,
                    status.takes_tls_routes,
                )
            }
            other => panic!("{other:?}"),
        }
    }

    /// Conditions of each parent of a TLSRoute.
    pub(super) fn parents(&self, namespace: &str, name: &str) -> Option<Vec<String>> {
        match self.status(Kind::TlsRoute, namespace, name)? {
            Status::Route { parents, .. } => Some(
                parents
                    .iter()
                    .map(|parent| summary(&parent.conditions))
                    .collect(),
            ),
            other => panic!("{other:?}"),
        }
    }

    /// Conditions of the only parent of a TLSRoute of `apps`.
    pub(super) fn parent(&self, name: &str) -> String {
        let parents = self.parents("apps", name).unwrap();
        assert_eq!(parents.len(), 1);
        parents.into_iter().next().unwrap()
    }

    /// The message of a condition of the first parent of a TLSRoute.
    pub(super) fn message(&self, namespace: &str, name: &str, kind: ConditionKind) -> &str {
        match self.status(Kind::TlsRoute, namespace, name) {
            Some(Status::Route { parents, .. }) => {
                let mut conditions = parents[0].conditions.iter();
                &conditions
                    .find(|condition| condition.kind == kind)
                    .unwrap()
                    .message
            }
            other => panic!("{other:?}"),
        }
    }
}

/// `Accepted`, `!ResolvedRefs=BackendNotFound`: false ones are marked, reasons shown that say more than
/// the type.
fn summary(conditions: &[Condition]) -> String {
    let text = |condition: &Condition| {
        let kind = condition.kind.text().trim_start_matches("strait.dev/");
        let mark = if condition.holds { "" } else { "!" };
        if condition.reason == kind {
            format!("{mark}{kind}")
        } else {
            format!("{mark}{kind}={}", condition.reason)
        }
    };
    let conditions = conditions
        .iter()
        .filter(|condition| condition.reason != "NoConflicts");
    conditions.map(text).collect::<Vec<_>>().join(" ")
}

pub(super) fn key(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey {
        namespace: namespace.into(),
        name: name.into(),
    }
}

fn spec<T: DeserializeOwned>(object: &Value) -> T {
    let spec = object
        .get("spec")
        .cloned()
        .unwrap_or_else(|| serde_json::json!({}));
    serde_json::from_value(spec).unwrap()
}

fn labels(value: &Value) -> Labels {
    let pairs = value.as_object().into_iter().flatten();
    let pairs = pairs.map(|(key, value)| {
        (
            key.trim_start_matches("strait.dev/").to_owned(),
            value.as_str().unwrap().to_owned(),
        )
    });
    pairs.collect()
}

fn read(object: &Value) -> (ObjectKey, Record) {
    let metadata = &object["metadata"];
    let text = |field: &str| metadata[field].as_str().unwrap_or_default();
    let key = key(text("namespace"), text("name"));
    let revision = Revision {
        resource_version: metadata["resourceVersion"].as_str().unwrap_or("1").into(),
        generation: metadata["generation"].as_i64().unwrap_or(1),
        // Tests write the creation time as a number.
        created: metadata["created"].as_i64().unwrap_or(0),
    };
    let record = match object["kind"].as_str().unwrap() {
        "GatewayClass" => Record::GatewayClass(GatewayClassRecord {
            revision,
            spec: spec(object),
        }),
        "Gateway" => Record::Gateway(GatewayRecord {
            revision,
            spec: spec(object),
        }),
        "TLSRoute" => Record::TlsRoute(TlsRouteRecord {
            revision,
            api_version: "v1".into(),
            annotations: labels(&metadata["annotations"]),
            spec: spec(object),
            reported_by: object["reportedBy"]
                .as_str()
                .map(Arc::from)
                .into_iter()
                .collect(),
        }),
        "ReferenceGrant" => Record::ReferenceGrant(ReferenceGrantRecord { spec: spec(object) }),
        "Namespace" => Record::Namespace(NamespaceRecord {
            labels: labels(&metadata["labels"]),
        }),
        "Service" => Record::Service(service(object)),
        other => panic!("{other}"),
    };
    (key, record)
}

/// The ports of a Service; without any, port 443.
fn service_ports(ports: &Value) -> Box<[ServicePortRecord]> {
    let default = vec![serde_json::json!({ "port": 443 })];
    let ports = ports.as_array().unwrap_or(&default).iter();
    let number = |value: &Value| u16::try_from(value.as_u64()?).ok();
    let port = |port: &Value| ServicePortRecord {
        name: port["name"].as_str().unwrap_or_default().into(),
        port: number(&port["port"]).unwrap(),
        target: number(&port["targetPort"]).and_then(NonZeroU16::new),
        target_name: None,
    };
    ports.map(port).collect()
}

fn service(object: &Value) -> ServiceRecord {
    let metadata = &object["metadata"];
    let addresses = object["addresses"].as_array().into_iter().flatten();
    ServiceRecord {
        resource_version: "1".into(),
        labels: Labels::default(),
        annotations: labels(&metadata["annotations"]),
        kind: match object["spec"]["type"].as_str() {
            Some("ExternalName") => ServiceKind::ExternalName,
            _ => ServiceKind::Balanced,
        },
        ports: service_ports(&object["spec"]["ports"]),
        export_to: Box::default(),
        addresses: addresses
            .map(|address| address.as_str().unwrap().into())
            .collect(),
        ipv6_first: false,
        selector: Labels::default(),
    }
}
