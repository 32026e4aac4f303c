//! One cluster: SPIRE, a service with its sidecar, a sidecar for each way of calling, and two replicas of the gateway behind
//! a load balancer.

use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustix::process::Signal;
use strait::tools::spiffe::SpiffeId;

use super::cluster::{PATIENCE, Spire};
use crate::federation::app::App;
use crate::federation::balancer::{self, Backend};
use crate::federation::names::pod_address;
use crate::federation::sidecar::{Connections, Inbound, Outbound, Sidecar};
use crate::support::process::{Folder, Process, command};
use crate::support::server::Server;
use crate::support::wait_within;

/// The ways in which sidecars call, one sidecar each.
pub const WAYS: [Connections; 3] = [
    Connections::Fresh,
    Connections::Resumed,
    Connections::Pooled,
];

/// `maxConnectionDuration` of the callers: a gateway that drains waits longer.
const CONNECTION: Duration = Duration::from_secs(4);
const DRAIN: &str = "{ readiness_delay: 2s, window: 15s }";

/// A gateway's process.
pub struct Replica {
    config: PathBuf,
    lines: PathBuf,
    traffic: SocketAddr,
    status: SocketAddr,
    process: Process,
}

impl Replica {
    fn run(config: &Path, lines: &Path) -> Process {
        let mut command = command(config);
        let mut options = OpenOptions::new();
        command.stdout(options.create(true).append(true).open(lines).unwrap());
        Process::of_command(command)
    }

    /// A reload of the same config.
    pub fn reload(&self) {
        let before = self.process.said("config reloaded");
        self.process.signal(Signal::HUP);
        wait_within(PATIENCE, "the config is reloaded", || {
            self.process.said("config reloaded") > before
        });
    }

    /// Another process takes the sockets over, and the one before drains.
    pub fn take_over(&mut self) {
        let successor = Self::run(&self.config, &self.lines);
        let mut predecessor = std::mem::replace(&mut self.process, successor);
        let ended = predecessor.wait_end();
        assert!(ended.success(), "{ended:?}");
    }

    /// The process drains and ends, and then another starts.
    pub fn replace(&mut self) {
        self.process.signal(Signal::TERM);
        let ended = self.process.wait_end();
        assert!(ended.success(), "{ended:?}");
        self.process = Self::run(&self.config, &self.lines);
    }
}

/// A cluster. Fields drop in their order.
pub struct Side {
    pub callers: Vec<Sidecar>,
    pub server: Option<Sidecar>,
    pub spire: Spire,
    pub service: &'static str,
    pub gateway: Server,
    pub replicas: [Replica; 2],
    pod: SocketAddr,
    app: App,
    folder: Folder,
}

impl Side {
    /// Its gateways run, and nothing else.
    pub fn start(spire: Spire, service: &'static str) -> Self {
        let folder = Folder::create();
        let pod = SocketAddr::new(pod_address(), 18080);
        let replicas = [1, 2].map(|number| {
            let ip = pod_address();
            let at = |port| SocketAddr::new(ip, port);
            let config = format!(
                "workers: 1
listeners:
  - name: east-west
    bind: '{}'
    routes:
      - {{ service: '{service}.apps.svc.cluster.local:80', alpn: istio, upstream: {service} }}
      - {{ sni: {}, alpn: any, upstream: spire }}
upstreams:
  {service}: {{ endpoints: ['{pod}'] }}
  spire: {{ endpoints: ['{}'] }}
drain: {DRAIN}
log: {{ format: text }}
takeover: {{ path: '{}' }}
admin: {{ bind: '{}' }}
status: {{ bind: '{}' }}
metrics: {{ bind: '{}' }}
",
                at(15443),
                spire.bundle_name(),
                spire.endpoint(),
                folder.path(&format!("takeover{number}")).display(),
                at(15000),
                at(15021),
                at(15090),
            );
            let config = folder.file(&format!("strait{number}.yaml"), &config);
            let lines = folder.path("access.log");
            Replica {
                process: Replica::run(&config, &lines),
                config,
                lines,
                traffic: at(15443),
                status: at(15021),
            }
        });
        let backend = |replica: &Replica| Backend {
            traffic: replica.traffic,
            status: replica.status,
        };
        let gateway = balancer::start(replicas.iter().map(backend).collect());
        Self {
            callers: Vec::new(),
            server: None,
            spire,
            service,
            gateway,
            replicas,
            pod,
            app: App::start(service),
            folder,
        }
    }

    /// Starts all of its sidecars, which get what they need from SPIRE's agent.
    pub fn start_sidecars(&mut self, other: &Self) {
        let account = |of: &Self| format!("{}/ns/apps/sa/{}", of.spire.trust_domain, of.service);
        let inbound = Inbound {
            bind: self.pod,
            trust_domain: self.spire.trust_domain.to_owned(),
            foreign_trust_domains: vec![other.spire.trust_domain.to_owned()],
            principals: vec![account(other)],
            ..Inbound::to(self.app.address)
        };
        let socket = self.spire.socket();
        self.server = Some(inbound.start_by_agent(&socket));
        let start = |connections| {
            let outbound = Outbound {
                sni: other.server_name(),
                server: SpiffeId::parse(&other.spire.account(other.service)).unwrap(),
                connections,
                max_connection_duration: Some(CONNECTION),
                ..Outbound::to(other.gateway.address)
            };
            outbound.start_by_agent(&socket)
        };
        self.callers = WAYS.map(start).into();
    }

    fn server_name(&self) -> String {
        format!("outbound_.80_._.{}.apps.svc.cluster.local", self.service)
    }

    /// All of its sidecars.
    pub fn sidecars(&self) -> impl Iterator<Item = &Sidecar> {
        self.callers.iter().chain(&self.server)
    }

    /// Waits until each of its sidecars has so many roots of this trust domain.
    pub fn until_roots(&self, of: &str, number: usize) {
        let what = format!("sidecars of {} have {number} roots of {of}", self.service);
        wait_within(PATIENCE, &what, || {
            self.sidecars().all(|sidecar| roots(sidecar, of) == number)
        });
    }

    /// Waits until the SVID of each of its sidecars is of this authority.
    pub fn until_signed_by(&self, authority: &str) {
        let what = format!("SVIDs of {} are of {authority}", self.service);
        wait_within(PATIENCE, &what, || {
            self.sidecars().all(|sidecar| signed_by(sidecar, authority))
        });
    }

    /// The side of the federation file.
    pub fn described(&self) -> String {
        let (spire, at) = (&self.spire, self.gateway.address);
        format!(
            "  - trust_domain: {}
    gateway: '{at}'
    bundle_endpoint: {{ url: 'https://{}:{}', spiffe_id: '{}/spire/server' }}
    services:
      - {{ host: {}.apps.svc.cluster.local, port: 80, spiffe_id: '{}' }}
",
            spire.trust_domain,
            spire.bundle_name(),
            at.port(),
            spire.id(),
            self.service,
            spire.account(self.service),
        )
    }

    /// The outcomes in its gateways' lines of calls by sidecars and fetches by SPIRE.
    pub fn outcomes(&self) -> Vec<(String, usize)> {
        let text = fs::read_to_string(self.folder.path("access.log")).unwrap_or_default();
        let mut counted = std::collections::BTreeMap::new();
        for line in text.lines().filter(|line| !line.contains("strait-doctor")) {
            let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            if let Some(outcome) = line["outcome"].as_str() {
                *counted.entry(outcome.to_owned()).or_default() += 1;
            }
        }
        counted.into_iter().collect()
    }
}

/// The parts of Envoy's dump that are secrets.
fn secrets(sidecar: &Sidecar) -> Vec<serde_json::Value> {
    let dump = sidecar.envoy.secrets();
    let configs = dump["configs"].as_array().cloned().unwrap_or_default();
    configs
        .into_iter()
        .map(|one| one["secret"].clone())
        .collect()
}

fn decoded(text: &serde_json::Value) -> Vec<u8> {
    let text = text.as_str().unwrap_or_default();
    BASE64_STANDARD.decode(text).unwrap()
}

/// The number of roots that a sidecar has of a trust domain.
fn roots(sidecar: &Sidecar, of: &str) -> usize {
    let mut number = 0;
    for secret in secrets(sidecar) {
        let validator = &secret["validation_context"]["custom_validator_config"]["typed_config"];
        for domain in validator["trust_domains"].as_array().into_iter().flatten() {
            if domain["name"] == of {
                let bundle = decoded(&domain["trust_bundle"]["inline_bytes"]);
                number += pem::parse_many(bundle).unwrap().len();
            }
        }
    }
    number
}

/// Whether its SVID has this key ID of an authority in it.
fn signed_by(sidecar: &Sidecar, authority: &str) -> bool {
    let pairs = authority.as_bytes().chunks(2);
    let id: Vec<u8> = pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    secrets(sidecar).iter().any(|secret| {
        let chain = decoded(&secret["tls_certificate"]["certificate_chain"]["inline_bytes"]);
        let chain = pem::parse_many(chain).unwrap();
        let first = chain.first().map(pem::Pem::contents).unwrap_or_default();
        first.windows(id.len()).any(|bytes| bytes == id)
    })
}
