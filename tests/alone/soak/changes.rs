//! Changes of the config: routes, upstreams, endpoints and listeners come and go, and files that are no config.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::calls::{answered, connect, expect};
use super::report::Report;
use super::world::{STEADY, World, letter, marker, steady};
use crate::support::DEADLINE;
use crate::support::client::hello;
use crate::support::process::Process;
use crate::support::server::Server;

/// Changes the config once in each `period` until the report says stop.
pub(super) fn make(world: &World, report: &Report, period: Duration, process: &Process) {
    // Servers that no config has any more, with the round in which they left.
    let mut leaving: Vec<(usize, Server)> = Vec::new();
    let mut on_second = None;
    for round in 1.. {
        report.wait(period);
        if !report.goes_on() {
            return;
        }
        if round % 5 == 0 {
            refused(world, report, round, process);
            continue;
        }
        if round % 3 == 0 {
            let mut servers = world.steady.lock().unwrap();
            servers.push(steady());
            leaving.push((round, servers.remove(0)));
            report.change("endpoint replaced");
        }
        world.write(&world.config(round));
        if round % 2 == 0 {
            // Otherwise the change of the file is noticed.
            process.signal(Signal::HUP);
        }
        let in_force = until_routed(world.gateway, &marker(round));
        report.call("first call of a new route", in_force);
        report.change("config");
        leaving.retain(|(left, _)| left + 2 > round);
        second_listener(world, report, round, &mut on_second);
    }
}

/// Puts the first config into force again.
pub(super) fn undo(world: &World, report: &Report, process: &Process) {
    world.write(&world.config(0));
    process.signal(Signal::HUP);
    let in_force = until_routed(world.gateway, &marker(0));
    report.call("first call of a new route", in_force);
}

/// A call by `name`, which is repeated until the config that routes it is in force.
fn until_routed(gateway: SocketAddr, name: &str) -> io::Result<()> {
    let (begun, hello) = (Instant::now(), hello(name, &[]));
    loop {
        let call = connect(gateway).and_then(|mut stream| {
            stream.write_all(&hello)?;
            answered(&mut stream, letter(STEADY))
        });
        if call.is_ok() || begun.elapsed() > DEADLINE {
            return call;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A connection by the second listener lives on once that listener is gone.
fn second_listener(world: &World, report: &Report, round: usize, kept: &mut Option<TcpStream>) {
    if let Some(mut stream) = kept.take() {
        let ping = stream
            .write_all(b"ping")
            .and_then(|()| expect(&mut stream, b"ping"));
        report.call("ping on the second listener", ping);
        if !World::has_second(round) {
            report.change("listener removed");
            return;
        }
        *kept = Some(stream);
    } else if World::has_second(round) {
        let opened = connect(world.second).and_then(|mut stream| {
            stream.write_all(&world.hellos[STEADY])?;
            answered(&mut stream, letter(STEADY))?;
            *kept = Some(stream);
            Ok(())
        });
        report.call("call to the second listener", opened);
    }
}

/// A file that is no config leaves the old one in force.
fn refused(world: &World, report: &Report, round: usize, process: &Process) {
    let good = world.config(round);
    let text = match round / 5 % 4 {
        0 => good[..good.len() / 2].to_owned(),
        1 => String::new(),
        2 => format!("{good}unknown_key: 1\n"),
        _ => "listeners: [ {{{ not: YAML".to_owned(),
    };
    world.write(&text);
    process.signal(Signal::HUP);
    let begun = Instant::now();
    while process.metric("strait_config_current", &[]) != 0.0 {
        assert!(begun.elapsed() < DEADLINE, "the file is refused: {text}");
        std::thread::sleep(Duration::from_millis(20));
    }
    report.fault("config: refused");
}
