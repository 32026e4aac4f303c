//! The kernel's queue of connections that nobody has accepted yet, when it is full.

use std::net::TcpStream;
use std::time::Duration;

use crate::support::client::{hello, open};
use crate::support::config_text::ConfigText;
use crate::support::process::Process;
use crate::support::server::{Server, read_exactly};
use crate::support::{SERVICE, wait_until};

#[test]
fn a_queue_that_overflows_harms_only_those_who_find_it_full() {
    strait::socket::raise_file_limit();
    let echo = Server::echo();
    let gateway = Process::start(&ConfigText::to(&[echo.address]).top("workers: 1"));
    gateway.freeze();
    let patience = Duration::from_millis(300);
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&gateway.address, patience) {
        queued.push(stream);
        assert!(queued.len() < 20_000, "the queue never fills");
    }
    assert!(queued.len() > 100, "{}", queued.len());
    gateway.thaw();
    let left = queued.len();
    drop(queued);
    let (mut client, _) = open(gateway.address);
    read_exactly(&mut client, hello(SERVICE, &[]).len());
    drop(client);
    wait_until("each that was queued has an end", || {
        gateway.metric("strait_connections_closed_total", &[]) > left as f64
    });
    assert_eq!(gateway.closed("internal_error"), 0.0);
    assert!(gateway.closed("ok") >= 1.0);
}
