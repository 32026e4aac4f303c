//! Times of a route, which win over those of its listener and its upstream.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::support::client::{connect, hello};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::{BlackHole, Server, read_exactly};

/// Two routes to the same endpoint, of which the second has times of its own.
fn config(endpoint: SocketAddr, listener: &str, upstream: &str, own: &str) -> ConfigText {
    ConfigText::verbatim(&format!(
        "listeners:\n  - name: east-west\n    bind: '127.0.0.1:0'\n    timeouts: {{ {listener} }}\n    routes:\n\
         \x20     - {{ name: plain, sni: plain.example, alpn: any, upstream: u }}\n\
         \x20     - {{ name: own, sni: own.example, alpn: any, upstream: u, timeouts: {{ {own} }} }}\n\
         upstreams:\n  u: {{ endpoints: ['{endpoint}'], connect: {{ {upstream} }} }}"
    ))
}

fn ask(gateway: &TestGateway, name: &str) -> (TcpStream, usize) {
    let mut client = connect(gateway.address());
    let hello = hello(name, &[]);
    client.write_all(&hello).unwrap();
    (client, hello.len())
}

#[test]
fn a_routes_idle_timeout_wins_over_the_listeners_either_way() {
    let server = Server::echo();
    for (listener, own, first_to_end) in [("1h", "4s", "own"), ("4s", "1h", "plain")] {
        let idle = |time| format!("idle: {time}");
        let gateway = TestGateway::start(&config(server.address, &idle(listener), "", &idle(own)));
        let mut streams = ["plain", "own"].map(|route| {
            let (mut client, length) = ask(&gateway, &format!("{route}.example"));
            read_exactly(&mut client, length);
            (route, client)
        });
        let record = gateway.record();
        assert_eq!(record.outcome, "idle_timeout", "{record:?}");
        assert_eq!(record.route.as_deref(), Some(first_to_end), "{record:?}");
        let other = streams.iter_mut().find(|(route, _)| *route != first_to_end);
        let (_, other) = other.unwrap();
        other.write_all(b"still here").unwrap();
        assert_eq!(read_exactly(other, 10), b"still here");
    }
}

#[test]
fn a_routes_connect_timeout_wins_over_the_upstreams() {
    let hole = BlackHole::dig();
    let upstream = "timeout: 60s, attempts: 1";
    let gateway = TestGateway::start(&config(hole.address, "", upstream, "connect: 300ms"));
    let (mut waits, _) = ask(&gateway, "plain.example");
    let (mut client, _) = ask(&gateway, "own.example");
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    let record = gateway.record();
    assert_eq!(record.outcome, "connect_timeout", "{record:?}");
    assert_eq!(record.route.as_deref(), Some("own"), "{record:?}");
    let detail = record.detail.unwrap();
    assert!(detail.contains("within 300ms"), "{detail}");
    waits.set_nonblocking(true).unwrap();
    let error = waits.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "it goes on");
}
