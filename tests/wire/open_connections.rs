//! Open connections as an operator sees and ends them on the admin server, in every state.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use crate::support::client::{connect, hello};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::{
    BlackHole, Server, read_exactly, read_to_eof, read_to_error, write_until_stuck,
};
use crate::support::{SERVICE, wait_until};

/// A connection that relays to an echo and has sent `more` bytes after its hello.
fn relayed(gateway: &TestGateway, more: usize) -> TcpStream {
    let mut client = connect(gateway.address());
    let hello = hello(SERVICE, &["h2"]);
    client.write_all(&hello).unwrap();
    client.write_all(&vec![1; more]).unwrap();
    read_exactly(&mut client, hello.len() + more);
    client
}

fn connections(gateway: &TestGateway, query: &str) -> Vec<Value> {
    let answer = gateway.dump(&format!("/connections{query}"));
    assert_eq!(answer["unanswered_workers"], json!([]));
    answer["connections"].as_array().unwrap().clone()
}

/// The one connection of `client`.
fn of(gateway: &TestGateway, client: &TcpStream) -> Value {
    let source = client.local_addr().unwrap().to_string();
    let all = connections(gateway, "?limit=1000");
    let mut all = all.into_iter();
    let found = all.find(|one| one["source"] == *source);
    found.unwrap_or_else(|| panic!("no connection from {source}"))
}

fn delete(gateway: &TestGateway, path: &str) -> (u16, Value) {
    let (status, body) = gateway.admin("DELETE", path);
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

#[test]
fn an_open_connection_is_seen_with_its_way_and_its_bytes() {
    let (gateway, echo) = TestGateway::with_echo(&[]);
    let mut client = relayed(&gateway, 1000);
    let one = of(&gateway, &client);
    for (key, value) in [
        ("listener", "east-west"),
        ("server_name", SERVICE),
        ("alpn", "h2"),
        ("upstream", "svcb"),
        ("endpoint", &echo.address.to_string()),
        ("state", "relaying"),
        ("source_group", "other"),
    ] {
        assert_eq!(one[key], value, "{one}");
    }
    let sent = one["to_upstream_bytes"].as_u64().unwrap();
    assert!(sent > 1000, "{one}");
    assert_eq!(one["to_downstream_bytes"], sent);
    let local: SocketAddr = one["upstream_local"].as_str().unwrap().parse().unwrap();
    assert_eq!(local.ip(), echo.address.ip());
    // It is the same connection as that of the log's line, and goes on as before.
    client.write_all(b"still here").unwrap();
    assert_eq!(read_exactly(&mut client, 10), b"still here");
    let address = client.local_addr().unwrap();
    drop(client);
    assert_eq!(
        Some(gateway.record_of(address).connection),
        one["id"].as_u64()
    );
}

#[test]
fn the_log_has_the_address_that_the_endpoint_sees() {
    let (server, handed_over) = Server::handing_over();
    let gateway = TestGateway::start(&ConfigText::to(&[server.address]));
    let mut client = connect(gateway.address());
    client.write_all(&hello(SERVICE, &[])).unwrap();
    let seen = handed_over.recv().unwrap();
    let peer = seen.peer_addr().unwrap();
    // The kernel of the endpoint's host has the connection before the gateway looks.
    wait_until("the gateway knows the address", || {
        of(&gateway, &client)["upstream_local"] == peer.to_string()
    });
    let source = client.local_addr().unwrap();
    drop((client, seen));
    let record = gateway.record_of(source);
    assert_eq!(record.upstream_local, Some(peer), "{record:?}");
}

#[test]
fn connections_before_their_relay_are_seen_and_end_too() {
    let hole = BlackHole::dig();
    let config = ConfigText::to(&[hole.address]).upstream("connect: { timeout: 1m }");
    let gateway = TestGateway::start(&config);
    let mut silent = connect(gateway.address());
    silent.write_all(&hello(SERVICE, &[])[..20]).unwrap();
    let mut waits = connect(gateway.address());
    waits.write_all(&hello(SERVICE, &[])).unwrap();
    wait_until("both are in their state", || {
        let state = |query| connections(&gateway, query).len();
        [state("?state=hello"), state("?state=connecting")] == [1, 1]
    });
    let connecting = of(&gateway, &waits);
    assert_eq!(connecting["server_name"], SERVICE);
    assert_eq!(connecting["upstream"], "svcb");
    for client in [&mut silent, &mut waits] {
        let id = of(&gateway, client)["id"].clone();
        let (status, ended) = delete(&gateway, &format!("/connections/{id}"));
        assert_eq!((status, &ended["ended"]), (200, &json!(1)), "{ended}");
        let record = gateway.record_of(client.local_addr().unwrap());
        assert_eq!(record.outcome, "ended_by_operator", "{record:?}");
        // A close with an unread hello is a reset.
        assert_eq!(read_to_error(client).0, b"");
    }
    assert_eq!(connections(&gateway, ""), [] as [Value; 0]);
}

#[test]
fn the_connections_of_one_endpoint_end_and_no_others() {
    let (one, other) = (Server::echo(), Server::echo());
    let config = ConfigText::to(&[one.address, other.address]).top("workers: 2");
    let gateway = TestGateway::start(&config);
    let mut clients: Vec<_> = (0..40).map(|_| relayed(&gateway, 0)).collect();
    let query = format!("endpoint={}", one.address);
    let there = connections(&gateway, &format!("?{query}"));
    assert!(!there.is_empty() && there.len() < 40, "{}", there.len());
    let sources: Vec<String> = there
        .iter()
        .map(|one| one["source"].as_str().unwrap().to_owned())
        .collect();
    let (status, ended) = delete(&gateway, &format!("/connections?{query}"));
    assert_eq!((status, &ended["ended"]), (200, &json!(there.len())));
    wait_until("they have ended", || {
        gateway.closed("ended_by_operator") == there.len() as f64
    });
    for client in &mut clients {
        let source = client.local_addr().unwrap().to_string();
        if sources.contains(&source) {
            assert_eq!(read_to_eof(client), b"");
        } else {
            client.write_all(b"goes on").unwrap();
            assert_eq!(read_exactly(client, 7), b"goes on");
        }
    }
    assert_eq!(
        connections(&gateway, &format!("?{query}")),
        [] as [Value; 0]
    );
}

#[test]
fn a_connection_that_is_stuck_in_a_write_is_seen_and_ends() {
    let (server, handed_over) = Server::handing_over();
    let gateway = TestGateway::start(&ConfigText::to(&[server.address]));
    let mut client = connect(gateway.address());
    client.write_all(&hello(SERVICE, &[])).unwrap();
    let _never_reads = handed_over.recv().unwrap();
    write_until_stuck(&mut client, &[7; 65536]);
    let id = of(&gateway, &client)["id"].clone();
    assert_eq!(delete(&gateway, &format!("/connections/{id}")).0, 200);
    let record = gateway.record_of(client.local_addr().unwrap());
    assert_eq!(record.outcome, "ended_by_operator", "{record:?}");
}

#[test]
fn what_is_asked_for_wrongly_ends_nothing() {
    let (gateway, _echo) = TestGateway::with_echo(&[]);
    let client = relayed(&gateway, 0);
    for (path, expected) in [
        ("/connections", 400),
        ("/connections?endpoint=nowhere", 400),
        ("/connections?no_such_filter=1", 400),
        ("/connections/all", 400),
        ("/connections/999999", 404),
        ("/connections?sni=other.example", 200),
    ] {
        let (status, body) = gateway.admin("DELETE", path);
        assert_eq!(status, expected, "{path}: {body}");
    }
    assert_eq!(of(&gateway, &client)["state"], "relaying");
}

#[test]
fn an_answer_is_sorted_and_says_how_many_it_leaves_out() {
    let (gateway, _echo) = TestGateway::with_echo(&[]);
    let kept: Vec<_> = [10, 3000, 200].map(|more| relayed(&gateway, more)).into();
    let by_bytes = connections(&gateway, "?sort=bytes&limit=2");
    let sources: Vec<_> = by_bytes.iter().map(|one| &one["source"]).collect();
    let expected = [1, 2].map(|number: usize| kept[number].local_addr().unwrap().to_string());
    assert_eq!(sources, expected.each_ref());
    let answer = gateway.dump("/connections?limit=1&sort=age");
    assert_eq!(
        (&answer["open"], &answer["matched"]),
        (&json!(3), &json!(3))
    );
    let oldest = kept[0].local_addr().unwrap().to_string();
    assert_eq!(answer["connections"][0]["source"], oldest);
    let none = gateway.dump("/connections?source=10.0.0.0/8");
    assert_eq!((&none["open"], &none["matched"]), (&json!(3), &json!(0)));
}
