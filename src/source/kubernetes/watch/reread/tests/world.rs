//! Records of every kind.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Balance;
use crate::source::kubernetes::cluster::{Kind, Record};
use crate::source::kubernetes::records::entry::{
    EntryPortRecord, ServiceEntryRecord, WorkloadAddress, WorkloadEntryRecord, WorkloadRecord,
};
use crate::source::kubernetes::records::gateway::{
    GatewayClassRecord, GatewayRecord, LabelDemand, LabelSelector, ReferenceGrantRecord, Revision,
    TlsRouteRecord,
};
use crate::source::kubernetes::records::mesh::MeshConfigRecord;
use crate::source::kubernetes::records::wishes::{
    BalanceWishes, ConnectionWishes, EjectionWishes, PoolWishes, RuleWishes,
};
use crate::source::kubernetes::records::{
    ClientTls, DestinationRuleRecord, Labels, NamespaceRecord, NodeRecord, ObjectKey,
    PeerAuthenticationRecord, PodRecord, RuleTls, ServiceExportRecord, ServiceKind,
    ServicePortRecord, ServiceRecord, SliceEndpoint, SliceRecord, SubsetRecord,
};
use crate::source::kubernetes::saved::KindState;

type Objects = Vec<(ObjectKey, Record)>;

pub(super) fn key(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey {
        namespace: namespace.into(),
        name: name.into(),
    }
}

fn texts(texts: &[&str]) -> Box<[Arc<str>]> {
    texts.iter().map(|text| Arc::from(*text)).collect()
}

pub(super) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().copied().collect()
}

fn revision() -> Revision {
    Revision {
        resource_version: "7".into(),
        generation: 3,
        created: 1_790_000_000,
    }
}

pub(super) fn service() -> ServiceRecord {
    ServiceRecord {
        resource_version: "7".into(),
        labels: labels(&[("team", "a"), ("odd", "\"quoted\" \u{e9}\\")]),
        annotations: labels(&[("export", "true"), ("alpn", "any")]),
        kind: ServiceKind::Headless,
        ports: [("", 80), ("web", 443)]
            .map(|(name, port)| ServicePortRecord {
                name: name.into(),
                port,
                target: (port == 443).then_some(NonZeroU16::MAX),
                target_name: (port == 80).then(|| "web".into()),
            })
            .into(),
        export_to: texts(&[".", "istio-system"]),
        addresses: texts(&["192.0.2.1", "lb.example"]),
        ipv6_first: true,
        selector: labels(&[("app", "svcb")]),
    }
}

pub(super) fn endpoint(address: &str) -> SliceEndpoint {
    SliceEndpoint {
        address: address.parse().unwrap(),
        ready: true,
        serving: true,
        terminating: false,
        zone: None,
        node: None,
        hostname: None,
        pod: None,
    }
}

fn services() -> Objects {
    let plain = |kind, export_to: &[&str]| ServiceRecord {
        resource_version: "".into(),
        labels: Labels::default(),
        annotations: Labels::default(),
        kind,
        ports: Box::default(),
        export_to: texts(export_to),
        addresses: Box::default(),
        ipv6_first: false,
        selector: Labels::default(),
    };
    let all = [
        service(),
        plain(ServiceKind::Balanced, &[]),
        plain(ServiceKind::ExternalName, &[""]),
        plain(ServiceKind::Balanced, &["", "a", ""]),
    ];
    let named = all.into_iter().enumerate();
    let record = |(number, service): (usize, _)| {
        (key("apps", &number.to_string()), Record::Service(service))
    };
    named.map(record).collect()
}

pub(super) fn slices() -> Objects {
    let slice = SliceRecord {
        service: "svcb".into(),
        ports: [("".into(), 8080), ("web".into(), 8443)].into(),
        endpoints: [
            SliceEndpoint {
                ready: false,
                serving: false,
                terminating: true,
                zone: Some("z".into()),
                node: Some("n".into()),
                hostname: Some("svcb-0".into()),
                pod: Some("svcb-0".into()),
                ..endpoint("10.0.0.1")
            },
            endpoint("fd00::1"),
        ]
        .into(),
    };
    vec![(key("apps", "svcb-x"), Record::Slice(slice))]
}

fn policies() -> Objects {
    let peers = PeerAuthenticationRecord {
        created: 60,
        selector: labels(&[("app", "svcb")]),
        disabled: Some(true),
        disabled_ports: [(80, Some(false)), (81, None), (82, Some(true))].into(),
    };
    let open = PeerAuthenticationRecord {
        created: 0,
        selector: Labels::default(),
        disabled: None,
        disabled_ports: BTreeMap::new(),
    };
    vec![
        (key("apps", "a"), Record::PeerAuthentication(peers)),
        (key("apps", "b"), Record::PeerAuthentication(open)),
    ]
}

fn wishes(balance: Balance) -> ConnectionWishes {
    let millis = |millis| Some(Duration::from_millis(millis));
    ConnectionWishes {
        pool: Some(PoolWishes {
            connections: 7,
            connect: millis(1500),
            keepalive_time: millis(30_000),
            keepalive_interval: millis(5000),
            keepalive_probes: 2,
            idle: millis(90_000),
            max_age: millis(120_000),
        }),
        ejection: Some(EjectionWishes {
            failures: 4,
            base: millis(2500),
            max_percent: 30,
            min_healthy_percent: 20,
        }),
        balance: Some(BalanceWishes {
            balance: Some(balance),
            slow_start: millis(10_000),
        }),
    }
}

fn rules() -> Objects {
    let tls = |mode, ports: &[(u16, ClientTls)]| RuleTls {
        mode,
        ports: ports.iter().copied().collect(),
    };
    let rule = DestinationRuleRecord {
        created: 60,
        host: "svcb".into(),
        export_to: texts(&["."]),
        for_workloads: true,
        tls: Some(tls(
            Some(ClientTls::IstioMutual),
            &[(80, ClientTls::Own), (81, ClientTls::Disable)],
        )),
        wishes: Box::new(RuleWishes {
            all: wishes(Balance::LeastConnections),
            ports: [
                (80, wishes(Balance::SourceHash)),
                (81, ConnectionWishes::default()),
                (82, wishes(Balance::Random)),
            ]
            .into(),
        }),
        subsets: [
            SubsetRecord {
                name: "v1".into(),
                labels: labels(&[("version", "v1")]),
                tls: tls(Some(ClientTls::Own), &[]),
                wishes: RuleWishes {
                    all: wishes(Balance::RoundRobin),
                    ports: BTreeMap::new(),
                },
            },
            SubsetRecord {
                name: "all".into(),
                labels: Labels::default(),
                tls: tls(None, &[(80, ClientTls::IstioMutual)]),
                wishes: RuleWishes {
                    all: ConnectionWishes::default(),
                    ports: [(80, ConnectionWishes::default())].into(),
                },
            },
        ]
        .into(),
    };
    let plain = DestinationRuleRecord {
        created: 0,
        host: "*.local".into(),
        export_to: Box::default(),
        for_workloads: false,
        tls: None,
        wishes: Box::default(),
        subsets: Box::default(),
    };
    vec![
        (key("apps", "a"), Record::DestinationRule(rule)),
        (key("apps", "b"), Record::DestinationRule(plain)),
    ]
}

fn workload() -> WorkloadRecord {
    WorkloadRecord {
        address: WorkloadAddress::Ip("192.0.2.1".parse().unwrap()),
        labels: labels(&[("app", "db")]),
        has_account: true,
        ports: [("tcp".into(), 7000)].into(),
        network: Some("n".into()),
        locality: Some("r/z/s".into()),
        weight: 3,
    }
}

fn workloads() -> Objects {
    let entry = |unhealthy| {
        Record::WorkloadEntry(WorkloadEntryRecord {
            workload: workload(),
            unhealthy,
        })
    };
    vec![
        (key("vms", "a"), entry(true)),
        (key("vms", "b"), entry(false)),
    ]
}

fn entries() -> Objects {
    let plain = |address| WorkloadRecord {
        address,
        labels: Labels::default(),
        has_account: false,
        ports: Box::default(),
        network: None,
        locality: None,
        weight: 0,
    };
    let entry = ServiceEntryRecord {
        resource_version: "7".into(),
        created: 60,
        labels: labels(&[("team", "a")]),
        annotations: labels(&[("export", "true")]),
        hosts: texts(&["db.mesh.local", "x.local"]),
        external: true,
        by_dns: true,
        export_to: texts(&[".", "istio-system"]),
        ports: [("tcp", 5432, None), ("web", 80, NonZeroU16::new(8080))]
            .map(|(name, port, target)| EntryPortRecord {
                name: name.into(),
                port,
                target,
            })
            .into(),
        endpoints: [
            workload(),
            plain(WorkloadAddress::Name("vm.example".into())),
            plain(WorkloadAddress::None),
        ]
        .into(),
        selector: Some(labels(&[("app", "db")])),
    };
    let empty = ServiceEntryRecord {
        resource_version: "".into(),
        created: 0,
        labels: Labels::default(),
        annotations: Labels::default(),
        hosts: Box::default(),
        external: false,
        by_dns: false,
        export_to: Box::default(),
        ports: Box::default(),
        endpoints: Box::default(),
        selector: None,
    };
    vec![
        (key("vms", "a"), Record::ServiceEntry(entry)),
        (key("vms", "b"), Record::ServiceEntry(empty)),
    ]
}

fn mesh() -> Objects {
    let selector = LabelSelector {
        match_labels: [("a".into(), "b".into())].into(),
        match_expressions: [LabelDemand {
            key: "team".into(),
            operator: "NotIn".into(),
            values: texts(&["x"]),
        }]
        .into(),
    };
    let config = MeshConfigRecord {
        root_namespace: "istio-config".into(),
        service_export_to: texts(&[".", "~"]),
        rules_are_private: true,
        discovery: [selector].into(),
        cluster_local: [("*.a.example".into(), true), ("b.example".into(), false)].into(),
        has_networks: true,
    };
    let default = MeshConfigRecord::default();
    vec![
        (key("istio-system", "istio"), Record::MeshConfig(config)),
        (key("istio-system", "plain"), Record::MeshConfig(default)),
    ]
}

fn spec<T: serde::de::DeserializeOwned>(yaml: &str) -> T {
    serde_saphyr::from_str(yaml).unwrap()
}

fn gateways() -> Objects {
    let text = "
gatewayClassName: strait
infrastructure: { parametersRef: {} }
addresses: [{ type: IPAddress, value: 192.0.2.1 }, { value: '' }]
listeners:
  - name: l
    hostname: '*.x'
    port: 443
    protocol: TLS
    tls: { mode: Passthrough }
    allowedRoutes:
      namespaces: { from: Selector, selector: { matchLabels: { a: b }, matchExpressions: [{ key: k, operator: Exists }] } }
      kinds: [{ group: g, kind: TLSRoute }, { kind: TCPRoute }]
  - { name: m, port: 80, protocol: HTTP }
  - { name: s, port: 443, protocol: HTTPS, tls: { certificateRefs: [{ group: g, kind: K, namespace: n, name: c }, { name: d }] } }
";
    let gateway = |text| {
        Record::Gateway(GatewayRecord {
            revision: revision(),
            spec: spec(text),
        })
    };
    vec![
        (key("apps", "a"), gateway(text)),
        (key("apps", "b"), gateway("gatewayClassName: x")),
    ]
}

fn routes() -> Objects {
    let text = "
parentRefs: [{ group: g, kind: Gateway, namespace: n, name: a, sectionName: l, port: 443 }, { name: b }]
hostnames: [a.x, '*.y']
rules: [{ backendRefs: [{ group: '', kind: Service, namespace: n, name: s, port: 80, weight: 0 }, { name: t }] }, {}]
";
    let route = TlsRouteRecord {
        revision: revision(),
        api_version: "v1alpha2".into(),
        annotations: labels(&[("alpn", "any")]),
        spec: spec(text),
        reported_by: texts(&["a/x", "b/x"]),
    };
    vec![(key("apps", "r"), Record::TlsRoute(route))]
}

/// Records of every kind, with every field at a value that is not its default in one of them.
pub(super) fn world() -> Vec<(Kind, KindState)> {
    let one = |namespace, name, record| vec![(key(namespace, name), record)];
    let mut all = Vec::new();
    for kind in Kind::ALL {
        let objects = match kind {
            Kind::Service => services(),
            Kind::Slice => slices(),
            Kind::Pod => {
                let labels = labels(&[("app", "svcb")]);
                one("apps", "svcb-0", Record::Pod(PodRecord { labels }))
            }
            Kind::Namespace => {
                let labels = labels(&[("team", "a")]);
                one("", "apps", Record::Namespace(NamespaceRecord { labels }))
            }
            Kind::Node => {
                let text = |text: &str| Some(text.into());
                let node = NodeRecord {
                    region: text("r"),
                    zone: text("z"),
                    subzone: text("s"),
                };
                let mut nodes = one("", "n", Record::Node(node));
                nodes.extend(one("", "plain", Record::Node(NodeRecord::default())));
                nodes
            }
            Kind::ServiceExport => {
                let export = |reason: Option<&str>| {
                    Record::ServiceExport(ServiceExportRecord {
                        invalid: reason.map(Arc::from),
                    })
                };
                let mut exports = one("apps", "a", export(None));
                exports.extend(one("apps", "b", export(Some("NoService: there: is none"))));
                exports
            }
            Kind::PeerAuthentication => policies(),
            Kind::DestinationRule => rules(),
            Kind::ServiceEntry => entries(),
            Kind::WorkloadEntry => workloads(),
            Kind::MeshConfig => mesh(),
            Kind::GatewayClass => {
                let spec = spec("{ controllerName: a/b, parametersRef: {} }");
                let revision = revision();
                let class = GatewayClassRecord { revision, spec };
                one("", "strait", Record::GatewayClass(class))
            }
            Kind::Gateway => gateways(),
            Kind::TlsRoute => routes(),
            Kind::ReferenceGrant => {
                let text = "{ from: [{ group: g, kind: k, namespace: n }], to: [{ group: '', kind: Service, name: s }, \
                            { group: '', kind: Service }] }";
                let spec = spec(text);
                one(
                    "apps",
                    "g",
                    Record::ReferenceGrant(ReferenceGrantRecord { spec }),
                )
            }
        };
        all.push((*kind, KindState::Listed(objects)));
    }
    all
}
