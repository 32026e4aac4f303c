//! Endpoints as an operator sees them: their totals, and what takes one out and puts it back.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use crate::support::client::{connect, hello};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::{Server, read_exactly, refusing_address, reset};
use crate::support::{SERVICE, wait_until};

fn call(gateway: &TestGateway) -> TcpStream {
    let mut client = connect(gateway.address());
    let hello = hello(SERVICE, &[]);
    client.write_all(&hello).unwrap();
    read_exactly(&mut client, hello.len());
    client
}

fn endpoint(gateway: &TestGateway, address: SocketAddr) -> Value {
    let endpoints = gateway.endpoints().into_iter();
    let mut found = endpoints.filter(|one| one["address"] == address.to_string());
    found.next().expect("the endpoint")
}

fn post(gateway: &TestGateway, address: SocketAddr, query: &str) -> (u16, Value) {
    let path = format!("/upstreams/svcb/endpoints/{address}?{query}");
    let (status, body) = gateway.admin("POST", &path);
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

#[test]
fn a_drained_endpoint_gets_no_connection_until_it_is_ready() {
    let (one, other) = (Server::echo(), Server::echo());
    let config = ConfigText::to(&[one.address, other.address]).top("workers: 1");
    let gateway = TestGateway::start(&config);
    let (status, answer) = post(&gateway, one.address, "state=drain");
    assert_eq!((status, &answer["state"]), (200, &json!("drained")));
    let before = one.connections();
    let mut kept: Vec<_> = (0..20).map(|_| call(&gateway)).collect();
    assert_eq!(one.connections(), before);
    let states = |state| gateway.metric("strait_upstream_endpoints", &[("state", state)]);
    assert_eq!([states("drained"), states("ready")], [1.0, 1.0]);
    // Nothing is left: a drained endpoint is not a last resort.
    assert_eq!(post(&gateway, other.address, "state=drain").0, 200);
    let mut refused = connect(gateway.address());
    refused.write_all(&hello(SERVICE, &[])).unwrap();
    let record = gateway.record_of(refused.local_addr().unwrap());
    assert_eq!(record.outcome, "no_endpoint", "{record:?}");
    // Its open connections go on.
    for client in &mut kept {
        client.write_all(b"on").unwrap();
        assert_eq!(read_exactly(client, 2), b"on");
    }
    let (status, answer) = post(&gateway, one.address, "state=ready");
    assert_eq!((status, &answer["state"]), (200, &json!("ready")));
    kept.push(call(&gateway));
    assert_eq!(one.connections(), before + 1);
}

#[test]
fn a_drain_with_a_time_ends_by_itself() {
    let server = Server::echo();
    let gateway = TestGateway::start(&ConfigText::to(&[server.address]));
    let (status, answer) = post(&gateway, server.address, "state=drain&for=1500ms");
    assert_eq!((status, &answer["state"]), (200, &json!("drained")));
    assert!(
        answer["drain_left_ms"].as_u64().unwrap() <= 1500,
        "{answer}"
    );
    wait_until("the drain is over", || {
        endpoint(&gateway, server.address)["state"] == "ready"
    });
    call(&gateway);
}

#[test]
fn what_is_asked_for_wrongly_changes_no_endpoint() {
    let server = Server::echo();
    let gateway = TestGateway::start(&ConfigText::to(&[server.address]));
    let at = format!("/upstreams/svcb/endpoints/{}", server.address);
    for (path, expected) in [
        (at.clone(), 400),
        (format!("{at}?state=gone"), 400),
        (format!("{at}?state=drain&for=soon"), 400),
        (format!("{at}?state=ready&for=1m"), 400),
        (format!("{at}?state=drain&ejection=lift"), 400),
        (format!("{at}?drain"), 400),
        ("/upstreams/svcb/endpoints/here?state=drain".to_owned(), 400),
        (
            "/upstreams/svcb/endpoints/192.0.2.1:1?state=drain".to_owned(),
            404,
        ),
        (
            format!("/upstreams/other/endpoints/{}?state=drain", server.address),
            404,
        ),
    ] {
        let (status, body) = gateway.admin("POST", &path);
        assert_eq!(status, expected, "{path}: {body}");
    }
    assert_eq!(endpoint(&gateway, server.address)["state"], "ready");
}

#[test]
fn an_ejection_is_lifted() {
    let (good, bad) = (Server::echo(), refusing_address());
    let config = ConfigText::to(&[good.address, bad])
        .upstream("ejection: { consecutive_failures: 1, base: 5m, max: 5m }");
    let gateway = TestGateway::start(&config);
    wait_until("the endpoint is ejected", || {
        call(&gateway);
        endpoint(&gateway, bad)["state"] == "ejected"
    });
    let found = endpoint(&gateway, bad);
    let totals = &found["totals"];
    assert_eq!(totals["ejections"], 1, "{found}");
    assert_eq!(totals["connections"], 0, "{found}");
    assert_eq!(totals["failed_connects"], 1, "{found}");
    assert_eq!(totals["last_failure"]["outcome"], "connect_refused");
    let (status, answer) = post(&gateway, bad, "ejection=lift");
    assert_eq!((status, &answer["state"]), (200, &json!("ready")));
}

#[test]
fn the_totals_of_an_endpoint_say_what_happened_there() {
    let server = Server::start(|mut stream| {
        read_exactly(&mut stream, 1);
        reset(stream);
    });
    let echo = Server::echo();
    let config = ConfigText::to(&[server.address])
        .upstream("ejection: { consecutive_failures: 0, refused_sources: 0 }");
    let gateway = TestGateway::start(&config);
    assert_eq!(endpoint(&gateway, server.address).get("totals"), None);
    for _ in 0..3 {
        let mut client = connect(gateway.address());
        client.write_all(&hello(SERVICE, &[])).unwrap();
        gateway.record_of(client.local_addr().unwrap());
    }
    let totals = endpoint(&gateway, server.address)["totals"].clone();
    assert_eq!(totals["connections"], 3, "{totals}");
    assert_eq!(totals["failed_before_reply"], 3, "{totals}");
    assert!(totals["connect_p99_ms"].as_f64().unwrap() > 0.0, "{totals}");
    let address = server.address.to_string();
    let failures = |reason| {
        let labels = [("endpoint", &*address), ("reason", reason)];
        gateway.metric("strait_endpoint_failures_total", &labels)
    };
    assert_eq!(
        ["before_reply", "connect", "handshake"].map(failures),
        [3.0, 0.0, 0.0]
    );
    let config = ConfigText::to(&[echo.address]).top("workers: 1");
    gateway.reload(&config).unwrap();
    let client = call(&gateway);
    let sent = hello(SERVICE, &[]).len();
    // Bytes are counted once they are written.
    wait_until("they are counted both ways", || {
        let totals = &endpoint(&gateway, echo.address)["totals"];
        totals["to_upstream_bytes"] == sent && totals["to_downstream_bytes"] == sent
    });
    drop(client);
}

#[test]
fn endpoints_beyond_the_number_that_the_config_says_have_no_metrics() {
    let server = Server::echo();
    for (most, expected) in [(1, 1.0), (0, 0.0)] {
        let config = ConfigText::to(&[server.address]).metrics(&format!("endpoints: {most}"));
        let gateway = TestGateway::start(&config);
        call(&gateway);
        wait_until("the connection is counted", || {
            gateway.metric("strait_connections_opened_total", &[]) == 1.0
        });
        let connections = gateway.metric("strait_endpoint_connections_total", &[]);
        assert_eq!(connections, expected, "of {most}");
        let connects = "strait_upstream_connect_duration_seconds_count";
        let of_upstream = gateway.metric(connects, &[("upstream", "svcb")]);
        assert_eq!(of_upstream, expected, "of {most}");
    }
}

#[test]
fn an_operator_makes_the_gateway_not_ready_and_ready_again() {
    let (gateway, _echo) = TestGateway::with_echo(&[]);
    gateway.wait_ready();
    let status = || gateway.health("/healthz/ready").unwrap().0;
    let (answered, body) = gateway.admin("POST", "/ready?fail");
    assert_eq!((answered, body.contains("false")), (200, true), "{body}");
    assert_eq!(status(), 503);
    assert_eq!(gateway.metric("strait_ready", &[]), 0.0);
    // It serves on.
    call(&gateway);
    assert_eq!(gateway.admin("POST", "/ready?ok").0, 200);
    assert_eq!(status(), 200);
    assert_eq!(gateway.admin("POST", "/ready?fail&for=200ms").0, 200);
    wait_until("the time is over", || status() == 200);
    for wrong in ["", "?maybe", "?ok&for=1m", "?fail&for=x"] {
        assert_eq!(
            gateway.admin("POST", &format!("/ready{wrong}")).0,
            400,
            "{wrong}"
        );
    }
    assert_eq!(status(), 200);
}
