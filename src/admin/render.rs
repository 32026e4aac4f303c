//! Answers that take long to write, or to send.
//!
//! 10,000 routes make 8 MB of metrics and 93 ms of work
//! (`docs/src/internals/kernel.md#volume-of-metrics`). The work is done on
//! a blocking thread, one answer at a time, since collectors hold state while they are read; and
//! only a few answers exist at once, sent or not, since slow readers must not cost the memory that
//! traffic needs.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Answers that may exist at once, from the request to the last byte sent.
pub(super) const MAX_ANSWERS: usize = 4;

/// Writes the long answers of one server.
#[derive(Debug, Clone)]
pub(super) struct Renderer {
    places: Arc<Semaphore>,
    turn: Arc<Mutex<()>>,
}

impl Default for Renderer {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(MAX_ANSWERS)),
            turn: Arc::default(),
        }
    }
}

/// A body that keeps its place until the last of it is sent or its connection is gone.
struct Placed {
    body: Vec<u8>,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Placed {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Renderer {
    /// The answer that `write` writes, 503 when [`MAX_ANSWERS`] exist already, 500 when it fails.
    pub(super) async fn render(
        &self,
        content_type: &'static str,
        write: impl FnOnce() -> Result<Vec<u8>, String> + Send + 'static,
    ) -> Response {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            let body = "too many answers are being written or sent; try again\n";
            let retry = [(header::RETRY_AFTER, "1")];
            return (StatusCode::SERVICE_UNAVAILABLE, retry, body).into_response();
        };
        let turn = self.turn.clone();
        let written = tokio::task::spawn_blocking(move || {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            write()
        });
        match written.await {
            Ok(Ok(body)) => {
                let placed = Placed {
                    body,
                    _place: place,
                };
                let mut response = Response::new(Body::from(Bytes::from_owner(placed)));
                response
                    .headers_mut()
                    .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
                response
            }
            Ok(Err(error)) => failed(&error),
            Err(error) => failed(&error.to_string()),
        }
    }
}

fn failed(error: &str) -> Response {
    tracing::error!(error, "an answer could not be written");
    // The error may name what the answer is about: not everybody who may ask may read that.
    let body = "the answer could not be written; the log says why\n";
    (StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
}
