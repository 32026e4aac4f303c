//! Reloads, and a zone that becomes known, while DNS does not answer: what worked goes on working.

use std::net::TcpStream;

use serde_json::{Value, json};

use crate::dns_server::{DnsServer, Reply};
use crate::kubernetes::api_server::ApiServer;
use crate::support::client::open;
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::{Server, read_exactly, read_to_eof, refusing_address};
use crate::support::{SERVICE, wait_until};

/// An address of this machine at which nobody listens.
const DEAD: &str = "127.0.0.9";

/// A test's config file.
#[derive(Clone)]
struct File {
    /// The DNS server.
    server: String,
    /// The name and the port.
    name: String,
    /// Further keys of the upstream's section `dns`.
    policy: String,
    /// The time that a query may take.
    timeout: &'static str,
    /// Further keys of the file.
    top: Vec<String>,
}

impl File {
    fn new(server: &DnsServer, echo: &Server) -> Self {
        Self {
            server: server.address.to_string(),
            name: format!("a.example:{}", echo.address.port()),
            policy: "allow: [loopback]".to_owned(),
            timeout: "5s",
            top: Vec::new(),
        }
    }

    fn text(&self) -> ConfigText {
        let Self {
            server,
            name,
            policy,
            timeout,
            ..
        } = self;
        let file = format!(
            "listeners:
  - name: east-west
    bind: '127.0.0.1:0'
    routes: [{{ service: '{SERVICE}:80', alpn: any, upstream: svcb }}]
upstreams:
  svcb:
    dns: {{ name: '{name}', {policy} }}
    ejection: {{ consecutive_failures: 1, base: 10m, max: 10m }}
resolver: {{ servers: ['{server}'], timeout: {timeout} }}"
        );
        let file = ConfigText::verbatim(&file);
        self.top.iter().fold(file, |file, line| file.top(line))
    }
}

/// A connection through the gateway that has been answered.
fn call(gateway: &TestGateway) -> TcpStream {
    let (mut client, length) = open(gateway.address());
    read_exactly(&mut client, length);
    client
}

fn upstream(gateway: &TestGateway) -> Value {
    gateway.dump("/upstreams")["upstreams"][0].clone()
}

/// Address, state and connections of each endpoint.
fn endpoints(gateway: &TestGateway) -> Vec<(String, String, u64)> {
    let endpoints = upstream(gateway)["endpoints"].clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = endpoints.as_array().unwrap().iter().map(|one| {
        let active = one["active"].as_u64().unwrap();
        (text(&one["address"]), text(&one["state"]), active)
    });
    all.collect()
}

/// Waits until the upstream is stale or not; the page and the metric must agree.
fn wait_stale(gateway: &TestGateway, stale: bool) {
    wait_until(&format!("stale is {stale}"), || {
        upstream(gateway)["stale"] == stale
            && gateway.metric("strait_source_stale", &[]) == f64::from(u8::from(stale))
    });
}

/// A gateway with one good endpoint, on which a connection is open, and a dead one, which is ejected.
fn in_use(file: &File, start: impl Fn(&ConfigText) -> TestGateway) -> (TestGateway, TcpStream) {
    let gateway = start(&file.text());
    gateway.wait_ready();
    let held = call(&gateway);
    wait_until("the dead endpoint is ejected", || {
        drop(call(&gateway));
        endpoints(&gateway).iter().any(|one| one.1 == "ejected")
    });
    wait_until("only the held connection is counted", || {
        endpoints(&gateway).iter().map(|one| one.2).sum::<u64>() == 1
    });
    (gateway, held)
}

#[test]
fn a_reload_while_dns_is_dead_keeps_endpoints_health_and_counts() {
    let (dns, echo) = (DnsServer::on_a_thread(), Server::echo());
    dns.set_addresses("a.example", 60, &["127.0.0.1", DEAD]);
    let file = File::new(&dns, &echo);
    let (gateway, _held) = in_use(&file, TestGateway::start);
    let before = endpoints(&gateway);
    drop(dns);
    let changed = |change: &dyn Fn(&mut File)| {
        let mut file = file.clone();
        change(&mut file);
        file
    };
    for (what, file) in [
        ("nothing", file.clone()),
        (
            "max_ttl",
            changed(&|file| file.policy.push_str(", max_ttl: 6m")),
        ),
        (
            "max_endpoints",
            changed(&|file| file.policy.push_str(", max_endpoints: 7")),
        ),
        (
            "more kinds are allowed",
            changed(&|file| file.policy = "allow: [loopback, link_local]".to_owned()),
        ),
        (
            "another resolver that is dead",
            changed(&|file| file.server = refusing_address().to_string()),
        ),
        ("a zone", changed(&|file| file.top.push("zone: a".into()))),
        (
            "another zone",
            changed(&|file| file.top.push("zone: b".into())),
        ),
        ("no zone", file.clone()),
    ] {
        gateway.reload(&file.text()).unwrap();
        assert_eq!(endpoints(&gateway), before, "{what}");
        drop(call(&gateway));
        wait_until("the connection is not counted any more", || {
            endpoints(&gateway) == before
        });
    }
    // A change of policy is a reason to ask at once.
    wait_stale(&gateway, true);
    assert_eq!(gateway.closed("no_endpoint"), 0.0);
}

#[test]
fn another_name_without_an_answer_keeps_the_endpoints_and_says_that_they_are_stale() {
    let (dns, echo) = (DnsServer::on_a_thread(), Server::echo());
    dns.set_addresses("a.example", 60, &["127.0.0.1", DEAD]);
    let mut file = File::new(&dns, &echo);
    let (gateway, _held) = in_use(&file, TestGateway::start);
    let before = endpoints(&gateway);
    wait_stale(&gateway, false);
    let port = echo.address.port();
    file.name = format!("typo.example:{port}");
    gateway.reload(&file.text()).unwrap();
    assert_eq!(endpoints(&gateway), before);
    wait_stale(&gateway, true);
    let error = upstream(&gateway)["last_error"].clone();
    assert_eq!(error, "`typo.example` has no A or AAAA record");
    drop(call(&gateway));

    dns.set_addresses("b.example", 60, &["127.0.0.1"]);
    file.name = format!("b.example:{port}");
    gateway.reload(&file.text()).unwrap();
    let good = (format!("127.0.0.1:{port}"), "ready".to_owned(), 1);
    wait_until("only what the new name has", || {
        endpoints(&gateway) == [good.clone()]
    });
    wait_stale(&gateway, false);
    assert_eq!(gateway.closed("no_endpoint"), 0.0);
}

#[test]
fn addresses_that_are_not_allowed_any_more_go_although_dns_is_dead() {
    let (dns, echo) = (DnsServer::on_a_thread(), Server::echo());
    dns.set_addresses("a.example", 60, &["127.0.0.1", DEAD]);
    let mut file = File::new(&dns, &echo);
    let (gateway, _held) = in_use(&file, TestGateway::start);
    drop(dns);
    file.policy = "max_ttl: 5m".to_owned();
    gateway.reload(&file.text()).unwrap();
    wait_until("no endpoint is left", || endpoints(&gateway).is_empty());
    wait_stale(&gateway, false);
}

#[test]
fn a_call_that_comes_before_the_first_answer_waits_for_it() {
    let (dns, echo) = (DnsServer::on_a_thread(), Server::echo());
    dns.set_addresses("a.example", 60, &["127.0.0.1"]);
    dns.fail(Reply::Silence);
    let mut file = File::new(&dns, &echo);
    // Each query is repeated while it has no answer.
    file.timeout = "10s";
    let gateway = TestGateway::start(&file.text());
    let (mut client, length) = open(gateway.address());
    wait_until("the call has come", || {
        gateway.metric("strait_connections_active", &[]) == 1.0
    });
    dns.recover();
    read_exactly(&mut client, length);
    assert_eq!(gateway.closed("no_endpoint"), 0.0);
}

#[test]
fn a_call_before_the_first_answer_is_refused_once_that_is_a_failure() {
    let (dns, echo) = (DnsServer::on_a_thread(), Server::echo());
    dns.fail(Reply::Silence);
    let mut file = File::new(&dns, &echo);
    file.timeout = "200ms";
    let gateway = TestGateway::start(&file.text());
    let (mut client, _) = open(gateway.address());
    assert_eq!(read_to_eof(&mut client), b"");
    let record = gateway.record();
    assert_eq!(record.outcome, "no_endpoint", "{record:?}");
    assert_eq!(record.attempts, 0);
}

#[test]
fn an_upstream_that_never_had_an_endpoint_is_not_stale() {
    let (dns, echo) = (DnsServer::on_a_thread(), Server::echo());
    let gateway = TestGateway::start(&File::new(&dns, &echo).text());
    wait_until("DNS has answered that there is no address", || {
        upstream(&gateway)["last_error"].is_string()
    });
    wait_stale(&gateway, false);
}

#[test]
fn the_zone_of_the_node_becomes_known_while_dns_is_dead() {
    let (dns, echo) = (DnsServer::on_a_thread(), Server::echo());
    dns.set_addresses("a.example", 60, &["127.0.0.1", DEAD]);
    let api = ApiServer::start();
    let mut file = File::new(&dns, &echo);
    let kubeconfig = api.kubeconfig();
    file.top = vec![format!(
        "kubernetes: {{ kubeconfig: '{}', export: {{ mode: all }} }}",
        kubeconfig.display()
    )];
    let start = |config: &ConfigText| TestGateway::start_on_node("node-1", config);
    let (gateway, _held) = in_use(&file, start);
    let before = endpoints(&gateway);
    drop(dns);
    let zone = || gateway.dump("/config_dump")["config"]["zone"].clone();
    assert_eq!(zone(), Value::Null);
    for label in ["zone-a", "zone-b", ""] {
        let name = "topology.kubernetes.io/zone";
        let labels = if label.is_empty() {
            json!({})
        } else {
            json!({ name: label })
        };
        api.put(json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": "node-1", "labels": labels },
        }));
        let expected = if label.is_empty() {
            Value::Null
        } else {
            label.into()
        };
        wait_until("the zone is known", || zone() == expected);
        assert_eq!(endpoints(&gateway), before, "{label}");
        drop(call(&gateway));
        wait_until("the connection is not counted any more", || {
            endpoints(&gateway) == before
        });
    }
    assert_eq!(gateway.closed("no_endpoint"), 0.0);
}
