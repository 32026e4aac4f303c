//! The memory that a connection keeps of its hello is small, whatever the hello contains. An allocator
//! counts it for hellos of every kind, and the process's memory shows it for 2,000 of the worst.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use strait::client_hello::vectors::{HelloBuilder, vector_u8, vector_u16};

use crate::alone;
use crate::counting::held;
use crate::support::client::connect;
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::process::Process;
use crate::support::server::{Server, read_exactly};
use crate::support::{self, SERVICE, wait_until};

/// The most bytes that a connection may keep of its hello.
const KEPT: usize = 2048;
/// Connections of one hello at a time.
const CROWD: usize = 24;
/// The alert of a refused hello, record and all.
const ALERT: usize = 7;
/// A name that no route takes.
const NOWHERE: &str = "nowhere.example";

/// Reads what comes and answers nothing.
fn sink() -> Server {
    Server::start(|mut stream| {
        let mut buffer = [0; 4096];
        while stream.read(&mut buffer).is_ok_and(|length| length > 0) {}
    })
}

fn u16s(numbers: impl Iterator<Item = u16>) -> Vec<u8> {
    numbers.flat_map(u16::to_be_bytes).collect()
}

/// Everything of which a hello for `name` can hold many or much, each with as much of it as `size` bytes hold.
fn hellos(name: &str, size: usize) -> Vec<(&'static str, Vec<u8>)> {
    let count = |each: usize| size / each;
    let number = |index: usize| u16::try_from(index).unwrap();
    let base = || HelloBuilder::tls13().server_name(name);
    let bare = || HelloBuilder::bare(0x0303);
    let numbers = |from: usize| (from..from + count(2)).map(number);
    let long = vec![vec![b'p'; 255]; count(256).max(1)];
    let kinds = (256..256 + count(4)).map(number);
    let many = kinds.fold(bare(), |hello, kind| hello.extension(kind, []));
    let suites: Vec<u16> = numbers(0x1301).collect();
    let share = [0x00, 0x1d, 0x00, 0x01, 0x00];
    let hellos = vec![
        ("one-byte protocols", base().alpn(&vec![b"x"; count(2)])),
        (
            "protocols that are no text",
            base().alpn(&vec![[0xff]; count(2)]),
        ),
        ("two-byte protocols", base().alpn(&vec![b"xy"; count(3)])),
        ("long protocols", base().alpn(&long)),
        (
            "one long protocol that is no text",
            base().alpn(&[[0xff; 255]]),
        ),
        ("extensions", many.server_name(name)),
        ("cipher suites", base().cipher_suites(&suites)),
        (
            "groups",
            bare()
                .server_name(name)
                .extension(10, vector_u16(&u16s(numbers(0x0200)))),
        ),
        (
            "signature algorithms",
            bare()
                .server_name(name)
                .extension(13, vector_u16(&u16s(numbers(1)))),
        ),
        (
            "versions",
            bare()
                .server_name(name)
                .extension(43, vector_u8(&u16s((0..127).map(number)))),
        ),
        (
            "key shares",
            base().extension(51, vector_u16(&share.repeat(count(share.len())))),
        ),
        ("tickets", base().pre_shared_keys(count(40), 0)),
        ("padding", base().padding(size)),
    ];
    let wire = |(what, hello): (_, HelloBuilder)| (what, hello.wire());
    hellos.into_iter().map(wire).collect()
}

/// `CROWD` connections that have sent `wire`.
fn crowd(address: SocketAddr, wire: &[u8]) -> Vec<TcpStream> {
    let open = |_| {
        let mut client = connect(address);
        client.write_all(wire).unwrap();
        client
    };
    (0..CROWD).map(open).collect()
}

/// The bytes that the process holds, once that number no longer changes.
fn settled() -> usize {
    let mut before = usize::MAX;
    wait_until("the process holds the same for a while", || {
        std::thread::sleep(Duration::from_millis(50));
        let now = held();
        std::mem::replace(&mut before, now) == now
    });
    before
}

fn gateway_to(sink: &Server, access_log: &str) -> TestGateway {
    let config = ConfigText::to(&[sink.address]).top("workers: 1");
    TestGateway::start(&config.top(&format!("access_log: {access_log}")))
}

#[test]
fn a_routed_connection_keeps_little_of_its_hello() {
    let _alone = alone();
    let sink = sink();
    let gateway = gateway_to(&sink, "{ fingerprint: ja4 }");
    let delivered = || gateway.metric("strait_bytes_total", &[("direction", "to_upstream")]);
    let hold = |wire: &[u8]| {
        let expected = delivered() + (CROWD * wire.len()) as f64;
        let clients = crowd(gateway.address(), wire);
        wait_until("the hellos are delivered", || delivered() >= expected);
        clients
    };
    let left = || {
        // Lines that nobody takes are memory, too.
        (0..CROWD).for_each(|_| drop(gateway.record()));
        wait_until("the connections have ended", || {
            gateway.metric("strait_connections_active", &[]) == 0.0
        });
    };
    let usual = HelloBuilder::tls13().server_name(SERVICE).wire();
    let hellos = [hellos(SERVICE, 600), hellos(SERVICE, 60_000)].concat();
    // The first ones make what all of them share.
    drop(hold(&usual));
    left();
    let clients = hold(&usual);
    let ordinary = settled();
    drop(clients);
    left();
    for (what, wire) in &hellos {
        let clients = hold(wire);
        wait_until(&format!("a hello of {what} is forgotten"), || {
            held() <= ordinary + CROWD * KEPT
        });
        drop(clients);
        left();
    }
}

/// A refused connection waits for a moment until its alert has arrived.
#[test]
fn a_refused_connection_keeps_little_of_its_hello() {
    let _alone = alone();
    let sink = sink();
    // Lines that nobody takes are memory, too.
    let gateway = gateway_to(&sink, "{ fingerprint: ja4, refused_per_second: 0 }");
    let hold = |wire: &[u8]| {
        let mut clients = crowd(gateway.address(), wire);
        for client in &mut clients {
            read_exactly(client, ALERT);
        }
        clients
    };
    let usual = HelloBuilder::tls13().server_name(NOWHERE).wire();
    let hellos = hellos(NOWHERE, 60_000);
    drop(hold(&usual));
    settled();
    let clients = hold(&usual);
    let ordinary = held();
    drop(clients);
    for (what, wire) in &hellos {
        let clients = hold(wire);
        // The gateway lets go of them within a second; what is held now is held by most of them.
        let held_now = held();
        let most = ordinary + CROWD * KEPT;
        assert!(
            held_now <= most,
            "{what}: {held_now} bytes, more than {most}"
        );
        drop(clients);
    }
}

/// The resident memory of a process in bytes.
fn resident(process: &Process) -> usize {
    let bytes = process.metric("process_resident_memory_bytes", &[]);
    format!("{bytes:.0}").parse().unwrap()
}

#[test]
fn two_thousand_hellos_of_one_byte_protocols_take_no_memory() {
    const CONNECTIONS: usize = 2000;
    const EACH: usize = 4096;

    let _alone = alone();
    strait::socket::raise_file_limit();
    let grown = |hello: &HelloBuilder, connections: usize| {
        let (server, upstreams) = Server::handing_over();
        let config = ConfigText::to(&[server.address]).top("workers: 1");
        let gateway = Process::start(&config);
        let before = resident(&gateway);
        let wire = hello.wire();
        let mut held = Vec::new();
        for _ in 0..connections {
            let mut client = connect(gateway.address);
            client.write_all(&wire).unwrap();
            let mut upstream = upstreams.recv_timeout(support::DEADLINE).unwrap();
            read_exactly(&mut upstream, wire.len());
            held.push((client, upstream));
        }
        resident(&gateway).saturating_sub(before)
    };
    let ordinary = HelloBuilder::tls13().server_name(SERVICE);
    let ordinary = grown(&ordinary, CONNECTIONS / 8) * 8;
    let hostile = HelloBuilder::tls13().server_name(SERVICE);
    let hostile = grown(&hostile.alpn(&vec![b"x"; 30_000]), CONNECTIONS);
    assert!(
        hostile <= ordinary + CONNECTIONS * EACH,
        "{hostile} bytes, {ordinary} for ordinary hellos"
    );
}
