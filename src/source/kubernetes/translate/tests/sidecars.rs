//! Tests of sidecars: only the pod's own label says that it has one, whatever a DestinationRule says.

use super::fixtures::*;
use crate::source::kubernetes::cluster::{ClusterChange, Kind};
use crate::source::kubernetes::records::{ClientTls, RuleTls};

const NO_SIDECAR: &str = "1 pod outside the mesh (no label security.istio.io/tlsMode: istio)";

fn mutual() -> RuleTls {
    RuleTls {
        mode: Some(ClientTls::IstioMutual),
        ports: [].into(),
    }
}

/// The rule that every mesh upgraded from Istio 1.5 has.
fn mutual_for_all() -> Object {
    rule("istio-system/default", "*.local", |rule| {
        rule.tls = Some(mutual());
    })
}

#[test]
fn the_api_server_is_not_reachable_by_a_rule_for_all_hosts() {
    let objects = vec![
        service("default/kubernetes", &[("https", 443)]),
        slice(
            "default/kubernetes",
            &[("https", 6443)],
            vec![endpoint("192.0.2.1", "")],
        ),
        mutual_for_all(),
    ];
    let found = find(mesh_policy(), objects);
    assert!(found.endpoints("default/kubernetes:443").is_empty());
    assert_eq!(found.why_empty("default/kubernetes:443"), Some(NO_SIDECAR));
}

#[test]
fn of_a_half_injected_deployment_only_pods_with_a_sidecar_are_reached() {
    let endpoints = vec![endpoint("10.0.0.1", "old"), endpoint("10.0.0.2", "new")];
    let subset_of_rule = rule("apps/svcb", "svcb", |rule| {
        let mut subset = subset("v1", &[("version", "v1")]);
        subset.tls = mutual();
        rule.tls = Some(mutual());
        rule.subsets = [subset].into();
    });
    for rule in [mutual_for_all(), subset_of_rule] {
        let objects = vec![
            service("apps/svcb", &[("http", 80)]),
            slice("apps/svcb.x", &[("http", 8080)], endpoints.clone()),
            pod("apps/old", &[("version", "v1")]),
            pod("apps/new", &[SIDECAR, ("version", "v1")]),
            rule,
        ];
        let found = find(mesh_policy(), objects);
        for upstream in found.0.endpoints.keys() {
            assert_eq!(found.endpoints(upstream), ["10.0.0.2:8080"], "{upstream}");
        }
    }
}

#[test]
fn pods_of_which_nothing_can_be_known_are_not_reached_by_a_rule() {
    let objects = svcb([mutual_for_all()]);
    let mut world = world(mesh_policy(), objects);
    world.apply([ClusterChange::Absent(Kind::Pod, "forbidden".into())]);
    assert!(world.found.endpoints("apps/svcb:80").is_empty());
    assert_eq!(
        world.found.why_empty("apps/svcb:80"),
        Some("1 pod of which nothing is known (pods cannot be watched)")
    );
}
