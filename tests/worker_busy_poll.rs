//! A worker that polls before it sleeps still serves everybody, and still sleeps.

mod support;

use std::io::Write;
use std::time::Duration;

use support::client::open;
use support::config_text::ConfigText;
use support::process::Process;
use support::server::{Server, read_exactly};

#[test]
fn a_worker_that_polls_serves_many_and_sleeps_when_nothing_flows() {
    let echo = Server::echo();
    let config = ConfigText::to(&[echo.address]).top("busy_poll: 1ms");
    let gateway = Process::start(&config.top("workers: 1"));
    let mut clients: Vec<_> = (0..8).map(|_| open(gateway.address)).collect();
    for (client, hello) in &mut clients {
        read_exactly(client, *hello);
    }
    for _ in 0..200 {
        for (client, _) in &mut clients {
            client.write_all(b"ping").unwrap();
        }
        for (client, _) in &mut clients {
            assert_eq!(read_exactly(client, 4), b"ping");
        }
    }
    let before = gateway.cpu_time();
    std::thread::sleep(Duration::from_secs(1));
    let spent = gateway.cpu_time() - before;
    assert!(spent < Duration::from_millis(300), "{spent:?} of a second");
}
