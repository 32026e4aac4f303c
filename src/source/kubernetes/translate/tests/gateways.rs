//! Tests of backends: upstreams that TLSRoutes ask for exist and follow changes.

use std::sync::Arc;

use super::fixtures::*;
use crate::config::AlpnPolicy;
use crate::names::UpstreamName;
use crate::source::kubernetes::cluster::{ClusterChange, Dirty, Kind, Record};
use crate::source::kubernetes::records::{ClientTls, RuleTls};

/// The upstream of the only route on port 443, and the offers that clients must make.
fn route(found: &Found) -> (String, AlpnPolicy) {
    let routes = &found.0.routing.gateways[&443];
    assert_eq!(routes.len(), 1, "{routes:?}");
    let upstream = &routes[0].targets.first.upstream;
    (upstream.to_string(), routes[0].alpn.clone())
}

fn backend(address: &str) -> Vec<Object> {
    let endpoints = vec![endpoint(address, "b")];
    vec![
        service("apps/svcb", &[("tls", 443)]),
        slice("apps/svcb.x", &[("tls", 8443)], endpoints),
        pod("apps/b", &[]),
    ]
}

#[test]
fn a_route_follows_its_service_through_all_that_becomes_of_it() {
    let mut world = world(gateway_policy(), gateway_and_route());
    let (missing, _) = route(&world.found);
    assert!(world.found.endpoints(&missing).is_empty());
    assert!(world.found.why_empty(&missing).is_some());

    assert!(world.apply(backend("10.0.0.1").into_iter().map(set)));
    let (plain, alpn) = route(&world.found);
    assert_eq!(world.found.endpoints(&plain), ["10.0.0.1:8443"]);
    assert_eq!(alpn, AlpnPolicy::Any);
    assert!(world.found.0.routing.exports.is_empty());
    let upstreams: Vec<_> = world.found.0.routing.upstreams.keys().collect();
    assert_eq!(
        upstreams,
        [&UpstreamName::from(&*plain)],
        "the missing one is gone"
    );

    // Another address of the pod makes no new route.
    let before = world.found.0.routing.clone();
    assert!(world.apply(backend("10.0.0.2").into_iter().map(set)));
    assert!(Arc::ptr_eq(&before, &world.found.0.routing));
    assert_eq!(world.found.endpoints(&plain), ["10.0.0.2:8443"]);

    // The pod gets a sidecar: from then on only clients in the mesh may connect to it.
    assert!(world.apply([set(pod("apps/b", &[SIDECAR]))]));
    let (mesh, alpn) = route(&world.found);
    assert_eq!(alpn, AlpnPolicy::istio());
    assert_eq!(world.found.endpoints(&mesh), ["10.0.0.2:8443"]);

    assert!(world.apply([ClusterChange::Removed(Kind::Service, key("apps/svcb"))]));
    let (missing_again, _) = route(&world.found);
    assert_eq!(missing_again, missing);
    assert!(world.apply([ClusterChange::Removed(Kind::TlsRoute, key("apps/route"))]));
    let routing = &world.found.0.routing;
    assert!(routing.gateways[&443].is_empty() && routing.upstreams.is_empty());
    assert!(world.found.0.endpoints.is_empty());
}

#[test]
fn a_rule_for_all_hosts_does_not_put_a_plain_tls_backend_into_the_mesh() {
    let mut objects = gateway_and_route();
    objects.extend(backend("10.0.0.1"));
    objects.push(rule("istio-system/default", "*.local", |rule| {
        rule.tls = Some(RuleTls {
            mode: Some(ClientTls::IstioMutual),
            ports: [].into(),
        });
    }));
    let found = find(gateway_policy(), objects);
    let (upstream, alpn) = route(&found);
    assert_eq!(alpn, AlpnPolicy::Any);
    assert_eq!(found.endpoints(&upstream), ["10.0.0.1:8443"]);
}

#[test]
fn a_status_that_was_written_changes_a_version_and_nothing_else() {
    let mut world = world(gateway_policy(), gateway_and_route());
    let before = world.translator.statuses();
    assert_eq!(before.objects.len(), 3);
    for (key, mut record) in gateway_and_route().into_iter().skip(1) {
        let revision = match &mut record {
            Record::GatewayClass(class) => &mut class.revision,
            Record::Gateway(gateway) => &mut gateway.revision,
            Record::TlsRoute(route) => &mut route.revision,
            other => panic!("{other:?}"),
        };
        revision.resource_version = "2".into();
        let object = (record.kind(), key.clone());
        let written = ClusterChange::Set(key, record);
        let mut dirty = Dirty::default();
        let mut cluster = world.translator.cluster().clone();
        cluster.apply(written.clone(), &mut dirty);
        assert!(!dirty.gateways, "{object:?}");
        assert!(!world.apply([written]));
        let statuses = world.translator.statuses();
        let [was, is] = [&before, &statuses].map(|all| all.objects[&object].clone());
        assert_eq!(&*is.revision.resource_version, "2");
        assert_eq!(was.status, is.status);
    }
}
