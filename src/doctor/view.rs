//! The view that a gateway has of itself, by its admin address.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::probe::{answered, connect};
use super::seen::GatewayView;
use crate::admin::overview::Overview;

/// The time for an answer. The gateway gives its workers two seconds.
pub(super) const ANSWER: Duration = Duration::from_secs(5);
/// The largest answer in bytes.
const MAX_ANSWER: usize = 8 << 20;
/// Rows of each table that are asked for.
const ROWS: usize = 100;

/// Asks a gateway.
///
/// # Errors
/// It cannot be reached, or its answer cannot be read.
pub(super) async fn ask(address: SocketAddr) -> Result<GatewayView, String> {
    let answer = timeout(ANSWER, Box::pin(ask_now(address))).await;
    answer.unwrap_or_else(|_| Err(format!("it does not answer in {} s", ANSWER.as_secs())))
}

async fn ask_now(address: SocketAddr) -> Result<GatewayView, String> {
    let stream = connect(address).await;
    let stream = stream.map_err(|_| "it takes no connection".to_owned())?;
    let failed = |error: hyper::Error| format!("it does not answer: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    let request = Request::get(format!("/status?rows={ROWS}")).header(HOST, address.to_string());
    let request = request
        .body(Body::empty())
        .map_err(|error| error.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("it answers by status {}", status.as_u16()));
        }
        let body = to_bytes(Body::new(response.into_body()), MAX_ANSWER).await;
        let body = body.map_err(|error| format!("its answer breaks off: {error}"))?;
        let overview: Overview = serde_json::from_slice(&body)
            .map_err(|error| format!("its answer is no overview of strait's: {error}"))?;
        Ok(GatewayView {
            troubles: overview.troubles.rows,
            failures: overview.failures.rows,
        })
    };
    Box::pin(answered(answer, connection)).await
}
