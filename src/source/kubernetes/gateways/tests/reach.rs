//! Tests of the ports of listeners: those that cannot be opened, and those that clients do not reach.

use super::Fixture;
use crate::config::GatewayAddresses;

const GATEWAY: &str = "
kind: Gateway
metadata: {name: gw, namespace: apps}
spec:
  gatewayClassName: strait
  listeners:
  - {name: one, port: 443, protocol: TLS, tls: {mode: Passthrough}}
  - {name: two, port: 8443, protocol: TLS, tls: {mode: Passthrough}}
---
kind: TLSRoute
metadata: {name: r, namespace: apps}
spec:
  parentRefs: [{name: gw}]
  hostnames: [x.com]
  rules: [{backendRefs: [{name: tls-backend, port: 443}]}]
";

fn listeners(fixture: &Fixture) -> [String; 2] {
    let outcome = fixture.translate();
    ["one", "two"].map(|name| outcome.listener("gw", name).0)
}

const GOOD: &str = "Accepted ResolvedRefs Programmed";
const PENDING: &str = "Accepted ResolvedRefs !Programmed=Pending";

#[test]
fn a_port_that_cannot_be_opened_is_not_accepted_and_keeps_its_routes() {
    let mut fixture = Fixture::new(GATEWAY);
    let before = fixture.translate();
    fixture.ports.open.remove(&443);
    fixture.ports.failed.insert(443, "Permission denied".into());
    let bad = "!Accepted=PortUnavailable ResolvedRefs !Programmed=Invalid";
    assert_eq!(listeners(&fixture), [bad, GOOD]);
    let outcome = fixture.translate();
    assert_eq!(
        outcome.gateway("gw").0,
        "Accepted=ListenersNotValid Programmed"
    );
    let message = outcome.gateway_message("gw", "Accepted");
    assert!(
        message.contains("one: strait cannot listen on port 443"),
        "{message}"
    );
    assert!(message.contains("Permission denied"), "{message}");
    // Otherwise the port would not be tried again.
    assert_eq!(outcome.0.routes, before.0.routes);
    assert_eq!(outcome.listener("gw", "one").1, 1);

    fixture.ports.open.remove(&8443);
    fixture.ports.failed.insert(8443, "in use".into());
    assert_eq!(
        fixture.translate().gateway("gw").0,
        "!Accepted=ListenersNotValid !Programmed=Invalid"
    );
}

#[test]
fn a_port_that_was_not_opened_yet_is_pending() {
    let mut fixture = Fixture::new(GATEWAY);
    fixture.ports.open.remove(&443);
    assert_eq!(listeners(&fixture), [PENDING, GOOD]);
    assert_eq!(fixture.translate().gateway("gw").0, "Accepted Programmed");
    fixture.ports.open.clear();
    let outcome = fixture.translate();
    assert_eq!(outcome.gateway("gw").0, "Accepted !Programmed=Pending");
    let message = outcome.gateway_message("gw", "Programmed");
    assert!(
        message.contains("one: ") && message.contains("two: "),
        "{message}"
    );
}

#[test]
fn a_port_that_the_service_in_front_does_not_lead_to_is_pending() {
    let front = |ports: &str| {
        format!(
            "
kind: Service
metadata: {{name: front, namespace: apps}}
spec: {{ports: [{ports}]}}
addresses: [192.0.2.9]
"
        )
    };
    let named = "{name: a, port: 443, targetPort: tls}";
    for (ports, expected) in [
        ("{port: 443}, {port: 8443}", [GOOD, GOOD]),
        ("{port: 443}, {port: 443, targetPort: 8443}", [GOOD, GOOD]),
        ("{port: 443, targetPort: 8443}", [PENDING, GOOD]),
        ("{port: 15443}", [PENDING, PENDING]),
        // Nothing says yet which number the name stands for.
        (named, [GOOD, PENDING]),
    ] {
        let mut fixture = Fixture::new(&(GATEWAY.to_owned() + "---" + &front(ports)));
        fixture.config.addresses = GatewayAddresses::Service {
            namespace: "apps".into(),
            name: "front".into(),
        };
        assert_eq!(listeners(&fixture), expected, "{ports}");
        let outcome = fixture.translate();
        let (_, front) = outcome.0.front.as_ref().unwrap();
        assert!(front.is_empty());
    }
    let mut fixture = Fixture::new(&(GATEWAY.to_owned() + "---" + &front(named)));
    fixture.config.addresses = GatewayAddresses::Service {
        namespace: "apps".into(),
        name: "front".into(),
    };
    fixture.slice("front", "a", 8443);
    assert_eq!(listeners(&fixture), [PENDING, GOOD]);
    let message = fixture.translate().gateway_message("gw", "Programmed");
    assert!(
        message.contains("no port of Service apps/front") && message.contains("port 443"),
        "{message}"
    );
}
