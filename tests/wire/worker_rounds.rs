//! The rounds that a worker counts, by which a probe knows that it lives.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::client::open;
use crate::support::config_text::ConfigText;
use crate::support::gateway::get;
use crate::support::process::Process;
use crate::support::server::{Server, read_exactly};
use crate::support::{noise, wait_until};

/// Sends messages of so many bytes back and forth until it is to stop.
fn call(gateway: &Process, length: usize, stop: &AtomicBool) {
    let (mut client, hello) = open(gateway.address);
    read_exactly(&mut client, hello);
    let message = noise(length, 7);
    let mut other = client.try_clone().unwrap();
    while !stop.load(Ordering::Relaxed) {
        thread::scope(|scope| {
            scope.spawn(|| other.write_all(&message).unwrap());
            read_exactly(&mut client, length);
        });
    }
}

/// Stops the callers, also when the test fails.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_worker_that_is_saturated_counts_its_rounds_and_is_live() {
    let echo = Server::echo();
    let gateway = Process::start(&ConfigText::to(&[echo.address]).top("workers: 1"));
    let stop = AtomicBool::new(false);
    let rounds = || gateway.metric("strait_worker_rounds_total", &[("worker", "0")]);
    let bytes = || gateway.metric("strait_bytes_total", &[]);
    thread::scope(|scope| {
        let _stops = Stops(&stop);
        for length in [4 << 20, 4 << 20, 4 << 20, 4 << 20, 64, 64, 4096] {
            let (gateway, stop) = (&gateway, &stop);
            scope.spawn(move || call(gateway, length, stop));
        }
        wait_until("much flows", || bytes() > 64e6);
        let before = rounds();
        wait_until("it counts rounds while it is saturated", || {
            rounds() >= before + 8.0
        });
        let (status, _) = get(gateway.server("status"), "/healthz/live").unwrap();
        assert_eq!(status, 200);
    });
}
