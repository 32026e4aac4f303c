//! Objects of the API, as short as tests need them.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

/// A Service with one port.
pub fn service(namespace: &str, name: &str, port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "namespace": namespace, "name": name },
        "spec": { "type": "ClusterIP", "clusterIP": "10.96.0.1", "ports": [
            { "port": port, "protocol": "TCP", "targetPort": "web" },
        ] },
    })
}

/// An EndpointSlice of a Service whose pods all have this port.
pub fn slice(
    namespace: &str,
    service: &str,
    part: &str,
    port: u16,
    pods: &[(&str, IpAddr)],
) -> Value {
    let endpoint = |(name, address): &(&str, IpAddr)| {
        json!({
            "addresses": [address.to_string()],
            "conditions": { "ready": true, "serving": true, "terminating": false },
            "nodeName": "node-1", "zone": "zone-a",
            "targetRef": { "kind": "Pod", "namespace": namespace, "name": name },
        })
    };
    let endpoints: Vec<Value> = pods.iter().map(endpoint).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "namespace": namespace, "name": format!("{service}-{part}"),
            "labels": { "kubernetes.io/service-name": service },
        },
        "endpoints": endpoints,
        "ports": [{ "name": "", "port": port, "protocol": "TCP" }],
    })
}

/// A Service and the slice of one pod.
pub fn served(namespace: &str, name: &str, port: u16, pod: SocketAddr) -> [Value; 2] {
    [
        service(namespace, name, port),
        slice(namespace, name, "1", pod.port(), &[(name, pod.ip())]),
    ]
}

/// A Pod.
pub fn pod(namespace: &str, name: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "namespace": namespace, "name": name, "labels": labels },
        "spec": { "containers": [{ "name": "web", "image": "web" }] },
    })
}
