//! Connections that have had their answer, or withhold the rest of their request, end by themselves.

use std::time::{Duration, Instant};

use strait::admin::{ServeLimits, admin_router, serve, serve_with, status_router};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::operator;
use crate::operator::http::Gateway;

const HEADER_TIMEOUT: Duration = Duration::from_millis(300);

fn limits() -> ServeLimits {
    ServeLimits {
        header_timeout: HEADER_TIMEOUT,
        ..ServeLimits::default()
    }
}

/// The bytes that the server sends until it closes `stream`.
async fn rest(stream: &mut TcpStream) -> String {
    let mut rest = String::new();
    timeout(operator::PATIENCE, stream.read_to_string(&mut rest))
        .await
        .expect("the server closes the connection")
        .unwrap();
    rest
}

#[tokio::test]
async fn a_kept_alive_connection_that_says_no_more_is_closed() {
    let gateway = Gateway::ready();
    let router = status_router(gateway.context.clone());
    let address = gateway.serve(router, limits()).await;
    let start = Instant::now();
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /healthz/live HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let answers = rest(&mut idle).await;
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    assert!(answers.starts_with("HTTP/1.1 200"), "{answers}");
    assert!(start.elapsed() >= HEADER_TIMEOUT);
}

#[tokio::test]
async fn a_body_that_never_comes_keeps_no_connection() {
    let gateway = Gateway::ready();
    let router = admin_router(gateway.context.clone());
    let address = gateway.serve(router, limits()).await;
    for framing in ["Content-Length: 1000000", "Transfer-Encoding: chunked"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("POST /drain HTTP/1.1\r\nHost: {address}\r\n{framing}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 202"), "{framing}: {answer}");
    }
}

#[tokio::test]
async fn the_default_limits_hold_a_slow_header_for_five_seconds() {
    let gateway = Gateway::ready();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = status_router(gateway.context.clone());
    tokio::spawn(serve(listener, router, gateway.watcher.clone()));
    let start = Instant::now();
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /healthz/live HTTP/1.1\r\nX-Slow: ")
        .await
        .unwrap();
    assert_eq!(rest(&mut slow).await, "");
    let held = start.elapsed();
    assert!(held >= Duration::from_secs(5), "{held:?}");
}

#[tokio::test]
async fn the_default_limits_allow_sixty_four_connections() {
    let gateway = Gateway::ready();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = status_router(gateway.context.clone());
    // One goes for its age, and none for its silence.
    let limits = ServeLimits {
        header_timeout: Duration::from_secs(3600),
        ..ServeLimits::default()
    };
    tokio::spawn(serve_with(
        listener,
        router,
        gateway.watcher.clone(),
        limits,
    ));
    let mut open = Vec::new();
    for _ in 0..65 {
        open.push(TcpStream::connect(address).await.unwrap());
    }
    let mut kept = open.split_off(1);
    assert_eq!(
        rest(&mut open[0]).await,
        "",
        "one too many: the oldest goes"
    );
    for stream in &mut kept {
        let ask = b"GET /healthz/live HTTP/1.0\r\n\r\n";
        stream.write_all(ask).await.unwrap();
        let answer = rest(stream).await;
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    }
}
