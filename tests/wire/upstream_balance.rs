//! The choice of an endpoint: `balance` of an upstream.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::support::DEADLINE;
use crate::support::client::hello;
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::{Server, read_exactly, with_deadlines};

/// Calls from one of this machine's many loopback addresses, which is held open.
fn call(from: &str, name: &str, gateway: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from: IpAddr = from.parse().unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect_timeout(&gateway.into(), DEADLINE).unwrap();
    let mut stream = TcpStream::from(socket);
    with_deadlines(&stream);
    let wire = hello(name, &[]);
    stream.write_all(&wire).unwrap();
    assert_eq!(read_exactly(&mut stream, wire.len()), wire);
    stream
}

/// The numbers of connections that four servers get, in order of size.
fn spread<'a>(balance: &str, calls: impl Iterator<Item = (&'a str, &'a str)>) -> [usize; 4] {
    let servers = [(); 4].map(|()| Server::echo());
    let endpoints = servers.each_ref().map(|server| server.address);
    let config = ConfigText::to(&endpoints)
        .routes("[{ sni: '*', alpn: any, upstream: svcb }]")
        .upstream(&format!("balance: {balance}"));
    let gateway = TestGateway::start(&config);
    let open: Vec<_> = calls
        .map(|(from, name)| call(from, name, gateway.address()))
        .collect();
    let mut counts = servers.each_ref().map(Server::connections);
    counts.sort_unstable();
    drop(open);
    counts
}

#[test]
fn each_balance_ties_calls_to_endpoints_by_what_it_names() {
    // As many as make it certain that two of them differ.
    let sources = (1..=24).map(|last| format!("127.0.0.{last}"));
    let sources: Vec<String> = sources.collect();
    let names: Vec<String> = (1..=24)
        .map(|number| format!("s{number}.example"))
        .collect();
    let one_client = || (0..24).map(|_| ("127.0.0.9", "one.example"));
    let by_source = || sources.iter().map(|source| (&**source, "one.example"));
    let by_name = || names.iter().map(|name| ("127.0.0.9", &**name));
    assert_eq!(spread("round_robin", one_client()), [6, 6, 6, 6]);
    assert_eq!(spread("source_hash", one_client()), [0, 0, 0, 24]);
    assert_eq!(spread("source_hash", by_name()), [0, 0, 0, 24]);
    assert_ne!(spread("source_hash", by_source()), [0, 0, 0, 24]);
    assert_eq!(spread("name_hash", by_source()), [0, 0, 0, 24]);
    assert_ne!(spread("name_hash", by_name()), [0, 0, 0, 24]);
}
