//! `strait selftest` tells a gateway that is right from one that is not.

use std::io::{Read, Write, copy};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};

use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::{Server, refusing_address};

fn selftest(gateway: SocketAddr, arguments: &[&str]) -> (Output, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strait"));
    command.args(["selftest", &gateway.to_string()]);
    let output = command.args(arguments).output().unwrap();
    let printed = String::from_utf8(output.stdout.clone()).unwrap();
    (output, printed)
}

/// The right, the wrong and what was not judged, of one class or in total.
#[track_caller]
fn counts(printed: &str, class: &str) -> [usize; 3] {
    let line = printed
        .lines()
        .find(|line| line.starts_with(&format!("{class} ")));
    let line = line.unwrap_or_else(|| panic!("no {class} in\n{printed}"));
    let counts: Vec<usize> = line
        .split_whitespace()
        .skip(1)
        .map(|n| n.parse().unwrap())
        .collect();
    counts.try_into().unwrap()
}

/// An address that was free a moment ago, for a process that will listen there: of a loopback address that no other
/// test has, so that none takes the port.
fn free_address() -> SocketAddr {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let listener = TcpListener::bind(SocketAddr::from(([127, 97, high, low], 0))).unwrap();
    listener.local_addr().unwrap()
}

fn gateway_to(endpoint: SocketAddr) -> TestGateway {
    let config = ConfigText::to(&[endpoint]);
    TestGateway::start(&config.routes("[{ sni: '*', alpn: any, upstream: svcb }]"))
}

#[test]
fn everything_is_right_with_strait() {
    let endpoint = free_address();
    let gateway = gateway_to(endpoint);
    let (output, printed) = selftest(gateway.address(), &["--endpoint", &endpoint.to_string()]);
    assert_eq!(output.status.code(), Some(0), "{printed}");
    let [right, wrong, not_judged] = counts(&printed, "total");
    assert!(right > 500, "{printed}");
    assert_eq!((wrong, not_judged), (0, 0), "{printed}");
    assert_eq!(counts(&printed, "not_tls"), [42, 0, 0]);
}

#[test]
fn without_an_endpoint_valid_hellos_are_not_judged() {
    let gateway = gateway_to(refusing_address());
    let (output, printed) = selftest(gateway.address(), &[]);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    let [right, wrong, not_judged] = counts(&printed, "total");
    assert!(right > 200 && not_judged > 200, "{printed}");
    assert_eq!(wrong, 0, "{printed}");
}

/// Reads once, takes any bytes that name the route for a hello, and lets the rest of the world wait.
fn naive(endpoint: SocketAddr) -> Server {
    Server::start(move |mut client| {
        let mut first = vec![0; 16 * 1024];
        let length = client.read(&mut first).unwrap_or_default();
        let first = &first[..length];
        let named = first.windows(4).any(|window| window == b"svcb");
        let Some(mut upstream) = named.then(|| TcpStream::connect(endpoint).ok()).flatten() else {
            // Left hanging until the client goes.
            let _ = copy(&mut client, &mut std::io::sink());
            return;
        };
        let _ = upstream.write_all(first);
        let (mut from, mut to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
        let up = std::thread::spawn(move || {
            let _ = copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
        let _ = copy(&mut upstream, &mut client);
        up.join().unwrap();
    })
}

#[test]
fn a_naive_gateway_is_wrong() {
    let endpoint = free_address();
    let gateway = naive(endpoint);
    let arguments = ["--endpoint", &endpoint.to_string(), "--timeout", "300ms"];
    let (output, printed) = selftest(gateway.address, &arguments);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    for wrong in [
        "wrong: fragmented: records of 1 byte: left hanging",
        "wrong: name: CR and LF in the name: routed (whole",
        "wrong: record: a byte after the hello in its record: routed (whole",
        "wrong: not_tls: an HTTP/1.1 request: left hanging",
    ] {
        assert!(printed.contains(wrong), "no {wrong:?} in\n{printed}");
    }
    let [right, wrong, not_judged] = counts(&printed, "usual");
    assert!(right > 0 && wrong > 0 && not_judged == 0, "{printed}");
}

/// Carries every valid hello to the endpoint, but for one byte.
#[test]
fn a_gateway_that_changes_a_byte_is_wrong() {
    let endpoint = free_address();
    let gateway = Server::start(move |mut client| {
        let mut upstream = TcpStream::connect(endpoint).unwrap();
        let mut answers = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
        std::thread::spawn(move || copy(&mut answers.0, &mut answers.1));
        let mut buffer = [0; 1 << 14];
        while let Ok(length @ 1..) = client.read(&mut buffer) {
            buffer[length - 1] ^= 1;
            let _ = upstream.write_all(&buffer[..length]);
        }
        let _ = upstream.shutdown(Shutdown::Both);
    });
    let arguments = ["--endpoint", &endpoint.to_string(), "--timeout", "300ms"];
    let (output, printed) = selftest(gateway.address, &arguments);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert_eq!(counts(&printed, "usual")[0], 0, "{printed}");
    assert!(printed.contains("routed with other bytes"), "{printed}");
}

#[test]
fn nobody_at_the_address_is_no_answer() {
    let (output, printed) = selftest(refusing_address(), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(printed, "");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("cannot connect to 127.0.0.1:"), "{error}");
}
