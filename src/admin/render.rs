//! Answers that take long to write, or to send.
//!
//! 10,000 routes make 8 MB of metrics and 93 ms of work
//! (`docs/src/internals/kernel.md#volume-of-metrics`). The work is done on a blocking thread, one
//! answer at a time, since collectors hold state while they are read.
//!
//! Readers that are slow, or that never read, must not keep others from their answers, nor cost the
//! memory that traffic needs:
//!
//! - Readers that ask for the same thing before anybody has begun to write it share one answer. So an
//!   answer is never older than its question, and many readers cost the memory of one.
//! - At most [`MAX_ANSWERS`] answers exist at once. When one more is asked for, it waits until one of
//!   those has been sent, or takes away the one that has had its time ([`Answer::end`]): a reader that
//!   takes [`LEAST_RATE`] or more is never cut.
//! - A connection holds no more than [`CHUNK`] of an answer, so an answer that is taken away is free at
//!   once, however long its connections last.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, SizeHint};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::standing::time_of;

/// Answers that may exist at once, the one that is being written included.
const MAX_ANSWERS: usize = 4;
/// An answer is given to a connection in pieces of this size.
const CHUNK: usize = 64 * 1024;
/// No answer is taken away sooner than this after it was written.
const LEAST_TIME: Duration = Duration::from_secs(1);
/// In bytes per second. Whoever reads at this rate gets the whole answer in any case.
const LEAST_RATE: u64 = 4 << 20;

/// Writes the long answers of one server.
#[derive(Debug, Clone, Default)]
pub(super) struct Renderer(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Answers that nobody has begun to write, by what they tell of.
    queued: Mutex<HashMap<&'static str, Written>>,
    /// Held while an answer waits for its place and is written.
    turn: tokio::sync::Mutex<()>,
    /// Answers of which something is still to be sent.
    unsent: Mutex<Vec<Weak<Answer>>>,
    one_is_sent: Arc<Notify>,
}

/// An answer, once it is written; an error when it could not be.
type Written = watch::Receiver<Option<Result<Arc<Answer>, NotWritten>>>;

#[derive(Debug, Clone, Copy)]
struct NotWritten;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Renderer {
    /// The answer that `write` writes, 500 when it fails. `what` says what the answer tells of; those
    /// who ask for the same at the same time get the same answer.
    pub(super) async fn render(
        &self,
        what: &'static str,
        content_type: &'static str,
        write: impl FnOnce() -> Result<Vec<u8>, String> + Send + 'static,
    ) -> Response {
        let mut written = self.queue(what, write);
        let written = match written.wait_for(Option::is_some).await {
            Ok(written) => written.clone(),
            // The task that writes it has gone, with its runtime or by a panic.
            Err(_) => None,
        };
        let Some(Ok(answer)) = written else {
            // The error may name what the answer tells of: not everybody who may ask may read that.
            let body = "the answer could not be written; the log says why\n";
            return (StatusCode::INTERNAL_SERVER_ERROR, body).into_response();
        };
        let mut response = Response::new(Body::new(Sending { answer, sent: 0 }));
        let content_type = HeaderValue::from_static(content_type);
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, content_type);
        response
    }

    fn queue(
        &self,
        what: &'static str,
        write: impl FnOnce() -> Result<Vec<u8>, String> + Send + 'static,
    ) -> Written {
        let mut queued = lock(&self.0.queued);
        if let Some(written) = queued.get(what) {
            return written.clone();
        }
        let (writer, written) = watch::channel(None);
        queued.insert(what, written.clone());
        let inner = self.0.clone();
        // A task of its own: the one who asked first may go while others wait for the same.
        tokio::spawn(async move {
            let _turn = inner.turn.lock().await;
            inner.make_place().await;
            lock(&inner.queued).remove(what);
            if !writer.is_closed() {
                writer.send_replace(Some(inner.write(write).await));
            }
        });
        written
    }
}

impl Inner {
    async fn write(
        &self,
        write: impl FnOnce() -> Result<Vec<u8>, String> + Send + 'static,
    ) -> Result<Arc<Answer>, NotWritten> {
        let written = tokio::task::spawn_blocking(write).await;
        let body = match written.map_err(|error| error.to_string()) {
            Ok(Ok(body)) => body,
            Ok(Err(error)) | Err(error) => {
                tracing::error!(error, "an answer could not be written");
                return Err(NotWritten);
            }
        };
        let answer = Arc::new(Answer {
            length: body.len(),
            end: Instant::now() + time_to_read(body.len()),
            body: Mutex::new(Some(body)),
            one_is_sent: self.one_is_sent.clone(),
        });
        lock(&self.unsent).push(Arc::downgrade(&answer));
        Ok(answer)
    }

    /// Waits until one more answer may exist. Only who holds the turn does so.
    async fn make_place(&self) {
        while let Some(end) = self.place_or_wait(Instant::now()) {
            tokio::select! {
                () = self.one_is_sent.notified() => {}
                () = tokio::time::sleep_until(end) => {}
            }
        }
    }

    /// `None` when one more answer may exist; else the moment at which one can be taken away.
    fn place_or_wait(&self, now: Instant) -> Option<Instant> {
        let mut unsent = lock(&self.unsent);
        unsent.retain(|answer| answer.strong_count() > 0);
        if unsent.len() < MAX_ANSWERS {
            return None;
        }
        let answers = unsent.iter().filter_map(Weak::upgrade);
        let first = answers.min_by_key(|answer| answer.end)?;
        if now < first.end {
            return Some(first.end);
        }
        tracing::debug!("an answer is taken away from slow readers to make place for another");
        lock(&first.body).take();
        unsent.retain(|answer| !std::ptr::eq(answer.as_ptr(), Arc::as_ptr(&first)));
        None
    }
}

/// How long an answer is there for its readers even when others wait.
fn time_to_read(length: usize) -> Duration {
    LEAST_TIME + time_of(length, LEAST_RATE)
}

/// An answer that is being sent, to one reader or to several.
struct Answer {
    length: usize,
    /// From then on it may be taken away.
    end: Instant,
    /// `None` once it was taken away.
    body: Mutex<Option<Vec<u8>>>,
    one_is_sent: Arc<Notify>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("length", &self.length)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.one_is_sent.notify_one();
    }
}

/// One reader's way through an answer.
struct Sending {
    answer: Arc<Answer>,
    sent: usize,
}

/// Cuts a connection short of its answer.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the answer was taken away: its reader is slow and others wait")]
struct TakenAway;

impl hyper::body::Body for Sending {
    type Data = Bytes;
    type Error = TakenAway;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TakenAway>>> {
        let this = self.get_mut();
        let body = lock(&this.answer.body);
        let Some(body) = &*body else {
            return Poll::Ready(Some(Err(TakenAway)));
        };
        let rest = body.get(this.sent..).unwrap_or_default();
        let chunk = rest.get(..CHUNK).unwrap_or(rest);
        if chunk.is_empty() {
            return Poll::Ready(None);
        }
        this.sent += chunk.len();
        // A copy: a slice of the whole would keep the whole.
        Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(chunk)))))
    }

    fn is_end_stream(&self) -> bool {
        self.sent >= self.answer.length
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.answer.length.saturating_sub(self.sent);
        // usize fits u64 on every platform that there is.
        SizeHint::with_exact(u64::try_from(rest).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use axum::body::to_bytes;
    use tokio::task::JoinSet;

    use super::*;

    const LENGTH: usize = 8 << 20;

    /// Answers whose bytes are there.
    fn copies(renderer: &Renderer) -> usize {
        let unsent = lock(&renderer.0.unsent);
        let answers = unsent.iter().filter_map(Weak::upgrade);
        answers.filter(|one| lock(&one.body).is_some()).count()
    }

    async fn ask(renderer: &Renderer) -> Response {
        let write = || Ok(vec![b'x'; LENGTH]);
        renderer.render("it", "text/plain", write).await
    }

    async fn read(response: Response) -> Result<usize, axum::Error> {
        let body = to_bytes(response.into_body(), usize::MAX).await;
        body.map(|body| body.len())
    }

    #[tokio::test(start_paused = true)]
    async fn readers_that_never_read_hold_up_nobody_and_cost_bounded_memory() {
        for readers in [4, 16, 64] {
            let renderer = Renderer::default();
            let mut slow = Vec::new();
            for _ in 0..readers {
                slow.push(ask(&renderer).await);
                assert!(copies(&renderer) <= MAX_ANSWERS);
            }
            for scrape in 0..20 {
                let start = Instant::now();
                let answer = ask(&renderer).await;
                let waited = start.elapsed();
                assert!(
                    waited < time_to_read(LENGTH) + LEAST_TIME,
                    "{scrape}: {waited:?}"
                );
                assert_eq!(answer.status(), StatusCode::OK);
                assert!(copies(&renderer) <= MAX_ANSWERS);
                assert_eq!(read(answer).await.ok(), Some(LENGTH));
                // Who was cut asks again.
                slow.push(ask(&renderer).await);
            }
            let cut = slow.remove(0);
            assert!(read(cut).await.is_err(), "cut short, not ended");
            drop(slow);
            assert_eq!(copies(&renderer), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_sent_makes_place_at_once() {
        let renderer = Renderer::default();
        let mut slow = Vec::new();
        for _ in 0..MAX_ANSWERS {
            slow.push(ask(&renderer).await);
        }
        let start = Instant::now();
        let last = slow.pop();
        let waiting = renderer.clone();
        let next = tokio::spawn(async move { read(ask(&waiting).await).await });
        tokio::task::yield_now().await;
        drop(last);
        assert_eq!(next.await.unwrap().ok(), Some(LENGTH));
        assert!(start.elapsed() < LEAST_TIME);
        for kept in slow {
            assert_eq!(read(kept).await.ok(), Some(LENGTH), "within its time");
        }
    }

    #[tokio::test]
    async fn those_who_ask_together_share_one_answer() {
        let renderer = Renderer::default();
        let written = Arc::new(AtomicUsize::new(0));
        let mut asked = JoinSet::new();
        for _ in 0..64 {
            let (renderer, written) = (renderer.clone(), written.clone());
            let write = move || {
                written.fetch_add(1, Ordering::SeqCst);
                Ok(b"it".to_vec())
            };
            asked.spawn(async move { renderer.render("it", "text/plain", write).await });
        }
        let answers = asked.join_all().await;
        assert_eq!(written.load(Ordering::SeqCst), 1);
        assert_eq!(copies(&renderer), 1);
        for answer in answers {
            assert_eq!(read(answer).await.ok(), Some(2));
        }
        assert_eq!(copies(&renderer), 0);
    }

    #[tokio::test]
    async fn an_answer_is_never_older_than_its_question() {
        let renderer = Renderer::default();
        let (begun, has_begun) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let first = {
            let renderer = renderer.clone();
            tokio::spawn(async move {
                let write = move || {
                    let _ = begun.send(());
                    let _ = may_go_on.recv();
                    Ok(b"old".to_vec())
                };
                read(renderer.render("it", "text/plain", write).await).await
            })
        };
        let has_begun = tokio::task::spawn_blocking(move || has_begun.recv());
        has_begun.await.unwrap().unwrap();
        let second = renderer.render("it", "text/plain", || Ok(b"newer".to_vec()));
        let second = async {
            let _ = go_on.send(());
            read(second.await).await
        };
        assert_eq!(second.await.ok(), Some(5));
        assert_eq!(first.await.unwrap().ok(), Some(3));
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_said_to_the_log_only() {
        let renderer = Renderer::default();
        let failing = renderer.render("it", "text/plain", || Err("upstream x".to_owned()));
        let answer = failing.await;
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        assert!(!body.windows(1).any(|window| window == b"x"), "{body:?}");
        let panics = renderer.render("it", "text/plain", || -> Result<Vec<u8>, String> {
            panic!("a defect")
        });
        let status = panics.await.status();
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(
            read(ask(&renderer).await).await.ok(),
            Some(LENGTH),
            "goes on"
        );
    }
}
