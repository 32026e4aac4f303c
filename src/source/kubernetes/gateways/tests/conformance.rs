//! The Core cases of the conformance suite for TLS passthrough, by its names.

use super::Fixture;

/// A Gateway of `apps` with one listener on 443 for TLSRoutes of its namespace.
fn gateway(name: &str, hostname: &str) -> String {
    let hostname = match hostname {
        "" => String::new(),
        hostname => format!("hostname: \"{hostname}\", "),
    };
    format!(
        "
---
kind: Gateway
metadata: {{name: {name}, namespace: apps}}
spec:
  gatewayClassName: strait
  listeners:
  - {{name: tls, port: 443, protocol: TLS, {hostname}tls: {{mode: Passthrough}},
     allowedRoutes: {{namespaces: {{from: Same}}, kinds: [{{kind: TLSRoute}}]}}}}
"
    )
}

fn route(name: &str, gateway: &str, hostname: &str, backend: &str) -> String {
    format!(
        "
---
kind: TLSRoute
metadata: {{name: {name}, namespace: apps}}
spec:
  parentRefs: [{{name: {gateway}, namespace: apps}}]
  hostnames: [\"{hostname}\"]
  rules: [{{backendRefs: [{{name: {backend}, port: 443}}]}}]
"
    )
}

#[test]
fn tls_route_simple_same_namespace() {
    let objects =
        gateway("gw", "*.example.com") + &route("r", "gw", "abc.example.com", "tls-backend");
    let outcome = Fixture::new(&objects).translate();
    assert_eq!(
        outcome.goes_to("abc.example.com").as_deref(),
        Some("apps/tls-backend:443+all")
    );
    assert_eq!(outcome.goes_to("other.example.com"), None);
    assert_eq!(outcome.class(), "Accepted");
    assert_eq!(
        outcome.gateway("gw"),
        ("Accepted Programmed".to_owned(), vec!["192.0.2.7"])
    );
    let listener = outcome.listener("gw", "tls");
    assert_eq!(
        listener,
        ("Accepted ResolvedRefs Programmed".to_owned(), 1, true)
    );
    assert_eq!(outcome.parent("r"), "Accepted ResolvedRefs");
}

/// The suite's four Gateways, all at the address of this one gateway at the same time.
#[test]
fn tls_route_hostname_intersection() {
    let objects = [
        gateway("exact", "abc.example.com"),
        route("exact-1", "exact", "*.example.com", "tls-backend"),
        gateway("narrow", "*.example.com"),
        route("narrow-1", "narrow", "abc.example.com", "tls-backend"),
        route("narrow-2", "narrow", "*.com", "tls-backend-2"),
        gateway("wide", "*.com"),
        route("wide-1", "wide", "abc.example.com", "tls-backend"),
        route("wide-2", "wide", "*.example.com", "tls-backend-2"),
        gateway("all", ""),
        route("all-1", "all", "abc.example.com", "tls-backend"),
        route("all-2", "all", "*.com", "tls-backend-2"),
    ];
    let outcome = Fixture::new(&objects.concat()).translate();
    for (name, lost) in [
        ("exact-1", ""),
        ("narrow-1", " HostnamesRefused=Conflict"),
        ("narrow-2", ""),
        ("wide-1", " HostnamesRefused=Conflict"),
        ("wide-2", " HostnamesRefused=Conflict"),
        ("all-1", " HostnamesRefused=Conflict"),
        ("all-2", " HostnamesRefused=Conflict"),
    ] {
        let expected = format!("Accepted ResolvedRefs{lost}");
        assert_eq!(outcome.parent(name), expected, "{name}");
    }
    for (gateway, routes) in [("exact", 1), ("narrow", 2), ("wide", 2), ("all", 2)] {
        let expected = ("Accepted ResolvedRefs Programmed".to_owned(), routes, true);
        assert_eq!(outcome.listener(gateway, "tls"), expected, "{gateway}");
    }
    let backend = outcome.goes_to("abc.example.com");
    assert_eq!(backend.as_deref(), Some("apps/tls-backend:443+all"));
    let backend = outcome.goes_to("other.example.com");
    assert_eq!(backend.as_deref(), Some("apps/tls-backend-2:443+all"));
    // `wide` takes *.com, and none of its routes takes this name: the route of `all` must not get it.
    assert_eq!(outcome.goes_to("non.matching.com"), None);
    assert_eq!(outcome.goes_to("non.matching.org"), None);
}

/// Each of the suite's Gateways alone, as in an implementation with a data plane for each Gateway.
#[test]
fn tls_route_hostname_intersection_of_each_gateway_alone() {
    for (hostname, first, second, refused) in [
        ("abc.example.com", "*.example.com", None, "non.matching.com"),
        (
            "*.example.com",
            "abc.example.com",
            Some("*.com"),
            "non.matching.com",
        ),
        (
            "*.com",
            "abc.example.com",
            Some("*.example.com"),
            "non.matching.com",
        ),
        ("", "abc.example.com", Some("*.com"), "non.matching.org"),
    ] {
        let mut objects = gateway("gw", hostname) + &route("one", "gw", first, "tls-backend");
        if let Some(second) = second {
            objects += &route("two", "gw", second, "tls-backend-2");
        }
        let outcome = Fixture::new(&objects).translate();
        let backend = outcome.goes_to("abc.example.com");
        assert_eq!(
            backend.as_deref(),
            Some("apps/tls-backend:443+all"),
            "{hostname}"
        );
        let other = second.map(|_| "apps/tls-backend-2:443+all");
        assert_eq!(
            outcome.goes_to("other.example.com").as_deref(),
            other,
            "{hostname}"
        );
        assert_eq!(outcome.goes_to(refused), None, "{hostname}");
    }
}

#[test]
fn tls_route_invalid_no_matching_listener_hostname() {
    let two = |name: &str, gateway: &str, hostnames: &str| {
        route(name, gateway, "x", "tls-backend").replace("[\"x\"]", hostnames)
    };
    let objects = [
        gateway("exact", "www.example.com"),
        gateway("wildcard", "*.example.com"),
        two("one", "exact", "[www.nomatch.com, \"*.nomatch.com\"]"),
        two(
            "two",
            "wildcard",
            "[www.different.com, \"*.different.com\"]",
        ),
    ];
    let outcome = Fixture::new(&objects.concat()).translate();
    for (name, gateway) in [("one", "exact"), ("two", "wildcard")] {
        assert_eq!(
            outcome.parent(name),
            "!Accepted=NoMatchingListenerHostname ResolvedRefs"
        );
        assert_eq!(outcome.listener(gateway, "tls").1, 0);
    }
    assert_eq!(outcome.goes_to("www.nomatch.com"), None);
}

#[test]
fn tls_route_invalid_no_matching_listener() {
    let other = |name: &str, port: u16, protocol: &str| {
        format!(
            "
---
kind: Gateway
metadata: {{name: {name}, namespace: apps}}
spec:
  gatewayClassName: strait
  listeners: [{{name: l, port: {port}, protocol: {protocol}}}]
"
        )
    };
    let objects = [
        gateway("tls-only", ""),
        other("http-only", 80, "HTTP"),
        other("https-only", 443, "HTTPS"),
        route("to-http", "http-only", "tls.example.com", "tls-backend"),
        route("to-https", "https-only", "tls.example.com", "tls-backend"),
        route("no-section", "tls-only", "tls.example.com", "tls-backend").replace(
            "name: tls-only,",
            "name: tls-only, sectionName: nonexistent,",
        ),
        route("no-port", "tls-only", "tls.example.com", "tls-backend")
            .replace("name: tls-only,", "name: tls-only, port: 444,"),
    ];
    let outcome = Fixture::new(&objects.concat()).translate();
    for name in ["to-http", "to-https"] {
        assert_eq!(
            outcome.parent(name),
            "!Accepted=NotAllowedByListeners ResolvedRefs"
        );
    }
    for name in ["no-section", "no-port"] {
        assert_eq!(
            outcome.parent(name),
            "!Accepted=NoMatchingParent ResolvedRefs"
        );
    }
    for name in ["http-only", "https-only"] {
        let listener = outcome.listener(name, "l");
        let conditions = "!Accepted=UnsupportedProtocol ResolvedRefs !Programmed=Invalid";
        assert_eq!(listener, (conditions.to_owned(), 0, false));
        let conditions = "!Accepted=ListenersNotValid !Programmed=Invalid";
        assert_eq!(outcome.gateway(name).0, conditions);
    }
    assert_eq!(outcome.listener("tls-only", "tls").1, 0);
    // A port without an accepted listener is not bound, and a listener without a route refuses.
    assert_eq!(outcome.0.routes.keys().collect::<Vec<_>>(), [&443]);
    assert!(outcome.0.routes[&443].is_empty());
}

#[test]
fn tls_route_invalid_backend_ref_nonexistent() {
    let objects = gateway("gw", "") + &route("r", "gw", "example.com", "nonexistent");
    let outcome = Fixture::new(&objects).translate();
    assert_eq!(
        outcome.parent("r"),
        "Accepted !ResolvedRefs=BackendNotFound"
    );
    let refused = "apps/nonexistent:443+refused";
    assert_eq!(outcome.goes_to("example.com").as_deref(), Some(refused));
    assert_eq!(
        outcome.why(refused),
        "backend apps/nonexistent: there is no such Service"
    );
    assert_eq!(outcome.listener("gw", "tls").1, 1);
}

#[test]
fn tls_route_invalid_backend_ref_unknown_kind() {
    let unknown = "group: unknownkind.example.com, kind: NonExistent, name: tls-backend";
    let objects = gateway("gw", "")
        + &route("r", "gw", "example.com", "tls-backend").replace("name: tls-backend", unknown);
    let outcome = Fixture::new(&objects).translate();
    assert_eq!(outcome.parent("r"), "Accepted !ResolvedRefs=InvalidKind");
    let backend = outcome.goes_to("example.com");
    assert_eq!(backend.as_deref(), Some("apps/tls-backend:443+refused"));
}

const GRANT: &str = "
---
kind: ReferenceGrant
metadata: {name: GRANT, namespace: shop}
spec:
  from: [{group: gateway.networking.k8s.io, kind: TLSRoute, namespace: apps}]
  to: [{group: '', kind: Service, name: tls-backend}]
";

#[test]
fn tls_route_invalid_reference_grant() {
    let to_shop = route("r", "gw", "abc.example.com", "tls-backend").replace(
        "{name: tls-backend,",
        "{name: tls-backend, namespace: shop,",
    );
    let almost = [
        GRANT.replace("namespace: shop", "namespace: apps"),
        GRANT.replace("gateway.networking.k8s.io", "other.group"),
        GRANT.replace("kind: TLSRoute", "kind: Gateway"),
        GRANT.replace("namespace: apps", "namespace: other"),
        GRANT.replace("group: ''", "group: other.group"),
        GRANT.replace("kind: Service", "kind: Secret"),
        GRANT.replace("name: tls-backend", "name: other"),
    ];
    let named = almost.iter().enumerate();
    let almost: Vec<String> = named
        .map(|(index, grant)| grant.replace("GRANT", &format!("g{index}")))
        .collect();
    let objects = gateway("gw", "*.example.com") + &to_shop + &almost.concat();
    let mut fixture = Fixture::new(&objects);
    let outcome = fixture.translate();
    assert_eq!(
        outcome.parent("r"),
        "Accepted !ResolvedRefs=RefNotPermitted"
    );
    let backend = outcome.goes_to("abc.example.com");
    assert_eq!(backend.as_deref(), Some("shop/tls-backend:443+refused"));

    for right in [GRANT.to_owned(), GRANT.replace(", name: tls-backend", "")] {
        fixture.set(&right.replace("GRANT", "right"));
        let outcome = fixture.translate();
        assert_eq!(outcome.parent("r"), "Accepted ResolvedRefs");
        let backend = outcome.goes_to("abc.example.com");
        assert_eq!(backend.as_deref(), Some("shop/tls-backend:443+all"));
    }
}

#[test]
fn tls_route_listener_passthrough_supported_kinds() {
    let two = "kinds: [{kind: TCPRoute}, {kind: TLSRoute}]";
    let objects = gateway("gw", "").replace("kinds: [{kind: TLSRoute}]", two)
        + &gateway("none", "a.example.com").replace("kind: TLSRoute", "kind: TCPRoute")
        + &route("r", "gw", "example.com", "tls-backend")
        + &route("s", "none", "a.example.com", "tls-backend");
    let outcome = Fixture::new(&objects).translate();
    let conditions = "Accepted !ResolvedRefs=InvalidRouteKinds Programmed";
    assert_eq!(
        outcome.listener("gw", "tls"),
        (conditions.to_owned(), 1, true)
    );
    let conditions = "Accepted !ResolvedRefs=InvalidRouteKinds !Programmed=Invalid";
    assert_eq!(
        outcome.listener("none", "tls"),
        (conditions.to_owned(), 0, false)
    );
    assert_eq!(
        outcome.parent("s"),
        "!Accepted=NotAllowedByListeners ResolvedRefs"
    );
}

/// Listeners with protocols that are not served, each with what `ResolvedRefs` says: strait reads no
/// certificate, and knows no kind of route for them. The suite's GatewayInvalidTLSConfiguration and
/// GatewaySecret... ask for the same reasons, and for HTTPRoute among the supported kinds.
#[test]
fn listeners_that_are_not_served_resolve_no_certificates() {
    let grant = "
---
kind: ReferenceGrant
metadata: {name: grant, namespace: secrets}
spec:
  from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: apps}]
  to: [{group: '', kind: Secret, name: granted}]
";
    let certificates = "!ResolvedRefs=InvalidCertificateRef";
    for (listener, resolved) in [
        ("protocol: HTTP", "ResolvedRefs"),
        ("protocol: TCP", "ResolvedRefs"),
        ("protocol: HTTPS", "ResolvedRefs"),
        (
            "protocol: HTTP, allowedRoutes: {kinds: [{kind: HTTPRoute}]}",
            "!ResolvedRefs=InvalidRouteKinds",
        ),
        (
            "protocol: HTTPS, tls: {certificateRefs: [{name: c}]}",
            certificates,
        ),
        (
            "protocol: HTTPS, tls: {mode: Terminate, certificateRefs: [{name: c, kind: Secret, group: ''}]}",
            certificates,
        ),
        (
            "protocol: HTTPS, tls: {certificateRefs: [{name: c, kind: Other, group: example.org}]}",
            certificates,
        ),
        (
            "protocol: HTTPS, tls: {certificateRefs: [{name: c, namespace: apps}]}",
            certificates,
        ),
        (
            "protocol: HTTPS, tls: {certificateRefs: [{name: granted, namespace: secrets}]}",
            certificates,
        ),
        (
            "protocol: HTTPS, tls: {certificateRefs: [{name: c}, {name: other, namespace: secrets}]}",
            "!ResolvedRefs=RefNotPermitted",
        ),
        (
            "protocol: HTTPS, tls: {certificateRefs: [{name: granted, namespace: elsewhere}]}",
            "!ResolvedRefs=RefNotPermitted",
        ),
    ] {
        let objects = format!(
            "
---
kind: Gateway
metadata: {{name: gw, namespace: apps}}
spec:
  gatewayClassName: strait
  listeners: [{{name: l, port: 443, {listener}}}]
{grant}"
        );
        let outcome = Fixture::new(&objects).translate();
        let conditions = format!("!Accepted=UnsupportedProtocol {resolved} !Programmed=Invalid");
        assert_eq!(
            outcome.listener("gw", "l"),
            (conditions, 0, false),
            "{listener}"
        );
    }
}

const TERMINATE: &str = "
---
kind: Gateway
metadata: {name: mixed, namespace: apps}
spec:
  gatewayClassName: strait
  listeners:
  - {name: terminate, port: 8443, protocol: TLS, hostname: terminate.example.com,
     tls: {mode: Terminate, certificateRefs: [{name: c}]}, allowedRoutes: {kinds: [{kind: TLSRoute}]}}
  - {name: passthrough, port: 8443, protocol: TLS, hostname: passthrough.example.com,
     tls: {mode: Passthrough, certificateRefs: [{name: ignored}]}}
";

/// The suite's TLSRouteListenerTerminateNotSupported, and the listeners beside such a one: a port may
/// mix modes, as far as they are served.
#[test]
fn tls_route_listener_terminate_not_supported() {
    let objects = TERMINATE.to_owned()
        + &route("r", "mixed", "terminate.example.com", "tls-backend")
        + &route("s", "mixed", "*.example.com", "tls-backend");
    let outcome = Fixture::new(&objects).translate();
    let conditions =
        "!Accepted=UnsupportedValue !ResolvedRefs=InvalidCertificateRef !Programmed=Invalid";
    assert_eq!(
        outcome.listener("mixed", "terminate"),
        (conditions.to_owned(), 0, false)
    );
    let conditions = "Accepted ResolvedRefs Programmed";
    assert_eq!(
        outcome.listener("mixed", "passthrough"),
        (conditions.to_owned(), 1, true)
    );
    assert_eq!(
        outcome.gateway("mixed").0,
        "Accepted=ListenersNotValid Programmed"
    );
    assert_eq!(outcome.on(8443, "terminate.example.com"), None);
    let backend = outcome.on(8443, "passthrough.example.com");
    assert_eq!(backend.as_deref(), Some("apps/tls-backend:443+all"));
}
