//! The lines of the gateways for ways in which a federation fails that [`super::bundle`], [`super::refusals`] and
//! [`super::rotation`] do not have: each names the cause as far as bytes tell it, or there is none, rightly. SPIRE's own
//! code, and real sidecars.

use std::net::SocketAddr;
use std::time::Duration;

use crate::federation::app::App;
use crate::federation::http::{HttpClient, get};
use crate::federation::names::pod_address;
use crate::federation::sidecar::{Connections, Inbound, Outbound};
use crate::federation::spire::{AN_HOUR, Spire};
use crate::federation::world::{World, assert_refused, assert_whole, leading};

/// Answers over TLS that are no bundle are whole calls for a gateway: SPIRE's log has the cause, and `strait doctor` finds
/// it. SPIRE's client leaves its connection open, so the line comes when it ends.
#[test]
fn an_answer_that_is_no_bundle_is_told_by_spire_alone() {
    let api = SocketAddr::new(pod_address(), 8081);
    for (mistake, path, upstream, said) in [
        ("a path", "/bundle", None, "404"),
        ("SPIRE's API", "", Some(api), "415"),
    ] {
        let arguments = ["-api", &api.to_string()];
        let world = World::planned("beta.com", &[], &arguments, |config| match upstream {
            Some(api) => leading(config, "spire", &api.to_string()),
            None => config.to_owned(),
        });
        let World { alpha, beta, .. } = world;
        alpha.spire.set_bundle_of(&beta.spire);
        let url = format!("{}{path}", beta.bundle_url());
        alpha.spire.federate(&beta.spire, &url);
        let error = alpha.spire.refresh(&beta.spire).expect_err(mistake);
        assert!(error.contains(said), "{mistake}: {error}");
        // The line of a poll that was cut short says something else.
        alpha.spire.until_polled();
        drop(alpha.spire);
        let line = beta.bundle_line();
        assert_whole(&line);
    }
}

#[test]
fn a_bundle_endpoint_that_speaks_no_tls_is_no_question_of_certificates() {
    let app = App::start("no TLS");
    let plain = app.address.to_string();
    let world = World::altered(|config| leading(config, "spire", &plain));
    world.join();
    let (alpha, beta) = (&world.alpha.spire, &world.beta);
    let error = alpha.refresh(&beta.spire).unwrap_err();
    assert!(error.contains("HTTP response to HTTPS client"), "{error}");
    let line = beta.bundle_line();
    assert_eq!(line.outcome, "upstream_not_tls", "{line:?}");
    let detail = line.detail.unwrap_or_default();
    assert!(detail.contains("HTTP"), "{detail}");
}

/// SPIRE's client gives up after ten seconds.
#[test]
fn a_spire_that_stands_still_is_named_when_the_other_gives_up() {
    let world = World::start();
    let (alpha, beta) = (&world.alpha.spire, &world.beta);
    beta.spire.freeze();
    let error = alpha.refresh(&beta.spire).unwrap_err();
    assert!(error.contains("handshake timeout"), "{error}");
    let line = beta.bundle_line();
    assert_eq!(line.outcome, "upstream_silent", "{line:?}");
    assert_eq!(line.endpoint, Some(beta.spire.endpoint), "{line:?}");
}

/// Each refusal is told, however many come.
#[test]
fn every_fetch_that_refuses_the_endpoint_has_its_line() {
    const FETCHES: usize = 20;
    let world = World::start();
    let (alpha, beta) = (&world.alpha.spire, &world.beta);
    let (url, id) = (beta.bundle_url(), "spiffe://beta.com/spire/other");
    alpha.tell(&format!("federate beta.com {url} {id}"));
    for _ in 0..FETCHES {
        alpha.refresh(&beta.spire).unwrap_err();
        assert_refused(&beta.bundle_line(), "downstream");
    }
}

/// A pod of the caller without an entry: its sidecar opens no port, and nothing comes to any gateway.
#[test]
fn a_caller_that_spire_does_not_know_has_no_line() {
    let world = World::start();
    let (alpha, beta) = (&world.alpha, &world.beta);
    let _b = world.serve(beta);
    let unknown = alpha.spire.socket("unknown");
    let outbound = Outbound {
        bind: SocketAddr::new(pod_address(), 15001),
        ..world.outbound(alpha, Connections::Fresh)
    };
    let _a = outbound.start_without_svid(&unknown);
    let call = HttpClient::connect(outbound.bind).and_then(|mut client| client.get("/"));
    assert!(call.map_or(true, |answer| answer.status == 503));
    beta.gateway.no_record_within(Duration::from_millis(300));
}

/// Another SPIRE of beta's name signs for svcb, and then one of alpha's for svca.
#[test]
fn a_namesake_of_either_trust_domain_is_refused_by_the_other_side() {
    let world = World::start();
    let (alpha, beta) = (&world.alpha, &world.beta);
    let dns = world.dns.address();
    let rogue = Spire::start("beta.com", dns);
    rogue.set_bundle_of(&alpha.spire);
    let socket = rogue.workload("server", &beta.id(), AN_HOUR, &[&alpha.spire]);
    let b = world.inbound(beta).start_by_agent(&socket);
    let a = world.caller(alpha, Connections::Fresh);
    assert_eq!(get(a.address).status, 503);
    assert_refused(&beta.call_line(), "downstream");
    drop((a, b));

    let rogue = Spire::start("alpha.com", dns);
    rogue.set_bundle_of(&beta.spire);
    let socket = rogue.workload("caller", &alpha.id(), AN_HOUR, &[&beta.spire]);
    let _b = world.serve(beta);
    let a = world
        .outbound(alpha, Connections::Fresh)
        .start_by_agent(&socket);
    assert_eq!(get(a.address).status, 503);
    assert_refused(&beta.call_line(), "upstream");
}

/// The same three causes with SPIRE's certificates as the shipped files could be wrong.
#[test]
fn a_mesh_config_a_policy_and_an_expected_name_that_are_wrong() {
    let world = World::start();
    let (alpha, beta) = (&world.alpha, &world.beta);
    let serve = |inbound: Inbound| {
        let socket = world.workload(beta, "server", AN_HOUR);
        inbound.start_by_agent(&socket)
    };
    let a = world.caller(alpha, Connections::Fresh);

    // caCertificates do not name alpha.com.
    let b = serve(Inbound {
        foreign_trust_domains: Vec::new(),
        ..world.inbound(beta)
    });
    assert_eq!(get(a.address).status, 503);
    let line = beta.call_line();
    assert_refused(&line, "upstream");
    assert!(line.detail.unwrap_or_default().contains("caCertificates"));
    drop(b);

    // The policy names the principal with its scheme: no question of TLS.
    let b = serve(Inbound {
        principals: vec![alpha.id()],
        ..world.inbound(beta)
    });
    assert_eq!(get(a.address).status, 403);
    assert_eq!(beta.call_line().outcome, "ok");
    drop(b);

    // The pod has another account.
    let b = world.serve(beta);
    let default = beta.spire.account("default");
    b.until_taken(|| {
        beta.spire
            .workload("server", &default, AN_HOUR, &[&alpha.spire])
    });
    assert_eq!(get(a.address).status, 503);
    let line = beta.call_line();
    assert_refused(&line, "downstream");
    assert!(line.detail.unwrap_or_default().contains("SPIFFE ID"));
}

/// TLS 1.2 has certificates in the clear: the line has whose it was, and that it has expired.
#[test]
fn with_tls_1_2_the_line_says_whose_svid_has_expired() {
    let world = World::start();
    let (alpha, beta) = (&world.alpha, &world.beta);
    let socket = world.workload(beta, "server", "-60s");
    let inbound = Inbound {
        newest_tls: "TLSv1_2",
        ..world.inbound(beta)
    };
    let _b = inbound.start_by_agent(&socket);
    let a = world.caller(alpha, Connections::Fresh);
    assert_eq!(get(a.address).status, 503);
    let line = beta.gateway.line();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["outcome"], "handshake_refused", "{line}");
    assert_eq!(line["ended_by"], "downstream", "{line}");
    let shown = line["upstream_certificate_unauthenticated"].to_string();
    assert!(shown.contains(&beta.id()), "{line}");
}
