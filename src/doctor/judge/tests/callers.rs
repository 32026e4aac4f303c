//! Mistakes that only a caller meets.

use super::world::{DAY, FILE, HOUR, NOW, World, finds};
use crate::doctor::checks::DoctorState;
use crate::doctor::file::Federation;
use crate::doctor::identity::{CallerSvid, DoctorCallers, SvidPem};
use crate::doctor::seen::CallAnswer;

const SVCA: &str = "spiffe://alpha.com/ns/apps/sa/svca";
const FRESH: (i64, i64) = (NOW - HOUR, NOW + HOUR);
const DENIED: CallAnswer = CallAnswer::Answered {
    status: 403,
    denied: true,
};
const OK: CallAnswer = CallAnswer::Answered {
    status: 200,
    denied: false,
};
/// certificate_unknown.
const REFUSED: CallAnswer = CallAnswer::Refused(46);

fn name_callers(world: &mut World, callers: &str) {
    let key = format!("sa/svcb', callers: ['{callers}']");
    let text = FILE.replace("sa/svcb'", &key);
    world.federation = Federation::parse(text.as_bytes(), "test").unwrap();
}

#[test]
fn a_call_tells_the_policy_from_the_mesh_config() {
    for (answer, faults, says) in [
        (OK, &[][..], ""),
        // An application may deny too.
        (
            CallAnswer::Answered {
                status: 403,
                denied: false,
            },
            &[],
            "",
        ),
        (
            DENIED,
            &[("alpha.com", "call policy")],
            "principals: [alpha.com/ns/apps/sa/svca]",
        ),
        (
            REFUSED,
            &[("alpha.com", "call ca_certificates")],
            "caCertificates: [{ trustDomains: [alpha.com] }]",
        ),
        (
            CallAnswer::Answered {
                status: 503,
                denied: false,
            },
            &[("alpha.com", "call? application")],
            "status 503",
        ),
    ] {
        let what = format!("{answer:?}");
        let world = finds(&what, |world| world.calls(SVCA, FRESH, answer), faults);
        if !says.is_empty() {
            let finding = world.finding("call");
            assert!(finding.contains(says), "{finding}");
        }
    }
}

#[test]
fn a_refusal_says_nothing_of_the_mesh_config_without_the_bundle_or_a_good_svid() {
    let untold = |world: &World| {
        let judged = world.judged();
        let call = judged.iter().find(|check| check.check == "call").unwrap();
        assert_eq!(call.state, DoctorState::NotTold, "{call:?}");
    };
    let without = |world: &mut World| {
        world.calls(SVCA, FRESH, REFUSED);
        let own = world.beta.name();
        let crate::doctor::seen::TlsAnswer::Shown(server) = &mut world.service().mesh else {
            panic!("beta's service is not there");
        };
        server.trusts = Some(vec![own]);
    };
    let world = finds("no bundle", without, &[("beta.com", "trust no_bundle")]);
    untold(&world);
    for (life, cause) in [
        ((NOW - DAY, NOW - 60), "caller-svid expired"),
        ((NOW + 60, NOW + DAY), "caller-svid not_yet_valid"),
    ] {
        let world = finds(
            cause,
            |world| world.calls(SVCA, life, REFUSED),
            &[("alpha.com", cause)],
        );
        untold(&world);
    }
    for silent in [
        CallAnswer::NotAsked,
        CallAnswer::NoServer,
        CallAnswer::Closed,
        CallAnswer::Taken,
        CallAnswer::Silent,
    ] {
        let world = finds("no answer", |world| world.calls(SVCA, FRESH, silent), &[]);
        untold(&world);
    }
}

#[test]
fn a_caller_that_the_file_does_not_name_must_be_kept_out() {
    for (callers, answer, faults) in [
        (SVCA, OK, &[][..]),
        ("spiffe://alpha.com/ns/apps/sa/other", DENIED, &[]),
        ("spiffe://alpha.com/ns/apps/sa/other", REFUSED, &[]),
        (
            "spiffe://alpha.com/ns/apps/sa/other",
            OK,
            &[("alpha.com", "kept-out let_in")],
        ),
        (
            "spiffe://beta.com/ns/apps/sa/svca",
            OK,
            &[("alpha.com", "kept-out aliases")],
        ),
    ] {
        let change = |world: &mut World| {
            name_callers(world, callers);
            world.calls(SVCA, FRESH, answer);
        };
        finds(callers, change, faults);
    }
}

#[test]
fn an_svid_that_cannot_be_used_says_why() {
    let world = World::healthy();
    let (chain, key, root) = {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = super::world::params(SVCA, NOW - HOUR, NOW + HOUR);
        let chain = params.signed_by(&key, &world.alpha.issuer).unwrap();
        (chain.pem(), key.serialize_pem(), world.alpha.issuer.pem())
    };
    let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
    for (chain, key, bundle, says) in [
        (
            "",
            &*key,
            &*root,
            "the certificate has no certificate in PEM",
        ),
        (&*chain, "", &root, "the key is no private key in PEM"),
        (&chain, &other, &root, "the key is not the certificate's"),
        (&chain, &key, &key, "the bundle has no certificate in PEM"),
        (&root, &key, &root, "the key is not the certificate's"),
    ] {
        let svid = CallerSvid::parse(SvidPem {
            chain: chain.as_bytes(),
            key: key.as_bytes(),
            bundle: bundle.as_bytes(),
        });
        assert_eq!(svid.unwrap_err(), says);
    }
    let svid = |id: &str| {
        let mut world = World::healthy();
        world.alpha = super::world::Authority::new(id, "1");
        let key = rcgen::KeyPair::generate().unwrap();
        let params = super::world::params(&format!("spiffe://{id}/x"), NOW - HOUR, NOW + HOUR);
        let chain = params.signed_by(&key, &world.alpha.issuer).unwrap();
        CallerSvid::parse(SvidPem {
            chain: chain.pem().as_bytes(),
            key: key.serialize_pem().as_bytes(),
            bundle: world.alpha.issuer.pem().as_bytes(),
        })
        .unwrap()
    };
    for (svids, says) in [
        (
            vec![svid("gamma.com")],
            "the sides are alpha.com and beta.com",
        ),
        (
            vec![svid("beta.com"), svid("beta.com")],
            "a second SVID of beta.com",
        ),
    ] {
        let error = DoctorCallers::of(&world.federation, svids).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}
