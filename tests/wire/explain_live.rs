//! The decision of the running gateway as an operator asks for it, and how near its limits are.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::support::client::{connect, hello};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::{
    Server, read_exactly, read_to_error, refusing_address, with_deadlines,
};
use crate::support::{DEADLINE, SERVICE, wait_until};

fn call(gateway: &TestGateway) -> TcpStream {
    let mut client = connect(gateway.address());
    let hello = hello(SERVICE, &["istio"]);
    client.write_all(&hello).unwrap();
    read_exactly(&mut client, hello.len());
    client
}

fn explain(gateway: &TestGateway, query: &str) -> Value {
    let answer = gateway.dump(&format!("/explain?{query}"));
    answer["listeners"][0].clone()
}

#[test]
fn the_decision_of_traffic_is_explained() {
    let echo = Server::echo();
    let config = ConfigText::to(&[echo.address])
        .routes(&format!(
            "[{{ name: calls, service: '{SERVICE}:80', alpn: istio, upstream: svcb }}]"
        ))
        .listener("allow_sources: [127.0.0.0/8]")
        .listener("deny_sources: [127.9.0.0/16]");
    let gateway = TestGateway::start(&config);
    let sni = format!("sni={SERVICE}");
    for (query, outcome, detail) in [
        (format!("{sni}&alpn=istio&from=127.0.0.1"), json!(null), ""),
        (format!("{sni}&alpn=istio"), json!(null), ""),
        (
            format!("{sni}&alpn=h2&from=127.0.0.1"),
            json!("alpn_refused"),
            "calls",
        ),
        (
            format!("{sni}&alpn=istio&from=127.9.0.1"),
            json!("source_denied"),
            "127.9.0.0/16",
        ),
        (
            format!("{sni}&alpn=istio&from=10.0.0.1"),
            json!("source_denied"),
            "allow_sources",
        ),
        (
            "sni=-a.example".to_owned(),
            json!("bad_server_name"),
            "starts or ends",
        ),
        ("alpn=istio".to_owned(), json!("no_sni"), ""),
        (
            "sni=svbc.apps.svc.cluster.local".to_owned(),
            json!("no_route"),
            "",
        ),
    ] {
        let explained = explain(&gateway, &query);
        assert_eq!(explained["outcome"], outcome, "{query}: {explained}");
        let found = explained["detail"].as_str().unwrap_or_default();
        assert!(found.contains(detail), "{query}: {found}");
    }
    let unknown = explain(&gateway, &format!("{sni}&alpn=istio"));
    let skipped = unknown["skipped"][0].as_str().unwrap();
    assert!(skipped.contains("admits 127.0.0.0/8 only"), "{skipped}");
    assert_eq!(unknown["route"]["name"], "calls");
    let near = explain(&gateway, "sni=svbc.apps.svc.cluster.local");
    let nearest = near["nearest"][0].as_str().unwrap();
    assert!(nearest.contains(SERVICE), "{near}");
    for wrong in ["from=here", "listener=none", "no_such_key=1"] {
        assert_eq!(
            gateway.admin("GET", &format!("/explain?{wrong}")).0,
            400,
            "{wrong}"
        );
    }
}

#[test]
fn what_stands_against_a_connection_now_is_explained() {
    let (echo, dead) = (Server::echo(), refusing_address());
    let config = ConfigText::to(&[echo.address, dead])
        .upstream("ejection: { consecutive_failures: 1, base: 5m, max: 5m }")
        .listener("limits: { connections: 2 }");
    let gateway = TestGateway::start(&config);
    let query = format!("sni={SERVICE}&from=127.0.0.1");
    let states = || {
        let explained = explain(&gateway, &query);
        let endpoints = explained["upstreams"][0]["endpoints"]
            .as_array()
            .unwrap()
            .clone();
        endpoints
            .into_iter()
            .map(|one| one["state"].clone())
            .collect::<Vec<_>>()
    };
    let of_process = [("scope", "process"), ("limit", "connections")];
    // The last thing that a connection gives back: each is over before the next one comes.
    let none_is_open = || {
        wait_until("the connection is over", || {
            gateway.metric("strait_limit_used", &of_process) == 0.0
        });
    };
    wait_until("the dead endpoint is ejected", || {
        drop(call(&gateway));
        none_is_open();
        states() == [json!("ready"), json!("ejected")]
    });
    let ended = || explain(&gateway, &query)["recent"].clone();
    wait_until("the connections are among the recent ones", || {
        ended().as_array().is_some_and(|recent| !recent.is_empty())
    });
    let newest = ended()[0].clone();
    assert_eq!(
        newest["source"].as_str().unwrap().split(':').next(),
        Some("127.0.0.1")
    );
    assert!(newest["outcome"].is_string(), "{newest}");
    let held = [call(&gateway), call(&gateway)];
    let full = explain(&gateway, &query);
    assert_eq!(full["outcome"], "over_limit", "{full}");
    let limit = full["limits"][0].clone();
    assert_eq!(
        limit,
        json!({ "scope": "listener", "limit": "connections", "most": 2, "used": 2, "reached": true })
    );
    let labels = [
        ("scope", "listener"),
        ("name", "east-west"),
        ("limit", "connections"),
    ];
    assert_eq!(gateway.metric("strait_limit", &labels), 2.0);
    assert_eq!(gateway.metric("strait_limit_used", &labels), 2.0);
    assert_eq!(gateway.metric("strait_limit_used", &of_process), 2.0);
    assert!(gateway.metric("strait_limit", &of_process) > 2.0);
    let sources = gateway.dump("/sources?top=1");
    assert_eq!(sources["sources_open"], 1, "{sources}");
    assert_eq!(sources["sources"][0]["source"], "127.0.0.1");
    assert_eq!(sources["sources"][0]["open"], 2);
    let source = &sources["sources"][0];
    assert!(
        source["connections_per_second"].as_f64() > Some(0.0),
        "{source}"
    );
    assert!(
        source["last_seen"].is_string() && source["oldest_ms"].is_u64(),
        "{source}"
    );
    for wrong in ["top=x", "top=10001", "of=a", "sort=x"] {
        assert_eq!(
            gateway.admin("GET", &format!("/sources?{wrong}")).0,
            400,
            "{wrong}"
        );
    }
    // Endpoints that an operator has taken out are no way either.
    for address in [echo.address, dead] {
        let path = format!("/upstreams/svcb/endpoints/{address}?state=drain");
        assert_eq!(gateway.admin("POST", &path).0, 200);
    }
    drop(held);
    wait_until("the listener has room again", || {
        gateway.metric("strait_limit_used", &labels) == 0.0
    });
    let sources = gateway.dump("/sources?sort=refused&group=other");
    assert_eq!(sources["sources_open"], 0, "{sources}");
    let source = &sources["sources"][0];
    assert_eq!(
        (&source["open"], &source["oldest_ms"]),
        (&json!(0), &Value::Null)
    );
    assert_eq!(gateway.dump("/sources?group=none")["sources"], json!([]));
    let drained = explain(&gateway, &query);
    assert_eq!(drained["outcome"], "no_endpoint", "{drained}");
}

/// A connection to the gateway from this address.
fn connect_from(ip: [u8; 4], gateway: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((ip, 0)).into()).unwrap();
    socket.connect_timeout(&gateway.into(), DEADLINE).unwrap();
    let stream = TcpStream::from(socket);
    with_deadlines(&stream);
    stream
}

#[test]
fn sources_are_listed_by_what_was_refused_to_them() {
    let (gateway, _echo) = TestGateway::with_echo(&["deny_sources: [127.0.0.3/32]"]);
    let from = |last: u8, bytes: &[u8]| {
        let mut client = connect_from([127, 0, 0, last], gateway.address());
        // A source that is denied may be cut before it has written.
        let _ = client.write_all(bytes);
        read_to_error(&mut client);
    };
    from(2, b"GET / HTTP/1.1\r\n\r\n");
    from(2, &hello("nowhere.example", &[]));
    from(3, b"");
    drop(call(&gateway));
    let mut refused = Vec::new();
    wait_until("all have ended", || {
        let sources = gateway.dump("/sources?sort=refused");
        let list = sources["sources"].as_array().unwrap().clone();
        refused = list
            .iter()
            .map(|one| (one["source"].clone(), one["refused"].clone()))
            .collect();
        sources["open"] == 0 && refused.len() == 3
    });
    let expected = [
        ("127.0.0.2", json!({ "not_tls": 1, "no_route": 1 })),
        ("127.0.0.3", json!({ "source_denied": 1 })),
        ("127.0.0.1", json!({})),
    ];
    assert_eq!(
        refused,
        expected.map(|(source, counts)| (json!(source), counts))
    );
}
