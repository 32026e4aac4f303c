//! One endpoint of three is broken: it accepts connections, and no call to it succeeds. Few calls may find out.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection};
use socket2::{Domain, Socket, Type};
use strait::tools::spiffe::TrustDomain;
use strait::tools::spiffe::tls::{ISTIO_HTTP, TlsEnd};

use crate::support::client::hello;
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::mtls::{self, Pki};
use crate::support::server::{ANSWER, BlackHole, Server, reset, with_deadlines};
use crate::support::{DEADLINE, SERVICE, wait_until};

/// Clients that call again as soon as their call is over, each from an address of its own.
const CLIENTS: usize = 20;

/// The size of a test. The whole one takes a minute: `STRAIT_WHOLE_SIZE=1` asks for it.
struct Size {
    calls: usize,
    /// The time for which a call is held once it is answered.
    held: Duration,
    /// The time that a client waits for the first byte.
    patience: Duration,
    /// Calls that may reach the broken endpoint.
    most: usize,
    policy: &'static [&'static str],
    /// `ejection` where the endpoint is silent, which is found out by the time of the first byte.
    silence: &'static str,
    /// `ejection` elsewhere: no endpoint that is only slow counts as silent.
    answers: &'static str,
}

impl Size {
    fn of_this_run() -> Self {
        let seconds = |name| {
            let given = std::env::var(name).ok()?;
            Some(Duration::from_secs_f64(given.parse().unwrap()))
        };
        if std::env::var_os("STRAIT_WHOLE_SIZE").is_some() {
            return Self {
                calls: 1000,
                held: Duration::from_secs(1),
                patience: seconds("STRAIT_PATIENCE").unwrap_or(Duration::from_secs(5)),
                most: 20,
                policy: &[],
                silence: "ejection: {}",
                answers: "ejection: {}",
            };
        }
        Self {
            calls: 300,
            held: Duration::from_millis(100),
            patience: DEADLINE,
            // A third of the calls is a fair share.
            most: 50,
            policy: &["connect: { timeout: 300ms }"],
            silence: "ejection: { first_byte: 1s, base: 60s, max: 60s }",
            answers: "ejection: { first_byte: 20s, base: 60s, max: 60s }",
        }
    }
}

/// A connection to the gateway from the address of a client.
fn connect_from(client: usize, gateway: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let ip = [127, 0, 1, u8::try_from(client + 1).unwrap()];
    socket.bind(&SocketAddr::from((ip, 0)).into()).unwrap();
    socket.connect_timeout(&gateway.into(), DEADLINE).unwrap();
    let stream = TcpStream::from(socket);
    with_deadlines(&stream);
    stream
}

/// One call. Returns whether it was answered.
fn call(stream: &mut TcpStream, patience: Duration, tls: Option<&ClientConfig>) -> bool {
    stream.set_read_timeout(Some(patience)).unwrap();
    if let Some(tls) = tls {
        let name = SERVICE.try_into().unwrap();
        let mut session = ClientConnection::new(tls.clone().into(), name).unwrap();
        while session.is_handshaking() {
            if session.complete_io(stream).is_err() {
                return false;
            }
        }
        return true;
    }
    stream.write_all(&hello(SERVICE, &[])).unwrap();
    matches!(stream.read(&mut [0]), Ok(1)) && stream.read_exact(&mut [0; 8]).is_ok()
}

/// Makes all calls through a gateway to `endpoints`. Returns it, and the number of calls that were not answered.
fn call_all(
    size: &Size,
    ejection: &str,
    endpoints: &[SocketAddr],
    tls: Option<&ClientConfig>,
) -> (TestGateway, usize) {
    let config = ConfigText::to(endpoints).upstream(ejection);
    let config = size
        .policy
        .iter()
        .fold(config, |config, line| config.upstream(line));
    let gateway = TestGateway::start(&config);
    let (address, made, lost) = (gateway.address(), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (made, lost) = (&made, &lost);
            scope.spawn(move || {
                while made.fetch_add(1, Ordering::Relaxed) < size.calls {
                    let mut stream = connect_from(client, address);
                    if call(&mut stream, size.patience, tls) {
                        std::thread::sleep(size.held);
                    } else {
                        lost.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    (gateway, lost.into_inner())
}

/// A server that answers hellos.
fn good() -> Server {
    Server::start(|mut stream| {
        let mut bytes = [0; 4096];
        let _ = stream.read(&mut bytes);
        let _ = stream.write_all(&ANSWER);
        while matches!(stream.read(&mut bytes), Ok(1..)) {}
    })
}

/// Asserts that few calls reach the endpoint that treats each connection like this.
fn few_calls_reach(
    way: &str,
    ejection: impl Fn(&Size) -> &'static str,
    serve: impl Fn(TcpStream) + Send + Sync + 'static,
) {
    let size = Size::of_this_run();
    let (broken, others) = (Server::start(serve), [good(), good()]);
    let endpoints = [broken.address, others[0].address, others[1].address];
    let started = Instant::now();
    let (gateway, lost) = call_all(&size, ejection(&size), &endpoints, None);
    assert_few(&size, way, broken.connections() as f64, lost, started);
    assert_ejected(&gateway, broken.address);
}

#[track_caller]
fn assert_few(size: &Size, way: &str, reached: f64, lost: usize, started: Instant) {
    let Size { calls, most, .. } = size;
    let took = started.elapsed();
    eprintln!("{way}: {reached} of {calls} calls reached it, {lost} were lost, {took:?}");
    assert!(
        reached <= *most as f64,
        "{way}: {reached} of {calls} calls reached it"
    );
    assert!(reached > 0.0, "nothing was tried");
}

#[track_caller]
fn assert_ejected(gateway: &TestGateway, broken: SocketAddr) {
    wait_until("only the broken endpoint is ejected", || {
        gateway.endpoints().iter().all(|endpoint| {
            (endpoint["state"] == "ejected") == (endpoint["address"] == broken.to_string())
        })
    });
}

#[test]
fn few_calls_reach_an_endpoint_that_resets() {
    few_calls_reach(
        "reset",
        |size| size.answers,
        |mut stream| {
            let _ = stream.read(&mut [0; 4096]);
            reset(stream);
        },
    );
}

#[test]
fn few_calls_reach_an_endpoint_that_closes() {
    few_calls_reach(
        "close",
        |size| size.answers,
        |mut stream| {
            let _ = stream.read(&mut [0; 4096]);
        },
    );
}

#[test]
fn few_calls_reach_an_endpoint_that_is_silent() {
    few_calls_reach(
        "silence",
        |size| size.silence,
        |mut stream| while matches!(stream.read(&mut [0; 4096]), Ok(1..)) {},
    );
}

#[test]
fn few_calls_reach_an_endpoint_that_does_not_speak_tls() {
    few_calls_reach(
        "plain text",
        |size| size.answers,
        |mut stream| {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        },
    );
}

#[test]
fn few_calls_reach_an_endpoint_that_drops_every_syn() {
    let size = Size::of_this_run();
    let (hole, others) = (BlackHole::dig(), [good(), good()]);
    let endpoints = [hole.address, others[0].address, others[1].address];
    let started = Instant::now();
    let (gateway, lost) = call_all(&size, size.answers, &endpoints, None);
    let labels = [("result", "connect_timeout")];
    let reached = gateway.metric("strait_connect_attempts_total", &labels);
    assert_few(&size, "SYN swallowed", reached, lost, started);
    assert_ejected(&gateway, hole.address);
}

#[test]
fn few_calls_reach_an_endpoint_whose_certificate_many_callers_refuse() {
    let size = Size::of_this_run();
    let pki = Pki::create();
    let stranger = TrustDomain::create("gamma.com").unwrap();
    let stranger = stranger.issue("apps", "svcb").unwrap();
    let stranger = TlsEnd::new(&stranger, ISTIO_HTTP);
    let stranger = stranger.server(&[pki.alpha.bundle()]).unwrap();
    let pod = |tls| {
        mtls::pod(
            tls,
            |mut stream| while matches!(stream.read(&mut [0]), Ok(1)) {},
            |_| {},
        )
    };
    let (broken, others) = (pod(stranger), [pod(pki.pod()), pod(pki.pod())]);
    let endpoints = [broken.address, others[0].address, others[1].address];
    let started = Instant::now();
    let (gateway, lost) = call_all(&size, size.answers, &endpoints, Some(&pki.svca()));
    assert_few(
        &size,
        "certificate refused",
        broken.connections() as f64,
        lost,
        started,
    );
    assert_ejected(&gateway, broken.address);
}

#[test]
fn one_caller_that_is_refused_everywhere_ejects_nothing() {
    let pki = Pki::create();
    let pods = [(); 2].map(|()| mtls::pod(pki.pod(), |_| {}, |_| {}));
    let gateway = TestGateway::start(&ConfigText::to(&pods.each_ref().map(|pod| pod.address)));
    let stranger = TrustDomain::create("gamma.com").unwrap();
    let svid = stranger.issue("apps", "svca").unwrap();
    let end = TlsEnd::new(&svid, ISTIO_HTTP);
    let refused = end.client(&pki.beta.bundle(), &pki.svcb.id).unwrap();
    let refuses = end.client(&stranger.bundle(), &svid.id).unwrap();
    for _ in 0..10 {
        for tls in [&refused, &refuses] {
            let mut stream = connect_from(0, gateway.address());
            call(&mut stream, DEADLINE, Some(tls));
            let source = stream.local_addr().unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
            drop(stream);
            assert_eq!(gateway.record_of(source).outcome, "handshake_refused");
        }
    }
    let ready = |endpoint: &serde_json::Value| endpoint["state"] == "ready";
    assert!(gateway.endpoints().iter().all(ready));
}
