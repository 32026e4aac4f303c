//! What is not known is not taken for none: kinds of object that are forbidden or late.

mod kubernetes;
mod support;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use strait::source::kubernetes::FIRST_LISTS;

use kubernetes::api_server::{ApiServer, Cut, Fault};
use kubernetes::objects::{pod, service, slice};
use support::DEADLINE;
use support::gateway::TestGateway;

const EXPORT: &str = "export: { mode: all, alpn: istio }";

/// An API with one service whose pod is in the mesh.
fn api() -> ApiServer {
    let api = ApiServer::start();
    let pods = [("web", IpAddr::from([10, 0, 0, 1]))];
    api.put(service("apps", "web", 80));
    api.put(slice("apps", "web", "1", 8080, &pods));
    let sidecar = json!({ "security.istio.io/tlsMode": "istio" });
    api.put(pod("apps", "web", &sidecar));
    api
}

/// A kind that is forbidden is asked for again only after a while.
fn soon(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < 3 * DEADLINE,
            "waited in vain until {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether it is not ready for this reason, or ready if that is empty.
fn is_missing(gateway: &TestGateway, reason: &str) -> bool {
    let wanted = if reason.is_empty() { 200 } else { 503 };
    let answer = gateway.health("/healthz/ready");
    answer.is_some_and(|(status, text)| status == wanted && text.contains(reason))
}

fn has_endpoints(gateway: &TestGateway) -> bool {
    gateway.admin_text("/upstreams").contains("10.0.0.1:8080")
}

/// A kind that routing needs is forbidden at the start, then listed, then forbidden again.
fn forbidden(plural: &str, kind: &str) {
    let api = api();
    api.fail(plural, Fault::Forbidden);
    let gateway = TestGateway::start(&kubernetes::config(&api, EXPORT));
    let missing = format!("Kubernetes: not listed yet: {kind}\n");
    soon("the kind is said", || is_missing(&gateway, &missing));
    soon("the operator is told the reason", || {
        let text = gateway.admin_text("/healthz/ready");
        text.contains(&format!("kubernetes {kind}: ")) && text.contains("is forbidden")
    });
    assert!(!has_endpoints(&gateway), "{kind}");
    api.mend(plural);
    soon("the kind is asked for again", || is_missing(&gateway, ""));
    assert!(has_endpoints(&gateway), "{kind}");
    // Lost later, what was known serves.
    api.fail(plural, Fault::Forbidden);
    api.cut(Cut::Clean);
    let stale = || gateway.metric("strait_kubernetes_stale", &[("kind", kind)]);
    soon("what is known is old", || (stale() - 1.0).abs() < 0.1);
    assert!(
        is_missing(&gateway, "") && has_endpoints(&gateway),
        "{kind}"
    );
}

#[test]
fn a_kind_that_routing_needs_and_may_not_list_keeps_the_gateway_from_being_ready() {
    std::thread::scope(|scope| {
        for (plural, kind) in [
            ("services", "service"),
            ("endpointslices", "endpoint_slice"),
            ("pods", "pod"),
            ("peerauthentications", "peer_authentication"),
            ("destinationrules", "destination_rule"),
        ] {
            scope.spawn(|| forbidden(plural, kind));
        }
    });
}

#[test]
fn pods_that_come_late_keep_the_gateway_from_being_ready() {
    let api = api();
    api.fail("pods", Fault::Silent);
    let gateway = TestGateway::start(&kubernetes::config(&api, EXPORT));
    let missing = "Kubernetes: not listed yet: pod\n";
    soon("the rest is listed", || is_missing(&gateway, missing));
    // For longer than the gateway waits for what it can do without.
    let end = Instant::now() + FIRST_LISTS + Duration::from_secs(1);
    while Instant::now() < end {
        assert!(is_missing(&gateway, missing));
        std::thread::sleep(Duration::from_millis(200));
    }
    api.mend("pods");
    soon("pods are listed", || is_missing(&gateway, ""));
    assert!(has_endpoints(&gateway));
}
