//! The connection to the collector: one request at a time, made again while its time allows.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use hickory_resolver::{ResolverBuilder, TokioResolver};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

use crate::config::{OtlpConfig, OtlpEndpoint};
use crate::socket;

/// The pauses before a request is made again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Addresses of a name that are tried.
const MAX_ADDRESSES: usize = 8;
/// The largest answer in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// The collector.
pub(super) struct Collector {
    runtime: Runtime,
    endpoint: OtlpEndpoint,
    timeout: Duration,
    sender: Option<SendRequest<Body>>,
}

/// The reason why a request has failed.
enum NotTaken {
    /// Another attempt may succeed.
    Now(String),
    /// The collector does not want the batch.
    Ever(String),
}

impl Collector {
    pub(super) fn new(config: &OtlpConfig) -> io::Result<Self> {
        Ok(Self {
            runtime: Builder::new_current_thread().enable_all().build()?,
            endpoint: config.endpoint.clone(),
            timeout: config.timeout,
            sender: None,
        })
    }

    pub(super) fn url(&self) -> String {
        self.endpoint.to_string()
    }

    /// Sends a request. Returns the number of records that the collector has rejected.
    ///
    /// # Errors
    /// The collector does not take it in time, or not at all.
    pub(super) fn send(&mut self, body: &[u8]) -> Result<u64, String> {
        let Self {
            runtime,
            endpoint,
            timeout: time,
            sender,
        } = self;
        let body = Bytes::copy_from_slice(body);
        let mut last = String::new();
        let attempts = async {
            let mut pause = FIRST_PAUSE;
            loop {
                match attempt(endpoint, sender, *time, body.clone()).await {
                    Ok(rejected) => return Ok(rejected),
                    Err(NotTaken::Ever(reason)) => return Err(reason),
                    Err(NotTaken::Now(reason)) => last = reason,
                }
                *sender = None;
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        };
        let result = runtime.block_on(async { timeout(*time, attempts).await });
        result.unwrap_or_else(|_| {
            *sender = None;
            Err(match last.is_empty() {
                true => "no answer in time".to_owned(),
                false => last,
            })
        })
    }
}

async fn attempt(
    endpoint: &OtlpEndpoint,
    sender: &mut Option<SendRequest<Body>>,
    time: Duration,
    body: Bytes,
) -> Result<u64, NotTaken> {
    let now = |error: &dyn std::error::Error| NotTaken::Now(in_words(error));
    let kept = match sender.take() {
        Some(mut kept) => kept.ready().await.is_ok().then_some(kept),
        None => None,
    };
    let mut connected = match kept {
        Some(kept) => kept,
        None => {
            let addresses = addresses(endpoint).await.map_err(NotTaken::Now)?;
            connect(addresses, time).await.map_err(NotTaken::Now)?
        }
    };
    let request = Request::builder()
        .method(Method::POST)
        .uri(&*endpoint.path)
        .header(HOST, endpoint.authority())
        .header(CONTENT_TYPE, "application/json")
        .body(Body::from(body));
    let request = request.map_err(|error| NotTaken::Ever(in_words(&error)))?;
    let answer = connected.send_request(request).await;
    let answer = answer.map_err(|error| now(&error))?;
    let status = answer.status();
    let text = to_bytes(Body::new(answer.into_body()), MAX_ANSWER).await;
    let text = text.map_err(|error| now(&error))?;
    *sender = Some(connected);
    if status.is_success() {
        return Ok(rejected(&text));
    }
    let again = [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ];
    let mut reason = format!("the answer is {status}");
    let said = String::from_utf8_lossy(&text);
    let said: String = said.chars().take(200).collect();
    if !said.is_empty() {
        let _ = write!(reason, ": {said:?}");
    }
    Err(match again.contains(&status) {
        true => NotTaken::Now(reason),
        false => NotTaken::Ever(reason),
    })
}

/// An error with its causes.
fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(words, ": {error}");
        cause = error.source();
    }
    words
}

/// Records that a collector which took the others has rejected.
fn rejected(answer: &[u8]) -> u64 {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    match &answer["partialSuccess"]["rejectedLogRecords"] {
        Value::String(text) => text.parse().unwrap_or(0),
        number => number.as_u64().unwrap_or(0),
    }
}

/// Connects to the first address that answers. `time` is that of all attempts together, of which no silent address may
/// take more than its part.
async fn connect(addresses: Vec<SocketAddr>, time: Duration) -> Result<SendRequest<Body>, String> {
    let mut last = "it has no address".to_owned();
    let parts = u32::try_from(addresses.len() + 1).unwrap_or(u32::MAX);
    for address in addresses {
        let connecting = async { socket::for_connecting(address)?.connect(address).await };
        let stream = match timeout(time / parts, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                last = format!("{address}: {}", in_words(&error));
                continue;
            }
            Err(_) => {
                last = format!("{address}: it takes no connection in time");
                continue;
            }
        };
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| in_words(&error))?;
        tokio::spawn(connection);
        return Ok(sender);
    }
    Err(last)
}

/// The addresses of the collector. Its name is the config's.
async fn addresses(endpoint: &OtlpEndpoint) -> Result<Vec<SocketAddr>, String> {
    if let Ok(ip) = endpoint.host.parse() {
        return Ok(vec![SocketAddr::new(ip, endpoint.port)]);
    }
    let resolver = TokioResolver::builder_tokio().and_then(ResolverBuilder::build);
    let resolver = resolver.map_err(|error| in_words(&error))?;
    let found = resolver.lookup_ip(&*endpoint.host).await;
    let found = found.map_err(|error| in_words(&error))?;
    Ok(found
        .iter()
        .take(MAX_ADDRESSES)
        .map(|ip| SocketAddr::new(ip, endpoint.port))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::net::TcpListener;

    use tokio::net::TcpSocket;

    #[tokio::test]
    async fn an_address_that_is_silent_leaves_time_for_the_next() {
        // A queue of connections that is full: the kernel answers no more of them.
        let silent = TcpSocket::new_v4().unwrap();
        silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let silent = silent.listen(0).unwrap();
        let full = silent.local_addr().unwrap();
        let mut held = Vec::new();
        let fill = async {
            for _ in 0..64 {
                held.push(TcpSocket::new_v4().unwrap().connect(full).await);
            }
        };
        assert!(timeout(Duration::from_millis(200), fill).await.is_err());
        let good = TcpListener::bind("127.0.0.1:0").unwrap();
        // A third of it goes to the silent one.
        let time = Duration::from_secs(12);
        let addresses = vec![full, good.local_addr().unwrap()];
        let connected = timeout(time, connect(addresses, time)).await;
        assert!(connected.is_ok_and(|connected| connected.is_ok()));
    }

    #[test]
    fn the_rejected_part_is_read_in_both_forms() {
        for (answer, count) in [
            (&b"{}"[..], 0),
            (b"", 0),
            (b"{\"partialSuccess\":{}}", 0),
            (
                b"{\"partialSuccess\":{\"rejectedLogRecords\":\"5\",\"errorMessage\":\"x\"}}",
                5,
            ),
            (b"{\"partialSuccess\":{\"rejectedLogRecords\":6}}", 6),
        ] {
            assert_eq!(rejected(answer), count);
        }
    }
}
