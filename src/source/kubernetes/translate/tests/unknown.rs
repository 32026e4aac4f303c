//! Tests of objects that cannot be read or are not known: they must not count as absent.

use std::sync::Arc;

use super::fixtures::*;
use super::mtls::{NO_SIDECAR, left_out, tls, with_sidecar};
use crate::source::kubernetes::cluster::{ClusterChange, Kind};
use crate::source::kubernetes::records::ClientTls;
use crate::source::kubernetes::translate::Translator;

const PEERS_UNKNOWN: &str =
    "1 pod whose mutual TLS is not known (PeerAuthentications cannot be read)";
const RULES_UNKNOWN: &str = "1 pod whose mutual TLS is not known (DestinationRules cannot be read)";

#[test]
fn a_policy_that_cannot_be_read_closes_what_it_could_cover() {
    let peers = |at: &str| unreadable(at, Kind::PeerAuthentication, None);
    let rules = |at: &str, host: Option<&str>| unreadable(at, Kind::DestinationRule, host);
    let mutual = || tls("svcb", ClientTls::IstioMutual);
    let host = "svcb.apps.svc.cluster.local";
    for (policies, reason) in [
        (vec![peers("apps/x")], Some(PEERS_UNKNOWN)),
        (vec![peers("istio-system/x")], Some(PEERS_UNKNOWN)),
        // The namespace of an object without a name is not known.
        (vec![peers("")], Some(PEERS_UNKNOWN)),
        (vec![peers("other/x")], None),
        // A rule with ISTIO_MUTUAL overrides every PeerAuthentication.
        (vec![peers("apps/x"), mutual()], None),
        (vec![rules("apps/x", None)], Some(RULES_UNKNOWN)),
        (vec![rules("apps/x", Some("svcb"))], Some(RULES_UNKNOWN)),
        (vec![rules("apps/x", Some(host))], Some(RULES_UNKNOWN)),
        (vec![rules("apps/x", Some("*.local"))], Some(RULES_UNKNOWN)),
        (vec![rules("apps/x", Some("svcc"))], None),
        (vec![rules("apps/x", Some("svcc")), mutual()], None),
        (vec![rules("apps/x", None), mutual()], Some(RULES_UNKNOWN)),
        (
            vec![rules("istio-system/x", Some(host))],
            Some(RULES_UNKNOWN),
        ),
        (vec![rules("istio-system/x", None)], Some(RULES_UNKNOWN)),
        (vec![rules("", Some("svcc"))], Some(RULES_UNKNOWN)),
        // Rules of other namespaces do not count here.
        (vec![rules("other/x", None)], None),
    ] {
        let case = format!("{policies:?}");
        assert_eq!(with_sidecar(policies.clone()).as_deref(), reason, "{case}");
        let no_sidecar = left_out("apps/svcb:80", &[], policies);
        assert_eq!(no_sidecar.as_deref(), Some(NO_SIDECAR), "{case}");
    }
}

#[test]
fn what_an_unreadable_policy_closed_opens_once_it_can_be_read_or_is_gone() {
    let objects = svcb([pod("apps/a", &[SIDECAR])]);
    let odd = || unreadable("apps/x", Kind::PeerAuthentication, None);
    let strict = || peer_authentication("apps/x", 5, &[], Some(false), &[]);
    let mut world = world(mesh_policy(), objects);
    for (change, open) in [
        (set(odd()), false),
        (set(strict()), true),
        (
            ClusterChange::All(Kind::PeerAuthentication, vec![odd()]),
            false,
        ),
        (
            ClusterChange::All(Kind::PeerAuthentication, Vec::new()),
            true,
        ),
        (set(odd()), false),
        (
            ClusterChange::Removed(Kind::PeerAuthentication, key("apps/x")),
            true,
        ),
    ] {
        let case = format!("{change:?}");
        assert!(world.apply([change]), "{case}");
        let is_open = !world.found.endpoints("apps/svcb:80").is_empty();
        assert_eq!(is_open, open, "{case}");
    }
    // Beyond the number kept by name, unreadable objects close everything.
    let many = (0..2000)
        .map(|number| unreadable(&format!("other/{number}"), Kind::PeerAuthentication, None));
    assert!(world.apply(many.map(set)));
    assert!(world.found.endpoints("apps/svcb:80").is_empty());
    assert!(world.apply([ClusterChange::All(Kind::PeerAuthentication, Vec::new())]));
    assert!(!world.found.endpoints("apps/svcb:80").is_empty());
}

#[test]
fn policies_of_which_nothing_is_known_are_not_taken_for_none() {
    let objects = || svcb([pod("apps/a", &[SIDECAR])]);
    for (kind, unknown) in [
        (Kind::PeerAuthentication, PEERS_UNKNOWN),
        (Kind::DestinationRule, RULES_UNKNOWN),
    ] {
        // The kind is neither listed nor known not to be installed: it is late, or forbidden.
        let forbidden = || ClusterChange::Absent(kind, "forbidden".into());
        for change in [None, Some(forbidden())] {
            let mut world = unlisted(mesh_policy(), objects(), kind);
            world.apply(change);
            assert_eq!(world.found.why_empty("apps/svcb:80"), Some(unknown));
            for known in [
                ClusterChange::NotInstalled(kind),
                ClusterChange::All(kind, Vec::new()),
            ] {
                let mut world = unlisted(mesh_policy(), objects(), kind);
                world.apply([known]);
                assert_eq!(world.found.endpoints("apps/svcb:80"), ["10.0.0.1:8080"]);
                // If the watch fails later, everything that was known stays.
                assert!(!world.apply([forbidden()]));
                assert!(world.found.why_empty("apps/svcb:80").is_none());
            }
        }
        // Clients that need not be sidecars are not part of the mesh.
        let world = unlisted(policy(), objects(), kind);
        assert_eq!(world.found.endpoints("apps/svcb:80"), ["10.0.0.1:8080"]);
    }
    let world = unlisted(mesh_policy(), objects(), Kind::Pod);
    let found = world.found.why_empty("apps/svcb:80");
    assert_eq!(found, None, "a pod that was reported is known");
}

#[test]
fn a_kind_that_is_forgotten_closes_what_it_could_until_it_is_listed() {
    for (kind, unknown) in [
        (Kind::PeerAuthentication, PEERS_UNKNOWN),
        (Kind::DestinationRule, RULES_UNKNOWN),
    ] {
        let mut world = world(mesh_policy(), svcb([pod("apps/a", &[SIDECAR])]));
        assert!(!world.found.endpoints("apps/svcb:80").is_empty());
        assert!(world.apply([ClusterChange::Forgotten(kind, "forbidden".into())]));
        assert_eq!(world.found.why_empty("apps/svcb:80"), Some(unknown));
        assert!(world.apply([ClusterChange::All(kind, Vec::new())]));
        assert!(!world.found.endpoints("apps/svcb:80").is_empty());
    }
    let mut world = world(mesh_policy(), svcb([pod("apps/a", &[SIDECAR])]));
    assert!(world.apply([ClusterChange::Forgotten(Kind::Service, "forbidden".into())]));
    assert_eq!(world.translator.cluster().len(Kind::Service), 0);
}

#[test]
fn another_policy_knows_as_much_as_the_one_before() {
    let kind = Kind::PeerAuthentication;
    let mut world = unlisted(mesh_policy(), two_pods(), kind);
    let again = |world: &World| {
        let mut translator = Translator::new(Arc::new(mesh_policy()));
        let found = translator.apply(world.translator.cluster().changes());
        Found(found.unwrap())
    };
    assert_eq!(
        again(&world).why_empty("apps/svcb:80"),
        Some("2 pods whose mutual TLS is not known (PeerAuthentications cannot be read)")
    );
    world.apply([ClusterChange::All(kind, Vec::new())]);
    world.apply([ClusterChange::Absent(kind, "forbidden".into())]);
    assert_eq!(again(&world).endpoints("apps/svcb:80").len(), 2);
    world.apply([set(unreadable("apps/x", kind, None))]);
    assert!(again(&world).endpoints("apps/svcb:80").is_empty());
}

fn two_pods() -> Vec<Object> {
    let endpoints = vec![endpoint("10.0.0.1", "a"), endpoint("10.0.0.2", "b")];
    vec![
        service("apps/svcb", &[("http", 80)]),
        slice("apps/svcb.x", &[("http", 8080)], endpoints),
        pod("apps/a", &[SIDECAR]),
        pod("apps/b", &[SIDECAR]),
    ]
}

#[test]
fn a_pod_that_is_first_seen_as_one_that_cannot_be_read_is_a_change() {
    let objects = svcb([]);
    let mut world = world(policy(), objects);
    assert!(world.found.endpoints("apps/svcb:80").is_empty());
    assert!(world.apply([set(unreadable("apps/a", Kind::Pod, None))]));
    assert_eq!(world.found.endpoints("apps/svcb:80"), ["10.0.0.1:8080"]);
}
