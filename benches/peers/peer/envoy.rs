//! Envoy.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{Job, Route};
use crate::machine::find_program;

/// The named program, otherwise the one in PATH.
pub(super) fn find(named: Option<&Path>) -> Option<PathBuf> {
    match named {
        Some(path) => path.is_file().then(|| path.to_owned()),
        None => find_program("envoy"),
    }
}

pub(super) fn command(program: &Path, job: &Job<'_>) -> io::Result<Command> {
    // JSON is a part of YAML. Envoy demands the suffix.
    let config = job.write("envoy.json", &config(job).to_string())?;
    let mut command = Command::new(program);
    command
        .args(["--concurrency", &job.workers.to_string()])
        .args(["--log-level", "error", "--disable-hot-restart"])
        .arg("--config-path")
        .arg(config);
    Ok(command)
}

fn config(job: &Job<'_>) -> Value {
    let chain = |route: Route, cluster: &str| {
        json!({
            "filter_chain_match": { "server_names": [route.name()] },
            "filters": [{
                "name": "envoy.filters.network.tcp_proxy",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                    "stat_prefix": cluster,
                    "cluster": cluster,
                },
            }],
        })
    };
    json!({
        "static_resources": {
            "listeners": [{
                "name": "bench",
                "address": address(job.listen),
                "listener_filters": [{
                    "name": "envoy.filters.listener.tls_inspector",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
                    },
                }],
                "filter_chains": [chain(Route::Main, "main"), chain(Route::Aside, "aside")],
            }],
            "clusters": [
                cluster("main", job.backends.main),
                cluster("aside", job.backends.aside),
            ],
        },
    })
}

fn cluster(name: &str, endpoint: SocketAddr) -> Value {
    json!({
        "name": name,
        "type": "STATIC",
        "lb_policy": "LEAST_REQUEST",
        "connect_timeout": "5s",
        // Envoy's default is 1,024 connections.
        "circuit_breakers": { "thresholds": [{ "max_connections": 100_000, "max_pending_requests": 100_000 }] },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address(endpoint) } }] }],
        },
    })
}

fn address(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}
