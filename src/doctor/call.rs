//! One call of a service with the SVID of a caller: a whole handshake, and a GET if the service speaks HTTP.

use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use super::file::{FederatedService, ServiceProtocol};
use super::probe::{
    BOTH_ANSWERS, CONNECT, LABEL, ProbeHello, TappedTls, alert_of, answered, shake_hands,
};
use super::seen::CallAnswer;

/// The time in which a server that refuses the SVID says so. With TLS 1.3 the handshake has ended for the client before
/// the server sees its certificate, and a request sent into the refusal could reset the connection and lose the alert.
pub(super) const REFUSAL: Duration = Duration::from_millis(500);
/// The start of an answer that is read.
const MAX_ANSWER: usize = 1024;
/// The answer of a sidecar whose policy does not let a caller in.
const DENIED: &[u8] = b"RBAC: access denied";

/// Calls a service by `hello`, which has an SVID.
pub(super) async fn call(
    address: SocketAddr,
    hello: ProbeHello<'_>,
    service: &FederatedService,
) -> CallAnswer {
    let began = Instant::now();
    let mut stream = match Box::pin(shake_hands(address, hello)).await {
        Ok((stream, _)) => stream,
        Err(failure) => {
            return match (failure.alert, failure.answer.shown()) {
                (Some(alert), Some(_)) => CallAnswer::Refused(alert),
                (None, Some(_)) => CallAnswer::Closed,
                (_, None) => CallAnswer::NoServer,
            };
        }
    };
    match timeout(REFUSAL, stream.read(&mut [0; 1])).await {
        Err(_) => {}
        Ok(Ok(0)) => return CallAnswer::Closed,
        Ok(Ok(_)) => return CallAnswer::Taken,
        Ok(Err(error)) => return refused(&error),
    }
    match service.protocol {
        ServiceProtocol::Tcp => CallAnswer::Taken,
        ServiceProtocol::Http => {
            let left = (CONNECT + BOTH_ANSWERS).saturating_sub(began.elapsed());
            let answer = timeout(left, Box::pin(request(stream, service))).await;
            answer.unwrap_or(CallAnswer::Silent)
        }
    }
}

async fn request(stream: TappedTls, service: &FederatedService) -> CallAnswer {
    let request = Request::get(&*service.path)
        .header(HOST, service.host.as_str())
        .header(USER_AGENT, LABEL);
    let Ok(request) = request.body(Body::empty()) else {
        return CallAnswer::NotAsked;
    };
    let (mut sender, connection) = match http1::handshake(TokioIo::new(stream)).await {
        Ok(both) => both,
        Err(error) => return refused(&error),
    };
    let answer = async {
        let response = match sender.send_request(request).await {
            Ok(response) => response,
            Err(error) => return refused(&error),
        };
        let status = response.status().as_u16();
        let denied = status == 403
            && to_bytes(Body::new(response.into_body()), MAX_ANSWER)
                .await
                .is_ok_and(|body| body.starts_with(DENIED));
        CallAnswer::Answered { status, denied }
    };
    Box::pin(answered(answer, connection)).await
}

fn refused(error: &(dyn Error + 'static)) -> CallAnswer {
    alert_of(error).map_or(CallAnswer::Closed, CallAnswer::Refused)
}
