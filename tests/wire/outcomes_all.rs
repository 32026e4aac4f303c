//! Every outcome, provoked on real sockets, and what operators see of it: one series and one line.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use strait::outcome::Outcome;
use strait::tools::spiffe::TrustDomain;
use strait::tools::spiffe::tls::BOTH_VERSIONS;

/// The outcomes that this file does not provoke, with the reasons.
const ELSEWHERE: &[(Outcome, &str)] = &[
    (
        Outcome::NoLocalPort,
        "takes a network namespace: tests/wire/no_local_port.rs",
    ),
    (
        Outcome::InternalError,
        "a defect of strait: one that can be provoked is one to mend",
    ),
];

/// The place in which a connection counts.
#[derive(Clone, Copy, PartialEq)]
enum Counted {
    /// Refused before it had a route.
    Unrouted,
    /// On the one route.
    Routed,
}
use Counted::{Routed, Unrouted};

use crate::support::client::{connect, hello, large_hello, open};
use crate::support::config_text::ConfigText;
use crate::support::faults::stop_answering;
use crate::support::gateway::TestGateway;
use crate::support::mtls::{Pki, dial, pod};
use crate::support::server::{
    BlackHole, Server, answer_hello, read_exactly, read_to_eof, refusing_address, reset,
};
use crate::support::{self, SERVICE, wait_until};

/// The traces that one provocation must leave.
struct Expected {
    counted: Counted,
    ended_by: &'static str,
    /// A part of the line's detail. `None`: the line has no detail.
    detail: Option<&'static str>,
    attempts: u32,
}

const fn expect(counted: Counted, ended_by: &'static str) -> Expected {
    Expected {
        counted,
        ended_by,
        detail: None,
        attempts: match counted {
            Unrouted => 0,
            Routed => 1,
        },
    }
}

impl Expected {
    const fn detail(mut self, part: &'static str) -> Self {
        self.detail = Some(part);
        self
    }

    const fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }
}

/// A gateway with the connection that was provoked, and what is expected of it. The rest is kept
/// until all was looked at.
struct Provoked {
    gateway: TestGateway,
    source: SocketAddr,
    expected: Expected,
    _kept: Vec<Box<dyn std::any::Any>>,
}

impl Provoked {
    fn new(gateway: TestGateway, client: &TcpStream, expected: Expected) -> Self {
        Self {
            source: client.local_addr().unwrap(),
            gateway,
            expected,
            _kept: Vec::new(),
        }
    }

    fn keeping(mut self, what: impl std::any::Any) -> Self {
        self._kept.push(Box::new(what));
        self
    }

    /// Asserts that the connection ended with `outcome`, in the metrics and in the log.
    fn assert_ended_with(&self, outcome: Outcome) {
        let (route, upstream) = match self.expected.counted {
            Unrouted => ("none", "none"),
            Routed => ("calls", "svcb"),
        };
        let labels = [
            ("listener", "east-west"),
            ("route", route),
            ("upstream", upstream),
            ("source", "here"),
            ("outcome", outcome.label()),
        ];
        let name = "strait_connections_closed_total";
        if outcome == Outcome::Probe {
            wait_until("the probe is counted", || {
                self.gateway.metric(name, &labels) > 0.0
            });
            assert_eq!(self.gateway.metric(name, &labels), 1.0);
            return self.assert_not_logged();
        }
        let record = self.gateway.record_of(self.source);
        assert_eq!(record.outcome, outcome.label(), "{record:?}");
        assert_eq!(record.flags, outcome.envoy_flag(), "{record:?}");
        let ended_by = record.ended_by.as_deref();
        assert_eq!(ended_by, Some(self.expected.ended_by), "{record:?}");
        assert_eq!(
            (&*record.listener, &*record.source_group),
            ("east-west", "here")
        );
        assert_eq!(record.route.as_deref().unwrap_or("none"), route);
        assert_eq!(record.upstream.as_deref().unwrap_or("none"), upstream);
        assert_eq!(record.attempts, self.expected.attempts, "{record:?}");
        match (&record.detail, self.expected.detail) {
            (None, None) => {}
            (Some(detail), Some(part)) => assert!(detail.contains(part), "{detail}"),
            (detail, expected) => panic!("detail {detail:?}, expected {expected:?}"),
        }
        // Counted before the line is written.
        assert_eq!(self.gateway.metric(name, &labels), 1.0);
        assert_eq!(self.gateway.closed(outcome.label()), 1.0, "and only there");
    }

    fn assert_not_logged(&self) {
        let mut other = connect(self.gateway.address());
        other.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        let first = self.gateway.record();
        assert_eq!(first.source, other.local_addr().unwrap(), "{first:?}");
    }
}

/// One route called `calls` to `endpoints`, and a name for the clients' addresses.
fn config(endpoints: &[SocketAddr]) -> ConfigText {
    config_for("any", endpoints)
}

fn config_for(alpn: &str, endpoints: &[SocketAddr]) -> ConfigText {
    let route = format!("name: calls, service: '{SERVICE}:80', alpn: {alpn}, upstream: svcb");
    ConfigText::to(endpoints)
        .routes(&format!("[{{ {route} }}]"))
        .top("sources: [{ name: here, cidrs: [127.0.0.0/8] }]")
        .top("workers: 1")
}

/// A gateway in front of nothing that listens, for what is refused before.
fn gateway_to_nowhere() -> TestGateway {
    TestGateway::start(&config(&[refusing_address()]))
}

/// A client that sends `bytes` as its first, and is refused for them.
fn refused_for(gateway: TestGateway, bytes: &[u8], detail: &'static str) -> Provoked {
    let mut client = connect(gateway.address());
    client.write_all(bytes).unwrap();
    let provoked = Provoked::new(gateway, &client, expect(Unrouted, "gateway").detail(detail));
    provoked.keeping(client)
}

/// Both ends of a connection through a gateway, the hello relayed.
struct Relayed {
    gateway: TestGateway,
    client: TcpStream,
    pod: TcpStream,
    server: Server,
}

fn relayed(config: impl Fn(SocketAddr) -> ConfigText) -> Relayed {
    let (server, pods) = Server::handing_over();
    let gateway = TestGateway::start(&config(server.address));
    let (client, pod) = relayed_through(&gateway, &pods);
    Relayed {
        gateway,
        client,
        pod,
        server,
    }
}

fn relayed_through(gateway: &TestGateway, pods: &Receiver<TcpStream>) -> (TcpStream, TcpStream) {
    let (mut client, hello) = open(gateway.address());
    let mut pod = pods.recv_timeout(support::DEADLINE).unwrap();
    answer_hello(&mut pod, &mut client, hello);
    (client, pod)
}

/// The same, before the pod has answered.
fn asked() -> Relayed {
    let (server, pods) = Server::handing_over();
    let gateway = TestGateway::start(&config(&[server.address]));
    let (client, hello) = open(gateway.address());
    let mut pod = pods.recv_timeout(support::DEADLINE).unwrap();
    read_exactly(&mut pod, hello);
    Relayed {
        gateway,
        client,
        pod,
        server,
    }
}

impl Relayed {
    /// A connection that sees no byte more, whose ends stay as they are.
    fn provoked(self, expected: Expected) -> Provoked {
        Provoked::new(self.gateway, &self.client, expected).keeping((
            self.client,
            self.pod,
            self.server,
        ))
    }
}

/// Makes one test of each, and the list of all of them.
macro_rules! provoked {
    ($($outcome:ident by $provoke:ident;)*) => {
        const PROVOKED: &[Outcome] = &[$(Outcome::$outcome,)*];
        $(
            #[test]
            fn $provoke() {
                provoke::$provoke().assert_ended_with(Outcome::$outcome);
            }
        )*
    };
}

provoked! {
    Ok by both_sides_closing;
    SourceDenied by a_denied_source;
    Probe by closing_at_once;
    Overloaded by one_connection_too_many;
    OverLimit by one_connection_too_many_for_the_listener;
    HelloTimeout by half_a_hello_and_silence;
    ClientGoneBeforeHello by half_a_hello_and_fin;
    ProxyHeaderInvalid by a_hello_where_a_proxy_header_is_required;
    NotTls by plain_http;
    HelloMalformed by another_handshake_message;
    HelloTooLarge by a_large_hello;
    NoSni by no_server_name;
    BadServerName by a_server_name_that_begins_with_a_hyphen;
    NoRoute by a_port_that_is_not_routed;
    AlpnRefused by an_alpn_that_is_not_istios;
    NoEndpoint by a_name_that_dns_does_not_know;
    ConnectRefused by an_endpoint_that_refuses;
    ConnectTimeout by an_endpoint_that_does_not_answer;
    ConnectUnreachable by an_endpoint_without_a_way_to_it;
    DownstreamReset by the_client_resetting;
    UpstreamReset by the_pod_resetting;
    DownstreamTimeout by a_client_that_acknowledges_nothing;
    UpstreamTimeout by a_pod_that_acknowledges_nothing;
    UpstreamClosedBeforeReply by a_pod_that_only_closes;
    UpstreamNotTls by a_pod_that_speaks_plain_http;
    UpstreamSilent by a_pod_that_says_nothing;
    HandshakeRefused by a_pod_that_does_not_trust_the_caller;
    IdleTimeout by silence;
    HalfClosedTimeout by a_pod_that_does_not_close_after_the_client;
    MaxAge by a_connection_that_is_old;
    Disallowed by a_source_that_is_denied_meanwhile;
    EndedByOperator by a_connection_that_an_operator_ends;
    Drained by a_quiet_connection_while_draining;
}

#[test]
fn silence_is_named_where_nothing_came_before_the_deadline() {
    provoke::nothing_and_silence().assert_ended_with(Outcome::HelloTimeout);
}

// The same two outcomes where nothing waits to be acknowledged.

#[test]
fn keepalive_finds_a_client_that_is_gone() {
    provoke::a_client_that_vanishes_in_silence().assert_ended_with(Outcome::DownstreamTimeout);
}

#[test]
fn keepalive_finds_a_pod_that_is_gone() {
    provoke::a_pod_that_vanishes_in_silence().assert_ended_with(Outcome::UpstreamTimeout);
}

#[test]
fn every_outcome_is_provoked_or_has_a_reason_not_to_be() {
    let mut covered: HashSet<&str> = HashSet::new();
    for outcome in PROVOKED {
        assert!(covered.insert(outcome.label()), "{} twice", outcome.label());
    }
    for (outcome, reason) in ELSEWHERE {
        let label = outcome.label();
        assert!(covered.insert(label), "{label} is provoked, yet: {reason}");
    }
    let missing: Vec<_> = Outcome::ALL
        .iter()
        .filter(|outcome| !covered.contains(outcome.label()))
        .collect();
    assert!(missing.is_empty(), "nobody provokes {missing:?}");
}

mod provoke {
    use super::*;

    pub(super) fn both_sides_closing() -> Provoked {
        let server = Server::echo();
        let gateway = TestGateway::start(&config(&[server.address]));
        let (mut client, hello) = open(gateway.address());
        read_exactly(&mut client, hello);
        client.shutdown(Shutdown::Write).unwrap();
        read_to_eof(&mut client);
        Provoked::new(gateway, &client, expect(Routed, "downstream"))
    }

    pub(super) fn a_denied_source() -> Provoked {
        let config = config(&[refusing_address()]).listener("deny_sources: [here]");
        let gateway = TestGateway::start(&config);
        let client = connect(gateway.address());
        let expected = expect(Unrouted, "gateway").detail("`deny_sources` has 127.0.0.0/8");
        Provoked::new(gateway, &client, expected).keeping(client)
    }

    pub(super) fn closing_at_once() -> Provoked {
        let gateway = gateway_to_nowhere();
        let client = connect(gateway.address());
        Provoked::new(gateway, &client, expect(Unrouted, "downstream"))
    }

    pub(super) fn one_connection_too_many() -> Provoked {
        let expected = expect(Unrouted, "gateway").detail("as many connections are open");
        second_connection(|config| config.top("limits: { connections: 1 }"), expected)
    }

    pub(super) fn one_connection_too_many_for_the_listener() -> Provoked {
        let expected = expect(Unrouted, "gateway").detail("the listener's limit of 1");
        second_connection(
            |config| config.listener("limits: { connections: 1 }"),
            expected,
        )
    }

    fn second_connection(limit: fn(ConfigText) -> ConfigText, expected: Expected) -> Provoked {
        let relayed = relayed(|server| limit(config(&[server])));
        let client = connect(relayed.gateway.address());
        let first = (relayed.client, relayed.pod, relayed.server);
        let provoked = Provoked::new(relayed.gateway, &client, expected);
        provoked.keeping((client, first))
    }

    pub(super) fn a_hello_where_a_proxy_header_is_required() -> Provoked {
        let config = config(&[refusing_address()]).listener("proxy_protocol: { trusted: [here] }");
        refused_for(
            TestGateway::start(&config),
            &hello(SERVICE, &[]),
            "required",
        )
    }

    pub(super) fn half_a_hello_and_silence() -> Provoked {
        let config = config(&[refusing_address()]).listener("client_hello: { timeout: 2s }");
        let gateway = TestGateway::start(&config);
        let mut client = connect(gateway.address());
        client.write_all(&hello(SERVICE, &[])[..50]).unwrap();
        let expected = expect(Unrouted, "gateway").detail("50 bytes of a ClientHello");
        Provoked::new(gateway, &client, expected).keeping(client)
    }

    pub(super) fn nothing_and_silence() -> Provoked {
        let config = config(&[refusing_address()]).listener("client_hello: { timeout: 200ms }");
        let gateway = TestGateway::start(&config);
        let client = connect(gateway.address());
        let expected = expect(Unrouted, "gateway").detail("does the server speak first");
        Provoked::new(gateway, &client, expected).keeping(client)
    }

    pub(super) fn half_a_hello_and_fin() -> Provoked {
        let gateway = gateway_to_nowhere();
        let mut client = connect(gateway.address());
        client.write_all(&hello(SERVICE, &[])[..50]).unwrap();
        Provoked::new(gateway, &client, expect(Unrouted, "downstream"))
    }

    pub(super) fn plain_http() -> Provoked {
        let request = b"GET / HTTP/1.1\r\nhost: svcb\r\n\r\n";
        refused_for(gateway_to_nowhere(), request, "plain HTTP")
    }

    pub(super) fn another_handshake_message() -> Provoked {
        // RFC 8446 5.1 and 4: a record of 4 bytes; a message of type 2, ServerHello, with no byte.
        let server_hello = [22, 3, 1, 0, 4, 2, 0, 0, 0];
        refused_for(gateway_to_nowhere(), &server_hello, "handshake type 2")
    }

    pub(super) fn a_large_hello() -> Provoked {
        let config = config(&[refusing_address()]).listener("client_hello: { max_size: 1KiB }");
        let gateway = TestGateway::start(&config);
        refused_for(gateway, &large_hello(SERVICE, 4096), "the 1024 that are")
    }

    pub(super) fn no_server_name() -> Provoked {
        refused_for(gateway_to_nowhere(), &hello("", &[]), "no server_name")
    }

    pub(super) fn a_server_name_that_begins_with_a_hyphen() -> Provoked {
        let mut wire = hello(SERVICE, &[]);
        let name = wire
            .windows(SERVICE.len())
            .position(|window| window == SERVICE.as_bytes());
        wire[name.unwrap()] = b'-';
        refused_for(gateway_to_nowhere(), &wire, "-vcb.apps")
    }

    pub(super) fn a_port_that_is_not_routed() -> Provoked {
        let name = format!("outbound_.81_._.{SERVICE}");
        let detail = "only for service port 80";
        refused_for(gateway_to_nowhere(), &hello(&name, &[]), detail)
    }

    pub(super) fn an_alpn_that_is_not_istios() -> Provoked {
        let gateway = TestGateway::start(&config_for("istio", &[refusing_address()]));
        let mut client = connect(gateway.address());
        let wire = hello(SERVICE, &["h2", "http/1.1"]);
        client.write_all(&wire).unwrap();
        let expected = expect(Routed, "gateway").attempts(0);
        let expected = expected.detail("route calls demands");
        Provoked::new(gateway, &client, expected).keeping(client)
    }

    /// A client that gets as far as its route.
    fn routed(config: &ConfigText, attempts: u32, detail: &'static str) -> Provoked {
        let gateway = TestGateway::start(config);
        let (client, _) = open(gateway.address());
        let expected = expect(Routed, "gateway").attempts(attempts);
        let expected = expected.detail(detail);
        Provoked::new(gateway, &client, expected).keeping(client)
    }

    pub(super) fn a_name_that_dns_does_not_know() -> Provoked {
        let resolver = format!("{{ servers: ['{}'], timeout: 100ms }}", refusing_address());
        let config = config(&[])
            .top("upstreams: { svcb: { dns: 'nobody.invalid:1' } }")
            .top(&format!("resolver: {resolver}"));
        routed(&config, 0, "")
    }

    pub(super) fn an_endpoint_that_refuses() -> Provoked {
        routed(
            &config(&[refusing_address()]).upstream("connect: { attempts: 1 }"),
            1,
            "nothing listens at 127.0.0.1",
        )
    }

    pub(super) fn an_endpoint_that_does_not_answer() -> Provoked {
        let hole = BlackHole::dig();
        let config = config(&[hole.address]).upstream("connect: { timeout: 200ms }");
        routed(&config, 1, "did not answer within 200ms").keeping(hole)
    }

    pub(super) fn an_endpoint_without_a_way_to_it() -> Provoked {
        // Loopback's broadcast address: connect(2) says ENETUNREACH, and no packet leaves.
        routed(
            &config(&["127.255.255.255:9".parse().unwrap()]),
            1,
            "127.255.255.255:9: ",
        )
    }

    pub(super) fn a_pod_that_does_not_trust_the_caller() -> Provoked {
        let pki = Pki::create();
        let gamma = TrustDomain::create("gamma.com").unwrap();
        let stranger = gamma.issue("apps", "svca").unwrap();
        let pod = pod(pki.pod(), |_| panic!("let in"), |_| {});
        let gateway = TestGateway::start(&config(&[pod.address]));
        let tls = pki.caller(&stranger, BOTH_VERSIONS);
        let mut client = dial(gateway.address(), tls, SERVICE);
        client.read(&mut [0]).unwrap_err();
        let expected = expect(Routed, "upstream").detail("the downstream's certificate");
        Provoked::new(gateway, &client.sock, expected).keeping(pod)
    }

    pub(super) fn the_client_resetting() -> Provoked {
        let Relayed {
            gateway,
            client,
            pod,
            server,
        } = relayed(|server| config(&[server]));
        let provoked = Provoked::new(gateway, &client, expect(Routed, "downstream"));
        reset(client);
        provoked.keeping((pod, server))
    }

    pub(super) fn the_pod_resetting() -> Provoked {
        let Relayed {
            gateway,
            client,
            pod,
            server,
        } = relayed(|server| config(&[server]));
        reset(pod);
        let provoked = Provoked::new(gateway, &client, expect(Routed, "upstream"));
        provoked.keeping((client, server))
    }

    pub(super) fn a_client_that_acknowledges_nothing() -> Provoked {
        let mut relayed = relayed(|server| config(&[server]).listener("tcp: { user_timeout: 1s }"));
        stop_answering(&relayed.client);
        relayed.pod.write_all(b"reply").unwrap();
        relayed.provoked(expect(Routed, "downstream").detail("acknowledged nothing for"))
    }

    pub(super) fn a_pod_that_acknowledges_nothing() -> Provoked {
        let mut relayed = relayed(|server| config(&[server]).upstream("tcp: { user_timeout: 1s }"));
        stop_answering(&relayed.pod);
        relayed.client.write_all(b"request").unwrap();
        relayed.provoked(expect(Routed, "upstream").detail("acknowledged nothing for"))
    }

    /// The user timeout is the default, which is minutes: it must not stand in for the count of probes.
    const SHORT_KEEPALIVE: &str =
        "tcp: { keepalive_time: 1s, keepalive_interval: 1s, keepalive_probes: 3 }";

    pub(super) fn a_client_that_vanishes_in_silence() -> Provoked {
        let relayed = relayed(|server| config(&[server]).listener(SHORT_KEEPALIVE));
        stop_answering(&relayed.client);
        relayed.provoked(expect(Routed, "downstream"))
    }

    pub(super) fn a_pod_that_vanishes_in_silence() -> Provoked {
        let relayed = relayed(|server| config(&[server]).upstream(SHORT_KEEPALIVE));
        stop_answering(&relayed.pod);
        relayed.provoked(expect(Routed, "upstream"))
    }

    pub(super) fn a_pod_that_only_closes() -> Provoked {
        let relayed = asked();
        relayed.pod.shutdown(Shutdown::Write).unwrap();
        let mut client = relayed.client.try_clone().unwrap();
        assert!(read_to_eof(&mut client).is_empty());
        client.shutdown(Shutdown::Write).unwrap();
        relayed.provoked(expect(Routed, "upstream"))
    }

    pub(super) fn a_pod_that_speaks_plain_http() -> Provoked {
        let mut relayed = asked();
        relayed
            .pod
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .unwrap();
        relayed.pod.shutdown(Shutdown::Write).unwrap();
        let mut client = relayed.client.try_clone().unwrap();
        read_to_eof(&mut client);
        client.shutdown(Shutdown::Write).unwrap();
        relayed.provoked(expect(Routed, "upstream").detail("HTTP/1.1 400 Bad"))
    }

    pub(super) fn a_pod_that_says_nothing() -> Provoked {
        let relayed = asked();
        // The client gets nothing any more, so the connection does not wait for the pod.
        relayed.client.shutdown(Shutdown::Write).unwrap();
        relayed.provoked(expect(Routed, "downstream").detail("sent no byte"))
    }

    pub(super) fn silence() -> Provoked {
        let relayed = relayed(|server| config(&[server]).listener("timeouts: { idle: 4s }"));
        relayed.provoked(expect(Routed, "gateway"))
    }

    pub(super) fn a_pod_that_does_not_close_after_the_client() -> Provoked {
        let relayed = relayed(|server| config(&[server]).listener("timeouts: { half_closed: 1s }"));
        relayed.client.shutdown(Shutdown::Write).unwrap();
        relayed.provoked(expect(Routed, "gateway"))
    }

    pub(super) fn a_connection_that_is_old() -> Provoked {
        let relayed = relayed(|server| config(&[server]).listener("timeouts: { max_age: 4s }"));
        relayed.provoked(expect(Routed, "gateway"))
    }

    pub(super) fn a_source_that_is_denied_meanwhile() -> Provoked {
        let before = |server: SocketAddr| config(&[server]).listener("end_disallowed: 0s");
        let relayed = relayed(before);
        let after = before(relayed.server.address).listener("deny_sources: [127.0.0.0/8]");
        relayed.gateway.reload(&after).unwrap();
        relayed.provoked(expect(Routed, "gateway").detail("`deny_sources` has 127.0.0.0/8"))
    }

    pub(super) fn a_connection_that_an_operator_ends() -> Provoked {
        let (server, pods) = Server::handing_over();
        let gateway = TestGateway::start(&config(&[server.address]));
        let (client, pod) = relayed_through(&gateway, &pods);
        let path = format!("/connections?endpoint={}", server.address);
        let (status, answer) = gateway.admin("DELETE", &path);
        assert_eq!(status, 200, "{answer}");
        let provoked = Provoked::new(gateway, &client, expect(Routed, "gateway"));
        provoked.keeping((client, pod, server))
    }

    pub(super) fn a_quiet_connection_while_draining() -> Provoked {
        let (server, pods) = Server::handing_over();
        // A lone quiet connection ends after two thirds of the window: within the deadline of this test, and
        // long enough before the gateway ends.
        let drain = "drain: { readiness_delay: 0s, window: 19s }";
        let gateway = TestGateway::start(&config(&[server.address]).top(drain));
        let (mut quiet, quiet_pod) = relayed_through(&gateway, &pods);
        let (mut busy, mut busy_pod) = relayed_through(&gateway, &pods);
        gateway.drain();
        // The gateway ends with its last connection, and its metrics with it.
        let briefly = Duration::from_millis(20);
        quiet.set_read_timeout(Some(briefly)).unwrap();
        wait_until("the quiet connection is cut", || {
            busy.write_all(b"x").unwrap();
            read_exactly(&mut busy_pod, 1);
            is_closed(&mut quiet)
        });
        let provoked = Provoked::new(gateway, &quiet, expect(Routed, "gateway"));
        provoked.keeping((quiet, quiet_pod, busy, busy_pod, server))
    }

    fn is_closed(stream: &mut TcpStream) -> bool {
        match stream.read(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}
