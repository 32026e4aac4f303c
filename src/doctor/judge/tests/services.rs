//! Mistakes of services.

use std::collections::BTreeSet;

use super::world::{Authority, FILE, HOUR, NOW, World, finds, finds_at_least, shown};
use crate::doctor::certificate::ShownChain;
use crate::doctor::file::Federation;
use crate::doctor::seen::TlsAnswer;

#[test]
fn the_answer_for_a_service_names_what_is_not_there() {
    for (answer, control, cause, says) in [
        (
            TlsAnswer::Alert(112),
            TlsAnswer::Alert(112),
            "no_route",
            "no route for outbound_.80_._.svcb.apps.svc.cluster.local",
        ),
        (
            TlsAnswer::Alert(120),
            TlsAnswer::Alert(112),
            "alpn",
            "alpn: istio",
        ),
        (
            TlsAnswer::Closed,
            TlsAnswer::Alert(112),
            "connect",
            "is a pod ready? A sidecar without an SVID does not listen",
        ),
        (
            TlsAnswer::Closed,
            TlsAnswer::Reset,
            "one_of",
            "strait explain --sni outbound_.80_._.svcb",
        ),
        (
            TlsAnswer::NotTls(b"HTTP/1.1 400".to_vec()),
            TlsAnswer::Alert(112),
            "not_tls",
            "no sidecar",
        ),
        (
            TlsAnswer::Silent,
            TlsAnswer::Alert(112),
            "silent",
            "look at the pod",
        ),
    ] {
        let what = format!("{answer:?} where a name without a route gets {control:?}");
        let change = |world: &mut World| {
            world.beta().mesh_control = control;
            world.service().mesh = answer;
        };
        let world = finds(
            &what,
            change,
            &[("beta.com", &format!("service-route {cause}"))],
        );
        let finding = world.finding("service-route");
        assert!(finding.contains(says), "{what}: {finding}");
    }
}

#[test]
fn the_services_certificate_tells_its_state() {
    const ID: &str = "spiffe://beta.com/ns/apps/sa/svcb";
    let with = |world: &mut World, chain: ShownChain| {
        let TlsAnswer::Shown(server) = &mut world.service().mesh else {
            panic!("beta's service is not there");
        };
        server.chain = chain;
    };
    let expired = |world: &mut World| {
        let chain = world.beta.leaf_between(ID, NOW - HOUR, NOW - 7);
        with(world, chain);
    };
    let world = finds(
        "an expired SVID",
        expired,
        &[("beta.com", "service-expiry expired")],
    );
    assert!(world.finding("service-expiry").contains("expired 7 s ago"));
    let early = |world: &mut World| {
        let chain = world.beta.leaf_between(ID, NOW + 90, NOW + HOUR);
        with(world, chain);
    };
    finds(
        "an SVID of the future",
        early,
        &[("beta.com", "service-expiry not_yet_valid")],
    );
    let account = |world: &mut World| {
        let chain = world.beta.leaf("spiffe://beta.com/ns/apps/sa/default");
        with(world, chain);
    };
    let world = finds(
        "another account",
        account,
        &[("beta.com", "service-identity account")],
    );
    assert!(
        world
            .finding("service-identity")
            .contains("sa/default, subjectAltNames say spiffe://beta.com/ns/apps/sa/svcb")
    );
    let elsewhere = |world: &mut World| {
        let chain = world.alpha.leaf("spiffe://alpha.com/ns/apps/sa/svcb");
        with(world, chain);
    };
    let world = finds_at_least(
        elsewhere,
        ("beta.com", "service-identity other_trust_domain"),
    );
    let finding = world.finding("service-identity");
    assert!(
        !finding.contains("subjectAltNames"),
        "it would make callers accept the other side: {finding}"
    );
    let rogue = |world: &mut World| {
        // It has the name of the real one.
        let rogue = Authority::new("beta.com", "2");
        with(world, rogue.leaf(ID));
    };
    let world = finds_at_least(rogue, ("beta.com", "service-authority other_authority"));
    assert!(
        world
            .finding("service-authority")
            .contains("its own bundle does not have")
    );
    let simple = |world: &mut World| {
        let TlsAnswer::Shown(server) = &mut world.service().mesh else {
            panic!("beta's service is not there");
        };
        server.trusts = None;
    };
    finds(
        "no request",
        simple,
        &[("beta.com", "service-mtls no_request")],
    );
}

#[test]
fn a_route_that_lets_any_client_to_a_sidecar_is_a_danger() {
    let open = |world: &mut World| {
        let chain = world.beta.leaf("spiffe://beta.com/ns/apps/sa/svcb");
        world.service().open = shown(chain, None, "http/1.1");
    };
    let world = finds("any ALPN", open, &[("beta.com", "service-alpn open")]);
    assert!(world.finding("service-alpn").contains("DANGER"));
}

#[test]
fn subsets_of_a_service_are_told_apart() {
    let mut world = World::healthy();
    let one = "{ host: svcb.apps.svc.cluster.local, port: 80,";
    let two = format!(
        "{one} subset: v1 }}
      - {{ host: svcb.apps.svc.cluster.local, port: 80, subset: v2,"
    );
    world.federation = Federation::parse(FILE.replace(one, &two).as_bytes(), "test").unwrap();
    let first = world.service().clone();
    world.beta().services.push(first);
    world.service().mesh = TlsAnswer::Alert(112);
    let judged = world.judged();
    let mut keys = BTreeSet::new();
    for check in &judged {
        let key = (&check.group, check.check, &check.title);
        assert!(keys.insert(key), "two checks are {key:?}");
    }
    let failed = judged.iter().find(|check| check.cause.is_some()).unwrap();
    assert_eq!(
        failed.group,
        "beta.com: the service svcb.apps.svc.cluster.local:80, subset v1"
    );
    let remedy = failed.remedy.as_ref().unwrap();
    assert!(
        remedy.contains(":80, subsets: [v1], alpn: istio"),
        "{remedy}"
    );
}
