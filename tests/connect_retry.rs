//! Endpoints that refuse, or do not answer: the next one is tried with the hello intact, and when
//! none is left the last reason is the outcome.

mod support;

use std::io::Write;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use support::client::{connect, hello, open};
use support::config_text::ConfigText;
use support::gateway::TestGateway;
use support::server::{BlackHole, Server, read_exactly, read_to_eof, refusing_address};
use support::{SERVICE, assert_same_bytes};

/// No endpoint is left alone, so that every connection may meet the bad one.
const NEVER_EJECT: &str = "ejection: { consecutive_failures: 0 }";
const INTERNAL_ERROR_ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

#[test]
fn a_dead_endpoint_costs_an_attempt_and_not_one_byte() {
    let echo = Server::echo();
    let dead = refusing_address();
    let config = ConfigText::to(&[dead, echo.address]).upstream(NEVER_EJECT);
    let gateway = TestGateway::start(&config);
    let wire = hello(SERVICE, &[]);
    let mut retried = 0;
    for in_pieces in [false, true] {
        for _ in 0..30 {
            let mut client = connect(gateway.address());
            let cut = if in_pieces { 9 } else { 0 };
            client.write_all(&wire[..cut]).unwrap();
            client.write_all(&wire[cut..]).unwrap();
            client.write_all(b"and data").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let echoed = read_to_eof(&mut client);
            assert_same_bytes(&echoed, &[&wire[..], b"and data"].concat());
            let record = gateway.record();
            assert_eq!(record.outcome, "ok");
            assert_eq!(record.endpoint, Some(echo.address));
            retried += record.attempts - 1;
        }
    }
    assert!(retried > 0, "the dead endpoint was never tried");
    let refused = &[("upstream", "svcb"), ("result", "connect_refused")];
    let attempts = gateway.metric("strait_connect_attempts_total", refused);
    assert_eq!(attempts, f64::from(retried));
}

#[test]
fn an_endpoint_that_keeps_failing_is_left_alone() {
    let echo = Server::echo();
    let config = ConfigText::to(&[refusing_address(), echo.address])
        .upstream("ejection: { consecutive_failures: 1, base: 60s, max: 60s }");
    let gateway = TestGateway::start(&config);
    let mut attempts = 0;
    for _ in 0..30 {
        let (client, _) = open(gateway.address());
        client.shutdown(Shutdown::Write).unwrap();
        let mut client = client;
        read_to_eof(&mut client);
        attempts += gateway.record().attempts;
    }
    assert!(attempts <= 31, "{attempts} attempts for 30 connections");
}

#[test]
fn when_all_refuse_the_client_is_told() {
    let dead: Vec<_> = (0..5).map(|_| refusing_address()).collect();
    let config = ConfigText::to(&dead).upstream("connect: { attempts: 3 }");
    let gateway = TestGateway::start(&config);
    let (mut client, _) = open(gateway.address());
    assert_eq!(read_to_eof(&mut client), INTERNAL_ERROR_ALERT);
    let record = gateway.record();
    assert_eq!(record.outcome, "connect_refused");
    assert_eq!(record.attempts, 3);
    assert!(dead.contains(&record.endpoint.unwrap()));
}

#[test]
fn fewer_endpoints_than_attempts_are_tried_once_each() {
    let config = ConfigText::to(&[refusing_address(), refusing_address()])
        .upstream("connect: { attempts: 10 }");
    let gateway = TestGateway::start(&config);
    let (mut client, _) = open(gateway.address());
    read_to_eof(&mut client);
    assert_eq!(gateway.record().attempts, 2);
}

#[test]
fn a_black_hole_takes_its_timeout_and_then_the_next_one_gets_the_hello() {
    let (hole, echo) = (BlackHole::dig(), Server::echo());
    let config = ConfigText::to(&[hole.address, echo.address])
        .upstream("connect: { timeout: 200ms }")
        .upstream(NEVER_EJECT);
    let gateway = TestGateway::start(&config);
    let mut retried = 0;
    for _ in 0..12 {
        let mut client = connect(gateway.address());
        let wire = hello(SERVICE, &[]);
        client.write_all(&wire).unwrap();
        assert_same_bytes(&read_exactly(&mut client, wire.len()), &wire);
        drop(client);
        let record = gateway.record();
        assert_eq!(record.endpoint, Some(echo.address));
        if record.attempts == 2 {
            retried += 1;
            assert!(record.connect_ms.unwrap() >= 200.0);
        }
    }
    assert!(retried > 0, "the black hole was never tried");
}

#[test]
fn only_black_holes_give_a_timeout_in_time() {
    let holes = [BlackHole::dig(), BlackHole::dig()];
    let config = ConfigText::to(&[holes[0].address, holes[1].address])
        .upstream("connect: { timeout: 200ms, attempts: 2 }");
    let gateway = TestGateway::start(&config);
    let start = Instant::now();
    let (mut client, _) = open(gateway.address());
    assert_eq!(read_to_eof(&mut client), INTERNAL_ERROR_ALERT);
    assert!(start.elapsed() >= Duration::from_millis(400));
    let record = gateway.record();
    assert_eq!(record.outcome, "connect_timeout");
    assert_eq!(record.attempts, 2);
}

#[test]
fn the_last_reason_is_that_of_the_endpoint_in_the_record() {
    let (hole, dead) = (BlackHole::dig(), refusing_address());
    let config = ConfigText::to(&[hole.address, dead])
        .upstream("connect: { timeout: 100ms }")
        .upstream(NEVER_EJECT);
    let gateway = TestGateway::start(&config);
    for _ in 0..8 {
        let (mut client, _) = open(gateway.address());
        read_to_eof(&mut client);
        let record = gateway.record();
        assert_eq!(record.attempts, 2);
        let outcome = match record.endpoint {
            Some(address) if address == dead => "connect_refused",
            _ => "connect_timeout",
        };
        assert_eq!(record.outcome, outcome);
    }
}
