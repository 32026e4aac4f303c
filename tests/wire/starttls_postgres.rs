//! PostgreSQL's request for TLS before the hello: answered for the client, and asked of the endpoint.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use strait::client_hello::SSL_REQUEST;

use crate::support::SERVICE;
use crate::support::client::{connect, hello};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::{Server, read_exactly, read_to_eof};

const GSSENC_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];

/// A server that answers SSLRequest with `answer`, then sends back what comes. It counts the requests.
fn postgres(answer: &'static [u8]) -> (Server, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = requests.clone();
    let server = Server::start(move |mut stream| {
        let mut first = [0; 8];
        if stream.read_exact(&mut first).is_err() {
            return;
        }
        if first == SSL_REQUEST {
            counted.fetch_add(1, Ordering::Relaxed);
            let _ = stream.write_all(answer);
        } else {
            let _ = stream.write_all(&first);
        }
        if answer == b"S" {
            let mut reader = stream.try_clone().unwrap();
            let _ = io::copy(&mut reader, &mut stream);
        }
        let _ = stream.shutdown(Shutdown::Write);
    });
    (server, requests)
}

fn gateway(endpoints: &[SocketAddr]) -> TestGateway {
    let config = ConfigText::to(endpoints).listener("starttls: postgres");
    TestGateway::start(&config.upstream("connect: { timeout: 20s, hedge: off }"))
}

/// Asks for TLS, and gets it.
fn ask(client: &mut TcpStream) {
    client.write_all(&SSL_REQUEST).unwrap();
    assert_eq!(read_exactly(client, 1), b"S");
}

/// The gateway carries the hello, and gives it back once.
#[track_caller]
fn hello_echoes(gateway: &TestGateway, mut client: TcpStream) {
    let source = client.local_addr().unwrap();
    let wire = hello(SERVICE, &["postgresql"]);
    let (start, rest) = wire.split_at(7);
    client.write_all(start).unwrap();
    client.write_all(rest).unwrap();
    assert_eq!(read_exactly(&mut client, wire.len()), wire);
    let _ = client.shutdown(Shutdown::Write);
    assert_eq!(read_to_eof(&mut client), b"");
    let record = gateway.record_of(source);
    assert_eq!(record.outcome, "ok", "{record:?}");
    assert_eq!(record.server_name.as_deref(), Some(SERVICE), "{record:?}");
    assert_eq!(record.to_upstream, wire.len() as u64, "{record:?}");
}

#[test]
fn a_request_is_answered_and_asked_of_the_endpoint() {
    let (server, requests) = postgres(b"S");
    let gateway = gateway(&[server.address]);
    let mut client = connect(gateway.address());
    ask(&mut client);
    assert_eq!(
        server.connections(),
        0,
        "no endpoint before there is a name"
    );
    hello_echoes(&gateway, client);
    assert_eq!(requests.load(Ordering::Relaxed), 1);
}

#[test]
fn the_status_page_tells_that_the_endpoint_may_have_been_late_to_answer() {
    let late = Server::start(|mut stream| {
        let mut request = [0; 8];
        if stream.read_exact(&mut request).is_ok() {
            std::thread::sleep(Duration::from_millis(1050));
            let _ = stream.write_all(b"S");
            let mut reader = stream.try_clone().unwrap();
            let _ = io::copy(&mut reader, &mut stream);
            let _ = stream.shutdown(Shutdown::Write);
        }
    });
    let config = ConfigText::to(&[late.address]).listener("starttls: postgres");
    let config = config.upstream("connect: { timeout: 30s, hedge: off }");
    let gateway = TestGateway::start(&config);
    let mut client = connect(gateway.address());
    ask(&mut client);
    hello_echoes(&gateway, client);
    let (_, page) = gateway.admin("GET", "/status");
    let cause = "the endpoint was late to answer the request for TLS";
    assert!(page.contains(cause), "{page}");
}

#[test]
fn a_request_in_single_bytes_is_answered() {
    let (server, requests) = postgres(b"S");
    let gateway = gateway(&[server.address]);
    let mut client = connect(gateway.address());
    for byte in SSL_REQUEST {
        client.write_all(&[byte]).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(read_exactly(&mut client, 1), b"S");
    hello_echoes(&gateway, client);
    assert_eq!(requests.load(Ordering::Relaxed), 1);
}

#[test]
fn gssapi_is_declined_before_tls_is_granted() {
    let (server, requests) = postgres(b"S");
    let gateway = gateway(&[server.address]);
    let mut client = connect(gateway.address());
    client.write_all(&GSSENC_REQUEST).unwrap();
    assert_eq!(read_exactly(&mut client, 1), b"N");
    ask(&mut client);
    hello_echoes(&gateway, client);
    // A client that begins with TLS after the N did not ask for it.
    let mut client = connect(gateway.address());
    client.write_all(&GSSENC_REQUEST).unwrap();
    assert_eq!(read_exactly(&mut client, 1), b"N");
    hello_echoes(&gateway, client);
    assert_eq!(requests.load(Ordering::Relaxed), 1);
}

#[test]
fn a_client_that_begins_with_tls_is_relayed_without_a_request() {
    let (server, requests) = postgres(b"S");
    let gateway = gateway(&[server.address]);
    hello_echoes(&gateway, connect(gateway.address()));
    assert_eq!(requests.load(Ordering::Relaxed), 0);
}

#[test]
fn a_header_for_the_endpoint_comes_before_the_request() {
    let (server, accepted) = Server::handing_over();
    let config = ConfigText::to(&[server.address]).listener("starttls: postgres");
    let gateway = TestGateway::start(&config.upstream("proxy_protocol: v2"));
    let mut client = connect(gateway.address());
    ask(&mut client);
    let wire = hello(SERVICE, &[]);
    client.write_all(&wire).unwrap();
    let mut pod = accepted.recv_timeout(crate::support::DEADLINE).unwrap();
    // 28 bytes of fixed parts and IPv4 addresses, 3 and the name of authority.
    let header = read_exactly(&mut pod, 28 + 3 + SERVICE.len());
    assert!(header.starts_with(b"\r\n\r\n\0\r\nQUIT\n"));
    assert_eq!(read_exactly(&mut pod, 8), SSL_REQUEST);
    pod.write_all(b"S").unwrap();
    assert_eq!(read_exactly(&mut pod, wire.len()), wire);
}

/// A client that sends `pieces`, each after one byte of answer to the one before, is refused with `outcome`.
#[track_caller]
fn refused(gateway: &TestGateway, pieces: &[&[u8]], outcome: &str, detail: &str) {
    let mut client = connect(gateway.address());
    let source = client.local_addr().unwrap();
    for (position, piece) in pieces.iter().enumerate() {
        if position > 0 {
            read_exactly(&mut client, 1);
        }
        client.write_all(piece).unwrap();
    }
    let _ = client.shutdown(Shutdown::Write);
    let record = gateway.record_of(source);
    assert_eq!(record.outcome, outcome, "{record:?}");
    let said = record.detail.as_deref().unwrap_or_default();
    assert!(said.contains(detail), "{record:?}");
}

#[test]
fn what_asks_for_no_tls_is_refused() {
    let (server, _) = postgres(b"S");
    let gateway = gateway(&[server.address]);
    let cancel = [0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 0, 0, 0, 2];
    let startup = b"\0\0\0\x0f\0\x03\0\0user\0a\0\0";
    for (pieces, outcome, detail) in [
        (&[&cancel[..]][..], "not_tls", "CancelRequest"),
        (&[&startup[..]], "not_tls", "StartupMessage"),
        (
            &[&GSSENC_REQUEST, &startup[..]],
            "not_tls",
            "StartupMessage",
        ),
        (&[&GSSENC_REQUEST, &GSSENC_REQUEST], "not_tls", "twice"),
        (&[&[0; 8]], "not_tls", "0x00"),
        (&[&SSL_REQUEST, &SSL_REQUEST], "not_tls", "SSLRequest"),
        (&[&SSL_REQUEST, b"GET / HTTP/1.1\r\n"], "not_tls", "HTTP"),
        (&[&SSL_REQUEST[..5]], "client_gone_before_hello", ""),
        (&[&GSSENC_REQUEST, b""], "client_gone_before_hello", ""),
        (&[&SSL_REQUEST, b"\x16\x03"], "client_gone_before_hello", ""),
    ] {
        refused(&gateway, pieces, outcome, detail);
    }
    assert_eq!(server.connections(), 0);
    assert_eq!(gateway.closed("probe"), 0.0);
}

#[test]
fn bytes_behind_a_request_are_not_taken_for_encrypted_ones() {
    let (server, _) = postgres(b"S");
    let gateway = gateway(&[server.address]);
    for request in [SSL_REQUEST, GSSENC_REQUEST] {
        for behind in [&hello(SERVICE, &[])[..], b"x", &SSL_REQUEST] {
            let mut client = connect(gateway.address());
            let source = client.local_addr().unwrap();
            client.write_all(&[&request, behind].concat()).unwrap();
            let _ = client.shutdown(Shutdown::Write);
            let mut answer = Vec::new();
            let _ = client.read_to_end(&mut answer);
            assert_eq!(answer, b"", "no answer to {request:?}");
            let record = gateway.record_of(source);
            assert_eq!(record.outcome, "not_tls", "{record:?}");
            let detail = record.detail.as_deref().unwrap();
            assert!(detail.contains("before its answer"), "{record:?}");
        }
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn the_deadline_of_the_hello_covers_the_request() {
    let (server, _) = postgres(b"S");
    let config = ConfigText::to(&[server.address]).listener("starttls: postgres");
    let config = config.listener("client_hello: { timeout: 2s }");
    let gateway = TestGateway::start(&config);
    for (sent, detail) in [
        (&SSL_REQUEST[..], "no ClientHello after it"),
        (&SSL_REQUEST[..3], "no ClientHello after it"),
        (b"", "nothing received"),
    ] {
        let mut client = connect(gateway.address());
        client.write_all(sent).unwrap();
        let record = gateway.record_of(client.local_addr().unwrap());
        assert_eq!(record.outcome, "hello_timeout", "{record:?}");
        assert!(record.detail.unwrap().contains(detail), "{sent:?}");
    }
}

#[test]
fn an_endpoint_that_grants_no_tls_fails_with_its_answer() {
    for (answer, outcome, detail) in [
        (&b"N"[..], "upstream_not_tls", "answers N"),
        (b"E\0\0\0\x10", "upstream_not_tls", "answers \"E"),
        (b"SS", "upstream_not_tls", "not S alone"),
        (b"", "upstream_closed_before_reply", "closed after"),
    ] {
        let (server, requests) = postgres(answer);
        let gateway = gateway(&[server.address]);
        let mut client = connect(gateway.address());
        let source = client.local_addr().unwrap();
        ask(&mut client);
        client.write_all(&hello(SERVICE, &[])).unwrap();
        assert_eq!(read_to_eof(&mut client), b"", "a close alone");
        let record = gateway.record_of(source);
        assert_eq!(record.outcome, outcome, "{record:?}");
        let said = record.detail.as_deref().unwrap();
        assert!(said.contains(detail), "{record:?}");
        assert_eq!(record.to_upstream, 0, "the hello stays here: {record:?}");
        assert_eq!(requests.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn the_next_endpoint_is_asked_when_one_grants_no_tls() {
    let (without, _) = postgres(b"N");
    let (with, granted) = postgres(b"S");
    let gateway = gateway(&[without.address, with.address]);
    for _ in 0..4 {
        let mut client = connect(gateway.address());
        ask(&mut client);
        hello_echoes(&gateway, client);
    }
    assert_eq!(granted.load(Ordering::Relaxed), 4);
}

#[test]
fn a_listener_without_the_key_names_the_request() {
    let (server, _) = postgres(b"S");
    let gateway = TestGateway::start(&ConfigText::to(&[server.address]));
    refused(&gateway, &[&SSL_REQUEST], "not_tls", "starttls: postgres");
}
