//! Tests of who may attach, and who may have a name.

use super::Fixture;
use crate::source::kubernetes::status::ConditionKind;

const GATEWAY: &str = "
kind: Gateway
metadata: {name: gw, namespace: apps}
spec:
  gatewayClassName: strait
  listeners: [{name: tls, port: 443, protocol: TLS, tls: {mode: Passthrough}, allowedRoutes: {NAMESPACES}}]
";

fn route(namespace: &str, hostnames: &str) -> String {
    format!(
        "---\nkind: TLSRoute\nmetadata: {{name: r, namespace: {namespace}}}\n\
         spec:\n  parentRefs: [{{name: gw, namespace: apps}}]\n  hostnames: [{hostnames}]\n  \
         rules: [{{backendRefs: [{{name: tls-backend, port: 443}}]}}]\n"
    )
}

#[test]
fn a_listener_takes_routes_of_the_namespaces_that_it_allows() {
    for (namespaces, apps, shop) in [
        ("", true, false),
        ("namespaces: {}", true, false),
        ("namespaces: {from: Same}", true, false),
        ("namespaces: {from: All}", true, true),
        ("namespaces: {from: None}", false, false),
        ("namespaces: {from: Selector}", false, false),
        ("namespaces: {from: Selector, selector: {}}", true, true),
        (
            "namespaces: {from: Selector, selector: {matchLabels: {team: shop}}}",
            false,
            true,
        ),
    ] {
        for (namespace, allowed) in [("apps", apps), ("shop", shop)] {
            let objects = GATEWAY.replace("NAMESPACES", namespaces) + &route(namespace, "x.com");
            let outcome = Fixture::new(&objects).translate();
            let conditions = match allowed {
                true => "Accepted ResolvedRefs",
                false => "!Accepted=NotAllowedByListeners ResolvedRefs",
            };
            let parents = outcome.parents(namespace, "r").unwrap();
            assert_eq!(parents, [conditions], "{namespaces} for {namespace}");
            assert_eq!(
                outcome.goes_to("x.com").is_some(),
                allowed,
                "{namespaces} for {namespace}"
            );
        }
    }
    // A namespace that has not been seen matches no selector.
    let open = GATEWAY.replace("NAMESPACES", "namespaces: {from: Selector, selector: {}}");
    let outcome = Fixture::new(&(open + &route("unseen", "x.com"))).translate();
    let conditions = "!Accepted=NotAllowedByListeners !ResolvedRefs=BackendNotFound";
    assert_eq!(outcome.parents("unseen", "r").unwrap(), [conditions]);
}

#[test]
fn names_of_another_namespaces_services_are_refused() {
    let gateway = GATEWAY.replace("NAMESPACES", "namespaces: {from: All}");
    let outcome =
        |hostnames: &str| Fixture::new(&(gateway.clone() + &route("shop", hostnames))).translate();
    for hostname in [
        "web.apps.svc.cluster.local",
        "*.svc.cluster.local",
        "*.local",
    ] {
        let outcome = outcome(&format!("\"{hostname}\""));
        let conditions =
            "!Accepted=HostnameNotPermitted ResolvedRefs HostnamesRefused=NotPermitted";
        assert_eq!(
            outcome.parents("shop", "r").unwrap(),
            [conditions],
            "{hostname}"
        );
        assert_eq!(outcome.listener("gw", "tls").1, 0, "{hostname}");
        assert_eq!(
            outcome.goes_to("web.apps.svc.cluster.local"),
            None,
            "{hostname}"
        );
    }
    // Its other names are served.
    let outcome =
        outcome("web.apps.svc.cluster.local, web.shop.svc.cluster.local, \"*.clusterset.local\"");
    let conditions = "Accepted ResolvedRefs HostnamesRefused=NotPermitted";
    assert_eq!(outcome.parents("shop", "r").unwrap(), [conditions]);
    assert_eq!(
        outcome.message("shop", "r", ConditionKind::HostnamesRefused),
        "web.apps.svc.cluster.local belongs to namespace apps; *.clusterset.local takes in names that \
         belong to every namespace"
    );
    assert_eq!(outcome.goes_to("web.apps.svc.cluster.local"), None);
    assert!(outcome.goes_to("web.shop.svc.cluster.local").is_some());
}

#[test]
fn a_wide_hostname_is_no_wider_than_the_listeners() {
    let narrow = GATEWAY
        .replace("NAMESPACES", "namespaces: {from: All}")
        .replace(
            "port: 443,",
            "port: 443, hostname: \"*.shop.svc.cluster.local\",",
        );
    let outcome = Fixture::new(&(narrow + &route("shop", "\"*.local\""))).translate();
    assert_eq!(
        outcome.parents("shop", "r").unwrap(),
        ["Accepted ResolvedRefs"]
    );
    assert!(outcome.goes_to("web.shop.svc.cluster.local").is_some());
    assert_eq!(outcome.goes_to("web.apps.svc.cluster.local"), None);
}

/// Before `v1` a TLSRoute needed no hostname, and got those of the listener.
#[test]
fn a_route_without_hostnames_has_the_listeners_and_never_all() {
    let gateway = GATEWAY.replace("NAMESPACES", "");
    let outcome = Fixture::new(&(gateway.clone() + &route("apps", ""))).translate();
    let conditions = "!Accepted=HostnameNotPermitted ResolvedRefs HostnamesRefused=NotPermitted";
    assert_eq!(outcome.parent("r"), conditions);
    assert_eq!(outcome.goes_to("x.com"), None);

    let named = gateway.replace("port: 443,", "port: 443, hostname: \"*.x.com\",");
    let outcome = Fixture::new(&(named + &route("apps", ""))).translate();
    assert_eq!(outcome.parent("r"), "Accepted ResolvedRefs");
    assert!(outcome.goes_to("a.x.com").is_some());
    assert_eq!(outcome.goes_to("x.com"), None);
}

#[test]
fn a_hostname_that_is_no_server_name_is_left_out_and_reported() {
    let objects =
        GATEWAY.replace("NAMESPACES", "") + &route("apps", "x.com, \"10.0.0.1\", \"a..b\"");
    let outcome = Fixture::new(&objects).translate();
    assert_eq!(
        outcome.parent("r"),
        "Accepted ResolvedRefs HostnamesRefused=NotPermitted"
    );
    let message = outcome.message("apps", "r", ConditionKind::HostnamesRefused);
    assert!(
        message.starts_with("10.0.0.1 the name is an IP address"),
        "{message}"
    );
    assert!(outcome.goes_to("x.com").is_some());
}
