//! A peer that only does not read is alive, and one that answers nothing more is gone.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::client::{open, open_narrow};
use crate::support::config_text::ConfigText;
use crate::support::faults::{answer_again, stop_answering};
use crate::support::gateway::TestGateway;
use crate::support::server::{
    Server, answer_hello, read_exactly, read_to_eof, read_to_error, write_beside, write_until_stuck,
};
use crate::support::{DEADLINE, assert_same_bytes, noise};

/// More than all socket buffers on the way hold.
const STUCK: usize = 32 << 20;

const SHORT_USER_TIMEOUT: &str = "tcp: { user_timeout: 1s }";

/// A gateway with these `tcp` keys on both sides, and a connection through it.
fn connected(tcp: &str) -> (TestGateway, TcpStream, TcpStream) {
    let (server, accepted) = Server::handing_over();
    let config = ConfigText::to(&[server.address])
        .listener(tcp)
        .upstream(tcp);
    let gateway = TestGateway::start(&config);
    let (mut client, hello) = open(gateway.address());
    let mut upstream = accepted.recv_timeout(DEADLINE).unwrap();
    answer_hello(&mut upstream, &mut client, hello);
    (gateway, client, upstream)
}

#[test]
fn a_reader_that_pauses_for_longer_than_the_user_timeout_loses_nothing() {
    let (server, accepted) = Server::handing_over();
    let config = ConfigText::to(&[server.address])
        .listener(SHORT_USER_TIMEOUT)
        .upstream(SHORT_USER_TIMEOUT)
        // One stream that is stuck may hold its bytes in a pipe; the others are copied.
        .top("limits: { connections: 32 }");
    let gateway = TestGateway::start(&config);
    let bytes = noise(STUCK, 7);
    let mut streams: Vec<_> = [true, false, true, false]
        .into_iter()
        .map(|server_sends| {
            let (mut client, hello) = open(gateway.address());
            let mut upstream = accepted.recv_timeout(DEADLINE).unwrap();
            answer_hello(&mut upstream, &mut client, hello);
            let (mut sender, receiver) = match server_sends {
                true => (upstream, client),
                false => (client, upstream),
            };
            let sent = write_until_stuck(&mut sender, &bytes);
            assert!(sent < STUCK, "nothing held the sender back");
            (sender, receiver, sent)
        })
        .collect();
    assert_eq!(gateway.metric("strait_pipes_held", &[]), 1.0);
    gateway.no_record_within(Duration::from_secs(6));
    for (sender, receiver, sent) in &mut streams {
        let writer = write_beside(sender, bytes[*sent..].to_vec());
        assert_same_bytes(&read_exactly(receiver, STUCK), &bytes);
        writer.join().unwrap();
        receiver.write_all(b"!").unwrap();
        read_exactly(sender, 1);
    }
    drop(streams);
    for _ in 0..4 {
        assert_eq!(gateway.record().outcome, "ok");
    }
}

#[test]
fn a_peer_that_vanishes_behind_its_shut_window_is_found() {
    for server_sends in [true, false] {
        let (gateway, client, upstream) = connected(SHORT_USER_TIMEOUT);
        let (mut sender, receiver, outcome) = match server_sends {
            true => (upstream, client, "downstream_timeout"),
            false => (client, upstream, "upstream_timeout"),
        };
        write_until_stuck(&mut sender, &noise(STUCK, 8));
        stop_answering(&receiver);
        let record = gateway.record();
        assert_eq!(record.outcome, outcome, "{record:?}");
        let detail = record.detail.unwrap();
        assert!(detail.contains("behind a shut window"), "{detail}");
        let (_, error) = read_to_error(&mut sender);
        assert_eq!(error, Some(ErrorKind::ConnectionReset));
    }
}

#[test]
fn a_peer_that_vanishes_is_found_while_the_other_goes_on_sending() {
    let (gateway, client, mut upstream) = connected(SHORT_USER_TIMEOUT);
    stop_answering(&client);
    let sender = std::thread::spawn(move || {
        while upstream.write_all(b"tick").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let record = gateway.record();
    assert_eq!(record.outcome, "downstream_timeout", "{record:?}");
    sender.join().unwrap();
}

#[test]
fn what_a_peer_had_sent_before_it_vanished_arrives_before_the_reset() {
    let (gateway, mut client, mut upstream) = connected(SHORT_USER_TIMEOUT);
    let bytes = noise(STUCK, 9);
    let sent = write_until_stuck(&mut client, &bytes);
    stop_answering(&client);
    // Something must wait for the client; its own bytes wait in the gateway for a server that reads late.
    upstream.write_all(b"reply").unwrap();
    gateway.no_record_within(Duration::from_secs(5));
    let (received, error) = read_to_error(&mut upstream);
    assert_eq!(error, Some(ErrorKind::ConnectionReset));
    // The bytes that had reached the gateway. The rest is in the client's own socket.
    assert!(received.len() > sent / 4, "{} of {sent}", received.len());
    assert_same_bytes(&received, &bytes[..received.len()]);
    let record = gateway.record();
    assert_eq!(record.outcome, "downstream_timeout", "{record:?}");
}

#[test]
fn a_lost_keepalive_probe_ends_nothing_whatever_the_user_timeout_is() {
    let (gateway, mut client, mut upstream) = connected(
        "tcp: { keepalive_time: 2s, keepalive_interval: 1s, keepalive_probes: 60, user_timeout: 1s }",
    );
    stop_answering(&client);
    stop_answering(&upstream);
    gateway.no_record_within(Duration::from_secs(4));
    answer_again(&client);
    answer_again(&upstream);
    gateway.no_record_within(Duration::from_secs(2));
    client.write_all(b"still here").unwrap();
    assert_eq!(read_exactly(&mut upstream, 10), b"still here");
    drop(client);
    assert_eq!(read_to_eof(&mut upstream), b"");
}

#[test]
fn a_question_that_is_lost_on_the_way_ends_nothing() {
    let (gateway, client, mut upstream) = connected(SHORT_USER_TIMEOUT);
    // Long silence first, then a reply that has to be sent twice.
    gateway.no_record_within(Duration::from_secs(2));
    stop_answering(&client);
    upstream.write_all(b"reply").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    answer_again(&client);
    let mut client = client;
    assert_eq!(read_exactly(&mut client, 5), b"reply");
    gateway.no_record_within(Duration::from_secs(3));
}

#[test]
fn a_narrow_reader_that_takes_a_byte_now_and_then_is_alive() {
    let (server, accepted) = Server::handing_over();
    let config = ConfigText::to(&[server.address]).listener(SHORT_USER_TIMEOUT);
    let gateway = TestGateway::start(&config);
    let (mut client, _) = open_narrow(gateway.address(), 4096);
    let mut upstream = accepted.recv_timeout(DEADLINE).unwrap();
    let bytes = noise(STUCK, 10);
    let sent = write_until_stuck(&mut upstream, &bytes);
    let mut received = Vec::new();
    for _ in 0..6 {
        gateway.no_record_within(Duration::from_secs(1));
        received.extend(read_exactly(&mut client, 1));
    }
    received.extend(read_exactly(&mut client, sent / 2));
    assert_same_bytes(&received, &bytes[..received.len()]);
}
