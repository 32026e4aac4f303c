//! Tests of exports, and of the reasons for Services that are not exported.

use super::fixtures::*;
use crate::config::{ExportMode, KubernetesConfig, OptIn, PortSelector, ServiceSelector};
use crate::source::kubernetes::cluster::Record;
use crate::source::kubernetes::records::{ServiceExportRecord, ServiceKind, SliceEndpoint};

const HOST: &str = "svcb.apps.svc.cluster.local";

fn two_services() -> Vec<Object> {
    let exported = |record: &mut crate::source::kubernetes::records::ServiceRecord| {
        record.labels = labels(&[("tier", "front")]);
        record.annotations = labels(&[("export", "true")]);
    };
    vec![
        namespace("apps", &[("team", "b")]),
        namespace("other", &[]),
        service_with("apps/svcb", &[("http", 80)], exported),
        service_export("apps/svcb"),
        service("other/svcb", &[("http", 80)]),
    ]
}

fn selecting(edit: impl FnOnce(&mut ServiceSelector)) -> KubernetesConfig {
    let mut selector = ServiceSelector::default();
    edit(&mut selector);
    let mut policy = policy();
    policy.export.mode = ExportMode::Selected(selector);
    policy
}

#[test]
fn nothing_is_exported_by_default_and_a_miss_says_so() {
    let mut policy = policy();
    policy.export.mode = ExportMode::None;
    let found = find(policy, two_services());
    assert!(found.routes().is_empty());
    assert!(found.0.routing.upstreams.is_empty());
    let reason = Some("no Service is exported: kubernetes.export.mode is `none`");
    assert_eq!(found.why_unrouted(HOST), reason);
}

#[test]
fn every_selector_must_take_the_service_and_a_miss_names_the_one_that_does_not() {
    let name = |text: &str| vec![text.into()];
    let label = |key: &str, value: &str| [(key.into(), value.into())].into();
    let port = |number: u16| vec![PortSelector::Number(number)];
    let named = |name: &str| vec![PortSelector::Name(name.into())];
    for (policy, reason) in [
        (selecting(|it| it.namespaces = name("apps")), None),
        (
            selecting(|it| it.namespaces = name("other")),
            Some("namespace apps is not selected for export"),
        ),
        (
            selecting(|it| it.namespace_labels = label("team", "b")),
            None,
        ),
        (
            selecting(|it| it.namespace_labels = label("team", "c")),
            Some("namespace apps lacks the label team=c and so is not selected for export"),
        ),
        (selecting(|it| it.names = name("svcb")), None),
        (
            selecting(|it| it.names = name("svcc")),
            Some("the Service's name is not selected for export"),
        ),
        (selecting(|it| it.labels = label("tier", "front")), None),
        (
            selecting(|it| it.labels = label("tier", "back")),
            Some("the Service lacks the label tier=back and so is not selected for export"),
        ),
        (selecting(|it| it.ports = port(80)), None),
        (selecting(|it| it.ports = named("http")), None),
        (
            selecting(|it| it.ports = port(8080)),
            Some("port 80 is not selected for export"),
        ),
        (
            selecting(|it| {
                it.namespaces = name("apps");
                it.labels = label("tier", "back");
            }),
            Some("the Service lacks the label tier=back and so is not selected for export"),
        ),
    ] {
        let mode = format!("{:?}", policy.export.mode);
        let found = find(policy, two_services());
        assert_eq!(found.why_unrouted(HOST), reason, "{mode}");
        let upstreams = &found.0.routing.upstreams;
        assert_eq!(upstreams.contains_key("apps/svcb:80"), reason.is_none());
        assert_eq!(found.routes().is_empty(), upstreams.is_empty(), "{mode}");
    }
}

#[test]
fn a_namespace_of_which_no_label_is_known_is_not_selected_by_label() {
    let policy = selecting(|it| it.namespace_labels = [("a".into(), "b".into())].into());
    let found = find(policy, vec![service("apps/svcb", &[("http", 80)])]);
    let reason = "the labels of namespace apps, by which it is selected for export, are not known";
    assert_eq!(found.why_unrouted(HOST), Some(reason));
}

#[test]
fn the_owner_must_opt_in_where_the_policy_asks_for_it_whatever_the_mode() {
    for (opt_in, reason) in [
        (
            OptIn::Annotation,
            "the Service has no annotation strait.dev/export: \"true\"",
        ),
        (OptIn::ServiceExport, "the Service has no ServiceExport"),
    ] {
        for mode in [
            ExportMode::All,
            ExportMode::Selected(ServiceSelector::default()),
        ] {
            let mut policy = policy();
            policy.export.mode = mode;
            policy.export.opt_in = opt_in;
            let found = find(policy, two_services());
            assert_eq!(found.why_unrouted(HOST), None);
            let other = found.why_unrouted("svcb.other.svc.cluster.local");
            assert_eq!(other, Some(reason));
        }
    }
}

#[test]
fn a_service_export_gives_the_name_in_the_cluster_set_too() {
    let mut policy = policy();
    policy.export.opt_in = OptIn::ServiceExport;
    let found = find(policy, two_services());
    assert_eq!(
        found.routes(),
        [
            "outbound_.80_._.svcb.apps.svc.cluster.local -> apps/svcb:80",
            "outbound_.80_._.svcb.apps.svc.clusterset.local -> apps/svcb:80",
            "svcb.apps.svc.cluster.local -> apps/svcb:80",
            "svcb.apps.svc.clusterset.local -> apps/svcb:80",
        ]
    );
}

#[test]
fn subsets_and_pods_have_names_in_the_cluster_set_too() {
    let mut policy = policy();
    policy.export.opt_in = OptIn::ServiceExport;
    policy.cluster = Some("alpha".into());
    let pod_0 = SliceEndpoint {
        hostname: Some("db-0".into()),
        ..endpoint("10.0.0.1", "db-0")
    };
    let objects = || {
        vec![
            service_with("apps/db", &[("tls", 5432)], |record| {
                record.kind = ServiceKind::Headless;
            }),
            slice("apps/db.a", &[("tls", 15432)], vec![pod_0.clone()]),
            pod("apps/db-0", &[]),
            rule("apps/db", "db", |rule| {
                rule.subsets = [subset("v1", &[])].into();
            }),
            service_export("apps/db"),
        ]
    };
    let names = |policy: &KubernetesConfig| {
        let found = find(policy.clone(), objects());
        let of_set = |route: &String| route.contains("clusterset.local");
        found
            .routes()
            .into_iter()
            .filter(of_set)
            .collect::<Vec<_>>()
    };
    let host = "db.apps.svc.clusterset.local";
    let of_pod = [
        format!("*.alpha.{host} -> apps/db:5432@*"),
        format!("outbound_.5432_._.*.alpha.{host} -> apps/db:5432@*"),
    ];
    let mut expected = vec![
        format!("{host} -> apps/db:5432"),
        format!("outbound_.5432_._.{host} -> apps/db:5432"),
        format!("outbound_.5432_.v1_.{host} -> apps/db:5432/v1"),
    ];
    policy.cluster = None;
    assert_eq!(names(&policy), expected, "the cluster has no name");
    policy.cluster = Some("alpha".into());
    expected.extend(of_pod);
    expected.sort();
    assert_eq!(names(&policy), expected);
}

#[test]
fn a_service_export_that_its_controller_calls_invalid_exports_nothing() {
    let mut policy = policy();
    policy.export.opt_in = OptIn::ServiceExport;
    let mut world = world(policy, vec![service("apps/svcb", &[("http", 80)])]);
    let export = |invalid: Option<&str>| {
        let invalid = invalid.map(Into::into);
        let record = ServiceExportRecord { invalid };
        set((key("apps/svcb"), Record::ServiceExport(record)))
    };
    assert!(world.apply([export(None)]));
    assert_eq!(world.found.routes().len(), 4);
    assert!(world.apply([export(Some("InvalidServiceType: no"))]));
    assert!(world.found.routes().is_empty());
    let why = world.found.why_unrouted("svcb.apps.svc.cluster.local");
    let text =
        "the condition Valid of the Service's ServiceExport is false: InvalidServiceType: no";
    assert_eq!(why, Some(text));
}

#[test]
fn a_dry_run_routes_all_and_says_what_it_would_refuse() {
    let mut policy = selecting(|it| {
        it.namespaces = vec!["apps".into()];
        it.ports = vec![PortSelector::Number(80)];
    });
    policy.export.dry_run = true;
    let mut objects = two_services();
    objects.push(service("apps/two", &[("a", 80), ("b", 81)]));
    objects.push(service_with("apps/alias", &[("a", 80)], |record| {
        record.kind = ServiceKind::ExternalName;
    }));
    let found = find(policy, objects);
    let expected = [
        ("svcb.apps.svc.cluster.local:80", None),
        (
            "svcb.other.svc.cluster.local:80",
            Some("namespace other is not selected for export"),
        ),
        ("two.apps.svc.cluster.local:80", None),
        (
            "two.apps.svc.cluster.local:81",
            Some("port 81 is not selected for export"),
        ),
    ];
    assert_eq!(found.dry_runs(), expected.into());
    assert_eq!(found.0.unrouted.len(), 1, "the alias");
}

#[test]
fn a_service_is_shown_to_the_namespace_of_istios_gateways_or_hidden_as_istiod_does() {
    for (at, export_to, istio, shown) in [
        ("apps/svcb", &[][..], "istio-system", true),
        ("apps/svcb", &["*"], "istio-system", true),
        ("apps/svcb", &["~", "*"], "istio-system", true),
        ("apps/svcb", &["apps", "istio-system"], "istio-system", true),
        ("apps/svcb", &["istio-system", "~"], "istio-system", false),
        ("apps/svcb", &["."], "istio-system", false),
        ("apps/svcb", &["apps"], "istio-system", false),
        ("apps/svcb", &[""], "istio-system", false),
        ("apps/svcb", &["istio-system"], "mesh", false),
        ("apps/svcb", &["mesh"], "mesh", true),
        ("mesh/svcb", &["."], "mesh", true),
    ] {
        let object = service_with(at, &[("http", 80)], |record| {
            record.export_to = export_to.iter().map(|name| (*name).into()).collect();
        });
        let mut policy = policy();
        policy.istio.namespace = istio.into();
        let found = find(policy, vec![object]);
        let case = (at, export_to, istio);
        assert_eq!(!found.routes().is_empty(), shown, "{case:?}");
    }
}

#[test]
fn no_policy_lets_out_what_has_no_pods_or_what_its_owner_keeps_in() {
    let kind = |kind| {
        service_with("apps/svcb", &[("http", 80)], move |record| {
            record.kind = kind;
        })
    };
    let opted_out = service_with("apps/svcb", &[("http", 80)], |record| {
        record.annotations = labels(&[("export", "false")]);
    });
    let hidden = service_with("apps/svcb", &[("http", 80)], |record| {
        record.export_to = [".".into()].into();
    });
    for (object, reason) in [
        (
            kind(ServiceKind::ExternalName),
            "an ExternalName Service has no pods",
        ),
        (
            hidden,
            "the Service's annotation networking.istio.io/exportTo keeps it from gateways",
        ),
        (service("apps/svcb", &[]), "the Service has no TCP port"),
        (
            opted_out,
            "the Service's annotation strait.dev/export says \"false\"",
        ),
    ] {
        let mut policy = policy();
        policy.export.dry_run = true;
        let found = find(policy, vec![object]);
        assert!(found.routes().is_empty());
        assert_eq!(found.why_unrouted(HOST), Some(reason));
    }
}
