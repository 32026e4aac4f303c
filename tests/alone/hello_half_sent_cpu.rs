//! Half a hello costs no CPU, whether silence or FIN follows it.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::alone;
use crate::support::client::{connect, hello};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::{Server, answer_hello, reset};
use crate::support::{SERVICE, cpu_time};

/// Asserts that next to no CPU time is used for a while.
#[track_caller]
fn idle(what: &str) {
    let (start, before) = (Instant::now(), cpu_time());
    std::thread::sleep(Duration::from_millis(700));
    let used = cpu_time().saturating_sub(before);
    // A task that spins uses all of the time.
    assert!(
        used < start.elapsed() / 4,
        "{used:?} of CPU time in {:?}: {what}",
        start.elapsed()
    );
}

#[test]
fn waiting_costs_no_cpu() {
    let _alone = alone();
    let (server, accepted) = Server::handing_over();
    let config = ConfigText::to(&[server.address]).top("workers: 1");
    let gateway = TestGateway::start(&config.listener("client_hello: { timeout: 60s }"));
    let wire = hello(SERVICE, &[]);
    let connected = || {
        let mut client = connect(gateway.address());
        client.write_all(&wire).unwrap();
        let mut upstream = accepted.recv().unwrap();
        answer_hello(&mut upstream, &mut client, wire.len());
        (client, upstream)
    };

    let mut half = connect(gateway.address());
    half.write_all(&wire[..wire.len() / 2]).unwrap();
    idle("half a hello, then silence");
    half.shutdown(Shutdown::Write).unwrap();
    idle("half a hello, then FIN");

    let (client, upstream) = connected();
    client.shutdown(Shutdown::Write).unwrap();
    idle("a half-closed relay");
    upstream.shutdown(Shutdown::Write).unwrap();

    let (mut client, mut upstream) = connected();
    let fill = |stream: &mut TcpStream| {
        stream.set_nonblocking(true).unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(500) {
            let _ = stream.write(&[0; 65_536]);
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    fill(&mut client);
    fill(&mut upstream);
    idle("both windows shut");
    upstream.shutdown(Shutdown::Write).unwrap();
    idle("both windows shut, and FIN from one side");
    reset(client);
    idle("both windows shut, and RST from the other");
    drop(upstream);

    let (client, upstream) = connected();
    upstream.shutdown(Shutdown::Write).unwrap();
    reset(client);
    idle("FIN from one side and RST from the other");
}
