//! Both identities stay end to end through the gateway, whatever protocol and version: real
//! sidecars on both sides.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use strait::tools::spiffe::Svid;

use crate::federation::app::{App, Seen};
use crate::federation::gateway;
use crate::federation::http::get;
use crate::federation::sidecar::{Connections, Inbound, Outbound, Protocol, svcb};
use crate::federation::world::{World, assert_whole};
use crate::support::client::connect;
use crate::support::gateway::TestGateway;
use crate::support::mtls::Pki;
use crate::support::server::{Server, read_exactly, read_to_eof};
use crate::support::{OUTBOUND, SERVICE};

/// SPIRE signs and delivers, and has fetched the other's bundle.
#[test]
fn each_service_sees_the_others_identity_and_not_the_gateways() {
    let world = World::start();
    let (alpha, beta) = (&world.alpha, &world.beta);
    for (from, to) in [(alpha, beta), (beta, alpha)] {
        from.spire.refresh(&to.spire).unwrap();
        let _server = world.serve(to);
        let mut caller = world.caller(from, Connections::Pooled);
        let seen = call(caller.address);
        assert_eq!(seen.peer("URI"), from.id());
        assert_eq!(seen.peer("By"), to.id());
        assert_eq!(seen.headers["x-sidecar-sni"], to.server_name());
        caller.envoy.stop();
        let line = to.call_line();
        assert_whole(&line);
        let route = format!("{}.apps.svc.cluster.local:80", to.service);
        assert_eq!(line.route, Some(route));
        assert_eq!(line.endpoint, Some(to.pod));
    }
}

#[test]
fn every_protocol_version_and_spelling_passes() {
    let pki = Pki::create();
    let app = App::start("svcb-1");
    let b = svcb(&pki, app.address);
    let gateway = gateway(&[b.address]);
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for newest_tls in ["TLSv1_2", "TLSv1_3"] {
            for sni in [OUTBOUND, SERVICE] {
                let outbound = Outbound {
                    protocol,
                    newest_tls,
                    sni: sni.to_owned(),
                    ..Outbound::to(gateway.address())
                };
                let mut a = outbound.start(&pki.svca, &pki.bundles());
                let seen = call(a.address);
                a.envoy.stop();
                let what = format!("{outbound:?}");
                assert_eq!(seen.peer("URI"), pki.svca.id.as_str(), "{what}");
                assert_eq!(seen.headers["x-sidecar-sni"], sni, "{what}");
                let spoken = match protocol {
                    Protocol::Http2 => "HTTP/2",
                    _ => "HTTP/1.1",
                };
                assert_eq!(seen.headers["x-sidecar-protocol"], spoken, "{what}");
                let version = newest_tls.replace('_', ".");
                assert_eq!(seen.headers["x-sidecar-tls"], version, "{what}");
                let record = gateway.record();
                assert_whole(&record);
                assert_eq!(record.server_name.as_deref(), Some(sni), "{what}");
                let offered = protocol.alpn().join(",");
                assert_eq!(record.alpn.as_deref(), Some(&*offered), "{what}");
            }
        }
    }
}

#[test]
fn plain_tcp_passes_and_only_for_callers_that_the_policy_names() {
    let pki = Pki::create();
    let messages = Arc::new(AtomicUsize::new(0));
    let counted = messages.clone();
    let app = Server::start(move |mut stream| {
        let mut message = [0; 9];
        while stream.read_exact(&mut message).is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
            stream.write_all(&message).unwrap();
        }
    });
    let inbound = Inbound {
        protocol: Protocol::Tcp,
        ..Inbound::to(app.address)
    };
    let b = inbound.start(&pki.svcb, &pki.bundles());
    let gateway = gateway(&[b.address]);
    let outbound = Outbound {
        protocol: Protocol::Tcp,
        ..Outbound::to(gateway.address())
    };
    for newest_tls in ["TLSv1_2", "TLSv1_3"] {
        let outbound = Outbound {
            newest_tls,
            ..outbound.clone()
        };
        let a = outbound.start(&pki.svca, &pki.bundles());
        let mut stream = connect(a.address);
        for _ in 0..3 {
            stream.write_all(b"a message").unwrap();
            assert_eq!(read_exactly(&mut stream, 9), b"a message");
        }
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_eof(&mut stream), b"");
        let record = gateway.record();
        assert_eq!(record.outcome, "ok");
        assert_eq!(record.alpn.as_deref(), Some("istio-peer-exchange,istio"));
    }
    let other = pki.alpha.issue("apps", "other").unwrap();
    let a = outbound.start(&other, &pki.bundles());
    let mut stream = connect(a.address);
    stream.write_all(b"a message").unwrap();
    assert_eq!(read_to_eof(&mut stream), b"", "nobody answers it");
    assert_eq!(messages.load(Ordering::Relaxed), 6, "only svca's arrived");
}

/// The result of a call by a pod with that identity.
fn call_as(pki: &Pki, caller: &Svid, gateway: &TestGateway) -> (u16, String) {
    let a = Outbound::to(gateway.address()).start(caller, &pki.bundles());
    let answer = get(a.address);
    (answer.status, answer.body)
}

#[test]
fn the_same_namespace_and_account_in_beta_is_somebody_else() {
    let pki = Pki::create();
    let namesake = pki.beta.issue("apps", "svca").unwrap();
    let app = App::start("svcb-1");
    let denied = (403, "RBAC: access denied".to_owned());

    // The policy names alpha's.
    let b = svcb(&pki, app.address);
    let to_b = gateway(&[b.address]);
    assert_eq!(call_as(&pki, &pki.svca, &to_b).0, 200);
    assert_eq!(call_as(&pki, &namesake, &to_b), denied);

    // And the other way round: beta's own account of that name, and not alpha's.
    let inbound = Inbound {
        principals: vec!["beta.com/ns/apps/sa/svca".to_owned()],
        ..Inbound::to(app.address)
    };
    let b = inbound.start(&pki.svcb, &pki.bundles());
    let to_b = gateway(&[b.address]);
    let (status, body) = call_as(&pki, &namesake, &to_b);
    assert_eq!(status, 200, "{body}");
    assert_eq!(Seen::parse(&body).peer("URI"), namesake.id.as_str());
    assert_eq!(call_as(&pki, &pki.svca, &to_b), denied);
}

/// A call that must succeed, and what svcb saw of it.
#[track_caller]
fn call(sidecar: std::net::SocketAddr) -> Seen {
    let answer = get(sidecar);
    assert_eq!(answer.status, 200, "{answer:?}");
    Seen::parse(&answer.body)
}
