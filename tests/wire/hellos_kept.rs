//! The hellos of refused connections, as an operator gets them.

use std::io::Write;

use serde_json::{Value, json};

use crate::support::client::{connect, hello};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::{Server, read_to_error};
use crate::support::{SERVICE, wait_until};

/// Sends `bytes` and waits for the end of the connection.
fn refused(gateway: &TestGateway, bytes: &[&[u8]]) {
    let mut client = connect(gateway.address());
    for bytes in bytes {
        client.write_all(bytes).unwrap();
    }
    client.shutdown(std::net::Shutdown::Write).unwrap();
    read_to_error(&mut client);
}

fn kept(gateway: &TestGateway) -> Vec<Value> {
    let dump = gateway.dump("/hellos");
    assert_eq!(dump["on"], true);
    dump["hellos"].as_array().unwrap().clone()
}

#[test]
fn the_bytes_of_refused_hellos_come_back_as_they_were() {
    let echo = Server::echo();
    let routes = format!("[{{ service: '{SERVICE}:80', alpn: istio, upstream: svcb }}]");
    let config = ConfigText::to(&[echo.address])
        .routes(&routes)
        .top("hellos: { keep: 2 }");
    let gateway = TestGateway::start(&config);
    let (nowhere, wrong_alpn) = (hello("nowhere.example", &[]), hello(SERVICE, &["h2"]));
    let large = crate::support::client::large_hello("nowhere.example", 20_000);
    for (outcome, bytes) in [
        ("no_route", &*nowhere),
        ("alpn_refused", &wrong_alpn),
        ("not_tls", b"GET / HTTP/1.1\r\n\r\n"),
        ("client_gone_before_hello", &nowhere[..40]),
        ("no_route", &large),
    ] {
        refused(&gateway, &[bytes]);
        let mut newest = Value::Null;
        wait_until(outcome, || {
            newest = kept(&gateway).first().cloned().unwrap_or_default();
            newest["outcome"] == outcome && newest["size_bytes"] == bytes.len()
        });
        assert_eq!(newest["cut"], false);
        assert_eq!(
            newest["ja4"].is_string(),
            outcome.contains("route") || outcome.contains("alpn")
        );
        let path = format!("/hellos/{}", newest["id"]);
        assert_eq!(gateway.admin_bytes(&path), bytes, "{outcome}");
    }
    for _ in 0..3 {
        refused(&gateway, &[b"SSH-2.0-x\r\n"]);
    }
    wait_until("a flood of one kind has its share", || {
        let count = |outcome: &str| {
            kept(&gateway)
                .iter()
                .filter(|one| one["outcome"] == outcome)
                .count()
        };
        gateway.closed("not_tls") == 4.0 && count("not_tls") == 2 && count("no_route") == 2
    });
    assert_eq!(gateway.admin("GET", "/hellos/0").0, 404);
    assert_eq!(gateway.admin("GET", "/hellos/x").0, 400);
    let at = gateway.address();
    let off = ConfigText::to(&[echo.address]).routes(&routes).bind(at);
    gateway.reload(&off).unwrap();
    assert_eq!(
        gateway.dump("/hellos"),
        json!({ "on": false, "hellos": [] })
    );
}

#[test]
fn none_is_kept_unless_the_config_says_so() {
    let (gateway, _echo) = TestGateway::with_echo(&[]);
    refused(&gateway, &[b"GET / HTTP/1.1\r\n\r\n"]);
    wait_until("it is refused", || gateway.closed("not_tls") == 1.0);
    assert_eq!(
        gateway.dump("/hellos"),
        json!({ "on": false, "hellos": [] })
    );
}
