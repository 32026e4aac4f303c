//! Envoy in strait's place, as a gateway that reads the server name and passes on.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use super::{ENVOY, LISTENERS, Upstream, alpn, host};
use crate::federation::envoy::{Envoy, address, typed};
use crate::support::process::Folder;

/// Envoy with the same routes, which writes its access log to a file.
pub(super) fn start(upstreams: &[Upstream], log: &Path) -> Envoy {
    let access_log = |filter: Value| {
        let format = "%START_TIME(%s%3f)%\t%RESPONSE_FLAGS%\t%UPSTREAM_TRANSPORT_FAILURE_REASON%\t%CONNECTION_TERMINATION_DETAILS%\t%BYTES_RECEIVED%\t%BYTES_SENT%\n";
        let file = json!({ "path": log, "log_format": { "text_format_source": { "inline_string": format } } });
        let mut entry = json!({
            "name": "envoy.access_loggers.file",
            "typed_config": typed("envoy.extensions.access_loggers.file.v3.FileAccessLog", file),
        });
        if !filter.is_null() {
            entry["filter"] = filter;
        }
        json!([entry])
    };
    let listener = |(port, name): (u16, &str)| {
        let chain = |upstream: &Upstream| {
            let mut proxy = json!({
                "stat_prefix": "tcp",
                "cluster": upstream.name,
                "access_log": access_log(Value::Null),
            });
            if name == "short" {
                proxy["idle_timeout"] = "1s".into();
            }
            let mut filters = vec![json!({
                "name": "envoy.filters.network.tcp_proxy",
                "typed_config": typed("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", proxy),
            })];
            if name == "limited" {
                let limit = json!({ "stat_prefix": "limit", "max_connections": 1 });
                let kind = "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit";
                filters.insert(
                    0,
                    json!({ "name": "limit", "typed_config": typed(kind, limit) }),
                );
            }
            let mut matched = json!({ "server_names": [host(&upstream.name)] });
            if alpn(upstream) == "istio" {
                matched["application_protocols"] =
                    json!(["istio", "istio-peer-exchange", "istio-http/1.1", "istio-h2"]);
            }
            if name == "denied" {
                matched["source_prefix_ranges"] =
                    json!([{ "address_prefix": "10.0.0.0", "prefix_len": 8 }]);
            }
            json!({ "filter_chain_match": matched, "filters": filters })
        };
        let inspector = typed(
            "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
            json!({}),
        );
        let mut before = vec![
            json!({ "name": "envoy.filters.listener.tls_inspector", "typed_config": inspector }),
        ];
        if name == "proxied" {
            let header = typed(
                "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
                json!({}),
            );
            before.insert(
                0,
                json!({ "name": "envoy.filters.listener.proxy_protocol", "typed_config": header }),
            );
        }
        // As Istio does: connections that no chain takes have a line too.
        let unmatched = json!({ "response_flag_filter": { "flags": ["NR"] } });
        json!({
            "name": name,
            "address": { "socket_address": { "address": "127.0.0.1", "port_value": port } },
            "listener_filters": before,
            "listener_filters_timeout": "3s",
            "filter_chains": upstreams.iter().map(chain).collect::<Vec<_>>(),
            "access_log": access_log(unmatched),
        })
    };
    let cluster = |upstream: &Upstream| {
        let at = |at: SocketAddr| json!({ "endpoint": { "address": address(at) } });
        let endpoints: Vec<Value> = upstream.endpoint.into_iter().map(at).collect();
        json!({
            "name": upstream.name,
            "type": "STATIC",
            "connect_timeout": "1s",
            "load_assignment": { "cluster_name": upstream.name, "endpoints": [{ "lb_endpoints": endpoints }] },
        })
    };
    let listeners: Vec<Value> = (ENVOY..).zip(LISTENERS).map(listener).collect();
    let clusters: Vec<Value> = upstreams.iter().map(cluster).collect();
    Envoy::start("gateway", &listeners, &clusters, Folder::create())
}

/// The words of the first line of a connection that has begun since. Lines of earlier connections may come late.
pub(super) fn words(log: &Path, since: SystemTime) -> String {
    let since = since.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let is_new = |line: &&str| {
        let began = line.split('\t').next().unwrap_or_default();
        began.parse::<u128>().unwrap() >= since.as_millis()
    };
    let deadline = Instant::now() + Duration::from_secs(3);
    loop {
        let text = fs::read_to_string(log).unwrap_or_default();
        let whole = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        let Some(line) = whole.map(str::trim_end).find(is_new) else {
            if Instant::now() > deadline {
                return "no line".to_owned();
            }
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        let parts: Vec<&str> = line.split('\t').collect();
        let [_, flags, failure, details, received, sent] = parts[..] else {
            panic!("{line}");
        };
        let reasons = [failure, details]
            .into_iter()
            .filter(|reason| *reason != "-");
        let reasons: Vec<&str> = reasons.collect();
        return format!(
            "`{flags}` {} ({received} and {sent} bytes)",
            reasons.join(", ").replace('|', ", ")
        )
        .replace("  ", " ");
    }
}
