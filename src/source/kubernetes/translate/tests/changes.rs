//! Tests of changes: the parts that a change touches, and the parts that it must leave alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::fixtures::*;
use crate::config::{
    ExportMode, Exports, KubernetesConfig, OptIn, Origin, RouteConfig, ServiceSelector,
};
use crate::names::UpstreamName;
use crate::source::kubernetes::cluster::{ClusterChange, Kind, Record};
use crate::source::kubernetes::discovered::{Discovered, Routing};
use crate::source::kubernetes::records::entry::WorkloadRecord;
use crate::source::kubernetes::records::wishes::PoolWishes;
use crate::source::kubernetes::records::{ClientTls, RuleTls, ServiceKind, ServiceRecord};

fn two_services() -> World {
    let objects = vec![
        service("apps/a", &[("http", 80)]),
        slice(
            "apps/a.x",
            &[("http", 8080)],
            vec![endpoint("10.0.0.1", "one")],
        ),
        pod("apps/one", &[]),
        service("apps/b", &[("http", 80)]),
        slice(
            "apps/b.x",
            &[("http", 8080)],
            vec![endpoint("10.0.0.2", "two")],
        ),
        pod("apps/two", &[]),
        namespace("apps", &[("a", "b")]),
    ];
    world(policy(), objects)
}

#[test]
fn an_empty_cluster_is_published_once() {
    let mut world = world(policy(), Vec::new());
    assert!(world.found.routes().is_empty());
    assert!(!world.apply([]));
    assert!(!world.apply([ClusterChange::All(Kind::Service, Vec::new())]));
}

#[test]
fn a_pod_that_becomes_unready_changes_its_endpoints_and_nothing_else() {
    let mut world = two_services();
    let before = world.found.clone();
    let mut unready = endpoint("10.0.0.1", "one");
    unready.ready = false;
    assert!(world.apply([set(slice("apps/a.x", &[("http", 8080)], vec![unready]))]));
    let after = &world.found;
    assert!(after.endpoints("apps/a:80").is_empty());
    assert_eq!(after.why_empty("apps/a:80"), Some("1 pod not ready"));
    assert!(Arc::ptr_eq(&before.0.routing, &after.0.routing));
    let endpoints = |found: &Found| found.0.endpoints["apps/b:80"].clone();
    assert!(Arc::ptr_eq(&endpoints(&before), &endpoints(after)));
}

#[test]
fn what_routing_does_not_need_is_no_change() {
    let mut world = two_services();
    let mut written = service("apps/a", &[("http", 80)]);
    let Record::Service(record) = &mut written.1 else {
        panic!("a Service");
    };
    record.resource_version = "2".into();
    for (what, object) in [
        ("the same again", pod("apps/one", &[])),
        (
            "labels that nobody asks for",
            pod("apps/one", &[("x", "y")]),
        ),
        ("a pod behind nothing", pod("apps/three", &[SIDECAR])),
        ("a node of nobody", node("n", Some("z"))),
        ("a label that nobody asks for", namespace("apps", &[])),
        ("a written status", written),
        (
            "a rule for others",
            rule("apps/r", "c", |rule| {
                rule.subsets = [subset("v", &[])].into();
            }),
        ),
        (
            "no mutual TLS for clients that need none",
            peer_authentication("apps/p", 0, &[], Some(true), &[]),
        ),
    ] {
        assert!(!world.apply([set(object)]), "{what}");
    }
    let gone = ClusterChange::Removed(Kind::Pod, key("apps/three"));
    assert!(!world.apply([gone]));
}

#[test]
fn a_completed_list_takes_away_what_is_not_in_it() {
    let mut world = two_services();
    let left = vec![service("apps/b", &[("http", 80)])];
    assert!(world.apply([ClusterChange::All(Kind::Service, left)]));
    let upstreams: Vec<_> = world.found.0.routing.upstreams.keys().collect();
    assert_eq!(upstreams, [&UpstreamName::from("apps/b:80")]);
    assert_eq!(world.found.0.endpoints.len(), 1);
    assert!(world.apply([ClusterChange::All(Kind::Slice, Vec::new())]));
    assert_eq!(
        world.found.why_empty("apps/b:80"),
        Some("no pod is behind the Service")
    );
    assert!(world.apply([ClusterChange::Removed(Kind::Service, key("apps/b"))]));
    assert!(world.found.routes().is_empty());
    let Discovered {
        endpoints, empty, ..
    } = &*world.found.0;
    assert!(endpoints.is_empty() && empty.is_empty());
}

#[test]
fn a_kind_that_cannot_be_watched_any_more_takes_nothing_away() {
    let mut world = two_services();
    for kind in Kind::ALL {
        world.apply([ClusterChange::Absent(*kind, "not allowed".into())]);
        assert_eq!(world.found.endpoints("apps/a:80").len(), 1, "{kind:?}");
    }
}

#[test]
fn the_gateways_own_zone_is_its_nodes() {
    let mut policy = policy();
    policy.node = Some("here".into());
    let mut world = world(policy, vec![node("there", Some("z1"))]);
    assert_eq!(world.translator.own_zone(), None);
    world.apply([set(node("here", Some("z2")))]);
    assert_eq!(world.translator.own_zone().as_deref(), Some("z2"));
}

// A small cluster in which objects often refer to each other.

fn any_labels() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let label = prop_oneof![
        Just(SIDECAR),
        Just(("app", "a")),
        Just(("app", "b")),
        Just(("export", "true")),
        Just(("plain-host-port", "http")),
    ];
    proptest::collection::vec(label, 0..3)
}

fn any_namespace() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => Just("apps"), 1 => Just("istio-system"), 2 => Just("other")]
}

pub(super) fn at(names: &'static [&'static str]) -> impl Strategy<Value = String> {
    let name = proptest::sample::select(names);
    (any_namespace(), name).prop_map(|(namespace, name)| format!("{namespace}/{name}"))
}

const SERVICES: &[&str] = &["a", "b", "c"];
const PODS: &[&str] = &["p1", "p2", "p3", "p4"];

fn any_service() -> impl Strategy<Value = Object> {
    let ports: [&[(&str, u16)]; 3] = [&[("http", 80)], &[("http", 80), ("x", 90)], &[]];
    let ports = proptest::sample::select(ports.to_vec());
    let bits = (any::<[bool; 2]>(), 0..4u8);
    (
        at(SERVICES),
        ports,
        any_labels(),
        any_labels(),
        0..3u8,
        bits,
    )
        .prop_map(
            |(at, ports, with, annotations, version, ([ipv6_first, selects], kind))| {
                service_with(&at, ports, |record: &mut ServiceRecord| {
                    record.resource_version = version.to_string().into();
                    record.labels = labels(&with);
                    record.annotations = labels(&annotations);
                    record.ipv6_first = ipv6_first;
                    if selects {
                        record.selector = labels(&[("app", "a")]);
                    }
                    record.kind = match kind {
                        0 => ServiceKind::Headless,
                        1 => ServiceKind::ExternalName,
                        _ => ServiceKind::Balanced,
                    };
                })
            },
        )
}

fn any_slice() -> impl Strategy<Value = Object> {
    let address = proptest::sample::select(&["10.0.0.1", "10.0.0.2", "fd00::1"][..]);
    let pod = prop_oneof![Just(""), proptest::sample::select(PODS)];
    let bits = any::<[bool; 5]>();
    let endpoint = (address, pod, bits).prop_map(|(address, pod, bits)| {
        let [ready, serving, dying, named, zoned] = bits;
        let mut endpoint = endpoint(address, pod);
        endpoint.ready = ready;
        endpoint.serving = serving;
        endpoint.terminating = dying;
        endpoint.hostname = (named && !pod.is_empty()).then(|| pod.into());
        endpoint.node = Some("n1".into());
        endpoint.zone = zoned.then(|| "z1".into());
        endpoint
    });
    let endpoints = proptest::collection::vec(endpoint, 0..4);
    let service = proptest::sample::select(SERVICES);
    (at(&["1", "2"]), service, 8080..8082u16, endpoints).prop_map(
        |(at, service, port, endpoints)| {
            // The slice has the Service's name, but sometimes belongs to another Service.
            let (mut key, mut record) = slice(&at, &[("http", port), ("x", 9090)], endpoints);
            if let Record::Slice(record) = &mut record {
                record.service = service.into();
            }
            key.name = format!("slice-{}", key.name).into();
            (key, record)
        },
    )
}

fn any_rule() -> impl Strategy<Value = Object> {
    let host =
        proptest::sample::select(&["a", "b.apps.svc.cluster.local", "*.local", "x.mesh.local"][..]);
    let mode = proptest::option::of(prop_oneof![
        Just(ClientTls::Disable),
        Just(ClientTls::IstioMutual)
    ]);
    (at(&["r1", "r2"]), host, mode, any_labels(), 0..4i64).prop_map(
        |(at, host, mode, with, created)| {
            rule(&at, host, |rule| {
                rule.created = created;
                rule.tls = mode.map(|mode| RuleTls {
                    mode: Some(mode),
                    ports: BTreeMap::new(),
                });
                if created > 1 {
                    rule.wishes.all.pool = Some(PoolWishes {
                        connections: 7,
                        ..PoolWishes::default()
                    });
                }
                rule.subsets = [subset("v1", &with)].into();
            })
        },
    )
}

fn any_vm() -> impl Strategy<Value = WorkloadRecord> {
    let address =
        proptest::sample::select(&["192.0.2.1", "192.0.2.2", "10.0.0.1", "127.0.0.1"][..]);
    (address, any_labels(), any::<[bool; 2]>()).prop_map(|(address, with, [account, far])| {
        WorkloadRecord {
            has_account: account,
            network: far.then(|| "far".into()),
            ..vm(address, &with)
        }
    })
}

fn any_entry() -> impl Strategy<Value = Object> {
    // Some are hosts of Services.
    let host = proptest::sample::select(
        &[
            "x.mesh.local",
            "a.apps.svc.cluster.local",
            "b.other.svc.cluster.local",
        ][..],
    );
    let ports: [&[(&str, u16)]; 2] = [&[("http", 80)], &[("x", 90)]];
    let ports = proptest::sample::select(ports.to_vec());
    let endpoints = proptest::collection::vec(any_vm(), 0..3);
    let more = (any_labels(), any_labels(), 0..3u8, any::<[bool; 3]>());
    let at = (at(&["e1", "e2"]), host, ports);
    (at, endpoints, more).prop_map(
        |(
            (at, host, ports),
            endpoints,
            (with, annotations, created, [external, hidden, selects]),
        )| {
            entry(&at, host, ports, |entry| {
                entry.created = created.into();
                entry.resource_version = created.to_string().into();
                entry.labels = labels(&with);
                entry.annotations = labels(&annotations);
                entry.endpoints = endpoints.into();
                entry.external = external;
                entry.selector = selects.then(|| labels(&[("app", "a")]));
                if hidden {
                    entry.export_to = ["~".into()].into();
                }
            })
        },
    )
}

fn any_workload_entry() -> impl Strategy<Value = Object> {
    (at(&["w1", "w2"]), any_vm(), any::<bool>()).prop_map(|(at, workload, unhealthy)| {
        workload_entry(&at, |entry| {
            entry.workload = workload;
            entry.unhealthy = unhealthy;
        })
    })
}

fn any_object() -> impl Strategy<Value = Object> {
    let peer = (
        at(&["p"]),
        any_labels(),
        proptest::option::of(any::<bool>()),
    );
    let zone = proptest::option::of(proptest::sample::select(&["z1", "z2"][..]));
    prop_oneof![
        4 => any_service(),
        6 => any_slice(),
        4 => (at(PODS), any_labels()).prop_map(|(at, with)| pod(&at, &with)),
        1 => (any_namespace(), any_labels()).prop_map(|(name, with)| namespace(name, &with)),
        1 => zone.prop_map(|zone| node("n1", zone)),
        1 => at(SERVICES).prop_map(|at| service_export(&at)),
        2 => peer.prop_map(|(at, with, off)| peer_authentication(&at, 0, &with, off, &[])),
        2 => any_rule(),
        4 => any_entry(),
        3 => any_workload_entry(),
    ]
}

pub(super) fn any_change() -> impl Strategy<Value = ClusterChange> {
    prop_oneof![
        8 => any_object().prop_map(set),
        2 => any_object().prop_map(|(key, record)| {
            let name = format!("{}/{}", key.namespace, key.name);
            set(unreadable(name.trim_start_matches('/'), record.kind(), None))
        }),
        3 => any_object().prop_map(|(key, record)| ClusterChange::Removed(record.kind(), key)),
        1 => any_object().prop_map(|(key, record)| {
            ClusterChange::All(record.kind(), vec![(key, record)])
        }),
        1 => proptest::sample::select(Kind::ALL).prop_map(|kind| ClusterChange::Absent(kind, "x".into())),
    ]
}

pub(super) fn any_policy() -> impl Strategy<Value = KubernetesConfig> {
    let opt_in = prop_oneof![
        Just(OptIn::None),
        Just(OptIn::Annotation),
        Just(OptIn::ServiceExport)
    ];
    (any::<bool>(), any::<bool>(), any::<bool>(), opt_in).prop_map(
        |(mesh, selected, dry_run, opt_in)| {
            let mut policy = if mesh { mesh_policy() } else { policy() };
            if selected {
                policy.export.mode = ExportMode::Selected(ServiceSelector {
                    namespace_labels: [("app".into(), "a".into())].into(),
                    ..ServiceSelector::default()
                });
            }
            policy.export.opt_in = opt_in;
            policy.export.dry_run = dry_run;
            policy
        },
    )
}

/// The result without versions of objects, which stay while nothing else of them changes.
pub(super) fn without_versions(found: &Discovered) -> Discovered {
    let unversioned = |route: &Arc<RouteConfig>| {
        let mut route = RouteConfig::clone(route);
        if let Origin::Export(object)
        | Origin::ServiceEntry(object)
        | Origin::TlsRoute(object)
        | Origin::Gateway(object) = &mut route.origin
        {
            object.resource_version = "".into();
        }
        Arc::new(route)
    };
    let mut routing = Routing::clone(&found.routing);
    for routes in routing.gateways.values_mut() {
        *routes = Arc::new(routes.iter().map(unversioned).collect());
    }
    let mut exports = Exports::default();
    let routes = routing.exports.iter().map(unversioned).collect();
    exports.set(&("all".into(), "of them".into()), routes);
    Discovered {
        routing: Arc::new(Routing { exports, ..routing }),
        ..found.clone()
    }
}

pub(super) fn same(one: &Discovered, other: &Discovered) -> bool {
    one.routing == other.routing
        && one.endpoints == other.endpoints
        && one.empty == other.empty
        && one.unrouted == other.unrouted
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn changes_in_any_order_lead_to_what_a_translation_from_scratch_gives(
        policy in any_policy(),
        batches in proptest::collection::vec(proptest::collection::vec(any_change(), 1..6), 1..20),
    ) {
        let mut one_by_one = world(policy.clone(), Vec::new());
        for batch in &batches {
            let before = one_by_one.found.clone();
            let changed = one_by_one.apply(batch.clone());
            let after = &one_by_one.found;
            prop_assert_eq!(changed, !same(&before.0, &after.0));
            for (name, list) in after.0.endpoints.iter() {
                let same = before.0.endpoints.get(name).filter(|old| *old == list);
                prop_assert!(same.is_none_or(|old| Arc::ptr_eq(old, list)), "copied {name}");
                prop_assert_eq!(list.is_empty(), after.0.empty.contains_key(name));
            }
            let upstreams = after.0.routing.upstreams.keys();
            prop_assert!(upstreams.eq(after.0.endpoints.keys().collect::<std::collections::BTreeSet<_>>()));
        }
        let mut at_once = world(policy, Vec::new());
        at_once.apply(batches.into_iter().flatten());
        let (one, other) = (without_versions(&one_by_one.found.0), without_versions(&at_once.found.0));
        prop_assert_eq!(one.routing, other.routing);
        prop_assert_eq!(one.endpoints, other.endpoints);
        prop_assert_eq!(one.empty, other.empty);
        prop_assert_eq!(one.unrouted, other.unrouted);
    }
}
