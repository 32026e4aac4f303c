//! The operations of the micro bench, each with its preparation.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use strait::access_log::{AccessLog, Entry, LineEnd, LineEvent};
use strait::client_hello::vectors::{HelloBuilder, X25519, X25519_MLKEM768, X25519_MLKEM768_SHARE};
use strait::client_hello::{HelloParser, Offers, Progress};
use strait::config::{Config, ListenerConfig, RouteConfig, RouteMatch, SniPattern};
use strait::limits::Scopes;
use strait::metrics::{Metrics, SeriesKey};
use strait::outcome::{EndedBy, Outcome};
use strait::route::RouteTable;
use strait::server_name::ServerName;
use strait::upstream::{Upstream, Upstreams};
use strait::verdict::{Confidence, End, FlightWatch, Side, judge};

/// An operation to measure, which can be repeated any number of times.
pub type Operation = Box<dyn FnMut()>;

/// A function that prepares an operation.
pub type Prepare = fn() -> Operation;

/// Every operation by name.
pub const OPERATIONS: &[(&str, Prepare)] = &[
    ("hello/small", || parse(&small_hello().wire())),
    ("hello/post_quantum", || parse(&post_quantum_hello().wire())),
    ("hello/in_60_byte_records", || {
        parse(&post_quantum_hello().wire_in_records_of(60))
    }),
    ("name/parse", name),
    ("route/exact_of_10", || exact(10)),
    ("route/exact_of_1000", || exact(1_000)),
    ("route/exact_of_100000", || exact(100_000)),
    ("route/wildcard_of_100000", wildcard),
    ("route/none_of_100000", no_route),
    ("pick/of_1", || pick(1)),
    ("pick/of_10", || pick(10)),
    ("pick/of_1000", || pick(1_000)),
    ("record/counters", counters),
    ("record/access_log_line", access_log_line),
    ("watch/handshake", watch_handshake),
    ("watch/message_of_64", || watch_message(64)),
    ("watch/message_of_16384", || watch_message(16_384)),
];

/// The number of names that lookups use in turn. A single name would stay in the cache whatever the
/// table's size.
const NAMES: usize = 1024;

fn small_hello() -> HelloBuilder {
    HelloBuilder::tls13()
        .server_name(host(0))
        .alpn(&["istio-peer-exchange", "istio"])
        .key_shares(&[(X25519, 32)])
}

/// A hello as clients have sent it by default since 2024: the key share alone is 1.2 KiB.
fn post_quantum_hello() -> HelloBuilder {
    let shares = [(X25519_MLKEM768, X25519_MLKEM768_SHARE), (X25519, 32)];
    HelloBuilder::tls13()
        .server_name(host(0))
        .alpn(&["istio-peer-exchange", "istio"])
        .key_shares(&shares)
}

fn parse(wire: &[u8]) -> Operation {
    let wire = wire.to_vec();
    Box::new(move || {
        let mut parser = HelloParser::new(64 * 1024);
        let progress = parser.parse(black_box(&wire));
        assert!(matches!(black_box(progress), Ok(Progress::Complete(_))));
    })
}

fn name() -> Operation {
    let name = format!("outbound_.80_._.{}", host(0));
    Box::new(move || {
        assert!(black_box(ServerName::parse(black_box(name.as_bytes()))).is_ok());
    })
}

fn host(number: usize) -> String {
    format!(
        "service-{number}.namespace-{}.svc.cluster.local",
        number % 100
    )
}

fn server_name(text: &str) -> ServerName {
    ServerName::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A config with one listener and one upstream of `endpoints` endpoints.
fn config(endpoints: usize) -> Config {
    let endpoints: Vec<String> = (0..endpoints)
        .map(|number| format!("'10.0.{}.{}:8443'", number / 250, number % 250 + 1))
        .collect();
    let text = format!(
        "
listeners:
  - {{ name: bench, bind: '127.0.0.1:0', routes: [{{ sni: a.test, alpn: any, upstream: main }}] }}
upstreams:
  main: {{ endpoints: [{}] }}
",
        endpoints.join(", ")
    );
    Config::parse(&text, "bench").unwrap_or_else(|error| panic!("{error}"))
}

fn upstream(config: &Config) -> Arc<Upstream> {
    let all = Upstreams::default().prepare(config);
    all.get("main")
        .cloned()
        .unwrap_or_else(|| panic!("no upstream"))
}

/// A route table of these patterns.
fn table(patterns: impl Iterator<Item = SniPattern>) -> RouteTable {
    let config = config(1);
    let upstream = upstream(&config);
    let mut listener = ListenerConfig::clone(&config.listeners[0]);
    let prototype = listener.routes.own_mut().remove(0);
    let route = |pattern: SniPattern| RouteConfig {
        name: pattern.to_string().into(),
        matches: RouteMatch::Sni(pattern),
        ..RouteConfig::clone(&prototype)
    };
    let routes = patterns.map(route).map(Arc::new);
    listener.routes.own_mut().extend(routes);
    RouteTable::build(&listener, &config.sources, &Scopes::default(), |_| {
        Some(upstream.clone())
    })
}

fn exact_table(routes: usize) -> RouteTable {
    table((0..routes).map(|number| SniPattern::Exact(server_name(&host(number)))))
}

/// Looks up names that are spread over `routes` routes, one after another.
fn exact(routes: usize) -> Operation {
    let step = (routes / NAMES).max(1);
    let names = (0..NAMES).map(|number| host(number * step % routes));
    find(exact_table(routes), names, true)
}

fn wildcard() -> Operation {
    let below = |number| SniPattern::Below(server_name(&host(number)));
    let names = (0..NAMES).map(|number| format!("a.b.{}", host(number * 97)));
    find(table((0..100_000).map(below)), names, true)
}

fn no_route() -> Operation {
    let names = (0..NAMES).map(|number| format!("outbound_.80_._.{}", host(number * 97)));
    find(exact_table(100_000), names, false)
}

fn find(table: RouteTable, names: impl Iterator<Item = String>, found: bool) -> Operation {
    let names: Vec<ServerName> = names.map(|name| server_name(&name)).collect();
    let mut next = 0;
    Box::new(move || {
        next = (next + 1) % NAMES;
        let route = table.find(black_box(&names[next]));
        assert_eq!(black_box(route).is_some(), found);
    })
}

fn pick(endpoints: usize) -> Operation {
    let upstream = upstream(&config(endpoints));
    assert_eq!(upstream.endpoints().len(), endpoints);
    let anywhere = upstream.ties_to(None);
    Box::new(move || {
        let picked = upstream.pick(black_box(&[]), &anywhere);
        assert!(black_box(picked).is_ok());
    })
}

fn metrics() -> Metrics {
    Metrics::new().unwrap_or_else(|error| panic!("{error}"))
}

/// Counts a connection with a route, without its bytes.
fn counters() -> Operation {
    let series = metrics().connections(SeriesKey {
        listener: "east-west".into(),
        route: "svcb".into(),
        upstream: "svcb".into(),
        source: "alpha".into(),
    });
    Box::new(move || {
        let series = black_box(&series);
        series.active.inc();
        series.opened.inc();
        series.to_upstream.inc_by(517);
        series.to_downstream.inc_by(1200);
        series.active.dec();
        series.closed(Outcome::Ok);
    })
}

/// Formats a line and queues it for the writing thread. Nothing is written.
fn access_log_line() -> Operation {
    let metrics = metrics();
    let (log, guard) = AccessLog::to_writer(&config(1).access_log, &metrics, std::io::sink());
    let address = |text: &str| -> SocketAddr {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    };
    let (source, endpoint) = (address("10.0.0.9:37884"), address("10.1.0.7:8443"));
    let local = address("10.1.0.2:41210");
    let server_name = format!("outbound_.80_._.{}", host(0));
    let ended = SystemTime::now();
    Box::new(move || {
        let _running = &guard;
        log.write(black_box(&Entry {
            event: LineEvent::End(LineEnd {
                outcome: Outcome::Ok,
                ended_by: EndedBy::Downstream,
                confidence: Confidence::Seen,
            }),
            at: ended,
            connection: 7,
            listener: "east-west",
            source,
            proxy: None,
            offers: Offers::default(),
            flights: None,
            ja4: None,
            source_group: "alpha",
            server_name: Some(&server_name),
            alpn: Some("istio-peer-exchange,istio"),
            route: Some("svcb"),
            upstream: Some("svcb"),
            endpoint: Some(endpoint),
            pod: None,
            zone: None,
            downstream_local: None,
            upstream_local: Some(local),
            stale_since: None,
            attempts: 1,
            detail: None,
            to_upstream: 517,
            to_downstream: 1200,
            hello: Some(Duration::from_micros(217)),
            connect: Some(Duration::from_micros(90)),
            duration: Duration::from_micros(900),
        }));
    })
}

/// A record of TLS with `length` bytes.
fn record(kind: u8, length: u16) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    let mut record = vec![kind, 3, 3, high, low];
    record.resize(5 + usize::from(length), 0);
    record
}

/// The first flight of a server of TLS 1.3: its ServerHello, and a certificate of 1,200 bytes.
fn server_flight() -> Vec<u8> {
    let mut hello = record(22, 122);
    let random = [7; 32];
    let extensions = [0, 51, 0, 36, 0, 29, 0, 32];
    let body = [
        &[2, 0, 0, 118, 3, 3][..],
        &random,
        &[32],
        &random,
        &[0x13, 1, 0, 0, 46],
    ]
    .concat();
    let version = [0, 43, 0, 2, 3, 4];
    let body = [&body[..], &extensions, &random, &version].concat();
    hello[5..].copy_from_slice(&body);
    [hello, record(20, 1), record(23, 1200)].concat()
}

/// Both sides of a handshake of TLS 1.3, and a verdict on its end.
fn watch_handshake() -> Operation {
    let (hello, server) = (record(22, 512), server_flight());
    let finished = [record(20, 1), record(23, 53)].concat();
    let tickets = record(23, 250);
    Box::new(move || {
        let mut watch = FlightWatch::new();
        watch.passed(Side::Downstream, black_box(&hello));
        watch.passed(Side::Upstream, black_box(&server));
        watch.passed(Side::Downstream, black_box(&finished));
        watch.passed(Side::Upstream, black_box(&tickets));
        watch.closed(Side::Downstream);
        watch.closed(Side::Upstream);
        black_box(judge(&watch.flights(true), End::Closed));
    })
}

/// One message in a session that stands.
fn watch_message(length: u16) -> Operation {
    let mut watch = FlightWatch::new();
    for (side, bytes) in [
        (Side::Downstream, record(22, 512)),
        (Side::Upstream, server_flight()),
        (Side::Downstream, [record(20, 1), record(23, 53)].concat()),
        (Side::Upstream, record(23, 250)),
    ] {
        watch.passed(side, &bytes);
    }
    assert!(!watch.is_early());
    let message = record(23, length - 5);
    Box::new(move || watch.passed(Side::Downstream, black_box(&message)))
}
