//! Reloads that change where a listener is bound, on a port that it has already.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::support::client::{connect, hello, open};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::{ANSWER, Server, read_exactly};
use crate::support::{DEADLINE, SERVICE, wait_until};

/// A port that is free on every address, below those that the kernel gives to sockets of other tests meanwhile
/// (`net.ipv4.ip_local_port_range`).
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    let mut candidates = std::iter::repeat_with(|| first + NEXT.fetch_add(1, Ordering::Relaxed));
    let is_free = |ip: &str, port: u16| TcpListener::bind(format!("{ip}:{port}")).is_ok();
    let free = candidates.find(|port| is_free("0.0.0.0", *port) && is_free("[::]", *port));
    free.unwrap()
}

fn accepts(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, DEADLINE).is_ok()
}

fn call(address: SocketAddr) {
    let (mut client, length) = open(address);
    read_exactly(&mut client, length);
}

#[test]
fn a_bind_widens_and_narrows_on_its_port() {
    let echo = Server::echo();
    let port = free_port();
    let at = |ip: &str| format!("{ip}:{port}").parse::<SocketAddr>().unwrap();
    let config = |bind: &str| ConfigText::to(&[echo.address]).bind(at(bind));
    let (one, other) = (at("127.0.0.1"), at("127.0.0.2"));
    let gateway = TestGateway::start(&config("127.0.0.1"));
    call(one);
    let mut lasting = open(one);
    read_exactly(&mut lasting.0, lasting.1);
    for (bind, reaches_other) in [
        ("0.0.0.0", true),
        ("127.0.0.1", false),
        ("[::]", true),
        ("0.0.0.0", true),
        ("127.0.0.2", true),
        ("127.0.0.1", false),
    ] {
        gateway.reload(&config(bind)).unwrap();
        if bind != "127.0.0.2" {
            call(one);
        }
        if reaches_other {
            call(other);
        } else {
            wait_until("the other address is closed", || !accepts(other));
        }
    }
    lasting.0.write_all(b"still here").unwrap();
    assert_eq!(read_exactly(&mut lasting.0, 10), b"still here");
}

#[test]
fn a_wider_bind_does_not_share_the_port_with_a_stranger() {
    let echo = Server::echo();
    let port = free_port();
    let config = |ip: [u8; 4], port| {
        let bind = SocketAddr::from((ip, port));
        ConfigText::to(&[echo.address]).bind(bind)
    };
    let stranger = TcpListener::bind("127.0.0.3:0").unwrap();
    let taken = stranger.local_addr().unwrap().port();
    let gateway = TestGateway::start(&config([127, 0, 0, 1], port));
    let refused = gateway.reload(&config([0, 0, 0, 0], taken)).unwrap_err();
    assert!(refused.contains("in use"), "{refused}");
    call(SocketAddr::from(([127, 0, 0, 1], port)));
}

#[test]
fn two_listeners_swap_their_ports() {
    let echo = Server::echo();
    let ports = [free_port(), free_port()];
    let at = |ip: &str, port: u16| format!("{ip}:{port}");
    let config = |first: String, second: String| {
        let routes = format!("[{{ service: '{SERVICE}:80', alpn: any, upstream: svcb }}]");
        ConfigText::verbatim(&format!(
            "listeners:\n  - {{ name: first, bind: '{first}', routes: {routes} }}\n  \
             - {{ name: second, bind: '{second}', routes: {routes} }}\n\
             upstreams: {{ svcb: {{ endpoints: ['{}'] }} }}",
            echo.address
        ))
    };
    let local = "127.0.0.1";
    let gateway = TestGateway::start(&config(at(local, ports[0]), at(local, ports[1])));
    let listener_of = |port: u16| {
        call(SocketAddr::from(([127, 0, 0, 1], port)));
        gateway.record().listener
    };
    assert_eq!(listener_of(ports[0]), "first");
    let swapped = config(at(local, ports[1]), at(local, ports[0]));
    gateway.reload(&swapped).unwrap();
    assert_eq!(listener_of(ports[0]), "second");
    // And once more, each on other addresses than before.
    let wider = config(at("0.0.0.0", ports[0]), at("0.0.0.0", ports[1]));
    gateway.reload(&wider).unwrap();
    // The sockets of the narrower addresses close a moment later.
    wait_until("both have swapped", || {
        listener_of(ports[0]) == "first" && listener_of(ports[1]) == "second"
    });
}

/// The number of sockets that listen at an IPv4 address.
fn listening_sockets(address: SocketAddr) -> usize {
    let SocketAddr::V4(v4) = address else {
        panic!("{address} is not IPv4");
    };
    let ip = u32::from_ne_bytes(v4.ip().octets());
    let state = format!(": {ip:08X}:{:04X} 00000000:0000 0A ", v4.port());
    let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
    table.lines().filter(|line| line.contains(&state)).count()
}

#[test]
fn a_new_listener_serves_every_connection_when_the_file_has_another_number_of_workers() {
    let echo = Server::start(|mut stream| {
        read_exactly(&mut stream, hello(SERVICE, &[]).len());
        let _ = stream.write_all(&ANSWER);
    });
    let routes = format!("[{{ service: '{SERVICE}:80', alpn: any, upstream: svcb }}]");
    let config = |workers: usize, more: &str| {
        ConfigText::verbatim(&format!(
            "workers: {workers}\nlisteners:\n  - {{ name: first, bind: '127.0.0.1:0', routes: {routes} }}\n{more}\
             upstreams: {{ svcb: {{ endpoints: ['{}'] }} }}",
            echo.address
        ))
    };
    let gateway = TestGateway::start(&config(2, ""));
    for workers in [4, 1] {
        let name = format!("new-{workers}");
        let more = format!("  - {{ name: {name}, bind: '127.0.0.1:0', routes: {routes} }}\n");
        let listeners = gateway.reload(&config(workers, &more)).unwrap();
        let (_, address) = listeners.iter().find(|(one, _)| *one == name).unwrap();
        wait_until("each worker that runs listens, and no other", || {
            listening_sockets(*address) == 2
        });
        let wire = hello(SERVICE, &[]);
        let mut clients: Vec<TcpStream> = (0..40)
            .map(|_| {
                let mut client = connect(*address);
                client.write_all(&wire).unwrap();
                client
            })
            .collect();
        for client in &mut clients {
            assert_eq!(read_exactly(client, ANSWER.len()), ANSWER);
        }
    }
}
