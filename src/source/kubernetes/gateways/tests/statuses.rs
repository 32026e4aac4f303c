//! Tests of which objects are ours, and of statuses beyond those of the listeners.

use super::Fixture;
use crate::config::GatewayAddresses;
use crate::source::kubernetes::cluster::Kind;
use crate::source::kubernetes::records::ObjectKey;
use crate::source::kubernetes::status::Status;

const GATEWAY: &str = "
kind: Gateway
metadata: {name: gw, namespace: apps, generation: 7}
spec:
  gatewayClassName: strait
  addresses: []
  listeners: [{name: tls, port: 443, protocol: TLS, tls: {mode: Passthrough}}]
";

const ROUTE: &str = "
---
kind: TLSRoute
metadata: {name: r, namespace: apps, generation: 3}
spec:
  parentRefs: [{name: gw}, {name: gw, kind: Service}, {name: gw, group: other}, {name: absent}]
  hostnames: [x.com]
  rules: [{backendRefs: [{name: tls-backend, port: 443}]}]
";

#[test]
fn gateways_of_another_class_or_controller_are_left_alone() {
    let other = GATEWAY.replace("gatewayClassName: strait", "gatewayClassName: other");
    let outcome = Fixture::new(&(other + ROUTE)).translate();
    assert!(!outcome.has_gateway("apps", "gw"));
    assert_eq!(outcome.parents("apps", "r"), None);

    let mut fixture = Fixture::new(&(GATEWAY.to_owned() + ROUTE));
    assert!(fixture.translate().has_gateway("apps", "gw"));
    let theirs = "
kind: GatewayClass
metadata: {name: strait}
spec: {controllerName: example.com/theirs}
";
    fixture.set(theirs);
    let outcome = fixture.translate();
    assert!(outcome.0.statuses.objects.is_empty());
    assert!(outcome.0.routes.is_empty());
    fixture.remove(Kind::GatewayClass, "", "strait");
    assert!(fixture.translate().0.statuses.objects.is_empty());
}

#[test]
fn every_class_with_our_controller_gets_an_answer_and_the_config_names_the_one_that_is_served() {
    let mut fixture =
        Fixture::new(&GATEWAY.replace("gatewayClassName: strait", "gatewayClassName: second"));
    fixture.set(
        "
kind: GatewayClass
metadata: {name: second, generation: 4}
spec: {controllerName: strait.dev/gateway-controller}
---
kind: GatewayClass
metadata: {name: theirs}
spec: {controllerName: example.com/theirs}
",
    );
    let outcome = fixture.translate();
    assert_eq!(outcome.class_named("strait").as_deref(), Some("Accepted"));
    let second = outcome.class_named("second");
    assert_eq!(second.as_deref(), Some("!Accepted=Unsupported"));
    assert_eq!(outcome.class_named("theirs"), None);
    let key = ObjectKey::global(&"second".into());
    let wanted = &outcome.0.statuses.objects[&(Kind::GatewayClass, key)];
    assert_eq!(wanted.revision.generation, 4);
    // A Gateway of it is not ours.
    assert!(!outcome.has_gateway("apps", "gw"));

    fixture.config.class = "second".into();
    let outcome = fixture.translate();
    let strait = outcome.class_named("strait");
    assert_eq!(strait.as_deref(), Some("!Accepted=Unsupported"));
    assert_eq!(outcome.class_named("second").as_deref(), Some("Accepted"));
    assert!(outcome.has_gateway("apps", "gw"));
}

#[test]
fn the_features_leave_out_what_needs_http_listeners() {
    let outcome = Fixture::new("").translate();
    let key = ObjectKey::global(&"strait".into());
    let wanted = &outcome.0.statuses.objects[&(Kind::GatewayClass, key)];
    match wanted.status {
        Status::Class { features, .. } => assert_eq!(features, ["ReferenceGrant", "TLSRoute"]),
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn parameters_are_refused_of_the_class_and_of_a_gateway() {
    let class = "
kind: GatewayClass
metadata: {name: strait}
spec: {controllerName: strait.dev/gateway-controller, parametersRef: {kind: ConfigMap}}
";
    let mut fixture = Fixture::new(&(GATEWAY.to_owned() + ROUTE));
    fixture.set(class);
    let outcome = fixture.translate();
    assert_eq!(outcome.class(), "!Accepted=InvalidParameters");
    assert!(!outcome.has_gateway("apps", "gw"));
    assert!(outcome.0.routes.is_empty());

    let gateway = GATEWAY.replace(
        "  addresses: []",
        "  infrastructure: {parametersRef: {name: x}}",
    );
    let outcome = Fixture::new(&(gateway + ROUTE)).translate();
    assert_eq!(
        outcome.gateway("gw").0,
        "!Accepted=InvalidParameters !Programmed=Invalid"
    );
    assert_eq!(
        outcome.listener("gw", "tls").0,
        "Accepted ResolvedRefs !Programmed=Invalid"
    );
    assert_eq!(
        outcome.parent("r"),
        "!Accepted=NotAllowedByListeners ResolvedRefs"
    );
    assert!(outcome.0.routes.is_empty());
}

#[test]
fn a_status_is_about_the_generation_that_was_read() {
    let outcome = Fixture::new(&(GATEWAY.to_owned() + ROUTE)).translate();
    for (kind, name, generation) in [(Kind::Gateway, "gw", 7), (Kind::TlsRoute, "r", 3)] {
        let key = ObjectKey {
            namespace: "apps".into(),
            name: name.into(),
        };
        let wanted = &outcome.0.statuses.objects[&(kind, key)];
        assert_eq!(wanted.revision.generation, generation);
    }
}

#[test]
fn only_references_to_our_gateways_are_reported_on() {
    let outcome = Fixture::new(&(GATEWAY.to_owned() + ROUTE)).translate();
    assert_eq!(
        outcome.parents("apps", "r").unwrap(),
        ["Accepted ResolvedRefs"]
    );
}

#[test]
fn a_route_that_left_loses_our_entries_and_nobody_elses() {
    let mut fixture = Fixture::new(GATEWAY);
    let left = ROUTE.replace("{name: gw}, ", "{name: theirs}, ") + "reportedBy: CONTROLLER\n";
    let theirs = "
kind: Gateway
metadata: {name: theirs, namespace: apps}
spec: {gatewayClassName: other}
";
    fixture.set(theirs);
    fixture.set(&left.replace("CONTROLLER", "example.com/theirs"));
    assert_eq!(fixture.translate().parents("apps", "r"), None);

    fixture.set(&left.replace("CONTROLLER", "strait.dev/gateway-controller"));
    let outcome = fixture.translate();
    let key = ObjectKey {
        namespace: "apps".into(),
        name: "r".into(),
    };
    match &outcome.0.statuses.objects[&(Kind::TlsRoute, key)].status {
        Status::Route { parents, others } => {
            assert!(parents.is_empty());
            // Another strait may serve that class.
            let names: Vec<&str> = others.iter().map(|parent| &*parent.name).collect();
            assert_eq!(names, ["theirs"]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_gateway_shows_the_addresses_of_the_service_in_front() {
    let mut fixture = Fixture::new(GATEWAY);
    fixture.config.addresses = GatewayAddresses::Service {
        namespace: "strait".into(),
        name: "strait".into(),
    };
    let waiting = ("Accepted !Programmed=AddressNotAssigned".to_owned(), vec![]);
    assert_eq!(fixture.translate().gateway("gw"), waiting);
    let service = "
kind: Service
metadata: {name: strait, namespace: strait}
addresses: []
";
    fixture.set(service);
    assert_eq!(fixture.translate().gateway("gw"), waiting);
    fixture.set(&service.replace("[]", "[203.0.113.9, gw.example.com]"));
    let outcome = fixture.translate();
    let addresses = vec!["203.0.113.9", "gw.example.com"];
    assert_eq!(
        outcome.gateway("gw"),
        ("Accepted Programmed".to_owned(), addresses)
    );
    // Addresses that a Gateway asks for are not needed where strait does not know its own.
    fixture.config.addresses = GatewayAddresses::Unknown;
    assert_eq!(
        fixture.translate().gateway("gw"),
        ("Accepted Programmed".to_owned(), vec![])
    );
}

/// The suite's GatewayStaticAddresses and GatewayAddressEmpty.
#[test]
fn addresses_that_a_gateway_asks_for_must_be_ours() {
    let asking = |addresses: &str| {
        let mut fixture =
            Fixture::new(&GATEWAY.replace("addresses: []", &format!("addresses: [{addresses}]")));
        fixture.config.addresses =
            GatewayAddresses::Fixed(vec!["192.0.2.7".into(), "192.0.2.8".into()]);
        let outcome = fixture.translate();
        let (conditions, addresses) = outcome.gateway("gw");
        (conditions, addresses.join(" "))
    };
    for (addresses, conditions, shown) in [
        (
            "{type: IPAddress, value: 192.0.2.8}",
            "Accepted Programmed",
            "192.0.2.8",
        ),
        (
            "{type: IPAddress}",
            "Accepted Programmed",
            "192.0.2.7 192.0.2.8",
        ),
        (
            "{value: 192.0.2.8}, {value: 198.51.100.1}",
            "Accepted !Programmed=AddressNotUsable",
            "192.0.2.8",
        ),
    ] {
        assert_eq!(
            asking(addresses),
            (conditions.to_owned(), shown.to_owned()),
            "{addresses}"
        );
    }
    let strange = asking("{type: example.com/other, value: x}, {value: 192.0.2.8}");
    assert_eq!(
        strange.0,
        "!Accepted=UnsupportedAddress !Programmed=Invalid"
    );
}

#[test]
fn every_service_that_a_status_depends_on_is_named() {
    let backends = "{name: tls-backend, port: 443}, {name: absent, port: 443, weight: 0}, \
                    {name: hidden, namespace: shop, port: 443}";
    let route = ROUTE.replace("{name: tls-backend, port: 443}", backends);
    let mut fixture = Fixture::new(&(GATEWAY.to_owned() + &route));
    fixture.config.addresses = GatewayAddresses::Service {
        namespace: "strait".into(),
        name: "front".into(),
    };
    let outcome = fixture.translate();
    let services = outcome.0.services.iter();
    let services: Vec<String> = services
        .map(|key| format!("{}/{}", key.namespace, key.name))
        .collect();
    assert_eq!(
        services,
        [
            "apps/absent",
            "apps/tls-backend",
            "shop/hidden",
            "strait/front"
        ]
    );
}

/// Prints the cost of one change. Run it by hand, with `--release` for real figures.
#[test]
#[ignore = "a measurement"]
fn how_long_a_translation_of_many_routes_takes() {
    for routes in [100, 1_000, 10_000] {
        let mut fixture = Fixture::new(GATEWAY);
        for number in 0..routes {
            let route = ROUTE.replace("{name: r,", &format!("{{name: r{number},"));
            fixture.set(&route.replace("x.com", &format!("a{number}.x.com, b{number}.x.com")));
        }
        let start = std::time::Instant::now();
        let outcome = fixture.translate();
        assert_eq!(outcome.0.routes[&443].len(), routes);
        println!("{routes} TLSRoutes: {:?}", start.elapsed());
    }
}
