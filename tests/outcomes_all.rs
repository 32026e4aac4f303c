//! Every outcome that can be provoked is provoked once, and seen in the metrics and in the access
//! log. An outcome that is added and neither provoked nor excused here fails the last test.

mod support;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use strait::client_hello::vectors::HelloBuilder;
use strait::outcome::Outcome;
use support::client::{connect, connect_narrow, hello, large_hello, open};
use support::config_text::ConfigText;
use support::gateway::TestGateway;
use support::server::{
    BlackHole, Server, read_exactly, read_to_eof, refusing_address, reset, write_until_stuck,
};
use support::{DEADLINE, SERVICE, noise, wait_until};

/// Outcomes that no test on real sockets provokes, each with the reason.
const EXCUSED: &[(Outcome, &str)] = &[
    (
        Outcome::ProxyHeaderInvalid,
        "the PROXY protocol is not there yet",
    ),
    (
        Outcome::NoLocalPort,
        "takes all local ports, which needs a network namespace of its own; proxy::connect's unit test \
         maps the error",
    ),
    (
        Outcome::InternalError,
        "is a defect by definition; a test that knew one would mend it",
    ),
];

/// Outcomes after which there is no line in the access log.
const UNLOGGED: &[Outcome] = &[Outcome::Probe];

/// What to do so that a connection ends with the outcome.
struct Provocation {
    outcome: Outcome,
    /// Who the record says ended it.
    ended_by: &'static str,
    provoke: fn() -> Observed,
}

/// A gateway after it was provoked once.
struct Observed {
    gateway: TestGateway,
    /// Keeps whatever must live until the record is there.
    _kept: Vec<Box<dyn Send>>,
}

fn observed(gateway: TestGateway, kept: Vec<Box<dyn Send>>) -> Observed {
    Observed {
        gateway,
        _kept: kept,
    }
}

/// Starts a gateway to `endpoint`, with `change` to its config, and lets `act` provoke it.
fn with(
    endpoint: SocketAddr,
    change: fn(ConfigText) -> ConfigText,
    act: impl FnOnce(&TestGateway) -> Vec<Box<dyn Send>>,
) -> Observed {
    let gateway = TestGateway::start(&change(ConfigText::to(&[endpoint])));
    let kept = act(&gateway);
    observed(gateway, kept)
}

fn plain(config: ConfigText) -> ConfigText {
    config
}

/// Sends `first` to a gateway behind which nobody is.
fn first_bytes(first: &[u8], change: fn(ConfigText) -> ConfigText) -> Observed {
    with(refusing_address(), change, |gateway| {
        let mut client = connect(gateway.address());
        client.write_all(first).unwrap();
        vec![Box::new(client)]
    })
}

/// A connection through a gateway: the client's and the server's end.
fn carried(
    change: fn(ConfigText) -> ConfigText,
    act: impl FnOnce(&TestGateway, TcpStream, TcpStream) -> Vec<Box<dyn Send>>,
) -> Observed {
    let (server, accepted) = Server::handing_over();
    with(server.address, change, |gateway| {
        let (client, hello) = open(gateway.address());
        let mut upstream = accepted.recv_timeout(DEADLINE).unwrap();
        read_exactly(&mut upstream, hello);
        let mut kept = act(gateway, client, upstream);
        kept.push(Box::new(server));
        kept
    })
}

/// Connecting to `endpoint` fails.
fn connecting(endpoint: SocketAddr, change: fn(ConfigText) -> ConfigText) -> Observed {
    with(endpoint, change, |gateway| {
        vec![Box::new(open(gateway.address()).0)]
    })
}

fn source_denied() -> Observed {
    with(
        refusing_address(),
        |config| config.listener("deny_sources: ['127.0.0.0/8']"),
        |gateway| vec![Box::new(connect(gateway.address()))],
    )
}

fn overloaded() -> Observed {
    let echo = Server::echo();
    with(
        echo.address,
        |config| config.top("limits: { connections: 1 }"),
        |gateway| {
            let (mut first, length) = open(gateway.address());
            read_exactly(&mut first, length);
            let second = connect(gateway.address());
            vec![Box::new(first), Box::new(second), Box::new(echo)]
        },
    )
}

fn no_endpoint() -> Observed {
    // Nobody answers DNS there, so that the name never has an address.
    let dns = refusing_address();
    let gateway = TestGateway::start(
        &ConfigText::to(&[])
            .top("upstreams: { svcb: { dns: 'svcb.example.com:80' } }")
            .top(&format!(
                "resolver: {{ servers: ['{dns}'], timeout: 100ms }}"
            )),
    );
    let client = open(gateway.address()).0;
    observed(gateway, vec![Box::new(client)])
}

fn ok() -> Observed {
    carried(plain, |_, mut client, mut upstream| {
        upstream.write_all(b"reply").unwrap();
        read_exactly(&mut client, 5);
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_eof(&mut upstream), b"");
        vec![]
    })
}

fn drained() -> Observed {
    carried(
        |config| config.top("drain: { readiness_delay: 0s, window: 1s }"),
        |gateway, client, upstream| {
            gateway.drain();
            vec![Box::new(client), Box::new(upstream)]
        },
    )
}

/// The one that does not read is alive, but takes nothing for longer than `tcp.user_timeout`.
fn stuck(client_is_stuck: bool) -> Observed {
    let (server, accepted) = Server::handing_over();
    let change = match client_is_stuck {
        true => |config: ConfigText| config.listener("tcp: { user_timeout: 1s }"),
        false => |config: ConfigText| config.upstream("tcp: { user_timeout: 1s }"),
    };
    with(server.address, change, |gateway| {
        let mut client = connect_narrow(gateway.address(), 4096);
        let hello = hello(SERVICE, &[]);
        client.write_all(&hello).unwrap();
        let mut upstream = accepted.recv_timeout(DEADLINE).unwrap();
        read_exactly(&mut upstream, hello.len());
        let sender = if client_is_stuck {
            &mut upstream
        } else {
            &mut client
        };
        write_until_stuck(sender, &noise(32 << 20, 1));
        vec![Box::new(client), Box::new(upstream), Box::new(server)]
    })
}

const PROVOCATIONS: &[Provocation] = &[
    Provocation {
        outcome: Outcome::Ok,
        ended_by: "downstream",
        provoke: ok,
    },
    Provocation {
        outcome: Outcome::SourceDenied,
        ended_by: "gateway",
        provoke: source_denied,
    },
    Provocation {
        outcome: Outcome::Probe,
        ended_by: "downstream",
        provoke: || {
            with(refusing_address(), plain, |gateway| {
                drop(connect(gateway.address()));
                vec![]
            })
        },
    },
    Provocation {
        outcome: Outcome::Overloaded,
        ended_by: "gateway",
        provoke: overloaded,
    },
    Provocation {
        outcome: Outcome::HelloTimeout,
        ended_by: "gateway",
        provoke: || {
            first_bytes(&hello(SERVICE, &[])[..50], |config| {
                config.listener("client_hello: { timeout: 100ms }")
            })
        },
    },
    Provocation {
        outcome: Outcome::ClientGoneBeforeHello,
        ended_by: "downstream",
        provoke: || {
            with(refusing_address(), plain, |gateway| {
                let mut client = connect(gateway.address());
                client.write_all(&hello(SERVICE, &[])[..50]).unwrap();
                client.shutdown(Shutdown::Write).unwrap();
                vec![Box::new(client)]
            })
        },
    },
    Provocation {
        outcome: Outcome::NotTls,
        ended_by: "gateway",
        provoke: || first_bytes(b"GET / HTTP/1.1\r\n\r\n", plain),
    },
    Provocation {
        outcome: Outcome::HelloMalformed,
        ended_by: "gateway",
        provoke: || first_bytes(&HelloBuilder::tls13().raw_extensions([0, 9]).wire(), plain),
    },
    Provocation {
        outcome: Outcome::HelloTooLarge,
        ended_by: "gateway",
        provoke: || {
            first_bytes(&large_hello(SERVICE, 2000), |config| {
                config.listener("client_hello: { max_size: 512B }")
            })
        },
    },
    Provocation {
        outcome: Outcome::NoSni,
        ended_by: "gateway",
        provoke: || first_bytes(&hello("", &[]), plain),
    },
    Provocation {
        outcome: Outcome::BadServerName,
        ended_by: "gateway",
        provoke: || {
            let wire = HelloBuilder::tls13().server_name("169.254.169.254").wire();
            first_bytes(&wire, plain)
        },
    },
    Provocation {
        outcome: Outcome::NoRoute,
        ended_by: "gateway",
        provoke: || first_bytes(&hello("elsewhere.example.com", &[]), plain),
    },
    Provocation {
        outcome: Outcome::AlpnRefused,
        ended_by: "gateway",
        provoke: || {
            first_bytes(&hello(SERVICE, &["h2"]), |config| {
                config.routes(&format!(
                    "[{{ service: '{SERVICE}:80', alpn: istio, upstream: svcb }}]"
                ))
            })
        },
    },
    Provocation {
        outcome: Outcome::NoEndpoint,
        ended_by: "gateway",
        provoke: no_endpoint,
    },
    Provocation {
        outcome: Outcome::ConnectRefused,
        ended_by: "gateway",
        provoke: || connecting(refusing_address(), plain),
    },
    Provocation {
        outcome: Outcome::ConnectTimeout,
        ended_by: "gateway",
        provoke: || {
            let hole = BlackHole::dig();
            let mut observed = connecting(hole.address, |config| {
                config.upstream("connect: { timeout: 50ms }")
            });
            observed._kept.push(Box::new(hole));
            observed
        },
    },
    Provocation {
        outcome: Outcome::ConnectUnreachable,
        ended_by: "gateway",
        // A link-local address without a link leads nowhere, whatever routes this machine has.
        provoke: || connecting("[fe80::1]:9".parse().unwrap(), plain),
    },
    Provocation {
        outcome: Outcome::DownstreamReset,
        ended_by: "downstream",
        provoke: || {
            carried(plain, |_, client, upstream| {
                reset(client);
                vec![Box::new(upstream)]
            })
        },
    },
    Provocation {
        outcome: Outcome::UpstreamReset,
        ended_by: "upstream",
        provoke: || {
            carried(plain, |_, client, upstream| {
                reset(upstream);
                vec![Box::new(client)]
            })
        },
    },
    Provocation {
        outcome: Outcome::DownstreamTimeout,
        ended_by: "downstream",
        provoke: || stuck(true),
    },
    Provocation {
        outcome: Outcome::UpstreamTimeout,
        ended_by: "upstream",
        provoke: || stuck(false),
    },
    Provocation {
        outcome: Outcome::UpstreamClosedBeforeReply,
        ended_by: "upstream",
        provoke: || {
            carried(plain, |_, mut client, upstream| {
                drop(upstream);
                assert_eq!(read_to_eof(&mut client), b"");
                vec![]
            })
        },
    },
    Provocation {
        outcome: Outcome::IdleTimeout,
        ended_by: "gateway",
        provoke: || {
            carried(
                |config| config.listener("timeouts: { idle: 1s }"),
                |_, client, upstream| vec![Box::new(client), Box::new(upstream)],
            )
        },
    },
    Provocation {
        outcome: Outcome::HalfClosedTimeout,
        ended_by: "gateway",
        provoke: || {
            carried(
                |config| config.listener("timeouts: { half_closed: 1s }"),
                |_, client, upstream| {
                    client.shutdown(Shutdown::Write).unwrap();
                    vec![Box::new(client), Box::new(upstream)]
                },
            )
        },
    },
    Provocation {
        outcome: Outcome::Drained,
        ended_by: "gateway",
        provoke: drained,
    },
];

fn check(provocation: &Provocation) {
    let outcome = provocation.outcome;
    let observed = (provocation.provoke)();
    let gateway = &observed.gateway;
    if UNLOGGED.contains(&outcome) {
        wait_until("it is counted", || gateway.closed(outcome.label()) == 1.0);
        gateway.no_record_within(Duration::from_millis(100));
        return;
    }
    let record = gateway.record();
    assert_eq!(record.outcome, outcome.label());
    assert_eq!(record.flags, outcome.envoy_flag(), "{}", outcome.label());
    let ended_by = record.ended_by.as_deref();
    assert_eq!(ended_by, Some(provocation.ended_by), "{}", outcome.label());
    assert_eq!(record.listener, "east-west");
    // A gateway that has drained serves no metrics any more.
    if outcome != Outcome::Drained {
        assert_eq!(gateway.closed(outcome.label()), 1.0);
        let opened = gateway.metric("strait_connections_opened_total", &[]);
        assert!(opened >= 1.0, "{}: {opened}", outcome.label());
    }
}

#[test]
fn each_is_provoked_counted_and_logged() {
    // Side by side: several take a second of waiting.
    let checks: Vec<_> = PROVOCATIONS
        .iter()
        .map(|provocation| {
            let check = move || check(provocation);
            (provocation.outcome, std::thread::spawn(check))
        })
        .collect();
    let failed: Vec<&str> = checks
        .into_iter()
        .filter_map(|(outcome, check)| check.join().is_err().then(|| outcome.label()))
        .collect();
    assert!(failed.is_empty(), "see above: {failed:?}");
}

#[test]
fn none_is_forgotten() {
    let provoked = PROVOCATIONS.iter().map(|provocation| provocation.outcome);
    let excused = EXCUSED.iter().map(|(outcome, reason)| {
        assert!(!reason.is_empty());
        *outcome
    });
    let known: Vec<&str> = provoked.chain(excused).map(Outcome::label).collect();
    let unique: BTreeSet<&str> = known.iter().copied().collect();
    assert_eq!(unique.len(), known.len(), "each one once: {known:?}");
    let all: BTreeSet<&str> = Outcome::ALL.iter().map(|outcome| outcome.label()).collect();
    assert_eq!(unique, all);
}
