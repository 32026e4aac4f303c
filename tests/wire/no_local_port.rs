//! No local port is left towards an endpoint: provoked in a network namespace of its own, since the
//! range of local ports belongs to the namespace and narrowing it would hit everybody else.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::support::client::hello;
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
