//! A pod of cluster B: an HTTP server behind mTLS that allows one caller by its SPIFFE ID.
//!
//! As in Istio, two separate decisions apply. The handshake authenticates the caller
//! (PeerAuthentication STRICT, the trust bundles). The policy then authorizes it (AuthorizationPolicy).
//! A stranger fails at the first with a TLS alert, a known identity without permission at the second
//! with a 403.

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

/// The largest request that the demo makes.
const MAX_REQUEST: usize = 8 * 1024;
/// The time that a refused caller has to read its alert.
const LINGER: Duration = Duration::from_secs(1);

/// A pod's decision about a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Verified, and allowed.
    Allowed(SpiffeId),
    /// Verified, and not allowed.
    Forbidden(SpiffeId),
    /// Not verified, for this reason.
    Unverified(String),
}

/// One connection, seen from the pod.
#[derive(Debug, Clone)]
pub struct Visit {
    /// The pod.
    pub pod: Arc<str>,
    /// The peer of the TCP connection: the gateway, never the caller.
    pub from: SocketAddr,
    /// The server name in the caller's hello.
    pub server_name: Option<String>,
    /// The pod's decision.
    pub verdict: Verdict,
}

/// The state that a pod serves connections with.
#[derive(Debug)]
struct DemoService {
    name: Arc<str>,
    allowed: SpiffeId,
    tls: ArcSwap<ServerConfig>,
    visits: Sender<Visit>,
}

/// A running pod. It stops when dropped.
#[derive(Debug)]
pub struct DemoPod {
    /// The address that it listens on.
    pub address: SocketAddr,
    service: Arc<DemoService>,
    task: JoinHandle<()>,
}

impl DemoPod {
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
        let service = Arc::new(DemoService {
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

    /// The pod's name.
    pub fn name(&self) -> &str {
        &self.service.name
    }

    /// Uses a renewed SVID for new connections.
    pub fn renew(&self, tls: ServerConfig) {
        self.service.tls.store(Arc::new(tls));
    }
}

impl Drop for DemoPod {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, service: Arc<DemoService>) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                tokio::spawn(serve(service.clone(), stream, from));
            }
            // For example no file descriptor is free. The next try may succeed.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn serve(service: Arc<DemoService>, stream: TcpStream, from: SocketAddr) {
    // A failure here costs time at most.
    let _ = stream.set_nodelay(true);
    let acceptor = TlsAcceptor::from(service.tls.load_full());
    match acceptor.accept(stream).into_fallible().await {
        Ok(mut stream) => {
            let verdict = service.verdict(&stream);
            let server_name = stream.get_ref().1.server_name().map(str::to_owned);
            let reply = service.reply(&verdict);
            service.report(from, server_name, verdict);
            // An error here means that the caller went away, which is not the pod's fault.
            let _ = answer(&mut stream, &reply).await;
        }
        Err((error, mut stream)) => {
            let reason = match peer_error(&error) {
                Some(refused) => refused.to_string(),
                None => error.to_string(),
            };
            service.report(from, None, Verdict::Unverified(reason));
            // The alert is written. Closing before the caller's bytes are read would send RST, which
            // could overtake the alert.
            let _ = stream.shutdown().await;
            let mut rest = tokio::io::sink();
            let _ = timeout(LINGER, tokio::io::copy(&mut stream, &mut rest)).await;
        }
    }
}

impl DemoService {
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
            // Envoy's reply for Istio's AuthorizationPolicy.
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
        // The channel is full or closed. A pod never waits for the reader of its visits.
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
