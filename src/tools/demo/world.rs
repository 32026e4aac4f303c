//! The two clusters of the demo with their identities and pods, and the gateway between them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::sync::mpsc::{self, Receiver};
use tokio::time::{Duration, timeout};

use super::pod::{DemoPod, Visit};
use crate::app::{AccessLogSink, Gateway, Options};
use crate::config::Config;
use crate::tools::records::{self, LogLines};
use crate::tools::spiffe::tls::{ISTIO_HTTP, TlsEnd};
use crate::tools::spiffe::{IdentityError, Svid, TrustDomain};

/// The service that cluster B exports.
pub(super) const SERVICE: &str = "svcb.apps.svc.cluster.local";
/// The same service, in the spelling of Istio's clients for port 80.
pub(super) const OUTBOUND: &str = "outbound_.80_._.svcb.apps.svc.cluster.local";
/// A service that cluster B does not export.
pub(super) const NOT_EXPORTED: &str = "outbound_.80_._.billing.apps.svc.cluster.local";
/// A port of svcb that cluster B does not export.
pub(super) const WRONG_PORT: &str = "outbound_.8080_._.svcb.apps.svc.cluster.local";

/// The longest wait for a visit. A pod reports a visit before it answers.
const DEADLINE: Duration = Duration::from_secs(10);

/// The largest number of unread visits.
const VISITS: usize = 64;

/// Both clusters, and a third trust domain that is not federated.
pub(super) struct DemoClusters {
    alpha: TrustDomain,
    beta: TrustDomain,
    gamma: TrustDomain,
    /// The caller of cluster A.
    pub(super) svca: Svid,
    /// The pods' identity.
    pub(super) svcb: Svid,
    /// The pods of cluster B.
    pub(super) pods: Vec<DemoPod>,
    visits: Receiver<Visit>,
    /// The records of the gateway.
    pub(super) records: LogLines,
    gateway: Gateway,
    /// The config that the gateway runs with.
    pub(super) config: String,
    /// The address on which the gateway accepts traffic.
    pub(super) address: SocketAddr,
}

/// A caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// `spiffe://alpha.com/ns/apps/sa/svca`, which the pods allow.
    Alpha,
    /// The same namespace and account in the pods' own trust domain.
    Beta,
    /// The same again in a trust domain without federation.
    Gamma,
}

impl DemoClusters {
    /// Creates and starts everything on free loopback ports.
    ///
    /// # Errors
    /// A key could not be made, a port not bound, or the gateway did not start.
    pub(super) async fn create() -> io::Result<Self> {
        let identity = |name| TrustDomain::create(name).map_err(io::Error::other);
        let (alpha, beta) = (identity("alpha.com")?, identity("beta.com")?);
        let gamma = identity("gamma.com")?;
        let svca = alpha.issue("apps", "svca").map_err(io::Error::other)?;
        let svcb = beta.issue("apps", "svcb").map_err(io::Error::other)?;
        let (report, visits) = mpsc::channel(VISITS);
        let mut pods = Vec::new();
        for name in ["svcb-1", "svcb-2"] {
            let tls = pod_tls(&svcb, &alpha, &beta).map_err(io::Error::other)?;
            pods.push(DemoPod::start(name, tls, svca.id.clone(), report.clone()).await?);
        }
        let config = config(&pods);
        let (writer, records) = records::channel();
        let parsed = Config::parse(&config, "the demo's config").map_err(io::Error::other)?;
        let options = Options {
            access_log: AccessLogSink::Writer(Box::new(writer)),
            ..Options::default()
        };
        let gateway = Gateway::start(parsed, options)
            .await
            .map_err(io::Error::other)?;
        let listeners = gateway.listeners();
        let (_, address) = listeners.first().ok_or(io::ErrorKind::NotConnected)?;
        Ok(Self {
            address: *address,
            alpha,
            beta,
            gamma,
            svca,
            svcb,
            pods,
            visits,
            records,
            gateway,
            config,
        })
    }

    /// The TLS settings of `caller`: it trusts beta's bundle alone, and there svcb alone.
    ///
    /// # Errors
    /// A key could not be made.
    pub(super) fn caller_tls(
        &self,
        caller: Caller,
        alpn: &[&str],
    ) -> io::Result<Arc<ClientConfig>> {
        let svid = self.svid(caller).map_err(io::Error::other)?;
        self.client_of(TlsEnd::new(&svid, alpn))
    }

    /// The TLS settings of `end` as a caller.
    ///
    /// # Errors
    /// Its SVID cannot be used.
    pub(super) fn client_of(&self, end: TlsEnd<'_>) -> io::Result<Arc<ClientConfig>> {
        let tls = end.client(&self.beta.bundle(), &self.svcb.id);
        Ok(Arc::new(tls.map_err(io::Error::other)?))
    }

    fn svid(&self, caller: Caller) -> Result<Svid, IdentityError> {
        match caller {
            Caller::Alpha => Ok(self.svca.clone()),
            Caller::Beta => self.beta.issue("apps", "svca"),
            Caller::Gamma => self.gamma.issue("apps", "svca"),
        }
    }

    /// The next visit that a pod reports.
    ///
    /// # Errors
    /// No visit came in time.
    pub(super) async fn visit(&mut self) -> io::Result<Visit> {
        let visit = timeout(DEADLINE, self.visits.recv()).await?;
        visit.ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    /// The name of the pod at `address`.
    pub(super) fn pod_at(&self, address: Option<SocketAddr>) -> Option<&str> {
        let pod = self.pods.iter().find(|pod| Some(pod.address) == address)?;
        Some(pod.name())
    }

    /// The address of the gateway's metrics.
    pub(super) fn metrics(&self) -> Option<SocketAddr> {
        self.gateway.metrics()
    }

    /// The address of the gateway's admin page.
    pub(super) fn admin(&self) -> Option<SocketAddr> {
        self.gateway.admin()
    }

    /// The address of the gateway's readiness status.
    pub(super) fn status(&self) -> Option<SocketAddr> {
        self.gateway.status()
    }

    /// Renews every SVID, as SPIRE does at half of its lifetime.
    ///
    /// # Errors
    /// A key could not be made.
    pub(super) fn renew_svids(&mut self) -> Result<(), IdentityError> {
        self.svca = self.alpha.issue("apps", "svca")?;
        self.svcb = self.beta.issue("apps", "svcb")?;
        for pod in &self.pods {
            pod.renew(pod_tls(&self.svcb, &self.alpha, &self.beta)?);
        }
        Ok(())
    }

    /// Drops all visits and records that nobody has asked for.
    pub(super) fn forget(&mut self) {
        self.records.discard();
        while self.visits.try_recv().is_ok() {}
    }

    /// Stops the gateway and the pods.
    ///
    /// # Errors
    /// A thread of the gateway failed.
    pub(super) async fn stop(self) -> io::Result<()> {
        self.gateway.stop();
        self.gateway.finished().await
    }
}

/// The TLS settings of a pod. It accepts callers of its own trust domain and of the federated one.
fn pod_tls(
    svcb: &Svid,
    alpha: &TrustDomain,
    beta: &TrustDomain,
) -> Result<rustls::ServerConfig, IdentityError> {
    TlsEnd::new(svcb, ISTIO_HTTP).server(&[beta.bundle(), alpha.bundle()])
}

fn config(pods: &[DemoPod]) -> String {
    let endpoints: Vec<String> = pods
        .iter()
        .map(|pod| format!("\"{}\"", pod.address))
        .collect();
    format!(
        "\
listeners:
  - name: east-west
    bind: \"127.0.0.1:0\"              # in a cluster: \"[::]:15443\"
    routes:
      - service: {SERVICE}:80
        alpn: istio
        upstream: svcb
upstreams:
  svcb: {{ endpoints: [{}] }}
workers: 1
admin:   {{ bind: \"127.0.0.1:0\" }}
status:  {{ bind: \"127.0.0.1:0\" }}
metrics: {{ bind: \"127.0.0.1:0\" }}
",
        endpoints.join(", ")
    )
}
