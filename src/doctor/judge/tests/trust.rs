//! Mistakes of trust between the sides.

use super::world::{Authority, FILE, World, finds, finds_at_least, served, shown};
use crate::doctor::checks::DoctorState;
use crate::doctor::file::Federation;
use crate::doctor::seen::{BundleAnswer, TlsAnswer};

#[test]
fn the_ca_names_of_a_sidecar_tell_what_it_trusts() {
    let missing = |world: &mut World| {
        let own = world.alpha.name();
        world.alpha_trusts(&[own]);
    };
    let world = finds("no bundle", missing, &[("alpha.com", "trust no_bundle")]);
    assert!(
        world
            .finding("trust")
            .contains("do not have beta.com's bundle")
    );
    let unseen = |world: &mut World| {
        missing(world);
        world.beta().document = BundleAnswer::Silent;
    };
    finds(
        "no bundle here nor there",
        unseen,
        &[
            ("beta.com", "bundle-document silent"),
            ("alpha.com", "trust no_bundle"),
        ],
    );

    let prepared = |world: &mut World| {
        let next = Authority::new("beta.com", "3");
        let document = served(&[&world.beta, &next]);
        world.beta().document = document;
    };
    let world = finds(
        "a prepared root",
        prepared,
        &[("alpha.com", "trust? stale")],
    );
    let finding = world.finding("trust");
    assert!(
        finding.contains("within 75 s; activate no prepared authority of beta.com"),
        "{finding}"
    );

    let activated = |world: &mut World| {
        let next = Authority::new("beta.com", "3");
        let (document, bundle) = (
            served(&[&world.beta, &next]),
            shown(next.leaf("spiffe://beta.com/spire/server"), None, "h2"),
        );
        (world.beta().document, world.beta().bundle) = (document, bundle);
    };
    let world = finds(
        "an activated root",
        activated,
        &[("alpha.com", "trust stale_for_good")],
    );
    assert!(
        world
            .finding("trust")
            .contains("bundle set -id spiffe://beta.com")
    );

    let calls = |world: &mut World| {
        prepared(world);
        let TlsAnswer::Shown(server) = &mut world.service().mesh else {
            panic!("beta's service is not there");
        };
        let next = Authority::new("beta.com", "4");
        server.chain = next.leaf("spiffe://beta.com/ns/apps/sa/svcb");
        server.trusts.as_mut().unwrap().push(next.name());
        let document = served(&[&world.beta, &next]);
        world.beta().document = document;
    };
    let world = finds("calls fail", calls, &[("alpha.com", "trust stale")]);
    assert!(
        world
            .finding("trust")
            .contains("Calls to beta.com fail now")
    );

    let nameless = |world: &mut World| world.alpha_trusts(&[]);
    let world = finds("a sidecar that names no CA", nameless, &[]);
    let untold = world
        .judged()
        .into_iter()
        .find(|check| check.state == DoctorState::NotTold);
    assert_eq!(untold.unwrap().check, "trust");
}

#[test]
fn names_do_not_tell_roots_of_one_name_apart() {
    let renewed = |world: &mut World| {
        let next = Authority::new("beta.com", "2");
        assert!(next.name() == world.beta.name());
        let document = served(&[&world.beta, &next]);
        world.beta().document = document;
    };
    let world = finds("a new key under the same name", renewed, &[]);
    let judged = world.judged();
    let trust = judged
        .iter()
        .find(|check| check.check == "trust" && check.group.starts_with("alpha.com"));
    let trust = trust.unwrap();
    assert_eq!(trust.state, DoctorState::NotTold, "{trust:?}");
}

#[test]
fn two_clusters_of_one_name_are_named() {
    let twins = |world: &mut World| {
        let text = FILE.replace("beta.com", "alpha.com");
        world.federation = Federation::parse(text.as_bytes(), "test").unwrap();
        let twin = Authority::new("alpha.com", "9");
        let bundle = shown(twin.leaf("spiffe://alpha.com/spire/server"), None, "h2");
        let document = served(&[&twin]);
        (world.beta().bundle, world.beta().document) = (bundle, document);
    };
    let world = finds_at_least(twins, ("both", "one-authority two_authorities"));
    assert!(
        world
            .finding("one-authority")
            .contains("call themselves spiffe://alpha.com")
    );
}
