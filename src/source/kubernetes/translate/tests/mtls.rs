//! Tests of the boundary of the mesh. Each case shows what istiod does for its own gateways.

use super::fixtures::*;
use crate::source::kubernetes::records::{ClientTls, DestinationRuleRecord, RuleTls};

pub(super) const NO_SIDECAR: &str =
    "1 pod outside the mesh (no label security.istio.io/tlsMode: istio)";
const DISABLED: &str = "1 pod without mutual TLS (a PeerAuthentication says DISABLE)";
const OTHER_TLS: &str = "1 pod without Istio's mutual TLS (a DestinationRule's tls.mode)";

/// The reason why the only pod of a Service is left out, or `None`. Port 80 of the Service leads to the
/// pod's 8080.
pub(super) fn left_out(
    upstream: &str,
    pod_labels: &[(&str, &str)],
    policies: Vec<Object>,
) -> Option<String> {
    let pod = pod("apps/a", pod_labels);
    let objects = svcb(std::iter::once(pod).chain(policies));
    let found = find(mesh_policy(), objects);
    let empty = found.endpoints(upstream).is_empty();
    assert_eq!(empty, found.why_empty(upstream).is_some());
    found.why_empty(upstream).map(str::to_owned)
}

pub(super) fn with_sidecar(policies: Vec<Object>) -> Option<String> {
    let labels = [SIDECAR, ("app", "b"), ("version", "v1")];
    left_out("apps/svcb:80", &labels, policies)
}

#[test]
fn pods_without_a_sidecar_are_left_out_only_where_clients_must_be_sidecars() {
    assert_eq!(with_sidecar(Vec::new()), None);
    for labels in [&[][..], &[("security.istio.io/tlsMode", "disabled")]] {
        let reason = left_out("apps/svcb:80", labels, Vec::new());
        assert_eq!(reason.as_deref(), Some(NO_SIDECAR));
    }
    let objects = svcb([pod("apps/a", &[])]);
    let found = find(policy(), objects);
    assert_eq!(found.endpoints("apps/svcb:80"), ["10.0.0.1:8080"]);
}

#[test]
fn a_peer_authentication_that_disables_drops_the_endpoint_and_the_narrowest_decides() {
    let mesh = |disabled| peer_authentication("istio-system/default", 5, &[], disabled, &[]);
    let namespace = |disabled| peer_authentication("apps/default", 5, &[], disabled, &[]);
    let app = [("app", "b")];
    let workload = |disabled, ports| peer_authentication("apps/b", 5, &app, disabled, ports);
    for (policies, left_out) in [
        (vec![mesh(Some(true))], true),
        (vec![mesh(Some(false))], false),
        (vec![mesh(Some(true)), namespace(Some(false))], false),
        (vec![mesh(Some(true)), namespace(None)], true),
        (vec![namespace(Some(true))], true),
        (
            vec![namespace(Some(true)), workload(Some(false), &[])],
            false,
        ),
        (vec![namespace(Some(true)), workload(None, &[])], true),
        (vec![workload(Some(true), &[])], true),
        // Port-level settings use the pods' port, never the Service's.
        (vec![workload(None, &[(8080, Some(true))])], true),
        (vec![workload(None, &[(80, Some(true))])], false),
        (vec![workload(Some(true), &[(8080, Some(false))])], false),
        (vec![workload(Some(true), &[(8080, None)])], true),
        // A policy for another pod, or in another namespace.
        (
            vec![peer_authentication(
                "apps/c",
                5,
                &[("app", "c")],
                Some(true),
                &[],
            )],
            false,
        ),
        (
            vec![peer_authentication(
                "other/default",
                5,
                &[],
                Some(true),
                &[],
            )],
            false,
        ),
        // A selector in the root namespace has no effect.
        (
            vec![peer_authentication(
                "istio-system/b",
                5,
                &app,
                Some(true),
                &[],
            )],
            false,
        ),
        // Of two policies the older counts; at the same age, the first by name.
        (
            vec![
                namespace(Some(false)),
                peer_authentication("apps/z", 4, &[], Some(true), &[]),
            ],
            true,
        ),
        (
            vec![
                workload(Some(false), &[]),
                peer_authentication("apps/a", 5, &[("version", "v1")], Some(true), &[]),
            ],
            true,
        ),
        (
            vec![
                workload(Some(false), &[]),
                peer_authentication("apps/z", 5, &[("version", "v1")], Some(true), &[]),
            ],
            false,
        ),
    ] {
        let case = format!("{policies:?}");
        let reason = with_sidecar(policies);
        assert_eq!(reason.as_deref(), left_out.then_some(DISABLED), "{case}");
    }
}

fn mode(mode: Option<ClientTls>) -> RuleTls {
    let ports = [].into();
    RuleTls { mode, ports }
}

pub(super) fn tls(host: &str, of: ClientTls) -> Object {
    rule("apps/svcb", host, |rule| rule.tls = Some(mode(Some(of))))
}

#[test]
fn a_destination_rule_overrides_peer_authentications_and_never_the_pods_label() {
    let disabled = || peer_authentication("apps/default", 5, &[], Some(true), &[]);
    for (policies, labels, reason) in [
        (
            vec![tls("svcb", ClientTls::Disable)],
            vec![SIDECAR],
            Some(OTHER_TLS),
        ),
        (
            vec![tls("svcb", ClientTls::Own)],
            vec![SIDECAR],
            Some(OTHER_TLS),
        ),
        (
            vec![tls("svcb", ClientTls::IstioMutual), disabled()],
            vec![SIDECAR],
            None,
        ),
        (
            vec![tls("svcb", ClientTls::IstioMutual)],
            vec![],
            Some(NO_SIDECAR),
        ),
        (
            vec![tls("*.local", ClientTls::IstioMutual)],
            vec![("security.istio.io/tlsMode", "disabled")],
            Some(NO_SIDECAR),
        ),
        (
            vec![
                rule("apps/svcb", "svcb", |rule| rule.tls = Some(mode(None))),
                disabled(),
            ],
            vec![SIDECAR],
            Some(DISABLED),
        ),
    ] {
        let case = format!("{policies:?}");
        let found = left_out("apps/svcb:80", &labels, policies);
        assert_eq!(found.as_deref(), reason, "{case}");
    }
}

#[test]
fn a_port_or_subset_of_a_destination_rule_decides_before_the_rest_of_it() {
    let of_port = |port| RuleTls {
        mode: Some(ClientTls::IstioMutual),
        ports: [(port, ClientTls::Disable)].into(),
    };
    let with_subset = |of_rule: RuleTls, of_subset: RuleTls| {
        rule("apps/svcb", "svcb", move |rule| {
            let mut subset = subset("v1", &[("version", "v1")]);
            subset.tls = of_subset;
            rule.tls = Some(of_rule);
            rule.subsets = [subset].into();
        })
    };
    let labels = [SIDECAR, ("version", "v1")];
    let (istio, off) = (Some(ClientTls::IstioMutual), Some(ClientTls::Disable));
    for (object, of_port_reason, of_subset_reason) in [
        (
            with_subset(of_port(80), mode(None)),
            Some(OTHER_TLS),
            Some(OTHER_TLS),
        ),
        (with_subset(of_port(8080), mode(None)), None, None),
        (with_subset(mode(istio), mode(off)), None, Some(OTHER_TLS)),
        (with_subset(mode(off), mode(istio)), Some(OTHER_TLS), None),
        (with_subset(mode(istio), of_port(80)), None, Some(OTHER_TLS)),
        (
            with_subset(mode(off), mode(None)),
            Some(OTHER_TLS),
            Some(OTHER_TLS),
        ),
    ] {
        let case = format!("{object:?}");
        let found = left_out("apps/svcb:80", &labels, vec![object.clone()]);
        assert_eq!(found.as_deref(), of_port_reason, "{case}");
        let found = left_out("apps/svcb:80/v1", &labels, vec![object]);
        assert_eq!(found.as_deref(), of_subset_reason, "{case}");
    }
}

/// A rule that drops the endpoint, if the rule counts.
fn dropping(at: &str, host: &str, edit: impl FnOnce(&mut DestinationRuleRecord)) -> Object {
    rule(at, host, |rule| {
        rule.tls = Some(mode(Some(ClientTls::Disable)));
        edit(rule);
    })
}

/// A rule that keeps the endpoint.
fn keeping(at: &str, host: &str, edit: impl FnOnce(&mut DestinationRuleRecord)) -> Object {
    rule(at, host, |rule| {
        rule.tls = Some(mode(Some(ClientTls::IstioMutual)));
        edit(rule);
    })
}

#[test]
fn a_rules_host_counts_as_istiod_resolves_it() {
    for (at, host, counts) in [
        ("apps/r", "svcb", true),
        ("apps/r", "svcb.apps.svc.cluster.local", true),
        ("apps/r", "*.apps.svc.cluster.local", true),
        ("apps/r", "*.svc.cluster.local", true),
        ("apps/r", "*.local", true),
        ("apps/r", "*", true),
        ("apps/r", "svcc", false),
        ("apps/r", "svcb.apps", false),
        ("apps/r", "svcb.apps.svc", false),
        ("apps/r", "svcb.other.svc.cluster.local", false),
        ("apps/r", "svcb.apps.svc.cluster.localhost", false),
        ("apps/r", "*.other.svc.cluster.local", false),
        ("apps/r", "*.svcb.apps.svc.cluster.local", false),
        ("apps/r", "*.com", false),
        ("istio-system/r", "svcb", false),
        ("istio-system/r", "svcb.apps.svc.cluster.local", true),
        ("istio-system/r", "*.local", true),
        // A rule of the client's namespace: our namespace is not a client's.
        ("other/r", "svcb.apps.svc.cluster.local", false),
        ("other/r", "*.local", false),
    ] {
        let reason = with_sidecar(vec![dropping(at, host, |_| {})]);
        let expected = counts.then_some(OTHER_TLS);
        assert_eq!(reason.as_deref(), expected, "{host} in {at}");
    }
}

#[test]
fn of_several_rules_the_one_counts_that_istiod_takes() {
    const FQDN: &str = "svcb.apps.svc.cluster.local";
    let to = |names: &'static [&'static str]| {
        move |rule: &mut DestinationRuleRecord| {
            rule.export_to = names.iter().map(|name| (*name).into()).collect();
        }
    };
    let plain = |_: &mut DestinationRuleRecord| {};
    let aged = |created| move |rule: &mut DestinationRuleRecord| rule.created = created;
    for (what, rules, dropped) in [
        (
            "the more specific host",
            vec![
                keeping("apps/a", "*.local", plain),
                dropping("apps/b", "svcb", plain),
            ],
            true,
        ),
        (
            "the longer wildcard",
            vec![
                dropping("apps/a", "*.local", plain),
                keeping("apps/b", "*.apps.svc.cluster.local", plain),
            ],
            false,
        ),
        (
            "the Service's namespace before the root namespace, even if it is less specific",
            vec![
                dropping("istio-system/a", FQDN, plain),
                keeping("apps/b", "*", plain),
            ],
            false,
        ),
        (
            "a private rule of the root namespace before both",
            vec![
                dropping("istio-system/a", "*.local", to(&["."])),
                keeping("apps/b", "svcb", plain),
            ],
            true,
        ),
        (
            "the older of one host, even if written short",
            vec![
                keeping("apps/a", "svcb", aged(7)),
                dropping("apps/b", FQDN, aged(3)),
            ],
            true,
        ),
        (
            "the oldest with a traffic policy",
            vec![
                dropping("apps/a", "svcb", |rule| {
                    rule.created = 1;
                    rule.tls = None;
                }),
                dropping("apps/b", "svcb", aged(2)),
                keeping("apps/c", "svcb", aged(3)),
            ],
            true,
        ),
        (
            "a policy without a mode keeps younger ones out",
            vec![
                dropping("apps/a", "svcb", |rule| rule.tls = Some(mode(None))),
                dropping("apps/b", "svcb", aged(2)),
            ],
            false,
        ),
        (
            "private to its namespace",
            vec![dropping("apps/a", "svcb", to(&["."]))],
            false,
        ),
        (
            "the same by name",
            vec![dropping("apps/a", "svcb", to(&["apps"]))],
            false,
        ),
        (
            "for everybody",
            vec![dropping("apps/a", "svcb", to(&["*"]))],
            true,
        ),
        (
            "for the namespace in which gateways stand",
            vec![dropping("apps/a", "svcb", to(&["x", "istio-system"]))],
            true,
        ),
        (
            "for another namespace: what the root exports counts then",
            vec![
                dropping("apps/a", "svcb", to(&["x", "y"])),
                dropping("istio-system/b", "*", plain),
            ],
            true,
        ),
        (
            "for some clients' pods only",
            vec![dropping("apps/a", "svcb", |rule| rule.for_workloads = true)],
            false,
        ),
        (
            "rules with other exportTo stand alone, and the last one counts",
            vec![
                dropping("apps/a", "svcb", aged(1)),
                keeping("apps/b", "svcb", |rule| {
                    to(&["*"])(rule);
                    rule.created = 2;
                }),
            ],
            false,
        ),
    ] {
        let reason = with_sidecar(rules);
        assert_eq!(reason.as_deref(), dropped.then_some(OTHER_TLS), "{what}");
    }
}

#[test]
fn rules_of_one_host_add_up_their_subsets() {
    let with = |at: &str, created, names: &[&str]| {
        rule(at, "svcb", |rule| {
            rule.created = created;
            rule.subsets = names
                .iter()
                .map(|name| subset(name, &[("from", at)]))
                .collect();
        })
    };
    let labels = [SIDECAR, ("from", "apps/old")];
    let rules = || {
        vec![
            with("apps/a", 2, &["v1", "v2"]),
            with("apps/old", 1, &["v1"]),
        ]
    };
    assert_eq!(left_out("apps/svcb:80/v1", &labels, rules()), None);
    let other = left_out("apps/svcb:80/v2", &labels, rules());
    assert_eq!(other.as_deref(), Some("1 pod not of the subset"));
}
