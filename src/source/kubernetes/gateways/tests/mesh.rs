//! Tests of backends: weights, and Istio's ALPN as a boundary.

use super::Fixture;
use crate::config::AlpnPolicy;
use crate::source::kubernetes::status::ConditionKind;

const GATEWAY: &str = "
kind: Gateway
metadata: {name: gw, namespace: apps}
spec:
  gatewayClassName: strait
  listeners: [{name: tls, port: 443, protocol: TLS, tls: {mode: Passthrough}}]
";

const GRANT: &str = "
---
kind: ReferenceGrant
metadata: {name: g, namespace: shop}
spec:
  from: [{group: gateway.networking.k8s.io, kind: TLSRoute, namespace: apps}]
  to: [{group: '', kind: Service}]
";

fn route(backends: &str) -> String {
    format!(
        "---\nkind: TLSRoute\nmetadata: {{name: r, namespace: apps, annotations: {{}}}}\n\
         spec:\n  parentRefs: [{{name: gw}}]\n  hostnames: [x.com]\n  \
         rules: [{{backendRefs: [{backends}]}}]\n"
    )
}

fn fixture(backends: &str) -> Fixture {
    Fixture::new(&(GATEWAY.to_owned() + GRANT + &route(backends)))
}

fn annotated(fixture: &mut Fixture, backends: &str) {
    fixture.set(&route(backends).replace("annotations: {}", "annotations: {strait.dev/alpn: any}"));
}

#[test]
fn backends_share_by_weight_and_what_is_wrong_refuses_its_share() {
    for (backends, targets, condition) in [
        (
            "{name: tls-backend, port: 443, weight: 90}, {name: tls-backend-2, port: 443, weight: 10}",
            "apps/tls-backend:443+all=90 apps/tls-backend-2:443+all=10",
            "Accepted ResolvedRefs",
        ),
        (
            "{name: tls-backend, port: 443, weight: 80}, {name: gone, port: 443, weight: 20}",
            "apps/tls-backend:443+all=80 apps/gone:443+refused=20",
            "Accepted !ResolvedRefs=BackendNotFound",
        ),
        (
            "{name: tls-backend, port: 443, weight: 0}, {name: tls-backend-2, port: 443}",
            "apps/tls-backend-2:443+all",
            "Accepted ResolvedRefs",
        ),
        // Reported, although it gets no connections.
        (
            "{name: gone, port: 443, weight: 0}, {name: tls-backend, port: 443}",
            "apps/tls-backend:443+all",
            "Accepted !ResolvedRefs=BackendNotFound",
        ),
        (
            "{name: tls-backend, port: 443, weight: 0}",
            "apps/tls-backend:443+refused",
            "Accepted ResolvedRefs",
        ),
        ("", "apps/r:0+refused", "Accepted ResolvedRefs"),
        (
            "{name: tls-backend, port: 444}",
            "apps/tls-backend:444+refused",
            "Accepted !ResolvedRefs=BackendNotFound",
        ),
        (
            "{name: tls-backend}",
            "apps/tls-backend:0+refused",
            "Accepted !ResolvedRefs=BackendNotFound",
        ),
        (
            "{name: ext, port: 443}",
            "apps/ext:443+refused",
            "Accepted !ResolvedRefs=BackendNotFound",
        ),
        // The reason of the first one is used.
        (
            "{name: a, kind: Secret, port: 443}, {name: gone, port: 443}",
            "apps/a:443+refused apps/gone:443+refused",
            "Accepted !ResolvedRefs=InvalidKind",
        ),
    ] {
        let outcome = fixture(backends).translate();
        assert_eq!(
            outcome.goes_to("x.com").as_deref(),
            Some(targets),
            "{backends}"
        );
        assert_eq!(outcome.parent("r"), condition, "{backends}");
    }
}

#[test]
fn only_the_first_rule_counts_and_the_status_says_so() {
    let backends =
        "{name: tls-backend, port: 443}]}, {backendRefs: [{name: tls-backend-2, port: 443}";
    let outcome = fixture(backends).translate();
    assert_eq!(
        outcome.goes_to("x.com").as_deref(),
        Some("apps/tls-backend:443+all")
    );
    let conditions = "Accepted ResolvedRefs PartiallyInvalid=UnsupportedValue";
    assert_eq!(outcome.parent("r"), conditions);
    let message = outcome.message("apps", "r", ConditionKind::PartiallyInvalid);
    assert!(message.starts_with("Dropped Rule"));
}

#[test]
fn a_backend_in_the_mesh_demands_an_istio_alpn_unless_annotated() {
    let backends = "{name: tls-backend, port: 443}";
    let mut fixture = fixture(backends);
    let alpn = |fixture: &Fixture| {
        fixture
            .translate()
            .route(443, "x.com")
            .unwrap()
            .alpn
            .clone()
    };
    assert_eq!(alpn(&fixture), AlpnPolicy::Any);

    fixture.mesh.insert("apps/tls-backend:443");
    assert_eq!(alpn(&fixture), AlpnPolicy::istio());
    let outcome = fixture.translate();
    // Pods outside the mesh would get connections that are not for them.
    assert_eq!(
        outcome.goes_to("x.com").as_deref(),
        Some("apps/tls-backend:443+mesh")
    );
    let message = outcome.message("apps", "r", ConditionKind::Accepted);
    assert!(
        message.contains("pods of apps/tls-backend:443 are in the mesh"),
        "{message}"
    );

    annotated(&mut fixture, backends);
    assert_eq!(alpn(&fixture), AlpnPolicy::Any);
    let outcome = fixture.translate();
    assert_eq!(
        outcome.goes_to("x.com").as_deref(),
        Some("apps/tls-backend:443+all")
    );
}

#[test]
fn one_backend_in_the_mesh_makes_the_whole_route_demand_it() {
    let backends =
        "{name: tls-backend, port: 443}, {name: tls-backend-2, port: 443, weight: WEIGHT}";
    for (weight, alpn) in [("1", AlpnPolicy::istio()), ("0", AlpnPolicy::Any)] {
        let mut fixture = fixture(&backends.replace("WEIGHT", weight));
        fixture.mesh.insert("apps/tls-backend-2:443");
        let outcome = fixture.translate();
        assert_eq!(
            outcome.route(443, "x.com").unwrap().alpn,
            alpn,
            "weight {weight}"
        );
    }
}

#[test]
fn a_route_cannot_lift_the_demand_of_another_namespaces_pods() {
    let backends = "{name: tls-backend, namespace: shop, port: 443}";
    let mut fixture = fixture(backends);
    fixture.mesh.insert("shop/tls-backend:443");
    annotated(&mut fixture, backends);
    let outcome = fixture.translate();
    assert_eq!(
        outcome.route(443, "x.com").unwrap().alpn,
        AlpnPolicy::istio()
    );

    // The owner of the pods can remove the demand.
    let service = "
kind: Service
metadata: {name: tls-backend, namespace: shop, annotations: {strait.dev/alpn: any}}
";
    fixture.set(service);
    let outcome = fixture.translate();
    assert_eq!(outcome.route(443, "x.com").unwrap().alpn, AlpnPolicy::Any);
}
