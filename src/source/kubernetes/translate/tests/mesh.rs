//! Tests of mesh-wide settings: they narrow who is reached, and unknown ones do not count as absent.

use serde_json::json;

use super::fixtures::*;
use crate::config::{AlpnPolicy, ExportMode, KubernetesConfig};
use crate::source::kubernetes::cluster::{ClusterChange, Kind};
use crate::source::kubernetes::records::gateway::LabelSelector;
use crate::source::kubernetes::records::mesh::MeshConfigRecord;
use crate::source::kubernetes::records::{ClientTls, DestinationRuleRecord, RuleTls};

const HOST: &str = "svcb.apps.svc.cluster.local";
const PLAIN: &str = "1 pod without mutual TLS (a PeerAuthentication says DISABLE)";
const OTHER_TLS: &str = "1 pod without Istio's mutual TLS (a DestinationRule's tls.mode)";

fn cluster(export_to: &[&str], more: Vec<Object>) -> Vec<Object> {
    let mut objects = vec![
        service_with("apps/svcb", &[("http", 80)], |record| {
            record.export_to = export_to.iter().map(|name| (*name).into()).collect();
        }),
        slice(
            "apps/svcb.x",
            &[("http", 8080)],
            vec![endpoint("10.0.0.1", "a")],
        ),
        pod("apps/a", &[SIDECAR]),
    ];
    objects.extend(more);
    objects
}

fn exported_to(names: &'static [&'static str]) -> impl FnOnce(&mut MeshConfigRecord) {
    |config| config.service_export_to = names.iter().map(|name| (*name).into()).collect()
}

fn selecting(key: &str, value: &str) -> impl FnOnce(&mut MeshConfigRecord) {
    let selector = json!({ "matchLabels": { key: value } });
    let other = json!({ "matchExpressions": [{ "key": "other", "operator": "Exists" }] });
    let selectors = [other, selector].map(|selector| {
        let selector: LabelSelector = serde_json::from_value(selector).unwrap();
        selector
    });
    |config| config.discovery = selectors.into()
}

#[test]
fn a_service_that_says_nothing_is_hidden_by_the_default_of_the_mesh() {
    let hidden = "the mesh's defaultServiceExportTo keeps it from gateways, and the Service has no \
                  annotation networking.istio.io/exportTo";
    for (default, export_to, reason) in [
        (&["*"][..], &[][..], None),
        (&["."], &[], Some(hidden)),
        (&["~"], &[], Some(hidden)),
        (&["."], &["*"], None),
        (&["istio-system"], &[], None),
        (&["other"], &["istio-system"], None),
    ] {
        for policy in [policy(), mesh_policy()] {
            let config = mesh_config(exported_to(default));
            let found = find(policy, cluster(export_to, vec![config]));
            assert_eq!(
                found.why_unrouted(HOST),
                reason,
                "{default:?} {export_to:?}"
            );
        }
    }
}

#[test]
fn a_namespace_that_the_mesh_does_not_discover_is_not_exported() {
    let config = || mesh_config(selecting("mesh", "yes"));
    let apps = |value| namespace("apps", &[("mesh", value)]);
    let mut world = world(mesh_policy(), cluster(&["*"], vec![config(), apps("yes")]));
    assert_eq!(world.found.why_unrouted(HOST), None);
    assert!(world.apply([set(apps("no"))]));
    let reason = "the mesh's discoverySelectors do not select namespace apps";
    assert_eq!(world.found.why_unrouted(HOST), Some(reason));
    assert!(world.apply([set(namespace("apps", &[("other", "")]))]));
    assert_eq!(world.found.why_unrouted(HOST), None);
    assert!(world.apply([ClusterChange::Removed(Kind::Namespace, key("apps"))]));
    let reason = "the labels of namespace apps, by which the mesh's discoverySelectors select it, \
                  are not known";
    assert_eq!(world.found.why_unrouted(HOST), Some(reason));
    // Without a selector every namespace is known.
    assert!(world.apply([set(mesh_config(|_| {}))]));
    assert_eq!(world.found.why_unrouted(HOST), None);
}

#[test]
fn policies_of_the_root_namespace_hold_wherever_that_is_and_when_it_moves() {
    let root = |name: &'static str| mesh_config(|config| config.root_namespace = name.into());
    let off = |at: &str| peer_authentication(at, 5, &[], Some(true), &[]);
    let objects = cluster(&[], vec![off("istio-config/off")]);
    let mut world = world(mesh_policy(), objects);
    assert_eq!(world.found.why_empty("apps/svcb:80"), None);
    assert!(world.apply([set(root("istio-config"))]));
    assert_eq!(world.found.why_empty("apps/svcb:80"), Some(PLAIN));
    // A policy in the old root namespace no longer applies to the mesh.
    assert!(world.apply([ClusterChange::Removed(
        Kind::PeerAuthentication,
        key("istio-config/off")
    )]));
    assert_eq!(world.found.why_empty("apps/svcb:80"), None);
    assert!(!world.apply([set(off("istio-system/off"))]));
    // A policy in the new one applies as soon as it comes.
    assert!(world.apply([set(off("istio-config/off"))]));
    assert!(world.apply([set(root("elsewhere"))]));
    assert_eq!(world.found.why_empty("apps/svcb:80"), None);
    assert!(world.apply([ClusterChange::Removed(
        Kind::MeshConfig,
        key("istio-system/istio")
    )]));
    assert_eq!(world.found.why_empty("apps/svcb:80"), Some(PLAIN));
}

#[test]
fn of_destination_rules_the_one_counts_that_istiod_takes_for_gateways_beside_the_root_namespace() {
    let tls = |mode| {
        move |rule: &mut DestinationRuleRecord| {
            let ports = [].into();
            rule.tls = Some(RuleTls {
                mode: Some(mode),
                ports,
            });
        }
    };
    let own = |at: &str| rule(at, HOST, tls(ClientTls::Own));
    let mutual = |at: &str| rule(at, HOST, tls(ClientTls::IstioMutual));
    let to = |name: &'static str, (at, mut record): Object| {
        if let crate::source::kubernetes::cluster::Record::DestinationRule(rule) = &mut record {
            rule.export_to = [name.into()].into();
        }
        (at, record)
    };
    for (what, rules, dropped) in [
        ("of the root namespace", vec![own("root/a")], true),
        ("private to it", vec![to(".", own("root/a"))], false),
        (
            "of the gateways' namespace",
            vec![own("istio-system/a")],
            true,
        ),
        (
            "private to that",
            vec![to(".", own("istio-system/a"))],
            true,
        ),
        (
            "of that, for others",
            vec![to("x", own("istio-system/a"))],
            false,
        ),
        (
            "of that before all others",
            vec![own("istio-system/a"), mutual("apps/b"), mutual("root/a")],
            true,
        ),
        (
            "of the Service's namespace before the root's",
            vec![mutual("apps/b"), own("root/a")],
            false,
        ),
        (
            "of the Service's for the gateways",
            vec![to("istio-system", own("apps/a"))],
            true,
        ),
        (
            "of the Service's for the root",
            vec![to("root", own("apps/a"))],
            false,
        ),
    ] {
        let mut objects = rules;
        objects.push(mesh_config(|config| config.root_namespace = "root".into()));
        let found = find(mesh_policy(), cluster(&[], objects));
        let reason = dropped.then_some(OTHER_TLS);
        assert_eq!(found.why_empty("apps/svcb:80"), reason, "{what}");
    }
}

#[test]
fn rules_are_private_by_default_where_the_mesh_says_so() {
    let v1 = |at: &str| {
        rule(at, HOST, |rule| {
            rule.subsets = [subset("v1", &[])].into();
        })
    };
    let config = mesh_config(|config| config.rules_are_private = true);
    for (at, there) in [("apps/r", false), ("istio-system/r", true)] {
        let found = find(mesh_policy(), cluster(&[], vec![config.clone(), v1(at)]));
        let upstreams = &found.0.routing.upstreams;
        assert_eq!(upstreams.contains_key("apps/svcb:80/v1"), there, "{at}");
    }
}

#[test]
fn settings_that_are_not_known_hide_what_only_the_mesh_may_reach() {
    let forbidden = || ClusterChange::Absent(Kind::MeshConfig, "forbidden".into());
    let mut mesh = unlisted(mesh_policy(), cluster(&["*"], Vec::new()), Kind::MeshConfig);
    let unknown = |reason| {
        let text = "Istio's ConfigMap, whose settings may hide the Service, cannot be read";
        format!("{text}: {reason} (kubernetes.istio names it)")
    };
    assert_eq!(
        mesh.found.why_unrouted(HOST),
        Some(&*unknown("not listed yet"))
    );
    assert!(mesh.apply([forbidden()]));
    assert_eq!(mesh.found.why_unrouted(HOST), Some(&*unknown("forbidden")));
    // The list shows that there is no ConfigMap, so Istio's defaults hold. They stay when the watch
    // fails later.
    assert!(mesh.apply([ClusterChange::All(Kind::MeshConfig, Vec::new())]));
    assert_eq!(mesh.found.why_unrouted(HOST), None);
    mesh.apply([forbidden()]);
    assert_eq!(mesh.found.why_unrouted(HOST), None);
    // A ConfigMap that cannot be read does not count as absent.
    let broken = unreadable("istio-system/istio", Kind::MeshConfig, None);
    assert!(mesh.apply([set(broken)]));
    assert_eq!(mesh.found.why_unrouted(HOST), Some(&*unknown("port 70000")));
    assert!(mesh.apply([set(mesh_config(|_| {}))]));
    assert_eq!(mesh.found.why_unrouted(HOST), None);

    // Neither matters where anybody may connect, or where the operator says that there is no ConfigMap.
    let off = |mut policy: KubernetesConfig| {
        policy.istio.config_map = None;
        policy
    };
    for policy in [policy(), off(mesh_policy())] {
        let mut world = unlisted(policy, cluster(&[], Vec::new()), Kind::MeshConfig);
        world.apply([forbidden()]);
        assert_eq!(world.found.endpoints("apps/svcb:80"), ["10.0.0.1:8080"]);
    }
}

#[test]
fn a_tls_route_to_a_sidecar_waits_for_the_settings_of_the_mesh() {
    for (labels, alpn, upstream) in [
        (&[SIDECAR][..], AlpnPolicy::istio(), "apps/svcb:443+mesh"),
        (&[], AlpnPolicy::Any, "apps/svcb:443+all"),
    ] {
        let mut objects = gateway_and_route();
        objects.extend([
            service("apps/svcb", &[("tls", 443)]),
            slice(
                "apps/svcb.x",
                &[("tls", 8443)],
                vec![endpoint("10.0.0.1", "b")],
            ),
            pod("apps/b", labels),
        ]);
        let mut policy = gateway_policy();
        policy.export.mode = ExportMode::None;
        let world = unlisted(policy, objects, Kind::MeshConfig);
        let route = &world.found.0.routing.gateways[&443][0];
        let target: &str = &route.targets.first.upstream;
        assert_eq!((&route.alpn, target), (&alpn, upstream));
        let is_mesh = !labels.is_empty();
        assert_eq!(world.found.why_empty(upstream).is_some(), is_mesh);
    }
}
