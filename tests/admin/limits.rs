//! No client of the HTTP servers keeps another one out.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use strait::admin::{ServeLimits, admin_router, metrics_router, status_router};
use strait::metrics::SeriesKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::operator;
use crate::operator::http::{Gateway, ask_with, exchange, get};

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

/// Opens a connection from `from`, an address of this machine, asks for `path` and reads no more than
/// that the status is 200. The rest fits neither this socket's buffer nor the server's.
async fn slow_reader(from: u8, address: SocketAddr, path: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind(([127, 0, 0, from], 0).into()).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let ask = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    let read = timeout(PATIENCE, stream.read_exact(&mut status)).await;
    read.expect("an answer in time").unwrap();
    assert_eq!(&status, b"HTTP/1.1 200", "{path}");
    stream
}

/// Takes a little of its answer at a time, for ever; asks again when it is cut.
async fn slow_client(from: u8, address: SocketAddr, path: &'static str) {
    loop {
        let mut stream = slow_reader(from, address, path).await;
        let mut little = [0; 1024];
        while stream.read(&mut little).await.is_ok_and(|read| read > 0) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The time that a slow machine may take for one answer beside slow readers. Prometheus waits 10 s.
const PATIENCE: Duration = Duration::from_secs(60);

/// The whole body of `path`.
async fn scrape(address: SocketAddr, path: &str) -> String {
    let ask = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let answer = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = timeout(PATIENCE, answer).await.expect("an answer in time");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
    let length = format!("content-length: {}", body.len());
    assert!(head.contains(&length), "{path}: cut short: {head}");
    body.to_owned()
}

fn router(gateway: &Gateway) -> Router {
    metrics_router(gateway.context.clone()).merge(status_router(gateway.context.clone()))
}

#[tokio::test]
async fn slow_readers_keep_no_scraper_from_its_answer() {
    for (readers, addresses) in [(4, 1), (16, 8)] {
        let gateway = with_large_metrics();
        let limits = ServeLimits {
            write_timeout: Duration::from_secs(3600),
            ..ServeLimits::default()
        };
        let address = gateway.serve(router(&gateway), limits).await;
        let mut slow = JoinSet::new();
        for reader in 0..readers {
            let from = 1 + reader % addresses;
            slow.spawn(slow_client(from, address, "/metrics"));
        }
        for _ in 0..20 {
            let body = scrape(address, "/metrics").await;
            assert!(body.ends_with('\n') && body.len() > 1_000_000);
            assert_eq!(get(address, "/healthz/live").await.status, 200);
        }
        assert!(
            slow.try_join_next().is_none(),
            "every reader got its answers"
        );
    }
}

#[tokio::test]
async fn slow_readers_of_the_admin_server_keep_nobody_out() {
    let mut config = operator::config();
    let spire = config.upstreams["spire"].clone();
    for number in 0..300 {
        let name = format!("{number}-{}", "x".repeat(4000));
        config.upstreams.insert(name.into(), spire.clone());
    }
    let gateway = Gateway::new(config, operator::PATIENCE, None);
    let router = admin_router(gateway.context.clone());
    let limits = ServeLimits {
        write_timeout: Duration::from_secs(3600),
        ..ServeLimits::default()
    };
    let address = gateway.serve(router, limits).await;
    let mut slow = Vec::new();
    for path in ["/config_dump", "/upstreams", "/", "/config_dump", "/", "/"] {
        slow.push(slow_reader(1, address, path).await);
    }
    for path in ["/config_dump", "/upstreams", "/", "/logging"] {
        let answer = get(address, path).await;
        let expected = if path == "/logging" { 503 } else { 200 };
        assert_eq!(answer.status, expected, "{path}");
    }
    let ready = get(address, "/healthz/ready").await;
    assert!(ready.body.contains("upstream spire: no answer yet"));
}

#[tokio::test]
async fn slow_readers_in_every_place_give_way_to_a_scraper() {
    let gateway = with_large_metrics();
    let limits = ServeLimits {
        connections: 8,
        write_timeout: Duration::from_secs(3600),
        header_timeout: Duration::from_secs(3600),
    };
    let address = gateway.serve(router(&gateway), limits).await;
    let mut slow = Vec::new();
    for from in 10..18 {
        slow.push(slow_reader(from, address, "/metrics").await);
    }
    for _ in 0..3 {
        scrape(address, "/metrics").await;
    }
    let mut first = slow.swap_remove(0);
    closed(&mut first).await;
}

#[tokio::test]
async fn a_flood_from_one_address_takes_no_place_of_another() {
    let gateway = Gateway::ready();
    let limits = ServeLimits {
        connections: 4,
        header_timeout: Duration::from_secs(3600),
        ..ServeLimits::default()
    };
    let address = gateway.serve(router(&gateway), limits).await;
    let mut kept = TcpStream::connect(address).await.unwrap();
    let ask = b"GET /healthz/live HTTP/1.1\r\nHost: a\r\n\r\n";
    for _ in 0..3 {
        for _ in 0..50 {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
            let flood = socket.connect(address).await.unwrap();
            // Left open: the server closes it.
            tokio::spawn(async move { closed(&mut { flood }).await });
        }
        kept.write_all(ask).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"live\n") {
            let read = timeout(PATIENCE, kept.read_buf(&mut answer)).await;
            assert_ne!(read.expect("an answer").unwrap(), 0, "closed for the flood");
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "));
    }
}

#[tokio::test]
async fn a_scraper_that_does_not_read_is_cut() {
    let gateway = with_large_metrics();
    let limits = ServeLimits {
        write_timeout: Duration::from_millis(200),
        ..ServeLimits::default()
    };
    let address = gateway.serve(router(&gateway), limits).await;
    for path in ["/metrics", "/stats/prometheus"] {
        let mut stream = slow_reader(1, address, path).await;
        // Longer than the write timeout: to read at once would be to read fast.
        tokio::time::sleep(limits.write_timeout * 5).await;
        closed(&mut stream).await;
    }
}

/// Takes a part of its answer, pauses for longer than the write timeout, and takes the rest.
#[tokio::test]
async fn a_scraper_that_is_slow_and_goes_on_gets_the_whole_answer() {
    let gateway = with_large_metrics();
    let limits = ServeLimits {
        write_timeout: Duration::from_secs(2),
        ..ServeLimits::default()
    };
    let address = gateway.serve(router(&gateway), limits).await;
    let mut stream = slow_reader(1, address, "/metrics").await;
    let mut answer = vec![0; 1 << 20];
    let read = timeout(PATIENCE, stream.read_exact(&mut answer)).await;
    read.expect("the first part in time").unwrap();
    tokio::time::sleep(limits.write_timeout * 2).await;
    let text = String::from_utf8_lossy(&answer);
    let (head, _) = text.split_once("\r\n\r\n").unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length = head.len() + 4 + length.unwrap().parse::<usize>().unwrap();
    assert!(length > 2 * answer.len(), "{length}");
    while answer.len() < length {
        let read = timeout(PATIENCE, stream.read_buf(&mut answer)).await;
        let read = read.expect("the rest in time").unwrap();
        assert_ne!(read, 0, "cut after {} of {length}", answer.len());
    }
}

#[tokio::test]
async fn a_probe_is_not_delayed_by_a_large_scrape() {
    let gateway = with_large_metrics();
    let address = gateway
        .serve(router(&gateway), ServeLimits::default())
        .await;
    // A busy machine may hold this thread up during a scrape, though hardly during each.
    let mut most = 0;
    for _ in 0..20 {
        let scrape = tokio::spawn(async move { get(address, "/metrics").await });
        let mut probes = 0;
        while !scrape.is_finished() {
            assert_eq!(get(address, "/healthz/live").await.status, 200);
            probes += 1;
        }
        let scraped = scrape.await.unwrap();
        assert_eq!(scraped.status, 200);
        most = most.max(probes);
        // On the control thread itself each scrape would let one probe through, or two.
        if most > 5 {
            return;
        }
    }
    panic!("{most} probes during a scrape at the most");
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
