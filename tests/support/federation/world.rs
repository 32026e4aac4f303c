//! Two clusters on one machine as `config/federation/` has them: in each a SPIRE, a gateway, and the pod of one
//! service. SPIRE asks for the other's bundle by name, through the other's gateway, and sidecars get their secrets from
//! SPIRE.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use strait::tools::records::LogLine;
use strait::tools::spiffe::SpiffeId;

use super::app::App;
use super::names::{ClusterDns, pod_address};
use super::sidecar::{Connections, Inbound, Outbound, Sidecar};
use super::spire::{AN_HOUR, Spire};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;

/// The port of the pods' sidecars.
const POD_PORT: u16 = 8080;

/// In the config of beta's gateway: the address of alpha's bundle endpoint.
pub const ALPHAS_ENDPOINT: &str = "ALPHAS_ENDPOINT";

/// One cluster.
pub struct Side {
    pub spire: Spire,
    pub gateway: TestGateway,
    /// The application behind the service's sidecar.
    pub app: App,
    /// The service, and its account.
    pub service: &'static str,
    /// The address of the service's sidecar, which need not run.
    pub pod: SocketAddr,
    /// The lines of its gateway that were not asked for yet.
    lines: std::cell::RefCell<Vec<LogLine>>,
}

/// Both clusters. Fields drop in their order: those who call before those who are called.
pub struct World {
    pub alpha: Side,
    pub beta: Side,
    pub dns: ClusterDns,
}

impl World {
    /// Federated: each has the other's first bundle, and fetches it from now on.
    pub fn start() -> Self {
        let world = Self::apart();
        world.join();
        world
    }

    /// Not federated yet.
    pub fn apart() -> Self {
        Self::altered(str::to_owned)
    }

    /// Not federated yet; beta's gateway has another config.
    pub fn altered(alter: impl FnOnce(&str) -> String) -> Self {
        Self::planned("beta.com", &[], &[], alter)
    }

    /// Not federated yet; beta's trust domain has this name, both SPIREs these further arguments, and beta's gateway
    /// another config, in which [`ALPHAS_ENDPOINT`] stands for an address.
    pub fn planned(
        name: &str,
        alphas: &[&str],
        betas: &[&str],
        alter: impl FnOnce(&str) -> String,
    ) -> Self {
        let dns = ClusterDns::start();
        let alpha = Side::start("alpha.com", "svca", &dns, alphas, str::to_owned);
        let endpoint = alpha.spire.endpoint.to_string();
        let alter = |config: &str| alter(config).replace(ALPHAS_ENDPOINT, &endpoint);
        let beta = Side::start(name, "svcb", &dns, betas, alter);
        Self { alpha, beta, dns }
    }

    /// Federates both ways.
    pub fn join(&self) {
        for (one, other) in [(&self.alpha, &self.beta), (&self.beta, &self.alpha)] {
            one.spire.set_bundle_of(&other.spire);
            one.spire.federate(&other.spire, &other.bundle_url());
        }
        for side in [&self.alpha, &self.beta] {
            side.spire.until_polled();
        }
    }

    /// The other cluster.
    fn other(&self, side: &Side) -> &Side {
        match side.service {
            "svca" => &self.beta,
            _ => &self.alpha,
        }
    }

    /// The socket of a sidecar of the side's service, with an SVID for `ttl`, and the other's bundle.
    pub fn workload(&self, side: &Side, name: &str, ttl: &str) -> PathBuf {
        let other = &self.other(side).spire;
        side.spire.workload(name, &side.id(), ttl, &[other])
    }

    /// Starts the sidecar of the side's service, which takes calls.
    pub fn serve(&self, side: &Side) -> Sidecar {
        self.serve_with(side, AN_HOUR)
    }

    /// As [`World::serve`], with an SVID for `ttl`.
    pub fn serve_with(&self, side: &Side, ttl: &str) -> Sidecar {
        let socket = self.workload(side, "server", ttl);
        self.inbound(side).start_by_agent(&socket)
    }

    /// The sidecar of the side's service, which takes calls.
    pub fn inbound(&self, side: &Side) -> Inbound {
        let other = self.other(side);
        let account = |of: &Side| format!("{}/ns/apps/sa/{}", of.spire.trust_domain, of.service);
        Inbound {
            bind: side.pod,
            trust_domain: side.spire.trust_domain.clone(),
            foreign_trust_domains: vec![other.spire.trust_domain.clone()],
            principals: vec![account(other)],
            ..Inbound::to(side.app.address)
        }
    }

    /// Starts a sidecar of the side's service that calls the other's.
    pub fn caller(&self, side: &Side, connections: Connections) -> Sidecar {
        let socket = self.workload(side, "caller", AN_HOUR);
        self.outbound(side, connections).start_by_agent(&socket)
    }

    /// A sidecar of the side's service that calls the other's.
    pub fn outbound(&self, side: &Side, connections: Connections) -> Outbound {
        let to = self.other(side);
        Outbound {
            sni: to.server_name(),
            server: SpiffeId::parse(&to.id()).unwrap(),
            connections,
            ..Outbound::to(to.gateway.address())
        }
    }
}

impl Side {
    fn start(
        trust_domain: &str,
        service: &'static str,
        dns: &ClusterDns,
        more: &[&str],
        alter: impl FnOnce(&str) -> String,
    ) -> Self {
        let spire = Spire::start_with(trust_domain, dns.address(), more);
        let pod = SocketAddr::new(pod_address(), POD_PORT);
        let config = format!(
            "listeners:
  - name: east-west
    bind: 127.0.0.1:0
    routes:
      - {{ service: '{service}.apps.svc.cluster.local:80', alpn: istio, upstream: {service} }}
      - {{ sni: {}, alpn: any, upstream: spire }}
upstreams:
  {service}: {{ endpoints: ['{pod}'] }}
  spire: {{ endpoints: ['{}'] }}",
            bundle_name(trust_domain),
            spire.endpoint
        );
        let gateway = TestGateway::start(&ConfigText::verbatim(&alter(&config)));
        dns.set(
            &bundle_name(trust_domain),
            &[IpAddr::V4(Ipv4Addr::LOCALHOST)],
        );
        Self {
            app: App::start(service),
            spire,
            gateway,
            service,
            pod,
            lines: std::cell::RefCell::default(),
        }
    }

    /// The service's SPIFFE ID.
    pub fn id(&self) -> String {
        self.spire.account(self.service)
    }

    /// The server name of calls to the service.
    pub fn server_name(&self) -> String {
        format!("outbound_.80_._.{}.apps.svc.cluster.local", self.service)
    }

    /// The server name of its bundle endpoint.
    pub fn bundle_name(&self) -> String {
        bundle_name(&self.spire.trust_domain)
    }

    /// The URL of its bundle endpoint, for the other cluster.
    pub fn bundle_url(&self) -> String {
        let port = self.gateway.address().port();
        format!("https://{}:{port}", self.bundle_name())
    }

    /// The next line of its gateway about calls to its service.
    #[track_caller]
    pub fn call_line(&self) -> LogLine {
        self.line(&self.server_name())
    }

    /// The next line of its gateway about its bundle endpoint.
    #[track_caller]
    pub fn bundle_line(&self) -> LogLine {
        self.line(&self.bundle_name())
    }

    #[track_caller]
    fn line(&self, server_name: &str) -> LogLine {
        let mut lines = self.lines.borrow_mut();
        loop {
            let is_it = |line: &LogLine| line.server_name.as_deref() == Some(server_name);
            if let Some(at) = lines.iter().position(is_it) {
                return lines.remove(at);
            }
            lines.push(self.gateway.record());
        }
    }

    /// Number of open connections to its bundle endpoint.
    pub fn bundle_connections(&self) -> f64 {
        let labels = [("route", &*self.bundle_name())];
        self.gateway.metric("strait_connections_active", &labels)
    }
}

fn bundle_name(trust_domain: &str) -> String {
    format!("spire.bundles.{trust_domain}")
}

/// Asserts that a handshake failed over a certificate, and which side ended it, by the gateway's line.
#[track_caller]
pub fn assert_refused(line: &LogLine, by: &str) {
    assert_eq!(line.outcome, "handshake_refused", "{line:?}");
    assert_eq!(line.ended_by.as_deref(), Some(by), "{line:?}");
    let detail = line.detail.as_deref().unwrap_or_default();
    assert!(detail.contains("bundle"), "{line:?}");
}

/// Asserts that a connection whose client was ended from outside carried all that both sides had to say. The kernel
/// closes the connections of a process that ends, and resets those from which it has not read everything: the last
/// frames of a server may be such.
#[track_caller]
pub fn assert_whole(line: &LogLine) {
    let reset = line.outcome == "downstream_reset" && line.to_downstream > 0;
    assert!(line.outcome == "ok" || reset, "{line:?}");
}

/// A config whose upstream of that name leads elsewhere.
pub fn leading(config: &str, upstream: &str, to: &str) -> String {
    let start = format!("  {upstream}: {{");
    let (before, after) = config.split_once(&start).unwrap();
    let (_, after) = after.split_once('}').unwrap();
    format!("{before}{start} endpoints: ['{to}'] }}{after}")
}
