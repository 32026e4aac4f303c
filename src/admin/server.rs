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

use super::origin::PeerAddress;
use super::standing::{self, Standing, time_of};
use super::undated::{self, MAX_HEADER};
use crate::clock;
use crate::drain::DrainWatcher;
use crate::socket;

/// The wait after a failed accept: the cause (EMFILE, ENOBUFS) would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The bytes that the kernel may hold for a slow reader. Without it the kernel would hold up to 4 MiB
/// for each.
const SEND_BUFFER: usize = 128 * 1024;
/// The rate, in bytes per second, at which a reader is not cut before [`LONGEST_ANSWER`].
const LEAST_RATE: u64 = 64 * 1024;
/// The longest time of an answer, however its reader goes on.
const LONGEST_ANSWER: Duration = Duration::from_secs(300);

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
    /// The time that a reader has for an answer, from the moment when the socket is full. A second is added
    /// for every 64 KiB that it takes from then on, up to five minutes in all.
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
    let mut connections = OpenConnections::default();
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
struct OpenConnections {
    tasks: JoinSet<()>,
    open: Vec<Open>,
}

struct Open {
    task: AbortHandle,
    source: IpAddr,
    standing: Standing,
}

impl OpenConnections {
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
        let from = PeerAddress(peer.ip());
        let served = connection(stream, from, router, limits, standing.clone());
        self.open.push(Open {
            task: self.tasks.spawn(served),
            source: standing::source(peer.ip()),
            standing,
        });
    }
}

async fn connection(
    stream: TcpStream,
    from: PeerAddress,
    router: Router,
    limits: ServeLimits,
    standing: Standing,
) {
    // Without it, a keep-alive client may wait 40 ms for the end of an answer.
    let _ = stream.set_nodelay(true);
    // A failure costs memory, but no answer.
    let _ = socket::limit_send_buffer(&stream, SEND_BUFFER);
    let stream = TimedWrites {
        stream,
        timeout: limits.write_timeout,
        stuck: None,
        standing: standing.clone(),
    };
    if !clock::is_writable() {
        if let Err(error) = undated::serve(stream, from, router, limits.header_timeout).await {
            tracing::debug!(%error, "a connection to an HTTP server of strait ended");
        }
        return;
    }
    let app = TowerToHyperService::new(router);
    let service = service_fn(|mut request: Request<Incoming>| {
        standing.asked();
        request.extensions_mut().insert(from);
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
    /// The state from the first write that did not fit until the answer is out.
    stuck: Option<Stuck>,
    standing: Standing,
}

/// An answer that its reader has not taken yet.
struct Stuck {
    since: Instant,
    /// Bytes that the kernel has taken since then.
    taken: usize,
    /// Ends when the reader is cut.
    deadline: Pin<Box<Sleep>>,
}

impl Stuck {
    fn new() -> Self {
        let since = Instant::now();
        Self {
            since,
            taken: 0,
            deadline: Box::pin(tokio::time::sleep_until(since)),
        }
    }

    /// Ready once the reader has had its time.
    fn poll(&mut self, cx: &mut Context<'_>, timeout: Duration) -> Poll<()> {
        let end = self.since + time_of_reader(timeout, self.taken);
        if self.deadline.deadline() != end {
            self.deadline.as_mut().reset(end);
        }
        self.deadline.as_mut().poll(cx)
    }
}

/// The time of a reader that has taken so many bytes.
fn time_of_reader(timeout: Duration, taken: usize) -> Duration {
    let time = timeout.saturating_add(time_of(taken, LEAST_RATE));
    time.min(LONGEST_ANSWER.max(timeout))
}

impl TimedWrites {
    fn taken(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = written {
            let bytes = *written.as_ref().unwrap_or(&0);
            self.standing.took(bytes);
            if let Some(stuck) = &mut self.stuck {
                stuck.taken = stuck.taken.saturating_add(bytes);
            }
            return Poll::Ready(written);
        }
        let stuck = self.stuck.get_or_insert_with(Stuck::new);
        ready!(stuck.poll(cx, self.timeout));
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
            self.stuck = None;
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_has_time_for_what_it_takes_and_not_for_ever() {
        let seconds = Duration::from_secs;
        for (timeout, taken, time) in [
            (seconds(10), 0, seconds(10)),
            (seconds(10), 1000, seconds(10) + Duration::from_millis(15)),
            (seconds(10), 1 << 20, seconds(26)),
            (seconds(10), 100 << 20, seconds(300)),
            (seconds(10), usize::MAX, seconds(300)),
            (seconds(3600), 0, seconds(3600)),
            (seconds(3600), 1 << 20, seconds(3600)),
        ] {
            assert_eq!(time_of_reader(timeout, taken), time, "{timeout:?} {taken}");
        }
    }
}
