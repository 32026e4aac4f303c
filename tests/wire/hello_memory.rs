//! All hellos in progress share one budget: those that hold most give way to the next one.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use strait::client_hello::vectors::HelloBuilder;

use crate::support::client::{connect, hello, large_hello};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::process::Process;
use crate::support::server::{BlackHole, Server, read_exactly, read_to_error};
use crate::support::{SERVICE, wait_until};

/// No hello ends for its age, however busy the machine.
const PATIENT: &str = "client_hello: { timeout: 60s }";

/// Sends all of a large hello but its end, and waits until it is held.
fn hold(gateway: &TestGateway, wire: &[u8]) -> TcpStream {
    let now = || {
        let held = gateway.metric_or_zero("strait_hello_memory_bytes");
        (held, gateway.closed("overloaded"))
    };
    let before = now();
    let mut client = connect(gateway.address());
    client.write_all(&wire[..wire.len() - 1]).unwrap();
    wait_until("the hello is held, or another one gave way", || {
        now() != before
    });
    client
}

#[test]
fn the_largest_gives_way_and_small_ones_are_served() {
    let echo = Server::echo();
    let config = ConfigText::to(&[echo.address])
        .listener(PATIENT)
        .top("workers: 1")
        .top("limits: { hello_memory: 256KiB }");
    let gateway = TestGateway::start(&config);
    let large = large_hello(SERVICE, 50_000);
    let held: Vec<TcpStream> = (0..6).map(|_| hold(&gateway, &large)).collect();
    wait_until("the budget has closed some", || {
        gateway.closed("overloaded") >= 1.0
    });

    // In two pieces, so that it takes part in the budget.
    let small = hello(SERVICE, &[]);
    let (first, second) = small.split_at(small.len() / 2);
    let mut client = connect(gateway.address());
    client.write_all(first).unwrap();
    wait_until("the first piece is read", || {
        gateway.metric("strait_connections_accepted_total", &[]) >= 7.0
    });
    client.write_all(second).unwrap();
    assert_eq!(read_exactly(&mut client, small.len()), small);
    drop(client);

    let most = gateway.metric("strait_hello_memory_peak_bytes", &[]);
    assert!(most <= f64::from(256 * 1024), "{most}");
    let waits = |mut client: &TcpStream| {
        client.set_nonblocking(true).unwrap();
        let read = client.read(&mut [0; 1]);
        read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    let alive = || held.iter().filter(|client| waits(client)).count() as f64;
    wait_until("each waits or was closed", || {
        alive() + gateway.closed("overloaded") >= 6.0
    });
    assert!(alive() >= 1.0, "the budget is there to be used");
    drop(held);
    wait_until("all memory is given back", || {
        gateway.metric_or_zero("strait_hello_memory_bytes") == 0.0
    });
}

/// Hellos spread over the workers; the one to give way is not always the asking worker's.
#[test]
fn the_largest_of_all_workers_gives_way() {
    let echo = Server::echo();
    let config = ConfigText::to(&[echo.address])
        .listener(PATIENT)
        .top("workers: 4")
        .top("limits: { hello_memory: 256KiB }");
    let gateway = TestGateway::start(&config);
    // In records of one byte, 30,000 bytes of message are held as 210,000.
    let padded = HelloBuilder::tls13().server_name(SERVICE).padding(30_000);
    let mut largest = hold(&gateway, &padded.wire_in_records_of(1));

    let small = large_hello(SERVICE, 8000);
    let (most, last) = small.split_at(small.len() - 1);
    // Enough that the largest must go. Without it all fit, also if each takes twice its bytes because it came in
    // pieces.
    let waiting: Vec<TcpStream> = (0..12)
        .map(|_| {
            let mut client = connect(gateway.address());
            client.write_all(most).unwrap();
            client
        })
        .collect();
    assert_eq!(
        read_to_error(&mut largest).0,
        b"",
        "it is closed in silence"
    );
    wait_until("it has been counted", || {
        gateway.closed("overloaded") >= 1.0
    });
    for mut client in waiting {
        client.write_all(last).unwrap();
        assert_eq!(read_exactly(&mut client, small.len()), small);
    }
    assert_eq!(gateway.closed("overloaded"), 1.0);
}

/// The largest hello gives way to one of the others, and all others are ready in the same moment.
#[test]
fn what_is_ready_at_once_does_not_overdraw_the_budget() {
    const LIMIT: f64 = 1024.0 * 1024.0;

    let echo = Server::echo();
    let config = ConfigText::to(&[echo.address])
        .listener(PATIENT)
        .top("workers: 1")
        .top("limits: { hello_memory: 1MiB }");
    let gateway = Process::start(&config);
    let held = || gateway.metric("strait_hello_memory_bytes", &[]);
    let decoy = HelloBuilder::tls13().server_name(SERVICE).padding(52_000);
    let decoy = decoy.wire_in_records_of(1);
    let mut largest = connect(gateway.address);
    largest.write_all(&decoy[..decoy.len() - 1]).unwrap();
    wait_until("the largest is held", || held() >= decoy.len() as f64 - 1.0);

    let hello = HelloBuilder::tls13().server_name(SERVICE).padding(41_000);
    let wire = hello.wire();
    let mut clients: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut client = connect(gateway.address);
            client.write_all(&wire[..100]).unwrap();
            client
        })
        .collect();
    let before = decoy.len() as f64 + 300.0 * 100.0;
    wait_until("their first bytes are held", || held() >= before - 1.0);
    gateway.freeze();
    for client in &mut clients {
        client.write_all(&wire[100..40_100]).unwrap();
    }
    gateway.thaw();
    wait_until("the budget has closed most", || {
        gateway.closed("overloaded") >= 200.0
    });
    let most = gateway.metric("strait_hello_memory_peak_bytes", &[]);
    assert!(most <= LIMIT, "{most} bytes were held at one moment");
    assert!(
        most >= LIMIT / 2.0,
        "the budget is there to be used: {most}"
    );
}

#[test]
fn hellos_that_wait_for_a_dead_upstream_give_way() {
    let dead = BlackHole::dig();
    let upstream = format!("endpoints: ['{}']", dead.address);
    those_that_wait_give_way(&upstream, "");
}

#[test]
fn hellos_that_wait_for_the_first_answer_of_dns_give_way() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = silent.local_addr().unwrap();
    let resolver = format!("resolver: {{ servers: ['{server}'], timeout: 30s }}");
    those_that_wait_give_way("dns: 'dead.example:443'", &resolver);
}

fn those_that_wait_give_way(dead: &str, top: &str) {
    let echo = Server::echo();
    let config = ConfigText::verbatim(&format!(
        "listeners:\n  - name: east-west\n    bind: '127.0.0.1:0'\n    {PATIENT}\n    routes:\n      \
         - {{ sni: dead.example, alpn: any, upstream: dead }}\n      \
         - {{ sni: {SERVICE}, alpn: any, upstream: echo }}\n\
         upstreams:\n  dead: {{ {dead}, connect: {{ timeout: 30s }} }}\n  \
         echo: {{ endpoints: ['{}'] }}",
        echo.address
    ));
    let config = config
        .listener(PATIENT)
        .top("workers: 1")
        .top("limits: { hello_memory: 64KiB }")
        .top(top);
    let gateway = TestGateway::start(&config);
    let held = || gateway.metric("strait_hello_memory_bytes", &[]);
    // In two pieces: what comes in one is left in the socket.
    let in_pieces = |wire: &[u8]| {
        let before = held();
        let mut client = connect(gateway.address());
        client.write_all(&wire[..wire.len() / 2]).unwrap();
        wait_until("the first piece is read", || held() > before);
        client.write_all(&wire[wire.len() / 2..]).unwrap();
        client
    };
    let waiting = HelloBuilder::tls13()
        .server_name("dead.example")
        .padding(4000);
    let waiting: Vec<TcpStream> = (0..12).map(|_| in_pieces(&waiting.wire())).collect();
    wait_until("they use up most of the memory", || held() >= 40_000.0);
    // Longer than a connection that goes well takes.
    let since = Instant::now();
    wait_until("they wait for long", || {
        since.elapsed() > Duration::from_millis(400)
    });

    let hello = HelloBuilder::tls13().server_name(SERVICE).padding(30_000);
    let wire = hello.wire();
    let mut client = in_pieces(&wire);
    assert_eq!(read_exactly(&mut client, wire.len()), wire);
    assert!(
        gateway.closed("overloaded") >= 1.0,
        "those that wait give way"
    );
    let most = gateway.metric("strait_hello_memory_peak_bytes", &[]);
    assert!(most <= 65_536.0, "{most}");
    drop(waiting);
}
