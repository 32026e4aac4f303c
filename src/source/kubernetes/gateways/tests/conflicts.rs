//! Conflicts: listeners and routes that want the same name.

use super::Fixture;
use super::objects::{self, gateway};
use crate::config::{Origin, RouteMatch};
use crate::source::kubernetes::gateways::keep_versions;
use crate::source::kubernetes::status::ConditionKind;

fn route(name: &str, created: i64, parent: &str, hostnames: &str, backend: &str) -> String {
    objects::route("apps", name, created, parent, hostnames, backend)
}

#[test]
fn listeners_of_one_gateway_that_ask_for_the_same_are_all_refused() {
    let objects = gateway(
        "apps",
        "gw",
        0,
        &["a=443/x.com", "b=443/x.com", "c=443/y.com", "d=444/x.com"],
    ) + &route("r", 0, "name: gw", "x.com, y.com", "tls-backend");
    let outcome = Fixture::new(&objects).translate();
    let conflicted =
        "!Accepted=HostnameConflict Conflicted=HostnameConflict ResolvedRefs !Programmed=Invalid";
    for name in ["a", "b"] {
        assert_eq!(
            outcome.listener("gw", name),
            (conflicted.to_owned(), 1, true),
            "{name}"
        );
    }
    assert_eq!(
        outcome.listener("gw", "c").0,
        "Accepted ResolvedRefs Programmed"
    );
    assert_eq!(
        outcome.gateway("gw").0,
        "Accepted=ListenersNotValid Programmed"
    );
    assert_eq!(outcome.on(443, "x.com"), None);
    assert_eq!(
        outcome.on(443, "y.com").as_deref(),
        Some("apps/tls-backend:443+all")
    );
    assert_eq!(
        outcome.on(444, "x.com").as_deref(),
        Some("apps/tls-backend:443+all")
    );
}

#[test]
fn a_route_of_conflicted_listeners_only_is_not_accepted() {
    let objects = gateway("apps", "gw", 0, &["a=443/x.com", "b=443/x.com"])
        + &route("r", 0, "name: gw", "x.com", "tls-backend");
    let outcome = Fixture::new(&objects).translate();
    assert_eq!(
        outcome.parent("r"),
        "!Accepted=NotAllowedByListeners ResolvedRefs"
    );
    assert_eq!(outcome.listener("gw", "a").1, 0);
    assert_eq!(
        outcome.gateway("gw").0,
        "!Accepted=ListenersNotValid !Programmed=Invalid"
    );
    assert!(outcome.0.routes.is_empty());
}

#[test]
fn of_two_gateways_that_ask_for_the_same_the_older_keeps_it() {
    // `aaa` comes first by name, but age decides.
    let objects = gateway("apps", "aaa", 2, &["tls=443/x.com"])
        + &gateway("shop", "old", 1, &["tls=443/x.com"]);
    let outcome = Fixture::new(&objects).translate();
    assert_eq!(
        outcome.listener_of("shop", "old", "tls").0,
        "Accepted ResolvedRefs Programmed"
    );
    let conflicted =
        "!Accepted=HostnameConflict Conflicted=HostnameConflict ResolvedRefs !Programmed=Invalid";
    assert_eq!(outcome.listener("aaa", "tls").0, conflicted);
}

#[test]
fn what_is_refused_anyway_takes_nothing_from_a_younger_gateway() {
    let old = gateway("shop", "old", 1, &["tls=443/x.com"]);
    for old in [
        old.replace("Passthrough", "Terminate"),
        old.replace(
            "spec:\n",
            "spec:\n  infrastructure: {parametersRef: {name: x}}\n",
        ),
        old.replace(
            "spec:\n",
            "spec:\n  addresses: [{type: example.com/other, value: x}]\n",
        ),
        old.replace("protocol: TLS", "protocol: HTTPS"),
        gateway("shop", "old", 1, &["a=443/x.com", "b=443/x.com"]),
    ] {
        let objects = old.clone() + &gateway("apps", "gw", 2, &["tls=443/x.com"]);
        let outcome = Fixture::new(&objects).translate();
        assert_eq!(
            outcome.listener("gw", "tls").0,
            "Accepted ResolvedRefs Programmed",
            "{old}"
        );
    }
}

#[test]
fn ports_of_the_gateway_itself_are_not_available() {
    let objects = gateway("apps", "gw", 0, &["probe=15021/x.com", "tls=443/x.com"]);
    let outcome = Fixture::new(&objects).translate();
    let unavailable = "!Accepted=PortUnavailable ResolvedRefs !Programmed=Invalid";
    assert_eq!(outcome.listener("gw", "probe").0, unavailable);
    assert_eq!(outcome.0.routes.keys().collect::<Vec<_>>(), [&443]);
}

#[test]
fn there_are_only_so_many_ports() {
    let gateways = (0..3).map(|number| {
        let listeners: Vec<String> = (0..30)
            .map(|port| format!("l{port}={}/x.com", 1000 + number * 30 + port))
            .collect();
        let listeners: Vec<&str> = listeners.iter().map(String::as_str).collect();
        gateway("apps", &format!("gw{number}"), number, &listeners)
    });
    let objects: String = gateways.collect();
    let objects = objects + &gateway("apps", "last", 9, &["again=1000/y.com"]);
    let mut fixture = Fixture::new(&objects);
    // The first namespace may have all of them.
    fixture.config.home = Some("apps".into());
    let outcome = fixture.translate();
    assert_eq!(outcome.0.routes.len(), 64);
    assert_eq!(
        outcome.listener("gw2", "l3").0,
        "Accepted ResolvedRefs Programmed"
    );
    let unavailable = "!Accepted=PortUnavailable ResolvedRefs !Programmed=Invalid";
    assert_eq!(outcome.listener("gw2", "l4").0, unavailable);
    assert_eq!(
        outcome.listener("last", "again").0,
        "Accepted ResolvedRefs Programmed"
    );
}

#[test]
fn a_name_is_the_oldest_routes_and_then_the_first_by_name() {
    let objects = [
        gateway("apps", "gw", 0, &["tls=443/*.x.com"]),
        route("a", 2, "name: gw", "one.x.com, two.x.com", "tls-backend"),
        route("b", 1, "name: gw", "one.x.com", "tls-backend-2"),
        route(
            "c",
            2,
            "name: gw",
            "two.x.com, three.x.com",
            "tls-backend-2",
        ),
    ];
    let outcome = Fixture::new(&objects.concat()).translate();
    assert_eq!(
        outcome.goes_to("one.x.com").as_deref(),
        Some("apps/tls-backend-2:443+all")
    );
    assert_eq!(
        outcome.goes_to("two.x.com").as_deref(),
        Some("apps/tls-backend:443+all")
    );
    assert_eq!(
        outcome.goes_to("three.x.com").as_deref(),
        Some("apps/tls-backend-2:443+all")
    );
    // The route stays accepted, as the Gateway API has it, and its status names the conflict.
    assert_eq!(outcome.parent("b"), "Accepted ResolvedRefs");
    for (loser, message) in [
        ("a", "one.x.com belongs to the older TLSRoute apps/b"),
        ("c", "two.x.com belongs to the older TLSRoute apps/a"),
    ] {
        assert_eq!(
            outcome.parent(loser),
            "Accepted ResolvedRefs HostnamesRefused=Conflict"
        );
        let message_of_loser = outcome.message("apps", loser, ConditionKind::HostnamesRefused);
        assert_eq!(message_of_loser, message);
    }
    assert_eq!(outcome.listener("gw", "tls").1, 3);
}

/// The hostname of a more specific listener against the routes of wider ones.
#[test]
fn a_listener_keeps_its_hostname_from_routes_of_wider_listeners() {
    let objects = [
        gateway("apps", "wide", 0, &["tls=443/*.x.com"]),
        gateway(
            "shop",
            "narrow",
            1,
            &[
                "exact=443/a.x.com",
                "below=443/*.b.x.com",
                "port=444/c.x.com",
            ],
        ),
        // This route has the names and is attached to the wide listener only.
        route(
            "r",
            0,
            "name: wide",
            "\"*.x.com\", a.x.com, d.b.x.com, c.x.com",
            "tls-backend",
        ),
        route(
            "s",
            0,
            "name: narrow, namespace: shop",
            "d.b.x.com",
            "tls-backend-2",
        ),
    ];
    let outcome = Fixture::new(&objects.concat()).translate();
    for (name, backend) in [
        ("z.x.com", "apps/tls-backend:443+all"),
        // A route of another port.
        ("c.x.com", "apps/tls-backend:443+all"),
        ("a.x.com", "shop/narrow:443+refused"),
        ("d.b.x.com", "apps/tls-backend-2:443+all"),
        ("e.b.x.com", "shop/narrow:443+refused"),
        // The listener's own name, not one below it.
        ("b.x.com", "apps/tls-backend:443+all"),
    ] {
        assert_eq!(outcome.goes_to(name).as_deref(), Some(backend), "{name}");
    }
    let refusing = outcome.route(443, "a.x.com").unwrap();
    assert_eq!(&*refusing.name, "shop/narrow/exact");
    assert!(matches!(&refusing.origin, Origin::Gateway(object) if &*object.name == "narrow"));
    // No wider route would take the name there.
    assert_eq!(outcome.on(444, "c.x.com"), None);
}

#[test]
fn a_route_is_one_route_whatever_listeners_of_a_port_it_has() {
    let objects = [
        gateway(
            "apps",
            "gw",
            0,
            &["one=443/*.one.com", "two=443/*.two.com", "three=444/"],
        ),
        route(
            "r",
            0,
            "name: gw",
            "\"*.com\", a.two.com, \"*.com\"",
            "tls-backend",
        ),
    ];
    let outcome = Fixture::new(&objects.concat()).translate();
    let names = |port: u16| match &outcome.0.routes[&port][..] {
        [route] => match &route.matches {
            RouteMatch::AnyOf(names) => {
                let names: Vec<String> = names.iter().map(ToString::to_string).collect();
                names.join(" ")
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    assert_eq!(names(443), "*.one.com *.two.com a.two.com");
    assert_eq!(names(444), "*.com a.two.com");
}

#[test]
fn writing_a_status_changes_no_route() {
    let objects = gateway("apps", "gw", 0, &["wide=443/", "kept=443/kept.x.com"])
        + &route(
            "r",
            0,
            "name: gw, sectionName: wide",
            "\"*.x.com\"",
            "tls-backend",
        );
    let newer = |version: &str| {
        let version = format!("namespace: apps, resourceVersion: \"{version}\"");
        objects.replace("namespace: apps", &version)
    };
    let before = Fixture::new(&newer("1")).translate().0.routes;
    let mut same = Fixture::new(&newer("2")).translate().0.routes;
    assert_ne!(before, same);
    keep_versions(&before, &mut same);
    assert_eq!(before, same);

    // Another backend: the route gets the version at which that came.
    let changed = newer("3").replace("name: tls-backend", "name: tls-backend-2");
    let mut changed = Fixture::new(&changed).translate().0.routes;
    keep_versions(&before, &mut changed);
    let version = |name: &str| {
        let route = changed[&443]
            .iter()
            .find(|route| &*route.name == name)
            .unwrap();
        route.origin.to_string()
    };
    assert_eq!(version("apps/r"), "TLSRoute apps/r (resourceVersion 3)");
    assert_eq!(
        version("apps/gw/kept"),
        "Gateway apps/gw (resourceVersion 1)"
    );
}
