//! Routes for hellos without a server name: those hellos alone take them.

use std::io::Write;

use strait::client_hello::vectors::HelloBuilder;
use strait::tools::records::LogLine;

use crate::support::client::{connect, hello};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::{Server, read_exactly, refusing_address};
use crate::support::{DEADLINE, SERVICE};

/// A route for hellos without a name, beside one for any name that leads nowhere.
const ROUTES: &str =
    "[{ no_sni: true, alpn: any, upstream: svcb }, { sni: '*', alpn: any, upstream: nowhere }]";

fn gateway(upstream: &str, endpoint: std::net::SocketAddr) -> TestGateway {
    let nowhere = refusing_address();
    let text = format!(
        "
listeners: [{{ name: east-west, bind: '127.0.0.1:0', routes: {ROUTES} }}]
upstreams:
  svcb: {{ endpoints: ['{endpoint}']{upstream} }}
  nowhere: {{ endpoints: ['{nowhere}'], connect: {{ attempts: 1, timeout: 100ms }} }}
"
    );
    TestGateway::start(&ConfigText::verbatim(&text))
}

/// The line of a client that sends `wire` and gets no relay.
fn refused(gateway: &TestGateway, wire: &[u8]) -> LogLine {
    let mut client = connect(gateway.address());
    client.write_all(wire).unwrap();
    gateway.record_of(client.local_addr().unwrap())
}

#[test]
fn a_hello_without_a_name_is_relayed_whole_or_in_pieces() {
    let echo = Server::echo();
    let gateway = gateway("", echo.address);
    let wire = hello("", &["h2"]);
    for cut in [0, 1, wire.len() - 1] {
        let mut client = connect(gateway.address());
        let source = client.local_addr().unwrap();
        client.write_all(&wire[..cut]).unwrap();
        if cut > 0 {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        client.write_all(&wire[cut..]).unwrap();
        assert_eq!(read_exactly(&mut client, wire.len()), wire);
        drop(client);
        let record = gateway.record_of(source);
        assert_eq!(record.route.as_deref(), Some("no_sni"), "{record:?}");
        assert_eq!(record.server_name, None, "{record:?}");
        assert_eq!(record.outcome, "ok", "{record:?}");
    }
    let labels = [("route", "no_sni"), ("upstream", "svcb")];
    let opened = gateway.metric("strait_connections_opened_total", &labels);
    assert_eq!(opened, 3.0);
}

#[test]
fn a_faulty_name_does_not_pass_for_none() {
    let echo = Server::echo();
    let gateway = gateway("", echo.address);
    for (hello, outcome) in [
        (HelloBuilder::tls13().server_names(&[]), "hello_malformed"),
        (HelloBuilder::tls13().server_name(""), "hello_malformed"),
        (HelloBuilder::tls13().raw_server_name([]), "hello_malformed"),
        (
            HelloBuilder::tls13().server_name("10.0.0.1"),
            "bad_server_name",
        ),
        (
            HelloBuilder::tls13().extension(16, [0, 1, 0]),
            "hello_malformed",
        ),
    ] {
        let record = refused(&gateway, &hello.wire());
        assert_eq!(record.outcome, outcome, "{record:?}");
        assert_eq!(record.route, None, "{record:?}");
    }
    let named = refused(&gateway, &hello(SERVICE, &[]));
    assert_eq!(named.route.as_deref(), Some("*"), "{named:?}");
    assert_eq!(echo.connections(), 0);
}

#[test]
fn the_header_for_the_endpoint_has_no_authority() {
    let (server, accepted) = Server::handing_over();
    let gateway = gateway(", proxy_protocol: v2", server.address);
    let wire = hello("", &[]);
    let mut client = connect(gateway.address());
    client.write_all(&wire).unwrap();
    let mut pod = accepted.recv_timeout(DEADLINE).unwrap();
    // Version 2 with IPv4 addresses and no TLV has 28 bytes.
    let sent = read_exactly(&mut pod, 28 + wire.len());
    assert_eq!(sent[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
    assert_eq!(sent[28..], wire);
}

#[test]
fn an_open_connection_ends_when_the_route_goes_and_the_listener_says_so() {
    let echo = Server::echo();
    let config = |routes: &str| {
        let config = ConfigText::to(&[echo.address]).routes(routes);
        config.listener("end_disallowed: 0s")
    };
    let route = "{ no_sni: true, alpn: any, upstream: svcb }";
    let gateway = TestGateway::start(&config(&format!("[{route}]")));
    let wire = hello("", &[]);
    let mut client = connect(gateway.address());
    let source = client.local_addr().unwrap();
    client.write_all(&wire).unwrap();
    assert_eq!(read_exactly(&mut client, wire.len()), wire);
    gateway
        .reload(&config("[{ sni: '*', alpn: any, upstream: svcb }]"))
        .unwrap();
    let record = gateway.record_of(source);
    assert_eq!(record.outcome, "disallowed", "{record:?}");
    let detail = record.detail.unwrap();
    assert!(detail.contains("hellos without a name"), "{detail}");
}
