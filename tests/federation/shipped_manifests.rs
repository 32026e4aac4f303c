//! `config/federation/`: its files agree with one another, and what they say works, both ways, with
//! a real gateway, real sidecars and SPIRE's own code.

use std::net::{Ipv4Addr, SocketAddr};

use crate::federation::app::{App, Seen};
use crate::federation::http::get;
use crate::federation::manifests::{Cluster, Manifests};
use crate::federation::names::{ClusterDns, pod_address};
use crate::federation::sidecar::{Inbound, Outbound};
use crate::federation::spire::Spire;
use crate::support;
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;

#[test]
fn the_files_agree() {
    let problems = Manifests::shipped().problems();
    assert!(problems.is_empty(), "{problems:#?}");
}

/// Each change with the finding that the checker must report. The checker is worth no more than its
/// findings.
#[test]
fn a_file_that_does_not_agree_is_found() {
    const PRINCIPALS: &str = "principals: [alpha.com";
    for (path, old, new, problem) in [
        (
            "b/svcb",
            PRINCIPALS,
            "principals: [spiffe://alpha.com",
            "a scheme in principals",
        ),
        (
            "b/svcb",
            PRINCIPALS,
            "notPrincipals: [alpha.com",
            "the other's principals",
        ),
        ("b/svcb", "sa/svca]", "sa/svcA]", "the other's principals"),
        (
            "b/svcb",
            "name: svcb\n",
            "name: svcB\n",
            "is no Kubernetes name",
        ),
        (
            "a/call-svcb",
            "name: svcb-of-beta",
            "name: svcB",
            "is no Kubernetes name",
        ),
        (
            "a/call-svcb",
            "hosts: [svcb",
            "hosts: [svcB",
            "upper case in hosts",
        ),
        (
            "b/istiod",
            "caCertificates:",
            "trustDomainAliases: [alpha.com]\n  caCertificates:",
            "trustDomainAliases",
        ),
        ("b/istiod", "[alpha.com]", "[gamma.com]", "caCertificates"),
        (
            "b/istiod",
            "trustDomain: beta.com",
            "trustDomain: gamma.com",
            "SPIRE's trust domain",
        ),
        (
            "a/spire",
            "AllBundlesName: ROOTCA",
            "AllBundlesName: ALL",
            "the SDS name of all bundles",
        ),
        ("a/federation", ":15443", ":8443", "bundleEndpointURL"),
        (
            "a/federation",
            "beta.com/spire/server",
            "beta.com/spire/agent",
            "endpointSPIFFEID",
        ),
        (
            "a/federation",
            "className: spire",
            "className: other",
            "className",
        ),
        (
            "a/federation",
            "federatesWith: [beta.com]",
            "federatesWith: []",
            "federatesWith",
        ),
        (
            "a/call-svcb",
            "number: 80",
            "number: 8080",
            "the ServiceEntry's port",
        ),
        (
            "a/call-svcb",
            "http: 15443",
            "http: 443",
            "the gateway's port",
        ),
        ("a/call-svcb", "MESH_EXTERNAL", "MESH_INTERNAL", "location"),
        ("a/call-svcb", "ISTIO_MUTUAL\n", "SIMPLE\n", "tls.mode"),
        ("a/call-svcb", "sa/svcb]", "sa/svca]", "subjectAltNames"),
        ("a/call-svcb", ": 15s", ": 25s", "maxConnectionDuration"),
        (
            "b/gateway",
            "alpn: istio",
            "alpn: any",
            "the service's ALPN",
        ),
        (
            "b/gateway",
            ".local:80\n",
            ".local:8080\n",
            "the routed port",
        ),
        (
            "b/gateway",
            "window: 20s",
            "window: 40s",
            "the grace period",
        ),
        ("b/gateway", "upstream: svcb", "upstrem: svcb", "upstrem"),
        (
            "b/svcb",
            "mode: STRICT",
            "mode: PERMISSIVE",
            "PeerAuthentication",
        ),
    ] {
        let path = format!("cluster-{path}.yaml");
        let problems = Manifests::shipped().with(&path, old, new).problems();
        let found = problems.iter().any(|found| found.contains(problem));
        assert!(found, "{path}, {new:?}: {problems:#?}");
    }
}

/// A cluster that stands as its files say: SPIRE with its bundle endpoint, and the gateway.
struct Standing {
    cluster: Cluster,
    spire: Spire,
    gateway: TestGateway,
}

impl Standing {
    fn stand(cluster: &Cluster, dns: &ClusterDns) -> Self {
        let (host, port) = cluster.upstream("spire");
        let address = pod_address();
        dns.set(&host, &[address]);
        let endpoint = SocketAddr::new(address, port);
        let spire = Spire::start_at(cluster.trust_domain(), dns.address(), endpoint, &[]);
        dns.set(&cluster.bundle_name(), &[Ipv4Addr::LOCALHOST.into()]);
        let resolver = format!("resolver: {{ servers: ['{}'] }}", dns.address());
        let config = ConfigText::verbatim(&cluster.gateway_on_loopback()).top(&resolver);
        let gateway = TestGateway::start(&config);
        until_endpoints(&gateway, 1.0);
        Self {
            gateway,
            cluster: cluster.clone(),
            spire,
        }
    }
}

/// Waits until DNS has given the gateway so many endpoints.
fn until_endpoints(gateway: &TestGateway, count: f64) {
    support::wait_until("the gateway has found its endpoints", || {
        gateway.metric("strait_upstream_endpoints", &[("state", "ready")]) >= count
    });
}

/// SPIRE of `one` learns the other's bundle through the other's gateway: the first by hand, the next by itself.
fn federate(one: &Standing, other: &Standing) {
    let port = other.gateway.address().port();
    let url = format!("https://{}:{port}", other.cluster.bundle_name());
    one.spire.set_bundle_of(&other.spire);
    one.spire.federate(&other.spire, &url);
    other.spire.tell("prepare");
    one.spire.refresh(&other.spire).unwrap();
    assert_eq!(one.spire.known(&other.spire).len(), 2);
}

/// The five steps of the document's summary, as the files of both clusters have them.
fn call_across(from: &Standing, to: &Standing, dns: &ClusterDns) {
    let (name, port) = to.cluster.service_upstream();
    let address = pod_address();
    let app = App::start("pod");
    let inbound = Inbound {
        bind: SocketAddr::new(address, port),
        trust_domain: to.cluster.trust_domain().to_owned(),
        foreign_trust_domains: to.cluster.foreign_trust_domains(),
        principals: to.cluster.principals(),
        ..Inbound::to(app.address)
    };
    let server = to.cluster.service_identity();
    let socket = to
        .spire
        .workload("server", server.as_str(), "1h", &[&from.spire]);
    let _pod = inbound.start_by_agent(&socket);
    dns.set(&name, &[address]);
    until_endpoints(&to.gateway, 2.0);

    let (host, port, expected) = from.cluster.called();
    let outbound = Outbound {
        sni: format!("outbound_.{port}_._.{host}"),
        server: expected,
        ..Outbound::to(to.gateway.address())
    };
    let caller = from.cluster.service_identity();
    let socket = from
        .spire
        .workload("caller", caller.as_str(), "1h", &[&to.spire]);
    let sidecar = outbound.start_by_agent(&socket);
    let answer = get(sidecar.address);
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = Seen::parse(&answer.body);
    assert_eq!(seen.peer("URI"), caller.as_str());
    assert_eq!(seen.peer("By"), server.as_str());
}

#[test]
fn what_they_say_works_both_ways() {
    let dns = ClusterDns::start();
    let [a, b] = Manifests::shipped().clusters();
    let (a, b) = (Standing::stand(&a, &dns), Standing::stand(&b, &dns));
    federate(&a, &b);
    federate(&b, &a);
    call_across(&a, &b, &dns);
    call_across(&b, &a, &dns);
}
