//! Limits that the config sets for a listener, a route, a source group or each source address: what is
//! too much is refused early and counted, and nobody else notices.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::support::client::{connect, hello, open};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::{Server, read_exactly, read_to_eof, with_deadlines};
use crate::support::{DEADLINE, SERVICE, wait_until};

const REFUSALS: &str = "strait_limit_refusals_total";

/// A connection from one of this machine's many loopback addresses.
fn connect_from(ip: &str, gateway: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from: IpAddr = ip.parse().unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect_timeout(&gateway.into(), DEADLINE).unwrap();
    let stream = TcpStream::from(socket);
    with_deadlines(&stream);
    stream
}

/// The connection is relayed: what is sent comes back.
#[track_caller]
fn is_served(client: &mut TcpStream) {
    let wire = hello(SERVICE, &[]);
    client.write_all(&wire).unwrap();
    assert_eq!(read_exactly(client, wire.len()), wire);
}

/// Refused before a byte is read, with this in the log and one more in the metric.
#[track_caller]
fn is_refused(
    gateway: &TestGateway,
    mut client: TcpStream,
    scope: &str,
    limit: &str,
    detail: &str,
) {
    let source = client.local_addr().unwrap();
    assert_eq!(read_to_eof(&mut client), b"");
    let record = gateway.record_of(source);
    assert_eq!(record.outcome, "over_limit");
    assert_eq!(record.flags, "UO");
    assert_eq!(record.detail.as_deref(), Some(detail));
    assert_eq!((record.hello_ms, record.route), (None, None));
    let labels = [
        ("listener", "east-west"),
        ("scope", scope),
        ("limit", limit),
    ];
    assert!(gateway.metric(REFUSALS, &labels) >= 1.0);
}

#[test]
fn connections_of_a_listener() {
    let (gateway, _echo) = TestGateway::with_echo(&["limits: { connections: 2 }"]);
    let detail = "the listener's limit of 2 connections at a time";
    let mut held: Vec<_> = (0..2).map(|_| connect(gateway.address())).collect();
    held.iter_mut().for_each(is_served);
    for _ in 0..3 {
        let client = connect(gateway.address());
        is_refused(&gateway, client, "listener", "connections", detail);
    }
    // A place that is free again is taken again.
    drop(held.pop());
    assert_eq!(gateway.record().outcome, "ok");
    wait_until("a place is free", || {
        let mut client = connect(gateway.address());
        let served = client.write_all(&hello(SERVICE, &[])).is_ok();
        served && std::io::Read::read(&mut client, &mut [0]).is_ok_and(|length| length == 1)
    });
    is_served(&mut held[0]);
}

#[test]
fn connections_of_each_source_address() {
    let (gateway, _echo) = TestGateway::with_echo(&["limits_per_source: { connections: 1 }"]);
    let detail = "the source address's limit of 1 connections at a time";
    let mut first = connect_from("127.0.0.2", gateway.address());
    is_served(&mut first);
    let client = connect_from("127.0.0.2", gateway.address());
    is_refused(&gateway, client, "source", "connections", detail);
    let mut other = connect_from("127.0.0.3", gateway.address());
    is_served(&mut other);
}

#[test]
fn connections_of_a_source_group() {
    let echo = Server::echo();
    let group = "{ name: alpha, cidrs: [127.0.1.0/24], limits: { connections: 1 } }";
    let config = ConfigText::to(&[echo.address]).top(&format!("sources: [{group}]"));
    let gateway = TestGateway::start(&config);
    let detail = "the source group's limit of 1 connections at a time";
    let mut first = connect_from("127.0.1.1", gateway.address());
    is_served(&mut first);
    let client = connect_from("127.0.1.2", gateway.address());
    is_refused(&gateway, client, "source_group", "connections", detail);
    is_served(&mut connect(gateway.address()));
}

#[test]
fn connections_of_a_route_end_with_a_close_so_that_clients_try_again() {
    let echo = Server::echo();
    let routes = format!(
        "[{{ service: '{SERVICE}:80', alpn: any, upstream: svcb, limits: {{ connections: 1 }} }}, \
          {{ sni: other.example, alpn: any, upstream: svcb }}]"
    );
    let gateway = TestGateway::start(&ConfigText::to(&[echo.address]).routes(&routes));
    let (mut first, length) = open(gateway.address());
    read_exactly(&mut first, length);
    let (mut second, _) = open(gateway.address());
    let source = second.local_addr().unwrap();
    assert_eq!(read_to_eof(&mut second), b"");
    let record = gateway.record_of(source);
    assert_eq!(record.outcome, "over_limit");
    let detail = "the route's limit of 1 connections at a time";
    assert_eq!(record.detail.as_deref(), Some(detail));
    assert_eq!(
        record.route.as_deref(),
        Some("svcb.apps.svc.cluster.local:80")
    );
    assert_eq!(record.attempts, 0);
    let labels = [("scope", "route"), ("limit", "connections")];
    assert_eq!(gateway.metric(REFUSALS, &labels), 1.0);
    // The other route has no such limit.
    let other = hello("other.example", &[]);
    let mut client = connect(gateway.address());
    client.write_all(&other).unwrap();
    assert_eq!(read_exactly(&mut client, other.len()), other);
    drop(first);
    wait_until("the place is free", || {
        let (mut client, length) = open(gateway.address());
        let mut echoed = vec![0; length];
        std::io::Read::read_exact(&mut client, &mut echoed).is_ok()
    });
}

#[test]
fn new_connections_a_second() {
    let (gateway, echo) = TestGateway::with_echo(&["limits: { connections_per_second: 5 }"]);
    // Far more than five a second; the bucket holds five at first and gets five a second.
    let start = std::time::Instant::now();
    for _ in 0..40 {
        drop(open(gateway.address()));
    }
    let records: Vec<_> = (0..40).map(|_| gateway.record()).collect();
    let elapsed = start.elapsed();
    let refused = records.iter().filter(|one| one.outcome == "over_limit");
    let refused = refused.count();
    assert!(40 - refused >= 5, "a second's worth at once");
    let most = 5.0 + 5.0 * elapsed.as_secs_f64() + 1.0;
    assert!((40 - refused) as f64 <= most, "{refused} refused of 40");
    assert!(echo.connections() <= 40 - refused);
    let labels = [("scope", "listener"), ("limit", "connections_per_second")];
    assert_eq!(gateway.metric(REFUSALS, &labels), refused as f64);
    // And it fills again.
    wait_until("a connection is served again", || {
        let (mut client, length) = open(gateway.address());
        let mut echoed = vec![0; length];
        std::io::Read::read_exact(&mut client, &mut echoed).is_ok()
    });
}

#[test]
fn hellos_in_progress() {
    let (gateway, _echo) = TestGateway::with_echo(&["limits_per_source: { hellos: 2 }"]);
    let wire = hello(SERVICE, &[]);
    let mut slow: Vec<_> = (0..2)
        .map(|_| {
            let mut client = connect_from("127.0.0.2", gateway.address());
            client.write_all(&wire[..10]).unwrap();
            client
        })
        .collect();
    // A connection is accepted before it counts; its bytes are read after that.
    wait_until("both are in progress", || {
        gateway.metric("strait_hello_memory_bytes", &[]) >= 20.0
    });
    let detail = "the source address's limit of 2 ClientHellos in progress";
    let client = connect_from("127.0.0.2", gateway.address());
    is_refused(&gateway, client, "source", "hellos", detail);
    // Others are served, and relayed connections are no hellos in progress.
    is_served(&mut connect(gateway.address()));
    for client in &mut slow {
        client.write_all(&wire[10..]).unwrap();
        assert_eq!(read_exactly(client, wire.len()), wire);
    }
    let mut third = connect_from("127.0.0.2", gateway.address());
    is_served(&mut third);
}

#[test]
fn a_new_config_changes_limits_and_keeps_the_count() {
    let echo = Server::echo();
    let config = |limit: &str| {
        let config = ConfigText::to(&[echo.address]);
        config.listener(&format!("limits: {{ connections: {limit} }}"))
    };
    let gateway = TestGateway::start(&config("3"));
    let address = gateway.address();
    let mut held: Vec<_> = (0..3).map(|_| connect(address)).collect();
    held.iter_mut().for_each(is_served);
    gateway.reload(&config("1")).unwrap();
    let detail = "the listener's limit of 1 connections at a time";
    is_refused(
        &gateway,
        connect(address),
        "listener",
        "connections",
        detail,
    );
    // Connections that were open before stay.
    for client in &mut held {
        is_served(client);
    }
    gateway.reload(&config("off")).unwrap();
    is_served(&mut connect(address));
}

#[test]
fn behind_a_load_balancer_the_announced_client_is_limited() {
    let (gateway, _echo) = TestGateway::with_echo(&[
        "proxy_protocol: { trusted: [127.0.0.0/8] }",
        "limits_per_source: { connections: 1 }",
    ]);
    let announce = |client: &str| {
        let mut stream = connect(gateway.address());
        let header = format!("PROXY TCP4 {client} 198.51.100.1 1 2\r\n");
        stream.write_all(header.as_bytes()).unwrap();
        stream
    };
    let mut first = announce("192.0.2.1");
    is_served(&mut first);
    let mut second = announce("192.0.2.1");
    assert_eq!(read_to_eof(&mut second), b"");
    let record = gateway.record();
    assert_eq!((&*record.outcome, record.hello_ms), ("over_limit", None));
    is_served(&mut announce("192.0.2.2"));
}

#[test]
fn a_denied_source_uses_up_nothing() {
    let (gateway, _echo) = TestGateway::with_echo(&[
        "deny_sources: [127.0.0.2/32]",
        "limits: { connections: 1, connections_per_second: 1 }",
    ]);
    for _ in 0..20 {
        let mut client = connect_from("127.0.0.2", gateway.address());
        assert_eq!(read_to_eof(&mut client), b"");
        assert_eq!(gateway.record().outcome, "source_denied");
    }
    is_served(&mut connect(gateway.address()));
}
