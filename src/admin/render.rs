//! The renderer of answers that take long to write or to send.
//!
//! 10,000 routes make 8 MB of metrics and 93 ms of work
//! (`docs/src/internals/kernel.md#volume-of-metrics`). A blocking thread does the work, one answer at a
//! time, since collectors hold state while they are read.
//!
//! Readers that are slow or never read must not keep others from their answers, and must not take the
//! memory that traffic needs:
//!
//! - Readers that ask for the same thing before it is being written share one answer. So an answer is
//!   never older than its question, and many readers cost the memory of one.
//! - At most [`MAX_ANSWERS`] answers exist at once. One more waits until one of those has been sent or
//!   has had its time ([`LongAnswer::end`]), and then replaces it. A reader that reads at [`LEAST_RATE`] or
//!   faster is never cut off.
//! - A connection holds no more than [`CHUNK`] of an answer, so the memory of an answer that is taken
//!   away is free at once, even if its connections last longer.

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

/// The number of answers that may exist at once, including the one that is being written.
const MAX_ANSWERS: usize = 4;
/// The size of the pieces in which a connection gets an answer.
const CHUNK: usize = 64 * 1024;
/// The time after writing during which an answer is never taken away.
const LEAST_TIME: Duration = Duration::from_secs(1);
/// The rate, in bytes per second, at which a reader always gets the whole answer.
const LEAST_RATE: u64 = 4 << 20;

/// Writes the long answers of one server.
#[derive(Debug, Clone, Default)]
pub(super) struct Renderer(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Answers that are not being written yet, by topic.
    queued: Mutex<HashMap<&'static str, Written>>,
    /// Held while an answer waits for a free place and is written.
    turn: tokio::sync::Mutex<()>,
    /// Answers that are not sent completely.
    unsent: Mutex<Vec<Weak<LongAnswer>>>,
    one_is_sent: Arc<Notify>,
}

/// An answer once it is written, or an error if it could not be written.
type Written = watch::Receiver<Option<Result<Arc<LongAnswer>, NotWritten>>>;

#[derive(Debug, Clone, Copy)]
struct NotWritten;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Renderer {
    /// The answer that `write` writes, or 500 when it fails. `what` is the topic; requests for the same
    /// topic at the same time get the same answer.
    pub(super) async fn render(
        &self,
        what: &'static str,
        content_type: &'static str,
        write: impl FnOnce() -> Result<Vec<u8>, String> + Send + 'static,
    ) -> Response {
        Self::sending(content_type, self.queue(Some(what), write)).await
    }

    /// As [`Renderer::render`], for an answer that nobody else may share, since it depends on its question.
    pub(super) async fn render_alone(
        &self,
        content_type: &'static str,
        write: impl FnOnce() -> Result<Vec<u8>, String> + Send + 'static,
    ) -> Response {
        Self::sending(content_type, self.queue(None, write)).await
    }

    async fn sending(content_type: &'static str, mut written: Written) -> Response {
        let written = match written.wait_for(Option::is_some).await {
            Ok(written) => written.clone(),
            // The task that writes it ended early, with its runtime or by a panic.
            Err(_) => None,
        };
        let Some(Ok(answer)) = written else {
            // The error may name things that this reader must not see.
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

    /// The answer to come. Without a topic nobody shares it.
    fn queue(
        &self,
        what: Option<&'static str>,
        write: impl FnOnce() -> Result<Vec<u8>, String> + Send + 'static,
    ) -> Written {
        let mut queued = lock(&self.0.queued);
        if let Some(written) = what.and_then(|what| queued.get(what)) {
            return written.clone();
        }
        let (writer, written) = watch::channel(None);
        if let Some(what) = what {
            queued.insert(what, written.clone());
        }
        let inner = self.0.clone();
        // A task of its own: the first reader may disconnect while others wait for the same answer.
        tokio::spawn(async move {
            let _turn = inner.turn.lock().await;
            inner.make_place().await;
            if let Some(what) = what {
                lock(&inner.queued).remove(what);
            }
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
    ) -> Result<Arc<LongAnswer>, NotWritten> {
        let written = tokio::task::spawn_blocking(write).await;
        let body = match written.map_err(|error| error.to_string()) {
            Ok(Ok(body)) => body,
            Ok(Err(error)) | Err(error) => {
                tracing::error!(
                    error,
                    "strait could not write an answer of its HTTP servers"
                );
                return Err(NotWritten);
            }
        };
        let answer = Arc::new(LongAnswer {
            length: body.len(),
            end: Instant::now() + time_to_read(body.len()),
            body: Mutex::new(Some(body)),
            one_is_sent: self.one_is_sent.clone(),
        });
        lock(&self.unsent).push(Arc::downgrade(&answer));
        Ok(answer)
    }

    /// Waits until one more answer may exist. Only the holder of `turn` calls this.
    async fn make_place(&self) {
        while let Some(end) = self.place_or_wait(Instant::now()) {
            tokio::select! {
                () = self.one_is_sent.notified() => {}
                () = tokio::time::sleep_until(end) => {}
            }
        }
    }

    /// `None` when one more answer may exist; otherwise the time at which one can be taken away.
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
        tracing::debug!(
            "strait drops an answer that slow readers have not read, because another answer needs its place"
        );
        lock(&first.body).take();
        unsent.retain(|answer| !std::ptr::eq(answer.as_ptr(), Arc::as_ptr(&first)));
        None
    }
}

/// The time for which an answer stays available even when others wait.
fn time_to_read(length: usize) -> Duration {
    LEAST_TIME + time_of(length, LEAST_RATE)
}

/// An answer that is being sent to one or more readers.
struct LongAnswer {
    length: usize,
    /// The time from which it may be taken away.
    end: Instant,
    /// The bytes; `None` once they were taken away.
    body: Mutex<Option<Vec<u8>>>,
    one_is_sent: Arc<Notify>,
}

impl fmt::Debug for LongAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LongAnswer")
            .field("length", &self.length)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl Drop for LongAnswer {
    fn drop(&mut self) {
        self.one_is_sent.notify_one();
    }
}

/// The progress of one reader through an answer.
struct Sending {
    answer: Arc<LongAnswer>,
    sent: usize,
}

/// The error that ends a connection before the end of its answer.
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
        // A copy: a slice would keep the whole answer in memory.
        Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(chunk)))))
    }

    fn is_end_stream(&self) -> bool {
        self.sent >= self.answer.length
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.answer.length.saturating_sub(self.sent);
        // usize fits into u64 on every existing platform.
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

    /// The number of answers that are still in memory.
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
                // A reader that was cut off asks again.
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

    #[tokio::test(start_paused = true)]
    async fn an_answer_to_one_reader_is_not_shared_and_takes_a_place() {
        let renderer = Renderer::default();
        let alone = |text: &'static str| {
            renderer.render_alone("text/plain", move || Ok(text.as_bytes().to_vec()))
        };
        let (first, second) = tokio::join!(alone("a"), alone("bc"));
        assert_eq!(copies(&renderer), 2);
        assert_eq!(read(first).await.ok(), Some(1));
        assert_eq!(read(second).await.ok(), Some(2));
        let mut slow = Vec::new();
        for _ in 0..3 * MAX_ANSWERS {
            slow.push(alone("a").await);
            assert!(copies(&renderer) <= MAX_ANSWERS);
        }
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
