//! The federation channel through the gateway: one cluster's SPIRE fetches the other's bundle by the
//! endpoint's name on the same port as all calls. Endpoint and client are SPIRE's own.

use crate::federation::http::get;
use crate::federation::names::ClusterDns;
use crate::federation::sidecar::Connections;
use crate::federation::spire::Spire;
use crate::federation::world::{World, assert_refused, assert_whole, leading};
use crate::support::server::refusing_address;
use crate::support::wait_until;

const ROUTE: &str = "alpn: any, upstream: spire";

/// The first bundle is brought by hand, and everything after it by the channel.
#[test]
fn alphas_spire_fetches_betas_bundle_and_then_calls_work() {
    let world = World::apart();
    let (alpha, beta) = (&world.alpha, &world.beta);
    alpha.spire.federate(&beta.spire, &beta.bundle_url());

    // Without the first bundle SPIRE does not even connect, and no pod can be federated.
    let error = alpha.spire.refresh(&beta.spire).unwrap_err();
    assert!(error.contains("local copy of bundle not found"), "{error}");
    assert_eq!(beta.bundle_connections(), 0.0);
    let entry = format!("workload svca {} 1h beta.com", alpha.id());
    let error = alpha.spire.ask(&entry).unwrap_err();
    assert_eq!(
        error,
        "unable to find federated bundle \"spiffe://beta.com\""
    );

    world.join();
    let first = alpha.spire.known(&beta.spire);
    let next = beta.spire.tell("prepare");
    alpha.spire.refresh(&beta.spire).unwrap();
    assert_eq!(alpha.spire.known(&beta.spire), [first, vec![next]].concat());

    let _b = world.serve(beta);
    let a = world.caller(alpha, Connections::Pooled);
    let answer = get(a.address);
    assert_eq!(answer.status, 200, "{answer:?}");

    // SPIRE's client leaves each connection open for 90 s: so long there is no line.
    wait_until("fetches are seen as open connections", || {
        beta.bundle_connections() > 0.0
    });
    let World { alpha, beta, .. } = world;
    drop(alpha.spire);
    let line = beta.bundle_line();
    assert_whole(&line);
    assert_eq!(line.alpn.as_deref(), Some("h2,http/1.1"));
    assert_eq!(line.endpoint, Some(beta.spire.endpoint));
}

/// A mistake: how alpha federates with beta, and what beta's gateway has in its config.
struct Mistake {
    name: &'static str,
    /// The URL, in place of the right one.
    url: fn(&World) -> String,
    /// The last word of `federate`.
    profile: &'static str,
    config: fn(&str) -> String,
    /// Part of SPIRE's own words.
    said: &'static str,
    outcome: &'static str,
    ended_by: &'static str,
}

const SERVER: &str = "spiffe://beta.com/spire/server";

fn right_url(world: &World) -> String {
    world.beta.bundle_url()
}

fn with_another_name(world: &World) -> String {
    let name = "bundles.spire.beta.com";
    world.dns.set(name, &[world.beta.gateway.address().ip()]);
    let url = right_url(world);
    url.replace(&world.beta.bundle_name(), name)
}

fn with_address(world: &World) -> String {
    format!("https://{}", world.beta.gateway.address())
}

fn istio_only(config: &str) -> String {
    config.replace(ROUTE, "alpn: istio, upstream: spire")
}

fn other_name(config: &str) -> String {
    config.replace("sni: spire.bundles", "sni: other.bundles")
}

fn nobody(config: &str) -> String {
    leading(config, "spire", &refusing_address().to_string())
}

const MISTAKES: [Mistake; 8] = [
    Mistake {
        name: "the SPIFFE ID of another server",
        url: right_url,
        profile: "spiffe://beta.com/spire/other",
        config: str::to_owned,
        said: "unexpected ID \"spiffe://beta.com/spire/server\"",
        outcome: "handshake_refused",
        ended_by: "downstream",
    },
    Mistake {
        name: "the SPIFFE ID of the own server",
        url: right_url,
        profile: "spiffe://alpha.com/spire/server",
        config: str::to_owned,
        said: "no X.509 bundle found for trust domain: \"beta.com\"",
        outcome: "handshake_refused",
        ended_by: "downstream",
    },
    Mistake {
        name: "another name in the URL",
        url: with_another_name,
        profile: SERVER,
        config: str::to_owned,
        said: "tls: unrecognized name",
        outcome: "no_route",
        ended_by: "gateway",
    },
    Mistake {
        name: "https_web in place of https_spiffe",
        url: right_url,
        profile: "web",
        config: str::to_owned,
        said: "maybe use https_spiffe instead of https_web",
        outcome: "handshake_refused",
        ended_by: "downstream",
    },
    Mistake {
        name: "an address in place of the name",
        url: with_address,
        profile: SERVER,
        config: str::to_owned,
        said: "tls: ",
        outcome: "no_sni",
        ended_by: "gateway",
    },
    Mistake {
        name: "a gateway without the route",
        url: right_url,
        profile: SERVER,
        config: other_name,
        said: "tls: unrecognized name",
        outcome: "no_route",
        ended_by: "gateway",
    },
    Mistake {
        name: "a route that demands Istio's ALPN",
        url: right_url,
        profile: SERVER,
        config: istio_only,
        said: "tls: no application protocol",
        outcome: "alpn_refused",
        ended_by: "gateway",
    },
    Mistake {
        name: "a SPIRE that does not run",
        url: right_url,
        profile: SERVER,
        config: nobody,
        said: "EOF",
        outcome: "connect_refused",
        ended_by: "gateway",
    },
];

/// SPIRE's log has the cause, and the gateway's line the side.
#[test]
fn each_mistake_of_the_channel_is_told_by_both_ends() {
    for mistake in MISTAKES {
        let world = World::altered(mistake.config);
        let (alpha, beta) = (&world.alpha.spire, &world.beta.spire);
        alpha.set_bundle_of(beta);
        let url = (mistake.url)(&world);
        alpha.tell(&format!("federate beta.com {url} {}", mistake.profile));
        let error = alpha.refresh(beta).expect_err(mistake.name);
        assert!(error.contains(mistake.said), "{}: {error}", mistake.name);
        let line = world.beta.gateway.record();
        assert_eq!(line.outcome, mistake.outcome, "{}: {line:?}", mistake.name);
        let ended_by = line.ended_by.as_deref();
        assert_eq!(
            ended_by,
            Some(mistake.ended_by),
            "{}: {line:?}",
            mistake.name
        );
    }
}

#[test]
fn an_endpoint_of_another_authority_is_not_believed() {
    let dns = ClusterDns::start();
    for (trust_domain, said) in [
        // A namesake, and the own cluster's.
        ("beta.com", "unknown authority"),
        ("alpha.com", "no X.509 bundle found for trust domain"),
    ] {
        let other = Spire::start(trust_domain, dns.address());
        let world = World::altered(|config| leading(config, "spire", &other.endpoint.to_string()));
        world.join();
        let (alpha, beta) = (&world.alpha.spire, &world.beta);
        let before = alpha.known(&beta.spire);
        let error = alpha.refresh(&beta.spire).unwrap_err();
        assert!(error.contains(said), "{error}");
        assert_refused(&beta.bundle_line(), "downstream");
        assert_eq!(alpha.known(&beta.spire), before);
    }
}
