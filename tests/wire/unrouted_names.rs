//! Names that no route has, from clients that may ask for anything.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;

use crate::dns_server::DnsServer;
use crate::support::client::{connect, hello};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::read_to_error;
use crate::support::wait_until;

fn ask_for(gateway: SocketAddr, name: &str) {
    let mut client = connect(gateway);
    client.write_all(&hello(name, &[])).unwrap();
    read_to_error(&mut client);
}

#[test]
fn no_name_of_a_client_is_resolved_or_counted_by_name() {
    const NAMES: usize = 300;
    let dns = DnsServer::on_a_thread();
    dns.set_addresses("pods.example", 60, &["127.0.0.1"]);
    let gateway = TestGateway::start(
        &ConfigText::verbatim(
            "listeners:
  - name: east-west
    bind: '127.0.0.1:0'
    routes: [{ sni: routed.example, alpn: any, upstream: pods }]
upstreams:
  pods: { dns: { name: 'pods.example:443', allow: [loopback] } }",
        )
        .top(&format!("resolver: {{ servers: ['{}'] }}", dns.address)),
    );
    gateway.wait_ready();
    ask_for(gateway.address(), "first.example");
    wait_until("the first refusal is counted", || {
        gateway.closed("no_route") == 1.0
    });
    let series = |gateway: &TestGateway| gateway.samples().into_keys().collect::<BTreeSet<_>>();
    let before = series(&gateway);
    for name in [
        "metadata.google.internal",
        "kubernetes.default.svc.cluster.local",
        "outbound_.443_._.kubernetes.default.svc.cluster.local",
        "10-1-0-7.apps.pod.cluster.local",
        "pods.example",
        "localhost",
    ] {
        ask_for(gateway.address(), name);
    }
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..NAMES {
        ask_for(gateway.address(), &format!("x{}.example", random.u64(..)));
    }
    wait_until("all are refused", || {
        gateway.closed("no_route") == (1 + 6 + NAMES) as f64
    });
    assert_eq!(series(&gateway), before);
    let asked = dns.asked();
    assert!(!asked.is_empty());
    assert!(asked.iter().all(|one| one.name == "pods.example."));
}
