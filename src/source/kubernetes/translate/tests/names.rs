//! Tests of the names that exported ports are reached by.

use super::fixtures::*;
use crate::source::kubernetes::records::{ServiceKind, SliceEndpoint};
use crate::source::kubernetes::translate::service::MAX_ROUTES;

fn annotated(port: &str) -> Object {
    let annotations = labels(&[("plain-host-port", port)]);
    service_with("apps/svcb", &[("http", 80), ("grpc", 90)], |record| {
        record.annotations = annotations;
    })
}

#[test]
fn the_plain_host_is_the_only_ports_or_the_one_that_the_annotation_says() {
    let plain = "svcb.apps.svc.cluster.local -> ";
    for (object, target) in [
        (service("apps/svcb", &[("", 8080)]), Some("apps/svcb:8080")),
        (service("apps/svcb", &[("http", 80), ("grpc", 90)]), None),
        (annotated("90"), Some("apps/svcb:90")),
        (annotated("grpc"), Some("apps/svcb:90")),
        (annotated("http"), Some("apps/svcb:80")),
    ] {
        let found = find(policy(), vec![object]);
        let routes = found.routes();
        let to = routes.iter().find_map(|route| route.strip_prefix(plain));
        assert_eq!(to, target);
        assert!(found.skipped().is_empty());
    }
    let found = find(policy(), vec![annotated("9090")]);
    assert_eq!(
        found.routes(),
        [
            "outbound_.80_._.svcb.apps.svc.cluster.local -> apps/svcb:80",
            "outbound_.90_._.svcb.apps.svc.cluster.local -> apps/svcb:90",
        ]
    );
    let text = "Service apps/svcb: annotation strait.dev/plain-host-port: \
                it names no TCP port of the Service";
    assert_eq!(found.skipped(), [text]);
}

#[test]
fn a_subset_has_a_name_and_pods_of_its_own() {
    let endpoints = vec![
        endpoint("10.0.0.1", "one"),
        endpoint("10.0.0.2", "two"),
        endpoint("10.0.0.3", ""),
    ];
    let found = find(
        policy(),
        vec![
            service("apps/svcb", &[("http", 80)]),
            slice("apps/svcb.a", &[("http", 8080)], endpoints),
            pod("apps/one", &[("version", "v1")]),
            pod("apps/two", &[("version", "v2")]),
            rule("apps/svcb", "svcb", |rule| {
                let v1 = subset("v1", &[("version", "v1")]);
                let v3 = subset("v3", &[("version", "v3")]);
                rule.subsets = [v1, v3, subset("all", &[])].into();
            }),
        ],
    );
    let host = "svcb.apps.svc.cluster.local";
    assert_eq!(
        found.routes(),
        [
            format!("outbound_.80_._.{host} -> apps/svcb:80"),
            format!("outbound_.80_.all_.{host} -> apps/svcb:80/all"),
            format!("outbound_.80_.v1_.{host} -> apps/svcb:80/v1"),
            format!("outbound_.80_.v3_.{host} -> apps/svcb:80/v3"),
            format!("{host} -> apps/svcb:80"),
        ]
    );
    assert!(
        found
            .dry_runs()
            .contains_key("svcb.apps.svc.cluster.local:80/v1")
    );
    assert_eq!(found.endpoints("apps/svcb:80").len(), 3);
    assert_eq!(found.endpoints("apps/svcb:80/all").len(), 3);
    assert_eq!(found.endpoints("apps/svcb:80/v1"), ["10.0.0.1:8080"]);
    assert!(found.endpoints("apps/svcb:80/v3").is_empty());
    let reason = "3 pods not of the subset";
    assert_eq!(found.why_empty("apps/svcb:80/v3"), Some(reason));
}

fn named(address: &str, name: &str) -> SliceEndpoint {
    SliceEndpoint {
        hostname: Some(name.into()),
        ..endpoint(address, name)
    }
}

/// A headless Service `apps/db` with these endpoints, whose pods all exist.
fn headless(endpoints: Vec<SliceEndpoint>) -> Vec<Object> {
    let pods = endpoints.iter().filter_map(|one| one.pod.clone());
    let pods: Vec<Object> = pods.map(|name| pod(&format!("apps/{name}"), &[])).collect();
    let service = service_with("apps/db", &[("tls", 5432)], |record| {
        record.kind = ServiceKind::Headless;
    });
    let slice = slice("apps/db.a", &[("tls", 15432)], endpoints);
    [service, slice].into_iter().chain(pods).collect()
}

#[test]
fn one_route_has_the_names_of_all_pods_of_a_headless_service() {
    let mut starting = named("10.0.0.2", "db-1");
    starting.ready = false;
    let nameless = endpoint("10.0.0.3", "other");
    let found = find(
        policy(),
        headless(vec![named("10.0.0.1", "db-0"), starting, nameless]),
    );
    let host = "db.apps.svc.cluster.local";
    assert_eq!(
        found.routes(),
        [
            format!("*.{host} -> apps/db:5432@*"),
            format!("{host} -> apps/db:5432"),
            format!("outbound_.5432_._.*.{host} -> apps/db:5432@*"),
            format!("outbound_.5432_._.{host} -> apps/db:5432"),
        ]
    );
    let both = ["10.0.0.1:15432", "10.0.0.3:15432"];
    assert_eq!(found.endpoints("apps/db:5432"), both);
    assert_eq!(found.endpoints("apps/db:5432@*"), ["10.0.0.1:15432"]);
    assert_eq!(found.hostnames("apps/db:5432@*"), [Some("db-0")]);
    assert_eq!(found.hostnames("apps/db:5432"), [None, None]);

    let found = find(policy(), headless(vec![endpoint("10.0.0.3", "other")]));
    assert_eq!(found.routes().len(), 2, "no pod has a name");
}

#[test]
fn a_pod_that_ends_serves_its_name_until_another_one_has_it() {
    let ending = |address: &str, name: &str| SliceEndpoint {
        ready: false,
        serving: true,
        terminating: true,
        ..named(address, name)
    };
    let upstream = "apps/db:5432@*";
    let found = find(
        policy(),
        headless(vec![named("10.0.0.1", "db-0"), ending("10.0.0.2", "db-1")]),
    );
    let both = ["10.0.0.1:15432", "10.0.0.2:15432, terminating"];
    assert_eq!(found.endpoints(upstream), both);
    assert_eq!(found.endpoints("apps/db:5432"), ["10.0.0.1:15432"]);

    let old = SliceEndpoint {
        hostname: Some("db-0".into()),
        ..ending("10.0.0.2", "db-0-old")
    };
    let found = find(policy(), headless(vec![named("10.0.0.1", "db-0"), old]));
    assert_eq!(found.endpoints(upstream), ["10.0.0.1:15432"]);
}

#[test]
fn names_that_no_client_can_ask_for_are_skipped_and_reported() {
    let long = "n".repeat(63);
    let subsets = ["a b", "", "a_.b", &"s".repeat(64), "ok"];
    let found = find(
        policy(),
        vec![
            service("apps/UP*", &[("http", 80)]),
            service(&format!("{long}/{long}"), &[("http", 80)]),
            service("apps/svcb", &[("http", 80)]),
            rule("apps/svcb", "svcb", |rule| {
                rule.subsets = subsets.map(|name| subset(name, &[])).into();
            }),
        ],
    );
    let host = "svcb.apps.svc.cluster.local";
    assert_eq!(found.routes().len(), 3 + 2);
    assert_eq!(
        found.skipped(),
        [
            "Service apps/UP*: its host: the name has a character other than ASCII letters, digits, \
             `-`, `_` and `.`",
            &format!(
                "Service apps/svcb: {host}:80/a b: as an outbound_ name: the name has a character \
                 other than ASCII letters, digits, `-`, `_` and `.`"
            ),
            &format!("Service apps/svcb: {host}:80/: no client can ask for a subset of this name"),
            &format!(
                "Service apps/svcb: {host}:80/a_.b: no client can ask for a subset of this name"
            ),
            &format!(
                "Service apps/svcb: {host}:80/{}: as an outbound_ name: the name has a label longer \
                 than 63 bytes",
                "s".repeat(64)
            ),
        ]
    );
}

#[test]
fn a_rule_of_a_thousand_subsets_times_a_thousand_ports_stays_within_the_limit() {
    let ports: Vec<(String, u16)> = (1..=1000).map(|n| (format!("p{n}"), n)).collect();
    let ports: Vec<(&str, u16)> = ports.iter().map(|(name, n)| (&**name, *n)).collect();
    let subsets = (0..1000).map(|n| subset(&format!("v{n}"), &[]));
    let found = find(
        policy(),
        vec![
            service("apps/svcb", &ports),
            rule("apps/svcb", "svcb", |rule| rule.subsets = subsets.collect()),
        ],
    );
    let exports = &found.0.routing.exports;
    assert_eq!(exports.len(), MAX_ROUTES);
    assert_eq!(found.0.routing.upstreams.len(), MAX_ROUTES);
    assert_eq!(found.0.endpoints.len(), MAX_ROUTES);
    let skipped = &found.0.routing.skipped;
    assert_eq!(skipped.count, 1000 + 1000 * 1000 - MAX_ROUTES);
    let text = "Service apps/svcb: more routes: a Service has at most 2000 routes";
    assert_eq!(found.skipped(), [text]);
}
