//! All hellos in progress share one budget: those that hold most give way to the next one.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use strait::client_hello::vectors::HelloBuilder;
use support::client::{connect, hello, large_hello};
use support::config_text::ConfigText;
use support::gateway::TestGateway;
use support::server::{Server, read_exactly, read_to_error};
use support::{SERVICE, wait_until};

/// Sends all of a large hello but its end, and waits until it is held.
fn hold(gateway: &TestGateway, wire: &[u8]) -> TcpStream {
    let before = gateway.metric_or_zero("strait_hello_memory_bytes");
    let mut client = connect(gateway.address());
    client.write_all(&wire[..wire.len() - 1]).unwrap();
    wait_until("the hello is held, or another one gave way", || {
        gateway.metric_or_zero("strait_hello_memory_bytes") != before
    });
    client
}

#[test]
fn the_largest_gives_way_and_small_ones_are_served() {
    let echo = Server::echo();
    let config = ConfigText::to(&[echo.address])
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

    let memory = gateway.metric_or_zero("strait_hello_memory_bytes");
    // One read more than the budget, for the moment until the largest has gone.
    assert!(memory <= f64::from(256 * 1024 + 64 * 1024), "{memory}");
    let closed = gateway.closed("overloaded");
    let mut alive = 0.0;
    for mut client in held {
        client.set_nonblocking(true).unwrap();
        let mut byte = [0; 1];
        let waits = client
            .read(&mut byte)
            .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        alive += f64::from(u8::from(waits));
    }
    assert!(alive >= 1.0, "the budget is there to be used");
    assert!(alive + closed >= 6.0, "{alive} wait, {closed} were closed");
    wait_until("all memory is given back", || {
        gateway.metric_or_zero("strait_hello_memory_bytes") == 0.0
    });
}

/// Hellos spread over the workers; the one to give way is not always the asking worker's.
#[test]
fn the_largest_of_all_workers_gives_way() {
    let echo = Server::echo();
    let config = ConfigText::to(&[echo.address])
        .top("workers: 4")
        .top("limits: { hello_memory: 256KiB }");
    let gateway = TestGateway::start(&config);
    // In records of one byte, 30,000 bytes of message are held as 210,000.
    let padded = HelloBuilder::tls13().server_name(SERVICE).padding(30_000);
    let mut largest = hold(&gateway, &padded.wire_in_records_of(1));

    let small = large_hello(SERVICE, 8000);
    let (most, last) = small.split_at(small.len() - 1);
    let waiting: Vec<TcpStream> = (0..24)
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
