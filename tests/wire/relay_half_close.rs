//! One side sends its end of stream. The other side still gets every byte, and learns of the end only
//! after the last one.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use strait::tools::scrape::total;

use crate::support::client::{open, open_narrow};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::{
    ANSWER, Server, answer_hello, read_exactly, read_to_eof, write_beside,
};
use crate::support::{DEADLINE, assert_same_bytes, noise, wait_until};

const MEGABYTES: usize = 10 << 20;

/// A gateway with one connection through it: the client's end, the server's end, and the bytes of
/// the hello already taken off the latter.
fn connected(config: impl Fn(ConfigText) -> ConfigText) -> (TestGateway, TcpStream, TcpStream) {
    let (server, accepted) = Server::handing_over();
    let gateway = TestGateway::start(&config(ConfigText::to(&[server.address])));
    let (mut client, hello) = open(gateway.address());
    let mut upstream = accepted.recv_timeout(DEADLINE).unwrap();
    answer_hello(&mut upstream, &mut client, hello);
    (gateway, client, upstream)
}

#[test]
fn a_client_that_closes_first_still_gets_ten_megabytes() {
    let (gateway, mut client, mut upstream) = connected(|config| config);
    client.write_all(b"that was all").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_eof(&mut upstream), b"that was all");
    let sent = noise(MEGABYTES, 1);
    let writer = write_beside(&upstream, sent.clone());
    assert_same_bytes(&read_exactly(&mut client, sent.len()), &sent);
    writer.join().unwrap();
    // FIN is the last thing to come, not one byte earlier.
    upstream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_eof(&mut client), b"");
    let record = gateway.record();
    assert_eq!(record.outcome, "ok");
    assert_eq!(record.ended_by.as_deref(), Some("downstream"));
    assert_eq!(record.to_downstream, (ANSWER.len() + sent.len()) as u64);
}

#[test]
fn a_server_that_closes_first_still_gets_ten_megabytes() {
    let (gateway, mut client, mut upstream) = connected(|config| config);
    upstream.write_all(b"goodbye").unwrap();
    upstream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_eof(&mut client), b"goodbye");
    let sent = noise(MEGABYTES, 2);
    let writer = write_beside(&client, sent.clone());
    assert_same_bytes(&read_exactly(&mut upstream, sent.len()), &sent);
    writer.join().unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_eof(&mut upstream), b"");
    let record = gateway.record();
    assert_eq!(record.outcome, "ok");
    assert_eq!(record.ended_by.as_deref(), Some("upstream"));
}

#[test]
fn fin_waits_for_the_bytes_that_a_slow_reader_has_not_taken() {
    let (server, accepted) = Server::handing_over();
    let gateway = TestGateway::start(&ConfigText::to(&[server.address]));
    let (mut client, hello) = open_narrow(gateway.address(), 4096);
    let mut upstream = accepted.recv_timeout(DEADLINE).unwrap();
    answer_hello(&mut upstream, &mut client, hello);
    let sent = noise(MEGABYTES, 3);
    let bytes = sent.clone();
    // The FIN follows the last byte at once, while most of the bytes still wait for the client.
    let server = std::thread::spawn(move || {
        upstream.write_all(&bytes).unwrap();
        upstream.shutdown(Shutdown::Write).unwrap();
        read_to_eof(&mut upstream)
    });
    let waiting = || {
        let samples = gateway.samples();
        ["strait_carry_memory_bytes", "strait_pipes_held"].map(|name| total(&samples, name, &[]))
    };
    wait_until("bytes wait for the client", || waiting() != [0.0, 0.0]);
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    assert_same_bytes(&got, &sent);
    client.write_all(b"thanks").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.join().unwrap(), b"thanks");
    assert_eq!(gateway.record().outcome, "ok");
    assert_eq!(waiting(), [0.0, 0.0]);
}

#[test]
fn a_side_that_never_closes_is_cut_some_time_after_the_other_has() {
    for client_closes_first in [true, false] {
        let (gateway, mut client, mut upstream) =
            connected(|config| config.listener("timeouts: { half_closed: 1s }"));
        upstream.write_all(b"hello").unwrap();
        read_exactly(&mut client, 5);
        let (first, second) = match client_closes_first {
            true => (&mut client, &mut upstream),
            false => (&mut upstream, &mut client),
        };
        let closed = Instant::now();
        first.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_eof(second), b"");
        let record = gateway.record();
        assert!(closed.elapsed() >= Duration::from_secs(1));
        assert_eq!(record.outcome, "half_closed_timeout");
        assert_eq!(record.ended_by.as_deref(), Some("gateway"));
        assert_eq!(read_to_eof(first), b"", "both sides are let go");
        assert_eq!(gateway.metric("strait_connections_active", &[]), 0.0);
    }
}

#[test]
fn bytes_that_still_flow_keep_a_half_closed_connection_alive() {
    let (gateway, mut client, mut upstream) =
        connected(|config| config.listener("timeouts: { half_closed: 4s }"));
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_eof(&mut upstream), b"");
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(6) {
        upstream.write_all(b"still here!").unwrap();
        read_exactly(&mut client, 11);
        std::thread::sleep(Duration::from_millis(100));
    }
    upstream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_eof(&mut client), b"");
    assert_eq!(gateway.record().outcome, "ok");
}

#[test]
fn both_sides_close_at_once() {
    for _ in 0..50 {
        let (gateway, mut client, mut upstream) = connected(|config| config);
        upstream.write_all(b"last words").unwrap();
        upstream.shutdown(Shutdown::Write).unwrap();
        client.write_all(b"also last words").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_eof(&mut client), b"last words");
        assert_eq!(read_to_eof(&mut upstream), b"also last words");
        assert_eq!(gateway.record().outcome, "ok");
    }
}
