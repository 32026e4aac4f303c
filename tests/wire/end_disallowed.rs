//! Connections that would no longer be let in: they end where the listener says so, and go on elsewhere.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use crate::support::client::{connect, hello};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::{Server, read_exactly, refusing_address};
use crate::support::{DEADLINE, wait_within};

/// The name that no change affects.
const STAYS: &str = "stays.example";
/// The name whose connection is no longer allowed after the change.
const GOES: &str = "goes.example";

/// The parts of a config that the tests change.
#[derive(Clone)]
struct Parts {
    /// The end of disallowed connections, at the first listener.
    end: &'static str,
    listener: String,
    /// The route of [`GOES`]; empty for none.
    route: String,
    endpoints: String,
    /// Whether there is a first listener.
    first: bool,
}

impl Parts {
    fn new(end: &'static str, server: SocketAddr) -> Self {
        Self {
            end,
            listener: String::new(),
            route: format!("{{ name: goes, sni: {GOES}, alpn: any, upstream: u }}"),
            endpoints: format!("'{server}', '{}'", refusing_address()),
            first: true,
        }
    }

    /// Two listeners, both with the routes; the second one keeps its connections.
    fn config(&self, server: SocketAddr) -> ConfigText {
        let routes = format!("{{ sni: {STAYS}, alpn: any, upstream: w }}, {}", self.route);
        let listener = |name: &str, rest: &str| {
            format!("  - {{ name: {name}, bind: '127.0.0.1:0', routes: [{routes}]{rest} }}\n")
        };
        let first = format!(", end_disallowed: {}{}", self.end, self.listener);
        let first = listener("first", &first);
        let second = listener("second", &format!(", end_disallowed: 1h{}", self.listener));
        let listeners = match self.first {
            true => second + &first,
            false => second,
        };
        let endpoints = &self.endpoints;
        ConfigText::verbatim(&format!(
            "listeners:\n{listeners}upstreams:\n  u: {{ endpoints: [{endpoints}] }}\n  w: {{ endpoints: ['{server}'] }}",
        ))
        .top("workers: 1")
    }
}

fn relayed(gateway: SocketAddr, name: &str) -> TcpStream {
    let mut client = connect(gateway);
    let hello = hello(name, &[]);
    client.write_all(&hello).unwrap();
    read_exactly(&mut client, hello.len());
    client
}

/// Waits until every connection was held against what is in force now.
fn all_reviewed(gateway: &TestGateway) {
    let rounds = || gateway.metric("strait_worker_rounds_total", &[]);
    let before = rounds();
    wait_within(DEADLINE * 2, "every connection is reviewed", || {
        rounds() > before + 21.0
    });
}

#[track_caller]
fn carries(stream: &mut TcpStream) {
    stream.write_all(b"still here").unwrap();
    assert_eq!(read_exactly(stream, 10), b"still here");
}

/// Makes a change that no longer allows the connection to [`GOES`]. Where the listener ends such connections at once,
/// it ends for that reason; the connection to [`STAYS`] goes on, and so does one in its grace.
#[track_caller]
fn ends_after(change: impl Fn(&mut Parts), by: &str, says: &str) {
    let server = Server::echo();
    let mut parts = Parts::new("0s", server.address);
    let gateway = TestGateway::start(&parts.config(server.address));
    let [(_, second), (_, first)] = gateway.reload(&parts.config(server.address)).unwrap()[..]
    else {
        panic!("two listeners")
    };
    let mut stays = relayed(first, STAYS);
    let mut in_its_grace = relayed(second, GOES);
    let goes = relayed(first, GOES);
    change(&mut parts);
    gateway.reload(&parts.config(server.address)).unwrap();
    let record = gateway.record_of(goes.local_addr().unwrap());
    assert_eq!(record.outcome, "disallowed", "{record:?}");
    assert_eq!(record.ended_by.as_deref(), Some("gateway"));
    let detail = record.detail.unwrap();
    assert!(detail.contains(says), "{detail}");
    all_reviewed(&gateway);
    let ended =
        |reason| gateway.metric("strait_disallowed_connections_total", &[("reason", reason)]);
    if by == "source" {
        assert_eq!(ended(by), 2.0);
    } else {
        carries(&mut stays);
        assert_eq!(ended(by), 1.0);
    }
    carries(&mut in_its_grace);
}

#[test]
fn an_alpn_offer_that_the_log_cuts_ends_no_connection() {
    let server = Server::echo();
    let mut parts = Parts::new("0s", server.address);
    parts.route = format!("{{ name: goes, sni: {GOES}, alpn: [last], upstream: u }}");
    let gateway = TestGateway::start(&parts.config(server.address));
    let [_, (_, first)] = gateway.reload(&parts.config(server.address)).unwrap()[..] else {
        panic!("two listeners")
    };
    let long = ["a".repeat(255), "b".repeat(255), "c".repeat(255)];
    let [a, b, c] = &long;
    let mut client = connect(first);
    let hello = hello(GOES, &[a, b, c, "last"]);
    client.write_all(&hello).unwrap();
    read_exactly(&mut client, hello.len());
    all_reviewed(&gateway);
    carries(&mut client);
    // It ends like any other once no route takes its name.
    parts.route.clear();
    gateway.reload(&parts.config(server.address)).unwrap();
    let record = gateway.record_of(client.local_addr().unwrap());
    assert_eq!(record.outcome, "disallowed", "{record:?}");
}

#[test]
fn a_connection_ends_when_its_route_is_gone() {
    let change = |parts: &mut Parts| parts.route.clear();
    ends_after(change, "route", "no route takes goes.example any more");
}

#[test]
fn a_connection_ends_when_its_route_leads_elsewhere() {
    let change = |parts: &mut Parts| parts.route = parts.route.replace(": u ", ": w ");
    ends_after(change, "upstream", "route goes no longer leads to u");
}

#[test]
fn a_connection_ends_when_its_route_demands_another_alpn() {
    let change = |parts: &mut Parts| parts.route = parts.route.replace("any", "istio");
    ends_after(change, "alpn", "route goes demands");
}

#[test]
fn a_connection_ends_when_its_source_is_denied() {
    let deny = ", deny_sources: [127.0.0.0/8]";
    let change = |parts: &mut Parts| deny.clone_into(&mut parts.listener);
    ends_after(change, "source", "`deny_sources` has 127.0.0.0/8");
}

#[test]
fn a_connection_ends_when_its_endpoint_has_left() {
    let left = format!("'{}'", refusing_address());
    let change = |parts: &mut Parts| parts.endpoints.clone_from(&left);
    ends_after(change, "endpoint", "is no longer an endpoint of u");
}

#[test]
fn a_connection_whose_endpoint_has_left_goes_on_if_only_routes_count() {
    let server = Server::echo();
    let mut parts = Parts::new("{ grace: 0s, endpoints: false }", server.address);
    let gateway = TestGateway::start(&parts.config(server.address));
    let [(_, second), (_, first)] = gateway.reload(&parts.config(server.address)).unwrap()[..]
    else {
        panic!("two listeners")
    };
    let (mut first, mut second) = (relayed(first, GOES), relayed(second, GOES));
    parts.endpoints = format!("'{}'", refusing_address());
    gateway.reload(&parts.config(server.address)).unwrap();
    all_reviewed(&gateway);
    carries(&mut first);
    // The first listener's connections end as routes and sources say, also once it is gone.
    parts.first = false;
    gateway.reload(&parts.config(server.address)).unwrap();
    let record = gateway.record_of(first.local_addr().unwrap());
    assert_eq!(record.outcome, "disallowed", "{record:?}");
    assert_eq!(record.detail.as_deref(), Some("its listener is gone"));
    carries(&mut second);
}

#[test]
fn a_connection_goes_on_where_nothing_says_to_end_it() {
    let server = Server::echo();
    let mut parts = Parts::new("off", server.address);
    let gateway = TestGateway::start(&parts.config(server.address));
    let addresses = gateway.reload(&parts.config(server.address)).unwrap();
    let (_, first) = addresses[1];
    let mut goes = relayed(first, GOES);
    parts.route.clear();
    gateway.reload(&parts.config(server.address)).unwrap();
    all_reviewed(&gateway);
    carries(&mut goes);
    assert_eq!(
        gateway.metric("strait_disallowed_connections_total", &[]),
        0.0
    );
}
