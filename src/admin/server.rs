//! The accept loop and the limits of one HTTP server.

use std::convert::Infallible;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use hyper::Request;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, Sleep};

use super::standing::{self, Standing};
use super::undated;
use crate::clock;
use crate::drain::DrainWatcher;
use crate::socket;

/// The largest request line and headers, in bytes.
pub(super) const MAX_HEADER: usize = 16 * 1024;
/// The wait after a failed accept: the cause (EMFILE, ENOBUFS) would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The bytes that the kernel may hold for a slow reader. Without it the kernel would hold up to 4 MiB
/// for each.
const SEND_BUFFER: usize = 128 * 1024;

/// Limits of one HTTP server.
#[derive(Debug, Clone, Copy)]
pub struct ServeLimits {
    /// The number of connections open at once, at least 1. When one more comes, another one is closed:
    /// of the address with the most connections, the one that waits longest or reads slowest. So
    /// neither silent nor slow clients can keep a probe out.
    pub connections: usize,
    /// The time from the start of a connection, or from the last answer, to the end of the next
    /// request's headers.
    pub header_timeout: Duration,
    /// The time from the moment when the socket is full until all of the answer is taken.
    pub write_timeout: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            connections: 64,
            header_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(10),
        }
    }
}

/// Serves `router` within the default [`ServeLimits`] until the process stops.
pub async fn serve(listener: TcpListener, router: Router, stop: DrainWatcher) {
    serve_with(listener, router, stop, ServeLimits::default()).await;
}

/// Serves `router` within `limits` until the process stops, and then closes all connections. The
/// servers outlive the drain, so that it can be watched.
pub async fn serve_with(
    listener: TcpListener,
    router: Router,
    mut stop: DrainWatcher,
    limits: ServeLimits,
) {
    let mut connections = Connections::default();
    let mut accepting = true;
    loop {
        tokio::select! {
            () = stop.stopped() => return,
            Some(_) = connections.tasks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    accepting = true;
                    connections.free_a_place(limits.connections);
                    connections.serve(stream, peer, router.clone(), limits);
                }
                Err(error) => {
                    // Logged once, not ten times a second: the log could fill up next.
                    if std::mem::take(&mut accepting) {
                        tracing::warn!(%error, "an HTTP server of strait could not accept a connection; it tries again every 100 ms");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

/// The connections of one server, in the order in which they came.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    open: Vec<Open>,
}

struct Open {
    task: AbortHandle,
    source: IpAddr,
    standing: Standing,
}

impl Connections {
    fn free_a_place(&mut self, limit: usize) {
        self.open.retain(|one| !one.task.is_finished());
        while self.open.len() >= limit.max(1) {
            let uses = self.open.iter().map(|one| (one.source, &one.standing));
            let Some(worst) = standing::worst(uses, Instant::now()) else {
                return;
            };
            self.open.remove(worst).task.abort();
        }
    }

    fn serve(&mut self, stream: TcpStream, peer: SocketAddr, router: Router, limits: ServeLimits) {
        let standing = Standing::new();
        let served = connection(stream, router, limits, standing.clone());
        self.open.push(Open {
            task: self.tasks.spawn(served),
            source: standing::source(peer.ip()),
            standing,
        });
    }
}

async fn connection(stream: TcpStream, router: Router, limits: ServeLimits, standing: Standing) {
    // Without it, a keep-alive client may wait 40 ms for the end of an answer.
    let _ = stream.set_nodelay(true);
    // A failure costs memory, but no answer.
    let _ = socket::limit_send_buffer(&stream, SEND_BUFFER);
    if !clock::is_writable() {
        if let Err(error) = undated::serve(stream, router, limits).await {
            tracing::debug!(%error, "a connection to an HTTP server of strait ended");
        }
        return;
    }
    let stream = TimedWrites {
        stream,
        timeout: limits.write_timeout,
        deadline: None,
        standing: standing.clone(),
    };
    let app = TowerToHyperService::new(router);
    let service = service_fn(|request: Request<Incoming>| {
        standing.asked();
        let answer = app.call(request);
        let standing = standing.clone();
        async move {
            let answer = answer.await?;
            standing.answered();
            Ok::<_, Infallible>(answer.map(|body| Tracked { body, standing }))
        }
    });
    let result = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(MAX_HEADER)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = result {
        tracing::debug!(%error, "a connection to an HTTP server of strait ended");
    }
}

/// The body of an answer. It reports its end to the connection's [`Standing`].
struct Tracked {
    body: Body,
    standing: Standing,
}

impl hyper::body::Body for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Tracked {
    /// hyper drops a body as soon as it has all of it.
    fn drop(&mut self) {
        self.standing.has_whole_answer();
    }
}

/// A stream whose writes fail when the peer reads too slowly.
struct TimedWrites {
    stream: TcpStream,
    timeout: Duration,
    /// Runs from the first write that did not fit until all bytes are taken. Bytes taken in between do
    /// not prolong it.
    deadline: Option<Pin<Box<Sleep>>>,
    standing: Standing,
}

impl TimedWrites {
    fn taken(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = written {
            self.standing.took(*written.as_ref().unwrap_or(&0));
            return Poll::Ready(written);
        }
        let timeout = self.timeout;
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for TimedWrites {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for TimedWrites {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.taken(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.taken(cx, written)
    }

    /// Without this hyper would copy every body.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when it has nothing left to write: after an answer, and between two pieces of one.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.standing.flushed() {
            self.deadline = None;
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
