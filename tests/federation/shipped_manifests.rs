//! `config/federation/`: its files agree with one another, and what they say works, both ways, with
//! a real gateway and real sidecars.

use std::net::SocketAddr;

use strait::tools::spiffe::{SpiffeId, TrustDomain};

use crate::federation::app::{App, Seen};
use crate::federation::bundles::{BundleEndpoint, SPIRE, fetch};
use crate::federation::http::get;
use crate::federation::manifests::{Cluster, Manifests};
use crate::federation::names::{ClusterDns, pod_address};
use crate::federation::sidecar::{Inbound, Outbound};
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

/// A cluster that stands as its files say: a service, SPIRE's bundle endpoint, and the gateway.
struct Standing {
    cluster: Cluster,
    authority: TrustDomain,
    gateway: TestGateway,
    dns: ClusterDns,
    _endpoint: BundleEndpoint,
}

impl Standing {
    fn stand(cluster: &Cluster) -> Self {
        let authority = TrustDomain::create(cluster.trust_domain()).unwrap();
        let dns = ClusterDns::start();
        let (host, port) = cluster.upstream("spire");
        let address = pod_address();
        dns.set(&host, &[address]);
        let id = format!("spiffe://{}/spire/server", cluster.trust_domain());
        let svid = authority.sign(&SpiffeId::parse(&id).unwrap()).unwrap();
        let bind = SocketAddr::new(address, port);
        let endpoint = BundleEndpoint::start(bind, &svid, &[authority.bundle()]);
        let resolver = format!("resolver: {{ servers: ['{}'] }}", dns.address());
        let config = ConfigText::verbatim(&cluster.gateway_on_loopback()).top(&resolver);
        let gateway = TestGateway::start(&config);
        until_endpoints(&gateway, 1.0);
        Self {
            gateway,
            cluster: cluster.clone(),
            authority,
            dns,
            _endpoint: endpoint,
        }
    }
}

/// Waits until DNS has given the gateway so many endpoints.
fn until_endpoints(gateway: &TestGateway, count: f64) {
    support::wait_until("the gateway has found its endpoints", || {
        gateway.metric("strait_upstream_endpoints", &[("state", "ready")]) >= count
    });
}

/// The five steps of the document's summary, as the files of both clusters have them.
fn call_across(from: &Standing, to: &Standing) {
    // SPIRE of the calling cluster learns the other's bundle through the other's gateway, and the
    // other way round.
    let learn = |of: &Standing| {
        let id = format!("spiffe://{}/spire/server", of.cluster.trust_domain());
        let id = SpiffeId::parse(&id).unwrap();
        let (gateway, name) = (of.gateway.address(), of.cluster.bundle_name());
        let known = of.authority.bundle();
        fetch(gateway, &name, &known, &id, SPIRE).unwrap().bundle
    };
    let (foreign, own) = (learn(to), learn(from));
    let bundles = [own, foreign].concat();

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
    let server = to.authority.sign(&to.cluster.service_identity()).unwrap();
    let _pod = inbound.start(&server, &bundles);
    to.dns.set(&name, &[address]);
    until_endpoints(&to.gateway, 2.0);

    let (host, port, expected) = from.cluster.called();
    let outbound = Outbound {
        sni: format!("outbound_.{port}_._.{host}"),
        server: expected,
        ..Outbound::to(to.gateway.address())
    };
    let caller = from
        .authority
        .sign(&from.cluster.service_identity())
        .unwrap();
    let sidecar = outbound.start(&caller, &bundles);
    let answer = get(sidecar.address);
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = Seen::parse(&answer.body);
    assert_eq!(seen.peer("URI"), caller.id.as_str());
    assert_eq!(seen.peer("By"), server.id.as_str());
}

#[test]
fn what_they_say_works_both_ways() {
    let [a, b] = Manifests::shipped().clusters();
    let (a, b) = (Standing::stand(&a), Standing::stand(&b));
    call_across(&a, &b);
    call_across(&b, &a);
}
