//! Active checks: an endpoint that fails them gets no call while another is well.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::{ServerConfig, ServerConnection};

use crate::support::client::open;
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::{Server, read_exactly, refusing_address};
use crate::support::{DEADLINE, wait_until};

fn state_of(gateway: &TestGateway, endpoint: SocketAddr) -> serde_json::Value {
    let all = gateway.endpoints();
    let endpoint = endpoint.to_string();
    let found = all
        .into_iter()
        .find(|one| one["address"] == endpoint.as_str());
    found.expect("the endpoint is there")
}

fn becomes(gateway: &TestGateway, endpoint: SocketAddr, state: &str) {
    wait_until(&format!("{endpoint} is {state}"), || {
        state_of(gateway, endpoint)["state"] == state
    });
}

const CHECK: &str = "interval: 1s, rise: 1, fall: 2, jitter_percent: 100, timeout: 1s";

#[test]
fn an_endpoint_that_accepts_nothing_is_unhealthy_before_any_call() {
    let server = Server::echo();
    let dead = refusing_address();
    let config = ConfigText::to(&[server.address, dead])
        .upstream(&format!("check: {{ {CHECK} }}"))
        .upstream("ejection: { panic_percent: 0 }");
    let gateway = TestGateway::start(&config);
    becomes(&gateway, dead, "unhealthy");
    let failure = state_of(&gateway, dead)["check_failure"].to_string();
    assert!(failure.contains(&dead.to_string()), "{failure}");
    let labels = [("state", "unhealthy")];
    assert_eq!(gateway.metric("strait_upstream_endpoints", &labels), 1.0);
    for _ in 0..20 {
        let (mut client, hello) = open(gateway.address());
        read_exactly(&mut client, hello);
    }
    let labels = [("result", "connect_refused")];
    assert_eq!(
        gateway.metric("strait_connect_attempts_total", &labels),
        0.0
    );

    // Without checks nothing speaks against it.
    let without = config.text().replace("check: {", "check: off #");
    gateway.reload_text(&without).unwrap();
    becomes(&gateway, dead, "ready");
}

#[test]
fn checks_come_from_the_source_addresses_in_turn() {
    let (server, checks) = Server::handing_over();
    // This host does not have the first one.
    let sources = "connect: { source_addresses: [192.0.2.1, 127.0.0.2, 127.0.0.3] }";
    let config = ConfigText::to(&[server.address])
        .upstream(sources)
        .upstream(&format!("check: {{ {CHECK} }}"));
    let gateway = TestGateway::start(&config);
    let from: BTreeSet<String> = (0..3)
        .map(|_| checks.recv_timeout(DEADLINE).unwrap())
        .map(|check| check.peer_addr().unwrap().ip().to_string())
        .collect();
    assert_eq!(from, ["127.0.0.2", "127.0.0.3"].map(String::from).into());
    assert_eq!(state_of(&gateway, server.address)["state"], "ready");
}

#[test]
fn a_check_that_has_no_source_address_says_nothing_about_the_endpoint() {
    let server = Server::echo();
    let foreign = "connect: { source_addresses: [192.0.2.1] }";
    let config = ConfigText::to(&[server.address])
        .upstream(foreign)
        .upstream(&format!("check: {{ {CHECK} }}").replace("fall: 2", "fall: 1"));
    let gateway = TestGateway::start(&config);
    let reason = || state_of(&gateway, server.address)["check_failure"].to_string();
    wait_until("a check was tried", || {
        reason().contains("does not have 192.0.2.1")
    });
    assert_eq!(state_of(&gateway, server.address)["state"], "ready");
    assert_eq!(server.connections(), 0);
}

/// A server that answers hellos as TLS servers do, or closes, as long as it `works` or not.
fn tls_server(works: Arc<AtomicBool>) -> Server {
    let key = rcgen::generate_simple_self_signed(["check.example".to_owned()]).unwrap();
    let chain = vec![key.cert.der().clone()];
    let private = key.signing_key.serialize_der().try_into().unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .unwrap();
    config.alpn_protocols = vec![b"istio".to_vec()];
    let config = Arc::new(config);
    Server::start(move |mut stream: TcpStream| {
        let mut tls = ServerConnection::new(config.clone()).unwrap();
        if !works.load(Ordering::Relaxed) {
            return;
        }
        while tls.is_handshaking() {
            if tls.read_tls(&mut stream).is_ok_and(|count| count == 0) {
                return;
            }
            let named = tls.process_new_packets().is_ok();
            let _ = tls.write_tls(&mut stream);
            if !named {
                return;
            }
        }
        let _ = stream.write_all(b"unreachable: a check never finishes the handshake");
        let _ = stream.read(&mut [0; 1]);
    })
}

#[test]
fn a_real_server_must_answer_the_hello_of_a_check_and_is_back_when_it_does() {
    let works = Arc::new(AtomicBool::new(true));
    let server = tls_server(works.clone());
    // It accepts, and is no TLS server.
    let plain = Server::echo();
    let hello = "hello: { sni: check.example, alpn: [istio] }";
    let config = ConfigText::to(&[server.address, plain.address])
        .upstream(&format!("check: {{ {CHECK}, {hello} }}"));
    let gateway = TestGateway::start(&config);
    becomes(&gateway, plain.address, "unhealthy");
    assert_eq!(state_of(&gateway, server.address)["state"], "ready");
    let failure = &state_of(&gateway, plain.address)["check_failure"];
    assert!(
        failure.as_str().unwrap().ends_with("no ServerHello"),
        "{failure}"
    );

    works.store(false, Ordering::Relaxed);
    becomes(&gateway, server.address, "unhealthy");
    works.store(true, Ordering::Relaxed);
    becomes(&gateway, server.address, "ready");
    assert_eq!(
        state_of(&gateway, server.address).get("check_failure"),
        None
    );
}
