//! No local port is left towards an endpoint: provoked in a network namespace of its own, since the
//! range of local ports belongs to the namespace and narrowing it would hit everybody else.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::support::client::{hello, open};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::namespace::in_namespace;
use crate::support::server::{Server, read_exactly, with_deadlines};
use crate::support::{DEADLINE, SERVICE};

#[test]
fn ports_that_run_out_towards_one_endpoint() {
    in_namespace(
        "no_local_port::ports_that_run_out_towards_one_endpoint",
        run_out_of_ports,
    );
}

#[test]
fn more_source_addresses_have_more_ports() {
    in_namespace(
        "no_local_port::more_source_addresses_have_more_ports",
        connect_from_more_addresses,
    );
}

/// A client whose own port is not one of those that connect(2) chooses from.
fn open_from(port: u16, gateway: SocketAddr) -> (TcpStream, usize) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let own = SocketAddr::from(([127, 0, 0, 1], port));
    socket.bind(&own.into()).unwrap();
    socket.connect_timeout(&gateway.into(), DEADLINE).unwrap();
    let mut stream = TcpStream::from(socket);
    with_deadlines(&stream);
    let hello = hello(SERVICE, &[]);
    stream.write_all(&hello).unwrap();
    (stream, hello.len())
}

fn run_out_of_ports() {
    let (first, second) = (Server::echo(), Server::echo());
    let config = |endpoints: &[SocketAddr]| ConfigText::to(endpoints).top("workers: 1");
    let one = TestGateway::start(&config(&[first.address]));
    let both = TestGateway::start(&config(&[first.address, second.address]));
    // After all that listens has its port.
    let range = "/proc/sys/net/ipv4/ip_local_port_range";
    fs::write(range, "20000 20000").unwrap();

    let (mut held, length) = open_from(10_001, one.address());
    read_exactly(&mut held, length);
    let (refused, _) = open_from(10_002, one.address());
    let record = one.record_of(refused.local_addr().unwrap());
    assert_eq!(record.outcome, "no_local_port", "{record:?}");
    assert_eq!(record.flags, "UF,URX");
    assert_eq!(record.ended_by.as_deref(), Some("gateway"));
    assert_eq!(record.endpoint, Some(first.address));
    assert_eq!(record.attempts, 1);
    let detail = record.detail.unwrap();
    assert!(detail.contains("no local port is left"), "{detail}");
    assert_eq!(one.closed("no_local_port"), 1.0);
    assert_eq!(one.endpoints()[0]["state"], "ready", "not its fault");

    // Another endpoint has all ports of its own.
    let (mut elsewhere, length) = open_from(10_003, both.address());
    read_exactly(&mut elsewhere, length);
    let (refused, _) = open_from(10_004, both.address());
    let record = both.record_of(refused.local_addr().unwrap());
    assert_eq!((&*record.outcome, record.attempts), ("no_local_port", 2));

    drop(held);
    assert_eq!(one.record().outcome, "ok");
    fs::write(range, "20000 20999").unwrap();
    let (mut again, length) = open_from(10_005, one.address());
    read_exactly(&mut again, length);
}

fn connect_from_more_addresses() {
    let (server, pods) = Server::handing_over();
    // The namespace does not have the first one.
    let sources = "connect: { source_addresses: [192.0.2.1, 127.0.0.2, 127.0.0.3, 'fd00::1'] }";
    let config = ConfigText::to(&[server.address]).top("workers: 1");
    let gateway = TestGateway::start(&config.clone().upstream(sources));
    let foreign = "connect: { source_addresses: [192.0.2.1] }";
    let stranded = TestGateway::start(&config.upstream(foreign));
    fs::write("/proc/sys/net/ipv4/ip_local_port_range", "20000 20000").unwrap();

    let open = |port| {
        let (client, _) = open_from(port, gateway.address());
        let pod = pods.recv_timeout(DEADLINE).unwrap();
        let from = pod.peer_addr().unwrap().to_string();
        ((client, pod), from)
    };
    let (first, one) = open(10_001);
    let (_second, other) = open(10_002);
    let mut both = [one, other];
    both.sort();
    assert_eq!(both, ["127.0.0.2:20000", "127.0.0.3:20000"]);
    let (refused, _) = open_from(10_003, gateway.address());
    let record = gateway.record_of(refused.local_addr().unwrap());
    assert_eq!((&*record.outcome, record.attempts), ("no_local_port", 1));
    drop(first);
    gateway.record();
    // The kernel may hold the port of the connection for a minute, so another one serves.
    fs::write("/proc/sys/net/ipv4/ip_local_port_range", "20000 20001").unwrap();
    let (_third, from) = open(10_004);
    assert!(from.starts_with("127.0.0."), "{from}");

    let (refused, _) = open_from(10_005, stranded.address());
    let record = stranded.record_of(refused.local_addr().unwrap());
    assert_eq!(record.outcome, "no_local_port", "{record:?}");
    let detail = record.detail.unwrap();
    assert!(detail.contains("does not have 192.0.2.1"), "{detail}");
    assert_eq!(stranded.endpoints()[0]["state"], "ready", "not its fault");
}

#[test]
fn connections_take_the_source_addresses_in_turn() {
    let (server, pods) = Server::handing_over();
    let sources = "connect: { source_addresses: [127.0.0.2, 127.0.0.3, 127.0.0.4] }";
    let gateway = TestGateway::start(&ConfigText::to(&[server.address]).upstream(sources));
    let held: Vec<_> = (0..6)
        .map(|_| {
            let client = open(gateway.address());
            (client, pods.recv_timeout(DEADLINE).unwrap())
        })
        .collect();
    let from = held.iter().map(|(_, pod)| pod.peer_addr().unwrap().ip());
    let from: Vec<String> = from.map(|ip| ip.to_string()).collect();
    let turns = ["127.0.0.2", "127.0.0.3", "127.0.0.4"];
    assert_eq!(from, [turns, turns].concat());
}
