//! Reloads while connections come and go: none is lost, none goes astray, and what a reload takes
//! away ends only for those who come after it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::client::{connect, hello, open};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::{ANSWER, BlackHole, Server, read_exactly, read_to_eof, write_beside};
use crate::support::{self, DEADLINE, SERVICE, assert_same_bytes, noise};

/// A server that answers a hello with its letter and then sends back what comes.
fn lettered(letter: u8) -> Server {
    Server::start(move |mut stream| {
        let record = read_exactly(&mut stream, 5);
        let length = u16::from_be_bytes([record[3], record[4]]);
        read_exactly(&mut stream, length.into());
        // The client may be gone already; that is its test's business.
        let _ = stream.write_all(&[&ANSWER[..], &[letter]].concat());
        let mut reader = stream.try_clone().unwrap();
        let _ = std::io::copy(&mut reader, &mut stream);
        let _ = stream.shutdown(Shutdown::Write);
    })
}

/// Letters and the names that stand for them.
const NAMES: [(u8, &str); 2] = [(b'a', "a.example.com"), (b'b', "b.example.com")];

/// One config out of many: endpoints come and go, routes move about, and each name keeps its letter.
fn config(round: usize, servers: &[Vec<SocketAddr>; 2]) -> ConfigText {
    let endpoints = |side: usize| {
        let all = &servers[side];
        let some = match round % 3 {
            0 => &all[..1],
            1 => &all[1..],
            _ => &all[..],
        };
        let quoted: Vec<String> = some.iter().map(|address| format!("'{address}'")).collect();
        quoted.join(", ")
    };
    let mut routes = vec![
        "{ name: a, sni: a.example.com, alpn: any, upstream: a }".to_owned(),
        "{ name: b, sni: b.example.com, alpn: any, upstream: b }".to_owned(),
    ];
    if round.is_multiple_of(2) {
        // In the way, were it not that exact names win.
        routes.push("{ sni: '*.example.com', alpn: any, upstream: b }".to_owned());
    }
    routes.extend((0..round % 7).map(|extra| {
        let upstream = if extra % 2 == 0 { "a" } else { "b" };
        format!("{{ sni: x{extra}.example.org, alpn: any, upstream: {upstream} }}")
    }));
    routes.rotate_left(round % 2);
    ConfigText::verbatim(&format!(
        "listeners:\n  - name: east-west\n    bind: '127.0.0.1:0'\n    routes: [{}]\n\
         upstreams:\n  a: {{ endpoints: [{}] }}\n  b: {{ endpoints: [{}] }}",
        routes.join(", "),
        endpoints(0),
        endpoints(1)
    ))
}

/// The letter in the answer to a hello.
#[track_caller]
fn answer_of(client: &mut TcpStream) -> u8 {
    read_exactly(client, ANSWER.len() + 1)[ANSWER.len()]
}

/// Opens, is answered by the right letter, exchanges bytes, closes.
fn call(gateway: SocketAddr, (letter, name): (u8, &str), payload: &[u8]) {
    let mut client = connect(gateway);
    client.write_all(&hello(name, &[])).unwrap();
    assert_eq!(answer_of(&mut client), letter, "{name} went astray");
    client.write_all(payload).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_same_bytes(&read_to_eof(&mut client), payload);
}

#[test]
fn no_connection_is_lost_or_misrouted() {
    const LOAD: Duration = Duration::from_secs(3);
    const PERIOD: Duration = Duration::from_millis(50);
    let a = [lettered(b'a'), lettered(b'a')];
    let b = [lettered(b'b'), lettered(b'b')];
    let addresses = |servers: &[Server; 2]| servers.iter().map(|s| s.address).collect();
    let servers = [addresses(&a), addresses(&b)];
    let gateway = TestGateway::start(&config(0, &servers));
    let address = gateway.address();
    let stop = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..4usize)
        .map(|caller| {
            let (stop, calls) = (stop.clone(), calls.clone());
            std::thread::spawn(move || {
                let payload = noise(5_000, caller as u64);
                let mut number = caller;
                while !stop.load(Ordering::Relaxed) {
                    call(address, NAMES[number % 2], &payload);
                    calls.fetch_add(1, Ordering::Relaxed);
                    number += 1;
                }
            })
        })
        .collect();
    // One connection lives through all of it.
    let (letter, name) = NAMES[0];
    let mut long = connect(address);
    long.write_all(&hello(name, &[])).unwrap();
    assert_eq!(answer_of(&mut long), letter);
    let start = Instant::now();
    let mut reloads = 0;
    while start.elapsed() < LOAD || reloads < 10 || calls.load(Ordering::Relaxed) < 50 {
        assert!(start.elapsed() < 3 * DEADLINE, "calls hang");
        reloads += 1;
        gateway.reload(&config(reloads, &servers)).unwrap();
        let sent = noise(64 * 1024, reloads as u64);
        let writer = write_beside(&long, sent.clone());
        assert_same_bytes(&read_exactly(&mut long, sent.len()), &sent);
        writer.join().unwrap();
        std::thread::sleep(PERIOD);
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.join().unwrap();
    }
    drop(long);
    let calls = calls.load(Ordering::Relaxed);
    support::wait_until("all have ended", || {
        gateway.closed("ok") == (calls + 1) as f64
    });
    let loads = gateway.metric("strait_config_loads_total", &[("result", "success")]);
    assert_eq!(loads, (reloads + 1) as f64);
}

/// Two listeners, or the first of them alone, to the same server.
fn listeners(names: &[&str], endpoint: SocketAddr) -> ConfigText {
    let listeners: Vec<String> = names
        .iter()
        .map(|name| {
            format!(
                "  - name: {name}\n    bind: '127.0.0.1:0'\n    \
                 routes: [{{ service: '{SERVICE}:80', alpn: any, upstream: svcb }}]\n"
            )
        })
        .collect();
    ConfigText::verbatim(&format!(
        "listeners:\n{}upstreams:\n  svcb: {{ endpoints: ['{endpoint}'] }}",
        listeners.concat()
    ))
}

fn echoes(mut client: TcpStream) {
    client.write_all(b"echo").unwrap();
    assert_eq!(read_exactly(&mut client, 4), b"echo");
}

fn opened(address: SocketAddr) -> TcpStream {
    let (mut client, length) = open(address);
    read_exactly(&mut client, length);
    client
}

#[test]
fn a_listener_that_goes_leaves_its_connections_and_takes_no_more() {
    let echo = Server::echo();
    let one = listeners(&["first"], echo.address);
    let two = listeners(&["first", "second"], echo.address);
    let gateway = TestGateway::start(&one);
    let first = opened(gateway.address());
    let bound = gateway.reload(&two).unwrap();
    assert_eq!(
        bound[0].1,
        gateway.address(),
        "the first one stays where it is"
    );
    let second_address = bound[1].1;
    let second = opened(second_address);
    gateway.reload(&one).unwrap();
    support::wait_until("the second listener is closed", || {
        TcpStream::connect_timeout(&second_address, DEADLINE).is_err()
    });
    echoes(second);
    echoes(first);
    echoes(opened(gateway.address()));
    // And it may come back.
    let bound = gateway.reload(&two).unwrap();
    echoes(opened(bound[1].1));
}

#[test]
fn what_waits_in_a_closing_listeners_queue_is_served() {
    let echo = Server::echo();
    let one = listeners(&["first"], echo.address);
    let two = listeners(&["first", "second"], echo.address);
    let gateway = TestGateway::start(&one);
    let wire = hello(SERVICE, &[]);
    for _ in 0..20 {
        let second = gateway.reload(&two).unwrap()[1].1;
        let clients: Vec<TcpStream> = (0..20)
            .map(|_| {
                let mut client = connect(second);
                client.write_all(&wire).unwrap();
                client
            })
            .collect();
        gateway.reload(&one).unwrap();
        for mut client in clients {
            read_exactly(&mut client, wire.len());
        }
    }
    support::wait_until("nothing is counted of the listener that is gone", || {
        !counted(&gateway, "listener=\"second\"")
    });
}

#[test]
fn a_reload_that_cannot_be_done_changes_nothing() {
    let echo = Server::echo();
    let gateway = TestGateway::start(&listeners(&["first"], echo.address));
    let holder = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken = holder.local_addr().unwrap();
    let impossible = ConfigText::to(&[support::server::refusing_address()]).bind(taken);
    let error = gateway.reload(&impossible).unwrap_err();
    assert!(error.contains(&taken.to_string()), "{error}");
    echoes(opened(gateway.address()));
    let failures = gateway.metric("strait_config_loads_total", &[("result", "failure")]);
    assert_eq!(failures, 1.0);
    assert_eq!(gateway.metric("strait_config_current", &[]), 0.0);
    assert!(
        !counted(&gateway, "listener=\"east-west\""),
        "of a listener that never was"
    );
}

#[test]
fn policy_that_changes_holds_for_the_next_connection() {
    let echo = Server::echo();
    let config = ConfigText::to(&[echo.address]);
    let gateway = TestGateway::start(&config);
    let before = opened(gateway.address());
    let denied = config.clone().listener("deny_sources: ['127.0.0.0/8']");
    gateway.reload(&denied).unwrap();
    let mut refused = connect(gateway.address());
    // A refusal before anything is read may come as a reset.
    let _ = refused.write_all(b"anyone?");
    let _ = refused.read_to_end(&mut Vec::new());
    assert_eq!(gateway.record().outcome, "source_denied");
    echoes(before);
    gateway.reload(&config).unwrap();
    echoes(opened(gateway.address()));
}

#[test]
fn a_listener_that_moves_leaves_its_connections() {
    let echo = Server::echo();
    let config = ConfigText::to(&[echo.address]);
    let gateway = TestGateway::start(&config);
    let before = opened(gateway.address());
    let elsewhere = config.bind(SocketAddr::from(([127, 0, 0, 2], 0)));
    let bound = gateway.reload(&elsewhere).unwrap();
    assert_eq!(bound.len(), 1);
    assert_ne!(bound[0].1.ip(), gateway.address().ip());
    echoes(opened(bound[0].1));
    support::wait_until("the old address is closed", || {
        TcpStream::connect_timeout(&gateway.address(), DEADLINE).is_err()
    });
    echoes(before);
}

/// Connections open to each endpoint.
fn active(gateway: &TestGateway) -> Vec<u64> {
    let endpoints = gateway.endpoints();
    let active = endpoints.iter().map(|one| one["active"].as_u64().unwrap());
    active.collect()
}

#[test]
fn endpoints_that_stay_keep_their_counts() {
    let (echo, other) = (Server::echo(), Server::echo());
    let config = ConfigText::to(&[echo.address]);
    let gateway = TestGateway::start(&config);
    let clients: Vec<TcpStream> = (0..3).map(|_| opened(gateway.address())).collect();
    assert_eq!(active(&gateway), [3]);
    // The upstream stays, its policy changes.
    let policy = config.clone().upstream("connect: { attempts: 1 }");
    gateway.reload(&policy).unwrap();
    assert_eq!(active(&gateway), [3]);
    // Another list of endpoints, of which one is the same.
    gateway
        .reload(&ConfigText::to(&[other.address, echo.address]))
        .unwrap();
    assert_eq!(active(&gateway), [0, 3]);
    // The next one goes where fewer are, so the counts are more than shown.
    let next = opened(gateway.address());
    assert_eq!(active(&gateway), [1, 3]);
    drop(clients);
    support::wait_until("three have ended", || active(&gateway) == [1, 0]);
    echoes(next);
}

/// Whether any series has this label.
fn counted(gateway: &TestGateway, label: &str) -> bool {
    gateway
        .samples()
        .keys()
        .any(|series| series.contains(label))
}

/// Listeners with their routes; each name has an upstream of that name at `endpoint`.
fn routing(listeners: &[(&str, &[&str])], upstreams: &[&str], endpoint: SocketAddr) -> ConfigText {
    let route = |name: &&str| {
        format!("{{ sni: {name}.example, name: {name}, alpn: any, upstream: {name} }}")
    };
    let listener = |(name, routes): &(&str, &[&str])| {
        let routes: Vec<String> = routes.iter().map(route).collect();
        let routes = routes.join(", ");
        format!("  - {{ name: {name}, bind: '127.0.0.1:0', routes: [{routes}] }}\n")
    };
    let upstream = |name: &&str| format!("  {name}: {{ endpoints: ['{endpoint}'] }}\n");
    let listeners: Vec<String> = listeners.iter().map(listener).collect();
    let upstreams: Vec<String> = upstreams.iter().map(upstream).collect();
    ConfigText::verbatim(&format!(
        "listeners:\n{}upstreams:\n{}",
        listeners.concat(),
        upstreams.concat()
    ))
}

/// A connection by the route called `name`, with a round trip behind it.
fn opened_by(name: &str, address: SocketAddr) -> TcpStream {
    let wire = hello(&format!("{name}.example"), &[]);
    let mut client = connect(address);
    client.write_all(&wire).unwrap();
    read_exactly(&mut client, wire.len());
    client
}

#[test]
fn an_attempt_that_ends_after_its_upstream_is_gone_brings_no_series_back() {
    let (hole, echo) = (BlackHole::dig(), Server::echo());
    let config = |route: &str, upstreams: &str| {
        ConfigText::verbatim(&format!(
            "listeners: [{{ name: east-west, bind: '127.0.0.1:0', \
             routes: [{{ sni: {route}.example, alpn: any, upstream: {route} }}] }}]\n\
             upstreams: {{ stays: {{ endpoints: ['{}'] }}{upstreams} }}",
            echo.address
        ))
    };
    let gone = format!(
        ", gone: {{ endpoints: ['{}'], connect: {{ timeout: 1s }} }}",
        hole.address
    );
    let before = config("gone", &gone);
    let gateway = TestGateway::start(&before);
    let mut client = connect(gateway.address());
    client.write_all(&hello("gone.example", &[])).unwrap();
    support::wait_until("the attempt is under way", || {
        gateway.metric("strait_connections_active", &[]) == 1.0
    });
    gateway.reload(&config("stays", "")).unwrap();
    assert_eq!(gateway.record().outcome, "connect_timeout");
    support::wait_until("the series of the upstream are gone", || {
        !counted(&gateway, "upstream=\"gone\"")
    });
}

#[test]
fn metrics_of_what_is_removed_go_with_its_last_connection() {
    let echo = Server::echo();
    let before = routing(
        &[("first", &["a", "b"]), ("second", &["a"])],
        &["a", "b"],
        echo.address,
    );
    let after = routing(&[("first", &["a"])], &["a"], echo.address);
    let gateway = TestGateway::start(&before);
    // The same config, which tells where the second listener is.
    let second = gateway.reload(&before).unwrap()[1].1;
    let on_a = opened_by("a", gateway.address());
    let on_b = opened_by("b", gateway.address());
    let on_second = opened_by("a", second);
    gateway.reload(&after).unwrap();

    // Connections that still run are still counted.
    for labels in [
        [("listener", "first"), ("route", "b")],
        [("listener", "second"), ("route", "a")],
    ] {
        assert_eq!(gateway.metric("strait_connections_active", &labels), 1.0);
    }
    echoes(on_b);
    support::wait_until("the series of the route and its upstream are gone", || {
        !counted(&gateway, "route=\"b\"") && !counted(&gateway, "upstream=\"b\"")
    });
    echoes(on_second);
    support::wait_until("the series of the listener are gone", || {
        !counted(&gateway, "listener=\"second\"")
    });
    echoes(on_a);
    support::wait_until("the route that stays counts on", || {
        gateway.closed("ok") == 1.0
    });

    // Counts of an object that comes back start at zero.
    gateway.reload(&before).unwrap();
    echoes(opened_by("b", gateway.address()));
    let route_b = [("route", "b"), ("outcome", "ok")];
    support::wait_until("it counts again", || {
        gateway.metric("strait_connections_closed_total", &route_b) == 1.0
    });
}

#[test]
fn a_hello_that_began_before_a_reload_takes_the_old_route_and_leaves_no_series() {
    let echo = Server::echo();
    let before = routing(&[("first", &["a", "b"])], &["a", "b"], echo.address);
    let after = routing(&[("first", &["a"])], &["a"], echo.address);
    let gateway = TestGateway::start(&before);
    let wire = hello("b.example", &[]);
    let (begin, end) = wire.split_at(wire.len() / 2);
    let mut client = connect(gateway.address());
    client.write_all(begin).unwrap();
    support::wait_until("it is accepted", || {
        gateway.metric("strait_connections_active", &[]) == 1.0
    });
    gateway.reload(&after).unwrap();
    client.write_all(end).unwrap();
    assert_same_bytes(&read_exactly(&mut client, wire.len()), &wire);
    let on_b = [("route", "b")];
    assert_eq!(gateway.metric("strait_connections_active", &on_b), 1.0);
    drop(client);
    support::wait_until("its series are gone", || !counted(&gateway, "route=\"b\""));
}
