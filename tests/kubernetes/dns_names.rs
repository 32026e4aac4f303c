//! ServiceEntries whose endpoints are DNS names.

use std::collections::BTreeSet;

use serde_json::json;

use crate::dns_server::{DnsServer, Reply};
use crate::kubernetes::api_server::ApiServer;
use crate::support::gateway::TestGateway;
use crate::{kubernetes, soon};

/// The addresses of the only upstream.
fn addresses(gateway: &TestGateway) -> BTreeSet<String> {
    let dump = gateway.dump("/upstreams");
    let endpoints = dump["upstreams"][0]["endpoints"].as_array().unwrap();
    let addresses = endpoints.iter().map(|one| one["address"].as_str().unwrap());
    addresses.map(str::to_owned).collect()
}

#[test]
fn an_endpoint_by_name_follows_dns_and_stays_while_dns_fails() {
    let (api, dns) = (ApiServer::start(), DnsServer::on_a_thread());
    dns.set_addresses("vm.example", 1, &["192.0.2.1", "169.254.169.254"]);
    let entry = |address: &str| {
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
            "metadata": { "namespace": "vms", "name": "db" },
            "spec": {
                "hosts": ["db.mesh.local"], "location": "MESH_INTERNAL", "resolution": "DNS",
                "ports": [{ "number": 5432, "name": "tcp", "protocol": "TCP" }],
                "endpoints": [{ "address": address, "labels": { "security.istio.io/tlsMode": "istio" } }],
            },
        })
    };
    api.put(entry("vm.example"));
    let keys = "istio: { config_map: off }, network: n1, export: { mode: all }";
    let config = kubernetes::config(&api, keys);
    let servers = format!(
        "resolver: {{ servers: ['{}'], timeout: 200ms }}",
        dns.address
    );
    let gateway = TestGateway::start(&config.top(&servers));
    gateway.wait_ready();
    let wait = |wanted: &[&str]| {
        let wanted: BTreeSet<String> = wanted.iter().map(|one| (*one).to_owned()).collect();
        soon(&format!("the endpoints are {wanted:?}"), || {
            addresses(&gateway) == wanted
        });
    };
    // A metadata service is no workload.
    wait(&["192.0.2.1:5432"]);
    let asked = || gateway.metric("strait_kubernetes_dns_names", &[("state", "asked")]);
    assert!((asked() - 1.0).abs() < 0.1);
    dns.set_addresses("vm.example", 1, &["192.0.2.2"]);
    wait(&["192.0.2.2:5432"]);
    // Another name does not answer: nobody is asked for the old one any more, and nothing is guessed.
    dns.set_addresses("other.example", 1, &["192.0.2.3"]);
    dns.fail(Reply::Silence);
    api.put(entry("other.example"));
    wait(&[]);
    dns.recover();
    wait(&["192.0.2.3:5432"]);
    dns.fail(Reply::Silence);
    let before = dns.asked().len();
    soon("DNS is asked again", || dns.asked().len() > before);
    assert_eq!(addresses(&gateway).len(), 1);
}
