//! A pod of cluster B: an HTTP server behind mTLS that allows one caller by its SPIFFE ID.
//!
//! Two separate decisions, as in Istio: the handshake asks *who is it* (PeerAuthentication STRICT,
//! the trust bundles), the policy then asks *may it* (AuthorizationPolicy). A stranger fails the
//! first with a TLS alert, a known identity without permission the second with a 403.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::Sender;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::tools::spiffe::SpiffeId;
use crate::tools::spiffe::tls::{peer_error, verified_peer};

/// A request larger than this is no request of the demo.
const MAX_REQUEST: usize = 8 * 1024;
/// How long a refused caller may take to read its alert.
const LINGER: Duration = Duration::from_secs(1);

/// What a pod thought of a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Verified, and allowed.
    Allowed(SpiffeId),
    /// Verified, and not allowed.
    Forbidden(SpiffeId),
    /// Not verified; the reason.
    Unverified(String),
}

/// One connection as the pod saw it.
#[derive(Debug, Clone)]
pub struct Visit {
    /// The pod.
    pub pod: Arc<str>,
    /// The peer of the TCP connection: the gateway, never the caller.
    pub from: SocketAddr,
    /// The server name that the caller asked for.
    pub server_name: Option<String>,
    /// What the pod decided.
    pub verdict: Verdict,
}

/// What a pod needs to serve a connection.
#[derive(Debug)]
struct Service {
    name: Arc<str>,
    allowed: SpiffeId,
    tls: ArcSwap<ServerConfig>,
    visits: Sender<Visit>,
}

/// A running pod; stops when dropped.
#[derive(Debug)]
pub struct Pod {
    /// Where it listens.
    pub address: SocketAddr,
    service: Arc<Service>,
    task: JoinHandle<()>,
}

impl Pod {
    /// Starts a pod on a free loopback port. It reports every visit to `visits`.
    ///
    /// # Errors
    /// No port could be bound.
    pub async fn start(
        name: &str,
        tls: ServerConfig,
        allowed: SpiffeId,
        visits: Sender<Visit>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let service = Arc::new(Service {
            name: name.into(),
            allowed,
            tls: ArcSwap::from_pointee(tls),
            visits,
        });
        let task = tokio::spawn(accept(listener, service.clone()));
        Ok(Self {
            address,
            service,
            task,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.service.name
    }

    /// Takes a renewed SVID into use, for connections from now on.
    pub fn renew(&self, tls: ServerConfig) {
        self.service.tls.store(Arc::new(tls));
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, service: Arc<Service>) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                tokio::spawn(serve(service.clone(), stream, from));
            }
            // Out of descriptors, for instance: the next try may fare better.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn serve(service: Arc<Service>, stream: TcpStream, from: SocketAddr) {
    // Failing costs time at the most.
    let _ = stream.set_nodelay(true);
    let acceptor = TlsAcceptor::from(service.tls.load_full());
    match acceptor.accept(stream).into_fallible().await {
        Ok(mut stream) => {
            let verdict = service.verdict(&stream);
            let server_name = stream.get_ref().1.server_name().map(str::to_owned);
            let reply = service.reply(&verdict);
            service.report(from, server_name, verdict);
            // A caller that goes away in the middle is its own affair.
            let _ = answer(&mut stream, &reply).await;
        }
        Err((error, mut stream)) => {
            let reason = match peer_error(&error) {
                Some(refused) => refused.to_string(),
                None => error.to_string(),
            };
            service.report(from, None, Verdict::Unverified(reason));
            // The alert is written. Closing before the caller's bytes are read would send RST, which
            // could overtake it.
            let _ = stream.shutdown().await;
            let mut rest = tokio::io::sink();
            let _ = timeout(LINGER, tokio::io::copy(&mut stream, &mut rest)).await;
        }
    }
}

impl Service {
    fn verdict(&self, stream: &TlsStream<TcpStream>) -> Verdict {
        match verified_peer(stream.get_ref().1) {
            Some(caller) if caller == self.allowed => Verdict::Allowed(caller),
            Some(caller) => Verdict::Forbidden(caller),
            None => Verdict::Unverified("no client certificate".to_owned()),
        }
    }

    fn reply(&self, verdict: &Verdict) -> String {
        let (status, body) = match verdict {
            Verdict::Allowed(caller) => {
                ("200 OK", format!("hello {caller}, this is {}", self.name))
            }
            // What Envoy answers for Istio's AuthorizationPolicy.
            Verdict::Forbidden(_) | Verdict::Unverified(_) => {
                ("403 Forbidden", "RBAC: access denied".to_owned())
            }
        };
        let length = body.len();
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    }

    fn report(&self, from: SocketAddr, server_name: Option<String>, verdict: Verdict) {
        // Full, or nobody listens any more: a pod does not wait for its audience.
        let _ = self.visits.try_send(Visit {
            pod: self.name.clone(),
            from,
            server_name,
            verdict,
        });
    }
}

/// Answers every request with `reply` until the caller closes.
async fn answer(stream: &mut TlsStream<TcpStream>, reply: &str) -> io::Result<()> {
    let mut request = Vec::new();
    while request.len() < MAX_REQUEST && stream.read_buf(&mut request).await? > 0 {
        if request.ends_with(b"\r\n\r\n") {
            request.clear();
            stream.write_all(reply.as_bytes()).await?;
            stream.flush().await?;
        }
    }
    stream.shutdown().await
}
