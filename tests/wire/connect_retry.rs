//! Connecting: one endpoint after another, and which ones are left alone.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::support::client::{connect, hello, open};
use crate::support::config_text::ConfigText;
use crate::support::faults::ClosedPort;
use crate::support::gateway::TestGateway;
use crate::support::server::{
    ANSWER, BlackHole, Server, answer_hello, read_exactly, read_to_eof, refusing_address, reset,
};
use crate::support::{self, SERVICE, assert_same_bytes, noise, wait_until};

/// Endpoints of one weight are picked at random: in this many tries each one is first sometimes.
const TRIES: usize = 24;
/// The time that a busy machine may add to any bound of these tests.
const SLACK: Duration = Duration::from_secs(10);

fn start(endpoints: &[SocketAddr], upstream: &[&str]) -> TestGateway {
    let config = ConfigText::to(endpoints).top("workers: 1");
    let with = |config: ConfigText, line: &&str| config.upstream(line);
    TestGateway::start(&upstream.iter().fold(config, with))
}

fn attempts(gateway: &TestGateway, result: &str) -> f64 {
    gateway.metric("strait_connect_attempts_total", &[("result", result)])
}

fn endpoints_in(gateway: &TestGateway, state: &str) -> f64 {
    let labels = [("upstream", "svcb"), ("state", state)];
    gateway.metric("strait_upstream_endpoints", &labels)
}

/// Sends `pieces` through `gateway`, each once the one before was read, and reads back what an echo
/// has got.
fn echoed(gateway: &TestGateway, pieces: &[&[u8]]) -> (SocketAddr, Vec<u8>) {
    let mut client = connect(gateway.address());
    for (number, piece) in pieces.iter().enumerate() {
        if number > 0 {
            wait_until("the hello is read in pieces", || {
                gateway.metric("strait_hello_memory_bytes", &[]) > 0.0
            });
        }
        client.write_all(piece).unwrap();
    }
    let source = client.local_addr().unwrap();
    let echoed = read_exactly(&mut client, pieces.concat().len());
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_eof(&mut client), b"");
    (source, echoed)
}

#[test]
fn a_dead_endpoint_costs_an_attempt_and_not_a_byte() {
    let live = Server::echo();
    let endpoints = [live.address, refusing_address()];
    let mut wire = hello(SERVICE, &[]);
    let middle = wire.len() / 2;
    wire.extend(noise(10_000, 1));
    // Peeked at, and so still in the socket; or read, and so replayed from memory.
    let (whole, halves) = ([&wire[..]], [&wire[..middle], &wire[middle..]]);
    for pieces in [&whole[..], &halves] {
        let retried = (0..TRIES).any(|_| {
            // A new one, since an endpoint that has failed is picked less often.
            let gateway = start(&endpoints, &[]);
            let (source, got) = echoed(&gateway, pieces);
            assert_same_bytes(&got, &wire);
            let record = gateway.record_of(source);
            assert_eq!(record.outcome, "ok", "{record:?}");
            assert_eq!(record.endpoint, Some(live.address));
            assert_eq!(record.to_upstream, wire.len() as u64);
            assert!(matches!(record.attempts, 1 | 2), "{record:?}");
            assert_eq!(attempts(&gateway, "connected"), 1.0);
            let refused = f64::from(record.attempts - 1);
            assert_eq!(attempts(&gateway, "connect_refused"), refused);
            record.attempts == 2
        });
        assert!(retried, "the dead endpoint is never picked first");
    }
}

#[test]
fn with_all_endpoints_dead_the_last_reason_and_all_attempts_are_recorded() {
    let dead: Vec<SocketAddr> = (0..4).map(|_| refusing_address()).collect();
    let gateway = start(&dead, &["connect: { attempts: 3 }"]);
    let (client, _) = open(gateway.address());
    let record = gateway.record_of(client.local_addr().unwrap());
    assert_eq!(record.outcome, "connect_refused");
    assert_eq!(record.attempts, 3, "the limit, not the number of endpoints");
    assert!(record.connect_ms.is_some(), "{record:?}");
    let last = record.endpoint.expect("the endpoint tried last");
    assert!(dead.contains(&last), "{last}");
    assert_eq!(attempts(&gateway, "connect_refused"), 3.0);

    let two = start(&dead[..2], &["connect: { attempts: 3, timeout: 200ms }"]);
    let (client, _) = open(two.address());
    let record = two.record_of(client.local_addr().unwrap());
    assert!(
        record.attempts > 3,
        "all have failed, and are tried again: {record:?}"
    );
    assert!(record.attempts < 20, "after pauses: {record:?}");

    let once = start(&dead[..1], &["connect: { attempts: 1 }"]);
    let (client, _) = open(once.address());
    assert_eq!(once.record_of(client.local_addr().unwrap()).attempts, 1);
}

#[test]
fn the_client_gets_a_close_without_an_alert_so_that_it_tries_again() {
    let gateway = start(&[refusing_address()], &["connect: { timeout: 100ms }"]);
    let (mut client, _) = open(gateway.address());
    assert_eq!(read_to_eof(&mut client), b"");
    let record = gateway.record_of(client.local_addr().unwrap());
    assert_eq!(record.outcome, "connect_refused");
}

#[test]
fn an_endpoint_that_drops_every_syn_costs_its_timeout_and_no_more() {
    let hole = BlackHole::dig();
    let live = Server::echo();
    let timeout = Duration::from_millis(300);
    let policy = [
        "connect: { timeout: 300ms, hedge: off }",
        "ejection: { consecutive_failures: 0 }",
    ];
    let hello = hello(SERVICE, &[]);
    let slow = (0..TRIES).any(|_| {
        // A new one, since an endpoint that has failed is picked less often.
        let gateway = start(&[hole.address, live.address], &policy);
        let (source, got) = echoed(&gateway, &[&hello]);
        assert_same_bytes(&got, &hello);
        let record = gateway.record_of(source);
        assert_eq!(
            (&*record.outcome, record.endpoint),
            ("ok", Some(live.address))
        );
        if record.attempts == 2 {
            assert_bounded(record.connect_ms, timeout);
            assert_eq!(attempts(&gateway, "connect_timeout"), 1.0);
        }
        record.attempts == 2
    });
    assert!(slow, "the hole was not picked first");

    let nothing_else = start(&[hole.address], &policy[..1]);
    let (client, _) = open(nothing_else.address());
    let record = nothing_else.record_of(client.local_addr().unwrap());
    assert_eq!((&*record.outcome, record.attempts), ("connect_timeout", 1));
    assert_bounded(record.connect_ms, timeout);
}

#[test]
fn the_outcome_is_that_of_the_endpoint_tried_last() {
    let (hole, dead) = (BlackHole::dig(), refusing_address());
    let policy = [
        "connect: { timeout: 100ms, hedge: off }",
        "ejection: { consecutive_failures: 0 }",
    ];
    let gateway = start(&[hole.address, dead], &policy);
    for _ in 0..6 {
        let (client, _) = open(gateway.address());
        let record = gateway.record_of(client.local_addr().unwrap());
        assert_eq!(record.attempts, 2, "{record:?}");
        let outcome = match record.endpoint {
            Some(endpoint) if endpoint == dead => "connect_refused",
            _ => "connect_timeout",
        };
        assert_eq!(record.outcome, outcome, "{record:?}");
    }
}

#[track_caller]
fn assert_bounded(connect_ms: Option<f64>, timeout: Duration) {
    let took = Duration::from_secs_f64(connect_ms.expect("an attempt was made") / 1000.0);
    assert!(took >= timeout && took < timeout + SLACK, "took {took:?}");
}

/// A gateway that is still connecting for a client, for longer than any test lasts.
fn connecting() -> (TestGateway, TcpStream, BlackHole) {
    let hole = BlackHole::dig();
    let gateway = start(&[hole.address], &["connect: { timeout: 60s }"]);
    let (client, _) = open(gateway.address());
    wait_until("the attempt is under way", || {
        gateway.endpoints()[0]["active"] == 1
    });
    (gateway, client, hole)
}

#[test]
fn a_client_that_resets_ends_the_attempt_for_it() {
    let (gateway, client, hole) = connecting();
    let source = client.local_addr().unwrap();
    let reset_at = Instant::now();
    reset(client);
    let record = gateway.record_of(source);
    assert!(reset_at.elapsed() < SLACK);
    assert_eq!(record.outcome, "downstream_reset");
    assert_eq!(record.ended_by.as_deref(), Some("downstream"));
    assert_eq!(record.attempts, 1);
    wait_until("the endpoint's connection is given up", || {
        gateway.endpoints()[0]["active"] == 0
    });
    assert!(!has_socket_towards(hole.address), "the SYN is still sent");
}

/// Whether this process's host has a TCP socket that is being connected to `address`.
fn has_socket_towards(address: SocketAddr) -> bool {
    let SocketAddr::V4(address) = address else {
        panic!("{address} is not IPv4");
    };
    // proc(5): addresses are hexadecimal words in the machine's byte order; 02 is SYN_SENT.
    let ip = u32::from_ne_bytes(address.ip().octets());
    let remote = format!(" {ip:08X}:{:04X} 02 ", address.port());
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    table.lines().any(|line| line.contains(&remote))
}

#[test]
fn a_client_that_only_closes_its_side_while_connecting_is_still_served() {
    let hole = BlackHole::dig();
    // So long that the attempt is seen while it lasts.
    let gateway = start(&[hole.address], &["connect: { timeout: 5s }"]);
    let (mut client, _) = open(gateway.address());
    client.shutdown(Shutdown::Write).unwrap();
    wait_until("the attempt is under way", || {
        gateway.endpoints()[0]["active"] == 1 && has_socket_towards(hole.address)
    });
    assert_eq!(read_to_eof(&mut client), b"", "a close, not a reset");
    let record = gateway.record_of(client.local_addr().unwrap());
    assert_eq!(record.outcome, "connect_timeout", "{record:?}");

    // And where a pod accepts, it gets the hello and the FIN.
    let (live, accepted) = Server::handing_over();
    let policy = ["connect: { timeout: 300ms }"];
    let gateway = start(&[hole.address, live.address], &policy);
    let (mut client, hello) = open(gateway.address());
    client.shutdown(Shutdown::Write).unwrap();
    let mut upstream = accepted.recv_timeout(support::DEADLINE).unwrap();
    assert_eq!(read_to_eof(&mut upstream).len(), hello);
    assert!(read_to_eof(&mut client).is_empty());
    let record = gateway.record_of(client.local_addr().unwrap());
    assert_eq!(record.outcome, "upstream_silent", "{record:?}");
}

fn ejected(gateway: &TestGateway, address: SocketAddr) -> bool {
    ejection_left(gateway, address).is_some()
}

/// The rest of an endpoint's ejection, in milliseconds.
fn ejection_left(gateway: &TestGateway, address: SocketAddr) -> Option<u64> {
    let address = address.to_string();
    let endpoints = gateway.endpoints();
    let endpoint = endpoints
        .iter()
        .find(|endpoint| endpoint["address"] == *address)
        .expect("the endpoint is listed");
    assert_eq!(
        endpoint["state"] == "ejected",
        endpoint["ejection_left_ms"].is_u64(),
        "{endpoint}"
    );
    endpoint["ejection_left_ms"].as_u64()
}

#[test]
fn an_endpoint_that_keeps_failing_is_left_alone_until_its_time_is_over() {
    let (live, dead) = (Server::echo(), refusing_address());
    let policy = "ejection: { consecutive_failures: 1, base: 6s, max: 60s }";
    let gateway = start(&[live.address, dead], &[policy]);
    let call = || {
        let (source, _) = echoed(&gateway, &[&hello(SERVICE, &[])]);
        gateway.record_of(source).attempts
    };
    assert!(!ejected(&gateway, dead));
    assert_eq!(endpoints_in(&gateway, "ejected"), 0.0);

    let (mut failures, mut since) = (0, Instant::now());
    wait_until("the dead endpoint has failed", || {
        since = Instant::now();
        failures += call() - 1;
        failures == 1
    });
    assert!(ejected(&gateway, dead));
    assert!(!ejected(&gateway, live.address));
    assert_eq!(endpoints_in(&gateway, "ejected"), 1.0);
    assert_eq!(endpoints_in(&gateway, "ready"), 1.0);
    let left = || ejection_left(&gateway, dead);
    let mut calls = 0;
    while calls < TRIES && left() > Some(1500) {
        let (tried, refused) = (call(), attempts(&gateway, "connect_refused"));
        // A machine that stands still may do so until the ejection is over.
        if left() > Some(0) {
            assert_eq!((tried, refused), (1, 1.0), "an ejected endpoint was tried");
            calls += 1;
        }
    }
    assert!(calls > 2, "too slow to show anything: {calls} calls");

    wait_until("the ejection is over", || left() == Some(0));
    assert!(since.elapsed() > Duration::from_millis(5900));
    wait_until("it is tried again", || call() == 2);
    assert!(left() > Some(0), "one more failure is enough");
}

#[test]
fn an_endpoint_that_comes_back_is_used_again() {
    let live = Server::echo();
    let closed = ClosedPort::reserve();
    let back = closed.address;
    let policy = "ejection: { consecutive_failures: 1, base: 300ms }";
    let gateway = start(&[live.address, back], &[policy]);
    wait_until("it is ejected", || {
        echoed(&gateway, &[&hello(SERVICE, &[])]);
        ejected(&gateway, back)
    });
    let listener = closed.open();
    std::thread::spawn(move || {
        for mut pod in listener.incoming().map_while(Result::ok) {
            let _ = pod.read(&mut [0; 4096]);
            let _ = pod.write_all(&ANSWER);
        }
    });
    wait_until("it is ready", || {
        let (mut client, _) = open(gateway.address());
        let _ = client.read(&mut [0; 9]);
        !ejected(&gateway, back)
    });
    assert_eq!(endpoints_in(&gateway, "ready"), 2.0);
}

#[test]
fn with_every_endpoint_ejected_they_are_tried_all_the_same() {
    let closed = ClosedPort::reserve();
    let dead = closed.address;
    let gateway = start(
        &[dead],
        &[
            "ejection: { consecutive_failures: 1 }",
            "connect: { timeout: 100ms }",
        ],
    );
    for _ in 0..3 {
        let (client, _) = open(gateway.address());
        let record = gateway.record_of(client.local_addr().unwrap());
        assert_eq!(record.outcome, "connect_refused");
        assert!(record.attempts > 0);
    }
    assert!(ejected(&gateway, dead));
    let revived = closed.open();
    let (mut client, hello) = open(gateway.address());
    let (mut pod, _) = revived.accept().unwrap();
    answer_hello(&mut pod, &mut client, hello);
    wait_until("it counts as ready again", || !ejected(&gateway, dead));
}

#[test]
fn the_restart_of_the_only_endpoint_costs_no_call() {
    let closed = ClosedPort::reserve();
    let gateway = start(&[closed.address], &["connect: { timeout: 20s }"]);
    let (mut client, hello) = open(gateway.address());
    wait_until("it was tried several times", || {
        attempts(&gateway, "connect_refused") > 3.0
    });
    let listener = closed.open();
    let (mut pod, _) = listener.accept().unwrap();
    answer_hello(&mut pod, &mut client, hello);
    drop((client, pod));
    assert!(gateway.record().attempts > 4);
}

#[test]
fn an_attempt_that_takes_long_has_another_one_beside_it() {
    let hole = BlackHole::dig();
    let live = Server::echo();
    let policy = [
        "connect: { timeout: 5s, hedge: 50ms }",
        "ejection: { consecutive_failures: 1, base: 60s, max: 60s }",
    ];
    let hello = hello(SERVICE, &[]);
    let hedged = (0..TRIES).any(|_| {
        let gateway = start(&[hole.address, live.address], &policy);
        let (source, got) = echoed(&gateway, &[&hello]);
        assert_same_bytes(&got, &hello);
        let record = gateway.record_of(source);
        assert_eq!(record.endpoint, Some(live.address));
        if record.attempts == 2 {
            let given_up = attempts(&gateway, "connect_timeout");
            assert_eq!(given_up, 0.0, "the second attempt waited for the first");
            // The slow attempt goes on, and its end counts against the endpoint.
            wait_until("the hole is ejected", || ejected(&gateway, hole.address));
            assert_eq!(attempts(&gateway, "connect_timeout"), 1.0);
            wait_until("it is left", || gateway.endpoints()[0]["active"] == 0);
        }
        record.attempts == 2
    });
    assert!(hedged, "the hole was not picked first");
}

#[test]
fn each_attempt_has_its_time_limit_however_many_run_beside_it() {
    let holes = [BlackHole::dig(), BlackHole::dig()];
    let policy = ["connect: { timeout: 300ms, hedge: 50ms }"];
    for count in 1..=holes.len() {
        let endpoints: Vec<_> = holes[..count].iter().map(|hole| hole.address).collect();
        let gateway = start(&endpoints, &policy);
        let (client, _) = open(gateway.address());
        let record = gateway.record_of(client.local_addr().unwrap());
        assert_eq!(record.outcome, "connect_timeout", "{record:?}");
        assert_eq!(record.attempts as usize, count, "{record:?}");
        assert_bounded(record.connect_ms, Duration::from_millis(300));
    }
}

#[test]
fn failures_of_this_host_do_not_use_attempts_up() {
    // Loopback's broadcast address: connect(2) says ENETUNREACH, and no packet leaves.
    let nowhere = (1..=6).map(|port| SocketAddr::from(([127, 255, 255, 255], port)));
    let live = Server::echo();
    let endpoints: Vec<SocketAddr> = nowhere.chain([live.address]).collect();
    let gateway = start(&endpoints, &["connect: { attempts: 2 }"]);
    for _ in 0..3 {
        let (source, _) = echoed(&gateway, &[&hello(SERVICE, &[])]);
        assert_eq!(gateway.record_of(source).outcome, "ok");
    }
}
