//! `strait doctor` and the gateway: the doctor adds what a gateway says of itself, the gateway tells the doctor's connections
//! from others, and the label exempts from nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConnection;
use serde_json::Value;
use strait::doctor::LABEL;

use crate::doctor::{Said, doctor};
use crate::federation::{SERVICE_ROUTE, gateway};
use crate::support::client::connect;
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::mtls::Pki;
use crate::support::server::refusing_address;
use crate::support::{OUTBOUND, wait_until};

/// A call of svcb by a client that is not the doctor; it fails.
fn fail_a_call(gateway: &TestGateway) {
    let name = OUTBOUND.to_owned().try_into().unwrap();
    let config = Arc::new(Pki::create().svca());
    let mut session = ClientConnection::new(config, name).unwrap();
    let mut stream = connect(gateway.address());
    assert!(session.complete_io(&mut stream).is_err());
}

fn file_of(gateway: &TestGateway, admin: SocketAddr) -> String {
    let at = gateway.address();
    format!(
        "sides:
  - {{ trust_domain: alpha.com, gateway: '{at}' }}
  - trust_domain: beta.com
    gateway: '{at}'
    admin: ['{admin}']
    services: [{{ host: svcb.apps.svc.cluster.local, port: 80 }}]
"
    )
}

fn examine(file: &str) -> Said {
    Said::of(&doctor(file, &["-o", "json"]))
}

/// The check of that name.
fn check<'a>(said: &'a Said, name: &str) -> &'a Value {
    let checks = said.report["checks"].as_array().unwrap();
    let found = checks.iter().find(|one| one["check"] == *name);
    found.unwrap_or_else(|| panic!("no {name}: {:#}", said.report))
}

#[test]
fn what_the_gateway_saw_fail_is_told_without_the_doctors_own() {
    let gateway = gateway(&[refusing_address()]);
    let file = file_of(&gateway, gateway.admin_address());
    // The second sees the failures of the first.
    examine(&file);
    let said = examine(&file);
    let own = check(&said, "gateway-failures");
    assert_eq!(own["state"], "passed", "{own:#}");
    fail_a_call(&gateway);
    // The caller sees its end before the gateway has noted it.
    wait_until("the gateway has noted the failure", || {
        let status = gateway.dump("/status?rows=100");
        let failures = status["failures"]["rows"].as_array().unwrap();
        failures.iter().any(|failure| failure["doctors"] == false)
    });
    let said = examine(&file);
    let found = check(&said, "gateway-failures");
    assert_eq!(found["state"], "warned", "{found:#}");
    let finding = found["finding"].as_str().unwrap();
    let start = format!("1 to {OUTBOUND}: connect_refused, ended by ");
    assert!(finding.starts_with(&start), "{finding}");
    let remedy = found["remedy"].as_str().unwrap();
    assert!(remedy.contains("outcomes.md"), "{remedy}");
    // It warns, and the check of the service has the cross.
    let faults = said.faults();
    assert!(
        faults.contains_key("beta.com service-route connect"),
        "{faults:#?}"
    );
}

#[test]
fn a_gateway_without_failures_has_nothing_to_say_and_one_that_is_away_is_told() {
    let well = gateway(&[refusing_address()]);
    let said = examine(&file_of(&well, well.admin_address()));
    assert_eq!(check(&said, "gateway-failures")["state"], "passed");
    let said = examine(&file_of(&well, refusing_address()));
    let untold = check(&said, "gateway-troubles");
    assert_eq!(untold["state"], "not_told", "{untold:#}");
    assert_eq!(untold["finding"], "it takes no connection");
}

#[test]
fn the_gateway_counts_the_doctors_hellos_and_no_others() {
    let gateway = gateway(&[refusing_address()]);
    fail_a_call(&gateway);
    let counted = || gateway.metric("strait_doctor_hellos_total", &[]);
    assert_eq!(counted(), 0.0);
    assert!(!gateway.record().alpn.unwrap().contains(LABEL));
    examine(&file_of(&gateway, gateway.admin_address()));
    // Two controls for each side, and of the service one as a sidecar sends it, one as others do, and a large one.
    assert_eq!(counted(), 7.0);
    let all = gateway.metric("strait_hellos_total", &[]);
    assert_eq!(all, 8.0, "they count there too");
}

#[test]
fn the_label_exempts_from_nothing() {
    // No source of this machine may connect: the connection ends before its hello, whoever it is of.
    let config = format!(
        "listeners: [{{ name: east-west, bind: '127.0.0.1:0', allow_sources: [192.0.2.0/24], routes: {SERVICE_ROUTE} }}]
upstreams: {{ svcb: {{ endpoints: ['{}'] }} }}",
        refusing_address()
    );
    let gateway = TestGateway::start(&ConfigText::verbatim(&config));
    fail_a_call(&gateway);
    let outcome = gateway.record().outcome;
    examine(&file_of(&gateway, gateway.admin_address()));
    for _ in 0..6 {
        assert_eq!(gateway.record().outcome, outcome);
    }
    let counted = gateway.metric("strait_doctor_hellos_total", &[]);
    assert_eq!(counted, 0.0, "no hello was read");
}
