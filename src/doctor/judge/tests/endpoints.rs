//! Mistakes of bundle endpoints.

use rcgen::SanType;

use super::world::{
    Authority, DAY, HOUR, NOW, World, finds, finds_at_least, params, served, shown,
};
use crate::doctor::bundle::ServedBundle;
use crate::doctor::file::BundleProfile;
use crate::doctor::seen::{BundleAnswer, ClockSeen, SideSeen, TlsAnswer};

/// The answers to the hello for the bundle endpoint, with the cause that each gets.
#[test]
fn the_answer_for_the_bundle_endpoint_names_what_its_route_lacks() {
    for (answer, control, cause, says) in [
        (
            TlsAnswer::Alert(112),
            TlsAnswer::Alert(112),
            "no_route",
            "add the route { sni: spire.bundles.beta.com, alpn: any, upstream: spire }",
        ),
        (
            TlsAnswer::Alert(120),
            TlsAnswer::Alert(112),
            "alpn",
            "alpn: any",
        ),
        (
            TlsAnswer::Alert(80),
            TlsAnswer::Alert(112),
            "connect",
            "cannot connect to SPIRE's bundle endpoint",
        ),
        (
            TlsAnswer::Closed,
            TlsAnswer::Alert(112),
            "connect",
            "cannot connect to SPIRE's bundle endpoint",
        ),
        (
            TlsAnswer::Reset,
            TlsAnswer::Alert(112),
            "connect",
            "the connection is reset",
        ),
        (
            TlsAnswer::Closed,
            TlsAnswer::Closed,
            "one_of",
            "no route for spire.bundles.beta.com, a route that takes other",
        ),
        (
            TlsAnswer::NotTls(b"HTTP/1.1 400".to_vec()),
            TlsAnswer::Alert(112),
            "not_tls",
            "speaks no TLS: it begins with \"HTTP/1.1 400\"",
        ),
        (
            TlsAnswer::Silent,
            TlsAnswer::Alert(112),
            "silent",
            "says nothing",
        ),
        (
            TlsAnswer::Alert(40),
            TlsAnswer::Alert(112),
            "alert",
            "handshake_failure (40)",
        ),
        (
            TlsAnswer::Broken("x\x1b".to_owned()),
            TlsAnswer::Alert(112),
            "broken",
            "x\\u{1b}",
        ),
    ] {
        let what = format!("{answer:?} where a name without a route gets {control:?}");
        let change = |world: &mut World| {
            let beta = world.beta();
            (beta.bundle, beta.control, beta.document) = (answer, control, BundleAnswer::NotAsked);
        };
        let world = finds(
            &what,
            change,
            &[("beta.com", &format!("bundle-route {cause}"))],
        );
        let finding = world.finding("bundle-route");
        assert!(finding.contains(says), "{what}: {finding}");
    }
}

#[test]
fn the_document_tells_what_listens_there() {
    let no_bundle = || Err("it has no x509-svid key".to_owned());
    for (document, cause) in [
        (BundleAnswer::NoHttp, "api"),
        (BundleAnswer::Status(415, None), "api"),
        (BundleAnswer::NotAsked, "api"),
        (BundleAnswer::Silent, "silent"),
        (BundleAnswer::TooLarge, "too_large"),
        (BundleAnswer::Status(503, None), "status"),
        (BundleAnswer::Served(no_bundle(), None), "no_bundle"),
    ] {
        let what = format!("{document:?}");
        let change = |world: &mut World| world.beta().document = document;
        finds(
            &what,
            change,
            &[("beta.com", &format!("bundle-document {cause}"))],
        );
    }
}

#[test]
fn a_url_that_spire_cannot_use_is_named() {
    for (url, cause) in [
        ("http://spire.bundles.beta.com:15443", "scheme"),
        ("https://192.0.2.7:15443", "address"),
        ("https://spire.bundles.beta.com:8443", "port"),
        ("https://spire.bundles.beta.com", "port"),
    ] {
        let change = |world: &mut World| world.set_url(url);
        finds(url, change, &[("beta.com", &format!("bundle-url {cause}"))]);
    }
    let path = |world: &mut World| {
        world.set_url("https://spire.bundles.beta.com:15443/bundle");
        world.beta().document = BundleAnswer::Status(404, None);
    };
    finds(
        "a path",
        path,
        &[
            ("beta.com", "bundle-url path"),
            ("beta.com", "bundle-document path"),
        ],
    );
}

#[test]
fn the_endpoints_certificate_tells_whose_it_is() {
    let alphas = |world: &mut World| {
        let alpha = &world.alpha;
        let (bundle, document) = (
            shown(alpha.leaf("spiffe://alpha.com/spire/server"), None, "h2"),
            served(&[alpha]),
        );
        (world.beta().bundle, world.beta().document) = (bundle, document);
    };
    let mut world = World::healthy();
    alphas(&mut world);
    let faults = world.faults();
    assert_eq!(
        faults[0],
        (
            "beta.com".to_owned(),
            "bundle-identity other_trust_domain".to_owned()
        )
    );
    assert!(
        world
            .finding("bundle-identity")
            .contains("the wrong cluster's SPIRE")
    );
    assert!(faults.contains(&(
        "beta.com".to_owned(),
        "bundle-roots other_trust_domain".to_owned()
    )));

    let id =
        |world: &mut World| world.facts().spiffe_id = Some("spiffe://beta.com/spire-server".into());
    let world = finds(
        "another endpoint ID",
        id,
        &[("beta.com", "bundle-identity endpoint_id")],
    );
    assert!(
        world
            .finding("bundle-identity")
            .contains("write endpointSPIFFEID: spiffe://beta.com/spire/server")
    );

    let web = |world: &mut World| world.facts().profile = BundleProfile::HttpsWeb;
    finds(
        "an SVID for https_web",
        web,
        &[("beta.com", "bundle-identity profile")],
    );

    let web_certificate = |name: &str, world: &mut World| {
        let mut params = params("spiffe://beta.com/x", NOW - 60, NOW + HOUR);
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
        let chain = world.beta.sign(&params);
        world.beta().bundle = shown(chain, None, "h2");
    };
    let svid = |world: &mut World| web_certificate("spire.bundles.beta.com", world);
    finds(
        "a name for https_spiffe",
        svid,
        &[("beta.com", "bundle-identity profile")],
    );
    for (name, faults) in [
        ("spire.bundles.beta.com", &[][..]),
        ("*.bundles.beta.com", &[]),
        ("beta.com", &[("beta.com", "bundle-identity dns_name")]),
    ] {
        let change = |world: &mut World| {
            web_certificate(name, world);
            world.facts().profile = BundleProfile::HttpsWeb;
        };
        finds(name, change, faults);
    }
}

#[test]
fn a_clock_that_differs_is_named_and_this_machines_too() {
    let skewed = |side: &mut SideSeen, by: i64| {
        let BundleAnswer::Served(_, clock) = &mut side.document else {
            panic!("no bundle is served");
        };
        *clock = Some(ClockSeen {
            theirs: NOW + by,
            ours: NOW,
        });
    };
    let world = finds(
        "one",
        |world| skewed(world.beta(), -45),
        &[("beta.com", "clock skew")],
    );
    assert!(
        world.finding("clock").contains("45 s behind"),
        "{}",
        world.finding("clock")
    );
    let both = |world: &mut World| world.seen.iter_mut().for_each(|side| skewed(side, 600));
    let world = finds(
        "both",
        both,
        &[("alpha.com", "clock skew"), ("beta.com", "clock skew")],
    );
    assert!(
        world
            .finding("clock")
            .contains("set the clock of this machine")
    );
}

#[test]
fn a_root_near_its_end_with_no_other_prepared_is_named() {
    for (left, hint, fault) in [
        (13 * HOUR, 300, None),
        (9 * HOUR, 300, Some("root-lifetime? unprepared")),
        (3 * HOUR, 300, Some("root-lifetime ending")),
        (-60, 300, Some("root-lifetime ended")),
        (13 * HOUR, 86_400, Some("root-lifetime? slow_polls")),
    ] {
        let aged = |world: &mut World| {
            let root = Authority::between("beta.com", "2", NOW + left - DAY, NOW + left);
            world.beta().document = BundleAnswer::Served(
                Ok(ServedBundle {
                    roots: vec![root.root()],
                    refresh_hint: Some(hint),
                }),
                Some(ClockSeen {
                    theirs: NOW,
                    ours: NOW,
                }),
            );
        };
        let mut world = World::healthy();
        aged(&mut world);
        let faults = world.faults();
        let of_lifetime: Vec<_> = faults
            .iter()
            .filter(|(_, fault)| fault.starts_with("root-lifetime"))
            .collect();
        let expected: Vec<_> = fault
            .into_iter()
            .map(|fault| ("beta.com".to_owned(), fault.to_owned()))
            .collect();
        assert_eq!(
            of_lifetime,
            expected.iter().collect::<Vec<_>>(),
            "{left} {hint}"
        );
    }
}

#[test]
fn an_endpoint_whose_svid_its_own_bundle_does_not_know_is_named() {
    let tainted = |world: &mut World| {
        let old = Authority::new("beta.com", "0");
        world.beta().bundle = shown(old.leaf("spiffe://beta.com/spire/server"), None, "h2");
    };
    finds_at_least(tainted, ("beta.com", "bundle-authority other_authority"));
    let expired = |world: &mut World| {
        let chain = world
            .beta
            .leaf_between("spiffe://beta.com/spire/server", NOW - HOUR, NOW - 60);
        world.beta().bundle = shown(chain, None, "h2");
    };
    finds(
        "an old endpoint",
        expired,
        &[("beta.com", "bundle-certificate expired")],
    );
}
