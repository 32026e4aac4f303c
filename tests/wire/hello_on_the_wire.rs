//! Hellos as networks and attackers deliver them: in crumbs, late, cut off, too large, with data
//! behind them, or none at all.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use socket2::SockRef;
use strait::client_hello::vectors::HelloBuilder;

use crate::support::client::{connect, hello, large_hello, open};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::{Server, read_exactly, read_to_eof, refusing_address};
use crate::support::{self, DEADLINE, SERVICE, assert_same_bytes, noise, wait_until};

/// A gateway with one worker and an echo behind it, for which no hello takes too long, however busy the machine.
fn gateway() -> (TestGateway, Server) {
    let echo = Server::echo();
    let config = ConfigText::to(&[echo.address])
        .listener("client_hello: { timeout: 60s }")
        .top("workers: 1");
    (TestGateway::start(&config), echo)
}

/// The gateway carries `wire`, the hello first, and gives all of it back in order, once.
#[track_caller]
fn echoes(gateway: &TestGateway, mut client: TcpStream, wire: &[u8]) {
    let source = client.local_addr().unwrap();
    let echoed = read_exactly(&mut client, wire.len());
    assert_same_bytes(&echoed, wire);
    let _ = client.shutdown(Shutdown::Write);
    assert_eq!(read_to_eof(&mut client), b"");
    let record = gateway.record_of(source);
    assert_eq!(record.outcome, "ok");
    assert_eq!(record.to_upstream, wire.len() as u64);
}

#[test]
fn in_segments_of_one_byte() {
    let (gateway, _echo) = gateway();
    let wire = hello(SERVICE, &[]);
    let mut client = connect(gateway.address());
    for byte in &wire {
        client.write_all(&[*byte]).unwrap();
    }
    echoes(&gateway, client, &wire);
}

#[test]
fn with_a_pause_in_the_middle() {
    let (gateway, _echo) = gateway();
    // A hello with a post-quantum key share does not fit one packet.
    let wire = hello(SERVICE, &[]);
    for cut in [1, 5, 6, 100, wire.len() - 1] {
        let mut client = connect(gateway.address());
        client.write_all(&wire[..cut]).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        client.write_all(&wire[cut..]).unwrap();
        echoes(&gateway, client, &wire);
    }
}

#[test]
fn larger_than_the_receive_buffer() {
    let (gateway, _echo) = gateway();
    // 60 KiB of message in records of one byte each are 360 KiB on the wire.
    let hello = HelloBuilder::tls13().server_name(SERVICE).padding(60_000);
    for size in [1, 100, 16_384] {
        let wire = hello.wire_in_records_of(size);
        let mut client = connect(gateway.address());
        let writer = support::server::write_beside(&client, wire.clone());
        let echoed = read_exactly(&mut client, wire.len());
        assert_same_bytes(&echoed, &wire);
        writer.join().unwrap();
        drop(client);
        assert_eq!(gateway.record().outcome, "ok");
    }
    assert_eq!(gateway.metric("strait_hello_memory_bytes", &[]), 0.0);
}

#[test]
fn with_data_and_fin_in_the_same_segment() {
    let (server, accepted) = Server::handing_over();
    let gateway = TestGateway::start(&ConfigText::to(&[server.address]));
    for data in [&b""[..], b"x", &noise(10_000, 13)] {
        let mut wire = hello(SERVICE, &[]);
        wire.extend_from_slice(data);
        let mut client = connect(gateway.address());
        SockRef::from(&client).set_tcp_cork(true).unwrap();
        client.write_all(&wire).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut upstream = accepted.recv_timeout(DEADLINE).unwrap();
        assert_same_bytes(&read_to_eof(&mut upstream), &wire);
        let record = gateway.record_of(client.local_addr().unwrap());
        assert_eq!(record.outcome, "upstream_silent");
    }
}

#[test]
fn with_early_data_behind_a_hello_in_pieces() {
    let (gateway, _echo) = gateway();
    let mut wire = hello(SERVICE, &[]);
    let early = noise(100_000, 14);
    let middle = wire.len() / 2;
    let mut client = connect(gateway.address());
    client.write_all(&wire[..middle]).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let rest = [&wire[middle..], &early].concat();
    let writer = support::server::write_beside(&client, rest);
    wire.extend_from_slice(&early);
    echoes(&gateway, client, &wire);
    writer.join().unwrap();
}

#[test]
fn a_second_hello_for_another_name_stays_on_the_connection() {
    // HelloRetryRequest: the client says hello again. Only the first one routes.
    let (gateway, echo) = gateway();
    let first = hello(SERVICE, &[]);
    let second = hello("elsewhere.example.com", &[]);
    let mut client = connect(gateway.address());
    client.write_all(&first).unwrap();
    assert_same_bytes(&read_exactly(&mut client, first.len()), &first);
    client.write_all(&second).unwrap();
    assert_same_bytes(&read_exactly(&mut client, second.len()), &second);
    assert_eq!(echo.connections(), 1);
    drop(client);
    assert_eq!(gateway.record().server_name.as_deref(), Some(SERVICE));
}

#[test]
fn half_of_it_and_then_silence_ends_at_one_deadline() {
    let config = ConfigText::to(&[refusing_address()]);
    let gateway = TestGateway::start(&config.listener("client_hello: { timeout: 500ms }"));
    let wire = large_hello(SERVICE, 2000);
    let start = Instant::now();
    let mut client = connect(gateway.address());
    // A byte now and then does not put it off. All of them would take 20 s.
    let mut dripping = client.try_clone().unwrap();
    let drip = std::thread::spawn(move || {
        for byte in &wire[..wire.len() / 2] {
            if dripping.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest);
    assert!(start.elapsed() >= Duration::from_millis(450));
    assert_eq!(rest, b"", "no alert: the client may still be in its record");
    let record = gateway.record();
    assert_eq!(record.outcome, "hello_timeout");
    assert!(record.duration_ms < 10_000.0, "{}", record.duration_ms);
    drip.join().unwrap();
}

#[test]
fn half_of_it_and_then_fin_ends_at_once() {
    let config = ConfigText::to(&[refusing_address()]);
    let gateway = TestGateway::start(&config.listener("client_hello: { timeout: 60s }"));
    let wire = hello(SERVICE, &[]);
    for length in [1, 5, 6, wire.len() / 2, wire.len() - 1] {
        let mut client = connect(gateway.address());
        client.write_all(&wire[..length]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_eof(&mut client), b"");
        assert_eq!(gateway.record().outcome, "client_gone_before_hello");
    }
}

#[test]
fn others_are_served_while_hellos_hang() {
    let (gateway, _echo) = gateway();
    let wire = hello(SERVICE, &[]);
    let hanging: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut client = connect(gateway.address());
            client.write_all(&wire[..wire.len() / 2]).unwrap();
            client
        })
        .collect();
    for _ in 0..20 {
        let (client, _) = open(gateway.address());
        let whole = hello(SERVICE, &[]).len();
        assert_eq!(wire.len(), whole);
        let mut client = client;
        assert_eq!(read_exactly(&mut client, whole).len(), whole);
    }
    // And what hangs is not forgotten: the rest makes it a hello.
    for mut client in hanging {
        client.write_all(&wire[wire.len() / 2..]).unwrap();
        assert_same_bytes(&read_exactly(&mut client, wire.len()), &wire);
    }
}

/// The description of a fatal alert, when that is all there is.
fn alert(bytes: &[u8]) -> Option<u8> {
    match bytes {
        [21, 3, _, 0, 2, 2, description] => Some(*description),
        _ => None,
    }
}

#[test]
fn a_refused_client_reads_its_alert_and_a_clean_end() {
    const UNRECOGNIZED_NAME: u8 = 112;
    const NO_APPLICATION_PROTOCOL: u8 = 120;
    const DECODE_ERROR: u8 = 50;
    let routes = format!("[{{ service: '{SERVICE}:80', alpn: istio, upstream: svcb }}]");
    let gateway = TestGateway::start(&ConfigText::to(&[refusing_address()]).routes(&routes));
    let unknown = hello("elsewhere.example.com", &[]);
    let malformed = HelloBuilder::tls13().raw_extensions([0, 9]).wire();
    for (wire, outcome, description) in [
        (unknown, "no_route", UNRECOGNIZED_NAME),
        (
            hello(SERVICE, &["h2"]),
            "alpn_refused",
            NO_APPLICATION_PROTOCOL,
        ),
        (malformed, "hello_malformed", DECODE_ERROR),
    ] {
        // In one piece, in two, and with bytes behind it that nobody will read.
        for (cut, behind) in [(0, 0), (7, 0), (0, 20_000), (7, 20_000)] {
            let mut client = connect(gateway.address());
            client.write_all(&wire[..cut]).unwrap();
            if cut > 0 {
                std::thread::sleep(Duration::from_millis(20));
            }
            let rest = [&wire[cut..], &vec![0x17; behind]].concat();
            client.write_all(&rest).unwrap();
            let received = read_to_eof(&mut client);
            assert_eq!(
                alert(&received),
                Some(description),
                "{outcome} {cut} {behind}"
            );
            drop(client);
            assert_eq!(gateway.record().outcome, outcome);
        }
    }
}

#[test]
fn a_listener_that_refuses_by_a_close_sends_no_byte_and_logs_the_same() {
    let routes = format!(
        "[{{ service: '{SERVICE}:80', alpn: istio, upstream: svcb }}, \
          {{ sni: full.example, alpn: any, upstream: svcb, limits: {{ connections_per_second: 1 }} }}]"
    );
    // With more attempts the endpoint is asked for seconds, and five calls are not more than one a second.
    let config = ConfigText::to(&[refusing_address()])
        .routes(&routes)
        .upstream("connect: { attempts: 1 }");
    let gateway = TestGateway::start(&config.listener("refuse: close"));
    let malformed = HelloBuilder::tls13().raw_extensions([0, 9]).wire();
    for (wire, outcome) in [
        (hello("elsewhere.example.com", &[]), "no_route"),
        (hello(SERVICE, &["h2"]), "alpn_refused"),
        (malformed, "hello_malformed"),
        (hello(SERVICE, &["istio"]), "connect_refused"),
    ] {
        for cut in [0, 7] {
            let mut client = connect(gateway.address());
            client.write_all(&wire[..cut]).unwrap();
            if cut > 0 {
                std::thread::sleep(Duration::from_millis(20));
            }
            client.write_all(&wire[cut..]).unwrap();
            assert_eq!(read_to_eof(&mut client), b"", "{outcome} {cut}");
            drop(client);
            assert_eq!(gateway.record().outcome, outcome);
        }
    }
    // Far more than one a second.
    let mut outcomes = Vec::new();
    for _ in 0..5 {
        let mut client = connect(gateway.address());
        client.write_all(&hello("full.example", &[])).unwrap();
        assert_eq!(read_to_eof(&mut client), b"");
        outcomes.push(gateway.record().outcome);
    }
    assert!(
        outcomes.iter().any(|outcome| outcome == "over_limit"),
        "{outcomes:?}"
    );
}

#[test]
fn what_is_no_tls_is_closed_without_a_word() {
    let gateway = TestGateway::start(&ConfigText::to(&[refusing_address()]));
    for bytes in [
        &b"GET / HTTP/1.1\r\nhost: svcb\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        &[0; 512],
    ] {
        let mut client = connect(gateway.address());
        client.write_all(bytes).unwrap();
        assert_eq!(read_to_eof(&mut client), b"");
        assert_eq!(gateway.record().outcome, "not_tls");
    }
}

#[test]
fn noise_never_gets_through_and_never_stops_the_gateway() {
    let (gateway, echo) = gateway();
    for round in 0..200usize {
        let mut client = connect(gateway.address());
        let mut bytes = noise(1 + round * 7, round as u64);
        if round.is_multiple_of(2) {
            // As far as the record's header it looks right.
            let head = [22, 3, 1, 1, 0];
            bytes.splice(..bytes.len().min(5), head);
        }
        // The gateway may have closed before all is written.
        let _ = client.write_all(&bytes);
        let _ = client.shutdown(Shutdown::Write);
        if let Err(error) = client.read_to_end(&mut Vec::new()) {
            assert_ne!(error.kind(), ErrorKind::WouldBlock, "it hangs: {bytes:?}");
        }
    }
    assert_eq!(echo.connections(), 0);
    let (client, length) = open(gateway.address());
    let mut client = client;
    assert_eq!(read_exactly(&mut client, length).len(), length);
    drop(client);
    wait_until("every connection is over", || {
        gateway.metric("strait_connections_active", &[]) == 0.0
    });
    assert_eq!(gateway.closed("internal_error"), 0.0);
}

#[test]
fn too_large_is_refused_as_soon_as_its_length_is_known() {
    let config = ConfigText::to(&[refusing_address()]);
    let gateway = TestGateway::start(&config.listener("client_hello: { max_size: 4KiB }"));
    let wire = large_hello(SERVICE, 8000);
    let mut client = connect(gateway.address());
    // Its header alone says how much would follow.
    client.write_all(&wire[..16]).unwrap();
    let received = read_to_eof(&mut client);
    assert!(alert(&received).is_some(), "{received:?}");
    assert_eq!(gateway.record().outcome, "hello_too_large");
    assert_eq!(gateway.metric("strait_hello_memory_bytes", &[]), 0.0);
}
