//! Tests of the pods that get connections, and of their addresses.

use super::fixtures::*;
use crate::socket::OwnListeners;
use crate::source::kubernetes::cluster::{ClusterChange, Kind};
use crate::source::kubernetes::records::{ServiceRecord, SliceEndpoint};

/// The endpoints of a Service with one port, whose pods are behind these slices.
fn behind(edit: impl FnOnce(&mut ServiceRecord), slices: Vec<Object>) -> Found {
    let mut objects = slices;
    objects.push(service_with("apps/svcb", &[("http", 80)], edit));
    for name in ["a", "b", "c", "d"] {
        objects.push(pod(&format!("apps/{name}"), &[]));
    }
    find(policy(), objects)
}

fn slice_of(name: &str, endpoints: Vec<SliceEndpoint>) -> Object {
    slice(&format!("apps/svcb.{name}"), &[("http", 8080)], endpoints)
}

fn with(edit: impl FnOnce(&mut SliceEndpoint), mut endpoint: SliceEndpoint) -> SliceEndpoint {
    edit(&mut endpoint);
    endpoint
}

#[test]
fn a_pod_gets_connections_when_its_slice_says_that_it_is_ready() {
    for (ready, serving, terminating, reason) in [
        (true, true, false, None),
        (false, false, false, Some("1 pod not ready")),
        (false, true, false, Some("1 pod not ready")),
        (false, false, true, Some("1 pod terminating")),
        // It still serves, and no pod is ready.
        (false, true, true, None),
        // The API says this of every pod of a Service with publishNotReadyAddresses.
        (true, false, true, None),
        (true, true, true, None),
    ] {
        let conditions = |it: &mut SliceEndpoint| {
            (it.ready, it.serving, it.terminating) = (ready, serving, terminating);
        };
        let endpoints = vec![with(conditions, endpoint("10.0.0.1", "a"))];
        let found = behind(|_| {}, vec![slice_of("x", endpoints)]);
        let case = (ready, serving, terminating);
        assert_eq!(found.why_empty("apps/svcb:80"), reason, "{case:?}");
        let count = found.endpoints("apps/svcb:80").len();
        assert_eq!(count, usize::from(reason.is_none()), "{case:?}");
    }
}

#[test]
fn an_upstream_without_endpoints_says_why_for_every_pod() {
    let found = behind(|_| {}, Vec::new());
    let reason = "no pod is behind the Service";
    assert_eq!(found.why_empty("apps/svcb:80"), Some(reason));

    let endpoints = vec![
        with(|it| it.ready = false, endpoint("10.0.0.1", "a")),
        with(|it| it.ready = false, endpoint("10.0.0.2", "b")),
        with(
            |it| (it.ready, it.serving, it.terminating) = (false, false, true),
            endpoint("10.0.0.3", "c"),
        ),
        endpoint("10.0.0.4", "unheard-of"),
    ];
    let other_port = slice(
        "apps/svcb.y",
        &[("grpc", 1)],
        vec![endpoint("10.0.0.5", "d")],
    );
    let found = behind(|_| {}, vec![slice_of("x", endpoints), other_port]);
    let reason =
        "2 pods not ready, 1 pod terminating, 1 pod not known yet, 1 pod without this port";
    assert_eq!(found.why_empty("apps/svcb:80"), Some(reason));
}

#[test]
fn a_pod_of_both_families_is_one_endpoint_by_the_services_first_family() {
    let v4 = vec![endpoint("10.0.0.1", "a"), endpoint("10.0.0.2", "b")];
    let v6 = vec![endpoint("fd00::1", "a"), endpoint("fd00::3", "c")];
    for (ipv6_first, expected) in [
        (
            false,
            [
                "10.0.0.1:8080 or [fd00::1]:8080",
                "10.0.0.2:8080",
                "[fd00::3]:8080",
            ],
        ),
        (
            true,
            [
                "10.0.0.2:8080",
                "[fd00::1]:8080 or 10.0.0.1:8080",
                "[fd00::3]:8080",
            ],
        ),
    ] {
        let slices = vec![slice_of("v4", v4.clone()), slice_of("v6", v6.clone())];
        let found = behind(|record| record.ipv6_first = ipv6_first, slices);
        assert_eq!(found.endpoints("apps/svcb:80"), expected);
    }
}

#[test]
fn a_pod_in_two_slices_is_one_endpoint_and_does_not_come_back_from_an_old_one() {
    let moved = endpoint("10.0.0.1", "a");
    let dying = with(
        |it| (it.ready, it.terminating) = (false, true),
        endpoint("10.0.0.2", "b"),
    );
    let heir = endpoint("10.0.0.2", "c");
    let slices = vec![
        slice_of("old", vec![moved.clone(), endpoint("10.0.0.2", "b")]),
        slice_of("new", vec![moved, dying.clone()]),
    ];
    let found = behind(|_| {}, slices);
    assert_eq!(found.endpoints("apps/svcb:80"), ["10.0.0.1:8080"]);

    // The address of the pod that is gone belongs to another pod by now.
    let slices = vec![slice_of("x", vec![dying, heir.clone(), heir])];
    let found = behind(|_| {}, slices);
    assert_eq!(found.endpoints("apps/svcb:80"), ["10.0.0.2:8080"]);
}

#[test]
fn pods_that_terminate_and_serve_get_connections_only_while_no_pod_is_ready() {
    let leaving = |it: &mut SliceEndpoint| (it.ready, it.terminating) = (false, true);
    let a = with(leaving, endpoint("10.0.0.1", "a"));
    let b = with(leaving, endpoint("10.0.0.2", "b"));
    let v6 = with(leaving, endpoint("fd00::1", "a"));
    let gone = with(|it| it.serving = false, a.clone());
    let not_ready = with(|it| it.ready = false, endpoint("10.0.0.3", "c"));
    let early = with(|it| it.terminating = true, endpoint("10.0.0.4", "d"));
    for (slices, expected) in [
        (
            vec![vec![a.clone(), b.clone(), not_ready.clone()]],
            &["10.0.0.1:8080, terminating", "10.0.0.2:8080, terminating"][..],
        ),
        (
            vec![vec![a.clone(), b, endpoint("10.0.0.3", "c")]],
            &["10.0.0.3:8080"],
        ),
        // Of a Service with publishNotReadyAddresses: it is ready.
        (vec![vec![a.clone(), early]], &["10.0.0.4:8080"]),
        (
            vec![vec![a.clone()], vec![v6]],
            &["10.0.0.1:8080 or [fd00::1]:8080, terminating"],
        ),
        // One of the two slices is outdated.
        (vec![vec![a.clone()], vec![gone]], &[]),
        (
            vec![vec![a], vec![endpoint("10.0.0.1", "a")]],
            &["10.0.0.1:8080, terminating"],
        ),
    ] {
        let slices = slices.into_iter().enumerate();
        let slices = slices.map(|(number, it)| slice_of(&number.to_string(), it));
        let found = behind(|_| {}, slices.collect());
        assert_eq!(found.endpoints("apps/svcb:80"), expected);
    }
}

#[test]
fn each_slice_says_which_port_of_its_pods_a_service_port_is() {
    let objects = vec![
        service("apps/svcb", &[("http", 80), ("grpc", 90)]),
        slice(
            "apps/svcb.old",
            &[("http", 8080), ("grpc", 9090)],
            vec![endpoint("10.0.0.1", "")],
        ),
        slice(
            "apps/svcb.new",
            &[("http", 8081)],
            vec![endpoint("10.0.0.2", "")],
        ),
        service("apps/unnamed", &[("", 443)]),
        slice(
            "apps/unnamed.a",
            &[("", 8443)],
            vec![endpoint("10.0.0.3", "")],
        ),
        // Slices of another Service or another namespace do not count.
        slice(
            "apps/svcc.a",
            &[("http", 1)],
            vec![endpoint("10.0.0.4", "")],
        ),
        slice(
            "other/svcb.a",
            &[("http", 1)],
            vec![endpoint("10.0.0.5", "")],
        ),
    ];
    let found = find(policy(), objects);
    let http = ["10.0.0.1:8080", "10.0.0.2:8081"];
    assert_eq!(found.endpoints("apps/svcb:80"), http);
    assert_eq!(found.endpoints("apps/svcb:90"), ["10.0.0.1:9090"]);
    assert_eq!(found.endpoints("apps/unnamed:443"), ["10.0.0.3:8443"]);
}

#[test]
fn conditions_are_those_of_the_slices_that_have_the_port() {
    let not_ready = || vec![with(|it| it.ready = false, endpoint("10.0.0.1", "a"))];
    let objects = vec![
        service("apps/svcb", &[("http", 80), ("grpc", 90)]),
        slice(
            "apps/svcb.x",
            &[("http", 8080)],
            vec![endpoint("10.0.0.1", "a")],
        ),
        slice("apps/svcb.y", &[("grpc", 9090)], not_ready()),
        pod("apps/a", &[]),
    ];
    let found = find(policy(), objects);
    assert_eq!(found.endpoints("apps/svcb:80"), ["10.0.0.1:8080"]);
    assert_eq!(found.why_empty("apps/svcb:90"), Some("1 pod not ready"));
}

#[test]
fn an_address_without_a_pod_is_the_pod_that_other_slices_have_there() {
    let by_hand = || {
        slice(
            "apps/byhand.x",
            &[("http", 8080)],
            vec![endpoint("10.0.0.1", "")],
        )
    };
    let objects = vec![
        service("apps/byhand", &[("http", 80)]),
        service("apps/svcb", &[("http", 80)]),
        by_hand(),
    ];
    let mut world = world(mesh_policy(), objects);
    let outside = "1 pod outside the mesh (no label security.istio.io/tlsMode: istio)";
    assert_eq!(world.found.why_empty("apps/byhand:80"), Some(outside));
    // Each object alone says too little.
    let named =
        |name: &str, pod: &str| slice(name, &[("http", 8080)], vec![endpoint("10.0.0.1", pod)]);
    world.apply([set(named("apps/svcb.x", "a"))]);
    assert_eq!(world.found.why_empty("apps/byhand:80"), Some(outside));
    assert!(world.apply([set(pod("apps/a", &[SIDECAR]))]));
    assert_eq!(world.found.endpoints("apps/byhand:80"), ["10.0.0.1:8080"]);
    // The same address in another namespace is no hint, nor is a pod that does not exist.
    world.apply([
        set(named("other/svcb.x", "b")),
        set(named("apps/svcb.y", "gone")),
    ]);
    assert_eq!(world.found.endpoints("apps/byhand:80"), ["10.0.0.1:8080"]);
    // Two pods at one address: one of them is outdated, and nothing says which.
    world.apply([set(pod("apps/gone", &[SIDECAR]))]);
    assert_eq!(world.found.why_empty("apps/byhand:80"), Some(outside));
    world.apply([ClusterChange::Removed(Kind::Pod, key("apps/gone"))]);
    assert_eq!(world.found.endpoints("apps/byhand:80"), ["10.0.0.1:8080"]);
    world.apply([ClusterChange::Removed(Kind::Slice, key("apps/svcb.x"))]);
    assert_eq!(world.found.why_empty("apps/byhand:80"), Some(outside));
}

#[test]
fn the_zone_is_the_endpoints_or_else_its_nodes_and_the_node_the_slices() {
    let on = |node: &str, zone: Option<&str>, endpoint| {
        with(
            |it: &mut SliceEndpoint| {
                it.node = Some(node.into());
                it.zone = zone.map(Into::into);
            },
            endpoint,
        )
    };
    let slices = vec![
        slice_of(
            "x",
            vec![
                on("n1", Some("east"), endpoint("10.0.0.1", "a")),
                on("n1", None, endpoint("10.0.0.2", "b")),
                on("n2", None, endpoint("10.0.0.3", "c")),
                on("n3", None, endpoint("10.0.0.4", "d")),
            ],
        ),
        node("n1", Some("west")),
        node("n2", None),
    ];
    let found = behind(|_| {}, slices);
    assert_eq!(
        found.endpoints("apps/svcb:80"),
        [
            "10.0.0.1:8080 in east",
            "10.0.0.2:8080 in west",
            "10.0.0.3:8080",
            "10.0.0.4:8080",
        ]
    );
    let nodes = [Some("n1"), Some("n1"), Some("n2"), Some("n3")];
    assert_eq!(found.nodes("apps/svcb:80"), nodes);
}

#[test]
fn an_endpoint_knows_the_pod_that_it_is() {
    let slices = vec![slice_of(
        "x",
        vec![
            endpoint("10.0.0.1", "a"),
            with(
                |it: &mut SliceEndpoint| it.pod = None,
                endpoint("10.0.0.2", "b"),
            ),
        ],
    )];
    let found = behind(|_| {}, slices);
    let pods = found.pods("apps/svcb:80");
    assert_eq!(pods, [Some("apps/a".to_owned()), None]);
}

#[test]
fn when_pods_cannot_be_watched_plain_endpoints_stay_and_those_of_the_mesh_are_not_guessed() {
    let objects = vec![
        service("apps/svcb", &[("http", 80)]),
        slice_of("x", vec![endpoint("10.0.0.1", "a")]),
    ];
    let denied = || ClusterChange::Absent(Kind::Pod, "not allowed".into());
    let mut plain = world(policy(), objects.clone());
    assert!(plain.found.endpoints("apps/svcb:80").is_empty());
    assert!(plain.apply([denied()]));
    assert_eq!(plain.found.endpoints("apps/svcb:80"), ["10.0.0.1:8080"]);
    // A change of one pod is not a list: the other pods are no better known than before.
    assert!(!plain.apply([set(pod("apps/b", &[]))]));
    assert!(plain.apply([ClusterChange::All(Kind::Pod, vec![pod("apps/b", &[])])]));
    let reason = "1 pod not known yet";
    assert_eq!(plain.found.why_empty("apps/svcb:80"), Some(reason));

    let mut mesh = world(mesh_policy(), objects);
    assert!(mesh.apply([denied()]));
    let reason = "1 pod of which nothing is known (pods cannot be watched)";
    assert_eq!(mesh.found.why_empty("apps/svcb:80"), Some(reason));
}

#[test]
fn a_service_whose_pod_the_gateway_is_gets_nothing_or_connections_would_go_round() {
    let endpoints = vec![endpoint("10.0.0.1", "a"), endpoint("10.0.0.2", "b")];
    let objects = vec![
        service("apps/svcb", &[("tls", 15443), ("status", 15021)]),
        slice("apps/svcb.x", &[("tls", 8443), ("status", 8021)], endpoints),
        pod("apps/a", &[]),
        pod("apps/b", &[]),
    ];
    let mut world = world(policy(), objects);
    assert_eq!(world.found.endpoints("apps/svcb:15443").len(), 2);
    let bound = ["10.0.0.2:8443".parse().unwrap()];
    world.translator.listen_on(OwnListeners::of(&bound));
    assert!(world.apply([]));
    let reason = "this gateway is a pod of the Service: a connection would come back";
    assert_eq!(world.found.why_empty("apps/svcb:15443"), Some(reason));
    assert_eq!(world.found.endpoints("apps/svcb:15021").len(), 2);
    world.translator.listen_on(OwnListeners::of(&bound));
    assert!(!world.apply([]));
}

#[test]
fn an_object_that_cannot_be_read_costs_itself_and_says_so() {
    let objects = vec![
        service("apps/svcb", &[("http", 80)]),
        slice_of("x", vec![endpoint("10.0.0.1", "a")]),
        pod("apps/a", &[]),
        unreadable("apps/svcb.y", Kind::Slice, Some("svcb")),
        unreadable("apps/svcc", Kind::Service, None),
        unreadable("apps/b", Kind::Pod, None),
    ];
    let mut world = world(policy(), objects);
    assert_eq!(world.found.endpoints("apps/svcb:80"), ["10.0.0.1:8080"]);
    let reason = "the Service cannot be read: port 70000";
    let host = "svcc.apps.svc.cluster.local";
    assert_eq!(world.found.why_unrouted(host), Some(reason));
    assert!(world.apply([set(unreadable("apps/svcb.x", Kind::Slice, Some("svcb")))]));
    let reason = "no pod is behind the Service; EndpointSlices that cannot be read: 2";
    assert_eq!(world.found.why_empty("apps/svcb:80"), Some(reason));
    assert!(world.apply([ClusterChange::Removed(Kind::Service, key("apps/svcc"))]));
    assert_eq!(world.found.why_unrouted(host), None);
    assert!(world.apply([set(unreadable("apps/svcb", Kind::Service, None))]));
    assert!(world.found.routes().is_empty());
    assert!(world.apply([set(service("apps/svcb", &[("http", 80)]))]));
    assert_eq!(world.found.routes().len(), 2);
}
