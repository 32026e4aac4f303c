//! Calls that federation does not allow. The party whose task it is refuses each of them, with real
//! sidecars on both sides, and the gateway's record says where to look.

use strait::tools::records::LogLine;
use strait::tools::spiffe::{SpiffeId, Svid, TrustBundle};

use crate::federation::app::{App, Seen};
use crate::federation::http::{HttpClient, get};
use crate::federation::sidecar::{Connections, Inbound, Outbound, Sidecar, svcb};
use crate::federation::world::{Side, World, assert_whole, leading};
use crate::federation::{self, SERVICE_ROUTE, gateway};
use crate::support;
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::mtls::Pki;
use crate::support::wait_until;

const DENIED: &str = "RBAC: access denied";

/// A call through a gateway of its own: what svca got, and what the gateway recorded of it.
fn call(b: &Sidecar, a: &Outbound, svid: &Svid, trusted: &[TrustBundle]) -> (u16, String, LogLine) {
    let gateway = gateway(&[b.address]);
    let outbound = Outbound {
        gateway: gateway.address(),
        ..a.clone()
    };
    let mut a = outbound.start(svid, trusted);
    let answer = get(a.address);
    // Ends the connection, if it has not ended by itself.
    a.envoy.stop();
    (answer.status, answer.body, gateway.record())
}

/// svca's sidecar, to a gateway that [`call`] brings.
fn svca() -> Outbound {
    Outbound::to(([127, 0, 0, 1], 0).into())
}

/// Asserts that the handshake failed, and that the record says who ended it.
#[track_caller]
fn assert_refused(called: &(u16, String, LogLine), by: &str) {
    let (status, body, record) = called;
    assert_eq!(*status, 503, "{body}");
    assert_eq!(record.outcome, "handshake_refused", "{record:?}");
    assert_eq!(record.ended_by.as_deref(), Some(by), "{record:?}");
    let detail = record.detail.as_deref().unwrap_or_default();
    assert!(detail.starts_with(&format!("the {by} ")), "{record:?}");
    assert!(record.hello_ms.unwrap() < record.duration_ms, "{record:?}");
}

/// SPIRE gives a sidecar the bundles that its entry federates with.
#[test]
fn one_way_trust_fails_in_the_handshake_whichever_way_round() {
    let world = World::start();
    let (alpha, beta) = (&world.alpha, &world.beta);
    let b = world.serve(beta);
    let alone = |side: &Side, name| side.spire.workload(name, &side.id(), "1h", &[]);
    for newest_tls in ["TLSv1_2", "TLSv1_3"] {
        let outbound = Outbound {
            newest_tls,
            ..world.outbound(alpha, Connections::Fresh)
        };
        let a = outbound.start_by_agent(&world.workload(alpha, "caller", "1h"));
        assert_eq!(get(a.address).status, 200);
        assert_eq!(beta.call_line().outcome, "ok");
        // A has no bundle of beta.
        a.until_both_taken(|| alone(alpha, "caller"));
        let refused = |by| {
            let answer = get(a.address);
            assert_refused(&(answer.status, answer.body, beta.call_line()), by);
        };
        refused("downstream");
        // B has none of alpha.
        b.until_both_taken(|| alone(beta, "server"));
        a.until_both_taken(|| world.workload(alpha, "caller", "1h"));
        refused("upstream");
        b.until_both_taken(|| world.workload(beta, "server", "1h"));
    }
}

#[test]
fn another_account_of_alpha_is_refused_by_bs_policy() {
    let pki = Pki::create();
    let app = App::start("svcb-1");
    let b = svcb(&pki, app.address);
    let other = pki.alpha.issue("apps", "other").unwrap();
    let (status, body, record) = call(&b, &svca(), &other, &pki.bundles());
    assert_eq!((status, &*body), (403, DENIED));
    // Not the gateway's business.
    assert_whole(&record);
    assert_eq!(b.envoy.stat("rbac.denied"), 1);
}

/// `docs/src/internals/istio.md#principals-have-no-scheme`.
#[test]
fn a_principal_with_the_scheme_written_matches_nobody() {
    let pki = Pki::create();
    let app = App::start("svcb-1");
    let inbound = Inbound {
        principals: vec![pki.svca.id.to_string()],
        ..Inbound::to(app.address)
    };
    let b = inbound.start(&pki.svcb, &pki.bundles());
    let (status, body, _) = call(&b, &svca(), &pki.svca, &pki.bundles());
    assert_eq!((status, &*body), (403, DENIED));
}

/// `docs/src/internals/istio.md#foreign-trust-domains-must-be-named`.
#[test]
fn a_mesh_that_does_not_list_alpha_refuses_it_although_it_has_its_bundle() {
    let pki = Pki::create();
    let app = App::start("svcb-1");
    let inbound = Inbound {
        foreign_trust_domains: Vec::new(),
        ..Inbound::to(app.address)
    };
    let b = inbound.start(&pki.svcb, &pki.bundles());
    let called = call(&b, &svca(), &pki.svca, &pki.bundles());
    assert_refused(&called, "upstream");
    assert_eq!(b.envoy.stat("ssl.fail_verify_san"), 1);
}

/// The reason why config/federation/ has `caCertificates` and its README forbids `trustDomainAliases`:
/// an alias is more than trust.
#[test]
fn with_an_alias_the_same_named_account_of_alpha_passes_for_betas() {
    let pki = Pki::create();
    let app = App::start("svcb-1");
    // A policy of beta for its own.
    let policy = Inbound {
        principals: vec!["beta.com/ns/apps/sa/web".to_owned()],
        ..Inbound::to(app.address)
    };
    let stranger = pki.alpha.issue("apps", "web").unwrap();

    let b = policy.start(&pki.svcb, &pki.bundles());
    let (status, body, _) = call(&b, &svca(), &stranger, &pki.bundles());
    assert_eq!((status, &*body), (403, DENIED));

    let aliased = Inbound {
        foreign_trust_domains: Vec::new(),
        aliases: vec!["alpha.com".to_owned()],
        ..policy
    };
    let b = aliased.start(&pki.svcb, &pki.bundles());
    let (status, body, _) = call(&b, &svca(), &stranger, &pki.bundles());
    assert_eq!(status, 200, "{body}");
    assert_eq!(Seen::parse(&body).peer("URI"), stranger.id.as_str());
}

/// `docs/src/internals/istio.md#a-serviceentry-alone-sends-plain-text`.
#[test]
fn the_documents_service_entry_alone_arrives_as_plain_http() {
    let pki = Pki::create();
    let app = App::start("svcb-1");
    let b = svcb(&pki, app.address);
    let a = Outbound {
        mutual_tls: false,
        ..svca()
    };
    let (status, body, record) = call(&b, &a, &pki.svca, &pki.bundles());
    assert_eq!(status, 503, "{body}");
    assert_eq!(record.outcome, "not_tls", "{record:?}");
    assert_eq!(record.ended_by.as_deref(), Some("gateway"));
    let detail = record.detail.unwrap();
    let hint = "plain HTTP: DestinationRule ISTIO_MUTUAL missing?";
    assert!(detail.contains(hint), "{detail}");
    assert_eq!(record.endpoint, None);
}

#[test]
fn a_ca_cannot_vouch_for_the_other_trust_domain() {
    let pki = Pki::create();
    let app = App::start("svcb-1");
    let b = svcb(&pki, app.address);
    let forged = pki.beta.sign(&pki.svca.id).unwrap();
    let called = call(&b, &svca(), &forged, &pki.bundles());
    assert_refused(&called, "upstream");

    let forged = pki.alpha.sign(&pki.svcb.id).unwrap();
    let b = Inbound::to(app.address).start(&forged, &pki.bundles());
    let called = call(&b, &svca(), &pki.svca, &pki.bundles());
    assert_refused(&called, "downstream");
}

#[test]
fn a_pod_that_is_not_the_one_named_is_refused_by_svca() {
    let pki = Pki::create();
    let app = App::start("svcb-1");
    let b = svcb(&pki, app.address);
    let a = Outbound {
        server: SpiffeId::workload("beta.com", "apps", "other").unwrap(),
        ..svca()
    };
    let called = call(&b, &a, &pki.svca, &pki.bundles());
    assert_refused(&called, "downstream");
}

#[test]
fn a_service_port_that_is_not_routed_is_refused_by_the_gateway() {
    let pki = Pki::create();
    let app = App::start("svcb-1");
    let b = svcb(&pki, app.address);
    let a = Outbound {
        sni: "outbound_.8080_._.svcb.apps.svc.cluster.local".to_owned(),
        ..svca()
    };
    let (status, body, record) = call(&b, &a, &pki.svca, &pki.bundles());
    assert_eq!(status, 503, "{body}");
    assert_eq!(record.outcome, "no_route");
    let detail = record.detail.unwrap();
    assert_eq!(detail, "the service is routed only for service port 80");
}

/// A pod without an entry in SPIRE: its sidecar waits for an SVID before it listens.
#[test]
fn a_pod_that_spire_does_not_know_is_a_port_that_nobody_listens_at() {
    let world = World::start();
    let (alpha, beta) = (&world.alpha, &world.beta);
    let unknown = beta.spire.socket("unknown");
    let _b = world.inbound(beta).start_without_svid(&unknown);
    let a = world.caller(alpha, Connections::Fresh);
    assert_eq!(get(a.address).status, 503);
    let line = beta.call_line();
    assert_eq!(line.outcome, "connect_refused", "{line:?}");
    assert_eq!(line.endpoint, Some(beta.pod));
    let detail = line.detail.unwrap_or_default();
    assert!(detail.contains("SVID"), "{detail}");
    wait_until("SPIRE says that it does not know the pod", || {
        beta.spire.log().contains("workload is not authorized")
    });
}

/// A pod without a sidecar: a caller's Envoy takes that for a bad certificate and says so in an alert, and the gateway
/// knows better.
#[test]
fn a_pod_that_speaks_plain_http_is_no_question_of_certificates() {
    let app = App::start("no sidecar");
    let plain = app.address.to_string();
    let world = World::altered(|config| leading(config, "svcb", &plain));
    world.join();
    let a = world.caller(&world.alpha, Connections::Fresh);
    assert_eq!(get(a.address).status, 503);
    let line = world.beta.call_line();
    assert_eq!(line.outcome, "upstream_not_tls", "{line:?}");
    let detail = line.detail.unwrap_or_default();
    assert!(detail.contains("HTTP"), "{detail}");
}

/// A sidecar that stands still: the kernel takes the connection for it.
#[test]
fn a_frozen_sidecar_is_named_when_the_caller_gives_up() {
    let world = World::start();
    let b = world.serve(&world.beta);
    b.envoy.freeze();
    let mut a = world.caller(&world.alpha, Connections::Fresh);
    let at = a.address;
    let call = std::thread::spawn(move || HttpClient::connect(at).unwrap().get("/"));
    let sent = [
        ("route", "svcb.apps.svc.cluster.local:80"),
        ("direction", "to_upstream"),
    ];
    wait_until("the hello is with the sidecar", || {
        world.beta.gateway.metric("strait_bytes_total", &sent) > 0.0
    });
    a.envoy.stop();
    assert!(
        call.join()
            .unwrap()
            .map_or(true, |answer| answer.status == 503)
    );
    let line = world.beta.call_line();
    assert_eq!(line.outcome, "upstream_silent", "{line:?}");
    assert_eq!(line.endpoint, Some(world.beta.pod));
}

#[test]
fn a_service_without_a_pod_is_reported_so() {
    let pki = Pki::create();
    let closed = support::server::refusing_address();
    let config = ConfigText::to(&[closed]).routes(SERVICE_ROUTE);
    let gateway = TestGateway::start(&config);
    let a = federation::sidecar::svca(&pki, gateway.address());
    assert_eq!(get(a.address).status, 503);
    assert_eq!(gateway.record().outcome, "connect_refused");
}
