//! A load balancer in front that announces its clients, and endpoints that want them announced:
//! whose address counts, and what a forged, broken or missing header comes to.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use strait::proxy_header::{Proxied, ProxyHeader};
use strait::server_name::ServerName;
use strait::tools::records::LogLine;

use crate::support::client::{connect, hello};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::{Server, read_exactly, read_to_eof, refusing_address};
use crate::support::{self, DEADLINE, SERVICE, assert_same_bytes, noise};

const TRUSTING: &str = "proxy_protocol: { trusted: [127.0.0.0/8] }";
const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 15443\r\n";

fn source() -> SocketAddr {
    "192.0.2.7:4711".parse().unwrap()
}

/// A header of version 2 for a client at `source`, with TLVs.
fn v2(source: SocketAddr) -> Vec<u8> {
    let destination = "198.51.100.1:15443".parse().unwrap();
    let name = ServerName::parse(b"front.example").unwrap();
    Proxied {
        source,
        destination,
    }
    .header(Some(&name))
    .unwrap()
}

fn raw_v2(version_command: u8, family_transport: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let fixed = [version_command, family_transport, length[0], length[1]];
    [b"\r\n\r\n\0\r\nQUIT\n", &fixed[..], payload].concat()
}

/// The echo of `wire`, sent in pieces that end at `cuts`: everything behind the first `header` bytes.
#[track_caller]
fn echoes(
    gateway: &TestGateway,
    wire: &[u8],
    header: usize,
    cuts: &[usize],
) -> (LogLine, SocketAddr) {
    let mut client = connect(gateway.address());
    let peer = client.local_addr().unwrap();
    let mut sent = 0;
    for cut in cuts.iter().copied().chain([wire.len()]) {
        client.write_all(&wire[sent..cut]).unwrap();
        sent = cut;
        if cut < wire.len() && cuts.len() < 10 {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let echoed = read_exactly(&mut client, wire.len() - header);
    assert_same_bytes(&echoed, &wire[header..]);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_eof(&mut client), b"");
    let record = gateway.record();
    assert_eq!(record.outcome, "ok");
    assert_eq!(record.to_upstream, (wire.len() - header) as u64);
    (record, peer)
}

#[test]
fn the_announced_client_is_the_source() {
    let (gateway, _echo) = TestGateway::with_echo(&[TRUSTING]);
    let hello = hello(SERVICE, &[]);
    let early = noise(40_000, 5);
    let v6: SocketAddr = "[2001:db8::7]:4711".parse().unwrap();
    let mapped = b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 4711 15443\r\n";
    let with_tlvs = [
        &[192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 0x3c, 0x53][..],
        &[0xea, 0, 3, 1, 2, 3, 0x20, 0, 5, 1, 0, 0, 0, 0],
    ]
    .concat();
    for (header, announced) in [
        (V1.to_vec(), source()),
        (v2(source()), source()),
        (v2(v6), v6),
        (mapped.to_vec(), source()),
        (raw_v2(0x21, 0x11, &with_tlvs), source()),
    ] {
        let wire = [&header[..], &hello, &early].concat();
        let every_byte: Vec<usize> = (1..header.len() + hello.len()).collect();
        let end = header.len();
        for cuts in [
            &[][..],
            &[1],
            &[end - 1],
            &[end],
            &[end + 1],
            &[end / 2, end + hello.len() / 2],
            &every_byte,
        ] {
            let (record, peer) = echoes(&gateway, &wire, end, cuts);
            assert_eq!(record.source, announced, "{cuts:?}");
            assert_eq!(record.proxy, Some(peer));
        }
    }
}

#[test]
fn a_header_that_announces_nobody_leaves_the_peer() {
    let (gateway, _echo) = TestGateway::with_echo(&[TRUSTING]);
    let hello = hello(SERVICE, &[]);
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN 192.0.2.7 192.0.2.8 1 2\r\n".to_vec(),
        raw_v2(0x20, 0x00, &[]),
        raw_v2(0x20, 0x11, &[9; 12]),
        raw_v2(0x21, 0x00, &[]),
        raw_v2(0x21, 0x31, &[b'/'; 216]),
    ] {
        let wire = [&header[..], &hello].concat();
        let (record, peer) = echoes(&gateway, &wire, header.len(), &[]);
        assert_eq!(record.source, peer);
        assert_eq!(record.proxy, None);
    }
}

#[test]
fn policy_and_groups_go_by_the_announced_client() {
    let echo = Server::echo();
    let config = ConfigText::to(&[echo.address])
        .listener(TRUSTING)
        .listener("allow_sources: [alpha]")
        .listener("deny_sources: [192.0.2.66/32]")
        .top("sources: [{ name: alpha, cidrs: [192.0.2.0/24] }]");
    let gateway = TestGateway::start(&config);
    let hello = hello(SERVICE, &[]);

    let wire = [V1, &hello].concat();
    let (record, _) = echoes(&gateway, &wire, V1.len(), &[]);
    assert_eq!(record.source_group, "alpha");
    let labels = [
        ("source", "alpha"),
        ("route", "svcb.apps.svc.cluster.local:80"),
    ];
    assert_eq!(
        gateway.metric("strait_connections_opened_total", &labels),
        1.0
    );

    // Denied, not allowed, and the proxy itself, which is in no list: none gets as far as its hello.
    for header in [
        "PROXY TCP4 192.0.2.66 198.51.100.1 1 2\r\n",
        "PROXY TCP6 ::ffff:192.0.2.66 ::1 1 2\r\n",
        "PROXY TCP4 203.0.113.9 198.51.100.1 1 2\r\n",
        "PROXY UNKNOWN\r\n",
    ] {
        let mut client = connect(gateway.address());
        client.write_all(header.as_bytes()).unwrap();
        assert_eq!(read_to_eof(&mut client), b"");
        let record = gateway.record();
        assert_eq!(record.outcome, "source_denied", "{header}");
        assert_eq!(record.hello_ms, None);
    }
    assert_eq!(echo.connections(), 1);
}

#[test]
fn a_header_from_anyone_else_is_not_tls() {
    let (gateway, echo) =
        TestGateway::with_echo(&["proxy_protocol: { trusted: [203.0.113.0/24] }"]);
    let hello = hello(SERVICE, &[]);
    for header in [V1.to_vec(), v2(source())] {
        let mut client = connect(gateway.address());
        client.write_all(&[&header[..], &hello].concat()).unwrap();
        assert_eq!(read_to_eof(&mut client), b"");
        let record = gateway.record();
        assert_eq!(record.outcome, "not_tls");
        let detail = record.detail.unwrap();
        assert!(detail.contains("proxy_protocol.trusted"), "{detail}");
        assert!(record.source.ip().is_loopback());
        assert_eq!(record.proxy, None);
    }
    assert_eq!(echo.connections(), 0);
    // A client that is not trusted speaks TLS at once.
    let (record, peer) = echoes(&gateway, &hello, 0, &[]);
    assert_eq!(record.source, peer);
}

#[test]
fn what_is_no_header_is_refused_at_once() {
    let (gateway, echo) = TestGateway::with_echo(&[TRUSTING, "client_hello: { timeout: 60s }"]);
    let hello = hello(SERVICE, &[]);
    for (wire, detail) in [
        (hello.clone(), "required"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "required"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n".to_vec(), "malformed"),
        ([&b"PROXY "[..], &[b'x'; 107]].concat(), "CRLF"),
        (raw_v2(0x21, 0x12, &[0; 12]), "datagrams"),
        (raw_v2(0x21, 0x11, &[0; 11]), "too short"),
        (raw_v2(0x20, 0x00, &[0; 5000])[..16].to_vec(), "more than"),
        (raw_v2(0x21, 0x11, &[0; 13]), "TLV"),
    ] {
        let mut client = connect(gateway.address());
        client.write_all(&wire).unwrap();
        assert_eq!(read_to_eof(&mut client), b"", "no alert: this is not TLS");
        let record = gateway.record();
        assert_eq!(record.outcome, "proxy_header_invalid");
        let said = record.detail.unwrap();
        assert!(said.contains(detail), "{said}");
    }
    assert_eq!(echo.connections(), 0);
}

#[test]
fn a_header_that_does_not_come_ends_at_the_deadline() {
    let config = ConfigText::to(&[refusing_address()]);
    let config = config.listener(TRUSTING);
    let gateway = TestGateway::start(&config.listener("client_hello: { timeout: 2s }"));
    let whole = v2(source());
    for start in [&[][..], &V1[..10], &whole[..20]] {
        let mut client = connect(gateway.address());
        client.write_all(start).unwrap();
        assert_eq!(read_to_eof(&mut client), b"");
        let record = gateway.record();
        assert_eq!(record.outcome, "hello_timeout");
        assert_eq!(
            record.detail.as_deref(),
            Some("no PROXY protocol header in time")
        );
    }
    // Header and hello share the one deadline.
    let mut client = connect(gateway.address());
    client.write_all(V1).unwrap();
    assert_eq!(read_to_eof(&mut client), b"");
    let record = gateway.record();
    assert_eq!(
        (&*record.outcome, record.source),
        ("hello_timeout", source())
    );
    assert!(record.duration_ms < DEADLINE.as_secs_f64() * 1000.0);
}

#[test]
fn a_check_of_the_load_balancer_is_a_probe() {
    let (gateway, _echo) = TestGateway::with_echo(&[TRUSTING]);
    drop(connect(gateway.address()));
    let local = raw_v2(0x20, 0x00, &[]);
    connect(gateway.address()).write_all(&local).unwrap();
    support::wait_until("both probes are counted", || gateway.closed("probe") == 2.0);
    let mut cut = connect(gateway.address());
    cut.write_all(&V1[..20]).unwrap();
    cut.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_eof(&mut cut), b"");
    assert_eq!(gateway.record().outcome, "client_gone_before_hello");
}

/// Reads a header from an endpoint's connection.
fn header_of(stream: &mut TcpStream) -> (ProxyHeader, Vec<u8>) {
    let mut bytes = read_exactly(stream, 16);
    let length = u16::from_be_bytes([bytes[14], bytes[15]]);
    bytes.extend(read_exactly(stream, usize::from(length)));
    (ProxyHeader::parse(&bytes).unwrap().unwrap(), bytes)
}

#[test]
fn an_endpoint_gets_the_client_and_the_server_name() {
    let (endpoint, connections) = Server::handing_over();
    // The first endpoint refuses. The next one gets the same header.
    for endpoints in [
        vec![endpoint.address],
        vec![refusing_address(), endpoint.address],
    ] {
        let config = ConfigText::to(&endpoints).upstream("proxy_protocol: v2");
        let gateway = TestGateway::start(&config.listener(TRUSTING));
        let hello = hello("outbound_.80_._.SVCB.apps.svc.cluster.local", &[]);
        for (header, announced) in [(V1.to_vec(), true), (raw_v2(0x20, 0, &[]), false)] {
            let mut client = connect(gateway.address());
            let peer = client.local_addr().unwrap();
            client.write_all(&[&header[..], &hello].concat()).unwrap();
            let mut upstream = connections.recv_timeout(DEADLINE).unwrap();
            let (sent, bytes) = header_of(&mut upstream);
            let expected = match announced {
                true => (source(), "198.51.100.1:15443".parse().unwrap()),
                false => (peer, gateway.address()),
            };
            let proxied = sent.proxied.unwrap();
            assert_eq!((proxied.source, proxied.destination), expected);
            let (decoded, _) =
                proxy_header::ProxyHeader::parse(&bytes, proxy_header::ParseConfig::default())
                    .unwrap();
            let name = "outbound_.80_._.svcb.apps.svc.cluster.local";
            assert_eq!(decoded.authority(), Some(name));
            assert_same_bytes(&read_exactly(&mut upstream, hello.len()), &hello);
            drop((upstream, client));
            let record = gateway.record();
            assert_eq!(
                record.to_upstream,
                hello.len() as u64,
                "the client's bytes only"
            );
        }
    }
}

#[test]
fn two_gateways_in_a_row_keep_the_client() {
    let (inner, _echo) = TestGateway::with_echo(&[TRUSTING]);
    let config = ConfigText::to(&[inner.address()]).upstream("proxy_protocol: v2");
    let outer = TestGateway::start(&config);
    let wire = [hello(SERVICE, &[]), noise(100_000, 6)].concat();
    let (outer_record, peer) = echoes(&outer, &wire, 0, &[]);
    assert_eq!(outer_record.source, peer);
    let record = inner.record();
    assert_eq!((&*record.outcome, record.source), ("ok", peer));
}
