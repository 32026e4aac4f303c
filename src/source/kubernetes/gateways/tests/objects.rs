//! Gateways and TLSRoutes as text.

/// A Gateway with a listener for each `NAME=PORT/HOSTNAME`, open to every namespace.
pub(super) fn gateway(namespace: &str, name: &str, created: i64, listeners: &[&str]) -> String {
    let listener = |text: &&str| {
        let (name, rest) = text.split_once('=').unwrap();
        let (port, hostname) = rest.split_once('/').unwrap();
        format!(
            "  - {{name: {name}, port: {port}, protocol: TLS, hostname: \"{hostname}\", \
             tls: {{mode: Passthrough}}, allowedRoutes: {{namespaces: {{from: All}}}}}}\n"
        )
    };
    let listeners: String = listeners.iter().map(listener).collect();
    format!(
        "---\nkind: Gateway\nmetadata: {{name: {name}, namespace: {namespace}, created: {created}}}\n\
         spec:\n  gatewayClassName: strait\n  listeners:\n{listeners}"
    )
}

/// A TLSRoute with one backend.
pub(super) fn route(
    namespace: &str,
    name: &str,
    created: i64,
    parent: &str,
    hostnames: &str,
    backend: &str,
) -> String {
    format!(
        "---\nkind: TLSRoute\nmetadata: {{name: {name}, namespace: {namespace}, created: {created}}}\n\
         spec:\n  parentRefs: [{{{parent}}}]\n  hostnames: [{hostnames}]\n  \
         rules: [{{backendRefs: [{{name: {backend}, port: 443}}]}}]\n"
    )
}
