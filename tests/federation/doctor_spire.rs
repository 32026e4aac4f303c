//! Mistakes of a federation, made with SPIRE's own code and real sidecars: `strait doctor` must name each and no other, and
//! no healthy world may get a cross ([`super::doctor_healthy`]). [`super::doctor_between`] has the mistakes between the
//! clusters and in their clocks, [`super::doctor_pods`] those of a pod's TLS, [`super::doctor`] those that need a peer
//! that lies.

use std::net::SocketAddr;

use crate::doctor::{Said, doctor};
use crate::federation::app::App;
use crate::federation::names::pod_address;
use crate::federation::sidecar::Sidecar;
use crate::federation::spire::{AN_HOUR, Spire};
use crate::federation::world::{ALPHAS_ENDPOINT, Side, World, leading};
use crate::support::server::refusing_address;

/// The federation file of a world, as its objects would say it.
pub fn file_of(world: &World) -> String {
    let side = |side: &Side| {
        format!(
            "  - trust_domain: {}
    gateway: '{}'
    bundle_endpoint: {{ url: '{}', profile: https_spiffe, spiffe_id: '{}' }}
    services:
      - {{ host: {}.apps.svc.cluster.local, port: 80, spiffe_id: '{}' }}
",
            side.spire.trust_domain,
            side.gateway.address(),
            side.bundle_url(),
            side.spire.server(),
            side.service,
            side.id(),
        )
    };
    format!("sides:\n{}{}", side(&world.alpha), side(&world.beta))
}

pub fn examine(file: &str) -> Said {
    Said::of(&doctor(file, &["-o", "json"]))
}

/// The doctor names these faults and no other: each is a side, a check and a cause.
#[track_caller]
pub fn finds(mistake: &str, file: &str, expected: &[&str]) {
    let said = examine(file);
    let faults = said.faults();
    let found: Vec<&str> = faults.keys().map(String::as_str).collect();
    assert_eq!(found, expected, "{mistake}: {:#}", said.report);
}

/// Both sidecars of a world in which all is well.
pub fn serve_both(world: &World) -> [Sidecar; 2] {
    [world.serve(&world.alpha), world.serve(&world.beta)]
}

#[test]
fn two_sides_get_no_cross_at_any_step_of_a_rotation_in_the_right_order() {
    let world = World::start();
    let (alpha, beta) = (&world.alpha, &world.beta);
    let [a, b] = serve_both(&world);
    let file = file_of(&world);
    finds("nothing yet", &file, &[]);
    b.until_taken(|| beta.spire.tell("prepare"));
    // Before the other side's poll: a warning not to go on.
    finds("prepared", &file, &["alpha.com trust? stale"]);
    let fetch = || alpha.spire.refresh(&beta.spire).unwrap();
    a.until_taken(fetch);
    finds("prepared and fetched", &file, &[]);
    beta.spire.tell("activate");
    fetch();
    finds("activated", &file, &[]);
    b.until_taken(|| beta.spire.tell("taint"));
    fetch();
    finds("tainted", &file, &[]);
    b.until_taken(|| beta.spire.tell("revoke"));
    a.until_taken(fetch);
    finds("revoked", &file, &[]);
}

#[test]
fn an_authority_that_is_used_before_the_other_side_has_it() {
    let world = World::start();
    let [a, b] = serve_both(&world);
    let (alpha, beta) = (&world.alpha.spire, &world.beta.spire);
    b.until_taken(|| beta.tell("prepare"));
    beta.tell("activate");
    let file = file_of(&world);
    b.until_taken(|| beta.tell("taint"));
    finds(
        "tainted too early",
        &file,
        &["alpha.com trust stale_for_good"],
    );
    let said = examine(&file).faults();
    let words = &said["alpha.com trust stale_for_good"];
    assert!(words.contains("Calls to beta.com fail now"), "{words}");
    assert!(words.contains("bundle set"), "{words}");
    a.until_taken(|| alpha.set_bundle_of(beta));
    finds("set by hand", &file, &[]);
}

#[test]
fn a_gateway_that_does_not_lead_to_the_bundle_endpoint() {
    const ANY: &str = "alpn: any, upstream: spire";
    for (mistake, alter, expected) in [
        (
            "no route",
            (|config| config.replace("sni: spire.bundles", "sni: other.bundles"))
                as fn(&str) -> String,
            "beta.com bundle-route no_route",
        ),
        (
            "Istio's ALPN",
            |config| config.replace(ANY, "alpn: istio, upstream: spire"),
            "beta.com bundle-route alpn",
        ),
        (
            "the wrong port",
            |config| leading(config, "spire", &refusing_address().to_string()),
            "beta.com bundle-route connect",
        ),
    ] {
        let world = World::altered(alter);
        world.join();
        let _sidecars = serve_both(&world);
        finds(mistake, &file_of(&world), &[expected]);
    }
}

#[test]
fn an_upstream_that_is_not_the_bundle_endpoint() {
    let app = App::start("app");
    let api = SocketAddr::new(pod_address(), 8081);
    for (mistake, to, expected) in [
        (
            "plain HTTP",
            app.address.to_string(),
            &["beta.com bundle-route not_tls"][..],
        ),
        (
            "SPIRE's API",
            api.to_string(),
            &["beta.com bundle-document api"],
        ),
        (
            "alpha's SPIRE",
            ALPHAS_ENDPOINT.to_owned(),
            &[
                "beta.com bundle-identity other_trust_domain",
                "beta.com bundle-roots other_trust_domain",
                "beta.com service-authority other_authority",
            ],
        ),
    ] {
        let arguments = ["-api", &api.to_string()];
        let world = World::planned("beta.com", &[], &arguments, |config| {
            leading(config, "spire", &to)
        });
        world.join();
        let _sidecars = serve_both(&world);
        finds(mistake, &file_of(&world), expected);
    }
}

#[test]
fn a_spire_that_is_frozen_or_gone() {
    let world = World::start();
    let _sidecars = serve_both(&world);
    let file = file_of(&world);
    world.beta.spire.freeze();
    finds("frozen", &file, &["beta.com bundle-route silent"]);
    world.beta.spire.kill();
    finds("gone", &file, &["beta.com bundle-route connect"]);
}

#[test]
fn objects_that_do_not_fit_the_bundle_endpoint() {
    let world = World::start();
    let _sidecars = serve_both(&world);
    let right = file_of(&world);
    let port = world.beta.gateway.address().port();
    let url = world.beta.bundle_url();
    for (mistake, old, new, expected) in [
        (
            "another SPIFFE ID",
            "spiffe://beta.com/spire/server".to_owned(),
            "spiffe://beta.com/spire-server".to_owned(),
            &["beta.com bundle-identity endpoint_id"][..],
        ),
        (
            "a path",
            url.clone(),
            format!("{url}/bundle"),
            &["beta.com bundle-document path", "beta.com bundle-url path"],
        ),
        (
            "an address",
            url.clone(),
            format!("https://127.0.0.1:{port}"),
            &["beta.com bundle-url address"],
        ),
        (
            "SPIRE's own port",
            url.clone(),
            "https://spire.bundles.beta.com:8443".to_owned(),
            &["beta.com bundle-url port"],
        ),
        (
            "plain HTTP",
            url.clone(),
            url.replace("https", "http"),
            &["beta.com bundle-url scheme"],
        ),
    ] {
        finds(mistake, &right.replace(&old, &new), expected);
    }
    let web = right.replacen("https_spiffe", "https_web", 2);
    let web = web.replacen("https_web", "https_spiffe", 1);
    finds("https_web", &web, &["beta.com bundle-identity profile"]);
}

#[test]
fn an_endpoint_with_a_certificate_of_the_web() {
    let arguments = ["-web", "spire.bundles.beta.com"];
    let world = World::planned("beta.com", &[], &arguments, str::to_owned);
    world.join();
    let _sidecars = serve_both(&world);
    let right = file_of(&world);
    finds(
        "https_spiffe",
        &right,
        &["beta.com bundle-identity profile"],
    );
}

#[test]
fn a_sidecar_without_the_other_sides_bundle() {
    const EXPECTED: &[&str] = &["alpha.com trust no_bundle"];
    // The first bundle was never brought.
    let world = World::apart();
    let (alpha, beta) = (&world.alpha, &world.beta);
    beta.spire.set_bundle_of(&alpha.spire);
    let alone = || alpha.spire.workload("server", &alpha.id(), AN_HOUR, &[]);
    let a = world.inbound(alpha).start_by_agent(&alone());
    let _b = world.serve(beta);
    let file = file_of(&world);
    finds("no first bundle", &file, EXPECTED);

    // It was, and the entry does not federate.
    alpha.spire.set_bundle_of(&beta.spire);
    a.until_taken(alone);
    finds("no federatesWith", &file, EXPECTED);
    a.until_both_taken(|| world.workload(alpha, "server", AN_HOUR));
    finds("mended", &file, &[]);

    // SDS has SPIRE's default names.
    let world = World::planned("beta.com", &["-sds-defaults"], &[], str::to_owned);
    world.join();
    let _sidecars = serve_both(&world);
    finds("SDS names", &file_of(&world), EXPECTED);
}

#[test]
fn svids_that_are_not_as_callers_expect() {
    let world = World::start();
    let (alpha, beta) = (&world.alpha, &world.beta);
    let [a, b] = serve_both(&world);
    let file = file_of(&world);

    b.until_taken(|| world.workload(beta, "server", "-5s"));
    finds(
        "svcb's expired",
        &file,
        &["beta.com service-expiry expired"],
    );
    let default = beta.spire.account("default");
    let as_default = || {
        beta.spire
            .workload("server", &default, AN_HOUR, &[&alpha.spire])
    };
    b.until_taken(as_default);
    finds(
        "another account",
        &file,
        &["beta.com service-identity account"],
    );
    b.until_taken(|| world.workload(beta, "server", AN_HOUR));
    // The caller's: its service shows it at its own gateway.
    a.until_taken(|| world.workload(alpha, "server", "-5s"));
    finds(
        "svca's expired",
        &file,
        &["alpha.com service-expiry expired"],
    );
}

#[test]
fn a_pod_of_another_spire_of_the_same_name() {
    let world = World::start();
    let (alpha, beta) = (&world.alpha, &world.beta);
    let rogue = Spire::start("beta.com", world.dns.address());
    rogue.set_bundle_of(&alpha.spire);
    let socket = rogue.workload("server", &beta.id(), AN_HOUR, &[&alpha.spire]);
    let _a = world.serve(alpha);
    let _b = world.inbound(beta).start_by_agent(&socket);
    let expected = ["beta.com service-authority other_authority"];
    finds("a rogue SPIRE", &file_of(&world), &expected);
}

#[test]
fn a_service_that_is_not_there_or_speaks_no_tls() {
    let world = World::start();
    let (alpha, beta) = (&world.alpha, &world.beta);
    let _a = world.serve(alpha);
    let file = file_of(&world);
    const NOBODY: &[&str] = &["beta.com service-route connect"];
    finds("no pod", &file, NOBODY);
    let waits = world
        .inbound(beta)
        .start_without_svid(&beta.spire.socket("none"));
    finds("a sidecar without SVID", &file, NOBODY);
    drop(waits);
    let b = world.serve(beta);
    b.envoy.freeze();
    finds(
        "a frozen sidecar",
        &file,
        &["beta.com service-route silent"],
    );

    let app = App::start("app");
    for (mistake, alter, expected) in [
        (
            "no sidecar",
            Box::new(|config: &str| leading(config, "svcb", &app.address.to_string()))
                as Box<dyn Fn(&str) -> String>,
            "beta.com service-route not_tls",
        ),
        (
            "another port",
            Box::new(|config: &str| config.replace(".local:80", ".local:8080")),
            "beta.com service-route no_route",
        ),
        (
            "no route",
            Box::new(|config: &str| config.replace("'svcb.apps", "'other.apps")),
            "beta.com service-route no_route",
        ),
        (
            "any ALPN",
            Box::new(|config: &str| config.replace("alpn: istio", "alpn: any")),
            "beta.com service-alpn open",
        ),
    ] {
        let world = World::altered(alter);
        world.join();
        let _sidecars = serve_both(&world);
        finds(mistake, &file_of(&world), &[expected]);
    }
}

#[test]
fn a_subset_that_has_no_route() {
    let world = World::start();
    let _sidecars = serve_both(&world);
    let whole = "svcb.apps.svc.cluster.local, port: 80,";
    let file = file_of(&world).replace(whole, &format!("{whole} subset: v1,"));
    finds("a subset", &file, &["beta.com service-route no_route"]);
}

#[test]
fn two_clusters_of_one_trust_domain() {
    let world = World::planned("alpha.com", &[], &[], str::to_owned);
    let alone = |side: &Side| side.spire.workload("server", &side.id(), AN_HOUR, &[]);
    let [_a, _b] =
        [&world.alpha, &world.beta].map(|side| world.inbound(side).start_by_agent(&alone(side)));
    let said = examine(&file_of(&world)).faults();
    assert!(
        said.contains_key("both one-authority two_authorities"),
        "{said:#?}"
    );
}

#[test]
fn an_authority_near_its_end_with_none_prepared() {
    for (age, expected) in [
        ("15h", "beta.com root-lifetime? unprepared"),
        ("21h", "beta.com root-lifetime ending"),
    ] {
        let world = World::planned("beta.com", &[], &["-ca-age", age], str::to_owned);
        world.join();
        let [a, b] = serve_both(&world);
        let file = file_of(&world);
        finds(age, &file, &[expected]);
        b.until_taken(|| world.beta.spire.tell("prepare"));
        a.until_taken(|| world.alpha.spire.refresh(&world.beta.spire).unwrap());
        finds("prepared", &file, &[]);
    }
}
