//! Limits on the connections to an upstream and to each of its endpoints.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use crate::support::client::{connect, hello, open};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::{BlackHole, Server, read_exactly, read_to_error};
use crate::support::{SERVICE, wait_until};

/// A connection to an echo that has got its hello back: it is relayed.
#[track_caller]
fn relayed(gateway: &TestGateway) -> TcpStream {
    let (mut client, hello) = open(gateway.address());
    read_exactly(&mut client, hello);
    client
}

/// Asserts that a further connection is closed without an alert, as over this limit, which its line says.
#[track_caller]
fn assert_over_limit(gateway: &TestGateway, detail: &str) {
    let (mut client, _) = open(gateway.address());
    let source = client.local_addr().unwrap();
    let (answer, _) = read_to_error(&mut client);
    assert!(
        answer.is_empty(),
        "clients take an alert as final: {answer:?}"
    );
    let record = gateway.record_of(source);
    assert_eq!(record.outcome, "over_limit", "{record:?}");
    assert_eq!(record.detail.as_deref(), Some(detail));
    assert_eq!((record.attempts, record.endpoint), (0, None));
}

fn refusals(gateway: &TestGateway, scope: &str, limit: &str) -> f64 {
    let labels = [("scope", scope), ("limit", limit)];
    gateway.metric("strait_limit_refusals_total", &labels)
}

#[test]
fn endpoints_at_their_limit_are_passed_over_and_when_all_are_the_call_ends() {
    let servers = [Server::echo(), Server::echo()];
    let endpoints = servers.each_ref().map(|server| server.address);
    let config = ConfigText::to(&endpoints).upstream("limits_per_endpoint: { connections: 2 }");
    let gateway = TestGateway::start(&config);
    let mut open: Vec<_> = (0..4).map(|_| relayed(&gateway)).collect();
    assert_eq!(servers.each_ref().map(Server::connections), [2, 2]);
    assert_over_limit(
        &gateway,
        "every endpoint is at its limit of 2 connections at a time",
    );
    assert_eq!(refusals(&gateway, "endpoint", "connections"), 1.0);

    let closed = open.pop().unwrap();
    let source = closed.local_addr().unwrap();
    drop(closed);
    assert_eq!(gateway.record_of(source).outcome, "ok");
    // The line is written before the place is given back.
    wait_until("its place is free", || {
        let endpoints = gateway.endpoints().into_iter();
        let active = endpoints.map(|one| one["active"].as_u64().unwrap());
        active.sum::<u64>() == 3
    });
    open.push(relayed(&gateway));
    let more = config.upstream("limits: { connections: 5 }").text();
    let more = more.replace("connections: 2 }", "connections: 9 }");
    gateway.reload_text(&more).unwrap();
    wait_until("the reload is in force", || {
        let dump = gateway.dump("/config_dump").to_string();
        dump.contains(r#""connections":9"#)
    });
    open.push(relayed(&gateway));
    assert_over_limit(&gateway, "the upstream's limit of 5 connections at a time");
    assert_eq!(refusals(&gateway, "upstream", "connections"), 1.0);
}

#[test]
fn connects_that_hang_are_bounded_and_those_that_have_ended_do_not_count() {
    let hole = BlackHole::dig();
    let server = Server::echo();
    let start = |endpoint: SocketAddr| {
        let config = ConfigText::to(&[endpoint])
            .upstream("connect: { timeout: 60s, attempts: 1 }")
            .upstream("limits: { connecting: 1 }");
        TestGateway::start(&config)
    };
    let gateway = start(hole.address);
    let mut hangs = connect(gateway.address());
    hangs.write_all(&hello(SERVICE, &[])).unwrap();
    wait_until("a connect is in flight", || {
        gateway.endpoints()[0]["connecting"] == 1
    });
    assert_over_limit(
        &gateway,
        "the upstream's limit of 1 connections being opened",
    );
    assert_eq!(refusals(&gateway, "upstream", "connecting"), 1.0);

    let gateway = start(server.address);
    let open: Vec<_> = (0..3).map(|_| relayed(&gateway)).collect();
    let endpoint = &gateway.endpoints()[0];
    assert_eq!(
        (&endpoint["active"], &endpoint["connecting"]),
        (&3.into(), &0.into())
    );
    drop(open);
}
