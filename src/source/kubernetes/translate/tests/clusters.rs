//! Tests of several clusters of one network.

use std::sync::Arc;

use super::fixtures::*;
use crate::config::{KubernetesConfig, OtherClusterConfig};
use crate::source::kubernetes::cluster::{ClusterChange, Kind};

const UPSTREAM: &str = "apps/svcb:80";
const CLUSTER: &str = "topology.istio.io/cluster";
const NETWORK: &str = "topology.istio.io/network";

/// The policy of a gateway in cluster `c1` of network `n1`, with these other clusters and their networks.
fn policy_with(others: &[(&str, &str)]) -> KubernetesConfig {
    let other = |(name, network): &(&str, &str)| OtherClusterConfig {
        name: (*name).into(),
        network: (*network).into(),
        kubeconfig: "/none".into(),
    };
    let mut policy = mesh_policy();
    policy.cluster = Some("c1".into());
    policy.network = Some("n1".into());
    policy.clusters = others.iter().map(other).collect();
    policy
}

/// The Service of [`svcb`] with one pod at `address`, which has a sidecar, and `more` objects.
fn svcb_at(address: &str, more: Vec<Object>) -> Vec<Object> {
    let mut objects = vec![
        service("apps/svcb", &[("http", 80)]),
        slice(
            "apps/svcb.x",
            &[("http", 8080)],
            vec![endpoint(address, "a")],
        ),
        pod("apps/a", &[SIDECAR]),
    ];
    objects.extend(more);
    objects
}

impl World {
    /// Applies the first lists of another cluster: all its kinds, with these objects.
    fn connect(&mut self, cluster: &str, objects: Vec<Object>) {
        let changes = listed().chain(objects.into_iter().map(set));
        changes.for_each(|change| self.translator.apply_other(cluster, change));
        self.apply([]);
    }

    fn change_other(&mut self, cluster: &str, change: ClusterChange) {
        self.translator.apply_other(cluster, change);
        self.apply([]);
    }
}

#[test]
fn endpoints_of_a_service_of_both_clusters_are_united_and_the_own_cluster_decides_about_it() {
    let mut world = world(policy_with(&[("c2", "n1")]), svcb_at("10.0.0.1", vec![]));
    assert_eq!(world.found.endpoints(UPSTREAM), ["10.0.0.1:8080"]);
    let routes = world.found.routes();
    let mut objects = svcb_at("10.2.0.1", vec![]);
    objects[0] = service_with("apps/svcb", &[("http", 80), ("more", 81)], |record| {
        record.export_to = [".".into()].into();
    });
    // The policies of the other cluster mean nothing here.
    objects.push(peer_authentication(
        "istio-system/all",
        0,
        &[],
        Some(true),
        &[],
    ));
    world.connect("c2", objects);
    let both = ["10.0.0.1:8080", "10.2.0.1:8080"];
    assert_eq!(world.found.endpoints(UPSTREAM), both);
    assert_eq!(world.found.routes(), routes);
    let origins = ["c1", "c2"]
        .map(|cluster| format!("pod a, EndpointSlice apps/svcb.x of cluster {cluster}"));
    assert_eq!(world.found.origins(UPSTREAM), origins);

    // Those of the own cluster hold for the pods of the other one.
    world.apply([set(peer_authentication(
        "apps/all",
        0,
        &[],
        Some(true),
        &[],
    ))]);
    assert!(world.found.endpoints(UPSTREAM).is_empty());
    world.apply([ClusterChange::Removed(
        Kind::PeerAuthentication,
        key("apps/all"),
    )]);
    assert_eq!(world.found.endpoints(UPSTREAM), both);

    // A pod that leaves, and a Service that goes there.
    let gone = ClusterChange::Removed(Kind::Slice, key("apps/svcb.x"));
    world.change_other("c2", gone);
    assert_eq!(world.found.endpoints(UPSTREAM), ["10.0.0.1:8080"]);
    let slice = slice(
        "apps/svcb.x",
        &[("http", 8080)],
        vec![endpoint("10.2.0.2", "a")],
    );
    world.change_other("c2", set(slice));
    assert_eq!(world.found.endpoints(UPSTREAM).len(), 2);
    // One that is hidden there from everybody adds nothing.
    let hidden = service_with("apps/svcb", &[("http", 80)], |record| {
        record.export_to = ["~".into()].into();
    });
    world.change_other("c2", set(hidden));
    assert_eq!(world.found.endpoints(UPSTREAM), ["10.0.0.1:8080"]);
    world.change_other("c2", set(service("apps/svcb", &[("http", 80)])));
    assert_eq!(world.found.endpoints(UPSTREAM).len(), 2);
    let gone = ClusterChange::Removed(Kind::Service, key("apps/svcb"));
    world.change_other("c2", gone);
    assert_eq!(world.found.endpoints(UPSTREAM), ["10.0.0.1:8080"]);
    assert_eq!(world.found.routes(), routes);
}

#[test]
fn a_service_entry_selects_the_workloads_of_other_clusters_too() {
    const HOST: &str = "vms.example.local";
    let selecting = entry("apps/e", HOST, &[("http", 80)], |entry| {
        entry.selector = Some(labels(&[("app", "x")]));
    });
    let upstream = "apps/vms.example.local:80";
    let mut world = world(policy_with(&[("c2", "n1")]), vec![selecting.clone()]);
    assert!(world.found.endpoints(upstream).is_empty());
    let of_pod = |address: &str, app: &str| {
        let mut objects = svcb_at(address, vec![]);
        objects[2] = pod("apps/a", &[SIDECAR, ("app", app)]);
        objects
    };
    world.connect("c2", of_pod("10.2.0.1", "x"));
    assert_eq!(world.found.endpoints(upstream), ["10.2.0.1:80"]);
    assert_eq!(
        world.found.origins(upstream),
        ["pod a, ServiceEntry apps/e of cluster c2"]
    );
    // It follows their changes.
    let vm = workload_entry("apps/vm", |entry| {
        entry.workload = vm("192.0.2.1", &[SIDECAR, ("app", "x")]);
    });
    world.change_other("c2", set(vm));
    let both = ["10.2.0.1:80", "192.0.2.1:80"];
    assert_eq!(world.found.endpoints(upstream), both);
    world.change_other("c2", set(pod("apps/a", &[SIDECAR, ("app", "y")])));
    assert_eq!(world.found.endpoints(upstream), ["192.0.2.1:80"]);
    world.change_other("c2", set(pod("apps/a", &[("app", "x")])));
    assert_eq!(
        world.found.endpoints(upstream),
        ["192.0.2.1:80"],
        "outside the mesh"
    );
    // Entries of the other cluster count nowhere.
    let foreign = entry("apps/f", "foreign.example.local", &[("http", 80)], |_| {});
    world.change_other("c2", set(foreign));
    assert!(
        world
            .found
            .routes()
            .iter()
            .all(|at| !at.contains("foreign"))
    );
    world.apply([set(mesh_config(|mesh| {
        mesh.cluster_local = [(HOST.into(), true)].into();
    }))]);
    assert!(world.found.endpoints(upstream).is_empty());
}

#[test]
fn a_workload_of_another_cluster_serves_the_port_of_that_name_of_its_own_service() {
    let selecting = |ports: &[(&str, u16)]| {
        service_with("apps/svcb", ports, |record| {
            record.selector = labels(&[("app", "x")]);
        })
    };
    let mut world = world(
        policy_with(&[("c2", "n1")]),
        vec![selecting(&[("http", 80)])],
    );
    for (ports, endpoints) in [
        (&[("http", 80)][..], &["192.0.2.1:80"][..]),
        (&[("http", 9000)], &["192.0.2.1:9000"]),
        (&[("other", 80)], &[]),
    ] {
        let vm = workload_entry("apps/vm", |entry| {
            entry.workload = vm("192.0.2.1", &[SIDECAR, ("app", "x"), (NETWORK, "n2")]);
        });
        world.connect("c2", vec![selecting(ports), vm]);
        assert_eq!(world.found.endpoints(UPSTREAM), endpoints, "{ports:?}");
    }
}

#[test]
fn the_pods_of_other_clusters_join_the_backend_of_a_tls_route_that_is_in_the_mesh() {
    let backend = |address: &str, with: &[(&str, &str)]| {
        vec![
            service("apps/svcb", &[("tls", 443)]),
            slice(
                "apps/svcb.x",
                &[("tls", 8443)],
                vec![endpoint(address, "b")],
            ),
            pod("apps/b", with),
        ]
    };
    for (own, other, endpoints) in [
        (
            &[SIDECAR][..],
            &[SIDECAR][..],
            &["10.0.0.1:8443", "10.2.0.1:8443"][..],
        ),
        (&[SIDECAR], &[], &["10.0.0.1:8443"]),
        (&[], &[SIDECAR], &["10.0.0.1:8443"]),
        (&[], &[], &["10.0.0.1:8443"]),
    ] {
        let mut policy = policy_with(&[("c2", "n1")]);
        policy.export.mode = gateway_policy().export.mode;
        policy.gateway_api = gateway_policy().gateway_api;
        let mut objects = gateway_and_route();
        objects.extend(backend("10.0.0.1", own));
        let mut world = world(policy, objects);
        world.connect("c2", backend("10.2.0.1", other));
        let routes = &world.found.0.routing.gateways[&443];
        let upstream = routes[0].targets.first.upstream.to_string();
        let found = world.found.endpoints(&upstream);
        assert_eq!(found, endpoints, "{own:?} {other:?}");
    }
}

#[test]
fn a_service_of_another_cluster_alone_has_its_routes_by_the_policy_of_the_own_one() {
    let mut world = world(policy_with(&[("c2", "n1"), ("c3", "n1")]), vec![]);
    assert!(world.found.routes().is_empty());
    world.connect("c3", svcb_at("10.3.0.1", vec![]));
    assert_eq!(world.found.endpoints(UPSTREAM), ["10.3.0.1:8080"]);
    let mut first = svcb_at("10.2.0.1", vec![]);
    first[0] = service("apps/svcb", &[("http", 80), ("http", 81)]);
    world.connect("c2", first);
    // The first cluster of the config decides.
    assert!(world.found.0.routing.upstreams.contains_key("apps/svcb:81"));
    assert_eq!(
        world.found.endpoints(UPSTREAM),
        ["10.2.0.1:8080", "10.3.0.1:8080"]
    );
    world.apply([set(mesh_config(|mesh| {
        mesh.service_export_to = [".".into()].into();
    }))]);
    assert!(world.found.routes().is_empty());
}

#[test]
fn policies_that_change_later_hold_for_a_service_of_another_cluster_alone() {
    let mut world = world(policy_with(&[("c2", "n1")]), vec![]);
    world.connect("c2", svcb_at("10.2.0.1", vec![]));
    let subset = format!("{UPSTREAM}/c2");
    let upstreams = |world: &World| {
        let names = world.found.0.routing.upstreams.keys();
        names.map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(upstreams(&world), [UPSTREAM]);
    world.apply([set(rule("apps/r", "svcb", |rule| {
        rule.subsets = [subset_of("c2")].into();
    }))]);
    assert_eq!(upstreams(&world), [UPSTREAM, &subset]);
    assert_eq!(world.found.endpoints(&subset), ["10.2.0.1:8080"]);
    let strict = |off| peer_authentication("apps/all", 0, &[], Some(off), &[]);
    world.apply([set(strict(true))]);
    assert!(world.found.endpoints(UPSTREAM).is_empty());
    world.apply([set(strict(false))]);
    assert_eq!(world.found.endpoints(UPSTREAM), ["10.2.0.1:8080"]);
}

fn subset_of(cluster: &str) -> crate::source::kubernetes::records::SubsetRecord {
    subset(cluster, &[(CLUSTER, cluster)])
}

#[test]
fn a_subset_by_cluster_has_the_pods_of_that_cluster() {
    let rule = rule("apps/r", "svcb", |rule| {
        rule.subsets = ["c1", "c2", "c3"].map(subset_of).into();
    });
    let mut world = world(
        policy_with(&[("c2", "n1")]),
        svcb_at("10.0.0.1", vec![rule]),
    );
    world.connect("c2", svcb_at("10.2.0.1", vec![]));
    for (subset, endpoints) in [
        ("c1", &["10.0.0.1:8080"][..]),
        ("c2", &["10.2.0.1:8080"]),
        ("c3", &[]),
    ] {
        let found = world.found.endpoints(&format!("{UPSTREAM}/{subset}"));
        assert_eq!(found, endpoints, "{subset}");
    }
    // Each says by which rule.
    let origin = |cluster: &str| {
        format!("pod a, EndpointSlice apps/svcb.x of cluster {cluster}, DestinationRule apps/r")
    };
    assert_eq!(world.found.origins("apps/svcb:80/c2"), [origin("c2")]);
    let both = ["c1", "c2"].map(origin);
    assert_eq!(world.found.origins(UPSTREAM), both);
    let gone = ClusterChange::Removed(Kind::DestinationRule, key("apps/r"));
    world.apply([gone]);
    assert_eq!(
        world.found.origins(UPSTREAM)[0],
        "pod a, EndpointSlice apps/svcb.x of cluster c1"
    );
}

#[test]
fn only_workloads_of_the_own_network_are_reached() {
    let vm_of = |at: &str, address: &str, network: Option<&str>| {
        workload_entry(at, |entry| {
            entry.workload = vm(address, &[SIDECAR, ("app", "svcb")]);
            entry.workload.network = network.map(Into::into);
        })
    };
    let other = |pod_labels: &[(&str, &str)]| {
        let mut objects = svcb_at(
            "10.2.0.1",
            vec![
                vm_of("apps/vm", "192.0.2.1", None),
                vm_of("apps/near", "192.0.2.2", Some("n1")),
            ],
        );
        objects[0] = service_with("apps/svcb", &[("http", 80)], |record| {
            record.selector = labels(&[("app", "svcb")]);
        });
        objects[2] = pod("apps/a", &[&[SIDECAR], pod_labels].concat());
        objects
    };
    for (network, pod_labels, endpoints) in [
        (
            "n1",
            &[][..],
            &["10.2.0.1:8080", "192.0.2.1:80", "192.0.2.2:80"][..],
        ),
        ("n2", &[], &["192.0.2.2:80"]),
        ("n2", &[(NETWORK, "n1")], &["10.2.0.1:8080", "192.0.2.2:80"]),
        ("n1", &[(NETWORK, "n2")], &["192.0.2.1:80", "192.0.2.2:80"]),
    ] {
        let mut world = world(policy_with(&[("c2", network)]), vec![]);
        world.connect("c2", other(pod_labels));
        let found = world.found.endpoints(UPSTREAM);
        assert_eq!(found, endpoints, "{network} {pod_labels:?}");
    }
}

#[test]
fn a_service_that_the_mesh_keeps_local_has_no_pods_of_other_clusters() {
    let local = |hosts: &'static [(&'static str, bool)]| {
        let hosts = hosts.iter().map(|(host, local)| ((*host).into(), *local));
        mesh_config(|mesh| mesh.cluster_local = hosts.collect())
    };
    let host = "svcb.apps.svc.cluster.local";
    for (settings, united) in [
        (&[][..], true),
        (&[("svcb.apps.svc.cluster.local", true)], false),
        (&[("*.apps.svc.cluster.local", true)], false),
        (&[("*.other.svc.cluster.local", true)], true),
        // The host itself comes before a wildcard, a longer wildcard before a shorter one.
        (
            &[
                ("*.svc.cluster.local", true),
                ("svcb.apps.svc.cluster.local", false),
            ],
            true,
        ),
        (&[("*.apps.svc.cluster.local", false), ("*", true)], true),
        // Of two entries with one host the later counts.
        (&[("*", false), ("*", true)], false),
    ] {
        let objects = svcb_at("10.0.0.1", vec![local(settings)]);
        let mut world = world(policy_with(&[("c2", "n1")]), objects);
        world.connect("c2", svcb_at("10.2.0.1", vec![]));
        let found = world.found.endpoints(UPSTREAM);
        assert_eq!(found.len(), if united { 2 } else { 1 }, "{settings:?}");
        assert_eq!(found[0], "10.0.0.1:8080", "{settings:?}");
    }

    // One of another cluster alone keeps its name, and the reason is said.
    let settings = local(&[("svcb.apps.svc.cluster.local", true)]);
    let mut alone = world(policy_with(&[("c2", "n1")]), vec![settings]);
    alone.connect("c2", svcb_at("10.2.0.1", vec![]));
    assert!(
        alone
            .found
            .routes()
            .iter()
            .any(|route| route.contains(host))
    );
    let why = alone.found.why_empty(UPSTREAM).unwrap();
    assert!(why.contains("serviceSettings.clusterLocal"), "{why}");

    // As in istiod these are local without a setting, until one says otherwise for a host among them.
    let system = |world: &mut World| {
        world.connect(
            "c2",
            vec![
                service("kube-system/dns", &[("http", 80)]),
                slice(
                    "kube-system/dns.x",
                    &[("http", 53)],
                    vec![endpoint("10.2.0.1", "a")],
                ),
                pod("kube-system/a", &[SIDECAR]),
            ],
        );
        world.found.endpoints("kube-system/dns:80").len()
    };
    let opened = local(&[("dns.kube-system.svc.cluster.local", false)]);
    for (more, count) in [(vec![], 0), (vec![opened], 1)] {
        let mut world = world(policy_with(&[("c2", "n1")]), more);
        assert_eq!(system(&mut world), count);
    }
}

#[test]
fn while_pods_of_another_cluster_are_not_known_its_endpoints_are_not_guessed_and_the_own_ones_stay()
{
    let mut world = world(policy_with(&[("c2", "n1")]), svcb_at("10.0.0.1", vec![]));
    for object in svcb_at("10.2.0.1", vec![]).into_iter().take(2) {
        world.change_other("c2", set(object));
    }
    assert_eq!(world.found.endpoints(UPSTREAM), ["10.0.0.1:8080"]);
    world.connect("c2", svcb_at("10.2.0.1", vec![]));
    assert_eq!(world.found.endpoints(UPSTREAM).len(), 2);
    // A kind that cannot be watched any more keeps what is known.
    world.change_other("c2", ClusterChange::Absent(Kind::Slice, "forbidden".into()));
    assert_eq!(world.found.endpoints(UPSTREAM).len(), 2);
    // A cluster that the policy does not name.
    world.change_other("c9", set(service("apps/x", &[("http", 80)])));
    assert!(world.translator.other_cluster("c9").is_none());
}

#[test]
fn another_policy_takes_over_what_is_known_of_other_clusters() {
    let mut world = world(policy_with(&[("c2", "n1")]), svcb_at("10.0.0.1", vec![]));
    world.connect("c2", svcb_at("10.2.0.1", vec![]));
    let policy = policy_with(&[("c2", "n1")]);

    let mut next = crate::source::kubernetes::translate::Translator::new(Arc::new(policy));
    for (cluster, change) in world.translator.other_changes() {
        next.apply_other(&cluster, change);
    }
    let found = Found(next.apply(world.translator.cluster().changes()).unwrap());
    assert_eq!(found.endpoints(UPSTREAM), world.found.endpoints(UPSTREAM));
}

#[test]
fn another_cluster_does_not_stand_in_while_the_services_of_the_own_one_are_not_known() {
    let policy = policy_with(&[("c2", "n1")]);
    let mut world = unlisted(policy, vec![], Kind::Service);
    world.connect("c2", svcb_at("10.2.0.1", vec![]));
    // The own cluster may hide the Service.
    let upstreams = |world: &World| world.found.0.routing.upstreams.contains_key(UPSTREAM);
    assert!(!upstreams(&world), "{:?}", world.found.routes());
    let hidden = service_with("apps/svcb", &[("http", 80)], |record| {
        record.export_to = ["~".into()].into();
    });
    world.apply([ClusterChange::All(Kind::Service, vec![hidden])]);
    assert!(!upstreams(&world));
    world.apply([ClusterChange::All(Kind::Service, Vec::new())]);
    assert_eq!(world.found.endpoints(UPSTREAM), ["10.2.0.1:8080"]);
}
