//! The secrets that SPIRE's agent gives a sidecar: over SDS, by SPIRE's own code ([`super::spire`]), or as files that are
//! replaced on a change, for certificates that SPIRE would not sign and for benches.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use strait::tools::spiffe::{Svid, TrustBundle};

use super::envoy::typed;

/// The names that Istio's sidecars ask SPIRE for (config/federation/*/spire-agent.yaml).
pub const IDENTITY: &str = "default";
const ROOTS: &str = "ROOTCA";

/// Both.
pub const IDENTITY_AND_ROOTS: &[&str] = &[IDENTITY, ROOTS];

/// A sidecar's secrets.
pub struct Secrets {
    path: PathBuf,
    from: Source,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// A folder that exists, and is watched.
    Files,
    /// A socket of SPIRE's agent.
    Socket,
}

/// The cluster by which Envoy reaches the agent.
const AGENT: &str = "sds-grpc";

impl Secrets {
    /// As files in a folder.
    pub fn new(folder: &Path) -> Self {
        Self {
            path: folder.to_owned(),
            from: Source::Files,
        }
    }

    /// Over SDS, from this socket.
    pub fn of_agent(socket: &Path) -> Self {
        Self {
            path: socket.to_owned(),
            from: Source::Socket,
        }
    }

    /// The clusters that Envoy needs to get them.
    pub fn clusters(&self) -> Vec<Value> {
        if self.from == Source::Files {
            return Vec::new();
        }
        let options = json!({ "explicit_http_config": { "http2_protocol_options": {} } });
        let kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        vec![json!({
            "name": AGENT,
            "type": "STATIC",
            "connect_timeout": "1s",
            "typed_extension_protocol_options": { kind: typed(kind, options) },
            "load_assignment": { "cluster_name": AGENT, "endpoints": [{ "lb_endpoints": [{
                "endpoint": { "address": { "pipe": { "path": self.path } } },
            }]}]},
        })]
    }

    /// Whether Envoy has those of these names, by its dump of secrets.
    pub fn complete(dump: &Value, names: &[&str]) -> bool {
        let configs = dump["configs"].as_array();
        configs.is_some_and(|configs| {
            names.iter().all(|name| {
                let mut active = configs.iter().filter(|config| config["name"] == *name);
                active.any(|config| config["secret"].is_object())
            })
        })
    }

    /// Delivers an SVID.
    pub fn identify(&self, svid: &Svid) {
        let chain: String = svid
            .chain
            .iter()
            .map(|der| pem("CERTIFICATE", der))
            .collect();
        let secret = json!({ "tls_certificate": {
            "certificate_chain": { "inline_string": chain },
            "private_key": { "inline_string": pem("PRIVATE KEY", svid.key.secret_der()) },
        }});
        self.deliver(IDENTITY, secret);
    }

    /// Delivers trust bundles: each trust domain's roots speak for it alone. Several of one trust
    /// domain are one bundle with several roots, as while a CA rotates.
    pub fn trust(&self, bundles: &[TrustBundle]) {
        let mut domains: Vec<(&str, String)> = Vec::new();
        for bundle in bundles {
            let root = pem("CERTIFICATE", &bundle.root);
            let known = domains
                .iter_mut()
                .find(|(name, _)| *name == &*bundle.trust_domain);
            match known {
                Some((_, roots)) => roots.push_str(&root),
                None => domains.push((&bundle.trust_domain, root)),
            }
        }
        let domains: Vec<Value> = domains
            .iter()
            .map(
                |(name, roots)| json!({ "name": name, "trust_bundle": { "inline_string": roots } }),
            )
            .collect();
        let validator = typed(
            "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig",
            json!({ "trust_domains": domains }),
        );
        let secret = json!({ "validation_context": { "custom_validator_config": {
            "name": "envoy.tls.cert_validator.spiffe",
            "typed_config": validator,
        }}});
        self.deliver(ROOTS, secret);
    }

    fn deliver(&self, name: &str, mut secret: Value) {
        assert!(self.from == Source::Files, "SPIRE delivers");
        secret["name"] = name.into();
        let secret = typed("envoy.extensions.transport_sockets.tls.v3.Secret", secret);
        let unfinished = self.path.join(format!("{name}.new"));
        let text = json!({ "resources": [secret] }).to_string();
        fs::write(&unfinished, text).unwrap();
        fs::rename(&unfinished, self.file(name)).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.json"))
    }

    fn source(&self, name: &str) -> Value {
        if self.from == Source::Socket {
            // As Istio's agent writes it (pkg/security/model, security/pkg/nodeagent).
            return json!({
                "name": name,
                "sds_config": {
                    "api_config_source": {
                        "api_type": "GRPC",
                        "transport_api_version": "V3",
                        "grpc_services": [{ "envoy_grpc": { "cluster_name": AGENT } }],
                    },
                    "initial_fetch_timeout": "0s",
                    "resource_api_version": "V3",
                },
            });
        }
        json!({
            "name": name,
            "sds_config": {
                "path_config_source": {
                    "path": self.file(name),
                    "watched_directory": { "path": self.path },
                },
                "resource_api_version": "V3",
            },
        })
    }

    /// The CommonTlsContext of a sidecar: this identity, and peers whose URI name matches one of
    /// `peers` (StringMatchers).
    pub fn tls_context(&self, peers: &[Value], alpn: &[&str], versions: (&str, &str)) -> Value {
        let names: Vec<Value> = peers
            .iter()
            .map(|matcher| json!({ "san_type": "URI", "matcher": matcher }))
            .collect();
        let (oldest, newest) = versions;
        json!({
            "tls_params": {
                "tls_minimum_protocol_version": oldest,
                "tls_maximum_protocol_version": newest,
            },
            "alpn_protocols": alpn,
            "tls_certificate_sds_secret_configs": [self.source(IDENTITY)],
            "combined_validation_context": {
                "default_validation_context": { "match_typed_subject_alt_names": names },
                "validation_context_sds_secret_config": self.source(ROOTS),
            },
        })
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(label, der))
}
