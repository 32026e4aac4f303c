//! The loop that serves one HTTP listener within limits.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Sleep;

use crate::drain::DrainWatcher;

/// Bytes of a request's line and headers.
const MAX_HEADER: usize = 16 * 1024;
/// Wait after a failed accept: what failed (EMFILE, ENOBUFS) fails again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Limits of one HTTP server.
#[derive(Debug, Clone, Copy)]
pub struct ServeLimits {
    /// Connections open at once, at least 1. One more closes the oldest, rather than waiting: who
    /// opens connections and says nothing must not keep a probe out.
    pub connections: usize,
    /// From the start of a connection, or from the last answer, to the end of the next request's
    /// headers.
    pub header_timeout: Duration,
    /// From the moment an answer finds the socket full until the last byte of it is taken.
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

/// Serves `router` within the default [`ServeLimits`] until everything is to stop.
pub async fn serve(listener: TcpListener, router: Router, stop: DrainWatcher) {
    serve_with(listener, router, stop, ServeLimits::default()).await;
}

/// Serves `router` within `limits` until everything is to stop; what is open then is cut. The
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
                Ok((stream, _)) => {
                    accepting = true;
                    connections.make_room(limits.connections);
                    connections.spawn(connection(stream, router.clone(), limits));
                }
                Err(error) => {
                    // Once, not ten times a second: the log would be the next thing to run full.
                    if std::mem::take(&mut accepting) {
                        tracing::warn!(%error, "accept failed on an admin server; trying again");
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
    by_age: VecDeque<AbortHandle>,
}

impl Connections {
    fn make_room(&mut self, limit: usize) {
        self.by_age.retain(|connection| !connection.is_finished());
        while self.by_age.len() >= limit.max(1) {
            if let Some(oldest) = self.by_age.pop_front() {
                oldest.abort();
            }
        }
    }

    fn spawn(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        self.by_age.push_back(self.tasks.spawn(connection));
    }
}

async fn connection(stream: TcpStream, router: Router, limits: ServeLimits) {
    // Without it a keep-alive client may wait 40 ms for the end of an answer.
    let _ = stream.set_nodelay(true);
    let stream = TimedWrites {
        stream,
        timeout: limits.write_timeout,
        deadline: None,
    };
    let result = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(MAX_HEADER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;
    if let Err(error) = result {
        tracing::debug!(%error, "connection of an admin server ended");
    }
}

/// A stream whose writes fail when the peer takes too long to take them.
struct TimedWrites {
    stream: TcpStream,
    timeout: Duration,
    /// Runs from the first write that did not fit until all was taken: bytes taken in between do
    /// not prolong it.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl TimedWrites {
    fn within_deadline<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            return written;
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
        self.within_deadline(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.within_deadline(cx, written)
    }

    /// Without it hyper would copy every body, and a copy outlives its place in `render`.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes only when it has nothing left to write.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.deadline = None;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
