//! Tests of topology: subsets and PeerAuthentications by Istio's own labels, networks, and pods that
//! drain.

use std::sync::Arc;

use super::fixtures::*;
use crate::config::{AlpnPolicy, KubernetesConfig};
use crate::source::kubernetes::cluster::{ClusterChange, Kind, Record};
use crate::source::kubernetes::records::{NodeRecord, SliceEndpoint};

const CLUSTER: &str = "topology.istio.io/cluster";
const NETWORK: &str = "topology.istio.io/network";
const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
const SUBZONE: &str = "topology.istio.io/subzone";
const HOSTNAME: &str = "kubernetes.io/hostname";

const OTHER_NETWORK: &str = "1 pod of another network than this gateway (label \
                             topology.istio.io/network of the pod or of Istio's namespace)";

fn on_node(address: &str, pod: &str, node: &str) -> SliceEndpoint {
    SliceEndpoint {
        node: Some(node.into()),
        ..endpoint(address, pod)
    }
}

fn node_at(name: &str, [region, zone, subzone]: [&str; 3]) -> Object {
    let text = |text: &str| (!text.is_empty()).then(|| Arc::from(text));
    let record = NodeRecord {
        region: text(region),
        zone: text(zone),
        subzone: text(subzone),
    };
    (key(name), Record::Node(record))
}

fn named() -> KubernetesConfig {
    let mut policy = mesh_policy();
    policy.cluster = Some("c1".into());
    policy
}

/// A Service `apps/svcb` with a pod on node `n1`, which has all three parts of a locality.
fn cluster(pod_labels: &[(&str, &str)], more: Vec<Object>) -> Vec<Object> {
    let labels = [&[SIDECAR], pod_labels].concat();
    let mut objects = vec![
        service("apps/svcb", &[("http", 80)]),
        slice(
            "apps/svcb.x",
            &[("http", 8080)],
            vec![on_node("10.0.0.1", "a", "n1")],
        ),
        pod("apps/a", &labels),
        node_at("n1", ["r1", "z1", "s1"]),
    ];
    objects.extend(more);
    objects
}

fn subset_of(wanted: &[(&str, &str)]) -> Object {
    rule("apps/svcb", "svcb", |rule| {
        rule.subsets = [subset("v", wanted)].into();
    })
}

fn istio(with: &[(&str, &str)]) -> Object {
    namespace("istio-system", with)
}

/// The reason why the pod is not in the subset, or `None`.
fn not_of_subset(
    policy: KubernetesConfig,
    pod_labels: &[(&str, &str)],
    wanted: &[(&str, &str)],
    mut more: Vec<Object>,
) -> Option<String> {
    more.push(subset_of(wanted));
    let found = find(policy, cluster(pod_labels, more));
    found.why_empty("apps/svcb:80/v").map(str::to_owned)
}

#[test]
fn a_subset_by_a_label_that_istiod_adds_has_its_pods() {
    let other = Some("1 pod not of the subset");
    let network = |name| vec![istio(&[(NETWORK, name)])];
    for (pod_labels, wanted, more, reason) in [
        (&[][..], &[(CLUSTER, "c1")][..], vec![], None),
        (&[], &[(CLUSTER, "c2")], vec![], other),
        // istiod's name for the cluster replaces the pod's own label.
        (&[(CLUSTER, "c2")], &[(CLUSTER, "c1")], vec![], None),
        (&[], &[(NETWORK, "n1")], network("n1"), None),
        (&[], &[(NETWORK, "n2")], network("n1"), other),
        (&[], &[(REGION, "r1"), (ZONE, "z1")], vec![], None),
        (&[(ZONE, "z2")], &[(ZONE, "z2")], vec![], other),
        (&[], &[(SUBZONE, "s1")], vec![], None),
        (&[], &[(HOSTNAME, "n1")], vec![], None),
        (&[(HOSTNAME, "x")], &[(HOSTNAME, "x")], vec![], other),
        // Two labels of the pod replace the node's.
        (
            &[("istio-locality", "r2.z2.s2")],
            &[(REGION, "r2"), (ZONE, "z2"), (SUBZONE, "s2")],
            vec![],
            None,
        ),
        (
            &[
                ("topology.istio.io/locality", "r3"),
                ("istio-locality", "r2.z2"),
            ],
            &[(REGION, "r3")],
            vec![],
            None,
        ),
        (&[("istio-locality", "r2")], &[(ZONE, "z1")], vec![], other),
        // Both labels must match together with the pod's own.
        (&[("v", "1")], &[(CLUSTER, "c1"), ("v", "1")], vec![], None),
        (&[("v", "1")], &[(CLUSTER, "c1"), ("v", "2")], vec![], other),
    ] {
        let case = format!("{pod_labels:?} {wanted:?} {more:?}");
        let found = not_of_subset(named(), pod_labels, wanted, more);
        assert_eq!(found.as_deref(), reason, "{case}");
    }
}

#[test]
fn a_subset_by_a_label_of_unknown_value_has_no_pod_and_names_the_key_to_set() {
    let no_pod = |wanted: &[(&str, &str)]| {
        let reason = not_of_subset(mesh_policy(), &[(CLUSTER, "c1")], wanted, vec![]);
        reason.unwrap_or_default()
    };
    let reason = no_pod(&[(CLUSTER, "c1")]);
    assert!(reason.contains("set kubernetes.cluster"), "{reason}");
    let reason = no_pod(&[(NETWORK, "n1")]);
    assert!(reason.contains("set kubernetes.network"), "{reason}");
    // If another label does not match either, that is the reason given.
    let reason = no_pod(&[(CLUSTER, "c1"), ("v", "1")]);
    assert_eq!(reason, "1 pod not of the subset");

    let mut objects = cluster(&[], vec![subset_of(&[(REGION, "r1")])]);
    objects.retain(|(_, record)| record.kind() != Kind::Node);
    let mut world = world(mesh_policy(), objects);
    assert!(world.apply([ClusterChange::Absent(Kind::Node, "forbidden".into())]));
    let reason = world.found.why_empty("apps/svcb:80/v").unwrap();
    assert!(reason.contains("nodes cannot be watched"), "{reason}");
    // The node's labels arrive.
    let nodes = vec![node_at("n1", ["r1", "", ""])];
    assert!(world.apply([ClusterChange::All(Kind::Node, nodes)]));
    assert_eq!(world.found.why_empty("apps/svcb:80/v"), None);
    assert!(world.apply([set(node_at("n1", ["r2", "", ""]))]));
    assert!(world.found.why_empty("apps/svcb:80/v").is_some());
}

#[test]
fn a_peer_authentication_selects_by_the_labels_that_istiod_adds() {
    let off = |selector: &[(&str, &str)]| {
        vec![peer_authentication("apps/p", 5, selector, Some(true), &[])]
    };
    let disabled = "1 pod without mutual TLS (a PeerAuthentication says DISABLE)";
    let why = |policy, policies| {
        let found = find(policy, cluster(&[], policies));
        found.why_empty("apps/svcb:80").map(str::to_owned)
    };
    let reason = why(named(), off(&[(HOSTNAME, "n1")]));
    assert_eq!(reason.as_deref(), Some(disabled));
    let reason = why(named(), off(&[(CLUSTER, "c1")]));
    assert_eq!(reason.as_deref(), Some(disabled));
    assert_eq!(why(named(), off(&[(CLUSTER, "c2")])), None);
    // The policy may select the pod, so the pod is left out.
    let reason = why(mesh_policy(), off(&[(CLUSTER, "c2")])).unwrap();
    assert!(reason.contains("set kubernetes.cluster"), "{reason}");
    // The answer is the same whether the older policy selects the pod or not: the namespace agrees.
    let on = peer_authentication("apps/o", 4, &[(CLUSTER, "c2")], Some(false), &[]);
    assert_eq!(why(mesh_policy(), vec![on.clone()]), None);
    let all = peer_authentication("apps/default", 5, &[], Some(true), &[]);
    let reason = why(mesh_policy(), vec![on, all]).unwrap();
    assert!(reason.contains("set kubernetes.cluster"), "{reason}");
}

#[test]
fn a_pod_that_a_policy_may_switch_off_is_in_the_mesh_for_a_tls_route() {
    let mut objects = gateway_and_route();
    objects.extend([
        service("apps/svcb", &[("tls", 443)]),
        slice(
            "apps/svcb.x",
            &[("tls", 8443)],
            vec![endpoint("10.0.0.1", "b")],
        ),
        pod("apps/b", &[SIDECAR]),
        peer_authentication("apps/p", 5, &[(CLUSTER, "c2")], Some(true), &[]),
    ]);
    let found = find(gateway_policy(), objects);
    let route = &found.0.routing.gateways[&443][0];
    assert_eq!(route.alpn, AlpnPolicy::istio());
    assert!(found.endpoints(&route.targets.first.upstream).is_empty());
}

#[test]
fn a_pod_of_another_network_is_left_out_where_that_is_known() {
    let of = |network: &'static str| [(NETWORK, network)];
    let with_network = |mut policy: KubernetesConfig, network: &str| {
        policy.network = Some(network.into());
        policy
    };
    for (policy, pod_labels, of_istio, left_out) in [
        (policy(), &of("n2")[..], &[][..], false),
        (policy(), &of("n2"), &of("n1"), true),
        (policy(), &of("n1"), &of("n1"), false),
        (policy(), &[], &of("n1"), false),
        (policy(), &of(""), &of("n1"), false),
        (with_network(policy(), "n1"), &of("n2"), &[], true),
        (with_network(policy(), "n1"), &[], &[], false),
        (with_network(policy(), "n1"), &of("n1"), &of("n2"), false),
        // As in istiod, the namespace's label counts for pods without one.
        (with_network(policy(), "n1"), &[], &of("n2"), true),
        (mesh_policy(), &of("n2"), &of("n1"), true),
    ] {
        let case = format!("{:?} {pod_labels:?} {of_istio:?}", policy.network);
        let found = find(policy, cluster(pod_labels, vec![istio(of_istio)]));
        let reason = left_out.then_some(OTHER_NETWORK);
        assert_eq!(found.why_empty("apps/svcb:80"), reason, "{case}");
    }
}

#[test]
fn the_network_of_istios_namespace_may_change_and_that_of_others_is_no_matter() {
    let objects = cluster(&[(NETWORK, "n2")], vec![istio(&[])]);
    let mut world = world(policy(), objects);
    assert!(!world.apply([set(namespace("other", &[(NETWORK, "n1")]))]));
    assert!(world.apply([set(istio(&[(NETWORK, "n1")]))]));
    assert_eq!(world.found.why_empty("apps/svcb:80"), Some(OTHER_NETWORK));
    assert!(world.apply([set(istio(&[(NETWORK, "n2")]))]));
    assert_eq!(world.found.why_empty("apps/svcb:80"), None);
}

#[test]
fn a_pod_that_is_labelled_as_draining_gets_no_connection() {
    for (value, reason) in [
        ("true", Some("1 pod draining (label istio.io/draining)")),
        ("no", Some("1 pod draining (label istio.io/draining)")),
        ("", None),
    ] {
        let objects = cluster(&[("istio.io/draining", value)], Vec::new());
        for policy in [policy(), mesh_policy()] {
            let found = find(policy, objects.clone());
            assert_eq!(found.why_empty("apps/svcb:80"), reason, "{value:?}");
        }
    }
}
