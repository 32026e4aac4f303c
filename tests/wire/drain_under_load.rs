//! Draining: not ready at once, still accepting for a while, then closed; quiet connections go
//! first, who waits for an answer gets it, busy ones may finish, and what is left at the deadline is cut and
//! says so.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::client::{connect, hello, open};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::{Server, read_exactly, read_to_eof, read_to_error};
use crate::support::{self, DEADLINE, SERVICE, wait_until};

fn gateway(drain: &str) -> (TestGateway, Server) {
    let echo = Server::echo();
    let config = ConfigText::to(&[echo.address]).top(&format!("drain: {drain}"));
    (TestGateway::start(&config), echo)
}

/// A connection with a round trip behind it.
fn opened(gateway: SocketAddr) -> TcpStream {
    let (mut client, length) = open(gateway);
    read_exactly(&mut client, length);
    client
}

fn ping(client: &mut TcpStream) {
    client.write_all(b"ping").unwrap();
    assert_eq!(read_exactly(client, 4), b"ping");
}

fn ready(gateway: &TestGateway) -> Option<u16> {
    gateway.health("/healthz/ready").map(|(status, _)| status)
}

fn accepts(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, DEADLINE).is_ok()
}

#[test]
fn not_ready_at_once_and_accepting_until_the_delay_is_over() {
    let (gateway, _echo) = gateway("{ readiness_delay: 5s, window: 60s }");
    assert_eq!(ready(&gateway), Some(200));
    // Keeps the process alive, and is busy, so that it is not among those to go first.
    let mut busy = opened(gateway.address());
    let start = Instant::now();
    gateway.drain();
    wait_until("it is not ready", || ready(&gateway) == Some(503));
    assert_eq!(gateway.health("/healthz/live").unwrap().0, 200);
    assert_eq!(gateway.metric("strait_draining", &[]), 1.0);
    if start.elapsed() < Duration::from_secs(1) {
        let mut late = opened(gateway.address());
        ping(&mut late);
    }
    wait_until("the listener closes", || {
        ping(&mut busy);
        !accepts(gateway.address())
    });
    assert!(start.elapsed() >= Duration::from_secs(5));
    ping(&mut busy);
    busy.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_eof(&mut busy), b"");
    drop(busy);
    let records = gateway.wait_finished();
    let ok = records.iter().filter(|record| record.outcome == "ok");
    assert!(ok.count() >= 1, "the busy one ended by itself: {records:?}");
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "it waits for nobody once the last connection is gone"
    );
}

#[test]
fn quiet_connections_go_first_and_busy_ones_finish() {
    const WINDOW: Duration = Duration::from_secs(16);
    let (gateway, _echo) = gateway("{ readiness_delay: 0s, window: 16s }");
    let quiet: Vec<TcpStream> = (0..20).map(|_| opened(gateway.address())).collect();
    let mut busy = opened(gateway.address());
    let busy_source = busy.local_addr().unwrap();
    // Longer than what counts as quiet.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        ping(&mut busy);
        std::thread::sleep(Duration::from_millis(20));
    }
    gateway.drain();
    let start = Instant::now();
    let mut ended = Vec::new();
    // The last of them end with the window, in which the busy one is to finish.
    while gateway.metric_or_zero("strait_connections_active") > 6.0 {
        ping(&mut busy);
        std::thread::sleep(Duration::from_millis(20));
        assert!(start.elapsed() < WINDOW, "quiet ones stay");
    }
    ping(&mut busy);
    busy.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_eof(&mut busy), b"");
    for mut client in quiet {
        let (got, error) = read_to_error(&mut client);
        assert_eq!(
            (got.len(), error),
            (0, None),
            "a quiet close is a clean one"
        );
        ended.push(client);
    }
    let records = gateway.wait_finished();
    assert_eq!(records.len(), 21);
    for record in records {
        let outcome = match record.source == busy_source {
            true => "ok",
            false => "drained",
        };
        assert_eq!(record.outcome, outcome);
    }
}

#[test]
fn quiet_ones_are_spread_over_the_window() {
    let (gateway, _echo) = gateway("{ readiness_delay: 0s, window: 4s }");
    let quiet: Vec<TcpStream> = (0..40).map(|_| opened(gateway.address())).collect();
    std::thread::sleep(Duration::from_millis(700));
    gateway.drain();
    let start = Instant::now();
    let mut closed_at = Vec::new();
    let waiting: Vec<_> = quiet
        .into_iter()
        .map(|mut client| {
            std::thread::spawn(move || {
                read_to_eof(&mut client);
                start.elapsed()
            })
        })
        .collect();
    for client in waiting {
        closed_at.push(client.join().unwrap());
    }
    closed_at.sort();
    // Not all at once: that would be a storm of reconnections.
    let spread = closed_at[closed_at.len() - 1] - closed_at[0];
    assert!(spread >= Duration::from_secs(1), "{closed_at:?}");
    let records = gateway.wait_finished();
    assert!(records.iter().all(|record| record.outcome == "drained"));
}

#[test]
fn who_waits_for_an_answer_gets_it() {
    const ANSWERS_AFTER: Duration = Duration::from_secs(3);
    let length = hello(SERVICE, &[]).len();
    let slow = Server::start(move |mut stream| {
        let greeting = read_exactly(&mut stream, length);
        stream.write_all(&greeting).unwrap();
        read_exactly(&mut stream, 3);
        std::thread::sleep(ANSWERS_AFTER);
        stream.write_all(b"answer").unwrap();
        read_to_eof(&mut stream);
    });
    let drain = "drain: { readiness_delay: 0s, window: 20s }";
    let gateway = TestGateway::start(&ConfigText::to(&[slow.address]).top(drain));
    let mut clients: Vec<TcpStream> = (0..20).map(|_| opened(gateway.address())).collect();
    let asked = Instant::now();
    for client in &mut clients {
        client.write_all(b"ask").unwrap();
    }
    gateway.drain();
    for client in &mut clients {
        assert_eq!(read_exactly(client, 6), b"answer");
    }
    assert!(asked.elapsed() >= ANSWERS_AFTER);
    for mut client in clients {
        client.shutdown(Shutdown::Write).unwrap();
        let (rest, error) = read_to_error(&mut client);
        assert_eq!((rest.len(), error), (0, None));
    }
    assert_eq!(gateway.wait_finished().len(), 20);
}

#[test]
fn what_is_still_busy_at_the_deadline_is_cut() {
    let (gateway, _echo) = gateway("{ readiness_delay: 0s, window: 1s }");
    let mut busy = opened(gateway.address());
    let mut half_a_hello = connect(gateway.address());
    half_a_hello.write_all(&hello(SERVICE, &[])[..50]).unwrap();
    let start = Instant::now();
    gateway.drain();
    // Busy until it is cut.
    while busy.write_all(b"x").is_ok() && matches!(busy.read(&mut [0]), Ok(1)) {
        assert!(start.elapsed() < DEADLINE, "it is never cut");
    }
    assert!(start.elapsed() >= Duration::from_secs(1));
    let records = gateway.wait_finished();
    assert_eq!(records.len(), 2);
    for record in records {
        assert_eq!(record.outcome, "drained");
        assert_eq!(record.ended_by.as_deref(), Some("gateway"));
    }
}

#[test]
fn a_stop_cuts_the_drain_short() {
    let (gateway, _echo) = gateway("{ readiness_delay: 60s, window: 60s }");
    let mut client = opened(gateway.address());
    gateway.drain();
    wait_until("it drains", || ready(&gateway) == Some(503));
    let start = Instant::now();
    drop(gateway);
    assert!(start.elapsed() < DEADLINE);
    let (_, error) = read_to_error(&mut client);
    assert_eq!(error, None);
}

#[test]
fn nothing_is_lost_when_the_listeners_close_under_load() {
    let (gateway, _echo) = gateway("{ readiness_delay: 500ms, window: 10s }");
    let address = gateway.address();
    let all_served = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let all_served = all_served.clone();
            std::thread::spawn(move || {
                let mut served = 0;
                let wire = hello(SERVICE, &[]);
                // Until the listener is closed: what connected must be served whole.
                while let Ok(mut client) = TcpStream::connect(address) {
                    support::server::with_deadlines(&client);
                    if client.write_all(&wire).is_err() {
                        return (served, 1);
                    }
                    let mut echoed = vec![0; wire.len()];
                    match client.read_exact(&mut echoed) {
                        Ok(()) => {
                            served += 1;
                            all_served.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(_) => return (served, 1),
                    }
                    let _ = client.shutdown(Shutdown::Write);
                    let _ = client.read(&mut [0]);
                }
                (served, 0)
            })
        })
        .collect();
    wait_until("calls are served", || {
        all_served.load(Ordering::Relaxed) > 20
    });
    gateway.drain();
    let (mut served, mut lost) = (0, 0);
    for caller in callers {
        let (its_served, its_lost) = caller.join().unwrap();
        served += its_served;
        lost += its_lost;
    }
    assert!(served > 20, "{served} served");
    // Between the last accept(2) and close(2) of a socket a connection may still slip in, which
    // the kernel resets
    // (`docs/src/internals/kernel.md#closing-a-listening-socket-resets-its-queue`): at most one a caller, and rarely that.
    assert!(lost <= 1, "{lost} lost of {served}");
    gateway.wait_finished();
}
