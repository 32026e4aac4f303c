//! Mistakes in the objects of a cluster.

use super::world::{World, finds};
use crate::doctor::checks::DoctorState;
use crate::doctor::objects::{
    CaEntry, CallerTls, CallerTraffic, ClusterObjects, EndpointProfile, EntryEndpoint, EntryObject,
    EntryObjectPort, EntryStats, FederatedDomain, MeshTrust, RuleObject, SdsNames, SpiffeIds,
};

/// The objects of alpha's cluster as they should be.
fn well() -> ClusterObjects {
    let stats = EntryStats {
        pods_selected: 2,
        entry_failures: 0,
    };
    let tls = CallerTls {
        mode: "ISTIO_MUTUAL".to_owned(),
        subject_alt_names: vec!["spiffe://beta.com/ns/apps/sa/svcb".to_owned()],
    };
    ClusterObjects {
        domains: Ok(vec![FederatedDomain {
            name: "beta.com".to_owned(),
            trust_domain: "beta.com".to_owned(),
            url: "https://spire.bundles.beta.com:15443".to_owned(),
            profile: EndpointProfile {
                kind: "https_spiffe".to_owned(),
                spiffe_id: "spiffe://beta.com/spire/server".to_owned(),
            },
        }]),
        identities: Ok(vec![SpiffeIds {
            name: "istio-workloads".to_owned(),
            federates_with: vec!["beta.com".to_owned()],
            stats: Some(stats),
        }]),
        mesh: Ok(MeshTrust {
            ca_certificates: vec![CaEntry {
                trust_domains: vec!["beta.com".to_owned()],
            }],
            trust_domain_aliases: Vec::new(),
        }),
        agent: Ok(SdsNames {
            all_bundles: Some("ROOTCA".to_owned()),
        }),
        entries: Ok(vec![EntryObject {
            name: "apps/svcb-of-beta".to_owned(),
            hosts: vec!["svcb.apps.svc.cluster.local".to_owned()],
            ports: vec![EntryObjectPort {
                name: "http".to_owned(),
                number: 80,
            }],
            endpoints: vec![EntryEndpoint::default()],
        }]),
        rules: Ok(vec![RuleObject {
            name: "apps/svcb-of-beta".to_owned(),
            host: "svcb.apps.svc.cluster.local".to_owned(),
            traffic_policy: CallerTraffic {
                tls: Some(tls),
                ..CallerTraffic::default()
            },
            ..RuleObject::default()
        }]),
    }
}

fn with(change: impl FnOnce(&mut ClusterObjects)) -> impl FnOnce(&mut World) {
    move |world| {
        let mut objects = well();
        change(&mut objects);
        world.seen[0].objects = Some(Ok(objects));
    }
}

#[test]
fn objects_that_are_well_get_no_cross() {
    let world = finds("well", with(|_| {}), &[]);
    let judged = world.judged();
    let of_cluster = judged
        .iter()
        .filter(|check| check.check.starts_with("cluster-"));
    let of_cluster: Vec<_> = of_cluster.collect();
    assert_eq!(of_cluster.len(), 6);
    let passed = |check: &&_| -> bool {
        let check: &crate::doctor::checks::DoctorCheck = check;
        check.state == DoctorState::Passed
    };
    assert!(of_cluster.iter().all(passed), "{of_cluster:#?}");
    // By another way to say that endpoints take mutual TLS, and by a wildcard.
    let labelled = |objects: &mut ClusterObjects| {
        objects.rules = Ok(Vec::new());
        let endpoint = &mut objects.entries.as_mut().unwrap()[0].endpoints[0];
        let label = ("security.istio.io/tlsMode".to_owned(), "istio".to_owned());
        endpoint.labels.extend([label]);
    };
    finds("labelled", with(labelled), &[]);
    let wide = |objects: &mut ClusterObjects| {
        objects.rules.as_mut().unwrap()[0].host = "*.apps.svc.cluster.local".to_owned();
    };
    finds("a wildcard", with(wide), &[]);
    let short = |objects: &mut ClusterObjects| {
        objects.rules.as_mut().unwrap()[0].host = "svcb".to_owned();
    };
    finds("a short name", with(short), &[]);
}

/// Else `--watch` could not say that it was mended.
#[test]
fn a_difference_to_the_file_that_is_mended_is_a_check_that_passes() {
    let differs = |objects: &mut ClusterObjects| {
        objects.domains.as_mut().unwrap()[0].profile.kind = "https_web".to_owned();
    };
    let wrong = finds(
        "another profile",
        with(differs),
        &[("alpha.com", "cluster-domain? differs")],
    );
    let wrong = wrong.judged();
    let wrong = wrong.iter().find(|check| check.cause.is_some()).unwrap();
    let mended = finds("mended", with(|_| {}), &[]).judged();
    let same = |one: &&crate::doctor::checks::DoctorCheck| {
        (&one.group, &one.title) == (&wrong.group, &wrong.title)
    };
    let mended = mended.iter().find(same).unwrap();
    assert_eq!(mended.state, DoctorState::Passed);
}

#[test]
fn each_mistake_in_the_objects_is_named() {
    type Mistake = fn(&mut ClusterObjects);
    let mistakes: &[(Mistake, &str)] = &[
        (|it| it.domains = Ok(Vec::new()), "cluster-domain no_domain"),
        (
            |it| it.domains.as_mut().unwrap()[0].url = "https://other:15443".to_owned(),
            "cluster-domain? differs",
        ),
        (
            |it| it.identities.as_mut().unwrap()[0].federates_with = vec!["gamma.com".to_owned()],
            "cluster-entries no_federates_with",
        ),
        (
            |it| {
                let stats = &mut it.identities.as_mut().unwrap()[0].stats;
                stats.as_mut().unwrap().entry_failures = 3;
            },
            "cluster-entries entry_failures",
        ),
        (
            |it| {
                let stats = &mut it.identities.as_mut().unwrap()[0].stats;
                stats.as_mut().unwrap().pods_selected = 0;
            },
            "cluster-entries no_pods",
        ),
        (
            |it| it.agent.as_mut().unwrap().all_bundles = None,
            "cluster-sds sds_names",
        ),
        (
            |it| it.mesh.as_mut().unwrap().ca_certificates = Vec::new(),
            "cluster-mesh ca_certificates",
        ),
        (
            |it| it.mesh.as_mut().unwrap().trust_domain_aliases = vec!["beta.com".to_owned()],
            "cluster-mesh aliases",
        ),
        (
            |it| {
                it.entries.as_mut().unwrap()[0].ports = vec![EntryObjectPort {
                    name: "http".to_owned(),
                    number: 8080,
                }];
            },
            "cluster-callers no_service_entry",
        ),
        (
            |it| it.rules = Ok(Vec::new()),
            "cluster-callers no_destination_rule",
        ),
        (
            |it| {
                let rule = &mut it.rules.as_mut().unwrap()[0];
                (rule.name, rule.host) = ("other/svcb".to_owned(), "svcb".to_owned());
            },
            "cluster-callers no_destination_rule",
        ),
        (
            |it| {
                let policy = &mut it.rules.as_mut().unwrap()[0].traffic_policy;
                policy.tls.as_mut().unwrap().mode = "SIMPLE".to_owned();
            },
            "cluster-callers tls_mode",
        ),
        (
            |it| {
                let policy = &mut it.rules.as_mut().unwrap()[0].traffic_policy;
                policy.tls.as_mut().unwrap().subject_alt_names = vec!["svcb".to_owned()];
            },
            "cluster-callers subject_alt_names",
        ),
    ];
    for (mistake, fault) in mistakes {
        finds(fault, with(mistake), &[("alpha.com", fault)]);
    }
}

#[test]
fn the_objects_tell_which_of_three_the_missing_bundle_is() {
    for (mistake, fault, says) in [
        (
            (|it| it.domains = Ok(Vec::new())) as fn(&mut ClusterObjects),
            Some("cluster-domain no_domain"),
            "no ClusterFederatedTrustDomain has trustDomain: beta.com",
        ),
        (
            |it| it.identities.as_mut().unwrap()[0].federates_with = Vec::new(),
            Some("cluster-entries no_federates_with"),
            "no ClusterSPIFFEID has beta.com in federatesWith",
        ),
        (
            |it| it.agent.as_mut().unwrap().all_bundles = Some("ALL".to_owned()),
            Some("cluster-sds sds_names"),
            "gives all bundles as \"ALL\"",
        ),
        (|_| {}, None, "the first was never carried"),
        (
            |it| it.agent = Err("denied".to_owned()),
            None,
            "one of: SPIRE has none",
        ),
    ] {
        let change = |world: &mut World| {
            let own = world.alpha.name();
            world.alpha_trusts(&[own]);
            with(mistake)(world);
        };
        let mut faults = vec![("alpha.com", "trust no_bundle")];
        faults.extend(fault.map(|fault| ("alpha.com", fault)));
        let world = finds(says, change, &faults);
        let finding = world.finding("trust");
        assert!(finding.contains(says), "{finding}");
    }
}

#[test]
fn what_the_api_does_not_give_is_not_told() {
    let denied = || Err("the API refuses it".to_owned());
    let change = |world: &mut World| {
        let objects = ClusterObjects {
            domains: denied(),
            identities: Err("the API refuses it".to_owned()),
            mesh: Err("the API refuses it".to_owned()),
            agent: Err("the API refuses it".to_owned()),
            entries: Err("the API refuses it".to_owned()),
            rules: Err("the API refuses it".to_owned()),
        };
        world.seen[0].objects = Some(Ok(objects));
        world.seen[1].objects = Some(Err("no kubeconfig".to_owned()));
    };
    let world = finds("denied", change, &[]);
    let judged = world.judged();
    let untold = judged
        .iter()
        .filter(|check| check.state == DoctorState::NotTold);
    assert_eq!(untold.count(), 6);
}
