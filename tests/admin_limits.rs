//! No client of the HTTP servers keeps another one out.

mod operator;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use operator::http::{Gateway, ask_with, exchange, get};
use strait::admin::{ServeLimits, metrics_router, status_router};
use strait::metrics::SeriesKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Waits until the server has closed `stream`, which has said nothing more.
async fn closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let read = timeout(operator::PATIENCE, stream.read_to_end(&mut rest)).await;
    // A reset closes as well as an end does.
    let _ = read.expect("the server closes the connection");
}

#[tokio::test]
async fn headers_that_never_end_are_cut_and_hold_up_nobody() {
    let gateway = Gateway::ready();
    let limits = ServeLimits {
        header_timeout: Duration::from_millis(300),
        ..ServeLimits::default()
    };
    let address = gateway
        .serve(status_router(gateway.context.clone()), limits)
        .await;
    let start = Instant::now();
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /healthz/live HTTP/1.1\r\nX-Slow: ")
        .await
        .unwrap();
    let mut silent = TcpStream::connect(address).await.unwrap();
    assert_eq!(get(address, "/healthz/live").await.status, 200);
    closed(&mut slow).await;
    closed(&mut silent).await;
    assert!(start.elapsed() >= limits.header_timeout);
}

#[tokio::test]
async fn headers_that_are_too_large_are_refused() {
    let gateway = Gateway::ready();
    let router = status_router(gateway.context.clone());
    let address = gateway.serve(router, ServeLimits::default()).await;
    let large = format!("X-Large: {}\r\n", "x".repeat(64 * 1024));
    let request = format!("GET /healthz/live HTTP/1.1\r\nHost: a\r\n{large}\r\n");
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may close before it has read all of it.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    assert_eq!(get(address, "/healthz/live").await.status, 200);
}

#[tokio::test]
async fn a_connection_too_many_closes_the_oldest() {
    let gateway = Gateway::ready();
    let limits = ServeLimits {
        connections: 3,
        header_timeout: Duration::from_secs(3600),
        ..ServeLimits::default()
    };
    let address = gateway
        .serve(status_router(gateway.context.clone()), limits)
        .await;
    let mut idle = Vec::new();
    for _ in 0..3 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    assert_eq!(get(address, "/healthz/live").await.status, 200);
    closed(&mut idle[0]).await;
    // The place that the probe has left is the next one's: the others stay.
    let kept = idle.last_mut().unwrap();
    kept.write_all(b"GET /healthz/live HTTP/1.0\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    kept.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
}

#[tokio::test]
async fn a_kept_alive_connection_asks_again() {
    let gateway = Gateway::ready();
    let router = status_router(gateway.context.clone());
    let address = gateway.serve(router, ServeLimits::default()).await;
    let ask = "GET /healthz/ready HTTP/1.1\r\nHost: a\r\n";
    let answer = exchange(
        address,
        &format!("{ask}\r\n{ask}\r\n{ask}Connection: close\r\n\r\n"),
    )
    .await;
    let all = answer.head + &answer.body;
    assert_eq!(all.matches("HTTP/1.1 200 OK").count(), 3, "{all}");
}

/// Metrics whose text no socket buffer holds: long names, since a debug build takes a second to
/// write those of many routes.
fn with_large_metrics() -> Gateway {
    let gateway = Gateway::ready();
    let long = "x".repeat(2000);
    for route in 0..700 {
        let series = gateway.metrics.connections(SeriesKey {
            listener: "east-west".into(),
            route: format!("{route}-{long}").into(),
            upstream: "svcb".into(),
            source: "other".into(),
        });
        series.opened.inc();
    }
    gateway
}

/// Asks for metrics and reads no more than the status; `None` when it is not 200.
async fn slow_scraper(address: SocketAddr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut status = [0; 12];
    let read = timeout(operator::PATIENCE, stream.read_exact(&mut status)).await;
    read.expect("an answer in time").unwrap();
    (&status == b"HTTP/1.1 200").then_some(stream)
}

fn router(gateway: &Gateway) -> Router {
    metrics_router(gateway.context.clone()).merge(status_router(gateway.context.clone()))
}

#[tokio::test]
async fn slow_scrapers_hold_up_no_probe_and_cost_bounded_memory() {
    let gateway = with_large_metrics();
    let limits = ServeLimits {
        write_timeout: Duration::from_secs(3600),
        ..ServeLimits::default()
    };
    let address = gateway.serve(router(&gateway), limits).await;
    let mut slow = Vec::new();
    for _ in 0..4 {
        slow.push(slow_scraper(address).await.expect("a place"));
    }
    let refused = get(address, "/metrics").await;
    assert_eq!(refused.status, 503, "four answers exist already");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(get(address, "/healthz/live").await.status, 200);

    drop(slow);
    let again = async {
        while get(address, "/metrics").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(operator::PATIENCE, again)
        .await
        .expect("places come back when the scrapers go");
}

#[tokio::test]
async fn a_scraper_that_does_not_read_loses_its_place() {
    let gateway = with_large_metrics();
    let limits = ServeLimits {
        write_timeout: Duration::from_millis(200),
        ..ServeLimits::default()
    };
    let address = gateway.serve(router(&gateway), limits).await;
    let more_than_there_are_places = async {
        let mut slow = Vec::new();
        while slow.len() < 6 {
            slow.extend(slow_scraper(address).await);
        }
    };
    timeout(operator::PATIENCE, more_than_there_are_places)
        .await
        .expect("the write timeout frees places");
}

#[tokio::test]
async fn a_probe_is_not_delayed_by_a_large_scrape() {
    let gateway = with_large_metrics();
    let address = gateway
        .serve(router(&gateway), ServeLimits::default())
        .await;
    let scrape = tokio::spawn(async move { get(address, "/metrics").await });
    let mut probes = 0;
    while !scrape.is_finished() {
        assert_eq!(get(address, "/healthz/live").await.status, 200);
        probes += 1;
    }
    let scraped = scrape.await.unwrap();
    assert_eq!(scraped.status, 200);
    // On the control thread itself the scrape would have let one probe through, or two.
    assert!(probes > 5, "{probes} probes during a scrape");
}

#[tokio::test]
async fn both_metrics_paths_answer_to_any_host() {
    let gateway = Gateway::ready();
    let address = gateway
        .serve(router(&gateway), ServeLimits::default())
        .await;
    for path in ["/metrics", "/stats/prometheus"] {
        let answer = ask_with(address, "GET", path, "Host: strait.istio-system:15090\r\n").await;
        assert_eq!(answer.status, 200);
        let content_type = "text/plain; version=0.0.4; charset=utf-8";
        assert_eq!(answer.header("content-type"), Some(content_type));
        for line in [
            "strait_ready 1",
            "strait_upstream_endpoints{state=\"ready\",upstream=\"svcb\"} 2",
        ] {
            assert!(answer.body.lines().any(|l| l == line), "{line} in {path}");
        }
    }
}
