//! The federation channel through the gateway: one cluster's SPIRE fetches the other's bundle by the
//! endpoint's name on the same port as all calls.

use std::net::SocketAddr;

use strait::tools::spiffe::tls::peer_error;
use strait::tools::spiffe::{SpiffeId, TrustDomain};

use crate::federation::app::App;
use crate::federation::bundles::{BundleEndpoint, SPIRE, fetch};
use crate::federation::http::get;
use crate::federation::sidecar::{Outbound, svcb};
use crate::support;
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::mtls::Pki;

const NAME: &str = "spire.bundles.beta.com";
const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn server_id() -> SpiffeId {
    SpiffeId::parse("spiffe://beta.com/spire/server").unwrap()
}

/// Beta's bundle endpoint, with an SVID of `authority`.
fn endpoint(pki: &Pki, authority: &TrustDomain) -> BundleEndpoint {
    let svid = authority.sign(&server_id()).unwrap();
    BundleEndpoint::start(LOOPBACK, &svid, &[pki.beta.bundle()])
}

/// A gateway with svcb's route and the endpoint's, as config/federation/ has them.
fn gateway(pod: SocketAddr, endpoint: &BundleEndpoint, alpn: &str) -> TestGateway {
    TestGateway::start(&ConfigText::verbatim(&format!(
        "listeners:
  - name: east-west
    bind: 127.0.0.1:0
    routes:
      - {{ service: 'svcb.apps.svc.cluster.local:80', alpn: istio, upstream: svcb }}
      - {{ sni: {NAME}, alpn: {alpn}, upstream: spire }}
upstreams:
  svcb: {{ endpoints: ['{pod}'] }}
  spire: {{ endpoints: ['{}'] }}",
        endpoint.address
    )))
}

#[test]
fn alphas_spire_fetches_betas_bundle_and_then_calls_work() {
    let pki = Pki::create();
    let app = App::start("svcb-1");
    let b = svcb(&pki, app.address);
    let endpoint = endpoint(&pki, &pki.beta);
    let gateway = gateway(b.address, &endpoint, "any");
    // Not federated yet.
    let own = pki.alpha.bundle();
    let outbound = Outbound::to(gateway.address());
    let a = outbound.start(&pki.svca, std::slice::from_ref(&own));
    assert_eq!(get(a.address).status, 503);

    // The first bundle came by hand (trustDomainBundle); this one by the channel.
    let by_hand = pki.beta.bundle();
    let mut learnt = vec![own];
    for (alpn, protocol) in [
        (SPIRE, "h2"),
        (&["http/1.1"], "http/1.1"),
        (&[], "http/1.1"),
    ] {
        let fetched = fetch(gateway.address(), NAME, &by_hand, &server_id(), alpn).unwrap();
        assert_eq!(fetched.protocol, protocol);
        assert_eq!(fetched.refresh_hint, 300);
        assert_eq!(fetched.bundle.len(), 1);
        learnt.truncate(1);
        learnt.extend(fetched.bundle);
    }
    a.rotate_trust(&learnt);
    let answer = get(a.address);
    assert_eq!(answer.status, 200, "{answer:?}");

    let endpoint = endpoint.address;
    let record = std::iter::repeat_with(|| gateway.record());
    let record = record.into_iter().find(|r| r.endpoint == Some(endpoint));
    let record = record.unwrap();
    assert_eq!(record.server_name.as_deref(), Some(NAME));
    assert_eq!(record.alpn.as_deref(), Some("h2,http/1.1"));
    assert_eq!(record.outcome, "ok", "{record:?}");
}

#[test]
fn a_route_that_demands_an_istio_alpn_refuses_spire() {
    let pki = Pki::create();
    let endpoint = endpoint(&pki, &pki.beta);
    let gateway = gateway(support::server::refusing_address(), &endpoint, "istio");
    let bundle = pki.beta.bundle();
    let error = fetch(gateway.address(), NAME, &bundle, &server_id(), SPIRE).unwrap_err();
    assert!(
        error.to_string().contains("NoApplicationProtocol"),
        "{error}"
    );
    let record = gateway.record();
    assert_eq!(record.outcome, "alpn_refused", "{record:?}");
    assert_eq!(record.server_name.as_deref(), Some(NAME));
    assert_eq!(record.endpoint, None);
}

#[test]
fn an_endpoint_that_is_not_betas_server_is_not_believed() {
    let pki = Pki::create();
    let bundle = pki.beta.bundle();
    // A CA of the same name that is not the one known, and a workload of beta's own.
    let impostor = TrustDomain::create("beta.com").unwrap();
    let workload = BundleEndpoint::start(LOOPBACK, &pki.svcb, &[impostor.bundle()]);
    for endpoint in [endpoint(&pki, &impostor), workload] {
        let gateway = gateway(support::server::refusing_address(), &endpoint, "any");
        let error = fetch(gateway.address(), NAME, &bundle, &server_id(), SPIRE).unwrap_err();
        assert!(peer_error(&error).is_some(), "{error}");
        let record = gateway.record();
        assert_eq!(record.outcome, "handshake_refused", "{record:?}");
        assert_eq!(record.ended_by.as_deref(), Some("downstream"));
    }
}
