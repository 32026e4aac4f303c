//! The two sidecars, configured as istiod configures them (istio@86c9f01).
//!
//! A filter that only Istio's build of Envoy has is replaced by its effect: the ALPN filter by the filter state
//! that it writes. iptables are left out: the application calls the outbound
//! listener by its address, and the gateway the inbound listener.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use strait::tools::spiffe::{SpiffeId, Svid, TrustBundle};

use super::envoy::{Envoy, address, typed};
use super::sds::{IDENTITY, IDENTITY_AND_ROOTS, Secrets};
use crate::support::mtls::Pki;
use crate::support::process::Folder;
use crate::support::{OUTBOUND, SERVICE, wait_until};

const TLS_NEWEST: &str = "TLSv1_3";
const TLS_OLDEST: &str = "TLSv1_2";

/// The protocol that the Service's port declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
    Tcp,
}

impl Protocol {
    /// The ALPN that the client's sidecar offers: for HTTP that of the ALPN filter
    /// (pilot/pkg/xds/filters), otherwise that of the cluster (pilot/pkg/networking/util).
    pub fn alpn(self) -> &'static [&'static str] {
        match self {
            Self::Http1 => &["istio-http/1.1", "istio", "http/1.1"],
            Self::Http2 => &["istio-h2", "istio", "h2"],
            Self::Tcp => &["istio-peer-exchange", "istio"],
        }
    }

    /// The ALPN that the server's sidecar accepts (pilot/pkg/security/authn/utils).
    fn taken(self) -> &'static [&'static str] {
        match self {
            Self::Http1 | Self::Http2 => &["h2", "http/1.1"],
            Self::Tcp => &["istio-peer-exchange", "h2", "http/1.1"],
        }
    }
}

/// The TLS of a pod's port, by its PeerAuthentication (pilot/pkg/networking/core/filterchain_options.go) or by the
/// `tls` of a Sidecar's ingress listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodTls {
    /// PeerAuthentication `STRICT`.
    Strict,
    /// `PERMISSIVE`: mutual TLS for those who offer Istio's ALPN, and for others what the application speaks itself.
    Permissive,
    /// `DISABLE`.
    Disabled,
    /// A Sidecar's ingress listener with `tls.mode: SIMPLE`.
    Simple,
}

/// The protocols by which a `PERMISSIVE` sidecar tells mutual TLS from the application's own.
const MUTUAL_TLS: [&str; 5] = [
    "istio",
    "istio-peer-exchange",
    "istio-http/1.0",
    "istio-http/1.1",
    "istio-h2",
];

/// The connections that a caller's sidecar makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// Kept, and used again.
    Pooled,
    /// One for each call. It resumes the session of the one before, if the server lets it.
    Resumed,
    /// One for each call, with a whole handshake.
    Fresh,
}

/// The sidecar of svca: what istiod makes of a ServiceEntry and its DestinationRule.
#[derive(Debug, Clone)]
pub struct Outbound {
    /// The address that the application calls.
    pub bind: SocketAddr,
    /// The ServiceEntry's endpoint: the other cluster's gateway.
    pub gateway: SocketAddr,
    /// The port's protocol.
    pub protocol: Protocol,
    /// `tls.mode: ISTIO_MUTUAL`, or none as without a DestinationRule.
    pub mutual_tls: bool,
    /// `tls.sni`, or what it is without.
    pub sni: String,
    /// `tls.subjectAltNames`.
    pub server: SpiffeId,
    /// `meshMTLS` and what the peer can do decide; here it is set.
    pub newest_tls: &'static str,
    /// `connectionPool.tcp.maxConnectionDuration`.
    pub max_connection_duration: Option<Duration>,
    /// `connectionPool.http.maxRequestsPerConnection`, and whether sessions are resumed.
    pub connections: Connections,
}

impl Outbound {
    /// As config/federation has it.
    pub fn to(gateway: SocketAddr) -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            gateway,
            protocol: Protocol::Http1,
            mutual_tls: true,
            sni: OUTBOUND.to_owned(),
            server: SpiffeId::workload("beta.com", "apps", "svcb").unwrap(),
            newest_tls: TLS_NEWEST,
            max_connection_duration: None,
            connections: Connections::Pooled,
        }
    }

    /// Starts the sidecar of a pod with that identity, which trusts those bundles.
    pub fn start(&self, svid: &Svid, trusted: &[TrustBundle]) -> Sidecar {
        Sidecar::start("outbound", svid, trusted, |secrets| {
            (self.listener(), vec![self.cluster(secrets)])
        })
    }

    /// Starts the sidecar of a pod that gets its secrets from this socket of SPIRE's agent.
    pub fn start_by_agent(&self, socket: &Path) -> Sidecar {
        Sidecar::start_by_agent("outbound", socket, IDENTITY_AND_ROOTS, |secrets| {
            (self.listener(), vec![self.cluster(secrets)])
        })
    }

    /// Starts the sidecar of a pod for which this socket has no SVID: it opens no port.
    pub fn start_without_svid(&self, socket: &Path) -> Envoy {
        let secrets = Secrets::of_agent(socket);
        let mut clusters = vec![self.cluster(&secrets)];
        clusters.extend(secrets.clusters());
        Envoy::start_unready("outbound", &[self.listener()], &clusters, Folder::create())
    }

    /// As istiod names it.
    fn cluster_name(&self) -> String {
        format!("outbound|80||{SERVICE}")
    }

    fn listener(&self) -> Value {
        let filter = match self.protocol {
            Protocol::Tcp => {
                let duration = self.max_connection_duration.map(seconds);
                tcp_proxy(
                    &self.cluster_name(),
                    duration.map(|duration| ("max_downstream_connection_duration", duration)),
                )
            }
            Protocol::Http1 | Protocol::Http2 => {
                let mut route = json!({ "cluster": self.cluster_name(), "timeout": "0s" });
                // A test that looks at each connection wants one for each call.
                if self.connections == Connections::Pooled {
                    route["retry_policy"] = retry_policy();
                }
                let filters = json!({ "http_filters": [self.alpn_filter(), router()] });
                http_manager(filters, &route, json!({}))
            }
        };
        listener("outbound", self.bind, &json!([{ "filters": [filter] }]))
    }

    /// istio.alpn, by the filter state through which it works.
    fn alpn_filter(&self) -> Value {
        let value = json!({
            "object_key": "envoy.network.application_protocols",
            "format_string": { "text_format_source": { "inline_string": self.protocol.alpn().join(",") } },
            "shared_with_upstream": "ONCE",
        });
        let config = json!({ "on_request_headers": [value] });
        json!({
            "name": "istio.alpn",
            "typed_config": typed("envoy.extensions.filters.http.set_filter_state.v3.Config", config),
        })
    }

    fn cluster(&self, secrets: &Secrets) -> Value {
        let mut cluster = cluster(&self.cluster_name(), self.gateway);
        if self.protocol != Protocol::Tcp {
            let protocol = match self.protocol {
                Protocol::Http2 => json!({ "http2_protocol_options": {} }),
                _ => json!({ "http_protocol_options": {} }),
            };
            let mut options = json!({ "explicit_http_config": protocol });
            let common = &mut options["common_http_protocol_options"];
            *common = json!({});
            if let Some(duration) = self.max_connection_duration {
                common["max_connection_duration"] = seconds(duration).into();
            }
            if self.connections != Connections::Pooled {
                common["max_requests_per_connection"] = 1.into();
            }
            let kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
            cluster["typed_extension_protocol_options"] = json!({ kind: typed(kind, options) });
        }
        if self.mutual_tls {
            let server = [json!({ "exact": self.server.as_str() })];
            let alpn = match self.protocol {
                Protocol::Http2 => &["istio-peer-exchange", "istio", "h2"][..],
                _ => &["istio-peer-exchange", "istio"],
            };
            let mut tls = json!({
                "common_tls_context": secrets.tls_context(&server, alpn, (TLS_OLDEST, self.newest_tls)),
                "sni": self.sni,
            });
            if self.connections == Connections::Fresh {
                tls["max_session_keys"] = 0.into();
            }
            cluster["transport_socket"] = json!({
                "name": "envoy.transport_sockets.tls",
                "typed_config": typed("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", tls),
            });
        }
        cluster
    }
}

/// The sidecar of a pod of svcb: what istiod makes of the mesh's config, PeerAuthentication STRICT
/// and the AuthorizationPolicy.
#[derive(Debug, Clone)]
pub struct Inbound {
    /// The address that it listens on.
    pub bind: SocketAddr,
    /// The address of its application.
    pub app: SocketAddr,
    /// The protocol that the Service's port declares.
    pub protocol: Protocol,
    /// Whether callers must show a certificate.
    pub tls: PodTls,
    /// The newest version of TLS that it speaks.
    pub newest_tls: &'static str,
    /// `meshConfig.trustDomain`.
    pub trust_domain: String,
    /// `meshConfig.caCertificates[].trustDomains`.
    pub foreign_trust_domains: Vec<String>,
    /// `meshConfig.trustDomainAliases`.
    pub aliases: Vec<String>,
    /// The AuthorizationPolicy's `principals`: without a scheme.
    pub principals: Vec<String>,
}

impl Inbound {
    /// As config/federation has it.
    pub fn to(app: SocketAddr) -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            app,
            protocol: Protocol::Http1,
            tls: PodTls::Strict,
            newest_tls: TLS_NEWEST,
            trust_domain: "beta.com".to_owned(),
            foreign_trust_domains: vec!["alpha.com".to_owned()],
            aliases: Vec::new(),
            principals: vec!["alpha.com/ns/apps/sa/svca".to_owned()],
        }
    }

    /// Starts the sidecar of a pod with that identity, which trusts those bundles.
    pub fn start(&self, svid: &Svid, trusted: &[TrustBundle]) -> Sidecar {
        Sidecar::start("inbound", svid, trusted, |secrets| {
            (
                self.listener(secrets),
                vec![cluster("inbound|8080||", self.app)],
            )
        })
    }

    /// Starts the sidecar of a pod that gets its secrets from this socket of SPIRE's agent.
    pub fn start_by_agent(&self, socket: &Path) -> Sidecar {
        let used = match self.tls {
            PodTls::Strict | PodTls::Permissive => IDENTITY_AND_ROOTS,
            PodTls::Simple => &[IDENTITY],
            PodTls::Disabled => &[],
        };
        Sidecar::start_by_agent("inbound", socket, used, |secrets| {
            (
                self.listener(secrets),
                vec![cluster("inbound|8080||", self.app)],
            )
        })
    }

    /// Starts the sidecar of a pod for which this socket has no SVID: it takes no calls.
    pub fn start_without_svid(&self, socket: &Path) -> Envoy {
        let secrets = Secrets::of_agent(socket);
        let mut clusters = vec![cluster("inbound|8080||", self.app)];
        clusters.extend(secrets.clusters());
        let listeners = [self.listener(&secrets)];
        Envoy::start_unready("inbound", &listeners, &clusters, Folder::create())
    }

    /// TrustDomainsForValidation (pilot/pkg/model): each as a prefix.
    fn callers(&self) -> Vec<Value> {
        let domains = [&self.trust_domain];
        let domains = domains
            .into_iter()
            .chain(&self.aliases)
            .chain(&self.foreign_trust_domains);
        domains
            .map(|domain| json!({ "prefix": format!("spiffe://{domain}/") }))
            .collect()
    }

    /// pilot/pkg/security/trustdomain: a principal of the own trust domain counts for its aliases
    /// too. pilot/pkg/security/authz/model: the scheme is put before whatever the policy says.
    fn rbac(&self) -> Value {
        let aliased = |principal: &String| {
            let path = principal.strip_prefix(&format!("{}/", self.trust_domain));
            let aliases = self.aliases.iter();
            let aliased = path.map(|path| aliases.map(move |alias| format!("{alias}/{path}")));
            let aliased: Vec<String> = aliased.into_iter().flatten().collect();
            std::iter::once(principal.clone())
                .chain(aliased)
                .collect::<Vec<_>>()
        };
        let principals: Vec<Value> = self
            .principals
            .iter()
            .flat_map(aliased)
            .map(|name| json!({ "authenticated": { "principal_name": { "exact": format!("spiffe://{name}") } } }))
            .collect();
        json!({
            "action": "ALLOW",
            "policies": { "ns[apps]-policy[allow-svca-from-alpha]-rule[0]": {
                "permissions": [{ "any": true }],
                "principals": [{ "or_ids": { "ids": principals } }],
            }},
        })
    }

    fn listener(&self, secrets: &Secrets) -> Value {
        let rules = json!({ "rules": self.rbac(), "stat_prefix": "tcp." });
        let filters = match self.protocol {
            Protocol::Tcp => json!([
                {
                    "name": "envoy.filters.network.rbac",
                    "typed_config": typed("envoy.extensions.filters.network.rbac.v3.RBAC", rules),
                },
                tcp_proxy("inbound|8080||", None),
            ]),
            Protocol::Http1 | Protocol::Http2 => json!([self.http(rules)]),
        };
        let chain = |tls: Option<&Value>, matches: Value| {
            let mut chain = json!({ "filter_chain_match": matches, "filters": filters });
            if let Some(tls) = tls {
                chain["transport_socket"] = json!({
                    "name": "envoy.transport_sockets.tls",
                    "typed_config": typed(
                        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", tls.clone()),
                });
            }
            chain
        };
        let over_tls = json!({ "transport_protocol": "tls" });
        let plain = || chain(None, json!({ "transport_protocol": "raw_buffer" }));
        let tls = self.tls_of(secrets);
        let chains = match self.tls {
            PodTls::Strict | PodTls::Simple => vec![chain(Some(&tls), over_tls)],
            PodTls::Permissive => {
                let mut mutual = over_tls.clone();
                mutual["application_protocols"] = json!(MUTUAL_TLS);
                let mut chains = vec![chain(Some(&tls), mutual), plain()];
                if self.protocol == Protocol::Tcp {
                    let app = json!([tcp_proxy("inbound|8080||", None)]);
                    chains.push(json!({ "filter_chain_match": over_tls, "filters": app }));
                }
                chains
            }
            PodTls::Disabled => vec![plain()],
        };
        let mut listener = listener("inbound", self.bind, &json!(chains));
        listener["listener_filters"] = json!([tls_inspector()]);
        listener
    }

    /// BuildInboundTLS (pilot/pkg/security/authn/utils): a certificate is asked for in `PERMISSIVE` mode too.
    fn tls_of(&self, secrets: &Secrets) -> Value {
        let versions = (TLS_OLDEST, self.newest_tls);
        let mut context = secrets.tls_context(&self.callers(), self.protocol.taken(), versions);
        if self.tls == PodTls::Simple {
            let fields = context.as_object_mut().unwrap();
            fields.remove("combined_validation_context");
        }
        json!({
            "common_tls_context": context,
            "require_client_certificate": self.tls != PodTls::Simple,
        })
    }

    fn http(&self, mut rules: Value) -> Value {
        rules.as_object_mut().unwrap().remove("stat_prefix");
        let rbac = json!({
            "name": "envoy.filters.http.rbac",
            "typed_config": typed("envoy.extensions.filters.http.rbac.v3.RBAC", rules),
        });
        let header = |name: &str, value: &str| json!({ "header": { "key": name, "value": value } });
        http_manager(
            json!({
                "http_filters": [rbac, router()],
                "forward_client_cert_details": "APPEND_FORWARD",
                "set_current_client_cert_details": { "subject": true, "dns": true, "uri": true },
            }),
            &json!({ "cluster": "inbound|8080||", "timeout": "0s" }),
            // For the tests, not Istio's: what the application could not tell otherwise.
            json!({ "request_headers_to_add": [
                header("x-sidecar-protocol", "%PROTOCOL%"),
                header("x-sidecar-tls", "%DOWNSTREAM_TLS_VERSION%"),
                header("x-sidecar-sni", "%REQUESTED_SERVER_NAME%"),
                header("x-sidecar-peer-serial", "%DOWNSTREAM_PEER_SERIAL%"),
            ]}),
        )
    }
}

/// A running sidecar.
pub struct Sidecar {
    /// The process.
    pub envoy: Envoy,
    /// The secrets that SPIRE gives it.
    pub secrets: Secrets,
    /// The address of its only listener.
    pub address: SocketAddr,
}

impl Sidecar {
    fn start(
        name: &str,
        svid: &Svid,
        trusted: &[TrustBundle],
        config: impl FnOnce(&Secrets) -> (Value, Vec<Value>),
    ) -> Self {
        let folder = Folder::create();
        let secrets = folder.path("secrets");
        std::fs::create_dir_all(&secrets).unwrap();
        let secrets = Secrets::new(&secrets);
        secrets.identify(svid);
        secrets.trust(trusted);
        Self::start_in(folder, name, secrets, config)
    }

    fn start_by_agent(
        name: &str,
        socket: &Path,
        used: &[&str],
        config: impl FnOnce(&Secrets) -> (Value, Vec<Value>),
    ) -> Self {
        let secrets = Secrets::of_agent(socket);
        let sidecar = Self::start_in(Folder::create(), name, secrets, config);
        wait_until("the sidecar has its secrets", || {
            used.is_empty()
                || Secrets::complete(&sidecar.envoy.secrets(), used) && sidecar.secret_updates() > 0
        });
        sidecar
    }

    fn start_in(
        folder: Folder,
        name: &str,
        secrets: Secrets,
        config: impl FnOnce(&Secrets) -> (Value, Vec<Value>),
    ) -> Self {
        let (listener, mut clusters) = config(&secrets);
        clusters.extend(secrets.clusters());
        let envoy = Envoy::start(name, &[listener], &clusters, folder);
        Self {
            address: envoy.listener(name),
            envoy,
            secrets,
        }
    }

    /// Number of secrets that it has taken into use.
    pub fn secret_updates(&self) -> u64 {
        self.envoy.stat("ssl_context_update_by_sds")
    }

    /// Delivers another SVID, and waits until it is in use.
    pub fn rotate_identity(&self, svid: &Svid) {
        self.until_taken(|| self.secrets.identify(svid));
    }

    /// Delivers other bundles, and waits until they are in use.
    pub fn rotate_trust(&self, trusted: &[TrustBundle]) {
        self.until_taken(|| self.secrets.trust(trusted));
    }

    /// Does `deliver`, which gives it another secret, and waits until that is in use. Nothing else may be on its way.
    pub fn until_taken<T>(&self, deliver: impl FnOnce() -> T) -> T {
        self.until_all_taken(1, deliver)
    }

    /// As [`Sidecar::until_taken`], for a change of the trust domains that its entry federates with. SPIRE delivers other
    /// bundles and, as for each change of an entry, another SVID, in either order.
    pub fn until_both_taken<T>(&self, deliver: impl FnOnce() -> T) -> T {
        self.until_all_taken(2, deliver)
    }

    fn until_all_taken<T>(&self, secrets: u64, deliver: impl FnOnce() -> T) -> T {
        let before = self.secret_updates();
        let delivered = deliver();
        wait_until("the sidecar has taken all that is new", || {
            self.secret_updates() >= before + secrets
        });
        delivered
    }
}

/// svca's sidecar as it should be.
pub fn svca(pki: &Pki, gateway: SocketAddr) -> Sidecar {
    Outbound::to(gateway).start(&pki.svca, &pki.bundles())
}

/// The sidecar of a pod of svcb as it should be.
pub fn svcb(pki: &Pki, app: SocketAddr) -> Sidecar {
    Inbound::to(app).start(&pki.svcb, &pki.bundles())
}

/// Envoy as the gateway that strait is: by server name, on to that pod.
pub fn sni_gateway(server_name: &str, pod: SocketAddr) -> (Envoy, SocketAddr) {
    let chain = json!({
        "filter_chain_match": { "server_names": [server_name] },
        "filters": [tcp_proxy(server_name, None)],
    });
    let bind = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut listener = listener("gateway", bind, &json!([chain]));
    listener["listener_filters"] = json!([tls_inspector()]);
    let cluster = cluster(server_name, pod);
    let envoy = Envoy::start("gateway", &[listener], &[cluster], Folder::create());
    let address = envoy.listener("gateway");
    (envoy, address)
}

/// pilot/pkg/networking/core/route/retry.
fn retry_policy() -> Value {
    json!({
        "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
        "num_retries": 2,
        "retry_host_predicate": [{
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": typed("envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate", json!({})),
        }],
        "host_selection_retry_max_attempts": 5,
    })
}

fn tls_inspector() -> Value {
    json!({
        "name": "envoy.filters.listener.tls_inspector",
        "typed_config": typed("envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector", json!({})),
    })
}

fn listener(name: &str, bind: SocketAddr, filter_chains: &Value) -> Value {
    json!({ "name": name, "address": address(bind), "filter_chains": filter_chains })
}

/// A cluster of one address; limits as istiod lifts them.
fn cluster(name: &str, endpoint: SocketAddr) -> Value {
    let most = u32::MAX;
    json!({
        "name": name,
        // For an address that is one this resolves nothing; istiod writes it so for `resolution: DNS`.
        "type": "STRICT_DNS",
        "connect_timeout": "10s",
        "circuit_breakers": { "thresholds": [{
            "max_connections": most, "max_pending_requests": most, "max_requests": most, "max_retries": most,
        }]},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address(endpoint) } }] }],
        },
    })
}

fn router() -> Value {
    json!({
        "name": "envoy.filters.http.router",
        "typed_config": typed("envoy.extensions.filters.http.router.v3.Router", json!({})),
    })
}

/// An HTTP connection manager with one route.
fn http_manager(mut fields: Value, route: &Value, mut host: Value) -> Value {
    host["name"] = "all".into();
    host["domains"] = json!(["*"]);
    host["routes"] = json!([{ "match": { "prefix": "/" }, "route": route }]);
    fields["stat_prefix"] = "http".into();
    fields["route_config"] = json!({ "virtual_hosts": [host] });
    json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": typed(
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", fields),
    })
}

/// A TCP proxy, perhaps with one more field.
fn tcp_proxy(cluster: &str, more: Option<(&str, String)>) -> Value {
    let mut fields = json!({ "stat_prefix": "tcp", "cluster": cluster });
    if let Some((key, value)) = more {
        fields[key] = value.into();
    }
    json!({
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": typed("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", fields),
    })
}

/// A duration as protobuf's JSON writes it.
fn seconds(duration: Duration) -> String {
    format!("{}.{:03}s", duration.as_secs(), duration.subsec_millis())
}
