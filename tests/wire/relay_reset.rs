//! A side that resets: the other one gets every byte received before, then a reset of its own, and
//! the record says who did it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::support::client::{connect, hello, open};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::{
    BlackHole, Server, answer_hello, read_exactly, read_to_eof, read_to_error, reset,
    unacknowledged, write_until_stuck,
};
use crate::support::{self, DEADLINE, SERVICE, assert_same_bytes, noise, wait_until};

/// More than all socket buffers on the way hold.
const STUCK: usize = 32 << 20;

/// A gateway with one connection through it; the hello is taken off the server's end.
struct Carried {
    gateway: TestGateway,
    client: TcpStream,
    upstream: TcpStream,
    _server: Server,
}

fn carried(config: impl Fn(ConfigText) -> ConfigText) -> Carried {
    let (server, accepted) = Server::handing_over();
    let gateway = TestGateway::start(&config(ConfigText::to(&[server.address])));
    let (mut client, hello) = open(gateway.address());
    let mut upstream = accepted.recv_timeout(DEADLINE).unwrap();
    answer_hello(&mut upstream, &mut client, hello);
    Carried {
        gateway,
        client,
        upstream,
        _server: server,
    }
}

/// Writes as much of `bytes` as goes while nobody reads at the other end. Returns how much of it the
/// gateway's host has acknowledged: what must arrive whatever happens next.
fn acknowledged_until_stuck(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    write_until_stuck(stream, bytes) - unacknowledged(stream)
}

#[test]
fn all_that_was_received_arrives_before_the_reset() {
    for server_resets in [true, false] {
        let Carried {
            gateway,
            client,
            upstream,
            ..
        } = carried(|config| config);
        let (mut sender, mut receiver, outcome) = match server_resets {
            true => (upstream, client, "upstream_reset"),
            false => (client, upstream, "downstream_reset"),
        };
        let bytes = noise(STUCK, 4);
        let acknowledged = acknowledged_until_stuck(&mut sender, &bytes);
        assert!((64 << 10..STUCK).contains(&acknowledged), "{acknowledged}");
        reset(sender);
        // The receiver reads only now. Until here its window was shut, and yet the reset was noticed.
        let (got, error) = read_to_error(&mut receiver);
        assert_eq!(error, Some(io::ErrorKind::ConnectionReset));
        assert!(got.len() >= acknowledged, "{} of {acknowledged}", got.len());
        assert_same_bytes(&got, &bytes[..got.len()]);
        let record = gateway.record();
        assert_eq!(record.outcome, outcome);
        let by = if server_resets {
            "upstream"
        } else {
            "downstream"
        };
        assert_eq!(record.ended_by.as_deref(), Some(by));
    }
}

#[test]
fn three_megabytes_that_were_read_meanwhile_arrive_before_the_reset() {
    let Carried {
        gateway,
        mut client,
        mut upstream,
        ..
    } = carried(|config| config);
    let bytes = noise(3_000_000, 5);
    let sent = bytes.clone();
    let server = std::thread::spawn(move || {
        upstream.write_all(&sent).unwrap();
        wait_until("the gateway has it all", || unacknowledged(&upstream) == 0);
        reset(upstream);
    });
    let (got, error) = read_to_error(&mut client);
    assert_same_bytes(&got, &bytes);
    assert_eq!(error, Some(io::ErrorKind::ConnectionReset));
    server.join().unwrap();
    assert_eq!(gateway.record().outcome, "upstream_reset");
}

#[test]
fn a_reset_without_any_bytes_is_passed_on_at_once() {
    for server_resets in [true, false] {
        let Carried {
            gateway,
            client,
            upstream,
            ..
        } = carried(|config| config);
        let (sender, mut receiver, outcome) = match server_resets {
            true => (upstream, client, "upstream_reset"),
            false => (client, upstream, "downstream_reset"),
        };
        reset(sender);
        let (got, error) = read_to_error(&mut receiver);
        assert_eq!(got, b"");
        assert_eq!(error, Some(io::ErrorKind::ConnectionReset));
        assert_eq!(gateway.record().outcome, outcome);
    }
}

#[test]
fn a_reset_after_fin_is_noticed_though_nothing_is_read_any_more() {
    let Carried {
        gateway,
        client,
        mut upstream,
        ..
    } = carried(|config| config);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_eof(&mut upstream), b"");
    reset(client);
    // Linux's name for a reset of a connection whose other side has closed.
    assert_eq!(wait_for_error(&upstream), io::ErrorKind::BrokenPipe);
    // It had closed, and nothing was sent to it since: it did not fail.
    let record = gateway.record();
    assert_eq!(record.outcome, "ok");
    assert_eq!(record.ended_by.as_deref(), Some("downstream"));
}

/// After EOF only writing, or SO_ERROR, tells of a reset.
fn wait_for_error(stream: &TcpStream) -> io::ErrorKind {
    let start = Instant::now();
    loop {
        if let Some(error) = SockRef::from(stream).take_error().unwrap() {
            return error.kind();
        }
        assert!(start.elapsed() < DEADLINE, "no reset came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_server_that_resets_while_the_client_never_reads_is_let_go_in_time() {
    let Carried {
        gateway,
        mut client,
        mut upstream,
        ..
    } = carried(|config| config.listener("timeouts: { half_closed: 1s }"));
    let bytes = noise(STUCK, 6);
    let acknowledged = acknowledged_until_stuck(&mut upstream, &bytes);
    reset(upstream);
    let record = gateway.record();
    assert_eq!(record.outcome, "upstream_reset");
    assert_eq!(record.ended_by.as_deref(), Some("upstream"));
    assert_eq!(gateway.metric("strait_connections_active", &[]), 0.0);
    assert_eq!(gateway.metric("strait_carry_memory_bytes", &[]), 0.0);
    let (got, error) = read_to_error(&mut client);
    assert!(got.len() < acknowledged);
    let error = error.expect("what is cut short does not end like a whole stream");
    assert_eq!(error, io::ErrorKind::ConnectionReset);
}

#[test]
fn a_client_that_reads_slowly_gets_all_that_its_server_sent_before_it_reset() {
    let Carried {
        gateway,
        mut client,
        mut upstream,
        ..
    } = carried(|config| config.listener("tcp: { send_buffer: 1MiB }"));
    let bytes = noise(256 << 10, 7);
    // All of it waits in the kernel, for a client that takes 7 s for what a socket holds.
    assert_eq!(write_until_stuck(&mut upstream, &bytes), bytes.len());
    wait_until("the gateway has it all", || unacknowledged(&upstream) == 0);
    reset(upstream);
    let (mut got, mut piece) = (Vec::new(), vec![0; 4096]);
    let error = loop {
        match client.read(&mut piece) {
            Ok(0) => panic!("{} bytes and a FIN", got.len()),
            Ok(read) => got.extend_from_slice(&piece[..read]),
            Err(error) => break error,
        }
        std::thread::sleep(Duration::from_millis(120));
    };
    assert_same_bytes(&got, &bytes);
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(gateway.record().outcome, "upstream_reset");
}

#[test]
fn a_client_that_dies_while_it_is_waited_for_ends_the_wait() {
    let Carried {
        gateway,
        client,
        mut upstream,
        ..
    } = carried(|config| config.listener("tcp: { send_buffer: 4MiB }"));
    assert_eq!(
        write_until_stuck(&mut upstream, &noise(192 << 10, 8)),
        192 << 10
    );
    wait_until("the gateway has it all", || unacknowledged(&upstream) == 0);
    reset(upstream);
    // Longer than the pause at which the wait looks, shorter than the time that it gives a silent peer, which is 5 s.
    std::thread::sleep(Duration::from_millis(200));
    let start = Instant::now();
    reset(client);
    assert_eq!(gateway.record().outcome, "upstream_reset");
    assert!(
        start.elapsed() < Duration::from_millis(4500),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_client_that_resets_during_connect_ends_the_attempt() {
    let hole = BlackHole::dig();
    let config = ConfigText::to(&[hole.address]).upstream("connect: { timeout: 60s }");
    let gateway = TestGateway::start(&config);
    let (client, _) = open(gateway.address());
    wait_until("the connection is routed", || {
        gateway.metric("strait_connections_opened_total", &[("upstream", "svcb")]) == 1.0
    });
    reset(client);
    let record = gateway.record();
    assert_eq!(record.outcome, "downstream_reset");
    assert_eq!(record.ended_by.as_deref(), Some("downstream"));
}

#[test]
fn a_client_that_resets_in_the_middle_of_its_hello_is_let_go() {
    let gateway = TestGateway::start(&ConfigText::to(&[support::server::refusing_address()]));
    let mut client = connect(gateway.address());
    let hello = hello(SERVICE, &[]);
    client.write_all(&hello[..hello.len() / 2]).unwrap();
    wait_until("the gateway has read it", || unacknowledged(&client) == 0);
    reset(client);
    assert_eq!(gateway.record().outcome, "client_gone_before_hello");
}

#[test]
fn resets_in_the_accept_queue_leave_the_listener_alive() {
    let echo = Server::echo();
    let gateway = TestGateway::start(&ConfigText::to(&[echo.address]).top("workers: 1"));
    for round in 0..500 {
        let mut client = connect(gateway.address());
        if round % 2 == 0 {
            client.write_all(&hello(SERVICE, &[])).unwrap();
        }
        reset(client);
    }
    let (mut client, hello) = open(gateway.address());
    read_exactly(&mut client, hello);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_eof(&mut client), b"");
    drop(client);
    wait_until("every connection is over", || {
        gateway.metric("strait_connections_active", &[]) == 0.0
    });
}

#[test]
fn a_reset_after_a_short_last_word_is_a_reset() {
    let Carried {
        gateway,
        mut client,
        mut upstream,
        ..
    } = carried(|config| config);
    upstream.write_all(&[23; 100]).unwrap();
    read_exactly(&mut client, 100);
    // As long as a close_notify with some ciphers, and none.
    client.write_all(&[23; 28]).unwrap();
    read_exactly(&mut upstream, 28);
    reset(upstream);
    let record = gateway.record();
    assert_eq!(record.outcome, "upstream_reset");
    assert_eq!(record.ended_by.as_deref(), Some("upstream"));
}
