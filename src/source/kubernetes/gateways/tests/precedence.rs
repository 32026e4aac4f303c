//! Tests of precedence: names that one namespace may take from another and from the file, by the
//! operator's settings.

use super::Fixture;
use super::objects::{gateway, route};
use crate::config::{BelowFileRoutes, FileRoute, GatewayNamespaces, PortRange, SniPattern};
use crate::source::kubernetes::cluster::Kind;
use crate::source::kubernetes::gateways::names;
use crate::source::kubernetes::status::ConditionKind;

const CONFLICTED: &str =
    "!Accepted=HostnameConflict Conflicted=HostnameConflict ResolvedRefs !Programmed=Invalid";
const SERVED: &str = "Accepted ResolvedRefs Programmed";

/// The namespace `apps` belongs to the platform, `shop` to a tenant.
fn fixture(objects: &[String]) -> Fixture {
    let mut fixture = Fixture::new(&objects.concat());
    let listed = ["apps".into(), "shop".into()];
    fixture.config.namespaces = GatewayNamespaces::Listed(listed.into());
    fixture
}

fn file_has(fixture: &mut Fixture, port: u16, pattern: &str) {
    let pattern = match pattern {
        "*" => SniPattern::Any,
        other => names::parse(other).unwrap(),
    };
    let route = FileRoute {
        listener: "east-west".into(),
        route: "fixed".into(),
    };
    fixture.config.file_names.add(port, pattern, &route);
}

fn platform() -> Vec<String> {
    vec![
        // The platform's objects are younger than the tenant's.
        gateway("apps", "platform", 9, &["tls=15443/*.beta.example"]),
        route(
            "apps",
            "svcc",
            9,
            "name: platform",
            "svcc.beta.example",
            "tls-backend",
        ),
    ]
}

fn notices(outcome: &super::fixture::Outcome) -> Vec<String> {
    let notices = outcome.0.statuses.notices.iter();
    notices
        .map(|notice| format!("{} {}: {}", notice.about.1, notice.reason, notice.note))
        .collect()
}

/// A tenant's Gateway with a more specific hostname, with a route and without one (a black hole).
#[test]
fn a_name_below_a_listener_of_a_namespace_that_comes_before_is_not_given_away() {
    for hostname in ["svcc.beta.example", "*.beta.example", "*.svcc.beta.example"] {
        for with_route in [true, false] {
            let mut objects = platform();
            let listener = format!("tls=15443/{hostname}");
            objects.push(gateway("shop", "tenant", 1, &[&listener]));
            if with_route {
                let names = "svcc.beta.example, a.svcc.beta.example";
                objects.push(route(
                    "shop",
                    "evil",
                    1,
                    "name: tenant",
                    names,
                    "tls-backend",
                ));
            }
            let outcome = fixture(&objects).translate();
            let text = format!("{hostname}, with a route: {with_route}");
            let to = outcome.on(15443, "svcc.beta.example");
            assert_eq!(to.as_deref(), Some("apps/tls-backend:443+all"), "{text}");
            assert_eq!(outcome.on(15443, "a.svcc.beta.example"), None, "{text}");
            assert_eq!(
                outcome.listener_of("shop", "tenant", "tls").0,
                CONFLICTED,
                "{text}"
            );
            // The platform's own conditions are the same without the tenant.
            let alone = fixture(&platform()).translate();
            for (kind, name) in [(Kind::Gateway, "platform"), (Kind::TlsRoute, "svcc")] {
                let status = |outcome: &super::fixture::Outcome| {
                    outcome.0.statuses.objects[&(kind, super::fixture::key("apps", name))].clone()
                };
                assert_eq!(status(&outcome), status(&alone), "{text}");
            }
            let said = notices(&outcome);
            assert_eq!(said.len(), 1, "{said:?}");
            let expected = "apps/platform HostnameConflict: listener tls of Gateway shop/tenant";
            assert!(said[0].starts_with(expected), "{said:?}");
            if with_route {
                let parents = outcome.parents("shop", "evil").unwrap();
                assert!(parents[0].starts_with("!Accepted="), "{parents:?}");
            }
        }
    }
}

#[test]
fn names_of_a_wider_listener_stay_with_the_listener_that_comes_before() {
    let mut objects = platform();
    objects.push(gateway("shop", "tenant", 1, &["tls=15443/"]));
    let names = "svcc.beta.example, other.beta.example";
    objects.push(route(
        "shop",
        "evil",
        1,
        "name: tenant",
        names,
        "tls-backend",
    ));
    let names = "\"*.beta.example\", svcc.shop.example, \"*.example\"";
    objects.push(route(
        "shop",
        "mixed",
        1,
        "name: tenant",
        names,
        "tls-backend",
    ));
    let outcome = fixture(&objects).translate();
    assert_eq!(
        outcome.listener_of("shop", "tenant", "tls"),
        (SERVED.to_owned(), 1, true)
    );
    assert_eq!(
        outcome.parents("shop", "evil").unwrap(),
        ["!Accepted=HostnameConflict ResolvedRefs HostnamesRefused=Conflict"]
    );
    assert_eq!(
        outcome.parents("shop", "mixed").unwrap(),
        ["Accepted ResolvedRefs HostnamesRefused=Conflict"]
    );
    let message = outcome.message("shop", "mixed", ConditionKind::HostnamesRefused);
    assert_eq!(
        message,
        "*.beta.example stays with listener tls of Gateway apps/platform"
    );
    for (name, to) in [
        ("svcc.beta.example", "apps/tls-backend:443+all"),
        ("other.beta.example", "apps/platform:15443+refused"),
        ("svcc.shop.example", "shop/tls-backend:443+all"),
        ("b.example", "shop/tls-backend:443+all"),
    ] {
        assert_eq!(outcome.on(15443, name).as_deref(), Some(to), "{name}");
    }
}

#[test]
fn of_one_rank_the_more_specific_listener_has_a_name_and_the_wider_ones_status_says_so() {
    let mut objects = platform();
    objects.push(gateway(
        "shop",
        "tenant",
        10,
        &["tls=15443/svcc.beta.example"],
    ));
    // Both belong to "all others".
    let outcome = Fixture::new(&objects.concat()).translate();
    assert_eq!(outcome.listener_of("shop", "tenant", "tls").0, SERVED);
    assert_eq!(
        outcome.parents("apps", "svcc").unwrap(),
        ["Accepted ResolvedRefs HostnamesRefused=Conflict"]
    );
    let message = outcome.message("apps", "svcc", ConditionKind::HostnamesRefused);
    assert_eq!(
        message,
        "svcc.beta.example belongs to listener tls of Gateway shop/tenant"
    );
    let said = notices(&outcome);
    assert!(
        said[0].starts_with("apps/platform HostnameTaken: "),
        "{said:?}"
    );
    // With `all`, strait's own namespace comes before the others.
    let mut fixture = Fixture::new(&objects.concat());
    fixture.config.home = Some("apps".into());
    let outcome = fixture.translate();
    assert_eq!(outcome.listener_of("shop", "tenant", "tls").0, CONFLICTED);
}

/// With istiod's name on the port where the file has a catch-all.
#[test]
fn names_of_the_file_cover_what_lies_below_them() {
    let name = "istiod.istio-system.svc";
    let objects = [
        gateway(
            "shop",
            "narrow",
            1,
            &["tls=15012/istiod.istio-system.svc", "other=15443/x.com"],
        ),
        gateway("shop", "wide", 1, &["tls=15012/"]),
        route(
            "shop",
            "r",
            1,
            "name: narrow, sectionName: tls",
            name,
            "tls-backend",
        ),
        route(
            "shop",
            "s",
            1,
            "name: wide",
            &format!("{name}, free.example"),
            "tls-backend",
        ),
    ];
    for (pattern, below, narrow, to, s) in [
        (
            "*",
            BelowFileRoutes::Refuse,
            false,
            None,
            "!Accepted=NotAllowedByListeners ResolvedRefs",
        ),
        (
            "*.svc",
            BelowFileRoutes::Refuse,
            false,
            None,
            "Accepted ResolvedRefs HostnamesRefused=Conflict",
        ),
        (
            name,
            BelowFileRoutes::Refuse,
            false,
            None,
            "Accepted ResolvedRefs HostnamesRefused=Conflict",
        ),
        (
            name,
            BelowFileRoutes::Allow,
            false,
            None,
            "Accepted ResolvedRefs HostnamesRefused=Conflict",
        ),
        (
            "*",
            BelowFileRoutes::Allow,
            true,
            Some("shop/tls-backend:443+all"),
            "",
        ),
        (
            "*.istio-system.svc",
            BelowFileRoutes::Allow,
            true,
            Some("shop/tls-backend:443+all"),
            "",
        ),
    ] {
        let mut fixture = fixture(&objects);
        fixture.config.below_file_routes = below;
        file_has(&mut fixture, 15012, pattern);
        let outcome = fixture.translate();
        let text = format!("{pattern} {below:?}");
        assert_eq!(outcome.on(15012, name).as_deref(), to, "{text}");
        let expected = if narrow { SERVED } else { CONFLICTED };
        assert_eq!(
            outcome.listener_of("shop", "narrow", "tls").0,
            expected,
            "{text}"
        );
        assert_eq!(
            outcome.listener_of("shop", "narrow", "other").0,
            SERVED,
            "another port"
        );
        if !s.is_empty() {
            assert_eq!(outcome.parents("shop", "s").unwrap(), [s], "{text}");
            let parents = outcome.parents("shop", "r").unwrap();
            assert_eq!(
                parents,
                ["!Accepted=NotAllowedByListeners ResolvedRefs"],
                "{text}"
            );
        }
        let free = outcome.on(15012, "free.example").is_some();
        assert_eq!(
            free,
            s != "!Accepted=NotAllowedByListeners ResolvedRefs",
            "{text}"
        );
    }
}

#[test]
fn gateways_of_namespaces_that_may_have_none_are_not_served_and_take_nothing() {
    let mut objects = platform();
    objects.push(gateway(
        "shop",
        "tenant",
        1,
        &["tls=15443/svcc.beta.example", "b=16000/x.com"],
    ));
    objects.push(route(
        "shop",
        "evil",
        1,
        "name: tenant",
        "svcc.beta.example",
        "tls-backend",
    ));
    for (namespaces, labels) in [
        (GatewayNamespaces::Own, vec![]),
        (GatewayNamespaces::Listed(vec!["apps".into()]), vec![]),
        (GatewayNamespaces::All, vec![("team", "apps")]),
    ] {
        let mut fixture = Fixture::new(&objects.concat());
        let text = format!("{namespaces:?} {labels:?}");
        fixture.config.namespaces = namespaces;
        fixture.config.home = Some("apps".into());
        let labels = labels
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()));
        fixture.config.namespace_labels = labels.collect();
        let outcome = fixture.translate();
        let to = outcome.on(15443, "svcc.beta.example");
        assert_eq!(to.as_deref(), Some("apps/tls-backend:443+all"), "{text}");
        assert!(!outcome.0.routes.contains_key(&16000), "{text}");
        assert_eq!(
            outcome.gateway_of("shop", "tenant").0,
            "!Accepted=NamespaceNotAllowed !Programmed=Invalid",
            "{text}"
        );
        let parents = outcome.parents("shop", "evil").unwrap();
        assert_eq!(
            parents,
            ["!Accepted=NotAllowedByListeners ResolvedRefs"],
            "{text}"
        );
        let message = outcome.message("shop", "evil", ConditionKind::Accepted);
        assert!(
            message.contains("kubernetes.gateway_api.namespaces"),
            "{message}"
        );
        assert_eq!(
            outcome.0.statuses.left_out.namespaces,
            [("shop".into(), 2)].into(),
            "{text}"
        );
        assert_eq!(notices(&outcome), [""; 0], "{text}");
    }
    // The same holds if its namespace, or the namespace's labels, are not known.
    let mut fixture = Fixture::new(&objects.concat());
    fixture.config.namespaces = GatewayNamespaces::Own;
    fixture.config.home = None;
    assert!(fixture.translate().0.routes.is_empty());
    fixture.config.namespaces = GatewayNamespaces::All;
    fixture.config.namespace_labels = [("team".into(), "apps".into())].into();
    fixture.remove(Kind::Namespace, "", "apps");
    assert!(fixture.translate().0.routes.is_empty());
}

#[test]
fn ports_that_the_operator_does_not_name_are_not_opened() {
    let listeners = [
        "a=15443/x.com",
        "b=8005/x.com",
        "c=8011/x.com",
        "d=443/x.com",
    ];
    let mut fixture = fixture(&[gateway("shop", "gw", 1, &listeners)]);
    let range = PortRange {
        first: 8000,
        last: 8010,
    };
    fixture.config.ports = vec![range, PortRange::from(15443)];
    let outcome = fixture.translate();
    assert_eq!(
        outcome.0.routes.keys().copied().collect::<Vec<_>>(),
        [8005, 15443]
    );
    let unavailable = "!Accepted=PortUnavailable ResolvedRefs !Programmed=Invalid";
    for (name, status) in [
        ("a", SERVED),
        ("b", SERVED),
        ("c", unavailable),
        ("d", unavailable),
    ] {
        assert_eq!(outcome.listener_of("shop", "gw", name).0, status, "{name}");
    }
    assert_eq!(
        outcome.0.statuses.left_out.ports,
        [(443, 1), (8011, 1)].into()
    );
}

/// A tenant's Gateways use 64 ports, and the platform creates its Gateway afterwards.
#[test]
fn a_namespace_cannot_use_up_the_ports_of_others() {
    let listeners = |first: u16| -> Vec<String> {
        (first..first + 64)
            .map(|port| format!("l{port}={port}/"))
            .collect()
    };
    let all = |namespace: &str, name: &str, created: i64, first: u16| {
        let listeners = listeners(first);
        let listeners: Vec<&str> = listeners.iter().map(String::as_str).collect();
        gateway(namespace, name, created, &listeners)
    };
    let tenant = all("shop", "tenant", 1, 2000);
    let outcome = fixture(&[tenant.clone(), all("apps", "platform", 9, 1000)]).translate();
    let mut ports = outcome.0.routes.keys().copied();
    assert!(
        ports.all(|port| (1000..1064).contains(&port)),
        "the platform's come first"
    );
    let outcome = fixture(&[tenant, gateway("apps", "platform", 9, &["l=1000/"])]).translate();
    assert_eq!(outcome.0.routes.len(), 17, "16 of the tenant");
    assert_eq!(outcome.listener_of("apps", "platform", "l").0, SERVED);
}

#[test]
fn the_status_of_the_route_that_keeps_a_name_says_who_else_claims_it() {
    let objects = [
        gateway("apps", "gw", 0, &["tls=443/"]),
        route("apps", "first", 1, "name: gw", "x.com", "tls-backend"),
        route(
            "shop",
            "second",
            2,
            "name: gw, namespace: apps",
            "x.com",
            "tls-backend",
        ),
        route("apps", "third", 3, "name: gw", "x.com", "tls-backend"),
    ];
    let outcome = fixture(&objects).translate();
    let said = notices(&outcome);
    let expected =
        "apps/first HostnameConflict: TLSRoute shop/second claims x.com too, and goes without it";
    assert_eq!(said, [expected]);
    assert_eq!(
        outcome.parents("apps", "first").unwrap(),
        ["Accepted ResolvedRefs"]
    );
}

/// The names of a Gateway must not depend on the order in which the API lists Gateways.
#[test]
fn a_tenants_catch_all_does_not_shadow_what_comes_before() {
    let mut objects = platform();
    objects.push(gateway("shop", "tenant", 1, &["tls=15443/"]));
    objects.push(route(
        "shop",
        "all",
        1,
        "name: tenant",
        "\"*.example\"",
        "tls-backend",
    ));
    let outcome = fixture(&objects).translate();
    let to = |name: &str| outcome.on(15443, name);
    assert_eq!(
        to("svcc.beta.example").as_deref(),
        Some("apps/tls-backend:443+all")
    );
    assert_eq!(
        to("else.beta.example").as_deref(),
        Some("apps/platform:15443+refused")
    );
    assert_eq!(
        to("svcc.example").as_deref(),
        Some("shop/tls-backend:443+all")
    );
}
